from dataclasses import replace

import numpy as np
import pytest

from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import EvaluationError
from ecgveil.evaluation import canaries as c
from ecgveil.evaluation.metric import TOO_FEW
from ecgveil.evaluation.privacy import BeatShapes, beat_shapes
from ecgveil.formats.quality import check
from ecgveil.leads import LEADS_8, limb_residual
from ecgveil.measure import measure
from ecgveil.measure.beats import r_peaks
from ecgveil.simulate import simulate

SETTINGS = {"fs": 250, "seconds": 5}


def shapes_of(ecgs: ECGSet) -> BeatShapes:
    return beat_shapes(ecgs, r_peaks(ecgs))


def rows_of(shapes: BeatShapes, rows: np.ndarray) -> BeatShapes:
    return BeatShapes(shapes.shapes[rows], np.arange(len(rows)), shapes.patient_id[rows], 0)


def by_name(metrics: list) -> dict:
    return {metric.name.removeprefix("canary_"): metric for metric in metrics}


@pytest.fixture(scope="module")
def train() -> ECGSet:
    ecgs, _ = simulate(60, seed=21, **SETTINGS)
    return replace(ecgs, age=np.arange(60) + 20, sex=("female", "male") * 30)


@pytest.fixture(scope="module")
def drawn(train) -> tuple[ECGSet, ECGSet]:
    return c.make_canaries(train, 10, seed=4, references=300)


@pytest.fixture(scope="module")
def shapes(drawn, honest) -> tuple[BeatShapes, BeatShapes, BeatShapes]:
    """Of the planted, the references and honest synthetic ECGs."""
    planted, references = map(shapes_of, drawn)
    return planted, references, shapes_of(honest)


@pytest.fixture(scope="module")
def honest() -> ECGSet:
    ecgs, _ = simulate(100, seed=22, **SETTINGS)
    return replace(ecgs, record_name=[f"s{i}" for i in range(100)], patient_id=())


def test_canaries_have_the_form_of_the_training_set(train, drawn):
    planted, references = drawn
    assert (len(planted), len(references)) == (10, 300)
    for each in drawn:
        assert (each.fs, each.leads, each.n_samples, each.units) == (250, train.leads, 1250, "mV")
        assert set(each.sex) <= set(train.sex)
        assert set(each.labels) <= set(train.labels)
        assert set(each.age) <= set(train.age)
    assert planted.record_name[:2] == planted.patient_id[:2] == ("canary-00", "canary-01")
    assert references.patient_id[-1] == "reference-0299"
    assert len(concat([train, planted])) == 70
    assert len(set(planted.patient_id) | set(references.patient_id)) == 310


def test_canaries_pass_inspection_and_have_beats(drawn, shapes):
    for ecgs in drawn:
        assert np.abs(limb_residual(ecgs.signal, ecgs.leads)).max() < 1e-5
        assert not any(check(signal, ecgs.fs, ecgs.leads) for signal in ecgs.signal)
    assert shapes[0].no_beat == shapes[1].no_beat == 0
    table = measure(drawn[0])
    assert table["heart_rate_bpm"].between(45, 95).all()
    assert table["qrs_duration_ms"].notna().all()


def test_canaries_are_odd(train, shapes):
    """Farther from real ECGs than real ECGs are from each other, and no two alike."""
    real, (odd, others, unseen) = shapes_of(train), shapes
    usual = np.median(c.distances(unseen.shapes, real.shapes).min(axis=1))
    assert np.median(c.distances(odd.shapes, real.shapes).min(axis=1)) > 1.5 * usual
    assert c.distances(odd.shapes, others.shapes).min() > usual


def test_canaries_are_reproducible_and_their_number_is_free(train, drawn):
    again, _ = c.make_canaries(train, 10, seed=4, references=1)
    fewer, references = c.make_canaries(train, 3, seed=4, references=8)
    other, _ = c.make_canaries(train, 3, seed=5, references=1)
    np.testing.assert_array_equal(again.signal, drawn[0].signal)
    np.testing.assert_array_equal(fewer.signal, drawn[0].signal[:3])
    np.testing.assert_array_equal(references.signal[:7], drawn[0].signal[3:])
    assert np.abs(other.signal - fewer.signal).max() > 0.1


def test_leads_and_units_of_other_sets(train):
    eight = train.pick(LEADS_8)
    assert c.make_canaries(eight, 2, seed=0, references=2)[0].leads == LEADS_8
    one, _ = c.make_canaries(train.pick(["V5"]), 2, seed=0, references=2)
    assert one.signal.shape == (2, 1, 1250)
    scaled, _ = c.make_canaries(replace(train, units="sd"), 2, seed=0, references=2)
    assert np.abs(limb_residual(scaled.signal, scaled.leads)).max() > 0.1


def test_a_generator_that_learned_nothing_shows_chance(shapes):
    """Any of the candidates could have been planted: all draws of ten of them are repetitions of the null."""
    pool = np.concatenate([c.nearness(each, shapes[2]) for each in shapes[:2]])
    rng, accused, covered, bits = np.random.default_rng(0), 0, 0, []
    for seed in range(100):
        order = rng.permutation(len(pool))
        found = by_name(c.exposure_metrics(pool[order[:10]], pool[order[10:210]], seed=seed))
        accused += any(metric.verdict == c.LEAKAGE for metric in found.values())
        mean = found["exposure_mean_bits"]
        covered += mean.ci_low <= c.CHANCE_BITS <= mean.ci_high
        bits.append(mean.value)
        assert mean.floor == pytest.approx(c.CHANCE_BITS, abs=0.05)
    assert accused <= 5
    assert covered >= 90
    assert np.mean(bits) == pytest.approx(c.CHANCE_BITS, abs=0.15)  # 3 standard errors


