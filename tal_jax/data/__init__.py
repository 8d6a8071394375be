"""Data sets: annotations and features, and the windows cut from them.

`config.data` has the fields of `features.data_config` or `frames.data_config`.
"""

import dataclasses
import logging

import numpy as np

from tal_jax.data.annotations import Annotations, load_annotations
from tal_jax.data.proposals import read_proposals
from tal_jax.data.recording_scores import read_recording_scores, require_recordings
from tal_jax.data.sets import activitynet, ego4d, epic, folder, multithumos, sbhar, shapes, thumos14, videos
from tal_jax.errors import DataError

log = logging.getLogger(__name__)

DATASETS = {  # name -> function of a config that makes the Dataset
    "activitynet": activitynet.load,
    "ego4d": ego4d.load,
    "epic": epic.load,
    "folder": folder.load,
    "multithumos": multithumos.load,
    "sbhar": sbhar.load,
    "shapes": shapes.load,
    "thumos14": thumos14.load,
    "videos": videos.load,
}
ANNOTATIONS = {  # name -> function of a config that gives its Annotations, or those of the data set itself
    "activitynet": activitynet.annotations,
    "ego4d": ego4d.annotations,
    "epic": epic.annotations,
    "multithumos": multithumos.annotations,
    "sbhar": sbhar.annotations,
    "shapes": shapes.rendered_annotations,
    "thumos14": thumos14.annotations,
}


def load_dataset(config, classes=None):
    """The `features.Dataset` that `config.data` describes.

    Args:
      config: any config.
      classes: names of the classes of a trained run, which the annotated ones are matched with; None: as
        annotated.

    Raises:
      DataError: something cannot be read, or the test subset has an action of a class that is not among
        `classes`.
    """
    if config.data.name not in DATASETS:
        raise DataError(f"config.data.name is '{config.data.name}'; the data sets are {', '.join(DATASETS)}.")
    dataset = DATASETS[config.data.name](config)
    annotations = _require_ignored(config, dataset.annotations)
    if config.data.left_out:
        dataset_annotations(config)  # knows those that are left out, too
    annotations = annotations.without_duplicates(config.data.duplicate_sec)
    if config.data.class_agnostic:
        annotations = annotations.class_agnostic()
    if classes is not None:
        _require_known(annotations, classes, config.data.test_subset)
        annotations = in_classes(annotations, classes)
    if ignored := annotations.count_ignored():
        labels = ", ".join(config.data.ignored_labels)
        log.info("Intervals with an ignored label (config.data.ignored_labels: %s): %d.", labels, ignored)
    dataset = dataclasses.replace(dataset, annotations=annotations)
    if config.get("proposals"):
        proposals, report = read_proposals(config.proposals, annotations)
        log.info("%s: %s", config.proposals, report)
        scores = recording_scores(config, annotations.classes)
        if scores is not None:
            subset, recordings = config.data.test_subset, annotations.recordings
            require_recordings(scores, [name for name in recordings if recordings[name].subset == subset])
        dataset = dataclasses.replace(dataset, proposals=proposals, recording_scores=scores)
    return dataset


def recording_scores(config, classes):
    """The class scores of whole recordings in `config.evaluate.recording_scores`.

    Args:
      config: any config.
      classes: K names.

    Returns:
      {recording: (K,) float64}; None without a file, and where all actions are of one class.

    Raises:
      DataError: as `read_recording_scores`.
    """
    if config.data.class_agnostic or not config.evaluate.recording_scores:
        return None
    return read_recording_scores(config.evaluate.recording_scores, classes)


def dataset_annotations(config):
    """The `annotations.Annotations` that `config.data` describes, whether its features are there or not."""
    if config.data.name in ANNOTATIONS:
        annotations = _require_ignored(config, ANNOTATIONS[config.data.name](config))
    elif config.data.annotations:
        annotations = load_annotations(config.data.annotations, config.data.ignored_labels)
    else:
        what = f"The data set '{config.data.name}' has no annotations of its own"
        raise DataError(f"{what}; set --config.data.annotations=FILE.")
    for name in config.data.left_out:
        if name not in annotations.recordings:
            raise DataError(
                f"config.data.left_out names '{name}', which is no recording of the annotations; correct the "
                "name, or leave it out of the list (--config.data.left_out= is none)."
            )
    return annotations.without_duplicates(config.data.duplicate_sec)


def in_classes(annotations, classes):
    """The Annotations in these classes, in this order, matched by name, without actions of other classes."""
    index = {name: k for k, name in enumerate(classes)}
    index = np.array([index.get(name, -1) for name in annotations.classes], np.int32)
    recordings = {}
    for name, recording in annotations.recordings.items():
        labels = index[recording.labels]
        known = labels >= 0
        recordings[name] = dataclasses.replace(
            recording, segments_sec=recording.segments_sec[known], labels=labels[known]
        )
    return Annotations(tuple(classes), recordings)


def _require_known(annotations, classes, subset):
    """Raises DataError for an action of a subset whose class is not among those of a trained run."""
    for name, recording in annotations.recordings.items():
        for label in recording.labels if recording.subset == subset else ():
            if annotations.classes[label] not in classes:
                raise DataError(
                    f"Recording '{name}' has the class '{annotations.classes[label]}', which the run was not "
                    f"trained on; it knows {', '.join(classes)}. Call the class as the run does, or leave "
                    "its actions out of the annotations."
                )


def _require_ignored(config, annotations):
    """The given annotations, unless an ignored label is one of their classes, which raises DataError.

    annotations: from a file, without ignored classes, or those that come with a data set, used as they are.
    """
    for label in config.data.ignored_labels:
        if label in annotations.classes:
            raise DataError(
                f"config.data.ignored_labels has '{label}', a class of the annotations that come with "
                f"'{config.data.name}'; write an annotation file of your own and set "
                "--config.data.annotations=FILE."
            )
    return annotations
