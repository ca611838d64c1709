"""Analyses as coffea users have them: what they read is learned, and they run on what is generated."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from typing import Any

import pytest

from hepgan.coffea import branches_read
from hepgan.events import read_events, write_events
from hepgan.generator import EventGenerator
from hepgan.production import produce
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml

EXAMPLE = Path(__file__).parents[2] / "examples" / "analyses.py"
NAMES = ("Dimuons", "TopPairs", "Probes")
SURE = ("genWeight", "HLT.IsoMu24", "HLT.Ele27", "process", "nominal: one lepton")
SMALL = (
    "model.network={kind: residual, width: 64, blocks: 2}",
    "model.steps=3",
    "training.batch_size=256",
    "training.ema=0.9",
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:of what the analysis reads",
    "ignore:Branch Photon_:RuntimeWarning",
)


@pytest.fixture(scope="module")
def analyses() -> Any:
    spec = importlib.util.spec_from_file_location("analyses", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["analyses"] = module
    spec.loader.exec_module(module)
    return module


class All:
    """All analyses at once."""

    def __init__(self, analyses: Any) -> None:
        self.parts = [getattr(analyses, name)() for name in NAMES]

    def process(self, events: Any) -> list[Any]:
        return [part.process(events) for part in self.parts]


def learned(analyses: Any, file: Path, steps: int, events: int) -> Path:
    """A file of generated events, of which everything is learned that the analyses read."""
    text = draft_recipe(str(file), name="drafted", read=branches_read(str(file), All(analyses)))
    recipe = load_recipe(parse_yaml(text, "drafted")).with_settings((*SMALL, f"training.steps={steps}"))
    events_read = read_events(file, schema=recipe.events.layout, branches=recipe.branches)
    generator = EventGenerator(recipe).fit(events_read, seed=1, device="cpu")
    made = file.with_name("generated.root")
    produce(generator, events, made, seed=2)
    return made


@pytest.fixture(scope="module")
def multilepton(
    analyses: Any, shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    file = tmp_path_factory.mktemp("multilepton") / "original.root"
    write_events(file, read_events(shared_data / "multilepton_train.root", entry_stop=5000))
    return file, learned(analyses, file, steps=120, events=4000)


@pytest.fixture(scope="module")
def cms(analyses: Any, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("cms") / "original.root"
    file.symlink_to(shared_data / "real" / "nano_dy.root")
    return learned(analyses, file, steps=2, events=100)


@pytest.mark.parametrize("name", NAMES)
def test_yields_are_those_of_the_original_in_each_mode(analyses: Any, multilepton: Any, name: str) -> None:
    pytest.importorskip("dask_awkward", reason="coffea's mode dask needs dask-awkward")
    original, made = multilepton
    analysis = getattr(analyses, name)()
    true = analyses.analyse(original, analysis)
    found = analyses.analyse(made, analysis)
    assert analyses.analyse(made, analysis, "eager") == found
    assert analyses.analyse(made, analysis, "dask") == found
    assert found.keys() == true.keys()
    for region, (value, squares) in true.items():
        error = math.hypot(math.sqrt(squares), math.sqrt(found[region][1]))
        # So short a training learns little but what is drawn first: numbers of objects and flags.
        share = 0.1 if region in SURE else 0.7
        assert abs(found[region][0] - value) < 4 * error + share * abs(value), region


@pytest.mark.parametrize("name", NAMES)
def test_the_same_analyses_run_on_generated_events_of_cms_nanoaod(
    analyses: Any, cms: Path, name: str
) -> None:
    pytest.importorskip("dask_awkward", reason="coffea's mode dask needs dask-awkward")
    analysis = getattr(analyses, name)()
    found = {mode: analyses.analyse(cms, analysis, mode) for mode in ("eager", "virtual", "dask")}
    assert found["eager"] == found["virtual"] == found["dask"]
    if name == "Probes":
        missing = {*analyses.NANOAOD.split()} - {*found["virtual"]}
        assert missing == {"LHEPdfWeight", "GenPart.pdgId"}
