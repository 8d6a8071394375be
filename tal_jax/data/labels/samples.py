"""Labels with a row a sample or a frame: a column of labels, or a column of 0 and 1 for each behaviour."""

import collections
import re

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from tal_jax.data.csv_layout import DECIMAL_COMMA, NULLS, TIME, is_number
from tal_jax.data.features import data_config
from tal_jax.data.labels.rows import SUBJECTS, Labels, Row, chosen_names, flag_of, is_empty, recording_name
from tal_jax.data.labels.tables import FILES
from tal_jax.data.labels.times import first_time
from tal_jax.data.table_columns import NUMBER_WORDS, Column, is_label_name, is_row_number, words
from tal_jax.data.table_times import UNITS_SEC, seconds_of, time_column
from tal_jax.data.tables import kind_of_type
from tal_jax.errors import DataError

NO_ACTION = (*NULLS, "0", "background")
NOT_ANNOTATED = -1  # a frame, in DeepEthogram's files
RECORDINGS = {
    "file",
    "filename",
    "recording",
    "video",
    "videoid",
    "videoname",
}  # words; others may be channels
COUNTS_ROWS = "counts the rows"
ONE_A_FRAME = "_labels"  # what DeepEthogram's files are called after the video


def is_frames(rows):
    """Whether the first lines of a table are DeepEthogram's: numbers of frames, then columns of 0 and 1."""
    (names, *rows) = rows if len(rows) > 1 else ([], [])
    numbers = names[:1] in (["Unnamed: 0"], [""]) or bool({"frame", "frames"} & {*words((names or ["x"])[0])})
    cells = {cell for row in rows[:-1] or rows for cell in row[1:]}
    return numbers and len(names) > 1 and cells <= {"0", "1", "-1", "0.0", "1.0", "-1.0"} and bool(cells)


def read_frames(file, options):
    """The Labels of a table with a row a frame and a column a behaviour, 1 while it goes on (DeepEthogram).

    The first column numbers the frames. `background` is no class. --fps is needed. The recording is called
    like the file, without "_labels"; --label_column names the behaviours to read.
    """
    if not options.fps:
        raise DataError(f"{file.path} has a row a frame; say how many a second: --fps=25.")
    table, found = _table(file), Labels()
    name = file.path.stem.removesuffix(ONE_A_FRAME)
    classes = [column for column in table.column_names[1:] if column.casefold() != "background"]
    place = lambda row: f"{file.path}, row {row + 1}"
    ends_sec = _of_frames(_numbers(table[table.column_names[0]]), place) / options.fps
    found.know(name, duration=float(ends_sec[-1]))
    for column in chosen_names(classes, options, file, "column"):
        values = _numbers(table[column])
        wrong = ~np.isin(values, (0, 1, NOT_ANNOTATED))
        if wrong.any():
            row = int(wrong.argmax())
            found = f"column '{column:.60}' must be 0 or 1, found {table[column][row]}"
            raise DataError(f"{place(row)}: {found}; correct it.")
        for _ in range(int((values == NOT_ANNOTATED).sum())):
            found.drop(f"they are frames of '{column:.60}' that are not annotated (-1)", str(file.path))
        found.rows += _runs(values == 1, [column] * len(values), ends_sec, name, place)
    return found


def read_samples(file, options):
    """The Labels of a table with a row a sample and a column of labels: each run of one label is an action.

    The column is the one that --label_column names, or the only one that is called after labels. Empty, 0,
    null, none and background are no action. A column of 0 and 1, or true and false, gives actions that are
    called like the column. Times are those of the table's time stamps, the first of which is second 0, or
    else come from --fps. The recording is called like the file, or as a column of recordings says, which may
    name several one after the other. A column of one subject or person is the subject.
    """
    table, found = _table(file, options.label_column), Labels()
    columns = chosen_names(table.column_names, options, file, "column")
    if not options.label_column:
        columns = [column for column in columns if is_label_name(column)]
    if len(columns) != 1 and not options.label_column:
        several = f"several columns may hold the labels, {', '.join(map(repr, columns)):.200}"
        problem = several if columns else "no column is called after labels"
        raise DataError(f"{file.path}: {problem}; name it with --label_column=NAME.")
    labels = {column: _labels(table[column], column) for column in columns}
    for name, begin, end in _recordings(table, columns, file, found):
        part, place = table.slice(begin, end - begin), lambda row: f"{file.path}, row {begin + row + 1}"
        ends_sec, has_times, problem = _ends_sec(part, place, file, options)
        if problem:
            found.notes.append(f"{place(0)}: {problem}; times are those of --fps.")
        rate = None if has_times else options.fps
        first = _first_time(part, place) if has_times else None
        found.know(name, _subject(part, columns, place), duration=float(ends_sec[-1]), fps=rate, first=first)
        for column in columns:
            of_part = labels[column][begin:end]
            acts = np.array([label.casefold() not in NO_ACTION for label in of_part])
            found.rows += _runs(acts, of_part, ends_sec, name, place)
    return found


