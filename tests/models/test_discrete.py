from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import torch
import uproot
from scipy.stats import chi2, chi2_contingency
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import mutual_info_score, roc_auc_score
from torch import Tensor

from hepgan.errors import TrainingError
from hepgan.events.schema import Address
from hepgan.learners.discrete import fit_discrete
from hepgan.models.discrete import DiscreteModel, DiscreteVariable

N_GENERATED = 60_000


def rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fitted(
    variables: list[DiscreteVariable],
    discrete: Tensor,
    condition: Tensor | None = None,
    weight: Tensor | None = None,
    seed: int = 1,
) -> DiscreteModel:
    n = len(discrete)
    condition = torch.zeros(n, 0, dtype=torch.float64) if condition is None else condition
    weight = torch.ones(n, dtype=torch.float64) if weight is None else weight
    return fit_discrete(variables, discrete, condition, weight, generator=rng(seed))


def generated(model: DiscreteModel, n: int, condition: Tensor | None = None, seed: int = 2) -> Tensor:
    uniform = torch.rand(n, len(model.variables), generator=rng(seed), dtype=torch.float64)
    return model.sample(uniform, torch.zeros(n, 0) if condition is None else condition)


def classes_of(variables: list[DiscreteVariable]) -> Tensor:
    """Every combination of classes, absent ones included."""
    return torch.tensor(list(product(*(range(-1, v.size) for v in variables))))


def p_value(a: Tensor, b: Tensor, training: int | None = None) -> float:
    """That two samples of classes have one distribution; classes with too few events are joined.

    With the number of training events the fluctuation of these, which b inherits, is allowed for.
    """
    size = int(max(a.max(), b.max())) + 2
    counts = np.stack([np.bincount(x.numpy() + 1, minlength=size) for x in (a, b)])
    rare = counts.sum(0) < 25
    counts = np.concatenate([counts[:, ~rare], counts[:, rare].sum(1, keepdims=True)], 1)
    counts = counts[:, counts.sum(0) > 0]
    if counts.shape[1] < 2:
        return 1.0
    result = chi2_contingency(counts)
    variance = 1 / len(a) + 1 / len(b)
    inflation = 1 + (1 / training / variance if training else 0)
    return float(chi2.sf(result.statistic / inflation, result.dof))


def variable(
    name: str, values: tuple[float, ...], *, count: int | None = None, **more: Any
) -> DiscreteVariable:
    """One that its name tells the address of."""
    return replace(DiscreteVariable.of(Address.parse(name), values, **more), count=count)


def toy_variables() -> list[DiscreteVariable]:
    """Vertices, a count of up to three leptons, each with a charge and an identity that go together."""
    variables = [
        variable("PV.npvs", tuple(range(30)), ordinal=True),
        variable("nLepton", (0, 1, 2, 3), ordinal=True),
    ]
    for slot in range(3):
        variables.append(variable(f"Lepton[{slot}].charge", (-1, 1), count=1, slot=slot))
        variables.append(variable(f"Lepton[{slot}].pdgId", (-13, -11, 11, 13), count=1, slot=slot))
    return variables


def toy(n: int, seed: int) -> Tensor:
    """Charges alternate; muons become rarer with vertices, and more so with leptons."""
    random = np.random.default_rng(seed)
    vertices = random.binomial(29, 0.5, n)
    count = np.minimum(random.poisson(0.4 + 0.05 * vertices), 3)
    columns = [vertices, count]
    charge = random.integers(0, 2, n)
    for slot in range(3):
        muon = random.random(n) < 1 / (1 + np.exp(0.2 * (vertices - 14) + 0.5 * (count - 1)))
        identity = np.where(charge == 1, np.where(muon, 0, 1), np.where(muon, 3, 2))
        for column in (charge, identity):
            columns.append(np.where(count > slot, column, -1))
        charge = 1 - charge
    return torch.from_numpy(np.stack(columns, 1).astype(np.int64))


