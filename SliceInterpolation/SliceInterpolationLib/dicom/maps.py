"""Maps of computed values (residual, noise SD, predicted error) as DICOM Parametric Maps, in floating point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..volume import Volume
from .marks import SCHEME
from .objects import Beside, refusals_explained
from .series import Run

_KINDS = {
    "error": (
        "Predicted error SD",
        "PREDICTED_ERROR",
        "Standard deviation of the error that is to be expected",
        100,
    ),
    "residual": ("Residual", "RESIDUAL", "Acquired slice minus its prediction from the neighbors", 101),
    "noise-sd": ("Noise SD", "NOISE_SD", "Local standard deviation of the residual", 102),
}
"""Name, code and explanation of each kind, and what is added to the number of the source's series."""


@refusals_explained()
def write_map(volume: Volume, run: Run, kind: str, path: Path, made_by: dict[str, Any] | None = None) -> None:
    """Write a map on the grid of a run as one Parametric Map with a frame a slice.

    kind: "error", "residual" or "noise-sd". made_by: the record of the run that made it, by default the last in the
    history of the volume. All slices are in memory twice. Raises InputError for another grid, and without highdicom;
    OSError as the disk does.
    """
    beside = Beside(run, volume, _KINDS[kind][-1])
    import highdicom as hd
    from pydicom.sr.codedict import codes

    name, code, explanation, _ = _KINDS[kind]
    values = np.ascontiguousarray(volume.slices, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    unit = codes.UCUM.HounsfieldUnit if volume.units == "HU" else codes.UCUM.NoUnits
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=code,
        lut_explanation=name,
        unit=unit,
        value_range=(low, high if high > low else low + 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=hd.sr.CodedConcept(code, SCHEME, explanation[:64]),
    )
    made = hd.pm.ParametricMap(
        source_images=beside.sources,
        pixel_array=values,
        contains_recognizable_visual_features=True,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1.0))
        ],
        content_label=code,
        content_description=name,
        **beside.identity(),
        **beside.equipment(),
        **beside.geometry(),
    )
    history = volume.history[-1] if volume.history else None
    beside.finish(made, name, made_by or history, path)
