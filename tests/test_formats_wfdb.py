"""What is found in a folder, what is refused and why, and the repairs of known faults."""

import os
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecgveil.errors import RecordError
from ecgveil.formats import header, inspect
from ecgveil.formats.wfdb import find, read_record
from ecgveil.leads import LEADS_12, limb_residual
from test_formats_samples import ecg, edit, write


def refuse(folder: Path, name: str, match: str) -> None:
    with pytest.raises(RecordError, match=match) as caught:
        read_record(folder, name)
    assert "\n" not in str(caught.value)


def test_find_takes_listed_first_then_all_others(tmp_path):
    for name in ("b", "a", "c"):
        write(tmp_path / "deep", name, ecg(seconds=1))
    (tmp_path / "RECORDS").write_text("deep/c\nmissing\n\nother/\n")
    assert find(tmp_path) == ["deep/c", "missing", "deep/a", "deep/b"]
    refuse(tmp_path, "missing", "there is no header file missing.hea")


def test_segments_are_no_records_of_their_own(tmp_path):
    write(tmp_path / "d", "m_1", ecg(seconds=2))
    (tmp_path / "d" / "m.hea").write_text("# comment first\nm/1 12 500 1000\nm_1 1000\n")
    write(tmp_path, "m_1", ecg(seconds=1))  # the same name elsewhere is a record
    assert find(tmp_path) == ["d/m", "m_1"]


def test_links_in_a_circle_end(tmp_path):
    write(tmp_path / "d", "a", ecg(seconds=1))
    (tmp_path / "d" / "up").symlink_to(tmp_path)
    (tmp_path / "loop.hea").symlink_to(tmp_path / "loop.hea")
    assert find(tmp_path) == ["d/a", "loop"]
    refuse(tmp_path, "loop", "no header file loop.hea")


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "d/../../a"])
def test_listed_names_stay_inside_the_folder(tmp_path, name):
    (tmp_path / "RECORDS").write_text(name + "\n")
    assert len(find(tmp_path)) == 1
    refuse(tmp_path, find(tmp_path)[0], "not a record name inside the folder")


@pytest.mark.parametrize("target", ["../../etc/passwd", "/etc/passwd", "..\\x.dat", "..", "-", "sub/a.dat"])
def test_signal_files_elsewhere_are_refused(tmp_path, target):
    edit(write(tmp_path, "a", ecg(seconds=1)), "a.dat", target)
    refuse(tmp_path, "a", "not a file beside it")


def test_segments_elsewhere_are_refused(tmp_path):
    (tmp_path / "m.hea").write_text("m/1 12 500 1000\n../x 1000\n")
    refuse(tmp_path, "m", "not beside it")


@pytest.mark.parametrize("fmt", ["16", "212", "516"])
def test_truncated_signal_file(tmp_path, fmt):
    write(tmp_path, "a", ecg(), fmt=fmt, gain=500)
    path = min(tmp_path.glob("*.dat"))  # FLAC takes two files for 12 signals
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refuse(tmp_path, "a", "truncated|cannot be decoded|contradict")


def test_empty_signal_file(tmp_path):
    write(tmp_path, "a", ecg(seconds=1)).with_suffix(".dat").write_bytes(b"")
    refuse(tmp_path, "a", "truncated: it holds 0 of 500 samples")


def test_a_header_that_claims_far_too_much_takes_no_memory(tmp_path):
    edit(write(tmp_path, "a", ecg(seconds=1), fmt="516"), "a 12 500 500", "a 12 500 99999999999")
    refuse(tmp_path, "a", "states 99999999999 samples of 12 signals, too many to read at once")
    edit(tmp_path / "a.hea", "99999999999", "9999999")
    refuse(tmp_path, "a", "truncated: it holds 500 of 9999999")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (" 500 500", " 500 " + "9" * 5000, "no readable record line"),
        (" 500 500", " 500 ²", "no readable record line"),
        ("a 12 500 500", "a/1 12 500 500\nb ²", "no readable segment line"),
        ("a 12 500 500", "a/2 12 500 500\nb 500\n~ 900000000", "segments of too many samples"),
        (" 16 ", " 16:1000000000 ", "shifts signals by up to 1000000000 samples"),
        (" 16 ", " " + "9" * 5000 + " ", "no readable signal line"),
        ("a.dat", "x" * 300 + ".dat", "is missing"),
    ],
)
def test_absurd_numbers_and_names(tmp_path, old, new, message):
    edit(write(tmp_path, "a", ecg(seconds=1)), old, new)
    refuse(tmp_path, "a", message)