@pytest.fixture(scope="module")
def toy_model() -> DiscreteModel:
    return fitted(toy_variables(), toy(30_000, 1))


@pytest.fixture(scope="module")
def toy_generated(toy_model) -> Tensor:
    return generated(toy_model, N_GENERATED)


def zmumu(path: Path) -> tuple[list[DiscreteVariable], Tensor]:
    events = uproot.open(f"{path}:Events").arrays()
    columns = [events["nJet"]]
    variables = [variable("nJet", tuple(range(6)), ordinal=True)]
    for slot in range(2):
        columns.append(events["Muon_charge"][:, slot] > 0)
        variables.append(variable(f"Muon[{slot}].charge", (-1, 1), slot=slot))
    for field, slot in product(("isoCh", "isoPh", "isoNh"), range(2)):
        columns.append(events[f"Muon_{field}"][:, slot] == 0)
        variables.append(variable(f"Muon[{slot}].{field}.zero", (0, 1), slot=slot))
    columns.append(events["PV_npvs"])
    variables.append(variable("PV.npvs", tuple(range(80)), ordinal=True))
    return variables, torch.from_numpy(np.stack([np.asarray(c).astype(np.int64) for c in columns], 1))


def partons(path: Path, stop: int) -> tuple[list[DiscreteVariable], Tensor]:
    masses, identities = (0, 0.33, 0.5, 1.5, 4.8), (*range(-5, 0), *range(1, 6), 21)
    events = uproot.open(f"{path}:Events").arrays(entry_stop=stop)
    count = np.asarray(events["nParton"])
    columns = [count]
    variables = [variable("nParton", tuple(range(9)), ordinal=True)]
    for field, values in (("mass", masses), ("pdgId", identities)):
        dense = ak.to_numpy(ak.fill_none(ak.pad_none(events[f"Parton_{field}"], 8, clip=True), 0))
        nearest = np.abs(dense[:, :, None] - np.array(values)).argmin(-1)
        for slot in range(8):
            columns.append(np.where(count > slot, nearest[:, slot], -1))
            variables.append(variable(f"Parton[{slot}].{field}", values, count=0, slot=slot))
    return variables, torch.from_numpy(np.stack(columns, 1).astype(np.int64))


# ---------------------------------------------------------------- structure


def test_a_variable_is_absent_if_and_only_if_its_object_is(toy_generated):
    count = toy_generated[:, 1]
    for slot in range(3):
        for column in (2 + 2 * slot, 3 + 2 * slot):
            assert torch.equal(toy_generated[:, column] >= 0, count > slot)


def test_states_of_one_object_that_never_occur_are_never_generated(toy_model, toy_generated):
    for slot in range(3):
        charge, identity = toy_generated[:, 2 + 2 * slot], toy_generated[:, 3 + 2 * slot]
        there = charge >= 0
        assert torch.equal((charge == 1)[there], (identity <= 1)[there])
        assert any({f"Lepton[{slot}].charge", f"Lepton[{slot}].pdgId"} <= set(b) for b in toy_model.groups)


def test_pairs_that_structure_forbids_are_never_generated_across_groups(toy_generated):
    two, three = toy_generated[:, 1] >= 2, toy_generated[:, 1] == 3
    assert torch.equal(toy_generated[two, 2], 1 - toy_generated[two, 4])
    assert torch.equal(toy_generated[three, 2], toy_generated[three, 6])


def test_pairs_are_forbidden_even_where_groups_are_too_large_to_merge():
    """Twelve-sided dice which never agree: 132 states, more than a group may have."""
    random = np.random.default_rng(3)
    first = random.integers(0, 12, 20_000)
    third = random.integers(0, 12, 20_000)
    second = (first + random.integers(1, 12, 20_000)) % 12
    discrete = torch.from_numpy(np.stack([first, second, third], 1))
    model = fitted([variable(name, tuple(range(12))) for name in "abc"], discrete)
    assert model.groups == (("a",), ("b",), ("c",))
    events = generated(model, 20_000)
    assert not bool((events[:, 0] == events[:, 1]).any())
    assert bool(torch.isinf(model.log_prob(torch.tensor([[3, 3, 0]]), torch.zeros(1, 0))).all())


