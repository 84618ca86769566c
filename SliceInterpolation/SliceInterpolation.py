"""The module SliceInterpolation: more slices between the acquired ones of a thick-slice head CT.

This file only wires: the application and the Python console find the widget, the logic and the self test here. The
work is done in SliceInterpolationMRML (what touches the scene) and SliceInterpolationLib (the library, run in a process
of its own).
"""

from __future__ import annotations

import os

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from SliceInterpolationMRML.panel.logic import SliceInterpolationLogic
from SliceInterpolationMRML.panel.widget import SliceInterpolationWidget

__all__ = [
    "SliceInterpolation",
    "SliceInterpolationLogic",
    "SliceInterpolationTest",
    "SliceInterpolationWidget",
]


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
    if slicer.app.layoutManager() is not None:  # None where there is no main window
        from SliceInterpolationMRML.views import layouts, shared

        layouts.registerLayouts()
        shared.marks()  # in the views from now on, whether or not the panel is ever opened


def registerSampleData() -> None:
    """Offer the head phantom in the module Sample Data; it is made on this computer, not downloaded."""
    import SampleData

    from SliceInterpolationMRML.sampleData import SAMPLE_NAME, loadSampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Slice Interpolation",
        sampleName=SAMPLE_NAME,
        uris="",
        fileNames=f"{SAMPLE_NAME}.nrrd",
        nodeNames=SAMPLE_NAME,
        thumbnailFileName=os.path.join(os.path.dirname(__file__), "Resources", "Icons", "HeadPhantom.png"),
        customDownloader=loadSampleData,
    )


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
