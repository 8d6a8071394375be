"""Labels in tables: CSV and TSV files with a row an action, and the events of BORIS."""

import re
import statistics

from tal_jax.data.csv_layout import is_number
from tal_jax.data.labels.rows import SUBJECTS, Labels, Row, chosen_names, flag_of, is_empty
from tal_jax.data.labels.times import FROM_START, time_of
from tal_jax.data.table_columns import NUMBER_WORDS, TIME_WORDS, UNIT_WORDS, is_label_name, words
from tal_jax.data.table_times import UNITS_SEC
from tal_jax.errors import DataError

# words of the names of columns
STARTS = {"start", "begin", "begins", "onset", "tmin", "from", "tstart"}
ENDS = {"end", "ends", "stop", "offset", "tmax", "to", "finish", "tend"}
LENGTHS = {"duration", "length"}
POINTS = {"time", "timestamp", "t"}
FILES = {
    "file",
    "filename",
    "recording",
    "session",
    "video",
    "media",
    "clip",
    "audio",
    "videoid",
    "videoname",
}
# words of a column that measures a recording or a person, and does not name them: video_fps, participant_age
MEASURES = {*"fps rate width height size age sex gender weight length duration count frame frames".split()}
MEASURES |= {*"date day quality type kind format status".split()}
SUBSET_WORDS = {"subset", "split"}
OTHER_LABELS = {"event", "type", "name", "description", "verb", "noun", "text", "value"}  # if no other is one
FRAMES = {"frame", "frames", "sample", "samples", "index", "idx", "row", "rows"}
LONG_UNITS_SEC = dict.fromkeys("min mins minute minutes".split(), 60.0)
LONG_UNITS_SEC |= dict.fromkeys("h hr hrs hour hours".split(), 3600.0)
TIMES_ALONE = {"to", "from", "t"}  # are times where no other word stands beside them, as in distance_to_food
LAST_CHOICE = {"session", "target"}  # columns with these words are taken where there is no other
UNIT_NAMES = {*UNIT_WORDS, *LONG_UNITS_SEC, *FRAMES, *TIME_WORDS, "in", "of", "hh", "mm", "ss"}
HOW_TO_NAME = "name the columns in the first line, for example: file,start,end,label"

BORIS_TIMES = ({"Behavior", "Time", "Status"}, {"Behavior", "Time", "Behavior type"})
BORIS_SPANS = {"Behavior", "Start (s)", "Stop (s)"}
NO_SUBJECT = "No focal subject"
UNPAIRED_START = "they are starts without a stop (BORIS)"
UNPAIRED_STOP = "they are stops without a start (BORIS)"


def is_boris(cells):
    """Whether the cells of a line name the columns of BORIS's tabular or aggregated events."""
    return any(names <= {*cells} for names in (*BORIS_TIMES, BORIS_SPANS))


