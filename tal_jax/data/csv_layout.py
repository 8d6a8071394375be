"""How a CSV file is laid out: where its samples begin, what separates cells, how columns are called."""

import collections
import csv
import dataclasses
import re

from tal_jax.data.table_columns import Column

HEAD_BYTES, HEAD_LINES, SAMPLE_LINES = 1 << 18, 200, 50
COMMENTS = ("#", "%", "//")
DELIMITERS = ("\t", ";", ",", None)  # None: any number of blanks
NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)", re.ASCII | re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
DATE, CLOCK = r"\d{4}-\d\d-\d\d", r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?"
TIME = re.compile(rf"{DATE}([ T]{CLOCK})?(Z|[+-]\d\d:?\d\d)?|\d{{1,2}}:\d\d:\d\d([.,]\d+)?", re.ASCII)
NULLS = ("", "na", "n/a", "nan", "-nan", "null", "none", "#n/a")
SET_SKIP = "set config.data.csv_skip_lines to the number of lines before the names or the first sample"


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a CSV file is laid out, as its first lines show.

    Attributes:
        delimiter: one of DELIMITERS.
        decimal: "." or ",".
        columns: tuple of Column.
        start: bytes before the line of the first sample.
        start_line: number of this line, from 1.
        notes: what is not read, by kind: ends of sentences about the file.
    """

    delimiter: str | None
    decimal: str
    columns: tuple
    start: int
    start_line: int
    notes: dict


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the head: its number, from 1, the bytes before it, its text, and its cells."""

    number: int
    start: int
    text: str
    cells: tuple = ()

    def __str__(self):
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "…"
        return f"line {self.number} ({shown!r})"


