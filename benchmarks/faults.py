"""What happens when things go wrong: kills, signals, damage, bad input, full disks, two at once.

Run with ``python benchmarks/faults.py [-o TABLE.md]``. Each trial runs a command of hepgan in a process of
its own, does it harm, and looks at what is left:

- no file under a final name is a part of one, and an earlier sample is there or replaced as a whole;
- the same command, again, ends as if nothing had happened, with the same events or weights bit for bit;
- nothing hidden is left after it;
- what a user can mend is one line on stderr and exit status 2, in bounded time and memory;
- no traceback, no "bug", no escape sequence.

Prints each that was not as promised, and a Markdown table: class of fault, number tried, as promised.
``--scale 0.1`` tries a tenth of them, ``--only`` some classes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import json
import multiprocessing
import os
import pkgutil
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bad_input import bad_inputs, columns_of
from forks import Outcome, run, start, wait

FAST = ("--set", "training.steps=60", "--set", "training.batch_size=256", "--set", "training.max_time=null")
FAST += ("--set", "training.checkpoint_every=0.02", "--set", "model.network={kind: mlp, widths: [16]}")
FAST += ("--set", "model.steps=2")

SHORT = tuple(word.replace("steps=60", "steps=2") for word in FAST)

COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "r.yaml", "t.root", "-o", "m2.safetensors", *FAST),
    "generate": ("generate", "m.safetensors", "-n", "40000", "-o", "g2.root", "--workers", "1"),
    "produce": (
        *("generate", "m.safetensors", "-n", "40000", "--shard-size", "5000", "-o", "d", "--workers", "1"),
    ),
    "validate": ("validate", "u.root", "g.root", "-o", "rep", "--recipe", "one.yaml"),
}
OUTPUT = {"train": "m2.safetensors", "generate": "g2.root", "produce": "d", "validate": "rep"}


class Trial(NamedTuple):
    """One fault: its class, what was done, and what was not as promised (empty if all was)."""

    kind: str
    what: str
    wrong: str


# ------------------------------------------------------------------ what is to be looked at


def digest(path: Path) -> str:
    """A digest of the numbers in a file of events, in a folder of them, or in a model file."""
    found = hashlib.blake2b(digest_size=12)
    if path.is_dir():
        for file in sorted(path.glob("events-*")):
            found.update(f"{file.name} {digest(file)}".encode())
    elif path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        for name, value in sorted(load_file(path).items()):
            found.update(name.encode() + value.tobytes())
    else:
        import awkward as ak
        import uproot

        with uproot.open(path) as file:
            arrays = file["Events"].arrays()
        for _, buffer in sorted(ak.to_buffers(ak.to_packed(arrays))[2].items()):
            found.update(np.ascontiguousarray(buffer).tobytes())
    return found.hexdigest()


def report(path: Path) -> str:
    """Whether a folder is a whole report."""
    json.loads((path / "metrics.json").read_text())
    text = (path / "report.html").read_text()
    if not text.rstrip().endswith("</html>"):
        return "cut"
    import uproot

    with uproot.open(path / "histograms.root") as file:
        file.keys()
    return "whole"


def state(name: str) -> str | None:
    """What there is under the final name of a command's output; None if nothing.

    Raises:
        Exception: Whatever reading raises, if it is not whole.
    """
    path = Path(OUTPUT[name])
    if not path.exists():
        return None
    if name == "validate":
        return report(path) if (path / "report.html").exists() else None
    if name == "produce":
        return digest(path) if (path / "fileset.json").exists() else None
    return digest(path)


def hidden() -> list[str]:
    """What is hidden in the working folder and in its folders."""
    found = (p for p in Path().rglob(".*") if p.name not in (".out", ".err"))
    return sorted(str(p) for p in found)


def refused(outcome: Outcome, *, may_work: bool = False, names: str = "") -> str:
    """What is wrong with how a command ended that had to refuse (or may have worked)."""
    status, said, seconds = outcome
    if "\x1b" in said:
        return f"escape sequences: {said[-200:]!r}"
    if may_work and status == 0:
        return ""
    lines = [line for line in said.splitlines() if not line.startswith("hepgan: warning:")]
    usage = lines and any(line.startswith("Usage:") for line in lines)
    if status != 2 or "Traceback" in said or "a bug in hepgan" in said:
        return f"status {status} after {seconds:.0f} s: {said.strip()[-300:]}"
    if not usage and (len(lines) != 1 or not lines[0].startswith("hepgan: ")):
        return f"not one line: {said.strip()[-300:]}"
    return "" if names in said else f"does not name {names}: {said.strip()[-300:]}"


@contextlib.contextmanager
def folder(toys: Path) -> Iterator[Path]:
    """A working folder of one's own, with the toys in it."""
    # Not a TemporaryDirectory, whose finaliser would run in the forks, too.
    path = Path(tempfile.mkdtemp(prefix="fault-"))
    os.chdir(path)
    try:
        for toy in toys.iterdir():
            if toy.is_file() and not toy.name.startswith("."):
                shutil.copy(toy, toy.name)
        yield path
    finally:
        os.chdir("/")
        shutil.rmtree(path, ignore_errors=True)


