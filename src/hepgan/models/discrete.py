"""The discrete part of an event: its groups of variables, given those before them and the conditions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Self, cast

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from hepgan.config import Config
from hepgan.events.schema import Address
from hepgan.features.variables import DiscreteVariable, counts_of
from hepgan.networks.drawing import Linear, take

__all__ = [
    "TABLE_STATES",
    "TALLIED_CLASSES",
    "UNSEEN",
    "Conditional",
    "DiscreteModel",
    "DiscreteVariable",
    "Group",
    "LearnedDiscrete",
    "LearnedGroup",
    "conserved",
    "same_field",
]


TABLE_STATES = 512
"""Most states of a group that a network tells one by one."""

UNSEEN = -1e5
"""The logit of what was never observed."""

IMPOSSIBLE = -1e9
"""The logit of what counts forbid."""

TALLIED = 4
"""A number of objects is 0, 1, 2, or 3 and more to networks."""

TALLIED_CLASSES = 4
"""Of fields with more classes the objects of each class are not counted."""

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
    a number for each class. Indices into a collection add nothing.
    """
    counts = counts_of(variables)
    net = torch.zeros(len(group), dtype=torch.int64)
    for column, i in enumerate(group.members):
        variable, states = variables[i], group.states[:, column]
        number = [0] * variable.size
        for k, value in enumerate(variable.values):
            if i in counts:
                number[k] = _hash(f"{variable.name}={k}")
            elif (
                variable.slot is not None and variable.within is None and -value in variable.values and value
            ):
                number[k] = int(math.copysign(1, value)) * _hash(
                    f"{_summed(variable.address)}={abs(value):g}"
                )
        net += torch.tensor(number)[states.clamp(min=0)] * (states >= 0)
    return net


def same_field(one: DiscreteVariable, other: DiscreteVariable) -> bool:
    """Whether two are one field of two objects of a collection, with the same classes."""
    return one.slot is not None and one.values == other.values and _field(one) == _field(other)


def _field(variable: DiscreteVariable) -> Address:
    return variable.address._replace(slot=None)


