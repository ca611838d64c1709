from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hepgan.errors import InputError
from hepgan.features import format1
from hepgan.features.transforms import (
    PCA,
    Angle,
    Arctanh,
    Chain,
    Columns,
    LogEdge,
    Logit,
    MinMax,
    PeriodicAngle,
    QuantileNormal,
    QuantileTable,
    Rectified,
    SignedLog,
    Standardise,
    Transform,
)

D = 3
CONTENT = st.floats(1e-3, 1e4) | st.floats(-0.999, -1e-3)
POSITIVE, REAL, ANGLE = st.floats(1e-3, 1e4), st.floats(-1e4, 1e4), st.floats(-3.14, 3.14)
DEGREES = st.floats(0.0, 359.0)
#: How to build each transform, and the data that it is meant for.
CASES = {
    "standardise": (lambda: Standardise(D, names=["a", "b", "c"]), REAL),
    "min-max unit": (lambda: MinMax(D, low=0, high=1), REAL),
    "log-edge given": (lambda: LogEdge(D, edge=[0.0, -1.0, -2.5]), POSITIVE),
    "log-edge fitted": (lambda: LogEdge(D), REAL),
    "log-edge upper": (lambda: LogEdge(D, edge=2e4, side="upper"), POSITIVE),
    "log-edge upper fitted": (lambda: LogEdge(D, side="upper"), REAL),
    "logit given": (lambda: Logit(D, low=0.0, high=[1.1e4, 2e4, 3e4]), POSITIVE),
    "logit fitted": (lambda: Logit(D), REAL),
    "arctanh": (lambda: Arctanh(D), ANGLE),
    "angle": (lambda: Angle(D), ANGLE),
    "angle in degrees": (lambda: Angle(D, low=0.0, high=360.0), DEGREES),
    "periodic-angle": (lambda: PeriodicAngle(D), ANGLE),
    "signed-log": (lambda: SignedLog(D), REAL),
    "signed-log given": (lambda: SignedLog(D, scale=2.0), REAL),
    "quantile-normal": (lambda: QuantileNormal(D, knots=50), REAL),
    "quantile-normal bounded": (lambda: QuantileNormal(D, knots=50, low=[0, None, -1e5], high=1e4), POSITIVE),
    "quantile-table": (lambda: QuantileTable(D, knots=50), REAL),
    "quantile-table shared": (lambda: QuantileTable(D, knots=50, shared=True), REAL),
    "rectified": (lambda: Rectified(D), CONTENT),
    "rectified shared": (lambda: Rectified(D, shared=True), CONTENT),
    "pca": (lambda: PCA(D), REAL),
    "chain": (lambda: Chain([LogEdge(D, edge=0.0), QuantileNormal(D, knots=20), PCA(D)]), POSITIVE),
    "columns": (
        lambda: Columns(
            {"pt": LogEdge(2, edge=0.0), "rest": Standardise(1)}, indices={"pt": [2, 0], "rest": [1]}
        ),
        POSITIVE,
    ),
}
#: Transforms that treat columns on their own and increase or decrease in each of them.
ELEMENTWISE = [name for name in CASES if not name.startswith(("pca", "chain"))]
every_case = pytest.mark.parametrize("name", CASES)


def _block(elements):
    return (
        st.integers(2, 30)
        .flatmap(lambda n: arrays(np.float64, (n, D), elements=elements))
        .map(torch.from_numpy)
    )


def _draw(data, name):
    make, elements = CASES[name]
    return make(), data.draw(_block(elements))


def _sample(name, n=200, seed=0):
    make, elements = CASES[name]
    rng = np.random.default_rng(seed)
    x = {
        id(CONTENT): np.where(
            rng.random((n, D)) < [0.2, 0.5, 0.9], -rng.random((n, D)), rng.lognormal(0, 1, (n, D))
        ),
        id(POSITIVE): rng.lognormal(1.0, 1.0, (n, D)),
        id(REAL): rng.normal([0, 5, -3], [1, 20, 0.1], (n, D)),
        id(ANGLE): rng.uniform(-3.1, 3.1, (n, D)),
        id(DEGREES): rng.uniform(1.0, 359.0, (n, D)),
    }[id(elements)]
    return make(), torch.from_numpy(x)


