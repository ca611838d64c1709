"""Exported generators make the events that hepgan makes of the same random numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch

from hepgan.cli import cli
from hepgan.cli.console import run as run_command
from hepgan.errors import InputError, OutputError, RecipeError
from hepgan.export import export_onnx
from hepgan.export.chain import VALID, Chain
from hepgan.export.onnx import Exported, compare, differences, run
from hepgan.generator import EventGenerator
from hepgan.models.flow_matching import FlowMatching
from hepgan.stats.distances import ks

pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxscript", reason="needs onnxscript")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

DATA = Path(__file__).parents[1] / "data"
PROGRAM = Path(__file__).parents[2] / "examples" / "cpp" / "generate.cpp"
FAMILIES = {
    "flow": "format1/drell-yan-paper",
    "spline_flow": "format1/wz-paper",
    "flow_matching_with_conditions": "format1/dis-energies",
    "flow_matching_with_bounds": "format1/toy",
    "student": "format1/distilled",
    "refined": "format1/refined",
    "ensemble": "format2/members",
    "ensemble_of_gans": "format1/cfat-gan-x2",
    "tree_of_partons": "format1/ee-partons",
}
EVENTS = 10_000


def generator_of(name: str) -> EventGenerator:
    """A generator, whose paths have few steps: each makes the graph longer, and none another one."""
    generator = EventGenerator.load(DATA / f"{FAMILIES[name]}.safetensors", device="cpu")
    for model in generator.parts.model.modules():
        if isinstance(model, FlowMatching):
            model.config = model.config.model_copy(update={"steps": 2})
    return generator


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Generators with their files, by family; each is exported once."""
    folder = tmp_path_factory.mktemp("exported")

    @cache
    def export(family: str) -> tuple[EventGenerator, Exported]:
        generator = generator_of(family)
        return generator, export_onnx(generator, folder / f"{family}.onnx")

    return export


def rounding(family: str) -> float:
    """How much events differ from those of the same network in double precision."""
    single, double = Chain(generator_of(family).parts), Chain(generator_of(family).parts)
    double.parts.model.double()
    noise, *others = single.example(EVENTS, seed=5)
    with torch.no_grad():
        found, exact = single(noise, *others), double(noise.double(), *others)
    names = [c.name for c in single.columns]
    columns = ({n: t.numpy() for n, t in zip(names, made, strict=True)} for made in (exact, found))
    return differences(*columns)[0]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_makes_the_same_events(family, exported):
    generator, made = exported(family)
    # What its own single precision leaves open is no error of the file.
    allowed = max(1e-5, 10 * rounding(family))
    difference, others = compare(Chain(generator.parts), made.path, EVENTS, seed=5)
    assert difference < allowed
    assert others <= 1
    # Any number of events, one too.
    chain = Chain(generator.parts)
    one = {i.name: t.numpy() for i, t in zip(chain.inputs, chain.example(1), strict=True)}
    assert all(len(v) == 1 for v in run(made.path, one).values())


@pytest.fixture(scope="module")
def toy(exported):
    return exported("flow_matching_with_bounds")


def test_the_chain_is_what_generation_makes_of_its_random_numbers(toy):
    generator, _ = toy
    from hepgan.generator.sampling import Sampler

    parts = generator.parts
    sampler = Sampler(parts, seed=3)
    z, given = sampler.noise(0)
    traced = sampler.traced(0)
    kept = (traced.noise == z).all(1) & (traced.given.discrete == given.discrete).all(1)
    noise = sampler._noise(0)
    by_name = {
        "noise": z,
        "uniform": torch.cat(
            [
                noise.uniform(len(parts.representation.variables), "discrete"),
                noise.uniform(1, "azimuth"),
            ],
            1,
        ),
    }
    values = parts.representation.decode_condition(given.condition)
    by_name |= {f"condition_{n}": v for n, v in values.items()}
    chain = Chain(parts)
    with torch.no_grad():
        columns = chain(*(by_name[i.name] for i in chain.inputs))
    made = dict(zip((c.name for c in chain.columns), columns, strict=True))
    assert torch.equal(made[VALID], kept)
    expected = traced.events.collections["Muon"].fields["pt"].float()
    assert torch.equal(made["Muon_pt"][kept], expected[kept])


