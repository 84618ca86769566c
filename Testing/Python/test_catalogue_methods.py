"""Every architecture of the catalogue as a method: saved, checked, loaded, and run on a real scan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from SliceInterpolationLib import Volume, catalogue, interpolate, read_volume
from SliceInterpolationLib.cli import main
from SliceInterpolationLib.errors import Cancelled, InputError
from SliceInterpolationLib.intensity import WINDOWS, Window, window_of
from SliceInterpolationLib.interpolators import NETWORKS, create
from SliceInterpolationLib.interpolators.pair import PairInterpolator
from SliceInterpolationLib.interpolators.through_plane import (
    AcvttInterpolator,
    SaintInterpolator,
    common_factor,
    temporary_array,
)
from SliceInterpolationLib.networks import ARCHITECTURES, build
from SliceInterpolationLib.networks.dsi_unet import DSIUNet, composite
from SliceInterpolationLib.networks.torchscript import TorchScript
from SliceInterpolationLib.process import BAD_INPUT, DONE
from SliceInterpolationLib.reports.trust import trust
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.weights import sha256, write_weights

SCAN = Path(__file__).resolve().parents[3] / "shared" / "data" / "head_stanford_cadaver_2mm.nii.gz"
SMALL_RDN = {"features": 16, "blocks": 2, "layers": 2, "growth": 8}
CONFIGS = {
    "flow-refine": {"widths": [8, 12, 16]},
    "dsi-unet": {},
    "msi-cnn": {"channels": 16, "blocks": 2},
    "msi-unet": {"channels": 8},
    "msi-gan": {"channels": 16, "blocks": 2},
    "msi-gan-plus": {"channels": 16, "blocks": 2},
    "ddpm": {"channels": 8, "sampling_steps": 2},
    "saint": {"ami": SMALL_RDN, "rfn": SMALL_RDN},
    "acvtt": {"transfer": {"width": 8}, "fusion": {"width": 8}},
    "rife-style": {"widths": [16, 16, 16], "context": 4},
    "ifrnet-style": {"channels": [8, 8, 8, 8]},
    "torchscript": {"signature": "rife"},
    "i3net": {"factor": 2, "channels": 8, "blocks": 3},
}
TRAINED_HERE = [name for name in CONFIGS if name != "torchscript"]
MIDDLE_ONLY = ("dsi-unet", "msi-cnn", "msi-unet", "msi-gan", "msi-gan-plus", "ddpm", "i3net")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """An empty folder for the user's models."""
    folder = tmp_path / "models"
    monkeypatch.setenv("SLICE_INTERPOLATION_MODELS", str(folder))
    return folder


class Video(torch.nn.Module):
    """In the manner of RIFE: two color pictures mixed, a little brighter; the position is a float."""

    def forward(self, img0: torch.Tensor, img1: torch.Tensor, timestep: float) -> torch.Tensor:
        assert img0.size(1) == 3
        assert img0.size(2) % 32 == img0.size(3) % 32 == 0
        assert torch.equal(img0[:, 0], img0[:, 2])
        return img0 * (1 - timestep) + img1 * timestep + 0.1


