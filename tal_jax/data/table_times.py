"""Time stamps of a table: which column holds them, in which unit, and what they are in seconds."""

import re

import numpy as np
import pyarrow
import pyarrow.compute

from tal_jax.data.table_columns import OTHER_WORDS, TIME_WORDS, UNIT_WORDS, find_column, is_time_name, words

UNITS_SEC = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
EPOCH_SEC = 946_684_800, 4_102_444_800  # 1970 to the years 2000 and 2100
EPOCH_STEPS_SEC = 1e-6, 2.0  # longer ones may be of a device that counts smaller units since its start
SECONDS_STEPS = 2e-5, 0.21  # of other times: longer ones may be milliseconds, shorter ones hours or days
MOST_EQUAL_TIMES = 0.01  # of the rows
SET_TIME = "name the column of time stamps in config.data.csv_time_column, or set it to 'none'"
SET_UNIT = "say it with config.data.csv_time_column='NAME:ms' (or s, us, ns)"


def time_column(columns, data):
    """Index of the column of time stamps, as told or as names and texts show; and its unit.

    Args:
        columns: list of table_columns.Column.
        data: the fields of `config.data`.

    Returns:
        (index or None, key of UNITS_SEC; "" for one to be found by size; None for one that is said but not
        known).

    Raises:
        ValueError: several columns may be the one, or it holds no times.
    """
    told, unit = data.csv_time_column, ""
    if told == "none":
        return None, ""
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
            return None, ""
        index = named[0]
    if columns[index].kind in ("text", "empty"):
        found = columns[index].example or "nothing"
        form = "which is no time of ISO 8601, no time of day and no number"
        write = "write it as 2014-06-10 13:00:00.000, " if columns[index].kind == "text" else ""
        raise ValueError(f"{columns[index].label(index)} holds {found}, {form}; {write}{SET_TIME}")
    return index, unit or _said_unit(columns[index], columns[index].label(index))


def _said_unit(column, label):
    """The unit that the name and the lines of units say, see `time_column`. Raises ValueError for two."""
    by_name = [UNIT_WORDS[word] for word in words(column.name) if word in UNIT_WORDS][-1:]
    below = words(column.unit)
    by_line = [UNIT_WORDS[word] for word in below if word in UNIT_WORDS][-1:]
    if by_name and by_line and by_name != by_line and column.kind == "number":
        raise ValueError(
            f"{label} has times in {by_name[0]} by its name, in {by_line[0]} by the line below it; {SET_UNIT}"
        )
    if by_line or by_name:
        return (by_line or by_name)[0]
    return None if {*below} - TIME_WORDS - OTHER_WORDS else ""


def seconds_of(values, unit, column, label, place):
    """Seconds from the first time stamp.

    Args:
        values: (T,) float64, or pyarrow texts or times.
        unit: of numbers, see `time_column`.
        column: Column.
        label: what a sentence calls it.
        place: row from 0 -> what a sentence calls it.

    Returns:
        (T,) float64.

    Raises:
        ValueError: they go back, are missing or no times, or their unit is not known.
    """
    if not isinstance(values, np.ndarray):
        return _increasing(_seconds_of_texts(values, label, place), label, place)
    _increasing(values, label, place)
    steps = np.diff(values)
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    if unit == "":
        unit = _unit_by_size(values[0], step)
    if unit is None:
        below = f" ('{column.unit:.40}')" if column.unit else ""
        raise ValueError(f"{label} has times {step:g} apart in an unknown unit{below}; {SET_UNIT}")
    return (values - values[0]) * UNITS_SEC[unit]


def _unit_by_size(first, step):
    """The unit of times that begin with `first` and are `step` apart, if their size shows it; else None."""
    if not step:
        return "s"
    for unit, seconds in UNITS_SEC.items():
        if EPOCH_SEC[0] <= first * seconds < EPOCH_SEC[1]:
            return unit if EPOCH_STEPS_SEC[0] <= step * seconds <= EPOCH_STEPS_SEC[1] else None
    return "s" if SECONDS_STEPS[0] <= step <= SECONDS_STEPS[1] else None


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
