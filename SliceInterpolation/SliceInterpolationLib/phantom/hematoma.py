"""The hematoma: a star-convex body in closed form, whose volume is an exact integral."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .shapes import LATTICE_LOW, LATTICE_MM, rotation, span


@dataclass(frozen=True)
class Hematoma:
    """An intracerebral hematoma: ``volume_ml`` is its true volume in mL, whatever its shape.

    ``shape`` is ``"irregular"`` or ``"ellipsoid"``; ``center_mm`` is (x, y, z) in mm, LPS, relative to the
    head center (default: the right basal ganglia); ``seed`` draws the irregular outline.
    """

    volume_ml: float = 30.0
    shape: str = "irregular"
    center_mm: tuple[float, float, float] | None = None
    hu: float = 62.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.volume_ml) and self.volume_ml > 0):
            raise ValueError(f"volume_ml must be positive, not {self.volume_ml}")
        if self.shape not in ("irregular", "ellipsoid"):
            raise ValueError(f"shape must be 'irregular' or 'ellipsoid', not {self.shape!r}")


class StarBody:
    """A star-convex body ``|v| < r0 (1 + s(v/|v|))``; ``v`` is the offset, stretched and rotated.

    ``s`` is a sum of Legendre series about a few axes, each term of which is a spherical harmonic; without it
    the body is an ellipsoid. The stretch keeps volumes, so the volume is ``r0^3 / 3`` times the integral of
    ``(1 + s)^3`` over the sphere. That integrand is a polynomial of degree 15 in the direction, for which 16
    Gauss-Legendre nodes in the cosine and 32 equal steps in the azimuth are exact, so ``r0`` follows from the
    volume to rounding error.
    """

    DEGREE = 5

    def __init__(
        self,
        volume_ml: float,
        center: Sequence[float],
        semi_axes: Sequence[float],
        rotation: np.ndarray,
        axes: np.ndarray | Sequence[Sequence[float]],
        series: Sequence[Sequence[float]],
    ):
        self.volume_ml, self.center = volume_ml, np.asarray(center, float)
        self.axes = np.asarray(axes, float).reshape(-1, 3)
        # Monomial coefficients, highest power first, for Horner's scheme.
        self.series = [np.polynomial.legendre.leg2poly(c)[::-1] for c in series]
        stretch = np.asarray(semi_axes) / np.prod(semi_axes) ** (1 / 3)
        self.to_star = np.diag(1 / stretch) @ rotation.T
        self.from_star = rotation @ np.diag(stretch)
        nodes, weights = np.polynomial.legendre.leggauss(16)
        azimuth = np.arange(32) * (2 * np.pi / 32)
        sine = np.sqrt(1 - nodes**2)[:, None]
        self.directions = np.stack(
            np.broadcast_arrays(sine * np.cos(azimuth), sine * np.sin(azimuth), nodes[:, None]), -1
        ).reshape(-1, 3)
        relative = 1 + self._s(self.directions.T)
        if relative.min() < 0.3:
            raise ValueError("the outline is too irregular to be star-convex with a smooth edge")
        integral = (weights[:, None] * (2 * np.pi / 32) * relative.reshape(16, 32) ** 3).sum() / 3
        self.r0 = float((1000 * volume_ml / integral) ** (1 / 3))
        self.surface = self.center + (self.directions * self.r0 * relative[:, None]) @ self.from_star.T
        self.reach = float(self.r0 * (1 + sum(np.abs(c).sum() for c in series)) * stretch.max())

    @classmethod
    def of(cls, hematoma: Hematoma) -> StarBody:
        """The body of a hematoma; its seed alone decides its outline."""
        rng = np.random.default_rng([hematoma.seed, 7])
        center = (-29.0, -4.0, 7.0) if hematoma.center_mm is None else hematoma.center_mm
        angles = np.radians([rng.uniform(-12, 12), rng.uniform(-12, 12), rng.uniform(4, 16)])
        axes, series = [], []
        if hematoma.shape == "irregular":
            axes = rng.normal(size=(7, 3))
            axes /= np.linalg.norm(axes, axis=1, keepdims=True)
            falloff = np.array([0, 0, 1.0, 0.95, 0.8, 0.6])[: cls.DEGREE + 1]
            series = rng.normal(size=(7, cls.DEGREE + 1)) * falloff
            # Bound the relief on the sphere, not in mean, so that every seed is star-convex.
            probe = cls(1.0, center, (1, 1, 1), np.eye(3), axes, series * 1e-3)
            series *= 0.5e-3 / max(np.abs(probe._s(probe.directions.T)).max(), 1e-9)
        return cls(hematoma.volume_ml, center, (0.82, 1.3, 0.95), rotation(*angles), axes, series)

    def _s(self, u: np.ndarray) -> np.ndarray:
        total = np.zeros(np.shape(u[0]), np.result_type(u[0]))
        for axis, series in zip(self.axes.astype(total.dtype), self.series):
            t = axis[0] * u[0] + axis[1] * u[1] + axis[2] * u[2]
            term = np.full_like(t, series[0])
            for c in series[1:].astype(total.dtype):
                term *= t
                term += c
            total += term
        return total

    def level(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Level in about mm, negative inside, at broadcastable world coordinates."""
        x, y, z = x - self.center[0], y - self.center[1], z - self.center[2]
        dtype = np.result_type(x, y, z)
        v = [row[0] * x + row[1] * y + row[2] * z for row in self.to_star.astype(dtype)]
        radius = np.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2)
        scale = 1 / np.maximum(radius, dtype.type(1e-6))
        return radius - dtype.type(self.r0) * (1 + self._s([a * scale for a in v]))


