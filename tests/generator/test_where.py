"""Events that fulfil a condition are those that would have been chosen, and each by its number."""

from __future__ import annotations

import json
import math

import awkward as ak
import numpy as np
import pytest
from generator_toys import same, small
from scipy import stats
from toys import dimuons

from hepgan.errors import InputError
from hepgan.events import read_events
from hepgan.generator import where as module
from hepgan.generator.where import Efficiency
from hepgan.models import BLOCK
from hepgan.production import Plan, produce, write_shard

RARE = "count(Jet) >= 2 and MET.pt > 40"


@pytest.fixture(scope="module")
def generator():
    return small().fit(dimuons(2000, seed=1), seed=2, device="cpu")


@pytest.fixture(scope="module")
def all_events(generator):
    return generator.generate(20_000, seed=7)


def holds(events):
    return (ak.num(events.Jet) >= 2) & (events.MET.pt > 40)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("count(Jet) >= 2", lambda e: ak.num(e.Jet) >= 2),
        ("nJet >= 2", lambda e: ak.num(e.Jet) >= 2),
        (RARE, holds),
        (["nJet >= 2", "MET.pt > 40"], holds),
        ("not any(Jet.pt > 40)", lambda e: ~ak.any(e.Jet.pt > 40, axis=1)),
        ("(Muon[0] + Muon[1]).mass > 95", lambda e: (e.Muon[:, 0] + e.Muon[:, 1]).mass > 95),
    ],
)
def test_all_events_fulfil_what_is_asked_for(generator, where, expected):
    events = generator.generate(500, seed=3, where=where)
    assert len(events) == 500
    assert ak.all(expected(events))


def test_their_distribution_is_that_of_the_events_that_would_have_been_chosen(generator, all_events):
    chosen = all_events[holds(all_events)]
    made = generator.generate(3 * len(chosen), seed=8, where=RARE)
    assert 300 < len(chosen) < 20_000
    for number in ("pt", "phi"):
        found = stats.ks_2samp(np.asarray(chosen.MET[number]), np.asarray(made.MET[number]))
        assert found.pvalue > 1e-3
    counts = [np.bincount(np.asarray(ak.num(e.Jet)), minlength=6)[2:6] for e in (chosen, made)]
    table = np.array(counts)[:, np.sum(counts, 0) > 10]
    assert stats.chi2_contingency(table).pvalue > 1e-3
    # Each event is another one, so what is drawn anew has numbers of its own.
    assert len(np.unique(np.asarray(made.MET.pt))) > 0.999 * len(made)


@pytest.mark.parametrize("where", [RARE, "nJet >= 0", "MET.pt > 60"])
def test_events_depend_on_their_number_alone(generator, where):

    def made(first, n, **how):
        batches = generator.iterate(n, first=first, seed=5, where=where, **how)
        return np.concatenate([b.MET.pt for b in batches])

    whole = made(BLOCK - 130, 260, workers=1)
    assert (whole[70:190] == made(BLOCK - 60, 120, step=50, workers=2)).all()
    assert (whole[:3] == made(BLOCK - 130, 3)).all()
    some = generator.generate(70, seed=5, where=where)
    assert same(some[:20], generator.generate(20, seed=5, where=where, workers=2))
    assert not same(some, generator.generate(70, seed=6, where=where))


def test_events_that_fulfil_it_already_stay(generator, all_events):
    first = all_events[:400]
    made = generator.generate(400, seed=7, where=RARE)
    held = holds(first)
    assert 0 < ak.sum(held) < 400
    assert same(first[held], made[held])


def test_the_efficiency_is_told_with_its_error(generator, all_events):
    true = float(ak.mean(holds(all_events)))
    found = generator.efficiency(RARE, seed=9, passed=1000)
    assert abs(found.value - true) < 4 * math.hypot(found.error, math.sqrt(true / len(all_events)))
    assert found.passed >= 1000
    assert found.error == pytest.approx(found.value / math.sqrt(found.passed), rel=0.1)
    assert generator.efficiency("nJet >= 0", passed=10).value == 1.0


@pytest.mark.parametrize(
    ("passed", "tried", "text"),
    [
        (100, 10_000, "(1.000 ± 0.099)%"),
        (5_000, 10_000, "(50.00 ± 0.50)%"),
        (25, 200_000, "(0.0125 ± 0.0025)%"),
        (4_096, 4_096, "100%"),
    ],
)
def test_the_efficiency_has_as_many_digits_as_it_is_known_to(passed, tried, text):
    assert str(Efficiency(passed=passed, tried=tried)) == text


def test_what_hardly_happens_is_an_error_that_tells_how_often(generator, monkeypatch):
    monkeypatch.setattr(module, "LOOKED", 10_000)
    with pytest.raises(InputError, match=r"where MET.pt > 1e7: of 12,288 generated events none fulfils it"):
        generator.generate(10, where="MET.pt > 1e7")
    monkeypatch.setattr(module, "LEAST", 0.2)
    with pytest.raises(InputError, match=r"only [\d,]+ fulfil it, less than 1 in 5;"):
        generator.efficiency("MET.pt > 110", passed=10_000)


