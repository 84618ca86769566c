"""Runs on nodes of the scene: write the volume, run the command line, take the result in. All or nothing.

A job changes the scene only when its process has ended well, and takes back what it added when that fails half-way.
It ends with its process when the scene is closed.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

import slicer

from SliceInterpolationLib.cli import PREDICTION_OPTIONS
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.files import read_file, write_volume
from SliceInterpolationLib.reports.trust import DEFAULT_SLICES
from SliceInterpolationLib.request import Request

from ..i18n import _
from ..nodes import nodeFromVolume, placeLikeReference, updateNodeFromVolume, volumeFromNode
from ..weak import Weak
from .process import CANCELLED, DONE, FAILED, POLL_MS, REFUSED, Outcome, Run, RunError
from .words import inPanelWords, reportInPanelWords


class Job:
    """One command line run on a volume node, or on none.

    kind: a name for the panel. inputNode: None only where no argument names it. request: what was asked for; it and
    `inputNode` stay what they were at the start, whatever is chosen in the panel meanwhile. arguments: the command,
    in which "{input}" and "{folder}" stand for the exchange file of the input and the temporary folder. moreNodes:
    further volumes by the word that stands for their file. prepare: puts further files into the folder, which it
    gets, before the process starts. collect: gets the job, the folder and the outcome, puts the result into the scene
    and returns it. onProgress gets each dict of progress, onFinished this job when it is over.

    Afterwards: `state` ("done", "refused", "failed" or "cancelled"), `message` for the user, `remarks`, `result`.
    """

    def __init__(
        self,
        kind: str,
        inputNode,
        request: Request,
        arguments: list[str],
        collect: Callable[[Job, Path, Outcome], Any],
        onProgress: Callable[[dict[str, Any]], None] | None = None,
        onFinished: Callable[[Job], None] | None = None,
        moreNodes: dict[str, Any] | None = None,
        prepare: Callable[[Path], None] | None = None,
    ):
        if inputNode is None and any("{input}" in argument for argument in arguments):
            raise InputError(_("Choose an input volume first."))
        self.kind, self.request = kind, request
        self.state, self.message, self._result = "", "", Weak()
        self.remarks: list[str] = []
        self.seconds = 0.0
        self._inputId, self.inputName = "", ""
        if inputNode is not None:
            self._inputId, self.inputName = inputNode.GetID(), inputNode.GetName()
        self._moreIds = {word: node.GetID() for word, node in (moreNodes or {}).items()}
        self._arguments, self._prepare, self._collect = arguments, prepare, collect
        self._onFinished = onFinished
        self._timer = None
        self._scene, self._tag = None, None
        self._run = Run(onProgress, self._onRunFinished, temporaryRoot())

    @property
    def inputNode(self):
        """The volume that the run was started on, and called `inputName` then; None where it was removed."""
        return slicer.mrmlScene.GetNodeByID(self._inputId)

    @property
    def result(self):
        """What was made: a node, or a dict with nodes among others; None for a node that was removed since."""
        return self._result.get()

    def start(self) -> Job:
        """Write the input and start the process. Raises InputError or RunError where that is impossible."""
        try:
            words = {"folder": str(self._run.folder)}
            nodeIds = {"input": self._inputId, **self._moreIds} if self._inputId else self._moreIds
            for word, nodeId in nodeIds.items():
                words[word] = str(self._run.folder / f"{word}.nrrd")
                write_volume(volumeFromNode(slicer.mrmlScene.GetNodeByID(nodeId)), words[word])
            if self._prepare is not None:
                self._prepare(self._run.folder)
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
        self._run.wait(processEvents)
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
        self._run.cancel()

    def raiseError(self) -> None:
        """Raise RunError unless the job is done; InputError where the input was refused."""
        if self.state == REFUSED:
            raise InputError(self.message)
        if self.state != DONE:
            raise RunError(self.message)

    def _onRunFinished(self, outcome: Outcome) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.disconnect("timeout()", self.poll)  # the timer would keep the job
        self._forgetScene()
        self.state, self.message = outcome.state, inPanelWords(outcome.message)
        self.remarks = [inPanelWords(remark) for remark in outcome.remarks]
        if outcome.state == DONE:
            try:
                if self._inputId and self.inputNode is None:
                    raise InputError(_("The input volume was removed meanwhile; nothing was made of it."))
                with addedNodesRemovedOnError():
                    self._result = Weak(self._collect(self, self._run.folder, outcome))
            except Exception as error:
                logging.exception("SliceInterpolation")
                self.state, self.message = FAILED, str(error)
        self.seconds = outcome.seconds
        onFinished, self._onFinished, self._prepare, self._collect = self._onFinished, None, None, None
        if onFinished is not None:
            onFinished(self)

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
    inputNode, request: Request, outputNode=None, name: str = "", uncertainty: bool = False, **callbacks
) -> Job:
    """A job whose result is the interpolated volume node: `outputNode`, or a new one where that is None.

    name: of a new node, by default that of the input with what was done to it. uncertainty: also make a map of the
    predicted error SD, kept with the result. callbacks: onProgress and onFinished of `Job`.
    Raises InputError where the input is missing or is also the output.
    """
    if inputNode is not None and outputNode is inputNode:
        raise InputError(_("The output must be another volume than the input, which is never changed."))
    outputId = outputNode.GetID() if outputNode is not None else ""

    def collect(job: Job, folder: Path, outcome: Outcome):
        from ..figures.noise import showErrorSd

        volume = read_file(outcome.result["paths"][0])
        node = slicer.mrmlScene.GetNodeByID(outputId) if outputId else None
        if node is None:
            node = nodeFromVolume(volume, name or resultName(job.inputNode.GetName(), request), job.inputNode)
        else:
            updateNodeFromVolume(node, volume)
            placeLikeReference(node, job.inputNode)
        showErrorSd(node, read_file(folder / "uncertainty.nrrd") if uncertainty else None)
        return node

    arguments = ["interpolate", "{input}", "{folder}/output.nrrd", *request.to_arguments()]
    if uncertainty:
        arguments += ["--uncertainty", "{folder}/uncertainty.nrrd"]
    return Job("interpolate", inputNode, request, [*arguments, "--progress", "json"], collect, **callbacks)


def trustJob(inputNode, request: Request, slices: int | str = DEFAULT_SLICES, **callbacks) -> Job:
    """A job whose result is the dict of the trust report, with the nodes of its display.

    slices: how many are scored, evenly spread, or "all". Of the request counts what `cli.PREDICTION_OPTIONS` names.
    """

    def collect(job: Job, folder: Path, outcome: Outcome):
        from ..figures.kept import keepFindings
        from ..figures.trust import showTrust, warnings

        report = json.loads((folder / "trust.json").read_text(encoding="utf-8"))
        said = list(dict.fromkeys([report["verdict"], *warnings(report), *report.get("remarks", [])]))
        said = [inPanelWords(text) for text in said]
        nodes = showTrust(job.inputNode, report)
        keepFindings(nodes["bySlice"], request.method, said, json.dumps(report))
        return {**report, "said": said, "nodes": nodes}

    arguments = [
        "trust",
        "{input}",
        "--output",
        "{folder}/trust.json",
        "--slices",
        str(slices),
        *request.to_arguments(PREDICTION_OPTIONS),
    ]
    return Job("trust", inputNode, request, [*arguments, "--progress", "json"], collect, **callbacks)


def noiseJob(inputNode, request: Request, resultNode=None, **callbacks) -> Job:
    """A job whose result is a dict with the "nodes" of the noise display, the text "summary", and what is "said" of it.

    resultNode: the input interpolated, whose noise is shown beside. Of the request counts what `cli.PREDICTION_OPTIONS`
    names.
    """

    def collect(job: Job, folder: Path, outcome: Outcome):
        from ..figures.kept import keepFindings
        from ..figures.noise import showNoiseFolder

        nodes = showNoiseFolder(job.inputNode, folder / "noise")
        summary = outcome.remarks[-1] if outcome.remarks else ""
        report = (folder / "noise" / "noise.json").read_text(encoding="utf-8")
        made = _("Made: the maps '{residual}' and '{noiseSd}', with tables and plots.").format(
            residual=nodes["residual"].GetName(), noiseSd=nodes["noiseSd"].GetName()
        )
        keepFindings(nodes["table"], request.method, [summary, made], report)
        return {"nodes": nodes, "summary": summary, "said": [summary, made]}

    arguments = [
        "noise",
        "{input}",
        "--output-dir",
        "{folder}/noise",
        *request.to_arguments(PREDICTION_OPTIONS),
    ]
    moreNodes = {"result": resultNode} if _isPresent(resultNode) else {}
    if moreNodes:
        arguments += ["--result", "{result}"]
    arguments += ["--progress", "json"]
    return Job("noise", inputNode, request, arguments, collect, moreNodes=moreNodes, **callbacks)


def reportJob(
    inputNode,
    path: str | Path,
    resultNode=None,
    title: str = "",
    position: tuple[float, float, float] | None = None,
    **callbacks,
) -> Job:
    """A job that writes one HTML page about a scan, its result and its figures; the result is its path.

    title: all that the page says of the patient. position: LPS, in mm, of the planes shown; by default the page
    chooses. Raises InputError where the scan is missing.
    """
    from ..figures.kept import figure, keptReport
    from ..figures.tablesAndPlots import writeTable

    if inputNode is None:
        raise InputError(_("Choose an input volume first."))
    reports = {kind: keptReport(inputNode, kind) for kind in ("trust", "noise")}
    reports = {kind: text for kind, text in reports.items() if text}
    measured = figure(inputNode, "measure", "table")

    def prepare(folder: Path) -> None:
        for kind, text in reports.items():
            said = json.dumps(reportInPanelWords(json.loads(text)))
            (folder / f"{kind}.json").write_text(said, encoding="utf-8")
        if measured is not None:
            writeTable(measured, folder / "measurements.csv")

    moreNodes = {"result": resultNode} if _isPresent(resultNode) else {}
    arguments = ["page", "{input}", *(f"{{{word}}}" for word in moreNodes), "--output", "{folder}/page.html"]
    for kind in reports:
        arguments += [f"--{kind}", f"{{folder}}/{kind}.json"]
    if measured is not None:
        arguments += ["--measurements", "{folder}/measurements.csv"]
    # Braces of the title are its own.
    arguments.append("--title=" + title.replace("{", "{{").replace("}", "}}"))
    if position is not None:
        # Without exponents: the parser would take "-1e-05" for an option.
        arguments += ["--position", *(f"{value:.3f}" for value in position)]

    def collect(job: Job, folder: Path, outcome: Outcome) -> Path:
        try:
            shutil.copyfile(folder / "page.html", path)
        except OSError as error:
            raise InputError(
                _("The report cannot be saved as '{path}' ({reason}); choose another folder.").format(
                    path=path, reason=error.strerror
                )
            ) from error
        return Path(path)

    return Job(
        "report",
        inputNode,
        Request(),
        [*arguments, "--progress", "json"],
        collect,
        moreNodes=moreNodes,
        prepare=prepare,
        **callbacks,
    )


def dicomJob(scanNode, resultNode, path: str | Path, burnIn: bool = False, **callbacks) -> Job:
    """A job that writes a result as a DICOM series beside the one its scan was loaded from; the result is its path.

    path: a folder that does not exist yet, or is empty. burnIn: also write what they are into the pixels of made
    slices.
    Raises InputError where the scan was not loaded from DICOM.
    """
    from .dicomFiles import dicomFiles, placeTogether

    if scanNode is None:
        raise InputError(_("Choose an input volume first."))
    if resultNode is None:
        raise InputError(_("Interpolate first, or choose a result volume."))
    files = dicomFiles(scanNode)

    def prepare(folder: Path) -> None:
        try:
            placeTogether(files, folder / "scan")
        except OSError as error:
            raise InputError(
                _("The DICOM files of the scan cannot be read ({reason}).").format(reason=error.strerror)
            ) from error

    # Braces of the path are its own.
    target = str(path).replace("{", "{{").replace("}", "}}")
    arguments = ["dicom-write", "{input}", target, "--scan", "{folder}/scan", "--progress", "json"]
    if burnIn:
        arguments.append("--burn-in")
    return Job(
        "dicom", resultNode, Request(), arguments, lambda *_job: Path(path), prepare=prepare, **callbacks
    )


def resultName(name: str, request: Request) -> str:
    """Name of a new volume, such as "CTHead x2", "CTHead x2 cubic" or "CTHead denoised"."""
    parts = [name]
    if request.output_mode != "denoise-only":
        parts.append("isotropic" if request.factor == "isotropic" else f"x{request.factor}")
    if request.output_mode != "interpolated":
        parts.append("denoised")
    if request.method != "default":
        parts.append(request.method)
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


def _isPresent(node) -> bool:
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))


def temporaryRoot() -> str | None:
    """Where exchange folders are made: the application's own temporary folder."""
    return slicer.app.temporaryPath if getattr(slicer, "app", None) is not None else None


def processEvents() -> None:
    """Keep windows alive while something is waited for."""
    if getattr(slicer, "app", None) is not None:
        slicer.app.processEvents()


__all__ = [
    "CANCELLED",
    "DONE",
    "FAILED",
    "REFUSED",
    "Job",
    "dicomJob",
    "interpolationJob",
    "noiseJob",
    "reportJob",
    "trustJob",
]
