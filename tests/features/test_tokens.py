from __future__ import annotations

import pytest
import torch
from feature_samples import fields, rng, uniform, z_events

from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.features import FeaturesConfig, Representation, Tokens

MOST = 4


def represent(events, conditions=(), **config):
    return Representation(FeaturesConfig.model_validate(config), events.schema, conditions).fit(events)


def hits(n=600, seed=1, classes=(3, 3, 3, 3)):
    """Up to four hits in no order: two numbers, and a layer; with the event's time and beam energy."""
    g = rng(seed)
    described = fields("Hit", "x", "y", layer={"kind": Kind.CATEGORY, "values": (0, 1, 2)})
    collection = Collection(name="Hit", layout="jagged", counter="nHit", fields=described, max_count=MOST)
    scalars = tuple(Field(name=name, branches=(name,)) for name in ("time", "beam"))
    there = torch.arange(MOST) < torch.randint(0, MOST + 1, (n, 1), generator=g)
    values = {name: uniform(g, 0, 1, n, MOST) for name in ("x", "y")}
    values["layer"] = torch.stack([torch.randint(0, c, (n,), generator=g) for c in classes], 1)
    objects = Objects({name: v.masked_fill(~there, 0) for name, v in values.items()}, there)
    schema = EventSchema(collections=(collection,), scalars=scalars)
    return EventBatch(schema, {"Hit": objects}, {name: uniform(g, 0, 1, n) for name in ("time", "beam")})


def named(representation, tokens):
    return [[representation.names[i] for i in row] for row in tokens.features]


def test_objects_in_no_order_are_tokens_with_all_their_features():
    representation = represent(hits())
    (tokens,) = representation.tokens
    assert (tokens.collection, tokens.ordered) == ("Hit", False)
    assert named(representation, tokens) == [[f"Hit[{i}].x", f"Hit[{i}].y"] for i in range(MOST)]


def test_context_of_tokens_is_the_encoded_classes_of_the_object():
    events = hits()
    representation = represent(events, ("beam",))
    features = representation.encode(events)
    (tokens,) = representation.tokens
    layer = torch.stack([features.context[:, list(row)] for row in tokens.context], 1)
    objects = events.collections["Hit"]
    expected = torch.nn.functional.one_hot(objects.fields["layer"].long(), 3) * objects.mask[..., None]
    assert torch.equal(layer.long(), expected)


def test_classes_that_an_object_never_has_are_no_columns():
    representation = represent(hits(classes=(3, 2, 3, 1)))
    (tokens,) = representation.tokens
    assert [len(row) for row in tokens.context] == [3] * 4
    assert [sum(c < 0 for c in row) for row in tokens.context] == [0, 1, 0, 3]
    every = [c for row in tokens.context for c in row if c >= 0]
    assert len(set(every)) == len(every) == 8


def test_the_first_of_ordered_objects_is_no_token_since_others_have_ratios():
    representation = represent(z_events(), ("npv",))
    (tokens,) = representation.tokens
    assert (tokens.collection, tokens.ordered) == ("Jet", True)
    kinds = ("pt_ratio", "eta", "phi", "mass")
    assert named(representation, tokens) == [[f"Jet[{i}].{kind}" for kind in kinds] for i in (1, 2)]


def test_objects_of_other_transforms_are_other_tokens():
    block = {
        "kind": "fields",
        "fields": ["Hit.x", "Hit.y"],
        "transforms": {"Hit[0].x": "standardise", "Hit[3].x": "standardise"},
    }
    representation = represent(hits(), blocks=[block])
    assert [named(representation, t) for t in representation.tokens] == [
        [["Hit[0].x", "Hit[0].y"], ["Hit[3].x", "Hit[3].y"]],
        [["Hit[1].x", "Hit[1].y"], ["Hit[2].x", "Hit[2].y"]],
    ]


def test_decorrelated_columns_belong_to_no_object():
    events = hits()
    whole = events.collections["Hit"]
    g = rng(2)
    fields_ = {n: uniform(g, 0, 1, 600, MOST) if n != "layer" else v for n, v in whole.fields.items()}
    collection = events.schema.collection("Hit").model_copy(update={"min_count": MOST})
    schema = events.schema.model_copy(update={"collections": (collection,)})
    full = EventBatch(schema, {"Hit": Objects(fields_)}, events.scalars)
    block = {"kind": "fields", "fields": ["Hit.x"], "pca": True}
    representation = represent(full, blocks=[block])
    (tokens,) = representation.tokens
    assert named(representation, tokens) == [[f"Hit[{i}].y"] for i in range(MOST)]


def test_tokens_are_the_same_after_reading():
    representation = represent(hits(), ("beam",))
    assert Representation.from_state(representation.state()).tokens == representation.tokens


def test_events_without_objects_have_no_tokens():
    schema = EventSchema(scalars=(Field(name="time", branches=("time",)),))
    assert represent(EventBatch(schema, {}, {"time": uniform(rng(), 0, 1, 50)})).tokens == ()


@pytest.mark.parametrize(
    ("features", "context"),
    [
        ([[0, 1]], []),
        ([[0, 1], [2]], []),
        ([[0], [0]], []),
        ([[], []], []),
        ([[0], [1]], [[0]]),
        ([[0], [1]], [[0], [1, 2]]),
    ],
)
def test_tables_that_are_none_are_refused(features, context):
    with pytest.raises(ValueError, match="Hit: no table of objects"):
        Tokens("Hit", features, context)
