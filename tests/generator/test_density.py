"""Log-probabilities of events: integrals, analytic densities, other coordinates, and what cannot be."""

from __future__ import annotations

import math
from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch
from scipy import stats
from toys import dimuons

from hepgan.errors import InputError, RecipeError
from hepgan.events import to_batch
from hepgan.generator import EventGenerator
from hepgan.models import Model

N = 4000
FEW_KNOTS = {"kind": "quantile", "knots": 16}


class Known(Model):
    """A model whose density is known: standard normal features, uniform angles, or what a function says."""

    has_likelihood = True

    def __init__(self, representation, function=None):
        super().__init__()
        self.noise_size, self.function = representation.size, function
        self.angular = torch.zeros(representation.size, dtype=torch.bool)
        self.angular[list(representation.periodic)] = True
        self.zero = torch.nn.Parameter(torch.zeros(()))

    phases = ()

    def loss(self, phase, batch, generator, share=0.0):
        return []

    def sample(self, noise, context, mask):
        return noise

    def sampling_modules(self):
        return ()

    def log_prob(self, x, context, mask):
        assert x.dtype == context.dtype == torch.float64
        if self.function is not None:
            return self.function(x)
        each = torch.where(self.angular, -math.log(2 * math.pi), -0.5 * x**2 - 0.5 * math.log(2 * math.pi))
        return (each if mask is None else each * mask).sum(1)


def recipe(steps=1, **features):
    return {
        "name": "toy",
        "features": {"transform": "standardise", **features},
        "model": {
            "kind": "flow_matching",
            "network": {"kind": "mlp", "widths": [16], "activation": "silu"},
            "steps": 4,
        },
        "training": {"steps": steps, "batch_size": 64},
    }


def trained(events, steps=200, model=None, **features):
    document = recipe(steps, **features)
    document["model"] = model or document["model"]
    return EventGenerator(document).fit(events, seed=1, device="cpu")


def known(events, function=None, **features):
    """A generator of events with a model whose density is known."""
    generator = trained(events, 1, **features)
    parts = generator.parts
    parts = replace(parts, model=Known(parts.representation, function))
    return EventGenerator.from_parts(generator.recipe, parts, generator.summary)


def cartesian(n=N, seed=1, objects=1, width=20.0):
    p = np.random.default_rng(seed).normal(0.0, width, (n, objects, 3))
    return momenta(px=p[..., 0], py=p[..., 1], pz=p[..., 2])


def momenta(**values):
    columns = {k: ak.from_regular(ak.Array(v)) for k, v in values.items()}
    return ak.zip({"Muon": ak.zip(columns, with_name="Momentum3D")}, depth_limit=1)


