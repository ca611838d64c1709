"""Standard quantities by name: of sums and pairs of objects, correlators, polynomials, DIS kinematics."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pydantic import ValidationError

from hepgan.arguments import checked
from hepgan.errors import RecipeError
from hepgan.events.schema import QUOTED, Collection, EventSchema, Field, Kind, Unit, quoted, unquoted
from hepgan.observables.arrays import of_array
from hepgan.observables.language import MAX_LENGTH, suggestion
from hepgan.observables.observable import Observable, ObservableConfig
from hepgan.observables.ranges import MOST_INTEGERS, is_small
from hepgan.observables.shapes import GRAPHS

__all__ = [
    "STANDARD",
    "Definition",
    "aeec",
    "default_observables",
    "eec",
    "efp",
    "from_config",
    "from_python_file",
    "in_unit",
    "options_of",
    "scattering",
    "standard",
    "teec",
    "with_options",
]


class Definition(NamedTuple):
    """A standard quantity.

    Attributes:
        expression: With ``{0}``, ``{1}`` for the objects, ``{sum}`` for the sum of all of them.
        label: In LaTeX, with ``{0}``, ``{1}`` and ``{all}`` for the objects' symbols.
        unit: The unit.
        objects: How many objects it takes, at least and at most; or the default objects.
        defaults: The objects if none are given.
        range: The natural range, if there is one.
        weight: The weight of each value, with the same places; empty if there is none.
        variant: Makes the definition for other options than the usual ones.
    """

    expression: str
    label: str
    unit: str = ""
    objects: tuple[int, int] = (1, 1)
    defaults: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    weight: str = ""
    variant: Callable[..., Definition] | None = None


Counting = Literal["ordered", "once"]
Angle = Literal["cos_chi", "chi", "z"]
Azimuth = Literal["cos_phi", "phi"]
Measure = Literal["hadronic", "ee"]

_ANGLES: dict[str, tuple[str, str, str, float, float]] = {
    "cos_chi": ("cosangle", r"\cos\chi", "", -1.0, 1.0),
    "chi": ("angle", r"\chi", "rad", 0.0, math.pi),
    "z": ("z_angle", r"z = (1 - \cos\chi)/2", "", 0.0, 1.0),
    "cos_phi": ("cosdeltaphi", r"\cos\Delta\phi", "", -1.0, 1.0),
    "phi": ("absdeltaphi", r"|\Delta\phi|", "rad", 0.0, math.pi),
}


def eec(
    self_pairs: bool = True,
    pair_counting: Counting = "ordered",
    variable: Angle = "cos_chi",
    Q: str | float | None = None,
) -> Definition:
    r"""The energy-energy correlation, :math:`\sum_{ij} E_i E_j / Q^2` at the angle between i and j.

    Ordered pairs with self-pairs integrate to :math:`(\sum E / Q)^2`, and, of massless particles in their
    rest frame, z has the mean 1/2.

    Reference: C. L. Basham, L. S. Brown, S. D. Ellis and S. T. Love, Phys. Rev. Lett. 41 (1978) 1585.

    Args:
        self_pairs: Whether a particle makes a pair with itself, at angle 0.
        pair_counting: ``ordered``, where i, j and j, i both count, or ``once`` (so DELPHI,
            Z. Phys. C 73 (1996) 11, without self-pairs).
        variable: cos chi, chi in radians, or z = (1 - cos chi) / 2.
        Q: The energy, a number or an expression; by default the sum of the energies.
    """
    attribute, label, unit, low, high = _ANGLES[variable]
    pairs = _pairs(self_pairs)
    weight = _weight("energy", self_pairs, pair_counting, Q)
    return Definition(f"{pairs}.{attribute}", label, unit, range=(low, high), weight=weight, variant=eec)


def aeec(
    self_pairs: bool = True,
    pair_counting: Counting = "ordered",
    variable: Angle = "cos_chi",
    Q: str | float | None = None,
) -> Definition:
    """The asymmetry EEC(pi - chi) - EEC(chi) for chi below pi / 2, with the arguments of `eec`."""
    attribute, label, unit, low, high = _ANGLES[variable]
    pairs = _pairs(self_pairs)
    angle = f"{pairs}.{attribute}"
    folded = {
        "cos_chi": f"abs({angle})",
        "chi": f"min({angle}, pi - {angle})",
        "z": f"min({angle}, 1 - {angle})",
    }
    weight = f"-sign({pairs}.cosangle) * {_weight('energy', self_pairs, pair_counting, Q)}"
    span = (0.0, 1.0) if variable == "cos_chi" else (low, high / 2)
    return Definition(folded[variable], label, unit, range=span, weight=weight, variant=aeec)


def teec(
    self_pairs: bool = True,
    pair_counting: Counting = "ordered",
    variable: Azimuth = "cos_phi",
    Q: str | float | None = None,
) -> Definition:
    """The transverse energy-energy correlation, with transverse energies at the difference of azimuths.

    Reference: A. Ali, E. Pietarinen and W. J. Stirling, Phys. Lett. B 141 (1984) 447; ordered pairs as in
    ATLAS, Phys. Lett. B 750 (2015) 427.

    Args:
        self_pairs: As for `eec`.
        pair_counting: As for `eec`.
        variable: The cosine of the difference, or its absolute value in radians.
        Q: The energy, a number or an expression; by default the sum of transverse energies.
    """
    attribute, label, unit, low, high = _ANGLES[variable]
    weight = _weight("et", self_pairs, pair_counting, Q)
    expression = f"{_pairs(self_pairs)}.{attribute}"
    return Definition(expression, label, unit, range=(low, high), weight=weight, variant=teec)


def _pairs(self_pairs: bool) -> str:
    return "pairs_with_self({0})" if self_pairs else "pairs({0})"


def _weight(energy: str, self_pairs: bool, counting: Counting, scale: str | float | None) -> str:
    pairs = _pairs(self_pairs)
    orders = "" if counting == "once" else f"{pairs}.orders * "
    total = f"sum({{0}}.{energy})" if scale is None else f"({scale})"
    return f"{orders}{pairs}.first.{energy} * {pairs}.second.{energy} / {total} ** 2"


def efp(number: int = 1, beta: float = 1.0, measure: Measure = "hadronic") -> Definition:
    r"""An energy flow polynomial; see :mod:`hepgan.observables.shapes`.

    Args:
        number: Which of the 36, from 0.
        beta: The exponent of distances.
        measure: ``hadronic``, with shares of pt and distances in rapidity and azimuth, or ``ee``, with
            shares of energy and distances :math:`(2 p_i \cdot p_j / E_i E_j)^{1/2}`.
    """
    if not 0 <= number < len(GRAPHS):
        msg = f"number must be from 0 to {len(GRAPHS) - 1}, not {number}"
        raise RecipeError(msg)
    name = "efp" if measure == "hadronic" else "efp_ee"
    exponent = "" if beta == 1.0 else f", {beta:.12g}"
    return Definition(
        f"{name}({{0}}, {number}{exponent})", rf"\mathrm{{{{EFP}}}}_{{{{{number}}}}}", variant=efp
    )


def scattering(quantity: str, direction: Literal[1, -1] = 1, proton: str | float | None = None) -> Definition:
    r"""A kinematic quantity of inclusive deep inelastic scattering, all masses neglected.

    With the scattered lepton k' and the beams' energies :math:`E_e, E_p`: :math:`Q^2 = 2 E_e (k'_0 - k'_z)`,
    :math:`y = 1 - (k'_0 + k'_z) / 2 E_e`, :math:`x = Q^2 / 4 E_e E_p y`, :math:`W^2 = 4 E_e E_p y - Q^2`,
    :math:`\nu_1 = \ln(k'_0 - k'_z)`, :math:`\nu_2 = \ln(2 E_e - k'_0 - k'_z)`.

    Args:
        quantity: ``Q2``, ``y_dis``, ``x_bj``, ``W2``, ``nu1`` or ``nu2``.
        direction: 1 where the lepton beam flies along +z, -1 where it flies along -z.
        proton: The proton beam's energy, a number or an expression; by default that of the lepton beam.
    """
    ahead, back = ("+", "-") if direction == 1 else ("-", "+")
    minus = f"({{0}}.energy {back} {{0}}.pz)"
    left = f"(2 * {{1}} - {{0}}.energy {back} {{0}}.pz)"
    ratio, twice = ("", "2 * {1}") if proton is None else (f" * {{1}} / ({proton})", f"2 * ({proton})")
    found = {
        "Q2": (f"2 * {{1}} * {minus}", "Q^2", "GeV$^2$"),
        "y_dis": (f"1 - ({{0}}.energy {ahead} {{0}}.pz) / (2 * {{1}})", "y", ""),
        "x_bj": (f"{minus} / {left}{ratio}", r"x_\mathrm{{Bj}}", ""),
        "W2": (f"{twice} * {left} - 2 * {{1}} * {minus}", "W^2", "GeV$^2$"),
        "nu1": (f"log{minus}", rf"\ln(k_0 {back} k_z)", ""),
        "nu2": (f"log{left}", rf"\ln(2 E_e - k_0 {back} k_z)", ""),
    }
    expression, label, unit = found[quantity]
    beam = "{1}" in expression
    return Definition(
        expression,
        label,
        unit,
        (2, 2) if beam else (1, 1),
        ("Electron", "beam_energy") if beam else ("Electron",),
        (0.0, 1.0) if quantity in ("y_dis", "x_bj") else None,
        variant=partial(scattering, quantity),
    )


def options_of(definition: Definition) -> dict[str, Any]:
    """The options that a definition has, with their usual values."""
    if definition.variant is None:
        return {}
    return {n: p.default for n, p in signature(definition.variant).parameters.items()}


def with_options(name: str, definition: Definition, options: dict[str, Any]) -> Definition:
    """The definition for some options.

    Args:
        name: The quantity's name.
        definition: That for the usual options.
        options: Options by name.

    Raises:
        RecipeError: If there is no such option, or it cannot have the value.
    """
    if not options or definition.variant is None:
        if options:
            msg = f"the standard observable {name!r} has no options"
            raise RecipeError(msg)
        return definition
    usual = options_of(definition)
    for option, value in options.items():
        if option not in usual:
            msg = f"the standard observable {name!r} has no option {option!r}{suggestion(option, usual)}"
            raise RecipeError(msg)
        _check(
            name, option, value, signature(definition.variant, eval_str=True).parameters[option].annotation
        )
    try:
        return definition.variant(**options)
    except RecipeError as error:
        msg = f"the standard observable {name!r}: {error.message}"
        raise RecipeError(msg) from None


def _check(name: str, option: str, value: Any, kind: Any) -> None:
    known = get_args(kind)
    if kind is bool:
        good, wanted = isinstance(value, bool), "true or false"
    elif kind is int or kind is float:
        good = isinstance(value, (int, float) if kind is float else int) and not isinstance(value, bool)
        wanted = "a number"
    elif known and all(isinstance(k, (str, int)) for k in known):
        good, wanted = value in known and not isinstance(value, bool), " or ".join(map(str, known))
    else:
        good = value is None or (isinstance(value, (str, int, float)) and not isinstance(value, bool))
        wanted = "a number or an expression"
    if not good:
        msg = f"the standard observable {name!r}: {option} must be {wanted}, not {value!r}"
        raise RecipeError(msg)


_MOST_SLOTS = 8


_PHI = (-math.pi, math.pi)
_ANY = (1, 8)

STANDARD: dict[str, Definition] = {
    "mass": Definition("{sum}.mass", "m_{{{all}}}", "GeV", _ANY),
    "mass2": Definition("{sum}.mass2", "m^2_{{{all}}}", "GeV$^2$", _ANY),
    "pt": Definition("{sum}.pt", "p_T^{{{all}}}", "GeV", _ANY),
    "energy": Definition("{sum}.energy", "E_{{{all}}}", "GeV", _ANY),
    "px": Definition("{sum}.px", "p_x^{{{all}}}", "GeV", _ANY),
    "py": Definition("{sum}.py", "p_y^{{{all}}}", "GeV", _ANY),
    "pz": Definition("{sum}.pz", "p_z^{{{all}}}", "GeV", _ANY),
    "eta": Definition("{sum}.eta", r"\eta_{{{all}}}", "", _ANY),
    "rapidity": Definition("{sum}.rapidity", "y_{{{all}}}", "", _ANY),
    "phi": Definition("{sum}.phi", r"\phi_{{{all}}}", "rad", _ANY, range=_PHI),
    "deltaR": Definition("{0}.deltaR({1})", r"\Delta R({0}, {1})", "", (2, 2)),
    "deltaphi": Definition("{0}.deltaphi({1})", r"\Delta\phi({0}, {1})", "rad", (2, 2), range=_PHI),
    "deltaeta": Definition("{0}.deltaeta({1})", r"\Delta\eta({0}, {1})", "", (2, 2)),
    "deltaangle": Definition("{0}.deltaangle({1})", r"\angle({0}, {1})", "rad", (2, 2), range=(0.0, math.pi)),
    "transverse_mass": Definition("transverse_mass({0}, {1})", "m_T({0}, {1})", "GeV", (2, 2)),
    "costheta_cs": Definition(
        "2 * ({0}.pz * {1}.energy - {0}.energy * {1}.pz) * sign({sum}.pz)"
        " / ({sum}.mass * sqrt({sum}.mass2 + {sum}.pt2))",
        r"\cos\theta^*_\mathrm{{CS}}",
        "",
        (2, 2),
        range=(-1.0, 1.0),
    ),
    "phi_star": Definition(
        "tan((pi - abs({0}.deltaphi({1}))) / 2) / cosh({0}.deltaeta({1}) / 2)", r"\phi^*_\eta", "", (2, 2)
    ),
    "count": Definition("count({0})", "N_{{{0}}}"),
    "HT": Definition("sum({0}.pt)", "H_T", "GeV", defaults=("Jet",)),
    "MHT": Definition("sum({0}).pt", r"H_T^\mathrm{{miss}}", "GeV", defaults=("Jet",)),
    "MET": Definition("{0}.pt", r"p_T^\mathrm{{miss}}", "GeV", defaults=("MET",)),
    **{n: scattering(n) for n in ("Q2", "y_dis", "x_bj", "W2", "nu1", "nu2")},
    "pair_mass": Definition("pairs({0}).mass", "m_{{{0}{0}}}", "GeV"),
    "opening_angle": Definition("pairs({0}).angle", r"\angle({0}, {0})", "rad", range=(0.0, math.pi)),
    "cos_opening_angle": Definition("pairs({0}).cosangle", r"\cos\angle({0}, {0})", range=(-1.0, 1.0)),
    "event_mass": Definition("sum({0}).mass", r"m(\Sigma {0})", "GeV"),
    "momentum_balance": Definition("sum({0}).p / sum({0}.energy)", r"|\Sigma p| / \Sigma E"),
    "thrust": Definition("thrust({0})", "T", range=(0.5, 1.0)),
    "sphericity": Definition("sphericity({0})", "S", range=(0.0, 1.0)),
    "aplanarity": Definition("aplanarity({0})", "A", range=(0.0, 0.5)),
    "c_parameter": Definition("c_parameter({0})", "C", range=(0.0, 1.0)),
    "d_parameter": Definition("d_parameter({0})", "D", range=(0.0, 1.0)),
    "eec": eec(),
    "aeec": aeec(),
    "teec": teec(),
    "efp": efp(),
}
"""The standard quantities.

