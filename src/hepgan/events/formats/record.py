"""Records of hard processes: incoming particles, intermediate ones, and what becomes of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hepgan.events.buffers import Buffer, Numbers
from hepgan.events.formats.particles import (
    COLLECTION,
    FLOATS,
    INCOMING,
    INTEGERS,
    INTERMEDIATE,
    MOMENTA,
    Particles,
    ParticleWriter,
)
from hepgan.events.formats.source import Content
from hepgan.events.header import Header

_CLOSE = 1e-4
"""By what share of the energy momenta may not be conserved."""

_GENERATIONS = 20
"""Decays after decays, at most."""

_INCOMING, _INTERMEDIATE, _FINAL = range(3)
ROLES = {INCOMING: _INCOMING, INTERMEDIATE: _INTERMEDIATE, COLLECTION: _FINAL}
"""The order of particles in a record."""


class Record(NamedTuple):
    """All particles of some events, those of the initial state first, those of the final state last.

    Attributes:
        counts: (N,) particles in each event.
        roles: (P,) what each is.
        numbers: (P,) of each of ``INTEGERS`` and ``FLOATS``.
    """

    counts: NDArray[np.int64]
    roles: NDArray[np.int64]
    numbers: dict[str, Numbers]

    def part(self, collection: str) -> tuple[NDArray[np.int64], dict[str, Numbers]]:
        """The offsets and the numbers of the particles of a collection."""
        chosen = self.roles == ROLES[collection]
        event = np.repeat(np.arange(len(self.counts)), self.counts)
        number = np.bincount(event[chosen], minlength=len(self.counts))
        return offsets_of(number), {n: v[chosen] for n, v in self.numbers.items()}

    def some(self, collection: str) -> bool:
        """Whether there are particles of a collection."""
        return bool((self.roles == ROLES[collection]).any())

    def conserved(self) -> bool:
        """Whether all other momenta are those that the final state makes."""
        if not (np.diff(self.part(INCOMING)[0]) == 2).all():
            return False
        momenta = np.stack([self.numbers[n] for n in MOMENTA], axis=1)
        final = np.where((self.roles == _FINAL)[:, None], momenta, 0.0)
        made = _made(final, self.counts, self.roles, self.numbers["mother1"].astype(np.int64))
        scale = np.repeat(np.maximum(_summed(final[:, 3], self.counts), 1.0), self.counts)
        return bool((np.abs(made - momenta)[:, :4] <= _CLOSE * scale[:, None]).all())

    def mothers_of_all(self) -> tuple[tuple[int, int], ...]:
        """First and last mother of each particle, if these are the same in all events; else nothing."""
        if not len(self.counts) or (self.counts != self.counts[0]).any():
            return ()
        pairs = np.stack([self.numbers["mother1"], self.numbers["mother2"], self.roles], axis=1)
        table = pairs.reshape(len(self.counts), -1)
        if (table != table[0]).any():
            return ()
        return tuple((int(a), int(b)) for a, b, _ in table[0].reshape(-1, 3))


def offsets_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the particles of each event begin, of the numbers (N,) of these."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _summed(values: Numbers, counts: NDArray[np.int64]) -> Numbers:
    """The sum (N,) over the particles of each event."""
    event = np.repeat(np.arange(len(counts)), counts)
    return np.bincount(event, values, minlength=len(counts))


def _made(
    final: Numbers, counts: NDArray[np.int64], roles: NDArray[np.int64], mother: NDArray[np.int64]
) -> Numbers:
    """The momenta (P, 5) of all particles, as those of the final state and first mothers have it.

    An intermediate particle is the sum of what comes from it; the two incoming ones move along the beam.
    """
    result = final.copy()
    offsets = offsets_of(counts)
    starts = np.repeat(offsets[:-1], counts)
    mine = np.where(mother > 0, starts + mother - 1, -1)
    child = (mine >= 0) & (roles != _INCOMING)
    child &= np.where(child, roles[mine], _FINAL) == _INTERMEDIATE
    inner = roles == _INTERMEDIATE
    for _ in range(_GENERATIONS):
        total = np.stack(
            [np.bincount(mine[child], result[child, k], minlength=len(roles)) for k in range(4)], axis=1
        )
        if np.array_equal(total[inner], result[inner, :4]):
            break
        result[inner, :4] = total[inner]
    m2 = result[:, 3] ** 2 - (result[:, :3] ** 2).sum(axis=1)
    result[inner, 4] = np.sqrt(np.maximum(m2[inner], 0.0))
    energy, along = _summed(final[:, 3], counts), _summed(final[:, 2], counts)
    first = np.flatnonzero(roles == _INCOMING).reshape(-1, 2)
    for k, sign in ((0, 1), (1, -1)):
        result[first[:, k], 3] = (energy + sign * along) / 2
        result[first[:, k], 2] = sign * result[first[:, k], 3]
    return result


class RecordWriter(ParticleWriter):
    """A `ParticleWriter` that knows of incoming and intermediate particles, too."""

    def __init__(self, content: Content, path: Path, numbers: Sequence[str], format: str) -> None:
        super().__init__(content, path, numbers, format, (INCOMING, INTERMEDIATE))
        self._header = content.schema.header or Header()
        self._told = self._unbalanced = False

    def record(self, columns: Mapping[str, Buffer]) -> Particles:
        """All particles; of those that have no momenta, with what the others make of it."""
        others = self.others
        own = self.particles(columns)
        if not others:
            here = np.repeat(np.diff(own.offsets), np.diff(own.offsets))
            for n in ("mother1", "mother2"):  # some may not be among these particles
                own.numbers[n] = np.where(own.numbers[n] > here, 0, own.numbers[n])
            return own
        parts = {COLLECTION: own} | {n: self.particles(columns, c) for n, c in others.items()}
        known = {n for n, c in others.items() if len(c.coordinates) == 4}
        size = len(own.offsets) - 1
        mothers = self._header.mothers
        told = "mother1" in self.collection.field_names
        if INTERMEDIATE in parts and not told:
            same = sum((np.diff(parts[n].offsets) for n in parts), np.zeros(size, np.int64))
            if not mothers or (same != len(mothers)).any():
                del parts[INTERMEDIATE]  # nothing tells what comes from them
                self._tell()
        names = [n for n in ROLES if n in parts]
        event = np.concatenate([np.repeat(np.arange(size), np.diff(parts[n].offsets)) for n in names])
        roles = np.concatenate([np.full(int(parts[n].offsets[-1]), ROLES[n]) for n in names])
        order = np.lexsort((np.arange(len(roles)), roles, event))
        numbers = {
            k: np.concatenate([parts[n].numbers[k] for n in names])[order] for k in (*INTEGERS, *FLOATS)
        }
        counts = np.bincount(event, minlength=size)
        roles = roles[order]
        numbers["status"] = np.where(roles == _INCOMING, -1, numbers["status"])
        if not told:
            pairs = self._mothers(counts, roles, whole=INTERMEDIATE in parts or INTERMEDIATE not in others)
            numbers["mother1"], numbers["mother2"] = pairs
        if not known and (np.bincount(event[order][roles == _INCOMING], minlength=size) == 2).all():
            table = np.stack([numbers[n].astype(np.float64) for n in MOMENTA], axis=1)
            final = np.where((roles == _FINAL)[:, None], table, 0.0)
            made = _made(final, counts, roles, numbers["mother1"])
            self._tell_of_balance(final, counts)
            numbers |= {n: np.where(roles == _FINAL, numbers[n], made[:, k]) for k, n in enumerate(MOMENTA)}
        return Particles(offsets_of(counts), numbers)

    def _mothers(
        self, counts: NDArray[np.int64], roles: NDArray[np.int64], *, whole: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Mothers as in all events that were learned; else all comes from the incoming particles."""
        known = np.array(self._header.mothers, np.int64).reshape(-1, 2)
        if whole and len(known) and (counts == len(known)).all():
            pairs = np.tile(known, (len(counts), 1))
            return pairs[:, 0], pairs[:, 1]
        from_beams = (roles == _FINAL).astype(np.int64)
        return from_beams, 2 * from_beams

    def _tell_of_balance(self, final: Numbers, counts: NDArray[np.int64]) -> None:
        """Says once that incoming particles cannot make up for what is left across the beam."""
        energy = _summed(final[:, 3], counts)
        left = np.hypot(_summed(final[:, 0], counts), _summed(final[:, 1], counts)) > _CLOSE * energy
        if left.any() and not self._unbalanced:
            self._unbalanced = True
            message = (
                f"transverse momenta do not sum to 0 in {left.sum():,} of the first {len(left):,} events; "
                "incoming particles move along the beam, so momentum is not conserved there"
            )
            warnings.warn(message, UserWarning, stacklevel=8)

    def _tell(self) -> None:
        if not self._told:
            self._told = True
            message = "intermediate particles are not in the file, for nothing tells what they decay into"
            warnings.warn(message, UserWarning, stacklevel=8)
