"""Attribute inference: does the release reveal a training person's age, sex or diagnosis to who holds their ECG?

The attacker looks up the synthetic ECGs nearest to the person's ECG and takes the attribute these carry. Often that is
right without any leak: ECGs show sex and age, and a good generator has learned how. So the same is done for holdout
people, of whom nothing was learned, and only the surplus on training people counts: what the release tells of them
beyond what the population tells of anybody (Giomi, Boenisch, Wehmeyer, Tasnadi, PoPETs 2023(2):312).

One record stands for each person. Were nothing leaked, training and holdout people could be exchanged at will, within
those who bear the attribute and those who do not; that is what the exact tests here assume.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom, norm, ttest_ind

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.features import draw_rows
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW, Metric
from ecgveil.evaluation.privacy import BeatShapes, distances
from ecgveil.people import named

NEIGHBOURS = 5
YEARS = 5.0  # an age guessed within it is guessed right
LEAST_BEARERS = 10  # people with, and people without the attribute, in either part
LEVEL = 0.025  # probability that any of all the tests here cries leakage where there is none
POWER = 0.8
TELLING = 0.25  # where only a larger surplus of right guesses would be found, none found says too little
HALVINGS = 20

NO_EVIDENCE = "no evidence of leakage"
LEAKAGE = "leakage"
_FLOOR_OF = "one half of the holdout as training people, the other as holdout people"

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class _Guessed:
    """What the attacker made of one attribute: of training people first, of holdout people second.

    Parameters
    ----------
    name : of the attribute, as in the metric
    hits : bool, whether each person's attribute was guessed right
    strata : 0 or 1 for each person: whether they bear it; rates of both count alike. All 0 for age
    errors : years, absolute, for age; empty otherwise
    """

    name: str
    hits: tuple[np.ndarray, np.ndarray]
    strata: tuple[np.ndarray, np.ndarray]
    errors: tuple[np.ndarray, ...] = ()


def attribute_metrics(
    train: BeatShapes,
    holdout: BeatShapes,
    synthetic: BeatShapes,
    sets: tuple[ECGSet, ECGSet, ECGSet],
    *,
    seed: int,
    apart: tuple[np.ndarray, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Metric], list[str]]:
    """How much better an attacker guesses the attributes of training people than those of holdout people.

    Parameters
    ----------
    train, holdout, synthetic : median beats of the three sets; no patient in both train and holdout
    sets : the ECGs that the beats are of, in this order: they carry labels, age and sex
    seed : for the draws of one record of each patient, and the halves of the floor
    apart : `privacy.distances` of (synthetic, train) and of (synthetic, holdout) beats, where they are at hand
    progress : called with (done, total) attributes

    Returns
    -------
    metrics : `attribute_<sex, age or label>_advantage`, the rate of right guesses of training people less that of
        holdout people: mean of the rates of those with and those without a sex or label (balanced accuracy), or the
        share of ages guessed within 5 years; and `attribute_age_error_advantage_years`, the mean absolute error of
        holdout people less that of training people. A verdict of leakage allows for all these tests (Bonferroni).
    notes : rates in words, what could have been found, and what was not tested

    Raises
    ------
    EvaluationError
        A patient is on both sides, or `apart` does not fit.
    """
    apart = _check((train, holdout, synthetic), sets, apart)
    if not (len(train.rows) and len(holdout.rows) and len(synthetic.rows)):
        return [], ["Attributes: not tested, since one of the sets has no ECG with a whole beat."]
    rng = np.random.default_rng([seed, 30])
    drawn = [draw_rows(x.patient_id, len(np.unique(x.patient_id)), rng, replace=False) for x in (train, holdout)]
    people = [ecgs.take(part.rows[at]) for ecgs, part, at in zip(sets, (train, holdout), drawn, strict=False)]
    made = sets[2].take(synthetic.rows)
    to_made = [each[:, at].T for each, at in zip(apart, drawn, strict=True)]
    plans, notes = _plan(people, made)
    guessed = []
    for done, (name, values, guess) in enumerate(plans, start=1):
        guessed.append(guess(name, to_made, values))
        if progress:
            progress(done, len(plans))
    tests = sum(1 + bool(each.errors) for each in guessed)
    metrics: list[Metric] = []
    for number, each in enumerate(guessed):
        metrics.append(_hits_metric(each, tests, np.random.default_rng([seed, 31, number])))
        notes.append(_in_words(each, tests))
        if each.errors:
            metrics.append(_errors_metric(each, tests, np.random.default_rng([seed, 32, number])))
    return metrics, notes


def detectable_advantage(
    strata: tuple[np.ndarray, np.ndarray], rates: np.ndarray, *, tests: int = 1, power: float = POWER
) -> float:
    """Smallest surplus of right guesses that would have been found, by the normal approximation.

    Parameters
    ----------
    strata : of training and of holdout people, 0 or 1 for each
    rates : of right guesses in each stratum without a leak
    """
    weights = _weights(strata)
    variance = sum(
        (w**2) * r * (1 - r) * sum(1 / (part == s).sum() for part in strata)
        for s, (w, r) in enumerate(zip(weights, rates, strict=True))
    )
    return float((norm.isf(LEVEL / tests) + norm.ppf(power)) * np.sqrt(variance))


Values = tuple[np.ndarray, np.ndarray, np.ndarray]  # of train, holdout, synthetic; NaN where unknown
Guess = Callable[[str, list[np.ndarray], Values], _Guessed]


def _plan(people: list[ECGSet], made: ECGSet) -> tuple[list[tuple[str, Values, Guess]], list[str]]:
    """The attributes to test, each with its values and how it is guessed, and notes on those that cannot be."""
    sets = (*people, made)
    plans: list[tuple[str, Values, Guess]] = []
    rare: dict[str, int] = {}  # how many people bear each
    untold: list[str] = []
    if not any(made.sex) and not any(made.labels) and np.isnan(made.age).all():
        return [], [
            "Attributes: the synthetic ECGs carry no age, sex or label, so none can be read off those near to a person."
        ]
    sex = _values(sets, lambda each: [np.nan if s == "" else float(s == "female") for s in each.sex])
    age = _values(sets, lambda each: np.asarray(each.age, float))
    labels = sorted({label for each in sets for labels in each.labels for label in labels})
    candidates = [("sex", sex), *((label, _bears(sets, label)) for label in labels)]
    for name, values in candidates:
        counts = [int((part == bears).sum()) for part in values[:2] for bears in (0, 1)]
        if len(np.unique(values[2][np.isfinite(values[2])])) == 2 and min(counts) >= LEAST_BEARERS:
            plans.append((name, values, _guess_bearers))
        elif name == "sex":
            untold.append(name)
        else:
            rare[name] = counts[1] + counts[3]
    known = [int(np.isfinite(part).sum()) for part in age]
    if known[2] and min(known[:2]) >= LEAST_N:
        plans.append(("age", age, _guess_age))
    else:
        untold.append("age")
    if not rare and not untold:
        return plans, []
    told = ", ".join([*untold, *([named(rare)] if rare else [])])
    return plans, [
        f"Attributes: not tested are {told}; either the synthetic ECGs do not vary in it, or fewer than "
        f"{LEAST_BEARERS} training or holdout people are known to have it, or not to ({LEAST_N} for age)."
    ]


def _values(sets: tuple[ECGSet, ...], of: Callable[[ECGSet], object]) -> Values:
    one, other, made = (np.asarray(of(each), float) for each in sets)
    return one, other, made


def _bears(sets: tuple[ECGSet, ...], label: str) -> Values:
    return _values(sets, lambda each: [label in labels for labels in each.labels])


def _nearest(to_made: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Known values of the nearest synthetic ECGs and their weights, each (n, k).

    The weights fall with the square of the distance: a near copy outvotes those that are merely alike.
    """
    known = np.isfinite(values)
    to_made, values = to_made[:, known], values[known]
    k = min(NEIGHBOURS, len(values))
    at = np.argpartition(to_made, k - 1, axis=1)[:, :k]
    near = np.maximum(np.take_along_axis(to_made, at, axis=1), 1e-6)
    weights = (near.min(axis=1, keepdims=True) / near) ** 2
    return values[at], weights / weights.sum(axis=1, keepdims=True)


