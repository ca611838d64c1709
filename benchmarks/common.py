"""What the benchmarks have in common: options, data, trainings, generation, timing in turns, tables."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import awkward as ak

import hepgan

__all__ = [
    "generated",
    "in_turns",
    "options",
    "parser_of",
    "print_table",
    "read",
    "timed",
    "trained",
]

# ------------------------------------------------------------------ options and data


def parser_of(description: str | None, *, data: bool = False) -> argparse.ArgumentParser:
    """Options of a benchmark, with its docstring as the help.

    Args:
        description: The docstring.
        data: Whether it reads a folder of samples, and at most so many events of each.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    if data:
        parser.add_argument("data", type=Path, help="folder of the samples")
        parser.add_argument("--limit", type=int, help="events of each sample that are read, at most")
    return parser


def options(
    description: str | None, recipes: Sequence[str], max_time: float, events: int | None = None
) -> argparse.ArgumentParser:
    """The options of benchmarks of recipes: data, recipes, time, settings, where models are kept, events."""
    parser = parser_of(description, data=True)
    parser.add_argument("--recipes", nargs="+", default=list(recipes))
    parser.add_argument("--max-time", type=float, default=max_time)
    parser.add_argument("--set", action="append", default=[], help="settings of the recipes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path)
    if events is not None:
        parser.add_argument("--events", type=int, default=events, help="events to generate")
    return parser


def read(chosen: argparse.Namespace, name: str) -> ak.Array:
    """The events of a sample in the folder of the data, or one folder below."""
    path = chosen.data / f"{name}.root"
    if not path.exists():
        path = next(chosen.data.glob(f"*/{name}.root"), path)
    return hepgan.read_events(path, entry_stop=chosen.limit)


# ------------------------------------------------------------------ generators


def trained(recipe: str, train: ak.Array, chosen: argparse.Namespace) -> hepgan.EventGenerator:
    """A generator, from the folder of models if it is there."""
    path = chosen.models / f"{recipe}.safetensors" if chosen.models else None
    if path is not None and path.exists():
        return hepgan.EventGenerator.load(path)
    generator = hepgan.EventGenerator(hepgan.load_recipe(recipe).with_settings(chosen.set))
    generator = generator.fit(train, seed=chosen.seed, max_time=chosen.max_time)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        generator.save(path)
    return generator


def generated(generator: hepgan.EventGenerator, events: int):
    """Generated events, and the first and last rows of a table: the training, and the rate."""
    started = time.perf_counter()
    made = generator.generate(events, seed=1)
    rate = events / (time.perf_counter() - started)
    summary = generator.summary
    training = {"seconds of training": f"{summary['seconds']:.0f}", "steps": f"{summary['steps']:,}"}
    training["batch"] = f"{generator.recipe.training.batch_size:,}"
    return made, training, {"events/s": f"{rate:,.0f}"}


# ------------------------------------------------------------------ times


def timed(
    function: Callable[[], object], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of a call, of which there are as many as fit into the seconds, but at least one."""
    calls, start = 0, clock()
    while not calls or clock() - start < seconds:
        function()
        calls += 1
    return (clock() - start) / calls


def in_turns(
    functions: Sequence[Callable[[], object]],
    rounds: int,
    seconds: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Seconds of a call of each function in each round, all in turns, so that what else runs meets them all.

    Returns:
        For each function a number for each round.
    """
    found: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, times in zip(functions, found, strict=True):
            times.append(timed(function, seconds, clock))
    return found


# ------------------------------------------------------------------ results


def print_table(columns: Mapping[str, Mapping[str, str]]) -> None:
    """Prints figures by recipe as a table in Markdown."""
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        print(f"| {name} | " + " | ".join(column.get(name, "") for column in columns.values()) + " |")
