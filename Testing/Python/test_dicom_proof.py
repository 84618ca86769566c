"""What programs that are not ours make of the DICOM that we write: a validator, four readers and a PACS."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicomfiles import item, write_enhanced
from dicomsources import as_it_stands, modality_values, write_scan
from test_dicom_others import (
    balls,
    both_centers,
    check_same,
    check_same_as_simpleitk,
    dcm2niix,  # noqa: F401
)

from SliceInterpolationLib import interpolate, read_volume, write_volume
from SliceInterpolationLib.catalogue import find_model, model_hash
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.dicom import read_series, write_series
from SliceInterpolationLib.volume import Volume

LIBRARY = Path(__file__).resolve().parents[2] / "SliceInterpolation"


def program(name: str) -> str:
    """A program of another project; without it the test skips, but not where all are installed on purpose."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if found is None:
        assert not os.environ.get("SLICE_INTERPOLATION_ALL_PROGRAMS"), f"{name} should be installed here"
        pytest.skip(f"{name} is not installed")
    return found


def run(name: str, *arguments, check: bool = True) -> str:
    done = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, errors="replace", timeout=120
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def command(*arguments) -> None:
    assert main([str(one) for one in (*arguments, "--progress", "none")]) == 0


def everything(root: Path, **source) -> dict[str, Path]:
    """A source series and every kind of object that is written of it, in folders by kind."""
    scan = root / "scan"
    if not scan.exists():
        write_scan(scan, **{"slices": 6, "size": 48, **source})
    (read,) = read_series(scan).runs
    labels = np.zeros(read.volume.array.shape, np.int16)
    labels[1:4, 18:30, 20:32] = 2
    labels[2:5, 5:12, 6:14] = 5
    mask = root / "labels.nrrd"
    write_volume(
        Volume(labels, read.volume.spacing, read.volume.origin, read.volume.direction, "k", units="label"),
        mask,
    )
    linear = ["--method", "linear"]
    command("interpolate", scan, root / "series", "--output-format", "dicom", *linear)
    command("interpolate", scan, root / "burned", "--output-format", "dicom", "--burn-in", *linear)
    command(
        "interpolate",
        scan,
        root / "denoised",
        "--output-format",
        "dicom",
        "--output-mode",
        "denoised",
        *linear,
    )
    command("noise", scan, "--output-dir", root / "noise", "--dicom-dir", root / "maps", *linear)
    command("measure", scan, "--segmentation", mask, "--result", root / "series", "--dicom-dir", root / "measured",
            "--output", root / "measured.csv", "--range", -3000, 5000)  # fmt: skip
    return {name: root / name for name in ("scan", "series", "burned", "denoised", "maps", "measured")}


TILT = (1, 0, 0, 0, 0.9483237, -0.3173047)
KINDS = {
    "CT": {},
    "tilted": {"orientation": TILT, "GantryDetectorTilt": 18.5, "step": (0.0, 0.0, 4.5)},
    "MR": {"modality": "MR"},
}


@pytest.fixture(scope="module", params=KINDS)
def made(request, tmp_path_factory):
    """Everything of one kind of source, upright, tilted, or MR."""
    return everything(tmp_path_factory.mktemp(request.param.lower()), **KINDS[request.param])


def written(made) -> list[Path]:
    return sorted(path for name, folder in made.items() if name != "scan" for path in folder.glob("*.dcm"))


def errors_of(path: Path) -> list[str]:
    said = run("dciodvfy", path, check=False)
    return [line for line in said.splitlines() if "Error" in line]


def test_the_validator_finds_no_error_in_any_object(made):
    paths = written(made)
    assert len(paths) == 3 * 11 + 2 + 4
    assert {path: found for path in paths if (found := errors_of(path))} == {}


