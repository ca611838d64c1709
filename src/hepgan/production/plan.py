"""The plan of a production: what is to be in which file, as a few numbers and names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, Self

import awkward as ak
import numpy as np

from hepgan.arguments import whole
from hepgan.config import Config
from hepgan.errors import InputError, OutputError
from hepgan.events.formats import ENDINGS, Format
from hepgan.generator import EventGenerator
from hepgan.generator.model_file import installed_versions
from hepgan.generator.where import Efficiency, enough, texts
from hepgan.production.normalisation import Normalisation

__all__ = ["Part", "Plan", "Shard"]


class Shard(NamedTuple):
    """A file to be written, the number of its first event, and how many it gets."""

    name: str
    first: int
    size: int


class Part(NamedTuple):
    """The share of job ``job``, from 1, of ``jobs`` that fill one folder."""

    job: int
    jobs: int

    def __str__(self) -> str:
        return f"{self.job}/{self.jobs}"

    @classmethod
    def parse(cls, text: str) -> Part:
        """The part that a text such as ``12/400`` says.

        Raises:
            InputError: If it says none.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        with suppress(ValueError):
            if found is not None:
                return cls.of(int(found[1]), int(found[2]))
        msg = f"a part of the shards is written as 12/400, from 1/400 to 400/400, not {text!r}"
        raise InputError(msg)

    @classmethod
    def of(cls, job: int, jobs: int) -> Part:
        """The part of these numbers.

        Raises:
            ValueError: If there is none.
        """
        jobs = whole("jobs of part", jobs)
        return cls(whole("job of part", job, 1, jobs), jobs)


class Plan(Config):
    """All that the files of a production depend on: with the model and its conditions, each file is known.

    Any process that has the plan, the model and the conditions can make any of the files, and two that make
    the same one make the same events.

    Attributes:
        version: The hepgan that made the plan.
        recipe: The name of the model's recipe.
        model: The digest of the model, as ``EventGenerator.digest`` gives it.
        conditions: The digest of what is given in generation; empty if nothing is.
        member: The member of an ensemble whose events are made; all if None.
        seed: The seed of the events.
        where: What all events fulfil.
        efficiency: The share of generated events that do, if there is such a condition.
        events: Number of events.
        shard_size: Events in a file.
        format: Of the files.
        identifiers: Whether they have run, luminosityBlock and event.
        tree: The name of the tree.
        normalisation: What events weigh; None if they have no weights.
        file: The name of the only file; files are numbered if None.
    """

    version: str
    recipe: str
    model: str
    conditions: str = ""
    member: int | None = None
    seed: int
    where: tuple[str, ...] = ()
    efficiency: Efficiency | None = None
    events: int
    shard_size: int
    format: Format
    identifiers: bool = True
    tree: str
    normalisation: Normalisation | None = None
    file: str | None = None

    @classmethod
    def of(
        cls,
        generator: EventGenerator,
        n: int,
        *,
        seed: int,
        condition: Mapping[str, Any] | ak.Array | None = None,
        member: int | Literal["all"] | None = None,
        cross_section: float | None = None,
        luminosity: float | None = None,
        where: str | Sequence[str] | None = None,
        efficiency: Efficiency | None = None,
        workers: int | None = None,
        **others: Any,
    ) -> Self:
        """The plan for n events of a generator; the other arguments are attributes of it.

        The efficiency of ``where`` is measured here, if it is not given.

        Raises:
            InputError: If the cross section or luminosity (see :meth:`Normalisation.of`) is not positive, or
                ``where`` is not usable (see ``EventGenerator.generate``).
            ValueError: If there is no such member, or an attribute is of the wrong type.
        """
        schema = generator.schema_of(member)
        if texts(where) and efficiency is None:
            efficiency = generator.efficiency(
                texts(where),
                n=n,
                passed=enough(n, weighted=schema.weight is not None or cross_section is not None),
                seed=seed,
                condition=condition,
                member=member,
                workers=workers,
            )
        return cls(
            version=installed_versions()["hepgan"],
            recipe=generator.recipe.name,
            model=generator.digest(),
            conditions=_digest(condition),
            member=None if member in (None, "all") else int(member),
            seed=seed,
            where=texts(where),
            efficiency=efficiency,
            events=n,
            tree=schema.tree,
            normalisation=Normalisation.of(
                generator,
                n,
                schema,
                cross_section=cross_section,
                luminosity=luminosity,
                efficiency=1.0 if efficiency is None else efficiency.value,
            ),
            **others,
        )

    def __len__(self) -> int:
        """The number of files."""
        return -(-self.events // self.shard_size)

    def shard(self, number: int) -> Shard:
        """The file of that number, from 0."""
        first = number * self.shard_size
        name = self.file
        if name is None:
            digits = max(4, len(str(len(self) - 1)))
            name = f"events-{number:0{digits}d}{ENDINGS[self.format][0]}"
        return Shard(name, first, min(self.shard_size, self.events - first))

    def numbers(self, part: Part | None = None) -> range:
        """The numbers of the files of a part, which follow one another; of all files if None."""
        job, jobs = part or (1, 1)
        return range((job - 1) * len(self) // jobs, job * len(self) // jobs)

    def check(self, generator: EventGenerator, condition: Mapping[str, Any] | ak.Array | None) -> None:
        """Sees to it that files of this plan can be made of a generator and conditions, here and now.

        Raises:
            OutputError: If it is another generator, there are other conditions, or hepgan is of another
                version than that which made the plan.
        """
        here = installed_versions()["hepgan"]
        if here != self.version:
            msg = f"the plan is of hepgan {self.version}, and this is {here}, whose events may be others"
            raise OutputError(msg)
        if generator.digest() != self.model:
            msg = f"the plan is for another model than this one of the recipe {generator.recipe.name}"
            raise OutputError(msg)
        if _digest(condition) != self.conditions:
            msg = "the plan is for other conditions than these"
            raise OutputError(msg)

    def differences(self, other: Plan) -> str:
        """What is different in another plan, in words."""
        mine, theirs = self.model_dump(), other.model_dump()
        # Digests and many numbers say nothing to people.
        hidden = {"model", "conditions", "efficiency", "normalisation"}
        return ", ".join(
            f"another {name}" if name in hidden else f"{name} {theirs[name]} instead of {value}"
            for name, value in mine.items()
            if value != theirs[name]
        )


def _digest(condition: Mapping[str, Any] | ak.Array | None) -> str:
    """A digest of conditions as ``EventGenerator.generate`` takes them."""
    if condition is None or (not isinstance(condition, ak.Array) and not condition):
        return ""
    named = {n: condition[n] for n in condition.fields} if isinstance(condition, ak.Array) else condition
    found = hashlib.blake2b(digest_size=16)
    for name in sorted(named):
        value = named[name]
        found.update(repr(name).encode())
        if isinstance(value, ak.Array):
            form, _, buffers = ak.to_buffers(ak.to_packed(value))
            found.update(form.to_json().encode())
            for key in sorted(buffers):
                found.update(np.ascontiguousarray(buffers[key]).tobytes())
        else:
            numbers = np.asarray(value)
            found.update(f"{numbers.dtype.kind} {numbers.shape}".encode())
            found.update(numbers.tobytes() if numbers.dtype.kind in "biuf" else repr(value).encode())
    return found.hexdigest()
