"""What the panel needs beyond Slicer: PyTorch through its extension, other packages by pip; each asked for once.

torch is never imported here: whether it is installed is read from its metadata, without loading it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from SliceInterpolationLib.errors import SliceInterpolationError
from SliceInterpolationLib.interpolators import CLASSICAL

TORCH_REQUIREMENT = ">=2.1"
_OFFLINE = _(
    "On a computer without network, copy a wheel of torch there and run "
    "'PythonSlicer -m pip install --no-index --find-links FOLDER torch'."
)
_declined: set[str] = set()


class DependencyError(SliceInterpolationError):
    """A package is missing; the text says how to get it and what works without."""


def needsTorch(method: str) -> bool:
    """True for networks and optical flow; the classical methods run on what Slicer ships."""
    return method not in CLASSICAL


def torchVersion() -> str | None:
    """The version of the installed torch, None where there is none; torch is not loaded for that."""
    if importlib.util.find_spec("torch") is None:
        return None
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return _("of unknown version")


def torchStateText() -> str:
    """One sentence for the panel."""
    version = torchVersion()
    if version:
        return _("PyTorch {version} is installed.").format(version=version)
    if importlib.util.find_spec("PyTorchUtils") is None:
        return _(
            "PyTorch is not installed, nor is its extension: install the extension PyTorch in the Extensions "
            "Manager and restart Slicer. Linear and cubic interpolation work without."
        )
    return _("PyTorch is not installed yet. Linear and cubic interpolation work without.")


def canAskForTorch() -> bool:
    """True where the PyTorch extension is there and the user has not declined yet."""
    return importlib.util.find_spec("PyTorchUtils") is not None and "torch" not in _declined


def ensureTorch(askAgain: bool = False) -> None:
    """Install torch through the PyTorch extension, after asking. Raises DependencyError where there is none then.

    A user who declined is not asked again in this session, unless `askAgain`, which is for a button that says so.
    """
    if torchVersion():
        return
    try:
        import PyTorchUtils
    except ImportError:
        raise DependencyError(torchStateText()) from None
    if "torch" in _declined and not askAgain:
        raise DependencyError(
            _("PyTorch is not installed: press 'Install PyTorch', or choose the method linear or cubic.")
        )
    try:
        installed = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT
        )
    except Exception as error:
        raise DependencyError(
            _(
                "PyTorch could not be installed ({error}). Check the network connection and try again. {offline}"
            ).format(error=error, offline=_OFFLINE)
        ) from error
    importlib.invalidate_caches()
    if installed is None and not torchVersion():
        _declined.add("torch")
        raise DependencyError(_("PyTorch was not installed; the methods linear and cubic work without it."))
    _declined.discard("torch")


def ensurePackages(requirements: Path) -> None:
    """Install what a requirements file names and what is missing, after asking. Raises DependencyError if declined."""
    try:
        import slicer.packaging as packaging
    except ImportError:  # Slicer 5.10 and older
        packaging = None
    if packaging is not None:
        try:
            packaging.pip_ensure(packaging.load_requirements(requirements), requester="SliceInterpolation")
        except RuntimeError as error:
            raise DependencyError(_("Packages are missing ({error}).").format(error=error)) from error
        return
    missing = missingRequirements(requirements)
    if not missing:
        return
    names = " ".join(missing)
    if names in _declined or not slicer.util.confirmOkCancelDisplay(
        _("This needs further Python packages, which will be downloaded: {names}. Install them?").format(
            names=names
        ),
        windowTitle="SliceInterpolation",
    ):
        _declined.add(names)
        raise DependencyError(
            _("Packages are missing: {names}. Restart Slicer to be asked again.").format(names=names)
        )
    slicer.util.pip_install(missing)
    importlib.invalidate_caches()


def missingRequirements(requirements: Path) -> list[str]:
    """The lines of a requirements file whose package is not installed, or is too old."""
    from packaging.requirements import Requirement

    missing = []
    for line in Path(requirements).read_text().splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        requirement = Requirement(text)
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(text)
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            missing.append(text)
    return missing
