"""Which devices PyTorch can use here, as one JSON line: `python -m SliceInterpolationMRML.run.probe`.

It runs in a process of its own, since torch must not be loaded into the Slicer process, and imports nothing of Slicer.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def probe() -> dict[str, Any]:
    """Version of torch, the device that "auto" stands for with the reason, and the GPUs with their free memory."""
    import torch

    from SliceInterpolationLib.device import choose_device

    device, reason = choose_device("auto")
    gpus = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(number)
        gpus.append(
            {
                "device": f"cuda:{number}",
                "name": torch.cuda.get_device_name(number),
                "free_gib": free / 2**30,
                "total_gib": total / 2**30,
            }
        )
    return {"torch": torch.__version__, "device": device, "reason": reason, "gpus": gpus}


if __name__ == "__main__":
    from SliceInterpolationLib.parent import end_with_parent

    try:
        end_with_parent(3)
        answer = {"stage": "result", **probe()}
    except Exception as error:  # a broken torch can fail in any way; the panel shows it
        answer = {"stage": "error", "message": f"PyTorch cannot be used: {error}"}
    print(json.dumps(answer), flush=True)
    sys.exit(0 if answer["stage"] == "result" else 1)
