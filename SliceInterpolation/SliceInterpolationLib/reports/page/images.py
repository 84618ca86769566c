"""Pictures on a page: planes through volumes at one scale, with what their slices are written beside them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from xml.etree.ElementTree import Element

import numpy as np

from ...volume import ACQUIRED, DENOISED, MAP, PROVENANCE_NAMES, SYNTHESIZED, UNKNOWN, Volume
from ..markup import element
from ..reformat import PLANES, View, body_box, caption, cut, gray, number_at, slice_plane
from ..svg import band
from .pieces import note, section

COLORS = {
    ACQUIRED: "#2f7d55", SYNTHESIZED: "#f0a33a", DENOISED: "#4f8fd0", MAP: "#a77bb5", UNKNOWN: "#9a9a9a",
}  # fmt: skip
_SIDES = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}  # left, right, top, bottom of the picture
_BAR_MM = 50.0
_FINE = 300  # pixels in a row: fewer are enlarged on a screen, and then stay squares


def planes_section(
    shown: Sequence[tuple[str, Volume]], window: tuple[float, float], point: np.ndarray
) -> Element | None:
    """A row a volume, the planes through a point as columns; below, what colors and grays mean.

    shown: title and volume, all of the same place. window: center and width. point: LPS mm.
    """
    box = body_box(shown[-1][1])
    parts: list[Element] = []
    for name, volume in shown:
        views = [cut(volume, plane, number_at(volume, plane, point), box) for plane in PLANES]
        parts.append(element("h3", name, element("small", f" slices every {volume.slice_spacing:.4g} mm")))
        parts.append(picture_row([(volume, view, window, caption(volume, view)) for view in views]))
    letters = "".join(volume.provenance for _, volume in shown)
    key = [
        element("span", element("i", style=f"background:{color}"), PROVENANCE_NAMES[letter])
        for letter, color in COLORS.items()
        if letter in letters
    ]
    units = "HU" if shown[-1][1].units == "HU" else "in the units of the scan"
    signs = zip(point, "LPS", "RAI")
    place = ", ".join(f"{to if mm >= 0 else away} {abs(mm):.1f}" for mm, to, away in signs)
    explained = (
        f"Window: center {window[0]:.4g}, width {window[1]:.4g} {units}, the same in all pictures. All planes go "
        f"through {place} mm. Slices are as high as they lie apart, in true proportions; nothing is interpolated for "
        "display."
    )
    title = "Original and result" if len(shown) > 1 else "Images"
    return section(title, *parts, element("p", *key, class_="key"), note(explained))


def picture_row(pictures: Sequence[tuple[Volume, View, tuple[float, float], str]], kind: str = "") -> Element:
    """Pictures beside each other, a mm as long in each of them: volume, its plane, the window, the caption.

    kind: a further class of the style.
    """
    columns = " ".join(f"{view.width:.6g}fr" for _, view, _, _ in pictures)
    figures = (_figure(*picture) for picture in pictures)
    return element(
        "div", *figures, class_=f"views {kind}".strip(), style=f"grid-template-columns:{columns}"
    )  # fmt: skip


def _figure(volume: Volume, view: View, window: tuple[float, float], text: str) -> Element:
    """A plane with the letters of its sides, a bar of 5 cm, and the provenance of the slices along its edge."""
    pixels = _stretched(gray(view.image, window), view)
    picture = element(
        "img", src=_data_uri(pixels), alt=text, width=float(pixels.shape[1]), height=float(pixels.shape[0]),
        class_="coarse" if view.image.shape[1] < _FINE else None,
        style=f"aspect-ratio:{view.width:.6g}/{view.height:.6g}",
    )  # fmt: skip
    sides = [
        element("span", letter, class_=f"side {side}")
        for letter, side in zip(_SIDES[view.plane], ("left", "right", "top", "bottom"))
    ]
    bar = None
    if view.plane == "axial" and view.width > 2 * _BAR_MM:
        bar = element("span", "5 cm", class_="bar", style=f"width:{100 * _BAR_MM / view.width:.4g}%")
    strips = [
        element("div", band([COLORS[letter] for letter in letters], vertical), class_=f"strip {where}")
        for letters, vertical, where in (
            (view.row_letters, True, "beside"),
            (view.column_letters, False, "below"),
        )
        if letters
    ]
    letter = volume.provenance[view.number] if view.plane == slice_plane(volume) else ""
    made = f"made-{letter.lower()}" if letter in (SYNTHESIZED, DENOISED) else ""
    return element(
        "figure",
        element("div", picture, *sides, bar, *strips, class_=f"frame {made}".strip()),
        element("figcaption", text[0].upper() + text[1:], class_=made or None),
    )


def _stretched(pixels: np.ndarray, view: View) -> np.ndarray:
    """Rows and columns repeated until pixels are about square, as thick slices are: no viewer then blends them."""
    height, width = view.height / view.image.shape[0], view.width / view.image.shape[1]
    rows, columns = (max(1, round(mm / min(height, width))) for mm in (height, width))
    return pixels.repeat(rows, axis=0).repeat(columns, axis=1)


def _data_uri(pixels: np.ndarray) -> str:
    """A gray image, (rows, columns) uint8, as a PNG inside a link; made in memory, so that it is left nowhere."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
