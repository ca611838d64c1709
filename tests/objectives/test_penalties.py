from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from hepgan.errors import RecipeError
from hepgan.objectives import (
    MMD,
    Circumstances,
    Energy,
    Histogram,
    Moments,
    Paired,
    PenaltyConfig,
    Points,
    Wasserstein,
    pairs,
)

ONE = {"observables": "m"}
TWO = {"observables": ("m", "pt")}
PEAK = Histogram(**ONE, bins=24, range=(80.0, 102.0))
UNBIASED = {
    "energy": Energy(**ONE),
    "mmd": MMD(**ONE),
    "mmd_breit_wigner": MMD(**ONE, kernel="breit_wigner"),
    "mmd_rational_quadratic": MMD(**ONE, kernel="rational_quadratic", alpha=0.7),
    "mmd_cooling": MMD(**ONE, widths=(1.0,), cooling=0.2),
    "mmd_real": MMD(**ONE, widths=(1.0,), estimate="real", standardised=False),
    "mmd_generated": MMD(**ONE, widths=(1.0,), estimate="generated", standardised=False),
    "mmd_median": MMD(**ONE, widths=(1.0,), estimate="median"),
    "histogram": PEAK,
}
SINGLE = {
    "moments": Moments(**ONE),
    "wasserstein1": Wasserstein(**ONE),
    "wasserstein2": Wasserstein(**ONE, order=2),
    **UNBIASED,
}
JOINT_UNBIASED = {
    "energy": Energy(**TWO),
    "mmd": MMD(**TWO),
    "mmd_linear": MMD(**TWO, widths=(1.0,), estimator="linear"),
}
JOINT = {
    "moments": Moments(**TWO),
    "sliced1": Wasserstein(**TWO),
    "sliced2": Wasserstein(**TWO, order=2),
    **JOINT_UNBIASED,
}


def each(penalties):
    return pytest.mark.parametrize("penalty", penalties.values(), ids=penalties)


