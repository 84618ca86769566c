"""Parts of a slice give what the whole slice gives: the body box, sliding windows, and what must never be cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import zoom
from test_catalogue_methods import CONFIGS, Video

from SliceInterpolationLib.interpolators import NETWORKS, create, on_device
from SliceInterpolationLib.interpolators.flow import Flow
from SliceInterpolationLib.interpolators.flow_refine import FlowRefineInterpolator
from SliceInterpolationLib.interpolators.four_slices import FourSlicesInterpolator
from SliceInterpolationLib.interpolators.pair import PairInterpolator
from SliceInterpolationLib.interpolators.through_plane import AcvttInterpolator, SaintInterpolator
from SliceInterpolationLib.networks import ARCHITECTURES, build
from SliceInterpolationLib.networks.sliding_window import SlidingWindow, smallest_side
from SliceInterpolationLib.stack import SliceStack
from SliceInterpolationLib.volume import AIR_LIMIT_HU

LOCAL = ("flow-refine", "msi-cnn", "msi-unet", "msi-gan", "msi-gan-plus", "saint")
WHOLE = ("dsi-unet", "ddpm", "rife-style", "ifrnet-style", "acvtt", "torchscript", "i3net")
ADAPTERS = {
    "flow-refine": FlowRefineInterpolator,
    "saint": SaintInterpolator,
    "acvtt": AcvttInterpolator,
    "i3net": FourSlicesInterpolator,
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def awake(name: str) -> torch.nn.Module:
    """A network with random weights everywhere, also where training starts from zero."""
    config = {"script": torch.jit.script(Video())} if name == "torchscript" else {}
    network = build(name, **{**CONFIGS[name], **config}).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return network


def interpolator(name: str) -> on_device.OnDevice:
    if name in ("flow", "default"):
        return create(name)
    return ADAPTERS.get(name, PairInterpolator)(awake(name), name)


@pytest.fixture(scope="module")
def head(phantom) -> np.ndarray:
    """Four slices of a head that moves from slice to slice, 266 x 273 pixels, cut off at its left."""
    slices = zoom(phantom.image[10:14].astype(np.float32), (1, 2.2, 2.2), order=1)
    return np.stack([np.roll(one, 2 * number, 1)[16:, 9:] for number, one in enumerate(slices)])


def field_of_view(slices: np.ndarray, above: int, left: int, size: tuple[int, int]) -> SliceStack:
    """The slices somewhere in a larger field of view of noisy air."""
    air = np.random.default_rng(0).normal(-1000, 8, (len(slices), *size))
    air[:, above : above + slices.shape[1], left : left + slices.shape[2]] = slices
    return SliceStack(air.astype(np.float32), 4.0, (0.9, 0.9))


def tissue(stack: SliceStack) -> np.ndarray:
    return np.max([stack.hu(number) for number in (1, 2)], axis=0) > AIR_LIMIT_HU


def test_every_architecture_is_local_or_whole():
    assert {*LOCAL, *WHOLE} == set(ARCHITECTURES) == set(NETWORKS)
    for name in LOCAL:
        assert interpolator(name).reach > 0
    for name in WHOLE:
        assert interpolator(name).reach is None


# How far a pixel looks


def outputs(network: torch.nn.Module, image: torch.Tensor) -> list[torch.Tensor]:
    """What a network makes of noise, (1, 4, H, W) in 0..1; of flow-refine what its convolutions make of it.

    Warping, on whole slices, is not what is looked at here: there is no displacement.
    """
    if not hasattr(network, "prior"):
        return [network(image[:, :2])]
    made = []

    def keep(function, images, flow):
        changed = function(images, flow + F.avg_pool2d(image[:, :2], 2))
        made.extend(F.interpolate(part, images.shape[-2:]) for part in changed)
        return changed

    one = image.new_ones(1)
    still = image.new_zeros(1, 2, image.shape[-2] // 2, image.shape[-1] // 2)
    network(100 * image, one, one, one / 2, one, True, still, keep)
    return made


@pytest.mark.parametrize("name", [name for name in LOCAL if name != "saint"])
def test_nothing_beyond_its_reach_changes_a_pixel(name):
    network = awake(name).double()
    side, reach = 2 * network.reach + 48, network.reach
    middle = side // 2 // 8 * 8
    near = torch.rand(1, 4, side, side, dtype=torch.float64)
    far = torch.rand_like(near)
    inside = (..., slice(middle - reach, middle + reach + 2), slice(middle - reach, middle + reach + 2))
    far[inside] = near[inside]
    with torch.no_grad():
        for one, other in zip(outputs(network, near), outputs(network, far)):
            pixel = (..., slice(middle, middle + 2), slice(middle, middle + 2))
            torch.testing.assert_close(one[pixel], other[pixel], rtol=0, atol=1e-12)
            assert (one - other).abs().max() > 1e-6


@pytest.mark.parametrize("name", ["dsi-unet", "ddpm", "rife-style", "ifrnet-style"])
def test_what_counts_as_whole_looks_far(name):
    """Sides of 320 pixels, and the middle still depends on the border."""
    network = awake(name).double()
    near = torch.rand(1, 2, 320, 320, dtype=torch.float64)
    far = near.clone()
    far[..., :16] = 1 - far[..., :16]
    with torch.no_grad():
        for module in network.modules():  # nothing may fade on the way
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
        difference = network(near) - network(far)
    assert difference[..., 160].abs().max() > 1e-9


# Sliding windows


def smooth(image: torch.Tensor, coarse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two local functions, the second at half resolution: reach 3 and 6 pixels."""
    kernel = torch.ones(1, 1, 7, 7, dtype=image.dtype) / 49
    half = F.conv2d(F.avg_pool2d(image, 2) + coarse, kernel[..., 1:6, 1:6], padding=2)
    return F.conv2d(image, kernel, padding=3), half


