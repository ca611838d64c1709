from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot
from click.testing import CliRunner
from numpy.testing import assert_allclose

from hepgan.cli import cli
from hepgan.events import infer_schema, read_events, write_events
from hepgan.events.formats import locate, open_source
from hepgan.events.momenta import find_momentum, unnamed
from hepgan.events.reading import drafted
from hepgan.generator import EventGenerator
from hepgan.recipes import draft_recipe, load_recipe
from hepgan.recipes.document import parse_yaml
from hepgan.validation import compare_files

Numbers = np.ndarray[Any, Any]
N = 2500


def four_momenta(rng: np.random.Generator, mass: float | Numbers, scale: float, n: int = N) -> list[Numbers]:
    """px, py, pz, energy (n,) each."""
    p = rng.normal(0.0, scale, (3, n)) * np.array([[1.0], [1.0], [2.5]])
    return [*p, np.sqrt((p**2).sum(0) + mass**2)]


def column(rng: np.random.Generator, n: int = N) -> Numbers:
    """Any number of the kinds that files hold."""
    size = 10.0 ** rng.uniform(-3, 4)
    kinds = (
        lambda: rng.normal(0.0, size, n),
        lambda: rng.exponential(size, n),
        lambda: rng.uniform(-np.pi, np.pi, n),
        lambda: rng.uniform(0.0, size, n),
        lambda: rng.normal(0.0, 2.0, n),
        lambda: rng.lognormal(np.log(size), 1.0, n),
        lambda: rng.beta(0.5, 0.5, n),
        lambda: rng.normal(5 * size, size / 100, n),
    )
    return kinds[rng.integers(len(kinds))]()


def flat_file(path: Path, columns: dict[str, Numbers], tree: str = "tree") -> str:
    with uproot.recreate(path) as file:
        file.mktree(tree, {n: v.dtype for n, v in columns.items()}).extend(columns)
    return f"{path}:{tree}"


