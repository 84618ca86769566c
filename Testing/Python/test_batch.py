"""Batches: which studies are found, what becomes of each, and what is left when anything is killed."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from SliceInterpolationLib import InputError, Request, Volume, interpolate, read_volume, write_volume
from SliceInterpolationLib.batch.command import run_batch
from SliceInterpolationLib.batch.discovery import Study, discover
from SliceInterpolationLib.batch.engine import Workers, _connected, plan, run_studies
from SliceInterpolationLib.batch.ledger import Ledger, read_records
from SliceInterpolationLib.batch.pages import index_page
from SliceInterpolationLib.batch.settings import Settings
from SliceInterpolationLib.batch.study import process
from SliceInterpolationLib.batch.table import COLUMNS, badness, in_order
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.files import read_labelmap
from SliceInterpolationLib.progress import Reporter
from SliceInterpolationLib.reports.measure import measure

pytest.importorskip("distributed", reason="batches need Dask")
psutil = pytest.importorskip("psutil", reason="finds the workers to kill")
parquet = pytest.importorskip("pyarrow.parquet", reason="batches write Parquet")

ROOT = Path(__file__).resolve().parents[2]
QUICK = Settings.of(Request(method="linear"), without=("trust", "noise"))


def small(seed: int = 0, slices: int = 8) -> Volume:
    """A ball in a box, 48 x 48, with noise that differs from scan to scan."""
    z, y, x = np.mgrid[:slices, :48, :48]
    ball = (x - 24) ** 2 + (y - 24) ** 2 + (4 * (z - slices / 2)) ** 2 < 15**2
    image = np.where(ball, 60, -1000) + np.random.default_rng(seed).normal(0, 4, ball.shape)
    return Volume(image.astype(np.int16), (1.0, 1.0, 4.0), slice_axis="k", units="HU")


def mask_of(volume: Volume) -> Volume:
    return Volume(
        (volume.array > 0).astype(np.uint8), volume.spacing, volume.origin, slice_axis="k", units="label"
    )


@pytest.fixture
def tree(tmp_path) -> Path:
    """A folder with three scans of three formats, one with a mask, and a file that is no scan."""
    folder = tmp_path / "in"
    (folder / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(("one.nrrd", "deep/two.nii.gz", "deep/er/three.mha")):
        write_volume(small(number), folder / name)
    write_volume(mask_of(small(1)), folder / "deep" / "two-mask.nii.gz")
    (folder / "bad.nrrd").write_bytes(b"NRRD0004\nnothing")
    (folder / "notes.txt").write_text("none")
    return folder


def many(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        write_volume(small(number), folder / f"s{number:02}.nrrd")
        write_volume(mask_of(small(number)), folder / f"s{number:02}-mask.nrrd")
    return folder


def names(studies: list[Study]) -> list[str]:
    return [study.name for study in studies]


# What is found


def test_a_tree_is_searched(tree, tmp_path):
    studies, remarks = discover(tree, tmp_path / "out")
    assert names(studies) == ["bad", "deep/er/three", "deep/two", "one"]
    assert [len(study.masks) for study in studies] == [0, 0, 1, 0]
    assert not remarks


def test_outputs_hidden_files_and_other_batches_are_left_out(tree):
    for folder in ("out", "other"):
        shutil.copytree(tree / "deep", tree / folder)
    (tree / "other" / "batch.json").write_text("{}")
    shutil.copy(tree / "one.nrrd", tree / ".one.nrrd")
    assert names(discover(tree, tree / "out")[0]) == ["bad", "deep/er/three", "deep/two", "one"]


def test_masks_find_their_scans(tmp_path):
    for name in (
        "a/ct.nrrd", "a/mask.nii.gz", "b/head1.nrrd", "b/head2.nrrd", "b/head2.seg.nrrd", "b/head1_label-2.nrrd",
        "b/mask.nrrd", "c/sub-01_ct.nii.gz", "c/sub-01_mask.nii.gz",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    studies, remarks = discover(tmp_path, tmp_path / "out")
    found = {study.name: [Path(mask).name for mask in study.masks] for study in studies}
    assert found == {
        "a/ct": ["mask.nii.gz"],
        "b/head1": ["head1_label-2.nrrd"],
        "b/head2": ["head2.seg.nrrd"],
        "c/sub-01_ct": ["sub-01_mask.nii.gz"],
    }
    assert len(remarks) == 1
    assert "b/mask.nrrd" in remarks[0]


def test_names_are_never_shared_nor_one_in_another(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("a.nrrd", "a.mha", "a/b.nrrd", "c.nii"):
        (tmp_path / name).touch()
    assert names(discover(tmp_path, tmp_path / "out")[0]) == ["a.mha", "a.nrrd", "a/b", "c"]


def write_dicom(folder: Path, volume: Volume, uid: str, spread: bool = False) -> None:
    """A series of CT images, each in a folder of its own where it is spread."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    for number, image in enumerate(volume.array):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"{uid}.{number + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / (f"d{number}/image" if spread else f"{uid}-{number}.dcm")
        path.parent.mkdir(parents=True, exist_ok=True)
        ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", uid, "1.2.4"
        ds.Modality, ds.ImageType, ds.PatientName = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "X"
        ds.InstanceNumber, ds.SliceThickness = number + 1, 4.0
        ds.ImagePositionPatient = [0.0, 0.0, 4.0 * number]
        ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.Rows, ds.Columns = [1.0, 1.0], *image.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit, ds.PixelRepresentation = 15, 1
        ds.RescaleIntercept, ds.RescaleSlope = 0, 1
        ds.PixelData = image.astype("<i2").tobytes()
        pydicom.dcmwrite(path, ds, enforce_file_format=True)


def test_dicom_series_are_found_wherever_their_files_lie(tmp_path):
    folder = tmp_path / "in"
    write_dicom(folder / "p1", small(0), "1.2.1")
    write_dicom(folder / "p1", small(1), "1.2.2")
    write_dicom(folder / "p2", small(2), "1.2.3", spread=True)
    write_dicom(folder / "p3", small(3, slices=1), "1.2.4")
    write_volume(mask_of(small(2)), folder / "p2" / "mask.nrrd")
    studies, remarks = discover(folder, tmp_path / "out")
    assert {study.name: (study.series, len(study.files), len(study.masks)) for study in studies} == {
        "p1/1.2.1": ("1.2.1", 8, 0),
        "p1/1.2.2": ("1.2.2", 8, 0),
        "p2": ("1.2.3", 8, 1),
    }
    assert "single image" in remarks[0]
    for study, seed in zip(studies, (0, 1, 2)):
        record = process(study, QUICK, tmp_path / "out")
        row = record["rows"][0]
        made, _ = read_volume(tmp_path / "out" / row["result"])
        np.testing.assert_array_equal(made.array[::2], small(seed).array)
        assert made.provenance == "AS" * 7 + "A"
        assert row["result"].endswith(".nrrd")
    assert row["ml_before"] > 0


def test_a_series_becomes_a_series(tmp_path):
    pytest.importorskip("highdicom", reason="writes DICOM Segmentations")
    import pydicom

    folder, out = tmp_path / "in", tmp_path / "out"
    write_dicom(folder / "p1", small(0), "1.2.1")
    write_volume(mask_of(small(0)), folder / "p1" / "mask.nrrd")
    write_volume(small(1), folder / "two.nrrd")
    settings = Settings.of(Request(method="linear"), "dicom", without=("trust", "noise"))
    studies, _ = discover(folder, out)
    records = [process(study, settings, out) for study in studies]
    row = records[0]["rows"][0]
    made, _ = read_volume(out / row["result"])
    np.testing.assert_array_equal(made.array[::2], small(0).array)
    assert made.provenance == "AS" * 7 + "A"
    segmentation = pydicom.dcmread(out / row["mask_result"])
    assert segmentation.Modality == "SEG"
    assert segmentation.Rows == 48
    assert sum(name.startswith("p1/") for name in records[0]["files"]) == 15
    assert not process(studies[0], settings, out)["fresh"]
    assert "no DICOM folder" in records[1]["failed"]
    (out / row["result"] / "00003.dcm").unlink()
    assert "not whole" in process(studies[0], settings, out)["failed"]


def test_a_list_is_followed(tree, tmp_path):
    text = "study,series,mask\nP 1/ct,in/one.nrrd,\nP 2,in/deep/two.nii.gz,in/deep/two-mask.nii.gz\n"
    for head, separator in (("", ","), ("\ufeff", ";")):
        (tmp_path / "list.csv").write_text(head + text.replace(",", separator), encoding="utf-8")
        studies, _ = discover(tmp_path / "list.csv", tmp_path / "out")
        assert names(studies) == ["P 1/ct", "P 2"]
        assert studies[0].scan == str(tree / "one.nrrd")
        assert studies[1].masks == (str(tree / "deep" / "two-mask.nii.gz"),)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a,x.nrrd\nA,y.nrrd", "second study"),
        ("../a,x.nrrd", "no folder"),
        ("/a,x.nrrd", "no folder"),
        ("a:b,x.nrrd", "none of"),
        ("a,", "needs a study and a series"),
        ("a,x.nrrd\na/b,y.nrrd", "within the study"),
        ("", "holds no study"),
    ],
)
def test_a_list_that_cannot_be_followed(tmp_path, rows, words):
    (tmp_path / "list.csv").write_text(f"study,series\n{rows}\n")
    with pytest.raises(InputError, match=words):
        discover(tmp_path / "list.csv", tmp_path / "out")


