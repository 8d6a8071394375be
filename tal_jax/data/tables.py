"""A table of sensor samples: what is read, what is left out, what is refused. Parquet and Feather files."""

import re
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet

from tal_jax.data.table_columns import (
    ROWS_TO_TELL,
    Column,
    chosen_columns,
    grows_all_along,
    is_index_name,
    is_label_name,
    is_row_number,
    is_time_name,
    lost_rows,
)
from tal_jax.data.table_times import MOST_EQUAL_TIMES, SET_TIME, seconds_of, time_column

SET_COLUMNS = "choose the columns to read with config.data.csv_columns"


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
    time, unit = time_column(columns, data)
    chosen = chosen_columns(columns, data.csv_columns)
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
    counts = time is not None and columns[time].kind == "number" and is_row_number(values[time])
    if counts and unit == "" and not data.csv_time_column:
        _note_row_number(columns, time, notes)
        time = None
    times_sec = None
    if time is not None:
        times_sec = seconds_of(values[time], unit, columns[time], columns[time].label(time), place)
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
            f"{place(int(kept.argmin()))}; the clock is coarser than the samples, set "
            "config.data.csv_time_column='none' and config.data.fps"
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


def _channels(columns, time, notes):
    """Indices of all columns that may be channels: no time stamps. Raises ValueError for one of labels."""
    others = [i for i, c in enumerate(columns) if i != time and (is_time_name(c.name) or c.kind == "time")]
    if others:  # csv_time_column names another one, or none
        notes["other times"] = f"has times in {columns[others[0]].label(others[0])} that are not read"
    found = [i for i in range(len(columns)) if i != time and i not in others]
    for i in found:
        if columns[i].kind == "number" and is_label_name(columns[i].name):
            raise ValueError(
                f"{columns[i].label(i)} holds labels by its name, which give the answer away; {SET_COLUMNS}"
            )
    return found


def _left_out(columns, i, values, notes):
    """Whether a column is no channel: nothing without a name, or numbers of the rows.

    Raises ValueError for another index, and for a column that gives the position away, as time does.
    """
    nameless = not columns[i].name or bool(re.fullmatch(r"Unnamed: \d+", columns[i].name))  # by pandas
    unnamed = nameless and any(column.name for column in columns)
    if nameless and np.isnan(values).all():
        return True
    if unnamed or len(values) >= ROWS_TO_TELL[0]:
        lost = lost_rows(values) if unnamed or is_index_name(columns[i].name) else None
        if is_row_number(values) or lost is not None:
            _note_row_number(columns, i, notes, lost)
            return True
    if unnamed and i == 0:
        what = "has no name, and is an index"
    elif grows_all_along(values, columns[i].name):
        what = "grows evenly or in steps and never falls, as time does"
    elif grows_all_along(values[::-1], columns[i].name):
        what = "falls evenly or in steps and never grows, as the time that is left does"
    else:
        return False
    raise ValueError(f"{columns[i].label(i)} {what}; {SET_TIME} and {SET_COLUMNS}")


def _note_row_number(columns, i, notes, lost=0):
    gaps = f"; {lost} numbers are missing, so what is behind them counts as too early" if lost else ""
    notes["row number"] = f"has the number of the row in {columns[i].label(i)}, which is left out{gaps}"


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
