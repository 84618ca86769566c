"""Volume nodes of the scene and volumes of the library: voxels, geometry, and which slices were acquired.

MRML speaks RAS and keeps what is known about the slices in node attributes ("SliceInterpolation.*", saved with
the scene); the library speaks LPS and keeps it in the volume. Nothing else in the package converts between them.
"""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
import slicer
import vtk

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.files import read_entries, read_file
from SliceInterpolationLib.files.entries import attributes_from, entries_of, letters_for
from SliceInterpolationLib.volume import Volume

from .i18n import _
from .run.dicomFiles import INSTANCES, dicomFiles, isFromDicom, placeTogether

PREFIX = "SliceInterpolation."
ORIGINAL_ROLE = "SliceInterpolation.Original"
"""Node reference from a result to the scan that it was made of."""

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0])


def volumeFromNode(node, guessedUnits: str | None = None) -> Volume:
    """The volume of a scalar volume node; its voxels are a view of those of the node and must not be changed.

    A transform above the node is not applied: the volume lies in the grid that the node stores.
    guessedUnits: "HU" or "arbitrary", as guessed from the voxels before, which spares a look at all of them; it counts
    only where the node itself says nothing. Raises InputError for a node without voxels and for labelmaps, vector
    volumes and tensors.

    Example::

        volume = volumeFromNode(slicer.util.getNode("CTHead"))
        print(volume.slice_count, volume.slice_spacing, volume.provenance)
    """
    return _volume(node, _voxels(node), guessedUnits)


def gridFromNode(node) -> Volume:
    """As `volumeFromNode`, without the voxels: where they lie, and what is known of the slices.

    The array has the right shape and takes no memory; nothing of the node is kept. Raises the same errors.
    """
    voxels = _voxels(node)
    return _volume(node, np.broadcast_to(voxels.dtype.type(0), voxels.shape), guessedUnits="arbitrary")


def _volume(node, array: np.ndarray, guessedUnits: str | None) -> Volume:
    spacing, origin, direction = _geometry(node)
    own = sliceAttributes(node)
    attributes = attributes_from(own)
    if attributes["units"] is None and guessedUnits is not None:
        attributes.update(units=guessedUnits, units_guessed=True)
    volume = Volume(array, spacing, origin, direction, **attributes)
    volume.provenance = letters_for(volume, own)
    return volume


def sliceAttributes(node) -> dict[str, str]:
    """What the node, or else the file or DICOM images behind it, say about its slices; without the prefix."""
    own = {}
    for name in node.GetAttributeNames() or ():
        if name.startswith(PREFIX):
            own[name[len(PREFIX) :]] = node.GetAttribute(name)
    return own or _attributesOfFile(node) or _attributesOfDicom(node)


def isResult(node) -> bool:
    """True where the node holds slices that were not acquired."""
    letters = sliceAttributes(node).get("SliceProvenance", "")
    return any(letter in "SD" for letter in letters)


def isUnderLinear(node) -> bool:
    """True where no transform is above a node, or a linear one."""
    transformNode = node.GetParentTransformNode()
    return transformNode is None or bool(transformNode.IsTransformToWorldLinear())


def isSameGrid(node, other) -> bool:
    """True where the voxels of two volume nodes lie at the same places of their grids; transforms are left aside."""
    return gridFromNode(node).same_grid(gridFromNode(other))


def nodeFromVolume(volume: Volume, name: str, referenceNode=None):
    """A new scalar volume node of a volume, placed and displayed like `referenceNode` where there is one.

    The voxels are copied. The name is made unique in the scene.

    Example::

        result = interpolate(volumeFromNode(scan), factor=2).volume
        node = nodeFromVolume(result, "CTHead x2", scan)
    """
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", scene.GenerateUniqueName(name))
    updateNodeFromVolume(node, volume)
    if referenceNode is not None:
        placeLikeReference(node, referenceNode)
    return node


