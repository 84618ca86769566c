"""The lattice of the phantom and the shapes on it: smooth signed levels, negative inside, in about mm."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LATTICE_MM = 2.0
LATTICE_LOW = np.array([-74.0, -120.0, -104.0])  # z, y, x
LATTICE_SHAPE = (91, 117, 105)  # to 106 mm above the head center, over any vertex


def rotation(about_x: float, about_y: float, about_z: float) -> np.ndarray:
    """(3, 3) matrix that turns about x, then y, then z, by radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos([about_x, about_y, about_z]), np.sin([about_x, about_y, about_z])
    return (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )


def bspline_weights(u: np.ndarray, n: int) -> np.ndarray:
    """Matrix (len(u), n) of uniform cubic B-spline weights at ``u`` in knot units, clamped to the ends."""
    cell = np.floor(u).astype(int)
    t = u - cell
    weights = (
        np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], axis=1) / 6
    )
    matrix = np.zeros((len(u), n), np.float32)
    rows = np.arange(len(u))
    for i in range(4):
        np.add.at(matrix, (rows, np.clip(cell + i - 1, 0, n - 1)), weights[:, i])
    return matrix


def lattice_noise(rng: np.random.Generator, knot_mm: float) -> np.ndarray:
    """Lattice noise of SD about 1 that varies over about twice ``knot_mm``, a random B-spline."""
    ratio = LATTICE_MM / knot_mm
    counts = [math.ceil(n * ratio) + 3 for n in LATTICE_SHAPE]
    field = rng.normal(size=counts).astype(np.float32)
    for axis, (n, m) in enumerate(zip(LATTICE_SHAPE, counts)):
        weights = bspline_weights(np.arange(n) * ratio + 1, m)
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    return np.ascontiguousarray(field / field.std(), np.float32)


def smooth_min(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Minimum with corners rounded over ``k`` mm."""
    h = np.maximum(k - np.abs(a - b), 0)
    return np.minimum(a, b) - h * h / np.float32(4 * k)


def smooth_max(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """The larger of two levels, rounded over about ``k`` mm."""
    return -smooth_min(-a, -b, k)


def smooth_step(x: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 to 1 over about ``width`` on either side of 0."""
    t = np.clip(x / np.float32(2 * width) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def bump(*scaled: np.ndarray) -> np.ndarray:
    """A Gaussian of the given coordinates, each in units in which it falls to 1/e at 1."""
    return np.exp(-sum(s * s for s in scaled))


def ellipsoid(p: Sequence[np.ndarray], center: Sequence[float], radii: Sequence[float]) -> np.ndarray:
    """First-order distance to an ellipsoid, p = (x, y, z) arrays."""
    q = [(a - np.float32(c)) / np.float32(r) for a, c, r in zip(p, center, radii)]
    k0 = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    k1 = np.sqrt(sum((a / np.float32(r)) ** 2 for a, r in zip(q, radii)))
    return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-3))


def tube(
    p: Sequence[np.ndarray],
    nodes: Sequence[Sequence[float]],
    k: float = 3.0,
    squeeze: Sequence[float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """Chain of round cones through ``nodes`` (x, y, z, radius); ``squeeze`` flattens the cross-section."""
    s = np.asarray(squeeze, np.float32)
    out = None
    for a, b in zip(nodes[:-1], nodes[1:]):
        start, end = np.float32(a[:3]) / s, np.float32(b[:3]) / s
        along = end - start
        r = [c / f - o for c, f, o in zip(p, s, start)]
        t = np.clip(sum(c * d for c, d in zip(r, along)) / np.dot(along, along), 0, 1)
        gap = np.sqrt(sum((c - t * d) ** 2 for c, d in zip(r, along)))
        cone = gap - (np.float32(a[3]) + t * np.float32(b[3] - a[3]))
        out = cone if out is None else smooth_min(out, cone, k)
    return out


def normalized(level: np.ndarray, floor: float) -> np.ndarray:
    """The level divided by its slope, so that it counts mm near its zero surface."""
    slope = np.sqrt(sum(g * g for g in np.gradient(level, LATTICE_MM)))
    return level / np.maximum(slope, np.float32(floor))


def span(axis: np.ndarray, center: float, reach: float) -> slice:
    """The part of an ascending axis within ``reach`` of ``center``."""
    return slice(*np.searchsorted(axis, [center - reach, center + reach]))
