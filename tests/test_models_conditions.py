"""Conditions on sex, age and heart rate: who is drawn, and never one person's own numbers."""

import json

import numpy as np
import pytest

from ecgveil.errors import ConfigError, RecordError
from ecgveil.models.conditions import LEAST_ALIKE, Conditions
from ecgveil.models.vitals import Density
from ecgveil.people import by_person
from ecgveil.rhythm import LabelledRhythm, RatePlace


def people(n=400, seed=0):
    """MI in half, old; the others young; the older the slower. Nine are of unknown sex, and of unknown age."""
    rng = np.random.default_rng(seed)
    old = np.arange(n) % 4 < 2
    sex = ["female" if i % 2 else "male" for i in range(n)]
    age = np.where(old, 70, 45) + rng.normal(0, 8, n).round()
    rate = 100 - 0.4 * age + rng.normal(0, 4, n)
    sex[:9], age[:9] = [""] * 9, np.nan
    labels = [("MI",) if each else () for each in old]
    return labels, [f"p{i}" for i in range(n)], {"sex": sex, "age": age, "heart_rate": rate}


LABELS, PATIENTS, TRAITS = people()
LIVES = Conditions.fit(LABELS, PATIENTS, ["MI"], TRAITS)
ALONE = Conditions(["MI", "CD"], [["MI"], ["MI", "CD"]], [20, 8])  # labels alone


def drawn_from(conditions, n=2000):
    return [conditions.shown(conditions.draw(np.random.default_rng([3, k]))) for k in range(n)]


def test_a_condition_holds_sex_age_and_heart_rate():
    assert (LIVES.size, LIVES.learns) == (6, ("sex", "age", "heart_rate"))
    encoded = LIVES.encode(LABELS, TRAITS)
    assert encoded.shape == (400, 6)
    assert encoded[0, 1:4].tolist() == [0, 0, 0]  # sex and age unknown
    assert (encoded[:, 5] == 1).all()
    assert encoded[9:, 2].mean() == pytest.approx(0, abs=0.05)
    assert encoded[9:, 2].std() == pytest.approx(1, abs=0.05)
    shown = LIVES.shown(encoded[10])
    assert (shown.labels, shown.sex, shown.age) == (LABELS[10], "male", TRAITS["age"][10])
    assert shown.heart_rate == pytest.approx(TRAITS["heart_rate"][10], abs=0.01)
    unknown = LIVES.shown(LIVES.encode([("MI",)])[0])
    assert (unknown.labels, unknown.sex) == (("MI",), "")
    assert np.isnan([unknown.age, unknown.heart_rate]).all()
    assert Conditions.from_json(json.loads(json.dumps(LIVES.to_json()))) == LIVES


def test_people_are_drawn_as_the_population_has_them():
    drawn = drawn_from(LIVES)
    for label in ((), ("MI",)):
        mine = np.array([(each.age, each.heart_rate) for each in drawn if each.labels == label])
        own = [i for i in range(9, 400) if LABELS[i] == label]
        real = np.stack([TRAITS["age"][own], TRAITS["heart_rate"][own]], axis=1)
        assert mine.mean(axis=0) == pytest.approx(real.mean(axis=0), abs=1.5)
        assert np.corrcoef(mine.T)[0, 1] < -0.3  # the older the slower, as in people
        assert (mine[:, 0] % 1 == 0).all()
    assert {each.sex for each in drawn} == {"female", "male"}  # nobody of unknown sex
    assert np.mean([each.labels == ("MI",) for each in drawn]) == pytest.approx(0.5, abs=0.04)


def test_the_odd_person_of_many_windows_shapes_no_density():
    """One of 99 years with a rate of 170 in 300 windows; drawn is nothing near, and no bound is anyone's own."""
    labels, patients, traits = people()
    labels, patients = labels + [("MI",)] * 300, patients + ["odd"] * 300
    traits = {
        "sex": traits["sex"] + ["female"] * 300,
        "age": np.append(traits["age"], [99.0] * 300),
        "heart_rate": np.append(traits["heart_rate"], [170.0] * 300),
    }
    fitted = Conditions.fit(labels, patients, ["MI"], traits)
    drawn = drawn_from(fitted)
    assert max(each.age for each in drawn) < 95
    assert max(each.heart_rate for each in drawn) < 120
    for density in fitted.densities:
        assert not set(density.low + density.high) & set(traits["heart_rate"])


