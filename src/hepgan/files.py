"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from hepgan.errors import OutputError

__all__ = ["claim", "claim_folder", "replacing", "write_tensors"]


def claim(path: Path, *, force: bool, make: bool = True) -> None:
    """Sees to it, before any work, that a file can be written.

    Args:
        path: The file.
        force: Whether an existing file may be replaced.
        make: Whether to make its folder, too, where there is none.

    Raises:
        OutputError: If it exists (without force), is a folder or a device, or its folder cannot be
            written to.
    """
    try:
        folder, there = path.is_dir(), path.exists()
    except OSError as error:
        # A name that is too long, or a folder that may not be looked into.
        raise OutputError(f"cannot be written: {error.strerror}", file=path) from error  # noqa: EM102
    if folder:
        msg = "is a folder, not a file"
        raise OutputError(msg, file=path)
    if there and not path.is_file():
        msg = "is not a regular file"  # the rename would replace a device or a pipe
        raise OutputError(msg, file=path)
    if there and not force:
        msg = "exists already; --force (force=True) replaces it"
        raise OutputError(msg, file=path)
    claim_folder(path.parent, path, make=make)


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


@contextmanager
def replacing(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary file beside ``path`` that takes its name when all went well, and vanishes otherwise.

    Raises:
        OutputError: If ``path`` exists (without force) or cannot be written, or if the disk is full.
    """
    claim(path, force=force)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot be written: {error.strerror or error}", file=path) from error  # noqa: EM102
    finally:
        temporary.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file.

    Raises:
        OSError: If it cannot be written.
    """
    # safetensors leaves files that their owner alone can read; open() gives what the user's umask says.
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(dict(tensors), path, metadata=dict(metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(mode)
