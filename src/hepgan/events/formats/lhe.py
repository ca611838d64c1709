"""LHE files: the events of matrix-element generators (hep-ph/0609017)."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from hepgan.errors import InputError
from hepgan.events.buffers import Buffer, Jagged, Numbers, sliced
from hepgan.events.formats.particles import (
    COLLECTION,
    FLOATS,
    INCOMING,
    INTEGERS,
    INTERMEDIATE,
    branches_of,
    variation,
)
from hepgan.events.formats.record import ROLES, Record, RecordWriter, offsets_of
from hepgan.events.formats.source import Content, Sink, Source, brief
from hepgan.events.header import Header, Process
from hepgan.events.schema import Branch

_INSTALL = 'LHE files are read with pylhe: pip install "hepgan[lhe]"'
_NUMBERS = {"weight": "weight", "scale": "scale", "aqed": "aqed", "aqcd": "aqcd", "process": "pid"}
"""Numbers of the event, and how pylhe calls them."""

_KEPT = 200_000
"""Events whose numbers are kept, for they are often read again."""

_LOOK = 1_000
"""Events in which momenta and mothers are looked at."""

_PARTICLE = attrgetter(
    *("id", "status", "mother1", "mother2", "color1", "color2"),
    *("px", "py", "pz", "e", "m", "lifetime", "spin"),
)
_SCALARS = attrgetter(*_NUMBERS.values())


class LHESource(Source):
    """An LHE file, gzipped or not, whose events are read one after another.

    Particles of the final state are ``Particle``, those of the initial state ``Incoming``, and all others
    ``Intermediate``. Momenta of the last two follow from the first, and are no numbers of theirs, unless they
    are not conserved. Mothers are counted from 1 through Incoming, Intermediate and Particle; 0 is none.
    Weights with names are ``variation_NAME``.

    Raises:
        InputError: If it is not whole, or no LHE file.
    """

    def __init__(self, path: str) -> None:
        try:
            import pylhe
        except ImportError as error:
            raise InputError(_INSTALL, file=path) from error
        self._pylhe = pylhe
        self.label, self.tree = path, "Events"
        self.entries = _count(path)
        self._file: Any = None
        self._events: Iterator[Any] = iter(())
        self._at = -1
        self._known: tuple[int, int, dict[str, Buffer]] = (0, 0, {})
        try:
            init = self._open().init
            first = next(self._events, None)
            self._at = -1  # begins anew
        except Exception as error:
            raise InputError(f"not a whole LHE file ({brief(error)})", file=path) from error  # noqa: EM102
        self.header = _header(init)
        self._weights = list(first.weights) if first is not None else []
        look = _record(self._next(0, min(self.entries, _LOOK)))
        conserved = look.conserved()
        self.header = self.header.model_copy(update={"mothers": look.mothers_of_all()})
        self._collections = {
            COLLECTION: branches_of([n for n in INTEGERS if n != "status"], FLOATS),
            INCOMING: branches_of(("id", "color1", "color2"), _floats(conserved), INCOMING),
            INTERMEDIATE: branches_of(INTEGERS, _floats(conserved), INTERMEDIATE),
        }
        if not look.some(INTERMEDIATE):
            del self._collections[INTERMEDIATE]
        self.branches = {b.name: b for c in self._collections.values() for b in c.values()}
        numbers = dict.fromkeys(_NUMBERS, "float64") | {"process": "int32"}
        numbers |= dict.fromkeys(map(variation, self._weights), "float64")
        self.branches |= {n: Branch(n, t) for n, t in numbers.items()}

    def _open(self) -> Any:
        self.close()
        self._file = opened(self.label)
        found = self._pylhe.LHEFile.frombuffer(self._file, generator=True)
        self._events, self._at = iter(found.events), 0
        return found

    def read(self, names: Iterable[str], start: int, stop: int) -> dict[str, Buffer]:
        """The columns of some branches."""
        first, last, columns = self._known
        if not (columns and first <= start and stop <= last):
            columns = self._columns(self._next(start, stop))
            first = start
            if stop - start <= _KEPT:
                self._known = start, stop, columns
        wanted = {n: columns[n] for n in dict.fromkeys(names)}
        return sliced(wanted, start - first, stop - first)

    def _next(self, start: int, stop: int) -> list[Any]:
        try:
            if not 0 <= self._at <= start:
                self._open()
            for _ in islice(self._events, start - self._at):
                pass
            found = list(islice(self._events, stop - start))
        except Exception as error:
            message = f"damaged or truncated ({brief(error)})"
            raise InputError(message, file=self.label) from error
        if len(found) < stop - start:
            message = f"damaged or truncated: {start + len(found)} of {self.entries} events can be read"
            raise InputError(message, file=self.label)
        self._at = stop
        return found

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _columns(self, events: Sequence[Any]) -> dict[str, Buffer]:
        record = _record(events)
        columns: dict[str, Buffer] = {}
        for name, branches in self._collections.items():
            offsets, numbers = record.part(name)
            for n, b in branches.items():
                columns[b.name] = Jagged(offsets, numbers[n].astype(b.dtype))
        told = np.array([_SCALARS(e.eventinfo) for e in events], dtype=np.float64)
        scalars = told.reshape(-1, len(_NUMBERS)).T
        for name, values in zip(_NUMBERS, scalars, strict=True):
            columns[name] = values.astype(self.branches[name].dtype)
        for name in self._weights:
            columns[variation(name)] = np.array([e.weights.get(name, np.nan) for e in events], np.float64)
        return columns


def _floats(conserved: bool) -> tuple[str, ...]:
    return ("lifetime", "spin") if conserved else FLOATS


def _record(events: Sequence[Any]) -> Record:
    counts = np.array([len(e.particles) for e in events], np.int64)
    rows = [_PARTICLE(p) for e in events for p in e.particles]
    table = np.array(rows, dtype=np.float64).reshape(-1, len(INTEGERS) + len(FLOATS))
    status = table[:, INTEGERS.index("status")]
    final, incoming = ROLES[COLLECTION], ROLES[INCOMING]
    roles = np.where(status == 1, final, np.where(status == -1, incoming, ROLES[INTERMEDIATE]))
    event, starts = np.repeat(np.arange(len(counts)), counts), np.repeat(offsets_of(counts)[:-1], counts)
    order = np.lexsort((np.arange(len(roles)), roles, event))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    numbers = dict(zip((*INTEGERS, *FLOATS), table.T, strict=True))
    for name in ("mother1", "mother2"):
        old = numbers[name].astype(np.int64)
        there = (old > 0) & (old <= np.repeat(counts, counts))
        moved = place[np.where(there, starts + old - 1, 0)] - starts + 1 if len(place) else old
        numbers[name] = np.where(there, moved, 0)
    return Record(counts, roles[order], {n: v[order] for n, v in numbers.items()})


def opened(path: str) -> Any:
    """The bytes of a file, gzipped or not."""
    return gzip.open(path, "rb") if path.lower().endswith(".gz") else Path(path).open("rb")


def _count(path: str) -> int:
    """The number of events.

    Raises:
        InputError: If the file is empty, or ends too early.
    """
    number, rest = 0, b""
    try:
        with opened(path) as file:
            while piece := file.read(1 << 22):
                text = rest + piece
                # Of what might be a part of a word, the end is kept.
                rest = text[-32:]
                number += len(re.findall(rb"</event>", text)) - len(re.findall(rb"</event>", rest))
    except (OSError, EOFError) as error:
        raise InputError(f"damaged or truncated ({brief(error)})", file=path) from error  # noqa: EM102
    number += len(re.findall(rb"</event>", rest))
    if not rest:
        message = "the file is empty (0 bytes)"
        raise InputError(message, file=path)
    if b"</LesHouchesEvents>" not in rest:
        message = f"truncated, or no LHE file: it does not end in </LesHouchesEvents> ({number} events)"
        raise InputError(message, file=path)
    return number


def _header(init: Any) -> Header:
    info = init.initInfo
    return Header(
        beams=((info.beamA, info.energyA), (info.beamB, info.energyB)),
        pdfs=((info.PDFgroupA, info.PDFsetA), (info.PDFgroupB, info.PDFsetB)),
        weighting=info.weightingStrategy,
        processes=tuple(
            Process(id=p.procId, cross_section=p.xSection, error=p.error, largest=p.unitWeight)
            for p in init.procInfo
        ),
    )


class LHESink(Sink):
    """An LHE file of version 3.0, gzipped where its name says so.

    Where all events weigh alike, but for their signs, it says so (IDWTUP = -3, so that the cross section of
    the init block counts); else it says what the events' own file said, or that weights average to the cross
    section (-4). Where none is known, 1 pb stands for it, and a comment tells.
    """

    def __init__(self, path: Path, content: Content, level: int) -> None:
        self._writer = RecordWriter(content, path, tuple(_NUMBERS), "LHE")
        self._header = content.schema.header or Header()
        self._title = content.title
        packed = path.suffix.lower() == ".gz"
        self._raw = path.open("wb")
        # Without the time, for the same events make the same file.
        self._file: Any = (
            gzip.GzipFile(fileobj=self._raw, mode="wb", compresslevel=min(level, 9), filename="", mtime=0)
            if packed
            else self._raw
        )
        self._begun = False

    def write(self, columns: Mapping[str, Buffer]) -> None:
        """Writes some events."""
        writer = self._writer
        offsets, p = writer.record(columns)
        weight = writer.number("weight", columns, 1.0)
        process = writer.number("process", columns, self._process()).astype(np.int64)
        if not self._begun:
            self._begin(np.asarray(weight), process)
        numbers = [p[n] for n in (*INTEGERS, *FLOATS)]
        formats = ["%d"] * len(INTEGERS) + [_format(v) for v in numbers[len(INTEGERS) :]]
        line = " ".join(formats) + "\n"
        lines = [line % row for row in zip(*(v.tolist() for v in numbers), strict=True)]
        scalars = [weight, *(writer.number(n, columns, -1.0) for n in ("scale", "aqed", "aqcd"))]
        head = "<event>\n%d %d " + " ".join(map(_format, scalars)) + "\n"
        counts = np.diff(offsets)
        of_events = [counts, process, *scalars]
        heads = [head % row for row in zip(*(v.tolist() for v in of_events), strict=True)]
        ends = self._ends(columns, len(counts))
        text = [heads[i] + "".join(lines[offsets[i] : offsets[i + 1]]) + ends[i] for i in range(len(counts))]
        self._file.write("".join(text).encode())

    def _process(self) -> int:
        processes = self._header.processes
        return processes[0].id if processes else 1

    def _ends(self, columns: Mapping[str, Buffer], size: int) -> list[str]:
        """What follows the particles: weights by their names."""
        names = self._writer.variations
        if not names:
            return ["</event>\n"] * size
        values = [np.asarray(columns[b]) for b in names.values()]
        lines = "".join(
            f"<wgt id={quoteattr(n).replace('%', '%%')}>{_format(v)}</wgt>\n"
            for n, v in zip(names, values, strict=True)
        )
        end = f"<rwgt>\n{lines}</rwgt>\n</event>\n"
        return [end % row for row in zip(*(v.tolist() for v in values), strict=True)]

    def _begin(self, weight: Numbers, process: Numbers) -> None:
        self._begun = True
        h = self._header
        alike = not weight.size or bool((np.abs(weight) == np.abs(weight[0])).all())
        told = "" if h.processes else "<!-- No cross section is known: 1 pb stands for it. -->\n"
        processes = h.processes or tuple(
            Process(id=int(n), cross_section=1.0) for n in (np.unique(process) if process.size else (1,))
        )
        beams, pdfs = h.beams or ((0, 0.0), (0, 0.0)), h.pdfs or ((0, 0), (0, 0))
        weighting = -3 if alike else (h.weighting or -4)
        listed = [f"<weight id={quoteattr(n)}>{escape(n)}</weight>" for n in self._writer.variations]
        group = ["<initrwgt>", "<weightgroup name='weights'>", *listed, "</weightgroup>", "</initrwgt>"]
        weights = "\n".join(group) + "\n" if listed else ""
        title = f"<!-- {self._title.replace('--', '- -')} -->\n" if self._title else ""
        lines = [
            f"{beams[0][0]} {beams[1][0]} {beams[0][1]!r} {beams[1][1]!r} {pdfs[0][0]} {pdfs[1][0]} "
            f"{pdfs[0][1]} {pdfs[1][1]} {weighting} {len(processes)}",
            *(f"{p.cross_section!r} {p.error!r} {p.largest!r} {p.id}" for p in processes),
        ]
        text = (
            f'<LesHouchesEvents version="3.0">\n{title}<header>\n{told}{weights}</header>\n'
            "<init>\n" + "\n".join(lines) + "\n</init>\n"
        )
        self._file.write(text.encode())

    def close(self) -> None:
        """Completes the file."""
        with suppress(ValueError):  # where it is closed already
            if not self._begun:
                self._begin(np.ones(0), np.ones(0, np.int64))
            self._file.write(b"</LesHouchesEvents>\n")
        self._file.close()
        self._raw.close()


def _format(values: Numbers) -> str:
    """How to write numbers so that they are the same when they are read."""
    return "%.8e" if values.dtype == np.float32 else "%.16e"
