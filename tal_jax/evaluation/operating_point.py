"""How detections do at one tIoU: errors of their boundaries, calibration of their scores, and confusion of
classes among those with high scores.

A detection is right if it took a truth of its class, see `detad.match_all`. Letters of shapes: D detections,
G ground truths, K classes.
"""

import numpy as np

from tal_jax.evaluation.detad import shares_of
from tal_jax.evaluation.matching import match

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def boundary_errors_sec(matches, taken):
    """How far the boundaries of right detections lie from the true ones, in seconds, detected minus true.

    Args:
        matches: detad.Matches.
        taken: (D,) int, the truth that each detection took, -1 for none.

    Returns:
        {"label" (n,) float: class of each right detection; "errors_sec" (n, 2): of its start and its end,
        above 0 if too late}.
    """
    right = taken >= 0
    true_sec = matches.truths["segment_sec"][taken[right]]
    errors_sec = matches.found["segment_sec"][right] - true_sec
    return {"label": matches.found["label"][right], "errors_sec": errors_sec}


def calibration(scores, right, num_bins=10):
    """How well scores tell the probability that a detection is right.

    Expected calibration error: Naeini, Cooper, Hauskrecht, "Obtaining Well Calibrated Probabilities Using
    Bayesian Binning" (AAAI 2015). Bins are of equal width between 0 and 1; a score on an edge belongs to the
    upper bin, 1 to the last.

    Args:
        scores: (D,) float; those that are NaN or outside [0, 1] are no probabilities and do not count.
        right: (D,) bool, the true positives.
        num_bins: the number of bins.

    Returns:
        {"counts" (bins,) int: detections; "scores" (bins,): their mean score; "shares" (bins,): how many of
        them are right; "error": the mean difference of these two, weighted by the counts; "not_counted" int}.
        What has no detections is NaN.
    """
    inside = (scores >= 0) & (scores <= 1)
    scores, right = scores[inside], right[inside]
    place = np.minimum((scores * num_bins).astype(int), num_bins - 1)
    counts = np.bincount(place, minlength=num_bins)
    means = shares_of(np.bincount(place, scores, num_bins), counts)
    shares = shares_of(np.bincount(place, right, num_bins), counts)
    gaps = np.abs(means - shares)[counts > 0]
    error = np.average(gaps, weights=counts[counts > 0]) if len(gaps) else np.nan
    not_counted = int(np.sum(~inside))
    return {"counts": counts, "scores": means, "shares": shares, "error": error, "not_counted": not_counted}


def best_f1(scores, right, num_truths):
    """The score from which on the detections of a class have the best F1, 2 TP / (detections + truths).

    Args:
        scores: (D,) float, falling; NaN is below every score.
        right: (D,) bool, the true positives.
        num_truths: the number of truths, above 0.

    Returns:
        {"score", "f1", "precision", "recall"}: of several the highest score; NaN, 0, 0, 0 if none is right.
    """
    scores, right = scores[~np.isnan(scores)], right[~np.isnan(scores)]
    count, true_positives = np.arange(1, len(scores) + 1), np.cumsum(right)
    lowest = np.append(scores[1:] != scores[:-1], True)[: len(scores)]  # of equal scores all count, or none
    f1 = np.where(lowest, 2 * true_positives / (count + num_truths), 0)
    best = int(np.argmax(f1)) if len(f1) else 0
    if not np.any(right):
        return {"score": np.nan, "f1": 0.0, "precision": 0.0, "recall": 0.0}
    hits = true_positives[best]
    shares = {"precision": hits / count[best], "recall": hits / num_truths}
    return {"score": scores[best], "f1": f1[best], **shares}


def best_f1_of_classes(matches, taken):
    """List of K `best_f1`, one a class. Args: see `boundary_errors_sec`."""
    rows_of_classes = zip(matches.rows_of_classes, matches.num_truths, strict=True)
    return [best_f1(matches.found["score"][rows], taken[rows] >= 0, n) for rows, n in rows_of_classes]


def f1_of_recordings(matches, taken, min_scores, num_recordings):
    """The F1 of each recording, of all classes together.

    Args:
        matches, taken: see `boundary_errors_sec`.
        min_scores: (K,) float, the lowest score of detections of a class that count; NaN: none counts.
        num_recordings: R; the recordings of detections and truths are their ranks below it.

    Returns:
        {"ground_truths", "detections" (that count), "right" (R,) int; "f1" (R,), NaN without either}.
    """
    of_found, of_truths = (table["recording"].astype(int) for table in (matches.found, matches.truths))
    counted = matches.found["score"] >= min_scores[np.searchsorted(matches.labels, matches.found["label"])]
    count = lambda recordings: np.bincount(recordings, minlength=num_recordings)
    truths, detections = count(of_truths), count(of_found[counted])
    right = count(of_found[counted & (taken >= 0)])
    f1 = shares_of(2.0 * right, truths + detections)
    return {"ground_truths": truths, "detections": detections, "right": right, "f1": f1}


def confusion(matches, taken, tiou, min_scores):
    """Counts of truths by their class and by that of the detection that takes them.

    A right detection takes its truth. Of the others, the best first, each takes the free truth of another
    class with the highest tIoU, if that is `tiou` or more.

    Args:
        matches: detad.Matches.
        taken: (D,) int, the truth that each detection took at `tiou`, -1 for none.
        tiou: the threshold.
        min_scores: (K,) float, the lowest score of detections of a class that count; NaN: none counts.

    Returns:
        {"counts" (K, K) int: true class, detected class; "missed" (K,) int: truths that none takes, by class;
        "background" (K,) int: detections that take none, by class}. A row of "counts" and "missed" make the
        truths of the class, a column and "background" its detections that count.
    """
    found, truths, num_classes = matches.found, matches.truths, len(matches.labels)
    detected, true = (np.searchsorted(matches.labels, table["label"]) for table in (found, truths))
    counted = found["score"] >= min_scores[detected]
    taken = np.where(counted, taken, -1)
    free = np.ones(len(truths), bool)
    free[taken[taken >= 0]] = False
    detection, truth, _ = matches.pairs
    open_pairs = (counted & (taken < 0))[detection] & free[truth]
    pairs = [side[open_pairs] for side in matches.pairs]
    taken = np.maximum(taken, match(pairs, [tiou], len(found), len(truths))[0])
    rows = taken >= 0
    cells = num_classes * true[taken[rows]] + detected[rows]
    counts = np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    background = np.bincount(detected[counted & ~rows], minlength=num_classes)
    return {"counts": counts, "missed": matches.num_truths - counts.sum(axis=1), "background": background}
