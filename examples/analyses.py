"""Three analyses of NanoAOD, as coffea users have them: nothing in them knows of hepgan.

They run on CMS NanoAOD, on ntuples in its layout, and on generated events of either, in any mode of coffea::

    python examples/analyses.py Dimuons original.root generated.root
    hepgan init original.root --processor examples/analyses.py:Dimuons -o dimuons.yaml

An analysis gives yields: for each region the sum of weights, and the sum of their squares.
"""

import sys

import awkward as ak
import correctionlib.schemav2 as schema
import numpy as np
from coffea import processor
from coffea.nanoevents import NanoAODSchema, NanoEventsFactory
from correctionlib import CorrectionSet

MUON = {"iso": ("pfRelIso04_all", "iso"), "id": ("tightId", "tight")}
ELECTRON = {"iso": ("pfRelIso03_all", "iso"), "id": ("mvaFall17V2Iso_WP90", "tight")}
BTAG = ("btagDeepFlavB", "btag")
ENERGIES = {"nominal": 1.0, "jes_up": 1.04, "jes_down": 0.96}

NTUPLE = """
Muon.pt Muon.eta Muon.phi Muon.mass Muon.charge Muon.iso Muon.dxy Muon.quality Muon.tight Muon.jetIdx
Electron.pt Electron.eta Electron.phi Electron.charge Electron.iso Electron.dxy Electron.quality
Electron.tight Electron.jetIdx Jet.pt Jet.eta Jet.phi Jet.mass Jet.btag Jet.nConstituents Jet.jetId
MET.pt MET.phi HLT.IsoMu24 HLT.Ele27 process genWeight
"""
NANOAOD = """
Muon.pt Muon.pfRelIso04_all Muon.tightId Muon.mediumId Muon.dxy Muon.charge Electron.pt Electron.cutBased
Electron.mvaFall17V2Iso_WP90 Electron.pfRelIso03_all Electron.dz Jet.pt Jet.mass Jet.jetId Jet.puId
Jet.btagDeepFlavB Jet.hadronFlavour Tau.decayMode Tau.idDeepTau2017v2p1VSjet Photon.electronVeto
MET.pt MET.significance PV.npvs PV.npvsGood PV.z Pileup.nTrueInt HLT.IsoMu24 Flag.goodVertices LHE.HT
genWeight LHEPdfWeight GenPart.pdgId
"""
"""What `Probes` reads of an ntuple, and of CMS NanoAOD."""


def first(objects, names):
    """The first of some fields that there is: CMS's name, or an ntuple's."""
    return objects[next(name for name in names if name in ak.fields(objects))]


def fired(events, *names):
    """Whether any of some triggers has fired."""
    paths = [events.HLT[name] for name in names if name in ak.fields(events.HLT)]
    result = paths[0] != 0
    for path in paths[1:]:
        result = result | (path != 0)
    return result


def clean(objects, others, distance):
    """The objects that are further than that from all others."""
    return objects[ak.all(objects.metric_table(others) > distance, axis=2)]


def counted(weights, regions):
    """Yields: the sum of weights and of their squares in each region."""
    return {
        name: (ak.sum(ak.where(region, weights, 0.0)), ak.sum(ak.where(region, weights**2, 0.0)))
        for name, region in regions.items()
    }


def good_muons(events, pt):
    """Muons that are identified and isolated."""
    muons = events.Muon
    good = (muons.pt > pt) & (abs(muons.eta) < 2.4)
    return muons[good & first(muons, MUON["id"]) & (first(muons, MUON["iso"]) < 0.25)]


def good_electrons(events, pt):
    """Electrons that are identified and isolated."""
    electrons = events.Electron
    good = (electrons.pt > pt) & (abs(electrons.eta) < 2.5)
    return electrons[good & first(electrons, ELECTRON["id"]) & (first(electrons, ELECTRON["iso"]) < 0.25)]


def efficiencies():
    """Scale factors of muons, as correctionlib has them."""
    factors = schema.MultiBinning(
        nodetype="multibinning",
        inputs=["eta", "pt"],
        edges=[[0.0, 0.9, 1.2, 2.1, 2.4], [15.0, 30.0, 50.0, 120.0, 1000.0]],
        content=[
            1.0,
            0.99,
            0.98,
            0.97,
            0.99,
            0.98,
            0.97,
            0.96,
            0.98,
            0.97,
            0.96,
            0.95,
            0.97,
            0.96,
            0.95,
            0.94,
        ],
        flow="clamp",
    )
    correction = schema.Correction(
        name="muon",
        version=1,
        inputs=[schema.Variable(name="eta", type="real"), schema.Variable(name="pt", type="real")],
        output=schema.Variable(name="factor", type="real"),
        data=factors,
    )
    made = schema.CorrectionSet(schema_version=2, corrections=[correction])
    return CorrectionSet.from_string(made.model_dump_json())["muon"]


