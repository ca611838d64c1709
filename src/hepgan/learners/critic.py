"""Networks that tell real from generated events, and what they see of a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from hepgan.errors import RecipeError
from hepgan.features.space import Classes, FeatureBatch, Grid
from hepgan.learners.auxiliary import heads_of, wrongly
from hepgan.models import CriticConfig, InOne, SetConfig
from hepgan.networks import Network, build_network
from hepgan.networks.parallel import by_rows
from hepgan.objectives import (
    ADVERSARIAL,
    Points,
    Term,
    by_members,
    gradient_penalty,
    joined,
    normalised,
    r1_penalty,
)
from hepgan.observables.values import Flat

__all__ = ["Critic", "Critics", "Decode", "Observed", "TensorObservable"]


Decode = Callable[[FeatureBatch], Any]
"""Events of features."""


class TensorObservable(Protocol):
    """The part of an observable that learners need."""

    def __call__(self, events: Any) -> tuple[Tensor, Tensor | None]:
        """Values (N,) or, of objects, (N, M), and where there are any (None: everywhere)."""

    def flat(self, events: Any) -> Flat:
        """All values (n,), with the number of the event and the own weight of each."""

    def dense(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """One value for each event (N,), and where there is one (None: everywhere)."""


class Observed:
    """A batch with its observables, as critics and penalties see it.

    Args:
        batch: The events' features.
        weight: The event weights (N,); 1 if None.
        decode: Events of features.
        observables: The observables by name.
    """

    def __init__(
        self,
        batch: FeatureBatch,
        weight: Tensor | None,
        decode: Decode,
        observables: Mapping[str, TensorObservable],
    ) -> None:
        self.batch = batch
        self.weight = weight
        self._decode = decode
        self._observables = observables
        self._dense: dict[str, tuple[Tensor, Tensor]] = {}
        self._flat: dict[str, Flat] = {}

    @property
    def full_weight(self) -> Tensor:
        """The event weights (N,), 1 where there are none."""
        return torch.ones_like(self.batch.weight) if self.weight is None else self.weight

    @cached_property
    def events(self) -> Any:
        """The events."""
        return self._decode(self.batch)

    def dense(self, name: str) -> tuple[Tensor, Tensor]:
        """An observable's value in each event (N,), 0 where there is none, and 1 where there is, else 0."""
        if name not in self._dense:
            values, mask = self._observables[name].dense(self.events)
            there = torch.ones_like(values) if mask is None else mask.to(values.dtype)
            self._dense[name] = values, there
        return self._dense[name]

    def elements(self, names: Sequence[str]) -> Tensor:
        """Observables of objects (N, M, d), 0 where there are none, and as last column 1 where there are.

        Raises:
            RecipeError: If they are not of the same objects.
        """
        found = [self._observables[name](self.events) for name in names]
        shapes = {tuple(data.shape) for data, _ in found}
        if len(shapes) != 1 or found[0][0].ndim != 2:
            msg = f"a set needs observables of the same objects, which {', '.join(names)} are not"
            raise RecipeError(msg)
        there = torch.ones_like(found[0][0], dtype=torch.bool)
        for _, mask in found:
            there = there if mask is None else there & mask
        columns = [torch.where(there, data.double(), 0.0) for data, _ in found]
        return torch.stack([*columns, there.double()], dim=2)

    def sample(self, names: Sequence[str], *, features: bool = False) -> Points:
        """The values of one or several observables, and of the features; one row for each set of values.

        Observables of events may be joined with observables of objects, whose event they are of.

        Raises:
            RecipeError: If the observables are of different objects.
        """
        flats = [self._flat_values(name) for name in names]
        event = torch.arange(len(self.batch), device=self.batch.x.device)
        if flats:
            event = max((f.index for f in flats), key=len)
            if any(len(f.index) != len(event) or not torch.equal(f.index, event) for f in flats):
                flats, event = self._matched(names, flats)
        columns = [f.values for f in flats]
        if features:
            x = self.batch.x.double()
            columns += list((x if not flats else x[event]).unbind(1))
        weight = self.full_weight
        full = weight[event].to(columns[0].dtype)
        for f in flats:
            full = full if f.weight is None else full * f.weight
        values = columns[0] if len(columns) == 1 and not features else torch.stack(columns, dim=1)
        return Points(values, full, event, weight)

    def _flat_values(self, name: str) -> Flat:
        if name not in self._flat:
            flat: Flat = self._observables[name].flat(self.events)
            if not flat.values.is_floating_point():
                flat = flat._replace(values=flat.values.double())
            self._flat[name] = flat
        return self._flat[name]

    def _matched(self, names: Sequence[str], flats: list[Flat]) -> tuple[list[Flat], Tensor]:
        """The observables where all of them exist; those of events are repeated for each object."""
        size = len(self.batch)
        per_event = [bool((f.index.diff() > 0).all()) for f in flats]
        of_objects = [f for f, single in zip(flats, per_event, strict=True) if not single]
        index = of_objects[0].index if of_objects else torch.arange(size, device=self.batch.x.device)
        if any(not torch.equal(f.index, index) for f in of_objects):
            msg = f"{', '.join(names)} are not of the same objects, so they have no joint distribution"
            raise RecipeError(msg)
        there = torch.ones_like(index, dtype=torch.bool)
        matched = []
        for flat, single in zip(flats, per_event, strict=True):
            if not single:
                matched.append(flat)
                continue
            place = torch.full((size,), -1, device=index.device).index_put(
                (flat.index,), torch.arange(len(flat.index), device=index.device)
            )[index]
            there = there & (place >= 0)
            place = place.clamp_min(0)
            weight = None if flat.weight is None else flat.weight[place]
            matched.append(Flat(flat.values[place], index, weight))
        index = index[there]
        kept = [Flat(f.values[there], index, None if f.weight is None else f.weight[there]) for f in matched]
        return kept, index


