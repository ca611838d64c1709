"""A first recipe for a file that hepgan has never seen, with comments that say why."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from hepgan.errors import HepganError, InputError, RecipeError
from hepgan.events import Address, EventSchema, Kind, to_batch
from hepgan.events.formats import kept_open
from hepgan.events.schema import Unit, quoted
from hepgan.features import FeaturesConfig, Representation
from hepgan.observables import Observable, default_observables, standard
from hepgan.observables.standard import in_unit
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.arrays import array_lines, listed_array
from hepgan.recipes.drafting.circles import Circle, circle_lines, find_circles
from hepgan.recipes.drafting.contents import Contents, look_at, values_of
from hepgan.recipes.drafting.event_lines import event_lines, given_lines
from hepgan.recipes.drafting.findings import (
    Bound,
    Symmetry,
    find_bounds,
    find_symmetry,
    is_at_rest,
    within,
)
from hepgan.recipes.drafting.functions import find_functions
from hepgan.recipes.drafting.mothers import find_mothers
from hepgan.recipes.drafting.peaks import MOST_PAIRS, Excess, Peak, find_peaks
from hepgan.recipes.drafting.populations import Populations, find_populations
from hepgan.recipes.drafting.reading import constants, nothing, without_damage
from hepgan.recipes.drafting.references import Reference, find_references, reference_lines
from hepgan.recipes.drafting.resonances import Resonance, find_resonances, name_of
from hepgan.recipes.drafting.rules import Rule, find_rules, kept_by
from hepgan.recipes.drafting.summary import Draft, summary
from hepgan.recipes.drafting.systems import find_loose, find_system
from hepgan.recipes.drafting.text import comment, grouped, number, plain, quote, rounded, row, share
from hepgan.recipes.drafting.training import model_lines, training_lines
from hepgan.recipes.recipe import load_recipe

__all__ = ["draft", "draft_recipe"]

_WORDS = re.compile(r"[A-Za-z0-9_, ]+")
_ROUNDING = 1e-6

_FIT = 20_000
"""Events by which the number of features is counted."""

_FEW_SETTINGS = 32
_BINS = 50
_AROUND = 0.4
"""How far from a peak its observable shows masses, in units of its own."""


def draft_recipe(
    file: str,
    *,
    name: str,
    select: Sequence[str] = (),
    weight: str | None = None,
    read: Sequence[str] = (),
    max_events: int = 200_000,
    unit: Unit | None = None,
) -> str:
    """The text of a draft; arguments and errors are those of :func:`draft`."""
    return draft(
        file, name=name, select=select, weight=weight, read=read, max_events=max_events, unit=unit
    ).text


def draft(
    file: str,
    *,
    name: str,
    select: Sequence[str] = (),
    weight: str | None = None,
    read: Sequence[str] = (),
    max_events: int = 200_000,
    unit: Unit | None = None,
) -> Draft:
    """Drafts a recipe for the events of a file, as YAML with comments that explain each choice.

    It trains as it stands. Kinds of numbers, atoms, hard edges, pairs with a peaked mass (in all events, or
    in some) and the azimuthal symmetry are found in the data; numbers that others determine are derived, and
    conditions that all events keep are rules. Identifiers and numbers that are not finite are left out. Of
    files of many branches, such as NanoAOD, what analyses usually read is taken.

    Args:
        file: ``FILE.root:Tree``; globs and Parquet files work too.
        name: The recipe's name.
        select: Collections (``Muon``), fields (``Muon.pt``), scalars, branches, and patterns of these
            (``HLT_*``) to learn, instead of all that can be.
        weight: The scalar that is the event weight, or ``none``; if None, it is found, and a warning tells
            if others could be it, too.
        read: Branches that an analysis reads, as `hepgan.coffea.branches_read` finds them, to learn instead
            of all that can be, or besides ``select``; a warning tells which cannot be learned, and why.
        max_events: How many events to look at.
        unit: The unit of momenta, energies and masses; if None, it is told from the data.

    Returns:
        The YAML text, and what it is made of in a few lines.

    Raises:
        InputError: If the file cannot be read, has nothing that can be learned, or lacks the weight.
        ValueError: If ``max_events`` is not positive.
    """
    if max_events < 1:
        msg = f"max_events must be positive, not {max_events}"
        raise ValueError(msg)
    return without_damage(
        file, lambda damaged: _draft(file, name, select, weight, read, max_events, unit, damaged)
    )


def _draft(
    file: str,
    name: str,
    select: Sequence[str],
    weight: str | None,
    read: Sequence[str],
    max_events: int,
    unit: Unit | None,
    damaged: Mapping[str, str],
) -> Draft:
    """The draft of what can be read."""
    with kept_open():
        contents = look_at(file, select, max_events, weight, read, unit, damaged)
    _warn_of_weights(contents)
    references = _references(contents, select)
    contents.derived.update(find_mothers(contents.events, contents.schema))
    resonances = find_resonances(contents.events, contents.learned)
    indices = {r.name for r in references}
    functions = find_functions(contents.events, contents.learned, resonances, apart=indices)
    contents.derived.update({f.name: (f.expression, f.off) for f in functions})
    bounds = find_bounds(contents.events, contents.learned, contents.masses)
    rules = find_rules(contents.events, contents.learned)
    if contents.total > len(contents.events) + sum(contents.bad.values()):
        bounds = within(file, bounds, contents.schema)
        rules = kept_by(file, rules, contents.schema)
    symmetry = find_symmetry(contents.once, contents.learned, resonances)
    peaks = _peaks(contents, resonances, symmetry)
    moving = [p.collection for p in peaks]
    if any(Address.parse(o).name in moving for o in symmetry.objects):
        symmetry = find_symmetry(contents.once, contents.learned, resonances, moving)
    conditions = _conditions(contents)
    different = contents.total * contents.different // len(contents.events)
    populations = find_populations(contents.events, contents.learned, conditions)
    contents.take_arrays()
    cells = listed_array(contents.schema.arrays, contents.events) is not None
    circles = [] if cells else find_circles(contents.events, contents.learned, conditions)
    bounds = [b for b in bounds if b.name not in {c.name for c in circles}]
    features = [
        *_features(contents, resonances, peaks, symmetry, bounds, rules, references, circles, populations)
    ]
    try:
        representation = _representation(contents, features, conditions)
    except HepganError as error:
        raise InputError(error.message, file=file, branch=error.branch, entry=error.entry) from error
    if not representation.size:
        raise nothing(file, contents.schema, contents.left_out | constants(contents.schema))
    if read and contents.left_out:
        message = f"of what the analysis reads, not learned: {'; '.join(grouped(contents.left_out))}"
        warnings.warn(message, UserWarning, stacklevel=2)
    lines = [
        *_head(contents, name),
        "",
        *event_lines(contents, representation.facts),
        *given_lines(contents, conditions),
        "",
        *features,
        "",
        *model_lines(representation.size, different, cells=cells),
        "",
        *_observables(contents, resonances, peaks),
        "",
        *training_lines(contents.total, different, cells=cells),
        "",
    ]
    # What a file calls its branches may be anything; comments end with their line.
    text = "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines)
    load_recipe(parse_yaml(text, name))
    told = summary(contents, representation, resonances, peaks, symmetry, bounds, rules, conditions)
    return Draft(text, told, sum(contents.bad.values()))


def _head(contents: Contents, name: str) -> Iterator[str]:
    seen, total = len(contents.events), contents.total
    copies = contents.different
    looked = (
        f"all {total:,} events"
        if seen + sum(contents.bad.values()) >= total
        else f"the first {seen:,} of {total:,} events"
    )
    yield from comment(
        f"Drafted by `hepgan init` from {looked} of {contents.file}. It trains as it stands; all of it "
        "was found in these numbers, so read it as a proposal."
    )
    if copies < seen:
        named = ", ".join(f.name for f in contents.schema.identifiers)
        yield from comment(f"Only {copies:,} of these events are different, by their {named}.")
    if contents.bad:
        many, reasons = sum(contents.bad.values()), "; ".join(contents.bad)
        are = "is" if many == 1 else "are"
        yield from comment(f"{many:,} of them {are} bad ({reasons}): train with `--drop-bad`, as here.")
    yield f"name: {plain(name)}"
    objects = ", ".join(c.name for c in contents.schema.collections)
    description = f"Events{' of ' if objects else ''}{objects}, drafted by hepgan init"
    yield f"description: {description if _WORDS.fullmatch(description) else quote(description)}"


def _warn_of_weights(contents: Contents) -> None:
    """Asks for what is not clear of the weights, and tells what they do harm to."""
    weight = contents.schema.weight
    if question := contents.weight.question():
        warnings.warn(f"the draft weights events by {weight}, but {question}", UserWarning, stacklevel=3)
    left = [n for n, reason in contents.left_out.items() if "is negative" in reason]
    if left:
        message = (
            f"left out, since its density, weighted by {weight}, is negative somewhere: {', '.join(left)}"
        )
        warnings.warn(message, UserWarning, stacklevel=3)
    for field, where in contents.negative.items():
        message = (
            f"weighted by {weight}, the density of {field} is negative {where}: there is no distribution to "
            "learn"
        )
        warnings.warn(message, UserWarning, stacklevel=3)


def _conditions(contents: Contents) -> dict[str, list[float]]:
    """Scalars of a few values other than whole numbers: settings of the simulation."""
    found = {}
    for f in contents.learned.scalars:
        if f.kind is Kind.CONTINUOUS and f.name != contents.schema.weight:
            values = np.unique(values_of(contents.events, contents.schema, None, f.name))
            if 1 < values.size <= min(_FEW_SETTINGS, len(contents.events) // 100):
                found[f.name] = [float(v) for v in values]
    return found


# -------------------------------------------------------------------- features


def _features(
    contents: Contents,
    resonances: list[Resonance],
    peaks: list[Peak],
    symmetry: Symmetry,
    bounds: list[Bound],
    rules: list[Rule],
    references: list[Reference],
    circles: list[Circle],
    populations: list[Populations],
) -> Iterator[str]:
    yield "features:"
    before = [*_azimuth(contents, symmetry)]
    yield from before
    systems = _in_systems(resonances, symmetry)
    blocks = [
        *_decays(contents, resonances, symmetry),
        *_pairs(peaks, find_system(contents.once, contents.learned, peaks), resonances, contents.schema),
        *_loose(contents, resonances, peaks),
        *_planes(contents, bounds),
        *_edged(contents, {*systems, *(p.collection for p in peaks)}, bounds),
        *_pointing(references),
        *circle_lines(circles, plain),
        *array_lines(contents.schema.arrays, contents.events),
    ]
    building = any(map(_is_setting, blocks))
    if building:
        yield "  blocks:"
    yield from blocks if building else (line.removeprefix("  ") for line in blocks)
    if contents.masses:
        yield "  masses:"
        for collection, (mass, reason) in contents.masses.items():
            yield from comment(f"{reason}.", "    ")
            yield f"    {plain(collection)}: {number(mass)}"
    if populations:
        yield from comment(
            "Scores with two populations: which one each object is of is drawn first, for all together.",
            "  ",
        )
        yield "  populations:"
        yield from (line for p in populations for line in p.lines(number, plain))
    if bounds:
        yield from comment(
            "Where the events stop abruptly, at a round number. Generated events outside are drawn anew.",
            "  ",
        )
        yield "  bounds:"
        yield from (line for b in bounds for line in b.lines(number, plain))
    if rules:
        yield from comment("What every event keeps. Generated events that do not are drawn anew.", "  ")
        yield "  rules:"
        yield from (line for r in rules for line in r.lines(comment, quote))
    told = any(map(_is_setting, before))
    if not (told or building or contents.masses or populations or bounds or rules):
        yield "  azimuth: null"


def _is_setting(line: str) -> bool:
    return not line.lstrip().startswith("#")


def _azimuth(contents: Contents, symmetry: Symmetry) -> Iterator[str]:
    if not symmetry.reference:
        if any(c.coordinates for c in contents.schema.collections):
            yield from comment(
                "No object is in every event to measure azimuths from: phi is learned as it is.", "  "
            )
        return
    of = symmetry.reference
    if not symmetry.holds:
        yield from comment(
            f"The azimuth of {symmetry.worst} is not uniform (chi2 probability {symmetry.probability:.1g}), "
            f"so phi is learned as it is; else `azimuth: {of}` would divide it out.",
            "  ",
        )
        return
    at_rest = (
        " Their transverse momenta cancel, so one of them sets the direction." if symmetry.at_rest else ""
    )
    yield from comment(
        f"All directions around the beam are alike (smallest chi2 probability of a uniform azimuth: "
        f"{symmetry.probability:.2g}, of {symmetry.worst}), so events are turned until {of} points along x; "
        f"generation draws the angle.{at_rest}",
        "  ",
    )
    yield f"  azimuth: {plain(of) if '`' in of else of}"


def _decays(contents: Contents, resonances: list[Resonance], symmetry: Symmetry) -> Iterator[str]:
    objects = [o for r in resonances for o in r.objects]
    alike = len({r.massive for r in resonances}) == 1
    together = len(resonances) > 1 and alike and is_at_rest(contents.events, objects)
    unit = contents.schema.unit
    for r in resonances:
        for inner in r.systems:
            quartiles = ", ".join(rounded(q) for q in inner.quartiles)
            neglected = "" if inner.massive else ", masses neglected,"
            yield from comment(
                f"The mass of {_listed(inner.objects)}{neglected} peaks at {rounded(inner.peak)} {unit} "
                f"(quartiles {quartiles}): a resonance that decays, so its mass is one number.",
                "    ",
            )
        if not together:
            yield f"    - {{kind: decay, {_system(r)}}}"
    if not resonances and symmetry.at_rest and _massive(contents, symmetry.objects):
        names = " and ".join(symmetry.objects)
        yield from comment(
            f"The transverse momenta of {names} cancel, which one system keeps exactly.", "    "
        )
        yield f"    - {{kind: decay, name: system, children: {row(symmetry.objects)}}}"
    if together:
        yield from comment("Their transverse momenta cancel, which one common system keeps exactly.", "    ")
        yield "    - kind: decay"
        yield "      name: system"
        yield "      children:"
        for r in resonances:
            yield f"        - {{{_system(r)}}}"


def _system(r: Resonance) -> str:
    """A resonance's name and children in YAML, those of its children included."""
    children = (quote(c) if isinstance(c, str) else f"{{{_system(c)}}}" for c in r.children)
    return f"name: {r.name}, children: [{', '.join(children)}]"


