"""Columns of numbers that are large, small, alike or far apart, in every type that files have."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.errors import HepganError, InputError, RecipeError
from hepgan.events import schema_of, to_awkward, to_batch
from hepgan.features.config import FeaturesConfig
from hepgan.features.representation import Representation
from hepgan.generator import EventGenerator

N = 1200
R = np.random.default_rng(1)
G, U = R.normal(0, 1, N), R.random(N)
FIRST = np.arange(N) == 7

COLUMNS = {
    "alike": 1e8 + G,
    "more alike": 1e15 + 100 * G,
    "alike in 12 digits": 1 + 1e-12 * G,
    "alike but for the last bits": 1 + 2.0**-52 * R.integers(0, 40, N),
    "two that are alike": np.where(U < 0.5, 1.0, 1 + 1e-12),
    "two denormal ones": np.where(U < 0.5, 1e-310, 2e-310),
    "alike, one far off": np.where(FIRST, -1.0, 1e15 + 100 * G),
    "seconds": 1.6e9 + 3600 * U,
    "24 decades": 10 ** (24 * U - 12),
    "24 decades of both signs": np.sign(G) * 10 ** (24 * U - 12),
    "200 decades": 10 ** (200 * U - 100),
    "denormal": 1e-310 * U,
    "smallest": 5e-324 * R.integers(0, 40, N),
    "small": 1e-300 * G,
    "huge": 1e300 * G,
    "largest": 1.7e308 * np.sign(G) * U,
    "one large": np.where(FIRST, 1e300, G),
    "one of the largest": np.where(FIRST, -1.7e308, G),
    "heavy tails": np.tan(np.pi * (U - 0.5)),
    "one number": np.full(N, 0.1),
    "one denormal number": np.full(N, 3e-310),
    "single, alike": (1 + 2.0**-23 * R.integers(0, 40, N)).astype(np.float32),
    "single, denormal": (1e-42 * U).astype(np.float32),
    "single, largest": (3.4e38 * (2 * U - 1)).astype(np.float32),
    "single, one number": np.full(N, 0.1, np.float32),
    "int8": R.integers(-128, 128, N).astype(np.int8),
    "int32": R.integers(-(2**31), 2**31, N).astype(np.int32),
    "integer seconds": (1_600_000_000 + 3600 * U).astype(np.int64),
    "running numbers": 10**12 + np.arange(N),
    "beyond doubles": 2**60 + R.integers(0, 1000, N),
    "few beyond doubles": 2**60 + R.integers(0, 5, N),
    "one beyond doubles": np.full(N, 2**60 + 1),
    "with gaps": R.choice([0, 5, 10**9, 10**13 + 3], N),
    "uint64": np.uint64(2**63 - 1) - R.integers(0, 1000, N).astype(np.uint64),
}


def represent(values, **config):
    events = ak.zip({"x": values, "other": G[: len(values)]}, depth_limit=1)
    schema = schema_of(events)
    batch = to_batch(events, schema)
    return Representation(FeaturesConfig.model_validate(config), schema).fit(batch), batch


def decoded(representation, features):
    return np.asarray(to_awkward(representation.decode(features)).x)


def ranges(values):
    """The central half, and nearly all, of numbers; halves, since a difference may not be a double."""
    ordered = np.sort(values).astype(np.longdouble)
    last = len(ordered) - 1
    return [float(ordered[round((1 - t) * last)] / 2 - ordered[round(t * last)] / 2) for t in (0.25, 0.02)]


@pytest.mark.parametrize("name", COLUMNS)
def test_numbers_come_back_and_are_generated_with_their_spread(name):
    values = COLUMNS[name]
    representation, batch = represent(values)
    features = representation.encode(batch)
    assert bool(torch.isfinite(features.x).all())
    back = decoded(representation, features)
    assert back.dtype == values.dtype
    if values.dtype.kind in "iu":
        assert back.tolist() == values.tolist()
    else:
        step = 1e-9 if "decades" in name else 8 * np.finfo(values.dtype).eps
        tolerance = 1e-6 * ranges(values)[1] + step * np.abs(values / 2)
        assert np.mean(np.abs(back / 2 - values / 2) <= tolerance) > 0.995
    # As networks have them, and as a network makes them that has learned all columns.
    single = decoded(representation, features.with_x(features.x.float().double()))
    normal = torch.randn(features.x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    made = decoded(representation, features.with_x(normal))
    for found, off in ((single, 0.01), (made, 0.15)):
        assert np.isfinite(found).all()
        if name in ("one number", "one denormal number", "single, one number", "one beyond doubles"):
            assert (found == values[0]).all()
        elif found is made and ("decades" in name or "tails" in name):
            orders = [np.log10(np.abs(v)) for v in (found, values)]
            np.testing.assert_allclose(*map(ranges, orders), rtol=off, atol=0)
        else:
            np.testing.assert_allclose(ranges(found), ranges(values), rtol=off, atol=0)


@pytest.mark.parametrize("name", ["alike", "more alike", "denormal", "huge", "largest"])
@pytest.mark.parametrize("transform", ["standardise", "min_max", "log_edge", "logit", "signed_log"])
def test_every_transform_keeps_digits(name, transform):
    values = COLUMNS[name]
    representation, batch = represent(values, transform=transform)
    features = representation.encode(batch)
    single = decoded(representation, features.with_x(features.x.float().double()))
    np.testing.assert_allclose(ranges(single), ranges(values), rtol=0.01, atol=0)
    assert bool(torch.isfinite(representation.log_abs_det(features)).all())


@pytest.mark.parametrize(
    "edge", [{"kind": "log_edge", "edge": 1e8}, {"kind": "quantile", "low": 1e8, "knots": 50}]
)
def test_the_recipes_edges_hold_for_numbers_that_are_alike(edge):
    values = 1e8 + 1 + U
    representation, batch = represent(
        values, blocks=[{"kind": "fields", "fields": ["x"], "transforms": {"x": edge}}]
    )
    features = representation.encode(batch)
    np.testing.assert_allclose(decoded(representation, features), values, rtol=1e-15)
    low = decoded(representation, features.with_x(torch.full_like(features.x, -20.0)))
    assert (low >= 1e8).all()
    assert (low < 1e8 + 1).all()


def test_volumes_count_the_unit_of_numbers():
    (small, batch), (plain, one) = represent(2.0**-600 * G), represent(G)
    difference = small.log_abs_det(small.encode(batch)) - plain.log_abs_det(plain.encode(one))
    torch.testing.assert_close(difference, torch.full_like(difference, 600 * np.log(2)), rtol=1e-9, atol=0)


def test_numbers_that_are_computed_from_single_precision_are_constant_up_to_its_rounding():
    momenta = {"pt": 50 + U, "eta": np.full(N, 0.5), "phi": 6 * U - 3, "mass": 0.1 + 1e-9 * G}
    events = ak.zip({"Muon": ak.zip({n: v[:, None] for n, v in momenta.items()})}, depth_limit=1)
    batch = to_batch(events)
    fitted = Representation(
        FeaturesConfig.model_validate({"masses": {"Muon": "auto"}}), schema_of(events)
    ).fit(batch)
    assert fitted.names == ("Muon.pt", "Muon.phi") or "Muon[0].mass" not in fitted.names


@pytest.mark.parametrize(
    "values", [R.integers(-(2**63), 2**63 - 1, N), R.integers(0, 2**63, N, dtype=np.uint64)]
)
def test_integers_too_far_apart_for_their_digits_are_refused(values):
    with pytest.raises(RecipeError, match=r"branch x: integers .* apart lose their last digits") as caught:
        represent(values)
    assert caught.value.branch == "x"


@pytest.mark.parametrize("transform", ["standardise", "min_max", "signed_log"])
def test_a_transform_that_leaves_networks_no_digits_is_named(transform):
    with pytest.raises(RecipeError, match=r"transform of x: leaves too few digits of \d+ of 600 numbers"):
        represent(COLUMNS["one large"], transform=transform)


def test_integers_that_are_no_doubles_cannot_be_conditions():
    events = ak.zip({"x": G, "number": 2**60 + R.integers(0, 1000, N)}, depth_limit=1)
    schema = schema_of(events)
    with pytest.raises(InputError, match=r"the condition number is 1152921\d+; integers above 2\^53"):
        Representation(FeaturesConfig(), schema, ["number"]).fit(to_batch(events, schema))


@pytest.mark.parametrize("size", [1e-310, 1e-300, 1e300])
def test_weights_of_any_size_weigh_alike(size):
    events = ak.zip({"x": G, "genWeight": size * (1 + U)}, depth_limit=1)
    same = ak.zip({"x": G, "genWeight": 1 + U}, depth_limit=1)
    made = [Representation(FeaturesConfig(), schema_of(e)).fit(to_batch(e)) for e in (events, same)]
    x, y = (m.encode(to_batch(e)) for m, e in zip(made, (events, same), strict=True))
    torch.testing.assert_close(x.x, y.x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(x.weight, y.weight, rtol=1e-6, atol=0)


@pytest.mark.parametrize("seed", range(12))
def test_garbage_is_learned_or_named(seed):
    """Mixtures of scales, offsets and types at random, several columns at once, weighted."""
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 9, 200]))
    with np.errstate(all="ignore"):
        columns = {}
        for k in range(6):
            kind = rng.choice(["float64", "float32", "int64", "uint64", "int16"])
            shape = rng.choice(
                [rng.normal(size=n), rng.random(n), rng.integers(0, 3, n), 10 ** rng.uniform(-9, 9, n)]
            )
            scale, offset = 10.0 ** rng.uniform(-320, 300), rng.choice([0.0, 10.0 ** rng.uniform(-300, 300)])
            if kind.startswith("f"):
                values = (scale * shape + offset).astype(kind)
                columns[f"x{k}"] = np.where(np.isfinite(values), values, np.finfo(kind).max)
            else:
                wide = int(rng.integers(1, 62)) if kind != "int16" else 14
                columns[f"x{k}"] = (rng.integers(0, 2**wide, n) + int(rng.integers(0, 2**wide))).astype(kind)
    events = ak.zip(columns, depth_limit=1)
    schema = schema_of(events)
    batch = to_batch(events, schema)
    transform = str(rng.choice(["quantile", "quantile", "standardise", "signed_log", "log_edge"]))
    named = None
    try:
        fitted = Representation(FeaturesConfig(transform=transform), schema).fit(batch)
    except HepganError as error:
        named = str(error)
    if named is not None:
        assert any(name in named for name in columns), named
        return
    features = fitted.encode(batch)
    assert bool(torch.isfinite(features.x).all())
    wild = torch.randn(features.x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    made = to_awkward(fitted.decode(features.with_x(3 * wild)))
    for name, values in columns.items():
        assert np.isfinite(np.asarray(made[name])).all(), name
        assert made[name].type.content.primitive == values.dtype


def test_a_model_of_odd_columns_makes_numbers_of_their_kind():
    odd = [n for n, v in COLUMNS.items() if v.dtype.kind == "f" or "doubles" in n]
    events = ak.zip({f"x{k}": COLUMNS[n] for k, n in enumerate(odd)}, depth_limit=1)
    recipe = {
        "name": "odd",
        "model": {"kind": "flow_matching", "network": {"kind": "mlp", "widths": [32]}, "steps": 2},
        "training": {"steps": 60, "batch_size": 256},
    }
    made = EventGenerator(recipe).fit(events, seed=1, device="cpu").generate(500, seed=2)
    for k, name in enumerate(odd):
        found, values = np.asarray(made[f"x{k}"]), COLUMNS[name]
        assert np.isfinite(found).all(), name
        width, wanted = ranges(found)[1], ranges(values)[1]
        assert width == 0 if wanted == 0 else "decades" in name or 0.2 < width / wanted < 5, name
