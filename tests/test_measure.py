from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.signal import resample_poly

from ecgveil.ecg import ECGSet
from ecgveil.formats.inspect import scan
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.measure import measure
from ecgveil.measure.median import NOISY, SUPRAVENTRICULAR, VENTRICULAR, median_beats
from ecgveil.simulate import simulate
from ecgveil.windows import read

DATA = Path(__file__).parents[2] / "shared" / "data"
INTERVALS = ["p_duration_ms", "pr_interval_ms", "qrs_duration_ms", "qt_interval_ms"]
AXES = ["p_axis_deg", "qrs_axis_deg", "t_axis_deg"]


@pytest.fixture(scope="module")
def simulated():
    return simulate(200, seed=1)


@pytest.fixture(scope="module")
def table(simulated):
    return measure(simulated[0])


def known_ecg(r: float, s: float, t: float, fs: float = 500) -> ECGSet:
    """One lead I with R, S (40 ms later) and T (250 ms later) of known heights in mV, one beat a second."""
    time = np.arange(int(10 * fs)) / fs
    signal = np.zeros_like(time)
    for beat in np.arange(0.6, 9.5, 1.0):
        for at, height, width in ((0, r, 0.012), (0.04, s, 0.012), (0.25, t, 0.03)):
            signal += height * np.exp(-(((time - beat - at) / width) ** 2))
    return ECGSet(signal[None, None], fs, ("I",), ("a",))


def test_heart_rate_is_that_of_the_simulator(simulated, table):
    apart = np.abs(table["heart_rate_bpm"] - simulated[1].heart_rate_bpm)
    assert apart.median() < 0.1
    assert apart.max() < 3
    np.testing.assert_allclose(table["heart_rate_bpm"] * table["rr_mean_ms"], 60_000)


@pytest.mark.parametrize("name", INTERVALS)
def test_intervals_are_those_of_the_simulator(simulated, table, name):
    truth = getattr(simulated[1], name)
    measured = table[name].to_numpy()
    assert np.nanmedian(np.abs(measured - truth)) < 6
    assert np.nanpercentile(np.abs(measured - truth), 95) < 20
    assert np.corrcoef(*np.array([measured, truth])[:, np.isfinite(measured + truth)])[0, 1] > 0.7


@pytest.mark.parametrize("name", AXES)
def test_axes_are_those_of_the_simulator(simulated, table, name):
    apart = (table[name].to_numpy() - getattr(simulated[1], name) + 180) % 360 - 180
    assert np.nanmedian(np.abs(apart)) < 3
    assert np.nanpercentile(np.abs(apart), 95) < 15


def test_atrial_fibrillation_has_no_p_and_says_so():
    fibrillating, _ = simulate(30, seed=4, conditions={"atrial fibrillation": 1.0})
    table = measure(fibrillating)
    assert (table["p_present"] == 0).mean() > 0.95
    gone = table["p_present"] == 0
    assert table.loc[gone, ["p_duration_ms", "pr_interval_ms", "p_axis_deg", "p_ii_uv"]].isna().all(axis=None)
    assert table.loc[gone, "reasons"].str.contains("no_p").all()
    assert table["codes"].str.contains("AFIB").mean() > 0.9
    assert not table["codes"].str.contains(r"\bSR\b").any()


def test_ectopic_beats_are_counted_and_kept_out_of_the_median_beat():
    ecgs, truth = simulate(20, seed=6, noise=0.2, conditions={"ventricular ectopic beats": 1.0})
    table = measure(ecgs)
    inside = (truth.r_peak > 0.3) & (truth.r_peak < ecgs.seconds - 0.3)
    true = ((truth.kind == 1) & inside).sum(axis=1)
    assert true.sum() > 10
    assert np.abs(table["n_ventricular"] - true).mean() < 0.4
    assert np.nanmedian(np.abs(table["qrs_duration_ms"] - truth.qrs_duration_ms)) < 8


def test_a_regular_rhythm_has_no_ectopic_beat():
    ecgs, _ = simulate(40, seed=8, conditions={"sinus rhythm": 1.0})
    table = measure(ecgs)
    assert (table[["n_ventricular", "n_supraventricular", "n_noisy"]].sum(axis=1) == 0).mean() > 0.95


