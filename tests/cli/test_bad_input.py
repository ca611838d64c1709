"""What a user can mend is told in one line that says where, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
from contextlib import contextmanager

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
from cli_toys import RECIPE, changed, columns, copy, execute, inside, listing, run, start, write
from safetensors import safe_open
from safetensors.torch import save_file

import hepgan.events.formats
from hepgan.errors import RecipeError
from hepgan.sealed import digest_of


def model_file(path, tensors, document, **changes):
    """A model file with another document, whose digest is right."""
    text = json.dumps({**document, **changes})
    digest = digest_of(text, tensors)
    save_file(tensors, path, metadata={"hepgan": text, "digest": json.dumps(digest)})


LAYOUT = """
events:
  layout:
    tree: Events
    collections:
      - {name: Muon, layout: jagged, counter: nMuon, max_count: MOST, fields: [
          {name: pt, branches: [Muon_pt]}, {name: eta, branches: [Muon_eta]},
          {name: phi, branches: [Muon_phi]}, {name: mass, branches: [Muon_mass]},
          {name: charge, branches: [Muon_charge], dtype: int32, kind: category, values: CHARGES}]}
model: {kind: flow_matching}
"""

RECIPES = {
    "tiny": RECIPE,
    "conditional": RECIPE.replace("events:", "conditions: [beam_energy]\nevents:", 1),
    "two": RECIPE.replace("widths: [16]", "widths: [17]"),
    "few": LAYOUT.replace("MOST", "1").replace("CHARGES", "[-1, 1]"),
    "charges": LAYOUT.replace("MOST", "2").replace("CHARGES", "[1]"),
    "syntax": "name: [unclosed\nmodel: {kind: gan}",
    "date": "name: 2020-99-99\n",
    "text": "just some text",
    "key": RECIPE + "trainig: {steps: 3}\n",
    "type": RECIPE.replace("steps: 20", "steps: many"),
    "missing": "name: nothing\n",
    "field": RECIPE.replace("MET.pt", "MET.mass2d"),
    "collection": RECIPE.replace("MET.pt", "'Electron[0].pt'"),
    "disallowed": RECIPE.replace("MET.pt", "MET.__class__"),
    "call": RECIPE.replace("expression: MET.pt", "expression: \"open('x')\""),
    "metric": RECIPE.replace(
        "batch_size", "selection: {metrics: ['ks:m_ee']}, evaluate_every: 5, batch_size"
    ),
    "electrons": RECIPE.replace("[Muon, MET, npv]", "[Electron]"),
    "weight": RECIPE.replace("select:", "weight: w, select:"),
    "third": RECIPE.replace(
        "model:", "features: {blocks: [{kind: decay, name: Z, children: ['Muon[0]', 'Muon[2]']}]}\nmodel:"
    ),
    "range": RECIPE.replace("[50, 130]", "[130, 50]"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Good and bad files, and a small model of each kind of events."""
    folder = tmp_path_factory.mktemp("files")
    whole = columns()
    for name, text in RECIPES.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "binary.yaml").write_bytes(bytes(range(256)))
    good = write(folder / "good.root", whole)
    write(folder / "other.root", {k: v for k, v in whole.items() if not k.startswith("MET")})
    write(folder / "nan.root", changed("Muon_pt", 17, np.nan))
    write(folder / "inf.root", changed("MET_pt", 18, np.inf))
    write(folder / "negative.root", changed("Muon_pt", 19, -20.0))
    write(folder / "phi.root", changed("MET_phi", 20, 3.5))
    energies = {k.replace("mass", "energy"): v for k, v in whole.items()}
    energies["Muon_energy"] = whole["Muon_pt"] * np.cosh(whole["Muon_eta"]) * 0.5
    write(folder / "energy.root", energies)
    write(folder / "empty.root", {k: v[:0] for k, v in whole.items()})
    write(folder / "one.root", {k: v[:1] for k, v in whole.items()})
    signs = np.where(np.arange(300) % 2, 1.0, -1.0).astype(np.float32)
    write(folder / "weights.root", {**whole, "genWeight": signs})
    write(folder / "w.root", {**whole, "w": signs})
    write(folder / "strings.root", {**whole, "MET_pt": np.array(["a", "b", "c"] * 100)})
    with uproot.recreate(folder / "counts.root") as file:
        tree = file.mktree("Events", {"Muon_pt": "var * float32", "Muon_eta": "var * float32"})
        counts = np.full(300, 2)
        eta = ak.unflatten(np.zeros(599, np.float32), np.where(np.arange(300) == 21, 1, 2))
        tree.extend({"Muon_pt": ak.unflatten(np.full(600, 9, np.float32), counts), "Muon_eta": eta})
    with uproot.recreate(folder / "trees.root") as file:
        for name in ("Signal", "Control"):
            file.mktree(name, {"x": "float32"}).extend({"x": np.ones(9, np.float32)})
    with uproot.recreate(folder / "hollow.root"):
        pass
    content = good.read_bytes()
    (folder / "truncated.root").write_bytes(content[: len(content) * 2 // 3])
    (folder / "zero.root").write_bytes(b"")
    (folder / "text.root").write_text("hello")
    (folder / "text.parquet").write_text("hello")

    assert run("train", folder / "tiny.yaml", good, "-o", folder / "good.safetensors") == 0
    (folder / "good.history.csv").unlink()
    with safe_open(folder / "good.safetensors", "pt") as file:
        document = json.loads(file.metadata()["hepgan"])
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    content = (folder / "good.safetensors").read_bytes()
    (folder / "cut.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "noise.safetensors").write_bytes(np.random.default_rng(0).bytes(5000))
    save_file({"weight": torch.ones(3)}, folder / "foreign.safetensors")
    model_file(folder / "later.safetensors", tensors, document, format=99, versions={"hepgan": "9.0"})
    lost = {k: v for k, v in tensors.items() if not k.startswith("model.")}
    model_file(folder / "lost.safetensors", lost, document)
    bare = {k: v for k, v in document.items() if k != "summary"}
    model_file(folder / "bare.safetensors", tensors, bare)
    recipe = {**document["recipe"], "model": {"kind": "flow_matching", "steps": 2}}
    model_file(folder / "contradiction.safetensors", tensors, document, recipe=recipe)
    assert run("generate", folder / "good.safetensors", "-n", 300, "-o", folder / "made.root") == 0
    (folder / "made.fileset.json").unlink()
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(files, here, capfd):
    """Runs a command that must fail as it should; gives the line that it says."""

    def check(arguments: str) -> str:
        (here / "folder.root").mkdir(exist_ok=True)
        before = listing(here), listing(files)
        capfd.readouterr()
        status = run(*inside(arguments, files))
        said = capfd.readouterr().err
        assert (status, said.count("\n"), said[:8]) == (2, 1, "hepgan: "), said
        assert "Traceback" not in said
        assert "bug" not in said
        assert (listing(here), listing(files)) == before
        return said.strip()

    return check


TRAIN = "-o new/m.safetensors"
CASES = {
    "missing file": (f"train @tiny.yaml @nosuch.root {TRAIN}", ["nosuch.root: no such file"]),
    "glob without match": (f"train @tiny.yaml @nosuch*.root {TRAIN}", ["nosuch*.root", "no file matches"]),
    "folder as file": (f"train @tiny.yaml @ {TRAIN}", ["is a folder"]),
    "missing tree": (
        f"train @tiny.yaml @good.root:Tree {TRAIN}",
        ["good.root", "no tree 'Tree'", "the trees are: Events"],
    ),
    "which tree": (f"train @tiny.yaml @trees.root {TRAIN}", ["trees.root", "which tree?", "Signal, Control"]),
    "no tree": (f"train @tiny.yaml @hollow.root {TRAIN}", ["hollow.root", "no tree"]),
    "missing branch": (f"train @tiny.yaml @other.root {TRAIN}", ["other.root:Events, branch MET", "no such"]),
    "not ROOT": (f"train @tiny.yaml @text.root {TRAIN}", ["text.root: not a ROOT file"]),
    "not Parquet": (f"train @tiny.yaml @text.parquet {TRAIN}", ["text.parquet", "Parquet"]),
    "zero bytes": (f"train @tiny.yaml @zero.root {TRAIN}", ["zero.root", "empty"]),
    "truncated": (f"train @tiny.yaml @truncated.root {TRAIN}", ["truncated.root", "truncated"]),
    "second file truncated": (
        f"train @tiny.yaml @good.root @truncated.root {TRAIN}",
        ["truncated.root: truncated"],
    ),
    "empty tree": (f"train @tiny.yaml @empty.root {TRAIN}", ["empty.root", "no events"]),
    "nan": (
        f"train @tiny.yaml @nan.root {TRAIN}",
        ["nan.root:Events, branch Muon_pt, entry 17", "not a number"],
    ),
    "infinity": (
        f"train @tiny.yaml @inf.root {TRAIN}",
        ["inf.root:Events, branch MET_pt, entry 18", "infinite"],
    ),
    "energy below momentum": (
        f"train @tiny.yaml @energy.root {TRAIN}",
        ["energy.root:Events, branch Muon_energy, entry 0", "|p|"],
    ),
    "negative pT": (
        f"train @tiny.yaml @negative.root {TRAIN}",
        ["negative.root:Events, branch Muon_pt, entry 19", "negative pT (-20.0)"],
    ),
    "phi": (
        f"train @tiny.yaml @phi.root {TRAIN}",
        ["phi.root:Events, branch MET_phi, entry 20", "outside [-pi, pi]"],
    ),
    "too many objects": (
        f"train @few.yaml @good.root {TRAIN}",
        ["good.root:Events, branch nMuon, entry 0", "allows 1"],
    ),
    "unknown category": (
        f"train @charges.yaml @good.root {TRAIN}",
        ["good.root:Events, branch Muon_charge, entry 0", "-1, not in 1"],
    ),
    "weights": (
        f"train @tiny.yaml @weights.root {TRAIN}",
        ["weights.root, branch genWeight: the weights sum to zero"],
    ),
    "weights named by the recipe": (
        f"train @weight.yaml @w.root {TRAIN}",
        ["w.root, branch w: the weights sum to zero"],
    ),
    "strings": (
        f"train zmumu @strings.root {TRAIN}",
        ["strings.root", "branch"],
    ),
    "different numbers": (
        f"train @tiny.yaml @counts.root {TRAIN} --set events.select=[Muon]",
        ["counts.root:Events, branch Muon_eta, entry 21", "has 1 values, but Muon_pt has 2"],
    ),
    "recipe misspelt": (f"train zmuumu @good.root {TRAIN}", ["'zmuumu'", "did you mean zmumu?"]),
    "recipe file missing": (f"train no.yaml @good.root {TRAIN}", ["no.yaml: No such file"]),
    "recipe syntax": (f"train @syntax.yaml @good.root {TRAIN}", ["syntax.yaml", "line 2"]),
    "recipe with an impossible date": (f"train @date.yaml @good.root {TRAIN}", ["date.yaml"]),
    "recipe of plain text": (f"train @text.yaml @good.root {TRAIN}", ["text.yaml: not a recipe"]),
    "recipe of bytes": (f"train @binary.yaml @good.root {TRAIN}", ["binary.yaml: not a recipe"]),
    "recipe and file exchanged": (f"train @good.root @tiny.yaml {TRAIN}", ["good.root: not a recipe"]),
    "recipe key": (f"train @key.yaml @good.root {TRAIN}", ["key.yaml: trainig: unknown key"]),
    "recipe type": (f"train @type.yaml @good.root {TRAIN}", ["type.yaml: training.steps", "integer"]),
    "recipe without model": (f"train @missing.yaml @good.root {TRAIN}", ["missing.yaml: model: missing"]),
    "recipe range": (
        f"train @range.yaml @good.root {TRAIN}",
        ["range.yaml: observables.m_mumu", "low < high"],
    ),
    "recipe for other events": (f"train zmumu @other.root {TRAIN}", ["other.root:Events, branch MET"]),
    "recipe for other collections": (
        f"train @electrons.yaml @good.root {TRAIN}",
        ["good.root:Events, branch Electron", "there are Muon, Jet, MET"],
    ),
    "observable field": (f"train @field.yaml @good.root {TRAIN}", ["MET.mass2d", "column 5", "pt"]),
    "observable collection": (
        f"train @collection.yaml @good.root {TRAIN}",
        ["Electron", "there are", "Muon"],
    ),
    "observable attribute": (f"train @disallowed.yaml @good.root {TRAIN}", ["'__class__' are not allowed"]),
    "observable call": (f"train @call.yaml @good.root {TRAIN}", ["call.yaml: observables.met", "column"]),
    "metric": (f"train @metric.yaml @good.root {TRAIN}", ["'ks:m_ee' is not a metric", "m_mumu"]),
    "setting malformed": (f"train @tiny.yaml @good.root {TRAIN} --set steps", ["--set 'steps'", "key=value"]),
    "setting key": (
        f"train @tiny.yaml @good.root {TRAIN} --set training.stepz=3",
        ["training has no 'stepz'", "did you mean steps?"],
    ),
    "setting value": (f"train @tiny.yaml @good.root {TRAIN} --set training.steps=-1", ["training.steps"]),
    "setting below a number": (
        f"train @tiny.yaml @good.root {TRAIN} --set training.steps.x=1",
        ["training.steps.x=1", "training.steps is 20"],
    ),
    "setting syntax": (f"train @tiny.yaml @good.root {TRAIN} --set training.steps=[", ["training.steps=["]),
    "setting model": (f"train @tiny.yaml @good.root {TRAIN} --set model.kind=gann", ["model", "gan"]),
    "device": (f"train @tiny.yaml @good.root {TRAIN} --device abacus", ["'abacus' is not available", "cpu"]),
    "device without data": (
        f"train @tiny.yaml @good.root {TRAIN} --device meta",
        ["'meta' is not available"],
    ),
    "time": (f"train @tiny.yaml @good.root {TRAIN} --max-time soon", ["'soon' is not a time", "10m"]),
    "train: seed": (f"train @tiny.yaml @good.root {TRAIN} --seed -1", ["--seed", "-1"]),
    "one event": (f"train @tiny.yaml @one.root {TRAIN}", ["one.root: nothing to learn"]),
    "output is a folder": (
        "generate @good.safetensors -n 10 -o folder.root",
        ["folder.root: is a folder, not a file"],
    ),
    "train: output exists": (
        "train @tiny.yaml @good.root -o @good.safetensors",
        ["good.safetensors: exists already; --force"],
    ),
    "train: output under a file": (
        "train @tiny.yaml @good.root -o @tiny.yaml/x.safetensors",
        ["tiny.yaml is a file, not a folder"],
    ),
    "train: output has no name": ("train @tiny.yaml @good.root --output=", ["--output", "the name is empty"]),
    "train: output is the data": (
        "train @tiny.yaml @good.root -o @good.root --force",
        ["good.root: a model file is called *.safetensors"],
    ),
    "distill: output is the teacher": (
        "distill @good.safetensors -o @./good.safetensors --force",
        ["good.safetensors: is read and cannot be written, too"],
    ),
    "refine: output is the model": (
        "refine @good.safetensors @good.root -o @good.safetensors --force",
        ["good.safetensors: is read and cannot be written, too"],
    ),
    "unfold: output is the folding": (
        "unfold @two.safetensors @good.safetensors @good.root -o @good.safetensors --force",
        ["good.safetensors: is read and cannot be written, too"],
    ),
    "init: output is the data": ("init @good.root -o @good.root --force", ["a recipe is called *.yaml"]),
    "recipe that names what is not there": (
        f"train @tiny.yaml @good.root {TRAIN} --set conditions=[npw]",
        ["npw"],
    ),
    "recipe for objects that are not in every event": (
        f"train @third.yaml @good.root {TRAIN}",
        ["third.yaml: Z: Muon[2] is not in every event"],
    ),
    "negative mass": (
        f"train @tiny.yaml @good.root {TRAIN} --set features.masses.Muon=-1",
        ["features.masses", "the mass of Muon cannot be -1.0"],
    ),
    "bounds in the wrong order": (
        f"train @tiny.yaml @good.root {TRAIN} --set features.bounds.MET=[50,10]",
        ["features.bounds", "low < high"],
    ),
    "millions of files": ("generate @good.safetensors -n 1e12 -o d --shard-size 1", ["--shard-size"]),
    "model missing": ("generate no.safetensors -n 10 -o g.root", ["no.safetensors: no such file"]),
    "model corrupt": ("generate @noise.safetensors -n 10 -o g.root", ["noise.safetensors", "damaged"]),
    "model truncated": ("generate @cut.safetensors -n 10 -o g.root", ["cut.safetensors", "damaged"]),
    "model foreign": ("generate @foreign.safetensors -n 10 -o g.root", ["foreign.safetensors", "not one of"]),
    "model later": ("info @later.safetensors", ["later.safetensors", "hepgan 9.0 in format 99"]),
    "model without weights": ("info @lost.safetensors", ["lost.safetensors"]),
    "model without summary": ("info @bare.safetensors", ["bare.safetensors"]),
    "model against its recipe": (
        "info @contradiction.safetensors",
        ["contradiction.safetensors", "does not fit"],
    ),
    "model is a ROOT file": ("info @good.root", ["good.root: not a model file"]),
    "generate: output exists": (
        "generate @good.safetensors -n 10 -o @made.root",
        ["made.root: exists already; --force"],
    ),
    "generate: fileset exists": (
        "generate @good.safetensors -n 10 -o @made.parquet --format rntuple",
        ["made.parquet: rntuple files are called *.root"],
    ),
    "generate: under a file": (
        "generate @good.safetensors -n 10 -o @tiny.yaml/g.root",
        ["tiny.yaml is a file"],
    ),
    "generate: folder is a file": (
        "generate @good.safetensors -n 10 -o @tiny.yaml",
        ["tiny.yaml: is a file"],
    ),
    "no events": ("generate @good.safetensors -n 0 -o g.root", ["'0' is not a whole number"]),
    "negative events": ("generate @good.safetensors -n -5 -o g.root", ["'-5' is not a whole number"]),
    "words for events": ("generate @good.safetensors -n lots -o g.root", ["'lots' is not a whole number"]),
    "half an event": ("generate @good.safetensors -n 10.5 -o g.root", ["'10.5' is not a whole number"]),
    "nan events": ("generate @good.safetensors -n nan -o g.root", ["'nan' is not a whole number"]),
    "infinite events": ("generate @good.safetensors -n inf -o d", ["'inf' is not a whole number"]),
    "no workers": ("generate @good.safetensors -n 10 -o g.root --workers 0", ["--workers", "'0'"]),
    "format": ("generate @good.safetensors -n 10 -o g.root --format xml", ["--format", "ttree"]),
    "generate: device": ("generate @good.safetensors -n 9 -o g.root --device cuda:99", ["'cuda:99'", "cpu"]),
    "unknown condition": (
        "generate @good.safetensors -n 10 -o g.root --condition mass=3",
        ["--condition 'mass=3': the model has none"],
    ),
    "malformed condition": (
        "generate @good.safetensors -n 10 -o g.root --condition mass",
        ["--condition 'mass': expected NAME=VALUE"],
    ),
    "validate: missing": ("validate @good.root no.root -o rep", ["no.root: no such file"]),
    "validate: other fields": (
        "validate @good.root @other.root -o rep --recipe @tiny.yaml",
        ["other.root", "MET", "Muon"],
    ),
    "validate: nan": ("validate @nan.root @good.root -o rep", ["nan.root:Events, branch Muon_pt, entry 17"]),
    "validate: generated nan": (
        "validate @good.root @nan.root -o rep",
        ["nan.root:Events, branch Muon_pt, entry 17", "--keep-bad"],
    ),
    "validate: empty": ("validate @good.root @empty.root -o rep", ["empty.root", "no events"]),
    "validate: output not empty": ("validate @good.root @made.root -o @", ["not empty; --force"]),
    "validate: output is a file": ("validate @good.root @made.root -o @tiny.yaml", ["tiny.yaml: is a file"]),
    "validate: recipe": ("validate @good.root @made.root -o rep --recipe zmum", ["did you mean zmumu"]),
    "validate: observable": ("validate @good.root @made.root -o r --recipe @field.yaml", ["MET.mass2d"]),
    "validate: reference was trained on": (
        "validate @good.root @made.root -o rep --train @good.root",
        ["good.root", "both the reference and the training"],
    ),
    "validate: reference was trained on by another name": (
        "validate @good.root @made.root -o rep --train @./good.root:Events",
        ["good.root", "both the reference and the training"],
    ),
    "validate: reference was trained on by a glob": (
        "validate @good.root:Events @made.root -o rep --train @goo*.root",
        ["good.root", "both the reference and the training"],
    ),
    "init: missing": ("init no.root -o my.yaml", ["no.root: no such file"]),
    "init: output exists": ("init @good.root -o @tiny.yaml", ["tiny.yaml: exists already; --force"]),
    "init: unknown collection": ("init @good.root -o my.yaml --select Tau", ["good.root", "Tau"]),
    "recipes: unknown": ("recipes zmuumu", ["did you mean zmumu"]),
    "dataset: unknown": ("dataset higgs -n 10 -o h.root", ["'higgs'", "zmumu"]),
    "dataset: seed": ("dataset zmumu -n 10 --seed 0 -o h.root", ["--seed", "1<=x"]),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_told_in_one_line_that_says_where(case, refused):
    arguments, expected = CASES[case]
    said = refused(arguments)
    assert all(text in said for text in expected), said


def test_an_unwritable_folder_is_named(files, refused, here):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    locked = here / "locked"
    locked.mkdir(mode=0o500)
    assert "no permission to write into locked" in refused(
        "train @tiny.yaml @good.root -o locked/m.safetensors"
    )


def test_a_pipe_or_device_is_not_replaced_by_a_file(files, here, refused):
    os.mkfifo(here / "pipe.safetensors")
    said = refused("train @tiny.yaml @good.root -o pipe.safetensors --force")
    assert said == "hepgan: pipe.safetensors: is not a regular file"


@contextmanager
def full_disk(size=2000):
    """Files cannot grow beyond 2 kB, which the kernel refuses as it refuses to fill a disk.

    The log of the tests may be a file, too, so nothing else may run inside.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    "arguments",
    [
        "train @tiny.yaml @good.root -o full.safetensors",
        "generate @good.safetensors -n 3000 -o full.root",
        "generate @good.safetensors -n 3000 -o full.root --format rntuple",
        "generate @good.safetensors -n 3000 -o full.parquet",
        "validate @good.root @made.root -o full --recipe @tiny.yaml",
        "init @good.root -o full.yaml",
    ],
)
def test_what_cannot_be_written_whole_is_not_there(arguments, files, here, capfd):
    with full_disk():
        status = run(*inside(arguments, files))
    assert status == 2
    said = capfd.readouterr().err
    assert said.startswith("hepgan: full")
    assert "cannot be written" in said
    assert said.count("\n") == 1
    assert not [name for name, file in listing(here).items() if file is not None]


def test_a_full_disk_is_said_in_the_words_of_the_system(files, refused, monkeypatch):
    def fail(self, columns):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(hepgan.events.formats.TTreeSink, "write", fail)
    said = refused("generate @good.safetensors -n 300 -o full.root")
    assert said == "hepgan: full.root: cannot be written: No space left on device"


def test_a_model_survives_the_training_that_cannot_replace_it(files, here, capfd):
    old = copy(files / "good.safetensors", here / "m.safetensors").read_bytes()
    with full_disk():
        status = run(*inside("train @tiny.yaml @good.root -o m.safetensors --force", files))
    assert status == 2
    assert (here / "m.safetensors").read_bytes() == old


@pytest.mark.parametrize("command", ["dataset zmumu -n 10 -o z.root", "quickstart -o quick"])
def test_a_missing_pythia_is_told_with_what_to_install(command, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    said = refused(command)
    assert "needs pythia8mc" in said
    assert said.endswith("pip install --only-binary=pythia8mc,fastjet pythia8mc fastjet")


@pytest.mark.parametrize(
    ("other", "differs"),
    [
        ("train @two.yaml @good.root", "model.network.widths.0 differs: 16, not 17"),
        ("train @tiny.yaml @made.root", "events differs"),
        ("--seed 5", "seed differs: 0, not 5"),
    ],
)
def test_a_training_is_not_resumed_with_another_recipe_data_or_seed(other, differs, files, here, refused):
    begun = here / "m.checkpoint.safetensors"
    if not begun.exists():
        _begin(files, begun)
    words = other if other.startswith("train") else f"train @tiny.yaml @good.root {other}"
    said = refused(f"{words} -o m.safetensors --resume")
    assert said.startswith("hepgan: m.checkpoint.safetensors: the checkpoint is of another training")
    assert differs in said


def _begin(files, checkpoint):
    """A training's checkpoint, as it stands before the training ends."""
    from hepgan import EventGenerator, read_events

    recipe = files / "tiny.yaml"
    events = read_events(files / "good.root", branches=["Muon", "MET", "npv"])
    EventGenerator(recipe).fit(events, checkpoint=checkpoint)


def test_a_stopped_training_is_not_begun_anew_unasked(files, here, refused, capfd):
    _begin(files, here / "m.checkpoint.safetensors")
    train = "train @tiny.yaml @good.root -o m.safetensors"
    said = refused(train)
    assert said.startswith("hepgan: m.checkpoint.safetensors: a training was stopped here; --resume goes on")
    assert run(*inside(f"{train} --force", files)) == 0
    assert not (here / "m.checkpoint.safetensors").exists()


def test_a_corrupt_checkpoint_is_told(files, here, refused):
    copy(files / "noise.safetensors", here / "m.checkpoint.safetensors")
    said = refused("train @tiny.yaml @good.root -o m.safetensors --resume")
    assert said.startswith("hepgan: m.checkpoint.safetensors: a damaged checkpoint")


def test_conditions_are_checked_against_the_model_and_the_number_of_events(files, here, refused, capfd):
    values = columns()
    values["beam_energy"] = np.linspace(4000, 7000, 300).astype(np.float32)
    write(here / "scan.root", values)
    assert run(*inside("train @conditional.yaml scan.root -o c.safetensors", files)) == 0
    generate = "generate c.safetensors -n 400 -o g.root --condition"
    assert "the model has beam_energy" in refused(f"{generate} energy=3")
    assert "300 events cannot give the condition of 400" in refused(f"{generate} beam_energy=scan.root")
    assert "much: no such file" in refused(f"{generate} beam_energy=much")
    assert "branch beam_energy: no such branch" in refused(f"{generate} beam_energy=@made.root")
    assert "beam_energy is not a finite number" in refused(f"{generate} beam_energy=nan")
    values["beam_energy"][250] = np.nan
    write(here / "end.root", values)
    few = "generate c.safetensors -o few.root --condition beam_energy=end.root -n"
    assert "branch beam_energy, entry 250" in refused(f"{few} 251")
    # of a file no more is read than is needed
    assert run(*inside(f"{few} 250", files)) == 0
    assert np.allclose(uproot.open("few.root:Events")["beam_energy"].array(), values["beam_energy"][:250])
    assert run(*inside(f"{generate} beam_energy=5000", files)) == 0
    assert set(uproot.open("g.root:Events")["beam_energy"].array()) == {5000.0}


def test_dropped_events_are_counted_in_one_line(files, here):
    process = start(*inside("train @tiny.yaml @nan.root -o m.safetensors --drop-bad", files))
    _, said = process.ended()
    assert process.returncode == 0
    assert said == "hepgan: warning: dropped 1 of 300 events: 1 for Muon_pt: not a number\n"


def test_a_process_ends_with_status_2_and_one_line(files, here):
    arguments, expected = CASES["nan"]
    done = execute(*inside(arguments, files))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert all(text in done.stderr for text in expected)
    assert not listing(here)


def test_a_bug_is_called_one_and_has_its_traceback_on_demand(files, here, monkeypatch, capfd):
    def fail(*arguments, **keywords):
        raise KeyError(*["surprise"])

    monkeypatch.setattr("hepgan.generator.generator.EventGenerator.load", fail)
    assert run("info", files / "good.safetensors") == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "KeyError: 'surprise'; this is a bug in hepgan" in said
    monkeypatch.setenv("HEPGAN_TRACEBACK", "1")
    with pytest.raises(KeyError, match="surprise"):
        run("info", files / "good.safetensors")


@pytest.mark.filterwarnings("default")
def test_what_the_generated_events_lack_is_not_compared_and_said(files, here, capfd):
    few = {name: values for name, values in columns().items() if name[:4] in ("MET_", "npv")}
    write(here / "true.root", few)
    write(here / "made.root", {"npv": few["npv"]})
    assert run(*inside("validate true.root made.root -o rep", files)) == 0
    said = capfd.readouterr().err
    assert said == "hepgan: warning: not compared, since the generated events lack it: MET.pt, MET.phi\n"
    assert list(json.loads((here / "rep" / "metrics.json").read_text())["observables"]) == ["npv"]


def test_samples_with_nothing_in_common_are_refused(files, here, refused):
    write(here / "x.root", {"x": np.linspace(0, 1, 300)})
    said = refused("validate @good.root x.root -o rep")
    assert "x.root" in said
    assert "have nothing of what the reference has (Muon.pt" in said


def test_an_event_that_does_not_fit_the_recipe_is_named_with_its_file(refused, monkeypatch):
    def fit(*arguments, **options):
        raise RecipeError("MET.pt does not come back", entry=7)  # noqa: EM101

    monkeypatch.setattr("hepgan.generator.EventGenerator.fit", fit)
    said = refused(f"train @tiny.yaml @good.root {TRAIN}")
    assert said.endswith("good.root:Events, entry 7: MET.pt does not come back")
