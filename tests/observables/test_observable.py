from __future__ import annotations

import json
import math

import awkward as ak
import hist
import numpy as np
import pytest
import torch

from hepgan.errors import RecipeError
from hepgan.events.batch import EventBatch, Objects
from hepgan.events.schema import Collection, EventSchema, Field
from hepgan.observables import Observable, ObservableConfig, Values, from_config, from_python_file

from .conftest import make


def dimuon_mass(ev):
    return (ev.Muon[:, 0] + ev.Muon[:, 1]).mass


# ------------------------------------------------------------------------------------- functions


def test_a_python_function_works_on_arrays_and_on_tensors(events):
    observable = Observable("m", function=dimuon_mass)
    expected = Observable("m", "(Muon[0] + Muon[1]).mass").flat(events.array)[0]
    np.testing.assert_allclose(observable.flat(events.array)[0], expected)
    np.testing.assert_allclose(observable.flat(events.batch)[0], expected)
    assert observable.check(events.schema) == (True, False, False)


def test_a_function_may_return_a_mask_or_values(events):
    def jet_energy(ev):
        return (ev.Jet.energy, ev.Jet.mask) if isinstance(ev, EventBatch) else ev.Jet.energy

    def values(ev):
        return Values(*jet_energy(ev)) if isinstance(ev, EventBatch) else ev.Jet.energy

    for function in (jet_energy, values):
        observable = Observable("E", function=function)
        for one, other in zip(
            observable.flat(events.array)[:2], observable.flat(events.batch)[:2], strict=True
        ):
            np.testing.assert_allclose(one, other)


def test_a_function_that_forgets_the_padding_is_told_so(events):
    with pytest.raises(RecipeError, match=r"Jet is padded, so return \(numbers, mask\)"):
        Observable("pt", function=lambda ev: ev.Jet.energy)(events.batch)


@pytest.mark.parametrize(
    "function", [lambda ev: 3, lambda ev: ev.Jet, lambda ev: ev.Nothing.pt, lambda ev: ev.MET.pt[:-1]]
)
def test_a_function_that_gives_no_numbers_is_an_error(function, events):
    observable = Observable("bad", function=function)
    for run in (lambda: observable(events.array), lambda: observable(events.batch)):
        with pytest.raises(RecipeError, match="observable bad: its function"):
            run()
    with pytest.raises(RecipeError, match="observable bad"):
        observable.check(events.schema)


def test_a_function_cannot_be_stored():
    with pytest.raises(RecipeError, match="m is a Python function"):
        _ = Observable("m", function=dimuon_mass).config


def test_a_function_is_loaded_from_the_file_that_the_user_names(tmp_path, events):
    path = tmp_path / "mine.py"
    path.write_text("def double_met(ev):\n    return 2 * ev.MET.pt\n")
    observable = from_python_file(path, "double_met")
    np.testing.assert_allclose(observable.flat(events.array)[0], 2 * ak.to_numpy(events.array.MET.pt))
    assert from_python_file(path, "other", function="double_met").name == "other"
    with pytest.raises(RecipeError, match=r"mine\.py.*no function 'nothing'"):
        from_python_file(path, "nothing")
    with pytest.raises(RecipeError, match="no such Python file"):
        from_python_file(tmp_path / "none.py", "f")
    path.write_text("1 / 0")
    with pytest.raises(RecipeError, match="ZeroDivisionError"):
        from_python_file(path, "f")


def test_there_is_either_an_expression_or_a_function():
    for more in ({}, {"expression": "nJet", "function": dimuon_mass}):
        with pytest.raises(ValueError, match="either"):
            Observable("x", **more)


# ------------------------------------------------------------------------------------- values


def test_flat_values_come_with_their_event_numbers_for_weights(events):
    for form in (events.array, events.batch):
        values, index, _ = Observable("pt", "Jet.pt").flat(form)
        weight = np.asarray(form.genWeight)[np.asarray(index)]
        total = np.bincount(np.asarray(index), np.asarray(values) * weight, len(events.batch))
        expected = ak.sum(events.array.Jet.pt, axis=1) * events.array.genWeight
        np.testing.assert_allclose(total, ak.to_numpy(expected))


