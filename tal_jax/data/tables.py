"""What the columns of a table mean: channels, time stamps, row numbers, labels. Parquet and Feather files."""

import re
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute
import pyarrow.feather
import pyarrow.parquet

UNITS_SEC = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
UNIT_WORDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "milli", "millis", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("us", "usec", "micro", "micros", "microsecond", "microseconds"), "us"),
    **dict.fromkeys(("ns", "nsec", "nano", "nanos", "nanosecond", "nanoseconds"), "ns"),
}
TIME_WORDS = {
    "time",
    "timestamp",
    "timestamps",
    "t",
    "ts",
    "datetime",
    "sec",
    "secs",
    "seconds",
    "ms",
    "millis",
    "milliseconds",
}
OTHER_WORDS = {"stamp", "date", "elapsed", "relative", "sensor", "unix", "epoch", "utc", "local", "in"}
EPOCHS = ((1e17, "ns"), (1e14, "us"), (1e11, "ms"), (1e8, "s"))  # times since 1970 are above
MOST_EQUAL_TIMES = 0.01  # of the rows
ROWS_TO_TELL = 10, 50  # rows from which on a column can be known as row numbers, as a clock
SET_COLUMNS = "choose the columns to read with config.data.csv_columns"
SET_TIME = "name the column of time stamps in config.data.csv_time_column, or set it to 'none'"


class Column(NamedTuple):
    """A column: its name, "" for none; its kind: 'number', 'time', 'text', 'empty'; an example of its cells."""

    name: str
    kind: str
    example: str = ""

    def label(self, index):
        """What a sentence calls the column that has this index."""
        return f"column {index + 1}" + (f" '{self.name}'" if self.name else "")


class Signal(NamedTuple):
    """What a sensor file holds.

    Attributes:
        samples: (T, C) float32.
        times_sec: (T,) float64, increasing; None for a file without time stamps.
        notes: what is not read and why, by kind: ends of sentences about the file.
    """

    samples: np.ndarray
    times_sec: np.ndarray | None
    notes: dict


def signal_of(columns, data, read, place, notes=None):
    """The Signal of a table.

    Args:
        columns: list of Column.
        data: the fields of `config.data`: `csv_columns`, `csv_time_column`.
        read: (indices of columns of numbers, of texts) -> {index: (T,) float64, or a pyarrow array of texts
            or times}.
        place: row from 0 -> what a sentence calls it.
        notes: notes that there are already.

    Raises:
        ValueError: the end of a sentence about the file that says what cannot be read.
    """
    notes = dict(notes or {})
    time, unit = _time_column(columns, data)
    chosen = [find_column(columns, column, "csv_columns") for column in data.csv_columns]
    numbers = chosen or _channels(columns, time, notes)
    for i in numbers:
        if columns[i].kind in ("text", "time"):
            other = SET_TIME if columns[i].kind == "time" else SET_COLUMNS
            what = "time stamps" if columns[i].kind == "time" else "text"
            raise ValueError(f"{columns[i].label(i)} holds {what}, {columns[i].example}; {other}")
    times = [] if time is None or columns[time].kind == "number" else [time]
    values = read(
        [*numbers] + ([time] if time is not None and not times and time not in numbers else []), times
    )
    if not chosen:
        numbers = [i for i in numbers if not _left_out(columns, i, values[i], notes)]
    if not numbers:
        raise ValueError(f"none of its columns is a channel; {SET_COLUMNS}")
    if time is not None and unit is None and columns[time].kind == "number" and is_row_number(values[time]):
        _note_row_number(columns, time, notes)
        time = None
    times_sec = None if time is None else _seconds(values[time], unit, columns[time].label(time), place)
    samples = np.empty((len(values[numbers[0]]), len(numbers)), np.float32)
    with np.errstate(over="ignore"):
        for channel, i in enumerate(numbers):
            samples[:, channel] = values[i]
    if times_sec is None:
        return Signal(samples, None, notes)
    if len(times_sec) < 2:
        raise ValueError(f"it has one row, whose time gives no rate; {SET_TIME}")
    kept = np.concatenate([[True], np.diff(times_sec) > 0])
    if (~kept).sum() > MOST_EQUAL_TIMES * len(kept):
        raise ValueError(
            f"{(~kept).sum()} of {len(kept)} rows have the time of the row before, the first is "
            f"{place(int(kept.argmin()))}; the clock is coarser than the samples, set config.data.csv_time_column='none' and config.data.fps"
        )
    if not kept.all():
        notes["equal times"] = f"has {(~kept).sum()} rows with the time of the row before, which are left out"
    first = values[time][0]
    begins = (
        ""
        if first == 0
        else f", whose {first:.15g} is 0 s"
        if columns[time].kind == "number"
        else f", whose {first} is 0 s"
    )
    notes["times"] = f"has its times in {columns[time].label(time)}{begins}"
    return Signal(samples[kept], times_sec[kept], notes)


