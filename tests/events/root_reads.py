"""Reads a file of events with ROOT itself, and prints what it finds as JSON; run by `test_root`.

ROOT may be installed for another Python, so this imports nothing of hepgan.
"""

import json
import sys
import warnings

warnings.simplefilter("ignore")

import ROOT  # noqa: E402

path, threads = sys.argv[1], int(sys.argv[2])
if threads:
    ROOT.EnableImplicitMT(threads)
frame = ROOT.RDataFrame("Events", path)
some = frame.Filter("nMuon > 0")
results = {
    "events": frame.Count(),
    "met": frame.Sum("MET_pt"),
    "leading": some.Define("leading", "double(Muon_pt[0])").Sum("leading"),
    "muons": frame.Sum("nMuon"),
    "charge": frame.Define("q", "double(Sum(Muon_charge))").Sum("q"),
    "last": frame.Max("event"),
}
found = {name: float(result.GetValue()) for name, result in results.items()}
found["slots"] = int(frame.GetNSlots())
file = ROOT.TFile.Open(path)
tree = file.Get("Events")
if isinstance(tree, ROOT.TTree):
    clusters, number = tree.GetClusterIterator(0), 0
    while clusters() < tree.GetEntries():
        number += 1
    found |= {"kind": "TTree", "clusters": number, "drawn": int(tree.Draw("Muon_pt[0]", "nMuon > 0", "goff"))}
else:
    reader = ROOT.RNTupleReader.Open("Events", path)
    found |= {"kind": "RNTuple", "clusters": int(reader.GetDescriptor().GetNClusters())}
print("found " + json.dumps(found))
