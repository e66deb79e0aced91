"""The same ECG in every WFDB form reads back the same; and the small records that other tests are made of."""

from pathlib import Path

import numpy as np
import pytest
import wfdb

from ecgveil.formats.wfdb import read_record
from ecgveil.leads import LEADS_8, LEADS_12, pick, restore

FS = 500


def ecg(seed: int = 0, seconds: float = 10, fs: int = FS) -> np.ndarray:
    """12 leads in mV, (12, n): beats of a P, a QRS and a T wave, a little noise, and a rate and size of its own."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * fs)) / fs
    phase = (t * rng.uniform(0.9, 1.5) + rng.uniform()) % 1
    waves = [(0.25, 0.025, 0.1), (0.395, 0.008, -0.1), (0.41, 0.012, 1.0), (0.43, 0.01, -0.25), (0.65, 0.05, 0.25)]
    beat = sum(size * np.exp(-((phase - at) ** 2) / (2 * width**2)) for at, width, size in waves)
    gains = np.array([0.8, 1.0, -0.6, -1.1, 0.9, 1.6, 1.4, 1.0]) * rng.uniform(0.7, 1.3, 8)
    return restore(gains[:, None] * beat + rng.normal(0, 0.008, (8, t.size)))


def write(
    folder: Path,
    name: str,
    signal: np.ndarray,
    leads: tuple[str, ...] = LEADS_12,
    fmt: str = "16",
    fs: int = FS,
    gain: float = 1000.0,
    units: str = "mV",
    comments: tuple[str, ...] = (),
) -> Path:
    """Write a record with the wfdb package; the header's path."""
    folder.mkdir(parents=True, exist_ok=True)
    n = len(leads)
    counts = np.round(signal.T * gain).astype(np.int64)
    wfdb.wrsamp(
        name,
        fs=fs,
        units=[units] * n,
        sig_name=list(leads),
        d_signal=counts,
        fmt=[fmt] * n,
        adc_gain=[gain] * n,
        baseline=[0] * n,
        comments=list(comments),
        write_dir=str(folder),
    )
    return folder / f"{name}.hea"


def edit(header: Path, old: str, new: str) -> None:
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))


def patch_header(header: Path, n_bytes: int) -> None:
    """Turn a format 16 record into a MATLAB 4 one: `n_bytes` of matrix header before the same samples."""
    raw = header.with_suffix(".dat").read_bytes()
    header.with_suffix(".mat").write_bytes(b"\1" * n_bytes + raw)
    header.with_suffix(".dat").unlink()
    edit(header, ".dat 16", f".mat 16+{n_bytes}")


@pytest.mark.parametrize("fmt", ["16", "24", "32", "80", "212", "508", "516", "524"])
def test_every_format_reads_back_within_a_count(tmp_path, fmt):
    gain = 30.0 if fmt in ("80", "508") else 500.0
    signal = ecg()
    write(tmp_path, "a", signal, fmt=fmt, gain=gain)
    record = read_record(tmp_path, "a")
    assert record.leads == LEADS_12
    assert record.fs == FS
    assert record.units == "mV"
    assert record.signal.dtype == np.float32
    assert record.signal == pytest.approx(signal, abs=0.5001 / gain)


def test_mat_file_with_a_georgia_header(tmp_path):
    signal = ecg()
    header = write(tmp_path, "E00001", signal)
    patch_header(header, 24)
    edit(header, "E00001 12 500 5000", "E00001.mat 12 500 5000 05-May-2020 14:50:55")
    with pytest.raises(ValueError, match="invalid syntax"):
        wfdb.rdheader(str(tmp_path / "E00001"))
    assert read_record(tmp_path, "E00001").signal == pytest.approx(signal, abs=0.00051)


def test_names_with_dots_which_the_package_refuses(tmp_path):
    header = write(tmp_path, "a", ecg())
    header.with_suffix(".dat").rename(tmp_path / "1.2.840.dat")
    edit(header, "a.dat", "1.2.840.dat")
    edit(header, "a 12", "1.2.840 12")
    header.rename(tmp_path / "1.2.840.hea")
    assert read_record(tmp_path, "1.2.840").signal == pytest.approx(ecg(), abs=0.00051)