def test_pipes_and_endless_names_do_not_stop_a_scan(tmp_path):
    write(tmp_path, "a", ecg(0))
    os.mkfifo(tmp_path / "pipe.hea")
    (tmp_path / "RECORDS").write_text("a\n" + "z" * 5000 + "\n")
    findings = inspect(tmp_path)
    assert [each.kept for each in findings] == [True, False, False]


def test_an_unforeseen_error_is_a_finding(tmp_path, monkeypatch):
    write(tmp_path, "a", ecg(0))

    def surprise(*_):
        raise ZeroDivisionError("surprise\nindeed")

    monkeypatch.setattr("ecgveil.formats.wfdb.read_record", surprise)
    (finding,) = inspect(tmp_path)
    assert finding.reasons == ("unreadable",)
    assert finding.details == ("it cannot be read (ZeroDivisionError: surprise indeed)",)


def test_missing_signal_file(tmp_path):
    write(tmp_path, "a", ecg(seconds=1)).with_suffix(".dat").unlink()
    refuse(tmp_path, "a", "its signal file a.dat is missing")


def test_header_under_the_name_of_another_record(tmp_path):
    write(tmp_path, "a", ecg(0))
    write(tmp_path, "b", ecg(1)).unlink()
    (tmp_path / "b.hea").write_text((tmp_path / "a.hea").read_text())
    refuse(tmp_path, "b", "header of another record: it names 'a'")


def test_samples_of_another_record(tmp_path):
    write(tmp_path, "a", ecg(0))
    other = write(tmp_path, "b", ecg(1)).with_suffix(".dat")
    (tmp_path / "a.dat").write_bytes(other.read_bytes())
    refuse(tmp_path, "a", "contradict the checksum of lead I in a.hea")


def test_checksums_that_were_never_filled_in_are_no_contradiction(tmp_path):
    path = write(tmp_path, "a", ecg())
    lines = path.read_text().splitlines()
    bare = [" ".join([*line.split()[:5], "0", "0", *line.split()[7:]]) for line in lines[1:13]]
    path.write_text("\n".join([lines[0], *bare]) + "\n")
    assert read_record(tmp_path, "a").signal == pytest.approx(ecg(), abs=0.00051)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no record line"),
        ("# only a comment\n", "no record line"),
        ("garbage", "no readable record line"),
        ("a x 500 10\n", "no readable record line"),
        ("a 2 500 10\na.dat 16\n", "announces 2 signals and describes 1"),
        ("a 1 500 10\nnonsense\n", "no readable signal line"),
        ("a 1 500 10\na.dat 9999 200/mV 16 0 0 0 0 I\n", "format 9999, which is not known"),
        ("a 0 500 10\n", "no signals"),
        ("a 1 0 10\na.dat 16\n", "fs 0 Hz"),
        ("a 1 nan 10\na.dat 16\n", "fs nan Hz"),
        ("a 1 -5 10\na.dat 16\n", "fs -5 Hz"),
        ("a/2 1 500 10\nb 5\n", "announces 2 segments"),
        ("\0\0\0", "not a short text"),
    ],
)
def test_garbage_headers(tmp_path, text, match):
    (tmp_path / "a.dat").write_bytes(b"\0" * 100)
    (tmp_path / "a.hea").write_text(text)
    refuse(tmp_path, "a", match)


@pytest.mark.parametrize("gain", ["1e-30", "1e-40"])
def test_a_gain_that_makes_no_sense(tmp_path, gain):
    edit(write(tmp_path, "a", ecg(seconds=1)), "1000.0(0)/mV", f"{gain}(0)/V")
    refuse(tmp_path, "a", "its gain makes samples of more than a million mV")


def test_flac_header_over_something_else(tmp_path):
    edit(write(tmp_path, "a", ecg(seconds=1)), "a.dat 16", "a.dat 516")
    refuse(tmp_path, "a", "not the FLAC file")


def test_pipes_and_folders_do_not_block(tmp_path):
    os.mkfifo(tmp_path / "a.hea")
    refuse(tmp_path, "a", "no header file")
    path = write(tmp_path, "b", ecg(seconds=1)).with_suffix(".dat")
    path.unlink()
    path.mkdir()
    refuse(tmp_path, "b", "its signal file b.dat is missing")