# What becomes of one study


def only(tmp_path: Path, with_mask: bool = True) -> Study:
    write_volume(small(), tmp_path / "scan.nii.gz")
    write_volume(mask_of(small()), tmp_path / "mask.nrrd")
    masks = (str(tmp_path / "mask.nrrd"),) if with_mask else ()
    return Study("scan", str(tmp_path / "scan.nii.gz"), masks=masks)


def test_a_study_is_what_the_single_commands_make(tmp_path):
    study, out = only(tmp_path), tmp_path / "out"
    settings = Settings.of(Request())
    record = process(study, settings, out)
    (row,) = record["rows"]
    volume, _ = read_volume(study.scan)
    result = interpolate(volume).volume
    made, _ = read_volume(out / row["result"])
    np.testing.assert_array_equal(made.array, result.array)
    measured = measure(volume, mask_of(small()).array, result)
    carried = read_labelmap(out / row["mask_result"])
    np.testing.assert_array_equal(carried.array, measured.carried.array)
    assert row["ml_before"] == measured.rows[0]["volume_ml"]
    assert row["ml_after"] == measured.rows[1]["volume_ml"]
    assert row["method"] == "flow-refine"
    assert row["verdict"] in ("trusted", "not trusted", "open")
    assert row["noise_sd"] > 0
    assert (row["slices_before"], row["slices_after"]) == (8, 15)
    page = (out / row["page"]).read_text()
    assert "Measurements" in page
    assert set(row) <= set(COLUMNS)
    assert sorted(path.name for path in (out / "studies" / "scan").iterdir()) == [
        "report.html", "scan-mask.nii.gz", "scan.nii.gz", "study.json",
    ]  # fmt: skip
    assert not any((out / ".unfinished").iterdir())


