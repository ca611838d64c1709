"""Commands that make events or weights of events, and the recipes and samples that are needed for it."""

from __future__ import annotations

import time
from importlib import resources
from pathlib import Path
from typing import Any

import click

from hepgan.cli.console import Command, Count, Duration, say, say_each, say_next
from hepgan.cli.options import (
    DEVICE,
    FILE,
    FORMAT,
    OVERWRITE,
    SEED,
    WORKERS,
    output,
    weight_of,
    weight_option,
)
from hepgan.errors import InputError, OutputError
from hepgan.runtime import progress

__all__ = ["dataset", "fold", "init", "quickstart", "recipes", "reweight"]


@click.command(
    cls=Command,
    short_help="See the whole way at once, on simulated events.",
    example="hepgan quickstart",
)
@output("Folder to write into", default="quickstart")
@click.option(
    "-n", "--events", type=Count(), default=60_000, show_default=True, help="Training events to simulate."
)
@click.option(
    "--max-time",
    type=Duration(),
    default="3m",
    show_default=True,
    help="Longest training time: 90s, 10m, 1.5h.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 449_999_998),
    default=0,
    show_default=True,
    help="The same seed gives the same result.",
)
@WORKERS
@OVERWRITE
def quickstart(output: Path, events: int, max_time: float, seed: int, force: bool) -> None:
    """Simulate Z -> mu mu events, learn them, generate 100,000 more, and judge them.

    Needs the extra `pythia` (in a clone: pip install ".[pythia]").
    """
    from hepgan.cli.quickstart import run as run_quickstart

    run_quickstart(output, events=events, max_time=max_time, seed=seed, force=force, say=say)


@click.command(
    cls=Command,
    short_help="Simulate events of a published system.",
    example="hepgan dataset zmumu -n 60000 --seed 1 -o train.root",
)
@click.argument("name")
@click.option("-n", "--events", type=Count(), default=10_000, show_default=True, help="Number of events.")
@click.option(
    "--seed",
    type=click.IntRange(1, 900_000_000),
    default=1,
    show_default=True,
    help="The same seed gives the same events, another one others.",
)
@output("ROOT file to write")
@OVERWRITE
def dataset(name: str, events: int, seed: int, output: Path, force: bool) -> None:
    """Simulate events of a published system with Pythia 8 into a ROOT file.

    NAME is zmumu, ee_partons, drell_yan, wz, dis or jet_images. Needs the extra `pythia`
    (in a clone: pip install ".[pythia]"). Take other seeds for training and for judging.
    """
    from hepgan.datasets import make_dataset
    from hepgan.files import Reservation

    click.get_current_context().with_resource(Reservation(output, force=force))
    with progress("simulating", events) as advance:
        make_dataset(name, events, output, seed=seed, force=force, on_progress=advance)
    say(f"{events:,} events of {name} in {output}")
    # The electron's beam goes along -z here, as the recipe dis-energies has it, not dis.
    recipe = "dis-energies" if name == "dis" else name.replace("_", "-")
    if resources.files("hepgan").joinpath("recipes", f"{recipe}.yaml").is_file():
        say_next("train", recipe, output, "-o", output.with_suffix(".safetensors"))
    else:
        say_next("init", output, "-o", output.with_suffix(".yaml"))


