"""What a checkpoint may be resumed with, who may write it, and that trainings side by side do not meet."""

from __future__ import annotations

import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import awkward as ak
import numpy as np
import pytest
import torch
from generator_toys import GAN, assert_same_weights, small
from toys import dimuons

from hepgan import EventGenerator, distill
from hepgan.errors import ModelFileError, OutputError
from hepgan.generator.refinement import refine
from hepgan.training import Trainer
from hepgan.training.checkpoint import read_checkpoint, write_checkpoint

EVENTS = dimuons(120, seed=3)
BEGIN = {"training__steps": 2, "training__selection": {"metrics": ["ks:met"]}, "training__evaluate_every": 1}
MODEL = {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [16]}, "steps": 2}


def network(**changes):
    return {"model": {**MODEL, "network": {**MODEL["network"], **changes}}}


def changed(row, value=None):
    """The events with one transverse energy changed, or with two rows swapped."""
    if value is None:
        order = np.arange(len(EVENTS))
        order[[row, row + 1]] = row + 1, row
        return EVENTS[order]
    met = ak.to_numpy(EVENTS.MET.pt).copy()
    met[row] = value
    return ak.with_field(EVENTS, ak.with_field(EVENTS.MET, met, "pt"), "MET")


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A checkpoint of two steps."""
    path = tmp_path_factory.mktemp("begun") / "c.safetensors"
    small(**BEGIN).fit(EVENTS, device="cpu", checkpoint=path)
    return path


def resume(begun, tmp_path, events=EVENTS, **changes):
    path = shutil.copy(begun, tmp_path / "c.safetensors")
    return small(**{**BEGIN, "training__steps": 3, **changes}).fit(
        events, device="cpu", checkpoint=path, resume=True
    )


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        (network(activation="tanh"), r"its model\.network\.activation differs: leaky_relu, not tanh"),
        (network(dropout=0.3), r"model\.network\.dropout differs: 0\.0, not 0\.3"),
        (network(slope=0.1), r"model\.network\.slope differs: 0\.2, not 0\.1"),
        ({"model": {**MODEL, "time": "logit_normal"}}, r"model\.time differs: uniform, not logit_normal"),
        ({"model": {**MODEL, "solver": "euler"}}, r"model\.solver differs: midpoint, not euler"),
        ({"model": {**MODEL, "steps": 3}}, r"model\.steps differs: 2, not 3"),
        ({"model": GAN}, r"model\.kind differs: flow_matching, not gan"),
        (
            {"model": {**MODEL, "penalties": [{"kind": "mmd", "observables": ["met"]}]}},
            r"model\.penalties\.0\.\S+ differs: nothing, not",
        ),
        ({"observables__met": "MET.pt * 2"}, r"observables\.met\.expression differs: MET\.pt, not MET"),
        ({"training__batch_size": 32}, r"training\.batch_size differs: 64, not 32"),
        ({"training__selection": {"metrics": ["ks:n_jet"]}}, r"training\.selection\.metrics\.0 differs"),
        ({"features": {"bounds": {"MET.pt": [None, 1e5]}}}, r"features\.bounds"),
    ],
)
def test_a_training_is_not_resumed_with_another_recipe(changes, difference, begun, tmp_path):
    with pytest.raises(ModelFileError, match=f"of another training: .*{difference}"):
        resume(begun, tmp_path, **changes)


@pytest.mark.parametrize("row", [0, 60, 118])
@pytest.mark.parametrize("value", [None, 12.3])
def test_a_training_is_not_resumed_with_other_events(row, value, begun, tmp_path):
    with pytest.raises(ModelFileError, match=r"of another training: its .*events differs$"):
        resume(begun, tmp_path, changed(row, value))


def test_a_training_is_resumed_under_another_name_and_with_other_limits(begun, tmp_path):
    found = resume(begun, tmp_path, name="other", description="x", training__patience=7)
    assert found.summary["steps"] == 3


def test_a_training_that_has_ended_goes_on_only_if_its_limits_are_others(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    long = {"training__steps": 10**6, "training__checkpoint_every": 1e9}
    first = small(**long).fit(EVENTS, device="cpu", checkpoint=path, max_time=0.3)
    assert first.summary["status"] == "time"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_step", None)
        again = small(**long).fit(EVENTS, device="cpu", checkpoint=path, max_time=0.3, resume=True)
    assert again.summary["status"] == "time"
    assert_same_weights(first, again)
    longer = small(**long).fit(EVENTS, device="cpu", checkpoint=path, max_time=1.5, resume=True)
    assert longer.summary["steps"] > first.summary["steps"]


def test_distillation_and_refinement_are_not_resumed_with_another_recipe_or_generator(
    toy_generator, tmp_path
):
    path = tmp_path / "c.safetensors"
    short = ("training.max_time=null", "training.batch_size=64")
    student = (*short, "model.network={kind: mlp, widths: [8]}")
    prior = (*short, "model.prior={kind: flow, blocks: 1, network: {kind: mlp, widths: [8]}}")
    other = small(training__steps=1).fit(EVENTS, device="cpu")

    def distilled(*settings, teacher=toy_generator, steps=2, resume=True):
        settings = (*student, f"training.steps={steps}", *settings)
        distill(teacher, pairs=100, settings=settings, checkpoint=path, resume=resume)

    def refined(*settings, weigh=lambda events: np.ones(len(events)), steps=2, resume=True):
        settings = (*prior, f"training.steps={steps}", *settings)
        refine(toy_generator, weigh, events=100, settings=settings, checkpoint=path, resume=resume)

    distilled(steps=1, resume=False)
    distilled()
    with pytest.raises(ModelFileError, match=r"model\.network\.activation differs: leaky_relu, not tanh"):
        distilled("model.network.activation=tanh")
    with pytest.raises(ModelFileError, match="differs"):
        distilled(teacher=other)
    refined(steps=1, resume=False)
    refined()
    with pytest.raises(ModelFileError, match=r"model\.prior\.network\.dropout differs: 0\.0, not 0\.1"):
        refined("model.prior.network.dropout=0.1")
    with pytest.raises(ModelFileError, match="its sample of events differs"):
        refined(weigh=lambda events: 1.0 + (np.arange(len(events)) == 57))


def test_two_trainings_do_not_write_one_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    started, ended = threading.Event(), threading.Event()
    step = Trainer._train_step

    def waiting(self):
        started.set()
        ended.wait(20)
        return step(self)

    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(Trainer, "_train_step", waiting)
        first = pool.submit(small(training__steps=1).fit, EVENTS, device="cpu", checkpoint=path)
        try:
            assert started.wait(20)
            with pytest.raises(OutputError, match=r"c\.safetensors: is being written by another"):
                small(training__steps=1).fit(EVENTS, device="cpu", checkpoint=path)
        finally:
            ended.set()
        first.result()
    assert read_checkpoint(path)["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_a_checkpoint_that_cannot_be_written_does_not_end_a_training(tmp_path, monkeypatch):
    path, steps = tmp_path / "c.safetensors", []

    def full_from_the_second_step_on(path, state):
        steps.append(state["step"])
        if state["step"] >= 2:
            msg = "cannot be written: No space left on device"
            raise OutputError(msg, file=path)
        write_checkpoint(path, state)

    monkeypatch.setattr("hepgan.training.trainer.write_checkpoint", full_from_the_second_step_on)
    with pytest.warns(UserWarning, match="the training goes on: .*No space left"):
        found = small(training__steps=3).fit(EVENTS, device="cpu", checkpoint=path)
    assert (found.summary["status"], read_checkpoint(path)["step"]) == ("finished", 1)
    assert max(steps) == 3


DROPPED = {"kind": "mlp", "widths": [16], "dropout": 0.2}
NORMALISED = {"kind": "mlp", "widths": [16, 16], "spectral_norm": True, "dropout": 0.1}
MODELS = {
    "flow_matching": {**MODEL, "network": DROPPED},
    "gan": {"kind": "gan", "generator": DROPPED, "critics": [{"network": NORMALISED}]},
    "flow": {"kind": "flow", "blocks": 2, "rotations": "random", "network": DROPPED},
    "ensemble": {**MODEL, "network": DROPPED},
}


@pytest.mark.parametrize("kind", MODELS)
def test_trainings_in_two_threads_give_what_each_gives_alone(kind):
    members = {"training__members": 2} if kind == "ensemble" else {}

    def fit(seed):
        made = small(model=MODELS[kind], training__steps=20, **members)
        return made.fit(EVENTS, seed=seed, device="cpu")

    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    alone = [fit(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(fit, (1, 2)))
    for a, b in zip(alone, together, strict=True):
        assert_same_weights(a, b)
        assert a.history.losses.rows() == b.history.losses.rows()
    read = EventGenerator.from_bytes(together[0].to_bytes())
    assert_same_weights(read, together[0])
    read.generate(5)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # noqa: NPY002