def normal(n, mean=0.0, std=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return mean + std * torch.randn(n, generator=generator, dtype=torch.float64)


def correlated(n, rho, seed=0):
    """A peak and a broad distribution with a correlation."""
    a, b = normal(2 * n, seed=seed).reshape(2, n)
    return torch.stack((91.0 + 3.0 * a, 40.0 + 10.0 * (rho * a + (1.0 - rho**2) ** 0.5 * b)), dim=1)


def sample(values, weight=None):
    return Points(values, torch.ones(len(values), dtype=torch.float64) if weight is None else weight)


def seeded(seed=0):
    return Circumstances(0.5, torch.Generator().manual_seed(seed))


def check_zero_on_average(values):
    values = np.array(values)
    assert np.isfinite(values).all()
    assert values.std() > 0
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


# ------------------------------------------------------------------ truth and untruth


@each(SINGLE)
def test_penalties_are_far_larger_for_wrong_samples_than_for_true_halves(penalty):
    real = sample(normal(400, 91.0, 3.0))
    truths = [float(penalty(real, sample(normal(400, 91.0, 3.0, seed=s)))) for s in range(1, 7)]
    wrong = {
        "shift": normal(400, 95.0, 3.0, seed=30),
        "wider": normal(400, 91.0, 9.0, seed=30),
        "narrower": normal(400, 91.0, 0.8, seed=30),
        "collapse": torch.full((400,), 91.0, dtype=torch.float64),
    }
    values = {change: float(penalty(real, sample(made))) for change, made in wrong.items()}
    assert min(values.values()) > 2.0 * max(truths), values


@each(JOINT)
def test_joint_penalties_are_far_larger_for_wrong_samples_than_for_true_halves(penalty):
    real = sample(correlated(400, 0.8))
    truths = [float(penalty(real, sample(correlated(400, 0.8, seed=s)), seeded(s))) for s in range(1, 7)]
    wrong = {
        "shift": correlated(400, 0.8, seed=30) + torch.tensor([4.0, 0.0]),
        "wider": 3.0 * correlated(400, 0.8, seed=30) - 2.0 * torch.tensor([91.0, 40.0]),
        "collapse": torch.tensor([[91.0, 40.0]]).double().expand(400, 2),
    }
    values = {change: float(penalty(real, sample(made), seeded())) for change, made in wrong.items()}
    assert min(values.values()) > 2.0 * max(truths), values


@each({k: p for k, p in JOINT.items() if k not in ("moments", "mmd_linear")})
def test_a_joint_penalty_sees_a_correlation_that_single_ones_cannot(penalty):
    real = sample(correlated(500, 0.9))
    truths = [float(penalty(real, sample(correlated(500, 0.9, seed=s)), seeded(s))) for s in range(1, 7)]
    wrong = correlated(500, 0.0, seed=30)
    assert float(penalty(real, sample(wrong), seeded())) > 1.5 * max(truths)
    single = type(penalty)(observables="m")
    first = float(single(sample(real.values[:, 0]), sample(wrong[:, 0])))
    true = [
        float(single(sample(real.values[:, 0]), sample(correlated(500, 0.9, seed=s)[:, 0])))
        for s in range(1, 7)
    ]
    assert first < 1.5 * max(true)


@each(UNBIASED)
def test_unbiased_penalties_are_zero_on_average_at_the_truth(penalty):
    check_zero_on_average(
        [
            float(
                penalty(
                    sample(normal(100, 91, 3, seed=s)), sample(normal(80, 91, 3, seed=1000 + s)), seeded()
                )
            )
            for s in range(60)
        ]
    )


@each(JOINT_UNBIASED)
def test_unbiased_joint_penalties_are_zero_on_average_at_the_truth(penalty):
    check_zero_on_average(
        [
            float(penalty(sample(correlated(100, 0.8, seed=s)), sample(correlated(80, 0.8, seed=1000 + s))))
            for s in range(60)
        ]
    )


@pytest.mark.parametrize(
    ("penalty", "power"),
    [(Wasserstein(**ONE), 0.5), (Wasserstein(**ONE, order=2), 1.0), (Moments(**ONE), 1.0)],
    ids=["wasserstein1", "wasserstein2", "moments"],
)
def test_biased_penalties_vanish_at_the_truth_with_the_size_of_the_batch(penalty, power):
    def mean(n):
        halves = [(sample(normal(n, seed=s)), sample(normal(n, seed=1000 + s))) for s in range(250)]
        return np.mean([float(penalty(*pair)) for pair in halves])

    # W2 squared of normal distributions has a logarithm besides its power.
    assert mean(100) / mean(1600) == pytest.approx(16**power, rel=0.35)


def several_values(n, seed, shared=None):
    """Events of up to five values around a value of the event, with event weights of both signs."""
    generator = torch.Generator().manual_seed(seed)
    centre = normal(n, 91.0, 2.0, seed=seed) if shared is None else shared
    counts = torch.randint(0, 6, (n,), generator=generator)
    event = torch.repeat_interleave(torch.arange(n), counts)
    own = torch.rand(len(event), generator=generator, dtype=torch.float64)
    weight = torch.where(torch.rand(n, generator=generator) < 0.2, -1.0, 1.0).double()
    values = centre[event] + normal(len(event), 0.0, 1.5, seed=seed + 1)
    return Points(values, weight[event] * own, event, weight)


@each({k: UNBIASED[k] for k in ("energy", "mmd", "histogram")})
def test_values_of_one_event_and_events_of_one_context_do_not_bias(penalty):
    independent, shared = [], []
    for s in range(0, 400, 5):
        independent.append(float(penalty(several_values(60, s), several_values(60, 5000 + s))))
        context = normal(60, 91.0, 2.0, seed=s)
        pair = several_values(60, s, context), several_values(60, 5000 + s, context)
        shared.append(float(penalty(*pair)))
    check_zero_on_average(independent)
    check_zero_on_average(shared)


def test_paired_is_larger_at_the_truth_than_at_collapse_whatever_the_sample():
    penalty = Paired(**ONE)
    real, n, sigma = sample(normal(40_000, 91.0, 2.5)), 40_000, 2.5
    truth = float(penalty(real, sample(normal(n, 91.0, sigma, seed=1))))
    collapse = float(penalty(real, sample(torch.full((n,), 91.0).double())))
    # the Gini mean difference, and the mean absolute deviation
    assert truth == pytest.approx(2.0 / np.sqrt(np.pi) * sigma, rel=0.01)
    assert collapse == pytest.approx(np.sqrt(2.0 / np.pi) * sigma, rel=0.01)
    square = Paired(**ONE, order=2, standardised=True)
    assert float(square(real, sample(normal(n, 91.0, sigma, seed=1)))) == pytest.approx(2.0, rel=0.03)
    assert float(square(real, sample(torch.full((n,), 91.0).double()))) == pytest.approx(1.0, rel=0.03)


# ------------------------------------------------------------------ gradients


def small(columns=None):
    """A real and a generated sample of a few values of a few events."""
    shape = (9,) if columns is None else (9, columns)
    values = normal(9 * (columns or 1), 91.0, 2.0).reshape(shape)
    weight = torch.tensor([1.0, 1, 2, 1, -0.5, 1, 1, 0.5, 1]).double()
    event = torch.tensor([0, 0, 1, 2, 2, 2, 4, 5, 5])
    real = Points(values, weight, event, torch.ones(6).double())
    made = normal(7 * (columns or 1), 91.5, 3.0, seed=2).reshape(7, *shape[1:])
    weight = torch.tensor([1.0, 1, 1, 2, 1, 1, -0.3]).double()
    event = torch.tensor([0, 1, 1, 2, 3, 5, 5])
    return real, Points(made, weight, event, torch.tensor([1.0, 2, 1, 1, 1, -0.3]).double())


SMOOTH = {k: p for k, p in SINGLE.items() if k not in ("mmd_generated", "mmd_median")}
"""Without those whose widths follow the generated values, through which no gradient goes."""


LINEAR = {
    f"linear_{kernel}": MMD(**ONE, estimator="linear", kernel=kernel)
    for kernel in ("gaussian", "breit_wigner", "rational_quadratic")
}


@each({**SMOOTH, "paired": Paired(**ONE), **LINEAR})
def test_gradients_agree_with_finite_differences(penalty):
    real, made = small()
    values, weight = made.values.requires_grad_(), made.weight.requires_grad_()
    if penalty.kind == "paired":
        real = Points(*(t[:7] for t in real[:3]))
    assert torch.autograd.gradcheck(
        lambda v, w: penalty(real, made._replace(values=v, weight=w)), (values, weight)
    )


@each({**JOINT, "paired": Paired(**TWO, order=2)})
def test_gradients_of_joint_penalties_agree_with_finite_differences(penalty):
    real, made = small(2)
    if penalty.kind == "paired":
        real = Points(*(t[:7] for t in real[:3]))
    values = made.values.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: penalty(real, made._replace(values=v), seeded(4)), values)


