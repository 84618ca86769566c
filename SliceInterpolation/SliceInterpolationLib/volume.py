"""The volume: voxels, where they lie in the patient, and which slices were acquired. Geometry lives here alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import SimpleITK as sitk

from .errors import InputError

ACQUIRED, SYNTHESIZED, DENOISED, UNKNOWN = "A", "S", "D", "?"
"""Provenance of a slice, one letter a slice in headers and reports."""

PROVENANCE_NAMES = {
    ACQUIRED: "acquired",
    SYNTHESIZED: "synthesized",
    DENOISED: "denoised",
    UNKNOWN: "unknown",
}
AXES = "ijk"
NEAR_ISOTROPIC = 1.5
"""Slices closer than this many pixels count as near-isotropic: there is hardly anything to gain."""


@dataclass
class Volume:
    """A scalar volume on a regular grid that may be sheared (gantry tilt).

    array: (k, j, i) voxels as SimpleITK orders them, HU for CT; never modified by this package.
    spacing, origin: mm along i, j, k and LPS position of voxel (0, 0, 0).
    direction: (3, 3), columns are the unit vectors of i, j and k in LPS; they need not be orthogonal.
    slice_axis: "i", "j" or "k", the axis along which the slices follow each other.
    provenance: one letter a slice (`ACQUIRED`, `SYNTHESIZED`, `DENOISED`).
    units: "HU", or "arbitrary" where intensities have no fixed meaning (MR).
    slice_thickness: mm, None where it is not known.
    header: further text entries that belong to the file.
    """

    array: np.ndarray
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    slice_axis: str | None = None
    provenance: str = ""
    units: str | None = None
    slice_thickness: float | None = None
    header: dict[str, str] = field(default_factory=dict)
    owner: object = field(default=None, repr=False, compare=False)  # keeps borrowed memory alive

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise ValueError(f"a volume has 3 axes, not {self.array.ndim}")
        self.spacing = tuple(float(s) for s in self.spacing)
        self.origin = tuple(float(o) for o in self.origin)
        self.direction = np.asarray(self.direction, dtype=float).reshape(3, 3)
        if self.slice_axis is None:
            # The last of equal spacings wins, so that an isotropic volume is cut along k.
            self.slice_axis = AXES[2 - int(np.argmax(self.spacing[::-1]))]
        if self.slice_axis not in AXES:
            raise InputError(f"The slice axis must be i, j or k, not '{self.slice_axis}'.")
        self.provenance = self.provenance or ACQUIRED * self.slice_count
        if len(self.provenance) != self.slice_count:
            raise ValueError(f"{len(self.provenance)} provenance letters for {self.slice_count} slices")
        if self.units is None:
            self.units = guess_units(self.array)

    @property
    def _ijk(self) -> int:
        return AXES.index(self.slice_axis)

    @property
    def slices(self) -> np.ndarray:
        """The slice stack, a view of shape (slices, rows, columns)."""
        return np.moveaxis(self.array, 2 - self._ijk, 0)

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

        "acquired slice 12", or "synthesized, between 12 and 13" in the numbering of the acquired slices.
        """
        letter = self.provenance[number]
        acquired_before = sum(one != SYNTHESIZED for one in self.provenance[: number + 1])
        if letter == SYNTHESIZED:
            return f"synthesized, between {acquired_before} and {acquired_before + 1}"
        return f"{PROVENANCE_NAMES[letter]} slice {acquired_before}"

    def along(self, axis: str) -> Volume:
        """The same voxels sliced along another axis; all slices count as acquired there."""
        if axis == self.slice_axis:
            return self
        return replace(self, slice_axis=axis, provenance="", slice_thickness=None)

    def empty_refined(self, factor: int) -> np.ndarray:
        """An uninitialized array for `refined`: N slices become (N - 1) * factor + 1."""
        shape = list(self.array.shape)
        shape[2 - self._ijk] = (self.slice_count - 1) * factor + 1
        return np.empty(shape, dtype=self.array.dtype)

    def refined(self, array: np.ndarray, factor: int, provenance: str) -> Volume:
        """The volume of `array` at spacing / factor: same origin, same direction, same slice axis."""
        spacing = list(self.spacing)
        spacing[self._ijk] /= factor
        return replace(self, array=array, spacing=tuple(spacing), provenance=provenance, owner=None)

    def with_array(
        self, array: np.ndarray, provenance: str | None = None, units: str | None = None
    ) -> Volume:
        """Other values on the same grid."""
        return replace(
            self,
            array=array,
            provenance=provenance or self.provenance,
            units=units or self.units,
            owner=None,
        )

    @classmethod
    def from_sitk(cls, image: sitk.Image, **attributes) -> Volume:
        """Borrow the voxels of a scalar 3-D image, without a copy."""
        return cls(
            sitk.GetArrayViewFromImage(image),
            image.GetSpacing(),
            image.GetOrigin(),
            np.reshape(image.GetDirection(), (3, 3)),
            owner=image,
            **attributes,
        )

    def to_sitk(self) -> sitk.Image:
        """An image of the same type and geometry; its voxels are a copy."""
        image = sitk.GetImageFromArray(self.array)
        image.SetSpacing(self.spacing)
        image.SetOrigin(self.origin)
        image.SetDirection(self.direction.ravel().tolist())
        return image


def guess_units(array: np.ndarray) -> str:
    """HU where a volume holds air (-500 and below), which no other modality has; else arbitrary units."""
    return "HU" if float(array.min()) <= -500 else "arbitrary"
