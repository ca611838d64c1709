"""Reduced cross sections: a structure function comes back from the events that it made."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
from scipy import stats
from toys import by_members

import hepgan
from hepgan.errors import InputError
from hepgan.validation import reduced_cross_section
from hepgan.validation.cross_sections import ALPHA, PB_GEV2

BEAMS = (27.5, 920.0)
S = 4 * BEAMS[0] * BEAMS[1]
RANGES = (1e-4, 1.0), (4.0, 1e4)
X_EDGES = np.geomspace(1e-3, 0.6, 7)
Q2_EDGES = np.geomspace(5, 2000, 10)
ALL = {"x_edges": X_EDGES, "Q2_edges": Q2_EDGES}


def f2(x, q2):
    """A structure function with scaling violations."""
    return 0.4 * x**-0.2 * (1 - x) ** 3 * (q2 / 10) ** (0.1 - 0.3 * x)


def density(x, q2):
    """d2 sigma / d ln x d ln Q2 in pb, of one photon's exchange with F_L = 0."""
    y = q2 / (S * x)
    born = 2 * math.pi * ALPHA**2 * PB_GEV2 * (1 + (1 - y) ** 2) * f2(x, q2) / q2
    return np.where(y < 1, born, 0.0)


def electrons(x, q2, direction=1, seed=1):
    """Events with the scattered electron of these x and Q2, in float64."""
    y = q2 / (S * x)
    plus, minus = 2 * BEAMS[0] * (1 - y), q2 / (2 * BEAMS[0])
    phi = np.random.default_rng(seed).uniform(-math.pi, math.pi, len(x))
    pt = np.sqrt(plus * minus)
    parts = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": direction * (plus - minus) / 2}
    electron = ak.zip(parts | {"energy": (plus + minus) / 2}, with_name="Momentum4D")
    return ak.zip({"Electron": electron, "beam": np.full(len(x), BEAMS[0])}, depth_limit=1)


def drawn(n, seed):
    """x, Q2 of n events (at least), and their integrated luminosity in 1/pb."""
    rng = np.random.default_rng(seed)
    spans = [math.log(high / low) for low, high in RANGES]
    # Q2 with a density of 1 / Q2 in its logarithm, which makes the weights nearly even.
    size = 12 * n
    low, high = RANGES[1]
    q2 = 1 / rng.uniform(1 / high, 1 / low, size)
    x = RANGES[0][0] * np.exp(spans[0] * rng.random(size))
    weight = density(x, q2) * q2 * (1 / low - 1 / high) * spans[0]
    top = weight.max() * 1.001
    kept = np.flatnonzero(rng.random(size) * top < weight)
    # size proposals of weight w / top are events of a luminosity of size / top.
    return x[kept], q2[kept], size / top


@pytest.fixture(scope="module")
def sample():
    return drawn(15_000, 1)


def expected(i, j, alpha_points=200):
    """The mean of F2 over the part of a bin with y < 1."""
    x, q2 = (
        np.linspace(e[k], e[k + 1], alpha_points * 2 + 1)[1::2] for e, k in ((X_EDGES, i), (Q2_EDGES, j))
    )
    x, q2 = np.meshgrid(x, q2, indexing="ij")
    inside = q2 < S * x
    return f2(x, q2)[inside].mean() if inside.any() else math.nan


@pytest.mark.parametrize("direction", [1, -1])
def test_the_structure_function_comes_back(sample, direction):
    x, q2, luminosity = sample
    events = electrons(x, q2, direction)
    found = reduced_cross_section(
        events, luminosity=luminosity, beams=("beam", BEAMS[1]), direction=direction, **ALL
    )
    truth = np.array([[expected(i, j) for j in range(9)] for i in range(6)])
    assert np.array_equal(np.isnan(truth), np.isnan(found.values))
    many = found.entries >= 50
    assert many.sum() > 25
    assert (found.inside[many] < 1).any(), "some bins reach beyond y = 1"
    pulls = (found.values - truth)[many] / found.errors[many]
    assert stats.chi2.sf(np.square(pulls).sum(), len(pulls)) > 1e-3
    assert abs(pulls.mean()) < 4 / len(pulls) ** 0.5
    assert np.nanmedian(found.errors[many] / found.values[many]) < 0.1


def test_weights_count_and_histograms_hold_them(sample):
    x, q2, luminosity = sample
    events = electrons(x, q2)
    plain = reduced_cross_section(events, luminosity=luminosity, beams=BEAMS, **ALL)
    weights = np.where(np.arange(len(x)) % 4 == 0, -2.0, 2.0)
    weighted = reduced_cross_section(
        ak.with_field(events, weights, "genWeight"), luminosity=luminosity, beams=BEAMS, **ALL
    )
    many = plain.entries > 500
    difference = (weighted.values - plain.values)[many]
    np.testing.assert_allclose(weighted.errors[many], 2 * plain.errors[many], rtol=1e-9)
    assert np.abs(difference / weighted.errors[many]).max() < 5
    made = weighted.hist()
    assert [a.name for a in made.axes] == ["x", "Q2"]
    np.testing.assert_array_equal(made.values()[many], weighted.values[many])
    np.testing.assert_allclose(np.sqrt(made.variances()[many]), weighted.errors[many])


