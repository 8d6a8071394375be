"""Annotations of every data set in one schema: the ActivityNet JSON, read into `Annotations`.

The file:

    {"classes": ["walking", "sitting"],           optional: fixes the class order; else labels are sorted
     "database": {
       "my_recording": {
         "subset": "train",
         "duration": 411.96,                      seconds, optional
         "fps": 50, "num_frames": 20598,          both optional; "num_samples" is read as "num_frames" too
         "subject": "user01",                     optional, whom it shows: cross-validation holds out subjects
         "annotations": [{"label": "sitting", "segment": [47.6, 60.2]}]}}}      seconds; may be strings

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

RECORDING_FIELDS = (
    "duration",
    "fps",
    "num_frames",
    "num_samples",
    "subject",
    "annotations",
)  # besides the subset

LONGEST_SEC = 1e9  # of a time: 30 years
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
        subject: whom it shows; "" if not annotated.
    """

    name: str
    subset: str
    duration_sec: float | None
    segments_sec: np.ndarray
    labels: np.ndarray
    fps: float | None = None
    num_frames: int | None = None
    ignored_sec: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 2)))
    subject: str = ""


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
        """The Annotations with "action" as the class of every action."""
        recordings = {}
        for name, recording in self.recordings.items():
            recordings[name] = dataclasses.replace(recording, labels=np.zeros_like(recording.labels))
        return Annotations(("action",), recordings)

    def without_duplicates(self, within_sec):
        """The Annotations without actions that last less than `within_sec`, and without repeated ones.

        An action is repeated that begins and ends within so many seconds of an earlier one of its class which
        stays. An action without times stays. 0: all stay.
        """
        if not within_sec:
            return self
        recordings = {}
        for name, recording in self.recordings.items():
            segments_sec, labels = recording.segments_sec, recording.labels
            kept = ~(np.diff(segments_sec)[:, 0] < within_sec)
            for i in range(1, len(labels)):
                same = (np.abs(segments_sec[:i] - segments_sec[i]) <= within_sec).all(axis=1)
                kept[i] &= not (same & (labels[:i] == labels[i]) & kept[:i]).any()
            recordings[name] = dataclasses.replace(
                recording, segments_sec=segments_sec[kept], labels=labels[kept]
            )
        return dataclasses.replace(self, recordings=recordings)

    def count_ignored(self):
        """The number of intervals with an ignored label."""
        return sum(len(recording.ignored_sec) for recording in self.recordings.values())

    def absent_ignored(self, ignored_labels):
        """Sentences on ignored labels that no annotation has; `IGNORED_LABELS` may be absent."""
        labels = sorted({*self.classes, *self.all_labels})
        have = f"no annotation has; the labels are {', '.join(map(repr, labels)) or 'none'}."
        absent = [label for label in ignored_labels if label not in (*IGNORED_LABELS, *labels)]
        return [f"config.data.ignored_labels has {label!r}, which {have}" for label in absent]

    def subset_names(self):
        """The names of the subsets, for messages: "'test', 'train'"."""
        return ", ".join(sorted({repr(recording.subset) for recording in self.recordings.values()})) or "none"

    def subset(self, name):
        """The Annotations of one subset, with all classes. Raises DataError if no recording is in it."""
        chosen = {key: recording for key, recording in self.recordings.items() if recording.subset == name}
        if not chosen:
            have = self.subset_names()
            raise DataError(f"No recording has the subset '{name}'; the annotations have {have}.")
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
    return parse_annotations(read_json(path, "annotation file", hint), path, ignored_labels, classes)


