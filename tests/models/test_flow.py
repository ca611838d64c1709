from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from combinations import paired
from pydantic import ValidationError
from scipy import stats
from toys import dimuons

from hepgan import EventGenerator
from hepgan.features.space import FeatureBatch, FeatureSpace
from hepgan.learners import build_learner
from hepgan.models import Flow, FlowConfig, build_model
from hepgan.models.layers import parameters_of, spline
from hepgan.networks import MLPConfig, ResidualConfig
from hepgan.objectives import total

SMALL = MLPConfig(widths=(16, 16), activation="silu")
LAYERS = ("coupling", "autoregressive")
TRANSFORMS = ("affine", "spline")
KINDS = {"layer": LAYERS, "transform": TRANSFORMS}
ROTATIONS = ("learned", "random", "none")


def loss_of(model, batch, generator):
    learner = build_learner(model.config, model, lambda f: f)
    return learner.loss(learner.phase("flow"), batch, generator)


def build(size=3, context=0, periodic=(), *, far=0.0, **settings) -> Flow:
    """A flow, with ``far`` at a random point away from the identity."""
    torch.manual_seed(1)
    config = FlowConfig(**{"network": SMALL, "blocks": 3, "bins": 5, "rotations": "learned", **settings})
    model = build_model(config, FeatureSpace(size, context, periodic))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(far * torch.randn_like(parameter))
    return model


def events(n, size, context=0, *, masked=False, dtype=torch.float64):
    g = torch.Generator().manual_seed(2)
    mask = torch.rand(n, size, generator=g) > 0.4 if masked else None
    noise = torch.randn(n, size, generator=g, dtype=dtype)
    return noise, torch.randn(n, context, generator=g, dtype=dtype), mask


def each(**options):
    """A parametrisation in which every two values meet, of these options and of the kinds of flows."""
    return pytest.mark.parametrize((*KINDS, *options), paired(**KINDS, **options))


LINE = torch.linspace(-20, 20, 4001, dtype=torch.float64)
COARSE = torch.linspace(-10, 10, 121, dtype=torch.float64)
RING, CIRCLE = (-math.pi + 2 * math.pi / n * torch.arange(n, dtype=torch.float64) for n in (4000, 120))


def integral(model, axes, context=None, fixed=None):
    """The integral of the density over the features whose axes are given, the others masked."""
    points = torch.cartesian_prod(*(a for a in axes if a is not None))
    points = points.reshape(len(points), -1)
    columns = [i for i, a in enumerate(axes) if a is not None]
    x = torch.zeros(len(points), len(axes), dtype=torch.float64)
    x[:, columns] = points
    mask = torch.zeros_like(x, dtype=torch.bool)
    mask[:, columns] = True
    c = torch.zeros(len(x), 0) if context is None else context.expand(len(x), -1)
    with torch.no_grad():
        p = model.log_prob(x, c.double(), None if len(columns) == len(axes) else mask).exp()
    return float(p.sum()) * math.prod(float(a[1] - a[0]) for a in axes if a is not None)


# ------------------------------------------------------------------ densities


@each(periodic=[(), (0,)], context=[0, 2])
def test_the_density_integrates_to_one_in_one_dimension(layer, transform, periodic, context):
    model = build(1, context, periodic, far=0.2, layer=layer, transform=transform).double()
    c = torch.tensor([[0.5, -1.0]]) if context else None
    assert integral(model, [RING if periodic else LINE], c) == pytest.approx(1.0, abs=1e-4)


@each(rotations=ROTATIONS, periodic=[(), (1,), (0, 1)])
def test_the_density_integrates_to_one_in_two_dimensions(layer, transform, rotations, periodic):
    model = build(2, 0, periodic, far=0.1, layer=layer, transform=transform, rotations=rotations).double()
    axes = [CIRCLE if i in periodic else COARSE for i in range(2)]
    assert integral(model, axes) == pytest.approx(1.0, abs=1e-3)


@each(there=[(0, 2), (1, 2), (2,), (3,)])
def test_the_density_of_the_features_that_exist_integrates_to_one(layer, transform, there):
    model = build(4, 1, (3,), far=0.1, layer=layer, transform=transform).double()
    every = [COARSE, COARSE, COARSE, CIRCLE]
    axes = [a if i in there else None for i, a in enumerate(every)]
    assert integral(model, axes, torch.tensor([[0.7]])) == pytest.approx(1.0, abs=1e-3)


