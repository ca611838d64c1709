"""Drafts for objects that decay into others of the file: B -> J/psi K, with and without masses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import uproot

import hepgan
from hepgan.events import schema_of, to_batch
from hepgan.features import Representation
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.derived import Derived
from hepgan.recipes.document import parse_yaml

N = 1500
MUON, KAON = 105.658, 493.677
SUM = "(mup + mum + K)"


def boosted(p, parent):
    """Momenta (n, 4) in the rest frame of parents (n, 4), seen from where these move."""
    b = parent[:, :3] / parent[:, 3:]
    b2, bp = (b**2).sum(1), (b * p[:, :3]).sum(1)
    gamma = 1 / np.sqrt(1 - b2)
    along = (gamma - 1) * bp / b2 + gamma * p[:, 3]
    return np.concatenate([p[:, :3] + along[:, None] * b, (gamma * (p[:, 3] + bp))[:, None]], 1)


def decay(rng, mass, first, second, parent):
    """The momenta (n, 4) of two particles."""
    size = np.sqrt((mass**2 - (first + second) ** 2) * (mass**2 - (first - second) ** 2)) / 2 / mass
    direction = rng.normal(size=(len(parent), 3))
    p = direction / np.linalg.norm(direction, axis=1)[:, None] * np.broadcast_to(size, len(parent))[:, None]
    energies = (np.sqrt((p**2).sum(1) + m**2)[:, None] for m in (first, second))
    return [boosted(np.concatenate([s * p, e], 1), parent) for s, e in zip((1, -1), energies, strict=True)]


@pytest.fixture(scope="module")
def momenta():
    rng = np.random.default_rng(1)
    p = np.stack([rng.normal(0, 4000, N), rng.normal(0, 4000, N), rng.uniform(2e4, 2e5, N)], 1)
    mass = rng.normal(5279, 15, N)
    parent = np.concatenate([p, np.sqrt((p**2).sum(1) + mass**2)[:, None]], 1)
    psi, kaon = decay(rng, mass, 3096.9, KAON, parent)
    return {**dict(zip(("mup", "mum"), decay(rng, 3096.9, MUON, MUON, psi), strict=True)), "K": kaon}


def drafted(path, momenta, *, energies, polar):
    mother = sum(momenta.values())
    parts = 4 if energies else 3
    columns = {f"{n}_P{'XYZE'[k]}": p[:, k] for n, p in momenta.items() for k in range(parts)}
    pt = np.hypot(mother[:, 0], mother[:, 1])
    if polar:
        columns |= {
            "B_PT": pt,
            "B_ETA": np.arcsinh(mother[:, 2] / pt),
            "B_PHI": np.arctan2(mother[:, 1], mother[:, 0]),
        }
    else:
        columns |= {f"B_P{'XYZE'[k]}": mother[:, k] for k in range(4)}
    columns["B_M"] = np.sqrt(mother[:, 3] ** 2 - (mother[:, :3] ** 2).sum(1))
    columns["B_TAU"] = np.random.default_rng(2).exponential(1.5, N)
    with uproot.recreate(path) as file:
        file.mktree("DecayTree", dict.fromkeys(columns, "f8")).extend(columns)
    text = draft_recipe(str(path), name="b")
    return text, load_recipe(parse_yaml(text, "b"))


def test_the_momentum_of_a_mother_follows_from_its_daughters_and_masses_stay_narrow(momenta, tmp_path):
    text, recipe = drafted(tmp_path / "b.root", momenta, energies=False, polar=True)
    assert recipe.events.derived == {f"B.{q}": f"{SUM}.{q}" for q in ("pt", "eta", "phi")}
    assert "masses neglected, peaks at" in text
    (block,) = recipe.features.blocks
    assert block.kind == "decay"
    assert [getattr(c, "children", c) for c in block.children] == [("mup", "mum"), "K"]

    # Whatever a network makes of the rest, J/psi is a narrow pair, and the mother the sum.
    events = hepgan.read_events(tmp_path / "b.root")
    derived = Derived(schema_of(events), recipe.events.derived)
    batch = to_batch(events)
    representation = Representation(recipe.features, derived.learned).fit(to_batch(events, derived.learned))
    features = representation.encode(to_batch(events, derived.learned))
    torch.manual_seed(0)
    made = derived(representation.decode(features.with_x(torch.randn_like(features.x))))

    def p4(b, name, mass):
        px, py, pz = (b.collections[name].fields[q][:, 0] for q in ("px", "py", "pz"))
        return torch.stack([px, py, pz, (px**2 + py**2 + pz**2 + mass**2).sqrt()], 1)

    def mass_of(b):
        p = p4(b, "mup", MUON) + p4(b, "mum", MUON)
        return (p[:, 3] ** 2 - (p[:, :3] ** 2).sum(1)).sqrt()

    assert float((mass_of(batch) - 3096.9).abs().max()) < 1
    assert float((mass_of(made) - 3096.9).abs().quantile(0.9)) < 60
    total = sum(p4(made, n, 0.0) for n in ("mup", "mum", "K"))
    mother = made.collections["B"].fields
    torch.testing.assert_close(mother["pt"][:, 0], total[:, 0].hypot(total[:, 1]))


def test_with_energies_the_mass_of_a_mother_follows_too(momenta, tmp_path):
    _, recipe = drafted(tmp_path / "b.root", momenta, energies=True, polar=False)
    assert recipe.events.derived == {f"B.{q}": f"{SUM}.{q}" for q in ("px", "py", "pz", "mass", "energy")}


def test_an_energy_follows_from_the_momentum_and_a_mass_that_is_learned(momenta, tmp_path):
    _, recipe = drafted(tmp_path / "b.root", momenta, energies=False, polar=False)
    assert recipe.events.derived["B.energy"] == f"sqrt({SUM}.p**2 + B.mass**2)"
    assert "B.mass" not in recipe.events.derived


def test_objects_that_are_no_sum_of_others_are_learned(momenta, tmp_path):
    rng = np.random.default_rng(3)
    apart = {n: p * rng.normal(1, 0.01, (N, 1)) for n, p in momenta.items()}
    path = tmp_path / "b.root"
    columns = {f"{n}_P{'XYZ'[k]}": p[:, k] for n, p in apart.items() for k in range(3)}
    columns |= {f"B_P{'XYZE'[k]}": sum(momenta.values())[:, k] for k in range(4)}
    with uproot.recreate(path) as file:
        file.mktree("DecayTree", dict.fromkeys(columns, "f8")).extend(columns)
    assert not load_recipe(parse_yaml(draft_recipe(str(path), name="b"), "b")).events.derived
