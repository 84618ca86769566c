"""What keeps the house in order: packaging lists, cheap imports, metadata."""

from __future__ import annotations

import ast
import graphlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "SliceInterpolation" / "SliceInterpolationLib"
PACKAGES = {
    folder.name: folder
    for folder in (
        LIBRARY,
        LIBRARY.parent / "SliceInterpolationMRML",
        ROOT / "SliceInterpolationTrainer" / "SliceInterpolationTrainerLib",
    )
}
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


def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name; a package goes by its own."""
    found = {}
    for folder in PACKAGES.values():
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imported(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ours that one imports, anywhere in its file, and the packages that importing these runs.

    Imports inside functions count as well: they put off an import, not a dependency. What is imported for the types
    alone does not, nor do the names that the library hands on when they are asked for (`__getattr__`).
    """
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = []
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found |= {one if (one := f"{base}.{alias.name}") in known else base for alias in node.names}
    found = {one for one in found if one in known}
    parents = {one[: at.start()] for one in found for at in re.finditer(r"\.", one)}
    own = {name[: at.start()] for at in re.finditer(r"\.", name)}
    return (found | (parents - own)) - {name}


def test_imports_go_round_in_no_circle():
    known = modules()
    graph = {name: imported(name, path, known) for name, path in known.items()}
    assert sum(map(len, graph.values())) > len(graph)
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_rooms_depend_downwards_only():
    """The trainer knows the library, never the reverse; neither knows the scene; networks know networks alone."""
    known = modules()
    for name, path in known.items():
        package = name.partition(".")[0]
        others = {one.partition(".")[0] for one in imported(name, path, known)} - {package}
        assert others <= ({"SliceInterpolationLib"} if package != "SliceInterpolationLib" else set()), name
        if name.startswith("SliceInterpolationLib.networks"):
            rooms = {one.split(".")[1] for one in imported(name, path, known) if "." in one}
            assert rooms <= {"networks", "errors"}, name


OPTIONS = frozenset(("factor", "method", "output_mode", "strength", "axis", "device", "units", "force"))
SPELLED_ONCE = {
    "Request",
    "SliceInterpolationParameterNode",  # fields that Qt Designer's file binds to widgets, by name
}


def untranslated(text: str) -> list[int]:
    """Lines on which an error is raised with a text of its own that no translator would find."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args):
            continue
        name, said = getattr(node.exc.func, "id", ""), node.exc.args[0]
        own = isinstance(said, ast.JoinedStr) or (
            isinstance(said, ast.Constant) and isinstance(said.value, str)
        )
        if name in ("InputError", "RunError", "DependencyError") and own:
            lines.append(node.lineno)
    return lines


def test_what_the_scene_code_tells_can_be_translated():
    folder = PACKAGES["SliceInterpolationMRML"]
    found = {path.name: untranslated(path.read_text()) for path in folder.rglob("*.py")}
    assert {name: lines for name, lines in found.items() if lines} == {}
    assert untranslated("raise InputError('no')") == untranslated("raise InputError(f'no {x}')") == [1]
    assert untranslated("raise InputError(_('no').format(x=1))\nraise InputError(str(error))") == []


def spelled(node: ast.AST) -> set[str]:
    """The options of a request that a function takes, or a class declares, one by one; in either style of names."""
    names = []
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    elif isinstance(node, ast.ClassDef) and node.name not in SPELLED_ONCE:
        names = [ast.unparse(one.target) for one in node.body if isinstance(one, ast.AnnAssign)]
    return {re.sub("(?<=[a-z])[A-Z]", lambda m: f"_{m[0].lower()}", name) for name in names} & OPTIONS


def test_no_option_list_is_spelled_twice():
    """Whoever passes the options on takes a `Request`, or **options; one list of them, and one place to add one."""
    from SliceInterpolationLib.request import Request

    assert set(Request.names()) == OPTIONS
    paths = [*modules().values(), ROOT / "SliceInterpolation" / "SliceInterpolation.py"]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            found = spelled(node)
            assert len(found) < 4, f"{path.name}, line {node.lineno}: {', '.join(sorted(found))}"


def test_an_option_list_would_be_seen():
    for text in (
        "def f(volume, *, factor=2, method='x', outputMode='y', force=False): pass",
        "class Job:\n    factor: int\n    method: str\n    output_mode: str\n    device: str",
    ):
        assert len(spelled(ast.parse(text).body[0])) == 4


def test_each_rule_stands_in_one_place():
    """Where air ends (-500 HU) is said in volume.py; which axis the slices run along is known there alone."""
    moves = {"volume.py", "two_views.py", "shapes.py"}  # the latter: views of a stack; a field on a lattice
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
                number = getattr(node.operand, "value", None)
                assert number != 500 or path == LIBRARY / "volume.py", f"{path.name}, line {node.lineno}"
            if isinstance(node, ast.Attribute) and node.attr in ("moveaxis", "rollaxis"):
                assert path.name in moves, f"{path.name}, line {node.lineno}"


def test_docstrings_say_it_themselves():
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                assert not re.fullmatch(r"(\w+: )?[Ss]ee [`\w. ]+", text), f"{path.name}, line {node.lineno}"
