"""A column of a table, told by its name and values: times, labels, numbers of the rows, or a channel."""

import re
from typing import NamedTuple

import numpy as np

UNITS = {
    "s": "s sec secs second seconds",
    "ms": "ms msec milli millis millisecond milliseconds",
    "us": "us usec micro micros microsecond microseconds",
    "ns": "ns nsec nano nanos nanosecond nanoseconds",
}
UNIT_WORDS = {word: unit for unit, names in UNITS.items() for word in names.split()}
TIME_WORDS = {"time", "timestamp", "timestamps", "datetime", "t", "ts", "sec", "secs", "seconds"}
TIME_WORDS |= {"ms", "millis", "milliseconds"}
CLOCK_WORDS = {"time", "timestamp", "timestamps", "datetime", "elapsed", "clock"}
OTHER_WORDS = {"stamp", "date", "elapsed", "relative", "sensor", "unix", "epoch", "utc", "local", "in"}
LABEL = re.compile(
    r"(ground|class|activity)?"
    r"(labels?|class(es)?|activit(y|ies)|targets?|annotations?|truth|gt|categor(y|ies)|actions?|gestures?"
    r"|behaviou?rs?)(ids?|codes?)?"
)
NUMBER_WORDS = {"id", "ids", "index", "idx", "no", "nr", "num", "number", "code", "codes", "name", "names"}
# Words in names of columns that may number the rows, as "Unnamed: 0" of pandas does.
INDEX_WORDS = {"index", "idx", "id", "row", "rownames", "frame", "sample", "packet", "record", "line"}
INDEX_WORDS |= {"level", "unnamed", "counter", "seq", "sequence", "number", "num", "no", "nr"}
ROWS_TO_TELL = 10, 50  # from which on a column is known as row numbers, or to grow all along
MOST_ONES = 0.9  # of the steps of an index: the others are rows that are lost, or a counter that begins again
LEAST_STEPS = 3  # of a column that grows all along; fewer may be events
PARTS, MOST_PARTS = 10, 0.8  # of so many parts of a recording it grows in most


class Column(NamedTuple):
    """A column of a table; as text, its position and name.

    Attributes:
        position: from 1.
        name: "" for none.
        kind: 'number', 'time', 'text' or 'empty'.
        example: of its cells, where they are no numbers.
        unit: text of the lines between its name and its first value.
    """

    position: int
    name: str
    kind: str
    example: str = ""
    unit: str = ""

    def __str__(self):
        return f"column {self.position}" + (f" '{self.name}'" if self.name else "")


def find_column(columns, wanted, field):
    """The Column that a field of the config names.

    A whole number is a position from 1. A text is a name, or the digits of a position where no column has
    this name. In `csv_time_column`, always a text, digits are a position too where all names are numbers.

    Args:
        columns: list of Column.
        wanted: a name or a position.
        field: the field of `config.data` that says so.

    Raises:
        ValueError: there is no such column, or several have the name.
    """
    text, names = str(wanted), [column.name for column in columns if column.name]
    are_numbers = bool(names) and all(re.fullmatch(r"\d+(\.\d*)?", name) for name in names)
    is_position = isinstance(wanted, int) or (field == "csv_time_column" and are_numbers)
    found = [column for column in columns if column.name and column.name == text]
    if text.isdecimal() and (is_position or not found):
        found = [column for column in columns if str(column.position) == text.lstrip("0")]
    if len(found) == 1:
        return found[0]
    problem = "several columns have this name; give the number of the column, from 1"
    if not found:
        listed = f"the names are {', '.join(names):.300}" if names else "they have no names"
        problem = f"there is no such column among {len(columns)}; {listed}"
    raise ValueError(f"config.data.{field} names '{wanted}', but {problem}")


def chosen_columns(columns, wanted):
    """The Columns that `config.data.csv_columns` names, in its order.

    Raises ValueError as `find_column` does, and for a column that is named twice.
    """
    chosen = [find_column(columns, entry, "csv_columns") for entry in wanted]
    for i, column in enumerate(chosen):
        if column in chosen[:i]:
            raise ValueError(f"config.data.csv_columns names {column} twice; name it once")
    return chosen


def words(name):
    """The words of a name in small letters: "Time (ms)" -> time, ms; "timestampMs" -> timestamp, ms."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name.replace("µ", "u").replace("μ", "u"))
    return re.findall(r"[a-z]+", spaced.lower())


def is_time_name(name):
    """Whether a column of this name is one of time stamps."""
    found = {*words(name)}
    return bool(TIME_WORDS & found) and found <= TIME_WORDS | OTHER_WORDS | {*UNIT_WORDS}


def is_label_name(name):
    """Whether a column of this name holds labels: its last word says so, as in HL_Activity and class_id."""
    found = words(name)
    while len(found) > 1 and found[-1] in NUMBER_WORDS:
        found.pop()
    return bool(found) and bool(LABEL.fullmatch(found[-1]))


def is_row_number(values):
    """Whether a column, (T,) float64, counts the rows, from 0 or 1."""
    return bool(values[0] in (0, 1)) and bool((values - values[0] == np.arange(len(values))).all())


def lost_rows(values):
    """How many numbers an index, (T,) float64, leaves out; None for a column that is no index.

    Of an index at least the share `MOST_ONES` of its steps are 1.
    """
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    steps = np.diff(values)
    return int((steps[steps > 1] - 1).sum()) if np.mean(steps == 1) >= MOST_ONES else None


def grows_all_along(values, name):
    """Whether a column never falls and grows in most parts of the recording, as time and counters do.

    A temperature falls now and then, and a counter of steps stands still where nobody walks. Of a column that
    is called after time a single step is enough.

    Args:
        values: (T,) float64.
        name: of the column.
    """
    head = values[: ROWS_TO_TELL[1]]
    if len(values) < ROWS_TO_TELL[1] or (head[1:] < head[:-1]).any():  # fast
        return False
    values = values[np.isfinite(values)]
    if (values[1:] < values[:-1]).any():
        return False
    places = np.flatnonzero(values[1:] > values[:-1])
    if len(places) < LEAST_STEPS:
        return len(places) > 0 and bool(CLOCK_WORDS.intersection(words(name)))
    parts = min(PARTS, len(places))
    return len(np.unique(places * parts // (len(values) - 1))) >= MOST_PARTS * parts
