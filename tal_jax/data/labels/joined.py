"""Rows of all files of labels → the content of one annotation file, and what was dropped or changed."""

import collections
import dataclasses
import math
import re

from tal_jax.data.annotations import parse_annotations, positive_or_none
from tal_jax.data.labels.rows import FACTS
from tal_jax.data.names import ByName, match_names, require_label, require_name
from tal_jax.errors import DataError

SUBSETS = {"training": "train", "testing": "test"}  # as configs/folder.py calls them
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
        DataError: no label is left, no recording has a file, a name of `test` is neither a recording nor a
            subject, a name or label is none that an annotation file may have, or two folders hold media files
            of one name.
    """
    dropped, changed, unmatched = {}, {}, collections.Counter()
    called = _names(labels, media)
    _require_one_folder(labels)
    if replace:
        _keep_latest(labels, called)
    notes, of_files = [], [note for found in labels for note in found.notes]
    for found in labels:
        for reason, places in found.dropped.items():
            dropped.setdefault(reason, []).extend(places)
    facts, rows, files = {}, {}, collections.Counter()
    for found in labels:
        for name, known in found.recordings.items():
            if called[name] is None:
                unmatched[name] += 0
            else:
                _add_facts(facts.setdefault(called[name], {"subjects": set()}), known)
        files.update({called[name] for name in found.recordings} - {None})
        late_sec = {name: _late_sec(known, called[name], media) for name, known in found.recordings.items()}
        for row in found.rows:
            if called[row.recording] is None:
                unmatched[row.recording] += 1
            else:
                rows.setdefault(called[row.recording], []).append(_moved(row, late_sec[row.recording]))
    database = {}
    for name in facts:
        require_name(name, target)
        entry = _entry(name, facts[name], media, notes)
        of_recording = rows.get(name, ())
        if any(row.of_clock for row in of_recording):
            of_recording = _from_the_beginning(of_recording, name, media)
        actions = _actions(of_recording, entry.get("duration", math.inf), widen_sec, dropped, changed)
        database[name] = entry | {"annotations": actions}
    _set_subsets(database, test)
    content = {"database": database}
    classes = [label for found in labels for label in found.classes]
    if classes:
        used = sorted({action["label"] for entry in database.values() for action in entry["annotations"]})
        content = {"classes": [*dict.fromkeys(classes + used)]} | content
    if not any(entry["annotations"] for entry in database.values()):
        reasons = [f"{len(places)}: {reason}" for reason, places in dropped.items()]
        raise DataError(f"No action is left to write to {target}. Dropped: {'; '.join(reasons) or 'none'}.")
    parse_annotations(content, target, ignored_labels=())
    several = [name for name in files if files[name] > 1]
    if several:
        which = f"{len(several)} recordings, the first is '{several[0]}' with {files[several[0]]}"
        notes.append(f"Several files of labels are joined for {which}.")
    without = [name for name, entry in database.items() if "duration" not in entry]
    if without:
        count = f"{len(without)} of {len(database)} recordings, the first is '{without[0]}'"
        may = "" if media and media.fps else f"; --features{'_fps=ROWS_A_SECOND' if media else '=FOLDER'} may"
        notes.append(f"Nothing says how long a recording lasts for {count}{may}.")
    return Joined(content, dropped, changed, unmatched, [*notes, *of_files])


def _keep_latest(labels, called):
    """Drops the labels of a recording of all files but the last that has it.

    What earlier files say of a recording beside its labels goes to the last one, where that does not say it.

    Args:
        labels: list of Labels in their order; they are changed.
        called: see `_names`.
    """
    latest = {}  # recording -> what the last of its files says of it
    for found in reversed(labels):
        old = [name for name in found.recordings if called[name] in latest]
        for name, known in found.recordings.items():
            later = latest.setdefault(called[name], known) if called[name] else known
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


def _require_one_folder(labels):
    """Raises DataError for media files of one name in several folders: they are two recordings.

    Absolute paths that begin in different folders may be of two machines, and so may the paths of two files
    of labels: of these the last folders alone are compared.
    """
    last = {}  # name of a recording -> {last folder: (path of folders, place that names it)}
    for found in labels:
        for name, places in found.folders.items():
            of_roots = {}  # root of a path -> {path of folders: (it, place that names it)}
            for path, where in places.items():
                root = re.match(r"/[^/]*|[a-zA-Z][a-zA-Z0-9+.-]*:|", path)[0]
                of_root, of_name = of_roots.setdefault(root, {}), last.setdefault(name, {})
                of_root[path] = of_name[path.rpartition("/")[2]] = path, where
                several = [*(of_root if len(of_root) > 1 else of_name).values()]
                if len(several) > 1:
                    (one, _), (other, where), *_ = several
                    both = f"'{one:.60}' and '{other:.60}' both hold a '{name:.60}'"
                    how = "rename one, because recordings are told apart by their names"
                    raise DataError(f"{where}: {both}; {how}, or write one folder if it is one recording.")


def _names(labels, media):
    """{name in a file of labels: the recording that it means, or None}."""
    others = {}
    for found in labels:
        for name, known in found.recordings.items():
            others.setdefault(name, []).extend(known["others"])
    if media is None:
        return _names_of_first_files(labels)
    every = {name for first, more in others.items() for name in (first, *more)}
    meant = match_names(every, media.paths)
    called = {}
    for first, more in others.items():
        called[first] = next((meant[name] for name in (first, *more) if meant[name] is not None), None)
    if called and not any(called.values()):
        first, of_folder = next(iter(called)), next(iter(media.paths))
        found = f"none of the {len(called)} labelled recordings has a file in {media.folder}"
        raise DataError(
            f"{found}: the first is '{first}', that of the folder '{of_folder}'; correct the names."
        )
    return called


def _names_of_first_files(labels):
    """{name in a file of labels: the name that the first file with the recording gives it}.

    Two recordings that share an other name alone, as the observation 1 of two projects, are not one.
    """
    called, known_as = {}, {}  # known_as: any name that a file gives a recording -> what it is called
    for found in labels:
        firsts, every, meant = ByName(dict(called)), ByName(called | known_as), {}
        for name, known in found.recordings.items():
            same = [every[name]] if name in every else [firsts[o] for o in known["others"] if o in firsts]
            meant[name] = called.get(name) or next(iter(same), name)
        counts = collections.Counter(meant.values())
        for name, known in found.recordings.items():
            if counts[meant[name]] > 1 and name not in called:
                meant[name] = name  # the file has two of them: they are not one
            called[name] = meant[name]
            if meant[name] != name:
                found.notes.append(f"'{name}' is taken to be the '{meant[name]}' of a file before.")
            for other in (name, *known["others"]):
                known_as.setdefault(other, meant[name])
    return called


def _add_facts(facts, known):
    """Adds what another file says of a recording. A length, rate or subset that is known stays."""
    facts["subjects"] |= known["subjects"]
    for field in FACTS:
        if field in known:
            facts.setdefault(field, known[field])


def _entry(name, facts, media, notes):
    """The fields of a recording but its annotations. Where there is a file, its length goes first."""
    entry = {"subset": SUBSETS.get(facts.get("subset"), facts.get("subset", "train"))}
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


def _from_the_beginning(rows, name, media):
    """The Rows of a recording, those of a clock counted from its first time stamp. Raises DataError."""
    where = next(row.where for row in rows if row.of_clock)
    if media is None:
        says = "its times are dates, or count from 1970; name the folder of the recordings' files"
        raise DataError(f"{where}: {says} with --features, whose first time stamp is second 0.")
    begins_sec = media.begins_sec(name, where)
    return [_moved(row, -begins_sec if row.of_clock else 0.0) for row in rows]


def _moved(row, seconds):
    """The Row so many seconds later."""
    return row._replace(start_sec=row.start_sec + seconds, end_sec=row.end_sec + seconds)


def _late_sec(known, name, media):
    """Seconds from the first time stamp of a recording's file to that of its table of labels a sample."""
    of_file = media.first_time(name) if media and name and "first" in known else None
    if not of_file or of_file[1] != known["first"][1]:
        return 0.0
    late_sec = known["first"][0] - of_file[0]
    return late_sec if of_file[1] else max(0.0, late_sec)  # a device may count from when it was switched on


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
        label = " ".join(row.label.split())
        start_sec, end_sec = round(row.start_sec, 6), round(row.end_sec, 6)
        ways = []
        if start_sec == end_sec and widen_sec:
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


def _reason_to_drop(label, start_sec, end_sec, duration_sec):
    """Why an action cannot be kept, "" if it can. A label without times (NaN) can."""
    if not label:
        return NO_LABEL
    if end_sec < start_sec:
        return REVERSED
    if end_sec == start_sec:
        return POINT
    if end_sec <= 0:
        return BEFORE
    return AFTER if start_sec >= duration_sec else ""


def _set_subsets(database, test):
    """Puts the recordings and subjects that are named into the subset "test". Raises DataError for others."""
    known = match_names(test, database)
    for name in test:
        chosen = [
            key for key, entry in database.items() if key == known[name] or entry.get("subject") == name
        ]
        if not chosen:
            first = ", ".join([*database][:3])
            raise DataError(
                f"--test names '{name:.60}', no recording and no subject; recordings are {first}, …"
            )
        for key in chosen:
            database[key]["subset"] = "test"
