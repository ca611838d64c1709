"""Files that coffea's schemas read are read by the same schemas after their events were generated."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from coffea.nanoevents import (
    DelphesSchema,
    NanoAODSchema,
    NanoEventsFactory,
    PHYSLITESchema,
    TreeMakerSchema,
)

from hepgan.events import read_events
from hepgan.generator import EventGenerator
from hepgan.production import produce

N = 400
RECIPE = {
    "name": "small",
    "model": {
        "kind": "flow_matching",
        "network": {"kind": "residual", "width": 16, "blocks": 1},
        "steps": 2,
    },
    "training": {"steps": 3, "batch_size": 128},
}
RNG = np.random.default_rng(5)
COUNTS = RNG.poisson(2, N)


def lists(values: Callable[[int], Any], counts: np.ndarray = COUNTS) -> ak.Array:
    return ak.values_astype(ak.unflatten(values(int(counts.sum())), counts), np.float32)


def momenta(*names: str) -> dict[str, ak.Array]:
    """Lists of pt, eta, phi and mass, or energy, by the names that a file has for them."""
    pt = lists(lambda n: 20 + RNG.exponential(20, n))
    eta, phi = lists(lambda n: RNG.normal(0, 1, n)), lists(lambda n: RNG.uniform(-3.1, 3.1, n))
    mass = lists(lambda n: RNG.gamma(3, 2, n))
    last = np.hypot(pt * np.cosh(eta), mass) if names[3].endswith("E") else mass
    return dict(zip(names, (pt, eta, phi, ak.values_astype(last, np.float32)), strict=True))


ONE = np.ones(N, np.int64)
FILES: dict[str, tuple[Any, str, dict[str, Any], Callable[[str], str]]] = {
    "NanoAOD": (
        NanoAODSchema,
        "Events",
        {
            **momenta("Jet_pt", "Jet_eta", "Jet_phi", "Jet_mass"),
            "MET_pt": RNG.exponential(30, N).astype(np.float32),
            "MET_phi": RNG.uniform(-3.1, 3.1, N).astype(np.float32),
            "run": ONE.astype(np.uint32),
            "luminosityBlock": ONE.astype(np.uint32),
            "event": np.arange(N, dtype=np.uint64),
        },
        lambda branch: "nJet",
    ),
    "Delphes": (
        DelphesSchema,
        "Delphes",
        {
            **momenta("Jet/Jet.PT", "Jet/Jet.Eta", "Jet/Jet.Phi", "Jet/Jet.Mass"),
            "Event/Event.Weight": lists(lambda n: RNG.uniform(1, 2, n), ONE),
            "Event/Event.Number": ak.unflatten(np.arange(N), ONE),
            "MissingET/MissingET.MET": lists(lambda n: RNG.exponential(30, n), ONE),
            "MissingET/MissingET.Eta": lists(lambda n: RNG.normal(0, 1, n), ONE),
            "MissingET/MissingET.Phi": lists(lambda n: RNG.uniform(-3.1, 3.1, n), ONE),
        },
        lambda branch: f"{branch.split('/')[0]}_size",
    ),
    "PHYSLITE": (
        PHYSLITESchema,
        "CollectionTree",
        {
            **momenta(*(f"AnalysisJetsAuxDyn.{n}" for n in ("pt", "eta", "phi", "m"))),
            **{f"AnalysisElectronsAuxDyn.{n}": lists(lambda n: RNG.uniform(1, 3, n)) for n in ("eta", "phi")},
            "AnalysisElectronsAuxDyn.pt": lists(lambda n: 1e4 + RNG.exponential(2e4, n)),
            "AnalysisElectronsAuxDyn.m": lists(lambda n: np.full(n, 0.511)),
            "AnalysisElectronsAuxDyn.charge": lists(lambda n: RNG.choice([-1, 1], n)),
            "EventInfoAuxDyn.eventNumber": np.arange(N, dtype=np.uint64),
            "EventInfoAuxDyn.runNumber": ONE.astype(np.uint32),
        },
        lambda branch: f"n{branch}",
    ),
    "TreeMaker": (
        TreeMakerSchema,
        "PreSelection",
        {
            **momenta(*(f"Jets/Jets.fCoordinates.{n}" for n in ("fPt", "fEta", "fPhi", "fE"))),
            "Jets_bDiscriminator": lists(lambda n: RNG.uniform(0, 1, n)),
            "MET": RNG.exponential(30, N).astype(np.float32),
            "METPhi": RNG.uniform(-3.1, 3.1, N).astype(np.float32),
            "NJets": (COUNTS // 2).astype(np.int32),
        },
        lambda branch: "nJets",
    ),
}


def nano(path: Path, tree: str, schema: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NanoEventsFactory.from_root({str(path): tree}, schemaclass=schema, mode="eager").events()


def described(events: Any) -> dict[str, Any]:
    """Collections with their fields and behaviours."""
    return {n: (sorted(events[n].fields), type(events[n]).__name__) for n in events.fields}


@pytest.mark.parametrize("kind", FILES)
def test_generated_files_are_read_by_the_schema_of_the_file_that_was_learned(
    kind: str, tmp_path: Path
) -> None:
    schema, tree, data, counter = FILES[kind]
    path = tmp_path / "true.root"
    types = {
        n: f"var * {v.type.content.content}" if isinstance(v, ak.Array) else v.dtype for n, v in data.items()
    }
    with uproot.recreate(path) as file:
        file.mktree(tree, types, counter_name=counter)
        file[tree].extend(data)
    generator = EventGenerator(RECIPE).fit(read_events(f"{path}:{tree}"))
    made = tmp_path / "made.root"
    produce(generator, 50, made, seed=1)
    with uproot.open(path) as true, uproot.open(made) as generated:
        kinds = [{n: b.typename for n, b in f[tree].items()} for f in (true, generated)]
        assert kinds[0] == kinds[1]
    before, after = nano(path, tree, schema), nano(made, tree, schema)
    assert len(after) == 50
    assert described(after) == described(before)
    jets = after["Jets" if "Jets" in after.fields else "Jet"]
    assert np.array_equal(ak.num(jets), ak.num(jets.pt))
    assert ak.all(jets.pt > 0)


@pytest.mark.parametrize("kind", ["Delphes", "PHYSLITE", "TreeMaker"])
def test_what_is_for_nanoaod_is_in_no_other_file(kind: str) -> None:
    from hepgan.events import EventSchema
    from hepgan.events.nanoaod import is_nanoaod
    from hepgan.events.schema import Branch
    from hepgan.events.structure import draft

    _, tree, data, counter = FILES[kind]
    branches = [
        Branch(n, "float32", isinstance(v, ak.Array), counter(n) if isinstance(v, ak.Array) else None)
        for n, v in data.items()
    ]
    counters = [Branch(n, "int32") for n in dict.fromkeys(b.counter for b in branches if b.counter)]
    schema = draft([*counters, *branches], tree)
    assert isinstance(schema, EventSchema)
    assert not is_nanoaod(schema)
