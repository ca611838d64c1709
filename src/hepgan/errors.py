"""The errors that users meet: each says in one line what is wrong, and where."""

from __future__ import annotations

from pathlib import Path

__all__ = ["HepganError", "InputError", "ModelFileError", "OutputError", "RecipeError", "TrainingError"]


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
                (file, str(file)),
                (branch, f"branch {branch}"),
                (entry, f"entry {entry}"),
            )
            if value is not None
        ]
        self.message = message
        super().__init__(": ".join((", ".join(where), message)) if where else message)


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