def test_a_finished_study_is_recognized_by_its_content(tmp_path):
    study, out = only(tmp_path), tmp_path / "out"
    first = process(study, QUICK, out)
    assert first["fresh"]
    stamp = (out / "studies" / "scan" / "scan.nii.gz").stat().st_mtime_ns
    moved = Study("scan", shutil.move(study.scan, tmp_path / "renamed.nii.gz"), masks=study.masks)
    again = process(moved, QUICK, out)
    assert not again["fresh"]
    assert again["rows"] == first["rows"]
    assert (out / "studies" / "scan" / "scan.nii.gz").stat().st_mtime_ns == stamp
    on_gpu = Settings.of(Request(method="linear", device="cuda"), without=("trust", "noise"))
    assert not process(moved, on_gpu, out)["fresh"]  # where it is computed makes no other study


def test_nothing_is_overwritten(tmp_path):
    study, out = only(tmp_path), tmp_path / "out"
    process(study, QUICK, out)
    before = (out / "studies" / "scan" / "scan.nii.gz").read_bytes()
    write_volume(small(9), study.scan)
    assert "changed since" in process(study, QUICK, out)["failed"]
    write_volume(small(), study.scan)
    other = Settings.of(Request(method="linear", factor=3), without=("trust", "noise"))
    assert "failed" in process(study, other, out)
    assert (out / "studies" / "scan" / "scan.nii.gz").read_bytes() == before
    (out / "studies" / "scan" / "scan.nii.gz").write_bytes(b"short")
    assert "not whole" in process(study, QUICK, out)["failed"]
    other = Study("mine", study.scan)
    (out / "studies" / "mine").mkdir()
    (out / "studies" / "mine" / "letter.txt").write_text("keep")
    assert "no batch has made" in process(other, QUICK, out)["failed"]
    assert (out / "studies" / "mine" / "letter.txt").read_text() == "keep"


