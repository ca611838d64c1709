"""The features that a generator is trained on: those of the events, and of images of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from hepgan.events import EventBatch
from hepgan.features import FeatureBatch, Representation, mirrored, reflected

__all__ = ["of_each_member", "to_train_on"]


def to_train_on(
    representation: Representation, features: FeatureBatch, batch: EventBatch, generator: torch.Generator
) -> FeatureBatch:
    """Features with their images."""
    return mirrored(representation, _with_images(representation, features, batch), generator=generator)


def of_each_member(
    representations: Sequence[Representation],
    batch: EventBatch,
    rows: Sequence[Tensor],
    generator: torch.Generator,
) -> tuple[FeatureBatch, list[Tensor]]:
    """Features, with their images, of the events that each member of an ensemble learns from.

    Images are not drawn independently of their events, so each member has those of its own events.

    Args:
        representations: The members' own.
        batch: All training events.
        rows: The numbers of each member's events.
        generator: Decides which images there are.

    Returns:
        The features of all members, and the numbers of each one's among them.
    """
    parts = []
    for representation, own in zip(representations, rows, strict=True):
        events = batch[own]
        parts.append(to_train_on(representation, representation.encode(events), events, generator))
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
