"""One finding a record, whatever the record is like."""

import json
from itertools import islice

import numpy as np
import pytest

from ecgveil.errors import RecordError
from ecgveil.formats import REASONS, as_json, inspect, scan, summary
from ecgveil.leads import LEADS_8, LEADS_12, pick
from test_formats_samples import ecg, edit, write


@pytest.fixture
def ward(tmp_path):
    """Seven records: two good ones, and five with one fault each."""
    write(tmp_path, "a", ecg(0), comments=("Age: 50", "Sex: Male", "Dx: 426783006,59118001"))
    write(tmp_path, "b", ecg(1))
    write(tmp_path, "c", ecg(0))
    write(tmp_path, "d", pick(ecg(2), LEADS_12, LEADS_8[:3]), leads=LEADS_8[:3])
    write(tmp_path, "e", ecg(3), units="sd")
    write(tmp_path, "f", ecg(4)).with_suffix(".dat").unlink()
    (tmp_path / "RECORDS").write_text("a\nb\nc\nd\ne\nf\ng\n")
    return tmp_path


def test_every_record_has_a_finding_with_its_reason(ward):
    found = {each.record: each.reasons for each in inspect(ward)}
    assert found == {
        "a": (),
        "b": (),
        "c": ("duplicate",),
        "d": ("missing_lead",),
        "e": ("wrong_unit",),
        "f": ("unreadable",),
        "g": ("unreadable",),
    }
    for each in inspect(ward):
        assert each.kept == (not each.reasons)
        assert len(each.details) == len(each.reasons)
        assert set(each.reasons) <= set(REASONS)


def test_scan_streams_and_gives_kept_records_only(ward):
    done = []
    stream = scan(ward, progress=lambda *at: done.append(at))
    finding, record = next(stream)
    assert finding.record == record.name == "a"
    assert done == []  # one record at a time: the next is read when asked for
    rest = list(stream)
    assert [record is not None for _, record in rest] == [True] + [False] * 5
    assert done == [(i, 7) for i in range(1, 8)]


def test_allowed_reasons_are_told_and_do_not_exclude(ward):
    found = {each.record: each for each in inspect(ward, allow=("wrong_unit", "duplicate"))}
    assert found["e"].kept
    assert found["e"].reasons == ("wrong_unit",)
    assert found["c"].kept
    assert not found["d"].kept
    for code in ("unreadable", "wrong"):
        with pytest.raises(RecordError, match=f"'{code}' cannot be allowed; what can be is too_short"):
            inspect(ward, allow=(code,))


def test_only_the_leads_asked_for_are_judged(ward):
    assert {each.record: each.kept for each in inspect(ward, leads=("I",))}["d"]


def test_duplicates_are_seen_through_shift_order_and_gain(tmp_path):
    signal = ecg(0)
    write(tmp_path, "a", signal)
    write(tmp_path, "b", signal[:, 10:])
    write(tmp_path, "c", signal[::-1, :4000], leads=LEADS_12[::-1])
    write(tmp_path, "d", np.round(signal, 3), gain=2000.0, fmt="24")
    write(tmp_path, "e", ecg(1))
    found = inspect(tmp_path)
    assert [each.reasons for each in found] == [(), ("duplicate",), ("duplicate",), ("duplicate",), ()]
    assert found[1].details == ("its content is also in record a",)


def test_different_records_are_no_duplicates(tmp_path):
    for seed in range(12):
        write(tmp_path, f"r{seed:02d}", ecg(seed))
    write(tmp_path, "zero1", np.zeros((12, 5000)))
    write(tmp_path, "zero2", np.zeros((12, 5000)))
    assert not [each for each in inspect(tmp_path) if "duplicate" in each.reasons]


def test_json_is_plain_and_whole(ward):
    rows = json.loads(json.dumps(as_json(inspect(ward)), allow_nan=False))
    assert len(rows) == 7
    first = rows[0]
    assert {key: first[key] for key in ("record", "kept", "reasons", "fs", "n_samples", "label", "patient_id")} == {
        "record": "a",
        "kept": True,
        "reasons": [],
        "fs": 500.0,
        "n_samples": 5000,
        "label": "Sinus rhythm; Right bundle branch block",
        "patient_id": None,
    }
    assert first["leads"] == list(LEADS_12)
    assert rows[5]["reasons"] == ["unreadable"]
    assert rows[5]["fs"] is None


def test_summary_counts(ward):
    (ward / "labels.csv").write_text("record_name,patient_id\na,p\nb,p\ne,q\n")
    counts = summary(inspect(ward))
    assert (counts["records"], counts["kept"], counts["patients"], counts["without_patient"]) == (7, 2, 2, 2)
    assert counts["fs"] == {500.0: 5}
    assert counts["seconds"] == {10.0: 5}
    assert counts["labels"] == {"Sinus rhythm": 1, "Right bundle branch block": 1}
    assert counts["reasons"] == {"unreadable": 2, "duplicate": 1, "missing_lead": 1, "wrong_unit": 1}
    assert list(counts["leads"].values()) == [4, 1]


def test_repairs_are_noted(tmp_path):
    names = tuple({"aVL": "aVF", "aVF": "aVL"}.get(lead, lead) for lead in LEADS_12)
    write(tmp_path, "a", ecg(), leads=names)
    (finding,) = inspect(tmp_path)
    assert finding.kept
    assert finding.notes == ("aVL and aVF carried each other's name",)
    assert summary([finding])["notes"] == {finding.notes[0]: 1}
    assert as_json([finding])[0]["notes"] == list(finding.notes)


def test_swapped_leads_are_left_out(tmp_path):
    edit(write(tmp_path, "a", ecg()), " III", " xxx")
    edit(tmp_path / "a.hea", " II\n", " III\n")
    edit(tmp_path / "a.hea", " xxx", " II")
    (finding,) = inspect(tmp_path)
    assert finding.reasons == ("limb_leads",)


def test_folders_that_hold_nothing(tmp_path):
    with pytest.raises(RecordError, match="there is no such folder"):
        inspect(tmp_path / "none")
    with pytest.raises(RecordError, match="holds no WFDB record"):
        inspect(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(RecordError, match="is a file; give the folder"):
        inspect(tmp_path / "file")


@pytest.mark.data
def test_a_folder_of_foreign_units_is_told_as_such(data):
    first = [finding for finding, _ in islice(scan(data / "ptbxl_shape"), 120)]
    assert {each.reasons for each in first} == {("wrong_unit",)}
    told = "its unit is 'sd', which does not convert to mV; --set data.units=sd learns shapes"
    assert {each.details[0] for each in first} == {told}
    assert all(each.patient_id and each.labels for each in first)
    kept = [record for _, record in islice(scan(data / "ptbxl_shape", allow=("wrong_unit",)), 5)]
    assert all(record and record.meta["scp_codes"] and 1 <= record.meta["strat_fold"] <= 8 for record in kept)
