from __future__ import annotations

from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import uproot
from uproot.interpretation.numerical import AsDouble32, AsDtype, AsFloat16

from hepgan.events import infer_schema, read_events, schema_of, write_events
from hepgan.events.formats.ttree import _describe
from hepgan.events.schema import Branch

SIZE = 500


def described(interpretation, title: str = "") -> list[Branch]:
    return _describe(SimpleNamespace(name="x", interpretation=interpretation, title=title, count_branch=None))


@pytest.mark.parametrize(
    ("interpretation", "branch"),
    [
        (AsDouble32(-1.0, 1.0, 8), Branch("x", "float64")),
        (AsFloat16(-1.0, 1.0, 8), Branch("x", "float32")),
        (AsDouble32(-1.0, 1.0, 8, to_dims=(3,)), Branch("x", "float64", shape=(3,))),
        (uproot.AsJagged(AsDouble32(-1.0, 1.0, 32)), Branch("x", "float64", jagged=True)),
        (AsDtype(np.dtype((">f4", (30,)))), Branch("x", "float32", shape=(30,))),
        (AsDtype(np.dtype((">f4", (1,)))), Branch("x", "float32")),
        (AsDtype(np.dtype(">i2")), Branch("x", "int16")),
    ],
)
def test_numbers_of_all_kinds_are_numbers(interpretation, branch):
    assert described(interpretation) == [branch]


def test_a_leaf_list_is_a_branch_for_each_leaf():
    leaves = AsDtype(np.dtype([("M", ">f4"), ("t", ">f8"), ("hits", ">i4", (2,))]))
    assert described(leaves, "M/F:t/D:hits[2]/I") == [
        Branch("x.M", "float32"),
        Branch("x.t", "float64"),
        Branch("x.hits", "int32", shape=(2,)),
    ]
    assert described(AsDtype(np.dtype((">f4", (25, 25))))) == [Branch("x", "float32", shape=(25, 25))]
    assert described(uproot.AsJagged(AsDtype(np.dtype((">f4", (5,)))))) == []


def test_lists_of_leaves_are_lists():
    leaves = uproot.AsJagged(AsDtype(np.dtype([("pt", ">f4"), ("q", ">i4")])))
    assert [(b.name, b.jagged) for b in described(leaves)] == [("x.pt", True), ("x.q", True)]


def test_what_a_range_is_written_for_is_no_title():
    assert described(AsDouble32(-1.0, 1.0, 8), "x/d[-1,1,8]")[0].title == ""
    assert described(AsDouble32(-1.0, 1.0, 8), "cosine")[0].title == "cosine"


@pytest.mark.parametrize("format", ["ttree", "rntuple", "parquet"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "bool"])
def test_arrays_of_one_size_come_back_as_they_were(tmp_path, format, dtype):
    rng = np.random.default_rng(1)
    values = (rng.normal(size=(SIZE, 6)) * 10).astype(dtype)
    with uproot.recreate(tmp_path / "in.root") as file:
        file.mktree("t", {"hits": np.dtype((dtype, (6,))), "x": "f4"})
        file["t"].extend({"hits": values, "x": rng.normal(size=SIZE).astype("f4")})
    events = read_events(tmp_path / "in.root")
    assert schema_of(events).scalar("hits").shape == (6,)
    assert np.array_equal(ak.to_numpy(events.hits), values)
    path = tmp_path / ("out.parquet" if format == "parquet" else "out.root")
    write_events(path, events, format=format)
    found = ak.from_parquet(path) if format == "parquet" else uproot.open(path)["t"].arrays()
    assert str(ak.type(found.hits).content).startswith("6 * ")
    assert np.array_equal(ak.to_numpy(found.hits), values)
    assert schema_of(read_events(path)) == schema_of(events)


def test_arrays_of_components_are_objects_with_momenta(tmp_path):
    rng = np.random.default_rng(1)
    p = rng.normal(size=(3, SIZE, 4)).astype("f4")
    data = dict(zip(("px", "py", "pz"), p, strict=True))
    data["E"] = np.sqrt(np.square(p, dtype="f8").sum(0) + 1).astype("f4")
    with uproot.recreate(tmp_path / "in.root") as file:
        file.mktree("t", {k: np.dtype(("f4", (4,))) for k in data}).extend(data)
    particles = infer_schema(tmp_path / "in.root").collection("Particle")
    assert (particles.layout, particles.min_count, particles.max_count) == ("padded", 4, 4)
    assert particles.coordinates == ("px", "py", "pz", "energy")
    events = read_events(tmp_path / "in.root")
    assert np.allclose(events.Particle.mass, 1, atol=0.05)
