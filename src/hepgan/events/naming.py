"""Which objects and numbers a file holds, told from the names and types of its branches.

The rules, in their order:

1. ``run``, ``luminosityBlock`` and ``event`` (also ``Run``, ``runNumber``, ``EventNumber``, ...) are
   identifiers, if they are integers.
2. A branch of lists belongs to the collection that its counter names (``nMuon``, ``NMuon``, ``n_mu``,
   ``Muon_size``), or, without a counter or with one of its own (``nMuon_pt``), to the one before its first
   ``_`` or ``.``: ``Muon_pt`` is ``pt`` of ``Muon``. A list without a prefix is a collection with the one
   field ``value``.
3. Branches with numbers, ``px1, py1, pz1, E1, px2, ...``, ``lep1_pt, lep2_pt, ...`` or ``pt_1, pt_2, ...``,
   are the objects of one collection, if they hold a momentum and are numbered from 0 or 1 without gaps.
   Without a prefix it is called ``Particle``.
4. Other numbers with a common prefix are one object in each event (``MET_pt, MET_phi``), if the prefix
   starts with a capital letter, or if they hold a momentum (``jet_pt, jet_phi``). All else is a scalar, with
   the name that it has in the file.
5. Momentum coordinates get hepgan's names: ``Px`` is ``px``, ``PT`` is ``pt``, ``E`` is ``energy``, ``M`` is
   ``mass``.
6. The first scalar among ``genWeight, weight, eventWeight, mcWeight, ...`` is the weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hepgan.events.schema import Collection, EventSchema, Field, coordinates

__all__ = ["Branch", "draft"]

_COORDINATES = {
    "px": "px",
    "py": "py",
    "pz": "pz",
    "pt": "pt",
    "eta": "eta",
    "phi": "phi",
    "theta": "theta",
    "mass": "mass",
    "m": "mass",
    "energy": "energy",
    "e": "energy",
}
_IDENTIFIERS = {
    "run": "run",
    "runnumber": "run",
    "luminosityblock": "luminosityBlock",
    "lumiblock": "luminosityBlock",
    "event": "event",
    "eventnumber": "event",
}
_WEIGHTS = (
    "genweight",
    "weight",
    "eventweight",
    "event_weight",
    "mcweight",
    "mceventweight",
    "wgt",
    "evtweight",
)
_OBJECTS = {"lep": "Lepton", "mu": "Muon", "el": "Electron", "ele": "Electron", "part": "Particle"}
_NUMBERED_INSIDE = re.compile(r"(?P<prefix>[A-Za-z]+)(?P<index>\d+)_(?P<field>.+)")
_NUMBERED_AT_END = re.compile(r"(?:(?P<prefix>\w+?)_)?(?P<field>[A-Za-z]+)_?(?P<index>\d+)")


@dataclass(frozen=True)
class Branch:
    """A branch as a file describes it.

    Attributes:
        name: Its name.
        dtype: A numpy dtype's name, or ``string``.
        jagged: Whether it holds a list in each event.
        counter: The branch with the lists' lengths, where the file says so.
        title: Its title, if it is more than ROOT's own list of leaves.
    """

    name: str
    dtype: str
    jagged: bool = False
    counter: str | None = None
    title: str = ""

    @property
    def integer(self) -> bool:
        """Whether it holds whole numbers."""
        return self.dtype.startswith(("int", "uint"))


def draft(branches: Sequence[Branch], tree: str = "Events") -> EventSchema:
    """What the branches hold, as far as their names and types tell; kinds and counts need the data.

    Args:
        branches: The branches, in the file's order.
        tree: The tree's name.

    Returns:
        A schema with all fields continuous, and counts from 0 to 0 for ``jagged`` collections.
    """
    own = {b.counter for b in branches if b.jagged and b.counter == f"n{b.name}" and _split(b.name)[0]}
    flat = {b.name: b for b in branches if not b.jagged and b.name not in own}
    jagged = _jagged([b for b in branches if b.jagged], flat)
    for collection in jagged:
        flat.pop(collection.counter or "", None)
    identifiers: dict[str, Field] = {}
    for b in list(flat.values()):
        name = _IDENTIFIERS.get(b.name.lower())
        if name is not None and b.integer and name not in identifiers:
            identifiers[name] = _field(name, [flat.pop(b.name)])
    taken = {c.name for c in jagged} | set(identifiers)
    indexed = _indexed(flat, taken)
    taken |= {c.name for c in indexed}
    single = _single(flat, taken)
    scalars = tuple(_field(b.name, [b]) for b in flat.values())
    clash = {s.name for s in scalars}
    collections = tuple(
        c.model_copy(update={"name": f"{c.name}Objects"}) if c.name in clash else c
        for c in (*jagged, *indexed, *single)
    )
    by_lower = {s.name.lower(): s.name for s in reversed(scalars) if s.dtype not in ("string", "bool")}
    weight = next((by_lower[w] for w in _WEIGHTS if w in by_lower), None)
    return EventSchema(
        collections=collections,
        scalars=scalars,
        identifiers=tuple(identifiers.values()),
        weight=weight,
        tree=tree,
    )


def _field(name: str, branches: Sequence[Branch]) -> Field:
    first = branches[0]
    return Field(name=name, branches=tuple(b.name for b in branches), dtype=first.dtype, title=first.title)


def _fields(named: Iterable[tuple[str, Sequence[Branch]]]) -> tuple[Field, ...]:
    """Fields with hepgan's names for coordinates, unless two would be called the same."""
    fields: dict[str, Field] = {}
    entries = list(named)
    exact = {name for name, _ in entries}
    for name, branches in entries:
        new = _COORDINATES.get(name.lower(), name)
        if new != name and (new in exact or new in fields):
            new = name
        while new in fields:
            new += "_"
        fields[new] = _field(new, branches)
    return tuple(fields.values())


