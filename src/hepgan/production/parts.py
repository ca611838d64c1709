"""A folder that several jobs fill at once, each with its share of the files of one plan."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from hepgan.errors import OutputError
from hepgan.files import Reservation, publish
from hepgan.production.folder import SCRATCH, in_rows, not_a_file, writing
from hepgan.production.manifest import (
    FILESET,
    HIDDEN,
    JOURNAL,
    REPLACED,
    Journal,
    Written,
    journal_of,
    journals,
    listed,
    planned,
    total_weight,
    write_manifest,
)
from hepgan.production.plan import Part, Plan

__all__ = ["PartFolder"]

_PATIENCE = 60.0
"""Seconds that jobs wait for each other; each needs the folder for itself for a moment only."""


class PartFolder:
    """A folder for the files of a plan, of which this job makes a part, while others make others.

    Each job has a journal of its own, and the last one gives the folder its fileset.

    Args:
        path: The folder.
        plan: The plan.
        part: The part.

    Attributes:
        work: Where files are to be made.
        whole: The files of the part that are there already, by name.
        ended: Whether all files of the plan are there, with their fileset.
    """

    def __init__(self, path: Path, plan: Plan, part: Part) -> None:
        self._path, self._plan, self._part = path, plan, part
        self._numbers = plan.numbers(part)
        self._names = [plan.shard(k).name for k in self._numbers]
        self.work = path
        self.whole: dict[str, Written] = {}
        self.ended = False

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Reserves the part, and finds out what is to be done of it.

        Raises:
            OutputError: If the folder holds other events, or the part is being written.
        """
        not_a_file(self._path)
        path = journal_of(self._path, self._part)
        with writing(self._path), Reservation(path, force=True):
            with self._in_turn():
                self._begin(path)
            try:
                if not self.ended:
                    self._clear()
                yield self
            except BaseException:
                if not self.ended and not self._journal.whole(wholly=False):
                    path.unlink(missing_ok=True)
                raise

    @property
    def missing(self) -> list[range]:
        """The numbers of the files of the part that are to be made, as of `ShardFolder`."""
        if self.ended:
            return []
        return in_rows(k for k in self._numbers if self._plan.shard(k).name not in self.whole)

    @property
    def scratch(self) -> Path:
        """Where workers may make files, each in a folder of its own, from where `take` takes them."""
        return self.work / SCRATCH

    def take(self, file: Written, made: Path) -> None:
        """Gives a file that a worker has made its place."""
        self.note(file)
        publish(made, self.work / file.name, force=False)

    def arrived(self, file: Written) -> None:
        """The file is where it belongs."""

    def note(self, file: Written) -> None:
        """Notes a file that is about to get its name."""
        self._journal.note(file)

    def finish(self) -> tuple[list[Path], float]:
        """Writes the fileset, if all parts are done.

        Returns:
            The files of this part, and the sum of weights of their events.
        """
        if not self.ended:
            with self._in_turn():
                self._end()
        files = [self._files[name] for name in self._names]
        return [self._path / name for name in self._names], total_weight(files)

    # ------------------------------------------------------------------ its states

    def _begin(self, path: Path) -> None:
        found = Journal.together(self._path, self._plan)
        if (earlier := listed(self._path / FILESET)) is not None:
            if planned(self._path / FILESET) != self._plan:
                msg = (
                    f"holds other events already ({next(iter(earlier), FILESET)}, ...); choose another folder"
                )
                raise OutputError(msg, file=self._path)
            self._files, self.ended = earlier, True
            return
        hidden = self._path / HIDDEN
        if (hidden / REPLACED).exists() or (hidden / JOURNAL).exists():
            msg = "holds a production that replaces an earlier one; its own command goes on with it"
            raise OutputError(msg, file=self._path)
        if found is not None and found.plan != self._plan:
            differences = self._plan.differences(found.plan)
            msg = f"holds a part of another production ({differences}); choose another folder"
            raise OutputError(msg, file=self._path)
        noted = {} if found is None else {n: f for n, f in found.files.items() if n in set(self._names)}
        for name in self._names:
            there = self._path / name
            if name not in noted and (there.exists() or there.is_symlink()):
                msg = "is there, and in no journal of hepgan's, so it is left alone; move it away"
                raise OutputError(msg, file=there)
        self._journal = Journal(path, self._plan, noted)
        self._journal.begin()

    def _clear(self) -> None:
        """Removes what is not as it was noted."""
        self.whole = self._journal.whole()
        for name in self._names:
            if name not in self.whole:
                (self._path / name).unlink(missing_ok=True)
        self._journal.files = dict(self.whole)
        self._journal.begin()

    def _end(self) -> None:
        if listed(self._path / FILESET) is not None:  # another job was the last
            self.ended = planned(self._path / FILESET) == self._plan
            self._files = self._journal.files
            return
        found = Journal.together(self._path, self._plan)
        self._files = self._journal.files if found is None else found.files
        names = [self._plan.shard(k).name for k in self._plan.numbers()]
        if all(n in self._files and self._files[n].matches(self._path, wholly=False) for n in names):
            files = [self._files[n] for n in names]
            write_manifest(self._path / FILESET, self._plan, files, self._path)
            for path in journals(self._path):
                path.unlink(missing_ok=True)
            if not self.scratch.is_symlink():
                shutil.rmtree(self.scratch, ignore_errors=True)
            self.ended = True

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """The folder for this job alone, for which it waits."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                held = Reservation(self._path / FILESET, force=True)
            except OutputError as error:
                if "is being written by" not in error.message or time.monotonic() > until:
                    raise
                time.sleep(0.05)
                continue
            with held:
                yield
            return
