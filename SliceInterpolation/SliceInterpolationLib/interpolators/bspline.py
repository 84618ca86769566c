"""Interpolating cubic B-splines along the slice axis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK as sitk

from ..stack import SliceStack
from .base import Interpolator, split_positions


class BSpline(Interpolator):
    """Interpolating cubic B-spline by SimpleITK.

    The stack is continued beyond its ends point-symmetrically, so that a linear course is kept there too.
    """

    name = "bspline"
    _ghosts = 8  # the prefilter's pole 0.268 to this power is below float32 noise in HU

    def synthesize(self, stack: SliceStack, positions: Sequence[float]) -> Iterator[np.ndarray]:
        """The spline at `positions` in order, each (rows, columns) float32.

        Its coefficients are computed once, and need three times the stack in memory, as float32.
        """
        places = [before + t for before, t in split_positions(stack, positions)]
        ghosts = min(self._ghosts, len(stack) - 1)
        body = np.asarray(stack.slices, dtype=np.float32)
        padded = np.concatenate(
            (2 * body[:1] - body[ghosts:0:-1], body, 2 * body[-1:] - body[-2 : -2 - ghosts : -1])
        )
        # Only the course along the slices matters, so the spline is one-dimensional: pixels become a long row.
        columns = sitk.GetImageFromArray(padded.reshape(len(padded), -1))
        coefficients = sitk.BSplineDecomposition(columns, splineOrder=3)
        del columns, padded
        size = (coefficients.GetSize()[0], 1)
        resampler = sitk.ResampleImageFilter()
        resampler.SetInterpolator(sitk.sitkBSplineResampler)
        resampler.SetOutputPixelType(sitk.sitkFloat32)
        for place in places:
            resampler.SetSize(size)
            resampler.SetOutputOrigin((0.0, float(place + ghosts)))
            yield sitk.GetArrayFromImage(resampler.Execute(coefficients)).reshape(body.shape[1:])