def test_a_conserved_quantum_number_is_conserved():
    """Two quark pairs of any of five flavours in any order: 10^4 combinations, of which few are allowed."""
    random = np.random.default_rng(15)
    pairs = random.integers(1, 6, (40_000, 2))
    quarks = random.permuted(np.concatenate([pairs, -pairs], 1), axis=1)
    identities = (*range(-5, 0), *range(1, 6))
    variables = [variable(f"Parton[{slot}].pdgId", identities, slot=slot) for slot in range(4)]
    discrete = torch.from_numpy(np.searchsorted(identities, quarks))
    events = torch.tensor(identities)[generated(fitted(variables, discrete), 50_000)]
    for flavour in range(1, 6):
        net = (events == flavour).sum(1) - (events == -flavour).sum(1)
        assert not bool(net.any())
    for flavour in range(1, 6):
        there = float((events == flavour).any(1).double().mean())
        assert there == pytest.approx(1 - 0.8**2, abs=0.015)


def test_few_joint_states_become_one_exact_table():
    probability = torch.tensor([0.0, 0.3, 0.25, 0.45], dtype=torch.float64)
    joint = torch.multinomial(probability, 10_000, replacement=True, generator=rng(4))
    discrete = torch.stack([joint // 2, joint % 2], 1)
    model = fitted([variable("a", (-1, 1)), variable("b", (-1, 1))], discrete)
    assert model.groups == (("a", "b"),)
    frequency = torch.bincount(joint, minlength=4).double() / len(joint)
    every = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert torch.allclose(model.log_prob(every, torch.zeros(4, 0)).exp(), frequency, atol=1e-11)


def test_sampling_inverts_the_distribution_function():
    discrete = torch.tensor([0] * 20 + [1] * 30 + [3] * 50)[:, None]
    model = fitted([variable("a", (0, 1, 2, 3))], discrete)
    uniform = torch.tensor([0.0, 0.1999, 0.2001, 0.4999, 0.5001, 1 - 2**-53], dtype=torch.float64)
    assert model.sample(uniform[:, None], torch.zeros(6, 0))[:, 0].tolist() == [0, 0, 1, 1, 3, 3]


# ---------------------------------------------------------------- distributions


def test_toy_probabilities_sum_to_one():
    variables = toy_variables()[:6]
    model = fitted(variables, toy(5_000, 5)[:, :6].clamp(max=9).where(toy(5_000, 5)[:, :6] >= 0, -1))
    every = classes_of([variable("v", tuple(range(10))), *variables[1:]])
    total = model.log_prob(every, torch.zeros(len(every), 0)).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-9)


def test_marginals_over_the_training_events_are_exact(toy_model):
    discrete = toy(30_000, 1)
    index = torch.stack([group.index(discrete) for group in toy_model._groups], 1)
    for b, conditional in enumerate(toy_model.conditionals):
        rows = index[:, toy_model._before[b]] + toy_model.offsets(b)
        model = torch.softmax(conditional(rows, torch.zeros(len(rows), 0)), 1).mean(0)
        truth = torch.bincount(index[:, b], minlength=len(model)).double() / len(rows)
        assert float((model - truth).abs().max()) < 1e-4


def test_toy_marginals_and_dependences_are_those_of_the_truth(toy_generated):
    truth = toy(60_000, 6)
    for column in range(truth.shape[1]):
        assert p_value(truth[:, column], toy_generated[:, column], 30_000) > 1e-3
    for a, b in product(range(8), range(8)):
        if a < b:
            difference = abs(
                mutual_info_score(truth[:, a], truth[:, b])
                - mutual_info_score(toy_generated[:, a], toy_generated[:, b])
            )
            # Its standard error is the spread of the pointwise one (here at most 0.8) / sqrt(N).
            assert difference < 4 * 0.8 * np.sqrt(2 / 60_000 + 1 / 30_000)


def test_a_smooth_dependence_is_learnt_as_its_formula(toy_generated):
    """Generated muon fractions follow the logistic function that made the training events."""
    single = toy_generated[:, 1] == 1
    for vertices in (10, 12, 14, 16, 18):
        here = single & (toy_generated[:, 0] == vertices)
        identity = toy_generated[here, 3]
        fraction = float(((identity == 0) | (identity == 3)).double().mean())
        expected = 1 / (1 + np.exp(0.2 * (vertices - 14)))
        assert fraction == pytest.approx(expected, abs=0.03 + 3 * 0.5 / np.sqrt(int(here.sum())))


def test_a_condition_shifts_probabilities_as_in_the_formula():
    n = 25_000
    condition = torch.randn(n, 1, generator=rng(7), dtype=torch.float64)
    draws = torch.rand(n, 2, generator=rng(8), dtype=torch.float64)
    first = (draws[:, :1] < torch.sigmoid(condition)).long()
    second = (draws[:, 1:] < torch.sigmoid(2 * condition * (2 * first - 1))).long()
    variables = [variable("a", (0, 1)), variable("b", (0, 1))]
    model = fitted(variables, torch.cat([first, second], 1), condition)
    at = torch.linspace(-1.5, 1.5, 13, dtype=torch.float64)
    for a, b in product((0, 1), (0, 1)):
        p = torch.sigmoid((2 * a - 1) * at) * torch.sigmoid((2 * b - 1) * 2 * at * (2 * a - 1))
        learnt = model.log_prob(torch.tensor([[a, b]]).expand(13, 2), at[:, None]).exp()
        assert torch.allclose(learnt, p, atol=0.025)
    events = generated(model, 20_000, torch.full((20_000, 1), 1.0, dtype=torch.float64))
    assert float(events[:, 0].double().mean()) == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)


