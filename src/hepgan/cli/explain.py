"""The command that shows what a generator's networks have learned."""

from __future__ import annotations

from pathlib import Path

import click

from hepgan.cli.commands import read_conditions
from hepgan.cli.console import Command, Count, say
from hepgan.cli.options import DEVICE, FILE, OVERWRITE, SEED

__all__ = ["explain"]


@click.command(
    cls=Command,
    short_help="Show what a model's networks have learned.",
    example="hepgan explain dis-energies.safetensors test.root:Events -o explained --label beam_energy",
)
@click.argument("model", type=FILE)
@click.argument("reference", required=False)
@click.option("-o", "--output", type=FILE, required=True, help="Folder to write into.")
@click.option(
    "-n",
    "--events",
    type=Count(),
    default=2000,
    show_default=True,
    help="Events to generate, and true ones at most.",
)
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="NAME",
    help="A hidden layer, as in generator.8; repeat it; `list` prints all.  "
    "[default: the last of what makes events, and of each critic]",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="OBSERVABLE",
    help="An observable of the recipe that colours the maps; repeat it.  [default: the first four]",
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="NAME=VALUE",
    help="A condition of the generated events, as in `hepgan generate`.",
)
@click.option("--perplexity", type=click.FloatRange(2), default=100.0, show_default=True, help="Of t-SNE.")
@click.option(
    "--eps",
    type=click.FloatRange(0, min_open=True),
    help="Distance of neighbours in the map, for DBSCAN.  [default: the median to the last of --min-samples]",
)
@click.option(
    "--min-samples",
    type=Count(),
    default=25,
    show_default=True,
    help="Neighbours of a point inside a cluster, for DBSCAN.",
)
@click.option(
    "--surface",
    "surfaces",
    multiple=True,
    metavar="TERM",
    help="A term of the loss whose surface to scan (needs REFERENCE), or `total`; repeat it.",
)
@SEED
@DEVICE
@OVERWRITE
def explain(
    model: Path,
    reference: str | None,
    output: Path,
    events: int,
    layers: tuple[str, ...],
    labels: tuple[str, ...],
    conditions: tuple[str, ...],
    perplexity: float,
    eps: float | None,
    min_samples: int,
    surfaces: tuple[str, ...],
    seed: int,
    device: str | None,
    force: bool,
) -> None:
    """Show what the hidden layers of a MODEL's networks have learned.

    Activations of generated events are mapped by t-SNE and clustered by DBSCAN; clusters are compared with
    labels of physics. With true events (REFERENCE, FILE.root:Tree), they are overlaid in principal
    components, and surfaces of the loss can be scanned. Writes pictures and explanation.json.
    """
    from hepgan.events import read_events
    from hepgan.explanation import explain as explained
    from hepgan.explanation import hidden_layers
    from hepgan.files import claim
    from hepgan.generator import EventGenerator

    generator = EventGenerator.load(model, device=device)
    if layers == ("list",):
        for name in hidden_layers(generator):
            say(name)
        return
    claim(output / "explanation.json", force=force)
    true = None if reference is None else read_events(reference, schema=generator.schema)
    found = explained(
        generator,
        true,
        layers=layers or None,
        observables=labels or None,
        condition=read_conditions(conditions, generator, events),
        n=events,
        perplexity=perplexity,
        eps=eps,
        min_samples=min_samples,
        surfaces=surfaces,
        seed=seed,
    )
    written = found.save(output, force=force)
    for line in found.lines():
        say(line)
    say(f"{len(written) - 1} pictures and explanation.json in {output}")
