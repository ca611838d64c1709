"""What the branches of a file make: collections, objects, numbers, identifiers and the weight.

Names propose, and the lengths of lists decide. The rules, in their order:

1. ``run``, ``luminosityBlock`` and ``event`` (also ``runNumber``, ``EventNumber``, ``Event.Number``, ...) are
   identifiers, if they are numbers of the event. So are they, and the weight, in lists of one number in each
   event, as Delphes has them.
2. Lists that one branch counts, or that are fields of one record, are one collection. Other lists are one if
   what stands before the first ``_`` of their names (or before the first ``.`` or ``:``) is the same, and
   their lengths, too. Where lists with one prefix have several lengths, or make a momentum only behind a
   longer prefix, they are collections of their own, called by the longest prefix that they share:
   ``rec_part_px`` and ``rec_part_track_D0`` are ``px`` of ``rec_part`` and ``D0`` of ``rec_part_track``.
   Lists of the same lengths are told by ``jetPt, jetEta, jetPhi`` or ``pt_jet, eta_jet, phi_jet``, too, and
   without any prefix are called ``Particle``, if they make a momentum. Any other list is a collection with
   the one field ``value``.
3. A whole number of the event is a counter where it equals the lengths of a collection in all events that
   were looked at, by its name (``nMuon``, ``NMuon``, ``n_mu``, ``Muon_size``) or, if the lengths differ from
   event to event, whatever it is called. Else it is a number of the event.
4. Arrays of one size (``part_pt[30]``) are objects of one collection, if they have a common prefix or make a
   momentum, and a momentum, a mask, a counter or fills tell that they are objects (see
   `hepgan.events.shapes`). Others (``waveform[500]``, ``Image[25][25]``) are fields with a shape, by the
   names that they have in the file.
5. Branches with numbers, ``px1, py1, pz1, E1, px2, ...``, ``lep1_pt, lep2_pt, ...``, ``pt_1, pt_2, ...`` or
   ``pT_h1, pT_h2, ...``, are the objects of one collection, if they hold a momentum and are numbered from 0
   or 1 without gaps. Without a prefix it is called ``Particle``.
6. Other numbers with a common prefix are one object in each event (``MET_pt, MET_phi``), if the prefix
   starts with a capital letter, or if they hold a momentum (``jet_pt, jet_phi``; ``jetPt, jetPhi``; ``pt_jet,
   phi_jet``). All else is a scalar, with the name that it has in the file.
7. Momentum coordinates get hepgan's names (see `coordinate`): ``Px`` and ``momentum.x`` are ``px``, ``PT`` is
   ``pt``, ``E`` and ``PE`` are ``energy``, ``M`` is ``mass``.
8. The weight is the scalar whose name says so most clearly: ``genWeight, weight, mcEventWeight, weight_mc,
   ...``, or ``nSig_sw`` of an sPlot (see `hepgan.events.weights`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hepgan.events.names import (
    after,
    after_camel,
    backwards,
    before,
    camel_cuts,
    coordinate,
    cuts_of,
    head_of,
    identifier,
    makes_momentum,
    plain_name,
    shared_prefix,
    with_momentum,
)
from hepgan.events.schema import Branch, Collection, Counter, EventSchema, Field, coordinates
from hepgan.events.weights import names_itself, weight_names

__all__ = ["Evidence", "draft", "trusted"]

_OBJECTS = {"lep": "Lepton", "mu": "Muon", "el": "Electron", "ele": "Electron", "part": "Particle"}
_MISSING = re.compile(r"(?i).*(met|mht|miss).*|et")

_NUMBERED = (
    re.compile(r"(?P<prefix>[A-Za-z][A-Za-z_]*?)_?(?P<index>\d+)[_.](?P<field>.+)"),
    re.compile(r"(?P<prefix>[A-Za-z]+?)(?P<index>\d+)(?P<field>[A-Z][A-Za-z]*)"),
    re.compile(r"(?P<field>[A-Za-z][A-Za-z0-9]*)_(?P<prefix>[A-Za-z_]*?[A-Za-z])_?(?P<index>\d+)"),
    re.compile(r"(?:(?P<prefix>\w+?)_)?(?P<field>[A-Za-z]+)_?(?P<index>\d+)"),
)
"""``lep1_pt``, ``lep1Pt``, ``pt_lep1`` and ``lep_pt1`` or ``pt1``."""

_COUNTERS = ("n{}", "N{}", "n_{}", "N_{}", "{}_n", "{}_size", "n{}s", "N{}s", "num{}", "{}_")
_FEW = 0.05
"""Share of events in which lists of one object may be damaged."""

_STEM = re.compile(r"^(num_?|[nN]_?)(?=.)|(?<=.)(_n|_size|_)$")


@dataclass(frozen=True)
class Evidence:
    """What was seen of a file, in some of its events, the same ones of all branches.

    Attributes:
        lengths: Lengths (N,) of lists, by their branches.
        numbers: Whole numbers (N,) of the event, by their branches.
    """

    lengths: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    numbers: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(len(v) for v in self.lengths.values())

    def without(self, numbers: Container[str]) -> Evidence:
        """The same without some of the numbers, so that they count nothing."""
        return replace(self, numbers={n: v for n, v in self.numbers.items() if n not in numbers})

    def counts(self, counter: str, lengths: NDArray[np.int64] | None) -> bool:
        """Whether a branch is known to have these lengths."""
        numbers = self.numbers.get(counter)
        return numbers is not None and lengths is not None and np.array_equal(numbers, lengths)


def draft(branches: Sequence[Branch], tree: str = "Events", seen: Evidence | None = None) -> EventSchema:
    """What the branches hold, by their names and types, and by the lengths of lists; kinds need the data.

    Args:
        branches: The branches, in the file's order.
        tree: The tree's name.
        seen: Lengths and numbers in some events; without any, names alone decide.

    Returns:
        A schema with all fields continuous, and counts from 0 to 0 for ``jagged`` collections.
    """
    flat = {b.name: b for b in branches if not b.jagged and not b.shape}
    alone = {b.name: b for b in branches if b.jagged and _is_alone(b, seen or Evidence())}
    jagged = _Lists(flat, seen or Evidence()).collections(
        [b for b in branches if b.jagged and b.name not in alone]
    )
    counters = {b.name: b for b in branches}
    identifiers: dict[str, Field] = {}
    # What is called exactly so comes first, so that no other number has its name.
    for b in sorted((*flat.values(), *alone.values()), key=lambda b: identifier(b.name) != b.name):
        name = identifier(b.name, whole=b.integer)
        if name is not None and b.dtype not in ("string", "bool") and name not in identifiers:
            found = _lone(name, b, counters) if b.name in alone else _field(name, [b])
            (alone if b.name in alone else flat).pop(b.name)
            # Numbers in single precision would soon be those of several events.
            wide = {} if b.integer else {"dtype": "float64"}
            identifiers[name] = found.model_copy(update=wide)
    lone = [_lone(re.sub(r"[.:/]", "_", plain_name(b.name)), b, counters) for b in alone.values()]
    for f in (*lone, *identifiers.values()):
        if f.counter is not None:
            flat.pop(f.counter.branch, None)
    taken = {c.name for c in jagged} | set(identifiers)
    padded = _padded([b for b in branches if len(b.shape) == 1], taken)
    taken |= {c.name for c in padded}
    indexed = _indexed(flat, taken)
    taken |= {c.name for c in indexed}
    single = _single(flat, taken)
    deep = (b for b in branches if len(b.shape) > 1)
    arrays = (_field(b.name, [b]).model_copy(update={"shape": b.shape}) for b in deep)
    scalars = (*(_field(b.name, [b]) for b in flat.values()), *lone, *arrays)
    names = {s.name for s in scalars} | set(identifiers)
    there = {c.name for c in (*jagged, *padded, *indexed, *single)}
    collections = []
    for c in (*jagged, *padded, *indexed, *single):
        name = c.name
        if name in names and (word := _OBJECTS.get(name.lower())) and word not in there:
            name = word
        while name in names:
            name += "Objects"
        names.add(name)
        collections.append(c if name == c.name else c.model_copy(update={"name": name}))
    return EventSchema(
        collections=tuple(collections),
        scalars=scalars,
        identifiers=tuple(identifiers.values()),
        weight=next(iter(weight_names(scalars)), None),
        tree=tree,
    )


# ---------------------------------------------------------------------- fields


def _field(name: str, branches: Sequence[Branch], counter: Branch | None = None) -> Field:
    first = branches[0]
    return Field(
        name=name,
        branches=tuple(b.name for b in branches),
        dtype=first.dtype,
        title=first.title,
        counter=None if counter is None else _counter(counter),
        record=first.record,
    )


def _is_alone(b: Branch, seen: Evidence) -> bool:
    """Whether lists of one number are the weight of their event, or name it: all of ``Event.Weight``."""
    lengths = seen.lengths.get(b.name)
    if lengths is None or not lengths.size or (lengths != 1).any() or b.dtype in ("string", "bool"):
        return False
    return identifier(b.name, whole=b.integer) is not None or bool(
        weight_names([Field(name=plain_name(b.name), branches=(b.name,), dtype=b.dtype)])
    )


def _lone(name: str, b: Branch, counters: Mapping[str, Branch]) -> Field:
    """A number of the event that the file has in a list of one."""
    return _field(name, [b], counters.get(b.counter or "")).model_copy(update={"alone": True})


def _counter(b: Branch) -> Counter:
    return Counter(branch=b.name, dtype=b.dtype, title=b.title)


def _fields(
    named: Iterable[tuple[str, Sequence[Branch]]], owner: str, counters: Mapping[str, Branch] | None = None
) -> tuple[Field, ...]:
    """Fields with hepgan's names for coordinates, unless two would be called the same."""
    entries = [(name or "value", branches) for name, branches in named]
    exact = {name for name, _ in entries}
    renamed: dict[str, str] = {}
    for name, _ in entries:
        new = coordinate(name)
        if new is not None and (new == name or new not in exact) and new not in renamed.values():
            renamed[name] = new
    known = {*renamed.values()}
    if "phi" in known and not known & {"px", "pt"}:
        # The length of a missing momentum has its own name, or that of what it is.
        own = (n for n, _ in entries if n.lower() in ("met", "mht", owner.lower(), "value"))
        transverse = [n for n in (*own, *(n for n, _ in entries if n.lower() == "et")) if n not in renamed]
        if transverse and _MISSING.fullmatch(owner):
            renamed[transverse[0]] = "pt"
    if not known and {"fX", "fY"} <= exact and _MISSING.fullmatch(owner):
        renamed |= {"fX": "px", "fY": "py"}
    if len(coordinates(tuple({*renamed.values()}))) > 2 and "p" not in exact:
        renamed |= {n: "p" for n, _ in entries if n == "P"}
    fields: dict[str, Field] = {}
    for name, branches in entries:
        new = renamed.get(name, name)
        while new in fields:
            new += "_"
        fields[new] = _field(new, branches, (counters or {}).get(branches[0].name))
    return tuple(fields.values())


