from __future__ import annotations

import math
import re
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from hepgan.errors import InputError, TrainingError
from hepgan.events import EventBatch
from hepgan.events.schema import Field
from hepgan.generator import sampling
from hepgan.generator.conditions import Conditions, Pool
from hepgan.generator.sampling import Sampler
from hepgan.models import BLOCK


def with_reach(generator, reach):
    """The parts of a generator whose training events reach as far in each feature."""
    representation = generator.parts.representation
    state = representation.state()
    state["learned"]["reach"] = reach
    made = type(representation).from_state(state)
    made.load_state_dict(representation.state_dict())
    return replace(generator.parts, representation=made)


def sampler(generator, bounds=None, given=None, seed=5, rules=()):
    parts = generator.parts
    representation = parts.representation
    if bounds is not None:
        # The same weights and constants with other bounds and rules, and without a reach.
        representation = with_reach(generator, []).representation
        changed = {"bounds": bounds, "rules": tuple(rules)}
        representation.config = representation.config.model_copy(update=changed)
    return Sampler(replace(parts, representation=representation), seed=seed, condition=given)


def tensors(batch):
    found = {}
    for name, objects in batch.collections.items():
        found |= {f"{name}.{f}": t for f, t in objects.fields.items()}
        if objects.mask is not None:
            found[f"{name}.mask"] = objects.mask
    return found | batch.scalars


def assert_same(a, b):
    ours, theirs = tensors(a), tensors(b)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.fixture(scope="module")
def whole(toy_generator):
    return EventBatch.concatenate(list(sampler(toy_generator).blocks(0, 3, 1)))


@pytest.mark.parametrize(
    ("n", "first", "step", "workers"),
    [
        (3 * BLOCK, 0, 5000, 2),
        (1, 0, 100, 3),
        (BLOCK, 0, BLOCK, 1),
        (777, BLOCK - 5, 100, 2),
        (BLOCK + 1, BLOCK, 10**6, 3),
        (BLOCK + 1, BLOCK, 1000, 1),
    ],
)
def test_events_depend_on_their_number_alone(toy_generator, whole, workers, n, first, step):
    batches = list(sampler(toy_generator).iterate(n, first=first, step=step, workers=workers))
    assert [len(b) for b in batches] == [min(step, n - i) for i in range(0, n, step)]
    assert_same(EventBatch.concatenate(batches), whole[first : first + n])


def test_pieces_are_the_same_events_without_copies(toy_generator, whole):
    pieces = list(sampler(toy_generator).pieces(BLOCK + 10, lambda e: e, first=BLOCK - 10, workers=2))
    assert [len(p) for p in pieces] == [10, BLOCK]
    assert_same(EventBatch.concatenate(pieces), whole[BLOCK - 10 : 2 * BLOCK])


def test_different_seeds_and_blocks_share_no_event(toy_generator, whole):
    (other,) = sampler(toy_generator, seed=6).blocks(0, 1)
    pt = whole.Muon.pt.reshape(3, BLOCK, -1)[:, :, 0]
    values = torch.cat([pt.reshape(-1), other.Muon.pt[:, 0]])
    assert len(torch.unique(values)) == 4 * BLOCK


def test_events_outside_the_bounds_alone_are_drawn_anew(toy_generator):
    (free,) = sampler(toy_generator, {}).blocks(0, 1)
    # No event has it, whatever the type in which it is stored.
    low = round(float(free.Muon.pt.min(1).values.median()), 3)
    (bounded,) = sampler(toy_generator, {"Muon.pt": (low, None)}).blocks(0, 1)
    inside = (free.Muon.pt >= low).all(1)
    assert 0.4 < inside.double().mean() < 0.6
    assert (bounded.Muon.pt >= low).all()
    assert_same(bounded[inside], free[inside])
    for name in ("Muon.charge", "Jet.mask", "npv"):
        assert torch.equal(tensors(bounded)[name], tensors(free)[name])


