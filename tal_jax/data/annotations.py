"""Annotations of every data set in one schema: the ActivityNet JSON, read into `Annotations`.

The file:

    {"classes": ["walking", "sitting"],                      optional: fixes the class order; else labels are
    sorted
     "database": {
       "my_recording": {
         "subset": "train",
         "duration": 411.96,                                 seconds, optional
         "fps": 50, "num_frames": 20598,                     both optional; "num_samples" is read as
         num_frames too "annotations": [{"label": "sitting", "segment": [47.6, 60.2]}]}}}     segments in
         seconds; may be strings

An annotation without "segment" says that something happens but not when, enough to train a weakly supervised
system on. An ignored label (`config.data.ignored_labels`) is no class. Its intervals are no actions to learn
or to find. Other fields are not read; one that looks like a field that is absent, such as "segments", is an
error.
"""

import dataclasses
import difflib
import logging
import math

import numpy as np

from tal_jax.data.names import is_printable, require_label, require_name
from tal_jax.errors import DataError
from tal_jax.runtime.json_files import read_json

log = logging.getLogger(__name__)

FIELDS = {  # that are read, by the objects that have them
    "the file": ("database", "classes"),
    "recordings": ("subset", "duration", "fps", "num_frames", "num_samples", "annotations"),
    "annotations": ("label", "segment"),
}

IGNORED_LABELS = ("Ambiguous",)  # THUMOS14's label of intervals that may or may not be an action


@dataclasses.dataclass(frozen=True)
class Recording:
    """One recording and what happens in it.

    Attributes:
        name: key in the annotation file; its feature file has this stem.
        subset: "train", "test", ... as in the file.
        duration_sec: length in seconds, None if not annotated.
        segments_sec: (G, 2) float64, start and end of each action in seconds, in file order; NaN where only
            the label is known.
        labels: (G,) int32, 0-based indices into `Annotations.classes`.
        fps: the recording's own frame (sample) rate in 1/s, None if not annotated.
        num_frames: number of frames (samples), None if not annotated.
        ignored_sec: (I, 2) float64, start and end in seconds of the intervals with an ignored label.
    """

    name: str
    subset: str
    duration_sec: float | None
    segments_sec: np.ndarray
    labels: np.ndarray
    fps: float | None = None
    num_frames: int | None = None
    ignored_sec: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))


@dataclasses.dataclass(frozen=True)
class Annotations:
    """All recordings of a data set by name, in file order, and the K class names in index order.

    Attributes:
        classes: K names.
        recordings: name -> Recording.
        unread: the fields of the file that are not read, such as "'url' of recordings"; of `load_annotations`
            alone.
        all_labels: the labels in the file, ignored ones too; of `load_annotations` alone.
    """

    classes: tuple[str, ...]
    recordings: dict[str, Recording]
    unread: tuple[str, ...] = ()
    all_labels: frozenset[str] = frozenset()

    def class_agnostic(self):
        """The same with one class, "action"."""
        one = {
            name: dataclasses.replace(r, labels=np.zeros_like(r.labels))
            for name, r in self.recordings.items()
        }
        return Annotations(("action",), one)

    def count_ignored(self):
        """The number of intervals with an ignored label."""
        return sum(len(recording.ignored_sec) for recording in self.recordings.values())

    def absent_ignored(self, ignored_labels):
        """Sentences on ignored labels that no annotation has, but for those of `IGNORED_LABELS`."""
        there = sorted({*self.classes, *self.all_labels})
        return [
            f"config.data.ignored_labels has {label!r}, which no annotation has; the labels are "
            f"{', '.join(map(repr, there)) or 'none'}."
            for label in ignored_labels
            if label not in (*IGNORED_LABELS, *there)
        ]

    def subset_names(self):
        """The subsets that there are, for messages: "'test', 'train'"."""
        return ", ".join(sorted({repr(recording.subset) for recording in self.recordings.values()})) or "none"

    def subset(self, name):
        """The recordings of one subset, same classes. Raises DataError if there is none."""
        chosen = {key: recording for key, recording in self.recordings.items() if recording.subset == name}
        if not chosen:
            raise DataError(
                f"No recording has the subset '{name}'; the annotations have {self.subset_names()}."
            )
        return Annotations(self.classes, chosen)


def load_annotations(path, ignored_labels=IGNORED_LABELS, classes=(), hint=""):
    """Reads an annotation file of the schema above.

    Args:
        path: the JSON file.
        ignored_labels: labels that are no classes; their intervals become `Recording.ignored_sec`.
        classes: class order to use instead of the file's; empty: the file's "classes", else its labels
            sorted.
        hint: what to do where the file is missing, added to the error.

    Returns:
        Annotations.

    Raises:
        DataError: the file is missing, is no good JSON (see `read_json`), has another shape, names a
            recording as no file can be called, or uses a label that is not a class.
    """
    content = read_json(path, "annotation file", hint)
    if not isinstance(content, dict):
        raise DataError(
            f"{path}: the file must hold a JSON object with the field 'database', not a list or a value."
        )
    unread = dict.fromkeys(_unread_fields(content, "the file", path))
    database = content.get("database")
    if not isinstance(database, dict) or not database:
        raise DataError(f"{path}: field 'database' must be a non-empty object of recordings by name.")
    for name, entry in database.items():
        require_name(name, path)
        _require_entry(entry, f"{path}: recording '{name}'")
        unread |= dict.fromkeys(_unread_fields(entry, "recordings", f"{path}: recording '{name}'"))
    all_rows = {name: _rows(path, name, entry, unread) for name, entry in database.items()}
    rows = {name: [row for row in found if row[0] not in ignored_labels] for name, found in all_rows.items()}
    # label -> its first recording
    labels = {label: name for name in reversed(rows) for label, *_ in rows[name]}
    classes = _class_order(path, classes or content.get("classes"), labels, ignored_labels)
    index = {label: i for i, label in enumerate(classes)}
    recordings = {}
    for name, entry in database.items():
        where = f"{path}: recording '{name}'"
        ignored = [row[1:] for row in all_rows[name] if row[0] in ignored_labels and not math.isnan(row[1])]
        num_frames = positive_or_none(entry, "num_frames", where) or positive_or_none(
            entry, "num_samples", where
        )
        recordings[name] = Recording(
            name=name,
            subset=entry["subset"],
            duration_sec=positive_or_none(entry, "duration", where),
            segments_sec=np.array([row[1:] for row in rows[name]], np.float64).reshape(-1, 2),
            labels=np.array([index[row[0]] for row in rows[name]], np.int32),
            fps=positive_or_none(entry, "fps", where),
            num_frames=None if num_frames is None else int(num_frames),
            ignored_sec=np.array(ignored, np.float64).reshape(-1, 2),
        )
    annotations = Annotations(
        classes, recordings, tuple(unread), frozenset(row[0] for found in all_rows.values() for row in found)
    )
    for sentence in annotations.absent_ignored(ignored_labels):
        log.warning(sentence)
    return annotations