def updateNodeFromVolume(node, volume: Volume) -> None:
    """Give a scalar volume node other voxels, geometry and slice attributes; its observers are told once."""
    wasModifying = node.StartModify()
    try:
        matrix = vtk.vtkMatrix4x4()
        affine = np.eye(4)
        affine[:3] = (np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine)[:3]
        matrix.DeepCopy(affine.ravel())
        node.SetIJKToRASMatrix(matrix)
        slicer.util.updateVolumeFromArray(node, _displayable(volume.array))
        setSliceAttributes(node, volume)
    finally:
        node.EndModify(wasModifying)
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()


def setSliceAttributes(node, volume: Volume) -> None:
    """Write what is known about the slices into the attributes of the node, in place of what was there."""
    for name in node.GetAttributeNames() or ():
        if name.startswith(PREFIX):
            node.RemoveAttribute(name)
    for key, value in entries_of(volume).items():
        node.SetAttribute(PREFIX + key, value)


def placeLikeReference(node, referenceNode) -> None:
    """Put a node into the folder and under the transform of another, and show it the same way.

    Volumes also get the window, level, threshold and color of the reference, and a node reference to it.
    """
    node.SetAndObserveTransformNodeID(referenceNode.GetTransformNodeID())
    _placeInHierarchy(node, referenceNode)
    if node.IsA("vtkMRMLScalarVolumeNode"):
        node.SetNodeReferenceID(ORIGINAL_ROLE, referenceNode.GetID())
        copyDisplay(referenceNode, node)


def placeInFolderOf(node, referenceNode) -> None:
    """Put a table, plot or segmentation into the subject hierarchy folder of another node."""
    _placeInHierarchy(node, referenceNode)


def copyDisplay(sourceNode, targetNode) -> None:
    """Window, level, threshold, color and smoothing of one scalar volume for another.

    A display node cannot be shared, since it holds the picture of its own volume.
    """
    source, target = sourceNode.GetScalarVolumeDisplayNode(), targetNode.GetScalarVolumeDisplayNode()
    if source is None:
        return
    if target is None:
        targetNode.CreateDefaultDisplayNodes()
        target = targetNode.GetScalarVolumeDisplayNode()
    wasModifying = target.StartModify()
    target.SetAndObserveColorNodeID(source.GetColorNodeID())
    target.SetAutoWindowLevel(False)
    target.SetWindowLevel(source.GetWindow(), source.GetLevel())
    target.SetAutoThreshold(False)
    target.SetThreshold(source.GetLowerThreshold(), source.GetUpperThreshold())
    target.SetApplyThreshold(source.GetApplyThreshold())
    target.SetInterpolate(source.GetInterpolate())
    target.SetInvertDisplayScalarRange(source.GetInvertDisplayScalarRange())
    target.EndModify(wasModifying)


def removeWithDisplay(node) -> None:
    """Remove a node of ours from the scene together with its display nodes, which would stay behind."""
    scene = slicer.mrmlScene
    displays = [node.GetNthDisplayNode(number) for number in range(node.GetNumberOfDisplayNodes())]
    if scene.IsNodePresent(node):
        scene.RemoveNode(node)
    for display in displays:
        if display is not None and scene.IsNodePresent(display):
            scene.RemoveNode(display)


def _voxels(node) -> np.ndarray:
    if node is None:
        raise InputError(_("Choose a volume first."))
    name = node.GetName()
    if not node.IsA("vtkMRMLScalarVolumeNode") or node.IsA("vtkMRMLTensorVolumeNode"):
        raise InputError(_("'{name}' is not a scalar volume; choose a CT or MR volume.").format(name=name))
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(_("'{name}' is a labelmap; choose the scan that it was drawn on.").format(name=name))
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise InputError(_("'{name}' holds no voxels; load it again.").format(name=name))
    if image.GetNumberOfScalarComponents() != 1:
        count = image.GetNumberOfScalarComponents()
        raise InputError(
            _("'{name}' holds {count} values a voxel; choose a scalar volume.").format(name=name, count=count)
        )
    return slicer.util.arrayFromVolume(node)


