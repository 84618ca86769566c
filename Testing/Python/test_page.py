"""The study page and what it is made of: planes, plots, the page itself."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from math import inf, nan

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from SliceInterpolationLib import InputError, Volume, interpolate
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.files import Outputs
from SliceInterpolationLib.reports.markup import as_html, element
from SliceInterpolationLib.reports.measure import COLUMNS, measure
from SliceInterpolationLib.reports.noise import (
    NoiseReport,
    analyze_noise,
    noise_before_and_after,
    write_noise_report,
)
from SliceInterpolationLib.reports.page import study_page
from SliceInterpolationLib.reports.reformat import (
    PLANES,
    body_box,
    caption,
    cut,
    gray,
    interesting_point,
    number_at,
)
from SliceInterpolationLib.reports.svg import Series, band, line_plot
from SliceInterpolationLib.reports.tables import write_csv
from SliceInterpolationLib.reports.trust import TrustReport, trust

VOID = {"meta", "img"}


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "SAL"])
@pytest.mark.parametrize("plane", PLANES)
def test_planes_stand_upright_in_every_orientation(phantom_volume, orientation, plane):
    """The same head stored in another orientation gives the same pixels, and the same slices beside them."""
    numbered = phantom_volume.array + 0.25 * np.arange(len(phantom_volume.array))[:, None, None]
    scan = replace(phantom_volume, array=numbered.astype(np.float32))
    turned = Volume.from_sitk(sitk.DICOMOrient(scan.to_sitk(), orientation), units="HU")
    turned.provenance = "A" * 24
    point = (1.37, 2.21, -9.3)  # not midway between voxels, where either may be shown
    one, other = (cut(v, plane, number_at(v, plane, point), body_box(v)) for v in (scan, turned))
    np.testing.assert_array_equal(one.image, other.image)
    assert (one.width, one.height) == pytest.approx((other.width, other.height))
    assert (one.row_letters, one.column_letters) == (other.row_letters, other.column_letters)


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_planes_show_every_slice_of_scan_and_result(phantom_volume, factor):
    """The result's last slices lie within the last slice of the scan; neither is cut off, whatever the factor."""
    result = interpolate(phantom_volume, method="linear", factor=factor).volume
    box = body_box(result)
    for volume in (phantom_volume, result):
        view = cut(volume, "coronal", 60, box)
        assert view.image.shape[0] == volume.slice_count
        assert view.row_letters == volume.provenance[::-1]
        assert view.height == pytest.approx(volume.slice_count * volume.slice_spacing)
        assert view.image.shape[1] == cut(volume, "axial", 3, box).image.shape[1]


def test_planes_of_a_tilted_stack_are_upright():
    """What runs straight up in the patient runs straight up in the picture, though not in the voxels."""
    tilt = np.deg2rad(20.0)
    direction = np.eye(3)
    direction[:, 2] = (0.0, np.sin(tilt), np.cos(tilt))
    array = np.full((12, 80, 40), -1000.0, dtype=np.float32)
    for k in range(12):
        back = round(4.0 * k * np.sin(tilt))  # of the stack, in pixels of 1 mm
        array[k, 50 - back : 54 - back, 10:30] = 40.0
    volume = Volume(array, (1.0, 1.0, 4.0), direction=direction, units="HU")
    sagittal = cut(volume, "sagittal", 20, [(0.0, 1e3)] * 3)
    columns = [np.flatnonzero(row > 0) for row in sagittal.image]
    assert all(list(one) == list(columns[0]) for one in columns)
    assert sagittal.height == pytest.approx(12 * 4.0 * np.cos(tilt))
    assert sagittal.width == pytest.approx(sagittal.image.shape[1])
    np.testing.assert_array_equal(cut(volume, "coronal", 52, [(0.0, 1e3)] * 3).image, array[::-1, 52])


def test_captions_say_what_a_slice_is(phantom_volume):
    result = interpolate(phantom_volume, method="linear").volume
    box = body_box(result)
    assert caption(result, cut(result, "axial", 7, box)) == "axial: synthesized, between 4 and 5"
    assert caption(result, cut(result, "axial", 8, box)) == "axial: acquired slice 5"
    assert caption(result, cut(result, "coronal", 60, box)) == "coronal: slices every 2.5 mm"


def test_gray_values_by_hand():
    image = np.array([[-1000.0, -20.0, 44.0, 108.0, 3000.0, np.nan]])[:, :5]
    assert gray(image, (44.0, 128.0)).tolist() == [[0, 0, 128, 255, 255]]


