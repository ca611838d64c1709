from __future__ import annotations

import math
import signal
import time

import awkward as ak
import numpy as np
import pytest
import torch
from generator_toys import GAN, SMALL, assert_same_weights, same, small
from toys import dimuons

from hepgan.errors import InputError, RecipeError, TrainingError
from hepgan.events import read_events, schema_of, select, to_batch, write_events
from hepgan.generator import EventGenerator
from hepgan.generator.fitting import evaluate, split
from hepgan.generator.sampling import Purpose
from hepgan.observables import Observable
from hepgan.training import Trainer


@pytest.fixture(scope="module")
def events():
    return dimuons(400, seed=2)


@pytest.fixture(scope="module")
def fitted(events):
    return small().fit(events, seed=1, device="cpu")


# ---------------------------------------------------------------------- generating


@pytest.mark.parametrize(("n", "workers"), [(1, 1), (1, 3), (100, 2), (5000, 1), (5000, 2), (5000, 3)])
def test_a_seed_gives_the_same_events_for_any_number_and_workers(toy_generator, n, workers):
    most = toy_generator.generate(6000, seed=4, workers=1)
    assert same(toy_generator.generate(n, seed=4, workers=workers), most[:n])


def test_generated_in_several_batches_is_generated_in_one(fitted, monkeypatch):
    whole = fitted.generate(9000, seed=2)
    monkeypatch.setattr("hepgan.generator.generator.STEP", 1000)
    iterate = EventGenerator.iterate.__wrapped__
    monkeypatch.setattr(iterate, "__kwdefaults__", iterate.__kwdefaults__ | {"step": 1000})
    parts = fitted.generate(9000, seed=2)
    assert same(parts, whole)
    # Limits are those of the generated events, where these are beyond those of the training events.
    found = schema_of(parts)
    assert found == schema_of(whole)
    assert (found.collection_names, found.scalar_names) == (
        fitted.schema.collection_names,
        fitted.schema.scalar_names,
    )
    assert [f.branches for c in found.collections for f in c.fields] == [
        f.branches for c in fitted.schema.collections for f in c.fields
    ]


def test_different_seeds_give_different_events(fitted):
    met = [fitted.generate(1000, seed=s).MET for s in (1, 2)]
    a, b = (np.asarray(m.pt) + 1j * np.asarray(m.phi) for m in met)
    assert not np.isin(a, b).any()


def test_generated_events_have_the_type_of_those_that_were_read(tmp_path, toy_generator):
    write_events(tmp_path / "toy.root", dimuons(2000, seed=1, weighted=True))
    read = read_events(tmp_path / "toy.root")
    generator = small(events__select=[]).fit(read, device="cpu")
    made = generator.generate(200)
    assert made.type.content == read.type.content
    assert ak.all(made.genWeight == 1)
    assert ak.all(abs(made.Muon.charge) == 1)
    assert float((made.Muon[:, 0] + made.Muon[:, 1]).mass[0]) > 0


@pytest.mark.parametrize("n", [0, -3])
def test_a_number_of_events_must_be_positive(fitted, n):
    with pytest.raises(ValueError, match=f"must be .*not {n}"):
        fitted.generate(n)


