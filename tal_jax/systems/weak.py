"""What weakly supervised systems train on: windows of recordings and the classes that occur in them."""

import dataclasses
import logging

import numpy as np

from tal_jax.data import windows
from tal_jax.errors import DataError
from tal_jax.ops.segments import overlap_and_union

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class WeakWindow:
    """One training window of one recording."""

    name: str
    offset: int  # first feature
    classes: tuple[int, ...]  # that occur in it, ascending


def weak_windows(config, dataset):
    """The training windows that have a label.

    Args:
      config: the run's config (`data`, `window`).
      dataset: data.features.Dataset; its training subset is used.

    Returns:
      list of WeakWindow; recordings without labels are left out. A window that is a whole recording has all
      its labels, and these need no times. A part of one has those of actions of which `window.min_label_sec`
      or all is inside.

    Raises:
      DataError: a recording to be cut has labels without times; no window has a label.
    """
    items, size, subset = [], config.window.frames, config.data.train_subset
    for name, recording in dataset.annotations.subset(subset).recordings.items():
        if not len(recording.labels):
            log.warning("Recording '%s' of the subset '%s' has no label; it is left out.", name, subset)
            continue
        # Of size 0 a window is a recording of any length, and none is read before training.
        num_features = len(dataset.read(name)) if size else 0
        whole = num_features <= size
        if not whole and np.isnan(recording.segments_sec).any():
            raise DataError(
                f"Recording '{name}' has labels without times and {num_features} features, more than a "
                "window; set config.window.frames to 0, so that windows are whole recordings."
            )
        for offset in windows.window_offsets(num_features, size, config.window.train_stride_frames):
            labels = recording.labels
            if not whole:
                window_sec = dataset.timeline(name).to_seconds([offset, offset + size])
                shared_sec, _ = overlap_and_union(recording.segments_sec, window_sec)
                least_sec = np.minimum(np.diff(recording.segments_sec)[:, 0], config.window.min_label_sec)
                labels = labels[(shared_sec >= least_sec) & (shared_sec > 0)]
            if len(labels):
                items.append(WeakWindow(name, offset, tuple(np.unique(labels).tolist())))
    if not items:
        raise DataError(
            f"No window of the subset '{subset}' has a label; annotate its recordings, or, where they are "
            "cut into windows, lower config.window.min_label_sec."
        )
    for sentence in label_problems(items, dataset.annotations.classes):
        log.warning(sentence)
    return items


def problems(config, dataset):
    """Sentences on the classes that labels do not tell apart, see `System.problems`.

    Raises DataError as `weak_windows`.
    """
    return label_problems(weak_windows(config, dataset), dataset.annotations.classes)


def label_problems(items, classes):
    """Sentences on labels that do not say which part of a window is of which class.

    Args:
      items: list of WeakWindow.
      classes: K names.

    Returns:
      list of sentences: one if all windows have the same labels, else one for each group of classes that
      always occur together.
    """
    what_to_do = (
        "add recordings {}, or, where labels have times, cut recordings into windows with "
        "--config.window.frames."
    )
    if len({item.classes for item in items}) == 1:
        same = ", ".join(classes[k] for k in items[0].classes)
        sentence = (
            f"All {len(items)} training windows have the same labels ({same}), so nothing can be learnt"
        )
        return [f"{sentence} from them; {what_to_do.format('without some of these')}"]
    together = {}
    for k, name in enumerate(classes):
        where = tuple(i for i, item in enumerate(items) if k in item.classes)
        together.setdefault(where, []).append(name)
    return [
        f"The classes {', '.join(names)} occur in the same {len(where)} training windows, so they are not "
        f"told apart; {what_to_do.format('with some of these alone')}"
        for where, names in together.items()
        if where and len(names) > 1
    ]


def weak_example(config, dataset, item, rng):
    """The example of a WeakWindow, a dict.

    It has `inputs` (T, C) float32, see `windows.window_inputs`, and `labels` (K,) float32, multi-hot.
    """
    inputs = windows.window_inputs(config, dataset.read(item.name), item.offset, rng)["inputs"]
    return dict(inputs=inputs, labels=multi_hot(item.classes, len(dataset.annotations.classes)))


def multi_hot(classes, num_classes):
    """(K,) float32, 1 at the classes."""
    labels = np.zeros(num_classes, np.float32)
    labels[list(classes)] = 1
    return labels