@every_case
def test_every_transform_keeps_what_transforms_promise(name):
    transform, x = _sample(name)
    fresh = {key: value.clone() for key, value in transform.state_dict().items()}
    transform.fit(x, torch.zeros_like(x, dtype=torch.bool))
    assert all(torch.equal(value, fresh[key]) for key, value in transform.state_dict().items())

    y = transform.fit(x)(x)
    assert y.dtype == torch.float64
    torch.testing.assert_close(transform.inverse(y), x, rtol=1e-9, atol=1e-12)

    for row in (x[:5] + x[1:6]) / 2:
        jacobian = torch.autograd.functional.jacobian(lambda r: transform(r[None])[0], row)
        actual = transform.log_abs_det(row[None])
        assert actual.shape == (1, D)
        expected = torch.linalg.slogdet(jacobian).logabsdet
        torch.testing.assert_close(actual.sum(), expected, rtol=1e-9, atol=1e-9)
        if name in ELEMENTWISE:
            torch.testing.assert_close(actual[0], jacobian.diagonal().abs().log(), rtol=1e-9, atol=1e-9)

    leaf, far = x.clone().requires_grad_(), torch.linspace(-10, 10, 201, dtype=torch.float64)
    ends = far[:, None].repeat(1, D).requires_grad_()
    (forward,) = torch.autograd.grad(transform(leaf).sum(), leaf)
    (inverse,) = torch.autograd.grad(transform.inverse(ends).sum(), ends)
    assert bool(torch.isfinite(forward).all() & torch.isfinite(inverse).all())

    restored = Transform.from_state(json.loads(json.dumps(transform.state(), allow_nan=False)))
    restored.load_state_dict(transform.state_dict())
    assert restored.state() == transform.state()
    assert torch.equal(restored(x), y)
    assert torch.equal(restored.inverse(y), transform.inverse(y))

    assert torch.equal(transform(x.float()), transform(x.float().double()))
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), transform).half().float()
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(transform(x), y)


@every_case
def test_neither_padding_nor_the_order_of_events_nor_last_bits_have_an_influence(name):
    (transform, x), (alone, _) = _sample(name), _sample(name)
    alone.fit(x)
    padded = torch.cat([x, torch.full((50, D), math.nan), torch.full((50, D), -1e9)])
    mask = torch.ones_like(padded, dtype=torch.bool)
    mask[len(x) :] = False
    transform.fit(padded, mask)
    torch.testing.assert_close(transform(x), alone(x), rtol=1e-12, atol=1e-12)

    # Another processor: events elsewhere in the batch, values with other last bits; ties and equal steps too.
    generator = torch.Generator().manual_seed(1)
    steps = x.abs().amax(0) / 32
    coarse = x if name.startswith("angle") else ((x / steps).round() * steps).clamp(x.amin(0), x.amax(0))
    weight = torch.rand(len(x), generator=generator, dtype=torch.float64)
    order = torch.randperm(len(x), generator=generator)
    bits = torch.randint(-1, 2, x.shape, generator=generator) * 2.0**-52
    for values in (x, coarse):
        expected = CASES[name][0]().fit(values, weight=weight)
        made = CASES[name][0]().fit((values * (1 + bits))[order], weight=weight[order])
        torch.testing.assert_close(made(values), expected(values), rtol=1e-6, atol=1e-6)


@every_case
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_any_data_come_back_and_keep_their_order(name, data):
    transform, x = _draw(data, name)
    again = transform.fit(x).inverse(transform(x))
    # Rounding is relative to the largest value that a column, or a rotated block, is computed from.
    scale = x.abs().max() if name in ("pca", "chain") else x.abs().amax(0)
    torch.testing.assert_close(again / (scale + 0.1), x / (scale + 0.1), rtol=1e-9, atol=1e-9)
    if name in ELEMENTWISE:
        sign = -1 if "upper" in name else 1
        assert bool((sign * transform(x.sort(0).values).diff(dim=0) >= -1e-12).all())
        y = torch.linspace(-0.99, 0.99, 101, dtype=torch.float64)[:, None].expand(-1, D)
        assert bool((sign * transform.inverse(y).diff(dim=0) >= 0).all())


