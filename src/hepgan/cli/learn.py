"""Commands that make a model: of events, or of other models."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hepgan.cli.console import Command, Count, Interrupted, say, say_next, warn
from hepgan.cli.options import (
    DEVICE,
    FILE,
    LOG_EVERY,
    MAX_TIME,
    MODEL_OUTPUT,
    OVERWRITE,
    RESUME,
    SEED,
    SETTINGS,
    TRACK,
    WORKERS,
)
from hepgan.errors import InputError, ModelFileError, OutputError, RecipeError

if TYPE_CHECKING:
    from hepgan.generator import EventGenerator
    from hepgan.recipes import Recipe
    from hepgan.training.tracking import Watch

__all__ = ["distill", "refine", "train", "unfold"]


_HISTORY = (".history.csv", ".diagnostics.csv", ".history.png")
"""How the names of the files end that tell of a training, in the place of the model's."""

TOO_FEW_STEPS = 3
"""The exit status after a training that ran out of time before it meant anything."""


# ------------------------------------------------------------------ what they share


@dataclass(frozen=True)
class Job:
    """What all of them are asked for, and how their model comes into its file.

    Attributes:
        given: The command's arguments.
        output: The model file.
        settings: Changes of the recipe.
        seed: Seed of everything.
        device: Where to train.
        force: Whether existing files may be replaced.
        max_time: Longest training in seconds, if not the recipe's.
        resume: Whether to go on from a checkpoint.
        track: Trackers of the training.
        log_every: Steps between two logs, if not the usual number; there are then lines, too.
    """

    given: Sequence[str]
    output: Path
    settings: tuple[str, ...]
    seed: int
    device: str | None
    force: bool
    max_time: float | None = None
    resume: bool = False
    track: tuple[str, ...] = ()
    log_every: int | None = None

    @property
    def checkpoint(self) -> Path:
        """The file by which a training that was stopped goes on."""
        return self._beside(".checkpoint.safetensors")

    @property
    def training(self) -> dict[str, Any]:
        """Arguments of the library's functions that train and can be stopped."""
        return {
            "seed": self.seed,
            "max_time": self.max_time,
            "checkpoint": self.checkpoint,
            "resume": self.resume,
            "progress": True,
        }

    def write(
        self, make: Callable[[], EventGenerator], source: str | Path, *read: str | Path
    ) -> EventGenerator:
        """Makes a generator and writes its model file, with its history beside it.

        All of these files are this command's from the start; what can be tried then is.

        Args:
            make: What makes the generator.
            source: The recipe or the other generator that it is made of, which errors name.
            read: Other files that are read for it.

        Raises:
            OutputError: If a file exists, is read too, is written by another command, or is not called as a
                model file is.
            RecipeError: If the source, or a setting, cannot be used.
        """
        from hepgan.files import Reservation, claim
        from hepgan.networks.parallel import together
        from hepgan.runtime import choose_device
        from hepgan.training.checkpoint import has_ended

        if self.output.suffix != ".safetensors":
            msg = "a model file is called *.safetensors"
            raise OutputError(msg, file=self.output)
        if self.output.exists() and any(_same(self.output, file) for file in (source, *read)):
            msg = "is read and cannot be written, too: choose another --output"
            raise OutputError(msg, file=self.output)
        # Killed between writing the model and removing the checkpoint, it has only the rest to do.
        there = self.resume and not self.force and self.output.is_file() and has_ended(self.checkpoint)
        with ExitStack() as held:
            if not held.enter_context(together(choose_device(self.device))).leads:
                return self._made(make, source)
            held.enter_context(Reservation(self.output, force=self.force or there))
            held.enter_context(Reservation(self.checkpoint, force=True))
            if self.checkpoint.exists() and not (self.resume or self.force):
                msg = "a training was stopped here; --resume goes on with it, --force begins anew"
                raise OutputError(msg, file=self.checkpoint)
            for ending in _HISTORY:
                claim(self._beside(ending), force=self.force or self.resume, make=False)
            watch = held.enter_context(self._watched())
            generator = self._made(make, source)
            if not (there and self._holds(generator)):
                self._save(generator)
            self._write_history(generator, watch)
            self.checkpoint.unlink(missing_ok=True)
        return generator

    def _watched(self) -> AbstractContextManager[Watch]:
        """The trackers that the user asks for.

        Raises:
            InputError: If there is no such tracker, or its package is not installed.
        """
        from hepgan.training.trackers import Lines, tracker_of
        from hepgan.training.tracking import EVERY, watched

        run = self.output.name.removesuffix(".safetensors")
        trackers = [tracker_of(text, run) for text in self.track]
        lines = [] if self.log_every is None else [Lines()]
        return watched(*trackers, *lines, every=self.log_every or EVERY)

    def _made(self, make: Callable[[], EventGenerator], source: str | Path) -> EventGenerator:
        try:
            generator = make()
        except RecipeError as error:
            raise error if error.file else RecipeError(error.message, file=source) from error
        except KeyboardInterrupt:
            self._stopped()
        if generator.history is not None and generator.history.status == "interrupted":
            self._stopped()
        return generator

    def _holds(self, generator: EventGenerator) -> bool:
        """Whether the model file is there and holds this very generator."""
        from hepgan.generator import EventGenerator

        try:
            found = EventGenerator.load(self.output, device=str(generator.parts.device))
        except ModelFileError:
            return False
        return found.digest() == generator.digest()

    def _save(self, generator: EventGenerator) -> None:
        """Writes the model file, or where its name has been taken meanwhile, one of another name.

        Raises:
            OutputError: If it does not have the name that it should have.
        """
        try:
            generator.save(self.output, force=self.force)
        except OutputError as error:
            names = (self._beside(f"-{k}.safetensors") for k in itertools.count(2))
            other = next(name for name in names if not name.exists())
            try:
                generator.save(other)
            except OutputError:
                kept = self.checkpoint.exists()
                how = f"; {self.checkpoint} holds what was learned, for --resume" if kept else ""
                raise OutputError(error.message + how, file=self.output) from error
            self.checkpoint.unlink(missing_ok=True)
            msg = f"{error.message}; the model is in {other}"
            raise OutputError(msg, file=self.output) from error

    def tell(self, generator: EventGenerator, generated: str, *, events: int = 0) -> None:
        """Tells where the model is, and the command that comes next; and whether its training was too short.

        Args:
            generator: What has been written.
            generated: The file of events that the next command would write.
            events: The number of events that it has learned from, each of which it has to have seen.

        Raises:
            Exit: If the training had too few steps to mean anything, with a status of its own.
        """
        from hepgan.training import too_few_steps

        say(f"model in {self.output} ({self.output.stat().st_size / 1e6:.1f} MB)")
        say_next("generate", self.output, "-n", 100_000, "-o", generated)
        if generator.history is None:
            return
        warmup = generator.recipe.training.schedule.warmup
        lacking = too_few_steps(generator.history, warmup, events)
        if lacking is not None:
            warn(
                f"the training had time for {lacking}: too few to mean anything; the model is written, but "
                "its events are hardly like those that it was to learn: give it more time (--max-time)"
            )
            click.get_current_context().exit(TOO_FEW_STEPS)

    def _beside(self, ending: str) -> Path:
        """The file of another ending beside the model."""
        return self.output.with_name(self.output.name.removesuffix(".safetensors") + ending)

    def _write_history(self, generator: EventGenerator, watch: Watch) -> None:
        """Writes the training's history beside the model: tables and a picture.

        The model is whole: what fails here is a warning.
        """
        from hepgan.files import replacing
        from hepgan.plotting.training import plot_history

        history = generator.history
        if history is None:
            return

        def picture(path: Path) -> None:
            figure = plot_history(history)
            figure.savefig(path, dpi=120)
            watch.figure("history", figure)

        writers: list[Callable[[Path], None]] = [
            history.losses.to_csv,
            history.diagnostics.to_csv,
            picture,
        ]
        for ending, write in zip(_HISTORY, writers, strict=True):
            if ending == ".diagnostics.csv" and not len(history.diagnostics):
                continue
            path = self._beside(ending)
            try:
                with replacing(path, force=self.force or self.resume) as temporary:
                    write(temporary)
            except (OSError, ValueError, RuntimeError) as error:
                warnings.warn(f"the model is whole, but {path} is not written: {error}", stacklevel=2)

    def _stopped(self) -> NoReturn:
        """Tells how to go on with a training, and ends."""
        if not self.checkpoint.exists():
            raise Interrupted
        again = shlex.join(["hepgan", *self.given, *([] if "--resume" in self.given else ["--resume"])])
        msg = f"{self.checkpoint} holds what was learned; to go on: {again}"
        raise Interrupted(msg)


