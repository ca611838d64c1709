"""Maps with a formula: shifts, scales and rotations; edges, logarithms and angles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from hepgan.features.transforms.base import Transform
from hepgan.vectors.kinematics import wrap

__all__ = [
    "PCA",
    "Angle",
    "Arctanh",
    "AsIs",
    "LogEdge",
    "Logit",
    "MinMax",
    "PeriodicAngle",
    "SignedLog",
    "Standardise",
]

_MARGIN = 1e-3
"""How far beyond the data an edge taken from them lies, in units of the distance between the outermost entry
and the median."""

_FLAT = math.pi / math.sqrt(3)
"""The standard deviation of a flat angle."""


class AsIs(Transform, kind="as_is"):
    """Numbers as they are, for models that know what they mean."""

    def forward(self, x: Tensor) -> Tensor:
        """The same, in float64."""
        return self._promoted(x)

    def inverse(self, y: Tensor) -> Tensor:
        """The same, in float64."""
        return self._promoted(y)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(self._promoted(x))


class Standardise(Transform, kind="standardise"):
    """Weighted mean 0 and standard deviation 1 in every column; a constant column is only shifted."""

    mean: Tensor
    scale: Tensor

    def __init__(self, size: int, *, names: Sequence[str] | None = None) -> None:
        super().__init__(size, names=names)
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        self.mean, self.scale = moments(x, present, weight)

    def forward(self, x: Tensor) -> Tensor:
        """(x - mean) / scale."""
        return (self._promoted(x) - self.mean) / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Mean + scale y."""
        return self.mean + self.scale * self._promoted(y)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log scale."""
        return -self.scale.log().expand_as(self._promoted(x))


class MinMax(Transform, kind="min_max"):
    """The data's range in every column onto [low, high]; values beyond it are extrapolated, not clamped.

    Args:
        size: Number of columns D.
        low: Image of the smallest value.
        high: Image of the largest value; a constant column comes to lie midway.
        names: Names of the columns for error messages.

    Raises:
        ValueError: ``low`` is not below ``high``.
    """

    center: Tensor
    scale: Tensor

    def __init__(
        self, size: int, *, low: float = -1.0, high: float = 1.0, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(size, names=names)
        if not low < high:
            msg = f"low must be below high, got {low} and {high}"
            raise ValueError(msg)
        self.low, self.high, self.options = low, high, {"low": low, "high": high}
        self.register_buffer("center", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        low, high, filled = range_of_present(x, present)
        width = high - low
        self.scale = torch.where(filled & (width > 0), width / (self.high - self.low), 1.0)
        self.center = torch.where(filled, low + width / 2, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Linear, with the data's range onto [low, high]."""
        return (self._promoted(x) - self.center) / self.scale + (self.low + self.high) / 2

    def inverse(self, y: Tensor) -> Tensor:
        """Linear, with [low, high] onto the data's range."""
        return (self._promoted(y) - (self.low + self.high) / 2) * self.scale + self.center

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log scale."""
        return -self.scale.log().expand_as(self._promoted(x))


class PCA(Transform, kind="pca"):
    """Principal components of the weighted covariance, largest first, each of standard deviation 1.

    Columns mix, so they must all be real in every event, and the constant log-determinant is spread evenly
    over them. A direction without spread is rotated but not scaled.
    """

    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, size: int, *, names: Sequence[str] | None = None) -> None:
        super().__init__(size, names=names)
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("components", torch.eye(size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        complete = present.all(1, keepdim=True)
        if not bool(complete.any()):
            return
        variances, vectors = self._spectrum(x, complete, weight)
        if variances[0] < -1e-9 * variances[-1]:
            # Negative weights can leave a covariance that is none; absolute ones never do.
            variances, vectors = self._spectrum(x, complete, weight.abs())
        variances, vectors = variances.flip(0), vectors.flip(1).T
        # The sign of an eigenvector is arbitrary; fixing it makes fits comparable between machines. Of two
        # columns that are alike the elements are equal but for rounding, so the first of them counts.
        size = vectors.abs()
        large = (size > (1 - 1e-6) * size.amax(1, keepdim=True)).to(torch.uint8)
        self.components = vectors * vectors.gather(1, large.argmax(1, keepdim=True)).sign()
        self.mean = (column_weights(complete, weight) * x).sum(0)
        spread = variances > 1e-14 * variances[0].clamp(min=0.0)
        self.scale = torch.where(spread & (variances > 0), variances, 1.0).sqrt()

    @staticmethod
    def _spectrum(x: Tensor, complete: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        w = column_weights(complete, weight)
        centred = torch.where(complete, x - (w * x).sum(0), 0.0)
        variances, vectors = torch.linalg.eigh(centred.T @ (w * centred))
        return variances, vectors

    def forward(self, x: Tensor) -> Tensor:
        """Components of x - mean, divided by their scales."""
        return (self._promoted(x) - self.mean) @ self.components.T / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """Mean + the sum of the components."""
        return (self._promoted(y) * self.scale) @ self.components + self.mean

    def log_abs_det(self, x: Tensor) -> Tensor:
        """The mean of -log scale in each column."""
        return -self.scale.log().mean().expand_as(self._promoted(x))


class LogEdge(Transform, kind="log_edge"):
    """Logarithm of the distance from an edge, which the inverse can never reach: pt > cut, pz < beam energy.

    Args:
        size: Number of columns D.
        edge: The edge, one for all columns or one each; None takes it from the data, just beyond the
            outermost entry.
        side: ``lower``: y = log(x - edge); ``upper``: y = log(edge - x), which decreases with x.
        names: Names of the columns for error messages.

    Raises:
        ValueError: An unknown side, an edge that is not finite.
    """

    edge: Tensor

    def __init__(
        self,
        size: int,
        *,
        edge: float | Sequence[float] | None = None,
        side: Literal["lower", "upper"] = "lower",
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(size, names=names)
        if side not in ("lower", "upper"):
            msg = f"side must be 'lower' or 'upper', got {side!r}"
            raise ValueError(msg)
        self.side, self.options = side, {"edge": edge, "side": side}
        self._sign = 1.0 if side == "lower" else -1.0
        self.domain = f"{'above' if side == 'lower' else 'below'} its edge"
        self.register_buffer("edge", self._column(0.0 if edge is None else edge, "edge"))

    def inside(self, x: Tensor) -> Tensor:
        """Finite and beyond the edge."""
        return torch.isfinite(x) & (self._sign * (x - self.edge) > 0)

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        if self.options["edge"] is None:
            low, high, filled = range_of_present(x, present)
            below, above = _margins(x, present)
            fitted = low - below if self.side == "lower" else high + above
            self.edge = torch.where(filled, fitted, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Log |x - edge|; NaN beyond the edge."""
        return (self._sign * (self._promoted(x) - self.edge)).log()

    def inverse(self, y: Tensor) -> Tensor:
        """The edge plus or minus exp(y), strictly inside the edge whatever y is."""
        x = self.edge + self._sign * self._promoted(y).exp()
        return _strictly_inside(x, *((self.edge, None) if self.side == "lower" else (None, self.edge)))

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log |x - edge|."""
        return -self.forward(x)


class Logit(Transform, kind="logit"):
    """Both edges at infinity: y = log(x - low) - log(high - x); the inverse stays strictly between them.

    Args:
        size: Number of columns D.
        low: Lower edge, one for all columns or one each; None takes it from the data as ``LogEdge`` does.
        high: Upper edge, likewise.
        names: Names of the columns for error messages.

    Raises:
        ValueError: A low edge that is not below the high one.
    """

    low: Tensor
    high: Tensor
    domain = "strictly between its edges"

    def __init__(
        self,
        size: int,
        *,
        low: float | Sequence[float] | None = None,
        high: float | Sequence[float] | None = None,
        names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(size, names=names)
        self.options = {"low": low, "high": high}
        lower = None if low is None else self._column(low, "low")
        upper = None if high is None else self._column(high, "high")
        self.register_buffer(
            "low", (self._column(0.0, "low") if upper is None else upper - 1) if lower is None else lower
        )
        self.register_buffer("high", self.low + 1 if upper is None else upper)
        if not bool((self.low < self.high).all()):
            msg = f"low must be below high, got {low} and {high}"
            raise ValueError(msg)

    def inside(self, x: Tensor) -> Tensor:
        """Strictly between the edges."""
        return (x > self.low) & (x < self.high)

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        low, high, filled = range_of_present(x, present)
        below, above = _margins(x, present)
        if self.options["low"] is None:
            self.low = torch.where(filled, low - below, self.low)
        if self.options["high"] is None:
            self.high = torch.where(filled, high + above, self.high)

    def forward(self, x: Tensor) -> Tensor:
        """log(x - low) - log(high - x); NaN beyond the edges."""
        x = self._promoted(x)
        return (x - self.low).log() - (self.high - x).log()

    def inverse(self, y: Tensor) -> Tensor:
        """Strictly between the edges, measured from the nearer one to keep its precision."""
        y = self._promoted(y)
        step = (self.high - self.low) * torch.sigmoid(-y.abs())
        return _strictly_inside(torch.where(y < 0, self.low + step, self.high - step), self.low, self.high)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """log(high - low) - log(x - low) - log(high - x)."""
        x = self._promoted(x)
        return (self.high - self.low).log() - (x - self.low).log() - (self.high - x).log()


class SignedLog(Transform, kind="signed_log"):
    """y = sign(x) log(1 + |x|/s): linear near zero, logarithmic in both tails, smooth once.

    Args:
        size: Number of columns D.
        scale: s, one for all columns or one each; None takes the median of |x|.
        names: Names of the columns for error messages.

    Raises:
        ValueError: A scale that is not positive.
    """

    scale: Tensor

    def __init__(
        self, size: int, *, scale: float | Sequence[float] | None = None, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(size, names=names)
        self.options = {"scale": scale}
        self.register_buffer("scale", self._column(1.0 if scale is None else scale, "scale"))
        if not bool((self.scale > 0).all()):
            msg = f"scale must be positive, got {scale}"
            raise ValueError(msg)

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        if self.options["scale"] is None:
            used = present & (x != 0)
            median = torch.where(used, x.abs(), torch.nan).nanmedian(0).values
            # Where most values are next to nothing, the rest must not overflow.
            smallest = 1e-12 * torch.where(used, x.abs(), 0.0).amax(0)
            self.scale = torch.where(used.any(0), torch.maximum(median, smallest), 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """sign(x) log(1 + |x|/s)."""
        x = self._promoted(x)
        # abs() and sign() have gradient 0 at 0, where this map has gradient 1/s.
        sign = torch.where(x < 0, -1.0, 1.0).to(x)
        return sign * torch.log1p(sign * x / self.scale)

    def inverse(self, y: Tensor) -> Tensor:
        """Scale times sign(y) (exp|y| - 1)."""
        y = self._promoted(y)
        sign = torch.where(y < 0, -1.0, 1.0).to(y)
        return self.scale * sign * torch.expm1(sign * y)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log(s + |x|)."""
        return -(self.scale + self._promoted(x).abs()).log()


