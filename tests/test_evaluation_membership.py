from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import membership as m
from ecgveil.evaluation.distribution import clinical_features
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.evaluation.privacy import BeatShapes, beat_shapes
from ecgveil.measure import measure
from ecgveil.measure.beats import r_peaks
from ecgveil.simulate import simulate_records
from ecgveil.windows import read

RECORD_ATTACKS = ("gan_leaks", "monte_carlo", "domias")


def people(values: np.ndarray, prefix: str) -> BeatShapes:
    """Points (n, d < 9) as shapes: too short for shifts, so that distances are Euclidean but for a factor."""
    names = np.array([f"{prefix}{i}" for i in range(len(values))])
    return BeatShapes(values[:, None, :], np.arange(len(values)), names, 0)


def crowd(n: int, rng: np.random.Generator) -> np.ndarray:
    return 100 * rng.standard_normal((n, 6))


def sets(n: int, seed: int, copied: int = 0) -> tuple[BeatShapes, BeatShapes, BeatShapes]:
    """Train, holdout and synthetic people, of the synthetic ones `copied` training people with a little noise."""
    rng = np.random.default_rng(seed)
    train, holdout, synthetic = (crowd(n, rng) for _ in range(3))
    synthetic[:copied] = train[:copied] + rng.standard_normal((copied, 6))
    return people(train, "t"), people(holdout, "h"), people(synthetic, "s")


def shapes_of(ecgs: ECGSet) -> BeatShapes:
    return beat_shapes(ecgs, r_peaks(ecgs))


def by_name(metrics: list) -> dict:
    return {metric.name: metric for metric in metrics}


def noisy(ecgs: ECGSet, seed: int) -> ECGSet:
    noise = np.random.default_rng(seed).normal(0, 0.03, ecgs.signal.shape)
    return replace(ecgs, signal=ecgs.signal + noise, record_name=[f"s{i}" for i in range(len(ecgs))], patient_id=())


@pytest.fixture(scope="module")
def hearts() -> dict[str, ECGSet]:
    """Simulated: train, holdout and unrelated people, and of the first two another visit."""
    numbers = np.arange(180)
    first, _ = simulate_records(numbers, np.zeros(180, int), seed=11)
    again, _ = simulate_records(numbers[:120], np.ones(120, int), seed=11)
    parts = {"train": range(60), "holdout": range(60, 120), "unrelated": range(120, 180)}
    return {name: first.take(rows) for name, rows in parts.items()} | {"others": again}


def test_nearest_distance_is_calibrated_by_that_to_others():
    scores = m.gan_leaks(np.array([[2.0, 8], [9, 4]]), np.array([[np.inf, 6.0], [6, np.inf]]))
    np.testing.assert_allclose(scores, np.log([6 / 2, 6 / 4]))


def test_monte_carlo_counts_within_the_median_nearest_distance():
    apart = np.array([[1.0, 2, 9, 9], [3, 9, 9, 9], [5, 9, 9, 9]])  # nearest 1, 3, 5: eps is 3
    np.testing.assert_allclose(m.monte_carlo(apart), [0.5, 0.25, 0])


def test_density_ratio_against_the_plain_formula():
    rng = np.random.default_rng(0)
    tested, synthetic = rng.standard_normal((5, 3)), rng.standard_normal((7, 3))
    expected = []
    for i, x in enumerate(tested):
        near = np.sort(np.linalg.norm(synthetic - x, axis=1))[1]
        beside = np.linalg.norm(np.delete(tested, i, axis=0) - x, axis=1).min()
        expected.append(np.log((2 / 7 / near**3) / (1 / 4 / beside**3)))
    np.testing.assert_allclose(m.density_ratio(tested, synthetic, 2), expected)


def test_density_ratio_finds_where_the_synthetic_are_denser():
    rng = np.random.default_rng(1)
    tested = rng.standard_normal((200, 2))
    ratio = m.density_ratio(tested, 0.5 * rng.standard_normal((400, 2)), 2)
    centre = np.linalg.norm(tested, axis=1) < 1
    assert np.median(ratio[centre]) > 0 > np.median(ratio[~centre])


