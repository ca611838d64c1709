"""LHE and HepMC files, as generators write them and as other libraries read them."""

from __future__ import annotations

import gzip
from pathlib import Path

import awkward as ak
import numpy as np
import pyhepmc
import pylhe
import pytest
from particle_toys import BEAM, write_lhe, z_events
from toys import dimuons
from whole_way import whole_way

from hepgan import read_events, write_events
from hepgan.cli import cli
from hepgan.cli.console import run
from hepgan.errors import InputError, OutputError
from hepgan.events import as_events, count_events, iterate_events, schema_of
from hepgan.events.header import Header, Process

N = 300
MOMENTUM = ("px", "py", "pz", "energy")


@pytest.fixture(scope="module")
def lhe(tmp_path_factory) -> Path:
    return write_lhe(tmp_path_factory.mktemp("lhe") / "a.lhe", N)


def records(path: Path) -> list[pylhe.LHEEvent]:
    return list(pylhe.LHEFile.fromfile(str(path), generator=False).events)


def same(one: list[pylhe.LHEEvent], two: list[pylhe.LHEEvent]) -> None:
    """Numbers that are given are the same, momenta that follow from others as precise as they were."""
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert (a.eventinfo, a.weights) == (b.eventinfo, b.weights)
        for p, q in zip(a.particles, b.particles, strict=True):
            for name in ("id", "status", "mother1", "mother2", "color1", "color2", "lifetime", "spin"):
                assert getattr(p, name) == getattr(q, name)
            exact = p.status == 1
            for name in ("px", "py", "pz", "e", "m"):
                assert getattr(p, name) == pytest.approx(getattr(q, name), abs=0 if exact else 1e-4)


# ------------------------------------------------------------------ LHE


def test_numbers_of_lhe_files_are_those_that_pylhe_reads(lhe):
    events = read_events(lhe)
    true = records(lhe)
    assert count_events(lhe) == N
    assert ak.all(ak.num(events.Particle) == 2)
    assert ak.all(ak.num(events.Incoming) == 2)
    for name, theirs in zip((*MOMENTUM, "id", "spin"), ("px", "py", "pz", "e", "id", "spin"), strict=True):
        assert events.Particle[name].tolist() == [
            [getattr(p, theirs) for p in e.particles if p.status == 1] for e in true
        ]
    assert events.Intermediate.mother2.tolist() == [[2]] * N
    assert events.Particle.mother1.tolist() == [[3, 3]] * N
    assert events["variation_MUR=2.0"].tolist() == [e.weights["MUR=2.0"] for e in true]
    assert events.process.tolist() == [e.eventinfo.pid for e in true]
    schema = schema_of(events)
    assert schema.weight == "weight"
    header = schema.header
    assert header.beams == ((2212, BEAM), (2212, BEAM))
    assert header.pdfs == ((0, 247000), (0, 247000))
    assert (header.cross_section, header.error) == (2000.0, pytest.approx(13**0.5))
    assert header.mothers == ((0, 0), (0, 0), (1, 2), (3, 3), (3, 3))


@pytest.mark.parametrize("name", ["b.lhe", "b.lhe.gz"])
def test_lhe_files_come_back(lhe, tmp_path, name):
    events = read_events(lhe)
    path = write_events(tmp_path / name, events, batch=77)
    same(records(lhe), records(path))
    again = read_events(path)
    assert all(ak.array_equal(again[n], events[n]) for n in events.fields)
    init = pylhe.LHEFile.fromfile(str(path), generator=False).init
    assert (init.initInfo.beamA, init.initInfo.energyB, init.initInfo.PDFsetA) == (2212, BEAM, 247000)
    assert [(p.procId, p.xSection, p.error) for p in init.procInfo] == [(1, 1200.0, 3.0), (2, 800.0, 2.0)]
    # All weigh alike, so the cross section is that of the init block.
    assert init.initInfo.weightingStrategy == -3


def test_the_same_events_make_the_same_file(lhe, tmp_path):
    events = read_events(lhe)
    one = write_events(tmp_path / "a.lhe.gz", events, batch=50)
    two = write_events(tmp_path / "b.lhe.gz", events, batch=50)
    assert one.read_bytes() == two.read_bytes()
    assert gzip.decompress(one.read_bytes()) == write_events(tmp_path / "a.lhe", events).read_bytes()


def test_events_are_read_in_any_order(lhe):
    whole = read_events(lhe)
    parts = list(iterate_events(lhe, step=70))
    assert [len(p) for p in parts] == [70, 70, 70, 70, 20]
    assert ak.array_equal(ak.concatenate(parts).Particle.px, whole.Particle.px)
    assert ak.array_equal(read_events(lhe, entry_start=200).weight, whole.weight[200:])


