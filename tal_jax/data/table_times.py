"""Time stamps of a table: the column that holds them, their unit, and their values in seconds."""

import re

import numpy as np
import pyarrow
import pyarrow.compute

from tal_jax.data.table_columns import OTHER_WORDS, TIME_WORDS, UNIT_WORDS, find_column, is_time_name, words

UNITS_SEC = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
EPOCH_SEC = 946_684_800, 4_102_444_800  # 1970 to the years 2000 and 2100
EPOCH_STEPS_SEC = 1e-6, 2.0  # longer ones may be of a device that counts smaller units since its start
SECONDS_STEPS = 2e-5, 0.21  # of other times: longer ones may be milliseconds, shorter ones hours or days
DAY_NS = 86_400 * 10**9
SET_TIME = "name the column of time stamps in config.data.csv_time_column, or set it to 'none'"
SET_UNIT = "say it with config.data.csv_time_column='NAME:ms' (or s, us, ns)"


def time_column(columns, data):
    """The Column of time stamps, as the config says or as names and texts show; and its unit.

    Args:
        columns: list of table_columns.Column.
        data: the fields of `config.data`: `csv_time_column`.

    Returns:
        (Column or None, key of UNITS_SEC; "" for one to be found by size; None for one that is said but not
        known).

    Raises:
        ValueError: several columns may be the one, or it holds no times.
    """
    told, unit = data.csv_time_column, ""
    if told and told != "none":
        name, _, last = told.rpartition(":")
        if last in UNITS_SEC and name and told not in [column.name for column in columns]:
            told, unit = name, last
        found = [find_column(columns, told, "csv_time_column")]
    else:
        found = [column for column in columns if is_time_name(column.name) and column.kind != "empty"]
        found = found or [column for column in columns if column.kind == "time"]
    if told == "none" or not found:
        return None, ""
    if len(found) > 1:
        raise ValueError(f"{' and '.join(map(str, found))} look like time stamps; {SET_TIME}")
    (column,) = found
    if column.kind in ("text", "empty"):
        form = f"{column.example or 'nothing'}, which is no time of ISO 8601, no time of day and no number"
        write = "write it as 2014-06-10 13:00:00.000, " if column.kind == "text" else ""
        raise ValueError(f"{column} holds {form}; {write}{SET_TIME}")
    return column, unit or _said_unit(column)


def _said_unit(column):
    """The unit that the name and the lines of units say, see `time_column`. Raises ValueError for two."""
    below = words(column.unit)
    by_name = [UNIT_WORDS[word] for word in words(column.name) if word in UNIT_WORDS][-1:]
    by_line = [UNIT_WORDS[word] for word in below if word in UNIT_WORDS][-1:]
    if by_name and by_line and by_name != by_line and column.kind == "number":
        found = f"{by_name[0]} by its name, in {by_line[0]} by the line below it"
        raise ValueError(f"{column} has times in {found}; {SET_UNIT}")
    unknown = None if {*below} - TIME_WORDS - OTHER_WORDS else ""
    return next(iter(by_line + by_name), unknown)


def seconds_of(values, unit, column, place):
    """Seconds from the first time stamp.

    Args:
        values: (T,) float64, or pyarrow texts or times.
        unit: of numbers, see `time_column`.
        column: Column.
        place: row from 0 -> its place in the file, for messages: "line 5".

    Returns:
        (T,) float64.

    Raises:
        ValueError: they go back, are missing or no times, or their unit is not known.
    """
    if column.kind == "time":
        values, unit = _seconds_of_texts(values, column, place), "s"
    wrong = ~np.isfinite(values) | np.concatenate([[False], np.diff(values) < 0])
    if wrong.any():
        row = int(wrong.argmax())
        before = f" after {values[row - 1]:.15g}" if row else ""
        found = f"the time {values[row]:.15g}{before} in {place(row)}"
        raise ValueError(f"{column} has {found}; times must increase, or {SET_TIME}")
    steps = np.diff(values)
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    unit = _unit_by_size(values[0], step) if unit == "" else unit
    if unit is None:
        below = f" ('{column.unit:.40}')" if column.unit else ""
        raise ValueError(f"{column} has times {step:g} apart in an unknown unit{below}; {SET_UNIT}")
    return (values - values[0]) * UNITS_SEC[unit]


def _unit_by_size(first, step):
    """The unit of times that begin with `first` and are `step` apart, if their size shows it; else None."""
    if not step:
        return "s"
    for unit, seconds in UNITS_SEC.items():
        if EPOCH_SEC[0] <= first * seconds < EPOCH_SEC[1]:
            return unit if EPOCH_STEPS_SEC[0] <= step * seconds <= EPOCH_STEPS_SEC[1] else None
    return "s" if SECONDS_STEPS[0] <= step <= SECONDS_STEPS[1] else None


def _seconds_of_texts(values, column, place):
    """(T,) float64 seconds of ISO 8601 dates and times, or of times of day, which may pass midnight."""
    missing = np.asarray(values.is_null())
    if missing.any():
        raise ValueError(f"{column} has no time in {place(int(missing.argmax()))}; {SET_TIME}")
    of_day = pyarrow.types.is_time(values.type)
    target = pyarrow.time64("ns") if of_day else pyarrow.timestamp("ns", getattr(values.type, "tz", None))
    if pyarrow.types.is_string(values.type):
        values = pyarrow.compute.replace_substring(values, ",", ".")
        of_day = ":" in str(values[0])[:3]
        if of_day:
            values = pyarrow.compute.replace_substring_regex(values, r"^(\d):", r"0\1:")
            values = pyarrow.compute.binary_join_element_wise("1970-01-01", values, " ")
        zoned = bool(re.search(r"(Z|[+-]\d\d:?\d\d)$", str(values[0])[10:]))
        target = pyarrow.timestamp("ns", "UTC" if zoned else None)
    try:
        values = values.cast(target)
    except pyarrow.ArrowInvalid as error:
        found = f"a time that is not of ISO 8601, or not of the years 1678 to 2261: {error!s:.120}"
        raise ValueError(f"{column} holds {found}; {SET_TIME}") from error
    nanoseconds = values.cast(pyarrow.int64()).to_numpy()
    if of_day:
        midnights = np.cumsum(np.concatenate([[0], np.diff(nanoseconds) < -DAY_NS // 2]))
        nanoseconds = nanoseconds + midnights * DAY_NS
    return (nanoseconds - nanoseconds[0]) / 1e9
