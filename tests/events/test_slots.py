from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import uproot
from pydantic import ValidationError

from hepgan.coffea import to_nanoevents
from hepgan.errors import InputError, OutputError
from hepgan.events import (
    Collection,
    EventSchema,
    Field,
    as_events,
    infer_schema,
    read_events,
    schema_of,
    select,
    to_awkward,
    to_batch,
    write_events,
)
from hepgan.validation import compare_files

SIZE = 2_000


def momenta(rng: np.random.Generator, places: int) -> dict[str, np.ndarray]:
    """Numbers (N, K) of objects that descend in pT."""
    pt = -np.sort(-(20 + rng.exponential(40, (SIZE, places))), axis=1)
    phi = rng.uniform(-math.pi, math.pi, (SIZE, places))
    return {"pt": pt, "eta": rng.normal(0, 1.8, (SIZE, places)), "phi": phi, "mass": 0.15 * pt}


def numbered(values: dict[str, np.ndarray], there: np.ndarray, fill: float, name: str = "jet") -> dict:
    return {
        f"{name}{i + 1}_{n}": np.where(there[:, i], v[:, i], fill).astype("f4")
        for n, v in values.items()
        for i in range(there.shape[1])
    }


def arrays(values: dict[str, np.ndarray], there: np.ndarray, fill: float, name: str = "part") -> dict:
    return {f"{name}_{n}": np.where(there, v, fill).astype("f4") for n, v in values.items()}


def tree(path, data: dict[str, np.ndarray]):
    with uproot.recreate(path) as file:
        kinds = {k: np.dtype((v.dtype, v.shape[1:])) if v.ndim > 1 else v.dtype for k, v in data.items()}
        file.mktree("tree", kinds).extend(data)
    return path