class Critic(nn.Module):
    """A network that sees features, per-event observables and sets of objects of real and generated events.

    Each observable takes two columns: its value, standardised by the real events, and whether the
    event has one. The mask of the features isn't shown, since it follows from the context. Each set is
    seen through a sum over its objects, so their order does not matter.

    Args:
        config: The recipe's choice.
        size: Number of features D.
        context_size: Columns of the context C.
        limit: Where numbers (in units of the spread) begin to be compressed to their logarithm, so that
            events far off do not rule the gradient; None for nowhere.
        outputs: Outputs of its network besides those of its heads; the first tells real from generated.
        grid: Which features are an image.
        classes: Numbers of the event that have a few values, for its heads.

    Attributes:
        heads: Its outputs that tell the classes of events.
        apart: Whether real and generated events are scored in calls of their own, since the network's output
            for one event depends on the others.
        members: Of how many critics of an ensemble its network is.

    Raises:
        RecipeError: If its network does not fit what it sees, it has no such classes to tell, or a penalty on
            the slope of its output for an event, which depends on other events.
    """

    mean: Tensor
    std: Tensor
    members: int = 1

    def __init__(
        self,
        config: CriticConfig,
        *,
        size: int,
        context_size: int,
        limit: float | None = None,
        outputs: int = 1,
        grid: Grid | None = None,
        classes: Sequence[Classes] = (),
    ) -> None:
        super().__init__()
        self.config = config
        self.limit = limit
        self.loss = ADVERSARIAL[config.loss]
        self.context_size = context_size if config.context else 0
        self.penalty = (
            self.loss.gradient_penalty if config.gradient_penalty is None else config.gradient_penalty
        )
        self.clip = self.loss.clip if config.clip is None else config.clip
        plain = size * config.features + 2 * len(config.observables)
        self.sets = nn.ModuleList(_SetEncoder(c) for c in config.sets)
        inputs = plain + sum(c.size for c in config.sets)
        self.heads = heads_of(config, classes)
        self.network = build_network(
            config.network,
            inputs,
            outputs + sum(h.classes.size for h in self.heads),
            context=self.context_size,
            seen=grid if config.features else None,
            minibatch=config.minibatch,
        )
        self.apart = any(m.whole_batch for m in self.modules() if isinstance(m, Network))
        if self.apart and (self.penalty or config.r1):
            name = "gradient_penalty" if self.penalty else "r1"
            msg = (
                f"critic {config.name!r}: {name} is of the slope of the output for an event, and with batch "
                "norm or minibatch this depends on the other events; say norm: event, or take a loss without"
            )
            raise RecipeError(msg)
        self.register_buffer("mean", torch.zeros(len(config.observables)))
        self.register_buffer("std", torch.ones(len(config.observables)))

    @property
    def sees_events(self) -> bool:
        """Whether it sees more than features."""
        return bool(self.config.observables or self.config.sets)

    def inputs(self, seen: Observed) -> tuple[Tensor, ...]:
        """What it sees of a batch: (N, I) and, for each set, (N, M, d + 1)."""
        x = seen.batch.x
        parts = [x] if self.config.features else []
        if self.config.observables:
            found = [seen.dense(name) for name in self.config.observables]
            there = torch.stack([t for _, t in found], dim=1).to(x.dtype)
            values = torch.stack([v for v, _ in found], dim=1)
            scaled = ((values - self.mean) / self.std).to(x.dtype)
            parts += [scaled * there, there]
        plain = torch.cat(parts, dim=1) if len(parts) != 1 and parts else parts[0] if parts else x[:, :0]
        sets = [
            encoder.scaled(seen.elements(config.observables)).to(x.dtype)
            for encoder, config in zip(self._encoders(), self.config.sets, strict=True)
        ]
        return tuple(self._compressed(t) for t in (plain, *sets))

    def forward(self, inputs: tuple[Tensor, ...], context: Tensor) -> Tensor:
        """How real it finds events (N,), for what it sees and the context (N, C)."""
        return _first(self.outputs(inputs, context))

    def outputs(self, inputs: tuple[Tensor, ...], context: Tensor) -> Tensor:
        """All outputs of its network, (N, O) or, of one output, (N,); that of ``forward`` is the first."""
        return by_rows(self, self._outputs, context, *inputs, members=self.members)

    def _outputs(self, context: Tensor, plain: Tensor, *sets: Tensor) -> Tensor:
        sums = [encoder(elements) for encoder, elements in zip(self._encoders(), sets, strict=True)]
        everything = torch.cat((plain, *sums), dim=1) if sums else plain
        found: Tensor = self.network(everything, context if self.context_size else None)
        return found.squeeze(1) if found.shape[1] == 1 else found

    def sides(
        self, real: tuple[Tensor, ...], fake: tuple[Tensor, ...], context: Tensor
    ) -> tuple[Tensor, Tensor]:
        """All outputs for real and for generated events of the same context (N, C), as of ``outputs``."""
        real, fake = _aligned(real, fake)
        if self.apart:
            return self.outputs(real, context), self.outputs(fake, context)
        both = tuple(joined(*pair, self.members) for pair in zip(real, fake, strict=True))
        found = self.outputs(both, joined(context, context, self.members))
        good, bad = by_members(found, self.members).chunk(2, 1)
        return good.flatten(0, 1), bad.flatten(0, 1)

    def terms(
        self,
        real: tuple[Tensor, ...],
        fake: tuple[Tensor, ...],
        context: Tensor,
        weights: tuple[Tensor, Tensor | None],
        generator: torch.Generator,
        batches: tuple[FeatureBatch, FeatureBatch] | None = None,
    ) -> list[Term]:
        """What the critic minimises.

        Args:
            real: What it sees of N real events.
            fake: What it sees of N generated events.
            context: The context of both (N, C).
            weights: The event weights (N,) of both; None for 1.
            generator: Draws random numbers.
            batches: Both batches, for the classes of their events; not needed without heads.
        """
        name = self.config.name
        members = self.members
        sides = self.sides(real, fake, context)
        good, bad = (_first(side) for side in sides)
        true, made = (None if w is None else normalised(w, members) for w in weights)
        terms = [Term(name, self._value(good, bad, (cast("Tensor", true), made), generator))]
        for head in self.heads:
            batch, other = cast("tuple[FeatureBatch, FeatureBatch]", batches)
            targets = head.classes.of(batch), wrongly(head, other, self.config.flips.auxiliary, generator)
            terms += head.critic(*sides, targets, (cast("Tensor", true), made))

        def output(inputs: tuple[Tensor, ...]) -> Tensor:
            result: Tensor = self(inputs, context)
            return result

        if self.penalty:
            value = gradient_penalty(output, *_aligned(real, fake), generator)
            terms.append(Term(f"{name}_gradient_penalty", value, self.penalty))
        if self.config.r1:
            sizes = normalised(weights[0].abs(), members)
            terms.append(Term(f"{name}_r1", r1_penalty(output, real, sizes), 0.5 * self.config.r1))
        return terms

    def maker_terms(self, seen: Observed, name: str, factor: float, generator: torch.Generator) -> list[Term]:
        """What is minimised by what made these events.

        Args:
            seen: The events.
            name: What the term of the first output is called.
            factor: The factor of all terms.
            generator: Draws random numbers.
        """
        found = self.outputs(self.inputs(seen), seen.batch.context)
        sizes = None if seen.weight is None else normalised(seen.weight, self.members)
        terms = [Term(name, self.loss.generator(_first(found), sizes), factor)]
        for head in self.heads:
            targets = wrongly(head, seen.batch, self.config.flips.auxiliary, generator)
            terms.append(head.maker(found, targets, sizes, factor))
        return terms

    def _value(
        self,
        good: Tensor,
        bad: Tensor,
        weights: tuple[Tensor, Tensor | None],
        generator: torch.Generator,
    ) -> Tensor:
        """The loss of scores (N,) of real and generated events, some of which it takes for the other kind."""
        true, made = weights
        flips = self.config.flips
        if not (flips.real or flips.generated):
            return self.loss.critic(good, bad, true, made)
        made = torch.ones_like(true) if made is None else made
        drawn = torch.rand(2, len(true), generator=generator, device=true.device)
        r, g = (drawn < drawn.new_tensor([[flips.real], [flips.generated]])).to(true.dtype)
        both, other = torch.cat((good, bad)), torch.cat((bad, good))
        taken = torch.cat((true * (1.0 - r), made * g)), torch.cat((made * (1.0 - g), true * r))
        return self.loss.critic(both, other, *taken)

    @torch.no_grad()
    def clip_parameters(self) -> None:
        """Bring the parameters into their limits, if the loss has any."""
        if self.clip:
            for parameter in self.parameters():
                parameter.clamp_(-self.clip, self.clip)

    def standardise(self, seen: Observed) -> None:
        """Take mean and standard deviation of the observables from real events."""
        weight = seen.batch.weight if seen.weight is None else seen.weight
        if self.config.observables:
            found = [seen.dense(name) for name in self.config.observables]
            values, there = (torch.stack(part, dim=1) for part in zip(*found, strict=True))
            mean, std = _moments(values, weight[:, None] * there)
            self.mean.copy_(mean)
            self.std.copy_(std)
        for encoder, config in zip(self._encoders(), self.config.sets, strict=True):
            encoder.standardise(seen.elements(config.observables), weight)

    def _compressed(self, values: Tensor) -> Tensor:
        if self.limit is None:
            return values
        beyond = (values.abs() - self.limit).clamp_min(0.0)
        # Taking away what is beyond would lose all digits of it.
        within = values.clamp(-self.limit, self.limit)
        return within + torch.sign(values) * torch.log1p(beyond)

    def _encoders(self) -> list[_SetEncoder]:
        return cast("list[_SetEncoder]", list(self.sets))