def read_boris(file, options):
    """The Labels of BORIS's tabular events, START and STOP of a state in a row each, or aggregated events.

    A start and the next stop of the same subject, behaviour and modifiers are one action; a point event is a
    point. The label is the behaviour, or what the columns of --label_column hold at the start. The recording
    is the media file; or the observation, where it has no media file or plays several one after the other,
    over which BORIS counts on.
    """
    names, rows = file.table(is_boris)
    columns = chosen_names([*filter(None, names)], options, file, "column") if options.label_column else []
    found, started, moved, flags = Labels(), {}, {}, _flags(columns, rows)
    aggregated, status = BORIS_SPANS <= {*names}, "Status" if "Status" in names else "Behavior type"
    modifiers = [name for name in names if name.startswith("Modifier")]
    for where, row in rows:
        name, others = _boris_names(row, file, found, where)
        subject = "" if row.get("Subject") in (None, NO_SUBJECT) else row["Subject"]
        found.know(name, subject, others, duration=_number(row, "Media duration (s)", "Total length"))
        if re.search("[1-9]", row.get("Time offset (s)", "")):
            moved[name] = row["Time offset (s)"]
        behavior, kind = row["Behavior"], row.get(status, "").upper()
        labels = _row_labels(row, columns, flags) if columns else [behavior]
        if aggregated:
            start_sec, clock = time_of(row["Start (s)"], where, 1.0)
            stop = row["Stop (s)"]
            stop_sec = start_sec if kind == "POINT" or is_empty(stop) else time_of(stop, where, 1.0)[0]
            found.rows += [Row(name, label, start_sec, stop_sec, where, clock) for label in labels]
            continue
        time_sec, clock = time_of(row["Time"], where, 1.0)
        of_row = [Row(name, label, time_sec, time_sec, where, clock) for label in labels]
        action = name, row.get("Observation id"), subject, behavior, *(row[column] for column in modifiers)
        if kind == "START":
            if action in started:
                found.drop(UNPAIRED_START, started[action][0])
            started[action] = where, of_row
        elif kind == "STOP" and action in started:
            found.rows += [begun._replace(end_sec=time_sec) for begun in started.pop(action)[1]]
        elif kind == "STOP":
            found.drop(UNPAIRED_STOP, where)
        elif kind == "POINT":
            found.rows += of_row
        else:
            raise DataError(f"{where}: '{status}' must be START, STOP or POINT, found {kind!r:.40}.")
    for begin, _ in started.values():
        found.drop(UNPAIRED_START, begin)
    if not {*columns} & {*modifiers} and any(row[column] for _, row in rows for column in modifiers):
        found.notes.append(
            f"{file.path}: modifiers are not read; the label is the behaviour (--label_column)."
        )
    for name, offset in moved.items():
        has = f"'{name:.60}' has a time offset in BORIS, {offset:.20}"
        found.notes.append(f"{file.path}: {has}; times are taken as they are.")
    return found


def _boris_names(row, file, found, where):
    """(name of the recording, other names) of an event of BORIS. found: Labels; where: begins an error."""
    observation = row.get("Observation id") or file.path.stem
    players = [player for player in re.split(r"\|?player #\d+:", row.get("Source") or "") if player]
    media = row.get("Media file name") or row.get("Media file path") or ""
    if is_empty(media) or media in ("LIVE", "Not found") or len((players or [""])[0].split(";")) > 1:
        return observation, []
    return found.name_media(media, where), [observation]


def _number(row, *columns):
    """The number in the first of these columns that holds one alone, or None."""
    cells = [row[column] for column in columns if re.fullmatch(r"-?\d+([.,]\d+)?", row.get(column) or "")]
    return float(cells[0].replace(",", ".")) if cells else None


def find_columns(names):
    """The columns of a table of actions by what they hold, as their names say.

    Args:
        names: of the columns.

    Returns:
        dict of the keys "start", "end", "length", "point", "file", "subject", "subset", "label" that were
        found: the name of a column.
    """
    of_words, candidates, found = {name: {*_joined_words(name)} for name in names if name}, {}, {}
    kinds = {"start": STARTS, "end": ENDS, "length": LENGTHS, "point": POINTS, "file": FILES}
    kinds |= {"subject": SUBJECTS, "subset": SUBSET_WORDS}
    for name, said in of_words.items():
        kind = next((kind for kind, known in kinds.items() if known & said), None)
        if not kind or kind == "length" and FILES & said:
            continue
        if kind in ("file", "subject") and MEASURES & said:
            continue
        others = len(said - kinds[kind] - UNIT_NAMES - {*NUMBER_WORDS})  # start_time goes before start_x
        if others and said & kinds[kind] <= TIMES_ALONE:
            continue
        rank = bool(LAST_CHOICE & said), bool(FRAMES & said), others  # seconds go before frames
        candidates.setdefault(kind, []).append((rank, name))
    for kind, ranked in candidates.items():
        found[kind] = min(ranked, key=lambda pair: pair[0])[1]
    rest = [name for name in of_words if name not in found.values()]
    labels = label_columns(rest)
    found |= {"label": labels[0]} if labels else {}
    alone = [name for name in rest if of_words[name] == {"name"} and name not in labels[:1]]
    return ({"file": alone[0]} if alone else {}) | found


def _joined_words(name):
    """`words` of a name; Praat's t_min and t_max are one word each, no minutes."""
    return words(re.sub(r"(?i)\bt[ _](min|max)\b", r"t\1", name))


