"""Simulates a sample and writes it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import awkward as ak

from hepgan.arguments import checked
from hepgan.errors import HepganError, InputError
from hepgan.events import EventWriter, schema_of
from hepgan.files import claim

__all__ = ["DATASETS", "make_dataset", "require_pythia"]

PYTHIA_SEEDS = 900_000_000
"""The largest seed that Pythia takes; the smallest is 1, for 0 stands for the time of day."""


@dataclass(frozen=True)
class Dataset:
    """A sample that can be simulated.

    Attributes:
        module: The module of `hepgan.datasets` that simulates it.
        content: What its events are.
        streams: How many of Pythia's processes run side by side, each with a seed of its own.
        stride: By how much Pythia's seeds differ between two seeds of the sample, one after the other.
    """

    module: str
    content: str
    streams: int = 1
    stride: int = 1

    @property
    def max_seed(self) -> int:
        """The largest seed; the smallest is 1."""
        return (PYTHIA_SEEDS - self.streams) // self.stride if self.streams > 1 else PYTHIA_SEEDS

    def seeds(self, seed: int) -> tuple[int, ...]:
        """Pythia's seed for each stream; two seeds of the sample never have one in common."""
        if self.streams == 1:
            return (seed,)
        return tuple(self.stride * seed + k + 1 for k in range(self.streams))


DATASETS: dict[str, Dataset] = {
    "zmumu": Dataset("zmumu", "pp -> Z -> mu mu (+ jets) at 13 TeV, parametrised detector (DY-GAN's events)"),
    "ee_partons": Dataset("partons", "e+e- -> q qbar at 91.188 GeV, the 8 most energetic partons"),
    "drell_yan": Dataset("partons", "pp -> Z -> l+ l- at 13 TeV, parton level"),
    "wz": Dataset("partons", "pp -> W Z -> q qbar l+ l- at 13 TeV, parton level"),
    "dis": Dataset(
        "partons",
        "e p deep-inelastic scattering at beam energies of 10 ... 50 GeV, true and smeared",
        streams=5,
        stride=1000,
    ),
    "jet_images": Dataset(
        "jets",
        "trimmed anti-kT R = 1.0 jets of 250 < pT < 300 GeV: W (label 1) and QCD (0)",
        streams=2,
        stride=2,
    ),
}
"""The samples by name."""

WRITE = 50_000


@checked
def require_pythia() -> None:
    """Sees to it that the simulation can run.

    Raises:
        HepganError: If Pythia 8 or fastjet is not installed, with what to install.
    """
    for package in ("pythia8mc", "fastjet"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            msg = (
                f"simulating events needs {package}; install what hepgan's extra pythia brings with: "
                "pip install --only-binary=pythia8mc,fastjet pythia8mc fastjet"
            )
            raise HepganError(msg) from error


@checked
def make_dataset(
    name: str,
    events: int,
    output: str | Path,
    *,
    seed: int = 1,
    force: bool = False,
    on_progress: Callable[[int], None] | None = None,
) -> None:
    """Simulates events into a ROOT file (TTree ``Events``), with run, luminosityBlock and event.

    Args:
        name: One of ``DATASETS``.
        events: Number of events.
        output: The file.
        seed: Seed of Pythia and of the detector, from 1 to 900,000,000 (``dis`` 899,999, ``jet_images``
            449,999,999); the same seed gives the same events, and another one gives others.
        force: Whether an existing file may be replaced.
        on_progress: Called with the number of events made so far.

    Raises:
        InputError: If there is no such sample, or it does not take that seed.
        HepganError: If Pythia 8 or fastjet is not installed.
        OutputError: If the file exists (without force) or cannot be written.
    """
    if name not in DATASETS:
        msg = f"no sample {name!r}; there are {', '.join(DATASETS)}"
        raise InputError(msg)
    dataset = DATASETS[name]
    if not 1 <= seed <= dataset.max_seed:
        msg = f"{name} takes seeds from 1 to {dataset.max_seed:,}, not {seed:,}"
        raise InputError(msg)
    require_pythia()
    claim(Path(output), force=force)
    module = importlib.import_module(f"hepgan.datasets.{dataset.module}")
    chunks: Iterator[ak.Array] = getattr(module, name)(seed, dataset.seeds(seed))
    held = [next(chunks)]
    size, written = len(held[0]), 0
    with EventWriter(Path(output), schema_of(held[0]), force=force, identifiers=True) as writer:
        for chunk in chain([None], chunks):
            if chunk is not None:
                held.append(chunk)
                size += len(chunk)
            if on_progress is not None:
                on_progress(min(written + size, events))
            if size >= min(WRITE, events - written):
                part = ak.concatenate(held)[: events - written]
                writer.extend(part)
                written, held, size = written + len(part), [], 0
            if written == events:
                break