ODD = {
    "PatientSex": b"female",
    "ClinicalTrialSponsorName": b"only half a trial",
    "PregnancyStatus": b"\x00\x00",
    "StudyDescription": b"two\nlines",
    "SeriesDescription": b"1\\2\\",
    "ProtocolName": b"x" * 100,
    "AdmittingDiagnosesDescription": b"ok\x94",
    "BodyPartExamined": b"",
    "DeidentificationMethod": b"",
    "PatientIdentityRemoved": b"YES",
    "WindowCenter": b"40\\",
    "DataCollectionCenterPatient": bytes(8),
    "TableHeight": b"12,5",
    "FilterType": b"a filter of more than 16 characters",
    "ConvolutionKernel": b"B\x0331",
    "AcquisitionDate": b"20201341",
    "KVP": b"120 kV",
    "Manufacturer": b"two\nlines",
    "InstitutionName": b"y" * 80,
    "ReferringPhysicianName": b"^^^^^^^",
    "SliceThickness": b"five",
    "SliceLocation": b"?",
    "TimezoneOffsetFromUTC": b"late",
    "RescaleType": b"HU\x07",
}
"""Headers as they are found, and worse; what a study is filed by stays as it is, see the tests of writing."""


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_odd_headers_make_valid_objects(tmp_path, modality):
    def change(k, ds):
        for keyword, value in ODD.items():
            as_it_stands(ds, keyword, value)

    write_scan(tmp_path / "scan", change=change, modality=modality, slices=6, size=48)
    made = everything(tmp_path)
    assert {path: found for path in written(made) if (found := errors_of(path))} == {}


def test_the_validator_would_find_one(made, tmp_path):
    image = pydicom.dcmread(written(made)[-1])
    del image.SeriesInstanceUID
    image.save_as(tmp_path / "broken.dcm")
    assert errors_of(tmp_path / "broken.dcm")


def test_a_network_is_named_with_its_weights_and_its_error_is_a_map(tmp_path):
    write_scan(tmp_path / "scan", slices=6, size=48)
    command("interpolate", tmp_path / "scan", tmp_path / "out", "--output-format", "dicom", "--uncertainty",
            tmp_path / "error.dcm", "--device", "cpu", "--force")  # fmt: skip
    paths = [*sorted((tmp_path / "out").iterdir()), tmp_path / "error.dcm"]
    assert {path: found for path in paths if (found := errors_of(path))} == {}
    model = find_model("default")
    for path in paths:
        own = pydicom.dcmread(path).ContributingEquipmentSequence[-1]
        assert own.AlgorithmName == model.name
        assert own.AlgorithmVersion == model_hash(model)
        assert own.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    error = pydicom.dcmread(paths[-1])
    values = np.frombuffer(error.FloatPixelData, "<f4").reshape(11, 48, 48)
    assert [bool(one.any()) for one in values] == [False, True] * 5 + [False]
    places = {}
    for path in paths[:-1]:
        image = pydicom.dcmread(path)
        places[image.SOPInstanceUID] = list(image.ImagePositionPatient)
    for group in error.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert group.PlanePositionSequence[0].ImagePositionPatient == places.pop(
            source.ReferencedSOPInstanceUID
        )
    assert not places
    if os.name == "posix":
        assert (tmp_path / "error.dcm").stat().st_mode & 0o777 == 0o600


def test_an_enhanced_source_becomes_valid_single_images(tmp_path):
    (tmp_path / "scan").mkdir()
    write_enhanced(tmp_path / "scan" / "a.dcm", [(0, 0, 4.0 * k) for k in range(4)], "1.2.3.9")
    made = everything(tmp_path)
    assert {path: found for path in written(made) if (found := errors_of(path))} == {}
    images = [pydicom.dcmread(path) for path in sorted(made["series"].iterdir())]
    assert [[one.ReferencedFrameNumber for one in image.SourceImageSequence] for image in images[:3]] == [
        [1], [1, 2], [2],
    ]  # fmt: skip
    source = pydicom.dcmread(tmp_path / "scan" / "a.dcm")
    for k, image in enumerate(images[::2]):
        np.testing.assert_array_equal(image.pixel_array, source.pixel_array[k])


