"""Files that stay open are opened once, read as others are, and closed at the end."""

from __future__ import annotations

import numpy as np
import pytest
import uproot

from hepgan.errors import InputError
from hepgan.events import count_events, infer_schema, read_events
from hepgan.events.formats import kept_open, open_source, opening
from hepgan.recipes import draft


@pytest.fixture
def wide(tmp_path):
    """A file of 120 branches, of which few are read at a time."""
    rng = np.random.default_rng(1)
    made = {f"x{k}": rng.normal(size=300).astype(np.float32) for k in range(120)}
    made["flag"] = rng.random(300) < 0.5
    with uproot.recreate(tmp_path / "wide.root") as file:
        file.mktree("tree", {n: v.dtype for n, v in made.items()}).extend(made)
    return tmp_path / "wide.root", made


@pytest.fixture
def opened(monkeypatch):
    """The files that are opened."""
    found = []
    before = opening._opened
    monkeypatch.setattr(opening, "_opened", lambda path: found.append(before(path)) or found[-1])
    return found


def test_a_file_is_opened_once_and_closed_at_the_end(wide, opened):
    file, made = wide
    with kept_open():
        assert count_events(file) == 300
        assert len(infer_schema(file).scalars) == 121
        events = read_events(file, branches=["x3", "flag"])
        assert (np.asarray(events.x3) == made["x3"]).all()
        assert len(opened) == 1
        assert not opened[0][0].closed
    assert opened[0][0].closed
    assert (np.asarray(read_events(file, branches=["x3"]).x3) == made["x3"]).all()
    assert len(opened) > 1


def test_a_draft_opens_its_file_once(wide, opened):
    draft(str(wide[0]), name="wide", select=["x1", "x2", "flag"])
    assert len(opened) == 1


def test_few_of_many_branches_are_read_as_all_are(wide):
    file, made = wide
    with open_source(str(file), None) as source:
        every = source.read(list(made), 100, 250)
        for names in (["x7"], ["flag", "x99"]):
            few = source.read(names, 100, 250)
            assert list(few) == names
            for name in names:
                assert (few[name] == every[name]).all()
                assert (few[name] == made[name][100:250]).all()


def test_what_cannot_be_opened_is_told_there_too(tmp_path):
    with kept_open(), pytest.raises(InputError, match="no\\.root"):
        read_events(tmp_path / "no.root")