def test_the_file_says_what_its_numbers_are(toy):
    import onnx

    generator, made = toy
    model = onnx.load(made.path)
    told = {p.key: p.value for p in model.metadata_props}
    inputs, outputs = json.loads(told["hepgan.inputs"]), json.loads(told["hepgan.outputs"])
    assert [i["name"] for i in inputs] == [i.name for i in model.graph.input]
    assert [o["name"] for o in outputs] == [o.name for o in model.graph.output]
    assert inputs[0]["width"] == generator.parts.model.noise_size
    assert json.loads(told["hepgan.recipe"])["name"] == "toy"
    assert json.loads(told["hepgan.schema"])["unit"] in told["hepgan.unit"]
    assert VALID in told["hepgan.how"]
    assert model.opset_import[0].version == 18


def test_generation_is_the_same_before_and_after_an_export(toy):
    fresh = generator_of("flow_matching_with_bounds").generate(200, seed=4)
    assert fresh.to_list() == toy[0].generate(200, seed=4).to_list()


def test_differences_are_told():
    wanted = {"x": np.array([1.0, 2.0, 3.0]), "n": np.array([1, 2, 3])}
    found = {"x": np.array([1.0, 2.0, 3.3]), "n": np.array([1, 5, 3])}
    worst, others = differences(wanted, found)
    assert (worst, others) == (pytest.approx(0.1), 1)


def test_numbers_that_one_side_lacks_are_no_agreement():
    wanted = {"x": np.array([1.0, np.nan, 3.0, np.inf])}
    assert differences(wanted, wanted) == (0.0, 0)
    for k, value in ((0, np.nan), (1, 2.0), (3, -np.inf), (3, 1.0)):
        other = wanted["x"].copy()
        other[k] = value
        assert differences(wanted, {"x": other})[0] == np.inf


def test_what_cannot_be_exported_is_refused_with_the_reason(tmp_path):
    folding = EventGenerator.load(DATA / "format1" / "folding.safetensors", device="cpu")
    with pytest.raises(RecipeError, match="conditional on Electron"):
        export_onnx(folding, tmp_path / "model.onnx")
    with pytest.raises(OutputError, match="called"):
        export_onnx(folding, tmp_path / "model.bin")
    assert not list(tmp_path.iterdir())


def test_without_the_extra_the_error_says_what_to_install(tmp_path, monkeypatch, toy):
    monkeypatch.setattr("hepgan.export.onnx.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install \"hepgan\[onnx\]\""):
        export_onnx(toy[0], tmp_path / "model.onnx")


@pytest.mark.filterwarnings("ignore")
def test_the_command_exports_a_member(tmp_path, capsys):
    model, out = DATA / "format1" / "cfat-gan-x2.safetensors", tmp_path / "member.onnx"
    assert run_command(cli, ["export", str(model), "-o", str(out), "--member", "1"]) == 0
    said = capsys.readouterr().err + capsys.readouterr().out
    assert out.exists()
    assert "condition_member" not in said
    member = EventGenerator.load(model, device="cpu").member(1)
    assert compare(Chain(member.parts), out, 1000)[0] < 1e-5