def test_an_enhanced_mr_becomes_valid_single_images(tmp_path):
    (tmp_path / "scan").mkdir()
    path = tmp_path / "scan" / "a.dcm"
    write_enhanced(path, [(0, 0, 4.0 * k) for k in range(4)], "1.2.3.10")
    source = pydicom.dcmread(path)
    source.SOPClassUID = source.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    source.Modality, source.EchoPulseSequence = "MR", "SPIN"
    timing = item(RepetitionTime=3000.0, FlipAngle=90.0, EchoTrainLength=4)
    source.SharedFunctionalGroupsSequence[0].MRTimingAndRelatedParametersSequence = [timing]
    source.SharedFunctionalGroupsSequence[0].MREchoSequence = [item(EffectiveEchoTime=80.0)]
    for groups in source.PerFrameFunctionalGroupsSequence:
        groups.MRImageFrameTypeSequence = groups.CTImageFrameTypeSequence
        del groups.CTImageFrameTypeSequence
        groups.PixelValueTransformationSequence[0].RescaleType = "US"
    source.save_as(path)
    command("interpolate", tmp_path / "scan", tmp_path / "out", "--output-format", "dicom", "--method", "linear",
            "--force")  # fmt: skip
    paths = sorted((tmp_path / "out").iterdir())
    assert {path: found for path in paths if (found := errors_of(path))} == {}
    for path in paths:
        image = pydicom.dcmread(path)
        assert image.SOPClassUID == pydicom.uid.MRImageStorage
        assert (image.EchoTime, image.RepetitionTime, image.ScanningSequence) == (80, 3000, "SE")


def test_dcm2niix_and_gdcm_read_the_same(made, tmp_path, dcm2niix):  # noqa: F811
    volume, _ = read_volume(made["series"])
    if volume.is_sheared:
        reader = sitk.ImageFileReader()
        for k, path in enumerate(sorted(made["series"].iterdir())):
            reader.SetFileName(str(path))
            image = reader.Execute()
            np.testing.assert_array_equal(sitk.GetArrayFromImage(image)[0], volume.array[k])
            np.testing.assert_allclose(image.GetOrigin(), (volume.affine @ (0, 0, k, 1))[:3], atol=1e-4)
        return
    images = dcm2niix(made["series"], tmp_path / "out")
    assert len(images) == 1
    check_same(volume, next(iter(images.values())))
    check_same_as_simpleitk(volume, made["series"])


def test_tilted_series_agree_with_dcm2niix_within_a_voxel(tmp_path, dcm2niix):  # noqa: F811
    (read,) = read_series(balls(tmp_path / "scan", -18.5)).runs
    (tmp_path / "out").mkdir()
    write_series(interpolate(read.volume, method="linear").volume, read, tmp_path / "out")
    volume, _ = read_volume(tmp_path / "out")
    ours, theirs = both_centers(volume, dcm2niix(tmp_path / "out", tmp_path / "nii"))
    np.testing.assert_allclose(theirs, ours, atol=max(volume.pixel_spacing))


def test_dcmtk_reads_the_same(made, tmp_path):
    volume, _ = read_volume(made["series"])
    for k, path in enumerate(sorted(made["series"].iterdir())[:4]):
        (tmp_path / str(k)).mkdir()
        run("dcmdump", "+W", tmp_path / str(k), path)
        said = run("dcmdump", "+P", "ImagePositionPatient", path)
        place = said.split("[")[1].split("]")[0].split("\\")
        np.testing.assert_allclose(
            [float(one) for one in place], (volume.affine @ (0, 0, k, 1))[:3], atol=1e-4
        )
        (raw,) = (tmp_path / str(k)).iterdir()
        assert raw.read_bytes() == pydicom.dcmread(path).PixelData


def test_highdicom_reads_the_same(made):
    import highdicom as hd

    volume, _ = read_volume(made["series"])
    images = [hd.imread(path) for path in sorted(made["series"].iterdir())]
    for k, image in enumerate(images):
        frame = image.get_frame(1, apply_modality_transform=None)
        np.testing.assert_array_equal(frame, volume.array[k])
    if not volume.is_sheared:
        theirs = hd.get_volume_from_series([pydicom.dcmread(path) for path in made["series"].iterdir()])
        indices = np.array([0, 0, 0, 1.0])
        places = {tuple(np.round((theirs.affine @ indices)[:3], 3))}
        corners = {
            tuple(np.round((volume.affine @ (0, 0, k, 1))[:3], 3)) for k in (0, volume.slice_count - 1)
        }
        assert places <= corners
        assert theirs.spatial_shape == volume.array.shape


