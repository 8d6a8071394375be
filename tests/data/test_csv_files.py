"""CSV files as pandas, NumPy, R, spreadsheets and sensors write them: read to the right samples, or refused
with the line.
"""

import numpy as np
import pytest

from tal_jax.config import ListParser
from tal_jax.data.feature_files import read_features
from tal_jax.data.features import data_config
from tal_jax.errors import DataError

ACTIGRAPH = """------------ Data File Created By ActiGraph GT3X+ ActiLife v6.13.3 date format M/d/yyyy at 30 Hz  Filter Normal -----------
Serial Number: CLE2B21130054
Start Time 13:00:00
Start Date 6/10/2014
Epoch Period (hh:mm:ss) 00:00:00
Download Time 16:21:04
Download Date 6/13/2014
Current Memory Address: 0
Current Battery Voltage: 4.07     Mode = 12
--------------------------------------------------
Accelerometer X,Accelerometer Y
0,1
2,3
4,5
"""


@pytest.fixture
def write(tmp_path):
    """Function (text or bytes) -> path of the file that holds it."""

    def put(content):
        (tmp_path / "a.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / "a.csv"

    return put


@pytest.mark.parametrize(
    "content",
    [
        "acc x,acc y\n0,1\n2,3\n4,5",
        "\ufeff0,1.0\r\n2,3\r\n4,5\r\n",
        "x,y\n0,1e0\n2,3\n4,5\n",
        "0,1\n0,1\n2,3\n4,5\n",  # the first line: pandas' names of columns without names
        ",0,1\n0,0.0,1.0\n1,2.0,3.0\n2,4.0,5.0\n",  # pandas' index
        ",ax,ay\n0,0.0,1.0\n1,2.0,3.0\n2,4.0,5.0\n",
        '"ax","ay"\n"1",0,1\n"2",2,3\n"3",4,5\n',  # R's row names
        ACTIGRAPH,
        "# by hand\n% x y\n\n0 1\n2  3\n4\t5\n",
        "x,y\n0,1\n2,3\n# pause\n4,5\n",
        "x,y\ng,m/s²\n0,1\n2,3\n4,5\n",
        "x;y\n0,0;1,0\n2;3\n4;5\n",
        "x\ty\n0\t1\n2\t3,0\n4\t5\n",
        "x;y\n0.0;1\n2;3\n4;5\n",
        "0,1,\n2,3,\n4,5,\n",
        "x,y\n0,1,\n2,3,\n4,5,\n",
        "x,y,\n0,1\n2,3\n4,5\n",
        "x,y\n+0, 1\n 2,3\n4,5\n",
        "x,y\n0,1\n2,3\n4,5\n".encode("utf-16"),
        "drehung (°/s),y\n0,1\n2,3\n4,5\n".encode("latin-1"),
        "100\nx,y\n0,1\n2,3\n4,5\n",
        "x,y\n0,1\n2,3\n% pause\n4,5\n% end\n",
        "x y\n0 1\n2 3\n// pause\n4 5\n// end",
        "x,y\n0,1\n  # pause\n2,3\n4,5\n#end",
        ",1,2\n1,0,1\n2,2,3\n3,4,5\n",  # a matrix of R
        ",1.0,2.0\n0,0,1\n1,2,3\n2,4,5\n",
    ],
)
def test_the_same_samples_in_many_forms(write, content):
    found = read_features(write(content), data_config())
    assert found.array.dtype == np.float32 and found.times_sec is None
    np.testing.assert_array_equal(found.array, [[0, 1], [2, 3], [4, 5]])


def test_what_is_not_read_is_said(write):
    notes = read_features(write(",0,1\n0,5,6\n1,7,8\n"), data_config()).notes
    assert notes == {
        "numbers": "has numbers for names: line 1 (',0,1') is no sample",
        "row number": "has the number of the row in column 1, which is left out",
    }
    counted = "".join(f"{i + 3},{i % 2}\n" for i in range(12))
    found = read_features(write("frame,ax\n" + counted), data_config())
    assert found.array.shape == (12, 1) and "column 1 'frame'" in found.notes["row number"]
    assert "10, the first is line 1 ('---" in read_features(write(ACTIGRAPH), data_config()).notes["head"]
    assert (
        "line 2 ('g,g') is not" in read_features(write("x,y\ng,g\n1,2\n1,3\n"), data_config()).notes["units"]
    )


def test_a_missing_number_is_nan_wherever_it_is(write):
    np.testing.assert_array_equal(
        read_features(write("1,\n2,3\n"), data_config()).array, [[1, np.nan], [2, 3]]
    )
    np.testing.assert_array_equal(
        read_features(write("x,y\n1,NA\n+2,\n,NaN\n"), data_config()).array,
        [[1, np.nan], [2, np.nan], [np.nan] * 2],
    )


def test_a_first_line_of_numbers_may_be_said_to_be_a_sample(write):
    path = write("0,1\n2,3\n")
    np.testing.assert_array_equal(read_features(path, data_config()).array, [[2, 3]])
    np.testing.assert_array_equal(read_features(path, data_config(csv_skip_lines=0)).array, [[0, 1], [2, 3]])
    np.testing.assert_array_equal(
        read_features(write("9\n8\n0,1\n2,3\n"), data_config(csv_skip_lines=2)).array, [[0, 1], [2, 3]]
    )
    np.testing.assert_array_equal(
        read_features(write("0\n0.5\n0.2\n"), data_config()).array[:, 0], np.float32([0.5, 0.2])
    )
    np.testing.assert_array_equal(
        read_features(write("0\n0.5\n1\n"), data_config()).array[:, 0], [0, 0.5, 1]
    )  # '%g'


@pytest.mark.parametrize("names", ["0,1,2", "1,2,3", "0.0,1.0,2.0", "1.0,2.0,3.0"])
def test_a_first_line_that_counts_the_columns_is_their_names(write, names):
    rows = np.random.default_rng(0).normal(size=(200, 3)).round(6)
    text = f"{names}\n" + "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
    found = read_features(write(text), data_config())
    np.testing.assert_array_equal(found.array, rows.astype(np.float32))
    assert f"line 1 ('{names}') is no sample" in found.notes["numbers"]
    assert read_features(write(text), data_config(csv_skip_lines=0)).array.shape == (201, 3)


def test_a_line_without_letters_above_the_samples_names_nothing(write):  # as ActiGraph's, without names
    found = read_features(write("Epoch 1\n-----\n5,1\n2,3\n"), data_config()).array
    np.testing.assert_array_equal(found, [[5, 1], [2, 3]])


def test_a_first_line_that_is_a_sample_elsewhere_too_is_one(write):
    assert read_features(write("1,2,3\n" * 4), data_config()).array.shape == (4, 3)
    np.testing.assert_array_equal(read_features(write("0.0\n0.5\n"), data_config()).array, [[0], [0.5]])


def test_numbers_of_columns_are_positions_where_names_are_numbers_too(write):
    path = write(",0,1,2\n0,0.5,1.5,2.5\n1,3.5,4.5,5.5\n")
    for columns, expected in (
        ((2, 3), [[0.5, 1.5], [3.5, 4.5]]),
        ((3, 2), [[1.5, 0.5], [4.5, 3.5]]),
        (("2", "0"), [[2.5, 0.5], [5.5, 3.5]]),
        (ListParser().parse("2,3"), [[0.5, 1.5], [3.5, 4.5]]),
    ):
        np.testing.assert_array_equal(read_features(path, data_config(csv_columns=columns)).array, expected)
    found = read_features(path, data_config(csv_time_column="2:s", csv_columns=(4,)))
    assert found.times_sec.tolist() == [0, 3]


@pytest.mark.parametrize("columns", [("a", "a"), (1, "a"), ("a", "1")])
def test_a_column_that_is_named_twice_is_refused(write, columns):
    with pytest.raises(DataError, match="config.data.csv_columns names column 1 'a' twice; name it once"):
        read_features(write("a,b\n1,2\n"), data_config(csv_columns=columns))


def test_columns_are_chosen_by_name_or_number(write):
    path = write("a,b,label\n1,2,walk\n3,4,run\n")
    for columns, expected in ((("b", "a"), [[2, 1], [4, 3]]), ((2,), [[2], [4]]), (("2",), [[2], [4]])):
        np.testing.assert_array_equal(read_features(path, data_config(csv_columns=columns)).array, expected)


@pytest.mark.parametrize(
    "content, sentence",
    [
        (
            "x,y,label\n1,2,walk\n",
            r"column 3 'label' holds text, 'walk' in line 2; choose .*config\.data\.csv_columns=x,y\.",
        ),
        ("x,y\n1,2\n3,four\n5,6\n7,8\n", r"line 3 has 'four' in column 2 'y'.*config\.data\.csv_columns"),
        ("x;y\n1,5;2\n3.5;4\n", r"with a decimal comma and with a point, line 2 has '1,5' and line 3 '3.5'"),
        (
            "1,?\n3,4\n5,4\n5,6\n",
            r"line 1 \('1,\?'\) is not like the samples.*config\.data\.csv_skip_lines.*: 1",
        ),
        (
            "0\n1\n0\n",
            r"line 1 \('0'\) may be a name or a sample; set config\.data\.csv_skip_lines.*: 1 or 0",
        ),
        ("1\n1\n0\n", r"line 1 \('1'\) may be a name or a sample; .*csv_skip_lines.*: 1 or 0"),
        ("1,2\n3,4\n", r"line 1 \('1,2'\) may be names or a sample; .*csv_skip_lines.*: 1 or 0"),
        ("0.0,1.0\n0.3,0.7\n", r"line 1 \('0\.0,1\.0'\) may be names or a sample; .*csv_skip_lines"),
        ("x\n0,126\n0,3\n", r"line 1 \('x'\) has 1 names, but line 2 .* has 2 cells; .*decimal comma"),
        ("x,y,\n0,1,0,3\n1,2,0,5\n", r"line 1 \('x,y,'\) has 2 names, .* 4 cells; .*csv_skip_lines.*: 1"),
        ("x,y,z\n1,2\n3,4\n", r"line 1 \('x,y,z'\) has 3 names, but line 2 \('1,2'\) has 2 cells"),
        (",5,6\n1,2,3\n", r"line 1 \(',5,6'\) may be names or a sample.*config\.data\.csv_skip_lines"),
        (
            "32\n1,2\n3,4\n",
            r"line 1 \('32'\) is not like the samples that begin with line 2.*config\.data\.csv_skip_lines",
        ),
        ("7,2\n3,4\n5", r"line 3 \('5'\) has 1 cells, those before it have 2"),
        ("x,y\n1,2\n3,4\nx,y\n1,2\n3,4\n5,6\n", r"line 4 has 'x' in column 1 'x'"),
        ("a,b\n" + "a" * 200_000 + ",1\n2,3\n", r"line 2 .*field larger than field limit"),
        (
            "c,ax\n" + "".join(f"{i / 50},{i % 3}\n" for i in range(60)),
            r"column 1 'c' grows evenly.*csv_time_column",
        ),
        (",ax\n7,1\n2,3\n", r"column 1 has no name, and is an index"),
        ("Unnamed: 0,ax\n7,1\n2,3\n", r"column 1 'Unnamed: 0' has no name, and is an index"),
        ("x,y\n", r"holds no line of numbers, it begins with line 1 \('x,y'\)"),
        (b"x\0\1\2", r"it is no text"),
    ],
)
def test_what_is_not_clear_is_refused_with_the_line_and_the_field(write, content, sentence):
    with pytest.raises(DataError, match=rf"a\.csv: .*{sentence}"):
        read_features(write(content), data_config())


def test_columns_that_are_not_there(write):
    path = write("a,b\n1,2\n")
    with pytest.raises(
        DataError, match="csv_columns names 'c', but there is no such column among 2; the names are a, b"
    ):
        read_features(path, data_config(csv_columns=("c",)))
    with pytest.raises(DataError, match="csv_time_column names '3', but there is no such column"):
        read_features(path, data_config(csv_time_column="3"))


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_beyond_float32_are_infinite(write, digits):
    found = read_features(write(f"x,y\n{'9' * digits},1e300\n1,2\n"), data_config()).array
    np.testing.assert_array_equal(found, [[np.inf, np.inf], [1, 2]])


def test_the_slow_reader_reads_what_the_fast_one_does(write):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 4))
    text = "a,b,c,d\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist())
    fast = read_features(write(text), data_config()).array
    slow = read_features(
        write(text.replace("\n", "\n+0,1,2,3\n", 1)), data_config()
    ).array  # pyarrow reads no +0
    np.testing.assert_array_equal(fast, rows.astype(np.float32))
    np.testing.assert_array_equal(slow[1:], fast)
