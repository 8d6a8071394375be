"""Labels in the formats in which people have them: a table of formats, and a reader of each.

A reader gives `rows.Labels`; `joined.py` makes the annotation file of them.
"""

from typing import Callable, NamedTuple

from tal_jax.data.labels import datasets, projects, samples, tables, transcripts
from tal_jax.data.labels.rows import LabelFile
from tal_jax.data.table_columns import is_label_name
from tal_jax.errors import DataError

TABLES = (".csv", ".tsv", ".txt")
BINARY_TABLES = (".parquet", ".feather")


class UnknownFormat(DataError):
    """No format recognises a file."""


class Format(NamedTuple):
    """A format of labels.

    Attributes:
        title: what it is, for people.
        suffixes: of its files, in lower case.
        recognise: LabelFile with one of these suffixes -> whether it is one.
        read: (LabelFile, Options) -> Labels.
        reads_label_column: whether it reads what --label_column names.
    """

    title: str
    suffixes: tuple
    recognise: Callable
    read: Callable
    reads_label_column: bool = True


def _has_line(is_header):
    return lambda file: any(map(is_header, file.head_cells()))


def _first_line(file):
    return next((cells for cells in file.head_cells() if any(cells)), [])


def _has_label_column(file):
    return file.suffix in BINARY_TABLES or any(map(is_label_name, _first_line(file)))


FORMATS = {  # the first that recognises a file reads it
    "elan": Format("ELAN", (".eaf",), lambda file: True, transcripts.read_elan),
    "textgrid": Format("Praat TextGrid", (".textgrid",), lambda file: True, transcripts.read_textgrid),
    "label_studio": Format(
        "Label Studio", (".json",), lambda f: projects.is_label_studio(f.json), projects.read_label_studio
    ),
    "via": Format("VIA 3", (".json",), lambda file: projects.is_via(file.json), projects.read_via),
    "activitynet": Format(
        "ActivityNet",
        (".json",),
        lambda f: datasets.is_activitynet(f.json),
        datasets.read_activitynet,
        reads_label_column=False,
    ),
    "ego4d": Format(
        "Ego4D",
        (".json",),
        lambda file: datasets.is_ego4d(file.json),
        datasets.read_ego4d,
        reads_label_column=False,
    ),
    "audacity": Format(
        "Audacity label track",
        (".txt",),
        lambda f: transcripts.is_audacity(f.head),
        transcripts.read_audacity,
        reads_label_column=False,
    ),
    "thumos": Format(
        "THUMOS14",
        (".txt",),
        lambda file: datasets.is_thumos(file.head),
        datasets.read_thumos,
        reads_label_column=False,
    ),
    "boris": Format("BORIS events", TABLES, _has_line(tables.is_boris), tables.read_boris),
    "epic": Format(
        "EPIC-Kitchens", TABLES, lambda f: {*datasets.EPIC_COLUMNS} <= {*_first_line(f)}, datasets.read_epic
    ),
    "table": Format("table of actions", TABLES, lambda f: tables.is_table(f.head_cells()), tables.read_table),
    "frames": Format(
        "0 and 1 for each frame", TABLES, lambda f: samples.is_frames(f.head_cells()), samples.read_frames
    ),
    "samples": Format(
        "a label for each sample", (*TABLES, *BINARY_TABLES), _has_label_column, samples.read_samples
    ),
}
SUFFIXES = {suffix for kind in FORMATS.values() for suffix in kind.suffixes}


def read_labels(path, options, name=""):
    """Reads a file of labels.

    Args:
        path: of the file.
        options: rows.Options.
        name: key of FORMATS; "": the format is recognised.

    Returns:
        (Format, Labels).

    Raises:
        UnknownFormat: no format recognises the file.
        DataError: its reader cannot read it.
        OSError: there is no such file.
    """
    file = LabelFile(path)
    found = FORMATS[name] if name else recognised(file, options)
    labels = found.read(file, options)
    labels.label_columns = file.label_columns if found.reads_label_column else {*options.label_column}
    if options.label_column and not found.reads_label_column:
        labels.notes.append(
            f"{path}: labels of {found.title} are not chosen by --label_column; all are read."
        )
    return found, labels


def recognised(file, options):
    """The Format of a LabelFile. Raises UnknownFormat for a file of none."""
    for kind in FORMATS.values():
        if file.suffix in kind.suffixes and kind.recognise(file):
            return kind
    if file.suffix in TABLES and {*options.label_column} & {*_first_line(file)}:
        return FORMATS["samples"]
    lines = file.head.splitlines()
    first = f", its first line is {lines[0]!r:.60}" if lines else ", and empty" if not file.head_bytes else ""
    how = f"say --format=NAME, one of {', '.join(FORMATS)}"
    if file.suffix == ".json" and isinstance(file.json, dict) and "results" in file.json:
        raise UnknownFormat(
            f"{file.path} holds detections, not labels; `--export` and the page write labels."
        )
    raise UnknownFormat(f"{file.path} is in no format that is known{first}; {how}.")