@pytest.mark.parametrize(
    ("where", "match"),
    [
        ("nJets >= 4", r"where 'nJets >= 4': .*column 1: .*nJets"),
        ("Jet.mass > 4", "mass"),
        ("Jet.pt > 4", "condition for each of Jet"),
        ("MET.pt >", "not an expression"),
        ("MET.pt", "MET.pt"),
        ("2 > 1", "does not depend on the events"),
        (["nJet >= 0", "nope > 1"], r"where 'nope > 1'"),
    ],
)
def test_what_is_wrong_is_an_error_before_anything_is_generated(generator, tmp_path, where, match):
    with pytest.raises(InputError, match=match):
        generator.iterate(10, where=where)
    with pytest.raises(InputError, match=match):
        produce(generator, 10, tmp_path / "out.root", where=where)
    assert not list(tmp_path.iterdir())


def test_numbers_are_judged_as_files_have_them(generator, tmp_path):
    edge = float(np.float32(40.0)) + 1e-7
    produce(generator, 2000, tmp_path / "out.root", where=f"MET.pt > {edge!r}")
    assert (np.asarray(read_events(tmp_path / "out.root").MET.pt, np.float64) > edge).all()


def test_what_is_given_for_an_event_stays(toy_generator):
    given = np.arange(300) % 20 + 10
    made = toy_generator.generate(300, seed=4, condition={"npv": given}, where="nJet >= 1")
    assert made.npv.to_list() == given.tolist()
    assert ak.all(ak.num(made.Jet) >= 1)
    assert toy_generator.efficiency("nJet >= 1", n=300, condition={"npv": given}, passed=500).tried % 300 == 0


def test_conditions_that_are_drawn_are_drawn_anew(toy_generator):
    free = toy_generator.generate(20_000, seed=1)
    made = toy_generator.generate(4_000, seed=2, where="npv > 22")
    chosen = np.asarray(free.npv[free.npv > 22])
    values, counts = np.unique(np.concatenate([chosen, np.asarray(made.npv)]), return_counts=True)
    often = values[counts > 50]
    table = [[np.sum(np.asarray(e) == v) for v in often] for e in (chosen, made.npv)]
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_what_an_event_cannot_fulfil_for_what_is_given_for_it_is_told(toy_generator, monkeypatch):
    monkeypatch.setattr(module, "LOOKED", 200)
    given = np.where(np.arange(100) == 70, 10, 25)
    with pytest.raises(InputError, match="tries for event 70 none fulfils it"):
        toy_generator.generate(100, condition={"npv": given}, where="npv > 20")


def test_members_of_an_ensemble_keep_their_events():
    made = small(training__members=2).fit(dimuons(500, seed=1), seed=2, device="cpu")
    events = made.generate(200, seed=3, where=RARE)
    assert events.member.to_list() == [i % 2 for i in range(200)]
    assert ak.all(holds(events))


# ---------------------------------------------------------------------- files


def test_shards_are_those_of_one_file_and_their_plan_has_the_condition(generator, tmp_path):
    made = produce(generator, 900, tmp_path / "shards", shard_size=400, seed=3, where=[RARE])
    whole = produce(generator, 900, tmp_path / "one.root", seed=3, where=RARE)
    found = read_events([str(f) for f in made.files])
    assert same(found, read_events(whole.files[0]))
    plan = json.loads(made.fileset.read_text())["small"]["metadata"]["plan"]
    assert plan["where"] == [RARE]
    (tmp_path / "again").mkdir()
    again = write_shard(generator, Plan.model_validate(plan), 1, tmp_path / "again")
    assert same(read_events(tmp_path / "again" / again.name), found[400:800])
    others = Plan.of(generator, 900, seed=3, shard_size=400, format="ttree")
    assert "where" in Plan.model_validate(plan).differences(others)


def test_yields_are_those_of_the_selected_part(tmp_path):
    events = dimuons(4000, seed=1)
    weights = np.full(4000, 2.5, np.float32)
    recipe = {"events": {"select": ["Muon", "Jet.pt", "MET"], "weight": "genWeight"}}
    weighted = small(**recipe).fit(ak.with_field(events, weights, "genWeight"), seed=2, device="cpu")
    free = produce(weighted, 15_000, tmp_path / "free.root", seed=1)
    made = produce(weighted, 1_500, tmp_path / "some.root", seed=2, where=RARE)
    everything = read_events(free.files[0])
    chosen = everything[holds(everything)]
    expected = float(np.sum(np.asarray(chosen.genWeight, np.float64)))
    assert made.efficiency is not None
    error = expected * math.hypot(1 / math.sqrt(len(chosen)), made.efficiency.error / made.efficiency.value)
    assert abs(made.sum_of_weights - expected) < 4 * error
    # What analyses normalise by is the sum before the selection.
    total = json.loads(made.fileset.read_text())["small"]["metadata"]["sum_of_weights"]
    assert total == pytest.approx(10_000.0, rel=1e-5)


def test_filesets_of_events_without_weights_tell_how_many_they_stand_for(generator, tmp_path):
    made = produce(generator, 500, tmp_path / "some.root", where=RARE)
    metadata = json.loads(made.fileset.read_text())["small"]["metadata"]
    assert metadata["sum_of_weights"] == pytest.approx(500 / made.efficiency.value)
