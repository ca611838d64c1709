from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
from numpy.testing import assert_allclose
from toys import dimuons

from hepgan.errors import InputError
from hepgan.events import EventBatch, read_events, schema_of, select, to_batch, write_events
from hepgan.features import Representation
from hepgan.generator import EventGenerator
from hepgan.production import produce
from hepgan.recipes import Derived, Recipe, draft_recipe, load_recipe
from hepgan.recipes.drafting.findings import constant_mass, find_edge
from hepgan.recipes.drafting.peaks import Excess, highest_peak, populations

ALL = [
    "zmumu_train.root",
    "multilepton_train.root",
    "drell_yan_train.root",
    "wz_train.root",
    "ee_partons_train.root",
    "dis_train.root",
    "jet_images_train.root",
    "fatgan/fatgan_50gev.root",
    "fatgan/cfatgan_30gev.root",
    "real/uproot-Zmumu.root",
    "real/nano_dy.root",
    "real/Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root",
]
FAST = ["training.steps=5", "training.batch_size=128", "model.network.width=16", "model.steps=2"]


pytestmark = pytest.mark.usefixtures("short_trainings_of_what_is_discrete")


def drafted(path: Path | str, tmp_path: Path, **options: Any) -> Recipe:
    """The recipe, by way of its file."""
    return loaded(draft_recipe(str(path), name="draft", **options), tmp_path)


def loaded(text: str, tmp_path: Path) -> Recipe:
    file = tmp_path / "draft.yaml"
    file.write_text(text)
    return load_recipe(file)


