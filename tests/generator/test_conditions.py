"""Conditions of every kind, in every family of models: numbers, values in turn, evenly drawn; warnings."""

from __future__ import annotations

import warnings

import awkward as ak
import numpy as np
import pytest
from cli_toys import run
from scipy import stats

import hepgan
from hepgan import EventGenerator, distill
from hepgan.errors import InputError
from hepgan.events import schema_of, with_kinds
from hepgan.generator.conditions import Uniform, is_law, read_law
from hepgan.generator.refinement import refine

N = 4000
SMALL = {"kind": "residual", "width": 32, "blocks": 2}
FAMILIES = {
    "gan": {
        "kind": "gan",
        "noise": 4,
        "generator": {"kind": "mlp", "widths": [32, 32]},
        "critics": [{"loss": "lsgan", "network": {"kind": "mlp", "widths": [32, 32]}}],
        "penalties": [],
    },
    "flow": {"kind": "flow", "blocks": 3, "bins": 6, "network": {"kind": "mlp", "widths": [32, 32]}},
    "flow_matching": {"kind": "flow_matching", "network": SMALL, "steps": 4},
}
STEPS = {"gan": 500, "flow": 120, "flow_matching": 200}


def toy(n=N, seed=1):
    """x and z follow the three conditions: a number, a whole number, a category."""
    rng = np.random.default_rng(seed)
    energy, level = rng.uniform(10, 50, n).astype(np.float32), rng.integers(0, 4, n).astype(np.int32)
    channel = rng.integers(0, 2, n)
    x = energy / 10 + rng.normal(0, 0.3, n)
    z = level + 3 * channel + rng.normal(0, 0.3, n)
    record = {"x": x.astype(np.float32), "z": z.astype(np.float32), "energy": energy, "level": level}
    return ak.zip(record | {"channel": ak.Array(np.array(["ee", "mm"])[channel].tolist())})


def recipe(family, steps):
    return {
        "name": "toy",
        "events": {"kinds": {"energy": "continuous", "level": "integer", "channel": "category"}},
        "conditions": ["energy", "level", "channel"],
        "features": {"transform": "standardise"},
        "model": FAMILIES[family],
        "training": {
            "steps": steps,
            "batch_size": 256,
            "optimiser": {"kind": "adam", "lr": 3e-3, **({"betas": [0.5, 0.9]} if family == "gan" else {})},
        },
    }


@pytest.fixture(scope="module")
def generators():
    made = {f: EventGenerator(recipe(f, STEPS[f])).fit(toy(), seed=2, device="cpu") for f in FAMILIES}
    quick = ("training.steps=150", "training.batch_size=512", f"model.network={SMALL}")
    made["student"] = distill(made["flow_matching"], pairs=4000, settings=quick, seed=1)
    few = ("training.steps=5", "training.batch_size=256", "training.max_time=null")
    made["refined"] = refine(made["flow"], lambda e: np.ones(len(e)), events=1000, settings=few, seed=1)
    return made


@pytest.mark.parametrize("family", [*FAMILIES, "student", "refined"])
def test_every_family_follows_conditions_that_are_numbers_whole_numbers_and_categories(
    generators, family, tmp_path
):
    path = tmp_path / "m.safetensors"
    generators[family].save(path)
    generator = EventGenerator.load(path, device="cpu")
    for energy, level, channel in ((15.0, 0, "ee"), (45.0, 3, "ee"), (15.0, 3, "mm")):
        given = {"energy": energy, "level": level, "channel": channel}
        made = generator.generate(1000, seed=3, condition=given)
        assert set(made.energy.to_list()) == {energy}
        assert set(made.level.to_list()) == {level}
        assert set(made.channel.to_list()) == {channel}
        assert ak.mean(made.x) == pytest.approx(energy / 10, abs=0.5)
        assert ak.mean(made.z) == pytest.approx(level + 3 * (channel == "mm"), abs=0.8)