def test_drawing_anew_follows_the_distribution_inside_the_bounds(toy_generator):
    """Of events without jets and with one npv, the bounded ones are distributed as the free ones inside."""
    given = {"npv": 20.0}
    free = EventBatch.concatenate(list(sampler(toy_generator, {}, given).blocks(0, 6)))
    low = float(free.Muon.pt.min(1).values.median())
    bounded = sampler(toy_generator, {"Muon.pt": (low, None)}, given, seed=9)
    bounded = EventBatch.concatenate(list(bounded.blocks(0, 6)))

    def class_pt(batch):
        chosen = (~batch.Jet.mask.any(1)) & (batch.Muon.charge[:, 0] == 1) & (batch.Muon.pt >= low).all(1)
        chosen &= (batch.Muon.iso == 0).all(1)
        return np.sort(batch.Muon.pt[chosen][:, 0].numpy())

    a, b = class_pt(free), class_pt(bounded)
    assert len(a) > 200
    grid = np.concatenate([a, b])
    distance = np.abs(np.searchsorted(a, grid, "right") / len(a) - np.searchsorted(b, grid, "right") / len(b))
    assert distance.max() < 2.0 * np.sqrt(1 / len(a) + 1 / len(b))


def test_bounds_that_cannot_be_met_end_with_an_error(toy_generator, monkeypatch):
    monkeypatch.setattr(sampling, "MAX_ATTEMPTS", 3)
    hopeless = sampler(toy_generator, {"Muon.pt": (1e9, None)})
    with pytest.raises(TrainingError, match=f"{BLOCK} of {BLOCK} events .* after 3 attempts"):
        list(hopeless.iterate(10, workers=2))


def test_what_a_poor_network_cannot_but_make_is_left_as_it_is(toy_generator, monkeypatch):
    monkeypatch.setattr(sampling, "LENIENT", 2)
    own = sampler(toy_generator, bounds={})
    free = own.block(0)
    monkeypatch.setattr(type(own.parts.representation), "restricted", True)
    judged = []
    monkeypatch.setattr(
        own.parts.representation,
        "valid",
        lambda events: judged.append(len(events)) or torch.zeros(len(events), dtype=torch.bool),
    )
    assert torch.equal(own.block(0).Muon.pt, free.Muon.pt)
    assert judged == [BLOCK] * 3


def test_events_that_break_a_rule_alone_are_drawn_anew_with_their_discrete_part(toy_generator):
    (free,) = sampler(toy_generator, {}).blocks(0, 1)
    high = float(free.Muon.pt.max(1).values.median())
    made = sampler(toy_generator, {}, rules=[f"nJet == 0 or any(Muon.pt > {high})"])
    (ruled,) = made.blocks(0, 1)
    kept = ~free.Jet.mask.any(1) | (free.Muon.pt > high).any(1)
    assert 0.6 < kept.double().mean() < 0.95
    assert (~ruled.Jet.mask.any(1) | (ruled.Muon.pt > high).any(1)).all()
    assert_same(ruled[kept], free[kept])
    for name in ("Muon.charge", "Jet.mask", "npv"):
        assert torch.equal(tensors(ruled)[name], tensors(free)[name])
    shares = made.redrawn()
    assert shares["all"] == pytest.approx(1 - float(kept[: sampling.TOLD].double().mean()), abs=1e-9)


def test_a_discrete_part_with_which_a_rule_cannot_be_kept_is_drawn_anew(toy_generator, monkeypatch):
    monkeypatch.setattr(sampling, "LENIENT", 2)
    (free,) = sampler(toy_generator, {}).blocks(0, 1)
    made = sampler(toy_generator, {}, rules=["nJet > 0"])
    events, noise, given = made.traced(0)
    kept = free.Jet.mask.any(1)
    assert 0.1 < kept.double().mean() < 0.9
    assert events.Jet.mask.any(1).all()
    assert_same(events[kept], free[kept])
    assert torch.equal(events.npv, free.npv)
    again = made.parts.draw(given, noise)
    torch.testing.assert_close(again.Muon.pt, events.Muon.pt, rtol=1e-6, atol=1e-5)
    assert torch.equal(again.Jet.mask, events.Jet.mask)
    pieces = made.iterate(300, first=50, workers=2)
    assert_same(EventBatch.concatenate(list(pieces)), events[50:350])


