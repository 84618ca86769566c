"""The files that a command writes: checked before the work, written aside, put in place together or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Callable

from ..errors import InputError, OutputError
from ..volume import Volume
from .formats import suffix_of
from .sources import belongs_to
from .writing import check_writable, write_aside

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
_UNFLUSHED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # of file systems that cannot be waited for


class Outputs:
    """All files of one command. They appear together when the block ends well; else the disk stays as it was.

    inputs: files and folders that the command reads; no output replaces any of them, whatever its path is called.
    Everything is written under another name in the folder of its target, and read back where it holds voxels,
    before anything of that name is touched. Folders that were made are taken back as well.
    hold_cancel: called before the disk is first changed, so that from then on nothing ends the process half-way; what
    it returns is called as long as all can be taken back, and may raise Cancelled (see `cancel.hold_cancel`).

    Example::

        with Outputs("scan.nrrd") as outputs:
            outputs.check("result.nrrd", "result.json")     # before the work: InputError, OutputError
            result = interpolate(read_volume("scan.nrrd")[0])
            outputs.volume(result.volume, "result.nrrd")
            outputs.text("result.json", "{}")
            with outputs.file("result.png") as aside:       # any other writer
                figure.savefig(aside)
        print(outputs.paths)                                # all three are there
    """

    def __init__(
        self, *inputs: str | Path | None, hold_cancel: Callable[[], Callable[[], None]] | None = None
    ):
        self.paths: list[Path] = []
        self._inputs = [Path(path) for path in inputs if path]
        self._aside: dict[Path, Path] = {}  # where the file lies until the end, by its target
        self._folders: list[Path] = []
        self._trees: dict[Path, Path] = {}  # as _aside, of whole folders
        self._hold_cancel = hold_cancel
        self._check_cancel: Callable[[], None] = lambda: None

    def check(self, *paths: str | Path | None) -> None:
        """Whether files may be written there; None is passed over.

        Raises InputError for a missing folder, for an input, and for two paths that are one file; OutputError for
        a folder or file that is write-protected.
        """
        taken = {_identity(target): target for target in self._aside}
        for path in paths:
            if path is None:
                continue
            identity = _identity(self._target(path))
            if identity in taken:
                raise InputError(
                    f"'{path}' and '{taken[identity]}' are one file; give each output a name of its own."
                )
            taken[identity] = Path(path)

    def check_volume(self, *paths: str | Path | None) -> None:
        """As `check`, for volumes: the suffix must be that of a format that can be written, too."""
        for path in paths:
            if path is not None:
                check_writable(path)
        self.check(*paths)

    def check_folder(self, path: str | Path, names: Iterable[str] = ()) -> Path:
        """Whether files of these names may be written into a folder that is there or can be made; errors as `check`."""
        path = Path(path)
        existing = next(one for one in (path, *path.absolute().parents) if os.path.lexists(one))
        if not existing.is_dir():
            raise InputError(f"'{existing}' is not a folder; choose another.")
        with _explained(path):
            tempfile.TemporaryFile(dir=existing).close()
        self.check(*(path / name for name in names if (path / name).exists()))
        return path

    def folder(self, path: str | Path) -> Path:
        """Make a folder for outputs, and its parents; one that is there is used."""
        path = self.check_folder(path)
        self._begin()
        for one in reversed([one for one in (path, *path.parents) if not one.exists()]):
            with _explained(one):
                one.mkdir()
            self._folders.append(one)
        return path

    def check_new_folder(self, *paths: str | Path | None) -> None:
        """Whether folders may be made there whole; None is passed over.

        Raises InputError where something lies there already, for an input, and for a missing parent; OutputError where
        the parent is write-protected.
        """
        for path in paths:
            if path is not None:
                self._new_folder_target(path)

    @contextmanager
    def new_folder(self, path: str | Path) -> Iterator[Path]:
        """Where to write the files of what will become the folder `path` in the end, for the eyes of its owner alone.

        It appears with all its files at once. Where the block fails, there is nothing of it.
        Errors as of `check_new_folder`.
        """
        target = self._new_folder_target(path)
        aside = target.with_name(f".{uuid.uuid4().hex[:8]}.partial")
        self._begin()
        with _explained(path):
            aside.mkdir(mode=0o700)
        self._trees[target] = aside
        try:
            with _explained(path):
                yield aside
                for one in aside.rglob("*"):
                    _flush(one)
        except BaseException:
            del self._trees[target]
            shutil.rmtree(aside, ignore_errors=True)
            raise
        self.paths.append(Path(path))

    @contextmanager
    def file(self, path: str | Path) -> Iterator[Path]:
        """Where to write what will become `path` in the end: a file of the same suffix beside it.

        Where the block fails, there is nothing of `path`, and the others stay.
        """
        self.check(path)
        target, path = self._target(path), Path(path)
        aside = target.with_name(f".{uuid.uuid4().hex[:8]}.partial{suffix_of(path) or path.suffix}")
        self._begin()
        self._aside[target] = aside
        try:
            with _explained(path):
                yield aside
                _flush(aside)
        except BaseException:
            del self._aside[target]
            aside.unlink(missing_ok=True)
            raise
        self.paths.append(path)

    def volume(self, volume: Volume, path: str | Path, compress: bool = False) -> None:
        """Write a volume with its provenance and history, and read back what was written."""
        check_writable(path, volume)
        with self.file(path) as aside:
            write_aside(volume, aside, compress)

    def text(self, path: str | Path, text: str) -> None:
        """Write a text as UTF-8."""
        with self.file(path) as aside:
            aside.write_text(text, encoding="utf-8")

    def __enter__(self) -> Outputs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._begin()
                self._put_in_place()
                self._folders = []
        finally:
            for aside in self._aside.values():
                aside.unlink(missing_ok=True)
            for aside in self._trees.values():
                shutil.rmtree(aside, ignore_errors=True)
            for folder in reversed(self._folders):
                try:
                    folder.rmdir()
                except OSError:  # somebody else has put something there
                    break

    def _begin(self) -> None:
        if self._hold_cancel is not None:
            self._check_cancel, self._hold_cancel = self._hold_cancel(), None
        self._check_cancel()

    def _target(self, path: str | Path) -> Path:
        """The file that would be written, links followed; errors as of `check`."""
        path = Path(path)
        target = Path(os.path.realpath(path))
        with _explained(path):  # a folder that may not be looked into fails at the first question
            if target.is_dir():
                raise InputError(f"'{path}' is a folder; give the name of a file.")
            if not target.parent.is_dir():
                raise InputError(f"The folder '{target.parent}' does not exist; create it or choose another.")
            for source in self._inputs:
                if belongs_to(target, source):
                    raise InputError(
                        f"'{path}' is, or belongs to, the input '{source}', which is never overwritten; "
                        "choose another output."
                    )
            if target.exists() and not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, "the file is write-protected")
            if target not in self._aside:
                tempfile.TemporaryFile(dir=target.parent).close()
        return target

    def _new_folder_target(self, path: str | Path) -> Path:
        """The folder that would be made, links followed; errors as of `check_new_folder`."""
        path = Path(path)
        target = Path(os.path.realpath(path))
        with _explained(path):
            if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
                raise InputError(
                    f"'{path}' exists already and is not empty; give the name of a folder that does not exist yet."
                )
            if not target.parent.is_dir():
                raise InputError(f"The folder '{target.parent}' does not exist; create it or choose another.")
            for source in self._inputs:
                if source.is_dir() and any(
                    one.samefile(source) for one in (target, *target.parents) if one.exists()
                ):
                    raise InputError(
                        f"'{path}' lies in the input '{source}', which stays as it is; choose a folder outside of it."
                    )
            if target in self._trees:
                raise InputError(f"'{path}' is named twice; give each output a name of its own.")
            tempfile.TemporaryFile(dir=target.parent).close()
        return target

    def _put_in_place(self) -> None:
        earlier = {t: t.with_name(f".{uuid.uuid4().hex[:8]}.earlier") for t in self._aside if t.exists()}
        empty = [target for target in self._trees if target.exists()]
        try:
            for target, aside in self._aside.items():
                with _explained(target):
                    if target in earlier:
                        _keep(target, earlier[target])
                    os.replace(aside, target)
            for target, aside in self._trees.items():
                with _explained(target):
                    if target in empty:
                        target.rmdir()  # fails where something was put there meanwhile
                    os.replace(aside, target)
        except BaseException:
            for target, aside in self._trees.items():
                if target.exists() and not aside.exists():
                    os.replace(target, aside)
                if target in empty:
                    target.mkdir(exist_ok=True)
            for target, aside in self._aside.items():
                if target in earlier and earlier[target].exists():
                    os.replace(earlier[target], target)
                elif target not in earlier and not aside.exists():
                    target.unlink(missing_ok=True)
            raise
        finally:
            for kept in earlier.values():
                kept.unlink(missing_ok=True)
        for folder in {target.parent for target in (*self._aside, *self._trees)}:
            with suppress(OSError):  # all is there by now
                _flush(folder)


def _identity(target: Path) -> tuple[int, int, str]:
    """Two targets with this in common are one file, at least where a file system ignores case or accents' form."""
    folder = os.stat(target.parent)
    return folder.st_dev, folder.st_ino, unicodedata.normalize("NFC", target.name).casefold()


def _keep(target: Path, earlier: Path) -> None:
    """Give the file that is about to be replaced a second name."""
    try:
        os.link(target, earlier)
    except OSError:  # a file system without hard links
        os.replace(target, earlier)


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk: only then a full disk shows for certain."""
    if path.is_dir() and os.name != "posix":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNFLUSHED:
            raise
    finally:
        os.close(handle)


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    """Errors of the system as OutputError, in words for the user."""
    try:
        yield
    except OSError as error:
        way_out = "free some space or choose another disk" if error.errno in _FULL else "choose another place"
        raise OutputError(
            f"'{path}' cannot be written ({error.strerror or error}); {way_out}. Nothing was changed there."
        ) from error


def write_volume(volume: Volume, path: str | Path, compress: bool = False) -> list[Path]:
    """Write one volume with its provenance and history; what is there is replaced when the new file is whole.

    Returns the paths written. Raises InputError for an unknown suffix, a missing folder or a geometry that the format
    cannot hold, OutputError where the disk does not take it.
    """
    with Outputs() as outputs:
        outputs.volume(volume, path, compress)
    return outputs.paths
