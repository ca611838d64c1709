from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgan.errors import InputError
from hepgan.events import EventBatch, Objects, as_events, schema_of, select, to_awkward, to_batch


@pytest.fixture
def events(columns):
    return as_events(ak.Array(columns | {"kind": ak.Array(["GG", "TT"] * 500)}))


def test_objects_are_padded_with_zeros_behind_a_mask(events):
    batch = to_batch(events)
    most = int(ak.max(ak.num(events.Muon)))
    padded = ak.to_numpy(ak.fill_none(ak.pad_none(events.Muon.pt, most, clip=True), 0.0))
    assert batch.Muon.shape == (1000, most)
    assert torch.equal(batch.Muon.pt, torch.from_numpy(padded.astype(np.float64)))
    assert torch.equal(batch.Muon.mask.sum(1), torch.from_numpy(ak.to_numpy(ak.num(events.Muon))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_are_the_asked_float_and_int64(events, dtype):
    batch = to_batch(events, dtype=dtype)
    assert batch.Muon.pt.dtype is dtype
    assert batch.Muon.charge.dtype is torch.int64
    assert batch.Muon.fields["tight"].dtype is torch.int64
    assert batch.PV.npvs.dtype is torch.int64
    assert batch.kind.dtype is torch.int64
    assert batch.kind[:4].tolist() == [0, 1, 0, 1]


def test_there_and_back_is_exact(events):
    again = to_awkward(to_batch(events))
    kept = [n for n in events.fields if n not in ("run", "luminosityBlock", "event")]
    assert again.fields == kept
    for name in kept:
        assert ak.array_equal(again[name], events[name], same_content_types=False)
    assert str(again.Muon.type) == str(events.Muon.type)
    assert schema_of(again).collections == schema_of(events).collections


def test_a_part_of_the_schema_makes_a_part_of_the_batch(events):
    schema = select(schema_of(events), ["Muon.pt", "kind"])
    batch = to_batch(events, schema)
    assert list(batch.Muon.fields) == ["pt"]
    assert list(batch.collections) == ["Muon"]
    assert set(batch.scalars) == {"kind", "genWeight"}
    assert torch.equal(batch.weight, torch.from_numpy(ak.to_numpy(events.genWeight)))


def test_changing_a_batch_leaves_the_events_alone(events):
    before = ak.to_numpy(events.genWeight).copy()
    to_batch(events).genWeight.zero_()
    assert np.array_equal(ak.to_numpy(events.genWeight), before)


def test_masks_of_collections_of_fixed_count_take_no_memory(columns):
    pairs = {k: ak.unflatten(np.arange(2000, dtype=np.float32) / 1e4, 2) for k in ("Muon_pt", "Muon_phi")}
    events = as_events(ak.Array(pairs))
    batch = to_batch(events)
    assert batch.Muon.full
    assert batch.Muon.mask.shape == (1000, 2)
    assert batch.Muon.mask.all()
    assert batch.Muon.mask.untyped_storage().nbytes() == 1
    assert torch.equal(batch.Muon.pt[:, 1], torch.from_numpy(ak.to_numpy(events.Muon.pt[:, 1]).astype(float)))
    assert ak.array_equal(to_awkward(batch).Muon, events.Muon)


def test_masked_and_sliced_events_convert_as_their_copies(events):
    part = events[ak.num(events.Muon) > 1][::3]
    again = to_awkward(to_batch(part))
    assert ak.array_equal(again.Muon, ak.to_packed(part.Muon))


def test_any_mask_keeps_the_order_of_objects(events):
    batch = to_batch(events)
    mask = batch.Muon.mask & (batch.Muon.pt > 20)
    hard = EventBatch(
        batch.schema, batch.collections | {"Muon": Objects(batch.Muon.fields, mask)}, batch.scalars
    )
    assert ak.array_equal(to_awkward(hard).Muon, events.Muon[events.Muon.pt > 20])


def test_too_many_objects_are_named(events):
    schema = schema_of(events)
    muon = schema.collection("Muon").model_copy(update={"max_count": 2})
    counts = ak.to_numpy(ak.num(events.Muon))
    with pytest.raises(InputError, match="where the schema allows 0 to 2") as caught:
        to_batch(events, schema.model_copy(update={"collections": (muon,)}))
    assert caught.value.entry == int(np.argmax(counts > 2))


def test_unknown_strings_are_named(events):
    schema = schema_of(events)
    other = ak.with_field(events, ak.Array(["GG"] * 999 + ["XX"]), "kind")
    with pytest.raises(InputError, match="'XX' is not in GG, TT") as caught:
        to_batch(other, schema)
    assert (caught.value.branch, caught.value.entry) == ("kind", 999)


def test_computed_integers_are_rounded_and_gradients_left_behind(events):
    batch = to_batch(events)
    npvs = (batch.PV.npvs.double() + 0.3).requires_grad_()
    changed = EventBatch(batch.schema, batch.collections | {"PV": Objects({"npvs": npvs})}, batch.scalars)
    assert np.array_equal(to_awkward(changed).PV.npvs, events.PV.npvs)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=5),
        min_size=1,
        max_size=20,
    )
)
def test_lists_of_any_lengths_come_back(lists):
    values = ak.values_astype(ak.Array([*lists, [1.0]]), "float32")[: len(lists)]
    events = as_events(ak.Array({"Hit_energy": values}))
    again = to_awkward(to_batch(events))
    assert ak.to_list(again.Hit.energy) == ak.to_list(values)
    assert str(again.type) == str(events.type)


def test_no_events_make_an_empty_batch(events):
    batch = to_batch(events[:0], schema_of(events))
    assert len(batch) == 0
    assert batch.Muon.pt.shape == (0, 4)
    assert len(to_awkward(batch)) == 0


def test_batches_are_indexed_and_mapped_as_a_whole(events):
    batch = to_batch(events)
    part = batch[10:20]
    assert len(part) == 10
    assert ak.array_equal(to_awkward(part).Muon, events.Muon[10:20])
    assert torch.equal(batch[torch.tensor([3, 1])].MET.pt, batch.MET.pt[[3, 1]])
    with pytest.raises(AttributeError, match="no collection or scalar 'Tau'"):
        _ = batch.Tau
