"""Fields with a shape: images, calorimeter layers, waveforms."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import torch
import uproot
from numpy.typing import NDArray

from hepgan.errors import InputError
from hepgan.events import (
    Axis,
    EventBatch,
    Field,
    Kind,
    as_events,
    infer_schema,
    iterate_events,
    read_events,
    reading,
    schema_of,
    to_awkward,
    to_batch,
    with_grids,
    write_events,
    writing,
)
from hepgan.events.formats.nested import LOOK
from hepgan.events.writing import EventWriter
from hepgan.observables import default_observables
from hepgan.validation import compare_files

SIZE = 200
DTYPES = ["float32", "float64", "int16", "uint8", "bool"]
FORMATS = {
    "ttree": "out.root",
    "rntuple": "out.root",
    "parquet": "out.parquet",
    "feather": "out.feather",
    "hdf5": "out.h5",
}
SQUARE = {"phi": [-1.25, 1.25], "eta": (-1.0, 1.0)}


def images(dtype: str, shape: tuple[int, ...] = (5, 4), size: int = SIZE) -> NDArray[np.generic]:
    """Images with many zeros."""
    rng = np.random.default_rng(1)
    contents = 30 * rng.exponential(size=(size, *shape)) * (rng.random((size, *shape)) < 0.2)
    return np.minimum(contents, 250).astype(dtype)


def file_of(path: Path, **columns: NDArray[np.generic]) -> Path:
    """A file with a tree of these branches, and a number of the event."""
    columns["x"] = np.random.default_rng(2).normal(size=len(next(iter(columns.values())))).astype("f4")
    with uproot.recreate(path) as file:
        file.mktree("Events", {n: np.dtype((v.dtype, v.shape[1:])) for n, v in columns.items()})
        file["Events"].extend(columns)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of images."""
    return file_of(tmp_path / "in.root", Image=images("float32"))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_images_come_back_bit_for_bit(tmp_path, dtype, format):
    values = images(dtype)
    events = read_events(file_of(tmp_path / "in.root", Image=values))
    assert str(ak.type(events.Image)) == f"{SIZE} * 5 * 4 * {dtype}"
    out = write_events(tmp_path / FORMATS[format], events, format=format, force=True)
    again = read_events(out)
    found = ak.to_numpy(again.Image)
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)
    assert schema_of(again) == schema_of(events)


def test_what_is_written_to_a_tree_is_an_array_of_its_shape_with_its_title(tmp_path, path):
    events = read_events(path)
    schema = schema_of(events)
    titled = schema.scalar("Image").model_copy(update={"title": "the image"})
    schema = schema.model_copy(update={"scalars": (titled, schema.scalar("x"))})
    with uproot.open(write_events(tmp_path / "out.root", events, schema=schema)) as file:
        assert file["Events"]["Image"].typename == "float[5][4]"
        assert file["Events"]["Image"].title == "the image"
    assert schema_of(read_events(tmp_path / "out.root")).scalar("Image").title == "the image"


@pytest.mark.parametrize("dtype", DTYPES)
def test_batches_hold_images_and_give_them_back(dtype, tmp_path):
    values = images(dtype)
    events = read_events(file_of(tmp_path / "in.root", Image=values))
    batch = to_batch(events)
    assert batch.scalars["Image"].shape == (SIZE, 5, 4)
    assert np.array_equal(batch.Image.numpy(), values)
    part = EventBatch.concatenate([batch[50:], batch[torch.arange(50)]])
    again = to_awkward(part)
    assert str(ak.type(again.Image)) == f"{SIZE} * 5 * 4 * {dtype}"
    assert np.array_equal(ak.to_numpy(again.Image), np.concatenate([values[50:], values[:50]]))
    write_events(tmp_path / "out.root", part)
    assert np.array_equal(ak.to_numpy(read_events(tmp_path / "out.root").Image), again.Image)


def test_numbers_of_a_batch_that_are_no_whole_ones_of_the_type_are_an_error(tmp_path):
    batch = to_batch(read_events(file_of(tmp_path / "in.root", Image=images("uint8"))))
    batch.scalars["Image"][3, 1, 1] = 300
    with pytest.raises(InputError, match="300 is no uint8"):
        to_awkward(batch)


