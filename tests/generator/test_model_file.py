from __future__ import annotations

import json
import math
import pickle
import time
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import torch
from generator_toys import GAN, SMALL, assert_same_weights, same, small
from numpy.testing import assert_allclose
from safetensors import safe_open
from safetensors.torch import save_file
from toys import dimuons

from hepgan.errors import InputError, ModelFileError, OutputError
from hepgan.generator import EventGenerator, model_file
from hepgan.sealed import digest_of

DATA = Path(__file__).parents[1] / "data"
FORMAT_1 = DATA / "format1"


@pytest.fixture(scope="module")
def events():
    return dimuons(400, seed=2)


@pytest.fixture(scope="module")
def fitted(events):
    return small().fit(events, seed=1, device="cpu")


@pytest.fixture(scope="module")
def gan(events):
    penalties = [
        {"kind": "energy", "observables": ["met", "n_jet"]},
        {"kind": "moments", "observables": "met", "target_mean": 20.0},
    ]
    return small(model={**GAN, "penalties": penalties}, training__diagnose_every=10).fit(events, seed=1)


@pytest.mark.parametrize("kind", ["toy", "gan"])
def test_a_loaded_model_makes_the_same_events(kind, toy_generator, gan, tmp_path):
    generator = toy_generator if kind == "toy" else gan
    generator.save(tmp_path / "model.safetensors")
    loaded = EventGenerator.load(tmp_path / "model.safetensors", device="cpu")
    assert same(loaded.generate(5000, seed=8), generator.generate(5000, seed=8))
    assert loaded.schema == generator.schema
    assert loaded.summary == json.loads(json.dumps(generator.summary))
    assert loaded.recipe == generator.recipe
    assert loaded.describe() == generator.describe()
    loaded.save(tmp_path / "again.safetensors")
    again = EventGenerator.load(tmp_path / "again.safetensors", device="cpu")
    assert_same_weights(again, generator)


