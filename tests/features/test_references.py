"""Indices into other collections: they point to what is there, and it is where they say."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import vector
from feature_samples import difference, fields, rng, uniform

from hepgan.errors import InputError, RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Kind
from hepgan.features import FeatureBatch, FeaturesConfig, Measure, Representation
from hepgan.features.parts.references import backwards, distances, nearest

N = 800
REACH = 0.4
WHOLE = {"kind": Kind.INTEGER, "dtype": "int32"}
BOTH = {"Muon.jetIdx": {"to": "Jet", "nearest": REACH}, "Electron.jetIdx": {"to": "Jet", "nearest": REACH}}


def links(n=N, seed=1, *, reach=REACH, share=0.5):
    """Events of muons, electrons and jets in order of pt; jets near half of the leptons, which point to them.

    Indices are those of the nearest jet within a distance, and of the first and second muon of a jet.
    """
    g = rng(seed)
    size = {"Muon": 3, "Electron": 2, "Jet": 4}
    known: dict[str, dict[str, torch.Tensor]] = {}
    mask = {}
    for name, most in size.items():
        count = torch.randint(0, most + 1, (n,), generator=g)
        mask[name] = torch.arange(most) < count.unsqueeze(1)
        pt = (20 - 20 * torch.log(uniform(g, 0.01, 1, n, most))).sort(1, descending=True).values
        eta, phi = uniform(g, -2.4, 2.4, n, most), uniform(g, -math.pi, math.pi, n, most)
        known[name] = {"pt": pt, "eta": eta, "phi": phi, "mass": torch.full_like(pt, 0.1)}
    known["Muon"]["charge"] = torch.where(torch.rand(n, 3, generator=g) < 0.5, 1, -1)
    known["Jet"]["mass"] = uniform(g, 2, 20, n, 4)
    for name, jet in (("Muon", 0), ("Muon", 1), ("Electron", 2)):
        near = torch.rand(n, generator=g) < share
        turn, apart = uniform(g, -math.pi, math.pi, n), 1.2 * reach * uniform(g, 0, 1, n) ** 2
        for what, move in (("eta", apart * turn.cos()), ("phi", apart * turn.sin())):
            beside = known[name][what][:, jet % 2] + move
            known["Jet"][what][:, jet] = torch.where(near, beside, known["Jet"][what][:, jet])
    known["Jet"]["phi"] = (known["Jet"]["phi"] + math.pi) % (2 * math.pi) - math.pi
    for name in ("Muon", "Electron"):
        a, b = known[name], known["Jet"]
        vectors = [vector.array({k: v[k][..., None].numpy() for k in ("pt", "eta", "phi")}) for v in (a, b)]
        apart = torch.tensor(np.asarray(vectors[0].deltaR(vectors[1].reshape(n, 1, 4))))
        least, place = torch.where(mask["Jet"].unsqueeze(1), apart, torch.inf).min(2)
        known[name]["jetIdx"] = torch.where(least < reach, place, -1)
    index = torch.where(mask["Muon"], known["Muon"]["jetIdx"], -1)
    for which in (0, 1):
        found = [
            [[m for m in range(3) if row[m] == j][which : which + 1] for j in range(4)]
            for row in index.tolist()
        ]
        known["Jet"][f"muonIdx{which + 1}"] = torch.tensor([[(m or [-1])[0] for m in row] for row in found])
    known = {k: {f: torch.where(mask[k], v, 0) for f, v in c.items()} for k, c in known.items()}
    collections = tuple(
        Collection(
            name=name,
            layout="jagged",
            fields=fields(name, "pt", "eta", "phi", "mass", **dict.fromkeys(list(c)[4:], WHOLE)),
            max_count=size[name],
        )
        for name, c in known.items()
    )
    return EventBatch(
        EventSchema(collections=collections), {k: Objects(c, mask[k]) for k, c in known.items()}
    )


def without(events: EventBatch, *names: str) -> EventBatch:
    """The events without some fields."""
    gone = {tuple(n.split(".")) for n in names}
    collections = tuple(
        c.model_copy(update={"fields": tuple(f for f in c.fields if (c.name, f.name) not in gone)})
        for c in events.schema.collections
    )
    kept = {
        n: Objects({f: v for f, v in o.fields.items() if (n, f) not in gone}, o.mask)
        for n, o in events.collections.items()
    }
    return EventBatch(EventSchema(collections=collections), kept)


def changed(events: EventBatch, name: str, field: str, values: torch.Tensor) -> EventBatch:
    objects = events.collections[name]
    made = objects.with_fields({**objects.fields, field: values})
    return EventBatch(events.schema, {**events.collections, name: made})


def represent(events: EventBatch, said: dict[str, Any] | None = None, *blocks: Any, **config: Any):
    block = {"kind": "references", "fields": BOTH if said is None else said}
    settings = FeaturesConfig.model_validate({"blocks": [*blocks, block], **config})
    return Representation(settings, events.schema).fit(events)


PLAIN = without(links(), "Jet.muonIdx1", "Jet.muonIdx2")
CARTESIAN = {"kind": "objects", "collection": "Jet", "coordinates": ["px", "py", "pz"]}
PAIRS = {"kind": "pairs", "collection": "Muon", "mass": 91.2}


def generated(representation: Representation, n: int = 4000, seed: int = 2) -> EventBatch:
    """Events of noise of any size: classes as they come, whatever goes together, and features far outside."""
    g = rng(seed)
    columns = []
    for v in representation.variables:
        columns.append(torch.randint(0, v.size, (n,), generator=g))
    drawn = torch.stack(columns, 1)
    for i, v in enumerate(representation.variables):
        if v.count is not None:
            drawn[:, i] = torch.where(drawn[:, v.count] > v.slot, drawn[:, i], -1)
    context, mask = representation.context(drawn, torch.zeros(n, 0, dtype=torch.float64))
    x = 3 * torch.randn(n, representation.size, generator=g, dtype=torch.float64)
    weight = torch.ones(n, dtype=torch.float64)
    return representation.decode(
        FeatureBatch(torch.where(mask, x, 0.0), mask, drawn, context[:, :0], context, weight, None)
    )


def apart(events: EventBatch, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The indices of objects that point to a jet, and their distances, by vector."""
    objects, jets = events.collections[name], events.collections["Jet"]
    index = torch.where(objects.mask, objects.fields["jetIdx"], -1)
    some = index >= 0
    place = index.clamp(min=0)
    a = vector.array({k: objects.fields[k][some].numpy() for k in ("pt", "eta", "phi")})
    b = vector.array({k: jets.fields[k].gather(1, place)[some].numpy() for k in ("pt", "eta", "phi")})
    return index, torch.from_numpy(np.asarray(a.deltaR(b)))