def test_a_bad_study_says_why_and_leaves_nothing(tmp_path):
    study, out = only(tmp_path), tmp_path / "out"
    volume = small()
    write_volume(Volume(mask_of(volume).array, (2.0, 1.0, 4.0), units="label"), study.masks[0])
    assert "grid of the scan" in process(study, QUICK, out)["failed"]
    assert "cannot be read" in process(Study("gone", str(tmp_path / "gone.nrrd")), QUICK, out)["failed"]
    (tmp_path / "bad.nrrd").write_bytes(b"NRRD0004\nnothing")
    assert process(Study("bad", str(tmp_path / "bad.nrrd")), QUICK, out)["failed"]
    assert not list((out / "studies").glob("*")) if (out / "studies").exists() else True
    assert not any((out / ".unfinished").iterdir())


def test_a_full_disk_is_told_apart_from_a_bad_study(tmp_path, monkeypatch):
    import errno

    study, out = only(tmp_path), tmp_path / "out"

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("SliceInterpolationLib.files.outputs.write_aside", full)
    record = process(study, QUICK, out)
    assert record["full"] == "No space left on device"
    assert "free some space" in record["failed"]
    monkeypatch.undo()
    assert process(study, QUICK, out)["fresh"]


def test_a_cancelled_study_stops_at_its_next_slice(tmp_path, monkeypatch):
    study, out = only(tmp_path), tmp_path / "out"

    def cancelled(volume, request, *, progress):
        shutil.rmtree(out / ".unfinished")
        progress("interpolated", 1, 2)
        raise AssertionError("goes on")

    monkeypatch.setattr("SliceInterpolationLib.batch.study.interpolate", cancelled)
    assert "cancelled" in process(study, QUICK, out)["failed"]


# The folder of a batch


def test_a_folder_belongs_to_one_batch_of_the_same_settings(tmp_path):
    out = tmp_path / "out"
    with Ledger(out, QUICK), pytest.raises(InputError, match="Another batch"), Ledger(out, QUICK):
        pass
    with Ledger(out, QUICK):
        pass
    with pytest.raises(InputError, match=r"other settings .*factor '2', not '3'"):
        Ledger(out, Settings.of(Request(method="linear", factor=3), without=("trust", "noise"))).__enter__()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").touch()
    with pytest.raises(InputError, match="no batch has made"):
        Ledger(tmp_path / "full", QUICK).__enter__()


# The table and the index


def row(study: str, **entries) -> dict:
    return in_order(
        [{"study": study, "run": 1, "status": "done", "page": f"studies/{study}/report.html", **entries}]
    )[0]


def test_the_worst_come_first():
    rows = [
        row("good", verdict="trusted", trust_gain_psnr_db=2.0),
        row("barely", verdict="trusted", trust_gain_psnr_db=0.1),
        row("lost", verdict="not trusted", trust_gain_psnr_db=-1.0),
        row("failed", status="failed", reason="torn"),
        row("warned", verdict="trusted", warnings="Warning: far apart."),
        row("unjudged", verdict="open"),
        row("lost more", verdict="not trusted", trust_gain_psnr_db=-3.0),
    ]
    order = ["failed", "lost more", "lost", "warned", "unjudged", "barely", "good"]
    assert [one["study"] for one in sorted(rows, key=badness)] == order
    page = index_page(rows)
    assert re.findall(r'<th scope="row" data-value="([^"]*)"', page) == order
    assert "src=" not in page.replace("script-src", "").replace("img-src", "")


