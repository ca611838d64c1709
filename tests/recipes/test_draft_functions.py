from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import vector
from numpy.typing import NDArray

from hepgan.events import read_events, schema_of, write_events
from hepgan.generator import EventGenerator
from hepgan.recipes import Derived, draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml
from hepgan.recipes.drafting.cuts import simplest
from hepgan.recipes.drafting.functions import find_functions

vector.register_awkward()

N = 1500


pytestmark = pytest.mark.usefixtures("short_trainings_of_what_is_discrete")


def particles(rng: np.random.Generator, mean: float, least: float, mass: float) -> ak.Array:
    """Charged objects that descend in pt, in single precision."""
    counts = np.minimum(rng.poisson(mean, N), 5)
    m = int(counts.sum())

    def lists(values: NDArray[Any]) -> ak.Array:
        return ak.unflatten(values, counts)

    single = np.float32
    pt = ak.sort(lists((least + rng.exponential(25.0, m)).astype(single)), ascending=False)
    fields = {
        "pt": pt,
        "eta": lists(rng.normal(0, 1.6, m).astype(single)),
        "phi": lists(rng.uniform(-3.14, 3.14, m).astype(single)),
        "mass": lists(np.full(m, mass, single)),
        "charge": lists(rng.choice([-1, 1], m).astype(np.int32)),
        "iso": lists(rng.exponential(0.1, m).astype(single)),
        "quality": lists(rng.integers(0, 5, m).astype(np.uint8)),
    }
    return ak.zip(fields, with_name="Momentum4D")


@pytest.fixture(scope="module")
def base() -> dict[str, Any]:
    """Numbers that do not follow from others."""
    rng = np.random.default_rng(11)
    met = {
        "pt": rng.exponential(30.0, N).astype(np.float32),
        "phi": rng.uniform(-3.1, 3.1, N).astype(np.float32),
    }
    return {
        "Muon": particles(rng, 2.0, 5.0, 0.10566),
        "Jet": particles(rng, 2.5, 15.0, 5.0),
        "MET": ak.zip(met, with_name="Momentum2D"),
        "x": rng.normal(3, 1, N),
        "y": rng.normal(0, 2, N),
        "npv": rng.poisson(30, N).astype(np.int32),
    }


def first(values: ak.Array, default: float = 0.0) -> NDArray[np.float32]:
    return np.asarray(ak.fill_none(ak.firsts(values), default), np.float32)


def second(values: ak.Array, default: float = 0.0) -> NDArray[np.float32]:
    return np.asarray(ak.fill_none(ak.pad_none(values, 2)[:, 1], default), np.float32)


def best_z(muon: ak.Array) -> NDArray[np.float32]:
    a, b = ak.unzip(ak.combinations(muon, 2))
    mass = (a + b).mass[a.charge * b.charge < 0]
    return first(mass[ak.argsort(abs(mass - 91.1876))], -1.0)


