"""Files that are whole or not there, and that one process writes at a time."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self
from weakref import WeakValueDictionary

from hepgan.errors import OutputError

if sys.platform != "win32":
    import fcntl

__all__ = ["Reservation", "claim", "claim_folder", "publish", "replacing", "scratch", "temporary"]

_LONGEST = 120
"""Bytes of a file's name that the names of its hidden companions repeat."""

_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
"""What systems of files without locks say."""


# ------------------------------------------------------------------ before any work


def claim(path: Path, *, force: bool, make: bool = True) -> None:
    """Sees to it, before any work, that a file can be written.

    Args:
        path: The file.
        force: Whether an existing file may be replaced; never a link or a file that is read-only.
        make: Whether to make its folder, too, where there is none.

    Raises:
        OutputError: If it exists (without force), is a folder, a link, a device or read-only, or its
            folder cannot be written to.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = None  # of its folder, below
    except OSError as error:
        # A name that is too long, or a folder that may not be looked into.
        raise OutputError(f"cannot be written: {error.strerror}", file=path) from error  # noqa: EM102
    if mode is not None:
        _check_replaceable(path, mode, force=force)
    claim_folder(path.parent, path, make=make)


def _check_replaceable(path: Path, mode: int, *, force: bool) -> None:
    if path.is_dir():
        msg = "is a folder, not a file"
        raise OutputError(msg, file=path)
    if stat.S_ISLNK(mode):
        msg = "is a symbolic link, which is not replaced; name the file that is meant"
        raise OutputError(msg, file=path)
    if not stat.S_ISREG(mode):
        msg = "is not a regular file"  # the rename would replace a device or a pipe
        raise OutputError(msg, file=path)
    if not force:
        msg = "exists already; --force (force=True) replaces it"
        raise OutputError(msg, file=path)
    if not mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        msg = "is read-only, and left as it is"
        raise OutputError(msg, file=path)


def claim_folder(folder: Path, path: Path, *, make: bool) -> None:
    """Sees to it that there is, or can be, a folder to write into.

    Args:
        folder: The folder.
        path: What is to be written, for the error.
        make: Whether to make the folder.

    Raises:
        OutputError: If it cannot be made or written to.
    """
    there = next((f for f in (folder, *folder.parents) if f.exists()), folder)
    if not there.is_dir():
        msg = f"{there} is a file, not a folder"
        raise OutputError(msg, file=path)
    if not os.access(there, os.W_OK | os.X_OK):
        msg = f"no permission to write into {there}"
        raise OutputError(msg, file=path)
    if make:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make its folder: {error.strerror}", file=path) from error  # noqa: EM102


# ------------------------------------------------------------------ one process at a time


class Reservation:
    """A file or a folder that this process alone writes, from now until `release` or its end.

    Also removes what processes that were killed have left beside the file. A thread may reserve what it has
    reserved already. Locks are the operating system's (``flock``), so none outlives its process; where a
    system of files has none, a warning says so.

    Args:
        path: The file, or an existing folder.
        force: Whether an existing file may be replaced, as in `claim`; of no meaning for a folder.

    Raises:
        OutputError: If another process or thread has it, or it cannot be written.

    Example:
        >>> with Reservation(Path("m.safetensors"), force=False):    # doctest: +SKIP
        ...     train()
    """

    # By weak references, so that one that is forgotten ends.
    _held: ClassVar[WeakValueDictionary[str, Reservation]] = WeakValueDictionary()
    _guard = threading.RLock()

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self._descriptor: int | None = None
        self._made: list[Path] = []
        self._key = os.path.realpath(path)
        self._thread, self._process = threading.get_ident(), os.getpid()
        with self._guard:
            holder = self._held.get(self._key)
            if holder is not None and holder._thread != self._thread:
                msg = "is being written by another thread of this process"
                raise OutputError(msg, file=path)
            folder = os.path.isdir(path)  # of a name that is too long, too
            if not folder:
                claim(path, force=force, make=False)
            if holder is not None:
                return
            real = Path(self._key)
            if not folder:
                self._make(real.parent, path)
            self._lock = real / ".hepgan.lock" if folder else _beside(real, "lock")
            try:
                self._acquire(path)
            except BaseException:
                self._remove_made()
                raise
            self._held[self._key] = self
        for left in _left_behind(real, folder=folder):
            with suppress(OSError):
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    def release(self) -> None:
        """Lets others write it; folders that were made for it go again where they are empty."""
        with self._guard:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is None:
                return
            self._held.pop(self._key, None)
            if self._process != os.getpid():  # a fork's copy
                os.close(descriptor)
                return
            # Before the lock goes: who waits for it sees by the file's number that it is gone.
            with suppress(OSError):
                self._lock.unlink()
            os.close(descriptor)
            self._remove_made()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            self.release()

    def _make(self, folder: Path, path: Path) -> None:
        missing = [f for f in (folder, *folder.parents) if not f.exists()]
        claim_folder(folder, path, make=True)
        self._made = missing

    def _remove_made(self) -> None:
        made, self._made = self._made, []
        for folder in made:
            with suppress(OSError):
                folder.rmdir()

    def _acquire(self, path: Path) -> None:
        while True:
            try:
                descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise OutputError(f"cannot be written: {error.strerror}", file=path) from error  # noqa: EM102
            try:
                _lock(descriptor, path)
                current = self._lock.stat().st_ino == os.fstat(descriptor).st_ino
            except FileNotFoundError:
                current = False
            except BaseException:
                os.close(descriptor)
                raise
            if current:
                break
            os.close(descriptor)  # its holder has just removed it
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._descriptor = descriptor


def _lock(descriptor: int, path: Path) -> None:
    if sys.platform == "win32":
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        who = os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
        msg = f"is being written by {who}"
        raise OutputError(msg, file=path) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise OutputError(f"cannot be locked: {error.strerror}", file=path) from error  # noqa: EM102
        msg = f"{path}: this system of files has no locks: see to it that one process alone writes it"
        warnings.warn(msg, stacklevel=4)


def _beside(path: Path, ending: str) -> Path:
    """A hidden companion of a file, whose name is short enough whatever the file's is."""
    name = os.fsencode(path.name)
    if len(name) > _LONGEST:
        name = name[:_LONGEST] + b"-" + hashlib.blake2b(name, digest_size=6).hexdigest().encode()
    return path.with_name(f".{os.fsdecode(name)}.{ending}")