@pytest.mark.parametrize("size", [(96, 96), (300, 98), (128, 410)])
@pytest.mark.parametrize("side", [64, 97, 128])
def test_windows_of_any_size_agree_with_the_whole(size, side):
    image = torch.randn(2, 1, *size, dtype=torch.float64)
    coarse = torch.randn(2, 1, size[0] // 2, size[1] // 2, dtype=torch.float64)
    windows, seen = SlidingWindow(side, reach=7, multiple=2), []

    def counted(*images):
        seen.append(tuple(images[0].shape[-2:]))
        return smooth(*images)

    for made, expected in zip(windows(counted, image, coarse), smooth(image, coarse)):
        torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    assert max(max(one) for one in seen) <= side
    assert (len(seen) == 1) == (max(size) <= side)


def test_windows_are_blended_not_butted():
    """Of a function that is not as local as it claims, no seam shows: the windows fade into each other."""
    image = torch.zeros(1, 1, 64, 400, dtype=torch.float64)
    numbers = iter(range(100))
    (made,) = SlidingWindow(128, reach=8)(lambda part: (part + next(numbers),), image)
    steps = made[0, 0, 32].diff().abs()
    assert made.max() == 3
    assert steps.max() < 0.12


def test_windows_that_never_move_on_are_refused():
    with pytest.raises(ValueError, match="never move on"):
        SlidingWindow(40, reach=16)(smooth, torch.zeros(1, 1, 100, 100), torch.zeros(1, 1, 50, 50))


@pytest.mark.parametrize("name", ["default", *(name for name in LOCAL if name != "saint")])
def test_local_methods_in_windows_agree_with_the_whole_slice(name, head):
    """Within 0.02 HU, rounding of single precision; flow-refine also in its predicted error."""
    one = interpolator(name)
    stack = field_of_view(head, 40, 60, (320, 350))
    whole, sd = next(predictions(one, stack))
    one.window = smallest_side(one.reach)
    assert one.window < 300
    pieces, sd_of_pieces = next(predictions(one, stack))
    assert np.abs(pieces - whole).max() < 0.02
    assert sd is None or np.abs(sd_of_pieces - sd).max() < 0.02
    assert np.abs(whole - linear(stack))[tissue(stack)].max() > 1.0


def predictions(one: on_device.OnDeviceSliceWise, stack: SliceStack):
    if one.has_uncertainty:
        return one.synthesize_with_uncertainty(stack, [1.5])
    return ((image, None) for image in one.synthesize(stack, [1.5]))


def linear(stack: SliceStack) -> np.ndarray:
    return 0.5 * (stack.image(1) + stack.image(2))


@pytest.mark.parametrize(
    "name", ["flow", "default", *(name for name in LOCAL if name not in ("flow-refine", "saint"))]
)
@pytest.mark.parametrize("place", [(37, 61), (40, 64)])
def test_the_body_box_changes_no_tissue(name, head, place):
    """Wherever the body lies in the field of view, also off the grid of the pyramid of the flow."""
    one = interpolator(name)
    stack = field_of_view(head, *place, (360, 400))
    (cropped,) = one.synthesize(stack, [1.5])
    one.reach = None
    (whole,) = one.synthesize(stack, [1.5])
    assert np.abs(cropped - whole)[tissue(stack)].max() < 1.0
    assert not tissue(stack)[:, :20].any()
    assert (cropped[:, :8] == linear(stack)[:, :8]).all()


def test_real_slices_are_the_same_in_any_field_of_view(scans):
    """Metal, bone and lung: the flow must not depend on where the box begins. It differed by thousands of HU."""
    from SliceInterpolationLib.files import read_file

    scan = read_file(scans / "head_toshiba_b_2mm_gaps.nii.gz").slices[38:42, 30:400, 20:340]
    stack = field_of_view(scan, 51, 73, (470, 480))
    for name in ("flow", "default"):
        one = create(name)
        (cropped,) = one.synthesize(stack, [1.5])
        one.reach = None
        (whole,) = one.synthesize(stack, [1.5])
        assert np.abs(cropped - whole)[tissue(stack)].max() < 1.0


# What is never cut


@pytest.mark.parametrize("name", ["dsi-unet", "ddpm", "rife-style", "ifrnet-style", "torchscript"])
def test_methods_that_see_the_whole_slice_are_never_cut(name):
    """Not to the body, though it lies in a corner, and not into windows, though they are asked for."""
    one, sizes = interpolator(name), []
    one.network.register_forward_pre_hook(lambda module, inputs: sizes.append(tuple(inputs[0].shape)))
    predict = one.network.predict
    one.network.predict = lambda pair, t: (sizes.append(tuple(pair.shape)), predict(pair, t))[1]
    one.window = 64
    slices = np.full((2, 192, 160), -1000, np.int16)
    slices[:, :40, :40] = 40
    (result,) = one.synthesize(SliceStack(slices, 5.0, (0.5, 0.5)), [0.5])
    assert result.shape == (192, 160)
    assert set(sizes) == {(1, 2, 192, 160)}


def test_references_of_acvtt_are_whole_slices():
    """Attention looks at all of them, air too: cropped ones would be other references."""
    network, sizes = awake("acvtt"), []
    encode = network.transfer.encode_references
    network.transfer.encode_references = lambda images: (sizes.append(tuple(images.shape)), encode(images))[1]
    slices = np.full((4, 96, 80), -1000, np.float32)
    slices[:, :16, :16] = np.random.default_rng(0).uniform(0, 90, (4, 16, 16))
    list(AcvttInterpolator(network, "acvtt").synthesize(SliceStack(slices, 5.0, (0.5, 0.5)), [0.5]))
    assert [size[-2:] for size in sizes] == [(96, 80)]


def test_flow_is_never_cut_into_windows(head):
    one = Flow()
    stack = field_of_view(head, 8, 8, (280, 290))
    (whole,) = one.synthesize(stack, [1.5])
    one.window = 64
    (same,) = one.synthesize(stack, [1.5])
    np.testing.assert_array_equal(same, whole)


# When memory ends


class SmallGPU:
    """Stands for a GPU with little memory: refuses work on areas above a limit until it is moved to the CPU."""

    def __init__(self, network, name, limit, report):
        super().__init__(network, name, "cpu", report)
        self.limit, self.device = limit, torch.device("cuda")
        work = "_features" if name == "flow-refine" else "predict"
        done = getattr(network, work)

        def within_memory(image, *more):
            if self.limit and image.shape[-1] * image.shape[-2] > self.limit:
                raise torch.cuda.OutOfMemoryError("out of memory")
            return done(image, *more)

        setattr(network, work, within_memory)

    def move_to(self, device):
        super().move_to(device)
        self.limit = None

    def _attempt(self, *arguments):
        device, self.device = self.device, torch.device("cpu")  # what is computed is computed here
        try:
            return super()._attempt(*arguments)
        finally:
            self.device = device


@pytest.mark.parametrize(
    ("name", "limit", "words"),
    [
        ("flow-refine", 290 * 290, ["windows of 256", None]),
        ("flow-refine", 100, ["windows of 256", "with the CPU"]),
        ("msi-unet", 200 * 200, ["windows of 1", None]),
        ("ifrnet-style", 200 * 200, ["with the CPU"]),
    ],
)
def test_out_of_memory_goes_on_in_windows_then_on_the_cpu(name, limit, words, head):
    adapter = ADAPTERS.get(name, PairInterpolator)
    stack = field_of_view(head, 40, 60, (320, 350))
    (whole,) = adapter(awake(name), name).synthesize(stack, [1.5])
    torch.manual_seed(0)
    said = []
    small = type("Small", (SmallGPU, adapter), {})(awake(name), name, limit, said.append)
    (made,) = small.synthesize(stack, [1.5])
    told = [text for text in said if "memory" in text]
    assert len(told) == len([word for word in words if word])
    assert all(word in text for word, text in zip(words, told))
    assert np.abs(made - whole).max() < 0.1


# One flow a gap


@pytest.mark.parametrize("name", ["flow", "default"])
def test_the_flow_of_a_gap_is_computed_once(name, head, monkeypatch):
    from SliceInterpolationLib.networks import lucas_kanade

    calls = []
    original = lucas_kanade.symmetric_flow
    monkeypatch.setattr(
        lucas_kanade,
        "symmetric_flow",
        lambda *slices, **options: (calls.append(1), original(*slices, **options))[1],
    )
    stack = SliceStack(head, 4.0, (0.9, 0.9))
    positions = [number / 4 for number in range(13)]
    together = list(create(name).synthesize(stack, positions))
    assert len(calls) == 3
    for position in (0.25, 1.75):
        (alone,) = create(name).synthesize(stack, [position])
        np.testing.assert_array_equal(alone, together[round(4 * position)])


def test_one_gap_is_held_at_a_time(head):
    """When the slices of the next gap are asked for, what the last one needed is gone."""
    import gc
    import weakref

    alive = []

    class Watched(Flow):
        def prepare(self, *arguments):
            prepared = super().prepare(*arguments)
            alive.append(weakref.ref(prepared[0]))
            return prepared

    stream = Watched().synthesize(SliceStack(head, 4.0, (0.9, 0.9)), [0.25, 0.5, 1.5, 2.5])
    for _ in range(4):
        next(stream)
        gc.collect()
        assert sum(reference() is not None for reference in alive) <= 1