# ---------------------------------------------------------------- weights


def test_negative_weights_subtract_in_tables_and_networks():
    """Events of a second process, drawn to pollute the first and subtracted again, leave the first."""
    random = np.random.default_rng(9)
    signal, pollution = 60_000, 12_000
    x = np.concatenate([random.binomial(19, 0.5, signal), random.binomial(19, 0.6, 2 * pollution)])
    probability = np.concatenate([1 / (1 + np.exp(-0.5 * (x[:signal] - 9.5))), np.full(2 * pollution, 0.5)])
    y = random.random(len(x)) < probability
    z = random.integers(0, 5, len(x))
    weight = np.concatenate([np.ones(signal + pollution), -np.ones(pollution)])
    variables = [
        variable("x", tuple(range(20)), ordinal=True),
        variable("y", (0, 1)),
        variable("z", tuple(range(5))),
    ]
    discrete = torch.from_numpy(np.stack([x, y, z], 1).astype(np.int64))
    model = fitted(variables, discrete, weight=torch.from_numpy(weight))
    events = generated(model, N_GENERATED)
    sigma = np.sqrt(len(weight)) / weight.sum()
    for k in range(7, 13):
        truth = np.mean(x[:signal] == k)
        assert float((events[:, 0] == k).double().mean()) == pytest.approx(truth, abs=4 * sigma)
        fraction = float(events[events[:, 0] == k, 1].double().mean())
        assert fraction == pytest.approx(1 / (1 + np.exp(-0.5 * (k - 9.5))), abs=0.05)


