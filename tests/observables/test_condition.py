from __future__ import annotations

import re

import awkward as ak
import pytest
import torch

from hepgan.errors import InputError, RecipeError
from hepgan.events import schema_of, to_batch
from hepgan.observables import Condition, Observable


@pytest.fixture(scope="module")
def events():
    return ak.Array(
        {
            "Jet": ak.zip({"pt": [[50.0, 20.0], [40.0], []], "tight": [[True, False], [False], []]}),
            "HLT": ak.zip({"low": [True, True, False]}),
            "met": [10.0, 20.0, 30.0],
        }
    )


@pytest.mark.parametrize(
    ("expression", "held"),
    [
        ("met > 15", [False, True, True]),
        ("Jet[1].pt > 10", [True, False, False]),
        ("not Jet[1].pt > 10", [False, True, True]),
        ("~(Jet[1].pt > 10)", [False, True, True]),
        ("not HLT.low or max(Jet.pt) > 45", [True, False, True]),
        ("Jet[1].pt > 10 or Jet[0].pt < 45", [True, True, False]),
        ("(Jet[1].pt > 10) | (met > 25)", [True, False, True]),
        ("Jet[0].tight", [True, False, False]),
        ("not Jet[0].tight and nJet < 2", [False, True, True]),
        ("any(Jet.pt > 45) or all(Jet.pt > 35)", [True, True, True]),
        ("20 < Jet[0].pt < 45", [False, True, False]),
        ("nJet", [True, True, False]),
    ],
)
def test_what_an_event_lacks_fulfils_no_condition(events, expression, held):
    condition = Condition(expression)
    assert condition(events).tolist() == held
    batch = to_batch(events, schema_of(events))
    condition.check(batch.schema)
    assert condition(batch).dtype == torch.bool
    assert condition(batch).tolist() == held


def test_an_observable_of_what_an_event_lacks_stays_missing(events):
    assert Observable("o", "not Jet[1].pt > 10")(events).tolist() == [False, None, None]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("Jet.pt > 30", "a condition for each of Jet; any(...) or all(...) make one of the event"),
        ("met", "a condition is needed here, such as Jet.pt > 30, not a number"),
        ("Jet", "the result is objects"),
        ("HLT.high", "no field or property 'high'"),
        ("1 < 2", "does not depend on the events"),
        ("count(Jet[Jet.pt > 30]) > 1 and (met", "not an expression"),
    ],
)
def test_what_is_no_condition_of_events_is_told(events, expression, message):
    with pytest.raises(RecipeError, match=re.escape(message)):
        Condition(expression).check(schema_of(events))


def test_conditions_are_of_events():
    with pytest.raises(InputError, match=r"an EventBatch or an ak\.Array, not list"):
        Condition("met > 1")([1.0])
