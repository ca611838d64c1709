"""What the commands share: types of options, help with examples, progress, and how errors end."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
import textwrap
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from shutil import get_terminal_size
from signal import SIGINT
from typing import Any, TextIO

import click

from hepgan.errors import HepganError, printable
from hepgan.runtime import place_among_processes, terminable

__all__ = [
    "Command",
    "Count",
    "Duration",
    "FilePath",
    "Group",
    "Interrupted",
    "Output",
    "run",
    "say",
    "say_each",
    "say_next",
    "warn",
]

UNITS = (
    "those of the file (GeV, MeV or TeV) for energies, momenta and masses; radians for angles; events are "
    "numbered from 0."
)
TRACEBACK = "HEPGAN_TRACEBACK"
"""The environment variable that asks for the traceback of an unexpected error."""

MAX_COUNT = 10**12

STDERR = 2

WIDEST, MOST, PIPED = 14, 120, 100
"""Characters of the first of two columns, and of a line, on a wide terminal and where there is none."""


_SECONDS_BEHIND = 2.0

NOTHING_LEFT = "no unfinished file is left"

_unsaid: list[OSError] = []
"""Why stdout took no more of what there was to say; filled inside `run` alone."""


class Interrupted(Exception):
    """The user asked to stop; the message tells what is left, and how to go on."""

    def __init__(self, message: str = NOTHING_LEFT) -> None:
        super().__init__(message)


class Duration(click.ParamType[float]):
    """Seconds, written as 90, 90s, 10m or 1.5h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([smh]?)", str(value).strip())
        if not match or float(match[1]) <= 0:
            self.fail(f"{value!r} is not a time; write 90s, 10m or 1.5h", param, ctx)
        return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


class Count(click.ParamType[int]):
    """A positive whole number; 1e6 and 1_000_000 are understood."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        try:
            number = float(str(value).replace("_", ""))
        except ValueError:
            number = 0.0
        if not 1 <= number <= MAX_COUNT or number != int(number):
            self.fail(f"{value!r} is not a whole number from 1 to 1e12", param, ctx)
        return int(number)


class FilePath(click.ParamType[Path]):
    """The name of a file or folder; an empty one, as an unset variable of the shell gives, is an error."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path."""
        if not str(value):
            self.fail("the name is empty", param, ctx)
        return Path(value)