class PlaneVideo(torch.nn.Module):
    """The same with the position as a plane."""

    def forward(self, img0: torch.Tensor, img1: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        assert timestep.size(1) == 1
        assert timestep.size(2) == img0.size(2)
        return img0 * (1 - timestep) + img1 * timestep + 0.1


class Film(torch.nn.Module):
    """In the manner of FILM: the position as (B, 1), several pictures out, the result last."""

    def forward(self, x0: torch.Tensor, x1: torch.Tensor, dt: torch.Tensor) -> list[torch.Tensor]:
        assert dt.dim() == 2
        assert dt.size(1) == 1
        t = dt.view(-1, 1, 1, 1)
        return [x0, x0 * (1 - t) + x1 * t + 0.1]


def install(folder: Path, architecture: str, network=None, **config) -> Path:
    """A model called own-`architecture` in the user's folder, with random weights; returns its folder."""
    name = f"own-{architecture}"
    target = folder / name
    target.mkdir(parents=True)
    config = config or CONFIGS[architecture]
    card = {"name": name, "architecture": architecture, "config": config, "gap_mm": [1, 10]}
    if architecture == "torchscript":
        card.update(weights="video.pt", intensity="brain-window")
        torch.jit.script(network or Video()).save(str(target / "video.pt"))
    else:
        network = network or build(architecture, **config)
        card.update(intensity=network.intensity)
        write_weights(network, target / catalogue.WEIGHTS)
    card["weights_sha256"] = sha256(target / card.get("weights", catalogue.WEIGHTS))
    (target / "card.json").write_text(json.dumps(card))
    if architecture == "torchscript":
        catalogue.grant_consent(catalogue.Model.open(target))
    return target


def edit_card(folder: Path, **entries) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps({**card, **entries}))


