"""NIfTI-1 and NIfTI-2 single files (.nii, .nii.gz), read and written as they are.

The layout is that of nifti1.h and nifti2.h (https://nifti.nimh.nih.gov). The usual readers repair in silence: a zero
spacing becomes 1 mm, NaN becomes 0, missing voxels become 0. A head CT cannot afford that, so the header is looked at
here, and what cannot be meant is refused or told. Where qform and sform disagree, the choice is that of ITK, and so
of Slicer.
"""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from scipy.spatial.transform import Rotation

from ..errors import InputError
from ..volume import GRID_TOLERANCE_MM, Volume
from .entries import HEADER_PREFIX
from .formats import Content, scalar_shape
from .voxels import file_blocks, read_voxels

_NIFTI1 = np.dtype([
    ("sizeof_hdr", "i4"), ("unused", "V35"), ("dim_info", "u1"), ("dim", "i2", 8), ("intent_p", "f4", 3),
    ("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"), ("slice_start", "i2"), ("pixdim", "f4", 8),
    ("vox_offset", "f4"), ("scl_slope", "f4"), ("scl_inter", "f4"), ("slice_end", "i2"), ("slice_code", "u1"),
    ("xyzt_units", "u1"), ("cal_max", "f4"), ("cal_min", "f4"), ("slice_duration", "f4"), ("toffset", "f4"),
    ("unused2", "V8"), ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "i2"), ("sform_code", "i2"),
    ("quatern", "f4", 3), ("qoffset", "f4", 3), ("srow", "f4", (3, 4)), ("intent_name", "S16"), ("magic", "S4"),
])  # fmt: skip
_NIFTI2 = np.dtype([
    ("sizeof_hdr", "i4"), ("magic", "S8"), ("datatype", "i2"), ("bitpix", "i2"), ("dim", "i8", 8),
    ("intent_p", "f8", 3), ("pixdim", "f8", 8), ("vox_offset", "i8"), ("scl_slope", "f8"), ("scl_inter", "f8"),
    ("cal_max", "f8"), ("cal_min", "f8"), ("slice_duration", "f8"), ("toffset", "f8"), ("slice_start", "i8"),
    ("slice_end", "i8"), ("descrip", "S80"), ("aux_file", "S24"), ("qform_code", "i4"), ("sform_code", "i4"),
    ("quatern", "f8", 3), ("qoffset", "f8", 3), ("srow", "f8", (3, 4)), ("slice_code", "i4"), ("xyzt_units", "i4"),
    ("intent_code", "i4"), ("intent_name", "S16"), ("dim_info", "u1"), ("unused", "V15"),
])  # fmt: skip
_LAYOUTS = {348: (_NIFTI1, b"n+1"), 540: (_NIFTI2, b"n+2\0\r\n\x1a\n")}
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_OTHER_TYPES = {
    1: "bits", 32: "complex numbers", 128: "RGB colors", 1536: "128-bit floats", 1792: "complex numbers",
    2048: "complex numbers", 2304: "RGBA colors",
}  # fmt: skip
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_LABEL_INTENT, _STATISTICS = 1002, range(2, 25)
_COMMENT = 6  # the kind of header extension that holds plain text
_MOST_UNPACKED = 1032  # bytes that one byte of a gzip file can become
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti(path: Path, remarks: list[str]) -> Content:
    """Everything in a file, the voxels in their real values; remarks tell what was not clear.

    Raises InputError for what is damaged, incomplete or no scalar 3-D image.
    """
    with _opened(path) as (file, is_compressed):
        header, order = _read_header(file, path)
        stored = np.dtype(_scalar_type(header, path)).newbyteorder(order)
        shape = _shape(header, path)
        entries = _read_entries(file, _voxel_offset(header, path), order)
        blocks = file_blocks(file, None if is_compressed else math.prod(shape) * stored.itemsize)
        most = path.stat().st_size * (_MOST_UNPACKED if is_compressed else 1)
        raw = read_voxels(path, blocks, shape, stored, most)
    affine = _affine(header, path, remarks)
    intent = int(header["intent_code"])
    if intent in _STATISTICS:
        remarks.append(
            f"The header of '{path.name}' calls it a statistical map (intent {intent}), not an image."
        )
    return Content(_scaled(raw, header, path), affine, entries, intent == _LABEL_INTENT)


def read_nifti_entries(path: Path) -> dict[str, str]:
    """Our entries alone. Raises InputError for a file that is no NIfTI."""
    with _opened(path) as (file, _):
        header, order = _read_header(file, path)
        return _read_entries(file, _voxel_offset(header, path), order)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    """The file, unpacked where it is packed, and whether it is; whatever the suffix says."""
    with open(path, "rb") as plain:
        is_compressed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        try:
            yield (gzip.GzipFile(fileobj=plain) if is_compressed else plain), is_compressed
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise InputError(
                f"'{path.name}' is incomplete or damaged: its gzip stream cannot be unpacked ({error}); copy it again."
            ) from None


