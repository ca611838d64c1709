"""Two pairs that come from one resonance in some events, of one collection or of two."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from feature_samples import difference, fields, rng, uniform

from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Kind
from hepgan.features import FeaturesConfig, Representation

N = 800
NAMES = ("Muon", "Electron")
MASSES = {"Muon": 0.10566, "Electron": 0.000511}


def leptons(n=N, seed=1, most=4):
    """Events of up to 4 muons and 4 electrons of either charge."""
    g = rng(seed)
    collections, described = {}, []
    for name in NAMES:
        mask = torch.arange(most) < torch.randint(0, most + 1, (n,), generator=g).unsqueeze(1)
        known = {
            "pt": (10 - 20 * torch.log(uniform(g, 0.01, 1, n, most))).sort(1, descending=True).values,
            "eta": uniform(g, -2.4, 2.4, n, most),
            "phi": uniform(g, -math.pi, math.pi, n, most),
            "mass": torch.full((n, most), MASSES[name], dtype=torch.float64),
            "charge": torch.where(torch.rand(n, most, generator=g) < 0.5, 1, -1),
        }
        collections[name] = Objects({k: torch.where(mask, v, 0) for k, v in known.items()}, mask)
        charge = {"charge": {"kind": Kind.CATEGORY, "values": (-1, 1), "dtype": "int32"}}
        own = fields(name, "pt", "eta", "phi", "mass", **charge)
        described.append(Collection(name=name, layout="jagged", fields=own, max_count=most))
    return EventBatch(EventSchema(collections=tuple(described)), collections)


def represent(events, names=NAMES, **settings):
    pairs = [{"collection": name, "mass": 91.2, "kind": "pairs"} for name in names]
    block = {"kind": "systems", "name": "H", "pairs": pairs, **settings}
    return Representation(FeaturesConfig.model_validate({"blocks": [block]}), events.schema).fit(events)


def alone(events):
    """Which events (N,) have four leptons, of which two and two or all are of opposite charge."""
    charges = [torch.where(o.mask, o.fields["charge"], 0).sum(1) for o in events.collections.values()]
    count = sum(o.mask.sum(1) for o in events.collections.values())
    return (count == 4) & (charges[0] == 0) & (charges[1] == 0)


def mass_of_all(events):
    """The mass (N,) of all leptons."""
    parts = []
    for objects in events.collections.values():
        each = (getattr(objects.momentum, q) for q in ("px", "py", "pz", "energy"))
        parts.append(torch.stack([torch.where(objects.mask, q, 0.0).sum(1) for q in each], 1))
    total = sum(parts)
    return (total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1)).sqrt()


def columns_of(representation, features):
    return dict(zip(representation.names, representation.columns(features.x).T, strict=True))


@pytest.mark.parametrize("names", [NAMES, ("Muon",), ("Electron", "Muon")], ids="-".join)
def test_systems_are_exact_there_and_back(names) -> None:
    events = leptons()
    representation = represent(events, names)
    features = representation.encode(events)
    field, worst = difference(events, representation.decode(features))
    assert worst < 1e-8, field
    again = Representation.from_state(representation.state())
    again.load_state_dict(representation.state_dict())
    assert torch.equal(again.encode(events).x, features.x)


def test_the_mass_of_a_system_is_a_number_of_its_own() -> None:
    events = leptons(3000)
    representation = represent(events)
    features = representation.encode(events)
    chosen = alone(events)
    assert int(chosen.sum()) > 50
    stored = columns_of(representation, features)["H.mass"]
    torch.testing.assert_close(stored[chosen], mass_of_all(events)[chosen], rtol=1e-9, atol=1e-9)


def test_whatever_the_features_are_a_system_has_the_mass_that_they_say() -> None:
    events = leptons(3000)
    representation = represent(events)
    features = representation.encode(events)
    chosen = alone(events)
    made = replace(features, x=torch.randn(features.x.shape, generator=rng(5), dtype=features.x.dtype))
    columns, mass = columns_of(representation, made), mass_of_all(representation.decode(made))
    wanted, fraction = columns["H.mass"], columns["H.fraction"]
    first = torch.where(
        features.mask[:, representation.names.index("Muon.pair[0].mass")],
        columns["Muon.pair[0].mass"] + 2 * MASSES["Muon"],
        columns["Electron.pair[0].mass"] + 2 * MASSES["Electron"],
    )
    allowed = chosen & (wanted > first + 0.5)
    assert int(allowed.sum()) > 20
    torch.testing.assert_close(mass[allowed], wanted[allowed], rtol=1e-7, atol=1e-7)
    # Of others the first pair's mass leaves no room, and the system is at its threshold.
    assert bool((mass[chosen & ~allowed] >= 0.99 * first[chosen & ~allowed]).all())
    assert bool(((fraction >= 0) & (fraction <= 1)).all())


def test_pairs_of_a_system_have_no_frame_of_their_own() -> None:
    events = leptons()
    representation = represent(events)
    mask = representation.encode(events).mask
    at = {name: mask[:, representation.names.index(name)] for name in representation.names}
    two = at["H.mass"]
    assert bool(two.any())
    assert not bool(two.all())
    first = at["Muon.pair[0].mass"]
    assert torch.equal(at["Muon.pair[0].pt"], first & ~two)
    # The second pair of muons is the second of a system, if there is one.
    assert "Muon.pair[1].mass" not in at
    assert bool((at["Electron.pair[0].mass"] & ~first & two).any())


def test_a_system_of_no_events_is_an_error() -> None:
    events = leptons(most=2)
    with pytest.raises(RecipeError, match="no event has two pairs"):
        represent(events, ("Muon",))


def test_all_objects_of_collections_set_the_direction_wherever_they_are() -> None:
    events = leptons()
    pairs = [{"collection": name, "mass": 91.2, "kind": "pairs"} for name in NAMES]
    settings = {"blocks": [{"kind": "systems", "name": "H", "pairs": pairs}], "azimuth": "Muon + Electron"}
    config = FeaturesConfig.model_validate(settings)
    representation = Representation(config, events.schema).fit(events)
    features, angle = representation.encode(events), representation.azimuth(events)
    field, worst = difference(events, representation.decode(features, angle))
    assert worst < 1e-8, field
    turned = {
        name: Objects(
            {**o.fields, "phi": torch.where(o.mask, (o.fields["phi"] + 4.0) % (2 * math.pi) - math.pi, 0)},
            o.mask,
        )
        for name, o in events.collections.items()
    }
    again = representation.encode(EventBatch(events.schema, turned))
    torch.testing.assert_close(again.x, features.x, rtol=1e-6, atol=1e-6)
