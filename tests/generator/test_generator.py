from __future__ import annotations

import json
import math
import signal
import time

import awkward as ak
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from toys import dimuons

from hepgan.errors import InputError, ModelFileError, OutputError, RecipeError, TrainingError
from hepgan.events import read_events, schema_of, select, to_batch, write_events
from hepgan.generator import EventGenerator, parts
from hepgan.generator.fitting import split
from hepgan.generator.selection import evaluate
from hepgan.observables import Observable
from hepgan.training import Trainer

SMALL = {
    "name": "small",
    "events": {"select": ["Muon", "Jet.pt", "MET"]},
    "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [16]}, "steps": 2},
    "training": {"steps": 30, "batch_size": 64, "checkpoint_every": 0.0},
    "observables": {"met": "MET.pt", "n_jet": "nJet", "jet": "Jet.pt"},
}
GAN = {
    "kind": "gan",
    "generator": {"kind": "mlp", "widths": [16]},
    "critics": [{"network": {"kind": "mlp", "widths": [16]}, "observables": ["met"]}],
}


def small(**changes):
    recipe = json.loads(json.dumps(SMALL))
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            recipe.setdefault(section, {})[name] = value
        else:
            recipe[key] = value
    return EventGenerator(recipe)


def same(a, b):
    return a.type == b.type and bool(ak.array_equal(a, b, check_parameters=True))


def weights(generator):
    parts = generator._fitted
    return {f"{k}.{n}": t for k, m in parts.modules.items() for n, t in m.state_dict().items()}


def assert_same_weights(a, b):
    ours, theirs = weights(a), weights(b)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture(scope="module")
def events():
    return dimuons(400, seed=2)


@pytest.fixture(scope="module")
def fitted(events):
    return small().fit(events, seed=1, device="cpu")


# ---------------------------------------------------------------------- generating


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 100, 5000])
def test_a_seed_gives_the_same_events_for_any_number_and_workers(toy_generator, n, workers):
    most = toy_generator.generate(6000, seed=4, workers=1)
    assert same(toy_generator.generate(n, seed=4, workers=workers), most[:n])


def test_generated_in_several_batches_is_generated_in_one(fitted, monkeypatch):
    whole = fitted.generate(9000, seed=2)
    monkeypatch.setattr("hepgan.generator.generator.STEP", 1000)
    monkeypatch.setattr(
        EventGenerator.iterate, "__kwdefaults__", EventGenerator.iterate.__kwdefaults__ | {"step": 1000}
    )
    parts = fitted.generate(9000, seed=2)
    assert same(parts, whole)
    assert schema_of(parts) == schema_of(whole) == fitted.schema


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
    generator = small(training__optimiser={"kind": "adam", "lr": 1e30}, training__steps=200)
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
    monkeypatch.setattr("hepgan.generator.generator.Representation", None)
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


# ---------------------------------------------------------------------- keeping


@pytest.mark.parametrize("kind", ["toy", "gan"])
def test_a_loaded_model_makes_the_same_events(kind, toy_generator, events, tmp_path):
    generator = toy_generator if kind == "toy" else small(model=GAN).fit(events, device="cpu")
    generator.save(tmp_path / "model.safetensors")
    loaded = EventGenerator.load(tmp_path / "model.safetensors", device="cpu")
    assert same(loaded.generate(5000, seed=8), generator.generate(5000, seed=8))
    assert loaded.schema == generator.schema
    assert loaded.summary == json.loads(json.dumps(generator.summary))
    assert loaded.recipe == generator.recipe
    assert loaded.describe() == generator.describe()
    loaded.save(tmp_path / "again.safetensors")
    again = EventGenerator.load(tmp_path / "again.safetensors", device="cpu")
    assert_same_weights(again, generator)