def test_flat_values_of_fixed_objects_are_in_event_order(events):
    values, index, _ = Observable("pt", "Muon.pt").flat(events.batch)
    assert index.tolist() == np.repeat(np.arange(len(events.batch)), 2).tolist()
    np.testing.assert_allclose(values, ak.to_numpy(ak.flatten(events.array.Muon.pt)))


def test_dense_is_for_numbers_of_the_event_only(events):
    with pytest.raises(RecipeError, match="a value for each object"):
        Observable("pt", "Jet.pt").dense(events.batch)
    values, mask = Observable("n", "nJet").dense(events.batch)
    assert values.dtype == torch.float64
    assert mask.all()


def test_text_fields_are_refused_by_the_check():
    fields = (Field(name="pt", branches=("a",)), Field(name="type", branches=("b",), dtype="string"))
    schema = EventSchema(collections=(Collection(name="Jet", layout="jagged", fields=fields, max_count=3),))
    with pytest.raises(RecipeError, match=r"Jet\.type is text"):
        Observable("x", "Jet.type == 1").check(schema)


# ------------------------------------------------------------------------------------- axes


def test_axes_have_name_label_and_unit():
    axis = Observable("m", "nJet", bins=40, range=(60, 120), label=r"$m_{\mu\mu}$", unit="GeV").axis()
    assert axis == hist.axis.Regular(40, 60, 120, name="m", label=r"$m_{\mu\mu}$ [GeV]")
    assert axis.label == r"$m_{\mu\mu}$ [GeV]"
    assert Observable("m", "nJet", range=(0, 1)).axis().label == "m"


def test_axes_can_be_variable_logarithmic_and_whole():
    assert Observable("m", "nJet", edges=(0, 1, 5)).axis().edges.tolist() == [0, 1, 5]
    log = Observable("m", "nJet", bins=2, range=(1, 100), log=True).axis()
    np.testing.assert_allclose(log.edges, [1, 10, 100])
    whole = Observable("m", "nJet", range=(0, 3), integer=True).axis()
    assert whole.size == 4
    assert whole.index(3) == 3


@pytest.mark.parametrize(
    "bad",
    [
        {"range": (1, 1)},
        {"range": (2, 1)},
        {"range": (0, math.inf)},
        {"range": (0, 10), "log": True},
        {"range": (0.5, 3), "integer": True},
        {"edges": (1,)},
        {"edges": (1, 3, 2)},
    ],
)
def test_an_axis_that_cannot_be_is_an_error_at_once(bad):
    with pytest.raises(RecipeError, match="observable x"):
        Observable("x", "nJet", **bad)
    with pytest.raises(RecipeError, match="observable x"):
        from_config({"expression": "nJet", **bad}, "x")


def test_an_axis_needs_a_range():
    with pytest.raises(ValueError, match="with_range_from"):
        Observable("x", "nJet").axis()


# ------------------------------------------------------------------------------------- ranges


def ranged(values, weights=None, **more):
    return Observable("x", "nJet", **more).with_range_from(np.asarray(values), weights)


def test_the_range_holds_all_but_the_tails_and_is_nice():
    rng = np.random.default_rng(0)
    found = ranged(rng.normal(91.2, 2.5, 100_000), unit="GeV")
    low, high = found.range
    assert 80 <= low < 91.2 - 3 * 2.5
    assert 91.2 + 3 * 2.5 < high <= 102
    width = (high - low) / found.bins
    assert 40 <= found.bins <= 70
    mantissa = width / 10 ** math.floor(math.log10(width))
    assert math.isclose(low, round(low, 6))
    assert mantissa < 10


def test_outliers_do_not_widen_the_range():
    rng = np.random.default_rng(0)
    values = np.append(rng.exponential(20, 100_000), [1e6, math.nan, math.inf])
    low, high = ranged(values, unit="GeV").range
    assert low == 0
    assert 100 < high < 250