def of_events(d: Mapping[str, Any]) -> dict[str, tuple[Any, str]]:
    """Numbers of the event, and what each is found to be."""
    muon, jet, met, x, y = (d[n] for n in ("Muon", "Jet", "MET", "x", "y"))
    central = jet[(jet.pt > 30) & (abs(jet.eta) < 2.4)]
    two, one = ak.pad_none(muon, 2), ak.pad_none(muon, 1)[:, 0]
    pair = two[:, 0] + two[:, 1]
    filled = {
        name: np.asarray(ak.fill_none(v, 0.0), np.float32)
        for name, v in {
            "m": pair.mass,
            "dphi": two[:, 0].deltaphi(two[:, 1]),
            "dr": two[:, 0].deltaR(two[:, 1]),
            "mt": np.sqrt(2 * one.pt * met.pt * (1 - np.cos(ak.values_astype(one.phi, float) - met.phi))),
        }.items()
    }
    ht = ak.sum(central.pt, axis=1)
    return {
        "jets30": (
            ak.num(central).to_numpy().astype(np.int32),
            "count(Jet[(Jet.pt > 30) & (abs(Jet.eta) < 2.4)])",
        ),
        "tagged": (ak.sum(jet.iso > 0.15, axis=1).to_numpy(), "count(Jet[Jet.iso > 0.15])"),
        "isolated": (ak.sum(muon.iso < 0.12, axis=1).to_numpy(), "count(Muon[Muon.iso < 0.12])"),
        "good": (ak.sum(muon.quality >= 3, axis=1).to_numpy(), "count(Muon[Muon.quality >= 3])"),
        "ht30": (ht.to_numpy().astype(np.float32), "sum(Jet[(Jet.pt > 30) & (abs(Jet.eta) < 2.4)].pt)"),
        "ht": (ak.sum(jet.pt, axis=1).to_numpy().astype(np.float32), "sum(Jet.pt)"),
        "lead": (first(jet.pt, -999.0), "where(count(Jet) > 0, Jet[0].pt, -999)"),
        "sublead": (second(jet.pt), "Jet[1].pt"),
        "m_mumu": (filled["m"], "(Muon[0] + Muon[1]).mass"),
        "m_z": (best_z(muon), "sort(pairs("),
        "dphi": (filled["dphi"], "Muon[0].deltaphi(Muon[1])"),
        "dr": (filled["dr"], "Muon[0].deltaR(Muon[1])"),
        "mt": (filled["mt"], "transverse_mass(Muon[0], MET)"),
        "leptons": ((ak.num(muon) + ak.num(jet)).to_numpy(), "count(Muon) + count(Jet)"),
        "double": (x.copy(), "x"),
        "x_mev": (1000 * x, "1000 * (x)"),
        "square": (y**2, "y ** 2"),
        "difference": (x - y, "x - y"),
        "line": (2.5 * x - 0.3 * y + 1, "x"),
        "parabola": (0.25 * y**2 + x, "y ** 2"),
        "met_x": (met.px.to_numpy().astype(np.float32), "MET.px"),
        "trigger": (first(muon.pt) > 24, "Muon[0].pt > 24"),
        "selected": ((ak.num(jet) >= 2) & (met.pt.to_numpy() > 40), "MET.pt > 40 and count(Jet) >= 2"),
        "either": (
            (first(muon.pt) > 24) | (met.pt.to_numpy() > 60),
            "MET.pt > 60 or where(count(Muon) > 0, Muon[0].pt > 24, False)",
        ),
    }


def test_numbers_of_the_event_are_found_and_computed(base: dict[str, Any]) -> None:
    made = of_events(base)
    events = ak.Array({**base, **{n: v for n, (v, _) in made.items()}})
    schema = schema_of(events)
    found = {f.name: f.expression for f in find_functions(events, schema)}
    assert set(found) == set(made)
    for name, (_, expression) in made.items():
        assert expression in found[name], name
    Derived(schema, found)


def test_numbers_of_objects_are_found_and_computed(base: dict[str, Any]) -> None:
    muon, met = base["Muon"], base["MET"]
    mt = np.sqrt(2 * muon.pt * met.pt * (1 - np.cos(ak.values_astype(muon.phi, float) - met.phi)))
    made = {
        "tight": (muon.quality >= 3, "Muon.quality >= 3"),
        "isolated": (muon.iso < 0.15, "Muon.iso < 0.15"),
        "medium": ((muon.quality >= 2) & (muon.iso < 0.2), "Muon.quality >= 2 and Muon.iso < 0.2"),
        "p4pt": (muon.pt, "Muon.pt"),
        "absolute": (muon.iso * muon.pt, "Muon.iso"),
        "mtw": (mt, "transverse_mass(Muon, MET)"),
        "central": (ak.values_astype(abs(muon.eta) < 1.2, np.int32), "abs(Muon.eta) < 1.2"),
    }
    for name, (values, _) in made.items():
        muon = ak.with_field(muon, values, name)
    events = ak.Array({"Muon": muon, "MET": met})
    found = {f.name: f.expression for f in find_functions(events, schema_of(events))}
    assert set(found) == {f"Muon.{n}" for n in made}
    for name, (_, expression) in made.items():
        assert expression in found[f"Muon.{name}"], name


def test_nothing_follows_from_itself(base: dict[str, Any]) -> None:
    x, y = base["x"], base["y"]
    events = ak.Array({"x": x, "again": x, "sum": x + y, "y": y, "third": x})
    found = {f.name: f.expression for f in find_functions(events, schema_of(events))}
    assert len(found) == 3
    assert len(Derived(schema_of(events), found).learned.scalars) == 2