class Coverage:
    """Fractions of pixels that the hematoma covers in a thick plane, by 4 x 4 x 2 samples at its edge."""

    EDEMA_MM = 6.0

    def __init__(self, body: StarBody, axis: np.ndarray, pixel: float, thickness: float):
        self.body = body
        self.reach = body.reach + self.EDEMA_MM
        self.box = tuple(span(axis, body.center[i], self.reach) for i in (1, 0))
        self.y, self.x = (axis[b].astype(np.float32) for b in self.box)
        step = (np.arange(4) - 1.5) / 4 * pixel
        self.samples = np.stack(np.meshgrid(step, step, [-thickness / 4, thickness / 4]), -1)
        self.samples = self.samples.reshape(-1, 3).astype(np.float32)
        # The level changes by less than 4 per mm at the edge: pixels farther from it are all in or all out.
        self.margin = 4 * math.sqrt(0.5 * pixel**2 + 0.25 * thickness**2)

    def blend(self, plane: np.ndarray, inside: np.ndarray, z: float, hu: float) -> None:
        """Paint the hematoma and its edema into ``plane`` (HU) and add its coverage to ``inside``."""
        if abs(z - self.body.center[2]) > self.reach or not (self.x.size and self.y.size):
            return
        level = self.body.level(self.x[None, :], self.y[:, None], np.float32(z))
        fraction = (level < 0).astype(np.float32)
        rows, columns = np.nonzero(np.abs(level) < self.margin)
        dx, dy, dz = self.samples.T
        samples = self.body.level(self.x[columns, None] + dx, self.y[rows, None] + dy, np.float32(z) + dz)
        fraction[rows, columns] = (samples < 0).mean(axis=1)
        target = plane[self.box]
        # Edema: water in the rim lowers brain by up to 9 HU; other tissue keeps its value.
        rim = np.clip(1.2 - np.maximum(level, 0) / self.EDEMA_MM, 0, 1) * ((target > 20) & (target < 48))
        target -= np.float32(9) * rim
        target += fraction * (hu - target)
        inside[self.box] += fraction


def check_inside(body: StarBody, cavity: np.ndarray) -> None:
    """ValueError for a body that comes nearer than 0.5 mm to the wall of the cavity; cavity: its level in mm."""
    index = (body.surface[:, ::-1] - LATTICE_LOW) / LATTICE_MM
    depth = ndimage.map_coordinates(cavity.astype(np.float32), index.T, order=1, mode="nearest")
    if depth.max() > -0.5:
        raise ValueError(
            f"a hematoma of {body.volume_ml:g} mL at {tuple(map(float, body.center))} mm reaches beyond"
            " the brain; make it smaller or move it toward the center"
        )
