"""Collections that are given instead of generated: as networks see them, and as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hepgan.errors import InputError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema
from hepgan.features.config import FeaturesConfig, ObjectsConfig, Reference
from hepgan.features.view import azimuth_of
from hepgan.vectors.kinematics import wrap

if TYPE_CHECKING:
    from hepgan.features.representation import Representation

__all__ = ["Given", "given_config", "given_schema"]


def given_schema(schema: EventSchema, names: Sequence[str]) -> EventSchema:
    """The part of a schema that is given: these collections, and nothing else."""
    kept = tuple(c for c in schema.collections if c.name in names)
    return EventSchema(collections=kept, tree=schema.tree)


def given_config(schema: EventSchema) -> FeaturesConfig:
    """How given collections become numbers: log pt, eta and phi of momenta, all else as it is.

    They are only standardised, so that whatever is given later, further out too, is a number, and those of
    neighbours are neighbours.
    """
    blocks = []
    for c in schema.collections:
        if not c.coordinates or c.max_count == 0:
            continue
        names = ("px", "py") if len(c.coordinates) == 2 else ("pt", "eta", "phi")
        transforms: dict[str, Any] = {
            "pt": [{"kind": "signed_log", "scale": 1e-3}, "standardise"],
            "phi": "angle",
        }
        used = {n: transforms[n] for n in names if n in transforms}
        blocks.append(
            ObjectsConfig(collection=c.name, coordinates=names, order=False, transforms=used),
        )
    return FeaturesConfig(blocks=tuple(blocks), transform="standardise")


class Given(nn.Module):
    """The given collections of events, as conditions.

    ``pack`` and ``unpack`` keep every number as it is; ``encode`` makes what networks see, which is
    differentiable in them. Angles are seen as points on the circle, numbers of absent objects are 0, and
    counts, integers and categories as ``ContextEncoder`` has them.

    Args:
        inner: A representation of these collections, fitted or about to be.
        references: The objects whose summed momentum sets phi = 0 for networks; none to leave it as it is.
    """

    def __init__(self, inner: Representation, references: Sequence[Reference] = ()) -> None:
        super().__init__()
        self.inner, self.references = inner, tuple(references)
        self.schema = inner.schema

    @property
    def size(self) -> int:
        """The number of columns that networks see, G."""
        return self.inner.size + len(self.inner.periodic) + self.inner.context_size

    def fit(self, events: EventBatch) -> None:
        """Learns the constants from training events.

        Raises:
            InputError: If there are no events.
        """
        self.inner.fit(self._seen(self.unpack(self.pack(events))))

    # ------------------------------------------------------------------ as they are

    def pack(self, events: EventBatch) -> Tensor:
        """All numbers of the collections (N, R), in float64, with ones where there is an object.

        Raises:
            InputError: If a collection is missing.
        """
        parts = [torch.zeros(len(events), 0, dtype=torch.float64, device=events.device)]
        for c in self.schema.collections:
            if c.name not in events.collections:
                msg = f"the collection {c.name} is missing, which is a condition"
                raise InputError(msg)
            objects = events.collections[c.name]
            if not c.fixed:
                parts.append(self._wide(c, objects.mask))
            parts += [self._wide(c, objects[f.name]) for f in c.fields]
        return torch.cat([p.to(parts[0]) for p in parts], 1)

    def _wide(self, described: Collection, values: Tensor) -> Tensor:
        """Numbers (N, M) of a collection, padded to as many objects as there can be.

        Raises:
            InputError: If there may be more, or if not all have to be there that always were.
        """
        lacking = described.max_count - values.shape[1]
        if lacking < 0 or (lacking and described.fixed):
            msg = f"up to {values.shape[1]} {described.name}, but {described.max_count} in training"
            raise InputError(msg)
        return torch.nn.functional.pad(values, (0, lacking)) if lacking else values

    def unpack(self, packed: Tensor) -> dict[str, Objects]:
        """The objects of each collection, of their packed numbers (N, R)."""
        found: dict[str, Objects] = {}
        at = 0

        def take(width: int) -> Tensor:
            nonlocal at
            at += width
            return packed[:, at - width : at].to(torch.float64)

        for c in self.schema.collections:
            mask = None if c.fixed else take(c.max_count) > 0.5
            fields = {}
            for f in c.fields:
                values = take(c.max_count)
                if f.dtype == "string" or np.dtype(f.dtype).kind != "f":
                    values = values.round().to(torch.int64)
                fields[f.name] = values
            found[c.name] = Objects(fields, mask)
        return found

    def present(self, packed: Tensor, collection: str) -> Tensor:
        """Where (N, M) a collection has an object."""
        return self.unpack(packed)[collection].mask

    def azimuth(self, packed: Tensor) -> Tensor | None:
        """The azimuth (N,) of the reference; None without one."""
        if not self.references:
            return None
        return azimuth_of(self._batch(self.unpack(packed)), self.references)

    # ------------------------------------------------------------------ as networks see them

    def encode(self, packed: Tensor) -> Tensor:
        """(N, G) what networks see of packed numbers (N, R); differentiable.

        Raises:
            InputError: If a category did not occur in training, or more objects than there were.
        """
        features = self.inner.encode(self._seen(self.unpack(packed)), gradients=True)
        x, mask = features.x, features.mask
        turning = list(self.inner.periodic)
        others = [i for i in range(x.shape[1]) if i not in turning]
        cos, sin = torch.cos(x[:, turning]), torch.sin(x[:, turning])
        if mask is not None:
            cos, sin = (torch.where(mask[:, turning], v, 0.0) for v in (cos, sin))
        return torch.cat([x[:, others], cos, sin, features.context], 1)

    @property
    def columns(self) -> dict[str, dict[str, int]]:
        """The columns that networks see of each object's numbers, by its label and their names."""
        found: dict[str, dict[str, int]] = {}
        turning = list(self.inner.periodic)
        names = [n for i, n in enumerate(self.inner.names) if i not in turning]
        names += [f"{self.inner.names[i]}:cos" for i in turning]
        names += [f"{self.inner.names[i]}:sin" for i in turning]
        for column, name in enumerate(names):
            label, _, what = name.partition("].")
            if what:
                found.setdefault(f"{label}]", {})[what] = column
        return found

    def _batch(self, collections: Mapping[str, Objects]) -> EventBatch:
        return EventBatch(self.schema, collections)

    def _seen(self, collections: Mapping[str, Objects]) -> EventBatch:
        """The events turned to the reference azimuth."""
        events = self._batch(collections)
        if not self.references:
            return events
        angle = azimuth_of(events, self.references)
        return self._batch({n: _turned(o, -angle) for n, o in collections.items()})


def _turned(objects: Objects, angle: Tensor) -> Objects:
    """The objects turned about the beam by an angle (N,)."""
    fields = dict(objects.fields)
    angle = angle.unsqueeze(1)
    if "px" in fields and "py" in fields:
        x, y, cos, sin = fields["px"], fields["py"], torch.cos(angle), torch.sin(angle)
        fields["px"], fields["py"] = x * cos - y * sin, x * sin + y * cos
    if "phi" in fields:
        fields["phi"] = wrap(fields["phi"] + angle)
    return objects.with_fields(fields)
