"""Training examples from real scans: slice triplets of every gap, position and thickness a volume can give.

A thin-slice scan yields many tasks: any two slices are a pair with the slices between them as truth, and
running means over neighboring slices simulate thicker ones. Coronal and sagittal planes of thin scans are
neighbors of each other too and are used the same way.
"""

from __future__ import annotations

import csv
import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.files import read_volume
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.volume import AIR_LIMIT_HU, Volume

ATTEMPTS = 50  # at a place that shows more than air
MOSTLY_AIR = 0.25  # of tissue in a patch
AUGMENTATIONS = ("full", "flips")
MANIFEST = "manifest.csv"
_COLUMNS = ("file", "split", "modality", "body")


@dataclass
class Stack:
    """Parallel slices of one scan, with what is needed to sample them."""

    name: str
    slices: np.ndarray  # (N, rows, columns) int16 HU
    spacing: float  # mm between slices
    pixel: float  # mm in plane
    weight: float  # share of the examples
    percentiles: tuple[float, float]  # 1st and 99th of the scan, HU
    source: str = ""  # where the scan is from
    in_plane: bool = False  # coronal or sagittal planes of a thin scan

    def __getstate__(self) -> dict[str, Any]:
        """For another process: of an array in a file the name of the file, not the voxels."""
        state = dict(vars(self))
        file = getattr(self.slices, "filename", None)
        if isinstance(self.slices, np.memmap) and file is not None:
            whole = np.load(file, mmap_mode="r")
            order = tuple(
                int(axis) for axis in np.argsort([-step for step in self.slices.strides], kind="stable")
            )
            order = tuple(
                int(axis) for axis in np.argsort(order)
            )  # from the file's axes to those of the slices
            if whole.transpose(order).shape == self.slices.shape:
                state["slices"] = (str(file), order)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Open the file again."""
        if isinstance(state["slices"], tuple):
            file, order = state["slices"]
            state["slices"] = np.load(file, mmap_mode="r").transpose(order)
        vars(self).update(state)


@dataclass
class Example:
    """One training task on a patch; images (channels, H, W) float32 HU."""

    slices: torch.Tensor  # (4, H, W): two before, two after
    target: torch.Tensor  # (1, H, W)
    gap_mm: float
    pixel_mm: float
    thickness_mm: float  # 0 where it is withheld
    t: float
    percentiles: tuple[float, float]  # of the scan, before augmentation


def read_manifest(folder: Path, split: str, modality: str) -> list[dict]:
    """Rows of `manifest.csv` in `folder` that belong to one split and modality.

    Raises InputError where a column is missing.
    """
    path = Path(folder) / MANIFEST
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise InputError(f"'{path}' lacks the columns {', '.join(missing)}.")
        return [row for row in reader if row["split"] == split and row["modality"] == modality]


def load_stacks(
    folder: Path, rows: list[dict], head_share: float = 0.5, in_plane_share: float = 0.3
) -> list[Stack]:
    """Axial stacks of every scan, and the in-plane stacks of the thin ones, with their shares of the examples.

    Raises FileNotFoundError where a scan of the manifest is missing.
    """
    stacks: list[Stack] = []
    for row in rows:
        path = Path(folder) / row["file"]
        if not path.is_file():
            raise FileNotFoundError(errno.ENOENT, "The manifest names a scan that is not there", str(path))
        volume = read_volume(path)[0]
        stack = SliceStack.of(volume)
        stacks += scan_stacks(row, whole_hu(stack), stack.gap, stack.pixel[1], stack.percentiles)
    share_out(stacks, head_share, in_plane_share)
    return stacks


def whole_hu(stack: SliceStack) -> np.ndarray:
    """The slices of a stack in HU, or what stands for it, as int16 (N, rows, columns)."""
    if stack.is_hu and stack.slices.dtype == np.int16:
        return np.ascontiguousarray(stack.slices)
    out = np.empty(stack.slices.shape, dtype=np.int16)
    for number in range(len(stack)):
        out[number] = np.rint(stack.hu(number)).clip(-32768, 32767)
    return out


def scan_stacks(
    row: dict[str, Any],
    voxels: np.ndarray,
    spacing: float,
    pixel: float,
    limits: tuple[float, float],
    keep: Callable[[np.ndarray, str], np.ndarray] = lambda array, name: array,
) -> list[Stack]:
    """The axial stack of a scan and, of a thin one, its coronal and sagittal stacks as views.

    row: what is known of the scan, as in a manifest. voxels: (N, rows, columns) int16 HU. keep: puts an array that is
    computed here, of that name, where it is to stay, and returns it.
    """
    is_head = str(row["body"]).startswith("head")
    source = row.get("source") or row["file"]
    weight = float(len(voxels))
    stacks = [Stack(f"{row['file']} axial {is_head:d}", voxels, spacing, pixel, weight, limits, source)]
    if spacing <= 1.25:
        if spacing / pixel > 1.5:  # pixels of the reformatted planes must be about square
            voxels, pixel = keep(_halve_in_plane(voxels), "halved"), 2 * pixel
        side = float(np.sqrt(pixel * spacing))
        scan = Volume(voxels, slice_axis="k", units="HU")
        for axis, plane in (("j", "coronal"), ("i", "sagittal")):
            name = f"{row['file']} {plane} {is_head:d}"
            planes = scan.along(axis).slices
            stacks.append(Stack(name, planes, pixel, side, weight, limits, source, in_plane=True))
    return stacks


def share_out(stacks: list[Stack], head_share: float = 0.5, in_plane_share: float = 0.3) -> None:
    """Turn the numbers of slices into shares of the examples.

    Scans of one source are alike: together they weigh as the square root of all their slices, however many.
    head_share: part of the examples that show heads; in_plane_share: part taken from coronal and sagittal planes.
    """
    slices_of: dict[str, int] = {}
    for stack in stacks:
        if not stack.in_plane:
            slices_of[stack.source] = slices_of.get(stack.source, 0) + len(stack.slices)
    for stack in stacks:
        stack.weight /= float(np.sqrt(slices_of[stack.source]))
    for is_head in (False, True):
        for in_plane in (False, True):
            group = [s for s in stacks if s.name.endswith(f"{is_head:d}") and s.in_plane == in_plane]
            total = sum(s.weight for s in group)
            share = (head_share if is_head else 1 - head_share) * (
                in_plane_share if in_plane else 1 - in_plane_share
            )
            for stack in group:
                stack.weight *= share / total


def _halve_in_plane(voxels: np.ndarray) -> np.ndarray:
    """Pixels of twice the size, slice by slice."""
    rows, columns = voxels.shape[1] // 2 * 2, voxels.shape[2] // 2 * 2
    out = np.empty((len(voxels), rows // 2, columns // 2), dtype=np.int16)
    for number, image in enumerate(voxels):
        blocks = image[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2)
        out[number] = blocks.mean(axis=(1, 3)).round()
    return out


class ExampleSampler:
    """Draws examples without end; the n-th batch depends on the seed and n alone.

    patch: side of the square patches in pixels. gap_mm: range of the distance of the two middle slices.
    middle_only: always t = 0.5, for networks that know nothing else. augment: "full", or "flips" for flips and quarter
    turns alone.
    """

    def __init__(
        self,
        stacks: list[Stack],
        patch: int = 160,
        gap_mm: tuple[float, float] = (1.25, 10.0),
        seed: int = 0,
        middle_only: bool = False,
        augment: str = "full",
    ):
        if augment not in AUGMENTATIONS:
            raise ValueError(f"augment must be one of {', '.join(AUGMENTATIONS)}, not {augment!r}")
        stacks = [stack for stack in stacks if len(stack.slices) >= 3]
        if not stacks:
            raise InputError("No training scan has the three slices that an example needs.")
        self.stacks, self.patch, self.gap_mm, self.seed = stacks, patch, tuple(gap_mm), seed
        self.middle_only, self.augment = middle_only, augment
        weights = np.array([s.weight for s in stacks])
        self.shares = weights / weights.sum()

    def batch(self, number: int, size: int, part: tuple[int, int] = (0, 1)) -> dict[str, torch.Tensor]:
        """Examples stacked: slices (B, 4, H, W), target (B, 1, H, W), percentiles (B, 2), conditions (B,).

        part (k, n): of the `size` examples only every n-th one, from the k-th on; several processes draw a batch so.
        """
        examples = [
            self._draw(np.random.default_rng((self.seed, number, index)))
            for index in range(part[0], size, part[1])
        ]
        out = {
            "slices": torch.stack([e.slices for e in examples]),
            "target": torch.stack([e.target for e in examples]),
        }
        for name in ("gap_mm", "pixel_mm", "thickness_mm", "t", "percentiles"):
            out[name] = torch.tensor([getattr(e, name) for e in examples], dtype=torch.float32)
        return out

    def _draw(self, rng: np.random.Generator) -> Example:
        best = -1.0
        attempts = 0
        while best <= MOSTLY_AIR and (attempts < ATTEMPTS or best < 0):
            attempts += 1
            stack = self.stacks[rng.choice(len(self.stacks), p=self.shares)]
            task = self._task(stack, rng)
            if task is None:
                continue
            before, after, steps, thick, interval = task
            turned = self.augment == "full" and rng.random() < 0.4
            zoom = float(np.exp(rng.uniform(-0.3, 0.3))) if turned else 1.0
            angle = float(rng.uniform(0, 360)) if zoom != 1.0 else 0.0
            cut = self._cut(stack, [*before, *after, steps], thick, zoom, angle, rng)
            tissue = float((cut[-1] > AIR_LIMIT_HU).mean())
            if tissue > best:  # where a scan is mostly air, the best of many places
                best, images = tissue, cut
                t, gap, pixel = (steps - before[1]) / interval, interval * stack.spacing, stack.pixel / zoom
                thickness, limits = thick * stack.spacing, stack.percentiles
        images = np.ascontiguousarray(_flip(images, rng))
        if self.augment == "full":
            images = _augment(images, rng)
        if rng.random() < 0.5:  # seen from the other side
            images[:4], t = images[:4][::-1].copy(), 1 - t
        known = rng.random() < 0.5
        return Example(
            torch.from_numpy(images[:4].copy()),
            torch.from_numpy(images[4:5].copy()),
            gap_mm=gap,
            pixel_mm=pixel,
            thickness_mm=thickness if known else 0.0,
            t=float(t),
            percentiles=limits,
        )

    def _task(
        self, stack: Stack, rng: np.random.Generator
    ) -> tuple[list[int], list[int], int, int, int] | None:
        """Indices of the two slices before, the two after and the target, with thickness and interval in slices."""
        low, high = self.gap_mm
        intervals = np.arange(2, int(high / stack.spacing) + 1)
        intervals = intervals[intervals * stack.spacing >= low]
        if self.middle_only:
            intervals = intervals[intervals % 2 == 0]
        if not len(intervals):  # thick scans still give their own double gap
            intervals = np.array([2])
        interval = int(rng.choice(intervals))
        middle = interval % 2 == 0 and (self.middle_only or rng.random() < 0.6)
        offset = interval // 2 if middle else int(rng.integers(1, interval))
        thick = 1
        if rng.random() < 0.6 and stack.spacing <= 2.0:
            # Contiguous slices are the commonest, overlapping and thin ones occur.
            thick = interval if rng.random() < 0.4 else int(rng.integers(1, interval + 1))
            thick = max(1, min(thick, round(7.0 / stack.spacing)))
        half = thick // 2
        first, last = half, len(stack.slices) - (thick - half)
        if last - first < interval:
            return None
        start = int(rng.integers(first, last - interval + 1))
        before, after = [start - interval, start], [start + interval, start + 2 * interval]
        if before[0] < first or rng.random() < 0.1:  # the stack ends here: the nearer slice is repeated
            before[0] = start
        if after[1] > last or rng.random() < 0.1:
            after[1] = after[0]
        return before, after, start + offset, thick, interval

    def _cut(
        self,
        stack: Stack,
        indices: list[int],
        thick: int,
        zoom: float,
        angle: float,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """The same patch of five slices, (5, patch, patch) float32, continued by reflection where the scan is small."""
        side = self.patch if zoom == 1.0 else int(np.ceil(self.patch / zoom * 1.42)) + 2
        rows, columns = stack.slices.shape[1:]
        top = int(rng.integers(0, max(rows - side, 0) + 1))
        left = int(rng.integers(0, max(columns - side, 0) + 1))
        half = thick // 2
        window = (slice(top, top + side), slice(left, left + side))
        cut = [stack.slices[(slice(i - half, i - half + thick), *window)] for i in indices]
        images = np.stack([c[0] if thick == 1 else c.mean(axis=0, dtype=np.float32) for c in cut]).astype(
            np.float32
        )
        if min(images.shape[1:]) < side:
            down, right = side - images.shape[1], side - images.shape[2]
            images = np.pad(images, ((0, 0), (0, down), (0, right)), mode="reflect")
        if zoom == 1.0:
            return images
        return _rotate_zoom(images, angle, zoom, self.patch)


def _rotate_zoom(images: np.ndarray, angle: float, zoom: float, size: int) -> np.ndarray:
    side = images.shape[-1]
    turn = np.deg2rad(angle)
    scale = size / side / zoom
    theta = torch.tensor(
        [
            [scale * np.cos(turn), -scale * np.sin(turn), 0.0],
            [scale * np.sin(turn), scale * np.cos(turn), 0.0],
        ],
        dtype=torch.float32,
    )
    grid = F.affine_grid(theta[None], (1, 1, size, size), align_corners=False)
    image = torch.from_numpy(images)[None]
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)[0].numpy()


def _flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Quarter turns and flips."""
    images = np.rot90(images, int(rng.integers(4)), axes=(1, 2))
    return images[:, ::-1] if rng.random() < 0.5 else images