def test_hits_at_few_false_alarms_against_every_exchange_of_labels():
    """Without ties the p value is the share of all labellings that put at least so many members on top."""
    scores = np.random.default_rng(2).standard_normal(9)
    for n, fpr in ((4, 0.2), (5, 0.25), (3, 0.01)):
        hits = []
        for chosen in combinations(range(9), n):
            members, others = scores[list(chosen)], np.delete(scores, chosen)
            hits.append((members > np.sort(others)[::-1][int(fpr * len(others))]).sum())
        for chosen, found in list(zip(combinations(range(9), n), hits, strict=True))[::17]:
            p = m._p_tpr(scores[list(chosen)], np.delete(scores, chosen), fpr)
            assert p == pytest.approx(np.mean(np.array(hits) >= found))


@pytest.mark.parametrize(("n", "tests"), [(40, 1), (150, 9)])
def test_the_smallest_detectable_auc_is_found_four_times_in_five(n, tests):
    area, rng = m.detectable_auc(n, tests=tests), np.random.default_rng(3)
    shift = np.sqrt(2) * norm.ppf(area)
    found = [
        mannwhitneyu(rng.normal(shift, 1, n), rng.normal(0, 1, n), alternative="greater").pvalue < 0.025 / tests
        for _ in range(400)
    ]
    assert 0.72 < np.mean(found) < 0.88


def test_the_smallest_detectable_auc_falls_with_n_and_rises_with_tests():
    at = [m.detectable_auc(n) for n in (1, 5, 20, 100, 1000, 10_000)]
    assert at[0] == 1
    assert at == sorted(at, reverse=True)
    assert m.detectable_auc(100, tests=12) > m.detectable_auc(100)
    assert m.detectable_auc(0) == 1


def test_copies_of_training_ecgs_are_leakage_to_every_attack(hearts):
    train, holdout = hearts["train"], hearts["holdout"]
    synthetic = noisy(train, 0)
    clinical = tuple(clinical_features(measure(each))[0] for each in (train, holdout, synthetic))
    critic = (np.linspace(1, 3, 60), np.linspace(0, 1.05, 60))
    metrics = m.membership_metrics(
        shapes_of(train), shapes_of(holdout), shapes_of(synthetic),
        seed=0, clinical=clinical, critic=critic, others=shapes_of(hearts["others"]),
    )  # fmt: skip
    found = by_name(metrics)
    for attack in (*RECORD_ATTACKS, "critic", "linkage"):
        metric = found[f"membership_{attack}_auc"]
        assert metric.value > 0.95, attack
        assert metric.ci_low > 0.85
        assert (metric.verdict, metric.n, metric.target) == (m.LEAKAGE, 60, 0.5)
        assert 0.45 < metric.floor < 0.55
    assert found["linkage_ceiling_auc"].verdict == m.SEES
    assert {metric.family for metric in metrics} == {"privacy"}


def test_unrelated_ecgs_are_no_evidence(hearts):
    train, holdout, unrelated = (shapes_of(hearts[name]) for name in ("train", "holdout", "unrelated"))
    found = by_name(m.membership_metrics(train, holdout, unrelated, seed=0, others=shapes_of(hearts["others"])))
    for attack in (*RECORD_ATTACKS, "linkage"):
        metric = found[f"membership_{attack}_auc"]
        assert metric.verdict == m.NO_EVIDENCE
        assert metric.ci_low < 0.5 < metric.ci_high
    assert found["linkage_ceiling_auc"].value > 0.95


def test_holdout_passed_off_as_synthetic_is_no_leakage_of_training():
    train, holdout, _ = sets(60, 4)
    metrics = m.membership_metrics(train, holdout, holdout, seed=0)
    assert m.LEAKAGE not in {metric.verdict for metric in metrics}
    found = [metric for metric in metrics if metric.name.endswith("_auc")]
    assert all(metric.value < 0.1 for metric in found)
    assert {metric.verdict for metric in found} == {m.EXCHANGED}


def test_intervals_hold_chance_where_nothing_leaks_and_none_is_accused():
    inside, accused = dict.fromkeys(RECORD_ATTACKS, 0), 0
    for seed in range(100):
        metrics = m.membership_metrics(*sets(40, 100 + seed), seed=seed)
        found = by_name(metrics)
        for attack in inside:
            metric = found[f"membership_{attack}_auc"]
            inside[attack] += metric.ci_low <= 0.5 <= metric.ci_high
        accused += m.LEAKAGE in {metric.verdict for metric in metrics}
    assert min(inside.values()) >= 90
    assert accused <= 7  # P(more than 7 of 100 | 2.5 %) < 0.5 %


