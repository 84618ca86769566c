"""Segments as masks on the grid of a volume, and masks as segments that can be edited."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from SliceInterpolationLib.errors import InputError

from ..i18n import _
from ..nodes import removeWithDisplay


def segmentMask(segmentationNode, segmentId: str, volumeNode) -> np.ndarray:
    """A segment on the grid of a volume node: (k, j, i) bool, in the order of the voxels.

    Any representation of the segment will do, and segmentation and volume may be under different transforms.
    Raises InputError where the segment does not exist or cannot be converted.
    """
    if segmentationNode.GetSegmentation().GetSegment(segmentId) is None:
        raise InputError(
            _("'{name}' has no segment '{segment}'; choose another.").format(
                name=segmentationNode.GetName(), segment=segmentId
            )
        )
    scene = slicer.mrmlScene
    labelmap = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "SliceInterpolation mask")
    ids = vtk.vtkStringArray()
    ids.InsertNextValue(segmentId)
    try:
        exported = slicer.vtkSlicerSegmentationsModuleLogic.ExportSegmentsToLabelmapNode(
            segmentationNode, ids, labelmap, volumeNode
        )
        if not exported or labelmap.GetImageData() is None:
            name = segmentName(segmentationNode, segmentId)
            raise InputError(
                _("The segment '{name}' cannot be laid on the grid of the volume; is it empty?").format(
                    name=name
                )
            )
        mask = slicer.util.arrayFromVolume(labelmap) > 0
    finally:
        display = labelmap.GetDisplayNode()
        if display is not None and display.GetColorNode() is not None:
            scene.RemoveNode(display.GetColorNode())  # the export makes one
        removeWithDisplay(labelmap)
    return mask


def segmentName(segmentationNode, segmentId: str) -> str:
    """The name that the user sees."""
    return segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()


def newSegmentation(name: str, volumeNode):
    """An empty segmentation node on the grid of a volume, under its transform."""
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    return node


def addSegment(
    segmentationNode, name: str, mask: np.ndarray, volumeNode, color=None, segmentId: str = ""
) -> str:
    """Add a mask, (k, j, i) bool on the grid of a volume, as a segment with a binary labelmap; returns its ID."""
    segmentation = segmentationNode.GetSegmentation()
    segmentId = segmentation.AddEmptySegment(segmentId, name)
    if color is not None:
        segmentation.GetSegment(segmentId).SetColor(color)
    setSegmentMask(segmentationNode, segmentId, mask, volumeNode)
    return segmentId


def setSegmentMask(segmentationNode, segmentId: str, mask: np.ndarray, volumeNode) -> None:
    """Replace the labelmap of a segment by a mask on the grid of a volume under the same transform."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    from vtk.util.numpy_support import vtk_to_numpy

    vtk_to_numpy(image.GetPointData().GetScalars())[:] = mask.ravel()
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    image.SetGeometryFromImageToWorldMatrix(matrix)
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, segmentationNode, segmentId)
