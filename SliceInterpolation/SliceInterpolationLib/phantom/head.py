"""A synthetic head CT with a hematoma of exactly known volume.

The head is a set of smooth signed level functions (negative inside, about mm) on a 2 mm lattice that is fixed
in world coordinates, so a phantom of any grid shows the same head. Every CT slice is the mean of thin planes
across its thickness, and a plane evaluates the level functions as uniform cubic B-splines, which is one small
matrix product per axis; no thin copy of the volume ever exists. The hematoma is not on the lattice: it is a
star-convex body in closed form, and its volume is an exact integral. Only NumPy and SciPy are needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np
from scipy import ndimage

from ..volume import ACQUIRED, Volume
from .anatomy import anatomy
from .hematoma import Coverage, Hematoma, StarBody, check_inside
from .noise import ScanNoise
from .painting import Painter

BOTTOM_MM = -66.0  # lower edge of the lowest slice: the foramen magnum is a little below
MINIMUM_HU, MAXIMUM_HU = -1024, 3071
_THIRTY_ML = Hematoma()
PSF_SD_MM = 0.5  # in-plane point spread; pixels and lattice blur a little more


@dataclass
class HeadPhantom:
    """A phantom scan; arrays are (slices, rows, columns), axial, LPS with identity direction.

    ``image`` int16 HU; ``mask`` uint8, 1 where at least half of the voxel (pixel area times slice thickness)
    is hematoma; ``spacing`` and ``origin`` (x, y, z) in mm, the head center being (0, 0, 0);
    ``slice_thickness`` in mm; ``hematoma_ml`` the true volume of the hematoma in mL (0 without one).
    """

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    slice_thickness: float
    hematoma_ml: float


def head_phantom(
    size: int = 512,
    pixel_spacing: float = 0.45,
    slices: int = 30,
    slice_spacing: float = 5.0,
    slice_thickness: float = 5.0,
    hematoma: Hematoma | None = _THIRTY_ML,
    noise_hu: float = 3.5,
    seed: int = 0,
    *,
    first_slice_mm: float | None = None,
    subslice_mm: float = 1.0,
    anatomy_seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> HeadPhantom:
    """Make a synthetic axial head CT, slices ascending from the skull base to near the vertex.

    ``size`` pixels of ``pixel_spacing`` mm a side; ``slices`` of ``slice_thickness`` mm every
    ``slice_spacing`` mm. The first slice is centered at ``first_slice_mm`` (default: half a spacing above
    -66 mm, so that scans of other spacings cover the same range). A slice is the HU mean of planes at most
    ``subslice_mm`` apart. The noise SD is ``noise_hu`` half-way out in the brain at 5 mm and goes as
    1/sqrt(thickness); 0 means none. ``seed`` draws the noise, ``anatomy_seed`` the head. The hematoma
    displaces the tissue around it, so the brain without one is not quite the same. ``progress`` gets the number of
    slices that are done. Raises ValueError for
    sizes that are not positive, or a hematoma that does not fit into the cranial cavity.
    """
    if min(size, slices) < 1 or min(pixel_spacing, slice_spacing, slice_thickness, subslice_mm) <= 0:
        raise ValueError("size, slices, spacings and thicknesses must be positive")
    if not noise_hu >= 0:
        raise ValueError(f"noise_hu must not be negative, not {noise_hu}")
    body = StarBody.of(hematoma) if hematoma is not None else None
    fields = anatomy(anatomy_seed, hematoma)
    if body is not None:
        check_inside(body, fields["cavity"])

    axis = (np.arange(size) - (size - 1) / 2) * pixel_spacing
    first = BOTTOM_MM + slice_spacing / 2 if first_slice_mm is None else first_slice_mm
    planes = max(1, math.ceil(slice_thickness / subslice_mm - 1e-6))
    offsets = ((np.arange(planes) + 0.5) / planes - 0.5) * slice_thickness
    painter = Painter(fields, axis, pixel_spacing)
    covering = Coverage(body, axis, pixel_spacing, slice_thickness / planes) if body is not None else None
    noise = ScanNoise(size, pixel_spacing, noise_hu * math.sqrt(5 / slice_thickness), seed)

    image = np.empty((slices, size, size), np.int16)
    mask = np.zeros((slices, size, size), np.uint8)
    for k in range(slices):
        mean = np.zeros((size, size), np.float32)
        inside = np.zeros((size, size), np.float32)
        for z in first + k * slice_spacing + offsets:
            plane = painter.plane(z)
            if covering is not None:
                covering.blend(plane, inside, z, hematoma.hu)
            mean += plane
        mean = ndimage.gaussian_filter(mean / planes, PSF_SD_MM / pixel_spacing, mode="nearest")
        image[k] = np.clip(np.rint(mean + noise.slice()), MINIMUM_HU, MAXIMUM_HU)
        mask[k] = inside >= 0.5 * planes - 1e-3
        progress(k + 1)
    return HeadPhantom(
        image,
        mask,
        (pixel_spacing, pixel_spacing, slice_spacing),
        (float(axis[0]), float(axis[0]), float(first)),
        slice_thickness,
        body.volume_ml if body is not None else 0.0,
    )


def phantom_volume(**options: Any) -> tuple[Volume, np.ndarray, float]:
    """The synthetic head as a scan: its volume, the labelmap of its hematoma (k, j, i), the true volume in mL.

    options: as `head_phantom`.
    """
    phantom = head_phantom(**options)
    volume = Volume(
        phantom.image,
        phantom.spacing,
        phantom.origin,
        slice_axis="k",
        provenance=ACQUIRED * len(phantom.image),
        units="HU",
        slice_thickness=phantom.slice_thickness,
    )
    return volume, phantom.mask, phantom.hematoma_ml
