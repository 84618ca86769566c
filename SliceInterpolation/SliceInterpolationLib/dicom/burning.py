"""Words in the pixels of a slice, for viewers that show nothing of a header."""

from __future__ import annotations

import numpy as np

_SHARE = 1 / 24
"""Height of the letters, of the image's."""


def burned(image: np.ndarray, text: str) -> np.ndarray:
    """A copy of a slice (rows, columns) with a text at the upper left: bright letters on a dark ground.

    Letters have the largest value of the slice and the ground its least, so that no value is new to it.
    """
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default()
    left, top, right, bottom = font.getbbox(text)
    drawn = Image.new("L", (right - left + 4, bottom - top + 4), 0)
    ImageDraw.Draw(drawn).text((2 - left, 2 - top), text, fill=255, font=font)
    rows, columns = image.shape
    zoom = min(max(1.0, rows * _SHARE / drawn.height), columns / drawn.width, rows / drawn.height)
    size = max(1, int(drawn.width * zoom)), max(1, int(drawn.height * zoom))
    letters = np.asarray(drawn.resize(size)) > 127
    out = image.copy()
    out[: letters.shape[0], : letters.shape[1]] = np.where(letters, image.max(), image.min())
    return out
