"""From the levels of the anatomy to noise-free planes of HU."""

from __future__ import annotations

import numpy as np

from .shapes import LATTICE_LOW, LATTICE_MM, LATTICE_SHAPE, bspline_weights

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


Box = tuple[slice, slice]
"""Rows and columns of a plane."""


class Painter:
    """Paints noise-free planes (rows, columns) of HU at a world z."""

    def __init__(self, fields: dict[str, np.ndarray], axis: np.ndarray, pixel: float):
        self.fields, self.axis = fields, axis
        self.weights_y, self.weights_x = (
            bspline_weights((axis - LATTICE_LOW[i]) / LATTICE_MM, LATTICE_SHAPE[i]) for i in (1, 2)
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
        weights = bspline_weights(np.array([(z - LATTICE_LOW[0]) / LATTICE_MM]), LATTICE_SHAPE[0])[0]
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

    def _soft_tissue(self, out: np.ndarray, box: Box) -> None:
        head = self._fine("head", box)
        self._lay(out, head, HU["skin"])
        self._lay(out, head + 2.0, HU["fat"])
        self._lay_field(out, "muscle", HU["muscle"], box)
        self._lay(out, np.maximum(self._fine("outer", box) - 1.3, head + 2), HU["galea"])
        for name, hu in (("orbit", "fat"), ("orbital", "muscle"), ("globe", "globe"), ("lens", "lens")):
            inner = 0.8 if name == "globe" else 0.0
            self._lay_field(out, name, HU[hu], box, inner)

    def _bone(self, out: np.ndarray, box: Box) -> None:
        bone = self._fine("bone", box)
        marrow = self._fine("marrow", box)
        diploe = np.clip((-1.1 - bone) * np.float32(0.9), 0, 1)
        value = HU["cortical bone"] + diploe * (marrow - HU["cortical bone"])
        suture = np.clip(1.4 - np.abs(self._fine("suture", box)) * np.float32(1.7), 0, 1)
        value += suture * (HU["suture"] - value)
        self._lay(out, bone, value)
        self._lay_field(out, "air", HU["air"], box)

    def _inside(self, out: np.ndarray, box: Box) -> None:
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

    def _box(self, name: str) -> Box | None:
        """Pixels around where the level of ``name`` is below 2 mm, or None."""
        near = self._coarse[name] < 2
        if not near.any():
            return None
        spans = []
        for i, along in ((1, near.any(1)), (2, near.any(0))):
            edge = LATTICE_LOW[i] + LATTICE_MM * np.flatnonzero(along)[[0, -1]]
            spans.append(slice(*np.searchsorted(self.axis, [edge[0] - LATTICE_MM, edge[1] + LATTICE_MM])))
        return spans[0], spans[1]

    def _fine(self, name: str, box: Box) -> np.ndarray:
        return self.weights_y[box[0]] @ self._coarse[name] @ self.weights_x[box[1]].T

    def _lay_field(
        self, out: np.ndarray, name: str, hu: str | float, box: Box, inner: float = 0.0, soft: float = 1.0
    ) -> None:
        """Paint where the level ``name`` is below ``-inner``, touching only the pixels around it.

        hu: a number, or the name of a level that holds it.
        """
        own = self._box(name)
        if own is None:
            return
        own = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(own, box))
        if any(a.start >= a.stop for a in own):
            return
        local = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(own, box))
        value = self._fine(hu, own) if isinstance(hu, str) else hu
        self._lay(out[local], self._fine(name, own) + np.float32(inner), value, soft)

    def _lay(self, out: np.ndarray, level: np.ndarray, hu: np.ndarray | float, soft: float = 1.0) -> None:
        """Blend ``hu`` into ``out`` where ``level`` is negative, over an edge one pixel wide."""
        weight = np.clip(np.float32(0.5) - level * np.float32(self.edge * soft), 0, 1)
        out += weight * (hu - out)