def test_states_of_no_positive_weight_are_not_generated():
    discrete = torch.tensor([[0]] * 50 + [[1]] * 50 + [[2]] * 50)
    weight = torch.tensor([1.0] * 50 + [-0.5] * 50 + [3.0] * 50)
    model = fitted([variable("a", (0, 1, 2))], discrete, weight=weight)
    log_prob = model.log_prob(torch.tensor([[0], [1], [2]]), torch.zeros(3, 0))
    assert torch.allclose(log_prob.exp(), torch.tensor([0.25, 0, 0.75], dtype=torch.float64), atol=1e-9)


def test_weights_without_a_positive_sum_are_refused():
    with pytest.raises(TrainingError, match="sum to -2"):
        fitted([variable("a", (0,))], torch.zeros(2, 1, dtype=torch.int64), weight=-torch.ones(2))


# ---------------------------------------------------------------- contract


def test_equal_seeds_give_equal_models_and_events(toy_model):
    discrete = toy(1_000, 10)
    first, second = (fitted(toy_variables(), discrete, seed=3) for _ in range(2))
    for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(generated(toy_model, 1000), generated(toy_model, 1000))


def test_an_event_does_not_depend_on_its_neighbours(toy_model):
    uniform = torch.rand(4096, 8, generator=rng(11), dtype=torch.float64)
    events = toy_model.sample(uniform, torch.zeros(4096, 0))
    assert torch.equal(events[1000:1100], toy_model.sample(uniform[1000:1100], torch.zeros(100, 0)))


def test_state_and_tensors_restore_the_model_exactly(toy_model):
    restored = DiscreteModel.from_state(json.loads(json.dumps(toy_model.state())))
    generated(restored, 10)  # prepared tables of the untrained model must not survive the load
    restored.load_state_dict(toy_model.state_dict())
    discrete = toy(2_000, 12)
    assert torch.equal(generated(restored, 5_000), generated(toy_model, 5_000))
    nothing = torch.zeros(2_000, 0)
    assert torch.equal(restored.log_prob(discrete, nothing), toy_model.log_prob(discrete, nothing))
    assert restored.state() == toy_model.state()


@pytest.mark.parametrize("conditions", [0, 2])
def test_no_variables_are_no_trouble(conditions):
    condition = torch.zeros(5, conditions)
    model = fitted([], torch.zeros(5, 0, dtype=torch.int64), condition)
    assert model.sample(torch.zeros(5, 0, dtype=torch.float64), condition).shape == (5, 0)
    assert model.sample(torch.zeros(5, 0, dtype=torch.float64), condition).dtype == torch.int64
    assert torch.equal(
        model.log_prob(torch.zeros(5, 0, dtype=torch.int64), condition), torch.zeros(5, dtype=torch.float64)
    )
    assert DiscreteModel.from_state(model.state()).state() == model.state()


def test_thousands_of_variables_and_a_few_events_keep_structure():
    random = np.random.default_rng(13)
    variables = [variable("nJet", tuple(range(21)), ordinal=True)]
    columns = [random.integers(0, 21, 40)]
    for slot, field in product(range(20), range(20)):
        variables.append(variable(f"Jet[{slot}].f{field}", tuple(range(5)), count=0, slot=slot))
        columns.append(np.where(columns[0] > slot, random.integers(0, 5, 40), -1))
    for flag in range(300):
        variables.append(variable(f"HLT_{flag}", (0, 1)))
        columns.append(random.integers(0, 2, 40))
    model = fitted(variables, torch.from_numpy(np.stack(columns, 1)))
    events = generated(model, 500)
    for k, made in enumerate(variables[1:401], start=1):
        assert torch.equal(events[:, k] >= 0, events[:, 0] > made.slot)


def test_absence_that_disagrees_with_the_count_is_refused():
    discrete = toy(100, 14)
    entry = int((discrete[:, 1] > 0).nonzero()[0])
    discrete[entry, 2] = -1
    with pytest.raises(ValueError, match=rf"Lepton\[0\]\.charge: class -1 of event {entry}"):
        fitted(toy_variables(), discrete)