def test_momenta_that_are_not_conserved_are_kept(tmp_path):
    path = write_lhe(tmp_path / "a.lhe", 40)
    lines = path.read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line == "<event>") + 2
    words = lines[at].split()
    lines[at] = " ".join([*words[:9], "20000.0", *words[10:]])  # the energy of an incoming parton
    path.write_text("\n".join(lines) + "\n")
    events = read_events(path)
    assert events.Incoming.energy[0, 0] == 20000.0
    same(records(path), records(write_events(tmp_path / "b.lhe", events)))


def test_momenta_that_incoming_particles_cannot_balance_are_told(lhe, tmp_path):
    events = read_events(lhe)
    particles = events.Particle
    for name in ("px", "energy"):
        particles = ak.with_field(particles, events.Particle[name] + 1.0, name)
    shifted = ak.with_field(events, particles, "Particle")
    with pytest.warns(UserWarning, match=f"do not sum to 0 in {N} of the first {N} events"):
        write_events(tmp_path / "a.lhe", shifted)


def test_records_in_another_order_keep_their_mothers(tmp_path):
    path = write_lhe(tmp_path / "a.lhe", 30, weights=False)
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        if line == "<event>":  # the muons before their mother
            z, first, second = lines[i + 4 : i + 7]
            muons = [f"{w[0]} {w[1]} 5 5 {' '.join(w[4:])}" for w in (first.split(), second.split())]
            lines[i + 4 : i + 7] = [*muons, z]
    path.write_text("\n".join(lines) + "\n")
    events = read_events(path)
    assert events.Particle.mother1.tolist() == [[3, 3]] * 30
    for event in records(write_events(tmp_path / "b.lhe", events)):
        z, one, two = event.particles[2:]
        assert z.id == 23
        assert z.e == pytest.approx(one.e + two.e)


