"""HepMC files: the events of parton showers, in HepMC3's own text format; that of HepMC2 is read, too."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from hepgan.errors import InputError, OutputError
from hepgan.events.buffers import Buffer, Jagged, sliced
from hepgan.events.formats.lhe import opened
from hepgan.events.formats.particles import MOMENTA, branches_of, variation
from hepgan.events.formats.record import RecordWriter
from hepgan.events.formats.source import Content, Sink, Source, brief
from hepgan.events.header import Header, Process
from hepgan.events.schema import Branch

_INSTALL = 'HepMC files are read and written with pyhepmc: pip install "hepgan[hepmc]"'
_KEPT = 200_000
"""Events whose numbers are kept, for they are often read again."""

_BEAM, _FINAL, _INCOMING = 4, 1, 21
"""Status of beam particles, of those that nothing happens to any more, and of those of a hard process."""


class HepMCSource(Source):
    """A HepMC file, gzipped or not, whose events are read one after another; momenta are in GeV.

    Args:
        path: The file.
        tree: ``final`` for the particles of the final state, or ``all`` for all of them with their mothers (1
            is the first particle, 0 none); ``final`` if None.

    Raises:
        InputError: If it is not whole, or no HepMC file.
    """

    def __init__(self, path: str, tree: str | None) -> None:
        try:
            import pyhepmc
        except ImportError as error:
            raise InputError(_INSTALL, file=path) from error
        self._pyhepmc = pyhepmc
        if tree not in (None, "final", "all"):
            message = f"no particles {tree!r}; there are final (status 1) and all"
            raise InputError(message, file=path)
        self.tree = tree or "final"
        self._path, self.label = path, path if tree is None else f"{path}:{tree}"
        self.entries, section = _count(path)
        self._events: Iterator[Any] = iter(())
        self._at = -1
        self._known: tuple[int, int, dict[str, Buffer]] = (0, 0, {})
        first = self._next(0, 1)[0] if self.entries else None
        self._names = _weight_names(first)
        self.header = Header(beams=_beams(first), processes=() if section is None else (section,))
        mothers = ("mother1", "mother2") if self.tree == "all" else ()
        self.branches = {b.name: b for b in branches_of(("id", "status", *mothers), MOMENTA).values()}
        scalars = ["weight", *map(variation, self._names[1:])]
        self.branches |= {n: Branch(n, "float64") for n in scalars}

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        first, last, columns = self._known
        if not (columns and first <= start and stop <= last):
            columns = self._columns(self._next(start, stop, self._taken))
            first = start
            if stop - start <= _KEPT:
                self._known = start, stop, columns
        wanted = {n: columns[n] for n in dict.fromkeys(names)}
        return sliced(wanted, start - first, stop - first)

    def _next(self, start: int, stop: int, taken: Any = lambda event: event) -> list[Any]:
        try:
            if not 0 <= self._at <= start:
                self.close()
                self._file = self._pyhepmc.open(self._path)
                self._events, self._at = iter(self._file), 0
            for _ in islice(self._events, start - self._at):
                pass
            found = [taken(event) for event in islice(self._events, stop - start)]
        except Exception as error:
            message = f"damaged or truncated ({brief(error)})"
            raise InputError(message, file=self.label) from error
        if len(found) < stop - start:
            message = f"damaged or truncated: {start + len(found)} of {self.entries} events can be read"
            raise InputError(message, file=self.label)
        self._at = stop
        return found

    def _taken(self, event: Any) -> tuple[list[Any], list[float]]:
        """The numbers of an event's particles, and its weights."""
        event.set_units(self._pyhepmc.Units.GEV, self._pyhepmc.Units.MM)
        p = event.numpy.particles
        columns = [p.pid, p.status]
        if self.tree == "all":
            columns += _mothers(event)
        columns += [p.px, p.py, p.pz, p.e, p.generated_mass]
        kept = p.status == _FINAL if self.tree == "final" else slice(None)
        return [np.array(c[kept]) for c in columns], list(event.weights) or [1.0]

    def _columns(self, events: Sequence[tuple[list[Any], list[float]]]) -> dict[str, Buffer]:
        counts = [len(numbers[0]) for numbers, _ in events]
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)
        particles = [b for b in self.branches.values() if b.jagged]
        columns: dict[str, Buffer] = {}
        for i, b in enumerate(particles):
            content = np.concatenate([numbers[i] for numbers, _ in events] or [np.zeros(0)])
            columns[b.name] = Jagged(offsets, content.astype(b.dtype))
        scalars = [b.name for b in self.branches.values() if not b.jagged]
        for k, name in enumerate(scalars):
            columns[name] = np.array([w[k] if k < len(w) else np.nan for _, w in events], np.float64)
        return columns

    def close(self) -> None:
        """Closes the file."""
        if self._at >= 0:
            self._file.close()


