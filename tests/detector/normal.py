"""Normal numbers that a detector smears: all of their unfolding is known."""

from __future__ import annotations

import awkward as ak
import numpy as np
import torch

from hepgan.events import EventBatch, EventSchema, Objects, schema_of

SIGMA = 0.6
"""The resolution."""


def simulated(n, mean=0.0, std=1.0, seed=0, *, efficiency=None):
    """Events with a number ``t``, and as objects ``Hit`` what is found of it, if anything is."""
    rng = np.random.default_rng(seed)
    t = rng.normal(mean, std, n)
    found = t + rng.normal(0.0, SIGMA, n)
    kept = np.ones(n, bool) if efficiency is None else rng.random(n) < efficiency(t)
    hits = ak.unflatten(ak.zip({"x": found[kept].astype(np.float32)}), kept.astype(int))
    return ak.zip({"t": t.astype(np.float32), "Hit": hits}, depth_limit=1)


SCHEMA: EventSchema = schema_of(simulated(50, efficiency=lambda t: 0 * t + 0.5)[["Hit"]])


def fold(batch, generator, efficiency=None):
    """What the detector finds of events, as tensors."""
    noise = torch.randn(len(batch), generator=generator, dtype=torch.float64)
    found = (batch.t.double() + SIGMA * noise).unsqueeze(1)
    mask = torch.ones(len(batch), 1, dtype=torch.bool)
    if efficiency is not None:
        chance = torch.as_tensor(efficiency(batch.t.detach().numpy()))
        mask = (torch.rand(len(batch), generator=generator, dtype=torch.float64) < chance).unsqueeze(1)
    return EventBatch(SCHEMA, {"Hit": Objects({"x": torch.where(mask, found, 0.0)}, mask)})


def after(iterations, mean, std, prior=(0.0, 1.0)):
    """Mean and standard deviation after so many iterations of an unfolding of normal data."""
    m, v = prior[0], prior[1] ** 2
    for _ in range(iterations):
        k = v / (v + SIGMA**2)
        m, v = m + k * (mean - m), v * (1 - k) + k**2 * (std**2 + SIGMA**2)
    return m, v**0.5
