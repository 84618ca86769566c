"""How large the error of each row of a hematoma measurement is, on head phantoms whose hematoma is known exactly.

    python Testing/Benchmarks/measure_hematoma_phantoms.py --document Resources/Documentation/measurement.md

writes the tables between the two marks of the document (without `--document` they are printed) and, with `--csv`,
every single measurement. The hematomas are ellipsoid and irregular, 1 to 60 mL, at several places, in slices as
thick as they are apart. The drawing is that of a perfect reader, who takes every voxel that is half or more
hematoma, so that what is left is the error of grid and method; then that of one whose outline runs one pixel inside
or outside of it on every slice.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import math
import sys
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SliceInterpolation"))

from SliceInterpolationLib import Volume, interpolate
from SliceInterpolationLib.catalogue import find_model
from SliceInterpolationLib.interpolators import METHODS
from SliceInterpolationLib.phantom import HeadPhantom, Hematoma, head_phantom
from SliceInterpolationLib.reports.measure import HEMORRHAGE_HU, carry_over, measure_segment, threshold_near

VOLUMES_ML = (1.0, 5.0, 15.0, 30.0, 60.0)
SHAPES = ("ellipsoid", "irregular")
SLICES_MM = (2.5, 5.0, 7.0)
PLACES_MM = {
    "basal ganglia": (-29.0, -4.0, 7.0),
    "thalamus": (16.0, 10.0, 10.0),
    "frontal lobe": (26.0, -38.0, 26.0),
    "parietal lobe": (-28.0, 32.0, 34.0),
}
SIZE, PIXEL_MM = 256, 0.9
WINDOW = 144  # pixels a side around the hematoma: all that a method needs to see of the head
BEGIN, END = "<!-- phantom tables: begin -->", "<!-- phantom tables: end -->"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--methods", nargs="+", default=["linear", "default"], help="for the re-thresholded rows"
    )
    parser.add_argument("--places", nargs="+", choices=PLACES_MM, default=list(PLACES_MM))
    parser.add_argument("--threads", type=int, default=1, help="for networks")
    parser.add_argument("--csv", type=Path, help="every single measurement")
    parser.add_argument("--document", type=Path, help="Markdown file with the two marks")
    options = parser.parse_args()
    if any(method not in ("linear", "cubic", "nearest", "bspline") for method in options.methods):
        import torch

        torch.set_num_threads(options.threads)
    found, unfit = [], 0
    cases = list(itertools.product(VOLUMES_ML, SHAPES, SLICES_MM, options.places))
    for number, (volume_ml, shape, gap, place) in enumerate(cases):
        if number % 10 == 0:
            print(f"{number} of {len(cases)}", file=sys.stderr, flush=True)
        phantom = make_phantom(volume_ml, shape, gap, place, seed=number)
        if phantom is None:
            unfit += 1
            continue
        case = {"true_ml": volume_ml, "shape": shape, "slices_mm": gap, "place": place}
        found += [{**case, **row} for row in measure_phantom(phantom, options.methods)]
    if options.csv:
        with open(options.csv, "w", newline="") as file:
            writer = csv.DictWriter(file, list(found[0]))
            writer.writeheader()
            writer.writerows(found)
    text = tables(found, len(cases) - unfit, unfit)
    if options.document:
        before, _, rest = options.document.read_text().partition(BEGIN)
        options.document.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    else:
        print(text)
    return 0


def make_phantom(volume_ml: float, shape: str, gap: float, place: str, seed: int) -> HeadPhantom | None:
    """A head with a hematoma in the middle of enough slices; None where the hematoma would leave the brain."""
    center = PLACES_MM[place]
    # Slices for the longest hematoma and two neighbors at either end; the grid falls anywhere.
    radius = 1.6 * (3 * 1000 * volume_ml / (4 * math.pi)) ** (1 / 3)
    count = 2 * math.ceil(radius / gap) + 5
    phase = np.random.default_rng(seed).uniform(-0.5, 0.5) * gap
    first = max(center[2] - (count - 1) / 2 * gap + phase, -64.0 + gap)
    hematoma = Hematoma(volume_ml, shape, center, seed=seed)
    try:
        return head_phantom(SIZE, PIXEL_MM, count, gap, gap, hematoma, seed=seed, first_slice_mm=first)
    except ValueError:
        return None


def measure_phantom(phantom: HeadPhantom, methods: list[str]) -> list[dict]:
    """Every row for one phantom: its name, mL, and error in percent of the true volume."""
    height, width = (
        slice(max(int(middle) - WINDOW // 2, 0), int(middle) + WINDOW // 2)
        for middle in np.argwhere(phantom.mask).mean(axis=0)[1:]
    )
    scan = Volume(np.ascontiguousarray(phantom.image[:, height, width]), phantom.spacing, slice_axis="k")
    drawn = phantom.mask[:, height, width] > 0
    carried = carry_over(drawn, scan.pixel_spacing, 2)
    rows = {}

    def add(name: str, volume: Volume, mask: np.ndarray, more: bool = True) -> None:
        figures = measure_segment(volume, mask)
        rows[f"{name}: voxels"] = figures["volume_ml"]
        if more:
            rows[f"{name}: closed surface"] = figures["surface_volume_ml"]
            rows[f"{name}: ABC/2"] = figures["abc2_ml"]

    add("acquired grid", scan, drawn)
    for method in methods:
        label = method if method in METHODS else find_model(method).name
        made = interpolate(scan, factor=2, method=method, force=True).volume
        if method == methods[0]:
            add("result grid, carried over", made, carried)
        add(f"result grid, re-thresholded, {label}", made, threshold_near(made, carried), more=False)
        if method != "linear":
            quiet = interpolate(scan, factor=2, method=method, output_mode="denoised", force=True).volume
            name = f"result grid, re-thresholded, {label} denoised"
            add(name, quiet, threshold_near(quiet, carried), more=False)
    cross = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], dtype=bool)
    for where, change in (("inside", binary_erosion), ("outside", binary_dilation)):
        hasty = change(drawn, cross)
        add(f"outline one pixel {where}, acquired grid", scan, hasty, more=False)
        renewed = threshold_near(made, carry_over(hasty, scan.pixel_spacing, 2))
        add(f"outline one pixel {where}, re-thresholded, {label}", made, renewed, more=False)
    truth = phantom.hematoma_ml
    return [{"row": row, "ml": ml, "error_percent": 100 * (ml / truth - 1)} for row, ml in rows.items()]


def tables(found: list[dict], count: int, unfit: int) -> str:
    """Markdown: the errors by slice distance, and by true volume."""
    names = list(dict.fromkeys(one["row"] for one in found))
    low, high = HEMORRHAGE_HU
    lines = [
        f"{count} phantoms ({len(VOLUMES_ML)} volumes, {len(SHAPES)} shapes, {len(SLICES_MM)} slice distances, "
        f"{len({one['place'] for one in found})} places; {unfit} combinations do not fit into the brain). Error in "
        "percent of the true volume: mean ± SD, and in parentheses the mean of its size. Factor 2; range "
        f"{low:g} to {high:g} HU; hematoma 62 HU, brain 29 to 39 HU with a rim of edema; noise SD 3.5 HU at 5 mm.",
        "",
        _line(["row", *(f"{gap:g} mm slices" for gap in SLICES_MM)]),
        _line(["---", *("---:" for _ in SLICES_MM)]),
    ]
    for name in names:
        cells = []
        for gap in SLICES_MM:
            errors = np.array(
                [o["error_percent"] for o in found if o["row"] == name and o["slices_mm"] == gap]
            )
            cells.append(f"{errors.mean():+.1f} ± {errors.std():.1f} ({np.abs(errors).mean():.1f})")
        lines.append(_line([name, *cells]))
    lines += [
        "",
        "Mean size of the error in percent, by true volume, over all slice distances:",
        "",
        _line(["row", *(f"{ml:g} mL" for ml in VOLUMES_ML)]),
        _line(["---", *("---:" for _ in VOLUMES_ML)]),
    ]
    for name in names:
        cells = []
        for ml in VOLUMES_ML:
            errors = [abs(o["error_percent"]) for o in found if o["row"] == name and o["true_ml"] == ml]
            cells.append(f"{np.mean(errors):.1f}")
        lines.append(_line([name, *cells]))
    return "\n".join(lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