class Page(HTMLParser):
    """What a browser would find: tags that fit together, texts by tag, rows of cells, pictures, headings."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts = [], [], []
        self.rows, self.images, self.links, self.verdicts = [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append((tag, given))
        self.links += [given[key] for key in ("src", "href", "srcset", "action", "data") if key in given]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "p" and "verdict" in given.get("class", ""):
            self.verdicts.append([given["class"].split()[-1], ""])
        elif tag == "img":
            pixels = Image.open(io.BytesIO(base64.b64decode(given["src"].split(",")[1])))
            self.images.append((given, np.asarray(pixels)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append((self.open[-1] if self.open else "", text))
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += text
        if self.verdicts and "p" in self.open and "section" not in self.open and "header" not in self.open:
            self.verdicts[-1][1] += text

    def all(self, tag: str) -> list[str]:
        return [text for where, text in self.texts if where == tag]

    @property
    def shown(self) -> str:
        return " ".join(text for where, text in self.texts if where != "style")


@pytest.fixture(scope="module")
def study(request):
    """A scan, its result, and all reports of it."""
    phantom = request.getfixturevalue("phantom")
    scan = Volume(phantom.image, phantom.spacing, phantom.origin, provenance="A" * 24, units="HU")
    result = interpolate(scan, method="linear").volume
    return {
        "scan": scan,
        "result": result,
        "trust": trust(scan, method="cubic", baselines=("linear",)),
        "noise": analyze_noise(scan, method="linear"),
        "noise_rows": noise_before_and_after(scan, result),
        "measurements": measure(scan, phantom.mask, result).rows,
    }


@pytest.fixture(scope="module")
def page(study):
    return Page(study_page(**study, title="Case 7", remarks=["Device: CPU", "Warning: look here."]))


def test_page_is_complete_and_stands_alone(page, study):
    assert page.all("h1") == ["Case 7"]
    assert page.all("title")[0] == "Case 7"  # the others are told by points of plots
    assert page.all("h2") == [
        "Original and result", "Trust check", "Noise", "Measurements", "Slices and geometry", "How it was made",
        "Remarks",
    ]  # fmt: skip
    assert page.links
    assert all(link.startswith("data:image/png;base64,") for link in page.links)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    html = study_page(**study)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|javascript:", re.sub(r"base64,[^\"]*", "", html))
    assert page.shown.count("Not a medical device") == 1
    assert "None" not in page.shown
    assert not re.search(r"\bnan\b", page.shown, re.IGNORECASE)


def test_page_shows_the_pixels_that_are_there(page, study):
    """The pictures are the planes of scan and result in one window, each slice as high as it is apart."""
    scan, result = study["scan"], study["result"]
    point, box = interesting_point(result), body_box(result)
    views = [cut(v, plane, number_at(v, plane, point), box) for v in (scan, result) for plane in PLANES]
    repeats = [1, 3, 3, 1, 1, 1]  # 1.8 mm pixels, slices at 5 and 2.5 mm
    assert len(page.images) == 6 + 2
    for (attributes, pixels), view, repeat in zip(page.images, views, repeats):
        np.testing.assert_array_equal(pixels, np.repeat(gray(view.image, (44.0, 128.0)), repeat, axis=0))
        across, down = (float(mm) for mm in attributes["style"].split(":")[1].split("/"))
        assert (across, down) == pytest.approx((view.width, view.height), rel=1e-5)
    row = max(study["noise"].rows, key=lambda row: row["tissue_pixels"])
    median = np.median([row["noise_acquired"] for row in study["noise"].rows])
    residual = cut(study["noise"].residual, "axial", row["slice"], box)
    np.testing.assert_array_equal(page.images[7][1], gray(residual.image, (0.0, 8 * median)))


def test_page_says_which_slices_are_synthesized(page):
    captions = page.all("figcaption")
    assert captions[0] == "Axial: acquired slice 12"
    assert captions[3] == "Axial: synthesized, between 12 and 13"
    assert "24 slices every 5 mm became 47 every 2.5 mm: 24 acquired, 23 synthesized." in page.shown
    made = [given for tag, given in page.tags if tag == "figcaption" and "made-s" in given.get("class", "")]
    assert len(made) == 1
    assert ["synthesized", "0", "23"] in page.rows
    assert ["acquired", "24", "24"] in page.rows


def test_page_has_the_figures_that_were_given(page, study):
    means = study["trust"].means
    for method in ("cubic", "linear"):
        one = means[method]
        assert [
            method, f"{one['psnr_brain']:.2f}", f"{one['ssim_brain']:.4f}", f"{one['mae_hu']:.2f}",
            f"{one['mae_intracranial']:.2f}", f"{one['psnr_hu']:.2f}", f"{one['noise_ratio']:.3f}",
        ] in page.rows  # fmt: skip
    best = max(means, key=lambda method: means[method]["psnr_brain"])
    assert f"{means[best]['psnr_brain']:.2f}" in page.all("b")
    points = [text for text in page.all("title") if " at " in text]
    for row in study["trust"].rows:
        assert f"{row['method']}: {row['psnr_brain']:.5g} at {row['slice'] + 1}" in points
    for row in study["measurements"]:
        shown = next(r for r in page.rows if r[:2] == ["1", row["grid"]])
        assert shown[2:5] == [f"{row[key]:.2f}" for key in ("volume_ml", "surface_volume_ml", "abc2_ml")]
        assert shown[6] == f"{row['mean_hu']:.1f} ± {row['sd_hu']:.1f}"
        assert float(shown[8].replace("−", "-")) == pytest.approx(row["difference_percent"], abs=0.051)
    assert ["Places where the residual holds more than noise", str(study["noise"].blobs)] in page.rows
    assert ["Method", "linear"] in page.rows
    assert ["Device", "cpu"] in page.rows


def test_warnings_and_verdict_stand_on_top(study):
    losing = replace(study["trust"], trusted=False, verdict="Warning: it does not win.")
    html = study_page(study["scan"], trust=losing, remarks=["Warning: a gap.", "A remark.", "A remark."])
    page = Page(html)
    assert page.verdicts == [["warn", "Trust check. Warning: it does not win."], ["warn", "Warning: a gap."]]
    assert page.all("li") == ["A remark."]
    for trusted, kind in ((True, "good"), (None, "open")):
        assert Page(study_page(study["scan"], trust=replace(losing, trusted=trusted))).verdicts[0][0] == kind


def test_missing_parts_leave_no_empty_sections(study):
    page = Page(study_page(study["scan"]))
    assert page.all("h2") == ["Images", "Slices and geometry"]
    assert len(page.images) == 3
    assert not page.verdicts
    assert "24 slices every 5 mm: 24 acquired." in page.shown
    empty = replace(study["noise"], rows=[])
    assert "Noise" in Page(study_page(study["scan"], noise=empty)).all(
        "h2"
    )  # the places are a figure as well
    denoised = interpolate(study["scan"], method="linear", output_mode="denoise-only").volume
    page = Page(study_page(study["scan"], denoised))
    assert "24 slices every 5 mm, denoised: 2 acquired, 22 denoised." in page.shown
    assert ["Denoising strength", "0.5"] in page.rows


def test_figures_that_are_undefined_are_a_dash(study):
    """As they come out of JSON (None) and CSV (an empty text)."""
    report = study["trust"]
    means = {method: {**figures, "noise_ratio": None} for method, figures in report.means.items()}
    means["cubic"]["mae_intracranial"] = None
    means["linear"]["psnr_hu"] = inf
    rows = [{**row, "psnr_brain": None} for row in report.rows]
    measured = [{"segment": "left", "grid": "acquired", "volume_ml": "12.5", "mean_hu": "", "sd_hu": None}]
    page = Page(
        study_page(study["scan"], trust=replace(report, means=means, rows=rows), measurements=measured)
    )
    cubic = next(row for row in page.rows if row and row[0] == "cubic")
    assert len(cubic) == 6  # no method has a noise ratio
    assert cubic[4] == "–"
    assert "∞" in next(row for row in page.rows if row and row[0] == "linear")
    assert ["left", "acquired", "12.50", "–", "–", "– × – × –", "– ± –", "–", "–"] in page.rows
    assert not [tag for tag, given in page.tags if given.get("class") == "plot"]


def test_nothing_is_taken_for_markup(study):
    nasty = "<img src=x onerror=alert(1)>\"'&</style><script>"
    measured = [{**study["measurements"][0], "segment": nasty, "grid": nasty}]
    result = replace(study["result"], history=({"method": nasty, "patient": "Jane Doe", "factor": [nasty]},))
    report = replace(
        study["trust"],
        verdict=nasty,
        means={nasty: study["trust"].means["cubic"]},
        rows=[{**row, "method": nasty} for row in study["trust"].rows if row["method"] == "cubic"],
    )
    html = study_page(
        study["scan"], result, title=nasty, trust=report, measurements=measured, remarks=[nasty]
    )
    page = Page(html)
    assert page.all("h1") == page.all("title")[:1] == page.all("li") == [nasty]
    assert [nasty, nasty] in [row[:2] for row in page.rows]
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert all(link.startswith("data:image/png") for link in page.links)
    assert html.count("<style>") == 1


def test_nothing_of_the_patient_comes_along(study):
    """Neither header entries nor foreign entries of the history are shown."""
    private = {"PatientName": "Jane Doe", "Path": "/home/jane"}
    scan = replace(study["scan"], header=private, history=({"method": "linear", **private},))
    shown = study_page(scan)
    assert "linear" in shown
    assert "jane" not in shown.lower()


def test_a_name_that_utf8_cannot_hold(study):
    html = study_page(study["scan"], title="caf\udce9")
    assert html.encode("utf-8").count(b"caf?") == 2


def test_a_result_of_another_scan_is_refused(study):
    moved = replace(study["result"], origin=(0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="does not belong"):
        study_page(study["scan"], moved)
    with pytest.raises(InputError, match="width of the window"):
        study_page(study["scan"], window=(40.0, 0.0))


def test_reports_of_another_scan_are_refused(study):
    other = replace(study["scan"], array=study["scan"].array[:9], provenance="A" * 9)
    for part in ("trust", "noise"):
        with pytest.raises(InputError, match=f"{part} .*not belong to this scan"):
            study_page(other, **{part: study[part]})
    wide = replace(study["scan"], spacing=(1.8, 1.8, 4.0))
    with pytest.raises(InputError, match="trust report does not belong"):
        study_page(wide, trust=study["trust"])


def test_a_place_outside_of_the_scan_is_brought_into_it(study):
    page = Page(study_page(study["scan"], position=(1e4, 0.0, -1e4)))
    assert page.all("figcaption")[0] == "Axial: acquired slice 1"
    x, _, z = (study["scan"].affine @ (127, 64, 0, 1))[:3]
    assert re.search(rf"go through L {x:.1f}, . [\d.]+, I {-z:.1f} mm", page.shown)


def test_page_of_another_modality_and_place(study):
    scan = study["scan"]
    mr = replace(scan, array=(scan.array.astype(np.float32) + 1000) / 7, units="arbitrary")
    position = tuple((scan.affine @ (60, 50, 5, 1))[:3])
    page = Page(study_page(mr, position=position))
    low, high = np.percentile(mr.array, (1, 99))
    assert f"center {(low + high) / 2:.4g}, width {high - low:.4g} in the units of the scan" in page.shown
    assert page.all("figcaption")[0] == "Axial: acquired slice 6"
    view = cut(mr, "sagittal", 60, body_box(mr))
    expected = gray(view.image, ((low + high) / 2, high - low))
    np.testing.assert_array_equal(page.images[2][1], np.repeat(expected, 3, axis=0))


def test_a_coronal_stack_and_a_tilted_one(study):
    scan = study["scan"]
    coronal = Volume(scan.array, (1.0, 4.0, 1.0), units="HU")
    page = Page(study_page(coronal))
    assert page.all("figcaption")[1] == "Coronal: slice 64, origin unknown"
    strips = [given["class"] for tag, given in page.tags if given.get("class", "").startswith("strip")]
    assert strips == [
        "strip beside",
        "strip below",
    ]  # slices run down the axial plane, across the sagittal one
    direction = np.eye(3)
    direction[:, 2] = (0.0, np.sin(np.deg2rad(15)), np.cos(np.deg2rad(15)))
    page = Page(study_page(replace(scan, direction=direction)))
    assert ["Gantry tilt degrees", "15.0"] in page.rows


def test_page_of_a_full_scan_is_small():
    """512 x 512 x 59 with the noise of a real scan, all parts: below 1.5 MB, in a second or two."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    head = np.where(x**2 + y**2 < 0.8, 35.0, -1000.0)
    array = (head + 8.0 * rng.standard_normal((30, 512, 512))).astype(np.int16)
    scan = Volume(array, (0.45, 0.45, 5.0), units="HU", provenance="A" * 30)
    result = interpolate(scan, method="linear").volume
    noise = analyze_noise(replace(scan, array=array[:4], provenance="AAAA"), method="linear")
    whole = np.zeros(array.shape, dtype=np.float32)
    whole[:4] = noise.residual.array
    noise = replace(noise, residual=scan.with_map(whole))
    html = study_page(scan, result, noise=noise)
    assert result.array.shape == (59, 512, 512)
    assert len(html.encode()) < 1.5e6


