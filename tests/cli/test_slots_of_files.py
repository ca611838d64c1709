"""Files with places for objects through all commands: what lacks comes back as what stands for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot
from cli_toys import run
from shortened import shorten

SIZE = 1_000


def momenta(rng: np.random.Generator, places: int) -> dict[str, np.ndarray]:
    pt = -np.sort(-(20 + rng.exponential(40, (SIZE, places))), axis=1)
    phi = rng.uniform(-np.pi, np.pi, (SIZE, places))
    return {"pt": pt, "eta": rng.normal(0, 1.8, (SIZE, places)), "phi": phi}


def sentinels() -> dict[str, np.ndarray]:
    """Jets with a counter and a number that lacks by itself, leptons with roles, and a Z that may lack."""
    rng = np.random.default_rng(1)
    number = rng.poisson(1.3, SIZE).clip(0, 3).astype("i4")
    values = momenta(rng, 3) | {"tag": np.where(rng.random((SIZE, 3)) < 0.1, -1, rng.random((SIZE, 3)))}
    made: dict[str, np.ndarray] = {"n_jets": number, "met": rng.rayleigh(30, SIZE).astype("f4")}
    for i in range(3):
        made |= {
            f"jet{i + 1}_{n}": np.where(number > i, v[:, i], -999).astype("f4") for n, v in values.items()
        }
    there = rng.random((SIZE, 2)) < 0.6
    for i in range(2):
        made |= {
            f"lep{i + 1}_{n}": np.where(there[:, i], v[:, i], -99).astype("f4")
            for n, v in momenta(rng, 2).items()
        }
        made[f"lep{i + 1}_charge"] = np.where(there[:, i], rng.choice([-1, 1], SIZE), -99).astype("i4")
    z = rng.random(SIZE) < 0.4
    made |= {f"Z_{n}": np.where(z, v[:, 0], np.nan).astype("f4") for n, v in momenta(rng, 1).items()}
    return made


def padded() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    there = np.arange(15) < rng.integers(5, 16, SIZE)[:, None]
    made = {"jet_pt": rng.normal(1000, 100, SIZE).astype("f4"), "part_mask": there.astype("f4")}
    for name in ("etarel", "phirel", "ptrel"):
        made[f"part_{name}"] = np.where(there, rng.normal(0, 0.1, (SIZE, 15)), 0).astype("f4")
    return made


@pytest.fixture(scope="module")
def generate(tmp_path_factory):
    def through(data: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], Path]:
        folder = tmp_path_factory.mktemp("slots")
        source, model, made = folder / "in.root", folder / "m.safetensors", folder / "out.root"
        with uproot.recreate(source) as file:
            kinds = {k: np.dtype((v.dtype, v.shape[1:])) if v.ndim > 1 else v.dtype for k, v in data.items()}
            file.mktree("tree", kinds).extend(data)
        recipe = folder / "r.yaml"
        assert run("init", source, "-o", recipe) == 0
        assert run("train", recipe, source, "-o", model) == 0
        assert run("generate", model, "-n", 400, "-o", made) == 0
        assert run("validate", source, made, "-o", folder / "report", "--recipe", recipe) == 0
        return uproot.open(made)["tree"].arrays(library="np"), recipe

    with pytest.MonkeyPatch.context() as patch:
        shorten(patch, "training.steps=30")
        yield through


def test_sentinels_go_through_all_commands(generate):
    data = sentinels()
    made, recipe = generate(data)
    assert {k: v.dtype for k, v in made.items()} == {k: v.dtype for k, v in data.items()}
    text = recipe.read_text()
    assert "Jet: 0 to 3 in an event; -999 where there is none, counted by n_jets" in text
    assert "drop-bad" not in text
    number = sum((made[f"jet{i}_pt"] != -999).astype(int) for i in (1, 2, 3))
    assert np.array_equal(number, made["n_jets"])
    assert set(number) == {0, 1, 2, 3}
    for i in (1, 2, 3):
        lacks = made[f"jet{i}_pt"] == -999
        assert np.array_equal(lacks, number < i)
        for name in ("eta", "phi", "tag"):
            assert np.array_equal(lacks, made[f"jet{i}_{name}"] == -999)
        assert made[f"jet{i}_pt"][~lacks].min() > 15
    assert 0 < (made["jet1_tag"][number > 0] == -1).mean() < 0.4
    for i in (1, 2):
        lacks = made[f"lep{i}_pt"] == -99
        assert 0.2 < lacks.mean() < 0.6
        assert np.array_equal(lacks, made[f"lep{i}_charge"] == -99)
        assert {*made[f"lep{i}_charge"][~lacks]} == {-1, 1}
    lacks = np.isnan(made["Z_pt"])
    assert 0.4 < lacks.mean() < 0.8
    assert np.array_equal(lacks, np.isnan(made["Z_phi"]))


def test_padded_particles_go_through_all_commands(generate):
    data = padded()
    made, recipe = generate(data)
    assert "part: 5 to 15 in an event; 0 where there is none, told by mask" in recipe.read_text()
    mask = made["part_mask"]
    assert mask.shape == (400, 15)
    assert mask.dtype == np.float32
    number = mask.sum(1)
    assert np.array_equal(mask, np.arange(15) < number[:, None])
    assert (number.min(), number.max()) == (5, 15)
    for name in ("etarel", "phirel", "ptrel"):
        assert np.array_equal(made[f"part_{name}"] != 0, mask == 1)
