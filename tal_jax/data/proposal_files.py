"""The files in which proposals are exchanged, row by row: what `data.proposals` reads and writes.
docs/data.md shows them.

Every reader gives `Block`s, the proposals of one recording in the unit of the file, unchecked but for their
form.
"""

import csv
import lzma
import os
import pathlib
import tempfile
from typing import Callable, NamedTuple

import numpy as np

from tal_jax.data.annotations import require_times
from tal_jax.data.detections_file import read_results
from tal_jax.data.names import require_name
from tal_jax.errors import DataError
from tal_jax.ops.segments import intersections, tiou_matrix
from tal_jax.runtime.files import replacing

FRACTION = 1e-4  # step of the times that a list of recordings without a frame rate has


class Block(NamedTuple):
    """Proposals of one recording as a file holds them.

    Attributes:
        name: of the recording, in the file.
        segments: (N, 2) float64 in the file's unit; NaN and infinity may occur, here and in `scores`.
        scores: (N,) float64, 1 where the file has none.
        labels: N names of classes, None where the file has none.
        extent: Recording -> its length in that unit and the seconds in one unit; None where the annotations
            do not tell.
    """

    name: str
    segments: np.ndarray
    scores: np.ndarray
    labels: list
    extent: Callable


def holds_proposals(path):
    """Whether a path is a file, or a folder of CSV files with the columns of proposals."""
    path = pathlib.Path(path)
    first = next(iter(sorted(path.glob("*.csv"))), None) if path.is_dir() else None
    return path.is_file() or (first is not None and "xmin" in _text(first).split("\n")[0])


def read_blocks(path):
    """The Blocks of a JSON file, of a text list (.xz too) or of a folder of CSV files. Raises DataError."""
    blocks = _blocks(pathlib.Path(path))
    for block in blocks:
        require_name(block.name, path)
    return blocks


def _blocks(path):
    if path.is_dir():
        return _csv_blocks(path)
    if path.suffix == ".json":
        return [_json_block(path, name, rows) for name, rows in read_results(path, "proposals").items()]
    lines = [
        (number, line.strip()) for number, line in enumerate(_text(path).splitlines(), 1) if line.strip()
    ]
    if not lines:
        raise DataError(f"{path}: the proposal file is empty.")
    return _list_blocks(path, lines) if lines[0][1].startswith("#") else _plain_blocks(path, lines)


