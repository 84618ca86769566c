"""Small DICOM files, written by pydicom, with every attribute that a test wants to differ."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

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