def _split(name: str) -> tuple[str, str]:
    """``Muon_pt`` as (``Muon``, ``pt``); nothing before the separator where there is none."""
    found = re.match(r"([^_.]+)[_.](.+)", name)
    return (found[1], found[2]) if found else ("", name)


def _jagged(branches: Sequence[Branch], flat: dict[str, Branch]) -> list[Collection]:
    groups: dict[tuple[str, str], list[Branch]] = {}
    for b in branches:
        counter = b.counter if b.counter in flat else None
        prefix = _split(b.name)[0] or b.name
        groups.setdefault(("counter", counter) if counter else ("prefix", prefix), []).append(b)
    collections: dict[str, Collection] = {}
    for (by, key), members in groups.items():
        prefixes = {_split(b.name)[0] for b in members}
        if len(prefixes) == 1 and (prefix := next(iter(prefixes))):
            name, named = prefix, [(_split(b.name)[1], [b]) for b in members]
        elif len(members) == 1 and not _split(members[0].name)[0]:
            name, named = members[0].name, [("value", members)]
        else:
            name = re.sub(r"^(n_?|N_?)(?=.)|(?<=.)(_n|_size)$", "", key)
            strip = re.compile(rf"{re.escape(name)}[_.]?(?=.)", re.IGNORECASE)
            named = [
                (strip.sub("", b.name, count=1) if strip.match(b.name) else b.name, [b]) for b in members
            ]
        while name in collections:
            name += "Objects"
        found = flat[key] if by == "counter" else _counter(name, flat)
        collections[name] = Collection(
            name=name,
            layout="jagged",
            fields=_fields(named),
            counter=None if found is None else found.name,
            counter_dtype="int32" if found is None else found.dtype,
            counter_title="" if found is None else found.title,
            max_count=0,
        )
    return list(collections.values())


def _counter(name: str, flat: dict[str, Branch]) -> Branch | None:
    for form in ("n{}", "N{}", "n_{}", "N_{}", "{}_n", "{}_size", "n{}s", "N{}s", "num{}"):
        for stem in dict.fromkeys((name, name[0].upper() + name[1:], name.lower())):
            found = flat.get(form.format(stem))
            if found is not None and found.integer:
                return found
    return None


def _indexed(flat: dict[str, Branch], taken: set[str]) -> list[Collection]:
    numbered: dict[str, dict[str, dict[int, Branch]]] = {}
    for b in flat.values():
        found = _NUMBERED_INSIDE.fullmatch(b.name) or _NUMBERED_AT_END.fullmatch(b.name)
        if found is not None:
            stem = found["prefix"] or ""
            numbered.setdefault(stem, {}).setdefault(found["field"], {})[int(found["index"])] = b
    collections = []
    for prefix, by_field in numbered.items():
        by_index: dict[tuple[int, ...], list[str]] = {}
        for name, at in by_field.items():
            by_index.setdefault(tuple(sorted(at)), []).append(name)
        for index, names in by_index.items():
            gapless = len(index) > 1 and index in (tuple(range(len(index))), tuple(range(1, len(index) + 1)))
            fields = _fields((n, [by_field[n][i] for i in index]) for n in names)
            same_type = all(len({by_field[n][i].dtype for i in index}) == 1 for n in names)
            name = _OBJECTS.get(prefix.lower(), prefix[:1].upper() + prefix[1:]) or "Particle"
            if (
                not gapless
                or not same_type
                or name in taken
                or not coordinates(tuple(f.name for f in fields))
            ):
                continue
            taken.add(name)
            size = len(index)
            collections.append(
                Collection(name=name, layout="indexed", fields=fields, min_count=size, max_count=size)
            )
            for f in fields:
                for branch in f.branches:
                    del flat[branch]
    return collections


def _single(flat: dict[str, Branch], taken: set[str]) -> list[Collection]:
    deep: dict[str, set[str]] = {}
    for name in flat:
        prefix, _, last = name.rpartition("_")
        if "_" in prefix and last.lower() in _COORDINATES:
            deep.setdefault(prefix, set()).add(_COORDINATES[last.lower()])
    long_prefixes = [p for p, names in deep.items() if coordinates(tuple(names))]
    groups: dict[str, list[tuple[str, Branch]]] = {}
    for b in flat.values():
        prefix = next((p for p in long_prefixes if b.name.startswith(p + "_")), "")
        prefix, field = (prefix, b.name[len(prefix) + 1 :]) if prefix else _split(b.name)
        if prefix:
            groups.setdefault(prefix, []).append((field, b))
    collections = []
    for prefix, members in groups.items():
        fields = _fields((name, [b]) for name, b in members)
        momentum = coordinates(tuple(f.name for f in fields))
        if prefix in taken or not (prefix[0].isupper() or momentum):
            continue
        collections.append(Collection(name=prefix, layout="single", fields=fields, min_count=1, max_count=1))
        for _, b in members:
            del flat[b.name]
    return collections
