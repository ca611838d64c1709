from __future__ import annotations

import pytest
from pydantic import ValidationError

from hepgan.events import Collection, EventSchema, Field, Kind, coordinates, read_events, schema_of
from hepgan.events.schema import with_kinds

PT = Field(name="pt", branches=("Muon_pt",))


def muons(**changes: object) -> Collection:
    return Collection(**({"name": "Muon", "layout": "jagged", "fields": (PT,), "max_count": 2} | changes))


def test_a_schema_is_kept_in_json_exactly(path):
    schema = schema_of(read_events(path))
    assert EventSchema.model_validate_json(schema.model_dump_json()) == schema
    assert EventSchema.model_validate(schema.model_dump(mode="json")) == schema
    kept = EventSchema.model_validate_json(schema.model_dump_json()).collection("Muon")
    assert [type(v) for v in kept.field("tight").values] == [bool, bool]
    assert [type(v) for v in kept.field("mass").values] == [float]
    assert [type(v) for v in kept.field("charge").values] == [int, int]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_count": 3}, "min_count 3 exceeds max_count 2"),
        ({"layout": "single", "max_count": 1}, "one fixed count"),
        ({"layout": "indexed", "min_count": 2}, "needs 2 branches"),
        ({"fields": ()}, "at least 1 item"),
        ({"max_count": -1}, "greater than or equal to 0"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_collections_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        muons(**changes)


def test_schemas_that_cannot_be_are_refused():
    with pytest.raises(ValidationError, match="two things are called 'Muon'"):
        EventSchema(collections=(muons(), muons()))
    with pytest.raises(ValidationError, match="the weight 'w' is not among the scalars"):
        EventSchema(collections=(muons(),), weight="w")
    with pytest.raises(ValidationError, match="a category needs its values"):
        Field(name="charge", branches=("q",), kind=Kind.CATEGORY)


def test_what_is_not_there_is_named_with_what_is():
    schema = EventSchema(collections=(muons(),), scalars=(Field(name="x", branches=("x",)),))
    with pytest.raises(KeyError, match="no collection 'Jet'; there are Muon"):
        schema.collection("Jet")
    with pytest.raises(KeyError, match="no scalar 'y'; there are x"):
        schema.scalar("y")
    with pytest.raises(KeyError, match="Muon has no field 'eta'; it has pt"):
        schema.collection("Muon").field("eta")


def test_counts_tell_whether_a_collection_is_fixed():
    assert muons(min_count=2).fixed
    assert not muons().fixed


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("px", "py", "pz", "energy", "mass"), ("px", "py", "pz", "mass")),
        (("pt", "phi", "eta", "mass"), ("pt", "phi", "eta", "mass")),
        (("pt", "phi", "sumEt"), ("pt", "phi")),
        (("pt", "phi", "theta", "energy"), ("pt", "phi", "theta", "energy")),
        (("pt", "eta"), ()),
        (("x", "y"), ()),
    ],
)
def test_coordinates_are_chosen_by_preference(names, chosen):
    assert coordinates(names) == chosen


@pytest.mark.parametrize("kind", ["integer", "continuous"])
def test_true_and_false_stay_a_category(path, kind):
    with pytest.raises(ValueError, match="tight: true or false is a category, and no number"):
        with_kinds(schema_of(read_events(path)), {"Muon.tight": kind})
