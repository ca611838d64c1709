from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from normal import SIGMA, simulated
from scipy.integrate import quad
from scipy.stats import norm

from hepgan import Observable
from hepgan.detector import response
from hepgan.errors import InputError
from hepgan.plotting.unfolding import plot_response

TRUE = Observable("t", "t + 0", bins=6, range=(-3, 3))
FOUND = Observable("x", "Hit[0].x")


def migration(i, j):
    """The probability to be found in bin j of events of bin i, by integration."""
    low, high = TRUE.axis().edges[[i, i + 1]], TRUE.axis().edges[[j, j + 1]]

    def density(t):
        return norm.pdf(t) * np.diff(norm.cdf(high, t, SIGMA))[0]

    return quad(density, *low)[0] / np.diff(norm.cdf(low))[0]


@pytest.fixture(scope="module")
def found():
    return response(simulated(100_000, seed=1), TRUE, FOUND)


def test_migrations_are_those_of_the_resolution(found):
    for i in (1, 2, 3):
        for j in (1, 2, 3):
            p = migration(i, j)
            assert found.matrix[i, j] == pytest.approx(p, abs=5 * np.sqrt(p / found.vertex[i]))


def test_purity_and_stability_are_shares_of_the_diagonal(found):
    diagonal = found.matrix.diagonal() * found.vertex
    np.testing.assert_allclose(found.purity, diagonal / found.detector)
    np.testing.assert_allclose(found.stability, found.matrix.diagonal(), rtol=1e-12)
    np.testing.assert_allclose(found.efficiency, 1.0)


def test_folding_the_vertex_gives_the_detector():
    found = response(simulated(10_000, seed=7), TRUE, FOUND, edges=[-9.0, -1.0, 0.0, 1.0, 9.0])
    np.testing.assert_allclose(found.fold(found.vertex), found.detector)


def test_bins_narrower_than_the_resolution_are_ill_posed():
    events = simulated(100_000, seed=2)
    edges = np.concatenate([np.arange(-3.0, -0.05, 1.0), np.arange(0.0, 1.05, 0.1), [3.0]])
    found = response(events, TRUE, FOUND, edges=edges)
    narrow = np.diff(edges) < SIGMA
    assert found.ill_posed[narrow].all()
    assert not found.ill_posed[1:3].any()
    assert found.condition > 20 * response(events, TRUE, FOUND).condition


def test_a_perfect_detector_has_the_condition_1():
    events = simulated(10_000, seed=3)
    found = response(events, TRUE, Observable("again", "t + 0"))
    assert found.condition == pytest.approx(1.0)
    assert not found.ill_posed[1:-1].any()


def test_lost_events_count_in_the_efficiency_and_not_in_the_stability():
    events = simulated(50_000, seed=4, efficiency=lambda t: np.where(t > 0, 0.5, 1.0))
    found = response(events, TRUE, FOUND)
    np.testing.assert_allclose(found.efficiency[:3], 1.0)
    assert found.efficiency[3] == pytest.approx(0.5, abs=0.02)
    whole = response(simulated(50_000, seed=4), TRUE, FOUND)
    np.testing.assert_allclose(found.stability[3], whole.stability[3], atol=0.03)


def test_what_is_found_of_nothing_makes_bins_less_pure():
    events = simulated(50_000, seed=8)
    positive = Observable("t", function=lambda ev: ak.mask(ev.t, ev.t > 0), bins=6, range=(-3, 3))
    whole, found = response(events, TRUE, FOUND), response(events, positive, FOUND)
    np.testing.assert_allclose(found.purity[3:], whole.purity[3:])
    np.testing.assert_allclose(found.detector, whole.detector)
    np.testing.assert_allclose(found.purity[:3], 0.0)


def test_weights_count():
    events = simulated(20_000, seed=5)
    weighted = ak.with_field(events, np.where(ak.to_numpy(events.t) > 0, 2.0, 1.0), "weight")
    plain, found = response(events, TRUE, FOUND), response(weighted, TRUE, FOUND)
    np.testing.assert_allclose(found.vertex[3:], 2 * plain.vertex[3:])
    # Of what is found just above 0, less comes from below.
    assert found.purity[3] > plain.purity[3]


def test_bins_of_a_few_events_are_ill_posed():
    found = response(simulated(100, seed=6), TRUE, Observable("again", "t + 0"))
    assert found.ill_posed[[0, -1]].all()
    assert not found.enough[[0, -1]].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"edges": [1.0, 1.0]}, "ascending"), ({"threshold": 1.5}, "from 0 to 1")],
)
def test_what_makes_no_response_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        response(simulated(100), TRUE, FOUND, **settings)


def test_events_without_the_observable_are_refused():
    with pytest.raises(InputError, match="no event has the observable x"):
        response(simulated(100, efficiency=lambda t: 0 * t), Observable("x", "Hit[0].x", range=(-3, 3)), TRUE)


def test_the_picture_shows_each_bin(found, tmp_path):
    figure = plot_response(found, TRUE)
    assert figure.axes[0].get_ylabel() == "t, detector"
    figure.savefig(tmp_path / "response.png")
    assert len(found.rows()) == 6
