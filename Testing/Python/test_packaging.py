"""The extension as a package: CMake lists, icons, the index entry, and the .ui file against the code."""

from __future__ import annotations

import ast
import json
import re
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "SliceInterpolation"
API = json.loads((ROOT / "Testing/Desktop/slicer-desktop-api.json").read_text())
SOURCES = [MODULE / "SliceInterpolation.py", *sorted((MODULE / "SliceInterpolationMRML").rglob("*.py"))]
SELF_TESTS = sorted((ROOT / "Testing/Slicer").glob("*.py"))
PLAIN_QT = {"Qt", "QUrl", "QDesktopServices", "QCursor", "QColor", "QIcon", "QKeySequence", "QShortcut"}
PLAIN_QT |= {"QEvent", "QObject", "QTableWidgetItem"}
"""Qt classes that the list does not describe."""


def cmakeList(name: str) -> list[str]:
    text = (MODULE / "CMakeLists.txt").read_text()
    return re.search(rf"set\({name}\n(.*?)\n\s*\)", text, re.S).group(1).split()


@pytest.mark.parametrize(
    ("name", "pattern"), [("MODULE_PYTHON_SCRIPTS", "*.py"), ("MODULE_PYTHON_RESOURCES", "Resources/**/*")]
)
def test_cmake_lists_are_what_is_on_disk(name, pattern):
    found = {
        path.relative_to(MODULE).as_posix()
        for path in MODULE.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }
    listed = cmakeList(name)
    assert len(listed) == len(set(listed))
    assert set(listed) == found


def test_no_loose_python_file_would_be_taken_for_a_module():
    assert [path.name for path in MODULE.glob("*.py")] == ["SliceInterpolation.py"]


@pytest.mark.parametrize(
    "path",
    ["Resources/SliceInterpolation_128.png", "SliceInterpolation/Resources/Icons/SliceInterpolation.png"],
)
def test_icons_have_the_size_that_the_index_asks_for(path):
    head = (ROOT / path).read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", head[16:24]) == (128, 128)


def test_the_index_entry_and_cmake_agree():
    entry = json.loads((ROOT / "SliceInterpolation.json").read_text())
    cmake = (ROOT / "CMakeLists.txt").read_text()
    required = {"$schema", "category", "scm_url"}
    known = required | {"scm_revision", "build_dependencies", "build_subdirectory", "tier", "enabled"}
    assert required <= set(entry) <= known
    assert entry["build_dependencies"] == ["PyTorch"]
    assert re.search(r"set\(EXTENSION_DEPENDS PyTorch\)", cmake)
    assert entry["scm_url"] in cmake
    assert "project(SliceInterpolation)" in cmake  # the name of the entry's file
    for url in re.findall(r"/main/(\S+?\.png)", cmake):
        assert (ROOT / url).is_file(), f"{url} is linked, but not there"


def test_the_repository_stays_small():
    tracked = [path for path in ROOT.rglob("*") if path.is_file() and ".git" not in path.parts[-5:]]
    packaged = [path for path in tracked if MODULE in path.parents or ROOT / "Resources" in path.parents]
    assert sum(path.stat().st_size for path in packaged) < 100 * 2**20


def uiTree():
    return ElementTree.parse(MODULE / "Resources/UI/SliceInterpolation.ui").getroot()


def test_the_ui_file_binds_the_parameters_of_the_node():
    tree = ast.parse((MODULE / "SliceInterpolationMRML/parameters.py").read_text())
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name.endswith("ParameterNode"))
    parameters = {statement.target.id for statement in node.body if isinstance(statement, ast.AnnAssign)}
    bound = [
        element.findtext("string")
        for element in uiTree().iter("property")
        if element.get("name") == "SlicerParameterName"
    ]
    assert len(bound) == len(set(bound))
    assert parameters - set(bound) == {"method", "device"}  # bound by hand
    assert set(bound) <= parameters


def test_the_code_names_widgets_that_exist():
    tree = uiTree()
    names = [element.get("name") for element in tree.iter("widget")]
    assert len(names) == len(set(names))
    source = (MODULE / "SliceInterpolationMRML/panel/widget.py").read_text()
    used = set(re.findall(r"\bui\.(\w+)", source))
    assert len(used) > 20
    assert used <= set(names)


def test_mrml_widgets_get_the_scene():
    tree = uiTree()
    mrml = {
        element.get("name") for element in tree.iter("widget") if element.get("class", "").startswith("qMRML")
    }
    receivers = {element.findtext("receiver") for element in tree.iter("connection")}
    assert receivers == mrml - {"SliceInterpolation"}
    declared = {element.findtext("class") for element in tree.iter("customwidget")}
    used = {element.get("class") for element in tree.iter("widget")}
    assert {name for name in used if name.startswith(("ctk", "qMRML"))} == declared


