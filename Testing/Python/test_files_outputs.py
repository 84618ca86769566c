"""What a command writes: never over its input, all or nothing, and nothing lost where the disk does not take it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from SliceInterpolationLib import InputError, Volume, read_volume, write_volume
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.errors import Cancelled, OutputError
from SliceInterpolationLib.files import Outputs, outputs, writing

ROOT = Path(__file__).resolve().parents[2]
VOXELS = np.random.default_rng(5).integers(-1000, 1000, (8, 32, 32)).astype(np.int16)
SCAN = Volume(VOXELS, (1.0, 1.0, 5.0), units="HU", provenance="A" * 8)


def run(*arguments) -> int:
    return main([str(argument) for argument in arguments])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def scan(tmp_path) -> Path:
    write_volume(SCAN, tmp_path / "scan.nrrd")
    (tmp_path / "a").mkdir()
    (tmp_path / "link.nrrd").symlink_to("scan.nrrd")
    os.link(tmp_path / "scan.nrrd", tmp_path / "hard.nrrd")
    (tmp_path / "folder").symlink_to(tmp_path)
    return tmp_path / "scan.nrrd"


ALIASES = ("scan.nrrd", "a/../scan.nrrd", "./scan.nrrd", "link.nrrd", "hard.nrrd", "folder/scan.nrrd")


def commands(scan: Path, target: Path) -> list[list]:
    """Every command that writes a file that the user names, writing to `target`."""
    mask = scan.with_name("mask.nrrd")
    return [
        ["interpolate", scan, target, "--method", "linear"],
        ["interpolate", scan, scan.with_name("o.nrrd"), "--uncertainty", target],
        ["compare", scan, scan, "--output", target],
        ["trust", scan, "--method", "linear", "--output", target],
        ["measure", scan, "--segmentation", mask, "--output", target],
        ["measure", mask, "--segmentation", scan, "--output", target],
        ["measure", mask, "--segmentation", mask, "--result", scan, "--output", target],
        ["page", scan, "--output", target],
    ]


@pytest.mark.parametrize("alias", ALIASES)
def test_no_command_writes_over_its_input(scan, alias, capsys):
    write_volume(
        Volume((VOXELS > 0).astype(np.uint8), SCAN.spacing, units="label"), scan.with_name("mask.nrrd")
    )
    before = contents(scan.parent)
    for command in commands(scan, scan.parent / alias):
        assert run(*command) == 2, command
        assert "never overwritten" in capsys.readouterr().err
    assert contents(scan.parent) == before
    # The other way around: the input by another name, the output by its own.
    assert run("interpolate", scan.parent / alias, scan, "--method", "linear") == 2
    assert contents(scan.parent) == before


@pytest.mark.parametrize("command", ["noise", "demo"])
def test_folder_of_outputs_that_holds_the_input(tmp_path, capsys, command):
    name = {"noise": "residual.nrrd", "demo": "original.nrrd"}[command]
    write_volume(SCAN, tmp_path / name)
    before = contents(tmp_path)
    arguments = {"noise": ["noise", tmp_path / name], "demo": ["demo", "--input", tmp_path / name]}[command]
    assert run(*arguments, "--output-dir", tmp_path) == 2
    assert "never overwritten" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_data_files_of_a_detached_header_are_input(tmp_path):
    (tmp_path / "voxels.mha").write_bytes(VOXELS.tobytes())
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    lines += [
        "ElementSpacing = 1 1 5",
        "DimSize = 32 32 8",
        "ElementType = MET_SHORT",
        "ElementDataFile = voxels.mha",
    ]
    (tmp_path / "scan.mhd").write_text("\n".join(lines) + "\n")
    before = contents(tmp_path)
    assert run("interpolate", tmp_path / "scan.mhd", tmp_path / "voxels.mha", "--method", "linear") == 2
    assert contents(tmp_path) == before
    assert run("interpolate", tmp_path / "scan.mhd", tmp_path / "out.mha", "--method", "linear") == 0


def test_files_of_a_dicom_folder_are_input(tmp_path):
    folder = tmp_path / "study"
    (folder / "series").mkdir(parents=True)
    (folder / "series" / "1.nrrd").write_bytes(b"a slice")
    (folder / "2.nrrd").write_bytes(b"a slice")
    (tmp_path / "link.nrrd").symlink_to(folder / "2.nrrd")
    os.link(folder / "2.nrrd", tmp_path / "hard.nrrd")
    with Outputs(folder) as made:
        for path in (
            folder / "series/1.nrrd",
            folder / "2.nrrd",
            tmp_path / "link.nrrd",
            tmp_path / "hard.nrrd",
        ):
            with pytest.raises(InputError, match="never overwritten"):
                made.check(path)
        made.text(folder / "new.txt", "a file that is not there yet harms nobody")


def test_two_outputs_are_two_files(scan):
    folder = scan.parent
    for one, other in (
        ("o.nrrd", "o.nrrd"),
        ("o.nrrd", "a/../o.nrrd"),
        ("o.nrrd", "folder/o.nrrd"),
        ("o.nrrd", "O.NRRD"),  # one file on Windows and macOS
        ("\u00e9.nrrd", "e\u0301.nrrd"),
    ):
        command = ["interpolate", scan, folder / one, "--uncertainty", folder / other]
        assert run(*command) == 2
    with Outputs() as made:
        made.text(folder / "o.txt", "one")
        with pytest.raises(InputError, match="one file"):
            made.text(folder / "a/../o.txt", "two")
    assert (folder / "o.txt").read_text() == "one"


def test_links_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.nrrd").symlink_to("elsewhere/real.nrrd")
    write_volume(SCAN, tmp_path / "out.nrrd")
    assert (tmp_path / "out.nrrd").is_symlink()
    assert (tmp_path / "elsewhere" / "real.nrrd").is_file()


def test_targets_are_checked_before_the_work(scan, capsys):
    bad = {
        "no/such/o.nrrd": (2, "does not exist"),
        "scan.nrrd/o.nrrd": (2, "does not exist"),
        "a": (2, "is a folder"),
    }
    for name, (code, words) in bad.items():
        for command in commands(scan, scan.parent / name)[2:4]:
            assert run(*command, "--progress", "json") == code
            said = capsys.readouterr()
            assert words in said.err
            assert '"done": 1' not in said.out
    assert run("noise", scan, "--output-dir", scan / "deeper") == 2
    assert "not a folder" in capsys.readouterr().err


def test_all_appear_together(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    with Outputs() as made:
        folder = made.folder(tmp_path / "new" / "deep")
        made.volume(SCAN, folder / "a.nrrd")
        made.text(tmp_path / "old.txt", "new")
        assert (tmp_path / "old.txt").read_text() == "old"
        assert not (folder / "a.nrrd").exists()
    assert made.paths == [folder / "a.nrrd", tmp_path / "old.txt"]
    assert (tmp_path / "old.txt").read_text() == "new"
    assert sorted(contents(tmp_path)) == ["new/deep/a.nrrd", "old.txt"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, Cancelled, MemoryError])
def test_a_failure_leaves_everything_as_it_was(tmp_path, error):
    (tmp_path / "old.txt").write_text("old")

    def work() -> None:
        with Outputs() as made:
            folder = made.folder(tmp_path / "new" / "deep")
            made.volume(SCAN, folder / "a.nrrd")
            made.text(tmp_path / "old.txt", "new")
            raise error

    with pytest.raises(error):
        work()
    assert contents(tmp_path) == {"old.txt": b"old"}
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("error", [PermissionError(13, "in use"), KeyboardInterrupt(), Cancelled()])
@pytest.mark.parametrize("hard_links", [True, False])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_failure_half_way_through_is_taken_back(tmp_path, monkeypatch, error, hard_links, at):
    """Windows refuses to replace a file that another program has open."""
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("old")
    real, calls = os.replace, []

    def replace(source, target):
        if ".partial" in str(source):
            calls.append(target)
            if len(calls) == at:
                raise error
        real(source, target)

    def link(source, target):
        raise OSError(95, "no hard links here")

    monkeypatch.setattr(outputs.os, "replace", replace)
    if not hard_links:
        monkeypatch.setattr(outputs.os, "link", link)

    def work() -> None:
        with Outputs() as made:
            for name in ("new.txt", "a.txt", "b.txt"):
                made.text(tmp_path / name, "new")

    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        work()
    assert contents(tmp_path) == {"a.txt": b"old", "b.txt": b"old"}


def test_one_file_that_fails_does_not_end_the_others(tmp_path):
    def draw(made: Outputs) -> None:
        with made.file(tmp_path / "b.png") as aside:
            aside.write_text("half")
            raise InputError("no matplotlib")

    with Outputs() as made:
        made.text(tmp_path / "a.txt", "a")
        with pytest.raises(InputError, match="matplotlib"):
            draw(made)
    assert contents(tmp_path) == {"a.txt": b"a"}
    assert made.paths == [tmp_path / "a.txt"]


def test_cancel_is_held_while_writing(tmp_path):
    """A cancel that comes while files are written takes back what is there; before, nothing holds it."""
    asked, came = [], []

    def check() -> None:
        if came:
            raise Cancelled

    def hold():
        asked.append(len(contents(tmp_path)))
        return check

    def work() -> None:
        with Outputs(hold_cancel=hold) as made:
            made.check(tmp_path / "a.txt")
            assert not asked
            made.text(tmp_path / "a.txt", "a")
            came.append(True)

    with pytest.raises(Cancelled):
        work()
    assert asked == [0]
    assert not contents(tmp_path)


def test_what_the_disk_holds_is_read_back(tmp_path, monkeypatch):
    write_volume(SCAN, tmp_path / "out.nii.gz")
    before = contents(tmp_path)
    real = writing.file_blocks

    def disk_with_a_bad_spot(file):
        content = bytearray(b"".join(real(file)))
        content[len(content) // 2] ^= 1
        yield bytes(content)

    monkeypatch.setattr(writing, "file_blocks", disk_with_a_bad_spot)
    packed = [("out.nii.gz", False), ("a.nrrd", True), ("b.mha", True)]
    for name, compress in (*packed, ("c.nrrd", False), ("d.nii", False), ("e.mha", False)):
        with pytest.raises(OutputError, match="did not keep"):
            write_volume(SCAN, tmp_path / name, compress)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("number", "is_kept"), [(errno.EINVAL, True), (errno.ENOSPC, False), (errno.EIO, False)]
)
def test_what_waiting_for_the_disk_tells(tmp_path, monkeypatch, number, is_kept):
    """A full disk may show only there; some file systems just cannot be waited for."""
    (tmp_path / "old.txt").write_text("old")

    def fsync(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(outputs.os, "fsync", fsync)

    def work() -> None:
        with Outputs() as made:
            made.text(tmp_path / "old.txt", "new")

    if is_kept:
        work()
    else:
        with pytest.raises(OutputError):
            work()
    assert contents(tmp_path) == {"old.txt": b"new" if is_kept else b"old"}


@contextmanager
def small_disk(folder: Path):
    """A file system of 40 kB; skips where nobody may mount one."""
    folder.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(folder)], capture_output=True
        ).returncode
    ):
        pytest.skip("no right to mount a small file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_full_disk_keeps_the_earlier_result(tmp_path, capsys, suffix):
    write_volume(SCAN, tmp_path / "scan.nrrd")
    small = Volume(VOXELS[:3], (1.0, 1.0, 5.0), units="HU")
    with small_disk(tmp_path / "disk") as disk:
        out = disk / f"out{suffix}"
        write_volume(small, out)
        before = contents(disk)
        command = ["interpolate", tmp_path / "scan.nrrd", out, "--method", "linear", "--factor", "8"]
        assert run(*command) == 1
        said = capsys.readouterr().err
        assert "No space left on device" in said
        assert "free some space" in said
        assert contents(disk) == before
        np.testing.assert_array_equal(read_volume(out)[0].array, small.array)
        # The second of two outputs does not fit: the first does not stay either.
        large = Volume(
            np.random.default_rng(0).integers(-999, 999, (64, 32, 32)).astype(np.int16), SCAN.spacing
        )

        def two() -> None:
            with Outputs() as made:
                made.text(disk / "first.txt", "fits")
                made.volume(large, disk / f"second{suffix}")

        with pytest.raises(OutputError):
            two()
        assert contents(disk) == before


@pytest.mark.skipif(os.name != "posix", reason="limits of file sizes are a POSIX matter")
@pytest.mark.parametrize("command", ["interpolate", "compare", "trust", "noise"])
def test_commands_that_cannot_write_end_with_1(tmp_path, command):
    """A quota, here a limit of the file size, is the machine's fault and not the user's."""
    write_volume(SCAN, tmp_path / "scan.nrrd")
    before = contents(tmp_path)
    arguments = {
        "interpolate": ["scan.nrrd", "out.nrrd", "--method", "linear"],
        "compare": ["scan.nrrd", "scan.nrrd", "--output", "out.png"],
        "trust": ["scan.nrrd", "--method", "linear", "--output", "out.json"],
        "noise": ["scan.nrrd", "--method", "linear", "--output-dir", "new/noise"],
    }[command]
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); "
        "from SliceInterpolationLib.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, *arguments],
        cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "SliceInterpolation")},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(tmp_path) == before
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to become another user")
def test_write_protected_places(tmp_path, tmp_path_factory):
    """Read-only folders and files, seen by a user whom they stop (which they do not stop root)."""
    warm = tmp_path_factory.mktemp("warm")
    for folder in [one for one in (tmp_path, *tmp_path.parents) if one.owner() == "root" and one.parts[2:]]:
        os.chmod(folder, 0o755)
    write_volume(SCAN, tmp_path / "scan.nrrd")
    (tmp_path / "folder").mkdir()
    (tmp_path / "secret").mkdir(mode=0o700)
    (tmp_path / "open").mkdir(mode=0o777)
    os.chmod(tmp_path / "open", 0o777)
    (tmp_path / "open" / "kept.nrrd").write_bytes(b"kept")
    before = contents(tmp_path)
    scan = str(tmp_path / "scan.nrrd")
    code = (
        "import os, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from SliceInterpolationLib.cli import main\n"
        "main(['interpolate', *sys.argv[2:4], '--method', 'linear'])\n"  # loads what the other user may not read
        "os.setuid(65534)\n"
        "sys.exit(main(['interpolate', sys.argv[2], sys.argv[4], '--method', 'linear']))"
    )
    for target in ("folder/out.nrrd", "open/kept.nrrd", "secret/out.nrrd"):
        paths = [str(ROOT / "SliceInterpolation"), scan, str(warm / "out.nrrd"), str(tmp_path / target)]
        done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True)
        if scan in done.stderr:
            pytest.skip("the other user cannot look into the temporary folder")
        assert done.returncode == 1, done.stderr
        assert "cannot be written" in done.stderr
    assert contents(tmp_path) == before


def test_names_of_other_encodings(tmp_path):
    """Where the system knows no UTF-8, and names that are none."""
    write_volume(SCAN, tmp_path / "scan.nrrd")
    write_volume(SCAN, tmp_path / "scan.nii")
    umlaut, latin = "kopf-\u00e4.nrrd", b"kopf-\xe4"
    shutil.copy(tmp_path / "scan.nrrd", tmp_path / umlaut)
    try:
        shutil.copy(tmp_path / "scan.nrrd", os.path.join(os.fsencode(tmp_path), latin + b".nrrd"))
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    shutil.copy(tmp_path / "scan.nii", os.path.join(os.fsencode(tmp_path), latin + b".nii"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "SliceInterpolation")}
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    for more in ({"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C"}, ascii_only):

        def interpolate(name: bytes, environment=environment, more=more) -> subprocess.CompletedProcess:
            command = [sys.executable, "-m", "SliceInterpolationLib", "interpolate", name, b"out-" + name]
            command += ["--method", "linear"]
            return subprocess.run(command, cwd=tmp_path, capture_output=True, env={**environment, **more})

        for name in (umlaut.encode(), latin + b".nii", latin + b".nrrd"):
            done = interpolate(name)
            assert done.returncode == 0, done.stderr
            assert os.path.isfile(os.path.join(os.fsencode(tmp_path), b"out-" + name))


def test_dicom_names_that_are_no_text(scans, tmp_path):
    """They are read like all others: no name of theirs goes to ITK, which would end the process."""
    for number, file in enumerate(
        sorted((scans / "dicom" / "headphantom_philips_5mm_uniform").iterdir())[1:5]
    ):
        try:
            shutil.copy(file, os.path.join(os.fsencode(tmp_path), b"bild-\xe4%d.dcm" % number))
        except OSError:
            pytest.skip("this file system takes UTF-8 only")
    assert read_volume(tmp_path)[0].slice_count == 4
    folder = tmp_path / os.fsdecode(b"folder-\xe4")
    folder.mkdir()
    with pytest.raises(InputError, match="no DICOM images"):
        read_volume(folder)
