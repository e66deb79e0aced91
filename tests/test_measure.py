from dataclasses import replace

import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.measure import measure
from ecgveil.simulate import simulate


@pytest.fixture(scope="module")
def simulated():
    return simulate(40, seed=1)


def known_ecg(r: float, s: float, t: float, fs: float = 500) -> ECGSet:
    """One lead I with R, S (40 ms later) and T (250 ms later) of known heights in mV, one beat a second."""
    time = np.arange(int(10 * fs)) / fs
    signal = np.zeros_like(time)
    for beat in np.arange(0.6, 9.5, 1.0):
        for at, height, width in ((0, r, 0.008), (0.04, s, 0.008), (0.25, t, 0.03)):
            signal += height * np.exp(-(((time - beat - at) / width) ** 2))
    return ECGSet(signal[None, None], fs, ("I",), ("a",))


def test_heart_rate_is_that_of_the_simulator(simulated):
    ecgs, truth = simulated
    table = measure(ecgs)
    apart = np.abs(table["heart_rate_bpm"] - truth.heart_rate_bpm)
    assert apart.median() < 0.1
    assert apart.max() < 3
    np.testing.assert_allclose(table["heart_rate_bpm"] * table["rr_mean_ms"], 60_000)


@pytest.mark.parametrize("fs", [250, 500, 1000])
@pytest.mark.parametrize(("r", "s", "t"), [(1.0, -0.4, 0.3), (1.5, -0.8, -0.25)])
def test_amplitudes_are_the_known_ones(r, s, t, fs):
    (row,) = measure(known_ecg(r, s, t, fs)).to_dict("records")
    assert row["r_I_uv"] == pytest.approx(1000 * r, abs=40)
    assert row["s_I_uv"] == pytest.approx(1000 * s, abs=40)
    assert row["t_I_uv"] == pytest.approx(1000 * t, abs=40)
    assert row["heart_rate_bpm"] == pytest.approx(60, abs=0.1)
    assert row["rr_sd_ms"] == pytest.approx(0, abs=2)


def test_amplitudes_scale_with_the_signal(simulated):
    ecgs, _ = simulated
    one, two = measure(ecgs), measure(replace(ecgs, signal=2 * ecgs.signal))
    for column in ("r_II_uv", "s_V1_uv", "t_V5_uv", "limb_residual_uv"):
        np.testing.assert_allclose(two[column], 2 * one[column], rtol=1e-3, atol=0.05)


def test_limb_residual_is_the_swap_that_was_made(simulated):
    ecgs, _ = simulated
    assert (measure(ecgs)["limb_residual_uv"] < 0.01).all()
    swapped = replace(ecgs, signal=ecgs.signal[:, [1, 0, *range(2, 12)]])
    assert (measure(swapped)["limb_residual_uv"] > 20).mean() > 0.9


def test_one_row_for_each_ecg_with_its_reasons():
    ecgs, _ = simulate(2, seed=1)
    noise = 0.1 * np.random.default_rng(0).standard_normal(ecgs.signal.shape)
    table = measure(replace(ecgs, signal=np.where(np.arange(2)[:, None, None] == 1, noise, ecgs.signal)))
    assert list(table["record_name"]) == list(ecgs.record_name)
    assert table["reasons"][0] == ""
    assert "0 beats" in table["reasons"][1]
    assert "no whole beat" in table["reasons"][1]
    assert np.isnan(table.loc[1, ["heart_rate_bpm", "rr_sd_ms", "r_II_uv"]].astype(float)).all()
    assert np.isfinite(table.loc[0].drop(["record_name", "reasons"]).astype(float)).all()


def test_columns_are_always_there():
    ecgs, _ = simulate(2, seed=1)
    full = measure(ecgs)
    for fewer in (ecgs.take([]), replace(ecgs, signal=ecgs.signal[..., :20]), replace(ecgs, units="sd")):
        table = measure(fewer)
        assert len(table) == len(fewer)
        assert list(table) == list(full)


def test_amplitudes_need_millivolts_and_limb_leads_need_i_and_ii():
    ecgs, _ = simulate(2, seed=1)
    in_sd = measure(replace(ecgs, units="sd"))
    assert in_sd["r_II_uv"].isna().all()
    assert in_sd["heart_rate_bpm"].notna().all()
    assert in_sd["reasons"].str.contains("unit is sd").all()
    single = measure(ecgs.pick(["V5"]))
    assert single["limb_residual_uv"].isna().all()
    assert single["reasons"].str.contains("limb leads missing").all()
