"""Values of DICOM headers as they are found in practice: empty, with decimal commas, or no numbers at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .report import UNREADABLE, Unusable

if TYPE_CHECKING:
    import pydicom


class Header:
    """Looks up attributes in several datasets, the first that has one counts: a frame's own, the shared, the file's."""

    def __init__(self, datasets: Sequence[pydicom.Dataset]):
        self._datasets = datasets

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """So many finite numbers; None where the attribute is missing or empty. Raises Unusable for anything else."""
        numbers = self._numbers(keyword)
        if numbers is None:
            return None
        if len(numbers) != count or not all(map(math.isfinite, numbers)):
            raise Unusable(UNREADABLE, f"{keyword} is not {count} finite numbers")
        return numbers

    def number(self, keyword: str) -> float | None:
        """The first number of an attribute that only helps; None also where it is not readable."""
        try:
            numbers = self._numbers(keyword)
        except Unusable:
            return None
        return numbers[0] if numbers and math.isfinite(numbers[0]) else None

    def whole(self, keyword: str, default: int | None = None) -> int:
        """A whole number; Unusable where it is missing without a default, or is none."""
        numbers = self.numbers(keyword, 1) or (default,)
        if numbers[0] is None or numbers[0] != int(numbers[0]):
            raise Unusable(
                UNREADABLE, f"{keyword} is {'missing' if numbers[0] is None else 'no whole number'}"
            )
        return int(numbers[0])

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a text attribute without padding; empty where there is none."""
        for dataset in self._datasets:
            if keyword not in dataset:
                continue
            try:
                value = dataset[keyword].value
            except Exception:  # an encoding that is wrong or unknown raises anything
                return ()
            several = isinstance(value, Sequence) and not isinstance(value, (str, bytes))
            values = value if several else [] if value is None else [value]
            return tuple(str(one).strip(" \0") for one in values)
        return ()

    def text(self, keyword: str) -> str:
        """As `texts`, joined as DICOM does."""
        return "\\".join(self.texts(keyword))

    def _numbers(self, keyword: str) -> tuple[float, ...] | None:
        for dataset in self._datasets:
            if keyword not in dataset:
                continue
            try:
                return _parsed(dataset, keyword)
            except Exception:  # what a wrong length or a wrong type raises has many names
                raise Unusable(UNREADABLE, f"{keyword} is no number") from None
        return None


def _parsed(dataset: pydicom.Dataset, keyword: str) -> tuple[float, ...] | None:
    """Decimal strings are parsed here, not by pydicom, which refuses a comma for the point."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    element = dataset.get_item(tag)
    value, kind = element.value, getattr(element, "VR", None) or dictionary_VR(tag)
    if isinstance(value, bytes) and kind in ("DS", "IS", "UN"):
        value = value.decode("ascii").strip(" \0").split("\\")
        value = [one.strip(" \0") for one in value if one.strip(" \0")]
        return tuple(float(one.replace(",", ".") if "." not in one else one) for one in value) or None
    value = dataset[tag].value
    if value is None or value == "":
        return None
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return tuple(float(one) for one in (value if several else [value])) or None
