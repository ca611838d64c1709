from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import hepgan
from hepgan.cli import main
from hepgan.detector import Level, unfold, unfold_through
from hepgan.errors import InputError, RecipeError
from hepgan.events import schema_of
from hepgan.generator import EventGenerator
from hepgan.generator.distillation import distill
from hepgan.generator.ensembles import member_field
from hepgan.models import BLOCK
from hepgan.training import Trainer

MEMBERS = 3
RECIPE = {
    "name": "toy",
    "model": {
        "kind": "flow_matching",
        "network": {"kind": "residual", "width": 8, "blocks": 1},
        "steps": 2,
    },
    "training": {"steps": 15, "batch_size": 64, "members": MEMBERS},
}


def toy(n: int, seed: int = 0) -> ak.Array:
    rng = np.random.default_rng(seed)
    fields = {
        "x": rng.normal(size=n).astype(np.float32),
        "y": rng.exponential(size=n).astype(np.float32),
        "k": rng.integers(0, 3, n).astype(np.int32),
    }
    return ak.zip(fields, depth_limit=1)


@pytest.fixture(scope="module")
def generator() -> EventGenerator:
    return EventGenerator(RECIPE).fit(toy(400), seed=2, device="cpu")


def test_events_of_all_members_come_in_turn_and_in_equal_shares(generator: EventGenerator) -> None:
    events = generator.generate(BLOCK + 100, seed=1)
    assert events.fields == ["x", "y", "k", "member"]
    assert ak.to_numpy(events.member).tolist() == [i % MEMBERS for i in range(BLOCK + 100)]
    assert generator.schema.scalar_names == ("x", "y", "k", "member")


def test_an_event_of_all_is_that_of_its_member(generator: EventGenerator) -> None:
    everything = generator.generate(BLOCK + 100, seed=1)
    for k in range(MEMBERS):
        own = generator.generate(BLOCK + 100, seed=1, member=k)
        assert own.fields == ["x", "y", "k"]
        chosen = ak.to_numpy(everything.member) == k
        # Products of more or fewer rows may round in other ways.
        np.testing.assert_allclose(everything.x[chosen], own.x[chosen], rtol=1e-3, atol=1e-4)
        assert ak.all(everything.k[chosen] == own.k[chosen])


def test_workers_and_first_events_change_nothing(generator: EventGenerator) -> None:
    n = 2 * BLOCK + 50
    one, two = (generator.generate(n, seed=4, workers=w) for w in (1, 2))
    assert ak.all(one.x == two.x)
    assert ak.all(one.member == two.member)
    (later,) = generator.iterate(50, seed=4, first=2 * BLOCK, workers=2)
    assert np.array_equal(later.x.numpy().astype(np.float32), ak.to_numpy(one.x[2 * BLOCK :]))
    assert np.array_equal(later.member.numpy(), ak.to_numpy(one.member[2 * BLOCK :]))


def test_the_same_seed_gives_the_same_ensemble(generator: EventGenerator) -> None:
    again = EventGenerator(RECIPE).fit(toy(400), seed=2, device="cpu")
    assert ak.all(again.generate(500).x == generator.generate(500).x)


