"""Z -> mu mu with jets, missing momentum, isolation and pile-up, as an analysis sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import awkward as ak
import fastjet
import numpy as np
import vector
from numpy.typing import NDArray

from hepgan.datasets.pythia import PP13, batches, events, momenta, objects, visible
from hepgan.vectors import wrap

__all__ = ["zmumu"]

SETTINGS = (
    *PP13,
    "WeakSingleBoson:ffbar2gmZ = on",
    "PhaseSpace:mHatMin = 50.",
    "23:onMode = off",
    "23:onIfAny = 13",
    "PartonLevel:MPI = off",
)
BATCH = 2_000
ETA_MAX, MUON_PT, JET_PT, MAX_JETS, CLUSTER_PT = 5.0, 10.0, 15.0, 5, 5.0
MUON_MASS = 0.10566
PILEUP = {"isoCh": (0.01, 0.3), "isoPh": (0.05, 0.8), "isoNh": (0.03, 0.8)}
"""Rate for each vertex and scale (GeV at 20 vertices) of what pile-up adds to the isolation."""
ISO_MIN = {"isoCh": 0.2, "isoPh": 0.5, "isoNh": 0.5}
"""Smallest pT (GeV) of a particle in the isolation sum."""
JETS = fastjet.JetDefinition(fastjet.antikt_algorithm, 0.4)


def zmumu(seed: int, streams: tuple[int, ...]) -> Iterator[ak.Array]:
    """Events with two muons of pT > 10 GeV and |eta| < 5, pT-ordered.

    Muons are smeared by sigma(pT)/pT = 0.01 + 1e-4 pT, sigma(eta) = sigma(phi) = 5e-4. Jets are anti-kT
    with R = 0.4 from visible particles with |eta| < 5 without the muons, their four-momentum scaled by
    N(1, 0.05 (+) 0.8/sqrt(pT)); the 5 leading ones above 15 GeV are kept. The number of vertices is
    Poisson(20), at least 1. Missing momentum is what balances all that is visible, plus
    N(0, sqrt(3^2 + 2.5^2 n)) GeV in each component. Isolation is the sum of pT in a cone of 0.3 over the
    muon's pT, for charged particles, photons and neutral hadrons, pile-up included.
    """
    rng = np.random.default_rng(seed)
    for batch in batches(SETTINGS, streams[0], BATCH):
        yield _reconstructed(batch, rng)


def _reconstructed(batch: Any, rng: np.random.Generator) -> ak.Array:
    index = _prompt_muons(batch)
    two = ak.num(index) == 2
    batch, index = batch[two], index[two]
    muon = batch.prt[index]
    true = vector.array({k: ak.to_numpy(muon.p[k]) for k in ("px", "py", "pz")})
    pt = true.pt * np.clip(rng.normal(1.0, 0.01 + 1e-4 * true.pt), 0.2, None)
    eta = true.eta + rng.normal(0.0, 5e-4, true.eta.shape)
    phi = wrap(true.phi + rng.normal(0.0, 5e-4, true.phi.shape))
    vertices = np.maximum(rng.poisson(20, len(pt)), 1)

    batch = ak.with_field(batch, ak.local_index(batch.prt.id), ("prt", "index"))
    seen = visible(batch)
    seen = seen[(seen.index != index[:, 0]) & (seen.index != index[:, 1])]
    rest = momenta(seen.p.px, seen.p.py, seen.p.pz, seen.p.e)
    inside = abs(rest.eta) < ETA_MAX
    rest, seen = rest[inside], seen[inside]

    isolation = _isolation(rest, seen, true, pt, vertices, rng)
    jets, smeared = _jets(rest, rng)
    missing = _missing(rest, jets, smeared, pt, phi, vertices, rng)

    jets = smeared[(smeared.pt > JET_PT) & (abs(smeared.eta) < ETA_MAX)]
    jets = jets[ak.argsort(jets.pt, ascending=False)][:, :MAX_JETS]
    mass2 = jets.mass2

    charge = np.where(ak.to_numpy(muon.id) > 0, -1, 1)
    columns = {"pt": pt, "eta": eta, "phi": phi, "mass": np.full_like(pt, MUON_MASS), "charge": charge}
    columns |= isolation
    order = np.argsort(-pt, axis=1)
    columns = {k: np.take_along_axis(v, order, axis=1) for k, v in columns.items()}
    keep = (columns["pt"].min(axis=1) > MUON_PT) & (np.abs(columns["eta"]).max(axis=1) < ETA_MAX)
    return events(
        Muon=objects(**{k: ak.from_regular(ak.Array(v[keep])) for k, v in columns.items()}),
        Jet=objects(pt=jets.pt, eta=jets.eta, phi=jets.phi, mass=np.sqrt(ak.where(mass2 > 0, mass2, 0)))[
            keep
        ],
        MET=objects(
            pt=ak.Array(np.hypot(*missing.T)[keep]),
            phi=ak.Array(np.arctan2(missing[:, 1], missing[:, 0])[keep]),
        ),
        PV=objects(npvs=ak.Array(vertices[keep])),
    )


def _prompt_muons(batch: Any) -> Any:
    """Indices of final muons whose chain of copies starts at the gamma*/Z."""
    particles = batch.prt
    index = ak.local_index(particles.id)[(abs(particles.id) == 13) & (particles.status > 0)]
    code, top = particles.id[index], index
    while True:
        mother = particles.mother1[top]
        same = particles.id[mother] == code
        if not ak.any(same):
            return index[particles.id[mother] == 23]
        top = ak.where(same, mother, top)


def _isolation(
    rest: Any,
    seen: Any,
    muon: Any,
    pt: NDArray[np.float64],
    vertices: NDArray[np.int64],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.float64]]:
    charged, photon = seen.charge3 != 0, seen.id == 22
    kinds = {"isoCh": charged, "isoPh": photon, "isoNh": ~charged & ~photon}
    rest_pt, rest_eta, rest_phi = rest.pt, rest.eta, rest.phi
    sums = {k: np.zeros_like(pt) for k in kinds}
    for m in range(2):
        near = (rest_eta - muon.eta[:, m]) ** 2 + wrap(rest_phi - muon.phi[:, m]) ** 2 < 0.3**2
        for name, kind in kinds.items():
            chosen = rest_pt[near & kind & (rest_pt > ISO_MIN[name])]
            sums[name][:, m] = ak.to_numpy(ak.sum(chosen, axis=1))
    for name, (rate, scale) in PILEUP.items():
        hit = rng.random(pt.shape) < 1 - np.exp(-rate * vertices)[:, None]
        added = hit * rng.exponential(1.0, pt.shape) * scale * vertices[:, None] / 20
        sums[name] = (sums[name] + added) / pt
    return sums


def _jets(rest: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    jets = fastjet.ClusterSequence(rest, JETS).inclusive_jets(min_pt=CLUSTER_PT)
    jets = momenta(jets.px, jets.py, jets.pz, jets.E)
    scale = 1 + _like(jets.px, rng.standard_normal) * np.hypot(0.05, 0.8 / np.sqrt(jets.pt))
    scale = ak.where(scale < 0.05, 0.05, scale)
    return jets, momenta(jets.px * scale, jets.py * scale, jets.pz * scale, jets.E * scale)


def _missing(
    rest: Any,
    jets: Any,
    smeared: Any,
    pt: NDArray[np.float64],
    phi: NDArray[np.float64],
    vertices: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """(N, 2) missing momentum, x and y."""
    noise = rng.normal(size=(len(vertices), 2)) * np.sqrt(3.0**2 + 2.5**2 * vertices)[:, None]
    sums = []
    for component, function in (("px", np.cos), ("py", np.sin)):
        others = ak.sum(rest[component], axis=1) + ak.sum(smeared[component] - jets[component], axis=1)
        sums.append(ak.to_numpy(others) + (pt * function(phi)).sum(axis=1))
    missing: NDArray[np.float64] = noise - np.stack(sums, axis=1)
    return missing


def _like(jagged: Any, draw: Callable[[int], Any]) -> Any:
    counts = ak.num(jagged)
    return ak.unflatten(draw(int(ak.sum(counts))), counts)
