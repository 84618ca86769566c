"""Reading network weights: the safetensors format, checked against a SHA-256 and loaded strictly.

The format is a length, a JSON table and raw numbers; reading it here keeps PyTorch the only package that
interpolation needs beyond what Slicer ships. Nothing in such a file can run code.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    import torch

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "|u1", "BOOL": "|b1"}


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def check_hash(path: Path, expected_sha256: str | None) -> None:
    """InputError where the file is not there or is not the expected one; None expects nothing of it."""
    if not path.is_file():
        raise InputError(f"'{path}' is missing; install the model again.")
    if expected_sha256 is not None and sha256(path) != expected_sha256:
        raise InputError(
            f"'{path}' is not the file that its card describes (SHA-256 differs); install it again."
        )


def read_script(path: str | Path, expected_sha256: str | None = None) -> torch.jit.ScriptModule:
    """A TorchScript file on the CPU: the network and its weights in one.

    Unlike safetensors such a file holds a program, though one confined to tensors; load what you trust.
    Raises InputError where the file is damaged or is not the one that its card describes.
    """
    import torch

    path = Path(path)
    check_hash(path, expected_sha256)
    try:
        return torch.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise InputError(f"'{path}' is not a TorchScript file that this PyTorch can read.") from error


def read_weights(path: str | Path, expected_sha256: str | None = None) -> dict[str, torch.Tensor]:
    """Tensors of a safetensors file by name; half precision is widened to float32.

    Raises InputError where the file is damaged or is not the one that its card describes.
    """
    import torch

    path = Path(path)
    check_hash(path, expected_sha256)
    content = path.read_bytes()
    try:
        length = int.from_bytes(content[:8], "little")
        table = json.loads(content[8 : 8 + length])
        table.pop("__metadata__", None)
        tensors = {}
        for name, entry in table.items():
            first, last = entry["data_offsets"]
            raw = content[8 + length + first : 8 + length + last]
            array = np.frombuffer(raw, dtype=_TYPES[entry["dtype"]]).reshape(entry["shape"])
            array = array.astype(np.float32) if entry["dtype"] == "F16" else array.copy()
            tensors[name] = torch.from_numpy(array)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"'{path}' is not a complete safetensors file; copy it again.") from error
    return tensors


def load_strictly(network: torch.nn.Module, tensors: dict[str, torch.Tensor], source: str) -> None:
    """Put tensors into a network; InputError unless names and shapes agree one to one."""
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        first = next((line.strip() for line in str(error).splitlines()[1:] if line.strip()), str(error))
        raise InputError(f"The weights of '{source}' do not fit its architecture: {first}") from error
