"""Folding of files, from Python and from the command line."""

from __future__ import annotations

import awkward as ak
import pytest
from response_toys import jet_pairs

from hepgan.cli import main
from hepgan.detector import Folding, fold_file, folding_recipe
from hepgan.errors import InputError, OutputError
from hepgan.events import count_events, read_events, schema_of, write_events
from hepgan.recipes import load_recipe

EVENTS = 5000
"""More than a block of them, which is 4096."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folding, and vertex-level events in one file and in two."""
    folder = tmp_path_factory.mktemp("fold")
    recipe = folding_recipe(
        schema_of(jet_pairs(10)), vertex=["GenJet"], detector=["Jet"], conditions=["rho"]
    ).with_settings(["training.steps=20", "training.batch_size=256", "model.blocks=1"])
    Folding(recipe).fit(jet_pairs(1200, 1), device="cpu").save(folder / "folding.safetensors")
    events = jet_pairs(EVENTS, 2, weighted=True)[["GenJet", "rho", "genWeight"]]
    write_events(folder / "vertex.root", events)
    write_events(folder / "part-0.root", events[:2000])
    write_events(folder / "part-1.root", events[2000:])
    return folder


@pytest.fixture
def folding(folder):
    return Folding.load(folder / "folding.safetensors", device="cpu")


def alike(one, other):
    for name in ("Jet", "rho", "genWeight"):
        assert ak.array_equal(one[name], other[name])


def test_files_are_folded_as_arrays_are_however_they_are_read(folder, folding, tmp_path):
    whole = folding.fold(read_events(folder / "vertex.root"), seed=5)
    seen = []
    for number, (source, chunk, workers) in enumerate(
        [("vertex.root", 100_000, 1), ("vertex.root", 3000, 2), ("part-*.root", 2500, 2)]
    ):
        path = tmp_path / f"{number}.root"
        done = fold_file(
            folding, str(folder / source), path, seed=5, chunk=chunk, workers=workers, on_progress=seen.append
        )
        assert done == EVENTS == count_events(path)
        alike(read_events(path), whole)
    assert seen[-1] == EVENTS


def test_the_command_folds_a_file(folder, folding, tmp_path, capsys):
    arguments = [str(folder / "folding.safetensors"), f"{folder / 'vertex.root'}:Events", "--seed", "5"]
    for name, more in {"a.root": [], "b.parquet": ["--keep-vertex"], "c.root": ["--format=rntuple"]}.items():
        assert run("fold", *arguments, "-o", str(tmp_path / name), *more) == 0
        assert f"{EVENTS:,} events in" in capsys.readouterr().out
    whole = folding.fold(read_events(folder / "vertex.root"), seed=5)
    for name in ("a.root", "b.parquet", "c.root"):
        alike(read_events(tmp_path / name), whole)
    assert "GenJet" in read_events(tmp_path / "b.parquet").fields
    assert run("fold", *arguments, "-o", str(tmp_path / "a.root")) == 2
    assert "exists already" in capsys.readouterr().err


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    return ended.value.code


def test_events_that_cannot_be_folded_leave_no_file_and_name_their_place(folder, folding, tmp_path):
    events = read_events(folder / "vertex.root")
    write_events(tmp_path / "bare.root", events[["rho"]])
    with pytest.raises(InputError, match=r"bare\.root.*GenJet"):
        fold_file(folding, str(tmp_path / "bare.root"), tmp_path / "out.root")
    many = ak.concatenate([events.GenJet, events.GenJet], axis=1)
    write_events(tmp_path / "many.root", ak.with_field(events, many, "GenJet"))
    with pytest.raises(InputError, match=r"many\.root.*GenJet"):
        fold_file(folding, str(tmp_path / "many.root"), tmp_path / "out.root")
    assert not (tmp_path / "out.root").exists()
    (tmp_path / "there.root").touch()
    with pytest.raises(OutputError, match="exists already"):
        fold_file(folding, str(folder / "vertex.root"), tmp_path / "there.root")


def test_the_recipe_is_for_the_shipped_events(shared_data):
    events = read_events(f"{shared_data / 'dis_train.root'}:Events", entry_stop=3000)
    recipe = load_recipe("folding").with_settings(["training.steps=30", "training.batch_size=512"])
    folding = Folding(recipe).fit(events, device="cpu")
    # Every electron is found, and only three numbers of it are left to learn.
    assert folding.generator.representation.names == (
        "Detector[0].log_p",
        "Detector[0].tilt",
        "Detector[0].turn",
    )
    assert not folding.generator.representation.variables
    folded = folding.fold(events)
    assert folded.fields == ["Detector", "beam_energy"]
    assert ak.all(ak.num(folded.Detector) == 1)


@pytest.mark.parametrize("source", ["vertex.root", "vertex.root:Events", "v*.root"])
def test_events_are_never_written_over_those_that_are_read(folder, folding, source):
    before = (folder / "vertex.root").read_bytes()
    with pytest.raises(OutputError, match="is read and cannot be written, too"):
        fold_file(folding, str(folder / source), folder / "vertex.root", force=True)
    assert (folder / "vertex.root").read_bytes() == before