def test_what_a_file_holds_does_not_depend_on_how_events_are_divided(tmp_path, path):
    events = read_events(path)
    with EventWriter(tmp_path / "out.root", schema_of(events), batch=30) as writer:
        for at in range(0, SIZE, 70):
            writer.extend(to_batch(events[at : at + 70]))
    again = read_events(tmp_path / "out.root")
    assert np.array_equal(ak.to_numpy(again.Image), ak.to_numpy(events.Image))


def test_a_part_of_the_events_has_the_schema_of_the_whole(path):
    events = read_events(path)
    some = events[ak.to_numpy(events.x) > 0]
    assert schema_of(some) == schema_of(events)
    assert str(ak.type(some.Image)).endswith("5 * 4 * float32")


def test_several_files_are_read_as_one(tmp_path, path):
    more = file_of(tmp_path / "more.root", Image=images("float32", size=50))
    events = read_events([path, more])
    assert str(ak.type(events.Image)) == f"{SIZE + 50} * 5 * 4 * float32"
    assert np.array_equal(ak.to_numpy(events.Image)[SIZE:], images("float32", size=50))


def test_the_facts_of_a_field_are_those_of_all_its_cells(tmp_path):
    whole = images("int16")
    values = images("float32").round(1)
    lacking = images("float32")
    lacking[3, 2] = np.nan
    path = file_of(tmp_path / "in.root", Whole=whole, Tenths=values, Lacking=lacking)
    schema = schema_of(read_events(path))
    assert schema.scalar("Whole").kind is Kind.INTEGER
    assert (schema.scalar("Whole").low, schema.scalar("Whole").high) == (0, whole.max())
    assert schema.scalar("Tenths").step == pytest.approx(0.1)
    assert schema.scalar("Tenths").atoms == (0,)
    assert np.isnan(schema.scalar("Lacking").missing)


def test_grids_name_the_axes(path):
    events = read_events(path, grids={"Image": SQUARE})
    field = schema_of(events).scalar("Image")
    assert field.axes == (Axis(name="phi", low=-1.25, high=1.25), Axis(name="eta", low=-1, high=1))
    assert field.axes[0].edges(5) == pytest.approx(np.linspace(-1.25, 1.25, 6))
    assert field.axes[0].centres(5) == pytest.approx([-1, -0.5, 0, 0.5, 1])
    assert with_grids(schema_of(events), {"Image": SQUARE}) == schema_of(events)


@pytest.mark.parametrize("format", FORMATS)
def test_grids_give_a_flat_array_its_shape_and_the_file_keeps_its_own(tmp_path, format):
    values = images("float32")
    path = file_of(tmp_path / "in.root", Image=values.reshape(SIZE, 20))
    grids = {"Image": {"phi": {"low": -1, "high": 1, "bins": 5}, "eta": {"low": 0, "high": 1, "bins": 4}}}
    events = read_events(path, grids=grids)
    assert np.array_equal(ak.to_numpy(events.Image), values)
    assert to_batch(events).Image.shape == (SIZE, 5, 4)
    plain = read_events(path)
    assert np.array_equal(to_batch(plain, with_grids(schema_of(plain), grids)).Image, values)
    out = write_events(tmp_path / FORMATS[format], to_batch(events), format=format, force=True)
    assert schema_of(read_events(out)).scalar("Image").shape == (20,)
    assert schema_of(read_events(out, grids=grids)) == schema_of(events)


