from dataclasses import replace

import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.evaluation.consistency import NO_BEATS, beat_variation, consistency_metrics, repeat_metrics
from ecgveil.evaluation.fidelity import BEYOND, WITHIN
from ecgveil.evaluation.metric import LEAST_N, TOO_FEW
from ecgveil.evaluation.privacy import BeatShapes, beat_shapes
from ecgveil.measure.beats import r_peaks
from ecgveil.simulate import simulate
from ecgveil.windows import read

FS = 250
PEAKS = np.arange(150, 2400, 200)  # of 75 bpm in 10 s
T = np.arange(-100, 100) / FS
BEAT = np.exp(-((T / 0.02) ** 2)) + 0.3 * np.exp(-(((T - 0.25) / 0.05) ** 2))


def record(seed: int, noise: float = 0.01, qrs: float = 0.0, t: float = 0.0) -> np.ndarray:
    """(2, 2500) mV: beats alike but for noise, and the size of QRS and T of each."""
    rng = np.random.default_rng(seed)
    signal = noise * rng.standard_normal((2, 2500))
    for at in PEAKS:
        gain = 1 + np.where(T < 0.1, qrs, t) * rng.standard_normal((2, 1))
        signal[:, at - 100 : at + 100] += np.array([[1.0], [-0.6]]) * gain * BEAT
    return signal


def variation(*signals: np.ndarray) -> np.ndarray:
    ecgs = ECGSet(np.stack(signals), FS, ("I", "V1"), tuple(map(str, range(len(signals)))))
    return beat_variation(ecgs, [PEAKS] * len(signals))


def test_beats_alike_but_for_noise_vary_by_the_noise_and_others_where_they_do():
    same, noisier, qrs, t = variation(record(0), record(0, 0.05), record(0, qrs=0.2), record(0, t=0.2))
    assert same == pytest.approx([1, 1], abs=0.1)
    assert noisier == pytest.approx([1, 1], abs=0.1)  # a multiple of the noise, whatever that is
    assert qrs[0] > 4
    assert qrs[1] == pytest.approx(1, abs=0.15)
    assert t[1] > 2
    assert t[0] == pytest.approx(1, abs=0.15)


def test_identical_beats_do_not_vary_and_what_is_no_beat_has_no_variation():
    copies, flat = variation(record(0, noise=0), np.zeros((2, 2500)))
    assert copies[0] < 0.7  # T, longer, keeps some drift of the high-pass
    assert np.isnan(flat).all()
    ecgs = ECGSet(record(0)[None], FS, ("I", "V1"), ("a",))
    assert np.isnan(beat_variation(ecgs, [PEAKS[:3]])).all()
    assert beat_variation(ecgs.take([]), []).shape == (0, 2)


def people(*sets):
    return tuple(np.array([f"{i}-{k}" for k in range(len(each))]) for i, each in enumerate(sets))


@pytest.fixture(scope="module")
def hearts():
    return simulate(120, seed=4, fs=250)[0].pick(("I", "II", "V1", "V5"))


def parts(n: int, seed: int = 0) -> list[np.ndarray]:
    return np.array_split(np.random.default_rng(seed).permutation(n), 3)


