"""Examples for TCANet: windows of features with the proposals in them."""

import dataclasses
import functools

import numpy as np

from tal_jax.data.proposals import require_proposals
from tal_jax.data.windows import Window, require_finite, window_offsets
from tal_jax.errors import DataError
from tal_jax.ops.segments import tiou
from tal_jax.ops.snippets import resize_linear
from tal_jax.systems import two_stage
from tal_jax.systems.tcanet.config import NO_CLASSES, reading


def training_examples(config, dataset):
    """Training examples: the windows of recordings with actions, where there are proposals.

    Args:
      config: the run's config (`data`, `decode`, `window`).
      dataset: data.features.Dataset with proposals; its training subset is used.

    Returns:
      (items, make_example): pairs (recording, first feature), and (item, np.random.Generator) -> example, a
      dict of inputs, see `_window`, with the best P = `window.proposals` proposals, and truths_sec (P, 2),
      for each of them the action of the largest tIoU.

    Raises:
      DataError: there are no proposals, or no window has actions and proposals; a label has no times, a
        proposal a negative score; detections would have no class.
    """
    for name in dataset.annotations.recordings:
        _require_positive_scores(config, dataset, name)
    require_testable = functools.partial(_test_proposals, config, dataset)
    recordings = two_stage.training_recordings(config, dataset, require_testable)
    truths, chosen = {}, {}  # recording -> (G, 2); (recording, first feature) -> its best Proposals
    for name, (recording, proposals) in recordings.items():
        lengths_sec = np.diff(recording.segments_sec)[:, 0]
        truths[name] = recording.segments_sec[lengths_sec > config.window.min_action_sec]
        if not len(truths[name]):
            continue
        size, offsets = _windows(config, dataset, name, config.window.train_stride_frames)
        centres = dataset.timeline(name).to_cells(proposals.segments_sec.mean(axis=1))
        centres = centres.clip(0, len(dataset.read(name)))  # of a proposal, or the feature nearest to it
        for offset in offsets:
            inside = np.flatnonzero((centres >= offset) & (centres <= offset + size))
            if len(inside):
                chosen[name, offset] = proposals.take(inside[: config.window.proposals])
    two_stage.require_proposals_of_actions(config, chosen)

    def make_example(item, rng):
        del rng
        (name, offset), segments_sec = item, chosen[item].segments_sec
        inputs, start_sec = _window(config, dataset, name, offset, segments_sec, config.window.proposals)
        matched = truths[name][tiou(segments_sec[:, None], truths[name]).argmax(axis=1)]
        return dict(inputs=inputs, truths_sec=_padded(matched - start_sec, config.window.proposals))

    return list(chosen), make_example


def test_windows(config, dataset, name):
    """The test windows of a recording. A proposal is in the window whose centre is nearest to its own.

    Args:
      config: the run's config (`data`, `decode`, `window`).
      dataset: data.features.Dataset with proposals.
      name: of the recording.

    Yields:
      Functions that make a data.windows.Window. Its inputs are those of `_window`. Its info is start_sec of
      the window, proposal_scores (N,) and labels (N,) of its proposals, duration_sec of the recording, and
      recording_scores (K,) if these tell the classes.

    Raises:
      DataError: a feature is not finite; a proposal has a negative score; nothing tells the classes.
    """
    require_finite(config, dataset, name)
    proposals, class_scores = _test_proposals(config, dataset, name)
    size, offsets = _windows(config, dataset, name, config.window.test_stride_frames)
    num_features = len(dataset.read(name))
    centres = dataset.timeline(name).to_seconds(np.array(offsets) + min(size, num_features) / 2)
    nearest = np.abs(proposals.segments_sec.mean(axis=1)[:, None] - centres).argmin(axis=1)
    for i in np.unique(nearest):
        offset, chosen = offsets[i], proposals.take(nearest == i)
        inputs, start_sec = _window(
            config, dataset, name, offset, chosen.segments_sec, config.decode.proposals
        )
        info = {"start_sec": start_sec, "proposal_scores": chosen.scores, "labels": chosen.labels}
        info |= {"duration_sec": dataset.duration_sec(name)} | class_scores
        yield functools.partial(Window, offset, min(num_features - offset, size), inputs, info)


def _require_positive_scores(config, dataset, name):
    """Raises DataError for proposals with negative scores, which a confidence would rank the wrong way."""
    scores = require_proposals(config, dataset)[name].scores
    if (scores < 0).any():
        raise DataError(
            f"The proposals of recording '{name}' have negative scores, the lowest {scores.min():g}; "
            f"{config.system} needs scores from 0 on, to multiply them by its confidence. Write their "
            f"exponentials to the file in their place."
        )


def _test_proposals(config, dataset, name):
    """The proposals of a recording that are tested, and what else tells the classes of its detections.

    Returns:
      (Proposals, {"recording_scores": (K,)} or {}): the labels of the proposals tell the classes where the
      scores do not.

    Raises:
      DataError: a score is negative, or nothing tells the classes.
    """
    _require_positive_scores(config, dataset, name)
    proposals, scores = two_stage.test_proposals(config, dataset, name), {}
    labels, count = proposals.labels, len(proposals.scores)
    if config.data.class_agnostic:
        labels = np.zeros(count, np.int64)
    elif config.decode.classes == "recording":
        if dataset.recording_scores is None:
            raise DataError(NO_CLASSES)
        labels = np.zeros(count, np.int64)
        scores = two_stage.recording_scores(dataset, name, probabilities=not config.decode.class_sharpness)
    elif labels is None:
        labels = np.full(count, -1)
    if (labels < 0).any():
        raise DataError(
            f"config.decode.classes is 'proposals', but {(labels < 0).sum()} of the {count} proposals of "
            f"recording '{name}' name no class of the annotations; set --config.decode.classes=recording, "
            f"with --config.evaluate.recording_scores=FILE, or --config.data.class_agnostic=True."
        )
    return dataclasses.replace(proposals, labels=labels), scores


def _windows(config, dataset, name, stride):
    """(size in features, first features) of the windows of a recording; a rescaled one has one window."""
    num_features = len(dataset.read(name))
    size = num_features if reading(config, "normalise_by") == "duration" else config.window.snippets
    return size, window_offsets(num_features, size, stride)


def _window(config, dataset, name, offset, segments_sec, size):
    """The inputs of the network for a window, with room for `size` proposals.

    Returns:
      (inputs, start_sec): inputs are features (T, C) padded with zeros, proposals_sec (size, 2) from the
      window's start, proposal_mask (size,), covered_sec (), num_features () and earliest_sec (), the start of
      the recording, all float32; start_sec of the window in the recording.
    """
    features, timeline, rows = dataset.read(name), dataset.timeline(name), config.window.snippets
    if reading(config, "normalise_by") == "duration":
        seen, start_sec, covered_sec = resize_linear(features, rows), 0.0, dataset.duration_sec(name)
    else:
        seen, start_sec = features[offset : offset + rows], float(timeline.to_seconds(offset))
        covered_sec = timeline.to_seconds(offset + rows) - start_sec
    inputs = {
        "features": _padded(seen, rows),
        "proposals_sec": _padded(segments_sec - start_sec, size),
        "proposal_mask": _padded(np.ones(len(segments_sec)), size),
        "covered_sec": np.float32(covered_sec),
        "num_features": np.float32(len(seen)),
        "earliest_sec": np.float32(-start_sec),
    }
    return inputs, start_sec


def _padded(rows, size):
    """(n, ...) -> (size, ...) float32, 0 after the n rows."""
    padded = np.zeros((size, *rows.shape[1:]), np.float32)
    padded[: len(rows)] = rows
    return padded