def label_columns(names):
    """The columns that may hold labels, as their names say, the likeliest first."""
    found = [name for name in names if is_label_name(name)]
    found = found or [name for name in names if OTHER_LABELS & {*words(name)}]

    def rank(name):
        said = words(name)
        return name.casefold() != "label", bool({*NUMBER_WORDS, *LAST_CHOICE} & {*said}), len(said)

    return sorted(found, key=rank)


def is_table(rows):
    """Whether the first lines are of a table of actions, or of points: file, time and label alone, and times
    that are not those of samples.
    """
    (names, *rows) = [row for row in rows if any(row)] or [[]]
    found = find_columns(names)
    points = {"file", "point", "label"} <= {*found} and len(names) - len(found) <= 1
    points = points and not _has_even_steps(
        [row[names.index(found["point"])] for row in rows[:-1] if len(row) == len(names)]
    )
    return points or ("start" in found and bool({"end", "length", "label"} & {*found}))


def _has_even_steps(cells):
    """Whether most cells of a column of times, ten at least, follow the one before by the same step."""
    try:
        times_sec = [time_of(cell, "")[0] for cell in cells]
    except DataError:
        return False
    steps = [round(end - start, 6) for start, end in zip(times_sec, times_sec[1:])]
    return len(cells) >= 10 and steps.count(statistics.mode(steps)) > 0.8 * len(steps)


def read_table(file, options):
    """The Labels of a table with a row an action, whose first line names the columns.

    Columns are found by their names: file, recording or video (else all rows are of the recording that is
    called like the file); start, onset or begin; end, stop or offset, or else duration, or else a row is a
    point; label, class, behaviour or event, or the one that --label_column names; perhaps subject and subset.
    Any other is not read. Times are seconds, mm:ss, hh:mm:ss or dates, or in the unit that the name of their
    column says: start_frame, start_ms, start_min. A column of 0 and 1 that --label_column names gives actions
    called like the column. Where --fps is given and the names say nothing, they are whole frames.
    """
    names, rows = file.table(bool)
    columns = find_columns(names)
    start = columns.get("start") or columns.get("point")
    if options.label_column:
        labels = chosen_names([name for name in names if name], options, file, "column")
    else:
        labels = [columns["label"]] if "label" in columns else []
    if not start or not labels:
        lacks = "times" if not start else "labels"
        raise DataError(f"{file.path}: no column holds the {lacks} by its name; {HOW_TO_NAME}.")
    end = columns.get("end") or columns.get("length")
    found = Labels()
    meant = {*words(labels[0])} - {*NUMBER_WORDS}
    others = label_columns([name for name in names if name and name not in columns.values()])
    others = [name for name in others if {*words(name)} - {*NUMBER_WORDS} != meant]  # but for label_id
    if others and not options.label_column:
        listed = ", ".join(map(repr, others))
        which = f"labels are read from the column '{labels[0]:.40}'"
        found.notes.append(f"{file.path}: {which}; --label_column names others: {listed:.200}.")
    flags = _flags(labels, rows) if options.label_column else []
    units = _units_sec(start, end, end == columns.get("length"), options, file, found)
    for column in units:
        _require_one_decimal_sign(column, rows, file)
    if "file" not in columns:
        found.know(file.path.stem)
    for where, row in rows:
        if "file" in columns and is_empty(row[columns["file"]]):
            found.drop("they name no recording", where)
            continue
        name = found.name_media(row[columns["file"]], where) if "file" in columns else file.path.stem
        subject, subset = (row.get(columns.get(kind)) for kind in ("subject", "subset"))
        found.know(name, subject, subset=subset)
        if is_empty(row[start]):
            found.drop("they have no start", where)
            continue
        start_sec, clock = _time(row[start], where, units[start], start, options)
        end_sec = start_sec
        if end and not is_empty(row[end]):
            end_sec, end_clock = _time(row[end], where, units[end], end, options)
            if end == columns.get("length"):
                end_sec += start_sec
            elif (end_clock == FROM_START) != (clock == FROM_START):
                raise DataError(f"{where}: of start and end one is a date; write both as seconds.")
        of_row = _row_labels(row, labels, flags)
        found.rows += [Row(name, label, start_sec, end_sec, where, clock) for label in of_row]
    return found


