"""The volume: voxels, where they lie in the patient, and which slices were acquired. Geometry lives here alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import SimpleITK as sitk

from .errors import InputError

ACQUIRED, SYNTHESIZED, DENOISED, MAP, UNKNOWN = "A", "S", "D", "M", "?"
"""Provenance of a slice, one letter a slice in headers and reports. A slice is called acquired only where that is
known: by the scanner's DICOM header or by our own; what a bare file holds may have been made by anything."""

PROVENANCE_NAMES = {
    ACQUIRED: "acquired",
    SYNTHESIZED: "synthesized",
    DENOISED: "denoised",
    MAP: "computed map",
    UNKNOWN: "origin unknown",
}
_DESCRIPTIONS = {
    ACQUIRED: "acquired slice {}",
    SYNTHESIZED: "synthesized, between {} and {}",
    DENOISED: "denoised slice {}",
    MAP: "computed map, slice {}",
    UNKNOWN: "slice {}, origin unknown",
}
AXES = "ijk"
UNITS = ("HU", "arbitrary", "label")
AIR_LIMIT_HU = -500.0
"""What is below is air, what is above the patient (or the table): halfway between air and water."""

NEAR_ISOTROPIC = 1.5
"""Slices closer than this many pixels count as near-isotropic: there is hardly anything to gain."""

_EQUAL_SPACING = 1e-4  # relative difference of spacings that are called equal

GRID_TOLERANCE_MM = 1e-2
"""Grids whose voxels lie no farther apart than this are the same: what rounding in file headers does."""