@pytest.mark.parametrize("names", ["abcd", ("x3", "x1", "x2", "x0"), ("p_x", "p_y", "p_z", "p_E")])
@pytest.mark.parametrize("mass", [0.10566, 0.93827, 5.28, 91.19])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_four_numbers_on_a_mass_shell_are_a_momentum(names: Any, mass: float, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    columns = dict(zip(names, four_momenta(rng, mass, max(mass, 1.0)), strict=True))
    columns |= {"iso": rng.exponential(0.1, N), "score": rng.beta(0.5, 0.5, N), "dxy": rng.normal(0, 0.01, N)}
    found = find_momentum({n: v.astype(dtype) for n, v in columns.items()})
    assert found == dict(zip(names, ("px", "py", "pz", "energy"), strict=True))


def test_a_mass_may_have_a_width() -> None:
    rng = np.random.default_rng(2)
    columns = dict(zip("abcd", four_momenta(rng, rng.normal(91.19, 2.5, N), 60.0), strict=True))
    assert set(find_momentum(columns)) == set("abcd")


def test_polar_coordinates_are_found_by_the_energy() -> None:
    rng = np.random.default_rng(3)
    px, py, pz, energy = four_momenta(rng, 0.10566, 10.0)
    pt = np.hypot(px, py)
    columns = {"u": pt, "v": np.arcsinh(pz / pt), "w": np.arctan2(py, px), "t": energy, "iso": column(rng)}
    assert find_momentum(columns) == {"u": "pt", "v": "eta", "w": "phi", "t": "energy"}
    known = {"pt": pt, "eta": columns["v"], "phi": columns["w"], "nrg": energy}
    assert find_momentum(known) == {"nrg": "energy"}
    # A second number that is uniform in [-pi, pi] could be the azimuth as well.
    assert find_momentum({**columns, "other": rng.uniform(-np.pi, np.pi, N)}) == {}


def test_known_components_want_only_their_energy() -> None:
    rng = np.random.default_rng(4)
    px, py, pz, energy = four_momenta(rng, 0.13957, 1.0)
    size = np.sqrt(px**2 + py**2 + pz**2)
    columns = {"px": px, "py": py, "pz": pz, "TOTAL": energy, "LENGTH": size, "pt": np.hypot(px, py)}
    assert find_momentum(columns) == {"TOTAL": "energy"}
    assert find_momentum({n: v for n, v in columns.items() if n != "TOTAL"}) == {}


@pytest.mark.parametrize("seed", range(200))
def test_numbers_that_are_none_are_never_called_a_momentum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {f"c{i}": column(rng) for i in range(rng.integers(4, 11))}
    x, y, z, a, b = (rng.normal(0.0, 10.0, N) for _ in range(5))
    traps: list[dict[str, Numbers]] = [
        {},
        # A place and its distance, with and without a resolution.
        {"x": x, "y": y, "z": z, "r": np.sqrt(x**2 + y**2 + z**2)},
        {"x": x, "y": y, "z": z, "r": np.sqrt(x**2 + y**2 + z**2) * rng.normal(1.0, 0.2, N)},
        # Errors that were added in quadrature.
        {"stat": np.abs(x), "syst": np.abs(y), "lumi": np.abs(z), "total": np.sqrt(x**2 + y**2 + z**2 + 1)},
        {"a": a, "b": b, "both": a + b, "length": np.hypot(a, b), "more": np.sqrt(a**2 + b**2 + 1)},
        {"one": x, "two": x * 1.01 + 0.1 * y, "three": x - y, "large": 100 + np.abs(x)},
    ]
    columns |= traps[seed % len(traps)]
    if seed % 5 == 0:
        columns = {n: v.astype(np.float32) for n, v in columns.items()}
    assert find_momentum(columns) == {}


def test_two_possible_momenta_are_none() -> None:
    rng = np.random.default_rng(5)
    columns = dict(zip("abcd", four_momenta(rng, 0.5, 2.0), strict=True))
    columns |= dict(zip("efgh", four_momenta(rng, 0.9, 2.0), strict=True))
    assert find_momentum(columns) == {}


def test_files_of_the_field_have_no_momenta_but_those_of_their_names(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(file: Path) -> dict[str, tuple[str, ...]]:
        ((path, tree),) = locate(str(file))
        with open_source(path, tree) as source:
            schema = drafted(source)
        return {c.name: c.field_names for c in schema.collections}

    files = sorted(shared_data.rglob("*.root"))
    by_numbers = [found(file) for file in files]
    monkeypatch.setattr("hepgan.events.reading.with_momenta", lambda schema, read: schema)
    assert by_numbers == [found(file) for file in files]


def test_scalars_with_a_common_prefix_or_suffix_become_objects(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    one, two, three = (four_momenta(rng, m, 3.0) for m in (0.10566, 0.93827, 0.49368))
    columns = {f"mu_v{i}": v for i, v in enumerate(one)} | {"mu_iso": rng.exponential(0.1, N)}
    columns |= {f"v{i}_pr": v for i, v in enumerate(two)}
    columns |= dict(zip(("alpha", "beta", "gamma", "delta"), three, strict=True))
    columns |= {"HT": rng.exponential(100.0, N), "weight_of_nothing": rng.normal(size=N)}
    file = flat_file(tmp_path / "odd.root", columns)
    schema = infer_schema(file)
    collections = {c.name: c for c in schema.collections}
    assert set(collections) == {"mu", "pr", "Particle"}
    for name, mass in (("mu", 0.10566), ("pr", 0.93827), ("Particle", 0.49368)):
        assert set(collections[name].coordinates) == {"px", "py", "pz", "energy"}
        assert len(unnamed(collections[name])) == 4
        assert_allclose(ak.to_numpy(read_events(file)[name].mass), mass, rtol=1e-6)
    assert "iso" in collections["mu"].field_names
    assert set(schema.scalar_names) == {"HT", "weight_of_nothing"}
    # Files that are written have the branches that were read.
    write_events(tmp_path / "copy.root", read_events(file))
    with uproot.open(tmp_path / "copy.root") as copy:
        tree = copy[copy.keys(cycle=False)[0]]
        assert set(tree.keys()) == set(columns)
        for n, v in columns.items():
            assert_allclose(tree[n].array(library="np"), v)


def test_lists_become_momenta(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    counts = rng.poisson(2.0, 1500)
    columns = four_momenta(rng, 0.10566, 5.0, int(counts.sum()))
    fields = {n: ak.unflatten(v, counts) for n, v in zip(("k0", "k1", "k2", "k3"), columns, strict=True)}
    with uproot.recreate(tmp_path / "lists.root") as file:
        file.mktree("tree", {"cand": ak.zip(fields).type.content}).extend({"cand": ak.zip(fields)})
    (found,) = infer_schema(tmp_path / "lists.root").collections
    assert found.coordinates == ("px", "py", "pz", "energy")
    assert unnamed(found) == ("cand_k0", "cand_k1", "cand_k2", "cand_k3")


def test_the_draft_says_which_numbers_are_a_momentum_and_keeps_the_mass_shell(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    one, two = (four_momenta(rng, 105.658, 4000.0) for _ in range(2))
    columns = {f"{of}_k{i}": v for of, p in (("a", one), ("b", two)) for i, v in enumerate(p)}
    columns |= {
        f"{of}_size": np.sqrt(p[0] ** 2 + p[1] ** 2 + p[2] ** 2) for of, p in (("a", one), ("b", two))
    }
    total = np.sum([one, two], axis=0)
    columns["pair_of_them"] = np.sqrt(total[3] ** 2 - (total[:3] ** 2).sum(0))
    file = flat_file(tmp_path / "pair.root", columns)
    text = draft_recipe(file, name="pair")
    told = " ".join(text.replace("#", " ").split())
    assert "a_k0, a_k1, a_k2, a_k3 are px, py, pz, energy, which their numbers tell" in told
    recipe = load_recipe(parse_yaml(text, "pair"))
    assert recipe.events.unit == "MeV"
    assert {"pair_of_them", "a.size", "b.size"} <= set(recipe.events.derived)
    recipe = recipe.with_settings(["training.steps=3", "model.network.width=16", "model.steps=1"])
    events = EventGenerator(recipe).fit(read_events(file), device="cpu").generate(300, seed=1)
    for name in ("a", "b"):
        m2 = events[name].energy ** 2 - events[name].px ** 2 - events[name].py ** 2 - events[name].pz ** 2
        assert_allclose(ak.to_numpy(m2), 105.658**2, rtol=1e-4)


def test_lhcb_tuples_are_read_in_mev(tmp_path: Path) -> None:
    rng = np.random.default_rng(9)
    columns: dict[str, Numbers] = {}
    total = np.zeros((4, N))
    for of in ("muplus", "muminus"):
        p = [rng.normal(0, 800, N), rng.normal(0, 800, N), rng.exponential(20000, N) + 3000]
        momentum = np.stack([*p, np.sqrt(np.sum(np.square(p), axis=0) + 105.658**2)])
        total += momentum
        columns |= {f"{of}_{n}": v for n, v in zip(("PX", "PY", "PZ", "PE"), momentum, strict=True)}
        columns |= {f"{of}_P": np.sqrt((momentum[:3] ** 2).sum(0)), f"{of}_PT": np.hypot(*momentum[:2])}
        columns |= {f"{of}_ProbNNmu": rng.beta(0.5, 0.5, N)}
    columns["Jpsi_M"] = np.sqrt(total[3] ** 2 - (total[:3] ** 2).sum(0))
    file = flat_file(tmp_path / "lhcb.root", columns, "DecayTree")
    result = CliRunner().invoke(cli, ["init", file, "-o", str(tmp_path / "r.yaml")])
    assert result.exit_code == 0, result.output
    text, recipe = (tmp_path / "r.yaml").read_text(), load_recipe(tmp_path / "r.yaml")
    assert recipe.events.unit == "MeV"
    assert "GeV" not in text
    assert recipe.events.derived["Jpsi.mass"] == "(muplus + muminus).mass"
    assert "p, pt: computed from the momentum" in text
    recipe = recipe.with_settings(["training.steps=3", "model.network.width=16", "model.steps=1"])
    made = EventGenerator(recipe).fit(read_events(file), device="cpu").generate(300, seed=1)
    write_events(tmp_path / "made.root", made)
    with uproot.open(f"{tmp_path}/made.root:DecayTree") as tree:
        new = tree.arrays(library="np")
    assert set(new) == set(columns)
    for of in ("muplus", "muminus"):
        m2 = new[f"{of}_PE"] ** 2 - new[f"{of}_PX"] ** 2 - new[f"{of}_PY"] ** 2 - new[f"{of}_PZ"] ** 2
        assert_allclose(m2, 105.658**2, rtol=1e-3)
        size = np.sqrt(new[f"{of}_PX"] ** 2 + new[f"{of}_PY"] ** 2 + new[f"{of}_PZ"] ** 2)
        assert_allclose(new[f"{of}_P"], size, rtol=1e-6)
        assert_allclose(new[f"{of}_PT"], np.hypot(new[f"{of}_PX"], new[f"{of}_PY"]), rtol=1e-6)
    both = [new[f"muplus_{n}"] + new[f"muminus_{n}"] for n in ("PX", "PY", "PZ", "PE")]
    assert_allclose(
        new["Jpsi_M"], np.sqrt(both[3] ** 2 - both[0] ** 2 - both[1] ** 2 - both[2] ** 2), rtol=1e-5
    )


@pytest.mark.usefixtures("_reports_without_pictures")
def test_few_events_are_compared_by_the_momenta_of_the_reference(tmp_path: Path) -> None:
    rng = np.random.default_rng(11)

    def made(name: str, n: int, off: float) -> str:
        columns = {f"b_v{i}": v for i, v in enumerate(four_momenta(rng, rng.normal(5.28, 0.02, n), 9.0, n))}
        columns["b_v3"] = columns["b_v3"] * rng.normal(1.0 + off, off, n)
        counts = rng.poisson(2.0, n)
        lists = four_momenta(rng, 0.13957, 1.0, int(counts.sum()))
        fields = {f"k{i}": ak.unflatten(v, counts) for i, v in enumerate(lists)}
        events = ak.zip({**columns, "pi": ak.zip(fields)}, depth_limit=1)
        with uproot.recreate(tmp_path / name) as file:
            types = {n: v.dtype for n, v in columns.items()}
            file.mktree("tree", types | {"pi": events.pi.type.content}).extend(
                {n: events[n] for n in events.fields}
            )
        return str(tmp_path / name)

    true, few, wide = made("true.root", 2000, 0.0), made("few.root", 30, 0.0), made("wide.root", 1500, 0.5)
    assert {c.name for c in infer_schema(true).collections} == {"b", "pi"}
    assert infer_schema(few).collection("pi").coordinates == ()
    assert "b" not in infer_schema(wide).collection_names
    with pytest.warns(UserWarning, match="judged .* below the momentum"):
        found = compare_files(true, {"few": few, "wide": wide}, on_bad="keep", classifier=False)
    assert {"b_energy", "b_pt", "pi0_pt", "pi0_energy"} <= set(found.observables)
    assert found.results["few"].histograms["b_energy"].sum(flow=True).value == 30
    assert found.results["wide"].histograms["b_energy"].sum(flow=True).value == 1500