def _listed(names: Sequence[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]))


def _peaks(contents: Contents, resonances: list[Resonance], symmetry: Symmetry) -> list[Peak]:
    """Peaks of pairs that are in some events only."""
    return find_peaks(contents.once, contents.learned, _in_systems(resonances, symmetry))


def _in_systems(resonances: list[Resonance], symmetry: Symmetry) -> set[str]:
    """Collections of which some objects are in a system."""
    objects = [o for r in resonances for o in r.objects]
    objects += symmetry.objects if symmetry.at_rest else ()
    return {Address.parse(o).name for o in objects}


def _pairs(
    peaks: list[Peak], system: Excess | None, resonances: list[Resonance], schema: EventSchema
) -> Iterator[str]:
    indent = "    " if system is None else "        "
    if system is not None:
        yield from comment(
            f"Of two pairs as below together, {_excess(system, schema)}: a resonance of two pairs, whose "
            "mass is one number, too.",
            "    ",
        )
        yield "    - kind: systems"
        used = {inner.name for r in resonances for inner in r.systems} | {*schema.collection_names}
        yield f"      name: {name_of(system.mass, used, schema.gev)}"
        yield "      pairs:"
    for p in peaks:
        charges = f" of opposite {p.opposite}" if p.opposite else ""
        alike = f"; {p.alike:,} of other pairs are there" if p.opposite else ""
        populations = p.populations if system is None else ()
        drawn = "; whether it is there, below or above is drawn first" if populations else ""
        yield from comment(
            f"Of {p.pairs:,} pairs of {p.collection}{charges}, {_excess(p.excess, schema)}{alike}: a "
            f"resonance in some events. The mass of the pair nearest to it is one number{drawn}.",
            indent,
        )
        more = f", opposite: {plain(p.opposite)}" if p.opposite.lower() not in ("", "charge") else ""
        more += f", most: {MOST_PAIRS}" if p.most > MOST_PAIRS else ""
        more += f", populations: [{', '.join(map(rounded, populations))}]" if populations else ""
        name, mass = plain(p.collection), rounded(p.excess.mass)
        yield f"{indent}- {{kind: pairs, collection: {name}, mass: {mass}{more}}}"


