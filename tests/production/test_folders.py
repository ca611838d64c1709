"""Folders of shards: gone on with, replaced whole or not at all, and nothing touched that is the user's."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from production_toys import quick

from hepgan.errors import OutputError
from hepgan.events import read_events
from hepgan.events.formats import ParquetSink, TTreeSink
from hepgan.files import Reservation, temporary
from hepgan.generator import EventGenerator
from hepgan.models import BLOCK
from hepgan.production import Plan, produce, unfinished, write_shard
from hepgan.production.manifest import HIDDEN, Journal


class _Killed(BaseException):
    """What a kill is to the code that it strikes: nothing after it is done."""


@pytest.fixture(scope="module")
def generator():
    return quick()


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.glob("**/*") if p.is_file())


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in listing(folder)}


def met(folder: Path) -> np.ndarray:
    return np.asarray(read_events(folder / "events-*.*").MET.pt)


def stop(after: int, error: type[BaseException] = KeyboardInterrupt):
    def advance(done: int) -> None:
        if done > after:
            raise error

    return advance


# ---------------------------------------------------------------------- going on


@pytest.mark.parametrize("format", ["ttree", "parquet"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, _Killed, RuntimeError])
def test_the_same_call_goes_on_where_the_first_was_stopped(generator, tmp_path, format, error):
    settings = {"seed": 4, "shard_size": 100, "format": format}
    with pytest.raises(error):
        produce(generator, 1000, tmp_path / "d", **settings, on_progress=stop(400, error))
    there = {p.name: p.stat().st_ino for p in (tmp_path / "d").glob("events-*")}
    assert unfinished(tmp_path / "d") == (4, 10)
    assert not (tmp_path / "d" / "fileset.json").exists()
    seen: list[int] = []
    made = produce(generator, 1000, tmp_path / "d", **settings, on_progress=seen.append)
    assert (made.kept, made.made, made.events) == (4, 600, 1000)
    assert (seen[0], seen[-1]) == (500, 1000)
    assert {n: (tmp_path / "d" / n).stat().st_ino for n in there} == there
    assert len(listing(tmp_path / "d")) == 11
    assert unfinished(tmp_path / "d") is None
    produce(generator, 1000, tmp_path / "whole", **settings)
    assert np.array_equal(met(tmp_path / "d"), met(tmp_path / "whole"))


def test_shards_that_are_not_as_they_were_noted_are_made_again(generator, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        produce(generator, 1000, tmp_path, shard_size=100, on_progress=stop(500))
    damaged = bytearray((tmp_path / "events-0001.root").read_bytes())
    damaged[-100] ^= 1
    (tmp_path / "events-0001.root").write_bytes(damaged)
    (tmp_path / "events-0002.root").write_bytes(b"cut")
    (tmp_path / "events-0003.root").unlink()
    with (tmp_path / "unfinished.jsonl").open("a") as journal:
        journal.write('{"name": "events-0005.ro')  # a line that a kill has cut
    assert produce(generator, 1000, tmp_path, shard_size=100).kept == 2
    assert np.array_equal(met(tmp_path), np.asarray(generator.generate(1000).MET.pt))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "seed 0 instead of 1"),
        ({"shard_size": 200}, "shard_size 100 instead of 200"),
        ({"format": "rntuple"}, "format ttree instead of rntuple"),
        ({"n": 900}, "events 1000 instead of 900"),
        ({"identifiers": False}, "identifiers True instead of False"),
    ],
)
def test_another_production_is_not_gone_on_with(generator, tmp_path, change, words):
    with pytest.raises(KeyboardInterrupt):
        produce(generator, 1000, tmp_path, shard_size=100, on_progress=stop(500))
    before = contents(tmp_path)
    n = change.pop("n", 1000)
    settings = {"shard_size": 100, **change}
    with pytest.raises(OutputError, match=f"a part of another production .*{words}"):
        produce(generator, n, tmp_path, **settings)
    assert contents(tmp_path) == before
    assert produce(generator, n, tmp_path, **settings, force=True).kept == 0
    assert listing(tmp_path) == [
        *(f"events-{k:04d}.root" for k in range(-(-n // settings["shard_size"]))),
        "fileset.json",
    ]


def test_another_model_or_condition_is_another_plan(generator, toy_generator):
    def plan(of: EventGenerator, condition: object = None) -> Plan:
        settings = {"shard_size": 10, "format": "ttree"}
        return Plan.of(of, 100, seed=1, condition=condition, member=None, **settings)

    values = np.arange(100)
    same = plan(toy_generator, {"npv": values})
    assert same == plan(EventGenerator.from_bytes(toy_generator.to_bytes()), {"npv": values.copy()})
    assert Plan.model_validate_json(same.model_dump_json()) == same
    others = [plan(generator), plan(toy_generator), plan(toy_generator, {"npv": values[::-1]})]
    others += [plan(toy_generator, {"npv": "10,20"}), plan(toy_generator, {"npv": "uniform:10:20"})]
    assert len({other.model_dump_json() for other in (same, *others)}) == 6


def test_a_shard_is_a_function_of_the_plan(generator, tmp_path):
    produce(generator, 900, tmp_path / "all", shard_size=200, seed=3)
    plan = Plan.of(generator, 900, seed=3, shard_size=200, format="ttree")
    (tmp_path / "one").mkdir()
    made = write_shard(generator, plan, 4, tmp_path / "one", workers=1)
    assert (made.name, made.events) == ("events-0004.root", 100)
    one, same = (read_events(tmp_path / d / "events-0004.root") for d in ("one", "all"))
    assert one.to_list() == same.to_list()
    assert one.event[0] == 801


def test_small_shards_share_the_blocks_that_they_come_from(generator, tmp_path, monkeypatch):
    calls = []
    sample = type(generator.parts.model).sample

    def counted(self, *arguments, **settings):
        calls.append(1)
        return sample(self, *arguments, **settings)

    monkeypatch.setattr(type(generator.parts.model), "sample", counted)
    produce(generator, 40, tmp_path / "d", shard_size=1)
    assert len(listing(tmp_path / "d")) == 41
    produce(generator, BLOCK + 10, tmp_path / "e", shard_size=BLOCK // 2)
    assert len(calls) <= 3 * (1 + generator.parts.representation.restricted)


# ---------------------------------------------------------------------- replacing


def test_force_leaves_what_is_the_users_own(generator, tmp_path):
    own = {"events-data2022.root": b"mine", "events-signal.parquet": b"mine", "events-0001.txt": b"mine"}
    for name, content in own.items():
        (tmp_path / name).write_bytes(content)
    for n in (300, 200):
        with pytest.warns(UserWarning, match=r"holds other files, too \(events-data2022\.root"):
            produce(generator, n, tmp_path, shard_size=100, force=True)
    assert own.items() <= contents(tmp_path).items()
    assert listing(tmp_path) == sorted([*own, "events-0000.root", "events-0001.root", "fileset.json"])


@pytest.mark.parametrize("kind", ["file", "link", "read-only", "changed"])
@pytest.mark.parametrize("there", [False, True])
def test_a_users_file_in_the_way_is_an_error_even_with_force(generator, tmp_path, kind, there):
    folder, path = tmp_path / "d", tmp_path / "d" / "events-0001.root"
    folder.mkdir()
    if there:  # a sample of hepgan's
        produce(generator, 300, folder, shard_size=100)
        if kind in ("read-only", "changed"):
            path.chmod(0o444) if kind == "read-only" else path.write_bytes(path.read_bytes() + b"mine")
        else:
            path.unlink()
            listed = json.loads((folder / "fileset.json").read_text())
            assert len(listed["quick"]["files"]) == 3
    if kind == "link":
        (tmp_path / "mine").write_text("mine")
        path.symlink_to(tmp_path / "mine")
    elif not there or kind == "file":
        path.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=r"left alone|symbolic link|read-only|is not as hepgan"):
        produce(generator, 400, folder, shard_size=100, seed=1, force=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("format", ["ttree", "parquet"])
def test_the_earlier_sample_is_whole_when_the_disk_is_full(generator, tmp_path, monkeypatch, format):
    produce(generator, 300, tmp_path, shard_size=100, format=format)
    before = contents(tmp_path)
    sink, calls = ParquetSink if format == "parquet" else TTreeSink, []
    write = sink.write

    def full(self, columns):
        calls.append(1)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, columns)

    monkeypatch.setattr(sink, "write", full)
    with pytest.raises(OutputError, match=r"events-0002\..*: cannot be written: No space left on device"):
        produce(generator, 900, tmp_path, shard_size=100, seed=2, format=format, force=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("force", [False, True])
def test_nothing_is_left_where_not_even_the_plan_can_be_written(generator, tmp_path, monkeypatch, force):
    if force:
        produce(generator, 300, tmp_path, shard_size=100)
    before = contents(tmp_path)

    def full(self):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "begin", full)
    with pytest.raises(OutputError, match="No space left on device"):
        produce(generator, 900, tmp_path, shard_size=100, seed=2, force=force)
    assert contents(tmp_path) == before
    assert not (tmp_path / HIDDEN).exists()


def test_what_killed_processes_left_goes_and_nothing_else_that_is_hidden(generator, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        produce(generator, 300, tmp_path, shard_size=100, on_progress=stop(100))
    left = [temporary(tmp_path / "events-0001.root"), temporary(tmp_path / "events-0123.parquet")]
    left.append(tmp_path / ".events-0002.root.lock")
    own = [tmp_path / ".events-0001.root.part", tmp_path / ".hidden.root"]
    for path in (*left, *own):
        path.touch()
    produce(generator, 100, tmp_path, shard_size=100, seed=1, force=True)
    assert listing(tmp_path) == sorted([*(p.name for p in own), "events-0000.root", "fileset.json"])


def test_a_stopped_replacement_leaves_the_earlier_sample_and_goes_on(generator, tmp_path):
    produce(generator, 300, tmp_path, shard_size=100)
    before = contents(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        produce(generator, 500, tmp_path, shard_size=100, seed=1, force=True, on_progress=stop(300))
    assert before.items() <= contents(tmp_path).items()
    assert unfinished(tmp_path) == (3, 5)
    with pytest.raises(OutputError, match="holds events already"):
        produce(generator, 500, tmp_path, shard_size=100, seed=1)
    assert produce(generator, 500, tmp_path, shard_size=100, seed=1, force=True).kept == 3
    assert listing(tmp_path) == [*(f"events-000{k}.root" for k in range(5)), "fileset.json"]
    assert np.array_equal(met(tmp_path), np.asarray(generator.generate(500, seed=1).MET.pt))


def test_wherever_a_kill_strikes_a_fileset_is_true_and_the_same_call_ends_well(
    generator, tmp_path, monkeypatch
):
    """The process is stopped at every call by which names change, one after the other."""
    produce(generator, 300, tmp_path / "old", shard_size=100)
    samples = {
        seed: np.asarray(generator.generate(200 + 100 * (seed == 0), seed=seed).MET.pt) for seed in (0, 1)
    }
    struck, allowed = 0, 0
    real = {name: getattr(os, name) for name in ("replace", "link", "unlink", "mkdir", "rmdir")}
    left = [0]

    def guarded(name: str):
        def call(*arguments: object, **options: object) -> None:
            if ".lock" not in str(arguments[0]):
                if left[0] == 0:
                    raise _Killed
                left[0] -= 1
            real[name](*arguments, **options)

        return call

    while True:
        folder = tmp_path / "d"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "old", folder)
        left[0] = allowed
        with monkeypatch.context() as patched:
            for name in real:
                patched.setattr(os, name, guarded(name))
            try:
                produce(generator, 200, folder, shard_size=100, seed=1, force=True)
                ended = True
            except _Killed:
                ended, struck = False, struck + 1
        if (folder / "fileset.json").exists():
            told = json.loads((folder / "fileset.json").read_text())["quick"]
            files = [folder / Path(f).name for f in told["files"]]
            assert [f.stat().st_size for f in files] == [f["bytes"] for f in told["files"].values()]
            found = np.concatenate([np.asarray(read_events(f).MET.pt) for f in files])
            assert np.array_equal(found, samples[told["metadata"]["seed"]])
        produce(generator, 200, folder, shard_size=100, seed=1, force=True)
        assert listing(folder) == ["events-0000.root", "events-0001.root", "fileset.json"]
        assert np.array_equal(met(folder), samples[1])
        if ended:
            break
        allowed += 1
    assert struck > 8


# ---------------------------------------------------------------------- two at once


@pytest.mark.parametrize("output", ["d", "s.root"])
def test_of_two_at_once_the_second_is_refused_before_any_work(generator, tmp_path, monkeypatch, output):
    """A child process holds the place."""
    reserved = tmp_path / output if output == "s.root" else tmp_path / "d" / "fileset.json"
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        held = Reservation(reserved, force=True)
        os.write(ready[1], b"1")
        os.read(done[0], 1)
        held.release()
        os._exit(0)
    os.read(ready[0], 1)
    with monkeypatch.context() as patched:
        patched.setattr(EventGenerator, "pieces", None)
        with pytest.raises(OutputError, match=f"is being written by process {child}"):
            produce(generator, 100, tmp_path / output, force=True)
    os.write(done[1], b"1")
    os.waitpid(child, 0)
    produce(generator, 100, tmp_path / output)
    for end in (*ready, *done):
        os.close(end)
