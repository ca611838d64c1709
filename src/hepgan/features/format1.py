"""What representations and discrete parts kept in model files of format 1, as it is kept today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from hepgan.events.schema import Address, EventSchema
from hepgan.features.codec import Assembly, LearnedCodec
from hepgan.features.config import FeaturesConfig
from hepgan.features.facts import Facts, Places
from hepgan.features.parts import (
    DecayPart,
    FieldsPart,
    ObjectsPart,
    Part,
    Planned,
    TreePart,
)
from hepgan.features.parts.entries import Entry, described
from hepgan.features.parts.rest import RestFound, single_masses
from hepgan.features.plan import plan

__all__ = ["discrete", "learned", "rename", "transform"]

_MODULES = {"_standard.": "codec.standard.", "_given.inner._standard.": "_given.codec.standard."}


FORGOTTEN = {"whiten": True, "margin": 1e-3, "scaling": "variance"}
"""Options of transforms that are gone, with the only value that they still have."""


def transform(config: Any) -> Any:
    """A transform's description, also of transforms of transforms, without options that are gone."""
    if not isinstance(config, Mapping):
        return [transform(c) for c in config] if isinstance(config, list) else config
    return {k: transform(v) for k, v in config.items() if k not in FORGOTTEN or v != FORGOTTEN[k]}


def rename(tensors: dict[str, Any], prefix: str) -> None:
    """Gives the tensors of a representation's transforms, in a ``state_dict``, the names of today."""
    for old, new in _MODULES.items():
        for key in [k for k in tensors if k.startswith(prefix + old)]:
            tensors[prefix + new + key[len(prefix + old) :]] = tensors.pop(key)


def discrete(old: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a discrete part, or of those of an ensemble, of what was kept of it."""
    if "members" in old:
        return {"members": [discrete(m) for m in old["members"]]}
    variables = [{**v, "address": _address(v["name"])} for v in old["variables"]]
    return {k: v for k, v in old.items() if k != "fitted"} | {"variables": variables}


def _address(name: str) -> Address:
    """Whose number a variable is, which its name alone told."""
    owner, dot, field = name.partition(".")
    found = Address.parse(owner)
    return Address(found.name, found.slot, field) if dot else found


def learned(
    config: FeaturesConfig, schema: EventSchema, conditions: Sequence[str], old: Mapping[str, Any]
) -> dict[str, Any]:
    """What a representation has learned, of what was kept of it.

    Args:
        config: The recipe's settings.
        schema: What the events hold.
        conditions: What is given.
        old: The part ``learned`` of the state.
    """
    found: dict[str, Any] = {"conditions": old["conditions"]}
    found["codec"] = _codec(config, schema, conditions, old)
    if "given" in old:
        inner = old["given"]
        inner_config = FeaturesConfig.model_validate(inner["config"])
        found["given"] = _codec(
            inner_config, EventSchema.model_validate(inner["schema"]), (), inner["learned"]
        )
    return found


def _codec(
    config: FeaturesConfig, schema: EventSchema, conditions: Sequence[str], old: Mapping[str, Any]
) -> LearnedCodec:
    layout = dict(old["layout"])
    places = TypeAdapter(dict[str, Places]).validate_python(layout.pop("places", {}))
    facts = TypeAdapter(Facts).validate_python({"schema": schema, **layout}).with_places(places)
    planned = plan(config, facts, conditions)
    parts = [_part(p, facts, constants) for p, constants in zip(planned, old["blocks"], strict=True)]
    assembly = Assembly.of(facts, parts)
    return LearnedCodec(
        facts=facts,
        parts=assembly.parts,
        variables=assembly.variables,
        ordinal=old["ordinal"],
        columns=transform(old["columns"]),
    )


def _part(planned: Planned, facts: Facts, old: Mapping[str, Any]) -> Part:
    settings, more = planned.settings, dict(planned.more)
    if planned.part is DecayPart:
        half = tuple(old["half"])
        # Without floors, masses count from the event's own threshold.
        floors = tuple(old.get("floors", (0.0,) * len(half)))
        return DecayPart.make(settings, old["at_rest"], half, floors, tuple(old["centres"]), old["scale"])
    if planned.part is ObjectsPart:
        centre = tuple(old["centres"].get("phi", (0.0,) * len(more["slots"])))
        return ObjectsPart.make(
            settings, facts, **more, order=old["order"], low=old["low"], centre=centre, scale=old["scale"]
        )
    if planned.part is TreePart:
        rest = None
        if old["rest"] is not None:
            rest = RestFound(
                collection=settings.collection,
                total=settings.total_energy,
                masses=single_masses(facts.masses[settings.collection]),
                classes=tuple(int(c) for c in old["rest"]["classes"]),
                counts=tuple(int(c) for c in old["rest"]["counts"]),
            )
        firsts = tuple(tuple(int(n) for n in table) for table in old["first"])
        return TreePart.make(settings, facts, firsts, rest)
    if planned.part is FieldsPart:
        entries = tuple(_entry(facts, e) for e in old["entries"])
        return FieldsPart.make(settings, facts, more["bounds"], entries)
    made: Part = planned.part.make(settings, facts)
    return made


def _entry(facts: Facts, old: Mapping[str, Any]) -> Entry:
    continuous = old["mode"] == "continuous"
    return Entry(
        collection=old["collection"],
        name=old["name"],
        branch=described(facts, old["collection"], old["name"]).branch,
        slots=tuple(old["slots"]),
        mode=old["mode"],
        dtype=old["dtype"],
        ordinal=old["ordinal"],
        low=old["low"],
        high=old["high"],
        tables=() if continuous else tuple(tuple(map(float, t)) for t in old.get("tables", ())),
        atoms=tuple(old.get("atoms", ())),
        kinds=tuple(tuple(t) for t in old["tables"]) if continuous else (),
    )
