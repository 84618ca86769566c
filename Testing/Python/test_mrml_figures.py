"""Noise maps, trust reports and measurements as nodes: tables, plots, colors, regions and segments."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from offscreen import chartPicture
from slicercore import core, slicer, vtk  # noqa: F401

from SliceInterpolationLib import InputError, Volume, interpolate
from SliceInterpolationLib.files import Outputs
from SliceInterpolationLib.phantom import Hematoma, head_phantom
from SliceInterpolationLib.reports.measure import COLUMNS, measure
from SliceInterpolationLib.reports.noise import analyze_noise, noise_before_and_after, write_noise_report
from SliceInterpolationLib.reports.trust import trust
from SliceInterpolationMRML import nodes
from SliceInterpolationMRML.figures import measurement, noise, segments, tablesAndPlots
from SliceInterpolationMRML.figures import trust as trust_nodes


@pytest.fixture(scope="module")
def phantom():
    return head_phantom(128, 1.8, 20, 5.0, 5.0, Hematoma(20.0), first_slice_mm=-40.0)


@pytest.fixture(scope="module")
def volume(phantom) -> Volume:
    return Volume(phantom.image, phantom.spacing, phantom.origin)


@pytest.fixture
def scan(core, volume):  # noqa: F811
    return nodes.nodeFromVolume(volume, "scan")


@pytest.fixture
def segmentation(core, scan, phantom):  # noqa: F811
    node = segments.newSegmentation("Segmentation", scan)
    segments.addSegment(node, "hematoma", phantom.mask > 0, scan, (0.8, 0.1, 0.1))
    return node


def columnOf(table, name):
    return [row[name] for row in tablesAndPlots.rowsFromTable(table)]


# Tables and plots


def test_table_round_trip(core):  # noqa: F811
    rows = [{"name": "a, b", "count": 3, "value": 1.5}, {"name": "c", "count": 4, "value": None}]
    table = tablesAndPlots.tableFromRows(rows, "figures")
    back = tablesAndPlots.rowsFromTable(table)
    assert back[0] == rows[0]
    assert back[1]["count"] == 4
    assert np.isnan(back[1]["value"])
    assert table.GetColumnTitle("name") == "name"


def test_csv_is_that_of_the_table(core, tmp_path):  # noqa: F811
    table = tablesAndPlots.tableFromRows([{"a": 1, "b": "x, y"}, {"a": 2, "b": "z"}], "t")
    path = tablesAndPlots.writeTable(table, tmp_path / "t.csv")
    with open(path, newline="") as file:
        assert list(csv.DictReader(file)) == [{"a": "1", "b": "x, y"}, {"a": "2", "b": "z"}]
    with pytest.raises(InputError, match="does not exist"):
        tablesAndPlots.writeTable(table, tmp_path / "nowhere" / "t.csv")


def test_plot_is_replaced_not_piled_up(core):  # noqa: F811
    table = tablesAndPlots.tableFromRows([{"x": 1, "y": 2.0, "z": 3.0}], "t")
    first = tablesAndPlots.plot(table, "title", ["y", "z"], "x", "HU")
    again = tablesAndPlots.plot(table, "title", ["y"], "x", "HU")
    assert again is first
    assert again.GetNumberOfPlotSeriesNodes() == 1
    assert core.scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 1
    assert again.GetNthPlotSeriesNode(0).GetTableNode() is table


def covered(chart, size) -> int:
    """How many pixels of lines and bars the legend of a chart lies over."""
    with_, without = (chartPicture(chart, size, legend) for legend in (True, False))
    changed = (with_ != without).any(axis=2)
    assert changed.sum() > 500  # there is a legend
    colored = np.ptp(without.astype(int), axis=2) > 40  # background, grid and text are gray
    assert colored.sum() > 500  # there are lines
    return int((changed & colored).sum())


PLOT_SIZES = [(350, 500), (450, 350), (900, 400)]


@pytest.mark.parametrize("size", PLOT_SIZES)
@pytest.mark.parametrize("count", [1, 4])
def test_legends_of_plots_cover_no_line(core, size, count):  # noqa: F811
    names = ["flow-refine", "linear", "cubic", "flow"][:count]
    rows = [
        {"slice": number, **{name: 28 + n + np.sin(number) + 0.1 * number for n, name in enumerate(names)}}
        for number in range(2, 30)
    ]
    rows[3][names[0]] = None
    chart = tablesAndPlots.plot(tablesAndPlots.tableFromRows(rows, "t"), "title", names, "slice", "PSNR (dB)")
    assert covered(chart, size) == 0


@pytest.mark.parametrize("size", PLOT_SIZES)
@pytest.mark.parametrize("segments", [1, 2])
def test_legends_of_bars_cover_no_bar(core, scan, size, segments):  # noqa: F811
    grids = ("acquired", "interpolated", "interpolated, 40 to 100 HU within 3 mm")
    rows = [
        {**dict.fromkeys(COLUMNS, 20.0 + number), "segment": f"clot {number}", "grid": grid}
        for number in range(segments)
        for grid in grids
    ]
    assert covered(measurement.showMeasurement(rows, scan)["plot"], size) == 0


def test_the_legend_names_every_bar(core, scan):  # noqa: F811
    rows = [
        {
            "segment": "clot",
            "grid": grid,
            "volume_ml": 20.0 + number,
            "surface_volume_ml": 19.0,
            "abc2_ml": 18.0,
        }
        for number, grid in enumerate(("acquired", "interpolated"))
    ]
    for row in rows:
        row.update(difference_percent=0.0)
    chart = measurement.showMeasurement(rows, scan)["plot"]
    series = [chart.GetNthPlotSeriesNode(number) for number in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [one.GetName() for one in series] == ["acquired", "interpolated"]
    assert chart.GetXAxisTitle().startswith("voxels, closed surface, ABC/2")
    values = slicer.util.arrayFromTableColumn(series[1].GetTableNode(), series[1].GetYColumnName())
    np.testing.assert_allclose(values, [21.0, 19.0, 18.0])
    more = measurement.showMeasurement([*rows, {**rows[0], "segment": "other"}], scan)["plot"]
    assert more.GetNthPlotSeriesNode(2).GetName() == "other: acquired"


# Noise


def test_diverging_colors_are_symmetric_about_zero(core, scan):  # noqa: F811
    node = noise.divergingColorNode()
    assert noise.divergingColorNode() is node
    count = node.GetNumberOfColors()
    assert count % 2 == 1
    table = node.GetLookupTable()
    light = [sum(table.GetTableValue(number)[:3]) for number in range(count)]
    assert int(np.argmin(light)) == count // 2
    first, last = (table.GetTableValue(number) for number in (0, count - 1))
    assert first[2] > first[0]
    assert last[0] > last[2]
    limit = noise.showDiverging(scan, 12.0)
    display = scan.GetDisplayNode()
    assert limit == 12.0
    assert (display.GetWindow(), display.GetLevel(), display.GetColorNodeID()) == (24.0, 0.0, node.GetID())


def test_noise_nodes(core, scan, volume, tmp_path):  # noqa: F811
    report = analyze_noise(volume, method="linear")
    result = interpolate(volume, factor=2, method="linear").volume
    with Outputs() as outputs:
        along = noise_before_and_after(volume, result)
        write_noise_report(volume, report, tmp_path / "noise", outputs, along)
    made = noise.showNoiseFolder(scan, tmp_path / "noise")
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(made["residual"]), report.residual.array)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(made["noiseSd"]), report.noise_sd.array)
    display = made["residual"].GetDisplayNode()
    assert display.GetLevel() == 0
    assert 8 < display.GetWindow() < 80  # noise, not bone
    legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(made["residual"])
    assert legend.GetVisibility()
    assert "predicted" in legend.GetTitleText()
    assert columnOf(made["table"], "slice") == list(range(2, volume.slice_count))
    np.testing.assert_allclose(
        columnOf(made["table"], "noise_acquired"), [row["noise_acquired"] for row in report.rows]
    )
    assert made["plot"].GetNumberOfPlotSeriesNodes() == 2
    # A linear result has quiet slices between noisy ones; that must show.
    table = made["alternationTable"]
    before = float(table.GetAttribute("SliceInterpolation.AlternationBefore"))
    after = float(table.GetAttribute("SliceInterpolation.AlternationAfter"))
    assert after > 0.15 > before
    assert table.GetNumberOfRows() == volume.slice_count + 2 * volume.slice_count - 1


def test_a_second_noise_run_updates_the_nodes_of_the_first(core, scan):  # noqa: F811
    volume = nodes.volumeFromNode(scan)
    noiseSd = volume.with_map(np.full(volume.array.shape, 3.0, np.float32))
    rows = [{"slice": 1, "noise_acquired": 3.0, "noise_predicted": 2.0}]
    along = [
        {"volume": "scan", "position_mm": 5.0 * n, "noise": 3.0, "slice": n, "provenance": "A"}
        for n in range(4)
    ]

    def ids():
        return {core.scene.GetNthNode(number).GetID() for number in range(core.scene.GetNumberOfNodes())}

    first = noise.showNoise(scan, noiseSd, noiseSd, rows, along)
    before = ids()
    changed = volume.with_map(np.full(volume.array.shape, 7.0, np.float32))
    second = noise.showNoise(scan, changed, noiseSd, rows * 2, along)
    assert {name: node.GetID() for name, node in second.items()} == {
        name: node.GetID() for name, node in first.items()
    }
    assert {one for one in ids() - before if "PlotSeries" not in one} == set()
    assert first["table"].GetNumberOfRows() == 2
    assert slicer.util.arrayFromVolume(first["residual"]).max() == 7.0
    assert not any("_" in node.GetName() for node in second.values())


def test_every_map_has_a_legend_that_wakes_when_it_is_shown(core, scan):  # noqa: F811
    volume = nodes.volumeFromNode(scan)
    error = noise.showErrorSd(scan, volume.with_map(np.ones(volume.array.shape, np.float32)))
    noise.showDiverging(scan, 12.0)
    for node, words in ((error, "error"), (scan, "difference")):
        legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
        assert words in legend.GetTitleText()
        assert legend.GetSize()[1] < 0.5  # its texts are as large as it allows
        times = legend.GetMTime()
        noise.showOver(scan, node)
        assert legend.GetMTime() > times
    assert noise.mapsOf(None, scan) == {"errorSd": (scan, error)}
    noise.showErrorSd(scan, None)
    assert noise.mapsOf(None, scan) == {}


def test_no_map_is_said_to_be_in_hu_without_a_hu_scale(core, volume):  # noqa: F811
    for units, said in (("HU", True), ("arbitrary", False)):
        scan = nodes.nodeFromVolume(replace(volume, units=units, units_guessed=False), f"scan {units}")
        own = nodes.volumeFromNode(scan)
        assert own.units == units
        ones = own.with_map(np.ones(volume.array.shape, np.float32))
        rows = [{"slice": n, "noise_acquired": 5.0, "noise_predicted": 2.0} for n in range(1, 4)]
        along = [
            {"volume": "scan", "slice": n, "position_mm": 5.0 * n, "noise": 5.0, "provenance": "A"}
            for n in range(4)
        ]
        made = noise.showNoise(scan, ones, ones, rows, along)
        for node in (made["residual"], made["noiseSd"], noise.showErrorSd(scan, ones)):
            legend = slicer.vtkSlicerColorLogic.GetColorLegendDisplayNode(node)
            assert ("HU" in legend.GetTitleText()) == said
        for chart in (made["plot"], made["alternationPlot"]):
            assert ("HU" in chart.GetYAxisTitle()) == said


def test_region_statistics_of_a_segment(core, scan, segmentation, phantom):  # noqa: F811
    (row,) = noise.regionStatistics([scan], segmentation)
    values = phantom.image[phantom.mask > 0]
    assert row["voxels"] == values.size
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std())
    assert row["volume_ml"] == pytest.approx(values.size * np.prod(phantom.spacing) / 1000)
    table = noise.showRegionStatistics([scan], segmentation)
    assert columnOf(table, "region") == ["hematoma"]


@pytest.mark.parametrize("angle", [0, 30])
def test_region_statistics_of_a_roi(core, scan, phantom, volume, angle):  # noqa: F811
    roi = core.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetXYZ((0, 0, 0))
    roi.SetRadiusXYZ((20, 30, 12))
    turned = vtk.vtkTransform()
    turned.Translate(5, -8, 4)
    turned.RotateZ(angle)
    roi.SetAndObserveObjectToNodeMatrix(turned.GetMatrix())
    (row,) = noise.regionStatistics([scan], roi)
    # Independently: every voxel center through the inverse of the box.
    k, j, i = np.indices(volume.array.shape)
    lps = np.stack([i, j, k, np.ones_like(i)], -1) @ volume.affine.T
    ras = lps * [-1, -1, 1, 1]
    box = np.abs(ras @ np.linalg.inv(slicer.util.arrayFromVTKMatrix(turned.GetMatrix())).T)[..., :3]
    inside = np.all(box <= np.array([20, 30, 12]) + 1e-9, axis=-1)
    assert row["voxels"] == inside.sum() > 500
    assert row["mean"] == pytest.approx(volume.array[inside].mean())
    assert row["volume_ml"] == pytest.approx(40 * 60 * 24 / 1000, rel=0.2)


def test_region_statistics_refuse_what_holds_nothing(core, scan):  # noqa: F811
    roi = core.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    roi.SetXYZ((900, 0, 0))
    roi.SetRadiusXYZ((5, 5, 5))
    with pytest.raises(InputError, match="holds no voxel"):
        noise.regionStatistics([scan], roi)
    with pytest.raises(InputError, match="no segmentation and no markups ROI"):
        noise.regionStatistics([scan], scan)


# Trust


def test_trust_nodes(core, scan, volume, tmp_path):  # noqa: F811
    report = trust(volume, method="cubic", baselines=("linear", "nearest"))
    path = tmp_path / "trust.json"
    path.write_text(json.dumps(report.as_dict()))
    made = trust_nodes.showTrust(scan, path)
    assert columnOf(made["means"], "method") == ["cubic", "linear", "nearest"]
    assert columnOf(made["bySlice"], "slice") == [number + 1 for number in report.slices]
    expected = [row["psnr_brain"] for row in report.rows if row["method"] == "nearest"]
    np.testing.assert_allclose(columnOf(made["bySlice"], "nearest"), expected)
    assert made["plot"].GetNumberOfPlotSeriesNodes() == 3
    assert made["bySlice"].GetAttribute("SliceInterpolation.Verdict") == report.verdict
    errors = trust_nodes.showTrust(scan, report.as_dict(), "mae_hu")
    assert errors["plot"].GetYAxisTitle() == "mean absolute error (HU)"


def test_trust_warnings(core, scan, volume):  # noqa: F811
    lost = trust(volume, method="nearest", baselines=("linear",)).as_dict()
    assert trust_nodes.warnings(lost) == [lost["verdict"]]
    won = trust(volume, method="linear", baselines=("nearest",)).as_dict()
    assert trust_nodes.warnings(won) == []
    from SliceInterpolationLib.catalogue import find_model

    low, high = find_model().gap_mm
    far = {**won, "method": find_model().name, "gap_mm": 2 * high + 4}
    (text,) = trust_nodes.warnings(far)
    assert f"{high + 2:.3g} mm" in text
    assert f"{low:g} to {high:g} mm" in text


def test_what_is_no_trust_report(core, scan, tmp_path):  # noqa: F811
    with pytest.raises(InputError, match="not a readable trust report"):
        trust_nodes.showTrust(scan, tmp_path / "none.json")
    with pytest.raises(InputError, match="lacks gap_mm"):
        trust_nodes.showTrust(scan, {"method": "x", "rows": [], "means": {}, "trusted": True, "verdict": ""})


# Segments and measurement


def test_masks_and_segments(core, scan, segmentation, phantom):  # noqa: F811
    (segmentId,) = segmentation.GetSegmentation().GetSegmentIDs()
    before = core.scene.GetNumberOfNodes()
    mask = segments.segmentMask(segmentation, segmentId, scan)
    assert core.scene.GetNumberOfNodes() == before
    np.testing.assert_array_equal(mask, phantom.mask > 0)
    with pytest.raises(InputError, match="no segment 'other'"):
        segments.segmentMask(segmentation, "other", scan)


def test_a_mask_under_another_transform(core, scan, segmentation, phantom, volume):  # noqa: F811
    """A segmentation whose transform moves it by two slices lies two slices further on the scan."""
    (segmentId,) = segmentation.GetSegmentation().GetSegmentIDs()
    transform = core.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(2, 3, 2 * volume.slice_spacing)
    transform.SetMatrixTransformToParent(matrix)
    segmentation.SetAndObserveTransformNodeID(transform.GetID())
    moved = segments.segmentMask(segmentation, segmentId, scan)
    np.testing.assert_array_equal(moved[2:], (phantom.mask > 0)[:-2])


def measured(*arguments, **options):
    """The rows of a measurement, through the process."""
    return measurement.measurementJob(*arguments, **options).start().wait().result["rows"]


def test_measurement_on_the_acquired_grid(core, scan, segmentation, volume, phantom):  # noqa: F811
    (row,) = measured(scan, segmentation)
    (expected,) = measure(volume, phantom.mask).rows
    assert tuple(row) == COLUMNS
    assert row["segment"] == "hematoma"
    for key in COLUMNS[2:]:
        assert row[key] == pytest.approx(expected[key]), key
    assert row["volume_ml"] == pytest.approx(20.0, rel=0.05)


def test_measurement_on_the_result_grid(core, scan, segmentation, volume, phantom, tmp_path):  # noqa: F811
    result = nodes.nodeFromVolume(interpolate(volume, factor=2, method="linear").volume, "scan x2", scan)
    rows = measured(scan, segmentation, resultNode=result)
    expected = measure(volume, phantom.mask, nodes.volumeFromNode(result)).rows
    assert [row["grid"] for row in rows] == [row["grid"] for row in expected]
    for row, other in zip(rows, expected):
        for key in COLUMNS[2:]:
            assert row[key] == pytest.approx(other[key]), (row["grid"], key)
    made = measurement.showMeasurement(rows, scan, tmp_path / "m.csv")
    with open(tmp_path / "m.csv", newline="") as file:
        written = list(csv.DictReader(file))
    assert [float(row["volume_ml"]) for row in written] == [row["volume_ml"] for row in rows]
    assert made["table"].GetNumberOfRows() == 3
    assert made["plot"].GetNumberOfPlotSeriesNodes() == 3
    assert f"{rows[1]['volume_ml']:.2f} mL ({rows[1]['difference_percent']:+.1f}%)" in measurement.describe(
        rows
    )


def test_other_slice_axes(core, volume, phantom):  # noqa: F811
    """The same scan stored with its slices along i measures the same."""
    turned = Volume(
        np.ascontiguousarray(volume.array.transpose(2, 1, 0)),
        volume.spacing[::-1],
        volume.origin,
        volume.direction[:, ::-1],
        slice_axis="i",
    )
    scan = nodes.nodeFromVolume(turned, "turned")
    node = segments.newSegmentation("Segmentation", scan)
    segments.addSegment(node, "hematoma", phantom.mask.transpose(2, 1, 0) > 0, scan)
    result = nodes.nodeFromVolume(interpolate(turned, factor=2, method="linear").volume, "turned x2", scan)
    rows = measured(scan, node, resultNode=result)
    straight = measure(volume, phantom.mask, interpolate(volume, factor=2, method="linear").volume).rows
    for row, other in zip(rows, straight):
        for key in ("volume_ml", "surface_volume_ml", "mean_hu", "abc2_ml", "c_mm"):
            assert row[key] == pytest.approx(other[key], rel=1e-6), (row["grid"], key)


def test_threshold_on_the_denoised_volume(core, scan, segmentation, volume):  # noqa: F811
    result = nodes.nodeFromVolume(interpolate(volume, factor=2, method="linear").volume, "scan x2", scan)
    quietVolume = nodes.volumeFromNode(result)
    quiet = nodes.nodeFromVolume(
        replace(quietVolume, array=np.zeros_like(quietVolume.array)), "denoised", scan
    )
    rows = measured(scan, segmentation, resultNode=result, denoisedNode=quiet)
    assert rows[2]["grid"].endswith("3 mm, denoised")
    assert rows[2]["volume_ml"] == 0  # nothing of 40 to 100 HU there
    with pytest.raises(InputError, match="grid of the result"):
        measured(scan, segmentation, resultNode=result, denoisedNode=scan)


def test_segments_on_the_result_can_be_edited(core, scan, segmentation, volume):  # noqa: F811
    result = nodes.nodeFromVolume(interpolate(volume, factor=2, method="linear").volume, "scan x2", scan)
    original = measured(scan, segmentation, resultNode=result)
    carried = measurement.carriedSegmentation(segmentation)
    names = [carried.GetSegmentation().GetNthSegment(number).GetName() for number in range(2)]
    assert names == ["hematoma (carried over)", "hematoma (re-thresholded)"]
    segmentId = carried.GetSegmentation().GetSegmentIdBySegmentName(names[0])
    mask = segments.segmentMask(carried, segmentId, result)
    assert mask.sum() == original[1]["voxels"]
    mask[: mask.shape[0] // 2] = False
    segments.setSegmentMask(carried, segmentId, mask, result)
    edited = measured(scan, segmentation, resultNode=result, keepEdits=True)
    assert measurement.carriedSegmentation(segmentation) is carried
    assert edited[1]["voxels"] == mask.sum() < original[1]["voxels"]
    again = measured(scan, segmentation, resultNode=result)
    assert again[1]["voxels"] == original[1]["voxels"]
    assert core.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_segments_of_one_name_are_told_apart(core, scan, volume, phantom):  # noqa: F811
    node = segments.newSegmentation("Twins", scan)
    mask = phantom.mask > 0
    segments.addSegment(node, "hematoma", mask, scan)
    half = mask.copy()
    half[:, : half.shape[1] // 2] = False
    segments.addSegment(node, "hematoma", half, scan)
    result = nodes.nodeFromVolume(interpolate(volume, factor=2, method="linear").volume, "scan x2", scan)
    rows = measured(scan, node, resultNode=result)
    assert len(rows) == 6
    assert rows[4]["voxels"] < rows[1]["voxels"]
    assert measurement.carriedSegmentation(node).GetSegmentation().GetNumberOfSegments() == 4


def test_segments_of_a_result_under_a_transform(core, scan, segmentation, volume):  # noqa: F811
    plain = measured(scan, segmentation)[0]
    transform = core.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = vtk.vtkMatrix4x4()
    matrix.SetElement(0, 3, 50)
    transform.SetMatrixTransformToParent(matrix)
    for node in (scan, segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    result = nodes.nodeFromVolume(interpolate(volume, factor=2, method="linear").volume, "scan x2", scan)
    rows = measured(scan, segmentation, resultNode=result)
    assert rows[0]["voxels"] == plain["voxels"]
    assert measurement.carriedSegmentation(segmentation).GetTransformNodeID() == transform.GetID()
    assert rows[1]["volume_ml"] == pytest.approx(plain["volume_ml"], rel=0.1)


def test_measurement_refusals(core, scan, segmentation, volume):  # noqa: F811
    with pytest.raises(InputError, match="Choose a segmentation"):
        measured(scan, None)
    empty = segments.newSegmentation("Empty", scan)
    with pytest.raises(InputError, match="has no segments"):
        measured(scan, empty)
    segments.addSegment(empty, "nothing", np.zeros(volume.array.shape, bool), scan)
    with pytest.raises(InputError, match="empty"):
        measured(scan, empty)
    foreign = nodes.nodeFromVolume(
        Volume(volume.array[:7], volume.spacing, volume.origin, slice_axis="k"), "foreign"
    )
    with pytest.raises(InputError, match="does not belong"):
        measured(scan, segmentation, resultNode=foreign)
