from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import attributes as a
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.evaluation.privacy import BeatShapes, beat_shapes, distances
from ecgveil.measure.beats import r_peaks
from ecgveil.simulate import simulate


def people(points: np.ndarray, prefix: str, sex=(), labels=(), age=None) -> tuple[BeatShapes, ECGSet]:
    """Points (n, d < 9) as shapes, too short for shifts, and the set that carries what is known of them."""
    n = len(points)
    names = tuple(f"{prefix}{i}" for i in range(n))
    age = np.full(n, np.nan) if age is None else age
    ecgs = ECGSet(np.zeros((n, 1, 2)), 500, ("I",), names, labels=labels, age=age, sex=tuple(sex))
    return BeatShapes(points[:, None, :], np.arange(n), np.array(names), 0), ecgs


def sexes(women: np.ndarray) -> list[str]:
    return ["female" if x else "male" for x in women]


def diagnoses(ill: np.ndarray) -> tuple[tuple[str, ...], ...]:
    return tuple(("AF",) if x else () for x in ill)


def population(n: int, prefix: str, rng: np.random.Generator, noise: float = 0.0):
    """Points, with attributes that follow from them (or, by `noise` = 1, have nothing to do with them)."""
    points = 100 * rng.standard_normal((n, 4))
    hidden = (1 - noise) * points / 100 + noise * rng.standard_normal((n, 4))
    sex, ill, age = hidden[:, 0] > 0, hidden[:, 1] > 0.6, 55 + 15 * hidden[:, 2]
    return people(points, prefix, sexes(sex), diagnoses(ill), age)


def attack(train, holdout, synthetic, **more):
    shapes, sets = zip(train, holdout, synthetic, strict=True)
    metrics, notes = a.attribute_metrics(*shapes, sets, **{"seed": 0, **more})
    return {metric.name: metric for metric in metrics}, notes


def copies(of, prefix: str, rng: np.random.Generator, share: float = 1.0):
    """The people of `of` with a little noise, or but for a share of them others, with their attributes."""
    shapes, ecgs = of
    n = len(ecgs)
    others, other_ecgs = population(n, prefix, rng, noise=1)
    copied = np.arange(n) < share * n
    near = shapes.shapes[:, 0] + rng.standard_normal((n, 4))
    points = np.where(copied[:, None], near, others.shapes[:, 0])
    pick = lambda one, other: [x if c else y for c, x, y in zip(copied, one, other, strict=True)]  # noqa: E731
    return people(
        points, prefix, pick(ecgs.sex, other_ecgs.sex), pick(ecgs.labels, other_ecgs.labels),
        np.where(copied, ecgs.age, other_ecgs.age),
    )  # fmt: skip


NAMES = {
    "attribute_sex_advantage",
    "attribute_AF_advantage",
    "attribute_age_advantage",
    "attribute_age_error_advantage_years",
}


def test_attributes_that_ecgs_do_not_show_are_read_off_copies():
    rng = np.random.default_rng(1)
    train, holdout = (population(150, prefix, rng, noise=1) for prefix in "th")
    found, notes = attack(train, holdout, copies(train, "s", rng))
    assert set(found) == NAMES
    for name, metric in found.items():
        assert metric.verdict == a.LEAKAGE, name
        assert metric.ci_low > 0
        assert metric.ci_low < metric.value < metric.ci_high
        assert (metric.family, metric.better, metric.n) == ("privacy", "lower", 150)
    assert 0.35 < found["attribute_sex_advantage"].value < 0.65
    assert abs(found["attribute_sex_advantage"].floor) < 0.05
    assert any("(sex): guessed right" in note and "for 100% of 150 training" in note for note in notes)


def test_copies_of_a_third_are_found_too():
    rng = np.random.default_rng(2)
    train, holdout = (population(400, prefix, rng, noise=1) for prefix in "th")
    found, _ = attack(train, holdout, copies(train, "s", rng, share=0.33))
    assert found["attribute_sex_advantage"].verdict == a.LEAKAGE
    assert found["attribute_age_error_advantage_years"].verdict == a.LEAKAGE


def test_what_the_population_tells_of_anybody_is_no_leak():
    rng = np.random.default_rng(3)
    train, holdout, others = (population(300, prefix, rng) for prefix in "tho")
    found, notes = attack(train, holdout, others)
    assert set(found) == NAMES
    assert {metric.verdict for metric in found.values()} == {a.NO_EVIDENCE}
    share = next(note for note in notes if "(sex)" in note).split("for ")[1].split("%")[0]
    assert int(share) > 75  # right often, and still no leak


def test_no_leak_is_rarely_accused_and_intervals_cover():
    accused, covered = 0, 0
    for seed in range(100):
        rng = np.random.default_rng([4, seed])
        noise = (0.0, 0.5, 1.0)[seed % 3]
        parts = [population(n, prefix, rng, noise) for n, prefix in ((80, "t"), (60, "h"), (80, "s"))]
        found, _ = attack(*parts, seed=seed)
        accused += any(metric.verdict == a.LEAKAGE for metric in found.values())
        covered += sum(metric.ci_low <= 0 <= metric.ci_high for metric in found.values())
    assert accused <= 6
    assert covered >= 370  # of 400, nominally 380


def test_exact_p_is_that_of_all_exchanges():
    hits = (np.array([1, 1, 0, 1, 1], bool), np.array([0, 1, 0, 0], bool))
    strata = (np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1]))
    p = a._p_advantage(a._Guessed("x", hits, strata))
    both, of = np.concatenate(hits), np.concatenate(strata)
    inside = [np.flatnonzero(of == s) for s in (0, 1)]

    def advantage(train: np.ndarray) -> float:
        return np.mean([both[train & (of == s)].mean() - both[~train & (of == s)].mean() for s in (0, 1)])

    observed, values = advantage(np.arange(9) < 5), []
    for masks in product([0, 1], repeat=9):
        train = np.array(masks, bool)
        if train[inside[0]].sum() == 3 and train[inside[1]].sum() == 2:
            values.append(advantage(train))
    assert p == pytest.approx(np.mean(np.array(values) >= observed - 1e-12))


