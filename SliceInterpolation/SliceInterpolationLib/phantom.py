"""A synthetic head CT with a hematoma of exactly known volume.

The head is a set of smooth signed level functions (negative inside, about mm) on a 2 mm lattice that is fixed
in world coordinates, so a phantom of any grid shows the same head. Every CT slice is the mean of thin planes
across its thickness, and a plane evaluates the level functions as uniform cubic B-splines, which is one small
matrix product per axis; no thin copy of the volume ever exists. The hematoma is not on the lattice: it is a
star-convex body in closed form, and its volume is an exact integral. Only NumPy and SciPy are needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, ndimage

__all__ = ["HeadPhantom", "Hematoma", "head_phantom"]

LATTICE_MM = 2.0
LATTICE_LOW = np.array([-74.0, -120.0, -104.0])  # z, y, x
LATTICE_SHAPE = (91, 117, 105)  # to 106 mm above the head center, over any vertex
BOTTOM_MM = -66.0  # lower edge of the lowest slice: the foramen magnum is a little below
MINIMUM_HU, MAXIMUM_HU = -1024, 3071
PSF_SD_MM = 0.5  # in-plane point spread; pixels and lattice blur a little more

HU = {
    "air": -1000.0,
    "holder foam": -930.0,
    "holder shell": -250.0,
    "skin": 60.0,
    "fat": -95.0,
    "muscle": 55.0,
    "galea": 25.0,
    "suture": 180.0,
    "cortical bone": 1550.0,
    "csf": 8.0,
    "gray": 39.0,
    "white": 29.0,
    "dura": 50.0,
    "blood": 56.0,
    "globe": 12.0,
    "lens": 75.0,
    "calcification": 260.0,
}


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


@dataclass
class HeadPhantom:
    """A phantom scan; arrays are (slices, rows, columns), axial, LPS with identity direction.

    ``image`` int16 HU; ``mask`` uint8, 1 where at least half of the voxel (pixel area times slice thickness)
    is hematoma; ``spacing`` and ``origin`` (x, y, z) in mm, the head center being (0, 0, 0);
    ``slice_thickness`` in mm; ``hematoma_ml`` the true volume of the hematoma in mL (0 without one).
    """

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    slice_thickness: float
    hematoma_ml: float


def head_phantom(
    size: int = 512,
    pixel_spacing: float = 0.45,
    slices: int = 30,
    slice_spacing: float = 5.0,
    slice_thickness: float = 5.0,
    hematoma: Hematoma | None = Hematoma(),
    noise_hu: float = 3.5,
    seed: int = 0,
    *,
    first_slice_mm: float | None = None,
    subslice_mm: float = 1.0,
    anatomy_seed: int = 0,
) -> HeadPhantom:
    """Make a synthetic axial head CT, slices ascending from the skull base to near the vertex.

    ``size`` pixels of ``pixel_spacing`` mm a side; ``slices`` of ``slice_thickness`` mm every
    ``slice_spacing`` mm. The first slice is centered at ``first_slice_mm`` (default: half a spacing above
    -66 mm, so that scans of other spacings cover the same range). A slice is the HU mean of planes at most
    ``subslice_mm`` apart. The noise SD is ``noise_hu`` half-way out in the brain at 5 mm and goes as
    1/sqrt(thickness); 0 means none. ``seed`` draws the noise, ``anatomy_seed`` the head. The hematoma
    displaces the tissue around it, so the brain without one is not quite the same. Raises ValueError for
    sizes that are not positive, or a hematoma that does not fit into the cranial cavity.
    """
    if min(size, slices) < 1 or min(pixel_spacing, slice_spacing, slice_thickness, subslice_mm) <= 0:
        raise ValueError("size, slices, spacings and thicknesses must be positive")
    if not noise_hu >= 0:
        raise ValueError(f"noise_hu must not be negative, not {noise_hu}")
    body = _StarBody.of(hematoma) if hematoma is not None else None
    fields = _anatomy(anatomy_seed, hematoma)
    if body is not None:
        _check_inside(body, fields["cavity"])

    axis = (np.arange(size) - (size - 1) / 2) * pixel_spacing
    first = BOTTOM_MM + slice_spacing / 2 if first_slice_mm is None else first_slice_mm
    planes = max(1, math.ceil(slice_thickness / subslice_mm - 1e-6))
    offsets = ((np.arange(planes) + 0.5) / planes - 0.5) * slice_thickness
    painter = _Painter(fields, axis, pixel_spacing)
    covering = _Coverage(body, axis, pixel_spacing, slice_thickness / planes) if body is not None else None
    noise = _ScanNoise(size, pixel_spacing, noise_hu * math.sqrt(5 / slice_thickness), seed)

    image = np.empty((slices, size, size), np.int16)
    mask = np.zeros((slices, size, size), np.uint8)
    for k in range(slices):
        mean = np.zeros((size, size), np.float32)
        inside = np.zeros((size, size), np.float32)
        for z in first + k * slice_spacing + offsets:
            plane = painter.plane(z)
            if covering is not None:
                covering.blend(plane, inside, z, hematoma.hu)
            mean += plane
        mean = ndimage.gaussian_filter(mean / planes, PSF_SD_MM / pixel_spacing, mode="nearest")
        image[k] = np.clip(np.rint(mean + noise.slice()), MINIMUM_HU, MAXIMUM_HU)
        mask[k] = inside >= 0.5 * planes - 1e-3
    return HeadPhantom(
        image,
        mask,
        (pixel_spacing, pixel_spacing, slice_spacing),
        (float(axis[0]), float(axis[0]), float(first)),
        slice_thickness,
        body.volume_ml if body is not None else 0.0,
    )


# ------------------------------------------------------------------------------------------------ hematoma


class _StarBody:
    """A star-convex body ``|v| < r0 (1 + s(v/|v|))``; ``v`` is the offset, stretched and rotated.

    ``s`` is a sum of Legendre series about a few axes, each term of which is a spherical harmonic; without it
    the body is an ellipsoid. The stretch keeps volumes, so the volume is ``r0^3 / 3`` times the integral of
    ``(1 + s)^3`` over the sphere. That integrand is a polynomial of degree 15 in the direction, for which 16
    Gauss-Legendre nodes in the cosine and 32 equal steps in the azimuth are exact, so ``r0`` follows from the
    volume to rounding error.
    """

    DEGREE = 5

    def __init__(self, volume_ml, center, semi_axes, rotation, axes, series):
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
    def of(cls, hematoma: Hematoma) -> _StarBody:
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
        return cls(hematoma.volume_ml, center, (0.82, 1.3, 0.95), _rotation(*angles), axes, series)

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


class _Coverage:
    """Fractions of pixels that the hematoma covers in a thick plane, by 4 x 4 x 2 samples at its edge."""

    EDEMA_MM = 6.0

    def __init__(self, body: _StarBody, axis: np.ndarray, pixel: float, thickness: float):
        self.body = body
        self.reach = body.reach + self.EDEMA_MM
        self.box = tuple(_span(axis, body.center[i], self.reach) for i in (1, 0))
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


def _check_inside(body: _StarBody, cavity: np.ndarray) -> None:
    index = (body.surface[:, ::-1] - LATTICE_LOW) / LATTICE_MM
    depth = ndimage.map_coordinates(cavity.astype(np.float32), index.T, order=1, mode="nearest")
    if depth.max() > -0.5:
        raise ValueError(
            f"a hematoma of {body.volume_ml:g} mL at {tuple(map(float, body.center))} mm reaches beyond"
            " the brain; make it smaller or move it toward the center"
        )


# ------------------------------------------------------------------------------------------------ anatomy


def _rotation(about_x: float, about_y: float, about_z: float) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos([about_x, about_y, about_z]), np.sin([about_x, about_y, about_z])
    return (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )


def _bspline_weights(u: np.ndarray, n: int) -> np.ndarray:
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


def _noise(rng: np.random.Generator, knot_mm: float) -> np.ndarray:
    """Lattice noise of SD about 1 that varies over about twice ``knot_mm``, a random B-spline."""
    ratio = LATTICE_MM / knot_mm
    counts = [math.ceil(n * ratio) + 3 for n in LATTICE_SHAPE]
    field = rng.normal(size=counts).astype(np.float32)
    for axis, (n, m) in enumerate(zip(LATTICE_SHAPE, counts)):
        weights = _bspline_weights(np.arange(n) * ratio + 1, m)
        field = np.moveaxis(np.tensordot(weights, field, (1, axis)), 0, axis)
    return np.ascontiguousarray(field / field.std(), np.float32)


def _smin(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    """Minimum with corners rounded over ``k`` mm."""
    h = np.maximum(k - np.abs(a - b), 0)
    return np.minimum(a, b) - h * h / np.float32(4 * k)


def _smax(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    return -_smin(-a, -b, k)


def _step(x: np.ndarray, width: float) -> np.ndarray:
    """Smooth step from 0 to 1 over about ``width`` on either side of 0."""
    t = np.clip(x / np.float32(2 * width) + np.float32(0.5), 0, 1)
    return t * t * (3 - 2 * t)


def _bump(*scaled: np.ndarray) -> np.ndarray:
    return np.exp(-sum(s * s for s in scaled))


def _ellipsoid(p, center, radii) -> np.ndarray:
    """First-order distance to an ellipsoid, p = (x, y, z) arrays."""
    q = [(a - np.float32(c)) / np.float32(r) for a, c, r in zip(p, center, radii)]
    k0 = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
    k1 = np.sqrt(sum((a / np.float32(r)) ** 2 for a, r in zip(q, radii)))
    return k0 * (k0 - 1) / np.maximum(k1, np.float32(1e-3))


def _tube(p, nodes, k: float = 3.0, squeeze=(1.0, 1.0, 1.0)) -> np.ndarray:
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
        out = cone if out is None else _smin(out, cone, k)
    return out


def _normalized(level: np.ndarray, floor: float) -> np.ndarray:
    """The level divided by its slope, so that it counts mm near its zero surface."""
    slope = np.sqrt(sum(g * g for g in np.gradient(level, LATTICE_MM)))
    return level / np.maximum(slope, np.float32(floor))


@lru_cache(maxsize=1)
def _anatomy(seed: int, hematoma: Hematoma | None) -> dict[str, np.ndarray]:
    """The level functions of the head, name -> lattice (z, y, x), negative inside.

    ``marrow`` and ``hind_hu`` are HU, ``tissue`` is an HU offset, and ``sulcus``, ``midline`` and ``suture``
    are signed distances to sheets. float16 halves the memory of the cache (55 MB) and is exact to 0.01 mm at
    the surfaces.
    """
    rng = np.random.default_rng([seed, 1])
    world = [
        (low + LATTICE_MM * np.arange(n, dtype=np.float32)).astype(np.float32)
        for low, n in zip(LATTICE_LOW, LATTICE_SHAPE)
    ]
    wz, wy, wx = np.meshgrid(*world, indexing="ij")
    pose = _rotation(*np.radians([rng.uniform(-3, 0), rng.uniform(0.5, 1.5), rng.uniform(2, 4)])).astype(
        np.float32
    )
    stature = rng.uniform(0.97, 1.03, 3).astype(np.float32) if seed else np.ones(3, np.float32)
    X, Y, Z = (
        (pose[0, i] * wx + pose[1, i] * wy + pose[2, i] * wz) / stature[i] + np.float32(1.1) * _noise(rng, 42)
        for i in range(3)
    )
    f = _skull(X, Y, Z, rng)
    f.update(_face(X, Y, Z, f, rng))
    f.update(_brain(X, Y, Z, (wx, wy, wz), f, rng, hematoma))
    del f["dome"], f["thickness"]
    return {name: field.astype(np.float16) for name, field in f.items()}


# Below, X, Y, Z are head coordinates in mm, left, posterior and superior from the head center, bent by smooth
# noise so that no two sides are alike; ax is |X|. Numbers are anatomical positions and sizes in mm.


def _petrous_y(ax: np.ndarray) -> np.ndarray:
    """Y of the petrous ridge, which parts the middle from the posterior fossa."""
    return -2 + 0.62 * (np.maximum(ax, 14) - 14)


def _skull(X, Y, Z, rng) -> dict[str, np.ndarray]:
    """Cranial cavity, bone of the vault and base, sutures."""
    ax = np.abs(X)
    up = Z + 5
    width = 67.5 * (1 + 0.08 * (Y / 85) - 0.02 * (Y / 85) ** 2)
    depth = np.where(up > 0, np.float32(87.5), np.float32(88))
    # Rounder in the axial plane than in the others: the sides of a head are steep.
    ring = ((ax / width) ** 2.2 + (np.abs(Y - 1) / 84) ** 2.2) ** np.float32(2.3 / 2.2)
    rho = np.maximum((ring + (np.abs(up) / depth) ** 2.3) ** np.float32(1 / 2.3), 0.05)
    dome = np.sqrt(X * X + Y * Y + up * up) * (1 - 1 / rho) + 0.5 * _noise(rng, 18)

    # The floor of the cavity as a height map: anterior, middle and posterior fossa, sella and clivus, ridges.
    ridge_y = _petrous_y(ax)
    anterior = -33 + 11 * _bump((ax - 32) / 17, (Y + 60) / 26) + 9 * _bump(X / 2.5, (Y + 72) / 8)
    middle = -50 + 0.012 * (Y + 12) ** 2 + 0.004 * (ax - 40) ** 2
    posterior = -74 + 0.011 * (X * X + (Y - 44) ** 2)
    sella = -25 - 9 * _bump(X / 9, (Y + 11) / 6) + 2 * _bump(X / 9, (Y + 2) / 3)
    clivus = -25 - 1.75 * np.maximum(Y, 0)
    central = np.where(Y < 0, sella, np.maximum(clivus, posterior))
    lateral = _step(ridge_y - Y, 4)
    side = lateral * middle + (1 - lateral) * posterior
    mid = _step(14 - ax, 4) * _step(24 - Y, 6)
    floor = mid * central + (1 - mid) * side
    front = _step(-14 - 0.5 * ax - Y, 2.5)
    floor = front * anterior + (1 - front) * floor
    across = (Y - ridge_y) * 0.85
    ridge = -27 - 0.05 * (ax - 35) - np.abs(across) * 1.6
    floor = np.where(ax > 10, _smax(floor, ridge - 40 * _step(10 - ax, 6), 6), floor)
    occipital_crest = 14 * _bump(X / 5, (Y - 86) / 14) * _step(-12 - Z, 10)
    floor = floor + 1.0 * _noise(rng, 8) + occipital_crest
    cavity = _normalized(_smax(dome, 0.75 * (floor - Z), 5), 0.5)

    # Outer table: thin at the temples, thick at the forehead and the occiput, hollowed by the frontal sinus.
    temple = _step(ax - 42, 8) * _bump((Y + 12) / 34, (Z + 14) / 26)
    frontal = _bump(X / 24, (Z + 14) / 18) * _step(-50 - Y, 10)
    inion = _bump(X / 16, (Z + 20) / 14) * _step(Y - 50, 10)
    thickness = 6.6 + 0.7 * _noise(rng, 20) - 2.6 * temple + 6 * frontal + 1.5 * inion
    slab = 2.4 + 6 * mid * _step(Y + 8, 5) + 3 * (1 - lateral) * (1 - front)
    outer = _smax(dome - thickness, 0.75 * (floor - slab - Z), 3)
    outer = _smax(outer, -62 - Z - 40 * _step(Y - 20, 12), 3)
    bone = np.maximum(outer, -cavity)

    p = (ax, Y, Z)
    petrous = _tube(p, [(15, 1, -40, 7), (36, 13, -42, 9), (58, 24, -46, 12)], 4)
    mastoid = _ellipsoid(p, (57, 30, -52), (14, 15, 20)) + 1.5 * _noise(rng, 9)
    temporal = np.maximum(_smin(petrous, mastoid, 5), -cavity)
    bone = _smin(bone, temporal, 1.5)
    cells = _noise(rng, 3.6)
    air = np.maximum(_ellipsoid(p, (56, 27, -48), (13, 12, 17)), 1.8 * (0.15 - cells))
    air = np.minimum(air, _ellipsoid(p, (48, 14, -42), (6, 3.5, 5)))
    air = np.minimum(air, _tube(p, [(52, 13, -44, 2.5), (84, 11, -46, 3.2)], 1))  # external auditory canal
    marrow = (
        620
        + 120 * _noise(rng, 3)
        + 90 * _noise(rng, 9)
        + 900 * _bump((ax - 38) / 9, (Y - 13) / 8, (Z + 40) / 8)
    )
    marrow = marrow - 150 * _bump(X / 10, (Y - 12) / 12, (Z + 46) / 12)

    # Frontal sinus: inside the thickened bone of the forehead.
    lobes = _noise(rng, 6)
    frontal_air = np.abs(dome - 0.5 * thickness) - 0.5 * thickness + 1.9
    plate = np.sqrt((X / 22) ** 2 + ((Z + 16 - 0.15 * ax) / 15) ** 2) * 14 - 14 + 2.5 * lobes
    frontal_air = np.maximum(frontal_air, plate)
    frontal_air = np.maximum(frontal_air, 1.4 - np.abs(X - 1.5 - 1.5 * lobes))
    air = np.minimum(air, np.where(Y < -40, np.maximum(frontal_air, 1.5 - cavity), np.float32(50)))

    wiggle = 1.7 * _noise(rng, 3.2) + 1.5 * _noise(rng, 9)
    coronal = 0.9 * (Y + 15 + 0.24 * (85 - Z)) + wiggle + 60 * _step(-8 - Z, 8)
    sagittal = X + wiggle + 60 * _step(-18 - Y, 4) + 60 * _step(20 - Z, 6) + 60 * _step(Y - 82, 4)
    lambdoid = (Z - 42 + 1.15 * ax) / 1.5 + wiggle + 60 * _step(30 - Y, 6) + 60 * _step(-26 - Z, 6)
    suture = coronal
    for other in (sagittal, lambdoid):
        # Zero where either is zero, of about unit slope there: one field for all sutures.
        suture = suture * other / np.maximum(np.sqrt(suture * suture + other * other), 1e-3)
    return {
        "dome": dome,
        "cavity": cavity,
        "outer": outer,
        "bone": bone,
        "air": air,
        "marrow": marrow,
        "suture": suture,
        "thickness": thickness,
    }


def _face(X, Y, Z, f, rng) -> dict[str, np.ndarray]:
    """Scalp, muscles, orbits, paranasal sinuses, ears."""
    ax = np.abs(X)
    p = (ax, Y, Z)
    dome, cavity, bone, air = f["dome"], f["cavity"], f["bone"], f["air"]
    temporalis = _step(ax - 40, 8) * _bump((Y + 14) / 34, (Z + 22) / 30)
    nape = _step(Y - 40, 14) * _step(-28 - Z, 14)
    scalp = 5.6 + 0.6 * _noise(rng, 18) + 8 * temporalis + 9 * nape
    head = dome - f["thickness"] - scalp
    face = _ellipsoid((ax, Y, Z), (0, -36, -62), (70, 66, 56))
    face = _smin(face, _tube((X, Y, Z), [(0, -92, -40, 9), (0, -104, -66, 10)], 4), 14)
    neck = np.sqrt((X / 66) ** 2 + ((Y - 8) / 84) ** 2) * 74 - 74 + np.maximum(Z + 45, 0)
    head = _smin(_smin(head, face, 12), neck, 14)
    ear = _ellipsoid((ax - 0.35 * (Y - 18), Y, Z), (83, 20, -44), (3.2, 15, 25))
    ear = np.maximum(ear, 5 - np.sqrt((Y - 14) ** 2 + (Z + 46) ** 2))
    head = _smin(head, ear + 0.8 * _noise(rng, 7), 3)

    # Orbit: a cone of fat from the apex to the globe.
    apex, globe_center = np.float32([13, -38, -38]), np.float32([32, -75, -43])
    axis = globe_center - apex
    length = float(np.linalg.norm(axis))
    axis /= length
    r = [c - a for c, a in zip(p, apex)]
    along = sum(c * a for c, a in zip(r, axis))
    radial = np.sqrt(np.maximum(sum(c * c for c in r) - along * along, 0))
    width = np.clip(4 + 0.33 * along, 3, 18.5)
    orbit = np.maximum(0.95 * (radial - width), np.maximum(-along, along - length - 18))
    orbit = np.maximum(orbit, head + 1.8)
    angle = np.arctan2(r[2], r[0] - axis[0] * along)
    recti = np.hypot(radial - 0.72 * width, 5.0 * np.sin(2 * angle)) - 1.9
    recti = np.maximum(recti, along - length - 2)
    nerve = np.maximum(radial - 2.3, np.abs(along - length / 2) - length / 2)
    globe = _ellipsoid(p, globe_center, (12, 12.3, 12))
    globe = np.maximum(globe, head + 1.5)
    sclera = np.abs(globe) - 0.7
    lens = _ellipsoid(p, (33.5, -84, -43.5), (4.5, 2.2, 4.5))
    orbital = np.minimum(np.minimum(recti, nerve), sclera)

    outward = _step(r[0] - axis[0] * along, 6)
    rim = np.maximum(np.abs(0.95 * (radial - width) - 0.8) - 0.8 - 0.8 * outward, -along)
    rim = np.maximum(rim, along - length + 1 + 13 * outward)
    sphenoid = _ellipsoid((X, Y, Z), (2, -26, -44), (14, 15, 10)) + 0.8 * _noise(rng, 8)
    sphenoid = np.maximum(sphenoid, 0.9 - np.abs(X - 2.5 + 0.08 * (Z + 44)))
    block = _smax(_smax(ax - 12, np.abs(Y + 56) - 19, 5), np.abs(Z + 45) - 12, 5) + 0.8 * _noise(rng, 8)
    block = np.maximum(block, 1.0 - 0.95 * (radial - width))
    ethmoid = np.maximum(np.maximum(block, 1.6 - 4.5 * np.abs(_noise(rng, 4.5))), 0.9 - np.abs(X - 0.5))
    nasal = np.maximum(np.maximum(ax - 11, np.abs(Y + 62) - 30), Z + 52)
    nasal = np.maximum(nasal, 3.2 - np.abs(ax - 8 - 2 * np.sin(Y / 9)))
    maxillary = _ellipsoid(p, (27, -64, -70), (14, 17, 16)) + 2.0 * _noise(rng, 10)
    pharynx = _ellipsoid((X, Y, Z), (0, -18, -70), (11, 9, 14))
    sinus_air = np.minimum(np.minimum(np.minimum(ethmoid, nasal), np.minimum(sphenoid, maxillary)), pharynx)
    sinus_air = np.maximum(sinus_air, -cavity + 2)
    walls = np.minimum(np.minimum(sphenoid - 2.2, block - 0.9), maxillary - 1.5)
    thin_bone = np.minimum(
        _tube(p, [(47, -66, -50, 5), (62, -38, -52, 3), (68, -6, -49, 3.5)], 2),
        _ellipsoid(p, (52, 2, -58), (9, 5, 7)),
    )
    nasal_bones = _tube(p, [(3, -90, -30, 3.0), (5, -98, -46, 2.0)], 1)
    thin_bone = np.minimum(np.minimum(thin_bone, nasal_bones), np.minimum(rim, walls))
    pillar = _ellipsoid(p, (20, -26, -44), (9, 6, 12))
    thin_bone = np.maximum(_smin(thin_bone, pillar, 2), -cavity)
    vault = np.minimum(np.maximum(bone, -orbit), thin_bone)
    # Fat lies in planes between the muscles and in a few pads.
    planes = 4.5 * (0.3 - np.abs(_noise(rng, 7)))
    muscle = np.maximum(np.maximum(head + 5, planes), 4 * (-1.1 - _noise(rng, 9)))
    high = np.minimum(30 * (0.18 - temporalis), 30 * (0.25 - nape)) - 60 * _step(-38 - Z, 10)
    muscle = np.maximum(np.maximum(muscle, high), -orbit)
    return {
        "head": head,
        "bone": vault,
        "air": np.minimum(air, sinus_air),
        "muscle": muscle,
        "orbit": orbit,
        "orbital": orbital,
        "globe": globe,
        "lens": lens,
    }


def _brain(X, Y, Z, world, f, rng, hematoma) -> dict[str, np.ndarray]:
    """Cortex, ventricles, cisterns, deep gray matter, falx, tentorium, posterior fossa."""
    cavity = f["cavity"]
    swelling = np.float32(0)
    if hematoma is not None:
        # Mass effect: tissue around the clot gives way like an incompressible medium, but not at the bone.
        body = _StarBody.of(hematoma)
        r = [w - np.float32(c) for w, c in zip(world, body.center)]
        distance2 = sum(a * a for a in r)
        push = body.r0**3 / 3 / (distance2 + body.r0**2) * np.clip(-cavity / 25, 0, 1)
        away = push / np.sqrt(distance2 + 1)
        X, Y, Z = X - r[0] * away, Y - r[1] * away, Z - r[2] * away
        swelling = np.exp(-distance2 / (2 * (1.7 * body.r0) ** 2))
    wobble = [np.float32(0.9) * _noise(rng, 12) for _ in range(3)]
    ax = np.abs(X + wobble[0])
    p = (ax, Y + wobble[1], Z + wobble[2])
    midline = X + 0.8 * _noise(rng, 25)

    # Infratentorial space.
    side = np.abs(X)
    ridge_y = _petrous_y(side)
    roof = 2 - 0.38 * np.maximum(side - 10, 0) - 0.42 * np.maximum(Y - 36, 0)
    infra = 0.8 * (Z - _smin(roof, 0.95 * (Y - ridge_y) - 26, 10)) + 0.5 * _noise(rng, 14)
    # The free edge leaves the incisura open around the midbrain.
    tentorium = np.maximum(np.abs(infra + 0.4), np.minimum(18 - side, 36 - Y))

    # Depth below the pial hull of the cerebral hemispheres.
    gap = 1.6 + 0.8 * _step(-20 - Y, 30) + 0.5 * _noise(rng, 16)
    depth = -cavity - gap
    core = np.sqrt((Y / 46) ** 2 + ((Z - 7) / 25) ** 2) * 30 - 30
    medial = np.sqrt(midline**2 + np.minimum(core, 0) ** 2) - 1.3
    depth = _smin(depth, medial, 4)
    slope = (Z + 4 - 0.42 * (Y + 5)) * 0.9 + 2.0 * _noise(rng, 8)
    lateral = np.sqrt(slope**2 + np.maximum(43 - ax, 0) ** 2 + np.maximum(np.abs(Y + 6) - 30, 0) ** 2)
    insula = np.sqrt(
        (ax - 41 + 0.007 * (Y + 4) ** 2 + 1.8 * _noise(rng, 8)) ** 2
        + np.maximum(np.abs(slope - 2) - 12, 0) ** 2
        + np.maximum(np.abs(Y + 6) - 21, 0) ** 2
    )
    sylvian = np.minimum(lateral, insula) - 0.9 + swelling - 1.1 * _bump((Y + 24) / 14, slope / 14)
    folded = _smin(depth, infra - 0.4, 3)  # where sulci run down from
    depth = _smin(depth, sylvian, 2)
    star = _ellipsoid(p, (0, -9, -20), (12, 9, 7))
    ambient = _ellipsoid(p, (0, 9, -20), (17.5, 18, 13))
    cistern = np.minimum(star, ambient)
    depth = _smin(depth, cistern, 3)
    depth = _smin(depth, infra - 0.4, 3)

    # Sulci: the zero sheets of band-limited noise, drawn along rays so that they run down from the surface.
    white = rng.standard_normal(LATTICE_SHAPE, np.float32)
    pattern = -ndimage.gaussian_laplace(white, 4.6 / LATTICE_MM, truncate=3, mode="wrap")
    pattern /= pattern.std()
    q = [X + 2.5 * _noise(rng, 9), Y + 2.5 * _noise(rng, 9), Z - 8 + 2.5 * _noise(rng, 9)]
    radius = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2) + 1
    ray = (75 / radius) ** np.float32(0.72)
    index = [(a * ray - low) / LATTICE_MM for a, low in zip(q[::-1], LATTICE_LOW.tolist())]
    pattern = ndimage.map_coordinates(pattern, index, order=1, mode="grid-wrap")
    pattern = ndimage.gaussian_filter(pattern, 0.6)
    gradient = np.sqrt(sum(g * g for g in np.gradient(pattern, LATTICE_MM)))
    sulcus = np.clip(pattern / (gradient + 0.06), -14, 14)
    reach = 13.5 + 3.5 * _noise(rng, 12)
    openness = 0.5 + 0.22 * _noise(rng, 9) + 0.3 * _step(Z - 45, 20) - 0.7 * swelling

    # Ventricles: lateral with frontal, occipital and temporal horns, third, fourth.
    lateral_v = _tube(
        p,
        [
            (9, -38, 5, 3.5),
            (7, -26, 11, 7.0),
            (8.5, -6, 19, 5.5),
            (12, 14, 20, 5.5),
            (20, 29, 13, 7.0),
            (24, 39, 6, 5.5),
            (23, 54, 3, 2.2),
        ],
        5,
        (1.0, 1.0, 0.8),
    )
    temporal_horn = _tube(p, [(22, 31, 9, 5), (31, 14, -13, 2.6), (30, -6, -20, 1.8)], 5)
    lateral_v = _smin(lateral_v, temporal_horn, 4)
    caudate = _ellipsoid(p, (15.5, -20, 10), (6.0, 11, 9))
    thalamus = _ellipsoid(p, (11, 6, 4), (9, 15, 10))
    lateral_v = _smax(lateral_v, -np.minimum(caudate, thalamus) - 0.3, 2)
    lateral_v = np.maximum(lateral_v, 0.9 - np.abs(midline))  # septum pellucidum
    third = np.maximum(np.abs(midline) - 1.9, _ellipsoid(p, (0, 2, -2), (30, 14, 11)))
    fourth = _ellipsoid(p, (0, 37, -42), (9, 5.5, 11))
    quadrigeminal = _ellipsoid((ax, Y - 0.02 * ax**2, Z), (0, 27, -4), (12, 3.2, 5.5))
    csf = np.minimum(np.minimum(lateral_v, third), np.minimum(fourth, quadrigeminal))
    calcified = np.minimum(
        _ellipsoid((X, Y, Z), (0.6, 25, 0), (1.9, 2.2, 2.2)),
        np.minimum(
            _ellipsoid((X, Y, Z), (23, 34, 10), (2.2, 3.2, 2.6)),
            _ellipsoid((X, Y, Z), (-22, 35, 9), (1.8, 2.6, 2.2)),
        ),
    )
    lentiform = _ellipsoid((ax - 0.1 * (p[1] + 6), p[1], p[2]), (24, -5, 4), (7, 17, 10))
    deep = np.minimum(np.minimum(caudate, lentiform), thalamus)

    # Posterior fossa.
    stem = _tube(
        p, [(0, 10, -8, 10), (0, 12, -24, 13), (0, 14, -40, 15), (0, 22, -58, 9), (0, 26, -84, 7)], 8
    )
    stem = np.minimum(stem, _ellipsoid(p, (9, 6, -16), (6.5, 6, 8)))
    peduncle = _tube(p, [(8, 20, -40, 7), (24, 34, -42, 9)], 4)
    cerebellum = _smax(
        np.maximum(infra + 0.9, cavity + 1.8), 0.7 * (24 - 1.3 * np.maximum(ax - 11, 0) - Y), 5
    )
    cerebellum = _smax(cerebellum, -_ellipsoid(p, (0, 68, -62), (13, 14, 16)), 4)
    cerebellum = _smax(cerebellum, -_ellipsoid(p, (21, 7, -38), (7, 5, 7)), 3)
    hind = _smin(_smin(cerebellum, stem, 2), peduncle, 3)
    hind = np.maximum(hind, cavity + 1.2)
    shell = np.sqrt(0.6 * X**2 + 1.6 * (Y - 22) ** 2 + 2.6 * (Z + 40) ** 2) + 2.5 * _noise(rng, 9)
    folia = 6.5 * np.sin(shell * np.float32(2 * np.pi / 8)) * _step(cerebellum + 14, 8) * _step(1 + stem, 4)
    hind_hu = 37 + folia - 7 * _bump((ax - 20) / 14, (Y - 44) / 13, (Z + 42) / 12) - 2.5 * _step(-stem, 4)

    # Dural sinuses: superior sagittal along the vault, transverse along the edge of the tentorium.
    back = _step(Y + 40, 40)
    sagittal = np.maximum((np.abs(midline) + 0.75 * (-cavity)) * 0.8 - 1.2 - 2.6 * back, -4 - Z)
    transverse = np.maximum(np.hypot(np.abs(infra) * 0.9, cavity) - 3.4, 24 - Y)
    falx_edge = np.maximum(3 - core + 0.25 * (Y + 20) * _step(-Y, 20), -1.5 - infra)
    falx_edge = np.maximum(falx_edge, np.where(Y > 30, np.float32(-100), -14 - Z))
    return {
        "depth": depth,
        "sulcus": sulcus,
        "below": folded - reach,
        "openness": openness,
        "csf": csf,
        "calcified": calcified,
        "deep": deep,
        "hind": hind,
        "hind_hu": hind_hu,
        "midline": midline,
        "falx": falx_edge,
        "tentorium": tentorium,
        "venous": np.minimum(sagittal, transverse),
        "tissue": 1.2 * _noise(rng, 7),
    }


# ------------------------------------------------------------------------------------------------ painting


def _span(axis: np.ndarray, center: float, reach: float) -> slice:
    return slice(*np.searchsorted(axis, [center - reach, center + reach]))


class _Painter:
    """Paints noise-free planes (rows, columns) of HU at a world z."""

    def __init__(self, fields: dict[str, np.ndarray], axis: np.ndarray, pixel: float):
        self.fields, self.axis = fields, axis
        self.weights_y, self.weights_x = (
            _bspline_weights((axis - LATTICE_LOW[i]) / LATTICE_MM, LATTICE_SHAPE[i]) for i in (1, 2)
        )
        self.edge = np.float32(1 / max(pixel, 0.4))
        # Air and the head holder, a padded shell below the occiput; the same in every plane.
        self.empty = np.full((len(axis), len(axis)), HU["air"], np.float32)
        shell = np.hypot(axis[None, :], axis[:, None] + 22) - 127
        end = 40 - axis[:, None]
        self._lay(self.empty, np.maximum(np.abs(shell + 2) - 5, end), HU["holder foam"])
        self._lay(self.empty, np.maximum(np.abs(shell - 4) - 1, end), HU["holder shell"])

    def plane(self, z: float) -> np.ndarray:
        """The plane at ``z`` mm, float32 HU."""
        weights = _bspline_weights(np.array([(z - LATTICE_LOW[0]) / LATTICE_MM]), LATTICE_SHAPE[0])[0]
        used = np.flatnonzero(weights)
        self._coarse = {
            name: np.tensordot(weights[used], f[used[0] : used[-1] + 1].astype(np.float32), 1)
            for name, f in self.fields.items()
        }
        out = self.empty.copy()
        box = self._box("head")
        if box is None:
            return out
        part = out[box]
        self._soft_tissue(part, box)
        self._bone(part, box)
        box = self._box("cavity")
        if box is not None:
            self._inside(out[box], box)
        return out

    def _soft_tissue(self, out, box) -> None:
        head = self._fine("head", box)
        self._lay(out, head, HU["skin"])
        self._lay(out, head + 2.0, HU["fat"])
        self._lay_field(out, "muscle", HU["muscle"], box)
        self._lay(out, np.maximum(self._fine("outer", box) - 1.3, head + 2), HU["galea"])
        for name, hu in (("orbit", "fat"), ("orbital", "muscle"), ("globe", "globe"), ("lens", "lens")):
            inner = 0.8 if name == "globe" else 0.0
            self._lay_field(out, name, HU[hu], box, inner)

    def _bone(self, out, box) -> None:
        bone = self._fine("bone", box)
        marrow = self._fine("marrow", box)
        diploe = np.clip((-1.1 - bone) * np.float32(0.9), 0, 1)
        value = HU["cortical bone"] + diploe * (marrow - HU["cortical bone"])
        suture = np.clip(1.4 - np.abs(self._fine("suture", box)) * np.float32(1.7), 0, 1)
        value += suture * (HU["suture"] - value)
        self._lay(out, bone, value)
        self._lay_field(out, "air", HU["air"], box)

    def _inside(self, out, box) -> None:
        get = {
            name: self._fine(name, box)
            for name in ("depth", "sulcus", "below", "openness", "tissue", "midline")
        }
        cavity = self._fine("cavity", box)
        sheet = np.hypot(get["sulcus"], np.maximum(get["below"], 0))
        pia = np.minimum(get["depth"], sheet - get["openness"])
        brain = np.full_like(out, HU["csf"])
        white = HU["gray"] + np.clip((pia - 2.3) * np.float32(0.7), 0, 1) * np.float32(
            HU["white"] - HU["gray"]
        )
        self._lay(brain, -pia, white + get["tissue"])
        self._lay_field(brain, "hind", "hind_hu", box)
        self._lay_field(brain, "deep", HU["gray"] - 1, box, soft=0.5)
        self._lay_field(brain, "csf", HU["csf"], box)
        falx = np.maximum(np.abs(get["midline"]) - 0.75, self._fine("falx", box))
        self._lay(brain, falx, HU["dura"])
        self._lay_field(brain, "tentorium", HU["dura"], box, -0.8)
        self._lay_field(brain, "venous", HU["blood"], box, soft=0.8)
        self._lay_field(brain, "calcified", HU["calcification"], box)
        self._lay(out, cavity, brain)

    def _box(self, name: str) -> tuple[slice, slice] | None:
        """Pixels around where the level of ``name`` is below 2 mm, or None."""
        near = self._coarse[name] < 2
        if not near.any():
            return None
        spans = []
        for i, along in ((1, near.any(1)), (2, near.any(0))):
            edge = LATTICE_LOW[i] + LATTICE_MM * np.flatnonzero(along)[[0, -1]]
            spans.append(slice(*np.searchsorted(self.axis, [edge[0] - LATTICE_MM, edge[1] + LATTICE_MM])))
        return spans[0], spans[1]

    def _fine(self, name: str, box) -> np.ndarray:
        return self.weights_y[box[0]] @ self._coarse[name] @ self.weights_x[box[1]].T

    def _lay_field(self, out, name, hu, box, inner: float = 0.0, soft: float = 1.0) -> None:
        """Paint where the level ``name`` is below ``-inner``, touching only the pixels around it."""
        own = self._box(name)
        if own is None:
            return
        own = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(own, box))
        if any(a.start >= a.stop for a in own):
            return
        local = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(own, box))
        value = self._fine(hu, own) if isinstance(hu, str) else hu
        self._lay(out[local], self._fine(name, own) + np.float32(inner), value, soft)

    def _lay(self, out, level, hu, soft: float = 1.0) -> None:
        """Blend ``hu`` into ``out`` where ``level`` is negative, over an edge one pixel wide."""
        weight = np.clip(np.float32(0.5) - level * np.float32(self.edge * soft), 0, 1)
        out += weight * (hu - out)


# ------------------------------------------------------------------------------------------------ noise


class _ScanNoise:
    """Slices of Gaussian CT noise with a ramp-times-apodization power spectrum, shaded by radius.

    The noise power of filtered back projection rises linearly from zero frequency and is cut by the kernel;
    here it is ``f exp(-(f/f0)^2)``, which peaks at ``f0/sqrt(2)`` = 0.25 per mm, as with soft-tissue kernels.
    """

    F0_PER_MM = 0.35

    def __init__(self, size: int, pixel: float, sd: float, seed: int):
        self.rng = np.random.default_rng([seed, 2])
        self.size, self.sd = size, sd
        fy, fx = np.fft.fftfreq(size, pixel)[:, None], np.fft.rfftfreq(size, pixel)[None, :]
        f = np.hypot(fy, fx)
        power = f * np.exp(-((f / self.F0_PER_MM) ** 2))
        full = np.hypot(fy, np.fft.fftfreq(size, pixel)[None, :])
        mean_power = np.mean(full * np.exp(-((full / self.F0_PER_MM) ** 2)))
        self.transfer = np.sqrt(power / max(mean_power, 1e-12)).astype(np.float32)
        axis = (np.arange(size) - (size - 1) / 2) * pixel
        radius2 = axis[:, None] ** 2 + axis[None, :] ** 2
        # The center of the head sees the longest paths: 8% above the SD half-way out, 24% below at the scalp.
        self.shade = (sd * np.clip(1.08 - 0.32 * radius2 / 1e4, 0.5, None)).astype(np.float32)

    def slice(self) -> np.ndarray:
        """The noise of the next slice, float32 (rows, columns), HU."""
        if self.sd == 0:
            return np.zeros((self.size, self.size), np.float32)
        white = self.rng.standard_normal((self.size, self.size), np.float32)
        return fft.irfft2(fft.rfft2(white) * self.transfer, s=white.shape) * self.shade
