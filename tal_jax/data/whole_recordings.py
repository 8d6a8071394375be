"""Windows of systems that see a whole recording at once: in training a random part of it where it is longer
than a window, in testing all of it, padded.
"""

import functools
import math

import numpy as np

from tal_jax.data import windows
from tal_jax.data.annotations import require_times
from tal_jax.data.learnable import BEYOND, MOST_LONGER, no_action_sentence
from tal_jax.data.signals import finite_rows
from tal_jax.errors import DataError
from tal_jax.ops.snippets import resize_linear
from tal_jax.ranges import largest

MOST_DRAWS = 200  # of a part of a recording, until it shows an action
SAME_SEC = 1e-3  # by which the times of one action differ at most, and that any action lasts at least
LENGTHS = 4  # of test windows from one power of two times `window.frames` to the next


def examples(config, dataset):
    """The training recordings and the function that makes an example of one, for `System.examples`.

    No features are read before the first example is made, unless `window.draws` is 0.

    Args:
        config: the run's config (`data`, `window`, `augment`).
        dataset: data.dataset.Dataset.

    Returns:
        (items, make_example): the name of each training recording, `window.draws` times, or with 0 as often
        as windows cover it; and (name, np.random.Generator) -> example, a dict of
        inputs (window.frames, C) float32, zero after num_frames () int32;
        segments_frame (G, 2) float32 in cells of the window, and labels (G,) int32 in 1..K, 0 for padding
        rows. A recording without actions, or a part that shows none, has padding rows alone.

    Raises:
        DataError: the training subset has no action, or one without times.
    """
    recordings, size = _training_recordings(config, dataset), config.window.frames

    def make_example(name, rng):
        features, timeline = seen_features(config, dataset, name)
        segments, labels = _actions(config, recordings[name], timeline)
        margin = timeline.snippet_frames / timeline.stride_frames / 2

        def draw(low, high):
            return int(rng.integers(low, high, endpoint=True))

        offset, num_frames, segments, labels = draw_part(
            segments, labels, len(features), margin, window=config.window, draw=draw
        )
        example = windows.window_inputs(config, features, offset, rng, num_frames)
        missing = max_segments - len(labels)
        example["segments_frame"] = np.pad(segments.astype(np.float32), ((0, missing), (0, 0)))
        example["labels"] = np.pad(labels.astype(np.int32), (0, missing))
        return example

    def number_of(name):
        if config.window.draws or config.window.resized:
            return config.window.draws or 1
        return math.ceil(len(dataset.read(name)) / size)

    max_segments = max(len(recording.labels) for recording in recordings.values())
    return [name for name in recordings for _ in range(number_of(name))], make_example


def draw_part(segments_frame, labels, num_frames, margin, *, window, draw):
    """ActionFormer's truncation in training: the part of a recording that an example shows.

    A recording that is not longer than a window is shown whole; with `window.crop`, a random share of it. A
    part is drawn until it shows an action, `MOST_DRAWS` times at most.

    Args:
        segments_frame: (G, 2) float, actions in cells of the recording.
        labels: (G,) int.
        num_frames: length of the recording in cells.
        margin: cells by which an action may reach over the centres of the first and of the following cell and
            be seen: half of what one feature has seen.
        window: `config.window`: `frames`; `crop`, () or the smallest and the largest share; `min_inside`, the
            share of an action that a part must show.
        draw: (low, high) -> int, uniform, both ends included.

    Returns:
        (offset, length, segments, labels): the part's first cell and number of cells, its actions (N, 2)
        float64 in cells of the part, cut to the part and its margin, and their labels (N,).
    """
    segments, labels = np.asarray(segments_frame, np.float64).reshape(-1, 2), np.asarray(labels)
    length = min(num_frames, window.frames)
    if window.crop and length == num_frames:
        low, high = (max(round(share * num_frames), 1) for share in window.crop)
        length = draw(low, min(high, num_frames))
    if length == num_frames:
        return 0, num_frames, segments, labels
    for _ in range(MOST_DRAWS):
        offset = draw(0, num_frames - length)
        first, last = offset + 0.5 - margin, offset + length + 0.5 + margin
        kept = _share_inside(segments, first, last) >= window.min_inside
        if kept.any():
            break
    return offset, length, np.clip(segments[kept], first, last) - offset, labels[kept]


def test_windows(config, dataset, name, multiple=1):
    """The one test window of a recording, all of it, for `System.windows`.

    Args:
        config: the run's config (`window`).
        dataset: data.dataset.Dataset.
        name: of the recording.
        multiple: cells of which the length of a window that is longer than `window.frames` is a multiple: the
            stride of the coarsest level.

    Yields:
        a function that makes a data.windows.Window with the inputs inputs (T, C) float32, T as
        `padded_length` says and zero after num_frames () int32. With `window.resized` its info has the
        "timeline" of the resized recording, see `candidates.of_windows`. Raises DataError for features that
        are not finite.
    """
    yield functools.partial(_whole_window, config, dataset, name, multiple)


def _whole_window(config, dataset, name, multiple):
    features, timeline = seen_features(config, dataset, name)
    features = np.asarray(features, np.float32)
    if not finite_rows(features).all():
        windows.require_finite(config, dataset, name)
    padding = padded_length(len(features), config.window.frames, multiple) - len(features)
    inputs = dict(inputs=np.pad(features, ((0, padding), (0, 0))), num_frames=np.int32(len(features)))
    info = {}
    if config.window.resized:
        info["timeline"] = np.array([timeline.fps, timeline.stride_frames, timeline.snippet_frames])
    return windows.Window(0, len(features), inputs, info)


