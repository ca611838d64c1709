"""What events look like: the objects and numbers they hold, how a file names them, where each is found."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, PlainSerializer, model_validator
from pydantic import Field as Setting

from hepgan.arguments import checked
from hepgan.config import Config
from hepgan.errors import InputError
from hepgan.events.axes import Axis
from hepgan.events.header import Header

__all__ = [
    "COORDINATES",
    "GEV",
    "Address",
    "Axis",
    "Branch",
    "Collection",
    "EventSchema",
    "Field",
    "Kind",
    "Unit",
    "coordinates",
    "quoted",
    "select",
    "terms",
    "unquoted",
    "with_kinds",
]


QUOTED = re.compile(r"`(?:[^`]|``)+`")
"""A name between backticks; a backtick in it is doubled."""

_WORD = re.compile(r"(?!pi$)[A-Za-z][A-Za-z0-9_]*")
_BARE = re.compile(r"[^\s.\[\]`](?:[^.\[\]`]*[^\s.\[\]`])?")
_BARE_FIELD = re.compile(r"[^\s\[\]`](?:[^\[\]`]*[^\s\[\]`])?")
_PATTERN = re.compile(
    rf"\s*({QUOTED.pattern}|{_BARE.pattern})(?:\[(\d+)\])?(?:\.({QUOTED.pattern}|{_BARE_FIELD.pattern}))?\s*"
)


def quoted(name: str) -> str:
    """A name as expressions have it: as it is if it is a plain word, else (``pi``, too) in backticks.

    Example:
        >>> quoted("Muon"), quoted("b-tag"), quoted("class")
        ('Muon', '`b-tag`', '`class`')
    """
    return name if _WORD.fullmatch(name) and not keyword.iskeyword(name) else _in_quotes(name)


def unquoted(text: str) -> str:
    """The name that `quoted` has written."""
    return text[1:-1].replace("``", "`") if QUOTED.fullmatch(text) else text


def terms(text: str) -> list[str]:
    """The terms of a sum such as ``Muon[0] + Muon[1]``; a plus in backticks belongs to a name."""
    return [part.strip() for part in re.split(r"\+(?=(?:[^`]*`[^`]*`)*[^`]*$)", text)]


def _in_quotes(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


class Address(NamedTuple):
    """What ``Muon[0].pt``, ``Muon.pt``, ``npvs``, ``Muon[0]`` or ``MET`` stands for.

    A number of the event has no collection. Whole objects have no field: ``Muon[0]`` is
    ``Address("Muon", 0, "")``, all muons, or the only ``MET``, are ``Address("Muon", None, "")``.
    Names that would be misread, such as the scalar ``time.t0``, stand in backticks; others may.

    Attributes:
        collection: The collection; None for a number of the event.
        slot: Which object; None for all of them, or for the only one.
        field: The field, or the number of the event; empty for whole objects.

    Example:
        >>> Address.parse("Muon[0].pt")
        Address(collection='Muon', slot=0, field='pt')
        >>> str(Address(None, None, "npvs"))
        'npvs'
        >>> Address.parse("MET", collections=["Muon", "MET"])
        Address(collection='MET', slot=None, field='')
    """

    collection: str | None
    slot: int | None
    field: str

    @classmethod
    def parse(cls, text: str, collections: Container[str] = ()) -> Address:
        """Reads what ``str`` writes.

        Args:
            text: The address.
            collections: The collections that there are: a single word is one of these, or else a number of
                the event.

        Raises:
            ValueError: If it is malformed.
        """
        found = _PATTERN.fullmatch(text)
        if found is None:
            msg = f"cannot read {text!r}: expected Muon[0].pt, Muon.pt, Muon[0] or the name of a scalar"
            raise ValueError(msg)
        name, slot, field = unquoted(found[1]), found[2], found[3]
        if slot is None and field is None and name not in collections:
            return cls(None, None, name)
        return cls(name, None if slot is None else int(slot), unquoted(field or ""))

    @property
    def name(self) -> str:
        """The collection, or the number of the event."""
        return self.field if self.collection is None else self.collection

    @property
    def owner(self) -> str:
        """Whose number it is, as text: ``Muon[0]`` of ``Muon[0].pt``; empty for a number of the event."""
        if self.collection is None:
            return ""
        name = self.collection if _BARE.fullmatch(self.collection) else _in_quotes(self.collection)
        return name if self.slot is None else f"{name}[{self.slot}]"

    def __str__(self) -> str:
        readable = _BARE if self.collection is None else _BARE_FIELD
        field = self.field if not self.field or readable.fullmatch(self.field) else _in_quotes(self.field)
        return ".".join(part for part in (self.owner, field) if part)


COORDINATES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("px", "py"), ("pt", "phi")),
    (("pz",), ("eta",), ("theta",)),
    (("mass",), ("energy",)),
)
"""Names of azimuthal, longitudinal and temporal coordinates, each tier in order of preference.

