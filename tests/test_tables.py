import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgveil import tables
from ecgveil.errors import RecordError
from ecgveil.tables import TableSet, join_tables, read_table, write_table


def read(tmp_path, text, **options):
    file = tmp_path / "table.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(file, **options)[0]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n3,\n",
        "a;b\n1;2\n3;?\n",
        "a\tb\n1\t2\n3\tNA\n",
        "a b\n 1   2\n3 nan\n",
        "# a comment\n\na,b,\n1,2,\n3,,\n",
        '@relation x\n@attribute a real\n"a", "b"\r\n1, 2\r\n3, none\r\n',
        "\ufeffa,b\n1,2\n3,NULL\n",
    ],
)
def test_every_common_form_is_read_alike(text, tmp_path):
    table = read(tmp_path, text)
    assert table.names == ("a", "b")
    assert np.array_equal(table.values, [[1, 2], [3, np.nan]], equal_nan=True)


def test_names_of_a_table_without_a_header(tmp_path):
    assert read(tmp_path, "1,2\n3,4\n").names == ("column_1", "column_2")
    named = read(tmp_path, "1,2\n3,4\n", columns=("x", "Class"), ignore=("class",))
    assert named.names == ("x",)
    assert named.values.tolist() == [[1], [3]]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "holds no rows"),
        ("# only this\n", {}, "holds no rows"),
        ("a,b\n", {}, "a header and no rows"),
        ("1,2\n\n1,2,3\n", {}, "line 3 has 3 values, line 1 has 2"),
        ("a,b\n1,2\n1,yes\n", {}, "line 3: b is 'yes', which is no finite number"),
        ("a,b\n1,2\n1,1e999\n", {}, "line 3: b is '1e999'"),
        ("a,b\n1,inf\n", {}, "b is 'inf'"),
        ("a,b\n1," + "9x" * 400 + "\n", {}, "b is '" + "9x" * 20 + "...'"),
        ("1,2\n", {"columns": ("a",)}, "has 2 columns, data.columns names 1: a"),
        ("a,b\n1,2\n", {"ignore": ("c",)}, "no column 'c' to leave out, as data.ignore asks; there are a, b"),
        ("a,b\n1,2\n", {"ignore": ("A", "B")}, "every column is ignored"),
        ("a,a\n1,2\n", {}, "column name 'a' occurs more than once"),
        (b"\xff\xfe1,2\n", {}, "is no text table"),
        (b"1,2\n\x00\x00\n", {}, "line 2 holds a zero byte"),
        ("1," * 600_000 + "\n", {}, "line 1 holds a zero byte, or 1000000 characters"),
    ],
)
def test_damaged_tables(text, options, message, tmp_path):
    with pytest.raises(RecordError) as caught:
        read(tmp_path, text, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_a_folder(tmp_path):
    for path, wrong in ((tmp_path, "is a folder"), (tmp_path / "absent.csv", "no such table")):
        with pytest.raises(RecordError, match=wrong):
            read_table(path)


def test_a_huge_table_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_VALUES", 10)
    assert len(read(tmp_path, "1,2\n" * 5)) == 5
    with pytest.raises(RecordError, match="more than 10 values"):
        read(tmp_path, "1,2\n" * 7)


@given(
    st.lists(
        st.lists(st.one_of(st.integers(-999, 999), st.just(np.nan)), min_size=3, max_size=3), min_size=1, max_size=8
    )
)
def test_what_is_written_says_that_it_is_synthetic_and_reads_back(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("t") / "table.csv"
    table = TableSet(np.array(rows, float), ("a", 'the "b", or c', "d"))
    write_table(table, file)
    lines = file.read_text().splitlines()
    assert lines[0].split(",")[0] == "synthetic"
    assert all(line.startswith(f"synthetic_{k:06d},") for k, line in enumerate(lines[1:]))
    again, notes = read_table(file)
    assert again.names == table.names
    assert np.array_equal(again.values, table.values, equal_nan=True)
    assert any("itself made by ecgveil" in note for note in notes)


def test_equal_rows_share_a_person_and_others_do_not():
    table = TableSet(np.array([[1, 2], [1, np.nan], [1, 2], [1, -np.nan], [0.0, 1], [-0.0, 1]]), ("a", "b"))
    one = table.patient_id
    assert one[0] == one[2]
    assert one[1] == one[3]
    assert one[4] == one[5]
    assert len(set(one)) == 3
    assert table.take([0, 2]).values.tolist() == [[1, 2], [1, 2]]


def test_tables_of_other_columns_are_not_joined():
    one, other = TableSet(np.ones((2, 1)), ("a",)), TableSet(np.ones((3, 1)), ("b",))
    assert len(join_tables([one, one])) == 4
    with pytest.raises(RecordError, match="tables differ in their columns: a and b"):
        join_tables([one, other])


def test_the_published_table(data):
    table, _ = read_table(data / "thyroid" / "ann-train.data")
    assert table.values.shape == (3772, 22)
    assert table.two_valued().sum() == 15
