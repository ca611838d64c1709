"""Which number is the event weight, by its name, and events by another weight."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from toys import dimuons

from hepgan.errors import InputError
from hepgan.events import Field, read_events, schema_of, weighted_by, write_events
from hepgan.events.formats import ArraySource
from hepgan.events.structure import draft
from hepgan.events.weights import WEIGHT_TITLE, looks_like_weight, weight_names


def scalars(*names: str, dtype: str = "float32") -> list[Field]:
    return [Field(name=n, branches=(n,), dtype=dtype) for n in names]


@pytest.mark.parametrize(
    "name",
    [
        *("genWeight", "weight", "mcWeight", "mcEventWeight", "weight_mc", "mc_weight", "EventWeight"),
        *("totalWeight", "weight_nominal", "evt_weight", "nSig_sw", "sig_sWeight", "N_sw", "sweights"),
    ],
)
def test_the_weight_is_found_by_its_name(name):
    source = ArraySource(ak.Array({name: [1.0], "Jet_pt": [30.0], "met": [3.0]}))
    schema = draft(list(source.branches.values()))
    assert schema.weight == name
    assert looks_like_weight(name)


@pytest.mark.parametrize(
    "name", ["puWeight", "weight_pileup", "weight_error", "btagWeight_up", "weight_leptonSF"]
)
def test_factors_and_errors_of_a_weight_are_none_but_look_like_one(name):
    assert weight_names(scalars(name)) == []
    assert looks_like_weight(name)


@pytest.mark.parametrize("name", ["npvs", "swift", "weighted_pt", "lightweight", "raw", "H_T", "wt_jet"])
def test_other_numbers_are_no_weights(name):
    assert not looks_like_weight(name)
    assert weight_names(scalars(name)) == []


def test_the_most_telling_name_comes_first_whatever_the_order():
    names = ["bkg_sw", "totalWeight", "sig_sw", "weight", "puWeight", "genWeight", "met"]
    expected = ["genWeight", "weight", "totalWeight", "sig_sw", "bkg_sw"]
    assert weight_names(scalars(*names)) == expected
    assert weight_names(scalars(*reversed(names))) == expected
    marked = [*scalars(*names), Field(name="w", branches=("w",), title=WEIGHT_TITLE)]
    assert weight_names(marked)[0] == "w"
    assert weight_names([*scalars("weight", dtype="bool"), *scalars("mcWeight", dtype="string")]) == []


def test_a_file_whose_weight_has_the_title_is_weighted_by_it(tmp_path):
    events = dimuons(50, 1, weighted=True)
    schema = schema_of(ak.with_field(events, np.arange(50) + 1.0, "w"))
    titled = tuple(
        f.model_copy(update={"title": WEIGHT_TITLE}) if f.name == "w" else f for f in schema.scalars
    )
    schema = schema.model_copy(update={"scalars": titled})
    for name in ("a.root", "a.parquet"):
        write_events(tmp_path / name, ak.with_field(events, np.arange(50) + 1.0, "w"), schema=schema)
        assert schema_of(read_events(tmp_path / name)).weight == "w"


def test_events_by_another_weight_have_the_first_no_more():
    schema = schema_of(ak.with_field(dimuons(50, 1, weighted=True), np.ones(50), "mine"))
    assert weighted_by(schema, None) == weighted_by(schema, "genWeight") == schema
    other = weighted_by(schema, "mine")
    assert (other.weight, other.scalar_names) == ("mine", ("npv", "mine"))
    assert weighted_by(schema, "none").scalar_names == ("npv", "mine")
    assert weighted_by(schema, "none").weight is None
    assert weighted_by(schema, "none", keep=["genWeight"]).scalar_names == ("npv", "genWeight", "mine")
    with pytest.raises(InputError, match=r"no number of the events is called 'nowhere'.*npv, genWeight"):
        weighted_by(schema, "nowhere")
