"""What every penalty has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from pydantic import field_validator, model_validator
from torch import Tensor

from hepgan.config import Config
from hepgan.objectives.samples import Circumstances, Sample
from hepgan.objectives.terms import TermSchedule

__all__ = ["Penalty"]


class Penalty(Config, ABC):
    """A distance between the real and the generated distribution of observables.

    Attributes:
        observables: The observable, or several whose joint distribution is compared.
        features: Whether the features, as the generator makes them, are compared too.
        weight: The factor of the term in the loss.
        schedule: The part of the training in which the term counts; all of it if None.
        name: Its name in the history; made of kind and observables if empty.
    """

    kind: str
    observables: tuple[str, ...] = ()
    features: bool = False
    weight: float = 1.0
    schedule: TermSchedule | None = None
    name: str = ""

    @model_validator(mode="before")
    @classmethod
    def _accept_the_key_of_old(cls, data: Any) -> Any:
        if isinstance(data, dict) and "observable" in data and "observables" not in data:
            data = {("observables" if k == "observable" else k): v for k, v in data.items()}
        return data

    @field_validator("observables", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _complete(self) -> Penalty:
        if not (self.observables or self.features):
            msg = f"a penalty of kind {self.kind} compares nothing: give it observables or features"
            raise ValueError(msg)
        twice = sorted({n for n in self.observables if self.observables.count(n) > 1})
        if twice:
            msg = f"a penalty names {twice[0]!r} twice"
            raise ValueError(msg)
        if not self.name:
            # Not by assignment, so that it is not among the fields that the user has set.
            parts = (self.kind, *(["features"] if self.features else []), *self.observables)
            self.__dict__["name"] = "_".join(parts)
        return self

    @property
    def single(self) -> bool:
        """Whether it compares one observable only."""
        return len(self.observables) == 1 and not self.features

    @abstractmethod
    def distance(self, real: Sample, generated: Sample, at: Circumstances) -> Tensor:
        """The distance, a scalar, differentiable in the generated values and weights."""

    def __call__(self, real: Sample, generated: Sample, at: Circumstances | None = None) -> Tensor:
        """The distance; 0 if a sample is empty or its weights have no positive sum."""
        for sample in (real, generated):
            if not (sample.values.numel() and float(sample.weight.detach().sum()) > 0.0):
                return generated.values.sum() * 0.0
        return self.distance(
            _detached(real.to(torch.float64)), generated.to(torch.float64), at or Circumstances()
        )


def _detached(sample: Sample) -> Sample:
    return sample._replace(values=sample.values.detach(), weight=sample.weight.detach())
