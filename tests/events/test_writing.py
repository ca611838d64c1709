from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan.errors import InputError, OutputError
from hepgan.events import (
    EventBatch,
    EventWriter,
    Objects,
    as_events,
    read_events,
    schema_of,
    select,
    to_batch,
    write_events,
)
from hepgan.events.formats import ENDINGS, FORMATS

FORMAT_NAMES = ("feather", "hdf5", "parquet", "rntuple", "ttree")
"""Those that hold lists."""


def target(tmp_path: Path, format: str) -> Path:
    return tmp_path / f"out{ENDINGS[format][0]}"


@pytest.fixture
def events(path):
    return read_events(path)


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_what_was_read_is_written(events, tmp_path, format):
    path = write_events(target(tmp_path, format), events, format=format)
    again = read_events(path)
    assert again.fields == events.fields
    for name in events.fields:
        assert ak.array_equal(again[name], events[name])
    assert schema_of(again) == schema_of(events)
    assert sorted(os.listdir(tmp_path)) == ["events.root", path.name]


def test_a_tree_has_nanoaods_branches(columns, events, tmp_path):
    path = write_events(tmp_path / "out.root", events)
    with uproot.open(path) as file:
        assert file.classnames(cycle=False) == {"Events": "TTree"}
        tree = file["Events"]
        assert set(tree.keys()) == {*columns, "nMuon"}
        assert tree["Muon_pt"].count_branch.name == "nMuon"
        assert tree["Muon_pt"].typename == "float[]"
        assert tree["Muon_tight"].typename == "bool[]"
        assert np.array_equal(tree["nMuon"].array(library="np"), ak.to_numpy(ak.num(columns["Muon_pt"])))
        for name, values in columns.items():
            assert ak.array_equal(tree[name].array(), values, check_parameters=False)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_integers_of_any_width_come_back_exactly(tmp_path, dtype, format):
    ends = np.array([np.iinfo(dtype).min, 0, 1, np.iinfo(dtype).max], dtype)
    events = as_events(ak.Array({"Jet_n": ak.unflatten(ends, [1, 0, 3]), "count": ends[:3]}))
    again = read_events(write_events(target(tmp_path, format), events, format=format))
    assert ak.array_equal(again.Jet.n, events.Jet.n)
    assert again["count"].layout.dtype == np.dtype(dtype)
    assert ak.to_list(again["count"]) == ends[:3].tolist()


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_strings_and_booleans_come_back(tmp_path, format):
    words = ["GG", "", "a much longer word than the others" * 10, "TT"] * 30
    events = as_events(ak.Array({"kind": words, "flag": [True, False] * 60, "x": np.arange(120.0)}))
    again = read_events(write_events(target(tmp_path, format), events, format=format))
    assert ak.to_list(again.kind) == words
    assert ak.to_list(again.flag) == [True, False] * 60


def test_counters_keep_their_name_and_type(columns, make, tmp_path):
    plain = {k: v for k, v in columns.items() if k.startswith("Muon")}
    events = read_events(make(plain, counter=lambda _: "NMuon"))
    schema = schema_of(events)
    wide = schema.collection("Muon").model_copy(update={"counter_dtype": "uint32"})
    schema = schema.model_copy(update={"collections": (wide,)})
    path = write_events(tmp_path / "out.root", events, schema=schema)
    with uproot.open(path) as file:
        assert file["Events/NMuon"].typename == "uint32_t"
        assert file["Events/NMuon"].title == "NMuon/i"
        assert file["Events/Muon_pt"].count_branch.name == "NMuon"


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_titles_are_kept(events, tmp_path, format):
    schema = schema_of(events)
    muon = schema.collection("Muon")
    fields = tuple(f.model_copy(update={"title": f"the muon's {f.name}"}) for f in muon.fields)
    titled = muon.model_copy(update={"fields": fields, "counter_title": "number of muons"})
    others = tuple(c for c in schema.collections if c.name != "Muon")
    schema = schema.model_copy(update={"collections": (titled, *others)})
    path = write_events(target(tmp_path, format), events, schema=schema, format=format)
    again = schema_of(read_events(path)).collection("Muon")
    assert [f.title for f in again.fields] == [f.title for f in fields]
    assert again.counter_title == "number of muons"