@pytest.mark.parametrize("blocks", [(), (PAIRS,)], ids=["alone", "pairs"])
@pytest.mark.parametrize("azimuth", [False, True], ids=["as it is", "turned"])
def test_events_come_back(blocks: tuple[Any, ...], azimuth: bool) -> None:
    events = PLAIN
    if azimuth:
        events = events[events.collections["Electron"].mask[:, 0]]
        collections = tuple(
            c.model_copy(update={"min_count": 1}) if c.name == "Electron" else c
            for c in events.schema.collections
        )
        events = EventBatch(EventSchema(collections=collections), events.collections)
    made = represent(events, None, *blocks, azimuth="Electron[0]" if azimuth else None)
    back = made.decode(made.encode(events), made.azimuth(events))
    assert difference(events, back)[1] < 1e-9
    for name in ("Muon", "Electron"):
        mask = events.collections[name].mask
        index = [e.collections[name].fields["jetIdx"][mask] for e in (events, back)]
        assert torch.equal(*index)
        assert (index[0] >= 0).sum() > 50


def test_what_is_pointed_to_has_a_distance_in_place_of_a_direction() -> None:
    made = represent(PLAIN)
    features = made.encode(PLAIN)
    exists = dict(zip(made.names, features.mask.T, strict=True))
    index = PLAIN.collections["Muon"].fields["jetIdx"].masked_fill(~PLAIN.collections["Muon"].mask, -1)
    others = (
        PLAIN.collections["Electron"].fields["jetIdx"].masked_fill(~PLAIN.collections["Electron"].mask, -1)
    )
    both = torch.cat([index, others], 1)
    for j in range(4):
        pointed = (both == j).any(1)
        there = PLAIN.collections["Jet"].mask[:, j]
        for coordinate in ("eta", "phi"):
            assert torch.equal(exists[f"Jet[{j}].{coordinate}"], there & ~pointed)
        name = "Jet[0].pt" if j == 0 else f"Jet[{j}].pt_ratio"
        assert torch.equal(exists[name], there)
    number = (index >= 0).sum(1)
    for k in range(2):
        assert torch.equal(exists[f"Muon.jetIdx[{k}].dr"], number > k)
        assert torch.equal(exists[f"Muon.jetIdx[{k}].angle"], number > k)
    # A muon has no direction of its own if the jet that it points to has that of another.
    before = [[m > 0 and row[m] in row[:m] and row[m] >= 0 for m in range(3)] for row in index.tolist()]
    second = torch.tensor(before)
    assert second.sum() > 3
    for m in range(3):
        there = PLAIN.collections["Muon"].mask[:, m]
        assert torch.equal(exists[f"Muon[{m}].eta"], there & ~second[:, m])
    column = made.columns(features.x)[:, made.names.index("Muon.jetIdx[0].dr")]
    firsts = [next(((m, i) for m, i in enumerate(row) if i >= 0), None) for row in index.tolist()]
    for event, first in list(enumerate(firsts))[:100]:
        if first is not None:
            a, b = (
                vector.obj(
                    **{k: float(PLAIN.collections[n].fields[k][event, s]) for k in ("pt", "eta", "phi")}
                )
                for n, s in (("Muon", first[0]), ("Jet", first[1]))
            )
            assert float(column[event]) == pytest.approx(a.deltaR(b), abs=1e-9)


