"""Names of files, kinds of files and kinds of numbers that are seldom, but there."""

from __future__ import annotations

import os
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from hepgan.errors import InputError, OutputError
from hepgan.events import read_events, schema_of, to_awkward, to_batch, write_events
from hepgan.events.formats import overlap, reads
from hepgan.observables import Observable


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tree(tmp_path / "a.root", x=np.arange(3.0))
    return tmp_path


def tree(path: Path, **columns: np.ndarray) -> None:
    with uproot.recreate(path) as file:
        file.mktree("Events", {n: v.dtype for n, v in columns.items()}).extend(columns)


@pytest.mark.parametrize(
    "name", ["~x.root", "~nosuchuser.root", "a:b.root", "[1].root", os.fsdecode(b"x\xff.root")]
)
def test_a_file_may_be_called_anything(here: Path, name: str) -> None:
    Path("a.root").rename(name)
    assert read_events(name).x.tolist() == [0, 1, 2]
    assert read_events(f"{name}:Events").x.tolist() == [0, 1, 2]


def test_a_parquet_file_may_have_a_name_that_is_no_unicode(here: Path) -> None:
    name = os.fsdecode(b"x\xff.parquet")
    pq.write_table(pa.table({"x": [1.0, 2.0]}), "a.parquet")
    Path("a.parquet").rename(name)
    assert read_events(name).x.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        ("~nosuchuser/x.root", "no such file"),
        ("x" * 5000, "no such file"),
        ("a\0b.root", "must be a path"),
        ("", "must be a path"),
        ("loop.root", "no such file"),
        ("folder.parquet", "is a folder"),
        ("folder.root", "is a folder"),
        ("pipe.root", "pipe"),
        ("pipe.parquet", "pipe"),
        ("empty.root", "0 bytes"),
        ("empty.parquet", "0 bytes"),
        ("twice.parquet", "branch x: several columns have this name"),
        (None, "must be a path"),
        (3, "must be a path"),
        ([None], "must be a path"),
        ({"a.root": "Events"}, "must be a path"),
    ],
)
def test_what_is_no_file_of_events_is_told_in_one_line(here: Path, paths: object, reason: str) -> None:
    for suffix in ("root", "parquet"):
        Path(f"empty.{suffix}").touch()
        Path(f"folder.{suffix}").mkdir()
        os.mkfifo(f"pipe.{suffix}")
    Path("loop.root").symlink_to("loop.root")
    pq.write_table(pa.Table.from_arrays([pa.array([1.0])] * 2, names=["x", "x"]), "twice.parquet")
    with pytest.raises(InputError, match=reason):
        read_events(paths)  # type: ignore[arg-type]


def test_one_file_is_known_by_all_its_names(here: Path) -> None:
    os.link("a.root", "hard.root")
    Path("soft.root").symlink_to("a.root")
    for name in ("hard.root", "soft.root", "./a.root", f"file://{here}/a.root", "a.root:Events"):
        assert overlap("a.root", name)
        assert reads(name, "a.root")
        assert read_events(name).x.tolist() == [0, 1, 2]


def test_branches_without_a_name_are_left_out(here: Path) -> None:
    ak.to_parquet(ak.zip({"x": [1.0], "": [2.0]}, depth_limit=1), "a.parquet")
    with pytest.warns(UserWarning, match="without a name"):
        assert read_events("a.parquet").fields == ["x"]


def test_a_tree_is_not_written_with_names_that_would_be_lost(here: Path) -> None:
    events = ak.zip({"x[2]": [1.0, 2.0], "y": [1.0, 2.0]}, depth_limit=1)
    with pytest.raises(OutputError, match=r"branch x\[2\]: .*write an RNTuple or Parquet"):
        write_events("odd.root", events)
    write_events("odd.root", events, format="rntuple")
    assert read_events("odd.root")["x[2]"].tolist() == [1.0, 2.0]


