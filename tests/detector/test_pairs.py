"""True objects with the measured ones that belong to them."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from response_toys import EFFICIENCY, FAKES, SMEARING, jet_pairs

from hepgan.detector import pairs, profile


def test_pairs_tell_efficiency_resolution_and_fakes():
    events = jet_pairs(20_000, 1)
    found = pairs(events, "GenJet", "Jet", distance="delta_r", within=0.12)
    flavour = ak.to_numpy(ak.flatten(events.GenJet.flavour))
    efficiency = profile(found.found, flavour, [-0.5, 0.5, 1.5])
    np.testing.assert_allclose(efficiency.mean, [EFFICIENCY[0], EFFICIENCY[1]], atol=0.02)
    assert found.fakes.mean() == pytest.approx(FAKES, abs=0.02)
    np.testing.assert_array_equal(found.event, np.repeat(np.arange(20_000), ak.num(events.GenJet)))
    response = profile(np.log(found.measured["pt"] / found.true["pt"]), found.true["eta"], [-2, 0, 2])
    np.testing.assert_allclose(response.width, SMEARING, rtol=0.05)
    assert np.isnan(found.measured["pt"][~found.found]).all()


def test_profiles_are_means_and_widths_of_what_is_in_a_bin():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 3, 5000)
    values = rng.normal(x, 0.5)
    values[:10] = np.nan
    made = profile(values, x, [0, 1, 2, 4, 5])
    for i, (low, high) in enumerate([(0, 1), (1, 2), (2, 4)]):
        inside = (x >= low) & (x < high) & np.isfinite(values)
        assert made.number[i] == inside.sum()
        assert made.mean[i] == pytest.approx(values[inside].mean())
        assert made.width[i] == pytest.approx(values[inside].std())
    assert made.number[3] == 0
    assert np.isnan(made.mean[3])
