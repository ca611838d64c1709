"""Events with known distributions, for tests that run anywhere."""

from __future__ import annotations

import awkward as ak
import numpy as np
import vector

from hepgan.events import schema_of
from hepgan.events.buffers import ATTRIBUTE
from hepgan.generator.ensembles import MEMBER, with_member_field

vector.register_awkward()

MUON_MASS = 0.10566


def dimuons(n: int, seed: int = 0, *, weighted: bool = False) -> ak.Array:
    """Z -> mu mu with Poisson jets: Breit-Wigner mass, exponential pT, isotropic decay, |eta| free.

    Muons are pT-ordered above 10 GeV; jets above 20 GeV descend in pT; a third of isolations are 0.
    """
    rng = np.random.default_rng(seed)
    size = 4 * n
    mass = 91.19 + 1.25 * np.tan(np.pi * (rng.random(size) - 0.5) * 0.95)
    pt, y = rng.exponential(15.0, size), rng.normal(0.0, 1.2, size)
    phi = rng.uniform(-np.pi, np.pi, size)
    cos, angle = rng.uniform(-1, 1, size), rng.uniform(-np.pi, np.pi, size)
    p = np.sqrt(np.maximum(mass**2 / 4 - MUON_MASS**2, 0.0))
    sin = np.sqrt(1 - cos**2)
    x, perpendicular, z = p * sin * np.cos(angle), p * sin * np.sin(angle), p * cos
    energy = np.sqrt(p**2 + MUON_MASS**2)
    gamma, boost = np.sqrt(1 + (pt / mass) ** 2), pt / mass
    muons = []
    for sign in (1, -1):
        e, px = gamma * energy + boost * sign * x, gamma * sign * x + boost * energy
        pz = sign * z * np.cosh(y) + e * np.sinh(y)
        py = sign * perpendicular
        muons.append((np.hypot(px, py), np.arcsinh(pz / np.hypot(px, py)), np.arctan2(py, px) + phi))
    pts, etas, phis = (np.stack([m[k] for m in muons], axis=1) for k in range(3))
    good = np.flatnonzero((pts.min(axis=1) > 10.0) & (mass > 50))[:n]
    order = np.argsort(-pts[good], axis=1)
    pts, etas, phis = (np.take_along_axis(v[good], order, axis=1) for v in (pts, etas, phis))
    charge = np.where(rng.random(len(good)) < 0.5, 1, -1)
    isolation = np.where(rng.random(pts.shape) < 1 / 3, 0.0, rng.exponential(0.1, pts.shape))

    counts = np.minimum(rng.poisson(0.6, len(good)), 3)
    jets = ak.unflatten(20.0 + rng.exponential(25.0, counts.sum()), counts)
    jets = ak.sort(jets, ascending=False)
    total = int(counts.sum())
    events = {
        "Muon": ak.zip(
            {
                "pt": _jagged(pts),
                "eta": _jagged(etas),
                "phi": _jagged((phis + np.pi) % (2 * np.pi) - np.pi),
                "mass": _jagged(np.full_like(pts, MUON_MASS)),
                "charge": ak.from_regular(ak.Array(np.stack([charge, -charge], axis=1).astype(np.int32))),
                "iso": _jagged(isolation),
            },
            with_name="Momentum4D",
        ),
        "Jet": ak.zip(
            {
                "pt": ak.values_astype(jets, np.float32),
                "eta": ak.unflatten(rng.uniform(-4, 4, total).astype(np.float32), counts),
                "phi": ak.unflatten(rng.uniform(-3.14, 3.14, total).astype(np.float32), counts),
                "mass": ak.unflatten(rng.exponential(6.0, total).astype(np.float32) + 1, counts),
            },
            with_name="Momentum4D",
        ),
        "MET": ak.zip(
            {
                "pt": rng.exponential(20.0, len(good)).astype(np.float32),
                "phi": rng.uniform(-3.14, 3.14, len(good)).astype(np.float32),
            },
            with_name="Momentum2D",
        ),
        "npv": np.maximum(rng.poisson(20, len(good)), 1).astype(np.int32),
    }
    if weighted:
        events["genWeight"] = np.where(rng.random(len(good)) < 0.1, -1.0, 1.0).astype(np.float32)
    return ak.zip(events, depth_limit=1)


def _jagged(values: np.ndarray) -> ak.Array:
    return ak.from_regular(ak.Array(values.astype(np.float32)))


def by_members(events: ak.Array, member: np.ndarray) -> ak.Array:
    """The events as an ensemble gives them, which tell the member that made each."""
    made = ak.with_field(events, member.astype(np.int32), MEMBER)
    return ak.Array(made, attrs={**made.attrs, ATTRIBUTE: with_member_field(schema_of(events))})
