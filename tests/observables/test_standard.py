from __future__ import annotations

import dataclasses
import math
import warnings

import awkward as ak
import numpy as np
import pytest
import vector

from hepgan.errors import RecipeError
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.observables import STANDARD, default_observables, from_config, standard
from hepgan.observables.shapes import POLYNOMIALS, SHAPES


def values(observable, **events):
    return observable.flat(ak.Array(events))[0]


def lepton(**coordinates):
    return [{k: float(v) for k, v in coordinates.items()}]


def test_every_standard_observable_is_an_expression_that_fits_some_events(events):
    places = {"Electron": "Muon[0]", "beam_energy": "beam_energy"}
    for name, definition in STANDARD.items():
        objects = [places.get(o, o) for o in definition.defaults]
        per_object = "pairs" in definition.expression
        if not objects:
            whole = per_object or any(
                f in definition.expression
                for f in ("sum({0}", "count", *(SHAPES | POLYNOMIALS))
                if f != "sum"
            )
            objects = ["Jet"] if whole else ["Muon[0]", "Muon[1]"][: definition.objects[1]]
        checked = standard(name, *objects).check(events.schema)
        assert checked.per_event != per_object, name


def test_the_mass_of_several_objects_is_that_of_their_sum(events):
    observable = standard("mass", "Muon[0]", "Muon[1]", "Jet[0]")
    assert observable.expression == "(Muon[0] + Muon[1] + Jet[0]).mass"


def test_labels_are_latex_with_symbols_of_the_objects():
    assert standard("mass", "Muon[0]", "Muon[1]").title == r"$m_{\mu\mu}$ [GeV]"
    assert standard("mass", "Muon[0]", "Jet[0]").label == r"$m_{\mu_{1}j_{1}}$"
    assert standard("pt", "Jet[1]").label == "$p_T^{j_{2}}$"
    assert standard("deltaR", "Electron[0]", "Photon[0]").label == r"$\Delta R(e_{1}, \gamma_{1})$"
    assert standard("count", "Jet").label == "$N_{j}$"
    assert standard("count", "My_Thing").label == r"$N_{\mathrm{My\_Thing}}$"


def test_labels_can_be_drawn(events):
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")
    labels = [o.title for o in default_observables(events.schema).values()]
    for name, definition in STANDARD.items():
        objects = definition.defaults or ("Muon[0]", "Jet[Jet.pt > 3][1]")[: definition.objects[1]]
        labels.append(standard(name, *objects).title)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label in dict.fromkeys(labels):
            parser.parse(label)


def test_wrong_names_and_numbers_of_objects_are_recipe_errors():
    with pytest.raises(RecipeError, match="did you mean 'deltaR'"):
        standard("deltar", "Muon[0]", "Muon[1]")
    with pytest.raises(RecipeError, match="takes 2 objects, not 1"):
        standard("deltaR", "Muon[0]")
    with pytest.raises(RecipeError, match="column"):
        standard("mass", "Muon[0")


def test_ht_and_mht_sum_over_jets(events):
    np.testing.assert_allclose(
        standard("HT").flat(events.array)[0], ak.to_numpy(ak.sum(events.array.Jet.pt, axis=1))
    )
    np.testing.assert_allclose(
        standard("MHT").flat(events.array)[0], ak.to_numpy(ak.sum(events.array.Jet, axis=1).pt)
    )


def test_transverse_mass_of_back_to_back_momenta_is_twice_the_root_of_their_product():
    array = {"Muon": [lepton(pt=30, eta=1, phi=0.3, mass=0.1)], "MET": [{"pt": 20.0, "phi": 0.3 - math.pi}]}
    assert values(standard("transverse_mass", "Muon[0]", "MET"), **array)[0] == pytest.approx(
        2 * math.sqrt(600)
    )


def test_transverse_mass_keeps_its_digits_at_small_angles():
    array = {"Muon": [lepton(pt=30, eta=1, phi=0.3, mass=0.1)], "MET": [{"pt": 20.0, "phi": 0.3 + 1e-9}]}
    found = values(standard("transverse_mass", "Muon[0]", "MET"), **array)[0]
    assert found == pytest.approx(math.sqrt(600) * 1e-9, rel=1e-6)


