"""What the linear probe trains on: labelled windows, and which actions go on in each of their cells."""

import numpy as np

from tal_jax.data import labelled_windows


def training_examples(config, dataset):
    """The training windows and the function that makes an example of one, see `System.examples`.

    Args:
        config: the run's config (`data`, `window`, `augment`).
        dataset: data.features.Dataset; its training subset is used.

    Returns:
        (items, make_example): see `labelled_windows.examples`. An example also has
        cell_labels (window, K) bool, see `cell_labels`: of all actions, those that lie in the window by less
        than half too; and cell_mask (window,) bool, the cells to learn from: of the recording, and with their
        middle in no interval of an ignored label, which may hold an action.

    Raises:
        DataError: no window of the training subset holds a whole action.
    """
    found, size = labelled_windows.find(config, dataset), config.window.frames
    num_classes, recordings = len(dataset.annotations.classes), dataset.annotations.recordings
    ignored = {name: dataset.timeline(name).to_cells(recordings[name].ignored_sec) for name in found.truths}

    def more(name, offset, segments, num_frames, rng):
        del segments, rng
        unclear = cell_labels(ignored[name] - offset, np.ones(len(ignored[name]), int), size, 1)[:, 0]
        segments, labels = found.truths[name]
        return {
            "cell_labels": cell_labels(segments - offset, labels, size, num_classes),
            "cell_mask": (np.arange(size) < num_frames) & ~unclear,
        }

    return labelled_windows.examples(config, dataset, found, more)


def cell_labels(segments_frame, labels, num_cells, num_classes):
    """In which cells of a window actions go on: in those whose middle lies in one.

    Args:
        segments_frame: (G, 2) float in frames of the window, of which only the part within it counts.
        labels: (G,) int in 1..K.
        num_cells: T.
        num_classes: K.

    Returns:
        (T, K) bool.
    """
    found = np.zeros((num_cells, num_classes), bool)
    bounds = np.ceil(np.clip(segments_frame, 0, num_cells) - 0.5).astype(
        int
    )  # the middle of cell i is i + 0.5
    for (start, end), label in zip(bounds, labels, strict=True):
        found[start:end, label - 1] = True
    return found
