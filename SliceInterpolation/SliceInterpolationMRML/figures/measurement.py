"""Volumes of hematomas and other segments: on the acquired grid, on the interpolated one, and re-thresholded.

The process of the library measures (`SliceInterpolationLib.reports.measure`), so that every column means the same in
Slicer, in a shell and in a batch, and the window stays alive.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.files import read_labelmap, write_volume
from SliceInterpolationLib.reports.measure import COLUMNS, HEMORRHAGE_HU, MARGIN_MM
from SliceInterpolationLib.request import Request
from SliceInterpolationLib.volume import Volume

from ..i18n import _
from ..nodes import placeInFolderOf, volumeFromNode
from ..run.jobs import Job
from ..run.process import Outcome
from .kept import figure, keepFigures, keepFindings
from .segments import addSegment, newSegmentation, segmentMask, segmentName
from .tablesAndPlots import plot, tableFromRows, writeTable

CARRIED_ROLE = "SliceInterpolation.CarriedOver"
"""Node reference from a segmentation to the one with its segments on the result grid."""

_KINDS = ("carried", "renewed")
_RENEWED_COLOR = (1.0, 0.8, 0.2)  # told from the carried segment, which keeps the color of the drawn one


def measurementJob(
    scanNode,
    segmentationNode,
    segmentIds=None,
    resultNode=None,
    denoisedNode=None,
    huRange: tuple[float, float] = HEMORRHAGE_HU,
    marginMm: float = MARGIN_MM,
    keepEdits: bool = False,
    **callbacks,
) -> Job:
    """A job that measures segments; its result is a dict: "rows", one a segment and grid with the columns
    `reports.measure.COLUMNS`, and the nodes and the text of `showMeasurement`.

    "acquired": the segment on the grid of the scan. With `resultNode`, the scan interpolated, also "interpolated":
    carried over by its shape, and "interpolated, LOW to HIGH HU within ... mm": thresholded anew near the segment.
    denoisedNode: the result in the mode "denoised", for the threshold; by default the result itself is used.
    Volumes are in mL (voxels; closed surface), areas in mm2, ABC/2 in mL with A, B, C in mm; the differences are
    those of the voxel volume against the acquired grid.

    The segments on the result grid stay in the scene as an ordinary segmentation, see `carriedSegmentation`.
    keepEdits: measure them as they are there now, corrected by hand, instead of making them anew.
    Raises InputError where something is missing, empty or does not belong together.
    """
    if segmentationNode is None:
        raise InputError(_("Choose a segmentation first; Segment Editor makes one."))
    chosen = list(segmentIds or segmentationNode.GetSegmentation().GetSegmentIDs())
    if not chosen:
        raise InputError(
            _("'{name}' has no segments; draw the hematoma first.").format(name=segmentationNode.GetName())
        )
    names = {segmentId: segmentName(segmentationNode, segmentId) for segmentId in chosen}
    segmentationId = segmentationNode.GetID()
    resultId = resultNode.GetID() if resultNode is not None else ""
    known = carriedSegmentation(segmentationNode) if keepEdits and resultId else None
    # Masks are taken now: the job measures what is drawn when it starts.
    masks = [_labelmap(scanNode, segmentMask(segmentationNode, segmentId, scanNode)) for segmentId in chosen]
    for segmentId, mask in zip(chosen, masks):
        if not mask.array.any():
            raise InputError(
                _("The segment '{segment}' is empty on the grid of '{scan}'; draw it first.").format(
                    segment=names[segmentId], scan=scanNode.GetName()
                )
            )
    edited = {}
    for number, segmentId in enumerate(chosen, start=1):
        for kind in _KINDS if known is not None else ():
            if known.GetSegmentation().GetSegment(f"{segmentId}_{kind}") is not None:
                mask = segmentMask(known, f"{segmentId}_{kind}", resultNode)
                edited[f"{kind}-{number}"] = _labelmap(resultNode, mask)

    def prepare(folder: Path) -> None:
        (folder / "edited").mkdir()
        for number, mask in enumerate(masks, start=1):
            write_volume(mask, folder / f"segment-{number}.nrrd")
        for name, mask in edited.items():
            write_volume(mask, folder / "edited" / f"{name}.nrrd")

    def collect(job: Job, folder: Path, outcome: Outcome) -> dict[str, Any]:
        rows = []
        for row in outcome.result["rows"]:
            row["segment"] = names[chosen[row.pop("labelmap", 1) - 1]]
            rows.append({column: row[column] for column in COLUMNS})
        node, result = (slicer.mrmlScene.GetNodeByID(one) for one in (segmentationId, resultId or "none"))
        if node is not None and result is not None:
            _showOnResult(node, result, chosen, folder / "masks", set(edited))
        said = [
            describe(rows),
            *(remark for remark in job.remarks if remark.startswith("No closed surfaces")),
        ]
        return {"rows": rows, "summary": "\n".join(said), **showMeasurement(rows, job.inputNode)}

    arguments = ["measure", "{input}", "--segmentation"]
    arguments += [f"{{folder}}/segment-{number}.nrrd" for number in range(1, len(chosen) + 1)]
    moreNodes = {}
    if resultNode is not None:
        moreNodes["result"] = resultNode
        arguments += [
            "--result",
            "{result}",
            "--masks-dir",
            "{folder}/masks",
            "--edited-dir",
            "{folder}/edited",
        ]
        if denoisedNode is not None and denoisedNode is not resultNode:
            moreNodes["denoised"] = denoisedNode
            arguments += ["--denoised", "{denoised}"]
    arguments += ["--range", *map(repr, map(float, huRange)), "--margin", repr(float(marginMm))]
    return Job(
        "measure",
        scanNode,
        Request(),
        [*arguments, "--progress", "json"],
        collect,
        moreNodes=moreNodes,
        prepare=prepare,
        **callbacks,
    )


def describe(rows: list[dict[str, Any]]) -> str:
    """The volumes of rows of a measurement in words, a line each."""
    return "\n".join(
        _("{segment}, {grid}: {volume:.2f} mL").format(
            segment=row["segment"], grid=row["grid"], volume=row["volume_ml"]
        )
        + (f" ({row['difference_percent']:+.1f}%)" if row["grid"] != "acquired" else "")
        for row in rows
    )


def showMeasurement(
    rows: list[dict[str, Any]], scanNode, csvPath: str | Path | None = None
) -> dict[str, Any]:
    """A table node "table" and a bar chart "plot" of rows of a measurement; also a CSV file where asked for."""
    table = tableFromRows(
        rows,
        _("{name} measurements").format(name=scanNode.GetName()),
        COLUMNS,
        tableNode=figure(scanNode, "measure", "table"),
        referenceNode=scanNode,
    )
    keepFindings(table, "", [describe(rows)])
    # Slicer writes no names below bars: a series a row, so that the legend names each.
    names = [row["grid"] for row in rows]
    if len({row["segment"] for row in rows}) > 1:
        names = [f"{row['segment']}: {row['grid']}" for row in rows]
    measures = {_("voxels"): "volume_ml", _("closed surface"): "surface_volume_ml", "ABC/2": "abc2_ml"}
    title, yTitle = _("{name} volumes").format(name=scanNode.GetName()), _("volume (mL)")
    # Closed surfaces are not measured everywhere.
    measures = {words: column for words, column in measures.items() if rows[0][column] is not None}
    bars = [
        {yTitle: words, **{name: row[column] for name, row in zip(names, rows)}}
        for words, column in measures.items()
    ]
    barTable = tableFromRows(
        bars,
        title,
        tableNode=figure(scanNode, "measure", "volumes"),
        referenceNode=scanNode,
    )
    xTitle = _("{groups} (from left to right)").format(groups=", ".join(measures))
    chart = plot(barTable, title, names, yTitle, "mL", bars=True, xTitle=xTitle)
    placeInFolderOf(chart, scanNode)
    if csvPath is not None:
        writeTable(table, csvPath)
    return keepFigures(scanNode, "measure", {"table": table, "volumes": barTable, "plot": chart})


def carriedSegmentation(segmentationNode):
    """The segmentation on the result grid that was made from another by `measurementJob`; None where there is none.

    Its segments are called "<name> (carried over)" and "<name> (re-thresholded)" and can be edited like any other.
    """
    return segmentationNode.GetNodeReference(CARRIED_ROLE)


def _showOnResult(
    segmentationNode, resultNode, segmentIds: list[str], folder: Path, edited: set[str]
) -> None:
    """Put the segments on the result grid into the scene: those carried over are shown, those renewed are not."""
    target = carriedSegmentation(segmentationNode)
    name = _("{segmentation} on {result}").format(
        segmentation=segmentationNode.GetName(), result=resultNode.GetName()
    )
    if target is not None and not edited:
        target.GetSegmentation().RemoveAllSegments()
        target.SetReferenceImageGeometryParameterFromVolumeNode(resultNode)
        target.SetAndObserveTransformNodeID(resultNode.GetTransformNodeID())
        target.SetName(name)
    if target is None:
        target = newSegmentation(name, resultNode)
        placeInFolderOf(target, resultNode)
        segmentationNode.SetNodeReferenceID(CARRIED_ROLE, target.GetID())
    for number, segmentId in enumerate(segmentIds, start=1):
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        if segment is None:  # removed while it was measured
            continue
        for kind, words, color in (
            ("carried", _("carried over"), segment.GetColor()),
            ("renewed", _("re-thresholded"), _RENEWED_COLOR),
        ):
            if f"{kind}-{number}" in edited:
                continue
            mask = read_labelmap(folder / f"{kind}-{number}.nrrd").array > 0
            own = f"{segmentId}_{kind}"
            if target.GetSegmentation().GetSegment(own) is not None:
                target.GetSegmentation().RemoveSegment(own)
            addSegment(target, f"{segment.GetName()} ({words})", mask, resultNode, color, own)
    showRenewed(segmentationNode, False)


def showRenewed(segmentationNode, shown: bool) -> None:
    """Show or hide the segments that were thresholded anew; those carried over lie below them."""
    target = carriedSegmentation(segmentationNode) if segmentationNode is not None else None
    for segmentId in target.GetSegmentation().GetSegmentIDs() if target is not None else ():
        if segmentId.endswith("_renewed"):
            target.GetDisplayNode().SetSegmentVisibility(segmentId, shown)


def _labelmap(volumeNode, mask: np.ndarray) -> Volume:
    """A mask, (k, j, i) bool on the grid of a volume node, as a labelmap."""
    return replace(
        volumeFromNode(volumeNode), array=mask.astype(np.uint8), provenance="", units="label", history=()
    )
