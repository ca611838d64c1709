"""Read -> encode -> decode -> write -> read of every development sample."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import NanoEventsFactory

from hepgan.coffea import HepganSchema
from hepgan.events import EventWriter, read_events, schema_of, to_awkward, to_batch
from hepgan.features import FeaturesConfig, Representation
from hepgan.recipes import load_recipe

EVENTS = 5_000
FILES = [
    "zmumu_test.root",
    "drell_yan_test.root",
    "wz_test.root",
    "ee_partons_test.root",
    "dis_test_new_energies.root",
    "dis_test_trained_energies.root",
    "jet_images_test.root",
    "zmumu_train.root",
    "drell_yan_train.root",
    "wz_train.root",
    "ee_partons_train.root",
    "dis_train.root",
    "jet_images_train.root",
    "fatgan/fatgan_50gev.root",
    "fatgan/cfatgan_10gev.root",
    "fatgan/cfatgan_20gev.root",
    "fatgan/cfatgan_30gev.root",
    "fatgan/cfatgan_40gev.root",
    "fatgan/cfatgan_50gev.root",
    "real/uproot-Zmumu.root",
    "real/Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root",
    "real/nano_dy.root",
]


def round_trip(events, features=None):
    schema = schema_of(events)
    batch = to_batch(events, schema)
    representation = Representation(features or FeaturesConfig(), schema).fit(batch)
    encoded = representation.encode(batch)
    angle = None
    if representation.has_azimuth:
        momentum = batch.Muon[:, 0] + batch.Muon[:, 1]
        angle = momentum.phi
    return schema, to_awkward(representation.decode(encoded, angle))


def flat(array):
    values = array
    while values.ndim > 1:
        values = ak.flatten(values, axis=-1)
    return ak.to_numpy(values)


def assert_close(before, after, schema):
    for collection in schema.collections:
        old, new = before[collection.name], after[collection.name]
        if collection.layout == "jagged":
            assert ak.all(ak.num(old) == ak.num(new)), collection.name
        energies = flat(_energy(old)) if collection.coordinates else None
        for field in collection.fields:
            _close(
                flat(old[field.name]),
                flat(new[field.name]),
                f"{collection.name}.{field.name}",
                energies,
                field,
            )
    for field in schema.scalars:
        if field.name != schema.weight:
            _close(flat(before[field.name]), flat(after[field.name]), field.name, None, field)


def _energy(objects):
    """The scale of a momentum's rounding: |p| + m, or pT."""
    names = objects.fields
    if "pt" in names:
        # Beam particles without pt have an eta of 10^4.
        return (
            abs(objects.pt) * np.cosh(np.minimum(abs(objects.eta), 20)) if "eta" in names else abs(objects.pt)
        )
    return np.sqrt(objects.px**2 + objects.py**2 + (objects.pz**2 if "pz" in names else 0))


def _close(old, new, name, energies, field):
    if old.dtype.kind not in "f":
        assert np.array_equal(old, new), name
        return
    scale = np.abs(old.astype(float))
    if energies is not None and field.name in ("px", "py", "pz", "pt", "energy"):
        scale = np.maximum(scale, energies)
    # The energy of an input that is off its mass shell moves onto it: the smearing of dis_* moves it by up
    # to 1e-5, and energies of the fatgan files are rounded to an MeV.
    tolerance, step = (1e-5, 1.2e-3) if field.name == "energy" else (1e-6, 1e-6)
    excess = np.abs(new.astype(float) - old) - tolerance * scale - step
    assert np.nanmax(excess, initial=0.0) <= 0, f"{name}: {np.nanmax(excess):.2g}"


def few_of_each(branches):
    """Momenta and five other fields of each of NanoAOD's collections, and all branches of no collection.

    Two thirds of its branches are triggers, which are all alike; a rapidity of the Higgs boson is NaN.
    """
    collections, kept = {}, []
    for branch in branches:
        collection, _, field = branch.partition("_")
        if not field or field in ("pt", "eta", "phi", "mass", "charge"):
            kept.append(branch)
        elif branch != "HTXS_Higgs_y":
            collections.setdefault(collection, []).append(branch)
    return kept + [b for fields in collections.values() for b in fields[:5]]


@pytest.mark.parametrize("name", FILES)
def test_every_sample_comes_back_through_the_features(shared_data, tmp_path, name):
    path = shared_data / name
    branches = None
    if "nano_dy" in name:
        with uproot.open(path) as file:
            branches = few_of_each(file["Events"].keys())
    events = read_events(path, entry_stop=EVENTS, branches=branches)
    schema, decoded = round_trip(events)
    assert_close(events, decoded, schema)
    out = tmp_path / "out.root"
    with EventWriter(out, schema, format="rntuple" if "nano_dy" in name else "ttree") as writer:
        writer.extend(decoded)
    again = read_events(out)
    assert {f.name for f in schema.identifiers} == set(again.fields) - set(decoded.fields)
    again = again[decoded.fields]
    assert ak.almost_equal(
        ak.without_parameters(again), ak.without_parameters(decoded), rtol=0, atol=0, check_parameters=False
    )
    with uproot.open(path) as old, uproot.open(out) as new:
        names = {k.split(";")[0] for k in old.keys(cycle=False)}
        tree = schema.tree
        assert tree in names
        before = {b for b in old[tree].keys() if not b.startswith("_collection")}  # noqa: SIM118
        after = {b for b in new[tree].keys() if not b.startswith("_collection")}  # noqa: SIM118
    assert after == (before if branches is None else set(branches))


def test_the_best_representation_returns_the_events_and_coffea_reads_them(shared_data, tmp_path):
    events = read_events(shared_data / "zmumu_test.root", entry_stop=EVENTS)
    schema, decoded = round_trip(events, load_recipe("zmumu").features)
    assert_close(events, decoded, schema)
    out = tmp_path / "zmumu.root"
    with EventWriter(out, schema, identifiers=True) as writer:
        writer.extend(decoded)
    nano = NanoEventsFactory.from_root({str(out): "Events"}, schemaclass=HepganSchema, mode="eager").events()
    assert ak.all(ak.num(nano.Muon) == 2)
    assert np.allclose(
        ak.to_numpy((nano.Muon[:, 0] + nano.Muon[:, 1]).mass),
        ak.to_numpy((events.Muon[:, 0] + events.Muon[:, 1]).mass),
        rtol=1e-3,  # coffea adds forward muons in float32
    )
