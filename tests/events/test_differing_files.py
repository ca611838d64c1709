"""Files of one sample that differ: what all of them have is read, and no file decides alone."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from hepgan.errors import InputError
from hepgan.events import count_events, infer_schema, iterate_events, read_events, schema_of

N = 40


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, tree: str = "Events", size: int = N, **columns: Any) -> str:
    rng = np.random.default_rng(len(path))
    data = {"Muon_pt": rng.random(size), "Muon_eta": rng.random(size), "Muon_phi": rng.random(size)}
    data |= columns
    kinds = {k: (v.dtype, v.shape[1:]) if isinstance(v, np.ndarray) else v.type for k, v in data.items()}
    with uproot.recreate(path) as file:
        file.mktree(tree, kinds).extend(data)
    return path


@pytest.mark.parametrize("order", [*itertools.permutations((0, 1, 2))])
def test_what_all_files_have_is_read_and_what_some_lack_is_told(order: tuple[int, ...]) -> None:
    passed = np.arange(N) % 2 == 0
    files = [
        write("p1.root", HLT_A=passed, x=np.ones(N)),
        write("p2.root", HLT_A=passed, HLT_B=passed, x=np.ones(N)),
        write("p3.root", HLT_A=passed, HLT_B=passed, HLT_C=passed),
    ]
    paths = [files[i] for i in order]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        events = read_events(paths)
    assert sorted(events.fields) == ["HLT", "Muon"]
    assert events.HLT.fields == ["A"]
    assert len(events) == 3 * N
    told = dict(reversed(str(w.message).split(": ", 1)) for w in caught)
    lacking = next(f for f in paths if f != "p3.root")
    expected = {"HLT_B": "p1.root", "HLT_C": lacking, "x": "p3.root"}
    for name, file in expected.items():
        assert name in told[f"{file}:Events lacks it; left out"]
    with pytest.warns(UserWarning, match="lacks it"):
        assert schema_of(events) == infer_schema(paths)
    with pytest.warns(UserWarning, match="lacks it"):
        assert sum(map(len, iterate_events(paths, step=7))) == 3 * N


def test_what_is_asked_for_is_told_of_and_nothing_else() -> None:
    passed = np.arange(N) % 2 == 0
    files = [write("p1.root", HLT_A=passed), write("p2.root", HLT_A=passed, HLT_B=passed)]
    for paths in (files, files[::-1]):
        assert read_events(paths, branches=["Muon", "HLT.A"]).HLT.fields == ["A"]
        with pytest.raises(InputError, match=r"^p1\.root:Events, branch HLT\.B: no such branch"):
            read_events(paths, branches=["Muon", "HLT.B"])
        with pytest.warns(UserWarning, match=r"^HLT_B: p1\.root:Events lacks it; left out$"):
            assert read_events(paths, branches=["HLT"]).HLT.fields == ["A"]
        whole = infer_schema("p2.root")
        with pytest.raises(InputError, match=r"^p1\.root:Events, branch HLT_B: no such branch"):
            read_events(paths, schema=whole)


def test_numbers_and_lists_are_not_mixed() -> None:
    lists = ak.unflatten(np.arange(2.0 * N), np.tile([1, 3], N // 2))
    files = [write("p1.root", x=np.ones(N)), write("p2.root", x=lists)]
    what = r"float64 in p1\.root:Events, lists of float64 in p2\.root:Events"
    with pytest.warns(UserWarning, match=f"^x: {what}; left out$"):
        assert read_events(files).fields == ["Muon"]
    with pytest.raises(InputError, match=f"^p1.root, p2.root, branch x: {what}$"):
        read_events(files, branches=["x"])
    files[1] = write("p2.root", x=np.zeros((N, 2, 2)))
    what = r"float64 in p1\.root:Events, float64\[2\]\[2\] in p2\.root:Events"
    with pytest.warns(UserWarning, match=f"^x: {what}; left out$"):
        assert read_events(files).fields == ["Muon"]


def test_what_cannot_be_read_in_one_file_is_left_out_of_all() -> None:
    files = [write("p1.root", x=np.ones(N)), "p2.parquet"]
    with uproot.open(files[0]) as file:
        arrays = file["Events"].arrays()
    ak.to_parquet(ak.with_field(arrays, ak.Array([[[1.0], [2.0, 3.0]], []] * (N // 2)), "x"), files[1])
    for paths in (files, files[::-1]):
        with pytest.warns(UserWarning, match=r"^x: a type that is not read in p2\.parquet; left out$"):
            assert read_events(paths).fields == ["Muon"]
        with pytest.raises(InputError, match=r"^p[12]\.(root:Events|parquet), branch x: .*no such|not read"):
            read_events(paths, branches=["Muon", "x"])


def test_the_tree_is_that_of_most_files_and_others_are_skipped() -> None:
    files = [write("a.root", "tree"), write("b.root", "other"), write("c.root", "tree")]
    with pytest.warns(UserWarning, match=r"^b\.root has no tree 'tree', which other files have: skipped$"):
        assert len(read_events("*.root")) == 2 * N
    with pytest.warns(UserWarning, match="skipped"):
        assert count_events(files) == 2 * N
    with pytest.warns(UserWarning, match=r"^a\.root, c\.root have no tree 'other'"):
        assert len(read_events("*.root:other")) == N
    with pytest.raises(InputError, match=r"which tree\? There are other, tree; write FILE:TREE|tree, other"):
        read_events(["a.root", "b.root"])
    assert len(read_events(["a.root:tree", "b.root:other"])) == 2 * N
    with pytest.raises(InputError, match=r"^b\.root: no tree 'tree'; the trees are: other"):
        read_events(["a.root:tree", "b.root:tree"])
    with pytest.raises(InputError, match="no tree 'none'"):
        read_events("*.root:none")


def test_files_of_several_trees_are_read_where_they_have_one_in_common() -> None:
    for name, other in (("a.root", "left"), ("b.root", "right")):
        with uproot.recreate(name) as file:
            for tree in ("mine", other):
                file.mktree(tree, {"x": "float64"}).extend({"x": np.zeros(N)})
    assert len(read_events("?.root")) == 2 * N


def test_files_without_events_have_no_say() -> None:
    empty = write("a.root", size=0, y=np.zeros(0))
    full = write("b.root", x=np.ones(N))
    for paths in ([empty, full], [full, empty]):
        with pytest.warns(UserWarning, match=r"^a\.root:Events has no events: skipped$"):
            events = read_events(paths)
        assert sorted(events.fields) == ["Muon", "x"]


def test_trees_and_tables_are_one_sample() -> None:
    write("a.root", "mine", x=np.ones(N, np.float32))
    pq.write_table(pa.table({"x": np.full(N, 2.0), "y": np.zeros(N)}), "b.parquet")
    with pytest.warns(UserWarning, match="left out|read as") as caught:
        events = read_events(["a.root", "b.parquet"])
    assert events.fields == ["x"]
    assert events.x.tolist() == [1.0] * N + [2.0] * N
    assert {str(w.message).partition(":")[0] for w in caught} == {"x", "y", "Muon_pt, Muon_eta, Muon_phi"}