@pytest.mark.parametrize("fs", [250, 500, 1000])
@pytest.mark.parametrize(("r", "s", "t"), [(1.0, -0.4, 0.3), (1.5, -0.8, -0.25)])
def test_amplitudes_are_the_known_ones(r, s, t, fs):
    (row,) = measure(known_ecg(r, s, t, fs)).to_dict("records")
    assert row["r_i_uv"] == pytest.approx(1000 * r, abs=40)
    assert row["s_i_uv"] == pytest.approx(1000 * s, abs=40)
    assert row["t_i_uv"] == pytest.approx(1000 * t, abs=40)
    assert row["q_i_uv"] == 0
    assert row["r2_i_uv"] == 0
    assert row["heart_rate_bpm"] == pytest.approx(60, abs=0.1)
    assert row["rr_sd_ms"] == pytest.approx(0, abs=2)


def test_corrected_qt_are_the_formulas(table):
    rr, qt = table["rr_mean_ms"] / 1000, table["qt_interval_ms"]
    np.testing.assert_allclose(table["qtc_bazett_ms"], qt / rr**0.5)
    np.testing.assert_allclose(table["qtc_fridericia_ms"], qt / rr ** (1 / 3))
    np.testing.assert_allclose(table["qtc_framingham_ms"], qt + 154 * (1 - rr))
    np.testing.assert_allclose(table["qtc_hodges_ms"], qt + 1.75 * (table["heart_rate_bpm"] - 60))


def test_twice_the_voltage_is_twice_the_amplitudes_and_nothing_else(simulated, table):
    ecgs = simulated[0]
    doubled = measure(replace(ecgs, signal=2 * ecgs.signal))
    for column in (*INTERVALS, *AXES, "heart_rate_bpm"):
        np.testing.assert_allclose(doubled[column], table[column], atol=0.3)
    for column in ("r_ii_uv", "p_ii_uv", "t_v5_uv", "stj_v5_uv", "limb_residual_uv", "noise_uv"):
        np.testing.assert_allclose(doubled[column], 2 * table[column], rtol=0.01, atol=2)


def test_eight_leads_are_measured_like_the_twelve_they_make(simulated, table):
    fewer = measure(simulated[0].pick(LEADS_8))
    same = [column for column in table if column not in ("reasons", "limb_residual_uv")]
    pd.testing.assert_frame_equal(fewer[same], table[same], atol=0.5)


@pytest.mark.parametrize("fs", [100, 125, 250, 360, 1000])
def test_the_rate_hardly_matters(simulated, table, fs):
    ecgs = simulated[0].take(range(40))
    ratio = {100: (1, 5), 125: (1, 4), 250: (1, 2), 360: (18, 25), 1000: (2, 1)}[fs]
    signal = resample_poly(ecgs.signal, *ratio, axis=-1, padtype="line")
    other = measure(replace(ecgs, signal=signal, fs=fs))
    for column in INTERVALS:
        assert np.nanmedian(np.abs(other[column] - table[column][:40])) < 4
    ratios = other["r_v5_uv"] / table["r_v5_uv"][:40]
    assert abs(ratios.median() - 1) < (0.08 if fs < 200 else 0.02)


@pytest.mark.parametrize("seconds", [5, 30])
def test_the_length_hardly_matters(seconds):
    ecgs, truth = simulate(20, seed=3, seconds=seconds, conditions={"sinus rhythm": 1.0})
    table = measure(ecgs)
    for column in INTERVALS:
        assert np.nanmedian(np.abs(table[column] - getattr(truth, column))) < 8


def test_limb_residual_is_the_swap_that_was_made(simulated, table):
    ecgs = simulated[0]
    assert (table["limb_residual_uv"] < 0.01).all()
    swapped = replace(ecgs, signal=ecgs.signal[:, [1, 0, *range(2, 12)]])
    assert (measure(swapped)["limb_residual_uv"] > 20).mean() > 0.9


def test_noise_is_that_which_was_added():
    ecgs, _ = simulate(5, seed=1, noise=0)
    noise = 0.05 * np.random.default_rng(0).standard_normal(ecgs.signal.shape)
    quiet, noisy = measure(ecgs), measure(replace(ecgs, signal=ecgs.signal + noise))
    assert (quiet["noise_uv"] < 3).all()
    np.testing.assert_allclose(noisy["noise_uv"], 50 / np.sqrt(2), rtol=0.25)  # half of it lies above 125 Hz


