"""Samples of different seeds have no event in common; no Pythia is needed to see that."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgan.datasets import DATASETS, make_dataset
from hepgan.datasets.make import PYTHIA_SEEDS
from hepgan.errors import InputError

PYTHIA_TAKES = range(1, PYTHIA_SEEDS + 1)


@settings(deadline=None)
@given(name=st.sampled_from(sorted(DATASETS)), data=st.data())
def test_different_seeds_of_a_sample_never_share_one_of_pythia_s(name, data):
    dataset = DATASETS[name]
    allowed = st.integers(1, dataset.max_seed)
    one, other = data.draw(st.lists(allowed, min_size=2, max_size=2, unique=True))
    first, second = dataset.seeds(one), dataset.seeds(other)
    assert len(set(first)) == len(first) == dataset.streams
    assert not set(first) & set(second)
    assert all(seed in PYTHIA_TAKES for seed in (*first, *second))


@pytest.mark.parametrize("name", DATASETS)
def test_seeds_at_both_ends_are_pythia_s(name):
    dataset = DATASETS[name]
    ends = [*range(1, 20), *range(dataset.max_seed - 20, dataset.max_seed + 1)]
    found = [dataset.seeds(seed) for seed in ends]
    assert all(seed in PYTHIA_TAKES for seeds in found for seed in seeds)
    assert len(set(itertools.chain(*found))) == len(ends) * dataset.streams


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("beyond", [0, -1, 1])
def test_a_seed_beyond_the_range_is_refused_before_anything_is_simulated(name, beyond, tmp_path):
    seed = beyond if beyond < 1 else DATASETS[name].max_seed + beyond
    said = (
        rf"{name} takes seeds from 1 to {DATASETS[name].max_seed:,}, not |seed must be a whole number from 0"
    )
    with pytest.raises(InputError, match=said):
        make_dataset(name, 10, tmp_path / "out.root", seed=seed)
    assert not list(tmp_path.iterdir())
