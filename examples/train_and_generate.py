"""Learn the events of a file, write new ones, and judge them against events that were not learned.

python train_and_generate.py train.root test.root --recipe zmumu --output out --max-time 600
"""

from __future__ import annotations

import argparse
from pathlib import Path

import hepgan


def main(arguments: list[str] | None = None) -> None:
    """Trains, generates, compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("train", help="events to learn, file.root:Tree")
    parser.add_argument("test", help="events to judge with, file.root:Tree")
    parser.add_argument("--recipe", default="zmumu", help="a recipe's name or YAML file")
    parser.add_argument("--output", type=Path, default=Path("out"), help="folder for all results")
    parser.add_argument("--events", type=int, default=100_000, help="events to generate")
    parser.add_argument("--max-time", type=float, default=600.0, help="longest training in seconds")
    options = parser.parse_args(arguments)

    recipe = hepgan.load_recipe(options.recipe)
    events = hepgan.read_events(options.train, branches=recipe.branches)
    generator = hepgan.EventGenerator(recipe).fit(events, seed=0, max_time=options.max_time)
    generator.save(options.output / "model.safetensors", force=True)

    production = hepgan.produce(
        generator, options.events, options.output / "generated.root", seed=1, force=True
    )
    print(f"{production.events / production.seconds:,.0f} events/s")

    comparison = hepgan.compare(
        hepgan.read_events(options.test, branches=recipe.branches),
        hepgan.read_events(production.files[0], branches=recipe.branches),
        recipe.make_observables(),
        train=events,
    )
    comparison.save(options.output / "report", force=True)
    print("\n".join(comparison.verdicts()))


if __name__ == "__main__":
    main()
