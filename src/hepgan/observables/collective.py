"""Functions of all objects of an event together: event shapes and energy flow polynomials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.observables import shapes
from hepgan.observables.arithmetic import where_exists
from hepgan.observables.polynomials import GRAPHS, polynomial
from hepgan.observables.values import Mismatch, Value, per_object

__all__ = ["COLLECTIVE", "distances"]


def _momenta(value: Value, use: str) -> Tensor:
    """(N, M, 3), 0 where there is no object."""
    momentum = per_object(value, use).momentum
    try:
        parts = [getattr(momentum, n) for n in ("px", "py", "pz")]
    except AttributeError:
        msg = f"{use} needs momenta in three dimensions"
        raise Mismatch(msg) from None
    return torch.stack([where_exists(p, value.mask, 0.0) for p in parts], dim=-1)


def _shape(name: str, compute: Callable[[Tensor], Tensor]) -> Callable[..., Value]:
    """A function of momenta that events with none at all lack."""

    def function(value: Value, _: str) -> Value:
        momenta = _momenta(value, name)
        exists = (momenta != 0).any(-1).any(1)
        return Value(where_exists(compute(momenta), exists, 0.0), exists)

    return function


def _eigenvalues(momenta: Tensor, *, linear: bool = False) -> Tensor:
    """(N, 3) in ascending order, which sum to 1."""
    found: Tensor = torch.linalg.eigvalsh(shapes.momentum_tensor(momenta, linear=linear))
    return found.clamp(min=0.0)


def _sphericity(momenta: Tensor) -> Tensor:
    return 1.5 * _eigenvalues(momenta)[:, :2].sum(1)


def _aplanarity(momenta: Tensor) -> Tensor:
    return 1.5 * _eigenvalues(momenta)[:, 0]


def _c_parameter(momenta: Tensor) -> Tensor:
    tensor = shapes.momentum_tensor(momenta, linear=True)
    return (1.5 * (1 - tensor.square().sum((1, 2)))).clamp(min=0.0)


def _d_parameter(momenta: Tensor) -> Tensor:
    return 27.0 * _eigenvalues(momenta, linear=True).prod(1)


def _polynomial(hadronic: bool) -> Callable[..., Value]:
    name = "efp" if hadronic else "efp_ee"

    def function(value: Value, number: Value, *others: Any) -> Value:
        *given, _ = others
        exponent = given[0] if given else Value(1.0)
        if not (isinstance(number.data, int) and 0 <= number.data < len(GRAPHS)):
            msg = f"{name} needs the number of a graph, from 0 to {len(GRAPHS) - 1}"
            raise Mismatch(msg)
        if not (exponent.is_constant and exponent.data > 0):
            msg = f"the exponent of {name} is a positive number"
            raise Mismatch(msg)
        momentum = per_object(value, name).momentum
        mask = value.exists()
        try:
            energy = momentum.pt if hadronic else momentum.energy
            squared = distances(momentum, mask) if hadronic else _products(momentum, mask)
        except AttributeError:
            msg = f"{name} needs momenta in four dimensions"
            raise Mismatch(msg) from None
        energy = where_exists(energy, mask, 0.0)
        total = energy.sum(1)
        exists = mask.any(1) & (total > 0)
        z = energy / where_exists(total, exists, 1.0).unsqueeze(1)
        data = polynomial(number.data, z, _power(squared, float(exponent.data) / 2))
        return Value(where_exists(data, exists, 0.0), exists)

    return function


def distances(momentum: Any, mask: Tensor) -> Tensor:
    """Squared distances (N, M, M) in rapidity and azimuth; empty places are where the mask is False."""
    y, phi = (where_exists(c, mask, 0.0) for c in (momentum.rapidity, momentum.phi))
    turn = vectors.wrap(phi.unsqueeze(2) - phi.unsqueeze(1))
    return (y.unsqueeze(2) - y.unsqueeze(1)).square() + turn.square()


def _products(momentum: Any, mask: Tensor) -> Tensor:
    """2 p_i.p_j / (E_i E_j), a sum of terms that are not negative, so that small ones keep their digits."""
    energy = where_exists(momentum.energy, mask, 1.0)
    energy = torch.where(energy > 0, energy, torch.ones_like(energy))
    velocity = torch.stack([where_exists(getattr(momentum, n), mask, 0.0) for n in ("px", "py", "pz")], -1)
    velocity = velocity / energy.unsqueeze(-1)
    mass = where_exists(momentum.mass2, mask, 0.0).clamp(min=0.0) / energy.square()
    apart = (velocity.unsqueeze(2) - velocity.unsqueeze(1)).square().sum(-1)
    return apart + mass.unsqueeze(2) + mass.unsqueeze(1)


def _power(squared: Tensor, exponent: float) -> Tensor:
    """A power of what is not negative, with a gradient of 0 at 0."""
    if exponent == 1.0:
        return squared
    positive = squared > 0
    return torch.where(positive, torch.where(positive, squared, 1.0) ** exponent, 0.0)


COLLECTIVE: dict[str, Callable[..., Value]] = {
    "thrust": _shape("thrust", shapes.thrust),
    "sphericity": _shape("sphericity", _sphericity),
    "aplanarity": _shape("aplanarity", _aplanarity),
    "c_parameter": _shape("c_parameter", _c_parameter),
    "d_parameter": _shape("d_parameter", _d_parameter),
    "efp": _polynomial(hadronic=True),
    "efp_ee": _polynomial(hadronic=False),
}
"""Functions of the language, by name; each takes the text of its call last."""
