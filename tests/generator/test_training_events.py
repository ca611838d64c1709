from __future__ import annotations

import warnings

import awkward as ak
import numpy as np
import pytest
import uproot
from generator_toys import small
from toys import dimuons

from hepgan.errors import InputError
from hepgan.events import read_events, write_events
from hepgan.events.divided import DividedEvents, Division
from hepgan.events.reading import located
from hepgan.files import Reservation

SIZE = 500


def in_portions(**changes):
    changes = {"events__select": ["Muon.pt", "Muon.eta", "MET"], "observables": {"met": "MET.pt"}} | changes
    return small(**{"training__portion": SIZE, **changes})


@pytest.fixture
def files(tmp_path):
    """Two files of 900 and 700 events; those of the second weigh ten times as much."""
    paths = []
    for number, (count, weight) in enumerate(((900, 1.0), (700, 10.0))):
        events = dimuons(count, seed=number)
        events["weight"] = np.full(count, weight) * np.where(np.arange(count) % 9, 1.0, -1.0)
        paths.append(tmp_path / "in" / f"{number}.root")
        paths[-1].parent.mkdir(exist_ok=True)
        write_events(paths[-1], events)
    return paths


def test_events_of_files_are_learned_from_in_portions_that_are_gone_at_the_end(files, tmp_path):
    generator = in_portions(training__members=1)
    beside = tmp_path / "model.safetensors"
    with generator.reading(files, beside=beside) as events:
        assert isinstance(events, DividedEvents)
        assert (len(events), events.events) == (4, 1600)
        folder = events.folder
        generator.fit(events)
        assert len(list(folder.glob("portion-*"))) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    summary = generator.summary
    assert summary["portions"] == 4
    left = sum(summary.get("left_out", {}).values())
    assert summary["training_events"] + summary["validation_events"] + left == 1600
    weights = ak.to_numpy(read_events(files).weight)
    assert summary["yields"]["events"] == 1600
    assert summary["yields"]["sum_of_weights"] == pytest.approx(weights.sum())
    assert summary["yields"]["squares"] == pytest.approx((weights**2).sum())
    # The heavy ones are not all in one portion, which would be as heavy as any other.
    assert abs(float(np.mean(generator.generate(2000, seed=1).Muon.pt[:, 0])) - 50) < 40


@pytest.mark.parametrize(
    "changes", [{}, {"training__members": 2}, {"training__members": 2, "training__shared_start": 0.3}]
)
def test_an_array_in_memory_is_learned_from_in_portions(changes):
    generator = in_portions(**changes).fit(dimuons(1600))
    assert generator.summary["portions"] == 4
    assert generator.history.status == "finished"
    assert len(generator.history.losses) == 30
    assert generator.generate(10, seed=1).fields


def test_few_events_are_learned_from_as_a_whole(files):
    whole = in_portions(training__portion=None)
    with whole.reading(files) as events:
        whole.fit(events)
    assert "portions" not in whole.summary
    other = in_portions(training__portion=None).fit(read_events(files, branches=whole.recipe.branches))
    assert other.digest() == whole.digest()


def test_files_give_the_losses_of_an_array(files):
    """Where a portion has the classes and numbers of objects of all."""
    read = in_portions()
    with read.reading(files) as events:
        read.fit(events)
    other = in_portions().fit(read_events(files, branches=read.recipe.branches))
    assert read.history.losses.rows() == other.history.losses.rows()


def test_a_bad_event_of_the_last_chunk_is_named_by_file_branch_and_entry(files, tmp_path):
    events = read_events(files[1])
    pt = ak.to_numpy(events.MET.pt).copy()
    pt[-1] = np.nan
    branches = {"Muon": ak.zip({n: events.Muon[n] for n in ("pt", "eta", "phi", "mass")}), "MET_pt": pt}
    bad, good = tmp_path / "in" / "bad.root", tmp_path / "in" / "good.root"
    for path in (good, bad):
        with uproot.recreate(path) as file:
            file["Events"] = {**branches, "MET_pt": pt if path == bad else np.nan_to_num(pt)}
    generator, beside = in_portions(events__select=["Muon.pt", "MET.pt"]), tmp_path / "model.safetensors"
    with (
        pytest.raises(InputError, match=r"bad\.root:Events, branch MET_pt, entry 699: not a number"),
        generator.reading([good, bad], beside=beside) as found,
    ):
        generator.fit(found)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    with (
        pytest.warns(UserWarning, match="dropped 1 of 1400 events"),
        generator.reading([good, bad], on_bad="drop") as found,
    ):
        assert found.events == 1399


def test_an_event_of_several_files_is_in_one_of_them(files):
    label, entry = located(files, 950)
    assert "1.root" in label
    assert entry == 50


@pytest.mark.parametrize("portion", [SIZE, None])
def test_an_event_beyond_a_bound_of_the_recipe_has_its_number_in_the_sample(portion):
    events = dimuons(1600)
    pt = ak.to_numpy(events.MET.pt).copy()
    pt[1234] = 1e5
    events["MET"] = ak.with_field(events.MET, pt, "pt")
    generator = in_portions(training__portion=portion, features__bounds={"MET.pt": [0, 1e4]})
    with pytest.raises(InputError, match=r"entry 1234: .* outside the recipe's features\.bounds"):
        generator.fit(events, seed=3)


def test_what_the_first_portion_does_not_have_is_left_out_and_told():
    events = dimuons(1600)
    kind = np.arange(1600) % 3
    kind[700] = 7
    events["kind"] = kind
    generator = in_portions(events__select=["Muon.pt", "kind"], observables={})
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        # Not in the first portion.
        seed = next(s for s in range(9) if 700 not in DividedEvents(_division(s), events).numbers(0))
        generator.fit(events, seed=seed)
    (line,) = [str(w.message) for w in told if "left out" in str(w.message)]
    assert "left out 1 of 1,600 events" in line
    assert "1 for a class that does not occur there" in line
    assert sum(generator.summary["left_out"].values()) == 1
    assert set(ak.to_numpy(generator.generate(200, seed=1).kind)) <= {0, 1, 2}


def _division(seed):
    return Division(4, seed)


def test_what_was_stopped_leaves_nothing_and_what_was_killed_nothing_behind_the_next_one(files, tmp_path):
    generator, beside = in_portions(), tmp_path / "model.safetensors"
    with pytest.raises(KeyboardInterrupt), generator.reading(files, beside=beside) as events:  # noqa: PT012
        folder = events.folder
        assert folder.parent == tmp_path
        raise KeyboardInterrupt
    assert not folder.exists()
    folder.mkdir()
    (folder / "events-0").touch()
    Reservation(beside).release()
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
