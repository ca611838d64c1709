"""The events of a training in portions, of which one is in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hepgan.errors import OutputError
from hepgan.features.space import FeatureBatch
from hepgan.training.identity import digest_of_events

__all__ = ["Portion", "Portions"]

_ROWS = "rows."
"""How the names of the tensors begin that tell the members' events."""


class Portion(NamedTuple):
    """Some of the events of a training.

    Attributes:
        data: N events, their floating-point numbers in single precision.
        rows: Of an ensemble the numbers of each member's events among them, those that it has several times
            included; None for a single model, which learns from all.
    """

    data: FeatureBatch
    rows: tuple[Tensor, ...] | None = None

    @property
    def counts(self) -> tuple[int, ...]:
        """How many events each member learns from."""
        return (len(self.data),) if self.rows is None else tuple(map(len, self.rows))

    def to(self, device: torch.device) -> Portion:
        """The same on a device."""
        rows = None if self.rows is None else tuple(r.to(device) for r in self.rows)
        return Portion(self.data.to(device), rows)


class Portions:
    """All events of a training: one portion in memory, or several in files, each read when its turn comes.

    Each portion is to be a random part of all events, for a training has one after another.

    Args:
        folder: Where the files are to be; None for memory.
        name: How their names begin.

    Attributes:
        events: The number of all events.
        sum_of_weights: Their sum of weights.
        negative: How many weights are negative.
        counts: Of each portion how many events each member learns from.
    """

    def __init__(self, folder: Path | None = None, name: str = "portion") -> None:
        self.events, self.sum_of_weights, self.negative = 0, 0.0, 0
        self.counts: list[tuple[int, ...]] = []
        self._folder, self._name = folder, name
        self._found: list[Portion | Path] = []
        self._digests: list[str] = []

    @classmethod
    def of(cls, data: FeatureBatch, rows: Sequence[Tensor] | None = None) -> Portions:
        """One portion in memory; the arguments are those of :meth:`add`."""
        made = cls()
        made.add(data, rows)
        return made

    def add(self, data: FeatureBatch, rows: Sequence[Tensor] | None = None) -> None:
        """One portion more.

        Args:
            data: N events.
            rows: Of an ensemble the numbers of each member's events, as of ``Portion``.

        Raises:
            OutputError: If its file cannot be written.
        """
        portion = Portion(data.to(dtype=torch.float32), None if rows is None else tuple(rows))
        self.events += len(data)
        self.sum_of_weights += float(portion.data.weight.sum())
        self.negative += int((portion.data.weight < 0).sum())
        self.counts.append(portion.counts)
        self._digests.append(digest_of_events(portion.data))
        self._found.append(portion if self._folder is None else self._written(portion, self._folder))

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, number: int) -> Portion:
        """A portion, read from its file if it is in one."""
        found = self._found[number]
        return _read(found) if isinstance(found, Path) else found

    @property
    def digest(self) -> str:
        """A digest of all numbers of the events."""
        if len(self) == 1:
            return self._digests[0]
        return hashlib.blake2b("".join(self._digests).encode(), digest_size=16).hexdigest()

    def _written(self, portion: Portion, folder: Path) -> Path:
        path = folder / f"{self._name}-{len(self)}.safetensors"
        tensors = {n: t.contiguous() for n, t in vars(portion.data).items() if t is not None}
        tensors |= {f"{_ROWS}{k}": r.contiguous() for k, r in enumerate(portion.rows or ())}
        try:
            save_file(tensors, path)
        except (OSError, SafetensorError) as error:
            msg = f"the encoded events cannot be written: {error}"
            raise OutputError(msg, file=path) from error
        return path


def _read(path: Path) -> Portion:
    tensors = load_file(path)
    rows = [tensors.pop(f"{_ROWS}{k}") for k in range(sum(n.startswith(_ROWS) for n in tensors))]
    data = FeatureBatch(**{f.name: tensors.get(f.name) for f in fields(FeatureBatch)})  # type: ignore[arg-type]
    return Portion(data, tuple(rows) or None)
