from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import wfdb
from scipy.signal import resample_poly

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError
from ecgveil.leads import LEADS_12
from ecgveil.measure.beats import high_pass, iter_beats, median_beat, r_peaks
from ecgveil.simulate import simulate

LUDB = Path(__file__).parents[2] / "shared" / "data" / "ludb" / "data"


def score(found: list[np.ndarray], true: list[np.ndarray], tolerance_s: float) -> tuple[float, float]:
    """Sensitivity and positive predictive value, in seconds; peaks outside the marks do not count."""
    hits = missed = extra = 0
    for at, marks in zip(found, true, strict=True):
        at = at[(at > marks[0] - tolerance_s) & (at < marks[-1] + tolerance_s)]
        apart = np.abs(marks[:, None] - at[None]) if len(at) else np.full((len(marks), 1), np.inf)
        hit = int((apart.min(axis=1) <= tolerance_s).sum())
        hits, missed = hits + hit, missed + len(marks) - hit
        extra += int((apart.min(axis=0) > tolerance_s).sum()) if len(at) else 0
    return hits / (hits + missed), hits / (hits + extra)


@pytest.mark.parametrize("fs", [100, 250, 500, 1000])
def test_peaks_are_those_of_the_simulator(fs):
    ecgs, truth = simulate(30, seed=2, fs=fs)
    true = [row[np.isfinite(row) & (row > 0.1) & (row < 9.9)] for row in truth.r_peak]
    sensitivity, ppv = score([at / fs for at in r_peaks(ecgs)], true, 0.04)
    assert sensitivity > 0.985
    assert ppv > 0.99


def test_peaks_do_not_depend_on_polarity_scale_offset_or_lead_order():
    ecgs, _ = simulate(10, seed=3)
    expected = r_peaks(ecgs)
    for changed in (-ecgs.signal, 0.01 * ecgs.signal, ecgs.signal + 5, ecgs.signal[:, ::-1]):
        found = r_peaks(replace(ecgs, signal=changed))
        assert [len(at) for at in found] == [len(at) for at in expected]
        for one, other in zip(found, expected, strict=True):
            assert np.abs(one - other).max() <= 1


def test_a_delay_moves_the_peaks_by_as_much():
    ecgs, _ = simulate(5, seed=4)
    early = r_peaks(replace(ecgs, signal=ecgs.signal[..., 50:]))
    for one, other in zip(r_peaks(ecgs), early, strict=True):
        inner = [at for at in one if 500 < at < 4500]
        assert max(np.abs(other + 50 - at).min() for at in inner) <= 2


@pytest.mark.parametrize("n_leads", [1, 3, 12])
@pytest.mark.parametrize("fs", [100, 1000])
def test_noise_has_few_beats_or_none(n_leads, fs):
    rng = np.random.default_rng(5)
    white = rng.standard_normal((20, n_leads, 10 * fs))
    for signal in (white, white.cumsum(axis=-1), np.zeros_like(white), np.full_like(white, 3.0)):
        found = r_peaks(ECGSet(signal, fs, LEADS_12[:n_leads], [str(i) for i in range(20)]))
        assert sum(map(len, found)) <= 2


@pytest.mark.parametrize("samples", [0, 1, 10, 499, 1000])
def test_short_records_give_no_error(samples):
    ecgs, _ = simulate(2, seed=6, conditions={"sinus tachycardia": 1})
    short = replace(ecgs, signal=ecgs.signal[..., :samples])
    found = r_peaks(short)
    assert all(len(at) == 0 for at in found) == (samples < 500)
    beats, valid = median_beat(short, found)
    assert np.isfinite(beats).all()
    assert valid.shape == (2,)


def test_an_empty_set_has_no_peaks():
    ecgs, _ = simulate(1, seed=6)
    assert r_peaks(ecgs.take([])) == []


def test_too_low_a_rate_is_an_error():
    with pytest.raises(RecordError, match="50 Hz"):
        r_peaks(ECGSet(np.zeros((1, 1, 500)), 50, ("I",), ("a",)))


def test_the_median_beat_of_equal_beats_is_that_beat():
    time = np.arange(5000) / 500
    peaks = np.arange(250, 4800, 400)
    wave = sum(np.exp(-(((time - at / 500) / 0.01) ** 2)) for at in peaks)
    ecgs = ECGSet(np.stack([[wave, -wave]]), 500, ("I", "II"), ("a",))
    (found,) = r_peaks(ecgs)
    np.testing.assert_array_equal(found, peaks)
    beats, valid = median_beat(ecgs, [found])
    assert beats.shape == (1, 2, 126 + 225)
    assert valid.all()
    assert beats[0, 0].argmax() == 125
    np.testing.assert_allclose(beats[0, 0], -beats[0, 1], atol=1e-6)
    single = high_pass(ecgs.signal, 500)[0, :, 1850 - 125 : 1850 + 226]
    np.testing.assert_allclose(beats[0], single, atol=0.01)


def test_beats_that_reach_over_the_edge_are_not_used():
    ecgs, _ = simulate(1, seed=7)
    (windows,) = iter_beats(ecgs, [np.array([3, 124, 125, 4774, 4775, 4990])])
    assert len(windows) == 2
    beats, valid = median_beat(ecgs, [np.array([3])])
    assert not valid[0]
    assert not beats.any()


@pytest.mark.data
def test_peaks_agree_with_the_cardiologists_marks_of_ludb():
    if not LUDB.is_dir():
        pytest.skip("needs ../shared/data/ludb")
    names = sorted((path.stem for path in LUDB.glob("*.hea")), key=int)[::5]
    signal = np.stack([wfdb.rdrecord(str(LUDB / name)).p_signal.T for name in names])
    marks = []
    for name in names:
        each = [wfdb.rdann(str(LUDB / name), lead.lower()) for lead in LEADS_12]
        every = np.sort(np.concatenate([a.sample[np.array(a.symbol) == "N"] for a in each]))
        groups = np.split(every, np.flatnonzero(np.diff(every) > 75) + 1)
        marks.append(np.array([np.median(group) / 500 for group in groups if len(group) >= 5]))
    for fs in (100, 500):
        ecgs = ECGSet(resample_poly(signal, fs, 500, axis=-1), fs, LEADS_12, names)
        sensitivity, ppv = score([at / fs for at in r_peaks(ecgs)], marks, 0.1)
        assert sensitivity > 0.995
        assert ppv > 0.995
    alone = ECGSet(signal[:, 1:2], 500, ("II",), names)
    sensitivity, ppv = score([at / 500 for at in r_peaks(alone)], marks, 0.1)
    assert min(sensitivity, ppv) > 0.98
