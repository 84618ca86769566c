"""The training script: what it draws, that it learns, that it can be stopped, and that it does not collapse."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from conftest import moving_ellipse

from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.networks.flow_refine import FlowRefine
from SliceInterpolationLib.process import BAD_INPUT
from SliceInterpolationTrainerLib.__main__ import main
from SliceInterpolationTrainerLib.data import ExampleSampler, Stack, load_stacks, read_manifest
from SliceInterpolationTrainerLib.objective import reconstruction_loss, uncertainty_loss
from SliceInterpolationTrainerLib.tasks.slices import SliceTask
from SliceInterpolationTrainerLib.training import Guard, TrainingConfig, fit


@pytest.fixture
def stacks():
    """Ellipses at 1 mm, so that gaps from 2 mm on can be drawn; noisy, so that there is something to learn."""
    rng = np.random.default_rng(0)
    dense = moving_ellipse(slices=40, size=112, shift=0.5) + rng.normal(0, 8, (40, 112, 112))
    return [Stack("ellipses axial 1", dense.round().astype(np.int16), 1.0, 0.5, 1.0, (-1000.0, 800.0))]


def test_examples_are_reproducible_and_sound(stacks):
    sampler, again, other = (ExampleSampler(stacks, patch=64, seed=s) for s in (1, 1, 2))
    batch = sampler.batch(5, 6)
    assert batch["slices"].shape == (6, 4, 64, 64)
    assert batch["target"].shape == (6, 1, 64, 64)
    assert ((batch["t"] > 0) & (batch["t"] < 1)).all()
    assert (batch["gap_mm"] >= 1.25).all()
    assert (batch["gap_mm"] <= 10).all()
    for name, value in again.batch(5, 6).items():
        assert torch.equal(batch[name], value)
    assert not torch.equal(batch["slices"], other.batch(5, 6)["slices"])
    assert not torch.equal(batch["slices"], sampler.batch(6, 6)["slices"])


def test_target_lies_at_t(stacks):
    """A ramp along the slices tells the position of every image of an example."""
    ramp = np.arange(40, dtype=np.int16)[:, None, None] * 100 + np.zeros((40, 80, 80), np.int16)
    sampler = ExampleSampler([Stack("ramp axial 1", ramp, 1.0, 1.0, 1.0, (0.0, 3900.0))], patch=48, seed=0)
    exact = 0
    for number in range(12):
        batch = sampler.batch(number, 4)
        before, after = batch["slices"][:, 1].mean((1, 2)), batch["slices"][:, 2].mean((1, 2))
        target = batch["target"].mean((1, 2, 3))
        exact += int(((before + batch["t"] * (after - before) - target).abs() < 25).sum())
    assert exact > 40  # of 48; HU changes and noise move a few


def test_a_small_body_in_a_large_patch_is_drawn_all_the_same():
    """Patches that are mostly air are avoided, but where there are no others they are taken."""
    air = np.full((12, 40, 40), -1000, np.int16)
    air[:, 18:22, 18:22] = 40
    sampler = ExampleSampler([Stack("finger", air, 2.0, 1.0, 1.0, (-1000.0, 40.0))], patch=96)
    batch = sampler.batch(0, 2)
    assert batch["target"].shape == (2, 1, 96, 96)
    assert (batch["target"] > -500).any()
    with pytest.raises(InputError, match="three slices"):
        ExampleSampler([Stack("two", air[:2], 2.0, 1.0, 1.0, (-1000.0, 40.0))])


def test_split_and_shares_follow_the_manifest(tmp_path):
    rows = [
        ("head.nii.gz", "train", "CT", "head", 1.0),
        ("chest.nii.gz", "train", "CT", "chest", 3.0),
        ("other.nii.gz", "validation", "CT", "head", 1.0),
        ("mr.nii.gz", "train", "MR", "brain", 1.0),
    ]
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "split", "modality", "body"])
        writer.writerows(row[:4] for row in rows)
    for name, _, _, _, spacing in rows:
        image = sitk.GetImageFromArray(np.zeros((12, 20, 16), np.int16))
        image.SetSpacing((1, 1, spacing))
        sitk.WriteImage(image, str(tmp_path / name))
    stacks = load_stacks(tmp_path, read_manifest(tmp_path, "train", "CT"), head_share=0.6)
    assert sorted(stack.name for stack in stacks) == [
        "chest.nii.gz axial 0", "head.nii.gz axial 1", "head.nii.gz coronal 1", "head.nii.gz sagittal 1",
    ]  # fmt: skip
    heads = sum(s.weight for s in stacks if s.name.endswith("1"))
    assert heads == pytest.approx(0.6)


def test_scans_of_one_source_weigh_as_the_root_of_all_their_slices(tmp_path):
    """Four alike scans of one source together, as one scan of another source with as many slices in all."""
    rows = [{"file": f"{k}.nrrd", "body": "head", "source": "series"} for k in range(4)]
    rows += [
        {"file": "long.nrrd", "body": "head", "source": "long"},
        {"file": "short.nrrd", "body": "head", "source": "short"},
        {"file": "unnamed.nrrd", "body": "head", "source": ""},
        {"file": "unnamed too.nrrd", "body": "head", "source": ""},
    ]
    counts = {"long.nrrd": 40, "short.nrrd": 10}
    for row in rows:
        image = sitk.GetImageFromArray(np.zeros((counts.get(row["file"], 10), 8, 8), np.int16))
        image.SetSpacing((1, 1, 3))
        sitk.WriteImage(image, str(tmp_path / row["file"]))
    weight = {stack.name.split(" axial")[0]: stack.weight for stack in load_stacks(tmp_path, rows)}
    series = sum(weight[f"{k}.nrrd"] for k in range(4))
    assert series == pytest.approx(weight["long.nrrd"])
    assert series == pytest.approx(2 * weight["short.nrrd"])
    assert weight["unnamed.nrrd"] == weight["unnamed too.nrrd"] == pytest.approx(weight["short.nrrd"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [([], "holds no scan and modality CT"), (["--minutes", "-1"], "must be a positive number")],
)
def test_the_command_says_what_is_wrong(tmp_path, capsys, arguments, words):
    command = ["train", "flow-refine", "--data", str(tmp_path), "--output", str(tmp_path / "run")]
    if arguments:
        (tmp_path / "manifest.csv").write_text("file,split,modality,body\nhead.nrrd,train,CT,head\n")
        image = sitk.GetImageFromArray(np.zeros((12, 20, 16), np.int16))
        image.SetSpacing((1, 1, 2))
        sitk.WriteImage(image, str(tmp_path / "head.nrrd"))
    assert main([*command, *arguments]) == BAD_INPUT
    assert words in capsys.readouterr().err
    for text, expected in (
        ("file,split\n", "lacks the columns"),
        ("file,split,modality,body\n", "has no row of the split train"),
    ):
        (tmp_path / "manifest.csv").write_text(text)
        assert main(command) == BAD_INPUT
        assert expected in capsys.readouterr().err
    (tmp_path / "manifest.csv").write_text("file,split,modality,body\nlost.nrrd,train,CT,head\n")
    assert main(command) == BAD_INPUT
    assert "lost.nrrd" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_short_training_improves_on_the_prior(stacks, tmp_path):
    sampler = ExampleSampler(stacks, patch=64, seed=0)
    config = TrainingConfig(steps=120, batch=4, learning_rate=3e-3, warmup_steps=10, ema=0.98)
    torch.manual_seed(0)
    network = fit(SliceTask(FlowRefine(widths=(16, 24, 32)), margin=8), sampler, config, tmp_path)
    batch = ExampleSampler(stacks, patch=64, seed=99).batch(0, 24)
    torch.manual_seed(0)
    errors = []
    for candidate in (FlowRefine(widths=(16, 24, 32)), network):
        with torch.inference_mode():
            made = candidate(*(batch[k] for k in ("slices", "gap_mm", "pixel_mm", "t", "thickness_mm")))
        errors.append(float(reconstruction_loss(made, batch["target"], 0.0)))
    assert errors[1] < 0.95 * errors[0]
    assert (tmp_path / "checkpoint.pt").exists()


def test_training_by_steps_is_reproducible(stacks, tmp_path):
    weights = []
    for name in ("one", "two"):
        torch.manual_seed(3)
        config = TrainingConfig(steps=4, batch=2)
        sampler = ExampleSampler(stacks, patch=48, seed=3)
        task = SliceTask(FlowRefine(widths=(8, 8, 8)), margin=8, ssim_from=0.0)
        network = fit(task, sampler, config, tmp_path / name)
        weights.append(torch.cat([p.flatten() for p in network.parameters()]))
    assert torch.equal(*weights)


def test_guard_refuses_jumps():
    guard = Guard()
    for _ in range(5):
        assert not guard.suspects(1.0)
        guard.passed(1.0)
    assert guard.suspects(float("nan"))
    assert not guard.refused()
    assert guard.suspects(5.0)
    assert not guard.refused()
    assert guard.hits == 2
    assert not guard.suspects(1.2)
    guard.passed(1.2)
    assert guard.hits == 0
    assert guard.skipped == 2
    assert [guard.refused() for _ in range(3)] == [False, False, True]
    assert guard.scale == 0.6
    assert not guard.suspects(5.0)  # after going back, what is usual is learned anew


def test_saturated_predictions_keep_a_gradient():
    """A ghosted skull over brain: clipping the prediction would leave it almost without gradient."""
    prediction = torch.full((1, 1, 32, 32), 300.0, requires_grad=True)
    reconstruction_loss(prediction, torch.full((1, 1, 32, 32), 40.0), 0.0).backward()
    over_brain = prediction.grad.clone()
    prediction.grad = None
    reconstruction_loss(prediction, torch.full((1, 1, 32, 32), 250.0), 0.0).backward()
    assert (over_brain > 3 * prediction.grad).all()


def test_losses_are_least_at_the_truth():
    torch.manual_seed(0)
    truth = 40 + 20 * torch.randn(2, 1, 48, 48)
    losses = [float(reconstruction_loss(truth + e, truth, 0.15)) for e in (0.0, 3.0, 12.0)]
    assert losses[0] == pytest.approx(0, abs=1e-3)
    assert losses[0] < losses[1] < losses[2]
    error = 8 * torch.randn_like(truth)
    by_sd = [
        float(uncertainty_loss(truth + error, truth, torch.full_like(truth, s), beta=0)) for s in (2, 8, 32)
    ]
    assert by_sd[1] < min(by_sd[0], by_sd[2])
