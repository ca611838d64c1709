"""Observables whose values have weights of their own."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import RecipeError
from hepgan.observables import Observable, ObservableConfig, from_config

PAIRS = "pairs(Jet)"
CORRELATOR = Observable(
    "c", f"{PAIRS}.deltaR", range=(0, 5), weight=f"{PAIRS}.first.energy * {PAIRS}.second.energy / MET.pt ** 2"
)


def test_values_and_weights_are_those_of_awkward_pairs_in_both_forms(events):
    a, b = ak.unzip(ak.combinations(events.array.Jet, 2))
    weights = a.energy * b.energy / events.array.MET.pt**2
    for form in (events.array, events.batch):
        values, index, weight = CORRELATOR.flat(form)
        np.testing.assert_allclose(values, ak.flatten(a.deltaR(b)), rtol=1e-9)
        np.testing.assert_allclose(weight, ak.flatten(weights), rtol=1e-9)
        np.testing.assert_array_equal(index, np.repeat(np.arange(len(a)), ak.num(a)))


def test_the_full_weight_is_the_events_times_the_values_own(events):
    for form, event_weight in ((events.array, np.asarray(events.array.genWeight)), (events.batch, None)):
        event_weight = events.batch.genWeight if event_weight is None else event_weight
        flat = CORRELATOR.flat(form)
        np.testing.assert_allclose(
            flat.full_weight(event_weight), np.asarray(event_weight)[flat.index] * np.asarray(flat.weight)
        )
        plain = Observable("pt", "Jet.pt").flat(form)
        np.testing.assert_array_equal(plain.full_weight(event_weight), event_weight[plain.index])


def test_weights_of_the_event_go_to_all_of_its_objects(events):
    for form in (events.array, events.batch):
        flat = Observable("pt", "Jet.pt", weight="1 / nJet").flat(form)
        total = np.bincount(flat.index, flat.weight, len(events.batch))
        np.testing.assert_allclose(total, np.asarray(ak.num(events.array.Jet) > 0), rtol=1e-12)


def test_a_value_without_a_weight_is_left_out(events):
    for form in (events.array, events.batch):
        flat = Observable("phi", "MET.phi", weight="Jet[0].pt").flat(form)
        has_jet = np.flatnonzero(ak.to_numpy(ak.num(events.array.Jet) > 0))
        np.testing.assert_array_equal(flat.index, has_jet)
        assert len(flat.values) == len(flat.weight) == len(has_jet)


def test_conditions_weigh_0_or_1_and_integers_are_real_numbers(events):
    flat = Observable("pt", "Jet.pt", weight="Jet.tight").flat(events.batch)
    assert flat.weight.dtype == torch.float64
    assert set(flat.weight.tolist()) == {0.0, 1.0}


def test_weights_may_use_fields_that_the_values_do_not(events):
    flat = Observable("m", "pairs(Jet).mass", weight="pairs(Jet).first.tight").flat(events.array)
    first, _ = ak.unzip(ak.combinations(events.array.Jet, 2))
    np.testing.assert_array_equal(flat.weight, ak.flatten(first.tight))


def test_weights_have_finite_gradients(events):
    energy = events.batch.Jet.fields["energy"].clone().requires_grad_(True)
    events.batch.Jet.fields["energy"] = energy
    CORRELATOR.flat(events.batch).weight.sum().backward()
    assert torch.isfinite(energy.grad).all()
    assert (energy.grad[~events.batch.Jet.mask] == 0).all()
    assert (energy.grad[events.batch.Jet.mask.sum(1) > 1] != 0).any()


@pytest.mark.parametrize(
    ("expression", "weight", "reason"),
    [
        ("Jet.pt", "Muon.pt", "as a weight: Jet and Muon are different sets of objects"),
        ("MET.pt", "Jet.pt", "a weight for each of Jet, where the quantity is one number an event"),
        ("MET.pt", "MET", "not a number"),
    ],
)
def test_a_weight_that_does_not_fit_is_an_error(expression, weight, reason, events):
    observable = Observable("x", expression, weight=weight)
    for use in (
        lambda: observable.check(events.schema),
        lambda: observable.flat(events.batch),
        lambda: observable.flat(events.array),
    ):
        with pytest.raises(RecipeError, match=reason):
            use()


def test_only_expressions_have_weights_that_are_expressions():
    with pytest.raises(ValueError, match="not a function"):
        Observable("f", function=lambda ev: ev.MET.pt, weight="MET.pt")
    with pytest.raises(RecipeError, match="not an expression"):
        Observable("f", "MET.pt", weight="MET.pt *")
    with pytest.raises(RecipeError, match=r"observable f: .*not an expression"):
        from_config({"expression": "MET.pt", "weight": "MET.pt *"}, "f")


def test_a_weighted_observable_is_no_number_of_each_event(events):
    with pytest.raises(RecipeError, match="weighted"):
        Observable("x", "MET.pt", weight="nJet").dense(events.batch)


def test_the_weight_is_in_the_configuration():
    config = CORRELATOR.config
    again = from_config(ObservableConfig.model_validate(config.model_dump()), "c")
    assert again == CORRELATOR