Several objects of ``mass``, ``pt`` and the like are added first. ``costheta_cs`` is that of Collins and
Soper, Phys. Rev. D 16 (1977) 2219, of the negative and the positive lepton; ``phi_star`` that of Banfi et
al., Eur. Phys. J. C 71 (2011) 1600. ``Q2``, ``x_bj``, ``y_dis``, ``W2``, ``nu1`` and ``nu2`` are those of the
scattered lepton in deep inelastic scattering, and the beam's energy may be a number. ``event_mass``
is that of all objects together. For options and references of these, of ``eec``, ``aeec``, ``teec`` and
``efp`` see `hepgan.observables.standard`.
"""

_SYMBOLS = {
    "Muon": r"\mu",
    "Electron": "e",
    "Lepton": r"\ell",
    "Tau": r"\tau",
    "Photon": r"\gamma",
    "Jet": "j",
    "Parton": "p",
    "MET": r"\mathrm{miss}",
}
_LEPTONS = ("Muon", "Electron", "Tau", "Lepton")
_QUANTITIES: dict[str, tuple[str, str]] = {
    "pt": ("p_T^{{{0}}}", "GeV"),
    "eta": (r"\eta_{{{0}}}", ""),
    "phi": (r"\phi_{{{0}}}", "rad"),
    "theta": (r"\theta_{{{0}}}", "rad"),
    "mass": ("m_{{{0}}}", "GeV"),
    "energy": ("E_{{{0}}}", "GeV"),
    "px": ("p_x^{{{0}}}", "GeV"),
    "py": ("p_y^{{{0}}}", "GeV"),
    "pz": ("p_z^{{{0}}}", "GeV"),
    "p": ("p_{{{0}}}", "GeV"),
    "rapidity": ("y_{{{0}}}", ""),
}


@checked
def standard(quantity: str, *objects: str, name: str | None = None, **options: Any) -> Observable:
    """A standard quantity of objects, such as ``standard("mass", "Muon[0]", "Muon[1]")``.

    Args:
        quantity: One of `STANDARD`.
        *objects: The objects, as expressions; some quantities have default ones.
        name: The observable's name; ``quantity`` by default.
        **options: Options of those quantities that have some, such as ``variable="chi"`` of ``eec``.

    Raises:
        RecipeError: If there is no such quantity, it takes another number of objects, or has no such option.
    """
    definition = STANDARD.get(quantity)
    if definition is None:
        msg = f"no standard observable {quantity!r}{suggestion(quantity, STANDARD)}"
        raise RecipeError(msg)
    definition = with_options(quantity, definition, options)
    chosen = objects or definition.defaults
    low, high = definition.objects
    if not low <= len(chosen) <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        msg = f"the standard observable {quantity!r} takes {wanted} objects, not {len(chosen)}"
        raise RecipeError(msg)
    total = chosen[0] if len(chosen) == 1 else f"({' + '.join(chosen)})"
    symbols = [symbol(text) for text in chosen]
    bare = [symbol(re.sub(r"\[\d+\]", "", text)) for text in chosen]
    shown = symbols if len(set(bare)) > 1 or len(bare) == 1 else bare
    # words, unlike letters, need a space between them
    space = r"\," if any(text.startswith(r"\mathrm") for text in shown) else ""
    label = definition.label.format(*symbols, all=space.join(shown))
    return Observable(
        name or quantity,
        definition.expression.format(*chosen, sum=total),
        range=definition.range,
        label=f"${label}$",
        unit=definition.unit,
        weight=definition.weight.format(*chosen, sum=total) or None,
    )


_OBJECT = re.compile(rf"([A-Za-z]\w*|{QUOTED.pattern})(?:\[(\d+)\])?")


def symbol(objects: str) -> str:
    r"""The LaTeX symbol of an object: ``\mu_1`` for ``Muon[0]``."""
    found = _OBJECT.fullmatch(objects)
    if found is None:
        return rf"\mathrm{{{_text(objects)}}}"
    name = unquoted(found[1])
    base = _SYMBOLS.get(name.capitalize(), _SYMBOLS.get(name, rf"\mathrm{{{_text(name)}}}"))
    return base if found[2] is None else f"{base}_{{{int(found[2]) + 1}}}"


@checked
def default_observables(schema: EventSchema) -> dict[str, Observable]:
    """The quantities to look at first in events of a schema.

    These are all fields of all objects (of each object where their number is fixed, of the first and of
    all of them where it is not), scalars, numbers of objects, mass, pt, deltaR and deltaphi of the two
    leading objects of a kind, mass, pt and rapidity of all objects together, H_T of jets, and transverse
    masses of leptons and missing pt.

    Args:
        schema: What the events hold.

    Returns:
        Observables by name. Ranges are set where they are natural or whole numbers have known limits;
        `Observable.with_range_from` finds the others.
    """
    found: dict[str, Observable] = {}
    for observable in _all_defaults(schema):
        found.setdefault(observable.name, in_unit(observable, schema.unit))
    return found


def in_unit(observable: Observable, unit: Unit) -> Observable:
    """A quantity that is said to be in GeV, or a power of it, of events whose momenta are in another unit."""
    if unit == "GeV" or "GeV" not in observable.unit:
        return observable
    return replace(observable, unit=observable.unit.replace("GeV", unit))


def _all_defaults(schema: EventSchema) -> Iterator[Observable]:
    for collection in schema.collections:
        yield from _of_collection(collection, schema.scalar_names)
    for field in schema.scalars:
        if field.name != schema.weight and not field.shape:
            yield from _of_field(field.name, quoted(field.name), field, "")
    for field in schema.arrays:
        yield from of_array(field)
    for collection in schema.collections:
        if len(collection.coordinates) == 4 and collection.layout != "single" and collection.max_count >= 2:
            yield from _of_pair(collection.name)
    yield from _of_system(schema)
    names = schema.collection_names
    if "Jet" in names and _has_momentum(schema.collection("Jet"), jagged=True):
        yield standard("HT")
    if (
        "MET" in names
        and schema.collection("MET").layout == "single"
        and schema.collection("MET").coordinates
    ):
        for name in _LEPTONS:
            if name in names and schema.collection(name).coordinates and schema.collection(name).max_count:
                lepton = name if schema.collection(name).layout == "single" else f"{name}[0]"
                yield standard("transverse_mass", lepton, "MET", name=f"{name}_MET_mt")


def _has_momentum(collection: Collection, *, jagged: bool) -> bool:
    return bool(collection.coordinates) and (collection.layout != "single") == jagged


def _of_collection(collection: Collection, scalars: Container[str]) -> Iterator[Observable]:
    name, place = collection.name, quoted(collection.name)
    if not collection.fixed:
        span = (float(collection.min_count), float(collection.max_count))
        own = f"n{name}" not in scalars
        number = f"n{name}" if place == name and own else f"count({place})"
        called = f"n{name}" if own else f"count_{name}"
        yield Observable(called, number, range=span, integer=True, label=f"$N_{{{symbol(place)}}}$")
    places = {f"{name}_": place}
    if collection.layout != "single" and not (collection.slotted and collection.places == 1):
        slots = min(collection.max_count, _MOST_SLOTS) if collection.fixed else min(collection.max_count, 1)
        places = {f"{name}{i}_": f"{place}[{i}]" for i in range(slots)}
        if not collection.fixed or collection.max_count > _MOST_SLOTS:
            places[f"{name}_"] = place
    for prefix, place in places.items():
        for field in collection.fields:
            number = f"{place}.{quoted(field.name)}"
            yield from _of_field(prefix + field.name, number, field, symbol(place))
        if len(collection.coordinates) >= 3:
            for extra in ("pt", "eta", "phi"):
                if extra not in collection.field_names:
                    yield _quantity(prefix + extra, f"{place}.{extra}", extra, symbol(place))


def _of_field(name: str, expression: str, field: Field, of: str) -> Iterator[Observable]:
    if field.dtype == "string":
        return
    if field.missing is not None:
        told = r"\ \mathrm{missing}$"
        yield Observable(
            f"{name}_missing",
            f"missing({expression})",
            range=(0.0, 1.0),
            integer=True,
            label=rf"$\mathrm{{{_text(field.name)}}}" + (rf"_{{{of}}}" if of else "") + told,
        )
    values = [v for v in field.values or () if not isinstance(v, str)]
    whole = field.kind is not Kind.CONTINUOUS and all(float(v).is_integer() for v in values)
    if not whole or field.name in _QUANTITIES:
        yield _quantity(name, expression, field.name, of)
        return
    label = rf"$\mathrm{{{_text(field.name)}}}" + (rf"_{{{of}}}$" if of else "$")
    low = min(values) if values else field.low
    high = max(values) if values else field.high
    span: tuple[float, float] | None = None
    ends = low is not None and high is not None and is_small(low) and is_small(high)
    if low is not None and high is not None and ends and high - low <= MOST_INTEGERS:
        span = (float(math.floor(low)), float(math.ceil(high)))
    yield Observable(name, expression, range=span, integer=span is not None, label=label)


def _quantity(name: str, expression: str, quantity: str, of: str) -> Observable:
    label, unit = _QUANTITIES.get(quantity, ("", ""))
    text = (
        label.format(of) if label and of else rf"\mathrm{{{_text(quantity)}}}" + (f"_{{{of}}}" if of else "")
    )
    if not of and quantity.endswith("energy"):
        unit = "GeV"
    span = _PHI if quantity == "phi" else None
    return Observable(name, expression, range=span, label=f"${text}$", unit=unit)


def _of_pair(name: str) -> Iterator[Observable]:
    for quantity in ("mass", "pt", "deltaR", "deltaphi"):
        yield standard(quantity, f"{quoted(name)}[0]", f"{quoted(name)}[1]", name=f"{name}01_{quantity}")


def _of_system(schema: EventSchema) -> Iterator[Observable]:
    parts = [c for c in schema.collections if len(c.coordinates) == 4 and c.max_count > 0]
    total = [quoted(c.name) if c.layout == "single" else f"sum({quoted(c.name)})" for c in parts]
    alone = len(parts) == 1 and (parts[0].layout == "single" or parts[0].max_count == 1)
    if not parts or alone:
        return
    whole = total[0] if len(total) == 1 else f"({' + '.join(total)})"
    if len(whole) > MAX_LENGTH - len(".rapidity"):
        return
    labels = {"mass": ("m", "GeV"), "pt": ("p_T", "GeV"), "rapidity": ("y", "")}
    if len(parts) == 1 and parts[0].fixed and parts[0].max_count == 2:
        # the pair's mass and pt are those of the system
        labels = {"rapidity": labels["rapidity"]}
    for quantity, (letter, unit) in labels.items():
        label = rf"${letter}^\mathrm{{all}}$"
        yield Observable(f"system_{quantity}", f"{whole}.{quantity}", label=label, unit=unit)


_MATH = {c: rf"\{c}" for c in "$%{}_ "} | {
    **{"\\": r"\backslash{}", "^": r"\wedge{}", "~": r"\sim{}", "#": r"\sharp{}"},
    **{'"': "''", "`": "'"},
}


def _text(name: str) -> str:
    """A name as mathtext shows it in upright letters."""
    return "".join(_MATH.get(c, c if c.isprintable() else "?") for c in name)


@checked
def from_config(
    config: ObservableConfig | Mapping[str, Any] | str, name: str | None = None, *, unit: Unit = "GeV"
) -> Observable:
    """The observable that a recipe describes.

    Args:
        config: Settings, or an expression.
        name: Its name; that of the standard quantity or the expression itself by default.
        unit: The unit of the events' momenta, which a standard quantity has where the settings say none.

    Raises:
        RecipeError: If the settings or the expression are wrong.
    """
    if not isinstance(config, ObservableConfig):
        try:
            config = ObservableConfig.model_validate(config)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            reason = str(first.get("ctx", {}).get("error", first["msg"]))
            text = ": ".join(part for part in (f"observable {name}" if name else "", where, reason) if part)
            raise RecipeError(text) from None
    keys = ("bins", "range", "edges", "log", "integer", "label", "unit", "weight")
    given: dict[str, Any] = {key: getattr(config, key) for key in keys if key in config.model_fields_set}
    if config.standard is not None:
        made = standard(config.standard, *config.objects, name=name, **config.options)
        return replace(in_unit(made, unit), **given)
    expression = config.expression or ""
    return Observable(name or expression, expression, **given)


@checked
def from_python_file(path: str | Path, name: str, function: str | None = None) -> Observable:
    """An observable from a function in a Python file, which is executed.

    Args:
        path: The file. It runs with all rights of the user: only the user's own files belong here.
        name: The observable's name.
        function: The function's name in the file; ``name`` by default.

    Raises:
        RecipeError: If there is no such file or function, or the file cannot be run.
    """
    path = Path(path)
    spec = importlib.util.spec_from_file_location(f"_hepgan_user_{path.stem}", path)
    if not path.is_file() or spec is None or spec.loader is None:
        msg = "no such Python file"
        raise RecipeError(msg, file=path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        msg = f"the file cannot be run: {type(error).__name__}: {error}"
        raise RecipeError(msg, file=path) from error
    found = getattr(module, function or name, None)
    if not callable(found):
        msg = f"there is no function {function or name!r} in the file"
        raise RecipeError(msg, file=path)
    return Observable(name, function=found)