def parse_annotations(content, path, ignored_labels=IGNORED_LABELS, classes=()):
    """The Annotations in the content of a file of the schema above, or of another one that was put into it.

    Args:
        content: what the JSON file holds.
        path, ignored_labels, classes: see `load_annotations`; the path is for messages.

    Raises:
        DataError: as `load_annotations`, but for what cannot be read.
    """
    unread = {owner: set() for owner in ("the file", "recordings", "annotations")}
    unread["the file"].update(require_object(content, ["database"], path, ["classes"]))
    database = content["database"]
    if not isinstance(database, dict) or not database:
        raise DataError(f"{path}: field 'database' must be a non-empty object of recordings by name.")
    rows = {}  # recording -> [(label, [start_sec, end_sec])]
    for name, entry in database.items():
        where, rows[name] = f"{path}: recording '{name}'", []
        require_name(name, path)
        unread["recordings"].update(require_object(entry, ["subset"], where, RECORDING_FIELDS))
        _require_subset_and_list(entry, where)
        for i, annotation in enumerate(entry.get("annotations", [])):
            here = f"{where}, annotation {i}"
            unread["annotations"].update(require_object(annotation, ["label"], here, ["segment"]))
            segment_sec = segment_of(annotation, here) if "segment" in annotation else [math.nan] * 2
            rows[name].append((label_of(annotation, here), segment_sec))

    used = {label: name for name in reversed(rows) for label, _ in rows[name]}  # by its first recording
    classes = _class_order(path, classes or content.get("classes"), used, ignored_labels)
    index = {label: i for i, label in enumerate(classes)}
    recordings = {}
    for name, entry in database.items():
        where = f"{path}: recording '{name}'"
        actions = [row for row in rows[name] if row[0] not in ignored_labels]
        ignored = [sec for label, sec in rows[name] if label in ignored_labels and not math.isnan(sec[0])]
        num_frames = positive_or_none(entry, "num_frames", where)
        num_frames = num_frames or positive_or_none(entry, "num_samples", where)
        recordings[name] = Recording(
            name=name,
            subset=entry["subset"],
            duration_sec=positive_or_none(entry, "duration", where, 1e-3, LONGEST_SEC),
            segments_sec=np.array([segment_sec for _, segment_sec in actions], np.float64).reshape(-1, 2),
            labels=np.array([index[label] for label, _ in actions], np.int32),
            fps=positive_or_none(entry, "fps", where),
            num_frames=num_frames and int(num_frames),
            ignored_sec=np.array(ignored, np.float64).reshape(-1, 2),
            subject=_subject(entry, where),
        )
    unread = [f"{field!r:.60} of {owner}" for owner, fields in unread.items() for field in sorted(fields)]
    annotations = Annotations(classes, recordings, tuple(unread), frozenset(used))
    for sentence in annotations.absent_ignored(ignored_labels):
        log.warning(sentence)
    return annotations


def _subject(entry, where):
    """The subject of a recording's object, a text or a whole number, as text; "" without one."""
    subject = entry.get("subject", "")
    if isinstance(subject, bool) or not isinstance(subject, str | int):
        raise DataError(f"{where}: field 'subject' must be a text or a whole number, found {subject!r:.60}.")
    return str(subject)


def _require_subset_and_list(entry, where):
    """Raises DataError unless the object of a recording has a text as subset and a list of annotations."""
    subset = entry["subset"]
    if not isinstance(subset, str):
        raise DataError(f"{where}: field 'subset' must be a text such as \"train\", found {subset!r:.60}.")
    if not is_printable(subset):
        raise DataError(f"{where}: field 'subset' holds a control character, {subset!r:.60}; correct it.")
    if not isinstance(entry.get("annotations", []), list):
        raise DataError(f"{where}: field 'annotations' must be a list, found {entry['annotations']!r:.60}.")


def _class_order(path, classes, used, ignored_labels):
    """The class names in index order; `used` maps each used label to the first recording that has it."""
    labels = sorted({*used} - {*ignored_labels})
    if classes is None:
        return tuple(labels)
    if not isinstance(classes, (list, tuple)) or not all(isinstance(name, str) for name in classes):
        raise DataError(f"{path}: field 'classes' must be a list of class names, found {classes!r:.60}.")
    for name in classes:
        require_label(name, f"{path}: field 'classes'")
    if len(set(classes)) != len(classes):
        raise DataError(f"{path}: field 'classes' names a class twice.")
    classes = tuple(name for name in classes if name not in ignored_labels)
    unknown = [f"'{label:.60}' (recording '{used[label]}')" for label in labels if label not in classes]
    if unknown:
        found = f"not among the {len(classes)} classes: {', '.join(unknown)}"
        raise DataError(f"{path}: {found}; correct the label or add the class.")
    return classes


