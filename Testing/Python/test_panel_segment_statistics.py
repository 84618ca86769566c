# ruff: noqa: F401, F811 (fixtures)
"""The measurement against Slicer's own module Segment Statistics.

No package on PyPI carries that module, so these tests need a source tree of Slicer (5.12 or newer), and are skipped
without:  SLICER_SOURCE=/path/to/Slicer python -m pytest Testing/Python/test_panel_segment_statistics.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from paneldesktop import desktop, slicer, standins

pytestmark = pytest.mark.skipif(
    not (Path(standins.SLICER_SOURCE or ".") / "Base/Python/slicer/packaging.py").is_file(),
    reason="needs the environment variable SLICER_SOURCE, a source tree of Slicer 5.12 or newer",
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


def test_the_figures_agree_with_segment_statistics(ball):
    from SegmentStatistics import SegmentStatisticsLogic

    from SliceInterpolation import SliceInterpolationLogic

    scan, segmentation, mask = ball
    row = SliceInterpolationLogic().measure(scan, segmentation)["rows"][0]
    logic = SegmentStatisticsLogic()
    segmentation.CreateClosedSurfaceRepresentation()
    logic.getParameterNode().SetParameter("Segmentation", segmentation.GetID())
    logic.getParameterNode().SetParameter("ScalarVolume", scan.GetID())
    logic.computeStatistics()
    found = {key[1]: value for key, value in logic.getStatistics().items() if isinstance(key, tuple)}
    assert row["voxels"] == found["LabelmapSegmentStatisticsPlugin.voxel_count"] == mask.sum()
    assert row["volume_ml"] == pytest.approx(found["LabelmapSegmentStatisticsPlugin.volume_cm3"], rel=1e-5)
    assert row["mean_hu"] == pytest.approx(found["ScalarVolumeSegmentStatisticsPlugin.mean"], abs=1e-3)
    assert row["sd_hu"] == pytest.approx(found["ScalarVolumeSegmentStatisticsPlugin.stdev"], rel=1e-3)
    # Another surface, smoothed: near, not equal.
    assert row["surface_volume_ml"] == pytest.approx(
        found["ClosedSurfaceSegmentStatisticsPlugin.volume_cm3"], rel=0.05
    )
    assert row["surface_area_mm2"] == pytest.approx(
        found["ClosedSurfaceSegmentStatisticsPlugin.surface_mm2"], rel=0.05
    )
