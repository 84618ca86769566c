"""Our network: what it is before training, how it treats sizes and air, loading, memory fallbacks, determinism."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import moving_ellipse

from SliceInterpolationLib import InputError, Volume, interpolate
from SliceInterpolationLib.catalogue import bundled_folder, find_model, list_models, remove_model
from SliceInterpolationLib.catalogue.adding import add_model
from SliceInterpolationLib.interpolators import create
from SliceInterpolationLib.networks import build
from SliceInterpolationLib.networks.flow_refine import FlowRefine, cubic_weights
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.weights import read_weights, sha256


def inputs(batch=1, height=64, width=64):
    array = moving_ellipse(4, size=max(height, width)).astype(np.float32)[:, :height, :width]
    slices = torch.from_numpy(array)[None].repeat(batch, 1, 1, 1)
    values = [torch.full((batch,), v) for v in (5.0, 0.5, 0.5)]
    return slices, *values


def test_at_first_it_is_nearly_the_flow_midpoint():
    """Trained or not it never starts below the classical method: the blend begins at the aligned slices."""
    torch.manual_seed(0)
    slices, gap, pixel, t = inputs()
    network = FlowRefine(candidates=False)
    with torch.inference_mode():
        made = network(slices, gap, pixel, t)[0, 0].numpy()
    stack = SliceStack(slices[0].numpy(), 5.0, (0.5, 0.5))
    (flow,) = create("flow").synthesize(stack, [1.5])
    np.testing.assert_allclose(made, flow, atol=0.05)


@pytest.mark.parametrize("size", [(64, 64), (65, 67), (37, 50), (128, 41)])
def test_odd_sizes(size):
    slices, gap, pixel, t = inputs(height=size[0], width=size[1])
    made, sd = find_model().load()(slices, gap, pixel, t, with_uncertainty=True)
    assert made.shape == sd.shape == (1, 1, *size)
    assert torch.isfinite(made).all()
    assert (sd > 0).all()


def test_batch_equals_one_by_one():
    slices, gap, pixel, t = inputs(batch=2)
    slices[1] = slices[1].flip(-1)
    t = torch.tensor([0.5, 0.3])
    network = find_model().load()
    with torch.inference_mode():
        together = network(slices, gap, pixel, t)
        alone = [network(slices[k : k + 1], gap[:1], pixel[:1], t[k : k + 1]) for k in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), atol=0.02, rtol=1e-4)


def test_correction_is_bounded_and_air_stays_air():
    slices, gap, pixel, t = inputs()
    network = FlowRefine(residual_limit=30.0)
    with torch.no_grad():
        for parameter in network.correct.parameters():
            parameter.normal_(0, 5)
        network.correct.weight[:4] = 0  # no flow correction, so that the blend stays within the candidates
        network.correct.bias[:4] = 0
    made = network(slices, gap, pixel, t).detach()
    air = (slices < -900).all(dim=1, keepdim=True)
    cubic = (slices * cubic_weights(t)[:, :, None, None]).sum(1, keepdim=True)
    low = torch.minimum(slices[:, 1:3].amin(), cubic.amin()) - 30.01
    high = torch.maximum(slices[:, 1:3].amax(), cubic.amax()) + 30.01
    assert (made >= low).all()
    assert (made <= high).all()
    assert air.any()


def test_full_hu_range_passes():
    """Nothing is windowed away: bone and metal keep their values where nothing moves."""
    plane = np.full((64, 64), -1000.0, np.float32)
    plane[16:48, 16:48] = 40
    plane[20:28, 20:28] = 1500
    plane[36:42, 36:42] = 9000
    stack = SliceStack(np.stack([plane] * 4), 5.0, (0.5, 0.5))
    (made,) = create("default").synthesize(stack, [1.5])
    assert made[23:25, 23:25] == pytest.approx(1500, abs=60)
    assert made[38:40, 38:40] == pytest.approx(9000, abs=160)
    assert made[:8, :8] == pytest.approx(-1000, abs=1)


@pytest.mark.parametrize(
    "options", [{"flow_prior": False}, {"context": 2}, {"candidates": False}, {"widths": (16, 24, 32)}]
)
def test_ablations_build_and_run(options):
    slices, gap, pixel, t = inputs()
    network = build("flow-refine", **options)
    loss = network(slices, gap, pixel, t).mean()
    loss.backward()
    assert torch.isfinite(network.correct.weight.grad).all()


def test_unknown_configuration():
    with pytest.raises(InputError, match="context must be 2 or 4"):
        build("flow-refine", context=3)
    with pytest.raises(InputError, match="There is no architecture"):
        build("flow-refined")


def test_result_is_deterministic(phantom_volume):
    first, second = (interpolate(phantom_volume).volume.array for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_weights_reader_agrees_with_the_safetensors_library():
    from safetensors.torch import load_file

    path = find_model().folder / "weights.safetensors"
    ours, theirs = read_weights(path), load_file(path)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor.float() if tensor.dtype == torch.float16 else tensor)


@pytest.fixture
def model_copy(tmp_path):
    folder = tmp_path / "mine"
    shutil.copytree(bundled_folder() / "flow-refine", folder)
    card = json.loads((folder / "card.json").read_text())
    card.update(name="mine", default=False)
    (folder / "card.json").write_text(json.dumps(card))
    return folder, card


def rewrite(folder, card, tensors):
    from safetensors.torch import save_file

    save_file(tensors, folder / "weights.safetensors")
    card["weights_sha256"] = sha256(folder / "weights.safetensors")
    (folder / "card.json").write_text(json.dumps(card))


def test_user_model_comes_and_goes(model_copy, phantom_volume):
    folder, _ = model_copy
    add_model(folder / "card.json")
    assert [model.name for model in list_models()][-1] == "mine"
    made, bundled = (interpolate(phantom_volume, method=m).volume for m in ("mine", "default"))
    np.testing.assert_array_equal(made.array, bundled.array)
    assert made.history[-1]["method"] == "mine"
    with pytest.raises(InputError, match="exists already"):
        add_model(folder)
    remove_model("mine")
    with pytest.raises(InputError, match="no model 'mine'"):
        interpolate(phantom_volume, method="mine")
    with pytest.raises(InputError, match="cannot be removed"):
        remove_model("flow-refine")


def test_changed_weights_are_refused(model_copy):
    folder, _ = model_copy
    content = bytearray((folder / "weights.safetensors").read_bytes())
    content[-7] ^= 1
    (folder / "weights.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        add_model(folder)


def test_loading_is_strict(model_copy):
    folder, card = model_copy
    tensors = read_weights(folder / "weights.safetensors")
    missing = dict(tensors)
    missing.pop("enter.bias")
    rewrite(folder, card, missing)
    with pytest.raises(InputError, match=r"Missing key.*enter\.bias"):
        add_model(folder)
    rewrite(folder, card, {**tensors, "stranger": torch.zeros(1)})
    with pytest.raises(InputError, match=r"Unexpected key.*stranger"):
        add_model(folder)
    rewrite(folder, card, {**tensors, "enter.bias": torch.zeros(7)})
    with pytest.raises(InputError, match="do not fit"):
        add_model(folder)


def test_truncated_weights_are_refused(model_copy):
    folder, _ = model_copy
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match="not a complete safetensors file"):
        read_weights(path)


def test_model_names_cannot_leave_the_folder(model_copy):
    folder, card = model_copy
    card["name"] = "../../outside"
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="cannot be a model name"):
        add_model(folder)


def test_uncertainty_is_larger_where_more_changes():
    array = moving_ellipse(6, shift=0.0)
    array[3:, 40:56, 40:56] += 60  # something appears halfway
    stack = SliceStack(array, 5.0, (0.5, 0.5))
    ((_, still), (_, changing)) = create("default").synthesize_with_uncertainty(stack, [0.5, 2.5])
    assert changing[40:56, 40:56].mean() > 1.5 * still[40:56, 40:56].mean()
    with pytest.raises(InputError, match="does not estimate its error"):
        list(create("linear").synthesize_with_uncertainty(stack, [0.5]))


def test_mr_is_mapped_affinely(phantom_volume):
    """The same scan in other units gives the same result in those units."""
    values = phantom_volume.array.astype(np.float32).clip(-20, 107) * 3.0 + 500.0
    one = Volume(values, phantom_volume.spacing)
    other = Volume(values * 0.25 + 7.0, phantom_volume.spacing)
    assert one.units == other.units == "arbitrary"
    made = [interpolate(v).volume.array for v in (one, other)]
    np.testing.assert_allclose(made[0] * 0.25 + 7.0, made[1], atol=0.05)


def test_gap_beyond_training(phantom_volume):
    far = Volume(phantom_volume.array, (1.8, 1.8, 25.0), units="HU")
    with pytest.raises(InputError, match="--method flow or cubic"):
        interpolate(far)
    assert any("outside of the range" in r for r in interpolate(far, force=True).remarks)
    near = Volume(phantom_volume.array, (1.8, 1.8, 12.0), units="HU")
    assert any("outside of the range" in r for r in interpolate(near).remarks)


def test_real_head(scans):
    """On a validation head the network is better than its own flow prior; acquired slices are exact."""
    from SliceInterpolationLib.files import read_file
    from SliceInterpolationLib.reports.trust import trust

    scan = read_file(scans / "head_toshiba_b_2mm_gaps.nii.gz")
    part = Volume(np.ascontiguousarray(scan.array[30:44]), scan.spacing, units="HU")
    made = interpolate(part).volume
    np.testing.assert_array_equal(made.array[::2], part.array)
    report = trust(part)
    network, flow = report.means["flow-refine"], report.means["flow"]
    assert network["psnr_brain"] > flow["psnr_brain"] + 0.5
    assert network["ssim_brain"] > flow["ssim_brain"] + 0.01
    assert network["psnr_hu"] > flow["psnr_hu"]
    assert report.trusted
