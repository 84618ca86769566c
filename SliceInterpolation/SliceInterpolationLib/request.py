"""What is asked for: one set of options for the library, the command line, a job of the panel and the header."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import InputError
from .volume import AXES, UNITS

OUTPUT_MODES = ("interpolated", "denoised", "denoise-only")
ISOTROPIC = "isotropic"
LARGEST_FACTOR = 100
"""More than a hundred slices between two acquired ones help nobody, and fill the memory."""


def _option(default: Any, help: str, **settings: Any) -> Any:
    """A field that is an option of the command line too."""
    return field(default=default, metadata={"help": help, **settings})


@dataclass(frozen=True)
class Request:
    """The options of one interpolation. It checks itself: InputError names what cannot be, and the way out.

    Whether it fits a volume is checked where the volume is (`interpolation.interpolate`).

    Example::

        request = Request(factor="3", output_mode="denoised")
        request.to_arguments()                  # ["--factor", "3", "--output-mode", "denoised"]
    """

    factor: int | str = _option(2, "times more slices: 2, 3, ... or isotropic")
    method: str = _option(
        "default", "default (bundled network), a model, or nearest, linear, cubic, bspline, flow"
    )
    output_mode: str = _option(
        "interpolated", "what becomes of the slices that are there", choices=OUTPUT_MODES
    )
    strength: float = _option(0.5, "of denoising, 0 to 1", type=float)
    axis: str = _option("auto", "slice axis, by default that of the largest spacing", choices=("auto", *AXES))
    device: str = _option("auto", "auto, cpu, cuda or cuda:N")
    units: str = _option("auto", "of the voxels, by default as the file says", choices=("auto", *UNITS[:2]))
    force: bool = _option(False, "interpolate in spite of a refusal that allows it")

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", _factor(self.factor))
        object.__setattr__(self, "strength", _strength(self.strength))
        object.__setattr__(self, "force", bool(self.force))
        for one in fields(self):
            value, choices = getattr(self, one.name), one.metadata.get("choices")
            if isinstance(one.default, str) and (not isinstance(value, str) or not value):
                raise InputError(
                    f"The option {one.name} must be a text such as '{one.default}', not {value!r}."
                )
            if choices and value not in choices:
                raise InputError(
                    f"There is no {one.name.replace('_', ' ')} '{value}'; use {', '.join(choices)}."
                )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The options by name."""
        return tuple(one.name for one in fields(cls))

    @classmethod
    def add_arguments(cls, parser: argparse.ArgumentParser, only: Iterable[str] | None = None) -> None:
        """Give a command the options, or some of them."""
        wanted = set(cls.names() if only is None else only)
        for one in fields(cls):
            if one.name not in wanted:
                continue
            settings: dict[str, Any] = dict(one.metadata)
            if one.default is False:
                settings["action"] = "store_true"
            else:
                settings["default"] = one.default
            parser.add_argument(_flag(one.name), **settings)

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Request:
        """The request that a parsed command line holds; options that the command does not have keep their default."""
        return cls.from_dict(vars(options))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Request:
        """The request that `as_dict` gave; entries of other names are passed over."""
        return cls(**{name: values[name] for name in cls.names() if name in values})

    def as_dict(self) -> dict[str, Any]:
        """Plain values by name, for JSON."""
        return asdict(self)

    def to_arguments(self, only: Iterable[str] | None = None) -> list[str]:
        """Arguments of the command line that give this request back; defaults are left out."""
        arguments: list[str] = []
        for one in fields(self):
            value = getattr(self, one.name)
            if value == one.default or (only is not None and one.name not in only):
                continue
            arguments.append(_flag(one.name))
            if value is not True:
                arguments.append(repr(value) if isinstance(value, float) else str(value))
        return arguments


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _factor(value: Any) -> int | str:
    """A whole number from 2 on, or "isotropic"."""
    text = str(value).strip()
    if text == ISOTROPIC:
        return text
    # In this order: Python refuses to read numbers of thousands of digits.
    if isinstance(value, bool) or not (text.isascii() and text.isdigit()) or text.lstrip("0") in ("", "1"):
        raise InputError(f"The factor must be a whole number from 2 on or 'isotropic', not '{value}'.")
    if len(text) > 9 or int(text) > LARGEST_FACTOR:
        raise InputError(f"A factor of {text[:12]} is beyond reason; the largest is {LARGEST_FACTOR}.")
    return int(text)


def _strength(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= 1:
        raise InputError(f"The denoising strength must lie between 0 and 1, not {value}.")
    return number