def _count(path: str) -> tuple[int, Process | None]:
    """The number of events, and the cross section that the last of them tells.

    Raises:
        InputError: If the file is empty, or ends too early.
    """
    number, section, last = 0, None, b""
    try:
        with opened(path) as file:
            for line in file:
                if line.startswith(b"E "):
                    number += 1
                elif b"GenCrossSection" in line or line.startswith(b"C "):
                    section = line
                last = line
    except (OSError, EOFError) as error:
        raise InputError(f"damaged or truncated ({brief(error)})", file=path) from error  # noqa: EM102
    if not last:
        message = "the file is empty (0 bytes)"
        raise InputError(message, file=path)
    if b"END_EVENT_LISTING" not in last and last.strip():
        message = f"truncated, or no HepMC file: it does not end in END_EVENT_LISTING ({number} events)"
        raise InputError(message, file=path)
    words = [] if section is None else re.sub(rb"^A 0 GenCrossSection|^C", b"", section).split()
    if len(words) < 2:
        return number, None
    return number, Process(cross_section=float(words[0]), error=max(float(words[1]), 0.0))


def _beams(event: Any) -> tuple[tuple[int, float], ...]:
    beams = [] if event is None else [p for p in event.particles if p.status == _BEAM]
    return tuple((p.pid, p.momentum.e) for p in beams) if len(beams) == 2 else ()


def _weight_names(event: Any) -> list[str]:
    if event is None:
        return []
    try:
        names = list(event.weight_names)
    except RuntimeError:  # where they have none
        names = []
    return [n or str(i) for i, n in enumerate(names)] or [str(i) for i in range(len(event.weights))]


def _mothers(event: Any) -> list[Any]:
    """The first and the last mother of each particle."""
    parents = [[m.id for m in p.parents] if p.production_vertex else [] for p in event.particles]
    return [np.array([f(ids, default=0) for ids in parents]) for f in (min, max)]


class HepMCSink(Sink):
    """A HepMC3 file, gzipped where its name says so.

    Where particles have mothers, these make the vertices; else one vertex makes all particles of the beams.
    """

    def __init__(self, path: Path, content: Content, level: int) -> None:
        try:
            import pyhepmc
        except ImportError as error:
            raise OutputError(_INSTALL, file=path) from error
        self._pyhepmc = pyhepmc
        self._writer = RecordWriter(content, path, (), "HepMC")
        self._header = content.schema.header or Header()
        self._raw: Any = path.open("wb")
        self._packed: Any = self._raw
        if path.suffix.lower() == ".gz":
            self._packed = gzip.GzipFile(
                fileobj=self._raw, mode="wb", compresslevel=min(level, 9), filename="", mtime=0
            )
        self._file = pyhepmc.open(self._packed, "w", precision=16)
        self._run = pyhepmc.GenRunInfo()
        self._run.weight_names = ["weight", *self._writer.variations]
        self._done = 0

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes some events."""
        offsets, p = self._writer.record(columns)
        named = [np.asarray(columns[b]) for b in self._writer.variations.values()]
        weights = np.stack([self._writer.number("weight", columns, 1.0), *named], axis=1).astype(np.float64)
        momenta = [p[n].astype(np.float64) for n in MOMENTA]
        ids = p["id"].astype(np.int32)
        status = np.where(p["status"] == -1, _INCOMING, p["status"]).astype(np.int32)
        mothers = np.stack([p["mother1"], p["mother2"]], axis=1).astype(np.int32)
        for i in range(len(weights)):
            part = slice(offsets[i], offsets[i + 1])
            self._write_event(
                [v[part] for v in momenta], ids[part], status[part], mothers[part], weights[i].tolist()
            )

    def _write_event(
        self, momenta: list[Any], ids: Any, status: Any, mothers: Any, weights: list[float]
    ) -> None:
        h = self._pyhepmc
        event = h.GenEvent(h.Units.GEV, h.Units.MM)
        event.run_info = self._run
        if not mothers.any():
            momenta, ids, status, mothers = self._with_beams(momenta, ids, status)
        event.from_hepevt(self._done, *momenta, ids, status, parents=mothers, fortran=True)
        event.event_number = self._done
        event.weights = weights
        section = self._header.cross_section
        if section is not None:
            known = h.GenCrossSection()
            event.cross_section = known
            known.set_cross_section(section, self._header.error)
        self._file.write(event)
        self._done += 1

    def _with_beams(self, momenta: list[Any], ids: Any, status: Any) -> tuple[list[Any], Any, Any, Any]:
        """The particles, and before them two beams that they come from."""
        pz, energy = momenta[2], momenta[3]
        known = self._header.beams
        if known:
            (first, one), (second, two) = known
            e = np.array([one, two])
        else:
            first = second = 0
            total, along = float(energy.sum()), float(pz.sum())
            e = np.array([total + along, total - along]) / 2
        zero = np.zeros(2)
        beams = [zero, zero, e * [1, -1], e, zero]
        mothers = np.concatenate([np.zeros((2, 2)), np.tile([1, 2], (len(ids), 1))]).astype(np.int32)
        return (
            [np.concatenate([b, v]) for b, v in zip(beams, momenta, strict=True)],
            np.concatenate([[first, second], ids]).astype(np.int32),
            np.concatenate([[_BEAM, _BEAM], status]).astype(np.int32),
            mothers,
        )

    def close(self) -> None:
        """Completes the file."""
        self._file.close()
        self._packed.close()
        self._raw.close()