def brain(slices: int = 5, side: int = 48, low: float = 5.0, high: float = 95.0) -> SliceStack:
    """A stack of smooth random slices within the brain window."""
    generator = np.random.default_rng(1)
    coarse = generator.uniform(low, high, (slices, side // 8, side // 8)).astype(np.float32)
    image = torch.nn.functional.interpolate(
        torch.from_numpy(coarse)[None], size=(side, side), mode="bilinear"
    )
    return SliceStack(image[0].numpy(), gap=5.0, pixel=(0.5, 0.5))


@pytest.fixture(scope="module")
def crop(tmp_path_factory) -> Path:
    """64 x 64 x 6 voxels of a real head scan, air, bone and brain, as a file."""
    if not SCAN.is_file():
        pytest.skip(f"the scan {SCAN.name} is not in ../shared/data")
    path = tmp_path_factory.mktemp("scan") / "crop.nrrd"
    sitk.WriteImage(sitk.Cast(sitk.ReadImage(str(SCAN))[60:124, 20:84, 60:66], sitk.sitkInt16), str(path))
    return path


# The catalogue


def test_every_architecture_is_registered_runs_and_is_tested():
    assert set(ARCHITECTURES) == set(NETWORKS) == set(CONFIGS)


@pytest.mark.parametrize("name", TRAINED_HERE)
def test_weights_come_back_as_they_were_saved(models, name):
    network = build(name, **CONFIGS[name])
    folder = install(models, name, network)
    model = catalogue.find_model(f"own-{name}")
    loaded = model.load()
    assert not loaded.training
    assert model.card["intensity"] == loaded.intensity
    assert catalogue.model_hash(model) == model.card["weights_sha256"]
    state = network.state_dict()
    assert set(loaded.state_dict()) == set(state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in loaded.state_dict().items())
    # One changed bit is another file.
    content = bytearray((folder / catalogue.WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / catalogue.WEIGHTS).write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        model.load()


@pytest.mark.parametrize("name", TRAINED_HERE)
@pytest.mark.parametrize("fault", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused(models, name, fault):
    from safetensors.torch import load_file, save_file

    folder = install(models, name)
    path = folder / catalogue.WEIGHTS
    tensors = load_file(path)
    first = next(key for key in tensors if key.endswith("weight"))
    if fault == "missing":
        del tensors[first]
    elif fault == "extra":
        tensors["another.weight"] = torch.zeros(1)
    else:
        tensors[first] = tensors[first][..., :-1].contiguous()
    save_file(tensors, path)
    edit_card(folder, weights_sha256=sha256(path))
    with pytest.raises(InputError, match="do not fit"):
        catalogue.find_model(f"own-{name}").load()


def test_containers_hold_both_networks_under_their_prefixes():
    for name, prefixes in (("saint", {"ami", "rfn"}), ("acvtt", {"transfer", "fusion"})):
        assert {key.split(".")[0] for key in build(name, **CONFIGS[name]).state_dict()} == prefixes
        first_stage = build(name, **CONFIGS[name], fuse=False)
        assert len({key.split(".")[0] for key in first_stage.state_dict()}) == 1
        assert next(first_stage.volume()(brain().slices / 100, **_volume_arguments(name))).shape == (48, 48)


def _volume_arguments(name: str) -> dict:
    return {"factor": 2, "spacing": (5.0, 0.5, 0.5)} if name == "saint" else {"factor": 2}


def test_torchscript_file_is_checked(models):
    folder = install(models, "torchscript")
    model = catalogue.find_model("own-torchscript")
    assert model.load().intensity == "brain-window"
    (folder / "video.pt").write_bytes(b"not a script")
    with pytest.raises(InputError, match="SHA-256"):
        model.load()
    edit_card(folder, weights_sha256=sha256(folder / "video.pt"))
    with pytest.raises(InputError, match="TorchScript"):
        catalogue.find_model("own-torchscript")
    edit_card(folder, weights="absent.pt")
    with pytest.raises(InputError, match="missing"):
        catalogue.find_model("own-torchscript")


def test_a_users_torchscript_can_be_added_and_removed(models, tmp_path, capsys):
    elsewhere = install(tmp_path / "elsewhere", "torchscript", Film(), signature="film")
    assert main(["models", "add", str(elsewhere)]) == DONE
    assert (models / "own-torchscript" / "video.pt").is_file()
    assert main(["models", "list"]) == DONE
    assert "own-torchscript" in capsys.readouterr().out
    assert main(["models", "remove", "own-torchscript"]) == DONE
    assert not (models / "own-torchscript").exists()
    (elsewhere / "video.pt").unlink()
    assert main(["models", "add", str(elsewhere)]) == BAD_INPUT


@pytest.mark.parametrize(
    ("architecture", "config"),
    [("dsi-unet", {"inference": "half"}), ("torchscript", {}), ("saint", {"depth": 3}), ("unknown", {})],
)
def test_bad_configurations_are_refused(architecture, config):
    with pytest.raises(InputError):
        build(architecture, **config)


# On a scan


@pytest.mark.parametrize("name", CONFIGS)
def test_method_runs_on_a_scan(models, crop, tmp_path, name):
    install(models, name)
    output = tmp_path / "dense.nrrd"
    command = ["interpolate", str(crop), str(output), "--method", f"own-{name}", "--device", "cpu"]
    assert main([*command, "--progress", "none"]) == DONE
    scan, _ = read_volume(crop)
    dense, _ = read_volume(output)
    assert dense.array.shape == (11, 64, 64)
    np.testing.assert_allclose(dense.spacing, (1, 1, 1), rtol=1e-6)
    np.testing.assert_allclose(dense.origin, scan.origin, atol=1e-4)
    np.testing.assert_allclose(dense.direction, scan.direction, atol=1e-6)
    assert dense.provenance == "?S?S?S?S?S?"
    assert dense.array.dtype == scan.array.dtype
    assert np.array_equal(dense.array[::2], scan.array)
    # Random weights predict anything within their range, but no slice is copied, lost or out of range.
    for synthesized, before, after in zip(dense.array[1::2], scan.array, scan.array[1:]):
        assert not np.array_equal(synthesized, before)
        assert not np.array_equal(synthesized, after)
        assert -1200 < synthesized.min() <= synthesized.max() < 4000
    assert dense.history[-1]["method"] == f"own-{name}"
    assert dense.history[-1]["model_sha256"] == catalogue.model_hash(catalogue.find_model(f"own-{name}"))


@pytest.mark.parametrize("name", MIDDLE_ONLY)
@pytest.mark.parametrize("factor", ["3", "4"])
def test_networks_of_the_middle_slice_refuse_other_factors(models, crop, tmp_path, capsys, name, factor):
    install(models, name)
    output = tmp_path / "dense.nrrd"
    command = ["interpolate", str(crop), str(output), "--method", f"own-{name}", "--device", "cpu"]
    assert main([*command, "--factor", factor, "--progress", "none"]) == BAD_INPUT
    assert "only factor 2 (or powers of two by repeated use)" in capsys.readouterr().err
    assert not output.exists()


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in MIDDLE_ONLY])
def test_other_networks_take_any_factor(models, crop, name):
    install(models, name)
    scan, _ = read_volume(crop)
    dense = interpolate(scan, factor=3, method=f"own-{name}", device="cpu").volume
    assert dense.array.shape == (16, 64, 64)
    assert np.array_equal(dense.array[::3], scan.array)


@pytest.mark.parametrize("name", ["msi-cnn", "rife-style", "saint", "acvtt", "torchscript"])
def test_denoising_and_trust_check_work(models, crop, name):
    install(models, name)
    scan, _ = read_volume(crop)
    denoised = interpolate(scan, method=f"own-{name}", output_mode="denoised", device="cpu").volume
    # Slices that their neighbors do not explain are kept as they are, whatever the network.
    assert denoised.provenance[1::2] == "SSSSS"
    assert set(denoised.provenance[::2]) <= set("D?")
    for number, letter in enumerate(denoised.provenance[::2]):
        assert np.array_equal(denoised.array[2 * number], scan.array[number]) == (letter == "?")
    report = trust(scan, method=f"own-{name}", baselines=("linear",), device="cpu")
    assert report.method == f"own-{name}"
    assert {row["slice"] for row in report.rows if row["method"] == report.method} == {1, 2, 3, 4}
    assert all(np.isfinite(row["psnr_hu"]) for row in report.rows)


def test_withheld_slices_are_predicted_from_the_others_alone():
    stack = brain()
    interpolator = AcvttInterpolator(build("acvtt", **CONFIGS["acvtt"]), "acvtt")
    before = list(interpolator.predict_withheld(stack))
    changed = stack.slices.copy()
    changed[2] += 30
    after = list(interpolator.predict_withheld(SliceStack(changed, stack.gap, stack.pixel, stack.thickness)))
    assert np.array_equal(before[1], after[1])
    assert not np.array_equal(before[0], after[0])


@pytest.mark.parametrize("name", ["msi-unet", "rife-style"])
def test_data_without_hu_keep_their_scale(models, name):
    """MR: the network sees the percentiles of the volume, whatever the numbers are."""
    install(models, name)
    small = np.round(brain(side=32).slices * 4).astype(np.int16)
    low, high = np.percentile(small, (1, 99))
    results = []
    for scale in (1, 7):
        volume = Volume(small * scale, spacing=(1, 1, 4), units="arbitrary")
        result = interpolate(volume, method=f"own-{name}", device="cpu", force=True)
        results.append(result.volume.array[1::2] / scale)
        assert any(f"from {low * scale:.0f} to {high * scale:.0f}" in remark for remark in result.remarks)
    np.testing.assert_allclose(results[0], results[1], atol=2)


# Two-slice networks


@pytest.mark.parametrize("name", ["rife-style", "msi-unet", "dsi-unet"])
def test_result_is_the_networks_own_within_its_window(name):
    network = build(name, **CONFIGS[name]).eval()
    # So that random weights stay within the window, where the network's word stands.
    for parameter in list(network.parameters())[-2:]:
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        list(network.parameters())[-1].fill_(0.0 if name == "rife-style" else 0.4)
    stack = brain()
    window = window_of(network.intensity, stack.percentiles)
    pair = window.encode(torch.from_numpy(stack.slices[None, 2:4]))
    with torch.inference_mode():
        expected = window.decode(network(pair, 0.5))[0, 0].numpy()
    (result,) = PairInterpolator(network, name).synthesize(stack, [2.5])
    inside = (expected > window.low) & (expected < window.high)
    if network.intensity == "unit":  # a percentile of the stack lies beyond its own window
        inside &= (stack.slices[2:4] > window.low).all(0) & (stack.slices[2:4] < window.high).all(0)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-3)


def test_beyond_the_window_the_result_is_linear():
    stack = brain(slices=2)
    stack.slices[:, :20] = [[[1000.0]], [[2000.0]]]  # bone on both sides
    stack.slices[:, 20:24] = -1000.0
    remarks = []
    network = build("dsi-unet").eval()
    interpolator = PairInterpolator(network, "dsi", report=remarks.append)
    (result,) = interpolator.synthesize(stack, [0.5])
    np.testing.assert_allclose(result[:20], 1500)
    np.testing.assert_allclose(result[20:24], -1000)
    assert "from -20 to 107" in remarks[0]
    list(interpolator.synthesize(stack, [0.5]))
    assert len(remarks) == 1


@pytest.mark.parametrize("as_tensor", [False, True])
def test_window_extends_without_touching_its_inside(as_tensor):
    window = WINDOWS["brain-window"]
    #          inside  edge moved  saturated   bone    air      saturated below
    predicted = [40.0, 50.0, 107.0, 90.0, 12.0, -20.0]
    before = [30.0, 30.0, 30.0, 900.0, -1000.0, 30.0]
    after = [45.0, 900.0, 900.0, 800.0, -990.0, -900.0]
    expected = [40.0, 50.0, 465.0, 850.0, -995.0, -435.0]
    predicted, before, after = (np.float32(values) for values in (predicted, before, after))
    if as_tensor:
        predicted, before, after = (torch.from_numpy(values) for values in (predicted, before, after))
    out = window.extend(predicted, (before + after) / 2, before, after)
    assert out.dtype == predicted.dtype
    np.testing.assert_allclose(np.asarray(out), expected, atol=1e-3)


def test_window_goes_there_and_back():
    hu = np.float32([-1024, -20, 0, 107, 3000])
    for window in (*WINDOWS.values(), Window(-100.0, 300.0)):
        np.testing.assert_allclose(
            window.decode(window.encode(hu)), hu.clip(window.low, window.high), atol=1e-3
        )
        assert window.encode(np.float32(window.high)) == window.top
    assert np.isfinite(window_of("unit", (5.0, 5.0)).encode(hu)).all()


def test_too_small_slices_are_refused_in_words():
    with pytest.raises(InputError, match="at least 32x32"):
        list(PairInterpolator(build("dsi-unet"), "dsi").synthesize(brain(side=24), [0.5]))


def test_composite_inference_is_for_512_only():
    network = build("dsi-unet", inference="composite")
    with pytest.raises(InputError, match="512x512"):
        list(PairInterpolator(network, "dsi").synthesize(brain(), [0.5]))
    network.train()
    assert network(torch.rand(1, 2, 64, 64)).shape == (1, 1, 64, 64)


@pytest.mark.slow
def test_composite_inference_is_the_papers():
    network = DSIUNet(inference="composite").eval()
    stack = brain(slices=2, side=512)
    (result,) = PairInterpolator(network, "dsi").synthesize(stack, [0.5])
    network.inference = "whole"
    window = WINDOWS["brain-window"]
    with torch.inference_mode():
        expected = composite(network, window.encode(torch.from_numpy(stack.slices)[None]))
    expected = window.decode(expected)[0, 0].numpy().clip(window.low, window.high)
    np.testing.assert_allclose(result, expected, atol=1e-2)


def test_diffusion_follows_the_card():
    stack = brain(slices=2, side=32)
    results = {}
    for key, config in {
        "one": {},
        "again": {},
        "seed": {"seed": 1},
        "steps": {"sampling_steps": 3},
        "samples": {"samples": 2},
    }.items():
        torch.manual_seed(0)
        network = build("ddpm", **{**CONFIGS["ddpm"], **config})
        (results[key],) = PairInterpolator(network, "ddpm").synthesize(stack, [0.5])
    assert np.array_equal(results["one"], results["again"])
    for key in ("seed", "steps", "samples"):
        assert not np.array_equal(results["one"], results[key])


# A user's own video network


@pytest.mark.parametrize(
    ("script", "signature"), [(Video, "rife"), (PlaneVideo, "rife"), (Film, "film")], ids=lambda x: str(x)
)
@pytest.mark.parametrize("t", [0.5, 0.25])
def test_torchscript_gets_color_pictures_and_its_position(script, signature, t):
    network = TorchScript(torch.jit.script(script()), signature=signature)
    stack = brain(side=40, low=0.0, high=80.0)  # not a multiple of 32
    (result,) = PairInterpolator(network, "video").synthesize(stack, [1 + t])
    expected = (1 - t) * stack.slices[1] + t * stack.slices[2] + 12.7
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_torchscript_is_clamped_and_may_know_the_middle_only():
    network = TorchScript(torch.jit.script(Video()), middle_only=True)
    assert float(network(torch.ones(1, 2, 32, 32)).max()) == 1.0
    with pytest.raises(InputError, match="only factor 2"):
        list(PairInterpolator(network, "video").synthesize(brain(), [1.25]))
    with pytest.raises(ValueError, match="signature"):
        TorchScript(torch.jit.script(Video()), signature="other")


# Whole-stack networks


def test_untrained_acvtt_is_linear_interpolation():
    """Its residuals are zero at the start: the adapter must give linear interpolation at every position."""
    stack = brain()
    interpolator = AcvttInterpolator(build("acvtt", **CONFIGS["acvtt"]), "acvtt")
    positions = [0.25, 0.5, 1.0, 2.75, 3.25, 4.0]
    for position, image in zip(positions, interpolator.synthesize(stack, positions)):
        before = min(int(position), 3)
        t = position - before
        expected = (1 - t) * stack.slices[before] + t * stack.slices[before + 1]
        np.testing.assert_allclose(image, expected, atol=1.0)  # half precision: steps of 1 HU here


def test_saint_adapter_is_its_volume():
    torch.manual_seed(1)
    network = build("saint", **CONFIGS["saint"]).eval()
    generator = np.random.default_rng(2)
    slices = generator.uniform(-1000, 1500, (4, 20, 24)).astype(np.float32)
    stack = SliceStack(slices, gap=4.0, pixel=(0.5, 0.7))
    dense = list(network.volume()(slices + 1024, (4.0, 0.5, 0.7), 3))
    positions, seen = [k / 3 for k in range(10)], set()
    network.ami.register_forward_pre_hook(lambda module, inputs: seen.add((inputs[0].shape[-1], inputs[2])))
    results = list(SaintInterpolator(network, "saint").synthesize(stack, positions))
    for number, (image, expected) in enumerate(zip(results, dense)):
        if number % 3 == 0:
            assert np.array_equal(image, slices[number // 3])
        else:
            np.testing.assert_allclose(image, expected - 1024, atol=1e-2)
    assert seen == {(20, (4.0, 0.5)), (24, (4.0, 0.7))}  # sagittal images run along the rows' axis


def test_air_around_the_body_costs_no_work():
    network, sizes = build("saint", **CONFIGS["saint"]), []
    network.ami.register_forward_pre_hook(lambda module, inputs: sizes.append(tuple(inputs[0].shape)))
    slices = np.full((3, 110, 120), -1000, np.float32)
    slices[:, 48:56, 56:66] = brain(slices=3, side=16).slices[:, :8, :10]
    whole, half = SliceStack(slices, 5.0, (0.5, 0.5)), np.full_like(slices, -1010)
    (result,) = SaintInterpolator(network, "saint").synthesize(whole, [1.5])
    assert {size[-1] for size in sizes} == {8 + 64, 10 + 64 + 6}  # sides are multiples of 8
    assert (result[:8] == -1000).all()
    assert (result[48:56, 56:66] != -1000).any()
    half[1] = -990
    (result,) = SaintInterpolator(network, "saint").synthesize(SliceStack(half, 5.0, (0.5, 0.5)), [0.5])
    assert (result == -1000).all()


@pytest.mark.parametrize("name", ["saint", "acvtt"])
def test_metal_survives(models, name):
    install(models, name)
    scan = np.round(brain(side=32).slices).astype(np.int16)
    scan[:, 10:14, 10:14] = 20000
    volume = Volume(scan, spacing=(0.5, 0.5, 5), units="HU")
    dense = interpolate(volume, method=f"own-{name}", device="cpu").volume.array
    assert (dense[:, 10:14, 10:14] == 20000).all()


def test_whole_stack_methods_tell_their_progress_and_can_be_cancelled(models):
    install(models, "saint")
    volume = Volume(np.round(brain(side=32).slices).astype(np.int16), spacing=(0.5, 0.5, 5), units="HU")
    stages = []
    interpolate(
        volume,
        method="own-saint",
        device="cpu",
        progress=lambda stage, done, total: stages.append((stage, done)),
    )
    assert ("sagittal view", 32) in stages
    assert ("coronal view", 32) in stages
    assert stages.index(("coronal view", 32)) < stages.index(("interpolated", 2))

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "coronal view":
            raise Cancelled

    with pytest.raises(Cancelled):
        interpolate(volume, method="own-saint", device="cpu", progress=cancel)


class SmallGPU(SaintInterpolator):
    """Stands for a GPU with little memory: refuses large chunks, or merging, until it is moved to the CPU."""

    def __init__(self, network, largest_chunk: int, slices: int, report):
        super().__init__(network, "small-gpu", "cpu", report)
        self.largest_chunk, self.slices, self.moved = largest_chunk, slices, False
        self.device = torch.device("meta")  # not "cpu", so that the retreat takes place

    def move_to(self, device):
        super().move_to(device)
        self.moved = True

    def run(self, values, stack, factor, buffers):
        for number, image in enumerate(super().run(values, stack, factor, buffers)):
            if not self.moved and (self.chunk > self.largest_chunk or number >= self.slices):
                raise torch.cuda.OutOfMemoryError("out of memory")
            yield image


@pytest.mark.parametrize(
    ("largest_chunk", "slices", "words"),
    [
        (2, 99, ["4 images", "2 images"]),
        (0, 99, ["4 images", "2 images", "1 images", "CPU"]),
        (8, 3, ["CPU"]),
    ],
)
def test_out_of_memory_goes_on_smaller_then_on_the_cpu(largest_chunk, slices, words):
    network, stack, positions = build("saint", **CONFIGS["saint"]), brain(side=16), [0.5, 1.5, 2.5, 3.5]
    expected = list(SaintInterpolator(network, "saint").synthesize(stack, positions))
    said = []
    result = list(SmallGPU(network, largest_chunk, slices, said.append).synthesize(stack, positions))
    assert len(said) == len(words)
    assert all(word in text for word, text in zip(words, said))
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_positions_of_no_whole_factor_are_refused():
    assert common_factor([0.0, 0.0]) == 1
    assert common_factor([0.5, 0.0]) == 2
    assert common_factor([1 / 3, 0.5]) == 6
    assert common_factor([k / 7 for k in range(1, 7)]) == 7
    with pytest.raises(InputError, match="regular"):
        common_factor([0.123456])
    with pytest.raises(InputError, match="regular"):
        common_factor([1 / 31, 1 / 30])


def test_intermediate_views_lie_in_a_file_that_goes_with_them(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = temporary_array((2, 3, 4), np.int16)
    assert isinstance(array, np.memmap)
    array[:] = 7
    assert array.sum() == 7 * 24
    del array
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="room"):
        temporary_array((shutil.disk_usage(tmp_path).total, 8), np.float32)


def test_create_chooses_by_the_cards_architecture(models):
    for name in ("saint", "acvtt", "msi-cnn", "flow-refine"):
        folder = install(models, name)
        edit_card(folder, name=f"renamed-{name}")
        chosen = create(f"renamed-{name}")
        assert type(chosen).__name__ == NETWORKS[name][1]
        assert chosen.name == f"renamed-{name}"
