"""A slot for somebody else's video network as TorchScript: a RIFE or FILM file that the user has.

Such a file is a program: it can read and write files, already while it is loaded, so it is run only after its
user has trusted it (`catalogue.consent`). The weights of such networks are not ours to ship and their licences
differ; a card beside the user's file says how to call it, and the file then runs like every other network here.
They were made for color pictures: the gray slice is repeated in three channels, shown whole, and the result is
averaged over the channels and clamped, as the head CT study did (arXiv 2606.09953).
"""

from __future__ import annotations

import torch
from torch import nn

from .blocks import PairNetwork

SIGNATURES = ("rife", "film")
INTENSITIES = ("brain-window", "unit")


class TorchScript(PairNetwork):
    """A scripted or traced network that predicts a color picture between two others.

    script: the module, as `torch.jit.load` returns it. signature: how it is called; "rife" (Huang et al.,
    ECCV 2022) as (img0, img1, timestep), where the timestep is a float if the script declares it so, else a
    plane (B, 1, H, W); "film" (Reda et al., ECCV 2022) as (x0, x1, dt), dt (B, 1). Pictures are
    (B, 3, H, W) in 0..1. A script that returns several pictures must return the result last.
    multiple: what sides are padded to. middle_only: the network knows t = 0.5 alone. intensity: one of
    INTENSITIES, see `PairNetwork`.

    Example:
        >>> mean = torch.jit.trace(lambda first, second, t: (first + second) / 2, [torch.rand(1, 3, 64, 64)] * 3)
        >>> TorchScript(mean, "film")(torch.rand(1, 2, 64, 48)).shape
        torch.Size([1, 1, 64, 48])
    """

    paper = "arXiv:2011.06294 (RIFE), arXiv:2202.04901 (FILM)"
    # No reach: nobody knows what the script looks at.

    def __init__(
        self,
        script: nn.Module,
        signature: str = "rife",
        multiple: int = 32,
        middle_only: bool = False,
        intensity: str = "brain-window",
    ) -> None:
        super().__init__()
        if signature not in SIGNATURES:
            raise ValueError(f"signature must be one of {', '.join(SIGNATURES)}, not {signature!r}")
        if intensity not in INTENSITIES:
            raise ValueError(f"intensity must be one of {', '.join(INTENSITIES)}, not {intensity!r}")
        self.script, self.signature = script, signature
        self.multiple, self.middle_only, self.intensity = int(multiple), middle_only, intensity

    def predict(self, pair: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W) in 0..1, sides multiples of `multiple`, and t (B,) -> (B, 1, H, W) in 0..1."""
        first, second = (image.expand(-1, 3, -1, -1).contiguous() for image in pair.split(1, 1))
        output = self.script(first, second, self._time(t, pair))
        if isinstance(output, (list, tuple)):
            output = output[-1]
        return output.float().mean(1, keepdim=True).clamp(0, 1)

    def _time(self, t: torch.Tensor, pair: torch.Tensor) -> torch.Tensor | float:
        if self.signature == "film":
            return t.view(-1, 1)
        timestep = self.script.forward.schema.arguments[3]  # after self and both pictures
        if timestep.type.kind() == "FloatType":
            if not bool((t == t[0]).all()):
                raise ValueError("this script takes one position for the whole batch")
            return float(t[0])
        return t.view(-1, 1, 1, 1).expand(-1, 1, *pair.shape[-2:]).contiguous()