def test_events_beyond_the_reach_of_the_training_events_are_drawn_anew(toy_generator):
    size = toy_generator.parts.representation.size
    free = with_reach(toy_generator, [])
    narrow = with_reach(toy_generator, [[-math.inf, 0.5]] + [[-math.inf, math.inf]] * (size - 1))
    first = []
    for parts in (free, narrow):
        _, noise, given = Sampler(parts, seed=5).traced(0)
        first.append(parts.features(given, noise).x[:, 0].detach().numpy())
    assert np.mean(first[0] > 0.5) > 0.1
    assert np.mean(first[1] > 0.5 + 1e-5) < 0.01
    # Those that stay are the same events.
    same = first[0] < 0.5 - 1e-5
    assert np.allclose(first[0][same], first[1][same], atol=1e-5)
    assert Sampler(narrow, seed=5).redrawn()["reach"] == pytest.approx(np.mean(~same), abs=0.1)


def test_models_that_know_no_reach_have_none(toy_generator):
    state = toy_generator.parts.representation.state()
    assert len(state["learned"]["reach"]) == toy_generator.parts.representation.size
    del state["learned"]["reach"]
    representation = type(toy_generator.parts.representation).from_state(state)
    assert representation.space.reach == ()
    features = toy_generator.parts.representation.space
    assert len(features.reach) == features.size


def test_what_stays_outside_the_bounds_gets_another_discrete_part(toy_generator, monkeypatch):
    monkeypatch.setattr(sampling, "MAX_ATTEMPTS", 40)
    monkeypatch.setattr(sampling, "LENIENT", 1)
    # Only events without jets can be within these bounds.
    monkeypatch.setattr(sampling, "STUBBORN", 41)
    bounds = {"Jet.pt": [1e6, None]}
    with pytest.raises(TrainingError, match=r"outside the recipe's bounds after 40"):
        sampler(toy_generator, bounds).block(0)
    monkeypatch.setattr(sampling, "STUBBORN", 2)
    assert not sampler(toy_generator, bounds).block(0).collections["Jet"].mask.any()


def test_rules_that_cannot_be_kept_end_with_an_error_that_names_one(toy_generator, monkeypatch):
    monkeypatch.setattr(sampling, "MAX_ATTEMPTS", 3)
    monkeypatch.setattr(sampling, "LENIENT", 1)
    hopeless = sampler(toy_generator, {}, rules=["npv >= 0", "npv < 0"])
    with pytest.raises(TrainingError, match=r"stay against the recipe's rules, most against npv < 0 after 3"):
        hopeless.block(0)


def test_a_number_as_condition_holds_for_all_events(toy_generator):
    assert (sampler(toy_generator, given={"npv": 31}).block(2).npv == 31).all()


def test_an_array_as_condition_goes_by_the_number_of_the_event(toy_generator):
    wanted = np.arange(2 * BLOCK) % 40 + 1
    made = sampler(toy_generator, given={"npv": wanted})
    batch = EventBatch.concatenate(list(made.iterate(300, first=BLOCK - 100, workers=1)))
    assert batch.npv.tolist() == wanted[BLOCK - 100 : BLOCK + 200].tolist()


def test_missing_conditions_are_drawn_from_training_events(toy_generator, whole):
    pool = toy_generator.parts.pool
    known = toy_generator.parts.representation.decode_condition(pool.condition)["npv"].double()
    assert set(whole.npv.tolist()) <= set(known.tolist())
    mean, square = ((pool.weight * v).sum() / pool.weight.sum() for v in (known, known.square()))
    error = float(square - mean.square()) ** 0.5 / len(whole) ** 0.5
    assert abs(float(whole.npv.double().mean() - mean)) < 5 * error


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"mass": 3}, "'mass' is not a condition of this model; it has npv"),
        ({"npv": "many"}, "npv must be a number"),
        ({"npv": float("nan")}, "npv is not a finite number"),
        ({"npv": [1, 2, float("inf")]}, "entry 2.*npv is not a finite"),
        ({"npv": [[1, 2]]}, "shape"),
    ],
)
def test_unusable_conditions_are_named(toy_generator, given, match):
    with pytest.raises(InputError, match=match):
        sampler(toy_generator, given=given)


