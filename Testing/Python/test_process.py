"""The process that a user or the desktop starts: signals at any moment, broken streams, missing packages, its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SliceInterpolationLib import Volume, cli, read_volume, write_volume
from SliceInterpolationLib.parent import FOLDER, PARENT
from SliceInterpolationLib.reports.tables import read_csv

LIBRARY = Path(__file__).resolve().parents[2] / "SliceInterpolation"
posix = pytest.mark.skipif(os.name != "posix", reason="a matter of POSIX")


@pytest.fixture
def folder(tmp_path, phantom_volume) -> Path:
    """A folder with a scan, in which commands run."""
    write_volume(phantom_volume, tmp_path / "scan.nrrd")
    return tmp_path


def start(folder: Path, *arguments: str, first: Path | None = None, code: str = "", **settings):
    """Start the command as users do; `first` comes first in the path of modules, `code` runs before the command."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, [*([first] if first else []), LIBRARY])),
    }
    environment.update(settings.pop("env", {}))
    how = ["-m", "SliceInterpolationLib"]
    if code:
        how = ["-c", f"import sys; from SliceInterpolationLib.__main__ import main\n{code}\nsys.exit(main())"]
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings}
    if (
        os.name == "posix"
    ):  # a signal that the tests themselves ignore, as under nohup, would be ignored there too
        settings.setdefault("preexec_fn", lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
    return subprocess.Popen(
        [sys.executable, *how, *arguments], cwd=folder, env=environment, errors="replace", **settings
    )


def finish(process) -> tuple[int, str, str]:
    """Exit code, output and errors; what is said on standard error is never a traceback."""
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in (err or "")
    return process.returncode, out, err


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Cancel


@posix
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("mode", ["bar", "json"])
def test_cancel_during_the_imports(folder, tmp_path_factory, how, mode):
    """Even where a library swallows every exception of its import."""
    slow = tmp_path_factory.mktemp("slow")
    (slow / "numpy.py").write_text(
        "import pathlib, time\npathlib.Path(__file__).with_suffix('.began').touch()\n"
        "for _ in range(600):\n    try:\n        time.sleep(0.1)\n    except BaseException:\n        pass\n"
    )
    process = start(folder, "interpolate", "scan.nrrd", "out.nrrd", "--progress", mode, first=slow)
    while not (slow / "numpy.began").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    code, out, err = finish(process)
    assert code == 3
    assert err == "slice-interpolation: cancelled; nothing was written\n"
    assert out == "" if mode == "bar" else json.loads(out)["stage"] == "error"
    assert names(folder) == ["scan.nrrd"]


@posix
@pytest.mark.parametrize(
    "moment",
    [
        "import os; real = os.replace; os.replace = lambda *a: (os.kill(os.getpid(), {number}), real(*a))",
        "import os; real = os.replace; os.replace = lambda *a: (real(*a), os.kill(os.getpid(), {number}))",
        "import atexit, os; atexit.register(lambda: os.kill(os.getpid(), {number}))",
    ],
    ids=["before the file is in its place", "after it", "while Python ends"],
)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_cancel_after_the_work_changes_nothing(folder, moment, how):
    arguments = ["interpolate", "scan.nrrd", "out.nrrd", "--method", "linear"]
    code, out, err = finish(start(folder, *arguments, code=moment.format(number=int(how))))
    assert (code, out) == (0, "out.nrrd\n"), err
    assert read_volume(folder / "out.nrrd")[0].slice_count == 47
    assert names(folder) == ["out.nrrd", "scan.nrrd"]


@posix
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_cancel_between_two_outputs_takes_both_back(folder, how):
    write_volume(Volume(np.zeros((2, 4, 4), np.int16)), folder / "out.nrrd")
    before = (folder / "out.nrrd").read_bytes()
    moment = (
        "import os; from SliceInterpolationLib.files import outputs; real = outputs.write_aside\n"
        f"outputs.write_aside = lambda *a: (real(*a), os.kill(os.getpid(), {int(how)}))"
    )
    arguments = ["interpolate", "scan.nrrd", "out.nrrd", "--uncertainty", "sd.nrrd"]
    code, out, err = finish(start(folder, *arguments, code=moment))
    assert (code, out) == (3, "")
    assert err.endswith("cancelled; nothing was written\n")
    assert names(folder) == ["out.nrrd", "scan.nrrd"]
    assert (folder / "out.nrrd").read_bytes() == before


@posix
def test_an_exchange_folder_that_is_removed_meanwhile(folder):
    """Whoever started the work has cleaned up: it ends with a sentence, and brings nothing back."""
    moment = (
        "import shutil; from SliceInterpolationLib.files import outputs; real = outputs.write_aside\n"
        "outputs.write_aside = lambda volume, path, *more: (shutil.rmtree(path.parent), real(volume, path, *more))"
    )
    arguments = ["interpolate", "scan.nrrd", "out.nrrd", "--method", "linear"]
    code, _, err = finish(start(folder, *arguments, code=moment))
    assert code == 1
    assert "'out.nrrd' cannot be written (No such file or directory)" in err.splitlines()[-1]
    assert not folder.exists()


@posix
def test_the_process_ends_with_its_parent(tmp_path):
    """The desktop is killed: neither a process nor the patient's scan is left, though a launcher stands between."""
    exchange = tmp_path / "SliceInterpolation-abc"
    exchange.mkdir()
    rng = np.random.default_rng(0)
    big = Volume(rng.integers(-100, 100, (80, 384, 384)).astype(np.int16), (0.5, 0.5, 5.0), units="HU")
    write_volume(big, exchange / "scan.nrrd")
    command = [sys.executable, "-m", "SliceInterpolationLib", "interpolate", "scan.nrrd", "out.nrrd"]
    launcher = (
        f"import subprocess; p = subprocess.Popen({command}, cwd={str(exchange)!r}); print(p.pid); p.wait()"
    )
    desktop = (
        (
            "import os, subprocess, sys\n"
            f"os.environ.update({PARENT!r}: str(os.getpid()), {FOLDER!r}: {str(exchange)!r})\n"
            f"subprocess.run([sys.executable, '-uc', {launcher!r}], start_new_session=True)\n"
        )
        .replace("update(", "update({")
        .replace(f"{str(exchange)!r})\nsub", f"{str(exchange)!r}}})\nsub")
    )
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    parent = subprocess.Popen(
        [sys.executable, "-uc", desktop], env=environment, stdout=subprocess.PIPE, text=True
    )
    worker = int(parent.stdout.readline())
    time.sleep(1.5)
    os.kill(worker, 0)
    parent.kill()
    parent.wait()
    until = time.monotonic() + 20
    while exchange.exists() or running(worker):
        assert time.monotonic() < until, (exchange.exists(), running(worker))
        time.sleep(0.1)


def running(number: int) -> bool:
    try:
        os.kill(number, 0)
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({PARENT: "me"}, "number of a process"),
        ({PARENT: str(os.getpid()), FOLDER: "/home/somebody"}, "SliceInterpolation-"),
    ],
)
def test_nonsense_about_the_parent_is_refused(folder, settings, words):
    code, _, err = finish(start(folder, "models", env=settings))
    assert code == 2
    assert words in err


