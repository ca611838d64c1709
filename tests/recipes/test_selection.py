"""What a draft takes of a file: what is named, what an analysis reads, or what is usual; what it refuses."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from toys import dimuons

from hepgan.errors import InputError
from hepgan.events import write_events
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml

SIZE = 600


def nanoaod(triggers: int = 0) -> ak.Array:
    """Events with some of what NanoAOD has besides objects that any model learns."""
    events = dimuons(SIZE, 3, weighted=True)
    size, rng = len(events), np.random.default_rng(0)
    muons = ak.with_field(events.Muon, events.Muon.pt > 25, "tightId")
    mothers = ak.unflatten(rng.integers(-1, 3, 4 * size).astype("i4"), 4)
    flags = {f"Path{k}": rng.random(size) < k / triggers for k in range(triggers)}
    parts = {
        "Muon": ak.with_name(muons, "Momentum4D"),
        "PV": ak.zip({"npvs": events.npv, **{c: rng.normal(size=size).astype("f4") for c in "xyz"}}),
        "GenPart": ak.zip({"pt": 5 + ak.values_astype(mothers, "f4"), "genPartIdxMother": mothers}),
        "LHEPdfWeight": ak.zip({"value": ak.unflatten(rng.normal(1, 0.1, 3 * size).astype("f4"), 3)}),
        "HLT": ak.zip({"IsoMu24": rng.random(size) < 0.5, **flags}),
    }
    for name in ("Jet", "MET", "genWeight"):
        parts[name] = events[name]
    return ak.zip(parts, depth_limit=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("nano") / "nano.root"
    write_events(path, nanoaod(), identifiers=True)
    return str(path)


def comments(text: str) -> str:
    """The draft without its line breaks."""
    return " ".join(text.replace("#", " ").split())


def selected(text: str) -> set[str]:
    return set(load_recipe(parse_yaml(text, "draft")).events.select)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["Muon_p*", "MET"], {"Muon.pt", "Muon.phi", "MET"}),
        (["Muon.p*", "MET_pt"], {"Muon.pt", "Muon.phi", "MET.pt"}),
        (["HLT_*", "M[E]T"], {"HLT", "MET"}),
        (["PV.npvs", "MET"], {"PV", "MET"}),
        (["PV_npv*", "MET"], {"PV", "MET"}),
    ],
)
def test_patterns_and_branches_select(file: str, wanted: list[str], expected: set[str]) -> None:
    assert selected(draft_recipe(file, name="draft", select=wanted)) == expected


def test_a_vertex_is_selected_with_its_place_and_the_draft_says_so(file: str) -> None:
    text = draft_recipe(file, name="draft", select=["PV.npvs", "MET"])
    assert "Learned besides: PV.x, PV.y, PV.z: coffea's NanoAODSchema makes no PV without them." in text


def test_a_pattern_that_matches_nothing_is_refused(file: str) -> None:
    with pytest.raises(InputError, match=r"nano\.root: --select: nothing matches 'Tau_\*'"):
        draft_recipe(file, name="draft", select=["Muon", "Tau_*"])


def test_family_trees_and_variations_of_the_weight_are_refused_with_the_reason(file: str) -> None:
    text = draft_recipe(file, name="draft")
    assert "GenPart.genPartIdxMother: indices of mothers" in text
    assert "LHEPdfWeight: looks like another weight" in text
    assert selected(text) == {"Muon", "PV", "GenPart.pt", "HLT", "Jet", "MET"}


def test_what_an_analysis_reads_is_learned_and_what_cannot_be_is_told(file: str) -> None:
    read = [
        "nMuon",
        "Muon_pt",
        "nJet",
        "genWeight",
        "LHEPdfWeight_value",
        "GenPart_genPartIdxMother",
        "run",
        "Odd",
    ]
    with pytest.warns(UserWarning, match="of what the analysis reads, not learned") as said:
        text = draft_recipe(file, name="draft", read=read)
    assert selected(text) == {
        *(f"Muon.{n}" for n in ("pt", "eta", "phi", "mass", "charge")),
        "Jet",
    }
    told = " ".join(str(w.message) for w in said)
    reasons = {
        "LHEPdfWeight": "variations of the event weight",
        "GenPart.genPartIdxMother": "indices of mothers",
        "Odd": "neither numbers nor lists of numbers",
    }
    for name, reason in reasons.items():
        assert f"{name}: {reason}" in told
        assert f"{name}: {reason}" in comments(text)
    assert "run" not in told
    assert ": objects are made of them." in comments(text)


def test_what_an_analysis_reads_comes_besides_what_is_selected(file: str) -> None:
    text = draft_recipe(file, name="draft", select=["HLT_Iso*"], read=["MET_pt"])
    assert selected(text) == {"HLT", "MET"}


def test_the_usual_branches_of_a_large_file_are_taken_and_the_rest_is_told(tmp_path: Path) -> None:
    write_events(tmp_path / "large.root", nanoaod(triggers=220), identifiers=True)
    draft = draft_recipe(str(tmp_path / "large.root"), name="draft")
    text = comments(draft)
    assert "HLT_* (220 of 221): triggers beyond the usual ones" in text
    assert "Muon_* (1 of 7): fields beyond the usual ones" in text
    assert "GenPart: family trees" in text
    assert "LHEPdfWeight: variations of the event weight" in text
    assert "hepgan init --processor my.py:MyProcessor" in text
    assert {"HLT.IsoMu24", "Muon.tightId", "PV", "Jet", "MET"} <= selected(draft)
