from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan.errors import InputError
from hepgan.events import as_events, infer_schema, iterate_events, read_events, schema_of, write_events
from hepgan.events.formats import locate


def test_values_and_types_are_those_of_the_file(columns, path):
    events = read_events(path)
    for name in ("pt", "eta", "phi", "mass", "charge", "iso", "tight"):
        there = columns[f"Muon_{name}"]
        assert ak.array_equal(events.Muon[name], there, check_parameters=False)
        assert events.Muon[name].layout.content.dtype == there.layout.content.dtype
    assert np.array_equal(events.event, columns["event"])
    assert events.MET.pt.layout.dtype == np.float32


def test_collections_behave_as_momenta(columns, path):
    import vector

    events = read_events(path)
    pairs = events[ak.num(events.Muon) >= 2]
    names = ("pt", "eta", "phi", "mass")
    first, second = (
        vector.array({c: ak.to_numpy(pairs.Muon[c][:, i]).astype(float) for c in names}) for i in (0, 1)
    )
    mass = (pairs.Muon[:, 0] + pairs.Muon[:, 1]).mass
    assert np.allclose(ak.to_numpy(mass), (first + second).mass, rtol=1e-4)
    assert np.allclose(ak.to_numpy(events.MET.px), columns["MET_pt"] * np.cos(columns["MET_phi"]), rtol=1e-5)


def test_files_may_be_named_in_many_ways(path):
    for named in (f"{path}:Events", str(path), path, [path], str(path.parent / "*.root:Events")):
        assert len(read_events(named)) == 1000


@pytest.mark.parametrize(
    ("text", "path", "tree"),
    [
        ("root://eos.cern.ch:1094//store/a.root", "root://eos.cern.ch:1094//store/a.root", None),
        ("root://eos.cern.ch//store/a.root:Events", "root://eos.cern.ch//store/a.root", "Events"),
        (
            "root://eos.cern.ch:1094//store/a.root:dir/Events;3",
            "root://eos.cern.ch:1094//store/a.root",
            "dir/Events",
        ),
    ],
)
def test_ports_of_addresses_are_no_trees(text, path, tree):
    assert locate(text) == [(path, tree)]


def test_half_precision_is_read_as_single(tmp_path):
    half = np.linspace(0, 1, 50).astype(np.float16)
    ak.to_parquet(ak.Array({"x": half}), tmp_path / "half.parquet")
    events = read_events(tmp_path / "half.parquet")
    assert events.x.layout.dtype == np.float32
    assert ak.to_list(events.x) == half.tolist()


def test_many_files_are_one_sample_in_order(columns, make):
    parts = [{k: v[a:b] for k, v in columns.items()} for a, b in ((0, 300), (300, 301), (301, 1000))]
    paths = [make(p, f"part{i}.root") for i, p in enumerate(parts)]
    events = read_events(paths)
    assert np.array_equal(events.event, columns["event"])
    middle = read_events(paths, entry_start=250, entry_stop=500)
    assert np.array_equal(middle.event, columns["event"][250:500])
    assert schema_of(events) == infer_schema(paths)


def test_an_empty_file_among_others_is_skipped_and_told(columns, make):
    empty = make({k: v[:0] for k, v in columns.items()}, "a.root")
    with pytest.warns(UserWarning, match=r"a\.root:Events has no events: skipped"):
        assert len(read_events([empty, make(columns, "b.root")])) == 1000
    with pytest.raises(InputError, match="there are no events"):
        read_events(empty)


def test_chunks_join_to_the_whole(columns, path):
    chunks = list(iterate_events(path, step=300))
    assert [len(c) for c in chunks] == [300, 300, 300, 100]
    assert np.array_equal(ak.concatenate(chunks).event, columns["event"])
    assert {schema_of(c) == schema_of(read_events(path)) for c in chunks} == {True}


def test_counts_are_inferred_from_all_events_kinds_from_the_first(columns, path):
    schema = infer_schema(path, max_events=2)
    counts = ak.num(columns["Muon_pt"])
    assert schema.collection("Muon").max_count == int(ak.max(counts))
    assert [len(c) for c in iterate_events(path, step=1000, schema=schema)] == [1000]


