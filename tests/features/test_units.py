"""Features are the same numbers in whatever unit events have their momenta."""

from __future__ import annotations

import pytest
import torch
from feature_samples import rng, uniform, z_events
from test_systems import leptons
from test_trees import Q, partons

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import GEV
from hepgan.features import FeaturesConfig, Representation
from hepgan.features.given import Given

ENERGIES = {"px", "py", "pz", "pt", "energy", "mass"}


def in_unit(events, unit):
    collections = {
        name: Objects({f: v * GEV[unit] if f in ENERGIES else v for f, v in o.fields.items()}, o.mask)
        for name, o in events.collections.items()
    }
    schema = events.schema.model_copy(update={"unit": unit})
    return EventBatch(schema, collections, dict(events.scalars))


def pairs(unit):
    return [{"kind": "pairs", "collection": n, "mass": 91.2 * GEV[unit]} for n in ("Muon", "Electron")]


def three_or_more():
    """Two partons alone have the same energy, so that their order is one of rounding."""
    return partons(least=3)


def moving():
    """Partons whose total is anything."""
    events = three_or_more()
    objects = events.Parton
    there, mass = objects.mask, objects.fields["mass"]
    p = torch.where(there.unsqueeze(2), uniform(rng(5), -30, 30, *there.shape, 3), 0.0)
    energy = torch.where(there, torch.sqrt(p.square().sum(2) + mass**2), 0.0)
    known = {**objects.fields, **dict(zip(("px", "py", "pz"), p.unbind(2), strict=True)), "energy": energy}
    order = energy.argsort(1, descending=True)
    fields = {n: v.gather(1, order) for n, v in known.items()}
    return EventBatch(events.schema, {"Parton": Objects(fields, there)})


BLOCKS = {
    "objects": (z_events, lambda _: []),
    "cartesian": (
        z_events,
        lambda _: [
            {"kind": "objects", "collection": n, "coordinates": ["px", "py", "pz"]} for n in ("Muon", "Jet")
        ],
    ),
    "decay": (z_events, lambda _: [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}]),
    "pairs": (leptons, pairs),
    "systems": (leptons, lambda unit: [{"kind": "systems", "name": "H", "pairs": pairs(unit)}]),
    "tree": (moving, lambda _: [{"kind": "tree", "collection": "Parton"}]),
    "rest": (
        three_or_more,
        lambda unit: [{"kind": "tree", "collection": "Parton", "total_energy": Q * GEV[unit]}],
    ),
}


@pytest.mark.parametrize("unit", ["MeV", "TeV"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_features_do_not_depend_on_the_unit(kind, unit):
    make, blocks = BLOCKS[kind]
    found = {}
    for u in ("GeV", unit):
        events = in_unit(make(), u)
        config = FeaturesConfig.model_validate({"blocks": blocks(u)})
        representation = Representation(config, events.schema).fit(events)
        found[u] = representation.encode(events)
        back = representation.decode(found[u])
        for name, objects in back.collections.items():
            for field, values in objects.fields.items():
                own = found.setdefault((name, field), values.double())
                scale = GEV[u] if field in ENERGIES else 1.0
                torch.testing.assert_close(values.double() / scale, own, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found[unit].x, found["GeV"].x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[unit].discrete, found["GeV"].discrete)


@pytest.mark.parametrize("unit", ["MeV", "TeV"])
def test_what_is_given_is_seen_the_same_in_any_unit(unit):
    seen = []
    for u in ("GeV", unit):
        events = in_unit(z_events(), u)
        kept = events.schema.model_copy(
            update={
                "collections": tuple(c for c in events.schema.collections if c.name == "Jet"),
                "scalars": (),
                "weight": None,
            }
        )
        given = Given.learn(kept, events, torch.ones(len(events), dtype=torch.float64), ())
        seen.append(given.encode(given.pack(events)))
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-6, atol=1e-6)
