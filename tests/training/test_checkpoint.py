from __future__ import annotations

import contextlib
import copy
import json
import math
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from hepgan.errors import HepganError, ModelFileError, OutputError, TrainingError
from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import new_learner
from hepgan.models import CriticConfig, FlowMatchingConfig, GANConfig, OptimiserConfig
from hepgan.networks import MLPConfig, ResidualConfig
from hepgan.sealed import digest_of
from hepgan.training import SelectionConfig, Trainer, TrainingConfig
from hepgan.training.checkpoint import read_checkpoint, write_checkpoint


def build(kind, column, seed=1):
    torch.manual_seed(seed)
    if kind == "flow_matching":
        config = FlowMatchingConfig(
            network=ResidualConfig(width=16, blocks=1, dropout=0.2), optimiser=OptimiserConfig(kind="muon")
        )
    else:
        net = MLPConfig(widths=(8,), dropout=0.2)
        critics = (
            CriticConfig(network=net, steps=2),
            CriticConfig(
                name="physics",
                features=False,
                observables=("m",),
                network=net,
                optimiser=OptimiserConfig(kind="rmsprop", lr=1e-3),
            ),
        )
        config = GANConfig(generator=net, critics=critics, optimiser=OptimiserConfig(kind="adadelta", lr=1.0))
    return new_learner(config, FeatureSpace(2, 0), lambda f: f, {"m": column(0, 91.0, 2.5)})


def settings(**changes):
    values = {
        "steps": 40,
        "batch_size": 48,
        "evaluate_every": 20,
        "diagnose_every": 4,
        "ema": 0.9,
        "selection": SelectionConfig(),
        "checkpoint_every": 1e9,
    }
    return TrainingConfig(**{**values, **changes})


def mean_of_weights(model):
    return {"metric": float(sum(p.sum() for m in model.sampling_modules() for p in m.parameters()))}


