"""The development samples, through the representations that their recipes use and the automatic ones."""

from __future__ import annotations

import pytest
import torch
from feature_samples import rng

from hepgan.events import EventBatch, read_events, schema_of, select, to_batch
from hepgan.features.config import FeaturesConfig
from hepgan.features.representation import Representation

Z = {"kind": "decay", "name": "Z", "children": ["Muon[0]", "Muon[1]"]}
WZ = {
    "kind": "decay",
    "name": "WZ",
    "children": [
        {"name": "Z", "children": ["Particle[0]", "Particle[1]"]},
        {"name": "W", "children": ["Particle[2]", "Particle[3]"]},
    ],
}
UPPER = {"kind": "log_edge", "edge": 50.0, "side": "upper"}
SAMPLES = {
    "zmumu": (
        "zmumu_train.root:Events",
        {
            "azimuth": "Muon[0] + Muon[1]",
            "blocks": [Z, {"kind": "objects", "collection": "MET", "coordinates": ["px", "py"]}],
            "bounds": {
                "Muon.pt": [10, None],
                "Muon.eta": [-5, 5],
                "Jet.pt": [15, None],
                "Jet.eta": [-5, 5],
            },
        },
        (),
    ),
    "drell_yan": (
        "drell_yan_train.root:Events",
        {
            "azimuth": "Lepton[0]",
            "blocks": [{"kind": "decay", "name": "Z", "children": ["Lepton[0]", "Lepton[1]"]}],
        },
        (),
    ),
    "wz": ("wz_train.root:Events", {"azimuth": "Particle[0] + Particle[1]", "blocks": [WZ]}, ()),
    "ee_partons": (
        "ee_partons_train.root:Events",
        {"blocks": [{"kind": "objects", "collection": "Parton", "coordinates": ["p", "costheta", "phi"]}]},
        (),
    ),
    "dis": ("dis_train.root:Events", {"azimuth": "Electron[0]"}, ("beam_energy",)),
    "fatgan": (
        "fatgan/fatgan_50gev.root:Events",
        {
            "transform": "standardise",
            "blocks": [{"kind": "objects", "collection": "Electron", "transforms": {"pz": UPPER}}],
        },
        (),
    ),
    "jet_images": ("jet_images_train.root:Events", {}, ("label",)),
    "cms_open_data": (
        "real/Run2012BC_DoubleMuParked_Muons_1000evts_rntuple_v1-0-0-0.root:Events",
        {},
        (),
    ),
}
EVENTS = {"jet_images": 300, "cms_open_data": 1000}


def sample(folder, name):
    path = SAMPLES[name][0]
    events = to_batch(read_events(f"{folder}/{path}", entry_stop=EVENTS.get(name, 3000)))
    return events


def represent(events, config, conditions=()):
    return Representation(FeaturesConfig.model_validate(config), events.schema, conditions).fit(events)


def momentum_scale(objects):
    sizes = [objects.fields[n].abs() for n in ("energy", "pt", "px", "py", "pz") if n in objects.fields]
    return sum(sizes) if sizes else None


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("best", [False, True], ids=["automatic", "recipe"])
def test_samples_come_back(shared_data, name, best):
    events = sample(shared_data, name)
    _, config, conditions = SAMPLES[name]
    representation = represent(events, config if best else {}, conditions)
    features = representation.encode(events)
    assert torch.isfinite(features.x).all()
    assert features.x.shape == (len(events), representation.size)
    back = representation.decode(features, representation.azimuth(events))
    for collection, objects in events.collections.items():
        scale = momentum_scale(objects)
        for field, values in objects.fields.items():
            found = back.collections[collection].fields[field]
            if values.numel() == 0 or not values.is_floating_point():
                assert torch.equal(found, values), field
                continue
            off = (found - values).abs()
            if field == "phi":
                off = torch.minimum(off, 2 * torch.pi - off)
                assert float(off.max()) < 1e-7, field
            elif field in ("energy", "px", "py", "pz", "pt"):
                # As far as float32 in the file leaves momenta on the mass shell and balanced; float32
                # arithmetic made the electrons of the FAT-GAN paper.
                tolerance = 2e-5 if name == "fatgan" else 3e-7
                assert (off <= tolerance * scale + 1e-12).all(), field
            else:
                assert (off <= 1e-9 * (values.abs() + 1e-3)).all(), field
    for scalar, values in events.scalars.items():
        torch.testing.assert_close(back.scalars[scalar], values, rtol=1e-9, atol=1e-12, msg=scalar)


@pytest.mark.parametrize("name", SAMPLES)
def test_random_features_make_physical_events_of_every_sample(shared_data, name):
    events = sample(shared_data, name)
    _, config, conditions = SAMPLES[name]
    representation = represent(events, config, conditions)
    features = representation.encode(events)
    x = 3 * torch.randn(features.x.shape, generator=rng(1), dtype=torch.float64)
    x = x if features.mask is None else torch.where(features.mask, x, 0.0)
    made = representation.decode(features.with_x(x.requires_grad_()))
    total = torch.zeros((), dtype=torch.float64)
    for collection, objects in made.collections.items():
        for field, values in objects.fields.items():
            assert torch.isfinite(values).all(), (collection, field)
            total = total + values.sum() if values.is_floating_point() else total
        fields = objects.fields
        if {"px", "py", "pz", "energy"} <= set(fields):
            # To the rounding of E^2, nothing is lighter than light.
            m2 = fields["energy"] ** 2 - fields["px"] ** 2 - fields["py"] ** 2 - fields["pz"] ** 2
            assert (m2 >= -1e-14 * fields["energy"] ** 2).all(), collection
    (gradient,) = torch.autograd.grad(total, x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("name", "collection", "columns"), [("drell_yan", "Lepton", 3), ("wz", "Particle", 9)]
)
def test_parton_level_systems_conserve_transverse_momentum_by_construction(
    shared_data, name, collection, columns
):
    events = sample(shared_data, name)
    representation = represent(events, SAMPLES[name][1])
    assert representation.size == columns
    features = representation.encode(events)
    x = torch.randn(features.x.shape, generator=rng(2), dtype=torch.float64)
    angle = 6 * torch.rand(len(events), generator=rng(3), dtype=torch.float64) - 3
    made = representation.decode(features.with_x(x), angle).collections[collection]
    for component in (made.px, made.py):
        assert (component.sum(1).abs() <= 1e-9).all()