def nifti_header(volume: Volume, stored: np.dtype, entries: dict[str, str]) -> bytes:
    """The header of a volume up to its voxels, our entries in an extension; InputError where NIfTI cannot hold it."""
    check_nifti(volume)
    header = np.zeros((), _NIFTI1.newbyteorder("<"))
    affine = _LPS_FROM_RAS @ volume.affine
    rotation = affine[:3, :3] / np.asarray(volume.spacing)
    flip = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    quaternion = Rotation.from_matrix(rotation * (1.0, 1.0, flip)).as_quat()
    quaternion *= math.copysign(
        1.0, quaternion[3]
    )  # the header leaves out the fourth number, which is not negative
    extension = _extension(entries)
    header["sizeof_hdr"] = 348
    header["dim"] = (3, *volume.array.shape[::-1], 1, 1, 1, 1)
    header["datatype"] = next(code for code, name in _TYPES.items() if name == stored.str[1:])
    header["bitpix"] = 8 * stored.itemsize
    header["pixdim"] = (flip, *volume.spacing, 1, 1, 1, 1)
    header["vox_offset"] = 348 + 4 + len(extension)
    header["scl_slope"] = 1
    header["xyzt_units"] = 2
    header["intent_code"] = _LABEL_INTENT if volume.units == "label" else 0
    header["qform_code"] = header["sform_code"] = 1
    header["quatern"], header["qoffset"] = quaternion[:3], affine[:3, 3]
    header["srow"] = affine[:3]
    header["magic"] = b"n+1"
    return header.tobytes() + bytes((bool(extension), 0, 0, 0)) + extension


def check_nifti(volume: Volume) -> None:
    """InputError where the format cannot hold the geometry of a volume."""
    if volume.is_sheared:
        raise InputError(
            "A stack with gantry tilt cannot be stored faithfully as NIfTI; write .nrrd instead."
        )
    if max(volume.array.shape) > np.iinfo(np.int16).max:
        raise InputError("NIfTI holds at most 32767 voxels along an axis; write .nrrd instead.")


def _read_header(file: BinaryIO, path: Path) -> tuple[np.ndarray, str]:
    start = file.read(4)
    for order in "<>":
        size = int(np.frombuffer(start, order + "i4")[0]) if len(start) == 4 else 0
        if size not in _LAYOUTS:
            continue
        layout, magic = _LAYOUTS[size]
        content = start + file.read(size - 4)
        if len(content) < size:
            break
        header = np.frombuffer(content, layout.newbyteorder(order))[0]
        if bytes(header["magic"]) == magic.rstrip(b"\0"):
            return header, order
        if bytes(header["magic"])[:2] == b"ni":
            raise InputError(
                f"'{path.name}' is the header of a pair of files (.hdr, .img); convert it to one .nii file."
            )
        raise InputError(
            f"'{path.name}' has a header like that of Analyze 7.5, not of NIfTI; convert it to NIfTI."
        )
    raise InputError(f"'{path.name}' is no NIfTI file: it does not start with a NIfTI header.")


def _scalar_type(header: np.ndarray, path: Path) -> str:
    code = int(header["datatype"])
    if code in _OTHER_TYPES:
        raise InputError(f"'{path.name}' holds {_OTHER_TYPES[code]}; choose a scalar CT or MR volume.")
    if code not in _TYPES:
        raise InputError(
            f"'{path.name}' states a type of voxels, {code}, that NIfTI does not define; export it again."
        )
    return _TYPES[code]


def _shape(header: np.ndarray, path: Path) -> tuple[int, int, int]:
    count = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1 : count + 1]]
    sizes[3:] = [max(size, 1) for size in sizes[3:]]  # written as 0 by some, and nothing else can be meant
    if not 1 <= count <= 7 or min(sizes) < 1:
        raise InputError(
            f"'{path.name}' states {count} dimensions of sizes {' x '.join(map(str, sizes)) or 'none'}, which no "
            "image has; export it again."
        )
    return scalar_shape(sizes, path)


def _voxel_offset(header: np.ndarray, path: Path) -> int:
    offset = float(header["vox_offset"])
    size = header.dtype.itemsize
    if not math.isfinite(offset) or offset > 1 << 40 or (0 < offset < size) or offset < 0:
        raise InputError(f"'{path.name}' states that its voxels start at byte {offset:g}; export it again.")
    return int(offset) or size + 4


def _read_entries(file: BinaryIO, offset: int, order: str) -> dict[str, str]:
    """Our entries in the header extensions; leaves the file where the voxels start."""
    entries: dict[str, str] = {}
    content = file.read(max(0, offset - file.tell()))
    position = 4
    while content[:1] not in (b"", b"\0") and position + 8 <= len(content):
        size, kind = (int(number) for number in np.frombuffer(content, order + "i4", 2, position))
        if size < 8 or position + size > len(content):
            break
        if kind == _COMMENT:
            entries.update(_entries_in(content[position + 8 : position + size]))
        position += size
    return entries


