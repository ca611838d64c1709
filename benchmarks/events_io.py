"""Writing, reading and conversion of events against bare uproot and numpy, on the same data in one run.

Run ``python benchmarks/events_io.py [--events N] [--repeats R]``. The events are like those of Z -> mu mu
with jets: two muons of eight numbers, 0 to 5 jets of four, missing energy and a number of vertices. Each
time is the best of R; rates are events in a second.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import uproot
from common import in_turns, parser_of

from hepgan.events import as_events, read_events, schema_of, to_awkward, to_batch, write_events

BATCH = 100_000


def sample(n: int) -> dict[str, ak.Array | np.ndarray]:
    """Columns of n events, as a file holds them."""
    rng = np.random.default_rng(1)
    muons, jets = np.full(n, 2), rng.choice(6, n, p=[0.66, 0.24, 0.07, 0.02, 0.006, 0.004])
    columns: dict[str, ak.Array | np.ndarray] = {}
    for name, counts, fields in (
        ("Muon", muons, ("pt", "eta", "phi", "mass", "isoCh", "isoPh", "isoNh")),
        ("Jet", jets, ("pt", "eta", "phi", "mass")),
    ):
        for field in fields:
            size = int(counts.sum())
            low, high = (-np.pi, np.pi) if field == "phi" else (-2.5, 2.5) if field == "eta" else (1, 100)
            values = rng.uniform(low, high, size).astype(np.float32)
            columns[f"{name}_{field}"] = ak.unflatten(values, counts)
    columns["Muon_charge"] = ak.unflatten(rng.choice([-1, 1], 2 * n).astype(np.int32), muons)
    columns["MET_pt"] = rng.exponential(30, n).astype(np.float32)
    columns["MET_phi"] = rng.uniform(-np.pi, np.pi, n).astype(np.float32)
    columns["PV_npvs"] = rng.poisson(25, n).astype(np.int32)
    return columns


def bare_write(path: Path, columns: dict[str, ak.Array | np.ndarray]) -> None:
    """The same tree by uproot alone, collections zipped, in batches of the same size."""
    muons = ak.zip({k[5:]: v for k, v in columns.items() if k.startswith("Muon_")})
    jets = ak.zip({k[4:]: v for k, v in columns.items() if k.startswith("Jet_")})
    data = {"Muon": muons, "Jet": jets} | {k: v for k, v in columns.items() if isinstance(v, np.ndarray)}
    with uproot.recreate(path, compression=uproot.ZSTD(1)) as file:
        types = {k: v.type.content if isinstance(v, ak.Array) else v.dtype for k, v in data.items()}
        tree = file.mktree("Events", types)
        for at in range(0, len(muons), BATCH):
            tree.extend({k: v[at : at + BATCH] for k, v in data.items()})


def bare_read(path: Path) -> ak.Array:
    """All branches by uproot alone."""
    with uproot.open(f"{path}:Events") as tree:
        return tree.arrays()


def bare_dense(columns: dict[str, ak.Array | np.ndarray]) -> list[np.ndarray]:
    """Padded arrays the usual way: ``pad_none`` and ``fill_none``."""
    arrays = []
    for values in columns.values():
        if isinstance(values, ak.Array):
            most = int(ak.max(ak.num(values)))
            arrays.append(ak.to_numpy(ak.fill_none(ak.pad_none(values, most, clip=True), 0)).astype(float))
        else:
            arrays.append(values.astype(float))
    return arrays


def best(function: Callable[[], object], repeats: int) -> float:
    """The shortest time of some calls, in seconds."""
    return min(in_turns([function], repeats)[0])


def main() -> None:
    """Measures and prints one JSON object."""
    parser = parser_of(__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    n, repeats = options.events, options.repeats
    columns = sample(n)
    events = as_events(ak.Array(columns))
    batch = to_batch(events)
    schema = schema_of(events)
    with tempfile.TemporaryDirectory() as folder:
        bare, ours = Path(folder, "bare.root"), Path(folder, "ours.root")
        other, parquet = Path(folder, "ntuple.root"), Path(folder, "ours.parquet")
        seconds = {
            "write, bare uproot TTree": best(lambda: bare_write(bare, columns), repeats),
            "write, hepgan TTree": best(lambda: write_events(ours, events, force=True), repeats),
            "write, hepgan TTree from tensors": best(lambda: write_events(ours, batch, force=True), repeats),
            "write, hepgan RNTuple": best(
                lambda: write_events(other, events, format="rntuple", force=True), repeats
            ),
            "write, hepgan Parquet": best(lambda: write_events(parquet, events, force=True), repeats),
            "read, bare uproot": best(lambda: bare_read(ours), repeats),
            "read, hepgan with checks": best(lambda: read_events(ours, schema=schema), repeats),
            "read, hepgan without checks": best(
                lambda: read_events(ours, schema=schema, on_bad="keep"), repeats
            ),
            "read, hepgan with checks and inference": best(lambda: read_events(ours), repeats),
            "read, hepgan RNTuple with checks": best(lambda: read_events(other, schema=schema), repeats),
            "dense, pad_none and fill_none": best(lambda: bare_dense(columns), repeats),
            "dense, to_batch": best(lambda: to_batch(events, schema), repeats),
            "back, to_awkward": best(lambda: to_awkward(batch), repeats),
        }
        sizes = {p.name: p.stat().st_size for p in (bare, ours, other, parquet)}
    report = {
        "events": n,
        "rate": {name: round(n / s) for name, s in seconds.items()},
        "write, hepgan / bare uproot": round(
            seconds["write, bare uproot TTree"] / seconds["write, hepgan TTree"], 2
        ),
        "bytes": sizes,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