@pytest.mark.parametrize("wrong", [{"first": -1}, {"step": 0}, {"workers": 0}, {"seed": -1}, {"seed": 2**64}])
def test_numbers_out_of_range_are_refused_at_once(fitted, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        fitted.iterate(10, **wrong)


def test_an_unfitted_generator_says_what_to_do(tmp_path):
    for action in (lambda g: g.generate(1), lambda g: g.save(tmp_path / "x"), lambda g: g.schema):
        with pytest.raises(RuntimeError, match="call fit, or load"):
            action(small())


def test_conditions_are_met(toy_generator):
    wanted = np.arange(1, 301) % 20 + 10
    assert ak.all(toy_generator.generate(300, condition={"npv": wanted}).npv == wanted)
    assert ak.all(toy_generator.generate(300, condition={"npv": 12}).npv == 12)
    assert len(np.unique(toy_generator.generate(300).npv)) > 5


@pytest.mark.parametrize("length", [299, 301])
def test_a_condition_needs_a_value_for_each_event(toy_generator, length):
    with pytest.raises(InputError, match=rf"npv has the shape \({length},\); expected one number, or 300"):
        toy_generator.generate(300, condition={"npv": np.full(length, 9)})


def test_a_shard_needs_conditions_up_to_its_last_event(toy_generator):
    with pytest.raises(InputError, match="npv has the shape"):
        toy_generator.iterate(10, first=95, condition={"npv": np.full(100, 9)})


def test_an_unknown_condition_is_named(fitted):
    with pytest.raises(InputError, match="'npv' is not a condition of this model; it has none"):
        fitted.generate(3, condition={"npv": 3})


# ---------------------------------------------------------------------- learning


@pytest.mark.parametrize("model", [SMALL["model"], GAN], ids=["flow_matching", "gan"])
def test_a_seed_gives_the_same_model(events, model):
    one, two = (small(model=model).fit(events, seed=7, device="cpu") for _ in range(2))
    assert_same_weights(one, two)
    other = small(model=model).fit(events, seed=8, device="cpu")
    assert same(one.generate(50), two.generate(50))
    assert not same(one.generate(50), other.generate(50))


def test_learning_leaves_the_callers_random_numbers_alone(events):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    small(training__steps=2).fit(events, seed=5, device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_a_resumed_training_ends_in_the_model_of_an_uninterrupted_one(events, tmp_path, monkeypatch):
    settings = {
        "training__evaluate_every": 10,
        "training__selection": {"metrics": ["ks:met"]},
    }
    whole = small(**settings).fit(events, seed=3, device="cpu")
    step = Trainer._train_step

    def interrupted(self):
        if self._step == 12:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    checkpoint = tmp_path / "run.checkpoint.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", interrupted)
        part = small(**settings).fit(events, seed=3, device="cpu", checkpoint=checkpoint)
    assert part.summary["status"] == "interrupted"
    assert part.summary["steps"] == 13
    assert len(part.generate(10)) == 10
    resumed = small(**settings).fit(events, seed=3, device="cpu", checkpoint=checkpoint, resume=True)
    assert resumed.summary["status"] == "finished"
    assert_same_weights(resumed, whole)
    assert same(resumed.generate(100), whole.generate(100))


def test_training_ends_in_time(events):
    started = time.monotonic()
    generator = small(training__steps=10**7, training__checkpoint_every=30.0).fit(
        events, device="cpu", max_time=2.0
    )
    assert time.monotonic() - started < 6.0
    assert generator.summary["status"] == "time"
    assert generator.summary["steps"] > 10


def test_negative_weights_are_accepted_from_events_to_file(tmp_path):
    events = dimuons(1000, seed=4, weighted=True)
    assert ak.any(events.genWeight < 0)
    generator = small(events__select=[], training__selection={"metrics": ["ks:met", "wasserstein:jet"]}).fit(
        events, device="cpu"
    )
    assert generator.schema.weight == "genWeight"
    made = generator.generate(500)
    assert ak.all(made.genWeight == 1)
    write_events(tmp_path / "out.root", made)
    assert same(read_events(tmp_path / "out.root").MET, made.MET)


def test_weights_count(tmp_path):
    """Events of weight 0 leave no trace in what is generated."""
    events = dimuons(2000, seed=4)
    heavy = np.asarray(events.Muon.charge[:, 0]) > 0
    events["genWeight"] = np.where(heavy, 1.0, 0.0).astype(np.float32)
    generator = small(events__select=["Muon", "genWeight"], observables={}).fit(events, device="cpu")
    assert ak.mean(generator.generate(2000).Muon.charge[:, 0] > 0) > 0.98


def test_an_unknown_weight_is_refused(events):
    with pytest.raises(RecipeError, match="other events"):
        small(events__weight="w").fit(events)


def test_weights_must_have_a_positive_sum():
    events = dimuons(300, seed=4)
    events["genWeight"] = np.full(300, -1.0, np.float32)
    with pytest.raises(InputError, match="weight"):
        small(events__select=[]).fit(events, device="cpu")


def test_no_events_are_refused(events):
    with pytest.raises(InputError, match=r"no events|empty"):
        small().fit(events[:0], device="cpu")


def test_nothing_is_generated_after_a_failed_training(events):
    generator = small(training__optimiser={"kind": "adam", "lr": 1e6}, training__steps=200)
    with pytest.raises(TrainingError):
        generator.fit(events, device="cpu")
    assert generator.history.status == "failed"
    with pytest.raises(RuntimeError, match="not learned"):
        generator.generate(1)


# ---------------------------------------------------------------------- selection


def test_the_selected_model_has_the_smallest_sum_of_metrics(events):
    generator = small(
        training__evaluate_every=5,
        training__selection={"metrics": ["ks:met", "wasserstein:n_jet"]},
    ).fit(events, device="cpu")
    rows = generator.history.metrics.rows()
    assert [r["step"] for r in rows] == [5, 10, 15, 20, 25, 30]
    sums = [r["ks:met"] + r["wasserstein:n_jet"] for r in rows]
    assert generator.summary["best_step"] == rows[int(np.argmin(sums))]["step"]
    assert generator.summary["metrics"]["ks:met"] == rows[int(np.argmin(sums))]["ks:met"]


def test_without_named_metrics_all_observables_select(events):
    generator = small(training__selection={}).fit(events, device="cpu")
    assert set(generator.history.metrics.names) == {"step", "ks:met", "ks:n_jet", "ks:jet"}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"training__selection": {"metrics": ["ks:mass"]}}, "'ks:mass' is not a metric.*met, n_jet, jet"),
        ({"training__selection": {"metrics": ["auc:met"]}}, "'auc:met' is not a metric; write ks or wasser"),
        ({"training__selection": {"metrics": ["ll"]}}, "'ll' is not a metric.*; or nll"),
        ({"model": GAN, "training__selection": {"metrics": ["nll"]}}, "'nll' is not a metric; write ks or"),
        ({"training__selection": {}, "observables": {}}, "no metrics"),
        (
            {"training__selection": {"metrics": ["ks:met"]}, "training__validation_fraction": 0.0},
            "validation_fraction",
        ),
    ],
)
def test_impossible_selections_are_refused_before_any_work(events, changes, match, monkeypatch):
    monkeypatch.setattr("hepgan.generator.fitting.Representation", None)
    with pytest.raises(RecipeError, match=match):
        small(**changes).fit(events, device="cpu")


