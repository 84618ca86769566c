"""Small DICOM files, written by pydicom, with every attribute that a test wants to differ."""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

ROW, COLUMN = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])


def write_slice(folder, name, position, series, orientation=(ROW, COLUMN), size=24, **changes):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(folder / name), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", series
    ds.Modality, ds.PatientID = "CT", "test"
    ds.ImagePositionPatient = [float(x) for x in position]
    ds.ImageOrientationPatient = [float(x) for x in np.concatenate(orientation)]
    ds.PixelSpacing, ds.SliceThickness = [0.5, 0.4], 4.0
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
    values = np.full((size, size), 24, np.uint16)
    values[4:-4, 4:-4] = 1060 + int(abs(position[2])) % 50
    ds.PixelData = values.tobytes()
    for key, value in changes.items():
        setattr(ds, key, value)
    ds.save_as(folder / name, enforce_file_format=True)


def write_series(folder, positions, series="1.2.3.4", **options):
    folder.mkdir(exist_ok=True)
    # File names in another order than positions: only positions count.
    for number, position in enumerate(positions):
        write_slice(folder, f"{(number * 7) % 97:03d}-{series}.dcm", position, series, **options)
    return folder


def write_enhanced(
    path,
    positions,
    series,
    orientation=(ROW, COLUMN),
    size=24,
    frame=lambda _: {},
    more=lambda _: {},
    **changes,
):
    """An enhanced CT: one file, a frame a position.

    frame: attributes of a frame by its number, over those that all share; more: its further functional groups.
    """
    write_slice(path.parent, path.name, positions[0], series, orientation, size)
    ds = pydicom.dcmread(path)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    for keyword in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
        "RescaleIntercept",
    ):  # fmt: skip
        delattr(ds, keyword)
    ds.NumberOfFrames = len(positions)
    shared = Dataset()
    shared.PixelMeasuresSequence = [item(PixelSpacing=[0.5, 0.4], SliceThickness=4.0)]
    shared.PlaneOrientationSequence = [
        item(ImageOrientationPatient=[float(x) for x in np.concatenate(orientation)])
    ]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number, position in enumerate(positions):
        own = {
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
            "RescaleType": "HU",
            "kind": "ORIGINAL",
            **frame(number),
        }
        groups = Dataset()
        groups.PlanePositionSequence = [item(ImagePositionPatient=[float(x) for x in position])]
        groups.CTImageFrameTypeSequence = [item(FrameType=[own.pop("kind"), "PRIMARY", "VOLUME", "NONE"])]
        groups.FrameContentSequence = [
            item(TemporalPositionIndex=own.pop("time", 1), InStackPositionNumber=number + 1)
        ]
        groups.PixelValueTransformationSequence = [item(**own)]
        groups.update(item(**{name: [item(**one)] for name, one in more(number).items()}))
        frames.append(groups)
    ds.PerFrameFunctionalGroupsSequence = frames
    values = np.full((len(positions), size, size), 24, np.uint16)
    values[:, 4:-4, 4:-4] = 1060 + np.arange(len(positions))[:, None, None]
    ds.PixelData = values.tobytes()
    for key, value in changes.items():
        setattr(ds, key, value)
    ds.save_as(path, enforce_file_format=True)


def item(**attributes):
    """A dataset of these attributes, for a sequence."""
    ds = Dataset()
    for key, value in attributes.items():
        setattr(ds, key, value)
    return ds
