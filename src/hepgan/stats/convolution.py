"""Convolutional classifiers of arrays of one shape: images, layers of a calorimeter, waveforms."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from hepgan.networks.drawing import Dropout, Linear, drawing_from
from hepgan.runtime import cores, threads
from hepgan.stats.metrics import Metric, Once
from hepgan.stats.two_sample import MIN_EVENTS, weighted_auc

skip_init: Any = nn.utils.skip_init

__all__ = ["ConvolutionTest", "Grids", "convolution_test", "learn_classes"]

Floats = NDArray[np.float64]

CHANNELS, HIDDEN, LEAK, LEFT_OUT = 16, 64, 0.1, 0.2
"""Channels of the first layer (twice as many in others), hidden units, slope of the activations, dropout."""

BATCH, RATE, DECAY = 128, 2e-3, 1e-3

EPOCHS, STEPS = 8, (200, 1500)
"""Passes over the events, within these numbers of steps."""

CELLS = 1_000_000
"""Steps times cells of an event, at most: what bounds the time of large arrays."""

FEWEST_STEPS = 50

PART = 2_000
"""Events that a network scores at a time."""


class Grids(NamedTuple):
    """What a convolutional classifier sees of N events.

    Attributes:
        contents: Arrays (N, ...) of one to any number of indices, by name.
        columns: Numbers (N, K) that it sees besides, such as classes that are given.
        weights: Event weights (N,).
    """

    contents: Mapping[str, NDArray[np.float32]]
    columns: Floats
    weights: Floats

    def take(self, rows: Any) -> Grids:
        """Some of the events."""
        contents = {name: x[rows] for name, x in self.contents.items()}
        return Grids(contents, self.columns[rows], self.weights[rows])

    @classmethod
    def together(cls, parts: Sequence[Grids]) -> Grids:
        """The events of several, one after another."""
        contents = {name: np.concatenate([p.contents[name] for p in parts]) for name in parts[0].contents}
        columns, weights = (np.concatenate([getattr(p, n) for p in parts]) for n in ("columns", "weights"))
        return cls(contents, columns, weights)


class _Tower(nn.Module):
    """Three convolutions of an array with one or two indices, and what sums of its cells tell.

    Args:
        shape: Channels and one or two sizes.
        scales: The size of usual cells, and of large ones.
    """

    places: Tensor

    def __init__(self, shape: tuple[int, ...], scales: tuple[float, float]) -> None:
        super().__init__()
        channels, *sizes = shape
        self.scales, dims = scales, len(sizes)
        lines = [torch.linspace(-1, 1, n) if n > 1 else torch.zeros(1) for n in sizes]
        self.register_buffer("places", torch.stack(torch.meshgrid(*lines, indexing="ij")))
        layer: Any = nn.Conv1d if dims == 1 else nn.Conv2d
        widths = (3 * channels + dims, CHANNELS, 2 * CHANNELS, 2 * CHANNELS)
        self.layers = nn.ModuleList(
            skip_init(layer, a, b, kernel, stride=2, padding=kernel // 2)
            for a, b, kernel in zip(widths[:-1], widths[1:], (5, 3, 3), strict=True)
        )
        self.size = widths[-1] * math.prod(math.ceil(n / 8) for n in sizes) + channels * (2 + dims)

    def forward(self, x: Tensor) -> Tensor:
        """Numbers (n, size) of arrays (n, channels, ...)."""
        usual, large = self.scales
        full = (x != 0).float()
        seen = [torch.asinh(x / usual), full, x / large]
        h = torch.cat([*seen, self.places.expand(len(x), *self.places.shape)], 1)
        for layer in self.layers:
            h = functional.leaky_relu(layer(h), LEAK)
        flat, places = seen[2].flatten(2), self.places.flatten(1)
        sums = [flat.sum(2), full.flatten(2).mean(2), (flat @ places.T).flatten(1)]
        return torch.cat([h.flatten(1), *sums], 1)


class _Classifier(nn.Module):
    def __init__(self, grids: Grids, classes: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        towers = {name: _Tower(_as_channels(x).shape[1:], _scales(x)) for name, x in grids.contents.items()}
        self.towers = nn.ModuleList(towers.values())
        centre = np.nanmean(grids.columns, axis=0) if grids.columns.size else np.zeros(0)
        spread = np.nanstd(grids.columns, axis=0) if grids.columns.size else np.ones(0)
        self._centre, self._spread = centre, np.where(spread > 0, spread, 1.0)
        size = sum(t.size for t in towers.values()) + len(centre)
        with drawing_from(generator):
            self.head = nn.Sequential(
                Linear(size, HIDDEN), nn.LeakyReLU(LEAK), Dropout(LEFT_OUT), Linear(HIDDEN, classes)
            )
        for layer in (m for t in self.towers for m in t.layers):  # type: ignore[union-attr]
            nn.init.kaiming_uniform_(layer.weight, LEAK, generator=generator)
            nn.init.zeros_(layer.bias)

    def tensors(self, grids: Grids) -> list[Tensor]:
        """What the network takes of events."""
        columns = np.nan_to_num((grids.columns - self._centre) / self._spread).astype(np.float32)
        arrays = [_as_channels(x) for x in grids.contents.values()]
        return [*(torch.from_numpy(np.ascontiguousarray(x)) for x in arrays), torch.from_numpy(columns)]

    def forward(self, *parts: Tensor) -> Tensor:
        *arrays, columns = parts
        found = [tower(x) for tower, x in zip(self.towers, arrays, strict=True)]
        scores: Tensor = self.head(torch.cat([*found, columns], 1))
        return scores


def _as_channels(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, channels, ...) with one or two indices left: slower ones are channels."""
    return x.reshape(len(x), -1, *x.shape[max(1, x.ndim - 2) :]) if x.ndim > 2 else x[:, None]


