"""Which discrete variables are modelled jointly, so that what never occurs together is never generated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations

import torch
from torch import Tensor

from hepgan.features.variables import DiscreteVariable

__all__ = ["Block", "conserved", "forbidden", "group"]

MERGED_STATES = 64
TABLE_STATES = 512
ALL_PAIRS = 64
# Good and Turing: the probability of unseen states is about the fraction of events whose state was seen once.
UNSEEN = 1e-3
# A pair of classes expected this often if independent, but never seen, is taken for impossible (exp(-20)).
EXPECTED = 20.0


@dataclass(frozen=True)
class Block:
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
        """The state of each event, (N,); S where the block has no such state."""
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


def conserved(block: Block, variables: Sequence[DiscreteVariable]) -> Tensor:
    """What each state (S,) adds to a 64-bit hash of counts and of sums that nature may conserve.

    A field of objects whose values come with both signs (charges, quark flavours by pdgId) adds opposite
    numbers for opposite values, so that the sum over objects tells the net number of each value. Counts add
    a number for each class.
    """
    counts = {v.count for v in variables} - {None}
    net = torch.zeros(len(block), dtype=torch.int64)
    for column, i in enumerate(block.members):
        variable, states = variables[i], block.states[:, column]
        number = [0] * variable.size
        for k, value in enumerate(variable.values):
            if i in counts:
                number[k] = _hash(f"{variable.name}={k}")
            elif variable.slot is not None and value and -value in variable.values:
                field = variable.name.split("]")[-1]
                number[k] = int(math.copysign(1, value)) * _hash(f"{field}={abs(value):g}")
        net += torch.tensor(number)[states.clamp(min=0)] * (states >= 0)
    return net


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


def _compact(code: Tensor) -> tuple[Tensor, Tensor]:
    """Codes renumbered 0 .. S - 1, and how often each occurs."""
    _, inverse, counts = torch.unique(code, return_inverse=True, return_counts=True)
    return inverse, counts


def _populated(counts: Tensor) -> bool:
    return int((counts == 1).sum()) <= UNSEEN * int(counts.sum())


def _block(members: Sequence[int], discrete: Tensor) -> Block:
    members = tuple(sorted(members))
    rows = discrete[:, list(members)]
    code = torch.zeros_like(rows[:, 0])
    sizes = [int(column.max()) + 2 for column in rows.T]
    for column, size in zip(rows.T, sizes, strict=True):
        code = code * size + column + 1
    code = torch.unique(code)
    columns = []
    for size in reversed(sizes):
        columns.append(code % size - 1)
        code = code // size
    return Block(members, torch.stack(columns[::-1], 1))


def _fits(members: Sequence[int], variables: Sequence[DiscreteVariable]) -> bool:
    """Whether joint states can be numbered within 62 bits."""
    return sum(math.log2(variables[i].size + 1) for i in members) < 62


def _joint_table(discrete: Tensor, variables: Sequence[DiscreteVariable]) -> bool:
    """Whether all variables together have few states, each of them seen often."""
    if not _fits(range(len(variables)), variables):
        return False
    code = torch.zeros(discrete.shape[0], dtype=torch.int64)
    counts = code
    for i, variable in enumerate(variables):
        code, counts = _compact(code * (variable.size + 1) + discrete[:, i] + 1)
        if len(counts) > TABLE_STATES:
            return False
    return _populated(counts)


@dataclass
class _Candidate:
    """Variables on the way to a block: each event's state, how many there are, which lack a member."""

    members: tuple[int, ...]
    code: Tensor
    size: int
    absent: Tensor


def _pair_counts(a: _Candidate, b: _Candidate) -> Tensor:
    return torch.bincount(a.code * b.size + b.code, minlength=a.size * b.size).view(a.size, b.size)


def _impossible(table: Tensor) -> Tensor:
    """Empty cells of a contingency table that independence would fill."""
    table = table.double()
    expected = table.sum(1, keepdim=True) * table.sum(0, keepdim=True) / table.sum().clamp(min=1)
    return (table == 0) & (expected > EXPECTED)


