"""Files that are read as one sample: what all of them have, and what is left out since some lack it."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from hepgan.errors import InputError
from hepgan.events.damage import Readable, Together
from hepgan.events.evidence import FIRST, miscounted
from hepgan.events.formats import PathLike, locate, open_source, tree_names
from hepgan.events.schema import Address, Branch, EventSchema, select
from hepgan.events.weights import weighted_by

__all__ = ["Files", "alike", "listed", "look", "names_in", "opened", "part_of", "placed"]

_SEEN = 8
"""Files that a draft looks at, at most."""

_NAMED = 8
"""Names that a message lists."""

_COMPARED = 20
"""Files in which what is taken for a number of objects must be one."""


@dataclass(frozen=True)
class Files:
    """What files that are read as one sample have in common.

    Attributes:
        named: How errors call them.
        places: Path and tree of each.
        entries: Number of events in all of them.
        schema: What all have, as far as their branches tell; kinds and counts need the data.
        left_out: Branches that are not in it, and why.
        others: Branches of types that are not read, with the file that has them.
        notes: What is to be told of single branches: of those that some files lack, or have in another type.
    """

    named: str
    places: tuple[tuple[str, str | None], ...]
    entries: int
    schema: EventSchema
    left_out: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def part(self, branches: Iterable[str] | None, weight: str | None, draft: Drafting) -> EventSchema:
        """What names of collections, fields and branches, and globs of branches, make of the schema.

        Args:
            branches: The names; everything if None.
            weight: The scalar that is the weight, or ``none``; that which names tell if None.
            draft: What makes a schema of a source, to find the file that lacks something.

        Raises:
            InputError: If a file lacks what is asked for.
        """
        wanted = None if branches is None else list(branches)
        try:
            return part_of(self.schema, wanted, weight)
        except InputError as error:
            named = error
        for path, tree in self.places:
            left_out: dict[str, str] = {}
            with opened(path, tree) as source:
                try:
                    part_of(_drafted(source, draft, left_out), wanted, weight)
                except InputError as error:
                    reason = _reason(left_out, error.branch)
                    message = reason or error.message
                    raise InputError(message, file=source.label, branch=error.branch) from None
        message = _reason(self.left_out, named.branch) or named.message
        raise InputError(message, file=_few([p for p, _ in self.places], 3), branch=named.branch)

    def tell(self, branches: Iterable[str] | None = None) -> None:
        """Warns of what is left out, or read in another type, of what is asked for; of everything if None."""
        wanted = None if branches is None else list(branches)
        told: dict[str, list[str]] = {}
        for name, note in self.notes.items():
            if wanted is None or any(_concerns(name, text) for text in wanted):
                told.setdefault(note, []).append(name)
        for note, names in told.items():
            _warn(f"{_few(names)}: {note}")
        if wanted is None and self.others:
            where = next(iter(self.others.values()))
            _warn(f"{where}: left out {len(self.others)} branches of other types: {_few([*self.others], 5)}")


Drafting = Callable[..., EventSchema]


def look(paths: PathLike | Sequence[PathLike], draft: Drafting) -> Files:
    """What files have in common.

    A branch that not all have is left out, one of different types has the wider one. Files without events
    have no say.

    Args:
        paths: As of `read_events`.
        draft: What makes a schema of a source, and of what is known (``apart``) to be no number of objects.

    Raises:
        InputError: If a file cannot be opened.
    """
    places = placed(paths)
    entries = 0
    merged = _Merged()
    with ExitStack() as stack:
        seen: list[Readable] = []
        empty: list[str] = []
        for path, tree in places:
            with ExitStack() as own:
                source = own.enter_context(opened(path, tree))
                entries += source.entries
                if not source.entries and len(places) > 1:
                    empty.append(source.label)
                    continue
                merged.add(source)
                if len(seen) < _SEEN:
                    seen.append(source)
                    stack.enter_context(own.pop_all())
        if not seen:
            seen.append(stack.enter_context(opened(*places[0])))
            merged.add(seen[0])
        elif empty:
            _warn(f"{_few(empty)} {'has' if len(empty) == 1 else 'have'} no events: skipped")
        left_out = merged.left_out
        source = Readable(seen[0] if len(seen) == 1 else Together(seen), merged.branches)
        schema = _drafted(source, draft, left_out)
        if wrong := _miscounted(places, schema, source.label):
            schema = _drafted(source, partial(draft, apart=wrong), left_out)
    others = {n: label for n, label in merged.others.items() if n not in left_out}
    return Files(listed(paths), tuple(places), entries, schema, left_out, others, merged.notes)


def _miscounted(places: Sequence[tuple[str, str | None]], schema: EventSchema, first: str) -> set[str]:
    """What counts objects in the first file, but not in all of the others."""
    wrong: set[str] = set()
    if not any(c.counters for c in schema.collections):
        return wrong
    for path, tree in places[:_COMPARED]:
        # What cannot be read is told when it is needed.
        with opened(path, tree) as source, suppress(InputError):
            wrong |= set() if source.label == first else miscounted(source, schema, 0, FIRST)
    return wrong


def alike(files: Mapping[str, Files], draft: Drafting) -> dict[str, Files]:
    """Samples that are to be compared, each with the same layout of objects that may be absent.

    Where objects lack in one sample and not in another, what is drafted of both holds for both.

    Args:
        files: The samples.
        draft: What makes a schema of a source.
    """
    collections = [c for f in files.values() for c in f.schema.collections]
    marked = {b for c in collections if c.marked and c.slotted for b in c.branches}
    layouts: dict[str, set[object]] = {}
    for c in collections:
        for b in marked.intersection(c.branches):
            layouts.setdefault(b, set()).add((c.name, c.layout, c.marked, c.counters))
    if all(len(found) == 1 for found in layouts.values()):
        return dict(files)
    every = [path if tree is None else f"{path}:{tree}" for f in files.values() for path, tree in f.places]
    joint = look(every, draft).schema
    return {label: replace(f, schema=_completed(joint, f.schema)) for label, f in files.items()}


def _completed(joint: EventSchema, own: EventSchema) -> EventSchema:
    """What samples have in common, with what only one of them has."""
    numbers = (*joint.scalars, *joint.identifiers)
    known = {b for c in joint.collections for b in (*c.branches, *(n.branch for n in c.counters))}
    known |= {f.branch for f in numbers}
    names = {*joint.collection_names, *(f.name for f in numbers)}
    collections = tuple(c for c in own.collections if not known & {*c.branches} and c.name not in names)
    scalars = tuple(f for f in own.scalars if f.branch not in known and f.name not in names)
    scalars = (*joint.scalars, *scalars)
    weight = own.weight if own.weight in {f.name for f in scalars} else None
    update = {"collections": (*joint.collections, *collections), "scalars": scalars}
    return joint.model_copy(update=update | {"weight": weight, "tree": own.tree})


def opened(path: str, tree: str | None) -> Readable:
    """Opens a file, whose errors name the branch that is damaged."""
    return Readable(open_source(path, tree))


def _drafted(source: Readable, draft: Drafting, left_out: dict[str, str]) -> EventSchema:
    """The schema of what can be read; what cannot is left out of both."""
    while True:
        try:
            return draft(source)
        except InputError as error:
            if error.branch not in source.branches:
                raise
            del source.branches[error.branch]
            at = "" if error.entry is None else f" from event {error.entry} on"
            left_out[error.branch] = f"{error.message}{at} in {error.file or source.label}"


class _Merged:
    """The branches of several files."""

    def __init__(self) -> None:
        self.branches: dict[str, Branch] = {}
        self.left_out: dict[str, str] = {}
        self.wider: dict[str, str] = {}
        self.others: dict[str, str] = {}
        self._first: dict[str, tuple[str, Branch]] = {}
        self._labels: list[str] = []
        self._counters: set[str] = set()
        self._own: dict[str, str] = {}

    def add(self, source: Readable) -> None:
        """Takes what a further file has."""
        if not self._labels:
            self.branches = dict(source.branches)
        self._counters |= {b.counter for b in source.branches.values() if b.counter is not None}
        self._own |= source.notes
        for name in source.left_out:
            self.others.setdefault(name, source.label)
        for name in [n for n in self.branches if n not in source.branches]:
            del self.branches[name]
            self._lost(name, source.label)
        for name, branch in source.branches.items():
            if name not in self._first:
                self._first[name] = source.label, branch
                if self._labels:
                    self._lost(name, self._labels[0])
            elif name in self.branches:
                self._join(name, branch, source.label)
        self._labels.append(source.label)

    @property
    def notes(self) -> dict[str, str]:
        """What is to be told of branches."""
        lost = {n: f"{why}; left out" for n, why in self.left_out.items() if n not in self._counters}
        return lost | self.wider | {n: note for n, note in self._own.items() if n in self.branches}

    def _lost(self, name: str, label: str) -> None:
        if name in self._counters:  # which go without saying
            return
        where = self.others.get(name)
        reason = f"{label} lacks it" if where is None else f"a type that is not read in {where}"
        self.left_out.setdefault(name, reason)

    def _join(self, name: str, new: Branch, label: str) -> None:
        old = self.branches[name]
        where, first = self._first[name]
        alike = (old.jagged, old.shape, old.dtype == "string") == (
            new.jagged,
            new.shape,
            new.dtype == "string",
        )
        if not alike:
            del self.branches[name]
            self.left_out[name] = f"{_what(first)} in {where}, {_what(new)} in {label}"
            return
        dtype = _wider(old.dtype, new.dtype)
        if new.dtype != first.dtype:
            self.wider[name] = f"{first.dtype} in {where}, {new.dtype} in {label}; read as {dtype}"
        counter = old.counter if old.counter == new.counter else None
        self.branches[name] = replace(old, dtype=dtype, counter=counter)


def _what(branch: Branch) -> str:
    one = "text" if branch.dtype == "string" else branch.dtype
    return f"lists of {one}" if branch.jagged else one + "".join(f"[{n}]" for n in branch.shape)


def _wider(first: str, second: str) -> str:
    """A type that holds the numbers of both; 64 bits with a sign for whole ones that none holds."""
    if first == second:
        return first
    kinds = {np.dtype(first).kind, np.dtype(second).kind}
    found = np.promote_types(first, second)
    return "int64" if kinds <= {"i", "u", "b"} and found.kind == "f" else found.name


def placed(paths: PathLike | Sequence[PathLike]) -> list[tuple[str, str | None]]:
    """Files with the trees that are to be read of them, which have one name where none is given.

    Of several files, those of a glob that lack the tree are left out with a warning, and so are those that
    lack the one that most have, or ``Events``, where no tree is named.

    Raises:
        InputError: If there is no such file, or if the files have different trees, none of them more often
            than the others.
    """
    found: list[tuple[str, str | None, bool]] = []
    for text in [paths] if isinstance(paths, str | Path) else paths:
        matches = locate([text])
        found += [(path, tree, len(matches) > 1) for path, tree in matches]
    if len(found) < 2:
        return locate(paths)
    there = {path: tree_names(path) for path in dict.fromkeys(p for p, _, _ in found)}
    unnamed = [names for path, tree, _ in found if tree is None and (names := there[path]) is not None]
    chosen = _usual(unnamed, [p for p, tree, _ in found if tree is None])
    kept: list[tuple[str, str | None]] = []
    lacking: dict[str, list[str]] = {}
    for path, tree, matched in found:
        names = there[path]
        wanted = tree or (chosen if names is not None else None)
        if wanted is not None and names is not None and wanted not in names and (matched or tree is None):
            lacking.setdefault(wanted, []).append(path)
        else:
            kept.append((path, wanted))
    if not kept:
        return [(path, tree or chosen) for path, tree, _ in found]
    for wanted, files in lacking.items():
        which = "has" if len(files) == 1 else "have"
        _warn(f"{_few(files)} {which} no tree {wanted!r}, which other files have: skipped")
    return kept


def _usual(names: Sequence[tuple[str, ...]], files: Sequence[str]) -> str | None:
    """The tree that is read of files of which none is named.

    Raises:
        InputError: If none is in more files than the others.
    """
    counts = Counter(chain.from_iterable(names))
    if "Events" in counts or not counts:
        return "Events" if counts else None
    ranked = counts.most_common()
    if len(ranked) > 1 and ranked[0][1] == ranked[1][1]:
        message = f"which tree? There are {_few([n for n, _ in ranked])}; write FILE:TREE"
        raise InputError(message, file=_few(files, 3))
    return ranked[0][0]


def part_of(schema: EventSchema, branches: Sequence[str] | None, weight: str | None = None) -> EventSchema:
    """The part of a schema that names make; identifiers stay, and so does the weight.

    Args:
        schema: The whole.
        branches: Names of collections and fields, branches and globs of branches; everything if None.
        weight: The scalar that is the weight, or ``none``; that of the schema if None.

    Raises:
        InputError: If there is no such thing.
    """
    if weight is not None:
        schema = weighted_by(schema, weight, keep=branches or ())
    if branches is None:
        return schema
    by_branch: dict[str, str] = {}
    for c in schema.collections:
        by_branch |= {b: str(Address(c.name, None, f.name)) for f in c.fields for b in f.branches}
    by_branch |= {f.branch: str(Address(None, None, f.name)) for f in (*schema.scalars, *schema.identifiers)}
    counters = [n.branch for c in schema.collections for n in c.counters]
    masks = [b for c in schema.collections for f in c.marks for b in f.branches]
    names = {*schema.collection_names, *schema.scalar_names, *by_branch.values()}
    chosen: list[str] = []
    for wanted in branches:
        if wanted in names or wanted in by_branch or wanted in counters:
            chosen.append(by_branch.get(wanted, wanted) if wanted not in names else wanted)
            continue
        matches = [name for branch, name in by_branch.items() if fnmatchcase(branch, wanted)]
        matches += [name for name in counters if fnmatchcase(name, wanted)]
        if not matches and not any(fnmatchcase(name, wanted) for name in masks):
            there = [*schema.collection_names, *schema.scalar_names]
            message = f"no such branch, collection or field; there are {_few(there) or 'none'}"
            raise InputError(message, branch=wanted)
        chosen.extend(matches)
    return select(schema, chosen)


def names_in(schema: EventSchema) -> list[str]:
    """All fields and scalars but the weight, as `select` takes them."""
    fields = [str(Address(c.name, None, f.name)) for c in schema.collections for f in c.fields]
    return [*fields, *(str(Address(None, None, n)) for n in schema.scalar_names if n != schema.weight)]


def listed(paths: PathLike | Sequence[PathLike]) -> str:
    """The files as errors name them."""
    return str(paths) if isinstance(paths, str | Path) else ", ".join(map(str, paths))


def _reason(left_out: Mapping[str, str], wanted: str | None) -> str | None:
    """Why what is asked for is left out; None if it is not."""
    return next((r for n, r in left_out.items() if wanted is not None and _concerns(n, wanted)), None)


def _concerns(branch: str, wanted: str) -> bool:
    """Whether a branch may belong to what is asked for by the name of a branch, field or collection."""
    plain = wanted.strip("`")
    here, there = branch.replace(".", "_"), plain.replace(".", "_")
    return fnmatchcase(branch, wanted) or here == there or here.startswith(f"{there}_")


def _few(names: Sequence[str], most: int = _NAMED) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _warn(message: str) -> None:
    # One place for all, so that what several reads of the same files have to tell is shown once.
    warnings.warn(message, UserWarning, stacklevel=2)
