"""Detections files: the results JSON that the ActivityNet tools and most published systems speak.

{"version": "tal_jax", "external_data": {},
 "results": {"my_recording": [{"label": "sitting", "segment": [47.6, 60.2], "score": 0.93}]}}      seconds
"""

import json
import math

from tal_jax.data.annotations import require_number
from tal_jax.data.names import match_names_of_file, require_label, require_name
from tal_jax.errors import DataError
from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json


def read_detections(path):
    """Reads and checks a detections file.

    Args:
        path: the JSON file. Numbers may be texts ("47.6"); fields besides those above are not read.

    Returns:
        {recording: [{"label": str, "segment": [start_sec, end_sec], "score": float}]}, in file order.

    Raises:
        DataError: the file is missing, is not JSON or has another shape; the sentence names recording and
            field.
    """
    return {name: [_detection(d, f"{path}: recording '{name}', detection {i}") for i, d in enumerate(found)]
            for name, found in read_results(path).items()}  # fmt: skip


def read_detections_of(path, annotations):
    """`read_detections` with every recording called as the annotations call it.

    Args:
        path: the JSON file. Names match as `names.match_names` says; recordings that the annotations lack
            keep theirs.
        annotations: `Annotations`.

    Returns, Raises: as `read_detections`; DataError also if two names of the file are of one recording, and
    if there are recordings
        or labels but none that the annotations have.
    """
    detections = read_detections(path)
    known = match_names_of_file(path, detections, annotations.recordings)
    if detections and not any(known.values()):
        raise DataError(
            f"{path}: none of its recordings is in the annotations. Its first is '{next(iter(detections))}', "
            f"that of the annotations "
            f"'{next(iter(annotations.recordings), '')}'; correct the names or choose other annotations."
        )
    labels = {d["label"]: None for found in detections.values() for d in found}
    if labels and not labels.keys() & set(annotations.classes):
        raise DataError(
            f"{path}: none of its labels is a class of the annotations. Its first is '{next(iter(labels))}', "
            f"their classes are "
            f"{', '.join(annotations.classes)}; correct the labels or choose other annotations."
        )
    return {known[name] or name: found for name, found in detections.items()}


def times_problem(detections, annotations):
    """A sentence if detections can be of no action by their times, or if there is none at all; else "".

    Args:
        detections: as `read_detections_of` returns them.
        annotations: `Annotations`; recordings that they lack, or have no duration of, are not counted.
    """
    if not any(detections.values()):
        return "there is no detection in it."
    durations = {name: recording.duration_sec for name, recording in annotations.recordings.items()}
    known = [name for name in detections if durations.get(name)]
    pairs = [(d["segment"], durations[name]) for name in known for d in detections[name]]
    wrong = sum(end <= start or end <= 0 or start >= duration for (start, end), duration in pairs)
    if not wrong:
        return ""
    return (
        f"{wrong} of {len(pairs)} detections lie outside their recording or end before they start; are the "
        "times in seconds?"
    )


def read_results(path, what="detections"):
    """The "results" of a file of detections or proposals: {recording: list}, what is in the lists unchecked.
    Raises DataError.
    """
    content = read_json(path, f"{what} file")
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise DataError(
            f'{path}: field "results" must be an object {{recording: [{what[:-1]}, ...]}}; it is not there.'
        )
    for name, found in results.items():
        require_name(name, path)
        if not isinstance(found, list):
            raise DataError(f"{path}: recording '{name}' must have a list of {what}, found {found!r:.60}.")
    return results


def write_detections(path, results):
    """Writes a detections file that `read_detections` gives back exactly; an interrupted write leaves the old
    one.

    Args:
        path: the file; its folder is made.
        results: {recording: [{"label", "segment": [start_sec, end_sec], "score"}]}, numbers of Python or
            NumPy.

    Raises:
        DataError: a number is NaN or infinite, which JSON cannot hold.
    """
    for name, found in results.items():
        for i, d in enumerate(found):
            if not all(math.isfinite(value) for value in (*d["segment"], d["score"])):
                raise DataError(
                    f"Cannot write {path}: recording '{name}', detection {i} holds a number that is not "
                    f"finite: {d}."
                )
    # which the ActivityNet tools ask for
    content = {"version": "tal_jax", "results": results, "external_data": {}}
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps(content, separators=(",", ":"), default=lambda array: array.tolist()), encoding="utf-8"
        )


def _detection(detection, where):
    """One detection with its numbers as floats."""
    if not isinstance(detection, dict):
        raise DataError(
            f"{where} must be an object with 'label', 'segment' and 'score', found {detection!r:.60}."
        )
    for field in ("label", "segment", "score"):
        if field not in detection:
            raise DataError(f"{where}: field '{field}' is missing.")
    label, segment = detection["label"], detection["segment"]
    if not isinstance(label, str):
        raise DataError(f"{where}: field 'label' must be the name of a class, found {label!r:.60}.")
    require_label(label, where)
    if not isinstance(segment, list) or len(segment) != 2:
        raise DataError(f"{where}: field 'segment' must be [start, end] in seconds, found {segment!r:.60}.")
    segment_sec = [require_number(value, f"{where}: field 'segment'") for value in segment]
    return {
        "label": label,
        "segment": segment_sec,
        "score": require_number(detection["score"], f"{where}: field 'score'"),
    }
