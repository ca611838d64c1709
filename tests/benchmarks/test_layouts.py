"""Files as the field has them go through all four commands, and come back with the branches that they had."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from shortened import shorten

FOLDER = Path(__file__).parents[2] / "benchmarks"

NOT_WRITTEN: dict[str, set[str]] = {
    "scouting NanoAOD": {
        *(f"DST_path{i}" for i in range(220)),
        *("MET_fiducialGenPt", "MET_fiducialGenPhi", "ScoutingRho_fixedGridRhoFastjetAll"),
    },
}
"""Branches that no file of generated events has, since they are not learned; other layouts lose none."""

ADDED = {
    "scouting NanoAOD": {"run", "luminosityBlock", "event"},
    "NanoAOD": {"PV_x", "PV_y", "PV_z"},
    "PHYSLITE, RNTuple": {"nJets", "nMuons", "nMET_Core_AnalysisMET"},
    "TreeMaker": {"nJets"},
    "RNTuple of records": {"nMuon", "nJet"},
}
"""What tools of the layout need, and the file lacks; and counters, without which a TTree has no lists."""


@pytest.fixture(scope="module")
def layouts():
    """The benchmark, with short trainings of small networks, and reports without pictures."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(FOLDER))
    before = {name: sys.modules.pop(name, None) for name in ("common", "field_files", "layouts")}
    described = importlib.util.spec_from_file_location("layouts", FOLDER / "layouts.py")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    shorten(patch)
    with mpl.rc_context({"backend": "agg"}):
        yield module
    patch.undo()
    for name, known in before.items():
        sys.modules.pop(name, None)
        if known is not None:
            sys.modules[name] = known


def names() -> list[str]:
    """The layouts, read from the file that makes them, since tests are named before it can be imported."""
    text = (FOLDER / "field_files.py").read_text(encoding="utf-8")
    table = text[text.index("\nLAYOUTS = {") :].partition("\n}")[0]
    return [line.split('"')[1] for line in table.splitlines() if line.startswith('    "')]


def test_there_are_twenty_layouts_and_all_are_tried(layouts):
    assert names() == list(layouts.LAYOUTS)
    assert len(names()) >= 20


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", names())
def test_a_file_goes_through_all_commands_and_its_branches_come_back(layouts, name, tmp_path, monkeypatch):
    if name in ("LHE", "HepMC3", "HDF5"):
        pytest.importorskip({"LHE": "pylhe", "HepMC3": "pyhepmc", "HDF5": "h5py"}[name])
    monkeypatch.chdir(tmp_path)
    row = layouts.tried(name, events=600, steps=5)
    said = {step: row[step] for step in ("init", "train", "generate", "validate")}
    assert said == dict.fromkeys(said, "ok")
    assert row["of another type"] == ""
    suffix = layouts.LAYOUTS[name].suffix
    (train,) = tmp_path.glob(f"*_train.{suffix}")
    before, after = set(layouts.branches(str(train))), set(layouts.branches(f"generated.{suffix}"))
    assert before - after == NOT_WRITTEN.get(name, set())
    assert after - before == ADDED.get(name, set())
