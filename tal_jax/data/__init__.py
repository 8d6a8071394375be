"""Data sets: annotations and features, and the windows cut from them.

`config.data` has the fields of `features.data_config` or `frames.data_config`.
"""

import dataclasses
import logging

import numpy as np

from tal_jax.data.annotations import Annotations, load_annotations
from tal_jax.data.proposals import read_proposals
from tal_jax.data.recording_scores import read_recording_scores, require_recordings
from tal_jax.data.sets import activitynet, folder, sbhar, shapes, thumos14
from tal_jax.errors import DataError

log = logging.getLogger(__name__)

DATASETS = {
    "activitynet": activitynet.load,
    "folder": folder.load,
    "sbhar": sbhar.load,
    "shapes": shapes.load,
    "thumos14": thumos14.load,
}
ANNOTATIONS = {
    "activitynet": activitynet.annotations,
    "sbhar": lambda config: sbhar.bundled_annotations(),
    "shapes": shapes.rendered_annotations,
    "thumos14": lambda config: thumos14.bundled_annotations(),
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
    _require_ignored(config, dataset.annotations)
    if config.data.left_out:
        dataset_annotations(config)  # knows those that are left out, too
    if config.data.class_agnostic:
        dataset = dataclasses.replace(dataset, annotations=dataset.annotations.class_agnostic())
    if classes is not None:
        _require_known(dataset.annotations, classes, config.data.test_subset)
        dataset = dataclasses.replace(dataset, annotations=in_classes(dataset.annotations, classes))
    ignored = dataset.annotations.count_ignored()
    if ignored:
        labels = ", ".join(config.data.ignored_labels)
        log.info("Intervals with an ignored label (config.data.ignored_labels: %s): %d.", labels, ignored)
    if config.get("proposals"):
        found, held = read_proposals(config.proposals, dataset.annotations)
        log.info("%s: %s", config.proposals, held)
        scores, recordings = (
            recording_scores(config, dataset.annotations.classes),
            dataset.annotations.recordings,
        )
        if scores is not None:
            require_recordings(
                scores, [name for name in recordings if recordings[name].subset == config.data.test_subset]
            )
        dataset = dataclasses.replace(dataset, proposals=found, recording_scores=scores)
    return dataset


def recording_scores(config, classes):
    """See `Dataset.recording_scores`; None without a file, and where all actions are of one class. Raises
    DataError.
    """
    if config.data.class_agnostic or not config.evaluate.recording_scores:
        return None
    return read_recording_scores(config.evaluate.recording_scores, classes)


def dataset_annotations(config):
    """The `annotations.Annotations` that `config.data` describes, whether its features are there or not."""
    if config.data.annotations:
        annotations = load_annotations(config.data.annotations, config.data.ignored_labels)
    elif config.data.name in ANNOTATIONS:
        annotations = ANNOTATIONS[config.data.name](config)
        _require_ignored(config, annotations)
    else:
        raise DataError(
            f"The data set '{config.data.name}' has no annotations of its own; set "
            f"--config.data.annotations=FILE."
        )
    unknown = [name for name in config.data.left_out if name not in annotations.recordings]
    if unknown:
        raise DataError(
            f"config.data.left_out names '{unknown[0]}', which is no recording of the annotations; correct "
            f"the name, or leave it "
            "out of the list (--config.data.left_out= is none)."
        )
    return annotations


def in_classes(annotations, classes):
    """The Annotations in these classes, in this order, matched by name; actions of other classes are left
    out.
    """
    index = np.array(
        [classes.index(name) if name in classes else -1 for name in annotations.classes], np.int32
    )
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
                    f"trained on; it knows "
                    f"{', '.join(classes)}. Call the class as the run does, or leave its actions out of the "
                    f"annotations."
                )


def _require_ignored(config, annotations):
    """Raises DataError for an ignored label that is a class of bundled annotations, which are used as they
    are.
    """
    for label in config.data.ignored_labels:
        if label in annotations.classes:
            raise DataError(
                f"config.data.ignored_labels has '{label}', a class of the annotations that come with "
                f"'{config.data.name}'; "
                "write an annotation file of your own and set --config.data.annotations=FILE."
            )