def _rank(a: _Candidate, b: _Candidate, same_object: bool) -> tuple[int, int] | None:
    """How much two candidates ask to be merged (the least asks most); None if they should not be."""
    if a.size * b.size > TABLE_STATES**2:
        return None
    counts = _pair_counts(a, b)
    states = int((counts > 0).sum())
    if states > MERGED_STATES:
        return None
    if states <= max(a.size, b.size):
        return 0, states
    if not _populated(counts[counts > 0]):
        return None
    both = counts[~a.absent][:, ~b.absent].double()
    if bool(_impossible(both).any()):
        return 1, states
    if same_object:
        return 2, states
    total = both.sum().clamp(min=1)
    expected = both.sum(1, keepdim=True) * both.sum(0, keepdim=True) / total
    statistic = float(2 * torch.special.xlogy(both, both / expected.clamp(min=1e-300)).sum())
    freedom = max((both.shape[0] - 1) * (both.shape[1] - 1), 1)
    return (3, states) if statistic > freedom + 5 * math.sqrt(2 * freedom) else None


def _merge(candidates: list[_Candidate], variables: Sequence[DiscreteVariable]) -> list[_Candidate]:
    """Greedy merging, the pair that asks most first."""

    def place(c: _Candidate) -> tuple[int | None, int | None]:
        return variables[c.members[0]].count, variables[c.members[0]].slot

    def rank(a: _Candidate, b: _Candidate) -> tuple[int, int] | None:
        # States of one block must be compatible with every value of the one count that they hang on.
        hang = {variables[i].count for i in a.members + b.members} - {None}
        if len(hang) > 1 or not _fits(a.members + b.members, variables):
            return None
        return _rank(a, b, place(a) == place(b) and place(a)[1] is not None)

    ranks = {(i, j): rank(candidates[i], candidates[j]) for i, j in combinations(range(len(candidates)), 2)}
    alive = set(range(len(candidates)))
    while wanted := {pair: r for pair, r in ranks.items() if r is not None}:
        i, j = min(wanted, key=lambda pair: (wanted[pair], pair))
        a, b = candidates[i], candidates[j]
        joint, code = torch.unique(a.code * b.size + b.code, return_inverse=True)
        absent = a.absent[joint // b.size] | b.absent[joint % b.size]
        candidates.append(_Candidate(a.members + b.members, code, len(joint), absent))
        alive -= {i, j}
        ranks = {pair: r for pair, r in ranks.items() if not {i, j} & set(pair)}
        new = len(candidates) - 1
        ranks |= {(k, new): rank(candidates[k], candidates[new]) for k in sorted(alive)}
        alive.add(new)
    return [candidates[i] for i in sorted(alive)]


def group(discrete: Tensor, variables: Sequence[DiscreteVariable]) -> list[Block]:
    """Blocks of variables in the order of generation: counts, numbers of many classes, others.

    All variables are one block if their joint states are at most 512 and well populated. Else pairs of blocks
    are merged while the merged block has at most 64 states, in this order: one determines the other; classes
    that never meet though they often would if independent; variables of the same object; significantly
    dependent ones. Counts merge with counts only, others only within the objects of one count. With more than
    64 variables only those of the same object are considered.

    Args:
        discrete: (N, K) int64 classes, N > 0.
        variables: The K variables.
    """
    if not variables:
        return []
    if _joint_table(discrete, variables):
        return [_block(range(len(variables)), discrete)]
    counts = {v.count for v in variables if v.count is not None}
    singles = []
    for i in range(len(variables)):
        classes, code = torch.unique(discrete[:, i], return_inverse=True)
        singles.append(_Candidate((i,), code, len(classes), classes < 0))
    parts: dict[object, list[_Candidate]] = {}
    for i, single in enumerate(singles):
        variable = variables[i]
        key: object = i in counts
        if len(variables) > ALL_PAIRS and variable.slot is None:
            key = i
        elif len(variables) > ALL_PAIRS:
            key = (i in counts, variable.count, variable.slot, variable.name.split("[")[0])
        parts.setdefault(key, []).append(single)
    merged = [c for part in parts.values() for c in _merge(part, variables)]
    blocks = [_block(c.members, discrete) for c in merged]

    def place(block: Block) -> tuple[bool, bool, int]:
        # Few classes given a number take fewer parameters than a number of many classes given them.
        return not counts & set(block.members), not block.is_smooth(variables), block.members[0]

    return sorted(blocks, key=place)


def forbidden(first: Block, second: Block, index: tuple[Tensor, Tensor]) -> Tensor:
    """Pairs of states (S1, S2) of two blocks that never meet, though they often would if independent.

    Args:
        first: A block.
        second: Another one.
        index: Each event's state of the one and of the other.
    """
    code = index[0] * len(second) + index[1]
    counts = torch.bincount(code, minlength=len(first) * len(second))
    return _impossible(counts.view(len(first), len(second)))
