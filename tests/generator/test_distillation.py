from __future__ import annotations

import signal
import time
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
from cli_toys import RECIPE, columns, inside, listing, run, start, write
from toys import dimuons

from hepgan import EventGenerator, distill
from hepgan.errors import InputError, RecipeError
from hepgan.generator.sampling import Sampler

QUICK = (
    "training.steps=300",
    "training.batch_size=512",
    "model.network={kind: residual, width: 48, blocks: 2}",
)
SHORT = ("training.steps=5", "training.batch_size=64", "model.network={kind: residual, width: 8, blocks: 1}")


@pytest.fixture(scope="module")
def student(toy_generator):
    return distill(toy_generator, pairs=12_000, settings=QUICK, seed=1)


def sampler(generator, seed=5):
    return Sampler(generator.parts, seed=seed)


def features(generator, number=0):
    """The features of a block before any bounds, where they exist."""
    z, given = sampler(generator).noise(number)
    with torch.no_grad():
        return generator.parts.model.sample(z, given.context.float(), given.mask), given.mask


def weights(generator):
    return generator.parts.model.state_dict()


def same_weights(a, b):
    ours, theirs = weights(a), weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_a_student_makes_its_teachers_events_of_the_same_numbers(toy_generator, student):
    (made, mask), (expected, _) = features(student), features(toy_generator)
    assert mask is not None
    assert not mask.all()
    error = (made - expected)[mask]
    spread = expected[mask].std()
    assert error.square().mean().sqrt() < 0.1 * spread
    assert (made[~mask] == 0).all()


def test_the_difference_that_is_told_is_that_of_other_events(toy_generator, student):
    (made, mask), (expected, _) = features(student), features(toy_generator)
    measured = float((made - expected)[mask].square().mean().sqrt())
    told = student.summary["distillation"]["metrics"]["difference"]
    assert told == pytest.approx(measured, rel=0.15)
    assert student.history.metrics["difference"][-1] == told


def test_a_student_keeps_the_discrete_part_conditions_and_bounds(toy_generator, student):
    npv = np.arange(5000) % 7 + 15.0
    ours = student.generate(5000, seed=2, condition={"npv": npv})
    theirs = toy_generator.generate(5000, seed=2, condition={"npv": npv})
    assert ours.type == theirs.type
    assert ak.to_list(ak.num(ours.Jet)) == ak.to_list(ak.num(theirs.Jet))
    assert ours.npv.to_list() == npv.tolist()
    assert ak.to_list(ours.Muon.charge) == ak.to_list(theirs.Muon.charge)
    assert ak.min(ours.Muon.pt) >= 10.0
    difference = np.abs(ak.to_numpy(ours.MET.pt) / ak.to_numpy(theirs.MET.pt) - 1)
    assert np.median(difference) < 0.1


def test_the_same_seed_gives_the_same_student_and_another_one_another(toy_generator):
    first = distill(toy_generator, pairs=300, settings=SHORT, seed=1)
    torch.manual_seed(99)  # the caller's random numbers do not matter
    before = torch.get_rng_state()
    assert same_weights(first, distill(toy_generator, pairs=300, settings=SHORT, seed=1))
    assert torch.equal(before, torch.get_rng_state())
    assert not same_weights(first, distill(toy_generator, pairs=300, settings=SHORT, seed=2))


def test_the_teacher_stays_what_it_was(toy_generator):
    before = {n: t.clone() for n, t in weights(toy_generator).items()}
    summary, recipe = dict(toy_generator.summary), toy_generator.recipe
    distill(toy_generator, pairs=300, settings=SHORT)
    assert all(torch.equal(t, before[n]) for n, t in weights(toy_generator).items())
    assert (toy_generator.summary, toy_generator.recipe) == (summary, recipe)


def test_a_student_is_a_model_file_like_any_other(toy_generator, student, tmp_path):
    student.save(tmp_path / "s.safetensors")
    loaded = EventGenerator.load(tmp_path / "s.safetensors", device="cpu")
    ours, theirs = student.generate(500, seed=4), loaded.generate(500, seed=4)
    assert ak.array_equal(ours, theirs, check_parameters=True)
    lines = loaded.describe()
    assert any(line.startswith("model       student") for line in lines)
    (line,) = [line for line in lines if line.startswith("distilled")]
    assert "from flow_matching of 4 network calls, 12,000 pairs, 300 steps" in line
    (training,) = [line for line in lines if line.startswith("training")]
    assert "2,000 events" in training or "1,800 events" in training
    assert loaded.recipe.training.steps == 300
    assert loaded.recipe.features == toy_generator.recipe.features


@pytest.mark.parametrize("steps", [1, 2])
def test_several_steps_are_learned_too(toy_generator, steps):
    made = distill(toy_generator, steps=steps, pairs=4000, settings=(*QUICK, "training.steps=100"))
    calls, network = [], made.parts.model.network
    network.leave.register_forward_pre_hook(lambda *_: calls.append(1))
    features(made)
    assert len(calls) == 4 * steps  # a block is made in four chunks
    assert made.recipe.model.steps == steps
    assert made.summary["distillation"]["metrics"]["difference"] < 0.4


def test_time_that_is_out_ends_the_training(toy_generator):
    started = time.monotonic()
    made = distill(toy_generator, pairs=300, settings=(*SHORT, "training.steps=1000000"), max_time=0.5)
    assert made.summary["distillation"]["status"] == "time"
    assert time.monotonic() - started < 20


