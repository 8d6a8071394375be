"""Segments where activations are high: from a class activation sequence (CAS) to runs, on the host.

The rule is that of ECM's published code.

A *run* is a stretch of consecutive frames where the sequence of a class stays at or above a threshold and
above 0. Every threshold gives runs of its own, so that those of one action lie inside each other; suppression
then keeps the best of them.
"""

import numpy as np

from tal_jax.data.snippets import resize_linear
from tal_jax.systems.candidates import of_windows

LIKELY_CELLS = 3  # the mean of a class's best ones says how likely it is


def detections(config, windows, timeline, localize):
    """Detections of a recording from segments in frames of its windows, see interface.System.

    Args:
        config: the run's config.
        windows: iterable of data.windows.Decoded.
        timeline: Timeline of the recording.
        localize: (config, arrays of a window, F: its length in frames of the video) -> segments_frame (M, 2)
            within [0, F], classes (M,), scores (M,).
    """

    def found(window):
        num_frames = max(round(window.num_features * timeline.stride_frames), 1)
        segments_frame, classes, scores = localize(config, window.arrays, num_frames)
        return segments_frame * (window.num_features / num_frames), classes, scores

    return of_windows(windows, timeline, found)


def find_runs(settings, min_probability, cas, probabilities, num_frames, absolute=False):
    """Candidate segments of one window: all runs of all thresholds of its likely classes, before suppression.

    Args:
        settings: `config.localize`: `thresholds`, `outer_ratio`, `probability_weight`.
        min_probability: of a likely class.
        cas: (T, K) float32, any scale.
        probabilities: (K,) float32, those of the whole window.
        num_frames: F, length of the window in frames.
        absolute: whether `cas` is in [0, 1] by itself: then classes are not normalised, a run is compared
            with what lies around it though it is below the threshold, and scores of any two are comparable.

    Returns:
        (segments_frame, classes, scores): (M, 2) float64 in frames of the window, within [0, F]; (M,) int64;
        (M,) float64. Ordered by class, then threshold, then time. Nothing where no class is likely enough.
    """
    probabilities = np.asarray(probabilities)
    thresholds = np.asarray(settings.thresholds, np.float64)[:, None]  # (H, 1)
    likely = np.flatnonzero(probabilities >= min_probability)
    scaled = cas[:, likely] if absolute else minmax_normalise(cas[:, likely])
    activations = resize_linear(scaled, num_frames).T[:, None]  # (likely K, 1, F)
    # (likely K * H, F)
    thresholded = np.where(activations >= thresholds, activations, 0).reshape(-1, num_frames)
    rows, starts, ends = group_runs(thresholded > 0)
    classes, compared = likely[rows // len(thresholds)], thresholded
    if absolute:
        compared, rows = activations[:, 0], rows // len(thresholds)
    contrasts = inner_minus_outer(compared, rows, starts, ends, settings.outer_ratio)
    scores = contrasts + settings.probability_weight * probabilities[classes].astype(np.float64)
    return np.stack([starts, ends], axis=-1).astype(np.float64), classes, scores


def likely_runs(config, probabilities, num_frames):
    """Candidate segments where probabilities are high: `find_runs` of the likeliest classes, not normalised.

    Args:
        config: of a run, of which `localize` is used, and `decode.max_classes`: so many at most.
        probabilities: (T, K) in [0, 1].
        num_frames: F, length of the sequence in frames.

    Returns:
        see `find_runs`.
    """
    best = np.sort(probabilities, axis=0)[-LIKELY_CELLS:].mean(axis=0)  # (K,)
    least = np.sort(best)[-min(config.decode.max_classes, len(best))]
    least = max(least, config.localize.min_probability)
    cas, best = probabilities.astype(np.float32), best.astype(np.float32)
    return find_runs(config.localize, np.float32(least), cas, best, num_frames, absolute=True)


def triangle(length):
    """(length,) weights 1, 2, … to the middle and back."""
    place = np.arange(length)
    return np.minimum(place + 1, length - place).astype(np.float32)


def smoothed(sequence, length):
    """(T, K) -> (T, K): the weighted mean of `length` cells around each, the middle one counting most.

    The first and the last cell stand in for those before and after.
    """
    weights = triangle(length) / triangle(length).sum()
    before = (length - 1) // 2
    padded = np.pad(sequence, ((before, length - 1 - before), (0, 0)), mode="edge")
    return sum(weight * padded[i : i + len(sequence)] for i, weight in enumerate(weights))


def minmax_normalise(cas):
    """Each class by its highest and lowest value over time, neither taken below 0: the published
    `minmax_norm`.

    So a positive highest value becomes 1, a positive lowest one 0, and negative values stay negative.

    Args:
        cas: (..., T, K) float.

    Returns:
        (..., T, K) float of the same dtype. Unchanged where no value is positive, 0 where all are the same
        positive one.
    """
    highest = np.maximum(cas.max(axis=-2, keepdims=True), 0)  # (..., 1, K)
    lowest = np.maximum(cas.min(axis=-2, keepdims=True), 0)
    span = highest - lowest
    return (cas - lowest) / np.where(span > 0, span, 1)


def group_runs(active):
    """The maximal runs of each sequence.

    As published, a sequence that is active at frame 0 and nowhere else has no run.

    Args:
        active: (N, F) bool.

    Returns:
        (rows, starts, ends): (M,) int64 each, ordered by row, then time; a run is the frames from start to
        end - 1.
    """
    padded = np.pad(active, ((0, 0), (1, 1)))  # so that runs end before the next row begins
    width = padded.shape[1]
    flat = padded.ravel()
    # in turn the last frame before a run and its last one, counted padded
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    rows, starts, ends = changes[::2] // width, changes[::2] % width, changes[1::2] % width
    alone = np.bincount(rows, minlength=len(active))[rows] == 1
    kept = ~(alone & (ends == 1))
    return rows[kept], starts[kept], ends[kept]


def inner_minus_outer(sequences, rows, starts, ends, outer_ratio):
    """How much a run stands out: the mean of its sequence inside it less the mean around it.

    The frames around a run reach from it by `outer_ratio` of its length, rounded down to whole frames on the
    left of the first frame and of the last, and not beyond the sequence. As published, the frame reached is
    counted on the left, not on the right.

    Args:
        sequences: (N, F) float, 0 where below the threshold.
        rows, starts, ends: (M,) int, as of `group_runs`.
        outer_ratio: the published lambda.

    Returns:
        (M,) float64. The mean around a run without frames around it counts as 0.
    """
    num_frames = sequences.shape[1]
    sums = np.zeros((len(sequences), num_frames + 1))  # column i: of the frames before i
    np.cumsum(sequences, axis=1, dtype=np.float64, out=sums[:, 1:])
    lengths = ends - starts
    reach = outer_ratio * lengths
    outer_starts = np.maximum(starts - reach, 0).astype(np.int64)
    outer_ends = np.clip((ends - 1 + reach).astype(np.int64), ends, num_frames)
    at_outer_start, at_start, at_end, at_outer_end = (
        sums[rows, i] for i in (outer_starts, starts, ends, outer_ends)
    )
    outer_frames = (starts - outer_starts) + (outer_ends - ends)
    outer_sums = (at_start - at_outer_start) + (at_outer_end - at_end)
    return (at_end - at_start) / lengths - outer_sums / np.maximum(outer_frames, 1)