def test_report_from_json_makes_the_same_page(study):
    values = json.loads(json.dumps(study["trust"].as_dict()))
    back = TrustReport.from_dict(values)
    assert study_page(study["scan"], trust=back) == study_page(study["scan"], trust=study["trust"])


@pytest.mark.parametrize("values", [{}, {"method": "x"}, {"rows": 3}, []])
def test_what_is_no_trust_report(study, values):
    complete = study["trust"].as_dict() if values == {"rows": 3} else {}
    with pytest.raises(InputError, match="run the trust check again"):
        TrustReport.from_dict({**complete, **values} if isinstance(values, dict) else values)


@pytest.fixture
def files(study, tmp_path):
    """What the commands write, in a folder."""
    with Outputs() as outputs:
        outputs.volume(study["scan"], tmp_path / "scan.nrrd")
        outputs.volume(study["result"], tmp_path / "result.nrrd")
        outputs.text(tmp_path / "trust.json", json.dumps(study["trust"].as_dict()))
        write_noise_report(study["scan"], study["noise"], tmp_path / "noise", outputs, study["noise_rows"])
        with outputs.file(tmp_path / "ml.csv") as table:
            write_csv(table, study["measurements"], COLUMNS)
    return tmp_path


def test_command_makes_the_page_from_files(study, files, capsys):
    """The page from the files that other commands wrote is that from the objects in memory."""
    position = (5.0, -3.0, -9.3)
    arguments = [
        "page", files / "scan.nrrd", files / "result.nrrd", "--output", files / "page.html", "--title", "Case 7",
        "--trust", files / "trust.json", "--noise", files / "noise" / "noise.json",
        "--measurements", files / "ml.csv", "--remark", "Warning: one.", "--remark", "Two.",
        "--window", 40, 80, "--position", *position, "--progress", "json",
    ]  # fmt: skip
    assert main([str(one) for one in arguments]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["paths"] == [str(files / "page.html")]
    written = (files / "page.html").read_text(encoding="utf-8")
    assert written == study_page(
        **study, title="Case 7", remarks=["Warning: one.", "Two."], window=(40.0, 80.0), position=position
    )


def test_command_with_the_scan_alone(files):
    (files / "noise" / "residual.nrrd").unlink()
    out = str(files / "page.html")
    assert main(["page", str(files / "scan.nrrd"), "--output", out]) == 0
    assert Page((files / "page.html").read_text(encoding="utf-8")).all("h2") == [
        "Images",
        "Slices and geometry",
    ]
    assert (
        main(["page", str(files / "scan.nrrd"), "--output", out, "--noise", str(files / "noise/noise.json")])
        == 0
    )
    page = Page((files / "page.html").read_text(encoding="utf-8"))
    assert "Noise" in page.all("h2")
    assert len(page.images) == 3  # the residual is not there


def test_the_name_of_the_file_is_not_on_the_page(tmp_path, capsys):
    """Remarks on reading name the file, and a file is often called after the patient."""
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 40 40 4\nendian: little\nencoding: raw\n\n"
    (tmp_path / "jane_doe.nrrd").write_bytes(header.encode() + np.zeros((4, 40, 40), "<i2").tobytes())
    out = tmp_path / "page.html"
    assert main(["page", str(tmp_path / "jane_doe.nrrd"), "--output", str(out)]) == 0
    assert "'jane_doe.nrrd' does not state its spacing" in capsys.readouterr().err
    assert "jane" not in out.read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    ("option", "name", "content", "sentence"),
    [
        ("--trust", "x.json", "[]", "no trust report of this version"),
        ("--trust", "x.json", "{", "no JSON file"),
        ("--trust", "missing.json", None, "cannot be read"),
        ("--noise", "x.json", "{}", "no noise report of this version"),
        ("--noise", "x.json", "3", "no noise report of this version"),
        ("--measurements", "x.csv", "a,b\n1,2\n", "no column 'segment'"),
        ("--measurements", "x.csv", "", "no column 'segment'"),
        ("--measurements", "x.csv", b"\xff\xfe\x00", "no text file"),
        ("--output", "scan.nrrd", None, "never overwritten"),
    ],
)
def test_command_refuses_what_is_no_report(files, capsys, option, name, content, sentence):
    if content is not None:
        (files / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = (files / "scan.nrrd").read_bytes()
    arguments = [
        "page",
        str(files / "scan.nrrd"),
        "--output",
        str(files / "page.html"),
        option,
        str(files / name),
    ]
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not (files / "page.html").exists()
    assert (files / "scan.nrrd").read_bytes() == before


def test_command_overwrites_none_of_the_reports(files, capsys):
    for name in ("trust.json", "noise/noise.json", "noise/residual.nrrd", "ml.csv"):
        before = (files / name).read_bytes()
        arguments = ["--trust", "trust.json", "--noise", "noise/noise.json", "--measurements", "ml.csv"]
        arguments = [str(files / one) if "." in one else one for one in arguments]
        assert main(["page", str(files / "scan.nrrd"), *arguments, "--output", str(files / name)]) == 2
        assert "never overwritten" in capsys.readouterr().err
        assert (files / name).read_bytes() == before


def test_noise_report_from_json(study):
    report = replace(study["noise"], rows=[{**study["noise"].rows[0], "reduction": nan}])
    back = NoiseReport.from_dict(json.loads(json.dumps(report.as_dict())), report.residual)
    assert np.isnan(back.rows[0].pop("reduction"))
    assert back.rows[0] == {k: v for k, v in report.rows[0].items() if k != "reduction"}
    assert (back.method, back.blobs, back.residual) == (report.method, report.blobs, report.residual)


def _plot(*series: Series, **options) -> tuple[str, list[tuple[float, float]]]:
    """The plot as text, and where its points lie."""
    text = as_html(line_plot(series, "slice", "PSNR, dB", **options))
    points = re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', text)
    return text, [(float(x), float(y)) for x, y in points]


def test_points_lie_where_their_values_are():
    _, points = _plot(Series("a", [1, 2, 4], [10.0, 20.0, 40.0]))
    (x1, y1), (x2, y2), (x4, y4) = points
    assert (x4 - x2) == pytest.approx(2 * (x2 - x1), abs=0.3)
    assert (y2 - y4) == pytest.approx(2 * (y1 - y2), abs=0.3)
    assert y4 < y2 < y1


def test_ticks_are_round_and_fit_the_axis():
    text, _ = _plot(Series("a", range(1, 30), np.linspace(21.3, 34.9, 29)))
    labels = re.findall(r"<text[^>]*>([-\d.]+)</text>", text)
    assert labels == ["20", "25", "30", "35", "5", "10", "15", "20", "25"]
    text, _ = _plot(Series("a", [0, 1], [0.0, 0.04]), from_zero=True)
    assert ">0.00<" in text
    assert ">0.04<" in text


def test_what_is_undefined_interrupts_the_line():
    text, points = _plot(Series("a", range(6), [1.0, 2.0, nan, 3.0, inf, 5.0]), Series("b", [], []))
    assert len(points) == 4
    assert text.count("<polyline") == 1  # 3 and 5 are single points between gaps
    assert line_plot([Series("a", [1], [nan])], "x", "y") is None


def test_legend_stands_above_the_lines_and_wraps():
    names = [f"method with a long name {n}" for n in range(6)]
    text, points = _plot(*(Series(name, [1, 2], [n, n + 1]) for n, name in enumerate(names)))
    places = [float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)" text-anchor="start"', text)]
    assert len(places) == 6
    assert len(set(places)) == 2
    assert max(places) < min(y for _, y in points)
    widths = re.search(r'viewBox="0 0 760 ([\d.]+)"', text)
    assert max(y for _, y in points) < float(widths.group(1))


def test_a_band_has_a_cell_for_each_slice():
    cells = list(band(["red", "blue", "red"], vertical=True))
    assert [cell.get("fill") for cell in cells] == ["red", "blue", "red"]
    assert [float(cell.get("y")) for cell in cells] == pytest.approx([0.04, 1.04, 2.04])


def test_elements_escape_texts_and_leave_out_none():
    made = element("p", "a < b ", None, element("b", "c & d"), " e", class_="x", title=None, data_n=2.0)
    assert as_html(made) == (
        '<!DOCTYPE html>\n<p class="x" data-n="2">a &lt; b <b>c &amp; d</b> e</p>\n'
    )  # fmt: skip