def _unread_fields(entry, owner, where):
    """The fields of an object that are not read, as "'url' of recordings". Raises DataError for one that is
    but misspelt.
    """
    fields = sorted(entry.keys() - {*FIELDS[owner]})
    for field in fields:
        absent = [known for known in FIELDS[owner] if known not in entry]
        meant = difflib.get_close_matches(field.casefold(), absent, 1, cutoff=0.85)
        if meant:
            raise DataError(
                f"{where} has a field {field!r:.60}, which is not read; if '{meant[0]}' is meant, call it so."
            )
    return [f"{field!r:.60} of {owner}" for field in fields]


def _require_entry(entry, where):
    """Raises DataError unless the object of a recording has a subset and a list of annotations."""
    if not isinstance(entry, dict):
        raise DataError(
            f"{where} must be an object with 'subset' and 'annotations', not a {type(entry).__name__}."
        )
    if not isinstance(entry.get("subset"), str):
        raise DataError(
            f"{where}: field 'subset' must be a text such as \"train\", found {entry.get('subset')!r:.60}."
        )
    if not is_printable(entry["subset"]):
        raise DataError(
            f"{where}: field 'subset' holds a control character, {entry['subset']!r:.60}; correct it."
        )
    if not isinstance(entry.get("annotations", []), list):
        raise DataError(f"{where}: field 'annotations' must be a list, found {entry['annotations']!r:.60}.")


def _rows(path, name, entry, unread):
    """[(label, start_sec, end_sec), ...] of one recording; adds to the keys of `unread`."""
    rows = []
    for number, annotation in enumerate(entry.get("annotations", [])):
        here = f"{path}: recording '{name}', annotation {number}"
        if not isinstance(annotation, dict) or not isinstance(annotation.get("label"), str):
            raise DataError(f"{here}: field 'label' is missing or not a text in {annotation!r:.60}.")
        require_label(annotation["label"], here)
        unread |= dict.fromkeys(_unread_fields(annotation, "annotations", here))
        segment = annotation.get("segment")
        if "segment" not in annotation:
            rows.append((annotation["label"], math.nan, math.nan))
            continue
        if not isinstance(segment, list) or len(segment) != 2:
            raise DataError(
                f"{here}: field 'segment' must be [start, end] in seconds, found {segment!r:.60}."
            )
        start_sec, end_sec = (require_number(value, f"{here}: field 'segment'") for value in segment)
        rows.append((annotation["label"], start_sec, end_sec))
    return rows


def _class_order(path, classes, labels, ignored_labels):
    """The class names in index order; `labels` maps each used label to the first recording that has it."""
    if classes is None:
        return tuple(sorted(labels))
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        raise DataError(f"{path}: field 'classes' must be a list of class names, found {classes!r:.60}.")
    for name in classes:
        require_label(name, f"{path}: field 'classes'")
    if len(set(classes)) != len(classes):
        raise DataError(f"{path}: field 'classes' names a class twice.")
    classes = tuple(name for name in classes if name not in ignored_labels)
    unknown = [
        f"'{label:.60}' (recording '{labels[label]}')" for label in sorted(labels) if label not in classes
    ]
    if unknown:
        raise DataError(
            f"{path}: not among the {len(classes)} classes: {', '.join(unknown)}; correct the label or add "
            f"the class."
        )
    return classes


def require_times(recordings, what_for):
    """Raises DataError for the first recording with a label without times. recordings: of Annotations;
    what_for: for the sentence.
    """
    for name, recording in recordings.items():
        if np.isnan(recording.segments_sec).any():
            raise DataError(
                f"Recording '{name}' has a label without times (no field 'segment'); {what_for} needs times."
            )


def require_number(value, where):
    """The finite number that a JSON value or a text is; `where` begins the sentence of the DataError
    otherwise.
    """
    try:
        wrong = isinstance(value, bool) or (isinstance(value, str) and "_" in value)  # float("1_0") is 10
        number = math.nan if wrong else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where} must be a finite number, found {value!r:.60}.")
    return number


def positive_or_none(entry, field, where):
    """The positive number that a field of a dict holds, None where it is absent or null; `where` begins the
    DataError.
    """
    if entry.get(field) is None:
        return None
    number = require_number(entry[field], f"{where}: field '{field}'")
    if number <= 0:
        raise DataError(f"{where}: field '{field}' must be positive, found {entry[field]!r:.60}.")
    return number
