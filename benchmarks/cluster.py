"""Productions on clusters: the same events whatever makes them, nothing lost or made twice, and how fast.

Run with ``python benchmarks/cluster.py MODEL.safetensors --events 1e7 --shards 20``; without a model, a small
one is trained. Checks, each in a folder of its own and against events that one process has made:

- the workers of a cluster make the same events, number by number, as do jobs that share a plan (which make a
  tenth of them);
- ``--worker-kills`` workers are killed at random moments: all shards are there, each was taken once;
- the command is killed (SIGKILL) at ``--kills`` random moments and run again until it ends: the same, and
  shards that were whole are never made again.

Then the rates of one worker, which makes a fifth of the events, and of ``--workers`` workers, and their
ratio; on a busy machine it means little. A folder is removed as soon as it has been compared, by digests of
its branches. Ends with status 1 if something was not as promised.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from common import parser_of, print_table

import hepgan
from hepgan.production import connected, produce
from hepgan.production.folder import ShardFolder
from hepgan.production.manifest import listed

RECIPE: dict[str, Any] = {
    "name": "clusters",
    "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [32]}, "steps": 2},
    "training": {"steps": 50, "batch_size": 128},
}


CHUNK = 50_000
"""Events that are compared at a time."""


def sample(n: int) -> ak.Array:
    """Two numbers of the event, and a list."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.5, n)
    jets = ak.unflatten(20 + rng.exponential(25.0, counts.sum()), counts)
    met = {"pt": rng.exponential(20.0, n), "phi": rng.uniform(-3.14, 3.14, n)}
    return ak.zip({"MET": ak.zip(met), "Jet": ak.zip({"pt": jets})}, depth_limit=1)


def digests(folder: Path) -> dict[str, str]:
    """A digest of all numbers of each file that a folder's fileset lists, by name, read in chunks."""
    found = {}
    (sample,) = json.loads((folder / "fileset.json").read_text()).values()
    for name, told in sample["files"].items():
        digest = hashlib.sha256()
        with uproot.open(folder / Path(name).name) as file:
            for chunk in file[told["object_path"]].iterate(step_size=CHUNK):
                for branch in chunk.fields:
                    _, size, buffers = ak.to_buffers(ak.to_packed(chunk[branch]))
                    digest.update(f"{branch} {size}".encode())
                    for buffer in buffers.values():
                        digest.update(np.ascontiguousarray(buffer))
        found[Path(name).name] = digest.hexdigest()
    return found


