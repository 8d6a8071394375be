"""The files in which proposals are exchanged, read row by row. docs/data.md shows them.

Every reader gives `Block`s, the proposals of one recording in the unit of the file; only their form is
checked.
"""

import csv
import functools
import lzma
import pathlib
from typing import Callable, NamedTuple

import numpy as np

from tal_jax.data.annotations import require_number, require_object, segment_of
from tal_jax.data.detections_file import read_results
from tal_jax.data.names import require_name
from tal_jax.errors import DataError


class Block(NamedTuple):
    """Proposals of one recording as a file holds them.

    Attributes:
        name: of the recording, in the file.
        rows: N rows (start, end, score), times in the file's unit; score 1 where the file has none. NaN and
            infinity may occur.
        extent: Recording -> its length in that unit and the seconds in one unit; None where the annotations
            do not tell.
        labels: N names of classes, or None where the row has none; None where no row has one. A recording of
            a file with labels is one block.
    """

    name: str
    rows: list
    extent: Callable
    labels: list | None = None


def holds_proposals(path):
    """Whether a path is a file, or a folder of CSV files with the columns of proposals."""
    path = pathlib.Path(path)
    first = next(iter(sorted(path.glob("*.csv"))), None) if path.is_dir() else None
    return path.is_file() or (first is not None and "xmin" in _text(first).split("\n")[0])


def read_blocks(path):
    """The Blocks of a JSON file, of a text list (.xz too) or of a folder of CSV files. Raises DataError."""
    path = pathlib.Path(path)
    if path.is_dir():
        blocks = _csv_blocks(path)
    elif path.suffix == ".json":
        blocks = [_json_block(path, name, rows) for name, rows in read_results(path, "proposals").items()]
    else:
        lines = [(i, line.strip()) for i, line in enumerate(_text(path).splitlines(), 1) if line.strip()]
        if not lines:
            raise DataError(f"{path}: the proposal file is empty.")
        blocks = (_list_blocks if lines[0][1].startswith("#") else _plain_blocks)(path, lines)
    for block in blocks:
        require_name(block.name, path)
    return blocks


def _text(path):
    try:
        with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"Cannot read the proposals {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, lzma.LZMAError, EOFError) as error:
        sentence = f"{path}: not a text file, or not a whole one, so not a list of proposals."
        raise DataError(sentence) from error


# Extents, see Block.
def _in_seconds(recording):
    return recording.duration_sec or np.inf, 1.0


def _in_fractions(recording, num_units=1.0):
    return recording.duration_sec and (num_units, recording.duration_sec / num_units)


def _in_own_frames(recording):
    """Frames at the recording's own rate."""
    if recording.num_frames and recording.duration_sec:
        return _in_fractions(recording, recording.num_frames)
    if recording.fps:
        length = recording.num_frames or (recording.duration_sec or np.inf) * recording.fps
        return length, 1 / recording.fps
    return None


def _json_block(path, name, proposals):
    rows, labels = [], []
    for i, proposal in enumerate(proposals):
        where = f"{path}: recording '{name}', proposal {i}"
        require_object(proposal, ["segment"], where)
        score = require_number(proposal.get("score", 1.0), f"{where}: field 'score'", finite=False)
        rows.append((*segment_of(proposal, where, finite=False), score))
        labels.append(proposal.get("label") if isinstance(proposal.get("label"), str) else None)
    return Block(name, rows, _in_seconds, labels if any(labels) else None)


def _csv_blocks(folder):
    """The Blocks of NAME.csv files with the columns xmin, xmax and perhaps score.

    Times are seconds, unless no end in the folder is above 1: then they are fractions.
    """
    tables = {path.stem: _csv_rows(path) for path in sorted(folder.glob("*.csv"))}
    if not tables:
        raise DataError(f"The folder {folder} holds no .csv file, so no proposals.")
    ends = [end for rows in tables.values() for _, end, _ in rows if np.isfinite(end)]
    extent = _in_fractions if max(ends, default=0) <= 1 + 1e-6 else _in_seconds
    return [Block(name, rows, extent) for name, rows in tables.items()]


def _csv_rows(path):
    """[xmin, xmax, score] of each row of a CSV file."""
    table, rows = csv.DictReader(_text(path).splitlines(), skipinitialspace=True), []
    try:
        columns = table.fieldnames or []
        if not {"xmin", "xmax"} <= {*columns}:
            found = f"{', '.join(columns) or 'none':.200}"
            raise DataError(f"{path}: its first line must name columns xmin, xmax and score, found {found}.")
        for row in table:
            where = f"{path}, line {table.line_num}"
            values = [(key, row.get(key, 1.0)) for key in ("xmin", "xmax", "score")]
            rows.append([require_number(value, f"{where}: {key}", finite=False) for key, value in values])
    except csv.Error as error:
        where = f"{path}, line {table.line_num + 1}"
        raise DataError(f"{where}: {error}; this is no list of proposals.") from error
    return rows


def _line_of_times(path, number, line, form):
    """(first field, [start, end, score 1]) of a line whose fields `form` names, the times last."""
    fields, where = line.split(), f"{path}, line {number}"
    if len(fields) != len(form.split()):
        raise DataError(f"{where}: must be '{form}', found {line!r:.60}.")
    times = [require_number(field, f"{where}: a time", finite=False) for field in fields[-2:]]
    return fields[0], [*times, 1.0]


def _plain_blocks(path, lines):
    """The Blocks of rows `recording start end`, frames at the recording's own rate, best first."""
    tables = {}
    for number, line in lines:
        name, row = _line_of_times(path, number, line, "recording start end")
        tables.setdefault(name, []).append(row)
    return [Block(name, rows, _in_own_frames) for name, rows in tables.items()]


def _list_blocks(path, lines):
    """The Blocks of an SSN or P-GCN list; ground truth, classes and overlaps in it are not read."""
    heads = [i for i, (_, line) in enumerate(lines) if line.startswith("#")]
    return [_list_block(path, lines[head:end]) for head, end in zip(heads, [*heads[1:], len(lines)])]


def _list_block(path, lines):
    (first, _), *lines = lines
    where = f"{path}, block at line {first}"
    try:
        (_, name), (_, length), (_, rate), (_, count), *lines = lines
        num_frames, num_truths = int(float(length) * float(rate)), int(count)
        num_proposals, rows = int(lines[num_truths][1]), lines[num_truths + 1 :]
    except (IndexError, ValueError, OverflowError) as error:
        form = "a name, a length, a rate, the number of actions, these, the number of proposals, these"
        raise DataError(f"{where}: must be {form}; it is not.") from error
    if num_frames <= 0 or num_truths < 0 or len(rows) != num_proposals:
        found = f"{num_proposals} proposals on {num_frames} frames; {len(rows)} rows follow"
        raise DataError(f"{where}: says {found}. Correct the block.")
    form = "class best_iou overlap_self start end"
    table = [_line_of_times(path, number, row, form)[1] for number, row in rows]
    return Block(name.rpartition("/")[2], table, functools.partial(_in_fractions, num_units=num_frames))