def test_simulated_hearts_vary_as_each_other_and_copied_or_jumping_beats_do_not(hearts):
    peaks = r_peaks(hearts)
    values, alarms = beat_variation(hearts, peaks), 0
    for seed in range(5):
        sets = [values[part] for part in parts(120, seed)]
        metrics = consistency_metrics(*sets, people(*sets), seed=seed)
        assert [metric.name for metric in metrics] == ["qrs_variation_ks", "t_variation_ks"]
        alarms += sum(metric.verdict == BEYOND for metric in metrics)
    assert alarms <= 1  # of 10
    train, holdout, more = parts(120)
    signal, jumping = hearts.signal.copy(), hearts.signal.copy()
    rng = np.random.default_rng(0)
    for row in more:
        at = peaks[row]
        stretch = hearts.signal[row][:, at[1] : at[2]]
        signal[row] = np.tile(stretch, (1, 2500 // stretch.shape[1] + 1))[:, :2500]
        for beat in at[(at > 20) & (at < 2480)]:
            jumping[row][:, beat - 12 : beat + 13] *= 1 + 0.4 * rng.standard_normal((4, 1))
    for made in (signal, jumping):
        other = replace(hearts, signal=made).take(more)
        sets = [values[train], values[holdout], beat_variation(other, r_peaks(other))]
        assert consistency_metrics(*sets, people(*sets), seed=0)[0].verdict == BEYOND
    few = [values[:60], values[60 : 60 + LEAST_N - 1], values[90:]]
    assert {metric.verdict for metric in consistency_metrics(*few, people(*few), seed=0)} == {TOO_FEW}


def test_records_without_beats_count_as_far_away():
    rng = np.random.default_rng(0)
    real = [rng.lognormal(0.7, 0.5, (40, 2)) for _ in range(3)]
    metrics = consistency_metrics(real[0], real[1], np.full((40, 2), np.nan), people(*real), seed=0)
    assert [(metric.value, metric.verdict) for metric in metrics] == [(1.0, BEYOND)] * 2


# ---- a set that repeats itself


def shapes(values: np.ndarray, patients: np.ndarray | None = None) -> BeatShapes:
    rows = np.arange(len(values))
    return BeatShapes(values, rows, rows.astype(str) if patients is None else patients, 0)


def hearts_of(seed: int, n: int) -> np.ndarray:
    rng = np.random.default_rng([seed, 7])
    return 100 * rng.standard_normal((n, 2, 8)) @ rng.standard_normal((8, 85)).round(1)


def repeats(train, holdout, synthetic, seed=0):
    (metric,) = repeat_metrics(train, holdout, synthetic, seed=seed)
    return metric


def test_people_do_not_repeat_each_other():
    every = hearts_of(0, 300)
    verdicts = [
        repeats(*(shapes(every[part]) for part in parts(300, seed)), seed=seed).verdict for seed in range(12)
    ]  # fmt: skip
    assert verdicts.count(BEYOND) <= 1


def test_one_repeated_ecg_every_ecg_twice_and_a_fifth_of_them_are_told():
    train, holdout, more = np.array_split(hearts_of(0, 300), 3)
    noise = np.random.default_rng(0).standard_normal((100, 2, 85))
    cases = {
        "one": (np.repeat(more[:1], 100, axis=0) + noise, 1.0),
        "twice": (np.concatenate([more[:50], more[:50]]) + noise, 1.0),
        "fifth": (np.concatenate([more[:90], more[:10]]) + noise, 0.2),
    }
    for name, (made, share) in cases.items():
        metric = repeats(shapes(train), shapes(holdout), shapes(made))
        assert metric.verdict == BEYOND, name
        assert metric.value == pytest.approx(share, abs=0.06), name
        assert metric.ci_low <= metric.value <= metric.ci_high
        assert metric.floor < 0.05
        assert metric.n == 100
    assert repeats(shapes(train), shapes(holdout), shapes(more)).verdict == WITHIN


def test_several_records_of_a_patient_are_no_repetition_and_too_few_no_figure():
    train, holdout, more = np.array_split(hearts_of(0, 300), 3)
    twice, patients = np.concatenate([more, more]), np.tile(np.arange(100).astype(str), 2)
    assert repeats(shapes(train), shapes(holdout), shapes(twice, patients)).verdict == WITHIN
    few = repeats(shapes(train), shapes(holdout[: LEAST_N - 1]), shapes(more))
    assert (few.verdict, few.n) == (TOO_FEW, LEAST_N - 1)
    assert repeats(shapes(train), shapes(holdout), shapes(more[:0])).verdict == NO_BEATS


@pytest.mark.data
def test_real_ecgs_vary_as_real_ecgs_do_and_do_not_repeat_each_other(data):
    ecgs, _ = read(data / "ludb")
    peaks = r_peaks(ecgs)
    values, beats = beat_variation(ecgs, peaks), beat_shapes(ecgs, peaks)
    chosen = parts(len(ecgs))
    sets = [values[part] for part in chosen]
    assert {metric.verdict for metric in consistency_metrics(*sets, people(*sets), seed=0)} == {WITHIN}
    assert 1.2 < np.nanmedian(values[:, 0]) < 5
    own = [shapes(beats.shapes[np.isin(beats.rows, part)]) for part in chosen]
    assert repeats(*own).verdict == WITHIN
