"""What can be found out about collections from events: counts, masses, orders, what is redundant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import Collection, EventSchema, Kind
from hepgan.features.config import FeaturesConfig, ObjectsConfig, ResponseConfig
from hepgan.features.facts import Deviation, Facts, Mass
from hepgan.features.parts.response import find_places
from hepgan.features.reading import Reading, raw_kinematics, stored_field
from hepgan.vectors.kinematics import Kinematics, wrap

__all__ = ["DIFFERING", "SEVERAL", "find_deviations", "resolution", "survey"]

FEW_MASSES = 32
NOISE = 4 * 2.0**-23
"""Relative rounding of m2 / E^2 from momenta in float32."""

MAX_NOISE = 1e-3
OUTLIERS = 1e-3
"""Share of objects that a constant mass need not describe."""

NEIGHBOURS = 30
"""Of so many in each collection, none rises where objects are in order of a number of any name."""

REDUNDANT = ("pt", "eta", "phi", "theta", "energy", "p")
"""Coordinates that may be stored beside others that make the momentum."""

SINGLE = 2.0**-23
DOUBLE = 2.0**-50
ROUNDING = 8 * SINGLE
"""What is closer than this agrees."""

SEVERAL = 4.0
"""Differences above so many times what the stored digits allow are no rounding."""

DIFFERING = 1e-3
"""Share of objects that may differ in a coordinate that is computed."""

AGREEING = 1e-2
"""Share of objects that may agree by chance in a coordinate that always differs."""

MAX_DECIMALS = 6
MIN_BITS = 6
ENOUGH = 20


def survey(
    events: EventBatch, schema: EventSchema, config: FeaturesConfig, given: tuple[str, ...] = ()
) -> Facts:
    """Finds out how many objects there are, where masses come from, and which objects are sorted.

    A stored mass is a constant if it has one value, and looked up if it has few values that another field
    determines (``pdgId``); else it is learned. A mass implied by E and p, of which float32 leaves little
    for light particles, is a constant (for all objects, or for each value of another field) if that describes
    m2 = E^2 - p^2 to within its rounding; it is estimated with the weight 1/E^4 that this rounding has, and
    0 where it is not significant. The rounding is at least that of float32, and more where negative m2 show
    that. Else the mass is learned, and is 0 where m2 is below its rounding.

    Coordinates stored beside those that make the momentum are computed, unless they are measurements of their
    own (see ``find_deviations``). Of collections that are given nothing needs to be known.

    Raises:
        RecipeError: If the recipe asks for an order or a mass that the events do not have.
    """
    blocks = {b.collection: b for b in config.blocks if isinstance(b, ObjectsConfig)}
    padded = tuple(n for n, b in blocks.items() if b.count == "threshold")
    counts, masses, orders = {}, {}, {}
    responses = [b for b in config.blocks if isinstance(b, ResponseConfig)]
    generated = [c for c in schema.collections if c.name not in given]
    for described in generated:
        name = described.name
        counted = name not in padded and name not in {b.collection for b in responses}
        if not described.fixed and counted:
            number = events.collections[name].mask.sum(1)
            counts[name] = (int(number.min()), int(number.max()))
        if len(described.coordinates) > 2:
            masses[name] = _mass(events, described, config, blocks.get(name))
    facts = Facts(schema, counts, padded, masses, azimuth=config.azimuth is not None, given=given)
    reading = Reading(events, facts)
    for described in generated:
        order = _order(reading, described, blocks.get(described.name))
        if order is not None:
            orders[described.name] = order
    deviations = {c.name: _deviations(events, c, facts, config) for c in generated}
    facts = replace(facts, orders=orders, deviations={n: d for n, d in deviations.items() if d})
    return facts.with_places({b.collection: find_places(b, events) for b in responses})


def _deviations(
    events: EventBatch, described: Collection, facts: Facts, config: FeaturesConfig
) -> dict[str, Deviation]:
    name = described.name
    fields = {n for n in facts.momentum_fields(name) if n in REDUNDANT and n not in described.coordinates}
    # A recipe that says where masses come from wants energies on that mass shell.
    if config.masses.get(name, "auto") != "auto" or facts.masses.get(name, Mass("none")).source == "none":
        fields -= {"energy"}
    if not fields:
        return {}
    stored = {n: stored_field(events, name, n) for n in described.field_names if n in fields}
    momentum = {n: stored_field(events, name, n) for n in described.coordinates}
    return find_deviations(stored, momentum, events.collections[name].mask)


def _order(reading: Reading, described: Collection, block: ObjectsConfig | None) -> str | None:
    wanted = None if block is None else block.order
    if wanted is False or described.max_count < 2 or described.layout == "single":
        return None
    if wanted is not None:
        try:
            number, wrong, _ = _steps(reading, described, wanted)
        except KeyError as error:
            msg = f"{described.name}: cannot be ordered by {wanted!r}"
            raise RecipeError(msg) from error
        if wrong:
            msg = (
                f"{described.name}: not in order of falling {wanted} ({wrong} of {number} neighbours are not)"
            )
            raise RecipeError(msg)
        return wanted
    dimensions = len(described.coordinates)
    candidates = [c for c, least in (("pt", 2), ("energy", 4)) if dimensions >= least]
    if not dimensions:
        plain = [f.name for f in described.fields if f.kind is Kind.CONTINUOUS and f.missing is None]
        candidates += sorted(plain, key=lambda n: n != "pt")
    for candidate in candidates:
        number, wrong, falling = _steps(reading, described, candidate)
        # Few numbers descend by chance.
        least = 1 if candidate in ("pt", "energy") else NEIGHBOURS
        if number >= least and not wrong and 2 * falling > number:
            return candidate
    return None


def _steps(reading: Reading, described: Collection, key: str) -> tuple[int, int, int]:
    """Numbers of neighbouring objects: all, those that rise, and those that fall."""
    name = described.name
    stored = key in described.field_names
    values = reading.values(name, key) if stored else reading.kinematics(name)[key]
    slots = torch.arange(described.max_count - 1, device=values.device) + 1
    there = slots < reading.count(name).unsqueeze(1)
    # Sorting by what was stored in another precision leaves neighbours that rise by rounding.
    rising = values[:, 1:] > values[:, :-1] * (1 + 1e-6)
    falling = values[:, 1:] < values[:, :-1] * (1 - 1e-6)
    return int(there.sum()), int((rising & there).sum()), int((falling & there).sum())


def _mass(
    events: EventBatch, described: Collection, config: FeaturesConfig, block: ObjectsConfig | None
) -> Mass:
    name = described.name
    wanted = config.masses.get(name, "auto")
    if isinstance(wanted, (int, float)):
        return Mass("fixed", float(wanted))
    if wanted == "massless":
        return Mass("fixed", 0.0)
    if block is not None and block.coordinates is not None and {"pz", "energy"} <= set(block.coordinates):
        return Mass("none")
    k = raw_kinematics(events, name)
    mask = events.collections[name].mask
    if wanted == "field" and "mass" not in k.known:
        msg = f"masses: {name} has no field mass"
        raise RecipeError(msg)
    if wanted == "from_energy" and "energy" not in k.known:
        msg = f"masses: {name} has no field energy"
        raise RecipeError(msg)
    if "mass" in k.known and wanted != "from_energy":
        return _stored_mass(k.known["mass"], mask, _labels(events, described))
    if "energy" in k.known:
        return _implied_mass(k, mask, _labels(events, described), constant=wanted == "auto")
    return Mass("none")


def _labels(events: EventBatch, described: Collection) -> Iterator[tuple[str, Tensor]]:
    """Fields that may determine a mass."""
    for f in described.fields:
        if f.kind in (Kind.INTEGER, Kind.CATEGORY) and f.name not in ("mass", "charge"):
            yield f.name, events.collections[described.name].fields[f.name].to(torch.float64)


def _stored_mass(mass: Tensor, mask: Tensor, labels: Iterable[tuple[str, Tensor]]) -> Mass:
    values = mass[mask]
    known = torch.unique(values)
    if len(known) <= 1:
        return Mass("fixed", float(known[0]) if len(known) else 0.0)
    if len(known) > FEW_MASSES:
        return Mass("own")
    for name, label in labels:
        keys, index = torch.unique(label[mask], return_inverse=True)
        low = torch.full((len(keys),), torch.inf, dtype=values.dtype, device=values.device)
        low = low.scatter_reduce(0, index, values, "amin")
        if len(keys) < len(values) and bool((low[index] == values).all()):
            return Mass("table", by=name, keys=tuple(keys.tolist()), values=tuple(low.tolist()))
    return Mass("own")


def _implied_mass(
    k: Kinematics, mask: Tensor, labels: Iterable[tuple[str, Tensor]], *, constant: bool
) -> Mass:
    energy = k["energy"][mask].clamp(min=1e-30)
    p2 = (k["px"] ** 2 + k["py"] ** 2 + k["pz"] ** 2)[mask]
    m2 = energy**2 - p2
    if not len(m2):
        return Mass("fixed", 0.0)
    lowest = float(torch.sort((m2 / energy**2).clamp(max=0.0)).values[len(m2) // 1000])
    noise = min(max(NOISE, -1.5 * lowest), MAX_NOISE)
    if not constant:
        return Mass("own", noise=noise)
    whole = _constant_mass(m2, energy, noise)
    if whole is not None:
        return Mass("fixed", whole)
    for name, label in labels:
        keys, index = torch.unique(label[mask], return_inverse=True)
        if len(keys) > FEW_MASSES:
            continue
        found = [_constant_mass(m2[index == i], energy[index == i], noise) for i in range(len(keys))]
        values = [m for m in found if m is not None]
        if len(values) == len(keys):
            return Mass("table", by=name, keys=tuple(keys.tolist()), values=tuple(values))
    return Mass("own", noise=noise)


def _constant_mass(m2: Tensor, energy: Tensor, noise: float) -> float | None:
    """The one mass that describes m2 within its rounding, or None."""
    deviation = noise * energy**2
    weight = deviation**-2
    mean = float((weight * m2).sum() / weight.sum())
    outside = (m2 - mean).abs() > deviation
    if float(outside.to(torch.float64).mean()) > OUTLIERS:
        return None
    significant = mean > 3 * float(weight.sum()) ** -0.5
    return mean**0.5 if significant else 0.0


def find_deviations(
    stored: Mapping[str, Tensor], momentum: Mapping[str, Tensor], mask: Tensor
) -> dict[str, Deviation]:
    """The coordinates that are measurements of their own.

    Such are those that differ, in more than 0.1% of the objects, from what follows from the momentum by more
    than four times the rounding of all numbers involved: half a unit of the last decimal or of the last bit
    that the stored values use, or that of float32 if that is larger.

    Args:
        stored: The coordinates (N, M) beside the momentum's.
        momentum: The coordinates (N, M) that make the momentum.
        mask: Where there is an object (N, M).
    """
    known = {n: v[mask] for n, v in momentum.items()}
    # What a change by its rounding makes of a coordinate: each in turn.
    shifted = [Kinematics({**known, n: v + resolution(v)}) for n, v in known.items()]
    exact = Kinematics(known)
    found = {}
    for name, values in stored.items():
        own = values[mask]
        computed = exact[name]
        allowed = resolution(own) + sum(_difference(name, k[name], computed).abs() for k in shifted)
        difference = _difference(name, own, computed).abs()
        if _share(difference > SEVERAL * allowed) <= DIFFERING:
            continue
        ratio = name in ("pt", "energy", "p") and bool(((own > 0) == (computed > 0)).all())
        agrees = Deviation(ratio, ROUNDING).of(name, own, computed) == 0
        found[name] = Deviation(ratio, ROUNDING if _share(agrees) > AGREEING else 0.0)
    return found


def _share(flags: Tensor) -> float:
    return float(flags.to(torch.float64).mean()) if len(flags) else 0.0


def _difference(name: str, values: Tensor, computed: Tensor) -> Tensor:
    return wrap(values - computed) if name == "phi" else values - computed


def resolution(values: Tensor) -> Tensor:
    """How far numbers (of any shape) may be from what they were before they were rounded, each."""
    step = 0.0
    precision = SINGLE if bool((values.float() == values).all()) else DOUBLE
    for decimals in range(MAX_DECIMALS + 1):
        scaled = values.abs() * 10.0**decimals
        # Larger numbers have no digits left that could tell.
        telling = (scaled < 0.01 / precision) & (scaled > 0)
        whole = (scaled - scaled.round()).abs() <= precision * scaled
        if int(telling.sum()) >= ENOUGH and bool(whole[telling].all()):
            step = 0.5 * 10.0**-decimals
            break
    mantissa = torch.frexp(values)[0]
    bits = MIN_BITS
    while bits < 23 and bool((mantissa * 2.0**bits != (mantissa * 2.0**bits).round()).any()):
        bits += 1
    return (values.abs() * 2.0**-bits).clamp(min=step)
