"""The module SliceInterpolation: more slices between the acquired ones of a thick-slice head CT.

Module, parameter node, widget, logic and self test. This file wires; the work is done in SliceInterpolationMRML
(what touches the scene) and SliceInterpolationLib (the library, run in a process of its own).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Callable

import qt
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

from SliceInterpolationMRML.parameters import Arrangement, OutputMode, Shown, SliceInterpolationParameterNode

MODULE_NAME = "SliceInterpolation"
RUNNING_ELSEWHERE = "A run is under way; wait for it or cancel it first."


class SliceInterpolation(ScriptedLoadableModule):
    """What the application shows of the module: title, help, acknowledgement; and the sample data."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Slice Interpolation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Filtering")]
        parent.dependencies = []
        parent.contributors = ["The SliceInterpolation developers"]
        parent.helpText = _(
            "<p>Puts new slices between the acquired ones of a thick-slice head CT: choose a volume and press "
            "<b>Interpolate</b>. The result appears beside the original; its acquired slices are those of the "
            "original, bit by bit, and the others are marked as synthesized wherever they are shown.</p>"
            "<p>The <b>trust check</b> predicts withheld slices of this very scan and compares the network with "
            "linear, cubic and flow interpolation. <b>Residual noise</b> shows what denoising removes. "
            "<b>Hematoma measurement</b> measures a segment on the acquired and on the interpolated grid.</p>"
            "<p>In the Python console: <code>SliceInterpolationLogic().interpolate(node)</code>. Synthesized "
            "slices show nothing that was not scanned. Not a medical device.</p>"
        )
        parent.acknowledgementText = _(
            "Developed by the SliceInterpolation developers on 3D Slicer, PyTorch, SimpleITK and SciPy. Please cite "
            "as described in the file CITATION.cff of the extension, together with 3D Slicer."
        )
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted() -> None:
    """Register what scenes and the module Sample Data need to know of this one."""
    registerSampleData()
    layoutManager = slicer.app.layoutManager()
    if layoutManager is not None:  # None where there is no main window
        from SliceInterpolationMRML.compareView import registerLayouts

        registerLayouts(layoutManager.layoutLogic().GetLayoutNode())


