"""What the panel needs beyond Slicer, asked for once: PyTorch through its extension, other packages through pip.

torch is never imported here: whether it is installed is read from its metadata, without loading it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import re
from pathlib import Path

import slicer

from SliceInterpolationLib.errors import SliceInterpolationError
from SliceInterpolationLib.interpolators import CLASSICAL

from ..i18n import _

TORCH_REQUIREMENT = ">=2.1"
REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"
BATCH_REQUIREMENTS = ("distributed>=2024.1", "pyarrow>=14", "cryptography>=41")
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
    if not hasTorchExtension():
        return _(
            "PyTorch is not installed, nor is its extension: install the extension PyTorch in the Extensions "
            "Manager and restart Slicer. Linear and cubic interpolation work without."
        )
    return _("PyTorch is not installed yet. Linear and cubic interpolation work without.")


def hasTorchExtension() -> bool:
    """True where the PyTorch extension is there, through which PyTorch is installed."""
    return importlib.util.find_spec("PyTorchUtils") is not None


def canAskForTorch() -> bool:
    """True where the PyTorch extension is there and the user has not declined yet."""
    return hasTorchExtension() and "torch" not in _declined


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


def offerPackages() -> None:
    """Offer to install the packages of `REQUIREMENTS` that are missing; what works without them does so if declined.

    They are offered once a session, and never while the application is tested.
    """
    missing = missingPackages()
    if not missing or "packages" in _declined or slicer.app.testingEnabled():
        return
    _declined.add("packages")  # whatever becomes of it
    try:
        _install(missing, _("Closed surfaces of segments are not measured without."))
    except Exception as error:  # declined, no network, no pip: the run goes on without
        logging.warning("SliceInterpolation: %s not installed: %s", ", ".join(missing), error)
    importlib.invalidate_caches()


def ensureBatchPackages() -> None:
    """Install what a batch needs, after asking. Raises DependencyError where it is missing then."""
    missing = [requirement for requirement in BATCH_REQUIREMENTS if not _isInstalled(requirement)]
    if not missing:
        return
    reason = ""
    try:
        _install(missing, _("A batch needs them."))
    except Exception as error:
        reason = f" ({error})"
    importlib.invalidate_caches()
    missing = [requirement for requirement in missing if not _isInstalled(requirement)]
    if missing:
        raise DependencyError(
            _(
                "A batch needs {packages}, not installed here{reason}; press Start again to install them."
            ).format(packages=", ".join(missing), reason=reason)
        )


def missingPackages() -> list[str]:
    """The requirements of `REQUIREMENTS` of which no version is installed."""
    lines = [line.strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line and not line.startswith("#") and not _isInstalled(line)]


def _isInstalled(requirement: str) -> bool:
    try:
        importlib.metadata.version(re.split(r"[<>=!~ ]", requirement)[0])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _install(requirements: list[str], why: str) -> None:
    try:
        from slicer.packaging import pip_ensure  # from 5.11 on; it asks by itself
    except ImportError:
        if slicer.util.confirmOkCancelDisplay(
            _("Install {packages}? {why}").format(packages=", ".join(requirements), why=why)
        ):
            slicer.util.pip_install(" ".join(requirements))
        return
    pip_ensure(requirements, requester=_("Slice Interpolation"))
