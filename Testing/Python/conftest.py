"""What several tests share: the real scans where they are at hand, small phantoms, analytic volumes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

# Test processes run side by side, one thread each; before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from SliceInterpolationLib.phantom import Hematoma, head_phantom
from SliceInterpolationLib.volume import ACQUIRED, Volume

SCANS = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def _own_model_folder(tmp_path_factory, monkeypatch):
    """No test sees or changes the models of the user who runs it."""
    monkeypatch.setenv("SLICE_INTERPOLATION_MODELS", str(tmp_path_factory.mktemp("models")))


@pytest.fixture(scope="session")
def scans() -> Path:
    """Folder of real scans; tests that need it skip where it is absent."""
    if not (SCANS / "manifest.csv").is_file():
        pytest.skip("the real scans (shared/data beside the repository) are not here")
    return SCANS


@pytest.fixture(scope="session")
def phantom():
    """A small head phantom: 128 x 128 pixels, 24 slices at 5 mm, hematoma of 30 mL."""
    return head_phantom(size=128, pixel_spacing=1.8, slices=24, hematoma=Hematoma(30.0))


@pytest.fixture
def phantom_volume(phantom) -> Volume:
    """The small phantom as a volume."""
    return Volume(
        phantom.image,
        phantom.spacing,
        phantom.origin,
        provenance=ACQUIRED * len(phantom.image),
        units="HU",
        slice_thickness=5.0,
    )


def moving_ellipse(
    slices: int = 7, size: int = 96, shift: float = 3.0, background: float = 40.0
) -> np.ndarray:
    """A bright ring around an ellipse that moves and grows steadily from slice to slice, with soft texture."""
    y, x = np.mgrid[:size, :size].astype(float)
    out = []
    for k in range(slices):
        cx, cy = size * 0.4 + shift * k, size * 0.5 + 0.4 * shift * k
        radius = np.hypot((x - cx) / (size * 0.28), (y - cy) / (size * 0.22))
        ring = 800.0 * np.exp(-(((radius - 1.0) / 0.08) ** 2))
        inside = background + 25.0 * np.cos((x - cx) / 4.0) * np.cos((y - cy) / 5.0)
        out.append(
            np.where(radius < 1.0, inside, -1000.0 + 1000.0 * np.exp(-((radius - 1.0) ** 2) / 0.02)) + ring
        )
    return np.stack(out)
