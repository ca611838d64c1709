"""What commands do besides calling the library: reading options, writing what goes beside a model."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hepgan._console import Interrupted, say
from hepgan.errors import InputError

if TYPE_CHECKING:
    from hepgan.generator import EventGenerator

__all__ = ["beside", "read_conditions", "say_next", "stopped", "write_history"]


def read_conditions(given: Sequence[str], generator: EventGenerator, events: int) -> dict[str, Any]:
    """What ``--condition NAME=VALUE`` and ``NAME=FILE`` give, by name.

    Raises:
        InputError: If there is no such condition, or a file that does not have enough of it.
    """
    from hepgan.events import read_events

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
        if value in (generator.representation.schema.scalar(name).values or ()):
            values[name] = value
            continue
        try:
            values[name] = float(value)
        except ValueError:
            column = read_events(value, branches=[name])[name].to_numpy()
            if len(column) < events:
                msg = f"{len(column):,} events cannot give the condition of {events:,}"
                raise InputError(msg, file=value, branch=name) from None
            values[name] = column[:events]
    return values


def stopped(given: Sequence[str], checkpoint: Path) -> None:
    """Tells how to go on with a training, and ends."""
    if not checkpoint.exists():
        raise Interrupted
    again = shlex.join(["hepgan", *given, *([] if "--resume" in given else ["--resume"])])
    msg = f"{checkpoint} holds what was learned; to go on: {again}"
    raise Interrupted(msg)


def write_history(generator: EventGenerator, output: Path) -> None:
    """Writes the training's history beside the model: tables and a picture."""
    from hepgan._files import replacing
    from hepgan.training import plot_history

    history = generator.history
    if history is None:
        return
    with replacing(beside(output, ".history.csv"), force=True) as temporary:
        history.losses.to_csv(temporary)
    if len(history.diagnostics):
        with replacing(beside(output, ".diagnostics.csv"), force=True) as temporary:
            history.diagnostics.to_csv(temporary)
    with replacing(beside(output, ".history.png"), force=True) as temporary:
        plot_history(history).savefig(temporary, dpi=120)


def beside(output: Path, ending: str) -> Path:
    """The file of another ending beside a model."""
    return output.with_name(output.name.removesuffix(".safetensors") + ending)


def say_next(*words: object) -> None:
    """Tells the command that comes next."""
    say("next: " + shlex.join(["hepgan", *map(str, words)]))
