"""Rows of all files of labels → the content of one annotation file, and what was dropped or changed."""

import collections
import dataclasses
import math
import unicodedata

from tal_jax.data.annotations import parse_annotations, positive_or_none
from tal_jax.data.labels.clocks import Clocks, moved
from tal_jax.data.labels.recording_names import recordings_of_files
from tal_jax.data.labels.rows import FACTS
from tal_jax.data.names import match_names, require_label, require_name
from tal_jax.errors import DataError

NO_LABEL = "they have no label"
REVERSED = "they end before they start"
POINT = "they have no length (--widen_sec=1 makes a point an action of 1 s)"
BEFORE = "they end before their recording begins"
AFTER = "they start after their recording has ended"
REPLACED = "a later file has their recording (--replace)"
TWICE = "they are there before, with the same label and times"
WIDENED = "they have no length and are widened"
CUT_START = "they start before their recording begins and are cut there"
CUT_END = "they end after their recording has ended and are cut there"


@dataclasses.dataclass
class Joined:
    """An annotation file, and what became of the labels that it was made of.

    Attributes:
        content: of the file, in the schema of `annotations.py`.
        dropped: reason -> places of labels that are not in it.
        changed: how -> places of labels that are in it, but changed.
        unmatched: recording that has no file, and is dropped -> how many labels of it are.
        notes: sentences on what a person should know.
    """

    content: dict
    dropped: dict
    changed: dict
    unmatched: dict
    notes: list


def join_labels(labels, media=None, widen_sec=0.0, test=(), replace=False, target="annotations.json"):
    """Joins what was read of all files.

    Args:
        labels: list of Labels.
        media: Media; recordings without a file in it are dropped. None: all names are taken as they are.
        widen_sec: length of the action that is made of a point, which is its middle; 0: points are dropped.
        test: names of recordings, or of subjects, that are the subset "test". Others are of the subset that
            their file says, or else "train".
        replace: whether the labels of a recording are those of the last of its files alone. What earlier
            files say of it beside its labels stays, where the last one does not say it.
        target: the file that is to be written, for messages.

    Returns:
        Joined.

    Raises:
        DataError: no label is left, a name of `test` is neither a recording nor a subject, or a name or label
            is none that an annotation file may have; see `recordings_of_files` also.
    """
    dropped, changed, notes = {}, {}, []
    recordings = recordings_of_files(labels, media)
    if replace:
        _keep_latest(labels, recordings)
    for found in labels:
        for reason, places in found.dropped.items():
            dropped.setdefault(reason, []).extend(places)
    clocks = Clocks(media)
    facts, rows, unmatched = _of_recordings(labels, recordings, clocks, notes)
    for name in facts:
        require_name(name, target)
    database = {name: _entry(name, facts[name], media, notes) for name in facts}
    durations_sec = {name: entry.get("duration", math.inf) for name, entry in database.items()}
    rows = clocks.from_beginning(rows, durations_sec)
    for name, entry in database.items():
        of_recording = rows.get(name, ())
        entry["annotations"] = _actions(of_recording, durations_sec[name], widen_sec, dropped, changed)
    notes += clocks.notes()
    _set_subsets(database, {name: known["subjects"] for name, known in facts.items()}, test)
    content = {"database": database}
    classes = [_plain_label(label) for found in labels for label in found.classes]
    if classes:
        used = sorted({action["label"] for entry in database.values() for action in entry["annotations"]})
        content = {"classes": [*dict.fromkeys(classes + used)]} | content
    if not any(entry["annotations"] for entry in database.values()):
        reasons = [f"{len(places)}: {reason}" for reason, places in dropped.items()]
        notes += [note for found in labels for note in found.notes]
        why = " ".join([f"Dropped: {'; '.join(reasons) or 'none'}.", *notes[:3]])
        raise DataError(f"No action is left to write to {target}. {why}")
    parse_annotations(content, target, ignored_labels=())
    without = [name for name, entry in database.items() if "duration" not in entry]
    if without:
        count = f"{len(without)} of {len(database)} recordings, the first is '{without[0]}'"
        may = "" if media and media.fps else f"; --features{'_fps=ROWS_A_SECOND' if media else '=FOLDER'} may"
        notes.append(f"Nothing says how long a recording lasts for {count}{may}.")
    notes += [note for found in labels for note in found.notes]
    return Joined(content, dropped, changed, unmatched, notes)


def _of_recordings(labels, recordings, clocks, notes):
    """The facts and the rows of each recording, from all files of labels.

    Args:
        labels: see `join_labels`.
        recordings: see `recordings_of_files`.
        clocks: Clocks.
        notes: list, to which sentences are added.

    Returns:
        (recording -> facts of it, see `Labels.recordings`; recording -> its Rows; Counter of the labels of
        recordings that have no file).
    """
    facts, rows, unmatched, files = {}, {}, collections.Counter(), collections.Counter()
    for found, names in zip(labels, recordings):
        late_sec = {}
        for name, known in found.recordings.items():
            if names[name] is None:
                unmatched[name] += 0
                continue
            _add_facts(facts.setdefault(names[name], {"subjects": set()}), known, names[name], notes)
            late_sec[name] = clocks.late_sec(names[name], known)
        files.update({names[name] for name in found.recordings} - {None})
        for row in found.rows:
            if names[row.recording] is None:
                unmatched[row.recording] += 1
            else:
                rows.setdefault(names[row.recording], []).append(moved(row, late_sec[row.recording]))
    several = [name for name in files if files[name] > 1]
    if several:
        count = f"{len(several)} recording{'s' * (len(several) > 1)}"
        which = f"{count}, the first is '{several[0]}' with {files[several[0]]}"
        notes.append(f"Several files of labels are joined for {which}.")
    return facts, rows, unmatched