# Streams


@posix
def test_standard_output_is_full(folder):
    with open("/dev/full", "w") as full:
        code, _, err = finish(start(folder, "models", stdout=full))
        assert (code, err.count("\n")) == (1, 1)
        assert "Standard output cannot be written (No space left on device)" in err
        arguments = ["interpolate", "scan.nrrd", "out.nrrd", "--method", "linear"]
        code, _, err = finish(start(folder, *arguments, stdout=full))
    assert code == 1
    assert "All files are complete: out.nrrd." in err
    assert read_volume(folder / "out.nrrd")[0].slice_count == 47


@posix
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_closed_streams_disturb_nothing(folder, closed):
    arguments = ["interpolate", "scan.nrrd", "out.nrrd", "--method", "linear"]
    command = [sys.executable, "-m", "SliceInterpolationLib", *arguments]
    shell = " ".join(f"{number}>&-" for number in closed)
    environment = {**os.environ, "PYTHONPATH": str(LIBRARY)}
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", *command], cwd=folder, env=environment, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert read_volume(folder / "out.nrrd")[0].slice_count == 47


@pytest.mark.parametrize(
    "surroundings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
    ids=lambda settings: "-".join(settings.values()),
)
def test_names_that_the_output_cannot_show(folder, surroundings):
    name = "Schädel-頭"
    (folder / "scan.nrrd").rename(folder / f"{name}.nrrd")
    arguments = ["interpolate", f"{name}.nrrd", f"{name}-x2.nrrd", "--method", "linear"]
    code, out, err = finish(start(folder, *arguments, env=surroundings))
    assert code == 0, err
    assert out.strip().endswith("-x2.nrrd")
    assert names(folder) == [f"{name}-x2.nrrd", f"{name}.nrrd"]
    code, _, err = finish(start(folder, *arguments[:1], "none-頭.nrrd", "out.nrrd", env=surroundings))
    assert code == 2
    assert err.count("\n") == 1


