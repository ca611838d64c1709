"""What commands do besides calling the library: reading options, writing what goes beside a model."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from hepgan.cli.console import Interrupted, say
from hepgan.errors import InputError, OutputError, RecipeError

if TYPE_CHECKING:
    from hepgan.generator import EventGenerator

__all__ = ["read_conditions", "read_member", "say_next", "stopped", "write_model"]


def read_conditions(given: Sequence[str], generator: EventGenerator, events: int) -> dict[str, Any]:
    """What ``--condition NAME=VALUE`` and ``NAME=FILE`` give, by name; see ``EventGenerator.generate``.

    Raises:
        InputError: If there is no such condition, or a file that does not have enough of it.
    """
    from hepgan.events import read_events
    from hepgan.generator.laws import is_law

    names = generator.recipe.conditions
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name or not value:
            msg = f"--condition {text!r}: expected NAME=VALUE"
            raise InputError(msg)
        if name not in names:
            msg = f"--condition {text!r}: the model has {', '.join(names) or 'none'}"
            raise InputError(msg)
        if name in generator.representation.given:
            values[name] = read_events(value, branches=[name])[name][:events]
            continue
        if is_law(value, generator.representation.schema.scalar(name)):
            values[name] = value
            continue
        column = read_events(value, branches=[name])[name].to_numpy()
        if len(column) < events:
            msg = f"{len(column):,} events cannot give the condition of {events:,}"
            raise InputError(msg, file=value, branch=name)
        values[name] = column[:events]
    return values


def read_member(given: str | None, generator: EventGenerator) -> int | Literal["all"] | None:
    """What ``--member K`` or ``--member all`` asks for.

    Raises:
        InputError: If the generator has no such member.
    """
    if given is None or given == "all":
        return "all"
    try:
        number = int(given)
        generator.member(number)
    except ValueError as error:
        there = f"{given!r} is neither a number nor `all`" if not given.isdigit() else str(error)
        msg = f"--member: {there}"
        raise InputError(msg) from None
    return number


def stopped(given: Sequence[str], checkpoint: Path) -> NoReturn:
    """Tells how to go on with a training, and ends."""
    if not checkpoint.exists():
        raise Interrupted
    again = shlex.join(["hepgan", *given, *([] if "--resume" in given else ["--resume"])])
    msg = f"{checkpoint} holds what was learned; to go on: {again}"
    raise Interrupted(msg)


def _write_history(generator: EventGenerator, output: Path) -> None:
    """Writes the training's history beside the model: tables and a picture."""
    from hepgan.files import replacing
    from hepgan.training import plot_history

    history = generator.history
    if history is None:
        return
    with replacing(_beside(output, ".history.csv"), force=True) as temporary:
        history.losses.to_csv(temporary)
    if len(history.diagnostics):
        with replacing(_beside(output, ".diagnostics.csv"), force=True) as temporary:
            history.diagnostics.to_csv(temporary)
    with replacing(_beside(output, ".history.png"), force=True) as temporary:
        plot_history(history).savefig(temporary, dpi=120)


def _beside(output: Path, ending: str) -> Path:
    """The file of another ending beside a model."""
    return output.with_name(output.name.removesuffix(".safetensors") + ending)


def say_next(*words: object) -> None:
    """Tells the command that comes next."""
    say("next: " + shlex.join(["hepgan", *map(str, words)]))


def write_model(
    given: Sequence[str],
    output: Path,
    make: Callable[[Path], EventGenerator],
    *,
    source: str | Path,
    resume: bool,
    force: bool,
) -> EventGenerator:
    """Makes a generator and writes its model file, with its history beside it.

    Args:
        given: The command's arguments.
        output: The model file.
        make: What makes the generator; it gets the file of its checkpoint.
        source: The recipe or the other generator that it is made of, which errors name.
        resume: Whether to go on from a checkpoint.
        force: Whether existing files may be replaced.

    Raises:
        OutputError: If a file exists, or is not called as a model file is.
        RecipeError: If the source, or a setting, cannot be used.
    """
    from hepgan.files import claim

    if output.suffix != ".safetensors":
        msg = "a model file is called *.safetensors"
        raise OutputError(msg, file=output)
    claim(output, force=force, make=False)
    checkpoint = _beside(output, ".checkpoint.safetensors")
    if checkpoint.exists() and not (resume or force):
        msg = "a training was stopped here; --resume goes on with it, --force begins anew"
        raise OutputError(msg, file=checkpoint)
    try:
        generator = make(checkpoint)
    except RecipeError as error:
        raise error if error.file else RecipeError(error.message, file=source) from error
    except KeyboardInterrupt:
        stopped(given, checkpoint)
    if generator.history is not None and generator.history.status == "interrupted":
        stopped(given, checkpoint)
    generator.save(output, force=force)
    _write_history(generator, output)
    checkpoint.unlink(missing_ok=True)
    return generator
