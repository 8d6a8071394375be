"""What TCANet trains and is tested on: stretches of features with the proposals in them."""

import functools

import numpy as np

from tal_jax.data import windows
from tal_jax.data.annotations import require_times
from tal_jax.data.proposals import proposals_of, require_proposals
from tal_jax.data.recording_scores import require_positive, require_recordings
from tal_jax.data.snippets import resize_linear
from tal_jax.data.windows import Window, require_finite
from tal_jax.errors import DataError
from tal_jax.ops.segments import tiou
from tal_jax.systems.tcanet.config import NO_CLASSES


def training_examples(config, dataset):
    """The training windows that have proposals and actions, and the function that makes an example of one.

    Args:
      config: the run's config (`data`, `window`).
      dataset: data.features.Dataset with proposals; its training subset is used.

    Returns:
      (items, make_example): pairs (recording, first feature), and (item, np.random.Generator) -> example:
      `inputs`, see `_window`, with `window.proposals` proposals, the best; `truths_sec` (P, 2), for each the
      action of the largest tIoU.

    Raises:
      DataError: there are no proposals, or no window has actions and proposals; a label has no times, a
        proposal a negative score; detections would have no class.
    """
    for name, recording in dataset.annotations.recordings.items():
        _require_positive_scores(config, dataset, name)
        if recording.subset == config.data.test_subset:
            found = proposals_of(config, dataset, name).take(slice(config.decode.proposals))
            _known_classes(config, dataset, name, found)
    recordings = dataset.annotations.subset(config.data.train_subset).recordings
    require_times(recordings, f"training {config.system}")
    proposals = {name: proposals_of(config, dataset, name) for name in recordings}
    truths = {
        name: _long(recording.segments_sec, config.window.min_action_sec)
        for name, recording in recordings.items()
    }
    items = [
        (name, offset)
        for name in recordings
        if len(truths[name])
        for offset in _offsets(config, dataset, name, config.window.train_stride_frames)
        if _inside(config, dataset, name, offset, proposals[name].segments_sec).any()
    ]
    if not items:
        raise DataError(
            f"No recording of the subset '{config.data.train_subset}' has actions and proposals; check "
            f"config.proposals."
        )

    def make_example(item, rng):
        del rng
        name, offset = item
        inside = _inside(config, dataset, name, offset, proposals[name].segments_sec)
        chosen = proposals[name].take(inside).take(slice(config.window.proposals))
        inputs, start_sec = _window(
            config, dataset, name, offset, chosen.segments_sec, config.window.proposals
        )
        matched = truths[name][tiou(chosen.segments_sec[:, None], truths[name]).argmax(axis=1)]
        truths_sec = np.zeros((config.window.proposals, 2), np.float32)
        truths_sec[: len(matched)] = matched - start_sec
        return dict(inputs=inputs, truths_sec=truths_sec)

    return items, make_example


def test_windows(config, dataset, name):
    """Functions that make the windows of a recording, each with the proposals whose centres are nearest to
    its own.

    See interface.System. The info of each is start_sec of the window, proposal_scores (N,) of its proposals
    and their labels (N,), or recording_scores (K,) in place of these, and duration_sec of the recording.
    """
    require_finite(config, dataset, name)
    _require_positive_scores(config, dataset, name)
    proposals = proposals_of(config, dataset, name).take(slice(config.decode.proposals))
    offsets = _offsets(config, dataset, name, config.window.test_stride_frames)
    size, num_features = config.window.snippets, len(dataset.read(name))
    centres = dataset.timeline(name).to_seconds([offset + min(size, num_features) / 2 for offset in offsets])
    nearest = np.abs(proposals.segments_sec.mean(axis=1)[:, None] - centres).argmin(axis=1)
    for i, offset in enumerate(offsets):
        chosen = proposals.take(nearest == i)
        if not len(chosen.scores):
            continue
        inputs, start_sec = _window(
            config, dataset, name, offset, chosen.segments_sec, config.decode.proposals
        )
        known = {
            "start_sec": start_sec,
            "proposal_scores": chosen.scores,
            "duration_sec": dataset.duration_sec(name),
        }
        known |= _known_classes(config, dataset, name, chosen)
        yield functools.partial(Window, offset, min(num_features - offset, size), inputs, known)


