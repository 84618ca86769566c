"""What can go wrong, in words for the user."""

from __future__ import annotations

DONE, FAILED, BAD_INPUT, CANCELLED = 0, 1, 2, 3
"""Exit codes of the command line: bad input is an `InputError`, failed is every other error."""


class SliceInterpolationError(Exception):
    """Base of all errors of this package; its text is meant for the user."""


class InputError(SliceInterpolationError):
    """The input or an argument is not usable; the text names the problem and the way out."""


class OutputError(SliceInterpolationError):
    """The machine did not take the output: full disk, read-only folder. What was there before is as it was."""


class PredictionError(SliceInterpolationError):
    """A method or model predicts what cannot be an image; the text names it and the slice."""


class Cancelled(SliceInterpolationError):
    """The user stopped the work; nothing was written."""
