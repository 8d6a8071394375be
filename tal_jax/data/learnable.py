"""Actions that a system cannot learn from its training windows: those that fit into no window, and classes
that another one hides.
"""

import math

import numpy as np

from tal_jax.data.check import ignoring, same_time_problems
from tal_jax.ranges import largest

MOST_LONGER = 0.1  # of the actions of a class; published configs cut a few
BEYOND = 1e9  # frames; longer than any window may be
LAST_STRIDE = 128  # frames of the last level; windows are multiples of it


def no_window_sentence(config, dataset, truths):
    """Why no training window holds a whole action, and what to do.

    Args:
        config: the run's config (`data`, `window`).
        dataset: data.features.Dataset.
        truths: see `labelled_windows.Labelled`.
    """
    subset, size = config.data.train_subset, config.window.frames
    lengths, _ = _training_actions(truths)
    if len(lengths):
        needs_longer = window_for(config, lengths) > size
        longer = longer_window(config, lengths)
        if (lengths > size).all():
            said = f"All {len(lengths)} actions of the subset '{subset}' are longer than a training window of"
            return f"{said} {size} frames; {longer}."
        said = f"No training window of {size} frames holds a whole annotation of the subset '{subset}'; check"
        return f"{said} the annotations with --mode=check_data{f', or {longer}' if needs_longer else ''}."
    return no_action_sentence(config, dataset)


def no_action_sentence(config, dataset):
    """Why the training subset has no action, and what to do."""
    subset = config.data.train_subset
    recordings = dataset.annotations.subset(subset).recordings.values()
    ignored = sum(len(recording.ignored_sec) for recording in recordings)
    if not ignored:
        return f"No recording of the subset '{subset}' has an action to learn from; annotate them."
    said = f"All {ignored} annotations of the subset '{subset}' have a label that is ignored"
    labels = ", ".join(config.data.ignored_labels)
    return f"{said} (config.data.ignored_labels: {labels}); ignore fewer labels."


def window_for(config, lengths):
    """Frames of a window so long that one of the training grid holds any action of (N,) lengths in frames."""
    longest = float(np.nan_to_num(lengths, nan=BEYOND, posinf=BEYOND).max(initial=0))
    longest = min(longest, BEYOND) + config.window.train_stride_frames + config.window.get("first_frame", 0)
    return LAST_STRIDE * math.ceil(longest / LAST_STRIDE)


def longer_window(config, lengths):
    """The words that say how a window gets so long that it holds actions of (N,) lengths in frames.

    They name no number that its field does not take.
    """
    data, needed, ways = config.data, window_for(config, lengths), []
    if needed <= largest("window.frames"):
        ways.append(f"--config.window.frames={needed}")
    samples = data.samples_per_frame * math.ceil(needed / config.window.frames)
    consecutive = data.stride_frames == data.snippet_frames == 1
    foldable = data.input == "features" and consecutive and not data.statistics_samples
    if foldable and samples <= largest("data.samples_per_frame"):
        ways.append(f"--config.data.samples_per_frame={samples}, which makes one frame of {samples} samples")
    return f"set {', or '.join(ways)}" if ways else "correct their times, the durations or the rate"


def class_problems(config, dataset, labelled):
    """Sentences on the classes that are not learnt, for `System.problems`.

    Args:
        config: the run's config.
        dataset: data.features.Dataset.
        labelled: labelled_windows.Labelled, its training windows.

    Returns:
        list of sentences; those that do no harm begin with "Note:".
    """
    problems, size = [], config.window.frames
    lengths, labels = _training_actions(labelled.truths)
    annotations = dataset.annotations.subset(config.data.train_subset)
    for k, name in enumerate(annotations.classes):
        of_class = lengths[labels == k + 1]
        total, longer = len(of_class), int((of_class > size).sum())
        advice = longer_window(config, of_class)
        if longer and (longer == total or k in labelled.seen):
            note = "Note: " if longer <= MOST_LONGER * total else ""
            which, they = f"{longer} of the {total}", "they are"
            if longer == total:
                which, they = f"All {total}", "it is"
            problems.append(
                f"{note}{which} training actions of the class '{name}' are longer than a window of {size} "
                f"frames, so {they} not learnt whole; {advice}."
            )
        elif total and k not in labelled.seen:
            advice = advice if window_for(config, of_class) > size else "correct their times"
            problems.append(
                f"No training window of {size} frames holds an action of the class '{name}', so it is not "
                f"learnt; {advice}, or {ignoring(config, name)}."
            )
    return problems + same_time_problems(config, annotations)


def _training_actions(truths):
    """(lengths in frames (N,), labels (N,) in 1..K) of all actions of `labelled_windows.Labelled.truths`."""
    segments, labels = zip(*truths.values()) if truths else ([np.zeros((0, 2))], [np.zeros(0, np.int32)])
    return np.diff(np.concatenate(segments))[:, 0], np.concatenate(labels)
