"""Weights and identifiers that a file has in a list of one number in each event."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import BaseSchema

from hepgan.coffea import to_nanoevents
from hepgan.errors import InputError
from hepgan.events import read_events, schema_of, write_events

N = 60


def lists(values, counts=None) -> ak.Array:
    return ak.unflatten(values, np.ones(N, int) if counts is None else counts)


def columns(seed: int = 1) -> dict[str, ak.Array]:
    rng = np.random.default_rng(seed)
    counts = rng.poisson(2, N)
    size = int(counts.sum())
    jets = {"PT": rng.exponential(30, size) + 20, "Eta": rng.normal(0, 1, size)}
    jets |= {"Phi": rng.uniform(-3, 3, size), "Mass": rng.gamma(3, 3, size)}
    made = {f"Jet.{k}": lists(v.astype("f4"), counts) for k, v in jets.items()}
    made["Event.Number"] = lists(np.arange(N))
    made["Event.Weight"] = lists(rng.choice([-1.5, 1.5], N).astype("f4"))
    made["Event.ProcessID"] = lists(rng.choice([3, 7, 9], N).astype("i4"))
    return made


def as_ttree(path: Path, made: dict[str, ak.Array], counter: Callable[[str], str]) -> None:
    counters = {counter(n): ak.to_numpy(ak.num(v)).astype("i4") for n, v in made.items()}
    with uproot.recreate(path) as file:
        file.mktree("Delphes", {n: v.type.content for n, v in made.items()}, counter_name=counter)
        file["Delphes"].extend({**counters, **made})


@pytest.mark.parametrize("several", [True, False], ids=["shared counter", "own counters"])
def test_weight_and_number_of_delphes_are_found_and_written_back(tmp_path, several):
    counter = (lambda n: n.partition(".")[0] + "_size") if several else (lambda n: f"n{n}")
    as_ttree(tmp_path / "a.root", columns(), counter)
    events = read_events(tmp_path / "a.root")
    schema = schema_of(events)
    assert schema.weight == "Event_Weight"
    assert set(np.unique(events.Event_Weight.to_numpy())) == {-1.5, 1.5}
    assert [f.branch for f in schema.identifiers] == ["Event.Number"]
    assert events.event.to_list() == list(range(N))
    write_events(tmp_path / "b.root", events)
    with uproot.open(tmp_path / "a.root") as a, uproot.open(tmp_path / "b.root") as b:
        before, after = a["Delphes"], b["Delphes"]
        assert set(before.keys()) == set(after.keys())
        for name in before.keys():  # noqa: SIM118
            assert before[name].typename == after[name].typename
            assert ak.array_equal(before[name].array(), after[name].array())


def test_a_record_of_one_weight_each_is_a_weight_in_an_rntuple(tmp_path):
    made = {n.replace("Event.", "EventInfoAuxDyn.mcEvent"): v for n, v in columns().items()}
    made = {n.replace("mcEventWeight", "mcEventWeights"): v for n, v in made.items()}
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mkrntuple("EventData", made)
    events = read_events(tmp_path / "a.root")
    schema = schema_of(events)
    assert schema.weight is not None
    assert schema.scalar(schema.weight).branch == "EventInfoAuxDyn.mcEventWeights"
    for form in ("rntuple", "parquet", "ttree"):
        out = tmp_path / f"b_{form}.{'parquet' if form == 'parquet' else 'root'}"
        write_events(out, events, format=form)
        again = read_events(out)
        assert schema_of(again).weight == schema.weight
        assert ak.array_equal(again[schema.weight], events[schema.weight])


def test_objects_of_which_there_is_one_stay_lists_and_so_do_many_weights(tmp_path):
    made = columns()
    rng = np.random.default_rng(3)
    made = {n: v for n, v in made.items() if not n.startswith("Event.")}
    made |= {f"Photon.{k}": lists(rng.uniform(20, 90, N)) for k in ("PT", "Weight")}
    made["Weight.Weight"] = lists(rng.normal(1, 0.1, 3 * N), np.full(N, 3))
    as_ttree(tmp_path / "a.root", made, lambda n: n.partition(".")[0] + "_size")
    schema = schema_of(read_events(tmp_path / "a.root"))
    assert schema.weight is None
    assert {"Photon", "Weight"} <= set(schema.collection_names)


def test_an_event_with_two_weights_is_told(tmp_path):
    one, two = columns(), columns(2)
    two["Event.Weight"] = lists(np.ones(N + 1, "f4"), np.array([*[1] * (N - 1), 2]))
    counter = "n{}".format
    as_ttree(tmp_path / "a.root", one, counter)
    as_ttree(tmp_path / "b.root", two, counter)
    schema = schema_of(read_events(tmp_path / "a.root"))
    with pytest.raises(InputError, match="has 2 values, where one is expected") as error:
        read_events(tmp_path / "b.root", schema=schema)
    assert (error.value.branch, error.value.entry) == ("Event.Weight", N - 1)


def test_processors_find_them_as_in_the_file(tmp_path):
    as_ttree(tmp_path / "a.root", columns(), lambda n: n.partition(".")[0] + "_size")
    events = read_events(tmp_path / "a.root")
    nano = to_nanoevents(events, schemaclass=BaseSchema)
    assert ak.to_list(nano["Event.Weight"]) == [[w] for w in events.Event_Weight.to_list()]
