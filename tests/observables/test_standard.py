from __future__ import annotations

import math
import warnings

import awkward as ak
import numpy as np
import pytest
import vector

from hepgan.errors import RecipeError
from hepgan.events.schema import Collection, EventSchema, Field, Kind
from hepgan.observables import STANDARD, default_observables, standard


def values(observable, **events):
    return observable.flat(ak.Array(events))[0]


def lepton(**coordinates):
    return [{k: float(v) for k, v in coordinates.items()}]


def test_every_standard_observable_is_an_expression_that_fits_some_events(events):
    places = {"Electron": "Muon[0]", "beam_energy": "beam_energy"}
    for name, definition in STANDARD.items():
        objects = [places.get(o, o) for o in definition.defaults]
        if not objects:
            objects = ["Jet"] if name == "count" else ["Muon[0]", "Muon[1]"][: definition.objects[1]]
        checked = standard(name, *objects).check(events.schema)
        assert checked.per_event, name


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
        for label in labels:
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
    q = k - scattered
    electron = {"px": scattered.px, "py": scattered.py, "pz": scattered.pz, "energy": scattered.E}
    array = {"Electron": [electron], "beam_energy": [beam]}
    expected = {
        "Q2": -q.dot(q),
        "x_bj": -q.dot(q) / (2 * proton.dot(q)),
        "y_dis": proton.dot(q) / proton.dot(k),
        "W2": (proton + q).dot(proton + q),
    }
    for name, value in expected.items():
        assert values(standard(name), **array)[0] == pytest.approx(value), name


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
