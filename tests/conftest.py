from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toys import dimuons

from hepgan.generator import EventGenerator

pytest_plugins = ["feature_toys", "patience"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the development samples; tests that need it skip elsewhere."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("HEPGAN_SHARED_DATA", default))
    if not path.is_dir():
        pytest.skip(f"needs the development samples, which are not at {path} (set HEPGAN_SHARED_DATA)")
    return path


@pytest.fixture(scope="session")
def toy_generator() -> EventGenerator:
    """A generator of toy events with everything that generation has: a decay, jets, an azimuth, negative
    weights, a condition, and bounds that its short training leaves often.
    """
    recipe = {
        "name": "toy",
        "conditions": ["npv"],
        "features": {
            "azimuth": "Muon[0] + Muon[1]",
            "blocks": [
                {"kind": "objects", "collection": "Muon", "coordinates": ["px", "py", "pz"], "order": False}
            ],
            "bounds": {"Muon.pt": [10.0, None]},
        },
        "model": {
            "kind": "flow_matching",
            "network": {"kind": "residual", "width": 32, "blocks": 1},
            "steps": 2,
        },
        "observables": {"m_mumu": "(Muon[0] + Muon[1]).mass", "n_jet": "nJet"},
        "training": {"steps": 30, "batch_size": 128},
    }
    return EventGenerator(recipe).fit(dimuons(2000, seed=1, weighted=True), seed=3, device="cpu")


@pytest.fixture(scope="session")
def two_workers() -> Iterator[Any]:
    """The client of a Dask cluster of two workers here."""
    from hepgan.production.cluster import connected

    with connected(cluster="local", jobs=2) as client:
        yield client


@pytest.fixture
def _reports_without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what reports say: pictures take longest of them."""
    monkeypatch.setattr("hepgan.validation.report.picture", lambda *_, **__: "data:,")
