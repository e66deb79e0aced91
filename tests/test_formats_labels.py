"""Labels and patients from header comments and from the tables beside the records."""

import csv
import math

import pytest

from ecgveil.errors import RecordError
from ecgveil.formats import PTB_CLASSES, inspect, ptb_class, ptb_three_class
from ecgveil.formats.labels import from_comments, snomed_names, tables
from test_formats_samples import ecg, write

PTBXL = "ecg_id,patient_id,age,sex,report,scp_codes,strat_fold,filename_lr,filename_hr"


def test_ptb_reasons_fall_in_the_nine_classes_of_table_1():
    reasons = {
        "Myocardial infarction": "Myocardial infarction",
        "Healthy control": "Healthy control",
        "Heart failure (NYHA 4)": "Cardiomyopathy or Heart failure",
        "Cardiomyopathy": "Cardiomyopathy or Heart failure",
        "Hypertrophy": "Myocardial hypertrophy",
        "Stable angina": "Miscellaneous",
        "Palpitation": "Miscellaneous",
        "n/a": "Miscellaneous",
    }
    assert {reason: ptb_class(reason) for reason in reasons} == reasons
    assert len(PTB_CLASSES) == 9
    assert {ptb_three_class(name) for name in PTB_CLASSES} == {
        "Myocardial infarction",
        "Healthy control",
        "Miscellaneous",
    }


def test_ptb_header_gives_class_patient_and_nothing_free():
    comments = (
        "age: 81",
        "sex: female",
        "ECG date: 01/10/1990",
        "Diagnose:",
        "Reason for admission: Myocardial infarction",
        "Additional diagnoses: Diabetes mellitus",
    )
    facts = from_comments("patient001/s0010_re", comments)
    assert (facts.patient_id, facts.labels, facts.age, facts.sex) == (
        "patient001",
        ("Myocardial infarction",),
        81,
        "female",
    )
    assert "1990" not in repr(facts)
    assert "Diabetes" not in repr(facts)
    assert from_comments("s0010_re", comments).patient_id == ""


def test_challenge_header_gives_names_of_codes_and_unknown_codes_as_they_are():
    facts = from_comments("A1", ("Age: 74", "Sex: Male", "Dx: 59118001,251238007, ,Mr Smith,59118001", "Rx: Unknown"))
    assert facts.labels == ("Right bundle branch block", "251238007")
    assert (facts.age, facts.sex) == (74, "male")
    empty = from_comments("A1", ("Age: NaN", "Sex: Unknown", "Dx: "))
    assert empty.labels == ()
    assert math.isnan(empty.age)
    assert empty.sex == ""


def test_lobachevsky_header_gives_the_rhythm_first_and_only_its_vocabulary():
    comments = (
        "<age>: 51",
        "<sex>: F",
        "<diagnoses>:",
        "Left atrial hypertrophy.",
        "Rhythm: Sinus bradycardia.",
        "Electric axis of the heart: normal.",
        "III degree AV-block.",
        "Seen by Dr Jones on 3 May 2017",
        "Left the ward in May",
    )
    facts = from_comments("data/1", comments)
    assert facts.labels == (
        "Sinus bradycardia",
        "Left atrial hypertrophy",
        "Electric axis of the heart: normal",
        "III degree AV-block",
    )
    assert (facts.age, facts.sex) == (51, "female")


@pytest.mark.parametrize("age", ["-3", "500", "abc", "inf", "1e999", ""])
def test_impossible_ages_are_unknown(age):
    assert math.isnan(from_comments("a", (f"Age: {age}",)).age)


def test_ptbxl_table(tmp_path):
    rows = [
        PTBXL,
        "1,9012.0,300.0,1,\"Hr. X, 3.5.\n1990\",\"{'NORM': 100.0, 'SR': 0.0}\",3,lr/1_lr,hr/1_hr",
        "2,9012.0,41.0,0,,\"{'IMI': 50.0, 'ASMI': 0.0, 'LAFB': 1.0}\",9,lr/2_lr,hr/2_hr",
    ]
    (tmp_path / "ptbxl_database.csv").write_text("\n".join(rows) + "\n")
    statements = ",description,diagnostic_class\nNORM,normal,NORM\nIMI,x,MI\nASMI,x,MI\nLAFB,x,CD\nSR,sinus,\n"
    (tmp_path / "scp_statements.csv").write_text(statements)
    facts = tables(tmp_path, ["hr/1_hr", "lr/1_lr", "hr/2_hr"])
    assert facts["hr/1_hr"] == facts["lr/1_lr"]
    assert facts["hr/1_hr"].patient_id == facts["hr/2_hr"].patient_id == "9012"
    assert facts["hr/1_hr"].labels == ("NORM",)
    assert facts["hr/2_hr"].labels == ("CD", "MI")
    assert (facts["hr/1_hr"].age, facts["hr/1_hr"].sex, facts["hr/2_hr"].sex) == (90, "female", "male")
    assert facts["hr/1_hr"].meta == {"scp_codes": ("NORM", "SR"), "strat_fold": 3}
    assert "1990" not in repr(facts)
    (tmp_path / "hr").mkdir()  # the table is found from the folder of the records, too
    assert tables(tmp_path / "hr", ["1_hr"])["1_hr"].patient_id == "9012"


