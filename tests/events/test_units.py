from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from numpy.testing import assert_allclose
from toys import dimuons

import hepgan
from hepgan.cli import cli
from hepgan.errors import InputError
from hepgan.events import EventSchema, infer_schema, read_events, schema_of, write_events
from hepgan.events.schema import GEV, Unit
from hepgan.events.units import PARTICLES, find_unit
from hepgan.generator import EventGenerator
from hepgan.observables import default_observables, from_config
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml
from hepgan.validation import compare_files

ENERGIES = {"px", "py", "pz", "pt", "mass", "energy"}
UNITS: tuple[Unit, ...] = ("MeV", "GeV", "TeV")


def in_unit(events: ak.Array, unit: Unit) -> ak.Array:
    """Events in GeV, in another unit."""
    records = {}
    for name in events.fields:
        record = events[name]
        for field in ENERGIES & set(record.fields):
            values = ak.values_astype(record[field], np.float64) * GEV[unit]
            record = ak.with_field(record, values, field)
        records[name] = record
    return ak.Array(ak.zip(records, depth_limit=1))


def written(path: Path, columns: dict[str, Any], tree: str = "tree") -> str:
    """A flat tree of double-precision numbers."""
    with uproot.recreate(path) as file:
        made = file.mktree(tree, {n: np.asarray(v).dtype for n, v in columns.items()})
        made.extend(columns)
    return f"{path}:{tree}"


def particles(rng: np.random.Generator, n: int, mass: float, scale: float) -> np.ndarray[Any, Any]:
    """px, py, pz, energy (4, n) of particles of one mass."""
    p = rng.normal(0.0, scale, (3, n))
    return np.stack([*p, np.sqrt((p**2).sum(0) + mass**2)])


def decayed(rng: np.random.Generator, mass: np.ndarray[Any, Any], leg: float, scale: float) -> list[Any]:
    """Two particles (4, n) of mass ``leg`` into which a particle of a mass (n,) decays isotropically."""
    n = len(mass)
    cos, phi = rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)
    p = np.sqrt(mass**2 / 4 - leg**2)
    sin = np.sqrt(1 - cos**2)
    star = np.stack([p * sin * np.cos(phi), p * sin * np.sin(phi), p * cos])
    pz = rng.normal(0.0, scale, n)
    gamma, boost = np.sqrt(1 + (pz / mass) ** 2), pz / mass
    energy = np.sqrt(p**2 + leg**2)
    return [
        np.stack(
            [
                s * star[0],
                s * star[1],
                s * gamma * star[2] + boost * energy,
                gamma * energy + s * boost * star[2],
            ]
        )
        for s in (1, -1)
    ]


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_is_told_from_masses_and_resonances(unit: Unit, tmp_path: Path) -> None:
    events = in_unit(dimuons(2000, seed=1), unit)
    assert schema_of(events).unit == unit
    for name in ("events.root", "events.parquet"):
        write_events(tmp_path / name, events)
        assert infer_schema(tmp_path / name).unit == unit
        assert schema_of(read_events(tmp_path / name)).unit == unit
        assert schema_of(read_events(tmp_path / name, branches=["Muon"])).unit == unit


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", sorted(PARTICLES))
def test_a_constant_mass_of_a_known_particle_tells_the_unit(name: str, unit: Unit, tmp_path: Path) -> None:
    rng, gev = np.random.default_rng(3), GEV[unit]
    # By energies, too, of which single precision keeps the mass only at low momenta.
    px, py, pz, energy = particles(rng, 500, PARTICLES[name] * gev, 2 * PARTICLES[name] * gev)
    columns = {"p1_px": px, "p1_py": py, "p1_pz": pz, "p1_E": energy}
    single = {n: v.astype(np.float32) for n, v in columns.items()}
    for kind, some in (("double", columns), ("single", single)):
        assert infer_schema(written(tmp_path / f"{kind}.root", some)).unit == unit


@pytest.mark.parametrize("unit", UNITS)
def test_a_resonance_of_two_flat_particles_tells_the_unit(unit: Unit, tmp_path: Path) -> None:
    rng, gev = np.random.default_rng(4), GEV[unit]
    legs = decayed(rng, rng.normal(9.46, 0.05, 1000) * gev, 0.0, 10 * gev)
    columns = {
        f"l{i}_{n}": v for i, leg in enumerate(legs) for n, v in zip(("px", "py", "pz"), leg, strict=False)
    }
    assert infer_schema(written(tmp_path / "flat.root", columns)).unit == unit


