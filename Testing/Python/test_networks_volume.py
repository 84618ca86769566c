"""SAINT and ACVTT: parameters, the formulas against plain loops, whole volumes, and that they can learn."""

from __future__ import annotations

import inspect
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from SliceInterpolationLib.networks.acvtt import (
    AcvttFusion,
    AcvttNet,
    AcvttVolume,
    MultiReferenceAttention,
    reference_slices,
    reflect_to_multiple,
    upsample_slices,
)
from SliceInterpolationLib.networks.saint import SaintAMI, SaintRFN, SaintVolume, filter_distance_matrix

NETWORKS = (SaintAMI, SaintRFN, AcvttNet, AcvttFusion)
SMALL_RDN = {"features": 16, "blocks": 2, "layers": 3, "growth": 8}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def awake(network: nn.Module) -> nn.Module:
    """The network with a last convolution that is not zero, so that everything before it shows."""
    for name, parameter in network.named_parameters():
        if ".last." in f".{name}":
            nn.init.normal_(parameter, std=0.05)
    return network.eval()


def moving_ellipse(slices: int, rows: int = 48, columns: int = 40) -> np.ndarray:
    """A ring with a textured inside that moves from slice to slice, in HU + 1024: about a head."""
    k, j, i = np.meshgrid(np.arange(slices), np.arange(rows), np.arange(columns), indexing="ij")
    y = (j - rows / 2 - 6 * np.sin(k / 3)) / (0.36 * rows)
    x = (i - columns / 2 - 5 * np.cos(k / 3.5)) / (0.36 * columns)
    inside = [1 / (1 + np.exp((np.hypot(x, y) - edge) * 15)) for edge in (1, 0.8, 0.7)]
    return (24 + 1800 * inside[0] - 800 * inside[1] + 60 * np.sin(i / 2) * inside[2]).astype(np.float32)


def psnr(result: torch.Tensor, truth: torch.Tensor, peak: float) -> float:
    return 10 * math.log10(peak**2 / float((result - truth).square().mean()))


# --- The catalogue ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "count"), list(zip(NETWORKS, (2_787_712, 371_105, 9_246_401, 7_819_777)))
)
def test_parameter_count_is_that_of_the_published_network(network, count):
    assert sum(p.numel() for p in network().parameters()) == count


@pytest.mark.parametrize("network", NETWORKS)
def test_network_says_its_paper_and_intensity_and_takes_plain_config(network):
    assert network.paper
    assert network.intensity in ("hu+1024", "(hu+1024)/4095")
    config = {name: p.default for name, p in inspect.signature(network).parameters.items()}
    assert json.loads(json.dumps(config)) == config


# --- SAINT --------------------------------------------------------------------------------------------------


def test_filter_distances_by_hand():
    distances = filter_distance_matrix(4, torch.tensor([[4.0, 0.5]]))
    assert distances.shape == (1, 4, 3, 3)
    # One quarter of the 4 mm gap past the middle pixel: the slices are 5, 1 and 3 mm away.
    expected = [[math.hypot(along, across) for across in (0.5, 0, 0.5)] for along in (5, 1, 3)]
    np.testing.assert_allclose(distances[0, 1], expected, rtol=1e-6)
    assert distances[0, 0, 1, 1] == 0


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_filter_distances_follow_the_published_formula(factor):
    dense, across = 0.8, 0.45
    distances = filter_distance_matrix(factor, torch.tensor([[factor * dense, across]], dtype=torch.float64))
    for c in range(factor):
        for i in range(3):
            for j in range(3):
                flipped = 2 - i
                expected = math.hypot(abs(c + factor * flipped - factor) * dense, abs(j - 1) * across)
                assert distances[0, c, i, j].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("keep_observed", [True, False])
