"""The layout of a CSV file: where its samples begin, what separates cells, how its columns are called."""

import collections
import csv
import itertools
import re
from typing import NamedTuple

from tal_jax.data.table_columns import Column

MEASURED = ("number", "time")  # kinds of cells that a sample is made of
HEAD_BYTES, HEAD_LINES, FEW_LINES, SAMPLE_LINES = 1 << 18, 200, 8, 50
COMMENTS = ("#", "%", "//")
DELIMITERS = ("\t", ";", ",", None)  # None: any number of blanks
NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf(inity)?)", re.ASCII | re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
DATE, CLOCK = r"\d{4}-\d\d-\d\d", r"\d{1,2}:\d\d(:\d\d([.,]\d+)?)?"
TIME = re.compile(rf"{DATE}([ T]{CLOCK})?(Z|[+-]\d\d:?\d\d)?|\d{{1,2}}:\d\d:\d\d([.,]\d+)?", re.ASCII)
NULLS = ("", "na", "n/a", "nan", "-nan", "null", "none", "#n/a")
SET_SKIP = "set config.data.csv_skip_lines to the number of lines before the names or the first sample"


class Line(NamedTuple):
    """A line of a file; as text, its number and its beginning.

    Attributes:
        number: from 1.
        start: bytes before it.
        text: without its end.
        cells: once it is split, the texts of its cells without blanks around them.
        kinds: of the cells, see `kind_of`.
    """

    number: int
    start: int
    text: str
    cells: tuple = ()
    kinds: tuple = ()

    def __str__(self):
        shown = self.text if len(self.text) <= 60 else self.text[:57] + "…"
        return f"line {self.number} ({shown!r})"

    def split(self, delimiter, decimal="."):
        """The line with its cells and their kinds. Raises ValueError for one that is no row of cells."""
        try:
            cells = self.text.split()
            if delimiter:
                (cells,) = csv.reader([self.text], delimiter=delimiter, skipinitialspace=True)
        except csv.Error as error:
            raise ValueError(f"line {self.number} is no row of cells: {error}") from error
        cells = tuple(cell.strip() for cell in cells)
        return self._replace(cells=cells, kinds=tuple(kind_of(cell, decimal) for cell in cells))


class Layout(NamedTuple):
    """The layout of a CSV file, as its first lines show it.

    Attributes:
        delimiter: one of DELIMITERS.
        decimal: "." or ",".
        columns: list of Column.
        first: the Line of the first sample.
        notes: parts that are not read, by kind: ends of sentences about the file.
    """

    delimiter: str | None
    decimal: str
    columns: list
    first: Line
    notes: dict


