"""Each command reads of a file what it needs: nothing that is wrong elsewhere stops it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from cli_toys import run
from damage import damage
from shortened import shorten

from hepgan.errors import InputError
from hepgan.events import damage as reading_damage
from hepgan.events import iterate_events, read_events, reading

N = 1500
RECIPE = """\
events: {select: [x, Jet.pt], weight: w}
features: {azimuth: null}
model: {kind: flow_matching, network: {kind: mlp, widths: [16]}, steps: 2}
observables: {x: x, pt: "Jet[0].pt"}
training: {steps: 20, batch_size: 128, checkpoint_every: 0}
"""


def write(path: Path, seed: int = 1) -> str:
    """Numbers that are good, and others that are NaN, or cannot be read."""
    rng = np.random.default_rng(seed)
    jets = ak.unflatten(rng.exponential(30, 2 * N) + 20, 2)
    lists = ak.unflatten(ak.flatten(jets, axis=None), np.full(N, 2))
    flat = {
        "x": rng.normal(size=N),
        "w": rng.normal(1, 0.1, N),
        "bad": np.full(N, np.nan),
        "genWeight": np.full(N, np.inf),
        "broken": rng.normal(size=N),
        "event": np.arange(N),
    }
    objects = ak.zip({"pt": lists, "area": lists * np.inf, "mess": lists + 1})
    kinds: dict[str, Any] = {k: v.dtype for k, v in flat.items()} | {"Jet": ak.type(objects).content}
    with uproot.recreate(path) as file:
        tree = file.mktree("Events", kinds)
        for at in range(0, N, 500):
            tree.extend({k: v[at : at + 500] for k, v in flat.items()} | {"Jet": objects[at : at + 500]})
    damage(path, "broken", 1)
    damage(path, "Jet_mess", 2)
    return str(path)


class Asked:
    """The branches that have been read, but for the look at what lists belong together."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.looking = False


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked()
    read, drafted = reading_damage.Readable.read, reading.drafted

    def noted(self: Any, names: Any, start: int, stop: int) -> Any:
        wanted = list(names)
        if not found.looking:
            found.names |= set(wanted)
        return read(self, wanted, start, stop)

    def looked(source: Any) -> Any:
        found.looking = True
        try:
            return drafted(source)
        finally:
            found.looking = False

    monkeypatch.setattr(reading_damage.Readable, "read", noted)
    monkeypatch.setattr(reading, "drafted", looked)
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("needed")
    write(folder / "train.root")
    write(folder / "test.root", 2)
    (folder / "r.yaml").write_text(RECIPE)
    assert run("train", folder / "r.yaml", folder / "train.root", "-o", folder / "m.safetensors") == 0
    assert run("generate", folder / "m.safetensors", "-n", N, "-o", folder / "g.root") == 0
    return folder


LEARNED = {"x", "w", "Jet_pt", "nJet"}
WHOLE = {*LEARNED, "event"}


@pytest.mark.filterwarnings("ignore:not compared, since the generated events lack it")
@pytest.mark.parametrize(
    ("command", "read"),
    [
        ("train r.yaml train.root -o t.safetensors", WHOLE),
        ("validate test.root g.root -o r1 --recipe r.yaml --train train.root", LEARNED),
        ("validate test.root g.root -o r2 --weight w", LEARNED),
        ("validate test.root g.root -o r3 --features m.safetensors", LEARNED),
        ("validate test.root g.root -o r4 --weight none", LEARNED - {"w"}),
        (
            "reweight train.root g.root -o w1.root --recipe r.yaml --members 2",
            WHOLE | {"run", "luminosityBlock"},
        ),
        (
            "refine m.safetensors train.root -o f.safetensors --events 1000 --set training.steps=5",
            WHOLE,
        ),
        ("explain m.safetensors test.root -o e -n 400", WHOLE),
    ],
)
def test_a_command_asks_for_what_it_needs(
    here: Path, monkeypatch: pytest.MonkeyPatch, asked: Asked, command: str, read: set[str]
) -> None:
    monkeypatch.chdir(here)
    shorten(monkeypatch)
    assert run(*command.split(), "--force") in (0, 3)
    assert asked.names <= read
    assert {"x", "Jet_pt"} <= asked.names


def test_the_rest_of_a_damaged_file_is_read_and_the_damage_is_named(here: Path) -> None:
    path = here / "train.root"
    assert len(read_events(path, branches=["x", "Jet.pt"], weight="w")) == N
    assert sum(map(len, iterate_events(path, branches=["x"], weight="none", step=400))) == N
    with pytest.raises(InputError, match=r"train\.root:Events, branch broken, entry 500: damaged"):
        read_events(path, branches=["x", "broken"], weight="none")
    with pytest.raises(InputError, match=r"branch Jet_mess, entry 1000: damaged"):
        read_events(path, branches=["Jet.pt", "Jet.mess"], weight="none")
    before = read_events(path, branches=["broken"], weight="none", entry_stop=500)
    assert len(before) == 500
    with pytest.raises(InputError, match=r"branch broken, entry 600: damaged"):
        read_events(path, branches=["broken"], weight="none", entry_start=600)