``mass`` comes before ``energy``, since E^2 - p^2 in float32 loses a light particle's mass.
"""


Unit = Literal["MeV", "GeV", "TeV"]
"""What a file's momenta, energies and masses may be in."""

GEV: dict[Unit, float] = {"MeV": 1000.0, "GeV": 1.0, "TeV": 0.001}
"""A GeV in each unit."""


class Kind(StrEnum):
    """How a number is to be learned."""

    CONTINUOUS = "continuous"
    INTEGER = "integer"
    CATEGORY = "category"


class Counter(Config):
    """A branch that holds the number of objects of a collection.

    Attributes:
        branch: Its name.
        dtype: The type in the file: a numpy dtype's name.
        title: Its title in the file.
    """

    branch: str
    dtype: str = "int32"
    title: str = ""


def _one_nan(value: float | None) -> float | None:
    return math.nan if value is not None and math.isnan(value) else value


def _as_text(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


Placeholder = Annotated[float | None, AfterValidator(_one_nan), PlainSerializer(_as_text, when_used="json")]
"""A number that stands for no value, NaN among them, which JSON has as text; None if there is none."""


class Field(Config):
    """One number of an event or of an object.

    Attributes:
        name: hepgan's name: a momentum coordinate (``pt``, ``px``, ``mass``, ...) or the file's own.
        branches: The file's branch; one branch for each place in an ``indexed`` collection.
        dtype: The type in the file: a numpy dtype's name, or ``string``.
        title: The branch's title in the file.
        kind: How the number is to be learned.
        values: The values of a category, in ascending order; others are errors.
        atoms: Values of a continuous number that occur with finite probability (an isolation of 0).
        missing: What a number holds that its event or object has no value for: NaN, or a number far from all
            others (-999); None if all have one. It is none of the other values here.
        nulls: Whether what is missing is null in files that know it (Parquet).
        step: The distance of neighbours, if all values are on a grid that begins at ``low``: 0.01, or 1.
        bits: How many bits of their mantissas the values use, if these were rounded.
        degrees: Whether it is an azimuth in degrees.
        low: Smallest value seen.
        high: Largest value seen.
        counter: What counts the lists of this branch alone, where the file has such a branch (``nMuon_pt``).
        alone: Whether the file has a number of the event in a list of one (``Event.Weight`` of Delphes).
        record: Whether the dots in the branches' names are those of records in the file.
        fill: What stands in the file where there is no object (-999, 0, NaN), in the places of an ``indexed``
            or ``padded`` collection; None if there always is one, or if it does not matter (0 is written).
        shape: The shape of a number of the event that is an array of one shape (an image, a waveform):
            (25, 25), slowest index first; empty for a single number. All else here holds for all its cells.
        axes: What its indices stand for, one for each; empty if nothing is known of them.
        stored: The shape that the file has, where that is another: (625,).
        lists: Whether the file has lists instead, all of that length; arrays are written.
    """

    name: str
    branches: tuple[str, ...] = Setting(min_length=1)
    dtype: str = "float32"
    title: str = ""
    kind: Kind = Kind.CONTINUOUS
    values: tuple[bool | int | float | str, ...] | None = None
    atoms: tuple[float, ...] = ()
    missing: Placeholder = None
    nulls: bool = False
    step: float | None = Setting(default=None, gt=0)
    bits: int | None = Setting(default=None, ge=1, le=52)
    degrees: bool = False
    low: float | None = None
    high: float | None = None
    counter: Counter | None = None
    alone: bool = False
    record: bool = False
    fill: Placeholder = None
    shape: tuple[Annotated[int, Setting(gt=0)], ...] = ()
    axes: tuple[Axis, ...] = ()
    stored: tuple[Annotated[int, Setting(gt=0)], ...] = ()
    lists: bool = False

    @property
    def branch(self) -> str:
        """The (first) branch."""
        return self.branches[0]

    @property
    def cells(self) -> int:
        """How many numbers it is in each event."""
        return math.prod(self.shape)

    @property
    def telling(self) -> bool:
        """Whether no object has the fill as its value, as far as is known: it alone tells of absence."""
        if self.fill is None:
            return False
        if self.fill != self.fill:
            return True
        if self.kind is Kind.CATEGORY or self.dtype == "bool":
            return self.values is not None and self.fill not in self.values
        outside = self.low is None or self.high is None or not self.low <= self.fill <= self.high
        return outside or (self.dtype.startswith("float") and self.fill not in self.atoms)

    @model_validator(mode="after")
    def _category_has_values(self) -> Field:
        if self.kind is Kind.CATEGORY and not self.values:
            msg = f"{self.name}: a category needs its values"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _axes_fit_the_shape(self) -> Field:
        if self.axes and len(self.axes) != len(self.shape):
            msg = f"{self.name}: {len(self.axes)} axes for {len(self.shape)} indices"
            raise ValueError(msg)
        if len({a.name for a in self.axes}) < len(self.axes):
            msg = f"{self.name}: two axes have one name"
            raise ValueError(msg)
        if self.stored and math.prod(self.stored) != self.cells:
            msg = f"{self.name}: {math.prod(self.stored)} numbers in the file for {self.cells} cells"
            raise ValueError(msg)
        if self.shape and (self.dtype == "string" or self.alone):
            msg = f"{self.name}: only numbers have a shape"
            raise ValueError(msg)
        return self


class Collection(Config):
    """Objects of one kind: ``Muon``, ``Jet``, ``MET``.

    Attributes:
        name: The collection's name, capitalised as in NanoAOD where the file leaves the choice.
        layout: How the file stores it: ``jagged`` (a counter branch and arrays: ``nMuon``, ``Muon_pt``),
            ``indexed`` (one branch for each place: ``px1``, ``px2``), ``padded`` (arrays of one size:
            ``part_pt[30]``) or ``single`` (exactly one object in each event: ``MET_pt``).
        fields: The objects' numbers.
        counter: The branch with the number of objects: of ``jagged`` ones (None where the file has none, as
            in Parquet or an RNTuple of vectors), or of places where objects may be absent.
        counter_dtype: The counter's type in the file.
        counter_title: The counter's title in the file.
        counts: Other branches that hold the number of objects, too.
        min_count: Smallest number of objects in an event.
        max_count: Largest number of objects in an event.
        size: Places for objects in each event, of a ``padded`` collection; objects are in the first ones.
        mask: What says for each place whether there is an object (``part_mask``): its ``fill`` where there is
            none, 1 or 0 where there is one.
    """

    name: str
    layout: Literal["jagged", "indexed", "padded", "single"]
    fields: tuple[Field, ...] = Setting(min_length=1)
    counter: str | None = None
    counter_dtype: str = "int32"
    counter_title: str = ""
    counts: tuple[Counter, ...] = ()
    min_count: int = Setting(default=0, ge=0)
    max_count: int = Setting(ge=0)
    size: int | None = Setting(default=None, gt=0)
    mask: Field | None = None

    @model_validator(mode="after")
    def _counts_fit_the_layout(self) -> Collection:
        if self.min_count > self.max_count:
            msg = f"{self.name}: min_count {self.min_count} exceeds max_count {self.max_count}"
            raise ValueError(msg)
        if self.layout == "single" and self.min_count != self.max_count:
            msg = f"{self.name}: {self.layout} objects have one fixed count"
            raise ValueError(msg)
        shaped = next((f.name for f in self.fields if f.shape), None)
        if shaped is not None:
            msg = f"{self.name}.{shaped}: a field of objects has no shape"
            raise ValueError(msg)
        if not self.slotted:
            return self
        if self.layout == "padded" and self.size is None:
            msg = f"{self.name}: a padded collection needs its size"
            raise ValueError(msg)
        places = self.places
        if not self.marked and self.min_count != self.max_count:
            msg = f"{self.name}: absent {self.layout} objects need fills, a mask or a counter"
            raise ValueError(msg)
        needed = 1 if self.layout == "padded" else places if self.marked else self.max_count
        wrong = [f.name for f in (*self.fields, *self.marks) if len(f.branches) != needed]
        if wrong:
            msg = f"{self.name}.{wrong[0]}: a field of this {self.layout} collection needs {needed} branches"
            raise ValueError(msg)
        if self.max_count > places or (not self.marked and self.max_count != places):
            msg = f"{self.name}: {self.max_count} objects do not fit {places} places"
            raise ValueError(msg)
        return self

    @property
    def slotted(self) -> bool:
        """Whether the file has a number of places for objects, whether they are there or not."""
        return self.layout in ("indexed", "padded")

    @property
    def places(self) -> int:
        """How many places for objects the file has (``indexed`` and ``padded`` collections)."""
        return len(self.fields[0].branches) if self.layout == "indexed" else self.size or self.max_count

    @property
    def branches(self) -> tuple[str, ...]:
        """The branches of all fields, and of the mask."""
        return tuple(b for f in (*self.fields, *self.marks) for b in f.branches)

    @property
    def marks(self) -> tuple[Field, ...]:
        """The mask, if there is one."""
        return () if self.mask is None else (self.mask,)

    @property
    def marked(self) -> bool:
        """Whether the file tells in which places there are objects."""
        told = self.counter is not None or self.mask is not None
        return told or any(f.fill is not None for f in self.fields)

    @property
    def fixed(self) -> bool:
        """Whether every event has the same number of objects."""
        return self.min_count == self.max_count

    @property
    def counters(self) -> tuple[Counter, ...]:
        """All branches that hold the number of objects, but for those of single lists."""
        if self.counter is None:
            return self.counts
        first = Counter(branch=self.counter, dtype=self.counter_dtype, title=self.counter_title)
        return (first, *self.counts)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The fields' names."""
        return tuple(f.name for f in self.fields)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The fields that make the momentum, or () if there is none."""
        return coordinates(self.field_names)

    def field(self, name: str) -> Field:
        """The field called ``name``.

        Raises:
            KeyError: If there is none.
        """
        for f in self.fields:
            if f.name == name:
                return f
        msg = f"{self.name} has no field {name!r}; it has {', '.join(self.field_names)}"
        raise KeyError(msg)


class EventSchema(Config):
    """All that the events hold.

    Attributes:
        collections: Kinds of objects.
        scalars: Numbers of the event as a whole; arrays of one shape among them.
        identifiers: Numbers that name an event (run, luminosityBlock, event): never learned, written anew.
        weight: The scalar that holds the event weight; None if all events weigh 1.
        tree: The tree's name.
        unit: The unit of momenta, energies and masses. All numbers are in it, in memory as in the file.
        header: What a file of an event generator says of all its events.
    """

    collections: tuple[Collection, ...] = ()
    scalars: tuple[Field, ...] = ()
    identifiers: tuple[Field, ...] = ()
    weight: str | None = None
    tree: str = "Events"
    unit: Unit = "GeV"
    header: Header | None = None

    @model_validator(mode="after")
    def _names_are_unique(self) -> EventSchema:
        names = [c.name for c in self.collections] + [f.name for f in (*self.scalars, *self.identifiers)]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            msg = f"two things are called {twice[0]!r}"
            raise ValueError(msg)
        if self.weight is not None and self.weight not in self.scalar_names:
            msg = f"the weight {self.weight!r} is not among the scalars"
            raise ValueError(msg)
        named = next((f for f in self.scalars if f.name == self.weight), None)
        shaped = next((f for f in (*self.identifiers, *filter(None, (named,))) if f.shape), None)
        if shaped is not None:
            msg = f"{shaped.name}: an identifier or a weight is one number of the event"
            raise ValueError(msg)
        return self

    @property
    def gev(self) -> float:
        """A GeV in the unit of these events."""
        return GEV[self.unit]

    @property
    def collection_names(self) -> tuple[str, ...]:
        """The collections' names."""
        return tuple(c.name for c in self.collections)

    @property
    def scalar_names(self) -> tuple[str, ...]:
        """The scalars' names."""
        return tuple(f.name for f in self.scalars)

    @property
    def numbers(self) -> tuple[Field, ...]:
        """The scalars that are one number in each event."""
        return tuple(f for f in self.scalars if not f.shape)

    @property
    def arrays(self) -> tuple[Field, ...]:
        """The scalars with a shape."""
        return tuple(f for f in self.scalars if f.shape)

    def collection(self, name: str) -> Collection:
        """The collection called ``name``.

        Raises:
            KeyError: If there is none.
        """
        for c in self.collections:
            if c.name == name:
                return c
        msg = f"no collection {name!r}; there are {', '.join(self.collection_names) or 'none'}"
        raise KeyError(msg)

    def scalar(self, name: str) -> Field:
        """The scalar called ``name``.

        Raises:
            KeyError: If there is none.
        """
        for f in self.scalars:
            if f.name == name:
                return f
        msg = f"no scalar {name!r}; there are {', '.join(self.scalar_names) or 'none'}"
        raise KeyError(msg)

    def known(self, collection: str | None, name: str) -> Field | None:
        """A field of a collection, or a scalar; None if there is none.

        Args:
            collection: The collection; None for a scalar.
            name: The field, or the scalar.
        """
        if collection is None:
            fields = self.scalars
        else:
            fields = next((c.fields for c in self.collections if c.name == collection), ())
        return next((f for f in fields if f.name == name), None)


def coordinates(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names that make a momentum, azimuthal ones first: ``("pt", "phi", "eta", "mass")``; or ().

    Raises:
        InputError: If the names are none.
    """
    try:  # each step of a training asks, so this is all that is looked at
        there = frozenset(names)
    except TypeError as error:
        msg = f"names must be a tuple of text, not {type(names).__name__}"
        raise InputError(msg) from error
    chosen: list[str] = []
    for tier in COORDINATES:
        found = next((option for option in tier if there.issuperset(option)), None)
        if found is None:
            break
        chosen.extend(found)
    return tuple(chosen)


@dataclass(frozen=True)
class Branch:
    """A branch as a file describes it.

    Attributes:
        name: Its name.
        dtype: A numpy dtype's name, or ``string``.
        jagged: Whether it holds a list in each event.
        counter: The branch with the lists' lengths, where the file says so.
        title: Its title, if it is more than ROOT's own list of leaves.
        record: Whether the dots in its name are those of records.
        nulls: Whether some of its numbers are null.
        shape: The shape of the values in each event, of a branch with arrays of one shape.
    """

    name: str
    dtype: str
    jagged: bool = False
    counter: str | None = None
    title: str = ""
    record: bool = False
    nulls: bool = False
    shape: tuple[int, ...] = ()

    @property
    def integer(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.startswith(("int", "uint"))


@checked
def select(schema: EventSchema, names: Iterable[str]) -> EventSchema:
    """The schema of a part of what the events hold.

    Args:
        schema: The whole.
        names: Collections (``Muon``), fields (``Jet.pt``), scalars (``beam_energy``) and numbers of objects
            (``nMuon``), which are scalars if nothing else of their collection is named. Identifiers and the
            weight stay, and of objects that may be absent one field that tells of it.

    Returns:
        The part, in the whole's order.

    Raises:
        InputError: If there is no such thing.
    """
    identifiers = [f.name for f in schema.identifiers]
    counters = {n.branch: (c, n) for c in schema.collections for n in c.counters}
    whole: set[str] = set()
    some: dict[str, set[str]] = {}
    alone: dict[str, Field] = {}
    for name in names:
        if name in counters and name not in (*schema.collection_names, *schema.scalar_names):
            n = counters[name][1]
            alone[name] = Field(name=name, branches=(name,), dtype=n.dtype, title=n.title)
            continue
        owner, field = _split(name, schema)
        if owner is not None and field:
            some.setdefault(owner, set()).add(_found(schema, owner, field).name)
        elif owner in schema.collection_names or field in (*schema.scalar_names, *identifiers):
            whole.add(owner or field)
        else:
            known = ", ".join((*schema.collection_names, *schema.scalar_names)) or "nothing"
            msg = f"nothing is called {name!r}; there are {known}"
            raise InputError(msg)
    collections: list[Collection] = []
    for c in schema.collections:
        if c.name in whole:
            collections.append(c)
        elif c.name in some:
            kept = tuple(f for f in c.fields if f.name in some[c.name])
            collections.append(c.model_copy(update={"fields": _telling(c, kept)}))
    scalars = tuple(f for f in schema.scalars if f.name in whole or f.name == schema.weight)
    # What counts objects that are not there is a number of the event.
    here = {c.name for c in collections}
    scalars += tuple(f for name, f in alone.items() if counters[name][0].name not in here)
    return schema.model_copy(update={"collections": tuple(collections), "scalars": scalars})


def _telling(c: Collection, kept: tuple[Field, ...]) -> tuple[Field, ...]:
    """Some fields of a collection, and one more if without it nobody could tell where there are objects."""
    told = not c.slotted or not c.marked or c.counter is not None or c.mask is not None
    if told or any(f.telling for f in kept):
        return kept
    needed = next((f.name for f in c.fields if f.telling), None)
    return tuple(f for f in c.fields if f in kept or f.name == needed)


@checked
def with_kinds(
    schema: EventSchema, kinds: Mapping[str, str | Kind | Mapping[str, Any] | Field]
) -> EventSchema:
    """The same schema with some fields' kinds chosen by hand.

    Args:
        schema: The schema.
        kinds: What to change, by ``Muon.charge`` or the name of a scalar: a kind (``"category"``,
            ``"integer"``, ``"continuous"``), or a mapping with any of a field's attributes
            (``{"kind": "category", "values": [-1, 1]}``, ``{"atoms": []}``, ``{"low": 0}``). A category that
            is to be made of an integer without values takes all integers from its low to its high.

    Raises:
        InputError: If there is no such field.
        ValueError: If the kind does not exist, a category's values are not known, or true and false are to be
            numbers.

    Example:
        >>> from hepgan.events import Collection, EventSchema, Field
        >>> charge = Field(name="charge", branches=("Muon_charge",), dtype="int32", low=-1, high=1)
        >>> muons = Collection(name="Muon", layout="jagged", fields=(charge,), max_count=2)
        >>> schema = with_kinds(EventSchema(collections=(muons,)), {"Muon.charge": "category"})
        >>> schema.collection("Muon").field("charge").values
        (-1, 0, 1)
    """
    for name, wanted in kinds.items():
        owner, field = _split(name, schema)
        if owner is not None:
            new = _changed(_found(schema, owner, field), wanted)
            c = schema.collection(owner)
            fields = tuple(new if f.name == field else f for f in c.fields)
            changed = c.model_copy(update={"fields": fields})
            update: dict[str, Any] = {
                "collections": tuple(changed if x.name == owner else x for x in schema.collections)
            }
        else:
            new = _changed(_found(schema, None, field), wanted)
            update = {"scalars": tuple(new if f.name == field else f for f in schema.scalars)}
        schema = schema.model_copy(update=update)
    return schema


def _split(name: str, schema: EventSchema) -> tuple[str | None, str]:
    """The collection and the field that a name stands for; no collection for a number of the event.

    Raises:
        InputError: If it stands for one object.
    """
    if name in schema.scalar_names:
        return None, name
    if name in schema.collection_names:
        return name, ""
    try:
        address = Address.parse(name, schema.collection_names)
    except ValueError as error:
        raise InputError(*error.args) from None
    if address.slot is not None:
        msg = f"{name}: what a schema holds is the same for all {address.collection}"
        raise InputError(msg)
    return address.collection, address.field


def _found(schema: EventSchema, owner: str | None, field: str) -> Field:
    """A field of a collection, or a scalar.

    Raises:
        InputError: If there is none.
    """
    try:
        return schema.scalar(field) if owner is None else schema.collection(owner).field(field)
    except KeyError as error:
        raise InputError(*error.args) from None


def _changed(field: Field, wanted: str | Kind | Mapping[str, Any] | Field) -> Field:
    if isinstance(wanted, Field):
        return wanted
    update: dict[str, Any] = {"kind": Kind(wanted)} if isinstance(wanted, str) else dict(wanted)
    kind = Kind(update.get("kind", field.kind))
    values = update.get("values", field.values)
    if field.dtype == "bool" and kind is not Kind.CATEGORY:
        msg = f"{field.name}: true or false is a category, and no number"
        raise ValueError(msg)
    if kind is Kind.CATEGORY and not values:
        if field.low is None or field.high is None or not field.dtype.startswith(("int", "uint")):
            msg = f"{field.name}: give the values of the category, as {{'kind': 'category', 'values': [...]}}"
            raise ValueError(msg)
        update["values"] = tuple(range(int(field.low), int(field.high) + 1))
    if kind is Kind.CATEGORY:
        update.setdefault("atoms", ())
    else:
        update["values"] = None
    if "values" in update and update["values"] is not None:
        update["values"] = tuple(sorted(update["values"]))
    return Field.model_validate({**field.model_dump(), **update, "kind": kind})