def _flags(columns, rows):
    """The columns of flags alone whose name is the label, so not "label" itself. See `flag_of`.

    Zeros alone may also be the number of a class, unless there are several columns.
    """
    flags = []
    for column in columns:
        cells = {row[column].lower() for _, row in rows if not is_empty(row[column])}
        values = {flag_of(cell) for cell in cells}
        is_said = "1" in values or "false" in cells or len(columns) > 1
        if values <= {"0", "1"} and is_said and not is_label_name(column):
            flags.append(column)
    return flags


def _row_labels(row, columns, flags):
    """The labels of a row: what the columns hold, "" for nothing; the names of the flags that are set."""
    cells = [column if column in flags else row[column] for column in columns if _is_set(row, column, flags)]
    return ["" if is_empty(cell) else cell for cell in cells]


def _is_set(row, column, flags):
    return column not in flags or flag_of(row[column]) == "1"


def _units_sec(start, end, is_length, options, file, found):
    """{column of times: seconds in a unit of it, None where no name says}.

    Of a start and an end, one that names no unit has that of the other, and a note says so to the Labels
    `found`.

    Args:
        start, end: names of the columns; end may be None.
        is_length: whether `end` holds lengths.
        options, file: see `read_table`.

    Raises:
        DataError: of a start and a length one names a unit, and the other none.
    """
    units = {name: _unit_sec(name, options, file) for name in (start, end) if name}
    known = [name for name in units if units[name]]
    unknown = [name for name in units if not units[name]]
    if known and unknown:
        (known,), (unknown,) = known, unknown
        in_seconds = units[known] == 1
        if is_length and (options.fps or not in_seconds):
            how = f"rename it, for example '{unknown:.40}_s' or '{unknown:.40}_ms'"
            raise DataError(f"{file.path}: '{unknown:.40}' names no unit beside '{known:.40}'; {how}.")
        units[unknown] = units[known]
        if not in_seconds:
            found.notes.append(f"{file.path}: '{unknown:.40}' names no unit; it has that of '{known:.40}'.")
    return units


def _require_one_decimal_sign(column, rows, file):
    """Raises DataError for a column of times whose commas may be decimal signs or set thousands apart."""
    commas = [(where, row[column]) for where, row in rows if "," in row[column]]
    points = any("." in row[column] for _, row in rows)
    thousands = file.delimiter == "," and all(re.fullmatch(r"\d{1,3}(,\d{3})+", cell) for _, cell in commas)
    if commas and (points or thousands):
        where, cell = commas[0]
        how = "write a point before the decimals, and nothing between thousands"
        raise DataError(f"{where}: the comma of {cell:.40} in '{column:.40}' has two meanings; {how}.")


def _unit_sec(name, options, file):
    """Seconds in a unit of a column of times, by its name; None where it does not say. Raises DataError."""
    of_name = _joined_words(name)
    if FRAMES & {*of_name}:
        if not options.fps:
            raise DataError(f"{file.path}: '{name:.40}' counts frames; say how many a second: --fps=25.")
        return 1 / options.fps
    if "ss" in of_name or re.search(r"\bs(ec)?\.ms", name):  # ELAN's "Begin Time - ss.msec"
        return 1.0
    if {"hh", "mm"} <= {*of_name}:
        raise DataError(f"{file.path}: '{name:.40}' has no seconds; write hh:mm:ss, and name it so.")
    units = LONG_UNITS_SEC | {word: UNITS_SEC[unit] for word, unit in UNIT_WORDS.items()}
    said = [units[word] for word in of_name if word in units]
    return said[-1] if said else None


def _time(cell, where, unit_sec, column, options):
    """`time_of` a cell of a column; with --fps, a number of a column that says no unit is a whole frame."""
    number = cell.replace(",", ".")
    if unit_sec is None and options.fps and is_number(number) and float(number).is_integer():
        unit_sec = 1 / options.fps
    elif unit_sec is None and options.fps and is_number(number):
        frames = f"with --fps, times are whole frames, found {cell:.40} in '{column:.40}'"
        raise DataError(f"{where}: {frames}; leave --fps out if they are seconds.")
    return time_of(cell, where, unit_sec)
