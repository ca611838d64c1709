"""The command line: parses, calls the library, says what happened and what comes next."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import click

from hepgan import __version__
from hepgan.cli.commands import read_conditions, read_member, say_next, write_model
from hepgan.cli.console import Count, Duration, Group, progress, run, say
from hepgan.cli.distill import distill
from hepgan.cli.explain import explain
from hepgan.cli.fold import fold
from hepgan.cli.options import DEVICE, FILE, MAX_TIME, OVERWRITE, RESUME, SEED, SETTINGS
from hepgan.cli.refine import refine
from hepgan.cli.reweight import reweight
from hepgan.cli.unfold import unfold
from hepgan.errors import InputError, OutputError

__all__ = ["main"]

PYTHIA_SEED = click.option(
    "--seed",
    type=click.IntRange(1, 899_999_999),
    default=1,
    show_default=True,
    help="The same seed gives the same events.",
)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hepgan")
def cli() -> None:
    """Learn an event generator from your own ROOT files, and know how far to trust it.

    Energies, momenta and masses are in GeV, angles in radians. Files are named FILE.root:Tree; the tree
    may be left out if there is only one, or one called Events. Globs (in quotes) and Parquet files work
    too. Each command has its own --help.
    """


@cli.command(short_help="See the whole way at once, on simulated events.", example="hepgan quickstart")
@click.option(
    "-o", "--output", type=FILE, default="quickstart", show_default=True, help="Folder to write into."
)
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
@OVERWRITE
def quickstart(output: Path, events: int, max_time: float, seed: int, force: bool) -> None:
    """Simulate Z -> mu mu events, learn them, generate 100,000 more, and judge them.

    Needs the extra `pythia` (pip install "hepgan[pythia]").
    """
    from hepgan.cli.quickstart import run as run_quickstart

    run_quickstart(output, events=events, max_time=max_time, seed=seed, force=force, say=say)


@cli.command(
    short_help="Simulate events of a published system.",
    example="hepgan dataset zmumu -n 60000 --seed 1 -o train.root",
)
@click.argument("name")
@click.option("-n", "--events", type=Count(), default=10_000, show_default=True, help="Number of events.")
@PYTHIA_SEED
@click.option("-o", "--output", type=FILE, required=True, help="ROOT file to write.")
@OVERWRITE
def dataset(name: str, events: int, seed: int, output: Path, force: bool) -> None:
    """Simulate events of a published system with Pythia 8 into a ROOT file.

    NAME is zmumu, ee_partons, drell_yan, wz, dis or jet_images. Needs the extra `pythia`
    (pip install "hepgan[pythia]"). Take other seeds for training and for judging.
    """
    from hepgan.datasets import make_dataset

    with progress("simulating", events) as advance:
        make_dataset(name, events, output, seed=seed, force=force, on_progress=advance)
    say(f"{events:,} events of {name} in {output}")
    # The electron's beam goes along -z here, as the recipe dis-energies has it, not dis.
    recipe = "dis-energies" if name == "dis" else name.replace("_", "-")
    if resources.files("hepgan").joinpath("recipes", f"{recipe}.yaml").is_file():
        say_next("train", recipe, output, "-o", output.with_suffix(".safetensors"))
    else:
        say_next("init", output, "-o", output.with_suffix(".yaml"))


@cli.command(short_help="List the recipes, or print one.", example="hepgan recipes zmumu > my.yaml")
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes that come with hepgan, or print the one called NAME as YAML, to start from."""
    from hepgan.recipes import recipe_names, recipe_text

    if name is not None:
        click.echo(recipe_text(name), nl=False)
        return
    names = recipe_names()
    width = max(map(len, names))
    for recipe, description in names.items():
        say(f"{recipe:{width}}  {description}")