def test_categories_are_given_by_name_and_wrong_ones_by_their_event():
    class Encoder:
        conditions = ("channel",)
        given = ()

        class schema:
            @staticmethod
            def scalar(name):
                kind = {"kind": "category", "values": ("ee", "mm")}
                return Field(name=name, branches=(name,), dtype="string", **kind)

        def decode_condition(self, drawn):
            return {"channel": drawn[:, 0]}

        def encode_condition(self, values, size, given):
            bad = values["channel"] > 1
            if bad.any():
                msg = "wrong"
                raise InputError(msg, branch="channel", entry=int(bad.nonzero()[0]))
            return values["channel"].unsqueeze(1)

    draw, pool = torch.rand(BLOCK, 1, dtype=torch.float64), Pool(torch.zeros(3, 1, dtype=torch.float64))
    named = Conditions(Encoder(), {"channel": ["mm", "ee", "mm"]}, pool, 3)
    assert named.block(0, draw)[0][:4, 0].tolist() == [1, 0, 1, 1]
    with pytest.raises(InputError, match="channel cannot be 'tt'; it is ee, mm"):
        Conditions(Encoder(), {"channel": ["mm", "tt"]}, pool)
    values = np.zeros(2 * BLOCK)
    values[BLOCK + 7] = 2
    with pytest.raises(InputError) as caught:
        Conditions(Encoder(), {"channel": values}, pool).block(1, draw)
    assert (caught.value.branch, caught.value.entry) == ("channel", BLOCK + 7)


def test_each_worker_computes_with_one_core_and_nobody_else_does(toy_generator, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen, block = [], Sampler.block

    def recorded(self, number):
        seen.append((threading.get_ident(), torch.get_num_threads(), torch.__config__.parallel_info()))
        return block(self, number)

    monkeypatch.setattr(Sampler, "block", recorded)
    try:
        blocks = sampler(toy_generator).blocks(0, 4, 2)
        next(blocks)
        assert torch.get_num_threads() == 2
        blocks.close()
        after = []
        thread = threading.Thread(target=lambda: after.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert after == [2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert threading.get_ident() not in {ident for ident, _, _ in seen}
    for _, threads, info in seen:
        assert threads == 1
        # OpenMP and MKL keep numbers of their own.
        assert set(re.findall(r"(?:omp|mkl)_get_max_threads\(\) : (\d+)", info)) == {"1"}


def test_workers_stop_when_the_events_are_no_longer_wanted(toy_generator, monkeypatch):
    made, block = [], Sampler.block

    def counted(self, number):
        made.append(number)
        return block(self, number)

    monkeypatch.setattr(Sampler, "block", counted)
    threads = threading.active_count()
    batches = sampler(toy_generator).iterate(10**9, step=100, workers=2)
    next(batches)
    batches.close()
    assert threading.active_count() == threads
    assert len(made) <= 2 * sampling.AHEAD + 3


def test_an_error_in_a_worker_reaches_the_caller(toy_generator):
    broken = sampler(toy_generator)
    broken.parts = replace(broken.parts, model=None)
    with pytest.raises(AttributeError, match="members"):
        list(broken.iterate(10, workers=2))


def test_a_trained_model_is_not_changed_by_sampling(toy_generator):
    parts = toy_generator.parts
    before = {n: t.clone() for n, t in parts.model.state_dict().items()}
    list(sampler(toy_generator).iterate(10, workers=1))
    assert all(torch.equal(t, before[n]) for n, t in parts.model.state_dict().items())
    assert not parts.model.training
    assert replace(parts) == parts