# ---------------------------------------------------------------------- lists


@dataclass
class _Group:
    """Lists of one collection.

    Attributes:
        named: Their names as fields, and their branches.
        name: The collection's name.
        counter: What counts all of them.
        lengths: Their lengths, where they are known.
        own: What counts one of them alone, by its branch.
    """

    named: list[tuple[str, Branch]]
    name: str = ""
    counter: Branch | None = None
    lengths: NDArray[np.int64] | None = None
    own: dict[str, Branch] = field(default_factory=dict)
    counts: list[Branch] = field(default_factory=list)

    @property
    def branches(self) -> list[Branch]:
        return [b for _, b in self.named]


class _Lists:
    """Makes collections of lists; takes what counts them out of the numbers of the event."""

    def __init__(self, flat: dict[str, Branch], seen: Evidence) -> None:
        self.flat, self.seen = flat, seen
        self.taken: set[str] = set()

    def collections(self, lists: Sequence[Branch]) -> list[Collection]:
        """The collections, in the order of their first lists."""
        together: dict[str, list[Branch]] = {}
        for b in lists:
            if (key := trusted(b)) is not None:
                together.setdefault(key, []).append(b)
        together = {key: found for key, found in together.items() if len(found) > 1}
        loose = [b for b in lists if trusted(b) not in together]
        groups = [self._counted(key, found) for key, found in together.items()]
        loose = self._joined(groups, loose)
        groups += self._classes(loose)
        at = {b.name: i for i, b in enumerate(lists)}
        groups.sort(key=lambda g: min(at[b.name] for b in g.branches))
        for g in groups:
            self._own_counters(g)
            if g.counter is None:
                g.counter = self._counter_by_name(g)
            if g.counter is not None:
                self.flat.pop(g.counter.name, None)
        self._other_counters(groups)
        return [self._collection(g) for g in groups]

    def _counted(self, key: str, members: list[Branch]) -> _Group:
        """Lists that share a counter or a record."""
        counter = self.flat.get(members[0].counter or "")
        lengths = self._lengths(members)
        if counter is not None and counter.integer:
            lengths = self.seen.numbers.get(counter.name, lengths)
        # Of those that only another tool can count, such as the members of split objects.
        stem = _STEM.sub("", key.rpartition("/")[2])
        prefixes = {next((p for p, _ in cuts_of(b.name) if p.lower() == stem.lower()), "") for b in members}
        heads = {head_of(b.name) for b in members}
        if len(prefixes) == 1 and (prefix := next(iter(prefixes))):
            name = prefix
        elif len(heads) == 1:
            name = next(iter(heads))
            longer = shared_prefix([b.name for b in members])
            if not self._moves(members, name) and longer and self._moves(members, longer):
                name = longer
        else:
            return _Group(_stripped(stem, members), stem, counter, lengths)
        named = [(after(b.name, name) or "", b) for b in members]
        return _Group(named, name, counter, lengths)

    def _lengths(self, members: Iterable[Branch]) -> NDArray[np.int64] | None:
        return next((n for b in members if (n := self.seen.lengths.get(b.name)) is not None), None)

    @staticmethod
    def _moves(members: Iterable[Branch], prefix: str) -> bool:
        return makes_momentum(after(b.name, prefix) or "" for b in members)

    def _joined(self, groups: list[_Group], loose: list[Branch]) -> list[Branch]:
        """Adds lists to the group of their prefix that has their lengths; what is left."""
        left = []
        for b in loose:
            lengths = self.seen.lengths.get(b.name)
            host = next(
                (
                    g
                    for g in groups
                    if lengths is not None
                    and g.lengths is not None
                    and after(b.name, g.name) is not None
                    and np.array_equal(g.lengths, lengths)
                ),
                None,
            )
            if host is None:
                left.append(b)
            else:
                host.named.append((after(b.name, host.name) or "", b))
        return left

    def _classes(self, loose: list[Branch]) -> list[_Group]:
        """The collections of lists that nothing but their names and lengths keeps together."""
        classes: dict[Any, list[Branch]] = {}
        for b in loose:
            lengths = self.seen.lengths.get(b.name)
            key: Any = None if lengths is None else lengths.tobytes()
            if lengths is None and (self.seen or (b.counter in self.flat and b.counter != f"n{b.name}")):
                key = b.name  # of what could not be looked at, nothing is known
            classes.setdefault(key, []).append(b)
        groups: list[_Group] = []
        if self.seen:
            for members in classes.values():
                groups += self._told_otherwise(members)
        done = {b.name for g in groups for b in g.branches}
        by_head: dict[str, list[list[Branch]]] = {}
        for members in classes.values():
            heads: dict[str, list[Branch]] = {}
            for b in members:
                if b.name not in done:
                    heads.setdefault(head_of(b.name), []).append(b)
            for head, found in heads.items():
                by_head.setdefault(head, []).append(found)
        for head, several in by_head.items():
            parts = self._without_slips(several)
            for members in parts:
                groups += self._divided(head, members, alone=len(parts) == 1)
        return [replace(g, lengths=self._lengths(g.branches)) for g in groups]

    def _without_slips(self, parts: list[list[Branch]]) -> list[list[Branch]]:
        """The parts of lists with one prefix, the largest first, with those that are damaged in it.

        Of fields of one object, such as ``Muon_pt`` and ``Muon_eta``, other lengths in a few events are an
        error, which reading them tells.
        """
        first, *others = sorted(parts, key=len, reverse=True)
        lengths = self.seen.lengths.get(first[0].name)
        rest = []
        for members in others:
            mine = self.seen.lengths.get(members[0].name)
            plain = all(len(cuts_of(b.name)) == 1 for b in (*first, *members))
            if plain and mine is not None and lengths is not None and _nearly(mine, lengths):
                first = [*first, *members]
            else:
                rest.append(members)
        return [first, *rest]

    @staticmethod
    def _told_otherwise(members: list[Branch]) -> list[_Group]:
        """Lists of the same lengths with momenta, without a separator or a prefix, or with it at the end."""
        left = {b.name: b for b in members}
        groups = []
        bare = [n for n in left if not cuts_of(n)]
        for names, cuts, rest in ((bare, camel_cuts, after_camel), ([*left], backwards, before)):
            for prefix in sorted(with_momentum(names, cuts), key=len):
                named = [(found, b) for n, b in left.items() if (found := rest(n, prefix))]
                if makes_momentum(found for found, _ in named):
                    groups.append(_Group(named, prefix))
                    left = {n: b for n, b in left.items() if rest(n, prefix) is None}
        plain = {n: b for n, b in left.items() if not cuts_of(n)}
        if makes_momentum(plain):
            groups.append(_Group([*plain.items()], "Particle"))
        return groups

    def _divided(self, head: str, members: list[Branch], *, alone: bool) -> list[_Group]:
        """Lists with one prefix and the same lengths, as objects with momenta and the rest."""
        if self._moves(members, head):
            return [_Group([(after(b.name, head) or "", b) for b in members], head)]
        groups: list[_Group] = []
        left = members
        for prefix in sorted(with_momentum([b.name for b in members], cuts_of), key=len):
            named = [(rest, b) for b in left if (rest := after(b.name, prefix))]
            if makes_momentum(found for found, _ in named):
                groups.append(_Group(named, prefix))
                taken = {b.name for _, b in named}
                left = [b for b in left if b.name not in taken]
        if left:
            name = head if alone and not groups else shared_prefix([b.name for b in left]) or head
            groups.append(_Group([(after(b.name, name) or "", b) for b in left], name))
        return groups

    def _own_counters(self, g: _Group) -> None:
        """Takes out what counts single lists of the group."""
        for b in g.branches:
            counter = self.flat.get(b.counter or "")
            if counter is None or counter is g.counter:
                continue
            if len(g.named) == 1 or counter.name == f"n{g.name}":
                g.counter = counter
            else:
                g.own[b.name] = self.flat.pop(counter.name)

    def _counter_by_name(self, g: _Group) -> Branch | None:
        for form in _COUNTERS:
            for stem in dict.fromkeys((g.name, g.name[0].upper() + g.name[1:], g.name.lower())):
                found = self.flat.get(form.format(stem))
                if found is None or not found.integer:
                    continue
                if not self.seen or self.seen.counts(found.name, g.lengths):
                    return found
        return None

    def _other_counters(self, groups: list[_Group]) -> None:
        """Takes out all other numbers that are the lengths of a collection, which differ among events."""
        varying = [g for g in groups if g.lengths is not None and g.lengths.size and np.ptp(g.lengths)]
        for b in [b for b in self.flat.values() if b.integer and b.name in self.seen.numbers]:
            fits = [g for g in varying if self.seen.counts(b.name, g.lengths)]
            if not fits or identifier(b.name) is not None:
                continue
            words = b.name.lower()
            best = max(fits, key=lambda g: (g.name.lower().rstrip("s") in words, g.counter is None))
            if best.counter is None and not best.own:
                best.counter = b
            else:
                best.counts.append(b)
            del self.flat[b.name]

    def _collection(self, g: _Group) -> Collection:
        name = g.name
        if name in self.taken:
            name = f"{name}_{head_of(g.named[0][0] or 'value')}"
        while name in self.taken:
            name += "Objects"
        self.taken.add(name)
        counter = {} if g.counter is None else {"counter_dtype": g.counter.dtype}
        return Collection(
            name=name,
            layout="jagged",
            fields=_fields([(n, [b]) for n, b in g.named], g.name, g.own),
            counter=None if g.counter is None else g.counter.name,
            counter_title="" if g.counter is None else g.counter.title,
            counts=tuple(map(_counter, g.counts)),
            max_count=0,
            **counter,
        )


