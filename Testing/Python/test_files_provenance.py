"""What is known about slices is bound to their voxels, survives every format, and never says more than is known."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from SliceInterpolationLib import Volume, interpolate, read_volume, write_volume
from SliceInterpolationLib.files import entries

VOXELS = np.random.default_rng(5).integers(-1000, 1000, (6, 24, 20)).astype(np.int16)
SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")


@pytest.fixture
def scan() -> Volume:
    return Volume(VOXELS, (1.0, 1.0, 5.0), units="HU", provenance="A" * 6, slice_thickness=5.0)


@pytest.mark.parametrize("first", SUFFIXES)
@pytest.mark.parametrize("second", SUFFIXES)
def test_two_runs_through_two_formats(scan, tmp_path, first, second):
    once = interpolate(scan, method="linear").volume
    write_volume(once, tmp_path / f"once{first}")
    back, remarks = read_volume(tmp_path / f"once{first}")
    assert remarks == []
    assert back.provenance == "ASASASASASA"
    twice = interpolate(back, method="cubic", force=True, output_mode="denoised").volume
    write_volume(twice, tmp_path / f"twice{second}")
    back, remarks = read_volume(tmp_path / f"twice{second}")
    assert remarks == []
    assert back.provenance == twice.provenance
    assert set(back.provenance[::4]) == {"A", "D"}  # the ends are kept
    assert set(back.provenance[1::2]) == {"S"}
    assert [run["method"] for run in back.history] == ["linear", "cubic"]
    assert back.history == twice.history
    assert (back.units, back.units_guessed, back.slice_thickness) == ("HU", False, 5.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"once{first}", f"twice{second}"])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_long_histories_and_odd_texts(scan, tmp_path, suffix):
    """The reader of ITK for MetaImage gives up at 32 kB a line."""
    runs = tuple({"method": "linear", "note": f"run {n} " + "\u00e4 x = y: z\\n " * 20} for n in range(200))
    odd = {"Remark": "two\nlines, a \\ and an \u00e4", "Empty": "", "Words": "a = b := c"}
    volume = replace(scan, history=runs, header=odd)
    write_volume(volume, tmp_path / f"a{suffix}")
    back, remarks = read_volume(tmp_path / f"a{suffix}")
    assert remarks == []
    assert back.history == runs
    assert back.header == odd
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"a{suffix}"))), VOXELS
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_others_are_of_unknown_origin(scan, tmp_path, suffix):
    """As Slicer, ITK-SNAP or nibabel save a result that they have loaded: without our entries."""
    path = tmp_path / f"a{suffix}"
    sitk.WriteImage(interpolate(scan, method="linear").volume.to_sitk(), str(path))
    back, _ = read_volume(path)
    assert back.provenance == "?" * 11
    assert back.history == ()


def changed(path, change) -> None:
    """The file as a program leaves it that changes voxels and keeps the header, as many do."""
    image = sitk.ReadImage(str(path))
    made = change(image)
    for key in image.GetMetaDataKeys():
        if key.startswith("SliceInterpolation."):
            made.SetMetaData(key, image.GetMetaData(key))
    sitk.WriteImage(made, str(path))


CHANGES = {
    "smoothed": lambda image: sitk.Cast(sitk.SmoothingRecursiveGaussian(image, 1.0), sitk.sitkInt16),
    "flipped": lambda image: image[:, :, ::-1],
    "one voxel": lambda image: sitk.Paste(image, image[:1, :1, :1] + 1, [1, 1, 1]),
    "cropped": lambda image: image[:, :, 2:5],
    "cropped in plane": lambda image: image[2:9, 3:10, :],
    "permuted": lambda image: sitk.PermuteAxes(image, [0, 2, 1]),
    "other type": lambda image: sitk.Cast(image, sitk.sitkFloat32),
}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_entries_do_not_speak_for_other_voxels(scan, tmp_path, suffix, change):
    path = tmp_path / f"a{suffix}"
    write_volume(scan, path)
    changed(path, change)
    back, remarks = read_volume(path)
    assert set(back.provenance) == {"?"}
    assert len(remarks) == 1
    assert "unknown" in remarks[0]


def test_nifti_extension_does_not_speak_for_other_voxels(scan, tmp_path):
    """Nibabel keeps extensions that it knows nothing of."""
    path = tmp_path / "a.nii.gz"
    write_volume(scan, path)
    image = nibabel.load(path)
    nibabel.Nifti1Image(image.dataobj[:, :, ::-1], image.affine, image.header).to_filename(
        tmp_path / "b.nii.gz"
    )
    back, remarks = read_volume(tmp_path / "b.nii.gz")
    assert set(back.provenance) == {"?"}
    assert any("was changed since" in remark for remark in remarks)
    nibabel.Nifti1Image(image.dataobj[:], image.affine, image.header).to_filename(tmp_path / "c.nii.gz")
    assert read_volume(tmp_path / "c.nii.gz")[0].provenance == "A" * 6  # the same voxels


def test_no_file_speaks_for_another(scan, tmp_path):
    """Two outputs of one stem used to share a sidecar, and a foreign JSON of that name was taken for ours, or lost."""
    foreign = {
        "head.json": json.dumps(
            {"SliceInterpolation": {"SliceAxis": "i", "SliceProvenance": "S" * 6}}
        ).encode(),
        "list.json": b'["a", "list"]',
        "bom.json": b"\xef\xbb\xbf" + json.dumps({"Modality": "CT"}).encode(),
        "latin.json": '{"Institution": "Universit\u00e4t"}'.encode("latin-1"),
        "deep.json": b"[" * 100_000,
    }
    for name, content in foreign.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "elsewhere.json").write_bytes(b"{}")
    (tmp_path / "linked.json").symlink_to("elsewhere.json")
    for stem in ("head", "list", "bom", "latin", "deep", "linked"):
        for suffix in SUFFIXES:
            write_volume(scan, tmp_path / (stem + suffix))
    write_volume(interpolate(scan, method="linear").volume, tmp_path / "head.mha")
    for stem in ("head", "list", "bom", "latin", "deep", "linked"):
        for suffix in SUFFIXES:
            made = (stem, suffix) == ("head", ".mha")
            back, remarks = read_volume(tmp_path / (stem + suffix))
            assert (back.provenance, back.slice_axis, remarks) == (
                "ASASASASASA" if made else "A" * 6,
                "k",
                [],
            )
    for name, content in foreign.items():
        assert (tmp_path / name).read_bytes() == content
    assert (tmp_path / "linked.json").is_symlink()
    assert (tmp_path / "elsewhere.json").read_bytes() == b"{}"


WRONG = {
    "SliceThickness": ["5,0", "5 mm", "nan", "inf", "-5", "0", "", "x" * 100_000],
    "SliceAxis": ["z", "", "ij", "K"],
    "Units": ["hu", "Bq/ml", ""],
    "SliceProvenance": ["AAAAAX", "AAAAA\u00e4", "AAA", "A" * 1000],
    "History": ["{}", "[1, 2]", "not JSON", '"text"', "[" * 100_000, "null", "[null]"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in WRONG for value in WRONG[name]])
def test_entries_that_cannot_be_meant(scan, tmp_path, name, value):
    path = tmp_path / "a.nrrd"
    write_volume(scan, path)
    start, end = path.read_bytes().split(b"\n\n", 1)
    lines = [
        line for line in start.split(b"\n") if not line.startswith(b"SliceInterpolation." + name.encode())
    ]
    lines.append(f"SliceInterpolation.{name}:={value}".encode())
    path.write_bytes(b"\n".join(lines) + b"\n\n" + end)
    back, remarks = read_volume(path)
    np.testing.assert_array_equal(back.array, VOXELS)
    assert all(len(remark) < 250 and "\n" not in remark for remark in remarks)
    if value:
        assert len(remarks) == 1
    if name == "SliceProvenance":
        assert back.provenance == ("AAAAA?" if len(value) == 6 else "??????")
    else:
        assert back.provenance == "A" * 6
    assert back.slice_axis == "k"
    assert back.slice_thickness == (None if name == "SliceThickness" else 5.0)
    again = interpolate(back, method="linear").volume  # what came in does no harm further on
    write_volume(again, tmp_path / "b.nrrd")
    assert read_volume(tmp_path / "b.nrrd")[1] == []


@pytest.mark.parametrize(
    "content", [b"{", b"[1]", b'{"SliceInterpolation.SliceAxis": 5}', b"\xff\xfe", b"[" * 99_999]
)
def test_strange_nifti_extensions(scan, tmp_path, content):
    write_volume(scan, tmp_path / "a.nii.gz")
    data = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    voxels = data[int(np.frombuffer(data, "<f4", 1, 108)[0]) :]
    size = -(-(len(content) + 8) // 16) * 16
    extension = np.array([size, 6], "<i4").tobytes() + content.ljust(size - 8, b"\0")
    header = bytearray(data[:352])
    header[108:112] = np.float32(352 + size).tobytes()
    header[348] = 1
    (tmp_path / "b.nii").write_bytes(bytes(header) + extension + voxels)
    back, _ = read_volume(tmp_path / "b.nii")
    np.testing.assert_array_equal(back.array, VOXELS)
    assert back.provenance == "??????"
    # An extension whose size leads nowhere.
    header[352:352] = b""
    wrong = np.array([2**31 - 1, 6], "<i4").tobytes() + extension[8:]
    (tmp_path / "c.nii").write_bytes(bytes(header) + wrong + voxels)
    np.testing.assert_array_equal(read_volume(tmp_path / "c.nii")[0].array, VOXELS)


def test_hash_does_not_depend_on_the_memory_layout():
    array = VOXELS.astype(np.float32)
    hashes = {
        entries.voxel_hash(one)
        for one in (
            array,
            np.asfortranarray(array),
            array.astype(">f4"),
            array[:, ::-1][:, ::-1],
            array.copy(),
        )
    }
    assert len(hashes) == 1
    assert entries.voxel_hash(array[:, ::-1]) not in hashes
