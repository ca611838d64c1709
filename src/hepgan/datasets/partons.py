"""Samples of partons and leptons: e+e- partons, Drell-Yan, WZ, deep inelastic scattering."""

from __future__ import annotations

from collections.abc import Iterator

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.datasets.pythia import HARD_ONLY, PP13, batches, events, final, objects

__all__ = ["dis", "drell_yan", "ee_partons", "wz"]


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


ENERGIES = (10.0, 20.0, 30.0, 40.0, 50.0)
Q2_MIN = 4.0
SETTINGS = (
    *HARD_ONLY,
    "Beams:frameType = 2",
    "Beams:idA = 2212",
    "Beams:idB = 11",
    "PDF:lepton = off",
    "WeakBosonExchange:ff2ff(t:gmZ) = on",
    f"PhaseSpace:Q2Min = {Q2_MIN}",
    f"PhaseSpace:mHatMin = {Q2_MIN**0.5}",
    "PhaseSpace:pTHatMinDiverge = 0.5",
)
"""Pythia's own mHatMin and pTHatMinDiverge would cut into low x and high y."""

BATCH = 2_000


def dis(seed: int, streams: tuple[int, ...], energies: tuple[float, ...] = ENERGIES) -> Iterator[ak.Array]:
    """The scattered electron at the vertex and in the detector; both beams have ``beam_energy``.

    The proton goes along +z. The energy is smeared by 2% (+) 10%/sqrt(E) and the direction by 1 mrad in
    each of two transverse directions. Every chunk has as many events of each energy, shuffled.
    """
    rng = np.random.default_rng(seed)
    sources = [
        batches((*SETTINGS, f"Beams:eA = {e}", f"Beams:eB = {e}"), stream, BATCH)
        for e, stream in zip(energies, streams, strict=True)
    ]
    for group in zip(*sources, strict=True):
        electrons = [final(b) for b in group]
        electrons = [e[e.id == 11][:, 0].p for e in electrons]
        truth = np.concatenate(
            [np.column_stack([ak.to_numpy(e[c]) for c in ("px", "py", "pz", "e")]) for e in electrons]
        )
        beam = np.repeat(np.array(energies, dtype=np.float32), [len(e) for e in electrons])
        order = rng.permutation(len(truth))
        yield events(
            Electron=_one(truth[order]),
            Detector=_one(_smeared(rng, truth)[order]),
            beam_energy=ak.Array(beam[order]),
        )


def _smeared(rng: np.random.Generator, p4: NDArray[np.float64]) -> NDArray[np.float64]:
    px, py, pz, energy = p4.T
    direction = p4[:, :3] / np.sqrt(px**2 + py**2 + pz**2)[:, None]
    sine = np.hypot(direction[:, 0], direction[:, 1])
    polar = np.stack(
        [direction[:, 0] * direction[:, 2] / sine, direction[:, 1] * direction[:, 2] / sine, -sine], axis=1
    )
    azimuthal = np.stack([-direction[:, 1] / sine, direction[:, 0] / sine, 0 * sine], axis=1)
    angle = rng.normal(0.0, 1e-3, (len(energy), 2))
    moved = direction + angle[:, :1] * polar + angle[:, 1:] * azimuthal
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    resolution = np.hypot(0.02, 0.10 / np.sqrt(energy))
    measured = energy * np.clip(rng.normal(1.0, resolution), 0.05, None)
    return np.column_stack([moved * measured[:, None], measured])


def _one(p4: NDArray[np.float64]) -> ak.Array:
    """One object in each event, still jagged."""
    columns = {n: ak.from_regular(ak.Array(p4[:, [k]])) for k, n in enumerate(("px", "py", "pz", "energy"))}
    return objects(**columns)
