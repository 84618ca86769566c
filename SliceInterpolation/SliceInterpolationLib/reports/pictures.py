"""Pictures of volumes: side-by-side multi-planar reformats and noise maps, in their true proportions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..volume import Volume
from .reformat import (
    PLANES,
    body_box,
    caption,
    cut,
    default_window,
    interesting_point,
    number_at,
    slice_plane,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#e8e8e8"


def compare_picture(
    rows: Sequence[tuple[str, Volume]],
    output: str | Path,
    window: tuple[float, float] | None = None,
    position: tuple[float, float, float] | None = None,
) -> Path:
    """Draw one row a volume and the planes axial, coronal, sagittal as columns; write a PNG.

    rows: title and volume; the first is a scan, the others have its grid or one refined along its slices.
    window: center and width, by default the brain window
    for CT and the 1st to 99th percentile else. position: LPS mm of the point all planes go through; by default
    the middle of the last volume, on a synthesized slice where it has one. Nothing is smoothed: what the
    pixels of a volume are is what is seen. Needs matplotlib (the extra "view").
    Raises InputError for volumes that do not show the same place, and for a window without width.
    """
    check_window(window)
    for _, volume in rows[1:]:
        volume.refinement_of(rows[0][1])
    reference = rows[-1][1]
    center, width = window or default_window(reference)
    point = np.asarray(position) if position is not None else interesting_point(reference)
    box = body_box(reference)
    views = [
        [cut(volume, plane, number_at(volume, plane, point), box) for plane in PLANES] for _, volume in rows
    ]
    scale = 4.2 / max(view.height for view in views[-1])
    widths = [max(row[c].width for row in views) for c in range(3)]
    heights = [max(view.height for view in row) for row in views]
    figure = _figure(scale * sum(widths) + 0.6, scale * sum(heights) + 0.62 * len(rows))
    grid = figure.add_gridspec(
        len(rows), 3, width_ratios=widths, height_ratios=heights,
        left=0.045, right=0.995, top=0.955, bottom=0.005, wspace=0.02, hspace=0.14,
    )  # fmt: skip
    for r, ((title, volume), row) in enumerate(zip(rows, views)):
        for c, view in enumerate(row):
            axes = figure.add_subplot(grid[r, c])
            axes.imshow(
                view.image, cmap="gray", vmin=center - width / 2, vmax=center + width / 2,
                extent=(0, view.width, view.height, 0), interpolation="nearest",
            )  # fmt: skip
            axes.set_axis_off()
            axes.set_title(caption(volume, view), color=_INK, fontsize=9, pad=3)
            if c == 0:
                axes.text(-0.03, 0.5, title, color="white", fontsize=12, rotation=90, ha="right", va="center",
                          transform=axes.transAxes)  # fmt: skip
    return _save(figure, output)


def check_window(window: tuple[float, float] | None) -> None:
    """InputError for a window, center and width, that no gray value fits into; None stands for the default."""
    if window is not None and not window[1] > 0:
        raise InputError(f"The window needs a width above 0, not {window[1]:g}.")


def noise_picture(
    volume: Volume,
    residual: Volume,
    noise_sd: Volume,
    rows: list[dict[str, Any]],
    method: str,
    output: str | Path,
) -> Path:
    """Draw an acquired slice, its residual, the noise-SD map and noise against slice number; write a PNG.

    The arguments are those of `noise.NoiseReport`.
    """
    numbers = [row["slice"] for row in rows]
    tissue = [row["tissue_pixels"] for row in rows]
    number = numbers[int(np.argmax(tissue))]
    center, width = default_window(volume)
    plane, box = slice_plane(volume), body_box(volume)
    scan, difference, sd = (cut(one, plane, number, box) for one in (volume, residual, noise_sd))
    # Scaled for the noise of soft tissue; at the skull, where alignment fails first, the colors saturate.
    noise = [row["noise_acquired"] for row in rows if np.isfinite(row["noise_acquired"])]
    limit = 4.0 * max(float(np.median(noise)) if noise else float(sd.image.mean()), 1e-6)
    figure = _figure(17.5, 4.6)
    grid = figure.subplots(1, 4, width_ratios=(1, 1.16, 1.16, 1.3))
    shown = (
        (scan, "gray", center - width / 2, center + width / 2, caption(volume, scan)),
        (difference, "RdBu_r", -limit, limit, "residual: acquired minus predicted"),
        (sd, "viridis", 0, limit, "local SD of the residual"),
    )
    for axes, (view, colors, low, high, title) in zip(grid, shown):
        drawn = axes.imshow(view.image, cmap=colors, vmin=low, vmax=high, interpolation="nearest",
                            extent=(0, view.width, view.height, 0))  # fmt: skip
        axes.set_axis_off()
        axes.set_title(title, color=_INK, fontsize=11)
        if colors != "gray":
            bar = figure.colorbar(drawn, ax=axes, fraction=0.046, pad=0.03)
            bar.ax.tick_params(colors=_INK)
            bar.set_label(volume.units if volume.units == "HU" else "intensity", color=_INK)
    axes = grid[3]
    axes.set_facecolor("black")
    positions = [n + 1 for n in numbers]
    axes.plot(
        positions,
        [row["noise_acquired"] for row in rows],
        "o-",
        color="#f5a742",
        ms=4,
        label="acquired",
    )
    axes.plot(positions, [row["noise_predicted"] for row in rows], "o-", color="#58b4e8", ms=4,
              label=f"predicted ({method})")  # fmt: skip
    axes.set_xlabel("slice", color=_INK)
    axes.set_ylabel("noise SD inside the skull or body", color=_INK)
    axes.set_ylim(bottom=0)
    axes.tick_params(colors=_INK)
    for spine in axes.spines.values():
        spine.set_color("#777777")
    axes.legend(facecolor="black", labelcolor=_INK, edgecolor="#777777")
    figure.tight_layout()
    return _save(figure, output)


def _figure(width: float, height: float) -> Figure:
    """An empty figure that belongs to no window, so that nobody's plotting session is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            'Pictures need matplotlib; install it with pip install "slice-interpolation[view]".'
        ) from None
    return Figure(figsize=(width, height), facecolor="black")


def _save(figure: Figure, output: str | Path) -> Path:
    output = Path(output)
    if not output.absolute().parent.is_dir():
        raise InputError(
            f"The folder '{output.absolute().parent}' does not exist; create it or choose another."
        )
    figure.savefig(output, dpi=110, facecolor=figure.get_facecolor(), format="png")
    return output