def again(name: str) -> tuple[str, ...]:
    """The command that goes on."""
    resume = name == "train" and Path("m2.checkpoint.safetensors").exists()
    return (*COMMANDS[name], *(("--resume",) if resume else ()))


def ends_as_promised(name: str, expected: dict[str, str]) -> str:
    """Looks at what an interrupted command left, runs it again, and looks once more."""
    try:
        before = state(name)
    except Exception as error:
        return f"what is there cannot be read: {type(error).__name__}: {error}"
    if before not in (None, expected[name]):
        return "what is there is neither nothing nor whole"
    if before is None:
        outcome = run(again(name))
        if outcome.status != 0:
            return f"the same command again: {refused(outcome) or outcome.said.strip()[-300:]}"
        if state(name) != expected[name]:
            return "the same command again gives something else"
        if hidden():
            return f"hidden files are left: {hidden()[:3]}"
    return ""


# ------------------------------------------------------------------ kills, signals, quotas, two at once


def kill(name: str, moment: float, expected: dict[str, str]) -> str:
    """Kills a command, -9, at a share of the time that it takes."""
    wait(start(COMMANDS[name]), after=moment * float(expected[f"{name} s"]))
    return ends_as_promised(name, expected)


def stop(name: str, number: int, moment: float, expected: dict[str, str]) -> str:
    """Sends a command a signal that asks it to stop."""
    outcome = wait(start(COMMANDS[name]), after=moment * float(expected[f"{name} s"]), number=number)
    # At the very start and end the process is not hepgan's code: Python itself ends by the signal.
    if outcome.status not in (0, 130 if number == signal.SIGINT else 128 + number, 143, -number):
        return f"status {outcome.status}: {outcome.said.strip()[-300:]}"
    if outcome.status >= 0 and ("Traceback" in outcome.said or "a bug in hepgan" in outcome.said):
        return outcome.said.strip()[-300:]
    if outcome.status > 0 and hidden():
        return f"hidden files are left: {hidden()[:3]}"
    return ends_as_promised(name, expected)


def quota(name: str, largest: int, expected: dict[str, str]) -> str:
    """Lets no file grow beyond a size, with an earlier output that --force would replace."""
    first = run(COMMANDS[name])
    if first.status:
        return f"without a quota: {first.said[-200:]}"
    seed = () if name == "validate" else ("--seed", "1")
    outcome = run((*COMMANDS[name], *seed, "--force"), largest=largest)
    wrong = refused(outcome, may_work=True)
    if wrong:
        return wrong
    try:
        now = state(name)
    except Exception as error:
        return f"what is there cannot be read: {type(error).__name__}: {error}"
    if outcome.status == 2 and now != expected[name]:
        return "the earlier output is not what it was"
    return f"hidden files are left: {hidden()[:3]}" if hidden() else ""


