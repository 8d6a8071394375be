"""What AFSD cannot learn of a data set: actions that fit into no window, classes that another one hides."""

import math

import numpy as np

from tal_jax.data.check import ignoring, same_time_problems
from tal_jax.ranges import largest

MOST_LONGER = 0.1  # of the actions of a class; published configs cut a few
BEYOND = 1e9  # frames; longer than any window may be
LAST_STRIDE = 128  # frames of the last level; windows are multiples of it


def no_window_sentence(config, dataset, lengths):
    """Why no training window holds a whole action, and what to do. lengths: (N,) frames of the actions."""
    subset, size = config.data.train_subset, config.window.frames
    if not len(lengths):
        recordings = dataset.annotations.subset(subset).recordings.values()
        ignored = sum(len(recording.ignored_sec) for recording in recordings)
        if not ignored:
            return f"No recording of the subset '{subset}' has an action to learn from; annotate them."
        labels = ", ".join(config.data.ignored_labels)
        return (
            f"All {ignored} annotations of the subset '{subset}' have a label that is ignored "
            f"(config.data.ignored_labels: {labels}); ignore fewer labels."
        )
    if (lengths > size).all():
        return (
            f"All {len(lengths)} actions of the subset '{subset}' are longer than a training window of "
            f"{size} frames; {longer_window(config, lengths)}."
        )
    needed = window_for(config, lengths)
    longer = f", or {longer_window(config, lengths)}" if needed > size else ""
    return (
        f"No training window of {size} frames holds a whole annotation of the subset '{subset}'; check the "
        f"annotations with --mode=check_data{longer}."
    )


def window_for(config, lengths):
    """Frames of a window so long that one of the training grid holds any action of these lengths."""
    longest = float(np.nan_to_num(lengths, nan=BEYOND, posinf=BEYOND).max(initial=0))
    longest = min(longest, BEYOND) + config.window.train_stride_frames + config.window.get("first_frame", 0)
    return LAST_STRIDE * math.ceil(longest / LAST_STRIDE)


def longer_window(config, lengths):
    """The words that say how a window gets so long that it holds actions of these lengths, in frames.

    No number is among them that its field does not take.
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


def class_problems(config, annotations, lengths, labels, seen):
    """Sentences on the classes that are not learnt, for `System.problems`.

    Args:
        config: the run's config.
        annotations: `Annotations` of the training subset.
        lengths: (N,) frames of its actions.
        labels: (N,) int, their classes.
        seen: classes of which a training window holds an action, by at least half.

    Returns:
        list of sentences; those that do no harm begin with "Note:".
    """
    problems, size = [], config.window.frames
    for k, name in enumerate(annotations.classes):
        of_class = lengths[labels == k]
        longer = int((of_class > size).sum())
        if longer and longer == len(of_class):
            problems.append(
                f"All {len(of_class)} training actions of the class '{name}' are longer than a window of "
                f"{size} frames, so it is not "
                f"learnt whole; {longer_window(config, of_class)}."
            )
        elif longer and k in seen:
            note = "" if longer > MOST_LONGER * len(of_class) else "Note: "
            problems.append(
                f"{note}{longer} of the {len(of_class)} training actions of the class '{name}' are longer "
                f"than a window of "
                f"{size} frames, so they are not learnt whole; {longer_window(config, of_class)}."
            )
        elif len(of_class) and k not in seen:
            needed = window_for(config, of_class)
            advice = longer_window(config, of_class) if needed > size else "correct their times"
            problems.append(
                f"No training window of {size} frames holds an action of the class '{name}', so it is not "
                f"learnt; {advice}, or {ignoring(config, name)}."
            )
    return problems + same_time_problems(config, annotations)
