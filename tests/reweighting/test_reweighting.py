from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from hepgan.errors import InputError
from hepgan.events import read_events, schema_of, write_events
from hepgan.observables import Observable
from hepgan.reweighting import Reweighter, effective_sample_size, reweight, unweight
from hepgan.stats import classifiers
from hepgan.stats.classifiers import calibrate, reliability

N = 12_000


@pytest.fixture(scope="module", autouse=True)
def _short_trainings():
    """Networks learn from a fifth of what they otherwise see, which is enough for one number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classifiers, "BATCH", 512)
        patch.setattr(classifiers, "EPOCHS", 6)
        yield


def normal(n, mean=0.0, seed=0, **fields):
    x = np.random.default_rng(seed).normal(mean, 1.0, n)
    return ak.zip({"x": x, "y": np.random.default_rng(seed + 100).normal(size=n), **fields})


def truth(events, mean):
    """Density of a normal distribution at ``mean`` over that at 0."""
    x = ak.to_numpy(events.x)
    return np.exp(mean * x - mean**2 / 2)


@pytest.fixture(scope="module", params=["trees", "mlp"])
def fitted(request):
    return Reweighter(classifier=request.param, members=3, seed=1).fit(
        normal(N, 0.4, seed=1), normal(N, 0.0, seed=2)
    )


def test_weights_are_the_ratio_of_the_densities(fitted):
    generated = normal(N, 0.0, seed=2)
    for found, events in ((fitted.fitted_weights, generated), (fitted(other := normal(N, seed=3)), other)):
        expected = truth(events, 0.4)
        populated = np.abs(ak.to_numpy(events.x)) < 2
        ratio = found.weight[populated] / expected[populated]
        assert abs(ratio.mean() - 1) < 0.03
        assert ratio.std() < 0.15
        assert np.average(found.weight) == pytest.approx(1, abs=0.02)


def test_generated_events_reach_all_true_ones_or_the_share_that_they_share(fitted):
    assert fitted.reach == pytest.approx(1, abs=0.05)
    # One half of the true events is where no generated event is.
    x = np.random.default_rng(4).normal(size=N)
    true = ak.zip({"x": np.where(np.arange(N) % 2, x, x + 30)})
    half = Reweighter(classifier=fitted.classifier, members=3, seed=1)
    half.fit(true, ak.zip({"x": np.random.default_rng(5).normal(size=N)}))
    assert half.reach == pytest.approx(0.5, abs=0.05)


def test_reweighted_events_follow_the_true_distribution(fitted):
    events = normal(N, seed=3)
    weight = fitted(events).weight
    x = ak.to_numpy(events.x)
    mean = np.average(x, weights=weight)
    error = np.sqrt(np.sum(weight**2 * (x - mean) ** 2)) / weight.sum()
    assert abs(x.mean()) < 0.03
    # Trees are flat where there are few events.
    slack = 0.04 if fitted.classifier == "trees" else 0.0
    assert abs(mean - 0.4) < slack + 4 * np.hypot(error, 1 / np.sqrt(N))


def test_errors_tell_how_uncertain_weights_are(fitted):
    events = normal(N, seed=3)
    found = fitted(events)
    x = ak.to_numpy(events.x)
    tail, bulk = np.abs(x) > 2.5, np.abs(x) < 1
    relative = found.error / found.weight
    assert (found.error > 0).all()
    assert relative[tail].mean() > relative[bulk].mean()
    off = np.abs(found.weight / truth(events, 0.4) - 1)[bulk].mean()
    assert 0.2 * off < relative[bulk].mean() < 5 * off


def test_held_out_probabilities_are_reliable(fitted):
    assert fitted.reliability.chi2 < 2.5
    assert len(fitted.reliability.predicted) > 10


def test_members_together_are_neither_too_sure_nor_not_sure_enough_on_new_events():
    # Few events in which little is to be seen: each member has large errors of its own.
    def events(n, mean, seed):
        x = np.random.default_rng(seed).normal(size=(n, 6)) + mean
        return ak.zip({f"x{i}": x[:, i] for i in range(6)})

    fitted = Reweighter(classifier="trees", seed=1).fit(events(6000, 0.08, 1), events(6000, 0.0, 2))
    n = 30_000
    score = np.log(np.concatenate([fitted(events(n, 0.08, 3)).weight, fitted(events(n, 0.0, 4)).weight]))
    spread = score.std()
    assert spread > 0.08
    best = calibrate("temperature", score, np.arange(2 * n) < n, np.ones(2 * n))
    factor = float(best(np.array([1.0]))[0] - best(np.array([0.0]))[0])
    assert 0.7 < factor < 1.6


def test_samples_of_one_distribution_have_weights_of_1():
    found = Reweighter(classifier="trees", members=3).fit(normal(N, seed=1), normal(N, seed=2)).fitted_weights
    assert np.abs(found.weight - 1).mean() < 0.1
    assert effective_sample_size(found.weight) > 0.97 * N


def test_calibrations_are_not_judged_by_the_events_that_made_them():
    # Any increasing function of the score fits the noise of the events that it is made of perfectly.
    fitted = Reweighter(classifier="trees", members=2, calibration="isotonic")
    fitted.fit(normal(3000, seed=1), normal(3000, seed=2))
    assert 0.3 < fitted.reliability.chi2 < 6


@pytest.mark.parametrize("calibration", ["temperature", "isotonic"])
def test_calibration_mends_a_classifier_that_is_too_sure(calibration):
    rng = np.random.default_rng(4)
    score = rng.normal(0, 1.5, N)
    label = rng.random(N) < expit(score)
    too_sure, weight = 2.5 * score + 0.7, np.ones(N)
    held = np.arange(N) % 2 == 0
    correct = calibrate(calibration, too_sure[held], label[held], weight[held])
    before = reliability(too_sure[~held], label[~held], weight[~held])
    after = reliability(correct(too_sure[~held]), label[~held], weight[~held])
    assert before.chi2 > 20
    assert after.chi2 < 2.5
    if calibration == "temperature":
        np.testing.assert_allclose(correct(too_sure), score, atol=0.25)


def test_true_events_of_both_signs_are_learned_from():
    # Positive weights at 0.4, of which negative ones take away what is at -1.
    true = ak.concatenate([normal(N, 0.4, seed=1), normal(N // 10, -1.0, seed=5)])
    weight = np.where(np.arange(len(true)) < N, 1.0, -0.5)
    true = ak.with_field(true, weight, "weight")
    generated = normal(N, seed=2)
    found = Reweighter(classifier="mlp", members=2, seed=1).fit(true, generated).fitted_weights
    x = ak.to_numpy(generated.x)
    expected = np.exp(0.4 * x - 0.08) - 0.05 * np.exp(-x - 0.5)
    bulk = np.abs(x) < 1.5
    ratio = found.weight[bulk] / (expected / expected.mean())[bulk]
    assert abs(ratio.mean() - 1) < 0.04
    with pytest.raises(InputError, match="use mlp"):
        Reweighter(classifier="trees", members=2).fit(true, generated)
    with pytest.raises(InputError, match="use temperature"):
        Reweighter(classifier="mlp", members=2, calibration="isotonic").fit(true, generated)


def test_weights_of_generated_events_are_factors():
    generated = normal(5000, seed=2)
    own = 0.5 + np.random.default_rng(6).random(5000)
    made = reweight(
        normal(5000, 0.4, seed=1), ak.with_field(generated, own, "weight"), classifier="trees", members=2
    )
    plain = Reweighter(classifier="trees", members=2).fit(
        normal(5000, 0.4, seed=1), ak.with_field(generated, own, "weight")
    )
    np.testing.assert_allclose(made.weight, plain.fitted_weights.weight * own, rtol=1e-6)
    assert np.average(plain.fitted_weights.weight, weights=own) == pytest.approx(1)


def test_the_same_seed_gives_the_same_weights_and_other_seeds_others():
    samples = normal(2000, 0.4, seed=1), normal(2000, seed=2)
    one, same, other = (
        Reweighter(classifier="trees", members=2, seed=s).fit(*samples).fitted_weights for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.weight, same.weight)
    assert not np.array_equal(one.weight, other.weight)


def test_chosen_observables_alone_can_be_seen():
    chosen = {"square": Observable("square", "x * x")}
    found = Reweighter(chosen, fields=False, classifier="trees", members=2).fit(
        normal(2000, 0.4, seed=1), normal(2000, seed=2)
    )
    assert found.columns == ("square",)
    weight = found.fitted_weights.weight
    x = ak.to_numpy(normal(2000, seed=2).x)
    # The sign of x is not seen.
    assert abs(np.corrcoef(x, weight)[0, 1]) < 0.1


def test_effective_sample_size_is_kishs():
    assert effective_sample_size(np.ones(7)) == 7
    assert effective_sample_size([1.0, 3.0]) == pytest.approx(16 / 10)
    with pytest.raises(ValueError, match="worth nothing"):
        effective_sample_size([0.0, 0.0])


def test_events_without_weights_follow_the_weighted_distribution():
    events = normal(2 * N, seed=3)
    weight = truth(events, 0.4)
    found = unweight(weight, seed=1, quantile=1.0)
    x = ak.to_numpy(events.x)[found.kept]
    assert stats.kstest(x, stats.norm(0.4).cdf).pvalue > 1e-3
    assert found.efficiency == pytest.approx(weight.mean() / weight.max(), rel=0.05)
    assert found.overweight == pytest.approx(0, abs=1e-12)


def test_a_lower_maximum_keeps_more_events_and_tells_what_is_lost():
    weight = truth(normal(N, seed=3), 0.8)
    exact, approximate = (unweight(weight, quantile=q) for q in (1.0, 0.99))
    assert approximate.efficiency > 1.5 * exact.efficiency
    top = np.quantile(weight, 0.99)
    assert approximate.overweight == pytest.approx(np.maximum(weight - top, 0).sum() / weight.sum())


@pytest.mark.parametrize("wrong", [[1.0, -1.0], [0.0, 0.0], [1.0, np.nan]])
def test_what_is_no_probability_is_not_unweighted(wrong):
    with pytest.raises(ValueError, match="can be done without"):
        unweight(wrong)


def test_weights_are_written_read_and_known_to_be_weights(tmp_path):
    made = reweight(normal(2000, 0.4, seed=1), normal(2000, seed=2), classifier="trees", members=2)
    assert schema_of(made).weight == "weight"
    write_events(tmp_path / "w.root", made)
    back = read_events(f"{tmp_path}/w.root")
    assert schema_of(back).weight == "weight"
    np.testing.assert_array_equal(back.weight, made.weight)
    np.testing.assert_array_equal(back.weight_error, made.weight_error)


def test_a_name_that_is_taken_is_not_overwritten():
    with pytest.raises(InputError, match="'y' already"):
        reweight(normal(500, 0.4, seed=1), normal(500, seed=2), classifier="trees", members=2, name="y")


def test_what_cannot_be_learned_from_is_an_error_that_says_why():
    good = normal(500, seed=1)
    with pytest.raises(InputError, match="100 generated events are too few"):
        Reweighter().fit(good, normal(100))
    with pytest.raises(InputError, match="nothing in common"):
        Reweighter().fit(good, ak.zip({"z": np.ones(500)}))
    with pytest.raises(InputError, match="positive sum"):
        Reweighter().fit(ak.with_field(good, np.zeros(500), "weight"), good)
    for settings in ({"classifier": "oracle"}, {"calibration": "none"}, {"members": 1}, {"fields": False}):
        with pytest.raises(ValueError, match=r"^(no |a classifier|an ensemble|cl.* must|cal.* must)"):
            Reweighter(**settings)
    with pytest.raises(RuntimeError, match="call fit"):
        Reweighter()(good)
    with pytest.raises(InputError, match="lack y"):
        Reweighter(classifier="trees", members=2).fit(good, normal(500, seed=2))(good[["x"]])


def of_kinds(n, kinds, seed, counts=None):
    """Events with a string each, and jets."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, n) if counts is None else counts
    jets = {"pt": ak.unflatten(rng.exponential(size=int(np.sum(counts))), counts)}
    kind = np.array(kinds)[rng.integers(0, len(kinds), n)]
    return ak.zip({"x": rng.normal(size=n), "kind": kind, "Jet": ak.zip(jets)}, depth_limit=1)


