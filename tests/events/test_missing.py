import json
import math

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import uproot

from hepgan import InputError
from hepgan.events import (
    EventSchema,
    Field,
    Kind,
    infer_schema,
    iterate_events,
    read_events,
    schema_of,
    to_awkward,
    to_batch,
    with_kinds,
    write_events,
)
from hepgan.events.inference import kind_of
from hepgan.features import FeaturesConfig, Representation
from hepgan.observables import Observable, default_observables
from hepgan.recipes.drafting.draft import draft_recipe

RNG = np.random.default_rng(5)
N = 2000


def found(values, dtype="float32", **options):
    field = Field(name="number", branches=("number",), dtype=dtype)
    return kind_of(field, np.asarray(values, dtype=dtype), **options)


def with_some(values, placeholder, share=0.1):
    return np.where(RNG.random(len(values)) < share, placeholder, values)


@pytest.fixture
def nulls(tmp_path):
    """A Parquet file as pandas and Arrow make them: numbers of all types, texts and lists with null."""

    def some(values):
        return [None if RNG.random() < 0.1 else v for v in values.tolist()]

    number = RNG.normal(size=N)
    number[:20] = np.nan
    lists = [some(RNG.normal(size=k)) for k in RNG.integers(0, 4, N)]
    table = pa.table(
        {
            "x": RNG.normal(size=N),
            "number": pa.array(some(number), pa.float32()),
            "whole": pa.array(some(RNG.integers(0, 50, N)), pa.int32()),
            "flag": some(RNG.random(N) < 0.3),
            "text": some(RNG.choice(["a", "bb"], N)),
            "Jet_q": pa.array(lists, pa.list_(pa.float32())),
        }
    )
    path = tmp_path / "nulls.parquet"
    pq.write_table(table, path)
    return path


@pytest.fixture
def tree(tmp_path):
    """A ROOT file with NaN, and placeholders, in the same events or in others."""
    lacking = RNG.random(N) < 0.2
    counts = RNG.integers(0, 4, N)
    good = RNG.random(counts.sum()) < 0.7
    jagged = {
        "Jet_pt": RNG.exponential(30, counts.sum()) + 20,
        "Jet_phi": RNG.uniform(-3, 3, counts.sum()),
        "Jet_eta": RNG.normal(size=counts.sum()),
        "Jet_mass": RNG.exponential(5, counts.sum()),
        "Jet_btag": np.where(good, RNG.random(counts.sum()), -1),
        "Jet_area": np.where(good, RNG.normal(0.5, 0.01, counts.sum()), -9),
    }
    data = {
        "x": RNG.normal(size=N),
        "one": np.where(lacking, np.nan, RNG.normal(size=N)),
        "two": np.where(lacking, -999.0, RNG.normal(size=N)),
        "number": np.where(lacking, -9, RNG.integers(0, 20, N)).astype("int32"),
        "other": with_some(RNG.normal(size=N), np.nan),
    }
    path = tmp_path / "missing.root"
    lists = {n: ak.unflatten(v.astype("float32"), counts) for n, v in jagged.items()}
    with uproot.recreate(path) as file:
        types = {n: v.dtype for n, v in data.items()}
        file.mktree("t", types | {"Jet": ak.zip({n[4:]: v for n, v in lists.items()}).type})
        file["t"].extend(data | {"Jet": ak.zip({n[4:]: v for n, v in lists.items()})})
    return path


# ---------------------------------------------------------------------------- what is found


@pytest.mark.parametrize("share", [0.1, 0.005])
@pytest.mark.parametrize(
    ("values", "placeholder"),
    [
        (RNG.random(N), -1),
        (RNG.normal(size=N), -999),
        (RNG.exponential(30, N) + 25, -99),
        (RNG.random(N), 999),
        (RNG.uniform(-1, 1, N), -10),
        (np.exp(RNG.normal(-40, 8, N)), -1),
    ],
)
def test_a_whole_number_far_from_all_others_is_what_is_missing(values, placeholder, share):
    field = found(with_some(values, placeholder, share), "float64")
    assert field.missing == placeholder
    assert placeholder not in field.atoms
    assert min(values) <= field.low <= field.high <= max(values)


@pytest.mark.parametrize(
    ("values", "spike"),
    [
        (RNG.normal(size=N), -1),
        (RNG.uniform(-1, 1, N), -1),
        (RNG.exponential(size=N), 0),
        (np.clip(RNG.exponential(size=N), 0, 5), 5),
        (RNG.standard_cauchy(N), -999),
        (RNG.integers(0, 20, N), -1),
    ],
)
def test_a_spike_among_others_is_none(values, spike):
    assert found(with_some(values, spike)).missing is None


def test_true_and_false_are_never_missing_in_files_without_null(tmp_path):
    with uproot.recreate(tmp_path / "flags.root") as file:
        file.mktree("t", {"flag": "bool", "x": "float64"})
        file["t"].extend({"flag": RNG.random(N) < 0.3, "x": RNG.normal(size=N)})
    assert all(f.missing is None for f in schema_of(read_events(tmp_path / "flags.root")).scalars)


