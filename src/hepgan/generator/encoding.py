"""The training events as the features that a model is trained on, one portion after another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hepgan.events import EventBatch
from hepgan.features import FeatureBatch, Representation, edges, mirrored, reflected
from hepgan.generator.ensembles import bootstrap
from hepgan.generator.signed import with_positive_weights
from hepgan.training import Portions

__all__ = ["Encoding"]


class Encoding:
    """Makes features of portions of the training events, each of which is a random part of all.

    Args:
        representation: Fitted to the first portion.
        own: Of an ensemble the representation of each member.
        shared: Whether the ensemble begins as one model.
        folder: Where portions are to be kept; None for memory.

    Attributes:
        data: What the model learns from.
        common: What the model learns from that an ensemble begins as; None if it does not.
        left_out: How many events have been left out, since they are not like any of the first portion.
    """

    def __init__(
        self,
        representation: Representation,
        own: Sequence[Representation] = (),
        *,
        shared: bool = False,
        folder: Path | None = None,
    ) -> None:
        self.representation, self.own = representation, own
        self.data = Portions(folder, "portion")
        self.common = Portions(folder, "common") if shared else None
        self.left_out = 0
        self._edges: dict[Representation, list[int]] = {}
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        """A digest of all numbers of the events so far."""
        return self._digest.hexdigest()

    def add_portion(self, batch: EventBatch, seed: int) -> None:
        """Encodes a later portion, without the events that are not like any of the first.

        Args:
            batch: The events.
            seed: Rules the bootstrap samples, and which images there are.

        Raises:
            InputError: If an event breaks a bound or a rule of the recipe, or a condition is not usable.
            OutputError: If the portion cannot be written.
        """
        self.representation.restrictions.check(batch)
        features, known = self.representation.encode_known(batch)
        if not bool(known.all()):
            self.left_out += int((~known).sum())
            batch, features = batch[known], features[known]
        if len(batch):
            rows = bootstrap(len(batch), len(self.own), _rng(seed)) if self.own else ()
            self.add(features, batch, rows, seed)

    def add(self, features: FeatureBatch, batch: EventBatch, rows: Sequence[Tensor], seed: int) -> None:
        """Takes a portion whose features are known.

        Args:
            features: The events as features.
            batch: The events.
            rows: The numbers of each member's events.
            seed: Rules which images there are.

        Raises:
            OutputError: If the portion cannot be written.
        """
        for tensor in (features.x, features.discrete, features.condition, features.weight):
            self._digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        if not self.own or self.common is not None:
            smooth = self._to_train_on(self.representation, features, batch, _rng(seed))
            (self.data if self.common is None else self.common).add(smooth)
        if self.own:
            self.data.add(*self._of_each_member(batch, rows, _rng(seed)))

    def _to_train_on(
        self,
        representation: Representation,
        features: FeatureBatch,
        batch: EventBatch,
        generator: torch.Generator,
    ) -> FeatureBatch:
        """Features with their images, of positive weights."""
        features = with_positive_weights(representation, features)
        features = _with_images(representation, features, batch)
        if representation not in self._edges:
            # Those of the first portion, since all are to have the same.
            self._edges[representation] = edges(representation, features)
        along = self._edges[representation]
        return mirrored(representation, features, generator=generator, columns=along)

    def _of_each_member(
        self, batch: EventBatch, rows: Sequence[Tensor], generator: torch.Generator
    ) -> tuple[FeatureBatch, list[Tensor]]:
        """Features, with their images, of the events that each member of an ensemble learns from.

        Images are not drawn independently of their events, so each member has those of its own events.

        Args:
            batch: All events of the portion.
            rows: The numbers of each member's events.
            generator: Decides which images there are.

        Returns:
            The features of all members, and the numbers of each one's among them.
        """
        parts = []
        for representation, own in zip(self.own, rows, strict=True):
            events = batch[own]
            parts.append(self._to_train_on(representation, representation.encode(events), events, generator))
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


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