def test_subpixel_convolution_equals_a_loop_over_positions(keep_observed):
    network = SaintAMI(features=4, blocks=1, layers=2, growth=3, keep_observed=keep_observed).double()
    images = torch.rand(2, 3, 4, 5, dtype=torch.float64) * 2000
    spacing, factor = torch.tensor([[5.0, 0.4], [3.0, 0.7]], dtype=torch.float64), 3
    with torch.no_grad():
        result = network(images, factor, spacing)
        features = nn.functional.pad(network.rdn(images / network.scale), (1, 1, 1, 1))
        expected = torch.zeros(2, 1, 10, 5, dtype=torch.float64)
        for b in range(2):
            filters = network.filters(filter_distance_matrix(factor, spacing[b : b + 1])[0][:, None])
            for line in range(10):
                n, c = divmod(line, factor)
                for column in range(5):
                    window = features[b, :, n : n + 3, column : column + 3]
                    expected[b, 0, line, column] = (window * filters[c]).sum() * network.scale
                    if keep_observed and c == 0:
                        expected[b, 0, line, column] = images[b, 1, n, column]
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("factor", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("size", [(2, 7), (5, 13)])
def test_saint_takes_any_factor_and_size_and_keeps_observed_lines(factor, size):
    network = SaintAMI(**SMALL_RDN)
    images = torch.rand(2, 3, *size) * 4000
    with torch.no_grad():
        dense = network(images, factor, (4.0, 0.5))
    assert dense.shape == (2, 1, (size[0] - 1) * factor + 1, size[1])
    assert torch.equal(dense[:, 0, ::factor], images[:, 1])
    assert not torch.equal(dense[:, 0, 1], dense[:, 0, 0])


def test_saint_generates_observed_lines_on_request():
    network = SaintAMI(**SMALL_RDN, keep_observed=False)
    images = torch.rand(1, 3, 4, 9) * 4000
    with torch.no_grad():
        dense = network(images, 3, (4.0, 0.5))
    assert dense.shape == (1, 1, 10, 9)
    assert (dense[:, 0, ::3] - images[:, 1]).abs().min() > 0


def test_saint_depends_on_spacing_image_by_image():
    network = SaintAMI(**SMALL_RDN)
    images, spacing = torch.rand(2, 3, 4, 9) * 4000, torch.tensor([[5.0, 0.4], [2.5, 0.4]])
    with torch.no_grad():
        together = network(images, 2, spacing)
        apart = [network(images[b : b + 1], 2, tuple(spacing[b].tolist())) for b in range(2)]
        other = network(images[:1], 2, (2.5, 0.4))
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-2)
    assert (other - apart[0]).abs().max() > 0.1


def test_saint_scale_and_intensity_are_interchangeable():
    coarse, fine = SaintAMI(**SMALL_RDN, scale=1000.0), SaintAMI(**SMALL_RDN, scale=1.0)
    fine.load_state_dict(coarse.state_dict())
    images = torch.rand(1, 3, 4, 9)
    with torch.no_grad():
        torch.testing.assert_close(coarse(images * 1000, 2, (4, 1)), fine(images, 2, (4, 1)) * 1000)


@pytest.mark.parametrize("spacing", [(4.0, 0.5), [(4.0, 0.5), (2.0, 0.7)]])
def test_networks_run_in_bfloat16_close_to_full_precision(spacing):
    ami, acvtt = SaintAMI(**SMALL_RDN), awake(AcvttNet(width=8))
    images, slices, observed = torch.rand(2, 3, 9, 16), torch.rand(3, 1, 16, 16), torch.arange(9) % 2 == 0

    def both() -> list[torch.Tensor]:
        references = acvtt.encode_references(slices)
        return [ami(images * 1000, 2, torch.tensor(spacing)), acvtt(images[:, :1], references, observed)]

    with torch.no_grad():
        full = both()
        with torch.autocast("cpu", torch.bfloat16):
            half = both()
    for a, b, spread in zip(full, half, (1000, 1)):
        assert b.dtype == torch.float32
        torch.testing.assert_close(b, a, rtol=0, atol=0.01 * spread)


