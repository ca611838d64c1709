"""Jets at two levels, with a response, efficiencies and fakes that are known."""

from __future__ import annotations

import awkward as ak
import numpy as np
import vector

vector.register_awkward()

SMEARING, ANGLE = 0.1, 0.02
EFFICIENCY = {0: 0.9, 1: 0.6}
FAKES = 0.5


def jet_pairs(n: int, seed: int = 0, *, flat: bool = False, weighted: bool = False) -> ak.Array:
    """Up to three jets above 20 GeV (exponential, or flat to 80), and what a detector makes of them.

    The momentum is off by 10%, eta and phi by 0.02, at every azimuth; 90% of the jets of flavour 0 and 60%
    of those of flavour 1 are found, which the detector tells right in 95%; half an event has a fake of 15 to
    25 GeV. Jets of both levels descend in pt.
    """
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n)
    m = int(counts.sum())
    true = {
        "pt": rng.uniform(20, 80, m) if flat else 20 + rng.exponential(20, m),
        "eta": rng.uniform(-2, 2, m),
        "phi": rng.uniform(-np.pi, np.pi, m),
        "mass": rng.uniform(1, 5, m),
        "flavour": rng.integers(0, 2, m),
        "time": rng.normal(0, 1, m),
    }
    found = rng.random(m) < np.where(true["flavour"] == 1, EFFICIENCY[1], EFFICIENCY[0])
    measured = {
        "pt": true["pt"] * np.exp(SMEARING * rng.normal(size=m)),
        "eta": true["eta"] + ANGLE * rng.normal(size=m),
        "phi": true["phi"] + ANGLE * rng.normal(size=m),
        "mass": true["mass"] * rng.uniform(0.9, 1.1, m),
        "flavour": np.where(rng.random(m) < 0.05, 1 - true["flavour"], true["flavour"]),
        "time": true["time"] + 0.1 * rng.normal(size=m),
    }
    fakes = (rng.random(n) < FAKES).astype(int)
    k = int(fakes.sum())
    fake = {
        "pt": rng.uniform(15, 25, k),
        "eta": rng.uniform(-4, 4, k),
        "phi": rng.uniform(-np.pi, np.pi, k),
        "mass": rng.uniform(1, 2, k),
        "flavour": np.zeros(k),
        "time": rng.normal(0, 3, k),
    }
    seen = ak.concatenate([_jets(measured, counts)[ak.unflatten(found, counts)], _jets(fake, fakes)], axis=1)
    events = {"GenJet": _ordered(_jets(true, counts)), "Jet": _ordered(seen)}
    events["rho"] = rng.uniform(0, 30, n).astype(np.float32)
    if weighted:
        events["genWeight"] = np.where(rng.random(n) < 0.2, -1.0, 2.0).astype(np.float32)
    return ak.zip(events, depth_limit=1)


def _jets(fields, counts):
    fields = fields | {"phi": (fields["phi"] + np.pi) % (2 * np.pi) - np.pi}
    kinds = {n: np.int32 if n == "flavour" else np.float32 for n in fields}
    return ak.unflatten(ak.zip({n: v.astype(kinds[n]) for n, v in fields.items()}), counts)


def _ordered(jets):
    jets = jets[ak.argsort(jets.pt, axis=1, ascending=False)]
    return ak.zip({n: jets[n] for n in jets.fields}, with_name="Momentum4D")
