from dataclasses import replace

import numpy as np
import pytest

from ecgveil.leads import LEADS_12
from ecgveil.measure.median import Medians
from ecgveil.measure.waves import amplitudes, axes_deg

FS, R_AT, WIDTH = 500.0, 216, 576


def medians(bumps: list[tuple[float, float, float]], leads: tuple[str, ...] = ("V1",), gains=(1.0,)) -> Medians:
    """One median beat of Gaussians (ms from R, width in ms, mV), the same in each lead but for its gain."""
    ms = (np.arange(WIDTH) - R_AT) * 1000 / FS
    shape = sum(height * np.exp(-0.5 * ((ms - at) / width) ** 2) for at, width, height in bumps)
    one = lambda value: np.array([value], float)  # noqa: E731
    return Medians(
        signal=np.array([[gain * shape for gain in gains]], np.float32), leads=leads, fs=FS, r_at=R_AT,
        p_on=one(-180), p_off=one(-80), qrs_on=one(-50), qrs_off=one(50), t_on=one(150),
        t_off=one(350), peaks=[np.array([0])], kinds=[np.array(["N"])], likeness=one(1),
        p_beats_share=one(1), beat_fs=250.0,
    )  # fmt: skip


P, T = (-130, 15, 0.1), (250, 30, 0.3)


@pytest.mark.parametrize(
    ("qrs", "expected"),
    [
        ([(0, 8, 1.0)], {"q": 0, "r": 1000, "s": 0, "r2": 0}),
        ([(-25, 6, -0.2), (0, 8, 1.0), (25, 6, -0.3)], {"q": -200, "r": 1000, "s": -300, "r2": 0}),
        ([(-20, 6, 0.3), (0, 6, -0.8), (22, 7, 0.6)], {"q": 0, "r": 300, "s": -800, "r2": 600}),
        ([(0, 10, -0.9)], {"q": -900, "r": 0, "s": -900, "r2": 0}),
    ],
    ids=["R", "qRs", "rSR'", "QS"],
)
def test_deflections_bear_their_names(qrs, expected):
    found = amplitudes(medians([P, *qrs, T]))
    for name, value in expected.items():
        assert found[name][0, 0] == pytest.approx(value, abs=35)
    assert found["p"][0, 0] == pytest.approx(100, abs=2)
    assert found["t"][0, 0] == pytest.approx(300, abs=2)


def test_st_is_read_where_the_qrs_ends_and_60_ms_later():
    found = amplitudes(medians([(0, 8, 1.0), (120, 30, 0.2)]))
    assert found["stj"][0, 0] == pytest.approx(200 * np.exp(-0.5 * (70 / 30) ** 2), abs=3)
    assert found["st60"][0, 0] == pytest.approx(200 * np.exp(-0.5 * (10 / 30) ** 2), abs=3)


def test_an_elevated_st_segment_is_no_second_r():
    found = amplitudes(medians([(0, 10, -1.0), (110, 40, 0.4)]))
    assert found["r2"][0, 0] == 0
    assert found["s"][0, 0] == pytest.approx(-1000, abs=40)


def test_what_is_left_of_the_p_wave_is_no_r():
    found = amplitudes(medians([(-40, 5, 0.03), (-22, 6, -0.15), (0, 8, 1.5)]))
    assert found["r"][0, 0] == pytest.approx(1500, abs=50)
    assert found["q"][0, 0] < -80


def test_durations_and_the_r_peak_time():
    found = amplitudes(medians([(-25, 6, -0.2), (0, 8, 1.0)]))
    assert 10 < found["q_ms"][0, 0] < 35
    assert found["rpt"][0, 0] == pytest.approx(50, abs=3)


def test_notches_are_counted():
    plain = amplitudes(medians([(0, 12, 1.0)]))
    notched = amplitudes(medians([(-18, 8, 1.0), (18, 8, 0.9)]))
    assert plain["notch"][0, 0] == 1
    assert notched["notch"][0, 0] == 2


def test_without_a_wave_there_is_no_value():
    nothing = np.array([np.nan])
    found = amplitudes(replace(medians([(0, 8, 1.0)]), p_on=nothing, p_off=nothing, t_on=nothing, t_off=nothing))
    assert np.isnan([found["p"][0, 0], found["t"][0, 0]]).all()
    found = amplitudes(replace(medians([(0, 8, 1.0)]), qrs_on=nothing, qrs_off=nothing))
    assert np.isnan([found[name][0, 0] for name in ("q", "r", "s", "r2", "stj", "q_ms", "rpt", "notch")]).all()


@pytest.mark.parametrize("angle", [-170, -60, 0, 30, 90, 150])
def test_axes_are_those_of_a_dipole(angle):
    gains = {"I": np.cos(np.radians(angle)), "aVF": np.sqrt(3) / 2 * np.sin(np.radians(angle))}
    found = axes_deg(medians([P, (0, 8, 1.0), T], tuple(gains), tuple(gains.values())))
    for axis in found.values():
        assert (axis[0] - angle + 180) % 360 - 180 == pytest.approx(0, abs=1)


def test_axes_need_limb_leads():
    assert np.isnan(list(axes_deg(medians([P, (0, 8, 1.0), T])).values())).all()
    assert set(LEADS_12) > {"I", "aVF"}
