"""Resonances that are in some events only: which objects are pairs, and their columns there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import vector
from feature_samples import difference, fields, rng, uniform

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Kind
from hepgan.features import FeaturesConfig, Measure, Representation
from hepgan.features.parts.pairs import pairs_first

N = 600
MOST = 5
THRESHOLD = 2 * 0.10566
"""The largest in any event, from which all masses of pairs are counted."""

LABELS = {
    "charge": {"kind": Kind.CATEGORY, "values": (-1, 1), "dtype": "int32"},
    "pdgId": {"kind": Kind.CATEGORY, "values": (-13, -11, 11, 13), "dtype": "int32"},
}


def leptons(n=N, seed=1, *, least=0, most=MOST, ordered=True, cartesian=False, own=False, without=()):
    """Events of up to 5 leptons: charges, flavours with their masses, isolations, links to a jet."""
    g = rng(seed)
    count = torch.randint(least, most + 1, (n,), generator=g)
    mask = torch.arange(most) < count.unsqueeze(1)
    pt = 10 - 20 * torch.log(uniform(g, 0.01, 1, n, most))
    pt = pt.sort(1, descending=True).values if ordered else pt
    known = {
        "pt": pt,
        "eta": uniform(g, -2.4, 2.4, n, most),
        "phi": uniform(g, -math.pi, math.pi, n, most),
        "charge": torch.where(torch.rand(n, most, generator=g) < 0.5, 1, -1),
    }
    flavour = torch.where(torch.rand(n, most, generator=g) < 0.5, 11, 13)
    known["pdgId"] = -known["charge"] * flavour
    known["mass"] = torch.where(flavour == 11, 0.000511, 0.10566).double()
    if own:
        known["mass"] = uniform(g, 0.2, 4.0, n, most)
    known |= {"iso": uniform(g, 0, 1, n, most), "jetIdx": torch.randint(-1, 4, (n, most), generator=g)}
    if cartesian:
        known |= {"px": pt * torch.cos(known["phi"]), "py": pt * torch.sin(known["phi"])}
        known["pz"] = pt * torch.sinh(known["eta"])
        without = (*without, "pt", "eta", "phi")
    known = {k: torch.where(mask, v, 0) for k, v in known.items() if k not in without}
    labels = {k: v for k, v in LABELS.items() if k in known}
    labels["jetIdx"] = {"kind": Kind.INTEGER, "dtype": "int32"}
    described = fields("Lepton", *(k for k in known if k not in labels), **labels)
    schema = EventSchema(
        collections=(
            Collection(name="Lepton", layout="jagged", fields=described, min_count=least, max_count=most),
        )
    )
    return EventBatch(schema, {"Lepton": Objects(known, None if least == most else mask)})


def represent(events, block=None, **config):
    block = {"kind": "pairs", "collection": "Lepton", "mass": 91.2, **(block or {})}
    settings = FeaturesConfig.model_validate({"blocks": [block], **config})
    return Representation(settings, events.schema).fit(events)


def four(events, name="Lepton"):
    known = {n: getattr(events.collections[name], n).numpy() for n in ("pt", "eta", "phi", "mass")}
    return vector.array(known)


def greedy(event, opposite, most=MOST // 2):
    """The pairs of one event, and the others, found one by one."""
    p = four(event)[0]
    left = list(range(int(event.Lepton.mask.sum())))
    label = event.Lepton.fields[opposite][0].tolist() if opposite else None
    found = []
    while len(found) < 2 * most:
        pairs = [(a, b) for i, a in enumerate(left) for b in left[i + 1 :]]
        pairs = [(a, b) for a, b in pairs if label is None or label[a] == -label[b]]
        if not pairs:
            break
        a, b = min(pairs, key=lambda q: abs((p[q[0]] + p[q[1]]).mass - 91.2))
        found += [a, b]
        left = [x for x in left if x not in (a, b)]
    return found, left


def number(events, opposite, most=MOST // 2):
    return torch.tensor([len(greedy(events[i : i + 1], opposite, most)[0]) // 2 for i in range(len(events))])


@pytest.mark.parametrize("opposite", ["charge", "pdgId", ""])
def test_the_nearest_pair_comes_first_and_then_the_nearest_of_the_others(opposite):
    events = leptons(80)
    p = four(events)
    momenta = torch.stack(
        [torch.tensor(np.asarray(getattr(p, c))) for c in ("px", "py", "pz", "mass", "E")], 2
    )
    label = events.Lepton.fields[opposite].double() if opposite else None
    order = pairs_first(momenta, events.Lepton.mask, label, 91.2, 2)
    for i in range(len(events)):
        paired, alone = greedy(events[i : i + 1], opposite)
        assert order[i, : len(paired) + len(alone)].tolist() == [*paired, *alone]


CASES = {
    "charges": ({}, {}),
    "flavours": ({}, {"opposite": "pdgId"}),
    "any two": ({}, {"opposite": False}),
    "without charges": ({"without": ("charge", "pdgId")}, {}),
    "one pair": ({}, {"most": 1}),
    "two or more": ({"least": 2}, {}),
    "always three": ({"least": 3, "most": 3}, {}),
    "masses of their own": ({"own": True}, {}),
    "no masses": ({"without": ("mass", "pdgId")}, {}),
    "in no order": ({"ordered": False}, {}),
    "Cartesian": ({"cartesian": True}, {}),
    "populations": ({}, {"populations": [30, 60, 120]}),
    "populations and masses of their own": ({"own": True}, {"populations": [30, 60]}),
    "populations in no order": ({"ordered": False}, {"populations": [60]}),
    "a population of no event": ({}, {"populations": [60, 1e4]}),
}


@pytest.mark.parametrize("name", CASES)
def test_pairs_are_exact_there_and_back(name):
    sample, block = CASES[name]
    events = leptons(**sample)
    representation = represent(events, block)
    features = representation.encode(events)
    back = representation.decode(features)
    field, worst = difference(events, back)
    assert worst < 1e-9, field
    again = Representation.from_state(representation.state())
    again.load_state_dict(representation.state_dict())
    assert torch.equal(again.encode(events).x, features.x)


def test_charges_are_found_however_they_are_written():
    events = leptons(50)
    described = events.schema.collection("Lepton")
    names = {f.name: f.name.replace("charge", "Charge") for f in described.fields}
    renamed = tuple(f.model_copy(update={"name": names[f.name]}) for f in described.fields)
    schema = events.schema.model_copy(
        update={"collections": (described.model_copy(update={"fields": renamed}),)}
    )
    values = {names[n]: v for n, v in events.Lepton.fields.items()}
    capital = EventBatch(schema, {"Lepton": Objects(values, events.Lepton.mask)})
    (part, *_) = represent(capital).codec.parts
    assert part.opposite == "Charge"
    assert torch.equal(represent(capital).encode(capital).mask, represent(events).encode(events).mask)


@pytest.mark.parametrize("block", [{}, {"opposite": "pdgId"}, {"most": 1}], ids=str)
def test_columns_are_there_for_the_pairs_and_the_others_that_an_event_has(block):
    events = leptons(200)
    representation = represent(events, block)
    features = representation.encode(events)
    columns = dict(zip(representation.names, representation.columns(features.x).T, strict=True))
    exists = dict(zip(representation.names, features.mask.T, strict=True))
    opposite, most = block.get("opposite", "charge"), block.get("most", 2)
    pairs, count = number(events, opposite, most), events.Lepton.mask.sum(1)
    for j in range(most):
        assert torch.equal(exists[f"Lepton.pair[{j}].mass"], pairs > j)
    for j in range(3):
        assert torch.equal(exists[f"Lepton.single[{j}].eta"], count - 2 * pairs > j)
    p = four(events)
    for i in (pairs > 0).nonzero()[:20, 0].tolist():
        (a, b, *_), _ = greedy(events[i : i + 1], opposite, most)
        both = p[i, a] + p[i, b]
        assert float(columns["Lepton.pair[0].mass"][i]) == pytest.approx(both.mass - THRESHOLD, rel=1e-5)
        assert float(columns["Lepton.pair[0].pt"][i]) == pytest.approx(both.pt, rel=1e-5)


def test_whatever_the_features_are_pairs_have_their_mass_and_all_objects_are_in_order():
    events = leptons()
    representation = represent(events)
    features = representation.encode(events)
    noise = 1.5 * torch.randn(features.x.shape, generator=rng(3), dtype=torch.float64) * features.mask
    wild = features.with_x(noise.requires_grad_())
    made = representation.decode(wild, torch.zeros(len(events), dtype=torch.float64))
    pt, there = made.Lepton.pt, made.Lepton.mask
    assert torch.equal(there, events.Lepton.mask)
    assert bool((pt[:, 1:] <= pt[:, :-1] * (1 + 1e-9))[there[:, 1:]].all())
    assert torch.equal(made.Lepton.charge.sum(1), events.Lepton.charge.sum(1))
    two = (there.sum(1) == 2) & (made.Lepton.charge.sum(1) == 0)
    column = representation.names.index("Lepton.pair[0].mass")
    mass = representation.columns(noise)[:, column]
    p = four(made.map(lambda t: t.detach()))
    found = (p[:, 0] + p[:, 1]).mass[two.numpy()]
    np.testing.assert_allclose(found, THRESHOLD + mass.detach()[two].numpy(), rtol=1e-6)
    slopes = torch.autograd.grad(pt.sum() + made.Lepton.eta.sum(), noise)[0]
    assert bool(torch.isfinite(slopes).all())


@pytest.mark.parametrize("own", [False, True])
def test_whatever_the_features_are_a_pair_has_the_mass_of_its_population(own):
    cuts = torch.tensor([30.0, 60.0, 120.0], dtype=torch.float64)
    events = leptons(2000, own=own)
    representation = represent(events, {"populations": cuts.tolist()})
    features = representation.encode(events)
    index = [v.name for v in representation.variables].index("Lepton[1].pair:population")
    wanted = features.discrete[:, index] - 1
    assert {*wanted.tolist()} == {-2, -1, 0, 1, 2, 3}
    there = wanted >= 0
    exists = dict(zip(representation.names, features.mask.T, strict=True))
    for k in range(4):
        name = f"Lepton.pair[0].mass{f':{k + 1}' if k else ''}"
        assert torch.equal(exists[name], wanted == k)
    x = 3 * torch.randn(features.x.shape, generator=rng(), dtype=torch.float64)
    made = representation.decode(features.with_x(x))
    p, seen = four(made), 0
    for i in there.nonzero()[:100, 0].tolist():
        (a, b, *_), _ = greedy(made[i : i + 1], "charge")
        # Of several pairs another one may now be nearer to the resonance.
        if number(made[i : i + 1], "charge") == 1 and int(made.Lepton.mask[i].sum()) == 2:
            found = torch.searchsorted(cuts, torch.tensor((p[i, a] + p[i, b]).mass), right=True)
            assert int(found) == int(wanted[i])
            seen += 1
    assert seen > 10


def test_a_mass_that_no_pair_had_is_noted():
    events = leptons(300)
    representation = represent(events, {"populations": [60, 1e4]})
    far = leptons(300, seed=5)
    pt = 1e4 * far.Lepton.fields["pt"]
    far = EventBatch(far.schema, {"Lepton": far.Lepton.with_fields({**far.Lepton.fields, "pt": pt})})
    with pytest.raises(InputError, match="no pair of Lepton that was learned from has a mass such as"):
        representation.encode(far)


def test_turning_the_events_turns_pairs_and_single_objects_alike():
    events = leptons()
    representation = represent(events)
    features = representation.encode(events)
    still = representation.decode(features)
    angle = uniform(rng(2), -3, 3, N)
    turned = representation.tensors(features.x, features.discrete, features.condition, None, angle)
    by = torch.remainder(turned["Lepton.phi"] - still.Lepton.phi - angle.unsqueeze(1), 2 * math.pi)
    by = torch.minimum(by, 2 * math.pi - by)
    assert float(by[still.Lepton.mask].max()) < 1e-9


def test_charges_decide_whether_there_is_a_pair_also_where_no_training_event_has_them():
    events = leptons()
    representation = represent(events)
    features = representation.encode(events)
    names = [v.name for v in representation.variables]
    discrete = features.discrete.clone()
    flipped = discrete[:, names.index("Lepton[1].charge")]
    flipped[flipped >= 0] = 1 - flipped[flipped >= 0]
    _, mask = representation.context(discrete, features.condition)
    pair = mask[:, representation.names.index("Lepton.pair[0].mass")]
    made = representation.tensors(features.x, discrete, features.condition)
    charges = representation.decode(features).Lepton.charge
    two = events.Lepton.mask.sum(1) == 2
    assert torch.equal(pair[two], made["Lepton.charge"][two].sum(1) == 0)
    assert not torch.equal(made["Lepton.charge"], charges)
    assert bool(torch.isfinite(made["Lepton.pt"]).all())


def test_the_density_of_events_with_pairs_is_that_of_their_arrangement():
    events = leptons(60, most=3, without=("pdgId",), own=True)
    representation = represent(events)
    features, possible = representation.encode_possible(events)
    assert bool(possible.all())
    volume = Measure(representation)(events, features)
    assert bool(volume.possible.all())
    assert bool(torch.isfinite(volume.log_abs_det).all())


@pytest.mark.parametrize(
    ("sample", "config", "message"),
    [
        ({"most": 1}, {}, "Lepton has no pairs of objects"),
        ({}, {"block": {"opposite": "sign"}}, "no field 'sign'"),
        ({}, {"discrete": {"Lepton.charge": "continuous"}}, r"charge is not learned as classes"),
        ({}, {"block": {"transforms": {"m": "standardise"}}}, "no column 'm'"),
        ({"least": 2}, {"azimuth": "Lepton[0]"}, "pairs block"),
    ],
    ids=["one", "field", "continuous", "transform", "azimuth"],
)
def test_recipes_whose_pairs_cannot_be_are_refused(sample, config, message):
    with pytest.raises(RecipeError, match=message):
        represent(leptons(**sample), **config)


@pytest.mark.parametrize("seed", range(3))
def test_places_that_cannot_be_leave_all_objects_there_once(seed):
    events = leptons(ordered=False)
    representation = represent(events)
    features = representation.encode(events)
    discrete, g = features.discrete.clone(), rng(seed)
    for i, variable in enumerate(representation.variables):
        if variable.name.endswith("places"):
            discrete[:, i] = torch.randint(-1, variable.size, (N,), generator=g)
    made = representation.tensors(features.x, discrete, features.condition)
    for name, values in events.Lepton.fields.items():
        torch.testing.assert_close(made[f"Lepton.{name}"].double().sum(1), values.double().sum(1))


def test_places_that_no_training_event_has_are_noted():
    events = leptons(ordered=False)
    three = (events.Lepton.mask.sum(1) < 3) | (events.Lepton.charge[:, 0] == events.Lepton.charge[:, 1])
    representation = represent(events[three.nonzero()[:, 0]])
    _, possible = representation.encode_possible(events)
    assert bool(possible[three].all())
    assert not bool(possible.all())


def test_a_pair_whose_population_was_not_drawn_is_of_the_resonance():
    events = leptons(2000)
    representation = represent(events, {"populations": [30, 60, 120]})
    features = representation.encode(events)
    assert torch.equal(representation.settled(features.discrete), features.discrete)
    index = [v.name for v in representation.variables].index("Lepton[1].pair:population")
    pairs = number(events, "charge")
    for drawn in (0, 1):
        discrete = features.discrete.clone()
        discrete[:, index] = torch.where(discrete[:, index] >= 0, drawn, -1)
        settled = representation.settled(discrete)[:, index]
        # The resonance, of 91.2 GeV, is of the third population; of those without a pair it is none.
        assert {*settled[pairs > 0].tolist()} == {drawn or 3}
        assert {*settled[pairs == 0].tolist()} == {-1, 0}
        _, mask = representation.context(representation.settled(discrete), features.condition)
        masses = [i for i, n in enumerate(representation.names) if "pair[0].mass" in n]
        assert torch.equal(mask[:, masses].sum(1), (pairs > 0).long())