def test_a_model_keeps_settings_that_were_defaults(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
    assert recipe["model"]["solver"] == fitted.recipe.model.solver
    assert "solver" not in SMALL["model"]


def test_an_existing_model_is_replaced_only_by_force(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        fitted.save(path)
    assert path.read_text() == "mine"
    fitted.save(path, force=True)
    assert EventGenerator.load(path, device="cpu").schema == fitted.schema
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def rewritten(path, change):
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change(metadata, tensors)
    save_file(tensors, path, metadata)


def later(metadata, tensors):
    metadata["hepgan"] = json.dumps({"format": parts.FORMAT + 1, "versions": {"hepgan": "9.9"}})


def foreign(metadata, tensors):
    metadata.clear()


def changed_number(metadata, tensors):
    tensors["conditions"] = torch.ones(2, 1)


def unreadable(metadata, tensors):
    metadata["schema"] = "{"


def without_schema(metadata, tensors):
    del metadata["schema"]


def another_network(metadata, tensors):
    recipe = json.loads(metadata["recipe"])
    recipe["model"]["network"]["widths"] = [17]
    metadata["recipe"] = json.dumps(recipe)


def unknown_model(metadata, tensors):
    metadata["recipe"] = json.dumps({"name": "x", "model": {"kind": "oracle"}})


def odd_state(metadata, tensors):
    metadata["representation"] = json.dumps([1, 2])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (later, r"written by hepgan 9\.9 in format 2; .* up to 1"),
        (foreign, "not one of hepgan"),
        (changed_number, "not those that were written"),
        (unreadable, "description cannot be read"),
        (without_schema, "does not fit"),
        (another_network, "does not fit"),
        (unknown_model, "does not fit"),
        (odd_state, "does not fit"),
    ],
)
def test_a_file_that_is_no_model_of_this_version_is_refused(fitted, tmp_path, change, match):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    rewritten(path, change)
    with pytest.raises(ModelFileError, match=match) as caught:
        EventGenerator.load(path)
    assert caught.value.file == str(path)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "flipped", "missing", "folder"])
def test_a_damaged_file_is_refused(fitted, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "garbage":
        path.write_bytes(bytes(range(256)) * 20)
    elif damage == "flipped":
        content[-50] ^= 4
        path.write_bytes(content)
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        EventGenerator.load(path)


def test_a_file_from_before_a_digest_was_kept_is_read(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)

    def older(metadata, tensors):
        known = json.loads(metadata["hepgan"])
        del known["digest"]
        metadata["hepgan"] = json.dumps(known)

    rewritten(path, older)
    assert same(EventGenerator.load(path, device="cpu").generate(20), fitted.generate(20))


def test_an_unknown_device_is_an_input_error(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="'abacus' is not available"):
        EventGenerator.load(tmp_path / "model.safetensors", device="abacus")


def test_a_model_file_tells_how_far_each_term_was_from_its_floor(events, tmp_path):
    penalties = [{"kind": "energy", "observables": ["met", "n_jet"]}]
    generator = small(model={**GAN, "penalties": penalties}, training__diagnose_every=10).fit(events, seed=1)
    assert generator.history.diagnostics["step"].tolist() == [10, 20, 30]
    generator.save(tmp_path / "model.safetensors")
    loaded = EventGenerator.load(tmp_path / "model.safetensors")
    terms = [line.split() for line in loaded.describe() if line.startswith("term ")]
    assert [t[1] for t in terms] == ["critic_adversarial", "energy_met_n_jet"]
    assert float(terms[1][2]) == pytest.approx(
        generator.history.diagnostics["energy_met_n_jet/value"][-1], rel=0.01
    )
    assert loaded.describe() == generator.describe()


def test_a_model_file_whose_penalty_names_one_observable_in_the_old_way_is_read(events, tmp_path):
    path, old = tmp_path / "model.safetensors", tmp_path / "old.safetensors"
    penalties = [{"kind": "moments", "observables": "met", "target_mean": 20.0}]
    generator = small(model={**GAN, "penalties": penalties}).fit(events, seed=1)
    generator.save(path)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    recipe = json.loads(metadata["recipe"])
    (penalty,) = recipe["model"]["penalties"]
    recipe["model"]["penalties"] = [
        {k: penalty[k] for k in ("kind", "weight", "target_mean", "target_std", "mean_weight", "std_weight")}
        | {"observable": "met"}
    ]
    save_file(tensors, old, {**metadata, "recipe": json.dumps(recipe)})
    assert same(EventGenerator.load(old).generate(50, seed=1), generator.generate(50, seed=1))
