from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from hepgan.features.space import FeatureBatch, FeatureSpace, Tokens
from hepgan.learners import Learner, build_learner, new_learner
from hepgan.models import (
    AutoencoderConfig,
    CriticConfig,
    FlowConfig,
    FlowMatchingConfig,
    GANConfig,
    OptimiserConfig,
    SetConfig,
    by_member,
)
from hepgan.networks import (
    AttentionConfig,
    DeepSetsConfig,
    MLPConfig,
    ResidualConfig,
    StackedNetwork,
    build_network,
)
from hepgan.objectives import Wasserstein, total
from hepgan.observables.values import Flat
from hepgan.training import Trainer, TrainingConfig

M, N, D, C = 3, 40, 2, 1
SMALL = MLPConfig(widths=(8,))


def events(number: int, seed: int = 0, *, weighted: bool = False) -> FeatureBatch:
    rng = torch.Generator().manual_seed(seed)
    weight = torch.ones(number)
    if weighted:
        weight = torch.where(torch.rand(number, generator=rng) < 0.2, -0.5, 1.4)
    return FeatureBatch(
        x=torch.randn(number, D, generator=rng),
        mask=None,
        discrete=torch.zeros(number, 0, dtype=torch.int64),
        condition=torch.zeros(number, 0),
        context=torch.randn(number, C, generator=rng),
        weight=weight,
    )


class Sum:
    """The sum of the features of an event, as an observable."""

    def __call__(self, batch: FeatureBatch) -> tuple[Tensor, None]:
        return batch.x.sum(1), None

    def dense(self, batch: FeatureBatch) -> tuple[Tensor, None]:
        return batch.x.sum(1), None

    def flat(self, batch: FeatureBatch) -> Flat:
        return Flat(batch.x.sum(1), torch.arange(len(batch)), None)


class Each(Sum):
    """Each feature of an event, as an observable of objects."""

    def __call__(self, batch: FeatureBatch) -> tuple[Tensor, None]:
        return batch.x, None


FLOW = FlowConfig(blocks=2, bins=4, rotations="learned", network=SMALL)
RANDOM = FlowConfig(blocks=2, transform="affine", rotations="random", network=SMALL)
AUTOREGRESSIVE = FlowConfig(layer="autoregressive", blocks=2, bins=4, network=SMALL)
MATCHING = FlowMatchingConfig(network=ResidualConfig(width=8, blocks=1, layer_norm=True), steps=2)
SEEN = CriticConfig(
    loss="wgan_gp",
    observables=("sum",),
    sets=(SetConfig(observables=("each",), network=SMALL, size=4),),
    network=MLPConfig(widths=(8,), dropout=0.2),
    steps=2,
)
GAN = GANConfig(generator=SMALL, critics=(SEEN,), penalties=(Wasserstein(observables=("sum",)),))
SPECTRAL = GANConfig(
    generator=SMALL, critics=(CriticConfig(network=MLPConfig(widths=(8, 8), spectral_norm=True), r1=0.3),)
)
HYBRID = MATCHING.model_copy(
    update={
        "critics": (CriticConfig(network=SMALL),),
        "fakes": 16,
        "likelihood": MATCHING.likelihood.model_copy(update={"reweighted_by": "critic"}),
    }
)
EVERY = {
    "flow": FLOW,
    "random": RANDOM,
    "autoregressive": AUTOREGRESSIVE,
    "matching": MATCHING,
    "gan": GAN,
    "spectral": SPECTRAL,
    "hybrid": HYBRID,
    "autoencoder": AutoencoderConfig(encoder=SMALL, decoder=SMALL, critics=(CriticConfig(network=SMALL),)),
}


def made(config: object, seed: int = 0, members: int = M) -> Learner:
    torch.manual_seed(seed)
    observables = {"sum": Sum(), "each": Each()}
    return new_learner(config, FeatureSpace(D, C), lambda f: f, observables, members=members)  # type: ignore[arg-type]


def alone_of(learner: Learner, k: int) -> Learner:
    """The learner of one member."""
    model, critics = learner.model.member(k), learner.critics.member(k)
    observables = {"sum": Sum(), "each": Each()}
    return build_learner(learner.config, model, lambda f: f, observables, critics)


