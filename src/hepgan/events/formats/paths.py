"""Which files and trees the names that users give are."""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.formats.opening import open_source
from hepgan.events.formats.source import PathLike

UNFINISHED = ("unfinished.jsonl", ".unfinished/replaced")
"""What is in a folder of generated events as long as they are not all there."""

_PARTS = "unfinished-*-of-*.jsonl"
"""The same, of jobs that share a production."""


def locate(paths: PathLike | Sequence[PathLike]) -> list[tuple[str, str | None]]:
    """Files and trees: of ``file.root:Tree``, of a glob, or of a list of these.

    Raises:
        InputError: If there is no such file.
    """
    given: Any = [paths] if isinstance(paths, str | Path) else paths
    if not isinstance(given, Sequence) or any(not isinstance(p, str | Path) for p in given):
        message = f"files are a path or a list of paths, not {paths!r:.80}"
        raise InputError(message)
    found: list[tuple[str, str | None]] = []
    for text in given:
        path, tree = _split(str(text))
        if "://" in path:
            found.extend((one, tree) for one in _behind(path))
        elif glob.has_magic(path) and not os.path.exists(path):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                message = "no file matches"
                raise InputError(message, file=path)
            _warn_unfinished(matches)
            found.extend((m, tree) for m in matches)
        elif not os.path.exists(path):
            message = "no such file"
            raise InputError(message, file=path)
        else:
            found.append((path, tree))
    if not found:
        message = "no files given"
        raise InputError(message)
    return found


def _behind(url: str) -> list[str]:
    """The files of a URL, which may be a glob where its store can be listed.

    Raises:
        InputError: If nothing matches, or the store cannot be listed.
    """
    if not any(mark in url for mark in "*["):
        return [url]
    from fsspec.core import url_to_fs

    try:
        fs, pattern = url_to_fs(url)
        matches = sorted(str(fs.unstrip_protocol(one)) for one in fs.glob(pattern))
    except Exception as error:
        message = f"cannot be listed ({str(error) or type(error).__name__})"
        raise InputError(message, file=url) from error
    if not matches:
        message = "no file matches"
        raise InputError(message, file=url)
    return matches


def _warn_unfinished(matches: Sequence[str]) -> None:
    for folder in sorted({Path(m).parent for m in matches}):
        if any((folder / name).exists() for name in UNFINISHED) or any(folder.glob(_PARTS)):
            message = (
                f"{folder} holds a part of a production that has not ended: its events are not all there"
            )
            warnings.warn(message, UserWarning, stacklevel=3)


@checked
def overlap(first: PathLike | Sequence[PathLike], second: PathLike | Sequence[PathLike]) -> bool:
    """Whether two samples have a tree in common, whatever its file is called, and whether it is named or not.

    Raises:
        InputError: If there is no such file, or no tree to read in it.
    """
    found = [{(_identity(path), path, tree) for path, tree in locate(paths)} for paths in (first, second)]
    common = {file for file, _, _ in found[0]} & {file for file, _, _ in found[1]}
    trees = []
    for part in found:
        # Files are opened only where there is something to tell.
        wanted = [(file, path, tree) for file, path, tree in part if file in common]
        trees.append({(file, _tree(path, tree)) for file, path, tree in wanted})
    return bool(trees[0] & trees[1])


@checked
def reads(paths: PathLike | Sequence[PathLike], file: PathLike) -> bool:
    """Whether a file is among those of a sample, whatever it is called.

    Raises:
        InputError: If the sample has no such file.
    """
    there = os.path.exists(file)
    return there and _identity(str(file)) in {_identity(path) for path, _ in locate(paths)}


def _identity(path: str) -> Hashable:
    """What is the same for two names of one file."""
    if "://" in path:
        return path
    known = Path(path).stat()
    return known.st_dev, known.st_ino


def _tree(path: str, tree: str | None) -> str:
    if tree is not None:
        return tree
    with open_source(path, None) as source:
        return source.tree


def _split(text: str) -> tuple[str, str | None]:
    path = re.sub(r"^file://(?=/)", "", text)
    if path.startswith("~") and not os.path.exists(path):
        path = os.path.expanduser(path)
    if os.path.exists(path):
        return path, None
    found = re.fullmatch(r"(.+\.[A-Za-z0-9]+|.*[*?\]]):([^:\\]+)", path)
    # What follows the colon of root://host.domain:1094//file.root is a port.
    if found is None or re.match(r"\d*/", found[2]):
        return path, None
    return found[1], found[2].partition(";")[0]
