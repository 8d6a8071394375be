"""Labels as data sets of the field are published: ActivityNet, THUMOS14, EPIC-Kitchens, Ego4D."""

import re
import types

from tal_jax.data.annotations import parse_annotations, require_number
from tal_jax.data.labels.rows import FACTS, Labels, Row
from tal_jax.data.sets import ego4d, epic
from tal_jax.data.sets.multithumos import VIDEOS
from tal_jax.errors import DataError

EPIC_COLUMNS = ("video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")
THUMOS_LINE = re.compile(r"\s*(\S+)\s+([\d.eE+-]+)\s+([\d.eE+-]+)\s*")


def _entry_rows(found, name, entry, path):
    """Adds a recording of the schema of `annotations.py`, and its actions, to the Labels `found`."""
    found.know(name, **{field: entry.get(field) for field in FACTS})
    for i, action in enumerate(entry["annotations"]):
        where = f"{path}: recording '{name}', annotation {i}"
        found.rows.append(Row(name, action["label"], *action["segment"], where))


def is_activitynet(content):
    """Whether the content of a JSON file is of ActivityNet's schema, which tal_jax has too."""
    return isinstance(content, dict) and "database" in content


def read_activitynet(file, options):
    """The Labels of a file of ActivityNet's schema; its errors are those of `load_annotations`."""
    annotations, found = parse_annotations(file.json, file.path, ignored_labels=()), Labels()
    found.classes = annotations.classes if "classes" in file.json else ()
    for name, recording in annotations.recordings.items():
        facts = dict(duration=recording.duration_sec, fps=recording.fps, subset=recording.subset)
        facts["num_frames"] = recording.num_frames
        actions = zip(recording.labels, recording.segments_sec.tolist(), strict=True)
        rows = [{"label": annotations.classes[label], "segment": segment} for label, segment in actions]
        found.know(name, recording.subject or None)
        _entry_rows(found, name, facts | {"annotations": rows}, file.path)
    return found


def is_thumos(head):
    """Whether the first line of a text is "VIDEO start end", as in THUMOS14's files of a class each."""
    line = next((line for line in head.splitlines() if line.strip()), "")
    parts = THUMOS_LINE.fullmatch(line)
    return bool(parts) and not re.fullmatch(r"[\d.]+", parts[1])


def read_thumos(file, options):
    """The Labels of one of THUMOS14's or MultiTHUMOS's files: lines "VIDEO start end" of the class that the
    file is called after, with or without "_val" and "_test". Validation videos are the subset "train".
    """
    found, label = Labels(), re.sub(r"_(val|test)$", "", file.path.stem)
    for number, line in enumerate(file.text.splitlines(), 1):
        parts, where = THUMOS_LINE.fullmatch(line), f"{file.path}, line {number}"
        if not line.strip():
            continue
        if not parts:
            raise DataError(f"{where} must be 'VIDEO start end', found {line!r:.60}.")
        start_sec, end_sec = (require_number(part, f"{where}: a time") for part in parts.groups()[1:])
        found.know(parts[1], subset=next((VIDEOS[p] for p in VIDEOS if parts[1].startswith(p)), None))
        found.rows.append(Row(parts[1], label, start_sec, end_sec, where))
    if not any(name.startswith(tuple(VIDEOS)) for name in found.recordings):
        first = next(iter(found.recordings), "")
        found.notes.append(f"{file.path}: '{label:.40}' is taken as the class, '{first:.40}' as a recording.")
    return found


def read_epic(file, options):
    """The Labels of EPIC_100_train.csv or another file of its columns, with that of the classes beside it.

    Classes are verbs, or nouns with --label_column=noun_class.
    """
    task = (options.label_column or ("verb_class",))[0].removesuffix("_class")
    if task not in epic.TASKS:
        raise DataError(f"--label_column={task} must be one of {', '.join(epic.TASKS)} for {file.path}.")
    file.label_columns.update(options.label_column[:1])
    classes, folder = epic.read_classes(file.path.parent, task), file.path.parent
    subset = next((subset for subset, name in epic.SUBSETS.items() if name == file.path.name), None)
    column, found = f"{task}_class", Labels(classes=tuple(classes[number] for number in sorted(classes)))
    for where, row in epic.read_rows(file.path, (*EPIC_COLUMNS[:3], column), epic.HOW_TO_GET):
        number = epic.whole_number(row, column, where)
        if number not in classes:
            raise DataError(f"{where}: {column} is {number}, which is no class; correct it.")
        ends_sec = [epic.clock_seconds(row, field, where) for field in EPIC_COLUMNS[1:3]]
        found.know(row["video_id"], row.get("participant_id"), subset=subset)
        found.rows.append(Row(row["video_id"], classes[number], *ends_sec, where))
    if (folder / epic.LENGTHS).exists():
        for where, row in epic.read_rows(folder / epic.LENGTHS, ("video_id", "duration"), epic.HOW_TO_GET):
            if row["video_id"] in found.recordings:
                duration_sec = require_number(row["duration"], f"{where}: duration")
                found.know(row["video_id"], duration=duration_sec)
    return found


def is_ego4d(content):
    """Whether the content of a JSON file is that of Ego4D's moments queries."""
    videos = content.get("videos") if isinstance(content, dict) else None
    first = videos[0] if isinstance(videos, list) and videos else None
    return isinstance(first, dict) and "clips" in first


def read_ego4d(file, options):
    """The Labels of one of Ego4D's moments_*.json: primary labels of clips, in seconds of the clip.

    What `ego4d.annotations` leaves out is left out here too.
    """
    found, whole = Labels(), types.SimpleNamespace(stride_frames=1, snippet_frames=1)
    for subset, clip, where in ego4d.clips_of(file.path):
        entry, too_short = ego4d.entry_of(subset, clip, where, whole)
        for _ in range(too_short):
            found.drop(f"they last less than {ego4d.SHORTEST_SEC:g} s (Ego4D)", where)
        if not entry:
            found.drop("they are of a clip whose frames do not fit its seconds (Ego4D)", where)
            continue
        _entry_rows(found, clip["clip_uid"], entry, file.path)
    return found
