"""From a folder of records to a table of measurements: every record a row, whatever is wrong with it."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import wfdb

from ecgveil import measuring
from ecgveil.ecg import ECGSet
from ecgveil.errors import ConfigError, RecordError, RunError
from ecgveil.formats.wfdb_write import write
from ecgveil.leads import LEADS_8, LEADS_12
from ecgveil.measure import measure
from ecgveil.measuring import NOT_INTERPRETABLE, measure_folder, tables
from ecgveil.simulate import simulate


def table_of(path):
    return pd.read_csv(path, keep_default_na=False, na_values={}, dtype=str).set_index("record_name", drop=False)


def numbers(path):
    return pd.read_csv(path).set_index("record_name", drop=False)


@pytest.fixture(scope="module")
def ecgs():
    return simulate(6, seed=11, conditions={"sinus rhythm": 1})[0]


@pytest.fixture(scope="module")
def mixed(ecgs, tmp_path_factory):
    """Records of several forms in sub-folders, some of them flawed or unreadable, with what `find` makes of them."""
    folder = tmp_path_factory.mktemp("data") / "mixed"
    write(ecgs, folder / "a")
    write(ECGSet(ecgs.signal[:2, :, ::2], 250, LEADS_12, ("half-1", "half-2")), folder / "b")
    write(ecgs.take([3]).pick(("II",)), folder / "single")
    write(ECGSet(ecgs.signal[:1, :, :200], 500, LEADS_12, ("short",)), folder)
    (folder / "b" / "half-2.dat").write_bytes((folder / "b" / "half-2.dat").read_bytes()[:1000])
    shutil.copy(folder / "a" / f"{ecgs.record_name[1]}.hea", folder / "b" / "misnamed.hea")
    return folder


@pytest.fixture(scope="module")
def measured(mixed, tmp_path_factory):
    out = tmp_path_factory.mktemp("tables") / "measurements.csv"
    return measure_folder(mixed, out), out


def test_every_record_has_a_row_in_the_folders_order(measured, mixed, ecgs):
    summary, out = measured
    names = [f"a/{name}" for name in ecgs.record_name]
    names += ["b/half-1", "b/half-2", "b/misnamed", "short", f"single/{ecgs.record_name[3]}"]
    table = table_of(out)
    assert list(table["record_name"]) == sorted(names)
    assert table.columns[0] == "record_name"
    assert "patient" not in " ".join(table.columns)
    assert summary.records == len(names)
    assert summary.measured == table["heart_rate_bpm"].astype(bool).sum() == len(names) - 3


def test_values_are_those_of_measure(measured, ecgs):
    """To the six digits that are written; the records were rounded to whole uV."""
    rounded = dataclasses.replace(ecgs, signal=np.round(ecgs.signal, 3))
    expected = measure(rounded).select_dtypes("number")
    found = numbers(measured[1]).loc[[f"a/{name}" for name in ecgs.record_name], expected.columns]
    assert {"heart_rate_bpm", "qrs_duration_ms", "r_v5_uv"} <= set(expected.columns)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=0.6)


def test_columns_do_not_depend_on_what_comes_first(measured, mixed, ecgs, tmp_path):
    write(ecgs.take([0]).pick(("V1",)), tmp_path / "one")
    measure_folder(tmp_path / "one", tmp_path / "one.csv")
    assert list(table_of(tmp_path / "one.csv").columns) == list(table_of(measured[1]).columns)
    assert list(table_of(measured[1]).columns) == list(measure(ecgs).columns)


def test_what_is_unreadable_says_why(measured):
    table = table_of(measured[1])
    for name, words in (("b/half-2", "truncated"), ("b/misnamed", "another record")):
        row = table.loc[name]
        assert row["reasons"].startswith("unreadable: ")
        assert words in row["reasons"]
        assert row["conclusion"] == NOT_INTERPRETABLE
        assert set(row.drop(["record_name", "reasons", "conclusion"])) == {""}
    assert measured[0].reasons["unreadable"] == 2
    assert measured[0].conclusions[NOT_INTERPRETABLE] >= 3  # the short one too


def test_flaws_of_a_record_are_among_its_reasons(measured, ecgs):
    table = table_of(measured[1])
    assert table.loc["short", "reasons"].startswith("too_short: it lasts 0.4 s")
    single = table.loc[f"single/{ecgs.record_name[3]}"]
    assert single["reasons"].startswith("missing_lead: it has no lead I, V1")
    assert single["heart_rate_bpm"] != ""  # flawed, and measured all the same
    for row in table["reasons"]:
        codes = [reason.partition(":")[0] for reason in row.split("; ")]
        assert len(codes) == len(set(codes))


def test_a_record_met_twice_is_measured_twice(ecgs, tmp_path):
    write(ecgs.take([0]), tmp_path / "data" / "a")
    write(ecgs.take([0]), tmp_path / "data" / "b")
    measure_folder(tmp_path / "data", tmp_path / "m.csv")
    first, second = table_of(tmp_path / "m.csv").to_dict("records")
    assert f"duplicate: its content is also in record {first['record_name']}" in second["reasons"]
    assert {**first, "record_name": "", "reasons": ""} == {**second, "record_name": "", "reasons": ""}


def with_gaps(ecgs, folder, gaps):
    """Records whose samples (lead, from, to) are marked invalid in the file, -32768 in format 16."""
    write(ecgs, folder)
    for name in ecgs.record_name:
        path = folder / f"{name}.dat"
        counts = np.frombuffer(path.read_bytes(), "<i2").reshape(-1, len(ecgs.leads)).copy()
        for lead, first, last in gaps:
            counts[first:last, ecgs.leads.index(lead)] = -32768
        path.write_bytes(counts.tobytes())
        header = folder / f"{name}.hea"
        lines = [
            " ".join([*line.split()[:5], "0 0", *line.split()[7:]]) for line in header.read_text().splitlines()[1:]
        ]
        header.write_text(
            "\n".join([header.read_text().splitlines()[0], *lines, ""])
        )  # no checksums: 0 is 'not filled in'
    return folder


def test_short_gaps_are_bridged(ecgs, tmp_path):
    write(ecgs, tmp_path / "whole")
    with_gaps(ecgs, tmp_path / "gaps", [("V5", 1000, 1010), ("aVL", 0, 3), ("II", 4999, 5000)])
    for name in ("whole", "gaps"):
        measure_folder(tmp_path / name, tmp_path / f"{name}.csv")
    whole, gaps = numbers(tmp_path / "whole.csv"), numbers(tmp_path / "gaps.csv")
    assert gaps["reasons"].str.startswith("nan: II, V5 have samples that are no numbers").all()
    np.testing.assert_allclose(gaps["r_v5_uv"], whole["r_v5_uv"], rtol=0.05)
    np.testing.assert_allclose(gaps["heart_rate_bpm"], whole["heart_rate_bpm"], rtol=0.01)


def test_leads_with_longer_gaps_are_not_used(ecgs, tmp_path):
    with_gaps(ecgs, tmp_path / "gaps", [("V5", 1000, 1100)])
    measure_folder(tmp_path / "gaps", tmp_path / "gaps.csv")
    table = numbers(tmp_path / "gaps.csv")
    assert table["r_v5_uv"].isna().all()
    assert table["r_v6_uv"].notna().all()
    assert table["heart_rate_bpm"].notna().all()


def test_no_lead_left_is_a_row_too(ecgs, tmp_path):
    with_gaps(ecgs.take([0]), tmp_path / "gaps", [(lead, 1000, 1100) for lead in LEADS_12])
    measure_folder(tmp_path / "gaps", tmp_path / "gaps.csv", annotations=tmp_path / "marks")
    (row,) = table_of(tmp_path / "gaps.csv").to_dict("records")
    assert row["reasons"].startswith("nan: ")
    assert row["conclusion"] == NOT_INTERPRETABLE
    assert row["heart_rate_bpm"] == ""


def test_records_are_read_a_few_at_a_time(ecgs, tmp_path, monkeypatch):
    """However large the folder: never more records held than the limit, and all come in order."""
    write(ecgs, tmp_path / "data")
    monkeypatch.setattr(measuring, "_RECORDS", 4)
    parts = [list(table["record_name"]) for _, table in tables(tmp_path / "data")]
    assert [len(part) for part in parts] == [4, 2]
    assert [name for part in parts for name in part] == sorted(ecgs.record_name)
    monkeypatch.setattr(measuring, "_VALUES", 2 * ecgs.signal[0].size)
    assert [len(table) for _, table in tables(tmp_path / "data")] == [2, 2, 2]
    monkeypatch.setattr(measuring, "_VALUES", 1)  # a record beyond the limit still comes, alone
    assert [len(table) for _, table in tables(tmp_path / "data")] == [1] * 6


def test_the_size_of_the_portions_changes_no_value(ecgs, tmp_path, monkeypatch):
    write(ecgs, tmp_path / "data")
    measure_folder(tmp_path / "data", tmp_path / "at-once.csv")
    monkeypatch.setattr(measuring, "_RECORDS", 1)
    measure_folder(tmp_path / "data", tmp_path / "one-by-one.csv")
    pd.testing.assert_frame_equal(numbers(tmp_path / "at-once.csv"), numbers(tmp_path / "one-by-one.csv"), rtol=1e-4)


def test_marks_of_every_beat(mixed, ecgs, tmp_path):
    measure_folder(mixed, tmp_path / "m.csv", annotations=tmp_path / "marks")
    files = {str(path.relative_to(tmp_path / "marks")) for path in (tmp_path / "marks").rglob("*") if path.is_file()}
    annotators = [*map(str.lower, LEADS_12), "global"]
    expected = {f"a/{name}.{each}" for name in ecgs.record_name for each in annotators}
    expected |= {f"{name}.{each}" for name in ("b/half-1", "short") for each in annotators}
    expected |= {f"single/{ecgs.record_name[3]}.{each}" for each in ("ii", "global")}
    assert files == expected
    table = numbers(tmp_path / "m.csv")
    for name, fs in ((f"a/{ecgs.record_name[0]}", 500), ("b/half-1", 250)):
        notes = wfdb.rdann(str(tmp_path / "marks" / name), "v5")
        assert notes.fs == fs
        kinds = [symbol for symbol in notes.symbol if symbol not in "()"]
        assert abs(kinds.count("N") - table.loc[name, "n_beats"]) <= 2  # those at the ends may be cut off
        assert {"p", "N", "t"} == set(kinds)
        assert (np.diff(notes.sample) >= 0).all()
        assert notes.sample[0] >= 0
        assert notes.sample[-1] < 10 * fs


@pytest.mark.parametrize(
    ("out", "annotations", "words"),
    [
        ("{data}/m.csv", None, "among the records"),
        ("{data}/a/m.csv", None, "among the records"),
        ("{data}", None, "among the records"),
        ("{tmp}/m.csv", "{data}", "among the records"),
        ("{tmp}/m.csv", "{data}/marks", "among the records"),
        ("{tmp}/m.csv", "{data}/..", "holds"),
        ("{tmp}/marks/m.csv", "{tmp}/marks", "made last"),
    ],
)
def test_nothing_is_written_among_the_records(out, annotations, words, mixed, tmp_path):
    before = sorted(mixed.rglob("*"))
    out, annotations = (each and each.format(data=mixed, tmp=tmp_path) for each in (out, annotations))
    with pytest.raises(ConfigError, match=words):
        measure_folder(mixed, out, annotations=annotations)
    assert sorted(mixed.rglob("*")) == before
    assert not list(tmp_path.iterdir())


def test_a_link_to_the_records_is_no_way_around(mixed, tmp_path):
    (tmp_path / "link").symlink_to(mixed)
    with pytest.raises(ConfigError, match="among the records"):
        measure_folder(mixed, tmp_path / "link" / "m.csv")


def test_a_failed_run_leaves_the_old_table_and_no_marks(mixed, tmp_path, monkeypatch):
    (tmp_path / "m.csv").write_text("old")

    def fail(_):
        raise RecordError("no more")

    monkeypatch.setattr(measuring, "delineate", fail)
    with pytest.raises(RecordError, match="no more"):
        measure_folder(mixed, tmp_path / "m.csv", annotations=tmp_path / "marks")
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]
    assert (tmp_path / "m.csv").read_text() == "old"


def test_a_folder_of_marks_is_never_added_to(mixed, tmp_path):
    (tmp_path / "marks").mkdir()
    (tmp_path / "marks" / "5.v5").write_bytes(b"by hand")
    with pytest.raises(RunError, match="already holds something"):
        measure_folder(mixed, tmp_path / "m.csv", annotations=tmp_path / "marks")
    assert [path.name for path in tmp_path.iterdir()] == ["marks"]


def test_eight_leads_give_the_twelve(ecgs, tmp_path):
    write(ecgs, tmp_path / "twelve")
    write(ecgs.pick(LEADS_8), tmp_path / "eight")
    for name in ("twelve", "eight"):
        measure_folder(tmp_path / name, tmp_path / f"{name}.csv")
    twelve, eight = numbers(tmp_path / "twelve.csv"), numbers(tmp_path / "eight.csv")
    np.testing.assert_allclose(eight["qrs_duration_ms"], twelve["qrs_duration_ms"], atol=4)
    np.testing.assert_allclose(eight["r_avf_uv"], twelve["r_avf_uv"], atol=20)


@pytest.mark.data
def test_unacceptable_records_all_get_a_row(data, tmp_path):
    """75 records with lost electrodes, saturation and flat leads among real ones: 12 of each kind, for time's sake."""
    source = data / "cinc2011"
    quality = pd.read_csv(source / "quality.csv")
    name, grade = quality.columns[:2]
    some = [str(each) for _, part in quality.groupby(grade) for each in part[name][:12]]
    (tmp_path / "data").mkdir()
    for each in some:
        for file in source.glob(f"{each}[._]*"):
            (tmp_path / "data" / file.name).symlink_to(file)
    summary = measure_folder(tmp_path / "data", tmp_path / "m.csv")
    assert summary.records == len(some) == 24
    assert summary.measured >= 12  # all that are acceptable, and some of the others
    assert summary.reasons["unreadable"] == 0
