"""Matches detections and ground truths one to one, and the average precision of what was matched."""

import numpy as np

from tal_jax.ops.segments import overlap_and_union, tiou


def by_falling_score(rows, nan_as):
    """(N,) ROW by falling score, a score of NaN taken for `nan_as`; equal ones keep their order."""
    return rows[np.argsort(-np.where(np.isnan(rows["score"]), nan_as, rows["score"]), kind="stable")]


def overlapping_pairs(found, truths):
    """Each detection with each truth of its recording that it overlaps.

    Args:
        found: (D,) ROW.
        truths: (G,) ROW, ordered by recording.

    Returns:
        (rows of `found`, rows of `truths`), (P,) each, ordered by the first and then by the second.
    """
    first = np.searchsorted(truths["recording"], found["recording"], "left")
    count = np.searchsorted(truths["recording"], found["recording"], "right") - first
    detection = np.repeat(np.arange(len(found)), count)
    truth = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count - first, count)
    overlaps = overlap_and_union(found["segment_sec"][detection], truths["segment_sec"][truth])[0] > 0
    return detection[overlaps], truth[overlaps]


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


def match(found, truths, tious):
    """Detections choose truths of their class, as by the ActivityNet evaluator.

    The best detection chooses first. It takes the free truth of highest tIoU, if that is the threshold or
    more; between equal ones the later truth. A pair without overlap never matches.

    Args:
        found: (D,) ROW by falling score.
        truths: (G,) ROW, ordered by recording.
        tious: T thresholds.

    Returns:
        (T, D) int, the truth (row of `truths`) that each detection took, -1 for none.
    """
    detection, truth = overlapping_pairs(found, truths)  # (P,)
    own = found["label"][detection] == truths["label"][truth]
    detection, truth = detection[own], truth[own]
    overlap = tiou(found["segment_sec"][detection], truths["segment_sec"][truth])
    order = np.lexsort((-truth, -overlap, detection))
    chosen = [order[overlap[order] >= threshold] for threshold in tious]
    sizes = len(found), len(truths)
    return np.array([take_while_free(detection[rows], truth[rows], *sizes) for rows in chosen])


def precision(hits, misses, num_truths, count=None):
    """Normalised precision R N / (R N + FP) at each detection of a class, R the recall and FP false positives.

    Alwassel et al., "Diagnosing Error in Temporal Action Detectors" (ECCV 2018). With N the number of truths
    it is the ordinary precision.

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


def average_precision(hits, misses, num_truths, count=None):
    """(...) AP in [0, 1] of a class: the mean over its truths of the best precision at their recall or beyond.

    Args: see `precision`. A truth that was not found adds 0.
    """
    precisions = precision(hits, misses, num_truths, count)
    best = np.maximum.accumulate(precisions[..., ::-1], axis=-1)[..., ::-1]
    return np.sum(best * hits, axis=-1) / num_truths
