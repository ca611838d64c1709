from __future__ import annotations

import json
import warnings

import awkward as ak
import numpy as np
import pytest
import uproot

from hepgan.errors import InputError, OutputError
from hepgan.events import fileset, read_events, write_events, write_fileset


def test_a_fileset_counts_as_preprocessed(path):
    from coffea.dataset_tools.filespec import DatasetSpec

    made = fileset(path, metadata={"xsec": 2.5}, dataset="zmumu", step=400)
    entry = made["zmumu"]["files"][str(path)]
    with uproot.open(path) as file:
        assert entry["uuid"] == str(file.file.uuid)
    assert entry["object_path"] == "Events"
    assert entry["steps"] == [[0, 400], [400, 800], [800, 1000]]
    assert entry["num_entries"] == 1000
    assert made["zmumu"]["metadata"] == {"xsec": 2.5}
    assert type(DatasetSpec.model_validate(made["zmumu"]).files).__name__ == "PreprocessedFiles"


def test_several_datasets_and_files_are_listed(columns, make):
    paths = [make(columns, f"{i}.root", tree="T") for i in range(3)]
    made = fileset({"a": paths[:1], "b": f"{paths[0].parent}/[12].root"}, "T")
    assert {name: list(d["files"]) for name, d in made.items()} == {
        "a": [str(paths[0])],
        "b": [str(p) for p in paths[1:]],
    }


def test_a_fileset_is_written_as_json(path, tmp_path):
    made = fileset(path)
    written = write_fileset(tmp_path / "fileset.json", made)
    assert json.loads(written.read_text()) == made
    with pytest.raises(OutputError, match="exists already"):
        write_fileset(written, made)
    assert write_fileset(written, made, force=True) == written


def test_parquet_files_and_missing_trees_are_errors(path, tmp_path):
    parquet = write_events(tmp_path / "a.parquet", read_events(path))
    with pytest.raises(InputError, match="are of ROOT files"):
        fileset(parquet)
    with pytest.raises(InputError, match="no tree 'T'"):
        fileset(path, "T")
    with pytest.raises(ValueError, match="step must be positive, not 0"):
        fileset(path, step=0)


@pytest.mark.parametrize("format", ["ttree", "rntuple"])
def test_coffea_runs_over_written_files_by_the_fileset(path, tmp_path, format):
    from coffea import processor
    from coffea.nanoevents import NanoAODSchema

    class Leading(processor.ProcessorABC):
        def process(self, events):
            two = events[ak.num(events.Muon) >= 2]
            return {
                "n": len(events),
                "mass": float(ak.sum((two.Muon[:, 0] + two.Muon[:, 1]).mass)),
                "met": float(ak.sum(events.MET.pt)),
            }

        def postprocess(self, accumulator):
            pass

    events = read_events(path)
    target = write_events(tmp_path / "out.root", events, format=format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = processor.Runner(
            processor.IterativeExecutor(status=False), schema=NanoAODSchema, chunksize=400, metadata_cache={}
        )
        result = run(fileset(target, dataset="x", step=400), Leading())
    two = events[ak.num(events.Muon) >= 2]
    assert result["n"] == 1000
    assert result["met"] == pytest.approx(float(ak.sum(events.MET.pt)), rel=1e-5)
    assert result["mass"] == pytest.approx(float(ak.sum((two.Muon[:, 0] + two.Muon[:, 1]).mass)), rel=1e-3)
    assert np.isfinite(result["mass"])
