"""Files of formats that are not ROOT's, and files that are of none."""

from __future__ import annotations

import gzip
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from toys import dimuons
from whole_way import whole_way

from hepgan import read_events, write_events
from hepgan.cli import cli
from hepgan.cli.console import run
from hepgan.cli.options import FORMAT
from hepgan.errors import InputError, OutputError
from hepgan.events import as_events, count_events, infer_schema, iterate_events, schema_of
from hepgan.events.formats import ENDINGS, FORMATS


@pytest.fixture
def table() -> ak.Array:
    rng = np.random.default_rng(1)
    return as_events(
        ak.Array(
            {
                "x": rng.normal(size=300),
                "y": rng.exponential(size=300).astype(np.float32),
                "n": rng.poisson(3.0, 300),
                "good": rng.random(300) < 0.5,
                "kind": np.array(["GG", "TT", "a, b"])[rng.integers(0, 3, 300)],
            }
        )
    )


def test_each_format_has_a_sink_endings_and_an_option():
    assert list(FORMATS) == list(ENDINGS)
    assert list(FORMAT(lambda: None).__click_params__[0].type.choices) == list(FORMATS)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.feather", "a.arrow", "a.CSV", "a.h5", "a.hdf5"])
def test_flat_events_come_back(table, tmp_path, name):
    path = write_events(tmp_path / name, table)
    again = read_events(path)
    assert again.fields == table.fields
    for field in table.fields:
        values = ak.to_list(table[field])
        if field == "y":  # CSV does not tell single precision
            assert np.array_equal(again.y.to_numpy().astype(np.float32), table.y.to_numpy())
        else:
            assert again[field].tolist() == values
    assert count_events(path) == 300
    assert [len(part) for part in iterate_events(path, step=128)] == [128, 128, 44]
    assert infer_schema(path).scalar("good").values == (False, True)


@pytest.mark.parametrize("name", ["a.parquet", "a.feather"])
def test_columns_as_other_programs_write_them_are_read(name, tmp_path):
    """Categories of pandas have indices of one byte; Parquet has decimals, and columns without any value."""
    words = pa.array(["ee", "mm", "ee", None] * 50).dictionary_encode()
    columns = {
        "channel": words.cast(pa.dictionary(pa.int8(), pa.string())),
        "period": words.cast(pa.dictionary(pa.int16(), pa.large_string())),
        "year": pa.DictionaryArray.from_arrays(pa.array([0, 1, 1, 0] * 50, pa.int8()), [2016, 2018]),
        "price": pa.array([1.5, 2.5, 3.5, 4.5] * 50).cast(pa.decimal128(10, 2)),
        "nothing": pa.nulls(200),
        "x": pa.array(np.arange(200.0)),
    }
    path = tmp_path / name
    write = pyarrow.parquet.write_table if name == "a.parquet" else pyarrow.feather.write_feather
    write(pa.table(columns), path)
    events = read_events(path)
    assert events.channel[:4].tolist() == ["ee", "mm", "ee", "<null>"]
    assert events.period[:2].tolist() == ["ee", "mm"]
    assert events.year[:4].tolist() == [2016, 2018, 2018, 2016]
    assert events.price[:4].tolist() == [1.5, 2.5, 3.5, 4.5]
    assert np.isnan(events.nothing.to_numpy()).all()
    assert [part.channel[0] for part in iterate_events(path, step=150)] == ["ee", "ee"]


def test_a_csv_file_is_one_that_others_read(table, tmp_path):
    path = write_events(tmp_path / "a.csv", table)
    assert path.read_text().splitlines()[0] == '"x","y","n","good","kind"'
    read = pa.csv.read_csv(path)
    assert read["x"].to_pylist() == table.x.tolist()
    assert read["kind"].to_pylist() == table.kind.tolist()
    packed = write_events(tmp_path / "a.csv.gz", table)
    assert gzip.decompress(packed.read_bytes()) == path.read_bytes()


