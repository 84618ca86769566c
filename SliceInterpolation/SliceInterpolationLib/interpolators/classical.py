"""Nearest, linear, cubic and B-spline interpolation between slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK as sitk

from .base import Interpolator, SliceStack, SliceWise, split_positions


class Nearest(SliceWise):
    """The nearer slice, of two equally near ones the one before."""

    name = "nearest"

    def between(self, stack: SliceStack, before: int, t: float) -> np.ndarray:
        """See `SliceWise.between`."""
        return stack.image(before + (t > 0.5)).copy()


class Linear(SliceWise):
    """(1 - t) before + t after."""

    name = "linear"

    def between(self, stack: SliceStack, before: int, t: float) -> np.ndarray:
        """See `SliceWise.between`."""
        first, second = stack.image(before), stack.image(before + 1)
        return first + np.float32(t) * (second - first)


class Cubic(SliceWise):
    """The cubic polynomial through the four nearest slices; at the ends through the last four, one-sided.

    Midway its weights are (-1, 9, 9, -1)/16. Stacks of two or three slices use the line or parabola.
    """

    name = "cubic"

    def between(self, stack: SliceStack, before: int, t: float) -> np.ndarray:
        """See `SliceWise.between`."""
        count = min(4, len(stack))
        first = min(max(before - (count - 1) // 2, 0), len(stack) - count)
        weights = lagrange_weights(count, before + t - first)
        out = np.zeros(stack.slices.shape[1:], dtype=np.float32)
        for offset, weight in enumerate(weights):
            out += np.float32(weight) * stack.image(first + offset)
        return out


def lagrange_weights(count: int, x: float) -> np.ndarray:
    """Weights of the knots 0..count-1 for the polynomial through them at x."""
    knots = np.arange(count, dtype=float)
    return np.array([np.prod((x - np.delete(knots, k)) / (k - np.delete(knots, k))) for k in range(count)])


class BSpline(Interpolator):
    """Interpolating cubic B-spline by SimpleITK.

    The stack is continued beyond its ends point-symmetrically, so that a linear course is kept there too.
    """

    name = "bspline"
    _ghosts = 8  # the prefilter's pole 0.268 to this power is below float32 noise in HU

    def synthesize(self, stack: SliceStack, positions: Sequence[float]) -> Iterator[np.ndarray]:
        """See `Interpolator.synthesize`."""
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