def test_the_script_of_the_index_is_the_one_that_its_policy_names():
    import base64
    import hashlib
    import html

    page = index_page([row("<b>&x</b>", verdict="trusted")])
    assert "<b>&x" not in page
    policy = html.unescape(re.search(r'content="(default-src[^"]*)"', page)[1])
    script = re.search(r"<script>(.*)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_index_of_a_million_stays_small():
    rows = [row(f"s{number}", verdict="trusted", trust_gain_psnr_db=1.0) for number in range(6000)]
    page = index_page([*rows, row("worst", status="failed")])
    assert page.count("<tr ") == 5000
    assert "worst" in page


# The engine


def test_workers_as_cores_memory_and_gpus_allow(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 16)
    monkeypatch.setattr("SliceInterpolationLib.batch.engine.free_memory", lambda: 10 << 30)
    assert plan(Workers(), 0) == (5, 3)
    assert plan(Workers(), 2) == (2, 8)
    assert plan(Workers(count=4), 2) == (4, 4)
    assert plan(Workers(threads=1), 0) == (5, 1)


@contextmanager
def cluster(**options):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None, **options
    ) as made:
        yield made.scheduler_address


def test_a_cluster_by_its_address(tmp_path, monkeypatch):
    study, out, told = only(tmp_path), tmp_path / "out", []
    with cluster() as address:
        records = list(run_studies([study], QUICK, out, Workers(address), told.append, lambda: None))
        gpu = Settings.of(Request(device="cuda"))
        with pytest.raises(InputError, match="No worker has a GPU"):
            list(run_studies([study], gpu, out, Workers(address), told.append, lambda: None))
    assert records[0]["fresh"]
    assert "Workers at hand: 1" in told
    with cluster(resources={"GPU": 1}) as address:
        chosen = Settings.of(Request(method="flow", device="cuda:1"))
        with _connected(Workers(address), chosen, told.append, lambda: None) as (_, resources, given):
            assert resources == {"GPU": 1}
            assert given.request.device == "cuda"
        settings = Settings.of(Request(method="flow"), without=("trust", "noise", "page"))
        records = list(
            run_studies([study], settings, tmp_path / "two", Workers(address), told.append, lambda: None)
        )
    assert records[0]["fresh"]
    assert "Workers at hand: 1, 1 with a GPU" in told
    monkeypatch.setattr("SliceInterpolationLib.batch.engine._CONNECT_S", 1)
    with pytest.raises(InputError, match="no Dask scheduler"):
        list(run_studies([study], QUICK, out, Workers("tcp://127.0.0.1:1"), told.append, lambda: None))


# The command, its processes and their ends


