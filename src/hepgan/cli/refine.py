"""The command that makes a generator better by what a classifier finds wrong with its events."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from hepgan.cli.commands import say_next, write_model
from hepgan.cli.console import Command, Count, say
from hepgan.cli.options import DEVICE, FILE, MAX_TIME, OVERWRITE, RESUME, SEED, SETTINGS

__all__ = ["refine"]


@click.command(
    cls=Command,
    short_help="Make a generator better by a classifier.",
    example="hepgan refine zmumu.safetensors zmumu_train.root:Events -o refined.safetensors",
)
@click.argument("model", type=FILE)
@click.argument("reference", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Model file to write (.safetensors).")
@click.option(
    "--events",
    type=Count(),
    default=200_000,
    show_default=True,
    help="Events that MODEL makes: for the classifier, and as many again to learn better noise from.",
)
@SETTINGS
@SEED
@DEVICE
@MAX_TIME
@RESUME
@OVERWRITE
@click.pass_obj
def refine(
    given: Sequence[str],
    model: Path,
    reference: Path,
    output: Path,
    events: int,
    settings: tuple[str, ...],
    seed: int,
    device: str | None,
    max_time: float | None,
    resume: bool,
    force: bool,
) -> None:
    """Make a generator whose events a classifier tells less well from REFERENCE than those of MODEL.

    REFERENCE are true events (FILE.root:Tree), those of the training for instance. Unlike `hepgan
    reweight`, the result needs no weights: noise is drawn so that what was too rare is made more often
    (latent-space refinement, LaSeR). --set changes model.prior and training, which is that of the prior.
    """
    from hepgan.events import read_events
    from hepgan.generator import EventGenerator
    from hepgan.generator.describe import refinement
    from hepgan.generator.refinement import refine as refined
    from hepgan.reweighting import Reweighter

    def make(checkpoint: Path) -> EventGenerator:
        generator = EventGenerator.load(model, device=device)
        true = read_events(str(reference), schema=generator.schema)
        reweighter = Reweighter(generator.recipe.make_observables(), seed=seed)
        reweighter.fit(true, generator.generate(events, seed=seed))
        return refined(
            generator,
            lambda made: reweighter(made).weight,
            events=events,
            settings=settings,
            seed=seed,
            max_time=max_time,
            checkpoint=checkpoint,
            resume=resume,
            progress=sys.stderr.isatty(),
        )

    better = write_model(given, output, make, source=model, resume=resume, force=force)
    say("refined " + refinement(better.summary["refinement"]))
    say(f"model in {output} ({output.stat().st_size / 1e6:.1f} MB)")
    say_next("generate", output, "-n", 100_000, "-o", "generated.root")
