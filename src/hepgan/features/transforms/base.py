"""What every transform promises, transforms made of transforms, and how one is rebuilt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from hepgan.errors import InputError
from hepgan.features.precise import PreciseModule

__all__ = ["Chain", "Columns", "Transform"]

_KINDS: dict[str, type[Transform]] = {}


class Transform(PreciseModule):
    """An invertible, differentiable map of D columns, fitted to weighted and masked data.

    Subclasses give ``_fit``, ``forward``, ``inverse``, ``log_abs_det`` and, where they need it, ``inside``.

    Args:
        size: Number of columns D.
        names: Names of the columns for error messages.

    Raises:
        ValueError: ``size`` is below 1, or does not match ``names``.

    Attributes:
        options: What else the constructor was told, as JSON can hold it.
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
        self.options: dict[str, Any] = {}

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
        self._refuse(x, present & ~torch.isfinite(x), "finite")
        x = torch.where(present, x, 0.0)
        self._fit(x, present, w)
        self._refuse(x, present & ~self.inside(x), self.domain)
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

    def state(self) -> dict[str, Any]:
        """What its constructor was told, as JSON can hold it; what it has learned is in ``state_dict``."""
        told = {"kind": self.kind, "size": self.size, **self.options}
        return told if self.names is None else {**told, "names": list(self.names)}

    @staticmethod
    def from_state(state: Mapping[str, Any]) -> Transform:
        """The transform that ``state`` describes; ``load_state_dict`` then restores it exactly.

        Raises:
            ValueError: The kind is unknown, or an option does not belong to it.
        """
        kind = state.get("kind")
        if kind not in _KINDS:
            msg = f"unknown transform {kind!r}; known are {', '.join(sorted(_KINDS))}"
            raise ValueError(msg)
        try:
            return _KINDS[kind](**{k: v for k, v in state.items() if k != "kind"})
        except TypeError as error:
            msg = f"transform {kind!r} cannot be built from {dict(state)}: {error}"
            raise ValueError(msg) from error

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

    def _refuse(self, x: Tensor, bad: Tensor, expected: str) -> None:
        if not bool(bad.any()):
            return
        entry, column = (int(i) for i in torch.nonzero(bad)[0])
        count = int(bad[:, column].sum())
        name = f"column {column}" if self.names is None else f"column {column} ({self.names[column]})"
        msg = f"{name} is {float(x[entry, column])!r}, but must be {expected} ({count} such)"
        raise InputError(msg, branch=None if self.names is None else self.names[column], entry=entry)