def _loose(contents: Contents, resonances: list[Resonance], peaks: list[Peak]) -> Iterator[str]:
    held = [system.objects for r in resonances for system in r.systems]
    for found in find_loose(contents.once, contents.learned, peaks, held):
        yield from comment(
            f"Of {found.number:,} combinations of {_listed(found.objects)}, "
            f"{_excess(found.excess, contents.schema)}. No block keeps that mass as one "
            "number: it is learned like any other, and may come out wider.",
            "    ",
        )


def _excess(e: Excess, schema: EventSchema) -> str:
    return (
        f"{e.number:,} have a mass within {share(e.width)} of {rounded(e.mass)} {schema.unit}, where "
        f"beside it {e.beside:,.0f} have ({e.significance:.0f} standard deviations)"
    )


def _massive(contents: Contents, objects: Iterable[str]) -> bool:
    names = {Address.parse(o).name for o in objects}
    return all(len(contents.schema.collection(n).coordinates) == 4 for n in names)


def _planes(contents: Contents, bounds: list[Bound]) -> Iterator[str]:
    for c in contents.schema.collections:
        if c.layout != "single" or len(c.coordinates) != 2:
            continue
        if any(b.name == f"{quoted(c.name)}.pt" for b in bounds):
            yield from comment("Its pt has edges, which are kept in pt, phi.", "    ")
            yield f"    - {{kind: objects, collection: {plain(c.name)}, coordinates: [pt, phi]}}"
        else:
            yield from comment("A transverse vector is smooth in px, py, where phi would have a cut.", "    ")
            yield f"    - {{kind: objects, collection: {plain(c.name)}, coordinates: [px, py]}}"