@pytest.mark.parametrize("cosine", [-0.8, 0.0, 0.35])
@pytest.mark.parametrize("boost", [-0.7, 0.4])
def test_collins_soper_is_the_polar_angle_for_pairs_without_transverse_momentum(cosine, boost):
    half, sine = 45.6, math.sqrt(1 - cosine**2)
    pair = [
        vector.obj(px=s * half * sine, py=0, pz=s * half * cosine, E=half).boostZ(beta=boost) for s in (1, -1)
    ]
    array = {"Lepton": [[{"px": v.px, "py": v.py, "pz": v.pz, "energy": v.E} for v in pair]]}
    found = values(standard("costheta_cs", "Lepton[0]", "Lepton[1]"), **array)[0]
    assert found == pytest.approx(math.copysign(1, boost) * cosine)


def test_phi_star_follows_its_definition():
    array = {
        "Muon": [[*lepton(pt=40, eta=0.5, phi=0.1, mass=0.1), *lepton(pt=38, eta=-0.7, phi=2.9, mass=0.1)]]
    }
    acoplanarity, cosine = math.pi - 2.8, math.tanh(1.2 / 2)
    expected = math.tan(acoplanarity / 2) * math.sqrt(1 - cosine**2)
    assert values(standard("phi_star", "Muon[0]", "Muon[1]"), **array)[0] == pytest.approx(expected)


def test_dis_kinematics_follow_from_the_four_vectors():
    beam, angle, energy = 50.0, 0.6, 41.0
    scattered = vector.obj(px=energy * math.sin(angle), py=0, pz=energy * math.cos(angle), E=energy)
    k, proton = vector.obj(px=0, py=0, pz=beam, E=beam), vector.obj(px=0, py=0, pz=-beam, E=beam)
    electron = {"px": scattered.px, "py": scattered.py, "pz": scattered.pz, "energy": scattered.E}
    array = {"Electron": [electron], "beam_energy": [beam]}
    for name, value in dis(k, proton, scattered).items():
        assert values(standard(name), **array)[0] == pytest.approx(value), name


def dis(k, proton, scattered):
    """Kinematics of inclusive scattering from four-vectors; numpy arrays or objects of vector."""
    q = k - scattered
    side = np.sign(k.pz)
    return {
        "Q2": -q.dot(q),
        "x_bj": -q.dot(q) / (2 * proton.dot(q)),
        "y_dis": proton.dot(q) / proton.dot(k),
        "W2": (proton + q).dot(proton + q),
        "nu1": np.log(scattered.E - side * scattered.pz),
        "nu2": np.log(2 * k.E - scattered.E - side * scattered.pz),
    }


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("proton", [None, 920.0])
def test_dis_kinematics_of_any_beams_follow_from_the_four_vectors(direction, proton):
    rng = np.random.default_rng(4)
    n, beam = 50, 27.5
    y, x = rng.uniform(0.02, 0.95, n), rng.uniform(0.01, 0.9, n)
    high = beam if proton is None else proton
    q2 = 4 * beam * high * x * y
    plus, minus = 2 * beam * (1 - y), q2 / (2 * beam)  # E + pz, E - pz along the lepton beam
    pt, phi = np.sqrt(plus * minus), rng.uniform(-np.pi, np.pi, n)
    parts = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": direction * (plus - minus) / 2}
    scattered = vector.array({**parts, "E": (plus + minus) / 2})
    k = vector.array({"px": [0.0], "py": [0.0], "pz": [direction * beam], "E": [beam]})
    p = vector.array({"px": [0.0], "py": [0.0], "pz": [-direction * high], "E": [high]})
    found = dis(k, p, scattered)
    np.testing.assert_allclose(found["x_bj"], x)
    electron = ak.zip({**parts, "energy": scattered.E}, with_name="Momentum4D")
    given = {"direction": direction} | ({} if proton is None else {"proton": proton})
    for name, expected in found.items():
        objects = ["Electron"] if name == "nu1" else ["Electron", "27.5"]
        observable = standard(name, *objects, **given)
        np.testing.assert_allclose(values(observable, Electron=electron), expected, rtol=1e-7, err_msg=name)


