"""What columns of tables mean, time stamps above all; and the tables that are no text."""

import datetime

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import file_notes
from tal_jax.data.feature_files import read_features
from tal_jax.data.features import data_config, folder_dataset
from tal_jax.data.table_columns import is_label_name, is_time_name
from tal_jax.errors import DataError

RATE = 50.0


def write_csv(folder, name, times, values=None):
    """A CSV file with a column of times of that name and a channel; its path."""
    values = np.arange(len(times)) % 3 if values is None else values
    rows = "".join(f"{time},{value}\n" for time, value in zip(times, values, strict=True))
    (folder / "a.csv").write_text(f"{name},ax\n{rows}")
    return folder / "a.csv"


def dataset_of(folder, recording=None, **fields):
    recording = recording or Recording("a", "train", None, np.zeros((0, 2)), np.zeros(0, np.int32))
    return folder_dataset(Annotations(("x",), {"a": recording}), folder, data_config(**fields))


@pytest.mark.parametrize(
    "name",
    ["time", "Timestamp", "t", "datetime", "seconds", "time_ms", "Time (s)", "timestampMs", "unix_time"],
)
def test_names_of_times(name):
    assert is_time_name(name)


@pytest.mark.parametrize("name", ["", "ax", "temp", "s", "min", "time_to_peak", "acc_t", "date of birth"])
def test_other_names(name):
    assert not is_time_name(name)


@pytest.mark.parametrize(
    "name, stamp",
    [
        ("time", lambda i: i / RATE),
        ("t", lambda i: 12.5 + i / RATE),
        ("time_ms", lambda i: 20 * i),
        ("Time (ms)", lambda i: 1000 + 20 * i),
        ("seconds_elapsed", lambda i: i / RATE),
        ("timestamp", lambda i: 1_700_000_000_000 + 20 * i),
        ("timestamp", lambda i: 1_700_000_000_000_000_000 + 20_000_000 * i),
        ("timestamp", lambda i: 1_700_000_000_000_000 + 20_000 * i),
        ("timestamp", lambda i: f"{1_700_000_000 + i / RATE:.2f}"),
        ("when", lambda i: f"2024-02-29T23:59:{50 + i // 50:02d}.{i % 50 * 2:02d}0Z"),
        (
            "when",
            lambda i: str(
                datetime.datetime(2024, 12, 31, 23, 59, 59) + datetime.timedelta(milliseconds=20 * i)
            ),
        ),
        ("clock", lambda i: f"9:00:{i // 50:02d}.{i % 50 * 2:02d}"),
    ],
)
def test_time_stamps_give_the_rate(tmp_path, name, stamp):
    write_csv(tmp_path, name, [stamp(i) for i in range(130)])
    dataset = dataset_of(tmp_path)
    np.testing.assert_array_equal(dataset.read("a")[:, 0], np.arange(130) % 3)
    np.testing.assert_allclose(dataset.timeline("a").to_seconds([0, 50]), [0, 1], atol=1e-6)
    assert dataset.duration_sec("a") == pytest.approx(2.6)
    assert f"has its times in column 1 '{name}'" in dataset.notes("a")["times"]


@pytest.mark.parametrize(
    "first, step",
    [
        (2e14, 2e7),  # nanoseconds since the device was started
        (3 * 3600e9, 2e7),
        (20 * 86_400e9, 2e7),  # as microseconds in the year 2024, but 20 s apart
        (200e6, 20_000),  # microseconds
        (2 * 86_400e3, 20),  # milliseconds
        (20 * 86_400e3, 20),  # as seconds in the year 2024
        (0, 0.5),  # seconds or milliseconds
        (100, 0.25),
        (0, 0.02 / 3600),  # hours
        (738_000, 0.02 / 86_400),  # days
    ],
)
def test_a_clock_whose_unit_is_not_sure_is_refused(tmp_path, first, step):
    path = write_csv(tmp_path, "timestamp", [f"{first + step * i:.15g}" for i in range(60)])
    with pytest.raises(
        DataError, match=r"1 'timestamp' has times .* apart in an unknown unit; .*csv_time_column='NAME:ms'"
    ):
        read_features(path, data_config())
    found = read_features(path, data_config(csv_time_column="timestamp:ms")).times_sec
    assert found[-1] == pytest.approx(59e-3 * step, rel=0.01)


@pytest.mark.parametrize("rate", [5, 10, 1000, 48_000])
def test_times_with_5_to_50000_a_second_are_seconds(tmp_path, rate):
    path = write_csv(tmp_path, "time", [f"{7 + i / rate:.9f}" for i in range(60)])
    np.testing.assert_allclose(read_features(path, data_config()).times_sec, np.arange(60) / rate, atol=1e-8)


