from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from toys import dimuons

from hepgan.errors import InputError, OutputError
from hepgan.events import schema_of
from hepgan.events.divided import DividedEvents, Division, numbers_in


def test_every_event_is_in_one_portion_whatever_the_chunks_are():
    division = Division(7, 3)
    portions = division.of(0, 100_000)
    counts = np.bincount(portions, minlength=7)
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(np.concatenate([division.of(0, 31_234), division.of(31_234, 100_000)]), portions)
    assert np.array_equal(division.rows(4, 100_000), np.flatnonzero(portions == 4))
    assert not np.array_equal(Division(7, 4).of(0, 1000), portions[:1000])
    # No place in a row of seven is one portion's own.
    table = np.array([np.bincount(portions[k::7], minlength=7) for k in range(7)])
    assert abs(table / table.sum(1, keepdims=True) - 1 / 7).max() < 0.02


def test_portions_in_files_are_those_in_memory(tmp_path):
    events = dimuons(3000, weighted=True)
    events["text"] = np.array(["a", "bc"])[np.arange(3000) % 2]
    events["image"] = ak.from_numpy(np.arange(18_000, dtype=np.float32).reshape(3000, 3, 2))
    kept = DividedEvents(Division(4, 1), folder=tmp_path)
    counted = []
    kept.take((events[i : i + 701] for i in range(0, 3000, 701)), counted.append)
    there = DividedEvents(Division(4, 1), events)
    assert kept.events == counted[-1] == there.events == 3000
    assert len(kept) == len(list(tmp_path.iterdir())) == 4
    for k in range(4):
        assert kept[k].type == there[k].type
        assert ak.array_equal(kept[k], events[there.numbers(k)], check_parameters=True)
    assert schema_of(kept[2]) == schema_of(kept[0])
    assert schema_of(kept[0]).collection("Jet").max_count == int(ak.max(ak.num(kept[0].Jet)))


def test_one_portion_is_the_events_themselves():
    events = dimuons(100)
    assert DividedEvents(Division(1, 0), events)[0] is events


def test_no_events_are_an_error(tmp_path):
    with pytest.raises(InputError, match="there are no events"):
        DividedEvents(Division(2, 0), folder=tmp_path).take([])


def test_a_folder_that_is_gone_is_one_clear_error(tmp_path):
    with pytest.raises(OutputError, match=r"events-\d: events on their way to a training cannot be kept"):
        DividedEvents(Division(2, 0), folder=tmp_path / "gone").take([dimuons(10)])


def test_an_event_has_the_numbers_of_a_row_of_tensors():
    events = ak.Array(
        {
            "Jet": ak.zip({"pt": [[1.0, 2.0], [], [3.0]], "eta": [[0.0, 0.0], [], [1.0]]}),
            "image": ak.from_numpy(np.zeros((3, 5, 4))),
            "rho": [1.0, 2.0, 3.0],
            "kind": ["a", "bcd", ""],
        }
    )
    assert numbers_in(events) == 2 * 2 + 20 + 1 + 1
    assert numbers_in(events[:0]) >= 1
