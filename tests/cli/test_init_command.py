"""What `init` says of a file: what it found, what it leaves out and why, and the command that comes next."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
import uproot
from cli_toys import columns, run, write

from hepgan.recipes import draft


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def told(capfd):
    """Runs `init`, and gives what it says of each thing, and the command that comes next."""

    def found(file, *options):
        assert run("init", file, "-o", "my.yaml", *options) == 0
        lines = capfd.readouterr().out.splitlines()
        assert lines[-2] == "recipe in my.yaml; its comments say why"
        assert all(len(line) <= 100 for line in lines[:-2])
        said: dict[str, list[str]] = {}
        about = ""
        indent = len(lines[0]) - len(lines[0].removeprefix("events").lstrip())
        for line in lines[:-2]:
            about = line[:indent].strip() or about
            said.setdefault(about, []).append(line[indent:])
        return {name: " ".join(parts) for name, parts in said.items()}, shlex.split(lines[-1])[2:]

    return found


def many(**changes):
    made = {**columns(1000, seed=3), "run": np.ones(1000, np.uint32), "event": np.arange(1000)}
    return {**made, **changes}


def test_init_says_what_it_found(here, told):
    weight = np.where(np.arange(1000) % 10, 2.0, -2.0).astype(np.float32)
    write(here / "good.root", many(genWeight=weight))
    said, command = told("good.root:Events")
    assert said["events"] == "1,000"
    assert said["Muon"] == "2 in every event: pt, eta, phi, mass, charge, iso"
    assert said["Jet"].startswith("0 to ")
    assert said["MET"] == "one in every event: pt, phi"
    assert said["weight"] == "genWeight, negative in 10% of the events"
    assert said["resonances"].startswith("Muon[0] + Muon[1] at 9")
    assert "azimuths are measured from Muon[0] + Muon[1]" in said["symmetry"]
    assert "continuous and" in said["learned"]
    assert said["written anew"] == "run, event"
    assert "bad events" not in said
    assert command == ["train", "my.yaml", "good.root:Events", "-o", "my.safetensors"]


def test_what_is_left_out_is_told_with_the_reason_in_recipe_and_console_alike(here, told):
    names = np.array([f"name {i}" for i in range(1000)])
    write(here / "some.root", many(names=names, weight_error=np.ones(1000, np.float32)))
    said, _ = told("some.root", "--select", "Muon", "--select", "MET.pt")
    assert said["MET"] == "one in every event: pt"
    assert "Jet" not in said
    said, _ = told("some.root", "--force")
    comments = " ".join((here / "my.yaml").read_text().replace("#", " ").split())
    assert "names: " in said["left out"]
    for reason in draft("some.root", name="my").told:
        if reason.about == "left out":
            assert reason.text in comments


@pytest.mark.parametrize("select", [["Muon_*", "MET_pt"], ["Muon.pt", "M?T.*"], ["npv", "Jet"]])
def test_branches_and_patterns_are_selected(here, told, select):
    write(here / "good.root", many())
    said, command = told("good.root", *(word for name in select for word in ("--select", name)))
    assert {"Muon_*": "Muon", "Muon.pt": "Muon", "npv": "Jet"}[select[0]] in said
    assert run(*command, "--set", "training.steps=2") == 0


@pytest.mark.filterwarnings("default::UserWarning")
def test_the_command_that_comes_next_works_where_some_events_are_bad(here, told, capfd):
    made = many()
    phi = made["MET_phi"].copy()
    phi[[3, 700]] = 400.0
    write(here / "bad file.root", {**made, "MET_phi": phi})
    said, command = told("bad file.root:Events")
    assert said["bad events"].startswith("2 (0.2%), which --drop-bad leaves out: MET_phi")
    assert "--drop-bad" in command
    capfd.readouterr()
    assert run(*command, "--set", "training.steps=2") == 0
    assert "2 of 1000 events" in capfd.readouterr().err.replace(",", "")
    assert run(*(word for word in command if word != "--drop-bad"), "--force") == 2
    error = capfd.readouterr().err
    assert "bad file.root:Events, branch MET_phi, entry 3" in error


def test_many_branches_are_told_in_few_lines(here, capfd):
    rng = np.random.default_rng(1)
    names = [f"quantity_of_{k:03d}" for k in range(150)]
    with uproot.recreate(here / "flat.root") as file:
        file.mktree("t", dict.fromkeys(names, "f4")).extend(
            {n: rng.normal(size=400).astype(np.float32) for n in names}
        )
    assert run("init", "flat.root", "-o", "my.yaml") == 0
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) < 12
    assert any("more" in line for line in lines)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full(400, np.nan), "x: it is missing in all events"),
        (np.array([f"name {i}" for i in range(400)]), "x: text with 400 different values"),
        (np.ones(400), "x: always 1"),
    ],
)
def test_a_file_of_which_nothing_can_be_learned_is_refused_with_the_reason(here, capfd, values, reason):
    write(here / "some.root", {"x": values})
    assert run("init", "some.root", "-o", "my.yaml") == 2
    said = capfd.readouterr()
    assert said.err.startswith("hepgan: some.root: ")
    assert reason in said.err
    assert not said.out
    assert not (here / "my.yaml").exists()
