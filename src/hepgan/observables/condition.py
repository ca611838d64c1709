"""Conditions that an event fulfils or does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import awkward as ak
import numpy as np

from hepgan.arguments import checked
from hepgan.errors import InputError, RecipeError
from hepgan.events import EventBatch, EventSchema
from hepgan.observables.evaluate import evaluate_condition
from hepgan.observables.language import parse
from hepgan.observables.observable import example, text_used
from hepgan.observables.sources import AwkwardSource, BatchSource

__all__ = ["Condition"]

_ROWS = 100_000
"""Events of an awkward array that are looked at together."""


@checked
@dataclass(frozen=True)
class Condition:
    """A condition of whole events, such as ``not HLT.IsoMu24 or any(Muon.pt > 24)``.

    What an event lacks fulfils no condition: of one jet, ``Jet[1].pt > 30`` is false, and ``not`` of it true.

    Args:
        expression: It, in the language of observables.

    Raises:
        RecipeError: If the expression is not of the language.
    """

    expression: str

    def __post_init__(self) -> None:
        parse(self.expression)

    def __call__(self, events: Any) -> Any:
        """Which events fulfil it.

        Args:
            events: N events, an `EventBatch` or an ak.Array.

        Returns:
            (N,) a tensor for a batch, a numpy array for an awkward array.

        Raises:
            RecipeError: If it does not fit the events.
            InputError: If the events are neither.
        """
        parsed = parse(self.expression)
        if isinstance(events, EventBatch):
            return evaluate_condition(parsed, BatchSource(events))
        if not isinstance(events, ak.Array):
            msg = f"events are an EventBatch or an ak.Array, not {type(events).__name__}"
            raise InputError(msg)
        parts = [
            evaluate_condition(parsed, AwkwardSource(events[start : start + _ROWS])).numpy()
            for start in range(0, max(len(events), 1), _ROWS)
        ]
        return np.concatenate(parts)

    @property
    def names(self) -> frozenset[str]:
        """The collections, numbers of the event and numbers of objects (``nJet``) that it uses."""
        return parse(self.expression).names

    @checked
    def check(self, schema: EventSchema) -> None:
        """Checks that it fits events of a schema, before there are any.

        Raises:
            RecipeError: If it names what the events do not have, or is no condition of whole events.
        """
        text = text_used(schema, self.expression)
        if text:
            msg = f"{self.expression}: {text} is text, not a number"
            raise RecipeError(msg)
        evaluate_condition(parse(self.expression), BatchSource(example(schema)), strict=True)
