"""Our WFDB writer, read back with the wfdb package."""

import errno
import os
import tempfile

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgveil.ecg import ECGSet
from ecgveil.errors import RecordError, RunError
from ecgveil.formats.labels import from_comments, labels_comment
from ecgveil.formats.wfdb_write import LIMIT, count_clipped, quantise, write, write_records_file
from ecgveil.leads import LEADS_12, restore
from ecgveil.simulate import simulate
from ecgveil.windows import read


def ecg_set(signal, fs=500.0, names=None, **others):
    signal = np.asarray(signal, np.float32)
    names = names or tuple(f"r{i}" for i in range(len(signal)))
    return ECGSet(signal, fs, LEADS_12[: signal.shape[1]], names, **others)


def random_signal(seed, *shape, scale=1.0):
    return scale * np.random.default_rng(seed).standard_normal(shape)


@given(
    seed=st.integers(0, 2**32),
    n_leads=st.integers(1, 12),
    n_samples=st.integers(1, 400),
    fs=st.one_of(st.sampled_from([125, 257.5, 360, 1000 / 3]), st.floats(1, 5000)),
    scale=st.sampled_from([0.001, 1, 7]),
)
@settings(max_examples=60, deadline=None)
def test_read_back_within_half_a_unit(seed, n_leads, n_samples, fs, scale):
    ecgs = ecg_set(np.clip(random_signal(seed, 2, n_leads, n_samples, scale=scale), -32.7, 32.7), fs)
    with tempfile.TemporaryDirectory() as folder:
        paths = write(ecgs, folder, comments=["made for a test", "second line"])
        assert [path.name for path in paths] == ["r0.hea", "r1.hea"]
        assert sorted(os.listdir(folder)) == ["r0.dat", "r0.hea", "r1.dat", "r1.hea"]
        for row, path in enumerate(paths):
            record = wfdb.rdrecord(str(path.with_suffix("")))
            # Half a unit, and what float32 leaves of 32 mV.
            np.testing.assert_allclose(record.p_signal.T, ecgs.signal[row], atol=0.000503)
            assert record.fs == pytest.approx(fs, rel=1e-12)
            assert tuple(record.sig_name) == ecgs.leads
            assert record.units == ["mV"] * n_leads
            assert record.adc_gain == [1000.0] * n_leads
            assert record.baseline == [0] * n_leads
            assert record.comments == ["made for a test", "second line"]


def test_initial_values_and_checksums(tmp_path):
    ecgs = ecg_set(random_signal(1, 3, 12, 5000, scale=5))
    for path in write(ecgs, tmp_path):
        record = wfdb.rdrecord(str(path.with_suffix("")), physical=False)
        assert record.init_value == record.d_signal[0].tolist()
        assert [each % 65536 for each in record.checksum] == (record.d_signal.sum(0) % 65536).tolist()
        assert all(-32768 <= each < 32768 for each in record.checksum)