@pytest.mark.parametrize("blocks", [(), (PAIRS,)], ids=["alone", "pairs"])
def test_whatever_is_generated_no_index_dangles_and_nothing_is_out_of_reach(blocks: tuple[Any, ...]) -> None:
    made = represent(PLAIN, None, *blocks)
    events = generated(made)
    number = events.collections["Jet"].mask.sum(1, keepdim=True)
    told = torch.zeros(0)
    for name in ("Muon", "Electron"):
        index, distance = apart(events, name)
        assert (index >= 0).sum() > 300
        assert bool((index < number).all())
        told = torch.cat([told, distance])
    # Muons in pairs have directions of their own, so that the second to point to a jet may be far away.
    if not blocks:
        assert float(told.max()) < REACH
        return
    assert float((told < REACH).double().mean()) > 0.7
    index = torch.where(events.collections["Muon"].mask, events.collections["Muon"].fields["jetIdx"], -1)
    single = torch.tensor([all(row.count(i) == 1 for i in row if i >= 0) for row in index.tolist()])
    for name in ("Muon", "Electron"):
        _, distance = apart(events[single], name)
        assert len(distance) > 100
        assert float(distance.max()) < REACH


def test_the_largest_distance_is_that_of_training() -> None:
    made = represent(PLAIN, {"Muon.jetIdx": {"to": "Jet"}})
    largest = float(apart(PLAIN, "Muon")[1].max())
    _, distance = apart(generated(made), "Muon")
    assert 0.9 * largest < float(distance.max()) < largest * (1 + 1e-9)
    assert not made.restricted


def test_events_that_contradict_a_rule_are_told() -> None:
    made = represent(PLAIN)
    assert made.restricted
    assert bool(made.valid(PLAIN).all())
    muons, jets = PLAIN.collections["Muon"], PLAIN.collections["Jet"]
    index = torch.where(muons.mask, muons.fields["jetIdx"], -1)
    first = (index[:, 0] >= 0).nonzero()[:, 0]
    none = changed(PLAIN, "Muon", "jetIdx", torch.where(torch.arange(3) == 0, -1, index))
    assert not bool(made.valid(none)[first].any())
    far = torch.where(torch.arange(4) == index[:, :1], jets.fields["eta"] + 1, jets.fields["eta"])
    assert not bool(made.valid(changed(PLAIN, "Jet", "eta", far))[first].any())
    another = muons.mask[:, 0] & (jets.mask.sum(1) > 1) & (index[:, 0] == 1)
    nearer = PLAIN
    for coordinate in ("eta", "phi"):
        other = jets.fields[coordinate].clone()
        other[:, 0] = muons.fields[coordinate][:, 0] + 1e-9
        nearer = changed(nearer, "Jet", coordinate, other)
    assert bool(another.any())
    assert not bool(made.valid(nearer)[another].any())


def test_what_points_back_is_computed() -> None:
    events = links()
    said = {
        **BOTH,
        "Jet.muonIdx1": {"back": "Muon.jetIdx"},
        "Jet.muonIdx2": {"back": "Muon.jetIdx", "number": 1},
    }
    made = represent(events, said, PAIRS)
    assert not any("muonIdx" in v.name for v in made.variables)
    assert difference(events, made.decode(made.encode(events)))[1] < 1e-9
    again = generated(made)
    muons, jets = again.collections["Muon"], again.collections["Jet"]
    index = torch.where(muons.mask, muons.fields["jetIdx"], -1)
    for number in (0, 1):
        wanted = [
            [([m for m in range(3) if row[m] == j] + [-1] * 3)[number] for j in range(4)]
            for row in index.tolist()
        ]
        back = torch.where(jets.mask, jets.fields[f"muonIdx{number + 1}"], -1)
        assert torch.equal(back, torch.where(jets.mask, torch.tensor(wanted), -1))
        assert (back >= 0).sum() > 20