def test_a_lead_twice_and_leads_of_two_rates(tmp_path):
    edit(write(tmp_path, "a", ecg(seconds=1)), " V2", " V1")
    refuse(tmp_path, "a", "lead V1 more than once")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 600),
    junk=st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8),
    gone=st.integers(0, 12),
)
def test_a_damaged_header_gives_a_record_or_one_line(tmp_path, place, junk, gone):
    path = write(tmp_path, "a", ecg(seconds=1))
    text = path.read_text()
    path.write_text(text[:place] + junk + text[place + gone :], "utf-8")
    message = ""
    try:
        read_record(tmp_path, "a")
    except RecordError as error:
        message = str(error)
    assert "\n" not in message


def test_exchanged_avl_and_avf_are_named_right(tmp_path):
    names = tuple({"aVL": "aVF", "aVF": "aVL"}.get(lead, lead) for lead in LEADS_12)
    write(tmp_path, "a", ecg(), leads=names)
    record = read_record(tmp_path, "a")
    assert record.leads == LEADS_12
    assert record.notes == ("aVL and aVF carried each other's name",)
    assert read_record(write(tmp_path, "b", ecg()).parent, "b").notes == ()


def test_other_wrong_names_are_left_as_they_are(tmp_path):
    names = tuple({"I": "II", "II": "I"}.get(lead, lead) for lead in LEADS_12)
    write(tmp_path, "a", ecg(), leads=names)
    record = read_record(tmp_path, "a")
    assert record.leads == names
    assert record.notes == ()


def test_gains_that_are_each_leads_range_are_replaced(tmp_path):
    path = write(tmp_path, "a", ecg())
    counts = wfdb.rdrecord(str(tmp_path / "a"), physical=False).d_signal
    lines = path.read_text().splitlines()
    for i, span in enumerate(np.ptp(counts, axis=0), start=1):
        lines[i] = lines[i].replace("1000.0(0)/mV", f"{span}(3)/mV")
    path.write_text("\n".join(lines) + "\n")
    record = read_record(tmp_path, "a")
    assert record.signal == pytest.approx(ecg(), abs=0.00051)
    assert "own range" in record.notes[0]


CHALLENGE = ("Age: 50", "Sex: Male", "Dx: 426783006", "Rx: Unknown", "Hx: Unknown", "Sx: Unknown")


@pytest.mark.parametrize("gain", [200, 4880, 2000000])
def test_wrong_gains_of_the_2020_challenge_are_replaced(tmp_path, gain):
    path = write(tmp_path, "a", ecg(), comments=CHALLENGE)
    edit(path, "1000.0(0)/mV", f"{gain}/mV")
    record = read_record(tmp_path, "a")
    assert record.signal == pytest.approx(ecg(), abs=0.00051)
    assert f"gain {gain}/mV" in record.notes[0]
    edit(path, "Rx", "Rxx")  # elsewhere such a gain is believed
    other = read_record(tmp_path, "a")
    assert other.notes == ()
    assert other.signal == pytest.approx(ecg() * 1000 / gain, abs=0.51 / gain)


def test_times_and_dates_of_a_header_are_not_read():
    head = header.parse("a 1 500/1000(5) 10 10:00:00 01/01/2000\na.dat 16\n#Name: x\n", "a.hea")
    assert (head.fs, head.n_samples, head.comments) == (500, 10, ("Name: x",))
    assert "2000" not in repr(head)


@pytest.mark.data
@pytest.mark.parametrize(
    ("folder", "count"), [("ludb", 140), ("cinc2011", 675), ("ptbxl_shape", 1442), ("challenge2021", 170), ("ptbdb", 4)]
)
def test_all_real_records_are_found_and_read(data, folder, count):
    names = find(data / folder)
    assert len(names) == count
    for name in names[:: max(count // 60, 1)]:
        record = read_record(data / folder, name)
        assert len(record.leads) == 12
        if record.units == "mV":  # after the repairs the limb leads of every database agree
            assert np.abs(limb_residual(record.signal, record.leads)).max() < 0.01


@pytest.mark.data
def test_frank_leads_are_aside_and_ptb_agrees_with_its_copy_in_the_challenge(data):
    assert set(read_record(data / "ptbdb", "s0010_re").extra) == {"vx", "vy", "vz"}
    original = read_record(data / "ptbdb", "s0015lre")
    copy = read_record(data / "challenge2021", "S0004")
    assert copy.leads == original.leads
    assert np.abs(copy.signal - original.signal).max() < 0.0021