def test_segments_come_back_as_they_were(made):
    import highdicom as hd

    drawn = read_volume(made["scan"])[0]
    segments = hd.seg.segread(made["measured"] / "segmentation-1.dcm")
    scan = [pydicom.dcmread(path, stop_before_pixels=True) for path in made["scan"].iterdir()]
    scan.sort(key=lambda one: one.InstanceNumber)
    uids = [one.SOPInstanceUID for one in scan]
    back = segments.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    expected = np.zeros(drawn.array.shape, int)
    expected[1:4, 18:30, 20:32] = 1
    expected[2:5, 5:12, 6:14] = 2
    np.testing.assert_array_equal(back, expected)
    assert list(segments.segment_numbers) == [1, 2]
    assert segments.StudyInstanceUID == scan[0].StudyInstanceUID
    assert segments.FrameOfReferenceUID == scan[0].FrameOfReferenceUID
    carried = hd.seg.segread(made["measured"] / "carried-1.dcm")
    assert carried.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "linear"


def test_maps_come_back_as_they_were(made):
    residual = read_volume(made["maps"].parent / "noise" / "residual.nrrd")[0]
    theirs = pydicom.dcmread(made["maps"] / "residual.dcm")
    frames = np.frombuffer(theirs.FloatPixelData, "<f4").reshape(residual.array.shape)
    groups = theirs.PerFrameFunctionalGroupsSequence
    for k, group in enumerate(groups):
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        number = round(np.linalg.norm(place - residual.origin) / residual.slice_spacing)
        np.testing.assert_allclose(place, (residual.affine @ (0, 0, number, 1))[:3], atol=1e-4)
        np.testing.assert_array_equal(frames[k], residual.array[number])
    mapping = theirs.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    unit = mapping.MeasurementUnitsCodeSequence[0].CodeValue
    assert unit == ("[hnsf'U]" if theirs.StudyDescription == "Head" and residual.units == "HU" else "1")


def test_the_report_holds_the_figures_of_the_table(made):
    import highdicom as hd

    report = hd.sr.srread(made["measured"] / "measurements.dcm")
    rows = list(csv.DictReader((made["measured"].parent / "measured.csv").open()))
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == len(rows) == 6
    volume = hd.sr.CodedConcept("118565006", "SCT", "Volume")
    volumes = [float(next(iter(group.get_measurements(volume))).value) for group in groups]
    np.testing.assert_allclose(sorted(volumes), sorted(float(row["volume_ml"]) for row in rows), rtol=1e-6)
    referenced = {group.referenced_segment.referenced_sop_instance_uid for group in groups}
    kept = {pydicom.dcmread(path).SOPInstanceUID for path in made["measured"].glob("*-1.dcm")}
    assert referenced == kept


def test_nothing_private_and_no_dose_is_in_any_object(made):
    for path in written(made):
        dataset = pydicom.dcmread(path)
        assert not [one for one in dataset.iterall() if one.tag.is_private]
        assert not {"CTDIvol", "Exposure", "XRayTubeCurrent", "ExposureTime"} & set(dataset.dir())


