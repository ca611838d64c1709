"""The command line: parses, calls the library, says what happened."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from hepgan import __version__
from hepgan.errors import HepganError, InputError

__all__ = ["main"]

err = Console(stderr=True, highlight=False)
out = Console(highlight=False, soft_wrap=True)


class _Duration(click.ParamType[float]):
    """Seconds, written as 90, 90s, 10m or 1.5h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smh]?)", str(value).strip())
        if not match or float(match[1]) <= 0:
            self.fail(f"{value!r} is not a time; write 90s, 10m or 1.5h", param, ctx)
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


class _Count(click.ParamType[int]):
    """A positive whole number, 1e6 and 1_000_000 included."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            number = float(str(value).replace("_", ""))
        except ValueError:
            number = 0.5
        if number != int(number) or number < 1:
            self.fail(f"{value!r} is not a positive whole number", param, ctx)
        return int(number)


FILE = click.Path(path_type=Path)
OVERWRITE = click.option("--force", is_flag=True, help="Replace existing output.")
DEVICE = click.option("--device", help="cpu, cuda, cuda:1, ...  [default: a GPU if there is one]")
SEED = click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The same seed gives the same result.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="hepgan")
def cli() -> None:
    """Learn an event generator from your own ROOT files, and know how far to trust it.

    Energies, momenta and masses are in GeV, angles in radians. Files are named FILE.root:Tree; the tree
    may be left out if there is only one. Globs and Parquet files work too.
    """


@cli.command()
@click.option(
    "-o", "--output", type=FILE, default="quickstart", show_default=True, help="Folder to write into."
)
@click.option(
    "-n", "--events", type=_Count(), default=60_000, show_default=True, help="Training events to simulate."
)
@click.option("--max-time", type=_Duration(), default="3m", show_default=True, help="Longest training time.")
@SEED
@OVERWRITE
def quickstart(output: Path, events: int, max_time: float, seed: int, force: bool) -> None:
    """Simulate Z -> mu mu events, learn them, generate 100,000 more, and judge them.

    Needs the extra `pythia` (pip install "hepgan[pythia]").
    """
    from hepgan.quickstart import run

    run(output, events=events, max_time=max_time, seed=seed, force=force, say=out.print)


@cli.command()
@click.argument("name")
@click.option("-n", "--events", type=_Count(), default=10_000, show_default=True, help="Number of events.")
@SEED
@click.option("-o", "--output", type=FILE, required=True, help="ROOT file to write.")
@OVERWRITE
def dataset(name: str, events: int, seed: int, output: Path, force: bool) -> None:
    """Simulate events of a published system with Pythia 8 into a ROOT file.

    NAME is zmumu, ee_partons, drell_yan, wz, dis or jet_images. Needs the extra `pythia`.
    """
    from hepgan.datasets import make_dataset

    with _progress("simulating", events) as advance:
        make_dataset(name, events, output, seed=seed, force=force, on_progress=advance)
    out.print(f"{events} events of {name} in {output}")


@cli.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the recipes that come with hepgan, or print one as YAML."""
    from hepgan.recipes import recipe_names, recipe_text

    if name is not None:
        click.echo(recipe_text(name), nl=False)
        return
    names = recipe_names()
    width = max(map(len, names))
    for recipe, description in names.items():
        click.echo(f"{recipe:{width}}  {description}")