def _labels(column, name):
    """The label of each sample, T texts: of a column of 0 and 1 its name."""
    labels = _texts(column)
    flags = [*map(flag_of, labels)]
    if {flag.casefold() for flag in flags} <= {"0", "1", *NULLS}:
        return [name if flag == "1" else "0" for flag in flags]
    return labels


def _names_alone(kind, table, columns):
    """The columns of a table whose names have a word of the kind and no other but NUMBER_WORDS: so video and
    person_id, but not video_frame and person_x. Columns of labels are none.

    Args:
        kind: set of words.
        table: pyarrow Table.
        columns: those of the labels.
    """
    names = [name for name in table.column_names if name not in columns and not is_label_name(name)]
    return [name for name in names if kind & {*words(name)} and {*words(name)} <= kind | {*NUMBER_WORDS}]


def _recordings(table, columns, file, found):
    """[(name, first row, row after the last)] of each recording that a column names, or else of the file.

    One that is named in all rows is another name of the file's recording. Raises DataError where the rows of
    a recording are not together, or some have no name.

    Args:
        table: pyarrow Table.
        columns: those of the labels.
        file: LabelFile.
        found: Labels; it gets to know other names.
    """
    column = next(iter(_names_alone(RECORDINGS, table, columns)), None)
    texts = _texts(table[column]) if column else [""]
    begins = [row for row, text in enumerate(texts) if not row or text != texts[row - 1]]
    if len(begins) == 1:
        found.know(file.path.stem, others=[recording_name(text) for text in texts[:1] if not is_empty(text)])
        return [(file.path.stem, 0, len(table))]
    names = []
    for row in begins:
        where, name = f"{file.path}, row {row + 1}", recording_name(texts[row])
        if is_empty(name) or name in names:
            what = (
                f"'{column:.40}' is empty" if is_empty(name) else f"'{column:.40}' names '{name:.60}' again"
            )
            how = "put the rows of a recording together, each with its name"
            raise DataError(f"{where}: {what}; {how}, or rename the column.")
        names.append(found.name_media(texts[row], where))
    if len(names) == len(texts) > 2:
        what = f"'{column:.40}' names another recording in each row, such as '{names[0]:.60}'"
        raise DataError(f"{file.path}: {what}; rename the column, or say --format=table.")
    return [*zip(names, begins, [*begins[1:], len(table)])]


def _table(file, label_column=()):
    """The pyarrow Table of a CSV, TSV, Parquet or Feather file with a line of names. Raises DataError.

    Of a file of text all names of columns are without blanks around them. Columns of labels, as
    `label_column` or their names say, and of names of subjects or recordings are texts in it, so that 01
    stays 01.
    """
    try:
        if file.suffix in (".parquet", ".feather"):
            module = pyarrow.parquet if file.suffix == ".parquet" else pyarrow.feather
            table = module.read_table(file.path)
        else:
            head, lines = file.head_cells(), file.without_comments(file.text).split("\n")
            names = next((row for row in head if any(row)), [])
            above = next((i for i, line in enumerate(lines) if line.strip()), 0)
            body = "\n".join(lines[above + 1 :])
            if '"' in body:
                collections.deque(file.records(), maxlen=0)  # is each quote closed?
            if not body.strip():
                raise DataError(f"{file.path} has no row below its names.")
            cells = [cell for row in head for cell in row]
            points = any("." in cell and is_number(cell) for cell in cells)
            commas = file.delimiter != "," and not points and any(map(DECIMAL_COMMA.fullmatch, cells))
            of_text = [name for name in names if {*words(name)} & {*SUBJECTS, *FILES} or is_label_name(name)]
            table = pyarrow.csv.read_csv(
                pyarrow.BufferReader(body.encode()),
                pyarrow.csv.ReadOptions(column_names=names),
                pyarrow.csv.ParseOptions(delimiter=file.delimiter),
                pyarrow.csv.ConvertOptions(
                    decimal_point="," if commas else ".",
                    column_types=dict.fromkeys([*of_text, *label_column], pyarrow.string()),
                ),
            )
    except pyarrow.ArrowException as error:
        raise DataError(
            f"Cannot read {file.path} as a table: {' '.join(str(error).split())[:300]}."
        ) from error
    if not len(table):
        raise DataError(f"{file.path} has no row below its names.")
    if len({*table.column_names}) < table.num_columns:
        raise DataError(f"{file.path}: two columns have one name; rename one.")
    return table


def _numbers(column):
    """(T,) float64 of a column, NaN for what is no number."""
    try:
        return column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        return np.full(len(column), np.nan)


def _texts(column):
    """The cells of a column as texts. Where all are numbers, 2.0 is 2, and 01 stays as it is."""
    texts = ["" if value is None else str(value).strip() for value in column.to_pylist()]
    numbers = {text: text.replace(",", ".") for text in {*texts} if text.casefold() not in NULLS}
    if not all(is_number(text) for text in numbers.values()):
        return texts
    whole = {
        text: str(int(float(number)))
        for text, number in numbers.items()
        if not re.match(r"0\d", text) and float(number).is_integer()
    }
    return [whole.get(text, text) for text in texts]