def test_values_take_turns_by_the_number_of_the_event(generators):
    generator = generators["flow"]
    given = {"energy": "20,30,40", "channel": "mm,ee"}
    whole = generator.generate(5000, seed=4, condition=given)
    assert whole.energy.to_list() == [(20.0, 30.0, 40.0)[i % 3] for i in range(5000)]
    assert whole.channel[:4].to_list() == ["mm", "ee", "mm", "ee"]
    part = next(generator.iterate(300, seed=4, first=4000, step=300, condition=given, workers=1))
    assert part.energy.tolist() == whole.energy[4000:4300].to_list()


def test_evenly_drawn_conditions_are_even_independent_and_those_of_the_number_of_the_event(generators):
    generator = generators["flow"]
    given = {"energy": "uniform:20:40", "level": "uniform:1:3"}
    whole = generator.generate(6000, seed=4, condition=given, workers=2)
    energy, level = ak.to_numpy(whole.energy), ak.to_numpy(whole.level)
    assert stats.kstest(energy, "uniform", (20, 20)).pvalue > 1e-3
    assert stats.chisquare(np.bincount(level, minlength=4)[1:]).pvalue > 1e-3
    assert abs(np.corrcoef(energy, level)[0, 1]) < 4 / 6000**0.5
    part = next(generator.iterate(300, seed=4, first=4000, step=300, condition=given, workers=1))
    assert part.energy.float().tolist() == energy[4000:4300].tolist()
    assert not np.array_equal(generator.generate(100, seed=5, condition=given).energy, energy[:100])


def test_shards_have_the_conditions_of_one_file(generators, tmp_path):
    given = {"energy": "uniform:20:40", "level": "0,2"}
    hepgan.produce(generators["flow"], 5000, tmp_path / "many", shard_size=1500, condition=given)
    hepgan.produce(generators["flow"], 5000, tmp_path / "one.root", condition=given)
    many, one = (hepgan.read_events(f"{tmp_path}/{p}") for p in ("many/*.root", "one.root"))
    for name in ("energy", "level"):
        assert many[name].to_list() == one[name].to_list()


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("energy", "uniform:20", "expected uniform:LOW:HIGH"),
        ("energy", "uniform:20:many", "expected uniform:LOW:HIGH"),
        ("energy", "uniform:40:20", "its ends must be finite and in order"),
        ("energy", "uniform:20:inf", "its ends must be finite and in order"),
        ("level", "uniform:0:1.5", "level is 1.5, which is not whole"),
        ("channel", "uniform:0:1", "channel is a category, which has no range"),
        ("channel", "ee,tt", "channel cannot be 'tt'; it is ee, mm"),
        ("energy", "10,,20", "energy must be a number, an array of numbers, several as in 10,20,30"),
        ("energy", "10,nan", "energy is not a finite number"),
    ],
)
def test_what_is_no_condition_is_told(generators, name, text, match):
    with pytest.raises(InputError, match=match):
        generators["flow"].generate(10, condition={name: text})


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        *(("energy", value, "must be a number, or an array") for value in (1j, None, {}, b"1", 10**400)),
        ("energy", ["20"] * 3, "must be a number, or an array"),
        ("energy", [None] * 3, "must be a number, or an array"),
        ("energy", [[1], [2, 3]], "must be a number, or an array"),
        ("energy", ak.Array([20, None, 30]), "must be a number, or an array"),
        ("energy", ak.Array([{"x": 20.0}] * 3), "must be a number, or an array"),
        ("energy", np.array(["2020"] * 3, "M8[D]"), "must be a number, or an array"),
        ("energy", np.ma.array([20.0, 30.0, 20.0], mask=[0, 1, 0]), "masked"),
        ("energy", [20.0, np.nan, 20.0], "not a finite number"),
        ("energy", 1e308, r"1e\+308, which is too large"),
        ("energy", "1e308", r"1e\+308, which is too large"),
        ("energy", [20.0] * 2, "has the shape"),
        ("energy", [20.0] * 4, "has the shape"),
        ("level", 1e308, "no int32"),
        ("level", 1.5, "not whole"),
        ("channel", "tt", "cannot be 'tt'"),
        ("channel", 1j, "must be a number, or an array"),
    ],
)
def test_values_that_cannot_be_are_told_with_their_condition(generators, name, value, match):
    with pytest.raises(InputError, match=f"the condition {name} .*{match}"):
        generators["flow"].generate(3, condition={name: value})