def test_weights_decide_the_quantiles_and_may_be_negative():
    values = np.concatenate([np.linspace(0, 1, 1001), np.linspace(100, 200, 1001)])
    weights = np.concatenate([np.full(1001, -1.0), np.zeros(1001)])
    assert ranged(values, weights).range == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 weights for 2 values"):
        ranged([1.0, 2.5], np.ones(3))


def test_whole_numbers_get_a_bin_each():
    found = ranged(np.array([0, 3, 5]))
    assert found.integer
    assert found.axis().size == 6
    assert ranged([-1.0, 1.0, 1.0]).integer
    assert not ranged(np.array([-2212, 11, 2212])).integer
    assert ranged(torch.tensor([True, False]).to(torch.int64)).range == (0.0, 1.0)


def test_angles_get_their_natural_range():
    rng = np.random.default_rng(0)
    assert ranged(rng.uniform(-math.pi, math.pi, 1000), unit="rad").range == (-math.pi, math.pi)
    assert ranged(rng.uniform(0, 2, 1000), unit="rad").range == (0.0, math.pi)


def test_steep_positive_values_get_logarithmic_bins():
    rng = np.random.default_rng(0)
    found = ranged(10 ** rng.uniform(-1, 5, 10_000) + 0.1, unit="GeV$^2$")
    assert found.log
    assert found.axis().edges[0] > 0
    assert ranged(-(10 ** rng.uniform(-1, 5, 10_000))).log is False


def test_equal_values_get_a_range_around_them():
    low, high = ranged(np.full(10, 0.1057), unit="GeV").range
    assert low < 0.1057 < high
    low, high = ranged(np.zeros(10), unit="GeV").range
    assert low < 0 < high


def test_a_range_needs_values():
    with pytest.raises(ValueError, match="at least one"):
        ranged([math.nan])


# ------------------------------------------------------------------------------------- configuration


def test_a_text_is_short_for_an_expression():
    assert ObservableConfig.model_validate("nJet") == ObservableConfig(expression="nJet")
    assert from_config("nJet", "n") == Observable("n", "nJet")
    assert from_config("nJet").name == "nJet"


def test_the_configuration_restores_the_observable_through_json():
    observable = Observable("m", "Jet.pt", bins=7, range=(1, 9), log=True, label="$p_T$", unit="GeV")
    stored = json.loads(json.dumps(observable.config.model_dump(mode="json")))
    assert from_config(stored, "m") == observable


def test_a_standard_observable_can_be_named_and_changed():
    observable = from_config({"standard": "mass", "objects": ["Muon[0]", "Muon[1]"], "bins": 30}, "m_mumu")
    assert observable.expression == "(Muon[0] + Muon[1]).mass"
    assert (observable.name, observable.bins, observable.unit) == ("m_mumu", 30, "GeV")
    assert from_config({"standard": "phi", "objects": ["Jet"]}).range == (-math.pi, math.pi)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "either an expression"),
        ({"expression": "nJet", "standard": "HT"}, "either an expression"),
        ({"expression": "nJet +"}, "column 7"),
        ({"expression": "nJet", "binz": 3}, "binz"),
        ({"expression": "nJet", "bins": 0}, "bins"),
        ({"expression": "nJet", "objects": ["Jet"]}, "objects and options belong"),
        ({"standard": "mas"}, "did you mean 'mass'"),
        ({"standard": "mass"}, "takes 1 to 8 objects, not 0"),
    ],
)
def test_a_wrong_configuration_is_a_recipe_error(config, reason):
    with pytest.raises(RecipeError, match=reason):
        from_config(config, "x")


def test_observables_of_events_from_a_subset_of_collections_work():
    both = make(1)
    batch = EventBatch(both.schema, {"MET": Objects(both.batch.MET.fields)})
    assert Observable("x", "MET.pt").flat(batch)[0].shape == (60,)