class Dimuons(processor.ProcessorABC):
    """Z to two muons: trigger, identified muons, jets without the muons, weights with scale factors."""

    def process(self, events):
        """Yields of one chunk of events."""
        muons = good_muons(events, 15)
        jets = events.Jet[(events.Jet.pt > 30) & (abs(events.Jet.eta) < 2.5) & (events.Jet.jetId >= 2)]
        jets = clean(jets, muons, 0.4)
        two = fired(events, "IsoMu24", "IsoMu27") & (ak.num(muons) == 2)
        two = two & ak.any(muons.pt > 26, axis=1)
        pair = ak.pad_none(muons, 2, clip=True)
        both = pair[:, 0] + pair[:, 1]
        mass = ak.fill_none(both.mass, 0.0)
        opposite = two & (ak.sum(muons.charge, axis=1) == 0)
        factor = efficiencies().evaluate(abs(muons.eta), muons.pt)
        weights = events.genWeight * ak.prod(factor, axis=1)
        window = opposite & (abs(mass - 91.2) < 10)
        regions = {
            "pairs": opposite,
            "like charges": two & ~opposite,
            "Z": window,
            "Z, below": opposite & (mass < 81.2),
            "Z, above": opposite & (mass > 101.2),
            "Z, pt > 40": window & ak.fill_none(both.pt > 40, False),
            **{f"Z, {n} jets": window & (ak.num(jets) == n) for n in (0, 1)},
            "Z, 2 jets or more": window & (ak.num(jets) >= 2),
            "Z, MET > 40": window & (events.MET.pt > 40),
        }
        return {events.metadata["dataset"]: counted(weights, regions)}

    def postprocess(self, accumulator):
        """Nothing is left to do."""
        return accumulator


class TopPairs(processor.ProcessorABC):
    """Top pairs with one lepton and jets, for energies of jets up and down, and for weights of b-tags."""

    def process(self, events):
        """Yields of one chunk of events, for each variation."""
        muons, electrons = good_muons(events, 25), good_electrons(events, 30)
        lepton = (ak.num(muons) + ak.num(electrons) == 1) & fired(
            events, "IsoMu24", "Ele27", "Ele27_WPTight_Gsf"
        )
        one = ak.firsts(ak.concatenate([muons.pt, electrons.pt], axis=1))
        phi = ak.firsts(ak.concatenate([muons.phi, electrons.phi], axis=1))
        opening = 1 - np.cos(phi - events.MET.phi)
        transverse = ak.fill_none(np.sqrt(2 * one * events.MET.pt * opening), 0.0)
        weights = events.genWeight * 1.0
        found = {}
        for name, scale in ENERGIES.items():
            scaled = ak.with_field(events.Jet, events.Jet.pt * scale, "pt")
            scaled = ak.with_field(scaled, scaled.mass * scale, "mass")
            jets = scaled[(scaled.pt > 25) & (abs(scaled.eta) < 2.4) & (scaled.jetId >= 2)]
            jets = clean(clean(jets, muons, 0.4), electrons, 0.4)
            tagged = ak.sum(first(jets, BTAG) > 0.3, axis=1)
            many = lepton & (ak.num(jets) >= 3)
            scalar = ak.sum(jets.pt, axis=1)
            regions = {
                "one lepton": lepton,
                "2 jets": lepton & (ak.num(jets) == 2),
                "3 jets or more": many,
                "1 b": many & (tagged == 1),
                "2 b": many & (tagged >= 2),
                "HT > 200": many & (scalar > 200),
                "mT > 50": many & (transverse > 50),
            }
            found |= {f"{name}: {k}": v for k, v in counted(weights, regions).items()}
            if name == "nominal":
                for way, factor in (("up", 1.05), ("down", 0.95)):
                    shifted = counted(weights * factor**tagged, {"2 b": regions["2 b"]})
                    found[f"btag_{way}: 2 b"] = shifted["2 b"]
        return {events.metadata["dataset"]: found}

    def postprocess(self, accumulator):
        """Nothing is left to do."""
        return accumulator


class Probes(processor.ProcessorABC):
    """Weighted sums of each of 32 branches, those that there are."""

    def process(self, events):
        """Sums of one chunk of events."""
        found = {}
        names = NANOAOD if "GenPart" in ak.fields(events) or "Flag" in ak.fields(events) else NTUPLE
        for name in names.split():
            value = events
            for part in name.split("."):
                if part not in ak.fields(value):
                    value = None
                    break
                value = value[part]
            if value is None:
                continue
            numbers = value if value.ndim == 1 else ak.sum(value, axis=1)
            weighted = numbers if name == "genWeight" else events.genWeight * numbers
            found[name] = (ak.sum(weighted), ak.sum(weighted**2))
        return {events.metadata["dataset"]: found}

    def postprocess(self, accumulator):
        """Nothing is left to do."""
        return accumulator


class Quiet(NanoAODSchema):
    """NanoAOD's schema, without its warnings of cross-references that a file does not have."""

    warn_missing_crossrefs = False


def analyse(file, analysis, mode="virtual"):
    """The yields of an analysis of a file, in one of coffea's modes: ``eager``, ``virtual`` or ``dask``."""
    factory = NanoEventsFactory.from_root(
        {str(file): "Events"}, schemaclass=Quiet, mode=mode, metadata={"dataset": "events"}
    )
    found = analysis.process(factory.events())["events"]
    if mode == "dask":
        import dask

        (found,) = dask.compute(found)
    return {name: (float(total), float(squares)) for name, (total, squares) in found.items()}


if __name__ == "__main__":
    chosen, *files = sys.argv[1:]
    yields = [analyse(file, globals()[chosen]()) for file in files]
    for name in yields[0]:
        print(f"{name:24}", *(f"{y[name][0]:12,.1f} +- {y[name][1] ** 0.5:.1f}" for y in yields if name in y))