def test_whole_numbers_keep_all_digits_or_are_refused(here: Path) -> None:
    large = np.array([2**53 + 1, -(2**63), 2**63 - 1])
    larger = np.array([2**64 - 1, 2**63, 5], np.uint64)
    tree(here / "large.root", event=larger, time=large, mask=larger)
    events = read_events("large.root")
    write_events("copy.root", events)
    for made in (events, read_events("copy.root")):
        assert [made[n].tolist() for n in ("event", "time", "mask")] == [
            larger.tolist(),
            large.tolist(),
            larger.tolist(),
        ]
    assert to_batch(events[["time"]]).scalars["time"].tolist() == large.tolist()
    with pytest.raises(InputError, match=r"branch mask: holds 18446744073709551615, beyond 2\^63"):
        to_batch(events)
    assert Observable("m", "mask / 2")(events).tolist() == [2.0**63, 2.0**62, 2.5]
    assert to_batch(events[["event"]]).scalars == {}


@pytest.mark.parametrize(
    ("dtype", "other", "values", "wider"),
    [
        ("int64", "uint64", [-1], "int64"),
        ("int32", "float32", [2**24 + 1], "float64"),
        ("int64", "int32", [2**31], "int64"),
        ("float64", "int64", [0.5], "float64"),
        ("float32", "float64", [0.5], "float64"),
        ("bool", "int16", [True], "int16"),
    ],
)
def test_numbers_of_different_types_are_read_as_the_wider(
    here: Path, dtype: str, other: str, values: list[float], wider: str
) -> None:
    tree(here / "first.root", x=np.zeros(1, other))
    tree(here / "second.root", x=np.array(values, dtype))
    for files in (["first.root", "second.root"], ["second.root", "first.root"]):
        with pytest.warns(UserWarning, match=f"x: .*{dtype} in second.root:Events.*; read as {wider}"):
            events = read_events(files)
        assert events.x.layout.dtype == wider
        assert sorted(events.x.tolist()) == sorted([0, *values])


@pytest.mark.parametrize(
    ("dtype", "other", "values", "wider"),
    [("uint64", "int64", [2**64 - 1], "int64"), ("int64", "float64", [2**53 + 1], "float64")],
)
def test_numbers_that_the_wider_type_does_not_hold_are_an_error(
    here: Path, dtype: str, other: str, values: list[float], wider: str
) -> None:
    tree(here / "first.root", x=np.zeros(1, other))
    tree(here / "second.root", x=np.array(values, dtype))
    for files in (["first.root", "second.root"], ["second.root", "first.root"]):
        with (
            pytest.warns(UserWarning, match=f"read as {wider}"),
            pytest.raises(InputError, match=f"second.root.*branch x.*are no {wider}"),
        ):
            read_events(files)


def test_a_batch_whose_numbers_do_not_fit_the_file_is_an_error(here: Path) -> None:
    tree(here / "small.root", u=np.array([1, 2, 3, 200], np.uint8), b=np.array([True, False, True, True]))
    batch = to_batch(read_events("small.root"))
    assert to_awkward(batch).u.tolist() == [1, 2, 3, 200]
    batch.scalars["u"][2] = 300
    with pytest.raises(InputError, match="branch u: 300 is no uint8"):
        to_awkward(batch)


def test_identifiers_that_are_stored_as_floating_point_numbers_are_written_anew(here: Path) -> None:
    tree(here / "float.root", event=np.arange(3.0) + 1e9, run=np.full(3, 7, np.float32), x=np.arange(3.0))
    events = read_events("float.root")
    schema = schema_of(events)
    assert [f.name for f in schema.identifiers] == ["event", "run"]
    assert schema.scalar_names == ("x",)
    write_events("new.root", to_awkward(to_batch(events)), identifiers=True)
    made = read_events("new.root")
    assert made.event.tolist() == [0, 1, 2] or made.event.tolist() == [1, 2, 3]
    assert {"run", "event", "luminosityBlock", "x"} == set(made.fields)


def test_denormal_numbers_are_read_as_they_are(here: Path) -> None:
    values = np.array([5e-324, 1e-310, -3e-315, 0.0])
    tree(here / "small.root", x=values)
    assert np.array_equal(read_events("small.root").x, values)
