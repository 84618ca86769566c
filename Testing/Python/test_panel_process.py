"""The runner: progress, outcomes, errors, cancellation of whole process trees, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from SliceInterpolationMRML.run import process
from SliceInterpolationMRML.run.process import CANCELLED, DONE, FAILED, REFUSED, Run, RunError


def launchCode(code: str):
    """A launcher that runs a piece of Python instead of the command line."""

    def launch(command, **options):
        return subprocess.Popen([sys.executable, "-c", code], **options)

    return launch


def run(code: str, tmp_path, **callbacks):
    made = Run(root=tmp_path, launch=launchCode(code), **callbacks)
    made.start([])
    return made, made.wait()


def test_a_real_command_tells_progress_and_result(tmp_path):
    from SliceInterpolationLib.files import read_file, write_volume
    from SliceInterpolationLib.phantom import phantom_volume

    volume, _, _ = phantom_volume(
        size=48, pixel_spacing=4.8, slices=6, slice_spacing=20.0, slice_thickness=9.0
    )
    seen, results = [], []
    made = Run(
        seen.append, lambda outcome: results.append(read_file(outcome.result["paths"][0])), root=tmp_path
    )
    write_volume(volume, made.folder / "in.nrrd")
    paths = [str(made.folder / name) for name in ("in.nrrd", "out.nrrd")]
    made.start(["interpolate", *paths, "--method", "linear", "--progress", "json"])
    outcome = made.wait()
    assert outcome.state == DONE
    assert results[0].array.shape == (11, 48, 48)
    assert [entry["done"] for entry in seen if entry["done"] is not None] == list(range(12))
    assert any("6 slices at 20 mm -> 11 at 10 mm" in remark for remark in outcome.remarks)
    assert list(tmp_path.iterdir()) == []


def test_refusals_carry_the_text_of_the_command_line(tmp_path):
    made = Run(root=tmp_path)
    made.start(["interpolate", "/nowhere.nrrd", str(tmp_path / "out.nrrd"), "--progress", "json"])
    outcome = made.wait()
    assert outcome.state == REFUSED
    assert "There is no file" in outcome.message
    assert list(tmp_path.iterdir()) == []


def test_lines_that_are_no_progress_are_passed_over(tmp_path):
    code = "print('hello'); print('[1]'); print('{broken'); print('{\"stage\": \"result\", \"paths\": []}')"
    seen = []
    _, outcome = run(code, tmp_path, onProgress=seen.append)
    assert outcome.state == DONE
    assert seen == [{"stage": "result", "paths": []}]


def test_a_line_may_come_in_pieces(tmp_path):
    code = (
        "import sys, time\nfor part in ('{\"stage\": ', '\"result\"}', chr(10)):\n"
        "    sys.stdout.write(part); sys.stdout.flush(); time.sleep(0.1)"
    )
    _, outcome = run(code, tmp_path)
    assert outcome.result == {"stage": "result"}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ValueError('bad luck')", "ValueError: bad luck"),
        ("import os; os.kill(os.getpid(), 9)", "want of memory"),
        ("pass", "exit code 0"),
    ],
)
def test_crashes_say_what_happened(code, words, tmp_path):
    _, outcome = run(code, tmp_path)
    assert outcome.state == FAILED
    assert words in outcome.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX")
def test_cancel_ends_the_grandchildren_too(tmp_path):
    pids = tmp_path / "pids"
    child = "import time; time.sleep(60)"
    code = (
        "import os, subprocess, sys, time\n"
        f"other = subprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{other.pid}}')\n"
        "time.sleep(60)"
    )
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    made = Run(root=exchange, launch=launchCode(code))
    made.start([])
    while not (pids.exists() and len(pids.read_text().split()) == 2):
        assert made.poll()
        time.sleep(0.02)
    made.cancel("enough")
    assert made.outcome.state == CANCELLED
    assert made.outcome.message == "enough"
    assert list(exchange.iterdir()) == []
    time.sleep(0.1)
    for pid in pids.read_text().split():
        status = Path(f"/proc/{pid}/status")
        assert not status.exists() or "State:\tZ" in status.read_text()
    made.cancel()  # harmless
    assert not made.poll()


def test_cancel_from_within_progress(tmp_path):
    code = 'print(\'{"stage": "a"}\', flush=True); print(\'{"stage": "b"}\', flush=True); import time; time.sleep(60)'
    seen, ends = [], []

    def onProgress(entry):
        seen.append(entry["stage"])
        made.cancel()

    made = Run(onProgress, ends.append, root=tmp_path, launch=launchCode(code))
    made.start([])
    assert made.wait().state == CANCELLED
    assert seen == ["a"]
    assert len(ends) == 1


def test_a_python_that_cannot_be_started(tmp_path):
    def launch(*arguments, **options):
        raise FileNotFoundError("no such program")

    made = Run(root=tmp_path, launch=launch)
    with pytest.raises(RunError, match="cannot be started"):
        made.start([])
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_callback_leaves_no_folder(tmp_path):
    def onFinished(outcome):
        raise RuntimeError("from the callback")

    made = Run(onFinished=onFinished, root=tmp_path, launch=launchCode('print(\'{"stage": "result"}\')'))
    made.start([])
    with pytest.raises(RuntimeError, match="from the callback"):
        made.wait()
    assert list(tmp_path.iterdir()) == []


def test_the_process_runs_with_the_packages_of_the_module():
    assert (process._MODULE_FOLDER / "SliceInterpolationLib" / "__main__.py").is_file()


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_a_killed_application_leaves_neither_process_nor_folder(tmp_path):
    child = (
        "import time; from SliceInterpolationLib.parent import end_with_parent; end_with_parent(3); "
        "print('{}', flush=True); time.sleep(120)"
    )
    application = (
        "import subprocess, sys, time\n"
        "from SliceInterpolationMRML.run.process import Run\n"
        f"launch = lambda command, **options: subprocess.Popen([sys.executable, '-c', {child!r}], **options)\n"
        f"run = Run(print, root={str(tmp_path)!r}, launch=launch)\n"
        "(run.folder / 'scan.nrrd').write_bytes(b'voxels of a patient')\n"
        "run.start([])\n"
        "while run.poll() and not run._lines: time.sleep(0.05)\n"
        "print(run.processId, flush=True)\n"
        "time.sleep(120)\n"
    )
    with subprocess.Popen([sys.executable, "-c", application], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "{}\n"
        childId = int(parent.stdout.readline())
        assert len(list(tmp_path.glob("SliceInterpolation-*"))) == 1
        parent.kill()
    for _ in range(200):
        if not Path(f"/proc/{childId}").exists() and not list(tmp_path.iterdir()):
            break
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(childId, 0)


def test_the_next_start_removes_folders_of_dead_processes_only(tmp_path):
    code = (
        "from pathlib import Path\nfrom SliceInterpolationMRML.run.process import Run\nimport os\n"
        f"made = Run(root={str(tmp_path)!r}); (made.folder / 'scan.nrrd').write_bytes(b'x')\n"
        "os._exit(9)\n"  # as a power cut: nothing is tidied up
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    (dead,) = tmp_path.iterdir()
    assert dead.stat().st_mode & 0o077 == 0
    others = [tmp_path / "SliceInterpolation-fresh", tmp_path / "Somebody-elses"]
    for folder in others:
        folder.mkdir()
    alive = Run(root=tmp_path)
    later = Run(root=tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([*others, alive.folder, later.folder])
    for made in (alive, later):
        made.cancel()
    assert sorted(tmp_path.iterdir()) == sorted(others)
