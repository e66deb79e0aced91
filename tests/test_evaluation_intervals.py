import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from ecgveil.errors import EvaluationError
from ecgveil.evaluation.intervals import auc, auc_interval, tpr_at_fpr

scores = st.lists(st.integers(-3, 3).map(float) | st.floats(-5, 5), min_size=1, max_size=25).map(np.array)


def wins(positives, negatives):
    """1, 1/2 or 0 for each pair: the definition."""
    apart = np.subtract.outer(np.asarray(positives), np.asarray(negatives))
    return (np.sign(apart) + 1) / 2


@settings(max_examples=60, deadline=None)
@given(scores, scores)
def test_auc_is_that_of_scikit_learn_and_of_the_definition(positives, negatives):
    truth = np.repeat([1, 0], [len(positives), len(negatives)])
    expected = roc_auc_score(truth, np.concatenate([positives, negatives]))
    assert auc(positives, negatives) == pytest.approx(expected, abs=1e-12)
    assert auc(positives, negatives) == pytest.approx(wins(positives, negatives).mean(), abs=1e-12)
    assert auc(negatives, positives) == pytest.approx(1 - expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [9, 0])  # without and with many ties
def test_interval_is_delongs(decimals):
    rng = np.random.default_rng(4)
    positives, negatives = rng.normal(1, 1, 40).round(decimals), rng.normal(0, 1, 55).round(decimals)
    won = wins(positives, negatives)
    area = won.mean()
    variance = np.var(won.mean(axis=1), ddof=1) / 40 + np.var(won.mean(axis=0), ddof=1) / 55
    step = norm.ppf(0.975) * np.sqrt(variance) / (area * (1 - area))
    expected = [1 / (1 + (1 - area) / area * np.exp(-sign * step)) for sign in (-1, 1)]
    assert auc_interval(positives, negatives) == pytest.approx(expected, abs=1e-12)
    mirrored = [1 - x for x in auc_interval(negatives, positives)]
    assert mirrored == pytest.approx(expected[::-1], abs=1e-12)


def test_interval_without_variance_is_the_exact_binomial_one():
    high, low = np.arange(10.0) + 20, np.arange(15.0)
    assert auc_interval(high, low) == pytest.approx((0.025**0.1, 1.0))
    assert auc_interval(low, high) == pytest.approx((0.0, 1 - 0.025**0.1))
    below, above = auc_interval(np.ones(12) / 3, np.ones(9) / 3)  # all equal: that AUC is 1/2 is not known for sure
    assert below < 0.25 < 0.75 < above
    assert auc_interval([1.0], [0.0, 0.5]) == pytest.approx((0.025, 1.0))
    assert auc_interval(np.full(30, 0.3), np.repeat([0.1, 0.3, 0.5], 10))[0] > 0.3  # only one side varies


@settings(max_examples=60, deadline=None)
@given(scores, scores, st.sampled_from([0.001, 0.01, 0.1, 0.5]))
def test_intervals_hold_their_value_and_stay_between_0_and_1(positives, negatives, fpr):
    low, high = auc_interval(positives, negatives)
    assert 0 <= low <= auc(positives, negatives) <= high <= 1
    value, low, high = tpr_at_fpr(positives, negatives, fpr)
    assert 0 <= low <= value <= high <= 1


@pytest.mark.parametrize(("m", "n", "shift"), [(25, 25, 0.0), (30, 60, 1.0), (40, 40, 2.5)])
def test_auc_intervals_cover_the_truth(m, n, shift):
    rng, truth, covered = np.random.default_rng(1), norm.cdf(shift / np.sqrt(2)), 0
    for _ in range(200):
        low, high = auc_interval(rng.normal(shift, 1, m), rng.normal(0, 1, n))
        covered += low <= truth <= high
    assert 180 <= covered <= 199  # 95 % of 200 are 190; intervals that always hold it would be too wide


@pytest.mark.parametrize(("n", "fpr"), [(60, 0.1), (600, 0.01), (50, 0.01)])
def test_tpr_intervals_cover_the_truth(n, fpr):
    rng, covered = np.random.default_rng(2), 0
    truth = norm.sf(norm.isf(fpr) - 1.5)
    for _ in range(200):
        _, low, high = tpr_at_fpr(rng.normal(1.5, 1, 80), rng.normal(0, 1, n), fpr)
        covered += low <= truth <= high
    assert covered >= 190


def test_tpr_counts_positives_above_the_negatives_allowed():
    negatives = np.arange(1000.0)  # 989 is exceeded by ten, 1 %
    positives = np.array([989.0, 989.5, 995.5, 2000.0])
    assert tpr_at_fpr(positives, negatives, 0.01)[0] == 0.75
    assert tpr_at_fpr(positives, negatives, 0.001)[0] == 0.25  # one negative, 999, may be accused
    assert tpr_at_fpr(positives, negatives[:50], 0.01)[0] == 1  # none may be
    assert tpr_at_fpr(np.ones(5), np.ones(50), 0.1)[0] == 0  # ties are not above


def test_tpr_says_that_few_negatives_cannot_tell():
    found = np.full(200, 9.0)
    assert tpr_at_fpr(found, np.linspace(0, 1, 436), 0.01)[:2] == (1.0, 0.0)
    assert tpr_at_fpr(found, np.linspace(0, 1, 437), 0.01)[1] > 0.95
    assert tpr_at_fpr(found, np.linspace(0, 1, 4379), 0.001)[1] == 0
    assert tpr_at_fpr(found, np.linspace(0, 1, 4380), 0.001)[1] > 0.95


@pytest.mark.parametrize(
    ("positives", "negatives", "said"),
    [([], [1.0], "positives have shape (0,)"), ([1.0], [np.nan, 1.0], "1 scores of negatives are NaN")],
)
def test_bad_scores_are_refused(positives, negatives, said):
    for call in (auc, auc_interval, lambda one, other: tpr_at_fpr(one, other, 0.1)):
        with pytest.raises(EvaluationError) as error:
            call(positives, negatives)
        assert said in str(error.value)


@pytest.mark.parametrize("fpr", [0.0, 1.0, float("nan")])
def test_bad_false_positive_rates_are_refused(fpr):
    with pytest.raises(EvaluationError, match="fpr is"):
        tpr_at_fpr([1.0], [0.0], fpr)
