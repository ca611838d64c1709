"""What every transform promises, and the registry that rebuilds one from its description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hepgan.errors import InputError

__all__ = ["Identity", "Transform", "transform_from_config"]

_KINDS: dict[str, type[Transform]] = {}


class Transform(torch.nn.Module):
    """An invertible, differentiable map of D columns, fitted to weighted and masked data.

    Subclasses give ``_fit``, ``forward``, ``inverse``, ``log_abs_det`` and, where they have them,
    ``options`` and ``inside``.

    Args:
        size: Number of columns D.
        names: Names of the columns for error messages.

    Raises:
        ValueError: ``size`` is below 1, or does not match ``names``.
    """

    kind: ClassVar[str]
    domain: str = "finite"

    def __init_subclass__(cls, *, kind: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind:
            cls.kind = kind
            _KINDS[kind] = cls

    def __init__(self, size: int, *, names: Sequence[str] | None = None) -> None:
        super().__init__()
        if size < 1:
            msg = f"size must be at least 1, got {size}"
            raise ValueError(msg)
        if names is not None and len(names) != size:
            msg = f"{len(names)} names for {size} columns: {list(names)}"
            raise ValueError(msg)
        self.size = size
        self.names = None if names is None else tuple(names)

    def fit(self, x: Tensor, mask: Tensor | None = None, weight: Tensor | None = None) -> Self:
        """Learn the constants from data; masked entries have no influence.

        Moments and quantiles use the signed weights; ranges and edges cover events of any weight. Where the
        weights of a rarely filled column happen to have no positive sum, it uses their absolute values.

        Args:
            x: Data (N, D), of any real dtype.
            mask: True where an entry is real (N, D); all are by default.
            weight: Event weights (N,), negative ones allowed; 1 by default.

        Returns:
            The transform itself.

        Raises:
            InputError: Data not finite or outside the domain, no events, weights not finite or with a sum
                that is not positive.
            ValueError: Shapes that do not fit.
        """
        x = self._promoted(x).detach()
        n = x.shape[0]
        present = torch.ones_like(x, dtype=torch.bool) if mask is None else mask.to(torch.bool)
        w = x.new_ones(n) if weight is None else weight.detach().to(x)
        if present.shape != x.shape or w.shape != (n,):
            msg = f"x {tuple(x.shape)}, mask {tuple(present.shape)} and weight {tuple(w.shape)} do not match"
            raise ValueError(msg)
        if n == 0:
            msg = "no events to fit a transform to"
            raise InputError(msg)
        if not bool(torch.isfinite(w).all()):
            entry = int(torch.nonzero(~torch.isfinite(w))[0])
            msg = "event weight is not finite"
            raise InputError(msg, entry=entry)
        if not float(w.sum()) > 0:
            msg = f"the sum of the event weights is {float(w.sum()):g}, but must be positive"
            raise InputError(msg)
        self._refuse(x, present & ~torch.isfinite(x), "finite", InputError)
        x = torch.where(present, x, 0.0)
        self._fit(x, present, w)
        self._refuse(x, present & ~self.inside(x), self.domain, InputError)
        return self

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        """Learn from finite ``x`` (N, D), zero where not ``present`` (N, D), and ``weight`` (N,)."""

    def forward(self, x: Tensor) -> Tensor:
        """Physical columns x (N, D) to learned coordinates y (N, D), float64."""
        raise NotImplementedError

    def inverse(self, y: Tensor) -> Tensor:
        """Learned coordinates y (N, D) to physical columns x (N, D), float64."""
        raise NotImplementedError

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Log |dy/dx| at x (N, D), shape (N, D), whose sum over D is the log-determinant of ``forward``."""
        raise NotImplementedError

    def inside(self, x: Tensor) -> Tensor:
        """True where an entry of x (N, D) lies in the domain."""
        return torch.isfinite(x)

    def check(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Raise ValueError, naming column and entry, where x (N, D) lies outside the domain."""
        x = self._promoted(x)
        outside = ~self.inside(x)
        self._refuse(x, outside if mask is None else outside & mask, self.domain, ValueError)

    def options(self) -> dict[str, Any]:
        """Keyword arguments, apart from size and names, that rebuild the transform (before ``fit``)."""
        return {}

    def config(self) -> dict[str, Any]:
        """A description that JSON can hold; with ``state_dict`` it restores the transform exactly."""
        described = {"kind": self.kind, "size": self.size, **self.options()}
        return described if self.names is None else {**described, "names": list(self.names)}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from ``config()`` without its kind."""
        return cls(**options)

    def _promoted(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.size:
            msg = f"{type(self).__name__} takes shape (N, {self.size}), got {tuple(x.shape)}"
            raise ValueError(msg)
        return x.to(torch.float64)

    def _column(self, values: float | Sequence[float], label: str) -> Tensor:
        column = torch.as_tensor(values, dtype=torch.float64)
        if column.ndim > 1 or (column.ndim == 1 and len(column) != self.size):
            msg = f"{label} must be one number or one for each of {self.size} columns, got {values}"
            raise ValueError(msg)
        if not bool(torch.isfinite(column).all()):
            msg = f"{label} must be finite, got {values}"
            raise ValueError(msg)
        # clone alone keeps the stride 0 of a column of one, which no file takes.
        return column.expand(self.size) + 0.0

    def _refuse(self, x: Tensor, bad: Tensor, expected: str, error: type[ValueError]) -> None:
        if not bool(bad.any()):
            return
        entry, column = (int(i) for i in torch.nonzero(bad)[0])
        count = int(bad[:, column].sum())
        name = f"column {column}" if self.names is None else f"column {column} ({self.names[column]})"
        msg = f"{name} is {float(x[entry, column])!r}, but must be {expected} ({count} such)"
        if issubclass(error, InputError):
            raise error(msg, branch=None if self.names is None else self.names[column], entry=entry)
        msg = f"entry {entry}: {msg}"
        raise error(msg)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A model cast to float32 as a whole must not take the precision of its transforms with it.
        def keep_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_dtype, recurse)  # type: ignore[no-untyped-call]
        return self


class Identity(Transform, kind="identity"):
    """Columns as they are, in float64."""

    def forward(self, x: Tensor) -> Tensor:
        """X itself."""
        return self._promoted(x)

    def inverse(self, y: Tensor) -> Tensor:
        """Y itself."""
        return self._promoted(y)

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Zero."""
        return torch.zeros_like(self._promoted(x))


def transform_from_config(config: Mapping[str, Any]) -> Transform:
    """Rebuild a transform from ``Transform.config()``; ``load_state_dict`` then restores what it learned.

    Args:
        config: A mapping with ``kind``, ``size`` and the options of that kind.

    Raises:
        ValueError: The kind is unknown, or an option does not belong to it.
    """
    kind = config.get("kind")
    if kind not in _KINDS:
        msg = f"unknown transform {kind!r}; known are {', '.join(sorted(_KINDS))}"
        raise ValueError(msg)
    try:
        return _KINDS[kind].from_options({key: value for key, value in config.items() if key != "kind"})
    except (TypeError, KeyError) as error:
        msg = f"transform {kind!r} cannot be built from {dict(config)}: {error}"
        raise ValueError(msg) from error
