"""Trackers are told what happens in a training, and never stop one."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import uproot

import hepgan
from hepgan.cli import main
from hepgan.errors import InputError, TrainingError
from hepgan.training import Tracker, watched
from hepgan.training.trackers import Lines, tracker_of

RECIPE = {
    "name": "tiny",
    "model": {
        "kind": "gan",
        "generator": {"kind": "mlp", "widths": [8]},
        "critics": [{"network": {"kind": "mlp", "widths": [8]}}],
    },
    "observables": {"x": "x"},
    "training": {
        "steps": 100,
        "batch_size": 32,
        "evaluate_every": 30,
        "diagnose_every": 50,
        "selection": {"metrics": ["ks:x"]},
    },
}


class Note:
    """Notes all that it is told."""

    name = "note"

    def __init__(self, fails=None):
        self.told, self.settings, self.run, self.status, self.fails = [], None, None, None, fails

    def start(self, settings, run, step):
        self._maybe("start")
        self.settings, self.run, self.first = dict(settings), run, step
        return "run-1"

    def log(self, step, values):
        self._maybe("log")
        self.told.append((step, values))

    def figure(self, step, name, figure):
        self._maybe("figure")
        self.told.append((step, name))

    def end(self, status):
        self._maybe("end")
        self.status = status

    def _maybe(self, what):
        if self.fails == what:
            msg = f"cannot {what}"
            raise OSError(msg)


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(1)
    return hepgan.events.as_events({"x": rng.normal(size=500), "y": rng.normal(size=500)})


def trained(events, note, every=40, recipe=RECIPE, **options):
    generator = hepgan.EventGenerator(recipe)
    with watched(note, every=every):
        return generator.fit(events, seed=1, **options)


def test_losses_are_means_between_logs_and_metrics_come_when_they_are_made(events):
    note = Note()
    assert isinstance(note, Tracker)
    history = trained(events, note).history
    losses = {step: v["loss/generator/total"] for step, v in note.told if "loss/generator/total" in v}
    totals = history.losses["generator/total"]
    assert list(losses) == [40, 80, 100]
    for (first, last), value in zip(((0, 40), (40, 80), (80, 100)), losses.values(), strict=True):
        assert value == pytest.approx(totals[first:last].mean())
    assert [s for s, v in note.told if "metric/ks:x" in v] == [30, 60, 90, 100]
    assert [s for s, v in note.told if any(n.startswith("diagnostic/") for n in v)] == [50, 100]
    assert note.status == "finished"
    assert note.settings["training.batch_size"] == 32
    assert note.settings["seed"] == 1
    assert not any(name.startswith(("weights", "sample of")) for name in note.settings)


def test_a_training_that_is_watched_is_the_same(events):
    one = hepgan.EventGenerator(RECIPE).fit(events, seed=1)
    two = trained(events, Note())
    assert one.digest() == two.digest()


@pytest.mark.parametrize("fails", ["start", "log", "end"])
def test_what_fails_in_a_tracker_is_a_warning_and_the_others_go_on(events, fails):
    bad, good = Note(fails), Note()
    generator = hepgan.EventGenerator(RECIPE)
    with (
        pytest.warns(UserWarning, match=rf"note is told no more .* OSError: cannot {fails}"),
        watched(bad, good),
    ):
        generator.fit(events, seed=1)
    assert good.status == "finished"
    assert good.told


def test_a_training_that_fails_is_told(events, monkeypatch):
    note = Note()
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda _: torch.tensor(float("nan")))
    with pytest.raises(TrainingError):
        trained(events, note)
    assert note.status == "failed"


def test_a_training_that_goes_on_finds_its_run_again(events, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    first, second = Note(), Note()
    short = {**RECIPE, "training": {**RECIPE["training"], "steps": 60}}
    trained(events, first, recipe=short, checkpoint=checkpoint)
    trained(events, second, checkpoint=checkpoint, resume=True)
    assert first.run is None
    assert (second.run, second.first) == ("run-1", 60)
    assert min(step for step, _ in second.told) > 60


def test_an_ensemble_with_a_common_start_is_one_course(events):
    training = {"steps": 60, "batch_size": 32, "members": 2, "shared_start": 0.5, "diagnose_every": 0}
    note = Note()
    trained(events, note, every=10, recipe={**RECIPE, "training": training})
    assert [step for step, _ in note.told] == [10, 20, 30, 40, 50, 60]


def test_trainings_one_after_another_are_counted_on(events):
    note = Note()
    recipe = {**RECIPE, "training": {"steps": 20, "batch_size": 32, "diagnose_every": 0}}
    generator = hepgan.EventGenerator(recipe)
    with watched(note, every=10):
        generator.fit(events, seed=1)
        generator.fit(events, seed=2)
    assert [step for step, _ in note.told] == [10, 20, 30, 40]


def test_lines_tell_totals_and_metrics(events, capsys):
    trained(events, Lines())
    lines = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"step 30: ks:x [\d.]+", lines[0])
    assert re.fullmatch(r"step 40: critic [\d.]+, generator [\d.]+, lr [\d.]+", lines[1])


@pytest.mark.parametrize("text", ["nothing", "nothing:there", ""])
def test_unknown_trackers_are_refused(text):
    with pytest.raises(InputError, match="expected tensorboard, mlflow, wandb"):
        tracker_of(text, "run")


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_not_there_is_named(kind, monkeypatch):
    def nothing(name):
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", nothing)
    with pytest.raises(InputError, match=rf'pip install "hepgan\[{kind}\]"'):
        tracker_of(kind, "run")


@pytest.fixture
def there(tmp_path, monkeypatch, events):
    """A folder with events and a recipe, in which commands run."""
    monkeypatch.chdir(tmp_path)
    with uproot.recreate("t.root") as file:
        file["t"] = {"x": events.x.to_numpy(), "y": events.y.to_numpy()}
    Path("tiny.yaml").write_text(hepgan.EventGenerator(RECIPE).recipe.to_yaml())
    return tmp_path


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["train", "tiny.yaml", "t.root:t", "-o", "m.safetensors", *arguments])
    assert ended.value.code in (0, None)


def test_log_every_writes_lines(there, capsys):
    run("--log-every", "25")
    assert "step 25: critic" in capsys.readouterr().err


def test_tensorboard_has_losses_metrics_settings_and_the_picture(there):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("--track", "tensorboard")
    found = EventAccumulator("runs/m").Reload()
    assert [e.step for e in found.Scalars("loss/generator/total")] == [50, 100]
    assert [e.step for e in found.Scalars("metric/ks:x")] == [30, 60, 90, 100]
    tags = found.Tags()
    assert tags["images"] == ["history"]
    assert "settings/text_summary" in tags["tensors"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_mlflow_has_losses_settings_and_the_picture(there, monkeypatch):
    if not all(map(importlib.util.find_spec, ("mlflow", "sqlalchemy", "alembic"))):
        pytest.skip("needs MLflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{there}/m.db")
    run("--track", "mlflow:exp")
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{there}/m.db")
    (found,) = client.search_runs([client.get_experiment_by_name("exp").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.tags["hepgan.status"] == "finished"
    assert found.data.params["training.batch_size"] == "32"
    assert [m.step for m in client.get_metric_history(found.info.run_id, "metric/ks_x")] == [30, 60, 90, 100]
    assert [a.path for a in client.list_artifacts(found.info.run_id)] == ["history.png"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_wandb_keeps_an_offline_run(there, monkeypatch):
    pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run("--track", "wandb:exp")
    (folder,) = Path("wandb").glob("offline-run-*")
    assert list(folder.glob("run-*.wandb"))
    assert list(folder.glob("files/media/images/history_*.png"))
