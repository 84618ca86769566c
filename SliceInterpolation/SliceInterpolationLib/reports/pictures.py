"""Pictures of volumes: side-by-side multi-planar reformats and noise maps, in their true proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..volume import AIR_LIMIT_HU, Volume

BRAIN = (44.0, 128.0)
"""Window center and width in HU."""

PLANES = ("axial", "coronal", "sagittal")
_INK = "#e8e8e8"
_MARGIN_MM = 8.0  # of air around the patient


@dataclass
class _View:
    """An image with the plane's extent in mm: rows run down the picture, columns to the right."""

    image: np.ndarray
    width: float
    height: float
    number: int  # of the slice along the cut axis


def compare_picture(
    rows: Sequence[tuple[str, Volume]],
    output: str | Path,
    window: tuple[float, float] | None = None,
    position: tuple[float, float, float] | None = None,
) -> Path:
    """Draw one row a volume and the planes axial, coronal, sagittal as columns; write a PNG.

    rows: title and volume; all must show the same place. window: center and width, by default the brain window
    for CT and the 1st to 99th percentile else. position: LPS mm of the point all planes go through; by default
    the middle of the last volume, on a synthesized slice where it has one. Nothing is smoothed: what the
    pixels of a volume are is what is seen. Needs matplotlib (the extra "view").
    """
    reference = rows[-1][1]
    center, width = window or default_window(reference)
    point = np.asarray(position) if position is not None else _interesting_point(reference)
    box = _body_mm(reference)
    views = [[_cut(volume, plane, point, box) for plane in PLANES] for _, volume in rows]
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
            axes.set_title(_caption(volume, PLANES[c], view), color=_INK, fontsize=9, pad=3)
            if c == 0:
                axes.text(-0.03, 0.5, title, color="white", fontsize=12, rotation=90, ha="right", va="center",
                          transform=axes.transAxes)  # fmt: skip
    return _save(figure, output)


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
    sd = noise_sd.slices[number]
    # Scaled for the noise of soft tissue; at the skull, where alignment fails first, the colors saturate.
    noise = [row["noise_acquired"] for row in rows if np.isfinite(row["noise_acquired"])]
    limit = 4.0 * max(float(np.median(noise)) if noise else float(sd.mean()), 1e-6)
    figure = _figure(17.5, 4.6)
    grid = figure.subplots(1, 4, width_ratios=(1, 1.16, 1.16, 1.3))
    row_mm, column_mm = volume.pixel_spacing
    shown = (
        (
            volume.slices[number],
            "gray",
            center - width / 2,
            center + width / 2,
            f"acquired slice {number + 1}",
        ),
        (residual.slices[number], "RdBu_r", -limit, limit, "residual: acquired minus predicted"),
        (sd, "viridis", 0, limit, "local SD of the residual"),
    )
    box = _slice_box(volume, number)
    for axes, (image, colors, low, high, title) in zip(grid, shown):
        drawn = axes.imshow(_upright(volume, image[box]), cmap=colors, vmin=low, vmax=high, interpolation="nearest",
                            aspect=row_mm / column_mm)  # fmt: skip
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


