"""HDF5 files as others make them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from hepgan import read_events, write_events
from hepgan.errors import InputError
from hepgan.events import as_events, count_events

N = 200


@pytest.fixture
def numbers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {"x": rng.normal(size=N), "n": rng.poisson(3.0, N), "good": rng.random(N) < 0.5}


def test_datasets_of_one_length_are_columns_and_others_are_left_out(numbers, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name, values in numbers.items():
            file[name] = values
        file["score"] = np.arange(2.0 * N).reshape(N, 2)
        file["one"] = np.arange(float(N)).reshape(N, 1)
        file["big"] = np.arange(N, dtype=">f4")
        file["half"] = np.arange(N, dtype="f2")
        file["word"] = np.array([b"a", b"bc"] * (N // 2))
        file["text"] = ["\u03bc", "e"] * (N // 2)
        file["images"] = np.zeros((N, 3, 3))
        file["names"] = [b"x", b"y"]
        file["version"] = 3
    with pytest.warns(UserWarning, match="left out 1 branches of other types: names"):
        events = read_events(path)
    assert set(events.fields) == {*numbers, "score", "one", "big", "half", "word", "text", "images"}
    for name, values in numbers.items():
        assert events[name].tolist() == values.tolist()
    assert events.score.tolist() == np.arange(2.0 * N).reshape(N, 2).tolist()
    assert str(events.big.type) == str(events.half.type) == f"{N} * float32"
    assert events.big[3] == events.half[3] == 3.0
    assert str(events.images.type) == f"{N} * 3 * 3 * float64"
    assert events.text[:2].tolist() == ["\u03bc", "e"]
    assert events.word[:2].tolist() == ["a", "bc"]


def test_compound_datasets_are_columns(tmp_path):
    table = np.zeros(N, dtype=[("pt", "f4"), ("charge", "i1"), ("w", "f8", (2,))])
    table["pt"] = np.arange(N)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["jets"] = table
        file["deep/down"] = table
    alone = read_events(f"{tmp_path}/a.h5:jets")
    assert alone.fields == ["pt", "charge", "w"]
    assert str(alone.w.type) == f"{N} * 2 * float64"
    assert alone.pt.tolist() == list(range(N))
    named = read_events(f"{tmp_path}/a.h5:deep")
    assert named["down.pt"].tolist() == list(range(N))


def test_arrays_of_one_size_are_objects_and_come_back(tmp_path):
    rng = np.random.default_rng(1)
    number = rng.integers(2, 6, N)
    there = np.arange(5) < number[:, None]
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("pt", "eta", "phi", "mass"):
            file[f"jet_{name}"] = np.where(there, rng.uniform(1, 2, (N, 5)), 0).astype("f4")
        file["jet_mask"] = there
    events = read_events(path)
    assert np.array_equal(np.diff(events.jet.layout.offsets.data), number)
    again = write_events(tmp_path / "b.h5", events)
    with h5py.File(path) as one, h5py.File(again) as two:
        assert set(one) == set(two)
        for name in one:
            assert np.array_equal(one[name][:], two[name][:])
            assert one[name].dtype == two[name].dtype


def test_groups_are_named_where_there_are_several(numbers, tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for group, size in (("train", N), ("test", N // 2)):
            file[f"{group}/x"] = numbers["x"][:size]
    assert count_events(f"{path}:train") == N
    assert count_events(f"{path}:test") == N // 2
    with pytest.raises(InputError, match=r"which group\? It has test, train; write .*a.h5:GROUP"):
        read_events(path)
    with pytest.raises(InputError, match="no group 'other' with datasets; there are: test, train"):
        read_events(f"{path}:other")


def test_what_is_written_is_what_others_read(numbers, tmp_path):
    path = write_events(tmp_path / "a.h5", as_events(numbers), title="of a test", batch=64)
    with h5py.File(path) as file:
        assert set(file) == set(numbers)
        for name, values in numbers.items():
            assert np.array_equal(file[name][:], values)
            assert file[name].dtype == values.dtype
    named = write_events(tmp_path / "b.h5", as_events(numbers), tree="train")
    assert read_events(f"{named}:train").x.tolist() == read_events(named).x.tolist() == numbers["x"].tolist()


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "the file is empty"), (b"\x89HDF nothing", "not a whole HDF5 file")]
)
def test_files_that_are_not_whole_are_errors(content, words, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_events(path)
    with h5py.File(path, "w"):
        pass
    with pytest.raises(InputError, match="it holds no datasets"):
        read_events(path)
