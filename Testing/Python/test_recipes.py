"""Every recipe: checked, trained for a few steps from start to end, published, and run on a volume."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import yaml
from conftest import moving_ellipse

from SliceInterpolationLib import cli, interpolate
from SliceInterpolationLib.catalogue import find_model
from SliceInterpolationLib.errors import InputError
from SliceInterpolationLib.networks import ARCHITECTURES
from SliceInterpolationLib.process import BAD_INPUT, DONE
from SliceInterpolationLib.volume import Volume
from SliceInterpolationTrainerLib.__main__ import main
from SliceInterpolationTrainerLib.blocks import BlockSampler
from SliceInterpolationTrainerLib.data import Stack
from SliceInterpolationTrainerLib.recipe import FOLDER, bundled_recipes, find_recipe, read_recipe
from SliceInterpolationTrainerLib.tasks import TASKS

NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
RDN = {"features": 8, "blocks": 1, "layers": 2, "growth": 8}
TINY = {
    "flow-refine": {"widths": [8, 8, 8]},
    "dsi-unet": {"width": 0.1, "depth": 0.1},
    "msi-cnn": {"channels": 8, "blocks": 1},
    "msi-unet": {"channels": 8},
    "msi-gan": {"channels": 8, "blocks": 1},
    "msi-gan-plus": {"channels": 8, "blocks": 1},
    "ddpm": {"channels": 8, "steps": 25},
    "saint": {"ami": RDN, "rfn": RDN},
    "acvtt": {"transfer": {"width": 4}, "fusion": {"width": 4}},
    "rife-style": {"widths": [8, 8, 8], "context": 4},
    "ifrnet-style": {"channels": [8, 8, 8, 8]},
    "i3net": {"channels": 8, "blocks": 3},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with one training scan and one for validation."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = []
    for split in ("train", "validation"):
        scan = moving_ellipse(slices=30, size=80, shift=0.5) + rng.normal(0, 8, (30, 80, 80))
        image = sitk.GetImageFromArray(scan.round().astype(np.int16))
        image.SetSpacing((0.8, 0.8, 1.5))
        sitk.WriteImage(image, str(folder / f"{split}.nrrd"))
        rows.append(
            {"file": f"{split}.nrrd", "split": split, "modality": "CT", "body": "head", "source": split}
        )
    with open(folder / "manifest.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


def tiny(name: str, folder: Path) -> Path:
    """A recipe as it is, but for the sizes of networks, patches and batches."""
    table = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    for stage in table["stages"]:
        config, small = stage.setdefault("config", {}), TINY[stage["network"]]
        for key, value in small.items():
            config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
        if config.get("sampling_steps"):
            config["sampling_steps"] = 2
        needs = 176 if "ms-ssim" in str(stage.get("options", {}).get("loss")) else 48
        stage["examples"]["patch"] = min(stage["examples"]["patch"], needs)
        if "slices" in stage["examples"]:
            stage["examples"]["slices"] = 4
        if stage["network"] == "acvtt":
            stage["examples"]["patch"] = 32
        stage["training"]["batch"] = min(stage["training"].get("batch", 8), 2)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(table))
    return path


def test_every_system_of_the_papers_has_a_recipe_as_published_and_a_robust_one():
    recipes = bundled_recipes()
    assert [one.name for one in recipes] == NAMES
    variants: dict[str, set[str]] = {}
    for one in recipes:
        variants.setdefault(one.network, set()).add(one.variant)
        assert one.note, one.name
        assert one.title, one.name
    assert set(variants) == set(ARCHITECTURES) - {"torchscript"}
    for network, found in variants.items():
        assert found == {"as published", "robust"} or network == "flow-refine"  # ours is published here
    losses = {stage.options["loss"] for one in recipes for stage in one.stages if one.name.startswith("dsi-")}
    assert losses == {"mse", "l1", "ssim", "ms-ssim", "ssim+l1", "ms-ssim+l1"}
    assert {stage.task for one in recipes for stage in one.stages} == set(TASKS)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_trains_and_its_model_interpolates(name, data, tmp_path, capsys):
    run = tmp_path / "run"
    command = [
        "train",
        str(tiny(name, tmp_path)),
        "--data",
        str(data),
        "--output",
        str(run),
        "--steps",
        "4",
        "--workers",
        "0",
    ]
    command += [
        "--device",
        "cpu",
        "--threads",
        "1",
        "--publish",
        "mine",
        "--license",
        "CC0-1.0",
        "--progress",
        "none",
    ]
    assert main(command) == DONE, capsys.readouterr().err
    model = find_model("mine")
    recipe = find_recipe(name)
    assert model.card["architecture"] == recipe.network
    assert model.card["training"]["recipe"] == name
    assert np.isfinite(model.card["figures"]["validation"]["psnr"])
    scan = moving_ellipse(slices=5, size=64).round().astype(np.int16)
    made = interpolate(
        Volume(scan, (0.8, 0.8, 3.0), units="HU"), method="mine", factor=2, device="cpu", force=True
    )
    assert made.volume.slice_count == 9
    assert np.array_equal(made.volume.slices[::2], scan)
    assert not np.array_equal(made.volume.slices[1], scan[0])


def test_a_finished_recipe_has_nothing_left_to_do_and_a_stage_starts_from_the_one_before(data, tmp_path):
    path, run = tiny("saint-robust", tmp_path), tmp_path / "run"
    command = [
        "train",
        str(path),
        "--data",
        str(data),
        "--output",
        str(run),
        "--steps",
        "6",
        "--device",
        "cpu",
    ]
    assert main([*command, "--progress", "none"]) == DONE
    first, second = (
        torch.load(run / name / "checkpoint.pt", weights_only=True) for name in ("1-ami", "2-rfn")
    )
    assert (first["state"]["step"], second["state"]["step"]) == (4, 2)
    for name, tensor in first["best"]["average"].items():
        assert torch.equal(second["average"][name], tensor), name  # the first network is frozen now
    assert any(tensor.any() for name, tensor in second["average"].items() if name.startswith("rfn.last"))
    before = {path: path.read_bytes() for path in run.rglob("*.pt")}
    assert main([*command, "--progress", "none"]) == DONE
    assert {path: path.read_bytes() for path in run.rglob("*.pt")} == before


def test_the_library_lists_trains_and_says_where_the_trainer_is_missing(data, tmp_path, capsys, monkeypatch):
    assert cli.main(["train", "--list"]) == DONE
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == NAMES
    path = tiny("msi-unet", tmp_path)
    command = [
        "train",
        str(path),
        "--data",
        str(data),
        "--output",
        str(tmp_path / "run"),
        "--steps",
        "1",
        "--workers",
        "0",
    ]
    assert cli.main([*command, "--device", "cpu", "--progress", "json"]) == DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["stage"] == "result"
    assert lines[-1]["paths"] == [str(tmp_path / "run")]
    assert any("PSNR" in (line["message"] or "") for line in lines)
    monkeypatch.setattr(cli, "find_spec", lambda name: None)
    assert cli.main(command) == BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Training needs RECIPE"),
        (["msi-cnn"], "Training needs --data"),
        (["msi-cnn", "--data", "."], "Training needs --output"),
        (["nope", "--data", ".", "--output", "x"], "There is no recipe 'nope'; known are acvtt"),
        (["../msi-cnn", "--data", ".", "--output", "x"], "There is no recipe"),
        (["nope.yaml", "--data", ".", "--output", "x"], "There is no recipe file"),
        (["msi-cnn", "--data", ".", "--output", "x", "--publish", "linear"], "name of a method"),
        (["msi-cnn", "--data", ".", "--output", "x", "--publish", "mine"], "--license"),
        (["msi-cnn", "--data", ".", "--output", "x", "--devices", "0"], "--devices must be"),
        (["msi-cnn", "--minuts", "3"], "Unrecognized arguments"),
    ],
)
def test_the_command_says_what_is_missing(arguments, words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["train", *arguments]) == BAD_INPUT
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


STAGE = {"name": "a", "network": "msi-cnn"}
WRONG = {
    "not YAML": ("title: [", "is not YAML"),
    "a list": ([1], "must be a table"),
    "no stages": ({"title": "x"}, "lacks the entry 'stages'"),
    "empty stages": ({"title": "x", "stages": []}, "needs a list of stages"),
    "unknown entry": ({"title": "x", "stages": [STAGE], "epochs": 3}, "cannot have the entry 'epochs'"),
    "title": ({"title": 3, "stages": [STAGE]}, "'title' of the wrong kind"),
    "variant": ({"title": "x", "variant": "best", "stages": [STAGE]}, "must have a variant"),
    "unknown in stage": ({"title": "x", "stages": [{**STAGE, "loss": "l1"}]}, "cannot have the entry 'loss'"),
    "network": ({"title": "x", "stages": [{**STAGE, "network": "resnet"}]}, "no network that can be trained"),
    "task": ({"title": "x", "stages": [{**STAGE, "task": "sing"}]}, "names no task"),
    "training": ({"title": "x", "stages": [{**STAGE, "training": {"epochs": 3}}]}, "cannot set 'epochs'"),
    "number": ({"title": "x", "stages": [{**STAGE, "training": {"batch": "many"}}]}, "positive number"),
    "optimizer": ({"title": "x", "stages": [{**STAGE, "training": {"optimizer": "sgd"}}]}, "must be one of"),
    "share": ({"title": "x", "stages": [{**STAGE, "share": 0}]}, "positive share"),
    "two of a name": ({"title": "x", "stages": [STAGE, STAGE]}, "two stages of one name"),
    "a path": ({"title": "x", "stages": [{**STAGE, "name": "../a"}]}, "letters, digits"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_recipe_cannot_say_is_refused(tmp_path, case):
    content, words = WRONG[case]
    path = tmp_path / "mine.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    with pytest.raises(InputError, match=words):
        read_recipe(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"loss": "ssimm"}}, "unknown loss"),
        ({"options": {"colour": 1}}, "cannot be set up so"),
        ({"options": {"loss": "diffusion"}}, "does not compare"),
        ({"network": "flow-refine", "options": {"loss": "l1"}}, "needs a network of two slices"),
        ({"examples": {"size": 3}}, "cannot be drawn so"),
        ({"examples": {"augment": "all"}}, "augment must be"),
        ({"task": "saint-ami"}, "trains saint, and cannot train 'msi-cnn'"),
        ({"network": "saint"}, "cannot train 'saint'"),
        ({"network": "saint", "config": {"fuse": False}, "task": "saint-rfn"}, "no second stage"),
        ({"network": "i3net", "task": "four-slices", "config": {"factor": 40}}, "No training scan has the slices"),
        ({"network": "ddpm", "task": "diffusion", "config": {"channels": 8}, "examples": {"patch": 40}}, "multiple of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_said_before_training(data, tmp_path, capsys, changes, words):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"title": "x", "stages": [{**STAGE, **changes}]}))
    command = ["train", str(path), "--data", str(data), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*command, "--steps", "1"]) == BAD_INPUT
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


# Blocks


def ramp(slices: int = 40) -> list[Stack]:
    """Slice k holds 100 k HU, so that every value tells where it is from."""
    voxels = np.arange(slices, dtype=np.int16)[:, None, None] * 100 + np.zeros((slices, 40, 40), np.int16)
    return [Stack("ramp", voxels, 1.0, 0.5, 1.0, (0.0, 3900.0))]


@pytest.mark.parametrize("profile", ["thin", "slab"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_blocks_are_every_nth_slice_and_the_truth_between(profile, factor):
    sampler = BlockSampler(ramp(), 4, 8, 16, (factor,), seed=1, coarsest_mm=2.0, profile=profile)
    for number in range(6):
        batch = sampler.batch(number, 3)
        assert batch["slices"].shape == (3, 4, 8, 16)
        assert batch["dense"].shape == (3, 3 * factor + 1, 8, 16)
        # Of a ramp the mean over a slab is the slice in its middle.
        torch.testing.assert_close(batch["slices"], batch["dense"][:, ::factor], atol=1e-2, rtol=0)
        step = (batch["dense"][:, 1, 0, 0] - batch["dense"][:, 0, 0, 0]).abs() / 100
        torch.testing.assert_close(batch["spacing"][:, 0], factor * step)
        low, high = sampler.gap_mm
        assert ((batch["spacing"][:, 0] >= low) & (batch["spacing"][:, 0] <= high)).all()


def test_parts_of_a_batch_make_up_the_batch():
    rng = np.random.default_rng(0)
    voxels = rng.integers(-100, 100, (30, 40, 40)).astype(np.int16)
    sampler = BlockSampler(
        [Stack("noise", voxels, 1.0, 0.5, 1.0, (0.0, 1.0))], 4, 1, 24, (2, 3), references=2, repeat_ends=True
    )
    whole = sampler.batch(7, 4)
    parts = [sampler.batch(7, 4, (k, 2)) for k in range(2)]
    for name, value in whole.items():
        assert torch.equal(value[0::2], parts[0][name])
        assert torch.equal(value[1::2], parts[1][name])
    assert not torch.equal(whole["dense"], sampler.batch(8, 4)["dense"])


def test_a_module_is_started_as_a_user_starts_it(tmp_path):
    paths = ":".join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, "-m", "SliceInterpolationTrainerLib", "train", "--list"],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": paths},
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == len(NAMES)
