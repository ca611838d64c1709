"""How the discrete part of an event is learned: which variables go together, and their distributions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.errors import TrainingError
from hepgan.features.variables import DiscreteVariable, counts_of
from hepgan.models.discrete import (
    TABLE_STATES,
    TALLIED_CLASSES,
    Conditional,
    DiscreteModel,
    Group,
    LearnedDiscrete,
    same_field,
)
from hepgan.runtime import threads

__all__ = ["find_groups", "fit_discrete"]

MERGED_STATES = 64
ALL_PAIRS = 64
ONCE = 1e-3
"""Good and Turing: the probability of unseen states is about the share of events with a state seen once."""

PAIR_EXPECTED = 20.0
"""A pair of classes expected this often if independent, but never seen, is impossible."""

HIDDEN = 64
MAX_GROUPS = 128
MAX_BEFORE = 64
FEWEST_EVENTS = 200

STEPS = 600
ALL_STEPS = 8000
EPOCHS = 30
EVALUATIONS = 10
MATCHING = 20
"""Steps towards exact frequencies of pairs."""
PRIOR = 5.0
"""Events for and against that each weight is as the network has learned it."""
MAX_NUMBERS = 50_000_000
BATCH = 512
RATE = 6e-3
HELD_OUT = 0.1
MAX_HELD_OUT = 8192
MAX_LOGITS = 50_000_000
FEWEST = 20
EXPECTED = 12.0
CHUNK = 16384
LARGEST_SHIFT = 40.0


def fit_discrete(
    variables: Sequence[DiscreteVariable],
    discrete: Tensor,
    condition: Tensor,
    weight: Tensor,
    *,
    generator: torch.Generator,
    told: Callable[[int, int], None] | None = None,
) -> DiscreteModel:
    """A model that has learned the distribution of classes.

    The first group is a table of weighted frequencies, unless there are conditions. The others are small
    networks trained by weighted cross-entropy, of which the best on held-out events is kept. What they have
    learned to a per cent or so is then made exact: each group has, given the training events' groups before
    it, the frequencies of the training events, also together with each class and tally before it, as far as
    these are well known. Training is bounded in steps, so its time hardly grows with the number of events.

    Negative weights enter with their sign, in frequencies and in the cross-entropy, which stays correct on
    average; states whose weights sum to nothing positive are not generated.

    Args:
        variables: The K variables.
        discrete: (N, K) int64 classes; -1 where the object is absent.
        condition: (N, Q) encoded conditions.
        weight: (N,) event weights, of either sign.
        generator: Source of initial values and batches (on the CPU).
        told: Is told how many groups have been fitted, and of how many.

    Raises:
        ValueError: If shapes do not fit, a class is out of range, absence disagrees with a count, or a count
            is none of the variables.
        TrainingError: If there are no events, or their weights do not sum to a positive number.
    """
    device = discrete.device
    discrete, condition = discrete.detach().cpu(), condition.detach().cpu().float()
    weight = weight.detach().cpu().double()
    learned = LearnedDiscrete(variables=tuple(variables), condition_size=condition.shape[1])
    _check(variables, discrete, condition)
    if not variables:
        return DiscreteModel(learned)
    if len(discrete) == 0 or not float(weight.sum()) > 0:
        msg = f"{len(discrete)} events, whose weights sum to {float(weight.sum()):g}, have no distribution"
        raise TrainingError(msg)
    groups = find_groups(discrete, variables)
    index = torch.stack([group.index(discrete) for group in groups], 1)
    networks = len(groups) <= MAX_GROUPS and len(discrete) >= FEWEST_EVENTS
    hidden = [
        HIDDEN if networks and len(group) <= TABLE_STATES and (b or learned.condition_size) else 0
        for b, group in enumerate(groups)
    ]
    before = [_parents(groups, variables, b, bool(size)) for b, size in enumerate(hidden)]
    forbidden = []
    for b, parents in enumerate(before):
        for a in parents if hidden[b] and len(groups) <= ALL_PAIRS else ():
            never = _forbidden(groups[a], groups[b], (index[:, a], index[:, b]))
            if bool(never.any()):
                forbidden.append((a, b, never.nonzero().tolist()))
    blocks = [
        {
            "members": group.members,
            "states": group.states.tolist(),
            "before": parents,
            "hidden": size,
            "tallies": _tallied(group, [groups[a] for a in parents], variables) if size else (),
        }
        for group, parents, size in zip(groups, before, hidden, strict=True)
    ]
    model = DiscreteModel(
        LearnedDiscrete.model_validate({**dict(learned), "blocks": blocks, "forbidden": forbidden})
    )
    trained = max(sum(map(bool, hidden)), 1)
    steps = min(max(ALL_STEPS // trained, 100), STEPS, EPOCHS * math.ceil(len(discrete) / BATCH) + 100)
    for b in range(len(groups)):
        rows = index[:, before[b]] + model.offsets(b)
        _, pattern = torch.unique(groups[b].states < 0, dim=0, return_inverse=True)
        with threads(1):
            examples = Examples(rows, condition, index[:, b], weight)
            # What counts forbid of an index would else be missing from its marginal.
            index_of = any(variables[i].within is not None for i in groups[b].members)
            _fit(model.conditional(b), examples, pattern, steps, generator, calibrated=index_of)
        if told is not None:
            told(b + 1, len(groups))
    return model.to(device)


def _check(variables: Sequence[DiscreteVariable], discrete: Tensor, condition: Tensor) -> None:
    n, k = len(discrete), len(variables)
    if discrete.shape != (n, k) or len(condition) != n:
        msg = (
            f"discrete {tuple(discrete.shape)} and condition {tuple(condition.shape)}, "
            f"expected (N, {k}) and (N, Q)"
        )
        raise ValueError(msg)
    for i, variable in enumerate(variables):
        column = discrete[:, i]
        bad = (column < -1) | (column >= variable.size)
        if variable.count is not None and variable.slot is not None:
            values = torch.tensor(variables[variable.count].values, dtype=torch.float64)
            number = values[discrete[:, variable.count].clamp(0, len(values) - 1)]
            bad |= (number > variable.slot) != (column >= 0)
        if variable.within is not None:
            values = torch.tensor(variables[variable.within].values, dtype=torch.float64)
            number = values[discrete[:, variable.within].clamp(0, len(values) - 1)]
            own = torch.tensor(variable.values, dtype=torch.float64)[column.clamp(0, variable.size - 1)]
            bad |= (own >= number) & (column >= 0)
        if bool(bad.any()):
            entry = int(bad.nonzero()[0])
            msg = f"{variable.name}: class {int(column[entry])} of event {entry} is not possible"
            raise ValueError(msg)


def _parents(
    groups: Sequence[Group], variables: Sequence[DiscreteVariable], b: int, network: bool
) -> list[int]:
    """The groups that group b depends on."""
    mine = set(groups[b].members)
    counts = counts_of(variables[i] for i in mine) - mine
    if network:
        counts |= counts_of(variables)
    needed = [a for a in range(b) if counts & set(groups[a].members)]
    return sorted({*needed, *range(max(b - MAX_BEFORE, 0), b)}) if network else needed


def _tallied(group: Group, before: Sequence[Group], variables: Sequence[DiscreteVariable]) -> tuple[int, ...]:
    """The fields of a group's objects, each by one variable, that two objects before have or more.

    Which of an event's objects are b jets depends on how many of the others are, and not on which.
    """
    earlier = [variables[i] for other in before for i in other.members]
    found: list[int] = []
    for i in group.members:
        variable = variables[i]
        if variable.slot is None or variable.ordinal or variable.within is not None:
            continue
        if variable.size > TALLIED_CLASSES or any(same_field(variables[j], variable) for j in found):
            continue
        if sum(same_field(other, variable) for other in earlier) > 1:
            found.append(i)
    return tuple(found)


def find_groups(discrete: Tensor, variables: Sequence[DiscreteVariable]) -> list[Group]:
    """Groups of variables in the order of generation: counts, numbers of many classes, others.

    All variables are one group if their joint states are at most 512 and well populated. Else pairs of groups
    are merged while the merged group has at most 64 states, in this order: one determines the other; classes
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
        return [_observed(range(len(variables)), discrete)]
    counts = counts_of(variables)
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
            key = (i in counts, variable.count, variable.slot, variable.address.collection)
        parts.setdefault(key, []).append(single)
    merged = [c for part in parts.values() for c in _merge(part, variables)]
    groups = [_observed(c.members, discrete) for c in merged]

    def place(group: Group) -> tuple[bool, bool, int]:
        # Few classes given a number take fewer parameters than a number of many classes given them.
        return not counts & set(group.members), not group.is_smooth(variables), group.members[0]

    return sorted(groups, key=place)