@pytest.mark.parametrize("bad", [{"factor": 1}, {"factor": 2, "spacing": torch.ones(3, 2)}])
def test_saint_refuses_bad_arguments(bad):
    with pytest.raises(ValueError, match=r"factor|spacing"):
        SaintAMI(**SMALL_RDN)(torch.rand(2, 3, 4, 5), **{"spacing": (4.0, 0.5), **bad})


def test_fusion_networks_start_at_the_mean_and_take_odd_sizes():
    views = torch.rand(2, 2, 1, 11, 13)
    for network in (SaintRFN(**SMALL_RDN), AcvttFusion(width=4)):
        with torch.no_grad():
            assert torch.equal(network(*views), (views[0] + views[1]) / 2)
            merged = awake(network)(*views)
        assert merged.shape == views[0].shape
        assert (merged - (views[0] + views[1]) / 2).abs().max() > 1e-4


# --- ACVTT --------------------------------------------------------------------------------------------------


def naive_attention(module: MultiReferenceAttention, x: torch.Tensor, references: torch.Tensor):
    """MRNLA of one image (C, h, w) and its references (R, C, H, W), block by block."""
    b, dim = module.block, x.shape[0] * module.block**2

    def blocks(image):
        return [
            ((r, c), image[:, r : r + b, c : c + b].reshape(-1))
            for r in range(0, image.shape[1], b)
            for c in range(0, image.shape[2], b)
        ]

    folded = torch.zeros_like(x)
    keys = [[module.key_norm(k) for _, k in blocks(module.key(y[None])[0])] for y in references]
    values = [[v for _, v in blocks(module.value(y[None])[0])] for y in references]
    for (r, c), q in blocks(module.query(x[None])[0]):
        q = module.query_norm(q)
        outputs, relevances = [], []
        for ks, vs in zip(keys, values):
            scores = torch.stack([(q * k).sum() / math.sqrt(dim) for k in ks])
            weights = scores.exp() / scores.exp().sum()
            outputs.append(sum(w * v for w, v in zip(weights, vs)))
            relevances.append((weights * scores).sum())
        omega = torch.stack(relevances).softmax(0)
        if not module.relevance:
            omega = torch.full_like(omega, 1 / len(omega))
        total = sum(w * o for w, o in zip(omega, outputs))
        folded[:, r : r + b, c : c + b] = total.reshape(-1, b, b)
    return x + module.output(folded[None])[0]


@pytest.mark.parametrize("relevance", [True, False])
@pytest.mark.parametrize("block", [1, 2])
def test_attention_equals_a_loop_over_blocks(relevance, block):
    module = MultiReferenceAttention(3, block, relevance).double()
    for norm in (module.query_norm, module.key_norm):
        nn.init.normal_(norm.weight, 1, 0.5)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    references = torch.randn(2, 3, 6, 4, dtype=torch.float64)
    keys, values = (part[None] for part in module.encode(references))
    with torch.no_grad():
        expected = torch.stack([naive_attention(module, image, references) for image in x])
        # Scores are in float32 by design.
        torch.testing.assert_close(module(x, keys, values), expected, rtol=1e-5, atol=1e-5)


def test_attention_in_chunks_equals_attention_at_once():
    class Spy(MultiReferenceAttention):
        largest = 0

        def attend(self, queries, keys, values):
            self.largest = max(self.largest, queries.shape[1])
            return super().attend(queries, keys, values)

    whole, pieces = Spy(4, 2, query_chunk=10**6), Spy(4, 2, query_chunk=5)
    pieces.load_state_dict(whole.state_dict())
    x, keys, values = torch.randn(3, 4, 8, 12), torch.randn(1, 2, 30, 16), torch.randn(1, 2, 30, 16)
    with torch.no_grad():
        torch.testing.assert_close(pieces(x, keys, values), whole(x, keys, values), rtol=1e-5, atol=1e-6)
    assert (whole.largest, pieces.largest) == (72, 5)