@lru_cache
def field_text(file: Path) -> str:
    """The draft of a file of the field, made once."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return draft_recipe(str(file), name="draft", max_events=20_000)


def data_of(recipe: Recipe, path: Path | str, number: int) -> ak.Array:
    return read_events(path, branches=recipe.branches, entry_stop=number)


@pytest.fixture(scope="module")
def dimuon_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("draft") / "dimuons.root"
    write_events(path, dimuons(3000, weighted=True))
    return str(path)


@pytest.fixture(scope="module")
def dimuon_text(dimuon_file: str) -> str:
    return draft_recipe(dimuon_file, name="dimuons")


def test_resonance_symmetry_and_edges_of_known_events_are_found(dimuon_text: str, tmp_path: Path) -> None:
    (tmp_path / "d.yaml").write_text(dimuon_text)
    recipe = load_recipe(tmp_path / "d.yaml")
    decays = [b for b in recipe.features.blocks if b.kind == "decay"]
    assert [d.name for d in decays] == ["Z"]
    assert decays[0].children == ("Muon[0]", "Muon[1]")
    assert recipe.features.azimuth == "Muon[0] + Muon[1]"
    assert recipe.features.bounds["Muon.pt"] == (10.0, None)
    assert recipe.features.bounds["Jet.pt"] == (20.0, None)
    assert not {"Muon.iso", "MET.pt"} & set(recipe.features.bounds)
    assert recipe.events.weight == "genWeight"
    assert "m_Z" in recipe.observables


def test_comments_tell_why(dimuon_text: str) -> None:
    comments = " ".join(line.strip(" #") for line in dimuon_text.splitlines() if "#" in line)
    assert "3,000 events" in comments
    assert "charge: a category" in comments
    assert "iso: continuous, but exactly 0 in 35.2%" in comments
    assert "above 10 (smallest 10.0" in comments
    assert "peaks at 91" in comments
    assert "are negative" in comments
    assert max(map(len, [x for x in dimuon_text.splitlines() if x.lstrip().startswith("#")])) <= 130


def test_draft_trains_as_it_stands(dimuon_file: str, dimuon_text: str, tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text(dimuon_text)
    generator = EventGenerator(path).fit(read_events(dimuon_file), seed=1, device="cpu", max_time=0.1)
    generated = generator.generate(500, seed=2)
    assert len(generated) == 500
    assert float(ak.min(generated.Muon.pt)) >= 10.0
    assert float(ak.min(generated.Muon.iso)) >= 0.0
    mass = (generated.Muon[:, 0] + generated.Muon[:, 1]).mass
    assert float(ak.min(mass)) >= 2 * 0.10566


def test_asymmetric_azimuths_are_kept(tmp_path: Path) -> None:
    events = dimuons(3000)
    phi = ak.unflatten(np.clip(ak.flatten(events.Muon.phi), -1.0, 3.0), ak.num(events.Muon))
    path = tmp_path / "half.root"
    write_events(path, ak.with_field(events, ak.with_field(events.Muon, phi, "phi"), "Muon"))
    recipe = drafted(path, tmp_path)
    assert recipe.features.azimuth is None


def test_numbers_that_cannot_be_learned_are_left_out_with_the_reason(tmp_path: Path) -> None:
    events = dimuons(1000)
    values = np.linspace(0, 1, 1000)
    values[::2] = np.inf
    muons = events.Muon
    mass = (muons[:, 0] + muons[:, 1]).mass
    for name, column in (
        ("broken", values),
        ("m", ak.values_astype(mass, np.float64)),
        ("number", np.arange(5, 1005)),
        ("puWeight", np.random.default_rng(0).random(1000)),
        ("bits", np.random.default_rng(0).integers(0, 2**62, 1000)),
    ):
        events = ak.with_field(events, column, name)
    path = tmp_path / "more.root"
    write_events(path, events, check=False)
    text = draft_recipe(str(path), name="more")
    (tmp_path / "d.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "d.yaml")
    assert set(recipe.events.select) == {"Muon", "Jet", "MET", "npv"}
    assert recipe.events.derived == {"m": "(Muon[0] + Muon[1]).mass"}
    flat = " ".join(line.strip(" #") for line in text.splitlines())
    assert "broken: 500 of 1,000 values are not finite" in flat
    assert "number: nearly every event has its own value" in flat
    assert "puWeight: looks like another weight" in flat
    assert "bits: whole numbers from" in flat
    generator = EventGenerator(recipe.with_settings(FAST)).fit(data_of(recipe, path, 1000), device="cpu")
    made = generator.generate(50)
    pair = made.Muon[:, 0] + made.Muon[:, 1]
    assert_allclose(ak.to_numpy(made.m), ak.to_numpy(pair.mass), rtol=1e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("field", ["pt", "eta", "mass", "npv"])
def test_one_bad_number_costs_its_event_and_not_its_branch(tmp_path: Path, field: str, value: float) -> None:
    columns = spoilt(field, slice(5, 6), value)
    ak.to_parquet(ak.zip(columns, depth_limit=1), tmp_path / "bad.parquet")
    text = draft_recipe(str(tmp_path / "bad.parquet"), name="bad")
    assert loaded(text, tmp_path).events.select == ()
    flat = " ".join(line.strip(" #") for line in text.splitlines())
    if field == "npv" and np.isnan(value):
        assert "npv: continuous; missing (NaN) in 0.333%" in flat
        return
    what = "not a number" if np.isnan(value) else "infinite"
    assert f"1 of them is bad ({field if field == 'npv' else f'Jet_{field}'}: {what}): train" in flat


@pytest.mark.parametrize("bad", [slice(None), slice(0, None, 2)], ids=["all", "half"])
@pytest.mark.parametrize("field", ["pt", "eta", "mass", "npv"])
def test_a_branch_of_many_bad_numbers_is_left_out_with_the_reason(
    tmp_path: Path, field: str, bad: slice
) -> None:
    # NaN is what is missing of an event, but of a momentum it is none.
    columns = spoilt(field, bad, np.inf if field == "npv" else np.nan)
    ak.to_parquet(ak.zip(columns, depth_limit=1), tmp_path / "bad.parquet")
    text = draft_recipe(str(tmp_path / "bad.parquet"), name="bad")
    left = {"npv", *(f"Jet.{n}" for n in ("pt", "eta", "phi", "mass"))} - {field, f"Jet.{field}"}
    chosen = set(loaded(text, tmp_path).events.select)
    assert chosen == left or chosen == {"Jet"}
    assert "values are not finite (NaN or infinite)" in " ".join(text.split()).replace("# ", "")


def spoilt(field: str, bad: slice, value: float) -> dict[str, Any]:
    """Columns of 300 events with jets, of which some numbers are not finite."""
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, 300)
    size = int(counts.sum())
    flat = {
        "pt": rng.exponential(30, size),
        "eta": rng.normal(0, 1, size),
        "phi": rng.uniform(-3, 3, size),
        "mass": rng.exponential(5, size),
        "npv": rng.normal(30, 5, 300),
    }
    flat[field][bad] = value
    return {
        n if n == "npv" else f"Jet_{n}": v if n == "npv" else ak.unflatten(v, counts) for n, v in flat.items()
    }


ODD = (
    *("b-tag", "time.t0", "class", "Größe", "2jet", "a b", "a  b", " lead", "max", "and", "sum", "pi", "nan"),
    *(
        "it's",
        'say "x"',
        "new\nline",
        "\u2028features: {}",
        "ｐt",
        "a`b",
        "x$y",
        "\\frac{",
        "50%",
        "#1",
        "a,b",
    ),
    *(
        "a: b",
        "[3]",
        "x[2]",
        "None",
        "null",
        "yes",
        "on",
        "a/b",
        "/a",
        "-",
        "x=y",
        "{0}",
        "a+b",
        "1e5",
        "0",
        "_x",
    ),
)


def test_branches_of_any_name_are_learned_and_looked_at(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    columns = {name: rng.normal(0, 1, 300) for name in ODD}
    for kaon in ("K+", "K-"):
        columns |= {f"{kaon}_P{n}": rng.normal(0, 3, 300) for n in "XYZ"}
        columns |= {f"{kaon}_M": np.full(300, 0.4937), f"{kaon}_b-tag": rng.normal(0, 1, 300)}
    path = tmp_path / "odd.parquet"
    ak.to_parquet(ak.zip(columns, depth_limit=1), path)
    recipe = drafted(path, tmp_path)
    expressions = {o.expression for o in recipe.observables.values()}
    assert expressions >= {
        "`b-tag`",
        "`a  b`",
        "`a``b`",
        "max",
        "`pi`",
        "`_x`",
        "`K+`.`b-tag`",
        "(`K+` + `K-`).mass",
    }
    assert recipe.features.azimuth == "`K+`"
    some = drafted(path, tmp_path, select=["K+.b-tag", "`time.t0`", "[3]", "-"])
    assert set(some.events.select) == {"K+.b-tag", "`time.t0`", "`[3]`", "-"}
    generator = EventGenerator(recipe.with_settings(FAST)).fit(data_of(recipe, path, 300), device="cpu")
    made = generator.generate(50)
    assert {*ODD} < {*made.fields}
    for observable in recipe.make_observables().values():
        assert np.isfinite(observable.column(made)).all()


def test_what_nearly_follows_from_others_is_learned(tmp_path: Path) -> None:
    events = dimuons(2000)
    mass = ak.to_numpy((events.Muon[:, 0] + events.Muon[:, 1]).mass).astype(np.float64)
    mass[::150] *= 1.1
    path = tmp_path / "nearly.root"
    write_events(path, ak.with_field(events, mass, "m"))
    recipe = drafted(path, tmp_path)
    assert recipe.events.derived == {}
    assert recipe.branches is None


def test_select_takes_what_is_asked_for(dimuon_file: str, tmp_path: Path) -> None:
    recipe = drafted(dimuon_file, tmp_path, select=["Muon.pt", "Muon.eta", "Muon.phi", "Muon.mass", "npv"])
    assert recipe.events.select == ("Muon.pt", "Muon.eta", "Muon.phi", "Muon.mass", "npv")
    events = data_of(recipe, dimuon_file, 500)
    generated = EventGenerator(recipe.with_settings(FAST)).fit(events, device="cpu").generate(20)
    assert set(generated.fields) == {"Muon", "npv", "genWeight"}
    assert generated.Muon.fields == ["pt", "eta", "phi", "mass"]


def test_unknown_selection_is_an_error_that_names_it(dimuon_file: str) -> None:
    with pytest.raises(InputError, match="Muom"):
        draft_recipe(dimuon_file, name="x", select=["Muom"])


def test_bound_that_later_events_break_is_not_taken(tmp_path: Path) -> None:
    events = dimuons(3000)
    soft = ak.unflatten(np.array([10.5, 5.0], np.float32), [2])
    last = ak.with_field(events[-1:], ak.with_field(events[-1:].Muon, soft, "pt"), "Muon")
    path = tmp_path / "late.root"
    write_events(path, ak.concatenate([events[:-1], last]))
    assert drafted(path, tmp_path, max_events=2500).features.bounds.get("Muon.pt") is None
    assert drafted(path, tmp_path, max_events=2500).features.bounds["Jet.pt"] == (20.0, None)


@pytest.mark.parametrize("n", [40, 1000, 30_000])
def test_every_event_is_seen_several_times_but_few_are_not_learned_by_heart(n: int, tmp_path: Path) -> None:
    path = tmp_path / "events.root"
    write_events(path, dimuons(n))
    training = drafted(path, tmp_path).training
    assert training.steps * min(training.batch_size, n) >= 50 * n
    if n == 1000:
        assert training.steps * training.batch_size <= 251 * n


def test_thresholds_of_the_leading_object_are_found(tmp_path: Path) -> None:
    events = dimuons(8000)
    path = tmp_path / "triggered.root"
    write_events(path, events[events.Muon.pt[:, 0] > 40])
    bounds = drafted(path, tmp_path).features.bounds
    assert bounds["Muon[0].pt"] == (40.0, None)


def test_momenta_that_cancel_are_one_system(tmp_path: Path) -> None:
    p = np.random.default_rng(0).normal(0, 20, (600, 3, 3)).astype(np.float32).astype(np.float64)
    p[:, 2] = -p[:, 0] - p[:, 1]
    energy = np.sqrt((p**2).sum(2) + 0.14**2)
    columns = dict(zip(("px", "py", "pz", "energy"), (*np.moveaxis(p, 2, 0), energy), strict=True))
    pions = ak.zip({n: ak.from_regular(ak.Array(v)) for n, v in columns.items()}, with_name="Momentum4D")
    path = tmp_path / "pions.root"
    write_events(path, ak.zip({"Pion": pions}, depth_limit=1))
    recipe = drafted(path, tmp_path).with_settings(FAST)
    assert [b.kind for b in recipe.features.blocks] == ["decay"]
    generator = EventGenerator(recipe).fit(read_events(path), device="cpu")
    (made,) = generator.iterate(100, step=100)
    assert float(made.collections["Pion"].fields["px"].sum(1).abs().max()) < 1e-4


def test_bad_events_are_told_of_and_not_looked_at(tmp_path: Path) -> None:
    events = dimuons(1000)
    pt = ak.to_numpy(ak.flatten(events.Muon.pt)).copy()
    pt[6] = -1.0
    fields = {n: events.Muon[n] for n in events.Muon.fields} | {"pt": ak.unflatten(pt, 2)}
    path = tmp_path / "bad.parquet"
    ak.to_parquet(ak.zip({"Muon": ak.zip(fields)}, depth_limit=1), path)
    text = draft_recipe(str(path), name="bad")
    assert "1 of them is bad (Muon.pt: negative pT): train with `--drop-bad`" in text
    assert loaded(text, tmp_path).features.bounds["Muon.pt"] == (10.0, None)


def test_files_of_numbers_alone_have_drafts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "flat.root"
    with uproot.recreate(path) as file:
        columns = {"x": rng.normal(size=1000), "m_ll": rng.uniform(60, 120, 1000), "n": rng.poisson(3, 1000)}
        file.mktree("t", {n: v.dtype for n, v in columns.items()}).extend(columns)
    recipe = drafted(f"{path}:t", tmp_path).with_settings(FAST)
    assert recipe.features.bounds == {"m_ll": (60.0, 120.0)}
    (made,) = EventGenerator(recipe).fit(read_events(path), device="cpu").iterate(20, step=20)
    assert set(made.scalars) == {"x", "m_ll", "n"}


class TestEdges:
    def test_abrupt_ends_are_edges(self) -> None:
        rng = np.random.default_rng(1)
        edge = find_edge(10 + rng.exponential(20, 20_000))
        assert edge is not None
        assert edge.value == 10.0
        both = rng.uniform(-2.5, 2.5, 5_000)
        lower, upper = find_edge(both), find_edge(both, upper=True)
        assert lower is not None
        assert upper is not None
        assert (lower.value, upper.value) == (-2.5, 2.5)

    def test_tails_and_smooth_ends_are_not(self) -> None:
        for seed in range(20):
            rng = np.random.default_rng(seed)
            tails = rng.normal(0, 1.7, 20_000), rng.exponential(20, 20_000), rng.standard_cauchy(20_000)
            assert [find_edge(t, upper=True) for t in tails] == [None, None, None]
            assert find_edge(rng.rayleigh(10, 20_000)) is None

    def test_edges_are_never_inside_the_values(self) -> None:
        for seed in range(50):
            rng = np.random.default_rng(seed)
            values = rng.uniform(rng.normal(0, 30), 100, 2_000)
            edge = find_edge(values)
            assert edge is None or edge.value <= values.min()

    def test_few_values_have_no_edges(self) -> None:
        assert find_edge(np.random.default_rng(0).uniform(10, 20, 100)) is None


def test_masses_that_differ_by_rounding_are_one_mass() -> None:
    muons = np.array([0.10565836, 0.10565837, 0.1056584], np.float32)
    found = constant_mass("Muon", muons)
    assert found is not None
    assert_allclose(found[0], 0.1056584, rtol=1e-6)
    electrons = np.random.default_rng(0).normal(0, 0.01, 100)
    assert (constant_mass("Electron", electrons) or (0,))[0] == 0.000511
    assert constant_mass("Jet", np.random.default_rng(0).exponential(5, 100)) is None
    assert constant_mass("Muon", np.full(10, 0.10566)) is None


# ------------------------------------------------------------------------- files of the field


@pytest.mark.parametrize("name", ALL)
def test_files_of_the_field_have_drafts_that_represent_them(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    file = shared_data / name
    recipe = loaded(field_text(file), tmp_path)
    events = data_of(recipe, file, 2_000)
    schema = Derived(schema_of(events), recipe.events.derived).learned
    if recipe.events.select:
        schema = select(schema, [*recipe.events.select, *recipe.conditions])
    batch = to_batch(events, schema)
    representation = Representation(recipe.features, schema, recipe.conditions).fit(batch)
    again = representation.decode(representation.encode(batch), representation.azimuth(batch))
    assert_same_events(batch, again)
    for observable in recipe.make_observables().values():
        observable.check(schema)


def assert_same_events(batch: EventBatch, again: EventBatch) -> None:
    for name, objects in batch.collections.items():
        there = again.collections[name].fields
        momenta = [objects.fields[f] for f in ("px", "py", "pz", "pt") if f in objects.fields]
        scale = max((float(p.abs().max()) for p in momenta), default=1.0)
        for field in ("px", "py", "pz", "pt", "eta"):
            if field in objects.fields:
                torch.testing.assert_close(
                    there[field], objects.fields[field].double(), rtol=1e-4, atol=1e-5 * scale
                )
        for field, values in objects.fields.items():
            if not values.is_floating_point():
                assert torch.equal(there[field].to(values.dtype), values)
    for name, values in batch.scalars.items():
        if name != batch.schema.weight:
            torch.testing.assert_close(again.scalars[name].double(), values.double(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["real/uproot-Zmumu.root", "real/nano_dy.root", "wz_train.root"])
def test_drafts_of_files_of_the_field_train(name: str, shared_data: Path, tmp_path: Path) -> None:
    file = shared_data / name
    recipe = loaded(field_text(file), tmp_path).with_settings(FAST)
    events = data_of(recipe, file, 2_000)
    generated = EventGenerator(recipe).fit(events, seed=1, device="cpu").generate(1000, seed=2)
    assert len(generated) == 1000
    assert set(generated.fields) <= set(events.fields)


def test_every_branch_of_the_z_sample_is_generated(shared_data: Path, tmp_path: Path) -> None:
    file = shared_data / "real/uproot-Zmumu.root"
    text = field_text(file)
    assert "Only 500 of these events are different" in text
    assert "written anew: run, event" in text
    assert "pt, eta, phi: at odds with the momentum" in text
    recipe = loaded(text, tmp_path).with_settings(FAST)
    assert recipe.branches is None
    assert recipe.events.derived == {"M": "(Particle[0] + Particle[1]).mass"}
    generator = EventGenerator(recipe).fit(data_of(recipe, file, 2_000), seed=1, device="cpu")
    made = tmp_path / "made.root"
    produce(generator, 500, made, seed=2, identifiers=False)
    with uproot.open(file)["events"] as tree, uproot.open(made)["events"] as again:
        assert again.typenames() == tree.typenames()
        x = again.arrays([n for n in again.keys() if n != "Type"], library="np")  # noqa: SIM118
    total = {k: x[f"{k}1"] + x[f"{k}2"] for k in ("E", "px", "py", "pz")}
    mass = np.sqrt(total["E"] ** 2 - total["px"] ** 2 - total["py"] ** 2 - total["pz"] ** 2)
    assert_allclose(x["M"], mass, rtol=1e-9)
    assert np.unique(x["M"]).size == 500


def test_w_and_z_are_found_and_their_common_rest_kept(shared_data: Path, tmp_path: Path) -> None:
    recipe = loaded(field_text(shared_data / "wz_train.root"), tmp_path)
    (block,) = recipe.features.blocks
    assert [child.name for child in block.children] == ["Z", "W"]  # type: ignore[union-attr]


def test_settings_of_the_simulation_are_conditions(shared_data: Path, tmp_path: Path) -> None:
    recipe = loaded(field_text(shared_data / "dis_train.root"), tmp_path)
    assert recipe.conditions == ("beam_energy",)
    recipe = loaded(field_text(shared_data / "fatgan/fatgan_50gev.root"), tmp_path)
    assert recipe.conditions == ()


def test_what_analyses_of_nanoaod_usually_read_is_taken(shared_data: Path) -> None:
    text = field_text(shared_data / "real/nano_dy.root")
    assert len(text.splitlines()) < 350
    taken = text.partition("select:")[2].partition("weight:")[0]
    for name in (
        "Muon.tightId",
        "Electron.cutBased",
        "Jet.btagDeepFlavB",
        "Jet.jetId",
        "PV.z",
        "Pileup.nTrueInt",
    ):
        assert f"{name}," in taken
    assert " Flag," in taken
    assert "HLT.IsoMu24," in taken
    assert "HLT_* (625 of 651), L1_* (321 of 321): triggers beyond the usual ones" in text
    assert "GenPart, GenVisTau: family trees" in text
    assert "Electron: 0.000511" in text


# ------------------------------------------------------------------------- resonances in some events


def sometimes(n: int, seed: int = 0) -> ak.Array:
    """Events of which some have a Z to two muons, some two muons of no resonance, and some fewer."""
    events = dimuons(n, seed)
    rng = np.random.default_rng(seed)
    kind = rng.random(len(events))
    muons = events.Muon
    # The second muon is another event's.
    mixed = ak.concatenate([muons[:, :1], muons[np.roll(np.arange(len(events)), 1)][:, 1:]], axis=1)
    order = ak.argsort(mixed.pt, axis=1, ascending=False)
    mixed = ak.with_field(mixed[order], muons.charge * np.where(kind < 0.5, 1, -1), "charge")
    chosen = ak.where(kind < 0.4, muons, mixed)
    kept = ak.local_index(chosen.pt) < np.where(kind < 0.7, 2, np.where(kind < 0.9, 1, 0))
    return ak.with_field(events, ak.with_name(chosen[kept], "Momentum4D"), "Muon")


def test_a_resonance_in_some_events_is_found_and_generated(tmp_path: Path) -> None:
    path = tmp_path / "sometimes.root"
    write_events(path, sometimes(3000))
    text = draft_recipe(str(path), name="draft")
    recipe = loaded(text, tmp_path)
    (pairs,) = [b for b in recipe.features.blocks if b.kind == "pairs"]
    assert pairs.collection == "Muon"
    assert pairs.mass == pytest.approx(91.2, abs=0.5)
    assert recipe.features.azimuth == "Muon + Jet"
    assert "standard deviations" in text
    assert recipe.observables["m_Muon"].range[0] < 80 < 100 < recipe.observables["m_Muon"].range[1]  # type: ignore
    generator = EventGenerator(recipe.with_settings(FAST)).fit(read_events(path), seed=1, device="cpu")
    made = generator.generate(2000, seed=2)
    muons = made.Muon[ak.num(made.Muon) == 2]
    mass = (muons[:, 0] + muons[:, 1]).mass[ak.sum(muons.charge, axis=1) == 0]
    # However little was learned, the peak is that of one column.
    assert float(np.mean(np.abs(ak.to_numpy(mass) - 91.2) < 5)) > 0.4


@pytest.mark.parametrize("beside", [0, 300, 3000])
def test_a_peak_is_found_where_it_is(beside: int) -> None:
    rng = np.random.default_rng(1)
    peak = 91.2 + 1.25 * np.tan(np.pi * (rng.random(1000) - 0.5) * 0.95)
    found = highest_peak(np.concatenate([peak, rng.exponential(80.0, beside)]))
    assert found is not None
    assert found.mass == pytest.approx(91.2, abs=0.4)


@pytest.mark.parametrize(
    "masses",
    [
        lambda r: r.exponential(60.0, 20_000),
        lambda r: 20 + r.exponential(60.0, 20_000),
        lambda r: np.abs(r.normal(100.0, 40.0, 20_000)),
        lambda r: r.uniform(20, 200, 20_000),
        lambda r: 10 * r.pareto(3, 20_000) + 10,
        lambda r: r.gamma(4, 30, 20_000),
        lambda r: np.full(20, 91.2),
    ],
    ids=["falling", "threshold", "normal", "edges", "power", "gamma", "few"],
)
@pytest.mark.parametrize("seed", range(3))
def test_what_is_smooth_has_no_peak(masses: Any, seed: int) -> None:
    assert highest_peak(masses(np.random.default_rng(seed))) is None


@pytest.mark.parametrize("name", [n for n in ALL if "Run2012" not in n and "multilepton" not in n])
def test_no_resonance_is_found_where_objects_are_in_every_event_or_have_none(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    recipe = loaded(field_text(shared_data / name), tmp_path)
    assert not [b for b in recipe.features.blocks if b.kind == "pairs"]


def test_resonances_of_each_flavour_are_found(shared_data: Path, tmp_path: Path) -> None:
    recipe = loaded(field_text(shared_data / "multilepton_train.root"), tmp_path)
    found = {b.collection: b.mass for b in recipe.features.blocks if b.kind == "pairs"}
    assert found == {"Muon": pytest.approx(91.2, abs=0.2), "Electron": pytest.approx(91.2, abs=0.2)}


def test_cartesian_momenta_selected_by_pt_are_learned_by_pt(tmp_path: Path) -> None:
    events = dimuons(3000)
    jets = events.Jet
    cartesian = ak.zip({n: getattr(jets, n) for n in ("px", "py", "pz", "energy")}, with_name="Momentum4D")
    path = tmp_path / "cartesian.root"
    write_events(path, ak.with_field(events[["MET"]], cartesian, "Jet"))
    recipe = drafted(path, tmp_path)
    assert recipe.features.bounds["Jet.pt"] == (20.0, None)
    (block,) = [b for b in recipe.features.blocks if getattr(b, "collection", "") == "Jet"]
    assert block.coordinates == ("pt", "eta", "phi")  # type: ignore[union-attr]


def test_vectors_of_no_length_neither_set_directions_nor_spoil_their_symmetry(tmp_path: Path) -> None:
    events = dimuons(3000)
    there = np.random.default_rng(2).random(len(events)) < 0.2
    px, py, pz = (np.where(there, np.asarray(v), 0.0) for v in momentum(events.Muon[:, 0]))
    truth = ak.zip({"px": px, "py": py, "pz": pz}, with_name="Momentum3D")
    path = tmp_path / "zeros.root"
    write_events(path, ak.with_field(events[["MET", "npv"]], truth, "Truth"))
    recipe = drafted(path, tmp_path)
    assert recipe.features.azimuth == "MET"


def test_a_file_in_which_no_number_varies_has_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "classes.parquet"
    ak.to_parquet(ak.Array({"s": ["a", "b", "c"] * 100, "one": [1.5] * 300}), path)
    with pytest.raises(
        InputError, match=r"classes\.parquet: nothing in it can be learned: s: a category.*; one: always 1\.5"
    ):
        draft_recipe(str(path), name="classes")


def momentum(vectors: ak.Array) -> tuple[ak.Array, ak.Array, ak.Array]:
    return vectors.px, vectors.py, vectors.pz


@pytest.mark.parametrize(
    ("below", "half", "above", "cuts"),
    [
        (500, 300, 400, [45, 83.91, 96.53]),
        (500, 300, 100, [45, 83.91]),
        (500, 100, 400, [83.91, 96.53]),
        (100, 500, 400, [83.91, 96.53]),
        (50, 50, 50, []),
    ],
)
def test_pairs_are_divided_into_populations_none_of_which_is_small(
    below: int, half: int, above: int, cuts: list[float]
) -> None:
    peak = Excess(mass=90.0, width=0.07, number=1000, beside=10.0)
    masses = np.concatenate(
        [np.full(1000, 90.0), np.full(below, 70.0), np.full(half, 20.0), np.full(above, 200.0)]
    )
    assert populations(masses, peak) == pytest.approx(cuts, abs=0.01)
