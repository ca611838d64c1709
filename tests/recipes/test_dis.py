"""The recipes for inclusive e p scattering: published features and networks, and edges that hold."""

from __future__ import annotations

import json
import math

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.events import schema_of, select, to_batch, with_kinds
from hepgan.features import Representation
from hepgan.generator import EventGenerator
from hepgan.recipes import load_recipe

BEAM = 50.0
PUBLISHED = ("fat-gan", "fat-gan-spherical", "direct-gan")
QUICK = ["training.steps=2", "training.batch_size=64"]


def scattered(n, seed, *, energies=(BEAM,), direction=1, jagged=False):
    """Electrons with a density of 1/Q^4 above Q^2 = 2 GeV^2, flat in log x."""
    rng = np.random.default_rng(seed)
    beam = rng.choice(np.array(energies), 4 * n)
    q2, x = 2 / rng.uniform(2 / 400, 1, 4 * n), np.exp(rng.uniform(math.log(2e-3), 0, 4 * n))
    kept = np.flatnonzero(q2 / (4 * beam**2 * x) < 0.95)[:n]
    beam, q2, x = beam[kept], q2[kept], x[kept]
    along, against = 2 * beam * (1 - q2 / (4 * beam**2 * x)), q2 / (2 * beam)
    phi, pt = rng.uniform(-math.pi, math.pi, n), np.sqrt(along * against)
    columns = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": direction * (along - against) / 2}
    columns["energy"] = (along + against) / 2
    electrons = ak.zip({k: v.astype(np.float32) for k, v in columns.items()}, with_name="Momentum4D")
    electrons = ak.unflatten(electrons, np.ones(n, int)) if jagged else electrons
    return ak.zip({"Electron": electrons, "beam_energy": beam.astype(np.float32)}, depth_limit=1)


@pytest.fixture(scope="module")
def events():
    return scattered(2000, 1)


def represented(name, events):
    recipe = load_recipe(name)
    schema = select(schema_of(events), [*recipe.events.select, *recipe.conditions])
    if recipe.events.kinds:
        schema = with_kinds(schema, recipe.events.kinds)
    batch = to_batch(events, schema)
    return batch, Representation(recipe.features, schema, recipe.conditions).fit(batch)


def standard(values):
    return (values - values.mean()) / values.std(correction=0)


def test_the_published_features_are_px_py_and_the_logarithm_of_the_distance_from_the_edge(events):
    batch, representation = represented("fat-gan", events)
    assert representation.names == ("Electron.px", "Electron.py", "Electron.pz")
    x = representation.encode(batch).x
    electron = batch.Electron
    expected = [electron.px.double(), electron.py.double(), (BEAM - electron.pz.double()).log()]
    for column, values in zip(x.T, expected, strict=True):
        torch.testing.assert_close(column, standard(values), rtol=1e-5, atol=1e-5)


def test_the_spherical_features_are_logarithms_of_the_distances_from_their_edges(events):
    batch, representation = represented("fat-gan-spherical", events)
    assert representation.names == ("Electron.energy", "Electron.theta", "Electron.phi")
    x = representation.encode(batch).x
    energy, p = batch.Electron.energy.double(), batch.Electron
    theta = torch.atan2(torch.hypot(p.px, p.py), p.pz).double()
    # The edge of E is a little higher, for energies that are rounded to above it.
    expected = [((1 + 0.98e-5) * BEAM - energy).log(), theta.log()]
    for column, values in zip(x.T[:2], expected, strict=True):
        torch.testing.assert_close(column, standard(values), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "derived"),
    [
        ("fat-gan", {"energy", "pt", "pz", "pz_over_pt"}),
        ("fat-gan-spherical", {"energy", "pt", "px", "py", "pz", "pz_over_pt"}),
        ("direct-gan", set()),
    ],
)
def test_networks_and_training_are_the_published_ones(name, derived):
    recipe = load_recipe(name)
    model = recipe.model
    assert model.noise == 100
    (critic,) = model.critics
    for network in (model.generator, critic.network):
        assert network.widths == (512,) * 5
        assert (network.activation, network.slope) == ("leaky_relu", 0.2)
    assert (model.generator.dropout, critic.network.dropout) == (0.0, 0.1)
    assert (critic.loss, critic.gradient_penalty, critic.steps) == ("wgan_gp", 10.0, 5)
    assert set(critic.observables) == derived
    (mmd,) = model.penalties
    assert (mmd.kind, mmd.kernel, mmd.features, set(mmd.observables)) == ("mmd", "gaussian", True, derived)
    optimiser = recipe.training.optimiser
    assert (optimiser.kind, optimiser.lr, optimiser.betas) == ("adam", 1e-4, (0.5, 0.9))
    assert (recipe.training.steps, recipe.training.batch_size) == (200_000, 16_000)
    assert recipe.features.azimuth is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes_train_and_generate_events_of_the_same_type(name, events):
    small = ["model.generator.widths=[16, 16]", "model.critics.0.network.widths=[16, 16]"]
    generator = EventGenerator(load_recipe(name).with_settings([*QUICK, *small]))
    made = generator.fit(events, seed=1, device="cpu").generate(1000, seed=2)
    assert made.type.content == events.type.content
    assert ak.all(made.beam_energy == BEAM)
    if name == "fat-gan":
        assert ak.max(made.Electron.pz) <= BEAM
    if name == "fat-gan-spherical":
        assert ak.max(made.Electron.energy) <= BEAM