@click.command(
    cls=Command,
    short_help="List the recipes, or print one.",
    example="hepgan recipes zmumu > my.yaml",
)
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes that come with hepgan, or print the one called NAME as YAML, to start from."""
    from hepgan.recipes import recipe_names, recipe_text

    if name is not None:
        for line in recipe_text(name).splitlines():
            say(line)
        return
    names = recipe_names()
    width = max(map(len, names))
    for recipe, description in names.items():
        say(f"{recipe:{width}}  {description}")


@click.command(
    cls=Command,
    short_help="Draft a recipe for your own file.",
    example="hepgan init events.root:Events --select Muon --select MET.pt -o my.yaml",
)
@click.argument("file")
@output("YAML file to write")
@click.option(
    "--select",
    multiple=True,
    metavar="NAME",
    help="Collections (Muon), fields (Muon.pt), scalars, or patterns of these (HLT_*) to learn; repeat it.  "
    "[default: all that can be; of NanoAOD what analyses usually read]",
)
@click.option(
    "--processor",
    metavar="FILE.py:NAME",
    help="A coffea processor, which runs once: what it reads is learned, where it can be.  [default: none]",
)
@click.option(
    "--schema",
    metavar="NAME",
    default="NanoAODSchema",
    show_default=True,
    help="coffea's schema for the processor, or HepganSchema.",
)
@weight_option("found by its name; asked where several could be it")
@click.option(
    "--units",
    "unit",
    type=click.Choice(["MeV", "GeV", "TeV"], case_sensitive=False),
    help="What momenta, energies and masses are in.  [default: told from masses, resonances and sizes]",
)
@OVERWRITE
def init(
    file: str,
    output: Path,
    select: tuple[str, ...],
    processor: str | None,
    schema: str,
    weight: str | None,
    unit: Any,
    force: bool,
) -> None:
    """Draft a recipe for FILE.root:Tree, with comments that explain each choice.

    It trains as it stands. Kinds of numbers, hard edges, resonances and symmetries are found in the data.
    """
    from hepgan.files import Reservation, replacing
    from hepgan.recipes import draft

    if output.suffix not in (".yaml", ".yml"):
        msg = "a recipe is called *.yaml"
        raise OutputError(msg, file=output)
    click.get_current_context().with_resource(Reservation(output, force=force))
    read: tuple[str, ...] = ()
    if processor is not None:
        from hepgan.coffea import branches_read, load_processor

        read = branches_read(file, load_processor(processor), schema=schema)
        say(f"{processor} reads {len(read)} branches: {', '.join(read)}")
    made = draft(file, name=output.stem, select=select, weight=weight, read=read, unit=unit)
    with replacing(output, force=force) as temporary:
        temporary.write_text(made.text, encoding="utf-8")
    say_each(made.told)
    say(f"recipe in {output}; its comments say why")
    bad = ("--drop-bad",) if made.bad else ()
    say_next("train", output, file, *bad, "-o", output.with_suffix(".safetensors"))


@click.command(
    cls=Command,
    short_help="Make detector-level events of vertex-level ones.",
    example="hepgan fold folding.safetensors vertex.root:Events -o detector.root",
)
@click.argument("model", type=FILE)
@click.argument("vertex")
@output("File to write (.root, .parquet, .csv, ...)")
@SEED
@click.option("--keep-vertex", is_flag=True, help="Write the vertex-level collections, too.")
@FORMAT
@WORKERS
@DEVICE
@OVERWRITE
def fold(
    model: Path,
    vertex: str,
    output: Path,
    seed: int,
    keep_vertex: bool,
    file_format: Any,
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
    from hepgan.files import Reservation

    click.get_current_context().with_resource(Reservation(output, force=force))
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
            force=force,
            on_progress=advance,
        )
    say(f"{number:,} events in {output} ({number / (time.monotonic() - started):,.0f} events/s)")
    say_next("validate", "REFERENCE.root", output, "-o", "report")


@click.command(
    cls=Command,
    short_help="Give generated events weights.",
    example="hepgan reweight zmumu_train.root:Events generated.root:Events -o reweighted.root",
)
@click.argument("reference")
@click.argument("generated")
@output("File to write")
@click.option(
    "--recipe",
    help="Recipe whose observables the classifiers see, too, and that are compared.  [default: none]",
)
@click.option(
    "--classifier",
    type=click.Choice(["mlp", "trees"]),
    default="mlp",
    show_default=True,
    help="What learns.",
)
@click.option("--members", type=click.IntRange(2), default=5, show_default=True, help="Size of the ensemble.")
@click.option(
    "--calibration",
    type=click.Choice(["temperature", "isotonic", "none"]),
    default="temperature",
    show_default=True,
    help="How outputs become probabilities.",
)
@click.option(
    "--events", type=Count(), default=500_000, show_default=True, help="Generated events to learn from."
)
@click.option("--name", default="weight", show_default=True, help="Branch of the weights.")
@click.option("--unweight", is_flag=True, help="Keep events by their weights, and write none.")
@click.option(
    "--quantile",
    type=click.FloatRange(0.5, 1.0),
    default=0.999,
    show_default=True,
    help="The largest weight of --unweight, as a quantile of all.",
)
@click.option(
    "--report",
    type=FILE,
    help="Folder for a comparison before and after; needs --test.  [default: none]",
)
@click.option(
    "--test",
    "testing",
    help="True events (FILE.root:Tree) that the classifiers have not seen.  [default: none]",
)
@weight_option("that of the recipe, or found by its name")
@SEED
@WORKERS
@OVERWRITE
def reweight(
    reference: str,
    generated: str,
    output: Path,
    recipe: str | None,
    classifier: Any,
    members: int,
    calibration: Any,
    events: int,
    name: str,
    unweight: bool,
    quantile: float,
    report: Path | None,
    testing: str | None,
    weight: str | None,
    seed: int,
    force: bool,
) -> None:
    """Give GENERATED events weights by which they follow the distribution of REFERENCE events.

    Each is FILE.root:Tree. An ensemble of classifiers learns to tell them apart, and D/(1-D) is the weight.
    What is written has the branches weight and weight_error besides those of GENERATED; or with --unweight,
    fewer events and no weights.
    """
    from hepgan.events import overlap
    from hepgan.files import Reservation
    from hepgan.recipes import load_recipe
    from hepgan.reweighting import reweight_file
    from hepgan.reweighting.apply import check_output
    from hepgan.validation import claim_report, compare_reweighted

    if (report is None) != (testing is None):
        msg = "--report and --test go together: weights are judged by events that made none of them"
        raise InputError(msg)
    if testing is not None and overlap(testing, reference):
        msg = "is both the reference and the test sample; judge by events that the classifiers have not seen"
        raise InputError(msg, file=reference)
    context = click.get_current_context()
    context.with_resource(Reservation(output, force=force))
    if report is not None:
        context.with_resource(claim_report(report, force=force))
    if testing is not None:
        check_output(output, testing)
    known = None if recipe is None else load_recipe(recipe)
    observables = {} if known is None else known.make_observables()
    by = weight or weight_of(known)
    made = reweight_file(
        reference,
        generated,
        output,
        observables,
        events=events,
        name=name,
        keep=unweight,
        weight=by,
        prepared={} if known is None else known.events.preparation.expressions,
        quantile=quantile,
        seed=seed,
        force=force,
        on_read=lambda made, true: say(f"{made} and {true} to learn from"),
        classifier=classifier,
        members=members,
        calibration=None if calibration == "none" else calibration,
    )
    for line in made.lines():
        say(line)
    say(f"events in {output}")
    if report is not None and testing is not None:
        with progress("comparing", 1) as advance:
            comparison = compare_reweighted(
                testing,
                generated,
                made,
                observables,
                train=reference,
                weight=by,
                prepared={} if known is None else known.events.preparation.expressions,
                seed=seed,
            )
            advance(1)
        comparison.save(report, force=True)
        for line in comparison.overview():
            say(line)
        say(f"report in {report / 'report.html'}")
