"""How each number is to be learned, told from the data.

The rules:

- Strings and booleans are categories.
- Integers are categories, if their name says so (``charge``, ``pdgId``, ...) and there are at most 256
  values; or if each value is there 20 times on average, and there are at most 2, or at most 32 that are
  spread over a range more than twice as wide. Others are integers.
- Objects' floating-point numbers, momentum components except the mass left aside, are categories, if there
  are at most 32 values, each of them 20 times on average (masses). A floating-point number of the event is a
  category only if it is the same in all events: a beam energy of five values is still a number, between
  whose values a model may interpolate.
- Others are continuous. Their atoms are the (at most 4) values that make up 0.5% of all or more, and occur at
  least 20 times, and 10 times more often than half of the values do.

Any of these choices can be changed by `with_kinds`.
"""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.events.columns import ATTRIBUTE, parts, scalar_values
from hepgan.events.naming import Branch, draft
from hepgan.events.schema import Collection, EventSchema, Field, Kind

__all__ = ["complete", "kind_of", "schema_of"]

_CATEGORICAL = {"charge", "q", "pdgid", "pid", "id", "flavour", "flavor", "partonflavour", "hadronflavour"}
_COMPONENTS = {"px", "py", "pz", "pt", "eta", "phi", "theta", "energy"}
_NAMED, _FEW, _OBVIOUS = 256, 32, 2
_REPEATS = 20
_ATOMS, _FRACTION, _OUTSTANDING = 4, 0.005, 10
_SAMPLE = 200_000


def schema_of(events: ak.Array) -> EventSchema:
    """The schema of events: the one they were read with, or else inferred from their type and values.

    A field that was added since is inferred, one that was taken away is left out. Inferred collections get
    NanoAOD's branch names: ``nMuon``, ``Muon_pt``.

    Args:
        events: Events as `read_events` gives them: one record for each collection.

    Raises:
        InputError: If the events hold something other than numbers, strings and lists of records.
    """
    known: EventSchema | None = events.attrs.get(ATTRIBUTE)
    fresh = _from_type(events)
    if known is None:
        return complete(fresh, events)
    new = {c.name: c for c in fresh.collections}
    collections = [
        merged for c in known.collections if c.name in new and (merged := _merged(c, new[c.name])) is not None
    ]
    kept = {c.name for c in collections}
    added = [c for c in fresh.collections if c.name not in kept]
    here = set(events.fields)
    scalars = [f for f in known.scalars if f.name in here]
    identifiers = [f for f in known.identifiers if f.name in here]
    named = {f.name for f in (*scalars, *identifiers)}
    unknown = [f for f in fresh.scalars if f.name not in named]
    schema = known.model_copy(
        update={
            "collections": (*collections, *added),
            "scalars": (*scalars, *unknown),
            "identifiers": tuple(identifiers),
            "weight": known.weight if known.weight in here else None,
        }
    )
    pending = {c.name: {f.name for f in c.fields} for c in added}
    for c, old in ((c, known.collection(c.name)) for c in collections):
        if extra := set(c.field_names) - set(old.field_names):
            pending[c.name] = extra
    if not pending and not unknown:
        return schema
    return complete(schema, events, only=pending, scalars={f.name for f in unknown})


def _merged(known: Collection, fresh: Collection) -> Collection | None:
    if (known.layout == "single") != (fresh.layout == "single"):
        return None
    here = set(fresh.field_names)
    kept = [f for f in known.fields if f.name in here]
    named = {f.name for f in kept}
    extra = [f for f in fresh.fields if f.name not in named]
    if known.layout == "indexed":
        extra = [
            f.model_copy(update={"branches": tuple(f"{f.name}{i + 1}" for i in range(known.max_count))})
            for f in extra
        ]
    return known.model_copy(update={"fields": (*kept, *extra)})


def _from_type(events: ak.Array) -> EventSchema:
    form = _bare(ak.to_layout(events).form)
    collections, scalars, identifiers, branches = [], [], [], []
    for name, inner in zip(form.fields, form.contents, strict=True):
        outer = _bare(inner)
        listed = outer.is_list and outer.parameter("__array__") not in ("string", "bytestring")
        record = _bare(outer.content) if listed else outer
        if record.is_record:
            fields = [
                Field(name=n, branches=(f"{name}_{n}",), dtype=dtype)
                for n, f in zip(record.fields, record.contents, strict=True)
                if (dtype := _dtype(f)) is not None
            ]
            if not fields:
                continue
            layout: Any = "jagged" if listed else "single"
            fixed = 0 if listed else 1
            counter = f"n{name}" if listed else None
            collections.append(
                Collection(
                    name=name,
                    layout=layout,
                    fields=tuple(fields),
                    counter=counter,
                    min_count=fixed,
                    max_count=fixed,
                )
            )
        elif (dtype := _dtype(outer)) is not None:
            branches.append(Branch(name, dtype))
            scalars.append(Field(name=name, branches=(name,), dtype=dtype))
    named = draft(branches)
    identified = {f.name for f in named.identifiers}
    identifiers = [f for f in scalars if f.name in identified]
    return EventSchema(
        collections=tuple(collections),
        scalars=tuple(f for f in scalars if f.name not in identified),
        identifiers=tuple(identifiers),
        weight=named.weight if named.weight in {f.name for f in scalars} else None,
    )


