"""A folder behind a URL (``s3://``, ``root://``, ...) that is filled with the files of a plan, by fsspec.

Each file is written here, whole, before it is copied. Stores of objects show a copy when it is complete; in
systems of files it gets its name by a move. There are no locks: two that write the same part at once do the
same work twice.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from hepgan.errors import HepganError, InputError, OutputError
from hepgan.production.folder import in_rows
from hepgan.production.manifest import (
    FILESET,
    JOURNAL,
    Journal,
    Written,
    journal_of,
    manifest,
    total_weight,
)
from hepgan.production.plan import Part, Plan

__all__ = ["UrlFolder", "is_url"]

_OBJECTS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oci", "memory"})
"""Protocols of stores in which a copy is there when it is whole."""

_NOT_WRITTEN = frozenset({"http", "https"})


def is_url(output: str | Path) -> bool:
    """Whether an output is a URL, and no path here."""
    return isinstance(output, str) and "://" in output


class UrlFolder:
    """A folder behind a URL for the files of a plan, or for a part of them.

    Args:
        url: The folder.
        plan: The plan.
        part: The part of the files that this job makes; all if None.

    Attributes:
        work: Where files are to be made.
        whole: The files of the part that are there already, by name.
        ended: Whether all files of the plan are there, with their fileset.
    """

    def __init__(self, url: str, plan: Plan, part: Part | None) -> None:
        self._url, self._plan = url.rstrip("/"), plan
        self._numbers = plan.numbers(part)
        self._own = journal_of(Path(), part).name
        self.work = Path()
        self.whole: dict[str, Written] = {}
        self.ended = False
        self._fs, self._root = self._store()

    @property
    def fileset(self) -> str:
        """The URL of the fileset."""
        return f"{self._url}/{FILESET}"

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Finds out what is to be done.

        Raises:
            OutputError: If it holds other events, or cannot be written.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.work = Path(folder)
            with self._writing():
                self._begin()
            yield self

    @property
    def missing(self) -> list[range]:
        """The numbers of the files that are to be made, those that follow one another together."""
        if self.ended:
            return []
        return in_rows(k for k in self._numbers if self._plan.shard(k).name not in self.whole)

    def note(self, file: Written) -> None:
        """Nothing is noted before the file is copied."""

    def arrived(self, file: Written) -> None:
        """Copies a file that has been made, and notes it."""
        made = self.work / file.name
        with self._writing():
            self._put(made, file.name)
            self._files[file.name] = file
            self._note()
        made.unlink()

    def finish(self) -> tuple[list[str], float]:
        """Writes the fileset, if all files of the plan are there.

        Returns:
            The files of this part, and the sum of weights of their events.
        """
        names = [self._plan.shard(k).name for k in self._numbers]
        with self._writing():
            if not self.ended:
                self._end()
        files = [self._files[name] for name in names]
        return [f"{self._url}/{name}" for name in names], total_weight(files)

    # ------------------------------------------------------------------ its states

    def _begin(self) -> None:
        self._fs.makedirs(self._root, exist_ok=True)
        self._files: dict[str, Written] = {}
        if self._fs.exists(self._at(FILESET)):
            (known,) = json.loads(self._fs.cat_file(self._at(FILESET))).values()
            if known.get("metadata", {}).get("plan") != self._plan.model_dump(mode="json"):
                msg = "holds other events already; remove them, or choose another folder"
                raise OutputError(msg, file=self._url)
            self.ended = True
            files = (Written.listed(url, about) for url, about in known["files"].items())
            self._files = {f.name: f for f in files}
            return
        noted = self._noted()
        for k in self._numbers:
            name = self._plan.shard(k).name
            if name in noted and self._matches(noted[name]):
                self.whole[name] = noted[name]
            elif name not in noted and not self._begun and self._fs.exists(self._at(name)):
                msg = "is there, and in no journal of hepgan's, so it is left alone; move it away"
                raise OutputError(msg, file=f"{self._url}/{name}")
        self._files = dict(self.whole)
        self._note()

    def _noted(self) -> dict[str, Written]:
        """What all journals note."""
        found: dict[str, Written] = {}
        self._begun = False
        for name in self._journals():
            text = self._fs.cat_file(self._at(name)).decode()
            journal = Journal.parse(text, Path(name))
            if journal.plan != self._plan:
                differences = self._plan.differences(journal.plan)
                msg = f"holds a part of another production ({differences}); choose another folder"
                raise OutputError(msg, file=self._url)
            self._begun |= name == self._own
            found |= journal.files
        return found

    def _journals(self) -> list[str]:
        stem, _, ending = JOURNAL.partition(".")
        self._fs.invalidate_cache()
        return sorted(str(p).rpartition("/")[2] for p in self._fs.glob(self._at(f"{stem}*.{ending}")))

    def _note(self) -> None:
        journal = Journal(Path(self._own), self._plan, self._files)
        self._fs.pipe_file(self._at(self._own), journal.text().encode())

    def _end(self) -> None:
        if self._fs.exists(self._at(FILESET)):  # another job was the last
            self.ended = True
            return
        noted = self._noted()
        files = [noted.get(self._plan.shard(k).name) for k in self._plan.numbers()]
        there = [f for f in files if f is not None and self._matches(f)]
        if len(there) < len(files):
            return
        content = json.dumps(manifest(self._plan, there, self._url), indent=2) + "\n"
        self._fs.pipe_file(self._at(FILESET), content.encode())
        for name in self._journals():
            self._fs.rm_file(self._at(name))
        self.ended = True

    def _matches(self, file: Written) -> bool:
        """Whether a file is there with its size; to read it again would take as long as to make it."""
        try:
            return int(self._fs.info(self._at(file.name))["size"]) == file.bytes
        except FileNotFoundError:
            return False

    def _put(self, made: Path, name: str) -> None:
        protocol = self._url.partition("://")[0]
        if protocol in _OBJECTS:
            self._fs.put_file(str(made), self._at(name))
            return
        self._fs.put_file(str(made), self._at(f".{name}.part"))
        if self._fs.exists(self._at(name)):
            self._fs.rm_file(self._at(name))
        self._fs.mv(self._at(f".{name}.part"), self._at(name))

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _store(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        if self._url.partition("://")[0] in _NOT_WRITTEN:
            msg = "is a web server, which takes no files; s3://, root:// or a folder do"
            raise OutputError(msg, file=self._url)
        try:
            fs, root = url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise InputError(f"cannot be reached: {error}", file=self._url) from error  # noqa: EM102
        return fs, root.rstrip("/")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Makes what stores say one error of hepgan's."""
        try:
            yield
        except HepganError:
            raise
        except Exception as error:
            message = f"cannot be written: {str(error) or type(error).__name__}"
            raise OutputError(message, file=self._url) from error
