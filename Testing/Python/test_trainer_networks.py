"""Training any two-slice network, the ablations of flow-refine, and publishing a run as a model."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter

from SliceInterpolationLib import catalogue
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.interpolators import create
from SliceInterpolationLib.interpolators.flow_refine import FlowRefineInterpolator
from SliceInterpolationLib.networks import build
from SliceInterpolationLib.process import BAD_INPUT, DONE
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.weights import write_weights
from SliceInterpolationTrainerLib.data import ExampleSampler, Stack, load_stacks, read_manifest
from SliceInterpolationTrainerLib.losses import SSIM, WindowL1
from SliceInterpolationTrainerLib.objective import brain_ssim_loss, reconstruction_loss
from SliceInterpolationTrainerLib.prediction import TRAINABLE, predict
from SliceInterpolationTrainerLib.publish import describe_run, main, publish
from SliceInterpolationTrainerLib.tasks.slices import SliceTask
from SliceInterpolationTrainerLib.training import TrainingConfig, fit

SMALL = {
    "flow-refine": {"widths": [8, 8, 8]},
    "dsi-unet": {},
    "msi-cnn": {"channels": 8, "blocks": 1},
    "msi-unet": {"channels": 8},
    "msi-gan": {"channels": 8, "blocks": 1},
    "msi-gan-plus": {"channels": 8, "blocks": 1},
    "rife-style": {"widths": [8, 8, 8], "context": 4},
    "ifrnet-style": {"channels": [8, 8, 8, 8]},
}
ABLATIONS = [
    {"flow_prior": flow_prior, "context": context, "candidates": candidates}
    for flow_prior, context, candidates in itertools.product((True, False), (2, 4), (True, False))
]
GAP = (1.25, 10.0)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def head(slices: int = 24, side: int = 72) -> np.ndarray:
    """A skull-like ring around textured brain, drifting from slice to slice, int16 HU."""
    generator = np.random.default_rng(4)
    texture = 40 + 400 * gaussian_filter(generator.standard_normal((slices, side, side)), (2, 3, 3))
    y, x = np.mgrid[:side, :side] - side / 2
    radius = np.stack([np.hypot(x - k / 4, y + k / 6) for k in range(slices)]) / side
    out = np.where(radius < 0.4, texture, -1000.0)
    return np.where(np.abs(radius - 0.4) < 0.03, 900.0, out).astype(np.int16)


def sampler(middle_only: bool = False, patch: int = 48) -> ExampleSampler:
    stack = Stack("head", head(), 1.25, 0.5, 1.0, (-1000.0, 900.0))
    return ExampleSampler([stack], patch=patch, gap_mm=GAP, middle_only=middle_only)


def few_steps(network: torch.nn.Module, folder: Path, steps: int = 4) -> dict:
    """Train for a moment; the checkpoint."""
    config = TrainingConfig(steps=steps, batch=2)
    task = SliceTask(network, margin=8, ssim_from=0.0)
    trained = fit(task, sampler(getattr(network, "middle_only", False)), config, folder)
    assert not trained.training
    checkpoint = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert checkpoint["state"]["step"] > 0
    return checkpoint


# Examples


def test_networks_of_the_middle_slice_get_middle_slices_only():
    assert (sampler(middle_only=True).batch(0, 32)["t"] == 0.5).all()
    free = sampler().batch(0, 32)["t"]
    assert len(free.unique()) > 3
    assert ((free > 0) & (free < 1)).all()


@pytest.mark.parametrize("name", TRAINABLE)
def test_prediction_and_target_are_hu_of_the_networks_domain(name):
    network = build(name, **SMALL[name]).eval()
    batch = sampler(getattr(network, "middle_only", False)).batch(3, 4)
    batch["percentiles"][1] = torch.tensor([-900.0, 200.0])
    with torch.no_grad():
        prediction, target, sd = predict(network, batch)
    assert prediction.shape == target.shape == batch["target"].shape
    assert prediction.isfinite().all()
    if name == "flow-refine":
        assert torch.equal(target, batch["target"])
        assert (sd > 0).all()
        return
    assert sd is None
    if network.intensity == "brain-window":
        limits = torch.tensor([-20.0, 107.0]).expand(4, 2)
    else:
        limits = batch["percentiles"]
    expected = batch["target"].clamp(limits[:, 0].view(-1, 1, 1, 1), limits[:, 1].view(-1, 1, 1, 1))
    torch.testing.assert_close(target, expected, atol=1e-3, rtol=0)
    assert float((target[1] - batch["target"][1]).abs().max()) > 100  # there was something to clip


def test_flow_networks_begin_as_linear_interpolation_in_hu():
    batch = sampler().batch(1, 2)
    batch["slices"] = batch["slices"].clamp(-10, 100)
    linear = torch.lerp(*batch["slices"][:, 1:3].split(1, 1), batch["t"].view(-1, 1, 1, 1))
    for name in ("rife-style", "ifrnet-style"):
        with torch.no_grad():
            prediction, _, _ = predict(build(name, **SMALL[name]), batch)
        # IFRNet's features and RIFE's residual head are zero at the start.
        torch.testing.assert_close(prediction, linear, atol=0.5, rtol=0)


# The objective


def test_window_loss_tells_a_clipped_target_from_one_at_the_end_of_the_window():
    prediction, target = torch.tensor([[130.0, -40.0]]), torch.tensor([[107.0, -20.0]])
    assert float(WindowL1(-20, 107)(prediction, target)) == 0
    exact = WindowL1(-20, 107, clipped_target=False)(prediction, target)
    assert float(exact) == pytest.approx((23 + 20) / 2 / 127)


def test_objective_is_the_sum_that_it_says():
    batch = sampler().batch(0, 3)
    target = batch["target"].round()
    prediction = target + 30 * torch.randn_like(target)
    p, y = prediction.double().numpy(), target.double().numpy()
    u, v = (p + 20) / 127, (y + 20) / 127
    free = ((u > 1) & (v > 1)) | ((u < 0) & (v < 0))
    window = np.where(free, 0, np.abs(u - v.clip(0, 1))).mean()

    def log(hu):
        return np.sign(hu) * np.log1p(np.abs(hu) / 50) / 4

    expected = window + np.abs(log(p) - log(y)).mean() + 0.2 * np.abs(p - y).mean() / 1000
    assert float(reconstruction_loss(prediction, target, 0.0)) == pytest.approx(expected, abs=1e-6)
    similarity = SSIM()(torch.from_numpy(u.clip(-0.5, 1.5)), torch.from_numpy(v.clip(0, 1)))
    assert float(brain_ssim_loss(prediction, target)) == pytest.approx(float(similarity), abs=1e-5)
    whole = float(reconstruction_loss(prediction, target, 0.15))
    assert whole == pytest.approx(expected + 0.15 * float(similarity), abs=1e-5)


# Training


@pytest.mark.parametrize("name", [name for name in TRAINABLE if name != "dsi-unet"])
def test_network_trains(name, tmp_path):
    network = build(name, **SMALL[name])
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    checkpoint = few_steps(network, tmp_path)
    changed = [key for key, tensor in checkpoint["network"].items() if not torch.equal(tensor, before[key])]
    # The context of RIFE acts through a head that is zero at first, so it lags behind by a step.
    assert len(changed) > 0.9 * len(before)
    assert all(tensor.isfinite().all() for tensor in checkpoint["average"].values())


@pytest.mark.slow
def test_batch_statistics_are_part_of_the_averaged_network(tmp_path):
    checkpoint = few_steps(build("dsi-unet"), tmp_path, steps=2)
    statistics = [key for key in checkpoint["average"] if key.endswith("running_mean")]
    assert statistics
    for key in statistics:
        assert torch.equal(checkpoint["average"][key], checkpoint["network"][key])
        assert checkpoint["average"][key].any()


@pytest.mark.parametrize("options", ABLATIONS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()))
def test_ablation_of_flow_refine_builds_runs_and_trains(options, tmp_path):
    network = build("flow-refine", widths=[8, 8, 8], **options)
    stack = SliceStack(head(4), gap=5.0, pixel=(0.5, 0.5))
    (start,) = FlowRefineInterpolator(network, "ablation").synthesize(stack, [1.25])
    linear = 0.75 * stack.image(1) + 0.25 * stack.image(2)
    (flow,) = create("flow").synthesize(stack, [1.25])
    reference = flow if options["flow_prior"] else linear
    if not options["candidates"]:  # else a share of the cubic and the linear estimate is mixed in
        np.testing.assert_allclose(start, reference, atol=0.05)
    assert np.abs(start - reference).mean() < np.abs(stack.image(1) - reference).mean()
    few_steps(network, tmp_path)
    (after,) = FlowRefineInterpolator(network.eval(), "ablation").synthesize(stack, [1.25])
    assert np.isfinite(after).all()
    assert not np.array_equal(after, start)


def test_ablation_by_context_sees_two_slices_alone():
    stack = head(4).astype(np.float32)
    other = stack.copy()
    other[[0, 3]] += 50
    for context, same in ((2, True), (4, False)):
        network = build("flow-refine", widths=[8, 8, 8], context=context, candidates=False)
        torch.nn.init.normal_(network.correct.weight, std=0.05)
        first, second = (
            next(FlowRefineInterpolator(network, "n").synthesize(SliceStack(s, 5.0, (0.5, 0.5)), [1.5]))
            for s in (stack, other)
        )
        assert np.array_equal(first, second) == same


# Publishing


def write_data(folder: Path) -> Path:
    """A data folder with one training scan, one for validation, and their manifest."""
    folder.mkdir()
    entries = {
        "modality": "CT",
        "body": "head",
        "spacing_mm": "0.5x0.5x1.25",
        "slice_thickness_mm": "1.25",
        "licence": "CC0",
        "source": "made by the test",
    }
    rows = [{"file": f"{split}.nrrd", "split": split, **entries} for split in ("train", "validation")]
    rng = np.random.default_rng(0)
    for row in rows:
        # Without noise of its own a scan is taken for an interpolated one.
        image = sitk.GetImageFromArray((head() + rng.normal(0, 8, head().shape)).round().astype(np.int16))
        image.SetSpacing((0.5, 0.5, 1.25))
        sitk.WriteImage(image, str(folder / row["file"]))
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A short run of a small IFRNet-style network by the training command."""
    folder = tmp_path_factory.mktemp("training")
    data = write_data(folder / "data")
    command = [
        sys.executable,
        "-m",
        "SliceInterpolationTrainerLib",
        "train",
        folder / "small.yaml",
        "--data",
        data,
        "--output",
        folder / "run",
    ]
    stage = {"name": "small", "network": "ifrnet-style", "config": SMALL["ifrnet-style"]}
    stage["options"] = {"margin": 16}
    (folder / "small.yaml").write_text(json.dumps({"title": "Small", "stages": [stage]}))  # YAML holds JSON
    command += ["--minutes", "0.03", "--patch", "64", "--threads", "1"]
    paths = os.pathsep.join(path for path in sys.path if path)
    subprocess.run([str(part) for part in command], check=True, env={**os.environ, "PYTHONPATH": paths})
    return folder / "run"


