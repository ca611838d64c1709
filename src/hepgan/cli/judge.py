"""Commands that judge: events against others, and what a model holds and knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hepgan.cli.console import Command, Count, say, warn
from hepgan.cli.options import (
    CONDITIONS,
    DEVICE,
    FILE,
    OVERWRITE,
    SEED,
    WORKERS,
    connection,
    grids_of,
    on_cluster,
    output,
    read_conditions,
    weight_of,
    weight_option,
)
from hepgan.errors import InputError
from hepgan.runtime import telling

__all__ = ["explain", "info", "validate"]


@click.command(
    cls=Command,
    short_help="Judge generated events against true ones.",
    example="hepgan validate test.root:Events generated.root --recipe zmumu --train train.root -o report",
)
@click.argument("reference")
@click.argument("generated", nargs=-1, required=True)
@output("Folder for the report")
@click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="NAME",
    help="What to call the GENERATED samples, in their order; repeat it.  [default: after their files]",
)
@click.option(
    "--recipe",
    help="Take the observables of a recipe (a name or a YAML file).  "
    "[default: all fields, numbers of objects, masses of pairs]",
)
@click.option(
    "--train",
    "training",
    metavar="FILE",
    help="The training events, for floors and memorisation.  [default: halves of REFERENCE give floors]",
)
@click.option(
    "--features",
    type=FILE,
    metavar="MODEL",
    help="Compare in the scaled features of a model, too, as its network sees them, and show its latent "
    "space if it has a likelihood.  [default: none]",
)
@click.option(
    "--efp",
    metavar="OBJECTS",
    help="Compute physics distances in the energy flow polynomials of these objects, too.  [default: none]",
)
@click.option(
    "--category",
    metavar="NAME",
    help="The number of the event whose few values are classes: test whether classifiers of them transfer.  "
    "[default: a condition of the recipe, if it is one]",
)
@click.option("--deviation", is_flag=True, help="Show |ratio - 1| in per cent below each ratio, too.")
@click.option(
    "--keep-bad", is_flag=True, help="Judge GENERATED events with NaN, E < |p| and the like, too; count them."
)
@weight_option("that of the model or the recipe, or found by its name")
@on_cluster
@SEED
@WORKERS
@OVERWRITE
def validate(
    reference: str,
    generated: tuple[str, ...],
    output: Path,
    labels: tuple[str, ...],
    recipe: str | None,
    training: str | None,
    features: Path | None,
    efp: str | None,
    category: str | None,
    deviation: bool,
    keep_bad: bool,
    weight: str | None,
    scheduler: str | None,
    cluster: Any,
    jobs: int | None,
    seed: int,
    force: bool,
) -> None:
    """Judge GENERATED events against REFERENCE events, which training must not have seen.

    Each is FILE.root:Tree or a glob in quotes. Several GENERATED samples share one report, with a curve and
    a column each. Writes report.html, metrics.json and histograms.root. Every metric stands beside its
    floor: the same metric between two true samples. Event weights count in all of them. With a cluster, its
    workers read the events and fill the histograms, which pays for many; the result is the same.
    """
    from hepgan.events import overlap
    from hepgan.generator import EventGenerator
    from hepgan.recipes import load_recipe
    from hepgan.validation import claim_report, compare_files, sample_labels

    chosen = None if recipe is None else load_recipe(recipe)
    samples = dict(zip(sample_labels(generated, labels), generated, strict=True))
    model = None if features is None else EventGenerator.load(features, device="cpu")
    click.get_current_context().with_resource(claim_report(output, force=force))
    if training is not None and overlap(training, reference):
        msg = "is both the reference and the training sample; judge by events that training has not seen"
        raise InputError(msg, file=reference)
    with connection(scheduler, cluster, jobs) as client, telling():
        comparison = compare_files(
            reference,
            samples,
            None if chosen is None else chosen.make_observables(),
            train=training,
            weight=weight or weight_of(chosen, model),
            features=model,
            efp=efp,
            category=category or (() if chosen is None else chosen.conditions),
            on_bad="keep" if keep_bad else "raise",
            seed=seed,
            schema=None if chosen is None else chosen.events.layout,
            grids=grids_of(chosen, model),
            prepared=None if chosen is None else chosen.events.preparation.expressions,
            client=client,
        )
    with telling():
        comparison.save(output, force=force, deviation=deviation)
    for label, told in comparison.provenance.get("weighted by", {}).items():
        say(f"{label} events: {told if told.startswith('all') else f'weighted by {told}'}")
    for line in comparison.verdicts() if len(samples) == 1 else comparison.overview():
        say(line)
    say(f"report in {output / 'report.html'}")


@click.command(
    cls=Command,
    short_help="Show what a model's networks have learned.",
    example="hepgan explain dis-energies.safetensors test.root:Events -o explained --label beam_energy",
)
@click.argument("model", type=FILE)
@click.argument("reference", required=False)
@output("Folder to write into")
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
@CONDITIONS
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
@WORKERS
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
    preparation = generator.recipe.events.preparation
    true = None if reference is None else preparation.read(reference, schema=generator.schema)
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


@click.command(
    cls=Command,
    short_help="Tell what a model file holds.",
    example="hepgan info zmumu.safetensors",
)
@click.argument("model", type=FILE)
@click.option(
    "--card",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write a model card there: README.md, as Hugging Face takes it, and .zenodo.json.  "
    "[default: none is written]",
)
@click.option(
    "--metrics", type=FILE, help="Of a card: the metrics.json of `hepgan validate`.  [default: none]"
)
@click.option("--license", help="Of a card: the model's licence, such as CC-BY-4.0.  [default: none]")
@click.option(
    "--author", "authors", multiple=True, help='Of a card: who made it, as in "Doe, Jane"; repeat it.'
)
@OVERWRITE
def info(
    model: Path,
    card: Path | None,
    metrics: Path | None,
    license: str | None,
    authors: tuple[str, ...],
    force: bool,
) -> None:
    """Tell what a MODEL file holds: recipe, events, training, versions."""
    from hepgan.generator import EventGenerator
    from hepgan.generator.card import write_card

    if card is None and (metrics or license or authors):
        msg = "--metrics, --license and --author are for a model card: say where with --card FOLDER"
        raise InputError(msg)
    generator = EventGenerator.load(model, device="cpu")
    say(f"{model} ({model.stat().st_size / 1e6:.1f} MB)")
    for line in generator.describe():
        say(line)
    if card is None:
        return
    written = write_card(
        card, generator, file=model.name, metrics=metrics, license=license, authors=authors, force=force
    )
    say(f"model card in {' and '.join(map(str, written))}")
    if len(written) == 1:
        warn("without --license and --author there is no .zenodo.json, and Hugging Face asks for a licence")