def test_the_nested_decay_keeps_w_and_z_peaks_as_features(shared_data):
    events = sample(shared_data, "wz")
    representation = represent(events, SAMPLES["wz"][1])
    raw = representation.codec.standard.inverse(representation.encode(events).x)
    names = [c.name for b in representation.codec.parts for c in b.columns]
    z = (events.Particle[:, 0] + events.Particle[:, 1]).mass
    # Counted from what the heavier leptons need, so that the peak is the same for both kinds.
    threshold = events.Particle.mass[:, :2].sum(1).max()
    torch.testing.assert_close(raw[:, names.index("Z.mass")] + threshold, z, rtol=1e-5, atol=0)


@pytest.mark.parametrize("recipe", ["dy-gan", "dy-gan-7"])
def test_dy_gan_features_are_those_of_the_paper(shared_data, recipe):
    fields = ["Muon.pt", "Muon.eta", "Muon.phi", "Muon.mass"]
    config = {
        "azimuth": "Muon[0]",
        "transform": "standardise",
        "blocks": [
            {
                "kind": "objects",
                "collection": "Muon",
                "coordinates": ["px", "py", "pz", "energy"],
                "order": False,
            }
        ],
    }
    expected = [f"Muon[{i}].{c}" for c in ("px", "py", "pz", "energy") for i in (0, 1)]
    expected.remove("Muon[0].py")
    if recipe == "dy-gan":
        fields += ["Muon.isoCh", "Muon.isoPh", "Muon.isoNh", "Jet.pt", "MET", "PV"]
        isolations = [f"Muon[0].{f}" for f in ("isoCh", "isoPh", "isoNh")]
        config["blocks"] += [
            {"kind": "fields", "fields": isolations},
            {"kind": "objects", "collection": "Jet", "count": "threshold", "threshold": {"pt": 15.0}},
            {"kind": "objects", "collection": "MET", "coordinates": ["px", "py"]},
        ]
        config["discrete"] = {"PV.npvs": "smear", **{f"Muon.{f[8:]}": "continuous" for f in isolations}}
        jets = [f"Jet[{i}].pt" for i in range(5)]
        expected += [*isolations, *jets, "MET.px", "MET.py", "PV.npvs"]
    read = read_events(f"{shared_data}/zmumu_train.root:Events", entry_stop=3000)
    events = to_batch(read, select(schema_of(read), fields))
    representation = represent(events, config)
    assert list(representation.names) == expected
    assert representation.variables == ()
    back = representation.decode(representation.encode(events), representation.azimuth(events))
    torch.testing.assert_close(back.Muon.pt, events.Muon.pt, rtol=1e-9, atol=0)
    if recipe == "dy-gan":
        assert torch.equal(back.Jet.mask, events.Jet.mask)
        torch.testing.assert_close(back.Jet.pt, events.Jet.pt)


def test_branches_measured_apart_from_the_momenta_keep_their_own_values(shared_data):
    read = read_events(f"{shared_data}/real/uproot-Zmumu.root:events")
    events = to_batch(read)
    representation = represent(events, {})
    back = representation.decode(representation.encode(events))
    (name,) = events.collections
    objects, found = events.collections[name], back.collections[name]
    assert {"px", "py", "pz", "pt", "eta", "phi", "energy"} <= set(objects.fields)
    for field in ("px", "py", "pz"):
        torch.testing.assert_close(found.fields[field], objects.fields[field], rtol=1e-9, atol=1e-9)
    for field in ("pt", "eta", "phi"):
        torch.testing.assert_close(found.fields[field], objects.fields[field], rtol=1e-6, atol=1e-6)
    # For events of type TT they are one measurement, for others two.
    tracks = torch.from_numpy((read["Type"] == "TT").to_numpy())
    discrete = representation.encode(events).discrete
    apart = [(i, v) for i, v in enumerate(representation.variables) if v.name.endswith("pt:own:atom")]
    assert [v.values for _, v in apart] == [(0.0, 1.0), (0.0, 1.0)]
    chosen = discrete[:, [i for i, _ in apart]]
    assert bool((chosen[tracks] == 1).all())
    assert not bool((chosen[~tracks] == 1).all(1).any())


def test_a_nanoaod_file_comes_back(shared_data):
    names = [
        "Muon_*",
        "nMuon",
        "Jet_*",
        "nJet",
        "Electron_*",
        "nElectron",
        "MET_*",
        "GenPart_*",
        "nGenPart",
    ]
    events = to_batch(read_events(f"{shared_data}/real/nano_dy.root:Events", branches=names))
    representation = represent(events, {})
    back = representation.decode(representation.encode(events))
    assert isinstance(back, EventBatch)
    for collection, objects in events.collections.items():
        for field, values in objects.fields.items():
            found = back.collections[collection].fields[field]
            assert found.shape == values.shape
            torch.testing.assert_close(
                found.double(), values.double(), rtol=1e-6, atol=1e-6, msg=f"{collection}.{field}"
            )
