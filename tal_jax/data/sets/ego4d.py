"""Ego4D, moments queries: 110 kinds of moments in clips of about 8 minutes from a camera on the head.

The annotations are read as they are published. Clips are the recordings. Nothing is bundled.
"""

import logging
import pathlib

from tal_jax.data import features
from tal_jax.data.annotations import load_annotations, parse_annotations, require_number, require_object
from tal_jax.errors import DataError
from tal_jax.runtime.json_files import read_json

log = logging.getLogger(__name__)

ANNOTATIONS = "data/ego4d/annotations"
FILES = ("moments_train.json", "moments_val.json")
UNANNOTATED = "moments_test_unannotated.json"  # may be missing
HOW_TO_GET = (
    f"Get {FILES[0]} and {FILES[1]} of Ego4D from ego4d-data.org and put them into that folder, or point at "
    "another one with --config.data.annotations=FOLDER."
)
FEATURES_HINT = (
    "Put one file a clip into that folder, CLIP_UID.npy (T, C), cut from the features of its video as "
    "ActionFormer's tools/convert_ego4d_trainval.py does it, or point at another one with "
    "--config.data.features=FOLDER."
)
SUBSETS = ("train", "val", "test")
SHORTEST_SEC = 0.25  # of a moment
RATES = (10, 100)  # frames a second; a clip of another rate has wrong times


def data_config(snippet_frames=32, num_channels=0):
    """`config.data` for Ego4D's moments queries with features 16 frames apart, at 30 frames a second.

    Args:
      snippet_frames: that a feature has seen: 32 of SlowFast and Omnivore, 16 of EgoVLP.
      num_channels: in the files; 0: as many as the first clip has.
    """
    data = features.data_config(name="ego4d", fps=30.0, stride_frames=16, num_channels=num_channels)
    data.update(snippet_frames=snippet_frames, features="data/ego4d/features", test_subset="val")
    data.allow_missing = True  # some videos have no features
    return data


def load(config):
    """Dataset of Ego4D's clips: (T, C) features each; subsets "train", "val" and, if it is there, "test"."""
    return features.folder_dataset(annotations(config), config.data.features, config.data, FEATURES_HINT)


def annotations(config):
    """Annotations of the published files in the folder `config.data.annotations`, or in its usual place; if
    that is a file, it is read as `load_annotations` does.

    As ActionFormer's published code takes them: primary labels alone, of all annotators; moments of less than
    0.25 s, those that end before they begin too, and clips whose frames do not fit their seconds are left out
    and counted in the log. Features lie on a grid of `config.data.stride_frames` over the whole video: time 0
    of a clip is the frame of the grid at which it begins or the one before.

    Raises:
        DataError: a file or a field is missing, or a field is not what it should be.
    """
    data = config.data
    folder = pathlib.Path(data.annotations or ANNOTATIONS)
    if folder.is_file():
        return load_annotations(folder, data.ignored_labels)
    database, short, wrong = {}, 0, 0
    for name in (*FILES, *([UNANNOTATED] if (folder / UNANNOTATED).exists() else ())):
        path = folder / name
        for subset, clip, where in clips_of(path):
            if clip["clip_uid"] in database:
                raise DataError(f"{where}: the clip is there twice; leave one of the two out.")
            entry, too_short = entry_of(subset, clip, where, data)
            short += too_short
            if entry:
                database[clip["clip_uid"]] = entry
            wrong += not entry
    left_out = {f"moments shorter than {SHORTEST_SEC:g} s": short, "clips of no possible frame rate": wrong}
    if short or wrong:
        listed = ", ".join(f"{what}: {count}" for what, count in left_out.items() if count)
        log.warning("%s: left out, as published: %s.", folder, listed)
    return parse_annotations({"database": database}, folder, data.ignored_labels)


def clips_of(path):
    """Yields (subset, clip, where) of a published file; `where` begins a sentence on the clip."""
    content = read_json(path, "annotation file", HOW_TO_GET)
    require_object(content, ["videos"], path)
    for i, video in enumerate(_list(content, "videos", path)):
        here = f"{path}: video {i}"
        require_object(video, ["split", "clips"], here)
        if video["split"] not in SUBSETS:
            found = f"{video['split']!r:.60}"
            raise DataError(f"{here}: field 'split' must be one of {', '.join(SUBSETS)}, found {found}.")
        for j, clip in enumerate(_list(video, "clips", here)):
            ends = [f"video_{end}_{unit}" for end in ("start", "end") for unit in ("sec", "frame")]
            require_object(clip, ["clip_uid", *ends], f"{here}, clip {j}", ["annotations"])
            if not isinstance(clip["clip_uid"], str):
                raise DataError(
                    f"{here}, clip {j}: field 'clip_uid' must be a text, found {clip['clip_uid']!r:.60}."
                )
            yield video["split"], clip, f"{path}: clip '{clip['clip_uid']:.60}'"


def entry_of(subset, clip, where, data):
    """(what an annotation file of the schema of `annotations.py` says of a clip, how many moments were too
    short); (None, 0) for a clip whose frames do not fit its seconds.
    """

    def number(field, entry=clip, here=where):
        return require_number(entry[field], f"{here}: field '{field}'")

    start_sec, first = max(number("video_start_sec"), 0), max(int(number("video_start_frame")), 0)
    length_sec, frames = number("video_end_sec") - start_sec, int(number("video_end_frame")) - first
    if length_sec <= 0:
        raise DataError(
            f"{where}: its end, video_end_sec, is not after its start, video_start_sec; correct it."
        )
    fps = frames / length_sec
    if not RATES[0] <= fps <= RATES[1]:
        return None, 0
    stride = data.stride_frames or 1
    before = first % stride
    after = -(frames + before - data.snippet_frames) % stride
    rows, short = [], 0
    for i, annotator in enumerate(_list(clip, "annotations", where) if "annotations" in clip else ()):
        require_object(annotator, ["labels"], f"{where}, annotator {i}")
        for j, moment in enumerate(_list(annotator, "labels", f"{where}, annotator {i}")):
            here = f"{where}, annotator {i}, label {j}"
            require_object(moment, ["label", "primary", "video_start_time", "video_end_time"], here)
            if not isinstance(moment["primary"], bool):
                raise DataError(
                    f"{here}: field 'primary' must be true or false, found {moment['primary']!r:.60}."
                )
            segment = [number(f"video_{end}_time", moment, here) - start_sec for end in ("start", "end")]
            if not moment["primary"]:
                continue
            if segment[1] - segment[0] < SHORTEST_SEC:
                short += 1
                continue
            rows.append({"label": moment["label"], "segment": [sec + before / fps for sec in segment]})
    duration = length_sec + (before + after) / fps
    return {"subset": subset, "duration": duration, "annotations": rows}, short


def _list(entry, field, where):
    """The list that a field holds. Raises DataError for anything else; `where` begins its sentence."""
    if not isinstance(entry[field], list):
        raise DataError(f"{where}: field '{field}' must be a list, found {entry[field]!r:.60}.")
    return entry[field]