def test_nothing_of_the_patient_is_told(tmp_path):
    """Not even where the packages for DICOM warn of the name itself; by a process, whose log nobody catches."""
    write_scan(tmp_path / "scan", change=lambda k, ds: as_it_stands(ds, "PatientName", b"Anna" * 30))
    told = ""
    for arguments in (
        ["interpolate", tmp_path / "scan", tmp_path / "out", "--output-format", "dicom"],
        ["noise", tmp_path / "scan", "--output-dir", tmp_path / "noise", "--dicom-dir", tmp_path / "maps"],
        ["noise", tmp_path / "out", "--output-dir", tmp_path / "in", "--dicom-dir", tmp_path / "out"],
    ):
        code = f"import sys; sys.path.insert(0, {str(LIBRARY)!r}); from SliceInterpolationLib.cli import main; main()"
        command = [sys.executable, "-W", "default", "-c", code, *map(str, arguments), "--method", "linear"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        told += done.stdout + done.stderr
    assert "synthesized" in told
    assert "Anna" not in told
    assert "1950" not in told


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def pacs(tmp_path):
    """An Orthanc of the test's own on the loopback interface; DICOM port and REST address."""
    server = program("Orthanc")
    dicom, http = free_port(), free_port()
    settings = {
        "Name": "TEST", "DicomAet": "TEST", "DicomPort": dicom, "HttpPort": http, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "StorageDirectory": str(tmp_path / "db"),
        "IndexDirectory": str(tmp_path / "db"),
        "DicomAlwaysAllowStore": True, "DicomAlwaysAllowFind": True, "DicomCheckCalledAet": False, "Plugins": [],
        "StorageCompression": False,
    }  # fmt: skip
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with open(tmp_path / "orthanc.log", "w") as log:
        process = subprocess.Popen([server, str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    address = f"http://127.0.0.1:{http}"
    try:
        for _ in range(300):
            assert process.poll() is None, (tmp_path / "orthanc.log").read_text()
            try:
                urllib.request.urlopen(f"{address}/system", timeout=5).read()
                break
            except OSError:
                time.sleep(0.1)
        yield dicom, address
    finally:
        process.terminate()
        process.wait(30)


def rest(address: str):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return answer.read()


def test_a_pacs_takes_lists_and_returns_everything_bit_by_bit(made, pacs):
    port, address = pacs
    paths = written(made)
    run("storescu", "-R", "-aec", "TEST", "127.0.0.1", port, *paths)
    ours = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, paths)}
    study = next(iter(ours.values())).StudyInstanceUID
    asked = ["-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={study}"]
    said = run("findscu", "-S", "-aec", "TEST", *asked, "-k", "SeriesInstanceUID", "-k", "SeriesDescription",
               "-k", "NumberOfSeriesRelatedInstances", "127.0.0.1", port)  # fmt: skip
    series = {one.SeriesInstanceUID: one.SeriesDescription for one in ours.values()}
    assert len(series) == 9
    for uid, description in series.items():
        assert uid in said
        assert description in said
    listed = json.loads(rest(f"{address}/instances"))
    assert len(listed) == len(ours)
    for name in listed:
        content = rest(f"{address}/instances/{name}/file")
        back = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        mine = ours.pop(back.SOPInstanceUID)
        assert back == mine
        for pixels in ("PixelData", "FloatPixelData"):
            assert back.get(pixels) == mine.get(pixels)
    assert not ours


def test_what_comes_back_from_a_pacs_has_its_marks(made, pacs, tmp_path):
    port, address = pacs
    run("storescu", "-R", "-aec", "TEST", "127.0.0.1", port, *sorted(made["series"].iterdir()))
    (tmp_path / "back").mkdir()
    for name in json.loads(rest(f"{address}/instances")):
        (tmp_path / "back" / name).write_bytes(rest(f"{address}/instances/{name}/file"))
    back, sent = read_volume(tmp_path / "back")[0], read_volume(made["series"])[0]
    assert back.provenance == sent.provenance == "ASASASASASA"
    assert back.same_grid(sent)
    np.testing.assert_array_equal(back.array, sent.array)


def test_values_mean_the_same_to_pydicom(made):
    volume, _ = read_volume(made["series"])
    images = [pydicom.dcmread(path) for path in sorted(made["series"].iterdir())]
    np.testing.assert_array_equal(np.stack([modality_values(one) for one in images]), volume.array)


@pytest.mark.parametrize("name", ["headphantom_philips_5mm_uniform", "head_ge_human_tilt_irregular"])
def test_the_real_series_become_valid_ones(tmp_path, scans, name):
    command(
        "interpolate",
        scans / "dicom" / name,
        tmp_path / "out",
        "--output-format",
        "dicom",
        "--method",
        "linear",
    )
    paths = sorted((tmp_path / "out").rglob("*.dcm"))
    assert {path: found for path in paths if (found := errors_of(path))} == {}
    runs = read_series(scans / "dicom" / name).runs
    stored = {}
    for path in (scans / "dicom" / name).iterdir():
        source = pydicom.dcmread(path)
        stored[source.SOPInstanceUID] = source.PixelData
    copied = 0
    for path in paths:
        image = pydicom.dcmread(path)
        if image.DerivationCodeSequence[-1].CodeValue == "ACQUIRED":
            assert image.PixelData == stored[image.SourceImageSequence[0].ReferencedSOPInstanceUID]
            copied += 1
    assert copied == sum(run.volume.slice_count for run in runs)
    assert len(paths) == sum(2 * run.volume.slice_count - 1 for run in runs)