class Output(click.ParamType["Path | str"]):
    """The name of a file or folder, or a URL, which stays a text."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """The path, or the URL."""
        return str(value) if "://" in str(value) else FilePath().convert(value, param, ctx)


class Command(click.Command):
    """A command whose help ends with units and an example."""

    def __init__(self, *arguments: Any, example: str = "", **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.example = example

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the arguments; help that stdout does not take ends the command as other lines do."""
        with _forgiven():
            return super().parse_args(ctx, args)
        ctx.exit()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes units and example, which stays on its line so that it can be copied."""
        with formatter.section("Units"):
            formatter.write_text(UNITS)
        with formatter.section("Example"):
            formatter.write(f"  {self.example}\n")


class Group(click.Group):
    """Commands in the order in which they are used, not in that of the alphabet."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names in the order of definition."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Reads the arguments; help that stdout does not take ends the command as other lines do."""
        with _forgiven():
            return super().parse_args(ctx, args)
        ctx.exit()

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; Ctrl-C gets past click, which would say something of its own."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


def say(line: str) -> None:
    """One line for the user; what stdout cannot say is escaped, and one that is full stops no work."""
    if not _unsaid:
        with _forgiven():
            _write(sys.stdout, printable(line))


def warn(line: str) -> None:
    """One line for the user on stderr, of what is done and yet not as it should be."""
    _line(f"hepgan: warning: {line}")


def say_each(told: Iterable[tuple[str, str]]) -> None:
    """Lines about something each, in two columns that fit a terminal."""
    lines = [(printable(about), printable(text)) for about, text in told]
    indent = 2 + max((len(about) for about, _ in lines if len(about) <= WIDEST), default=0)
    width = min(get_terminal_size((PIPED, 0)).columns, MOST) if sys.stdout.isatty() else PIPED
    before = None
    for about, text in lines:
        first = f"{'' if about == before else about:{indent - 2}}  "
        before = about
        room = max(width, len(first) + 20)
        wrapped = textwrap.wrap(
            text,
            room,
            initial_indent=first,
            subsequent_indent=" " * indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in wrapped or [first]:
            say(line)


def say_next(*words: object) -> None:
    """Tells the command that comes next."""
    say("next: " + shlex.join(["hepgan", *map(str, words)]))


def run(cli: click.Command, arguments: Sequence[str]) -> int:
    """Runs a command line.

    Returns:
        The exit status: 0; 2 for what the user can mend, said in one line on stderr; 1 for what is a bug;
        128 and its number after a signal that ends it: 130 after Ctrl-C, 143 after SIGTERM.
    """
    open_streams()
    _unsaid.clear()
    with warnings.catch_warnings(), terminable() as stopped_by:
        warnings.showwarning = _warn
        try:
            status = cli.main(
                args=list(arguments), prog_name="hepgan", standalone_mode=False, obj=list(arguments)
            )
            with _forgiven():
                sys.stdout.flush()
        except click.ClickException as error:
            status = _usage(error)
        except (Interrupted, KeyboardInterrupt) as error:
            status = _interrupted(str(error), stopped_by())
        except click.Abort as error:  # what click makes of Ctrl-C before a command begins
            early = not isinstance(error.__cause__, EOFError)
            status = _interrupted("", stopped_by()) if early else _fail(*_described(EOFError()))
        except Exception as error:
            if stopped_by() is not None:  # a library makes its own error of Ctrl-C, as in an import
                return _interrupted("", stopped_by())
            if os.environ.get(TRACEBACK):
                raise
            status = _fail(*_described(error))
        else:
            if _unsaid and _unsaid[0].errno != errno.EPIPE:
                lost = "lines for stdout are lost, all files are whole"
                status = _fail(f"stdout: {_unsaid[0].strerror or _unsaid[0]}; {lost}", 2)
        status = status if isinstance(status, int) else 0
        if status and place_among_processes()[0]:
            # torchrun ends all processes after the first one that fails: the leading one tells why first.
            time.sleep(_SECONDS_BEHIND)
        return status


def open_streams() -> None:
    """Gives a process that has no stdin, stdout or stderr empty ones, lest a file takes their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)
    os.close(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


@contextmanager
def _forgiven() -> Iterator[None]:
    """Notes that stdout takes no more, and lets what it still holds end in nothing."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        _unsaid.append(error)
        with suppress(OSError, ValueError):
            sink = os.open(os.devnull, os.O_WRONLY)
            os.dup2(sink, sys.stdout.fileno())
            os.close(sink)


def _interrupted(what: str, signal: int | None) -> int:
    if sys.stderr.isatty():
        click.echo(err=True)  # the terminal shows ^C
    return _fail(f"interrupted; {what or NOTHING_LEFT}", 128 + (signal or SIGINT))


def _usage(error: click.ClickException) -> int:
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        return _fail(error.format_message(), error.exit_code)
    shown = StringIO()
    error.show(shown)
    with suppress(OSError):
        for line in shown.getvalue().splitlines():
            _write(sys.stderr, printable(line))
    return error.exit_code


def _described(error: Exception) -> tuple[str, int]:
    """What to say of an error, and the exit status."""
    text = str(error) or type(error).__name__
    if isinstance(error, HepganError):
        return text, 2
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror or error}", 2
    if isinstance(error, MemoryError) or ("alloc" in text and "memory" in text):
        return "out of memory; fewer events, workers or a smaller training.batch_size take less", 2
    hint = f"this is a bug in hepgan, please report it with what {TRACEBACK}=1 shows"
    return f"{type(error).__name__}: {text}; {hint}", 1


def _fail(message: str, status: int) -> int:
    rank, _ = place_among_processes()
    if rank and status == 1:  # of what others may know nothing
        print(printable(f"hepgan, process {rank}: {message}"), file=sys.stderr)
    _line(f"hepgan: {message}")
    return status


def _warn(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
    if issubclass(category, UserWarning):
        warn(str(message))


def _line(text: str) -> None:
    with suppress(OSError):  # where a line cannot be written, the status remains
        _write(sys.stderr, printable(" ".join(text.split())))


def _write(stream: TextIO, line: str) -> None:
    if place_among_processes()[0]:  # of several that train together, the leading one tells of it
        return
    encoding = stream.encoding or "utf-8"
    click.echo(line.encode(encoding, "backslashreplace").decode(encoding), stream)