def test_numbered_objects_go_back_to_their_branches(make, tmp_path):
    rng = np.random.default_rng(1)
    columns = {f"{c}{i}": rng.normal(size=200) for i in (1, 2) for c in ("px", "py", "pz")}
    columns |= {f"Q{i}": rng.choice([-1, 1], 200).astype(np.int32) for i in (1, 2)}
    events = read_events(make(columns, tree="events"))
    path = write_events(tmp_path / "out.root", events)
    with uproot.open(f"{path}:events") as tree:
        assert set(tree.keys()) == set(columns)
        for name, values in columns.items():
            assert np.array_equal(tree[name].array(library="np"), values)


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_events_prepared_by_several_threads_are_written_as_they_are_given(events, tmp_path, format):
    whole = write_events(target(tmp_path, format), events, format=format, identifiers=True)
    name = f"prepared{whole.suffix}"
    with EventWriter(tmp_path / name, schema_of(events), format=format, identifiers=True) as writer:
        parts = [events[i : i + 90] for i in range(0, 1000, 90)]
        with ThreadPoolExecutor(3) as pool:
            prepared = list(pool.map(writer.prepare, parts))
        assert [len(p) for p in prepared] == [len(p) for p in parts]
        for piece in prepared:
            writer.extend(piece)
    assert ak.array_equal(read_events(tmp_path / name), read_events(whole))


def test_lists_that_only_sometimes_have_common_offsets_stay_apart(tmp_path):
    a, b = [[1.0], [2.0, 3.0], []], [[4.0, 5.0], [], [6.0]]
    same = ak.Array(
        ak.contents.ListOffsetArray(ak.index.Index64(np.array([0, 1, 3, 3])), ak.to_layout([1.0, 2.0, 3.0]))
    )
    pieces = [
        ak.Array({"A": ak.zip({"x": same}), "B": ak.zip({"x": same})}),
        ak.Array({"A": ak.zip({"x": a}), "B": ak.zip({"x": b})}),
    ]
    both = ak.concatenate(pieces)
    with EventWriter(tmp_path / "out.root", schema_of(both)) as writer:
        for piece in pieces:
            writer.extend(piece)
    read = read_events(tmp_path / "out.root")
    assert read.A.x.tolist() == both.A.x.tolist()
    assert read.B.x.tolist() == both.B.x.tolist()


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_the_division_into_calls_leaves_no_trace(events, tmp_path, format):
    schema, ending = schema_of(events), ENDINGS[format][0]
    whole = write_events(tmp_path / f"a{ending}", events, format=format, batch=300)
    with EventWriter(tmp_path / f"b{ending}", schema, format=format, batch=300) as writer:
        for at, end in ((0, 1), (1, 250), (250, 251), (251, 999), (999, 1000), (1000, 1000)):
            writer.extend(events[at:end])
    assert writer.written == 1000
    if format == "ttree":
        one, two = (uproot.open(f"{p}:Events") for p in (whole, tmp_path / f"b{ending}"))
        assert list(one["Muon_pt"].entry_offsets) == [0, 300, 600, 900, 1000]
        assert list(one["Muon_pt"].entry_offsets) == list(two["Muon_pt"].entry_offsets)
        for name in one.keys():  # noqa: SIM118
            assert ak.array_equal(one[name].array(), two[name].array())
        one.file.close()
        two.file.close()
    elif format in ("parquet", "feather"):
        assert whole.read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_batches_of_tensors_are_written_as_their_events(events, tmp_path):
    learned = select(schema_of(events), ["Muon", "MET", "PV"])
    write_events(tmp_path / "a.root", to_batch(events, learned))
    again = read_events(tmp_path / "a.root")
    for name in ("Muon", "MET", "PV", "genWeight"):
        assert ak.array_equal(again[name], events[name])


def test_generated_events_get_new_identifiers_and_shards_go_on_counting(events, tmp_path):
    batch = to_batch(events)
    write_events(tmp_path / "a.root", batch, run=7, first=500)
    again = read_events(tmp_path / "a.root")
    assert set(again.run) == {7}
    assert ak.to_list(again.luminosityBlock) == [1] * 500 + [2] * 500
    assert ak.to_list(again.event) == list(range(501, 1501))
    assert again.event.layout.dtype == np.uint64