def _time_column(table):
    """(Column of time stamps or None, unit) of a pyarrow Table, see `table_times.time_column`."""
    columns = []
    for position, field in enumerate(table.schema, 1):
        first = str(table[field.name][0])
        kind = kind_of_type(field.type)
        kind = "time" if kind == "text" and TIME.fullmatch(first) else kind
        columns.append(Column(position, field.name, kind, f"'{first:.40}' in row 1"))
    return time_column(columns, data_config())


def _ends_sec(table, place, file, options):
    """When each sample begins, and when the last one ends.

    Args:
        table: pyarrow Table.
        place: row from 0 -> "FILE, row 1".
        file, options: see `read_samples`.

    Returns:
        ((T + 1,) seconds, whether they are time stamps, why a column of time stamps is not used, or "").

    Raises:
        DataError: neither time stamps nor --fps say.
    """
    problem, known = "it has no time stamps", ""
    try:
        column, unit = _time_column(table)
        if column is not None:
            values = table[column.name].combine_chunks()
            if len(values) < 2:
                raise ValueError(f"{place(0).rpartition(', ')[2]} is the only one of a recording")
            values = values if column.kind == "time" else _numbers(values)
            if column.kind == "number" and not unit and is_row_number(values):
                raise ValueError(f"{column} {COUNTS_ROWS}")
            times_sec = seconds_of(values, unit, column, lambda row: place(row).rpartition(", ")[2])
            if times_sec[-1] > 0:
                return np.append(times_sec, times_sec[-1] + np.median(np.diff(times_sec))), True, ""
            known = f"{column} does not grow"
    except (ValueError, pyarrow.ArrowException) as error:
        problem = str(error).partition("; ")[0]  # what follows is of config.data
        known = "" if problem.endswith(COUNTS_ROWS) else problem
    if not options.fps:
        how = "say how many a second: --fps=50; or --format=table, if a row is an action"
        raise DataError(f"{file.path} has a row a sample, but {problem}; {how}.")
    numbers = _names_alone({"frame", "frames"}, table, ())
    frames = _of_frames(_numbers(table[numbers[0]]), place) if numbers else np.arange(len(table) + 1)
    return frames / options.fps, False, known


def _of_frames(numbers, place):
    """(T + 1,) the numbers of frames, and where the last one ends. Raises DataError where they go back.

    numbers: (T,) of a column of them; a column without whole numbers counts for nothing. place: row from 0
    -> "FILE, row 1".
    """
    if not np.isfinite(numbers).all() or (numbers % 1).any() or len(numbers) < 2:
        return np.arange(len(numbers) + 1)
    steps = np.diff(numbers)
    if (steps <= 0).any():
        row = int((steps <= 0).argmax()) + 1
        found = f"frame {numbers[row]:g} after {numbers[row - 1]:g}"
        what = "numbers must grow in a file, which is of one recording"
        raise DataError(f"{place(row)} has {found}; {what}.")
    return np.append(numbers, numbers[-1] + np.median(steps))


def _first_time(table, place):
    """`times.first_time` of a table that has them. place: row from 0 -> "FILE, row 1"."""
    column, unit = _time_column(table)
    first = table[column.name][0]
    if pyarrow.types.is_timestamp(first.type):  # of nanoseconds a text cannot be read
        first = first.cast(pyarrow.timestamp("us", first.type.tz), safe=False)
    return first_time(str(first), place(0), UNITS_SEC.get(unit))


def _subject(table, columns, place):
    """The one value of a column that is called after persons, or None.

    Raises DataError where it, or a column of sessions, names several: they are of several recordings.

    Args:
        table: pyarrow Table.
        columns: those of the labels.
        place: row from 0 -> "FILE, row 1".
    """
    for name in _names_alone({*SUBJECTS, "session"}, table, columns):
        rows = [(row, text) for row, text in enumerate(_texts(table[name])) if not is_empty(text)]
        for (_, one), (row, other) in zip(rows, rows[1:]):
            if one != other:
                how = "write a file for each recording, or a column 'recording', or rename this one"
                raise DataError(f"{place(row)}: '{name:.40}' is '{one:.40}' and then '{other:.40}'; {how}.")
        if rows and SUBJECTS & {*words(name)}:
            return rows[0][1]
    return None


def _runs(acts, labels, ends_sec, name, place):
    """The Rows of a recording: each run of samples that act and have one label.

    Args:
        acts: (T,) bool.
        labels: T texts.
        ends_sec: (T + 1,) see `_ends_sec`.
        name: of the recording.
        place: row from 0 -> "FILE, row 1".
    """
    codes = np.unique(labels, return_inverse=True)[1] * acts - ~acts  # -1 where nothing happens
    edges = np.flatnonzero(np.diff(codes, prepend=-2, append=-2))
    return [
        Row(name, labels[start], float(ends_sec[start]), float(ends_sec[end]), place(start))
        for start, end in zip(edges, edges[1:])
        if acts[start]
    ]