@each({**SINGLE, "paired": Paired(**ONE)})
def test_a_collapsed_or_empty_sample_has_finite_gradients(penalty):
    for values in (torch.full((8,), 2.0).double(), torch.empty(0).double(), torch.tensor([1.0]).double()):
        values.requires_grad_()
        penalty(sample(normal(8)), sample(values)).backward()
        assert torch.isfinite(values.grad).all()


def test_a_sample_without_a_positive_sum_of_weights_costs_nothing():
    values = normal(4).requires_grad_()
    made = Points(values, torch.tensor([1.0, -1.0, -1.0, 0.5]).double())
    value = Energy(**ONE)(sample(normal(8)), made)
    value.backward()
    assert float(value.detach()) == 0.0
    assert not values.grad.any()


# ------------------------------------------------------------------ weights


def replicated(weighted):
    """Each value as often as its whole weight says, of the same event."""
    copies = weighted.weight.long()
    event = torch.arange(len(copies)) if weighted.event is None else weighted.event
    values = torch.repeat_interleave(weighted.values, copies, dim=0)
    ones = torch.ones(len(values), dtype=torch.float64)
    return Points(values, ones, torch.repeat_interleave(event, copies), weighted.weight)


COUNTED = {**SINGLE, **{f"joint_{k}": p for k, p in JOINT.items()}}
"""Without those that depend on the order of values: half of them are in pairs, or give the median."""
del COUNTED["joint_mmd_linear"], COUNTED["mmd_median"]


