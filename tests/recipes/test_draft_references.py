"""Indices into other collections are found by their names and by what they point to, and learned as that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepgan.events import infer_schema, read_events, schema_of, write_events
from hepgan.generator import EventGenerator
from hepgan.recipes import Recipe, draft_recipe, load_recipe
from hepgan.recipes.drafting.references import Reference, find_references, reference_lines

FAST = ["training.steps=5", "training.batch_size=128", "model.network.width=16", "model.steps=2"]
REACH = 0.4


pytestmark = pytest.mark.usefixtures("short_trainings_of_what_is_discrete")


def objects(rng: np.random.Generator, count: np.ndarray[Any, Any], least: float) -> ak.Array:
    size = int(count.sum())
    pt = ak.unflatten(least + rng.exponential(20, size), count)
    made = {"pt": ak.sort(pt, ascending=False)}
    for name, high in (("eta", 2.4), ("phi", np.pi)):
        made[name] = ak.unflatten(rng.uniform(-high, high, size), count)
    return ak.zip({k: ak.values_astype(v, np.float32) for k, v in made.items()})


def linked(n: int = 3000, seed: int = 1, *, reach: float = REACH) -> ak.Array:
    """Events of muons and jets, of which some are near each other, with indices of various kinds."""
    rng = np.random.default_rng(seed)
    muons = objects(rng, rng.integers(0, 3, n), 10)
    number = rng.integers(0, 5, n)
    some = ak.to_numpy(ak.num(muons.pt)) > 0
    number = np.where(some, np.maximum(number, 1), number)
    jets = objects(rng, number, 20)
    # One jet is near the first muon of half of the events.
    near = some & (rng.random(n) < 0.5)
    place = ak.local_index(jets.pt) == rng.integers(0, 4, n) % np.maximum(number, 1)
    turn, apart = rng.uniform(-np.pi, np.pi, n), 0.6 * rng.random(n)
    for what, move in (("eta", apart * np.cos(turn)), ("phi", apart * np.sin(turn))):
        beside = ak.fill_none(ak.firsts(muons[what]), 0) + move
        beside = (beside + np.pi) % (2 * np.pi) - np.pi if what == "phi" else beside
        moved = ak.where(place & near, beside, jets[what])
        jets = ak.with_field(jets, ak.values_astype(moved, np.float32), what)
    index = nearest(muons, jets, reach)
    back = ak.local_index(jets.pt)[:, :, None] == index[:, None, :]
    first = ak.where(ak.any(back, axis=2), ak.fill_none(ak.argmax(back, axis=2), -1), -1)
    other = ak.where(number > 0, ak.local_index(muons.pt) % np.maximum(number, 1), -1)
    muons = ak.with_field(muons, whole(index), "jetIdx")
    muons = ak.with_field(muons, whole(index), "matchIndex")
    muons = ak.with_field(muons, whole(other), "otherIdx")
    muons = ak.with_field(muons, whole(ak.local_index(muons.pt) - 1), "muonIdxBefore")
    muons = ak.with_field(muons, whole(index + 3), "electronIdx")
    return ak.zip(
        {
            "Muon": ak.with_name(muons, "Momentum3D"),
            "Jet": ak.with_name(ak.with_field(jets, whole(first), "muonIdx1"), "Momentum3D"),
            "Electron": ak.with_name(objects(rng, rng.integers(0, 3, n), 10), "Momentum3D"),
        },
        depth_limit=1,
    )


def whole(values: ak.Array) -> ak.Array:
    return ak.values_astype(values, np.int32)


def nearest(muons: ak.Array, jets: ak.Array, reach: float) -> ak.Array:
    """The index of the nearest jet within a distance, else -1, in numpy's arithmetic."""
    apart = distance(muons, jets)
    place = ak.fill_none(ak.argmin(apart, axis=2), -1)
    return ak.where(ak.fill_none(ak.min(apart, axis=2), 99.0) < reach, place, -1)


def distance(muons: ak.Array, jets: ak.Array) -> ak.Array:
    both = ak.cartesian([muons[["eta", "phi"]], jets[["eta", "phi"]]], nested=True)
    phi = (both["0"].phi - both["1"].phi + np.pi) % (2 * np.pi) - np.pi
    return np.hypot(both["0"].eta - both["1"].eta, phi)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("references") / "linked.root"
    write_events(path, linked())
    return path


@pytest.fixture(scope="module")
def found(file: Path) -> tuple[dict[str, Reference], dict[str, str]]:
    events = read_events(file)
    references, refused = find_references(events, schema_of(events), infer_schema(str(file)))
    return {r.name: r for r in references}, refused


@pytest.fixture(scope="module")
def text(file: Path) -> str:
    return draft_recipe(str(file), name="draft")


def loaded(text: str, path: Path) -> Recipe:
    (path / "draft.yaml").write_text(text)
    return load_recipe(path / "draft.yaml")


def test_what_indices_point_to_is_found(found: tuple[dict[str, Reference], dict[str, str]]) -> None:
    references, _ = found
    events = linked()
    assert set(references) == {"Muon.jetIdx", "Muon.matchIndex", "Jet.muonIdx1"}
    muons = int(ak.sum(ak.num(events.Muon)))
    for name in ("Muon.jetIdx", "Muon.matchIndex"):
        assert references[name].to == "Jet"
        assert references[name].within == REACH
        assert references[name].linked == int(ak.sum(events.Muon.jetIdx >= 0)) > 500
        assert references[name].objects == muons
        assert references[name].largest < REACH  # type: ignore[operator]
    assert references["Jet.muonIdx1"].back == "Muon.jetIdx"
    assert references["Jet.muonIdx1"].number == 0


