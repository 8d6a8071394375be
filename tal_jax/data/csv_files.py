"""CSV files as programs and sensors write them, read fast, and a cell at a time where one must be named."""

import codecs
import re

import numpy as np
import pyarrow
import pyarrow.csv

from tal_jax.data.csv_layout import COMMENTS, HEAD_BYTES, Line, find_layout, is_number, kind_of, text_of
from tal_jax.data.tables import signal_of

COMMENT_BYTES = tuple(mark.encode() for mark in COMMENTS)


def read_csv(path, data):
    """Reads one sensor file: one row a sample, one column a channel.

    Args:
        path: of the file.
        data: the fields of `config.data`: `csv_columns`, `csv_skip_lines`, `csv_time_column`.

    Returns:
        tables.FeatureFile.

    Raises:
        ValueError: what cannot be read, and why: the end of a sentence about the file.
    """
    content = _utf8(path.read_bytes())
    layout = find_layout(content, data.csv_skip_lines)

    def read(columns):
        try:
            return _read_fast(content, layout, columns)
        except pyarrow.ArrowInvalid:
            return _read_slowly(content, layout, columns)

    def place(row):
        numbers = (line.number for i, line in enumerate(_lines(content, layout)) if i == row)
        return f"line {next(numbers, layout.start_line)}"

    return signal_of(layout.columns, data, read, place, layout.notes)


def _utf8(content):
    """The bytes without a byte-order mark, of UTF-16 as UTF-8. Names in other codes are read as Latin-1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16").encode()
    if b"\0" in content[:HEAD_BYTES]:
        raise ValueError("it is no text")
    return content.removeprefix(codecs.BOM_UTF8)


def _samples(content, layout):
    """The bytes from the first sample on, as pyarrow reads them: no comments, one delimiter between cells."""
    body = memoryview(content)[layout.start :]
    if layout.delimiter is None:
        lines = [line for line in bytes(body).splitlines() if not line.lstrip().startswith(COMMENT_BYTES)]
        return b"\n".join(b",".join(line.split()) for line in lines)
    marks = [mark for mark in COMMENT_BYTES if content.find(mark[:1], layout.start) >= 0]  # fast
    if any(content.find(b"\n" + mark, layout.start) >= 0 for mark in marks):
        return re.sub(rb"(?m)^(#|%|//).*$\n?", b"", bytes(body))
    return body


def _read_fast(content, layout, columns):
    """{Column: (T,) float64, or an array of texts for one of times}, by pyarrow. Raises ArrowInvalid."""
    types = {"number": pyarrow.float64(), "empty": pyarrow.float64(), "time": pyarrow.string()}
    body = _samples(content, layout)
    longest = max(map(len, bytes(body[:HEAD_BYTES]).splitlines()), default=0)
    table = pyarrow.csv.read_csv(
        pyarrow.BufferReader(pyarrow.py_buffer(body)),
        pyarrow.csv.ReadOptions(
            column_names=list(map(str, layout.columns)), block_size=max(1 << 20, 16 * longest)
        ),
        pyarrow.csv.ParseOptions(delimiter=layout.delimiter or ","),
        pyarrow.csv.ConvertOptions(
            column_types={str(column): types[column.kind] for column in columns},
            include_columns=list(map(str, columns)),
            decimal_point=layout.decimal,
            strings_can_be_null=True,
            check_utf8=False,
        ),
    )
    found = {column: table[str(column)] for column in columns}
    return {
        column: values if column.kind == "time" else values.to_numpy() for column, values in found.items()
    }


def _lines(content, layout):
    """Every sample as a Line with its cells, in order; blank lines and comments are none."""
    for number, raw in enumerate(content[layout.start :].splitlines(), layout.start_line):
        if raw.strip() and not raw.lstrip().startswith(COMMENT_BYTES):
            yield Line(number, 0, text_of(raw)).split(layout.delimiter)


def _read_slowly(content, layout, columns):
    """{Column: (T,) float64, or an array of texts for one of times}, read a cell at a time.

    Raises ValueError that names the first line that is no sample.
    """
    found = {column: [] for column in columns}
    for line in _lines(content, layout):
        if len(line.cells) != len(layout.columns):
            raise ValueError(
                f"{line} has {len(line.cells)} cells, those before it have {len(layout.columns)}"
            )
        for column, values in found.items():
            cell = line.cells[column.position - 1]
            if kind_of(cell, layout.decimal) == "empty":
                values.append(None)
            elif column.kind == "time":
                values.append(cell)
            elif is_number(cell, layout.decimal):
                values.append(float(cell.replace(",", ".")))
            else:
                raise ValueError(
                    f"line {line.number} has '{cell:.40}' in {column}, which is no number; correct the line, "
                    "or choose other columns with config.data.csv_columns"
                )
    return {
        column: pyarrow.array(values, pyarrow.string()) if column.kind == "time" else np.array(values, float)
        for column, values in found.items()
    }