def test_few_people_have_no_density_of_their_own():
    age = np.r_[np.linspace(20, 80, 40), np.full(8, 50.0)]
    fitted = Conditions.fit([("A",)] * 40 + [("B",)] * 8, [f"p{i}" for i in range(48)], ["A", "B"], {"age": age})
    assert fitted.combinations == [["A"], ["B"]]
    assert fitted.densities[0] != fitted.densities[1]
    assert fitted.densities[1].covariance[0][0] > 100  # the eight who are all 50 are drawn as all people are


def test_a_rare_combination_has_the_ages_of_those_who_bear_its_most_telling_label():
    """Of A and C six people, of C 16 others who are old; A alone tells no age."""
    age = np.r_[np.linspace(20, 80, 40), np.linspace(80, 90, 16), np.linspace(80, 90, 6)]
    labels = [("A",)] * 40 + [("C",)] * 16 + [("A", "C")] * 6
    fitted = Conditions.fit(labels, [f"p{i}" for i in range(62)], ["A", "C"], {"age": age})
    rare = fitted.densities[fitted.combinations.index(["A", "C"])]
    assert rare.mean[0] == pytest.approx(85)
    assert min(each.age for each in drawn_from(fitted.bearing(["A", "C"]))) >= 80


def test_no_bound_of_age_is_the_oldest_persons():
    ages = np.linspace(18, 90, 25)
    density = Conditions.fit([()] * 25, [f"p{i}" for i in range(25)], [], {"age": ages}).densities[0]
    assert 18 + 3 < density.low[0] < density.high[0] < 90 - 3


def test_groups_of_few_people_are_never_drawn():
    others = [i for i in range(400) if LABELS[i] == () or TRAITS["sex"][i] != "male"]
    rows = others + [i for i in range(400) if i not in others][: LEAST_ALIKE - 1]
    kept = {name: [value[i] for i in rows] for name, value in TRAITS.items()}
    fitted = Conditions.fit([LABELS[i] for i in rows], [PATIENTS[i] for i in rows], ["MI"], kept)
    assert (["MI"], "male") not in list(zip(fitted.combinations, fitted.sexes, strict=True))
    with pytest.raises(ConfigError, match=r"MI \+ male was borne by fewer than 5 .* is .*MI \+ female"):
        fitted.bearing(["MI"], "male")


def test_what_is_known_of_few_people_is_refused():
    traits = {**TRAITS, "age": np.where(np.arange(400) < 391, np.nan, 50.0)}
    with pytest.raises(RecordError, match="age and heart_rate of data.conditions can be told of 9 patients .* 10 are"):
        Conditions.fit(LABELS, PATIENTS, ["MI"], traits)
    with pytest.raises(RecordError, match="no combination of data.labels and a known sex is shared by 5 patients"):
        Conditions.fit(LABELS, PATIENTS, ["MI"], {"sex": ["female"] * 4 + [""] * 396})
    with pytest.raises(RecordError, match="no training record names a sex.* leave it out"):
        Conditions.fit(LABELS, PATIENTS, ["MI"], {"sex": [""] * 400})


def test_what_is_asked_for_is_drawn():
    asked = drawn_from(LIVES.bearing(["MI"], "female", {"age": (60, 64), "heart_rate": (70, 75.5)}), 300)
    assert {(each.labels, each.sex) for each in asked} == {(("MI",), "female")}
    assert {each.age for each in asked} == {60, 61, 62, 63, 64}
    rates = np.array([each.heart_rate for each in asked])
    assert 70 <= rates.min() < 71
    assert 74.5 < rates.max() <= 75.5
    assert {each.age for each in drawn_from(LIVES.bearing([], None, {"age": (63, 63)}), 50)} == {63}
    assert LIVES.bearing(["MI"]).encode(LABELS, TRAITS).tolist() == LIVES.encode(LABELS, TRAITS).tolist()