@pytest.mark.parametrize("unit", UNITS)
def test_titles_and_names_tell_the_unit(unit: Unit, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    columns = {f"jet_pt_{unit}": rng.exponential(500.0, 200), "other": rng.normal(size=200)}
    assert infer_schema(written(tmp_path / "named.root", columns)).unit == unit


def test_large_transverse_momenta_are_in_mev_and_others_in_gev(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    for middle, unit in ((50_000.0, "MeV"), (50.0, "GeV"), (700.0, "GeV")):
        pt, phi = rng.exponential(middle, 400), rng.uniform(-np.pi, np.pi, 400)
        columns = {
            "met_met": pt,
            "met_phi": phi,
            "jet_pt": pt,
            "jet_phi": phi,
            "jet_eta": rng.normal(size=400),
        }
        assert infer_schema(written(tmp_path / f"{middle}.root", columns)).unit == unit


@pytest.mark.parametrize("unit", UNITS)
def test_resonances_are_found_with_azimuths_in_degrees(unit: Unit, tmp_path: Path) -> None:
    events = in_unit(dimuons(1500, seed=3), unit)
    muons = ak.with_field(events.Muon, events.Muon.phi * (180 / np.pi), "phi")
    columns = {
        f"lepton{i + 1}_{f}": ak.to_numpy(muons[f][:, i]) for f in ("pt", "eta", "phi") for i in (0, 1)
    }
    assert infer_schema(written(tmp_path / "degrees.root", columns)).unit == unit


def test_what_is_no_momentum_tells_no_unit(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    columns = {f"x{i}": rng.normal(size=300) * 10.0**i for i in range(7)}
    schema = infer_schema(written(tmp_path / "numbers.root", columns))
    events = read_events(tmp_path / "numbers.root")
    assert schema.unit == "GeV"
    assert find_unit(events, schema) == ("GeV", (), (), False)


def test_hints_that_disagree_leave_gev_and_the_draft_says_so(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    muon, jet = particles(rng, 600, 0.1056584, 1.0), particles(rng, 600, 938.272, 800.0)
    columns = {
        f"{of}_{n}": v
        for of, p in (("mu", muon), ("p", jet))
        for n, v in zip(("px", "py", "pz", "E"), p, strict=True)
    }
    file = written(tmp_path / "both.root", columns)
    found = find_unit(read_events(file), infer_schema(file))
    assert found.unit == "GeV"
    assert "in doubt" in found.told()
    text = draft_recipe(file, name="both")
    assert "but that is in doubt" in " ".join(text.replace("#", " ").split())
    assert load_recipe(parse_yaml(text, "both")).events.unit == "GeV"


def test_an_atlas_like_ntuple_in_mev_is_drafted_in_mev(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    n = 1500
    legs = decayed(rng, 91188.0 + 1250 * np.tan(np.pi * (rng.random(n) - 0.5) * 0.9), 0.511, 60_000.0)
    columns: dict[str, Any] = {}
    for i, leg in enumerate(legs):
        pt = np.hypot(leg[0], leg[1])
        columns |= {f"el{i + 1}_pt": pt, f"el{i + 1}_eta": np.arcsinh(leg[2] / pt)}
        columns |= {f"el{i + 1}_phi": np.arctan2(leg[1], leg[0]), f"el{i + 1}_e": leg[3]}
    columns |= {"met_met": rng.exponential(20_000.0, n), "met_phi": rng.uniform(-np.pi, np.pi, n)}
    file = written(tmp_path / "atlas.root", columns, "nominal")
    result = CliRunner().invoke(cli, ["init", file, "-o", str(tmp_path / "r.yaml")])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "r.yaml").read_text()
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.events.unit == "MeV"
    assert "GeV" not in text
    assert any(f" peaks at 91{k}" in " ".join(text.replace("#", " ").split()) for k in range(10))
    assert "{kind: decay, name: Z," in text


@pytest.mark.parametrize("unit", UNITS)
def test_units_are_asked_for(unit: Unit, tmp_path: Path) -> None:
    write_events(tmp_path / "events.root", dimuons(500))
    arguments = ["init", str(tmp_path / "events.root"), "--units", unit, "-o", str(tmp_path / "r.yaml")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.events.unit == unit
    assert {o.unit for o in recipe.make_observables().values()} <= {unit, "rad", ""}


def test_standard_quantities_follow_the_unit() -> None:
    events = in_unit(dimuons(200), "MeV")
    shown = default_observables(schema_of(events))
    assert "MeV" in {o.unit for o in shown.values()}
    assert not any("GeV" in o.unit for o in shown.values())
    assert from_config({"standard": "mass2", "objects": ["Muon[0]"]}, unit="MeV").unit == "MeV$^2$"
    assert from_config({"standard": "mass2", "objects": ["Muon[0]"], "unit": "x"}, unit="MeV").unit == "x"
    recipe = load_recipe("zmumu").model_dump(mode="json", exclude_unset=True)
    recipe["observables"] = {"m": {"standard": "mass", "objects": ["Muon[0]"]}}
    recipe["events"] = {**recipe["events"], "unit": "TeV"}
    assert load_recipe(recipe).make_observables()["m"].unit == "TeV"


def test_schemas_of_older_models_are_in_gev() -> None:
    old = EventSchema().model_dump(mode="json")
    del old["unit"]
    assert EventSchema.model_validate(old).unit == "GeV"


def test_energies_may_be_rounded_to_an_mev_in_any_unit(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    for unit in UNITS:
        gev = GEV[unit]
        p = np.round(rng.normal(0.0, 5.0, (3, 300)), 3)
        energy = np.round(np.sqrt((p**2).sum(0)), 3)
        columns = {f"e_{n}": v * gev for n, v in zip(("px", "py", "pz", "energy"), (*p, energy), strict=True)}
        file = written(tmp_path / f"{unit}.root", columns)
        schema = infer_schema(file, on_bad="keep").model_copy(update={"unit": unit})
        assert len(read_events(file, schema=schema)) == 300
        # A thousandth of that is no rounding any more.
        wrong = schema.model_copy(update={"unit": "TeV"})
        if unit != "TeV":
            with pytest.raises(InputError, match="below the momentum"):
                read_events(file, schema=wrong)


def test_a_model_learns_the_same_in_any_unit() -> None:
    events = dimuons(1500, seed=2)
    made = {}
    for unit in UNITS:
        given = in_unit(events, unit)
        settings = {
            "name": "toy",
            "events": {"unit": unit},
            "features": {
                "azimuth": "Muon[0] + Muon[1]",
                "blocks": [{"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}],
                "bounds": {"Jet.pt": [20.0 * GEV[unit], None]},
            },
            "model": {
                "kind": "flow_matching",
                "network": {"kind": "residual", "width": 32, "blocks": 1},
                "steps": 2,
            },
            "training": {"steps": 20, "batch_size": 128},
        }
        generator = EventGenerator(settings).fit(given, seed=5, device="cpu")
        assert generator.schema.unit == unit
        made[unit] = generator.generate(400, seed=6)
        assert schema_of(made[unit]).unit == unit
    for unit in ("MeV", "TeV"):
        for name in ("Muon", "Jet", "MET"):
            assert ak.all(ak.num(made[unit].Jet) == ak.num(made["GeV"].Jet))
            for field in made["GeV"][name].fields:
                expected = ak.to_numpy(ak.flatten(made["GeV"][name][field], axis=None)).astype(np.float64)
                found = ak.to_numpy(ak.flatten(made[unit][name][field], axis=None)).astype(np.float64)
                scale = GEV[unit] if field in ENERGIES else 1.0
                assert_allclose(found / scale, expected, rtol=2e-3, atol=2e-3)


def test_a_recipe_for_gev_warns_of_events_in_mev() -> None:
    recipe = {
        "name": "toy",
        "observables": {"m": {"expression": "(Muon[0] + Muon[1]).mass", "unit": "GeV"}},
        "model": {
            "kind": "flow_matching",
            "network": {"kind": "residual", "width": 16, "blocks": 1},
            "steps": 1,
        },
        "training": {"steps": 2, "batch_size": 64},
    }
    with pytest.warns(UserWarning, match="the events are in MeV, but the recipe says GeV"):
        EventGenerator(recipe).fit(in_unit(dimuons(300), "MeV"), device="cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        EventGenerator(recipe).fit(dimuons(300), device="cpu")
        recipe["events"] = {"unit": "MeV"}
        EventGenerator(recipe).fit(in_unit(dimuons(300), "MeV"), device="cpu")


@pytest.mark.usefixtures("_reports_without_pictures")
def test_samples_of_two_units_are_not_compared(tmp_path: Path) -> None:
    for unit, seed in (("GeV", 1), ("MeV", 2), ("TeV", 3)):
        write_events(tmp_path / f"{unit}.root", in_unit(dimuons(400, seed=seed), unit))
    with pytest.raises(
        InputError, match=r"another unit than the reference: their pt are .* times as large"
    ) as error:
        compare_files(tmp_path / "GeV.root", tmp_path / "MeV.root", classifier=False)
    assert str(error.value.file).endswith("MeV.root")
    with pytest.raises(InputError, match="another unit"):
        hepgan.compare(
            read_events(tmp_path / "TeV.root"), read_events(tmp_path / "GeV.root"), classifier=False
        )
    write_events(tmp_path / "other.root", in_unit(dimuons(400, seed=4), "MeV"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compare_files(tmp_path / "MeV.root", tmp_path / "other.root", classifier=False)
    found.save(tmp_path / "report")
    assert "MeV" in (tmp_path / "report" / "report.html").read_text()
    assert not any("GeV" in o.axis().label for o in found.observables.values())
    assert "GeV" not in (tmp_path / "report" / "report.html").read_text()