def test_groups_without_all_of_the_variables_are_refused(toy_model):
    state = toy_model.state()
    for blocks in ([], state["blocks"][1:], [*state["blocks"], state["blocks"][0]]):
        with pytest.raises(ValueError, match="the groups have the variables"):
            DiscreteModel.from_state({**state, "blocks": blocks})


def test_a_count_that_is_no_variable_is_refused():
    with pytest.raises(ValueError, match="count 3"):
        fitted([variable("a", (0, 1), count=3, slot=0)], torch.zeros(5, 1, dtype=torch.int64))


# ---------------------------------------------------------------- real samples


def test_zmumu_events_cannot_be_told_from_test_events(shared_data):
    variables, train = zmumu(shared_data / "zmumu_train.root")
    _, test = zmumu(shared_data / "zmumu_test.root")
    events = generated(fitted(variables, train), N_GENERATED)
    assert torch.equal(events[:, 1], 1 - events[:, 2]), "the muons have opposite charges"
    for column in range(len(variables)):
        assert p_value(test[:, column], events[:, column]) > 0.01
    for column in range(3, 9):
        a, b = float(test[:, column].double().mean()), float(events[:, column].double().mean())
        assert abs(a - b) < 3 * np.sqrt(a * (1 - a) * (1 / len(test) + 1 / len(events)))
    n = len(test)
    rows = np.concatenate([test.numpy(), events[:n].numpy()])
    label = np.repeat([0, 1], n)
    areas = []
    for seed in range(3):
        half = np.random.default_rng(seed).permutation(2 * n)
        classifier = HistGradientBoostingClassifier(random_state=0).fit(rows[half[:n]], label[half[:n]])
        areas.append(roc_auc_score(label[half[n:]], classifier.predict_proba(rows[half[n:]])[:, 1]))
    assert np.mean(areas) < 0.508


