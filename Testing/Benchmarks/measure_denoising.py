"""How much noise denoising leaves, and how much it leaves of what only one slice shows.

    python Testing/Benchmarks/measure_denoising.py [--data FOLDER] [--method NAME] [--output TABLE.md]

On the head phantom and, with --data (a folder with `manifest.csv`), on the validation heads, one slice each:
noise - CT noise is added to the prediction itself, so that nothing but noise differs from it; the share of the tissue
where more than a tenth of it survives, and the share of its energy that does.
lesions - disks of 2 to 10 mm and 10 to 60 HU are added to the acquired slice alone; the share of their contrast that
survives denoising at full strength.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "SliceInterpolation"), str(ROOT / "SliceInterpolationTrainer")]

from SliceInterpolationLib.denoising import smoothed_noise, structure_gain  # noqa: E402
from SliceInterpolationLib.files import read_file  # noqa: E402
from SliceInterpolationLib.interpolators import create  # noqa: E402
from SliceInterpolationLib.phantom import phantom_volume  # noqa: E402
from SliceInterpolationLib.phantom.noise import ScanNoise  # noqa: E402
from SliceInterpolationLib.reports.masks import tissue_mask  # noqa: E402
from SliceInterpolationLib.stack import SliceStack  # noqa: E402

DIAMETERS_MM, CONTRASTS_HU = (2, 4, 6, 10), (10, 20, 40, 60)
_NOISE_HU = 5.0
_APART_MM = 14.0
_LESIONS = 12


def kept_part(acquired: np.ndarray, predicted: np.ndarray, tissue: np.ndarray, pixel: tuple) -> np.ndarray:
    """What denoising at full strength keeps of acquired - predicted."""
    residual = acquired - predicted
    return structure_gain(residual, smoothed_noise(acquired, residual, tissue, pixel), pixel) * residual


def noise_left(predicted: np.ndarray, tissue: np.ndarray, pixel: tuple) -> tuple[float, float]:
    """Share of the tissue where pure noise survives, and share of the noise energy that does."""
    size = max(predicted.shape)
    rows, columns = (slice(0, side) for side in predicted.shape)
    source = ScanNoise(size, float(np.mean(pixel)), _NOISE_HU, seed=0)
    noise, other = source.slice()[rows, columns], 0.4 * source.slice()[rows, columns]
    kept = kept_part(predicted + noise, predicted + other, tissue, pixel)
    residual = noise - other
    return float((np.abs(kept) > 0.1 * np.abs(residual))[tissue].mean()), float(
        np.mean(kept[tissue] ** 2) / np.mean(residual[tissue] ** 2)
    )


def disks(tissue: np.ndarray, pixel: tuple, diameter: float) -> list[np.ndarray]:
    """Masks of disks within the tissue, well apart."""
    places = np.argwhere(distance_transform_edt(tissue, sampling=pixel) > diameter / 2 + 4)
    rng, chosen = np.random.default_rng(1), []
    rng.shuffle(places)
    for place in places:
        if all(np.hypot(*((place - other) * pixel)) > diameter + _APART_MM for other in chosen):
            chosen.append(place)
        if len(chosen) == _LESIONS:
            break
    y, x = np.indices(tissue.shape)
    return [np.hypot((y - row) * pixel[0], (x - column) * pixel[1]) <= diameter / 2 for row, column in chosen]


def lesion_left(
    acquired: np.ndarray, predicted: np.ndarray, tissue: np.ndarray, pixel: tuple, diameter: float, hu: float
) -> float:
    """Mean share of the contrast of lesions in one slice that survives; NaN where none has room."""
    masks = disks(tissue, pixel, diameter)
    if not masks:
        return float("nan")
    lesions = gaussian_filter(np.sum(masks, axis=0) * np.float32(hu), [0.5 / spacing for spacing in pixel])
    without = kept_part(acquired, predicted, tissue, pixel)
    kept = kept_part(acquired + lesions, predicted, tissue, pixel) - without
    return float(np.mean([kept[mask].mean() / lesions[mask].mean() for mask in masks]))


def cases(data: Path | None) -> Iterator[tuple[str, SliceStack, int]]:
    """Name, stack and the slice looked at."""
    volume, _, _ = phantom_volume(size=256, pixel_spacing=0.9, slices=20, hematoma=None, noise_hu=_NOISE_HU)
    yield "phantom, 5 mm", SliceStack.of(volume), 11
    if data is None:
        return
    from SliceInterpolationTrainerLib.data import read_manifest

    for row in read_manifest(data, "validation", "CT"):
        if not row["body"].startswith("head") or "crop" in row["body"]:
            continue
        volume = replace(read_file(data / row["file"]), slice_axis="k")
        for step in (1, 4) if volume.slice_spacing < 1.5 else (1, 2):
            stack = replace(
                SliceStack.of(volume), slices=volume.slices[::step], gap=step * volume.slice_distance
            )
            yield f"{row['file'].split('.')[0]}, {stack.gap:g} mm", stack, int(0.55 * len(stack))


def main() -> None:
    """Measure, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--method", default="default")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lesions = [(diameter, hu) for diameter in DIAMETERS_MM for hu in CONTRASTS_HU]
    lines = [
        "| slices | noise: area % | noise: energy % | "
        + " | ".join(f"{d} mm {hu} HU" for d, hu in lesions)
        + " |",
        "|" + "---|" * (3 + len(lesions)),
    ]
    interpolator = create(options.method)
    for name, stack, number in cases(options.data):
        (predicted,) = interpolator.predict_withheld(stack, [number])
        acquired = stack.image(number)
        tissue = tissue_mask(acquired, stack.pixel, True)
        left = noise_left(predicted, tissue, stack.pixel)
        shares = [lesion_left(acquired, predicted, tissue, stack.pixel, *lesion) for lesion in lesions]
        figures = [f"{100 * share:.1f}" for share in left] + [f"{share:.2f}" for share in shares]
        lines.append(f"| {name} | " + " | ".join(figures) + " |")
        print(lines[-1], file=sys.stderr)
    print("\n".join(lines))
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
