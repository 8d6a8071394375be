"""Detections files: the results JSON that the ActivityNet tools and most published systems speak.

{"version": "tal_jax", "external_data": {},
 "results": {"my_recording": [{"label": "sitting", "segment": [47.6, 60.2], "score": 0.93}]}}      seconds
"""

import json
import math

from tal_jax.data.annotations import label_of, require_number, require_object, segment_of
from tal_jax.data.names import match_names_of_file, require_name
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
    detections = {}
    for name, rows in read_results(path).items():
        detections[name] = []
        for i, row in enumerate(rows):
            where = f"{path}: recording '{name}', detection {i}"
            require_object(row, ("label", "segment", "score"), where)
            label, segment_sec = label_of(row, where), segment_of(row, where)
            score = require_number(row["score"], f"{where}: field 'score'")
            detections[name].append({"label": label, "segment": segment_sec, "score": score})
    return detections


def read_detections_of(path, annotations):
    """`read_detections` with every recording called as the annotations call it.

    Args:
        path: the JSON file. Names match as `names.match_names` says; recordings that the annotations lack
            keep theirs.
        annotations: `Annotations`.

    Returns:
        As `read_detections`.

    Raises:
        DataError: as `read_detections`; and if two names of the file are of one recording, or if the
            annotations have none of its recordings or none of its labels.
    """
    detections = read_detections(path)
    known = match_names_of_file(path, detections, annotations.recordings)
    labels = {d["label"]: None for found in detections.values() for d in found}
    if labels and not labels.keys() & {*annotations.classes}:
        raise DataError(
            f"{path}: none of its labels is a class of the annotations. Its first is '{next(iter(labels))}', "
            f"their classes are {', '.join(annotations.classes)}; correct the labels or choose other "
            "annotations."
        )
    return {known[name] or name: found for name, found in detections.items()}


def times_problem(detections, annotations):
    """A sentence if the times of detections can be of no action, or if no detection exists; else "".

    Args:
        detections: as `read_detections_of` returns them.
        annotations: `Annotations`; recordings that they lack, or have no duration of, are not counted.
    """
    if not any(detections.values()):
        return "there is no detection in it."
    pairs = []  # (segment, duration)
    for name, recording in annotations.recordings.items():
        if recording.duration_sec:
            pairs += [(d["segment"], recording.duration_sec) for d in detections.get(name, ())]
    wrong = sum(end <= start or end <= 0 or start >= duration for (start, end), duration in pairs)
    found = f"{wrong} of {len(pairs)} detections lie outside their recording or end before they start"
    return f"{found}; are the times in seconds?" if wrong else ""


def read_results(path, what="detections"):
    """The "results" of a file of detections or proposals: {recording: list}, of anything. Raises DataError.

    what: "detections" or "proposals", for the sentence.
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
                where = f"recording '{name}', detection {i}"
                raise DataError(f"Cannot write {path}: {where} holds a number that is not finite: {d}.")
    # The ActivityNet tools ask for all three fields.
    content = {"version": "tal_jax", "results": results, "external_data": {}}
    text = json.dumps(content, separators=(",", ":"), default=lambda array: array.tolist())
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