@pytest.mark.parametrize("half", [False, True])
def test_run_becomes_a_model(run, tmp_path, monkeypatch, capsys, half):
    monkeypatch.setenv("SLICE_INTERPOLATION_MODELS", str(tmp_path))
    figures = {"psnr_brain": {"own scans": 30.1}}
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    arguments = [str(run), "--name", "mine", "--figures", str(tmp_path / "figures.json")]
    arguments += ["--output", str(tmp_path / "mine"), *(["--half"] if half else [])]
    assert main(arguments) != DONE  # nobody but the user says under what license their model goes
    assert "--license" in capsys.readouterr().err
    assert main([*arguments, "--license", "LicenseRef-clinic"]) == DONE
    model = catalogue.find_model("mine")
    checkpoint = torch.load(run / "checkpoint.pt", weights_only=True)
    assert model.card["architecture"] == "ifrnet-style"
    assert model.card["config"] == SMALL["ifrnet-style"]
    assert model.gap_mm == GAP
    assert model.card["intensity"] == "brain-window"
    assert model.card["figures"] == figures
    assert model.card["license"] == "LicenseRef-clinic"
    assert model.card["training"]["settings"]["patch"] == 64
    assert [scan["file"] for scan in model.card["training"]["scans"]] == ["train.nrrd"]
    assert model.card["training"]["scans"][0]["license"] == "CC0"
    assert model.card["training"]["steps"] == checkpoint["state"]["step"] > 0
    assert "head" in model.card["limits"]
    assert str(run) not in (tmp_path / "mine" / "card.json").read_text()
    tolerance = 1e-3 if half else 0.0
    for key, tensor in model.load().state_dict().items():
        torch.testing.assert_close(tensor, checkpoint["best"]["average"][key], atol=tolerance, rtol=tolerance)
    size = model.weights.stat().st_size / sum(tensor.numel() for tensor in checkpoint["average"].values())
    assert (size < 3.5) == half
    (image,) = create("mine").synthesize(SliceStack(head(3), 2.5, (0.5, 0.5)), [0.75])
    assert np.isfinite(image).all()