def start(*arguments, **options) -> subprocess.Popen:
    command = [
        sys.executable,
        "-m",
        "SliceInterpolationLib",
        "batch",
        *map(str, arguments),
        "--progress",
        "json",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "SliceInterpolation")}
    return subprocess.Popen(
        [*command, "--dashboard", "none", "--method", "linear", "--without", "trust", "noise"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> tuple[int, list[dict], str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def table(out: Path) -> list[dict]:
    """The rows of both tables without what differs from run to run: times."""
    with open(out / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for one, other in zip(rows, parquet.read_table(out / "results.parquet").to_pylist()):
        assert {key: "" if value is None else str(value) for key, value in other.items()} == one
    return [{key: value for key, value in one.items() if not key.endswith("_s")} for one in rows]


def hashes(out: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted((out / "studies").rglob("*")):
        if path.is_file() and path.name != "study.json":
            found[path.relative_to(out).as_posix()] = path.read_bytes()
    return found


def workers_of(process: subprocess.Popen) -> list[psutil.Process]:
    found = []
    for one in psutil.Process(process.pid).children(recursive=True):
        try:
            if "spawn_main" in " ".join(one.cmdline()):
                found.append(one)
        except psutil.Error:
            continue
    return found


def wait_for(process: subprocess.Popen, count: int) -> None:
    """Until so many studies are done."""
    for line in process.stdout:
        if (json.loads(line)["done"] or 0) >= count:
            return
    raise AssertionError(process.stderr.read())


def test_a_batch_from_a_folder_to_its_table(tree, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["batch", str(tree), str(out), "--dry-run", "--method", "linear"]) == 0
    assert not out.exists()
    said = capsys.readouterr().out
    assert "4 would be made, 0 finished, 0 would fail" in said
    assert "two-mask.nii.gz" in said
    code, lines, err = finish(start(tree, out, "--workers", 2))
    assert code == 0, err
    assert lines[-1]["finished"] == 3
    assert lines[-1]["failed"] == 1
    steps = [line for line in lines if line["done"]]
    assert [line["done"] for line in steps] == [1, 2, 3, 4]
    assert "a minute" in steps[0]["message"]
    assert {line["rows"][0]["study"] for line in steps} == {"bad", "deep/er/three", "deep/two", "one"}
    rows = {one["study"]: one for one in table(out)}
    assert rows["bad"]["status"] == "failed"
    assert "bad.nrrd" in rows["bad"]["reason"]
    assert float(rows["deep/two"]["ml_after"]) == pytest.approx(float(rows["deep/two"]["ml_before"]), rel=0.2)
    assert (out / rows["deep/two"]["mask_result"]).is_file()
    assert 'href="studies/deep/two/report.html"' in (out / "index.html").read_text()
    assert len(list(read_records(out))) == 3
    assert (
        main(["batch", str(tree), str(out), "--dry-run", "--method", "linear", "--without", "trust", "noise"])
        == 0
    )
    assert "1 would be made, 3 finished" in capsys.readouterr().out
    assert main(["batch", str(tree), str(out), "--dry-run", "--method", "cubic"]) == 2
    assert "other settings" in capsys.readouterr().err


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, list[dict], dict[str, bytes]]:
    """Input of 24 studies, and what comes of it where nothing happens."""
    base = tmp_path_factory.mktemp("undisturbed")
    folder = many(base / "in", 24)
    code, _, err = finish(start(folder, base / "out", "--workers", 2))
    assert code == 0, err
    return folder, table(base / "out"), hashes(base / "out")


def test_workers_killed_at_random_lose_nothing(undisturbed, tmp_path):
    folder, rows, files = undisturbed
    process = start(folder, tmp_path / "out", "--workers", 2)
    chosen = random.Random(1)
    for count in (2, 12):
        wait_for(process, count)
        alive = workers_of(process)
        if alive:
            chosen.choice(alive).kill()
    code, lines, err = finish(process)
    assert code == 0, err
    assert "Traceback" not in err
    assert lines[-1]["failed"] == 0
    assert table(tmp_path / "out") == rows
    assert hashes(tmp_path / "out") == files


def test_a_batch_that_was_ended_goes_on(undisturbed, tmp_path):
    """First killed, then cancelled: its workers end with it, and what is finished stays as it is."""
    folder, rows, files = undisturbed
    out = tmp_path / "out"
    stamps: dict[Path, int] = {}
    for number, count in ((signal.SIGKILL, 3), (signal.SIGTERM, 9)):
        process = start(folder, out, "--workers", 2)
        wait_for(process, count)
        workers = workers_of(process)
        assert len(workers) == 2
        process.send_signal(number)
        code, lines, err = finish(process)
        assert not psutil.wait_procs(workers, timeout=10)[1]
        assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
        stamps = {path: path.stat().st_mtime_ns for path in out.glob("studies/*/study.json")}
        assert count <= len(stamps) < len(rows)
    assert code == 3
    assert "The same command goes on" in lines[-1]["message"]
    assert "Traceback" not in err
    assert len(table(out)) == len(stamps)
    assert not (out / ".unfinished").exists()
    assert "not finished yet" in (out / "index.html").read_text()
    code, lines, err = finish(start(folder, out, "--workers", 2))
    assert code == 0, err
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert table(out) == rows
    assert hashes(out) == files
    assert not (out / ".unfinished").exists()


def test_an_output_that_cannot_be_written(tree, tmp_path):
    out = tmp_path / "out"
    out.write_text("a file")
    with pytest.raises(InputError, match="not a folder"):
        run_batch(tree, out, QUICK, Workers(count=1), Reporter("none"))
    assert main(["batch", str(tree), str(tree)]) == 2