def test_one_reference_has_all_the_relevance():
    weighted, plain = MultiReferenceAttention(4, 1), MultiReferenceAttention(4, 1, relevance=False)
    plain.load_state_dict(weighted.state_dict())
    x, keys, values = torch.randn(1, 4, 4, 4), torch.randn(1, 2, 9, 4) * 3, torch.randn(1, 2, 9, 4)
    with torch.no_grad():
        torch.testing.assert_close(
            weighted(x, keys[:, :1], values[:, :1]), plain(x, keys[:, :1], values[:, :1])
        )
        assert (weighted(x, keys, values) - plain(x, keys, values)).abs().max() > 1e-3


def test_references_encoded_once_equal_references_encoded_each_time():
    network = awake(AcvttNet(width=4))
    images, slices, observed = torch.rand(3, 1, 9, 21), torch.rand(2, 1, 19, 21), torch.arange(9) % 2 == 0
    assert [k.shape for k in network.encode_references(slices).keys] == [
        (1, 2, 9, 4 * 2**level * (8 // 2**level) ** 2) for level in range(4)
    ]
    with torch.no_grad():
        once = network(images, network.encode_references(slices), observed)
        repeated = network.encode_references(slices.expand(3, 2, 1, 19, 21))
        each = [network(image[None], network.encode_references(slices), observed) for image in images]
        torch.testing.assert_close(once, torch.cat(each), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(network(images, repeated, observed), once, rtol=1e-5, atol=1e-6)


def test_each_image_may_have_its_own_references():
    network = awake(AcvttNet(width=4))
    images, slices, observed = torch.rand(2, 1, 8, 16), torch.rand(2, 3, 1, 16, 16), torch.arange(8) == 0
    with torch.no_grad():
        together = network(images, network.encode_references(slices), observed)
        apart = [network(images[b][None], network.encode_references(slices[b]), observed) for b in range(2)]
        swapped = network(images, network.encode_references(slices.flip(0)), observed)
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-5, atol=1e-6)
    assert (swapped - together).abs().max() > 1e-4
    with pytest.raises(ValueError, match="references for 2"):
        network(torch.rand(3, 1, 8, 16), network.encode_references(slices), observed)


@pytest.mark.parametrize("size", [(3, 5), (9, 16), (17, 23)])
def test_acvtt_takes_odd_sizes_and_keeps_observed_lines(size):
    image, observed = torch.rand(2, 1, *size), torch.arange(size[0]) % 2 == 0
    network = AcvttNet(width=4)
    references = network.encode_references(torch.rand(3, 1, 21, size[1]))
    with torch.no_grad():
        assert torch.equal(network(image, references, observed), image)  # it starts at linear interpolation
        references = awake(network).encode_references(torch.rand(3, 1, 21, size[1]))
        result = network(image, references, observed)
        network.keep_observed = False
        papers = network(image, references)
    assert result.shape == image.shape
    assert torch.equal(result[:, :, observed], image[:, :, observed])
    torch.testing.assert_close(result[:, :, ~observed], papers[:, :, ~observed])
    assert (papers - image).abs().amax(dim=(0, 1, 3)).min() > 1e-4


def test_acvtt_wants_to_know_the_observed_lines():
    network = AcvttNet(width=4)
    with pytest.raises(ValueError, match="observed"):
        network(torch.rand(1, 1, 8, 8), network.encode_references(torch.rand(1, 1, 8, 8)))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 11])
def test_padding_reflects_lines_of_any_length(size):
    line = np.arange(size, dtype=np.float32)
    expected = np.pad(line, (0, -size % 8), mode="reflect")
    padded = reflect_to_multiple(torch.from_numpy(line)[None])
    np.testing.assert_array_equal(padded, np.broadcast_to(expected, (8, len(expected))))


def test_linear_start_reproduces_acquired_lines():
    images = torch.rand(2, 1, 5, 7)
    dense = upsample_slices(images, 3)
    assert torch.equal(dense[:, :, ::3], images)
    expected = np.interp(np.arange(13) / 3, np.arange(5), images[1, 0, :, 4])
    np.testing.assert_allclose(dense[1, 0, :, 4], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("slices", "count", "expected"),
    [(40, 3, [10, 20, 30]), (7, 3, [1, 2, 3]), (3, 3, [1, 2]), (2, 3, [1]), (20, 5, [3, 6, 9, 12, 15])],
)
def test_references_are_spaced_uniformly(slices, count, expected):
    assert reference_slices(slices, count) == expected