def _entries_in(comment: bytes) -> dict[str, str]:
    try:
        content = json.loads(comment.rstrip(b"\0").decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {k: v for k, v in content.items() if k.startswith(HEADER_PREFIX) and isinstance(v, str)}


def _extension(entries: dict[str, str]) -> bytes:
    if not entries:
        return b""
    text = json.dumps({HEADER_PREFIX + key: value for key, value in entries.items()}).encode()
    size = -(-(len(text) + 8) // 16) * 16
    return np.array([size, _COMMENT], "<i4").tobytes() + text.ljust(size - 8, b"\0")


def _affine(header: np.ndarray, path: Path, remarks: list[str]) -> np.ndarray:
    """(4, 4) from voxel indices to LPS mm, from sform or qform as ITK chooses."""
    unit = _MM.get(int(header["xyzt_units"]) & 7, 1.0)
    spacing = np.asarray(header["pixdim"][1:4], dtype=float)
    stated = " x ".join(f"{value:g}" for value in spacing)
    is_spacing = bool(np.isfinite(spacing).all() and (spacing > 0).all())
    sform = _sform(header) if header["sform_code"] > 0 else None
    qform = _qform(header) if header["qform_code"] > 0 and is_spacing else None
    if sform is None and header["sform_code"] > 0 and qform is not None:
        remarks.append(f"The sform in the header of '{path.name}' is no geometry; its qform is used.")
    if not is_spacing and sform is None:
        raise InputError(
            f"'{path.name}' states a spacing of {stated} mm; no voxels lie so. Correct its header or export it again."
        )
    if sform is not None and (header["sform_code"] == 1 or header["qform_code"] <= 0 or qform is None):
        affine, used = sform, "sform"
    elif qform is not None:
        affine, used = qform, "qform"
    else:
        remarks.append(
            f"'{path.name}' does not say how it lies in the patient; left, right and place are unknown."
        )
        affine, used = _LPS_FROM_RAS @ np.diag([*spacing, 1.0]), "spacing"
    if sform is not None and qform is not None and not _agree(sform, qform, header):
        remarks.append(
            f"The header of '{path.name}' tells two places, by qform and by sform; the {used} is used."
        )
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if used == "sform" and not (is_spacing and np.allclose(spacing, lengths, rtol=0.01)):
        lies = " x ".join(f"{value:g}" for value in lengths * unit)
        remarks.append(
            f"The header of '{path.name}' states a spacing of {stated} mm, but its sform one of {lies} mm; the sform "
            "is used."
        )
    return _LPS_FROM_RAS @ np.diag([unit, unit, unit, 1.0]) @ affine


def _sform(header: np.ndarray) -> np.ndarray | None:
    affine = np.eye(4)
    affine[:3] = header["srow"]
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or lengths.min() <= 0:
        return None
    return affine if abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3 else None


def _qform(header: np.ndarray) -> np.ndarray | None:
    b, c, d = (float(x) for x in header["quatern"])
    affine = np.eye(4)
    affine[:3, 3] = header["qoffset"]
    a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d))) if math.isfinite(b + c + d) else math.nan
    if not np.isfinite(affine).all() or not math.isfinite(a):
        return None
    flip = -1.0 if header["pixdim"][0] < 0 else 1.0
    spacing = np.asarray(header["pixdim"][1:4], dtype=float) * (1.0, 1.0, flip)
    affine[:3, :3] = Rotation.from_quat([b, c, d, a]).as_matrix() * spacing
    return affine


def _agree(one: np.ndarray, other: np.ndarray, header: np.ndarray) -> bool:
    """Whether all corners lie at the same places, as far as single precision tells."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.asarray(header["dim"][1:4]) - 1)
    corners = np.column_stack((corners, np.ones(8))).T
    return bool(np.allclose(one @ corners, other @ corners, rtol=1e-4, atol=GRID_TOLERANCE_MM))


def _scaled(raw: np.ndarray, header: np.ndarray, path: Path) -> np.ndarray:
    """Real values: raw * scl_slope + scl_inter, slice by slice; whole numbers stay integers where they can."""
    slope, shift = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or math.isnan(slope) or (slope, shift) == (1.0, 0.0):
        return raw  # a slope of 0 (or NaN, as some programs write it) means: not scaled
    if not math.isfinite(slope) or not math.isfinite(shift):
        raise InputError(
            f"'{path.name}' states that values are to be scaled by {slope:g} and shifted by {shift:g}; export it again."
        )
    ends = [float(raw.min()) * slope + shift, float(raw.max()) * slope + shift]
    dtype = np.dtype(np.float32 if raw.dtype.itemsize <= 2 or raw.dtype == np.float32 else np.float64)
    if raw.dtype.kind in "iu" and slope.is_integer() and shift.is_integer() and max(map(abs, ends)) < 2**31:
        dtype = np.dtype(np.int16 if min(ends) >= -(2**15) and max(ends) < 2**15 else np.int32)
    out = np.empty(raw.shape, dtype)
    for number, image in enumerate(raw):
        out[number] = image * np.float64(slope) + shift
    return out
