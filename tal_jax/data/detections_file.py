"""Detections files: the results JSON that the ActivityNet tools and most published systems speak.

{"version": "tal_jax", "external_data": {},
 "results": {"my_recording": [{"label": "sitting", "segment": [47.6, 60.2], "score": 0.93}]}}      seconds
"""

import json
import math
import pathlib

from tal_jax.data.annotations import require_number
from tal_jax.errors import DataError
from tal_jax.files import replacing


def read_detections(path):
    """Reads and checks a detections file.

    Args:
        path: the JSON file. Numbers may be texts ("47.6"); fields besides those above are not read.

    Returns:
        {recording: [{"label": str, "segment": [start_sec, end_sec], "score": float}]}, in file order.

    Raises:
        DataError: the file is missing, is not JSON or has another shape; the sentence names recording and field.
    """
    return {name: [_detection(d, f"{path}: recording '{name}', detection {i}") for i, d in enumerate(found)]
            for name, found in read_results(path).items()}  # fmt: skip


def read_results(path, what="detections"):
    """The "results" of a file of detections or proposals: {recording: list}, what is in the lists unchecked. Raises DataError."""
    try:
        content = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read the {what} file {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file, so not a {what} file in JSON.") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}.") from error
    results = content.get("results") if isinstance(content, dict) else None
    if not isinstance(results, dict):
        raise DataError(f'{path}: field "results" must be an object {{recording: [{what[:-1]}, ...]}}; it is not there.')
    return {name: _list(found, path, name) for name, found in results.items()}


def write_detections(path, results):
    """Writes a detections file that `read_detections` gives back exactly; an interrupted write leaves the old one.

    Args:
        path: the file; its folder is made.
        results: {recording: [{"label", "segment": [start_sec, end_sec], "score"}]}, numbers of Python or NumPy.

    Raises:
        DataError: a number is NaN or infinite, which JSON cannot hold.
    """
    for name, found in results.items():
        for i, d in enumerate(found):
            if not all(math.isfinite(value) for value in (*d["segment"], d["score"])):
                raise DataError(f"Cannot write {path}: recording '{name}', detection {i} holds a number that is not finite: {d}.")
    content = {"version": "tal_jax", "results": results, "external_data": {}}  # which the ActivityNet tools ask for
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, separators=(",", ":"), default=lambda array: array.tolist()), encoding="utf-8")


def _list(found, path, name):
    if not isinstance(found, list):
        raise DataError(f"{path}: recording '{name}' must have a list of detections, found {found!r:.60}.")
    return found


def _detection(detection, where):
    """One detection with its numbers as floats."""
    if not isinstance(detection, dict):
        raise DataError(f"{where} must be an object with 'label', 'segment' and 'score', found {detection!r:.60}.")
    for field in ("label", "segment", "score"):
        if field not in detection:
            raise DataError(f"{where}: field '{field}' is missing.")
    label, segment = detection["label"], detection["segment"]
    if not isinstance(label, str):
        raise DataError(f"{where}: field 'label' must be the name of a class, found {label!r:.60}.")
    if not isinstance(segment, list) or len(segment) != 2:
        raise DataError(f"{where}: field 'segment' must be [start, end] in seconds, found {segment!r:.60}.")
    segment_sec = [require_number(value, f"{where}: field 'segment'") for value in segment]
    return {"label": label, "segment": segment_sec, "score": require_number(detection["score"], f"{where}: field 'score'")}
