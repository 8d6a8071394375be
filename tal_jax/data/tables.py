"""Tables of sensor samples: which columns are read, left out or refused; Parquet and Feather files."""

import dataclasses
import re
from typing import Callable, NamedTuple

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet

from tal_jax.data import table_columns
from tal_jax.data.table_columns import Column, is_row_number, is_time_name
from tal_jax.data.table_times import SET_TIME, seconds_of, time_column

SET_COLUMNS = "choose the columns to read with config.data.csv_columns"
MOST_EQUAL_TIMES = 0.01  # of the rows


@dataclasses.dataclass(frozen=True)
class FeatureFile:
    """The features or samples in one file, or in a pair of files of two streams.

    Attributes:
        array: (T, C) float, T and C at least 1.
        rows: T of the longer of two streams; 0: T of `array`.
        widths: channels of each stream that the file names; empty for an array whose streams are not told.
        times_sec: (T,) float64, increasing from 0, of rows that have time stamps.
        rate: rows a second, of a file that says so without time stamps.
        notes: what was left out, cut or found in it, by kind: ends of sentences about the recording.
        channels: C names; empty where the file has none.
    """

    array: np.ndarray
    rows: int = 0
    widths: tuple = ()
    times_sec: np.ndarray | None = None
    rate: float | None = None
    notes: dict = dataclasses.field(default_factory=dict)
    channels: tuple = ()


class Table(NamedTuple):
    """A table file whose columns are known.

    Attributes:
        columns: list of Column.
        read: list of Columns -> pyarrow Table of them: numbers, or texts or times in a column of times.
        place: row from 0 -> its place in the file, for messages: "line 5".
        notes: notes on the file by kind, see FeatureFile.
    """

    columns: list
    read: Callable
    place: Callable
    notes: dict


def first_time_of(table, data):
    """(text, key of UNITS_SEC or "") of the first time stamp of a Table, see `signal_of`; None for none."""
    time, unit = time_column(table.columns, data)
    if time is None:
        return None
    values = table.read([time]).column(0)
    if _is_row_number(time, unit, values, data):
        return None
    first = values[0]
    if pyarrow.types.is_timestamp(first.type):  # of nanoseconds a text cannot be read
        first = first.cast(pyarrow.timestamp("us", first.type.tz), safe=False)
    return str(first), unit


def signal_of(table, data):
    """The FeatureFile of a Table: samples (T, C) float32, and their times where it has a column of them.

    Args:
        table: Table; notes are added to its own.
        data: the fields of `config.data`: `csv_columns`, `csv_time_column`.

    Raises:
        ValueError: a column or a value cannot be read; the end of a sentence about the file.
    """
    columns, read, place, notes = table
    time, unit = time_column(columns, data)
    chosen = table_columns.chosen_columns(columns, data.csv_columns)
    channels = chosen or _channels(columns, time, notes)
    for column in channels:
        if column.kind in ("text", "time"):
            what, how = ("time stamps", SET_TIME) if column.kind == "time" else ("text", _choose(columns))
            raise ValueError(f"{column} holds {what}, {column.example}; {how}")
    wanted = [*channels, *([time] if time and time not in channels else [])]
    values = dict(zip(wanted, read(wanted).columns))
    for column in wanted:
        if column.kind != "time":
            values[column] = values[column].cast(pyarrow.float64(), safe=False).to_numpy()
    if not chosen:
        channels = [column for column in channels if not _left_out(columns, column, values[column], notes)]
    if not channels:
        raise ValueError(f"none of its columns is a channel; {SET_COLUMNS}")
    if time and _is_row_number(time, unit, values[time], data):
        _note_row_number(time, notes)
        time = None
    samples = np.empty((len(values[channels[0]]), len(channels)), np.float32)
    with np.errstate(over="ignore"):
        for i, column in enumerate(channels):
            samples[:, i] = values[column]
    names = tuple(column.name for column in channels) if all(column.name for column in channels) else ()
    if not time:
        return FeatureFile(samples, notes=notes, channels=names)
    times_sec = seconds_of(values[time], unit, time, place)
    if len(times_sec) < 2:
        raise ValueError(f"it has one row, whose time gives no rate; {SET_TIME}")
    kept = np.concatenate([[True], np.diff(times_sec) > 0])
    equal = (~kept).sum()
    if equal > MOST_EQUAL_TIMES * len(kept):
        raise ValueError(
            f"{equal} of {len(kept)} rows have the time of the row before, the first is "
            f"{place(int(kept.argmin()))}; the clock is coarser than the samples, set "
            "config.data.csv_time_column='none' and config.data.fps"
        )
    if equal:
        notes["equal times"] = f"has {equal} rows with the time of the row before, which are left out"
    first = values[time][0]
    first = f"{first:.15g}" if time.kind == "number" else str(first)
    notes["times"] = f"has its times in {time}" + ("" if first == "0" else f", whose {first} is 0 s")
    return FeatureFile(samples[kept], times_sec=times_sec[kept], notes=notes, channels=names)