def test_drafts_say_what_is_missing(tree):
    text = draft_recipe(f"{tree}:t", name="missing")
    flat = " ".join(line.strip(" #") for line in text.splitlines())
    assert "one: continuous; missing (NaN) in" in flat
    assert "two: continuous; missing (-999) in" in flat
    assert "number: whole numbers, 0 to 19; missing (-9) in" in flat
    assert 'two_missing: {expression: "missing(two)"' in text


def test_whole_numbers_have_placeholders_too_but_not_minus_one():
    assert found(with_some(RNG.integers(0, 20, N), -9), "int32").missing == -9
    assert found(with_some(RNG.integers(0, 200, N), -99), "int16").missing == -99
    assert found(with_some(RNG.integers(0, 20, N), -1), "int32").missing is None
    assert found(with_some(RNG.choice([0, 1, 10], N), -9), "int32").missing == -9
    assert found(RNG.choice([-13, -11, 11, 13], N), "int32").missing is None
    assert found(RNG.integers(0, 256, N), "uint8").missing is None


def test_nan_is_always_missing_but_not_in_momenta_and_weights():
    values = with_some(RNG.normal(size=N), np.nan, 0.001)
    values[0] = np.nan
    assert math.isnan(found(values).missing)
    assert found(values, missable=False).missing is None
    assert found(values, weight=True).missing is None


def test_true_and_false_are_not_missing_in_a_tree(tmp_path):
    data = {"tight": RNG.random(500) < 0.5, "x": RNG.normal(size=500)}
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("t", {n: v.dtype for n, v in data.items()}).extend(data)
    tight = infer_schema(tmp_path / "a.root").scalar("tight")
    assert (tight.values, tight.missing, tight.nulls) == ((False, True), None, False)


def test_a_field_that_is_missing_is_equal_to_itself_from_json():
    field = found(with_some(RNG.normal(size=N), np.nan))
    text = json.dumps(field.model_dump(mode="json"), allow_nan=False)
    assert (
        Field.model_validate_json(text)
        == field
        == found(np.nan * np.ones(3)).model_copy(update={"low": field.low, "high": field.high})
    )


# ---------------------------------------------------------------------------- files


def test_null_of_every_type_comes_back_as_null_and_nan_as_nan(nulls, tmp_path):
    events = read_events(nulls)
    kinds = {f.name: (f.dtype, f.kind, f.nulls) for f in schema_of(events).scalars}
    assert kinds["whole"] == ("int32", Kind.INTEGER, True)
    assert kinds["flag"] == ("bool", Kind.CATEGORY, True)
    assert kinds["text"] == ("string", Kind.CATEGORY, True)
    write_events(tmp_path / "copy.parquet", events)
    before, after = pq.read_table(nulls), pq.read_table(tmp_path / "copy.parquet")
    for name in before.column_names:
        assert str(before[name].to_pylist()) == str(after[name].to_pylist()), name
    assert after.schema.field("whole").type == pa.int32()
    assert after.schema.field("flag").type == pa.bool_()
    # Tensors and back: what is missing is null then.
    write_events(tmp_path / "batch.parquet", to_awkward(to_batch(events)))
    batch = pq.read_table(tmp_path / "batch.parquet")
    assert batch["flag"].to_pylist() == before["flag"].to_pylist()
    assert batch["number"].null_count > before["number"].null_count


def test_trees_have_nan_for_null(nulls, tmp_path):
    events = read_events(nulls)
    write_events(tmp_path / "copy.root", events)
    tree = uproot.open(tmp_path / "copy.root")["Events"].arrays(library="np")
    whole = pq.read_table(nulls)["whole"].to_pylist()
    assert tree["whole"].dtype == np.float64
    assert [None if np.isnan(v) else int(v) for v in tree["whole"]] == whole
    assert set(tree["text"]) == {"a", "bb", "<null>"}


def test_placeholders_are_written_as_they_were(tree, tmp_path):
    events = read_events(tree)
    write_events(tmp_path / "copy.root", events)
    first, second = (uproot.open(p)["t"].arrays(library="np") for p in (tree, tmp_path / "copy.root"))
    for name in ("one", "two", "number", "other"):
        assert first[name].tobytes() == second[name].tobytes()


def test_chunks_and_copies_know_what_is_missing(tree):
    whole = infer_schema(tree)
    for chunk in iterate_events(tree, step=300):
        assert schema_of(chunk).scalar("two").missing == whole.scalar("two").missing == -999
    events = read_events(tree)
    changed = ak.with_field(events, ak.where(events.x > 0, np.nan, events.x), "x")
    assert math.isnan(schema_of(changed).scalar("x").missing)


def test_nan_where_a_schema_has_none_is_an_error_with_its_entry(tree):
    schema = with_kinds(infer_schema(tree), {"other": {"missing": None}})
    entry = int(np.isnan(uproot.open(tree)["t"]["other"].array(library="np")).argmax())
    with pytest.raises(InputError, match="not a number") as caught:
        read_events(tree, schema=schema)
    assert (caught.value.branch, caught.value.entry) == ("other", entry)


