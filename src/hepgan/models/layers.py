"""The invertible layers that flows are made of: functions of one feature each, and what decides on them.

In splines, parameters come first and events last in memory, so that what runs over the bins of a spline runs
over long rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from hepgan.models.base import Circles
from hepgan.models.config import FlowConfig
from hepgan.networks import MLP, MaskedMLP, MLPConfig, Network, ResidualMLP, Stacked, build_network
from hepgan.networks.drawing import normal
from hepgan.vectors.kinematics import wrap

__all__ = ["Autoregressive", "Coupling", "Mixing", "Univariate", "parameters_of", "spline"]

_FIRST = 0.01
"""The factor of the first weights of a network's last layer, so that flows begin near the identity."""

_MOST = 16
"""The most reflections that a rotation is made of."""

_LEAST = 1e-3
"""The least width and height of a spline's bin, as a share of all, and the least slope at a knot."""

_UNIT_SLOPE = math.log(math.expm1(1.0 - _LEAST))
"""What has slope 1 at a knot."""


# ------------------------------------------------------------------ layers


class Coupling(nn.Module):
    """Half of the features decide by a network how the others are transformed.

    Both ways cost one call of the network.

    References: L. Dinh et al., Density estimation using Real NVP, arXiv:1605.08803; C. Durkan et al., Neural
    spline flows, arXiv:1906.04032.

    Args:
        config: The recipe's choice.
        order: The features' numbers; the first half of them stay as they are.
        periodic: Numbers of the features that are angles.
        context_size: Columns of the context C.
    """

    index: Tensor
    order: Tensor

    def __init__(
        self, config: FlowConfig, *, order: Sequence[int], periodic: Sequence[int], context_size: int
    ) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(order, dtype=torch.int64), persistent=False)
        self.register_buffer("order", torch.argsort(self.index), persistent=False)
        self.kept = len(order) // 2
        angular = [i in set(periodic) for i in order]
        self.circles = Circles(self.kept, [i for i, a in enumerate(angular[: self.kept]) if a])
        self.univariate = Univariate(config, angular[self.kept :])
        # A network that would have nothing to see is shown a 1.
        inputs = self.circles.inputs or 1
        self.context_size = context_size
        self.network = build_network(
            config.network, inputs, len(self.univariate.owners), context=context_size
        )
        _shrink(self.network)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The transformed features (N, D), and the logarithm of the Jacobian determinant (N,)."""
        return self._transformed(x, context, mask, inverse=False)

    def inverse(self, y: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The features (N, D) that these (N, D) were transformed from."""
        return self._transformed(y, context, mask, inverse=True)[0]

    def _transformed(
        self, x: Tensor, context: Tensor, mask: Tensor | None, *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        x = x.index_select(1, self.index)
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        seen = self.circles.seen(kept) if self.kept else torch.ones_like(x[:, :1])
        raw = self.network(seen, context if self.context_size else None)
        y, slopes = self.univariate(changed, raw, inverse=inverse)
        if mask is not None:
            there = mask.index_select(1, self.index[self.kept :])
            y, slopes = torch.where(there, y, 0.0), torch.where(there, slopes, 0.0)
        return torch.cat((kept, y), 1).index_select(1, self.order), slopes.sum(1)


class Autoregressive(nn.Module):
    """Each feature is transformed as those before it decide.

    The density costs one call of the network, and sampling one for each feature.

    References: G. Papamakarios et al., Masked autoregressive flow for density estimation, arXiv:1705.07057;
    M. Germain et al., MADE, arXiv:1502.03509.

    Args:
        config: The recipe's choice.
        order: The features' numbers, each decided by those before.
        periodic: Numbers of the features that are angles.
        context_size: Columns of the context C.
    """

    index: Tensor
    order: Tensor

    def __init__(
        self, config: FlowConfig, *, order: Sequence[int], periodic: Sequence[int], context_size: int
    ) -> None:
        super().__init__()
        self.register_buffer("index", torch.tensor(order, dtype=torch.int64), persistent=False)
        self.register_buffer("order", torch.argsort(self.index), persistent=False)
        angular = [i in set(periodic) for i in order]
        self.circles = Circles(len(order), [i for i, a in enumerate(angular) if a])
        self.univariate = Univariate(config, angular)
        self.context_size = context_size
        self.network: Network = MaskedMLP(
            cast("MLPConfig", config.network),
            inputs=(*range(len(order)), *self.circles.periodic),
            outputs=self.univariate.owners,
            context=context_size,
        )
        _shrink(self.network)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The transformed features (N, D), and the logarithm of the Jacobian determinant (N,)."""
        x = x.index_select(1, self.index)
        y, slopes = self.univariate(x, self._raw(x, context))
        if mask is not None:
            there = mask.index_select(1, self.index)
            y, slopes = torch.where(there, y, 0.0), torch.where(there, slopes, 0.0)
        return y.index_select(1, self.order), slopes.sum(1)

    def inverse(self, y: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        """The features (N, D) that these (N, D) were transformed from, one after another."""
        y = y.index_select(1, self.index)
        there = torch.ones_like(y, dtype=torch.bool) if mask is None else mask.index_select(1, self.index)
        numbers = torch.arange(y.shape[1], device=y.device)
        x = torch.zeros_like(y)
        # What is cached would be one member's weights for all.
        with nullcontext() if isinstance(self.network, Stacked) else parametrize.cached():
            for k in range(y.shape[1]):
                found, _ = self.univariate(y, self._raw(x, context), inverse=True)
                x = torch.where((numbers == k) & there, found, x)
        return x.index_select(1, self.order)

    def _raw(self, x: Tensor, context: Tensor) -> Tensor:
        raw: Tensor = self.network(self.circles.seen(x), context if self.context_size else None)
        return raw


def _shrink(network: Network) -> None:
    """Let a new network give almost 0."""
    last = network.layers[-1] if isinstance(network, MLP) else cast("ResidualMLP", network).leave
    with torch.no_grad():
        for name, parameter in last.named_parameters():
            parameter.mul_(0.0 if name.endswith("bias") else _FIRST)


class Mixing(nn.Module):
    """Scales and shifts of features on the line, then a product of Householder reflections of them.

    Features that an event does not have are left out of each reflection, which is one of the others still;
    so they stay 0 and have no influence. Angles stay as they are.

    References: J. Tomczak and M. Welling, Improving variational auto-encoders using Householder flow,
    arXiv:1611.09630; D. Kingma and P. Dhariwal, Glow, arXiv:1807.03039 (scales and shifts).

    Args:
        lines: Numbers of the features on the line, of which there are some.
        size: Number of features D.
        rotations: ``learned``, ``random`` (drawn evenly from all rotations, up to 17 features, and fixed), or
            ``none``.
    """

    index: Tensor
    order: Tensor
    axes: Tensor

    def __init__(
        self, lines: Sequence[int], size: int, rotations: Literal["learned", "random", "none"]
    ) -> None:
        super().__init__()
        others = [i for i in range(size) if i not in lines]
        self.whole = not others
        self.lines = len(lines)
        self.register_buffer("index", torch.tensor([*lines, *others], dtype=torch.int64), persistent=False)
        self.register_buffer("order", torch.argsort(self.index), persistent=False)
        self.log_scale = nn.Parameter(torch.zeros(self.lines))
        self.shift = nn.Parameter(torch.zeros(self.lines))
        count = 0 if rotations == "none" else min(self.lines - 1, _MOST)
        self.reflections = count
        # The reflections that make a matrix of normal numbers triangular make up an even random rotation.
        axes, _ = torch.geqrf(normal(self.lines, self.lines))
        axes = axes[:, :count].tril(-1)
        if rotations == "random":
            self.register_buffer("axes", axes)
        elif count:
            self.axes = nn.Parameter(axes)

    def forward(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """The mixed features (N, D), and the logarithm of the Jacobian determinant (N,)."""
        x, mask, rest = self._taken(x, mask)
        if mask is None:
            matrix = self._matrix()
            y = functional.linear(x, matrix * self.log_scale.exp(), functional.linear(self.shift, matrix))
            return self._back(y, rest), self.log_scale.sum().expand(len(x))
        y = torch.where(mask, torch.addcmul(self.shift, x, self.log_scale.exp()), 0.0)
        y = self._reflected(y, mask, reverse=True)
        return self._back(y, rest), torch.where(mask, self.log_scale, 0.0).sum(1)

    def inverse(self, y: Tensor, mask: Tensor | None) -> Tensor:
        """The features (N, D) that these (N, D) were mixed from."""
        y, mask, rest = self._taken(y, mask)
        if mask is None:
            x = (functional.linear(y, self._matrix().t()) - self.shift) * torch.exp(-self.log_scale)
            return self._back(x, rest)
        y = self._reflected(y, mask, reverse=False)
        x = torch.where(mask, (y - self.shift) * torch.exp(-self.log_scale), 0.0)
        return self._back(x, rest)

    def _taken(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The features on the line, their mask, and the other features."""
        if self.whole:
            return x, mask, None
        sorted_ = x.index_select(1, self.index)
        line = self.index[: self.lines]
        return (
            sorted_[:, : self.lines],
            None if mask is None else mask.index_select(1, line),
            sorted_[:, self.lines :],
        )

    def _back(self, x: Tensor, rest: Tensor | None) -> Tensor:
        return x if rest is None else torch.cat((x, rest), 1).index_select(1, self.order)

    def _vectors(self) -> Tensor:
        """The axes (L, R) of the reflections, with 1 on the diagonal and 0 above."""
        eye = torch.eye(self.lines, self.reflections, dtype=self.shift.dtype, device=self.shift.device)
        return self.axes.tril(-1) + eye

    def _matrix(self) -> Tensor:
        """The product of the reflections (L, L).

        Reference: T. Joffrain et al., Accumulating Householder transformations, ACM TOMS 32 (2006) 169.
        """
        if not self.reflections:
            return torch.eye(self.lines, dtype=self.shift.dtype, device=self.shift.device)
        vectors = self._vectors()
        gram = vectors.t() @ vectors
        # H_1 ... H_R = 1 - V T V^t, with V^t V above the diagonal of 1 / T, and half of it on the diagonal.
        inverse = gram.triu(1) + torch.diag(0.5 * gram.diagonal())
        within = torch.linalg.solve_triangular(inverse, vectors.t(), upper=True)
        matrix: Tensor = torch.eye(self.lines, dtype=vectors.dtype, device=vectors.device) - vectors @ within
        return matrix

    def _reflected(self, x: Tensor, mask: Tensor, *, reverse: bool) -> Tensor:
        """Each event's features (N, L), reflected at all axes, with ``reverse`` the last one first."""
        if not self.reflections:
            return x
        vectors = self._vectors()
        present = mask.to(x.dtype)
        squares = present @ vectors.square()
        # An event without any of an axis' features has nothing to reflect.
        factors = torch.where(squares > 0.0, 2.0 / squares.clamp(min=torch.finfo(x.dtype).tiny), 0.0)
        numbers = range(self.reflections)
        for k in reversed(numbers) if reverse else numbers:
            along = factors[:, k] * (x @ vectors[:, k])
            x = torch.addcmul(x, along[:, None], present * vectors[:, k], value=-1.0)
        return x


# ------------------------------------------------------------------ functions of one feature


class Univariate(nn.Module):
    """An increasing function of each of F features: affine or a spline; of angles a spline on the circle.

    An affine one is x exp(a tanh(s / a)) + t. On the circle, a spline is followed by a shift.

    Args:
        config: The recipe's choice.
        angular: Of each feature whether it is an angle in (-pi, pi].

    Attributes:
        owners: Of each parameter the number of its feature.
    """

    lines: Tensor
    angles: Tensor
    order: Tensor

    def __init__(self, config: FlowConfig, angular: Sequence[bool]) -> None:
        super().__init__()
        self.affine = config.transform == "affine"
        self.clamp, self.bins, self.bound = config.clamp, config.bins, config.bound
        lines = [i for i, a in enumerate(angular) if not a]
        angles = [i for i, a in enumerate(angular) if a]
        self.mixed = bool(lines and angles)
        self.of_line = 2 if self.affine else parameters_of(self.bins, circular=False)
        self.of_angle = 1 + parameters_of(self.bins, circular=True)
        self.owners = tuple(lines * self.of_line + angles * self.of_angle)
        self.line_parameters = len(lines) * self.of_line
        self.register_buffer("lines", torch.tensor(lines, dtype=torch.int64), persistent=False)
        self.register_buffer("angles", torch.tensor(angles, dtype=torch.int64), persistent=False)
        order = torch.argsort(torch.tensor(lines + angles))
        self.register_buffer("order", order, persistent=False)

    def forward(self, x: Tensor, raw: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Values (N, F) of features (N, F) with parameters (N, P), and logarithms of the slopes (N, F).

        The slopes are those of the function itself, also where the inverse is taken.
        """
        if not len(self.angles):
            return self._on_lines(x, raw, inverse)
        if not len(self.lines):
            return self._on_circles(x, raw, inverse)
        p = self.line_parameters
        parts = (
            self._on_lines(x.index_select(1, self.lines), raw[:, :p], inverse),
            self._on_circles(x.index_select(1, self.angles), raw[:, p:], inverse),
        )
        values, slopes = (torch.cat(both, 1).index_select(1, self.order) for both in zip(*parts, strict=True))
        return values, slopes

    def _on_lines(self, x: Tensor, raw: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        if self.affine:
            s, t = raw.chunk(2, 1)
            log_slope = self.clamp * torch.tanh(s / self.clamp)
            if inverse:
                return (x - t) * torch.exp(-log_slope), log_slope
            return torch.addcmul(t, x, log_slope.exp()), log_slope
        y, slope = spline(
            x.t(), _events_last(raw, x.shape[1]), bins=self.bins, bound=self.bound, inverse=inverse
        )
        return y.t(), slope.t()

    def _on_circles(self, x: Tensor, raw: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        parameters = _events_last(raw, x.shape[1])
        angle, shift = x.t(), parameters[-1]
        angle = wrap(angle - shift) if inverse else wrap(angle)
        y, slope = spline(
            angle, parameters[:-1], bins=self.bins, bound=math.pi, circular=True, inverse=inverse
        )
        return (y if inverse else wrap(y + shift)).t(), slope.t()


def _events_last(raw: Tensor, features: int) -> Tensor:
    return raw.t().contiguous().view(-1, features, raw.shape[0])


def parameters_of(bins: int, *, circular: bool) -> int:
    """How many parameters a spline has: widths, heights, and slopes at the knots.

    The slopes at the ends are 1, or on the circle one and the same.
    """
    return 3 * bins if circular else 3 * bins - 1


def spline(
    x: Tensor, raw: Tensor, *, bins: int, bound: float, circular: bool = False, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Monotonic rational-quadratic functions of [-bound, bound] onto itself; beyond, the identity.

    Parameters of 0 make the identity.

    Reference: C. Durkan et al., Neural spline flows, arXiv:1906.04032.

    Args:
        x: Arguments (F, N).
        raw: Parameters (P, F, N), any numbers.
        bins: Bins of a spline, at least 2.
        bound: Where splines begin and end.
        circular: Whether the slopes at both ends are the same, so that the function is smooth on a circle.
        inverse: Whether to take the inverse functions.

    Returns:
        The values (F, N), and the logarithms of the slopes (F, N) of the functions (not of the inverse
        ones) there.
    """
    unit = (x + bound) / (2.0 * bound)
    inside = (unit >= 0.0) & (unit <= 1.0)
    unit = unit.clamp(0.0, 1.0)
    piece = _piece(unit, raw, bins, circular=circular, inverse=inverse)
    t = piece.backward(unit) if inverse else (unit - piece.left) / piece.width
    # Rounding leads a little out of a narrow bin, where a steep piece has no positive slope.
    t = t.clamp(0.0, 1.0)
    value, log_slope = piece.forward(t)
    if inverse:
        value = piece.left + piece.width * t
    return torch.where(inside, 2.0 * bound * value - bound, x), torch.where(inside, log_slope, 0.0)


class _Piece(NamedTuple):
    """The spline in one bin: where that is, and the slopes at its ends, each (F, N)."""

    width: Tensor
    height: Tensor
    left: Tensor
    low: Tensor
    first: Tensor
    last: Tensor

    def forward(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Value and logarithm of the slope at this share of the bin."""
        mean = self.height / self.width
        rest = 1.0 - t
        both = t * rest
        square = t * t
        denominator = mean + (self.first + self.last - 2.0 * mean) * both
        value = self.low + self.height * (mean * square + self.first * both) / denominator
        slope = self.last * square + 2.0 * mean * both + self.first * rest * rest
        return value, slope.log() + 2.0 * (mean / denominator).log()

    def backward(self, value: Tensor) -> Tensor:
        """The share of the bin where this is the value."""
        mean = self.height / self.width
        rise = value - self.low
        bend = rise * (self.first + self.last - 2.0 * mean)
        a = self.height * (mean - self.first) + bend
        b = self.height * self.first - bend
        c = -mean * rise
        # Where b is positive, this form of the root has no difference of numbers that are nearly the same.
        root = (b * b - 4.0 * a * c).clamp(min=torch.finfo(b.dtype).tiny).sqrt()
        return 2.0 * c / (-b - root)


def _piece(unit: Tensor, raw: Tensor, bins: int, *, circular: bool, inverse: bool) -> _Piece:
    """The bin that each argument (F, N) in [0, 1] is in."""
    share = torch.softmax(raw[: 2 * bins].view(2, bins, *unit.shape), 1)
    sizes = _LEAST + (1.0 - bins * _LEAST) * share
    ends = sizes.cumsum(1)
    number = (ends[1 if inverse else 0, :-1] <= unit).sum(0, keepdim=True)
    both = number.expand(2, 1, *unit.shape)
    size = sizes.gather(1, both)[:, 0]
    start = ends.gather(1, both)[:, 0] - size
    # Only the two slopes of each bin are made positive, not those of all knots.
    slopes = raw[2 * bins :]
    if circular:
        first, last = slopes.gather(0, number), slopes.gather(0, (number + 1) % bins)
    else:
        first = slopes.gather(0, (number - 1).clamp(min=0)).masked_fill(number == 0, 0.0)
        last = slopes.gather(0, number.clamp(max=bins - 2)).masked_fill(number == bins - 1, 0.0)
    first, last = (_LEAST + functional.softplus(s[0] + _UNIT_SLOPE) for s in (first, last))
    return _Piece(size[0], size[1], start[0], start[1], first, last)
