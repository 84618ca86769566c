"""The intensity domains that networks work in, and the way back to the full range of HU.

A network sees a window of HU as 0 to `top` and knows nothing beyond it. What lies beyond is taken from linear
interpolation, so that bone, air and metal survive a network that was made for the brain window. Everything
here works on NumPy arrays and torch tensors alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_FADE = 0.1  # part of the window at its ends over which the linear estimate's excess is faded in


@dataclass(frozen=True)
class Window:
    """HU from `low` to `high` as 0 to `top`, clipped. The ends are numbers, or arrays that broadcast."""

    low: Any
    high: Any
    top: float = 1.0

    def encode(self, hu: Any) -> Any:
        """HU to the network's domain; array or tensor of any shape."""
        return ((hu - self.low) * (self.top / (self.high - self.low))).clip(0.0, self.top)

    def decode(self, values: Any) -> Any:
        """The network's domain to HU, not clipped."""
        return values * ((self.high - self.low) / self.top) + self.low

    def extend(self, predicted: Any, linear: Any, before: Any, after: Any) -> Any:
        """A prediction in HU, continued beyond the window; all four of one shape, the last two in HU too.

        Where both neighbors lie beyond the same end the network was blind and the linear estimate stands.
        Elsewhere the prediction stands, and only where it reaches the end of the window itself does it go on
        as far as the linear estimate does: inside the window nothing is ever changed.
        """
        inside = predicted.clip(self.low, self.high)
        excess = linear - linear.clip(self.low, self.high)
        distance = (self.high - inside) * (excess > 0) + (inside - self.low) * (excess <= 0)
        share = (1.0 - distance * (1.0 / (_FADE * (self.high - self.low)))).clip(0.0, 1.0)
        out = inside + share * excess
        blind = ((before >= self.high) & (after >= self.high)) | ((before <= self.low) & (after <= self.low))
        return out + blind * (linear - out)


WINDOWS = {
    "brain-window": Window(-20.0, 107.0),
    "hu+1024": Window(-1024.0, 2976.0, 4000.0),
    "(hu+1024)/4095": Window(-1024.0, 3071.0),
}

DOMAINS = ("hu", "unit", *WINDOWS)
"""What a network may see: HU themselves, the volume's 1st to 99th percentile as 0 to 1, or a window."""


def window_of(domain: str, percentiles: tuple[Any, Any]) -> Window:
    """The window of an intensity domain; percentiles: 1st and 99th of the volume, for the domain "unit"."""
    if domain == "unit":
        low, high = percentiles
        return Window(low, high + (high - low < 1e-3))  # constant data: any width will do
    return WINDOWS[domain]