@pytest.mark.parametrize(
    ("wanted", "fields"),
    [
        (["Muon.pt", "MET"], {"Muon": ["pt"], "MET": ["pt", "phi"]}),
        (["Muon_p*"], {"Muon": ["pt", "phi"]}),
        (["Muon", "MET_pt"], {"Muon": ["pt", "eta", "phi", "mass", "charge", "iso", "tight"], "MET": ["pt"]}),
    ],
)
def test_a_part_of_the_branches_can_be_read(path, wanted, fields):
    events = read_events(path, branches=wanted)
    assert {n: events[n].fields for n in events.fields if events[n].fields} == fields
    assert {"genWeight", "run", "event"} <= set(events.fields)
    with pytest.raises(InputError, match="no such branch"):
        read_events(path, branches=["Tau"])


def test_a_schema_reads_its_branches_in_its_types(columns, make):
    schema = schema_of(read_events(make(columns)))
    wide = {k: ak.values_astype(v, "float64") if k == "Muon_pt" else v for k, v in columns.items()}
    events = read_events(make(wide | {"extra": columns["MET_pt"]}), schema=schema)
    assert events.Muon.pt.layout.content.dtype == np.float32
    assert "extra" not in events.fields
    assert schema_of(events) == schema


def test_no_whole_numbers_for_an_integer_are_an_error(columns, make):
    schema = schema_of(read_events(make(columns)))
    with pytest.raises(InputError, match="holds float32 values that are no int32"):
        read_events(make(columns | {"PV_npvs": columns["MET_pt"]}), schema=schema)


def test_strings_where_numbers_are_expected_are_an_error(columns, make):
    schema = schema_of(read_events(make(columns)))
    with pytest.raises(InputError, match="holds strings, where a number is expected") as caught:
        read_events(make(columns | {"MET_pt": ak.Array(["a", "b"] * 500)}), schema=schema)
    assert caught.value.branch == "MET_pt"


def test_one_number_where_a_list_is_expected_is_an_error(columns, make):
    schema = schema_of(read_events(make(columns)))
    changed = {k: v for k, v in columns.items() if k != "Muon_pt"} | {"Muon_pt": columns["MET_pt"]}
    with pytest.raises(InputError, match="one number in each event, where a list in each event is expected"):
        read_events(make(changed), schema=schema)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such file") as caught:
        read_events(f"{tmp_path}/gone.root:Events")
    assert caught.value.file == f"{tmp_path}/gone.root"
    with pytest.raises(InputError, match="no file matches"):
        read_events(tmp_path / "*.root")


def test_a_missing_tree_lists_those_that_exist(columns, make):
    path = make(columns, tree="Delphes")
    with pytest.raises(InputError, match="no tree 'Events'; the trees are: Delphes"):
        read_events(f"{path}:Events")
    assert schema_of(read_events(path)).tree == "Delphes"


def test_of_several_trees_events_is_taken_or_one_must_be_named(columns, tmp_path):
    path = tmp_path / "two.root"
    flat = {"MET_pt": columns["MET_pt"], "MET_phi": columns["MET_phi"]}
    with uproot.recreate(path) as file:
        file.mktree("A", flat)
        file.mktree("B", flat)
    with pytest.raises(InputError, match=r"which tree\? It has A, B"):
        read_events(path)
    assert len(read_events(f"{path}:B")) == 1000
    with uproot.update(path) as file:
        file.mktree("Events", {k: v[:5] for k, v in flat.items()})
    assert len(read_events(path)) == 5