def _guess_bearers(name: str, to_made: list[np.ndarray], values: Values) -> _Guessed:
    """Who bears the attribute: whose neighbours bear it more often than synthetic ECGs do on the whole."""
    usual = float(np.nanmean(values[2]))
    hits, strata = [], []
    for distance, truth in zip(to_made, values[:2], strict=True):
        known = np.isfinite(truth)
        near, weights = _nearest(distance[known], values[2])
        hits.append(((near * weights).sum(axis=1) > usual) == (truth[known] == 1))
        strata.append(truth[known].astype(int))
    return _Guessed(name, (hits[0], hits[1]), (strata[0], strata[1]))


def _guess_age(name: str, to_made: list[np.ndarray], values: Values) -> _Guessed:
    """The weighted median of the neighbours' ages."""
    errors = []
    for distance, truth in zip(to_made, values[:2], strict=True):
        known = np.isfinite(truth)
        near, weights = _nearest(distance[known], values[2])
        order = near.argsort(axis=1)
        below = np.take_along_axis(weights, order, axis=1).cumsum(axis=1)
        middle = (below >= 0.5 - 1e-12).argmax(axis=1)[:, None]
        guess = np.take_along_axis(np.take_along_axis(near, order, axis=1), middle, axis=1)[:, 0]
        errors.append(np.abs(guess - truth[known]))
    hits, strata = [x <= YEARS for x in errors], [np.zeros(len(x), int) for x in errors]
    return _Guessed(name, (hits[0], hits[1]), (strata[0], strata[1]), tuple(errors))


