"""What the tests of the command line share: small files, a recipe, a model, and ways to run it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from toys import dimuons

from hepgan.cli import main

RECIPE = """\
description: toy Z -> mu mu
events: {select: [Muon, MET, npv]}
model:
  kind: flow_matching
  network: {kind: mlp, widths: [16]}
  steps: 2
observables:
  m_mumu: {expression: "(Muon[0] + Muon[1]).mass", bins: 40, range: [50, 130], unit: GeV}
  met: {expression: MET.pt, bins: 40, range: [0, 100], unit: GeV}
training: {steps: 20, batch_size: 128, checkpoint_every: 0}
"""


def columns(n: int = 300, seed: int = 0) -> dict[str, np.ndarray | ak.Array]:
    """The toy events as a file's branches."""
    events = dimuons(n, seed)
    made = {"beam_energy": np.full(n, 6500.0, np.float32)}
    for name in ("Muon", "Jet", "MET"):
        for field in events[name].fields:
            made[f"{name}_{field}"] = events[name][field]
    made["npv"] = events.npv
    return {k: v if v.ndim > 1 else np.asarray(v) for k, v in made.items()}


def write(path: Path, branches: dict, tree: str = "Events") -> Path:
    """Writes branches with bare uproot, so that hepgan's own writer cannot mend what is bad."""
    kinds, data = {}, {}
    for name, values in branches.items():
        prefix, _, field = name.partition("_")
        if prefix in ("Muon", "Jet"):
            data.setdefault(prefix, {})[field] = ak.Array(values)
        else:
            data[name] = ak.Array(list(values)) if values.dtype.kind == "U" else values
    for name, part in data.items():
        if isinstance(part, dict):
            data[name] = ak.zip(part)
        kinds[name] = data[name].dtype if isinstance(data[name], np.ndarray) else ak.type(data[name]).content
    with uproot.recreate(path) as file:
        file.mktree(tree, kinds).extend(data)
    return path


def changed(branch: str, entry: int, value: float, n: int = 300) -> dict:
    """The toy's branches with one value changed (of the event's first object, where it has several)."""
    made = columns(n)
    values = made[branch]
    if isinstance(values, np.ndarray):
        values = values.copy()
        values[entry] = value
    else:
        counts, flat = ak.num(values), ak.to_numpy(ak.flatten(values)).copy()
        flat[int(ak.sum(counts[:entry]))] = value
        values = ak.unflatten(flat, counts)
    return {**made, branch: values}


def run(*arguments: object) -> int:
    """Runs the command line in this process, and gives its exit status."""
    try:
        main([str(a) for a in arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    raise AssertionError


def command(*arguments: object) -> list[str]:
    """The command line of a process of its own."""
    return [sys.executable, "-m", "hepgan", *map(str, arguments)]


ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1"}

PATIENCE = 300.0
"""Seconds that a process may take on a machine with much else to do."""

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["hepgan.cli.app", "hepgan.production", "hepgan.plotting.training"])


def execute(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a process of its own."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=PATIENCE, env=ONE_CORE, **options
    )


class start:
    """The command line in a process of its own, which goes on.

    It is forked from a process that has imported hepgan, which takes longest, once for all tests.

    Args:
        arguments: What stands after ``hepgan``.
        out: The file that it writes its output to, if another is wanted.
        err: The same of errors.
    """

    def __init__(self, *arguments: object, out: str | Path = "out", err: str | Path = "err") -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.said = [Path(self.folder.name, name) for name in (out, err)]
        given = [str(a) for a in arguments]
        self.process = FORKS.Process(target=_child, args=(given, os.getcwd(), *self.said))
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"
        try:
            self.process.start()
        finally:
            del os.environ["OMP_NUM_THREADS"]
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before

    @property
    def returncode(self) -> int | None:
        """The exit status, once it has ended; minus the signal that has killed it."""
        return self.process.exitcode

    def signal(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.process.pid, number)

    def ended(self) -> tuple[str, str]:
        """What it has written, on stdout and stderr, when it has ended."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
            raise TimeoutError
        out, err = (file.read_text() if file.is_file() else "" for file in self.said)
        self.folder.cleanup()
        return out, err

    def wait_for(self, there: Callable[[], bool]) -> None:
        """Waits for what it is about to do."""
        end = time.monotonic() + PATIENCE
        while not there():
            assert self.returncode is None or there(), self.ended()
            assert time.monotonic() < end
            time.sleep(0.02)


def _child(arguments: list[str], folder: str, *said: Path) -> None:
    os.chdir(folder)
    for number, file in enumerate(said, 1):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main(arguments)


def listing(folder: Path) -> dict[str, tuple[int, int] | None]:
    """All that is in a folder, hidden files too, with sizes and times of change."""
    return {
        str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) if p.is_file() else None
        for p in sorted(folder.rglob("*"))
    }


def inside(arguments: str, folder: Path) -> list[str]:
    """Words of a command line, where @ stands for a folder."""
    return [word.replace("@", f"{folder}/") for word in arguments.split()]


def copy(source: Path, target: Path) -> Path:
    """A copy of a file."""
    return Path(shutil.copy(source, target))
