from __future__ import annotations

import errno
import json
import os
import resource
import sys
import threading
import zlib
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
from coffea import processor
from coffea.dataset_tools.filespec import DataGroupSpec
from production_toys import quick

from hepgan.coffea import HepganSchema
from hepgan.errors import InputError, OutputError
from hepgan.events import read_events
from hepgan.events.formats import TTreeSink
from hepgan.generator import EventGenerator
from hepgan.generator.sampling import Sampler
from hepgan.production import produce, write_shards

SUFFIX = {"ttree": ".root", "rntuple": ".root", "parquet": ".parquet"}


@pytest.fixture(scope="module")
def generator():
    return quick()


def same(a, b):
    return a.type == b.type and bool(ak.array_equal(a, b))


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("format", SUFFIX)
def test_a_file_holds_the_generated_events(toy_generator, tmp_path, format):
    path = tmp_path / f"out{SUFFIX[format]}"
    made = produce(toy_generator, 5000, path, seed=3, format=format)
    assert (made.files, made.events) == ((path,), 5000)
    expected = toy_generator.generate(5000, seed=3)
    read = read_events(path)
    others = [f for f in expected.fields if f != "genWeight"]
    assert same(read[others], expected[others])
    total = toy_generator.summary["yields"]["sum_of_weights"]
    assert np.allclose(read.genWeight, total / 5000)
    assert [p.name for p in tmp_path.iterdir() if p.name[0] == "."] == []


