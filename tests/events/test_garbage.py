"""Whatever is thrown at reading, only hepgan's own errors come out."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hepgan.errors import HepganError
from hepgan.events import Address, as_events, read_events, schema_of, to_awkward, to_batch, write_events
from hepgan.events.schema import quoted, unquoted

FEW = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def events() -> ak.Array:
    rng = np.random.default_rng(1)
    counts = rng.integers(0, 4, 50)
    pt = ak.unflatten(rng.exponential(30, counts.sum()), counts)
    words = [str(i % 7) for i in range(50)]
    jets = ak.zip({"pt": pt, "charge": ak.values_astype(pt > 20, np.int32)})
    return ak.zip({"Jet": jets, "x": rng.normal(0, 1, 50), "word": words}, depth_limit=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    found = {}
    for name, kind in (("tree.root", "ttree"), ("ntuple.root", "rntuple"), ("table.parquet", "parquet")):
        write_events(folder / name, events(), format=kind)
        found[name] = (folder / name).read_bytes()
    return found


DAMAGE = st.tuples(
    st.integers(0, 10**6), st.sampled_from(["byte", "cut", "ones", "zeros"]), st.integers(0, 255)
)


@FEW
@given(
    st.sampled_from(["tree.root", "ntuple.root", "table.parquet"]), st.lists(DAMAGE, min_size=1, max_size=4)
)
def test_damaged_files_are_read_or_refused(
    whole: dict[str, bytes], tmp_path: Path, name: str, damages: list[tuple[int, str, int]]
) -> None:
    data = bytearray(whole[name])
    for at, kind, number in damages:
        at %= len(data)
        if kind == "cut":
            del data[at : at + number]
        else:
            new = {"byte": bytes([number]), "ones": b"\xff" * 8, "zeros": bytes(64)}[kind]
            data[at : at + len(new)] = new
    (tmp_path / name).write_bytes(data)
    with warnings.catch_warnings(), contextlib.suppress(HepganError):
        warnings.simplefilter("ignore")
        read_events(tmp_path / name, on_bad="keep")


COLUMNS = st.one_of(
    st.lists(st.floats(width=64), min_size=3, max_size=3),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
    st.lists(st.text(max_size=3), min_size=3, max_size=3),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.lists(st.lists(st.floats(width=32), max_size=2), min_size=3, max_size=3),
)
NAMES = st.one_of(
    st.text(min_size=1, max_size=6),
    st.sampled_from(
        ["event", "run", "weight", "nJet", "Jet_pt", "Jet_eta", "px1", "px2", "MET_pt", "MET_phi", "a.b"]
    ),
)


@FEW
@given(st.dictionaries(NAMES, COLUMNS, min_size=1, max_size=6))
def test_arrays_of_anything_are_events_or_refused(columns: dict[str, list[object]]) -> None:
    with warnings.catch_warnings(), contextlib.suppress(HepganError):
        warnings.simplefilter("ignore")
        found = as_events(ak.zip({n: ak.Array(v) for n, v in columns.items()}, depth_limit=1), check=False)
        schema_of(found)
        assert len(to_awkward(to_batch(found))) == 3


@FEW
@given(st.text(max_size=8), st.none() | st.integers(0, 99), st.text(min_size=1, max_size=8))
def test_addresses_of_any_names_come_back(collection: str, slot: int | None, field: str) -> None:
    address = Address(collection, slot, field) if collection else Address(None, None, field)
    assert Address.parse(str(address)) == address
    assert unquoted(quoted(field)) == field
