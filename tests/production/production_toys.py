"""What tests of productions share."""

from __future__ import annotations

from toys import dimuons

from hepgan.generator import EventGenerator


def quick() -> EventGenerator:
    """A generator of few numbers, which is quick."""
    recipe = {
        "name": "quick",
        "events": {"select": ["MET", "Jet.pt"]},
        "model": {
            "kind": "gan",
            "generator": {"kind": "mlp", "widths": [8]},
            "critics": [{"network": {"kind": "mlp", "widths": [8]}}],
        },
        "training": {"steps": 3, "batch_size": 64},
    }
    return EventGenerator(recipe).fit(dimuons(400, seed=5), device="cpu")