@pytest.mark.parametrize("fields", [("pt", "phi"), ("pt", "eta", "phi")])
def test_momenta_without_mass_have_other_functions(base: dict[str, Any], fields: tuple[str, ...]) -> None:
    muon = base["Muon"]
    objects = ak.zip({n: muon[n] for n in fields}, with_name=f"Momentum{len(fields)}D")
    two = ak.pad_none(muon, 2)
    angle = ak.fill_none(two[:, 0].deltaphi(two[:, 1]), 0.0).to_numpy().astype(np.float32)
    events = ak.Array({"Muon": objects, "MET": base["MET"], "angle": angle})
    found = [(f.name, f.expression) for f in find_functions(events, schema_of(events))]
    assert found == [("angle", "Muon[0].deltaphi(Muon[1])")]


def test_momenta_with_and_without_mass_have_angles_between_them(base: dict[str, Any]) -> None:
    muon = ak.zip({n: base["Muon"][n] for n in ("pt", "eta", "phi")}, with_name="Momentum3D")
    events = ak.Array({"Muon": muon, "Jet": base["Jet"], "MET": base["MET"]})
    events = events[(ak.num(events.Muon) > 0) & (ak.num(events.Jet) > 0)]
    angle = np.abs(events.Jet[:, 0].deltaphi(events.Muon[:, 0]).to_numpy()).astype(np.float32)
    events = ak.with_field(events, angle, "angle")
    found = [(f.name, f.expression) for f in find_functions(events, schema_of(events))]
    assert found == [("angle", "abs(Muon[0].deltaphi(Jet[0]))")]


def test_what_is_independent_follows_from_nothing(base: dict[str, Any]) -> None:
    rng = np.random.default_rng(5)
    events = ak.Array(
        {**base, "flag": rng.random(N) < 0.3, "few": rng.integers(0, 3, N), "rare": np.arange(N) == 7}
    )
    assert find_functions(events, schema_of(events)) == []


@pytest.mark.parametrize(
    ("low", "high", "number"),
    [
        (29.3, 30.2, 30.0),
        (0.1498, 0.1503, 0.15),
        (-0.3, 0.2, 0.0),
        (2, 3, 2.0),
        (0.27831, 0.27832, 0.27832),
        (-31, -24, -30),
    ],
)
def test_thresholds_are_the_simplest_numbers_that_fit(low: float, high: float, number: float) -> None:
    assert simplest(low, high) == number
    assert simplest(-np.inf, high) is None


def test_drafts_derive_what_they_find_and_generated_events_have_it(
    base: dict[str, Any], tmp_path: Path
) -> None:
    muon = ak.with_field(base["Muon"], base["Muon"].quality >= 3, "tight")
    count = ak.sum((base["Jet"].pt > 30) & (abs(base["Jet"].eta) < 2.4), axis=1).to_numpy().astype(np.int32)
    hlt = ak.zip({"Mu24": first(muon.pt) > 24})
    events = ak.Array({"Muon": muon, "Jet": base["Jet"], "MET": base["MET"], "jets30": count, "HLT": hlt})
    path = tmp_path / "functions.root"
    write_events(path, events)
    text = draft_recipe(str(path), name="functions")
    fast = ["training.steps=5", "training.batch_size=128", "model.network.width=16", "model.steps=2"]
    recipe = load_recipe(parse_yaml(text, "functions")).with_settings(fast)
    assert set(recipe.events.derived) == {"Muon.tight", "jets30", "HLT.Mu24"}
    assert "tight: derived, see below" in " ".join(line.strip(" #") for line in text.splitlines())
    made = EventGenerator(recipe).fit(read_events(path), device="cpu").generate(400)
    assert ak.all(made.Muon.tight == (made.Muon.quality >= 3))
    assert ak.all(made.jets30 == ak.sum((made.Jet.pt > 30) & (abs(made.Jet.eta) < 2.4), axis=1))
    assert ak.all(made.HLT.Mu24 == ak.any(made.Muon.pt > 24, axis=1))
    assert made.HLT.Mu24.layout.dtype == np.bool_
