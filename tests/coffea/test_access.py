"""What a user's processor reads decides what is learned."""

from __future__ import annotations

from pathlib import Path

import pytest
from toys import dimuons

from hepgan.cli import main
from hepgan.coffea import branches_read, load_processor
from hepgan.errors import InputError
from hepgan.events import write_events
from hepgan.recipes import load_recipe

CODE = """
import awkward as ak
from coffea import processor
from beside import CUT


class Analysis(processor.ProcessorABC):
    def process(self, events):
        assert events.metadata["dataset"] == "events"
        muons = events.Muon[events.Muon.pt > CUT]
        return {"met": ak.sum(events.MET.pt[ak.num(muons) == 2] * events.genWeight[ak.num(muons) == 2])}

    def postprocess(self, accumulator):
        return accumulator


class Asks(Analysis):
    def __init__(self, year):
        self.year = year


class Wrong(Analysis):
    def process(self, events):
        return events.Muon.tightId


class Nothing(Analysis):
    def process(self, events):
        return len(events)


def make():
    return Asks(2018)


ready = Asks(2017)
number = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_events("events.root", dimuons(500, 1, weighted=True), identifiers=True)
    Path("mine.py").write_text(CODE)
    Path("beside.py").write_text("CUT = 20\n")
    return tmp_path


READ = ("genWeight", "nMuon", "Muon_pt", "MET_pt")


@pytest.mark.parametrize("name", ["Analysis", "make", "ready"])
def test_a_processor_is_run_once_and_what_it_reads_is_known(here: Path, name: str) -> None:
    assert set(branches_read("events.root", load_processor(f"mine.py:{name}"))) == set(READ)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mine.py", "expected FILE.py:NAME"),
        ("other.py:Analysis", r"other\.py: no such file"),
        ("no.such.module:X", "ModuleNotFoundError"),
        ("mine.py:Missing", r"there is no 'Missing'; there are Analysis, Asks, Wrong, Nothing, make"),
        ("mine.py:number", "number is no processor"),
        ("mine.py:Asks", r"Asks\(\) fails: TypeError: .*year"),
    ],
)
def test_what_is_no_processor_is_refused(here: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_processor(name)


def test_an_error_of_the_users_code_is_told_in_one_line(here: Path) -> None:
    with pytest.raises(InputError, match=r"the processor fails: .*tightId.*mine\.py, line 24\)"):
        branches_read("events.root", load_processor("mine.py:Wrong"))
    with pytest.raises(InputError, match="reads no branch"):
        branches_read("events.root", load_processor("mine.py:Nothing"))
    with pytest.raises(InputError, match=r"coffea has no 'MySchema'; there are .*NanoAODSchema"):
        branches_read("events.root", load_processor("mine.py:Analysis"), schema="MySchema")


def test_a_schema_that_does_not_take_the_file_is_told(here: Path) -> None:
    write_events("plain.root", dimuons(100, 1))
    with pytest.raises(InputError, match=r"plain\.root: NanoAODSchema fails: RuntimeError: .*event ID"):
        branches_read("plain.root", load_processor("mine.py:Analysis"))


def test_code_that_ends_the_program_ends_in_an_error(here: Path) -> None:
    Path("ends.py").write_text("raise SystemExit('no licence')\n")
    with pytest.raises(InputError, match=r"ends\.py: its code fails: SystemExit: no licence"):
        load_processor("ends.py:Analysis")


def status(*arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def test_init_learns_what_a_processor_reads(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("init", "events.root", "--processor", "mine.py:Analysis", "-o", "mine.yaml") == 0
    assert "mine.py:Analysis reads 4 branches: " in capsys.readouterr().out
    recipe = load_recipe("mine.yaml")
    assert set(recipe.events.select) == {
        *(f"Muon.{n}" for n in ("pt", "eta", "phi", "mass", "charge")),
        "MET",
    }
    assert recipe.events.weight == "genWeight"
    assert status("init", "events.root", "--processor", "mine.py:Wrong", "-o", "wrong.yaml") == 2
    assert "the processor fails" in capsys.readouterr().err
    assert not Path("wrong.yaml").exists()