@cli.command()
@click.argument("file")
@click.option("-o", "--output", type=FILE, required=True, help="YAML file to write.")
@click.option(
    "--select",
    multiple=True,
    metavar="NAME",
    help="Collections, fields (Muon.pt) and scalars to learn; repeat it.  [default: all that can be]",
)
@OVERWRITE
def init(file: str, output: Path, select: tuple[str, ...], force: bool) -> None:
    """Draft a recipe for FILE.root:Tree, with comments that explain each choice.

    It trains as it stands.
    """
    from hepgan._files import replacing
    from hepgan.recipes import draft_recipe

    text = draft_recipe(file, name=output.stem, select=select)
    with replacing(output, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8")
    out.print(f"wrote {output}; next: hepgan train {output} {file} -o {output.stem}.safetensors")


@cli.command()
@click.argument("recipe")
@click.argument("files", nargs=-1, required=True)
@click.option("-o", "--output", type=FILE, required=True, help="Model file to write (.safetensors).")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe, as in training.batch_size=1024; repeat it.",
)
@SEED
@DEVICE
@click.option(
    "--max-time", type=_Duration(), help="Longest time (90s, 10m, 1.5h); the learning rate follows."
)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint of a training that was stopped.")
@click.option("--drop-bad", is_flag=True, help="Drop events with NaN and the like, and say how many.")
@OVERWRITE
def train(
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
    history stands in OUTPUT's folder as a table (.history.csv) and a plot (.history.png).
    """
    from hepgan._files import claim
    from hepgan.events import read_events
    from hepgan.generator import EventGenerator
    from hepgan.recipes import load_recipe
    from hepgan.training import plot_history

    chosen = load_recipe(recipe).with_settings(settings)
    claim(output, force=force)
    events = read_events(
        list(files),
        schema=chosen.events.layout,
        branches=chosen.branches,
        on_bad="drop" if drop_bad else "raise",
    )
    err.print(f"{len(events)} events; training {chosen.name}")
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    generator = EventGenerator(chosen).fit(
        events,
        seed=seed,
        device=device,
        max_time=max_time,
        checkpoint=checkpoint,
        resume=resume,
        progress=err.is_terminal,
    )
    history = generator.history
    if history is not None and history.status == "interrupted":
        err.print(f"interrupted; the same command with --resume goes on from {checkpoint}")
        raise click.exceptions.Exit(130)
    generator.save(output, force=force)
    if history is not None:
        history.losses.to_csv(output.with_suffix(".history.csv"))
        plot_history(history).savefig(output.with_suffix(".history.png"), dpi=120)
    checkpoint.unlink(missing_ok=True)
    out.print(f"model in {output} ({output.stat().st_size / 1e6:.1f} MB)")
    _say_summary(generator.summary)


@cli.command()
@click.argument("model", type=FILE)
@click.option("-n", "--events", type=_Count(), required=True, help="Number of events, 1e6 for instance.")
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
    help="A condition of the model: a number, or FILE.root:Tree whose events give it.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["ttree", "rntuple", "parquet"]),
    default="ttree",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--shard-size", type=_Count(), default=1_000_000, show_default=True, help="Events in a file of a folder."
)
@click.option("--workers", type=_Count(), help="Threads.  [default: one for each core]")
@DEVICE
@OVERWRITE
def generate(
    model: Path,
    events: int,
    output: Path,
    seed: int,
    conditions: tuple[str, ...],
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
    with _progress("generating", events) as advance:
        production = produce(
            generator,
            events,
            output,
            seed=seed,
            condition=_conditions(conditions),
            format="parquet" if output.suffix in (".parquet", ".pq") else file_format,
            shard_size=shard_size,
            workers=workers,
            force=force,
            on_progress=advance,
        )
    rate = production.events / production.seconds
    out.print(f"{events} events in {output} ({rate:,.0f} events/s)")
    if production.fileset is not None:
        out.print(f"fileset for coffea in {production.fileset}")


@cli.command()
@click.argument("reference")
@click.argument("generated")
@click.option("-o", "--output", type=FILE, required=True, help="Folder for the report.")
@click.option("--recipe", help="Take the observables of a recipe (a name or a YAML file).")
@click.option("--train", "training", help="FILE.root:Tree of the training events: floors and memorisation.")
@SEED
@OVERWRITE
def validate(
    reference: str,
    generated: str,
    output: Path,
    recipe: str | None,
    training: str | None,
    seed: int,
    force: bool,
) -> None:
    """Judge GENERATED events against REFERENCE events, which training must not have seen.

    Writes report.html, metrics.json and histograms.root. Every metric stands beside its floor: the same
    metric between two true samples.
    """
    from hepgan.recipes import load_recipe
    from hepgan.validation import claim_report, compare_files

    observables = None if recipe is None else load_recipe(recipe).make_observables()
    claim_report(output, force=force)
    comparison = compare_files(reference, generated, observables, train=training, seed=seed)
    comparison.save(output, force=force)
    for line in comparison.verdicts():
        out.print(line, markup=False)
    out.print(f"report in {output / 'report.html'}")


@cli.command()
@click.argument("model", type=FILE)
def info(model: Path) -> None:
    """Tell what a MODEL file holds: recipe, events, training, versions."""
    from hepgan.generator import EventGenerator

    generator = EventGenerator.load(model, device="cpu")
    out.print(f"{model} ({model.stat().st_size / 1e6:.1f} MB)", markup=False)
    for line in generator.describe():
        out.print(line, markup=False)


def _conditions(given: Sequence[str]) -> dict[str, Any]:
    from hepgan.events import read_events

    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            msg = f"--condition {text!r}: expected NAME=VALUE"
            raise InputError(msg)
        try:
            values[name] = float(value)
        except ValueError:
            events = read_events(value)
            if name not in events.fields:
                msg = "no such scalar"
                raise InputError(msg, file=value, branch=name) from None
            values[name] = events[name].to_numpy()
    return values


def _say_summary(summary: dict[str, Any]) -> None:
    for key in ("seconds", "steps", "best_step", "selection"):
        if summary.get(key) not in (None, {}):
            out.print(f"  {key.replace('_', ' ')}: {summary[key]}", markup=False)


class _progress:
    """A bar with rate and time left on a terminal; nothing elsewhere."""

    def __init__(self, what: str, total: int) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._total = total
        self._bar = Progress(
            TextColumn(what),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f}"),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
            transient=True,
        )

    def __enter__(self) -> Callable[[int], None]:
        self._bar.__enter__()
        task = self._bar.add_task("", total=self._total, rate="")

        def advance(done: int) -> None:
            speed = self._bar.tasks[task].speed
            self._bar.update(task, completed=done, rate=f"{speed:,.0f} events/s" if speed else "")

        return advance

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; a user's error is one line and exit status 2."""
    warnings.showwarning = _warn
    try:
        status = cli.main(args=list(arguments) if arguments is not None else None, standalone_mode=False)
    except HepganError as error:
        _fail(" ".join(str(error).split()), 2)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except MemoryError:
        _fail("out of memory", 2)
    else:
        sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> None:
    err.print(f"hepgan: {message}", markup=False, soft_wrap=True)
    sys.exit(status)


def _warn(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
    if issubclass(category, UserWarning):
        err.print(f"hepgan: warning: {message}", markup=False, soft_wrap=True)
