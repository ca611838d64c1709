"""The shipped recipes of published systems have the features that were published."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
import torch
from scipy.stats import kstest

from hepgan.events import read_events, schema_of, select, to_batch
from hepgan.features import Representation
from hepgan.features.space import FeatureSpace
from hepgan.generator import EventGenerator
from hepgan.models import build_model
from hepgan.recipes import load_recipe
from hepgan.training import trainer

MUONS = [  # without the first muon's py, which is 0 as events are turned
    *("Muon[0].px", "Muon[1].px"),
    "Muon[1].py",
    *("Muon[0].pz", "Muon[1].pz"),
    *("Muon[0].energy", "Muon[1].energy"),
]
# The paper counts 17, but lists 18: three isolations, five jets, missing momentum, vertices besides.
ALL = [
    *MUONS,
    *(f"Muon[0].{iso}" for iso in ("isoCh", "isoPh", "isoNh")),
    *(f"Jet[{i}].pt" for i in range(5)),
    *("MET.px", "MET.py"),
    "PV.npvs",
]


@pytest.fixture(scope="module")
def zmumu(shared_data):
    return read_events(f"{shared_data}/zmumu_train.root:Events", entry_stop=4000)


def represented(name, events):
    recipe = load_recipe(name)
    batch = to_batch(events, select(schema_of(events), recipe.events.select))
    return batch, Representation(recipe.features, batch.schema, recipe.conditions).fit(batch)


@pytest.mark.parametrize(("name", "features"), [("dy-gan", ALL), ("dy-gan-7", MUONS)])
def test_features_are_those_of_the_paper(zmumu, name, features):
    _, representation = represented(name, zmumu)
    assert list(representation.names) == features
    assert len(features) == {"dy-gan": 18, "dy-gan-7": 7}[name]
    assert representation.variables == (), "counts come from a threshold, integers from smearing"
    assert representation.context_size == 0


def test_features_are_standardised_momenta_turned_to_the_first_muon(zmumu):
    batch, representation = represented("dy-gan", zmumu)
    x = representation.encode(batch).x
    phi = batch.Muon.phi[:, 0]
    expected = {
        "Muon[0].px": batch.Muon.pt[:, 0],
        "Muon[1].py": batch.Muon.pt[:, 1] * torch.sin(batch.Muon.phi[:, 1] - phi),
        "Muon[1].energy": batch.Muon.energy[:, 1],
        "MET.px": batch.MET.pt * torch.cos(batch.MET.phi - phi),
    }
    for name, values in expected.items():
        v = values.double()
        standard = (v - v.mean()) / v.std(correction=0)
        torch.testing.assert_close(x[:, representation.names.index(name)], standard, rtol=1e-5, atol=1e-5)


def test_jets_are_those_above_the_threshold_and_isolations_the_first_muons(zmumu):
    batch, representation = represented("dy-gan", zmumu)
    features = representation.encode(batch)
    back = representation.decode(features, representation.azimuth(batch))
    assert torch.equal(back.Jet.mask, batch.Jet.mask)
    torch.testing.assert_close(back.Jet.pt, batch.Jet.pt.double())
    torch.testing.assert_close(back.Muon.isoCh[:, 0], batch.Muon.isoCh[:, 0].double(), rtol=1e-6, atol=1e-6)
    generator = torch.Generator().manual_seed(1)
    x = 2 * torch.randn(features.x.shape, generator=generator, dtype=torch.float64)
    jets = representation.decode(features.with_x(x)).Jet
    assert (jets.pt[jets.mask] > 15).all()
    assert (jets.mask.sum(1) < 5).any()
    assert (jets.pt[:, 1:] <= jets.pt[:, :-1])[jets.mask[:, 1:]].all()


def test_vertices_are_smeared_by_half_a_unit_and_rounded_down(zmumu):
    batch, representation = represented("dy-gan", zmumu)
    found = representation.decode(representation.encode(batch)).PV.npvs
    shift = (found - batch.PV.npvs).double()
    # A normal number of width 1/2 stays within half a unit in 68.3% of the events.
    sigma = math.sqrt(0.683 * 0.317 / len(batch))
    assert float((shift == 0).double().mean()) == pytest.approx(0.683, abs=4 * sigma)
    assert float(shift.mean()) == pytest.approx(0.0, abs=4 * 0.6 / math.sqrt(len(batch)))


@pytest.mark.parametrize("name", ["dy-gan", "dy-gan-7"])
def test_generated_events_are_uniform_in_azimuth(zmumu, name):
    recipe = load_recipe(name).with_settings(["training.steps=2", "training.evaluate_every=1000"])
    made = EventGenerator(recipe).fit(zmumu[:1000], seed=1, progress=False).generate(4000, seed=2)
    assert len(made) == 4000
    phi = ak.to_numpy(made.Muon.phi[:, 0])
    assert kstest(phi, "uniform", args=(-math.pi, 2 * math.pi)).pvalue > 1e-3
    assert np.all(np.abs(phi) <= np.float32(math.pi))


# ------------------------------------------------------------------ hybrid flows

FLOWS = {
    "drell-yan-paper": ["Lepton[0].px", "Lepton[0].py", "Lepton[0].pz", "Lepton[1].pz"],
    "wz-paper": [f"Particle[{i}].{c}" for c in ("pt", "eta", "phi") for i in range(4)],
}
SHORT = ["training.steps=3", "training.batch_size=256", "model.blocks=2", "model.network.widths=[16]"]
GUIDES = [
    "model.critics=[{name: mass, features: false, observables: [m_z], loss: bce_saturating}, "
    "{name: latent, latent: true}]",
    "model.penalties=[{kind: mmd, observables: m_z, widths: [5, 2, 1], standardised: false}]",
    "model.likelihood={reweighted_by: mass}",
    "model.fakes=128",
]


@pytest.fixture(scope="module", params=FLOWS)
def flow(request, shared_data):
    name = request.param
    path = shared_data / f"{name.removesuffix('-paper').replace('-', '_')}_train.root"
    return name, read_events(f"{path}:Events", entry_stop=4000)


def test_features_of_flows_are_those_of_the_thesis_decorrelated(flow):
    name, events = flow
    batch, representation = represented(name, events)
    assert list(representation.names) == FLOWS[name]
    assert representation.context_size == 0
    x = representation.encode(batch).x
    torch.testing.assert_close(x.T.cov(correction=0), torch.eye(x.shape[1], dtype=x.dtype), atol=1e-6, rtol=0)


def test_transforms_of_wz_are_those_of_the_thesis(shared_data):
    events = read_events(f"{shared_data}/wz_train.root:Events", entry_stop=4000)
    recipe = load_recipe("wz-paper").with_settings(["features.blocks.Particle.pca=false"])
    batch = to_batch(events, select(schema_of(events), recipe.events.select))
    representation = Representation(recipe.features, batch.schema, ()).fit(batch)
    x = representation.encode(batch).x
    # Each column is a straight line in what the thesis gives it as.
    expected = {"pt": torch.log(batch.Particle.pt.double()[:, 0] - 0.99 * batch.Particle.pt[:, 0].min())}
    expected["phi"] = torch.atanh(batch.Particle.phi.double()[:, 0] / (math.pi * (1 + 1e-6)))
    expected["eta"] = batch.Particle.eta.double()[:, 0]
    for c, values in expected.items():
        column = x[:, representation.names.index(f"Particle[0].{c}")]
        assert float(torch.corrcoef(torch.stack([column, values]))[0, 1]) > (0.99 if c == "pt" else 1 - 1e-6)


@pytest.mark.parametrize(
    ("name", "blocks", "parameters"), [("drell-yan-paper", 20, 1.4e6), ("wz-paper", 24, 2.7e6)]
)
def test_flows_have_as_many_parameters_as_the_thesis_says(name, blocks, parameters):
    config = load_recipe(name).model
    model = build_model(config, FeatureSpace(len(FLOWS[name]), 0))
    assert config.blocks == blocks
    assert round(sum(p.numel() for p in model.parameters()), -5) == parameters


def test_flows_train_with_every_guide_and_keep_what_the_features_promise(flow):
    name, events = flow
    recipe = load_recipe(name).with_settings([*SHORT, *GUIDES])
    generator = EventGenerator(recipe).fit(events, seed=1, progress=False)
    losses = generator.history.losses
    for term in ("likelihood", "mass_adversarial", "latent_adversarial", "mmd_m_z"):
        assert np.isfinite(losses[f"flow/{term}"]).all()
    made = generator.generate(500, seed=2)
    momenta = made.Lepton if name == "drell-yan-paper" else made.Particle
    if name == "drell-yan-paper":
        for c in ("px", "py"):
            p = ak.to_numpy(momenta[c])
            np.testing.assert_array_equal(p[:, 0], -p[:, 1])
    energy = np.sqrt(sum(ak.to_numpy(momenta[c]).astype(np.float64) ** 2 for c in ("px", "py", "pz")))
    np.testing.assert_allclose(ak.to_numpy(momenta.energy), energy, rtol=1e-6)


def test_published_flows_end_when_their_time_is_over(flow, monkeypatch):
    name, events = flow
    # A clock of the test's own, so that no busy machine takes the time.
    clock = itertools.count()
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    recipe = load_recipe(name).with_settings(SHORT[1:])
    generator = EventGenerator(recipe).fit(events, seed=1, progress=False, max_time=40.0)
    assert generator.summary["status"] == "time"
    assert generator.history.losses["lr"][-1] < 0.1
