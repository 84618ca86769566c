"""Interpolation of a stack through its two through-plane views, one axial slice at a time.

SAINT and ACVTT work alike at the volume level: every sagittal and every coronal image of the stack is made
dense along the slice axis by a network, and a second network then merges the two dense views axial slice by
axial slice. What differs is what they do to one image, so that is passed in here; buffers, chunks, clipping
and the order of the slices are handled once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

Synthesize = Callable[[np.ndarray, int, int, str], np.ndarray]
"""(planes (P, N, L), first, last, view) -> dense planes first to last - 1, (last - first, D, L)."""

Fuse = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(sagittal, coronal) -> merged; all three are one axial slice (rows, columns)."""

Progress = Callable[[str, int, int], None]
"""(view, images done, images in all). What it raises ends the computation, so it also serves to cancel."""

VIEW_AXES = {"sagittal": 2, "coronal": 1}
"""The axis of a (slices, rows, columns) stack across which each view is taken."""


def dense_length(slices: int, factor: int) -> int:
    """Number of slices after interpolation by `factor`: (slices - 1) * factor + 1."""
    return (slices - 1) * factor + 1


def interpolate_two_views(
    stack: np.ndarray | Iterable[np.ndarray],
    factor: int,
    synthesize: Synthesize,
    fuse: Fuse | None,
    *,
    limits: tuple[float, float],
    keep_observed: bool = True,
    chunk: int = 8,
    buffers: np.ndarray | None = None,
    dtype: np.dtype | type = np.float32,
    progress: Progress | None = None,
) -> Iterator[np.ndarray]:
    """Yield the D = (N - 1) * factor + 1 dense slices of `stack` in order, each (rows, columns) float32.

    stack: (N, rows, columns), or an iterable of N slices; every through-plane image crosses all of them, so
        an iterable is collected first. N >= 2.
    synthesize, fuse: the two stages, see above; without `fuse` the two views are averaged.
    limits: the intensity range to which everything synthesized is clipped.
    keep_observed: yield the slices of `stack` themselves at every factor-th position, unclipped and
        unchanged.
    chunk: through-plane images handed to `synthesize` at once.
    buffers: (2, D, rows, columns), where the sagittal and the coronal volume are written; may be a memory
        map. An integer type rounds. Allocated as `dtype` when not given. Both are complete when the first
        slice comes.
    progress: called after each chunk.

    Memory beyond the stack: the buffers, plus what one chunk and one axial slice need. Raises ValueError for
    a bad stack, factor, chunk or buffer, before any work.
    """
    stack = stack if isinstance(stack, np.ndarray) else np.stack(list(stack))
    if stack.ndim != 3 or len(stack) < 2:
        raise ValueError(
            f"the stack must be (slices, rows, columns) with two or more slices, not {stack.shape}"
        )
    if not isinstance(factor, (int, np.integer)) or factor < 2:
        raise ValueError(f"the factor must be an integer of 2 or more, not {factor}")
    if chunk < 1:
        raise ValueError(f"the chunk must hold at least one image, not {chunk}")
    shape = (2, dense_length(len(stack), factor), *stack.shape[1:])
    if buffers is None:
        buffers = np.empty(shape, dtype=dtype)
    elif buffers.shape != shape:
        raise ValueError(f"the buffers must be {shape}, not {buffers.shape}")

    # Checked above at the call; computed below when the first slice is asked for.
    def slices() -> Iterator[np.ndarray]:
        for buffer, (view, axis) in zip(buffers, VIEW_AXES.items()):
            planes, dense = np.moveaxis(stack, axis, 0), np.moveaxis(buffer, axis, 0)
            for first in range(0, len(planes), chunk):
                last = min(first + chunk, len(planes))
                images = np.clip(synthesize(planes, first, last, view), *limits)
                dense[first:last] = np.rint(images) if np.issubdtype(buffer.dtype, np.integer) else images
                if progress is not None:
                    progress(view, last, len(planes))
        for k, (sagittal, coronal) in enumerate(zip(*buffers)):
            if keep_observed and k % factor == 0:
                yield stack[k // factor].astype(np.float32)
                continue
            sagittal, coronal = sagittal.astype(np.float32), coronal.astype(np.float32)
            merged = (sagittal + coronal) / 2 if fuse is None else fuse(sagittal, coronal)
            yield np.clip(merged, *limits).astype(np.float32, copy=False)

    return slices()