def require_object(entry, required, where, optional=()):
    """The names of the fields of a JSON object that are not read, in alphabetical order.

    Args:
        entry: what a JSON file holds; `where` begins the sentence of an error.
        required, optional: the names of the fields that are read.

    Raises:
        DataError: it is no object, a field is nearly called like one that is absent, or a required one is.
    """
    if not isinstance(entry, dict):
        fields = ", ".join(map(repr, required))
        raise DataError(f"{where} must be an object with the fields {fields}, found {entry!r:.60}.")
    unread = sorted(entry.keys() - (*required, *optional))
    absent = [field for field in (*required, *optional) if field not in entry]
    for field in unread:
        for meant in difflib.get_close_matches(field.casefold(), absent, 1, cutoff=0.85):
            found = f"has a field {field!r:.60}, which is not read"
            raise DataError(f"{where} {found}; if '{meant}' is meant, call it so.")
    if absent and absent[0] in required:
        raise DataError(f"{where}: field '{absent[0]}' is missing.")
    return unread


def label_of(entry, where):
    """The label of an action, detection or proposal. Raises DataError; `where` begins its sentence."""
    if not isinstance(entry["label"], str):
        raise DataError(f"{where}: field 'label' must be the name of a class, found {entry['label']!r:.60}.")
    require_label(entry["label"], where)
    return entry["label"]


def segment_of(entry, where, finite=True):
    """[start_sec, end_sec] of an action, detection or proposal, see `require_number`."""
    segment, where = entry["segment"], f"{where}: field 'segment'"
    if not isinstance(segment, list) or len(segment) != 2:
        raise DataError(f"{where} must be [start, end] in seconds, found {segment!r:.60}.")
    numbers = [require_number(value, where, finite) for value in segment]
    if any(LONGEST_SEC < abs(number) < math.inf for number in numbers):
        raise DataError(f"{where} must be in seconds, of {LONGEST_SEC:g} at most, found {segment!r:.60}.")
    return numbers


def require_number(value, where, finite=True):
    """The number that a JSON value or a text is; unless `finite`, NaN and infinity are numbers too.

    Raises DataError for what is none; `where` begins its sentence.
    """
    try:
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # float("1_0") is 10
            raise ValueError
        number = float(value)
        if finite and not math.isfinite(number):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        kind = "a finite number" if finite else "a number"
        raise DataError(f"{where} must be {kind}, found {value!r:.60}.") from None
    return number


def positive_or_none(entry, field, where, least=0, most=math.inf):
    """The positive number, from `least` to `most`, that a field of a dict holds; None where it has none.

    Raises DataError for anything else; `where` begins its sentence.
    """
    if entry.get(field) is None:
        return None
    number = require_number(entry[field], f"{where}: field '{field}'")
    if number <= 0:
        raise DataError(f"{where}: field '{field}' must be positive, found {entry[field]!r:.60}.")
    if not least <= number <= most:
        raise DataError(f"{where}: field '{field}' is {number:g}; it must be from {least:g} to {most:g}.")
    return number


def require_times(recordings, what_for):
    """Raises DataError for the first recording with a label without times.

    Args:
        recordings: {name: Recording}.
        what_for: what needs times, for the sentence.
    """
    for name, recording in recordings.items():
        if np.isnan(recording.segments_sec).any():
            found = "has a label without times (no field 'segment')"
            raise DataError(
                f"Recording '{name}' {found}; {what_for} needs times: add them, or drop the label."
            )


def require_order(start_sec, end_sec, where):
    """Raises DataError for an action that ends before it begins; `where` begins its sentence."""
    if end_sec < start_sec:
        raise DataError(
            f"{where}: an action ends at {end_sec:g} s, before it begins at {start_sec:g} s; correct it."
        )