def trusted(b: Branch) -> str | None:
    """What all lists of one length share in the file: their counter, or their record."""
    return b.counter if b.counter is not None else f"{b.name.partition('.')[0]}_" if b.record else None


def _nearly(first: NDArray[np.int64], second: NDArray[np.int64]) -> bool:
    """Whether lengths are the same but for a few events."""
    some = (first > 0) | (second > 0)
    return bool(some.any() and (first != second)[some].mean() <= _FEW)


def _stripped(stem: str, members: list[Branch]) -> list[tuple[str, Branch]]:
    """The names of lists without that of their counter, where they begin with it."""
    strip = re.compile(rf"(?:{re.escape(stem)}|{re.escape(stem.removesuffix('s'))})[_.]?(?=.)", re.IGNORECASE)
    named = [(plain_name(b.name), b) for b in members]
    return [(strip.sub("", n, count=1) if strip.match(n) else n, b) for n, b in named]


# ---------------------------------------------------------------------- numbers


def _padded(branches: Sequence[Branch], taken: set[str]) -> list[Collection]:
    groups: dict[tuple[str, int], list[Branch]] = {}
    for b in branches:
        groups.setdefault((cuts_of(b.name)[0][0] if cuts_of(b.name) else "", b.shape[0]), []).append(b)
    collections = []
    for (prefix, size), members in groups.items():
        parts = [(prefix, [(after(b.name, prefix) or "", [b]) for b in members])]
        if not prefix:
            together = makes_momentum(b.name for b in members)
            alone = [(b.name, [("", [b])]) for b in members]
            parts = [("Particle", [(b.name, [b]) for b in members])] if together else alone
        elif len(members) == 1 and prefix in taken:
            parts = [(members[0].name, [("", members)])]
        for name, named in parts:
            while name in taken:
                name += "Objects"
            taken.add(name)
            fields = _fields(named, name)
            collections.append(
                Collection(
                    name=name, layout="padded", fields=fields, min_count=size, max_count=size, size=size
                )
            )
    return collections


