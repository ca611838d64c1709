"""The features that a generator is trained on: those of the events, and of images of these."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hepgan.events import EventBatch
from hepgan.features import FeatureBatch, Representation, mirrored, reflected

__all__ = ["to_train_on"]


def to_train_on(
    representation: Representation,
    features: FeatureBatch,
    batch: EventBatch,
    rows: list[Tensor] | None,
    generator: torch.Generator,
) -> tuple[FeatureBatch, list[Tensor] | None]:
    """Features with their images, and which of them the members of an ensemble learn from.

    Images are not drawn independently of their events, so each member has those of its own events.
    """
    if rows is None:
        whole = _with_images(representation, features, batch)
        return mirrored(representation, whole, generator=generator), None
    if not (representation.config.reflections or representation.config.bounds):
        return features, rows
    parts = [
        mirrored(
            representation,
            _with_images(representation, features[own], batch[own]),
            generator=generator,
        )
        for own in rows
    ]
    ends = np.cumsum([0, *map(len, parts)]).tolist()
    return FeatureBatch.concatenate(parts), [torch.arange(a, b) for a, b in pairwise(ends)]


def _with_images(representation: Representation, features: FeatureBatch, batch: EventBatch) -> FeatureBatch:
    """The features of events and of their images, but for images that could not be generated."""
    axes = representation.config.reflections
    if not axes:
        return features
    found, possible = representation.encode_possible(reflected(batch, axes)[len(batch) :])
    weight = features.weight.repeat(len(found) // len(batch))
    return FeatureBatch.concatenate([features, replace(found, weight=weight)[possible]])