def _is_row_number(time, unit, values, data):
    """Whether a Column that is called after time counts the rows, unless a unit or the config says that it is
    one.
    """
    said = time.kind != "number" or unit or data.csv_time_column
    return not said and is_row_number(np.asarray(values, np.float64))


def _channels(columns, time, notes):
    """All Columns that may be channels: no time stamps. Raises ValueError for one of labels."""
    others = [column for column in columns if column != time]
    times = [column for column in others if is_time_name(column.name) or column.kind == "time"]
    if times:  # csv_time_column names another one, or none
        notes["other times"] = f"has times in {times[0]} that are not read"
    channels = [column for column in others if column not in times]
    for column in channels:
        if column.kind == "number" and table_columns.is_label_name(column.name):
            raise ValueError(
                f"{column} holds labels by its name, which give the answer away; {_choose(columns)}"
            )
    return channels


def _choose(columns):
    """The end of a sentence: which columns to read, all numbers but time stamps and labels."""
    others = [column for column in columns if column.kind == "number" and not is_time_name(column.name)]
    others = [column for column in others if not table_columns.is_label_name(column.name)]
    named = all(re.fullmatch(r"[^\s,'\"]+", column.name) for column in others)
    example = ",".join(column.name if named else str(column.position) for column in others)
    return f"{SET_COLUMNS}={example}" if others and len(example) < 200 else SET_COLUMNS


def _left_out(columns, column, values, notes):
    """Whether a column is no channel: nothing without a name, or numbers of the rows.

    Raises ValueError for another index, and for a column that gives the position away, as time does.
    """
    nameless = not column.name or bool(re.fullmatch(r"Unnamed: \d+", column.name))  # by pandas
    unnamed = nameless and any(column.name for column in columns)
    if nameless and np.isnan(values).all():
        return True
    if unnamed or len(values) >= table_columns.ROWS_TO_TELL[0]:
        is_index = unnamed or table_columns.INDEX_WORDS.intersection(table_columns.words(column.name))
        lost = table_columns.lost_rows(values) if is_index else None
        if is_row_number(values) or lost is not None:
            _note_row_number(column, notes, lost)
            return True
    if unnamed and column.position == 1:
        what = "has no name, and is an index"
    elif table_columns.grows_all_along(values, column.name):
        what = "grows evenly or in steps and never falls, as time does"
    elif table_columns.grows_all_along(values[::-1], column.name):
        what = "falls evenly or in steps and never grows, as the time that is left does"
    else:
        return False
    raise ValueError(f"{column} {what}; {SET_TIME} and {SET_COLUMNS}")


def _note_row_number(column, notes, lost=0):
    """Adds the note that a column numbers the rows, `lost` of which are missing."""
    gaps = f"; {lost} numbers are missing, so what follows them counts as too early" if lost else ""
    notes["row number"] = f"has the number of the row in {column}, which is left out{gaps}"


def open_columnar(path, data):
    """The Table of a Parquet or Feather file. `data` is not used."""
    module = pyarrow.parquet if path.suffix.lower() == ".parquet" else pyarrow.feather
    table = module.read_table(path)
    columns = []
    for position, field in enumerate(table.schema, 1):
        name = "" if re.fullmatch(r"__index_level_\d+__", field.name) else field.name
        columns.append(Column(position, name, kind_of_type(field.type), f"{field.type} values"))

    def read(columns):
        return table.select([column.position - 1 for column in columns])

    return Table(columns, read, lambda row: f"row {row + 1}", {})


def kind_of_type(type):
    """The kind of a Column of this pyarrow type."""
    if pyarrow.types.is_integer(type) or pyarrow.types.is_floating(type) or pyarrow.types.is_decimal(type):
        return "number"
    if pyarrow.types.is_timestamp(type) or pyarrow.types.is_time(type):
        return "time"
    return "empty" if pyarrow.types.is_null(type) else "text"