def test_what_is_no_index_into_what_is_learned_is_told(
    found: tuple[dict[str, Reference], dict[str, str]],
) -> None:
    _, refused = found
    assert set(refused) == {"Muon.muonIdxBefore", "Muon.electronIdx"}
    assert "itself" in refused["Muon.muonIdxBefore"]
    assert "points to objects that are not there" in refused["Muon.electronIdx"]


def test_an_index_into_what_is_not_learned_is_left_out(file: Path) -> None:
    text = draft_recipe(str(file), name="draft", select=["Muon"])
    assert "an index into Jet, which is not learned" in text
    assert "kind: references" not in text
    kept = draft_recipe(str(file), name="draft", select=["Muon.pt", "Muon.eta", "Muon.phi", "Muon.jetIdx"])
    assert "whole numbers; an index into Jet, which is not learned" in kept


def test_the_nearest_is_no_rule_where_others_are_as_near() -> None:
    events = linked()
    rng = np.random.default_rng(2)
    lost = ak.unflatten(rng.random(int(ak.sum(ak.num(events.Muon)))) < 0.3, ak.num(events.Muon))
    some = whole(ak.where(lost, -1, events.Muon.jetIdx))
    events = ak.with_field(events, ak.with_field(events.Muon, some, "jetIdx"), "Muon")
    schema = schema_of(events)
    references = {r.name: r for r in find_references(events, schema, schema)[0]}
    assert references["Muon.jetIdx"].within is None
    assert references["Muon.matchIndex"].within == REACH
    told = dict(zip(references, (told for told, _ in reference_lines([*references.values()])), strict=True))
    assert "it is not always the nearest" in told["Muon.jetIdx"]
    few = references["Muon.jetIdx"]._replace(linked=5)
    assert "too few to tell a rule" in next(reference_lines([few]))[0]


def test_drafts_tell_what_was_found(text: str, tmp_path: Path) -> None:
    recipe = loaded(text, tmp_path)
    (block,) = [b for b in recipe.features.blocks if b.kind == "references"]
    assert block.fields["Muon.jetIdx"].to == "Jet"
    assert block.fields["Muon.jetIdx"].nearest == REACH
    assert block.fields["Jet.muonIdx1"].back == "Muon.jetIdx"
    told = " ".join(text.replace("#", "").split())
    assert "it is that of the nearest within 0.4" in told
    assert "Jet.muonIdx1 is the first Muon whose Muon.jetIdx points here" in told
    assert "jetIdx, matchIndex: an index into Jet; see references below" in told
    assert "chains of objects (mothers) are not learned" in told


def test_generated_links_mean_what_they_say(file: Path, text: str, tmp_path: Path) -> None:
    """However little was learned."""
    recipe = loaded(text, tmp_path)
    generator = EventGenerator(recipe.with_settings(FAST)).fit(read_events(file), seed=1, device="cpu")
    events = generator.generate(3000, seed=2)
    index = events.Muon.jetIdx
    assert bool(ak.all(index < ak.num(events.Jet)))
    linked = index >= 0
    own = ak.local_index(distance(events.Muon, events.Jet), axis=2) == index[:, :, None]
    apart = ak.sum(ak.where(own, distance(events.Muon, events.Jet), 0.0), axis=2)[linked]
    assert int(ak.sum(linked)) > 300
    assert float(ak.mean(apart >= REACH)) < 0.01
    right = index == nearest(events.Muon, events.Jet, REACH)
    assert float(ak.mean(right)) > 0.97
    pointing = [[m for m, i in enumerate(row) if i >= 0] for row in index.to_list()]
    back = [[m for m in row if m >= 0] for row in events.Jet.muonIdx1.to_list()]
    assert sum(map(len, back)) > 300
    assert all(set(b) <= set(p) for b, p in zip(back, pointing, strict=True))


def test_references_of_a_real_file_are_found(shared_data: Path) -> None:
    path = f"{shared_data / 'real' / 'nano_dy.root'}:Events"
    indices = {
        "Muon": ("jetIdx", "fsrPhotonIdx"),
        "Electron": ("jetIdx", "photonIdx"),
        "Jet": ("muonIdx1", "muonIdx2", "electronIdx1", "electronIdx2"),
        "Tau": ("genPartIdx",),
        "Photon": (),
        "GenPart": ("genPartIdxMother",),
    }
    names = [f"{c}.{f}" for c, more in indices.items() for f in ("pt", "eta", "phi", *more)]
    events = read_events(path, branches=names, on_bad="keep")
    structure = infer_schema(path, branches=[*names, "FsrPhoton.pt"], max_events=1, on_bad="keep")
    found, refused = find_references(events, schema_of(events), structure)
    references = {r.name: r for r in found}
    assert {n: references[n].to for n in ("Muon.jetIdx", "Electron.photonIdx", "Tau.genPartIdx")} == {
        "Muon.jetIdx": "Jet",
        "Electron.photonIdx": "Photon",
        "Tau.genPartIdx": "GenPart",
    }
    for lepton in ("muon", "electron"):
        for number in (0, 1):
            back = references[f"Jet.{lepton}Idx{number + 1}"]
            assert (back.back, back.number) == (f"{lepton.capitalize()}.jetIdx", number)
    assert "mothers" in refused["GenPart.genPartIdxMother"]
    assert "which is not learned" in refused["Muon.fsrPhotonIdx"]
