"""Small files as the field has them: names, types and oddities of public formats, with toy events in them.

    python benchmarks/field_files.py FOLDER [--layouts Delphes ...] [--events 3000]

writes ``delphes_train.root`` and ``delphes_test.root``.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from common import parser_of
from showers import showers

__all__ = ["LAYOUTS", "Layout", "Toys", "write_files"]

MUON, Z = 0.1056584, 91.19


# ------------------------------------------------------------------ events to be written


class Toys:
    """Z -> mumu with jets and missing momentum, in GeV, as numpy columns; objects are in rows, in a row.

    Attributes:
        n: The number of events.
        muons: pt, eta, phi, charge (N, 2), ordered in pt.
        jets: How many (N,), and pt, eta, phi, mass of all of them (J,), ordered in pt in each event.
    """

    def __init__(self, n: int, seed: int) -> None:
        self.rng = rng = np.random.default_rng(seed)
        self.n = n
        pt, y, phi = rng.gamma(1.5, 12, n), rng.normal(0, 1.6, n), rng.uniform(-np.pi, np.pi, n)
        mass = np.abs(Z + 1.25 * rng.standard_cauchy(n).clip(-15, 15))
        cos, psi = rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)
        sin, half = np.sqrt(1 - cos**2), np.sqrt(np.square(mass / 2) - MUON**2)
        star = half * np.stack([sin * np.cos(psi), sin * np.sin(psi), cos])
        transverse = np.sqrt(mass**2 + pt**2)
        z = np.stack([pt * np.cos(phi), pt * np.sin(phi), transverse * np.sinh(y)])
        energy = transverse * np.cosh(y)
        legs = []
        for sign in (1, -1):
            along = (z * sign * star).sum(0)
            legs.append(sign * star + z * (along / (mass * (energy + mass)) + 0.5))
        p = np.stack(legs, 1)  # (3, 2, N)
        muon = {
            "pt": np.hypot(p[0], p[1]).T,
            "eta": np.arcsinh(p[2] / np.hypot(p[0], p[1])).T,
            "phi": np.arctan2(p[1], p[0]).T,
            "charge": np.stack([np.where(rng.random(n) < 0.5, 1, -1)] * 2, 1) * [1, -1],
        }
        order = np.argsort(-muon["pt"], axis=1)
        self.muons = {k: np.take_along_axis(v, order, 1) for k, v in muon.items()}
        self.count = rng.poisson(1.3, n).clip(0, 6)
        size = int(self.count.sum())
        raw = {
            "pt": 20 + rng.exponential(30, size),
            "eta": rng.normal(0, 1.8, size).clip(-4.7, 4.7),
            "phi": rng.uniform(-np.pi, np.pi, size),
            "mass": 3 + rng.gamma(3, 2, size),
        }
        event = np.repeat(np.arange(n), self.count)
        raw["pt"] = raw["pt"][np.lexsort((-raw["pt"], event))]
        raw["mass"] *= np.sqrt(raw["pt"] / 40)
        self.jets = raw
        self.met, self.metphi = rng.rayleigh(18, n), rng.uniform(-np.pi, np.pi, n)
        self.npv = rng.poisson(25, n) + 1
        self.weight = np.where(rng.random(n) < 0.05, -1.0, 1.0) * 1.7

    def lists(self, values, dtype="f4", count=None) -> ak.Array:
        """Lists of jets' numbers, or of others'."""
        return ak.unflatten(np.asarray(values).astype(dtype), self.count if count is None else count)

    def cartesian(self, scale: float = 1.0) -> dict[str, np.ndarray]:
        """px, py, pz, E of the muons (N, 2)."""
        m = self.muons
        px, py, pz = m["pt"] * np.cos(m["phi"]), m["pt"] * np.sin(m["phi"]), m["pt"] * np.sinh(m["eta"])
        energy = np.sqrt(px**2 + py**2 + pz**2 + MUON**2)
        return {k: scale * v for k, v in (("px", px), ("py", py), ("pz", pz), ("E", energy))}

    def jet_energy(self) -> np.ndarray:
        """The jets' energies (J,)."""
        j = self.jets
        return np.sqrt(np.square(j["pt"] * np.cosh(j["eta"])) + np.square(j["mass"]))

    def dimuon(self) -> np.ndarray:
        """The mass of both muons (N,)."""
        p = {k: v.sum(1) for k, v in self.cartesian().items()}
        return np.sqrt(p["E"] ** 2 - p["px"] ** 2 - p["py"] ** 2 - p["pz"] ** 2)