def _compact(code: Tensor) -> tuple[Tensor, Tensor]:
    """Codes renumbered 0 .. S - 1, and how often each occurs."""
    _, inverse, counts = torch.unique(code, return_inverse=True, return_counts=True)
    return inverse, counts


def _populated(counts: Tensor) -> bool:
    return int((counts == 1).sum()) <= ONCE * int(counts.sum())


def _observed(members: Sequence[int], discrete: Tensor) -> Group:
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
    return Group(members, torch.stack(columns[::-1], 1))


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
    """Variables on the way to a group: each event's state, how many there are, which lack a member."""

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
    return (table == 0) & (expected > PAIR_EXPECTED)


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
        # States of one group must be compatible with every value of the one count that they hang on.
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


def _forbidden(first: Group, second: Group, index: tuple[Tensor, Tensor]) -> Tensor:
    """Pairs of states (S1, S2) of two groups that never meet, though they often would if independent.

    Args:
        first: A group.
        second: Another one.
        index: Each event's state of the one and of the other.
    """
    code = index[0] * len(second) + index[1]
    counts = torch.bincount(code, minlength=len(first) * len(second))
    return _impossible(counts.view(len(first), len(second)))


@dataclass(frozen=True)
class Examples:
    """What a conditional is fitted to.

    Attributes:
        rows: (N, P) int64, the state of each group before it, offset into the conditional's table.
        condition: (N, Q) float32.
        target: (N,) int64, the group's own state.
        weight: (N,) float64.
    """

    rows: Tensor
    condition: Tensor
    target: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return self.target.shape[0]

    def __getitem__(self, index: Tensor) -> Examples:
        return Examples(self.rows[index], self.condition[index], self.target[index], self.weight[index])


