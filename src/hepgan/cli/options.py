"""Options that several commands have."""

from __future__ import annotations

import click

from hepgan.cli.console import Duration, FilePath

__all__ = ["DEVICE", "FILE", "MAX_TIME", "OVERWRITE", "RESUME", "SEED", "SETTINGS"]

FILE = FilePath()
OVERWRITE = click.option("--force", is_flag=True, help="Replace existing output.")
DEVICE = click.option("--device", help="cpu, cuda, cuda:1, ...  [default: a GPU if there is one]")
SEED = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 2),
    default=0,
    show_default=True,
    help="The same seed gives the same result.",
)
SETTINGS = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe, as in training.batch_size=1024; += appends to a list, -= takes an "
    "element out; repeat it.",
)
MAX_TIME = click.option(
    "--max-time",
    type=Duration(),
    help="Longest time (90s, 10m, 1.5h), instead of the recipe's; the learning rate follows it.  "
    "[default: the recipe's]",
)
RESUME = click.option(
    "--resume", is_flag=True, help="Go on from the checkpoint of a training that was stopped."
)
