"""Events as tensors: what models decode to, and what observables see during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

import torch
from torch import Tensor

from hepgan import vectors
from hepgan.events.schema import EventSchema, coordinates

__all__ = ["EventBatch", "Objects"]


class Objects:
    """The objects of one collection, one row an event, padded to the same number.

    It behaves as an awkward array of vector's momenta does: ``muons.pt``, ``muons.charge``,
    ``muons[:, 0] + muons[:, 1]``, ``(a + b).mass``, ``a.deltaR(b)``. Padded entries hold zeros, and
    ``mask`` tells them from objects. A field is also found by its name in brackets (``muons["pt"]``), which
    reaches those that are called as an attribute is (``muons["shape"]``).

    Args:
        fields: Names and values, each of shape (N, M), or (N,) for one object in each event.
        mask: True where there is an object, of the same shape; None if all are there.
    """

    def __init__(self, fields: Mapping[str, Tensor], mask: Tensor | None = None) -> None:
        self.fields = dict(fields)
        self._mask = mask
        self._all: Tensor | None = None

    @classmethod
    def of_lists(cls, fields: Mapping[str, Tensor], counts: Tensor, width: int) -> Objects:
        """Objects (N, width) of numbers in a row, as files and awkward arrays hold them.

        Args:
            fields: The numbers (K,) of all events' objects, one event after another.
            counts: The number (N,) of objects in each event.
            width: How many places there are; objects beyond them are left out.
        """
        shape = (len(counts), width)
        if bool((counts == width).all()):
            return cls({n: v.reshape(shape) for n, v in fields.items()})
        mask = torch.arange(width, device=counts.device) < counts.unsqueeze(1)
        if bool((counts > width).any()):
            start = (counts.cumsum(0) - counts).repeat_interleave(counts)
            kept = torch.arange(len(start), device=counts.device) - start < width
            fields = {n: v[kept] for n, v in fields.items()}
        # Row-major order of the mask is the order of the objects, so that no index has to be made.
        dense = {n: torch.zeros(shape, dtype=v.dtype, device=v.device) for n, v in fields.items()}
        return cls({n: dense[n].masked_scatter_(mask, v) for n, v in fields.items()}, mask)

    @property
    def mask(self) -> Tensor:
        """True where there is an object (N, M); a view of one True if all are there."""
        if self._mask is not None:
            return self._mask
        if self._all is None:
            self._all = torch.ones((), dtype=torch.bool, device=self.device).expand(self.shape)
        return self._all

    @property
    def full(self) -> bool:
        """Whether all objects are there, as far as can be told without looking at the mask."""
        return self._mask is None

    @cached_property
    def momentum(self) -> Any:
        """The objects' momenta (a vector on tensors).

        Raises:
            AttributeError: If the fields do not make a momentum.
        """
        names = coordinates(tuple(self.fields))
        if not names:
            msg = f"these objects have no momentum, only {', '.join(self.fields)}"
            raise AttributeError(msg)
        return vectors.array(**{n: self.fields[n] for n in names})

    @property
    def shape(self) -> torch.Size:
        """(N, M), or (N,)."""
        return next(iter(self.fields.values())).shape

    @property
    def device(self) -> torch.device:
        """Where the objects are."""
        return next(iter(self.fields.values())).device

    def __len__(self) -> int:
        return self.shape[0]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "fields":
            raise AttributeError(name)
        if name == "momentum":
            # the property has raised; without this, Python would ask here for it again and again
            msg = f"these objects have no momentum, only {', '.join(self.fields)}"
            raise AttributeError(msg)
        if name in self.fields:
            return self.fields[name]
        value = getattr(self.momentum, name)
        return _unwrapping(value) if callable(value) else value

    @overload
    def __getitem__(self, where: str) -> Tensor: ...
    @overload
    def __getitem__(self, where: Any) -> Objects: ...
    def __getitem__(self, where: Any) -> Tensor | Objects:
        """A field by its name; or some of the objects: ``muons[:, 0]``, ``muons[:, :2]``, ``muons[events]``.

        Raises:
            KeyError: If there is no such field.
        """
        if isinstance(where, str):
            if where not in self.fields:
                msg = f"these objects have no field {where!r}, only {', '.join(self.fields)}"
                raise KeyError(msg)
            return self.fields[where]
        return self.map(lambda t: t[where])

    def map(self, function: Callable[[Tensor], Tensor]) -> Objects:
        """The same objects with a function applied to every tensor, the mask included."""
        mask = None if self._mask is None else function(self._mask)
        return Objects({n: function(v) for n, v in self.fields.items()}, mask)

    def with_fields(self, fields: Mapping[str, Tensor]) -> Objects:
        """Other fields of the same objects."""
        return Objects(fields, self._mask)

    def __add__(self, other: Any) -> Any:
        return self.momentum + _bare(other)

    def __radd__(self, other: Any) -> Any:
        return self.momentum if isinstance(other, int) and other == 0 else _bare(other) + self.momentum

    def __sub__(self, other: Any) -> Any:
        return self.momentum - _bare(other)

    def __neg__(self) -> Any:
        return -self.momentum

    def __mul__(self, factor: Any) -> Any:
        return self.momentum * factor

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Objects({', '.join(self.fields)}; shape={tuple(self.shape)})"


class EventBatch:
    """A batch of N events as tensors on one device.

    Collections are attributes (``batch.Muon[:, 0].pt``), scalars too (``batch.beam_energy``), as in the
    awkward form of the same events; so one function computes an observable from either. As there, the
    numbers of a ``single`` object are (N,): ``batch.MET.pt``. Names in brackets (``batch["Muon"]``) reach
    what is called as an attribute is.

    Args:
        schema: What the events hold.
        collections: Objects of each collection, (N, M) with a mask; one object in each event may be (N,).
            Continuous numbers are float64 (or float32), integers int64; a category of strings holds
            indices into the field's ``values``.
        scalars: Numbers of the event, each (N,).
        size: N; needed only where there are neither collections nor scalars.

    Attributes:
        collections: Objects (N, M) of each collection, always; M is 1 for ``single`` ones.
    """

    def __init__(
        self,
        schema: EventSchema,
        collections: Mapping[str, Objects],
        scalars: Mapping[str, Tensor] | None = None,
        size: int | None = None,
    ) -> None:
        self.schema = schema
        self.collections = {n: o if len(o.shape) > 1 else o[:, None] for n, o in collections.items()}
        self.scalars = dict(scalars or {})
        self._only: dict[str, Objects] = {}
        members: list[Objects | Tensor] = [*self.collections.values(), *self.scalars.values()]
        if not members and size is None:
            msg = "a batch without collections and scalars needs its size"
            raise ValueError(msg)
        self._size = len(members[0]) if members else int(size or 0)

    def __len__(self) -> int:
        return self._size

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("schema", "collections", "scalars"):
            raise AttributeError(name)
        if name in self.collections or name in self.scalars:
            return self[name]
        msg = f"no collection or scalar {name!r}; there are {', '.join((*self.collections, *self.scalars))}"
        raise AttributeError(msg)

    @overload
    def __getitem__(self, where: str) -> Any: ...
    @overload
    def __getitem__(self, where: Tensor | slice) -> EventBatch: ...
    def __getitem__(self, where: str | Tensor | slice) -> Any:
        """A collection or scalar by its name; or a part of the events, by a mask, indices or a slice.

        Raises:
            KeyError: If there is no such collection or scalar.
        """
        if not isinstance(where, str):
            return self.map(lambda t: t[where])
        if where in self.scalars:
            return self.scalars[where]
        if where not in self.collections:
            known = ", ".join((*self.collections, *self.scalars))
            msg = f"no collection or scalar {where!r}; there are {known}"
            raise KeyError(msg)
        if where not in self._only:
            single = any(c.name == where and c.layout == "single" for c in self.schema.collections)
            objects = self.collections[where]
            self._only[where] = objects[:, 0] if single else objects
        return self._only[where]

    def map(self, function: Callable[[Tensor], Tensor]) -> EventBatch:
        """The same events with a function applied to every tensor."""
        return EventBatch(
            self.schema,
            {n: c.map(function) for n, c in self.collections.items()},
            {n: function(s) for n, s in self.scalars.items()},
            size=self._size if not (self.collections or self.scalars) else None,
        )

    def zip_map(self, other: EventBatch, function: Callable[[Tensor, Tensor], Tensor]) -> EventBatch:
        """The result of a function of each tensor and its like in another batch of the same schema."""
        return self._combine([self, other], lambda tensors: function(tensors[0], tensors[1]))

    @classmethod
    def concatenate(cls, batches: Sequence[EventBatch]) -> EventBatch:
        """The events of several batches of the same schema, one after another."""
        return cls._combine(batches, torch.cat)

    @classmethod
    def _combine(
        cls, batches: Sequence[EventBatch], function: Callable[[list[Tensor]], Tensor]
    ) -> EventBatch:
        first = batches[0]
        collections = {}
        for name, objects in first.collections.items():
            alike = [b.collections[name] for b in batches]
            collections[name] = Objects(
                {n: function([a.fields[n] for a in alike]) for n in objects.fields},
                None if all(a.full for a in alike) else function([a.mask for a in alike]),
            )
        scalars = {n: function([b.scalars[n] for b in batches]) for n in first.scalars}
        return cls(first.schema, collections, scalars, size=sum(map(len, batches)))

    @property
    def device(self) -> torch.device:
        """Where the events are; the CPU if there is nothing in them."""
        first = next(iter(self.collections.values()), None)
        if first is not None:
            return first.device
        return next((t.device for t in self.scalars.values()), torch.device("cpu"))

    @property
    def weight(self) -> Tensor | None:
        """The event weights (N,), or None if all events weigh 1."""
        return None if self.schema.weight is None else self.scalars.get(self.schema.weight)

    def to(self, device: torch.device | str) -> EventBatch:
        """The same events on another device."""
        return self.map(lambda t: t.to(device))

    def detach(self) -> EventBatch:
        """The same events outside the autograd graph."""
        return self.map(Tensor.detach)

    def __repr__(self) -> str:
        names = ", ".join((*self.collections, *self.scalars))
        return f"EventBatch({len(self)} events: {names})"


def _bare(value: Any) -> Any:
    return value.momentum if isinstance(value, Objects) else value


def _unwrapping(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        return method(*map(_bare, args), **{k: _bare(v) for k, v in kwargs.items()})

    return call
