"""The panel: it gathers what is chosen, asks the logic, and shows what `state` says."""

from __future__ import annotations

import sys
import time
from typing import Any, Callable

import qt
import slicer
import vtk
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from SliceInterpolationLib.interpolators import CLASSICAL

from ..i18n import _
from ..nodes import isSameGrid
from ..parameters import Arrangement, Shown, SliceInterpolationParameterNode
from ..run.dicomFiles import isFromDicom, newFolderIn
from ..run.estimate import TimeLeft
from ..views import shared
from . import state
from .batch import BatchSection
from .labels import LineKeeper, say
from .logic import SliceInterpolationLogic
from .shortcuts import Shortcuts

_PACKAGES = ("SliceInterpolationLib", "SliceInterpolationMRML")


class SliceInterpolationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Every action goes through the logic; this class shows its state and asks."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: SliceInterpolationLogic | None = None
        self._parameterNode = None
        self._connected: tuple[SliceInterpolationParameterNode, int] | None = None
        self._methods: list[tuple[str, str, str]] = []
        self._probe = None
        self._probeTimer = None
        self._devices: dict[str, Any] = {}
        self._figuredScans: dict[str, str] = {}  # kind of figures -> ID of the scan that they are about
        self._takenUpFor: str | None = None
        self._updating = False
        self._expected: dict[str, float] = {}  # kind of run -> seconds
        self._timeLeft = TimeLeft()
        self._shortcuts: Shortcuts | None = None

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
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAddedEvent, self.onNodeAdded)
        # After the selectors, whose lists stand still while a scene is loaded.
        self.addObserver(
            slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport, priority=-1.0
        )
        self.ui.methodComboBox.connect("currentIndexChanged(int)", self.onMethodChosen)
        self.ui.deviceComboBox.connect("currentIndexChanged(int)", self.onDeviceChosen)
        self.ui.arrangementComboBox.connect("currentIndexChanged(int)", self.onArrangementChosen)
        self.ui.shownComboBox.connect("currentIndexChanged(int)", self.onShownChosen)
        self.ui.mapComboBox.connect("currentIndexChanged(int)", self.onMapChosen)
        self.ui.segmentSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._updatePanel)
        self.ui.segmentSelector.connect("currentSegmentChanged(QString)", self._updatePanel)
        self.ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._updatePanel)
        for button, slot in (
            (self.ui.applyButton, self.onApplyButton),
            (self.ui.compareButton, self.onCompareButton),
            (self.ui.restoreLayoutButton, self.onRestoreLayoutButton),
            (self.ui.cineButton, self.onCineButton),
            (self.ui.trustButton, self.onTrustButton),
            (self.ui.trustPlotButton, lambda checked=False: self.onPlotButton("trust")),
            (self.ui.noiseButton, self.onNoiseButton),
            (self.ui.noisePlotButton, lambda checked=False: self.onPlotButton("noise")),
            (self.ui.regionButton, self.onRegionButton),
            (self.ui.measureButton, self.onMeasureButton),
            (self.ui.measurePlotButton, lambda checked=False: self.onPlotButton("measure")),
            (self.ui.trustTableButton, lambda checked=False: self.onTableButton("trust")),
            (self.ui.noiseTableButton, lambda checked=False: self.onTableButton("noise")),
            (self.ui.trustMeansButton, lambda checked=False: self.onTableButton("trust", "means")),
            (
                self.ui.noiseBeforePlotButton,
                lambda checked=False: self.onPlotButton("noise", "alternationPlot"),
            ),
            (
                self.ui.noiseBeforeTableButton,
                lambda checked=False: self.onTableButton("noise", "alternationTable"),
            ),
            (self.ui.measureTableButton, lambda checked=False: self.onTableButton("measure")),
            (self.ui.exportButton, self.onExportButton),
            (self.ui.reportButton, self.onReportButton),
            (self.ui.dicomButton, self.onDicomButton),
            (self.ui.installButton, self.onInstallButton),
            (self.ui.openModelsButton, self.onOpenModelsButton),
            (self.ui.clearModelsButton, self.onClearModelsButton),
            (self.ui.samplePhantomButton, self.onSamplePhantomButton),
        ):
            button.connect("clicked(bool)", slot)
        self.ui.renewedCheckBox.connect("toggled(bool)", self.onRenewedToggled)
        self.ui.slabSpinBox.connect("valueChanged(double)", self.onSlabChanged)
        self._lineKeeper = LineKeeper()
        for label in self._labels():
            self._lineKeeper.watch(label)
            say(label, "")
        self.logic.compareView.follow(self.onComparisonChanged)
        self.batch = BatchSection(
            self.ui.batchPlace,
            self.resourcePath("UI/SliceInterpolationBatch.ui"),
            lambda: self._parameterNode.request(),
            self.onStudyOpened,
        )
        self._shortcuts = Shortcuts(
            self.parent,
            {
                state.SWITCH_KEY: self.onSwitchKey,
                state.NEXT_KEY: lambda: self.onStepKey(1),
                state.PREVIOUS_KEY: lambda: self.onStepKey(-1),
                state.DIFFERENCE_KEY: self.onDifferenceKey,
            },
        )
        self._fillMethods()
        self._fillDevices()
        self.initializeParameterNode()
        self._startProbe()

    def cleanup(self) -> None:
        """Called when the application closes, or when the module is reloaded."""
        self.setParameterNode(None)
        self._disconnect()
        self.removeObservers()
        if self._probe is not None:
            self._probe.cancel()
        if self.logic is not None:
            self.batch.cleanup()
            self.logic.cancel()
            shared.remove()
        if self._shortcuts is not None:
            self._shortcuts.remove()

    def onReload(self) -> None:
        """Reload the module with its packages, not only the module file, which does nothing but wire them."""
        for name in [name for name in sys.modules if name.split(".")[0] in _PACKAGES]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self) -> None:
        """Called each time the user opens this module."""
        self.initializeParameterNode()
        self._fillMethods()
        self._shortcuts.setEnabled(True)
        self._updatePanel()

    def exit(self) -> None:
        """Called each time the user opens another module; a run goes on."""
        self._shortcuts.setEnabled(False)
        self.logic.play(False)
        self.setParameterNode(None)

    def onSceneStartClose(self, caller, event) -> None:
        """The parameter node is about to go; a run under way ends by itself."""
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event) -> None:
        """Start anew with an empty scene."""
        self._takeUpFigures(None)
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onSceneEndImport(self, caller, event) -> None:
        """Show what was loaded."""
        self._takenUpFor = None
        if self.parent.isEntered:
            self.initializeParameterNode()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def onNodeAdded(self, caller, event, node) -> None:
        """Take the first volume that is loaded into an empty scene as the input."""
        if node.IsA("vtkMRMLScalarVolumeNode") and self._parameterNode and not caller.IsBatchProcessing():
            # Its voxels and geometry come after it.
            qt.QTimer.singleShot(0, self._chooseInput)

    def _chooseInput(self) -> None:
        if self._parameterNode and self.parent.isEntered:
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
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updatePanel)
        self._parameterNode = parameterNode
        if self._parameterNode:
            self._connect(self._parameterNode)
            self.addObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._updatePanel)
            self._updatePanel()

    def _connect(self, parameterNode: SliceInterpolationParameterNode) -> None:
        """Bind the widgets of the .ui file to a parameter node, and bring them up to date.

        They stay bound when the panel is left: Slicer before 5.12 leaves an observer behind with each
        `disconnectGui`, which keeps the wrapper of the node alive.
        """
        if self._connected is not None and self._connected[0] is parameterNode:
            # Twice: VTK calls the first observer of an object last, so that the widgets may be told before the
            # wrapper has read the new value of its first parameter.
            parameterNode.parameterNode.Modified()
            parameterNode.parameterNode.Modified()
            return
        self._disconnect()
        self._connected = parameterNode, parameterNode.connectGui(self.ui)

    def _disconnect(self) -> None:
        if self._connected is not None:
            parameterNode, tag = self._connected
            parameterNode.disconnectGui(tag)
            self._connected = None

    # What the panel says

    def _fillMethods(self) -> None:
        from .methods import methodChoices

        self._methods = methodChoices()
        say(self.ui.modelsLabel, state.unusableText(self.logic.unusableModels()))
        _refill(self.ui.methodComboBox, [(label, name) for name, label, _line in self._methods])

    def _fillDevices(self) -> None:
        _refill(self.ui.deviceComboBox, state.deviceEntries(self._devices))

    def _startProbe(self) -> None:
        """Ask PyTorch for its devices in a process of its own; the panel is usable meanwhile."""
        from ..run.dependencies import torchVersion
        from ..run.process import POLL_MS, Run, RunError

        if not torchVersion() or (self._probe is not None and self._probe.running):
            return
        self._probe = Run(onFinished=self._onProbed, root=slicer.app.temporaryPath)
        try:
            self._probe.start([], module="SliceInterpolationMRML.run.probe")
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
            scan = self._parameterNode.inputVolume
            if (scan.GetID() if scan is not None else "") != self._takenUpFor:
                self._takeUpFigures(scan)
            self._show(self._choices())
        finally:
            self._updating = False

    def _takeUpFigures(self, scanNode) -> None:
        """Show what was found about a scan before, in this session or in the one that saved the scene."""
        self._takenUpFor = scanNode.GetID() if scanNode is not None else ""
        self._figuredScans = dict.fromkeys(self.logic.figures(scanNode), self._takenUpFor)
        for kind, label in self._findingLabels().items():
            method, lines = self.logic.findings(scanNode, kind)
            say(label, state.aboutScan(scanNode.GetName(), method, lines) if lines else "")

    def _labels(self) -> list[Any]:
        """All labels whose texts may take several lines."""
        return [widget for name, widget in vars(self.ui).items() if name.endswith("Label")]

    def _findingLabels(self) -> dict[str, Any]:
        return {"trust": self.ui.verdictLabel, "noise": self.ui.noiseLabel, "measure": self.ui.measureLabel}

    def _figures(self, kind: str) -> dict[str, Any]:
        """The nodes that the panel shows of a kind of figures; those that were removed are not there."""
        scan = slicer.mrmlScene.GetNodeByID(self._figuredScans.get(kind, ""))
        return self.logic.figures(scan).get(kind, {})

    def _choices(self) -> state.Choices:
        """What is chosen, there and going on, as plain values."""
        from ..run.dependencies import (
            canAskForTorch,
            hasTorchExtension,
            needsTorch,
            torchStateText,
            torchVersion,
        )

        node, request = self._parameterNode, self._parameterNode.request()
        plan, trustPlan = None, None
        if node.inputVolume is not None:
            device = self._devices.get("device", "cpu")
            trustPlan = self.logic.trustPlan(node.inputVolume, request, device, node.slicesToScore())
            plan = self.logic.plan(node.inputVolume, request, device, self._estimatesError())
        self._expected = {
            "interpolate": plan.seconds if plan is not None else 0.0,
            "trust": trustPlan.seconds if trustPlan is not None else 0.0,
        }
        installed = torchVersion() is not None
        canRun = not needsTorch(request.method) or installed or canAskForTorch()
        return state.Choices(
            request=request,
            hasInput=node.inputVolume is not None,
            hasResult=node.resultVolume is not None,
            fromDicom=isFromDicom(node.inputVolume),
            hasSegment=bool(self.ui.segmentSelector.currentSegmentID()),
            hasRegion=self.ui.regionSelector.currentNode() is not None,
            outputIsInput=node.outputVolume is not None and node.outputVolume is node.inputVolume,
            planned="\n".join([plan.text, *plan.remarks]) if plan is not None else "",
            planRefused=plan is not None and plan.problem,
            noTorch="" if canRun else torchStateText(),
            trustPlanned=trustPlan.text if trustPlan is not None else "",
            trustRefused=trustPlan is not None and trustPlan.problem,
            torchInstalled=installed,
            torchExtension=hasTorchExtension(),
            running=self.logic.job.kind if self.logic.running else "",
            comparing=self.logic.comparing,
            canRestoreLayout=self.logic.canRestoreLayout,
            shown=frozenset(kind for kind in self._figuredScans if "plot" in self._figures(kind)),
            maps=tuple(self.logic.maps(node.inputVolume, node.resultVolume)),
            huLow=node.huLow,
            huHigh=node.huHigh,
        )

    def _estimatesError(self) -> bool:
        """Whether the run is asked for a map of its error, which only networks can make."""
        return self._parameterNode.estimateError and self._parameterNode.method not in CLASSICAL

    def _show(self, choices: state.Choices) -> None:
        from ..run.dependencies import needsTorch, torchStateText

        ui, request = self.ui, choices.request
        _select(ui.methodComboBox, request.method)
        _select(ui.deviceComboBox, request.device)
        say(
            ui.methodLabel, next((line for name, _label, line in self._methods if name == request.method), "")
        )
        say(ui.deviceLabel, state.deviceText(choices, needsTorch(request.method), self._devices))
        say(ui.torchLabel, torchStateText())
        say(ui.planLabel, state.planText(choices))
        say(ui.trustPlanLabel, state.trustText(choices))
        _refill(ui.mapComboBox, state.mapEntries(choices.maps))
        for name, look in state.looks(choices).items():
            widget = getattr(ui, name)
            widget.enabled, widget.toolTip = look.enabled, look.toolTip
            if look.text:
                widget.text = look.text
        ui.progressBar.visible = bool(choices.running)

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
        node = self._parameterNode
        self._startOrCancel(
            "interpolate",
            lambda callbacks: self.logic.interpolate(
                node.inputVolume,
                node.request(),
                outputNode=node.outputVolume,
                uncertainty=self._estimatesError(),
                **callbacks,
            ),
        )

    def onSlabChanged(self, thicknessMm: float) -> None:
        """Show slabs of this thickness in the compare views."""
        if self.logic.comparing:
            self.logic.setSlab(thicknessMm)

    def onPlotButton(self, kind: str, name: str = "plot") -> None:
        """Show a plot of the trust check, the noise maps or the measurement."""
        with slicer.util.tryWithErrorDisplay(_("The plot cannot be shown.")):
            self.logic.showPlot(self._figures(kind)[name])
        self._updatePanel()

    def onTableButton(self, kind: str, name: str = "") -> None:
        """Show a table of the trust check, the noise maps or the measurement."""
        with slicer.util.tryWithErrorDisplay(_("The table cannot be shown.")):
            self.logic.showTable(slicer.mrmlScene.GetNodeByID(self._figuredScans[kind]), kind, name)
        self._updatePanel()

    def onMapChosen(self, index: int) -> None:
        """Lay a map over the views of its volume, or take it off."""
        node = self._parameterNode
        if node and not self._updating and index >= 0:
            name = self.ui.mapComboBox.itemData(index)
            with slicer.util.tryWithErrorDisplay(_("The map cannot be shown.")):
                self.logic.showMap(node.inputVolume, name, node.resultVolume)

    def onReportButton(self, checked: bool = False) -> None:
        """Ask for a file and write the report, or cancel."""
        node = self._parameterNode
        path = ""
        if not self.logic.running:
            path = qt.QFileDialog.getSaveFileName(None, _("Save report"), "report.html", "HTML (*.html)")
            if not path:
                return
        self._startOrCancel(
            "report",
            lambda callbacks: self.logic.saveReport(
                node.inputVolume, path, node.resultVolume, self.ui.reportTitleLineEdit.text, **callbacks
            ),
        )

    def onDicomButton(self, checked: bool = False) -> None:
        """Ask for a folder and write the result as DICOM, or cancel."""
        node = self._parameterNode
        path = ""
        if not self.logic.running:
            chosen = qt.QFileDialog.getExistingDirectory(None, _("Save as DICOM"))
            if not chosen:
                return
            path = newFolderIn(chosen)
        self._startOrCancel(
            "dicom",
            lambda callbacks: self.logic.saveDicom(node.inputVolume, node.resultVolume, path, **callbacks),
        )

    def onTrustButton(self, checked: bool = False) -> None:
        """Start the trust check, or cancel it."""
        node = self._parameterNode
        self._startOrCancel(
            "trust",
            lambda callbacks: self.logic.trust(
                node.inputVolume, node.request(), node.slicesToScore(), **callbacks
            ),
        )

    def onNoiseButton(self, checked: bool = False) -> None:
        """Start the noise maps, or cancel."""
        node = self._parameterNode
        self._startOrCancel(
            "noise",
            lambda callbacks: self.logic.noise(
                node.inputVolume, node.resultVolume, node.request(), **callbacks
            ),
        )

    def _startOrCancel(self, kind: str, start: Callable[[dict[str, Any]], Any]) -> None:
        if self.logic.running:
            if self.logic.job.kind == kind:
                self.logic.cancel()
            return
        method = self._parameterNode.method
        if kind in ("interpolate", "trust", "noise") and self.logic.needsConsent(method):
            if not slicer.util.confirmOkCancelDisplay(state.consentText(method)):
                return
            with slicer.util.tryWithErrorDisplay(_("The model cannot be trusted.")):
                self.logic.grantConsent(method)
        self._timeLeft = TimeLeft(self._expected.get(kind, 0.0))
        say(self.ui.statusLabel, state.startingText(self._timeLeft.seconds))
        self.ui.progressBar.setRange(0, 0)  # busy until the first slice
        try:
            with slicer.util.tryWithErrorDisplay(_("The run could not be started.")):
                try:
                    start({"wait": False, "onProgress": self.onProgress, "onFinished": self.onFinished})
                except Exception as error:
                    say(self.ui.statusLabel, str(error))
                    raise
        finally:
            self._updatePanel()

    def onProgress(self, entry: dict[str, Any]) -> None:
        """Show stage, slice and time left."""
        text = state.progressText(entry, self._timeLeft.after(entry, time.monotonic()))
        if text:
            self.ui.progressBar.setRange(0, max(entry["total"], 1))
            self.ui.progressBar.value = entry["done"]
            say(self.ui.statusLabel, text)

    def onFinished(self, job) -> None:
        """A run is over: show the result, or say why there is none."""
        if job.state == "done":
            self._onDone(job)
        else:
            say(self.ui.statusLabel, job.message)
            if job.state != "cancelled":
                slicer.util.errorDisplay(job.message, windowTitle=_("Slice Interpolation"))
        self._updatePanel()

    def _onDone(self, job) -> None:
        """Show what a run brought, by what it was started with: other things may be chosen by now."""
        node = self._parameterNode or self.logic.getParameterNode()  # the user may be in another module
        if job.kind == "phantom":
            self._takePhantom(job.result)
        stillChosen = job.kind == "phantom" or node.inputVolume is job.inputNode
        method = job.request.method
        if job.kind == "trust":
            say(self.ui.verdictLabel, state.aboutScan(job.inputName, method, job.result["said"]))
        elif job.kind == "noise":
            say(self.ui.noiseLabel, state.aboutScan(job.inputName, method, job.result["said"]))
        elif job.kind == "measure":
            say(self.ui.measureLabel, state.aboutScan(job.inputName, "", [job.result["summary"]]))
            self.ui.renewedCheckBox.checked = False
        elif job.kind == "interpolate" and stillChosen:
            _takeUp(node, job)
        if job.kind in self._findingLabels():
            self._figuredScans[job.kind] = job.inputNode.GetID()
        say(
            self.ui.statusLabel,
            state.doneText(job.kind, job.remarks, job.seconds, job.inputName, stillChosen),
        )
        if job.kind in ("report", "dicom"):
            say(self.ui.statusLabel, _("Saved as {path}.").format(path=job.result))
        if job.kind == "noise" and stillChosen and self._parameterNode:
            self._updatePanel()
            self.ui.mapComboBox.currentIndex = self.ui.mapComboBox.findData("residual")
            self.onMapChosen(self.ui.mapComboBox.currentIndex)  # also where it is chosen already
        if job.kind == "interpolate" and self._parameterNode:
            with slicer.util.tryWithErrorDisplay(_("The result cannot be shown.")):
                if self._parameterNode.showComparison or self.logic.comparing:
                    self._compare(job.inputNode, job.result)
                else:
                    self.logic.showAlone(job.result)

    def onCompareButton(self, checked: bool = False) -> None:
        """Switch on the compare view."""
        with slicer.util.tryWithErrorDisplay(_("The compare view cannot be shown."), waitCursor=True):
            self._compare(self._parameterNode.inputVolume, self._parameterNode.resultVolume)
        self._updatePanel()

    def _compare(self, original, result) -> None:
        self.logic.compare(original, result, byRows=_byRows(self._parameterNode.arrangement))
        self.logic.setSlab(self._parameterNode.slabMm)

    def onArrangementChosen(self, index: int) -> None:
        """Switch between rows and columns at once."""
        if self._parameterNode and self.logic.comparing and index >= 0:
            self.logic.compareView.setArrangement(_byRows(list(Arrangement)[index]))

    def onComparisonChanged(self) -> None:
        """The comparison has begun, changed or ended: here, in the console, or by the layout."""
        if self._parameterNode and self.logic.comparing:
            self._parameterNode.shown = Shown(self.logic.compareView.shown)
        self.ui.cineButton.checked = self.logic.compareView.isPlaying
        self._updatePanel()

    def onCineButton(self, checked: bool = False) -> None:
        """Fade to and fro between original and result, or stop it."""
        self.logic.play(checked)

    def onSwitchKey(self) -> None:
        """Original in place of the result, or the result in place of the original."""
        node = self._parameterNode
        if node and node.inputVolume and node.resultVolume:
            self.logic.switchInPlace(node.inputVolume, node.resultVolume)

    def onStepKey(self, step: int) -> None:
        """To the next or the previous synthesized slice."""
        if self._parameterNode and self._parameterNode.resultVolume:
            self.logic.toSynthesized(self._parameterNode.resultVolume, step)

    def onDifferenceKey(self) -> None:
        """The difference on the result side, and back; the comparison begins where it is off."""
        node = self._parameterNode
        if node and node.inputVolume and node.resultVolume:
            with slicer.util.tryWithErrorDisplay(_("The difference cannot be shown."), waitCursor=True):
                if not self.logic.comparing:
                    self._compare(node.inputVolume, node.resultVolume)
                self.logic.compareView.toggle("difference")

    def onRestoreLayoutButton(self, checked: bool = False) -> None:
        """Back to the former layout."""
        self.logic.restoreLayout()
        self._updatePanel()

    def onRegionButton(self, checked: bool = False) -> None:
        """Statistics of the scan and of the noise maps in a region."""
        with slicer.util.tryWithErrorDisplay(_("The region cannot be measured."), waitCursor=True):
            self.logic.regionStatistics(self._parameterNode.inputVolume, self.ui.regionSelector.currentNode())
            say(self.ui.noiseLabel, _("The statistics are in a new table."))

    def onMeasureButton(self, checked: bool = False) -> None:
        """Measure the segment, or cancel."""
        node, selector = self._parameterNode, self.ui.segmentSelector
        self._startOrCancel(
            "measure",
            lambda callbacks: self.logic.measure(
                node.inputVolume,
                selector.currentNode(),
                selector.currentSegmentID(),
                resultNode=node.resultVolume,
                denoisedNode=node.denoisedVolume,
                huRange=(node.huLow, node.huHigh),
                marginMm=node.marginMm,
                keepEdits=node.keepEdits,
                **callbacks,
            ),
        )

    def onRenewedToggled(self, shown: bool) -> None:
        """Show or hide the segment that was thresholded anew."""
        self.logic.showRenewed(self.ui.segmentSelector.currentNode(), shown)

    def onExportButton(self, checked: bool = False) -> None:
        """Save the measurements as CSV."""
        path = qt.QFileDialog.getSaveFileName(None, _("Save measurements"), "hematoma.csv", "CSV (*.csv)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The table cannot be saved.")):
                self.logic.saveTable(self._figures("measure")["table"], path)

    def onStudyOpened(self, scanNode, resultNode) -> None:
        """Take a study of a batch as input and result, and compare them."""
        node = self._parameterNode
        node.inputVolume, node.resultVolume = scanNode, resultNode
        self.logic.compare(scanNode, resultNode, _byRows(node.arrangement))
        self._updatePanel()

    def onInstallButton(self, checked: bool = False) -> None:
        """Install PyTorch, after asking."""
        from ..run.dependencies import ensureTorch

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
            say(self.ui.statusLabel, _("There are no models of your own."))
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
        """Make the head phantom and choose it as input, or cancel."""
        self._startOrCancel("phantom", lambda callbacks: self.logic.loadPhantom(**callbacks))

    def _takePhantom(self, nodes: dict[str, Any]) -> None:
        if self._parameterNode:  # else the user has gone to another module
            self._parameterNode.inputVolume = nodes["volume"]
            if nodes["segmentation"] is not None:
                self.ui.segmentSelector.setCurrentNode(nodes["segmentation"])


def _byRows(arrangement: Arrangement) -> bool | None:
    return {Arrangement.ROWS: True, Arrangement.COLUMNS: False}.get(arrangement)


def _takeUp(node: SliceInterpolationParameterNode, job) -> None:
    """Choose the result of a run: as the result, and as the denoised volume where it is one.

    A denoised volume of another grid, or one that the run has overwritten, is of no use to the measurement any more.
    """
    node.resultVolume = job.result
    if job.request.output_mode != "interpolated":
        node.denoisedVolume = job.result
    elif node.denoisedVolume is not None and (
        node.denoisedVolume is job.result or not isSameGrid(node.denoisedVolume, job.result)
    ):
        node.denoisedVolume = None


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
