"""Small DICOM series as scanners write them, for tests of what is written beside them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

ACQUISITION = {
    "CT": {"KVP": 120, "ConvolutionKernel": "H31s", "GantryDetectorTilt": 0, "XRayTubeCurrent": 180, "CTDIvol": 55.5,
           "ExposureTime": 1000, "Exposure": 180, "RescaleIntercept": -1024, "RescaleSlope": 1, "RescaleType": "HU"},
    "MR": {"ScanningSequence": "SE", "SequenceVariant": "SK", "ScanOptions": "", "MRAcquisitionType": "2D",
           "RepetitionTime": 3000, "EchoTime": 80, "EchoTrainLength": 1, "MagneticFieldStrength": 1.5},
}  # fmt: skip


def head(slices: int, size: int = 32) -> np.ndarray:
    """(slices, size, size) stored values of an ellipse that grows, 0 to 4095."""
    y, x = np.mgrid[:size, :size] / size - 0.5
    rng = np.random.default_rng(1)
    out = [
        np.where(np.hypot(x, y) < 0.2 + 0.01 * k, 1060 + rng.integers(0, 40, x.shape), 24)
        for k in range(slices)
    ]
    return np.stack(out).astype(np.uint16)


def write_scan(
    folder: Path,
    slices: int = 6,
    step: tuple[float, float, float] = (0.0, 0.0, 5.0),
    modality: str = "CT",
    size: int = 32,
    signed: bool = False,
    orientation: tuple[float, ...] = (1, 0, 0, 0, 1, 0),
    change=None,
    **attributes,
) -> list[Dataset]:
    """Write a series with everything that a scanner says, private attributes and dose among it.

    change: gets number and dataset of each image before it is written. attributes: of all images.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = head(slices, size)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    written = []
    for k in range(slices):
        ds = Dataset()
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if modality == "CT" else ["ORIGINAL", "PRIMARY", "M"]
        ds.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
        ds.SOPInstanceUID = generate_uid()
        for what in ("Study", "Series", "Acquisition", "Content"):
            setattr(ds, f"{what}Date", "20200229")
            setattr(ds, f"{what}Time", "120000")
        ds.AccessionNumber, ds.Modality, ds.Manufacturer = "A1", modality, "Scanner works"
        ds.ReferringPhysicianName, ds.StudyDescription, ds.SeriesDescription = (
            "Doe^Jane",
            "Head",
            "Head 5.0 H31s",
        )
        ds.ManufacturerModelName, ds.DeviceSerialNumber, ds.InstitutionName = "Scan 3", "42", "Hospital"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Müller^Anna", "P1", "19500101"
        ds.PatientSex, ds.PatientAge, ds.BodyPartExamined = "F", "070Y", "HEAD"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = "S1", 2, 1, k + 1
        ds.PatientPosition, ds.PositionReferenceIndicator = "HFS", ""
        ds.ImagePositionPatient = [-8 + step[0] * k, -20.25 + step[1] * k, 10.5 + step[2] * k]
        ds.ImageOrientationPatient, ds.PixelSpacing = list(orientation), [0.5, 0.5]
        ds.SliceThickness, ds.SliceLocation = 5, 10.5 + step[2] * k
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.Rows = ds.Columns = size
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16 if signed else 12, 15 if signed else 11
        ds.PixelRepresentation = int(signed)
        ds.WindowCenter, ds.WindowWidth = 40, 80
        for keyword, value in {**ACQUISITION[modality], **attributes}.items():
            setattr(ds, keyword, value)
        block = ds.private_block(0x0099, "SECRETS", create=True)
        block.add_new(1, "LO", "private")
        pixels = stored[k].astype(np.int16) - 1024 if signed else stored[k]
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW"
        if change is not None:
            change(k, ds)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are wrong on purpose
            ds.save_as(folder / f"IM{k * 7919 % 100003:06d}.dcm", enforce_file_format=True)
        written.append(ds)
    return written


def modality_values(dataset: Dataset) -> np.ndarray:
    """(rows, columns) in the units of the header, float64."""
    slope, intercept = (
        float(dataset.get(key, default)) for key, default in (("RescaleSlope", 1), ("RescaleIntercept", 0))
    )
    return dataset.pixel_array * slope + intercept


def as_it_stands(ds: Dataset, keyword: str, value: bytes) -> None:
    """Put bytes into a header that no library would write."""
    tag = Tag(tag_for_keyword(keyword))
    value += b" " * (len(value) % 2)
    ds[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)