def test_partons_keep_multiplicities_masses_and_identities(shared_data, monkeypatch):
    # Training is kept short: structure does not depend on it, and marginals little.
    monkeypatch.setattr("hepgan.learners.discrete.ALL_STEPS", 300)
    variables, train = partons(shared_data / "ee_partons_train.root", 25_000)
    _, test = partons(shared_data / "ee_partons_test.root", 25_000)
    events = generated(fitted(variables, train), N_GENERATED // 2)
    assert p_value(test[:, 0], events[:, 0], len(train)) > 0.01
    observed = {
        tuple(row) for slot in range(8) for row in train[:, [1 + slot, 9 + slot]].unique(dim=0).tolist()
    }
    for slot in range(8):
        assert torch.equal(events[:, 1 + slot] >= 0, events[:, 0] > slot)
        pairs = events[:, [1 + slot, 9 + slot]].unique(dim=0).tolist()
        assert {tuple(pair) for pair in pairs} <= observed
        fractions = [torch.bincount(x[:, 9 + slot] + 1, minlength=12) / len(x) for x in (test, events)]
        assert float((fractions[0] - fractions[1]).abs().max()) < 0.015
    values = torch.tensor(variables[9].values)
    two = events[events[:, 0] == 2]
    assert float((values[two[:, 9]] == -values[two[:, 10]]).double().mean()) > 0.98, "q and its qbar"


def pointing(n: int, share: float = 0.01) -> tuple[list[DiscreteVariable], Tensor]:
    """Up to three jets, up to two leptons, and the share of these that points to a jet, the last one."""
    random = np.random.default_rng(1)
    jets, leptons = random.integers(0, 4, n), random.integers(0, 3, n)
    variables = [
        variable("nLepton", (0, 1, 2), ordinal=True),
        variable("nJet", (0, 1, 2, 3), ordinal=True),
    ]
    columns = [leptons, jets]
    for slot in range(2):
        made = variable(f"Lepton[{slot}].jetIdx", (-1, 0, 1, 2), count=0, slot=slot)
        variables.append(replace(made, within=1))
        linked = (random.random(n) < share) & (jets > 0)
        columns.append(np.where(leptons > slot, np.where(linked, jets, 0), -1))
    return variables, torch.from_numpy(np.stack(columns, 1).astype(np.int64))


@pytest.mark.parametrize(("n", "wanted"), [(190, 0.2), (20_000, 0.01)], ids=["few", "many"])
def test_an_index_points_to_what_is_there(n: int, wanted: float) -> None:
    """However rare it is, so that nothing in training shows that it never does otherwise."""
    variables, discrete = pointing(n, wanted)
    model = fitted(variables, discrete)
    again = DiscreteModel.from_state(json.loads(json.dumps(model.state())))
    again.load_state_dict(model.state_dict())
    made = generated(again, N_GENERATED)
    assert (made[:, 2:] > 0).sum() > 100
    assert bool((made[:, 2:] <= made[:, 1:2]).all())
    share = [float((x[:, 2:] > 0).double().mean()) for x in (made, discrete)]
    assert share[0] == pytest.approx(share[1], rel=0.2)


def test_an_index_beyond_what_is_there_is_an_error() -> None:
    variables, discrete = pointing(1000)
    some = (discrete[:, 0] > 0).nonzero()[0, 0]
    discrete[some, 1:3] = torch.tensor([1, 3])
    with pytest.raises(ValueError, match=rf"jetIdx: class 3 of event {int(some)} is not possible"):
        fitted(variables, discrete)
    with pytest.raises(ValueError, match="count 7 is none of 4 variables"):
        fitted([*variables[:3], replace(variables[3], within=7)], discrete)


# ---------------------------------------------------------------- numbers of objects of a class


def tagged(n: int, seed: int) -> tuple[list[DiscreteVariable], Tensor]:
    """Two to six jets; two of any are tagged in half of the events, none in the others."""
    random = np.random.default_rng(seed)
    count = 2 + np.minimum(random.poisson(1.5, n), 4)
    order = np.where(np.arange(6) < count[:, None], random.random((n, 6)), 2.0)
    tags = (order.argsort(1).argsort(1) < 2) & (random.random(n) < 0.5)[:, None]
    columns = [count - 2, *np.where(np.arange(6) < count[:, None], tags, -1).T]
    variables = [variable("nJet", (2, 3, 4, 5, 6), ordinal=True)]
    variables += [variable(f"Jet[{k}].tag", (0, 1), count=0, slot=k) for k in range(6)]
    return variables, torch.from_numpy(np.stack(columns, 1).astype(np.int64))


def test_how_many_objects_have_a_class_is_learned_whichever_they_are(monkeypatch) -> None:
    # As where jets have more classes, groups cannot be tables of all jets together.
    monkeypatch.setattr("hepgan.learners.discrete.TABLE_STATES", 24)
    monkeypatch.setattr("hepgan.learners.discrete.MERGED_STATES", 6)
    variables, discrete = tagged(20_000, 1)
    model = fitted(variables, discrete)
    assert len(model.groups) > 4
    made = generated(model, N_GENERATED)
    for jets in range(5):
        found, expected = ((d[d[:, 0] == jets, 1:] == 1).sum(1) for d in (made, discrete))
        assert bool(((found == 0) | (found == 2)).double().mean() > 0.99)
        assert float((found == 2).double().mean()) == pytest.approx(
            float((expected == 2).double().mean()), abs=0.03
        )


def test_frequencies_of_pairs_are_those_of_the_training_events(toy_model) -> None:
    variables, discrete = toy_variables(), toy(30_000, 1)
    made = generated(toy_model, 200_000)
    number, charge = 1, 2
    for k in range(1, 4):
        for c in range(2):
            seen, found = (
                float(((d[:, number] == k) & (d[:, charge] == c)).double().mean()) for d in (discrete, made)
            )
            assert found == pytest.approx(seen, abs=0.003), variables[charge].name