@each(rotations=ROTATIONS, periodic=[(), (1,), (0, 2, 3), (0, 1, 2, 3)], context=[0, 2], masked=[False, True])
def test_densities_are_the_noises_times_the_jacobian_and_latents_the_noise(
    layer, transform, rotations, periodic, context, masked
):
    settings = {"layer": layer, "transform": transform, "rotations": rotations}
    model = build(4, context, periodic, far=0.3, **settings).double()
    noise, c, mask = events(20, 4, context, masked=masked)
    with torch.no_grad():
        x = model.sample(noise, c, mask)
        assert mask is None or bool((x[~mask] == 0).all())
        expected = noise if mask is None else noise * mask
        torch.testing.assert_close(model.latent(x, c, mask), expected, rtol=0, atol=1e-7)
        log_prob = model.log_prob(x, c, mask)
    assert log_prob.dtype == torch.float64
    for i in range(2):
        row = slice(i, i + 1)
        m = None if mask is None else mask[row]
        there = list(range(4)) if m is None else m[0].nonzero()[:, 0].tolist()
        jacobian = torch.autograd.functional.jacobian(
            lambda point, row=row, m=m: model.latent(point[None], c[row], m)[0], x[i]
        )[there][:, there]
        density = torch.distributions.Normal(0.0, 1.0).log_prob(expected[i][there]).sum()
        torch.testing.assert_close(log_prob[i], density + jacobian.det().abs().log(), rtol=0, atol=1e-6)


@each()
def test_a_mask_of_all_features_is_none(layer, transform):
    model = build(5, 2, (4,), far=0.3, layer=layer, transform=transform).double()
    noise, c, _ = events(30, 5, 2)
    every = torch.ones(30, 5, dtype=torch.bool)
    with torch.no_grad():
        x = model.sample(noise, c, None)
        torch.testing.assert_close(model.sample(noise, c, every), x, rtol=0, atol=1e-9)
        torch.testing.assert_close(model.log_prob(x, c, every), model.log_prob(x, c, None), rtol=0, atol=1e-9)


@each(rotations=ROTATIONS)
def test_features_that_do_not_exist_have_no_influence(layer, transform, rotations, feature_batch):
    model = build(5, 2, (1,), far=0.3, layer=layer, transform=transform, rotations=rotations)
    noise, c, mask = events(30, 5, 2, masked=True, dtype=torch.float32)
    other = torch.where(mask, noise, 77.0)
    with torch.no_grad():
        for function in (model.sample, model.latent, model.log_prob):
            assert torch.equal(function(noise, c, mask), function(other, c, mask))
        nothing = torch.zeros_like(mask)
        assert bool((model.log_prob(noise, c, nothing) == 0).all())
        losses = [
            loss_of(model, feature_batch(x, mask=mask, context=c), torch.Generator())[0].value
            for x in (noise, other)
        ]
    assert torch.equal(*losses)


@each()
def test_densities_of_angles_are_continuous_across_the_cut(layer, transform):
    model = build(2, 0, (0,), far=0.5, layer=layer, transform=transform).double()
    x = torch.tensor([[math.pi - 1e-9, 0.3], [-math.pi + 1e-9, 0.3]], dtype=torch.float64)
    first, second = model.log_prob(x, torch.zeros(2, 0), None)
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)
    made = model.sample(10 * torch.randn(500, 2, dtype=torch.float64), torch.zeros(500, 0), None)
    assert float(made[:, 0].detach().abs().max()) <= math.pi


def test_sampled_density_is_the_likelihood():
    model = build(1, far=0.3, transform="spline").double()
    noise, c, _ = events(50_000, 1)
    with torch.no_grad():
        x = model.sample(noise, c, None)[:, 0].numpy()
        density = model.log_prob(LINE[:, None], torch.zeros(len(LINE), 0), None).exp().numpy()
    cdf = np.cumsum(density) * float(LINE[1] - LINE[0])
    assert stats.kstest(x, lambda v: np.interp(v, LINE.numpy() + 0.005, cdf)).pvalue > 1e-3