def _bare(form: Any) -> Any:
    while form.is_option or form.is_indexed:
        form = form.content
    return form


def _dtype(form: Any) -> str | None:
    form = _bare(form)
    if form.parameter("__array__") == "string":
        return "string"
    if form.is_numpy and not form.inner_shape and np.dtype(form.primitive).kind in "biuf":
        return str(form.primitive)
    return None


def complete(
    schema: EventSchema,
    events: ak.Array,
    *,
    only: dict[str, set[str]] | None = None,
    scalars: set[str] | None = None,
) -> EventSchema:
    """A schema with kinds, values, ranges and counts from the data.

    Args:
        schema: Which fields there are.
        events: The events.
        only: Fields of collections to complete, by collection; None for all.
        scalars: Scalars to complete; None for all.
    """
    collections = []
    for c in schema.collections:
        if only is not None and c.name not in only:
            collections.append(c)
            continue
        offsets, values = parts(events, c)
        wanted = set(c.field_names) if only is None else only[c.name]
        fields = [kind_of(f, values[f.name], of_object=True) if f.name in wanted else f for f in c.fields]
        update: dict[str, Any] = {"fields": tuple(fields)}
        if c.layout == "jagged" and offsets is not None and (only is None or wanted == set(c.field_names)):
            counts = np.diff(offsets)
            update["min_count"] = int(counts.min()) if counts.size else 0
            update["max_count"] = int(counts.max()) if counts.size else 0
        collections.append(c.model_copy(update=update))
    done = [
        kind_of(f, scalar_values(events, f.name, f.branch), weight=f.name == schema.weight)
        if scalars is None or f.name in scalars
        else f
        for f in schema.scalars
    ]
    return schema.model_copy(update={"collections": tuple(collections), "scalars": tuple(done)})


def kind_of(field: Field, values: NDArray[Any], *, of_object: bool = False, weight: bool = False) -> Field:
    """A field with its kind, values, atoms and range, by the rules above.

    Args:
        field: The field; its name counts.
        values: All its values.
        of_object: Whether it is an object's, not the event's.
        weight: Whether it is the event weight, which is always continuous.
    """
    if values.dtype.kind == "U":
        return _category(field, np.unique(values)) if values.size else field
    if values.dtype.kind == "b":
        return _category(field, np.array([False, True]) if not values.size else np.unique(values))
    finite = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    update: dict[str, Any] = {"kind": Kind.CONTINUOUS, "values": None, "atoms": ()}
    if finite.size:
        update |= {"low": float(finite.min()), "high": float(finite.max())}
    if values.dtype.kind in "iu" and not weight:
        few = _distinct(finite, _NAMED)
        if few is not None and few.size and _is_integer_category(field.name, few, finite.size):
            return _category(field.model_copy(update=update), few)
        update["kind"] = Kind.INTEGER
    elif finite.size and not weight:
        few = _distinct(finite, _FEW) if not (of_object and field.name in _COMPONENTS) else None
        limit = min(_FEW, finite.size // _REPEATS) if of_object else 1
        if few is not None and few.size <= limit:
            return _category(field.model_copy(update=update), few)
        update["atoms"] = _find_atoms(finite)
    return field.model_copy(update=update)


def _is_integer_category(name: str, values: NDArray[Any], size: int) -> bool:
    if name.lower() in _CATEGORICAL:
        return True
    if values.size > _FEW or size < _REPEATS * values.size:
        return False
    return values.size <= _OBVIOUS or int(values[-1]) - int(values[0]) + 1 > 2 * values.size


def _category(field: Field, values: NDArray[Any]) -> Field:
    numbers = values.dtype.kind in "iuf"
    return field.model_copy(
        update={
            "kind": Kind.CATEGORY,
            "values": tuple(values.tolist()),
            "atoms": (),
            "low": float(values[0]) if numbers else None,
            "high": float(values[-1]) if numbers else None,
        }
    )


def _distinct(values: NDArray[Any], limit: int) -> NDArray[Any] | None:
    """The distinct values in ascending order, or None if there are more than ``limit``."""
    found = np.unique(values[:: max(1, values.size // 10_000)])
    rest = values
    while found.size <= limit:
        rest = rest[~_among(rest, found)]
        if not rest.size:
            return found
        found = np.union1d(found, np.unique(rest[:10_000]))
    return None


def _among(values: NDArray[Any], few: NDArray[Any]) -> NDArray[np.bool_]:
    at = np.minimum(np.searchsorted(few, values), few.size - 1)
    return np.asarray(few[at] == values)


def _find_atoms(values: NDArray[Any]) -> tuple[float, ...]:
    # Random, not every n-th: those would be the leading objects of pairs for an even n.
    some = values.size > _SAMPLE
    sample = values[np.random.default_rng(0).integers(0, values.size, _SAMPLE)] if some else values
    distinct, counts = np.unique(sample, return_counts=True)
    least = max(_FRACTION * sample.size, _REPEATS, _OUTSTANDING * float(np.median(counts)))
    frequent = np.flatnonzero(counts >= least)
    chosen = frequent[np.argsort(-counts[frequent], kind="stable")][:_ATOMS]
    return tuple(sorted(float(v) for v in distinct[chosen]))