@pytest.mark.parametrize("sample", ["dis_test_trained_energies", "dis_test_new_energies"])
def test_dis_kinematics_of_the_samples_lie_within_their_limits(sample, shared_data):
    from hepgan.events import read_events, to_batch

    events = read_events(f"{shared_data / sample}.root:Events", entry_stop=5000)
    energy = ak.to_numpy(events.beam_energy).astype(float)
    one = vector.array(
        {c: ak.to_numpy(events.Electron[:, 0][c]).astype(float) for c in ("px", "py", "pz", "energy")}
    )
    zero = np.zeros_like(energy)
    k = vector.array({"px": zero, "py": zero, "pz": -energy, "E": energy})  # the electron beam is along -z
    expected = dis(k, vector.array({"px": zero, "py": zero, "pz": energy, "E": energy}), one)
    batch = to_batch(events)
    for name, value in expected.items():
        objects = ["Electron[0]"] if name == "nu1" else ["Electron[0]", "beam_energy"]
        observable = standard(name, *objects, direction=-1)
        found = observable.flat(events).values
        # the stored energies are rounded, so q2 of four-vectors is not quite 2 k.k'
        np.testing.assert_allclose(found, value, rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(observable.flat(batch).values, found, rtol=1e-12)
        assert np.isfinite(found).all()
    for name in ("x_bj", "y_dis"):
        found = standard(name, "Electron[0]", "beam_energy", direction=-1).flat(events).values
        assert found.min() > 0
        assert found.max() < 1 + 1e-5
    assert standard("Q2", "Electron[0]", "beam_energy", direction=-1).flat(events).values.min() > 3.99


def test_options_that_do_not_exist_or_have_wrong_values_are_recipe_errors():
    for quantity, options, reason in (
        ("mass", {"variable": "chi"}, "has no options"),
        ("eec", {"variables": "chi"}, "no option 'variables'; did you mean 'variable'"),
        ("eec", {"variable": "phi"}, "variable must be cos_chi or chi or z, not 'phi'"),
        ("eec", {"self_pairs": "no"}, "self_pairs must be true or false"),
        ("teec", {"Q": True}, "Q must be a number or an expression"),
        ("efp", {"number": 36}, "number must be from 0 to 35"),
        ("efp", {"beta": "2"}, "beta must be a number"),
        ("Q2", {"direction": 0}, "direction must be 1 or -1"),
    ):
        with pytest.raises(RecipeError, match=reason):
            standard(quantity, "Jet", "MET", **options) if quantity == "Q2" else standard(
                quantity, "Jet", **options
            )


def test_a_recipe_line_has_options_and_numbers_as_objects():
    made = from_config(
        {"standard": "eec", "objects": ["Parton"], "options": {"variable": "chi"}, "bins": 20}, "e"
    )
    assert made == dataclasses.replace(standard("eec", "Parton", name="e", variable="chi"), bins=20)
    assert made.range == (0.0, math.pi)
    line = {"standard": "Q2", "objects": ["Electron", 27.5], "options": {"direction": -1}}
    assert from_config(line).expression == "2 * 27.5 * (Electron.energy + Electron.pz)"
    with pytest.raises(RecipeError, match="options belong to a standard observable"):
        from_config({"expression": "Jet.pt", "options": {"a": 1}})


# ------------------------------------------------------------------------------------- defaults


def test_all_default_observables_fit_their_schema_and_can_be_drawn(events):
    found = default_observables(events.schema)
    for name, observable in found.items():
        assert name == observable.name
        observable.check(events.schema)
        values, index, _ = observable.flat(events.array)
        weights = np.asarray(events.array.genWeight)[index]
        axis = observable.with_range_from(values, weights).axis()
        assert axis.name == name
        tensor_values = observable.flat(events.batch).values
        np.testing.assert_allclose(values, tensor_values, rtol=1e-9, atol=1e-9)


def test_the_first_set_has_what_a_physicist_looks_at_first(schema):
    found = default_observables(schema)
    for name, expression in {
        "Muon0_pt": "Muon[0].pt",
        "Muon1_charge": "Muon[1].charge",
        "Jet0_energy": "Jet[0].energy",
        "Jet_pt": "Jet.pt",
        "nJet": "nJet",
        "MET_pt": "MET.pt",
        "npv": "npv",
        "Muon01_mass": "(Muon[0] + Muon[1]).mass",
        "Muon01_deltaR": "Muon[0].deltaR(Muon[1])",
        "Jet01_deltaphi": "Jet[0].deltaphi(Jet[1])",
        "system_mass": "(sum(Muon) + sum(Jet)).mass",
        "HT": "sum(Jet.pt)",
        "Muon_MET_mt": "transverse_mass(Muon[0], MET)",
    }.items():
        assert found[name].expression == expression
    assert "genWeight" not in found
    assert "nMuon" not in found
    assert found["nJet"].integer
    assert found["nJet"].axis().size == 8
    assert found["Muon1_charge"].range == (-1.0, 1.0)
    assert found["npv"].range == (3.0, 40.0)
    assert found["Jet0_phi"].range == (-math.pi, math.pi)
    assert (found["Muon0_pt"].unit, found["MET_phi"].unit, found["Muon0_eta"].unit) == ("GeV", "rad", "")
    assert found["Muon01_mass"].title == r"$m_{\mu\mu}$ [GeV]"


def test_defaults_skip_text_and_stop_at_eight_slots():
    fields = tuple(Field(name=n, branches=("b",)) for n in ("px", "py", "pz", "energy"))
    words = Field(name="kind", branches=("k",), dtype="string", kind=Kind.CATEGORY, values=("a", "b"))
    many = Collection(name="Parton", layout="jagged", fields=(*fields, words), min_count=20, max_count=20)
    found = default_observables(EventSchema(collections=(many,)))
    assert "Parton7_px" in found
    assert "Parton8_px" not in found
    assert "Parton_px" in found
    assert not any("kind" in name for name in found)


def test_an_empty_schema_has_no_defaults():
    assert default_observables(EventSchema()) == {}


def test_one_single_object_makes_no_system():
    fields = tuple(Field(name=n, branches=(n,)) for n in ("px", "py", "pz", "energy"))
    electron = Collection(name="Electron", layout="single", fields=fields, min_count=1, max_count=1)
    found = default_observables(EventSchema(collections=(electron,)))
    assert set(found) == {f"Electron_{n}" for n in ("px", "py", "pz", "energy", "pt", "eta", "phi")}


def test_masses_from_a_few_values_are_still_masses_and_not_whole_numbers():
    values = (0.0, 0.33, 1.5, 4.8)
    names = ("px", "py", "pz", "mass")
    fields = tuple(
        Field(name=n, branches=(n,), **({"kind": Kind.CATEGORY, "values": values} if n == "mass" else {}))
        for n in names
    )
    partons = Collection(name="Parton", layout="jagged", fields=fields, max_count=8)
    found = default_observables(EventSchema(collections=(partons,)))["Parton_mass"]
    assert (found.unit, found.integer) == ("GeV", False)


def test_a_pair_alone_is_its_own_system():
    fields = tuple(Field(name=n, branches=(n,)) for n in ("px", "py", "pz", "energy"))
    pair = Collection(name="Lepton", layout="jagged", fields=fields, min_count=2, max_count=2)
    found = default_observables(EventSchema(collections=(pair,)))
    assert "Lepton01_mass" in found
    assert "system_mass" not in found
    assert "system_rapidity" in found


def test_default_observables_of_a_file_agree_between_arrays_and_tensors(shared_data):
    from hepgan.events import read_events, schema_of, to_batch

    for sample in ("zmumu_test", "ee_partons_test", "dis_test_new_energies"):
        array = read_events(f"{shared_data / sample}.root:Events", entry_stop=2000)
        batch = to_batch(array)
        for name, observable in default_observables(schema_of(array)).items():
            observable.check(schema_of(array))
            for one, other in zip(observable.flat(array)[:2], observable.flat(batch)[:2], strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12, err_msg=name)