@cli.command(
    short_help="Draft a recipe for your own file.",
    example="hepgan init events.root:Events --select Muon --select MET.pt -o my.yaml",
)
@click.argument("file")
@click.option("-o", "--output", type=FILE, required=True, help="YAML file to write.")
@click.option(
    "--select",
    multiple=True,
    metavar="NAME",
    help="Collections (Muon), fields (Muon.pt) and scalars to learn; repeat it.  [default: all that can be]",
)
@OVERWRITE
def init(file: str, output: Path, select: tuple[str, ...], force: bool) -> None:
    """Draft a recipe for FILE.root:Tree, with comments that explain each choice.

    It trains as it stands. Kinds of numbers, hard edges, resonances and symmetries are found in the data.
    """
    from hepgan.files import claim, replacing
    from hepgan.recipes import draft_recipe

    if output.suffix not in (".yaml", ".yml"):
        msg = "a recipe is called *.yaml"
        raise OutputError(msg, file=output)
    claim(output, force=force, make=False)
    text = draft_recipe(file, name=output.stem, select=select)
    with replacing(output, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8")
    say(f"recipe in {output}; read its comments")
    say_next("train", output, file, "-o", output.with_suffix(".safetensors"))


@cli.command(
    short_help="Learn events by a recipe.",
    example="hepgan train zmumu train.root:Events -o zmumu.safetensors --max-time 10m",
)
@click.argument("recipe")
@click.argument("files", nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Model file to write (.safetensors).")
@SETTINGS
@SEED
@DEVICE
@MAX_TIME
@RESUME
@click.option("--drop-bad", is_flag=True, help="Drop events with NaN and the like, and say how many.")
@OVERWRITE
@click.pass_obj
def train(
    given: Sequence[str],
    recipe: str,
    files: tuple[str, ...],
    output: Path,
    settings: tuple[str, ...],
    seed: int,
    device: str | None,
    max_time: float | None,
    resume: bool,
    drop_bad: bool,
    force: bool,
) -> None:
    """Learn the events of FILES (FILE.root:Tree ...) by a RECIPE (a name or a YAML file).

    Ctrl-C ends cleanly; --resume goes on from there, as from the last checkpoint after a crash. The
    history stands beside the model as a table (.history.csv) and a plot (.history.png), the terms of a GAN
    with their floors as another table (.diagnostics.csv).
    """
    from hepgan.events import read_events
    from hepgan.generator import EventGenerator, choose_device
    from hepgan.generator.describe import outcome
    from hepgan.recipes import load_recipe

    chosen = load_recipe(recipe).with_settings(settings)

    def make(checkpoint: Path) -> EventGenerator:
        where = choose_device(device)
        events = read_events(
            list(files),
            schema=chosen.events.layout,
            branches=chosen.branches,
            on_bad="drop" if drop_bad else "raise",
        )
        begun = resume and checkpoint.exists()
        say(f"{len(events):,} events; {'going on with' if begun else 'training'} {chosen.name} on {where}")
        try:
            return EventGenerator(chosen).fit(
                events,
                seed=seed,
                device=where,
                max_time=max_time,
                checkpoint=checkpoint,
                resume=resume,
                progress=sys.stderr.isatty(),
            )
        except InputError as error:
            if error.file is not None:
                raise
            bad = ", ".join(files)
            raise InputError(error.message, file=bad, branch=error.branch, entry=error.entry) from error

    generator = write_model(given, output, make, source=recipe, resume=resume, force=force)
    for line in outcome(generator.summary):
        say(line)
    say(f"model in {output} ({output.stat().st_size / 1e6:.1f} MB)")
    say_next("generate", output, "-n", 100_000, "-o", "generated.root")


for command in (distill, refine, unfold):
    cli.add_command(command)


@cli.command(
    short_help="Generate events with a model.",
    example="hepgan generate zmumu.safetensors -n 1e6 --seed 1 -o generated.root",
)
@click.argument("model", type=FILE)
@click.option("-n", "--events", type=Count(), required=True, help="Number of events, 1e6 for instance.")
@click.option(
    "-o",
    "--output",
    type=FILE,
    required=True,
    help="File (.root, .parquet), or a folder that is filled with shards.",
)
@SEED
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="NAME=VALUE",
    help="A condition of the model: a number, values that take turns (10,20,30), uniform:LOW:HIGH, or "
    "FILE.root:Tree whose events give it; repeat it.  [default: drawn as in training]",
)
@click.option(
    "--member",
    metavar="K|all",
    help="Of an ensemble the events of member K alone, from 0, or of all in turn, with a branch `member`.  "
    "[default: all]",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ttree", "rntuple", "parquet"]),
    help="What to write.  [default: parquet for .parquet, else ttree]",
)
@click.option(
    "--shard-size", type=Count(), default=1_000_000, show_default=True, help="Events in a file of a folder."
)
@click.option("--workers", type=Count(), help="Threads.  [default: one for each core]")
@DEVICE
@OVERWRITE
def generate(
    model: Path,
    events: int,
    output: Path,
    seed: int,
    conditions: tuple[str, ...],
    member: str | None,
    file_format: Any,
    shard_size: int,
    workers: int | None,
    device: str | None,
    force: bool,
) -> None:
    """Generate events with a MODEL, in the layout of the files that it learned.

    The events depend on the model and the seed alone, not on shards or workers. A fileset for coffea's
    Runner is written beside them.
    """
    from hepgan.generator import EventGenerator
    from hepgan.production import produce

    generator = EventGenerator.load(model, device=device)
    named: Any = "parquet" if output.suffix.lower() in (".parquet", ".pq") else "ttree"
    given = read_conditions(conditions, generator, events)
    chosen = read_member(member, generator)
    with progress("generating", events) as advance:
        production = produce(
            generator,
            events,
            output,
            seed=seed,
            condition=given,
            member=chosen,
            format=file_format or named,
            shard_size=shard_size,
            workers=workers,
            force=force,
            on_progress=advance,
        )
    rate = production.events / production.seconds
    held = "" if production.files == (output,) else f"{len(production.files)} files of "
    say(f"{events:,} events in {held}{output} ({rate:,.0f} events/s)")
    if production.fileset is not None:
        say(f"fileset for coffea in {production.fileset}")
    made = output if production.files == (output,) else output / f"*{production.files[0].suffix}"
    say_next("validate", "REFERENCE.root", made, "-o", "report")


for command in (fold, reweight):
    cli.add_command(command)


@cli.command(
    short_help="Judge generated events against true ones.",
    example="hepgan validate test.root:Events generated.root --recipe zmumu --train train.root -o report",
)
@click.argument("reference")
@click.argument("generated", nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Folder for the report.")
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
@click.option("--deviation", is_flag=True, help="Show |ratio - 1| in per cent below each ratio, too.")
@click.option(
    "--keep-bad", is_flag=True, help="Judge GENERATED events with NaN, E < |p| and the like, too; count them."
)
@SEED
@OVERWRITE
def validate(
    reference: str,
    generated: tuple[str, ...],
    output: Path,
    labels: tuple[str, ...],
    recipe: str | None,
    training: str | None,
    features: Path | None,
    deviation: bool,
    keep_bad: bool,
    seed: int,
    force: bool,
) -> None:
    """Judge GENERATED events against REFERENCE events, which training must not have seen.

    Each is FILE.root:Tree or a glob in quotes. Several GENERATED samples share one report, with a curve and
    a column each. Writes report.html, metrics.json and histograms.root. Every metric stands beside its
    floor: the same metric between two true samples.
    """
    from hepgan.generator import EventGenerator
    from hepgan.recipes import load_recipe
    from hepgan.validation import claim_report, compare_files, sample_labels

    observables = None if recipe is None else load_recipe(recipe).make_observables()
    samples = dict(zip(sample_labels(generated, labels), generated, strict=True))
    model = None if features is None else EventGenerator.load(features, device="cpu")
    claim_report(output, force=force)
    if training == reference:
        msg = "is both the reference and the training sample; judge by events that training has not seen"
        raise InputError(msg, file=reference)
    comparison = compare_files(
        reference,
        samples,
        observables,
        train=training,
        features=model,
        on_bad="keep" if keep_bad else "raise",
        seed=seed,
    )
    comparison.save(output, force=force, deviation=deviation)
    for line in comparison.verdicts() if len(samples) == 1 else comparison.overview():
        say(line)
    say(f"report in {output / 'report.html'}")


cli.add_command(explain)


@cli.command(short_help="Tell what a model file holds.", example="hepgan info zmumu.safetensors")
@click.argument("model", type=FILE)
def info(model: Path) -> None:
    """Tell what a MODEL file holds: recipe, events, training, versions."""
    from hepgan.generator import EventGenerator

    generator = EventGenerator.load(model, device="cpu")
    say(f"{model} ({model.stat().st_size / 1e6:.1f} MB)")
    for line in generator.describe():
        say(line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's error is one line and exit status 2.

    Args:
        arguments: What stands after ``hepgan``; ``sys.argv`` if None.

    Raises:
        SystemExit: Always, with the exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(cli, given))