@pytest.mark.parametrize("config", [FLOW, RANDOM, AUTOREGRESSIVE])
def test_a_member_has_the_gradient_of_a_model_alone(config: object) -> None:
    ensemble = made(config)
    batch = events(M * N, weighted=True)
    rng = torch.Generator().manual_seed(1)
    (M * total(ensemble.loss(ensemble.phase("flow"), batch, rng))).backward()
    for k in range(M):
        alone = copy.deepcopy(alone_of(ensemble, k)).requires_grad_(True).train()
        total(alone.loss(alone.phase("flow"), batch[k * N : (k + 1) * N], rng)).backward()
        found = [p.grad[k] for p in ensemble.parameters()]
        expected = [p.grad for p in alone.parameters()]
        assert len(found) == len(expected)
        for mine, its in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, its, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["gan", "spectral", "hybrid"])
def test_a_critic_of_a_member_learns_as_one_alone(name: str) -> None:
    ensemble = made(EVERY[name])
    batch, fake = events(M * N, weighted=True), events(M * N, 5)
    ensemble.prepare(batch)
    critic = ensemble.eval().every_critic[0]
    sees = [critic.inputs(ensemble.observed(b)) for b in (batch, fake)]
    weights = batch.weight, batch.weight
    terms = critic.terms(*sees, batch.context, weights, torch.Generator().manual_seed(1))
    for term in terms[: 1 if name == "gan" else None]:
        values = []
        for k in range(M):
            own = slice(k * N, (k + 1) * N)
            alone = alone_of(ensemble, k).every_critic[0]
            parts = [tuple(t[own] for t in side) for side in sees]
            only = batch.weight[own]
            found = alone.terms(*parts, batch.context[own], (only, only), torch.Generator().manual_seed(1))
            values.append(next(t.value for t in found if t.name == term.name))
        torch.testing.assert_close(term.value, torch.stack(values).mean(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", list(EVERY))
def test_the_gradient_of_one_member_does_not_touch_the_others(name: str) -> None:
    ensemble = made(EVERY[name])
    batch = events(M * N)
    ensemble.prepare(batch)
    ensemble.train()

    def gradient(weight: Tensor, phase: str) -> list[Tensor]:
        # Spectral norms change with each call.
        model = copy.deepcopy(ensemble)
        phases = {p.name: p.parameters for p in model.phases}
        rng = torch.Generator().manual_seed(1)
        torch.manual_seed(2)
        loss = total(model.loss(model.phase(phase), FeatureBatch(**{**vars(batch), "weight": weight}), rng))
        return list(torch.autograd.grad(loss, phases[phase], materialize_grads=True))

    # Only the weights of the second member's events change, so only its gradient does.
    other = torch.ones(M * N)
    other[N : N + 8] = 3.0
    for phase in [p.name for p in ensemble.phases]:
        before, after = gradient(torch.ones(M * N), phase), gradient(other, phase)
        for b, a in zip(before, after, strict=True):
            torch.testing.assert_close(a[0], b[0], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(a[2], b[2], rtol=1e-4, atol=1e-6)
        assert any(not torch.allclose(a[1], b[1]) for a, b in zip(after, before, strict=True))


def test_members_learn_their_own_events_as_if_they_were_alone() -> None:
    data = events(60)
    rng = torch.Generator().manual_seed(4)
    rows = [torch.randint(60, (60,), generator=rng) for _ in range(M)]
    settings = TrainingConfig(
        steps=12, batch_size=60, gradient_clip=0.5, ema=0.9, optimiser=OptimiserConfig(lr=0.01)
    )
    ensemble = made(FLOW)
    alone = [copy.deepcopy(alone_of(ensemble, k)).requires_grad_(True) for k in range(M)]
    Trainer(ensemble, data, settings, rows=rows).run()
    for k, model in enumerate(alone):
        # Batches of all events: their order is other, which only rounding sees.
        Trainer(model, data[rows[k]], settings).run()
        for mine, its in zip(alone_of(ensemble, k).parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(mine, its, rtol=2e-2, atol=2e-4)
    first, second = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in alone[:2])
    assert float((first - second).norm()) > 0.1


@pytest.mark.parametrize(
    ("config", "rows"),
    [
        (MLPConfig(widths=(8, 8), layer_norm=True), N),
        (ResidualConfig(width=8, blocks=2, layer_norm=True), N),
        (ResidualConfig(width=8, blocks=2, layer_norm=True), 600),
        (DeepSetsConfig(width=8, blocks=1), N),
        (AttentionConfig(width=8, blocks=1, heads=2), N),
    ],
)
def test_stacked_networks_give_what_each_gives_alone(config: object, rows: int) -> None:
    torch.manual_seed(0)
    tokens = (Tokens("Jet", features=((0, 1), (2, 3)), context=((0,), (1,)), ordered=False),)
    space = FeatureSpace(4, 2, tokens=tokens)
    networks = [
        build_network(config, 4, 4, context=2, time=3, space=space)  # type: ignore[arg-type]
        for _ in range(M + 1)
    ]
    stacked = StackedNetwork(networks[M], networks[:M])
    x, context, time = torch.randn(M * rows, 4), torch.rand(M * rows, 2), torch.randn(M * rows, 3)
    mask = torch.ones(M * rows, 4, dtype=torch.bool)
    mask[::3, 2:] = False
    for when in (time, time[:1]):
        found = stacked(x, context, when, mask).unflatten(0, (M, rows))
        for k, network in enumerate(networks[:M]):
            own = slice(k * rows, (k + 1) * rows)
            expected = network(x[own], context[own], when if len(when) == 1 else when[own], mask[own])
            torch.testing.assert_close(found[k], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(EVERY))
def test_an_ensemble_samples_as_its_members_do(name: str) -> None:
    ensemble = made(EVERY[name]).eval().model
    noise, context = torch.randn(7, ensemble.noise_size), torch.randn(7, C)
    member = torch.tensor([0, 1, 2, 2, 1, 0, 0])
    with torch.no_grad():
        found = ensemble.sample(noise, context, None, member)
        for k in range(M):
            own = ensemble.member(k).sample(noise, context, None)[member == k]
            torch.testing.assert_close(found[member == k], own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["random", "gan", "hybrid"])
def test_a_resumed_ensemble_ends_as_one_that_was_not_stopped(name: str, tmp_path) -> None:
    data = events(100)
    rng = torch.Generator().manual_seed(4)
    rows = [torch.randint(100, (90 + 5 * k,), generator=rng) for k in range(M)]

    def settings(steps: int) -> TrainingConfig:
        # The rate must not tell how many steps there will be.
        schedule = {"kind": "constant"}
        return TrainingConfig(steps=steps, batch_size=32, schedule=schedule, diagnose_every=0)  # type: ignore[arg-type]

    whole = made(EVERY[name])
    Trainer(whole, data, settings(6), rows=rows).run()
    path = tmp_path / "checkpoint.safetensors"
    Trainer(made(EVERY[name]), data, settings(4), rows=rows, checkpoint=path).run()
    resumed = made(EVERY[name], seed=9)
    Trainer(resumed, data, settings(6), rows=rows, checkpoint=path, resume=True).run()
    for mine, its in zip(resumed.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, its, rtol=0, atol=0)


def test_members_start_from_weights_of_their_own() -> None:
    ensemble = made(MATCHING)
    weights = ensemble.model.stacked.velocity.own["enter.weight"]
    assert not torch.equal(weights[0], weights[1])


def test_diagnoses_of_ensembles_are_means_over_members() -> None:
    ensemble = made(GAN)
    data = events(2 * M * N)
    ensemble.prepare(data)
    ensemble.eval()
    rng = torch.Generator().manual_seed(1)
    found = ensemble.diagnose(data[: M * N], data[M * N :], rng, 0.5)
    floor = [
        Wasserstein(observables=("sum",))(*pair)
        for pair in zip(
            *([_sums(b, k) for k in range(M)] for b in (data[: M * N], data[M * N :])), strict=True
        )
    ]
    assert found["wasserstein_sum/floor"] == pytest.approx(float(torch.stack(floor).mean()), rel=1e-5)


def _sums(batch: FeatureBatch, k: int):
    from hepgan.objectives import Points

    own = batch.x[k * N : (k + 1) * N].sum(1)
    return Points(own, torch.ones(N))


def test_rows_return_to_their_places() -> None:
    x = torch.arange(6.0)[:, None]
    found = by_member(lambda k, x: 10.0 * k + x, torch.tensor([1, 0, 2, 1, 0, 0]), 3, x)
    assert found[:, 0].tolist() == [10.0, 1.0, 22.0, 13.0, 4.0, 5.0]