def polar(events):
    """The same events, stored as pt, eta, phi."""
    px, py, pz = (ak.to_numpy(events.Muon[n]) for n in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    return momenta(pt=pt, eta=np.arcsinh(pz / pt), phi=np.arctan2(py, px))


def scalars(**values):
    return ak.zip({k: ak.Array(v) for k, v in values.items()}, depth_limit=1)


def objects(*coordinates, **more):
    return [
        {"kind": "objects", "collection": "Muon", "coordinates": list(coordinates), "order": False, **more}
    ]


# ---------------------------------------------------------------------- analytic densities


def test_the_density_of_normal_features_is_that_of_the_events():
    rng = np.random.default_rng(3)
    pt, eta = 5 + rng.lognormal(3.0, 0.4, (N, 1)), rng.normal(0.5, 1.2, (N, 1))
    events = momenta(pt=pt, eta=eta, phi=rng.uniform(-np.pi, np.pi, (N, 1)))
    transforms = {"pt": [{"kind": "log_edge", "edge": 5}, "standardise"], "phi": "angle"}
    generator = known(events, blocks=objects("pt", "eta", "phi", transforms=transforms))
    # What the standardisation has learned, from the features of two values.
    features = generator.representation.encode(to_batch(events, generator.schema)).x.numpy()
    log = np.log(pt[:, 0] - 5)
    scale = [np.ptp(v) / np.ptp(x) for v, x in ((log, features[:, 0]), (eta[:, 0], features[:, 1]))]
    centre = [v[0] - s * x[0] for v, s, x in zip((log, eta[:, 0]), scale, features.T[:2], strict=True)]
    expected = (
        stats.lognorm(s=scale[0], scale=np.exp(centre[0]), loc=5).logpdf(pt[:, 0])
        + stats.norm(centre[1], scale[1]).logpdf(eta[:, 0])
        - np.log(2 * np.pi)
    )
    np.testing.assert_allclose(generator.log_prob(events), expected, rtol=0, atol=1e-8)


def test_the_density_follows_the_coordinates_in_which_events_are_stored():
    events = cartesian(objects=2)
    stored = polar(events)
    blocks = objects("px", "py", "pz")
    a, b = known(events, blocks=blocks), known(stored, blocks=blocks)
    pt, eta = (ak.to_numpy(stored.Muon[n]) for n in ("pt", "eta"))
    jacobian = np.log(pt**2 * np.cosh(eta)).sum(1)
    np.testing.assert_allclose(b.log_prob(stored), a.log_prob(events) + jacobian, rtol=0, atol=1e-6)
    # In the columns of the representation it is the same.
    columns = [g.log_prob(e, measure="columns") for g, e in ((a, events), (b, stored))]
    np.testing.assert_allclose(*columns, rtol=0, atol=1e-6)
    np.testing.assert_allclose(columns[0], a.log_prob(events), rtol=0, atol=1e-9)


@pytest.mark.parametrize("store", [lambda e: e, polar])
def test_one_density_in_two_representations_is_one_density(store):
    events = store(cartesian(width=20.0))
    normal = known(events, blocks=objects("px", "py", "pz"))
    width = [float(ak.std(v)) for v in ak.unzip(cartesian(width=20.0).Muon)]
    assert np.allclose(width, 20.0, rtol=0.1)

    def as_cartesian(x):
        """The other model's density, by hand: d px d py d pz = pt^2 cosh(eta) d pt d eta d phi."""
        pt, eta, phi = other.representation.columns(x).unbind(1)
        px, py, pz = pt * phi.cos(), pt * phi.sin(), pt * eta.sinh()
        features = normal.representation.encode(to_batch(store(_momentum(px, py, pz)), normal.schema))
        density = Known(normal.representation).log_prob(features.x, features.x, None)
        density = density + normal.representation.log_abs_det(features)
        jacobian = (pt**2 * eta.cosh()).log()
        scales = other.representation.codec.standard.log_abs_det(x).sum(1)
        return density + jacobian - scales

    other = known(events, as_cartesian, blocks=objects("pt", "eta", "phi"))
    np.testing.assert_allclose(other.log_prob(events), normal.log_prob(events), rtol=0, atol=1e-6)


def _momentum(*p):
    return momenta(**{n: v.numpy()[:, None] for n, v in zip(("px", "py", "pz"), p, strict=True)})


def test_the_azimuth_that_is_drawn_is_uniform():
    events = polar(cartesian(objects=2))
    generator = known(events, azimuth="Muon[0]", blocks=objects("pt", "eta", "phi"))
    p = generator.log_prob(events)
    turned = momenta(
        pt=ak.to_numpy(events.Muon.pt),
        eta=ak.to_numpy(events.Muon.eta),
        phi=(ak.to_numpy(events.Muon.phi) + 2.0 + np.pi) % (2 * np.pi) - np.pi,
    )
    np.testing.assert_allclose(generator.log_prob(turned), p, rtol=0, atol=1e-6)
    features = generator.representation.encode(to_batch(events, generator.schema))
    own = Known(generator.representation).log_prob(features.x, features.x, None)
    expected = own + generator.representation.log_abs_det(features) - math.log(2 * math.pi)
    np.testing.assert_allclose(p, expected.numpy(), rtol=0, atol=1e-8)


# ---------------------------------------------------------------------- integrals


@pytest.mark.parametrize("model", [None, {"kind": "flow", "blocks": 2}], ids=["flow_matching", "flow"])
def test_the_density_of_a_number_and_a_class_sums_to_one(model):
    rng = np.random.default_rng(5)
    kind = rng.integers(0, 3, N).astype(np.int32)
    events = scalars(x=rng.normal(kind * 2.0, 0.5 + kind), kind=kind)
    generator = trained(events, 30 if model else 200, model=model)
    grid = np.linspace(-25, 30, 1101)
    p = np.concatenate(
        [generator.log_prob(scalars(x=grid, kind=np.full(len(grid), k, np.int32))) for k in range(3)]
    )
    assert np.exp(p).sum() * (grid[1] - grid[0]) == pytest.approx(1.0, abs=2e-3)


def test_the_density_of_events_with_up_to_two_objects_sums_to_one():
    """P(no jet) + int p(pt) d pt + int p(pt1, pt2) d pt1 d pt2 = 1, where pt1 > pt2."""
    rng = np.random.default_rng(6)
    counts = rng.integers(0, 3, N)
    pt = ak.sort(ak.unflatten(rng.gamma(9.0, 5.0, counts.sum()), counts), ascending=False)
    events = ak.zip({"Jet": ak.zip({"pt": pt})}, depth_limit=1)
    generator = trained(events, transform=FEW_KNOTS)
    step = 1.25
    grid = np.arange(step / 2, 220, step)
    first, second = np.meshgrid(grid, grid, indexing="ij")
    below = second <= first
    pairs = np.stack([first[below], second[below]], 1)
    jets = ak.concatenate([ak.Array([[]]), ak.Array(grid[:, None]), ak.Array(pairs)])
    p = np.exp(
        generator.log_prob(ak.zip({"Jet": ak.zip({"pt": ak.values_astype(jets, float)})}, depth_limit=1))
    )
    parts = p[0], p[1 : len(grid) + 1].sum() * step, p[len(grid) + 1 :].sum() * step**2
    assert parts[0] == pytest.approx((counts == 0).mean(), abs=1e-2)
    # The diagonal's cells are half outside.
    diagonal = p[len(grid) + 1 :][pairs[:, 0] == pairs[:, 1]].sum() * step**2 / 2
    assert sum(parts) - diagonal == pytest.approx(1.0, abs=1e-2)


def test_the_density_of_an_angle_and_a_length_integrates_to_one():
    rng = np.random.default_rng(7)
    met = {"pt": rng.gamma(9.0, 5.0, N), "phi": rng.vonmises(np.pi, 1.5, N)}
    events = ak.zip({"MET": ak.zip(met, with_name="Momentum2D")}, depth_limit=1)
    block = {
        "kind": "objects",
        "collection": "MET",
        "coordinates": ["pt", "phi"],
        "transforms": {"phi": "angle"},
    }
    generator = trained(events, blocks=[block], transform=FEW_KNOTS)
    assert generator.representation.periodic == (1,)
    pt, phi = np.arange(0.2, 250, 0.4), -np.pi + 2 * np.pi * (np.arange(40) + 0.5) / 40
    a, b = (v.ravel() for v in np.meshgrid(pt, phi))
    grid = ak.zip({"MET": ak.zip({"pt": a, "phi": b}, with_name="Momentum2D")}, depth_limit=1)
    integral = np.exp(generator.log_prob(grid)).sum() * 0.4 * (2 * np.pi / 40)
    assert integral == pytest.approx(1.0, abs=1e-2)


def test_densities_of_decays_integrate_to_one():
    """The mean of p / q over events of q is the integral of p: six dimensions, by importance sampling."""
    decay = {"kind": "decay", "name": "X", "children": ["Muon[0]", "Muon[1]"]}
    transforms = {"phi": "angle", "phi_star": "angle"}
    p = known(cartesian(objects=2), blocks=[{**decay, "transforms": transforms}], transform=FEW_KNOTS)
    events = cartesian(20_000, seed=2, objects=2)
    momentum = np.stack([ak.to_numpy(events.Muon[n]) for n in ("px", "py", "pz")], 2)
    q = stats.norm(0.0, 20.0).logpdf(momentum).sum((1, 2))
    ratio = np.exp(p.log_prob(events) - q)
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.02
    assert ratio.mean() == pytest.approx(1.0, abs=4 * error)


# ---------------------------------------------------------------------- what cannot be


@pytest.fixture(scope="module")
def toy():
    """A generator of all that the toy events hold, its angles periodic."""
    jets = {"kind": "objects", "collection": "Jet", "transforms": {"phi": "angle"}}
    z = {"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}
    return trained(
        dimuons(2000, seed=1, weighted=True),
        30,
        azimuth="Muon[0] + Muon[1]",
        blocks=[z, jets],
        bounds={"Muon.pt": [10.0, None]},
        transform="quantile",
    )


def test_events_like_those_of_the_training_have_a_density(toy):
    p = toy.log_prob(dimuons(200, seed=2, weighted=True))
    assert p.shape == (200,)
    assert p.dtype == np.float64
    # Some are beyond what 2,000 events have shown of a range.
    assert np.isfinite(p).mean() > 0.97
    np.testing.assert_allclose(toy.log_prob(dimuons(200, seed=2, weighted=True)[50:60]), p[50:60], atol=1e-6)


def test_generated_events_have_a_density(toy):
    assert np.isfinite(toy.log_prob(toy.generate(500, seed=3))).mean() > 0.99


def test_weights_do_not_matter(toy):
    events = dimuons(100, seed=2, weighted=True)
    np.testing.assert_array_equal(
        toy.log_prob(ak.with_field(events, -np.ones(100, np.float32), "genWeight")), toy.log_prob(events)
    )
    assert len(toy.log_prob(events[:0])) == 0


def changed(events, collection, **values):
    objects = events[collection]
    for name, value in values.items():
        objects = ak.with_field(objects, value(objects), name)
    return ak.with_field(events, objects, collection)


@pytest.mark.parametrize(
    "change",
    [
        lambda e: changed(e, "Muon", pt=lambda m: m.pt * 0.01),
        lambda e: ak.with_field(e, e.Muon[:, ::-1], "Muon"),
        lambda e: changed(e, "Muon", charge=lambda m: m.charge * 0 + 1),
        lambda e: changed(e, "Muon", charge=lambda m: m.charge * 5),
        lambda e: changed(e, "Muon", mass=lambda m: m.mass * 0 + 60.0),
        lambda e: ak.with_field(e, ak.concatenate([e.Jet, e.Jet, e.Jet, e.Jet], axis=1), "Jet"),
        lambda e: ak.with_field(e, ak.full_like(e.npv, 9999), "npv"),
    ],
    ids=["bounds", "order", "unseen state", "unseen class", "mass", "too many", "unseen number"],
)
def test_what_is_never_generated_has_no_probability(toy, change):
    events = dimuons(400, seed=2)
    events = events[ak.num(events.Jet) > 0]
    mixed = ak.concatenate([events[:20], change(events)[20:40]])
    p = toy.log_prob(mixed)
    assert np.isfinite(p[:20]).all()
    assert (p[20:] == -np.inf).all()


def test_a_saved_generator_gives_the_same_density(toy, tmp_path):
    toy.save(tmp_path / "model.safetensors")
    again = EventGenerator.load(tmp_path / "model.safetensors", device="cpu")
    events = dimuons(50, seed=2)
    np.testing.assert_array_equal(again.log_prob(events), toy.log_prob(events))


def test_more_steps_are_more_precise(toy):
    events = dimuons(50, seed=2)
    exact = toy.log_prob(events, steps=64)
    errors = [np.abs(toy.log_prob(events, steps=s) - exact).max() for s in (2, 16)]
    assert errors[1] < 0.2 * errors[0]


def test_conditions_are_given_not_generated():
    rng = np.random.default_rng(8)
    energy = rng.uniform(1, 3, N)
    events = scalars(x=rng.normal(energy, 0.3), energy=energy)
    document = {**recipe(200), "conditions": ["energy"]}
    generator = EventGenerator(document).fit(events, seed=1, device="cpu")
    grid = np.linspace(-5, 9, 701)
    for value in (1.2, 2.8):
        p = np.exp(generator.log_prob(scalars(x=grid, energy=np.full(len(grid), value))))
        assert p.sum() * (grid[1] - grid[0]) == pytest.approx(1.0, abs=2e-3)
        assert grid[p.argmax()] == pytest.approx(value, abs=0.5)


def test_a_gan_has_no_likelihood():
    events = scalars(x=np.random.default_rng(1).normal(size=500))
    document = {**recipe(1), "model": {"kind": "gan", "generator": {"kind": "mlp", "widths": [8]}}}
    generator = EventGenerator(document).fit(events, seed=1, device="cpu")
    with pytest.raises(InputError, match="a GAN has no likelihood: use a flow or flow_matching"):
        generator.log_prob(events)


def test_momenta_of_which_the_azimuth_is_drawn_besides_have_no_density(toy_generator):
    with pytest.raises(RecipeError, match="these events have no density"):
        toy_generator.log_prob(dimuons(10, seed=1, weighted=True))


def test_wrong_arguments_are_errors(toy):
    events = dimuons(5, seed=2)
    with pytest.raises(ValueError, match="measure"):
        toy.log_prob(events, measure="pt")
    with pytest.raises(ValueError, match="steps"):
        toy.log_prob(events, steps=0)
    with pytest.raises(InputError, match="steps"):
        known(cartesian(200)).log_prob(cartesian(5), steps=3)