def test_the_fewest_hits_that_count_are_few_enough_and_no_fewer():
    hits = m.least_hits(250, 250, 0.01, tests=6)
    top, rest = np.arange(1000, 1000 + 250), np.arange(250)
    for found in (hits, hits - 1):
        members = np.concatenate([top[:found], rest[: 250 - found] - 1000])
        assert (m._p_tpr(members, rest, 0.01) < m.LEVEL / 6) == (found == hits)


def test_a_few_copied_patients_show_at_few_false_alarms():
    found = by_name(m.membership_metrics(*sets(250, 5, copied=20), seed=0))
    metric = found["membership_gan_leaks_tpr_at_fpr_0.01"]
    assert metric.value >= 20 / 250
    assert metric.verdict == m.LEAKAGE
    assert metric.floor < 0.03
    assert metric.target == 0.01
    assert found["membership_gan_leaks_auc"].verdict == m.NO_EVIDENCE  # what the AUC cannot see


def test_exchanging_members_and_non_members_mirrors_the_auc():
    train, holdout, synthetic = sets(40, 6, copied=15)
    one, other = (
        by_name(m.membership_metrics(*each, synthetic, seed=0)) for each in ((train, holdout), (holdout, train))
    )
    for attack in RECORD_ATTACKS:
        name = f"membership_{attack}_auc"
        assert one[name].value == pytest.approx(1 - other[name].value)
        assert one[name].value > 0.55


