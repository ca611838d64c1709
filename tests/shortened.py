"""What makes trainings, classifiers and reports quick, where tests look at commands and not at physics."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from hepgan.generator import EventGenerator
from hepgan.reweighting import Reweighter
from hepgan.stats.classifiers import TREES

NETWORK = ("model.network={kind: residual, width: 16, blocks: 1}", "model.steps=2")


def shorten_classifiers(patch: pytest.MonkeyPatch) -> None:
    """Classifiers that learn next to nothing, of a report and of weights."""
    patch.setattr("hepgan.stats.classifiers.STEPS", (20, 30))
    patch.setattr("hepgan.stats.classifiers.TREES", {**TREES, "max_iter": 5})
    patch.setattr("hepgan.stats.convolution.STEPS", (5, 5))
    patch.setattr("hepgan.stats.convolution.FEWEST_STEPS", 5)
    patch.setitem(Reweighter.__init__.__wrapped__.__kwdefaults__, "members", 2)


def shorten(patch: pytest.MonkeyPatch, *settings: str) -> None:
    """Small networks, with more settings of recipes, small classifiers, and reports without pictures."""
    fit = EventGenerator.fit

    def short(self, events, **options):
        if self.recipe.model.kind == "flow_matching":
            self.recipe = self.recipe.with_settings((*NETWORK, *settings))
        return fit(self, events, **options | ({"max_time": None} if settings else {}))

    patch.setattr(EventGenerator, "fit", short)
    patch.setattr("hepgan.learners.discrete.STEPS", 20)
    patch.setattr(Figure, "savefig", lambda _, path, **__: Path(path).touch())
    patch.setattr("hepgan.validation.report.picture", lambda *_, **__: "data:,")
    shorten_classifiers(patch)