@pytest.mark.parametrize("name", ["standardise", "quantile-normal", "pca", "chain"])
def test_weightless_events_have_no_influence_on_moments_and_quantiles(name):
    (transform, x), (alone, _) = _sample(name), _sample(name)
    alone.fit(x)
    weight = torch.cat([torch.ones(len(x)), torch.zeros(20)])
    transform.fit(torch.cat([x, 3 * x[:20]]), weight=weight)
    torch.testing.assert_close(transform(x), alone(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["standardise", "min-max unit", "pca", "columns"])
def test_repeating_an_event_is_giving_it_an_integer_weight(name):
    (weighted, x), (repeated, _) = _sample(name), _sample(name)
    weight = torch.arange(len(x)) % 3 + 1
    weighted.fit(x, weight=weight)
    repeated.fit(x.repeat_interleave(weight, 0))
    torch.testing.assert_close(weighted(x), repeated(x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["standardise", "chain", "columns"])
def test_nan_and_empty_data_are_refused_with_their_place(name):
    transform, x = _sample(name)
    x[4, 1] = math.nan
    with pytest.raises(InputError, match="entry 4"):
        transform.fit(x)
    with pytest.raises(InputError, match="no events"):
        transform.fit(x[:0])


@pytest.mark.parametrize(
    ("weight", "message"),
    [([1.0, math.nan], "weight is not finite"), ([1.0, -1.0], "sum of the event weights")],
)
def test_unusable_weights_are_refused(weight, message):
    with pytest.raises(InputError, match=message):
        Standardise(1).fit(torch.tensor([[1.0], [2.0]]), weight=torch.tensor(weight))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(N, 2\)"):
        Standardise(2).fit(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="do not match"):
        Standardise(2).fit(torch.zeros(4, 2), weight=torch.ones(3))
    with pytest.raises(ValueError, match="names"):
        Standardise(2, names=["pt"])


@pytest.mark.parametrize(
    ("transform", "bad"),
    [
        (LogEdge(2, edge=20.0, names=["pt", "jet_pt"]), 20.0),
        (LogEdge(2, edge=50.0, side="upper", names=["pt", "jet_pt"]), 50.0),
        (Logit(2, low=0.0, high=40.0, names=["pt", "jet_pt"]), 41.0),
        (Arctanh(2, scale=35.0, names=["pt", "jet_pt"]), -35.0),
        (QuantileNormal(2, low=25.0, names=["pt", "jet_pt"]), 24.0),
    ],
)
def test_data_outside_the_domain_are_refused_with_column_and_entry(transform, bad):
    x = torch.full((6, 2), 30.0)
    x[3, 1] = bad
    with pytest.raises(InputError, match=r"entry 3: column 1 \(jet_pt\)") as caught:
        transform.fit(x)
    assert (caught.value.branch, caught.value.entry) == ("jet_pt", 3)
    transform.fit(x, torch.tensor([True, False]).expand(6, 2))


def test_columns_name_the_group_of_a_bad_entry():
    columns = Columns({"eta": Standardise(1), "pt": LogEdge(1, edge=0.0)})
    with pytest.raises(InputError, match="entry 2: pt, column 0"):
        columns.fit(torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, -1.0]]))


@given(
    edge=st.floats(-1e4, 1e4),
    y=arrays(np.float64, (20, 1), elements=st.floats(-700, 700)).map(torch.from_numpy),
)
def test_inverse_never_reaches_an_edge(edge, y):
    assert bool((LogEdge(1, edge=edge).inverse(y) > edge).all())
    assert bool((LogEdge(1, edge=edge, side="upper").inverse(y) < edge).all())
    between = Logit(1, low=edge, high=edge + 3.0).inverse(y)
    assert bool(((between > edge) & (between < edge + 3.0)).all())
    assert bool((Arctanh(1).inverse(y).abs() < math.pi * (1 + 1e-6)).all())


def test_a_fitted_edge_lies_just_beyond_the_data():
    x = torch.from_numpy(20 + np.random.default_rng(1).exponential(10, (5000, 1)))
    edge = LogEdge(1).fit(x).edge
    assert 0 < float(x.min() - edge) < 0.02
    logit = Logit(1, low=20.0).fit(x)
    assert float(logit.low) == 20.0
    assert float(logit.high) > float(x.max())


@given(st.floats(-1e3, 1e3) | st.sampled_from([math.pi, -math.pi, float(np.float32(np.pi))]))
def test_a_wrapped_angle_lies_in_range_and_differs_by_whole_turns(phi):
    angle = PeriodicAngle(1)
    wrapped = float(angle.inverse(angle(torch.tensor([[phi]], dtype=torch.float64))))
    assert -math.pi <= wrapped < math.pi
    turns = (phi - wrapped) / (2 * math.pi)
    assert turns == pytest.approx(round(turns), abs=1e-9)


def test_generated_angles_may_cross_the_cut():
    y = torch.linspace(-30, 30, 1001)[:, None]
    phi = PeriodicAngle(1).inverse(y)
    assert bool(((phi >= -math.pi) & (phi < math.pi)).all())
    torch.testing.assert_close(phi.sin(), (y.double() * math.pi / math.sqrt(3)).sin(), rtol=0, atol=1e-12)


def test_arctanh_is_the_published_map():
    phi = torch.linspace(-3, 3, 101, dtype=torch.float64)[:, None]
    torch.testing.assert_close(Arctanh(1)(phi), torch.atanh(phi / math.pi), rtol=1e-4, atol=1e-15)