def _indexed(flat: dict[str, Branch], taken: set[str]) -> list[Collection]:
    numbered: dict[str, dict[str, dict[int, Branch]]] = {}
    reversed_ = _reversed_owners(flat)
    for b in flat.values():
        if (found := _number(b.name, reversed_)) is not None:
            stem, name, number = found
            numbered.setdefault(stem, {}).setdefault(name, {})[number] = b
    collections = []
    for prefix, by_field in numbered.items():
        by_index: dict[tuple[int, ...], list[str]] = {}
        for name, at in by_field.items():
            by_index.setdefault(tuple(sorted(at)), []).append(name)
        for index, names in by_index.items():
            gapless = len(index) > 1 and index in (tuple(range(len(index))), tuple(range(1, len(index) + 1)))
            same_type = all(len({by_field[n][i].dtype for i in index}) == 1 for n in names)
            name = _OBJECTS.get(prefix.lower(), prefix[:1].upper() + prefix[1:]) or "Particle"
            fields = _fields(((n, [by_field[n][i] for i in index]) for n in names), name)
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


def _number(name: str, reversed_owners: set[str]) -> tuple[str, str, int] | None:
    """The prefix, the field and the index of a numbered branch."""
    inside, camel, behind, last = (p.fullmatch(plain_name(name)) for p in _NUMBERED)
    if camel is not None and coordinate(camel["field"]) is None:
        camel = None
    if behind is not None and behind["prefix"] not in reversed_owners:
        behind = None
    found = behind or inside or camel or last
    return None if found is None else (found["prefix"] or "", found["field"], int(found["index"]))