# ------------------------------------------------------------------ precision, gradients, state


@each(masked=[False, True])
def test_single_precision_inverts_and_agrees_with_double(layer, transform, masked):
    model = build(6, 2, (5,), far=0.1, layer=layer, transform=transform)
    noise, c, mask = events(2500, 6, 2, masked=masked, dtype=torch.float32)
    noise.clamp_(-3.0, 3.0)
    with torch.no_grad():
        x = model.sample(noise, c, mask)
        back = model.latent(x, c, mask)
        log_prob = model.log_prob(x, c, mask)
        exact = model.double().log_prob(x.double(), c.double(), mask)
    assert log_prob.dtype == torch.float32
    assert float((back - (noise if mask is None else noise * mask)).abs().median()) < 1e-6
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-3, atol=1e-3)


@each()
def test_far_tails_stay_finite_with_their_gradients(layer, transform, feature_batch):
    model = build(3, far=0.3, layer=layer, transform=transform)
    x = torch.tensor([[1e3, -1e3, 0.0], [-50.0, 5.0, -5.0], [5.0, 5.0, 5.0]])
    value = total(loss_of(model, feature_batch(x), torch.Generator()))
    assert math.isfinite(float(value.detach()))
    value.backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())
    with torch.no_grad():
        made = model.sample(torch.tensor([[6.7, -6.7, 6.7]]), torch.zeros(1, 0), None)
    assert bool(made.isfinite().all())


NETWORKS = (SMALL, MLPConfig(widths=(16,), spectral_norm=True), ResidualConfig(width=16, blocks=1))


SHAPES = [(1, ()), (1, (0,)), (4, (1,))]


@each(shape=SHAPES, context=[0, 2], network=NETWORKS)
def test_gradients_reach_every_parameter(feature_batch, layer, transform, shape, context, network):
    if layer == "autoregressive" and network.kind == "residual":
        network = SMALL
    size, periodic = shape
    model = build(size, context, periodic, layer=layer, transform=transform, network=network)
    learner = build_learner(model.config, model)
    (phase,) = learner.phases
    noise, c, _ = events(64, size, context, dtype=torch.float32)
    total(learner.loss(phase, feature_batch(noise, context=c), torch.Generator())).backward()
    missed = [n for n, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert not missed
    assert {id(p) for p in phase.parameters} == {id(p) for p in model.parameters()}
    sampled = {id(p) for module in model.sampling_modules() for p in module.parameters()}
    assert sampled == {id(p) for p in phase.parameters}


@each()
def test_samples_have_gradients_in_every_parameter(layer, transform):
    model = build(4, 2, (1,), far=0.1, layer=layer, transform=transform)
    noise, c, mask = events(64, 4, 2, masked=True, dtype=torch.float32)
    model.sample(noise, c, mask).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in model.parameters())


@each(rotations=ROTATIONS)
def test_a_saved_state_makes_the_same_flow_of_one_with_other_weights(layer, transform, rotations):
    settings = {"layer": layer, "transform": transform, "rotations": rotations}
    network = MLPConfig(widths=(16,), spectral_norm=True)
    model = build(5, 2, (1,), far=0.2, network=network, **settings).eval()
    torch.manual_seed(7)
    other = build_model(model.config, FeatureSpace(5, 2, (1,))).eval()
    noise, c, _ = events(30, 5, 2, dtype=torch.float32)
    with torch.no_grad():
        expected = model.sample(noise, c, None)
        assert not torch.equal(other.sample(noise, c, None), expected)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.sample(noise, c, None), expected)


@each(masked=[False, True])
def test_everything_stays_on_the_device_of_the_model(layer, transform, masked):
    model = build(4, 2, (1,), layer=layer, transform=transform).to("meta")
    noise, c, mask = (None if t is None else t.to("meta") for t in events(8, 4, 2, masked=masked))
    noise, c = noise.float(), c.float()
    for function, shape in ((model.sample, (8, 4)), (model.latent, (8, 4)), (model.log_prob, (8,))):
        result = function(noise, c, mask)
        assert (result.device.type, tuple(result.shape)) == ("meta", shape)