def registerSampleData() -> None:
    """Offer the head phantom in the module Sample Data; it is made on this computer, not downloaded."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Slice Interpolation",
        sampleName="HeadPhantom",
        uris="",
        fileNames="HeadPhantom.nrrd",
        nodeNames="HeadPhantom",
        thumbnailFileName=os.path.join(os.path.dirname(__file__), "Resources", "Icons", "HeadPhantom.png"),
        customDownloader=loadSampleData,
    )


def loadSampleData(source=None):
    """Make the head phantom, 30 slices at 5 mm with a hematoma of known volume, and show it; returns its nodes."""
    from SliceInterpolationMRML.sampleData import loadPhantom

    with slicer.util.tryWithErrorDisplay(_("The head phantom could not be made."), waitCursor=True):
        return loadPhantom()


class SliceInterpolationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Every action goes through the logic; this class shows its state and asks."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: SliceInterpolationLogic | None = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._choices: list[tuple[str, str, str]] = []
        self._probe = None
        self._probeTimer = None
        self._devices: dict[str, Any] = {}
        self._plan = None
        self._shownNodes: dict[str, dict[str, Any]] = {}
        self._updating = False

    # Life of the panel

    def setup(self) -> None:
        """Called when the user opens the module the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SliceInterpolation.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SliceInterpolationLogic()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.ui.methodComboBox.connect("currentIndexChanged(int)", self.onMethodChosen)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceChosen)
        self.ui.shownComboBox.connect("currentIndexChanged(int)", self.onShownChosen)
        self.ui.segmentSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._updatePanel)
        self.ui.segmentSelector.connect("currentSegmentChanged(QString)", self._updatePanel)
        self.ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._updatePanel)
        for button, slot in (
            (self.ui.applyButton, self.onApplyButton),
            (self.ui.compareButton, self.onCompareButton),
            (self.ui.restoreLayoutButton, self.onRestoreLayoutButton),
            (self.ui.trustButton, self.onTrustButton),
            (self.ui.trustPlotButton, lambda checked=False: self.onPlotButton("trust")),
            (self.ui.noiseButton, self.onNoiseButton),
            (self.ui.noisePlotButton, lambda checked=False: self.onPlotButton("noise")),
            (self.ui.regionButton, self.onRegionButton),
            (self.ui.measureButton, self.onMeasureButton),
            (self.ui.measurePlotButton, lambda checked=False: self.onPlotButton("measure")),
            (self.ui.exportButton, self.onExportButton),
            (self.ui.installButton, self.onInstallButton),
            (self.ui.openModelsButton, self.onOpenModelsButton),
            (self.ui.clearModelsButton, self.onClearModelsButton),
            (self.ui.samplePhantomButton, self.onSamplePhantomButton),
        ):
            button.connect("clicked(bool)", slot)
        self.ui.slabSpinBox.connect("valueChanged(double)", self.onSlabChanged)
        for label in (self.ui.statusLabel, self.ui.verdictLabel, self.ui.noiseLabel, self.ui.measureLabel):
            _say(label, "")
        self._fillMethods()
        self._fillDevices()
        self.initializeParameterNode()
        self._startProbe()

    def cleanup(self) -> None:
        """Called when the application closes, or when the module is reloaded."""
        self.setParameterNode(None)
        self.removeObservers()
        if self._probe is not None:
            self._probe.cancel()
        if self.logic is not None:
            self.logic.cancel()
            self.logic.restoreLayout()
            self.logic.marks.remove()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        self._fillMethods()
        self._updatePanel()

    def exit(self) -> None:
        """Called each time the user opens another module; a run goes on."""
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """The parameter node is about to go; a run under way ends by itself."""
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """Start anew with an empty scene."""
        self._shownNodes = {}
        for label in (self.ui.verdictLabel, self.ui.noiseLabel, self.ui.measureLabel):
            _say(label, "")
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Take the parameter node of the scene, with the first volume as input where none is chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            first = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
            if first:
                self._parameterNode.inputVolume = first

    def setParameterNode(self, parameterNode: SliceInterpolationParameterNode | None) -> None:
        """Show and observe another parameter node; None lets go of the present one."""
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updatePanel)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._parameterNodeGuiTag = self._parameterNode.connectGui(self.ui)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updatePanel)
            self._updatePanel()

    # What the panel says

    def _fillMethods(self) -> None:
        from SliceInterpolationMRML.plan import methodChoices

        self._choices = methodChoices()
        _refill(self.ui.methodComboBox, [(label, name) for name, label, _line in self._choices])

    def _fillDevices(self) -> None:
        entries = [(_("automatic"), "auto")]
        for gpu in self._devices.get("gpus", []):
            entries.append(
                (
                    _("{name}, {free:.1f} GiB free").format(name=gpu["name"], free=gpu["free_gib"]),
                    gpu["device"],
                )
            )
        _refill(self.ui.deviceComboBox, [*entries, ("CPU", "cpu")])

    def _startProbe(self) -> None:
        """Ask PyTorch for its devices in a process of its own; the panel is usable meanwhile."""
        from SliceInterpolationMRML.dependencies import torchVersion
        from SliceInterpolationMRML.runner import POLL_MS, Run, RunError

        if not torchVersion() or (self._probe is not None and self._probe.running):
            return
        self._probe = Run(onFinished=self._onProbed, root=slicer.app.temporaryPath)
        try:
            self._probe.start([], module="SliceInterpolationMRML.computeProbe")
        except RunError as error:
            self._devices = {"problem": str(error)}
            return
        self._probeTimer = qt.QTimer()
        self._probeTimer.setInterval(POLL_MS)
        self._probeTimer.connect("timeout()", self._probe.poll)
        self._probeTimer.start()

    def _onProbed(self, outcome) -> None:
        if self._probeTimer is not None:
            self._probeTimer.stop()
        if outcome.state == "cancelled":
            return
        self._devices = dict(outcome.result) if outcome.state == "done" else {"problem": outcome.message}
        self._fillDevices()
        self._updatePanel()

    def _updatePanel(self, *_arguments) -> None:
        """Bring labels, tool tips and buttons up to date; called for every change of a choice."""
        if not self._parameterNode or self._updating:
            return
        self._updating = True
        try:
            self._updateChoices()
            self._updatePlan()
            self._updateButtons()
        finally:
            self._updating = False

    def _updateChoices(self) -> None:
        node = self._parameterNode
        _select(self.ui.methodComboBox, node.method)
        _select(self.ui.deviceComboBox, node.device)
        line = next((line for name, _label, line in self._choices if name == node.method), "")
        _say(self.ui.methodLabel, line)
        self.ui.strengthSlider.enabled = node.outputMode != OutputMode.INTERPOLATED
        self.ui.strengthSlider.toolTip = (
            _("How much of the noise is removed: 0 keeps the acquired slices.")
            if self.ui.strengthSlider.enabled
            else _("Only for denoised output; the acquired slices are kept exact.")
        )
        self.ui.factorComboBox.enabled = node.outputMode != OutputMode.DENOISE_ONLY
        self.ui.factorComboBox.toolTip = (
            _("How many times more slices.")
            if self.ui.factorComboBox.enabled
            else _("Denoising only makes no new slices.")
        )
        _say(self.ui.deviceLabel, self._deviceText())
        from SliceInterpolationMRML.dependencies import torchStateText, torchVersion

        _say(self.ui.torchLabel, _(torchStateText()))
        self.ui.installButton.enabled = not torchVersion()
        self.ui.installButton.toolTip = (
            _("Nothing to install.")
            if torchVersion()
            else _("Download and install PyTorch through its extension.")
        )

    def _deviceText(self) -> str:
        from SliceInterpolationMRML.dependencies import needsTorch, torchVersion

        node = self._parameterNode
        if not needsTorch(node.method):
            return _("CPU: this method needs no more.")
        if not torchVersion():
            return _("PyTorch is not installed yet.")
        if "problem" in self._devices:
            return self._devices["problem"]
        if not self._devices:
            return _("Looking for a GPU...")
        if node.device == "auto":
            return _("{reason}.").format(reason=self._devices["reason"])
        if node.device == "cpu":
            return _("CPU, as chosen.")
        return _("{device}, as chosen.").format(device=node.device)

    def _updatePlan(self) -> None:
        node = self._parameterNode
        self._plan = None
        if node.inputVolume is None:
            _say(self.ui.planLabel, _("Choose an input volume, or load the head phantom."))
            return
        self._plan = self.logic.plan(**self._options(), autoDevice=self._devices.get("device", "cpu"))
        problem = self._applyProblem()
        _say(self.ui.planLabel, problem or "\n".join([self._plan.text, *self._plan.remarks]))

    def _updateButtons(self) -> None:
        node, ui = self._parameterNode, self.ui
        running = self.logic.job.kind if self.logic.running else ""
        problem = self._applyProblem()
        noInput = "" if node.inputVolume else _("Choose an input volume first.")
        noResult = noInput or (
            "" if node.resultVolume else _("Interpolate first, or choose a result volume.")
        )
        noSegment = noInput or (
            "" if self.ui.segmentSelector.currentSegmentID() else _("Choose a segment first.")
        )
        if not noSegment and node.huLow >= node.huHigh:
            noSegment = _("The HU range is empty; its upper end must lie above its lower end.")
        noRegion = noInput or ("" if self.ui.regionSelector.currentNode() else _("Choose a region first."))
        missing = self._torchProblem(node.method)
        tasks = (
            ("interpolate", ui.applyButton, _("Interpolate"), problem, _("Make the interpolated volume.")),
            ("trust", ui.trustButton, _("Check trust"), noInput or missing,
             _("Predict withheld slices of this scan by the method and by linear, cubic and flow.")),
            ("noise", ui.noiseButton, _("Make noise maps"), noInput or missing,
             _("Show what the method would remove as noise, slice by slice.")),
        )  # fmt: skip
        for kind, button, text, reason, help_ in tasks:
            if running == kind:
                _state(button, "", _("End the run; nothing is changed."), _("Cancel"))
            else:
                _state(button, _(RUNNING_ELSEWHERE) if running else reason, help_, text)
        _state(ui.compareButton, noResult, _("Show original and result side by side."))
        shown = self.logic.comparing
        _state(
            ui.restoreLayoutButton,
            "" if shown else _("The compare view is off."),
            _("Back to the former layout."),
        )
        ui.shownComboBox.enabled = shown
        ui.shownComboBox.toolTip = (
            _("What the result side shows.") if shown else _("Switch on the compare view first.")
        )
        _state(ui.regionButton, noRegion, _("Mean, SD and range of scan and maps in the region, as a table."))
        _state(ui.measureButton, noSegment, _("Measure the segment on the acquired and on the result grid."))
        measured = "measure" in self._shownNodes
        _state(ui.exportButton, "" if measured else _("Measure first."), _("Save the table of measurements."))
        for kind, button in (
            ("trust", ui.trustPlotButton),
            ("noise", ui.noisePlotButton),
            ("measure", ui.measurePlotButton),
        ):
            noPlot = "" if kind in self._shownNodes else _("There is nothing to plot yet.")
            _state(button, noPlot, _("Show the plot in the views."))
        ui.progressBar.visible = bool(running)

    def _applyProblem(self) -> str:
        node = self._parameterNode
        if node.inputVolume is None:
            return _("Choose an input volume first.")
        if node.outputVolume is not None and node.outputVolume is node.inputVolume:
            return _("The output must be another volume than the input, which is never changed.")
        if self._plan is not None and self._plan.problem:
            return self._plan.text
        return self._torchProblem(node.method)

    def _torchProblem(self, method: str) -> str:
        """Why a method cannot run for want of PyTorch; empty where it is there or can still be asked for."""
        from SliceInterpolationMRML.dependencies import (
            canAskForTorch,
            needsTorch,
            torchStateText,
            torchVersion,
        )

        if not needsTorch(method) or torchVersion() or canAskForTorch():
            return ""
        return _(torchStateText())

    def _options(self) -> dict[str, Any]:
        """The choices of the panel as arguments of the logic."""
        node = self._parameterNode
        return {
            "inputNode": node.inputVolume,
            "factor": node.factor.value,
            "method": node.method,
            "outputMode": node.outputMode.value,
            "strength": node.strength,
            "axis": node.sliceAxis.value,
            "device": node.device,
            "force": node.force,
        }

    # What the user does

    def onMethodChosen(self, index: int) -> None:
        """Keep the method in the parameter node."""
        if self._parameterNode and not self._updating and index >= 0:
            self._parameterNode.method = self.ui.methodComboBox.itemData(index)

    def onDeviceChosen(self, index: int) -> None:
        """Keep the device in the parameter node."""
        if self._parameterNode and not self._updating and index >= 0:
            self._parameterNode.device = self.ui.deviceComboBox.itemData(index)

    def onShownChosen(self, index: int) -> None:
        """Switch what the result side of the compare view shows."""
        if self._parameterNode and self.logic.comparing and index >= 0:
            with slicer.util.tryWithErrorDisplay(_("This cannot be shown."), waitCursor=True):
                self.logic.setShown(list(Shown)[index].value)

    def onApplyButton(self, checked: bool = False) -> None:
        """Interpolate, or cancel."""
        self._startOrCancel(
            "interpolate",
            lambda: self.logic.interpolate(
                **self._options(),
                outputNode=self._parameterNode.outputVolume,
                wait=False,
                onProgress=self.onProgress,
                onFinished=self.onFinished,
            ),
        )

    def onSlabChanged(self, thicknessMm: float) -> None:
        """Show slabs of this thickness in the compare views."""
        if self.logic.comparing:
            self.logic.setSlab(thicknessMm)

    def onPlotButton(self, kind: str) -> None:
        """Show the plot of the trust check, the noise maps or the measurement."""
        with slicer.util.tryWithErrorDisplay(_("The plot cannot be shown.")):
            self.logic.showPlot(self._shownNodes[kind]["plot"])

    def onTrustButton(self, checked: bool = False) -> None:
        """Start the trust check, or cancel it."""
        self._startOrCancel("trust", lambda: self.logic.trust(**self._runOptions()))

    def onNoiseButton(self, checked: bool = False) -> None:
        """Start the noise maps, or cancel."""
        node = self._parameterNode
        self._startOrCancel(
            "noise", lambda: self.logic.noise(resultNode=node.resultVolume, **self._runOptions())
        )

    def _runOptions(self) -> dict[str, Any]:
        node = self._parameterNode
        return {
            "inputNode": node.inputVolume,
            "method": node.method,
            "device": node.device,
            "wait": False,
            "onProgress": self.onProgress,
            "onFinished": self.onFinished,
        }

    def _startOrCancel(self, kind: str, start: Callable[[], Any]) -> None:
        if self.logic.running:
            if self.logic.job.kind == kind:
                self.logic.cancel()
            return
        _say(self.ui.statusLabel, _("Starting..."))
        self.ui.progressBar.setRange(0, 0)  # busy until the first slice
        try:
            with slicer.util.tryWithErrorDisplay(_("The run could not be started.")):
                try:
                    start()
                except Exception as error:
                    _say(self.ui.statusLabel, str(error))
                    raise
        finally:
            self._updatePanel()

    def onProgress(self, entry: dict[str, Any]) -> None:
        """Show stage, slice and time left."""
        from SliceInterpolationMRML.jobs import progressText

        text = progressText(entry)
        if text:
            self.ui.progressBar.setRange(0, max(entry["total"], 1))
            self.ui.progressBar.value = entry["done"]
            _say(self.ui.statusLabel, text)

    def onFinished(self, job) -> None:
        """A run is over: show the result, or say why there is none."""
        if job.state == "done":
            self._onDone(job)
        else:
            _say(self.ui.statusLabel, job.message)
            if job.state != "cancelled":
                slicer.util.errorDisplay(job.message, windowTitle=_("Slice Interpolation"))
        self._updatePanel()

    def _onDone(self, job) -> None:
        from SliceInterpolationMRML.plan import formatSeconds

        said = [remark for remark in job.remarks if not remark.startswith("Device:")]
        said += [_("Done in {time}.").format(time=formatSeconds(job.seconds))]
        if job.kind == "trust":
            _say(self.ui.verdictLabel, "\n".join(job.result["said"]))
            self._shownNodes["trust"] = job.result["nodes"]
            said = said[-1:]
        elif job.kind == "noise":
            _say(self.ui.noiseLabel, job.result["summary"])
            self._shownNodes["noise"] = job.result["nodes"]
            said = said[-1:]
        else:
            node = self._parameterNode or self.logic.getParameterNode()  # the user may be in another module
            node.resultVolume = job.result
            if node.outputMode != OutputMode.INTERPOLATED:
                node.denoisedVolume = job.result
        _say(self.ui.statusLabel, "\n".join(said))
        if job.kind == "interpolate" and self._parameterNode:
            with slicer.util.tryWithErrorDisplay(_("The result cannot be shown.")):
                if self._parameterNode.showComparison:
                    self._compare(job.inputNode, job.result)
                else:
                    slicer.util.setSliceViewerLayers(background=job.result)
                    self.logic.marks.update()

    def onCompareButton(self, checked: bool = False) -> None:
        """Switch on the compare view."""
        with slicer.util.tryWithErrorDisplay(_("The compare view cannot be shown."), waitCursor=True):
            self._compare(self._parameterNode.inputVolume, self._parameterNode.resultVolume)
        self._updatePanel()

    def _compare(self, original, result) -> None:
        self._parameterNode.shown = Shown.RESULT
        self.logic.compare(original, result, byRows=self._parameterNode.arrangement == Arrangement.ROWS)
        self.logic.setSlab(self._parameterNode.slabMm)

    def onRestoreLayoutButton(self, checked: bool = False) -> None:
        """Back to the former layout."""
        self.logic.restoreLayout()
        self._updatePanel()

    def onRegionButton(self, checked: bool = False) -> None:
        """Statistics of the scan and of the noise maps in a region."""
        with slicer.util.tryWithErrorDisplay(_("The region cannot be measured."), waitCursor=True):
            self.logic.regionStatistics(self._parameterNode.inputVolume, self.ui.regionSelector.currentNode())
            _say(self.ui.noiseLabel, _("The statistics are in a new table."))

    def onMeasureButton(self, checked: bool = False) -> None:
        """Measure the segment."""
        node, selector = self._parameterNode, self.ui.segmentSelector
        with slicer.util.tryWithErrorDisplay(_("The segment cannot be measured."), waitCursor=True):
            measured = self.logic.measure(
                node.inputVolume,
                selector.currentNode(),
                selector.currentSegmentID(),
                resultNode=node.resultVolume,
                denoisedNode=node.denoisedVolume,
                huRange=(node.huLow, node.huHigh),
                marginMm=node.marginMm,
                keepEdits=node.keepEdits,
            )
            self._shownNodes["measure"] = measured
            _say(self.ui.measureLabel, measured["summary"])
        self._updatePanel()

    def onExportButton(self, checked: bool = False) -> None:
        """Save the measurements as CSV."""
        path = qt.QFileDialog.getSaveFileName(None, _("Save measurements"), "hematoma.csv", "CSV (*.csv)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The table cannot be saved.")):
                self.logic.saveTable(self._shownNodes["measure"]["table"], path)

    def onInstallButton(self, checked: bool = False) -> None:
        """Install PyTorch, after asking."""
        from SliceInterpolationMRML.dependencies import ensureTorch

        with slicer.util.tryWithErrorDisplay(_("PyTorch is not installed."), waitCursor=True):
            try:
                ensureTorch(askAgain=True)
            finally:
                self._startProbe()
                self._updatePanel()

    def onOpenModelsButton(self, checked: bool = False) -> None:
        """Open the folder of the user's own models."""
        folder = self.logic.modelsFolder()
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def onClearModelsButton(self, checked: bool = False) -> None:
        """Delete the user's own models, after asking."""
        names = self.logic.userModels()
        if not names:
            _say(self.ui.statusLabel, _("There are no models of your own."))
            return
        if slicer.util.confirmOkCancelDisplay(
            _("Delete these models? {names}").format(names=", ".join(names))
        ):
            with slicer.util.tryWithErrorDisplay(_("The models cannot be deleted.")):
                self.logic.clearUserModels()
            self._fillMethods()
            if self._parameterNode.method in names:
                self._parameterNode.method = "default"
            self._updatePanel()

    def onSamplePhantomButton(self, checked: bool = False) -> None:
        """Load the head phantom as input."""
        volumeNode, segmentationNode = loadSampleData()
        self._parameterNode.inputVolume = volumeNode
        if segmentationNode is not None:
            self.ui.segmentSelector.setCurrentNode(segmentationNode)


