"""Files are whole or not there, one process writes one at a time, and what killed ones leave goes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hepgan.errors import OutputError
from hepgan.files import Reservation, claim, publish, replacing, temporary

HOLD = """
import sys, time
from pathlib import Path
from hepgan.files import Reservation
with Reservation(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hidden(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.name.startswith("."))


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has reserved m.root."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "m.root")], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_is_refused_until_the_first_has_ended_even_if_it_was_killed(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    path = tmp_path / "m.root"
    with pytest.raises(OutputError, match=f"being written by process {other.pid} on"):
        Reservation(path)
    with pytest.raises(OutputError, match="being written by process"), replacing(path, force=True):
        pass
    Reservation(tmp_path / "n.root").release()
    other.kill()
    other.wait()
    with Reservation(path):
        assert hidden(tmp_path) == [".m.root.lock"]
    assert not hidden(tmp_path)


def test_a_thread_may_reserve_twice_and_another_one_may_not(tmp_path: Path) -> None:
    path = tmp_path / "m.root"
    refused: list[BaseException] = []

    def try_it() -> None:
        try:
            Reservation(path)
        except OutputError as error:
            refused.append(error)

    with Reservation(path):
        with Reservation(path):
            pass
        with replacing(path) as made:
            made.write_text("whole")
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    assert "another thread" in str(refused[0])
    assert path.read_text() == "whole"
    assert not hidden(tmp_path)


def test_a_reservation_that_is_forgotten_ends(tmp_path: Path) -> None:
    Reservation(tmp_path / "a" / "m.root")
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_process_left_of_this_file_goes_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.root"
    left, others = temporary(path), [temporary(tmp_path / "n.root"), tmp_path / ".m.root.part"]
    for file in (left, *others):
        file.touch()
    with Reservation(path):
        assert not left.exists()
        assert all(f.exists() for f in others)


def test_a_folder_is_reserved_with_all_that_was_left_in_it(tmp_path: Path) -> None:
    left = temporary(tmp_path / "events-0000.root")
    left.touch()
    with Reservation(tmp_path):
        assert hidden(tmp_path) == [".hepgan.lock"]
    assert not hidden(tmp_path)


def test_folders_made_for_a_file_that_never_came_go_again(tmp_path: Path) -> None:
    with Reservation(tmp_path / "a" / "b" / "m.root"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a").exists()
    with replacing(tmp_path / "a" / "b" / "m.root") as made:
        made.touch()
    assert (tmp_path / "a" / "b" / "m.root").is_file()


@pytest.mark.parametrize("name", ["m" * 250 + ".root", "ä" * 120 + ".root", "x" + "\udcff" + ".root"])
def test_hidden_companions_of_any_name_that_a_file_can_have_are_short_enough(
    tmp_path: Path, name: str
) -> None:
    with replacing(tmp_path / name) as made:
        made.write_text("whole")
    assert [os.fsencode(p.name) for p in tmp_path.iterdir()] == [os.fsencode(name)]


def test_a_link_and_a_read_only_file_are_left_alone(tmp_path: Path) -> None:
    target, link, fixed = tmp_path / "target", tmp_path / "link", tmp_path / "fixed"
    target.write_text("mine")
    link.symlink_to(target)
    fixed.write_text("mine")
    fixed.chmod(0o444)
    for path, message in ((link, "symbolic link"), (fixed, "read-only")):
        with pytest.raises(OutputError, match=message):
            claim(path, force=True)
    assert target.read_text() == fixed.read_text() == "mine"


def test_a_name_that_something_else_took_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "m.root"

    def lose() -> None:
        with replacing(path) as made:
            made.write_text("ours")
            path.write_text("theirs")

    with pytest.raises(OutputError, match="exists already"):
        lose()
    assert path.read_text() == "theirs"
    made = temporary(path)
    made.write_text("ours")
    publish(made, path, force=True)
    assert path.read_text() == "ours"
    assert not hidden(tmp_path)
