"""Transforms made of transforms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from hepgan.errors import InputError
from hepgan.features.transforms.base import Transform, transform_from_config

__all__ = ["Chain", "Columns"]


class Chain(Transform, kind="chain"):
    """Transforms one after the other; each is fitted to the output of those before it.

    Args:
        transforms: At least one, all of the same size.

    Raises:
        ValueError: No transform, or different sizes.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        sizes = {t.size for t in transforms}
        if len(sizes) != 1:
            msg = f"a chain needs transforms of one size, got sizes {[t.size for t in transforms]}"
            raise ValueError(msg)
        super().__init__(sizes.pop(), names=transforms[0].names)
        self.transforms = torch.nn.ModuleList(transforms)
        self.domain = transforms[0].domain

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)  # type: ignore[arg-type]

    def config(self) -> dict[str, Any]:
        """Kind and the members' descriptions."""
        return {"kind": self.kind, "transforms": [t.config() for t in self]}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from ``config()`` without its kind."""
        return cls([transform_from_config(c) for c in options["transforms"]])

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
        transforms: Transforms by the name of their group of columns.
        indices: The columns of each group, together each column once. By default the groups follow one
            another in the order given.

    Raises:
        ValueError: No group, or indices that do not cover the columns once each.
    """

    order: Tensor
    places: Tensor

    def __init__(
        self, transforms: Mapping[str, Transform], *, indices: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        super().__init__(sum(t.size for t in transforms.values()))
        if indices is None:
            columns = iter(range(self.size))
            indices = {name: [next(columns) for _ in range(t.size)] for name, t in transforms.items()}
        sizes = {name: t.size for name, t in transforms.items()}
        order = [i for name in transforms for i in indices.get(name, ())]
        if {name: len(i) for name, i in indices.items()} != sizes or sorted(order) != list(range(self.size)):
            msg = f"indices {dict(indices)} do not give each of the groups {sizes} its columns once"
            raise ValueError(msg)
        self.indices = {name: list(indices[name]) for name in transforms}
        self.transforms = torch.nn.ModuleList(transforms.values())
        self.register_buffer("order", torch.tensor(order), persistent=False)
        self.register_buffer("places", torch.tensor(order).argsort(), persistent=False)
        self.domain = "in its transform's domain"

    def __getitem__(self, name: str) -> Transform:
        return self._groups()[name]

    def _groups(self) -> dict[str, Transform]:
        return dict(zip(self.indices, self.transforms, strict=True))  # type: ignore[arg-type]

    def config(self) -> dict[str, Any]:
        """Kind, the members' descriptions, and their columns."""
        described = {name: t.config() for name, t in self._groups().items()}
        return {"kind": self.kind, "transforms": described, "indices": self.indices}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Build from ``config()`` without its kind."""
        transforms = {name: transform_from_config(c) for name, c in options["transforms"].items()}
        return cls(transforms, indices=options["indices"])

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

    def log_abs_det(self, x: Tensor) -> Tensor:
        """Each group's own."""
        parts = self._split(self._promoted(x))
        return torch.cat([t.log_abs_det(part) for t, part in parts], 1)[:, self.places]