@each(COUNTED)
def test_an_event_of_weight_two_counts_as_two_and_opposite_weights_cancel(penalty):
    joint = len(penalty.observables) == 2
    real = sample(correlated(50, 0.5) if joint else normal(50, 91, 3))
    values = correlated(40, 0.5, seed=1) if joint else normal(40, 91.5, 3, seed=1)
    weight = torch.randint(1, 4, (40,), generator=torch.Generator().manual_seed(1)).double()
    weighted = Points(values, weight, torch.arange(40), weight)
    expected = float(penalty(real, weighted, seeded()))
    assert float(penalty(real, replicated(weighted), seeded())) == pytest.approx(expected, rel=1e-9)
    far = correlated(5, 0.5, seed=2) if joint else normal(5, 96.0, seed=2)
    event = torch.cat((torch.arange(40), 40 + torch.arange(5), 40 + torch.arange(5)))
    signs = torch.cat((weight, torch.ones(5), -torch.ones(5))).double()
    cancelling = Points(torch.cat((values, far, far)), signs, event, torch.cat((weight, torch.zeros(5))))
    if penalty.kind == "histogram":
        # the number of events is that of all, so its variance is another by the factor n / (n - 1)
        assert float(penalty(real, cancelling)) == pytest.approx(expected, rel=0.05)
    else:
        assert float(penalty(real, cancelling, seeded())) == pytest.approx(expected, rel=1e-9)