def _keep_latest(labels, recordings):
    """Drops the labels of a recording of all files but the last that has it.

    What earlier files say of a recording beside its labels goes to the last one, where that does not say it.

    Args:
        labels: list of Labels in their order; they are changed.
        recordings: see `recordings_of_files`.
    """
    latest = {}  # recording -> what the last of its files says of it
    for found, names in zip(reversed(labels), reversed(recordings)):
        old = [name for name in found.recordings if names[name] in latest]
        for name, known in found.recordings.items():
            later = latest.setdefault(names[name], known) if names[name] else known
            later.update({field: value for field, value in known.items() if field not in later})
            if not later["subjects"] - {""}:
                later["subjects"] = known["subjects"]
        if not old:
            continue
        for row in found.rows:
            if row.recording in old:
                found.drop(REPLACED, row.where)
        found.rows = [row for row in found.rows if row.recording not in old]
        found.recordings = {name: known for name, known in found.recordings.items() if name not in old}


def _add_facts(facts, known, name, notes):
    """Adds what another file says of a recording. A length, rate or subset that is known stays."""
    facts["subjects"] |= known["subjects"]
    if known.get("subset") and facts.get("subset", known["subset"]) != known["subset"]:
        several = f"'{facts['subset']:.40}', and '{known['subset']:.40}' in a later file"
        notes.append(f"'{name}' is of the subset {several}; the first counts.")
    for field in FACTS:
        if field in known:
            facts.setdefault(field, known[field])


def _entry(name, facts, media, notes):
    """The fields of a recording but its annotations. Where there is a file, its length goes first."""
    entry = {"subset": facts.get("subset", "train")}
    for field in (field for field in FACTS if field != "subset"):
        value = positive_or_none(facts, field, f"recording '{name}'")
        entry |= {field: round(value, 6)} if value else {}
    length = media.length(name) if media else None
    if length and length.problem:
        notes.append(f"The length of '{name}' is not known from its file: {length.problem}")
    if length and length.duration_sec:
        entry["duration"] = round(length.duration_sec, 6)
    if length and length.fps:
        entry["fps"] = round(length.fps, 6)
        entry.pop("num_frames", None)  # it counts frames of another rate
    named = sorted(facts["subjects"] - {""})
    if len(facts["subjects"]) == 1 and named:
        entry["subject"] = named[0]
    elif named[1:]:
        several = ", ".join(named)
        notes.append(f"'{name}' has several subjects, {several:.200}; their actions are joined.")
    return entry


def _actions(rows, duration_sec, widen_sec, dropped, changed):
    """The annotations of a recording in the order of time.

    Args:
        rows: Rows of it, whose seconds count from its beginning.
        duration_sec: its length, infinite where it is not known.
        widen_sec: see `join_labels`.
        dropped, changed: reason -> places; more are added.
    """
    kept = {}
    for row in rows:
        label = _plain_label(row.label)
        start_sec, end_sec = round(row.start_sec, 6), round(row.end_sec, 6)
        ways = []
        if start_sec == end_sec and widen_sec and 0 <= start_sec <= duration_sec:
            ways.append(f"{WIDENED} to {widen_sec:g} s")
            start_sec, end_sec = round(start_sec - widen_sec / 2, 6), round(end_sec + widen_sec / 2, 6)
        reason = _reason_to_drop(label, start_sec, end_sec, duration_sec)
        if not reason:
            require_label(label, row.where)
            ways += [CUT_START] if start_sec < 0 else []
            ways += [CUT_END] if end_sec > duration_sec else []
            action = max(start_sec, 0.0), min(end_sec, duration_sec), label
            action = (math.inf, math.inf, label) if math.isnan(start_sec) else action
            reason = TWICE if action in kept else ""
            kept[action] = None
        if reason:
            dropped.setdefault(reason, []).append(row.where)
        for way in () if reason else ways:
            changed.setdefault(way, []).append(row.where)
    return [
        dict(label=label, segment=[start, end]) if start < math.inf else dict(label=label)
        for start, end, label in sorted(kept)
    ]


def _plain_label(text):
    """A label with one blank between words, in Unicode form NFC, in which an accent is part of its letter."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _reason_to_drop(label, start_sec, end_sec, duration_sec):
    """Why an action cannot be kept, "" if it can. A label without times (NaN) can."""
    if not label:
        return NO_LABEL
    if end_sec < start_sec:
        return REVERSED
    if end_sec < 0 or start_sec < end_sec == 0:
        return BEFORE
    if start_sec > duration_sec or end_sec > start_sec == duration_sec:
        return AFTER
    return POINT if end_sec == start_sec else ""


def _set_subsets(database, subjects, test):
    """Puts the recordings and subjects that are named into the subset "test".

    Args:
        database: of the file; its entries are changed.
        subjects: name of a recording -> set of its subjects.
        test: see `join_labels`.

    Raises:
        DataError: a name is neither that of a recording nor that of a subject.
    """
    recordings = match_names(test, database)
    known = match_names(test, {subject for of_recording in subjects.values() for subject in of_recording})
    for name in test:
        chosen = [key for key in database if key == recordings[name] or known[name] in subjects[key]]
        if not chosen:
            first = ", ".join([*database][:3])
            raise DataError(
                f"--test names '{name:.60}', no recording and no subject; recordings are {first}, …"
            )
        for key in chosen:
            database[key]["subset"] = "test"
