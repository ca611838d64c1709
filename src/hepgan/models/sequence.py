"""Images whose non-empty cells are made one after another, the largest content first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepgan.errors import RecipeError
from hepgan.features.cells import CellList
from hepgan.features.space import FeatureSpace
from hepgan.models.base import DensityModel, in_chunks
from hepgan.models.config import SequenceConfig
from hepgan.models.flow import Flow
from hepgan.networks.causal import CausalSets
from hepgan.networks.drawing import Linear, normal, take

__all__ = ["Sequence"]

_GROUP = 32
"""Sequences that are computed at once on a CPU: they are as long as the longest of them."""

_EDGE = 1e-5
"""Shares of the way from the least content to the one before are this far from 0 and 1."""

_HALVINGS = 24
"""Steps by which a distribution function is inverted."""

_NEVER = -1e9


class _Known(NamedTuple):
    """What is known of images before their cells.

    Attributes:
        start: As networks see it (N, width).
        totals: The totals (N, G).
    """

    start: Tensor
    totals: Tensor

    def of(self, rows: Tensor) -> _Known:
        """That of some images."""
        return _Known(self.start[rows], self.totals[rows])


class _Seen(NamedTuple):
    """All cells of the lists of some images, one list's after another's.

    Attributes:
        there: Where (N, T) lists have a cell.
        scores: Of each the scores (M, L) of all cells of the image.
        h: What is known before it (M, width).
        place: Which cell of the image it is (M,).
        content: Its content (M,).
        limit: The content of the one before (M,).
    """

    there: Tensor
    scores: Tensor
    h: Tensor
    place: Tensor
    content: Tensor
    limit: Tensor


class _Mixture(NamedTuple):
    """Mixtures of logistic distributions, cut off at 0 and 1.

    Attributes:
        weight: The logarithms of the shares (M, K).
        middle: The middles (M, K).
        scale: The logarithms of the widths (M, K).
    """

    weight: Tensor
    middle: Tensor
    scale: Tensor

    def log_density(self, share: Tensor) -> Tensor:
        """The logarithm of the density (M,) at numbers (M,)."""
        narrow = (-self.scale).exp()
        z = (share.unsqueeze(1) - self.middle) * narrow
        inside = torch.sigmoid((1 - self.middle) * narrow) - torch.sigmoid(-self.middle * narrow)
        each = self.weight - self.scale - functional.softplus(-z) - functional.softplus(z)
        return torch.logsumexp(each - inside.clamp(min=1e-6).log(), 1)

    def below(self, share: Tensor) -> Tensor:
        """The probability (M,) of less than numbers (M,)."""
        narrow = (-self.scale).exp()
        low = torch.sigmoid(-self.middle * narrow)
        inside = (torch.sigmoid((1 - self.middle) * narrow) - low).clamp(min=1e-6)
        part = (torch.sigmoid((share.unsqueeze(1) - self.middle) * narrow) - low) / inside
        return (self.weight.exp() * part).sum(1)

    def at(self, probability: Tensor) -> Tensor:
        """The numbers (M,) that are above others with probabilities (M,)."""
        narrow = (-self.scale).exp()
        low = torch.sigmoid(-self.middle * narrow)
        inside = (torch.sigmoid((1 - self.middle) * narrow) - low).clamp(min=1e-6)
        weight = self.weight.exp() / inside
        goal = probability + (weight * low).sum(1)
        shift = self.middle * narrow
        share, step = torch.full_like(probability, 0.5), 0.25
        for _ in range(_HALVINGS):
            reached = (weight * torch.sigmoid(share.unsqueeze(1) * narrow - shift)).sum(1)
            share = share + torch.where(reached < goal, step, -step)
            step /= 2
        return share


def _table(rows: int, width: int) -> nn.Embedding:
    """Numbers of their own for each of some things, to start from."""
    take(rows * width)
    return nn.Embedding(rows, width, _weight=0.3 * normal(rows, width))


class Sequence(DensityModel):
    """A flow of all features but the list of cells, and a causal network that makes these one by one.

    The network, which is the same for all cells, knows what the flow has made, the number of cells, the cells
    so far, and by how much their sums are short of the image's totals. It gives the probability of each cell
    of the image to be next, among those that are still empty; and then the distribution of its content
    between the least one and that of the cell before, a mixture of logistic distributions of the logarithm.
    So no cell is there twice, and the likelihood is exact. Each feature is made of one normal number.

    References: Y. Lu, J. Collado, D. Whiteson and P. Baldi, SARM: sparse autoregressive models for scalable
    generation of sparse images in particle physics, arXiv:2009.14017; M. Zaheer et al., Deep sets,
    arXiv:1703.06114.

    Args:
        config: The recipe's choice.
        space: The features.

    Raises:
        RecipeError: If no features are a list of cells.
    """

    others: Tensor
    slots: Tensor
    weights: Tensor
    places: Tensor
    knots: Tensor
    spreads: Tensor

    def __init__(self, config: SequenceConfig, space: FeatureSpace) -> None:
        super().__init__()
        self.config, self.space, self.noise_size = config, space, space.size
        if space.cells is None:
            msg = (
                "a model of kind sequence learns lists of cells: the recipe's features need a block of "
                "kind cells"
            )
            raise RecipeError(msg)
        self.cells: CellList = space.cells
        own = set(self.cells.features)
        others = [i for i in range(space.size) if i not in own]
        self._keep("others", torch.tensor(others, dtype=torch.int64))
        self._keep("slots", torch.tensor(list(self.cells.features), dtype=torch.int64))
        self.flow = None
        if others:
            periodic = tuple(others.index(p) for p in space.periodic)
            inner = FeatureSpace(len(others), space.context_size, periodic)
            self.flow = Flow(config.flow, inner)
        sums = self.cells.sums()
        self.sums = sums
        self.chosen = [sums.names.index(t.name) for t in self.cells.totals]
        self.sources = [others.index(t.feature) for t in self.cells.totals]
        single = torch.get_default_dtype()
        self._keep("weights", sums.weights.to(single))
        self._keep("places", self.cells.scaled().to(single))
        knots = torch.tensor([t.knots for t in self.cells.totals], dtype=torch.float64)
        # Kept with the weights: a model is built before the transforms of its features are there.
        self.register_buffer("knots", knots.reshape(len(self.chosen), -1 if self.chosen else 2).to(single))
        spreads = torch.tensor([t.spread or 1.0 for t in self.cells.totals], dtype=torch.float64)
        self._keep("spreads", spreads.to(single))
        width, axes = config.width, len(self.cells.axes)
        self.many = len(self.places)
        known = 2 + space.context_size + len(others)
        self.start = nn.Sequential(Linear(known, width), nn.SiLU(), Linear(width, width))
        self.enter = Linear(4 + 4 * axes + 3 * len(self.chosen), width)
        self.entered = _table(self.many, width)
        self.body = CausalSets(width, config.blocks)
        self.which = nn.Sequential(
            nn.LayerNorm(width), Linear(width, width), nn.SiLU(), Linear(width, self.many)
        )
        self.there = _table(self.many, width)
        self.before = Linear(width, width)
        self.content = nn.Sequential(
            nn.LayerNorm(width), Linear(width, width), nn.SiLU(), Linear(width, 3 * config.components)
        )

    def _keep(self, name: str, values: Tensor) -> None:
        self.register_buffer(name, values, persistent=False)

    # ------------------------------------------------------------------ what others ask for

    def log_prob(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Log of the density (N,) of features (N, D), of those that exist, with the cells' probabilities.

        Args:
            x: Features (N, D).
            context: (N, C).
            mask: True where a feature exists (N, D); None if all do.
        """
        number, order, groups = self._groups(x, mask)
        known = self._known(x, context, mask, number)
        parts = [self._log_prob_of(x[g], known.of(g), number[g]) for g in groups]
        found = x.new_empty(len(x)).index_copy(0, order, torch.cat(parts))
        if self.flow is not None:
            found = found + self.flow.log_prob(x[:, self.others], context, self._of_others(mask))
        return found

    @torch.no_grad()
    def latent(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The noise (N, D) that :meth:`sample` makes features (N, D) of.

        Any number of some interval makes one cell of the image; it is the one in its middle.
        """
        number, _, groups = self._groups(x, mask)
        known = self._known(x, context, mask, number)
        found = torch.zeros_like(x)
        for g in groups:
            z = self._latent_of(x[g], known.of(g), number[g])
            found[g[:, None], self.slots[: z.shape[1]]] = z
        if self.flow is not None:
            found[:, self.others] = self.flow.latent(x[:, self.others], context, self._of_others(mask))
        return found

    def sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """Features (N, D) of noise (N, D), 0 where masked; which cells are filled has no gradient."""
        return in_chunks(self._sample, noise, context, mask, self.chunk)

    def sampling_modules(self) -> Iterable[nn.Module]:
        """The flow, and what makes cells."""
        flow = [] if self.flow is None else [self.flow]
        causal = [self.start, self.enter, self.entered, self.body, self.which, self.there, self.before]
        return (*flow, *causal, self.content)

    def noise_mask(self, mask: Tensor | None) -> Tensor | None:
        """Each feature has its noise."""
        return mask

    # ------------------------------------------------------------------ what is known

    def _of_others(self, mask: Tensor | None) -> Tensor | None:
        return None if mask is None else mask[:, self.others]

    def _groups(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """The numbers of cells (N,), the order of events by them, and groups of events in this order."""
        if mask is None:
            number = torch.full((len(x),), self.cells.most, device=x.device)
        else:
            number = mask[:, self.slots[::2]].sum(1)
        order = number.argsort(stable=True)
        size = _GROUP if x.device.type == "cpu" else 1024
        return number, order, torch.split(order, size)

    def _known(self, x: Tensor, context: Tensor, mask: Tensor | None, number: Tensor) -> _Known:
        """What is known of images before their cells."""
        others = x[:, self.others]
        if mask is not None:
            others = torch.where(mask[:, self.others], others, 0.0)
        n = number.to(x.dtype).unsqueeze(1)
        seen = torch.cat([2 * n / self.cells.most - 1, n.clamp(min=0.5).log() - 3, others, context], 1)
        return _Known(self.start(seen[:, : self.start[0].in_features]), self._totals(others))

    def _totals(self, others: Tensor) -> Tensor:
        """The totals (N, G) themselves, of the features (N, ...) that are no cells."""
        z = others[:, self.sources].detach()
        last = self.knots.shape[1] - 1 if self.chosen else 1
        at = (z / CellList.REACH + 1).clamp(0, 2) * (last / 2)
        low = at.floor().clamp(max=last - 1).to(torch.int64)
        row = torch.arange(len(self.chosen), device=z.device)
        left, right = self.knots[row, low], self.knots[row, low + 1]
        return left + (right - left) * (at - low)

    def _inputs(self, content: Tensor, place: Tensor, sums: Tensor, left: Tensor, totals: Tensor) -> Tensor:
        """What cells (N, T) tell of themselves and of all so far, as numbers (N, T, ...).

        Args:
            content: Their contents (N, T).
            place: Which cells they are (N, T).
            sums: Sums over cells, up to and with this one (N, T, Q).
            left: How many cells are still to come (N, T).
            totals: The totals of the images (N, G).
        """
        reached = self.sums.totals(sums)
        where = self.places[place]
        size = (content / self.cells.least).log() / self.cells.span
        axes = len(self.cells.axes)
        parts = [
            torch.stack(
                [
                    size,
                    4 * content / self.cells.largest,
                    (reached[..., 0] / self.cells.least).clamp(min=1.0).log() / self.cells.span,
                    left / 20,
                ],
                2,
            ),
            where,
            where.square(),
            reached[..., 1 : 1 + 2 * axes],
        ]
        if self.chosen:
            own, whole = reached[..., self.chosen], totals.unsqueeze(1)
            short = (whole - own) / self.spreads
            parts += [own / self.spreads / 8, short.clamp(-10, 10) / 2, (50 * short).asinh() / 4]
        return torch.cat(parts, 2)

    # ------------------------------------------------------------------ the likelihood

    def _through(self, x: Tensor, known: _Known, number: Tensor) -> _Seen:
        """All cells of some images at once."""
        longest = int(number.max())
        pairs = x[:, self.slots[: 2 * longest]].reshape(len(x), longest, 2)
        there = torch.arange(longest, device=x.device) < number.unsqueeze(1)
        with torch.no_grad():
            place = torch.where(there, pairs[..., 0].round(), 0.0).to(torch.int64).clamp(0, self.many - 1)
            content = torch.where(there, pairs[..., 1], 0.0)
            sums = (content.unsqueeze(2) * self.weights[place]).cumsum(1)
            content = content.clamp(min=self.cells.least)
            left = number.unsqueeze(1) - torch.arange(1, longest + 1, device=x.device)
            told = self._inputs(content, place, sums, left.clamp(min=0), known.totals)[:, :-1]
        h = self.enter(told) + self.entered(place[:, :-1]) + known.start.unsqueeze(1)
        h, _ = self.body(torch.cat([known.start.unsqueeze(1), h], 1), known.start)
        h = h[there]
        row = torch.arange(len(h), device=x.device)
        numbers = torch.zeros_like(place)
        numbers[there] = row
        # What is before each cell of a list: pairs of a row and a cell of the image.
        earlier = torch.ones(longest, longest, dtype=torch.bool, device=x.device).tril(-1) & there.unsqueeze(
            2
        )
        image, at, before = earlier.nonzero(as_tuple=True)
        scores = self.which(h)
        taken = (numbers[image, at], place[image, before])
        scores = scores.index_put_(taken, scores.new_tensor(_NEVER))
        limit = torch.cat([content.new_full((len(x), 1), self.cells.largest), content[:, :-1]], 1)
        return _Seen(there, scores, h, place[there], content[there], limit[there])

    def _log_prob_of(self, x: Tensor, known: _Known, number: Tensor) -> Tensor:
        if int(number.max()) == 0:
            return x.new_zeros(len(x))
        seen = self._through(x, known, number)
        each = -functional.cross_entropy(seen.scores, seen.place, reduction="none")
        width, share = self._share(seen.content, seen.limit)
        mixture = self._mixture(seen.h, seen.place)
        each = each + mixture.log_density(share) - width.log() - seen.content.log()
        owner = torch.arange(len(x), device=x.device).unsqueeze(1).expand(-1, seen.there.shape[1])
        return x.new_zeros(len(x)).index_add(0, owner[seen.there], each)

    def _latent_of(self, x: Tensor, known: _Known, number: Tensor) -> Tensor:
        longest = int(number.max())
        if longest == 0:
            return x.new_zeros(len(x), 0)
        seen = self._through(x, known, number)
        chances = seen.scores.double().softmax(1)
        upper = chances.cumsum(1).gather(1, seen.place.unsqueeze(1))
        own = chances.gather(1, seen.place.unsqueeze(1))
        mixture = self._mixture(seen.h, seen.place)
        share = self._share(seen.content, seen.limit)[1]
        u = torch.stack([(upper - own / 2)[:, 0], mixture.below(share).double()], 1)
        z = torch.special.ndtri(u.clamp(1e-12, 1 - 1e-12)).to(x.dtype)
        found = x.new_zeros(len(x), longest, 2)
        found[seen.there] = z
        return found.flatten(1)

    def _share(self, content: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithm of the range of a content, and which share of the range it has."""
        least = self.cells.least
        width = (limit / least).log().clamp(min=1e-4)
        return width, ((content / least).log() / width).clamp(_EDGE, 1 - _EDGE)

    def _mixture(self, h: Tensor, place: Tensor) -> _Mixture:
        raw = self.content(self.before(h) + self.there(place))
        weight, middle, scale = raw.chunk(3, 1)
        return _Mixture(weight.log_softmax(1), middle.sigmoid() * 1.2 - 0.1, (scale - 2.5).clamp(-7, 1))

    # ------------------------------------------------------------------ sampling

    def _sample(self, noise: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        x = torch.zeros_like(noise)
        if self.flow is not None:
            x[:, self.others] = self.flow.sample(noise[:, self.others], context, self._of_others(mask))
        with torch.no_grad():
            number, order, _ = self._groups(x, mask)
            order = order.flip(0)
            known = self._known(
                x.detach()[order], context[order], None if mask is None else mask[order], number[order]
            )
            pairs = self._cells(noise[order[:, None], self.slots], known, number[order])
            x[order[:, None], self.slots] = pairs
        return x

    def _cells(self, noise: Tensor, known: _Known, number: Tensor) -> Tensor:
        """Pairs of cells and contents (N, 2 most) of images whose lists get shorter."""
        found = torch.zeros_like(noise)
        u = torch.special.ndtr(noise)
        start, totals = known
        h = start.unsqueeze(1)
        kept: list[Tensor] | None = None
        taken = torch.zeros(len(noise), self.many, dtype=torch.bool, device=noise.device)
        sums = noise.new_zeros(len(noise), self.weights.shape[1])
        limit = noise.new_full((len(noise),), self.cells.largest)
        rows = torch.arange(len(noise), device=noise.device)
        # As they get shorter, those that have a cell of a number are the first ones.
        many = (number.unsqueeze(1) > torch.arange(self.cells.most, device=noise.device)).sum(0).tolist()
        for k, size in enumerate(many):
            if size == 0:
                break
            h, start, totals, taken, sums, limit = (t[:size] for t in (h, start, totals, taken, sums, limit))
            h, kept = self.body(h, start, k, None if kept is None else [t[:size] for t in kept])
            now = h[:, 0]
            chances = self.which(now).masked_fill_(taken, _NEVER).softmax(1).cumsum_(1)
            place = torch.searchsorted(chances, (u[:size, 2 * k] * chances[:, -1]).unsqueeze(1), right=True)[
                :, 0
            ]
            place = self._free(place.clamp(max=self.many - 1), taken)
            share = self._mixture(now, place).at(u[:size, 2 * k + 1])
            width = (limit / self.cells.least).log().clamp(min=0.0)
            content = torch.minimum(self.cells.least * (share * width).exp(), limit).clamp(
                min=self.cells.least
            )
            found[:size, 2 * k], found[:size, 2 * k + 1] = place.to(noise.dtype), content
            taken[rows[:size], place] = True
            sums = sums + content.unsqueeze(1) * self.weights[place]
            limit = content
            left = (number[:size] - k - 1).unsqueeze(1)
            told = self._inputs(content.unsqueeze(1), place.unsqueeze(1), sums.unsqueeze(1), left, totals)
            h = self.enter(told) + self.entered(place).unsqueeze(1) + start.unsqueeze(1)
        return found

    def _free(self, place: Tensor, taken: Tensor) -> Tensor:
        """Cells (N,) that are empty: where rounding has led to one that is not, the first empty one."""
        wrong = taken.gather(1, place.unsqueeze(1))[:, 0]
        if not bool(wrong.any()):
            return place
        return torch.where(wrong, taken.to(torch.int8).argmin(1), place)
