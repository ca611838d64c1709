from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
from combinations import paired
from pydantic import TypeAdapter, ValidationError

from hepgan import distill
from hepgan.errors import RecipeError
from hepgan.features import Tokens
from hepgan.features.space import FeatureSpace
from hepgan.generator import EventGenerator
from hepgan.learners import build_learner, new_learner
from hepgan.models import (
    CriticConfig,
    FlowConfig,
    FlowMatchingConfig,
    GANConfig,
    Refined,
    build_model,
)
from hepgan.networks import NetworkConfig, SetNetwork, build_network
from hepgan.networks.sets import Attention, DeepSets

CONFIG = TypeAdapter(NetworkConfig)
KINDS = [
    {"kind": "deep_sets", "width": 16, "blocks": 2},
    {"kind": "attention", "width": 16, "blocks": 2, "heads": 2},
]
POSITIONS = [False, True]

# Five tracks with a length and an angle, three towers, two numbers of the event; in no tidy order.
TRACKS = tuple((i, 7 + i) for i in range(5))
TOWERS = ((12,), (14,), (13,))
FEATURES, ANGLES = 15, tuple(range(7, 12))
OWNERS = (*range(FEATURES), *ANGLES)
CONTEXT = 3 + 10
TOLD = tuple((3 + 2 * i, 4 + 2 * i) for i in range(5))
TOKENS = (Tokens("Track", TRACKS, TOLD), Tokens("Tower", TOWERS))


def network(settings, *, context=CONTEXT, time=5, tokens=TOKENS, **options):
    torch.manual_seed(1)
    config = CONFIG.validate_python({**settings, **options})
    space = FeatureSpace(FEATURES, context, tokens=tokens)
    return build_network(
        config, len(OWNERS), FEATURES, context=context, time=time, space=space, owners=OWNERS
    )


def inputs(n=6, seed=2, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    x, context, time = (torch.randn(n, k, generator=g, dtype=dtype) for k in (len(OWNERS), CONTEXT, 5))
    there = torch.rand(n, 8, generator=g) < 0.6
    there[:1], there[1:2] = True, False
    mask = torch.ones(n, FEATURES, dtype=torch.bool)
    for i, row in enumerate((*TRACKS, *TOWERS)):
        mask[:, list(row)] = there[:, i : i + 1]
    for i, row in enumerate(TOLD):
        context[:, list(row)] *= there[:, i : i + 1]
    return x, context, time, mask


def exchanged(tables, order, size):
    """Columns with those of objects in another order."""
    columns = torch.arange(size)
    for new, old in enumerate(order):
        for table in tables:
            columns[list(table[new])] = torch.tensor(table[old])
    return columns


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("masked", [False, True])
def test_objects_that_change_places_get_each_others_outputs(settings, masked):
    net = network(settings).double()
    x, context, time, mask = inputs(dtype=torch.float64)
    mask = mask if masked else None
    for tables, angles, told, order in (
        ((TRACKS,), tuple((15 + i,) for i in range(5)), (TOLD,), [3, 0, 4, 1, 2]),
        ((TOWERS,), (), (), [2, 0, 1]),
    ):
        features = exchanged(tables, order, FEATURES)
        seen = torch.cat((features, torch.arange(15, 20)))
        if angles:
            seen = seen[exchanged((angles,), order, len(OWNERS))]
        known = exchanged(told, order, CONTEXT)
        there = None if mask is None else mask[:, features]
        with torch.no_grad():
            expected = net(x, context, time, mask)[:, features]
            found = net(x[:, seen], context[:, known], time, there)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-8)
        assert not torch.allclose(expected, net(x, context, time, mask))


