"""Matches detections and ground truths one to one, and the average precision of what was matched."""

import numpy as np

from tal_jax.ops.segments import overlap_and_union


def by_falling_score(rows, nan_as):
    """(N,) ROW by falling score, a score of NaN taken for `nan_as`; equal ones keep their order."""
    return rows[np.argsort(-np.where(np.isnan(rows["score"]), nan_as, rows["score"]), kind="stable")]


def overlapping_pairs(found, truths):
    """Each detection with each truth of its recording that it overlaps.

    Args:
        found: (D,) ROW.
        truths: (G,) ROW, ordered by recording.

    Returns:
        (rows of `found`, rows of `truths`, their tIoU), (P,) each, ordered by the first, then by the second.
    """
    first = np.searchsorted(truths["recording"], found["recording"], "left")
    count = np.searchsorted(truths["recording"], found["recording"], "right") - first
    detection = np.repeat(np.arange(len(found)), count)
    truth = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count - first, count)
    (start_sec, end_sec), (true_start_sec, true_end_sec) = found["segment_sec"].T, truths["segment_sec"].T
    # Most pairs are apart, and this sees it at the least cost.
    near = (start_sec[detection] < true_end_sec[truth]) & (true_start_sec[truth] < end_sec[detection])
    detection, truth = detection[near], truth[near]
    shared_sec, union_sec = overlap_and_union(found["segment_sec"][detection], truths["segment_sec"][truth])
    overlaps = shared_sec > 0
    return detection[overlaps], truth[overlaps], shared_sec[overlaps] / union_sec[overlaps]


def take_while_free(detection, truth, num_detections, num_truths):
    """Walks through pairs in their order and takes each whose two sides are still free.

    Returns:
        (num_detections,) int, the truth that each detection took, -1 for none.
    """
    taken, truth_free = [-1] * num_detections, [True] * num_truths
    for d, t in zip(detection.tolist(), truth.tolist(), strict=True):
        if taken[d] < 0 and truth_free[t]:
            taken[d], truth_free[t] = t, False
    return np.array(taken, int)


def match(pairs, tious, num_detections, num_truths):
    """Detections choose truths in turn, as by the ActivityNet evaluator.

    A detection takes the free truth of highest tIoU, if that is the threshold or more; between equal ones the
    later truth.

    Args:
        pairs: (detection, truth, tIoU), (P,) each: detections by falling score, with the truths that they may
            take.
        tious: T thresholds.
        num_detections, num_truths: D and G.

    Returns:
        (T, D) int, the truth that each detection took, -1 for none.
    """
    detection, truth, overlap = pairs
    order = np.lexsort((-truth, -overlap, detection))
    chosen = [order[overlap[order] >= threshold] for threshold in tious]
    sizes = num_detections, num_truths
    return np.array([take_while_free(detection[rows], truth[rows], *sizes) for rows in chosen])


def precision(hits, misses, num_truths, count=None):
    """Normalised precision R N / (R N + FP) at each detection of a class.

    R is the recall and FP the false positives up to there. With N the number of truths it is the ordinary
    precision. Alwassel et al., "Diagnosing Error in Temporal Action Detectors" (ECCV 2018).

    Args:
        hits, misses: (..., D) bool by falling score, the true and the false positives; a detection that is
            neither does not count.
        num_truths: the number of truths of the class.
        count: N; None: `num_truths`.

    Returns:
        (..., D) in [0, 1], 0 before the first detection that counts.
    """
    right = np.cumsum(hits, axis=-1) * ((count or num_truths) / num_truths)
    counted = right + np.cumsum(misses, axis=-1)
    return np.divide(right, counted, out=np.zeros_like(right), where=counted > 0)


def best_precision(hits, misses, num_truths, count=None):
    """(..., D) the best precision at each detection of a class or after it. Args: see `precision`."""
    precisions = precision(hits, misses, num_truths, count)
    return np.maximum.accumulate(precisions[..., ::-1], axis=-1)[..., ::-1]


def average_precision(hits, misses, num_truths, count=None):
    """(...) AP of a class in [0, 1]: the best precision at each truth's recall or beyond, averaged.

    Args: see `precision`. A truth that was not found counts 0.
    """
    return np.sum(best_precision(hits, misses, num_truths, count) * hits, axis=-1) / num_truths
