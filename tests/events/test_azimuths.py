"""Azimuths from 0 to 2 pi, and in degrees."""

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
import vector

from hepgan import InputError
from hepgan.events import infer_schema, read_events, schema_of, to_awkward, to_batch, write_events
from hepgan.events.angles import in_degrees
from hepgan.features import FeaturesConfig, Representation
from hepgan.observables import Observable
from hepgan.recipes.drafting.draft import draft_recipe

RNG = np.random.default_rng(6)
N = 2000
TURNS = {
    "around 0": (-np.pi, np.pi),
    "from 0": (0.0, 2 * np.pi),
    "degrees": (-180.0, 180.0),
    "degrees from 0": (0.0, 360.0),
}


def pairs(path, turn, dtype="float32"):
    """Two muons back to back, and missing momentum."""
    low, high = TURNS[turn]
    period, unit = high - low, (high - low) / (2 * np.pi)
    phi = RNG.uniform(-np.pi, np.pi, N)
    other = phi + np.pi + RNG.normal(0, 0.2, N)

    def stored(angles):
        return (low + np.mod(angles * unit - low, period)).astype(dtype)

    pt = 20 + RNG.exponential(20, (2, N))
    muons = {
        "pt": np.sort(pt, axis=0)[::-1].T,
        "eta": RNG.normal(0, 1, (N, 2)),
        "phi": np.stack([stored(phi), stored(other)], 1),
        "mass": np.full((N, 2), 0.10566),
    }
    lists = ak.zip({n: ak.from_regular(v.astype(dtype)) for n, v in muons.items()})
    met = {"MET_pt": RNG.exponential(20, N).astype(dtype), "MET_phi": stored(phi + RNG.normal(0, 1, N))}
    with uproot.recreate(path) as file:
        file.mktree("Events", {"Muon": lists.type, **{n: v.dtype for n, v in met.items()}})
        file["Events"].extend({"Muon": lists, **met})
    return phi, other


@pytest.fixture(params=TURNS)
def turn(request):
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_azimuths_are_read_and_written_as_they_are(turn, dtype, tmp_path):
    pairs(tmp_path / "in.root", turn, dtype)
    events = read_events(tmp_path / "in.root")
    field = schema_of(events).collection("Muon").field("phi")
    assert field.degrees == turn.startswith("degrees")
    write_events(tmp_path / "out.root", events)
    write_events(tmp_path / "batch.root", to_awkward(to_batch(events)))
    first = uproot.open(tmp_path / "in.root")["Events"]
    for name in ("out.root", "batch.root"):
        again = uproot.open(tmp_path / name)["Events"]
        for branch in ("Muon_phi", "MET_phi"):
            a, b = (ak.to_numpy(ak.flatten(t[branch].array(), axis=None)) for t in (first, again))
            assert a.tobytes() == b.tobytes()


def test_physics_has_them_in_radians(turn, tmp_path):
    phi, other = pairs(tmp_path / "in.root", turn)
    events = read_events(tmp_path / "in.root")
    wanted = (np.mod(phi - other + np.pi, 2 * np.pi) - np.pi).astype(float)
    for seen in (events, to_batch(events)):
        values = np.asarray(Observable("o", "Muon[0].phi").flat(seen).values)
        np.testing.assert_allclose(np.cos(values), np.cos(phi), atol=1e-5)
        assert np.abs(values).max() <= np.pi + 1e-5
        found = np.asarray(Observable("o", "Muon[0].deltaphi(Muon[1])").flat(seen).values)
        np.testing.assert_allclose(np.cos(found), np.cos(wanted), atol=1e-4)
        muons = [
            vector.array(
                {n: ak.to_numpy(events.Muon[n][:, i]).astype(float) for n in ("pt", "eta", "mass")}
                | {"phi": (phi, other)[i]}
            )
            for i in (0, 1)
        ]
        mass = np.asarray(Observable("o", "(Muon[0] + Muon[1]).mass").flat(seen).values)
        np.testing.assert_allclose(mass, (muons[0] + muons[1]).mass, rtol=1e-4)


@pytest.mark.parametrize("azimuth", [None, "Muon[0]", "Muon[0] + Muon[1]"])
def test_generated_azimuths_are_in_the_range_and_unit_of_the_file(turn, azimuth, tmp_path):
    pairs(tmp_path / "in.root", turn)
    batch = to_batch(read_events(tmp_path / "in.root"))
    representation = Representation(FeaturesConfig(azimuth=azimuth), batch.schema).fit(batch)
    features = representation.encode(batch)
    turned = None if azimuth is None else torch.linspace(-np.pi, np.pi, N, dtype=torch.float64)
    made = to_awkward(representation.decode(features, turned))
    low, high = TURNS[turn]
    for found in (ak.to_numpy(ak.flatten(made.Muon.phi)), ak.to_numpy(made.MET.phi)):
        assert found.dtype == np.float32
        assert found.min() >= low
        assert float(found.max()) <= high
        # Everywhere in the turn.
        assert (np.histogram(found, bins=8, range=(low, high))[0] > 200).all()
    back = Observable("o", "abs(Muon[0].deltaphi(Muon[1]))")
    np.testing.assert_allclose(
        np.asarray(back.flat(made).values), np.asarray(back.flat(batch).values), atol=2e-4
    )


def test_drafts_divide_the_azimuth_out(turn, tmp_path):
    pairs(tmp_path / "in.root", turn)
    text = draft_recipe(f"{tmp_path}/in.root:Events", name="pairs")
    assert "  azimuth: " in text
    assert "azimuth: null" not in text


def test_what_is_in_no_turn_is_a_fault(tmp_path):
    pairs(tmp_path / "in.root", "around 0")
    schema = infer_schema(tmp_path / "in.root")
    pairs(tmp_path / "other.root", "from 0")
    with pytest.raises(InputError, match=r"outside \[-pi, pi\]"):
        read_events(tmp_path / "other.root", schema=schema)
    values = RNG.uniform(-np.pi, np.pi, N)
    assert not in_degrees(values)
    values[3] = 90.0
    assert not in_degrees(values)
