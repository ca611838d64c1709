"""Training events with weights of either sign: what can be learned of them, and what has no distribution."""

from __future__ import annotations

import warnings
from dataclasses import replace

import torch
from torch import Tensor

from hepgan.features import FeatureBatch, Representation
from hepgan.stats.cells import positive_weights
from hepgan.stats.weights import negative_density

__all__ = ["with_positive_weights"]

_LISTED = 3


def with_positive_weights(representation: Representation, features: FeatureBatch) -> FeatureBatch:
    """Training events whose weights are made positive among neighbours; as they are if none is negative.

    What learns by a loss could lower it without end where it tells a few events of negative weight from all
    others, and its events would be anywhere.

    Args:
        representation: What the features are of.
        features: The training events.

    Warns:
        UserWarning: Where the density of a number is negative.
    """
    weight = features.weight
    if not bool((weight < 0).any()) or not float(weight.sum()) > 0:
        return features
    _tell(representation, features)
    # Events that differ in what is discrete are apart, and those that have other features, too.
    points = torch.cat([features.x.to(torch.float32), features.context.to(torch.float32)], 1)
    return replace(features, weight=positive_weights(points, weight))


def _tell(representation: Representation, features: FeatureBatch) -> None:
    """Tells in which columns there are intervals whose weights sum to less than nothing."""
    columns, weight = representation.columns(features.x.to(torch.float64)).cpu(), features.weight.cpu()
    found = []
    cells = set(representation.cells)
    for number, name in enumerate(representation.names):
        if number in cells:
            # Of thousands, some look as if by chance.
            continue
        there = slice(None) if features.mask is None else features.mask[:, number].cpu()
        worst = negative_density(columns[there, number].numpy(), weight[there].numpy())
        if worst is not None:
            where = f"{name} from {worst.low:.4g} to {worst.high:.4g}"
            found.append((worst.significance, f"{where} ({worst.significance:.1f} standard deviations)"))
    if found:
        listed = [text for _, text in sorted(found, reverse=True)[:_LISTED]]
        more = f" and in {len(found) - _LISTED} others" if len(found) > _LISTED else ""
        message = (
            f"the weights sum to less than nothing in {', '.join(listed)}{more}: there is no distribution of "
            "such a density, and none is generated there; leave the number out (events.select), as sWeights "
            f"ask for that they were made from ({_negative(features.weight):.1%} of the weights are negative)"
        )
        warnings.warn(message, UserWarning, stacklevel=2)


def _negative(weight: Tensor) -> float:
    return float((weight < 0).to(torch.float64).mean())