def _fit(
    conditional: Conditional,
    examples: Examples,
    pattern: Tensor,
    steps: int,
    generator: torch.Generator,
    *,
    calibrated: bool,
) -> None:
    """Weighted cross-entropy, then frequencies of pairs matched, then logits shifted to the exact marginal.

    Args:
        conditional: What learns.
        examples: Training events.
        pattern: (S,) int64, equal for states of which the same variables are absent.
        steps: Most steps of the optimiser.
        generator: Source of initial values and batches.
        calibrated: Whether logits are shifted even without a network.
    """
    frequency = torch.bincount(examples.target, examples.weight, minlength=len(conditional.bias))
    # A state of no positive weight stays possible for where nothing else is, but has no probability.
    frequency = (frequency / examples.weight.sum()).clamp(min=1e-12)
    conditional.bias.copy_(torch.log(frequency / frequency.sum()))
    if conditional.hidden:
        _initialise(conditional, generator)
        _train(conditional, examples, steps, generator)
        if examples.rows.shape[1]:
            _match(conditional, examples, generator)
            _learn_structure(conditional, examples, pattern)
    if conditional.hidden or calibrated:
        _calibrate(conditional, examples, frequency / frequency.sum(), generator)
    conditional.requires_grad_(False)


def _initialise(conditional: Conditional, generator: torch.Generator) -> None:
    with torch.no_grad():
        wide = conditional.embedding[:, : conditional.hidden]
        wide.normal_(0, 0.5, generator=generator)
        conditional.condition[:, : conditional.hidden].normal_(
            0, 1 / math.sqrt(max(len(conditional.condition), 1)), generator=generator
        )
        conditional.offset.normal_(0, 0.3, generator=generator)
        conditional.middle.weight.normal_(0, 1 / math.sqrt(conditional.hidden), generator=generator)
        conditional.middle.bias.zero_()
        # So that the untrained network is the marginal, which early stopping can fall back on.
        for skip in (
            conditional.embedding[:, conditional.hidden :],
            conditional.condition[:, conditional.hidden :],
            conditional.last.weight,
        ):
            skip.zero_()


