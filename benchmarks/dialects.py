"""The events of multilepton as others would have written them, each drafted, trained and judged alike.

    python benchmarks/dialects.py DATA [--dialects own atlas flat records] [--steps 600] [--limit N]

- ``own``: as it is, NanoAOD-like, in GeV.
- ``atlas``: MeV, lower-case names, energies for masses, a counter for each branch and none for the objects,
  ``weight_mc``, ``met_met``, a number ``mu`` beside ``mu_pt``.
- ``flat``: numbered columns, -999 where an event has fewer objects.
- ``records``: an RNTuple of records.

Generated files are read with uproot, put back into the names and units of multilepton, and judged as by
``multilepton.py``, on its test sample. The last column is the floor.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import uproot
from common import generated, options, print_table
from multilepton import generator_of, judge

import hepgan

Columns = Mapping[str, Any]

OBJECTS = {"Muon": "mu", "Electron": "el", "Jet": "jet"}
TRIGGERS = {"IsoMu24": "HLT_mu24_iso", "Ele27": "HLT_e27"}
ABSENT = -999


# ------------------------------------------------------------------ columns and files


def columns_of(path: Path, limit: int | None = None) -> dict[str, Any]:
    """The branches of multilepton."""
    with uproot.open(path) as file:
        tree = file["Events"]
        read = tree.arrays(entry_stop=limit, library="ak")
        return {name: read[name] for name in read.fields if name not in ("nMuon", "nElectron", "nJet")}


def events_of(columns: Columns) -> ak.Array:
    """What is judged, as `hepgan.read_events` gives it for multilepton."""
    fields: dict[str, dict[str, Any]] = {}
    for name, values in columns.items():
        owner, _, field = name.partition("_")
        if owner in (*OBJECTS, "MET", "HLT") and field:
            fields.setdefault(owner, {})[field] = values
    parts = {name: ak.zip(fields[name], with_name="Momentum4D") for name in OBJECTS}
    parts |= {"MET": ak.zip(fields["MET"]), "HLT": ak.zip(fields["HLT"]), "genWeight": columns["genWeight"]}
    return ak.zip(parts, depth_limit=1)


def flat_types(columns: Columns) -> dict[str, Any]:
    """What uproot calls the types of columns."""
    return {n: v.type.content if v.ndim > 1 else ak.to_numpy(v[:1]).dtype for n, v in columns.items()}


# ------------------------------------------------------------------ dialects


def to_atlas(columns: Columns, path: Path) -> None:
    """MeV, lower case, a counter for each branch."""
    made: dict[str, Any] = {}
    for owner, name in OBJECTS.items():
        for field in (f for f in columns if f.startswith(f"{owner}_")):
            short = field.removeprefix(f"{owner}_")
            values = columns[field]
            if short == "mass":
                pt, eta = (ak.values_astype(columns[f"{owner}_{k}"], np.float64) for k in ("pt", "eta"))
                mass = ak.values_astype(values, np.float64)
                energy = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)
                made[f"{name}_e"] = ak.values_astype(1e3 * energy, np.float32)
            else:
                made[f"{name}_{short}"] = 1e3 * values if short == "pt" else values
    made |= {"met_met": 1e3 * columns["MET_pt"], "met_phi": columns["MET_phi"]}
    made |= {"mu": ak.values_astype(columns["PV_npvs"], np.float32), "weight_mc": columns["genWeight"]}
    made |= {new: columns[f"HLT_{old}"] for old, new in TRIGGERS.items()}
    made |= {"process": columns["process"], "runNumber": columns["run"], "eventNumber": columns["event"]}
    with uproot.recreate(path) as file:
        file.mktree("nominal", flat_types(made))
        file["nominal"].extend(made)


def from_atlas(path: Path) -> dict[str, Any]:
    """The branches of multilepton."""
    with uproot.open(path) as file:
        read = file["nominal"].arrays(library="ak")
    made: dict[str, Any] = {}
    for owner, name in OBJECTS.items():
        pt, eta, energy = (ak.values_astype(read[f"{name}_{k}"], np.float64) for k in ("pt", "eta", "e"))
        mass2 = (energy / 1e3) ** 2 - (pt / 1e3 * np.cosh(eta)) ** 2
        for field in read.fields:
            short = field.removeprefix(f"{name}_")
            if short != field and short != "e":
                made[f"{owner}_{short}"] = read[field] / 1e3 if short == "pt" else read[field]
        made[f"{owner}_mass"] = np.sqrt(ak.where(mass2 > 0, mass2, 0))
    made |= {"MET_pt": read["met_met"] / 1e3, "MET_phi": read["met_phi"], "genWeight": read["weight_mc"]}
    return made | {f"HLT_{old}": read[new] for old, new in TRIGGERS.items()}


def to_flat(columns: Columns, path: Path) -> None:
    """Numbered columns with -999."""
    made: dict[str, Any] = {}
    for owner, name in OBJECTS.items():
        counts = ak.num(columns[f"{owner}_pt"])
        made[f"n_{name}"] = ak.to_numpy(counts).astype(np.int32)
        for field in (f for f in columns if f.startswith(f"{owner}_")):
            short = field.removeprefix(f"{owner}_")
            table = ak.to_numpy(
                ak.fill_none(ak.pad_none(columns[field], int(ak.max(counts)), clip=True), ABSENT)
            )
            kind = np.float32 if table.dtype.kind == "f" else np.int32
            made |= {f"{name}{i + 1}_{short}": table[:, i].astype(kind) for i in range(table.shape[1])}
    made |= {"met": columns["MET_pt"], "met_phi": columns["MET_phi"], "npv": columns["PV_npvs"]}
    made |= {new: columns[f"HLT_{old}"] for old, new in TRIGGERS.items()}
    made |= {"process": columns["process"], "weight": columns["genWeight"], "eventNumber": columns["event"]}
    made = {name: ak.to_numpy(values) for name, values in made.items()}
    with uproot.recreate(path) as file:
        file.mktree("tree", {name: values.dtype for name, values in made.items()})
        file["tree"].extend(made)


def from_flat(path: Path) -> dict[str, Any]:
    """The branches of multilepton."""
    with uproot.open(path) as file:
        read = file["tree"].arrays(library="np")
    made: dict[str, Any] = {}
    for owner, name in OBJECTS.items():
        fields: dict[str, list[Any]] = {}
        for branch, values in read.items():
            slot, _, short = branch.partition("_")
            if slot.removeprefix(name).isdigit():
                fields.setdefault(short, []).append(values)
        here = np.stack(fields["pt"], 1) != ABSENT
        counts = here.sum(1)
        if not (here == (np.arange(here.shape[1]) < counts[:, None])).all():
            msg = f"{path}: a place of {name} is empty before one that is not"
            raise ValueError(msg)
        for short, places in fields.items():
            made[f"{owner}_{short}"] = ak.unflatten(np.stack(places, 1)[here], counts)
    made |= {"MET_pt": read["met"], "MET_phi": read["met_phi"], "genWeight": read["weight"]}
    return made | {f"HLT_{old}": read[new] for old, new in TRIGGERS.items()}


def to_records(columns: Columns, path: Path) -> None:
    """An RNTuple of records."""
    made: dict[str, Any] = {}
    for owner in (*OBJECTS, "MET", "PV", "HLT"):
        fields = {n.removeprefix(f"{owner}_"): v for n, v in columns.items() if n.startswith(f"{owner}_")}
        made[owner] = ak.zip(fields)
    made |= {n: columns[n] for n in ("process", "genWeight", "run", "luminosityBlock", "event")}
    with uproot.recreate(path) as file:
        file.mkrntuple("Events", made)


def from_records(path: Path) -> dict[str, Any]:
    """The branches of multilepton."""
    with uproot.open(path) as file:
        read = file["Events"].arrays()
    if "Muon.pt" in read.fields or "Muon_pt" in read.fields:
        return {n.replace(".", "_"): read[n] for n in read.fields}
    made = {f"{owner}_{f}": read[owner][f] for owner in (*OBJECTS, "MET", "HLT") for f in read[owner].fields}
    return made | {"genWeight": read["genWeight"]}


def from_own(path: Path) -> dict[str, Any]:
    """The branches of multilepton, as they are."""
    return columns_of(path)


@dataclass(frozen=True)
class Dialect:
    """How events are written, and read back.

    Attributes:
        write: Writes the branches of multilepton in the dialect; None for those that it has.
        read: Reads a file in the dialect.
    """

    write: Callable[[Columns, Path], None] | None
    read: Callable[[Path], dict[str, Any]]


DIALECTS = {
    "own": Dialect(None, from_own),
    "atlas": Dialect(to_atlas, from_atlas),
    "flat": Dialect(to_flat, from_flat),
    "records": Dialect(to_records, from_records),
}


def figures(name: str, chosen: argparse.Namespace, true: ak.Array, folder: Path) -> dict[str, str]:
    """The figures of one dialect."""
    dialect, file = DIALECTS[name], chosen.data / "multilepton_train.root"
    if dialect.write is not None or chosen.limit:
        own, file = columns_of(file, chosen.limit), folder / f"{name}.root"
        (dialect.write or DIALECTS["own"].write or write_own)(own, file)
    train = hepgan.read_events(file)
    chosen.models = None
    made, training, rate = generated(generator_of(chosen, file, train), chosen.events)
    out = folder / f"{name}_generated.root"
    hepgan.write_events(out, made, format="rntuple" if name == "records" else "ttree")
    return {**training, **judge(true, events_of(dialect.read(out))), **rate}


def write_own(columns: Columns, path: Path) -> None:
    """As multilepton is, for a part of it."""
    with uproot.recreate(path) as file:
        counters = {f"n{o}": ak.to_numpy(ak.num(columns[f"{o}_pt"])).astype(np.int32) for o in OBJECTS}
        file.mktree("Events", flat_types(columns), counter_name=lambda n: "n" + n.partition("_")[0])
        file["Events"].extend(counters | dict(columns))


def main() -> None:
    """Runs it."""
    parser = options(__doc__, [], 0.0, events=100_000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--dialects", nargs="+", default=list(DIALECTS), choices=list(DIALECTS))
    chosen = parser.parse_args()
    test = events_of(columns_of(chosen.data / "multilepton_test.root", chosen.limit))
    train = events_of(columns_of(chosen.data / "multilepton_train.root", chosen.limit))
    table: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.dialects:
            table[name] = figures(name, chosen, test, Path(folder))
    table["floor"] = judge(test, train[: len(test)])
    print_table(table)


if __name__ == "__main__":
    main()
