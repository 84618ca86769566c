"""Self tests of the panel in the running application: the real widget is clicked, the subprocess runs, nodes are read.

Nothing is downloaded: the scan is the synthetic head phantom, and tests of networks are skipped, with a message, where
PyTorch is not installed. Start them with run_self_tests.py.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

MODULE = "SliceInterpolation"
SMALL = {"size": 96, "pixel_spacing": 2.4, "slices": 14, "slice_spacing": 9.0, "slice_thickness": 9.0}


class SliceInterpolationSelfTests(ScriptedLoadableModuleTest):
    """One test a feature; screenshots go to the folder in SLICE_INTERPOLATION_SCREENSHOTS, if that is set."""

    def setUp(self) -> None:
        """An empty scene, and the panel open with its default choices."""
        slicer.mrmlScene.Clear(0)
        slicer.util.selectModule(MODULE)
        slicer.app.processEvents()
        self.panel = slicer.util.getModuleWidget(MODULE)
        self.ui = self.panel.ui
        self.spin(lambda: not self.panel.logic.running)

    def tearDown(self) -> None:
        """Back to the standard layout, with nothing under way."""
        self.panel.logic.cancel()
        self.panel.logic.restoreLayout()
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        slicer.app.processEvents()

    # Help

    def spin(self, until, seconds: float = 300.0) -> None:
        """Run the event loop until a condition holds."""
        end = time.monotonic() + seconds
        while not until():
            self.assertLess(time.monotonic(), end, "the condition did not come true in time")
            slicer.app.processEvents()
            time.sleep(0.01)

    def load(self, **options):
        """A small phantom as input; returns scan and segmentation."""
        from SliceInterpolationMRML.sampleData import loadPhantom

        scan, hematoma = loadPhantom(**{**SMALL, **options})
        self.panel._parameterNode.inputVolume = scan
        slicer.app.processEvents()
        return scan, hematoma

    def choose(self, method: str, factor: str = "X2", showComparison: bool = False, **others) -> None:
        """Set the choices of the panel."""
        node = self.panel._parameterNode
        node.method, node.showComparison = method, showComparison
        node.factor = type(node.factor)[factor]
        for name, value in others.items():
            setattr(node, name, value)

    def run_(self, button, seconds: float = 300.0):
        """Click a button and wait for the run; returns the job."""
        button.click()
        self.assertTrue(self.panel.logic.running, self.ui.statusLabel.text)
        self.assertEqual(button.text, "Cancel")
        self.spin(lambda: not self.panel.logic.running, seconds)
        slicer.app.processEvents()
        return self.panel.logic.job

    def needTorch(self) -> None:
        """Skip where PyTorch is not installed."""
        from SliceInterpolationMRML.run.dependencies import torchVersion

        if not torchVersion():
            self.skipTest(
                "PyTorch is not installed; install it through the extension PyTorch to run this test"
            )

    def screenshot(self, name: str) -> None:
        """Save a picture of the main window."""
        folder, window = os.environ.get("SLICE_INTERPOLATION_SCREENSHOTS"), slicer.util.mainWindow()
        if folder and window is not None:
            for _ in range(5):
                slicer.app.processEvents()
            path = Path(folder) / f"desktop-{name}.png"
            self.assertTrue(window.grab().save(str(path)), f"'{path}' cannot be written")

    def nodeIds(self) -> set:
        """IDs of the data nodes of the scene."""
        found = set()
        for kind in (
            "vtkMRMLVolumeNode",
            "vtkMRMLTableNode",
            "vtkMRMLPlotChartNode",
            "vtkMRMLSegmentationNode",
        ):
            found |= {node.GetID() for node in slicer.util.getNodesByClass(kind)}
        return found

    # Tests

    def test_empty_panel_says_what_to_do(self) -> None:
        """Buttons are off and say why."""
        self.assertFalse(self.ui.applyButton.enabled)
        self.assertIn("Choose an input volume", self.ui.applyButton.toolTip)
        self.screenshot("empty")

    def test_one_click_linear(self) -> None:
        """Without PyTorch: sizes, geometry, exact acquired slices, provenance, untouched input."""
        scan, _ = self.load()
        before = slicer.util.arrayFromVolume(scan).copy()
        self.choose("linear")
        self.assertIn("14 slices at 9.0 mm", self.ui.planLabel.text)
        job = self.run_(self.ui.applyButton)
        self.assertEqual(job.state, "done", job.message)
        result = self.panel._parameterNode.resultVolume
        after = slicer.util.arrayFromVolume(result)
        self.assertEqual(after.shape, (27, 96, 96))
        self.assertTrue((after[::2] == before).all())
        self.assertTrue((slicer.util.arrayFromVolume(scan) == before).all())
        self.assertEqual(result.GetOrigin(), scan.GetOrigin())
        self.assertAlmostEqual(result.GetSpacing()[2], 4.5, places=3)
        self.assertEqual(result.GetAttribute("SliceInterpolation.SliceProvenance"), "AS" * 13 + "A")
        self.screenshot("linear")

    def test_network_with_compare_view(self) -> None:
        """The bundled network, then the compare layout, its switches, and the former layout again."""
        self.needTorch()
        self.load()
        layoutManager = slicer.app.layoutManager()
        layout = layoutManager.layout
        self.choose("default", showComparison=True)
        job = self.run_(self.ui.applyButton)
        self.assertEqual(job.state, "done", job.message)
        self.assertTrue(self.panel.logic.comparing)
        self.assertNotEqual(layoutManager.layout, layout)
        self.screenshot("compare-rows")
        for index in (3, 2, 1, 0):
            self.ui.shownComboBox.currentIndex = index
            slicer.app.processEvents()
        self.ui.restoreLayoutButton.click()
        slicer.app.processEvents()
        self.assertEqual(layoutManager.layout, layout)

    def test_marks_in_the_views(self) -> None:
        """While scrolling, the marks name acquired and synthesized slices."""
        self.load()
        self.choose("linear", showComparison=True)
        job = self.run_(self.ui.applyButton)
        self.assertEqual(job.state, "done", job.message)
        view = "Result-axial"
        widget = slicer.app.layoutManager().sliceWidget(view)
        self.assertIsNotNone(widget)
        texts = set()
        logic = widget.sliceLogic()
        bounds = [0.0] * 6
        logic.GetSliceBounds(bounds)
        origin, spacing = job.result.GetOrigin()[2], job.result.GetSpacing()[2]
        for number in (4, 5):
            logic.SetSliceOffset(origin + number * spacing)
            slicer.app.processEvents()
            texts.add(self.panel.logic.marks.text(view).splitlines()[-1])
        self.assertEqual(texts, {"acquired slice 3", "synthesized, between 3 and 4"})
        self.screenshot("marks")

    def test_cancel(self) -> None:
        """Cancel in the middle leaves no node and no process."""
        self.needTorch()
        self.load(size=256, pixel_spacing=0.9, slices=30, slice_spacing=5.0, slice_thickness=5.0)
        self.choose("default", factor="X4", device="cpu")
        before = self.nodeIds()
        self.ui.applyButton.click()
        self.spin(lambda: self.ui.progressBar.value > 0)
        self.screenshot("running")
        folder = self.panel.logic.job._run.folder
        self.ui.applyButton.click()
        self.assertEqual(self.panel.logic.job.state, "cancelled")
        self.assertFalse(folder.exists())
        self.assertEqual(self.nodeIds(), before)
        self.assertEqual(self.ui.applyButton.text, "Interpolate")

    def test_scene_close_in_the_middle(self) -> None:
        """Closing the scene ends the run; the panel goes on with the empty scene."""
        self.needTorch()
        self.load(size=256, pixel_spacing=0.9, slices=30, slice_spacing=5.0, slice_thickness=5.0)
        self.choose("default", factor="X4", device="cpu")
        self.ui.applyButton.click()
        self.spin(lambda: self.ui.progressBar.value > 0)
        slicer.mrmlScene.Clear(0)
        slicer.app.processEvents()
        self.assertEqual(self.panel.logic.job.state, "cancelled")
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")), 0)
        self.assertFalse(self.ui.applyButton.enabled)

    def test_two_runs_make_two_volumes(self) -> None:
        """With "Create new volume", each run makes its own."""
        self.load()
        self.choose("linear")
        first = self.run_(self.ui.applyButton).result
        second = self.run_(self.ui.applyButton).result
        self.assertIsNot(first, second)
        self.choose("cubic", outputVolume=first)
        self.assertIs(self.run_(self.ui.applyButton).result, first)

    def test_refusals(self) -> None:
        """What cannot be interpolated is told before the run, with the way out."""
        self.load(slices=1)
        self.assertIn("at least 2", self.ui.applyButton.toolTip)
        scan, _ = self.load(slice_spacing=2.4, slice_thickness=2.4)
        self.choose("linear")
        self.assertIn("Run in spite of warnings", self.ui.planLabel.text)
        self.ui.forceCheckBox.click()
        self.assertTrue(self.ui.applyButton.enabled)
        self.panel._parameterNode.outputVolume = scan
        self.assertIn("another volume", self.ui.applyButton.toolTip)

    def test_transform_and_folder(self) -> None:
        """The result hangs under the transform and in the folder of the scan."""
        scan, _ = self.load()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Patient")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(scan), folder)
        transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        scan.SetAndObserveTransformNodeID(transform.GetID())
        self.choose("linear")
        result = self.run_(self.ui.applyButton).result
        self.assertEqual(result.GetTransformNodeID(), transform.GetID())
        self.assertEqual(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(result)), folder)
        self.assertEqual(result.GetDisplayNode().GetWindow(), scan.GetDisplayNode().GetWindow())

    def test_trust_check(self) -> None:
        """Verdict, table and plot."""
        self.needTorch()
        self.load()
        job = self.run_(self.ui.trustButton)
        self.assertEqual(job.state, "done", job.message)
        self.assertIn("this scan", self.ui.verdictLabel.text)
        scored = {row["slice"] for row in job.result["rows"]}
        self.assertGreater(len(scored), 5)
        self.assertEqual(job.result["nodes"]["bySlice"].GetNumberOfRows(), len(scored))
        self.ui.trustPlotButton.click()
        self.screenshot("trust")

    def test_noise_maps(self) -> None:
        """Residual and noise-SD maps, table, legend, and statistics in a markups ROI."""
        self.needTorch()
        scan, _ = self.load()
        job = self.run_(self.ui.noiseButton)
        self.assertEqual(job.state, "done", job.message)
        nodes = job.result["nodes"]
        residual = slicer.util.arrayFromVolume(nodes["residual"])
        self.assertEqual(residual.shape, slicer.util.arrayFromVolume(scan).shape)
        self.assertGreater(np.abs(residual[1:-1]).max(), 0)
        slicer.util.setSliceViewerLayers(background=scan, foreground=nodes["residual"], foregroundOpacity=0.6)
        roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
        bounds = [0.0] * 6
        scan.GetRASBounds(bounds)
        roi.SetXYZ(*[(bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)])
        roi.SetRadiusXYZ(30.0, 30.0, 30.0)
        self.ui.regionSelector.setCurrentNode(roi)
        tables = len(slicer.util.getNodesByClass("vtkMRMLTableNode"))
        self.ui.regionButton.click()
        self.assertEqual(len(slicer.util.getNodesByClass("vtkMRMLTableNode")), tables + 1)
        self.screenshot("noise")

    def test_hematoma_measurement(self) -> None:
        """Acquired, carried over, thresholded anew; the acquired row is near the true volume; segment editable."""
        scan, hematoma = self.load(
            size=192, pixel_spacing=1.2, slices=28, slice_spacing=5.0, slice_thickness=5.0
        )
        self.choose("linear")
        job = self.run_(self.ui.applyButton)
        self.assertEqual(job.state, "done", job.message)
        self.ui.segmentSelector.setCurrentNode(hematoma)
        slicer.app.processEvents()
        self.assertTrue(self.ui.measureButton.enabled, self.ui.measureButton.toolTip)
        job = self.run_(self.ui.measureButton)
        self.assertEqual(job.state, "done", job.message)
        measured = job.result
        self.assertEqual(measured["table"].GetNumberOfRows(), 3)
        truth = float(scan.GetAttribute("HeadPhantom.HematomaMl"))
        self.assertLess(abs(measured["rows"][0]["volume_ml"] / truth - 1), 0.1)
        self.assertEqual(hematoma.GetSegmentation().GetNumberOfSegments(), 1)
        self.screenshot("measure")

    def test_console(self) -> None:
        """The blocking calls of the logic."""
        from SliceInterpolation import SliceInterpolationLogic
        from SliceInterpolationLib.errors import InputError

        scan, _ = self.load()
        logic = SliceInterpolationLogic()
        result = logic.interpolate(scan, factor=3, method="cubic")
        self.assertEqual(slicer.util.arrayFromVolume(result).shape[0], 40)
        with self.assertRaises(InputError):  # noqa: PT027
            logic.interpolate(None)
        with self.assertRaises(InputError):  # noqa: PT027
            logic.interpolate(scan, method="linear", outputNode=scan)

    def test_saved_and_reopened(self) -> None:
        """A scene saved and loaded: provenance, the way back to the scan, choices, and the open panel shows them."""
        self.load()
        self.choose("cubic", "X3", strength=0.25)
        result = self.run_(self.ui.applyButton).result
        letters = result.GetAttribute("SliceInterpolation.SliceProvenance")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(0)
            slicer.app.processEvents()
            self.assertIsNone(self.ui.inputSelector.currentNode())
            slicer.util.loadScene(path)
            slicer.app.processEvents()
        node = self.panel._parameterNode
        self.assertEqual((node.method, node.factor.name, node.strength), ("cubic", "X3", 0.25))
        self.assertEqual(node.resultVolume.GetAttribute("SliceInterpolation.SliceProvenance"), letters)
        self.assertIs(node.resultVolume.GetNodeReference("SliceInterpolation.Original"), node.inputVolume)
        self.assertEqual(slicer.util.arrayFromVolume(node.resultVolume).shape, (40, 96, 96))
        self.assertIs(self.ui.inputSelector.currentNode(), node.inputVolume)
        self.assertIs(self.ui.resultSelector.currentNode(), node.resultVolume)
        self.assertEqual(self.ui.methodComboBox.currentText, "cubic")

    def test_in_and_out_of_the_module(self) -> None:
        """What the console changes while another module is open is shown on return."""
        scan, _ = self.load()
        slicer.util.selectModule("Data")
        node = self.panel.logic.getParameterNode()
        node.method, node.outputVolume = "cubic", None
        node.inputVolume = None
        slicer.util.selectModule(MODULE)
        slicer.app.processEvents()
        self.assertEqual(self.ui.methodComboBox.currentText, "cubic")
        self.assertIs(self.ui.inputSelector.currentNode(), scan)  # the first volume, where none is chosen

    def test_volumes_leave_the_memory(self) -> None:
        """Scan and result are gone when they are removed, and when the scene is closed."""
        for close in (False, True):
            scan, hematoma = self.load()
            self.choose("linear", showComparison=close)
            result = self.run_(self.ui.applyButton).result
            gone = self.watch(scan, result)
            if close:
                slicer.mrmlScene.Clear(0)
            else:
                for node in (scan, result, hematoma):
                    slicer.mrmlScene.RemoveNode(node)
            scan = hematoma = result = node = None
            slicer.app.processEvents()
            gc.collect()
            self.assertEqual(len(gone), 2, gone)

    def watch(self, *nodes) -> list:
        """A list that gets an entry for each node whose memory is given back."""
        gone = []
        for node in nodes:
            node.AddObserver("DeleteEvent", lambda caller, event: gone.append(event))
        return gone

    def test_marks_are_of_what_is_shown(self) -> None:
        """A volume that is loaded over a comparison is not called the original, nor its slices by its numbers."""
        from SliceInterpolationMRML.sampleData import loadPhantom

        self.load()
        self.choose("linear", showComparison=True)
        self.run_(self.ui.applyButton)
        loadPhantom(name="Foreign", **{**SMALL, "slices": 9})
        slicer.app.processEvents()
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            shown = slicer.mrmlScene.GetNodeByID(composite.GetBackgroundVolumeID() or "")
            text = self.panel.logic.marks.text(composite.GetLayoutName())
            if shown is not None and shown.GetName() == "Foreign":
                self.assertNotIn("HeadPhantom", text)
                self.assertNotIn("synthesized", text)

    def test_marks_after_reopening(self) -> None:
        """A result that comes from a file is marked as the one that was just made."""
        self.load()
        self.choose("linear")
        self.run_(self.ui.applyButton)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "scene.mrb")
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(path)
        result = self.panel._parameterNode.resultVolume
        slicer.util.setSliceViewerLayers(background=result, fit=True)
        slicer.app.processEvents()
        widget = slicer.app.layoutManager().sliceWidget("Red")
        if widget is None:
            self.skipTest("there are no views to draw in")
        widget.sliceLogic().SetSliceOffset(result.GetOrigin()[2] + 5 * result.GetSpacing()[2])
        slicer.app.processEvents()
        self.assertIn("synthesized", self.panel.logic.marks.text("Red"))

    def test_plot_and_back(self) -> None:
        """A plot beside the comparison; "Restore layout" goes back to the layout before both."""
        self.load()
        layoutManager = slicer.app.layoutManager()
        layout = layoutManager.layout
        self.choose("linear", showComparison=True)
        self.run_(self.ui.applyButton)
        self.run_(self.ui.noiseButton)
        self.ui.noisePlotButton.click()
        slicer.app.processEvents()
        self.screenshot("plot")
        self.assertTrue(self.ui.restoreLayoutButton.enabled, self.ui.restoreLayoutButton.toolTip)
        self.ui.restoreLayoutButton.click()
        slicer.app.processEvents()
        self.assertEqual(layoutManager.layout, layout)

    def test_sample_data(self) -> None:
        """The head phantom is offered in Sample Data, and the button loads it at full size."""
        sources = [
            source.sampleName for entries in slicer.modules.sampleDataSources.values() for source in entries
        ]
        self.assertIn("HeadPhantom", sources)
        self.run_(self.ui.samplePhantomButton)
        self.assertEqual(self.panel._parameterNode.inputVolume.GetImageData().GetDimensions(), (512, 512, 30))
        self.screenshot("phantom")


def runTests(words: list[str] = ()) -> unittest.TestResult:
    """Run all tests, or those whose names contain one of the words, and return what came of them."""
    names = unittest.TestLoader().getTestCaseNames(SliceInterpolationSelfTests)
    chosen = [name for name in names if not words or any(word in name for word in words)]
    return unittest.TextTestRunner(verbosity=2).run(
        unittest.TestSuite(SliceInterpolationSelfTests(name) for name in chosen)
    )
