"""Events read from URLs and written to them."""

from __future__ import annotations

import http.server
import json
import sys
import threading
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from cli_toys import run
from production_toys import quick
from toys import dimuons

from hepgan.errors import InputError, OutputError
from hepgan.events import count_events, fileset, iterate_events, read_events, write_events
from hepgan.production import produce

SETTINGS = {"seed": 3, "shard_size": 100}


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """A server of files that gives parts of them, as stores do."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        span, path = self.headers.get("Range"), Path(self.translate_path(self.path))
        if span is None or not path.is_file():
            super().do_GET()
            return
        size = path.stat().st_size
        low, high = span.removeprefix("bytes=").split("-")
        start = int(low) if low else size - int(high)
        stop = min(int(high), size - 1) if low and high else size - 1
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(stop - start + 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{stop}/{size}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder and its URL."""
    folder = tmp_path_factory.mktemp("served")
    handler = partial(_Ranges, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        for seed, name in ((1, "a.root"), (2, "b.root"), (1, "a.parquet"), (1, "a.csv")):
            if name == "a.csv":
                (folder / name).write_text("x,y\n1,2\n")
            else:
                write_events(folder / name, dimuons(150, seed))
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["a.root", "a.root:Events", "a.parquet"])
def test_files_are_read_by_their_url(served, name):
    folder, url = served
    there = read_events(f"{url}/{name}")
    assert there.to_list() == read_events(f"{folder}/{name}").to_list()
    assert count_events(f"{url}/{name}") == len(there)
    chunks = list(iterate_events(f"{url}/{name}", step=60))
    assert sum(map(len, chunks)) == len(there)


def test_a_glob_of_a_url_is_what_its_store_lists(served):
    folder, url = served
    assert read_events(f"{url}/*.root").to_list() == read_events(str(folder / "*.root")).to_list()
    files = fileset(f"{url}/*.root")["events"]["files"]
    assert list(files) == [f"{url}/a.root", f"{url}/b.root"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no.root", r"no\.root: cannot be opened"),
        ("no.parquet", r"no\.parquet: cannot be read"),
        ("a.csv", r"a\.csv: a csv file is not read by its URL"),
        ("*.h5", r"\*\.h5: no file matches"),
    ],
)
def test_what_cannot_be_read_by_its_url_is_one_clear_error(served, name, words):
    with pytest.raises(InputError, match=words):
        read_events(f"{served[1]}/{name}")


def test_a_store_whose_package_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"s3://bucket/\*\.root: cannot be listed \(Install s3fs"):
        read_events("s3://bucket/*.root")
    with pytest.raises(InputError, match="s3://bucket/d: cannot be reached: Install s3fs"):
        produce(quick(), 10, "s3://bucket/d")


# ---------------------------------------------------------------------- writing


@pytest.fixture(scope="module")
def generator():
    return quick()


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    """A folder of a store of objects, or of a system of files."""
    if request.param == "memory":
        fsspec.filesystem("memory").store.clear()
        return "memory://bucket/d"
    return f"file://{tmp_path}/d"


def listing(url: str) -> list[str]:
    fs, root = fsspec.core.url_to_fs(url)
    return sorted(str(p).rpartition("/")[2] for p in fs.ls(root, detail=False))


def content(url: str) -> list:
    return read_events(f"{url}/*.root").to_list()


def shards(n: int) -> list[str]:
    return [f"events-{k:04d}.root" for k in range(n)]


