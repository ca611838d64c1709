"""Boosted W and QCD jets, trimmed, for jet images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import awkward as ak
import fastjet
import numpy as np

from hepgan.datasets.pythia import PP13, batches, events, momenta, objects, visible
from hepgan.observables.preparation import Preparation
from hepgan.vectors import wrap

__all__ = ["jet_images"]

W = (
    *PP13,
    "NewGaugeBoson:ffbar2Wprime = on",
    "34:m0 = 600.",
    "Wprime:coup2WZ = 1.",
    "34:onMode = off",
    "34:onIfAll = 23 24",
    "23:onMode = off",
    "23:onIfAny = 12 14 16",
    "24:onMode = off",
    "24:onIfAny = 1 2 3 4 5",
    "PartonLevel:MPI = off",
)
QCD = (
    *PP13,
    "HardQCD:all = on",
    "PhaseSpace:pTHatMin = 220.",
    "PhaseSpace:pTHatMax = 450.",
    "PartonLevel:MPI = off",
)
"""pTHat > 220 GeV is for speed; with 170 GeV the mean jet pT falls from 272.6 to 271.9 GeV."""

IMAGE = "grid(aligned(Constituent, deta, dphi), phi=dphi, eta=deta, bins=25, low=-1.25, high=1.25)"
"""Centred on the leading subjet, the second below, more pT on the right; then pixelated."""

BATCH = 1_000
PT, MASS, Y_MAX, TRIM = (250.0, 300.0), (60.0, 100.0), 2.0, 0.05
ETA_PARTICLE, PT_PARTICLE = 4.0, 0.1
ANTIKT10 = fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)
KT03 = fastjet.JetDefinition(fastjet.kt_algorithm, 0.3)
KT10 = fastjet.JetDefinition(fastjet.kt_algorithm, 1.0)


def jet_images(seed: int, streams: tuple[int, ...]) -> Iterator[ak.Array]:
    """As many W jets (label 1) as QCD jets (label 0), shuffled.

    Anti-kT R = 1.0 jets from visible particles with |eta| < 4 and pT > 0.1 GeV, taken massless; trimmed
    (kT subjets of R = 0.3 below 5% of the jet's pT are dropped); |y| < 2, trimmed pT in 250 ... 300 GeV,
    trimmed mass in 60 ... 100 GeV. W: the leading jet, within 0.5 of the W from W' -> W Z(nu nu); QCD:
    leading or subleading jet. Constituents are pT-ordered, with deta = y - y_jet and dphi = phi - phi_jet.
    ``Image`` is of the aligned constituents (see `IMAGE`), its first index along phi.
    """
    rng = np.random.default_rng(seed)
    sources = {label: _jets(settings, streams[label], label) for label, settings in ((1, W), (0, QCD))}
    held: dict[int, list[ak.Array]] = {0: [], 1: []}
    while True:
        for label, source in sources.items():
            held[label].append(next(source))
        size = min(sum(map(len, jets)) for jets in held.values())
        whole = {label: ak.concatenate(jets) for label, jets in held.items()}
        both = ak.concatenate([jets[:size] for jets in whole.values()])
        held = {label: [jets[size:]] for label, jets in whole.items()}
        yield both[rng.permutation(2 * size)]


def _jets(settings: tuple[str, ...], seed: int, label: int) -> Iterator[ak.Array]:
    for batch in batches(settings, seed, BATCH):
        jets = _trimmed(batch, label)
        if jets is not None:
            yield jets


def _trimmed(batch: Any, label: int) -> ak.Array | None:
    seen = visible(batch)
    massless = np.sqrt(seen.p.px**2 + seen.p.py**2 + seen.p.pz**2)
    particles = momenta(seen.p.px, seen.p.py, seen.p.pz, massless)
    # Without a lower pT, photons of 1e-14 GeV from Pythia's W bosons would give the class away.
    particles = particles[(abs(particles.eta) < ETA_PARTICLE) & (particles.pt > PT_PARTICLE)]

    cluster = fastjet.ClusterSequence(particles, ANTIKT10)
    jets, inside = _momenta(cluster.inclusive_jets(min_pt=PT[0])), cluster.constituents(min_pt=PT[0])
    order = ak.argsort(jets.pt, ascending=False)[:, : 1 if label else 2]
    jets, inside = jets[order], _momenta(inside[order])
    good = abs(jets.rapidity) < Y_MAX
    if label:
        boson = batch.prt[abs(batch.prt.id) == 24][:, -1].p
        boson = momenta(boson.px, boson.py, boson.pz, boson.e)
        distance2 = (jets.rapidity - boson.rapidity) ** 2 + wrap(jets.phi - boson.phi) ** 2
        good = good & (distance2 < 0.5**2)
    event = ak.broadcast_arrays(np.arange(len(jets)), jets.px)[0]
    event, jets, inside = (ak.flatten(x[good]) for x in (event, jets, inside))
    if len(jets) == 0:
        return None

    cluster = fastjet.ClusterSequence(ak.to_packed(inside), KT03)
    subjets, parts = _momenta(cluster.inclusive_jets(min_pt=0)), _momenta(cluster.constituents(min_pt=0))
    parts = ak.flatten(parts[subjets.pt >= TRIM * jets.pt], axis=2)
    trimmed = momenta(*(ak.sum(parts[c], axis=-1) for c in ("px", "py", "pz", "E")))

    keep = (trimmed.pt > PT[0]) & (trimmed.pt < PT[1]) & (trimmed.mass > MASS[0]) & (trimmed.mass < MASS[1])
    keep = ak.to_numpy(keep & (abs(trimmed.rapidity) < Y_MAX))
    _, first = np.unique(ak.to_numpy(event)[keep], return_index=True)
    chosen = np.flatnonzero(keep)[first]
    if len(chosen) == 0:
        return None
    jets, trimmed, parts = jets[chosen], trimmed[chosen], ak.to_packed(parts[chosen])
    parts = parts[ak.argsort(parts.pt, ascending=False)]
    tau = _subjettiness(parts)
    found = events(
        Constituent=objects(
            pt=parts.pt, deta=parts.rapidity - trimmed.rapidity, dphi=wrap(parts.phi - trimmed.phi)
        ),
        jet=objects(
            pt=trimmed.pt,
            rapidity=trimmed.rapidity,
            phi=trimmed.phi,
            mass=trimmed.mass,
            pt_ungroomed=jets.pt,
            mass_ungroomed=jets.mass,
            tau1=ak.Array(tau[:, 0]),
            tau21=ak.Array(tau[:, 1] / tau[:, 0]),
            tau32=ak.Array(np.where(tau[:, 1] > 0, tau[:, 2] / np.maximum(tau[:, 1], 1e-12), 0)),
        ),
        label=ak.Array(np.full(len(parts), label, dtype=np.int32)),
    )
    return Preparation({"Image": IMAGE})(found)


def _subjettiness(parts: Any) -> Any:
    """(N, 3) tau1, tau2, tau3."""
    cluster = fastjet.ClusterSequence(ak.to_packed(parts), KT10)
    tau = cluster.njettiness(
        njets=[1, 2, 3],
        axes_definition="OnePass_KT_Axes",
        measure_definition="NormalizedMeasure",
        beta=1.0,
        R0=1.0,
    )
    return np.asarray(tau).reshape(len(parts), 3)


def _momenta(x: Any) -> Any:
    return momenta(x.px, x.py, x.pz, x.E)