def test_the_nearest_is_computed_where_directions_are_no_columns() -> None:
    events = without(links(), "Muon.jetIdx", "Electron.jetIdx", "Jet.muonIdx2")
    index = nearest(distances(events, "Jet", "Muon"), 0.3)
    events = changed(events, "Jet", "muonIdx1", torch.where(events.collections["Jet"].mask, index, 0))
    made = represent(events, {"Jet.muonIdx1": {"to": "Muon", "nearest": 0.3}}, PAIRS, CARTESIAN)
    assert not any("muonIdx" in v.name for v in made.variables)
    assert not any("dr" in n for n in made.names)
    assert difference(events, made.decode(made.encode(events)))[1] < 1e-9


def test_an_index_into_pairs_follows_them_when_they_are_sorted() -> None:
    events = without(links(), "Muon.jetIdx", "Electron.jetIdx", "Jet.muonIdx2")
    made = represent(events, {"Jet.muonIdx1": {"to": "Muon"}}, PAIRS)
    assert any("muonIdx1" in v.name for v in made.variables)
    # Jets get their directions from muons, which have theirs from pairs.
    assert "Jet.muonIdx1[0].dr" in made.names
    alone = represent(events, {"Jet.muonIdx1": {"to": "Muon"}}, PAIRS, CARTESIAN)
    assert not any("muonIdx1" in n for n in alone.names)
    assert difference(events, alone.decode(alone.encode(events)))[1] < 1e-9
    back = made.decode(made.encode(events))
    mask = events.collections["Jet"].mask
    assert torch.equal(*(e.collections["Jet"].fields["muonIdx1"][mask] for e in (events, back)))
    again = generated(made)
    jets = again.collections["Jet"]
    index = torch.where(jets.mask, jets.fields["muonIdx1"], -1)
    assert bool((index < again.collections["Muon"].mask.sum(1, keepdim=True)).all())


def test_volumes_are_exact() -> None:
    """d eta d phi = dr d dr d angle, so an event with links has that density of its own."""
    events = without(PLAIN, "Electron.jetIdx")
    made = represent(events, {"Muon.jetIdx": {"to": "Jet", "nearest": REACH}})
    plain = Representation(FeaturesConfig(), events.schema).fit(events)
    some = events[:60]
    volumes = []
    for r in (made, plain):
        features = r.encode(some)
        volume = Measure(r)(some, features)
        assert bool(volume.possible.all())
        # Per volume in the columns, before their transforms.
        volumes.append(volume.log_abs_det + r.log_abs_det(features))
    features = made.encode(some)
    columns, wanted = made.columns(features.x), torch.zeros(60, dtype=torch.float64)
    for k, name in enumerate(made.names):
        if name.endswith(".dr"):
            wanted += torch.where(features.mask[:, k], columns[:, k].log(), 0.0)
    assert int((wanted < 0).sum()) > 10
    assert torch.allclose(volumes[0] - volumes[1], wanted, atol=1e-6)


def test_mistakes_are_told() -> None:
    events = links()
    for said, blocks, message in (
        ({"Muon.jetIdx": {"to": "Electron"}}, (), "is no index into them|in an event with"),
        ({"Muon.pt": {"to": "Jet"}}, (), "follows from the momentum"),
        ({"Jet.muonIdx1": {"to": "Jet"}}, (), "mothers"),
        (
            {"Muon.jetIdx": {"to": "Jet", "nearest": 0.1}},
            (),
            r"not always the nearest Jet within 0.1 \(\d+ of",
        ),
        ({"Jet.muonIdx1": {"back": "Muon.jetIdx"}}, (), "before it does not point to Jet"),
        ({**BOTH, "Jet.muonIdx2": {"back": "Muon.jetIdx"}}, (), "not always what Muon.jetIdx points back to"),
        ({"Muon.jetIdx": {"to": "Nobody"}}, (), "no 'Nobody'"),
        (BOTH, ({"kind": "references", "fields": BOTH},), "two of references"),
        (BOTH, ({"kind": "fields", "fields": ["Muon.jetIdx"]},), "two blocks"),
        ({"Jet.muonIdx1": {"to": "Muon"}}, ({"kind": "tree", "collection": "Muon"},), "is a tree"),
    ):
        with pytest.raises(RecipeError, match=message):
            represent(events, said, *blocks)
    with pytest.raises(RecipeError, match=r"discrete: Muon\.jetIdx is in a references block"):
        represent(events, BOTH, discrete={"Muon.jetIdx": "dequantise"})
    for wrong in ({}, {"to": "Jet", "back": "Jet.muonIdx1"}, {"back": "Jet.muonIdx1", "nearest": 0.4}):
        with pytest.raises(ValueError, match=r"either to|belongs to"):
            FeaturesConfig.model_validate(
                {"blocks": [{"kind": "references", "fields": {"Muon.jetIdx": wrong}}]}
            )


