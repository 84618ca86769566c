"""Network weights: the safetensors format, read and checked here, and TorchScript files, which are programs.

A safetensors file is a length, a JSON table and raw numbers; nothing in it can run code. Reading it here keeps
PyTorch the only package that interpolation needs beyond what Slicer ships; writing uses the library itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from .atomic import replacing
from .errors import Cancelled, InputError

if TYPE_CHECKING:
    import torch

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}
_LARGEST_TABLE = 16 << 20  # bytes; that of a network with a thousand tensors has a hundred thousand


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_hash(path: Path, expected_sha256: str) -> None:
    """InputError where the file is not there or is not the expected one."""
    _check_there(path)
    _check_digest(path, sha256(path), expected_sha256)


def read_shapes(path: Path) -> dict[str, list[int]]:
    """Shape of every tensor of a safetensors file, by name; the numbers themselves are not read.

    Raises InputError unless the file is complete by its table and its size.
    """
    try:
        _check_there(path)
        with open(path, "rb") as file:
            table, _ = _read_table(file, path.stat().st_size, path)
            return {name: entry["shape"] for name, entry in table.items()}
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error


def check_script(path: Path) -> None:
    """InputError unless a file looks like TorchScript from outside, an archive with code. Nothing is loaded."""
    try:
        _check_there(path)
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}.") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(f"'{path}' is not a complete TorchScript file; copy it again.") from error
    if not any("/code/" in name for name in names) or not any(n.endswith("/constants.pkl") for n in names):
        raise InputError(f"'{path}' is an archive, but not a TorchScript file.")


def read_script(path: str | Path, expected_sha256: str) -> torch.jit.ScriptModule:
    """A TorchScript file on the CPU: the network and its weights in one.

    This runs a program that can do whatever its user can, already while it is loaded: ask for consent first.
    Raises InputError where the file is damaged or is not the one that its card describes.
    """
    import torch

    content = _read(Path(path), expected_sha256)
    try:
        return torch.jit.load(io.BytesIO(content), map_location="cpu")
    except Cancelled:
        raise
    except Exception as error:  # what is in there may fail in any way
        raise InputError(f"'{path}' is not a TorchScript file that this PyTorch can read.") from error


def read_weights(path: str | Path, expected_sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file by name; half precision is widened to float32.

    Raises InputError where the file is damaged, is not the one that its card describes, or holds NaN.
    """
    import torch

    path = Path(path)
    content = _read(path, expected_sha256)
    table, start = _read_table(io.BytesIO(content), len(content), path)
    tensors = {}
    for name, entry in table.items():
        array = np.frombuffer(
            content, _TYPES[entry["dtype"]], math.prod(entry["shape"]), start + entry["data_offsets"][0]
        )
        if array.dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
            raise InputError(f"The weights '{path}' hold something else than true and false in '{name}'.")
        array = array.astype(np.float32) if entry["dtype"] == "F16" else array.copy()
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(
                f"The weights '{path}' hold NaN or infinite numbers in '{name}'; the model is of no use."
            )
        tensors[name] = torch.from_numpy(array.reshape(entry["shape"]))
    return tensors


def write_weights(network: torch.nn.Module, path: str | Path, half: bool = False) -> None:
    """Write the tensors of a network as safetensors, with `half` the floating-point ones as float16.

    Raises InputError for weights that are not finite, or not in half precision; then nothing is written.
    """
    from safetensors.torch import save

    tensors = {}
    for name, tensor in network.state_dict().items():
        kept = tensor.half() if half and tensor.is_floating_point() else tensor
        if not bool(tensor.isfinite().all()):
            raise InputError(f"'{name}' holds NaN or infinite weights; the network is of no use.")
        if not bool(kept.isfinite().all()):
            raise InputError(f"'{name}' holds values beyond half precision; store single precision.")
        tensors[name] = kept.contiguous()
    with replacing(path) as file:
        file.write(save(tensors))


def load_strictly(network: torch.nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Put tensors into a network; InputError unless names and shapes agree one to one."""
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first = next((line.strip() for line in str(error).splitlines()[1:] if line.strip()), str(error))
        raise InputError(f"The weights of '{source}' do not fit its architecture: {first}") from error


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"'{path}' is missing; install the model again.")


def _check_digest(path: Path, digest: str, expected_sha256: str) -> None:
    if digest != expected_sha256:
        raise InputError(
            f"'{path}' is not the file that its card describes (SHA-256 differs); install it again."
        )


def _read(path: Path, expected_sha256: str | None) -> bytes:
    """The whole file. Read once: what is checked is what is used."""
    _check_there(path)
    content = path.read_bytes()
    if expected_sha256 is not None:
        _check_digest(path, hashlib.sha256(content).hexdigest(), expected_sha256)
    return content


def _read_table(file: BinaryIO, size: int, path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The checked table of a safetensors file of `size` bytes, and where its numbers begin."""
    try:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _LARGEST_TABLE):
            raise ValueError("its table is cut")
        table = json.loads(file.read(length))
        if not isinstance(table, dict):
            raise ValueError("its table is none")
        table.pop("__metadata__", None)
        for name, entry in table.items():
            _check_entry(name, entry)
        end = 0  # the tensors lie one after the other, without a gap and to the end of the file
        for name, entry in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = entry["data_offsets"]
            if first != end:
                raise ValueError(f"'{name}' does not begin where the tensor before it ends")
            end = last
        if end != size - 8 - length:
            raise ValueError(f"it has {size - 8 - length} bytes of numbers where {end} belong")
    except (ValueError, RecursionError) as error:
        reason = str(error) or "its table is nested too deeply"
        raise InputError(f"'{path}' is not a complete safetensors file: {reason}; copy it again.") from error
    return table, 8 + length


def _check_entry(name: str, entry: Any) -> None:
    """ValueError unless a tensor's entry has type, shape and place, and they agree."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"the entry of '{name}' is not one of a tensor")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise ValueError(f"'{name}' is of the type {dtype}, where {', '.join(_TYPES)} are known")
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise ValueError(f"shape and place of '{name}' are not whole numbers")
    if len(shape) > 16 or math.prod(max(n, 1) for n in shape) >= 1 << 40:
        raise ValueError(f"the shape of '{name}' is beyond reason")
    if len(offsets) != 2 or offsets[1] - offsets[0] != math.prod(shape) * np.dtype(_TYPES[dtype]).itemsize:
        raise ValueError(f"shape and place of '{name}' do not agree")