@pytest.mark.parametrize(
    "text",
    [
        "x,n,word\n1.5,3,a\n,4,b\n2.5,,a\n",
        "x;n;word\n1.5;3;a\nnan;4;b\n2.5;NA;a\n",
        "# x\tn\tword\n1.5\t3\ta\nNaN\t4\tb\n2.5\tnull\ta\n",
        '\ufeff"x", "n", "word"\r\n1.5,3,a\r\n,4,b\r\n2.5,,a\r\n',
    ],
)
def test_missing_cells_of_numbers_are_nan_whatever_separates_them(text, tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode())
    events = read_events(path, on_bad="keep")
    assert np.array_equal(events.x.to_numpy(), [1.5, np.nan, 2.5], equal_nan=True)
    assert np.array_equal(events.n.to_numpy(), [3.0, 4.0, np.nan], equal_nan=True)
    assert events.word.tolist() == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("\n", "has no columns"),
        ("1.5,3\n2.5,4\n", "its first line must name the columns; it is 1.5,3"),
        ("x,x\n1,2\n", "several columns have this name"),
        ("x,y\n1,2\n3\n", "not a CSV file"),
        ("x,y\n", "there are no events"),
    ],
)
def test_what_is_no_table_is_said(text, words, tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_events(path)
    assert str(path) in str(caught.value)


def test_lists_are_refused_where_a_cell_holds_one_number(tmp_path):
    with pytest.raises(OutputError, match=r"a\.csv, branch Muon_pt: a CSV file has one number in a cell"):
        write_events(tmp_path / "a.csv", dimuons(20))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.txt", "a.xml", "a", "a.root.bak"])
def test_files_of_no_format_are_refused_with_those_that_there_are(name, table, tmp_path):
    endings = r"\.root, \.parquet, .*\.csv"
    with pytest.raises(OutputError, match=endings):
        write_events(tmp_path / name, table)
    (tmp_path / name).write_text("something else")
    with pytest.raises(InputError, match=rf"no file of events .* {endings}"):
        read_events(tmp_path / name)


@pytest.mark.parametrize("ending", [".root", ".parquet", ".feather", ".h5"])
def test_files_of_other_names_are_known_by_what_is_in_them(ending, table, tmp_path):
    path = write_events(tmp_path / f"a{ending}", table)
    moved = path.rename(tmp_path / "a.bak")
    assert read_events(moved).x.tolist() == table.x.tolist()


def test_a_format_that_has_no_place_for_numbers_beside_the_events_says_so(table, tmp_path):
    from hepgan.events import EventWriter

    with EventWriter(tmp_path / "a.csv", schema_of(table)) as writer:
        writer.extend(table)
        with pytest.warns(UserWarning, match="a.csv has no place for Runs"):
            writer.add("Runs", {"count": [3]})
    assert count_events(tmp_path / "a.csv") == 300


FLAT = ["a.csv", "a.csv.gz", "a.feather", "a.h5"]


@pytest.mark.parametrize("name", FLAT)
def test_a_file_goes_the_whole_way(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    x = rng.normal(size=1200)
    events = as_events(
        ak.Array({"x": x, "y": rng.exponential(size=1200) + x**2, "n": rng.poisson(2.0, 1200)})
    )
    write_events(name, events)
    whole_way(name, Path(f"generated{name[1:]}"), monkeypatch)
    assert read_events(f"generated{name[1:]}").fields == ["x", "y", "n"]


def test_a_command_refuses_a_name_of_no_format_before_it_looks_for_anything_else(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run(cli, ["generate", "nosuch.safetensors", "-n", "10", "-o", "g.hepmcc"]) == 2
    assert "neither a folder, which has no ending, nor a file of events (.root" in capsys.readouterr().err
    assert run(cli, ["generate", "nosuch.safetensors", "-n", "10", "-o", "g.csv", "--format", "lhe"]) == 2
    assert "lhe files are called *.lhe" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