def find_column(columns, wanted, field):
    """Index of the column of that name, or else of that number from 1. Raises ValueError for none or several."""
    named = [i for i, column in enumerate(columns) if column.name and column.name == str(wanted)]
    if len(named) == 1:
        return named[0]
    number = str(wanted)
    if not named and number.isdecimal() and len(number) < 9 and 1 <= int(number) <= len(columns):
        return int(number) - 1
    found = ", ".join(column.name for column in columns if column.name)
    found = f"the names are {found:.300}" if found else "they have no names"
    several = (
        "several columns have this name"
        if named
        else f"there is no such column among {len(columns)}; {found}"
    )
    raise ValueError(f"config.data.{field} names '{wanted}', but {several}")


def words(name):
    """The words of a name in small letters: "Time (ms)" -> time, ms; "timestampMs" -> timestamp, ms."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name.replace("µ", "u").replace("μ", "u"))
    return re.findall(r"[a-z]+", spaced.lower())


def is_time_name(name):
    """Whether a column of this name is one of time stamps."""
    found = words(name)
    return bool(TIME_WORDS.intersection(found)) and {*found} <= TIME_WORDS | OTHER_WORDS | {*UNIT_WORDS}


def _time_column(columns, data):
    """(index of the column of time stamps or None, its unit or None), as told or as names and texts show."""
    told, unit = data.csv_time_column, None
    if told == "none":
        return None, None
    if told:
        name, _, last = told.rpartition(":")
        if last in UNITS_SEC and name and told not in [column.name for column in columns]:
            told, unit = name, last
        index = find_column(columns, told, "csv_time_column")
    else:
        named = [
            i for i, column in enumerate(columns) if is_time_name(column.name) and column.kind != "empty"
        ]
        named = named or [i for i, column in enumerate(columns) if column.kind == "time"]
        if len(named) > 1:
            labels = " and ".join(columns[i].label(i) for i in named)
            raise ValueError(f"{labels} look like time stamps; {SET_TIME}")
        if not named:
            return None, None
        index = named[0]
    if columns[index].kind in ("text", "empty"):
        found = columns[index].example or "nothing"
        form = "which is no time of ISO 8601, no time of day and no number"
        raise ValueError(f"{columns[index].label(index)} holds {found}, {form}; {SET_TIME}")
    found = [UNIT_WORDS[word] for word in words(columns[index].name) if word in UNIT_WORDS]
    return index, unit or (found[-1] if found else None)


def _channels(columns, time, notes):
    """Indices of all columns that may be channels: no time stamps."""
    others = [i for i, c in enumerate(columns) if i != time and (is_time_name(c.name) or c.kind == "time")]
    if others:  # csv_time_column names another one, or none
        notes["other times"] = f"has times in {columns[others[0]].label(others[0])} that are not read"
    return [i for i in range(len(columns)) if i != time and i not in others]


def is_row_number(values):
    """Whether a column counts the rows, from any number on."""
    return bool(np.isfinite(values[0])) and bool((values - values[0] == np.arange(len(values))).all())


def is_clock(values):
    """Whether a column grows with every row along a straight line (to 1 % of its range), as time does."""
    if (
        len(values) < ROWS_TO_TELL[1]
        or not (np.diff(values[: ROWS_TO_TELL[1]]) > 0).all()
        or not (np.diff(values) > 0).all()
    ):
        return False
    line = np.linspace(values[0], values[-1], len(values))
    return bool(np.abs(values - line).max() <= 0.01 * (values[-1] - values[0]))


def _note_row_number(columns, i, notes):
    notes["row number"] = f"has the number of the row in {columns[i].label(i)}, which is left out"


def _left_out(columns, i, values, notes):
    """Whether a column is no channel: nothing without a name, or row numbers.

    Raises ValueError for an index, or another column that grows with time.
    """
    unnamed = not columns[i].name and any(column.name for column in columns)
    if not columns[i].name and np.isnan(values).all():
        return True
    if (unnamed or len(values) >= ROWS_TO_TELL[0]) and is_row_number(values):
        _note_row_number(columns, i, notes)
        return True
    if (unnamed and i == 0) or is_clock(values):
        what = (
            "has no name, and is an index"
            if unnamed and i == 0
            else "grows evenly with every row, as time does"
        )
        raise ValueError(f"{columns[i].label(i)} {what}; {SET_TIME} and {SET_COLUMNS}")
    return False


def _seconds(values, unit, label, place):
    """(T,) float64 seconds from the first time stamp: of numbers, or pyarrow texts or times. Raises
    ValueError.
    """
    if not isinstance(values, np.ndarray):
        return _increasing(_seconds_of_texts(values, label, place), label, place)
    _increasing(values, label, place)
    median = float(np.median(np.diff(values))) if len(values) > 1 else 0.0
    unit = (
        unit
        or next((unit for least, unit in EPOCHS if values[0] >= least), None)
        or ("s" if median < 1 else None)
    )
    if unit is None:
        raise ValueError(
            f"{label} has times {median:g} apart in an unknown unit; say it with "
            "config.data.csv_time_column='NAME:ms' (or s, us, ns)"
        )
    return (values - values[0]) * UNITS_SEC[unit]


def _seconds_of_texts(values, label, place):
    """Seconds of ISO 8601 dates and times, or of times of day, which may pass midnight."""
    missing = np.asarray(values.is_null())
    if missing.any():
        raise ValueError(f"{label} has no time in {place(int(missing.argmax()))}; {SET_TIME}")
    if pyarrow.types.is_string(values.type) or pyarrow.types.is_large_string(values.type):
        texts = pyarrow.compute.replace_substring(values, ",", ".")
        of_day = ":" in str(texts[0])[:3]
        if of_day:
            texts = pyarrow.compute.replace_substring_regex(texts, r"^(\d):", r"0\1:")
            texts = pyarrow.compute.binary_join_element_wise("1970-01-01", texts, " ")
        zoned = bool(re.search(r"(Z|[+-]\d\d:?\d\d)$", str(texts[0])[10:]))
        try:
            values = texts.cast(pyarrow.timestamp("ns", "UTC" if zoned else None))
        except pyarrow.ArrowInvalid as error:
            raise ValueError(
                f"{label} holds texts that are no ISO 8601 times: {str(error)[:120]}; {SET_TIME}"
            ) from error
    else:
        of_day = pyarrow.types.is_time(values.type)
        values = (
            values.cast(pyarrow.time64("ns"))
            if of_day
            else values.cast(pyarrow.timestamp("ns", values.type.tz))
        )
    nanoseconds = values.cast(pyarrow.int64()).to_numpy()
    if of_day:
        day = 86_400 * 10**9
        nanoseconds = nanoseconds + np.cumsum(np.concatenate([[0], np.diff(nanoseconds) < -day // 2])) * day
    return (nanoseconds - nanoseconds[0]) / 1e9


def _increasing(values, label, place):
    """The values. Raises ValueError where one is not finite or below the one before."""
    wrong = ~np.isfinite(values) | np.concatenate([[False], np.diff(values) < 0])
    if wrong.any():
        row = int(wrong.argmax())
        before = f" after {values[row - 1]:.15g}" if row else ""
        raise ValueError(
            f"{label} has the time {values[row]:.15g}{before} in {place(row)}; times must increase, "
            f"or {SET_TIME}"
        )
    return values


def read_table(path, data):
    """Reads a Parquet or Feather file: `Signal`. Raises ValueError, see `signal_of`."""
    module = pyarrow.parquet if path.suffix.lower() == ".parquet" else pyarrow.feather
    table = module.read_table(path)
    columns = []
    for i, field in enumerate(table.schema):
        name = "" if re.fullmatch(r"__index_level_\d+__", field.name) else field.name
        columns.append(Column(name, _kind(field.type), f"{field.type} values"))

    def read(numbers, texts):
        values = {i: table.column(i).cast(pyarrow.float64(), safe=False).to_numpy() for i in numbers}
        return values | {i: table.column(i) for i in texts}

    return signal_of(columns, data, read, lambda row: f"row {row + 1}")


def _kind(type):
    if pyarrow.types.is_integer(type) or pyarrow.types.is_floating(type) or pyarrow.types.is_decimal(type):
        return "number"
    if pyarrow.types.is_timestamp(type) or pyarrow.types.is_time(type):
        return "time"
    return "empty" if pyarrow.types.is_null(type) else "text"
