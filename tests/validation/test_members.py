from __future__ import annotations

import json
import math

import awkward as ak
import hist
import numpy as np
import pytest
from scipy import stats
from toys import by_members

import hepgan
from hepgan.errors import InputError
from hepgan.observables import Observable
from hepgan.stats.histograms import band
from hepgan.validation import compare_files, equivalent_size

AXIS = hist.axis.Regular(20, -3.0, 3.0)


def histogram(values: np.ndarray) -> hist.Hist:
    return hist.Hist(AXIS, storage=hist.storage.Weight()).fill(values)


def ensemble(values: np.ndarray, member: np.ndarray) -> hist.Hist:
    number = hist.axis.Integer(0, int(member.max()) + 1, underflow=False, overflow=False)
    return hist.Hist(number, AXIS, storage=hist.storage.Weight()).fill(member, values)


def shifted(members: int, each: int, spread: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Normal numbers of members whose means differ by a known spread."""
    rng = np.random.default_rng(seed)
    # Quantiles of a normal distribution, scaled to the exact standard deviation.
    shift = stats.norm.ppf((np.arange(members) + 0.5) / members)
    shift *= spread / shift.std(ddof=1) if spread else 0.0
    member = np.arange(members * each) % members
    return rng.normal(shift[member], 1.0), member


def test_a_known_spread_of_members_is_recovered_and_statistics_are_subtracted() -> None:
    # Few events: the statistical variance is several times the spread, and must go.
    members, each, spread = 50, 2_000, 0.03
    values, member = shifted(members, each, spread)
    truth = histogram(np.random.default_rng(0).normal(size=100_000))
    found = band(truth, histogram(values), ensemble(values, member))
    assert found is not None
    assert found.members == members
    edges = AXIS.edges
    # A shift s changes the content of a bin by s (f(low) - f(high)).
    expected = (spread * -np.diff(stats.norm.pdf(edges))) ** 2
    share = np.diff(stats.norm.cdf(edges))
    statistical = share * (1 - share) / each
    assert statistical.sum() > 3 * expected.sum()
    # The variance of the estimate is that of a sample variance of 50 members in each bin.
    error = math.sqrt(2 / (members - 1) * float(np.square(statistical + expected).sum()))
    assert found.spread.sum() == pytest.approx(expected.sum(), abs=4 * error)
    np.testing.assert_allclose(found.statistical, share * (1 - share) / (members * each), rtol=0.25)


def test_members_that_differ_by_chance_alone_have_no_spread_to_speak_of() -> None:
    values, member = shifted(10, 20_000, 0.0)
    truth = histogram(np.random.default_rng(0).normal(size=100_000))
    found = band(truth, histogram(values), ensemble(values, member))
    assert found is not None
    share = np.diff(stats.norm.cdf(AXIS.edges))
    # Of a chi2 with 9 degrees of freedom over 9, what exceeds 1 has the mean 0.19.
    assert found.spread.sum() < 0.35 * (share * (1 - share) / 20_000).sum()


def test_a_pull_is_the_difference_over_the_root_of_all_variances() -> None:
    number = hist.axis.Integer(0, 2, underflow=False, overflow=False)
    axis = hist.axis.Regular(2, 0.0, 2.0)
    kind = hist.storage.Weight()
    true = hist.Hist(axis, storage=kind).fill([0.5] * 600 + [1.5] * 400)
    each = hist.Hist(number, axis, storage=kind)
    each.fill([0] * 100 + [1] * 100, [0.5] * 80 + [1.5] * 20 + [0.5] * 50 + [1.5] * 50)
    found = band(true, each[sum, :], each)
    assert found is not None
    # Shares 0.8 and 0.5 of two members of 100 events: variance 0.045, of which binomial errors are
    # (0.8 * 0.2 + 0.5 * 0.5) / 100 / 2 = 0.00205; together 0.65 of 200 events, against 0.6 of 1,000.
    assert found.spread.tolist() == pytest.approx([0.045 - 0.00205] * 2)
    assert found.statistical.tolist() == pytest.approx([0.65 * 0.35 / 200] * 2)
    assert found.true.tolist() == pytest.approx([0.6 * 0.4 / 1000] * 2)
    pull = 0.05 / math.sqrt(0.65 * 0.35 / 200 + 0.045 - 0.00205 + 0.6 * 0.4 / 1000)
    assert found.pulls.tolist() == pytest.approx([pull, -pull])
    assert found.variance.tolist() == pytest.approx([0.65 * 0.35 / 200 + 0.045 - 0.00205] * 2)


def events(
    values: np.ndarray, member: np.ndarray | None = None, weight: np.ndarray | None = None
) -> ak.Array:
    fields = {"x": values.astype(np.float32)}
    fields |= {} if weight is None else {"weight": weight}
    made = ak.zip(fields, depth_limit=1)
    return made if member is None else by_members(made, member)


X = {"x": Observable("x", "x", bins=20, range=(-3, 3))}


def test_a_comparison_has_bands_where_events_tell_their_member(tmp_path) -> None:
    values, member = shifted(8, 500, 0.1)
    reference = events(np.random.default_rng(0).normal(size=4_000))
    options = {"classifier": False}
    comparison = hepgan.compare(reference, events(values, member), X, **options)
    found = comparison.results["generated"].bands["x"]
    expected = band(
        histogram(ak.to_numpy(reference.x)),
        histogram(values.astype(np.float32)),
        ensemble(values.astype(np.float32), member),
    )
    assert expected is not None
    np.testing.assert_allclose(found.spread, expected.spread)
    np.testing.assert_allclose(found.pulls, expected.pulls)
    report = comparison.save(tmp_path / "report")
    assert "Ensemble" in report.read_text()
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    told = metrics["observables"]["x"]["ensemble"]
    assert told["members"] == 8
    assert told["pulls"] == pytest.approx(found.pulls.tolist())
    assert told["spread"] == pytest.approx(np.sqrt(found.spread).tolist())
    assert metrics["ensemble"]["x"]["within_one_sigma"] == pytest.approx(np.mean(np.abs(found.pulls) < 1))
    assert any("spread of 8 members" in line for line in comparison.verdicts())
    plain = hepgan.compare(reference, events(values), X, **options)
    assert not plain.results["generated"].bands
    assert "ensemble" not in plain.sections
    # What is known without bands is the same.
    assert plain.results["generated"].observables == comparison.results["generated"].observables


def test_bands_of_objects_and_weights_are_those_of_events_with_sums_of_weights() -> None:
    values, member = shifted(4, 500, 0.2)
    weight = np.where(np.arange(len(values)) % 5 == 0, -1.0, 1.0)
    reference = events(np.random.default_rng(0).normal(size=4_000))
    made = events(values, member, weight)
    found = hepgan.compare(reference, made, X, classifier=False).results["generated"].bands["x"]
    first = weight[member == 0]
    low, high = AXIS.edges[9:11]
    inside = (values.astype(np.float32) >= low) & (values.astype(np.float32) < high)
    share = weight[inside].sum() / weight.sum()
    assert found.content[9] == pytest.approx(share)
    # The error of a ratio of weighted sums, propagated event by event.
    expected = float(np.square(weight * (inside - share)).sum()) / weight.sum() ** 2
    assert found.statistical[9] == pytest.approx(expected)
    assert len(first) == 500


@pytest.mark.parametrize("suffix", ["root", "parquet"])
def test_a_number_of_the_users_own_that_is_called_member_makes_no_ensemble(suffix, tmp_path) -> None:
    """It may be one of a PDF, in events that no ensemble has made."""
    values, member = shifted(4, 500, 0.2)
    reference = events(np.random.default_rng(0).normal(size=2_000))
    own = ak.with_field(events(values), member.astype(np.int32), "member")
    made = events(values, member)
    paths = {n: tmp_path / f"{n}.{suffix}" for n in ("true", "own", "made")}
    for path, sample in zip(paths.values(), (reference, own, made), strict=True):
        hepgan.write_events(path, sample)
    found = hepgan.compare(reference, {"own": own, "made": made}, X, classifier=False)
    read = compare_files(paths["true"], {"own": paths["own"], "made": paths["made"]}, X, classifier=False)
    for comparison in (found, read):
        assert not comparison.results["own"].bands
        assert comparison.results["made"].bands["x"].members == 4


def test_members_of_different_files_must_agree(tmp_path) -> None:
    values, member = shifted(4, 500, 0.2)
    reference = events(np.random.default_rng(0).normal(size=2_000))
    paths = [tmp_path / n for n in ("true.root", "a.root", "b.root")]
    for path, sample in zip(
        paths, (reference, events(values, member), events(values, member + 1)), strict=True
    ):
        hepgan.write_events(path, sample)
    with pytest.raises(InputError, match="4 members"):
        compare_files(paths[0], paths[1:], X, classifier=False)


def test_a_sample_of_true_events_is_worth_its_own_size() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=200_000)
    found = [equivalent_size(truth, rng.normal(size=3_000), bins=40).size for _ in range(40)]
    # The mean of 1 / size is 1 / 3,000, up to the scatter of 40 sums of squares of 39 bins.
    assert 1 / np.mean(1 / np.array(found)) == pytest.approx(3_000, rel=4 * math.sqrt(2 / 39 / 40))


def test_a_biased_sample_is_worth_no_more_however_large() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=1_000_000)
    made = rng.normal(0.05, 1.0, size=1_000_000)
    found = equivalent_size(truth, made, bins=20)
    edges = stats.norm.ppf(np.linspace(0, 1, 21))
    deviation = np.diff(stats.norm.cdf(edges - 0.05)) - 0.05
    assert found.size == pytest.approx(0.95 / np.square(deviation).sum(), rel=0.3)
    assert found.low < found.size < found.high
    assert found.limit == pytest.approx(1_000_000)
    with pytest.raises(ValueError, match="bins"):
        equivalent_size(truth, made, bins=1)