def test_a_file_has_clusters_that_roots_threads_can_share(events, tmp_path):
    many = ak.concatenate([events] * 45)
    with uproot.open(write_events(tmp_path / "a.root", many))["Events"] as tree:
        ends = np.diff(tree["Muon_pt"].entry_offsets)
    assert ends.tolist() == [20_000, 20_000, 5_000]
    with uproot.open(write_events(tmp_path / "b.root", many, format="rntuple"))["Events"] as ntuple:
        assert [c.num_entries for c in ntuple.cluster_summaries] == [20_000, 20_000, 5_000]


def test_a_vertex_of_which_nothing_tells_the_place_is_written_at_0_where_tools_need_one(
    make, columns, tmp_path
):
    events = read_events(make({"PV_npvs": np.arange(1000, dtype=np.int32)}))
    assert read_events(write_events(tmp_path / "a.root", events)).PV.fields == ["npvs"]
    path = write_events(tmp_path / "b.root", events, identifiers=True)
    with uproot.open(f"{path}:Events") as tree:
        assert tree["PV_x"].title.startswith("0, for tools")
        assert [tree[f"PV_{c}"].array(library="np").any() for c in "xyz"] == [False] * 3
        assert tree["PV_npvs"].array(library="np").tolist() == list(range(1000))
    placed = ak.with_field(events.PV, np.ones(1000, np.float32), "z")
    kept = write_events(tmp_path / "c.root", ak.with_field(events, placed, "PV"), identifiers=True)
    assert ak.all(read_events(kept).PV.z == 1)


def test_identifiers_and_weights_are_added_on_demand(make, columns, tmp_path):
    events = read_events(make({"MET_pt": columns["MET_pt"], "MET_phi": columns["MET_phi"]}))
    assert read_events(write_events(tmp_path / "a.root", events)).fields == ["MET"]
    path = write_events(tmp_path / "b.root", events, identifiers=True, weight=True)
    with uproot.open(f"{path}:Events") as tree:
        kinds = {k: v.typename for k, v in tree.items()}
        assert np.array_equal(tree["genWeight"].array(library="np"), np.ones(1000))
    assert kinds == {
        "run": "uint32_t",
        "luminosityBlock": "uint32_t",
        "event": "uint64_t",
        "genWeight": "float",
        "MET_pt": "float",
        "MET_phi": "float",
    }


def test_dots_in_names_stay_and_names_without_them_are_known_by_the_schema(columns, tmp_path):
    muons = ak.zip({k[5:]: v for k, v in columns.items() if k.startswith("Muon_")})
    ak.to_parquet(ak.Array({"Muon": muons}), tmp_path / "nested.parquet")
    events = read_events(tmp_path / "nested.parquet")
    path = write_events(tmp_path / "out.root", events)
    with uproot.open(f"{path}:Events") as tree:
        assert "Muon.pt" in tree.keys()  # noqa: SIM118
    assert ak.array_equal(read_events(path, schema=schema_of(events)).Muon, events.Muon)
    plain = write_events(tmp_path / "plain.root", ak.Array(events, attrs={}))
    with uproot.open(f"{plain}:Events") as tree:
        assert "Muon_pt" in tree.keys()  # noqa: SIM118
    assert ak.array_equal(read_events(plain, schema=schema_of(events)).Muon, events.Muon)


def test_an_existing_file_is_replaced_only_by_force(events, tmp_path):
    path = tmp_path / "out.root"
    path.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_events(path, events)
    assert path.read_text() == "precious"
    write_events(path, events, force=True)
    assert len(read_events(path)) == 1000


def test_the_target_stays_as_it_is_until_the_writer_is_closed(events, tmp_path):
    path = tmp_path / "out.root"
    path.write_text("old")
    writer = EventWriter(path, schema_of(events), force=True, batch=100)
    writer.extend(events)
    assert path.read_text() == "old"
    assert writer.bytes_written > 0
    writer.close()
    writer.close()
    assert len(read_events(path)) == 1000
    assert writer.bytes_written == path.stat().st_size
    with pytest.raises(ValueError, match="closed"):
        writer.extend(events)


def leftovers(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name != "events.root"]


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_after_an_error_nothing_is_left(events, tmp_path, format):
    def fail() -> None:
        with EventWriter(target(tmp_path, format), schema_of(events), format=format, batch=300) as writer:
            writer.extend(events)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("where", ["first", "later", "close"])
