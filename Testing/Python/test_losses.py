"""The losses: against independent implementations, in their gradients, and where the papers' own failed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from SliceInterpolationLib.networks.ddpm import DDPM
from SliceInterpolationLib.networks.msi_gan import PatchDiscriminator
from SliceInterpolationTrainerLib.losses import (
    LOSSES,
    MS_WEIGHTS,
    MSSSIM,
    SSIM,
    Loss,
    SimilarityL1,
    build_loss,
    similarity_ramp,
    structural_similarity,
)

PAIRWISE = [name for name in LOSSES if name not in ("adversarial", "diffusion")]
MULTI_SCALE = ("ms-ssim", "ms-ssim+l1")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def images(side: int = 64, batch: int = 1, noise: float = 0.05) -> tuple[torch.Tensor, torch.Tensor]:
    """A smooth random picture in 0..1 and a noisy copy, (B, 1, side, side) in double precision."""
    generator = np.random.default_rng(3)
    clean = gaussian_filter(generator.standard_normal((batch, 1, side, side)), (0, 0, 4, 4))
    clean = np.clip(0.5 + 2 * clean, 0, 1)
    noisy = clean + noise * generator.standard_normal(clean.shape)
    return torch.from_numpy(noisy), torch.from_numpy(clean)


# Against others


@pytest.mark.parametrize(("k1", "k2"), [(0.01, 0.03), (0.01, 0.4)])
@pytest.mark.parametrize("size", [(64, 64), (37, 52)])
def test_ssim_agrees_with_scikit_image(k1, k2, size):
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is the reference here")
    x, y = (image[..., : size[0], : size[1]] for image in images(64))
    _, full = metrics.structural_similarity(
        x[0, 0].numpy(),
        y[0, 0].numpy(),
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        K1=k1,
        K2=k2,
        full=True,
    )
    expected = full[5:-5, 5:-5].mean()
    assert 0.1 < expected < 0.99
    ssim, _ = structural_similarity(x, y, k1, k2)
    assert float(ssim) == pytest.approx(expected, abs=1e-5)
    assert float(SSIM(k1, k2)(x, y)) == pytest.approx(1 - expected, abs=1e-5)


def test_ssim_agrees_with_torchmetrics():
    metrics = pytest.importorskip(
        "torchmetrics.functional.image", reason="torchmetrics is the reference here"
    )
    x, y = images(64, batch=2)
    # Its mean includes windows over a reflected border; its map, cropped, is ours.
    _, full = metrics.structural_similarity_index_measure(x, y, data_range=1.0, return_full_image=True)
    assert float(SSIM()(x, y)) == pytest.approx(1 - float(full[..., 5:-5, 5:-5].mean()), abs=1e-5)


@pytest.mark.parametrize("side", [161, 192, 201])
def test_ms_ssim_agrees_with_its_definition(side):
    """Wang et al. 2003 with SciPy's filter: structure at every scale, luminance at the coarsest."""
    x, y = images(side)
    images_now, terms = [x[0, 0].numpy(), y[0, 0].numpy()], []
    for scale in range(5):

        def mean(image: np.ndarray) -> np.ndarray:
            return gaussian_filter(image, 1.5, truncate=3.5)[5:-5, 5:-5]

        a, b = images_now
        ma, mb = mean(a), mean(b)
        va, vb, covariance = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
        term = (2 * covariance + 9e-4) / (va + vb + 9e-4)
        if scale == 4:
            term = term * (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
        terms.append(term.mean())
        # A last odd row or column is averaged alone.
        images_now = [np.pad(i, [(0, n % 2) for n in i.shape], mode="edge") for i in images_now]
        images_now = [(i[::2, ::2] + i[1::2, ::2] + i[::2, 1::2] + i[1::2, 1::2]) / 4 for i in images_now]
    expected = np.prod(np.power(terms, MS_WEIGHTS))
    assert 0.5 < expected < 0.99
    assert float(MSSSIM()(x, y)) == pytest.approx(1 - expected, abs=1e-5)


def test_ssim_and_ms_ssim_agree_with_the_package_of_the_paper():
    package = pytest.importorskip("pytorch_msssim", reason="pytorch-msssim is the reference here")
    x, y = images(192, batch=2)
    assert float(SSIM()(x, y)) == pytest.approx(1 - float(package.ssim(x, y, data_range=1.0)), abs=1e-5)
    assert float(MSSSIM()(x, y)) == pytest.approx(1 - float(package.ms_ssim(x, y, data_range=1.0)), abs=1e-5)


def test_pixel_losses_by_hand():
    x, y = images()
    difference = (x - y).numpy()
    assert float(build_loss("mse")(x, y)) == pytest.approx(np.mean(difference**2))
    assert float(build_loss("l1")(x, y)) == pytest.approx(np.mean(np.abs(difference)))
    expected = np.mean(np.sqrt(difference**2 + 1e-2**2))
    assert float(build_loss("charbonnier", eps=1e-2)(x, y)) == pytest.approx(expected)
    assert float(build_loss("charbonnier")(y, y)) == pytest.approx(1e-3)


@pytest.mark.parametrize("name", PAIRWISE)
def test_equal_images_cost_nothing(name):
    _, y = images(176)
    assert float(build_loss(name)(y, y)) == pytest.approx(0, abs=1.1e-3)  # Charbonnier's eps


# Gradients


@pytest.mark.parametrize(
    ("name", "options", "side"),
    [
        ("mse", {}, 6),
        ("l1", {}, 6),
        ("charbonnier", {}, 6),
        ("window-l1", {"low": 0.2, "high": 0.8}, 6),
        ("feature-matching", {}, 6),
        ("ssim", {}, 13),
        ("ssim", {"nonnegative": True, "k2": 0.4}, 13),
        ("ssim+l1", {"similarity_weight": 0.8, "l1_weight": 0.2}, 13),
        ("ms-ssim", {"weights": (0.4, 0.6)}, 23),
        ("ms-ssim", {"weights": (0.4, 0.6), "scales_mean": True}, 23),
        ("ms-ssim+l1", {"weights": (0.4, 0.6)}, 23),
    ],
)
def test_gradients(name, options, side):
    x, y = images(side)
    loss = build_loss(name, **options)
    assert torch.autograd.gradcheck(
        lambda image: loss(image, y), x.clone().requires_grad_(), fast_mode=side > 15
    )


def test_adversarial_and_diffusion_gradients():
    adversarial = build_loss("adversarial")
    real = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    predicted = torch.randn(1, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(adversarial.generator, predicted)
    assert torch.autograd.gradcheck(adversarial.discriminator, (real, predicted))

    network = DDPM(channels=8).double()
    pair, target = torch.rand(2, 2, 16, 16).double(), torch.rand(2, 1, 16, 16).double()
    parameter = network.head[2].bias

    def value(shift: float) -> float:
        with torch.no_grad():
            parameter.add_(shift)
            result = build_loss("diffusion")(network, pair, target, torch.Generator().manual_seed(4))
            parameter.sub_(shift)
        return float(result)

    build_loss("diffusion")(network, pair, target, torch.Generator().manual_seed(4)).backward()
    assert float(parameter.grad) == pytest.approx((value(1e-5) - value(-1e-5)) / 2e-5, rel=1e-6)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


# Precision: what ended the runs of the head CT study


@pytest.mark.parametrize("name", PAIRWISE)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(name, dtype):
    x, y = (image.to(dtype) for image in images(176))
    loss = build_loss(name)
    value = loss(x, y)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(x.float(), y.float()))
    assert loss(x.double(), y.double()).dtype == torch.float64


@pytest.mark.parametrize("name", PAIRWISE)
def test_autocast_is_kept_out(name):
    x, y = (image.float() for image in images(176))
    loss = build_loss(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(x, y)
    assert torch.equal(inside, loss(x, y))


def test_ssim_of_flat_bright_images_stays_within_its_bounds():
    # Variances here are rounding only; in half precision they reach -1e-3, beyond the constant of 9e-4.
    y = torch.full((1, 1, 64, 64), 0.97) + 1e-4 * torch.rand(1, 1, 64, 64)
    x = (y + 1e-4 * torch.randn_like(y)).requires_grad_()
    loss = build_loss("ssim")(x, y)
    loss.backward()
    assert 0 <= float(loss.detach()) < 0.01
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("scales_mean", [False, True])
@pytest.mark.parametrize("kind", ["opposite", "constant", "random"])
def test_ms_ssim_stays_finite_far_from_the_answer(kind, scales_mean):
    _, y = (image.float() for image in images(176))
    x = {"opposite": 1 - y, "constant": torch.full_like(y, 0.5), "random": torch.rand_like(y)}[kind]
    x.requires_grad_()
    loss = build_loss("ms-ssim", scales_mean=scales_mean)(x, y)
    loss.backward()
    assert 0 <= float(loss.detach()) <= 2
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() < 1
    if scales_mean:
        assert x.grad.abs().sum() > 0


def test_one_anticorrelated_scale_leaves_the_others_their_gradient():
    # Opposite in the fine detail, equal in the coarse shape: the coarse scales must still teach.
    coarse = images(176)[1]
    fine = 0.3 * torch.randn_like(coarse)
    x = (coarse * 0.9 - fine).requires_grad_()
    _, contrast = structural_similarity(x, coarse + fine)
    assert float(contrast.detach()) < 0
    build_loss("ms-ssim")(x, coarse + fine).backward()
    assert x.grad.abs().sum() > 0


def test_window_loss_has_no_dead_zone():
    target = torch.tensor([[-50.0, 30.0, 1000.0, -1000.0, 1000.0, 40.0]])
    prediction = torch.tensor([[-300.0, 300.0, 2000.0, 50.0, 0.0, -900.0]], requires_grad=True)
    loss = build_loss("window-l1", low=-20, high=107)(prediction, target)
    expected = [0, (300 - 30) / 127, 0, (50 + 20) / 127, (107 - 0) / 127, (40 + 900) / 127]
    assert float(loss.detach()) == pytest.approx(np.mean(expected), rel=1e-6)
    loss.backward()
    assert torch.equal(prediction.grad.sign(), torch.tensor([[0.0, 1, 0, 1, -1, -1]]))
    with pytest.raises(ValueError, match="low end"):
        build_loss("window-l1", low=1, high=1)


# Refusals and options


@pytest.mark.parametrize("name", PAIRWISE)
def test_shapes_that_would_broadcast_are_refused(name):
    with pytest.raises(ValueError, match="differ"):
        build_loss(name)(torch.rand(4, 1, 176, 176), torch.rand(1, 1, 176, 176))


@pytest.mark.parametrize("name", MULTI_SCALE)
def test_ms_ssim_needs_more_than_160_pixels(name):
    loss = build_loss(name)
    with pytest.raises(ValueError, match="above 160 pixels"):
        loss(torch.rand(1, 1, 160, 200), torch.rand(1, 1, 160, 200))
    assert loss(torch.rand(1, 1, 161, 200), torch.rand(1, 1, 161, 200)).isfinite()
    with pytest.raises(ValueError, match="at least 11"):
        build_loss("ssim")(torch.rand(1, 1, 10, 64), torch.rand(1, 1, 10, 64))


def test_weights_must_sum_to_one():
    for weights in ((0.5, 0.6), (1.2, -0.2)):
        with pytest.raises(ValueError, match="sum to 1"):
            build_loss("ssim+l1", similarity_weight=weights[0], l1_weight=weights[1])
    x, y = images()
    ssim, l1 = build_loss("ssim")(x, y), build_loss("l1")(x, y)
    for weight in (0.8, 0.5, 0.3, 0.2, 0.0, 1.0):
        both = build_loss("ssim+l1", similarity_weight=weight, l1_weight=1 - weight)(x, y)
        torch.testing.assert_close(both, weight * ssim + (1 - weight) * l1)


def test_nonnegative_ssim():
    _, y = images()
    assert float(build_loss("ssim")(1 - y, y)) > 1
    assert float(build_loss("ssim", nonnegative=True)(1 - y, y)) == 1


def test_similarity_starts_after_l1():
    assert [similarity_ramp(step) for step in (0, 500, 750, 1000, 9999)] == [0, 0, 0.5, 1, 1]
    x, y = images()
    loss = build_loss("ssim+l1")
    assert isinstance(loss, SimilarityL1)
    loss.strength = similarity_ramp(0)
    torch.testing.assert_close(loss(x, y), build_loss("l1")(x, y))
    loss.strength = similarity_ramp(750)
    expected = 0.15 * build_loss("ssim")(x, y) + 0.85 * build_loss("l1")(x, y)
    torch.testing.assert_close(loss(x, y), expected)


def test_l1_pulls_back_where_ssim_does_not():
    # Why the similarity is never alone: far from the answer its gradient fades, L1's stays.
    _, y = images()

    def pull(loss: Loss, shift: float) -> float:
        x = (y + shift).requires_grad_()
        loss(x, y).backward()
        return float(x.grad.abs().sum())

    assert pull(build_loss("l1"), 12) == pytest.approx(pull(build_loss("l1"), 0.3))
    assert pull(build_loss("ssim"), 12) < 0.05 * pull(build_loss("ssim"), 0.3)


def test_registry():
    with pytest.raises(ValueError, match="known are mse, l1"):
        build_loss("psnr")
    with pytest.raises(TypeError):
        build_loss("l1", eps=1)


# Adversarial training


@pytest.mark.parametrize("improved", [False, True])
def test_discriminator_learns_and_guides(improved):
    """It learns to tell sharp from blurred slices, and its gradient then reaches the prediction."""
    network = PatchDiscriminator(improved)
    adversarial = build_loss("adversarial")
    blurred, sharp = (image.float() for image in images(32, batch=4, noise=0.0))
    sharp = sharp + 0.2 * torch.randn_like(sharp)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    values = []
    for _ in range(30):
        loss = adversarial.discriminator(network(sharp), network(blurred))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(float(loss.detach()))
    assert values[0] == pytest.approx(np.log(2), abs=0.3)
    assert values[-1] < 0.5 * values[0]

    prediction = blurred.clone().requires_grad_()
    adversarial.generator(network(prediction)).backward()
    assert prediction.grad.abs().sum() > 0

    prediction = blurred.clone().requires_grad_()
    target = sharp.clone().requires_grad_()
    build_loss("feature-matching")(network.features(prediction), network.features(target)).backward()
    assert prediction.grad.abs().sum() > 0
    assert target.grad is None


def test_diffusion_loss_draws_from_its_generator_only():
    network = DDPM(channels=8)
    pair, target = torch.rand(2, 2, 16, 16), torch.rand(2, 1, 16, 16)
    loss = build_loss("diffusion")

    def value(seed: int) -> float:
        torch.rand(3)
        return float(loss(network, pair, target, torch.Generator().manual_seed(seed)).detach())

    assert value(1) == value(1)
    assert value(1) != value(2)
