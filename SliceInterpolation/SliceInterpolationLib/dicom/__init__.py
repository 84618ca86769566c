"""DICOM series as volumes, and results as DICOM beside them."""

from .belonging import result_of
from .files import is_dicom_file
from .maps import write_map
from .measured import write_measured
from .objects import need_highdicom
from .reading import folder_info, read_series
from .series import Found, Run, SourceSlice
from .writing import check_series, write_series

__all__ = [
    "Found",
    "Run",
    "SourceSlice",
    "check_series",
    "folder_info",
    "is_dicom_file",
    "need_highdicom",
    "read_series",
    "result_of",
    "write_map",
    "write_measured",
    "write_series",
]