class Critics(InOne[nn.ModuleList]):
    """The critics of several members of an ensemble in one.

    Args:
        stacked: Critics, one for each that the recipe has, which this one takes over.
        members: Those of each of the M members, with the weights that they start from.
    """

    def __init__(self, stacked: nn.ModuleList, members: Sequence[nn.ModuleList]) -> None:
        super().__init__(stacked, members)
        for critic in self:
            critic.members = len(members)

    def __iter__(self) -> Iterator[Critic]:
        """The critics, each with the network of all members."""
        return iter(cast("list[Critic]", list(self.stacked)))


class _SetEncoder(nn.Module):
    """The sum over objects of a network of each, in units of the mean number of objects.

    Reference: Zaheer et al., Deep sets, arXiv:1703.06114.
    """

    mean: Tensor
    std: Tensor
    count: Tensor

    def __init__(self, config: SetConfig) -> None:
        super().__init__()
        columns = len(config.observables)
        self.network = build_network(config.network, columns, config.size)
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("std", torch.ones(columns))
        self.register_buffer("count", torch.ones(()))

    def scaled(self, elements: Tensor) -> Tensor:
        """Elements (N, M, d + 1) with values in units of the real events'."""
        values, there = elements[..., :-1], elements[..., -1:]
        return torch.cat(((values - self.mean) / self.std * there, there), dim=2)

    def forward(self, elements: Tensor) -> Tensor:
        """The sums (N, size) over scaled elements (N, M, d + 1)."""
        number, most, columns = elements.shape
        each = self.network(elements[..., :-1].reshape(number * most, columns - 1))
        summed: Tensor = (each.reshape(number, most, -1) * elements[..., -1:]).sum(dim=1)
        return summed / self.count

    def standardise(self, elements: Tensor, weight: Tensor) -> None:
        there = elements[..., -1]
        full = weight[:, None] * there
        mean, std = _moments(elements[..., :-1].flatten(0, 1), full.reshape(-1, 1))
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.count.copy_(there.sum(dim=1).mean().clamp_min(1.0))


def _first(outputs: Tensor) -> Tensor:
    """The first (N,) of several outputs (N, O), or the only one (N,)."""
    return outputs if outputs.ndim == 1 else outputs[:, 0]


def _moments(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of columns (n, d), with weights (n, d or 1); 0 and 1 without values."""
    norm = weight.sum(dim=0)
    norm = torch.where(norm > 0.0, norm, torch.ones_like(norm))
    mean = (weight * values).sum(dim=0) / norm
    variance = (weight * (values - mean).square()).sum(dim=0) / norm
    return mean, torch.where(variance > 0.0, variance, torch.ones_like(variance)).sqrt()


def _aligned(
    real: tuple[Tensor, ...], fake: tuple[Tensor, ...]
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Both with equally many places for objects."""

    def padded(tensor: Tensor, like: Tensor) -> Tensor:
        if tensor.ndim == 2 or tensor.shape[1] >= like.shape[1]:
            return tensor
        return nn.functional.pad(tensor, (0, 0, 0, like.shape[1] - tensor.shape[1]))

    pairs = list(zip(real, fake, strict=True))
    return tuple(padded(r, f) for r, f in pairs), tuple(padded(f, r) for r, f in pairs)
