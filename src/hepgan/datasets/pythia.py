"""What the simulations share: Pythia's set-up and awkward forms of its events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import awkward as ak
import numpy as np
import pythia8mc
import vector

__all__ = ["HARD_ONLY", "PP13", "batches", "events", "final", "momenta", "objects", "visible"]

vector.register_awkward()

PP13 = ("Beams:idA = 2212", "Beams:idB = 2212", "Beams:eCM = 13000.")

HARD_ONLY = (
    "PartonLevel:ISR = off",
    "PartonLevel:FSR = off",
    "PartonLevel:MPI = off",
    "PartonLevel:Remnants = off",
    "HadronLevel:all = off",
    "Check:event = off",
)
"""The hard process alone. (``PartonLevel:all = off`` would leave the record empty; the check of
conservation is off since the record then has no remnants.)"""

NEUTRINOS = (12, 14, 16)


def batches(settings: Sequence[str], seed: int, size: int) -> Iterator[Any]:
    """Pythia's events, ``size`` at a time, without end.

    Args:
        settings: Pythia's settings, ``Key = value``.
        seed: Pythia's seed.
        size: Events in a batch; it enters the order in which random numbers are drawn.

    Raises:
        ValueError: If Pythia rejects a setting.
        RuntimeError: If Pythia cannot start.
    """
    pythia = pythia8mc.Pythia("", False)
    for line in ("Print:quiet = on", "Random:setSeed = on", f"Random:seed = {seed}", *settings):
        if not pythia.readString(line):
            msg = f"Pythia rejects the setting {line!r}"
            raise ValueError(msg)
    if not pythia.init():
        msg = "Pythia failed to initialise"
        raise RuntimeError(msg)
    while True:
        batch = pythia.nextBatch(size)
        batch = ak.with_field(batch, charge_type(pythia, batch.prt.id), ("prt", "charge3"))
        yield batch


def charge_type(pythia: Any, codes: Any) -> Any:
    """Three times the charge of particle codes."""
    flat = ak.to_numpy(ak.flatten(codes))
    known, inverse = np.unique(flat, return_inverse=True)
    table = np.array([pythia.particleData.chargeType(int(c)) for c in known])
    return ak.unflatten(table[inverse], ak.num(codes))


def final(batch: Any) -> Any:
    """Particles of the final state."""
    return batch.prt[batch.prt.status > 0]


def visible(batch: Any) -> Any:
    """Particles of the final state without neutrinos."""
    particles = final(batch)
    code = abs(particles.id)
    keep = code != NEUTRINOS[0]
    for neutrino in NEUTRINOS[1:]:
        keep = keep & (code != neutrino)
    return particles[keep]


def momenta(px: Any, py: Any, pz: Any, energy: Any) -> Any:
    """Four-momenta in the form that fastjet's awkward interface takes."""
    return ak.zip({"px": px, "py": py, "pz": pz, "E": energy}, with_name="Momentum4D")


def objects(**fields: Any) -> Any:
    """A collection: floating-point columns become float32, others int32."""
    columns = {}
    for name, values in fields.items():
        kind = ak.to_numpy(ak.flatten(values[:1], axis=None)).dtype.kind
        columns[name] = ak.values_astype(values, np.float32 if kind == "f" else np.int32)
    return ak.zip(columns)


def events(**parts: Any) -> ak.Array:
    """Events of collections and scalars."""
    return ak.zip(parts, depth_limit=1)
