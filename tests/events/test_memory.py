"""Events of what is in memory: tables, columns by name, arrays of any origin."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
import vector
from toys import dimuons

from hepgan import EventGenerator, compare, read_events, write_events
from hepgan.errors import InputError
from hepgan.events import as_events, schema_of, to_batch
from hepgan.observables import Observable
from hepgan.reweighting import Reweighter

N = 600


def columns(n: int = N, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return {"x": x, "y": (x + rng.normal(size=n)).astype(np.float32), "n": rng.poisson(3.0, n)}


class Stream:
    """A table that speaks Arrow's protocol alone."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class Interchange:
    """A table that speaks the protocol of DataFrames alone."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __dataframe__(self, **options: bool) -> object:
        return self._table.__dataframe__(**options)


KINDS = {
    "columns by name": lambda c: c,
    "tensors": lambda c: {n: torch.from_numpy(v) for n, v in c.items()},
    "numbers in lists": lambda c: {n: v.tolist() for n, v in c.items()},
    "arrays of awkward by name": lambda c: {n: ak.Array(v) for n, v in c.items()},
    "columns of pandas by name": lambda c: {n: pd.Series(v) for n, v in c.items()},
    "an array of awkward": lambda c: ak.Array(c),
    "a structured array": lambda c: np.rec.fromarrays(list(c.values()), names=list(c)),
    "a DataFrame": lambda c: pd.DataFrame(c),
    "a part of a DataFrame": lambda c: pd.DataFrame(c, index=np.arange(N)[::-1] * 3),
    "an Arrow table": lambda c: pa.table(c),
    "a batch of Arrow": lambda c: pa.record_batch(c),
    "what speaks Arrow": lambda c: Stream(pa.table(c)),
    "what is a DataFrame": lambda c: Interchange(pa.table(c)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_made_of(kind):
    given = columns()
    events = as_events(KINDS[kind](given))
    assert events.fields == list(given)
    for name, values in given.items():
        assert np.array_equal(events[name].to_numpy(), values)
        if kind != "numbers in lists":
            assert events[name].to_numpy().dtype == values.dtype
    assert schema_of(events).scalar_names == tuple(given)


def test_events_stay_what_they_are():
    events = dimuons(50)
    assert as_events(events) is events
    batch = to_batch(events)
    assert ak.all(as_events(batch).Muon.pt == events.Muon.pt)


def test_records_of_any_origin_are_momenta(tmp_path):
    events = dimuons(200)
    bare = ak.from_iter(ak.to_list(events))
    assert "Momentum" not in str(bare.type)
    for found in (as_events(bare), as_events({n: bare[n] for n in bare.fields})):
        assert isinstance(found.Muon, vector.backends.awkward.MomentumArray4D)
        mass = (found.Muon[:, 0] + found.Muon[:, 1]).mass
        assert np.allclose(mass, (events.Muon[:, 0] + events.Muon[:, 1]).mass, rtol=1e-3)
        assert schema_of(found).collection("Muon").layout == "jagged"
    again = read_events(write_events(tmp_path / "a.root", bare))
    assert np.allclose(ak.flatten(again.Muon.pt), ak.flatten(events.Muon.pt))


def test_lists_under_names_of_branches_are_collections():
    rng = np.random.default_rng(1)
    counts = rng.poisson(2.0, 100)
    lists = {
        f"Jet_{n}": ak.unflatten(rng.uniform(20, 100, counts.sum()), counts) for n in ("pt", "eta", "phi")
    }
    frame = pd.DataFrame({n: v.to_list() for n, v in lists.items()} | {"met": rng.exponential(size=100)})
    for table in (lists | {"met": frame.met}, frame, ak.zip(lists, depth_limit=1), pa.table(frame)):
        events = as_events(table, check=False)
        assert ak.array_equal(events.Jet.pt, lists["Jet_pt"])
        assert schema_of(events).collection("Jet").field_names == ("pt", "eta", "phi")


def test_columns_of_arrays_are_numbered():
    values = np.arange(12.0).reshape(4, 3)
    events = as_events({"score": values, "n": np.arange(4)})
    assert events.fields == ["score_0", "score_1", "score_2", "n"]
    assert events.score_2.tolist() == values[:, 2].tolist()


def test_arrays_that_have_a_shape_of_their_own_are_fields_with_it():
    values = np.arange(24.0).reshape(4, 3, 2)
    table = np.zeros(4, dtype=[("n", "i4"), ("p", "f8", (3,)), ("image", "f4", (3, 2))])
    table["p"], table["image"] = values[:, :, 0], values
    within = as_events(table)
    assert str(within.p.type) == "4 * 3 * float64"
    assert str(within.image.type) == "4 * 3 * 2 * float32"
    for given in (values, torch.tensor(values), values.tolist(), ak.from_numpy(values), ak.Array(values)):
        found = as_events({"image": given}) if not isinstance(given, list) else None
        if found is None:
            with pytest.warns(UserWarning, match="image: its lists of lists are read, and written, as an"):
                found = as_events({"image": given})
        assert str(found.image.type) == "4 * 3 * 2 * float64"
        assert np.array_equal(ak.to_numpy(found.image), values)
    records = ak.zip({"MET": ak.zip({"pt": values[:, 0, 0]}), "image": ak.from_numpy(values)}, depth_limit=1)
    assert schema_of(as_events(records)).scalar("image").shape == (3, 2)


def test_what_is_missing_in_a_table_is_nan():
    frame = pd.DataFrame(
        {
            "x": [1.0, None, 3.0],
            "n": pd.array([1, 2, None], dtype="Int64"),
            "kind": pd.Categorical(["a", "b", "a"]),
            0: [1, 2, 3],
        }
    )
    events = as_events(frame, check=False)
    assert events.fields == ["x", "n", "kind", "x0"]
    assert np.array_equal(events.x, [1.0, np.nan, 3.0], equal_nan=True)
    assert np.array_equal(events.n, [1.0, 2.0, np.nan], equal_nan=True)
    assert events.kind.tolist() == ["a", "b", "a"]
    masked = np.ma.masked_array([1, 2, 3], mask=[False, True, False])
    assert np.array_equal(as_events({"x": masked}, check=False).x, [1.0, np.nan, 3.0], equal_nan=True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (object(), "not object; hepgan.read_events reads events of files"),
        ("a.root", "not str; hepgan.read_events reads"),
        (
            np.zeros((3, 2)),
            r"not an array of shape \(3, 2\); give its columns names, as in \{'x': array\[:, 0\]",
        ),
        ({"x": 3}, "'x' has no value for each event"),
        ({}, "not dict"),
        ({"x": [1.0], "y": [1.0, 2.0]}, "branch y: has 2 values, but x has 1"),
        ({"x": np.zeros((3, 1001))}, r"branch x: has the shape \(3, 1001\); give each column a name"),
        ({"x": [1j]}, "branch x: holds complex128"),
        ({"x": np.array(["2020"], "M8[D]")}, r"branch x: holds datetime64\[D\]"),
        ({"x": [object()]}, "branch x: holds no numbers, texts or lists of numbers"),
        (
            pd.DataFrame({"pt": [1.0, 2.0]}, index=pd.MultiIndex.from_tuples([(0, 0), (0, 1)])),
            "an index of several levels .* a row is a part of an event",
        ),
        (pa.chunked_array([[1, 2]]), "not ChunkedArray"),
        (ak.Array([1, 2]), "not Array"),
        (pd.DataFrame, "not type"),
    ],
)
def test_what_holds_no_events_is_refused_with_a_way(given, words):
    with pytest.raises(InputError, match=words):
        as_events(given)


@pytest.mark.parametrize("kind", ["columns by name", "a DataFrame"])
def test_they_are_learned_compared_reweighted_and_written(kind, tmp_path):
    make = KINDS[kind]
    given = make(columns())
    recipe = {
        "name": "table",
        "model": {"kind": "flow_matching", "network": {"kind": "residual", "width": 8}, "steps": 2},
        "training": {"steps": 5, "batch_size": 64},
    }
    generator = EventGenerator(recipe).fit(given, device="cpu")
    assert np.isfinite(generator.log_prob(given)).sum() > N / 2
    generated = generator.generate(N, seed=1)
    assert generated.fields == ["x", "y", "n"]
    one = compare(given, generated, {"x": "x"}, classifier=False)
    two = compare(given, {"it": generated, "true": make(columns(seed=2))}, {"x": "x"}, classifier=False)
    assert one.labels == ("generated",)
    assert two.labels == ("it", "true")
    weights = Reweighter(members=2, classifier="trees").fit(given, make(columns(seed=3)))(given)
    assert len(weights.weight) == N
    path = write_events(tmp_path / "a.csv", given)
    assert np.allclose(read_events(path).x, as_events(given).x)


def test_an_argument_that_is_no_events_is_named():
    with pytest.raises(InputError, match=r"^events must be events .* a DataFrame"):
        EventGenerator("zmumu").fit(3)
    with pytest.raises(InputError, match=r"^generated must be"):
        compare(columns(), {"a": 3})
    with pytest.raises(InputError, match=r"^reference must be"):
        Reweighter().fit("a.root", columns())


def test_observables_read_what_became_of_a_table():
    events = as_events(pd.DataFrame({"MET_pt": [1.0, 2.0], "MET_phi": [0.1, 0.2]}))
    assert Observable("met", "MET.pt").column(events).tolist() == [1.0, 2.0]