def _reversed_owners(flat: Iterable[str]) -> set[str]:
    """What is numbered behind its fields, as ``h`` of ``pT_h1, eta_h1, phi_h1``."""
    known: dict[tuple[str, str], set[str]] = {}
    for name in flat:
        found = _NUMBERED[2].fullmatch(plain_name(name))
        if found and (c := coordinate(found["field"])) and not coordinate(found["prefix"]):
            known.setdefault((found["prefix"], found["index"]), set()).add(c)
    return {prefix for (prefix, _), names in known.items() if coordinates(tuple(names))}


def _single(flat: dict[str, Branch], taken: set[str]) -> list[Collection]:
    groups: dict[str, list[tuple[str, Branch]]] = {}
    for name, prefix, rest in _owned(flat):
        groups.setdefault(prefix, []).append((rest, flat[name]))
    collections = []
    for prefix, members in groups.items():
        fields = _fields(((name, [b]) for name, b in members), prefix)
        momentum = coordinates(tuple(f.name for f in fields))
        if prefix in taken or not (prefix[0].isupper() or momentum):
            continue
        collections.append(Collection(name=prefix, layout="single", fields=fields, min_count=1, max_count=1))
        for _, b in members:
            del flat[b.name]
    return collections


def _owned(flat: Mapping[str, Branch]) -> Iterator[tuple[str, str, str]]:
    """Names of numbers with the object that they are of, and the field."""
    names = [n for n in flat if not names_itself(n)]
    prefixes = sorted({*with_momentum(names, cuts_of), *_lonely(names, cuts_of)}, key=len, reverse=True)
    camel = sorted({*with_momentum(names, camel_cuts), *_lonely(names, camel_cuts)}, key=len, reverse=True)
    behind = sorted(with_momentum(names, backwards), key=len, reverse=True)
    for name in names:
        for owners, rest_of in ((prefixes, after), (camel, after_camel), (behind, before)):
            found = next(((p, r) for p in owners if (r := rest_of(name, p)) is not None), None)
            if found is None and rest_of is after_camel and name in camel:
                found = name, ""
            # A name without a field is only the length of a missing momentum.
            if found is not None and (found[1] or _MISSING.fullmatch(found[0])):
                yield name, *found
                break
        else:
            if cuts := cuts_of(name):
                yield name, *cuts[0]


def _lonely(names: Sequence[str], cuts: Callable[[str], list[tuple[str, str]]]) -> list[str]:
    """Missing momenta whose length has the name of the object: ``MET, METPhi``, or ``met, met_phi``."""
    there = set(names)
    angles = {p for n in names for p, rest in cuts(n) if coordinate(rest) == "phi"}
    return [p for p in angles if p in there and _MISSING.fullmatch(p)]
