"""ACVTT, anisotropic cross-view texture transfer: axial slices lend their texture to through-plane images.

A sagittal or coronal image, made dense by linear interpolation, runs through a U-Net. At every level of the
decoder it attends to the features of a few acquired axial slices, the references, which resolve in both
directions what the image resolves in one (multi-reference non-local attention, MRNLA). A second U-Net merges
the sagittal and the coronal volume in axial slices. The references are encoded once per volume.

Both networks add a residual to what linear interpolation, or the mean of the two views, gives. Our
initialization makes that residual zero before training and keeps the signal alive through a deep network
without normalization; with PyTorch's own, as in the published code, the first hundred steps learn little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .two_views import Progress, interpolate_two_views

PAPER = (
    "Uhm et al., An Anisotropic Cross-View Texture Transfer with Multi-Reference Non-Local Attention "
    "for CT Slice Interpolation, arXiv:2509.20242, 2025"
)
LEVELS = 4
MULTIPLE = 2 ** (LEVELS - 1)
"""Image sides are padded to a multiple of this; a token, at any level, covers a square of this side."""


class References(NamedTuple):
    """Encoded reference slices: one entry a level, each (G, R, tokens, d), with G = 1 or the batch size."""

    keys: list[torch.Tensor]
    values: list[torch.Tensor]


def reflect_to_multiple(image: torch.Tensor, multiple: int = MULTIPLE) -> torch.Tensor:
    """Extend (..., H, W) at its end by reflection until both sides are multiples of `multiple`.

    Unlike `torch.nn.functional.pad` it extends thin images too: three slices made dense may need five more.
    """
    for axis in (-2, -1):
        size = image.shape[axis]
        index = torch.arange(-(-size // multiple) * multiple, device=image.device)
        # A reflected line of n pixels repeats after 2 (n - 1).
        index = index % max(2 * (size - 1), 1)
        image = image.index_select(axis, torch.minimum(index, 2 * (size - 1) - index))
    return image


def upsample_slices(images: torch.Tensor, factor: int) -> torch.Tensor:
    """Interpolate (..., N, L) linearly along N to (N - 1) * factor + 1; acquired lines stay exactly as is."""
    below, above = images[..., :-1, :], images[..., 1:, :]
    lines = [below] + [torch.lerp(below, above, c / factor) for c in range(1, factor)]
    dense = torch.stack(lines, dim=-2).flatten(-3, -2)
    return torch.cat((dense, images[..., -1:, :]), dim=-2)


def reference_slices(slices: int, count: int = 3) -> list[int]:
    """Indices of `count` uniformly spaced reference slices of a stack; fewer where it is too short."""
    interval = max(slices // (count + 1), 1)
    return [interval * i for i in range(1, count + 1) if interval * i < slices]


def double_conv(channels: int, width: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1),
        nn.ReLU(inplace=True),
    )


def initialize(*parts: nn.Module) -> None:
    """He initialization of every convolution in `parts`, for ReLU."""
    for part in parts:
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)


class Encoder(nn.Module):
    """Features at full, half, quarter and eighth size, with twice the channels each time."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.levels = nn.ModuleList(
            double_conv(width * 2 ** max(level - 1, 0), width * 2**level) for level in range(LEVELS)
        )
        initialize(self.first, self.levels)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, channels, H, W) -> LEVELS features (B, width * 2**l, H / 2**l, W / 2**l)."""
        x, features = self.first(x), []
        for level, convs in enumerate(self.levels):
            x = convs(F.avg_pool2d(x, 2) if level else x)
            features.append(x)
        return features


class Decoder(nn.Module):
    """From the coarsest features up, joined with the encoder's at each level, to one channel."""

    def __init__(self, width: int):
        super().__init__()
        self.levels = nn.ModuleList(
            double_conv(width * 2 ** (level + 1) + width * 2**level, width * 2**level)
            for level in range(LEVELS - 1)
        )
        self.last = nn.Conv2d(width, 1, 3, padding=1)
        initialize(self.levels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self,
        features: list[torch.Tensor],
        transfer: Callable[[int, torch.Tensor], torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """The encoder's features -> (B, 1, H, W); `transfer(level, x)`, if given, acts at each level."""
        x = features[-1]
        for level in reversed(range(LEVELS)):
            if level < LEVELS - 1:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
                x = self.levels[level](torch.cat((x, features[level]), dim=1))
            if transfer is not None:
                x = transfer(level, x)
        return self.last(x)


class MultiReferenceAttention(nn.Module):
    """MRNLA: non-local attention from the blocks of an image to those of several references.

    Each reference is attended to by itself; the results are added up with weights from a softmax, over the
    references, of their relevance: the mean score under the attention, rho_r = sum_m A_r(m) S_r(m). With
    relevance=False they are averaged (the paper's ablation).

    The score matrix is never held whole: `query_chunk` blocks of the image are treated at a time.
    """

    def __init__(self, channels: int, block: int, relevance: bool = True, query_chunk: int = 256):
        super().__init__()
        self.block, self.relevance, self.query_chunk = block, relevance, query_chunk
        self.query, self.key, self.value, self.output = (nn.Conv2d(channels, channels, 1) for _ in range(4))
        self.query_norm, self.key_norm = (nn.LayerNorm(channels * block**2) for _ in range(2))

    def tokens(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, h w / block^2, C block^2), one token a block."""
        return F.pixel_unshuffle(x, self.block).flatten(2).transpose(1, 2)

    def encode(self, reference: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Normalized keys, and values, of reference features (G, C, h, w): each (G, tokens, d)."""
        return self.key_norm(self.tokens(self.key(reference))), self.tokens(self.value(reference))

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Features (B, C, h, w) with keys and values (G, R, tokens, d), G = 1 or B -> (B, C, h, w)."""
        batch, _, height, width = x.shape
        groups = len(keys)
        queries = self.query_norm(self.tokens(self.query(x)))
        # With references shared by the batch its queries form one long list; no key is copied per image.
        queries = queries.reshape(groups, -1, queries.shape[-1]) * queries.shape[-1] ** -0.5
        attended = torch.cat(
            [self.attend(q, keys, values) for q in queries.split(self.query_chunk, 1)], dim=1
        )
        folded = attended.reshape(batch, -1, attended.shape[-1]).transpose(1, 2)
        folded = folded.reshape(batch, -1, height // self.block, width // self.block)
        return x + self.output(F.pixel_shuffle(folded, self.block))

    def attend(self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Queries (G, n, d), normalized and scaled, with keys and values (G, R, m, d) -> (G, n, d)."""
        # Softmax in float32 also under autocast: a score can be as large as sqrt(d) = 64.
        scores = torch.matmul(queries[:, None], keys.transpose(-1, -2)).float()
        attention = scores.softmax(dim=-1)
        if self.relevance:
            weights = (attention * scores).sum(dim=-1, keepdim=True).softmax(dim=1)
        else:
            weights = 1 / keys.shape[1]
        return (torch.matmul(attention.to(values.dtype), values) * weights).sum(dim=1).to(queries.dtype)


class AcvttNet(nn.Module):
    """First stage: one through-plane image at a time, with texture from axial references.

    keep_observed: the acquired lines of the image are passed on unchanged. False predicts them as well, as
        the paper does.
    relevance: weigh the references by their relevance; False averages them.
    query_chunk: see `MultiReferenceAttention`; a matter of memory, not of the result.

    The defaults have 9,246,401 parameters, as the published code.

    Example:
        >>> network, slices, image = AcvttNet(width=8), torch.rand(3, 1, 16, 20), torch.rand(1, 1, 9, 20)
        >>> network(image, network.encode_references(slices), observed=torch.arange(9) % 2 == 0).shape
        torch.Size([1, 1, 9, 20])
    """

    paper = PAPER
    intensity = "(hu+1024)/4095"

    def __init__(
        self, width: int = 64, relevance: bool = True, keep_observed: bool = True, query_chunk: int = 256
    ):
        super().__init__()
        self.keep_observed = keep_observed
        self.encoder = Encoder(1, width)
        self.decoder = Decoder(width)
        self.transfer = nn.ModuleList(
            MultiReferenceAttention(width * 2**level, MULTIPLE // 2**level, relevance, query_chunk)
            for level in range(LEVELS)
        )

    def encode_references(self, references: torch.Tensor) -> References:
        """Encode axial slices (R, 1, H, W) for all images of a volume, or (B, R, 1, H, W) for each its own.

        Keys and values take 15 * width * H * W bytes a reference in float32: 240 MiB for 512 x 512 by
        default.
        """
        if references.ndim == 4:
            references = references[None]
        encoded = []
        # One at a time: the features of a whole slice are large.
        for reference in reflect_to_multiple(references).unbind(1):
            features = self.encoder(reference)
            encoded.append([attention.encode(f) for attention, f in zip(self.transfer, features)])
        keys, values = (
            [torch.stack([one[level][part] for one in encoded], dim=1) for level in range(LEVELS)]
            for part in range(2)
        )
        return References(keys, values)

    def forward(
        self, image: torch.Tensor, references: References, observed: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Refine linearly interpolated through-plane images (B, 1, D, L) of any size; returns the same shape.

        observed: (D,) or (B, D) bool, true for the acquired lines. Needed, and used, only with
            `keep_observed`. Raises ValueError without it, or for references of another batch size.
        """
        if self.keep_observed and observed is None:
            raise ValueError("a network that keeps observed slices must be told which they are")
        if len(references.keys[0]) not in (1, len(image)):
            raise ValueError(
                f"references for {len(references.keys[0])} images given with {len(image)} images"
            )

        def transfer(level: int, x: torch.Tensor) -> torch.Tensor:
            return self.transfer[level](x, references.keys[level], references.values[level])

        height, width = image.shape[-2:]
        residual = self.decoder(self.encoder(reflect_to_multiple(image)), transfer)[..., :height, :width]
        if self.keep_observed:
            residual = residual.masked_fill(observed.reshape(-1, 1, height, 1), 0)
        return image + residual


class AcvttFusion(nn.Module):
    """Second stage: axial slices of the two views, merged by a U-Net (7,819,777 parameters by default).

    Example:
        >>> network, view = AcvttFusion(width=8), torch.rand(1, 1, 16, 20)
        >>> network(view, view).shape
        torch.Size([1, 1, 16, 20])
    """

    paper = PAPER
    intensity = "(hu+1024)/4095"

    def __init__(self, width: int = 64):
        super().__init__()
        self.encoder = Encoder(2, width)
        self.decoder = Decoder(width)

    def forward(self, sagittal: torch.Tensor, coronal: torch.Tensor) -> torch.Tensor:
        """Merge slices of the two views, each (B, 1, H, W): their mean plus a learned residual."""
        height, width = sagittal.shape[-2:]
        residual = self.decoder(self.encoder(reflect_to_multiple(torch.cat((sagittal, coronal), dim=1))))
        return (sagittal + coronal) / 2 + residual[..., :height, :width]


class Acvtt(nn.Module):
    """Both networks of ACVTT in one, so that one file holds their weights: `transfer.*` and `fusion.*`.

    transfer, fusion: options of `AcvttNet` and `AcvttFusion`. fuse: False leaves the second network out; the
    two views are then averaged. references: number of reference slices of a volume. Run it by `volume`.

    Example:
        >>> volume = Acvtt({"width": 8}, {"width": 8}).volume()
        >>> [image.shape for image in volume(np.zeros((3, 8, 9)), factor=2)]
        [(8, 9), (8, 9), (8, 9), (8, 9), (8, 9)]
    """

    paper = PAPER
    intensity = "(hu+1024)/4095"
    reach = None
    """Everything: an image attends to all of the reference slices."""

    def __init__(
        self,
        transfer: dict | None = None,
        fusion: dict | None = None,
        fuse: bool = True,
        references: int = 3,
    ):
        super().__init__()
        self.transfer = AcvttNet(**(transfer or {}))
        self.fusion = AcvttFusion(**(fusion or {})) if fuse else None
        self.references = references

    def volume(self, **options: Any) -> AcvttVolume:
        """Both stages over a whole stack; options as in `AcvttVolume`."""
        return AcvttVolume(self.transfer, self.fusion, self.references, **options)


class AcvttVolume:
    """Both stages over a whole stack, see `interpolate_two_views` for buffers and memory.

    fusion: None averages the two views (the first stage alone, e.g. to make the training data of the second).
    references: number of reference slices, uniformly spaced, 3 in the paper.
    limits: the range to which the networks' inputs and outputs are clipped.
    chunk: through-plane images at once.

    The dense views are kept in half precision, as in the published code (steps of 0.5 HU below 0 HU, 1 HU
    below 1000 HU, 2 HU above), unless other buffers are given. The encoded references stay in memory until
    the first axial slice is merged, see `AcvttNet.encode_references`.
    """

    def __init__(
        self,
        network: AcvttNet,
        fusion: AcvttFusion | None = None,
        references: int = 3,
        limits: tuple[float, float] = (0.0, 1.0),
        chunk: int = 4,
    ):
        self.network, self.fusion, self.references = network, fusion, references
        self.limits, self.chunk = limits, chunk

    def __call__(
        self,
        stack: np.ndarray | Iterable[np.ndarray],
        factor: int,
        buffers: np.ndarray | None = None,
        progress: Progress | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield the dense slices, in order and float32, of (slices, rows, columns) in (HU + 1024) / 4095."""
        stack = stack if isinstance(stack, np.ndarray) else np.stack(list(stack))
        device = next(self.network.parameters()).device
        encoded: list[References] = []

        def tensor(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.clip(array, *self.limits).astype(np.float32)).to(device)

        @torch.inference_mode()
        def synthesize(planes: np.ndarray, first: int, last: int, view: str) -> np.ndarray:
            if not encoded:
                chosen = stack[reference_slices(len(stack), self.references)]
                encoded.append(self.network.encode_references(tensor(chosen)[:, None]))
            images = upsample_slices(tensor(planes[first:last])[:, None], factor)
            observed = torch.arange(images.shape[-2], device=device) % factor == 0
            return self.network(images, encoded[0], observed)[:, 0].cpu().numpy()

        @torch.inference_mode()
        def fuse(sagittal: np.ndarray, coronal: np.ndarray) -> np.ndarray:
            encoded.clear()
            return self.fusion(tensor(sagittal)[None, None], tensor(coronal)[None, None])[0, 0].cpu().numpy()

        return interpolate_two_views(
            stack,
            factor,
            synthesize,
            None if self.fusion is None else fuse,
            limits=self.limits,
            keep_observed=self.network.keep_observed,
            chunk=self.chunk,
            buffers=buffers,
            dtype=np.float16,
            progress=progress,
        )