@pytest.mark.parametrize(
    ("grids", "said"),
    [
        ({"Image": {"phi": [-1, 1], "eta": {"low": 0, "high": 1, "bins": 6}}}, "5 x 6 bins are 30 cells"),
        ({"Image": {"phi": [-1, 1]}}, "write phi: {low: , high: , bins: }"),
        ({"Image": {"phi": [1, -1], "eta": [0, 1]}}, "phi is no .low, high. with low < high"),
        ({"Image": {"phi": [1, 2, 3], "eta": [0, 1]}}, "phi is no .low, high."),
        ({"Picture": SQUARE}, "no such array; the arrays are: Image"),
        ({"x": SQUARE}, "it is one number in each event"),
    ],
)
def test_grids_that_do_not_fit_are_errors_that_name_the_field(path, grids, said):
    with pytest.raises(InputError, match=said) as caught:
        read_events(path, grids=grids)
    assert caught.value.branch == next(iter(grids))
    assert str(path) in str(caught.value)


def test_fields_whose_axes_do_not_fit_are_refused():
    phi = Axis(name="phi", low=0, high=1)
    with pytest.raises(ValueError, match="1 axes for 2 indices"):
        Field(name="a", branches=("a",), shape=(2, 3), axes=(phi,))
    with pytest.raises(ValueError, match="two axes have one name"):
        Field(name="a", branches=("a",), shape=(2, 3), axes=(phi, phi))
    with pytest.raises(ValueError, match="7 numbers in the file for 6 cells"):
        Field(name="a", branches=("a",), shape=(2, 3), stored=(7,))
    with pytest.raises(ValueError, match="low < high"):
        Axis(name="phi", low=1, high=1)


def test_another_shape_in_another_file_is_an_error_that_names_file_and_branch(tmp_path, path):
    other = file_of(tmp_path / "other.root", Image=images("float32", (5, 5)))
    with pytest.raises(InputError, match=r"an array of 5 x 5.*where an array of 5 x 4") as caught:
        read_events(other, schema=schema_of(read_events(path)))
    assert caught.value.branch == "Image"
    assert "other.root" in str(caught.value)
    with pytest.warns(UserWarning, match=r"float32\[5\]\[4\] in .*in.root.*, float32\[5\]\[5\] in"):
        events = read_events([path, other])
    assert events.fields == ["x"]


@pytest.mark.parametrize(("bad", "reason"), [(np.nan, "not a number"), (np.inf, "infinite")])
def test_a_bad_cell_is_named(tmp_path, path, bad, reason):
    values = images("float32")
    values[7, 3, 2] = bad
    values[9, 0, 0] = bad
    broken = file_of(tmp_path / "broken.root", Image=values)
    with pytest.raises(InputError, match=rf"{reason} \({bad} in cell \[3, 2\]\)") as caught:
        read_events(broken, schema=schema_of(read_events(path)))
    assert (caught.value.branch, caught.value.entry) == ("Image", 7)
    with pytest.warns(UserWarning, match=f"dropped 2 of {SIZE} events: 2 for Image: {reason}"):
        kept = read_events(broken, schema=schema_of(read_events(path)), on_bad="drop")
    assert np.isfinite(ak.to_numpy(kept.Image)).all()


def test_arrays_beside_momenta_and_weights_are_neither(tmp_path):
    """Whatever arrays are called, no rule about numbers of the event takes them for one."""
    rng = np.random.default_rng(3)
    names = ("alpha", "beta", "gamma", "delta")
    p = rng.normal(size=(4, SIZE)).astype("f4")
    p[3] = np.sqrt((p[:3] ** 2).sum(0) + 1)
    columns = {f"q_{n}": v for n, v in zip(names, p, strict=True)}
    arrays = {n: images("float32") for n in ("weight", "event", "mass", "q_cells", "nMuon")}
    path = file_of(tmp_path / "in.root", **columns, **arrays)
    schema = schema_of(read_events(path))
    assert schema.weight is None
    assert schema.identifiers == ()
    assert {f.name for f in schema.arrays} == {*arrays}
    assert {f.name for f in schema.numbers} == {"x"}
    assert schema.collection("q").coordinates == ("px", "py", "pz", "energy")


