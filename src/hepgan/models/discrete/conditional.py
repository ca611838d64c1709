"""One block's distribution, given the blocks before it and the conditions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["UNSEEN", "Conditional", "Sample"]

STEPS = 1200
PATIENCE = 6
DENSE = 512
BATCH = 2048
RATE = 4e-3
HELD_OUT = 0.1
MAX_HELD_OUT = 20_000
MAX_LOGITS = 50_000_000
FEWEST = 20
EXPECTED = 12.0
UNSEEN = -1e5
CHUNK = 16384


@dataclass(frozen=True)
class Sample:
    """What a conditional is fitted to.

    Attributes:
        rows: (N, P) int64, the state of each block before it, offset into the conditional's table.
        condition: (N, Q) float32.
        target: (N,) int64, the block's own state.
        weight: (N,) float64.
    """

    rows: Tensor
    condition: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return self.target.shape[0]

    def __getitem__(self, index: Tensor) -> Sample:
        return Sample(self.rows[index], self.condition[index], self.target[index], self.weight[index])


class Conditional(nn.Module):
    """Free logits for each state of a block, from a small network on the states before it.

    The first layer is linear in the features of the states before, thus a sum of rows of a table with one row
    for each of them; the mask is added to the same rows.

    Args:
        features: (R, F) features of the states of all blocks before, one block after the other.
        mask: (R, S) what each of these states adds to the logits; very negative where it forbids.
        condition_size: Number of conditions.
        hidden: Width of the network; 0 for free logits and the mask only.
        prefixes: How many combinations of the states before have states of their own that never follow.
        net: (R,) int64, what each of these states adds to the hash of conserved sums; zeros by default.
    """

    features: Tensor
    mask: Tensor
    bias: Tensor
    keys: Tensor
    never: Tensor
    net: Tensor

    def __init__(
        self,
        features: Tensor,
        mask: Tensor,
        condition_size: int,
        hidden: int,
        prefixes: int = 0,
        net: Tensor | None = None,
    ) -> None:
        super().__init__()
        size = mask.shape[1]
        self.hidden = hidden
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        net = torch.zeros(len(mask), dtype=torch.int64) if net is None else net
        self.register_buffer("net", net, persistent=False)
        self.register_buffer("bias", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("keys", torch.zeros(prefixes, dtype=torch.int64))
        self.register_buffer("never", torch.zeros((prefixes, size), dtype=torch.bool))
        if hidden:
            self.embedding = nn.Parameter(torch.zeros(features.shape[1], hidden + size))
            self.condition = nn.Parameter(torch.zeros(condition_size, hidden + size))
            self.offset = nn.Parameter(torch.zeros(hidden))
            self.middle = nn.Linear(hidden, hidden)
            self.last = nn.Linear(hidden, size, bias=False)

    @property
    def prefixes(self) -> int:
        """How many combinations of states before have followers that never come."""
        return len(self.keys)

    def table(self) -> Tensor:
        """(R, hidden + S) what each state before adds to the first layer and to the logits."""
        if not self.hidden:
            return self.mask
        return torch.addmm(functional.pad(self.mask, (self.hidden, 0)), self.features, self.embedding)

    def forward(self, rows: Tensor, condition: Tensor, table: Tensor | None = None) -> Tensor:
        """Logits (N, S) in float64, up to a constant of each event.

        Args:
            rows: (N, P) rows of the table.
            condition: (N, Q).
            table: What ``table()`` returned, where it is at hand.
        """
        return self._forbid(self._network(rows, condition, table), rows).double() + self.bias

    def _forbid(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The logits without states that never follow the combination of states before."""
        if not len(self.keys):
            return logits
        for key in self._prefixes(rows):
            found = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
            never = self.never[found] & (self.keys[found] == key)[:, None]
            logits = logits + UNSEEN * never
        return logits

    def _prefixes(self, rows: Tensor) -> list[Tensor]:
        """Numbers (N,) for what came before: all of it in order, and its conserved sums.

        They are 64-bit hashes, which are equal by chance about once in 2^64.
        """
        ordered = torch.zeros_like(rows[:, 0])
        for column in rows.T:
            ordered = (ordered ^ (ordered >> 29)) * 6364136223846793005 + column + 1
        return [ordered, self.net[rows].sum(1)] if bool(self.net.any()) else [ordered]

    def _learn_structure(self, sample: Sample, pattern: Tensor) -> None:
        """Finds combinations of states before (prefixes) after which most of what is usual never comes.

        That is a prefix seen at least 20 times, where the states that never follow would be expected 12
        times, and 20 times as often as followers seen just once (which by Good and Turing tell what is still
        to be seen). Only states with the same objects as a follower are compared, since counts decide on the
        rest.
        """
        found = [_never(key, sample.target, pattern, len(self.bias)) for key in self._prefixes(sample.rows)]
        keys, order = torch.cat([key for key, _ in found]).sort()
        self.keys, self.never = keys, torch.cat([never for _, never in found])[order]

    def _network(self, rows: Tensor, condition: Tensor, table: Tensor | None = None) -> Tensor:
        table = self.table() if table is None else table
        if torch.is_grad_enabled() and 0 < len(table) <= DENSE:
            # The gradient of a product costs half of that of a sum of rows.
            z = table.new_zeros((len(rows), len(table))).scatter_(1, rows, 1.0) @ table
        elif rows.shape[1]:
            z = functional.embedding_bag(rows, table, mode="sum")
        else:
            z = table.new_zeros((rows.shape[0], self.hidden + len(self.bias)))
        if not self.hidden:
            return z
        if condition.shape[1]:
            z = z + condition.to(z.dtype) @ self.condition
        h = functional.silu(z[:, : self.hidden] + self.offset)
        h = h + functional.silu(self.middle(h))
        return torch.add(z[:, self.hidden :], self.last(h))

    def fit(self, sample: Sample, pattern: Tensor, steps: int, generator: torch.Generator) -> None:
        """Weighted cross-entropy with early stopping, then logits shifted to the exact marginal.

        Args:
            sample: Training events.
            pattern: (S,) int64, equal for states of which the same variables are absent.
            steps: Most steps of the optimiser.
            generator: Source of initial values and batches.
        """
        frequency = torch.bincount(sample.target, sample.weight, minlength=len(self.bias))
        # A state of no positive weight stays possible for where nothing else is, but has no probability.
        frequency = (frequency / sample.weight.sum()).clamp(min=1e-12)
        self.bias.copy_(torch.log(frequency / frequency.sum()))
        if self.hidden:
            self._initialise(generator)
            self._train(sample, steps, generator)
            if sample.rows.shape[1]:
                self._learn_structure(sample, pattern)
            self._calibrate(sample, frequency / frequency.sum(), generator)
        self.requires_grad_(False)

    def _initialise(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            wide = self.embedding[:, : self.hidden]
            wide.normal_(0, 0.5, generator=generator)
            self.condition[:, : self.hidden].normal_(
                0, 1 / math.sqrt(max(len(self.condition), 1)), generator=generator
            )
            self.offset.normal_(0, 0.3, generator=generator)
            self.middle.weight.normal_(0, 1 / math.sqrt(self.hidden), generator=generator)
            self.middle.bias.zero_()
            # So that the untrained network is the marginal, which early stopping can fall back on.
            for skip in (
                self.embedding[:, self.hidden :],
                self.condition[:, self.hidden :],
                self.last.weight,
            ):
                skip.zero_()

    def _train(self, sample: Sample, steps: int, generator: torch.Generator) -> None:
        n = len(sample)
        order = torch.randperm(n, generator=generator)
        held = min(int(HELD_OUT * n), MAX_HELD_OUT)
        validation, training = sample[order[:held]], order[held:]
        if held == 0 or not steps:
            return
        scale = float(sample.weight.abs().mean())
        optimizer = torch.optim.Adam(self.parameters(), lr=RATE, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
        best, kept, worse = self._loss(validation, scale), self._copy(), 0
        batches = _batches(training, min(BATCH, len(training)), generator)
        for step in range(1, steps + 1):
            with torch.enable_grad():
                loss = self._loss(sample[next(batches)], scale)
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            if step % max(steps // 20, 1) == 0 or step == steps:
                with torch.no_grad():
                    loss = self._loss(validation, scale)
                worse += 1
                if loss < best:
                    best, kept, worse = loss, self._copy(), 0
                if worse == PATIENCE:
                    break
        self.load_state_dict(kept)

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.state_dict().items()}

    def _loss(self, sample: Sample, scale: float) -> Tensor:
        logits = self._network(sample.rows, sample.condition) + self.bias.float()
        loss = functional.cross_entropy(logits, sample.target, reduction="none")
        return (loss * (sample.weight / scale).float()).mean()

    @torch.no_grad()
    def _calibrate(self, sample: Sample, frequency: Tensor, generator: torch.Generator) -> None:
        most = max(MAX_LOGITS // len(self.bias), 1)
        if len(sample) > most:
            sample = sample[torch.randperm(len(sample), generator=generator)[:most]]
        table = self.table()
        chunks = [slice(i, i + CHUNK) for i in range(0, len(sample), CHUNK)]
        logits = [
            self._forbid(self._network(sample.rows[c], sample.condition[c], table), sample.rows[c])
            for c in chunks
        ]
        weight = sample.weight / sample.weight.sum()
        for _ in range(50):
            marginal = torch.zeros_like(frequency)
            for part, chunk in zip(logits, chunks, strict=True):
                marginal += weight[chunk] @ torch.softmax(part + self.bias, 1)
            if float((marginal - frequency).abs().max()) < 1e-5:
                break
            self.bias += torch.log(frequency / marginal.clamp(min=1e-12)).clamp(-2, 2)


def _never(prefix: Tensor, target: Tensor, pattern: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Prefixes (L,) and which states (L, S) never follow them, for ``Conditional``."""
    keys, index, seen = torch.unique(prefix, return_inverse=True, return_counts=True)
    often = torch.nonzero(seen >= FEWEST)[:, 0]
    index = torch.full_like(keys, -1).index_put((often,), torch.arange(len(often)))[index]
    code = (index * size + target)[index >= 0]
    followers = torch.bincount(code, minlength=len(often) * size).view(-1, size)
    alike = torch.zeros((size, int(pattern.max()) + 1)).scatter_(1, pattern[:, None], 1.0)
    comparable = (followers.float() @ alike > 0)[:, pattern]
    never = (followers == 0) & comparable
    usual = torch.bincount(target, minlength=size).double()
    expected = seen[often] * (never * usual).sum(1) / (comparable * usual).sum(1).clamp(min=1)
    chosen = expected > torch.clamp(20 * (followers == 1).sum(1), min=EXPECTED)
    return keys[often][chosen], never[chosen]


def _batches(index: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        shuffled = index[torch.randperm(len(index), generator=generator)]
        for start in range(0, len(index) - size + 1, size):
            yield shuffled[start : start + size]