def temporary(path: Path) -> Path:
    """A name beside ``path`` for what is not whole yet; `Reservation` removes what killed ones leave."""
    return _beside(path, f"{secrets.token_hex(6)}.part{path.suffix if len(path.suffix) < 20 else ''}")


def _left_behind(path: Path, *, folder: bool) -> list[Path]:
    """What processes that were killed have left of a file, or of all files in a folder."""
    if folder:
        pattern = re.compile(r"\..*\.[0-9a-f]{12}\.part(\..*)?", re.DOTALL)
        where = path
    else:
        start = _beside(path, "").name
        pattern = re.compile(re.escape(start) + r"[0-9a-f]{12}\.part(\..*)?", re.DOTALL)
        where = path.parent
    try:
        with os.scandir(where) as entries:
            found = [e.name for e in entries if pattern.fullmatch(e.name) and not e.is_symlink()]
    except OSError:
        return []
    return [where / name for name in found]


# ------------------------------------------------------------------ writing


def publish(made: Path, path: Path, *, force: bool) -> None:
    """Gives a file that is whole its name.

    Raises:
        OutputError: If the name has been taken meanwhile (without force).
        OSError: If it cannot be renamed.
    """
    claim(path, force=force, make=False)
    if force:
        os.replace(made, path)
        return
    try:
        os.link(made, path)  # fails where the name is taken, unlike a rename
    except FileExistsError as error:
        msg = "exists already: something else has written it meanwhile"
        raise OutputError(msg, file=path) from error
    except OSError:
        os.replace(made, path)  # no hard links here
    else:
        made.unlink()


@contextmanager
def scratch(beside: str | Path | None) -> Iterator[Path]:
    """A folder for what nobody needs afterwards; a `Reservation` of the file removes what killed ones leave.

    Args:
        beside: A file that it is to be beside; None for the system's own place.

    Raises:
        OutputError: If it cannot be made.
    """
    try:
        if beside is None:
            folder = Path(tempfile.mkdtemp(prefix="hepgan-"))
        else:
            folder = temporary(Path(beside)).with_suffix("")
            folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(f"cannot be made: {error.strerror}", file=folder if beside else None) from error  # noqa: EM102
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def replacing(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its name when all went well, and vanishes otherwise.

    Raises:
        OutputError: If ``path`` exists (without force), is being written by another process or cannot be
            written, or if the disk is full.
    """
    claim(path, force=force)  # no folder, which could be reserved, too
    with Reservation(path, force=force):
        made = temporary(path)
        try:
            yield made
            with made.open("rb") as file:
                os.fsync(file.fileno())
            publish(made, path, force=force)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"cannot be written: {error.strerror or error}", file=path) from error  # noqa: EM102
        finally:
            made.unlink(missing_ok=True)
