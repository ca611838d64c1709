"""A folder that is filled with the files of a plan, goes on where it was, and replaces all or nothing.

Files are made in the folder itself, or where it holds another sample, in a hidden folder in it, from where
they take their places when all are whole. What is in the folder besides is never touched.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Self

from hepgan.arguments import checked
from hepgan.errors import OutputError
from hepgan.events.formats import ENDINGS
from hepgan.files import Reservation, claim, publish
from hepgan.production.manifest import (
    FILESET,
    HIDDEN,
    JOURNAL,
    REPLACED,
    Journal,
    Written,
    journals,
    listed,
    total_weight,
    write_manifest,
)
from hepgan.production.plan import Plan

__all__ = ["SCRATCH", "ShardFolder", "in_rows", "not_a_file", "unfinished", "writing"]

SCRATCH = ".hepgan-parts"
"""The folder in which workers make files, until these are noted and get their places."""

_SWEEPS, _SECONDS_BETWEEN_SWEEPS = 40, 0.05


def in_rows(numbers: Iterable[int]) -> list[range]:
    """Rising numbers, those that follow one another together."""
    found: list[range] = []
    for k in numbers:
        if found and found[-1].stop == k:
            found[-1] = range(found[-1].start, k + 1)
        else:
            found.append(range(k, k + 1))
    return found


def not_a_file(path: Path) -> None:
    """Sees to it that a path for a folder is no file.

    Raises:
        OutputError: If it is one.
    """
    if os.path.isfile(path):
        msg = "is a file; shards need a folder (or give a name that ends in .root)"
        raise OutputError(msg, file=path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Makes what the system says of a folder that cannot be written one error of hepgan's."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        message = f"cannot be written: {error.strerror or error}"
        raise OutputError(message, file=error.filename or path) from error


class ShardFolder:
    """A folder for the files of a plan; use it as a context, in which no other process writes there.

    Args:
        path: The folder.
        plan: The plan.
        force: Whether another sample that hepgan has written there may be replaced.

    Attributes:
        work: Where files are to be made.
        whole: The files that are there already, by name.
    """

    def __init__(self, path: Path, plan: Plan, *, force: bool) -> None:
        self._path, self._plan, self._force = path, plan, force
        self._hidden = path / HIDDEN
        self._begun = False
        self.work = path
        self.whole: dict[str, Written] = {}

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Reserves the folder, and finds out what is to be done in it.

        Raises:
            OutputError: If it holds what cannot be replaced, or is being written.
        """
        not_a_file(self._path)
        with ExitStack() as held:
            held.enter_context(writing(self._path))
            held.enter_context(Reservation(self._path / FILESET, force=True))
            # Jobs that share a production are its writers as long as they go on.
            for path in journals(self._path):
                held.enter_context(Reservation(path, force=True))
            if (self._hidden / REPLACED).exists():
                self._settle()
            try:
                self._begin()
                yield self
            except BaseException as error:
                self._leave(keep=isinstance(error, KeyboardInterrupt))
                raise

    @property
    def missing(self) -> list[range]:
        """The numbers of the files that are to be made, those that follow one another together."""
        return in_rows(k for k in self._plan.numbers() if self._plan.shard(k).name not in self.whole)

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

    def finish(self) -> tuple[list[Path], Path, float]:
        """Gives all files their places.

        Returns:
            The files, their fileset, and the sum of weights of their events.
        """
        names = [self._plan.shard(k).name for k in range(len(self._plan))]
        files = [self._journal.files[name] for name in names]
        self._sweep(self.work)
        write_manifest(self.work / FILESET, self._plan, files, self._path)
        if self.work == self._path:
            self._journal.path.unlink()
        else:
            earlier = self._path / FILESET
            os.replace(earlier if earlier.exists() else self._path / JOURNAL, self._hidden / REPLACED)
            self._settle()
        self._discard()
        return [self._path / name for name in names], self._path / FILESET, total_weight(files)

    # ------------------------------------------------------------------ its states

    def _begin(self) -> None:
        earlier, unfinished = listed(self._path / FILESET), Journal.together(self._path, self._plan)
        if earlier is not None:
            for path in journals(self._path):  # killed when all was done
                path.unlink()
            if not self._force:
                first = next(iter(earlier), FILESET)
                msg = f"holds events already ({first}, ...); --force (force=True) replaces them"
                raise OutputError(msg, file=self._path)
        elif unfinished is not None and unfinished.plan != self._plan:
            if not self._force:
                differences = self._plan.differences(unfinished.plan)
                msg = (
                    f"holds a part of another production ({differences}); its own command goes on with it, "
                    "and --force (force=True) replaces it"
                )
                raise OutputError(msg, file=self._path)
            earlier = unfinished.files
        ours = unfinished.files if unfinished is not None else {}
        if earlier is not None:
            ours, self.work = earlier, self._hidden
            self._check_unchanged(earlier)
        self._check_names(ours)
        parts = [path for path in journals(self._path) if path.name != JOURNAL]
        if unfinished is not None and parts:
            unfinished.begin()
            for path in parts:
                path.unlink()
        if earlier is not None:
            unfinished = self._replacing()
        self._journal = Journal(self.work / JOURNAL, self._plan)
        self._begun = True
        if unfinished is not None:
            self.whole = unfinished.whole()
            self._journal.files.update(self.whole)
        self._clear()
        self._journal.begin()

    def _check_unchanged(self, earlier: Mapping[str, Written]) -> None:
        for name, file in earlier.items():
            path = self._path / name
            if not path.exists() and not path.is_symlink():
                continue
            claim(path, force=True)
            if not file.matches(self._path, wholly=False):
                msg = "is not as hepgan has written it, so it is left alone; move it away"
                raise OutputError(msg, file=path)

    def _replacing(self) -> Journal | None:
        """The journal of the hidden folder, which is emptied if it was for another plan."""
        with suppress(OutputError):
            journal = Journal.read(self._hidden / JOURNAL)
            if journal is not None and journal.plan == self._plan:
                return journal
        self._discard()
        self._hidden.mkdir()
        return None

    def _check_names(self, ours: Mapping[str, Written]) -> None:
        """Sees to it that no file of the plan has the name of one that hepgan has not written there."""
        for k in range(len(self._plan)):
            path = self._path / self._plan.shard(k).name
            if path.name not in ours and (path.exists() or path.is_symlink()):
                msg = "is there, and in no fileset of hepgan's, so it is left alone; move it away"
                raise OutputError(msg, file=path)

    def _clear(self) -> None:
        """Removes what is not as it was noted, and what killed processes have left of files here."""
        for k in range(len(self._plan)):
            name = self._plan.shard(k).name
            if name not in self.whole:
                (self.work / name).unlink(missing_ok=True)
        endings = "|".join(re.escape(e[0][1:]) for e in ENDINGS.values())
        pattern = re.compile(rf"\.(events-\d+\.(?:{endings}))\.(?:lock|[0-9a-f]{{12}}\.part.*)")
        for folder in {self._path, self.work}:
            self._sweep(folder)
            left = {found[1] for p in folder.iterdir() if (found := pattern.fullmatch(p.name))}
            for name in left:
                with suppress(OutputError):
                    Reservation(folder / name, force=True).release()  # which removes it

    def _sweep(self, folder: Path) -> None:
        """Removes what workers have made and nobody has taken."""
        scratch = folder / SCRATCH
        for _ in range(_SWEEPS):  # workers may still be at it
            if scratch.is_symlink() or not scratch.exists():
                return
            shutil.rmtree(scratch, ignore_errors=True)
            time.sleep(_SECONDS_BETWEEN_SWEEPS)

    def _settle(self) -> None:
        """Replaces the earlier files by those in the hidden folder, or goes on with that."""
        old = self._named(self._hidden / REPLACED)
        new = listed(self._hidden / FILESET)
        if new is not None:
            for name in new:
                if (self._hidden / name).exists():
                    claim(self._path / name, force=name in old)
                    os.replace(self._hidden / name, self._path / name)
            for name, file in old.items():
                if name not in new and file.matches(self._path, wholly=False):
                    (self._path / name).unlink()
            os.replace(self._hidden / FILESET, self._path / FILESET)
            (self._path / JOURNAL).unlink(missing_ok=True)
        self._discard()

    def _named(self, path: Path) -> dict[str, Written]:
        """The files that a fileset or a journal names."""
        with suppress(OutputError):
            return listed(path) or {}
        with suppress(OutputError):
            journal = Journal.read(path)
            return {} if journal is None else journal.files
        return {}

    def _leave(self, *, keep: bool) -> None:
        """After an error; whole files stay where they can be seen, hidden ones if ``keep``."""
        if not self._begun:
            return  # nothing here is this production's
        self._sweep(self.work)
        if (self._hidden / REPLACED).exists():
            return  # some have their places: the next command goes on with that
        if self.work == self._hidden:
            if not keep or not self._journal.whole(wholly=False):
                self._discard()
        elif not self._journal.whole(wholly=False):
            self._journal.path.unlink(missing_ok=True)

    def _discard(self) -> None:
        if self._hidden.is_symlink():
            msg = "is a symbolic link, which is not replaced"
            raise OutputError(msg, file=self._hidden)
        shutil.rmtree(self._hidden, ignore_errors=True)


@checked
def unfinished(folder: Path) -> tuple[int, int] | None:
    """How many files of a production that has not ended a folder holds, and of how many; None if of none."""
    for place in (folder / HIDDEN, folder):
        with suppress(OutputError):
            read = [Journal.read(path) for path in journals(place)]
            first = next((one for one in read if one is not None), None)
            journal = None if first is None else Journal.together(place, first.plan)
            if journal is not None:
                return len(journal.whole(wholly=False)), len(journal.plan)
    return None
