"""What is kept beside the files of a production: the fileset of a whole one, the journal of another."""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, field_validator

from hepgan.config import Config
from hepgan.errors import OutputError
from hepgan.events.filesets import described, write_fileset
from hepgan.events.formats import FORMATS, UNFINISHED
from hepgan.files import replacing
from hepgan.production.plan import Part, Plan

__all__ = [
    "FILESET",
    "HIDDEN",
    "JOURNAL",
    "REPLACED",
    "Journal",
    "Written",
    "checksum",
    "journal_of",
    "journals",
    "listed",
    "manifest",
    "planned",
    "total_weight",
    "write_manifest",
]

FILESET = "fileset.json"
"""The fileset of a folder."""

HIDDEN, REPLACED = Path(UNFINISHED[1]).parts
"""The folder for files that are to replace others, and in it the list of those that are being replaced."""

JOURNAL = UNFINISHED[0]
"""The plan of a production that goes on, and a line for each file that is whole."""


class Written(Config):
    """A file that is whole.

    Attributes:
        name: Its name.
        events: Number of events.
        bytes: Its size.
        adler32: The checksum of its content, as grid storage has it.
        uuid: The identifier in it; empty for Parquet.
        sum_of_weights: Of its events; None if they have no weights.
    """

    name: str
    events: int
    bytes: int
    adler32: str
    uuid: str = ""
    sum_of_weights: float | None = None

    @field_validator("name")
    @classmethod
    def _plain(cls, name: str) -> str:
        """The name, which cannot lead out of the folder."""
        if Path(name).name != name:
            raise ValueError(name)
        return name

    @classmethod
    def listed(cls, path: str, about: Mapping[str, Any]) -> Self:
        """The file at a path or URL, of which `manifest` tells this.

        Raises:
            LookupError: If something is missing.
            ValueError: If something is of another type.
        """
        return cls(
            name=path.rpartition("/")[2],
            events=about["num_entries"],
            bytes=about["bytes"],
            adler32=about["adler32"],
            uuid=about.get("uuid", ""),
            sum_of_weights=about.get("sum_of_weights"),
        )

    def matches(self, folder: Path, *, wholly: bool) -> bool:
        """Whether the file in a folder is this one, by its size, and ``wholly`` by its content, too."""
        path = folder / self.name
        if path.is_symlink() or not path.is_file() or path.stat().st_size != self.bytes:
            return False
        return not wholly or checksum(path) == self.adler32


def total_weight(files: Iterable[Written]) -> float:
    """The sum of weights of the events of files."""
    return math.fsum(f.events if f.sum_of_weights is None else f.sum_of_weights for f in files)


def checksum(path: Path) -> str:
    """The Adler-32 checksum of a file, in hexadecimal."""
    found = 1
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found = zlib.adler32(piece, found)
    return f"{found:08x}"


# ------------------------------------------------------------------ whole


def write_manifest(path: Path, plan: Plan, files: Iterable[Written], folder: Path) -> None:
    """Writes the fileset of a production that is whole; see `manifest`.

    Args:
        path: Where to; replaced, if it is there.
        plan: The plan.
        files: The files, in order.
        folder: Where the files are, or are going to be.

    Raises:
        OutputError: If it cannot be written.
    """
    write_fileset(path, manifest(plan, files, str(folder.resolve())), force=True)


def manifest(plan: Plan, files: Iterable[Written], folder: str) -> dict[str, Any]:
    """The fileset of a production that is whole, as coffea takes it, with a digest of itself.

    Args:
        plan: The plan.
        files: The files, in order.
        folder: The path or the URL of their folder.
    """
    files = list(files)
    listed = {
        f"{folder.rstrip('/')}/{f.name}": {
            **described(plan.tree if FORMATS[plan.format].root else None, f.events, f.uuid),
            "bytes": f.bytes,
            "adler32": f.adler32,
            **({} if f.sum_of_weights is None else {"sum_of_weights": f.sum_of_weights}),
        }
        for f in files
    }
    metadata = {
        "generator": plan.recipe,
        "seed": plan.seed,
        "events": plan.events,
        **_yields(plan, files),
        "plan": plan.model_dump(mode="json"),
    }
    content: dict[str, Any] = {plan.recipe: {"files": listed, "metadata": metadata}}
    if FORMATS[plan.format].root:
        content[plan.recipe]["treename"] = plan.tree
    metadata["digest"] = _digest(content)
    return content


def _yields(plan: Plan, files: Iterable[Written]) -> dict[str, float]:
    """What analyses normalise events by: ``cross_section * luminosity * weight / sum_of_weights``."""
    known = plan.normalisation
    if known is None:
        return {"sum_of_weights": plan.events / (1.0 if plan.efficiency is None else plan.efficiency.value)}
    section = {} if known.cross_section is None else {"cross_section": known.cross_section}
    return {"sum_of_weights": total_weight(files) * known.summed, **section}