def find_layout(content, skip_lines=-1):
    """The Layout of a CSV file.

    Args:
        content: the bytes of the file.
        skip_lines: lines before the names or the first sample; -1: they are found.

    Raises:
        ValueError: see `read_csv`.
    """
    lines = [line for line in _head_lines(content) if line.number > skip_lines and line.text.strip()]
    rows = [line for line in lines if not line.text.lstrip().startswith(COMMENTS)]
    if not rows:
        raise ValueError("it is empty" if not content.strip() else "it holds no line of samples")
    delimiter = _delimiter(rows[-SAMPLE_LINES:])
    rows = [dataclasses.replace(line, cells=cells_of(line, delimiter)) for line in rows]
    width = _width(rows)
    wide = [line.cells for line in rows if len(line.cells) == width]
    decimal = _decimal([line for line in rows if len(line.cells) == width], delimiter)
    lower = wide[len(wide) // 2 :]  # names and units are in the upper half
    kinds = [_kind([cells[i] for cells in lower], decimal) for i in range(width)]
    first = next((i for i, line in enumerate(rows) if _is_sample(line.cells, kinds, decimal)), None)
    if first is None or "number" not in kinds:
        raise ValueError(f"it holds no line of numbers, it begins with {rows[0]}; {SET_SKIP}")

    notes, names = {}, _names_above(rows, first, kinds, decimal)
    heads = rows[: first - len(names)]
    names = names or _names_in_comment(lines, rows[first], delimiter, kinds, decimal)
    if not names:
        _refuse_samples_among(heads, rows[first])
        _refuse_other_names(heads, rows[first])
    if not names and skip_lines < 0:
        first, names = _names_of_numbers(rows, first, notes)
    if heads:
        notes["head"] = (
            f"has lines before its samples that are not read: {len(heads)}, the first is {heads[0]}"
        )
    if len(names) > 1:
        notes["units"] = (
            f"has {len(names)} lines of names; the first is read, {names[1]} is not, but for a unit of time"
        )
    named = (_padded_names(names[0].cells, kinds, decimal) or names[0].cells) if names else ("",) * width
    below = [_padded_names(line.cells, kinds, decimal) for line in names[1:]]
    columns = tuple(
        Column(name, kind, _example(rows[first:], i, kind, decimal), " ".join(cells[i] for cells in below))
        for i, (name, kind) in enumerate(zip(named, kinds, strict=True))
    )
    return Layout(delimiter, decimal, columns, rows[first].start, rows[first].number, notes)


def _head_lines(content):
    """The first lines, at most HEAD_LINES, that are whole in the first HEAD_BYTES; of long lines at least a
    few.
    """
    size = HEAD_BYTES
    while size < len(content) and len(content[:size].splitlines()) < 4:
        size *= 2
    head = content[:size].splitlines(keepends=True)
    if size < len(content):
        head.pop()
    lines, start = [], 0
    for number, raw in enumerate(head[:HEAD_LINES], 1):
        lines.append(Line(number, start, text_of(raw).rstrip("\r\n")))
        start += len(raw)
    return lines


def text_of(raw):
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def cells_of(line, delimiter):
    """The texts of the cells of a Line, without blanks around them."""
    if delimiter is None:
        return tuple(line.text.split())
    try:
        cells = next(csv.reader([line.text], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error as error:
        raise ValueError(f"line {line.number} is no row of cells: {error}") from error
    return tuple(cell.strip() for cell in cells)


def _delimiter(lines):
    """What separates the cells of these lines: what makes most numbers, the first one if several do."""
    lines = lines[len(lines) // 2 :]  # names and other text are in the upper half

    def count(delimiter):
        cells = [cell for line in lines for cell in cells_of(line, delimiter)]
        return sum(is_number(cell) or (delimiter != "," and is_number(cell, ",")) for cell in cells)

    texts = "".join(line.text for line in lines)
    counts = {
        delimiter: count(delimiter) for delimiter in DELIMITERS if delimiter is None or delimiter in texts
    }
    best = max(counts, key=counts.get)  # the first of the largest
    return best if best or counts[None] > len(lines) else ","


def _width(rows):
    """Cells of a sample: what most lines have in which at least half of the cells are numbers."""
    numbers = [sum(is_number(cell) or is_number(cell, ",") for cell in line.cells) for line in rows]
    lines = [line for line, count in zip(rows, numbers, strict=True) if 2 * count >= len(line.cells)] or rows
    widths = collections.Counter(len(line.cells) for line in lines)
    return max(widths, key=lambda width: (widths[width], width))


def _decimal(lines, delimiter):
    if delimiter == ",":
        return "."
    cells = [(cell, line) for line in lines for cell in line.cells]
    comma = next((found for found in cells if DECIMAL_COMMA.fullmatch(found[0])), None)
    point = next((found for found in cells if "." in found[0] and is_number(found[0])), None)
    if comma and point:
        found = f"line {comma[1].number} has '{comma[0]}' and line {point[1].number} '{point[0]}'"
        raise ValueError(f"it has numbers with a decimal comma and with a point, {found}; write one of them")
    return "," if comma else "."


def is_number(cell, decimal="."):
    if decimal == "," and DECIMAL_COMMA.fullmatch(cell):
        return True
    return bool(NUMBER.fullmatch(cell)) and (decimal == "." or "." not in cell)


def is_null(cell):
    return cell.lower() in NULLS


def _kind(cells, decimal):
    """What most cells of a column are that are not missing: 'number', 'time' or 'text'; 'empty' if all are."""
    cells = [cell for cell in cells if not is_null(cell)]
    if sum(is_number(cell, decimal) for cell in cells) * 2 > len(cells):
        return "number"
    if sum(bool(TIME.fullmatch(cell)) for cell in cells) * 2 > len(cells):
        return "time"
    return "text" if cells else "empty"


def _is_sample(cells, kinds, decimal):
    """Whether a row of cells has a number or nothing in each column of numbers, and a number somewhere."""
    if len(cells) != len(kinds):
        return False
    numbers = [
        cell for cell, kind in zip(cells, kinds, strict=True) if kind == "number" and not is_null(cell)
    ]
    times = [cell for cell, kind in zip(cells, kinds, strict=True) if kind == "time" and not is_null(cell)]
    return (
        bool(numbers or times)
        and all(is_number(cell, decimal) for cell in numbers)
        and all(map(TIME.fullmatch, times))
    )


def _padded_names(cells, kinds, decimal):
    """Names of all columns from the cells of a line, or None if it does not name them.

    A comma at the end of the names or of the samples alone counts for nothing.
    """
    cells, width = list(cells), len(kinds)
    while len(cells) > width and not cells[-1]:
        cells.pop()
    if len(cells) == width - 1 and kinds[-1] == "empty":
        cells.append("")
    if len(cells) != width or any(is_number(cell, decimal) for cell in cells) or not any(cells):
        return None
    return tuple(cells)


def _names_above(rows, first, kinds, decimal):
    """The lines directly above the first sample that name the columns: of one column the last alone."""
    names = []
    for line in reversed(rows[:first]):
        if not _padded_names(line.cells, kinds, decimal) or (names and len(kinds) == 1):
            break
        names.insert(0, line)
    counted = all(line.cells[0] == str(i) for i, line in enumerate(rows[first:], 1) if line.cells)
    if (
        not names and first and counted and len(rows[first - 1].cells) == len(kinds) - 1
    ):  # R names its rows, not their column
        line = rows[first - 1]
        names = [dataclasses.replace(line, cells=("", *line.cells))]
    return names if not names or _padded_names(names[0].cells, kinds, decimal) else []


def _names_in_comment(lines, sample, delimiter, kinds, decimal):
    """[the comment directly above the first sample] if it names the columns, as numpy.savetxt does; else []."""
    above = [line for line in lines if line.number < sample.number][-1:]
    if not above or not above[0].text.lstrip().startswith(COMMENTS):
        return []
    comment = dataclasses.replace(above[0], text=above[0].text.lstrip("#%/ \t"))
    comment = dataclasses.replace(comment, cells=cells_of(comment, delimiter))
    return [comment] if _padded_names(comment.cells, kinds, decimal) else []


def _names_of_numbers(rows, first, notes):
    """(index of the first sample, lines of names) where it may itself be names: 0, 1, 2 …, 1, 2, 3 …, or an
    empty first cell.
    """
    line, rest = rows[first], [row.cells for row in rows[first + 1 :]]
    if not rest or not (_counts(line.cells) or not line.cells[0]):
        return first, []
    found = _are_names(line.cells, rest)
    if found is None:
        what = "names" if len(line.cells) > 1 else "a name"
        what += " or a sample" if line.cells[0] else " or a sample without its first value"
        raise ValueError(f"{line} may be {what}; {SET_SKIP}: {line.number} or {line.number - 1}")
    if found:
        notes["numbers"] = f"has numbers for names: {line} is no sample"
    return (first + 1, [line]) if found else (first, [])


def _counts(cells):
    """Whether cells are 0, 1, 2 … or 1, 2, 3 …, all of them alike: whole, or with a zero behind the point."""
    forms = ((start, end) for start in (0, 1) for end in ("", ".0"))
    return any(cells == tuple(f"{i + start}{end}" for i in range(len(cells))) for start, end in forms)


def _are_names(cells, rest):
    """Whether the cells of a line that counts, or begins with an empty one, are names; None: nobody can tell.

    Args:
        cells: of this line.
        rest: cells of the lines below it.
    """
    if not cells[0]:
        from_0, from_1 = (all(row[0] == str(i + start) for i, row in enumerate(rest)) for start in (0, 1))
        indexed = from_0 or (from_1 and len(rest) > 1)
        return True if indexed or (len(cells) > 1 and _counts(cells[1:])) else None
    whole = [all(_is_whole(cell) for cell in row) for row in rest]
    written = tuple(map(str, range(len(cells))))
    if len(cells) == 1:
        if not cells[0].isdecimal():  # 0.0 above numbers of its own form
            return False
        return None if all(whole) else not any(whole)
    if cells == written:  # as pandas does it
        return True
    if cells in rest:  # it is a sample elsewhere
        return False
    if any(whole) or (len(cells) == 2 and not cells[0].isdecimal()):
        return None
    return True


def _is_whole(cell):
    return bool(NUMBER.fullmatch(cell)) and float(cell).is_integer()


def _refuse_samples_among(heads, sample):
    """Raises ValueError for a line above the first sample that may be one: of numbers alone, or of as many
    cells.
    """
    for line in heads:
        numbers = sum(is_number(cell) or is_number(cell, ",") for cell in line.cells)
        if numbers == len(line.cells) or (numbers and len(line.cells) == len(sample.cells)):
            raise ValueError(
                f"{line} is not like the samples that begin with {sample}; correct it, "
                f"or {SET_SKIP}: {line.number}"
            )


def _refuse_other_names(heads, sample):
    """Raises ValueError where the line above the first sample may name another number of columns."""
    if not heads or heads[-1].number != sample.number - 1 or not re.search(r"[^\W\d_]", heads[-1].text):
        return
    names = [*heads[-1].cells]
    while names and not names[-1]:
        names.pop()
    raise ValueError(
        f"{heads[-1]} has {len(names)} names, but {sample} has {len(sample.cells)} cells; where numbers have "
        f"a decimal comma, write ; between the cells, else {SET_SKIP}: {heads[-1].number}"
    )


def _example(rows, column, kind, decimal):
    """A cell of a column of texts or times, and where it is."""
    if kind in ("number", "empty"):
        return ""
    cells = [(line.cells[column], line.number) for line in rows if len(line.cells) > column]
    cell, number = next(
        (cell, number) for cell, number in cells if not (is_null(cell) or is_number(cell, decimal))
    )
    return f"'{cell:.40}' in line {number}"