def find_layout(content, skip_lines):
    """The Layout of a CSV file.

    Args:
        content: the bytes of the file.
        skip_lines: lines before the names or the first sample; -1: they are found.

    Raises:
        ValueError: the first lines do not show it; the end of a sentence about the file.
    """
    lines = [line for line in _head_lines(content) if line.number > skip_lines and line.text.strip()]
    rows = [line for line in lines if not line.text.lstrip().startswith(COMMENTS)]
    if not rows:
        raise ValueError("it holds no line of samples" if content.strip() else "it is empty")
    delimiter = _delimiter(rows[-SAMPLE_LINES:])
    rows = [line.split(delimiter) for line in rows]
    width = _width(rows)
    decimal = _decimal([line for line in rows if len(line.cells) == width], delimiter)
    rows = [line.split(delimiter, decimal) for line in rows]
    wide = [line.kinds for line in rows if len(line.cells) == width]
    kinds = [*map(_kind_of_column, zip(*wide[len(wide) // 2 :]))]  # names and units are in the upper half
    first = next((i for i, line in enumerate(rows) if _is_sample(line, kinds)), None)
    if first is None or "number" not in kinds:
        raise ValueError(f"it holds no line of numbers, it begins with {rows[0]}; {SET_SKIP}")

    notes, names = {}, _names_above(rows, first, kinds)
    heads = rows[: first - len(names)]
    names = names or _names_in_comment(lines, rows[first], delimiter, decimal, kinds)
    if not names:
        _refuse_heads(heads, rows[first])
        if skip_lines < 0 and _is_names(rows[first], [line.cells for line in rows[first + 1 :]]):
            names, first = [rows[first]], first + 1
            notes["numbers"] = f"has numbers for names: {names[0]} is no sample"
    if heads:
        count = f"{len(heads)}, the first is {heads[0]}"
        notes["head"] = f"has lines before its samples that are not read: {count}"
    if len(names) > 1:
        not_read = f"the first is read, {names[1]} is not, but for a unit of time"
        notes["units"] = f"has {len(names)} lines of names; {not_read}"
    columns = []
    for i, kind in enumerate(kinds):
        name, *units = [line.cells[i] for line in names] or [""]
        columns.append(Column(i + 1, name, kind, _example(rows[first:], i, kind), " ".join(units)))
    return Layout(delimiter, decimal, columns, rows[first], notes)


def _head_lines(content):
    """The first lines: at most HEAD_LINES, a few however long they are, and more that end in HEAD_BYTES."""
    lines = []
    for number, line in enumerate(re.finditer(rb"([^\r\n]*)(\r\n?|\n|\Z)", content), 1):
        if number > HEAD_LINES or (number > FEW_LINES and line.end() > HEAD_BYTES):
            break
        lines.append(Line(number, line.start(), text_of(line[1])))
    return lines


def text_of(raw):
    """The text of bytes in UTF-8, or else in Windows-1252 or Latin-1."""
    for code in ("utf-8", "cp1252"):
        try:
            return raw.decode(code)
        except UnicodeDecodeError:
            pass
    return raw.decode("latin-1")


def is_number(cell, decimal="."):
    """Whether a cell is a number with this decimal sign."""
    if decimal == "," and DECIMAL_COMMA.fullmatch(cell):
        return True
    return bool(NUMBER.fullmatch(cell)) and (decimal == "." or "." not in cell)


def kind_of(cell, decimal):
    """'empty' for a cell without a value, else 'number', 'time' or 'text'."""
    if cell.lower() in NULLS:
        return "empty"
    return "number" if is_number(cell, decimal) else "time" if TIME.fullmatch(cell) else "text"


def _count_numbers(cells):
    """How many cells are numbers, whatever their decimal sign is."""
    return sum(is_number(cell) or is_number(cell, ",") for cell in cells)


def _delimiter(lines):
    """The delimiter that makes most numbers of the lower half of these lines, the first one if several do."""
    lines = lines[len(lines) // 2 :]  # names and other text are in the upper half

    def count(delimiter):
        cells = [cell for line in lines for cell in line.split(delimiter).cells]
        return sum(map(is_number, cells)) if delimiter == "," else _count_numbers(cells)

    texts = "".join(line.text for line in lines)
    counts = {mark: count(mark) for mark in DELIMITERS if mark is None or mark in texts}
    best = max(counts, key=counts.get)  # the first of the largest
    return best if best or counts[None] > len(lines) else ","


def _width(rows):
    """Number of cells of a sample: that of most lines in which at least half of the cells are numbers."""
    lines = [line for line in rows if 2 * _count_numbers(line.cells) >= len(line.cells)] or rows
    widths = collections.Counter(len(line.cells) for line in lines)
    return max(widths, key=lambda width: (widths[width], width))


def _decimal(lines, delimiter):
    """The decimal sign of the numbers in these lines. Raises ValueError where they have both."""
    cells = [(cell, line.number) for line in lines for cell in line.cells if delimiter != ","]
    commas = [f"line {number} has '{cell}'" for cell, number in cells if DECIMAL_COMMA.fullmatch(cell)]
    points = [f"line {number} '{cell}'" for cell, number in cells if "." in cell and is_number(cell)]
    if commas and points:
        found = f"{commas[0]} and {points[0]}"
        raise ValueError(f"it has numbers with a decimal comma and with a point, {found}; write one of them")
    return "," if commas else "."


def _kind_of_column(kinds):
    """The kind of most cells that have a value: 'number', 'time', or else 'text'; 'empty' if none has one."""
    counts = collections.Counter(kind for kind in kinds if kind != "empty")
    most = next((kind for kind in MEASURED if 2 * counts[kind] > counts.total()), "text")
    return most if counts else "empty"


def _is_sample(line, kinds):
    """Whether a line has a number or nothing in each column of numbers, likewise times, and one somewhere."""
    pairs = zip(line.kinds, kinds) if len(line.kinds) == len(kinds) else ()
    pairs = [(found, kind) for found, kind in pairs if kind in MEASURED and found != "empty"]
    return bool(pairs) and all(found == kind for found, kind in pairs)


def _as_names(line, kinds):
    """[the Line with one cell a column], or [] if it does not name the columns.

    A comma at the end of the names or of the samples alone counts for nothing.
    """
    cells, width = [*line.cells], len(kinds)
    while len(cells) > width and not cells[-1]:
        cells.pop()
    if len(cells) == width - 1 and kinds[-1] == "empty":
        cells.append("")
    if len(cells) != width or "number" in line.kinds or not any(cells):
        return []
    return [line._replace(cells=tuple(cells))]


def _names_above(rows, first, kinds):
    """The lines directly above the first sample that name the columns: of one column the last alone."""
    above = itertools.takewhile(bool, (_as_names(line, kinds) for line in reversed(rows[:first])))
    names = [line for (line,) in above][::-1]
    names = names if len(kinds) > 1 else names[-1:]
    if names or not first or len(rows[first - 1].cells) != len(kinds) - 1:
        return names
    if not all(line.cells[0] == str(i) for i, line in enumerate(rows[first:], 1)):
        return []
    line = rows[first - 1]  # R names its rows, not their column
    return _as_names(line._replace(cells=("", *line.cells)), kinds)


def _names_in_comment(lines, sample, delimiter, decimal, kinds):
    """[comment directly above the first sample] if it names the columns, as numpy.savetxt does; else []."""
    above = [line for line in lines if line.number < sample.number][-1:]
    if not above or not above[0].text.lstrip().startswith(COMMENTS):
        return []
    comment = above[0]._replace(text=above[0].text.lstrip("#%/ \t"))
    return _as_names(comment.split(delimiter, decimal), kinds)


def _is_names(line, rest):
    """Whether the first line of numbers is names: 0, 1, 2 …, 1, 2, 3 …, or an empty first cell.

    Args:
        line: Line.
        rest: cells of the lines below it.

    Raises:
        ValueError: nobody can tell.
    """
    cells = line.cells
    whole = [all(NUMBER.fullmatch(cell) and float(cell).is_integer() for cell in row) for row in rest]
    if not rest or (cells[0] and not _counts(cells)):
        return False
    if not cells[0]:
        from_0, from_1 = (all(row[0] == str(i + start) for i, row in enumerate(rest)) for start in (0, 1))
        if from_0 or (from_1 and len(rest) > 1) or (len(cells) > 1 and _counts(cells[1:])):
            return True
    elif len(cells) == 1:
        if not cells[0].isdecimal():  # 0.0 above numbers of its own form
            return False
        if not all(whole):
            return not any(whole)
    elif cells == tuple(map(str, range(len(cells)))):  # as pandas does it
        return True
    elif cells in rest:  # it is a sample elsewhere
        return False
    elif not any(whole) and (len(cells) > 2 or cells[0].isdecimal()):
        return True
    what = "names" if len(cells) > 1 else "a name"
    what += " or a sample" if cells[0] else " or a sample without its first value"
    raise ValueError(f"{line} may be {what}; {SET_SKIP}: {line.number} or {line.number - 1}")


def _counts(cells):
    """Whether cells are 0, 1, 2 … or 1, 2, 3 …, all of them alike: whole, or with a zero after the point."""
    forms = ((start, end) for start in (0, 1) for end in ("", ".0"))
    return any(cells == tuple(f"{i + start}{end}" for i in range(len(cells))) for start, end in forms)


def _refuse_heads(heads, sample):
    """Raises ValueError for lines above the first sample that may be samples, or name other columns.

    A line may be a sample if it is of numbers alone, or has a number and as many cells as a sample. The last
    line may name the columns if it is directly above the sample and has a letter.
    """
    for line in heads:
        numbers = _count_numbers(line.cells)
        if numbers == len(line.cells) or (numbers and len(line.cells) == len(sample.cells)):
            unlike = f"{line} is not like the samples that begin with {sample}"
            raise ValueError(f"{unlike}; correct it, or {SET_SKIP}: {line.number}")
    if heads and line.number == sample.number - 1 and re.search(r"[^\W\d_]", line.text):  # the last one
        count = max((i for i, cell in enumerate(line.cells, 1) if cell), default=0)
        raise ValueError(
            f"{line} has {count} names, but {sample} has {len(sample.cells)} cells; where numbers have a "
            f"decimal comma, write ; between the cells, else {SET_SKIP}: {line.number}"
        )


def _example(rows, column, kind):
    """A cell of a column of texts or times that is no number, and its line; "" for other columns."""
    rows = [line for line in rows if len(line.cells) > column and line.kinds[column] in ("text", "time")]
    examples = [f"'{line.cells[column]:.40}' in line {line.number}" for line in rows[:1]]
    return examples[0] if kind in ("text", "time") and examples else ""