@pytest.fixture(scope="module")
def of_two_kinds():
    """Knows that a third of the generated events should not be."""
    generated = of_kinds(4000, ("a", "b", "c"), 2)
    return Reweighter(classifier="trees", members=2).fit(of_kinds(4000, ("b", "c"), 1), generated), generated


def test_strings_are_the_same_in_samples_that_do_not_have_all_of_them(of_two_kinds):
    fitted, generated = of_two_kinds
    kind, weight = np.array(ak.to_list(generated.kind)), fitted.fitted_weights.weight
    for name, expected in (("a", 0.0), ("b", 1.5), ("c", 1.5)):
        assert weight[kind == name].mean() == pytest.approx(expected, abs=0.15)
    assert fitted(of_kinds(500, ("b", "c"), 3)).weight.mean() == pytest.approx(1.5, abs=0.15)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_few_new_events_have_weights(of_two_kinds, n):
    weights = of_two_kinds[0](of_kinds(n, ("b",), 3, np.full(n, 2)))
    assert weights.weight.shape == weights.error.shape == (n,)


def test_collections_that_nothing_was_learned_of_are_not_seen():
    fitted = Reweighter(classifier="trees", members=2).fit(normal(500, seed=1), normal(500, seed=2))
    events = normal(5, seed=3)
    more = ak.with_field(events, of_kinds(5, ("a",), 3).Jet, "Jet")
    np.testing.assert_array_equal(fitted(more).weight, fitted(events).weight)


def test_trees_do_not_mind_objects_that_hardly_any_event_has():
    counts = np.where(np.arange(600) < 1, 2, 1)
    made, true = of_kinds(600, ("a",), 1, counts), of_kinds(600, ("a",), 2, np.ones(600, dtype=int))
    fitted = Reweighter(classifier="trees", members=2).fit(true, made)
    assert np.isfinite(fitted.fitted_weights.weight).all()