@pytest.mark.parametrize("settings", KINDS)
def test_objects_that_are_told_apart_by_their_places_are_not_alike(settings):
    x, context, time, _ = inputs()
    order = [1, 0, 2]
    features = exchanged((TOWERS,), order, FEATURES)
    seen = torch.cat((features, torch.arange(15, 20)))
    ordered = (TOKENS[0], Tokens("Tower", TOWERS, ordered=True))
    for net, alike in (
        (network(settings), True),
        (network(settings, positions=True), False),
        (network(settings, tokens=ordered), False),
        (network(settings, tokens=ordered, positions=False), True),
    ):
        with torch.no_grad():
            expected = net(x, context, time)[:, features]
            assert torch.allclose(net(x[:, seen], context, time), expected, atol=1e-5) is alike


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_absent_objects_influence_nothing_and_others_all(settings, positions):
    net = network(settings, positions=positions)
    x, context, time, mask = inputs()
    hidden = ~mask[:, list(OWNERS)]
    with torch.no_grad():
        expected = net(x, context, time, mask)
        found = net(x.masked_fill(hidden, 99.0), context, time, mask)
        torch.testing.assert_close(found, expected)
    x = x.requires_grad_()
    rows = mask[:, 12] & mask[:, 0]
    assert bool(rows.any())
    (slope,) = torch.autograd.grad(net(x, context, time, mask)[rows, 12].sum(), x)
    assert bool(((slope[rows] != 0) == ~hidden[rows]).all())
    assert not bool(slope[~rows].any())


@pytest.mark.parametrize("settings", KINDS)
def test_an_event_is_the_same_in_a_network_with_less_room(settings):
    """The third tower is never there, so that nothing but the scale of the sum can tell of it."""
    full, few = Tokens("Hit", [[0], [1], [2]]), Tokens("Hit", [[0], [1]])
    x = torch.randn(5, 3)
    mask = torch.tensor([True, True, False]).expand(5, 3)
    nets = []
    for tokens, size in ((full, 3), (few, 2)):
        torch.manual_seed(3)
        space = FeatureSpace(size, tokens=(tokens,))
        nets.append(build_network(CONFIG.validate_python(settings), size, size, space=space))
    nets[1].load_state_dict(nets[0].state_dict())
    if settings["kind"] == "deep_sets":
        with torch.no_grad():
            for layer in nets[1].body.pooled:
                layer.weight[:, 16:32] *= 2 / 3
    with torch.no_grad():
        torch.testing.assert_close(nets[0](x, mask=mask)[:, :2], nets[1](x[:, :2]))


@pytest.mark.parametrize("settings", KINDS)
def test_what_the_context_tells_of_an_object_is_only_its_own(settings):
    """The output of an object sees its own context as others' do not, wherever it is."""
    net = network(settings).double()
    x, context, time, _ = inputs(n=1, dtype=torch.float64)
    x, context = x[:, :1].expand(1, len(OWNERS)), torch.zeros_like(context)
    context[0, TOLD[2][0]] = 1.0
    with torch.no_grad():
        lengths = net(x, context, time)[0, :5]
    others = lengths[[0, 1, 3, 4]]
    assert float(others.max() - others.min()) < 1e-12
    assert float((lengths[2] - others[0]).abs()) > 1e-3


@pytest.mark.parametrize("settings", KINDS)
def test_an_object_whose_features_are_all_discrete_is_there_by_its_context(settings):
    net = network(settings)
    x, context, time, mask = inputs()
    mask[:, list(TRACKS[1])] = False
    rows = mask[:, 12]
    outputs = []
    for value in (0.0, 1.0):
        context[:, list(TOLD[1])] = value
        with torch.no_grad():
            outputs.append(net(x, context, time, mask)[rows, 12])
    assert bool((outputs[0] != outputs[1]).all())