def _scales(x: NDArray[np.float32]) -> tuple[float, float]:
    filled = np.abs(x[x != 0])
    if not filled.size:
        return 1.0, 1.0
    return float(np.median(filled)), float(np.quantile(filled, 0.999))


def _steps(grids: Grids) -> int:
    number = len(grids.weights)
    cells = sum(int(np.prod(x.shape[1:])) for x in grids.contents.values())
    wanted = min(max(EPOCHS * number // BATCH, STEPS[0]), STEPS[1])
    return max(min(wanted, CELLS // max(cells, 1)), FEWEST_STEPS)


def learn_classes(
    grids: Grids, classes: NDArray[np.int64], number: int, seed: int
) -> Callable[[Grids], Floats]:
    """A convolutional classifier.

    It sees the contents of cells on two scales and whether they are 0, where they are, their sums, and the
    columns. Weights count by their size, as for trees.

    Args:
        grids: N events.
        classes: Their classes (N,), from 0.
        number: Number of classes.
        seed: The same seed gives the same classifier.

    Returns:
        What gives the logarithms of probabilities (M, number) of M events.
    """
    with threads(min(torch.get_num_threads(), cores())):
        network = _Classifier(grids, number, seed)
        inputs, target = network.tensors(grids), torch.from_numpy(classes)
        size = np.abs(grids.weights)
        # All classes weigh the same.
        total = np.bincount(classes, size, number)
        share = size / np.where(total > 0, total, 1.0)[classes]
        weight = torch.from_numpy(share / share.mean()).float()
        steps, generator = _steps(grids), torch.Generator().manual_seed(seed + 1)
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
        order, batch = torch.empty(0, dtype=torch.int64), min(BATCH, len(target))
        with drawing_from(generator):
            for _ in range(steps):
                if len(order) < batch:
                    order = torch.cat([order, torch.randperm(len(target), generator=generator)])
                rows, order = order[:batch], order[batch:]
                scores = network(*(x[rows] for x in inputs))
                surprise = functional.cross_entropy(scores, target[rows], reduction="none")
                loss = (weight[rows] * surprise).mean()
                optimiser.zero_grad()
                torch.autograd.backward(loss)
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimiser.step()
                schedule.step()
    network.eval()

    @torch.no_grad()
    def score(events: Grids) -> Floats:
        with threads(min(torch.get_num_threads(), cores())):
            tensors = network.tensors(events)
            parts = [
                network(*(x[i : i + PART] for x in tensors)).log_softmax(1)
                for i in range(0, len(events.weights), PART)
            ]
        return np.asarray(torch.cat(parts).numpy(), dtype=np.float64) if parts else np.empty((0, number))

    return score


@dataclass(frozen=True)
class ConvolutionTest:
    """What a convolutional classifier found.

    Attributes:
        auc: Area under the ROC curve on held-out events: 0.5 where it cannot tell the samples apart.
        fields: The arrays that it saw.
        n_events: Events used of the reference and of the generated sample.
        steps: Steps of each training.
        seconds: Time of a processor that all trainings took.
    """

    auc: Metric
    fields: tuple[str, ...]
    n_events: tuple[int, int]
    steps: int
    seconds: float


def convolution_test(
    reference: Grids,
    generated: Grids,
    train: Grids | None = None,
    *,
    seed: int = 0,
    max_events: int = 20_000,
    folds: int = 2,
    once: Once | None = None,
) -> ConvolutionTest | None:
    """The classifier two-sample test with a convolutional network.

    As :func:`hepgan.stats.two_sample.two_sample_test`: every event is scored by a network that did not see
    it, and the floor is the same test between training events and the reference, or between halves of it.

    Args:
        reference: True events.
        generated: Generated events.
        train: Training events.
        seed: Seed of the subsamples, folds and networks.
        max_events: Events used of each sample.
        folds: Number of folds.
        once: Keeps the test of true events for other generated samples.

    Returns:
        The result, or None if a sample has fewer than 200 events.
    """
    if min(len(reference.weights), len(generated.weights)) < MIN_EVENTS:
        return None
    begun = time.process_time()
    rng = np.random.default_rng(seed)
    true, made = (_sampled(g, max_events, rng) for g in (reference, generated))
    auc, error, steps = _trial(true, made, rng, folds)
    sizes = len(true.weights), len(made.weights)

    def of_true_events() -> tuple[float, float, int] | None:
        if train is not None:
            others = _sampled(reference, sizes[0], rng), _sampled(train, sizes[1], rng)
        else:
            half = rng.permutation(len(reference.weights))
            middle = len(half) // 2
            others = reference.take(half[:middle][: sizes[0]]), reference.take(half[middle:][: sizes[1]])
        if min(len(g.weights) for g in others) < MIN_EVENTS // 2:
            return None
        return _trial(*others, rng, folds)

    floor = (once or Once())(("convolution", sizes, folds), rng, of_true_events)
    value = Metric(auc, floor and floor[0], error, floor and floor[1])
    return ConvolutionTest(value, tuple(true.contents), sizes, steps, time.process_time() - begun)


def _trial(true: Grids, made: Grids, rng: np.random.Generator, folds: int) -> tuple[float, float, int]:
    both = Grids.together([true, made])
    is_true = np.arange(len(both.weights)) < len(true.weights)
    fold = np.concatenate([rng.permutation(len(g.weights)) % folds for g in (true, made)])
    weights = np.concatenate([g.weights / g.weights.sum() for g in (true, made)])
    aucs, errors, steps = [], [], 0
    for k in range(folds):
        seen, held = both.take(fold != k), both.take(fold == k)
        score = learn_classes(seen, is_true[fold != k].astype(np.int64), 2, int(rng.integers(2**31)))
        found = score(held)
        auc, error = weighted_auc(found[:, 1] - found[:, 0], is_true[fold == k], weights[fold == k])
        aucs.append(auc)
        errors.append(error)
        steps = max(steps, _steps(seen))
    return float(np.mean(aucs)), math.hypot(*errors) / folds, steps


def _sampled(grids: Grids, wanted: int, rng: np.random.Generator) -> Grids:
    size = len(grids.weights)
    return grids if size <= wanted else grids.take(rng.choice(size, wanted, replace=False))