def _edged(contents: Contents, taken: set[str], bounds: list[Bound]) -> Iterator[str]:
    """Collections with px, py, pz that are selected by pt."""
    names = {b.name for b in bounds}
    for c in contents.schema.collections:
        selected = f"{quoted(c.name)}.pt" in names and "pt" not in c.field_names
        if selected and len(c.coordinates) > 2 and c.name not in taken:
            yield from comment("Selected by pt, whose edges are kept in pt, eta, phi.", "    ")
            yield f"    - {{kind: objects, collection: {plain(c.name)}, coordinates: [pt, eta, phi]}}"


def _references(contents: Contents, select: Sequence[str]) -> list[Reference]:
    """Indices into other collections; those that cannot be learned as such are numbers, or left out."""
    found, refused = find_references(contents.events, contents.schema, contents.structure)
    contents.told.update({r.name: f"an index into {r.to}; see references below" for r in found})
    branches = {
        n: contents.structure.collection(a.name).field(a.field).branch
        for n in refused
        for a in (Address.parse(n),)
    }
    asked = {n for n, branch in branches.items() if {n, branch} & set(select)}
    contents.told.update({n: f"whole numbers; {refused[n]}" for n in refused if n in asked})
    contents.leave_out({n: reason for n, reason in refused.items() if n not in asked})
    return found


