"""Grids of objects, their cells, and objects that are aligned."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field
from hepgan.observables import Observable
from hepgan.observables.evaluate import evaluate
from hepgan.observables.language import parse
from hepgan.observables.making import make
from hepgan.observables.sources import BatchSource

NAMES = ("pt", "deta", "dphi", "charge")
HITS = Collection(
    name="Hit",
    layout="jagged",
    fields=tuple(Field(name=n, branches=(f"Hit_{n}",)) for n in NAMES),
    max_count=30,
)
SCHEMA = EventSchema(collections=(HITS,))


def hits(size=200, seed=0):
    """Hits around the axis, none in the first event and one in the second."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 30, size)
    counts[:3] = (0, 1, 2)
    total = counts.sum()
    fields = {
        "pt": rng.exponential(10, total) + 0.5,
        "deta": rng.normal(0.1, 0.4, total),
        "dphi": rng.normal(-0.2, 0.4, total),
        "charge": rng.choice([-1.0, 1.0], total),
    }
    return ak.zip({"Hit": ak.unflatten(ak.zip(fields), counts)}, depth_limit=1)


def as_batch(events):
    counts = torch.from_numpy(ak.to_numpy(ak.num(events.Hit)).astype(np.int64))
    flat = {n: torch.from_numpy(ak.to_numpy(ak.flatten(events.Hit[n]))) for n in NAMES}
    return EventBatch(SCHEMA, {"Hit": Objects.of_lists(flat, counts, 30)})


def images_of(expression, batch, shape):
    return evaluate(parse(expression), BatchSource(batch)).data.view(-1, *shape)


GRID = "grid(Hit, dphi, deta, bins=(5, 4), low=(-1, -2), high=(1, 2))"


def test_a_grid_sums_weights_in_cells_the_first_coordinate_slowest():
    events = hits()
    found = images_of(GRID, as_batch(events), (5, 4)).numpy()
    for event, image in zip(events, found, strict=True):
        h = event.Hit
        edges = [np.linspace(-1, 1, 6), np.linspace(-2, 2, 5)]
        expected, *_ = np.histogram2d(h.dphi.to_numpy(), h.deta.to_numpy(), edges, weights=h.pt.to_numpy())
        np.testing.assert_allclose(image, expected, atol=1e-9)
    awkward = Observable("x", GRID)(events)
    np.testing.assert_allclose(ak.to_numpy(awkward), found.reshape(len(found), -1))


def test_any_number_is_summed_and_azimuths_are_brought_into_the_grid():
    fields = {"pt": [1.0, 2.0], "phi": [3.0, -3.0], "eta": [0.0, 0.0], "q": [5.0, 7.0]}
    events = ak.zip({"Hit": ak.zip({n: ak.Array([v]) for n, v in fields.items()})}, depth_limit=1)
    found = Observable("x", "grid(Hit, phi, weight=q, bins=2, low=2.5, high=3.7)")(events)
    assert found.to_list() == [[5.0, 7.0]]


def test_what_is_outside_of_a_grid_is_lost():
    events = hits()
    total = Observable("x", "sum(grid(Hit, deta, bins=3, low=-0.2, high=0.5))")(events)
    inside = (events.Hit.deta >= -0.2) & (events.Hit.deta < 0.5)
    np.testing.assert_allclose(total, ak.sum(events.Hit.pt[inside], axis=1))


def test_cells_are_massless_objects_at_their_middles_largest_first():
    events = hits()
    named = "grid(Hit, phi=dphi, eta=deta, bins=(5, 4), low=(-1, -2), high=(1, 2))"
    batch = as_batch(events)
    image = images_of(named, batch, (5, 4)).numpy()
    phi, eta = np.meshgrid(np.linspace(-0.8, 0.8, 5), np.linspace(-1.5, 1.5, 4), indexing="ij")
    e, pz = (image * np.cosh(eta)).sum((1, 2)), (image * np.sinh(eta)).sum((1, 2))
    px, py = (image * np.cos(phi)).sum((1, 2)), (image * np.sin(phi)).sum((1, 2))
    mass = np.sqrt(np.maximum(e**2 - px**2 - py**2 - pz**2, 0))
    for form in (events, batch):
        values = Observable("m", f"sum(cells({named})).mass").flat(form)[0]
        np.testing.assert_allclose(np.asarray(values), mass, atol=1e-5)
        counts = Observable("n", f"count(cells({named}))").flat(form)[0]
        np.testing.assert_array_equal(np.asarray(counts), (image != 0).sum((1, 2)))
    for field in ("value", "pt"):
        lists = Observable("x", f"cells({named}).{field}")(events)
        expected = [sorted(i[i > 0], reverse=True) for i in image.reshape(len(image), -1)]
        np.testing.assert_allclose(ak.flatten(lists), np.concatenate(expected))
    number = Observable("x", f"cells({named}).cell")(events)
    lead = ak.to_numpy(ak.drop_none(ak.firsts(number)))
    np.testing.assert_array_equal(lead, image.reshape(len(image), -1).argmax(1)[image.any((1, 2))])