def test_events_with_what_never_occurred_are_refused() -> None:
    made = represent(PLAIN, {"Muon.jetIdx": {"to": "Jet"}})
    index = PLAIN.collections["Muon"].fields["jetIdx"]
    few = PLAIN.collections["Jet"].mask.sum(1) == 1
    some = (few & PLAIN.collections["Muon"].mask[:, 0]).nonzero()[:1, 0]
    wrong = changed(PLAIN, "Muon", "jetIdx", torch.where(torch.arange(3) == 0, 3, index))
    with pytest.raises(InputError, match="points to no Jet, of which there are 1"):
        made.encode(wrong[some])
    jets = PLAIN.collections["Jet"].fields["eta"]
    linked = (PLAIN.collections["Muon"].mask[:, 0] & (index[:, 0] == 0)).nonzero()[:1, 0]
    with pytest.raises(InputError, match="at a distance of"):
        made.encode(changed(PLAIN, "Jet", "eta", jets + 3)[linked])


class _Decoder(torch.nn.Module):
    def __init__(self, representation: Representation) -> None:
        super().__init__()
        self.representation = representation

    def forward(self, x: torch.Tensor, discrete: torch.Tensor, condition: torch.Tensor) -> Any:
        return self.representation.tensors(x, discrete, condition)


def test_decoding_can_be_exported() -> None:
    events = links()
    said = {**BOTH, "Jet.muonIdx1": {"back": "Muon.jetIdx"}}
    made = represent(events, said, PAIRS, transform="standardise")
    features = made.encode(events)
    given = (features.x, features.discrete, features.condition)
    program = torch.export.export(_Decoder(made), given, strict=False)
    for name, values in program.module()(*given).items():
        torch.testing.assert_close(values, made.tensors(*given)[name])


def test_objects_do_not_share_what_they_point_to_if_they_never_did() -> None:
    muons = PLAIN.collections["Muon"]
    index = torch.where(muons.mask, muons.fields["jetIdx"], -1)
    alone = torch.tensor([all(row.count(i) == 1 for i in row if i >= 0) for row in index.tolist()])
    said = {"Muon.jetIdx": {"to": "Jet", "nearest": REACH}}
    events = without(PLAIN, "Electron.jetIdx")
    made = represent(events[alone], said)
    again = generated(made)
    found = again.collections["Muon"]
    rows = torch.where(found.mask, found.fields["jetIdx"], -1).tolist()
    assert all(row.count(i) == 1 for row in rows for i in row if i >= 0)
    assert float(apart(again, "Muon")[1].max()) < REACH
    with pytest.raises(InputError, match="that another points to, which never happened"):
        made.encode(events[~alone])
    rows = generated(represent(events, said)).collections["Muon"].fields["jetIdx"].tolist()
    assert any(row.count(i) > 1 for row in rows for i in row if i >= 0)


def test_it_is_kept() -> None:
    made = represent(links(), {**BOTH, "Jet.muonIdx1": {"back": "Muon.jetIdx"}}, PAIRS)
    again = Representation.from_state(made.state())
    again.load_state_dict(made.state_dict())
    assert difference(generated(made), generated(again))[1] == 0.0


def test_what_points_back_by_hand() -> None:
    index = torch.tensor([[1, -1, 1], [0, 0, 0]])
    there = torch.tensor([[True, True, True], [True, True, False]])
    assert backwards(index, there, 2, 0).tolist() == [[-1, 0], [0, -1]]
    assert backwards(index, there, 2, 1).tolist() == [[-1, 2], [1, -1]]
    assert backwards(index, there, 2, 2).tolist() == [[-1, -1], [-1, -1]]
