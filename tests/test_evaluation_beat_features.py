import numpy as np
import pytest

from ecgveil.ecg import ECGSet
from ecgveil.errors import EvaluationError
from ecgveil.evaluation.beat_features import beat_features

FS = 500.0
TIME_MS = np.arange(-250, 451, 2.0)


def bump(at_ms: float, sd_ms: float, mv: float) -> np.ndarray:
    return mv * np.exp(-0.5 * ((TIME_MS - at_ms) / sd_ms) ** 2)


def as_set(*leads: np.ndarray, fs: float = FS) -> ECGSet:
    return ECGSet(np.stack(leads)[None], fs, ("II", "V1")[: len(leads)], ("beat",))


def normal() -> np.ndarray:
    return bump(-150, 20, 0.1) + bump(0, 8, 1.0) + bump(30, 8, -0.3) + bump(250, 40, 0.25)


def test_known_waves_are_measured():
    row = beat_features(as_set(normal())).iloc[0]
    assert row["r_ms"] == pytest.approx(250, abs=2)
    assert row["r_ii_uv"] == pytest.approx(1000, abs=15)
    assert row["s_ii_uv"] == pytest.approx(-300, abs=25)
    assert row["p_ii_uv"] == pytest.approx(100, abs=10)
    assert row["p_ii_ms"] == pytest.approx(-150, abs=4)
    assert row["t_ii_uv"] == pytest.approx(250, abs=10)
    assert row["t_ii_ms"] == pytest.approx(250, abs=4)
    assert row["width_ii_ms"] == pytest.approx(2 * np.sqrt(2 * np.log(2)) * 8, abs=4)
    assert row["t_area_ii"] == pytest.approx(250 * 0.040 * np.sqrt(2 * np.pi), rel=0.1)  # uV s
    assert row["st_ii_uv"] == pytest.approx(0, abs=15)
    assert row["rise_ii"] == pytest.approx(1000 / 8 * np.exp(-0.5), rel=0.1)  # steepest of a Gaussian
    assert row["fall_ii"] < 0 < row["rise_ii"]


def test_a_slope_and_a_level_of_st():
    depressed = normal() - 0.2 * ((TIME_MS > 70) & (TIME_MS < 160))
    assert beat_features(as_set(depressed)).iloc[0]["st_ii_uv"] == pytest.approx(-200, abs=20)
    rising = normal() + 0.001 * np.where((TIME_MS > 70) & (TIME_MS < 160), TIME_MS - 70, 0)
    assert beat_features(as_set(rising)).iloc[0]["st_slope_ii"] == pytest.approx(1, abs=0.2)  # uV per ms


def test_turned_over_all_levels_change_sign():
    up, down = (beat_features(as_set(sign * normal())).iloc[0] for sign in (1, -1))
    for name in ("r_ii_uv", "s_ii_uv", "p_ii_uv", "t_ii_uv", "qrs_area_ii", "st_ii_uv"):
        assert down[name] == pytest.approx(-up[name], rel=1e-4, abs=1e-3), name
    assert (down["width_ii_ms"], down["rise_ii"]) == pytest.approx((up["width_ii_ms"], -up["fall_ii"]), rel=1e-4)


def test_a_large_t_wave_is_not_taken_for_r_and_r_may_be_anywhere():
    tall = beat_features(as_set(normal() + bump(250, 40, 1.5))).iloc[0]
    assert tall["r_ms"] == pytest.approx(250, abs=2)
    moved = beat_features(as_set(np.roll(normal(), -60))).iloc[0]
    assert moved["r_ms"] == pytest.approx(130, abs=2)
    assert moved["t_ii_ms"] == pytest.approx(250, abs=4)


def test_leads_rates_and_noise():
    two = beat_features(as_set(normal(), -0.5 * normal()))
    assert {"r_ii_uv", "r_v1_uv", "t_area_v1"} < set(two.columns)
    assert two.iloc[0]["r_v1_uv"] == pytest.approx(-0.5 * two.iloc[0]["r_ii_uv"], rel=1e-4)
    slow = beat_features(as_set(normal()[::2], fs=FS / 2)).iloc[0]
    fast = beat_features(as_set(normal())).iloc[0]
    assert slow["t_area_ii"] == pytest.approx(fast["t_area_ii"], rel=0.05)
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(TIME_MS))
    assert beat_features(as_set(normal() + noise)).iloc[0]["ripple_ii_uv"] > 5 * fast["ripple_ii_uv"]


def test_what_is_outside_the_beat_is_missing_and_a_flat_one_raises_nothing():
    short = beat_features(as_set(normal()[75:175])).iloc[0]  # from 100 ms before R to 100 ms after
    assert np.isnan([short["t_ii_uv"], short["t_area_ii"], short["t_ii_ms"]]).all()
    assert np.isfinite([short["r_ii_uv"], short["width_ii_ms"], short["qrs_area_ii"]]).all()
    flat = beat_features(as_set(np.zeros(351))).iloc[0]
    assert flat["r_ii_uv"] == 0
    assert np.isnan(flat["width_ii_ms"])


@pytest.mark.parametrize("samples", [1001, 4])
def test_no_single_beat(samples):
    with pytest.raises(EvaluationError, match="single beats are at most 2 s"):
        beat_features(as_set(np.zeros(samples)))
