from __future__ import annotations

import pytest
import torch
from feature_samples import z_events

from hepgan.features import FeaturesConfig, Grid, Representation
from hepgan.features.parts import ObjectsPart

BLOCKS = [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}]


@pytest.fixture(scope="module")
def events():
    return z_events(300)


@pytest.fixture(scope="module")
def representation(events):
    config = {"azimuth": "Muon[0] + Muon[1]", "blocks": BLOCKS, "transform": "standardise"}
    return Representation(FeaturesConfig.model_validate(config), events.schema, ("rho",)).fit(events)


def test_decoding_takes_and_gives_tensors_alone(events, representation):
    features, angle = representation.encode(events), representation.azimuth(events)
    made = representation.tensors(features.x, features.discrete, features.condition, azimuth=angle)
    assert all(isinstance(v, torch.Tensor) and len(v) == len(events) for v in made.values())
    whole = representation.decode(features, angle)
    for name, objects in whole.collections.items():
        for field, values in objects.fields.items():
            assert torch.equal(made[f"{name}.{field}"], values)
        assert torch.equal(made.get(name, objects.mask), objects.mask)
    assert torch.equal(made["rho"], whole.rho)
    assert torch.equal(made["npv"], whole.npv)


class _Decoder(torch.nn.Module):
    def __init__(self, representation):
        super().__init__()
        self.representation = representation

    def forward(self, x, discrete, condition, azimuth):
        return self.representation.tensors(x, discrete, condition, azimuth=azimuth)


def test_decoding_can_be_exported(events, representation):
    features, angle = representation.encode(events), representation.azimuth(events)
    given = (features.x, features.discrete, features.condition, angle)
    program = torch.export.export(_Decoder(representation), given, strict=False)
    expected = representation.tensors(*given[:3], azimuth=angle)
    for name, values in program.module()(*given).items():
        torch.testing.assert_close(values, expected[name])


def test_a_part_whose_columns_are_the_cells_of_an_image_gives_the_space_its_grid(monkeypatch, events):
    monkeypatch.setattr(ObjectsPart, "grid", property(lambda part: Grid((3, 3))))
    config = FeaturesConfig.model_validate({"blocks": BLOCKS, "transform": "standardise"})
    made = Representation(config, events.schema).fit(events)
    grid = made.space.grid
    assert grid is not None
    assert [made.names[grid.first + i].split(".")[0] for i in range(grid.cells)] == 3 * [
        "Jet[0]",
        "Jet[1]",
        "Jet[2]",
    ]