def test_agrees_with_the_package_s_own_writer(tmp_path):
    ecgs = ecg_set(random_signal(2, 1, 12, 1000))
    write(ecgs, tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    wfdb.wrsamp(
        "r0",
        fs=500,
        units=["mV"] * 12,
        sig_name=list(LEADS_12),
        d_signal=np.rint(ecgs.signal[0].T * 1000).astype(int),
        fmt=["16"] * 12,
        adc_gain=[1000] * 12,
        baseline=[0] * 12,
        write_dir=str(tmp_path / "theirs"),
    )
    assert (tmp_path / "ours/r0.dat").read_bytes() == (tmp_path / "theirs/r0.dat").read_bytes()


def test_clipping_is_reported(tmp_path):
    signal = random_signal(3, 2, 3, 50)
    signal[1, 1, 4:7] = (40, -40, 32.7674)
    signal[1, 2, 9] = -32.768
    ecgs = ecg_set(signal)
    np.testing.assert_array_equal(count_clipped(ecgs.signal), [[0, 0, 0], [0, 2, 1]])
    plain, clipped = write(ecgs, tmp_path, comments=["note"])
    assert wfdb.rdheader(str(plain.with_suffix(""))).comments == ["note"]
    record = wfdb.rdrecord(str(clipped.with_suffix("")), physical=False)
    assert record.comments == ["note", "clipped to +-32.767 mV: 2 values of II, 1 values of III"]
    assert record.d_signal[4:7, 1].tolist() == [LIMIT, -LIMIT, LIMIT]
    assert record.d_signal[9, 2] == -LIMIT


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", "a.b", "ä", "a\n"])
def test_unsafe_names(tmp_path, name):
    with pytest.raises(RecordError, match="use letters, digits"):
        write(ecg_set(np.zeros((2, 1, 5)), names=("good", name)), tmp_path / "new")
    assert not (tmp_path / "new").exists()
    with pytest.raises(RecordError, match="use letters, digits"):
        write_records_file(tmp_path, ["good", name])
    assert list(tmp_path.iterdir()) == []


def test_units_and_comments_are_checked(tmp_path):
    with pytest.raises(RecordError, match="units are 'kg'"):
        write(ecg_set(np.zeros((1, 1, 5)), units="kg"), tmp_path)
    for comment in ("two\nlines", "Größe"):
        with pytest.raises(RecordError, match="cannot stand in a header"):
            write(ecg_set(np.zeros((1, 1, 5))), tmp_path, comments=[comment])


def test_full_disk_leaves_no_part_and_no_change(tmp_path, monkeypatch):
    write(ecg_set(np.zeros((1, 2, 10))), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real = open

    def full(path, mode="r", **more):
        if ".hea" in str(path) or "RECORDS" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(path, mode, **more)

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(RunError, match="the disk is full; free some space"):
        write(ecg_set(np.ones((1, 2, 10))), tmp_path)
    with pytest.raises(RunError, match="the disk is full; free some space"):
        write_records_file(tmp_path, ["r0"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="file: cannot write .*; choose another folder"):
        write(ecg_set(np.zeros((1, 1, 5))), tmp_path / "file")


def test_writing_again_replaces(tmp_path):
    write(ecg_set(np.zeros((1, 2, 10))), tmp_path)
    write(ecg_set(np.ones((1, 2, 10))), tmp_path)
    assert (wfdb.rdrecord(str(tmp_path / "r0")).p_signal == 1).all()
    assert len(list(tmp_path.iterdir())) == 2


def test_records_file(tmp_path):
    path = write_records_file(tmp_path / "new", ["b", "a-1", "c_2"])
    assert path.read_text() == "b\na-1\nc_2\n"
    with pytest.raises(RecordError, match="'a' occurs twice"):
        write_records_file(tmp_path / "new", ["a", "b", "a"])


@given(seed=st.integers(0, 2**32), scale=st.sampled_from([0.0007, 1, 10]))
@settings(max_examples=40, deadline=None)
def test_quantised_limb_leads_are_exact(seed, scale):
    signal = random_signal(seed, 2, 8, 60, scale=scale).astype(np.float32)
    whole = quantise(signal)
    lead = dict(zip(LEADS_12, np.moveaxis(whole, 1, 0), strict=True))
    np.testing.assert_array_equal(lead["III"], lead["II"] - lead["I"])
    for name, expected in (
        ("aVR", -(lead["I"] + lead["II"]) / 2),
        ("aVL", lead["I"] - lead["II"] / 2),
        ("aVF", lead["II"] - lead["I"] / 2),
    ):
        assert np.abs(lead[name] - expected).max() <= 0.5
    # Rounding I and II first costs at most one unit of III, and 3/4 and half a unit more of the others.
    assert np.abs(whole - 1000 * restore(signal.astype(float))).max() <= 1.26


def test_write_keeps_quantised_values(tmp_path):
    whole = np.clip(quantise(random_signal(5, 1, 8, 3000, scale=8)), -LIMIT, LIMIT)
    write(ecg_set(whole / 1000), tmp_path)
    record = wfdb.rdrecord(str(tmp_path / "r0"), physical=False)
    np.testing.assert_array_equal(record.d_signal.T, whole[0])


def test_quantise_wants_eight_leads():
    with pytest.raises(RecordError, match=r"\(12, 5\)"):
        quantise(np.zeros((12, 5)))


@given(labels=st.lists(st.text(min_size=1, max_size=12).map(str.strip).filter(bool), max_size=4, unique=True))
@settings(max_examples=60, deadline=None)
def test_labels_come_back_from_the_header(labels):
    line = labels_comment(labels)
    assert line.isascii()
    assert line.isprintable()
    assert from_comments("r", [line]).labels == tuple(labels)


def test_units_of_sd_are_said_and_read(tmp_path):
    ecgs, _ = simulate(2, seed=1)
    signal = ecgs.signal / ecgs.signal.std(axis=2, keepdims=True)
    labels = (("MI", "CD"), ())
    write(ECGSet(signal, ecgs.fs, ecgs.leads, ecgs.record_name, labels=labels, units="sd"), tmp_path)
    record = wfdb.rdrecord(str(tmp_path / ecgs.record_name[0]))
    assert set(record.units) == {"sd"}
    again, _ = read(tmp_path, allow=("wrong_unit",))
    assert (again.units, again.labels) == ("sd", labels)
    assert again.signal == pytest.approx(signal, abs=0.00051)


def test_into_a_folder_not_yet_in_place_the_same_files_are_written(tmp_path):
    ecgs = ecg_set(random_signal(3, 2, 12, 700))
    write(ecgs, tmp_path / "one", comments=["a note"])
    write(ecgs, tmp_path / "other", comments=["a note"], unfinished=True)
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert (
        names
        == sorted(file.name for file in (tmp_path / "other").iterdir())
        == ["r0.dat", "r0.hea", "r1.dat", "r1.hea"]
    )
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