class Chain(Transform, kind="chain"):
    """Transforms one after the other; each is fitted to the output of those before it.

    Args:
        transforms: At least one, all of the same size, or their states.

    Raises:
        ValueError: No transform, or different sizes.
    """

    def __init__(self, transforms: Sequence[Transform | Mapping[str, Any]]) -> None:
        made = [_made(t) for t in transforms]
        sizes = {t.size for t in made}
        if len(sizes) != 1:
            msg = f"a chain needs transforms of one size, got sizes {[t.size for t in made]}"
            raise ValueError(msg)
        super().__init__(sizes.pop(), names=made[0].names)
        self.transforms = torch.nn.ModuleList(made)
        self.domain = made[0].domain

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)  # type: ignore[arg-type]

    def state(self) -> dict[str, Any]:
        """Kind and the members' states."""
        return {"kind": self.kind, "transforms": [t.state() for t in self]}

    def inside(self, x: Tensor) -> Tensor:
        """Inside every member's domain in turn."""
        inside = torch.ones_like(x, dtype=torch.bool)
        for transform in self:
            inside = inside & transform.inside(x)
            x = transform(x)
        return inside

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        for transform in self:
            transform.fit(x, present, weight)
            x = torch.where(present, transform(x), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Each member in turn."""
        for transform in self:
            x = transform(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        """Each member's inverse, last first."""
        for transform in reversed(list(self)):
            y = transform.inverse(y)
        return y

    def log_abs_det(self, x: Tensor) -> Tensor:
        """The sum over the members."""
        total = torch.zeros_like(self._promoted(x))
        for transform in self:
            total = total + transform.log_abs_det(x)
            x = transform(x)
        return total


class Columns(Transform, kind="columns"):
    """Different transforms for different columns.

    Args:
        transforms: Transforms, or their states, by the name of their group of columns.
        indices: The columns of each group, together each column once. By default the groups follow one
            another in the order given.

    Raises:
        ValueError: No group, or indices that do not cover the columns once each.
    """

    order: Tensor
    places: Tensor

    def __init__(
        self,
        transforms: Mapping[str, Transform | Mapping[str, Any]],
        *,
        indices: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        made = {name: _made(t) for name, t in transforms.items()}
        super().__init__(sum(t.size for t in made.values()))
        if indices is None:
            columns = iter(range(self.size))
            indices = {name: [next(columns) for _ in range(t.size)] for name, t in made.items()}
        sizes = {name: t.size for name, t in made.items()}
        order = [i for name in made for i in indices.get(name, ())]
        if {name: len(i) for name, i in indices.items()} != sizes or sorted(order) != list(range(self.size)):
            msg = f"indices {dict(indices)} do not give each of the groups {sizes} its columns once"
            raise ValueError(msg)
        self.indices = {name: list(indices[name]) for name in made}
        self.transforms = torch.nn.ModuleList(made.values())
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("places", torch.tensor(order).argsort(), persistent=False)
        self.domain = "in its transform's domain"

    def __getitem__(self, name: str) -> Transform:
        return self._groups()[name]

    def _groups(self) -> dict[str, Transform]:
        return dict(zip(self.indices, self.transforms, strict=True))  # type: ignore[arg-type]

    def state(self) -> dict[str, Any]:
        """Kind, the members' states, and their columns."""
        told = {name: t.state() for name, t in self._groups().items()}
        return {"kind": self.kind, "transforms": told, "indices": self.indices}

    def _split(self, x: Tensor) -> list[tuple[Transform, Tensor]]:
        sizes = [len(i) for i in self.indices.values()]
        return list(zip(self._groups().values(), torch.split(x[:, self.order], sizes, 1), strict=True))

    def inside(self, x: Tensor) -> Tensor:
        """Inside the domain of the column's transform."""
        return torch.cat([t.inside(part) for t, part in self._split(x)], 1)[:, self.places]

    def _fit(self, x: Tensor, present: Tensor, weight: Tensor) -> None:
        for name, (transform, part), (_, real) in zip(
            self.indices, self._split(x), self._split(present), strict=True
        ):
            try:
                transform.fit(part, real, weight)
            except InputError as error:
                msg = f"{name}, {error.message}"
                raise InputError(msg, branch=error.branch, entry=error.entry) from error

    def forward(self, x: Tensor) -> Tensor:
        """Each group by its transform."""
        parts = self._split(self._promoted(x))
        return torch.cat([t(part) for t, part in parts], 1)[:, self.places]

    def inverse(self, y: Tensor) -> Tensor:
        """Each group by its transform's inverse."""
        parts = self._split(self._promoted(y))
        return torch.cat([t.inverse(part) for t, part in parts], 1)[:, self.places]

    def around(self, column: int) -> tuple[list[int], Transform]:
        """The columns of the group that one is of, and their transform."""
        name = next(n for n, columns in self.indices.items() if column in columns)
        return self.indices[name], self[name]

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Each group's own."""
        parts = self._split(self._promoted(x))
        return torch.cat([t.log_abs_det(part) for t, part in parts], 1)[:, self.places]


def _made(transform: Transform | Mapping[str, Any]) -> Transform:
    return transform if isinstance(transform, Transform) else Transform.from_state(transform)
