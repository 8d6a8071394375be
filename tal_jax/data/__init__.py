"""Data sets: annotations and features, and the windows cut from them.

`config.data` has the fields of `features.data_config` or `frames.data_config`.
"""

import dataclasses
import logging

from tal_jax.data import activitynet, folder, sbhar, shapes, thumos14
from tal_jax.data.annotations import load_annotations
from tal_jax.data.proposals import read_proposals
from tal_jax.data.recording_scores import read_recording_scores, require_recordings
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


def load_dataset(config):
    """The `features.Dataset` that `config.data` describes. Raises DataError, whose text says what to do."""
    if config.data.name not in DATASETS:
        raise DataError(f"config.data.name is '{config.data.name}'; the data sets are {', '.join(DATASETS)}.")
    dataset = DATASETS[config.data.name](config)
    _require_ignored(config, dataset.annotations)
    if config.data.class_agnostic:
        dataset = dataclasses.replace(dataset, annotations=dataset.annotations.class_agnostic())
    ignored = dataset.annotations.count_ignored()
    if ignored:
        labels = ", ".join(config.data.ignored_labels)
        log.info("Intervals with an ignored label (config.data.ignored_labels: %s): %d.", labels, ignored)
    if config.get("proposals"):
        found, held = read_proposals(config.proposals, dataset.annotations)
        log.info("%s: %s", config.proposals, held)
        scores, recordings = recording_scores(config, dataset.annotations.classes), dataset.annotations.recordings
        if scores is not None:
            require_recordings(scores, [name for name in recordings if recordings[name].subset == config.data.test_subset])
        dataset = dataclasses.replace(dataset, proposals=found, recording_scores=scores)
    return dataset


def recording_scores(config, classes):
    """See `Dataset.recording_scores`; None without a file, and where all actions are of one class. Raises DataError."""
    if config.data.class_agnostic or not config.evaluate.recording_scores:
        return None
    return read_recording_scores(config.evaluate.recording_scores, classes)


def dataset_annotations(config):
    """The `annotations.Annotations` that `config.data` describes, whether its features are there or not."""
    if config.data.annotations:
        return load_annotations(config.data.annotations, config.data.ignored_labels)
    if config.data.name not in ANNOTATIONS:
        raise DataError(f"The data set '{config.data.name}' has no annotations of its own; set --config.data.annotations=FILE.")
    annotations = ANNOTATIONS[config.data.name](config)
    _require_ignored(config, annotations)
    return annotations


def _require_ignored(config, annotations):
    """Raises DataError for an ignored label that is a class of bundled annotations, which are used as they are."""
    for label in config.data.ignored_labels:
        if label in annotations.classes:
            raise DataError(
                f"config.data.ignored_labels has '{label}', a class of the annotations that come with '{config.data.name}'; "
                "write an annotation file of your own and set --config.data.annotations=FILE."
            )
