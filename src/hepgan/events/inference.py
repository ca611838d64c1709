"""How each number of a file is learned, told from its values.

The rules by which values tell how a number is to be learned:

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

import weakref
from dataclasses import replace
from typing import Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from hepgan.arguments import checked
from hepgan.events.angles import in_degrees
from hepgan.events.buffers import ATTRIBUTE, buffers, scalar_values
from hepgan.events.grids import find_bits, find_step
from hepgan.events.missing import NULL_TEXT, find_missing, is_missing, may_be_missing
from hepgan.events.schema import Branch, Collection, EventSchema, Field, Kind
from hepgan.events.structure import draft
from hepgan.events.units import with_unit
from hepgan.events.weights import weighted_by

__all__ = ["attach", "complete", "event_weights", "kind_of", "schema_of", "with_weight"]

_CATEGORICAL = {"charge", "q", "pdgid", "pid", "id", "flavour", "flavor", "partonflavour", "hadronflavour"}
_COMPONENTS = {"px", "py", "pz", "pt", "eta", "phi", "theta", "energy"}
_NAMED, _FEW, _OBVIOUS = 256, 32, 2
_REPEATS = 20
_ATOMS, _FRACTION, _OUTSTANDING = 4, 0.005, 10
_SAMPLE = 200_000


@checked
def schema_of(events: ak.Array) -> EventSchema:
    """The schema of events: the one they were read with, or else inferred from their type and values.

    A field that was added since is inferred, one that was taken away is left out. What the schema says of
    kinds, values, ranges and numbers of objects holds for these events: where it does not (of events of
    several reads, of numbers that were changed, of objects that were selected), it is found anew. A part of
    the events has the limits of the whole. Inferred collections get NanoAOD's branch names: ``nMuon``,
    ``Muon_pt``.

    Args:
        events: Events as `read_events` gives them: one record for each collection.

    Raises:
        InputError: If the events hold something other than numbers, strings and lists of records, or a value
            is missing (None).
    """
    known: EventSchema | None = events.attrs.get(ATTRIBUTE)
    fresh = _from_type(events)
    if known is None:
        return with_unit(complete(fresh, events), events)
    arrays = _arrays(ak.to_layout(events))
    seen: _Seen | None = events.attrs.get(_SEEN)
    if seen is not None and seen.schema is known and seen.is_of(arrays):
        return known
    new = {c.name: c for c in fresh.collections}
    collections = [
        merged
        for c in known.collections
        if c.name in new and (merged := _merged(c, new[c.name], events)) is not None
    ]
    kept = {c.name for c in collections}
    here = set(events.fields)
    scalars = [f for f in known.scalars if f.name in here]
    identifiers = [f for f in known.identifiers if f.name in here]
    named = {f.name for f in (*scalars, *identifiers)}
    schema = known.model_copy(
        update={
            "collections": (*collections, *(c for c in fresh.collections if c.name not in kept)),
            "scalars": (*scalars, *(f for f in fresh.scalars if f.name not in named)),
            "identifiers": tuple(identifiers),
            "weight": known.weight if known.weight in here else None,
        }
    )
    found = known.model_copy(update={"collections": tuple(c for c in known.collections if c.name in kept)})
    final = complete(schema, events, found)
    if final == known and arrays is not None:
        events.attrs[_SEEN] = _Seen(known, arrays)
    return final


def attach(events: ak.Array, schema: EventSchema) -> None:
    """Says that events have a schema, which is known to hold for them."""
    events.attrs[ATTRIBUTE] = schema
    arrays = _arrays(ak.to_layout(events))
    if arrays is not None:
        events.attrs[_SEEN] = _Seen(schema, arrays)


_SEEN = "@hepgan_seen"
"""The attribute that remembers for which numbers a schema was seen to hold, so as to look at them once."""


class _Seen:
    def __init__(self, schema: EventSchema, arrays: list[NDArray[Any]]) -> None:
        self.schema = schema
        self._arrays = [weakref.ref(a) for a in arrays]

    def is_of(self, arrays: list[NDArray[Any]] | None) -> bool:
        """Whether these arrays, which nobody writes to, are the same ones."""
        return (
            arrays is not None
            and len(arrays) == len(self._arrays)
            and all(mine() is other for mine, other in zip(self._arrays, arrays, strict=True))
        )


def _arrays(layout: Any) -> list[NDArray[Any]] | None:
    """All numbers of events and the offsets of their lists; None where there are other kinds of layouts."""
    if isinstance(layout, ak.contents.NumpyArray):
        return [layout.data]
    if isinstance(layout, ak.contents.RegularArray):
        return _arrays(layout.content)
    if isinstance(layout, ak.contents.ListOffsetArray):
        inner = _arrays(layout.content)
        return None if inner is None else [layout.offsets.data, *inner]
    if isinstance(layout, ak.contents.RecordArray):
        found: list[NDArray[Any]] = []
        for content in layout.contents:
            inner = _arrays(content)
            if inner is None or content.length != layout.length:
                return None
            found += inner
        return found
    return None


def _merged(known: Collection, fresh: Collection, events: ak.Array) -> Collection | None:
    """A collection with the fields that there are; None if the file cannot hold it as it did."""
    if (known.layout == "single") != (fresh.layout == "single"):
        return None
    if known.slotted:
        number = ak.num(events[known.name])
        if bool(ak.any(number > known.places if known.marked else number != known.places)):
            return None
    here = set(fresh.field_names)
    kept = [f for f in known.fields if f.name in here]
    named = {f.name for f in kept}
    extra = [f for f in fresh.fields if f.name not in named]
    if known.layout == "indexed":
        extra = [
            f.model_copy(update={"branches": tuple(f"{f.name}{i + 1}" for i in range(known.places))})
            for f in extra
        ]
    elif known.layout == "padded":
        extra = [f.model_copy(update={"branches": (f"{known.name}_{f.name}",)}) for f in extra]
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
        elif (found := _array(outer)) is not None:
            branches.append(replace(found, name=name))
            scalars.append(Field(name=name, branches=(name,), dtype=found.dtype, shape=found.shape))
    named = draft([b for b in branches if not b.shape])
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


def _array(form: Any) -> Branch | None:
    """What holds one number, text or array of numbers of one shape in each event."""
    shape: list[int] = []
    inner = _bare(form)
    while inner.is_regular and inner.size and inner.parameter("__array__") is None:
        shape.append(inner.size)
        inner = _bare(inner.content)
    if inner.is_numpy and inner.inner_shape:
        shape += inner.inner_shape
        dtype = str(inner.primitive) if np.dtype(inner.primitive).kind in "biuf" else None
    else:
        dtype = _dtype(inner)
    if dtype is None or (shape and dtype == "string"):
        return None
    return Branch("", dtype, shape=tuple(shape))


def _dtype(form: Any) -> str | None:
    form = _bare(form)
    if form.parameter("__array__") == "string":
        return "string"
    if form.is_numpy and not form.inner_shape and np.dtype(form.primitive).kind in "biuf":
        return str(form.primitive)
    return None


def complete(schema: EventSchema, events: ak.Array, known: EventSchema | None = None) -> EventSchema:
    """A schema with kinds, values, ranges and counts from the data.

    Args:
        schema: Which fields there are.
        events: The events.
        known: The schema of some of the fields, which stays as it is where it holds for these events.
    """
    old = {} if known is None else {c.name: c for c in known.collections}
    collections = []
    for c in schema.collections:
        offsets, values = buffers(events, c)
        names = old[c.name].field_names if c.name in old else ()
        update: dict[str, Any] = {
            "fields": tuple(
                _kept(
                    _found(f, values[f.name], f.name in names, of_object=True, missable=may_be_missing(f, c)),
                    f,
                )
                for f in c.fields
            )
        }
        if (c.layout == "jagged" or (c.slotted and c.marked)) and offsets is not None:
            counts = np.diff(offsets)
            least, most = (int(counts.min()), int(counts.max())) if counts.size else (0, 0)
            # Without events, any numbers of objects hold.
            outside = bool(counts.size) and (least < c.min_count or most > c.max_count)
            if c.name not in old or outside:
                update |= {"min_count": least, "max_count": most}
        collections.append(c.model_copy(update=update))
    scalars = () if known is None else known.scalar_names
    done = [
        _found(f, scalar_values(events, f), f.name in scalars, weight=f.name == schema.weight)
        for f in schema.scalars
    ]
    return schema.model_copy(update={"collections": tuple(collections), "scalars": tuple(done)})


def _found(
    field: Field,
    values: NDArray[Any],
    known: bool,
    *,
    of_object: bool = False,
    weight: bool = False,
    missable: bool = True,
) -> Field:
    """A field as it is, if it is known and holds all values, else with what the values say."""
    values = values.reshape(-1)
    if not known:
        return kind_of(field, values, of_object=of_object, weight=weight, missable=missable)
    text = values.dtype.kind == "U"
    if text != (field.dtype == "string") or not values.size:
        return field
    if not text and np.dtype(field.dtype).kind in "iu" and values.dtype.kind == "f" and not field.nulls:
        # Arithmetic makes floating-point numbers of whole ones; of others, the checks say what is wrong.
        with np.errstate(invalid="ignore"):
            whole = values.astype(np.int64)
        if not np.array_equal(whole, values):
            return field
        values = whole
    if _holds(field, values):
        return field
    found = kind_of(field, values, of_object=of_object, weight=weight, missable=missable)
    if field.kind is Kind.CATEGORY:
        return found
    # A kind that holds any numbers may have been chosen by hand.
    atoms = found.atoms if field.kind is Kind.CONTINUOUS else ()
    return found.model_copy(update={"kind": field.kind, "values": None, "atoms": atoms})


def _kept(found: Field, field: Field) -> Field:
    """A field that was found, with the null that stands in its file where there is no object."""
    null = field.nulls and field.fill is not None and field.fill != field.fill
    return found.model_copy(update={"nulls": True}) if null else found


def _holds(field: Field, values: NDArray[Any]) -> bool:
    """Whether the values and the range of a field are those of values."""
    if field.missing is not None and values.dtype.kind != "U":
        values = values[~is_missing(values, field.missing)]
        if not values.size:
            return True
    if field.values is not None:
        return bool(_among(values, np.sort(np.array(field.values))).all())
    if values.dtype.kind == "U" or field.low is None or field.high is None:
        return True
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        if field.missing is None and np.isnan(low):
            return False
        values = values[np.isfinite(values)]
        low, high = (values.min(), values.max()) if values.size else (field.low, field.high)
    return bool(field.low <= low and high <= field.high)


def kind_of(
    field: Field,
    values: NDArray[Any],
    *,
    of_object: bool = False,
    weight: bool = False,
    missable: bool = True,
) -> Field:
    """A field with its kind, values, atoms and range, by the rules above.

    Args:
        field: The field; its name counts.
        values: All its values.
        of_object: Whether it is an object's, not the event's.
        weight: Whether it is the event weight, which is always continuous.
        missable: Whether it may be missing while its object is there (see `hepgan.events.missing`).
    """
    if values.dtype.kind == "U":
        known = np.unique(values)
        nulls = NULL_TEXT in known
        return _category(field.model_copy(update={"nulls": nulls}), known) if values.size else field
    if values.dtype.kind == "b":
        field = field.model_copy(update={"missing": None, "nulls": False})
        return _category(field, np.array([False, True]) if not values.size else np.unique(values))
    missing, nulls = (None, False) if weight or not missable else find_missing(values)
    update: dict[str, Any] = {"kind": Kind.CONTINUOUS, "values": None, "atoms": ()}
    update |= {"missing": missing, "nulls": nulls, "step": None, "bits": None}
    there = values if missing is None else values[~is_missing(values, missing)]
    finite = there[np.isfinite(there)] if there.dtype.kind == "f" else there
    if nulls and field.dtype != "float32":
        finite = finite.astype(np.dtype(field.dtype), copy=False)
    if finite.dtype.kind == "b":
        return _category(field.model_copy(update=update), np.unique(finite)) if finite.size else field
    if finite.size:
        update |= {"low": float(finite.min()), "high": float(finite.max())}
        update["degrees"] = of_object and field.name == "phi" and in_degrees(finite)
    if finite.dtype.kind in "iu" and not weight:
        few = _distinct(finite, _NAMED)
        if few is not None and few.size and _is_integer_category(field.name, few, finite.size):
            return _category(field.model_copy(update=update), few)
        update["kind"] = Kind.INTEGER
    elif finite.size and not weight:
        update["step"] = find_step(finite)
        if update["step"] is None:
            update["bits"] = find_bits(finite)
        few = _distinct(finite, _FEW) if not (of_object and field.name in _COMPONENTS) else None
        limit = min(_FEW, finite.size // _REPEATS) if of_object else 1
        if few is not None and few.size <= limit:
            return _category(field.model_copy(update=update), few)
        update["atoms"] = _find_atoms(finite)
        # Whole numbers are counted, whatever their type is; parts of momenta are not.
        if update["step"] == 1 and float(update["low"]).is_integer() and field.name not in _COMPONENTS:
            update |= {"kind": Kind.INTEGER, "atoms": ()}
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
    """Which of the values are among a few in ascending order."""
    if not few.size:
        return np.zeros(values.shape, dtype=np.bool_)
    if few.size <= _OBVIOUS:
        return np.asarray((values == few[0]) | (values == few[-1]))
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


@checked
def event_weights(events: ak.Array, schema: EventSchema | None = None) -> NDArray[np.float64]:
    """The weights (N,) of N events, 1 where they have none.

    Args:
        events: The events.
        schema: What they hold; by default their own.
    """
    name = (schema_of(events) if schema is None else schema).weight
    if name is None or name not in events.fields:
        return np.ones(len(events))
    return np.asarray(ak.to_numpy(events[name]), dtype=np.float64)


@checked
def with_weight(events: ak.Array, name: str | None) -> ak.Array:
    """Events with another weight; the number that was their weight is gone.

    Args:
        events: The events.
        name: As of `weighted_by`.

    Raises:
        InputError: As of `weighted_by`.
    """
    schema = schema_of(events)
    changed = weighted_by(schema, name)
    if changed == schema:
        return events
    gone = {*schema.scalar_names} - {*changed.scalar_names}
    kept = events[[n for n in events.fields if n not in gone]]
    return ak.Array(kept, attrs={**events.attrs, ATTRIBUTE: changed})
