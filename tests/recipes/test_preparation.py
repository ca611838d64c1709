"""What is made of events that enter: aligned objects, grids and numbers, in memory and from files."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

import hepgan
from hepgan.errors import InputError, RecipeError
from hepgan.events import read_events, schema_of, to_batch, write_events
from hepgan.observables import Observable
from hepgan.observables.preparation import Preparation
from hepgan.recipes import Derived, load_recipe
from hepgan.reweighting import reweight_file
from hepgan.validation import compare_files

ALIGNED = "aligned(Hit, eta, phi, radius=0.4)"
IMAGE = "grid(Aligned, phi, eta, bins=6, low=-0.6, high=0.6)"
EXPRESSIONS = {"Aligned": ALIGNED, "Image": IMAGE, "filled": "count(cells(Image))"}
RECIPE = {
    "name": "aligned",
    "events": {
        "select": ["Aligned", "label"],
        "prepared": {"Aligned": ALIGNED},
        "derived": {"Image": IMAGE},
    },
    "conditions": ["label"],
    "model": {"kind": "flow", "blocks": 1, "network": {"kind": "mlp", "widths": [8]}},
    "training": {"steps": 2, "batch_size": 32},
    "observables": {"pt": "sum(Image)", "filled": "count(cells(Image))"},
}


def hits(size=200, seed=0, fixed=None):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 8, size) if fixed is None else np.full(size, fixed)
    total = counts.sum()
    fields = {
        "pt": rng.exponential(10, total) + 0.5,
        "eta": rng.normal(0.1, 0.3, total),
        "phi": rng.normal(-0.2, 0.3, total),
    }
    fields = {n: v.astype(np.float32) for n, v in fields.items()}
    columns = {"Hit": ak.unflatten(ak.zip(fields), counts), "label": rng.integers(0, 2, size, dtype=np.int32)}
    return ak.zip(columns, depth_limit=1)


def test_a_step_on_the_way_to_what_is_there_already_is_not_needed():
    preparation = Preparation(EXPRESSIONS)
    made = preparation(hits())
    kept = ak.Array(made[["Image", "filled", "label"]].layout)
    again = Preparation(EXPRESSIONS)(kept)
    assert {*again.fields} == {"Image", "filled", "label"}
    assert ak.all(again.filled == made.filled)
    with pytest.raises(InputError, match="Aligned is prepared from Hit, and the events have neither"):
        Preparation(EXPRESSIONS)(ak.Array(made[["filled", "label"]].layout))


def test_what_is_prepared_is_what_the_expressions_give_in_the_precision_of_the_sources():
    events = hits()
    preparation = Preparation(EXPRESSIONS)
    made = preparation(events)
    assert made.Image.type.content.content.content.primitive == "float32"
    for field in ("pt", "eta", "phi"):
        expected = Observable("x", f"{ALIGNED}.{field}")(events)
        assert ak.all(made.Aligned[field] == ak.values_astype(expected, np.float32))
    image = ak.to_numpy(made.Image)
    assert image.shape == (200, 6, 6)
    np.testing.assert_allclose(image.reshape(200, -1), ak.to_numpy(Observable("x", IMAGE)(made)), rtol=1e-6)
    np.testing.assert_array_equal(ak.to_numpy(made.filled), (image != 0).sum((1, 2)))
    field = schema_of(made).scalar("Image")
    assert field.shape == (6, 6)
    assert [(a.name, a.low, a.high) for a in field.axes] == [("phi", -0.6, 0.6), ("eta", -0.6, 0.6)]
    assert to_batch(made)["Image"].shape == (200, 6, 6)
    assert ak.all(made.label == events.label)


def test_what_falls_outside_of_a_grid_is_told():
    events = hits()
    preparation = Preparation(EXPRESSIONS)
    made = preparation(events)
    far = (abs(made.Aligned.eta) >= 0.6) | (abs(made.Aligned.phi) >= 0.6)
    lost = ak.sum(made.Aligned.pt[far]) / ak.sum(made.Aligned.pt)
    line = preparation.told[1]
    assert line.startswith(f"Image = {IMAGE}; outside: {ak.sum(far):,} of {ak.count(far):,} objects (")
    assert f"{100 * lost:.3g}% of the weight" in line


def test_events_that_lack_the_sources_are_taken_as_they_are():
    made = Preparation(EXPRESSIONS)(hits())
    generated = made[["Aligned", "Image", "filled", "label"]]
    again = Preparation(EXPRESSIONS)(ak.Array(ak.to_layout(generated)))
    assert ak.all(again.Image == made.Image)
    with pytest.raises(InputError, match="Aligned is prepared from Hit, and the events have neither"):
        Preparation(EXPRESSIONS)(made[["label"]])


def test_files_give_what_is_prepared_of_what_they_have(tmp_path):
    events = hits()
    write_events(tmp_path / "hits.root", events)
    made = Preparation(EXPRESSIONS)(events)
    found = Preparation(EXPRESSIONS).read(tmp_path / "hits.root", branches=["Image", "label"])
    assert {*found.fields} == {"Image", "label"}
    assert [a.name for a in schema_of(found).scalar("Image").axes] == ["phi", "eta"]
    assert ak.all(found.Image == made.Image)
    write_events(tmp_path / "made.root", made[["Aligned", "Image", "filled", "label"]])
    taken = Preparation(EXPRESSIONS).read(tmp_path / "made.root", branches=["Image", "label"])
    assert {*taken.fields} == {"Image", "label"}
    # What is there already has the axes of its expression, too, which a file does not keep.
    write_events(tmp_path / "image.root", made[["Image", "label"]])
    image = Preparation({"Image": IMAGE}).read(tmp_path / "image.root")
    assert schema_of(image).scalar("Image").axes == schema_of(made).scalar("Image").axes
    plain = read_events(tmp_path / "image.root")
    assert schema_of(Preparation({"Image": IMAGE})(plain)).scalar("Image").axes
    assert ak.all(taken.Image == made.Image)


def test_a_model_learns_what_is_prepared_and_is_judged_by_the_file_itself(tmp_path):
    events = hits(400, fixed=3)
    write_events(tmp_path / "hits.root", events)
    recipe = load_recipe(RECIPE)
    preparation = recipe.events.preparation
    assert [*preparation.expressions] == ["Aligned", "Image"]
    train = preparation.read(tmp_path / "hits.root", branches=recipe.branches)
    generator = hepgan.EventGenerator(recipe).fit(train, device="cpu")
    assert len(generator.summary["prepared"]) >= 2
    other = hepgan.EventGenerator(recipe).fit(events, device="cpu")
    assert other.summary["data_hash"] == generator.summary["data_hash"]
    generator.save(tmp_path / "model.safetensors")
    generated = hepgan.EventGenerator.load(tmp_path / "model.safetensors").generate(100, seed=1)
    assert {*generated.fields} == {"Aligned", "Image", "label"}
    expected = ak.to_numpy(Observable("x", IMAGE)(generated)).reshape(100, 6, 6)
    np.testing.assert_allclose(ak.to_numpy(generated.Image), expected, rtol=1e-6)
    write_events(tmp_path / "generated.root", generated)
    found = compare_files(
        tmp_path / "hits.root",
        tmp_path / "generated.root",
        {"pt": "sum(Image)", "lead": "Aligned[0].pt"},
        prepared=preparation.expressions,
        features=generator,
        classifier=False,
    )
    in_memory = hepgan.compare(
        events,
        generated,
        {"pt": "sum(Image)", "lead": "Aligned[0].pt"},
        prepared=preparation.expressions,
        classifier=False,
    )
    for name in ("pt", "lead"):
        first, second = (c.reference[name] for c in (found, in_memory))
        assert first == second
    density = generator.log_prob(events[:20])
    assert np.isfinite(density).any()
    np.testing.assert_allclose(density, generator.log_prob(train[:20]))


def test_a_derived_grid_has_to_have_the_shape_and_the_contents_of_the_data():
    made = Preparation(EXPRESSIONS)(hits())
    schema = schema_of(made)
    derived = Derived(schema, {"Image": IMAGE})
    derived.check(to_batch(made, schema))
    with pytest.raises(RecipeError, match="a grid of 5 x 5; Image is one of 6 x 6"):
        Derived(schema, {"Image": IMAGE.replace("bins=6", "bins=5")})
    with pytest.raises(RecipeError, match="no grid"):
        Derived(schema, {"Image": "sum(Aligned.pt)"})
    shifted = Derived(schema, {"Image": IMAGE.replace("low=-0.6", "low=-0.5")})
    with pytest.raises(RecipeError, match="cells that differ"):
        shifted.check(to_batch(made, schema))


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("Hit.pt", "a number of each object"),
        ("sum(Hit)", "momenta without a name"),
        ("2 + 2", "does not depend on the events"),
        ("sum(Hit.et4)", "no field or property"),
    ],
)
def test_what_cannot_be_prepared_is_told(expression, reason):
    with pytest.raises(RecipeError, match=f"events.prepared: X: .*{reason}"):
        Preparation({"X": expression})(hits())


def test_recipes_with_wrong_preparations_are_refused():
    with pytest.raises(RecipeError, match="prepared"):
        load_recipe({"name": "x", "model": {"kind": "flow"}, "events": {"prepared": {"A": "grid(("}}})


def test_generated_events_are_weighted_by_true_events_as_the_file_has_them(tmp_path):
    events = hits(400, fixed=3)
    made = Preparation(EXPRESSIONS)(hits(400, seed=1, fixed=3))[["Aligned", "filled"]]
    write_events(tmp_path / "true.root", events)
    write_events(tmp_path / "generated.root", made)
    options = {"members": 2, "classifier": "trees", "calibration": None}
    found = reweight_file(
        tmp_path / "true.root",
        tmp_path / "generated.root",
        tmp_path / "weighted.root",
        {"lead": Observable("lead", "Aligned[0].pt")},
        prepared=EXPRESSIONS,
        **options,
    )
    assert found.written == 400
    assert "weight" in read_events(tmp_path / "weighted.root").fields
