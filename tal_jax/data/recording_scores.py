"""Class scores of whole recordings, for systems that say when something happens but not what.

The file, as published for ActivityNet (CUHK's classifier), has a score of each class for each recording:

    {"class": ["Archery", ...], "results": {"my_recording": [0.9, ...]}}
"""

import collections
import logging

import numpy as np

from tal_jax.data.names import ByName, require_name
from tal_jax.errors import DataError
from tal_jax.runtime.json_files import read_json

log = logging.getLogger(__name__)


def read_recording_scores(path, classes):
    """Reads the scores of the given classes.

    Args:
      path: the JSON file; it may have more classes and recordings.
      classes: K names.

    Returns:
      {recording: (K,) float64}, in the order of `classes`; other names that mean the recording, see
      `names.match_names`, are keys too.

    Raises:
      DataError: the file is missing or of another form, or lacks a class.
    """
    names, rows = _read(path)
    absent = [name for name in classes if name not in names]
    if absent:
        lacking = f"{len(absent)} of the {len(classes)} classes; the first is '{absent[0]}'"
        raise DataError(f"{path} has no scores of {lacking}. Call them as the annotations do.")
    columns = [names.index(name) for name in classes]
    return ByName({name: row[columns] for name, row in rows.items()})


def best_classes(path, count=1):
    """The classes that a file finds most probable in each recording.

    Args:
      path: the JSON file.
      count: so many classes of a recording, or as many as there are.

    Returns:
      {recording: ((class, score), ...)}, the best class first.

    Raises:
      DataError: as `read_recording_scores`, or the file names no class.
    """
    names, rows = _read(path)
    if not names:
        raise DataError(f'{path} names no class; "class" must have the name of each score.')
    best = {name: np.argsort(-row, kind="stable")[:count].tolist() for name, row in rows.items()}
    return ByName({name: tuple((names[k], float(rows[name][k])) for k in best[name]) for name in rows})


def require_recordings(scores, names):
    """Raises DataError if recordings have no scores. scores: {recording: …}; names: of the recordings."""
    absent = [name for name in names if name not in scores]
    if absent:
        lacking = f"{len(absent)} of {len(names)} recordings; the first is '{absent[0]}'"
        raise DataError(f"config.evaluate.recording_scores lacks {lacking}.")


def require_labels(path, names, classes, count=1):
    """Raises DataError if `best_classes` cannot label detections, or its scores cannot multiply theirs.

    Args:
      path: the JSON file.
      names: recordings whose detections are to be labelled.
      classes: those that are scored.
      count: of the best classes of a recording.
    """
    best = best_classes(path, count)
    require_recordings(best, names)
    unknown = [name for name in names if best[name][0][0] not in classes]
    if unknown:
        first = f"the first is '{best[unknown[0]][0][0]}' of '{unknown[0]}'"
        which = f"{len(unknown)} of {len(names)} recordings, {first}"
        lacking = f"{path}: the annotations do not have the best class of {which}"
        if len(unknown) == len(names):
            known = ", ".join(classes)
            raise DataError(f"{lacking}; they have {known}. Call the classes as the annotations do.")
        log.warning("%s; detections there are of no class that is scored.", lacking)
    _require_positive_best(best, names)


def label_recordings(results, best, power=1.0):
    """Gives the detections of a recording its best classes: each detection once for each class.

    Args:
      results: as `Detector.detect` returns them.
      best: as `best_classes` returns them.
      power: the new score is (score of the detection x score of the class)^power. Published for ActivityNet
        are 1 (AFSD) and 0.5 (ActionFormer).

    Returns:
      The labelled results, all detections of a recording's best class first.

    Raises:
      DataError: `best` lacks a recording, or has a negative score of it.
    """
    require_recordings(best, results)
    _require_positive_best(best, results)
    return {
        name: [
            d | {"label": label, "score": (d["score"] * score) ** power}
            for label, score in best[name]
            for d in detections
        ]
        for name, detections in results.items()
    }


def _require_positive_best(best, names):
    """Raises DataError for a negative score among the best ones. best: as `best_classes` returns them."""
    require_positive({name: [score for _, score in best[name]] for name in names}, names)


def require_positive(scores, names):
    """Raises DataError for a negative score, since the scores of detections are multiplied by it.

    Args:
      scores: {recording: a score or (K,) scores}.
      names: of the recordings that are looked at.
    """
    for name in names:
        lowest = np.min(scores[name])
        if lowest < 0:
            found = f"has a negative score, {lowest:g}, of recording '{name}'; scores of detections are"
            what_to_do = "multiplied by it, so write probabilities to the file, from 0 to 1"
            raise DataError(f"config.evaluate.recording_scores {found} {what_to_do}.")


def _read(path):
    """The names of the K classes in a file of scores, and {recording: (K,) float64}."""
    content = read_json(path, "recording scores file")
    try:
        names = list(content["class"])
        rows = {name: np.array(row, np.float64) for name, row in content["results"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        form = '{"class": [name, ...], "results": {recording: [score, ...]}}'
        raise DataError(f"{path} must hold {form}; {error!r:.200}.") from error
    wrong = [name for name in names if not isinstance(name, str) or not name]
    if wrong or isinstance(content["class"], (str, dict)):
        found = wrong[0] if wrong else content["class"]
        raise DataError(f'{path}: "class" must be a list of names of classes, found {found!r:.60}.')
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{path} has the class '{twice[0]}' more than once; give each class one score.")
    for name, row in rows.items():
        require_name(name, path)
        if row.shape != (len(names),) or not np.isfinite(row).all():
            must = f"must have {len(names)} finite numbers, a score of each class"
            raise DataError(f"{path}: recording '{name}' {must}.")
    return names, rows