def test_any_order_and_letter_case_and_other_signals_aside(tmp_path):
    signal = ecg()
    names = ("v6", "vx", "avr", "ii", "V1", "i")
    order = ("V6", "V6", "aVR", "II", "V1", "I")
    write(tmp_path, "a", pick(signal, LEADS_12, order), leads=names)
    record = read_record(tmp_path, "a")
    assert record.leads == ("V6", "aVR", "II", "V1", "I")
    assert record.signal == pytest.approx(pick(signal, LEADS_12, record.leads), abs=0.00051)
    assert list(record.extra) == ["vx"]
    assert record.extra["vx"] == pytest.approx(signal[11], abs=0.00051)


@pytest.mark.parametrize(("units", "scale"), [("uV", 1000), ("µV", 1000), ("V", 1e-3), ("mv", 1)])
def test_other_units_of_voltage_become_mv(tmp_path, units, scale):
    signal = ecg()
    header = write(tmp_path, "a", signal, gain=1000.0)
    header.write_text(header.read_text().replace("1000.0(0)/mV", f"{1000 / scale:g}(0)/{units}"), "utf-8")
    record = read_record(tmp_path, "a")
    assert record.units == "mV"
    assert record.signal == pytest.approx(signal, abs=0.00051)


def test_a_unit_that_is_no_voltage_is_kept_as_it_stands(tmp_path):
    write(tmp_path, "a", ecg(), units="sd")
    record = read_record(tmp_path, "a")
    assert record.units == "sd"
    assert record.signal == pytest.approx(ecg(), abs=0.00051)


def test_samples_marked_invalid_are_nan(tmp_path):
    signal = ecg()
    counts = np.round(signal.T * 1000).astype(np.int64)
    counts[10:20, 3] = -32768
    write(tmp_path, "a", counts.T / 1000)
    record = read_record(tmp_path, "a")
    assert np.isnan(record.signal[3, 10:20]).all()
    assert np.isnan(record.signal).sum() == 10


def test_multi_segment_with_gap_and_a_segment_without_a_lead(tmp_path):
    first, second = ecg(0, 4), ecg(1, 2)
    write(tmp_path, "m_0001", first)
    write(tmp_path, "m_0002", pick(second, LEADS_12, LEADS_8), leads=LEADS_8, gain=200.0)
    lines = ["m/4 12 500 3500", "m_layout 0", "m_0001 2000", "~ 500", "m_0002 1000"]
    (tmp_path / "m.hea").write_text("\n".join(lines) + "\n")
    layout = ["m_layout 12 500 0", *(f"~ 0 200(0)/mV 12 0 0 0 0 {lead}" for lead in LEADS_12)]
    (tmp_path / "m_layout.hea").write_text("\n".join(layout) + "\n")
    record = read_record(tmp_path, "m")
    assert record.n_samples == 3500
    assert record.signal[:, :2000] == pytest.approx(first, abs=0.00051)
    assert np.isnan(record.signal[:, 2000:2500]).all()
    chest = [record.leads.index(lead) for lead in LEADS_8]
    assert record.signal[chest, 2500:] == pytest.approx(pick(second, LEADS_12, LEADS_8), abs=0.0026)
    assert np.isnan(record.signal[record.leads.index("aVR"), 2500:]).all()
    theirs = wfdb.rdrecord(str(tmp_path / "m"), m2s=True)
    ours = record.signal[[record.leads.index(lead) for lead in theirs.sig_name]]
    np.testing.assert_allclose(ours, theirs.p_signal.T, atol=1e-6)


def test_two_samples_a_frame_double_the_rate(tmp_path):
    header = write(tmp_path, "a", ecg(fs=250, seconds=2), fs=250)
    text = header.read_text().replace("a.dat 16", "a.dat 16x2").replace("a 12 250 500", "a 12 125 250")
    header.write_text(text)
    raw = np.fromfile(header.with_suffix(".dat"), "<i2").reshape(500, 12)
    frames = raw.reshape(250, 2, 12).swapaxes(1, 2)  # (frame, lead, sample of the frame)
    frames.tofile(header.with_suffix(".dat"))
    record = read_record(tmp_path, "a")
    assert record.fs == 250
    assert record.signal == pytest.approx(ecg(fs=250, seconds=2), abs=0.00051)
