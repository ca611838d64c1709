"""What the parts of a representation promise."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, NamedTuple, Self

import torch
from pydantic import AfterValidator
from torch import Tensor

from hepgan.config import Config
from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch
from hepgan.events.schema import Address
from hepgan.features.draft import Draft
from hepgan.features.facts import Facts
from hepgan.features.reading import Reading
from hepgan.features.space import Grid
from hepgan.features.variables import Column, DiscreteVariable
from hepgan.vectors.kinematics import azimuth

__all__ = ["Encoded", "Part", "Planned", "Told", "TransformSpec", "circular_mean", "whole"]


def _not_empty(spec: Any) -> Any:
    if spec in ([], {}, ""):
        msg = "a transform is missing: name one, such as quantile or standardise"
        raise ValueError(msg)
    return spec


TransformSpec = Annotated[str | dict[str, Any] | list[str | dict[str, Any]], AfterValidator(_not_empty)]
"""A transform's kind (``quantile``), its kind with options (``{kind: log_edge, edge: 10}``), or a chain."""


def whole(text: str) -> Address:
    """What ``Muon[0]``, or ``MET`` alone, stands for: an object; with a field if it is a number after all.

    Raises:
        ValueError: If it is malformed.
    """
    found = Address.parse(text)
    return Address(found.field, None, "") if found.collection is None else found


class Encoded(NamedTuple):
    """Events as a part has them.

    Attributes:
        columns: (N, D) in float64, meaningless where they don't exist.
        classes: (N, K) the classes of its discrete variables.
    """

    columns: Tensor
    classes: Tensor


class Told(NamedTuple):
    """What follows from the classes of events.

    Attributes:
        exists: (N, D) which columns exist.
        hints: (N, H) numbers that help networks to understand the classes.
    """

    exists: Tensor
    hints: Tensor


class Part(Config):
    """A part of a representation: some objects or fields as columns and discrete variables, and back.

    A part holds what the recipe says and what it has learned, and nothing else; so it is also what is saved.
    It is apart from its settings, since these are what a recipe may say: no learned number is among them.

    Subclasses have ``settings`` and a ``kind``; they are made by ``make``, of constants that ``learn`` finds.

    Attributes:
        collection: The collection whose number of objects it needs; empty if none.
        columns: Its continuous columns.
        variables: Its discrete variables.
    """

    first: ClassVar[bool] = False
    """Whether other parts need what it writes (masses, which are fields)."""

    last: ClassVar[bool] = False
    """Whether it needs what other parts write (directions of objects)."""

    collection: str = ""
    columns: tuple[Column, ...] = ()
    variables: tuple[DiscreteVariable, ...] = ()

    @property
    def transforms(self) -> Mapping[str, TransformSpec]:
        """The recipe's transforms, by column."""
        found: dict[str, TransformSpec] = self.settings.transforms  # type: ignore[attr-defined]
        return found

    @property
    def pca(self) -> bool:
        """Whether to decorrelate the columns."""
        return bool(getattr(self.settings, "pca", False))  # type: ignore[attr-defined]

    @property
    def grid(self) -> Grid | None:
        """The image whose cells its columns are, if they are, from ``first`` on."""
        return None

    @property
    def optional(self) -> frozenset[str]:
        """Names of columns that the part may have for other events, so that a recipe may name them."""
        return frozenset()

    def check_transforms(self) -> None:
        """Checks that the recipe's transforms are of columns that the part can have.

        Raises:
            RecipeError: If one is not.
        """
        known = {_last(key) for column in self.columns for key in column.keys} | self.optional
        for key in self.transforms:
            if _last(key) in known:
                continue
            close = get_close_matches(_last(key), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(known))}"
            msg = f"transforms: no column {key!r}; {hint}"
            raise RecipeError(msg)

    @classmethod
    def arranged(cls, settings: Any, reading: Reading) -> Reading:
        """The events as a part of these settings wants to read them, with objects in another order."""
        return reading

    def joined(self, variables: Sequence[DiscreteVariable], facts: Facts) -> Self:
        """The part among others, which together have these variables."""
        return self

    @property
    def indices(self) -> Mapping[Address, str]:
        """Of variables that are indices of objects the collection that these are in."""
        return {}

    @property
    def tells(self) -> bool:
        """Whether `tell` says more of its columns than their gates do."""
        return False

    @abstractmethod
    def read(self, reading: Reading) -> Encoded:
        """The events as columns and classes.

        Raises:
            InputError: If an event is such as cannot be generated; or it is noted (see ``Refusal``).
        """

    @abstractmethod
    def write(self, encoded: Encoded, draft: Draft) -> None:
        """Puts what columns and classes stand for into the draft."""

    def tell(self, discrete: Tensor, own: Tensor, count: Tensor) -> Told | None:
        """What follows from classes, beyond the columns' gates; None if nothing does.

        Args:
            discrete: (N, K) all classes.
            own: (N, own K) those of this part.
            count: (N,) the number of objects.
        """
        return None

    def replaces(self, discrete: Tensor, own: Tensor) -> Mapping[str, Tensor]:
        """Where (N, M) it has the directions of a collection's objects, whose own columns then don't exist.

        Args:
            discrete: (N, K) all classes.
            own: (N, own K) those of this part.
        """
        return {}

    @property
    def hint_count(self) -> int:
        """The number of hints that it tells."""
        return 0

    def known(self, present: Callable[[str], Tensor]) -> Tensor | None:
        """The classes (N, K) that follow from given objects, -2 where none does; None if none do.

        Args:
            present: Where (N, V) a given collection has an object.
        """
        return None

    def settled(self, discrete: Tensor, own: Tensor, count: Tensor) -> Tensor | None:
        """The part's classes (N, K) with those put right that others rule out; None if there are none such.

        Args:
            discrete: All classes of the events (N, every K), as a model has drawn them.
            own: The part's own (N, K).
            count: The number of objects (N,) of its collection.
        """
        return None

    @property
    def judges(self) -> bool:
        """Whether ``possible`` can find events that cannot be."""
        return False

    def possible(self, events: EventBatch, facts: Facts) -> Tensor | None:
        """Which events (N,) can be; None if all can."""
        return None

    def lost(self, facts: Facts) -> Mapping[tuple[str | None, str], tuple[int, ...]]:
        """The objects whose number of a name (by collection and field) does not come back, on purpose."""
        return {}


class Planned(NamedTuple):
    """A part that is to be learned.

    Attributes:
        part: Its class.
        settings: The recipe's settings.
        more: What it needs to know besides.
    """

    part: Any
    settings: Any
    more: dict[str, Any]

    def learn(self, reading: Reading) -> Part:
        """The part, of training events that are arranged for it.

        Raises:
            RecipeError: If the settings don't fit the events.
        """
        made: Part = self.part.learn(self.settings, reading, **self.more)
        return made


def _last(key: str) -> str:
    return key[key.rfind(".") + 1 :]


def circular_mean(angles: Tensor, present: Tensor | None) -> list[float]:
    """The mean direction of each column of (N, M), opposite which it is best cut; 0 if flat."""
    weight = torch.ones_like(angles) if present is None else present.to(angles.dtype)
    x = (weight * torch.where(weight > 0, angles, 0.0).cos()).sum(0)
    y = (weight * torch.where(weight > 0, angles, 0.0).sin()).sum(0)
    number = weight.sum(0)
    # Beyond 5 standard deviations of the resultant of random directions.
    directed = (x**2 + y**2).sqrt() > 5 * (number / 2).sqrt()
    return [float(a) for a in torch.where(directed, azimuth(x, y), 0.0)]