def test_a_full_disk_is_an_output_error_and_nothing_is_left(events, tmp_path, monkeypatch, where):
    sink = FORMATS["ttree"]
    calls = {"write": 0}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    original = sink.write

    def write(self, columns):
        calls["write"] += 1
        return full() if calls["write"] == (1 if where == "first" else 2) else original(self, columns)

    monkeypatch.setattr(sink, "close" if where == "close" else "write", full if where == "close" else write)
    with pytest.raises(OutputError, match="No space left on device") as caught:
        write_events(tmp_path / "out.root", events, batch=100)
    assert caught.value.file == str(tmp_path / "out.root")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("format", FORMAT_NAMES)
def test_a_file_that_may_not_grow_is_an_output_error_and_nothing_is_left(events, tmp_path, format):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
        with pytest.raises(OutputError, match="File too large"):
            write_events(target(tmp_path, format), events, format=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert leftovers(tmp_path) == []


def test_a_writer_that_is_forgotten_leaves_nothing(events, tmp_path):
    writer = EventWriter(tmp_path / "out.root", schema_of(events), batch=10)
    writer.extend(events)
    writer._sink.close()
    assert leftovers(tmp_path) != []
    del writer
    assert leftovers(tmp_path) == []


def test_a_folder_without_permission_is_an_output_error(events, tmp_path, monkeypatch):
    if os.geteuid() == 0:
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
    else:
        tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission"):
            write_events(tmp_path / "out.root", events)
    finally:
        tmp_path.chmod(0o700)


def test_only_regular_files_are_replaced(events, tmp_path):
    os.mkfifo(tmp_path / "pipe.root")
    with pytest.raises(OutputError, match="not a regular file"):
        write_events(tmp_path / "pipe.root", events, force=True)
    with pytest.raises(OutputError, match="is a folder"):
        write_events(tmp_path, events, force=True)


def test_numbers_that_do_not_fit_their_type_are_errors(events, tmp_path):
    half = ak.with_field(events, events.PV.npvs + 0.5, ("PV", "npvs"))
    with pytest.raises(OutputError, match=r"entry 0: is \d+\.5, which is no int32") as caught:
        write_events(tmp_path / "out.root", half)
    assert caught.value.branch == "PV_npvs"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("value", "kind", "wanted"),
    [
        (-1, "int32", "uint32"),
        (-1, "int64", "uint64"),
        (2**63, "uint64", "int64"),
        (2.0**63, "float64", "int64"),
        (2.0**64, "float64", "uint64"),
        (2.0**31, "float32", "int32"),
        (np.nan, "float64", "int32"),
        (np.inf, "float32", "uint8"),
        (300, "int64", "uint8"),
        (2, "int8", "bool"),
        (1e300, "float64", "float32"),
    ],
)
@pytest.mark.parametrize("shape", ["flat", "list"])
def test_no_number_is_written_as_another(tmp_path, value, kind, wanted, shape):
    good = np.array([0, 1, 1], wanted)
    counts = [2, 0, 1]
    flat = shape == "flat"
    schema = schema_of(as_events(ak.Array({"x": good} if flat else {"Jet_x": ak.unflatten(good, counts)})))
    bad = np.array([0, 1, value]).astype(kind)
    given = ak.Array({"x": bad} if flat else {"Jet": ak.unflatten(ak.Array({"x": bad}), counts)})
    with pytest.raises(OutputError, match=f"which is no {wanted}|not a finite") as caught:
        write_events(tmp_path / "out.root", given, schema=schema)
    assert (caught.value.branch, caught.value.entry) == ("x" if flat else "Jet_x", 2)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_written_on_demand_alone(events, tmp_path, bad):
    values = ak.to_numpy(events.MET.pt).copy()
    values[777] = bad
    wrong = ak.with_field(events, values, ("MET", "pt"))
    writer = EventWriter(tmp_path / "out.root", schema_of(events), batch=300)
    writer.extend(wrong[:500])
    with pytest.raises(OutputError, match=f"is {bad}, which is not a finite number") as caught:
        writer.extend(wrong[500:])
    assert (caught.value.branch, caught.value.entry) == ("MET_pt", 777)
    assert leftovers(tmp_path) == []
    again = read_events(write_events(tmp_path / "out.root", wrong, check=False), on_bad="keep")
    assert np.array_equal(again.MET.pt, values, equal_nan=True)