def _summed(address: Address) -> str:
    """What numbers that are summed over objects have in common."""
    return str(address) if address.slot is None else f".{address.field}"


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
        tallies: (R, T) int64, what each of these states adds to T numbers of objects, of which the network
            sees whether they are 0, 1, 2, or 3 and more; none by default.
    """

    features: Tensor
    mask: Tensor
    bias: Tensor
    keys: Tensor
    never: Tensor
    net: Tensor
    tallies: Tensor

    def __init__(
        self,
        features: Tensor,
        mask: Tensor,
        condition_size: int,
        hidden: int,
        prefixes: int = 0,
        net: Tensor | None = None,
        tallies: Tensor | None = None,
    ) -> None:
        super().__init__()
        size = mask.shape[1]
        tallies = torch.zeros((len(mask), 0), dtype=torch.int64) if tallies is None else tallies
        numbers = TALLIED * tallies.shape[1]
        features = _block_diagonal([features, torch.eye(numbers)])
        mask = functional.pad(mask, (0, 0, 0, numbers))
        take((features.shape[1] + condition_size + 1) * (hidden + size) * bool(hidden) + prefixes * size)
        self.hidden = hidden
        self.register_buffer("features", features, persistent=False)
        self.register_buffer("mask", mask, persistent=False)
        net = torch.zeros(len(tallies), dtype=torch.int64) if net is None else net
        self.register_buffer("net", net, persistent=False)
        self.register_buffer("tallies", tallies, persistent=False)
        self._conserves = bool(net.any())
        self.register_buffer("bias", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("keys", torch.zeros(prefixes, dtype=torch.int64))
        self.register_buffer("never", torch.zeros((prefixes, size), dtype=torch.bool))
        if hidden:
            self.embedding = nn.Parameter(torch.zeros(features.shape[1], hidden + size))
            self.condition = nn.Parameter(torch.zeros(condition_size, hidden + size))
            self.offset = nn.Parameter(torch.zeros(hidden))
            self.middle = Linear(hidden, hidden)
            self.last = Linear(hidden, size, bias=False)

    @property
    def prefixes(self) -> int:
        """How many combinations of states before have followers that never come."""
        return len(self.keys)

    def table(self) -> Tensor:
        """(R + 4 T, hidden + S) what each state before, and each tally, adds to first layer and logits."""
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
        return [ordered, self.net[rows].sum(1)] if self._conserves else [ordered]

    def open(self, rows: Tensor) -> Tensor:
        """Whether (N,) more than one state may follow the states before."""
        barred = self.mask < IMPOSSIBLE / 2
        left = torch.zeros((len(rows), len(self.bias)), dtype=torch.bool, device=rows.device)
        for column in rows.T:
            left |= barred[column]
        return (~left).sum(1) > 1

    def with_tallies(self, rows: Tensor) -> Tensor:
        """The rows (N, P + T) of the states before, and those of the tallies that they add up to."""
        states, number = self.tallies.shape
        if not number:
            return rows
        counted = self.tallies[rows].sum(1).clamp(max=TALLIED - 1)
        return torch.cat([rows, states + counted + TALLIED * torch.arange(number, device=rows.device)], 1)

    def network(self, rows: Tensor, condition: Tensor, table: Tensor | None = None) -> Tensor:
        """The logits without the bias, and without what never follows."""
        table = self.table() if table is None else table
        rows = self.with_tallies(rows)
        if torch.is_grad_enabled() and 0 < len(table) <= DENSE:
            # The gradient of a product costs half of that of a sum of rows.
            z = table.new_zeros((len(rows), len(table))).scatter_(1, rows, 1.0) @ table
        elif rows.shape[1] and torch.compiler.is_compiling():
            z = table[rows].sum(1)
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


MAX_TABLE = 1 << 18
UNKNOWN = -2


class LearnedGroup(Config):
    """What is kept of a group, but the tensors of its distribution.

    Attributes:
        members: Indices of its variables, ascending.
        states: The joint states that were observed, in lexical order; -1 is absent.
        before: The groups that it depends on.
        hidden: The width of its network; 0 for none.
        prefixes: How many combinations of the states before have states of their own that never follow.
        tallies: The fields of objects, each by one of its variables, of which its network sees how many
            objects before have each class.
    """

    members: tuple[int, ...]
    states: tuple[tuple[int, ...], ...]
    before: tuple[int, ...]
    hidden: int
    prefixes: int = 0
    tallies: tuple[int, ...] = ()


class LearnedDiscrete(Config):
    """All that was learned of the discrete part, but tensors.

    Attributes:
        variables: The K variables, in the order of the columns.
        condition_size: Number of conditions, Q.
        blocks: The groups, in the order of generation.
        forbidden: The pairs of states that never meet, after the numbers of their two groups.

    Raises:
        ValueError: If a count is not one of the variables, or hangs on a count itself.
    """

    variables: tuple[DiscreteVariable, ...]
    condition_size: int = 0
    blocks: tuple[LearnedGroup, ...] = ()
    forbidden: tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...] = ()

    @model_validator(mode="after")
    def _counts_are_variables(self) -> Self:
        for variable in self.variables:
            for count in (variable.count, variable.within):
                if count is None:
                    continue
                if not 0 <= count < len(self.variables):
                    msg = f"{variable.name}: count {count} is none of {len(self.variables)} variables"
                    raise ValueError(msg)
                if self.variables[count].count is not None:
                    msg = f"{variable.name}: its count {self.variables[count].name} has a count itself"
                    raise ValueError(msg)
        return self


class DiscreteModel(nn.Module):
    """The distribution of the discrete part of an event, from which generation starts.

    The variables are in groups, each with the joint states that were observed in training, and
    P(event) = P(group 1 | condition) P(group 2 | group 1, condition) ..., counts first. It is made by
    :func:`~hepgan.learners.discrete.fit_discrete`.

    Guarantees:
        - A variable is -1 if and only if its object is absent. An index points to an object that is there,
          wherever the states before leave it another choice.
        - A joint state of one group that was not observed is never generated; nor is a pair of states of two
          groups that was not, though independence would have had it more than 20 times in training
          (unless the states before leave no other choice); nor what never followed a well-known combination
          of all groups before, or of their counts and net charges and flavours: charge or flavour
          conservation in the training events is kept wherever these show it.
        - Equal uniform numbers and conditions give equal events.

    Limits: with more than 64 groups each depends on the counts and the 64 before it. With more than 128
    groups, or fewer than 200 events, or more than 512 states, a group depends on nothing but what the counts
    let exist.

    Args:
        learned: What was learned; ``load_state_dict`` then restores the distributions.

    Raises:
        ValueError: If the groups do not have each of the variables once.
    """

    def __init__(self, learned: LearnedDiscrete) -> None:
        super().__init__()
        members = sorted(i for block in learned.blocks for i in block.members)
        if members != list(range(len(learned.variables))):
            msg = f"the groups have the variables {members}, and there are {len(learned.variables)}"
            raise ValueError(msg)
        self.learned, self.variables = learned, learned.variables
        self.condition_size = learned.condition_size
        self._groups = [Group(b.members, torch.tensor(b.states, dtype=torch.int64)) for b in learned.blocks]
        self._before = [list(b.before) for b in learned.blocks]
        self._tables: list[_Table] | None = None
        self.conditionals = self._build()
        self.register_load_state_dict_post_hook(_forget_tables)  # type: ignore[no-untyped-call]

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The names of the variables of each group, in the order of generation."""
        return tuple(tuple(self.variables[i].name for i in group.members) for group in self._groups)

    def offsets(self, b: int) -> Tensor:
        """Where the states of each group before group b begin in its table."""
        sizes = torch.tensor([0] + [len(self._groups[a]) + 1 for a in self._before[b]])
        return sizes.cumsum(0)[:-1]

    def _build(self) -> nn.ModuleList:
        """The groups' distributions, whose tensors are then learned or loaded."""
        # One more row for each group: a state that was never observed says nothing.
        features = [nn.functional.pad(group.features(self.variables), (0, 0, 0, 1)) for group in self._groups]
        nets = [nn.functional.pad(conserved(group, self.variables), (0, 1)) for group in self._groups]
        never = {(a, b): pairs for a, b, pairs in self.learned.forbidden}
        made = nn.ModuleList()
        for b, block in enumerate(self.learned.blocks):
            parents = block.before
            inputs = _block_diagonal([features[a] for a in parents if block.hidden])
            masks = [torch.zeros(0, len(self._groups[b]))]
            masks += [self._mask(a, b, never.get((a, b), ())) for a in parents]
            net = torch.cat([torch.zeros(0, dtype=torch.int64), *(nets[a] for a in parents)])
            tallies = self._tallies(parents, block.tallies)
            made.append(
                Conditional(
                    inputs, torch.cat(masks), self.condition_size, block.hidden, block.prefixes, net, tallies
                )
            )
        return made

    def _tallies(self, parents: Sequence[int], fields: Sequence[int]) -> Tensor:
        """(R, T) how many objects of each class of some fields the states of groups have."""
        columns = []
        for field in fields:
            counted = self.variables[field]
            for k in range(counted.size):
                column = [torch.zeros(0, dtype=torch.int64)]
                for a in parents:
                    group = self._groups[a]
                    same = [j for j, i in enumerate(group.members) if same_field(self.variables[i], counted)]
                    column.append(functional.pad((group.states[:, same] == k).sum(1), (0, 1)))
                columns.append(torch.cat(column))
        rows = sum(len(self._groups[a]) + 1 for a in parents)
        return torch.stack(columns, 1) if columns else torch.zeros((rows, 0), dtype=torch.int64)

    def _mask(self, a: int, b: int, never: Sequence[tuple[int, int]]) -> Tensor:
        """(S_a + 1, S_b) what each state of group a adds to the logits of group b."""
        first, second = self._groups[a], self._groups[b]
        mask = torch.zeros(len(first) + 1, len(second))
        if never:
            i, j = torch.tensor(never).T
            mask[i, j] = UNSEEN
        for column, k in enumerate(second.members):
            variable, states = self.variables[k], second.states[:, column]
            if variable.count in first.members and variable.slot is not None:
                wrong = (self._numbers(first, variable.count) > variable.slot)[:, None] != (states >= 0)
                mask[:-1][wrong] = IMPOSSIBLE
            if variable.within in first.members:
                values = torch.tensor(variable.values, dtype=torch.float64)[states.clamp(min=0)]
                wrong = (values >= self._numbers(first, variable.within)[:, None]) & (states >= 0)
                mask[:-1][wrong] = IMPOSSIBLE
        return mask

    def _numbers(self, group: Group, count: int) -> Tensor:
        """The number of objects in each state (S,) of the group of a count."""
        values = torch.tensor(self.variables[count].values, dtype=torch.float64)
        return values[group.states[:, group.members.index(count)].clamp(min=0)]

    # ------------------------------------------------------------------ using

    def conditional(self, b: int) -> Conditional:
        """The distribution of group b."""
        return cast("Conditional", self.conditionals[b])

    @torch.no_grad()
    def sample(self, uniform: Tensor, condition: Tensor, known: Tensor | None = None) -> Tensor:
        """Events by inversion of the distribution function, one uniform number for each group.

        Args:
            uniform: (N, K) float64 in [0, 1); group b uses column b.
            condition: (N, Q) encoded conditions.
            known: (N, K) int64, the classes that are known, -2 where they are not; None if none is.

        Returns:
            (N, K) int64 classes; -1 where the object is absent.
        """
        n = uniform.shape[0]
        if uniform.shape != (n, len(self.variables)) or condition.shape != (n, self.condition_size):
            msg = (
                f"uniform {tuple(uniform.shape)} and condition {tuple(condition.shape)}, "
                f"expected (N, {len(self.variables)}) and (N, {self.condition_size})"
            )
            raise ValueError(msg)
        tables = self.prepared()
        index = torch.empty((len(self._groups), n), dtype=torch.int64, device=uniform.device)
        discrete = torch.empty((len(self.variables), n), dtype=torch.int64, device=uniform.device)
        columns = uniform.double().T.contiguous()
        for b, table in enumerate(tables):
            allowed = None if known is None else table.allowed(known)
            index[b] = table.draw(columns[b], index[table.before], condition, allowed)
            discrete[table.members] = table.states[:, index[b]]
        return discrete.T.contiguous()

    @torch.no_grad()
    def prepared(self) -> list[_Table]:
        """The groups made ready for sampling."""
        if self._tables is None:
            self._tables = [self._table(b) for b in range(len(self._groups))]
        return self._tables

    def log_prob(self, discrete: Tensor, condition: Tensor) -> Tensor:
        """Log of the probability of each event, (N,) float64; minus infinity for what cannot be generated.

        Args:
            discrete: (N, K) int64 classes.
            condition: (N, Q) encoded conditions.
        """
        total = torch.zeros(len(discrete), dtype=torch.float64, device=discrete.device)
        if not self._groups:
            return total
        index = torch.stack([group.index(discrete) for group in self._groups], 1)
        for b, conditional in enumerate(self.conditionals):
            size = len(self._groups[b])
            logits = conditional(index[:, self._before[b]] + self.offsets(b).to(index.device), condition)
            log_p = torch.log_softmax(logits, 1).gather(1, index[:, b, None].clamp(max=size - 1))[:, 0]
            impossible = (index[:, b] == size) | (log_p < UNSEEN / 2)
            total = total + log_p.masked_fill(impossible, -math.inf)
        return total

    def _table(self, b: int) -> _Table:
        conditional = self.conditional(b)
        device = conditional.bias.device
        parents = self._before[b]
        offsets = self.offsets(b).to(device)
        sizes = [len(self._groups[a]) for a in parents]
        table = _Table(self._groups[b], parents, offsets, conditional, device)
        contexts = math.prod(sizes)
        if contexts * len(self._groups[b]) <= MAX_TABLE and not (conditional.hidden and self.condition_size):
            table.tabulate(sizes, self.condition_size)
        return table

    def _apply(self, fn: Any, recurse: bool = True) -> DiscreteModel:
        self._tables = None
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call,no-any-return]

    # ------------------------------------------------------------------ keeping

    def state(self) -> dict[str, Any]:
        """All but the tensors of ``state_dict``, as JSON can hold it."""
        blocks = tuple(
            block.model_copy(update={"prefixes": self.conditional(b).prefixes})
            for b, block in enumerate(self.learned.blocks)
        )
        return self.learned.model_copy(update={"blocks": blocks}).model_dump(mode="json")

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DiscreteModel:
        """The model that ``state`` describes; ``load_state_dict`` then restores it exactly."""
        return cls(LearnedDiscrete.model_validate(state)).requires_grad_(False)


