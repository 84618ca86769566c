"""Who owns the voxels, who may write to them, and how many copies of a volume there are."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from SliceInterpolationLib import Volume, read_volume, read_volumes, write_volume
from SliceInterpolationLib.files import voxels

ROOT = Path(__file__).resolve().parents[2]
VOXELS = np.random.default_rng(5).integers(-1000, 1000, (12, 64, 64)).astype(np.int16)
SUFFIXES = (".nrrd", ".nii", ".nii.gz", ".mha")


def image() -> sitk.Image:
    made = sitk.GetImageFromArray(VOXELS)
    made.SetSpacing((1, 1, 5))
    return made


def reuse_memory() -> list[sitk.Image]:
    """Images that take the memory that was given back, and fill it with something else."""
    gc.collect()
    return [sitk.Image([64, 64, 12], sitk.sitkInt16) + 77 for _ in range(200)]


WAYS = {
    "the array": lambda volume: volume.array,
    "its slices": lambda volume: volume.slices,
    "a part of it": lambda volume: volume.array[2:, ::2],
    "another axis": lambda volume: volume.along("i").slices,
    "another volume": lambda volume: replace(volume, provenance="A" * 12).array,
    "a volume of the same voxels": lambda volume: volume.refined(volume.array, 1, "S" * 12).slices,
    "a plain view": lambda volume: volume.array.view(np.ndarray)[:],
    "other bytes": lambda volume: volume.array.view(np.uint8),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_kept_alone_keeps_its_memory(way):
    kept = way(Volume.from_sitk(image()))
    others = reuse_memory()
    np.testing.assert_array_equal(kept, way(Volume(VOXELS, (1, 1, 5))))
    del others


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_read_keeps_its_memory(tmp_path, suffix):
    write_volume(Volume(VOXELS, (1, 1, 5)), tmp_path / f"a{suffix}")
    kept = read_volume(tmp_path / f"a{suffix}")[0].array
    others = reuse_memory()
    np.testing.assert_array_equal(kept, VOXELS)
    del others


def test_voxels_are_not_copied():
    made = image()
    array = Volume.from_sitk(made).array
    assert not array.flags.owndata
    shown = sitk.GetArrayViewFromImage  # copies where an image is shared
    assert array.ctypes.data != shown(made).ctypes.data
    given = Volume.from_sitk(made)
    np.testing.assert_array_equal(given.to_sitk()[3, 4, 5], VOXELS[5, 4, 3])


CHANGES = {
    "a voxel": lambda made: made.__setitem__((3, 4, 5), 99),
    "all voxels": lambda made: made.__iadd__(5),
    "another size": lambda made: made.__imul__(0),
    "spacing": lambda made: made.SetSpacing((7, 7, 7)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_later_changes_of_the_image_stay_with_the_image(change):
    made = image()
    volume = Volume.from_sitk(made)
    change(made)
    del made
    others = reuse_memory()
    np.testing.assert_array_equal(volume.array, VOXELS)
    assert volume.spacing == (1, 1, 5)
    del others


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_read_cannot_be_written_to(tmp_path, suffix):
    write_volume(Volume(VOXELS, (1, 1, 5)), tmp_path / f"a{suffix}")
    array = read_volume(tmp_path / f"a{suffix}")[0].array
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        Volume.from_sitk(image()).slices[0, 0, 0] = 1


def test_dicom_slices_cannot_be_written_to(scans):
    volumes, _ = read_volumes(scans / "dicom" / "headphantom_philips_5mm_uniform")
    assert not any(volume.array.flags.writeable for volume in volumes)


def test_a_copy_for_itk_is_a_copy():
    array = VOXELS.copy()
    made = Volume(array, (1, 1, 5)).to_sitk()
    made += 1
    np.testing.assert_array_equal(array, VOXELS)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak memory as Linux tells it")
@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz"])
def test_input_and_output_are_in_memory_once(tmp_path, suffix):
    """A slice of 512 x 512 int16 takes 0.5 MiB, with the two that come of it 1.5 MiB; it used to be 2.5."""
    code = (
        "import sys; from SliceInterpolationLib.cli import main\n"
        "assert main(['interpolate', *sys.argv[1:], '--method', 'linear', '--units', 'HU']) == 0\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "SliceInterpolation")}
    peaks = []
    for count in (16, 48):
        array = np.arange(count * 512 * 512, dtype=np.int64).reshape(count, 512, 512) % 3001 - 1000
        write_volume(Volume(array.astype(np.int16), (0.5, 0.5, 5.0)), tmp_path / f"in{suffix}")
        done = subprocess.run(
            [sys.executable, "-c", code, f"in{suffix}", f"out{suffix}"],
            cwd=tmp_path, capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        peaks.append(int(done.stdout.split()[-1]) / 1024)
    assert (peaks[1] - peaks[0]) / 32 < 1.8


@pytest.mark.parametrize("container", [voxels.ZLIB, voxels.GZIP])
@pytest.mark.parametrize(
    "size", [0, 1, voxels._BLOCK - 1, voxels._BLOCK, voxels._BLOCK + 1, 5 * voxels._BLOCK]
)
def test_packed_zeros_are_unpacked_piece_by_piece(container, size):
    """A few kilobytes can hold megabytes: what comes at once is bounded."""
    stream = b"".join(voxels.packed([bytes(size)], container))
    for step in (1000, len(stream)):
        blocks = [stream[first : first + step] for first in range(0, len(stream), step)]
        pieces = list(voxels.unpacked(blocks, container))
        assert b"".join(pieces) == bytes(size)
        assert max(map(len, pieces), default=0) <= voxels._BLOCK
    members = list(voxels.unpacked([stream + stream, stream], container))
    assert sum(map(len, members)) == 3 * size