def _pointing(references: list[Reference]) -> Iterator[str]:
    if references:
        lines = [*reference_lines(references)]
        for told, _ in lines:
            yield from comment(told, "    ")
        yield "    - kind: references"
        yield "      fields:"
        yield from (
            f"        {plain(r.name)}: {line}" for r, (_, line) in zip(references, lines, strict=True)
        )


def _representation(contents: Contents, text: Iterable[str], conditions: Iterable[str]) -> Representation:
    """The drafted representation."""
    config = FeaturesConfig.model_validate(parse_yaml("\n".join(text), contents.file)["features"] or {})
    representation = Representation(config, contents.learned, tuple(conditions))
    return representation.fit(to_batch(contents.events[:_FIT], contents.learned))


# ---------------------------------------------------------------------- observables


def _observables(contents: Contents, resonances: list[Resonance], peaks: list[Peak]) -> Iterator[str]:
    """The observables, with ranges from the events."""
    systems = [s for r in resonances for s in r.systems]
    unit = contents.schema.unit
    found = {
        f"m_{s.name}": replace(
            in_unit(standard("mass", *s.objects, name=f"m_{s.name}"), unit), expression=s.mass
        )
        for s in systems
    }
    for p in peaks:
        made = standard("mass", *(f"{quoted(p.collection)}[{i}]" for i in (0, 1)), name=f"m_{p.collection}")
        low, high = (float(f"{p.excess.mass * (1 + s * _AROUND):.2g}") for s in (-1, 1))
        found[made.name] = replace(in_unit(made, unit), range=(low, high), bins=_BINS)
    known = {o.expression for o in found.values()}
    found |= {n: o for n, o in default_observables(contents.learned).items() if o.expression not in known}
    ranged = [o for o in (_ranged(o, contents) for o in found.values()) if o is not None]
    size = max((_reach(o) for o in ranged if o.unit == unit), default=0.0)
    # The pt of a system at rest is rounding.
    lines = [_line(o) for o in ranged if o.unit != unit or _reach(o) > _ROUNDING * size]
    yield from comment(
        "What to look at in validation: ranges hold 99.8% of the events. Expressions are explained in the "
        "documentation; standard ones are mass, deltaR, HT, ..."
    )
    if not lines:
        yield "observables: {}"
        return
    yield "observables:"
    yield from lines


def _ranged(observable: Observable, contents: Contents) -> Observable | None:
    """The observable with a range; None if it has only one value, or none."""
    try:
        values = np.asarray(observable.flat(contents.events).values)
    except RecipeError:
        return None
    values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
    if not values.size or values.min() == values.max():
        return None
    try:
        return observable if observable.range is not None else observable.with_range_from(values)
    except ValueError:
        return None


def _reach(observable: Observable) -> float:
    return max(map(abs, observable.range or (0.0,)))


def _line(observable: Observable) -> str:
    settings = [f"expression: {quote(str(observable.expression))}"]
    if observable.range is not None:
        low, high = observable.range
        settings += [] if observable.integer else [f"bins: {observable.bins}"]
        settings.append(f"range: [{low:.10g}, {high:.10g}]")
    settings += ["log: true"] if observable.log else []
    settings += ["integer: true"] if observable.integer else []
    settings += [] if observable.label is None else [f"label: {quote(observable.label)}"]
    settings += [f"unit: {plain(observable.unit)}"] if observable.unit else []
    return f"  {plain(observable.name)}: {{{', '.join(settings)}}}"
