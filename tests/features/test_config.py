from __future__ import annotations

import pytest
from pydantic import ValidationError

from hepgan.features.config import DecayConfig, FeaturesConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"azimuth": "Muon[0].pt"}, "is a number"),
        ({"azimuth": ""}, "cannot read"),
        ({"bounds": {"Muon[0.pt": [1, 2]}}, "cannot read"),
        ({"blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0].pt", "Muon[1]"]}]}, "is a number"),
        ({"blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0]"]}]}, "at least 2"),
        ({"blocks": [{"kind": "objects", "collection": "Jet", "count": "threshold"}]}, "threshold"),
        ({"blocks": [{"kind": "objects", "collection": "Jet", "threshold": {"pt": 15}}]}, "threshold"),
        ({"blocks": [{"kind": "orbits", "collection": "Jet"}]}, "kind"),
        (
            {"blocks": [{"kind": "objects", "collection": "Jet", "transforms": {"pt": []}}]},
            "transform is missing",
        ),
        (
            {"blocks": [{"kind": "fields", "fields": ["rho"], "transforms": {"rho": ""}}]},
            "transform is missing",
        ),
        ({"transform": {}}, "transform is missing"),
        ({"colour": "red"}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        FeaturesConfig.model_validate(settings)


def test_settings_survive_json():
    settings = FeaturesConfig.model_validate(
        {
            "azimuth": "Muon[0] + Muon[1]",
            "blocks": [
                {
                    "kind": "decay",
                    "name": "H",
                    "children": [{"name": "Z", "children": ["Muon[0]", "Muon[1]"]}, "Jet[0]"],
                    "transforms": {"mass": "quantile", "pt": ["signed_log", {"kind": "min_max", "low": -1}]},
                },
                {"kind": "objects", "collection": "Jet", "order": False, "conserve": {"px": 0}},
            ],
            "bounds": {"Muon.pt": [10, None]},
            "masses": {"Jet": "massless", "Muon": 0.105},
        }
    )
    assert isinstance(settings.blocks[0].children[0], DecayConfig)
    assert FeaturesConfig.model_validate_json(settings.model_dump_json()) == settings