def listed(path: Path) -> dict[str, Written] | None:
    """The files that a fileset lists, by name; None if there is no fileset.

    Raises:
        OutputError: If it is not as hepgan has written it.
    """
    if not path.is_symlink() and not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        (part,) = content.values()
        whole = part["metadata"].pop("digest") == _digest(content)
        files = [Written.listed(name, about) for name, about in part["files"].items()]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        msg = "is not as hepgan has written it, so it is left alone with its events; choose another output"
        raise OutputError(msg, file=path)
    return {f.name: f for f in files}


def planned(path: Path) -> Plan | None:
    """The plan of a fileset that `listed` takes; None if that of an earlier hepgan cannot be read."""
    (part,) = json.loads(path.read_text(encoding="utf-8")).values()
    with suppress(LookupError, ValidationError):
        return Plan.model_validate(part["metadata"]["plan"])
    return None


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


# ------------------------------------------------------------------ unfinished


def journal_of(folder: Path, part: Part | None) -> Path:
    """The journal of a production, or of one of the jobs that it is shared by."""
    if part is None:
        return folder / JOURNAL
    stem, _, ending = JOURNAL.partition(".")
    return folder / f"{stem}-{part.job}-of-{part.jobs}.{ending}"


def journals(folder: Path) -> list[Path]:
    """The journals in a folder, first that of a whole production."""
    stem, _, ending = JOURNAL.partition(".")
    pattern = re.compile(rf"{stem}-\d+-of-\d+\.{ending}")
    parts = sorted(p for p in folder.glob(f"{stem}-*.{ending}") if pattern.fullmatch(p.name))
    return [p for p in (folder / JOURNAL, *parts) if p.is_file()]


class Journal:
    """What tells how far a production is: its plan, and the files that are whole or about to be.

    A file is noted before it gets its name, so that none is there without a note.

    Attributes:
        path: The journal.
        plan: The plan.
        files: What is noted, by name.
    """

    def __init__(self, path: Path, plan: Plan, files: Mapping[str, Written] | None = None) -> None:
        self.path, self.plan = path, plan
        self.files = dict(files or {})

    @classmethod
    def read(cls, path: Path) -> Journal | None:
        """The journal at a path, but for a last line that a kill has cut; None if there is none.

        Raises:
            OutputError: If it is not as hepgan has written it.
        """
        try:
            return cls.parse(path.read_text(encoding="utf-8"), path)
        except FileNotFoundError:
            return None
        except OutputError:
            raise
        except (OSError, ValueError) as error:
            msg = "cannot be read"
            raise OutputError(msg, file=path) from error

    @classmethod
    def parse(cls, text: str, path: Path) -> Journal:
        """The journal of a text, as of `read`."""
        lines = text.split("\n")
        try:
            plan = Plan.model_validate_json(lines[0])
            files = [Written.model_validate_json(line) for line in lines[1:-1]]
        except ValidationError as error:
            msg = "is not as hepgan has written it; move it and the unfinished events away, or choose another"
            raise OutputError(msg, file=path) from error
        return cls(path, plan, {f.name: f for f in files})

    @classmethod
    def together(cls, folder: Path, plan: Plan) -> Journal | None:
        """What all journals in a folder note; its plan is not ``plan`` where one of theirs is not.

        Raises:
            OutputError: If one is not as hepgan has written it.
        """
        read = [cls.read(path) for path in journals(folder)]
        found = [journal for journal in read if journal is not None]  # one may have gone meanwhile
        if not found:
            return None
        other = next((journal.plan for journal in found if journal.plan != plan), plan)
        noted = {name: file for journal in found for name, file in journal.files.items()}
        return cls(folder / JOURNAL, other, noted)

    def begin(self) -> None:
        """Writes the plan, and what is noted."""
        with replacing(self.path, force=True) as temporary:
            temporary.write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """The plan, and what is noted, in lines."""
        lines = [self.plan.model_dump_json(), *(f.model_dump_json() for f in self.files.values())]
        return "".join(f"{line}\n" for line in lines)

    def note(self, file: Written) -> None:
        """Notes a file that is about to get its name.

        Raises:
            OutputError: If that cannot be written.
        """
        try:
            with self.path.open("a", encoding="utf-8") as journal:
                journal.write(file.model_dump_json() + "\n")
        except OSError as error:
            raise OutputError(f"cannot be written: {error.strerror}", file=self.path) from error  # noqa: EM102
        self.files[file.name] = file

    def whole(self, *, wholly: bool = True) -> dict[str, Written]:
        """The files that are there as they are noted."""
        return {n: f for n, f in self.files.items() if f.matches(self.path.parent, wholly=wholly)}
