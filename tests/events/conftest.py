"""Small files made with bare uproot and pyarrow, so that hepgan's reader meets what others write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

Columns = dict[str, Any]


def jagged(counts: np.ndarray, content: np.ndarray) -> ak.Array:
    """Lists with these lengths and this content."""
    return ak.unflatten(content, counts)


@pytest.fixture
def columns() -> Columns:
    """1,000 events with up to 4 muons, a MET, vertices, a weight and NanoAOD's identifiers."""
    rng = np.random.default_rng(7)
    n = 1000
    counts = rng.integers(0, 5, n)
    total = int(counts.sum())
    isolation = np.where(rng.random(total) < 0.6, 0, rng.exponential(1, total))
    return {
        "run": np.full(n, 3, np.uint32),
        "luminosityBlock": np.full(n, 2, np.uint32),
        "event": np.arange(100, 100 + n, dtype=np.uint64),
        "Muon_pt": jagged(counts, (10 + rng.exponential(20, total)).astype(np.float32)),
        "Muon_eta": jagged(counts, rng.normal(0, 1, total).astype(np.float32)),
        "Muon_phi": jagged(counts, rng.uniform(-np.pi, np.pi, total).astype(np.float32)),
        "Muon_mass": jagged(counts, np.full(total, 0.10566, np.float32)),
        "Muon_charge": jagged(counts, rng.choice([-1, 1], total).astype(np.int32)),
        "Muon_iso": jagged(counts, isolation.astype(np.float32)),
        "Muon_tight": jagged(counts, rng.random(total) < 0.5),
        "MET_pt": rng.exponential(30, n).astype(np.float32),
        "MET_phi": rng.uniform(-np.pi, np.pi, n).astype(np.float32),
        "PV_npvs": rng.poisson(25, n).astype(np.int32),
        "genWeight": rng.choice([-1.0, 1.0], n, p=[0.1, 0.9]),
    }


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes columns as a TTree with bare uproot: ``make(columns, name="events.root", tree="Events")``."""

    def write(
        columns: Columns,
        name: str = "events.root",
        tree: str = "Events",
        counter: Callable[[str], str] = lambda branch: "n" + branch.split("_")[0],
    ) -> Path:
        def kind(values: Any) -> Any:
            return values.type.content if isinstance(values, ak.Array) else values.dtype

        path = tmp_path / name
        with uproot.recreate(path) as file:
            types = {k: kind(v) for k, v in columns.items()}
            written = file.mktree(tree, types, counter_name=counter)
            if len(next(iter(columns.values()))):
                written.extend(columns)
        return path

    return write


@pytest.fixture
def path(columns: Columns, make: Callable[..., Path]) -> Path:
    """The columns in a TTree."""
    return make(columns)
