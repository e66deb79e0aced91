from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from ecgveil.ecg import ECGSet, concat
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.choice import judge, judge_by, judge_frechet, mean_ks
from ecgveil.leads import LEADS_8
from ecgveil.simulate import simulate


def made(ecgs, signal):
    """A synthetic set of these signals, in the form of `ecgs`."""
    names = tuple(f"made {k}" for k in range(len(signal)))
    return ECGSet(signal, ecgs.fs, ecgs.leads, names, units=ecgs.units)


def low_passed(signal, fs, hz):
    return sosfiltfilt(butter(4, hz, fs=fs, output="sos"), signal, axis=-1)


@pytest.fixture(scope="module")
def sets():
    """Validation part and others, of a simulated clinic: 8 leads, 125 Hz, 5 s."""
    ecgs, _ = simulate(48, seed=5, seconds=5.0, fs=125.0)
    ecgs = ecgs.pick(LEADS_8)
    return ecgs.take(range(24)), made(ecgs, ecgs.signal[24:])


def test_worse_sets_score_worse(sets):
    validation, real = sets
    noise = np.random.default_rng(0).normal(size=real.signal.shape)
    planted = {
        "real": real.signal,
        "low-passed": low_passed(real.signal, real.fs, 15),
        "shuffled leads": real.signal[:, [3, 1, 4, 0, 2, 7, 5, 6]],
        "one ECG": real.signal[:1] + 0.01 * noise,
        "noise": 0.3 * noise,
    }
    scores = {name: judge(validation, made(real, signal)) for name, signal in planted.items()}
    for parts in scores.values():
        assert all(0 <= value <= 1 for value in parts.values())
        assert parts["score"] == pytest.approx(np.mean([v for name, v in parts.items() if name != "score"]))
    total = {name: parts["score"] for name, parts in scores.items()}
    assert total["real"] < 0.35
    for name in ("low-passed", "shuffled leads"):
        assert total["real"] + 0.1 < total[name] < total["one ECG"] - 0.05
    assert total["one ECG"] + 0.05 < total["noise"]
    assert scores["low-passed"]["spectrum"] > scores["real"]["spectrum"] + 0.2
    assert scores["shuffled leads"]["leads"] > scores["real"]["leads"] + 0.2
    assert scores["one ECG"]["uncovered"] > scores["real"]["uncovered"] + 0.4
    assert scores["noise"]["clinical"] > 0.8
    assert judge(validation, real) == scores["real"]  # drawn anew, the same


def test_parts_depend_on_the_form_alone(sets):
    validation, real = sets
    flat = judge(validation, made(real, 0 * real.signal))  # nothing can be measured in it, and no part is missing
    assert set(flat) == {"score", "clinical", "uncovered", "beats", "spectrum", "leads", "told_apart"}
    assert flat["score"] > 0.9
    one_lead = judge(validation.pick(("I",)), real.pick(("I",)))
    assert set(flat) - set(one_lead) == {"leads"}
    assert one_lead["score"] < 0.4
    in_sd = judge(replace(validation, units="sd"), replace(real, units="sd"))
    assert set(in_sd) == set(flat)
    assert in_sd["score"] < 0.4
    short = [replace(each, signal=each.signal[..., :100]) for each in sets]  # 0.8 s
    assert set(judge(*short)) == {"score", "spectrum", "leads"}


def test_one_ecg_of_each_patient_counts(sets):
    validation, real = sets
    flat = ECGSet(
        np.zeros((40, *validation.signal.shape[1:])), real.fs, real.leads, tuple(f"flat {k}" for k in range(40)),
        patient_id=validation.patient_id[:1] * 40,
    )  # fmt: skip
    short = [replace(each, signal=each.signal[..., :100]) for each in (validation, real, flat)]  # for speed
    spoiled = judge(concat([short[0], short[2]]), short[1])
    assert spoiled["score"] < judge(*short[:2])["score"] + 0.1


def test_worse_sets_are_farther_by_frechet_too(sets):
    validation, real = sets
    noise = np.random.default_rng(0).normal(size=real.signal.shape)
    planted = [real.signal, low_passed(real.signal, real.fs, 10), real.signal[:1] + 0.01 * noise, 0.3 * noise]
    scores = [judge_frechet(validation, made(real, signal)) for signal in planted]
    assert [set(each) for each in scores] == [{"score", "frechet_clinical"}] * 4
    assert all(each["score"] > 1.3 * scores[0]["score"] > 0 for each in scores[1:])
    assert judge_frechet(validation, made(validation, validation.signal))["score"] == pytest.approx(0, abs=1e-6)
    short = [replace(each, signal=each.signal[..., :100]) for each in (validation, real, made(real, 0 * noise))]
    near, far = (judge_frechet(short[0], other) for other in short[1:])
    assert set(near) == {"score", "frechet_spectrum"}
    assert 0 < near["score"] < far["score"] < np.inf  # flat ones have no power at all


def test_judges_by_name(sets):
    validation, real = sets
    short = [replace(each, signal=each.signal[..., :100]) for each in (validation, real)]
    assert judge_by("mix", 3)(*short) == judge(*short, seed=3)
    assert judge_by("frechet", 3)(*short) == judge_frechet(*short, seed=3)
    assert judge_by("class-accuracy", 3) is None


def test_what_cannot_be_judged(sets):
    validation, real = sets
    with pytest.raises(EvaluationError, match="validation has ECGs of 19 patients; a checkpoint is chosen by 20"):
        judge(validation.take(range(19)), real)
    with pytest.raises(EvaluationError, match="synthetic has ECGs of 3 patients"):
        judge(validation, real.take(range(3)))
    with pytest.raises(EvaluationError, match="differ in form"):
        judge(validation, real.pick(("I",)))


def test_columns_that_validation_has_no_value_of_are_left_out():
    real = np.array([[0.0, np.nan], [1.0, np.nan]])
    assert mean_ks(real, np.array([[0.0, 3.0], [1.0, 4.0]])) == 0
    assert mean_ks(real, np.array([[np.nan, 3.0], [np.nan, 4.0]])) == 1  # what synthetic ECGs lack counts
    assert mean_ks(real[:, 1:], real[:, 1:]) == 0