def _weights(strata: tuple[np.ndarray, ...]) -> np.ndarray:
    """Of the strata, those with and those without the attribute counting alike."""
    count = 1 + max(int(each.max()) for each in strata)
    return np.full(count, 1 / count)


def _rate(hits: np.ndarray, strata: np.ndarray, weights: np.ndarray) -> float:
    return float(sum(w * hits[strata == s].mean() for s, w in enumerate(weights)))


def _advantage(guessed: _Guessed) -> float:
    weights = _weights(guessed.strata)
    one, other = (_rate(*each, weights) for each in zip(guessed.hits, guessed.strata, strict=True))
    return one - other


def _interval(guessed: _Guessed) -> tuple[float, float]:
    """95 % interval of the advantage from Wilson's of each rate (Newcombe, Stat Med 17:873, 1998; weighted sums of
    rates: Zou, Huang, Zhang, Comput Stat Data Anal 53:1080, 2009)."""
    low, high = 0.0, 0.0  # sums of squares
    for s, weight in enumerate(_weights(guessed.strata)):
        for sign, hits, strata in zip((1, -1), guessed.hits, guessed.strata, strict=True):
            rate, (down, up) = hits[strata == s].mean(), _wilson(int(hits[strata == s].sum()), int((strata == s).sum()))
            below, above = weight * (rate - down), weight * (up - rate)
            low += (below if sign > 0 else above) ** 2
            high += (above if sign > 0 else below) ** 2
    value = _advantage(guessed)
    return max(-1.0, float(value - np.sqrt(low))), min(1.0, float(value + np.sqrt(high)))


def _wilson(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson, J Am Stat Assoc 22:209, 1927).

    >>> tuple(round(x, 3) for x in _wilson(0, 10))
    (0.0, 0.278)
    """
    z2, share = float(norm.ppf(0.975)) ** 2, successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, float(centre - reach)), min(1.0, float(centre + reach))


def _p_advantage(guessed: _Guessed) -> float:
    """Exact one-sided p of so large an advantage, had training and holdout people been exchanged within the strata.

    Given all hits in a stratum, those of training people are hypergeometric. The advantage grows with their number in
    each stratum, by so much a hit; the second stratum's hits that it takes are counted for each number in the first.
    """
    steps, counts, laws = [], [], []
    for s, weight in enumerate(_weights(guessed.strata)):
        one, other = (hits[strata == s] for hits, strata in zip(guessed.hits, guessed.strata, strict=True))
        steps.append(weight * (1 / len(one) + 1 / len(other)))
        counts.append(int(one.sum()))
        laws.append(hypergeom(len(one) + len(other), int(one.sum() + other.sum()), len(one)))
    if len(laws) == 1:
        return float(laws[0].sf(counts[0] - 1))
    first = np.arange(int(laws[0].support()[0]), int(laws[0].support()[1]) + 1)
    needed = counts[1] + (counts[0] - first) * steps[0] / steps[1]
    return float(laws[0].pmf(first) @ laws[1].sf(np.ceil(needed - 1e-9) - 1))


def _hits_metric(guessed: _Guessed, tests: int, rng: np.random.Generator) -> Metric:
    n = min(len(each) for each in guessed.hits)
    low, high = _interval(guessed)
    p = _p_advantage(guessed)
    if p < LEVEL / tests:
        verdict = LEAKAGE
    else:
        verdict = TOO_FEW if n < LEAST_N or _detectable(guessed, tests) > TELLING else NO_EVIDENCE
    name, floor = f"attribute_{guessed.name}_advantage", _floor(guessed, rng)
    value = _advantage(guessed)
    return Metric("privacy", name, value, low, high, "lower", floor, n, verdict, _FLOOR_OF, p_value=p)


def _errors_metric(guessed: _Guessed, tests: int, rng: np.random.Generator) -> Metric:
    """Mean absolute error of holdout less training people, with Welch's interval and test."""
    one, other = guessed.errors
    n = min(len(one), len(other))
    value = float(other.mean() - one.mean())
    variance = one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)
    if variance > 0:
        test = ttest_ind(other, one, equal_var=False)
        low, high = test.confidence_interval()
        p = test.pvalue / 2 if value > 0 else 1 - test.pvalue / 2
    else:
        low, high, p = value, value, float(value <= 0)
    detectable = (norm.isf(LEVEL / tests) + norm.ppf(POWER)) * np.sqrt(variance)
    few = n < LEAST_N or detectable > 2 * TELLING * other.mean()
    verdict = LEAKAGE if p < LEVEL / tests else TOO_FEW if few else NO_EVIDENCE
    halves = [np.array_split(rng.permutation(other), 2) for _ in range(HALVINGS)]
    floor = float(np.mean([b.mean() - a.mean() for a, b in halves]))
    name = "attribute_age_error_advantage_years"
    ends = float(low), float(high)
    return Metric("privacy", name, value, *ends, "lower", floor, n, verdict, _FLOOR_OF, p_value=float(p))