def test_members_give_a_band_which_is_the_statistical_error_where_they_differ_by_chance(sample):
    x, q2, luminosity = sample
    events = by_members(electrons(x, q2), np.arange(len(x)) % 20)
    found = reduced_cross_section(events, luminosity=luminosity, beams=BEAMS, **ALL)
    many = found.entries > 200
    # Each member has a twentieth of the events; of 20 numbers a variance is known to (2 / 19)^0.5.
    ratio = np.square(found.spread[many] / found.errors[many]) / 20
    assert ratio.mean() == pytest.approx(1.0, abs=4 * (2 / 19 / many.sum()) ** 0.5)
    assert np.array_equal(found.band, found.spread, equal_nan=True)
    # One member tells no spread, nor does a number that is called so by chance.
    for other in (
        by_members(electrons(x, q2), np.zeros(len(x))),
        ak.with_field(electrons(x, q2), np.arange(len(x)) % 20, "member"),
    ):
        one = reduced_cross_section(other, luminosity=luminosity, beams=BEAMS, **ALL)
        assert one.spread is None
        assert np.array_equal(one.band, one.errors, equal_nan=True)


def test_a_range_of_y_leaves_the_structure_function_as_it_is(sample):
    x, q2, luminosity = sample
    found = reduced_cross_section(
        electrons(x, q2), luminosity=luminosity, beams=BEAMS, y_range=(0.05, 0.6), **ALL
    )
    whole = reduced_cross_section(electrons(x, q2), luminosity=luminosity, beams=BEAMS, **ALL)
    both = (found.entries > 200) & (found.inside > 0.3)
    assert (found.inside[both] < 1).sum() > 5
    assert (np.abs(found.values / whole.values - 1) < 5 * found.errors / found.values + 0.1)[both].all()


def test_the_plot_has_points_of_true_and_bands_of_generated_events(sample, tmp_path):
    x, q2, luminosity = sample
    first = np.arange(len(x)) % 2 == 0
    results = [
        reduced_cross_section(electrons(x[s], q2[s]), luminosity=luminosity / 2, beams=BEAMS, **ALL)
        for s in (first, ~first)
    ]
    figure = results[0].plot({"generated": results[1]})
    panel = figure.axes[0]
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
    assert len(panel.texts) == 6
    assert len(panel.collections) >= 6
    figure.savefig(tmp_path / "reduced.png")
    other = reduced_cross_section(
        electrons(x, q2), luminosity=1.0, beams=BEAMS, x_edges=X_EDGES[:3], Q2_edges=Q2_EDGES
    )
    with pytest.raises(ValueError, match="generated has other bins"):
        results[0].plot({"generated": other})


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"luminosity": 0.0}, ValueError, "luminosity must be a positive number"),
        ({"x_edges": [0.1, 0.01]}, ValueError, "x_edges must ascend above 0 and up to 1"),
        ({"Q2_edges": [0.0, 4.0]}, ValueError, "Q2_edges must ascend above 0"),
        ({"y_range": (0.5, 0.2)}, ValueError, "y_range must ascend"),
        ({"beams": ("bean", 920.0)}, InputError, "no 'bean' in the events; they have Electron, beam"),
    ],
)
def test_what_cannot_be_used_is_told(change, error, match):
    events = electrons(np.array([0.1, 0.2]), np.array([10.0, 20.0]))
    options = {"luminosity": 1.0, "beams": ("beam", 920.0), **ALL}
    with pytest.raises(error, match=match):
        reduced_cross_section(events, **options | change)


def test_events_of_several_energies_or_without_a_lepton_are_refused():
    events = electrons(np.array([0.1, 0.2]), np.array([10.0, 20.0]))
    several = ak.with_field(events, [10.0, 20.0], "beam")
    with pytest.raises(InputError, match="beam is 10 to 20; a reduced cross section needs events of one"):
        reduced_cross_section(several, luminosity=1.0, beams=("beam", 920.0), **ALL)
    jagged = ak.with_field(events, ak.unflatten(events.Electron[[0, 0, 1]], [2, 1]), "Electron")
    with pytest.raises(InputError, match=r"entry 0.*2 Electron instead of one"):
        reduced_cross_section(jagged, luminosity=1.0, beams=BEAMS, **ALL)
    assert hepgan.validation.reduced_cross_section is reduced_cross_section
