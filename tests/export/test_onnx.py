"""Exported generators make the events that hepgan makes of the same random numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

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
    """The folder of an onnxruntime for C++: with include/ and lib/."""
    named = os.environ.get("HEPGAN_ONNXRUNTIME")
    places = [Path(named)] if named else [Path("/usr"), Path("/usr/local"), Path(sys.prefix)]
    names = ("onnxruntime_cxx_api.h", "onnxruntime/onnxruntime_cxx_api.h")
    return next((p for p in places for n in names if (p / "include" / n).exists()), None)


def test_the_program_in_cpp_makes_events(toy, tmp_path):
    compiler, there = shutil.which("g++"), headers()
    if compiler is None or there is None:
        pytest.skip("needs g++ and onnxruntime for C++ (its folder in HEPGAN_ONNXRUNTIME)")
    program = tmp_path / "generate"
    includes = [f"-I{there}/include", f"-I{there}/include/onnxruntime"]
    folder = there / "lib"
    if not list(folder.glob("libonnxruntime.so*")):
        # Where there are headers alone, the library of the Python package will do.
        (own,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
        folder = tmp_path
        for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
            (folder / name).symlink_to(own)
    libraries = [f"-L{folder}", f"-Wl,-rpath,{folder}", "-lonnxruntime"]
    build = [compiler, "-std=c++17", "-O2", str(PROGRAM), *includes, *libraries, "-o", str(program)]
    subprocess.run(build, check=True)
    out = tmp_path / "events.csv"
    conditions = [f"{i.name.removeprefix('condition_')}=20" for i in toy[1].inputs if "condition_" in i.name]
    command = [str(program), str(toy[1].path), "500", str(out), "--seed=1", *conditions]
    subprocess.run(command, check=True)
    lines = out.read_text().splitlines()
    assert len(lines) == 501
    assert lines[0].split(",")[0] == toy[1].columns[0].name + "[0]"
    table = np.loadtxt(lines[1:], delimiter=",")
    pt = table[:, [i for i, n in enumerate(lines[0].split(",")) if n.startswith("Muon_pt")]]
    truth = np.asarray(toy[0].generate(2000, seed=1, condition={"npv": 20}).Muon.pt)
    assert abs(pt.mean() - truth.mean()) < 5 * truth.std() / np.sqrt(len(pt))
