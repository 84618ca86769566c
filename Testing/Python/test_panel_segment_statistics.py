# ruff: noqa: F401, F811 (fixtures)
"""The measurement as users get it, by Slicer's own module Segment Statistics, against numbers that need neither.

No package on PyPI carries that module, so these tests need a source tree of Slicer (5.12 or newer), and are skipped
without:  SLICER_SOURCE=/path/to/Slicer python -m pytest Testing/Python/test_panel_segment_statistics.py
"""

from __future__ import annotations

import numpy as np
import pytest
from paneldesktop import desktop, slicer, standins

pytestmark = pytest.mark.skipif(
    not standins.SLICER_SOURCE, reason="needs the environment variable SLICER_SOURCE, a source tree of Slicer"
)
RADIUS = 15.0


@pytest.fixture
def ball(desktop):
    """A ball of 60 HU in a volume of noise, drawn as a segment: (volume node, segmentation node, mask)."""
    from SliceInterpolationLib.volume import Volume
    from SliceInterpolationMRML.nodes import nodeFromVolume

    spacing = (0.8, 0.8, 1.6)
    z, y, x = np.mgrid[:30, :56, :60]
    distance = np.sqrt(
        ((x - 30) * spacing[0]) ** 2 + ((y - 28) * spacing[1]) ** 2 + ((z - 15) * spacing[2]) ** 2
    )
    mask = distance < RADIUS
    image = np.random.default_rng(0).normal(np.where(mask, 60.0, 30.0), 5.0).astype(np.int16)
    scan = nodeFromVolume(Volume(image, spacing, units="HU"), "Ball")
    segmentation = desktop.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(scan)
    segmentId = segmentation.GetSegmentation().AddEmptySegment("ball")
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), segmentation, segmentId, scan)
    return scan, segmentation, mask


def test_the_figures_of_a_ball(ball):
    from SliceInterpolation import SliceInterpolationLogic

    scan, segmentation, mask = ball
    before = set(slicer.util.getNodes("*", useLists=True))
    row = SliceInterpolationLogic().measure(scan, segmentation)["rows"][0]
    values = slicer.util.arrayFromVolume(scan)[mask].astype(float)
    assert row["voxels"] == mask.sum()
    assert row["volume_ml"] == pytest.approx(mask.sum() * 0.8 * 0.8 * 1.6 / 1000, rel=1e-5)
    assert row["mean_hu"] == pytest.approx(values.mean(), abs=1e-3)
    assert row["sd_hu"] == pytest.approx(values.std(), rel=1e-3)
    truth = 4 / 3 * np.pi * RADIUS**3 / 1000
    assert row["volume_ml"] == pytest.approx(truth, rel=0.02)
    assert row["surface_volume_ml"] == pytest.approx(truth, rel=0.05)
    assert row["surface_area_mm2"] == pytest.approx(4 * np.pi * RADIUS**2, rel=0.05)
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 1
    assert not [
        name for name in set(slicer.util.getNodes("*", useLists=True)) - before if "statistics" in name
    ]


def test_the_segment_statistics_of_the_user_stay_as_they_are(ball, desktop):
    from SegmentStatistics import SegmentStatisticsLogic

    from SliceInterpolation import SliceInterpolationLogic

    scan, segmentation, _ = ball
    own = SegmentStatisticsLogic().getParameterNode()
    own.SetParameter("Segmentation", "the user's")
    own.SetParameter("LabelmapSegmentStatisticsPlugin.enabled", "False")
    SliceInterpolationLogic().measure(scan, segmentation)
    assert SegmentStatisticsLogic().getParameterNode() is own
    assert own.GetParameter("Segmentation") == "the user's"
    assert own.GetParameter("LabelmapSegmentStatisticsPlugin.enabled") == "False"
    assert len(slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")) == 1
