"""Class scores of whole recordings, by a classifier of others, for systems that say when something happens
but not what.

The file, as it is published for ActivityNet (CUHK's classifier):

    {"class": ["Archery", ...], "results": {"my_recording": [0.9, ...]}}     of each recording a score for
    each class
"""

import collections
import logging

import numpy as np

from tal_jax.data.names import ByName, require_name
from tal_jax.errors import DataError
from tal_jax.runtime.json_files import read_json

log = logging.getLogger(__name__)


def read_recording_scores(path, classes):
    """Scores of the given classes.

    Args:
      path: the JSON file; of its classes and recordings it may have more.
      classes: K names.

    Returns:
      {recording: (K,) float64}, in the order of `classes`; found by other names too, as `names.match_names`
      says.

    Raises:
      DataError: the file is missing or of another form, or lacks a class.
    """
    names, rows = _read(path)
    absent = [name for name in classes if name not in names]
    if absent:
        raise DataError(
            f"{path} has no scores of {len(absent)} of the {len(classes)} classes; the first is "
            f"'{absent[0]}'. Call them as the "
            "annotations do."
        )
    columns = [names.index(name) for name in classes]
    return ByName({name: row[columns] for name, row in rows.items()})


def best_classes(path):
    """Of each recording (best class, its score); names and errors as of `read_recording_scores`."""
    names, rows = _read(path)
    if not names:
        raise DataError(f'{path} names no class; "class" must have the name of each score.')
    return ByName({name: (names[int(row.argmax())], float(row.max())) for name, row in rows.items()})


def require_recordings(scores, names):
    """Raises DataError if scores of some recordings are not there. scores: {recording: …}, of either function
    above.
    """
    absent = [name for name in names if name not in scores]
    if absent:
        raise DataError(
            f"config.evaluate.recording_scores lacks {len(absent)} of {len(names)} recordings; the first is "
            f"'{absent[0]}'."
        )


def require_labels(path, names, classes):
    """Raises DataError if `best_classes` cannot label detections: with the class, and with its score as a
    factor.

    Args:
      path: the JSON file.
      names: recordings whose detections are to be labelled.
      classes: those that are scored.
    """
    best = best_classes(path)
    require_recordings(best, names)
    unknown = [name for name in names if best[name][0] not in classes]
    if unknown:
        found = (
            f"{path}: the annotations do not have the best class of {len(unknown)} of {len(names)} "
            f"recordings, the first is "
            f"'{best[unknown[0]][0]}' of '{unknown[0]}'"
        )
        if len(unknown) == len(names):
            raise DataError(
                f"{found}; they have {', '.join(classes)}. Call the classes as the annotations do."
            )
        log.warning("%s; detections there are of no class that is scored.", found)
    require_positive({name: np.array([best[name][1]]) for name in names}, names)


def require_positive(scores, names):
    """Raises DataError for the first of some recordings with a negative score, where scores are factors of
    others.
    """
    for name in names:
        if scores[name].min() < 0:
            raise DataError(
                f"config.evaluate.recording_scores has a negative score, {scores[name].min():g}, of "
                f"recording '{name}'; scores of "
                "detections are multiplied by it, so write probabilities to the file, from 0 to 1."
            )


def _read(path):
    """(names of the classes, {recording: (K,) float64})."""
    content = read_json(path, "recording scores file")
    try:
        names, rows = (
            list(content["class"]),
            {name: np.array(row, np.float64) for name, row in content["results"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{path} must hold {{"class": [name, ...], "results": {{recording: [score, ...]}}}}; {error!r:.200}.'
        ) from error
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong or isinstance(content["class"], (str, dict)):
        found = wrong[0] if wrong else content["class"]
        raise DataError(f'{path}: "class" must be a list of names of classes, found {found!r:.60}.')
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path} has the class '{twice[0]}' more than once; give each class one score.")
    for name in rows:
        require_name(name, path)
    wrong = [name for name, row in rows.items() if row.shape != (len(names),) or not np.isfinite(row).all()]
    if wrong:
        raise DataError(
            f"{path}: recording '{wrong[0]}' must have {len(names)} finite numbers, a score of each class."
        )
    return names, rows