def test_a_file_keeps_all_members(generator: EventGenerator, tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    generator.save(path)
    loaded = EventGenerator.load(path, device="cpu")
    assert loaded.members == MEMBERS
    before, after = (g.generate(1000, seed=3) for g in (generator, loaded))
    assert ak.all(before.y == after.y)
    assert ak.all(before.member == after.member)
    assert any("3 members" in line for line in loaded.describe())


def test_a_member_is_a_generator_of_its_own(generator: EventGenerator, tmp_path: Path) -> None:
    one = generator.member(1)
    assert one.members == 1
    one.save(tmp_path / "one.safetensors")
    loaded = EventGenerator.load(tmp_path / "one.safetensors", device="cpu")
    expected = generator.generate(500, seed=3, member=1)
    assert ak.all(loaded.generate(500, seed=3).x == expected.x)
    assert ak.all(loaded.generate(500, seed=3, member=0).x == expected.x)
    assert any("1 of an ensemble" in line for line in loaded.describe())


def test_members_have_learned_different_events(generator: EventGenerator) -> None:
    shares = []
    for k in range(MEMBERS):
        made = generator.generate(4000, seed=1, member=k)
        shares.append(np.bincount(ak.to_numpy(made.k), minlength=3) / 4000)
    # The same random numbers choose among the frequencies of 360 events drawn in different ways.
    assert all(0.002 < np.abs(a - shares[0]).max() < 0.15 for a in shares[1:])


def test_the_density_of_an_ensemble_is_the_mean_of_its_members(generator: EventGenerator) -> None:
    events = toy(20, seed=8)
    each = np.stack([generator.member(k).log_prob(events) for k in range(MEMBERS)])
    np.testing.assert_allclose(np.exp(generator.log_prob(events)), np.exp(each).mean(axis=0))


def test_what_is_of_one_member_alone_says_so(generator: EventGenerator) -> None:
    with pytest.raises(InputError, match=r"generator\.member"):
        generator.latents(toy(5))
    with pytest.raises(RecipeError, match="ensemble of 3"):
        distill(generator)
    with pytest.raises(RecipeError, match="ensemble of 3"):
        hepgan.refine(generator, lambda e: np.ones(len(e)))
    with pytest.raises(ValueError, match="no member 3"):
        generator.generate(5, member=3)
    with pytest.raises(ValueError, match="not -1"):
        generator.member(-1)
    with pytest.raises(ValueError, match="no ensemble"):
        generator.member(0).generate(5, member=1)


@pytest.mark.parametrize(
    "derive",
    [
        lambda g: distill(g, settings=["training.members=2"]),
        lambda g: hepgan.refine(g, lambda e: np.ones(len(e)), settings=["training.members=2"]),
        lambda g: unfold(g, lambda e, r: e, toy(50), Level(fields=("x",)), settings=["training.members=2"]),
        lambda g: unfold_through(
            g,
            lambda e, r: e,
            toy(50),
            {},
            {"penalties": [{"kind": "energy", "observables": ["x"]}], "training": {"members": 2}},
        ),
    ],
    ids=["distill", "refine", "unfold", "unfold_through"],
)
def test_what_is_derived_from_a_single_model_is_no_ensemble(
    generator: EventGenerator, derive: Callable[[EventGenerator], EventGenerator]
) -> None:
    with pytest.raises(RecipeError, match=r"training\.members: .* single model, not an ensemble of 2"):
        derive(generator.member(0))


@pytest.mark.parametrize("name", ["a.root", "a.parquet", "rntuple.root", None])
def test_the_member_of_an_ensemble_is_told_from_a_number_of_that_name(
    generator: EventGenerator, tmp_path: Path, name: str | None
) -> None:
    own = ak.with_field(toy(100), np.arange(100, dtype=np.int32) % 7, "member")
    for events, expected in ((generator.generate(100), True), (own, False)):
        found = events
        if name is not None:
            path = tmp_path / f"{expected}-{name}"
            hepgan.write_events(path, events, format="rntuple" if name.startswith("rn") else None)
            found = hepgan.read_events(path)
        assert (member_field(schema_of(found)) is not None) == expected


def test_events_with_a_member_of_their_own_are_refused() -> None:
    events = ak.with_field(toy(400), np.arange(400) % 7, "member")
    with pytest.raises(RecipeError, match="'member'"):
        EventGenerator(RECIPE).fit(events, device="cpu")


def test_members_keep_the_images_of_their_own_events() -> None:
    recipe = {
        **RECIPE,
        "features": {"reflections": ["z"], "masses": {"P": "massless"}},
        "training": {**RECIPE["training"], "steps": 2},
    }
    rng = np.random.default_rng(1)
    momenta = {f: rng.normal(size=(300, 1)).astype(np.float32) for f in ("px", "py", "pz")}
    events = ak.zip(
        {"P": ak.zip({n: ak.from_regular(ak.Array(v)) for n, v in momenta.items()})}, depth_limit=1
    )
    generator = EventGenerator(recipe)
    assert len(generator.fit(events, device="cpu").generate(10)) == 10


def test_the_command_line_trains_an_ensemble_and_generates_its_members(tmp_path, capsys) -> None:
    file, model, out = tmp_path / "toy.root", tmp_path / "toy.safetensors", tmp_path / "out.root"
    hepgan.write_events(file, toy(400))
    recipe = tmp_path / "toy.yaml"
    recipe.write_text(hepgan.load_recipe({**RECIPE, "training": {"steps": 3, "batch_size": 64}}).to_yaml())

    def run(*words: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, words)))
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out + told.err

    assert run("train", recipe, file, "-o", model, "--set", "training.members=2")[0] == 0
    assert "2 members" in run("info", model)[1]
    assert run("generate", model, "-n", 101, "-o", out)[0] == 0
    made = hepgan.read_events(out)
    assert np.bincount(ak.to_numpy(made.member)).tolist() == [51, 50]
    assert run("generate", model, "-n", 100, "-o", out, "--member", 1, "--force")[0] == 0
    assert "member" not in hepgan.read_events(out).fields
    code, told = run("generate", model, "-n", 100, "-o", out, "--member", 2, "--force")
    assert code == 2
    assert "no member 2" in told
    code, told = run("generate", model, "-n", 100, "-o", out, "--member", "both", "--force")
    assert code == 2
    assert "'both' is neither" in told
    code, told = run("distill", model, "-o", tmp_path / "fast.safetensors")
    assert code == 2
    assert "one of its members" in told