# --- Whole volumes ------------------------------------------------------------------------------------------


def saint_volume(chunk: int = 8, fuse: bool = True, **config) -> SaintVolume:
    torch.manual_seed(1)
    ami, rfn = SaintAMI(**SMALL_RDN, **config), awake(SaintRFN(**SMALL_RDN))
    return SaintVolume(ami, rfn if fuse else None, chunk=chunk)


def acvtt_volume(chunk: int = 4, fuse: bool = True, **config) -> AcvttVolume:
    torch.manual_seed(1)
    network, fusion = awake(AcvttNet(width=4, **config)), awake(AcvttFusion(width=4))
    return AcvttVolume(network, fusion if fuse else None, chunk=chunk)


def run(volume, stack, factor=3, **options) -> np.ndarray:
    arguments = (stack, (4.0, 0.5, 0.6), factor) if isinstance(volume, SaintVolume) else (stack, factor)
    return np.stack(list(volume(*arguments, **options)))


BUILDERS = pytest.mark.parametrize(("build", "peak"), [(saint_volume, 4000.0), (acvtt_volume, 1.0)])


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    """Five slices of 48 x 40, in 0..1; a few values beyond it, as metal and padding have."""
    values = moving_ellipse(17)[::4] / 2000 + np.random.default_rng(0).normal(0, 0.01, (5, 48, 40))
    values[2, 3, 4], values[1, 5, 6] = 1.5, -0.5
    return values.astype(np.float32)


@BUILDERS
def test_volume_has_the_right_shape_and_order_and_keeps_acquired_slices(build, peak, stack):
    result = run(build(), stack * peak)
    assert result.shape == (13, 48, 40)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[::3], stack * np.float32(peak))
    synthesized = np.delete(result, np.s_[::3], axis=0)
    assert synthesized.min() >= 0
    assert synthesized.max() <= peak


@BUILDERS
def test_chunks_buffers_and_iterators_do_not_change_the_result(build, peak, stack, tmp_path):
    def buffer(name: str) -> np.ndarray:
        return np.lib.format.open_memmap(tmp_path / name, "w+", np.float32, (2, 9, 48, 40))

    first, second = buffer("a.npy"), buffer("b.npy")
    result = run(build(chunk=7), stack * peak, 2, buffers=first)
    again = run(build(chunk=48), (s for s in stack * peak), 2, buffers=second)
    np.testing.assert_allclose(again, result, atol=2e-5 * peak)
    np.testing.assert_allclose(second, first, atol=2e-5 * peak)
    # The default buffers only round: by half a unit for SAINT, to half precision for ACVTT.
    coarse = run(build(fuse=False), stack * peak, 2)
    np.testing.assert_allclose(coarse[1::2], first[:, 1::2].mean(0), atol=0.51 if peak > 1 else 2**-12)


@BUILDERS
def test_axial_slices_are_fused_from_the_two_buffers(build, peak, stack):
    volume, buffers = build(), np.zeros((2, 9, 48, 40), np.float32)
    result = run(volume, stack * peak, 2, buffers=buffers)
    fusion = volume.rfn if isinstance(volume, SaintVolume) else volume.fusion
    views = torch.from_numpy(buffers)[:, 5][:, None, None]
    with torch.no_grad():
        expected = fusion(*views)[0, 0].clamp(0, peak)
    np.testing.assert_allclose(result[5], expected, atol=1e-5 * peak)


