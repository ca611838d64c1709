"""Lists of cells that are made one after another."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import torch
from pydantic import ValidationError

import hepgan
from hepgan.errors import RecipeError
from hepgan.events.memory import as_events
from hepgan.features.cells import CellList, Total
from hepgan.features.space import FeatureSpace
from hepgan.models import (
    CriticConfig,
    FlowConfig,
    FlowMatchingConfig,
    GANConfig,
    Sequence,
    SequenceConfig,
    build_model,
)
from hepgan.networks import MLPConfig
from hepgan.networks.causal import CausalSets

SMALL = FlowConfig(blocks=2, bins=4, network=MLPConfig(widths=(8,), activation="silu"))
CONFIG = SequenceConfig(flow=SMALL, width=8, blocks=2, components=3)
MOST = 6


def space_of(most=MOST, size=9, totals=True, context=2):
    middles = tuple((-1.0 + 0.5 * (k // 3), 0.4 * (k % 3)) for k in range(size))
    knots = tuple(np.linspace(0.5, 30.0, 257))
    guides = (Total("mass", 0, knots, 2.0), Total("sum", 1, knots, 5.0)) if totals else ()
    cells = CellList(2 if totals else 0, most, ("phi", "eta"), middles, 0.5, 20.0, guides)
    return FeatureSpace(cells.first + 2 * most, context, cells=cells)


def model_of(space, seed=1, config=CONFIG):
    torch.manual_seed(seed)
    model = build_model(config, space)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return model.eval()


def given(space, n=200, seed=2):
    """Noise, context and mask of events with 0 to all cells."""
    rng = torch.Generator().manual_seed(seed)
    number = torch.randint(0, space.cells.most + 1, (n,), generator=rng)
    mask = torch.ones(n, space.size, dtype=torch.bool)
    first = space.cells.first
    mask[:, first:] = (torch.arange(space.cells.most) < number[:, None]).repeat_interleave(2, 1)
    noise = torch.randn(n, space.size, generator=rng)
    return noise, torch.randn(n, space.context_size, generator=rng), mask


def test_probabilities_of_all_lists_are_1_together():
    space = space_of(most=2, size=3, totals=False, context=0)
    model = model_of(space).double()
    # In equal steps of the logarithm, of which both contents have 150.
    span, steps = np.log(20 / 0.5), 150
    share = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    first = 0.5 * (share * span).exp()
    width = (first / 0.5).log()
    second = 0.5 * (share[None] * width[:, None]).exp()
    total = 0.0
    with torch.no_grad():
        for a in range(3):
            for b in range(3):
                if a == b:
                    continue
                x = torch.stack(
                    [
                        torch.full((steps, steps), float(a), dtype=torch.float64),
                        first[:, None].expand(-1, steps),
                        torch.full((steps, steps), float(b), dtype=torch.float64),
                        second,
                    ],
                    2,
                ).reshape(-1, 4)
                density = model.log_prob(x, x[:, :0], None).exp().reshape(steps, steps)
                volume = (first * span)[:, None] * second * width[:, None] / steps**2
                total += float((density * volume).sum())
    assert total == pytest.approx(1.0, abs=5e-3)


def test_no_cell_is_there_twice_and_contents_descend_to_the_least():
    space = space_of()
    model = model_of(space)
    noise, context, mask = given(space, 2000)
    with torch.no_grad():
        x = model.sample(noise, context, mask)
    place, content = x[:, space.cells.first :: 2], x[:, space.cells.first + 1 :: 2]
    there = mask[:, space.cells.first :: 2]
    assert bool((x[~mask] == 0).all())
    own = torch.where(there, place, -1.0 - torch.arange(MOST)).sort(1).values
    assert bool((own[:, 1:] != own[:, :-1]).all())
    assert bool(((place == place.round()) & (place >= 0) & (place < 9)).all())
    assert float(content[there].min()) >= 0.5
    assert float(content.max()) <= 20.0
    assert bool((content[:, 1:] <= content[:, :-1]).all())


def test_noise_that_a_list_is_made_of_makes_it_again():
    space = space_of()
    model = model_of(space).double()
    noise, context, mask = given(space)
    x = model.sample(noise.double(), context.double(), mask)
    found = model.latent(x, context.double(), mask)
    assert bool((found[~mask] == 0).all())
    torch.testing.assert_close(model.sample(found, context.double(), mask), x, rtol=1e-4, atol=1e-4)
    contents = slice(space.cells.first + 1, None, 2)
    own = torch.where(mask, noise, 0.0).double()[:, contents]
    # But where contents are hardly above the least, whose share of the way is cut off.
    close = (found[:, contents] - own).abs() < 1e-2
    assert float(close.double().mean()) > 0.97


def test_the_density_of_a_list_is_its_own_whatever_is_beside_it():
    space = space_of()
    model = model_of(space)
    noise, context, mask = given(space)
    x = model.sample(noise, context, mask)
    whole = model.log_prob(x, context, mask)
    assert bool(torch.isfinite(whole).all())
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model.log_prob(x[order], context[order], mask[order]), whole[order])
    some = torch.cat([model.log_prob(x[k : k + 1], context[k : k + 1], mask[k : k + 1]) for k in range(20)])
    torch.testing.assert_close(some, whole[:20], rtol=1e-4, atol=1e-4)


def test_cells_have_the_frequencies_that_the_likelihood_says():
    space = space_of(most=1, size=4, totals=False, context=0)
    model = model_of(space)
    n = 40_000
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        x = model.sample(noise, noise[:, :0], None)
        content = 0.5 * torch.linspace(0, float(np.log(40.0)), 2001).exp()
        for place in range(4):
            here = torch.stack([torch.full_like(content, float(place)), content], 1)
            density = model.log_prob(here, here[:, :0], None).exp()
            expected = float(torch.trapezoid(density, content))
            observed = float((x[:, 0] == place).float().mean())
            assert abs(observed - expected) < 5 * (expected / n) ** 0.5 + 1e-3
            below = float(torch.trapezoid((density * (content < 3.0)), content)) / expected
            mine = x[x[:, 0] == place, 1]
            assert abs(float((mine < 3.0).float().mean()) - below) < 5 * 0.5 / len(mine) ** 0.5 + 5e-3


def test_gradients_of_the_likelihood_reach_every_parameter():
    space = space_of()
    model = model_of(space)
    noise, context, mask = given(space)
    x = model.sample(noise, context, mask).detach()
    model.log_prob(x, context, mask).mean().backward()
    unmoved = [n for n, p in model.named_parameters() if p.grad is None or not float(p.grad.abs().sum()) > 0]
    assert unmoved == []
    used = {id(p) for m in model.sampling_modules() for p in m.parameters()}
    assert used == {id(p) for p in model.parameters()}


def test_a_causal_network_gives_the_same_place_by_place():
    torch.manual_seed(0)
    network = CausalSets(8, 2)
    h, start = torch.randn(5, 7, 8), torch.randn(5, 8)
    whole, kept = network(h, start)
    before, parts = None, []
    for k in range(7):
        part, before = network(h[:, k : k + 1], start, k, before)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    torch.testing.assert_close(before, kept)
    changed = h.clone()
    changed[:, 4:] += 1.0
    torch.testing.assert_close(network(changed, start)[0][:, :4], whole[:, :4])


@pytest.mark.parametrize("config", [FlowConfig(), FlowMatchingConfig(), GANConfig()])
def test_other_models_refuse_lists_of_cells(config):
    with pytest.raises(RecipeError, match="choose the kind sequence"):
        build_model(config, space_of())


def test_what_a_sequence_cannot_do_is_refused():
    with pytest.raises(RecipeError, match="need a block of kind cells"):
        Sequence(CONFIG, FeatureSpace(3))
    with pytest.raises(RecipeError, match="no ensembles of models of the kind sequence"):
        build_model(CONFIG, space_of(), members=2)
    with pytest.raises(ValidationError, match="no gradient leads from a critic"):
        SequenceConfig(critics=(CriticConfig(),))


def toy(n=400, seed=4):
    rng = np.random.default_rng(seed)
    number = rng.integers(0, 8, n)
    content = (0.1 * np.exp(rng.exponential(1.0, (n, 12)))).astype("float32")
    rank = rng.random((n, 12)).argsort(1).argsort(1)
    image = np.where(rank < number[:, None], content, 0).astype("float32").reshape(n, 3, 4)
    label = (image.sum((1, 2)) > 1.0).astype("int32")
    return as_events(ak.Array({"Image": ak.from_numpy(image, regulararray=True), "label": label}))


RECIPE = {
    "name": "toy",
    "conditions": ["label"],
    "events": {"grids": {"Image": {"phi": [-1, 1], "eta": [-1, 1]}}},
    "features": {"blocks": [{"kind": "cells", "field": "Image", "totals": ["pt", "mass"]}]},
    "model": CONFIG.model_dump(mode="json"),
    "training": {"steps": 3, "batch_size": 64},
}


def test_a_generator_of_images_is_saved_and_makes_the_same_events(tmp_path):
    events = toy()
    generator = hepgan.EventGenerator(RECIPE).fit(events)
    made = generator.generate(300, seed=3)
    assert str(made.type) == str(events.type).replace("400 *", "300 *")
    generator.save(tmp_path / "m.safetensors")
    again = hepgan.EventGenerator.load(tmp_path / "m.safetensors").generate(5000, seed=3)
    assert ak.array_equal(again[:300], made)
    image, true = ak.to_numpy(again.Image), ak.to_numpy(events.Image)
    assert image[image > 0].min() >= true[true > 0].min()
    number = (image > 0).sum((1, 2))
    assert set(number) <= set(range(8))
    assert len(set(number)) == 8