def test_seconds_since_1970_are_times_at_one_a_second_too(tmp_path):
    path = write_csv(tmp_path, "time", [1_700_000_000 + i for i in range(30)])
    np.testing.assert_array_equal(read_features(path, data_config()).times_sec, np.arange(30))
    path = write_csv(tmp_path, "time", [5 + i for i in range(30)])
    with pytest.raises(DataError, match="has times 1 apart in an unknown unit"):
        read_features(path, data_config())
    for first in (0, 1):
        path = write_csv(tmp_path, "time", [first + i for i in range(30)])
        found = read_features(path, data_config())
        assert found.times_sec is None and "column 1 'time'" in found.notes["row number"]


@pytest.mark.parametrize(
    "name, unit, sec", [("time", "ms", 1e-3), ("t", "[s]", 1), ("Time", "µs", 1e-6), ("time_ns", "ns", 1e-9)]
)
def test_the_line_of_units_says_the_unit_of_times(tmp_path, name, unit, sec):
    rows = "".join(f"{i / 2},{i % 3}\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f"{name},ax\n{unit},g\n{rows}")
    found = read_features(tmp_path / "a.csv", data_config())
    np.testing.assert_allclose(found.times_sec, np.arange(20) * sec / 2)


@pytest.mark.parametrize(
    "name, unit, sentence",
    [
        ("time", "min", r"has times 0\.02 apart in an unknown unit \('min'\); say it with"),
        ("time_ms", "s", "column 1 'time_ms' has times in ms by its name, in s by the line below it; say it"),
    ],
)
def test_a_line_of_units_that_does_not_help_is_refused(tmp_path, name, unit, sentence):
    rows = "".join(f"{i / 50},{i % 3}\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f"{name},ax\n{unit},g\n{rows}")
    with pytest.raises(DataError, match=sentence):
        read_features(tmp_path / "a.csv", data_config())
    assert read_features(tmp_path / "a.csv", data_config(csv_time_column=f"{name}:s")).times_sec[1] == 0.02


@pytest.mark.parametrize(
    "name",
    ["label", "labels", "class", "Class Label", "activity", "activityID", "HL_Activity", "target"]
    + ["annotation", "ground_truth", "groundtruth", "gt", "class_0", "Category", "action_id"],
)
def test_names_of_labels(name):
    assert is_label_name(name)


@pytest.mark.parametrize(
    "name", ["", "ax", "class_3_prob", "activity_level", "target distance", "actionness", "id"]
)
def test_names_that_are_no_labels(name):
    assert not is_label_name(name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_column_of_numeric_labels_is_refused_unless_it_is_chosen(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        path.write_text("ax,label\n1,0\n2,1\n")
    else:
        pyarrow.parquet.write_table(pyarrow.table({"ax": [1, 2], "label": [0, 1]}), path)
    with pytest.raises(DataError, match="column 2 'label' holds labels by its name, .*data.csv_columns"):
        read_features(path, data_config())
    np.testing.assert_array_equal(read_features(path, data_config(csv_columns=("ax",))).array, [[1], [2]])
    found = read_features(path, data_config(csv_columns=(2, 1)))
    np.testing.assert_array_equal(found.array, [[0, 1], [1, 2]])


ROWS = np.arange(200)


@pytest.mark.parametrize(
    "name, values",
    [
        ("attr_time", ROWS / 50 - (ROWS > 100) / 50),  # a stamp that is there twice
        ("attr_time", ROWS / 50 + (ROWS > 100) / 2),  # a gap
        ("elapsed_time_total", ROWS // 50),
        ("elapsed_time_total", ROWS // 150),
        ("c", 5 + 3 * ROWS),
        ("c", np.sqrt(ROWS)),
        ("c", np.where(ROWS == 50, np.nan, ROWS // 7)),
        ("left_s", (200 - ROWS) / 50),
    ],
)
def test_a_column_that_grows_all_along_is_refused(tmp_path, name, values):
    path = write_csv(tmp_path, "ax", ROWS % 3, values)
    path.write_text(path.read_text().replace("ax,ax", f"ax,{name}", 1))
    with pytest.raises(
        DataError, match=f"column 2 '{name}' (grows|falls) evenly or in steps and never .*csv_columns"
    ):
        read_features(path, data_config())
    assert read_features(path, data_config(csv_columns=("ax", name))).array.shape == (200, 2)


@pytest.mark.parametrize(
    "values",
    [
        np.round(20 + ROWS / 20 + np.random.default_rng(0).normal(scale=0.2, size=200), 1),  # a temperature
        np.cumsum((ROWS > 40) & (ROWS < 100) & (ROWS % 10 == 0)),  # a counter of steps
        (ROWS > 150) * 1.0,  # a switch
        np.sin(ROWS / 50),
        np.full(200, 7.0),
    ],
)
def test_what_a_sensor_measures_is_a_channel(tmp_path, values):
    path = write_csv(tmp_path, "c", values)
    found = read_features(path, data_config())
    assert found.array.shape == (200, 2) and found.times_sec is None


@pytest.mark.parametrize(
    "name, values, lost",
    [
        ("Unnamed: 0", ROWS + 10 * (ROWS > 90), 10),  # pandas' index, after dropna
        ("index", 300 + ROWS, 0),
        ("frame_number", 300 + ROWS + (ROWS > 7), 1),
        ("PacketCounter", (ROWS + 30) % 64, 0),
    ],
)
def test_an_index_is_left_out(tmp_path, name, values, lost):
    found = read_features(write_csv(tmp_path, name, values), data_config())
    np.testing.assert_array_equal(found.array, ROWS[:, None] % 3)
    assert f"the number of the row in column 1 '{name}', which is left out" in found.notes["row number"]
    assert (f"{lost} numbers are missing" in found.notes["row number"]) == bool(lost)


def test_an_index_finger_is_a_channel(tmp_path):
    assert read_features(write_csv(tmp_path, "index", np.sin(ROWS)), data_config()).array.shape == (200, 2)


def test_a_time_of_day_may_pass_midnight(tmp_path):
    write_csv(tmp_path, "clock", ["23:59:58", "23:59:59", "00:00:00", "0:00:01"])
    np.testing.assert_array_equal(read_features(tmp_path / "a.csv", data_config()).times_sec, [0, 1, 2, 3])


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({"stride_frames": 2, "snippet_frames": 4}, (100.0, 2, 4)),
        ({"stride_frames": 0}, (50.0, 1, 1)),
        ({"fps": 50.0}, (50.0, 1, 1)),
        ({"fps": 49.9}, (49.9, 1, 1)),  # one clock, whose rows go where their times say
        ({"fps": 100.0, "stride_frames": 2, "snippet_frames": 2}, (100.0, 2, 2)),
        ({"fps": 25.0, "stride_frames": 0}, (25.0, 0.5, 0.5)),
    ],
)
def test_the_rate_of_the_times_stands_where_no_other_is_said(tmp_path, fields, expected):
    write_csv(tmp_path, "time", np.arange(1001) / RATE)
    timeline = dataset_of(tmp_path, **fields).timeline("a")
    assert (timeline.fps, timeline.stride_frames, timeline.snippet_frames) == pytest.approx(expected)


def test_two_rates_are_an_error_that_names_both(tmp_path):
    write_csv(tmp_path, "time", np.arange(100) / RATE)
    with pytest.raises(
        DataError, match="'a' in .* has 50 rows a second as its file says, but 25 by its annotation or"
    ):
        dataset_of(tmp_path, fps=25.0).read("a")
    recording = Recording("a", "train", None, np.zeros((0, 2)), np.zeros(0, np.int32), fps=60.0)
    with pytest.raises(DataError, match="50 rows .* but 60"):
        dataset_of(tmp_path, recording, fps=50.0).read("a")


def test_jitter_lost_samples_and_rounded_times_are_put_on_an_even_axis(tmp_path):
    rng = np.random.default_rng(0)
    times = np.arange(400) / RATE + rng.uniform(-0.004, 0.004, 400)
    times = np.delete(times, [50, 51, 200])
    write_csv(tmp_path, "time", times, np.sin(times))
    dataset = dataset_of(tmp_path)
    found = dataset.read("a")[:, 0]
    axis = times[0] + np.arange(len(found)) / dataset.timeline("a").fps
    assert dataset.timeline("a").fps == pytest.approx(RATE, rel=0.01)
    np.testing.assert_allclose(found, np.sin(axis), atol=1e-3)
    assert "interpolated at" in dataset.notes("a")["resampled"]

    write_csv(
        tmp_path, "time_ms", np.round(np.arange(1000) / 128 * 1000).astype(int)
    )  # 128 Hz, in whole milliseconds
    dataset = dataset_of(tmp_path)
    np.testing.assert_array_equal(dataset.read("a")[:, 0], np.arange(1000) % 3)
    assert dataset.timeline("a").fps == pytest.approx(128, rel=1e-4)


def test_a_gap_is_told_and_keeps_the_times_after_it(tmp_path, caplog):
    times = np.concatenate([np.arange(100), np.arange(150, 250)]) / RATE
    write_csv(tmp_path, "time", times, np.arange(200) % 3 + (times > 3.5))
    dataset = dataset_of(tmp_path)
    found = dataset.read("a")[:, 0]
    assert len(found) == 250 and dataset.duration_sec("a") == pytest.approx(5.0)
    np.testing.assert_allclose(found[150:], (np.arange(100, 200) % 3 + (times[100:] > 3.5)), atol=1e-5)
    assert any(
        "gaps between its times, of 1.02 s at 1.98 s; a straight line fills each" in text
        for text in caplog.messages
    )
    assert any(
        "1.02 s at 1.98 s" in note and note.startswith("Note: recording 'a'")
        for note in file_notes(dataset, {"a": ([], 1)})
    )
    write_csv(tmp_path, "time", np.concatenate([np.arange(100), np.arange(100) + 1e9]) / RATE)
    with pytest.raises(
        DataError, match="has a gap of 2e.07 s at 1.98 s, and less than half of its time has samples"
    ):
        dataset_of(tmp_path).read("a")


@pytest.mark.parametrize(
    "name, times, fields, sentence",
    [
        (
            "time",
            [0, 20, 40, 61],
            {},
            "column 1 'time' has times 20 apart in an unknown unit; .*csv_time_column='NAME:ms'",
        ),
        (
            "time",
            [0, 0.2, 0.1],
            {},
            "column 1 'time' has the time 0.1 after 0.2 in line 4; times must increase",
        ),
        ("time", [0, "", 0.1], {}, "column 1 'time' has the time nan after 0 in line 3"),
        ("when", ["10:00:00", "", "10:00:01"], {}, "column 1 'when' has no time in line 3"),
        (
            "time",
            [0, 0, 0.1, 0.1, 0.2],
            {},
            "2 of 5 rows have the time of the row before, the first is line 3",
        ),
        (
            "time,seconds",
            ["0,0", "1,1", "2,2"],
            {},
            "column 1 'time' and column 2 'seconds' look like time stamps; .*csv_time_column",
        ),
        (
            "Timestamp",
            ["6/10/2014 13:00:00"] * 2,
            {},
            "column 1 'Timestamp' holds '6/10/2014 13:00:00' in line 2, which is no .*; write it as "
            "2014-06-10 "
            "13:00:00.000, name .* config.data.csv_time_column, or set it to 'none'",
        ),
        ("when", ["May 5", "May 6"], {}, "column 1 'when' holds text, 'May 5' in line 2; .*csv_columns"),
        (
            "when",
            ["May 5", "May 6"],
            {"csv_time_column": "when"},
            "column 1 'when' holds 'May 5' in line 2, which is no time",
        ),
    ],
)
def test_times_that_cannot_be(tmp_path, name, times, fields, sentence):
    path = write_csv(tmp_path, name, times)
    with pytest.raises(DataError, match=sentence):
        read_features(path, data_config(**fields))


def test_the_column_of_times_may_be_named_or_left(tmp_path):
    path = write_csv(tmp_path, "time", [0, 20, 40, 60])
    found = read_features(path, data_config(csv_time_column="time:ms"))
    np.testing.assert_allclose(found.times_sec, [0, 0.02, 0.04, 0.06])
    np.testing.assert_allclose(
        read_features(path, data_config(csv_time_column="1:s")).times_sec, [0, 20, 40, 60]
    )
    found = read_features(path, data_config(csv_time_column="none"))
    assert (
        found.times_sec is None and found.array.shape == (4, 1) and "not read" in found.notes["other times"]
    )


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_parquet_and_feather(tmp_path, suffix):
    write = pyarrow.parquet.write_table if suffix == ".parquet" else pyarrow.feather.write_feather
    begin = datetime.datetime(2024, 1, 1)
    columns = {
        "ax": pyarrow.array([1, 2, None, 4]),
        "ay": pyarrow.array(np.float32([1, 2, 3, 4])),
        "at": [begin + datetime.timedelta(milliseconds=20 * i) for i in range(4)],
        "__index_level_0__": [0, 1, 2, 3],
    }
    write(pyarrow.table(columns), tmp_path / f"a{suffix}")
    found = read_features(tmp_path / f"a{suffix}", data_config())
    np.testing.assert_array_equal(found.array, [[1, 1], [2, 2], [np.nan, 3], [4, 4]])
    np.testing.assert_allclose(found.times_sec, [0, 0.02, 0.04, 0.06])
    write(pyarrow.table(columns | {"label": ["a", "b", "c", "d"]}), tmp_path / f"a{suffix}")
    with pytest.raises(
        DataError, match=f"a{suffix}: column 5 'label' holds text, string values; .*csv_columns"
    ):
        read_features(tmp_path / f"a{suffix}", data_config())
    assert read_features(tmp_path / f"a{suffix}", data_config(csv_columns=("ay",))).array.shape == (4, 1)
    (tmp_path / f"a{suffix}").write_bytes(b"PAR1 no table")
    with pytest.raises(DataError, match=f"a{suffix}"):
        read_features(tmp_path / f"a{suffix}", data_config())
