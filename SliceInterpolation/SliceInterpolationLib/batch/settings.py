"""What is asked for of every study of a batch, as it travels to the workers and stands in the records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from ..catalogue import model_hash
from ..errors import InputError
from ..interpolators import model_of
from ..request import Request
from .options import FORMATS, PARTS, SAME


@dataclass(frozen=True)
class Settings:
    """The options of a batch. What counts for whether a study is finished is `identity`.

    output_format: of the volumes, one of `FORMATS`. without: those of `PARTS` that are left out. method,
    model_sha256: what `request.method` stands for, and the hash of its weights ("" for methods without).
    """

    request: Request = field(default_factory=Request)
    output_format: str = SAME
    compress: bool = False
    without: tuple[str, ...] = ()
    method: str = ""
    model_sha256: str = ""

    @classmethod
    def of(
        cls,
        request: Request,
        output_format: str = SAME,
        compress: bool = False,
        without: Iterable[str] = (),
    ) -> Settings:
        """The settings for a request; InputError where there is no such method, format or part."""
        for given, known, what in (((output_format,), FORMATS, "format"), (without, PARTS, "part")):
            unknown = next((one for one in given if one not in known), None)
            if unknown is not None:
                raise InputError(f"There is no {what} '{unknown}'; use {', '.join(known)}.")
        model = model_of(request.method)
        name, digest = (request.method, "") if model is None else (model.name, model_hash(model))
        return cls(request, output_format, compress, tuple(sorted(set(without))), name, digest)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON and for the way to a worker."""
        return {**asdict(self), "without": list(self.without)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """The settings that `as_dict` gave."""
        request = Request.from_dict(values["request"])
        return cls(**{**values, "request": request, "without": tuple(values["without"])})

    @property
    def identity(self) -> dict[str, Any]:
        """What makes another result where it differs: all but the device, and the method by what it stands for."""
        values = self.as_dict()
        request = {
            key: value for key, value in values.pop("request").items() if key not in ("device", "method")
        }
        return {**values, **request}

    def key(self, scan: Iterable[str], masks: Iterable[str]) -> str:
        """The SHA-256 of a study: of the hashes of its files, whatever they are called, and of `identity`."""
        content = {"scan": sorted(scan), "masks": list(masks), "settings": self.identity}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
