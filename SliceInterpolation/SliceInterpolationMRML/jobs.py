"""Runs on nodes of the scene: write the volume, run the command line, take the result in. All or nothing.

A job changes the scene only when its process has ended well, and takes back what it added when that fails half-way.
It ends with its process when the scene is closed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import slicer
from slicer.i18n import tr as _

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.files import read_file, write_volume

from .nodes import nodeFromVolume, placeLikeReference, updateNodeFromVolume, volumeFromNode
from .plan import inPanelWords
from .runner import CANCELLED, DONE, FAILED, POLL_MS, REFUSED, Outcome, Run, RunError

STAGES = {
    "start": "Starting",
    "interpolated": "Interpolating",
    "denoised": "Interpolating and denoising",
    "denoise-only": "Denoising",
    "trust": "Predicting withheld slices",
    "noise": "Predicting slices for the noise maps",
}


class Job:
    """One command line run on a volume node.

    kind: a name for the panel. arguments: the command, in which "{input}" and "{folder}" stand for the exchange
    file of the input and the temporary folder. moreNodes: further volumes by the word that stands for their file.
    collect: gets the folder and the outcome, puts the result into the
    scene and returns it. onProgress gets each dict of progress, onFinished this job when it is over.

    Afterwards: `state` ("done", "refused", "failed" or "cancelled"), `message` for the user, `remarks`, `result`.
    """

    def __init__(
        self,
        kind: str,
        inputNode,
        arguments: list[str],
        collect: Callable[[Path, Outcome], Any],
        onProgress: Callable[[dict[str, Any]], None] | None = None,
        onFinished: Callable[[Job], None] | None = None,
        moreNodes: dict[str, Any] | None = None,
    ):
        self.kind, self.inputNode = kind, inputNode
        self._moreNodes = moreNodes or {}
        self.state, self.message, self.result = "", "", None
        self.remarks: list[str] = []
        self.seconds = 0.0
        self._arguments, self._collect = arguments, collect
        self._onFinished = onFinished
        self._inputId = ""
        self._timer = None
        self._scene, self._tag = None, None
        self._run = Run(onProgress, self._onRunFinished, _temporaryRoot())

    def start(self) -> Job:
        """Write the input and start the process. Raises InputError or RunError where that is impossible."""
        try:
            self._inputId = self.inputNode.GetID()
            words = {"folder": str(self._run.folder)}
            for word, node in {"input": self.inputNode, **self._moreNodes}.items():
                words[word] = str(self._run.folder / f"{word}.nrrd")
                write_volume(volumeFromNode(node), words[word])
            self._observeScene()
            self._run.start([argument.format_map(words) for argument in self._arguments])
        except Exception:
            self._onFinished = None  # told by the exception instead
            self._run.cancel()
            raise
        return self

    def followByTimer(self) -> Job:
        """Let the event loop follow the process; returns at once."""
        import qt

        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self._timer.start()
        return self

    def poll(self) -> bool:
        """Hand on progress; True while the process goes on."""
        return self._run.poll()

    def wait(self) -> Job:
        """Follow the process to its end, with windows kept alive. Raises what `raiseError` raises."""
        self._run.wait(_processEvents)
        self.raiseError()
        return self

    @property
    def running(self) -> bool:
        """True from start to end."""
        return self._run.running

    @property
    def processId(self) -> int | None:
        """Of the process, None before it starts."""
        return self._run.processId

    def cancel(self) -> None:
        """End the process and all that it has started; the scene stays as it is."""
        self._run.cancel(_("Cancelled; nothing was changed."))

    def raiseError(self) -> None:
        """Raise RunError unless the job is done; InputError where the input was refused."""
        if self.state == REFUSED:
            raise InputError(self.message)
        if self.state != DONE:
            raise RunError(self.message)

    def _onRunFinished(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._forgetScene()
        self.state, self.message = outcome.state, inPanelWords(outcome.message)
        self.remarks = [inPanelWords(remark) for remark in outcome.remarks]
        if outcome.state == DONE:
            try:
                if slicer.mrmlScene.GetNodeByID(self._inputId) is not self.inputNode:
                    raise InputError(_("The input volume was removed meanwhile; nothing was made of it."))
                with addedNodesRemovedOnError():
                    self.result = self._collect(self._run.folder, outcome)
            except Exception as error:
                logging.exception("SliceInterpolation")
                self.state, self.message = FAILED, str(error)
        self.seconds = outcome.seconds
        if self._onFinished is not None:
            self._onFinished(self)

    def _observeScene(self) -> None:
        self._scene = slicer.mrmlScene
        self._tag = self._scene.AddObserver(slicer.vtkMRMLScene.StartCloseEvent, self._onSceneClose)

    def _forgetScene(self) -> None:
        if self._tag is not None:
            self._scene.RemoveObserver(self._tag)
            self._scene = self._tag = None

    def _onSceneClose(self, caller, event) -> None:
        self._run.cancel(_("Cancelled, since the scene was closed; nothing was changed."))


def interpolationJob(
    inputNode,
    outputNode=None,
    factor: int | str = 2,
    method: str = "default",
    outputMode: str = "interpolated",
    strength: float = 0.5,
    axis: str = "auto",
    device: str = "auto",
    force: bool = False,
    name: str = "",
    **callbacks,
) -> Job:
    """A job whose result is the interpolated volume node: `outputNode`, or a new one where that is None.

    Arguments as `SliceInterpolationLib.interpolate`. Raises InputError where input and output are the same.
    """
    if inputNode is None:
        raise InputError(_("Choose an input volume first."))
    if outputNode is inputNode:
        raise InputError(_("The output must be another volume than the input, which is never changed."))
    arguments = [
        "interpolate",
        "{input}",
        "{folder}/output.nrrd",
        "--factor",
        str(factor),
        "--method",
        method,
    ]
    arguments += ["--output-mode", outputMode, "--strength", f"{strength:g}", "--axis", axis]
    arguments += ["--device", device, "--progress", "json"] + (["--force"] if force else [])
    outputId = outputNode.GetID() if outputNode is not None else ""

    def collect(folder: Path, outcome: Outcome):
        volume = read_file(outcome.result["paths"][0])
        node = slicer.mrmlScene.GetNodeByID(outputId) if outputId else None
        if node is None:
            return nodeFromVolume(
                volume, name or resultName(inputNode, factor, method, outputMode), inputNode
            )
        updateNodeFromVolume(node, volume)
        placeLikeReference(node, inputNode)
        return node

    return Job("interpolate", inputNode, arguments, collect, **callbacks)


def trustJob(inputNode, method: str = "default", device: str = "auto", **callbacks) -> Job:
    """A job whose result is the dict of the trust report, with the nodes of its display."""
    if inputNode is None:
        raise InputError(_("Choose an input volume first."))

    def collect(folder: Path, outcome: Outcome):
        from .trustDisplay import showTrust, warnings

        report = json.loads((folder / "trust.json").read_text(encoding="utf-8"))
        said = list(dict.fromkeys([report["verdict"], *warnings(report), *report.get("remarks", [])]))
        return {
            **report,
            "said": [inPanelWords(text) for text in said],
            "nodes": showTrust(inputNode, report),
        }

    arguments = ["trust", "{input}", "--output", "{folder}/trust.json", "--method", method]
    return Job(
        "trust", inputNode, [*arguments, "--device", device, "--progress", "json"], collect, **callbacks
    )


def noiseJob(inputNode, resultNode=None, method: str = "default", device: str = "auto", **callbacks) -> Job:
    """A job whose result is a dict with the nodes of the noise display."""
    if inputNode is None:
        raise InputError(_("Choose an input volume first."))

    def collect(folder: Path, outcome: Outcome):
        from .noiseDisplay import showNoiseFolder

        nodes = showNoiseFolder(inputNode, folder / "noise")
        return {"nodes": nodes, "summary": outcome.remarks[-1] if outcome.remarks else ""}

    arguments = ["noise", "{input}", "--output-dir", "{folder}/noise", "--method", method, "--device", device]
    moreNodes = {"result": resultNode} if _present(resultNode) else {}
    if moreNodes:
        arguments += ["--result", "{result}"]
    return Job(
        "noise", inputNode, [*arguments, "--progress", "json"], collect, moreNodes=moreNodes, **callbacks
    )


def progressText(entry: dict[str, Any]) -> str:
    """One line of progress for the panel: stage, slice and time left; empty where the entry is no progress."""
    if entry.get("done") is None:
        return ""
    text = f"{STAGES.get(entry['stage'], entry['stage'])}: slice {entry['done']} of {entry['total']}"
    if entry.get("eta_s"):
        from .plan import formatSeconds

        text += f", about {formatSeconds(entry['eta_s'])} left"
    return text


def resultName(inputNode, factor: int | str, method: str, outputMode: str) -> str:
    """Name of a new volume, such as "CTHead x2", "CTHead x2 cubic" or "CTHead denoised"."""
    parts = [inputNode.GetName()]
    if outputMode != "denoise-only":
        parts.append("isotropic" if factor == "isotropic" else f"x{factor}")
    if outputMode != "interpolated":
        parts.append("denoised")
    if method != "default":
        parts.append(method)
    return " ".join(parts)


@contextmanager
def addedNodesRemovedOnError() -> Iterator[None]:
    """Take out of the scene what was added inside of the block, where the block fails."""
    before = _nodeIds()
    try:
        yield
    except Exception:
        for nodeId in _nodeIds() - before:
            node = slicer.mrmlScene.GetNodeByID(nodeId)
            if node is not None:
                slicer.mrmlScene.RemoveNode(node)
        raise


def _nodeIds() -> set[str]:
    scene = slicer.mrmlScene
    return {scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes())}


def _present(node):
    return node if node is not None and slicer.mrmlScene.IsNodePresent(node) else None


def _temporaryRoot() -> str | None:
    return slicer.app.temporaryPath if getattr(slicer, "app", None) is not None else None


def _processEvents() -> None:
    if getattr(slicer, "app", None) is not None:
        slicer.app.processEvents()


__all__ = ["CANCELLED", "DONE", "FAILED", "REFUSED", "Job", "interpolationJob", "noiseJob", "trustJob"]