def test_saint_volume_hands_over_the_right_neighbors_and_spacing(stack):
    volume, buffers = saint_volume(chunk=7), np.zeros((2, 9, 48, 40), np.float32)
    stack = np.clip(stack, 0, 1) * 4000
    run(volume, stack, 2, buffers=buffers)
    empty = np.zeros((5, 48), np.float32)
    column = [stack[:, :, x] if x < 40 else empty for x in (38, 39, 40)]
    row = [stack[:, y] for y in (13, 14, 15)]
    with torch.no_grad():
        sagittal = volume.ami(torch.from_numpy(np.stack(column))[None], 2, (4.0, 0.5))[0, 0]
        coronal = volume.ami(torch.from_numpy(np.stack(row))[None], 2, (4.0, 0.6))[0, 0]
    np.testing.assert_allclose(buffers[0, :, :, 39], sagittal.clamp(0, 4000), atol=0.05)
    np.testing.assert_allclose(buffers[1, :, 14], coronal.clamp(0, 4000), atol=0.05)


def test_acvtt_volume_hands_over_references_and_observed_lines(stack):
    volume, buffers = acvtt_volume(chunk=7), np.zeros((2, 13, 48, 40), np.float32)
    stack = np.clip(stack, 0, 1)
    run(volume, stack, 3, buffers=buffers)
    observed = torch.arange(13) % 3 == 0
    with torch.no_grad():
        references = volume.network.encode_references(torch.from_numpy(stack[[1, 2, 3]])[:, None])
        for buffer, plane in ((buffers[0][..., 39], stack[..., 39]), (buffers[1][:, 14], stack[:, 14])):
            linear = upsample_slices(torch.from_numpy(plane)[None, None], 3)
            expected = volume.network(linear, references, observed)[0, 0].clamp(0, 1)
            np.testing.assert_allclose(buffer, expected, atol=1e-5)
            assert np.abs(buffer - linear[0, 0].numpy()).max() > 1e-3


@BUILDERS
def test_volume_of_the_generating_variant_predicts_acquired_slices_too(build, peak, stack):
    result = run(build(keep_observed=False), stack * peak)
    assert result.shape == (13, 48, 40)
    assert (np.abs(result[::3] - stack * peak).max(axis=(1, 2)) > 1e-3 * peak).all()


@BUILDERS
def test_smallest_stack_and_progress(build, peak):
    seen = []
    result = run(build(), np.full((2, 9, 10), 0.3 * peak, np.float32), 2, progress=lambda *p: seen.append(p))
    assert result.shape == (3, 9, 10)
    assert [view for view, done, total in seen if done == total] == ["sagittal", "coronal"]
    assert {total for view, _, total in seen if view == "coronal"} == {9}