def notInTheDesktop(text: str) -> list[str]:
    """Names of the application that Python code uses and that do not exist there, or are of another kind."""
    tree = ast.parse(text)
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    wrong = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner, name = ast.unparse(node.value), node.attr
        if owner in ("slicer.util", "slicer.app"):
            kind = API["objects"][owner].get(name, "missing").split(":")[0]
            right = kind != "missing" and (
                owner == "slicer.util" or (kind == "method") == (id(node) in called)
            )
        elif owner == "slicer.modules":
            right = name in API["modules"] or name == "sliceinterpolation"
        elif owner in ("qt", "ctk"):
            right = f"{owner}.{name}" in API["objects"] or name in PLAIN_QT
        else:
            continue
        if not right:
            wrong.append(f"{owner}.{name}")
    return wrong


@pytest.mark.parametrize("path", [*SOURCES, *SELF_TESTS], ids=lambda path: path.name)
def test_the_application_is_used_as_it_is(path):
    assert notInTheDesktop(path.read_text()) == []


@pytest.mark.parametrize(
    "name",
    [
        "slicer.util.getNodeNow()",
        "slicer.app.qtVersion",
        "slicer.app.applicationName()",
        "slicer.app.processEvents",
        "slicer.modules.nope",
        "qt.QTimerr()",
    ],
)
def test_what_the_application_does_not_have_is_found(name):
    assert notInTheDesktop(f"x = {name}") == [name.removesuffix("()")]
    assert notInTheDesktop("slicer.app.processEvents(); qt.QTimer(); slicer.util.getNode('V')") == []


DROPPED = {
    "exec_": "exec",
    "setMargin": "setContentsMargins",
    "margin": "setContentsMargins",
    "QRegExp": "QRegularExpression",
    "QDesktopWidget": "slicer.app.screens()",
    "AddActor2D": "AddViewProp",
    "RemoveActor2D": "RemoveViewProp",
    "_executePythonModule": "executePythonModule, where it exists",
}
"""What 5.10 has and a later one, with Qt 6 or VTK 9.6, has not, or not for long; and what is in its place."""
DROPPED_SIGNALS = {
    "currentIndexChanged(QString)",
    "buttonClicked(int)",
    "activated(QString)",
    "valueChanged(QString)",
}


def gone(text: str) -> list[str]:
    """Uses of what a later application does not have."""
    nodes = list(ast.walk(ast.parse(text)))
    names = [node.attr for node in nodes if isinstance(node, ast.Attribute)]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [name for name in names if name in DROPPED] + [t for t in texts if t in DROPPED_SIGNALS]


@pytest.mark.parametrize("path", [*SOURCES, *SELF_TESTS], ids=lambda path: path.name)
def test_nothing_is_used_that_the_next_application_dropped(path):
    assert gone(path.read_text()) == []


def test_what_was_dropped_is_found():
    assert gone("dialog.exec_()") == ["exec_"]
    assert gone("box.connect('currentIndexChanged(QString)', f)") == ["currentIndexChanged(QString)"]
    assert gone("dialog.exec(); box.connect('currentIndexChanged(int)', f)") == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_that_slicer_loads_import_only_what_it_ships(path):
    allowed = {
        "__future__",
        "numpy",
        "scipy",
        "SimpleITK",
        "vtk",
        "qt",
        "ctk",
        "slicer",
        "SliceInterpolationLib",
    }
    allowed |= {"SliceInterpolationMRML"}
    import sys

    for node in ast.parse(path.read_text()).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        for name in names:
            top = name.split(".")[0]
            assert top in allowed or top in sys.stdlib_module_names, (
                f"{path.name} imports {name} at file scope"
            )


def test_torch_is_imported_by_the_probe_alone():
    for path in SOURCES:
        imports = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, (ast.Import, ast.ImportFrom))
            and "torch" in [*(a.name.split(".")[0] for a in node.names), (getattr(node, "module", "") or "")]
        ]
        assert bool(imports) == (path.parts[-2:] == ("run", "probe.py")), path.name


def test_requirements_do_not_name_torch():
    lines = (MODULE / "Resources/requirements.txt").read_text().splitlines()
    names = [re.split(r"[<>=!~ ]", line)[0] for line in lines if line and not line.startswith("#")]
    assert "torch" not in names
    assert "torchvision" not in names