def _text(path):
    try:
        with (lzma.open if path.suffix == ".xz" else open)(path, "rt", encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise DataError(f"Cannot read the proposals {path}: {error.strerror}.") from error
    except (UnicodeDecodeError, lzma.LZMAError, EOFError) as error:
        raise DataError(
            f"{path}: not a text file, or not a whole one, so not a list of proposals."
        ) from error


def _block(name, rows, extent, labels=None):
    """rows: of (start, end, score)."""
    columns = np.array(rows, np.float64).reshape(-1, 3)
    return Block(name, columns[:, :2], columns[:, 2], labels or [None] * len(columns), extent)


# Extents, see Block.
def _in_seconds(recording):
    return recording.duration_sec or np.inf, 1.0


def _in_fractions(recording):
    return recording.duration_sec and (1.0, recording.duration_sec)


def _in_own_frames(recording):
    """Frames at the recording's own rate."""
    if recording.num_frames and recording.duration_sec:
        return recording.num_frames, recording.duration_sec / recording.num_frames
    return recording.fps and (
        recording.num_frames or (recording.duration_sec or np.inf) * recording.fps,
        1 / recording.fps,
    )


def _json_block(path, name, rows):
    where = f"{path}: recording '{name}', proposal"
    numbers, labels = [], []
    for i, row in enumerate(rows):
        segment = row.get("segment") if isinstance(row, dict) else None
        if not isinstance(segment, list) or len(segment) != 2:
            raise DataError(
                f"{where} {i} must be an object whose 'segment' is [start, end] in seconds, found "
                f"{row!r:.60}."
            )
        numbers.append([_number(value, f"{where} {i}") for value in (*segment, row.get("score", 1.0))])
        labels.append(row.get("label") if isinstance(row.get("label"), str) else None)
    return _block(name, numbers, _in_seconds, labels)


def _csv_blocks(folder):
    """NAME.csv with the columns xmin, xmax and perhaps score. Seconds, unless no end in the folder is above
    1: then fractions.
    """
    tables = {path.stem: _csv_rows(path) for path in sorted(folder.glob("*.csv"))}
    if not tables:
        raise DataError(f"The folder {folder} holds no .csv file, so no proposals.")
    ends = [row[1] for rows in tables.values() for row in rows if np.isfinite(row[1])]
    extent = _in_fractions if max(ends, default=0) <= 1 + 1e-6 else _in_seconds
    return [_block(name, rows, extent) for name, rows in tables.items()]


def _csv_rows(path):
    """[xmin, xmax, score] of each row."""
    rows = csv.DictReader(_text(path).splitlines(), skipinitialspace=True)
    try:
        columns = rows.fieldnames or []
        if not {"xmin", "xmax"} <= {*columns}:
            raise DataError(
                f"{path}: the first line must name the columns xmin, xmax and score, found "
                f"{', '.join(columns) or 'none':.200}."
            )
        return [
            [
                _number(row.get(column, 1.0), f"{path}, line {rows.line_num}: {column}")
                for column in ("xmin", "xmax", "score")
            ]
            for row in rows
        ]
    except csv.Error as error:
        raise DataError(
            f"{path}, line {rows.line_num + 1}: {error}; this is no list of proposals."
        ) from error


def _plain_blocks(path, lines):
    """Rows `recording start end`, frames at the recording's own rate, best first."""
    tables = {}
    for number, line in lines:
        fields = line.split()
        if len(fields) != 3:
            raise DataError(
                f"{path}, line {number}: must be 'recording start end' in frames, found {line!r:.60}."
            )
        times = [_number(value, f"{path}, line {number}: a time") for value in fields[1:]]
        tables.setdefault(fields[0], []).append([*times, 1.0])
    return [_block(name, rows, _in_own_frames) for name, rows in tables.items()]


def _list_blocks(path, lines):
    """The blocks of an SSN or P-GCN list; ground truth, classes and overlaps in it are not read."""
    heads = [i for i, (_, line) in enumerate(lines) if line.startswith("#")]
    return [
        _list_block(path, lines[head:end]) for head, end in zip(heads, [*heads[1:], len(lines)], strict=True)
    ]


def _list_block(path, lines):
    rows = [line for _, line in lines[1:]]
    where = f"{path}, block at line {lines[0][0]}"
    try:
        num_frames, num_truths = int(float(rows[1]) * float(rows[2])), int(rows[3])
        num_proposals = int(rows[4 + num_truths])
    except (IndexError, ValueError, OverflowError) as error:
        raise DataError(
            f"{where}: must be a name, a length, a rate, the number of actions, these, the number of "
            f"proposals, these; it is not."
        ) from error
    rows, numbers = rows[5 + num_truths :], [number for number, _ in lines[6 + num_truths :]]
    if num_frames <= 0 or num_truths < 0 or len(rows) != num_proposals:
        raise DataError(
            f"{where}: says {num_proposals} proposals on {num_frames} frames; {len(rows)} rows follow. Mend "
            f"the block."
        )
    table = []
    for number, row in zip(numbers, rows, strict=True):
        fields = row.split()
        if len(fields) != 5:
            raise DataError(
                f"{path}, line {number}: must be 'class best_iou overlap_self start end', found {row!r:.60}."
            )
        table.append([*(_number(value, f"{path}, line {number}: a time") for value in fields[3:]), 1.0])
    name = lines[1][1].rpartition("/")[2]
    return _block(name, table, lambda r: r.duration_sec and (num_frames, r.duration_sec / num_frames))


def _number(value, where):
    """The number, perhaps not a finite one, that a value or a text is."""
    try:
        if isinstance(value, str) and "_" in value:
            raise ValueError("1_0 is no number")
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{where} must be a number, found {value!r:.60}.") from None


def write_csv_folder(folder, proposals):
    """Writes NAME.csv of every recording: xmin, xmax (seconds), score. The folder appears when it is whole.
    Raises DataError.
    """
    folder = pathlib.Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is already there and not an empty folder; remove it or name another one.")
    ends_sec = np.concatenate([p.segments_sec[:, 1] for p in proposals.values()] or [[]])
    if len(ends_sec) and ends_sec.max() <= 1:
        raise DataError(
            f"Cannot write {folder}: all proposals end within 1 second and would read as fractions; write a "
            f".json file."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        written = pathlib.Path(scratch) / "proposals"
        written.mkdir()
        for name, found in proposals.items():
            rows = [
                (*segment, score)
                for segment, score in zip(found.segments_sec.tolist(), found.scores.tolist(), strict=True)
            ]
            lines = ["xmin,xmax,score", *(",".join(map(repr, row)) for row in rows)]
            (written / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(written, folder)


def write_list(path, proposals, annotations):
    """Writes the SSN and P-GCN list: frames, or fractions of the recording where the annotations have no
    frame rate.

    Classes are counted from 1 in the annotations' order. tIoU is that of the times as written, without the
    +1 of a last frame. Raises DataError where a recording has no duration or a label without times.
    """
    require_times({name: annotations.recordings[name] for name in proposals}, "a list of proposals")
    blocks = [
        _list_block_text(i, annotations.recordings[name], found.segments_sec)
        for i, (name, found) in enumerate(proposals.items(), 1)
    ]
    with replacing(path) as temporary:
        temporary.write_text("".join(blocks), encoding="utf-8")


def _list_block_text(number, recording, segments_sec):
    if not recording.duration_sec:
        raise DataError(
            f"Recording '{recording.name}' has no duration in the annotations; a list of proposals needs it."
        )
    in_fractions = not (recording.num_frames or recording.fps)
    num_frames = (
        1 if in_fractions else recording.num_frames or max(1, round(recording.fps * recording.duration_sec))
    )
    step, form = (FRACTION, ".4f") if in_fractions else (1, ".0f")

    def written(times_sec):
        """(N, 2) times as they stand in the list, of at least one step each."""
        steps = np.rint(times_sec / recording.duration_sec * num_frames / step)
        return np.stack([steps[:, 0], np.maximum(steps[:, 1], steps[:, 0] + 1)], axis=1) * step

    classes = (1 + recording.labels).tolist()
    truths, segments = written(recording.segments_sec), written(segments_sec)
    rows = [
        "{} {:{form}} {:{form}}".format(k, *truth, form=form)
        for k, truth in zip(classes, truths, strict=True)
    ]
    lines = [f"# {number}", recording.name, f"{num_frames}", "1", f"{len(rows)}", *rows, f"{len(segments)}"]
    # a last column of zeros, for a recording without actions
    tiou = np.pad(tiou_matrix(segments, truths), ((0, 0), (0, 1)))
    shared = np.pad(intersections(segments, truths), ((0, 0), (0, 1)))
    for segment, best, best_iou, overlap in zip(segments, tiou.argmax(1), tiou.max(1), shared, strict=True):
        label = classes[best] if best_iou > 0 else 0
        overlap_self = overlap[best] / (segment[1] - segment[0])
        lines.append(
            "{} {:.4f} {:.4f} {:{form}} {:{form}}".format(label, best_iou, overlap_self, *segment, form=form)
        )
    return "\n".join(lines) + "\n"
