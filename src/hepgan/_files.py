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

__all__ = ["claim", "replacing", "write_tensors"]


def claim(path: Path, *, force: bool) -> None:
    """Sees to it, before any work, that a file can be written.

    Args:
        path: The file.
        force: Whether an existing file may be replaced.

    Raises:
        OutputError: If it exists (without force), is a folder, or its folder cannot be written to.
    """
    if path.is_dir():
        msg = "is a folder, not a file"
        raise OutputError(msg, file=path)
    if path.exists() and not force:
        msg = "exists already; --force (force=True) replaces it"
        raise OutputError(msg, file=path)
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make its folder: {error.strerror}", file=path) from error  # noqa: EM102
    if not os.access(folder, os.W_OK | os.X_OK):
        msg = f"no permission to write into {folder}"
        raise OutputError(msg, file=path)


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
    try:
        save_file(dict(tensors), path, metadata=dict(metadata))
    except SafetensorError as error:
        raise OSError(str(error)) from error
