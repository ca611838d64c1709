"""The command that makes a fast generator of a slow one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from hepgan.cli.commands import say_next, write_model
from hepgan.cli.console import Command, Count, say
from hepgan.cli.options import DEVICE, FILE, MAX_TIME, OVERWRITE, RESUME, SEED, SETTINGS

__all__ = ["distill"]


@click.command(
    cls=Command,
    short_help="Make a fast generator of a slow one.",
    example="hepgan distill zmumu.safetensors -o fast.safetensors",
)
@click.argument("model", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Model file to write (.safetensors).")
@click.option(
    "--steps", type=Count(), default=1, show_default=True, help="Network calls of the student for an event."
)
@click.option(
    "--pairs",
    type=Count(),
    default=200_000,
    show_default=True,
    help="Events that MODEL makes for the student to learn from.",
)
@SETTINGS
@SEED
@DEVICE
@MAX_TIME
@RESUME
@OVERWRITE
@click.pass_obj
def distill(
    given: Sequence[str],
    model: Path,
    output: Path,
    steps: int,
    pairs: int,
    settings: tuple[str, ...],
    seed: int,
    device: str | None,
    max_time: float | None,
    resume: bool,
    force: bool,
) -> None:
    """Make a generator that makes in one step what MODEL makes in many.

    MODEL, the teacher, is flow matching, for instance; no file of events is needed. The student is a model
    file like any other. Ctrl-C ends cleanly; --resume goes on from there.
    """
    from hepgan.generator import EventGenerator
    from hepgan.generator.describe import distillation
    from hepgan.generator.distillation import distill as distilled

    def make(checkpoint: Path) -> EventGenerator:
        return distilled(
            EventGenerator.load(model, device=device),
            steps=steps,
            pairs=pairs,
            settings=settings,
            seed=seed,
            max_time=max_time,
            checkpoint=checkpoint,
            resume=resume,
            progress=sys.stderr.isatty(),
        )

    student = write_model(given, output, make, source=model, resume=resume, force=force)
    say("distilled " + distillation(student.summary["distillation"]))
    say(f"model in {output} ({output.stat().st_size / 1e6:.1f} MB)")
    say_next("generate", output, "-n", 100_000, "-o", "generated.root")