def _geometry(node) -> tuple[tuple[float, ...], tuple[float, ...], np.ndarray]:
    """Spacing, LPS origin and LPS direction columns of the grid of a node."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    affine = np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(3)])
    affine = _LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    return tuple(spacing), tuple(affine[:, 3]), affine[:, :3] / spacing


def _displayable(array: np.ndarray) -> np.ndarray:
    """The same values in a type that the slice views can show: not bool, not 64-bit integers."""
    if array.dtype == bool:
        return array.astype(np.uint8)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        fits = array.min() >= -(2**31) and array.max() < 2**31
        return array.astype(np.int32 if fits else np.float64)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _attributesOfFile(node) -> dict[str, str]:
    """Header entries of the file behind a node, which the reader of scalar volumes does not hand on.

    Empty where the node was changed since it was read.
    """
    storage = node.GetStorageNode() if node.GetScene() is not None else None
    path = Path((storage.GetFileName() or "") if storage is not None else "")
    if not path.is_file() or node.GetModifiedSinceRead():
        return {}
    own, direction = _entriesOfFile(path, path.stat().st_mtime_ns)
    if "SliceProvenance" not in own:
        return own
    # Readers turn left-handed grids around; the slices then come in the opposite order.
    axis = "ijk".find(own.get("SliceAxis", "k"))
    isFlipped = float(direction[:, axis] @ _geometry(node)[2][:, axis]) < 0
    return {**own, "SliceProvenance": own["SliceProvenance"][:: -1 if isFlipped else 1]}


@lru_cache(maxsize=64)
def _entriesOfFile(path: Path, modified: int) -> tuple[dict[str, str], np.ndarray | None]:
    """The entries of a file of ours, as far as they are said of its voxels, and the direction of its grid.

    modified: when the file was; the voxels are read once for each version of it, and only of a file of ours.
    """
    if not read_entries(path):
        return {}, None
    try:
        volume = read_file(path)
    except InputError:
        return {}, None
    return entries_of(volume), volume.direction


_ofDicom: dict[tuple[str, int], dict[str, str]] = {}


def _attributesOfDicom(node) -> dict[str, str]:
    """What the DICOM images behind a node say: acquired where they are original, marked where they are ours.

    Empty where the voxels are not those of the images any more. The images are read once for each state of the voxels.
    """
    if not isFromDicom(node) or node.GetImageData() is None:
        return {}
    key = node.GetAttribute(INSTANCES), node.GetImageData().GetMTime()
    if key not in _ofDicom:
        _ofDicom[key] = _entriesOfDicom(node)
        while len(_ofDicom) > 64:
            del _ofDicom[next(iter(_ofDicom))]
    return _ofDicom[key]


def _entriesOfDicom(node) -> dict[str, str]:
    from SliceInterpolationLib.dicom import read_series

    try:
        with tempfile.TemporaryDirectory() as folder:
            placeTogether(dicomFiles(node), Path(folder) / "images")
            runs = read_series(Path(folder) / "images").runs
    except (InputError, OSError):
        return {}
    volume, voxels = runs[0].volume, _voxels(node)
    if len(runs) > 1 or volume.array.shape != voxels.shape:
        return {}
    if np.array_equal(volume.array, voxels):
        return entries_of(volume)
    # The application may have them in the opposite order.
    if not np.array_equal(volume.array[::-1], voxels):
        return {}
    letters = volume.provenance[:: -1 if volume.slice_axis == "k" else 1]
    return {**entries_of(volume), "SliceProvenance": letters}


def _placeInHierarchy(node, referenceNode) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    if hierarchy is None:
        return
    referenceItem = hierarchy.GetItemByDataNode(referenceNode)
    if not referenceItem:
        return
    parent = hierarchy.GetItemParent(referenceItem)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)
