"""The command that unfolds data: a generator of events as they were before the detector."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from hepgan.cli.commands import say_next, write_model
from hepgan.cli.console import Command, Count, say
from hepgan.cli.options import DEVICE, FILE, OVERWRITE, SEED, SETTINGS

__all__ = ["unfold"]


@click.command(
    cls=Command,
    short_help="Make a generator whose folded events agree with data.",
    example="hepgan unfold prior.safetensors folding.safetensors data.root:Events -o unfolded.safetensors",
)
@click.argument("prior", type=FILE)
@click.argument("folding", type=FILE)
@click.argument("data", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Model file to write (.safetensors).")
@click.option(
    "--recipe",
    help="Recipe whose observables, of events at the detector, help to tell data from folded events.  "
    "[default: none]",
)
@click.option(
    "--iterations",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Iterations: few stay near PRIOR where the detector says little, many amplify noise.",
)
@click.option(
    "--events",
    type=Count(),
    default=100_000,
    show_default=True,
    help="Events that the generator makes in each iteration.",
)
@click.option(
    "--classifier",
    type=click.Choice(["trees", "mlp"]),
    default="trees",
    show_default=True,
    help="What tells data from folded events; negative weights need mlp.",
)
@SETTINGS
@SEED
@DEVICE
@OVERWRITE
@click.pass_obj
def unfold(
    given: Sequence[str],
    prior: Path,
    folding: Path,
    data: Path,
    output: Path,
    recipe: str | None,
    iterations: int,
    events: int,
    classifier: str,
    settings: tuple[str, ...],
    seed: int,
    device: str | None,
    force: bool,
) -> None:
    """Make a generator of events at the vertex that agree with DATA once FOLDING folds them.

    PRIOR is a generator of events at the vertex, of a simulation for instance, FOLDING a model that `hepgan
    train` has learned by a recipe for folding, DATA a file of events at the detector (FILE.root:Tree). What
    the detector does not tell stays as it is in PRIOR. --set changes training, which is that of each
    iteration.
    """
    from hepgan.detector import Folding, Level
    from hepgan.detector import unfold as unfolded
    from hepgan.events import read_events
    from hepgan.generator import EventGenerator
    from hepgan.generator.describe import unfolding
    from hepgan.recipes import load_recipe

    def make(checkpoint: Path) -> EventGenerator:
        before, detector = EventGenerator.load(prior, device=device), Folding.load(folding, device=device)
        names = (*detector.detector, *(n for n in detector.conditions if n not in detector.vertex))
        observables = {} if recipe is None else load_recipe(recipe).make_observables()
        return unfolded(
            before,
            detector,
            read_events(str(data)),
            Level(names, observables),
            iterations=iterations,
            events=events,
            classifier="mlp" if classifier == "mlp" else "trees",
            settings=settings,
            seed=seed,
            progress=sys.stderr.isatty(),
        )

    made = write_model(given, output, make, source=prior, resume=False, force=force)
    say("unfolded " + unfolding(made.summary["unfolding"]))
    say(f"model in {output} ({output.stat().st_size / 1e6:.1f} MB)")
    say_next("generate", output, "-n", 100_000, "-o", "vertex.root")