def leading(rng: np.random.Generator, places: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of objects (N,), and where there are some (N, K)."""
    number = rng.poisson(1.3, SIZE).clip(0, places).astype("i4")
    return number, np.arange(places) < number[:, None]


def sentinels(rng: np.random.Generator, fill: float) -> dict[str, np.ndarray]:
    number, there = leading(rng, 3)
    return {"n_jets": number, "met": rng.rayleigh(30, SIZE).astype("f4")} | numbered(
        momenta(rng, 3), there, fill
    )


def counts(objects: ak.Array) -> np.ndarray:
    return ak.to_numpy(ak.num(objects))


def same(first, second, name: str = "tree") -> bool:
    """Whether two files hold the same branches to the last bit."""
    a, b = (uproot.open(p)[name].arrays(library="np") for p in (first, second))
    return sorted(a) == sorted(b) and all(
        a[k].dtype == b[k].dtype and a[k].tobytes() == b[k].tobytes() for k in a
    )


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


@pytest.mark.parametrize("fill", [-999.0, -99.0, math.nan, 0.0])
def test_numbered_objects_that_lack_are_lists_and_come_back_as_they_were(tmp_path, rng, fill):
    data = sentinels(rng, fill)
    path = tree(tmp_path / "in.root", data)
    events = read_events(path)
    jets = schema_of(events).collection("Jet")
    assert (jets.layout, jets.min_count, jets.max_count, jets.places) == ("indexed", 0, 3, 3)
    assert jets.counter == "n_jets"
    assert all(f.fill == fill or math.isnan(fill) for f in jets.fields)
    assert "n_jets" not in events.fields
    assert np.array_equal(counts(events.Jet), data["n_jets"])
    assert ak.min(events.Jet.pt) >= 20
    write_events(tmp_path / "out.root", events)
    assert same(path, tmp_path / "out.root")
    again = read_events(tmp_path / "out.root")
    assert schema_of(again) == schema_of(events)
    assert ak.array_equal(again.Jet, events.Jet)


@pytest.mark.parametrize("format", ["ttree", "rntuple", "parquet"])
@pytest.mark.parametrize("mark", ["mask", "padding", "counter", "zeros"])
def test_arrays_of_one_size_hold_as_many_objects_as_are_marked(tmp_path, rng, format, mark):
    number, there = leading(rng, 8)
    values = {n: v for n, v in momenta(rng, 8).items() if n != "mass"}
    data = {"jet_pt": rng.normal(1000, 100, SIZE).astype("f4")} | arrays(values, there, 0)
    data |= {
        "mask": {"part_mask": there},
        "padding": {"part_padding": (~there).astype("f4")},
        "counter": {"nPart": number},
        "zeros": {},
    }[mark]
    path = tree(tmp_path / "in.root", data)
    events = read_events(path)
    part = schema_of(events).collection("part")
    assert (part.layout, part.size, part.max_count) == ("padded", 8, int(number.max()))
    assert (part.mask is not None) == (mark in ("mask", "padding"))
    assert part.counter == ("nPart" if mark == "counter" else None)
    assert part.field_names == ("pt", "eta", "phi")
    assert np.array_equal(counts(events.part), number)
    copy = tmp_path / ("out.parquet" if format == "parquet" else "out.root")
    write_events(copy, events, format=format)
    assert schema_of(read_events(copy)) == schema_of(events)
    assert ak.array_equal(read_events(copy).part, events.part)
    if format == "ttree":
        assert same(path, copy)


def test_what_is_beyond_the_number_of_objects_does_not_matter(tmp_path, rng):
    number, there = leading(rng, 5)
    data = {"nTrk": number} | arrays(momenta(rng, 5), np.ones_like(there), 0, "trk")
    events = read_events(tree(tmp_path / "in.root", data))
    assert schema_of(events).collection("trk").counter == "nTrk"
    write_events(tmp_path / "out.root", events)
    written = uproot.open(tmp_path / "out.root")["tree"].arrays(library="np")
    assert np.array_equal(written["trk_pt"], np.where(there, data["trk_pt"], 0))
    assert np.array_equal(written["nTrk"], number)


def test_objects_with_roles_are_collections_of_their_own(tmp_path, rng):
    there = rng.random((SIZE, 3)) < [0.7, 0.8, 2]
    data = numbered(momenta(rng, 3), there, -99, "lep") | {"x": rng.normal(size=SIZE)}
    path = tree(tmp_path / "in.root", data)
    events = read_events(path)
    schema = schema_of(events)
    assert schema.collection_names == ("Lepton1", "Lepton2", "Lepton3")
    assert [schema.collection(n).layout for n in schema.collection_names] == ["indexed", "indexed", "single"]
    assert np.array_equal(counts(events.Lepton1), there[:, 0])
    assert np.array_equal(counts(events.Lepton2), there[:, 1])
    write_events(tmp_path / "out.root", events)
    assert same(path, tmp_path / "out.root")


@pytest.mark.parametrize("flag", [True, False])
def test_a_single_object_may_lack(tmp_path, rng, flag):
    there = rng.random(SIZE) < 0.6
    values = {n: v[:, 0] for n, v in momenta(rng, 1).items()}
    data = {f"Z_{n}": np.where(there, v, -999).astype("f4") for n, v in values.items()}
    data |= {"MET_pt": rng.rayleigh(30, SIZE), "MET_phi": rng.uniform(-3, 3, SIZE)}
    data |= {"hasZ": there} if flag else {}
    path = tree(tmp_path / "in.root", data)
    events = read_events(path)
    z = schema_of(events).collection("Z")
    assert (z.layout, z.min_count, z.max_count) == ("indexed", 0, 1)
    assert z.counter == ("hasZ" if flag else None)
    assert schema_of(events).collection("MET").layout == "single"
    write_events(tmp_path / "out.root", events)
    assert same(path, tmp_path / "out.root")


def test_a_number_of_more_objects_than_places_is_no_counter(tmp_path, rng):
    number = rng.poisson(2.5, SIZE).astype("i4")
    there = np.arange(3) < number[:, None]
    events = read_events(
        tree(tmp_path / "in.root", {"n_jets": number} | numbered(momenta(rng, 3), there, -9))
    )
    assert schema_of(events).collection("Jet").counter is None
    assert np.array_equal(ak.to_numpy(events.n_jets), number)
    assert np.array_equal(counts(events.Jet), number.clip(0, 3))


def test_what_only_looks_like_a_fill_is_none(tmp_path, rng):
    """Atoms of one number, a missing momentum of zero, and objects that are all there stay what they are."""
    values = momenta(rng, 2)
    values["iso"] = np.where(rng.random((SIZE, 2)) < 0.3, 0.0, rng.exponential(0.1, (SIZE, 2)))
    values["tag"] = np.where(rng.random((SIZE, 2)) < 0.1, -999.0, rng.random((SIZE, 2)))
    none = rng.random(SIZE) < 0.05
    data = numbered(values, np.ones((SIZE, 2), bool), 0)
    data |= {
        "MET_pt": np.where(none, 0, rng.rayleigh(30, SIZE)),
        "MET_phi": np.where(none, 0, values["phi"][:, 0]),
    }
    schema = infer_schema(tree(tmp_path / "in.root", data))
    jets = schema.collection("Jet")
    assert (jets.layout, jets.min_count, jets.marked) == ("indexed", 2, False)
    assert schema.collection("MET").layout == "single"


def test_one_event_without_an_object_is_enough(tmp_path, rng):
    there = np.ones((SIZE, 2), bool)
    there[77, 1] = False
    events = read_events(tree(tmp_path / "in.root", numbered(momenta(rng, 2), there, -999)))
    assert schema_of(events).collection("Jet").min_count == 1
    assert counts(events.Jet)[77] == 1


def test_a_hole_is_a_fault_with_its_entry_and_can_be_dropped(tmp_path, rng):
    path = tree(tmp_path / "in.root", sentinels(rng, -999))
    schema = infer_schema(path)
    data = sentinels(rng, -999)
    at = int((data["n_jets"] == 2).argmax())
    for name in ("pt", "eta", "phi", "mass"):
        data[f"jet1_{name}"][at] = -999
    bad = tree(tmp_path / "bad.root", data)
    with pytest.raises(InputError, match=rf"entry {at}"):
        read_events(bad, schema=schema)
    with pytest.warns(UserWarning, match="dropped 1 of 2000 events"):
        kept = read_events(bad, schema=schema, on_bad="drop")
    assert len(kept) == SIZE - 1


def test_a_counter_that_contradicts_its_objects_is_a_fault(tmp_path, rng):
    path = tree(tmp_path / "in.root", sentinels(rng, -999))
    data = sentinels(rng, -999)
    data["n_jets"][5] += 1
    with pytest.raises(InputError, match="n_jets, entry 5: "):
        read_events(tree(tmp_path / "bad.root", data), schema=infer_schema(path))


def test_selected_fields_still_tell_which_objects_are_there(tmp_path, rng):
    number, there = leading(rng, 3)
    values = momenta(rng, 3) | {"tag": rng.random((SIZE, 3)) < 0.5}
    data = numbered(values, there, -999)
    data |= {k: np.where(v > 0, 1, 0).astype("i4") for k, v in data.items() if k.endswith("tag")}
    path = tree(tmp_path / "in.root", data)
    part = select(infer_schema(path), ["Jet.tag"]).collection("Jet")
    assert part.field_names == ("pt", "tag")
    events = read_events(path, branches=["Jet.tag"])
    assert np.array_equal(counts(events.Jet), number)
    assert select(infer_schema(path), ["Jet.eta"]).collection("Jet").field_names == ("eta",)


def test_tensors_hold_the_objects_that_are_there(tmp_path, rng):
    data = sentinels(rng, -999)
    events = read_events(tree(tmp_path / "in.root", data))
    batch = to_batch(events)
    assert batch.Jet.shape == (SIZE, 3)
    assert np.array_equal(batch.Jet.mask.sum(1), data["n_jets"])
    assert ak.array_equal(to_awkward(batch).Jet, events.Jet)
    write_events(tmp_path / "out.root", batch)
    assert same(tmp_path / "in.root", tmp_path / "out.root")


def test_selected_and_changed_objects_are_written_with_their_fills(tmp_path, rng):
    events = read_events(tree(tmp_path / "in.root", sentinels(rng, -999)))
    hard = ak.with_field(events, events.Jet[events.Jet.pt > 50], "Jet")
    hard = ak.with_field(hard, ak.with_field(hard.Jet, hard.Jet.pt / 2, "half"), "Jet")
    write_events(tmp_path / "out.root", hard)
    written = uproot.open(tmp_path / "out.root")["tree"].arrays(library="np")
    assert np.array_equal(written["n_jets"], counts(hard.Jet))
    assert np.array_equal(written["jet2_pt"] == -999, written["n_jets"] < 2)
    assert {"half1", "half2", "half3"} <= written.keys()


def test_more_objects_than_places_are_refused(tmp_path, rng):
    events = read_events(tree(tmp_path / "in.root", sentinels(rng, -999)))
    schema = schema_of(events)
    more = ak.with_field(events, ak.concatenate([events.Jet, events.Jet], axis=1), "Jet")
    with pytest.raises(OutputError, match="objects in Jet, which has 3 places"):
        write_events(tmp_path / "out.root", more, schema=schema)


def test_a_processor_sees_the_places_of_the_file(tmp_path, rng):
    data = sentinels(rng, -999)
    nano = to_nanoevents(read_events(tree(tmp_path / "in.root", data)))
    assert np.array_equal(ak.to_numpy(nano.jet2.pt), data["jet2_pt"])


def test_a_schema_with_fills_is_kept_in_json(tmp_path, rng):
    schema = infer_schema(tree(tmp_path / "in.root", sentinels(rng, math.nan)))
    assert EventSchema.model_validate_json(schema.model_dump_json()) == schema
    assert EventSchema.model_validate(schema.model_dump(mode="json")) == schema


def test_absent_objects_need_something_that_tells():
    def jets(**changes: object) -> Collection:
        pt = Field(name="pt", branches=("pt1", "pt2"))
        return Collection(
            **(
                {"name": "Jet", "layout": "indexed", "fields": (pt,), "min_count": 0, "max_count": 2}
                | changes
            )
        )

    with pytest.raises(ValidationError, match="absent indexed objects need fills, a mask or a counter"):
        jets()
    with pytest.raises(ValidationError, match="3 objects do not fit 2 places"):
        jets(counter="n", max_count=3)
    with pytest.raises(ValidationError, match="needs its size"):
        jets(layout="padded", counter="n")
    assert jets(counter="n").places == 2


def test_arrays_in_memory_are_read_alike(rng):
    number, there = leading(rng, 4)
    columns = arrays(momenta(rng, 4), there, 0) | {"part_mask": there}
    events = as_events(ak.Array({k: ak.to_regular(ak.Array(v)) for k, v in columns.items()}))
    assert np.array_equal(counts(events.part), number)


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_objects_that_lack_are_null_again_where_files_know_it(tmp_path, rng, dtype):
    _, there = leading(rng, 2)
    values = momenta(rng, 2) | {"hits": np.arange(2 * SIZE).reshape(SIZE, 2) % 17}
    columns = {
        f"jet{i + 1}_{n}": ak.mask(ak.Array(v[:, i].astype(dtype if n == "hits" else "f4")), there[:, i])
        for n, v in values.items()
        for i in range(2)
    }
    ak.to_parquet(ak.Array(columns), tmp_path / "in.parquet")
    events = read_events(tmp_path / "in.parquet")
    assert np.array_equal(counts(events.Jet), there.sum(1))
    write_events(tmp_path / "out.parquet", events)
    again = ak.from_parquet(tmp_path / "out.parquet")
    assert all(again[n].tolist() == v.tolist() for n, v in columns.items())
    write_events(tmp_path / "out.root", events)
    assert schema_of(read_events(tmp_path / "out.root")).collection("Jet").field("hits").fill is not None


@pytest.mark.parametrize("mask", [None, "mask", "valid"])
def test_arrays_without_a_prefix_that_lack_together_are_of_the_same_objects(tmp_path, rng, mask):
    number, there = leading(rng, 6)
    values = {n: rng.normal(size=(SIZE, 6)) for n in ("etarel", "phirel", "ptrel")}
    data = {n: np.where(there, v, 0).astype("f4") for n, v in values.items()}
    data |= {"hits": rng.normal(size=(SIZE, 6)).astype("f4"), "x": number.astype("f8")}
    data |= {} if mask is None else {mask: there.astype("f4")}
    path = tree(tmp_path / "in.root", data)
    events = read_events(path)
    assert set(events.fields) == {"Particle", "hits", "x"}
    particles = schema_of(events).collection("Particle")
    assert particles.field_names == ("etarel", "phirel", "ptrel")
    assert (particles.mask and particles.mask.branch) == mask
    assert np.array_equal(counts(events.Particle), number)
    write_events(tmp_path / "out.root", events)
    assert same(path, tmp_path / "out.root")


def test_a_mask_without_the_prefix_of_its_objects_is_theirs(tmp_path, rng):
    number, there = leading(rng, 6)
    data = arrays(momenta(rng, 6), there, 0) | {"padded": ~there}
    events = read_events(tree(tmp_path / "in.root", data))
    assert events.fields == ["part"]
    assert np.array_equal(counts(events.part), number)


def test_zeros_in_all_places_of_an_event_are_numbers(tmp_path, rng):
    data = {"adc": np.where(rng.random((SIZE, 1)) < 0.1, 0, rng.normal(size=(SIZE, 6))).astype("f4")}
    assert infer_schema(tree(tmp_path / "in.root", data)).scalar("adc").shape == (6,)


@pytest.fixture
def some_lack(tmp_path, rng):
    """A file in which all objects are there, and one in which any of them may lack."""
    paths = []
    for share in (2.0, 0.9):
        there = rng.random((SIZE, 3)) < share
        data = numbered(momenta(rng, 2), there[:, :2], -99, "lep")
        data |= {f"Z_{n}": np.where(there[:, 2], v[:, 0], -999) for n, v in momenta(rng, 1).items()}
        paths.append(tree(tmp_path / f"{share}.root", data))
    return paths


def test_what_lacks_in_one_of_several_files_may_lack_in_all(some_lack):
    events = read_events(some_lack)
    assert set(events.fields) == {"Lepton1", "Lepton2", "Z"}
    assert counts(events.Z)[:SIZE].min() == 1
    assert counts(events.Z)[SIZE:].min() == 0


@pytest.mark.parametrize("turned", [False, True])
def test_samples_are_compared_with_one_layout(some_lack, turned):
    true, made = some_lack[::-1] if turned else some_lack
    found = compare_files(true, made, classifier=False)
    assert {"Z_pt", "Lepton1_pt", "Lepton2_pt"} <= {*found.observables}
    assert {*found.results} == {"generated"}
