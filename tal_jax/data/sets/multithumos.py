"""MultiTHUMOS: 65 classes of actions, several at a time, in 400 videos of THUMOS14.

The annotations are read as they are published, as a text file a class, or as multithumos.json. Nothing is
bundled but the rates and lengths of the videos, which are those of THUMOS14.
"""

import dataclasses
import pathlib

from tal_jax.data import features
from tal_jax.data.annotations import (
    parse_annotations,
    require_number,
    require_object,
    require_order,
)
from tal_jax.data.sets import thumos14
from tal_jax.errors import DataError
from tal_jax.runtime.files import read_text
from tal_jax.runtime.json_files import read_json

ANNOTATIONS = "data/multithumos"
CLASS_LIST = "class_list.txt"
HOW_TO_GET = (
    "Get MultiTHUMOS from ai.stanford.edu/~syyeung/everymoment.html and unpack it into that folder, or point "
    "at another one with --config.data.annotations=FOLDER; or at a file multithumos.json that has "
    "class_list.txt beside it."
)
SUBSETS = {"training": "train", "testing": "test"}  # of multithumos.json
VIDEOS = {"video_validation_": "train", "video_test_": "test"}  # how their names begin


def data_config():
    """`config.data` for MultiTHUMOS with the I3D features of THUMOS14."""
    data = thumos14.data_config("features")
    data.name = "multithumos"
    return data


def load(config):
    """Dataset of MultiTHUMOS: (T, C) features a video; subsets "train" (validation videos) and "test"."""
    data, hint = config.data, thumos14.HOW_TO_GET["features"]
    return features.folder_dataset(annotations(config), data.features or thumos14.FEATURES, data, hint)


def annotations(config):
    """Annotations of the published files in `config.data.annotations`, or in their usual place.

    * A folder: class_list.txt with a line "number name" a class, and annotations/NAME.txt of each class with
      a line "video start end" an action, in seconds.
    * A file {video: {"subset", "duration", "actions": [[number, start, end], …]}}, as multithumos.json is
      shared, with class_list.txt beside it; or one of the schema of `annotations.py`.

    Raises:
        DataError: a file is missing, a line or a field is not what it should be, or an action ends before it
            begins.
    """
    data = config.data
    path = pathlib.Path(data.annotations or ANNOTATIONS)
    if not path.is_file():
        content = _of_folder(path)
    else:
        content = read_json(path, "annotation file", HOW_TO_GET)
        content = content if isinstance(content, dict) and "database" in content else _of_json(path, content)
    found = parse_annotations(content, path, data.ignored_labels)
    recordings = {name: thumos14.with_length(recording) for name, recording in found.recordings.items()}
    return dataclasses.replace(found, recordings=recordings)


def _of_folder(folder):
    """The published text files of a folder, as a dict of the schema of `annotations.py`."""
    classes, database = _classes(folder), {}
    for label in classes.values():
        path = folder / "annotations" / f"{label}.txt"
        for where, cells in _lines(path, "video start end"):
            video, *ends = cells
            subset = next((VIDEOS[begin] for begin in VIDEOS if video.startswith(begin)), None)
            if subset is None:
                begins = " or ".join(VIDEOS)
                raise DataError(
                    f"{where}: the name of a video must begin with {begins}, found '{video:.60}'."
                )
            segment = [require_number(end, f"{where}: a time") for end in ends]
            require_order(*segment, where)
            entry = database.setdefault(video, {"subset": subset, "annotations": []})
            entry["annotations"].append({"label": label, "segment": segment})
    return {"classes": [*classes.values()], "database": database}


def _of_json(path, content):
    """The content of multithumos.json, as a dict of the schema of `annotations.py`."""
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: the file must be a non-empty object of videos by name.")
    classes, database = _classes(path.parent), {}
    for name, entry in content.items():
        where = f"{path}: video '{name:.60}'"
        require_object(entry, ["subset", "actions"], where, ["duration"])
        if entry["subset"] not in SUBSETS:
            found = f"{entry['subset']!r:.60}"
            raise DataError(f"{where}: field 'subset' must be one of {', '.join(SUBSETS)}, found {found}.")
        if not isinstance(entry["actions"], list):
            raise DataError(f"{where}: field 'actions' must be a list, found {entry['actions']!r:.60}.")
        rows = []
        for i, action in enumerate(entry["actions"]):
            here = f"{where}, action {i}"
            if not isinstance(action, list) or len(action) != 3:
                raise DataError(f"{here} must be [number of the class, start, end], found {action!r:.60}.")
            if isinstance(action[0], bool) or not isinstance(action[0], int) or action[0] not in classes:
                raise DataError(f"{here}: no class of {CLASS_LIST} has the number {action[0]!r:.60}.")
            segment = [require_number(end, f"{here}: a time") for end in action[1:]]
            require_order(*segment, here)
            rows.append({"label": classes[action[0]], "segment": segment})
        length = {"duration": entry["duration"]} if "duration" in entry else {}
        database[name] = {"subset": SUBSETS[entry["subset"]], "annotations": rows} | length
    return {"classes": [*classes.values()], "database": database}


def _classes(folder):
    """{number: name} of class_list.txt, by rising number."""
    classes, path = {}, folder / CLASS_LIST
    for where, (number, name) in _lines(path, "number name"):
        if not number.isascii() or not number.isdigit() or int(number) in classes:
            raise DataError(f"{where}: each class must have a whole number of its own, found '{number:.60}'.")
        if pathlib.PurePath(name).name != name:
            raise DataError(
                f"{where}: the class '{name:.60}' has a file of another folder; correct its name."
            )
        classes[int(number)] = name
    return dict(sorted(classes.items()))


def _lines(path, form):
    """[("FILE, line 3", its words)] of a text file whose lines have the form "word word"; blank ones are left
    out.
    """
    text = read_text(path, HOW_TO_GET)
    lines = [
        (f"{path}, line {i}", line.split()) for i, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    for where, words in lines:
        if len(words) != len(form.split()):
            raise DataError(f"{where} must be '{form}', found '{' '.join(words):.60}'.")
    return lines
