"""What dcm2niix and SimpleITK, which are not ours, read of the same series."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from dicomfiles import ROW, write_slice
from scipy.ndimage import center_of_mass, label

from SliceInterpolationLib.dicom import read_series

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def dcm2niix():
    """Converts a folder; returns the images that were written, by name."""
    beside = Path(sys.executable).with_name("dcm2niix")
    program = str(beside) if beside.exists() else shutil.which("dcm2niix")
    if not program:
        pytest.skip("dcm2niix is not installed")

    def convert(folder: Path, out: Path) -> dict[str, nibabel.Nifti1Image]:
        out.mkdir()
        command = [program, "-f", "x", "-o", str(out), str(folder)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return {path.name: nibabel.load(path) for path in out.glob("*.nii")}

    return convert


BALLS = np.array([(5.0, -8.0, 24.0), (-6.0, 10.0, 42.0)])  # centers in LPS mm


def balls(folder: Path, tilt: float = 0.0, spacing=(1.0, 1.0), count: int = 18) -> Path:
    """Two balls of 8 mm in air, in slices at 4 mm that are tilted by so many degrees."""
    folder.mkdir()
    angle = np.deg2rad(tilt)
    column = np.array([0, np.cos(angle), np.sin(angle)])
    rows, columns = np.mgrid[:64, :64]
    for k in range(count):
        origin = np.array([-32.0 * spacing[1], -32.0 * spacing[0], 4.0 * k])
        points = origin + columns[..., None] * spacing[1] * ROW + rows[..., None] * spacing[0] * column
        inside = (np.linalg.norm(points - BALLS[:, None, None], axis=-1) < 8).any(axis=0)
        write_slice(
            folder, f"{k:02d}.dcm", origin, "1.2.7", (ROW, column), 64, PixelSpacing=list(spacing),
            InstanceNumber=k + 1, PixelRepresentation=1, RescaleIntercept=0, Manufacturer="SIEMENS",
            PixelData=np.where(inside, 1000, -1000).astype("<i2").tobytes(), GantryDetectorTilt=tilt,
            PatientPosition="HFS",
        )  # fmt: skip
    return folder


def centers(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Centers of the parts brighter than 500 HU from foot to head, LPS mm; array as (i, j, k)."""
    labels = label(array > 500)[0]
    sizes = np.bincount(labels.ravel())[1:]
    large = 1 + np.flatnonzero(sizes > sizes.max() / 4)
    at = np.array(center_of_mass(np.clip(array.astype(float) - 500, 0, None), labels, large))
    places = at @ affine[:3, :3].T + affine[:3, 3]
    return places[np.argsort(places[:, 2])]


def check_same(volume, image: nibabel.Nifti1Image) -> None:
    """dcm2niix turns the rows around; voxels and places must be the same."""
    array = np.asarray(image.dataobj)[:, ::-1]
    affine = TO_RAS @ image.affine
    flip = np.eye(4)
    flip[1, 1], flip[1, 3] = -1, array.shape[1] - 1
    np.testing.assert_array_equal(volume.array.transpose(2, 1, 0), array)
    np.testing.assert_allclose(affine @ flip, volume.affine, atol=1e-3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.5, 0.75)])
def test_uniform_series_are_those_of_dcm2niix_and_simpleitk(tmp_path, dcm2niix, spacing):
    folder = balls(tmp_path / "s", spacing=spacing)
    (run,) = read_series(folder).runs
    check_same(run.volume, dcm2niix(folder, tmp_path / "out")["x.nii"])
    check_same_as_simpleitk(run.volume, folder)


def check_same_as_simpleitk(volume, folder: Path) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    np.testing.assert_array_equal(volume.array, sitk.GetArrayFromImage(image))
    for ours, theirs in (
        (volume.spacing, image.GetSpacing()),
        (volume.origin, image.GetOrigin()),
        (volume.direction.ravel(), image.GetDirection()),
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_real_uniform_series(tmp_path, dcm2niix, scans):
    folder = scans / "dicom" / "headphantom_philips_5mm_uniform"
    (run,) = read_series(folder).runs
    check_same(run.volume, dcm2niix(folder, tmp_path / "out")["x.nii"])
    check_same_as_simpleitk(run.volume, folder)


@pytest.mark.parametrize("tilt", [-25.0, -10.0, 10.0, 25.0])
def test_tilted_series_lie_where_dcm2niix_puts_them(tmp_path, dcm2niix, tilt):
    folder = balls(tmp_path / "s", tilt)
    (run,) = read_series(folder).runs
    ours, theirs = both_centers(run.volume, dcm2niix(folder, tmp_path / "out"))
    np.testing.assert_allclose(ours, BALLS, atol=0.5)
    np.testing.assert_allclose(np.diff(theirs, axis=0), np.diff(ours, axis=0), atol=1)
    if tilt < 0:  # else dcm2niix gives its resampled volume another origin: both balls are off by the same
        np.testing.assert_allclose(theirs, ours, atol=1)


def test_the_real_tilted_series(tmp_path, dcm2niix, scans):
    folder = tmp_path / "s"
    folder.mkdir()
    for path in sorted((scans / "dicom" / "head_ge_human_tilt_irregular").iterdir())[:14]:
        shutil.copy(path, folder)
    (run,) = read_series(folder).runs
    ours, theirs = both_centers(run.volume, dcm2niix(folder, tmp_path / "out"))
    np.testing.assert_allclose(theirs, ours, atol=min(run.volume.pixel_spacing))


def both_centers(volume, images: dict[str, nibabel.Nifti1Image]) -> tuple[np.ndarray, np.ndarray]:
    """Of our sheared volume and of what dcm2niix resampled, which has Tilt in its name."""
    (name,) = [name for name in images if "Tilt" in name]
    theirs = centers(np.asarray(images[name].dataobj), TO_RAS @ images[name].affine)
    return centers(volume.array.transpose(2, 1, 0), volume.affine), theirs