def _augment(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """HU shift and gain, kernel changes on all; noise and small shifts on the inputs alone."""
    if rng.random() < 0.5:
        images = images * rng.uniform(0.93, 1.07) + rng.uniform(-20, 20)
    if rng.random() < 0.25:  # another reconstruction kernel: smoother, or sharper by an unsharp mask
        smooth = gaussian_filter(images, (0, 0.8, 0.8))
        images = images + rng.uniform(-0.8, 0.8) * (smooth - images)
    if rng.random() < 0.25:
        # The truth keeps its own noise, so the mean is what is learned (Noise2Noise).
        noise = rng.standard_normal(images[:4].shape, dtype=np.float32)
        noise = gaussian_filter(noise, (0, 0.7, 0.7))
        images[:4] += noise * (rng.uniform(2, 15) / noise.std())
    if rng.random() < 0.15:  # small movement of the patient between slices
        for k in range(4):
            dy, dx = rng.uniform(-0.7, 0.7, 2)
            images[k] = _shift(images[k], dy, dx)
    return np.clip(images, -1024, 8000).astype(np.float32)


def _shift(image: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """Sub-pixel shift by bilinear weights, |dy|, |dx| < 1."""
    for axis, amount in ((0, dy), (1, dx)):
        neighbor = np.roll(image, 1 if amount > 0 else -1, axis=axis)
        image = image + abs(amount) * (neighbor - image)
    return image
