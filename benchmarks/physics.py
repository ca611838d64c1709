"""What the benchmarks of recipes have in common: options, training, generation, a table."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import hepgan

__all__ = ["generated", "options", "print_table", "trained"]


def options(description: str, recipes: Sequence[str], max_time: float) -> argparse.ArgumentParser:
    """The options: where data are, which recipes, how long, settings, where models are kept."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--recipes", nargs="+", default=list(recipes))
    parser.add_argument("--max-time", type=float, default=max_time)
    parser.add_argument("--set", action="append", default=[], help="settings of the recipes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=Path)
    return parser


def trained(recipe: str, train, chosen: argparse.Namespace) -> hepgan.EventGenerator:
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


def print_table(columns: Mapping[str, Mapping[str, str]]) -> None:
    """Prints figures by recipe as a table in Markdown."""
    print("| | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        print(f"| {name} | " + " | ".join(column.get(name, "") for column in columns.values()) + " |")
