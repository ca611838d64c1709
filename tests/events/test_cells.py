"""Arrays as lists of their cells, and back."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import InputError
from hepgan.events import Objects, as_events, read_events, to_cells, to_grid, write_events

SHAPES = [(4,), (5, 4), (2, 3, 4)]


def sparse(shape: tuple[int, ...], dtype: str, size: int = 60) -> np.ndarray:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(size, *shape)) * 50 * (rng.random((size, *shape)) < 0.3)
    values[0] = 0
    return np.abs(values).astype(dtype) if dtype in ("uint8", "bool") else values.astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8", "bool"])
def test_lists_of_cells_give_back_each_bit(shape, dtype):
    values = sparse(shape, dtype)
    if dtype.startswith("float"):
        values[1] = -0.0
        values[2].flat[1] = np.nan
        values[3].flat[0] = np.inf
    for given in (values, ak.from_numpy(values, regulararray=True)):
        cells = to_cells(given)
        back = ak.to_numpy(to_grid(cells, shape))
        assert back.dtype == values.dtype
        assert back.tobytes() == values.tobytes()
    assert ak.num(cells)[0] == 0
    assert ak.sum(ak.num(cells)) < values.size
    tensor = torch.from_numpy(values)
    objects = to_cells(tensor)
    back = to_grid(objects, shape)
    assert back.dtype == tensor.dtype
    assert back.numpy().tobytes() == values.tobytes()
    assert torch.equal(objects.mask.sum(1), torch.from_numpy(ak.to_numpy(ak.num(cells))))


def test_the_slowest_index_counts_most():
    values = np.zeros((1, 5, 4), "f4")
    values[0, 3, 2] = 7
    assert to_cells(values).tolist() == [[{"cell": 14, "value": 7.0}]]


def test_gradients_reach_the_contents():
    values = torch.tensor(sparse((5, 4), "float64"), requires_grad=True)
    to_grid(to_cells(values), (5, 4)).square().sum().backward()
    assert torch.equal(values.grad, 2 * values.detach())


def test_files_of_cells_give_the_same_grid(tmp_path):
    values = sparse((5, 4), "float32")
    events = as_events(ak.zip({"ImageCell": to_cells(values)}, depth_limit=1))
    again = read_events(write_events(tmp_path / "cells.root", events))
    assert np.array_equal(ak.to_numpy(to_grid(again.ImageCell, (5, 4))), values)


def test_no_events_make_no_cells():
    empty = np.zeros((0, 5, 4), "f4")
    assert ak.to_numpy(to_grid(to_cells(empty), (5, 4))).shape == (0, 5, 4)
    assert to_grid(to_cells(torch.from_numpy(empty)), (5, 4)).shape == (0, 5, 4)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([[], [3, 20]], "there is no cell 20 among 20"),
        ([[1], [-1]], "no cell -1"),
        ([[1], [2, 2]], "2 times"),
    ],
)
def test_cells_that_are_none_name_their_event(cells, said):
    lists = ak.zip({"cell": ak.Array(cells), "value": ak.Array(cells)})
    with pytest.raises(InputError, match=said) as caught:
        to_grid(lists, (5, 4))
    assert caught.value.entry == 1
    number = torch.tensor([[0, 0], cells[1] if len(cells[1]) > 1 else [0, *cells[1]]])
    mask = torch.tensor([[False, False], [True, True]])
    with pytest.raises(InputError, match=said) as caught:
        to_grid(Objects({"cell": number, "value": number.double()}, mask), (5, 4))
    assert caught.value.entry == 1


def test_what_has_no_cells_is_an_error():
    with pytest.raises(InputError, match="not Array"):
        to_cells(ak.Array([[1.0], [2.0, 3.0]]))
    with pytest.raises(InputError, match="arrays of numbers, of one shape"):
        to_cells(np.zeros(3))
    with pytest.raises(InputError, match="of arrays"):
        to_cells(torch.zeros(3))
    with pytest.raises(InputError, match="objects with a value; these have cell"):
        to_grid(ak.zip({"cell": ak.Array([[1], [2]])}), (5, 4))