class SliceInterpolationLogic(ScriptedLoadableModuleLogic):
    """What the panel can do, for the Python console and for other modules.

    One run at a time; with `wait=False` a call returns at once and `onProgress(dict)` and `onFinished(job)` tell how
    it goes.

    Example::

        logic = SliceInterpolationLogic()
        result = logic.interpolate(slicer.util.getNode("CTHead"))
        print(logic.trust(slicer.util.getNode("CTHead"))["verdict"])
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self.job = None
        self._marks = None
        self._compareView = None

    def getParameterNode(self):
        """The choices of the panel, with types."""
        return SliceInterpolationParameterNode(super().getParameterNode())

    # Runs in a process of their own

    def plan(self, inputNode, autoDevice: str = "cpu", **options):
        """What `interpolate` would do with these arguments, as `SliceInterpolationMRML.plan.Plan`; takes no time.

        Example::

            print(logic.plan(node, factor=2).text)  # 30 slices at 5.0 mm -> 59 at 2.5 mm, about 8 s on CPU.
        """
        from SliceInterpolationLib.errors import InputError
        from SliceInterpolationMRML.nodes import volumeFromNode
        from SliceInterpolationMRML.plan import Plan, planRun, rateKey

        device = options.pop("device", "auto")
        device = autoDevice if device == "auto" else device
        key = rateKey(options.get("method", "default"), device)
        stored = slicer.util.settingsValue(f"{MODULE_NAME}/SecondsPerMegapixel/{key}", 0.0, converter=float)
        try:
            volume = volumeFromNode(inputNode)
        except InputError as error:
            return Plan(str(error), problem=True)
        return planRun(volume, device=device, rates={key: stored} if stored else None, **options)

    def interpolate(
        self,
        inputNode,
        factor=2,
        method: str = "default",
        outputMode: str = "interpolated",
        strength: float = 0.5,
        axis: str = "auto",
        device: str = "auto",
        force: bool = False,
        outputNode=None,
        wait: bool = True,
        onProgress: Callable[[dict], None] | None = None,
        onFinished: Callable[[Any], None] | None = None,
    ):
        """Put new slices between those of a scalar volume node; the input is not changed.

        factor: 2, 3, ... or "isotropic". method: "default", a model, or nearest, linear, cubic, bspline, flow.
        outputMode: "interpolated" (acquired slices kept exact), "denoised" or "denoise-only", with a strength from
        0 to 1. axis: "auto", "i", "j" or "k". device: "auto", "cpu", "cuda:N". force: in spite of warnings.
        outputNode: filled instead of a new node. Returns the output node, or with wait=False the job.
        Raises InputError for input that cannot be interpolated, RunError where the run fails.

        Example::

            result = SliceInterpolationLogic().interpolate(node, factor=2)
            logic.interpolate(node, wait=False, onFinished=lambda job: print(job.state, job.result))
        """
        from SliceInterpolationMRML.jobs import interpolationJob

        def finished(job) -> None:
            if job.state == "done":
                self._rememberSpeed(job, options)
            if onFinished is not None:
                onFinished(job)

        options = {
            "factor": factor,
            "method": method,
            "outputMode": outputMode,
            "strength": strength,
            "axis": axis,
            "device": device,
            "force": force,
        }
        return self._start(
            lambda: interpolationJob(
                inputNode, outputNode, onProgress=onProgress, onFinished=finished, **options
            ),
            method,
            wait,
        )

    def trust(
        self,
        inputNode,
        method: str = "default",
        device: str = "auto",
        wait: bool = True,
        onProgress=None,
        onFinished=None,
    ):
        """Predict withheld slices of a scan by a method and by linear, cubic and flow; a table and a plot.

        Returns the report as a dict ("verdict", "trusted", "means", "rows", ..., "nodes"), or the job.

        Example::

            print(logic.trust(node)["verdict"])
        """
        from SliceInterpolationMRML.jobs import trustJob

        return self._start(
            lambda: trustJob(inputNode, method, device, onProgress=onProgress, onFinished=onFinished),
            method,
            wait,
        )

    def noise(
        self,
        inputNode,
        resultNode=None,
        method: str = "default",
        device: str = "auto",
        wait: bool = True,
        onProgress=None,
        onFinished=None,
    ):
        """Residual and noise-SD maps of a scan, a table and a plot by slice, and the noise alternation.

        resultNode: an interpolated volume whose alternation is shown beside. Returns a dict with the text "summary"
        and the "nodes" by name, or the job.

        Example::

            nodes = logic.noise(node, result)["nodes"]
            slicer.util.setSliceViewerLayers(foreground=nodes["residual"], foregroundOpacity=0.5)
        """
        from SliceInterpolationMRML.jobs import noiseJob

        return self._start(
            lambda: noiseJob(
                inputNode, resultNode, method, device, onProgress=onProgress, onFinished=onFinished
            ),
            method,
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

    def _start(self, makeJob: Callable[[], Any], method: str, wait: bool):
        from SliceInterpolationLib.errors import InputError
        from SliceInterpolationMRML.dependencies import ensureTorch, needsTorch

        if self.running:
            raise InputError(_(RUNNING_ELSEWHERE))
        if needsTorch(method):
            ensureTorch()
        self.job = makeJob()
        self.job.start()
        if wait:
            return self.job.wait().result
        return self.job.followByTimer()

    def _rememberSpeed(self, job, options: dict[str, Any]) -> None:
        """For the estimates of later runs on this computer."""
        from SliceInterpolationMRML.nodes import volumeFromNode
        from SliceInterpolationMRML.plan import measuredRate

        volume = volumeFromNode(job.inputNode)
        if options["axis"] != "auto":
            volume = volume.along(options["axis"])
        factor = volumeFromNode(job.result).history[-1]["factor"]
        key, rate = measuredRate(
            volume, factor, options["method"], options["outputMode"], job.remarks, job.seconds
        )
        slicer.app.userSettings().setValue(f"{MODULE_NAME}/SecondsPerMegapixel/{key}", rate)

    # Views

    @property
    def marks(self):
        """The marks that tell acquired from synthesized slices in the views."""
        if self._marks is None:
            from SliceInterpolationMRML.sliceMarks import SliceMarks

            self._marks = SliceMarks()
        return self._marks

    @property
    def comparing(self) -> bool:
        """True while the compare view is on."""
        return self._compareView is not None and self._compareView.isShown

    def compare(self, originalNode, resultNode, byRows: bool = True):
        """Show a scan and its result linked, side by side; returns the `CompareView`.

        Example::

            logic.compare(scan, result)
            logic.setShown("difference")
            logic.restoreLayout()
        """
        if self._compareView is None:
            from SliceInterpolationMRML.compareView import CompareView

            self._compareView = CompareView(self.marks)
        self._compareView.show(originalNode, resultNode, byRows)
        return self._compareView

    def setShown(self, what: str) -> None:
        """Let the result side show "result", "original", "linear" or "difference"."""
        if self._compareView is not None:
            self._compareView.setShown(what)

    def setSlab(self, thicknessMm: float) -> None:
        """Let the compare views show the mean over a slab of this thickness, 0 for single planes."""
        if self.comparing:
            self._compareView.setSlab(thicknessMm)

    def showPlot(self, chartNode) -> None:
        """Show a plot in the views; the layout changes where it has no place for one."""
        from SliceInterpolationMRML.tablesAndPlots import showChart

        showChart(chartNode)

    def restoreLayout(self) -> None:
        """Back to the layout before `compare`."""
        if self.comparing:
            self._compareView.restore()

    # Figures

    def regionStatistics(self, scanNode, regionNode, volumeNodes=None):
        """Mean, SD and range in a markups ROI or a segmentation, as a table node.

        volumeNodes: by default the scan and the residual and noise-SD maps that were made of it.

        Example::

            table = logic.regionStatistics(scan, slicer.util.getNode("R"))
        """
        from SliceInterpolationMRML.noiseDisplay import showRegionStatistics

        if volumeNodes is None:
            names = [f"{scanNode.GetName()} {kind}" for kind in ("residual", "noise SD")]
            found = [slicer.mrmlScene.GetFirstNodeByName(name) for name in names]
            volumeNodes = [scanNode, *(node for node in found if node is not None)]
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
    ) -> dict[str, Any]:
        """Measure segments on the acquired grid and, carried over by their shape, on the grid of the result.

        segmentIds: one ID or several; all segments by default. denoisedNode: the volume on which the HU range is
        applied within the margin; the result by default. keepEdits: measure the segments on the result grid as
        they are there, corrected by hand. The drawn segments stay as they are. Returns a dict: "rows" (one a
        segment and grid), "table", "plot" and "summary".

        Example::

            measured = logic.measure(scan, segmentation, resultNode=result)
            print(measured["summary"])
            logic.saveTable(measured["table"], "hematoma.csv")
        """
        from SliceInterpolationMRML.measurement import measureSegments, showMeasurement

        if isinstance(segmentIds, str):
            segmentIds = [segmentIds]
        rows = measureSegments(
            inputNode,
            segmentationNode,
            segmentIds,
            resultNode,
            denoisedNode,
            tuple(huRange),
            marginMm,
            keepEdits,
        )
        lines = [
            f"{row['segment']}, {row['grid']}: {row['volume_ml']:.2f} mL"
            + (f" ({row['difference_percent']:+.1f}%)" if row["grid"] != "acquired" else "")
            for row in rows
        ]
        return {"rows": rows, "summary": "\n".join(lines), **showMeasurement(rows, inputNode)}

    def saveTable(self, tableNode, path: str) -> None:
        """Write a table node as CSV."""
        from SliceInterpolationMRML.tablesAndPlots import writeTable

        writeTable(tableNode, path)

    # Models of the user

    def modelsFolder(self) -> Path:
        """The folder of the user's own models; made where it does not exist yet."""
        from SliceInterpolationLib.catalogue import user_folder

        folder = user_folder()
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def userModels(self) -> list[str]:
        """Names of the user's own models."""
        from SliceInterpolationLib.catalogue import list_models

        return [model.name for model in list_models() if not model.bundled]

    def clearUserModels(self) -> None:
        """Delete the user's own models; the bundled ones stay."""
        from SliceInterpolationLib.catalogue import remove_model

        for name in self.userModels():
            remove_model(name)