def test_names_of_files_are_no_laws():
    schema = with_kinds(schema_of(toy(10)), {"channel": "category"})
    for name, text in (("energy", "beam.root"), ("energy", "10,20.root:Events"), ("channel", "tt")):
        assert not is_law(text, schema.scalar(name))
    for name, text in (("energy", "35"), ("energy", "1e1,2"), ("channel", "ee,mm"), ("level", "uniform:0:1")):
        assert is_law(text, schema.scalar(name))
    assert read_law("level", "uniform:0:1", schema.scalar("level")) == Uniform(0.0, 1.0, whole=True)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"energy": 60}, r"energy is 60, outside the range of the training events \(10\.\d+ to 49\.\d+\)"),
        ({"energy": "20,5"}, "energy is 5 to 20, outside"),
        ({"energy": "uniform:30:70"}, "energy is 30 to 70, outside"),
        ({"energy": np.linspace(1, 30, 50)}, "energy is 1 to 30, outside"),
        ({"level": 4}, r"level is 4, outside the range of the training events \(0 to 3\)"),
    ],
)
def test_conditions_outside_the_training_events_are_warned_of(generators, given, match):
    with pytest.warns(UserWarning, match=match):
        assert len(generators["flow"].generate(50, condition=given)) == 50


def test_conditions_within_the_range_are_not_warned_of_even_if_the_file_rounded_them():
    events = ak.with_field(toy(500), np.full(500, 27.6, np.float32), "energy")
    generator = EventGenerator(recipe("flow", 1)).fit(events, seed=1, device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        generator.generate(10, condition={"energy": 27.6, "level": "0,3", "channel": "mm"})
        generator.generate(10)
    with pytest.warns(UserWarning, match=r"energy is 27.7, outside .*\(27.6\)"):
        generator.generate(10, condition={"energy": 27.7})


def test_a_model_tells_the_ranges_of_its_conditions(generators):
    (line,) = [line for line in generators["flow"].describe() if line.startswith("conditions")]
    assert line.startswith("conditions  energy (10")
    assert line.endswith("level (0 to 3), channel")


def test_a_category_outside_is_an_error_not_a_warning(generators):
    with pytest.raises(InputError, match="channel cannot be 'tt'"):
        generators["flow"].generate(10, condition={"channel": "tt"})


def test_models_that_do_not_know_the_range_take_it_from_the_conditions_that_they_keep(
    generators, tmp_path, monkeypatch
):
    known = generators["flow"].parts
    state = known.representation.state()
    for values in state["learned"]["conditions"].values():
        del values[2:]
    monkeypatch.setattr(type(known.representation), "state", lambda self: state)
    generators["flow"].save(tmp_path / "old.safetensors")
    monkeypatch.undo()
    old = EventGenerator.load(tmp_path / "old.safetensors", device="cpu")
    assert old.representation.condition_ranges == {}
    assert old.parts.condition_ranges.keys() == {"energy", "level"}
    for name, span in generators["flow"].parts.condition_ranges.items():
        # The pool holds all conditions of few training events, as the network sees them.
        assert old.parts.condition_ranges[name] == pytest.approx(span, rel=1e-6)
    with pytest.warns(UserWarning, match="energy is 60, outside"):
        old.generate(10, condition={"energy": 60})


def test_the_command_line_takes_laws_and_warns_once_for_all_shards(generators, tmp_path, capfd):
    generators["flow"].save(tmp_path / "m.safetensors")
    words = ["generate", tmp_path / "m.safetensors", "-n", 500, "-o", tmp_path / "out", "--shard-size", 200]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(*words, "--condition", "energy=uniform:40:60", "--condition", "channel=mm,ee") == 0
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("hepgan: warning: the condition energy is 40 to 60, outside the range")
    made = hepgan.read_events(f"{tmp_path}/out/*.root")
    assert float(ak.min(made.energy)) > 39.9
    assert made.channel[:2].to_list() == ["mm", "ee"]