def jittered(points, seed):
    """The same values on another processor: elsewhere in the batch, and with other last bits."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(points.values), generator=generator)
    steps = torch.randint(-2, 3, points.values.shape, generator=generator)
    values = points.values * (1.0 + 2.0**-52 * steps)
    return Points(values[order], points.weight[order], points.event[order], points.event_weight)


def doubtful(joint):
    """Copies of events, of opposite weights too, and an observable without width far from 0."""
    values = correlated(40, 0.5) if joint else normal(40, 91.5, 3)
    weight = torch.tensor([1.3, 0.7, -0.9, 0.9]).double().repeat_interleave(20)
    values = torch.cat((values[:20], values[:20], values[20:], values[20:]))
    yield Points(values, weight, torch.arange(80), weight)
    yield Points(torch.full_like(values, 8000.1), weight, torch.arange(80), weight)


@each(COUNTED)
def test_no_penalty_depends_on_last_bits_or_on_the_order_of_events(penalty):
    joint = len(penalty.observables) == 2
    made = Points(*(t[:60] for t in next(doubtful(joint))[:3]))
    made = made._replace(event_weight=made.weight, event=made.event[:60])
    for real in doubtful(joint):
        expected = float(penalty(real, made, seeded()))
        for seed in range(3):
            got = float(penalty(jittered(real, seed), jittered(made, seed + 9), seeded()))
            assert got == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_paired_weighs_pairs_by_the_real_event():
    a, b = normal(6), normal(6, seed=1)
    weight = torch.tensor([1.0, 2, 1, 3, 1, 1]).double()
    copies = weight.long()
    expected = Paired(**ONE)(sample(a.repeat_interleave(copies)), sample(b.repeat_interleave(copies)))
    torch.testing.assert_close(Paired(**ONE)(sample(a, weight), sample(b)), expected)


def brute_force(kernel, a, b=None):
    """The mean over pairs of different events, by a loop."""
    sums = norms = 0.0
    other = a if b is None else b
    for x, w, e in zip(*(t.numpy() for t in a[:3]), strict=True):
        for y, v, f in zip(*(t.numpy() for t in other[:3]), strict=True):
            if e != f:
                sums, norms = sums + w * v * kernel(np.linalg.norm(x - y)), norms + w * v
    return sums / norms


@pytest.mark.parametrize("columns", [None, 3])
@pytest.mark.parametrize(
    ("settings", "kernel"),
    [
        ({"kernel": "gaussian"}, lambda u, s: np.exp(-(u**2) / (2 * s**2))),
        ({"kernel": "breit_wigner"}, lambda u, s: s**2 / (u**2 + s**2)),
        (
            {"kernel": "rational_quadratic", "alpha": 0.6},
            lambda u, s: (1 + u**2 / (2 * 0.6 * s**2)) ** -0.6,
        ),
    ],
)
def test_mmd_agrees_with_its_definition(settings, kernel, columns, monkeypatch):
    monkeypatch.setattr(pairs, "_CHUNK", 20)
    a, b = small(columns)
    names = [f"o{i}" for i in range(columns or 1)]
    penalty = MMD(observables=names, widths=(0.7, 1.5), standardised=False, **settings)

    def mean(u):
        return np.mean([kernel(u, s) for s in penalty.widths])

    expected = brute_force(mean, a) + brute_force(mean, b) - 2 * brute_force(mean, a, b)
    assert float(penalty(a, b)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("columns", [None, 3])
def test_energy_agrees_with_its_definition(columns):
    a, b = small(columns)
    penalty = Energy(observables=[f"o{i}" for i in range(columns or 1)], standardised=False)
    expected = 2 * brute_force(abs, a, b) - brute_force(abs, a) - brute_force(abs, b)
    assert float(penalty(a, b)) == pytest.approx(expected, rel=1e-10)


def test_energy_agrees_with_scipy_but_for_the_pairs_of_a_value_with_itself():
    x, y = normal(300, 5.0, 2.0), normal(200, 6.0, 1.0, seed=1)
    w, v = normal(300, seed=3).abs(), normal(200, seed=4).abs()
    biased = stats.energy_distance(x, y, w, v) ** 2
    within = [
        float(pairs.absolute_mean(Points(t, u))) * float((u / u.sum()).square().sum())
        for t, u in ((x, w), (y, v))
    ]
    got = float(Energy(**ONE, standardised=False)(Points(x, w), Points(y, v)))
    assert got == pytest.approx(biased - sum(within), rel=1e-10)


# ------------------------------------------------------------------ values


def test_w1_agrees_with_scipy_and_w2_with_the_normal_formula():
    x, y = normal(300, 5.0, 2.0), normal(200, 6.0, 1.0, seed=1)
    w, v = normal(300, seed=3).abs(), normal(200, seed=4).abs()
    got = Wasserstein(**ONE, standardised=False)(Points(x, w), Points(y, v))
    assert float(got) == pytest.approx(stats.wasserstein_distance(x, y, w, v), rel=1e-12)
    exact = torch.from_numpy(stats.norm.ppf((np.arange(4000) + 0.5) / 4000))
    squared = Wasserstein(**ONE, standardised=False, order=2)
    # W2^2 of two normal distributions: (difference of means)^2 + (difference of widths)^2
    assert float(squared(sample(exact), sample(0.5 + 3.0 * exact))) == pytest.approx(0.25 + 4.0, rel=1e-3)
    shifted = squared(sample(x), sample(x[torch.randperm(300)] + 2.0))
    assert float(shifted) == pytest.approx(4.0, rel=1e-9)


def test_the_sliced_distance_of_a_shift_is_its_mean_projection():
    x = normal(300).reshape(100, 3)
    shift = torch.tensor([3.0, 0.0, 4.0]).double()
    options = {"observables": ("a", "b", "c"), "standardised": False, "directions": 4000}
    squared = Wasserstein(**options, order=2)(sample(x), sample(x + shift), seeded())
    # the mean square of a projection in d dimensions is a d-th of the whole, its mean magnitude in 3 a half
    assert float(squared) == pytest.approx(25.0 / 3.0, rel=0.05)
    assert float(Wasserstein(**options)(sample(x), sample(x + shift), seeded())) == pytest.approx(
        2.5, rel=0.05
    )


def test_directions_are_drawn_from_the_given_generator():
    a, b = sample(correlated(50, 0.5)), sample(correlated(50, 0.0, seed=1))
    penalty = Wasserstein(**TWO, directions=2)
    state = torch.get_rng_state()
    assert (
        float(penalty(a, b, seeded(1))) == float(penalty(a, b, seeded(1))) != float(penalty(a, b, seeded(2)))
    )
    assert torch.equal(torch.get_rng_state(), state)


@each({k: p for k, p in SINGLE.items() if k not in ("moments", "histogram", "mmd_real", "mmd_generated")})
def test_distances_in_units_of_the_real_width_do_not_depend_on_the_unit(penalty):
    x, y = normal(100), normal(100, 0.5, seed=1)
    torch.testing.assert_close(penalty(sample(x), sample(y)), penalty(sample(1e3 * x), sample(1e3 * y)))


def test_moments_reach_for_given_targets():
    values = torch.tensor([88.0, 92.0], dtype=torch.float64)
    penalty = Moments(**ONE, target_mean=89.6, target_std=7.7, mean_weight=2.0, std_weight=0.5)
    expected = 2.0 * (90.0 - 89.6) ** 2 + 0.5 * (2.0 - 7.7) ** 2
    assert float(penalty(sample(values + 5.0), sample(values))) == pytest.approx(expected)


def test_widths_cool_exponentially_and_follow_the_samples():
    real, made = sample(normal(4000, 91.0, 3.0)), sample(normal(4000, 91.0, 0.5, seed=1))

    def widths(share=0.0, **settings):
        return [k.width for k in MMD(**ONE, widths=(1.0, 2.0), **settings).kernels(real, made, share)]

    assert widths(share=1.0) == [1.0, 2.0]
    assert widths(share=0.5, cooling=0.01) == pytest.approx([0.1, 0.2])
    assert widths(share=1.0, cooling=0.01) == pytest.approx([0.01, 0.02])
    assert widths(estimate="real") == pytest.approx([3.0, 6.0], rel=0.05)
    assert widths(estimate="generated") == pytest.approx([0.5, 1.0], rel=0.05)
    both = torch.cat((real.values[:256], made.values[:256]))
    median = float((both[:, None] - both).abs()[torch.triu(torch.ones(512, 512), 1) > 0].median())
    assert widths(estimate="median") == pytest.approx([median, 2 * median])


def test_an_estimated_width_is_that_of_a_peak_and_not_of_its_tails():
    x = torch.from_numpy(stats.cauchy.rvs(91.0, 1.25, size=20_000, random_state=1))
    (kernel,) = MMD(**ONE, widths=(1.0,), estimate="real").kernels(sample(x), sample(x), 0.0)
    low, high = stats.cauchy.ppf([0.16, 0.84], 91.0, 1.25)
    assert kernel.width == pytest.approx((high - low) / 2, rel=0.05)


def test_the_linear_estimator_uses_each_event_once():
    penalty = MMD(**ONE, widths=(1.0,), standardised=False, estimator="linear")
    x, y = normal(6).numpy(), normal(6, 0.5, seed=1).numpy()

    def kernel(a, b):
        return np.exp(-((a - b) ** 2) / 2)

    h = [
        kernel(x[i], x[i + 3]) + kernel(y[i], y[i + 3]) - kernel(x[i], y[i + 3]) - kernel(x[i + 3], y[i])
        for i in range(3)
    ]
    got = penalty(sample(torch.from_numpy(x)), sample(torch.from_numpy(y)))
    assert float(got) == pytest.approx(np.mean(h), rel=1e-12)


# ------------------------------------------------------------------ histograms


def test_a_histogram_of_values_away_from_edges_is_numpys():
    edges = np.array([0.0, 1.0, 2.0, 4.0])
    penalty = Histogram(**ONE, edges=edges, smoothing=0.2)
    rng = np.random.default_rng(1)

    def draw(n, shares):
        event = rng.integers(0, 20, n)
        return Points(
            torch.from_numpy(rng.choice([0.5, 1.5, 3.0], n, p=shares)),
            torch.from_numpy(rng.random(n)),
            torch.from_numpy(event),
            torch.ones(20).double(),
        )

    a, b = draw(100, [0.2, 0.3, 0.5]), draw(80, [0.4, 0.3, 0.3])

    def contents(s):
        per_event = np.array(
            [
                np.histogram(s.values[s.event == i], edges, weights=s.weight[s.event == i])[0]
                for i in range(20)
            ]
        )
        return per_event.mean(axis=0), per_event

    (mean_a, all_a), (mean_b, all_b) = contents(a), contents(b)
    variance = (all_a - all_b).var(axis=0, ddof=1) / 20
    expected = np.mean((mean_a - mean_b) ** 2 / variance - 1.0)
    assert float(penalty(a, b)) == pytest.approx(expected, rel=1e-10)


def test_a_value_moves_gradually_into_the_next_bin_and_stays_in_the_outer_ones():
    penalty = Histogram(**ONE, bins=4, range=(0.0, 4.0))
    values = torch.tensor([1.5, 1.75, 2.0, 2.4, -7.0, 0.1, 3.9, 9.0]).double()
    shares = penalty._contents(sample(values), torch.arange(5.0).double())
    expected = [[0, 1, 0, 0], [0, 0.75, 0.25, 0], [0, 0.5, 0.5, 0], [0, 0.1, 0.9, 0]]
    expected += [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]
    torch.testing.assert_close(shares, torch.tensor(expected).double())


def test_a_histogram_takes_the_observables_bins_or_says_that_there_are_none():
    a, b = sample(normal(50)), sample(normal(50, seed=1))
    own = Histogram(**ONE, bins=6, range=(-3.0, 3.0))(a, b)
    edges = torch.linspace(-3.0, 3.0, 7)
    torch.testing.assert_close(Histogram(**ONE)(a, b, Circumstances(edges=edges)), own)
    with pytest.raises(RecipeError, match="'histogram_m' needs a range"):
        Histogram(**ONE)(a, b)
    with pytest.raises(RecipeError, match="'histogram_m' needs two bins or more"):
        Histogram(**ONE)(a, b, Circumstances(edges=edges[:2]))


# ------------------------------------------------------------------ settings


def test_penalties_are_told_apart_by_kind_and_unknown_keys_are_errors():
    adapter = TypeAdapter(PenaltyConfig)
    penalty = adapter.validate_python({"kind": "mmd", "observables": "pt", "weight": 2, "widths": [1.0]})
    assert isinstance(penalty, MMD)
    assert penalty.name == "mmd_pt"
    joint = adapter.validate_python({"kind": "energy", "observables": ["pt", "m"], "features": True})
    assert joint.name == "energy_features_pt_m"
    assert adapter.validate_python({"kind": "energy", "features": True, "name": "all"}).name == "all"
    for wrong, message in (
        ({"kind": "mmd", "observables": "pt", "order": 2}, "Extra inputs"),
        ({"kind": "mmd", "observables": "pt", "widths": [-1.0]}, "greater than or equal to"),
        ({"kind": "energy"}, "compares nothing"),
        ({"kind": "energy", "observables": ["pt", "pt"]}, "names 'pt' twice"),
        ({"kind": "moments", "observables": ["pt", "m"], "target_mean": 1.0}, "single observable"),
        ({"kind": "histogram", "features": True}, "single observable"),
        ({"kind": "histogram", "observables": "pt", "range": [1.0, 0.0]}, "must increase"),
    ):
        with pytest.raises(ValidationError, match=message):
            adapter.validate_python(wrong)


def test_recipes_and_model_files_of_before_name_one_observable():
    adapter = TypeAdapter(PenaltyConfig)
    old = {"kind": "moments", "observable": "m_mumu", "weight": 1e-4, "target_mean": 89.6, "target_std": 7.7}
    penalty = adapter.validate_python({**old, "mean_weight": 1.0, "std_weight": 1.0})
    assert penalty.observables == ("m_mumu",)
    again = adapter.validate_json(adapter.dump_json(penalty))
    assert again == penalty
    assert "observable" not in adapter.dump_python(penalty)
