from __future__ import annotations

import numpy as np
import pytest
from toys import dimuons

from hepgan.errors import RecipeError
from hepgan.events import event_weights, schema_of
from hepgan.observables import Observable


def test_event_weights_are_those_of_the_schema_or_one():
    events = dimuons(30, 1, weighted=True)
    assert event_weights(events).tolist() == events.genWeight.tolist()
    assert event_weights(events[["Muon"]], schema_of(events)).tolist() == [1.0] * 30
    assert event_weights(dimuons(30, 1)).tolist() == [1.0] * 30


def test_a_column_has_a_number_for_each_event_and_nan_where_there_is_none():
    events = dimuons(60, 1)
    found = Observable("lead", "Jet[0].pt").column(events)
    counts = np.asarray([len(jets) for jets in events.Jet])
    assert np.array_equal(np.isnan(found), counts == 0)
    assert found[counts > 0].tolist() == [jets[0].pt for jets in events.Jet if len(jets)]
    assert Observable("lead", "Jet[0].pt").per_event(events)
    of_objects = Observable("pt", "Jet.pt")
    assert not of_objects.per_event(events)
    assert not Observable("met", "MET.pt", weight="MET.pt").per_event(events)
    with pytest.raises(ValueError, match="several values in an event"):
        of_objects.column(events)
    with pytest.raises(RecipeError):
        Observable("tau", "Tau[0].pt").column(events)


def test_no_events_have_the_schema_of_some_but_for_their_limits():
    events = dimuons(40, 1, weighted=True)
    some, none = schema_of(events), schema_of(events[:0])
    assert none.scalar_names == some.scalar_names
    assert [(c.name, c.field_names) for c in none.collections] == [
        (c.name, c.field_names) for c in some.collections
    ]
    assert event_weights(events[:0]).tolist() == []