def test_cells_are_made_of_what_is_computed_of_a_grid():
    events = hits()
    few = Observable("x", f"count(cells(where({GRID} > 20, {GRID}, 0)))")(events)
    image = images_of(GRID, as_batch(events), (5, 4)).numpy()
    np.testing.assert_array_equal(few, (image > 20).sum((1, 2)))


def aligned(events, **options):
    text = "".join(f", {n}={v}" for n, v in options.items())
    return {n: Observable("x", f"aligned(Hit, deta, dphi{text}).{n}")(events) for n in ("pt", "deta", "dphi")}


def test_events_that_are_moved_and_turned_are_aligned_alike():
    events = hits(seed=1)
    first = aligned(events, radius=0.4)
    angle, h = 0.7, events.Hit
    for mirror in (1, -1):
        x = h.deta * math.cos(angle) - h.dphi * math.sin(angle)
        y = h.deta * math.sin(angle) + h.dphi * math.cos(angle)
        moved = ak.zip({"pt": h.pt, "deta": mirror * x + 0.3, "dphi": y + 0.2, "charge": h.charge})
        second = aligned(ak.zip({"Hit": moved}, depth_limit=1), radius=0.4)
        # Of one subjet the principal axis has no head.
        many = ak.to_numpy(ak.num(first["pt"])) > 10
        for name in ("deta", "dphi"):
            one, two = (ak.flatten(f[name][many]).to_numpy() for f in (first, second))
            assert np.mean(np.abs(one - two) < 1e-6) > 0.9


def test_the_leading_subjet_is_the_middle_the_second_below_and_more_is_on_the_right():
    fields = {
        "pt": [100.0, 60.0, 5.0],
        "deta": [0.5, 0.0, 0.7],
        "dphi": [3.1, -3.0, 3.1],
    }
    events = ak.zip({"Hit": ak.zip({n: ak.Array([v]) for n, v in fields.items()})}, depth_limit=1)
    found = aligned(events, radius=0.1)
    apart = math.hypot(0.5, 2 * math.pi - 6.1)
    np.testing.assert_allclose(found["deta"][0][:2], [0, 0], atol=1e-12)
    np.testing.assert_allclose(found["dphi"][0][:2], [0, -apart], atol=1e-12)
    assert found["deta"][0][2] > 0
    only = aligned(events, radius=0.1, rotate=False, flip=False)
    np.testing.assert_allclose(only["deta"][0], [0, -0.5, 0.2], atol=1e-12)
    still = aligned(events, centre=False, rotate=False, flip=False)
    np.testing.assert_allclose(still["dphi"][0], fields["dphi"])


def test_aligned_objects_keep_distances_weights_and_other_fields():
    events = hits(seed=2)
    before = Observable("x", "pairs(massless(Hit, eta=deta, phi=dphi)).deltaR")(events)
    made = "massless(aligned(Hit, deta, dphi), eta=deta, phi=dphi)"
    after = Observable("x", f"pairs({made}).deltaR")(events)
    np.testing.assert_allclose(ak.flatten(before), ak.flatten(after), rtol=1e-9, atol=1e-9)
    assert ak.all(Observable("x", "aligned(Hit, deta, dphi).charge")(events) == events.Hit.charge)
    assert ak.all(Observable("x", "aligned(Hit, deta, dphi).pt")(events) == events.Hit.pt)


def test_fields_that_get_other_names_lose_their_own():
    made = make(parse("massless(aligned(Hit, eta=deta, phi=dphi))"), hits(20)).column
    assert {*made.fields} == {"pt", "eta", "phi", "mass", "charge"}
    expected = Observable("x", "sum(massless(aligned(Hit, deta, dphi), eta=deta, phi=dphi)).mass")(hits(20))
    found = Observable("x", "sum(Aligned).mass")(ak.zip({"Aligned": made}, depth_limit=1))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)


def test_alignment_is_that_of_fastjet_in_the_jets(shared_data):
    fastjet = pytest.importorskip("fastjet")
    import uproot

    jets = uproot.open(shared_data / "jet_images_test.root")["Events"].arrays(entry_stop=500)
    c = ak.zip({n: ak.values_astype(jets[f"Constituent_{n}"], np.float64) for n in NAMES[:3]})
    found = aligned(ak.zip({"Hit": c}, depth_limit=1), rotate=False, flip=False)
    p = ak.zip(
        {
            "px": c.pt * np.cos(c.dphi),
            "py": c.pt * np.sin(c.dphi),
            "pz": c.pt * np.sinh(c.deta),
            "E": c.pt * np.cosh(c.deta),
        },
        with_name="Momentum4D",
    )
    kt = fastjet.JetDefinition(fastjet.kt_algorithm, 0.3)
    subjet = fastjet.ClusterSequence(p, kt).inclusive_jets(min_pt=0)
    pt = np.hypot(subjet.px, subjet.py)
    lead = subjet[ak.argsort(pt, ascending=False)][:, 0]
    eta = np.arcsinh(lead.pz / np.hypot(lead.px, lead.py))
    shift = ak.to_numpy((c.deta - found["deta"])[:, 0] - eta)
    # Momenta of subjets are no weighted means of coordinates, but close.
    assert np.median(np.abs(shift)) < 1e-3
    assert np.mean(np.abs(shift) < 0.01) > 0.98


