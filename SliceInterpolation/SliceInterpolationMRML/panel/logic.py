"""What the panel can do, for the Python console and for other modules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.reports.trust import DEFAULT_SLICES
from SliceInterpolationLib.request import Request

from ..parameters import SliceInterpolationParameterNode
from .state import runningElsewhere

_SPEED_SETTING = "SliceInterpolation/SecondsPerMegapixel/{key}"


class SliceInterpolationLogic(ScriptedLoadableModuleLogic):
    """What the panel can do, for the Python console and for other modules.

    What is asked for is a `SliceInterpolationLib.request.Request`, or its fields by name: factor (2, 3, ... or
    "isotropic"), method ("default", a model, or nearest, linear, cubic, bspline, flow), outputMode ("interpolated",
    with the acquired slices kept exact, "denoised" or "denoise-only"), strength (of denoising, 0 to 1), axis ("auto",
    "i", "j" or "k"), device ("auto", "cpu", "cuda:N"), units ("auto", "HU" or "arbitrary") and force (in spite of
    refusals that allow it). Fields given by name take precedence.

    One run at a time; with `wait=False` a call returns at once and `onProgress(dict)` and `onFinished(job)` tell how
    it goes.

    Example::

        logic = SliceInterpolationLogic()
        result = logic.interpolate(slicer.util.getNode("CTHead"))
        print(logic.trust(slicer.util.getNode("CTHead"))["verdict"])
    """

    def __init__(self) -> None:
        from ..run.known import KnownVolumes

        ScriptedLoadableModuleLogic.__init__(self)
        self.job = None
        self._known = KnownVolumes()
        self._parameters: SliceInterpolationParameterNode | None = None

    def getParameterNode(self) -> SliceInterpolationParameterNode:
        """The choices of the panel, with types; the same object as long as the scene has the same node for them."""
        node = super().getParameterNode()
        if self._parameters is None or self._parameters.parameterNode is not node:
            self._parameters = SliceInterpolationParameterNode(node)
        return self._parameters

    # Runs in a process of their own

    def plan(
        self,
        inputNode,
        request: Request | None = None,
        autoDevice: str = "cpu",
        uncertainty: bool = False,
        **options,
    ):
        """What `interpolate` would do with this request, as `SliceInterpolationMRML.run.plan.Plan`; takes no time.

        autoDevice: what the device "auto" stands for here. uncertainty: with a map of the error.

        Example::

            print(logic.plan(node, factor=2).text)  # 30 slices at 5.0 mm -> 59 at 2.5 mm, about 8 s on CPU.
        """
        from ..run.estimate import rateKey
        from ..run.plan import Plan, planRun

        try:
            request = _asked(request, options)
            volume = self._known.volume(inputNode)
            refused = self._known.refusal(inputNode, request)
        except InputError as error:
            return Plan(str(error), problem=True)
        device = autoDevice if request.device == "auto" else request.device
        rates = _rates(rateKey(request.method, device, uncertainty))
        return planRun(volume, request, device, rates, refused, uncertainty)

    def interpolate(
        self,
        inputNode,
        request: Request | None = None,
        outputNode=None,
        uncertainty: bool = False,
        wait: bool = True,
        onProgress: Callable[[dict], None] | None = None,
        onFinished: Callable[[Any], None] | None = None,
        **options,
    ):
        """Put new slices between those of a scalar volume node; the input is not changed.

        request, options: what is asked for, see the class. outputNode: filled instead of a new node.
        uncertainty: also make a map of the predicted error SD, see `maps`. Returns the
        output node, or with wait=False the job. Raises InputError for input that cannot be interpolated, RunError
        where the run fails, DependencyError where PyTorch is missing.

        Example::

            result = SliceInterpolationLogic().interpolate(node, factor=2, outputMode="denoised")
            logic.interpolate(node, wait=False, onFinished=lambda job: print(job.state, job.result))
        """
        from ..run.jobs import interpolationJob

        def finished(job) -> None:
            if job.state == "done":
                self._rememberSpeed(job, uncertainty)
            if onFinished is not None:
                onFinished(job)

        request = _asked(request, options)
        return self._start(
            lambda: interpolationJob(
                inputNode,
                request,
                outputNode,
                uncertainty=uncertainty,
                onProgress=onProgress,
                onFinished=finished,
            ),
            request,
            wait,
        )

    def trust(
        self,
        inputNode,
        request: Request | None = None,
        slices: int | str = DEFAULT_SLICES,
        wait: bool = True,
        onProgress: Callable[[dict], None] | None = None,
        onFinished: Callable[[Any], None] | None = None,
        **options,
    ):
        """Predict withheld slices of a scan by a method and by linear, cubic and flow; a table and a plot.

        request, options: the method, axis, device and units. slices: how many are scored, evenly spread over the
        scan, or "all". Returns the report as a dict ("verdict", "trusted", "means", "rows", ..., "nodes"), or with
        wait=False the job. Raises as `interpolate`.

        Example::

            print(logic.trust(node, method="flow")["verdict"])
        """
        from ..run.jobs import trustJob

        def finished(job) -> None:
            if job.state == "done":
                self._rememberTrustSpeed(job)
            if onFinished is not None:
                onFinished(job)

        request = _asked(request, options)
        return self._start(
            lambda: trustJob(inputNode, request, slices, onProgress=onProgress, onFinished=finished),
            request,
            wait,
        )

    def trustPlan(
        self,
        inputNode,
        request: Request | None = None,
        autoDevice: str = "cpu",
        slices: int | str = DEFAULT_SLICES,
    ):
        """What `trust` would do, as `SliceInterpolationMRML.run.plan.Plan`: how many slices, and how long it takes."""
        from ..run.estimate import trustKey
        from ..run.plan import Plan, planTrust

        request = request or Request()
        try:
            volume = self._known.volume(inputNode)
        except InputError as error:
            return Plan(str(error), problem=True)
        device = autoDevice if request.device == "auto" else request.device
        return planTrust(volume, request, device, _rates(trustKey(request.method, device)), slices)

    def noise(
        self,
        inputNode,
        resultNode=None,
        request: Request | None = None,
        wait: bool = True,
        onProgress: Callable[[dict], None] | None = None,
        onFinished: Callable[[Any], None] | None = None,
        **options,
    ):
        """Residual and noise-SD maps of a scan, a table and a plot by slice, and the noise alternation.

        resultNode: an interpolated volume whose alternation is shown beside. request, options: the method and the
        device. Returns a dict with the text "summary" and the "nodes" by name, or with wait=False the job. Raises as
        `interpolate`.

        Example::

            logic.noise(node, result)
            logic.showMap(node, "residual")
        """
        from ..run.jobs import noiseJob

        request = _asked(request, options)
        return self._start(
            lambda: noiseJob(inputNode, request, resultNode, onProgress=onProgress, onFinished=onFinished),
            request,
            wait,
        )

    def loadPhantom(
        self,
        wait: bool = True,
        onProgress: Callable[[dict], None] | None = None,
        onFinished: Callable[[Any], None] | None = None,
        **options,
    ):
        """Make the head phantom; options as of `SliceInterpolationMRML.sampleData.loadPhantom`.

        Returns a dict of the nodes "volume" and "segmentation", or with wait=False the job. Raises as `interpolate`.

        Example::

            scan = logic.loadPhantom(slices=20)["volume"]
        """
        from ..sampleData import phantomJob

        return self._start(
            lambda: phantomJob(onProgress=onProgress, onFinished=onFinished, **options),
            Request(method="linear"),  # it predicts nothing
            wait,
        )

    @property
    def running(self) -> bool:
        """True while a run is under way."""
        return self.job is not None and self.job.running

    def cancel(self) -> None:
        """End the run under way, with all its processes; the scene stays as it is."""
        if self.job is not None:
            self.job.cancel()

    def _start(self, makeJob: Callable[[], Any], request: Request, wait: bool):
        from ..run.dependencies import ensureTorch, needsTorch

        if self.running:
            raise InputError(runningElsewhere())
        if needsTorch(request.method):
            ensureTorch()
        self.job = makeJob()
        self.job.start()
        if wait:
            return self.job.wait().result
        return self.job.followByTimer()

    def _rememberSpeed(self, job, uncertainty: bool) -> None:
        """For the estimates of later runs on this computer."""
        from SliceInterpolationLib.interpolation import as_requested

        from ..run.estimate import measuredRate

        volume = as_requested(self._known.volume(job.inputNode), job.request, [])
        factor = self._known.volume(job.result).history[-1]["factor"]
        _learn(*measuredRate(volume, factor, job.request, job.remarks, job.seconds, uncertainty))

    def _rememberTrustSpeed(self, job) -> None:
        from SliceInterpolationLib.interpolation import as_requested

        from ..run.estimate import measuredTrustRate, trustKey

        volume = as_requested(self._known.volume(job.inputNode), job.request, [])
        onGpu = any(remark.startswith("Device: GPU") for remark in job.remarks)
        key = trustKey(job.request.method, "cuda" if onGpu else "cpu")
        _learn(key, measuredTrustRate(volume, len(job.result["slices"]), job.seconds))

    # Views

    @property
    def marks(self):
        """The marks that tell acquired from synthesized slices in the views."""
        return self.compareView.marks

    @property
    def compareView(self):
        """The compare view; all logics share it."""
        from ..views import shared

        return shared.compareView()

    @property
    def comparing(self) -> bool:
        """True while the compare view is on."""
        return self.compareView.isShown

    def compare(self, originalNode, resultNode, byRows: bool | None = None):
        """Show a scan and its result linked, side by side; returns the `CompareView`.

        Example::

            logic.compare(scan, result)
            logic.setShown("difference")
            logic.restoreLayout()
        """
        self.compareView.show(originalNode, resultNode, byRows)
        return self.compareView

    def setShown(self, what: str) -> None:
        """Let the result side show "result", "original", "linear", "difference" or "blend"."""
        self.compareView.setShown(what)

    def play(self, playing: bool = True) -> None:
        """Fade to and fro between original and result in the compare view, or stop it."""
        if self.comparing and playing != self.compareView.isPlaying:
            self.compareView.play(playing)

    def switchInPlace(self, originalNode, resultNode) -> None:
        """Show the original where the result is, and the result where it is not; a comparison keeps the original side.

        Place, zoom and window stay. Without a comparison it is done in the views on screen.
        """
        from ..views.compareView import switchBackground

        if self.comparing:
            self.compareView.toggle("original")
        else:
            switchBackground(originalNode, resultNode)

    def toSynthesized(self, resultNode, step: int) -> None:
        """Go to the next (1) or previous (-1) slice of a result that was not acquired, in a view that shows it."""
        from ..views.layouts import viewsShowing
        from ..views.stepping import stepToSynthesized

        if self.comparing:
            self.compareView.toSynthesized(step)
        else:
            stepToSynthesized(resultNode, step, viewsShowing(resultNode))

    def setSlab(self, thicknessMm: float) -> None:
        """Let the compare views show the mean over a slab of this thickness, 0 for single planes."""
        if self.comparing:
            self.compareView.setSlab(thicknessMm)

    def showAlone(self, volumeNode) -> None:
        """Put a volume into the background of the ordinary slice views; a comparison stays what it is."""
        from ..views.compareView import showInOrdinaryViews

        showInOrdinaryViews(volumeNode)

    def showPlot(self, chartNode) -> None:
        """Show a plot in the views; the layout changes where it has no place for one."""
        from ..figures.tablesAndPlots import showChart

        showChart(chartNode)

    def restoreLayout(self) -> None:
        """Back to the layout before `compare`."""
        self.compareView.restore()

    @property
    def canRestoreLayout(self) -> bool:
        """True where the layout was changed for the user."""
        from ..views.layouts import canRestoreLayout

        return canRestoreLayout()

    # Figures

    def figures(self, scanNode) -> dict[str, dict[str, Any]]:
        """Tables, plots and maps that were made of a scan, by kind ("trust", "noise", "measure") and name.

        They are found in a reopened scene as well.
        """
        from ..figures.kept import figures

        found = {kind: figures(scanNode, kind) for kind in ("trust", "noise", "measure")}
        return {kind: nodes for kind, nodes in found.items() if nodes}

    def findings(self, scanNode, kind: str) -> tuple[str, list[str]]:
        """The method and what a run of this kind has found about a scan, line by line."""
        from ..figures.kept import findings

        return findings(scanNode, kind)

    def maps(self, scanNode, resultNode=None) -> list[str]:
        """What `showMap` can show: "residual" and "noiseSd" of a scan, "errorSd" of a result."""
        from ..figures.noise import mapsOf

        return list(mapsOf(scanNode, resultNode))

    def showMap(self, scanNode, name: str, resultNode=None) -> None:
        """Lay one of the `maps` over the volume that it belongs to, with a legend; an empty name takes it off."""
        from ..figures.noise import mapsOf, showOver

        maps = mapsOf(scanNode, resultNode)
        for below in {id(one): one for one, _map in maps.values()}.values():
            showOver(below)
        if name:
            showOver(*maps[name])

    def showTable(self, scanNode, kind: str, name: str = "") -> None:
        """Show a table of a trust check, noise maps or measurement; the layout changes to one with a table.

        name: as of `figures`, by default the main table.
        """
        from ..figures.tablesAndPlots import showTable

        nodes = self.figures(scanNode)[kind]
        showTable(nodes[name or ("bySlice" if kind == "trust" else "table")])

    def saveReport(
        self,
        inputNode,
        path: str | Path,
        resultNode=None,
        title: str = "",
        position=None,
        wait: bool = True,
        onProgress: Callable[[dict], None] | None = None,
        onFinished: Callable[[Any], None] | None = None,
    ):
        """Write one self-contained HTML page: pictures, trust check, noise, measurements, how the result was made.

        title: all that the page says of the patient. position: LPS in mm of the planes shown, by default where the
        views on screen stand that show the scan or its result. Returns the path, or with wait=False the job.

        Example::

            logic.saveReport(scan, "report.html", result)
        """
        from ..run.jobs import reportJob
        from ..views.placeShown import placeShown

        if position is None and inputNode is not None:
            position = placeShown(inputNode, resultNode)
        return self._start(
            lambda: reportJob(
                inputNode, path, resultNode, title, position, onProgress=onProgress, onFinished=onFinished
            ),
            Request(method="linear"),  # it predicts nothing
            wait,
        )

    def saveDicom(
        self,
        scanNode,
        resultNode,
        path: str | Path,
        burnIn: bool = False,
        wait: bool = True,
        onProgress: Callable[[dict], None] | None = None,
        onFinished: Callable[[Any], None] | None = None,
    ):
        """Write a result as a new DICOM series into a new or empty folder, where its scan was loaded from DICOM.

        It belongs to the same study; every slice says whether it was acquired or made, and of which images. burnIn:
        write SYNTHESIZED or DENOISED into the pixels of made slices. Returns the path, or with wait=False the job.

        Example::

            logic.saveDicom(scan, result, "result-dicom")
        """
        from ..run.jobs import dicomJob

        return self._start(
            lambda: dicomJob(
                scanNode, resultNode, path, burnIn, onProgress=onProgress, onFinished=onFinished
            ),
            Request(method="linear"),  # it predicts nothing
            wait,
        )

    def regionStatistics(self, scanNode, regionNode, volumeNodes=None):
        """Mean, SD and range in a markups ROI or a segmentation, as a table node.

        volumeNodes: by default the scan and the residual and noise-SD maps that were made of it.

        Example::

            table = logic.regionStatistics(scan, slicer.util.getNode("R"))
        """
        from ..figures.noise import mapsOf, showRegionStatistics

        if volumeNodes is None:
            volumeNodes = [scanNode, *(node for _below, node in mapsOf(scanNode).values())]
        return showRegionStatistics(volumeNodes, regionNode)

    def measure(
        self,
        inputNode,
        segmentationNode,
        segmentIds=None,
        resultNode=None,
        denoisedNode=None,
        huRange=(40.0, 100.0),
        marginMm: float = 3.0,
        keepEdits: bool = False,
        wait: bool = True,
        onProgress: Callable[[dict], None] | None = None,
        onFinished: Callable[[Any], None] | None = None,
    ):
        """Measure segments on the acquired grid and, carried over by their shape, on the grid of the result.

        segmentIds: one ID or several; all segments by default. denoisedNode: the volume on which the HU range is
        applied within the margin; the result by default. keepEdits: measure the segments on the result grid as
        they are there, corrected by hand. The drawn segments stay as they are. Returns a dict: "rows" (one a
        segment and grid), "table", "plot" and "summary"; with wait=False the job.

        Example::

            measured = logic.measure(scan, segmentation, resultNode=result)
            print(measured["summary"])
            logic.saveTable(measured["table"], "hematoma.csv")
        """
        from ..figures.measurement import measurementJob
        from ..run.dependencies import offerPackages
        from ..views.segmentSides import placeSegments

        def finished(job) -> None:
            placeSegments()
            if onFinished is not None:
                onFinished(job)

        if isinstance(segmentIds, str):
            segmentIds = [segmentIds]

        def makeJob():
            job = measurementJob(
                inputNode,
                segmentationNode,
                segmentIds,
                resultNode,
                denoisedNode,
                tuple(huRange),
                marginMm,
                keepEdits,
                onProgress=onProgress,
                onFinished=finished,
            )
            offerPackages()
            return job

        return self._start(makeJob, Request(method="linear"), wait)  # it predicts nothing

    def showRenewed(self, segmentationNode, shown: bool) -> None:
        """Show or hide the segments of a measurement that were thresholded anew, over those carried over."""
        from ..figures.measurement import showRenewed

        showRenewed(segmentationNode, shown)

    def saveTable(self, tableNode, path: str) -> None:
        """Write a table node as CSV."""
        from ..figures.tablesAndPlots import writeTable

        writeTable(tableNode, path)

    # Models of the user

    def modelsFolder(self) -> Path:
        """The folder of the user's own models; made where it does not exist yet."""
        from SliceInterpolationLib.catalogue import user_folder

        folder = user_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def userModels(self) -> list[str]:
        """Names of the user's own models, those that cannot be used included."""
        from SliceInterpolationLib.catalogue import own_entries

        return [entry.name for entry in own_entries()]

    def unusableModels(self) -> list[tuple[str, str]]:
        """(name, reason) of each folder of the user's models that cannot be used."""
        from SliceInterpolationLib.catalogue import Unusable, own_entries

        from ..run.words import inPanelWords

        return [(one.name, inPanelWords(one.reason)) for one in own_entries() if isinstance(one, Unusable)]

    def needsConsent(self, method: str) -> bool:
        """True where a method is a program of the user that was not trusted yet, see `grantConsent`."""
        from SliceInterpolationLib.catalogue import list_models, needs_consent

        return any(model.name == method and needs_consent(model) for model in list_models())

    def grantConsent(self, method: str) -> None:
        """Trust the file of a model, which is a program, from now on; ask the user before."""
        from SliceInterpolationLib.catalogue import find_model, grant_consent

        grant_consent(find_model(method))

    def clearUserModels(self) -> None:
        """Delete the user's own models; the bundled ones stay."""
        from SliceInterpolationLib.catalogue import remove_model

        for name in self.userModels():
            remove_model(name)


def _rates(key: str) -> dict[str, float]:
    """The seconds a megapixel that are remembered under a key; empty where there are none."""
    rate = slicer.util.settingsValue(_SPEED_SETTING.format(key=key), 0.0, converter=float)
    return {key: rate} if rate > 0 else {}


def _learn(key: str, rate: float) -> None:
    from ..run.estimate import learned

    former = _rates(key).get(key, 0.0)
    slicer.app.userSettings().setValue(_SPEED_SETTING.format(key=key), learned(former, rate))


def _asked(request: Request | None, options: dict[str, Any]) -> Request:
    """A request with these options in place of its own; InputError for values that cannot be."""
    if request is not None and not isinstance(request, Request):
        raise TypeError(f"give options by name, such as factor=2, or a Request, not {request!r}")
    options = {{"outputMode": "output_mode"}.get(name, name): value for name, value in options.items()}
    return replace(request or Request(), **options)