def test_power_is_as_announced():
    strata = (np.repeat([0, 1], 100), np.repeat([0, 1], 100))
    smallest = a.detectable_advantage(strata, np.array([0.6, 0.6]))
    rng, found = np.random.default_rng(5), 0
    for _ in range(200):
        hits = (rng.random(200) < 0.6 + smallest, rng.random(200) < 0.6)
        found += a._p_advantage(a._Guessed("x", hits, strata)) < a.LEVEL
    assert binom.cdf(found, 200, 0.74) > 0.01
    assert binom.sf(found, 200, 0.86) > 0.01


def test_few_people_cannot_tell():
    rng = np.random.default_rng(6)
    parts = [population(26, prefix, rng) for prefix in "ths"]
    found, notes = attack(*parts)
    assert found["attribute_sex_advantage"].verdict == TOO_FEW
    assert "attribute_AF_advantage" not in found
    assert "not tested are AF" in notes[0]


def test_synthetic_ecgs_without_attributes_reveal_none():
    rng = np.random.default_rng(7)
    train, holdout = (population(30, prefix, rng) for prefix in "th")
    assert attack(train, holdout, people(rng.standard_normal((30, 4)), "s")) == (
        {},
        ["Attributes: the synthetic ECGs carry no age, sex or label, so none can be read off those near to a person."],
    )


def test_a_label_of_few_people_is_not_named():
    rng = np.random.default_rng(8)
    train, holdout, made = (population(50, prefix, rng) for prefix in "ths")
    one = replace(train[1], labels=(("a name in a label",), *train[1].labels[1:]))
    _, notes = attack((train[0], one), holdout, made)
    assert "1 borne by fewer than 5 people" in notes[0]
    assert "a name" not in notes[0]


def test_only_what_is_carried_is_tested():
    rng = np.random.default_rng(8)
    train, holdout = (population(50, prefix, rng) for prefix in "th")
    found, notes = attack(train, holdout, people(rng.standard_normal((50, 4)), "s", sexes(rng.random(50) < 0.5)))
    assert set(found) == {"attribute_sex_advantage"}
    assert "not tested are age, AF;" in notes[0]


def test_unknown_values_are_left_out():
    rng = np.random.default_rng(9)
    train, holdout, made = (population(60, prefix, rng) for prefix in "ths")
    age = train[1].age.copy()
    age[:25] = np.nan
    partly = people(train[0].shapes[:, 0], "t", [*train[1].sex[:55], *[""] * 5], train[1].labels, age)
    found, _ = attack(partly, holdout, made)
    assert found["attribute_age_advantage"].n == 35
    assert found["attribute_sex_advantage"].n == 55
    assert found["attribute_AF_advantage"].n == 60


def test_given_distances_and_progress():
    rng = np.random.default_rng(10)
    train, holdout, made = (population(40, prefix, rng) for prefix in "ths")
    apart = tuple(distances(made[0].shapes, each[0].shapes) for each in (train, holdout))
    calls = []
    assert attack(train, holdout, made)[1] == attack(
        train, holdout, made, apart=apart, progress=lambda *at: calls.append(at)
    )[1]  # fmt: skip
    assert calls[-1] == (len(calls), len(calls))


def test_beats_of_noisy_copies_are_near_enough():
    ecgs, _ = simulate(120, seed=5, seconds=5, fs=250)
    rng = np.random.default_rng(11)
    sex = np.array(sexes(rng.random(120) < 0.5))
    form = {"fs": 250, "leads": ecgs.leads}
    parts = {
        "t": ECGSet(ecgs.signal[:60], record_name=[f"t{i}" for i in range(60)], sex=sex[:60], **form),
        "h": ECGSet(ecgs.signal[60:], record_name=[f"h{i}" for i in range(60)], sex=sex[60:], **form),
    }
    noise = rng.normal(0, 0.03, ecgs.signal[:60].shape)
    made = ECGSet(ecgs.signal[:60] + noise, record_name=[f"s{i}" for i in range(60)], sex=sex[:60], **form)
    pairs = [(beat_shapes(each, r_peaks(each)), each) for each in (*parts.values(), made)]
    found, _ = attack(*pairs)
    assert found["attribute_sex_advantage"].verdict == a.LEAKAGE


def test_errors():
    rng = np.random.default_rng(12)
    train, holdout, made = (population(30, prefix, rng) for prefix in "ths")
    with pytest.raises(EvaluationError, match="30 patients are in both train and holdout"):
        attack(train, train, made)
    with pytest.raises(EvaluationError, match=r"distances to train have shape \(2, 3\); these beats need \(30, 30\)"):
        attack(train, holdout, made, apart=(np.zeros((2, 3)), np.zeros((30, 30))))
    with pytest.raises(EvaluationError, match="holdout has beats of 30 ECGs for a set of 29"):
        attack(train, (holdout[0], holdout[1].take(range(29))), made)


def test_many_rare_labels_do_not_fill_the_note():
    rng = np.random.default_rng(13)
    points = rng.standard_normal((40, 4))
    parts = [people(points, prefix, labels=tuple((f"L{i % 15:02d}",) for i in range(40))) for prefix in "ths"]
    found, notes = attack(*parts)
    assert not found
    assert "L07 and 2 more and 5 borne by fewer than 5 people; " in notes[0]
