"""What AFSD cannot learn of a data set: actions that fit into no window, classes that another one hides."""

import math

from tal_jax.data.check import ignoring, same_time_problems

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
            f"{size} frames; set "
            f"--config.window.frames={window_for(config, lengths)}."
        )
    needed = window_for(config, lengths)
    longer = f", or set --config.window.frames={needed}" if needed > size else ""
    return (
        f"No training window of {size} frames holds a whole annotation of the subset '{subset}'; check the "
        f"annotations with --mode=check_data{longer}."
    )


def window_for(config, lengths):
    """Frames of a window so long that one of the training grid holds any action of these lengths."""
    longest = max(lengths, default=0) + config.window.train_stride_frames + config.window.first_frame
    return LAST_STRIDE * math.ceil(longest / LAST_STRIDE)


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
        if len(of_class) and (of_class > size).all():
            problems.append(
                f"All {len(of_class)} training actions of the class '{name}' are longer than a window of "
                f"{size} frames, so it is not "
                f"learnt whole; set --config.window.frames={window_for(config, of_class)}."
            )
        elif len(of_class) and k not in seen:
            needed = window_for(config, of_class)
            longer = f"set --config.window.frames={needed}" if needed > size else "correct their times"
            problems.append(
                f"No training window of {size} frames holds an action of the class '{name}', so it is not "
                f"learnt; {longer}, or {ignoring(config, name)}."
            )
    return problems + same_time_problems(config, annotations)
