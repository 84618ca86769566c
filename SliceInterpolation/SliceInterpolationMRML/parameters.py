"""The choices of the panel: a parameter node with types, saved with the scene, and its enumerations."""

# No `from __future__ import annotations` here: the parameter node wrapper reads the types of the annotations.
import enum
from typing import Annotated, Union

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from SliceInterpolationLib.reports.trust import ALL_SLICES, DEFAULT_SLICES
from SliceInterpolationLib.request import Request

from .i18n import _


class Factor(enum.Enum):
    """How many times more slices."""

    X2 = "2"
    X3 = "3"
    X4 = "4"
    ISOTROPIC = "isotropic"

    def label(self) -> str:
        """Text in the panel."""
        return _("isotropic") if self is Factor.ISOTROPIC else f"x{self.value}"


class OutputMode(enum.Enum):
    """What becomes of the acquired slices, and whether there are new ones."""

    INTERPOLATED = "interpolated"
    DENOISED = "denoised"
    DENOISE_ONLY = "denoise-only"

    def label(self) -> str:
        """Text in the panel."""
        return {
            OutputMode.INTERPOLATED: _("interpolated, exact"),
            OutputMode.DENOISED: _("interpolated, denoised"),
            OutputMode.DENOISE_ONLY: _("denoised only"),
        }[self]


class SliceAxis(enum.Enum):
    """Along which axis of the voxel grid the slices follow each other."""

    AUTO = "auto"
    I = "i"  # noqa: E741
    J = "j"
    K = "k"

    def label(self) -> str:
        """Text in the panel."""
        return _("automatic (largest spacing)") if self is SliceAxis.AUTO else self.value


class Units(enum.Enum):
    """What the intensities of the input stand for."""

    AUTO = "auto"
    HU = "HU"
    ARBITRARY = "arbitrary"

    def label(self) -> str:
        """Text in the panel."""
        return {
            Units.AUTO: _("automatic"),
            Units.HU: _("HU (CT)"),
            Units.ARBITRARY: _("arbitrary (MR and others)"),
        }[self]


class Arrangement(enum.Enum):
    """How original and result lie beside each other."""

    AUTO = "auto"
    ROWS = "rows"
    COLUMNS = "columns"

    def label(self) -> str:
        """Text in the panel."""
        return {
            Arrangement.AUTO: _("automatic"),
            Arrangement.ROWS: _("row by row (2 x 3)"),
            Arrangement.COLUMNS: _("column by column (3 x 2)"),
        }[self]


class Shown(enum.Enum):
    """What the result side of the compare view shows."""

    RESULT = "result"
    ORIGINAL = "original"
    LINEAR = "linear"
    DIFFERENCE = "difference"
    BLEND = "blend"

    def label(self) -> str:
        """Text in the panel."""
        return {
            Shown.RESULT: _("result"),
            Shown.ORIGINAL: _("original"),
            Shown.LINEAR: _("linear interpolation"),
            Shown.DIFFERENCE: _("difference (result minus linear)"),
            Shown.BLEND: _("result half over original"),
        }[self]


@parameterNodeWrapper
class SliceInterpolationParameterNode:
    """All choices of the panel; saved with the scene.

    outputVolume None makes a new volume with each run; resultVolume is the latest result. method and device are
    names of the command line, bound by hand because their choices are known only when the panel runs.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    method: str = "default"
    factor: Factor = Factor.X2
    outputMode: OutputMode = OutputMode.INTERPOLATED
    strength: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    sliceAxis: SliceAxis = SliceAxis.AUTO
    units: Units = Units.AUTO
    device: str = "auto"
    force: bool = False
    estimateError: bool = False
    resultVolume: vtkMRMLScalarVolumeNode
    showComparison: bool = True
    arrangement: Arrangement = Arrangement.AUTO
    shown: Shown = Shown.RESULT
    slabMm: Annotated[float, WithinRange(0.0, 50.0)] = 0.0
    trustAllSlices: bool = False
    denoisedVolume: vtkMRMLScalarVolumeNode
    huLow: Annotated[float, WithinRange(-1024.0, 3071.0)] = 40.0
    huHigh: Annotated[float, WithinRange(-1024.0, 3071.0)] = 100.0
    marginMm: Annotated[float, WithinRange(0.0, 20.0)] = 3.0
    keepEdits: bool = False

    def request(self) -> Request:
        """What is asked for now; raises InputError where the choices cannot be together."""
        return Request(
            factor=self.factor.value,
            method=self.method,
            output_mode=self.outputMode.value,
            strength=self.strength,
            axis=self.sliceAxis.value,
            device=self.device,
            units=self.units.value,
            force=self.force,
        )

    def slicesToScore(self) -> Union[int, str]:
        """How many slices a trust check scores, or "all"."""
        return ALL_SLICES if self.trustAllSlices else DEFAULT_SLICES
