"""Two-stage systems: proposals to train and to test on, classes from scores of whole recordings."""

import numpy as np

from tal_jax.data.annotations import require_times
from tal_jax.data.proposals import proposals_of
from tal_jax.data.recording_scores import require_positive, require_recordings
from tal_jax.errors import DataError


def training_recordings(config, dataset, require_testable):
    """The recordings of the training subset with their proposals.

    Args:
      config: the run's config (`data`).
      dataset: data.features.Dataset.
      require_testable: function of the name of a recording of the test subset; raises DataError if it cannot
        be tested.

    Returns:
      dict name -> (data.annotations.Recording, Proposals).

    Raises:
      DataError: the dataset has no proposals; a label has no times.
    """
    for name, recording in dataset.annotations.recordings.items():
        if recording.subset == config.data.test_subset:
            require_testable(name)
    recordings = dataset.annotations.subset(config.data.train_subset).recordings
    require_times(recordings, f"training {config.system}")
    return {name: (found, proposals_of(config, dataset, name)) for name, found in recordings.items()}


def require_proposals_of_actions(config, found):
    """Raises DataError if `found`, the training examples with actions and proposals, is empty or False."""
    if not found:
        raise DataError(
            f"No recording of the subset '{config.data.train_subset}' has actions and proposals; check "
            f"config.proposals."
        )


def test_proposals(config, dataset, name):
    """The Proposals of a recording that are tested, the best `config.decode.proposals`."""
    return proposals_of(config, dataset, name).take(slice(config.decode.proposals))


def recording_scores(dataset, name, probabilities):
    """Class scores of a recording for the `info` of its windows.

    Args:
      dataset: data.features.Dataset.
      name: of the recording.
      probabilities: whether the scores are factors of detection scores, and so must not be negative.

    Returns:
      {"recording_scores": (K,)}, or {} without a file of scores.

    Raises:
      DataError: the file lacks the recording, or a probability is negative.
    """
    if dataset.recording_scores is None:
        return {}
    require_recordings(dataset.recording_scores, [name])
    if probabilities:
        require_positive(dataset.recording_scores, [name])
    return {"recording_scores": dataset.recording_scores[name]}


def best_classes(class_scores, count):
    """The `count` classes of the highest scores, best first. (K,) -> (count,) int."""
    return np.argsort(-np.asarray(class_scores), kind="stable")[:count]
