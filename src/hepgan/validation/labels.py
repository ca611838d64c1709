"""What generated samples are called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from hepgan.errors import InputError

__all__ = ["check_labels", "sample_labels"]

RESERVED = frozenset({"reference", "train", "samples", "verdicts", "provenance"})
"""What a generated sample cannot be called."""


def check_labels(labels: Iterable[str]) -> None:
    """Sees to it that labels can name folders of a ROOT file, and keys beside others in metrics.json.

    Raises:
        InputError: If one cannot.
    """
    for label in labels:
        if label in RESERVED or not label.strip() or set(label) & set("/;"):
            taken = f"{', '.join(sorted(RESERVED))} are taken, and / and ; not allowed"
            msg = f"a generated sample cannot be called {label!r}: {taken}"
            raise InputError(msg)


def sample_labels(files: Sequence[str], given: Sequence[str]) -> list[str]:
    """What to call generated samples: as the user says, or after their files, each differently.

    Args:
        files: One name for each sample: ``folder/file.root:Tree``, or a glob (called after its folder).
        given: Labels, one for each, or none.

    Returns:
        The labels; ``generated`` for one sample without any.

    Raises:
        InputError: If there are too few or too many labels, or two are the same.
    """
    if given:
        if len(given) != len(files):
            msg = f"{len(given)} --label for {len(files)} samples; give one for each, or none"
            raise InputError(msg)
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            msg = f"two samples are called {twice[0]!r}; give each another --label"
            raise InputError(msg)
        return list(given)
    if len(files) == 1:
        return ["generated"]
    paths = [Path(re.sub(r"(\.\w+):[^/]*$", r"\1", file)) for file in files]
    names = [p.parent.name if "*" in p.stem and p.parent.name else p.stem for p in paths]
    if len(set(names)) < len(names):
        names = [f"{p.parent.name}_{n}" if p.parent.name else n for p, n in zip(paths, names, strict=True)]
    found: list[str] = []
    for name in names:
        # Names of files may hold what labels cannot.
        plain = re.sub(r"[^\w.+-]+", "_", name)
        others = (plain, *(f"{plain}_{k}" for k in range(2, len(files) + 2)))
        found.append(next(n for n in others if n not in found and n not in RESERVED))
    return found
