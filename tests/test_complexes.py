"""ECGs taken apart and put together: simulated ones whose parts are known."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.signal import fftconvolve, firwin, welch

from ecgveil.complexes import BANDS, LENGTH, Parts, analyse, readable, synthesis, synthesise
from ecgveil.complexes.encoder import ComplexEncoder
from ecgveil.complexes.parts import BEFORE_S, EDGES_HZ, RATE_HZ, bands_of, electrodes
from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.leads import LEADS_8
from ecgveil.measure.beats import median_beat, r_peaks
from ecgveil.rhythm import plain_statistics

FS, SAMPLES = 500.0, 5000


@pytest.fixture(scope="module")
def eight(clinic):
    ecgs = clinic.pick(LEADS_8)
    return ecgs.take(readable(ecgs)[0].tolist()[:10])


def parts_of(n=1, noise=0.0, leads=LEADS_8):
    """A bump of 1 mV at R in every lead, and equal white noise at every electrode, power per Hz."""
    time = np.arange(LENGTH) / RATE_HZ - BEFORE_S
    complexes = np.broadcast_to(np.exp(-0.5 * (time / 0.015) ** 2), (n, len(leads), LENGTH)).astype(np.float32)
    sensors = electrodes(leads).shape[1]
    return Parts(
        complexes, np.full((n, sensors, BANDS), noise), np.zeros((n, 4, len(leads))), np.zeros((n, 3)), np.zeros((n, 2))
    )


def test_what_is_put_together_has_its_beats_where_they_were_asked_for():
    times = np.array([-0.5, 0.4, 1.3, 2.4, 3.2, 4.3, 5.1, 6.0, 7.2, 8.0, 8.9, 10.2])
    made = synthesise(parts_of(), [times], LEADS_8, FS, SAMPLES, [np.random.default_rng(0)])
    found = r_peaks(ECGSet(made, FS, LEADS_8, ("one",)))[0] / FS
    np.testing.assert_allclose(found, times[1:-1], atol=0.005)
    at = np.rint(times[1:-1] * FS).astype(int)
    np.testing.assert_allclose(made[0][:, at], 1.0, atol=0.02)
    assert np.abs(made[0][:, at + 200]).max() < 0.02


def test_noise_has_the_power_asked_for_and_goes_from_electrodes_to_leads():
    power = 1e-4  # mV2 / Hz
    parts = parts_of(40, power)
    parts = dataclasses.replace(parts, complexes=np.zeros_like(parts.complexes))
    times = [np.arange(-1.0, 12.0)] * 40
    made = synthesise(parts, times, LEADS_8, FS, SAMPLES, [np.random.default_rng(k) for k in range(40)])
    freqs, found = welch(made, FS, nperseg=1000)
    inside = (freqs > 5) & (freqs < 240)
    # I = LA - RA has twice the power of an electrode, V1 its own and a third of one: 1 + 3 / 9.
    assert found[:, 0][:, inside].mean() == pytest.approx(2 * power, rel=0.05)
    assert found[:, 2][:, inside].mean() == pytest.approx(4 / 3 * power, rel=0.05)
    # I and II share the right arm: half of the power of either.
    assert np.corrcoef(made[:, 0].ravel(), made[:, 1].ravel())[0, 1] == pytest.approx(0.5, abs=0.03)


def test_taking_apart_finds_the_complex_and_the_noise():
    rng = np.random.default_rng(1)
    true = parts_of(1, 4e-6)
    times = [np.cumsum(np.r_[-1.2, rng.uniform(0.7, 1.1, 14)])]
    made = synthesise(true, times, LEADS_8, FS, SAMPLES, [rng])
    ecgs = ECGSet(made, FS, LEADS_8, ("one",))
    rows, peaks = readable(ecgs)
    assert rows.tolist() == [0]
    found, refined, _ = analyse(ecgs, peaks)
    inside = refined[0][(refined[0] > 0.2) & (refined[0] < 9.8)]
    nearest = np.abs(inside[:, None] - times[0]).min(axis=1)
    assert nearest.max() < 0.004  # a peak lies on the grid of 2 ms, and noise moves it
    np.testing.assert_allclose(found.complexes[0], true.complexes[0], atol=0.06)
    bands = (EDGES_HZ[:-1] > 5) & (EDGES_HZ[1:] < 125)
    np.testing.assert_allclose(np.median(found.noise[0][:, bands]), 4e-6, rtol=0.2)


@pytest.mark.parametrize(("which", "much"), [(0, 0.1), (1, 0.2), (2, 0.2), (3, 0.5)])
def test_how_beats_vary_is_found_and_noise_is_not_taken_for_it(which, much, monkeypatch):
    monkeypatch.setattr(synthesis, "_HEAVY", 1e6)  # by a normal law, so that a dozen records tell it
    bumps = parts_of(12, 4e-7)
    time = np.arange(LENGTH) / RATE_HZ - BEFORE_S
    waves = ((0.4, 0.3, 0.05), (0.3, -0.15, 0.03))  # T and P: mV, s from R, s wide
    shape = sum(size * np.exp(-0.5 * ((time - at) / sd) ** 2) for size, at, sd in waves)
    varied = np.zeros_like(bumps.variation)
    varied[:, which] = much
    true = dataclasses.replace(bumps, complexes=bumps.complexes + shape.astype(np.float32), variation=varied)
    times = [np.cumsum(np.r_[-1.2, np.full(16, 0.8)]) for _ in range(12)]
    made = synthesise(true, times, LEADS_8, FS, SAMPLES, [np.random.default_rng(k) for k in range(12)])
    ecgs = ECGSet(made, FS, LEADS_8, tuple(map(str, range(12))))
    found, *_ = analyse(ecgs, readable(ecgs)[1])
    typical = np.sqrt((found.variation**2).mean(axis=(0, 2)))
    assert typical[which] == pytest.approx(much, rel=0.3)
    others = np.delete(typical / [0.1, 0.2, 0.2, 0.5], which)
    assert others.max() < 0.3
    assert found.common.max() < much / 2  # each lead by itself
    if which < 3:
        common = np.zeros_like(true.common)
        common[:, which] = much
        true = dataclasses.replace(true, common=common)
        made = synthesise(true, times, LEADS_8, FS, SAMPLES, [np.random.default_rng(k) for k in range(12)])
        ecgs = ECGSet(made, FS, LEADS_8, tuple(map(str, range(12))))
        found, *_ = analyse(ecgs, readable(ecgs)[1])
        assert np.sqrt((found.common**2).mean(axis=0))[which] == pytest.approx(much, rel=0.3)


def test_a_steady_rhythm_leaves_p_with_its_own_beat_and_the_level_at_0():
    time = np.arange(LENGTH) / RATE_HZ - BEFORE_S
    shape = sum(
        size * np.exp(-0.5 * ((time - at) / sd) ** 2) for size, at, sd in ((0.6, 0.3, 0.05), (0.15, -0.15, 0.025))
    )
    bumps = parts_of(1, 4e-7)
    true = dataclasses.replace(bumps, complexes=bumps.complexes + shape.astype(np.float32))
    made = synthesise(true, [np.arange(20) * 0.8 - 2.0], LEADS_8, FS, SAMPLES, [np.random.default_rng(0)])
    ecgs = ECGSet(made, FS, LEADS_8, ("one",))
    found, *_ = analyse(ecgs, readable(ecgs)[1])
    np.testing.assert_allclose(found.complexes[0][:, time < 0.5], true.complexes[0][:, time < 0.5], atol=0.05)


def test_a_complex_holds_less_noise_than_the_mean_of_its_beats():
    rng = np.random.default_rng(2)
    true = parts_of(1, 2e-5)
    times = [np.arange(-1.0, 12.0, 0.9)]
    ecgs = ECGSet(synthesise(true, times, LEADS_8, FS, SAMPLES, [rng]), FS, LEADS_8, ("one",))
    found, *_ = analyse(ecgs, readable(ecgs)[1])
    time = np.arange(LENGTH) / RATE_HZ - BEFORE_S
    quiet = (time > 0.2) & (time < 0.5)
    rough = np.diff(found.complexes[0][:, quiet], 2).std()
    beats = np.stack([ecgs.signal[0][:, int(t * FS) + 100 : int(t * FS) + 250 : 2] for t in times[0][2:11]])
    assert rough < 0.1 * np.diff(beats.mean(axis=0), 2).std()


def test_an_ecg_put_together_from_its_own_parts_has_its_own_beat(eight):
    _, peaks = readable(eight)
    parts, times, _ = analyse(eight, peaks)
    rngs = [np.random.default_rng(k) for k in range(len(eight))]
    made = ECGSet(synthesise(parts, times, LEADS_8, FS, SAMPLES, rngs), FS, LEADS_8, eight.record_name)
    whole = [np.rint(r * FS).astype(int) for r in peaks]
    for one, other in zip(*(median_beat(each, whole)[0] for each in (eight, made)), strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.98


def test_the_encoder_gives_back_what_it_was_given(eight):
    encoder = ComplexEncoder.fit(eight)
    tensor, _ = encoder.encode(eight)
    assert tensor.shape == (len(eight), *encoder.shape)
    assert np.isfinite(tensor).all()
    made = encoder.decode(tensor)
    np.testing.assert_array_equal(made, encoder.decode(tensor))
    np.testing.assert_array_equal(made[3:5], encoder.decode(tensor[3:5]))  # a record depends on its own row alone
    mean_rr = np.exp(plain_statistics(tensor[:, -4:])[:, 0])
    found = [np.diff(r).mean() / FS for r in r_peaks(ECGSet(made, FS, LEADS_8, eight.record_name))]
    np.testing.assert_allclose(found, mean_rr, rtol=0.1)
    again = ComplexEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    np.testing.assert_array_equal(again.decode(tensor), made)


def test_other_leads_stand_for_themselves(clinic):
    assert electrodes(("I", "aVF")).tolist() == [[1, 0], [0, 1]]
    ecgs = clinic.pick(("I", "aVF"))
    ecgs = ecgs.take(ComplexEncoder.readable(ecgs).tolist())
    encoder = ComplexEncoder.fit(ecgs)
    assert encoder.decode(encoder.encode(ecgs)[0]).shape == ecgs.signal.shape


def test_what_has_no_beats_is_told_by_name(eight):
    signal = eight.signal.copy()
    signal[4] = np.random.default_rng(0).normal(0, 0.01, signal[4].shape)
    ecgs = dataclasses.replace(eight, signal=signal)
    assert ComplexEncoder.readable(ecgs).tolist() == [k for k in range(len(eight)) if k != 4]
    with pytest.raises(RecordError, match=f"1 of {len(eight)} .*{eight.record_name[4]}"):
        ComplexEncoder.fit(ecgs)


def test_another_form_is_refused(eight):
    encoder = ComplexEncoder.fit(eight)
    with pytest.raises(ConfigError, match="4000"):
        encoder.encode(dataclasses.replace(eight, signal=eight.signal[:, :, :4000]))


@pytest.mark.parametrize("fs", [100.0, 200.0, 257.0, 500.0, 1000.0])
def test_a_complex_is_the_same_at_any_rate(fs):
    times = [np.cumsum(np.r_[-1.1, np.random.default_rng(3).uniform(0.75, 1.0, 14)])]
    wide = parts_of(1, 1e-7)
    time = np.arange(LENGTH) / RATE_HZ - BEFORE_S
    wide.complexes[...] = np.exp(-0.5 * (time / 0.03) ** 2) + 0.3 * np.exp(-0.5 * ((time - 0.3) / 0.05) ** 2)
    made = synthesise(wide, times, LEADS_8, fs, int(10 * fs), [np.random.default_rng(0)])
    ecgs = ECGSet(made, fs, LEADS_8, ("one",))
    found, *_ = analyse(ecgs, readable(ecgs)[1])
    middle = slice(20, LENGTH - 30)
    np.testing.assert_allclose(found.complexes[0][:, middle], wide.complexes[0][:, middle], atol=0.05)
    again = ComplexEncoder.fit(ecgs)
    assert again.decode(again.encode(ecgs)[0]).shape == made.shape


def test_what_was_filtered_away_stays_away(eight):
    drift = np.linspace(0, 0.5, SAMPLES)  # that ends elsewhere than it began: a jump to a Fourier transform
    low = firwin(401, 40, fs=FS)
    signal = fftconvolve(eight.signal, low[None, None], mode="same", axes=2) + drift
    ecgs = dataclasses.replace(eight, signal=signal.astype(np.float32))
    encoder = ComplexEncoder.fit(ecgs)
    made = encoder.decode(encoder.encode(ecgs)[0])
    freqs, real = welch(ecgs.signal[:, :, 300:-300], FS, nperseg=1000)
    _, found = welch(made[:, :, 300:-300], FS, nperseg=1000)
    for band in ((60, 100), (130, 200), (200, 245)):
        inside = (freqs > band[0]) & (freqs < band[1])
        level = real[:, :, (freqs > 5) & (freqs < 30)].mean()
        assert np.median(found[:, :, inside]) < max(5 * np.median(real[:, :, inside]), 1e-5 * level)


def test_noise_above_125_hz_is_measured():
    times = [np.arange(-1.0, 12.0, 0.9)]
    hiss = np.random.default_rng(0).normal(0, 0.02, (1, 8, SAMPLES))
    high = firwin(401, 160, fs=FS, pass_zero=False)
    made = synthesise(parts_of(1, 1e-7), times, LEADS_8, FS, SAMPLES, [np.random.default_rng(0)])
    ecgs = ECGSet(made + fftconvolve(hiss, high[None, None], mode="same", axes=2), FS, LEADS_8, ("one",))
    encoder = ComplexEncoder.fit(ecgs)
    freqs, real = welch(ecgs.signal, FS, nperseg=500)
    _, found = welch(encoder.decode(encoder.encode(ecgs)[0]), FS, nperseg=500)
    inside = (freqs > 205) & (freqs < 240)
    np.testing.assert_allclose(found[0][:, inside].mean(axis=1), real[0][:, inside].mean(axis=1), rtol=0.35)


def test_the_last_bit_of_a_network_changes_no_beat(eight):
    encoder = ComplexEncoder.fit(eight)
    tensor, _ = encoder.encode(eight)
    other = tensor.copy()
    other[:, :-4] = np.nextafter(other[:, :-4], np.inf)
    np.testing.assert_allclose(encoder.decode(other), encoder.decode(tensor), atol=1e-4)


def test_no_record_is_noisier_for_its_beats_than_the_limit(eight):
    encoder = ComplexEncoder.fit(eight)
    loudness = encoder._loudness(encoder._taken(eight).parts)
    loudest, encoder.loudest_ = int(loudness.argmax()), float(loudness.max())
    tensor = np.repeat(encoder.encode(eight)[0][[loudest]], 3, axis=0)
    log_power = slice(8 * LENGTH, 8 * LENGTH + electrodes(LEADS_8).shape[1] * bands_of(FS))
    tensor[:, log_power] += np.array([[0.0], [0.2], [0.4]]) / np.array(encoder.sd_)[: log_power.stop - log_power.start]
    as_loud = encoder.decode(tensor)
    np.testing.assert_allclose(as_loud[1:], as_loud[:2], atol=1e-3)
    of_before = ComplexEncoder.from_json(
        {"complexes": {key: each for key, each in encoder.to_json()["complexes"].items() if key != "loudest_"}}
    )
    assert (of_before.decode(tensor).std(axis=(1, 2)) > as_loud.std(axis=(1, 2))).all()


def test_a_lead_that_is_flat_in_some_records_is_as_large_as_it_was_in_the_others(eight):
    signal = eight.signal.copy()
    signal[:3, 5] = 0
    some = dataclasses.replace(eight, signal=signal)
    known, found = ComplexEncoder.fit(eight), ComplexEncoder.fit(some)
    others = np.log(eight.signal[3:, 5].std(axis=1)).mean()
    assert found.scale_[5] == pytest.approx(np.exp(others))
    assert found.scale_[:5] == pytest.approx(known.scale_[:5])
    made = found.decode(found.encode(some)[0])
    assert np.abs(made[:3, 5]).max() < 0.2  # no electrode is without any noise
    assert np.ptp(made[3:, 5], axis=1) == pytest.approx(np.ptp(eight.signal[3:, 5], axis=1), rel=0.4)


def test_absurd_numbers_make_finite_ecgs(eight):
    encoder = ComplexEncoder.fit(eight)
    tensor, _ = encoder.encode(eight)
    tensor[:, 8 * LENGTH : -4] = 1e6
    assert np.isfinite(encoder.decode(tensor)).all()


def test_no_beat_in_reach_is_noise_alone_and_one_beat_is_drawn():
    beating = parts_of(2)
    still = dataclasses.replace(beating, complexes=np.zeros_like(beating.complexes))
    made, noise = (
        synthesise(
            parts,
            [np.array([20.0]), np.array([5.0])],
            LEADS_8,
            FS,
            SAMPLES,
            [np.random.default_rng(k) for k in range(2)],
        )
        for parts in (beating, still)
    )
    assert np.isfinite(made).all()
    np.testing.assert_array_equal(made[0], noise[0])
    assert np.abs(made[0]).max() < 2e-4  # power of 1e-12 at each electrode, which keeps its logarithm finite
    assert made[1, :, 2500] == pytest.approx(np.ones(8), abs=0.02)


def test_an_encoder_of_another_make_is_refused(eight):
    saved = ComplexEncoder.fit(eight).to_json()
    saved["complexes"]["mean_"] = saved["complexes"]["mean_"][:-3]
    with pytest.raises(RunError, match=r"has 187 numbers, not 190: an older one; fit again"):
        ComplexEncoder.from_json(saved)


def test_qt_goes_with_the_heart_rate():
    parts = parts_of(2)
    time = np.arange(LENGTH) / RATE_HZ - BEFORE_S
    parts.complexes[...] += 0.3 * np.exp(-0.5 * ((time - 0.3) / 0.04) ** 2)
    times = [np.arange(-1.0, 12.0, rr) for rr in (0.8, 1.2)]
    made = synthesise(parts, times, LEADS_8, FS, SAMPLES, [np.random.default_rng(0)] * 2)
    peaks = [
        at + 0.1 + made[k, 0, int((at + 0.1) * FS) : int((at + 0.6) * FS)].argmax() / FS - at
        for k, at in enumerate((2.2, 2.6))
    ]
    assert peaks[0] == pytest.approx(0.3, abs=0.003)
    assert peaks[1] == pytest.approx(0.1 + 0.2 * 1.5**0.35, abs=0.003)
