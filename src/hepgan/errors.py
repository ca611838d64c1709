"""The errors that users meet: each says in one line what is wrong, and where."""

from __future__ import annotations

from pathlib import Path

__all__ = [
    "ClusterError",
    "HepganError",
    "InputError",
    "ModelFileError",
    "OutputError",
    "RecipeError",
    "TrainingError",
    "printable",
]


def printable(text: str) -> str:
    r"""A text of files or users as a line that any terminal takes, with nothing of it left out.

    What does not print is escaped: ends of lines, terminals' control sequences (``\x1b``), marks that turn
    the direction of writing, and the bytes of names that are not UTF-8 (``\xff``).
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":  # a byte of a name that is not UTF-8, as Python holds it
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


class HepganError(Exception):
    """Base of all errors that a user can mend; the command line prints it in one line and exits with 2.

    Args:
        message: What is wrong, and where possible what to do.
        file: The file (with its tree, ``file.root:Events``) in which it is wrong.
        branch: The branch, as the file names it.
        entry: The first bad entry (event number in the file).
    """

    def __init__(
        self,
        message: str,
        *,
        file: str | Path | None = None,
        branch: str | None = None,
        entry: int | None = None,
    ) -> None:
        self.file, self.branch, self.entry = (None if file is None else str(file)), branch, entry
        where = [
            text
            for value, text in (
                (file, printable(str(file))),
                (branch, printable(f"branch {branch}")),
                (entry, f"entry {entry}"),
            )
            if value is not None
        ]
        self.message = message
        line = printable(" ".join(message.splitlines()))
        super().__init__(": ".join((", ".join(where), line)) if where else line)


class InputError(HepganError, ValueError):
    """Events that cannot be used: missing branch, NaN, truncated file, unphysical values."""


class RecipeError(HepganError, ValueError):
    """A recipe with an unknown key, a wrong value, or one that does not fit the events."""


class ModelFileError(HepganError, ValueError):
    """A model file that is corrupt, foreign, or from a version that cannot be read."""


class OutputError(HepganError, OSError):
    """Output that cannot be written: exists without ``force``, no permission, disk full."""


class TrainingError(HepganError, RuntimeError):
    """Training that cannot go on, for example since a loss term is not a number."""


class ClusterError(HepganError, RuntimeError):
    """Work on a cluster that cannot go on: its scheduler is gone, or its workers die again and again."""
