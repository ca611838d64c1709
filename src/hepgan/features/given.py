"""Collections that are given instead of generated: as networks see them, and as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from hepgan.errors import InputError
from hepgan.events.angles import radians, stored_azimuth
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Address, Collection, EventSchema, Field
from hepgan.features.codec import Codec, LearnedCodec
from hepgan.features.config import FeaturesConfig, ObjectsConfig, TransformSpec
from hepgan.features.context import require_whole
from hepgan.features.reading import azimuth_of
from hepgan.vectors.kinematics import wrap

__all__ = ["Given", "given_config", "given_schema"]


def given_schema(schema: EventSchema, names: Sequence[str]) -> EventSchema:
    """The part of a schema that is given: these collections, and nothing else."""
    kept = tuple(c for c in schema.collections if c.name in names)
    return EventSchema(collections=kept, tree=schema.tree, unit=schema.unit)


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
        transforms: dict[str, TransformSpec] = {
            "pt": [{"kind": "signed_log", "scale": 1e-3 * schema.gev}, "standardise"],
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
        schema: The collections.
        learned: What was learned of them.
        references: The objects whose summed momentum sets phi = 0 for networks; none to leave it as it is.
    """

    def __init__(
        self, schema: EventSchema, learned: LearnedCodec, references: Sequence[Address] = ()
    ) -> None:
        super().__init__()
        self.schema, self.references = schema, tuple(references)
        self.codec = Codec(learned)

    @classmethod
    def learn(
        cls, schema: EventSchema, events: EventBatch, weight: Tensor, references: Sequence[Address]
    ) -> Self:
        """Learns from training events.

        Args:
            schema: The collections.
            events: N events.
            weight: (N,) their weights, of mean 1.
            references: The objects whose summed momentum sets phi = 0.
        """
        seen = _seen(schema, unpack(schema, pack(schema, events)), references)
        codec = Codec.learn(given_config(schema), schema, seen, torch.ones_like(weight))
        made = cls(schema, codec.learned, references)
        made.codec = codec
        return made

    @property
    def size(self) -> int:
        """The number of columns that networks see, G."""
        return len(self.codec.names) + len(self.codec.standard.periodic) + self.codec.told_size

    def pack(self, events: EventBatch) -> Tensor:
        """All numbers of the collections (N, R), in float64, with ones where there is an object.

        Raises:
            InputError: If a collection is missing.
        """
        return pack(self.schema, events)

    def unpack(self, packed: Tensor) -> dict[str, Objects]:
        """The objects of each collection, of their packed numbers (N, R)."""
        return unpack(self.schema, packed)

    def azimuth(self, packed: Tensor) -> Tensor | None:
        """The azimuth (N,) of the reference; None without one."""
        if not self.references:
            return None
        return azimuth_of(EventBatch(self.schema, self.unpack(packed)), self.references)

    def encode(self, packed: Tensor) -> Tensor:
        """(N, G) what networks see of packed numbers (N, R); differentiable.

        Raises:
            InputError: If a category did not occur in training, or more objects than there were.
        """
        seen = _seen(self.schema, self.unpack(packed), self.references)
        x, mask, _, told = self.codec.read(self.codec.reading(seen, None))
        turning = list(self.codec.standard.periodic)
        others = [i for i in range(x.shape[1]) if i not in turning]
        cos, sin = torch.cos(x[:, turning]), torch.sin(x[:, turning])
        if mask is not None:
            cos, sin = (torch.where(mask[:, turning], v, 0.0) for v in (cos, sin))
        return torch.cat([x[:, others], cos, sin, told], 1)

    @property
    def columns(self) -> dict[tuple[str | None, int], dict[str, int]]:
        """The columns that networks see of each object, by its collection and number and what they are."""
        turning = set(self.codec.standard.periodic)
        every = self.codec.assembly.columns
        kept = [every[k].address for k in self.codec.standard.kept.tolist()]
        seen = [(a, a.field) for i, a in enumerate(kept) if i not in turning]
        for what in ("cos", "sin"):
            seen += [(a, f"{a.field}:{what}") for i, a in enumerate(kept) if i in turning]
        found: dict[tuple[str | None, int], dict[str, int]] = {}
        for column, (address, name) in enumerate(seen):
            if address.slot is not None:
                found.setdefault((address.collection, address.slot), {})[name] = column
        return found


def pack(schema: EventSchema, events: EventBatch) -> Tensor:
    """All numbers (N, R) of a schema's collections; see ``Given``.

    Raises:
        InputError: If a collection is missing, or has integers that are no doubles.
    """
    parts = [torch.zeros(len(events), 0, dtype=torch.float64, device=events.device)]
    for c in schema.collections:
        if c.name not in events.collections:
            msg = f"the collection {c.name} is missing, which is a condition"
            raise InputError(msg)
        objects = events.collections[c.name]
        if not c.fixed:
            parts.append(_wide(c, objects.mask))
        for f in c.fields:
            require_whole(f"{c.name}.{f.name}", objects.fields[f.name])
            parts.append(_wide(c, objects.fields[f.name]))
    return torch.cat([p.to(parts[0]) for p in parts], 1)


def _wide(described: Collection, values: Tensor) -> Tensor:
    """Numbers (N, M) of a collection, padded to as many objects as there can be.

    Raises:
        InputError: If there may be more, or if not all have to be there that always were.
    """
    lacking = described.max_count - values.shape[1]
    if lacking < 0 or (lacking and described.fixed):
        msg = f"up to {values.shape[1]} {described.name}, but {described.max_count} in training"
        raise InputError(msg)
    return torch.nn.functional.pad(values, (0, lacking)) if lacking else values


def unpack(schema: EventSchema, packed: Tensor) -> dict[str, Objects]:
    """The objects of each of a schema's collections, of their packed numbers (N, R); see ``Given``."""
    found: dict[str, Objects] = {}
    at = 0

    def take(width: int) -> Tensor:
        nonlocal at
        at += width
        return packed[:, at - width : at].to(torch.float64)

    for c in schema.collections:
        mask = None if c.fixed else take(c.max_count) > 0.5
        fields = {}
        for f in c.fields:
            values = take(c.max_count)
            if f.dtype == "string" or np.dtype(f.dtype).kind != "f":
                values = values.round().to(torch.int64)
            fields[f.name] = values
        found[c.name] = Objects(fields, mask)
    return found


def _seen(
    schema: EventSchema, collections: Mapping[str, Objects], references: Sequence[Address]
) -> EventBatch:
    """The events turned to the reference azimuth."""
    events = EventBatch(schema, collections)
    if not references:
        return events
    angle = -azimuth_of(events, references).unsqueeze(1)
    return EventBatch(schema, {n: _turned(o, angle, schema.known(n, "phi")) for n, o in collections.items()})


def _turned(objects: Objects, angle: Tensor, azimuth: Field | None) -> Objects:
    """The objects turned about the beam by an angle (N, 1); the field says what their azimuths are in."""
    fields: dict[str, Any] = dict(objects.fields)
    if "px" in fields and "py" in fields:
        x, y, cos, sin = fields["px"], fields["py"], torch.cos(angle), torch.sin(angle)
        fields["px"], fields["py"] = x * cos - y * sin, x * sin + y * cos
    if "phi" in fields:
        fields["phi"] = stored_azimuth(wrap(radians(fields["phi"], azimuth) + angle), azimuth)
    return objects.with_fields(fields)