def test_labels_csv_wins_over_the_header(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "deep", name, ecg(ord(name)), comments=("Age: 30", "Sex: Male", "Dx: 426783006"))
    table = "\ufeffrecord_name,patient_id,label,age,sex\ndeep/a,p1,AF; LBBB,,f\nb,p1,,55,\n"
    (tmp_path / "labels.csv").write_text(table, "utf-8")
    a, b = inspect(tmp_path)
    assert (a.labels, a.patient_id) == (("AF", "LBBB"), "p1")
    assert (b.labels, b.patient_id) == (("Sinus rhythm",), "p1")
    facts = tables(tmp_path, ["deep/a", "deep/b"])
    assert (facts["deep/a"].sex, facts["deep/b"].age) == ("female", 55)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "has columns none; it needs record_name, patient_id"),
        ("record,label\na,x\n", "it needs record_name"),
        ("record_name,patientid\na,x\n", "column 'patientid' is not known"),
        ("record_name,label,label\na,x,y\n", "each once"),
        ("record_name,label\na\n", "line 2 does not have 2 cells"),
        ("record_name,label\na,x,y\n", "line 2 does not have 2 cells"),
        ("record_name,label\na,x\na,y\n", "line 3 repeats record 'a'"),
        ("record_name,label\ndeep/a,x\na,y\n", "record 'deep/a' has two rows"),
        ("record_name,label\n,x\n", "line 2 has no record_name"),
        ("record_name,age\na,old\n", "line 2 has age 'old'"),
        ("record_name,age\na,300\n", "line 2 has age '300'"),
        ("record_name,sex\na,x\n", "line 2 has sex 'x'"),
        ("record_name,label\nzzz,x\n", "names none of the records: it has 'zzz', the folder 'deep/a'"),
        ("record_name,label\nb,x\n", "'b' fits 2 records; write it as 'deep/b'"),
        ('record_name,label\n"a,x\n', "not a comma-separated table"),
    ],
)
def test_a_wrong_labels_csv_is_an_error_that_names_it(tmp_path, text, match):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(RecordError, match=match) as caught:
        tables(tmp_path, ["deep/a", "deep/b", "more/b"])
    assert "labels.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_csv_that_is_no_text(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"record_name\n\xff\xfe\n")
    with pytest.raises(RecordError, match=r"labels\.csv is not UTF-8"):
        tables(tmp_path, ["a"])


@pytest.mark.parametrize("cell", ["__import__('os')", "{", "12"])
def test_scp_codes_are_read_not_run(tmp_path, cell):
    (tmp_path / "ptbxl_database.csv").write_text(f'{PTBXL}\n1,1,1,1,,"{cell}",1,lr/1,hr/1\n')
    with pytest.raises(RecordError, match=r"ptbxl_database\.csv: line 2 has unreadable scp_codes"):
        tables(tmp_path, ["hr/1"])


def test_snomed_table_is_whole():
    names = snomed_names()
    assert len(names) == len(set(names.values())) >= 130
    assert all(code.isdigit() and name == name.strip() and name for code, name in names.items())


@pytest.mark.data
def test_lobachevsky_headers_say_what_its_table_says(data):
    with (data / "ludb" / "ludb.csv").open(newline="") as file:
        rows = {row["ID"]: row for row in csv.DictReader(file)}
    for finding in inspect(data / "ludb"):
        row = rows[finding.record.removeprefix("data/")]
        columns = [row[name].strip().splitlines() for name in row if name not in ("ID", "Sex", "Age") and row[name]]
        said = {text.strip().lower() for cell in columns for text in cell if text.strip()}
        pacemaker = {"pacemaker presence, undefined"}  # in the table alone, of 6 records
        assert {label.lower() for label in finding.labels} == said - pacemaker
        assert finding.labels[0].lower() == row["Rhythms"].strip().splitlines()[0].lower()


@pytest.mark.data
def test_one_code_of_the_challenge_has_no_name_in_its_tables(data):
    labels = [label for each in inspect(data / "challenge2021") for label in each.labels]
    assert {label for label in labels if label.isdigit()} == {"251238007"}
    assert labels.count("Sinus rhythm") == 42


def test_rows_that_fit_no_record_while_records_have_no_row(tmp_path):
    for name in ("5", "6", "7"):
        write(tmp_path / "data", name, ecg(seconds=1))
    names = ["data/5", "data/6", "data/7"]
    for row in ("007", "x/5"):  # the second has the last part of a record that has its row
        (tmp_path / "labels.csv").write_text(f"record_name,patient_id\n5,a\n{row},b\n")
        with pytest.raises(
            RecordError, match=f"1 rows fit no record \\(such as '{row}'\\) while 2 records have no row"
        ):
            tables(tmp_path, names)
    (tmp_path / "labels.csv").write_text("record_name,patient_id\n5,a\n6.dat,b\n7.hea,c\nabsent,d\n")
    assert set(tables(tmp_path, names)) == set(names)


def test_a_deeper_labels_csv_is_not_overlooked(tmp_path):
    write(tmp_path / "site", "5", ecg(seconds=1))
    (tmp_path / "site" / "labels.csv").write_text("record_name,patient_id\n5,a\n")
    with pytest.raises(RecordError, match=r"labels.csv would not be read: labels.csv belongs at the top"):
        tables(tmp_path, ["site/5"])
    (tmp_path / "site").rename(tmp_path / ".site")
    assert tables(tmp_path, []) == {}