@pytest.mark.parametrize("name", ["a.lhe", "a.lhe.gz"])
def test_lhe_files_that_are_not_whole_are_errors(lhe, tmp_path, name):
    text = lhe.read_bytes()
    path = tmp_path / name
    pack = gzip.compress if name.endswith("gz") else bytes
    path.write_bytes(pack(text[: len(text) // 2]))
    with pytest.raises(InputError, match="truncated, or no LHE file"):
        read_events(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        read_events(path)
    path.write_bytes(pack(text.replace(b"</init>", b"</inti>")))
    with pytest.raises(InputError, match="not a whole LHE file"):
        read_events(path)


def test_what_makes_no_particles_is_refused(tmp_path):
    for name in ("a.lhe", "a.hepmc"):
        with pytest.raises(OutputError, match=r"needs particles with PDG ids .* which no collection has"):
            write_events(tmp_path / name, dimuons(20))
        flat = as_events({f"Muon_{n}": [[1.0]] * 20 for n in ("pt", "phi")} | {"Muon_pdgId": [[13]] * 20})
        with pytest.raises(OutputError, match=r"needs px, py, pz and energy, or pt, .* of Muon"):
            write_events(tmp_path / name, flat)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.lhe", "a.hepmc"])
def test_any_particles_with_ids_are_written_and_what_has_no_place_is_told(tmp_path, name):
    events = dimuons(25)
    muons = ak.with_field(events.Muon, np.int32(-13) * events.Muon.charge, "pdgId")
    with pytest.warns(UserWarning, match=r"files have no place for .*MET"):
        path = write_events(tmp_path / name, ak.with_field(events, muons, "Muon"))
    if name == "a.lhe":
        found = [[(p.id, p.px, p.e) for p in e.particles] for e in records(path)]
        init = pylhe.LHEFile.fromfile(str(path), generator=False).init
        assert init.procInfo[0].xSection == 1.0
        assert "No cross section is known" in path.read_text()
    else:
        with pyhepmc.open(path) as file:
            found = [
                [(p.pid, p.momentum.px, p.momentum.e) for p in e.particles if p.status == 1] for e in file
            ]
    assert [[p[0] for p in e] for e in found] == muons.pdgId.tolist()
    assert np.allclose([p[1] for e in found for p in e], ak.flatten(muons.px), rtol=1e-6)
    assert np.allclose([p[2] for e in found for p in e], ak.flatten(muons.energy), rtol=1e-6)


def test_momenta_in_other_units_are_written_in_gev(lhe, tmp_path):
    events = read_events(lhe)
    mev = schema_of(events).model_copy(update={"unit": "MeV"})
    again = read_events(write_events(tmp_path / "a.lhe", events, schema=mev))
    for name in MOMENTUM:
        one, two = (ak.flatten(e.Particle[name]) for e in (again, events))
        assert np.allclose(one * 1000, two, rtol=1e-12)


# ------------------------------------------------------------------ HepMC


@pytest.mark.filterwarnings("ignore:HepMC files have no place for scale")
@pytest.mark.parametrize("name", ["a.hepmc", "a.hepmc3.gz"])
def test_hepmc_files_have_vertices_weights_and_cross_sections(lhe, tmp_path, name):
    events = read_events(lhe)
    path = write_events(tmp_path / name, events)
    with pyhepmc.open(path) as file:
        found = list(file)
    assert len(found) == N
    first = found[0]
    assert [p.status for p in first.particles] == [21, 21, 2, 1, 1]
    assert [[m.id for m in p.parents] for p in first.particles] == [[], [], [1, 2], [3], [3]]
    assert first.weight_names == ["weight", "1001", "MUR=2.0"]
    assert first.weights == [2000.0, events["variation_1001"][0], events["variation_MUR=2.0"][0]]
    assert first.cross_section.xsec() == 2000.0
    final = read_events(path)
    for field in (*MOMENTUM, "mass", "id"):
        assert ak.array_equal(final.Particle[field], events.Particle[field])
    assert ak.array_equal(final["variation_1001"], events["variation_1001"])
    assert schema_of(final).header.cross_section == 2000.0
    everything = read_events(f"{path}:all")
    assert everything.Particle.mother1[0].tolist() == [0, 0, 1, 3, 3]
    assert everything.Particle.mother2[0].tolist() == [0, 0, 2, 3, 3]
    again = read_events(f"{write_events(tmp_path / 'b.hepmc', everything)}:all")
    assert ak.array_equal(again.Particle, everything.Particle)
    with pytest.raises(InputError, match="no particles 'some'; there are final"):
        read_events(f"{path}:some")


def test_momenta_in_mev_are_read_in_gev(tmp_path):
    particles = z_events(5)[:, 3:]
    path = tmp_path / "a.hepmc"
    with pyhepmc.open(path, "w", precision=16) as file:
        for p in particles:
            made = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
            numbers = [np.ascontiguousarray(p[:, k]) for k in (6, 7, 8, 9, 10)]
            made.from_hepevt(0, *numbers, p[:, 0].astype(np.int32), p[:, 1].astype(np.int32))
            made.set_units(pyhepmc.Units.MEV, pyhepmc.Units.MM)
            made.weights = [1.0]
            file.write(made)
    assert "U MEV MM" in path.read_text()
    found = read_events(path).Particle
    assert ak.to_numpy(found.energy) == pytest.approx(particles[:, :, 9], rel=1e-12)
    assert ak.to_numpy(found.px) == pytest.approx(particles[:, :, 6], rel=1e-12)


def test_hepmc_files_that_are_not_whole_are_errors(lhe, tmp_path):
    events = read_events(lhe)[["Particle", "weight"]]
    path = write_events(tmp_path / "a.hepmc", events)
    text = path.read_bytes()
    path.write_bytes(text[: len(text) // 2])
    with pytest.raises(InputError, match="truncated, or no HepMC file"):
        read_events(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="empty"):
        read_events(path)


# ------------------------------------------------------------------ the whole way


@pytest.mark.filterwarnings("ignore:HepMC files have no place for")
@pytest.mark.parametrize("ending", [".lhe", ".hepmc"])
def test_files_of_generators_go_the_whole_way(ending, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_lhe(Path("a.lhe"), 600, weights=False)
    if ending == ".hepmc":
        path = write_events("a.hepmc", read_events(path))
    made = Path(f"generated{ending}.gz")
    whole_way(str(path), made, monkeypatch)
    events = read_events(made)
    assert events.fields == read_events(path).fields
    total = ak.sum(events.Particle.px, axis=1), ak.sum(events.Particle.py, axis=1)
    assert np.abs(total).max() < 1e-9
    assert ak.all(ak.sum(events.Particle.id, axis=1) == 0)
    if ending == ".hepmc":
        return
    for event in records(made)[:50]:
        assert [p.status for p in event.particles] == [-1, -1, 2, 1, 1]
        assert [(p.mother1, p.mother2) for p in event.particles[2:]] == [(1, 2), (3, 3), (3, 3)]
        assert [p.px for p in event.particles[:2]] == [0.0, 0.0]
        for name in ("pz", "e"):
            into, out = (sum(getattr(p, name) for p in event.particles if p.status == s) for s in (-1, 1))
            assert into == pytest.approx(out, rel=1e-9)
        assert {event.particles[0].id, event.particles[1].id} in ({1, -1}, {2, -2})
    line = "generate my.safetensors -n 100 -o section.lhe --cross-section 7"
    assert run(cli, line.split()) == 0
    init = pylhe.LHEFile.fromfile("section.lhe", generator=False).init
    assert sum(p.xSection for p in init.procInfo) == pytest.approx(7.0)
    assert sum(e.eventinfo.weight for e in records(Path("section.lhe"))) == pytest.approx(7.0)


def test_cross_sections_are_shared_as_they_were():
    header = Header(processes=(Process(id=3, cross_section=2.0, error=0.2), Process(id=4, cross_section=6.0)))
    scaled = header.with_cross_section(4.0)
    assert [(p.id, p.cross_section, p.error) for p in scaled.processes] == [(3, 1.0, 0.1), (4, 3.0, 0.0)]
    assert Header().with_cross_section(4.0).cross_section == 4.0
    assert Header().cross_section is None
