"""Standard quantities that have options: energy correlators, energy flow polynomials, DIS kinematics."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any, Literal, NamedTuple, get_args

from hepgan.errors import RecipeError
from hepgan.observables.language import suggestion
from hepgan.observables.polynomials import GRAPHS

__all__ = ["Definition", "aeec", "eec", "efp", "options_of", "scattering", "teec", "with_options"]


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
    r"""An energy flow polynomial; see :mod:`hepgan.observables.polynomials`.

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
