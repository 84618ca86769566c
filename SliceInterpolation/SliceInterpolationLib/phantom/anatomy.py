"""The anatomy of the head: skull, face and brain as levels on the lattice."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage

from .hematoma import Hematoma, StarBody
from .shapes import (
    LATTICE_LOW,
    LATTICE_MM,
    LATTICE_SHAPE,
    bump,
    ellipsoid,
    lattice_noise,
    normalized,
    rotation,
    smooth_max,
    smooth_min,
    smooth_step,
    tube,
)

Levels = dict[str, np.ndarray]
"""Signed distances in mm and other fields on the lattice, by name."""


@lru_cache(maxsize=1)
def anatomy(seed: int, hematoma: Hematoma | None) -> dict[str, np.ndarray]:
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
    pose = rotation(*np.radians([rng.uniform(-3, 0), rng.uniform(0.5, 1.5), rng.uniform(2, 4)])).astype(
        np.float32
    )
    stature = rng.uniform(0.97, 1.03, 3).astype(np.float32) if seed else np.ones(3, np.float32)
    X, Y, Z = (
        (pose[0, i] * wx + pose[1, i] * wy + pose[2, i] * wz) / stature[i]
        + np.float32(1.1) * lattice_noise(rng, 42)
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


def _skull(X: np.ndarray, Y: np.ndarray, Z: np.ndarray, rng: np.random.Generator) -> Levels:
    """Cranial cavity, bone of the vault and base, sutures."""
    ax = np.abs(X)
    up = Z + 5
    width = 67.5 * (1 + 0.08 * (Y / 85) - 0.02 * (Y / 85) ** 2)
    depth = np.where(up > 0, np.float32(87.5), np.float32(88))
    # Rounder in the axial plane than in the others: the sides of a head are steep.
    ring = ((ax / width) ** 2.2 + (np.abs(Y - 1) / 84) ** 2.2) ** np.float32(2.3 / 2.2)
    rho = np.maximum((ring + (np.abs(up) / depth) ** 2.3) ** np.float32(1 / 2.3), 0.05)
    dome = np.sqrt(X * X + Y * Y + up * up) * (1 - 1 / rho) + 0.5 * lattice_noise(rng, 18)

    # The floor of the cavity as a height map: anterior, middle and posterior fossa, sella and clivus, ridges.
    ridge_y = _petrous_y(ax)
    anterior = -33 + 11 * bump((ax - 32) / 17, (Y + 60) / 26) + 9 * bump(X / 2.5, (Y + 72) / 8)
    middle = -50 + 0.012 * (Y + 12) ** 2 + 0.004 * (ax - 40) ** 2
    posterior = -74 + 0.011 * (X * X + (Y - 44) ** 2)
    sella = -25 - 9 * bump(X / 9, (Y + 11) / 6) + 2 * bump(X / 9, (Y + 2) / 3)
    clivus = -25 - 1.75 * np.maximum(Y, 0)
    central = np.where(Y < 0, sella, np.maximum(clivus, posterior))
    lateral = smooth_step(ridge_y - Y, 4)
    side = lateral * middle + (1 - lateral) * posterior
    mid = smooth_step(14 - ax, 4) * smooth_step(24 - Y, 6)
    floor = mid * central + (1 - mid) * side
    front = smooth_step(-14 - 0.5 * ax - Y, 2.5)
    floor = front * anterior + (1 - front) * floor
    across = (Y - ridge_y) * 0.85
    ridge = -27 - 0.05 * (ax - 35) - np.abs(across) * 1.6
    floor = np.where(ax > 10, smooth_max(floor, ridge - 40 * smooth_step(10 - ax, 6), 6), floor)
    occipital_crest = 14 * bump(X / 5, (Y - 86) / 14) * smooth_step(-12 - Z, 10)
    floor = floor + 1.0 * lattice_noise(rng, 8) + occipital_crest
    cavity = normalized(smooth_max(dome, 0.75 * (floor - Z), 5), 0.5)

    # Outer table: thin at the temples, thick at the forehead and the occiput, hollowed by the frontal sinus.
    temple = smooth_step(ax - 42, 8) * bump((Y + 12) / 34, (Z + 14) / 26)
    frontal = bump(X / 24, (Z + 14) / 18) * smooth_step(-50 - Y, 10)
    inion = bump(X / 16, (Z + 20) / 14) * smooth_step(Y - 50, 10)
    thickness = 6.6 + 0.7 * lattice_noise(rng, 20) - 2.6 * temple + 6 * frontal + 1.5 * inion
    slab = 2.4 + 6 * mid * smooth_step(Y + 8, 5) + 3 * (1 - lateral) * (1 - front)
    outer = smooth_max(dome - thickness, 0.75 * (floor - slab - Z), 3)
    outer = smooth_max(outer, -62 - Z - 40 * smooth_step(Y - 20, 12), 3)
    bone = np.maximum(outer, -cavity)

    p = (ax, Y, Z)
    petrous = tube(p, [(15, 1, -40, 7), (36, 13, -42, 9), (58, 24, -46, 12)], 4)
    mastoid = ellipsoid(p, (57, 30, -52), (14, 15, 20)) + 1.5 * lattice_noise(rng, 9)
    temporal = np.maximum(smooth_min(petrous, mastoid, 5), -cavity)
    bone = smooth_min(bone, temporal, 1.5)
    cells = lattice_noise(rng, 3.6)
    air = np.maximum(ellipsoid(p, (56, 27, -48), (13, 12, 17)), 1.8 * (0.15 - cells))
    air = np.minimum(air, ellipsoid(p, (48, 14, -42), (6, 3.5, 5)))
    air = np.minimum(air, tube(p, [(52, 13, -44, 2.5), (84, 11, -46, 3.2)], 1))  # external auditory canal
    marrow = (
        620
        + 120 * lattice_noise(rng, 3)
        + 90 * lattice_noise(rng, 9)
        + 900 * bump((ax - 38) / 9, (Y - 13) / 8, (Z + 40) / 8)
    )
    marrow = marrow - 150 * bump(X / 10, (Y - 12) / 12, (Z + 46) / 12)

    # Frontal sinus: inside the thickened bone of the forehead.
    lobes = lattice_noise(rng, 6)
    frontal_air = np.abs(dome - 0.5 * thickness) - 0.5 * thickness + 1.9
    plate = np.sqrt((X / 22) ** 2 + ((Z + 16 - 0.15 * ax) / 15) ** 2) * 14 - 14 + 2.5 * lobes
    frontal_air = np.maximum(frontal_air, plate)
    frontal_air = np.maximum(frontal_air, 1.4 - np.abs(X - 1.5 - 1.5 * lobes))
    air = np.minimum(air, np.where(Y < -40, np.maximum(frontal_air, 1.5 - cavity), np.float32(50)))

    wiggle = 1.7 * lattice_noise(rng, 3.2) + 1.5 * lattice_noise(rng, 9)
    coronal = 0.9 * (Y + 15 + 0.24 * (85 - Z)) + wiggle + 60 * smooth_step(-8 - Z, 8)
    sagittal = (
        X + wiggle + 60 * smooth_step(-18 - Y, 4) + 60 * smooth_step(20 - Z, 6) + 60 * smooth_step(Y - 82, 4)
    )
    lambdoid = (
        (Z - 42 + 1.15 * ax) / 1.5 + wiggle + 60 * smooth_step(30 - Y, 6) + 60 * smooth_step(-26 - Z, 6)
    )
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


def _face(X: np.ndarray, Y: np.ndarray, Z: np.ndarray, f: Levels, rng: np.random.Generator) -> Levels:
    """Scalp, muscles, orbits, paranasal sinuses, ears."""
    ax = np.abs(X)
    p = (ax, Y, Z)
    dome, cavity, bone, air = f["dome"], f["cavity"], f["bone"], f["air"]
    temporalis = smooth_step(ax - 40, 8) * bump((Y + 14) / 34, (Z + 22) / 30)
    nape = smooth_step(Y - 40, 14) * smooth_step(-28 - Z, 14)
    scalp = 5.6 + 0.6 * lattice_noise(rng, 18) + 8 * temporalis + 9 * nape
    head = dome - f["thickness"] - scalp
    face = ellipsoid((ax, Y, Z), (0, -36, -62), (70, 66, 56))
    face = smooth_min(face, tube((X, Y, Z), [(0, -92, -40, 9), (0, -104, -66, 10)], 4), 14)
    neck = np.sqrt((X / 66) ** 2 + ((Y - 8) / 84) ** 2) * 74 - 74 + np.maximum(Z + 45, 0)
    head = smooth_min(smooth_min(head, face, 12), neck, 14)
    ear = ellipsoid((ax - 0.35 * (Y - 18), Y, Z), (83, 20, -44), (3.2, 15, 25))
    ear = np.maximum(ear, 5 - np.sqrt((Y - 14) ** 2 + (Z + 46) ** 2))
    head = smooth_min(head, ear + 0.8 * lattice_noise(rng, 7), 3)

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
    globe = ellipsoid(p, globe_center, (12, 12.3, 12))
    globe = np.maximum(globe, head + 1.5)
    sclera = np.abs(globe) - 0.7
    lens = ellipsoid(p, (33.5, -84, -43.5), (4.5, 2.2, 4.5))
    orbital = np.minimum(np.minimum(recti, nerve), sclera)

    outward = smooth_step(r[0] - axis[0] * along, 6)
    rim = np.maximum(np.abs(0.95 * (radial - width) - 0.8) - 0.8 - 0.8 * outward, -along)
    rim = np.maximum(rim, along - length + 1 + 13 * outward)
    sphenoid = ellipsoid((X, Y, Z), (2, -26, -44), (14, 15, 10)) + 0.8 * lattice_noise(rng, 8)
    sphenoid = np.maximum(sphenoid, 0.9 - np.abs(X - 2.5 + 0.08 * (Z + 44)))
    block = smooth_max(
        smooth_max(ax - 12, np.abs(Y + 56) - 19, 5), np.abs(Z + 45) - 12, 5
    ) + 0.8 * lattice_noise(rng, 8)
    block = np.maximum(block, 1.0 - 0.95 * (radial - width))
    ethmoid = np.maximum(
        np.maximum(block, 1.6 - 4.5 * np.abs(lattice_noise(rng, 4.5))), 0.9 - np.abs(X - 0.5)
    )
    nasal = np.maximum(np.maximum(ax - 11, np.abs(Y + 62) - 30), Z + 52)
    nasal = np.maximum(nasal, 3.2 - np.abs(ax - 8 - 2 * np.sin(Y / 9)))
    maxillary = ellipsoid(p, (27, -64, -70), (14, 17, 16)) + 2.0 * lattice_noise(rng, 10)
    pharynx = ellipsoid((X, Y, Z), (0, -18, -70), (11, 9, 14))
    sinus_air = np.minimum(np.minimum(np.minimum(ethmoid, nasal), np.minimum(sphenoid, maxillary)), pharynx)
    sinus_air = np.maximum(sinus_air, -cavity + 2)
    walls = np.minimum(np.minimum(sphenoid - 2.2, block - 0.9), maxillary - 1.5)
    thin_bone = np.minimum(
        tube(p, [(47, -66, -50, 5), (62, -38, -52, 3), (68, -6, -49, 3.5)], 2),
        ellipsoid(p, (52, 2, -58), (9, 5, 7)),
    )
    nasal_bones = tube(p, [(3, -90, -30, 3.0), (5, -98, -46, 2.0)], 1)
    thin_bone = np.minimum(np.minimum(thin_bone, nasal_bones), np.minimum(rim, walls))
    pillar = ellipsoid(p, (20, -26, -44), (9, 6, 12))
    thin_bone = np.maximum(smooth_min(thin_bone, pillar, 2), -cavity)
    vault = np.minimum(np.maximum(bone, -orbit), thin_bone)
    # Fat lies in planes between the muscles and in a few pads.
    planes = 4.5 * (0.3 - np.abs(lattice_noise(rng, 7)))
    muscle = np.maximum(np.maximum(head + 5, planes), 4 * (-1.1 - lattice_noise(rng, 9)))
    high = np.minimum(30 * (0.18 - temporalis), 30 * (0.25 - nape)) - 60 * smooth_step(-38 - Z, 10)
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


def _brain(
    X: np.ndarray,
    Y: np.ndarray,
    Z: np.ndarray,
    world: Sequence[np.ndarray],
    f: Levels,
    rng: np.random.Generator,
    hematoma: Hematoma | None,
) -> Levels:
    """Cortex, ventricles, cisterns, deep gray matter, falx, tentorium, posterior fossa."""
    cavity = f["cavity"]
    swelling = np.float32(0)
    if hematoma is not None:
        # Mass effect: tissue around the clot gives way like an incompressible medium, but not at the bone.
        body = StarBody.of(hematoma)
        r = [w - np.float32(c) for w, c in zip(world, body.center)]
        distance2 = sum(a * a for a in r)
        push = body.r0**3 / 3 / (distance2 + body.r0**2) * np.clip(-cavity / 25, 0, 1)
        away = push / np.sqrt(distance2 + 1)
        X, Y, Z = X - r[0] * away, Y - r[1] * away, Z - r[2] * away
        swelling = np.exp(-distance2 / (2 * (1.7 * body.r0) ** 2))
    wobble = [np.float32(0.9) * lattice_noise(rng, 12) for _ in range(3)]
    ax = np.abs(X + wobble[0])
    p = (ax, Y + wobble[1], Z + wobble[2])
    midline = X + 0.8 * lattice_noise(rng, 25)

    # Infratentorial space.
    side = np.abs(X)
    ridge_y = _petrous_y(side)
    roof = 2 - 0.38 * np.maximum(side - 10, 0) - 0.42 * np.maximum(Y - 36, 0)
    infra = 0.8 * (Z - smooth_min(roof, 0.95 * (Y - ridge_y) - 26, 10)) + 0.5 * lattice_noise(rng, 14)
    # The free edge leaves the incisura open around the midbrain.
    tentorium = np.maximum(np.abs(infra + 0.4), np.minimum(18 - side, 36 - Y))

    # Depth below the pial hull of the cerebral hemispheres.
    gap = 1.6 + 0.8 * smooth_step(-20 - Y, 30) + 0.5 * lattice_noise(rng, 16)
    depth = -cavity - gap
    core = np.sqrt((Y / 46) ** 2 + ((Z - 7) / 25) ** 2) * 30 - 30
    medial = np.sqrt(midline**2 + np.minimum(core, 0) ** 2) - 1.3
    depth = smooth_min(depth, medial, 4)
    slope = (Z + 4 - 0.42 * (Y + 5)) * 0.9 + 2.0 * lattice_noise(rng, 8)
    lateral = np.sqrt(slope**2 + np.maximum(43 - ax, 0) ** 2 + np.maximum(np.abs(Y + 6) - 30, 0) ** 2)
    insula = np.sqrt(
        (ax - 41 + 0.007 * (Y + 4) ** 2 + 1.8 * lattice_noise(rng, 8)) ** 2
        + np.maximum(np.abs(slope - 2) - 12, 0) ** 2
        + np.maximum(np.abs(Y + 6) - 21, 0) ** 2
    )
    sylvian = np.minimum(lateral, insula) - 0.9 + swelling - 1.1 * bump((Y + 24) / 14, slope / 14)
    folded = smooth_min(depth, infra - 0.4, 3)  # where sulci run down from
    depth = smooth_min(depth, sylvian, 2)
    star = ellipsoid(p, (0, -9, -20), (12, 9, 7))
    ambient = ellipsoid(p, (0, 9, -20), (17.5, 18, 13))
    cistern = np.minimum(star, ambient)
    depth = smooth_min(depth, cistern, 3)
    depth = smooth_min(depth, infra - 0.4, 3)

    # Sulci: the zero sheets of band-limited noise, drawn along rays so that they run down from the surface.
    white = rng.standard_normal(LATTICE_SHAPE, np.float32)
    pattern = -ndimage.gaussian_laplace(white, 4.6 / LATTICE_MM, truncate=3, mode="wrap")
    pattern /= pattern.std()
    q = [
        X + 2.5 * lattice_noise(rng, 9),
        Y + 2.5 * lattice_noise(rng, 9),
        Z - 8 + 2.5 * lattice_noise(rng, 9),
    ]
    radius = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2) + 1
    ray = (75 / radius) ** np.float32(0.72)
    index = [(a * ray - low) / LATTICE_MM for a, low in zip(q[::-1], LATTICE_LOW.tolist())]
    pattern = ndimage.map_coordinates(pattern, index, order=1, mode="grid-wrap")
    pattern = ndimage.gaussian_filter(pattern, 0.6)
    gradient = np.sqrt(sum(g * g for g in np.gradient(pattern, LATTICE_MM)))
    sulcus = np.clip(pattern / (gradient + 0.06), -14, 14)
    reach = 13.5 + 3.5 * lattice_noise(rng, 12)
    openness = 0.5 + 0.22 * lattice_noise(rng, 9) + 0.3 * smooth_step(Z - 45, 20) - 0.7 * swelling

    # Ventricles: lateral with frontal, occipital and temporal horns, third, fourth.
    lateral_v = tube(
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
    temporal_horn = tube(p, [(22, 31, 9, 5), (31, 14, -13, 2.6), (30, -6, -20, 1.8)], 5)
    lateral_v = smooth_min(lateral_v, temporal_horn, 4)
    caudate = ellipsoid(p, (15.5, -20, 10), (6.0, 11, 9))
    thalamus = ellipsoid(p, (11, 6, 4), (9, 15, 10))
    lateral_v = smooth_max(lateral_v, -np.minimum(caudate, thalamus) - 0.3, 2)
    lateral_v = np.maximum(lateral_v, 0.9 - np.abs(midline))  # septum pellucidum
    third = np.maximum(np.abs(midline) - 1.9, ellipsoid(p, (0, 2, -2), (30, 14, 11)))
    fourth = ellipsoid(p, (0, 37, -42), (9, 5.5, 11))
    quadrigeminal = ellipsoid((ax, Y - 0.02 * ax**2, Z), (0, 27, -4), (12, 3.2, 5.5))
    csf = np.minimum(np.minimum(lateral_v, third), np.minimum(fourth, quadrigeminal))
    calcified = np.minimum(
        ellipsoid((X, Y, Z), (0.6, 25, 0), (1.9, 2.2, 2.2)),
        np.minimum(
            ellipsoid((X, Y, Z), (23, 34, 10), (2.2, 3.2, 2.6)),
            ellipsoid((X, Y, Z), (-22, 35, 9), (1.8, 2.6, 2.2)),
        ),
    )
    lentiform = ellipsoid((ax - 0.1 * (p[1] + 6), p[1], p[2]), (24, -5, 4), (7, 17, 10))
    deep = np.minimum(np.minimum(caudate, lentiform), thalamus)

    # Posterior fossa.
    stem = tube(p, [(0, 10, -8, 10), (0, 12, -24, 13), (0, 14, -40, 15), (0, 22, -58, 9), (0, 26, -84, 7)], 8)
    stem = np.minimum(stem, ellipsoid(p, (9, 6, -16), (6.5, 6, 8)))
    peduncle = tube(p, [(8, 20, -40, 7), (24, 34, -42, 9)], 4)
    cerebellum = smooth_max(
        np.maximum(infra + 0.9, cavity + 1.8), 0.7 * (24 - 1.3 * np.maximum(ax - 11, 0) - Y), 5
    )
    cerebellum = smooth_max(cerebellum, -ellipsoid(p, (0, 68, -62), (13, 14, 16)), 4)
    cerebellum = smooth_max(cerebellum, -ellipsoid(p, (21, 7, -38), (7, 5, 7)), 3)
    hind = smooth_min(smooth_min(cerebellum, stem, 2), peduncle, 3)
    hind = np.maximum(hind, cavity + 1.2)
    shell = np.sqrt(0.6 * X**2 + 1.6 * (Y - 22) ** 2 + 2.6 * (Z + 40) ** 2) + 2.5 * lattice_noise(rng, 9)
    folia = (
        6.5
        * np.sin(shell * np.float32(2 * np.pi / 8))
        * smooth_step(cerebellum + 14, 8)
        * smooth_step(1 + stem, 4)
    )
    hind_hu = (
        37 + folia - 7 * bump((ax - 20) / 14, (Y - 44) / 13, (Z + 42) / 12) - 2.5 * smooth_step(-stem, 4)
    )

    # Dural sinuses: superior sagittal along the vault, transverse along the edge of the tentorium.
    back = smooth_step(Y + 40, 40)
    sagittal = np.maximum((np.abs(midline) + 0.75 * (-cavity)) * 0.8 - 1.2 - 2.6 * back, -4 - Z)
    transverse = np.maximum(np.hypot(np.abs(infra) * 0.9, cavity) - 3.4, 24 - Y)
    falx_edge = np.maximum(3 - core + 0.25 * (Y + 20) * smooth_step(-Y, 20), -1.5 - infra)
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
        "tissue": 1.2 * lattice_noise(rng, 7),
    }