def full(name: str, room: int, expected: dict[str, str]) -> str:
    """The same on a disk that is full, which needs a system of files of its own."""
    here = Path.cwd()
    with mounted(here / "disk") as disk:
        for file in here.iterdir():
            if file.is_file():
                shutil.copy(file, disk)
        os.chdir(disk)
        try:
            first = run(COMMANDS[name])
            if first.status:
                return f"with room: {first.said[-200:]}"
            free = os.statvfs(".").f_bavail * os.statvfs(".").f_frsize
            Path("fill").write_bytes(b"x" * max(0, free - room))
            outcome = run((*COMMANDS[name], "--force", *(() if name == "validate" else ("--seed", "1"))))
            wrong = refused(outcome, may_work=True)
            if wrong:
                return wrong
            if outcome.status == 2 and state(name) != expected[name]:
                return "the earlier output is not what it was"
            return f"hidden files are left: {hidden()[:3]}" if hidden() else ""
        finally:
            os.chdir(here)


@contextlib.contextmanager
def mounted(path: Path) -> Iterator[Path]:
    """A small disk; root alone can make one."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", path], check=True, capture_output=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def can_mount() -> bool:
    """Whether a small disk can be made here."""
    path = Path(tempfile.mkdtemp())
    try:
        with mounted(path / "disk"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        shutil.rmtree(path, ignore_errors=True)


def two(name: str, delay: float, expected: dict[str, str]) -> str:
    """Two of the same command at once, of two seeds: one wins, the other says so, nothing is mixed."""
    delay *= float(expected[f"{name} s"])
    first = start((*COMMANDS[name], *(() if name == "validate" else ("--seed", "0")), "--force"))
    time.sleep(delay)
    other = start((*COMMANDS[name], *(() if name == "validate" else ("--seed", "1")), "--force"))
    second = wait(other)
    one = wait(first)
    statuses = sorted((one.status, second.status))
    if statuses not in ([0, 0], [0, 2]):
        return f"statuses {one.status}, {second.status}: {second.said[-300:]}"
    if statuses == [0, 2] and "is being written by" not in second.said + one.said:
        return f"the one that lost says: {(one.said + second.said)[-300:]}"
    try:
        now = state(name)
    except Exception as error:
        return f"what is there cannot be read: {type(error).__name__}: {error}"
    wanted = {expected[name], expected.get(f"{name} seed 1", expected[name])}
    if now not in wanted:
        return "what is there is of neither of the two"
    return f"hidden files are left: {hidden()[:3]}" if hidden() else ""


def closed(name: str, streams: tuple[int, ...], expected: dict[str, str]) -> str:
    """Standard streams that are closed."""
    outcome = run(COMMANDS[name], closed=streams)
    if outcome.status:
        return f"status {outcome.status}: {outcome.said[-300:]}"
    return "" if state(name) == expected[name] else "gives something else"


# ------------------------------------------------------------------ damage


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A file with something changed, anywhere."""
    how = rng.choice(["bit", "bit", "bit", "bits", "cut", "more", "zeros", "swap", "lost"])
    at, size = int(rng.integers(len(content))), int(rng.integers(1, 4096))
    if how == "bit":
        return f"bit at {at}", _flip(content, at, rng)
    if how == "bits":
        for place in rng.integers(len(content), size=20):
            content = _flip(content, int(place), rng)
        return "20 bits", content
    if how == "cut":
        return f"cut at {at}", content[:at]
    if how == "more":
        return "bytes at the end", content + rng.bytes(size)
    if how == "zeros":
        return f"{size} zeros at {at}", (content[:at] + bytes(size) + content[at + size :])[: len(content)]
    if how == "swap":
        return f"swapped at {at}", content[:at] + content[at : at + size][::-1] + content[at + size :]
    return f"{size} lost at {at}", content[:at] + content[at + size :]


def _flip(content: bytes, at: int, rng: np.random.Generator) -> bytes:
    return content[:at] + bytes([content[at] ^ (1 << int(rng.integers(8)))]) + content[at + 1 :]