@pytest.mark.parametrize(
    ("settings", "positions", "context", "time"),
    paired(settings=KINDS, positions=POSITIONS, context=(0, CONTEXT), time=(0, 5)),
)
def test_output_depends_on_all_inputs_and_every_parameter(settings, positions, context, time):
    tokens = TOKENS if context else (Tokens("Track", TRACKS), TOKENS[1])
    net = network(settings, context=context, time=time, tokens=tokens, positions=positions)
    x, c, t, mask = inputs()
    given = [v.requires_grad_() for v in (x, c if context else None, t if time else None) if v is not None]
    output = net(x, c if context else None, t if time else None, mask)
    assert output.shape == (6, FEATURES)
    output.square().sum().backward()
    for tensor in (*given, *net.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


@pytest.mark.parametrize("settings", KINDS)
def test_gradients_reach_every_parameter_without_numbers_of_the_event(settings):
    space = FeatureSpace(3, tokens=(Tokens("Hit", [[0], [1], [2]]),))
    net = build_network(CONFIG.validate_python(settings), 3, 3, space=space)
    net(torch.randn(4, 3)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("settings", KINDS)
def test_one_time_for_all_events_equals_the_same_time_for_each(settings):
    net = network(settings)
    x, context, time, mask = inputs()
    with torch.no_grad():
        bound = net.bind(context, mask)
        for factor in (1.0, -2.0):
            late = factor * time[:1]
            expected = net(factor * x, context, late.expand(6, -1), mask)
            torch.testing.assert_close(bound(factor * x, late), expected)


@pytest.mark.parametrize("settings", KINDS)
def test_inference_gives_the_same_numbers_and_leaves_inputs_alone(settings):
    net = network(settings)
    given = inputs()
    kept = [v.clone() for v in given]
    expected = net(*given).detach()
    with torch.inference_mode():
        torch.testing.assert_close(net(*given), expected)
    assert all(torch.equal(a, b) for a, b in zip(given, kept, strict=True))


@pytest.mark.parametrize("settings", KINDS)
def test_double_precision_is_that_of_single_to_rounding(settings):
    net = network(settings)
    x, context, time, mask = inputs()
    with torch.no_grad():
        single = net(x, context, time, mask)
        double = net.double()(x.double(), context.double(), time.double(), mask)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", KINDS)
def test_dropout_acts_in_training_only(settings):
    net = network(settings, dropout=0.5)
    given = inputs()
    assert not torch.equal(net(*given), net(*given))
    net.eval()
    assert torch.equal(net(*given), net(*given))


def test_impossible_networks_are_refused():
    pair = [Tokens("Hit", [[0], [1]])]
    for tokens, inputs_, outputs, owners in (
        ([], 2, 2, None),
        (pair, 1, 1, None),
        (pair, 2, 3, None),
        (pair, 2, 2, (0, 0)),
        ([*pair, *pair], 2, 2, None),
    ):
        with pytest.raises(ValueError, match=r"network of sets needs|don't fit|one object, not"):
            SetNetwork(inputs_, outputs, DeepSets(8, 1), tokens=tokens, owners=owners)
    with pytest.raises(ValueError, match="needs blocks, not 0"):
        Attention(8, 0)
    with pytest.raises(ValueError, match="can't be divided among 3 heads"):
        Attention(8, 1, 3)
    with pytest.raises(ValidationError, match="can't be divided among 3 heads"):
        CONFIG.validate_python({"kind": "attention", "width": 8, "heads": 3})
    with pytest.raises(ValueError, match=f"context of {CONTEXT}"):
        network(KINDS[0])(torch.zeros(1, len(OWNERS)))


# ------------------------------------------------------------------ in models


def build(config, size, tokens, *, context=0, periodic=()):
    torch.manual_seed(1)
    space = FeatureSpace(size, context, periodic, tokens)
    return new_learner(config, space, lambda f: f).model


PAIR = [Tokens("Hit", [[0], [1]])]


@pytest.mark.parametrize(("settings", "periodic"), [(KINDS[0], ()), (KINDS[1], (0, 1))])
def test_densities_of_two_objects_integrate_to_one_and_are_symmetric(settings, periodic):
    network_ = {**settings, "width": 8, "blocks": 1}
    model = build(FlowMatchingConfig(network=network_), 2, PAIR, periodic=periodic).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1.5)
    if periodic:
        axis = -torch.pi + 2 * torch.pi / 32 * torch.arange(32, dtype=torch.float64)
    else:
        axis = torch.linspace(-8, 8, 41, dtype=torch.float64)
    cell = float(axis[1] - axis[0])
    points = torch.cartesian_prod(axis, axis)
    p = model.log_prob(points, torch.zeros(len(points), 0), None, steps=12).exp()
    assert float(p.sum()) * cell**2 == pytest.approx(1.0, abs=5e-3)
    table = p.reshape(len(axis), len(axis))
    torch.testing.assert_close(table, table.T)
    assert float((p - p.mean()).abs().max()) > 0.1 * float(p.mean())

    mask = torch.tensor([True, False]).expand(len(axis), 2)
    alone = torch.stack((axis, torch.zeros_like(axis)), 1)
    p = model.log_prob(alone, torch.zeros(len(axis), 0), mask, steps=12).exp()
    assert float(p.sum()) * cell == pytest.approx(1.0, abs=5e-3)


@pytest.mark.parametrize("settings", KINDS)
def test_paths_are_followed_back_to_where_they_started(settings):
    config = FlowMatchingConfig(network=settings, steps=128)
    model = build(config, 2, PAIR).double()
    z = torch.randn(20, 2, dtype=torch.float64)
    mask = torch.ones(20, 2, dtype=torch.bool)
    mask[10:, 1] = False
    context = z[:, :0]
    found = model.latent(model.sample(z, context, mask), context, mask, steps=128)
    torch.testing.assert_close(found, z.masked_fill(~mask, 0.0), rtol=0, atol=4e-5)


@pytest.mark.parametrize("settings", KINDS)
def test_events_made_in_chunks_are_those_made_at_once(settings):
    tokens = [Tokens("Hit", [[i] for i in range(64)])]
    model = build(FlowMatchingConfig(network={**settings, "width": 64}, steps=1), 64, tokens)
    z, context, mask = torch.randn(200, 64), torch.zeros(200, 0), torch.rand(200, 64) < 0.5
    assert 32 <= model.velocity.chunk < 200
    with torch.no_grad():
        found = model.sample(z, context, mask)
    torch.testing.assert_close(found, model.sample(z, context, mask).detach(), rtol=1e-4, atol=1e-5)


STEPS = 80


def common_shift(n, most=12, seed=1):
    """Up to 12 objects, all moved by the same amount: the correlation of any two is 0.8."""
    g = torch.Generator().manual_seed(seed)
    x = 0.8**0.5 * torch.randn(n, 1, generator=g) + 0.2**0.5 * torch.randn(n, most, generator=g)
    count = torch.randint(2, most + 1, (n, 1), generator=g)
    mask = torch.arange(most) < count
    return x.masked_fill(~mask, 0.0), mask


def correlation(x, mask):
    """Of two different objects of an event, whichever."""
    total, squares, number = x.sum(1), x.square().sum(1), mask.sum(1)
    pairs = (total.square() - squares).sum() / (number * (number - 1)).sum()
    return float(pairs / (squares.sum() / number.sum()))


@pytest.mark.parametrize("settings", KINDS)
def test_flow_matching_learns_how_any_two_of_twelve_objects_are_correlated(settings, feature_batch):
    x, mask = common_shift(8192)
    assert correlation(x, mask) == pytest.approx(0.8, abs=0.02)
    tokens = [Tokens("Hit", [[i] for i in range(12)])]
    config = FlowMatchingConfig(network={**settings, "width": 32}, steps=6)
    model = build(config, 12, tokens)
    learner = build_learner(config, model)
    (phase,) = learner.phases
    optimiser = torch.optim.Adam(model.parameters(), lr=4e-3)
    g = torch.Generator().manual_seed(2)
    for step in range(STEPS):
        rows = torch.randint(len(x), (128,), generator=g)
        (term,) = learner.loss(phase, feature_batch(x[rows], mask=mask[rows]), g)
        optimiser.zero_grad()
        term.value.backward()
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * (1 - step / STEPS)
    with torch.no_grad():
        made = model.sample(torch.randn(2048, 12, generator=g), torch.zeros(2048, 0), mask[:2048])
    assert bool((made[~mask[:2048]] == 0).all())
    assert correlation(made, mask[:2048]) == pytest.approx(0.8, abs=0.15)


def test_networks_of_sets_are_refused_where_there_are_no_objects():
    sets = KINDS[0]
    with pytest.raises(RecipeError, match="encoded alike"):
        build(FlowMatchingConfig(network=sets), 2, ())
    for config in (
        FlowConfig(network=sets),
        GANConfig(critics=(CriticConfig(network=sets),)),
        GANConfig(generator=sets, noise=7),
        FlowMatchingConfig(network=KINDS[1], critics=(CriticConfig(network=sets),)),
    ):
        with pytest.raises(RecipeError, match="kind deep_sets makes features of features"):
            build(config, 2, PAIR)


@pytest.mark.parametrize("settings", KINDS)
def test_generators_and_priors_of_sets_treat_objects_alike(settings):
    gan = build(GANConfig(generator=settings), 2, PAIR)
    z, context = torch.randn(9, 2), torch.zeros(9, 0)
    prior = build_model(FlowMatchingConfig(network=settings), FeatureSpace(2, tokens=PAIR).of_noise(2))
    for model in (gan, Refined.of(gan, prior)):
        with torch.no_grad():
            x, swapped = (model.sample(noise, context, None) for noise in (z, z.flip(1)))
        torch.testing.assert_close(swapped, x.flip(1))
    mask = torch.tensor([True, False]).expand(9, 2)
    with torch.no_grad():
        x = gan.sample(z, context, mask)
        other = gan.sample(z * torch.tensor([1.0, 9.0]), context, mask)
    assert torch.equal(x, other)


# ------------------------------------------------------------------ in generators


def hits(n=500, seed=1):
    """Up to ten hits in no order, each of one of two layers, with the event's time."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 11, n)
    total = int(counts.sum())
    shift = np.repeat(rng.normal(size=n), counts)
    parts = {
        "x": (shift + rng.normal(size=total)).astype(np.float32),
        "angle": rng.uniform(-np.pi, np.pi, total).astype(np.float32),
        "layer": rng.integers(0, 2, total).astype(np.int32),
    }
    hit = ak.zip({name: ak.unflatten(values, counts) for name, values in parts.items()})
    return ak.zip({"Hit": hit, "time": rng.normal(size=n).astype(np.float32)}, depth_limit=1)


def generator(settings):
    recipe = {
        "name": "hits",
        "features": {
            "blocks": [{"kind": "fields", "fields": ["Hit.angle"], "transforms": {"angle": "angle"}}]
        },
        "model": {"kind": "flow_matching", "network": settings, "steps": 2},
        "training": {"steps": 5, "batch_size": 64},
    }
    return EventGenerator(recipe).fit(hits(), seed=3, device="cpu")


@pytest.mark.parametrize("settings", KINDS)
def test_generators_with_networks_of_sets_are_the_same_after_reading(settings, tmp_path, monkeypatch):
    monkeypatch.setattr("hepgan.learners.discrete.STEPS", 30)
    made = generator(settings)
    representation = made.representation
    (tokens,) = representation.tokens
    assert len(tokens.features) == 10
    assert set(representation.periodic) <= {row[0] for row in tokens.features}
    student = distill(made, steps=2, pairs=256, settings=["training.steps=5", f"model.network={settings}"])
    for trained in (made, student):
        path = tmp_path / f"{trained.recipe.model.kind}.safetensors"
        trained.save(path)
        read = EventGenerator.load(path, device="cpu")
        events = trained.generate(100, seed=5)
        assert ak.array_equal(read.generate(100, seed=5), events)
        assert 0 < ak.max(ak.num(events.Hit)) <= 10
    density = made.log_prob(hits(3, seed=2), steps=1)
    assert density.shape == (3,)
    assert bool(np.isfinite(density).all())
