"""Options that several commands have, and what is read from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from hepgan.cli.console import Count, Duration, FilePath
from hepgan.errors import InputError
from hepgan.runtime import use_at_most

if TYPE_CHECKING:
    from hepgan.events.shapes import Grids
    from hepgan.generator import EventGenerator
    from hepgan.recipes import Recipe

__all__ = [
    "CONDITIONS",
    "DEVICE",
    "FILE",
    "FORMAT",
    "MAX_TIME",
    "MODEL_OUTPUT",
    "OVERWRITE",
    "RESUME",
    "SEED",
    "SETTINGS",
    "WHERE",
    "WORKERS",
    "connection",
    "on_cluster",
    "output",
    "read_conditions",
    "read_member",
    "weight_of",
    "weight_option",
]

F = TypeVar("F", bound=Callable[..., Any])

FILE = FilePath()


def output(what: str, default: str | None = None) -> Callable[[F], F]:
    """The option ``-o``, of a command that writes ``what``."""
    words: dict[str, Any] = {"required": True} if default is None else {"default": default}
    return click.option("-o", "--output", type=FILE, show_default=True, help=f"{what}.", **words)


def weight_option(default: str) -> Callable[[F], F]:
    """The option ``--weight``, without which the weight is the ``default``."""
    return click.option(
        "--weight",
        metavar="NAME",
        help=f"Number of the event that is its weight, or none.  [default: {default}]",
    )


MODEL_OUTPUT = output("Model file to write (.safetensors)")
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
    help="Longest time from the first step (90s, 10m, 1.5h), instead of the recipe's; the learning rate "
    "follows it.  "
    "[default: the recipe's]",
)
RESUME = click.option(
    "--resume", is_flag=True, help="Go on from the checkpoint of a training that was stopped."
)
TRACK = click.option(
    "--track",
    multiple=True,
    metavar="TRACKER",
    help="Who keeps losses and metrics as the training goes: tensorboard:FOLDER, mlflow:EXPERIMENT or "
    "wandb:PROJECT; repeat it.",
)
LOG_EVERY = click.option(
    "--log-every",
    type=Count(),
    help="Steps between two logs, which are then lines, too.  [default: 50, and no lines]",
)
CONDITIONS = click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="NAME=VALUE",
    help="A condition of the model: a number, values that take turns (10,20,30), uniform:LOW:HIGH, or "
    "FILE.root:Tree whose events give it; repeat it.  [default: drawn as in training]",
)
WHERE = click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="What all events shall fulfil, such as 'nJet >= 4 and MET.pt > 50'; others are drawn anew. "
    "Repeat it for more.  [default: none]",
)
FORMAT = click.option(
    "--format",
    "file_format",
    type=click.Choice(["ttree", "rntuple", "parquet", "feather", "csv", "hdf5", "lhe", "hepmc"]),
    help="What to write.  [default: by the file's ending; ttree for .root and in a folder]",
)


def _limit(context: click.Context, option: click.Parameter, value: int | None) -> None:
    use_at_most(value)


WORKERS = click.option(
    "--workers",
    type=Count(),
    expose_value=False,
    callback=_limit,
    help="Threads, at most.  [default: one for each core]",
)


def on_cluster(function: F) -> F:
    """The options that name a cluster; ``connection`` makes a client of them."""
    for option in reversed(
        (
            click.option(
                "--scheduler",
                metavar="tcp://HOST:PORT",
                help="The scheduler of a Dask cluster that runs, to work there.  [default: work here]",
            ),
            click.option(
                "--cluster",
                type=click.Choice(["local", "slurm", "htcondor"]),
                help="A Dask cluster to start for the work: processes here, or jobs of a batch system.  "
                "[default: none]",
            ),
            click.option(
                "--jobs",
                type=Count(),
                help="Processes or jobs of --cluster.  [default: one for each core here; 10 jobs]",
            ),
        )
    ):
        function = option(function)
    return function


def connection(scheduler: str | None, cluster: Any, jobs: int | None) -> AbstractContextManager[Any]:
    """The client of the cluster that options name, or None where they name none.

    Raises:
        InputError: If they name two, or the cluster cannot be had.
    """
    from hepgan.production import connected

    if jobs is not None and cluster is None:
        msg = "--jobs goes with --cluster"
        raise InputError(msg)
    if scheduler is not None and cluster is not None:
        msg = "--scheduler names a cluster that runs, --cluster one that is to be started: give one of them"
        raise InputError(msg)
    if scheduler is None and cluster is None:
        return nullcontext()
    return connected(scheduler, cluster=cluster, jobs=jobs)


def read_conditions(given: Sequence[str], generator: EventGenerator, events: int) -> dict[str, Any]:
    """What ``--condition NAME=VALUE`` and ``NAME=FILE`` give, by name; see ``EventGenerator.generate``.

    Of a file no more than the first ``events`` entries are read.

    Raises:
        InputError: If there is no such condition, or a file that does not have enough of it.
    """
    import numpy as np

    from hepgan.events import read_events
    from hepgan.generator.conditions import is_law

    names = generator.recipe.conditions
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            msg = f"--condition {text!r}: expected NAME=VALUE"
            raise InputError(msg)
        if name not in names:
            msg = f"--condition {text!r}: the model has {', '.join(names) or 'none'}"
            raise InputError(msg)
        collection = name in generator.representation.given
        if not collection and is_law(value, generator.representation.schema.scalar(name)):
            values[name] = value
            continue
        found = read_events(value, branches=[name], weight="none", entry_stop=events)[name]
        if not collection and len(found) < events:
            msg = f"{len(found):,} events cannot give the condition of {events:,}"
            raise InputError(msg, file=value, branch=name)
        values[name] = found if collection else found.to_numpy()
        if not collection and not (finite := np.isfinite(values[name])).all():
            msg = f"{values[name][finite.argmin()]} cannot be a condition"
            raise InputError(msg, file=value, branch=name, entry=int(finite.argmin()))
    return values


def weight_of(recipe: Recipe | None, model: EventGenerator | None = None) -> str | None:
    """The weight of true events that a model, or else a recipe, has learned by; None if neither tells."""
    if model is not None:
        return model.schema.weight or "none"
    return None if recipe is None else recipe.events.weight


def grids_of(recipe: Recipe | None, model: EventGenerator | None = None) -> Grids:
    """The axes of arrays of a recipe, or else of the recipe that a model has learned by."""
    known = recipe if recipe is not None or model is None else model.recipe
    return {} if known is None else known.events.axes


def read_member(given: str | None, generator: EventGenerator) -> int | Literal["all"] | None:
    """What ``--member K`` or ``--member all`` asks for.

    Raises:
        InputError: If the generator has no such member.
    """
    if given is None or given == "all":
        return "all"
    try:
        number = int(given)
        generator.member(number)
    except ValueError as error:
        there = f"{given!r} is neither a number nor `all`" if not given.isdigit() else str(error)
        msg = f"--member: {there}"
        raise InputError(msg) from None
    return number
