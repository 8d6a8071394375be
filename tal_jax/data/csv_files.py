"""CSV files as programs and sensors write them: read fast, or a cell at a time where one is at fault."""

import codecs
import re

import pyarrow
import pyarrow.csv

from tal_jax.data.csv_layout import COMMENTS, HEAD_BYTES, Line, find_layout, text_of
from tal_jax.data.tables import Table

COMMENT_BYTES = tuple(mark.encode() for mark in COMMENTS)


def open_csv(path, data):
    """Opens one sensor file: one row a sample, one column a channel.

    Args:
        path: of the file.
        data: the fields of `config.data`: `csv_skip_lines`.

    Returns:
        tables.Table.

    Raises:
        ValueError: it cannot be read; the end of a sentence about the file says why.
    """
    content = _utf8(path.read_bytes())
    layout = find_layout(content, data.csv_skip_lines)

    def read(columns):
        types = {str(c): pyarrow.string() if c.kind == "time" else pyarrow.float64() for c in columns}
        try:
            return _read_fast(content, layout, types)
        except pyarrow.ArrowInvalid:
            return pyarrow.table(_read_slowly(content, layout, columns), pyarrow.schema(types))

    def place(row):
        numbers = (line.number for i, line in enumerate(_lines(content, layout)) if i == row)
        return f"line {next(numbers, layout.first.number)}"

    return Table(layout.columns, read, place, layout.notes)


def _utf8(content):
    """The bytes without a byte-order mark, of UTF-16 as UTF-8. `text_of` reads names in other codes."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16").encode()
    if b"\0" in content[:HEAD_BYTES]:
        raise ValueError("it is no text")
    return content.removeprefix(codecs.BOM_UTF8)


def _samples(content, layout):
    """The bytes from the first sample on, as pyarrow reads them: no comments, one delimiter between cells."""
    body = memoryview(content)[layout.first.start :]
    if layout.delimiter is None:
        lines = [line for line in bytes(body).splitlines() if not line.lstrip().startswith(COMMENT_BYTES)]
        return b"\n".join(b",".join(line.split()) for line in lines)
    marks = [mark for mark in COMMENT_BYTES if content.find(mark[:1], layout.first.start) >= 0]  # fast
    if any(content.find(b"\n" + mark, layout.first.start) >= 0 for mark in marks):
        return re.sub(rb"(?m)^(#|%|//).*$\n?", b"", bytes(body))
    return body


def _read_fast(content, layout, types):
    """A pyarrow Table of the columns, {text of a Column: pyarrow type}. Raises ArrowInvalid."""
    body, names = _samples(content, layout), [str(column) for column in layout.columns]
    longest = max(map(len, bytes(body[:HEAD_BYTES]).splitlines()), default=0)
    return pyarrow.csv.read_csv(
        pyarrow.BufferReader(pyarrow.py_buffer(body)),
        pyarrow.csv.ReadOptions(column_names=names, block_size=max(1 << 20, 16 * longest)),
        pyarrow.csv.ParseOptions(delimiter=layout.delimiter or ","),
        pyarrow.csv.ConvertOptions(
            column_types=types,
            include_columns=list(types),
            decimal_point=layout.decimal,
            strings_can_be_null=True,
            check_utf8=False,
        ),
    )


def _lines(content, layout):
    """Every sample as a Line with its cells, in order; blank lines and comments are none."""
    for number, raw in enumerate(content[layout.first.start :].splitlines(), layout.first.number):
        if raw.strip() and not raw.lstrip().startswith(COMMENT_BYTES):
            yield Line(number, 0, text_of(raw)).split(layout.delimiter, layout.decimal)


def _read_slowly(content, layout, columns):
    """{text of a Column: list of its numbers, or of texts of times; None is missing}, a cell at a time.

    Raises ValueError that names the first line that is no sample.
    """
    found = {str(column): [] for column in columns}
    for line in _lines(content, layout):
        if len(line.cells) != len(layout.columns):
            before = f"those before it have {len(layout.columns)}"
            raise ValueError(f"{line} has {len(line.cells)} cells, {before}")
        for column in columns:
            cell, kind = line.cells[column.position - 1], line.kinds[column.position - 1]
            if kind not in ("number", "empty") and column.kind != "time":
                raise ValueError(
                    f"line {line.number} has '{cell:.40}' in {column}, which is no number; correct the line, "
                    "or choose other columns with config.data.csv_columns"
                )
            value = float(cell.replace(",", ".")) if kind == "number" and column.kind != "time" else cell
            found[str(column)].append(None if kind == "empty" else value)
    return found