@pytest.fixture(scope="module")
def expected(generator, tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("expected")
    produce(generator, 500, folder, **SETTINGS)
    return read_events(str(folder / "*.root")).to_list()


def test_a_folder_behind_a_url_gets_the_same_events(generator, expected, url):
    seen: list[int] = []
    made = produce(generator, 500, url, **SETTINGS, on_progress=seen.append)
    assert (made.made, made.kept, made.whole, seen[-1]) == (500, 0, True, 500)
    assert made.files == tuple(f"{url}/{name}" for name in shards(5))
    assert listing(url) == [*shards(5), "fileset.json"]
    assert content(url) == expected
    with fsspec.open(made.fileset) as file:
        (told,) = json.load(file).values()
    assert list(told["files"]) == list(made.files)
    assert sum(f["num_entries"] for f in told["files"].values()) == 500
    again = produce(generator, 500, url, **SETTINGS)
    assert (again.kept, again.made) == (5, 0)
    with pytest.raises(OutputError, match="holds other events already"):
        produce(generator, 400, url, **SETTINGS)


def test_jobs_share_a_folder_behind_a_url(generator, expected, url):
    made = [produce(generator, 500, url, **SETTINGS, part=(k, 2)) for k in (2, 1)]
    assert [one.whole for one in made] == [False, True]
    assert listing(url) == [*shards(5), "fileset.json"]
    assert content(url) == expected


def test_a_stopped_production_goes_on_behind_a_url(generator, expected, url):
    def stop(done: int) -> None:
        if done > 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        produce(generator, 500, url, **SETTINGS, on_progress=stop)
    assert listing(url) == [*shards(2), "unfinished.jsonl"]
    with pytest.raises(OutputError, match=r"another production \(seed 3 instead of 4\)"):
        produce(generator, 500, url, **SETTINGS | {"seed": 4})
    fs, root = fsspec.core.url_to_fs(url)
    fs.pipe_file(f"{root}/events-0000.root", b"cut")
    fs.pipe_file(f"{root}/events-0003.root", b"copied, but not noted")
    made = produce(generator, 500, url, **SETTINGS)
    assert (made.kept, made.made) == (1, 400)
    assert listing(url) == [*shards(5), "fileset.json"]
    assert content(url) == expected


def test_what_a_url_cannot_have_is_one_clear_error(generator, url):
    fs, root = fsspec.core.url_to_fs(url)
    fs.makedirs(root, exist_ok=True)
    fs.pipe_file(f"{root}/events-0001.root", b"mine")
    with pytest.raises(OutputError, match=r"events-0001\.root: is there, and in no journal"):
        produce(generator, 500, url, **SETTINGS)
    assert listing(url) == ["events-0001.root"]
    with pytest.raises(OutputError, match="nothing is replaced behind a URL"):
        produce(generator, 500, url, **SETTINGS, force=True)
    with pytest.raises(OutputError, match="is one file behind a URL"):
        produce(generator, 500, f"{url}/a.root")
    with pytest.raises(OutputError, match="is a web server, which takes no files"):
        produce(generator, 500, "https://localhost/d", **SETTINGS)


def test_a_store_that_fails_is_told_with_its_url(generator, monkeypatch):
    store = fsspec.filesystem("memory")

    def full(*_: object, **__: object) -> None:
        msg = "quota exceeded"
        raise OSError(msg)

    monkeypatch.setattr(type(store), "put_file", full)
    with pytest.raises(OutputError, match="memory://bucket/e: cannot be written: quota exceeded"):
        produce(generator, 500, "memory://bucket/e", **SETTINGS)


def test_commands_take_urls(toy_generator, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_generator.save("m.safetensors")
    url = f"file://{tmp_path}/store/d"
    assert run("plan", "m.safetensors", "-n", 200, "-o", url, "--shard-size", 100, "--submit", "slurm") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.plan.json", "d.slurm", "m.safetensors"]
    assert run("generate", "d.plan.json", "--shards", "1/2") == 0
    assert run("generate", "d.plan.json", "--shards", "2/2") == 0
    said = capsys.readouterr().out
    assert f"fileset for coffea in {url}/fileset.json" in said
    assert f"next: hepgan validate REFERENCE.root '{url}/*.root' -o report" in said
    assert np.array_equal(read_events(f"{url}/*.root").npv, toy_generator.generate(200).npv)