GARBAGE: tuple[Any, ...] = (
    *(None, True, -1, 0, 10**6, 10**9, 2**70, 1e308, float("nan"), float("inf"), 0.5, "", "x", "../../x"),
    *("\x1b[2J\x1b]0;owned\x07", "a" * 10_000, [], [1], [[[[]]]], {}, {"a": {}}, "1e400", -0.0),
)


def forged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """A model file or checkpoint with one value of its description replaced, and a digest that is right."""
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    metadata = header["__metadata__"]
    key = next(k for k in metadata if k != "digest")
    document = json.loads(metadata[key])
    places = list(leaves(document))
    place = places[int(rng.integers(len(places)))]
    if len(place) > 1 and rng.random() < 0.4:
        place = place[: int(rng.integers(1, len(place)))]
    value = GARBAGE[int(rng.integers(len(GARBAGE)))]
    target = document
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = value
    text = json.dumps(document)
    if value == "1e400":
        text = text.replace('"1e400"', "1e400")
    metadata[key] = text
    if "digest" in metadata:
        from safetensors.torch import load

        from hepgan.sealed import digest_of

        metadata["digest"] = json.dumps(digest_of(text, load(content)))
    new = json.dumps(header).encode()
    new += b" " * (-len(new) % 8)
    return f"{'.'.join(map(str, place))[:80]} = {str(value)[:20]!r}", struct.pack(
        "<Q", len(new)
    ) + new + content[8 + size :]


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The places of all values in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    inner = False
    for key, part in items:
        inner = True
        yield from leaves(part, (*place, key))
    if not inner and place:
        yield place


def mutated_model(source: str, seed: int, expected: dict[str, str]) -> str:
    """A damaged or forged model file or checkpoint."""
    rng = np.random.default_rng([1, seed])
    content = Path(source).read_bytes()
    forging = seed % 3 == 0
    what, changed = (forged if forging else damaged)(content, rng)
    if changed == content:
        return ""
    Path(source).unlink()
    Path(source).write_bytes(changed)
    if source == "m.safetensors":
        output, arguments = "x.root", ["generate", source, "-n", "50", "-o", "x.root", "--workers", "1"]
        if seed % 9 == 0:
            output, arguments = "", ["info", source]
    else:
        output = "c.safetensors"
        arguments = [output if w == OUTPUT["train"] else w for w in COMMANDS["train"]] + ["--resume"]
    outcome = run(arguments)
    said = Path(".out").read_text(errors="backslashreplace")
    wrong = refused(outcome, may_work=True, names=source)
    if "\x1b" in said:
        wrong = "escape sequences reach the terminal"
    if not wrong and outcome.seconds > 30:
        wrong = f"{outcome.seconds:.0f} s"
    if not wrong and outcome.status == 2 and output and Path(output).exists():
        wrong = "refused, but something is written"
    if (
        not wrong
        and not forging
        and outcome.status == 0
        and output
        and digest(Path(output)) != expected[f"of {source}"]
    ):
        wrong = "other events, exit 0"
    return wrong and f"{what}: {wrong}"


def mutated_events(source: str, seed: int, expected: dict[str, str]) -> str:
    """A damaged file of events."""
    rng = np.random.default_rng([2, seed])
    content = Path(source).read_bytes()
    what, changed = damaged(content, rng)
    Path(source).unlink()
    Path(source).write_bytes(changed)
    if seed % 2:
        arguments = ["init", source, "-o", "q.yaml"]
    else:
        arguments = ["train", "r.yaml", source, "-o", "q.safetensors", *SHORT]
    wrong = refused(run(arguments), may_work=True, names=source)
    return wrong and f"{what}, {arguments[0]}: {wrong}"


# ------------------------------------------------------------------ bad input


def bad_input(line: str, may_work: bool) -> str:
    """A command line that must be refused, and leave nothing."""
    if not Path("link.root").exists():
        Path("link.root").symlink_to("t.root")
        shutil.copy("t.root", "read.root")
        Path("read.root").chmod(0o444)
    before = sorted(os.listdir("."))
    outcome = run(shlex.split(line))
    wrong = refused(outcome, may_work=may_work)
    left = sorted(set(os.listdir(".")) - set(before) - {".out", ".err"})
    if not wrong and outcome.status and left:
        wrong = f"leaves {left}"
    return wrong and f"{line[:150]}: {wrong}"