def test_only_the_spherical_and_our_own_features_bound_the_energy(events):
    beyond = {}
    for name in (*PUBLISHED, "dis"):
        batch, representation = represented(name, events)
        features = representation.encode(batch)
        x = 4 * torch.randn(features.x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        electron = representation.decode(features.with_x(x)).Electron
        beyond[name] = int((electron.energy > BEAM * (1 + 1e-12)).sum()), int((electron.pz > BEAM).sum())
    assert beyond["dis"] == beyond["fat-gan-spherical"] == (0, 0)
    assert beyond["fat-gan"][0] > 0, "pz < Eb does not bound E"
    assert beyond["fat-gan"][1] == 0
    assert beyond["direct-gan"][1] > 0


@pytest.mark.filterwarnings("ignore:the condition beam_energy is:UserWarning")
@pytest.mark.parametrize(("direction", "jagged"), [(1, False), (-1, True)])
def test_no_event_of_ours_is_beyond_an_edge_at_any_beam_energy(direction, jagged):
    events = scattered(2000, 3, energies=(30.0, BEAM), direction=direction, jagged=jagged)
    small = ["model.network.width=16", "model.steps=2", f"features.blocks.0.direction={direction}"]
    # The observables of the recipe are for one electron in each event, along +z.
    recipe = load_recipe("dis").with_settings([*QUICK, *small, *(["observables={}"] if jagged else [])])
    generator = EventGenerator(recipe).fit(events, seed=1, device="cpu")
    for beam in (20.0, 30.0, 40.0, 60.0):
        made = generator.generate(1000, seed=2, condition={"beam_energy": beam})
        energy = np.asarray(ak.flatten(made.Electron.energy, axis=None), dtype=np.float64)
        pz = direction * np.asarray(ak.flatten(made.Electron.pz, axis=None), dtype=np.float64)
        assert len(energy) == 1000
        assert energy.max() <= beam, "x < 1"
        y = 1 - (energy + pz) / (2 * beam)
        assert y.min() >= -1e-6
        assert y.max() <= 1.0
        assert energy.max() > 0.8 * beam


def test_our_events_are_uniform_in_azimuth(events):
    recipe = load_recipe("dis").with_settings([*QUICK, "model.network.width=16", "model.steps=2"])
    made = EventGenerator(recipe).fit(events, seed=1, device="cpu").generate(4000, seed=2)
    phi = np.arctan2(ak.to_numpy(made.Electron.py), ak.to_numpy(made.Electron.px))
    counts = np.histogram(phi, bins=20, range=(-math.pi, math.pi))[0]
    assert float(((counts - 200) ** 2 / 200).sum()) < 19 + 4 * math.sqrt(38)


def test_ranges_close_the_edge_that_the_published_features_leave_open(events):
    inner = "sqrt(max(beam_energy ** 2 - px ** 2, 0))"
    both = "sqrt(max(beam_energy ** 2 - px ** 2 - py ** 2, 0))"
    ranges = {"px": ["-beam_energy", "beam_energy"], "py": [f"-{inner}", inner], "pz": [f"-{both}", both]}
    recipe = load_recipe("fat-gan").with_settings(
        [
            f"features.blocks.0.ranges={json.dumps(ranges)}",
            # A little above 1, for energies that are rounded to above the beam's.
            "features.blocks.0.transforms.pz={kind: log_edge, edge: 1.00001, side: upper}",
        ]
    )
    batch = to_batch(events, select(schema_of(events), recipe.events.select))
    representation = Representation(recipe.features, batch.schema).fit(batch)
    features = representation.encode(batch)
    x = 4 * torch.randn(features.x.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    energy = representation.decode(features.with_x(x)).Electron.energy
    assert float(energy.max()) <= BEAM * (1 + 1e-12)
    assert float(energy.max()) > 0.99 * BEAM


def test_the_conditional_features_are_those_of_every_beam_energy():
    events = scattered(2000, 1, energies=(20.0, 30.0, BEAM))
    batch, representation = represented("cfat-gan", events)
    assert representation.names == ("Electron.px", "Electron.py", "Electron.pz")
    features = representation.encode(batch)
    beam = batch.scalars["beam_energy"].double()
    electron = batch.Electron
    expected = [electron.px.double(), electron.py.double(), (beam - electron.pz.double()).log()]
    for column, values in zip(features.x.T, expected, strict=True):
        torch.testing.assert_close(column, standard(values), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(features.context, standard(beam)[:, None])


def test_networks_of_the_conditional_gan_are_the_published_ones():
    model = load_recipe("cfat-gan").model
    assert (model.noise, model.penalties) == (100, ())
    (critic,) = model.critics
    for network in (model.generator, critic.network):
        assert network.widths == (512,) * 8
        assert (network.activation, network.slope) == ("leaky_relu", 0.2)
    assert (model.generator.dropout, critic.network.dropout) == (0.0, 0.1)
    assert (critic.loss, critic.gradient_penalty, critic.features, critic.context) == (
        "wgan_gp",
        10,
        True,
        True,
    )
    assert set(critic.observables) == {"energy", "pt", "pz", "pz_over_pt"}


@pytest.mark.filterwarnings("ignore:the condition beam_energy is:UserWarning")
def test_the_conditional_gan_keeps_pz_below_every_beam_energy():
    small = ["model.generator.widths=[16, 16]", "model.critics.0.network.widths=[16, 16]"]
    events = scattered(2000, 1, energies=(20.0, 30.0, BEAM))
    generator = EventGenerator(load_recipe("cfat-gan").with_settings([*QUICK, *small]))
    generator.fit(events, seed=1, device="cpu")
    for beam in (20.0, 25.0, 50.0, 60.0):
        made = generator.generate(1000, seed=2, condition={"beam_energy": beam})
        assert ak.all(made.beam_energy == beam)
        assert ak.max(made.Electron.pz) <= beam


@pytest.mark.filterwarnings("ignore:the condition beam_energy is:UserWarning")
def test_our_own_at_many_energies_is_for_the_electron_along_minus_z():
    events = scattered(3000, 3, energies=(20.0, 30.0, BEAM), direction=-1, jagged=True)
    recipe = load_recipe("dis-energies").with_settings([*QUICK, "model.network.width=16", "model.steps=2"])
    generator = EventGenerator(recipe).fit(events, seed=1, device="cpu")
    made = generator.generate(6000, seed=2, condition={"beam_energy": "15,20,30,40,50,60"})
    assert made.type.content == events.type.content
    beam = np.asarray(made.beam_energy, dtype=np.float64)
    energy, pz = (np.asarray(made.Electron[c][:, 0], dtype=np.float64) for c in ("energy", "pz"))
    assert (energy <= beam).all()
    assert (1 - (energy - pz) / (2 * beam) >= -1e-6).all()
    # The recipe's own observables, of true events, agree with what was drawn.
    values = {n: o.flat(events).values for n, o in recipe.make_observables().items()}
    s = 4 * np.asarray(events.beam_energy, dtype=np.float64) ** 2
    np.testing.assert_allclose(values["Q2"], values["x_bj"] * values["y"] * s, rtol=2e-3)
    np.testing.assert_allclose(values["W2"], s * values["y"] - values["Q2"], rtol=1e-2, atol=0.02)
    assert values["Q2"].min() > 1.99
    assert values["x_bj"].min() > 1.9e-3
