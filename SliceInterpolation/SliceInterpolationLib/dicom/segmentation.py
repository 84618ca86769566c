"""Labelmaps as DICOM Segmentations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..volume import Volume
from .objects import Beside, algorithm, refusals_explained
from .series import Run

if TYPE_CHECKING:
    import highdicom

_NUMBER = 200
"""What is added to the number of the source's series."""


@refusals_explained()
def write_segmentation(
    labels: Volume, run: Run, path: Path, *, name: str = "Segmentation", made_by: dict[str, Any] | None = None
) -> tuple[highdicom.seg.Segmentation, dict[int, int]]:
    """Write a labelmap on the grid of a run as one binary Segmentation, a segment for each value.

    name: of the series. made_by: the record of the run that carried the segments over; None where they were drawn.
    Returns what was written, for references to it, and the number of its segment by value. Raises InputError for
    another grid, and without highdicom; OSError as the disk does.
    """
    beside = Beside(run, labels, _NUMBER)
    import highdicom as hd
    from pydicom.sr.codedict import codes

    stack = labels.slices
    values = [int(value) for value in np.unique(stack) if value != 0]
    numbers = {value: number for number, value in enumerate(values, start=1)}
    drawn = made_by is None
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=f"Segment {value}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.MorphologicallyAbnormalStructure,
            algorithm_type="MANUAL" if drawn else "SEMIAUTOMATIC",
            algorithm_identification=None if drawn else algorithm(made_by),
            tracking_uid=hd.UID(),
            tracking_id=f"Segment {value}",
        )
        for value, number in numbers.items()
    ]
    pixels = np.searchsorted([0, *values], stack).astype(np.uint8 if len(values) < 256 else np.uint16)
    made = hd.seg.Segmentation(
        source_images=beside.sources,
        pixel_array=pixels,
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        content_label="SEGMENTATION",
        content_description=name[:64],
        **beside.identity(),
        **beside.equipment(),
        **beside.geometry(),
    )
    beside.finish(made, name, made_by, path)
    return made, numbers