@dataclass
class Volume:
    """A scalar volume on a regular grid that may be sheared (gantry tilt).

    array: (k, j, i) voxels as SimpleITK orders them, HU for CT; never modified by this package.
    spacing, origin: mm along i, j, k and LPS position of voxel (0, 0, 0).
    direction: (3, 3), columns are the unit vectors of i, j and k in LPS; they need not be orthogonal.
    slice_axis: "i", "j" or "k", the axis along which the slices follow each other.
    provenance: one letter a slice, see `ACQUIRED` and its fellows; `UNKNOWN` where nothing is said.
    units: "HU", "arbitrary" where intensities have no fixed meaning (MR), "label" for labelmaps; guessed where nothing
    is said, and units_guessed tells so.
    slice_thickness: mm, None where it is not known.
    history: one dict a run that made this volume, the latest last (see `interpolation.interpolate`).
    header: further text entries that belong to the file.
    padding: the value of voxels outside of the field of view, lower than all others; None where there are none.
    """

    array: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    slice_axis: str | None = None
    provenance: str = ""
    units: str | None = None
    slice_thickness: float | None = None
    history: tuple[dict[str, Any], ...] = ()
    header: dict[str, str] = field(default_factory=dict)
    units_guessed: bool = False
    padding: float | None = None

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise ValueError(f"a volume has 3 axes, not {self.array.ndim}")
        self.spacing = tuple(float(s) for s in self.spacing)
        self.origin = tuple(float(o) for o in self.origin)
        self.direction = np.asarray(self.direction, dtype=float).reshape(3, 3)
        if self.slice_axis is None:
            # The last of equal spacings wins, so that an isotropic volume is cut along k; files round them.
            largest = max(self.spacing) - _EQUAL_SPACING * abs(max(self.spacing))
            self.slice_axis = AXES[max(n for n, mm in enumerate(self.spacing) if not mm < largest)]
        if self.slice_axis not in AXES:
            raise InputError(f"The slice axis must be i, j or k, not '{self.slice_axis}'.")
        self.provenance = self.provenance or UNKNOWN * self.slice_count
        if len(self.provenance) != self.slice_count:
            raise ValueError(f"{len(self.provenance)} provenance letters for {self.slice_count} slices")
        if self.units is None:
            self.units, self.units_guessed = guess_units(self.array), True
        if self.units not in UNITS:
            raise InputError(f"The units of a volume are {', '.join(UNITS)}, not '{self.units}'.")

    @property
    def _ijk(self) -> int:
        return AXES.index(self.slice_axis)

    @property
    def slices(self) -> np.ndarray:
        """The slice stack, a view of shape (slices, rows, columns)."""
        return self.as_slices(self.array)

    def as_slices(self, array: np.ndarray) -> np.ndarray:
        """Any (k, j, i) array of this grid, or of one refined along its slices, as (slices, rows, columns); a view."""
        return np.moveaxis(array, 2 - self._ijk, 0)

    def from_slices(self, stack: np.ndarray) -> np.ndarray:
        """The way back: (slices, rows, columns) as (k, j, i); a view."""
        return np.moveaxis(stack, 0, 2 - self._ijk)

    @property
    def slice_count(self) -> int:
        """Number of slices along the slice axis."""
        return self.array.shape[2 - self._ijk]

    @property
    def slice_spacing(self) -> float:
        """Distance of neighboring slices in mm, along the stacking direction."""
        return self.spacing[self._ijk]

    @property
    def slice_distance(self) -> float:
        """Distance of neighboring slice planes in mm; shorter than `slice_spacing` under gantry tilt."""
        column, row = (self.direction[:, axis] for axis in range(3) if axis != self._ijk)
        normal = np.cross(column, row)
        cosine = abs(float(self.direction[:, self._ijk] @ normal)) / float(np.linalg.norm(normal))
        return self.slice_spacing * cosine

    @property
    def pixel_spacing(self) -> tuple[float, float]:
        """Spacing of rows and of columns of a slice in mm."""
        column, row = (s for axis, s in enumerate(self.spacing) if axis != self._ijk)
        return row, column

    @property
    def steps(self) -> np.ndarray:
        """(3, 3) matrix from (slice, row, column) to LPS mm, without the origin; its columns oblique under shear."""
        others = [axis for axis in (2, 1, 0) if axis != self._ijk]
        return self.affine[:3, [self._ijk, *others]]

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm3, sheared or not."""
        return abs(float(np.linalg.det(self.affine[:3, :3])))

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) matrix from voxel indices (i, j, k) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * np.asarray(self.spacing)
        matrix[:3, 3] = self.origin
        return matrix

    @property
    def is_sheared(self) -> bool:
        """True where the axes are not orthogonal, as in a stack with gantry tilt."""
        return not np.allclose(self.direction.T @ self.direction, np.eye(3), atol=1e-4)

    @property
    def isotropic_factor(self) -> int:
        """The integer factor that brings the slice spacing nearest to the pixel spacing, at least 1."""
        return max(1, round(self.slice_spacing / float(np.mean(self.pixel_spacing))))

    @property
    def is_near_isotropic(self) -> bool:
        """True where the slices lie hardly farther apart than the pixels."""
        return self.slice_spacing < NEAR_ISOTROPIC * max(self.pixel_spacing)

    def describe_slice(self, number: int) -> str:
        """What slice `number` (from 0) is, in the words of the display: slices are counted from 1 there.

        "acquired slice 12", or "synthesized, between 12 and 13" in the numbering of the slices that were given.
        """
        given_before = sum(one != SYNTHESIZED for one in self.provenance[: number + 1])
        return _DESCRIPTIONS[self.provenance[number]].format(given_before, given_before + 1)

    def along(self, axis: str) -> Volume:
        """The same voxels sliced along another axis.

        There a slice is acquired only where all slices of this axis are; else it crosses made and given ones.
        """
        if axis == self.slice_axis:
            return self
        if axis not in AXES:
            raise InputError(f"The slice axis must be i, j or k, not '{axis}'.")
        letters = set(self.provenance)
        letter = letters.pop() if len(letters) == 1 else UNKNOWN
        count = self.array.shape[2 - AXES.index(axis)]
        letter = letter if letter in (ACQUIRED, MAP) else UNKNOWN
        return replace(self, slice_axis=axis, provenance=letter * count, slice_thickness=None)

    def empty_refined(self, factor: int, dtype: np.dtype | type | None = None) -> np.ndarray:
        """An uninitialized array for `refined`: N slices become (N - 1) * factor + 1."""
        shape = list(self.array.shape)
        shape[2 - self._ijk] = (self.slice_count - 1) * factor + 1
        return np.empty(shape, dtype=dtype or self.array.dtype)

    def refined(self, array: np.ndarray, factor: int, provenance: str, **changes: Any) -> Volume:
        """The volume of `array` at spacing / factor: same origin, same direction, same slice axis.

        changes: further fields that differ, such as history.
        """
        spacing = list(self.spacing)
        spacing[self._ijk] /= factor
        return replace(self, array=array, spacing=tuple(spacing), provenance=provenance, **changes)

    def outside(self, number: int) -> np.ndarray | None:
        """Where a slice lies outside of the field of view, bool (rows, columns); None where there is no padding."""
        return None if self.padding is None else self.slices[number] == self.padding

    def without_padding(self) -> Volume:
        """The volume with the lowest of its other values outside of the field of view; itself where there is none.

        So methods meet air there, and no step to a number that was never measured.
        """
        if self.padding is None:
            return self
        inside = [image[image != self.padding] for image in self.array]
        low = min((one.min() for one in inside if one.size), default=self.padding)
        array = self.array.copy()
        for image in array:
            image[image == self.padding] = low
        return replace(self, array=array, padding=None)

    def thinned(self, stack: np.ndarray, first: int, factor: int, provenance: str, **changes: Any) -> Volume:
        """The volume of a stack (slices, rows, columns) that lie where slices first, first + factor, ... of this lie.

        changes: further fields that differ, such as the slice thickness.
        """
        spacing = list(self.spacing)
        step = spacing[self._ijk] * self.direction[:, self._ijk]
        spacing[self._ijk] *= factor
        return replace(
            self, array=np.ascontiguousarray(self.from_slices(stack)), spacing=tuple(spacing),
            origin=tuple(np.asarray(self.origin) + first * step), provenance=provenance, **changes,
        )  # fmt: skip

    def with_map(self, array: np.ndarray) -> Volume:
        """A map of computed values on the same grid (residual, noise SD, predicted error), none of it an image."""
        return replace(self, array=array, provenance=MAP * self.slice_count, padding=None)

    def same_grid(self, other: Volume, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """Whether the voxels of another volume lie at the same places, as far as all 8 corners tell."""
        return self.array.shape == other.array.shape and _grids_agree(self, other, tolerance_mm)

    def refinement_of(self, scan: Volume, tolerance_mm: float = GRID_TOLERANCE_MM) -> int:
        """The factor by which `scan` was interpolated to get the grid of this volume, 1 for the same grid.

        Raises InputError where this is not the grid of `scan` refined along its slice axis: size, spacing of slices
        and pixels, origin and direction must all agree.
        """
        own = self.along(scan.slice_axis)  # equal spacings would let a result choose another axis for itself
        factor = round(scan.slice_spacing / own.slice_spacing) if own.slice_spacing > 0 else 0
        refined = list(scan.array.shape)
        refined[2 - scan._ijk] = (scan.slice_count - 1) * factor + 1
        if factor >= 1 and own.array.shape == tuple(refined) and _grids_agree(scan, own, tolerance_mm):
            return factor
        raise InputError("The result does not belong to this scan: its grid is not the scan's grid refined.")

    @classmethod
    def from_sitk(cls, image: sitk.Image, **attributes: Any) -> Volume:
        """The voxels of a scalar 3-D image without a copy; the array keeps the memory of the image alive."""
        return cls(
            np.asarray(_Voxels(image)),
            image.GetSpacing(),
            image.GetOrigin(),
            np.reshape(image.GetDirection(), (3, 3)),
            **attributes,
        )

    def to_sitk(self) -> sitk.Image:
        """An image of the same type and geometry; its voxels are a copy."""
        image = sitk.GetImageFromArray(self.array)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction.ravel().tolist())
        return image


class _Voxels:
    """The buffer of an image for NumPy, which keeps this object, and so the image, as long as any view lives."""

    def __init__(self, image: sitk.Image):
        self.__array_interface__ = sitk.GetArrayViewFromImage(image).__array_interface__
        # A second owner: whoever changes the image that was given gets a buffer of their own, and this one stays.
        self._image = sitk.Image(image)


def _grids_agree(one: Volume, other: Volume, tolerance_mm: float) -> bool:
    """Whether the first and last voxels along every axis lie at the same places; sizes may differ along an axis."""
    for corner in np.ndindex(2, 2, 2):
        places = [
            (volume.affine @ (*(np.array(corner) * (np.array(volume.array.shape[::-1]) - 1)), 1.0))[:3]
            for volume in (one, other)
        ]
        if not np.allclose(*places, rtol=0, atol=tolerance_mm):
            return False
    return True


def guess_units(array: np.ndarray) -> str:
    """HU where a volume holds air (-500 and below), or whole numbers below zero (fat): neither is usual in MR.

    A CT of which the skull was stripped can look like anything; say what the units are where you know.
    """
    low = float(array.min()) if array.size else 0.0
    return "HU" if low <= AIR_LIMIT_HU or (array.dtype.kind == "i" and low < 0) else "arbitrary"
