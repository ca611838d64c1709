"""What files of event generators say of all their events: beams and cross sections."""

from __future__ import annotations

import math

from hepgan.config import Config

__all__ = ["Header", "Process"]


class Process(Config):
    """A process of a run.

    Attributes:
        id: Its number, which events have as theirs.
        cross_section: In pb.
        error: Of the cross section, in pb.
        largest: The largest weight of an event.
    """

    id: int = 1
    cross_section: float
    error: float = 0.0
    largest: float = 1.0


class Header(Config):
    """What is said of all events.

    Attributes:
        beams: PDG id and energy, in GeV, of each of the two beams; empty where that is not known.
        pdfs: Group and set of the PDFs of each beam, as LHAPDF numbers them.
        weighting: How LHE files say that events are weighted (IDWTUP).
        processes: The processes.
        mothers: First and last mother of each particle, 1 being the first, where they are the same in all
            events: of incoming particles, of intermediate ones, and of the others.
    """

    beams: tuple[tuple[int, float], ...] = ()
    pdfs: tuple[tuple[int, int], ...] = ()
    weighting: int | None = None
    processes: tuple[Process, ...] = ()
    mothers: tuple[tuple[int, int], ...] = ()

    @property
    def cross_section(self) -> float | None:
        """Of all processes, in pb; None where nothing is known."""
        return math.fsum(p.cross_section for p in self.processes) if self.processes else None

    @property
    def error(self) -> float:
        """Of the cross section, in pb."""
        return math.hypot(*(p.error for p in self.processes))

    def with_cross_section(self, value: float) -> Header:
        """The same with another cross section, in pb, that processes share as they did."""
        before = self.cross_section
        if not before:
            return self.model_copy(update={"processes": (Process(cross_section=value),)})
        scale = value / before
        scaled = tuple(
            p.model_copy(update={"cross_section": p.cross_section * scale, "error": p.error * scale})
            for p in self.processes
        )
        return self.model_copy(update={"processes": scaled})