def test_contents_have_the_gradient_of_finite_differences():
    batch = as_batch(hits(12, seed=3))
    named = "grid(aligned(Hit, deta, dphi), phi=dphi, eta=deta, bins=6, low=-1.5, high=1.5)"
    expressions = (
        f"sum({named} ** 2)",
        f"sum(cells({named})).mass2",
        "sum(massless(Hit, eta=deta, phi=dphi)).mass2",
        f"nsubjettiness(cells({named}), 2)",
        f"max({named})",
    )
    for expression in expressions:

        def found(pt, expression=expression):
            fields = {**batch["Hit"].fields, "pt": pt}
            moved = EventBatch(SCHEMA, {"Hit": Objects(fields, batch["Hit"].mask)})
            data, mask = Observable("x", expression)(moved)
            return data if mask is None else torch.where(mask, data, 0.0)

        pt = batch["Hit"]["pt"].clone().requires_grad_()
        found(pt).sum().backward()
        assert torch.isfinite(pt.grad).all()
        assert (pt.grad != 0).any(), expression
    still = "sum(massless(Hit, eta=deta, phi=dphi)).mass2"
    assert torch.autograd.gradcheck(lambda pt: found(pt, still), [pt], fast_mode=True, atol=1e-3)


def test_coordinates_that_are_aligned_have_a_gradient():
    batch = as_batch(hits(12, seed=4))
    deta = batch["Hit"]["deta"].clone().requires_grad_()
    moved = EventBatch(SCHEMA, {"Hit": Objects({**batch["Hit"].fields, "deta": deta}, batch["Hit"].mask)})
    data, _ = Observable("x", "sum(aligned(Hit, deta, dphi).deta ** 2)")(moved)
    data.sum().backward()
    assert torch.isfinite(deta.grad).all()
    assert (deta.grad != 0).any()


def test_numbers_of_objects_combine_with_those_of_the_same_objects_moved():
    events = hits()
    found = Observable("x", "aligned(Hit, deta, dphi, rotate=0, flip=0).deta - Hit.deta")(events)
    spread = ak.to_numpy(ak.max(found, axis=1) - ak.min(found, axis=1))[1:]
    np.testing.assert_allclose(spread.astype(float), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("sum(grid(Hit, deta, low=-1, high=1))", "grid needs bins="),
        ("sum(grid(Hit, bins=2, low=-1, high=1))", "one to three coordinates"),
        ("sum(grid(Hit, deta, bins=2.5, low=-1, high=1))", "whole numbers"),
        ("sum(grid(Hit, deta, bins=(2, 2), low=-1, high=1))", "one for each of deta"),
        ("sum(grid(Hit, deta, bins=2, low=1, high=1))", "low of grid must be below high"),
        ("sum(grid(Hit, deta, bins=10000000, low=-1, high=1))", "cells"),
        ("sum(grid(Hit, deta, deta, bins=2, low=-1, high=1))", "given twice"),
        ("sum(grid(Hit, nothing, bins=2, low=-1, high=1))", "no field or property 'nothing'"),
        ("sum(grid(Hit, deta, bin=2, low=-1, high=1))", "options are weight, bins, low, high"),
        ("sum(grid(Hit, Hit.deta, bins=2, low=-1, high=1))", "names of their fields"),
        ("sum(aligned(Hit, deta, radius=1).pt)", "two coordinates"),
        ("sum(aligned(Hit, dphi, deta).pt)", "the angle dphi comes second"),
        ("sum(aligned(Hit, deta, dphi, radius=0).pt)", "above 0"),
        ("sum(aligned(Hit, deta, dphi, radius=pt).pt)", "is a number"),
        ("sum(massless(Hit)).mass", "no field or property 'eta'"),
        ("sum(massless(Hit, x=deta)).mass", "massless takes pt, eta, phi"),
        ("count(cells(Hit))", "field of the event with a shape"),
        ("sum(Hit.pt, weight=2)", "arguments have no names"),
    ],
)
def test_what_makes_no_sense_is_told(expression, reason):
    with pytest.raises(RecipeError, match=reason):
        Observable("x", expression).check(SCHEMA)


def test_names_that_are_no_words_are_quoted_in_arguments_too():
    events = ak.zip({"Hit": ak.Array([[{"my pt": 2.0, "b-x": 0.5}]])}, depth_limit=1)
    found = Observable("x", "grid(Hit, `b-x`, weight=`my pt`, bins=2, low=0, high=1)")(events)
    assert found.to_list() == [[0.0, 2.0]]
    values = Observable("x", "cells(grid(Hit, `an x`=`b-x`, weight=`my pt`, bins=2, low=0, high=1)).`an x`")
    assert values(events).to_list() == [[0.75]]
