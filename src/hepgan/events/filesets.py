"""Filesets of coffea: which files of events there are, in which steps they are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uproot

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events.formats import locate, open_source
from hepgan.events.reading import Paths
from hepgan.files import replacing

__all__ = ["described", "fileset", "write_fileset"]


@checked
def fileset(
    paths: Paths | Mapping[str, Paths],
    tree: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    dataset: str = "events",
    step: int = 100_000,
) -> dict[str, Any]:
    """A coffea fileset of ROOT files, which counts as preprocessed: with steps, numbers of events and UUIDs.

    Args:
        paths: As in `read_events`; or a mapping of datasets' names to these.
        tree: The tree; where a path names one, that one.
        metadata: What processors are to find in ``events.metadata``.
        dataset: The dataset's name, where the paths have none.
        step: Events in a step; by default five of the batches that `write_events` makes.

    Returns:
        ``{dataset: {"files": {path: {"object_path", "steps", "num_entries", "uuid"}}, "metadata": {...},
        "treename": ...}}``; the last is for ``processor.Runner``, and left out where trees differ.

    Raises:
        InputError: If a file cannot be read, or is no ROOT file.
        ValueError: If step is not positive.
    """
    if step < 1:
        msg = f"step must be positive, not {step}"
        raise ValueError(msg)
    datasets = paths if isinstance(paths, Mapping) else {dataset: paths}
    made: dict[str, Any] = {}
    for name, listed in datasets.items():
        files = _files(listed, tree, step)
        trees = {f["object_path"] for f in files.values()}
        made[name] = {"files": files, "metadata": dict(metadata or {})}
        if len(trees) == 1:
            made[name]["treename"] = trees.pop()
    return made


def _files(paths: Paths, tree: str | None, step: int) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for path, named in locate(paths):
        with open_source(path, named or tree) as source:
            if not source.root:
                message = "coffea filesets are of ROOT files"
                raise InputError(message, file=path)
            entries, chosen = source.entries, source.tree
        with uproot.open(path) as file:
            unique = str(file.file.uuid)
        files[path] = described(chosen, entries, unique, step)
    return files


def described(tree: str | None, entries: int, uuid: str, step: int = 100_000) -> dict[str, Any]:
    """What a fileset says of a file; a Parquet file has no tree and no UUID."""
    steps = [[at, min(at + step, entries)] for at in range(0, entries, step)]
    unique = {"uuid": uuid} if uuid else {}
    return {"object_path": tree, "steps": steps, "num_entries": entries, **unique}


@checked
def write_fileset(path: str | Path, content: Mapping[str, Any], *, force: bool = False) -> Path:
    """Writes a fileset as JSON.

    Args:
        path: The file.
        content: What `fileset` gives.
        force: Whether an existing file may be replaced.

    Raises:
        InputError: If JSON does not hold the content.
        OutputError: If the file exists already (without ``force``), or cannot be written.
    """
    target = Path(path)
    try:
        text = json.dumps(content, indent=2) + "\n"
    except (TypeError, ValueError) as error:
        msg = f"content must be what JSON holds: {error}"
        raise InputError(msg) from error
    with replacing(target, force=force) as temporary:
        temporary.write_text(text)
    return target