def test_signed_log_has_its_slope_at_zero():
    zero = torch.zeros(1, 1, dtype=torch.float64, requires_grad=True)
    transform = SignedLog(1, scale=4.0)
    assert torch.autograd.grad(transform(zero).sum(), zero)[0].item() == 0.25
    assert torch.autograd.grad(transform.inverse(zero).sum(), zero)[0].item() == 4.0


def test_standardise_uses_signed_weighted_moments():
    rng = np.random.default_rng(2)
    x, w = rng.normal(3, 2, (1000, 2)), np.where(rng.random(1000) < 0.2, -1.0, 1.0)
    fitted = Standardise(2).fit(torch.from_numpy(x), weight=torch.from_numpy(w))
    mean = np.average(x, axis=0, weights=w)
    np.testing.assert_allclose(fitted.mean, mean)
    np.testing.assert_allclose(fitted.scale, np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w)))


def test_a_rare_column_with_a_negative_sum_uses_absolute_weights():
    x = torch.tensor([[1.0, 5.0], [2.0, 7.0], [3.0, 0.0]])
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    fitted = Standardise(2).fit(x, mask, torch.tensor([1.0, -2.0, 4.0]))
    assert fitted.mean[1] == pytest.approx((5.0 + 2 * 7.0) / 3)


def test_a_constant_column_keeps_its_scale():
    constant = torch.full((10, 1), 0.10566)
    for transform in (Standardise(1), MinMax(1), PCA(1)):
        y = transform.fit(constant)(constant)
        torch.testing.assert_close(y, torch.zeros_like(y), rtol=0, atol=1e-12)
        assert float(transform.log_abs_det(constant)[0, 0]) == 0.0


def test_min_max_fills_its_range():
    x = torch.from_numpy(np.random.default_rng(3).normal(size=(100, 2)))
    y = MinMax(2, low=0.0, high=2.0).fit(x)(x)
    torch.testing.assert_close(y.amin(0), torch.zeros(2).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(y.amax(0), torch.full((2,), 2.0).double(), rtol=0, atol=1e-12)


def test_pca_whitens_the_weighted_covariance():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2000, 3)) @ rng.normal(size=(3, 3)) + [1.0, 2.0, 3.0]
    w = rng.uniform(0.1, 2.0, 2000)
    pca = PCA(3).fit(torch.from_numpy(x), weight=torch.from_numpy(w))
    y = pca(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(np.cov(y.T, aweights=w, ddof=0), np.eye(3), atol=1e-9)


def test_the_signs_of_components_do_not_hang_on_rounding():
    x = torch.from_numpy(np.random.default_rng(5).normal(size=(500, 2)))
    # The components of two columns that are alike are (1, 1) and (1, -1).
    alike = torch.cat([x, x.flip(1)])
    for bits in range(8):
        jittered = alike * (
            1 + 2.0**-51 * torch.randn(alike.shape, generator=torch.Generator().manual_seed(bits))
        )
        assert bool((PCA(2).fit(jittered).components[:, 0] > 0).all())


def test_columns_need_each_column_once():
    with pytest.raises(ValueError, match="once"):
        Columns({"a": Standardise(1), "b": Standardise(1)}, indices={"a": [0], "b": [0]})
    with pytest.raises(ValueError, match="one size"):
        Chain([Standardise(1), Standardise(2)])


@pytest.mark.parametrize(
    "config", [{"kind": "no-such"}, {"kind": "standardise", "size": 2, "edge": 1}, {"size": 2}]
)
def test_a_foreign_config_is_refused(config):
    with pytest.raises(ValueError, match="transform"):
        Transform.from_state(config)


def test_descriptions_of_version_0_1_are_converted_and_options_that_are_gone_are_refused():
    described = [
        {"kind": "pca", "size": 2, "whiten": True},
        {"kind": "log_edge", "size": 2, "edge": None, "side": "upper", "margin": 0.001},
        {"kind": "logit", "size": 2, "low": [0.0, 0.0], "high": None, "margin": 0.001},
        {"kind": "periodic_angle", "size": 2, "scaling": "variance"},
    ]
    for config in described:
        assert Transform.from_state(format1.transform(config)).state().items() <= config.items()
    for config, option, value in zip(
        described, ("whiten", "margin", "margin", "scaling"), (False, 1, 1, "unit"), strict=True
    ):
        with pytest.raises(ValueError, match=option):
            Transform.from_state(format1.transform({**config, option: value}))


# ------------------------------------------------------------------ cells


def _contents(n=4000, seed=6):
    """Contents above a threshold of 0.1, empty in 30%, 90% and all events, and none empty."""
    rng = np.random.default_rng(seed)
    x = 0.1 + rng.lognormal(0.0, 1.5, (n, 4))
    empty = rng.random((n, 4)) < [0.3, 0.9, 1.0, 0.0]
    return torch.from_numpy(np.where(empty, -rng.random((n, 4)), x))


@pytest.mark.parametrize("shared", [False, True])
def test_rectified_contents_are_normal_and_empty_below_a_threshold(shared):
    x = _contents()
    made = Rectified(4, shared=shared).fit(x)
    y = made(x)
    columns = y.flatten().unsqueeze(1) if shared else y
    assert bool((columns.mean(0).abs() < 0.02).all())
    assert bool((columns.std(0) - 1.0).abs().max() < 0.03)
    least = float(x[x > 0].min())
    anything = made.inverse(3.0 * torch.randn(5000, 4, generator=torch.Generator().manual_seed(1)).double())
    assert float(anything[anything > 0].min()) >= least
    assert float((made.inverse(torch.randn(5000, 4).double())[:, 1] > 0).double().mean()) == pytest.approx(
        float((x > 0).double().mean()) if shared else 0.1, abs=0.02
    )
    if not shared:
        assert not bool((anything[:, 2] > 0).any())
        assert float((anything[:, 3] > 0).double().mean()) > 0.96


@pytest.mark.parametrize("log", [False, True])
def test_a_gan_of_rectified_contents_has_one_unit_and_zeros(log):
    x = _contents()
    made = Rectified(4, zeros="kept", log=log).fit(x)
    y = made(x)
    assert bool((y[x <= 0] == 0).all())
    assert float(y[x > 0].square().mean()) == pytest.approx(1.0)
    again = made.inverse(y)
    torch.testing.assert_close(again[x > 0], x[x > 0])
    assert bool((again[x <= 0] == 0).all())
    line = torch.linspace(-2, 2, 401, dtype=torch.float64)[:, None].repeat(1, 4).requires_grad_()
    contents = torch.relu(made.inverse(line))
    (slope,) = torch.autograd.grad(contents.sum(), line)
    assert bool((slope[line < 0] == 0).all())
    assert bool((slope[contents > 0] > 0).all())
    contents = contents.detach()
    assert float(contents[contents > 0].min()) >= float(x[x > 0].min())


def test_rectified_options_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="log is for zeros that are kept"):
        Rectified(2, log=True)
    with pytest.raises(ValueError, match="spread or kept"):
        Rectified(2, zeros="no")
    with pytest.raises(InputError, match="above -1"):
        Rectified(1).fit(torch.tensor([[-2.0], [1.0]]))


