"""Each benchmark runs, with few events and short trainings, and prints its table."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import nullcontext
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from shortened import shorten_classifiers

FOLDER = Path(__file__).parents[2] / "benchmarks"
HELP = ("bad_input", "common", "digests", "field_files", "forks", "showers")
"""What is no benchmark that prints a table."""

MODELS = Path(__file__).parents[1] / "data" / "format1"

NAMES = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in HELP)

FLOW = "model={kind: flow, blocks: 2, bins: 4, network: {kind: mlp, widths: [16]}}"
MATCHING = "model={kind: flow_matching, network: {kind: residual, width: 16, blocks: 1}, steps: 2}"
SHORT = ("--set", "training.steps=20", "--set", "training.batch_size=64", "--max-time", "0.3")

CASES: dict[str, tuple[str, ...]] = {
    "amplification": (
        *("DATA", "--limit", "800", "--events", "100", "--toys", "2", "--steps", "5"),
        *("--batch-size", "64", "--max-generated", "200"),
    ),
    "bosons": (
        *("DATA", "--limit", "500", "--recipes", "drell-yan", "--events", "600", "--learned", "300"),
        *("--reweight", "--set", FLOW, *SHORT),
    ),
    # What each of its processes does, in this one.
    "busy_machine": (
        *("DATA", "--child", "--limit", "400", "--steps", "2", "--generated", "200", "--set", MATCHING),
        *("--set", "observables={m: '(Muon[0] + Muon[1]).mass'}"),
    ),
    "cluster": (
        *("--events", "600", "--shards", "4", "--workers", "1"),
        *("--kills", "0", "--worker-kills", "0"),
    ),
    "coverage_of_bands": (
        *("--kinds", "flow_matching", "--toys", "2", "--members", "2", "--events", "200"),
        *("--steps", "5", "--generated", "300"),
    ),
    "dialects": (
        *("DATA", "--dialects", "records", "--limit", "800", "--events", "400", "--steps", "5"),
        *("--set", MATCHING),
    ),
    "dis_energies": ("DATA", "--limit", "1000", "--set", MATCHING, *SHORT),
    "distill": (
        *("DATA", "--models", "OUT", "--limit", "800", "--steps", "1", "--rounds", "1", "--seconds", "0.1"),
        *("--events", "500", "--pairs", "300", "--student", "training.steps=5", "--set", MATCHING, *SHORT),
    ),
    "ee_partons": (
        *("DATA", "--limit", "400", "--recipes", "ee-partons", "--events", "400", "--set", MATCHING, *SHORT),
    ),
    "ensembles": ("--members", "2", "--seconds", "0", "--rounds", "1", "--steps", "2", "--cases", "2"),
    "events_io": ("--events", "500", "--repeats", "1"),
    "families": (
        *("DATA", "--limit", "500", "--budgets", "0.2", "--families", "flow, affine", "--events", "500"),
    ),
    "export": (f"{MODELS}/toy.safetensors", "--events", "200", "--rounds", "1"),
    "faults": (
        *("--scale", "0.001", "--commands", "generate", "--workers", "1"),
        *("--only", "damaged", "bad input", "kill", "two"),
    ),
    "fat_gan": ("DATA", "--limit", "600", "--recipes", "dis", "--set", MATCHING, *SHORT),
    "flows": ("--batch", "32", "--seconds", "0", "--rounds", "1"),
    "folding": ("DATA", "--limit", "1500", "--only", "dis", "efficiency", "--fewest", "5", *SHORT),
    "generation": (
        "DATA/zmumu_train.root:Events",
        "--limit",
        "500",
        "--rounds",
        "1",
        "--seconds",
        "0",
        "--blocks",
        "1",
    ),
    "gpu": (
        *(
            "DATA",
            "--device",
            "cpu",
            "--no-tests",
            "--recipes",
            "zmumu",
            "--limit",
            "500",
            "--events",
            "300",
        ),
        *("--seconds", "0", "--set", MATCHING),
    ),
    "hybrids": (
        *("DATA", "--limit", "1000", "--events", "500", "--variants", "mmd-2", "--set", "training.steps=20"),
    ),
    "jet_images": (
        *("DATA", "--recipes", "jet-images", "--limit", "400", "--events", "300", "--max-time", "2"),
        *("--set", "model.width=16"),
    ),
    "larger_than_memory": (
        *("--events", "900", "--portion", "300", "--steps", "3", "--encoded", "1100", "--rounds", "1"),
    ),
    "layouts": ("--layouts", "ALICE candidates", "--events", "400", "--steps", "5"),
    "loss_surfaces": ("DATA", "--limit", "500", "--steps", "2", "--points", "3"),
    "multilepton": ("DATA", "--limit", "800", "--events", "400", "--steps", "5", "--set", MATCHING),
    "objectives": ("--batch", "32", "--seconds", "0", "--rounds", "1"),
    "observables": ("-n", "16", "-r", "1"),
    "processors": (
        *("DATA", "--limit", "1500", "--events", "500", "--analyses", "Dimuons", "--set", MATCHING, *SHORT),
    ),
    "sets": (
        *("DATA", "--limit", "300", "--seconds", "0.2", "--constituents", "4"),
        *("--networks", "deep_sets"),
    ),
    "small_samples": (
        *("DATA", "--limit", "1500", "--sizes", "400", "--events", "300", "--set", "training.steps=5"),
        *("--set", MATCHING),
    ),
    "solvers": (
        *("OUT/model.safetensors", "DATA/zmumu_train.root", "DATA/zmumu_test.root", "--limit", "600"),
        *("--events", "500", "--solvers", "euler", "--calls", "2"),
    ),
    "torchrun": ("DATA", "--limit", "400", "--recipes", "wz", "--steps", "3", "--rounds", "1"),
    "training": ("--seconds", "0", "--rounds", "1"),
    "unfolding": (
        *("DATA", "--results", "OUT", "--limit", "6000", "--events", "2000", "--generated", "2000"),
        *("--methods", "perfect", "prior", "generator", "--members", "2", "--iterations", "1"),
        *("--steps", "3", "--set", "training.steps=20", "--set", "training.batch_size=64"),
    ),
    "vectors": ("-n", "100", "-r", "1"),
    "zmumu": ("DATA", "--limit", "800", "--recipes", "zmumu", "--events", "500", "--set", MATCHING, *SHORT),
}


def test_every_benchmark_is_tried():
    assert sorted(CASES) == NAMES


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A folder of one's own; what a benchmark imports and sets is forgotten after it. Little is learned."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr("hepgan.learners.discrete.STEPS", 20)
    shorten_classifiers(monkeypatch)
    before = {name: sys.modules.pop(name, None) for name in (*NAMES, *HELP)}
    yield tmp_path
    for name, module in before.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module
    plt.close("all")


def load(name: str):
    """A benchmark by its file, since folders of tests have the names of some."""
    described = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(described)
    sys.modules[name] = module
    described.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_with_few_events_and_prints(name, work, request, monkeypatch, capsys):
    if name == "flows":
        pytest.importorskip("zuko", reason="flows are compared with those of zuko")
    words = CASES[name]
    if any("DATA" in word for word in words):
        data = str(request.getfixturevalue("shared_data"))
        words = tuple(word.replace("DATA", data) for word in words)
    if name == "solvers":
        request.getfixturevalue("zmumu_model").save(work / "model.safetensors")
    words = tuple(word.replace("OUT", str(work)) for word in words)
    if name == "cluster":
        client = request.getfixturevalue("two_workers")
        monkeypatch.setattr("hepgan.production.connected", lambda **_: nullcontext(client))
    monkeypatch.setattr(sys, "argv", [name, *words])
    load(name).main()
    said = capsys.readouterr().out
    assert len(said.splitlines()) > 1
    assert any(character.isdigit() for character in said)


@pytest.fixture
def zmumu_model(shared_data):
    """A model of the recipe zmumu that has hardly learned."""
    import hepgan

    recipe = hepgan.load_recipe("zmumu").with_settings([MATCHING, "training.steps=2"])
    events = hepgan.read_events(shared_data / "zmumu_train.root", entry_stop=600)
    return hepgan.EventGenerator(recipe).fit(events, device="cpu", max_time=1.0)
