"""How sure a mAP is: the scores of recordings drawn again and again, and of each recording alone.

Detections are matched once. A recording that is drawn w times counts w times: its detections and its truths
weigh w. Letters of shapes: B draws, R recordings, T thresholds, D detections of a class.
"""

import numpy as np

RESAMPLES = 500
LEAST = 50  # draws that an interval needs
FEWEST = 8  # recordings: draws of fewer say little of others
CHUNK = 2e7  # numbers that are held at a time


def map_of_weights(matches, weights):
    """(B, T) mAP in [0, 1] where recordings count so many times; NaN for a draw without truths.

    The mean is over the classes that have truths in the draw.

    Args:
        matches: detad.Matches, whose "recording" is an index below R.
        weights: (B, R) float, 0 or more.
    """
    size = max(1, int(CHUNK / max(1, len(matches.found))))
    parts = [_map_of(matches, weights[i : i + size]) for i in range(0, len(weights), size)]
    return np.concatenate(parts)


def _map_of(matches, weights):
    """`map_of_weights` of few draws."""
    rank, values = matches.truths["recording"].astype(int), []
    for k, rows in enumerate(matches.rows_of_classes):
        own = rank[matches.truths["label"] == matches.labels[k]]
        truths = weights @ np.bincount(own, minlength=weights.shape[1])  # (B,)
        of_each = weights[:, matches.found["recording"][rows].astype(int)]  # (B, D)
        seen, drawn = np.cumsum(of_each, axis=1), np.where(truths > 0, truths, np.nan)
        # The best precision at a recall or beyond is one at a true positive; no other is needed.
        values.append([_sums(of_each[:, hits], seen[:, hits]) / drawn for hits in matches.hits[:, rows]])
    values = np.array(values)  # (K, T, B)
    count = np.isfinite(values).sum(axis=0)
    means = np.divide(np.nansum(values, axis=0), count, out=np.full(count.shape, np.nan), where=count > 0)
    return means.T


def _sums(right, seen):
    """(B,) sums of the best precisions of the h true positives of a class.

    right, seen: (B, h), the weight of each, and of it and all detections of higher score.
    """
    reached = np.cumsum(right, axis=1)
    precision = np.divide(reached, seen, out=np.zeros_like(reached), where=seen > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return np.sum(best * right, axis=1)


def draws(num_recordings, count=RESAMPLES, seed=0):
    """(count, R) float, how often each recording is drawn where R are drawn with replacement."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(num_recordings, np.full(num_recordings, 1 / num_recordings), count).astype(float)


def interval(values, level=0.95):
    """(low, high): between them lies so much of (n,) values, as much of the rest below as above.

    NaN counts for nothing. None for fewer than LEAST values.
    """
    values = values[np.isfinite(values)]
    if len(values) < LEAST:
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def resamples(matches):
    """How many draws take a second or two: RESAMPLES, fewer of many detections."""
    return int(min(RESAMPLES, 4e7 / max(1, len(matches.found))))
