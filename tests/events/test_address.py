"""Addresses are read back as they are written; everything is found whatever its name."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.events import (
    Address,
    Collection,
    EventBatch,
    EventSchema,
    Field,
    Objects,
    read_events,
    schema_of,
    to_awkward,
    to_batch,
    write_events,
)
from hepgan.events.schema import quoted, terms, unquoted
from hepgan.observables import Observable

SHADOWED = sorted(
    {n for kind in (Objects, EventBatch) for n in dir(kind) if not n.startswith("_")}
    | {"fields", "schema", "collections", "scalars", "layout", "type", "attrs", "first", "sum", "x", "rho"}
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Muon[0].pt", Address("Muon", 0, "pt")),
        ("Muon.pt", Address("Muon", None, "pt")),
        ("Muon[12]", Address("Muon", 12, "")),
        ("npvs", Address(None, None, "npvs")),
        ("Muon[0].mask", Address("Muon", 0, "mask")),
        ("my number", Address(None, None, "my number")),
        ("gen_Top.b.pt", Address("gen_Top", None, "b.pt")),
    ],
)
def test_addresses_are_read_as_they_are_written(text, address):
    assert Address.parse(f" {text} ") == address
    assert str(address) == text
    assert address.name == text.partition("[")[0].partition(".")[0]
    assert str(address._replace(field="")) == (address.owner or "")


@pytest.mark.parametrize(
    "name", ["time.t0", "x[2]", " a", "a`b", "`", "K+", "a\nb", "Größe", "[3]", "Muon[0].pt"]
)
def test_any_name_is_read_as_it_is_written(name):
    for address in (Address(None, None, name), Address(name, None, "pt"), Address(name, 3, name)):
        assert Address.parse(str(address)) == address
    assert unquoted(quoted(name)) == name
    assert Address.parse(quoted(name)) == Address(None, None, name)
    assert terms(f"{quoted(name)} + Muon[0]") == [quoted(name), "Muon[0]"]


def test_a_single_word_is_a_collection_where_there_is_one():
    assert Address.parse("MET", {"MET", "Muon"}) == Address("MET", None, "")
    assert str(Address("MET", None, "")) == Address("MET", None, "").owner == "MET"
    assert Address.parse("npvs", {"MET", "Muon"}) == Address(None, None, "npvs")


@pytest.mark.parametrize(
    "text", ["", "Muon[0", "Muon[-1].pt", "Muon[x].pt", "Muon.pt[0]", " ", ".pt", "Muon."]
)
def test_what_is_no_address_is_an_error(text):
    with pytest.raises(ValueError, match="cannot read"):
        Address.parse(text)


def named(*names: str) -> ak.Array:
    """Two events with fields of a list, fields of one object, and a number of the event called so."""
    values = ak.Array([[1.5, 2.5], [3.5]])
    plain = ak.Array([0.5, 4.5])
    lists = {"pt": values, "eta": values, "phi": values / 4, "mass": values}
    return ak.zip(
        {
            "Hit": ak.zip(lists | {n: values + 10 * i for i, n in enumerate(names, 1)}),
            "One": ak.zip(
                {"pt": plain, "phi": plain / 4} | {n: plain + 10 * i for i, n in enumerate(names, 1)}
            ),
            "number": plain,
        },
        depth_limit=1,
    )


def test_fields_of_any_name_are_found_in_tensors_files_and_observables(tmp_path):
    written = named(*SHADOWED)
    events = read_events(write_events(tmp_path / "a.root", written))
    batch = to_batch(events)
    again = to_awkward(batch)
    for i, name in enumerate(SHADOWED, 1):
        more = 10.0 * i
        assert batch["Hit"][name].tolist() == [[1.5 + more, 2.5 + more], [3.5 + more, 0.0]]
        assert batch["One"][name].tolist() == [0.5 + more, 4.5 + more]
        assert batch.collections["One"][name].tolist() == [[0.5 + more], [4.5 + more]]
        for form in (events, batch, again):
            first = Observable("x", f"Hit[0].{name} + One.{name} + Hit[0].pt").flat(form)
            assert np.asarray(first.values).tolist() == [3.5 + 2 * more, 11.5 + 2 * more]
        assert ak.array_equal(again.Hit[name], written.Hit[name], dtype_exact=False)


@pytest.mark.parametrize("name", SHADOWED)
def test_collections_and_numbers_of_any_name_are_found_in_tensors_and_observables(name):
    field = Field(name="e", branches=("e",))
    objects = Collection(name=name, layout="jagged", fields=(field,), max_count=2)
    batch = EventBatch(
        EventSchema(collections=(objects,)),
        {
            name: Objects(
                {"e": torch.tensor([[1.0, 2.0], [3.0, 0.0]])}, torch.tensor([[True, True], [True, False]])
            )
        },
    )
    assert batch[name]["e"].shape == batch[name].mask.shape == (2, 2)
    events = to_awkward(batch)
    scalar = EventSchema(scalars=(field.model_copy(update={"name": name}),))
    number = EventBatch(scalar, {}, {name: torch.tensor([4.0, 5.0])})
    assert number[name].tolist() == [4.0, 5.0]
    assert schema_of(events).collection_names == (name,)
    if name != "sum":
        for form in (batch, events):
            assert np.asarray(Observable("x", f"sum({name}.e)").flat(form).values).tolist() == [3.0, 3.0]
    for form in (number, to_awkward(number)):
        assert np.asarray(Observable("x", f"{name} + 1").flat(form).values).tolist() == [5.0, 6.0]


def test_what_is_not_there_is_an_error_that_says_what_is():
    batch = to_batch(named("tag"))
    with pytest.raises(KeyError, match="no field 'tog', only pt, eta, phi, mass, tag"):
        batch["Hit"]["tog"]
    with pytest.raises(KeyError, match="no collection or scalar 'Hut'; there are Hit, One, number"):
        batch["Hut"]
