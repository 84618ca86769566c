"""Volume nodes and volumes: geometry, views, attributes, placing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from slicercore import core, slicer, vtk  # noqa: F401

from SliceInterpolationLib import InputError, Volume, interpolate, write_volume
from SliceInterpolationMRML import nodes


def tilted(left_handed: bool = False, dtype=np.int16) -> Volume:
    """A small oblique stack with unequal sizes and values that give every voxel away."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    if (np.linalg.det(turn) < 0) != left_handed:
        turn[:, 2] *= -1
    array = (np.arange(5 * 6 * 7).reshape(5, 6, 7) * 10 - 1000).astype(dtype)
    return Volume(array, (0.5, 0.6, 5.0), (10.0, -20.0, 30.0), turn, provenance="AAAAA")


@pytest.mark.parametrize("left_handed", [False, True])
def test_round_trip_of_an_oblique_volume(core, left_handed):  # noqa: F811
    volume = tilted(left_handed)
    back = nodes.volumeFromNode(nodes.nodeFromVolume(volume, "oblique"))
    assert np.array_equal(back.array, volume.array)
    assert back.array.dtype == volume.array.dtype
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
    assert (back.slice_axis, back.provenance, back.units) == ("k", "AAAAA", "HU")


def test_ras_of_the_node_is_where_lps_says(core):  # noqa: F811
    volume = tilted()
    node = nodes.nodeFromVolume(volume, "oblique")

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    ras = np.array(matrix.MultiplyPoint((3, 2, 4, 1)))[:3]
    lps = (volume.affine @ [3, 2, 4, 1])[:3]
    np.testing.assert_allclose(ras, lps * [-1, -1, 1], atol=1e-9)
    assert slicer.util.arrayFromVolume(node)[4, 2, 3] == volume.array[4, 2, 3]


def test_shear_survives(core):  # noqa: F811
    direction = np.eye(3)
    direction[:, 2] = [0, np.sin(0.3), np.cos(0.3)]
    volume = Volume(tilted().array, (0.5, 0.5, 5.0), direction=direction)
    back = nodes.volumeFromNode(nodes.nodeFromVolume(volume, "gantry tilt"))
    assert back.is_sheared
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)


def test_the_voxels_are_a_view(core):  # noqa: F811
    node = nodes.nodeFromVolume(tilted(), "oblique")
    array = nodes.volumeFromNode(node).array
    slicer.util.arrayFromVolume(node)[1, 2, 3] = 77
    assert array[1, 2, 3] == 77


def test_result_keeps_its_provenance(core):  # noqa: F811
    scan = nodes.nodeFromVolume(tilted(), "scan")
    result = interpolate(nodes.volumeFromNode(scan), factor=2, method="linear").volume
    node = nodes.nodeFromVolume(result, "scan x2", scan)
    back = nodes.volumeFromNode(node)
    assert back.provenance == "ASASASASA"
    assert back.history[-1]["method"] == "linear"
    assert nodes.isResult(node)
    assert not nodes.isResult(scan)
    assert node.GetAttribute("SliceInterpolation.SliceProvenance") == "ASASASASA"


def test_provenance_of_a_cropped_node_is_unknown(core):  # noqa: F811
    node = nodes.nodeFromVolume(interpolate(tilted(), factor=2, method="linear").volume, "x2")
    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node)[2:5].copy())
    assert nodes.volumeFromNode(node).provenance == "???"


def test_update_replaces_old_attributes(core):  # noqa: F811
    node = nodes.nodeFromVolume(interpolate(tilted(), factor=2, method="linear").volume, "x2")
    nodes.updateNodeFromVolume(node, tilted())
    assert node.GetAttribute("SliceInterpolation.History") is None
    assert nodes.volumeFromNode(node).provenance == "AAAAA"


def loaded(core, path):  # noqa: F811
    """A node as the application loads it from a file."""
    storage = core.scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(path))
    storage.SetSingleFile(True)
    storage.SetForceRightHandedIJKCoordinateSystem(True)
    node = core.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetAndObserveStorageNodeID(storage.GetID())
    assert storage.ReadData(node)
    return node


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".mha"])
@pytest.mark.parametrize("left_handed", [False, True])
def test_header_of_a_file_that_slicer_read(core, tmp_path, left_handed, suffix):  # noqa: F811
    volume = replace(tilted(left_handed), provenance="ASAAA", history=({"method": "linear"},))
    path, *_ = write_volume(volume, tmp_path / f"part{suffix}")
    node = loaded(core, path)
    back = nodes.volumeFromNode(node)
    number = back.provenance.index("S")
    np.testing.assert_array_equal(back.array[number], volume.array[1])
    assert back.history == volume.history
    assert nodes.isResult(node)


def test_header_that_is_of_other_voxels(core, tmp_path):  # noqa: F811
    """A program that changes voxels and keeps the header does not make them acquired."""
    path, *_ = write_volume(tilted(), tmp_path / "part.nrrd")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert nodes.volumeFromNode(loaded(core, path)).provenance == "?????"


def test_wide_integers_become_displayable(core):  # noqa: F811
    node = nodes.nodeFromVolume(tilted(dtype=np.int64), "wide")
    assert slicer.util.arrayFromVolume(node).dtype == np.int32


def test_placed_like_the_reference(core):  # noqa: F811
    scan = nodes.nodeFromVolume(tilted(), "scan")
    transform = core.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    scan.SetAndObserveTransformNodeID(transform.GetID())
    scan.GetDisplayNode().SetAutoWindowLevel(False)
    scan.GetDisplayNode().SetWindowLevel(80, 35)
    scan.GetDisplayNode().SetAndObserveColorNodeID("vtkMRMLColorTableNodeInvertedGrey")
    folder = core.folder("study")
    item = core.hierarchy.GetItemByDataNode(scan) or core.hierarchy.CreateItem(folder, scan)
    core.hierarchy.SetItemParent(item, folder)
    made = nodes.nodeFromVolume(
        interpolate(nodes.volumeFromNode(scan), factor=2, method="linear").volume, "scan x2", scan
    )
    display = made.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel(), display.GetAutoWindowLevel()) == (80, 35, 0)
    assert display.GetColorNodeID() == "vtkMRMLColorTableNodeInvertedGrey"
    assert made.GetTransformNodeID() == transform.GetID()
    assert core.hierarchy.GetItemParent(core.hierarchy.GetItemByDataNode(made)) == folder
    assert made.GetNodeReference(nodes.ORIGINAL_ROLE) is scan
    assert nodes.nodeFromVolume(tilted(), "scan x2").GetName() != "scan x2"


def test_refusals_say_what_to_choose(core):  # noqa: F811
    labelmap = core.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    empty = core.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    vector = core.scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "color")
    slicer.util.updateVolumeFromArray(vector, np.zeros((3, 4, 4, 4), np.uint8))
    for node, text in (
        (labelmap, "labelmap"),
        (empty, "no voxels"),
        (vector, "scalar volume"),
        (None, "Choose a volume"),
    ):
        with pytest.raises(InputError, match=text):
            nodes.volumeFromNode(node)