class Angle(Transform, kind="angle"):
    """An angle in [-pi, pi] as it is; models that know circles learn it as a point on one, without a cut.

    The inverse wraps. For models that don't, prefer ``PeriodicAngle``. Other numbers of which the largest is
    next to the smallest, such as an azimuth in degrees, are turned into such an angle.

    Args:
        size: Number of columns D.
        low: Where a turn begins.
        high: Where it ends.
        names: Names of the columns for error messages.

    Raises:
        ValueError: ``low`` is not below ``high``.
    """

    def __init__(
        self, size: int, *, low: float = -math.pi, high: float = math.pi, names: Sequence[str] | None = None
    ) -> None:
        super().__init__(size, names=names)
        if not -math.inf < low < high < math.inf:
            msg = f"low must be below high, got {low} and {high}"
            raise ValueError(msg)
        self.low, self.high = low, high
        self._usual = (low, high) == (-math.pi, math.pi)
        self.options = {} if self._usual else {"low": low, "high": high}
        self._unit = (high - low) / (2 * math.pi)
        ends = "from -pi to pi" if self._usual else f"from {low:g} to {high:g}"
        self.domain = f"an angle, {ends}"

    def inside(self, x: Tensor) -> Tensor:
        """Within a turn, whose ends float32 rounds up."""
        return (x - (self.low + self.high) / 2).abs() <= math.pi * self._unit * (1 + 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """The angle in [-pi, pi)."""
        x = self._promoted(x)
        return wrap(x if self._usual else (x - (self.low + self.high) / 2) / self._unit)

    def inverse(self, y: Tensor) -> Tensor:
        """The angle in [low, high), whatever y is."""
        y = wrap(self._promoted(y))
        return y if self._usual else (self.low + self.high) / 2 + self._unit * y

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Minus the logarithm of what is one radian."""
        return torch.full_like(self._promoted(x), 0.0 if self._usual else -math.log(self._unit))


class Arctanh(Logit, kind="arctanh"):
    """The published atanh(phi / pi), half a ``logit``: puts the cut at +-pi at infinity.

    Prefer ``PeriodicAngle``.

    Args:
        size: Number of columns D.
        scale: The edge; one millionth above pi by default, since pi rounded to float32 lies above pi.
        names: Names of the columns for error messages.

    Raises:
        ValueError: A scale that is not positive.
    """

    domain = "between -scale and scale"

    def __init__(
        self, size: int, *, scale: float = math.pi * (1 + 1e-6), names: Sequence[str] | None = None
    ) -> None:
        super().__init__(size, low=-scale, high=scale, names=names)
        self.scale, self.options = scale, {"scale": scale}
        # The scale tells them.
        self.register_buffer("low", self.low, persistent=False)
        self.register_buffer("high", self.high, persistent=False)

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        """atanh(x / scale); NaN beyond the edges."""
        return 0.5 * super().forward(x)

    def inverse(self, y: Tensor) -> Tensor:
        """Scale tanh(y), strictly inside the edges."""
        return super().inverse(2.0 * y)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """log(scale / (scale^2 - x^2))."""
        return super().log_abs_det(x) - math.log(2.0)


class PeriodicAngle(Transform, kind="periodic_angle"):
    """An angle wrapped into [-pi, pi), scaled so that a flat one has standard deviation 1.

    The inverse wraps, so a sample may cross the cut freely. Any finite angle is in the domain, and
    ``inverse(forward(x))`` is x modulo 2 pi.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The wrapped angle divided by pi / sqrt(3)."""
        return wrap(self._promoted(x)) / _FLAT

    def inverse(self, y: Tensor) -> Tensor:
        """The angle in [-pi, pi), whatever y is."""
        return wrap(self._promoted(y) * _FLAT)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """-log of the scale."""
        return torch.full_like(self._promoted(x), -math.log(_FLAT))


def column_weights(present: Tensor, weight: Tensor) -> Tensor:
    """Weights (N, D) that sum to 1 in each column, or are all 0 where nothing is present.

    Signed weights are kept unless a column's sum is not positive: then their absolute values serve.
    """
    w = torch.where(present, weight.unsqueeze(1), 0.0)
    w = torch.where(w.sum(0) > 0, w, w.abs())
    total = w.sum(0)
    return w / torch.where(total > 0, total, 1.0)


def moments(x: Tensor, present: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,); 0 and 1 where nothing is present, deviation 1 for a constant column.

    Signed weights can give a variance that is not positive; it is then taken with absolute weights.
    """
    w = column_weights(present, weight)
    mean = (w * x).sum(0)
    square = (x - mean).square()
    absolute = column_weights(present, weight.abs())
    variance = (w * square).sum(0)
    variance = torch.where(variance > 0, variance, (absolute * square).sum(0))
    deviation = variance.sqrt()
    rounding = 1e-12 * (absolute * x.abs()).sum(0)
    return mean, torch.where(deviation > rounding, deviation, 1.0)


def range_of_present(x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Smallest and largest real entry (D,), and where there is one (D,)."""
    low = torch.where(present, x, torch.inf).amin(0)
    high = torch.where(present, x, -torch.inf).amax(0)
    return low, high, present.any(0)


def _margins(x: Tensor, present: Tensor) -> Tensor:
    """How far (2, D) beyond the lowest and the highest real entry an edge lies."""
    low, high, filled = range_of_present(x, present)
    median = torch.where(present, x, torch.nan).nanmedian(0).values
    distances = torch.stack([median - low, high - median])
    width = torch.where(high > low, high - low, low.abs().clamp(min=1.0))
    distances = torch.where(distances > 0, distances, width)
    # A margin below the rounding of float32 input would not move the edge.
    rounding = (1e-6 * torch.stack([low.abs(), high.abs()])).clamp(min=1e-300)
    return torch.where(filled, torch.maximum(_MARGIN * distances, rounding), 0.0)


def _strictly_inside(x: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """Keep rounding from putting x on an edge."""
    if low is not None:
        x = torch.maximum(x, torch.nextafter(low, torch.full_like(low, torch.inf)))
    if high is not None:
        x = torch.minimum(x, torch.nextafter(high, torch.full_like(high, -torch.inf)))
    return x