def _same(output: Path, file: str | Path) -> bool:
    return Path(file).exists() and output.samefile(file)


def makes_a_model(*, resumable: bool = True) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options that these commands share; the command gets them, and ``--output``, as a `Job`.

    Args:
        resumable: Whether it may be limited in time, and stopped and resumed.
    """
    shared = (
        *(SETTINGS, SEED, DEVICE),
        *((MAX_TIME, RESUME) if resumable else ()),
        *(TRACK, LOG_EVERY, WORKERS, OVERWRITE),
    )
    names = {"output", "settings", "seed", "device", "force", "max_time", "resume", "track", "log_every"}

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(given: Sequence[str], **options: Any) -> None:
            job = Job(given, **{name: options.pop(name) for name in names & options.keys()})
            function(job, **options)

        found: Callable[..., None] = click.pass_obj(command)
        for option in reversed(shared):
            found = option(found)
        return found

    return decorate


# ------------------------------------------------------------------ the commands


@click.command(
    cls=Command,
    short_help="Learn events by a recipe.",
    example="hepgan train zmumu train.root:Events -o zmumu.safetensors --max-time 10m",
)
@click.argument("recipe")
@click.argument("files", nargs=-1, required=True)
@MODEL_OUTPUT
@click.option("--drop-bad", is_flag=True, help="Drop events with NaN and the like, and say how many.")
@makes_a_model()
def train(job: Job, recipe: str, files: tuple[str, ...], drop_bad: bool) -> None:
    """Learn the events of FILES (FILE.root:Tree ...) by a RECIPE (a name or a YAML file).

    Ctrl-C ends cleanly; --resume goes on from there, as from the last checkpoint after a crash. The
    history stands beside the model as a table (.history.csv) and a plot (.history.png), the terms of a GAN
    with their floors as another table (.diagnostics.csv).
    """
    from hepgan.events import read_runs
    from hepgan.events.divided import DividedEvents
    from hepgan.events.reading import OnBad, located
    from hepgan.generator import EventGenerator
    from hepgan.generator.describe import outcome
    from hepgan.observables.preparation import Preparation
    from hepgan.recipes import load_recipe
    from hepgan.runtime import choose_device

    chosen = load_recipe(recipe).with_settings(job.settings)

    def make() -> EventGenerator:
        where = choose_device(job.device)
        generator = EventGenerator(chosen)
        on_bad: OnBad = "drop" if drop_bad else "raise"
        how: dict[str, Any] = {"seed": job.seed, "on_bad": on_bad, "beside": job.output, "progress": True}
        try:
            with generator.reading(list(files), **how) as events:
                for line in Preparation.noted(events.attrs):
                    say(f"prepared {line}")
                begun = job.resume and job.checkpoint.exists()
                total = events.events if isinstance(events, DividedEvents) else len(events)
                parted = f", in {len(events)} portions" if isinstance(events, DividedEvents) else ""
                doing = "going on with" if begun else "training"
                say(f"{total:,} events{parted}; {doing} {chosen.name} on {where}")
                runs = read_runs(list(files))
                return generator.fit(events, device=where, runs=runs, **job.training)
        except (InputError, RecipeError) as error:
            if isinstance(error, RecipeError) and (lacking := _lacking(chosen, files)) is not None:
                branch, reason = lacking
                msg = f"{reason}, and the recipe {chosen.name} needs it"
                raise InputError(msg, file=", ".join(files), branch=branch) from error
            if error.file is not None or (isinstance(error, RecipeError) and error.entry is None):
                raise
            bad, entry = ", ".join(files), error.entry
            if entry is not None and not drop_bad:
                bad, entry = located(list(files), entry)
            raise type(error)(error.message, file=bad, branch=error.branch, entry=entry) from error

    generator = job.write(make, recipe)
    for line in outcome(generator.summary):
        say(line)
    job.tell(generator, "generated.root", events=generator.summary["training_events"])


def _lacking(recipe: Recipe, files: Sequence[str]) -> tuple[str, str] | None:
    """A branch that a recipe names and some of the files lack, and which of them."""
    from hepgan.events.reading import files_of

    text = recipe.to_yaml()
    for branch, reason in files_of(list(files)).left_out.items():
        for name in (branch, branch.replace("_", ".", 1)):
            if re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text):
                return branch, reason
    return None


@click.command(
    cls=Command,
    short_help="Make a fast generator of a slow one.",
    example="hepgan distill zmumu.safetensors -o fast.safetensors",
)
@click.argument("model", type=FILE)
@MODEL_OUTPUT
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
@makes_a_model()
def distill(job: Job, model: Path, steps: int, pairs: int) -> None:
    """Make a generator that makes in one step what MODEL makes in many.

    MODEL, the teacher, is flow matching, for instance; no file of events is needed. The student is a model
    file like any other. Ctrl-C ends cleanly; --resume goes on from there.
    """
    from hepgan.generator import EventGenerator
    from hepgan.generator.describe import distillation
    from hepgan.generator.distillation import distill as distilled

    def make() -> EventGenerator:
        teacher = EventGenerator.load(model, device=job.device)
        return distilled(teacher, steps=steps, pairs=pairs, settings=job.settings, **job.training)

    generator = job.write(make, model)
    say("distilled " + distillation(generator.summary["distillation"]))
    job.tell(generator, "generated.root")


@click.command(
    cls=Command,
    short_help="Make a generator better by a classifier.",
    example="hepgan refine zmumu.safetensors zmumu_train.root:Events -o refined.safetensors",
)
@click.argument("model", type=FILE)
@click.argument("reference", type=FILE)
@MODEL_OUTPUT
@click.option(
    "--events",
    type=Count(),
    default=200_000,
    show_default=True,
    help="Events that MODEL makes: for the classifier, and as many again to learn better noise from.",
)
@makes_a_model()
def refine(job: Job, model: Path, reference: Path, events: int) -> None:
    """Make a generator whose events a classifier tells less well from REFERENCE than those of MODEL.

    REFERENCE are true events (FILE.root:Tree), those of the training for instance. Unlike `hepgan
    reweight`, the result needs no weights: noise is drawn so that what was too rare is made more often
    (latent-space refinement, LaSeR). --set changes model.prior and training, which is that of the prior.
    """
    from hepgan.generator import EventGenerator
    from hepgan.generator.describe import refinement
    from hepgan.generator.refinement import refine as refined
    from hepgan.reweighting import Reweighter

    def make() -> EventGenerator:
        generator = EventGenerator.load(model, device=job.device)
        true = generator.recipe.events.preparation.read(str(reference), schema=generator.schema)
        reweighter = Reweighter(generator.recipe.make_observables(), seed=job.seed)
        reweighter.fit(true, generator.generate(events, seed=job.seed))
        return refined(
            generator,
            lambda made: reweighter(made).weight,
            events=events,
            settings=job.settings,
            **job.training,
        )

    generator = job.write(make, model)
    say("refined " + refinement(generator.summary["refinement"]))
    job.tell(generator, "generated.root")


@click.command(
    cls=Command,
    short_help="Make a generator whose folded events agree with data.",
    example="hepgan unfold prior.safetensors folding.safetensors data.root:Events -o unfolded.safetensors",
)
@click.argument("prior", type=FILE)
@click.argument("folding", type=FILE)
@click.argument("data", type=FILE)
@MODEL_OUTPUT
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
@makes_a_model(resumable=False)
def unfold(
    job: Job,
    prior: Path,
    folding: Path,
    data: Path,
    recipe: str | None,
    iterations: int,
    events: int,
    classifier: Any,
) -> None:
    """Make a generator of events at the vertex that agree with DATA once FOLDING folds them.

    PRIOR is a generator of events at the vertex, of a simulation for instance, FOLDING a model that `hepgan
    train` has learned by a recipe for folding, DATA a file of events at the detector (FILE.root:Tree). What
    the detector does not tell stays as it is in PRIOR. --set changes training, which is that of each
    iteration.
    """
    from hepgan.detector import Folding, Level
    from hepgan.detector import unfold as unfolded
    from hepgan.events import select
    from hepgan.events.common import names_in
    from hepgan.events.reading import files_of, read_part
    from hepgan.generator import EventGenerator
    from hepgan.generator.describe import unfolding
    from hepgan.observables import needs
    from hepgan.recipes import load_recipe

    def make() -> EventGenerator:
        before = EventGenerator.load(prior, device=job.device)
        detector = Folding.load(folding, device=job.device)
        names = (*detector.detector, *(n for n in detector.conditions if n not in detector.vertex))
        observables = {} if recipe is None else load_recipe(recipe).make_observables()
        files = files_of(str(data))
        folded = select(detector.generator.schema, names)
        expressions = [text for o in observables.values() for text in (o.expression, o.weight)]
        seen = {*names_in(folded), *before.recipe.conditions, *needs(expressions, files.schema)}
        layout = select(files.schema, [n for n in names_in(files.schema) if n in seen])
        files.tell(names_in(layout))
        return unfolded(
            before,
            detector,
            read_part(files, layout),
            Level(names, observables),
            iterations=iterations,
            events=events,
            classifier=classifier,
            settings=job.settings,
            seed=job.seed,
            progress=True,
        )

    generator = job.write(make, prior, folding)
    say("unfolded " + unfolding(generator.summary["unfolding"]))
    job.tell(generator, "vertex.root")
