"""ROOT itself reads what is written; skipped where it is not installed."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import awkward as ak
import pytest
from toys import dimuons

from hepgan.events import write_events

SCRIPT = Path(__file__).with_name("root_reads.py")


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that has ROOT: this one, or that which HEPGAN_ROOT_PYTHON names."""
    other = os.environ.get("HEPGAN_ROOT_PYTHON")
    if other is None and importlib.util.find_spec("ROOT") is None:
        pytest.skip("needs ROOT (pip install --pre ROOT), here or in the Python of HEPGAN_ROOT_PYTHON")
    return other or sys.executable


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_root_reads_each_format_with_and_without_threads(
    python: str, tmp_path: Path, format: str, threads: int
) -> None:
    events = ak.concatenate([dimuons(25_000, 1), dimuons(20_000, 2)])
    path = write_events(tmp_path / "events.root", events, format=format, identifiers=True)
    said = subprocess.run(
        [python, str(SCRIPT), str(path), str(threads)], capture_output=True, text=True, check=False
    )
    lines = [line for line in said.stdout.splitlines() if line.startswith("found ")]
    assert lines, said.stderr[-2000:]
    found = json.loads(lines[0].removeprefix("found "))
    assert found["kind"] == {"ttree": "TTree", "rntuple": "RNTuple"}[format]
    assert found["events"] == found["last"] == len(events)
    assert found["clusters"] == 3
    assert found["slots"] == max(threads, 1)
    assert found["muons"] == ak.sum(ak.num(events.Muon))
    assert found["charge"] == ak.sum(events.Muon.charge)
    assert found["met"] == pytest.approx(ak.sum(events.MET.pt, mask_identity=False), rel=1e-4)
    leading = events.Muon.pt[ak.num(events.Muon) > 0][:, 0]
    assert found["leading"] == pytest.approx(float(ak.sum(ak.values_astype(leading, "float64"))), rel=1e-6)
    if format == "ttree":
        assert found["drawn"] == len(leading)