class Taken:
    """Counts how often a production in this process gives each file its place."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self._take = ShardFolder.take

    def __enter__(self) -> Counter[str]:
        def take(folder: ShardFolder, file: Any, made: Path) -> None:
            self.count[file.name] += 1
            self._take(folder, file, made)

        ShardFolder.take = take
        return self.count

    def __exit__(self, *_: object) -> None:
        ShardFolder.take = self._take


def whole(folder: Path, shards: int) -> bool:
    """Whether all shards are there as the fileset lists them, and nothing else."""
    files = listed(folder / "fileset.json") or {}
    there = {p.name for p in folder.iterdir()} - {"fileset.json"}
    return (
        len(files) == shards
        and there == set(files)
        and all(f.matches(folder, wholly=True) for f in files.values())
    )


def killed_workers(
    client: Any, kills: int, settings: dict[str, Any], folder: Path
) -> tuple[Counter[str], int]:
    """A production in which workers are killed at random numbers of events.

    Returns:
        How often each file was taken, and how many workers were killed.
    """
    rng, total = random.Random(1), settings["n"]
    moments = sorted(rng.uniform(0, 0.9) * total for _ in range(kills))
    everyone = len(client.nthreads())

    def strike(done: int) -> None:
        # One that is just starting would not be started again.
        if moments and done > moments[0] and len(client.nthreads()) == everyone:
            moments.pop(0)
            os.kill(rng.choice(list(client.run(os.getpid).values())), signal.SIGKILL)

    with Taken() as taken:
        produce(output=folder, client=client, on_progress=strike, **settings)
    return taken, kills - len(moments)


def killed_command(command: Sequence[str], folder: Path, kills: int) -> tuple[int, int]:
    """Runs a command until it ends, and kills it before that, soon after it has made some more files.

    Returns:
        How often it was killed, and how many files that were whole were made again.
    """
    rng, done, again = random.Random(2), 0, 0
    for trial in range(kills + 1):
        before = {p.name: p.stat().st_mtime_ns for p in folder.glob("events-*.root")}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, start_new_session=True, **quiet)
        more = rng.randint(0, 1)
        while trial < kills and process.poll() is None:
            if len(list(folder.glob("events-*.root"))) > len(before) + more:
                time.sleep(rng.uniform(0, 0.05))
                process.kill()
                done += process.wait() == -signal.SIGKILL
        process.wait()
        after = {p.name: p.stat().st_mtime_ns for p in folder.glob("events-*.root")}
        again += sum(after.get(name) != made for name, made in before.items())
        if (folder / "fileset.json").exists():
            break
    return done, again


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs it all; 1 if something was not as promised."""
    parser = parser_of(__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--events", type=lambda text: int(float(text)), default=40_000)
    parser.add_argument("--shards", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--worker-kills", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1, help="times that rates are measured, or 0")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    chosen = parser.parse_args(arguments)
    work = Path(tempfile.mkdtemp(dir=chosen.folder))
    try:
        return checked(chosen, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def checked(chosen: argparse.Namespace, work: Path) -> int:
    """The checks, in a folder of its own."""
    model = chosen.model
    if model is None:
        model = work / "m.safetensors"
        hepgan.EventGenerator(RECIPE).fit(sample(2000), device="cpu").save(model)
    generator = hepgan.EventGenerator.load(model, device="cpu")
    size = -(-chosen.events // chosen.shards)
    settings = {"generator": generator, "n": chosen.events, "seed": 1, "shard_size": size}
    shards = -(-chosen.events // size)
    wrong: list[str] = []
    begun = time.monotonic()

    def note(what: str, told: str, right: bool) -> None:
        wrong.extend([] if right else [what])
        after = f"{time.monotonic() - begun:.0f} s"
        print(f"| {what} | {told} | {'as promised' if right else 'WRONG'} | {after} |", flush=True)

    def as_expected(folder: Path, expected: dict[str, str]) -> bool:
        """Whether a folder holds the events, and nothing else; removes it."""
        right = whole(folder, len(expected)) and digests(folder) == expected
        shutil.rmtree(folder)
        return right

    print("| what | found | | after |\n|---|---|---|---|")
    few = {**settings, "n": max(chosen.events // 10, 1), "shard_size": max(size // 10, 1)}
    alone = {}
    for name, these in (("few", few), ("alone", settings)):
        made = produce(output=work / name, **these)
        alone[name] = digests(work / name)
        shutil.rmtree(work / name)
    note("one process", f"{made.events:,} events, {made.rate:,.0f} events/s", len(alone["alone"]) == shards)
    for k in range(3, 0, -1):
        produce(output=work / "jobs", part=(k, 3), **few)
    right = as_expected(work / "jobs", alone["few"])
    note("three jobs that share a plan", f"{few['n']:,} events, {len(alone['few'])} shards", right)
    best: dict[int, float] = {}
    with connected(cluster="local", jobs=chosen.workers) as client:
        _warm(client, settings, work)
        with Taken() as taken:
            made = produce(output=work / "workers", client=client, **settings)
        best[chosen.workers] = made.rate
        once = len(taken) == shards and set(taken.values()) == {1}
        right = as_expected(work / "workers", alone["alone"])
        told = f"{shards} shards, {made.rate:,.0f} events/s, each taken once: {once}"
        note(f"{chosen.workers} workers", told, right and once)
        taken, killed = killed_workers(client, chosen.worker_kills, settings, work / "struck")
        once = len(taken) == shards and set(taken.values()) == {1}
        right = as_expected(work / "struck", alone["alone"])
        note("workers killed at random", f"{killed} of them, each shard taken once: {once}", right and once)
    command = [sys.executable, "-m", "hepgan", "generate", str(model), "--device", "cpu"]
    command += ["-n", str(chosen.events), "--seed", "1", "--shard-size", str(size)]
    command += ["--cluster", "local", "--jobs", str(chosen.workers), "-o"]
    command.append(str(work / "killed"))
    killed, again = killed_command(command, work / "killed", chosen.kills)
    right = as_expected(work / "killed", alone["alone"]) and not again
    note("command killed at random", f"{killed} times, {again} whole shards made again", right)
    if not chosen.rounds:
        return int(bool(wrong))
    print()
    rates = rates_of(chosen, settings, work, best)
    names = {k: f"{k} worker{'s' * (k > 1)}" for k in rates}
    columns = {
        "events/s": {names[k]: f"{rate:,.0f}" for k, rate in rates.items()},
        "share of the ideal": {names[k]: f"{rate / (k * rates[1]):.2f}" for k, rate in rates.items()},
    }
    print_table(columns)
    return int(bool(wrong))


def _warm(client: Any, settings: dict[str, Any], work: Path) -> None:
    """Lets each worker have the model."""
    few = len(client.nthreads()) * 4
    produce(output=work / "warm", client=client, **{**settings, "n": 100 * few, "shard_size": 100})
    shutil.rmtree(work / "warm")


def rates_of(
    chosen: argparse.Namespace, settings: dict[str, Any], work: Path, best: dict[int, float]
) -> dict[int, float]:
    """The best rates of one worker and of all, when workers have the model already.

    Args:
        chosen: The options.
        settings: Of the production.
        work: A folder.
        best: Rates that are known: they count as the first round.
    """
    best = dict(best)
    for turn in range(chosen.rounds):
        for number in sorted({1, chosen.workers}):
            if turn == 0 and number in best:
                continue
            with connected(cluster="local", jobs=number) as client:
                _warm(client, settings, work)
                n = settings["n"] if number > 1 else max(settings["n"] // 5, 1)
                made = produce(output=work / "rate", client=client, **{**settings, "n": n})
                shutil.rmtree(work / "rate")
            best[number] = max(best.get(number, 0.0), made.rate)
    return dict(sorted(best.items()))


if __name__ == "__main__":
    sys.exit(main())
