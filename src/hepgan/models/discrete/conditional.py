"""Variables that are modelled jointly, and their distribution given what comes before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.features.variables import DiscreteVariable

__all__ = ["TABLE_STATES", "UNSEEN", "Conditional", "Group", "conserved"]

TABLE_STATES = 512
"""Most states of a group that a network tells one by one."""

UNSEEN = -1e5
"""The logit of what was never observed."""

DENSE = 512


@dataclass(frozen=True)
class Group:
    """Variables modelled by one categorical distribution over the joint states that were observed.

    Attributes:
        members: Indices of its variables, ascending.
        states: (S, len(members)) int64, the observed joint states in lexical order; -1 is absent.
    """

    members: tuple[int, ...]
    states: Tensor

    def __len__(self) -> int:
        return self.states.shape[0]

    def index(self, discrete: Tensor) -> Tensor:
        """The state of each event, (N,); S where the group has no such state."""
        radix = [int(self.states[:, j].max()) + 2 for j in range(len(self.members))]
        rows = discrete[:, list(self.members)]
        states = self.states.to(rows.device)
        unknown = torch.zeros(rows.shape[0], dtype=torch.bool, device=rows.device)
        code, codes = torch.zeros_like(rows[:, 0]), torch.zeros_like(states[:, 0])
        for j, size in enumerate(radix):
            unknown |= (rows[:, j] < -1) | (rows[:, j] >= size - 1)
            code, codes = code * size + rows[:, j] + 1, codes * size + states[:, j] + 1
        found = torch.searchsorted(codes, code).clamp(max=len(self) - 1)
        return torch.where(unknown | (codes[found] != code), len(self), found)

    def features(self, variables: Sequence[DiscreteVariable]) -> Tensor:
        """What networks see of each state, (S, F) float32: features of each member, side by side.

        One-hot classes; an ordinal variable with more than 8 (any with more than 512) is its scaled value and
        four smooth bumps instead, so that neighbouring classes have like consequences. Joint states are not
        one-hot: rare ones would be learnt by heart.
        """
        return torch.cat([_features(variables[i], self.states[:, j]) for j, i in enumerate(self.members)], 1)

    def is_smooth(self, variables: Sequence[DiscreteVariable]) -> bool:
        """Whether it is one variable that networks see as a number."""
        return len(self.members) == 1 and _is_smooth(variables[self.members[0]], len(self))


def conserved(group: Group, variables: Sequence[DiscreteVariable]) -> Tensor:
    """What each state (S,) adds to a 64-bit hash of counts and of sums that nature may conserve.

    A field of objects whose values come with both signs (charges, quark flavours by pdgId) adds opposite
    numbers for opposite values, so that the sum over objects tells the net number of each value. Counts add
    a number for each class.
    """
    counts = {v.count for v in variables} - {None}
    net = torch.zeros(len(group), dtype=torch.int64)
    for column, i in enumerate(group.members):
        variable, states = variables[i], group.states[:, column]
        number = [0] * variable.size
        for k, value in enumerate(variable.values):
            if i in counts:
                number[k] = _hash(f"{variable.name}={k}")
            elif variable.slot is not None and value and -value in variable.values:
                field = variable.name.split("]")[-1]
                number[k] = int(math.copysign(1, value)) * _hash(f"{field}={abs(value):g}")
        net += torch.tensor(number)[states.clamp(min=0)] * (states >= 0)
    return net


class Conditional(nn.Module):
    """Free logits for each state of a group, from a small network on the states before it.

    The first layer is linear in the features of the states before, thus a sum of rows of a table with one row
    for each of them; the mask is added to the same rows.

    Args:
        features: (R, F) features of the states of all groups before, one group after the other.
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
        return self.forbid(self.network(rows, condition, table), rows).double() + self.bias

    def forbid(self, logits: Tensor, rows: Tensor) -> Tensor:
        """The logits without states that never follow the combination of states before."""
        if not len(self.keys):
            return logits
        for key in self.prefix_numbers(rows):
            found = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
            never = self.never[found] & (self.keys[found] == key)[:, None]
            logits = logits + UNSEEN * never
        return logits

    def prefix_numbers(self, rows: Tensor) -> list[Tensor]:
        """Numbers (N,) for what came before: all of it in order, and its conserved sums.

        They are 64-bit hashes, which are equal by chance about once in 2^64.
        """
        ordered = torch.zeros_like(rows[:, 0])
        for column in rows.T:
            ordered = (ordered ^ (ordered >> 29)) * 6364136223846793005 + column + 1
        return [ordered, self.net[rows].sum(1)] if bool(self.net.any()) else [ordered]

    def network(self, rows: Tensor, condition: Tensor, table: Tensor | None = None) -> Tensor:
        """The logits without the bias, and without what never follows."""
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


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")


def _is_smooth(variable: DiscreteVariable, classes: int) -> bool:
    return classes > TABLE_STATES or (variable.ordinal and classes > 8)


def _features(variable: DiscreteVariable, states: Tensor) -> Tensor:
    classes, code = torch.unique(states, return_inverse=True)
    n = len(classes)
    if not _is_smooth(variable, n):
        return torch.eye(n)[code]
    there = classes >= 0
    values = torch.tensor(variable.values, dtype=torch.float64)[classes.clamp(min=0)]
    low, high = values[there].min(), values[there].max()
    scaled = 2 * (values - low) / (high - low).clamp(min=1e-300) - 1
    rank = torch.arange(n, dtype=torch.float64) / (n - 1)
    bumps = torch.exp(-(((rank[:, None] - torch.linspace(0, 1, 4)) / 0.3) ** 2))
    features = torch.cat([scaled[:, None], bumps], 1) * there[:, None]
    return torch.cat([features, (~there)[:, None]], 1).float()[code]