def test_a_model_keeps_settings_that_were_defaults(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        recipe = json.loads(file.metadata()["hepgan"])["recipe"]
    assert recipe["model"]["solver"] == fitted.recipe.model.solver
    assert "solver" not in SMALL["model"]


def test_an_existing_model_is_replaced_only_by_force(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        fitted.save(path)
    assert path.read_text() == "mine"
    fitted.save(path, force=True)
    assert EventGenerator.load(path, device="cpu").schema == fitted.schema
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def rewritten(path, change, *, signed=True):
    """Changes the document and the tensors of a file, and their digest with them if ``signed``."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    document = json.loads(metadata["hepgan"])
    change(document, tensors)
    text = json.dumps(document)
    digest = json.dumps(digest_of(text, tensors)) if signed else metadata["digest"]
    save_file(tensors, path, {"hepgan": text, "digest": digest})


def later(document, tensors):
    document |= {"format": model_file.FORMAT + 1, "versions": {"hepgan": "9.9"}}


def without_schema(document, tensors):
    del document["schema"]


def another_network(document, tensors):
    document["recipe"]["model"]["network"]["widths"] = [17]


def unknown_model(document, tensors):
    document["recipe"] = {"name": "x", "model": {"kind": "oracle"}}


def odd_state(document, tensors):
    document["representation"] = [1, 2]


def no_summary(document, tensors):
    document["summary"] = 3


def fewer_tensors(document, tensors):
    tensors.popitem()


def without_conditions(document, tensors):
    del tensors["pool.condition"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (later, r"written by hepgan 9\.9 in format 3; .* up to 2"),
        (without_schema, "does not fit"),
        (another_network, "does not fit"),
        (unknown_model, "does not fit"),
        (odd_state, "does not fit"),
        (no_summary, "does not fit"),
        (fewer_tensors, "does not fit"),
        (without_conditions, "does not fit"),
    ],
)
def test_a_file_that_does_not_fit_itself_is_refused(fitted, tmp_path, change, match):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    rewritten(path, change)
    with pytest.raises(ModelFileError, match=match) as caught:
        EventGenerator.load(path)
    assert caught.value.file == str(path)


def million_blocks(document, tensors):
    document["recipe"]["model"]["network"] = {"kind": "residual", "width": 1, "blocks": 10**6}


def wide(document, tensors):
    document["recipe"]["model"]["network"] = {"kind": "residual", "width": 60_000, "blocks": 1000}


def narrow_and_deep(document, tensors):
    document["recipe"]["model"]["network"] = {"kind": "mlp", "widths": [1] * 1000}


def many_members(document, tensors):
    document["recipe"]["training"]["members"] = 1000


def many_steps(document, tensors):
    document["recipe"]["model"]["steps"] = 10**9


def many_hidden(document, tensors):
    document["discrete"]["blocks"][0] |= {"hidden": 10**9}


def many_prefixes(document, tensors):
    document["discrete"]["blocks"][0] |= {"prefixes": 10**12}


def list_of_versions(document, tensors):
    document["versions"] = [1]


def list_as_summary(document, tensors):
    document["summary"] = [1]


def half_a_summary(document, tensors):
    document["summary"] = {"steps": 1}


def steps_in_words(document, tensors):
    document["summary"]["steps"] = "many"


def infinite_format(document, tensors):
    document["format"] = math.inf


def not_a_number(document, tensors):
    document["recipe"]["training"]["optimiser"] = {"lr": math.nan}


@pytest.mark.parametrize(
    "change",
    [
        million_blocks,
        wide,
        narrow_and_deep,
        many_members,
        many_steps,
        many_hidden,
        many_prefixes,
        list_of_versions,
        list_as_summary,
        half_a_summary,
        steps_in_words,
        infinite_format,
        not_a_number,
    ],
)
def test_a_hostile_file_whose_digest_is_right_is_refused_soon(fitted, tmp_path, change):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    rewritten(path, change)
    started = time.process_time()
    with pytest.raises(ModelFileError, match=r"does not fit|description cannot be read"):
        EventGenerator.load(path, device="cpu")
    assert time.process_time() - started < 5.0


@pytest.mark.parametrize("text", ["[" * 100_000 + "]" * 100_000, '{"format": 1e400, "versions": {}}'])
def test_documents_that_python_cannot_hold_are_damage(text, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({}, path, {"hepgan": text, "digest": json.dumps(digest_of(text, {}))})
    with pytest.raises(ModelFileError, match="a damaged model file"):
        EventGenerator.load(path)


@pytest.mark.parametrize("seed", range(40))
def test_no_changed_bit_and_no_lost_byte_of_a_model_goes_unnoticed(seed, fitted):
    rng = np.random.default_rng(seed)
    content = bytearray(fitted.to_bytes())
    at = int(rng.integers(len(content)))
    if seed % 5:
        content[at] ^= 1 << int(rng.integers(8))
    else:
        content = content[:at]
    with pytest.raises(ModelFileError):
        EventGenerator.from_bytes(bytes(content))


@pytest.mark.parametrize(
    "metadata", [{}, {"hepgan": "{"}, {"hepgan": "[]"}, {"hepgan": "{}"}, {"hepgan": '{"format": "x"}'}]
)
def test_a_foreign_file_is_refused(tmp_path, metadata):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3)}, path, metadata)
    with pytest.raises(ModelFileError, match=r"not one of hepgan|description cannot be read"):
        EventGenerator.load(path)


def renamed(document, tensors):
    document["recipe"]["name"] = "another"


def other_constant(document, tensors):
    document["representation"]["learned"] = {**document["representation"]["learned"], "ordinal": []}


def other_summary(document, tensors):
    document["summary"]["training_events"] += 1


def other_number(document, tensors):
    next(t for t in tensors.values() if t.numel()).view(-1)[0] += 1


@pytest.mark.parametrize("change", [renamed, other_constant, other_summary, other_number])
def test_whatever_changes_in_a_file_is_noticed(fitted, tmp_path, change):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    rewritten(path, change, signed=False)
    with pytest.raises(ModelFileError, match="not hold what was written"):
        EventGenerator.load(path)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "flipped", "missing", "folder"])
def test_a_damaged_file_is_refused(fitted, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "garbage":
        path.write_bytes(bytes(range(256)) * 20)
    elif damage == "flipped":
        content[-50] ^= 4
        path.write_bytes(content)
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        EventGenerator.load(path)


def test_an_unknown_device_is_an_input_error(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="'abacus' is not available"):
        EventGenerator.load(tmp_path / "model.safetensors", device="abacus")


def test_a_model_file_tells_how_far_each_term_was_from_its_floor(gan, tmp_path):
    assert gan.history.diagnostics["step"].tolist() == [10, 20, 30]
    gan.save(tmp_path / "model.safetensors")
    loaded = EventGenerator.load(tmp_path / "model.safetensors")
    terms = [line.split() for line in loaded.describe() if line.startswith("term ")]
    assert [t[1] for t in terms] == ["critic_adversarial", "energy_met_n_jet", "moments_met"]
    last = gan.history.diagnostics["energy_met_n_jet/value"][-1]
    assert float(terms[1][2]) == pytest.approx(last, rel=0.01)
    assert loaded.describe() == gan.describe()


def test_a_penalty_that_names_one_observable_in_the_old_way_is_read(gan, tmp_path):
    path = tmp_path / "model.safetensors"
    gan.save(path)

    def older(document, tensors):
        penalty = document["recipe"]["model"]["penalties"][1]
        (penalty["observable"],) = penalty.pop("observables")

    rewritten(path, older)
    assert same(EventGenerator.load(path).generate(50, seed=1), gan.generate(50, seed=1))


# ---------------------------------------------------------------------- in memory


@pytest.mark.parametrize("kind", ["toy", "gan"])
def test_a_generator_comes_out_of_a_pickle_as_out_of_its_file(kind, toy_generator, gan):
    generator = toy_generator if kind == "toy" else gan
    found = pickle.loads(pickle.dumps(generator))
    assert same(found.generate(300, seed=4), generator.generate(300, seed=4))
    assert (found.recipe, found.versions) == (generator.recipe, generator.versions)
    assert_same_weights(found, generator)
    again = EventGenerator.from_bytes(generator.to_bytes(), device="cpu")
    assert same(again.generate(300, seed=4), found.generate(300, seed=4))


def test_a_generator_that_has_not_learned_yet_can_be_pickled():
    fresh = small()
    assert pickle.loads(pickle.dumps(fresh)).recipe == fresh.recipe
    with pytest.raises(RuntimeError, match="not learned anything yet"):
        fresh.to_bytes()


# ---------------------------------------------------------------------- earlier versions


def numbers(events):
    """All numbers of events by name, jagged ones as counts and content."""
    found = {}
    for name in events.fields:
        part = events[name]
        for label, values in [(f"{name}.{f}", part[f]) for f in part.fields] or [(name, part)]:
            if values.ndim > 1:
                found[f"{label}:counts"] = ak.to_numpy(ak.num(values))
            found[label] = ak.to_numpy(ak.flatten(values) if values.ndim > 1 else values)
    return found


@pytest.mark.parametrize("path", sorted(DATA.glob("*/*.safetensors")), ids=lambda p: p.stem)
def test_a_model_file_of_an_earlier_version_makes_the_same_events(path):
    generator = EventGenerator.load(path, device="cpu")
    with np.load(path.with_suffix(".npz")) as file:
        expected = dict(file)
    found = numbers(generator.generate(200, seed=5))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        if values.dtype.kind == "f":
            # The networks' rounding differs between processors.
            assert_allclose(found[name], values, rtol=1e-3, atol=1e-3 * float(np.std(values)), err_msg=name)
        else:
            assert found[name].tolist() == values.tolist(), name
    assert "hepgan" in generator.versions
    assert generator.describe()
    again = EventGenerator.from_bytes(generator.to_bytes(), device="cpu")
    assert same(again.generate(20, seed=5), generator.generate(20, seed=5))


def test_a_damaged_file_of_format_1_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    with safe_open(FORMAT_1 / "dis.safetensors", "pt") as file:
        metadata = file.metadata()
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata)
    assert same(
        EventGenerator.load(path, device="cpu").generate(20),
        EventGenerator.load(FORMAT_1 / "dis.safetensors", device="cpu").generate(20),
    )
    save_file({**tensors, "conditions": torch.ones(2, 1)}, path, metadata)
    with pytest.raises(ModelFileError, match="not hold what was written"):
        EventGenerator.load(path)
    save_file(tensors, path, {**metadata, "schema": "{"})
    with pytest.raises(ModelFileError, match="description cannot be read"):
        EventGenerator.load(path)
    save_file(tensors, path, {n: v for n, v in metadata.items() if n != "schema"})
    with pytest.raises(ModelFileError, match="does not fit"):
        EventGenerator.load(path)