def _refill(comboBox, entries: list[tuple[str, str]]) -> None:
    """Replace the entries of a combo box by (text, data) pairs, without telling anyone, selection kept."""
    blocked = comboBox.blockSignals(True)
    chosen = comboBox.itemData(comboBox.currentIndex) if comboBox.count else None
    comboBox.clear()
    for text, data in entries:
        comboBox.addItem(text, data)
    comboBox.currentIndex = max(comboBox.findData(chosen), 0) if chosen is not None else 0
    comboBox.blockSignals(blocked)


def _select(comboBox, data: str) -> None:
    """Show the entry with this data; one that is gone (a removed model, another computer's GPU) is listed by name."""
    index = comboBox.findData(data)
    if index < 0:
        comboBox.addItem(_("{name} (not available)").format(name=data), data)
        index = comboBox.count - 1
    if comboBox.currentIndex != index:
        comboBox.currentIndex = index


def _say(label, text: str) -> None:
    """Show a text; an empty label takes no room."""
    label.text = text
    label.visible = bool(text)


def _state(button, problem: str, help_: str, text: str = "") -> None:
    """Enable a button, or disable it with the reason in its tool tip."""
    button.enabled = not problem
    button.toolTip = problem or help_
    if text:
        button.text = text


class SliceInterpolationTest(ScriptedLoadableModuleTest):
    """A short self test for "Reload and Test"; the whole of it is in Testing/Slicer of the source tree."""

    def setUp(self) -> None:
        """Start from an empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        """Run the test."""
        self.setUp()
        self.test_interpolatePhantom()

    def test_interpolatePhantom(self) -> None:
        """Linear interpolation of a small phantom through the subprocess: sizes, geometry, acquired slices exact."""
        from SliceInterpolationMRML.sampleData import loadPhantom

        self.delayDisplay("Making a small head phantom")
        scan, _segmentation = loadPhantom(
            size=64, pixel_spacing=3.6, slices=12, slice_spacing=12.0, slice_thickness=12.0
        )
        before = slicer.util.arrayFromVolume(scan).copy()
        result = SliceInterpolationLogic().interpolate(scan, factor=2, method="linear")
        after = slicer.util.arrayFromVolume(result)
        self.assertEqual(after.shape, (23, 64, 64))
        self.assertTrue((after[::2] == before).all())
        self.assertAlmostEqual(result.GetSpacing()[2], 6.0, places=3)
        self.assertEqual(result.GetOrigin(), scan.GetOrigin())
        self.assertTrue((slicer.util.arrayFromVolume(scan) == before).all())
        self.delayDisplay("Test passed")