def _train(conditional: Conditional, examples: Examples, steps: int, generator: torch.Generator) -> None:
    n = len(examples)
    order = torch.randperm(n, generator=generator)
    held = min(int(HELD_OUT * n), MAX_HELD_OUT)
    validation, training = examples[order[:held]], order[held:]
    if held == 0 or not steps:
        return
    scale = float(examples.weight.abs().mean())
    optimizer = torch.optim.Adam(conditional.parameters(), lr=RATE, weight_decay=1e-5, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.1)
    best, kept = _loss(conditional, validation, scale), _copy(conditional)
    batches = _batches(training, min(BATCH, len(training)), generator)
    table = _table(conditional)
    for step in range(1, steps + 1):
        with torch.enable_grad():
            loss = _loss(conditional, examples[next(batches)], scale, table())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(conditional.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % max(steps // EVALUATIONS, 1) == 0 or step == steps:
            with torch.no_grad():
                loss = _loss(conditional, validation, scale)
            if loss < best:
                best, kept = loss, _copy(conditional)
    conditional.load_state_dict(kept)


def _copy(conditional: Conditional) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in conditional.state_dict().items()}


def _table(conditional: Conditional) -> Callable[[], Tensor]:
    """What makes ``conditional.table()`` in a time that does not count features that are 0, as most are."""
    features = conditional.features.to_sparse()
    mask = functional.pad(conditional.mask, (conditional.hidden, 0))
    return lambda: mask + torch.sparse.mm(features, conditional.embedding)


def _loss(conditional: Conditional, examples: Examples, scale: float, table: Tensor | None = None) -> Tensor:
    logits = conditional.network(examples.rows, examples.condition, table) + conditional.bias.float()
    loss = functional.cross_entropy(logits, examples.target, reduction="none")
    return (loss * (examples.weight / scale).float()).mean()


def _match(conditional: Conditional, examples: Examples, generator: torch.Generator) -> None:
    """Moves the linear part of the logits until frequencies of pairs of states are those of the examples.

    Given the network, that part's cross-entropy is convex, and smallest where what is expected of each
    feature together with each state is what the examples have (maximum entropy). Weights stay where they are
    as far as few events speak for moving them.
    """
    with torch.no_grad():
        examples = examples[conditional.open(examples.rows).nonzero()[:, 0]]
        most = max(MAX_NUMBERS // (conditional.features.shape[1] + len(conditional.bias)), 1)
        if len(examples) > most:
            examples = examples[torch.randperm(len(examples), generator=generator)[:most]]
        total = float(examples.weight.sum())
        if not total > 0:
            return
        seen = functional.embedding_bag(
            conditional.with_tallies(examples.rows), conditional.features, mode="sum"
        )
        logits = conditional.network(examples.rows, examples.condition) + conditional.bias.float()
        weight = (examples.weight / total).float()
        size = seen.square().mean(0).sqrt().clamp(min=1e-3)
        seen /= size
        pull = PRIOR * float(examples.weight.abs().mean()) / (2 * total)
    moved = torch.zeros(len(size), len(conditional.bias), requires_grad=True)
    optimizer = torch.optim.LBFGS([moved], max_iter=MATCHING, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.enable_grad():
            entropy = functional.cross_entropy(
                torch.addmm(logits, seen, moved), examples.target, reduction="none"
            )
            loss = (entropy * weight).sum() + pull * (moved / size[:, None]).square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        conditional.embedding[:, conditional.hidden :] += moved / size[:, None]


@torch.no_grad()
def _calibrate(
    conditional: Conditional, examples: Examples, frequency: Tensor, generator: torch.Generator
) -> None:
    """Shifts the logits until the marginal over the examples is exact."""
    most = max(MAX_LOGITS // len(conditional.bias), 1)
    if len(examples) > most:
        examples = examples[torch.randperm(len(examples), generator=generator)[:most]]
    table = conditional.table()
    chances = []
    for start in range(0, len(examples), CHUNK):
        rows, condition = (t[start : start + CHUNK] for t in (examples.rows, examples.condition))
        logits = conditional.forbid(conditional.network(rows, condition, table), rows)
        chances.append(torch.softmax(logits + conditional.bias.float(), 1))
    # With its logits shifted, an event's chances are the products with these factors, over their sum.
    before = torch.cat(chances)
    weight, shift = (examples.weight / examples.weight.sum()).float(), torch.zeros_like(conditional.bias)
    for _ in range(50):
        factor = torch.exp(shift.clamp(-LARGEST_SHIFT, LARGEST_SHIFT)).float()
        sums = (before @ factor).clamp(min=torch.finfo(torch.float32).tiny)
        marginal = (factor * (weight / sums @ before)).double()
        if float((marginal - frequency).abs().max()) < 1e-5:
            break
        shift += torch.log(frequency / marginal.clamp(min=1e-12)).clamp(-2, 2)
    conditional.bias += shift


def _learn_structure(conditional: Conditional, examples: Examples, pattern: Tensor) -> None:
    """Finds combinations of states before (prefixes) after which most of what is usual never comes.

    That is a prefix seen at least 20 times, where the states that never follow would be expected 12
    times, and 20 times as often as followers seen just once (which by Good and Turing tell what is still
    to be seen). Only states with the same objects as a follower are compared, since counts decide on the
    rest.
    """
    found = [
        _never(key, examples.target, pattern, len(conditional.bias))
        for key in conditional.prefix_numbers(examples.rows)
    ]
    keys, order = torch.cat([key for key, _ in found]).sort()
    conditional.keys, conditional.never = keys, torch.cat([never for _, never in found])[order]


def _never(prefix: Tensor, target: Tensor, pattern: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Prefixes (L,) and which states (L, S) never follow them, for a ``Conditional``."""
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
