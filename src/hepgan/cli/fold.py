"""The command that folds events: what a detector makes of them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from hepgan.cli.commands import say_next
from hepgan.cli.console import Command, Count, progress, say
from hepgan.cli.options import DEVICE, FILE, OVERWRITE, SEED

__all__ = ["fold"]


@click.command(
    cls=Command,
    short_help="Make detector-level events of vertex-level ones.",
    example="hepgan fold folding.safetensors vertex.root:Events -o detector.root",
)
@click.argument("model", type=FILE)
@click.argument("vertex")
@click.option("-o", "--output", type=FILE, required=True, help="File to write (.root, .parquet).")
@SEED
@click.option("--keep-vertex", is_flag=True, help="Write the vertex-level collections, too.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ttree", "rntuple", "parquet"]),
    help="What to write.  [default: parquet for .parquet, else ttree]",
)
@click.option("--workers", type=Count(), help="Threads.  [default: one for each core]")
@DEVICE
@OVERWRITE
def fold(
    model: Path,
    vertex: str,
    output: Path,
    seed: int,
    keep_vertex: bool,
    file_format: Any,
    workers: int | None,
    device: str | None,
    force: bool,
) -> None:
    """Make detector-level events of the VERTEX-level events of FILE.root:Tree with a MODEL for folding.

    The model is one that `hepgan train` has learned from events with both levels, by a recipe that has the
    vertex-level collections among its conditions, as the recipe folding has. Event weights are kept. The
    events depend on the model, the seed and the events alone, not on workers.
    """
    from hepgan.detector import Folding, fold_file
    from hepgan.events import count_events
    from hepgan.files import claim

    claim(output, force=force, make=False)
    folding = Folding.load(model, device=device)
    started = time.monotonic()
    with progress("folding", count_events(vertex)) as advance:
        number = fold_file(
            folding,
            vertex,
            output,
            seed=seed,
            keep_vertex=keep_vertex,
            format=file_format,
            workers=workers,
            force=force,
            on_progress=advance,
        )
    say(f"{number:,} events in {output} ({number / (time.monotonic() - started):,.0f} events/s)")
    say_next("validate", "REFERENCE.root", output, "-o", "report")