def test_a_training_can_be_judged_by_the_likelihood_of_events_that_were_kept_out(events):
    generator = small(
        events__select=["MET"],
        observables={},
        training__selection={"metrics": ["nll"]},
        training__evaluate_every=15,
        training__validation_fraction=0.3,
    ).fit(events, seed=3, device="cpu")
    (kept,) = [r for r in generator.history.metrics.rows() if r["step"] == generator.history.best_step]
    held = split(len(events), 0.3, 3)[1].numpy()
    expected = -generator.log_prob(events[held], measure="columns")
    features = generator.representation.encode_possible(to_batch(events[held], generator.schema))[0]
    volume = generator.representation.log_abs_det(features).numpy()
    assert kept["nll"] == pytest.approx(float(np.mean(expected + volume)), abs=1e-4)


def test_a_checkpoint_is_chosen_by_events_that_users_do_not_get(events, monkeypatch):
    seen = []

    def judged(names, observables, reference, generated):
        seen.append(generated.MET.pt.numpy().astype(np.float32))
        return dict.fromkeys(names, 0.0)

    monkeypatch.setattr("hepgan.generator.fitting.evaluate", judged)
    generator = small(training__selection={"metrics": ["ks:met"]}).fit(events, seed=0, device="cpu")
    made = ak.to_numpy(generator.generate(len(seen[-1])).MET.pt)
    assert not set(seen[-1].tolist()) & set(made.tolist())
    seeds = [purpose.seed(seed) for purpose in Purpose for seed in (0, 1, 2**32)]
    assert len(set(seeds)) == len(seeds)
    assert all(2**60 < seed < 2**64 for seed in seeds)


def test_metrics_are_those_of_scipy_and_survive_what_cannot_be_compared(events):
    from scipy.stats import ks_2samp

    schema = select(schema_of(events), ["MET", "Jet"])
    batch = to_batch(events, schema)
    a, b = batch[:300], batch[300:]
    observables = {n: Observable(n, e) for n, e in (("met", "MET.pt"), ("jet", "Jet.pt"))}
    found = evaluate(("ks:met", "ks:jet"), observables, a, b)
    expected = ks_2samp(a.MET.pt.numpy(), b.MET.pt.numpy()).statistic
    assert found["ks:met"] == pytest.approx(expected, abs=1e-12)
    empty = b[~b.Jet.mask.any(1)]
    names = ("ks:jet", "wasserstein:jet")
    assert evaluate(names, observables, a, empty) == {"ks:jet": 1.0, "wasserstein:jet": math.inf}
    assert evaluate(names, observables, empty, a) == {"ks:jet": 0.0, "wasserstein:jet": 0.0}
    b.MET.fields["pt"][::2] = math.inf
    finite = evaluate(("ks:met",), observables, a, b)["ks:met"]
    assert finite == pytest.approx(ks_2samp(a.MET.pt.numpy(), b.MET.pt.numpy()[1::2]).statistic, abs=1e-12)
