"""What every network of the catalogue costs: `python Testing/Benchmarks/network_costs.py` writes the table of
Resources/Documentation/networks.md. Every network runs in a process of its own, on one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "SliceInterpolation"))

SIDE, SLICES, FACTOR = 512, 32, 2
NEW_SLICES = (SLICES - 1) * (FACTOR - 1)
NEEDS = {
    "flow-refine": "any factor; 2 slices, 4 where there are; full range of HU; gap, pixel size, thickness",
    "dsi-unet": "factor 2; 2 slices; brain window",
    "msi-cnn": "factor 2; 2 slices; percentile window",
    "msi-unet": "factor 2; 2 slices; percentile window",
    "msi-gan": "factor 2; 2 slices; percentile window",
    "msi-gan-plus": "factor 2; 2 slices; percentile window",
    "ddpm": "factor 2; 2 slices; percentile window; steps, samples and seed in its card",
    "rife-style": "any factor; 2 slices; brain window",
    "ifrnet-style": "any factor; 2 slices; brain window",
    "saint": "whole factors; the whole stack, sagittal and coronal; gap and pixel size",
    "i3net": "factor 2; 4 slices; HU from -1024 to 3071",
    "acvtt": "whole factors; the whole stack, sagittal and coronal, and 3 axial slices as references",
}
"""What a network must be given; "any factor" includes positions of one's own choice."""

HEADER = f"""# Networks

Every method of the catalogue, with what it costs. One {SIDE}x{SIDE} slice is predicted by each network with
random weights, at full size; SAINT and ACVTT work on whole stacks, so their figures are those of a stack of
{SLICES} slices at factor {FACTOR} divided by its {NEW_SLICES} new slices (one chunk of
through-plane images, one axial slice and, for ACVTT, one encoding of the references are run and multiplied).
DDPM: one of its 20 sampling steps, times 20.

GFLOPs are counted by PyTorch (2 per multiply-add; convolutions and matrix products, not warping). Peak memory
is that of the whole process, PyTorch itself (about 0.3 GiB) included, without the stack and its result. CPU
seconds are those of one thread. They were measured on a busy machine with two cores, so it is their ratios
that matter. In use slices are also cropped to the body, and cut into overlapping windows where the memory of a
GPU ends, by networks whose pixels depend on their neighborhood alone: `flow-refine` (88 pixels, given the flow,
which is found on whole slices), `msi-*` (18 to 35) and `saint` (80, cropped only). The result agrees with that
of whole slices to 1 HU (at the skin) and 0.02 HU; all other networks always see whole slices. The gap between slices
that a model can bridge is that of its training, and stands in its card.

Written by `python Testing/Benchmarks/network_costs.py`.
"""
FOOTER = """
`torchscript` runs a file of the user's own (RIFE, arXiv:2011.06294; FILM, arXiv:2202.04901) and costs what
that file does. Its folder holds the file and a `card.json` with `"architecture": "torchscript"`, `"weights"`
(the file's name), `"weights_sha256"`, and in `"config"` the `"signature"`: `"rife"` for
`(img0, img1, timestep)`, `"film"` for `(x0, x1, dt)`. Gray slices are repeated in three channels, padded to a
multiple of 32 (`"multiple"`) and shown whole; the result is clamped to 0..1. `"middle_only": true` says that
it knows only the slice halfway; `"intensity": "unit"` replaces the brain window by percentiles 1 and 99.
A TorchScript file is a program: it can read, change and send whatever its user can, already while it is loaded.
`slice-interpolation models add` therefore only copies it; it runs after `slice-interpolation models trust NAME`,
which remembers the SHA-256 of that very file. Trust only files whose source you know.

Networks that see a window of intensities know nothing beyond it. There the result is that of linear
interpolation, so that bone, air and metal survive; inside the window the network's prediction is unchanged.
Networks that know only the slice halfway refuse other factors than 2; powers of two are had by repeated use.
"""


def measure(name: str) -> dict[str, float | str]:
    """Parameters, GFLOPs and CPU seconds a slice, and peak MiB of this process."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from SliceInterpolationLib.networks import build

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = build(name).eval()
    gigaflops = seconds = 0.0
    for repeats, work in _work(name, network):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            started = time.process_time()
            work()
            seconds += repeats * (time.process_time() - started)
        gigaflops += repeats * counter.get_total_flops() / 1e9
    return {
        "paper": network.paper,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gflops": gigaflops,
        "seconds": seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _work(name: str, network) -> list[tuple[float, object]]:
    """Pieces of work for one new slice, and how often each is done for it."""
    import torch

    from SliceInterpolationLib.interpolators.through_plane import AcvttInterpolator, SaintInterpolator
    from SliceInterpolationLib.networks.acvtt import upsample_slices

    pair = torch.rand(1, 2, SIDE, SIDE)
    one = torch.ones(1)
    images = 2 * SIDE / NEW_SLICES  # through-plane images a new slice
    if name == "flow-refine":
        slices = 1000 * torch.rand(1, 4, SIDE, SIDE)
        return [(1, lambda: network(slices, 5 * one, 0.5 * one, 0.5 * one))]
    if name == "i3net":
        four = torch.rand(1, 4, SIDE, SIDE)
        return [(1, lambda: network(four))]
    if name == "ddpm":
        step = torch.zeros(1, dtype=torch.long)
        return [(network.sampling_steps, lambda: network.denoise(pair[:, :1], pair, step))]
    if name == "saint":
        chunk = SaintInterpolator.chunk
        triplets = 1000 * torch.rand(chunk, 3, SLICES, SIDE)
        return [
            (images / chunk, lambda: network.ami(triplets, FACTOR, (5.0, 0.5))),
            (1, lambda: network.rfn(pair[:, :1], pair[:, 1:])),
        ]
    if name == "acvtt":
        chunk = AcvttInterpolator.chunk
        planes = upsample_slices(torch.rand(chunk, 1, SLICES, SIDE), FACTOR)
        observed = torch.arange(planes.shape[-2]) % FACTOR == 0
        kept = []

        def encode() -> None:
            references = torch.rand(network.references, 1, SIDE, SIDE)
            kept.append(network.transfer.encode_references(references))

        return [
            (1 / NEW_SLICES, encode),
            (images / chunk, lambda: network.transfer(planes, kept[0], observed)),
            (1, lambda: network.fusion(pair[:, :1], pair[:, 1:])),
        ]
    return [(1, lambda: network(pair, 0.5))]


def table(rows: dict[str, dict]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| Network | Paper | Parameters | GFLOPs | CPU s | Peak MiB | Needs |",
        "| --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    lines += [
        f"| `{name}` | {row['paper']} | {row['parameters']:,} | {row['gflops']:,.0f} | {row['seconds']:,.1f} "
        f"| {row['peak_mib']:,.0f} | {NEEDS[name]} |"
        for name, row in rows.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "Resources" / "Documentation" / "networks.md")
    parser.add_argument("--one", metavar="NAME", help="measure one network and print it as JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one)))
        return
    rows = {}
    for name in NEEDS:
        command = [sys.executable, __file__, "--one", name]
        rows[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(name, rows[name], flush=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    machine = f"\nPython {platform.python_version()}, {platform.machine()}, one thread.\n\n"
    options.output.write_text(HEADER + machine + table(rows) + FOOTER)


if __name__ == "__main__":
    main()
