"""Plans as files: written by one command, followed by others, and nothing said twice."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from cli_toys import run

from hepgan.events import read_events, write_events


@pytest.fixture
def here(toy_generator, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_generator.save(tmp_path / "m.safetensors")
    return tmp_path


def failed(command: str, capsys: pytest.CaptureFixture) -> str:
    """The error of a command that ends with one."""
    capsys.readouterr()
    assert run(*command.split()) == 2
    return capsys.readouterr().err


def test_jobs_follow_the_plan_of_a_command(here, toy_generator, capsys):
    assert (
        run("plan", "m.safetensors", "-n", 250, "-o", "d", "--shard-size", 50, "--seed", 7, "--jobs", 2) == 0
    )
    said = capsys.readouterr().out
    assert said.splitlines() == [
        "250 events in 5 shards for d, by 2 jobs; plan in d.plan.json",
        "next: hepgan generate d.plan.json --shards 1/2",
    ]
    assert json.loads((here / "d.plan.json").read_text())["plan"]["seed"] == 7
    assert run("generate", "d.plan.json", "--shards", "2/2") == 0
    said = capsys.readouterr().out
    assert re.search(
        r"150 events in 3 files of .*/d \([\d,]+ events/s\)\nother jobs make the other shards", said
    )
    assert run("generate", "d.plan.json", "--shards", "1/2") == 0
    assert "fileset for coffea in " in capsys.readouterr().out
    assert np.array_equal(
        read_events(str(here / "d" / "*.root")).MET.pt, toy_generator.generate(250, seed=7).MET.pt
    )
    assert run("generate", "d.plan.json", "--shards", "1/2") == 0
    assert "2 of 2 shards were there already" in capsys.readouterr().out


def test_a_plan_keeps_conditions_selections_and_their_efficiency(here, toy_generator, capsys):
    truth = write_events(here / "truth.root", toy_generator.generate(200, seed=9))
    options = ["--condition", f"npv={truth.name}", "--where", "nJet >= 1", "--cross-section", "5"]
    assert run("plan", "m.safetensors", "-n", 200, "-o", "d", "--shard-size", 100, *options) == 0
    assert "where nJet >= 1: (" in capsys.readouterr().out
    assert run("generate", "d.plan.json") == 0
    assert "where" not in capsys.readouterr().out
    assert run("generate", "m.safetensors", "-n", 200, "-o", "all.root", *options) == 0
    one, other = (read_events(str(here / p)) for p in ("d/*.root", "all.root"))
    assert one.to_list() == other.to_list()
    assert len(set(one.npv)) > 3


def test_submit_files_are_written_with_the_plan(here, capsys):
    for system, script, submits in (("slurm", "d.slurm", "sbatch"), ("htcondor", "e.sub", "condor_submit")):
        folder = script.partition(".")[0]
        command = f"plan m.safetensors -n 300 -o {folder} --shard-size 100 --submit {system}"
        assert run(*command.split()) == 0
        assert capsys.readouterr().out.splitlines()[-1] == f"next: {submits} {script}"
        assert f"{here}/{folder}.plan.json" in (here / script).read_text()
        assert "exists already" in failed(command, capsys)
        assert run(*command.split(), "--force") == 0


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("generate d.plan.json --seed 2", "d.plan.json: the plan says what --seed would: make another plan"),
        ("generate d.plan.json -o e", "d.plan.json: the plan says what --output would"),
        ("generate d.plan.json --shards 3/2", "a part of the shards is written as 12/400"),
        ("generate d.plan.json --shards 1/2 --cluster local", "--shards is for jobs that work alone"),
        ("generate d.plan.json --jobs 2", "--jobs goes with --cluster"),
        ("generate d.plan.json --cluster local --scheduler tcp://a:1", "give one of them"),
        ("generate m.safetensors -o e", "needs -n, or a plan (*.plan.json) in the place of the model"),
        ("generate m.safetensors -n 5", "needs -o, or a plan"),
        ("generate no.plan.json", "no.plan.json: no such file"),
        ("generate bad.plan.json", "bad.plan.json: is no plan that `hepgan plan` has written"),
        ("generate other.plan.json", "the plan is for another model"),
        ("plan m.safetensors -n 5 -o a.root", "a.root: is one file, which one process writes"),
    ],
)
def test_what_does_not_go_with_a_plan_is_one_clear_error(here, capsys, command, words):
    assert run("plan", "m.safetensors", "-n", 50, "-o", "d", "--shard-size", 10) == 0
    (here / "bad.plan.json").write_text("{}")
    text = (here / "d.plan.json").read_text()
    digest = json.loads(text)["plan"]["model"]
    (here / "other.plan.json").write_text(text.replace(digest, digest[::-1]))
    assert words in failed(command, capsys)
    assert not (here / "d").exists()