def padded_length(num_frames, window, multiple=1):
    """Length of the test window of a recording; each new one takes a compilation, so there are few.

    It is that of a training window, or else the next of 1.25, 1.5, 1.75, 2, 2.5, 3, 3.5, 4, 5, … times it.

    Args:
        num_frames: length of the recording in cells.
        window: length of a training window in cells.
        multiple: a longer window's length is rounded up to a multiple of it.
    """
    if num_frames <= window:
        return window
    octave = (math.ceil(num_frames / window) - 1).bit_length() - 1
    step = window * 2**octave / LENGTHS
    return math.ceil(math.ceil(num_frames / step) * step / multiple) * multiple


def seen_features(config, dataset, name):
    """The features of a recording as a network sees them, and their times.

    Returns:
        (features, timeline): (T, C) float and the Timeline of its cells; with `window.resized`, features
        resized linearly to `window.frames` cells.
    """
    features, timeline = dataset.read(name), dataset.timeline(name)
    if not config.window.resized:
        return features, timeline
    frames = config.window.frames
    return resize_linear(features, frames), timeline.resized(len(features), frames)


def _training_recordings(config, dataset):
    """{name: Recording} of the training subset. Raises DataError as `examples` does."""
    recordings = dataset.annotations.subset(config.data.train_subset).recordings
    require_times(recordings, f"training {config.system}")
    if any(len(recording.labels) for recording in recordings.values()):
        return recordings
    raise DataError(no_action_sentence(config, dataset))


def _actions(config, recording, timeline):
    """(segments (G, 2) in cells, labels (G,) in 1..K) of a training recording.

    Of a resized recording, as published for ActivityNet, those that are there twice or take no time are left
    out, and those that begin after its end or lie beyond it by too much; ends are cut.
    """
    segments, labels = timeline.to_cells(recording.segments_sec), recording.labels + 1
    if not config.window.resized:
        return segments, labels
    end = config.window.frames + 1.0  # the last centre and half a cell, and once more: published code
    kept = _distinct(recording.segments_sec, labels) & (segments[:, 0] < end)
    kept &= _share_inside(segments, -np.inf, end) >= config.window.min_inside
    return np.minimum(segments[kept], end), labels[kept]


def _distinct(segments_sec, labels):
    """(G,) bool: which actions take time, and are not there twice."""
    kept = []
    for i, (segment, label) in enumerate(zip(segments_sec, labels, strict=True)):
        same = [j for j in kept if labels[j] == label and (abs(segments_sec[j] - segment) <= SAME_SEC).all()]
        if segment[1] - segment[0] >= SAME_SEC and not same:
            kept.append(i)
    return np.isin(np.arange(len(labels)), kept)


def _share_inside(segments, first, last):
    """(G,) share of each segment between two cells, 0 of one without length."""
    start, end = segments.T
    inside = np.minimum(end, last) - np.maximum(start, first)
    return np.divide(inside, end - start, out=np.zeros(len(segments)), where=end > start)


def problems(config, dataset):
    """Sentences on actions that training does not learn, or not whole, for `System.problems`.

    Raises:
        DataError: as `examples`.
    """
    window, found = config.window, []
    for name, recording in _training_recordings(config, dataset).items():
        features, timeline = seen_features(config, dataset, name)
        segments = timeline.to_cells(recording.segments_sec)
        margin = timeline.snippet_frames / timeline.stride_frames / 2
        inside = _share_inside(segments, 0.5 - margin, len(features) + 0.5 + margin)
        length = segments[:, 1] - segments[:, 0]
        most = np.divide(window.frames + 2 * margin, length, out=np.ones(len(length)), where=length > 0)
        found.append((recording.labels, length, np.minimum(inside, most)))
    labels, lengths, shares = map(np.concatenate, zip(*found, strict=True))
    sentences = []
    for k, name in enumerate(dataset.annotations.classes):
        of_class = labels == k
        unseen = of_class & (shares < window.min_inside)
        longer = of_class & ~unseen & (lengths > window.frames)
        short = of_class & ~unseen & (lengths < 1)
        said = {_unseen_sentence: unseen, _longer_sentence: longer, _short_sentence: short}
        for sentence, rows in said.items():
            count, total = int(rows.sum()), int(of_class.sum())
            if count:
                note = "Note: " if rows is longer or count <= MOST_LONGER * total else ""
                which = f"{note}{count} of the {total} training actions of the class '{name}'"
                sentences.append(f"{which} {sentence(config, lengths[rows])}.")
    return sentences


def _unseen_sentence(config, lengths):
    """The end of a sentence on actions of (N,) lengths in frames of which no part shows enough."""
    frames, share = config.window.frames, config.window.min_inside
    what_to_do = "correct their times"
    if (lengths * share > frames).any():
        what_to_do = f"{_longer_window(config, lengths * share)}, or a smaller config.window.min_inside"
    return f"are never seen by {share:g} in a window of {frames} frames, so not learnt; {what_to_do}"


def _longer_sentence(config, lengths):
    """The end of a sentence on actions that are learnt in parts."""
    whole = _longer_window(config, lengths)
    return f"are longer than a window of {config.window.frames} frames, so they are learnt in parts; {whole}"


def _short_sentence(config, lengths):
    """The end of a sentence on actions that may lie between the centres of two frames."""
    more = "more config.window.frames" if config.window.resized else "features that are less far apart"
    return f"are shorter than a frame, so they are hardly learnt; use {more}"


def _longer_window(config, lengths):
    """The words that say how a window gets as long as (N,) lengths in frames."""
    size = config.window.frames
    needed = size * math.ceil(min(np.nan_to_num(lengths).max(), BEYOND) / size)
    if needed > largest("window.frames"):
        return "correct their times, the durations or the rate"
    return f"set --config.window.frames={needed}"
