"""CSV files as programs and sensors write them, read fast, and a cell at a time where one must be named."""

import codecs
import dataclasses
import re

import numpy as np
import pyarrow
import pyarrow.csv

from tal_jax.data.csv_layout import (
    COMMENTS,
    HEAD_BYTES,
    Line,
    cells_of,
    find_layout,
    is_null,
    is_number,
    text_of,
)
from tal_jax.data.tables import signal_of

COMMENT_BYTES = tuple(mark.encode() for mark in COMMENTS)


def read_csv(path, data):
    """Reads one sensor file: one row a sample, one column a channel.

    Args:
        path: of the file.
        data: the fields of `config.data`: `csv_columns`, `csv_skip_lines`, `csv_time_column`.

    Returns:
        tables.Signal.

    Raises:
        ValueError: what cannot be read, and why: the end of a sentence about the file.
    """
    content = _utf8(path.read_bytes())
    layout = find_layout(content, data.csv_skip_lines)

    def read(numbers, texts):
        try:
            return _read_fast(content, layout, numbers, texts)
        except pyarrow.ArrowInvalid:
            return _read_slowly(content, layout, numbers, texts)

    return signal_of(
        layout.columns, data, read, lambda row: f"line {_line_of(content, layout, row)}", layout.notes
    )


def _utf8(content):
    """The bytes without a byte-order mark, of UTF-16 as UTF-8. Names in other codes are read as Latin-1."""
    for mark, code in (
        (codecs.BOM_UTF8, None),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if content.startswith(mark):
            content = content[len(mark) :]
            return content.decode(code).encode() if code else content
    if b"\0" in content[:HEAD_BYTES]:
        raise ValueError("it is no text")
    return content


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


def _read_fast(content, layout, numbers, texts):
    """{column: (T,) float64, or array of texts}, as pyarrow reads it. Raises ArrowInvalid."""
    names = [f"f{i}" for i in range(len(layout.columns))]
    types = {names[i]: pyarrow.float64() for i in numbers} | {names[i]: pyarrow.string() for i in texts}
    body = _samples(content, layout)
    longest = max(map(len, bytes(body[:HEAD_BYTES]).splitlines()), default=0)
    table = pyarrow.csv.read_csv(
        pyarrow.BufferReader(pyarrow.py_buffer(body)),
        pyarrow.csv.ReadOptions(column_names=names, block_size=max(1 << 20, 16 * longest)),
        pyarrow.csv.ParseOptions(delimiter=layout.delimiter or ","),
        pyarrow.csv.ConvertOptions(
            column_types=types,
            include_columns=[names[i] for i in (*numbers, *texts)],
            decimal_point=layout.decimal,
            strings_can_be_null=True,
            check_utf8=False,
        ),
    )
    return {i: table[names[i]] if i in texts else table[names[i]].to_numpy() for i in (*numbers, *texts)}


def _rows(content, layout):
    """Every sample as a Line with its cells; blank lines and comments are none."""
    for number, raw in enumerate(content[layout.start :].splitlines(), layout.start_line):
        if raw.strip() and not raw.lstrip().startswith(COMMENT_BYTES):
            line = Line(number, 0, text_of(raw))
            yield dataclasses.replace(line, cells=cells_of(line, layout.delimiter))


def _read_slowly(content, layout, numbers, texts):
    """As `_read_fast`, a cell at a time. Raises ValueError that names the first line that is no sample."""
    found = {i: [] for i in (*numbers, *texts)}
    for line in _rows(content, layout):
        if len(line.cells) != len(layout.columns):
            raise ValueError(
                f"{line} has {len(line.cells)} cells, those before it have {len(layout.columns)}"
            )
        for i in numbers:
            cell = line.cells[i]
            if not is_null(cell) and not is_number(cell, layout.decimal):
                column = layout.columns[i].label(i)
                raise ValueError(
                    f"line {line.number} has '{cell:.40}' in {column}, which is no number; correct the line, "
                    "or choose other columns with config.data.csv_columns"
                )
            found[i].append(np.nan if is_null(cell) else float(cell.replace(",", ".")))
        for i in texts:
            found[i].append(None if is_null(line.cells[i]) else line.cells[i])
    return {i: pyarrow.array(found[i], pyarrow.string()) if i in texts else np.array(found[i]) for i in found}


def _line_of(content, layout, row):
    """Number of the line of sample `row`, from 0."""
    return next((line.number for i, line in enumerate(_rows(content, layout)) if i == row), layout.start_line)
