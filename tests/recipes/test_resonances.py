"""Resonances among objects that are in every event, which decay into two, three or four."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import vector
from scipy.stats import kstest

from hepgan.events import read_events, schema_of, write_events
from hepgan.generator import EventGenerator
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.findings import find_symmetry
from hepgan.recipes.drafting.resonances import find_resonances, name_of
from hepgan.recipes.drafting.systems import find_loose

MUON, KAON = 0.10566, 0.49368


def two_body(rng: np.random.Generator, parent, first, second):
    """The two objects of given masses (N,) that a parent decays into, alike in all directions."""
    m, a, b = parent.mass, first, second
    size = np.sqrt(np.maximum((m**2 - (a + b) ** 2) * (m**2 - (a - b) ** 2), 0.0)) / (2 * m)
    cos, phi = rng.uniform(-1, 1, len(m)), rng.uniform(-np.pi, np.pi, len(m))
    sin = np.sqrt(1 - cos**2)
    x, y, z = size * sin * np.cos(phi), size * sin * np.sin(phi), size * cos
    made = []
    for sign, mass in ((1, a), (-1, b)):
        energy = np.sqrt(size**2 + mass**2)
        star = vector.array({"px": sign * x, "py": sign * y, "pz": sign * z, "energy": energy})
        made.append(star.boost_p4(parent))
    return made


def moving(rng: np.random.Generator, mass: np.ndarray):
    """Parents of given masses (N,) that fly in all directions."""
    n = len(mass)
    pt, eta, phi = 3 + rng.exponential(6.0, n), rng.normal(0, 1.2, n), rng.uniform(-np.pi, np.pi, n)
    return vector.array({"pt": pt, "eta": eta, "phi": phi, "mass": mass})


def kaon_decays(n: int, background: float = 0.0, seed: int = 1) -> ak.Array:
    """B+ to J/psi K+, J/psi to two muons; in a share of the events the kaon is of another."""
    rng = np.random.default_rng(seed)
    b = moving(rng, rng.normal(5.279, 0.02, n))
    jpsi_mass = rng.normal(3.097, 0.015, n)
    jpsi, kaon = two_body(rng, b, jpsi_mass, np.full(n, KAON))
    plus, minus = two_body(rng, jpsi, np.full(n, MUON), np.full(n, MUON))
    of = np.where(rng.random(n) < background, np.roll(np.arange(n), 1), np.arange(n))
    objects = {"mup": (plus, MUON), "mum": (minus, MUON), "kp": (kaon[of], KAON)}
    return ak.Array(
        {
            name: ak.zip(
                {"pt": v.pt, "eta": v.eta, "phi": v.phi, "mass": np.full(n, mass)}, with_name="Momentum4D"
            )
            for name, (v, mass) in objects.items()
        }
    )


def found_in(events: ak.Array):
    return find_resonances(events, schema_of(events))


def test_a_chain_over_collections_is_found_and_nested() -> None:
    (b,) = found_in(kaon_decays(3000))
    assert b.name == "B"
    assert b.peak == pytest.approx(5.279, abs=0.02)
    (jpsi,) = [c for c in b.children if not isinstance(c, str)]
    assert jpsi.name == "Jpsi"
    assert set(jpsi.objects) == {"mup", "mum"}
    assert set(b.objects) == {"mup", "mum", "kp"}


def test_a_peak_on_a_background_is_found() -> None:
    (b,) = found_in(kaon_decays(5000, background=0.7))
    assert set(b.objects) == {"mup", "mum", "kp"}


def test_an_object_of_no_resonance_makes_none() -> None:
    (jpsi,) = found_in(kaon_decays(5000, background=1.0))
    assert set(jpsi.objects) == {"mup", "mum"}


def test_soft_objects_beside_a_resonance_make_none() -> None:
    events = kaon_decays(3000, background=1.0)
    soft = ak.with_field(events.kp, 0.02 * events.kp.pt, "pt")
    soft = ak.with_field(soft, 0.0 * events.kp.mass, "mass")
    events = ak.with_field(events, ak.with_name(soft, "Momentum4D"), "kp")
    assert [set(r.objects) for r in found_in(events)] == [{"mup", "mum"}]


def test_four_objects_of_two_resonances() -> None:
    rng = np.random.default_rng(3)
    n = 3000
    higgs = moving(rng, rng.normal(220.0, 3.0, n))
    masses = rng.normal(91.2, 2.0, (2, n))
    pairs = two_body(rng, higgs, *masses)
    leaves = [leaf for z in pairs for leaf in two_body(rng, z, np.full(n, MUON), np.full(n, MUON))]
    columns = {k: np.stack([getattr(v, k) for v in leaves], 1) for k in ("px", "py", "pz", "energy")}
    leptons = ak.zip({k: ak.from_regular(v) for k, v in columns.items()}, with_name="Momentum4D")
    (found,) = found_in(ak.Array({"Lepton": leptons}))
    assert len(found.objects) == 4
    assert found.peak == pytest.approx(220.0, abs=3.0)
    assert {c.name for c in found.children if not isinstance(c, str)} == {"Z", "Z2"}


def test_the_draft_of_a_chain_generates_it(tmp_path: Path) -> None:
    path = tmp_path / "decays.root"
    write_events(path, kaon_decays(3000))
    text = draft_recipe(str(path), name="decays")
    assert "The mass of mup and mum peaks" in text
    assert "No block keeps" not in text
    recipe = load_recipe(parse_yaml(text, "decays"))
    (block,) = [b for b in recipe.features.blocks if b.kind == "decay"]
    assert block.name == "B"
    assert {"m_B", "m_Jpsi"} <= set(recipe.observables)
    recipe = recipe.with_settings(["training.steps=20", "training.batch_size=256", "model.network.width=16"])
    made = EventGenerator(recipe).fit(read_events(path), seed=1, device="cpu").generate(2000, seed=2)
    jpsi = made.mup + made.mum
    for system, mass, width in ((jpsi, 3.097, 0.1), (jpsi + made.kp, 5.279, 0.15)):
        # However little was learned, the peak is that of one column.
        assert float(np.mean(np.abs(ak.to_numpy(system.mass) - mass) < width)) > 0.7


def sometimes_four(n: int, seed: int = 4) -> ak.Array:
    """H to four leptons in a half of the events, Z to two leptons in the others; of two flavours."""
    rng = np.random.default_rng(seed)
    higgs = moving(rng, rng.normal(125.0, 1.5, n))
    first = rng.normal(91.2, 2.0, n)
    second = 12 + rng.uniform(0, 1, n) * (higgs.mass - first - 12.5)
    pairs = two_body(rng, higgs, first, second)
    electrons, number = rng.random((n, 2)) < 0.5, np.where(rng.random(n) < 0.5, 2, 1)
    found = {}
    for name, mass in (("Muon", MUON), ("Electron", 0.000511)):
        columns: dict[str, list[np.ndarray]] = {q: [] for q in ("pt", "eta", "phi", "charge", "there")}
        for k, z in enumerate(pairs):
            flavour = (electrons[:, k] == (name == "Electron")) & (k < number)
            for charge, v in zip((1, -1), two_body(rng, z, np.full(n, mass), np.full(n, mass)), strict=True):
                for q in ("pt", "eta", "phi"):
                    columns[q].append(np.asarray(getattr(v, q)))
                columns["charge"].append(np.full(n, charge, dtype=np.int32))
                columns["there"].append(flavour)
        stacked = {q: np.stack(v, 1) for q, v in columns.items()}
        there = stacked.pop("there")
        flat = {q: ak.unflatten(v[there], there.sum(1)) for q, v in stacked.items()}
        objects = ak.zip({**flat, "mass": 0 * flat["pt"] + mass}, with_name="Momentum4D")
        found[name] = objects[ak.argsort(objects.pt, axis=1, ascending=False)]
    return ak.Array(found)


def test_a_resonance_of_two_pairs_in_some_events_is_found_and_generated(tmp_path: Path) -> None:
    path = tmp_path / "four.root"
    write_events(path, sometimes_four(4000))
    text = draft_recipe(str(path), name="four")
    assert "a resonance of two pairs" in text
    recipe = load_recipe(parse_yaml(text, "four"))
    (block,) = [b for b in recipe.features.blocks if b.kind == "systems"]
    assert {p.collection for p in block.pairs} == {"Muon", "Electron"}
    assert block.name == "H"
    assert recipe.features.azimuth == "Muon + Electron"
    recipe = recipe.with_settings(["training.steps=20", "training.batch_size=256", "model.network.width=16"])
    made = EventGenerator(recipe).fit(read_events(path), seed=1, device="cpu").generate(3000, seed=2)
    four = made[ak.num(made.Muon) + ak.num(made.Electron) == 4]
    assert 1200 < len(four) < 1800
    leptons = ak.concatenate([four.Muon, four.Electron], axis=1)
    assert bool(ak.all(ak.sum(leptons.charge, axis=1) == 0))
    total = leptons[:, 0] + leptons[:, 1] + leptons[:, 2] + leptons[:, 3]
    # However little was learned, the peak is that of one column, and all directions are alike.
    assert float(np.mean(np.abs(ak.to_numpy(total.mass) - 125) < 5)) > 0.9
    for angle in (total.phi, made.Muon[ak.num(made.Muon) > 0].phi[:, 0]):
        assert kstest(ak.to_numpy(angle), "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-4


def test_pairs_of_no_common_resonance_are_no_system(tmp_path: Path) -> None:
    events = sometimes_four(4000)
    # The electrons are another event's.
    mixed = ak.with_field(events, events.Electron[np.roll(np.arange(len(events)), 1)], "Electron")
    path = tmp_path / "mixed.root"
    four = ak.num(events.Muon) == 4
    write_events(path, mixed[~four])
    blocks = load_recipe(parse_yaml(draft_recipe(str(path), name="mixed"), "mixed")).features.blocks
    kinds = {b.kind for b in blocks}
    assert "pairs" in kinds
    assert "systems" not in kinds


def test_peaks_that_no_block_keeps_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    events = kaon_decays(4000)
    names = ("mup", "mum", "kp")
    tracks = {
        q: np.stack([np.asarray(getattr(events[n], q)) for n in names], 1)
        for q in ("pt", "eta", "phi", "mass")
    }
    order = np.argsort(-tracks["pt"], axis=1)
    number = np.where(rng.random(4000) < 0.6, 3, 1)
    there = np.arange(3) < number[:, None]
    flat = {q: ak.unflatten(np.take_along_axis(v, order, 1)[there], number) for q, v in tracks.items()}
    path = tmp_path / "tracks.root"
    write_events(path, ak.Array({"Track": ak.zip(flat, with_name="Momentum4D")}))
    text = " ".join(draft_recipe(str(path), name="tracks").replace("#", " ").split())
    assert "combinations of Track, Track and Track" in text
    assert "No block keeps that mass as one number" in text


def test_a_draft_that_only_tells_of_a_peak_has_no_blocks(tmp_path: Path) -> None:
    events = kaon_decays(4000)
    number = (np.random.default_rng(7).random(4000) < 0.6).astype(int)
    track = ak.with_name(events.mum[["pt", "eta", "phi"]], "Momentum3D")
    muon = ak.with_name(events.mup[["pt", "eta", "phi"]], "Momentum3D")
    path = tmp_path / "tracks.root"
    write_events(path, ak.Array({"Muon": muon, "Track": ak.unflatten(track[number > 0], number)}))
    text = draft_recipe(str(path), name="tracks")
    assert "No block keeps" in " ".join(text.replace("#", " ").split())
    assert load_recipe(parse_yaml(text, "tracks")).features.blocks == ()


def test_objects_of_no_common_resonance_have_no_peak() -> None:
    events = sometimes_four(4000)
    electrons = events.Electron[np.roll(np.arange(len(events)), 1)]
    mixed = ak.with_field(events, electrons, "Electron")
    assert find_loose(mixed, schema_of(mixed), []) == []


def test_azimuths_are_measured_from_where_other_directions_are_least_alike() -> None:
    events = sometimes_four(3000)
    rng = np.random.default_rng(8)
    leptons = ak.concatenate([events.Muon, events.Electron], axis=1)
    px, py = (ak.to_numpy(ak.sum(getattr(leptons, q), axis=1)) for q in ("px", "py"))
    phi = np.arctan2(-py, -px) + 0.3 * rng.standard_normal(len(events))
    jets = ak.zip({"pt": np.hypot(px, py) + 20, "eta": 0 * px, "phi": phi, "mass": 0 * px})
    number = (rng.random(len(events)) < 0.8).astype(int)
    met = ak.zip({"pt": rng.exponential(20.0, len(events)), "phi": rng.uniform(-3.1, 3.1, len(events))})
    for balanced, reference in ((True, "Muon + Electron"), (False, "MET")):
        jet = jets if balanced else ak.with_field(jets, met.phi + 3.0, "phi")
        jet = ak.unflatten(ak.with_name(jet, "Momentum4D")[number > 0], number)
        mixed = ak.with_field(events, jet, "Jet")
        mixed = ak.with_field(mixed, ak.with_name(met, "Momentum2D"), "MET")
        found = find_symmetry(mixed, schema_of(mixed), [], ["Muon", "Electron", "Jet"])
        assert found.reference == reference


def test_names_of_resonances_are_different() -> None:
    assert [name_of(91.0, used) for used in ((), ("Z",), ("Z", "Z2"))] == ["Z", "Z2", "Z3"]
    assert name_of(700.0, ("X",)) == "X2"
