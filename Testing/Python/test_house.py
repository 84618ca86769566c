"""What keeps the house in order: packaging lists, cheap imports, metadata."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "SliceInterpolation" / "SliceInterpolationLib"
HEAVY = {"torch", "skimage", "pydicom", "matplotlib", "safetensors"}


def test_importing_the_library_is_cheap():
    code = (
        "import sys, SliceInterpolationLib, SliceInterpolationLib.cli, SliceInterpolationLib.reports.trust, "
        "SliceInterpolationLib.reports.noise, SliceInterpolationLib.reports.measure, "
        "SliceInterpolationLib.reports.pictures, SliceInterpolationLib.reports.page, "
        "SliceInterpolationLib.demo; print(','.join(sys.modules))"
    )
    environment = {"PYTHONPATH": str(ROOT / "SliceInterpolation"), "PATH": ""}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    loaded = {name.split(".")[0] for name in out.stdout.strip().split(",")}
    assert not loaded & (HEAVY | {"slicer", "qt", "vtk"})


@pytest.mark.parametrize("path", sorted(ROOT.glob("SliceInterpolation*/**/*.py")), ids=lambda p: p.name)
def test_syntax_of_python_3_9(path):
    ast.parse(path.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("module", ["SliceInterpolation", "SliceInterpolationTrainer"])
def test_every_file_is_listed_for_packaging(module):
    listing = ROOT / module / "CMakeLists.txt"
    if not listing.exists():
        pytest.skip(f"{module} is not a Slicer module yet")
    text = listing.read_text()
    folder = ROOT / module
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_file() and "__pycache__" not in relative and path.name != "CMakeLists.txt":
            assert relative in text or "Testing/" in relative, f"{relative} would not be packaged"


def test_bundled_models_have_complete_cards():
    cards = list((ROOT / "SliceInterpolation/Resources/Models").glob("*/card.json"))
    assert sum(bool(json.loads(card.read_text()).get("default")) for card in cards) == 1
    for path in cards:
        card = json.loads(path.read_text())
        for key in ("description", "training", "gap_mm", "intensity", "figures", "limits", "license"):
            assert card.get(key), f"{path} lacks {key}"
        assert all(scan["license"] for scan in card["training"]["scans"])
        assert (path.parent / "weights.safetensors").stat().st_size < 10 * 2**20


def test_no_scan_is_in_the_repository():
    try:
        files = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    suffixes = (".dcm", ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr", ".raw")
    assert not [name for name in files.split() if name.endswith(suffixes)]