def headers() -> Path | None:
    """The folder of an onnxruntime for C++: with include/, and lib/ or the library of the Python package."""
    named = os.environ.get("HEPGAN_ONNXRUNTIME")
    places = [Path(named)] if named else [Path("/usr"), Path("/usr/local"), Path(sys.prefix)]
    names = ("onnxruntime_cxx_api.h", "onnxruntime/onnxruntime_cxx_api.h")
    return next((p for p in places for n in names if (p / "include" / n).exists()), None)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The example in C++, compiled."""
    compiler, there = shutil.which("g++"), headers()
    if compiler is None or there is None:
        pytest.skip("needs g++ and onnxruntime for C++ (its folder in HEPGAN_ONNXRUNTIME)")
    place = tmp_path_factory.mktemp("cpp")
    includes = [f"-I{there}/include", f"-I{there}/include/onnxruntime"]
    folder = there / "lib"
    if not list(folder.glob("libonnxruntime.so*")):
        # Where there are headers alone, the library of the Python package will do.
        (own,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
        folder = place
        for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
            (folder / name).symlink_to(own)
    libraries = [f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime"]
    made = ["-o", str(place / "generate")]
    subprocess.run([compiler, "-std=c++17", "-O2", str(PROGRAM), *includes, *libraries, *made], check=True)
    return place / "generate"


def ran(program, model, events, out, *settings):
    command = [str(program), str(model), str(events), str(out), *settings]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def flattened(events, names):
    """Columns as the program writes them: lists of equally many objects, one after another."""
    found = {}
    for name in names:
        collection, _, field = name.partition("_")
        part = events[name] if name in events.fields else events[collection][field]
        values = np.asarray(ak.to_numpy(part), dtype=float)
        if values.ndim == 1:
            found[name] = values
        else:
            found |= {f"{name}[{k}]": column for k, column in enumerate(values.T)}
    return found


PROGRAM_RUNS = {
    "flow": {},
    "ensemble_of_gans": {"beam_energy": 50, "member": 1},
    "student": {"beam_energy": 50},
    "flow_matching_with_bounds": {"npv": 20},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", PROGRAM_RUNS)
def test_the_program_in_cpp_makes_hepgans_events(family, program, exported, tmp_path):
    generator, made = exported(family)
    given, events, out = PROGRAM_RUNS[family], 5000, tmp_path / "events.csv"
    done = ran(program, made.path, events, out, "--seed=1", *(f"{n}={v}" for n, v in given.items()))
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{events} events in {out}\n"
    title, *lines = out.read_text().splitlines()
    found = dict(zip(title.split(","), np.loadtxt(lines, delimiter=",", unpack=True), strict=True))
    assert len(lines) == events
    assert found.get(VALID, np.ones(1)).all()
    member = given.get("member")
    condition = {n: v for n, v in given.items() if n != "member"}
    truth = generator.generate(events, seed=1, condition=condition or None, member=member)
    names = [c.name for c in made.columns if c.name != VALID]
    weight = generator.parts.schema.weight
    expected = flattened(truth, [n for n in names if n not in ("member", weight)])
    compared = 0
    for name, values in expected.items():
        # What hardly varies at all is made of the last digits of single precision.
        if values.std() > 1e-4 * np.abs(values).max():
            # The probability of a larger distance is 1e-6.
            assert ks(found[name], values) < 2.69 * np.sqrt(2 / events), name
            compared += 1
        else:
            np.testing.assert_allclose(found[name].mean(), values.mean(), rtol=1e-4)
    assert compared > 1


def test_the_program_in_cpp_says_what_is_wrong(program, toy, tmp_path):
    wrong = {
        "give the condition npv": (10, []),
        "no condition foo": (10, ["npv=20", "foo=1"]),
        "npv is a whole number": (10, ["npv=20.5"]),
        "'1e3x' is no number": ("1e3x", ["npv=20"]),
        "cannot be written": (10, ["npv=20"]),
    }
    for what, (events, settings) in wrong.items():
        folder = tmp_path / "none" if what == "cannot be written" else tmp_path
        done = ran(program, toy[1].path, events, folder / "events.csv", *settings)
        assert done.returncode == 1
        assert what in done.stderr
    again = [tmp_path / f"{k}.csv" for k in range(2)]
    for out in again:
        assert ran(program, toy[1].path, "1e2", out, "npv=20", "--seed=3").returncode == 0
    assert again[0].read_bytes() == again[1].read_bytes()
