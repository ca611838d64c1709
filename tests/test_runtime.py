"""Cores, devices, and one bar of progress for training and production."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from hepgan.errors import InputError
from hepgan.runtime import Progress, choose_device, cores, progress, terminable, threads


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    with threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


def test_a_device_without_data_is_refused():
    assert choose_device("cpu") == torch.device("cpu")
    for name in ("meta", "abacus"):
        with pytest.raises(InputError, match=f"'{name}' is not available here; there are cpu"):
            choose_device(name)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="there is no SIGHUP")
def test_signals_that_a_process_ignores_do_not_end_it():
    """nohup sets SIGHUP to be ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminable() as ended:
            signal.raise_signal(signal.SIGHUP)
            assert ended() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_progress_is_silent_where_there_is_no_terminal(capfd):
    with progress("working", 10) as advance:
        advance(10)
    assert capfd.readouterr() == ("", "")


def test_training_and_production_show_the_same_bar(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    with progress("generating", 1000, shown=True) as advance:
        advance(250)
        advance(1000)
    generation = capfd.readouterr()
    with Progress("training", shown=True, done=0.5) as bar:
        bar.update(1.0, lambda: "step 7, 9 events/s; critic 0.5")
    training = capfd.readouterr()
    for said, what, text in (
        (generation, "generating", "1,000/1,000, "),
        (training, "training", "left, step 7, 9 events/s; critic 0.5"),
    ):
        assert said.out == ""
        assert what in said.err
        assert text in said.err
        assert "100%" in said.err