@posix
def test_no_home(folder):
    settings = {"HOME": "/nonexistent/home", "XDG_DATA_HOME": "", "SLICE_INTERPOLATION_MODELS": ""}
    for arguments in (["models"], ["interpolate", "scan.nrrd", "out.nrrd", "--method", "linear"]):
        code, _, err = finish(start(folder, *arguments, env=settings))
        assert code == 0, err


# Missing packages


@pytest.fixture
def no_torch(tmp_path_factory) -> Path:
    """A place in the path of modules where torch is found, and found broken."""
    place = tmp_path_factory.mktemp("modules")
    (place / "torch.py").write_text("raise ImportError(\"No module named 'torch'\")\n")
    return place


@pytest.mark.parametrize(
    "arguments",
    [
        ["interpolate", "scan.nrrd", "out.nrrd", "--method", "cubic", "--output-mode", "denoised"],
        ["interpolate", "scan.nrrd", "out.nrrd", "--method", "bspline", "--device", "cpu"],
        ["noise", "scan.nrrd", "--output-dir", "noise", "--method", "linear"],
        ["trust", "scan.nrrd", "--method", "cubic"],
        ["models"],
    ],
    ids=" ".join,
)
def test_classical_methods_need_no_torch(folder, no_torch, arguments):
    code, out, err = finish(start(folder, *arguments, first=no_torch))
    assert code == 0, err
    if arguments[0] == "trust":
        assert "withheld slices" in out
        assert "Compared without flow" in err


@pytest.mark.parametrize("method", ["default", "flow"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["interpolate", "scan.nrrd", "out.nrrd"],
        ["noise", "scan.nrrd", "--output-dir", "noise"],
        ["trust", "scan.nrrd", "--output", "trust.json"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_needs_torch_says_so(folder, no_torch, arguments, method):
    options = ["--method", method, "--progress", "json"]
    code, out, err = finish(start(folder, *arguments, *options, first=no_torch))
    assert code == 2
    assert "need PyTorch" in err
    assert err.count("\n") == 1
    assert json.loads(out.splitlines()[-1])["stage"] == "error"
    assert names(folder) == ["scan.nrrd"]


def test_another_package_is_missing(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("modules")
    (place / "scipy.py").write_text("raise ModuleNotFoundError(\"No module named 'scipy'\", name='scipy')\n")
    code, _, err = finish(start(folder, "interpolate", "scan.nrrd", "out.nrrd", first=place))
    assert code == 1
    assert err == "slice-interpolation: the Python package 'scipy' is missing; install it with pip\n"


def test_without_scikit_image_only_the_closed_surfaces_are_missing(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("modules")
    (place / "skimage.py").write_text("raise ImportError(\"No module named 'skimage'\")\n")
    scan, _ = read_volume(folder / "scan.nrrd")
    mask = np.zeros(scan.array.shape, dtype=np.uint8)
    mask[5:-5, 40:60, 40:60] = 1
    write_volume(replace(scan, array=mask, provenance="", units="label", history=()), folder / "mask.nrrd")
    arguments = ["measure", "scan.nrrd", "--segmentation", "mask.nrrd", "--output", "rows.csv"]
    code, out, err = finish(start(folder, *arguments, first=place))
    assert code == 0, err
    assert "No closed surfaces: scikit-image" in err
    assert "nan" not in out
    (row,) = read_csv(folder / "rows.csv")
    assert float(row["volume_ml"]) > 0
    page = ["page", "scan.nrrd", "--measurements", "rows.csv", "--output", "page.html"]
    code, _, err = finish(start(folder, *page, first=place))
    assert code == 0, err
    assert "nan" not in (folder / "page.html").read_text(encoding="utf-8").lower()


# Whatever else happens


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ZeroDivisionError("division by\nzero"), 1, "internal error: ZeroDivisionError: division by zero;"),
        (MemoryError(), 1, "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "memory"),
        (OSError(28, "No space left on device", "out.nrrd"), 1, "No space left on device: out.nrrd"),
        (KeyboardInterrupt(), 3, "cancelled; nothing was written"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_error_ends_in_a_traceback(folder, monkeypatch, capsys, error, code, words):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr("SliceInterpolationLib.interpolation.interpolate", fail)
    arguments = ["interpolate", str(folder / "scan.nrrd"), str(folder / "out.nrrd"), "--progress", "json"]
    assert cli.main(arguments) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.count("\n") == 1
    assert words in json.loads(captured.out.splitlines()[-1])["message"]
    assert names(folder) == ["scan.nrrd"]
    monkeypatch.setenv("SLICE_INTERPOLATION_DEBUG", "1")
    cli.main(arguments)
    assert "Traceback" in capsys.readouterr().err
