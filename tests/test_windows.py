"""Resampling, cutting, and reading a folder as one set."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgveil.errors import ConfigError, RecordError
from ecgveil.leads import LEADS_8, LEADS_12, pick
from ecgveil.windows import cut, read, resample
from test_formats_samples import ecg, write


@pytest.mark.parametrize(("fs_from", "fs_to"), [(1000, 500), (500, 125), (500, 1000), (360, 500), (257, 500)])
def test_resampling_keeps_a_slow_wave_and_the_length(fs_from, fs_to):
    t_from, t_to = np.arange(4 * fs_from) / fs_from, np.arange(4 * fs_to) / fs_to
    wave = np.sin(2 * np.pi * 7 * t_from)
    out = resample(wave, fs_from, fs_to)
    assert out.dtype == np.float32
    assert out.shape == t_to.shape
    middle = slice(fs_to // 2, -fs_to // 2)
    assert out[middle] == pytest.approx(np.sin(2 * np.pi * 7 * t_to)[middle], abs=0.01)


def test_resampling_suppresses_what_would_alias():
    t = np.arange(5000) / 500
    out = resample(np.sin(2 * np.pi * 90 * t), 500, 125)  # 90 Hz would appear at 35 Hz
    assert np.abs(out[100:-100]).max() < 0.01


def test_resampling_keeps_a_constant_to_its_ends_and_works_on_stacks():
    flat = np.full((3, 2, 1000), 2.5)
    assert resample(flat, 500, 125) == pytest.approx(np.full((3, 2, 250), 2.5), abs=1e-4)
    stack = np.random.default_rng(0).normal(size=(3, 2, 1000))
    assert resample(stack, 500, 360)[1, 1] == pytest.approx(resample(stack[1, 1], 500, 360), abs=1e-6)
    with pytest.raises(ConfigError, match="must be positive"):
        resample(flat, 500, 0)


@given(n=st.integers(0, 60), length=st.integers(1, 20))
def test_windows_joined_are_the_signal_without_its_tail(n, length):
    signal = np.arange(2 * n).reshape(2, n)
    windows = cut(signal, length)
    assert windows.shape == (n // length, 2, length)
    joined = np.concatenate([*windows, np.empty((2, 0), int)], axis=1)
    assert np.array_equal(joined, signal[:, : n // length * length])


def test_a_window_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="window of 0 samples"):
        cut(np.zeros((2, 10)), 0)


def test_read_gives_the_records_as_they_are(tmp_path):
    for seed in range(3):
        write(tmp_path, f"r{seed}", ecg(seed), comments=("Age: 50", "Sex: Female", "Dx: 426783006"))
    done = []
    ecgs, findings = read(tmp_path, progress=lambda *at: done.append(at))
    assert ecgs.leads == LEADS_12
    assert (ecgs.fs, ecgs.units, ecgs.signal.shape) == (500, "mV", (3, 12, 5000))
    assert ecgs.record_name == ecgs.patient_id == ("r0", "r1", "r2")
    assert ecgs.labels == (("Sinus rhythm",),) * 3
    assert list(ecgs.age) == [50] * 3
    assert ecgs.sex == ("female",) * 3
    assert ecgs.signal[1] == pytest.approx(ecg(1), abs=0.00051)
    assert [each.kept for each in findings] == [True] * 3
    assert done[-1] == (3, 3)


def test_eight_leads_where_not_all_have_twelve(tmp_path):
    write(tmp_path, "a", ecg(0)[::-1], leads=LEADS_12[::-1])
    write(tmp_path, "b", pick(ecg(1), LEADS_12, LEADS_8), leads=LEADS_8)
    ecgs, _ = read(tmp_path)
    assert ecgs.leads == LEADS_8
    assert ecgs.signal[0] == pytest.approx(pick(ecg(0), LEADS_12, LEADS_8), abs=0.00051)
    twelve, _ = read(tmp_path, leads=LEADS_12)
    assert twelve.signal[1] == pytest.approx(ecg(1), abs=0.0011)


def test_one_lead_from_records_that_have_little_else(tmp_path):
    write(tmp_path, "a", ecg()[:2], leads=("i", "ii"))
    ecgs, _ = read(tmp_path, leads=("i",))
    assert ecgs.leads == ("I",)
    with pytest.raises(
        RecordError, match=r"none of 1 records can be used \(missing_lead 1; e\.g\. a: it has no lead V1"
    ):
        read(tmp_path)


def test_windows_share_their_patient_and_short_records_are_told(tmp_path):
    write(tmp_path, "long", ecg(0, 25))
    write(tmp_path, "exact", ecg(1, 10))
    write(tmp_path, "short", ecg(2, 9))
    (tmp_path / "labels.csv").write_text("record_name,patient_id\nlong,p7\n")
    ecgs, findings = read(tmp_path, seconds=10)
    assert ecgs.record_name == ("exact", "long#0", "long#1")
    assert ecgs.patient_id == ("exact", "p7", "p7")
    assert ecgs.signal[2] == pytest.approx(ecg(0, 25)[:, 5000:10000], abs=0.00051)
    (short,) = [each for each in findings if not each.kept]
    assert (short.record, short.reasons) == ("short", ("too_short",))
    assert short.details == ("it lasts 9 s, a window 10 s",)
    assert read(tmp_path, n_samples=5000)[0].record_name == ecgs.record_name
    with pytest.raises(RecordError, match=r"records last from 9 to 25 s; say how long a window is: --seconds 9"):
        read(tmp_path)
    with pytest.raises(RecordError, match=r"none of 3 records can be used \(too_short 3; .*ask for shorter windows"):
        read(tmp_path, seconds=60)


def test_mixed_rates_are_refused_or_resampled(tmp_path):
    write(tmp_path, "a", ecg(0))
    write(tmp_path, "b", ecg(1))
    write(tmp_path, "c", ecg(2, fs=1000), fs=1000)
    for more in ({}, {"fs": 500}, {"fs": 250, "reduce": True}):
        with pytest.raises(
            RecordError, match=r"mixed sampling rates: 500 Hz \(2 records\), 1000 Hz \(1, e\.g\. c\); pass"
        ):
            read(tmp_path, **more)
    for more in ({}, {"fs": 500}):
        ecgs, _ = read(tmp_path, resample=True, **more)
        assert (ecgs.fs, ecgs.signal.shape) == (500, (3, 12, 5000))


def test_reduce_lowers_a_common_rate_and_never_raises_one(tmp_path):
    write(tmp_path, "a", ecg(0))
    write(tmp_path, "b", ecg(1))
    ecgs, _ = read(tmp_path, fs=125, reduce=True)
    assert (ecgs.fs, ecgs.n_samples) == (125, 1250)
    assert ecgs.signal[0] == pytest.approx(resample(ecg(0), 500, 125), abs=0.001)
    with pytest.raises(RecordError, match=r"a\.hea: fs is 500 Hz, the recipe needs 125 Hz; pass --resample"):
        read(tmp_path, fs=125)
    with pytest.raises(RecordError, match="needs 1000 Hz"):
        read(tmp_path, fs=1000, reduce=True)


def test_units_do_not_mix(tmp_path):
    write(tmp_path, "a", ecg(0))
    write(tmp_path, "b", ecg(1), units="sd")
    assert read(tmp_path)[0].record_name == ("a",)
    with pytest.raises(RecordError, match="records have different units, mV, sd"):
        read(tmp_path, allow=("wrong_unit",))
    (tmp_path / "a.hea").unlink()
    assert read(tmp_path, allow=("wrong_unit",))[0].units == "sd"
    with pytest.raises(RecordError, match=r"wrong_unit 1; e\.g\. b: its unit is 'sd'.*allow 'wrong_unit'"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"seconds": 10, "n_samples": 5000}, "give one of them"),
        ({"fs": 0}, "fs is 0; it must be positive"),
        ({"seconds": -1}, "seconds is -1"),
        ({"leads": ("I", "V9")}, "leads are I, V9; name some of I, II"),
        ({"leads": ("I", "i")}, "each once"),
        ({"leads": ()}, "leads are none"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path, more, match):
    with pytest.raises(ConfigError, match=match):
        read(tmp_path, **more)


@pytest.mark.data
def test_lead_one_of_ptb_as_windows_of_2025_samples(data):
    ecgs, findings = read(data / "ptbdb", leads=("I",), fs=1000, n_samples=2025)
    assert ecgs.signal.shape == (38400 // 2025 + 3 * (115200 // 2025), 1, 2025)
    assert len(set(ecgs.patient_id)) == len(findings) == 4


@pytest.mark.parametrize("fs", [None, 500])
def test_a_rate_that_cannot_be_brought_to_the_others_costs_one_record(tmp_path, fs):
    write(tmp_path, "a", ecg(0))
    write(tmp_path, "b", ecg(1))
    write(tmp_path, "odd", ecg(2), fs=500.1234)
    ecgs, findings = read(tmp_path, fs=fs, seconds=9, resample=True)
    assert ecgs.record_name == ("a", "b")
    left = {each.record: each for each in findings if not each.kept}
    assert {name: each.reasons for name, each in left.items()} == {"odd": ("odd_rate",)}
    assert "500.123 Hz cannot be resampled to 500 Hz" in left["odd"].details[0]