STATUS = Trainer._status
SHARED = {**RECIPE, "training": {**RECIPE["training"], "steps": 20, "shared_start": 0.75}}


def apart(generator: EventGenerator) -> float:
    """How far two members' events of the same noise are from each other."""
    one, other = (generator.generate(2000, seed=1, member=k).x for k in (0, 1))
    return float(np.sqrt(np.mean((one - other) ** 2)))


def test_members_go_on_from_one_model_that_they_have_in_common(generator: EventGenerator) -> None:
    shared = EventGenerator(SHARED).fit(toy(400), seed=2, device="cpu")
    assert shared.history.status == "finished"
    assert shared.history.losses["step"].tolist() == list(range(1, 21))
    rates = shared.history.losses["lr"]
    assert np.all(rates[:16] == 1.0)
    assert np.all(np.diff(rates[15:]) < 0)
    assert 0.02 < apart(shared) < 0.6 * apart(generator)


@pytest.mark.parametrize("kind", ["gan", "flow"])
def test_every_part_of_every_family_starts_from_the_common_model(kind: str) -> None:
    models = {
        "gan": {
            "kind": "gan",
            "noise": 2,
            "generator": {"kind": "mlp", "widths": [8]},
            "critics": [{"loss": "bce", "network": {"kind": "mlp", "widths": [8], "spectral_norm": True}}],
        },
        "flow": {
            "kind": "flow",
            "blocks": 2,
            "rotations": "learned",
            "network": {"kind": "mlp", "widths": [8]},
        },
    }
    still = {
        "training": {**SHARED["training"], "shared_start": 0.95, "optimiser": {"kind": "adam", "lr": 1e-20}}
    }
    shared = EventGenerator({**SHARED, **still, "model": models[kind]}).fit(toy(400), seed=2, device="cpu")
    for place in shared.parts.model._places:
        for name, values in shared.parts.model.stacked.get_submodule(place).own.items():
            assert (values - values[:1]).abs().max() < (0.1 if name.endswith(("_u", "_v")) else 1e-12), name


def test_a_stopped_training_goes_on_in_either_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    training = {**SHARED["training"], "schedule": {"warmup": 3}}

    def fit(**options: object) -> EventGenerator:
        return EventGenerator({**SHARED, "training": training}).fit(toy(400), seed=2, device="cpu", **options)

    whole = fit()
    assert whole.history.losses["lr"][15] < whole.history.losses["lr"][14]  # it is warmed up anew
    for stop in (5, 15, 17):
        path = tmp_path / f"{stop}.safetensors"
        with monkeypatch.context() as patched:
            patched.setattr(
                Trainer,
                "_status",
                lambda self, asked, stop=stop: (
                    "interrupted" if len(self.history.losses) == stop else STATUS(self, asked)
                ),
            )
            part = fit(checkpoint=path)
        assert (part.history.status, len(part.history.losses)) == ("interrupted", stop)
        assert len(part.generate(30)) == 30
        parameters = part.parts.model.stacked.parameters()
        assert all((p == p[:1]).all() for p in parameters) == (stop < 16)
        resumed = fit(checkpoint=path, resume=True)
        assert len(resumed.history.losses) == 20
        assert np.array_equal(resumed.history.losses["lr"], whole.history.losses["lr"])
        assert ak.all(resumed.generate(500).x == whole.generate(500).x)


@pytest.mark.parametrize(("steps", "share"), [(3, 0.7), (20, 0.96), (1, 0.5)])
def test_members_have_a_step_of_their_own_at_least(steps: int, share: float) -> None:
    training = {**SHARED["training"], "steps": steps, "shared_start": share}
    shared = EventGenerator({**SHARED, "training": training}).fit(toy(400), seed=2, device="cpu")
    assert (shared.history.status, len(shared.history.losses)) == ("finished", steps)
    parameters = list(shared.parts.model.stacked.parameters())
    assert any((p[0] != p[1]).any() for p in parameters)


def test_a_common_start_leaves_time_for_members() -> None:
    training = {
        **SHARED["training"],
        "steps": 10**7,
        "selection": {"metrics": ["ks:x"]},
        "evaluate_every": 50,
    }
    recipe = {**SHARED, "training": training, "observables": {"x": "x + 0"}}
    shared = EventGenerator(recipe).fit(toy(400), seed=2, device="cpu", max_time=2)
    assert shared.history.status == "time"
    assert shared.history.losses["lr"][-1] < 0.2
    assert shared.history.metrics["step"][0] > 0.3 * len(shared.history.losses)
