"""Files that commands which learn write: one writer at a time, tried first, and nothing learned is lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cli_toys import RECIPE, columns, copy, inside, listing, run, write

from hepgan import EventGenerator
from hepgan.cli.learn import Job
from hepgan.files import Reservation

TRAIN = "train @tiny.yaml @train.root -o m.safetensors --set training.steps=2"
MADE = {"m.safetensors", "m.history.csv", "m.history.png"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    write(folder / "train.root", columns(100))
    (folder / "tiny.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@contextlib.contextmanager
def elsewhere(path):
    """A file is being written by another thread."""
    release = threading.Event()

    def hold():
        with Reservation(path, force=True):
            held.set()
            release.wait(60)

    held = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        holder = pool.submit(hold)
        held.wait(60)
        try:
            yield
        finally:
            release.set()
            holder.result()


@pytest.mark.parametrize("name", ["m.safetensors", "m.checkpoint.safetensors"])
@pytest.mark.parametrize("option", ["", " --force", " --resume"])
def test_a_second_training_with_one_output_is_refused_before_it_begins(name, option, files, here, capfd):
    with elsewhere(here / name):
        assert run(*inside(TRAIN + option, files)) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"hepgan: {name}: is being written by another")
    assert not listing(here)


def test_what_would_be_too_long_a_name_at_the_end_is_refused_at_the_start(files, here, capfd):
    most = os.pathconf(here, "PC_NAME_MAX")
    longest = most - len(".checkpoint.safetensors")
    words = inside(TRAIN, files)
    words[4] = "m" * (longest + 1) + ".safetensors"
    assert run(*words) == 2
    said = capfd.readouterr()
    assert (said.out, "File name too long" in said.err, listing(here)) == ("", True, {})
    words[4] = "m" * longest + ".safetensors"
    assert run(*words) == 0


@pytest.mark.parametrize("ending", ["history.csv", "diagnostics.csv", "history.png"])
def test_no_file_beside_the_model_is_replaced_unasked(ending, files, here, capfd):
    Path("m." + ending).write_text("mine")
    assert run(*inside(TRAIN, files)) == 2
    said = capfd.readouterr()
    assert (said.out, said.err.startswith(f"hepgan: m.{ending}: exists already")) == ("", True)
    assert Path("m." + ending).read_text() == "mine"
    assert [*listing(here)] == ["m." + ending]


def test_a_training_that_was_killed_when_its_model_was_whole_has_only_the_rest_to_do(
    files, here, capfd, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(Job, "_write_history", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*inside(TRAIN, files)) == 130
    assert set(listing(here)) == {"m.safetensors", "m.checkpoint.safetensors"}
    whole = Path("m.safetensors").read_bytes()
    assert run(*inside(TRAIN, files)) == 2
    assert "exists already" in capfd.readouterr().err
    assert run(*inside(TRAIN + " --resume", files)) == 0
    assert "2 steps" in capfd.readouterr().out
    assert set(listing(here)) == MADE
    assert Path("m.safetensors").read_bytes() == whole


def test_a_training_whose_model_is_not_there_yet_is_finished(files, here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Job, "_save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*inside(TRAIN, files)) == 130
    assert run(*inside(TRAIN + " --resume", files)) == 0
    assert set(listing(here)) == MADE


def test_what_was_learned_gets_another_name_where_its_own_is_taken_meanwhile(files, here, capfd, monkeypatch):
    made = Job._made

    def meanwhile(*arguments):
        found = made(*arguments)
        Path("m.safetensors").write_text("mine")
        return found

    monkeypatch.setattr(Job, "_made", meanwhile)
    assert run(*inside(TRAIN, files)) == 2
    assert capfd.readouterr().err.endswith("; the model is in m-2.safetensors\n")
    assert Path("m.safetensors").read_text() == "mine"
    assert EventGenerator.load("m-2.safetensors").summary["steps"] == 2
    assert set(listing(here)) == {"m.safetensors", "m-2.safetensors"}


@pytest.mark.filterwarnings("default::UserWarning")
def test_a_history_that_cannot_be_written_is_a_warning(files, here, capfd, monkeypatch):
    def fail(history):
        msg = "no mathtext"
        raise ValueError(msg)

    monkeypatch.setattr("hepgan.plotting.training.plot_history", fail)
    assert run(*inside(TRAIN, files)) == 0
    assert "warning: the model is whole, but m.history.png is not written: no mathtext" in (
        capfd.readouterr().err
    )
    assert set(listing(here)) == {"m.safetensors", "m.history.csv"}


def test_another_model_is_not_replaced_when_a_training_is_finished(files, here, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Job, "_save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*inside(TRAIN, files)) == 130
    shutil.move("m.checkpoint.safetensors", "kept")
    assert run(*inside(TRAIN + " --seed 5", files)) == 0
    other = Path("m.safetensors").read_bytes()
    copy(Path("kept"), Path("m.checkpoint.safetensors"))
    assert run(*inside(TRAIN + " --resume", files)) == 2
    assert Path("m.safetensors").read_bytes() == other
    assert Path("m-2.safetensors").exists()


def test_a_training_without_time_to_mean_anything_says_so_and_has_a_status_of_its_own(files, here, capfd):
    # However fast the machine is, the learning rate has not risen when time is out.
    long = TRAIN.replace("training.steps=2", "training.steps=1000000 --set training.schedule.warmup=1000000")
    assert run(*inside(f"{long} --max-time 1", files)) == 3
    said = capfd.readouterr()
    assert "hepgan: warning: the training had time for" in said.err
    assert "too few to mean anything; the model is written" in said.err
    assert said.err.count("\n") == 1
    assert "next: hepgan generate m.safetensors" in said.out
    assert {p.name for p in here.iterdir()} >= MADE
    assert len(EventGenerator.load("m.safetensors").generate(10)) == 10
