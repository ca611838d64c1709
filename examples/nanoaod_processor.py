"""A dimuon analysis for NanoAOD, as a coffea user has it: nothing in it knows of hepgan.

It runs on CMS NanoAOD and, unchanged, on generated events in the same layout::

    python examples/nanoaod_processor.py real=nano_dy.root generated=generated.root

The events need run, luminosityBlock and event, which ``hepgan generate``, ``hepgan.coffea.to_nanoevents``
and ``hepgan.write_events(..., identifiers=True)`` add.
"""

import sys

import awkward as ak
import hist
from coffea import processor
from coffea.nanoevents import NanoAODSchema


class DimuonProcessor(processor.ProcessorABC):
    """Mass and transverse momentum of opposite-sign muon pairs."""

    def process(self, events):
        """Fills histograms of one chunk of events."""
        dataset = events.metadata["dataset"]
        simulated = "genWeight" in events.fields
        weights = events.genWeight if simulated else ak.ones_like(events.event, dtype=float)

        muons = events.Muon[(events.Muon.pt > 15) & (abs(events.Muon.eta) < 2.4)]
        two = (ak.num(muons) == 2) & (ak.sum(muons.charge, axis=1) == 0)
        first, second = muons[two][:, 0], muons[two][:, 1]
        pairs = first + second
        window = (pairs.mass > 60) & (pairs.mass < 120)

        mass = hist.Hist.new.Reg(60, 60, 120, name="mass", label=r"$m_{\mu\mu}$ [GeV]").Weight()
        mass.fill(pairs.mass, weight=weights[two])
        pt = hist.Hist.new.Reg(50, 0, 150, name="pt", label=r"$p_T^{\mu\mu}$ [GeV]").Weight()
        pt.fill(pairs.pt[window], weight=weights[two][window])
        opening = hist.Hist.new.Reg(50, 0, 6, name="deltar", label=r"$\Delta R(\mu,\mu)$").Weight()
        opening.fill(first.delta_r(second)[window], weight=weights[two][window])

        return {
            dataset: {
                "events": len(events),
                "pairs": int(ak.sum(two)),
                "in_window": int(ak.sum(window)),
                "histograms": {"mass": mass, "pt": pt, "deltar": opening},
            }
        }

    def postprocess(self, accumulator):
        """Nothing is left to do."""
        return accumulator


def analyse(files, executor=None, schema=NanoAODSchema):
    """Runs the analysis on files of one or several datasets: ``{"generated": ["generated.root"]}``."""
    run = processor.Runner(
        executor=executor or processor.IterativeExecutor(status=False),
        schema=schema,
        chunksize=100_000,
        metadata_cache={},
    )
    return run(files, processor_instance=DimuonProcessor(), treename="Events")


if __name__ == "__main__":
    # CMS files miss some cross-references, which is no concern here.
    NanoAODSchema.warn_missing_crossrefs = False
    found = analyse({name: [path] for name, path in (argument.split("=", 1) for argument in sys.argv[1:])})
    for name, part in found.items():
        print(f"{name}: {part['events']} events, {part['pairs']} pairs, {part['in_window']} in the Z window")
        print(part["histograms"]["mass"])