@pytest.mark.parametrize("keep", [0, 2, 200, 0.3, 0.9, 0.999])
def test_truncated_files_are_told_at_any_length(path, keep):
    content = path.read_bytes()
    path.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(InputError, match=r"truncated|not a ROOT file|empty") as caught:
        read_events(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_files_are_told_to_be_no_root_files(tmp_path):
    text = tmp_path / "a.root"
    text.write_text("not events")
    with pytest.raises(InputError, match="not a ROOT file"):
        read_events(text)
    parquet = tmp_path / "a.parquet"
    parquet.write_text("not events")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        read_events(parquet)
    with pytest.raises(InputError, match="is a folder"):
        read_events(tmp_path)


def test_branches_of_other_types_are_left_out_with_a_warning(columns, tmp_path):
    path = tmp_path / "tracks.parquet"
    tracks = ak.Array([[[1.0], [2.0, 3.0]], []] * 500)
    ak.to_parquet(ak.zip({"MET_pt": columns["MET_pt"], "tracks": tracks}, depth_limit=1), path)
    with pytest.warns(UserWarning, match="left out 1 branches of other types: tracks"):
        events = read_events(path)
    assert events.fields == ["MET"]


def test_parquet_with_lists_reads_as_the_tree_does(columns, path, tmp_path):
    ak.to_parquet(ak.Array(columns), tmp_path / "flat.parquet", row_group_size=300)
    events, tree = read_events(tmp_path / "flat.parquet"), read_events(path)
    for name in tree.fields:
        assert ak.array_equal(events[name], tree[name])
    assert schema_of(events).collection("Muon").counter is None
    part = read_events(tmp_path / "flat.parquet", entry_start=250, entry_stop=650)
    assert ak.array_equal(part.Muon.pt, tree.Muon.pt[250:650])


def test_parquet_with_lists_of_records_reads_as_the_tree_does(columns, path, tmp_path):
    muons = ak.zip({k[5:]: v for k, v in columns.items() if k.startswith("Muon_")})
    ak.to_parquet(ak.Array({"Muon": muons, "MET_pt": columns["MET_pt"]}), tmp_path / "nested.parquet")
    events, tree = read_events(tmp_path / "nested.parquet"), read_events(path)
    assert ak.array_equal(events.Muon, tree.Muon)
    assert schema_of(events).collection("Muon").field("pt").branch == "Muon.pt"


def test_an_rntuple_with_vectors_reads_as_the_tree_does(columns, path, tmp_path):
    target = tmp_path / "ntuple.root"
    with uproot.recreate(target) as file:
        counts = ak.to_numpy(ak.num(columns["Muon_pt"])).astype(np.int32)
        file.mkrntuple("Events", ak.Array({"nMuon": counts, **columns}))
    events, tree = read_events(target), read_events(path)
    assert ak.array_equal(events.Muon, tree.Muon)
    assert schema_of(events) == schema_of(tree)


def test_arrays_that_uproot_gives_make_events(columns, path):
    with uproot.open(f"{path}:Events") as tree:
        events = as_events(tree.arrays())
    assert ak.array_equal(events.Muon, read_events(path).Muon)


def test_steps_must_be_positive(path):
    with pytest.raises(ValueError, match="step must be positive, not 0"):
        iterate_events(path, step=0)


def test_a_number_called_as_a_counter_that_is_none_is_a_number_of_its_own(tmp_path):
    name = "nJets"
    pt = ak.Array([[50.0, 20.0], [40.0], []] * 50)
    path = tmp_path / "selected.root"
    with uproot.recreate(path) as file:
        passing = ak.to_numpy(ak.sum(pt > 30, axis=1)).astype(np.int32)
        file.mkrntuple("Events", {name: passing, "Jet_pt": pt})
    events = read_events(f"{path}:Events")
    assert events.Jet.pt.tolist() == pt.tolist()
    assert events[name].tolist() == [1, 1, 0] * 50
    write_events(tmp_path / "again.root", events, format="rntuple")
    again = read_events(f"{tmp_path / 'again.root'}:Events")
    assert again[name].tolist() == events[name].tolist()
    assert again.Jet.pt.tolist() == pt.tolist()
    counted = {name: ak.num(pt), "Jet_pt": pt}
    with uproot.recreate(tmp_path / "counted.root") as file:
        file.mkrntuple("Events", counted)
    assert read_events(f"{tmp_path / 'counted.root'}:Events").fields == ["Jet"]
    wrong = ak.to_numpy(ak.num(pt)).copy()
    wrong[7] += 1
    with uproot.recreate(tmp_path / "wrong.root") as file:
        file.mkrntuple("Events", {name: wrong, "Jet_pt": pt})
    # Where it is another number in one event of those that are looked at, it counts something else.
    assert read_events(f"{tmp_path / 'wrong.root'}:Events")[name].tolist() == wrong.tolist()
    known = schema_of(read_events(f"{tmp_path / 'counted.root'}:Events"))
    with pytest.raises(InputError, match="says 2 objects, but Jet_pt has 1"):
        read_events(f"{tmp_path / 'wrong.root'}:Events", schema=known)
