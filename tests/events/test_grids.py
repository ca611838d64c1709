"""Numbers that a file has rounded."""

import numpy as np
import pytest
import torch

from hepgan.events import EventBatch, EventSchema, Field, Kind, to_awkward
from hepgan.events.grids import find_bits, find_step, on_grid, rounded
from hepgan.events.inference import kind_of
from hepgan.features import FeaturesConfig, Representation

RNG = np.random.default_rng(3)
N = 5000


def of_bits(values, bits):
    mantissas, exponents = np.frexp(values)
    return np.ldexp(np.round(mantissas * 2.0**bits), exponents - bits)


ROUNDED = {
    "hundredths": (np.round(RNG.normal(10, 3, N), 2), 0.01),
    "twentieths": (np.round(RNG.integers(0, 200, N) / 20, 2), 0.05),
    "middles of bins": (RNG.integers(0, 100, N) + 0.5, 1.0),
    "tens": (RNG.integers(0, 90, N) * 10.0, 10.0),
    "tenths of MeV": (np.round(RNG.exponential(300, N) + 25, 1), 0.1),
    "spike and thousandths": (np.where(RNG.random(N) < 0.4, 0, np.round(RNG.exponential(0.1, N), 3)), 0.001),
}


def described(values, dtype):
    return kind_of(Field(name="x", branches=("x",), dtype=dtype), values.astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ROUNDED)
def test_steps_are_found_and_numbers_on_the_grid_stay_as_they_are(name, dtype):
    values, step = ROUNDED[name]
    field = described(values, dtype)
    assert (field.step, field.kind) == (step, Kind.CONTINUOUS)
    stored = values.astype(dtype)
    back = rounded(torch.tensor(stored.astype(np.float64)), field).numpy().astype(dtype)
    np.testing.assert_array_equal(back, stored)


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=N),
        RNG.normal(1e9, 1e8, N),
        RNG.choice([100.0, 250.0, 500.0, 1000.0], N),
        RNG.choice([27.5, 35.0, 50.0], N),
        np.exp(RNG.normal(-40, 8, N)),
    ],
    ids=["normal", "large", "masses", "energies", "decades"],
)
def test_other_numbers_have_none(values):
    assert find_step(values) is None
    assert find_step(values.astype(np.float32)) is None


@pytest.mark.parametrize("bits", [8, 11, 13])
def test_bits_of_mantissas_are_found_as_nanoaod_rounds_them(bits):
    values = of_bits(RNG.exponential(30, N) + 15, bits).astype(np.float32)
    field = described(values, "float32")
    assert (field.step, field.bits) == (None, bits)
    moved = torch.tensor(values.astype(np.float64) * (1 + 1e-5))
    np.testing.assert_array_equal(rounded(moved, field).numpy(), values)


def test_half_and_single_precision_in_wider_types_are_bits():
    assert find_bits(RNG.normal(size=N).astype(np.float16).astype(np.float32)) == 11
    assert find_bits(RNG.normal(size=N).astype(np.float32).astype(np.float64)) == 24
    assert find_bits(RNG.normal(size=N).astype(np.float32)) is None
    assert find_bits(RNG.normal(size=N)) is None


@pytest.mark.parametrize("scale", [1e-310, 1e-300, 1e-30, 1.0, 1e30, 1e300])
def test_bits_are_kept_at_any_size(scale):
    values = of_bits(RNG.normal(size=N) * scale, 9)
    field = described(values, "float64")
    assert field.bits == 9
    np.testing.assert_array_equal(rounded(torch.tensor(values), field).numpy(), values)


def test_whole_numbers_of_any_type_are_integers_but_settings_are_not():
    assert described(RNG.integers(0, 500, N).astype(float), "float32").kind is Kind.INTEGER
    assert described(RNG.poisson(3, N).astype(float), "float64").kind is Kind.INTEGER
    assert described(RNG.choice([100.0, 250.0, 500.0], N), "float64").kind is Kind.CONTINUOUS


def test_decimals_are_exact_in_doubles():
    found = on_grid(torch.tensor([0.1499, 0.3001, 2.69], dtype=torch.float64), 0.05, 0.05)
    assert found.tolist() == [0.15, 0.3, 2.7]


def test_what_is_missing_is_not_rounded():
    values = np.round(RNG.normal(0, 1, N)).clip(-2, 2) + 0.3
    field = described(np.where(RNG.random(N) < 0.1, -9, values), "float64")
    assert (field.missing, field.step) == (-9.0, None)
    field = field.model_copy(update={"step": 1.0})
    assert rounded(torch.tensor([-9.0, 0.4], dtype=torch.float64), field).tolist() == pytest.approx([-9, 0.3])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_generated_numbers_are_on_the_grid_within_its_ends(dtype):
    columns = {name.replace(" ", "_"): v.astype(dtype) for name, (v, _) in ROUNDED.items()}
    columns["bits"] = of_bits(RNG.exponential(30, N) + 15, 11).astype(dtype)
    columns["whole"] = RNG.integers(0, 500, N).astype(dtype)
    fields = [kind_of(Field(name=n, branches=(n,), dtype=dtype), v) for n, v in columns.items()]
    schema = EventSchema(scalars=tuple(fields))
    batch = EventBatch(schema, {}, {n: torch.tensor(v.astype(np.float64)) for n, v in columns.items()})
    representation = Representation(FeaturesConfig(), schema).fit(batch)
    features = representation.encode(batch)
    noise = torch.randn(features.x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = to_awkward(representation.decode(features.with_x(noise)))
    for field, (name, values) in zip(fields, columns.items(), strict=True):
        found = np.asarray(made[name])
        assert found.dtype == values.dtype
        if field.step is None:
            np.testing.assert_array_equal(of_bits(found.astype(float), 11), found)
            continue
        assert found.min() >= values.min(), name
        assert found.max() <= values.max(), name
        places = (found.astype(float) - float(values.min())) / field.step
        assert np.abs(places - np.round(places)).max() < 1e-2
        for q in (0.2, 0.5, 0.8):
            off = np.quantile(found, q) - np.quantile(values, q)
            assert abs(off) < 0.1 * values.std() + field.step, name
