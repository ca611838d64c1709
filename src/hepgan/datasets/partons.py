"""Parton-level samples: e+e- partons, Drell-Yan, WZ."""

from __future__ import annotations

from collections.abc import Iterator

import awkward as ak
import numpy as np

from hepgan.datasets.pythia import HARD_ONLY, PP13, batches, events, final, objects

__all__ = ["drell_yan", "ee_partons", "wz"]

EE = (
    "Beams:idA = 11",
    "Beams:idB = -11",
    "Beams:eCM = 91.188",
    "PDF:lepton = off",
    "WeakSingleBoson:ffbar2gmZ = on",
    "23:onMode = off",
    "23:onIfAny = 1 2 3 4 5",
    "TimeShower:QEDshowerByQ = off",
    "TimeShower:QEDshowerByL = off",
    "TimeShower:QEDshowerByGamma = off",
    "TimeShower:QEDshowerByOther = off",
    "TimeShower:weakShower = off",
    "HadronLevel:all = off",
)
"""``PDF:lepton = off`` switches initial-state QED radiation off."""

DRELL_YAN = (
    *PP13,
    *HARD_ONLY,
    "WeakSingleBoson:ffbar2gmZ = on",
    "PhaseSpace:mHatMin = 50.",
    "23:onMode = off",
    "23:onIfAny = 11 13",
)
WZ = (
    *PP13,
    *HARD_ONLY,
    "WeakDoubleBoson:ffbar2ZW = on",
    "23:onMode = off",
    "23:onIfAny = 11 13",
    "24:onMode = off",
    "24:onIfAny = 1 2 3 4 5",
)
MAX_PARTONS = 8


def ee_partons(seed: int, streams: tuple[int, ...]) -> Iterator[ak.Array]:
    """The (up to) 8 most energetic partons after the shower, most energetic first."""
    for batch in batches(EE, streams[0], 10_000):
        p = final(batch)
        p = p[ak.argsort(p.p.e, ascending=False)][:, :MAX_PARTONS]
        yield events(Parton=objects(px=p.p.px, py=p.p.py, pz=p.p.pz, energy=p.p.e, mass=p.m, pdgId=p.id))


def drell_yan(seed: int, streams: tuple[int, ...]) -> Iterator[ak.Array]:
    """l+ and l-; their transverse momenta are antisymmetrised, so that the sums are exactly zero."""
    for batch in batches(DRELL_YAN, streams[0], 20_000):
        p = final(batch)
        p = p[(abs(p.id) == 11) | (abs(p.id) == 13)]
        p = p[ak.argsort(p.id)]
        yield events(
            Lepton=objects(px=_balanced(p.p.px), py=_balanced(p.p.py), pz=p.p.pz, energy=p.p.e, pdgId=p.id)
        )


def wz(seed: int, streams: tuple[int, ...]) -> Iterator[ak.Array]:
    """l+, l-, q, qbar, with Pythia's quark masses (u, d 0.33; s 0.5; c 1.5; b 4.8 GeV)."""
    for batch in batches(WZ, streams[0], 20_000):
        p = final(batch)
        rank = ak.where(abs(p.id) > 10, ak.where(p.id < 0, 0, 1), ak.where(p.id > 0, 2, 3))
        p = p[ak.argsort(rank)]
        yield events(Particle=objects(px=p.p.px, py=p.p.py, pz=p.p.pz, energy=p.p.e, mass=p.m, pdgId=p.id))


def _balanced(component: ak.Array) -> ak.Array:
    pair = ak.to_numpy(component)
    half = 0.5 * (pair[:, 0] - pair[:, 1])
    return ak.from_regular(ak.Array(np.stack([half, -half], axis=1)))
