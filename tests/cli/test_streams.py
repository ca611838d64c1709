"""What a command does where it cannot say anything, and where it is stopped before it begins."""

from __future__ import annotations

import importlib.abc
import io
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_toys import run

from hepgan.cli.console import Group, say
from hepgan.cli.console import run as run_group

WORK = """
import os, sys
from hepgan.cli.console import Group, run, say

group = Group()

@group.command(example="work")
def work():
    with open("made", "w") as file:
        say("a line of ours")
        os.write(1, b"a line of a library's")
        file.write("the work")
        say("another")

sys.exit(run(group, sys.argv[1:]))
"""


def work(redirections: str, folder: Path, arguments: str = "work") -> tuple[int, str, str]:
    """The status of a command that makes a file, what it said on stderr, and what the file holds."""
    (folder / "work.py").write_text(WORK)
    line = f"{sys.executable} work.py {arguments} {redirections}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=folder, check=False)
    made = folder / "made"
    return done.returncode, done.stderr, made.read_text() if made.exists() else ""


@pytest.mark.parametrize("redirections", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_command_without_streams_does_its_work(redirections, tmp_path):
    assert work(redirections, tmp_path) == (0, "", "the work")


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", ">&- 2>&-"])
def test_an_error_that_nobody_hears_has_its_status(redirections, tmp_path):
    assert work(redirections, tmp_path, "nosuch") == (2, "", "")


def test_a_full_stdout_is_told_after_the_work(tmp_path):
    status, said, made = work("3>&1 >/dev/full", tmp_path)
    assert (status, made) == (2, "the work")
    assert said.startswith("hepgan: stdout: No space left on device; ")
    assert said.endswith("all files are whole\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize("arguments", ["--help", "work --help"])
def test_help_that_a_full_stdout_does_not_take_is_told(arguments, tmp_path):
    status, said, _ = work("3>&1 >/dev/full", tmp_path, arguments)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("hepgan: stdout: No space left on device; ")


def test_a_pipe_that_is_closed_stops_no_work(tmp_path):
    (tmp_path / "work.py").write_text(WORK.replace("os.write", "# "))
    reader = "{ sleep 0.1; PYTHON work.py work; echo $? >status; } | true".replace("PYTHON", sys.executable)
    done = subprocess.run(["sh", "-c", reader], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (tmp_path / "status").read_text() == "0\n"
    assert (tmp_path / "made").read_text() == "the work"
    assert done.stderr == ""


def test_python_without_streams_is_served(monkeypatch):
    group = Group()
    group.command("work", example="")(lambda: say("a line"))
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    status = run_group(group, ["work"]), run_group(group, ["nosuch"])
    for name in ("stdin", "stdout", "stderr"):
        getattr(sys, name).close()
    assert status == (0, 2)


def test_what_a_stream_cannot_say_is_escaped(monkeypatch):
    def fail():
        say("µ \udcff\x1b")
        msg = "é \udcff\nin two lines"
        raise click.UsageError(msg)

    group = Group()
    group.command("work", example="")(fail)
    streams = {n: io.TextIOWrapper(io.BytesIO(), "ascii", "strict") for n in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    assert run_group(group, ["work"]) == 2
    assert run_group(group, ["\udcff\x1b"]) == 2
    monkeypatch.undo()
    out, err = (stream.buffer.getvalue().decode("ascii") for stream in streams.values())
    assert out == "\\xb5 \\xff\\x1b\n"
    assert "\\xe9 \\xff\nin two lines" in err
    assert "\x1b" not in err


# ---------------------------------------------------------------- stopped early


@pytest.fixture
def _ours():
    """Ctrl-C as Python takes it, which what runs in the background of a shell ignores."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Early(Group):
    """Commands that are stopped while their arguments are read."""

    def parse_args(self, ctx, args):
        raise self.error


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted; no unfinished file is left"),
        (EOFError("end"), 1, "EOFError"),
    ],
)
def test_ctrl_c_while_arguments_are_read_is_an_interruption(error, status, words, capfd):
    Early.error = error
    assert run_group(Early("hepgan"), ["info"]) == status
    said = capfd.readouterr().err.strip()
    assert said.startswith(f"hepgan: {words}")
    assert ("bug" in said) == (status == 1)


@pytest.mark.usefixtures("_ours")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_that_a_library_turns_into_an_error_of_its_own_is_an_interruption(number, status, capfd):
    def work():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt as error:
            msg = "initialization failed"
            raise ImportError(msg) from error

    group = Group()
    group.command("work", example="")(work)
    assert run_group(group, ["work"]) == status
    assert capfd.readouterr().err == "hepgan: interrupted; no unfinished file is left\n"


class Stopped(importlib.abc.MetaPathFinder):
    """Imports in which Ctrl-C strikes."""

    def find_spec(self, name, path=None, target=None):
        if name == "hepgan.cli.app":
            raise KeyboardInterrupt


def test_ctrl_c_while_the_commands_are_imported_is_an_interruption(monkeypatch, capfd):
    monkeypatch.delitem(sys.modules, "hepgan.cli.app", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Stopped(), *sys.meta_path])
    assert run("info") == 130
    assert capfd.readouterr().err == "hepgan: interrupted; nothing was begun\n"