def _require_positive_scores(config, dataset, name):
    """Raises DataError for proposals with negative scores, which a confidence would rank the wrong way round."""
    scores = require_proposals(config, dataset)[name].scores
    if (scores < 0).any():
        raise DataError(
            f"The proposals of recording '{name}' have negative scores, the lowest {scores.min():g}; "
            f"{config.system} "
            "needs scores from 0 on, to multiply them by its confidence. Write their exponentials to the "
            "file in their place."
        )


def _known_classes(config, dataset, name, proposals):
    """What tells the classes of a recording's detections: {"recording_scores": (K,)} or {"labels": (N,) of
    the proposals}.

    Raises:
      DataError: nothing tells them.
    """
    if config.data.class_agnostic:
        return {"labels": np.zeros(len(proposals.scores), np.int64)}
    if config.decode.classes == "recording":
        if dataset.recording_scores is None:
            raise DataError(NO_CLASSES)
        require_recordings(dataset.recording_scores, [name])
        if not config.decode.class_sharpness:  # they are probabilities, not logits
            require_positive(dataset.recording_scores, [name])
        return {"recording_scores": dataset.recording_scores[name]}
    labels = np.full(len(proposals.scores), -1) if proposals.labels is None else proposals.labels
    if (labels < 0).any():
        raise DataError(
            f"config.decode.classes is 'proposals', but {(labels < 0).sum()} of the {len(labels)} proposals "
            f"of recording '{name}' name no "
            "class of the annotations; set --config.decode.classes=recording, with "
            "--config.evaluate.recording_scores=FILE, or "
            "--config.data.class_agnostic=True."
        )
    return {"labels": labels}


def _long(segments_sec, min_sec):
    return segments_sec[segments_sec[:, 1] - segments_sec[:, 0] > min_sec]


def _offsets(config, dataset, name, stride):
    """First features of the windows; one of a recording that is rescaled."""
    if config.window.normalise_by == "duration":
        return [0]
    return windows.window_offsets(len(dataset.read(name)), config.window.snippets, stride)


def _inside(config, dataset, name, offset, segments_sec):
    """(N,) bool: proposals whose centre, or the feature nearest to it, is in the window."""
    if config.window.normalise_by == "duration":
        return np.ones(len(segments_sec), bool)
    centres = dataset.timeline(name).to_cells(segments_sec.mean(axis=1)).clip(0, len(dataset.read(name)))
    return (centres >= offset) & (centres <= offset + config.window.snippets)


def _window(config, dataset, name, offset, segments_sec, size):
    """What the network sees of a window, with room for `size` proposals.

    Returns:
      (inputs, start_sec): inputs are features (T, C) padded with zeros, proposals_sec (size, 2) from the
      window's start, proposal_mask (size,), covered_sec (), num_features () and earliest_sec (), the start of
      the recording, all float32; start_sec of the window in the recording.
    """
    features, timeline = dataset.read(name), dataset.timeline(name)
    rescaled, rows = config.window.normalise_by == "duration", config.window.snippets
    start_sec = 0.0 if rescaled else float(timeline.to_seconds(offset))
    seen = resize_linear(features, rows) if rescaled else features[offset : offset + rows]
    inputs = {
        "features": np.zeros((rows, features.shape[1]), np.float32),
        "proposals_sec": np.zeros((size, 2), np.float32),
        "proposal_mask": np.zeros(size, np.float32),
        "covered_sec": np.float32(
            dataset.duration_sec(name) if rescaled else timeline.to_seconds(offset + rows) - start_sec
        ),
        "num_features": np.float32(len(seen)),
        "earliest_sec": np.float32(-start_sec),
    }
    count = min(len(segments_sec), size)
    inputs["features"][: len(seen)] = seen
    inputs["proposals_sec"][:count] = segments_sec[:count] - start_sec
    inputs["proposal_mask"][:count] = 1
    return inputs, start_sec
