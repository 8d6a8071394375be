"""Segments where activations are high: from a class activation sequence (CAS) to runs, on the host.

Two rules: `published_runs` is that of ECM's published code, `likely_runs` is for probabilities as they are.

A *run* is a stretch of consecutive frames where the sequence of a class stays at or above a threshold and
above 0. Every threshold gives runs of its own, so that those of one action lie inside each other; suppression
then keeps the best of them.
"""

import numpy as np

from tal_jax.ops.snippets import resize_linear

# The mean of so many of a class's best cells says how likely it is. By hand, not tuned: one cell may be a
# mistake, and a short action has no more (`plan.FEWEST_CELLS`).
LIKELY_CELLS = 3
CELL_POINTS = 8  # of a cell, where bounds of runs may lie; by hand: an eighth of what a cell can tell


def published_runs(settings, min_probability, cas, probabilities, num_frames):
    """ECM, published code: the runs of the likely classes, each class normalised by its own extremes.

    A run is compared with what of the sequence reaches the same threshold around it.

    Args:
        settings: see `find_runs`.
        min_probability: of a likely class.
        cas: (T, K) float32, any scale.
        probabilities: (K,) float32, those of the whole window.
        num_frames: F, length of the window in frames.

    Returns:
        see `find_runs`, segments in frames of the window, within [0, F]. Nothing where no class is likely.
    """
    likely = np.flatnonzero(np.asarray(probabilities) >= min_probability)
    activations = resize_linear(minmax_normalise(cas[:, likely]), num_frames).T  # (likely K, F)
    return find_runs(settings, activations, likely, probabilities, at_least)


def likely_runs(settings, max_classes, probabilities, num_frames):
    """Runs of the likeliest classes, of probabilities as they are, so that scores of any two are comparable.

    A run is compared with all around it, below the threshold too. Bounds lie on a grid of at most
    `CELL_POINTS` points a cell, so that memory does not grow with the rate of a recording.

    Args:
        settings: `min_probability` of a likely class, and those of `find_runs`.
        max_classes: so many at most, of equally likely ones the first.
        probabilities: (T, K) in [0, 1].
        num_frames: F, length of the sequence in frames.

    Returns:
        see `find_runs`, segments in frames within [0, F].
    """
    best = np.sort(probabilities, axis=0)[-LIKELY_CELLS:].mean(axis=0).astype(np.float32)  # (K,)
    likely = np.argsort(-best, kind="stable")[:max_classes]
    likely = np.sort(likely[best[likely] >= np.float32(settings.min_probability)])
    num_points = min(num_frames, CELL_POINTS * len(probabilities))
    activations = resize_linear(probabilities[:, likely].astype(np.float32), num_points).T
    segments, classes, scores = find_runs(settings, activations, likely, best)
    return segments * (num_frames / num_points), classes, scores


def at_least(activations, threshold):
    """A sequence, 0 where it is below a threshold; any shape."""
    return np.where(activations >= threshold, activations, 0)


def as_it_is(activations, threshold):
    """The sequence itself."""
    del threshold
    return activations


def find_runs(settings, activations, classes, probabilities, compared=as_it_is):
    """Candidate segments: all runs of all thresholds, before suppression.

    Args:
        settings: `thresholds`, `outer_ratio`, `probability_weight`, as `config.localize` has them.
        activations: (N, P) float32, at P points, in the scale of the thresholds.
        classes: (N,) int, their classes.
        probabilities: (K,) float32 of all classes, part of a score.
        compared: ((1, P), threshold) -> (1, P), whose mean in a run is compared with that around it.

    Returns:
        (segments, classes, scores): (M, 2) float64 in points, within [0, P]; (M,) int64; (M,) float64. In the
        order of the classes given, then by threshold, then by time.
    """
    segments, of_runs, contrasts = [np.zeros((0, 2), np.int64)], [], [np.zeros(0)]
    for label, sequence in zip(classes, activations):
        for threshold in np.asarray(settings.thresholds, np.float64):
            thresholded = at_least(sequence[None], threshold)  # one at a time: P may be large
            rows, starts, ends = group_runs(thresholded > 0)
            against = compared(sequence[None], threshold)
            segments.append(np.stack([starts, ends], axis=-1))
            of_runs.append(np.full(len(rows), label, np.int64))
            contrasts.append(inner_minus_outer(against, rows, starts, ends, settings.outer_ratio))
    of_runs = np.concatenate([np.zeros(0, np.int64), *of_runs])
    scores = settings.probability_weight * np.asarray(probabilities, np.float64)[of_runs]
    return np.concatenate(segments).astype(np.float64), of_runs, np.concatenate(contrasts) + scores


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