def test_infinity_is_an_error_that_says_so(tmp_path):
    with uproot.recreate(tmp_path / "inf.root") as file:
        file.mktree("t", {"x": "float64"})
        file["t"].extend({"x": np.array([1.0, 2.0, np.nan, -np.inf, 3.0])})
    with pytest.raises(InputError, match="infinite") as caught:
        read_events(tmp_path / "inf.root")
    assert (caught.value.branch, caught.value.entry) == ("x", 3)


# ---------------------------------------------------------------------------- features


def fitted(path):
    events = to_batch(read_events(path))
    return events, Representation(FeaturesConfig(), events.schema).fit(events)


def test_what_is_missing_together_is_one_variable(tree):
    events, representation = fitted(tree)
    names = [v.name for v in representation.variables]
    assert [n for n in names if n.endswith("missing")] == [
        *(f"Jet[{i}].btag:missing" for i in range(3)),
        "one:missing",
        "other:missing",
    ]
    features = representation.encode(events)
    # The continuous part never sees NaN, -999 or -1.
    assert bool(torch.isfinite(features.x).all())
    assert float(features.x.abs().max()) < 6
    # Any classes that a model may draw make events in which all or none of them are missing.
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([v.size for v in representation.variables])
    drawn = (torch.rand(features.discrete.shape, generator=generator) * sizes).long()
    drawn = torch.where(features.discrete < 0, -1, drawn)
    count = names.index("nJet")
    drawn[:, count] = features.discrete[:, count]
    made = representation.tensors(features.x, drawn, features.condition, None, representation.azimuth(events))
    one = torch.isnan(made["one"])
    assert 0 < int(one.sum()) < N
    assert torch.equal(one, made["two"] == -999)
    assert torch.equal(one, made["number"] == -9)
    assert not torch.equal(one, torch.isnan(made["other"]))
    there = made["Jet"]
    assert torch.equal((made["Jet.btag"] == -1) & there, (made["Jet.area"] == -9) & there)


def test_events_come_back_and_models_keep_what_is_missing(tree):
    events, representation = fitted(tree)
    state = json.loads(json.dumps(representation.state(), allow_nan=False))
    again = Representation.from_state(state)
    again.load_state_dict(representation.state_dict())
    back = again.decode(again.encode(events), again.azimuth(events))
    for name, values in events.scalars.items():
        torch.testing.assert_close(back.scalars[name], values, equal_nan=True, rtol=1e-6, atol=1e-6)
    assert bool(again.valid(events).all())


def test_bounds_are_not_for_what_is_missing(tree):
    events = to_batch(read_events(tree))
    config = FeaturesConfig(bounds={"two": (-10, 10), "Jet.btag": (0, 1)})
    representation = Representation(config, events.schema).fit(events)
    assert bool(representation.valid(events).all())


def test_numbers_that_are_missing_apart_from_their_like_are_refused(tree):
    events, representation = fitted(tree)
    apart = events.scalars["two"].clone()
    apart[3] = -999 if apart[3] != -999 else 0.5
    with pytest.raises(InputError, match="always missing in training") as caught:
        representation.encode(
            type(events)(events.schema, events.collections, {**events.scalars, "two": apart})
        )
    assert caught.value.entry == 3


# ---------------------------------------------------------------------------- observables


@pytest.mark.parametrize("of", [lambda e: e, to_batch])
def test_observables_lack_what_is_missing(tree, of):
    events = read_events(tree)
    raw = uproot.open(tree)["t"].arrays(["two", "number", "Jet_btag"])
    good = ak.to_numpy(raw.two != -999)
    seen = of(events)
    flat = Observable("o", "two").flat(seen)
    np.testing.assert_array_equal(np.asarray(flat.values), ak.to_numpy(raw.two)[good])
    assert np.asarray(Observable("o", "missing(number)").flat(seen).values).sum() == (~good).sum()
    btag = raw.Jet_btag[raw.Jet_btag != -1]
    total = np.asarray(Observable("o", "sum(Jet.btag)").flat(seen).values)
    np.testing.assert_allclose(total, ak.to_numpy(ak.sum(btag, axis=1)), rtol=1e-5)
    missing = np.asarray(Observable("o", "missing(Jet.btag)").flat(seen).values)
    np.testing.assert_array_equal(missing, ak.to_numpy(ak.flatten(raw.Jet_btag == -1)))
    some = np.asarray(Observable("o", "max(Jet.btag)").flat(seen).index)
    np.testing.assert_array_equal(some, np.flatnonzero(ak.num(btag) > 0))


def test_the_share_of_what_is_missing_is_an_observable(tree):
    schema: EventSchema = infer_schema(tree)
    found = default_observables(schema)
    assert {"one_missing", "two_missing", "number_missing", "Jet_btag_missing"} <= found.keys()
    assert "x_missing" not in found