@pytest.mark.parametrize("signed", [False, True])
def test_a_table_of_quantiles_follows_weighted_distributions_as_the_other_transform_does(signed):
    rng = np.random.default_rng(7)
    x = np.column_stack([rng.normal(3, 2, 8000), rng.lognormal(0, 1, 8000), rng.integers(0, 5, 8000)])
    weight = np.where(rng.random(8000) < 0.2, -1.0, 1.0) if signed else rng.uniform(0.1, 2.0, 8000)
    x, w = torch.from_numpy(x), torch.from_numpy(weight)
    table, other = QuantileTable(3).fit(x, weight=w), QuantileNormal(3).fit(x, weight=w)
    y = torch.linspace(-2, 2, 81, dtype=torch.float64)[:, None].expand(-1, 3)
    difference = (table.inverse(y) - other.inverse(y)).abs()
    assert float(difference[:, 0].max()) < 0.15
    assert float((difference[:, 1] / other.inverse(y)[:, 1]).max()) < 0.15
    # Of whole numbers all but the steps between them are the same.
    assert float((difference[:, 2] > 0.01).double().mean()) < 0.15


def test_a_table_is_of_a_part_of_many_events_but_reaches_as_far_as_all(monkeypatch):
    monkeypatch.setattr("hepgan.features.transforms.table._MOST", 3000)
    monkeypatch.setattr("hepgan.features.transforms.table._FEWEST", 1000)
    x = torch.from_numpy(np.random.default_rng(8).normal(size=(20_000, 3)))
    x[777, 1] = 9.0
    table = QuantileTable(3).fit(x)
    assert float(table.table[1, -1]) >= 9.0
    assert float(table(x)[:, 0].std()) == pytest.approx(1.0, abs=0.05)
    torch.testing.assert_close(table.inverse(table(x)), x, rtol=1e-9, atol=1e-12)