def test_files_are_compared_in_observables_of_their_cells(tmp_path):
    flat = file_of(tmp_path / "flat.root", Image=images("float32").reshape(SIZE, 20))
    deep = file_of(tmp_path / "deep.root", Image=2 * images("float32"))
    comparison = compare_files(
        flat,
        deep,
        {"mass": "sum(cells(Image)).mass", "n": "count(cells(Image))"},
        grids={"Image": {"phi": {"low": -1, "high": 1, "bins": 5}, "eta": {"low": 0, "high": 1, "bins": 4}}},
        classifier=False,
    )
    true, made = (comparison.tables[n].select(["mass", "n"]).values for n in ("reference", "generated"))
    assert made == pytest.approx(true * [2, 1], rel=1e-5, nan_ok=True)
    assert np.nanmax(true[:, 0]) > 0


@pytest.mark.parametrize("format", ["rntuple", "parquet", "feather"])
def test_lists_of_lists_of_one_shape_are_arrays(tmp_path, format):
    values = images("float32")
    deep = ak.Array(ak.to_list(ak.from_numpy(values)))
    path = lists_of_lists(tmp_path, format, ak.values_astype(deep, "float32"))
    with pytest.warns(
        UserWarning, match="Image: its lists of lists are read, and written, as an array of 5 x 4"
    ):
        events = read_events(path)
    assert str(ak.type(events.Image)) == f"{SIZE} * 5 * 4 * float32"
    assert np.array_equal(ak.to_numpy(events.Image), values)
    part = read_events(path, schema=schema_of(events), entry_start=7, entry_stop=60)
    assert np.array_equal(ak.to_numpy(part.Image), values[7:60])


@pytest.mark.parametrize("format", ["rntuple", "parquet", "feather"])
def test_lists_of_lists_that_have_another_shape_later_are_an_error_that_names_the_event(tmp_path, format):
    values = images("float32", size=2 * LOOK).tolist()
    values[LOOK + 50] = values[LOOK + 50][:3]
    path = lists_of_lists(tmp_path, format, ak.values_astype(ak.Array(values), "float32"))
    with pytest.warns(UserWarning, match="lists of lists"), pytest.raises(InputError) as caught:
        read_events(path)
    assert (caught.value.branch, caught.value.entry) == ("Image", LOOK + 50)
    assert "is no array of 5 x 4" in str(caught.value)


@pytest.mark.parametrize("format", ["rntuple", "parquet", "feather"])
def test_lists_of_lists_of_several_shapes_are_left_out(tmp_path, format):
    values = images("float32").tolist()
    values[1] = values[1][:3]
    path = lists_of_lists(tmp_path, format, ak.values_astype(ak.Array(values), "float32"))
    with pytest.warns(UserWarning, match="left out 1 branches of other types: Image"):
        assert read_events(path).fields == ["x"]


def lists_of_lists(folder: Path, format: str, lists: ak.Array) -> Path:
    """A file with lists of lists, and a number of the event."""
    events = ak.zip({"Image": lists, "x": np.arange(len(lists), dtype="f4")}, depth_limit=1)
    path = folder / FORMATS[format]
    if format == "rntuple":
        with uproot.recreate(path) as file:
            file.mkrntuple("Events", ak.to_layout(events).form).extend(events)
    else:
        write = {"parquet": pq.write_table, "feather": feather.write_feather}[format]
        write(ak.to_arrow_table(events, extensionarray=False), path)
    return path


@pytest.mark.parametrize("format", ["ttree", "rntuple", "parquet"])
def test_lists_of_one_length_become_arrays_by_grids(tmp_path, format):
    values = images("float32")
    lists = ak.unflatten(values.reshape(-1), np.full(SIZE, 20))
    data = ak.zip({"wave": lists, "x": np.arange(SIZE, dtype="f4")}, depth_limit=1)
    path = write_events(tmp_path / FORMATS[format], as_events(data), format=format)
    assert schema_of(read_events(path)).collection("wave").layout == "jagged"
    grids = {"wave": {"y": {"low": 0, "high": 1, "bins": 5}, "t": {"low": 0, "high": 20, "bins": 4}}}
    events = read_events(path, grids=grids)
    assert np.array_equal(ak.to_numpy(events.wave), values)
    assert np.array_equal(ak.to_numpy(read_events(path, grids=grids, entry_start=9).wave), values[9:])
    again = read_events(write_events(tmp_path / "again.root", to_batch(events)), grids=grids)
    assert np.array_equal(ak.to_numpy(again.wave), values)
    with pytest.raises(InputError, match=r"it is lists, .* write t: \{low: , high: , bins: \}"):
        read_events(path, grids={"wave": {"t": [0, 20]}})
    with pytest.raises(InputError, match="has 20 values, not the 19 of an array of 19") as caught:
        read_events(path, grids={"wave": {"t": {"low": 0, "high": 20, "bins": 19}}})
    assert (caught.value.branch, caught.value.entry) == ("wave", 0)