# ------------------------------------------------------------------ the toys


def make_toys(toys: Path, commands: Sequence[str]) -> dict[str, str]:
    """Makes files, a model, a checkpoint, and what undisturbed commands give and how long they take."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import uproot

    os.chdir(toys)
    for name, n, seed in (("t", 2000, 1), ("u", 2000, 2)):
        with uproot.recreate(f"{name}.root") as file:
            file["Events"] = columns_of(n, seed)
    pq.write_table(pa.table(columns_of(2000)), "t.parquet")
    Path("one.yaml").write_text(
        "events: {select: [x, k, MET]}\nmodel: {kind: flow_matching}\n"
        "observables: {x: {expression: x, bins: 20, range: [-3, 3]}}\n"
    )
    for arguments in (
        ("init", "t.root", "-o", "r.yaml"),
        ("train", "r.yaml", "t.root", "-o", "m.safetensors", *FAST),
        ("generate", "m.safetensors", "-n", "2000", "-o", "g.root"),
    ):
        outcome = run(arguments)
        if outcome.status:
            sys.exit(f"{arguments}: {outcome}")
    expected: dict[str, str] = {}
    for name in commands:
        arguments = COMMANDS[name]
        with folder(toys):
            seconds = []
            for _ in range(2):
                shutil.rmtree(OUTPUT[name], ignore_errors=True)
                outcome = run((*arguments, *(("--force",) if seconds else ())))
                if outcome.status:
                    sys.exit(f"{arguments}: {outcome}")
                seconds.append(outcome.seconds)
            expected[name] = state(name) or ""
            expected[f"{name} s"] = str(min(seconds))
            if name != "validate":
                run((*arguments, "--seed", "1", "--force"))
                expected[f"{name} seed 1"] = state(name) or ""
    with folder(toys):
        run(["generate", "m.safetensors", "-n", "50", "-o", "x.root", "--workers", "1"])
        expected["of m.safetensors"] = digest(Path("x.root"))
        run(COMMANDS["train"])
        expected["of c.checkpoint.safetensors"] = digest(Path("m2.safetensors"))
        Path("m2.safetensors").unlink()
        while not Path("m2.checkpoint.safetensors").exists():
            process = start((*COMMANDS["train"], "--force"))
            while not Path("m2.checkpoint.safetensors").exists() and os.waitpid(process, os.WNOHANG)[0] == 0:
                time.sleep(0.001)
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
        shutil.copy("m2.checkpoint.safetensors", toys / "c.checkpoint.safetensors")
    return expected


# ------------------------------------------------------------------ all of them


def trials(
    toys: Path, commands: Sequence[str], expected: dict[str, str], scale: float
) -> list[tuple[str, str, Callable[..., str], tuple[Any, ...]]]:
    """All faults: class, what is done, the function that tries it, and its arguments."""
    rng = np.random.default_rng(7)
    found: list[tuple[str, str, Callable[..., str], tuple[Any, ...]]] = []

    def times(number: int) -> range:
        return range(max(1, round(scale * number)))

    for name in commands:
        for _ in times(50):
            moment = float(rng.uniform(0, 1.1))
            found.append((f"kill -9 of {name}", f"at {moment:.3f}", kill, (name, moment, expected)))
    for name in commands:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU):
            for _ in times(3):
                moment = float(rng.uniform(0.1, 1.0))
                what = f"{signal.Signals(number).name} to {name} at {moment:.3f}"
                found.append(("signals that ask to stop", what, stop, (name, int(number), moment, expected)))
    for seed in times(200):
        found.append(
            (
                "damaged or forged model files",
                f"seed {seed}",
                mutated_model,
                ("m.safetensors", seed, expected),
            )
        )
    for seed in times(100):
        source = "c.checkpoint.safetensors"
        found.append(
            ("damaged or forged checkpoints", f"seed {seed}", mutated_model, (source, 1000 + seed, expected))
        )
    for source in ("t.root", "t.parquet"):
        for seed in times(100):
            kind = f"damaged {'ROOT' if source == 't.root' else 'Parquet'} files"
            found.append((kind, f"seed {seed}", mutated_events, (source, seed, expected)))
    cases = bad_inputs(toys)
    for i in times(len(cases)):
        found.append(("bad input", cases[i][0], bad_input, cases[i]))
    for name in commands:
        for _ in times(10):
            largest = int(10 ** rng.uniform(2, 6))
            found.append(
                (
                    "files limited in size (quota)",
                    f"{name}, {largest} bytes",
                    quota,
                    (name, largest, expected),
                )
            )
    if can_mount():
        for name in commands:
            for _ in times(4):
                room = int(10 ** rng.uniform(3, 6))
                found.append(("full disk", f"{name}, {room} bytes left", full, (name, room, expected)))
    for name in commands:
        for _ in times(8):
            delay = float(rng.uniform(0, 0.9))
            found.append(
                ("two at once with one output", f"{name}, {delay:.2f} later", two, (name, delay, expected))
            )
    for name in commands:
        for streams in ((0,), (1,), (2,), (0, 1, 2)):
            found.append(("closed standard streams", f"{name}, {streams}", closed, (name, streams, expected)))
    return found


def attempt(job: tuple[str, str, Callable[..., str], tuple[Any, ...], Path]) -> Trial:
    """Tries one fault in a folder of its own."""
    kind, what, function, arguments, toys = job
    with folder(toys):
        try:
            wrong = function(*arguments)
        except Exception as error:
            wrong = f"the trial itself failed: {type(error).__name__}: {error}"
    return Trial(kind, what, wrong)


def imported() -> None:
    """Imports all that commands need, and uses what is slow at first, so that forks need not."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt
    import sklearn.ensemble  # noqa: F401

    import hepgan

    mpl.use("agg")
    for module in pkgutil.walk_packages(hepgan.__path__, "hepgan.", onerror=lambda _: None):
        # What an extra lacks, no command that is tried here needs.
        if module.name != "hepgan.__main__":
            with contextlib.suppress(ImportError, hepgan.HepganError):
                importlib.import_module(module.name)
    figure, axes = plt.subplots()
    axes.set_title("$x_1$")
    figure.canvas.draw()
    plt.close(figure)


