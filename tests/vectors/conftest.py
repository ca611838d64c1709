from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import vector

from hepgan import vectors

AZIMUTHAL = (("px", "py"), ("pt", "phi"))
LONGITUDINAL = ("pz", "theta", "eta")
TEMPORAL = ("E", "mass")
SYSTEMS = [(*az, lo, te) for az, lo, te in itertools.product(AZIMUTHAL, LONGITUDINAL, TEMPORAL)]
GENERIC = {"px": "x", "py": "y", "pt": "rho", "pz": "z", "E": "t", "mass": "tau"}

# rows of (px, py, pz, E): every kind of degenerate vector
EDGES = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [0.0, 0.0, 0.0, 5.0],
        [0.0, 0.0, 3.0, 3.0],
        [0.0, 0.0, -3.0, 5.0],
        [0.0, 0.0, 4.0, 2.0],
        [3.0, 4.0, 0.0, 5.0],
        [3.0, 4.0, 0.0, 1.0],
        [1.0, 0.0, 0.0, 0.0],
        [-2.0, 0.0, 1.0, -6.0],
        [0.0, 7.0, -1.0, 9.0],
    ]
)


def as_numpy(cartesian: np.ndarray, names: tuple[str, ...], momentum: bool = True):
    """Rows (px, py, pz, E) as a vector of the numpy backend in the system ``names``."""
    with np.errstate(all="ignore"):
        full = vector.array(dict(zip(("px", "py", "pz", "E"), cartesian.T, strict=True)))
        values = {name: np.asarray(getattr(full, name)) for name in names}
    if not momentum:
        values = {GENERIC.get(name, name): value for name, value in values.items()}
    return vector.array(values)


def as_torch(reference):
    return vectors.from_numpy(reference)


def regular(n: int, seed: int) -> np.ndarray:
    """Timelike four-momenta (px, py, pz, E) away from all singular points."""
    rng = np.random.default_rng(seed)
    p = rng.normal(0.0, 20.0, (n, 3))
    mass = rng.uniform(0.5, 40.0, n)
    return np.column_stack([p, np.sqrt((p**2).sum(1) + mass**2)])


def agree(got, expected, rtol=1e-9, atol=1e-9):
    """Same values, with the same nan and infinities, for tensors and vectors."""
    if isinstance(expected, vector.VectorNumpy):
        names = ["px", "py", "pz", "E"][: len(got.elements)]
        if not isinstance(expected, vector._methods.Momentum):
            names = [GENERIC[name] for name in names]
        for name in names:
            with np.errstate(all="ignore"):
                agree(getattr(got, name), np.asarray(getattr(expected, name)), rtol, atol)
        return
    assert isinstance(got, torch.Tensor)
    value, expected = np.broadcast_arrays(got.detach().numpy(), np.asarray(expected))
    np.testing.assert_allclose(value, expected, rtol=rtol, atol=atol, equal_nan=True)


def has_rapidity(reference) -> np.ndarray:
    """Where E - |pz| is more than rounding, or clearly negative; vector has no other rapidities."""
    with np.errstate(all="ignore"):
        energy, along = np.abs(reference.energy), np.abs(reference.pz)
        return np.asarray(np.abs(energy - along) > 1e-10 * (energy + reference.p))


def share(functions: dict, system: tuple[str, ...], systems: int) -> list[str]:
    """Names of functions to try in a system: each of them comes in so many of the twelve systems."""
    place = SYSTEMS.index(system)
    return [n for i, n in enumerate(functions) if (place - i) % 12 in range(0, 12, 12 // systems)]


@pytest.fixture(params=SYSTEMS, ids="-".join)
def system(request) -> tuple[str, ...]:
    return request.param