def ttree(path: Path, tree: str, columns: dict, counter: Callable[[str], str] | None = None) -> None:
    """A TTree; lists have the counters that a function of their branch gives, or each one of its own."""
    counted = {}
    for name, values in columns.items():
        if isinstance(values, ak.Array) and counter is not None:
            counted[counter(name)] = ak.to_numpy(ak.num(values)).astype(np.int32)
    kinds = {
        name: values.type.content
        if isinstance(values, ak.Array)
        else (values.dtype, values.shape[1:])
        if values.ndim > 1
        else values.dtype
        for name, values in columns.items()
    }
    with uproot.recreate(path) as file:
        named = {} if counter is None else {"counter_name": counter}
        file.mktree(tree, kinds, **named)
        file[tree].extend(counted | columns)


def rntuple(path: Path, tree: str, columns: dict) -> None:
    """An RNTuple."""
    with uproot.recreate(path) as file:
        file.mkrntuple(tree, columns)


def by_prefix(prefix: str = "n", suffix: str = "", separator: str = "_") -> Callable[[str], str]:
    """The counter of ``Jet_pt`` by what is before its separator."""
    return lambda name: prefix + name.partition(separator)[0] + suffix


def many(rng: np.random.Generator, names: Iterator[str], n: int) -> dict[str, np.ndarray]:
    """Triggers."""
    return {name: rng.random(n) < 0.1 for name in names}


# ------------------------------------------------------------------ files


