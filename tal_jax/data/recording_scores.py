"""Class scores of whole recordings, by a classifier of others, for systems that say when something happens but not what.

The file, as it is published for ActivityNet (CUHK's classifier):

    {"class": ["Archery", ...], "results": {"my_recording": [0.9, ...]}}     of each recording a score for each class
"""

import numpy as np

from tal_jax.data.names import require_name
from tal_jax.errors import DataError
from tal_jax.json_files import read_json


def read_recording_scores(path, classes):
    """Scores of the given classes.

    Args:
      path: the JSON file; of its classes and recordings it may have more.
      classes: K names.

    Returns:
      {recording: (K,) float64}, in the order of `classes`.

    Raises:
      DataError: the file is missing or of another form, or lacks a class.
    """
    names, rows = _read(path)
    absent = [name for name in classes if name not in names]
    if absent:
        raise DataError(
            f"{path} has no scores of {len(absent)} of the {len(classes)} classes; the first is '{absent[0]}'. Call them as the "
            "annotations do."
        )
    columns = [names.index(name) for name in classes]
    return {name: row[columns] for name, row in rows.items()}


def best_classes(path):
    """The best class of each recording: {recording: (class name, its score)}. Raises DataError as `read_recording_scores`."""
    names, rows = _read(path)
    if not names:
        raise DataError(f'{path} names no class; "class" must have the name of each score.')
    return {name: (names[int(row.argmax())], float(row.max())) for name, row in rows.items()}


def require_recordings(scores, names):
    """Raises DataError if scores of some recordings are not there. scores: {recording: …}, of either function above."""
    absent = [name for name in names if name not in scores]
    if absent:
        raise DataError(
            f"config.evaluate.recording_scores lacks {len(absent)} of {len(names)} recordings; the first is '{absent[0]}'."
        )


def _read(path):
    """(names of the classes, {recording: (K,) float64})."""
    content = read_json(path, "recording scores file")
    try:
        names, rows = list(content["class"]), {name: np.array(row, np.float64) for name, row in content["results"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f'{path} must hold {{"class": [name, ...], "results": {{recording: [score, ...]}}}}; {error!r}.'
        ) from error
    for name in rows:
        require_name(name, path)
    wrong = [name for name, row in rows.items() if row.shape != (len(names),) or not np.isfinite(row).all()]
    if wrong:
        raise DataError(f"{path}: recording '{wrong[0]}' must have {len(names)} finite numbers, a score of each class.")
    return names, rows
