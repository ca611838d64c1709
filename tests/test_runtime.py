"""Cores, devices, and one bar of progress for training and production."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from functools import partial

import click
import pytest
import torch

from hepgan.cli.options import WORKERS
from hepgan.errors import InputError
from hepgan.runtime import (
    Progress,
    choose_device,
    cores,
    doing,
    idle_cores,
    progress,
    side_by_side,
    telling,
    terminable,
    threads,
    use_at_most,
    wait_briefly,
)


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
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress("generating", 1000) as advance:
        advance(250)
        advance(1000)
    generation = capfd.readouterr()
    with Progress("training", done=0.5) as bar:
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


def test_a_line_every_half_minute_stands_for_a_bar_where_there_is_no_terminal(capfd, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("hepgan.runtime.time.monotonic", lambda: clock[0])

    def lines(**how):
        with Progress("training", 200, done=20, **how) as bar:
            for done in range(21, 201):
                clock[0] += 1.0
                bar.tell(done, f"step {done}")
        out, err = capfd.readouterr()
        assert not out
        return err.splitlines()

    assert lines(shown=False) == []
    found = lines()
    assert len(found) == 6
    assert found[0] == "training 25%, 2 min left: step 50"
    assert found[1] == "training 40%, 2 min left: step 80"
    assert found[-1] == "training 100%, 0 s left: step 200"


def test_cores_are_no_more_than_a_quota_and_a_user_allow(tmp_path, monkeypatch):
    monkeypatch.setattr("hepgan.runtime._GROUP", tmp_path)
    monkeypatch.setattr("hepgan.runtime._allowed", lambda: set(range(8)))
    assert cores() == 8
    for text, expected in (("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1)):
        (tmp_path / "cpu.max").write_text(text + "\n")
        assert cores() == expected
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("400000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cores() == 4
    use_at_most(2)
    try:
        assert cores() == 2
    finally:
        use_at_most(None)
    assert cores() == 4


@pytest.mark.parametrize(("idle", "expected"), [(200, 4), (100, 2), (4, 1), (0, 1)])
def test_idle_cores_are_those_that_nobody_uses(tmp_path, monkeypatch, idle, expected):
    """Within 50 ticks of each of four cores; the others are not this process's."""
    monkeypatch.setattr("hepgan.runtime._allowed", lambda: {0, 1, 2, 3})
    monkeypatch.setattr("hepgan.runtime._quota", lambda: 64.0)
    stat = tmp_path / "stat"
    monkeypatch.setattr("hepgan.runtime._STAT", stat)

    def write(used: float, free: float) -> None:
        lines = [f"cpu{i} {used:g} 0 0 {free:g} 0 0 0 0 0 0" for i in range(4)]
        stat.write_text("\n".join(["cpu 1 2 3 4 5 6 7 8 9 10", *lines, "cpu4 9 9 9 9 9 9 9 9 9 9", "intr 1"]))

    write(100, 100)
    monkeypatch.setattr("time.sleep", lambda _: write(150 - idle / 4, 100 + idle / 4))
    assert idle_cores() == expected
    stat.unlink()
    assert idle_cores() == 4


def test_jobs_run_side_by_side_with_a_thread_each_and_their_results_keep_their_order():
    both = threading.Barrier(2, timeout=20)

    def job(number: int) -> tuple[int, int, int]:
        both.wait()
        return number, torch.get_num_threads(), threading.get_ident()

    before = torch.get_num_threads()
    found = side_by_side([partial(job, k) for k in range(2)], 2)
    assert [n for n, _, _ in found] == [0, 1]
    assert [count for _, count, _ in found] == [1, 1]
    assert len({ident for *_, ident in found}) == 2
    assert torch.get_num_threads() == before
    assert side_by_side([threading.get_ident] * 3, 1) == [threading.get_ident()] * 3


@pytest.mark.parametrize(
    ("own", "then"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}),
        ({"OMP_WAIT_POLICY": "active"}, {"OMP_WAIT_POLICY": "active"}),
        ({"GOMP_SPINCOUNT": "5"}, {"GOMP_SPINCOUNT": "5", "KMP_BLOCKTIME": "0"}),
    ],
)
def test_threads_wait_briefly_unless_the_user_says_how(monkeypatch, own, then):
    monkeypatch.setattr("os.environ", dict(own))
    wait_briefly()
    assert os.environ == then


def test_what_is_being_done_is_shown_on_a_terminal(capfd, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with telling():
        doing("reading [bold]")
    doing("nothing")
    said = capfd.readouterr().err
    assert "nothing" not in said


def test_a_line_tells_what_is_being_done_where_there_is_no_terminal(capfd, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr("hepgan.runtime.time.monotonic", lambda: clock[0])
    with telling():
        for what, seconds in (("reading", 10), ("telling [a] from b", 25), ("drawing", 20), ("writing", 40)):
            clock[0] += seconds
            doing(what)
    doing("nothing")
    assert capfd.readouterr() == ("", "telling [a] from b\nwriting\n")


def test_workers_rule_all_threads_of_one_command_alone(monkeypatch):
    monkeypatch.setattr("hepgan.runtime._allowed", lambda: set(range(8)))
    monkeypatch.setattr("hepgan.runtime._quota", lambda: 64.0)
    seen = []
    command = click.command()(WORKERS(lambda: seen.append(cores())))
    for words in ([], ["--workers", "3"], []):
        command.main(words, standalone_mode=False)
    assert seen == [8, 3, 8]


def test_a_request_to_stop_that_strikes_in_a_finaliser_is_not_lost():
    class Closing:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):  # where Python raises it, and drops it
                pass

    def work():
        Closing()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            pass

    with terminable() as asked:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert asked() == signal.SIGTERM


def test_another_thread_does_not_forget_a_request_to_stop():
    def other() -> None:
        with terminable() as asked:
            assert asked() is None

    with terminable() as asked:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert asked() == signal.SIGTERM
