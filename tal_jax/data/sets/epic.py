"""EPIC-Kitchens-100: 97 verbs and 300 nouns in 633 videos from a camera on the head, 495 of them to train on.

The annotations are read as they are published, in CSV files. Nothing is bundled.
"""

import csv
import io
import pathlib
import re

from tal_jax.data import features
from tal_jax.data.annotations import (
    load_annotations,
    parse_annotations,
    require_number,
    require_order,
)
from tal_jax.errors import DataError
from tal_jax.runtime.files import read_text

ANNOTATIONS = "data/epic/annotations"
HOW_TO_GET = (
    "Put the files of github.com/epic-kitchens/epic-kitchens-100-annotations into that folder, or point at "
    "another one with --config.data.annotations=FOLDER."
)
FEATURES_HINT = (
    "Put one file a video into that folder, VIDEO.npz with feats (T, 2304), as the ActionFormer repository "
    "links them for EPIC-Kitchens 100, or VIDEO.npy (T, C); or point at another one with "
    "--config.data.features=FOLDER."
)
TASKS = ("verb", "noun")
SUBSETS = {"train": "EPIC_100_train.csv", "validation": "EPIC_100_validation.csv"}
CLASSES = {  # of a task; the first one that is there
    "verb": ("EPIC_100_verb_classes.csv",),
    "noun": ("EPIC_100_noun_classes_v2.csv", "EPIC_100_noun_classes.csv"),
}
LENGTHS = "EPIC_100_video_info.csv"  # may be missing
CLOCK = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d*)?)")


def data_config(task="verb"):
    """`config.data` for EPIC-Kitchens-100 with ActionFormer's SlowFast features. task: 'verb' or 'noun'."""
    data = features.data_config(name="epic", fps=30.0, stride_frames=16, snippet_frames=32, num_channels=2304)
    data.features = "data/epic/features"
    data.task = task  # what the classes are: 'verb' or 'noun'
    data.test_subset = "validation"
    return data


def load(config):
    """Dataset of EPIC-Kitchens-100: (T, C) features a video; subsets "train" and "validation"."""
    return features.folder_dataset(annotations(config), config.data.features, config.data, FEATURES_HINT)


def annotations(config):
    """Annotations of the published files in the folder `config.data.annotations`, or in its usual place; if
    that is a file, it is read as `load_annotations` does.

    The class of an action is `verb_class` or `noun_class`, as `config.data.task` says; all classes are named
    by their `key`, in the order of their `id`. How long a video lasts is in EPIC_100_video_info.csv, if that
    is there.

    Raises:
        DataError: a file or a column is missing, a cell is not what it should be, or an action ends before it
            begins.
    """
    data = config.data
    folder = pathlib.Path(data.annotations or ANNOTATIONS)
    if folder.is_file():
        return load_annotations(folder, data.ignored_labels)
    if data.task not in TASKS:
        raise DataError(f"config.data.task is '{data.task}'; it must be one of {', '.join(TASKS)}.")
    classes, column, database = read_classes(folder, data.task), f"{data.task}_class", {}
    for subset, name in SUBSETS.items():
        columns = ("video_id", "start_timestamp", "stop_timestamp", column)
        for where, row in read_rows(folder / name, columns, HOW_TO_GET):
            number = whole_number(row, column, where)
            if number not in classes:
                has = f"{where}: {column} is {number}; the classes have the numbers 0 to {max(classes)}"
                raise DataError(f"{has}, correct it.")
            segment = [clock_seconds(row, field, where) for field in columns[1:3]]
            require_order(*segment, where)
            entry = database.setdefault(row["video_id"], {"subset": subset, "annotations": []})
            if entry["subset"] != subset:
                raise DataError(f"{where}: the video '{row['video_id']}' is in {SUBSETS['train']}, too.")
            entry["annotations"].append({"label": classes[number], "segment": segment})
    if (folder / LENGTHS).exists():
        for where, row in read_rows(folder / LENGTHS, ("video_id", "duration"), HOW_TO_GET):
            if row["video_id"] in database:
                database[row["video_id"]]["duration"] = require_number(row["duration"], f"{where}: duration")
    content = {"classes": [classes[number] for number in sorted(classes)], "database": database}
    return parse_annotations(content, folder, data.ignored_labels)


def read_classes(folder, task):
    """{number: name} of the classes of a task."""
    path = next(
        (folder / name for name in CLASSES[task] if (folder / name).exists()), folder / CLASSES[task][0]
    )
    rows = [
        (whole_number(row, "id", where), row["key"])
        for where, row in read_rows(path, ("id", "key"), HOW_TO_GET)
    ]
    numbers = sorted(number for number, _ in rows)
    if numbers != list(range(len(rows))):
        raise DataError(f"{path}: the classes must have the numbers 0, 1, 2, … in the column id, each once.")
    return dict(rows)


def read_rows(path, columns, hint):
    """The rows of a CSV file with a line of names.

    Args:
        path: the file.
        columns: the names that must be there.
        hint: what to do where the file cannot be read.

    Returns:
        list of (where, row): "FILE, line 3" and a dict of the texts by column.

    Raises:
        DataError: the file is missing, is no text in UTF-8, lacks a column, or has no row or one that is too
            short.
    """
    rows, found = csv.DictReader(io.StringIO(read_text(path, hint), newline="")), []
    try:
        for column in columns:
            if column not in (rows.fieldnames or ()):
                raise DataError(f"{path}: the column '{column}' is missing; take the published file. {hint}")
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            for column in columns:
                if not row[column]:
                    raise DataError(f"{where}: the column '{column}' is empty; correct the line.")
            found.append((where, row))
    except csv.Error as error:
        raise DataError(f"{path}, line {rows.line_num}: {error}; correct the line.") from error
    if not found:
        raise DataError(f"{path}: the file has no row; take the published file. {hint}")
    return found


def whole_number(row, column, where):
    """The whole number in a column of a row. Raises DataError; `where` begins its sentence."""
    if not re.fullmatch(r"[0-9]{1,9}", row[column].strip()):
        raise DataError(f"{where}: {column} must be a whole number, found {row[column]!r:.60}.")
    return int(row[column])


def clock_seconds(row, column, where):
    """Seconds of a time such as "00:01:02.5"."""
    parts = CLOCK.fullmatch(row[column].strip())
    if not parts:
        raise DataError(f"{where}: {column} must be a time as in 00:01:02.50, found {row[column]!r:.60}.")
    hours, minutes, seconds = parts.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