def test_a_new_flow_is_near_a_rotation():
    model = build(6, blocks=8, rotations="random").double()
    noise, c, _ = events(100, 6)
    x = model.sample(noise, c, None).detach()
    torch.testing.assert_close(x.norm(dim=1), noise.norm(dim=1), rtol=0.2, atol=0)
    assert float((x - noise).abs().mean()) > 0.3
    plain = build(6, blocks=8, rotations="none").double()
    torch.testing.assert_close(plain.sample(noise, c, None).detach(), noise, rtol=0.2, atol=0.2)


def test_random_rotations_are_fixed_and_learned_ones_are_not():
    random, learned, none = (build(6, rotations=kind) for kind in ("random", "learned", "none"))
    counts = [sum(p.numel() for p in model.parameters()) for model in (random, learned, none)]
    assert counts[0] == counts[2] < counts[1]
    assert any(name.endswith("axes") for name in random.state_dict())


def test_an_event_is_the_same_in_any_batch_with_and_without_gradients():
    model = build(4, 2, (3,), far=0.1)
    noise, c, mask = events(2500, 4, 2, masked=True, dtype=torch.float32)
    for function in (model.sample, model.log_prob, model.latent):
        with torch.no_grad():
            together = function(noise, c, mask)
            for i in (0, 1021, 2490):
                part = function(noise[i : i + 7], c[i : i + 7], mask[i : i + 7])
                torch.testing.assert_close(together[i : i + 7], part, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(function(noise, c, mask).detach(), together, rtol=1e-4, atol=1e-4)


def test_the_loss_is_the_mean_of_weights_times_negative_log_probabilities(feature_batch):
    model = build(3, far=0.2)
    x, weight = torch.randn(32, 3), torch.randn(32)
    (term,) = loss_of(model, feature_batch(x, weight=weight), torch.Generator())
    assert (term.name, term.weight) == ("likelihood", 1.0)
    expected = -(weight * model.log_prob(x, torch.zeros(32, 0), None)).sum() / 32
    torch.testing.assert_close(term.value, expected)


def test_autoregressive_networks_that_would_look_ahead_are_refused():
    for network in (ResidualConfig(), MLPConfig(layer_norm=True)):
        with pytest.raises(ValidationError, match="mlp without layer_norm"):
            FlowConfig(layer="autoregressive", network=network)


# ------------------------------------------------------------------ splines


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("bins", [2, 7])
def test_splines_increase_and_their_slopes_are_their_derivatives(bins, circular):
    g = torch.Generator().manual_seed(4)
    raw = 2 * torch.randn(parameters_of(bins, circular=circular), 1, 1, generator=g, dtype=torch.float64)
    x = torch.linspace(-3.5, 3.5, 2001, dtype=torch.float64)[None].requires_grad_()
    settings = {"bins": bins, "bound": 3.0, "circular": circular}
    y, log_slope = spline(x, raw.expand(-1, 1, 2001), **settings)
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope, log_slope.exp(), rtol=1e-9, atol=1e-9)
    assert bool((y.diff() > 0).all())
    back, same = spline(y, raw.expand(-1, 1, 2001), **settings, inverse=True)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-9)
    torch.testing.assert_close(same, log_slope, rtol=0, atol=1e-7)
    outside = x.abs() > 3.0
    assert torch.equal(y[outside], x[outside])


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("circular", [False, True])
def test_slopes_of_steep_splines_are_finite_in_single_precision(circular, inverse):
    generator = torch.Generator().manual_seed(0)
    raw = 5 * torch.randn(parameters_of(10, circular=circular), 2, 100_000, generator=generator)
    x = 6 * torch.rand(2, 100_000, generator=generator) - 3
    raw, x = raw.requires_grad_(), x.requires_grad_()
    y, log_slope = spline(x, raw, bins=10, bound=3.0, circular=circular, inverse=inverse)
    assert torch.isfinite(log_slope).all()
    assert (y.abs() <= 3.00001).all()
    for gradient in torch.autograd.grad(log_slope.sum() + y.sum(), (x, raw)):
        assert torch.isfinite(gradient).all()