def test_critics_may_sharpen_a_student(toy_generator):
    critic = "model.critics+={name: c, observables: [m_mumu], network: {kind: mlp, widths: [8]}}"
    penalty = "model.penalties+={name: w, kind: wasserstein, observables: m_mumu}"
    made = distill(toy_generator, pairs=1000, settings=(*SHORT, critic, penalty))
    assert {"student/path", "student/c_adversarial", "student/w"} <= set(made.history.losses.names)
    assert np.isfinite(made.history.losses["student/total"]).all()


@pytest.mark.parametrize("layer", ["coupling", "autoregressive"])
def test_a_flow_is_distilled_into_one_step(layer):
    recipe = {
        "name": "flow",
        "events": {"select": ["MET", "Jet"]},
        "model": {"kind": "flow", "layer": layer, "blocks": 2, "network": {"kind": "mlp", "widths": [16]}},
        "training": {"steps": 30, "batch_size": 256},
    }
    teacher = EventGenerator(recipe).fit(dimuons(1000), device="cpu")
    made = distill(teacher, pairs=4000, settings=(*QUICK, "training.steps=150"))
    (ours, mask), (theirs, _) = features(made), features(teacher)
    assert (ours - theirs)[mask].square().mean().sqrt() < 0.35
    assert made.summary["distillation"]["teacher"]["kind"] == "flow"
    with pytest.raises(RecipeError, match="makes its events in 1"):
        distill(teacher, steps=2)


def test_a_gan_has_nothing_to_distil():
    recipe = {
        "name": "gan",
        "events": {"select": ["MET"]},
        "model": {"kind": "gan", "generator": {"kind": "mlp", "widths": [8]}},
        "training": {"steps": 1},
    }
    generator = EventGenerator(recipe).fit(dimuons(300), device="cpu")
    with pytest.raises(RecipeError, match="a GAN makes its events in one step already"):
        distill(generator)


def test_what_cannot_be_distilled_is_told(toy_generator, student):
    with pytest.raises(RecipeError, match="a student already"):
        distill(student)
    with pytest.raises(RecipeError, match=r"3 steps are too many for a student: its teacher .* in 2"):
        distill(toy_generator, steps=3)
    with pytest.raises(RecipeError, match=r"model\.kind"):
        distill(toy_generator, settings=["model={kind: gan}"])
    with pytest.raises(RecipeError, match="no 'stepps'"):
        distill(toy_generator, settings=["model.stepps=2"])
    for wrong in ({"steps": 0}, {"pairs": 0}):
        with pytest.raises(ValueError, match="at least 1, not 0"):
            distill(toy_generator, **wrong)
    with pytest.raises(InputError, match="no likelihood"):
        student.log_prob(dimuons(10, weighted=True))


def test_a_student_s_recipe_does_not_train(student):
    with pytest.raises(RecipeError, match="hepgan distill"):
        EventGenerator(student.recipe).fit(dimuons(300, weighted=True), device="cpu")


# ------------------------------------------------------------------ command line


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a model."""
    folder = tmp_path_factory.mktemp("trained")
    write(folder / "train.root", columns(300))
    (folder / "tiny.yaml").write_text(RECIPE)
    assert run(*inside("train @tiny.yaml @train.root -o @m.safetensors", folder)) == 0
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


FEW = "--pairs 500 --set training.steps=20 --set training.checkpoint_every=0"


def test_a_model_file_is_distilled_told_of_and_generates(trained, here, capfd):
    assert run(*inside(f"distill @m.safetensors -o s.safetensors {FEW}", trained)) == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert "from flow_matching of 4 network calls, 500 pairs, 20 steps" in said.out
    assert said.out.splitlines()[-1].startswith("next: hepgan generate s.safetensors")
    assert set(listing(here)) == {"s.safetensors", "s.history.csv", "s.history.png"}
    assert run(*inside("generate s.safetensors -n 100 -o g.root", trained)) == 0
    assert run("info", "s.safetensors") == 0
    assert "distilled" in capfd.readouterr().out


def test_what_is_wrong_is_one_line(trained, here, capfd):
    Path("there.safetensors").touch()
    for words, reason in (
        ("distill @m.safetensors -o there.safetensors", "exists already"),
        ("distill @m.safetensors -o s.root", "a model file is called *.safetensors"),
        ("distill no.safetensors -o s.safetensors", "no such file"),
        ("distill @m.safetensors -o s.safetensors --steps 5", "m.safetensors: 5 steps are too many"),
    ):
        assert run(*inside(words, trained)) == 2
        said = capfd.readouterr()
        assert reason in said.err
        assert said.err.count("\n") == 1
    assert set(listing(here)) == {"there.safetensors"}


def test_a_stopped_distillation_goes_on(trained, here):
    words = inside(f"distill @m.safetensors -o s.safetensors {FEW} --set training.steps=1000000", trained)
    process = start(*words)
    checkpoint = Path("s.checkpoint.safetensors")
    process.wait_for(checkpoint.exists)
    process.signal(signal.SIGINT)
    _, said = process.ended()
    assert process.returncode == 130
    assert said.startswith("hepgan: interrupted; s.checkpoint.safetensors holds")
    assert set(listing(here)) == {"s.checkpoint.safetensors"}
    assert run(*words) == 2
    from hepgan.training.checkpoint import read_checkpoint

    steps = read_checkpoint(checkpoint)["step"] + 3
    assert run(*words, "--set", f"training.steps={steps}", "--resume") == 0
    assert EventGenerator.load("s.safetensors").summary["distillation"]["steps"] == steps
    assert not checkpoint.exists()
