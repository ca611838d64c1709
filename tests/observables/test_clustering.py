"""kT clusters and N-subjettiness, against fastjet and by hand."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import RecipeError
from hepgan.observables import Observable
from hepgan.observables.clustering import axes_of, subjets, taus

NUMBERS = (0, 1, 2, 3, 7, 40, 25, 12, 30, 5)


def particles(seed=0, repeat=20):
    """Particles around an axis at phi of nearly pi: pt, eta, phi (N, M), and where there is one."""
    rng = np.random.default_rng(seed)
    counts = torch.tensor(NUMBERS * repeat)
    shape = (len(counts), max(NUMBERS))
    pt = torch.from_numpy(rng.exponential(8.0, shape) + 0.1)
    eta = torch.from_numpy(rng.normal(0.4, 0.4, shape))
    phi = torch.from_numpy((3.1 + rng.normal(0, 0.4, shape) + np.pi) % (2 * np.pi) - np.pi)
    return pt, eta, phi, torch.arange(shape[1]) < counts[:, None]


def momenta(pt, eta, phi):
    return torch.stack([pt * phi.cos(), pt * phi.sin(), pt * eta.sinh(), pt * eta.cosh()], -1)


def as_lists(p, mask):
    counts = mask.sum(1).numpy()
    parts = {n: ak.unflatten(p[..., k][mask].numpy(), counts) for k, n in enumerate(("px", "py", "pz", "E"))}
    return ak.zip(parts, with_name="Momentum4D")


def cluster_of(fastjet, mask, p, radius, scheme):
    jets = fastjet.JetDefinition(fastjet.kt_algorithm, radius, scheme)
    return fastjet.ClusterSequence(as_lists(p, mask), jets)


def test_subjets_are_those_of_fastjet():
    fastjet = pytest.importorskip("fastjet")
    pt, eta, phi, mask = particles()
    owner = subjets(pt, eta, phi, mask, 0.3, True)
    found = torch.zeros_like(pt).scatter_add(1, owner, torch.where(mask, pt, 0.0))
    some = mask.any(1)
    jets = cluster_of(fastjet, mask[some], momenta(pt, eta, phi)[some], 0.3, fastjet.pt_scheme)
    jets = jets.inclusive_jets(min_pt=0)
    expected = np.sort(ak.to_numpy(ak.flatten(np.hypot(jets.px, jets.py))))
    assert len(expected) > 1000
    assert np.allclose(np.sort(found[found > 0].numpy()), expected, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:dcut and exclusive jets")
@pytest.mark.parametrize("number", [1, 2, 3])
def test_axes_and_nsubjettiness_are_those_of_fastjet(number):
    fastjet = pytest.importorskip("fastjet")
    pt, eta, phi, mask = particles(1)
    p = momenta(pt, eta, phi)
    enough = mask.sum(1) >= 3
    p, mask = p[enough], mask[enough]
    cluster = cluster_of(fastjet, mask, p, 100.0, fastjet.E_scheme)
    jets = cluster.exclusive_jets(n_jets=number)
    found, there = axes_of(p, mask, number)
    assert there.all()
    mine = np.sort(found[..., 3].numpy(), axis=1)
    assert np.allclose(mine, np.sort(np.asarray(ak.to_numpy(jets.E)), axis=1), rtol=1e-5)
    tau = cluster.njettiness(
        njets=[number],
        axes_definition="KT_Axes",
        measure_definition="NormalizedMeasure",
        beta=1.0,
        R0=1.0,
    )
    assert np.allclose(taus(p, mask, number).numpy(), np.asarray(tau).reshape(-1), atol=1e-5)


def test_nsubjettiness_is_near_that_of_minimised_axes_in_the_jets(shared_data):
    """Stored is that of axes that were improved by one minimisation, from the same ones, in 5,000 jets."""
    uproot = pytest.importorskip("uproot")
    jets = uproot.open(shared_data / "jet_images_test.root")["Events"].arrays(entry_stop=1000)
    events = ak.zip(
        {
            "C": ak.zip(
                {n: jets[f"Constituent_{b}"] for n, b in (("pt", "pt"), ("eta", "deta"), ("phi", "dphi"))}
            )
        },
        depth_limit=1,
    )
    one, two = (ak.to_numpy(Observable("t", f"nsubjettiness(C, {n})")(events)) for n in (1, 2))
    stored = ak.to_numpy(jets.jet_tau21)
    assert (one > ak.to_numpy(jets.jet_tau1) - 1e-5).all()
    assert np.corrcoef(two / one, stored)[0, 1] > 0.85
    assert np.abs((two / one).mean() - stored.mean()) < 0.04


def test_events_with_no_more_objects_than_axes_have_none():
    pt, eta, phi, mask = particles()
    p = momenta(pt, eta, phi)
    for number in (1, 2, 3):
        found = taus(p, mask, number)
        few = mask.sum(1) <= number
        assert few.any()
        assert torch.allclose(found[few], torch.zeros(int(few.sum()), dtype=found.dtype), atol=1e-7)
        assert (found[~few] > 0).all()


def test_holes_between_objects_and_the_order_do_not_matter():
    pt, eta, phi, mask = particles(3)
    order = torch.from_numpy(np.random.default_rng(0).permuted(np.tile(np.arange(40), (len(pt), 1)), axis=1))
    mixed = [t.gather(1, order) for t in (pt, eta, phi, mask)]
    p, q = momenta(pt, eta, phi), momenta(*mixed[:3])
    assert torch.allclose(taus(p, mask, 2), taus(q, mixed[3], 2), rtol=1e-9)


def test_the_gradient_is_that_of_finite_differences():
    pt, eta, phi, mask = particles(4, repeat=1)

    def found(pt, eta, phi):
        return taus(momenta(pt, eta, phi), mask, 2)

    given = [t.clone().requires_grad_() for t in (pt, eta, phi)]
    assert torch.autograd.gradcheck(found, given, atol=1e-5, fast_mode=True)
    found(*given).sum().backward()
    assert all(torch.isfinite(t.grad).all() and (t.grad != 0).any() for t in given)


def test_two_prongs_have_a_small_ratio():
    events = ak.zip(
        {
            "Hit": ak.Array(
                [[{"pt": 10.0, "eta": y + s, "phi": 0.0} for y in (-0.5, 0.5) for s in (-0.01, 0.01)]]
            )
        },
        depth_limit=1,
    )
    one, two = (Observable("t", f"nsubjettiness(Hit, {n})")(events)[0] for n in (1, 2))
    assert one == pytest.approx(0.5, rel=1e-2)
    assert two == pytest.approx(0.01, rel=1e-6)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("nsubjettiness(Jet, 0)", "from 1 to 10"),
        ("nsubjettiness(Jet, 1.5)", "from 1 to 10"),
        ("nsubjettiness(MET, 1)", "objects"),
        ("nsubjettiness(Jet.pt, 1)", "momentum"),
    ],
)
def test_what_makes_no_sense_is_told(schema, expression, reason):
    with pytest.raises(RecipeError, match=reason):
        Observable("x", expression).check(schema)


def test_none_of_no_objects():
    events = ak.zip({"Hit": ak.Array([[], [{"pt": 1.0, "eta": 0.0, "phi": math.pi}]])}, depth_limit=1)
    assert Observable("t", "nsubjettiness(Hit, 2)")(events).to_list() == [None, 0.0]