def test_one_row_for_each_ecg_with_its_reasons():
    ecgs, _ = simulate(3, seed=1)
    noise = 0.1 * np.random.default_rng(0).standard_normal(ecgs.signal.shape)
    which = np.arange(3)[:, None, None]
    table = measure(replace(ecgs, signal=np.where(which == 1, noise, np.where(which == 2, 0, ecgs.signal))))
    assert list(table["record_name"]) == list(ecgs.record_name)
    assert table["reasons"][0] == ""
    assert np.isfinite(table.select_dtypes("number").loc[0]).all()
    for row in (1, 2):
        assert "no_beat" in table["reasons"][row]
        assert np.isnan(table.loc[row, ["heart_rate_bpm", "rr_sd_ms", "r_ii_uv", "pr_interval_ms"]].astype(float)).all()
        assert table["conclusion"][row] == "not interpretable"


def test_columns_are_always_there(simulated, table):
    ecgs = simulated[0].take(range(2))
    others = (
        ecgs.take([]),
        replace(ecgs, signal=ecgs.signal[..., :20]),
        replace(ecgs, fs=50),
        replace(ecgs, units="sd"),
        ecgs.pick(["V2"]),
    )
    for other in others:
        found = measure(other)
        assert len(found) == len(other)
        assert list(found) == list(table)


def test_amplitudes_need_millivolts_and_limb_leads_need_i_and_ii(simulated):
    ecgs = simulated[0].take(range(2))
    in_sd = measure(replace(ecgs, units="sd"))
    assert in_sd[["r_ii_uv", "qrs_axis_deg", "noise_uv"]].isna().all(axis=None)
    assert in_sd[["heart_rate_bpm", "qrs_duration_ms"]].notna().all(axis=None)
    assert in_sd["reasons"].str.contains("unit_sd").all()
    single = measure(ecgs.pick(["V5"]))
    assert single[["limb_residual_uv", "qrs_axis_deg"]].isna().all(axis=None)
    assert single["reasons"].str.contains("missing_leads").all()


def test_the_median_beat_keeps_einthoven(simulated):
    medians = median_beats(simulated[0].take(range(5)))
    lead = {name: medians.signal[:, medians.leads.index(name)] for name in ("I", "II", "III", "aVF")}
    np.testing.assert_allclose(lead["III"], lead["II"] - lead["I"], atol=1e-4)
    np.testing.assert_allclose(lead["aVF"], lead["II"] - lead["I"] / 2, atol=1e-4)


def test_kinds_of_beats_are_told_for_every_beat(simulated):
    medians = median_beats(simulated[0])
    for peaks, kinds in zip(medians.peaks, medians.kinds, strict=True):
        assert len(peaks) == len(kinds)
        assert set(kinds) <= {"N", VENTRICULAR, SUPRAVENTRICULAR, NOISY}


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "ludb").exists(), reason="needs ../shared/data/ludb")
def test_rhythm_statements_on_ludb():
    ecgs, _ = read(DATA / "ludb", leads=LEADS_12, allow=("saturated", "noise"))
    table = measure(ecgs)
    labelled = np.array([labels[0].startswith("Atrial fibrillation") for labels in ecgs.labels])
    called = table["codes"].str.split(";").map(lambda codes: "AFIB" in codes).to_numpy()
    f1 = 2 * (called & labelled).sum() / (called.sum() + labelled.sum())
    assert f1 >= 0.9
    slow = np.array([labels[0].startswith("Sinus bradycardia") for labels in ecgs.labels])
    assert table["codes"].str.contains("SBRAD")[slow].all()


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "cinc2011").exists(), reason="needs ../shared/data/cinc2011")
def test_unacceptable_records_are_measured_without_a_word():
    bad = []
    for finding, record in scan(DATA / "cinc2011", allow=("flat", "noise", "saturated", "limb_leads", "duplicate")):
        if record is not None and {"noise", "flat", "saturated"} & set(finding.reasons) and len(bad) < 20:
            bad.append(record)
    ecgs = ECGSet(
        np.stack([record.signal for record in bad]), bad[0].fs, bad[0].leads, tuple(record.name for record in bad)
    )
    table = measure(ecgs)
    assert len(table) == len(bad)
    assert (table["conclusion"] == "not interpretable").sum() >= len(bad) / 4