def test_the_seed_decides_and_nothing_else():
    rng = np.random.default_rng(7)
    train, holdout, synthetic = (people(crowd(n, rng), name) for n, name in ((70, "t"), (30, "h"), (50, "s")))
    first, again, other = (m.membership_metrics(train, holdout, synthetic, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_equal([vars(x) for x in first], [vars(x) for x in again])
    assert first[0].value != other[0].value  # other members were drawn
    assert first[0].n == 30


def test_a_patient_counts_once():
    train, holdout, synthetic = sets(60, 8)
    twice = replace(train, patient_id=np.array([f"t{i // 2}" for i in range(60)]))
    metrics = m.membership_metrics(twice, holdout, synthetic, seed=0)
    assert {metric.n for metric in metrics} == {30}


def test_few_patients_are_no_comfort():
    metrics = m.membership_metrics(*sets(12, 9), seed=0)
    found = by_name(metrics)
    assert found["membership_gan_leaks_auc"].verdict == TOO_FEW
    beyond = found["membership_gan_leaks_tpr_at_fpr_0.01"]
    assert np.isnan(beyond.value)
    assert beyond.verdict == "cannot tell with n this small: it takes 100 non-members, here are 12"


def test_plain_copies_show_even_in_few_patients():
    found = by_name(m.membership_metrics(*sets(12, 10, copied=12), seed=0))
    assert found["membership_gan_leaks_auc"].verdict == m.LEAKAGE


def test_the_notes_say_what_could_have_been_found():
    metrics = m.membership_metrics(*sets(50, 11), seed=0)
    notes = m.membership_notes(metrics)
    assert f"AUC {m.detectable_auc(50, tests=3):.2f}" in notes[0]
    assert notes[0].startswith("Membership: with 50 patients")
    assert m.membership_notes([]) == []


def test_linkage_that_would_know_nobody_gives_no_all_clear():
    train, holdout, synthetic = sets(80, 12)
    strangers = crowd(160, np.random.default_rng(13))  # as if recordings carried nothing of the person
    others = replace(people(strangers, ""), patient_id=np.concatenate([train.patient_id, holdout.patient_id]))
    found = by_name(m.membership_metrics(train, holdout, synthetic, seed=0, others=others))
    assert found["linkage_ceiling_auc"].verdict == m.BLIND
    assert found["membership_linkage_auc"].verdict == m.LINKAGE_BLIND


def test_a_blind_linkage_gives_no_all_clear_at_few_false_alarms_either():
    rng = np.random.default_rng(16)
    members, non_members, ceiling = rng.standard_normal((3, 120))
    attacks = {"linkage": (members, non_members), "gan_leaks": (members, non_members)}
    found = by_name(m.score_metrics(attacks, seed=0, ceiling=(ceiling[:60], ceiling[60:])))
    assert found["membership_linkage_tpr_at_fpr_0.01"].verdict == m.LINKAGE_BLIND
    assert found["membership_gan_leaks_tpr_at_fpr_0.01"].verdict == m.NO_EVIDENCE


def test_where_a_fifth_would_have_to_be_recognised_no_leakage_found_says_nothing():
    members, non_members = np.random.default_rng(17).standard_normal((2, 100))
    found = by_name(m.score_metrics({f"attack{i}": (members[:12], non_members) for i in range(4)}, seed=0))
    assert m.least_hits(12, 100, 0.01, 8) > 0.2 * 12
    assert found["membership_attack0_tpr_at_fpr_0.01"].verdict == TOO_FEW


def test_linkage_without_other_recordings_of_both_sides_is_not_computed():
    train, holdout, synthetic = sets(30, 14)
    others = people(crowd(10, np.random.default_rng(15)), "t")
    found = by_name(m.membership_metrics(train, holdout, synthetic, seed=0, others=others))
    assert np.isnan(found["membership_linkage_auc"].value)
    assert "cannot be computed" in found["membership_linkage_auc"].verdict


def test_degenerate_sets_are_scored_without_a_warning():
    train, holdout, synthetic = sets(40, 16)
    one = replace(synthetic, shapes=np.repeat(synthetic.shapes[:1], 40, axis=0))
    same = (np.ones(40), np.ones(40))
    missing = tuple(np.full((40, 3), np.nan) for _ in range(3))
    found = by_name(m.membership_metrics(train, holdout, one, seed=0, critic=same, clinical=missing))
    assert found["membership_critic_auc"].value == 0.5
    assert m.LEAKAGE not in {metric.verdict for metric in found.values()}
    exact = by_name(m.membership_metrics(train, holdout, replace(train, patient_id=one.patient_id), seed=0))
    assert exact["membership_domias_auc"].value == 1
    none = replace(synthetic, shapes=synthetic.shapes[:0], rows=synthetic.rows[:0], no_beat=40)
    assert all(np.isnan(metric.value) for metric in m.membership_metrics(train, holdout, none, seed=0))


def test_records_without_a_beat_keep_the_scores_in_step():
    """The critic's scores are of all records of a set; shapes are only of those with a beat."""
    train, holdout, synthetic = sets(30, 17)
    late = replace(train, rows=np.arange(5, 35), no_beat=5)
    scores = (np.concatenate([np.full(5, -9.0), np.ones(30)]), np.zeros(30))
    found = by_name(m.membership_metrics(late, holdout, synthetic, seed=0, critic=scores))
    assert found["membership_critic_auc"].value == 1


def test_what_does_not_fit_is_refused():
    train, holdout, synthetic = sets(20, 18)
    with pytest.raises(EvaluationError, match="20 patients are in both train and holdout"):
        m.membership_metrics(train, train, synthetic, seed=0)
    with pytest.raises(EvaluationError, match="critic has 3 rows for 20 holdout records"):
        m.membership_metrics(train, holdout, synthetic, seed=0, critic=(np.zeros(20), np.zeros(3)))
    rows = (np.zeros((20, 2)), np.zeros((20, 2)), np.zeros((1, 2)))
    with pytest.raises(EvaluationError, match="clinical has 1 rows for 20 synthetic records"):
        m.membership_metrics(train, holdout, synthetic, seed=0, clinical=rows)
    with pytest.raises(EvaluationError, match="scores of holdout are not all finite"):
        m.membership_metrics(train, holdout, synthetic, seed=0, critic=(np.zeros(20), np.full(20, np.nan)))
    both = replace(
        people(np.concatenate([train.shapes[:, 0], holdout.shapes[:, 0]]), ""),
        patient_id=np.concatenate([train.patient_id, holdout.patient_id]),
    )
    with pytest.raises(EvaluationError, match="others: 20 recordings are training records themselves"):
        m.membership_metrics(train, holdout, synthetic, seed=0, others=both)


@pytest.mark.data
def test_real_ecgs_copied_and_not(data):
    ecgs, _ = read(data / "ludb", seconds=10)
    order = np.random.default_rng(19).permutation(len(ecgs))
    train, holdout, unrelated = (ecgs.take(order[i::3]) for i in range(3))
    for synthetic, verdict in ((noisy(train, 20), m.LEAKAGE), (unrelated, m.NO_EVIDENCE)):
        found = by_name(m.membership_metrics(shapes_of(train), shapes_of(holdout), shapes_of(synthetic), seed=0))
        for attack in RECORD_ATTACKS:
            metric = found[f"membership_{attack}_auc"]
            assert metric.verdict == verdict, attack
            assert (metric.value > 0.95) == (verdict == m.LEAKAGE)