def _floor(guessed: _Guessed, rng: np.random.Generator) -> float:
    """The advantage between halves of the holdout, each stratum halved at random."""
    hits, strata = guessed.hits[1], guessed.strata[1]
    found = []
    for _ in range(HALVINGS):
        found.append(0.0)
        for s, weight in enumerate(_weights(guessed.strata)):
            one, other = np.array_split(rng.permutation(hits[strata == s]), 2)
            found[-1] += weight * (one.mean() - other.mean())
    return float(np.mean(found))


def _detectable(guessed: _Guessed, tests: int) -> float:
    """As `detectable_advantage`, at the holdout's rates drawn a little to the middle, where none is certain."""
    hits, strata = guessed.hits[1], guessed.strata[1]
    inside = [hits[strata == s] for s in range(len(_weights(guessed.strata)))]
    rates = np.array([(each.sum() + 1) / (len(each) + 2) for each in inside])
    return detectable_advantage(guessed.strata, rates, tests=tests)


def _in_words(guessed: _Guessed, tests: int) -> str:
    weights = _weights(guessed.strata)
    one, other = (_rate(*each, weights) for each in zip(guessed.hits, guessed.strata, strict=True))
    what = f"within {YEARS:g} years" if guessed.errors else "right (those with and without it counting alike)"
    risk = f" (risk {max(0.0, (one - other) / (1 - other)):.2f})" if other < 1 else ""
    return (
        f"Attributes ({guessed.name}): guessed {what} for {one:.0%} of {len(guessed.hits[0])} training and {other:.0%} "
        f"of {len(guessed.hits[1])} holdout people{risk}; with {POWER:.0%} probability a surplus of "
        f"{_detectable(guessed, tests):.0%} would have been found."
    )


def _check(
    shapes: tuple[BeatShapes, BeatShapes, BeatShapes],
    sets: tuple[ECGSet, ECGSet, ECGSet],
    apart: tuple[np.ndarray, np.ndarray] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """The distances, of (synthetic, train) and (synthetic, holdout)."""
    train, holdout, synthetic = shapes
    shared = set(train.patient_id) & set(holdout.patient_id)
    if shared:
        raise EvaluationError(f"{len(shared)} patients are in both train and holdout; split by patient first")
    for name, each, ecgs in zip(("train", "holdout", "synthetic"), shapes, sets, strict=True):
        if len(each.rows) + each.no_beat != len(ecgs):
            raise EvaluationError(
                f"{name} has beats of {len(each.rows) + each.no_beat} ECGs for a set of {len(ecgs)}; give those of it"
            )
    if apart is None:
        return distances(synthetic.shapes, train.shapes), distances(synthetic.shapes, holdout.shapes)
    for name, known, real in zip(("train", "holdout"), apart, (train, holdout), strict=True):
        needed = (len(synthetic.rows), len(real.rows))
        if known.shape != needed:
            raise EvaluationError(f"apart: distances to {name} have shape {known.shape}; these beats need {needed}")
    return apart