def table(done: Sequence[Trial]) -> str:
    """The table of the classes."""
    lines = ["| fault | tried | as promised |", "|---|--:|--:|"]
    for kind in dict.fromkeys(t.kind for t in done):
        of = [t for t in done if t.kind == kind]
        lines.append(f"| {kind} | {len(of)} | {sum(not t.wrong for t in of)} |")
    lines.append(f"| **all** | {len(done)} | {sum(not t.wrong for t in done)} |")
    return "\n".join(lines)


def main() -> None:
    """Try all, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, help="file for the table")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="+", help="words of the classes that are to be tried")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # a fork has none of its parent's threads
    output = options.output and options.output.absolute()
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as name,
        multiprocessing.get_context("spawn").Pool(options.workers, initializer=imported) as pool,
    ):
        toys = Path(name)
        expected = pool.apply(make_toys, (toys, options.commands))
        jobs = [
            (*job, toys)
            for job in trials(toys, options.commands, expected, options.scale)
            if not options.only or any(word in job[0] for word in options.only)
        ]
        done = []
        for trial in pool.imap_unordered(attempt, jobs):
            done.append(trial)
            if trial.wrong:
                print(f"- {trial.kind}, {trial.what}: {' '.join(trial.wrong.split())[:600]}\n", flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(done)}/{len(jobs)}", end="", file=sys.stderr)
    order = {job[0]: i for i, job in reversed(list(enumerate(jobs)))}
    done.sort(key=lambda t: (order[t.kind], t.what))
    text = table(done)
    print(text)
    print(f"\n{time.monotonic() - begun:.0f} s")
    if output:
        output.write_text(text + "\n")


if __name__ == "__main__":
    main()