FIGURES = {
    "not JSON": ("{", "not JSON"),
    "a list": ("[30.1]", "must hold a table"),
    "NaN": ('{"psnr": {"head": [NaN]}}', "psnr: head, 1 is nan"),
    "infinite": ('{"psnr": 1e999}', "psnr is inf"),
    "deep": ("[" * 100_000, "not JSON"),
}


@pytest.mark.parametrize("case", FIGURES)
def test_figures_that_are_none_are_not_published(run, tmp_path, capsys, case):
    content, words = FIGURES[case]
    (tmp_path / "figures.json").write_text(content)
    arguments = [str(run), "--name", "mine", "--license", "CC0-1.0", "--output", str(tmp_path / "mine")]
    assert main([*arguments, "--figures", str(tmp_path / "figures.json")]) == BAD_INPUT
    assert words in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["figures.json"]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"name": "linear"}, "name of a method"),
        ({"name": "../mine"}, "cannot be a model name"),
        ({"license": " "}, "under what license"),
        ({"description": "\x1b[2J"}, "description must be"),
    ],
)
def test_what_a_card_cannot_say_is_not_published(run, tmp_path, entries, words):
    output = tmp_path / "model"
    publish(run, "mine", "CC0-1.0", {}, output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(InputError, match=words):
        publish(
            **{"run": run, "name": "mine", "license": "CC0-1.0", "figures": {}, "output": output, **entries}
        )
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run: (run / "run.json").unlink(), "lacks run.json"),
        (lambda run: (run / "run.json").write_text("[]"), "must hold a table"),
        (lambda run: (run / "run.json").write_text('{"config": 5}'), "architecture, config, gap_mm, scans"),
        (lambda run: (run / "checkpoint.pt").unlink(), "lacks a checkpoint"),
        (lambda run: (run / "checkpoint.pt").write_bytes(b"nothing"), "cannot be read"),
    ],
)
def test_a_folder_that_is_no_run_is_not_published(run, tmp_path, spoil, words):
    shutil.copytree(run, tmp_path / "run")
    for path in (tmp_path / "run").glob("*.previous.pt"):
        path.unlink()
    spoil(tmp_path / "run")
    with pytest.raises(InputError, match=words):
        publish(tmp_path / "run", "mine", "CC0-1.0", {}, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_weights_beyond_half_precision_are_refused(tmp_path):
    network = torch.nn.Linear(2, 2)
    torch.nn.init.constant_(network.bias, 1e5)
    with pytest.raises(InputError, match="half precision"):
        write_weights(network, tmp_path / "weights.safetensors", half=True)


def test_weights_of_another_architecture_are_not_published(tmp_path):
    description = describe_run("msi-cnn", {}, GAP, [])
    (tmp_path / "run.json").write_text(json.dumps(description))
    state = build("flow-refine").state_dict()
    torch.save({"average": state, "state": {"step": 1, "seconds": 1.0}}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="do not fit"):
        publish(tmp_path, "wrong", "CC0-1.0", {}, tmp_path / "model")


def test_manifest_gives_the_percentiles_of_each_scan(tmp_path):
    data = write_data(tmp_path / "data")
    stacks = load_stacks(data, read_manifest(data, "train", "CT"))
    voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(data / "train.nrrd")))
    expected = np.percentile(voxels, (1, 99))
    assert {"axial", "coronal", "sagittal"} == {stack.name.split()[1] for stack in stacks}
    for stack in stacks:
        assert stack.percentiles == pytest.approx(tuple(expected))