def _block_diagonal(parts: Sequence[Tensor]) -> Tensor:
    whole = torch.zeros(sum(len(part) for part in parts), sum(part.shape[1] for part in parts))
    row = column = 0
    for part in parts:
        whole[row : row + len(part), column : column + part.shape[1]] = part
        row, column = row + len(part), column + part.shape[1]
    return whole


def _forget_tables(module: nn.Module, _: Any) -> None:
    if isinstance(module, DiscreteModel):
        module._tables = None


class _Table:
    """A group made ready for sampling: its distribution function for every context, if these are few."""

    def __init__(
        self, group: Group, before: list[int], offsets: Tensor, conditional: Conditional, device: torch.device
    ) -> None:
        self.members = torch.tensor(group.members, device=device)
        self.states = group.states.T.contiguous().to(device)
        self.before = torch.tensor(before, dtype=torch.int64, device=device)
        self._offsets, self._conditional = offsets[:, None], conditional
        self._layer = conditional.table()
        possible = conditional.mask > IMPOSSIBLE / 2
        self._only = torch.where(possible.sum(1) == 1, possible.int().argmax(1), -1)
        self._radix: Tensor | None = None
        self._cumulative: Tensor | None = None

    def tabulate(self, sizes: list[int], condition_size: int) -> None:
        """Computes the distribution function for every context."""
        device = self.states.device
        ranges = [torch.arange(size, device=device) for size in sizes]
        contexts = torch.cartesian_prod(*ranges).reshape(-1, len(sizes)) if sizes else self.before[None]
        condition = torch.zeros((len(contexts), condition_size), device=device)
        self._cumulative = self._distribution(contexts.T, condition)
        radix = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
        self._radix = torch.tensor(radix, dtype=torch.int64, device=device)[:, None]

    def _distribution(self, before: Tensor, condition: Tensor) -> Tensor:
        logits = self._conditional((before + self._offsets).T, condition, self._layer)
        cumulative = torch.softmax(logits, 1).cumsum(1)
        return cumulative / cumulative[:, -1:]

    def allowed(self, known: Tensor) -> Tensor | None:
        """Which states (N, S) agree with known classes (N, K); None if all do."""
        wanted = known[:, self.members].unsqueeze(2)
        if bool((wanted == UNKNOWN).all()):
            return None
        return ((wanted == UNKNOWN) | (wanted == self.states)).all(1)

    def draw(
        self, uniform: Tensor, before: Tensor, condition: Tensor, allowed: Tensor | None = None
    ) -> Tensor:
        """The group's state (N,) for uniform numbers (N,), given those before (P, N), of those allowed."""
        if allowed is not None:
            return self._draw_allowed(uniform, before, condition, allowed)
        if self._cumulative is not None and self._radix is not None:
            if len(self._cumulative) == 1:
                return torch.searchsorted(self._cumulative[0], uniform, right=True)
            return _inverted(self._cumulative[(before * self._radix).sum(0)], uniform)
        # Where a count leaves one choice, as for the fifth jet of most events, no network is needed.
        state = torch.full_like(uniform, -1, dtype=torch.int64)
        for rows in before + self._offsets:
            state = torch.maximum(state, self._only[rows])
        if torch.compiler.is_compiling():
            return torch.where(state < 0, _inverted(self._distribution(before, condition), uniform), state)
        free = (state < 0).nonzero()[:, 0]
        rows = self._distribution(before[:, free], condition[free])
        return state.index_copy(0, free, _inverted(rows, uniform[free]))

    def _draw_allowed(self, uniform: Tensor, before: Tensor, condition: Tensor, allowed: Tensor) -> Tensor:
        logits = self._conditional((before + self._offsets).T, condition, self._layer)
        # Where nothing is allowed that was ever observed, all that was observed is.
        allowed = allowed | ~allowed.any(1, keepdim=True)
        cumulative = torch.softmax(logits.masked_fill(~allowed, -math.inf), 1).cumsum(1)
        state = _inverted(cumulative / cumulative[:, -1:], uniform)
        return state.clamp(max=allowed.shape[1] - 1)


def _inverted(cumulative: Tensor, uniform: Tensor) -> Tensor:
    """The states (N,) at which distribution functions (N, S) pass uniform numbers (N,)."""
    return torch.searchsorted(cumulative, uniform[:, None], right=True)[:, 0]