def test_splines_without_parameters_are_the_identity():
    x = torch.linspace(-2, 2, 101, dtype=torch.float64)[None]
    raw = torch.zeros(parameters_of(4, circular=False), 1, 101, dtype=torch.float64)
    y, log_slope = spline(x, raw, bins=4, bound=1.5)
    torch.testing.assert_close(y, x, rtol=0, atol=1e-12)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), rtol=0, atol=1e-12)


# ------------------------------------------------------------------ learning


def trained(sample, periodic=(), steps=120, **settings):
    torch.manual_seed(1)
    config = FlowConfig(**{"network": MLPConfig(widths=(32, 32)), "blocks": 3, "bins": 8, **settings})
    size = sample.shape[1]
    model = build_model(config, FeatureSpace(size, 0, periodic))
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    g = torch.Generator().manual_seed(2)
    for _ in range(steps):
        x = sample[torch.randint(len(sample), (512,), generator=g)]
        empty = torch.zeros(512, 0)
        batch = FeatureBatch(x, None, empty.long(), empty, empty, torch.ones(512))
        optimiser.zero_grad()
        total(loss_of(model, batch, g)).backward()
        optimiser.step()
        schedule.step()
    return model.eval()


@pytest.mark.parametrize("layer", LAYERS)
def test_two_peaks_are_learned(layer):
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.3, 0.7])),
        torch.distributions.MultivariateNormal(
            torch.tensor([[-1.2, 0.5], [0.8, -0.5]]),
            torch.tensor([[[0.1, 0.05], [0.05, 0.1]], [[0.2, -0.1], [-0.1, 0.3]]]),
        ),
    )
    torch.manual_seed(3)
    model = trained(mixture.sample((10_000,)), layer=layer)
    fresh = mixture.sample((10_000,))
    with torch.no_grad():
        divergence = (mixture.log_prob(fresh) - model.log_prob(fresh, torch.zeros(10_000, 0), None)).mean()
    assert abs(float(divergence)) < 0.03


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_an_angle_that_depends_on_a_number_is_learned_across_the_cut(transform):
    rng = np.random.default_rng(1)
    number = rng.normal(size=40_000)
    angle = rng.vonmises(np.pi, np.exp(number), 40_000)
    sample = torch.from_numpy(np.stack([number, angle], 1)).float()
    model = trained(sample[:20_000], periodic=(1,), transform=transform)
    truth = stats.norm.logpdf(number) + stats.vonmises.logpdf(angle, np.exp(number), loc=np.pi)
    with torch.no_grad():
        found = model.log_prob(sample[20_000:], torch.zeros(20_000, 0), None)
    assert abs(float(truth[20_000:].mean() - found.mean())) < 0.03


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_generator_of_kind_flow_learns_saves_and_loads(transform, tmp_path: Path):
    recipe = {
        "name": "toy",
        "conditions": ["npv"],
        "features": {
            "azimuth": "Muon[0] + Muon[1]",
            "blocks": [
                {"kind": "objects", "collection": "Muon", "coordinates": ["px", "py", "pz"], "order": False}
            ],
        },
        "model": {
            "kind": "flow",
            "blocks": 2,
            "transform": transform,
            "network": {"kind": "mlp", "widths": [32], "spectral_norm": True, "dropout": 0.1},
        },
        "observables": {"m_mumu": "(Muon[0] + Muon[1]).mass"},
        "training": {"steps": 60, "batch_size": 256, "optimiser": {"lr": 5e-3}},
    }
    sample = dimuons(1500, seed=1)
    generator = EventGenerator(recipe).fit(sample, seed=3, device="cpu")
    losses = generator.history.losses
    values = np.asarray([row["flow/likelihood"] for row in losses.rows()])
    assert values[-10:].mean() < values[:10].mean()
    generator.save(tmp_path / "toy.safetensors")
    loaded = EventGenerator.load(tmp_path / "toy.safetensors", device="cpu")
    made, again = (g.generate(200, seed=5) for g in (generator, loaded))
    assert made.Muon.pt.tolist() == again.Muon.pt.tolist()
    log_prob = loaded.log_prob(sample[:100], measure="columns")
    np.testing.assert_allclose(log_prob, generator.log_prob(sample[:100], measure="columns"))
    assert np.isfinite(log_prob).mean() > 0.9