def nanoaod(path: Path, t: Toys) -> None:
    """CMS NanoAOD."""
    m, two = t.muons, np.full(t.n, 2)
    columns = {
        "run": np.full(t.n, 316_766, np.uint32),
        "luminosityBlock": (np.arange(t.n) // 100 + 1).astype(np.uint32),
        "event": (np.arange(t.n) + 10**9).astype(np.uint64),
        "genWeight": t.weight.astype("f4"),
        "MET_pt": t.met.astype("f4"),
        "MET_phi": t.metphi.astype("f4"),
        "PV_npvs": t.npv.astype(np.int32),
        "HLT_IsoMu24": m["pt"][:, 0] > 24,
        "Flag_goodVertices": np.ones(t.n, bool),
    }
    for k in ("pt", "eta", "phi"):
        columns[f"Muon_{k}"] = t.lists(m[k].ravel(), count=two)
    columns["Muon_mass"] = t.lists(np.full(2 * t.n, MUON), count=two)
    columns["Muon_charge"] = t.lists(m["charge"].ravel(), "i4", two)
    columns["Muon_tightId"] = t.lists(t.rng.random(2 * t.n) < 0.9, "?", two)
    columns |= {f"Jet_{k}": t.lists(v) for k, v in t.jets.items()}
    columns["Jet_btagDeepFlavB"] = t.lists(t.rng.beta(0.5, 4, len(t.jets["pt"])))
    ttree(path, "Events", columns, by_prefix())


def scouting(path: Path, t: Toys) -> None:
    """CMS scouting NanoAOD: many triggers, and jets that nobody calls Jet."""
    columns = {f"ScoutingJet_{k}": t.lists(t.jets[k]) for k in ("pt", "eta", "phi")}
    columns["ScoutingJet_m"] = t.lists(t.jets["mass"])
    columns["ScoutingJet_nCh"] = t.lists(t.rng.poisson(12, len(t.jets["pt"])), "i4")
    columns |= {
        "MET_fiducialGenPt": t.met.astype("f4"),
        "MET_fiducialGenPhi": t.metphi.astype("f4"),
        "ScoutingRho_fixedGridRhoFastjetAll": t.rng.gamma(8, 2, t.n).astype("f4"),
    }
    columns |= many(t.rng, (f"DST_path{i}" for i in range(220)), t.n)
    ttree(path, "Events", columns, by_prefix())


def _physlite(t: Toys, separator: str) -> dict:
    jets, one, two = "AnalysisJetsAuxDyn", np.ones(t.n, int), np.full(t.n, 2)
    columns = {
        f"{jets}{separator}pt": t.lists(1e3 * t.jets["pt"]),
        f"{jets}{separator}eta": t.lists(t.jets["eta"]),
        f"{jets}{separator}phi": t.lists(t.jets["phi"]),
        f"{jets}{separator}m": t.lists(1e3 * t.jets["mass"]),
    }
    for k, scale in (("pt", 1e3), ("eta", 1), ("phi", 1), ("charge", 1)):
        columns[f"AnalysisMuonsAuxDyn{separator}{k}"] = t.lists(scale * t.muons[k].ravel(), count=two)
    met = "MET_Core_AnalysisMETAuxDyn"
    columns[f"{met}{separator}mpx"] = t.lists(1e3 * t.met * np.cos(t.metphi), count=one)
    columns[f"{met}{separator}mpy"] = t.lists(1e3 * t.met * np.sin(t.metphi), count=one)
    columns[f"EventInfoAuxDyn{separator}eventNumber"] = (np.arange(t.n) + 1).astype(np.uint64)
    columns[f"EventInfoAuxDyn{separator}averageInteractionsPerCrossing"] = t.npv.astype("f4")
    return columns


def physlite(path: Path, t: Toys) -> None:
    """ATLAS PHYSLITE: dotted names, MeV, a vector for each number."""
    ttree(path, "CollectionTree", _physlite(t, "."))


def physlite_rntuple(path: Path, t: Toys) -> None:
    """ATLAS PHYSLITE as an RNTuple."""
    rntuple(path, "EventData", _physlite(t, ":"))


def delphes(path: Path, t: Toys) -> None:
    """Delphes: dotted names, Jet_size."""
    one, two, j = np.ones(t.n, int), np.full(t.n, 2), t.jets
    columns = {
        "Jet.PT": t.lists(j["pt"]),
        "Jet.Eta": t.lists(j["eta"]),
        "Jet.Phi": t.lists(j["phi"]),
        "Jet.Mass": t.lists(j["mass"]),
        "Jet.BTag": t.lists(t.rng.random(len(j["pt"])) < 0.15, "u4"),
        "Muon.PT": t.lists(t.muons["pt"].ravel(), count=two),
        "Muon.Eta": t.lists(t.muons["eta"].ravel(), count=two),
        "Muon.Phi": t.lists(t.muons["phi"].ravel(), count=two),
        "Muon.Charge": t.lists(t.muons["charge"].ravel(), "i4", two),
        "MissingET.MET": t.lists(t.met, count=one),
        "MissingET.Eta": t.lists(t.rng.normal(0, 3, t.n), count=one),
        "MissingET.Phi": t.lists(t.metphi, count=one),
        "Event.Number": t.lists(np.arange(t.n), "i8", one),
        "Event.Weight": t.lists(t.weight, count=one),
    }
    ttree(path, "Delphes", columns, by_prefix("", "_size", "."))


def treemaker(path: Path, t: Toys) -> None:
    """CMS TreeMaker: Lorentz vectors by their members; NJets counts selected jets."""
    jets = {f"Jets.fCoordinates.f{k}": t.jets[v] for k, v in (("Pt", "pt"), ("Eta", "eta"), ("Phi", "phi"))}
    jets["Jets.fCoordinates.fE"] = t.jet_energy()
    columns = {k: t.lists(v) for k, v in jets.items()}
    columns["Jets_bDiscriminatorCSV"] = t.lists(t.rng.beta(0.5, 4, len(t.jets["pt"])))
    hard = (t.jets["pt"] > 30) & (np.abs(t.jets["eta"]) < 2.4)
    event = np.repeat(np.arange(t.n), t.count)
    columns |= {
        "NJets": np.bincount(event, hard, t.n).astype(np.int32),
        "HT": np.bincount(event, t.jets["pt"] * hard, t.n),
        "MET": t.met,
        "METPhi": t.metphi,
        "RunNum": np.full(t.n, 1, np.uint32),
        "LumiBlockNum": np.full(t.n, 7, np.uint32),
        "EvtNum": (np.arange(t.n) + 1).astype(np.uint64),
        "Weight": np.full(t.n, 0.31),
    }
    rntuple(path, "PreSelection", columns)


def podio(path: Path, t: Toys) -> None:
    """podio, EDM4hep: members of members."""
    p, two = t.cartesian(), np.full(t.n, 2)
    name = "ReconstructedParticles"
    columns = {
        f"{name}.momentum.{axis}": t.lists(p[f"p{axis}"].ravel(), count=two) for axis in ("x", "y", "z")
    }
    columns[f"{name}.energy"] = t.lists(p["E"].ravel(), count=two)
    columns[f"{name}.mass"] = t.lists(np.full(2 * t.n, MUON), count=two)
    columns[f"{name}.charge"] = t.lists(t.muons["charge"].ravel(), count=two)
    columns[f"{name}.PDG"] = t.lists(-13 * t.muons["charge"].ravel(), "i4", two)
    columns["Jet.momentum.x"] = t.lists(t.jets["pt"] * np.cos(t.jets["phi"]))
    columns["Jet.momentum.y"] = t.lists(t.jets["pt"] * np.sin(t.jets["phi"]))
    columns["Jet.momentum.z"] = t.lists(t.jets["pt"] * np.sinh(t.jets["eta"]))
    columns["Jet.energy"] = t.lists(t.jet_energy())
    ttree(path, "events", columns, lambda name: f"n{name.partition('.')[0]}")


def fccanalyses(path: Path, t: Toys) -> None:
    """FCCAnalyses: two collections under one prefix."""
    p, two, tracks = t.cartesian(), np.full(t.n, 2), t.rng.poisson(4, t.n)
    columns = {f"rec_part_{k}": t.lists(p[k].ravel(), count=two) for k in ("px", "py", "pz")}
    columns["rec_part_e"] = t.lists(p["E"].ravel(), count=two)
    size = int(tracks.sum())
    columns["rec_part_track_D0"] = t.lists(t.rng.normal(0, 0.01, size), count=tracks)
    columns["rec_part_track_Z0"] = t.lists(t.rng.normal(0, 5, size), count=tracks)
    columns["zed_m"] = t.dimuon().astype("f4")
    ttree(path, "events", columns)


def lhcb(path: Path, t: Toys) -> None:
    """LHCb DecayTree: PX, PY, PZ, PE in MeV for each particle, sWeights."""
    p = t.cartesian(1e3)
    signal = t.rng.random(t.n) < 0.6
    columns = {}
    for i, name in enumerate(("mu+", "mu-")):
        columns |= {f"{name}_{k.upper()}": p[k][:, i] for k in ("px", "py", "pz")}
        columns[f"{name}_PE"] = p["E"][:, i]
        columns[f"{name}_PT"] = 1e3 * t.muons["pt"][:, i]
        columns[f"{name}_ProbNNmu"] = t.rng.beta(4, 0.5, t.n)
        columns[f"{name}_IPCHI2_OWNPV"] = np.exp(t.rng.normal(0, 2, t.n))
    columns["Z0_M"] = 1e3 * t.dimuon()
    columns["nTracks"] = t.rng.poisson(150, t.n).astype(np.int32)
    columns["nSig_sw"] = np.where(signal, 1.1, -0.2) + 0.05 * t.rng.normal(size=t.n)
    columns["eventNumber"] = (np.arange(t.n) + 5).astype(np.uint64)
    ttree(path, "DecayTree", columns)


def belle(path: Path, t: Toys) -> None:
    """Belle II: flat, with NaN where there is no cluster."""
    p = t.cartesian(0.05)
    columns = {
        "__experiment__": np.full(t.n, 1003, np.int32),
        "__run__": np.zeros(t.n, np.int32),
        "__event__": np.arange(t.n, dtype=np.uint32),
        "__weight__": np.ones(t.n),
        "Mbc": 5.28 - t.rng.exponential(0.004, t.n).clip(0, 0.08),
        "deltaE": t.rng.normal(0, 0.02, t.n),
        "isSignal": (t.rng.random(t.n) < 0.7).astype(float),
    }
    for i in (0, 1):
        columns |= {f"mu_{i}_{k}": p[k][:, i] for k in ("px", "py", "pz", "E")}
        columns[f"mu_{i}_muonID"] = t.rng.beta(5, 0.4, t.n)
        missing = t.rng.random(t.n) < 0.1
        columns[f"mu_{i}_clusterE"] = np.where(missing, np.nan, t.rng.gamma(4, 0.05, t.n))
    ttree(path, "b0", columns)


def alice(path: Path, t: Toys) -> None:
    """ALICE: candidates, each with an f before its name."""
    columns = {
        "fPt": t.rng.gamma(2, 1.5, t.n).astype("f4"),
        "fEta": t.rng.uniform(-0.9, 0.9, t.n).astype("f4"),
        "fPhi": t.rng.uniform(0, 2 * np.pi, t.n).astype("f4"),
        "fM": t.rng.normal(2.99, 0.003, t.n).astype("f4"),
        "fCosPA": (1 - t.rng.exponential(1e-4, t.n)).astype("f4"),
        "fCt": t.rng.exponential(7.6, t.n).astype("f4"),
        "fCentrality": t.rng.uniform(0, 90, t.n).astype("f4"),
        "fNClusters": t.rng.integers(60, 160, t.n).astype(np.uint8),
        "fMatter": t.rng.random(t.n) < 0.5,
    }
    ttree(path, "O2hypcands", columns)


def easyjet(path: Path, t: Toys) -> None:
    """ATLAS easyjet: long prefixes, MeV, mu beside mu_pt."""
    j = "recojet_antikt4PFlow_NOSYS"
    columns = {
        f"{j}_pt": t.lists(1e3 * t.jets["pt"]),
        f"{j}_eta": t.lists(t.jets["eta"]),
        f"{j}_phi": t.lists(t.jets["phi"]),
        f"{j}_m": t.lists(1e3 * t.jets["mass"]),
        "recojet_antikt4PFlow_isBtag": t.lists(t.rng.random(len(t.jets["pt"])) < 0.2, "i1"),
        "nJets": t.count.astype(np.int32),
        "mu_pt": t.lists(1e3 * t.muons["pt"].ravel(), count=np.full(t.n, 2)),
        "mu_eta": t.lists(t.muons["eta"].ravel(), count=np.full(t.n, 2)),
        "mu_phi": t.lists(t.muons["phi"].ravel(), count=np.full(t.n, 2)),
        "met_NOSYS_met": (1e3 * t.met).astype("f4"),
        "met_NOSYS_phi": t.metphi.astype("f4"),
        "mu": t.npv.astype("f4"),
        "generatorWeight_NOSYS": t.weight.astype("f4"),
        "eventNumber": (np.arange(t.n) + 1).astype(np.uint64),
        "runNumber": np.full(t.n, 410_470, np.uint32),
    }
    ttree(path, "AnalysisMiniTree", columns)


def protodune(path: Path, t: Toys) -> None:
    """ProtoDUNE: -999 where there is no beam particle, lists of several lengths under one prefix."""
    hits, there = t.rng.poisson(6, t.n), t.rng.random(t.n) < 0.8
    columns = {
        "run": np.full(t.n, 5_387, np.int32),
        "subrun": np.ones(t.n, np.int32),
        "event": np.arange(t.n, dtype=np.int32),
        "reco_beam_len": np.where(there, t.rng.gamma(3, 30, t.n), -999.0),
        "reco_beam_trackDirZ": np.where(there, t.rng.uniform(0.8, 1, t.n), -999.0),
        "reco_beam_PFP_trackScore": np.where(there, t.rng.beta(3, 1, t.n), -999.0),
        "beam_inst_P": t.rng.normal(1, 0.06, t.n),
        "reco_beam_calo_X": t.lists(t.rng.normal(-30, 5, int(hits.sum())), "f8", hits),
        "reco_beam_calo_Z": t.lists(t.rng.uniform(0, 200, int(hits.sum())), "f8", hits),
    }
    more = t.rng.poisson(4, t.n)
    columns["reco_beam_dQdX_SCE"] = t.lists(t.rng.gamma(9, 30, int(more.sum())), "f8", more)
    ttree(path, "beamana", columns)


def jetnet(path: Path, t: Toys) -> None:
    """JetNet: arrays of 30 constituents, with a mask."""
    number = t.rng.integers(5, 31, t.n)
    mask = np.arange(30)[None] < number[:, None]
    pt = -np.sort(-t.rng.gamma(0.7, 0.05, (t.n, 30)) * mask, axis=1)
    columns = {"jet_pt": t.rng.normal(1000, 80, t.n), "jet_mass": t.rng.gamma(8, 12, t.n)}
    columns |= {"part_etarel": t.rng.normal(0, 0.1, (t.n, 30)) * mask}
    columns |= {"part_phirel": t.rng.normal(0, 0.1, (t.n, 30)) * mask, "part_ptrel": pt, "part_mask": mask}
    ttree(path, "jets", {k: v.astype("f4") for k, v in columns.items()})


def hzz(path: Path, t: Toys) -> None:
    """The sample of uproot's and coffea's tutorials: Muon_Px, NMuon."""
    p, two = t.cartesian(), np.full(t.n, 2)
    columns = {f"Muon_{k[0].upper()}{k[1:]}": t.lists(v.ravel(), count=two) for k, v in p.items()}
    columns["Muon_Charge"] = t.lists(t.muons["charge"].ravel(), "i4", two)
    columns["MET_px"] = (t.met * np.cos(t.metphi)).astype("f4")
    columns["MET_py"] = (t.met * np.sin(t.metphi)).astype("f4")
    columns["EventWeight"] = np.full(t.n, 0.009, "f4")
    ttree(path, "events", columns, by_prefix("N"))


def records(path: Path, t: Toys) -> None:
    """An RNTuple of records."""
    two = np.full(t.n, 2)
    muons = {k: t.lists(v.ravel(), "i4" if k == "charge" else "f4", two) for k, v in t.muons.items()}
    columns = {
        "Muon": ak.zip(muons),
        "Jet": ak.zip({k: t.lists(v) for k, v in t.jets.items()}),
        "MET": ak.zip({"pt": t.met.astype("f4"), "phi": t.metphi.astype("f4")}),
        "npv": t.npv.astype(np.int32),
    }
    rntuple(path, "Events", columns)


def parquet(path: Path, t: Toys) -> None:
    """Parquet of records, with nulls."""
    two = np.full(t.n, 2)
    muons = {k: t.lists(v.ravel(), "i4" if k == "charge" else "f4", two) for k, v in t.muons.items()}
    columns = {
        "Muon": ak.zip(muons),
        "Jet": ak.zip({k: t.lists(v) for k, v in t.jets.items()}),
        "met": t.met,
        "tau_pt": ak.mask(ak.Array(t.rng.gamma(3, 10, t.n)), t.rng.random(t.n) < 0.4),
    }
    ak.to_parquet(ak.zip(columns, depth_limit=1), path)


def _columns(t: Toys) -> dict[str, np.ndarray]:
    columns = {"EventId": np.arange(t.n) + 100_000, "DER_mass": t.dimuon(), "PRI_met": t.met}
    for i in (0, 1):
        columns |= {f"PRI_lep{i + 1}_{k}": t.muons[k][:, i] for k in ("pt", "eta", "phi")}
    columns["PRI_jet_num"] = np.minimum(t.count, 2)
    offsets = np.cumsum(t.count) - t.count
    for i, name in enumerate(("leading", "subleading")):
        at = np.minimum(offsets + i, len(t.jets["pt"]) - 1)
        for k in ("pt", "eta", "phi"):
            columns[f"PRI_jet_{name}_{k}"] = np.where(t.count > i, t.jets[k][at], -999.0)
    columns["Weight"] = t.rng.gamma(4, 0.5, t.n)
    return columns


def higgsml(path: Path, t: Toys) -> None:
    """The challenge of HiggsML: text, -999 for what cannot be computed."""
    columns = _columns(t) | {"Label": np.where(t.rng.random(t.n) < 0.3, "s", "b")}
    rows = zip(*(v.tolist() for v in columns.values()), strict=True)
    text = "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"
    path.write_text(text, encoding="utf-8")


def hdf5(path: Path, t: Toys) -> None:
    """HDF5: a column for each dataset of a group."""
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in _columns(t).items():
            file.create_dataset(f"events/{name}", data=values)


def lhe(path: Path, t: Toys) -> None:
    """Les Houches events, compressed."""
    p = t.cartesian()
    total = {k: v.sum(1) for k, v in p.items()}
    plus, minus = 0.5 * (total["E"] + total["pz"]), 0.5 * (total["E"] - total["pz"])
    lines = ['<LesHouchesEvents version="3.0">', "<init>"]
    lines += ["2212 2212 6500. 6500. 0 0 247000 247000 -4 1", "9.2e+02 1.0 1.0 1", "</init>"]
    row = "{} {} {} {} {} {} {:.10e} {:.10e} {:.10e} {:.10e} {:.10e} 0. 9."
    for i in range(t.n):
        lines += ["<event>", f" 4 1 {t.weight[i]:+.7e} 9.118800e+01 7.546771e-03 1.300000e-01"]
        lines.append(row.format(2, -1, 0, 0, 501, 0, 0.0, 0.0, plus[i], plus[i], 0.0))
        lines.append(row.format(-2, -1, 0, 0, 0, 501, 0.0, 0.0, -minus[i], minus[i], 0.0))
        for k, name in ((0, -13), (1, 13)):
            four = (p[c][i, k] for c in ("px", "py", "pz", "E"))
            lines.append(row.format(name, 1, 1, 2, 0, 0, *four, MUON))
        lines.append("</event>")
    text = "\n".join([*lines, "</LesHouchesEvents>", ""])
    with gzip.open(path, "wt") as file:
        file.write(text)


def hepmc(path: Path, t: Toys) -> None:
    """HepMC3."""
    import pyhepmc

    p = t.cartesian()
    with pyhepmc.open(str(path), "w") as file:
        for i in range(t.n):
            event = pyhepmc.GenEvent(pyhepmc.Units.GEV, pyhepmc.Units.MM)
            event.event_number = i
            event.weights = [float(t.weight[i])]
            total = [float(p[c][i].sum()) for c in ("px", "py", "pz", "E")]
            boson = pyhepmc.GenParticle(total, 23, 2)
            beam = pyhepmc.GenParticle((0, 0, 6500, 6500), 2212, 4)
            first, second = pyhepmc.GenVertex(), pyhepmc.GenVertex()
            first.add_particle_in(beam)
            first.add_particle_out(boson)
            second.add_particle_in(boson)
            for k, name in ((0, -13), (1, 13)):
                four = [float(p[c][i, k]) for c in ("px", "py", "pz", "E")]
                second.add_particle_out(pyhepmc.GenParticle(four, name, 1))
            event.add_vertex(first)
            event.add_vertex(second)
            file.write(event)


def flashgg(path: Path, t: Toys) -> None:
    """CMS flashgg: pT_h1, and -9999 where there is no jet."""
    columns = {}
    for i, name in enumerate(("h1", "h2")):
        for k, named in (("pt", "pT"), ("eta", "eta"), ("phi", "phi")):
            columns[f"{named}_{name}"] = t.muons[k][:, i].astype("f4")
        columns[f"r9_{name}"] = t.rng.beta(9, 1, t.n).astype("f4")
    there = t.count > 0
    at = np.minimum(np.cumsum(t.count) - t.count, len(t.jets["pt"]) - 1)
    for k in ("pt", "eta", "phi"):
        columns[f"dijet_lead_{k}"] = np.where(there, t.jets[k][at], -9999.0).astype("f4")
    columns |= {
        "n_jets": t.count.astype("f4"),
        "weight": t.weight.astype("f4"),
        "dZ": t.rng.normal(0, 3, t.n),
    }
    columns["CMS_hgg_mass"] = t.rng.normal(125, 1.5, t.n)
    ttree(path, "vbf_125_13TeV", columns)


def km3net(path: Path, t: Toys) -> None:
    """KM3NeT: hits and tracks, a weight."""
    hits, tracks = t.rng.poisson(8, t.n), 1 + t.rng.poisson(0.3, t.n)
    size, number = int(hits.sum()), int(tracks.sum())
    direction = t.rng.normal(size=(3, number))
    direction /= np.sqrt((direction**2).sum(0))
    columns = {
        "mc_hits_t": t.lists(t.rng.gamma(3, 300, size), "f8", hits),
        "mc_hits_dom_id": t.lists(t.rng.integers(1, 2000, size), "i4", hits),
        "mc_trks_E": t.lists(np.exp(t.rng.normal(6, 2, number)), "f8", tracks),
        **{f"mc_trks_dir_{k}": t.lists(d, "f8", tracks) for k, d in zip("xyz", direction, strict=True)},
        "t_sec": (1_600_000_000 + np.arange(t.n) // 3).astype(np.uint32),
        "weight": np.exp(t.rng.normal(-3, 1, t.n)),
    }
    ttree(path, "E", columns)


def calorimeter(path: Path, t: Toys) -> None:
    """Three layers of a calorimeter, in arrays of their shapes, and the energy of what came in."""
    columns = showers(t.n, int(t.rng.integers(1_000_000)))
    with uproot.recreate(path) as file:
        file.mktree("Events", {n: np.dtype((v.dtype, v.shape[1:])) for n, v in columns.items()})
        file["Events"].extend(columns)


@dataclass(frozen=True)
class Layout:
    """A kind of file.

    Attributes:
        write: Makes one, of some events.
        suffix: How its name ends.
        tree: The tree, or the group.
        options: What its owner says to `hepgan init`.
    """

    write: Callable[[Path, Toys], None]
    suffix: str = "root"
    tree: str = ""
    options: str = ""


LAYOUTS = {
    "NanoAOD": Layout(nanoaod, tree="Events"),
    "scouting NanoAOD": Layout(scouting, tree="Events"),
    "PHYSLITE, TTree": Layout(physlite, tree="CollectionTree"),
    "PHYSLITE, RNTuple": Layout(physlite_rntuple, tree="EventData"),
    "Delphes": Layout(delphes, tree="Delphes"),
    "TreeMaker": Layout(treemaker, tree="PreSelection"),
    "podio": Layout(podio, tree="events"),
    "FCCAnalyses": Layout(fccanalyses, tree="events"),
    "LHCb DecayTree": Layout(lhcb, tree="DecayTree"),
    "Belle II": Layout(belle, tree="b0"),
    "ALICE candidates": Layout(alice, tree="O2hypcands"),
    "easyjet": Layout(easyjet, tree="AnalysisMiniTree"),
    "ProtoDUNE": Layout(protodune, tree="beamana"),
    "KM3NeT": Layout(km3net, tree="E"),
    "JetNet": Layout(jetnet, tree="jets"),
    "HZZ": Layout(hzz, tree="events"),
    "flashgg": Layout(flashgg, tree="vbf_125_13TeV"),
    "RNTuple of records": Layout(records, tree="Events"),
    "Parquet": Layout(parquet, "parquet"),
    "CSV (HiggsML)": Layout(higgsml, "csv"),
    "HDF5": Layout(hdf5, "h5", "events"),
    "LHE": Layout(lhe, "lhe.gz"),
    "HepMC3": Layout(hepmc, "hepmc3"),
    "calorimeter": Layout(calorimeter, tree="Events"),
}


def write_files(name: str, folder: Path, events: int) -> tuple[Path, Path]:
    """Writes a layout's training and test sample; both names end as its formats do."""
    layout = LAYOUTS[name]
    stem = re.sub(r"\W+", "_", name.lower()).strip("_")
    train, test = (folder / f"{stem}_{sample}.{layout.suffix}" for sample in ("train", "test"))
    layout.write(train, Toys(events, 1))
    layout.write(test, Toys(events, 2))
    return train, test


def main() -> None:
    """Writes files."""
    parser = parser_of(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS))
    parser.add_argument("--events", type=int, default=3000)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    for name in chosen.layouts:
        print(*write_files(name, chosen.folder, chosen.events))


if __name__ == "__main__":
    main()