def test_honest_ecgs_give_no_evidence(shapes):
    found = by_name(c.canary_metrics(*shapes, seed=0))
    assert {found[name].verdict for name in ("exposure_mean_bits", "first_share")} == {c.NO_EVIDENCE}
    assert found["epsilon_lower"].value < 1


def test_noisy_copies_are_leakage(drawn, shapes, honest):
    noise = np.random.default_rng(1).normal(0, 0.05, drawn[0].signal.shape)
    copies = replace(drawn[0], signal=drawn[0].signal + noise)
    calls = []
    metrics = c.canary_metrics(
        *shapes[:2], shapes_of(concat([honest, copies])), seed=0, progress=lambda *at: calls.append(at)
    )
    found = by_name(metrics)
    assert [metric.verdict for metric in metrics[:3]] == [c.LEAKAGE] * 3
    assert found["exposure_mean_bits"].value == pytest.approx(np.log2(301))
    assert found["first_share"].value == 1
    assert found["epsilon_lower"].value > 3
    assert calls[-1] == (300, 300)


def test_two_of_ten_by_heart_are_leakage(drawn, shapes, honest):
    made = concat([honest, drawn[0].take([2, 7])])
    found = by_name(c.canary_metrics(*shapes[:2], shapes_of(made), seed=0))
    assert found["first_share"].value == 0.2
    assert found["first_share"].verdict == found["exposure_highest_bits"].verdict == c.LEAKAGE


def test_blends_with_canaries_are_leakage(shapes):
    """Nowhere a copy: synthetic beats of which 40 % are a canary's."""
    planted, references, made = shapes
    blended = made.shapes.copy()
    blended[:10] = 0.6 * blended[:10] + 0.4 * planted.shapes
    found = by_name(c.canary_metrics(planted, references, replace(made, shapes=blended), seed=0))
    assert found["exposure_mean_bits"].verdict == c.LEAKAGE


def test_a_generator_that_makes_one_canary_and_nothing_else(shapes):
    planted, references, _ = shapes
    one = rows_of(planted, np.full(50, 3))
    found = by_name(c.canary_metrics(planted, references, one, seed=0))
    assert found["exposure_highest_bits"].value == pytest.approx(np.log2(301))


def test_one_of_ten_by_heart_is_found_with_the_usual_references():
    rng = np.random.default_rng(2)
    planted, references = rng.standard_normal(10), rng.standard_normal(c.REFERENCES)
    planted[4] = -9
    assert by_name(c.exposure_metrics(planted, references, seed=0))["first_share"].verdict == c.LEAKAGE
    assert c.canary_notes(10, c.REFERENCES)[0].startswith("Canaries: 1 of 10 learned by heart would have been found")


def test_ties_count_against_leakage():
    found = by_name(c.exposure_metrics(np.zeros(10), np.zeros(500), seed=0))
    assert found["exposure_mean_bits"].value == 0
    assert found["first_share"].value == 0
    assert found["epsilon_lower"].value == 0


def test_few_canaries_or_references_cannot_tell():
    rng = np.random.default_rng(3)
    planted, references = rng.standard_normal(1) + 3, rng.standard_normal(1000)
    assert by_name(c.exposure_metrics(planted, references, seed=0))["first_share"].verdict == TOO_FEW
    assert "show nothing" in c.canary_notes(2, 3)[0]
    assert c.detectable_share(2, 3) == 1


def test_the_test_by_count_is_exact():
    rng = np.random.default_rng(4)
    scores = rng.random((20000, 12))  # 4 planted, 8 references
    first = (scores[:, :4] < scores[:, 4:].min(axis=1, keepdims=True)).sum(axis=1)
    for count in range(1, 5):
        assert (first >= count).mean() == pytest.approx(c._p_first(count, 4, 8), abs=0.01)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 4.0])
def test_epsilon_is_bounded_from_below(epsilon):
    """Randomised response over each group, the mechanism that reaches the bound: 97.5 % of bounds lie below epsilon."""
    k, others, above, bounds = 20, 25, 0, []
    right = np.exp(epsilon) / (np.exp(epsilon) + others)
    for seed in range(400):
        rng = np.random.default_rng([5, seed])
        references = rng.random(k * others) + 1
        # A group is won by its planted ECG where the mechanism tells the truth; the groups are dealt in the function.
        planted = np.where(rng.random(k) < right, 0.5, 9.0)
        bounds.append(c.epsilon_lower(planted, references, rng))
        above += bounds[-1] > epsilon
    assert above <= 400 * 0.025 + 3 * np.sqrt(400 * 0.025 * 0.975)
    if epsilon == 4:
        assert np.median(bounds) > 2.5


def test_errors(train):
    with pytest.raises(EvaluationError, match="number of canaries is 0"):
        c.make_canaries(train, 0, seed=0)
    short = ECGSet(train.signal[:, :, :300], 250, train.leads, train.record_name)
    with pytest.raises(EvaluationError, match=r"last 1.2 s; canaries need 2 s"):
        c.make_canaries(short, 1, seed=0)
    flat = replace(train, signal=np.zeros_like(train.signal))
    with pytest.raises(EvaluationError, match="none of 60 training ECGs has a whole beat"):
        c.make_canaries(flat, 1, seed=0)


def test_nothing_to_compare(shapes):
    planted, references, _ = shapes
    none = rows_of(planted, np.zeros(0, int))
    for metric in c.canary_metrics(planted, references, none, seed=0):
        assert np.isnan(metric.value)
        assert metric.verdict.startswith("cannot be computed")