def test_a_range_picks_the_labels_that_go_with_it():
    picked = drawn_from(LIVES.bearing([], None, {"age": (55, 60)}), 1000)
    there = (TRAITS["age"] >= 55) & (TRAITS["age"] <= 60)
    real = np.array([label == ("MI",) for label in LABELS])[there].mean()
    assert np.mean([each.labels == ("MI",) for each in picked]) == pytest.approx(real, abs=0.12)


def test_what_nobody_shows_or_nobody_learned_is_refused():
    with pytest.raises(ConfigError, match=r"age 96 to 99 is beyond .* reach over age \d+ to \d+ and heart rate"):
        LIVES.bearing([], None, {"age": (96, 99)})
    with pytest.raises(ConfigError, match="sex is nothing that the run has learned; fit a recipe with 'sex' in"):
        ALONE.bearing([], "male")
    with pytest.raises(ConfigError, match="heart rate is nothing that the run has learned"):
        ALONE.bearing([], None, {"heart_rate": (60, 70)})


def test_runs_of_labels_alone_draw_what_they_drew():
    assert Conditions.from_json({"names": ["MI", "CD"], "combinations": [["MI"], ["MI", "CD"]], "counts": [20, 8]})
    share = np.array([20, 8]) / 28
    for k in range(50):
        rng, own = np.random.default_rng(k), np.random.default_rng(k)
        assert ALONE.draw(own).tolist() == [[1, 0], [1, 1]][rng.choice(2, p=share)]
        assert own.random() == rng.random()  # and took no draw more


def test_a_density_keeps_its_shape_when_it_is_cut():
    many = np.random.default_rng(0).multivariate_normal([60, 70], [[100, -40], [-40, 64]], 4000)
    density = Density.fit(["age", "heart_rate"], many)
    young, old = density.within({"age": (0, 60)}), density.within({"age": (61, 200)})
    assert young.mass + old.mass == pytest.approx(density.mass)
    assert density.within({"age": (120, 130)}) is None
    cut = density.within({"heart_rate": (60, 65)})
    drawn = np.array([cut.draw(np.random.default_rng(k)) for k in range(3000)])
    real = many[(many[:, 1] >= 60) & (many[:, 1] <= 65)]
    inside = real[(real[:, 0] >= density.low[0]) & (real[:, 0] <= density.high[0])]
    assert drawn.mean(axis=0) == pytest.approx(inside.mean(axis=0), abs=0.6)
    assert drawn.std(axis=0) == pytest.approx(inside.std(axis=0), abs=0.6)


def test_each_person_counts_once():
    values = np.array([[60.0], [70.0], [50.0], [np.nan]])
    assert by_person(values, ["a", "a", "b", "c"]).tolist() == [[65.0], [50.0]]


def test_a_heart_rate_asked_for_sets_the_rhythm():
    """Fast hearts vary little here: at a rate asked for, the other statistics are those of such hearts."""
    rng = np.random.default_rng(0)
    intervals = [
        mean + (mean - 0.45) * 0.08 * rng.standard_normal(14) for mean in np.tile(np.linspace(0.5, 1.2, 40), 5)
    ]
    rates = np.array([60 / each.mean() for each in intervals])
    conditions = Conditions.fit([()] * 200, [f"p{i}" for i in range(200)], [], {"heart_rate": rates})
    place = RatePlace(conditions.place("heart_rate"), *conditions.scale["heart_rate"])
    fitted = LabelledRhythm.fit(intervals, np.zeros((200, 0)), 0, place)
    assert LabelledRhythm.from_json(json.loads(json.dumps(fitted.to_json()))) == fitted

    def asked(**traits):
        condition = conditions.encode([()], traits)[0]
        drawn = [fitted.draw(np.random.default_rng(k), 10.0, condition)[0] for k in range(150)]
        return [times[(times >= 0) & (times < 10)] for times in drawn]

    for rate in (55, 75, 110):
        means = [np.diff(times).mean() for times in asked(heart_rate=[rate])]
        assert 60 / np.mean(means) == pytest.approx(rate, rel=0.02)
        assert np.std(means) < 0.02
    slow, fast = (np.median([np.diff(times).std() for times in asked(heart_rate=[rate])]) for rate in (55, 110))
    assert slow > 2 * fast
    assert np.std([np.diff(times).mean() for times in asked()]) > 0.12  # not asked for, it is drawn