@pytest.mark.parametrize("format", SUFFIX)
@pytest.mark.parametrize(("size", "workers"), [(5000, 2), (2048, 1), (1999, 3)])
def test_shards_one_after_another_are_the_single_file(generator, tmp_path, format, size, workers):
    produce(generator, 9000, tmp_path / f"one{SUFFIX[format]}", seed=6, format=format, workers=2)
    made = produce(
        generator, 9000, tmp_path / "many", seed=6, format=format, shard_size=size, workers=workers
    )
    assert [f.name for f in made.files] == [
        f"events-{k:04d}{SUFFIX[format]}" for k in range(-(-9000 // size))
    ]
    whole = read_events(tmp_path / f"one{SUFFIX[format]}")
    shards = [read_events(f) for f in made.files]
    assert [len(s) for s in shards] == [min(size, 9000 - i) for i in range(0, 9000, size)]
    assert same(ak.concatenate(shards), whole)


@pytest.mark.parametrize("format", SUFFIX)
def test_events_are_numbered_over_all_shards(generator, tmp_path, format):
    made = produce(generator, 5000, tmp_path / "many", format=format, shard_size=2000)
    events = read_events(tmp_path / "many" / f"events-*{SUFFIX[format]}")
    assert len(made.files) == 3
    assert np.array_equal(np.asarray(events.event), np.arange(1, 5001))
    assert ak.all(events.run == 1)
    assert np.array_equal(np.asarray(events.luminosityBlock), 1 + np.arange(5000) // 1000)
    shards = [set(read_events(file).luminosityBlock) for file in made.files]
    assert shards == [{1, 2}, {3, 4}, {5}]  # a mask of luminosity blocks tells shards apart
    assert [str(events[f].type.content) for f in ("run", "luminosityBlock", "event")] == [
        "uint32",
        "uint32",
        "uint64",
    ]


def test_identifiers_can_be_left_out(generator, tmp_path):
    produce(generator, 10, tmp_path / "out.root", identifiers=False)
    with uproot.open(tmp_path / "out.root") as file:
        assert "event" not in file[generator.schema.tree]


class _Sum(processor.ProcessorABC):
    def process(self, events):
        return {
            "events": len(events),
            "met": float(ak.sum(events.MET.pt)),
            "jets": int(ak.sum(ak.num(events.Jet.pt))),
            "generator": {events.metadata["generator"]},
            "first": {int(events.event[0])},
        }

    def postprocess(self, accumulator):
        return accumulator


@pytest.mark.parametrize("output", ["out.root", "folder"])
def test_the_fileset_is_what_coffeas_runner_reads(generator, tmp_path, monkeypatch, output):
    monkeypatch.chdir(tmp_path)
    made = produce(generator, 5000, output, seed=2, shard_size=2000)
    assert made.fileset is not None
    (tmp_path / "elsewhere").mkdir()
    fileset = json.loads(made.fileset.read_text())
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = processor.Runner(processor.IterativeExecutor(status=False), schema=HepganSchema)
    found = run(fileset, processor_instance=_Sum())
    expected = generator.generate(5000, seed=2)
    assert found["events"] == 5000
    assert found["met"] == pytest.approx(float(ak.sum(expected.MET.pt)), rel=1e-4)
    assert found["jets"] == ak.count(expected.Jet.pt)
    assert found["generator"] == {"quick"}
    assert found["first"] == ({1} if output == "out.root" else {1, 2001, 4001})
    told = fileset["quick"]["metadata"]
    assert (told["generator"], told["seed"], told["events"]) == ("quick", 2, 5000)
    assert told["plan"]["shard_size"] == (5000 if output == "out.root" else 2000)


@pytest.mark.parametrize("format", SUFFIX)
def test_filesets_are_datasets_to_coffea_and_tell_sizes_and_checksums(generator, tmp_path, format):
    made = produce(generator, 250, tmp_path / "many", format=format, shard_size=100)
    content = json.loads(made.fileset.read_text())
    group = DataGroupSpec(content)["quick"]
    assert [f.num_entries for f in group.files.values()] == [100, 100, 50]
    for name, file in content["quick"]["files"].items():
        assert file["bytes"] == Path(name).stat().st_size
        assert file["adler32"] == f"{zlib.adler32(Path(name).read_bytes()):08x}"
        if format != "parquet":
            assert file["uuid"] == str(uproot.open(name).file.uuid)


def test_filesets_of_root_and_parquet_are_apart(generator, tmp_path):
    produce(generator, 10, tmp_path / "s.root")
    before = (tmp_path / "s.fileset.json").read_bytes()
    for force in (False, True):
        produce(generator, 10, tmp_path / "s.parquet", format="parquet", force=force)
    assert listing(tmp_path) == ["s.fileset.json", "s.parquet", "s.parquet.fileset.json", "s.root"]
    assert (tmp_path / "s.fileset.json").read_bytes() == before


def test_conditions_go_by_the_number_of_the_event_in_all_shards(toy_generator, tmp_path):
    wanted = np.arange(5000) % 20 + 10
    produce(toy_generator, 5000, tmp_path / "many", condition={"npv": wanted}, shard_size=3000)
    assert np.array_equal(np.asarray(read_events(tmp_path / "many" / "*.root").npv), wanted)


# ---------------------------------------------------------------------- what is refused


def test_an_existing_file_is_replaced_only_by_force(generator, tmp_path):
    (tmp_path / "out.root").write_text("mine")
    with pytest.raises(OutputError, match=r"exists already"):
        produce(generator, 10, tmp_path / "out.root")
    assert listing(tmp_path) == ["out.root"]
    assert (tmp_path / "out.root").read_text() == "mine"
    for n in (10, 20):
        produce(generator, n, tmp_path / "out.root", force=True)
        assert len(read_events(tmp_path / "out.root")) == n
        assert json.loads((tmp_path / "out.fileset.json").read_text())["quick"]["metadata"]["events"] == n


@pytest.mark.parametrize("output", ["out.root", ""])
@pytest.mark.parametrize("change", ["other", "seed"])
def test_a_fileset_that_hepgan_has_not_written_so_is_left_alone(generator, tmp_path, output, change):
    path = tmp_path / ("out.fileset.json" if output else "fileset.json")
    path.write_text('{"mine": {"files": {}, "metadata": {}}}')
    if change == "seed":
        path.unlink()
        produce(generator, 10, tmp_path / output, seed=31415)
        path.write_text(path.read_text().replace("31415", "27182"))
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(OutputError, match=r"fileset\.json: is not as hepgan has written it"):
        produce(generator, 10, tmp_path / output, force=True)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_old_shards_are_never_left_beside_new_ones(generator, tmp_path):
    produce(generator, 500, tmp_path, shard_size=100)
    with pytest.raises(OutputError, match=r"holds events already \(events-0000\.root"):
        produce(generator, 500, tmp_path, shard_size=100)
    produce(generator, 200, tmp_path, shard_size=100, seed=1, force=True)
    assert listing(tmp_path) == ["events-0000.root", "events-0001.root", "fileset.json"]
    assert same(read_events(tmp_path / "*.root").MET, generator.generate(200, seed=1).MET)


def test_parquet_shards_replace_those_of_root(generator, tmp_path):
    produce(generator, 200, tmp_path, shard_size=100)
    produce(generator, 200, tmp_path, shard_size=200, format="parquet", force=True)
    assert listing(tmp_path) == ["events-0000.parquet", "fileset.json"]


@pytest.mark.parametrize(
    ("output", "options", "match"),
    [
        ("out.root", {"format": "parquet"}, r"parquet files are called \*\.parquet"),
        ("out.parquet", {"format": "ttree"}, r"ttree files are called \*\.root"),
        ("out.xml", {}, r"neither a folder, which has no ending, nor a file of events \(\.root"),
        ("file/out.root", {}, "is a file, not a folder"),
        ("file", {}, "is a file; shards need a folder"),
        ("folder.root", {}, "is a folder, not a file"),
        ("x" * 300 + ".root", {}, "cannot be written: File name too long"),
        ("x" * 245 + ".root", {}, "cannot be written: File name too long"),  # its fileset
        ("x" * 300, {}, "cannot be written: File name too long"),
    ],
)
def test_outputs_that_cannot_be_are_refused_before_any_work(
    generator, tmp_path, monkeypatch, output, options, match
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder.root").mkdir()
    monkeypatch.setattr(EventGenerator, "iterate", None)
    with pytest.raises(OutputError, match=match):
        produce(generator, 10, tmp_path / output, **options)
    assert listing(tmp_path) == ["file", "folder.root"]


@pytest.mark.parametrize("wrong", [{"n": 0}, {"shard_size": 0}, {"format": "xml"}])
def test_numbers_and_formats_out_of_range_are_refused(generator, tmp_path, wrong):
    n = wrong.pop("n", 10)
    with pytest.raises(ValueError, match=r"of at least 1|format"):
        produce(generator, n, tmp_path / "folder", **wrong)
    assert listing(tmp_path) == []


@pytest.mark.parametrize("condition", [{"mass": 3.0}, {"npv": np.ones(9)}])
def test_wrong_conditions_leave_an_existing_sample_alone(generator, tmp_path, condition):
    produce(generator, 200, tmp_path, shard_size=100)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(InputError):
        produce(generator, 200, tmp_path, condition=condition, force=True)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_what_is_too_large_for_one_file_is_refused_early(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[write_shards.__module__], "MAX_FILE", 10_000_000)
    seen = []
    with pytest.raises(OutputError, match=r"10000000 events would make a file of .* give a folder"):
        produce(generator, 10_000_000, tmp_path / "out.root", on_progress=seen.append)
    assert max(seen) < 110_000
    assert listing(tmp_path) == []


# ---------------------------------------------------------------------- failures in the middle


class _Stop(Exception):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, _Stop])
@pytest.mark.parametrize("output", ["out.root", "folder"])
def test_whatever_stops_a_production_leaves_whole_files_only(generator, tmp_path, error, output):
    threads = threading.active_count()

    def stop(done):
        if done > 10_000:
            raise error

    with pytest.raises(error):
        produce(generator, 10**6, tmp_path / output, shard_size=4000, on_progress=stop)
    assert threading.active_count() == threads
    if output == "out.root":
        assert listing(tmp_path) == []
    else:
        assert listing(tmp_path / output) == ["events-0000.root", "events-0001.root", "unfinished.jsonl"]
        with pytest.warns(UserWarning, match="a part of a production that has not ended"):
            assert len(read_events(tmp_path / output / "*.root")) == 8000


def test_a_failed_production_leaves_the_old_file(generator, tmp_path):
    produce(generator, 100, tmp_path / "out.root", seed=1)
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    def stop(done):
        raise _Stop

    with pytest.raises(_Stop):
        produce(generator, 10**6, tmp_path / "out.root", force=True, on_progress=stop)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_an_error_of_the_model_leaves_nothing(generator, tmp_path, monkeypatch):
    def broken(*_):
        message = "broken"
        raise RuntimeError(message)

    monkeypatch.setattr(generator.parts.model, "sample", broken)
    with pytest.raises(RuntimeError, match="broken"):
        produce(generator, 100, tmp_path / "out.root")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("output", ["out.root", "folder"])
def test_a_model_that_makes_nan_is_refused_with_branch_and_event_and_leaves_nothing(
    generator, tmp_path, monkeypatch, output
):
    """Block 1 has the first bad event; shards end elsewhere."""
    block = Sampler.block

    def broken(self, number):
        events = block(self, number)
        if number == 1:
            events.collections["MET"].fields["pt"][100] = torch.nan
        return events

    monkeypatch.setattr(Sampler, "block", broken)
    with pytest.raises(OutputError, match=r"event 4196 is nan, which is not a finite number") as caught:
        produce(generator, 10_000, tmp_path / output, shard_size=5000)
    assert caught.value.branch == "MET_pt"
    assert str(tmp_path / output) in caught.value.file
    assert listing(tmp_path) == []


def test_a_full_disk_is_an_output_error(generator, tmp_path, monkeypatch):
    write, calls = TTreeSink.write, []

    def full(self, columns):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(self, columns)

    monkeypatch.setattr(TTreeSink, "write", full)
    with pytest.raises(OutputError, match=r"out\.root: cannot be written: No space left on device"):
        produce(generator, 300_000, tmp_path / "out.root")
    assert listing(tmp_path) == []


@pytest.mark.parametrize("format", SUFFIX)
def test_a_limit_of_the_file_system_is_an_output_error(generator, tmp_path, format):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, before[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot be written"):
            produce(generator, 10_000, tmp_path / f"out{SUFFIX[format]}", format=format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert listing(tmp_path) == []


# ---------------------------------------------------------------------- bounded work


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory in use from /proc")
def test_memory_does_not_grow_with_the_number_of_events(generator, tmp_path):
    used: dict[int, int] = {}

    def note(done):
        used[done] = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    produce(generator, 600_000, tmp_path / "folder", shard_size=250_000, on_progress=note)
    early = max(v for k, v in used.items() if k <= 200_000)
    late = max(v for k, v in used.items() if k > 200_000)
    # 400,000 events are 28 MB of numbers in memory, and 11 MB in files.
    assert late - early < 10e6


def test_progress_counts_every_event_once(generator, tmp_path):
    seen = []
    produce(generator, 10_000, tmp_path / "folder", shard_size=3000, on_progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == 10_000
    assert {3000, 6000, 9000} <= set(seen)