@pytest.mark.parametrize("kind", ["flow_matching", "gan"])
def test_a_resumed_training_ends_bit_for_bit_like_one_without_a_stop(feature_batch, column, kind, tmp_path):
    data = feature_batch(torch.randn(500, 2, generator=torch.Generator().manual_seed(5)))
    whole = build(kind, column)
    expected = Trainer(whole, data, settings(), seed=3, evaluate=mean_of_weights).run()

    def interrupt(model):
        os.kill(os.getpid(), signal.SIGINT)
        return mean_of_weights(model)

    path = tmp_path / "checkpoint.safetensors"
    first = Trainer(build(kind, column), data, settings(), seed=3, evaluate=interrupt, checkpoint=path).run()
    assert (first.status, len(first.losses)) == ("interrupted", 20)
    torch.randn(100)
    resumed = build(kind, column, seed=77)
    history = Trainer(
        resumed, data, settings(), seed=3, evaluate=mean_of_weights, checkpoint=path, resume=True
    ).run()
    for (name, a), (_, b) in zip(whole.state_dict().items(), resumed.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert history.losses.rows() == expected.losses.rows()
    assert history.metrics.rows() == expected.metrics.rows()
    assert history.diagnostics.rows() == expected.diagnostics.rows()
    assert len(history.diagnostics) == (10 if kind == "gan" else 0)
    assert history.best_step == expected.best_step
    assert history.events == expected.events
    assert history.seconds > first.seconds


def test_a_finished_training_resumes_to_the_same_model_and_can_be_prolonged(feature_batch, column, tmp_path):
    data, path = feature_batch(torch.randn(500, 2)), tmp_path / "c.safetensors"
    options = {"evaluate": mean_of_weights, "checkpoint": path, "resume": True}
    done = build("gan", column)
    Trainer(done, data, settings(), **options).run()
    again = build("gan", column, seed=2)
    history = Trainer(again, data, settings(), **options).run()
    assert (history.status, len(history.losses)) == ("finished", 40)
    for a, b in zip(done.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    longer = Trainer(build("gan", column), data, settings(steps=50), **options).run()
    assert len(longer.losses) == 50


def test_a_checkpoint_of_another_training_is_refused_with_the_reason(feature_batch, column, tmp_path):
    data, path = feature_batch(torch.randn(500, 2)), tmp_path / "c.safetensors"
    options = {"evaluate": mean_of_weights, "checkpoint": path, "resume": True}
    Trainer(build("gan", column), data, settings(steps=2), **options).run()
    with pytest.raises(ModelFileError, match=r"weights\.0 differs: model\.generator"):
        Trainer(build("flow_matching", column), data, settings(), **options)
    with pytest.raises(ModelFileError, match=r"training\.batch_size differs: 48, not 10"):
        Trainer(build("gan", column), data, settings(batch_size=10), **options)
    with pytest.raises(ModelFileError, match=r"sample of events differs$"):
        Trainer(build("gan", column), feature_batch(data.x + 1.0), settings(), **options)
    with pytest.raises(ModelFileError, match="seed differs: 0, not 1"):
        Trainer(build("gan", column), data, settings(), seed=1, **options)


@pytest.mark.parametrize("kind", ["flow_matching", "gan"])
def test_a_checkpoint_of_another_kind_of_device_goes_on_with_other_random_numbers(
    feature_batch, column, kind, tmp_path
):
    data, path = feature_batch(torch.randn(500, 2)), tmp_path / "c.safetensors"
    options = {"evaluate": mean_of_weights, "checkpoint": path}
    first = build(kind, column)
    Trainer(first, data, settings(steps=20), **options).run()
    state = read_checkpoint(path)
    # What a GPU leaves: generators whose state is a seed and an offset.
    state |= {name: torch.zeros(16, dtype=torch.uint8) for name in ("generator", "dropout")}
    state["device"] = "cuda"
    write_checkpoint(path, state)

    def resumed():
        learner = build(kind, column, seed=5)
        history = Trainer(learner, data, settings(steps=30, checkpoint_every=1e9), resume=True, **options)
        assert all(torch.equal(a, b) for a, b in zip(first_state, learner.state_dict().values(), strict=True))
        return history.run(), learner

    first_state = list(state["learner"].values())
    history, learner = resumed()
    assert (history.status, len(history.losses)) == ("finished", 30)
    write_checkpoint(path, state)
    _, again = resumed()
    for a, b in zip(learner.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_broken_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "c.safetensors"
    write_checkpoint(path, {"a": {"b/c": torch.zeros(1000), "d": [1, "e"]}, "step": 1, "none": None})
    state = read_checkpoint(path)
    assert torch.equal(state["a"].pop("b/c"), torch.zeros(1000))
    assert state == {"a": {"d": [1, "e"]}, "step": 1, "none": None}
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match="a damaged checkpoint"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(ModelFileError, match="a damaged checkpoint"):
        read_checkpoint(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ModelFileError, match="not a checkpoint"):
        read_checkpoint(path)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint, and what resumes it for one more step."""
    folder = tmp_path_factory.mktemp("written")

    def resume(path, steps=3):
        torch.manual_seed(1)
        net = MLPConfig(widths=(4,))
        config = GANConfig(generator=net, critics=(CriticConfig(network=net),))
        none = torch.zeros(40, 0)
        data = FeatureBatch(torch.ones(40, 2), None, none.long(), none, none, torch.ones(40))
        training = settings(steps=steps, batch_size=16, evaluate_every=1)
        learner = new_learner(config, FeatureSpace(2, 0), lambda f: f)
        options = {"evaluate": mean_of_weights, "checkpoint": path, "resume": True}
        return Trainer(learner, data, training, **options).run()

    resume(folder / "c.safetensors", 2)
    return (folder / "c.safetensors").read_bytes(), resume


@pytest.mark.parametrize("seed", range(60))
def test_no_changed_bit_and_no_lost_byte_of_a_checkpoint_goes_unnoticed(seed, written, tmp_path):
    whole, resume = written
    rng = np.random.default_rng(seed)
    content, at = bytearray(whole), int(rng.integers(len(whole)))
    if seed % 5:
        content[at] ^= 1 << int(rng.integers(8))
    else:
        content = content[:at]
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"c\.safetensors: (a damaged checkpoint|not a checkpoint)"):
        resume(path)


def places(value, place=()):
    """All places in a state."""
    yield place
    if isinstance(value, dict):
        for key, part in value.items():
            yield from places(part, (*place, key))


WRONG = [None, "text", [1], {"a": 1}, -1, 1e400, True, torch.zeros(3), torch.full((2, 2), math.nan)]


@pytest.mark.parametrize("first", [0, 4])
def test_a_checkpoint_of_wrong_kinds_is_a_damaged_one_or_harmless(first, written, tmp_path):
    content, resume = written
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    state = read_checkpoint(path)
    for number, place in enumerate(places(state)):
        if not place:
            continue
        changed = copy.deepcopy(state)
        inner = changed
        for key in place[:-1]:
            inner = inner[key]
        other = WRONG[(first + number) % len(WRONG)]
        inner[place[-1]] = other.clone() if isinstance(other, torch.Tensor) else other
        write_checkpoint(path, changed)
        with contextlib.suppress(HepganError):
            resume(path)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        "1e400",
        "null",
        '{"version": 1e400, "state": {}}',
        '{"version": 4, "state": [1]}',
        '{"version": 4, "state": {"a": "tensor:b"}}',
    ],
    ids=["deep", "number", "null", "version", "list", "no tensor"],
)
def test_hostile_checkpoints_are_damaged_ones(text, written, tmp_path):
    path = tmp_path / "c.safetensors"
    path.write_bytes(save({}, {"hepgan_checkpoint": text, "digest": json.dumps(digest_of(text, {}))}))
    with pytest.raises(ModelFileError, match=r"a damaged checkpoint|of another version"):
        written[1](path)


def test_a_checkpoint_of_an_earlier_version_is_told(tmp_path):
    path = tmp_path / "c.safetensors"
    save_file({}, path, {"hepgan_checkpoint": '{"version": 3, "state": {}}'})
    with pytest.raises(ModelFileError, match="a checkpoint of another version of hepgan"):
        read_checkpoint(path)


def test_a_checkpoint_that_cannot_be_written_is_one_clear_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"c\.safetensors: "):
        write_checkpoint(tmp_path / "file" / "c.safetensors", {"a": torch.zeros(1)})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        write_checkpoint(tmp_path / "folder", {"a": torch.zeros(1)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_a_checkpoint_replaces_the_one_before(tmp_path):
    path = tmp_path / "new" / "c.safetensors"
    for step in (1, 2):
        write_checkpoint(path, {"a": torch.full((3,), float(step)), "step": step})
        state = read_checkpoint(path)
        assert state["step"] == float(state["a"][0]) == step
    assert [p.name for p in path.parent.iterdir()] == ["c.safetensors"]


def test_a_failed_training_leaves_the_checkpoint_before(feature_batch, column, tmp_path):
    data, path = feature_batch(torch.randn(500, 2)), tmp_path / "c.safetensors"
    model = build("flow_matching", column)
    original = model.loss
    calls = []

    def loss(phase, batch, generator, share):
        calls.append(1)
        terms = original(phase, batch, generator, share)
        if len(calls) == 30:
            terms[0].value.data.fill_(float("nan"))
        return terms

    model.loss = loss
    with pytest.raises(TrainingError, match="at step 30"):
        Trainer(model, data, settings(), evaluate=mean_of_weights, checkpoint=path).run()
    assert read_checkpoint(path)["step"] == 20


def train(path, steps):
    """Train on, with a checkpoint at every step; returns the step at which it began."""
    torch.manual_seed(1)
    config = FlowMatchingConfig(network=ResidualConfig(width=64, blocks=1))
    model = new_learner(config, FeatureSpace(2, 0), lambda f: f)
    none = torch.zeros(500, 0)
    x = torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    data = FeatureBatch(x, None, none.long(), none, none, torch.ones(500))
    training = TrainingConfig(steps=steps, batch_size=8, checkpoint_every=0.0)
    trainer = Trainer(model, data, training, checkpoint=path, resume=True)
    start = len(trainer.history.losses)
    trainer.run()
    return start


def test_a_killed_training_leaves_a_usable_checkpoint(tmp_path):
    path = tmp_path / "c.safetensors"
    process = multiprocessing.get_context("fork").Process(target=train, args=(path, 10**6))
    process.start()
    try:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline and process.is_alive():
            time.sleep(0.01)
        time.sleep(0.3)
    finally:
        process.kill()
        process.join()
    step = read_checkpoint(path)["step"]
    assert step > 0
    assert train(path, step + 3) == step
    assert read_checkpoint(path)["step"] == step + 3
