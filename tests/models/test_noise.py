from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from scipy import stats

from hepgan.models import BLOCK, gaussian, uniform
from hepgan.models import noise as noise_module

ALL = 2**64 - 1


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        (
            [0, 0, 0, 0],
            [0, 0],
            [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B],
        ),
        (
            [ALL, ALL, ALL, ALL],
            [ALL, ALL],
            [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0],
        ),
        (
            [0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89],
            [0x452821E638D01377, 0xBE5466CF34E90C6C],
            [0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6],
        ),
    ],
)
def test_numpys_philox_gives_the_published_words_of_philox4x64_10(counter, key, words):
    # numpy counts up before it makes the first words.
    value = sum(c << (64 * i) for i, c in enumerate(counter)) - 1
    value %= 2**256
    before = np.array([(value >> (64 * i)) & ALL for i in range(4)], dtype=np.uint64)
    philox = np.random.Philox(key=np.array(key, dtype=np.uint64), counter=before)
    assert philox.random_raw(4).tolist() == words


@pytest.mark.parametrize("size", [1, 2, 33])
def test_some_events_have_the_numbers_that_they_have_in_the_block(size):
    whole = gaussian(3, 5, size, stream=2)
    rows = torch.tensor([0, 7, BLOCK // 2, BLOCK - 1, 7])
    assert torch.equal(gaussian(3, 5, size, stream=2, rows=rows), whole[rows])
    assert gaussian(3, 5, 0, rows=rows).shape == (5, 0)


def test_normal_numbers_are_normal():
    p_values = [
        stats.kstest(gaussian(seed, block, 8).numpy().ravel(), "norm").pvalue
        for seed in range(8)
        for block in (0, 1, 2**40)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    z = torch.cat([gaussian(1, b, 64) for b in range(8)]).double().flatten()
    n = len(z)
    assert abs(float(z.mean())) < 4 / np.sqrt(n)
    assert abs(float(z.var()) - 1) < 4 * np.sqrt(2 / n)
    assert abs(float((z**4).mean()) - 3) < 4 * np.sqrt(96 / n)
    assert float((z.abs() > 4).double().mean()) == pytest.approx(2 * stats.norm.sf(4), rel=0.4)


def test_radius_and_angle_are_those_of_box_and_muller():
    words = np.random.Philox(1).random_raw(100_000)
    bits = (words >> np.uint64(32)).astype(np.uint32)
    bits[:4] = [0, 1, 2**31, 2**32 - 1]
    radius = noise_module._radius(bits).astype(np.float64)
    u = (bits + 0.5) / 2**32
    # float32 holds u only to 2^-25 near 1, where the radius goes to 0.
    np.testing.assert_allclose(radius**2, -2 * np.log(u), rtol=1e-6, atol=2.0**-23)
    cosine, sine = noise_module._cosine_and_sine(bits)
    angle = ((bits & 0x7FFFFFFF) / 2**31 - 0.5) * np.pi + np.pi * (bits >> 31)
    np.testing.assert_allclose(cosine, np.cos(angle), atol=4e-7)
    np.testing.assert_allclose(sine, np.sin(angle), atol=4e-7)


def test_uniform_numbers_are_uniform_from_0_up_to_1():
    p_values = [stats.kstest(uniform(s, 3, 5).numpy().ravel(), "uniform").pvalue for s in range(20)]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3
    u = uniform(1, 0, 50)
    assert u.dtype == torch.float64
    assert float(u.min()) >= 0.0
    assert float(u.max()) < 1.0


def test_blocks_seeds_streams_columns_and_kinds_are_independent():
    base = gaussian(1, 0, 4)
    others = [gaussian(1, 1, 4), gaussian(2, 0, 4), gaussian(1, 0, 4, stream=1), gaussian(0, 1, 4)]
    flat = uniform(1, 0, 4)
    others.append(torch.special.ndtri(flat.clamp(1e-12)).float())
    columns = torch.cat([base, *others], dim=1).double()
    correlation = torch.corrcoef(columns.T) - torch.eye(columns.shape[1])
    assert float(correlation.abs().max()) < 5 / np.sqrt(BLOCK)
    squares = torch.corrcoef((columns**2).T) - torch.eye(columns.shape[1])
    assert float(squares.abs().max()) < 5 / np.sqrt(BLOCK)
    rows = torch.corrcoef(torch.stack((base[:-1].flatten(), base[1:].flatten())))
    assert abs(float(rows[0, 1])) < 5 / np.sqrt(base.numel())


def test_the_same_arguments_give_the_same_numbers_with_any_number_of_threads():
    first = gaussian(7, 5, 3), uniform(7, 5, 3)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        second = gaussian(7, 5, 3), uniform(7, 5, 3)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert first[0].shape == first[1].shape == (BLOCK, 3)
    assert first[0].dtype == torch.float32


def test_uniform_numbers_are_the_words_of_the_counter_alone():
    # The words, made with Python's integers from the algorithm's definition.
    def philox(counter, key):
        c, k = list(counter), list(key)
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
            c = [(b >> 64) ^ c[1] ^ k[0], b & ALL, (a >> 64) ^ c[3] ^ k[1], a & ALL]
            k = [(k[0] + 0x9E3779B97F4A7C15) & ALL, (k[1] + 0xBB67AE8584CAA73B) & ALL]
        return c

    words = [w for i in (1, 2) for w in philox((i, 0, 9, 1), (12, 34))]
    expected = [(w >> 11) / 2**53 for w in words]
    assert uniform(12, 9, 1, stream=34)[:8, 0].tolist() == expected


def test_no_numbers_can_be_asked_for_and_wrong_arguments_are_refused():
    assert gaussian(0, 0, 0).shape == uniform(0, 0, 0).shape == (BLOCK, 0)
    assert torch.isfinite(gaussian(ALL, ALL, 1, stream=ALL)).all()
    with pytest.raises(ValueError, match="seed must be from 0"):
        gaussian(-1, 0, 1)
    with pytest.raises(ValueError, match="block must be from 0"):
        uniform(0, 2**64, 1)


def test_making_noise_costs_little_beside_a_network():
    rounds = []
    for block in range(7):
        start = time.perf_counter()
        gaussian(1, block, 25)
        rounds.append(time.perf_counter() - start)
    # About 1 ms for 100,000 numbers on a free core; a loop over events would take a hundred times as long.
    assert min(rounds) < 0.02