def default_window(volume: Volume) -> tuple[float, float]:
    """Center and width: the brain window for CT, the 1st to 99th percentile for other modalities."""
    if volume.units == "HU":
        return BRAIN
    step = max(1, volume.array.size // 2_000_000)
    low, high = np.percentile(volume.array.reshape(-1)[::step], (1, 99))
    return float(low + high) / 2, max(float(high - low), 1e-6)


def _interesting_point(volume: Volume) -> np.ndarray:
    """LPS mm of the middle voxel, moved to the nearest synthesized slice where there is one."""
    index = (np.array(volume.array.shape[::-1]) - 1) // 2
    axis = "ijk".index(volume.slice_axis)
    synthesized = [n for n, letter in enumerate(volume.provenance) if letter == "S"]
    if synthesized:
        index[axis] = min(synthesized, key=lambda n: abs(n - index[axis]))
    return (volume.affine @ (*index, 1.0))[:3]


def _body_mm(volume: Volume) -> list[tuple[float, float]]:
    """Where the patient lies along the anatomical axes of `_anatomical`, in mm from the first voxel's edge."""
    array, spacing, _, _ = _anatomical(volume)
    low = (
        AIR_LIMIT_HU if volume.units == "HU" else default_window(volume)[0] - 0.4 * default_window(volume)[1]
    )
    step = max(1, array.shape[0] // 40), 1, 1
    occupied = np.zeros(array.shape[1:], dtype=bool)
    for image in array[:: step[0]]:
        occupied |= image > low
    box = [(0.0, array.shape[0] * spacing[0])]
    for axis in (1, 2):
        # A thin table or noise occupies few voxels of a row; the head occupies many.
        used = np.flatnonzero(occupied.mean(axis=2 - axis) > 0.05)
        first, last = (used[0], used[-1] + 1) if len(used) else (0, array.shape[axis])
        margin = _MARGIN_MM
        end = array.shape[axis] * spacing[axis]
        box.append((max(first * spacing[axis] - margin, 0.0), min(last * spacing[axis] + margin, end)))
    return box


def _cut(volume: Volume, plane: str, point: np.ndarray, box: list[tuple[float, float]]) -> _View:
    """The plane of the voxel grid nearest to an anatomical one, as a radiologist looks at it, cut to `box`."""
    array, spacing, axes, flips = _anatomical(volume)
    index = np.linalg.solve(volume.affine, (*point, 1.0))[:3]
    index = np.clip(np.rint(index - 1e-6).astype(int), 0, np.array(volume.array.shape[::-1]) - 1)
    order = PLANES.index(plane)  # axial cuts S, coronal cuts P, sagittal cuts L: array axes 0, 1, 2
    source = axes[order]
    number = int(index[source])
    place = array.shape[order] - 1 - number if flips[order] else number
    image = np.take(array, place, axis=order)
    rows, columns = (axis for axis in range(3) if axis != order)
    image = image[tuple(slice(*(round(mm / spacing[axis]) for mm in box[axis])) for axis in (rows, columns))]
    if rows == 0:
        image = image[::-1]  # head up
    return _View(image, image.shape[1] * spacing[columns], image.shape[0] * spacing[rows], number)


def _anatomical(volume: Volume):
    """A view of the voxels as (to superior, to posterior, to left), its spacing, and where each axis came from."""
    closeness = np.abs(volume.direction)  # LPS rows against i, j, k columns
    axes: dict[int, int] = {}
    for flat in np.argsort(-closeness, axis=None):
        lps, ijk = np.unravel_index(flat, (3, 3))
        if lps not in axes and ijk not in axes.values():
            axes[int(lps)] = int(ijk)
    sources = [axes[2], axes[1], axes[0]]
    array = volume.array.transpose([2 - source for source in sources])
    flips = [bool(volume.direction[lps, source] < 0) for lps, source in zip((2, 1, 0), sources)]
    array = array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    return array, [volume.spacing[source] for source in sources], sources, flips


def _slice_box(volume: Volume, number: int) -> tuple[slice, slice]:
    """Rows and columns of a slice that the patient occupies, with a margin."""
    image = volume.slices[number]
    low = (
        AIR_LIMIT_HU if volume.units == "HU" else default_window(volume)[0] - 0.4 * default_window(volume)[1]
    )
    box = []
    for axis, spacing in enumerate(volume.pixel_spacing):
        used = np.flatnonzero((image > low).mean(axis=1 - axis) > 0.05)
        margin = round(_MARGIN_MM / spacing)
        first, last = (used[0], used[-1] + 1) if len(used) else (0, image.shape[axis])
        box.append(slice(max(first - margin, 0), last + margin))
    return tuple(box)


def _upright(volume: Volume, image: np.ndarray) -> np.ndarray:
    """A slice of the stack as it is looked at: a stack of axial slices keeps its rows, others get the head up."""
    column, row = (volume.direction[:, axis] for axis in range(3) if "ijk"[axis] != volume.slice_axis)
    vertical = int(np.abs(row).argmax())
    down = row[vertical] < 0 if vertical == 1 else row[vertical] > 0
    image = image[::-1] if down else image
    return image[:, ::-1] if column[np.abs(column).argmax()] < 0 else image


def _caption(volume: Volume, plane: str, view: _View) -> str:
    _, _, sources, _ = _anatomical(volume)
    axis = "ijk"[sources[PLANES.index(plane)]]
    if axis == volume.slice_axis:
        return f"{plane}: {volume.describe_slice(view.number)}"
    return f"{plane}: slices every {volume.slice_spacing:.3g} mm"


def _figure(width: float, height: float):
    """An empty figure that belongs to no window, so that nobody's plotting session is touched."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError(
            'Pictures need matplotlib; install it with pip install "slice-interpolation[view]".'
        ) from None
    return Figure(figsize=(width, height), facecolor="black")


def _save(figure, output: str | Path) -> Path:
    output = Path(output)
    if not output.absolute().parent.is_dir():
        raise InputError(
            f"The folder '{output.absolute().parent}' does not exist; create it or choose another."
        )
    figure.savefig(output, dpi=110, facecolor=figure.get_facecolor(), format="png")
    return output
