"""Whether two samples have events in common, whatever their files are called."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan.errors import InputError
from hepgan.events import overlap, reads


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a.root", "a.root", True),
        ("a.root", "./a.root", True),
        ("a.root:Events", "a.root", True),
        ("./a.root", "a.root:Events", True),
        ("a.root:Events", "link.root", True),
        ("[ab].root", "a.root:Events", True),
        ("p.parquet", "./p.parquet", True),
        ("a.root", "b.root", False),
        ("two.root:Events", "two.root:Other", False),
        ("two.root", "two.root:Other", False),
    ],
)
def test_the_same_events_are_known_by_any_name(one, other, same, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "two"):
        with uproot.recreate(f"{name}.root") as file:
            file.mktree("Events", {"x": "float32"}).extend({"x": np.ones(3, np.float32)})
            if name == "two":
                file.mktree("Other", {"x": "float32"}).extend({"x": np.ones(3, np.float32)})
    Path("link.root").symlink_to("a.root")
    ak.to_parquet(ak.Array({"x": [1.0, 2.0]}), "p.parquet")
    assert overlap(one, other) == overlap(other, one) == same


def test_a_file_is_known_among_those_of_a_sample_by_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        with uproot.recreate(f"{name}.root") as file:
            file.mktree("Events", {"x": "float32"}).extend({"x": np.ones(3, np.float32)})
    Path("link.root").symlink_to("a.root")
    for sample in ("a.root", "./a.root:Events", "link.root", "[ab].root"):
        assert reads(sample, "a.root")
    assert not reads("a.root", "b.root")
    assert not reads("a.root", "new.root")


def test_what_is_not_there_is_in_no_other_sample(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        overlap(tmp_path / "a.root", tmp_path / "b.root")