def test_progress_can_cancel(stack):
    def cancel(view: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(saint_volume()(stack * 4000, (4.0, 0.5, 0.6), 2, progress=cancel))


@pytest.mark.parametrize(
    ("shape", "factor", "options", "message"),
    [
        ((1, 8, 8), 2, {}, "two or more"),
        ((4, 8), 2, {}, "slices, rows, columns"),
        ((3, 8, 8), 1, {}, "factor"),
        ((3, 8, 8), 2.5, {}, "factor"),
        ((3, 8, 8), 2, {"buffers": np.zeros((2, 4, 8, 8))}, "buffers"),
    ],
)
def test_bad_volumes_are_refused_before_any_work(shape, factor, options, message):
    for volume, arguments in ((saint_volume(), ((4, 0.5, 0.5), factor)), (acvtt_volume(), (factor,))):
        with pytest.raises(ValueError, match=message):
            volume(np.zeros(shape, np.float32), *arguments, **options)


def test_generator_leaves_gradients_on_for_its_caller(stack):
    slices = acvtt_volume()(stack, 2)
    next(slices)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


# --- Learning -----------------------------------------------------------------------------------------------

FACTOR = 4


def fit(network: nn.Module, predict, truth: torch.Tensor, batch: int, steps: int, lr: float) -> torch.Tensor:
    """Train on random images of one volume with L1 and Adam; return the predictions for all of them."""
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for _ in range(steps):
        chosen = torch.randint(0, len(truth), (batch,))
        loss = (predict(chosen) - truth[chosen]).abs().mean() / truth.std()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return torch.cat([predict(part) for part in torch.arange(len(truth)).split(8)])


@pytest.fixture(scope="module")
def ellipse() -> dict[str, torch.Tensor]:
    """Sagittal images of the moving ellipse: dense, acquired with neighbors, and linearly interpolated."""
    volume = torch.from_numpy(moving_ellipse(25))
    dense = volume.permute(2, 0, 1)
    padded = nn.functional.pad(dense[:, ::FACTOR], (0, 0, 0, 0, 1, 1))
    return {
        "axial": volume[::FACTOR],
        "dense": dense[:, None],
        "triplets": torch.stack((padded[:-2], padded[1:-1], padded[2:]), dim=1),
        "linear": upsample_slices(dense[:, None, ::FACTOR], FACTOR),
    }


@pytest.mark.parametrize(
    ("config", "batch", "steps", "lr", "gain"),
    [
        pytest.param(SMALL_RDN, 8, 100, 1e-3, 0.7, id="small"),
        pytest.param({}, 2, 100, 3e-4, 1.5, id="full", marks=pytest.mark.slow),
    ],
)
def test_saint_learns_to_beat_linear(ellipse, config, batch, steps, lr, gain):
    network = SaintAMI(**config)
    result = fit(
        network,
        lambda c: network(ellipse["triplets"][c], FACTOR, (4.0, 0.5)),
        ellipse["dense"],
        batch,
        steps,
        lr,
    )
    linear = psnr(ellipse["linear"], ellipse["dense"], 4000)
    assert 29 < linear < 30
    assert psnr(result, ellipse["dense"], 4000) > linear + gain


@pytest.mark.parametrize(
    ("config", "batch", "steps", "lr", "gain"),
    [
        pytest.param({"width": 8}, 8, 100, 1e-3, 1.5, id="small"),
        pytest.param({}, 2, 60, 1e-4, 0.5, id="full", marks=pytest.mark.slow),
    ],
)
def test_acvtt_learns_to_beat_linear(ellipse, config, batch, steps, lr, gain):
    network = AcvttNet(**config)
    linear, dense = ellipse["linear"] / 4095, ellipse["dense"] / 4095
    slices = ellipse["axial"][reference_slices(len(ellipse["axial"]))][:, None] / 4095
    observed = torch.arange(dense.shape[-2]) % FACTOR == 0
    result = fit(
        network,
        lambda c: network(linear[c], network.encode_references(slices), observed),
        dense,
        batch,
        steps,
        lr,
    )
    assert psnr(result, dense, 1) > psnr(linear, dense, 1) + gain


@pytest.mark.parametrize(
    ("build", "peak", "steps", "lr", "gain"),
    [
        pytest.param(lambda: SaintRFN(**SMALL_RDN), 4000.0, 100, 1e-3, 8.0, id="saint-small"),
        pytest.param(lambda: AcvttFusion(width=8), 1.0, 100, 1e-3, 8.0, id="acvtt-small"),
        pytest.param(SaintRFN, 4000.0, 30, 3e-4, 4.0, id="saint-full", marks=pytest.mark.slow),
        pytest.param(AcvttFusion, 1.0, 30, 1e-4, 6.0, id="acvtt-full", marks=pytest.mark.slow),
    ],
)
def test_fusion_learns_to_beat_the_mean(build, peak, steps, lr, gain):
    """Views blurred along one in-plane axis each: the other view has what is missing."""
    network, truth = build(), torch.from_numpy(moving_ellipse(12))[:, None] * (peak / 4095)
    sagittal = nn.functional.avg_pool2d(nn.functional.pad(truth, (0, 0, 2, 2), mode="replicate"), (5, 1), 1)
    coronal = nn.functional.avg_pool2d(nn.functional.pad(truth, (2, 2, 0, 0), mode="replicate"), (1, 5), 1)
    result = fit(network, lambda c: network(sagittal[c], coronal[c]), truth, 2, steps, lr)
    assert psnr(result, truth, peak) > psnr((sagittal + coronal) / 2, truth, peak) + gain
