"""The AP and the recall of one class by the protocols that the head of `detection.py` compares."""

import numpy as np

from tal_jax.evaluation.matching import (
    average_precision,
    by_falling_score,
    match,
    overlapping_pairs,
    precision,
    take_while_free,
)
from tal_jax.ops.nms import hard_nms
from tal_jax.ops.segments import overlap_and_union


def activitynet_hits(found, truths, tious):
    """(T, D) bool, the true positives of one class at each threshold, by falling score.

    A pair without overlap never matches; the reference also takes those where both lengths are 0 (it computes
    0/0).

    Args:
        found: (D,) ROW, the detections of the class.
        truths: (G,) ROW, its ground truths.
        tious: T thresholds.
    """
    found = by_falling_score(found, nan_as=np.inf)
    return match(overlapping_pairs(found, truths), tious, len(found), len(truths)) >= 0


def activitynet_ap(found, truths, tious, count=None):
    """ActivityNet's `compute_average_precision_detection`: AP in [0, 1] of one class at each threshold.

    Args:
        found, truths, tious: see `activitynet_hits`.
        count: N of DETAD's normalised `precision`; None: G, which gives the ordinary precision.
    """
    hits = activitynet_hits(found, truths, tious)
    return average_precision(hits, ~hits, len(truths), count).tolist()


def thumos14_hits(found, truths, tious, ignored):
    """The true positives of one class by falling score, among the detections that the devkit counts.

    Args:
        found: (D,) ROW, the detections of the class.
        truths: (G,) ROW, its ground truths.
        tious: T thresholds.
        ignored: (I,) ROW, the ignored intervals, which belong to every class.

    Returns:
        List of T (n,) bool. What touches an ignored interval, and is no true positive, does not count.
    """
    found = _with_sorted_ends(by_falling_score(found, nan_as=-np.inf))
    truths = _with_sorted_ends(truths)
    touches_ignored = np.zeros(len(found), bool)
    touches_ignored[overlapping_pairs(found, _with_sorted_ends(ignored))[0]] = True
    detection, truth, _ = overlapping_pairs(found, truths)  # (P,)
    found_sec, truth_sec = found["segment_sec"][detection], truths["segment_sec"][truth]
    shared_sec, _ = overlap_and_union(found_sec, truth_sec)
    # The union as the devkit takes it, since rounding decides the pairs whose tIoU is just the threshold.
    union_sec = np.maximum(found_sec[:, 1], truth_sec[:, 1]) - np.minimum(found_sec[:, 0], truth_sec[:, 0])
    overlap = shared_sec / union_sec
    order = np.lexsort((detection, -overlap, truth))
    of_all = []
    for threshold in tious:
        chosen = order[overlap[order] > threshold]
        hits = take_while_free(detection[chosen], truth[chosen], len(found), len(truths)) >= 0
        of_all.append(hits[hits | ~touches_ignored])
    return of_all


def thumos14_ap(found, truths, tious, ignored):
    """The THUMOS14 devkit's `TH14eventdetpr`: AP in [0, 1] of one class at each threshold.

    Args: see `thumos14_hits`.
    """
    of_all = thumos14_hits(found, truths, tious, ignored)
    return [float(precision(hits, ~hits, len(truths))[hits].sum() / len(truths)) for hits in of_all]


def recall_of_best(found, truths, tious, k):
    """Recall@kx of one class in [0, 1] at each threshold: the share of truths that the best detections find.

    The best are the k n of highest score in each recording with n truths. A truth is found if one of them has
    a tIoU of at least the threshold with it, which may find others too. As in ActionFormer's code.

    Args:
        found: (D,) ROW, the detections of the class.
        truths: (G,) ROW, its ground truths.
        tious: the thresholds.
        k: detections for each truth.
    """
    found = by_falling_score(found, nan_as=np.inf)
    found = found[np.argsort(found["recording"], kind="stable")]
    rank = np.arange(len(found)) - np.searchsorted(found["recording"], found["recording"])
    begin = np.searchsorted(truths["recording"], found["recording"], "left")
    end = np.searchsorted(truths["recording"], found["recording"], "right")
    found = found[rank < k * (end - begin)]
    _, truth, overlap = overlapping_pairs(found, truths)
    return [len(np.unique(truth[overlap >= threshold])) / len(truths) for threshold in tious]


def suppressed(found, keep):
    """(D,) ROW of one class: of detections that overlap by `keep` or more in a recording, the best alone."""
    if keep == 1:
        return found
    scores = np.where(np.isnan(found["score"]), -np.inf, found["score"])
    segments_sec = _with_sorted_ends(found)["segment_sec"]
    return found[np.sort(hard_nms(segments_sec, scores, keep, groups=found["recording"]))]


def detections_per_truth(found, truths, threshold):
    """(G,) how many detections overlap each of the G truths of one class by a tIoU above the threshold."""
    found, truths = _with_sorted_ends(found), _with_sorted_ends(truths)
    _, truth, overlap = overlapping_pairs(found, truths)
    return np.bincount(truth[overlap > threshold], minlength=len(truths))


def _with_sorted_ends(rows):
    """(N,) ROW whose segments end after they start: the ends of the others are swapped."""
    rows = rows.copy()
    rows["segment_sec"] = np.sort(rows["segment_sec"], axis=1)
    return rows
