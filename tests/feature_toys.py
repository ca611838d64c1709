"""Features and observables of toys, for tests of models and training."""

from __future__ import annotations

import pytest
import torch

from hepgan.features.space import FeatureBatch
from hepgan.observables import Flat


@pytest.fixture
def feature_batch():
    """Builds a FeatureBatch of float32 features with all else optional."""

    def build(x, *, mask=None, context=None, weight=None):
        n = len(x)
        return FeatureBatch(
            x=x.float(),
            mask=mask,
            discrete=torch.zeros(n, 0, dtype=torch.int64),
            condition=torch.zeros(n, 0),
            context=torch.zeros(n, 0) if context is None else context,
            weight=torch.ones(n) if weight is None else weight,
        )

    return build


class Column:
    """An observable of toy events, which are the features themselves: one column, in other units."""

    def __init__(self, column, mean=0.0, scale=1.0, missing=None):
        self.column, self.mean, self.scale, self.missing = column, mean, scale, missing

    def _all(self, events):
        return self.mean + self.scale * events.x[:, self.column].double()

    def _present(self, events):
        if self.missing is None:
            return torch.ones(len(events.x), dtype=torch.bool)
        return events.x[:, self.missing].detach() > 0

    def flat(self, events):
        present = self._present(events)
        return Flat(self._all(events)[present], present.nonzero().squeeze(1))

    def dense(self, batch):
        present = self._present(batch)
        values = torch.where(present, self._all(batch), 0.0)
        return values, None if self.missing is None else present


@pytest.fixture
def column():
    return Column