def test_large_numbers_whose_sum_is_infinite_are_finite(tmp_path):
    values = np.full(5, 3e38, np.float32)
    assert read_events(write_events(tmp_path / "out.root", as_events(ak.Array({"x": values})))).x[0] > 1e38


def test_a_counter_counts_what_there_is(columns, make, tmp_path):
    events = as_events(ak.Array({"Jet_x": ak.unflatten(np.arange(300.0), [0, 300])}))
    schema = schema_of(events)
    jet = schema.collection("Jet").model_copy(update={"counter": "nJet", "counter_dtype": "uint8"})
    schema = schema.model_copy(update={"collections": (jet,)})
    with pytest.raises(OutputError, match="is 300, which is no uint8") as caught:
        write_events(tmp_path / "out.root", events, schema=schema)
    assert (caught.value.branch, caught.value.entry) == ("nJet", 1)


def test_another_writer_of_the_same_file_is_refused_at_once(events, tmp_path):
    path, refused = tmp_path / "out.root", []

    def second() -> None:
        try:
            write_events(path, events, force=True)
        except OutputError as error:
            refused.append(str(error))

    with EventWriter(path, schema_of(events)) as writer:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(second).result()
        writer.extend(events)
    assert "is being written by another thread" in refused[0]
    assert leftovers(tmp_path) == ["out.root"]


@pytest.mark.parametrize("kind", ["link", "read-only"])
def test_links_and_read_only_files_are_left_alone(events, tmp_path, kind):
    path, mine = tmp_path / "out.root", tmp_path / "mine"
    mine.write_text("precious")
    if kind == "link":
        path.symlink_to(mine)
    else:
        path = mine.rename(path)
        path.chmod(0o400)
    with pytest.raises(OutputError, match=r"symbolic link|read-only"):
        write_events(path, events, force=True)
    assert path.read_text() == "precious"


def test_lacking_fields_are_errors(events, tmp_path):
    with pytest.raises(InputError, match="these events have no MET"):
        write_events(tmp_path / "out.root", events[["Muon"]], schema=schema_of(events))
    assert leftovers(tmp_path) == []


def test_numbered_objects_need_their_number(make, tmp_path):
    rng = np.random.default_rng(1)
    events = read_events(make({f"{c}{i}": rng.normal(size=20) for i in (1, 2) for c in ("px", "py")}))
    fewer = ak.with_field(events, events.Particle[:, :1], "Particle")
    with pytest.raises(OutputError, match="Particle needs 2 objects in each event"):
        write_events(tmp_path / "out.root", fewer, schema=schema_of(events))


def test_double_precision_results_are_written_in_the_files_type(events, tmp_path):
    batch = to_batch(events)
    shifted = Objects({n: t + 1e-12 if t.is_floating_point() else t for n, t in batch.MET.fields.items()})
    changed = EventBatch(batch.schema, batch.collections | {"MET": shifted}, batch.scalars)
    again = read_events(write_events(tmp_path / "out.root", changed))
    assert again.MET.pt.layout.dtype == np.float32
    assert ak.array_equal(again.MET, events.MET)


def test_no_events_make_a_readable_empty_tree(events, tmp_path):
    path = write_events(tmp_path / "out.root", events[:0], schema=schema_of(events))
    with uproot.open(f"{path}:Events") as tree:
        assert tree.num_entries == 0
        assert "Muon_pt" in tree.keys()  # noqa: SIM118


def test_unknown_formats_and_empty_schemas_are_refused(events, tmp_path):
    with pytest.raises(ValueError, match="format must be 'ttree' or 'rntuple' or 'parquet'"):
        write_events(tmp_path / "out.root", events, format="xml")
    with pytest.raises(OutputError, match=r"ttree files are called \*.root"):
        write_events(tmp_path / "out.csv", events, format="ttree")
    for name in ("out.txt", "out", "out.root.bak"):
        with pytest.raises(OutputError, match=r"files that end in \.root, \.parquet"):
            write_events(tmp_path / name, events)
    with pytest.raises(ValueError, match="batch must be positive"):
        write_events(tmp_path / "out.root", events, batch=0)
    empty = schema_of(events).model_copy(
        update={"collections": (), "scalars": (), "identifiers": (), "weight": None}
    )
    with pytest.raises(OutputError, match="no branches"):
        write_events(tmp_path / "out.root", events, schema=empty)