def test_grids_make_arrays_of_what_is_taken_for_objects(tmp_path):
    rng = np.random.default_rng(1)
    number = rng.integers(1, 7, SIZE)
    there = np.arange(6) < number[:, None]
    columns = {n: np.where(there, rng.normal(size=(SIZE, 6)), -999).astype("f4") for n in ("hit_e", "hit_t")}
    path = file_of(tmp_path / "in.root", **columns, n_hits=number.astype("i4"))
    assert schema_of(read_events(path)).collection("hit").counter == "n_hits"
    grids = {n: {"t": (0, 6)} for n in columns}
    events = read_events(path, grids=grids)
    assert {*events.fields} == {"hit_e", "hit_t", "n_hits", "x"}
    assert np.array_equal(ak.to_numpy(events.hit_e), columns["hit_e"])
    assert np.array_equal(ak.to_numpy(events.n_hits), number)


@pytest.mark.parametrize("dtype", ["float32", "int16"])
def test_a_negative_cell_is_an_error_where_there_were_none(tmp_path, dtype):
    known = schema_of(read_events(file_of(tmp_path / "in.root", Image=images(dtype))))
    values = images(dtype)
    values[4, 1, 1] = -3
    broken = file_of(tmp_path / "broken.root", Image=values)
    with pytest.raises(InputError, match=r"negative, where no cell is \(-3.* in cell \[1, 1\]\)") as caught:
        read_events(broken, schema=known)
    assert (caught.value.branch, caught.value.entry) == ("Image", 4)
    assert schema_of(read_events(broken)).scalar("Image").low == -3
    assert len(list(iterate_events([tmp_path / "in.root", broken], step=50))) == 8


def test_baskets_hold_fewer_events_of_large_arrays(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "CELLS", 20 * 64)
    events = as_events({"Image": images("float32"), "x": np.arange(SIZE)})
    with uproot.open(write_events(tmp_path / "out.root", events)) as file:
        assert [file["Events"]["Image"].basket_entry_start_stop(i)[1] for i in range(2)] == [64, 128]
    assert np.array_equal(ak.to_numpy(read_events(tmp_path / "out.root").Image), images("float32"))


def test_not_all_events_of_large_arrays_are_looked_at(path, monkeypatch):
    monkeypatch.setattr(reading, "_CELLS", 20 * 64)
    monkeypatch.setattr(reading, "_FEW_EVENTS", 1)
    assert infer_schema(path).scalar("Image").high == images("float32")[:64].max()
    assert infer_schema(path, max_events=None).scalar("Image").high == images("float32").max()


def test_arrays_have_observables_of_their_own(tmp_path):
    wave = images("float32", (6,)) - 1
    events = read_events(file_of(tmp_path / "in.root", Image=images("float32"), wave=wave))
    found = default_observables(schema_of(events))
    assert {*found} == {
        *("x", "wave_sum", "wave_max", "wave_min", "Image_sum", "Image_max", "Image_filled"),
        *("Image_index0", "Image_index0_width", "Image_index1", "Image_index1_width"),
    }
    values = {name: ak.to_numpy(o(events)) for name, o in found.items()}
    assert values["Image_sum"] == pytest.approx(images("float32").sum((1, 2)), rel=1e-5)
    assert np.array_equal(values["Image_filled"], (images("float32") > 0).sum((1, 2)))
    assert np.array_equal(values["wave_min"], wave.min(1))
