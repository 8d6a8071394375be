"""The error analyses of DETAD: false positives, sensitivity to characteristics, and false negatives.

Alwassel, Caba Heilbron, Escorcia, Ghanem, "Diagnosing Error in Temporal Action Detectors" (ECCV 2018). It
follows their program (github.com/HumamAlwassel/DETAD), with its faults put right:

- A detection in a recording without truths is background. The program compares most of them with the truths
  of another recording.
- The filter of a bucket is applied at each tIoU by itself. The program drops a detection at all tIoU if it
  matches a truth outside the bucket at one of them, and its values come out too high.
- A class without detections has an AP of 0 in buckets too.
- Equal scores keep their order.

Values are fractions. Letters of shapes: T tIoU thresholds, D detections, G ground truths, K classes.
"""

import dataclasses
import functools

import numpy as np

from tal_jax.evaluation.matching import (
    average_precision,
    by_falling_score,
    match,
    overlapping_pairs,
    precision,
)

TYPES = (
    "true positive",
    "double detection",
    "wrong label",
    "localization",
    "confusion",
    "background",
)


@dataclasses.dataclass(frozen=True)
class Matches:
    """Detections and ground truths of K classes, matched one to one at T thresholds.

    Attributes:
        found: (D,) ROW by falling score.
        truths: (G,) ROW, ordered by recording.
        pairs: what overlaps, of any class, see `overlapping_pairs`.
        tious: the thresholds.
        truth: (T, D) int, the truth (row of `truths`) that a detection took, -1 for none.
        labels: (K,) float, the classes of the truths, rising.
        num_truths: (K,) int, the truths of each class.
    """

    found: np.ndarray
    truths: np.ndarray
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray]
    tious: tuple[float, ...]
    truth: np.ndarray
    labels: np.ndarray
    num_truths: np.ndarray

    @functools.cached_property
    def hits(self):
        """(T, D) bool, the true positives."""
        return self.truth >= 0

    @property
    def average_instances(self):
        """N of the normalised precision: truths a class, one number for the whole data set."""
        return len(self.truths) / len(self.labels)

    @functools.cached_property
    def rows_of_classes(self):
        """List of K (n,) int, the detections of each class by falling score."""
        order = np.argsort(self.found["label"], kind="stable")
        return np.split(order, np.searchsorted(self.found["label"][order], self.labels[1:]))

    def ap(self, hits, kept, num_truths, count):
        """(T, K) AP of each class in [0, 1], NaN for a class without truths.

        Args:
            hits, kept: (T, D) bool, the true positives, and the detections that count.
            num_truths: (K,) int, the truths to be found.
            count: N of the normalised `precision`; None gives the ordinary one.
        """
        values = np.full((len(hits), len(self.labels)), np.nan)
        right, wrong = hits & kept, kept & ~hits
        for k, rows in enumerate(self.rows_of_classes):
            if num_truths[k]:
                of_class = right[:, rows], wrong[:, rows]
                values[:, k] = average_precision(*of_class, num_truths[k], count)
        return values


def match_all(found, truths, tious):
    """Matches detections and truths of all classes, each class by itself, see `match`.

    Args:
        found: (D,) ROW, detections of classes that have truths; equal scores rank in this order.
        truths: (G,) ROW, ordered by recording, one at least.
        tious: the thresholds.
    """
    found = by_falling_score(found, nan_as=np.inf)
    detection, truth, overlap = pairs = overlapping_pairs(found, truths)
    own = found["label"][detection] == truths["label"][truth]
    taken = match([side[own] for side in pairs], tious, len(found), len(truths))
    labels, num_truths = np.unique(truths["label"], return_counts=True)
    return Matches(found, truths, pairs, tuple(tious), taken, labels, num_truths)


def group_of(matches, groups=10):
    """(D,) int, the group of each detection: 0 for the n best of a class with n truths, 1 for the next n, …

    Detections after the last group have -1.
    """
    group = np.full(len(matches.found), -1)
    for rows, n in zip(matches.rows_of_classes, matches.num_truths, strict=True):
        group[rows] = np.arange(len(rows)) // n
    return np.where(group < groups, group, -1)


def error_types(matches, min_tiou=0.1, prefer_own_class=False):
    """(T, D) int, the type of each detection, an index into TYPES.

    A detection that took no truth is judged by one truth of its recording alone, the one of highest tIoU
    whatever its class. With the threshold or more the detection is a double detection or has the wrong
    label. With `min_tiou` or more it is a localization error, or a confusion if the classes differ. With less
    it is background.

    Args:
        matches: Matches.
        min_tiou: the smallest tIoU that is no background.
        prefer_own_class: which of several truths of equal tIoU judges: the first of the detection's class, if
            one is; else the first of any class, as by the published program.
    """
    detection, truth, overlap = matches.pairs  # (P,)
    other = matches.found["label"][detection] != matches.truths["label"][truth]
    order = np.lexsort((truth, other & prefer_own_class, -overlap, detection))
    touching, first = np.unique(detection[order], return_index=True)
    best, same = np.zeros(len(matches.found)), np.zeros(len(matches.found), bool)
    best[touching], same[touching] = overlap[order[first]], ~other[order[first]]
    enough = best >= np.array(matches.tious)[:, None]  # (T, D)
    return np.select([matches.hits, enough & same, enough, best < min_tiou, same], [0, 1, 2, 5, 3], 4)


def false_positives(matches, groups=10, min_tiou=0.1, prefer_own_class=False):
    """The false-positive profile of the best detections: of a class with n truths, the `groups` times n best.

    Args: see `group_of` and `error_types`.

    Returns:
        dict of arrays:
        "selected" (D,) bool: the best detections, the only ones that count below;
        "types" (T, D) int: index into TYPES;
        "group_counts" (T, groups, 6) int: detections of each group and type, of all classes;
        "group_sizes" (groups,) int; "group_shares" (groups, 6): share of each type in a group, averaged over
        T, NaN in an empty group; "shares" (6,): the same over all groups;
        "ap" (T, K): normalised AP;
        "ap_without" (5, T, K): the same without the detections of each type of error (no type 0), the other
        matches as they are;
        "gain" (5,): by how much that raises the mean AP.
    """
    types = error_types(matches, min_tiou, prefer_own_class)
    group = group_of(matches, groups)
    selected = group >= 0
    counts = np.array(
        [np.bincount(6 * group[selected] + row[selected], minlength=6 * groups) for row in types]
    )
    counts = counts.reshape(len(types), groups, 6)
    sizes = np.bincount(group[selected], minlength=groups)
    settings = matches.num_truths, matches.average_instances
    ap = matches.ap(matches.hits, np.broadcast_to(selected, types.shape), *settings)
    without = np.array(
        [matches.ap(matches.hits, selected & (types != kind), *settings) for kind in range(1, 6)]
    )
    return {
        "selected": selected,
        "types": types,
        "group_counts": counts,
        "group_sizes": sizes,
        "group_shares": shares_of(counts.mean(axis=0), sizes[:, None]),
        "shares": shares_of(counts.sum(axis=1).mean(axis=0), sizes.sum()),
        "ap": ap,
        "ap_without": without,
        "gain": without.mean(axis=(1, 2)) - ap.mean(),
    }


def base_ap(matches):
    """(T, K) normalised AP of all detections."""
    return matches.ap(matches.hits, np.ones_like(matches.hits), matches.num_truths, matches.average_instances)


def sensitivity(matches, bucket, num_buckets):
    """Normalised AP in each bucket of a characteristic.

    At each threshold, a detection that matches a truth outside the bucket does not count. N is that of the
    whole data set.

    Args:
        matches: Matches.
        bucket: (G,) int, the bucket of each truth, -1 for none.
        num_buckets: the number of buckets.

    Returns:
        {"counts" (B,) int: truths; "ap" (B, T, K): NaN for a class without truths in the bucket; "map" (B,):
        mean over T and over the classes with truths in the bucket, NaN without truths}.
    """
    of_class = np.searchsorted(matches.labels, matches.truths["label"])
    of_detection = np.where(matches.hits, bucket[matches.truth], -1)  # (T, D)
    ap = []
    for b in range(num_buckets):
        inside = matches.hits & (of_detection == b)
        num_truths = np.bincount(of_class[bucket == b], minlength=len(matches.labels))
        ap.append(matches.ap(inside, inside | ~matches.hits, num_truths, matches.average_instances))
    counts = np.bincount(bucket[bucket >= 0], minlength=num_buckets)
    means = [np.nanmean(of_bucket) if n else np.nan for of_bucket, n in zip(ap, counts, strict=True)]
    return {"counts": counts, "ap": np.array(ap), "map": np.array(means)}


def without_hopeless(matches, min_precision=0.05):
    """Matches without the true positives at which the normalised precision is `min_precision` or less.

    They become false positives, and their truths are missed. The others keep their matches.
    """
    truth = matches.truth.copy()
    for rows, n in zip(matches.rows_of_classes, matches.num_truths, strict=True):
        hits = matches.hits[:, rows]
        hopeless = precision(hits, ~hits, n, matches.average_instances) <= min_precision
        truth[:, rows] = np.where(hopeless, -1, truth[:, rows])
    return dataclasses.replace(matches, truth=truth)


def missed_truths(matches):
    """(T, G) bool, the truths that no detection took."""
    missed = np.ones((len(matches.tious), len(matches.truths)), bool)
    for row, taken in zip(missed, matches.truth, strict=True):
        row[taken[taken >= 0]] = False
    return missed


def missed_rates(missed, bucket, num_buckets):
    """How many truths of each bucket are missed.

    Args:
        missed: (T, G) bool.
        bucket: (G,) int, the bucket of each truth, -1 for none.
        num_buckets: the number of buckets.

    Returns:
        {"counts" (B,) int: truths; "shares" (B,): of all truths; "rates" (B,): the share of a bucket's truths
        that is missed, averaged over T; "rates_per_tiou" (T, B)}. A rate of a bucket without truths is NaN.
    """
    inside = bucket >= 0
    counts = np.bincount(bucket[inside], minlength=num_buckets)
    of_missed = np.array([np.bincount(bucket[inside & row], minlength=num_buckets) for row in missed])
    rates = shares_of(of_missed, counts)
    return {
        "counts": counts,
        "shares": counts / len(bucket),
        "rates": rates.mean(axis=0),
        "rates_per_tiou": rates,
    }


def pair_bucket(first, second, num_second):
    """(G,) int, the bucket of each truth among the pairs of two characteristics, those of the first as rows.

    Args:
        first, second: (G,) int, its buckets, -1 for none.
        num_second: the number of buckets of the second.
    """
    return np.where((first >= 0) & (second >= 0), first * num_second + second, -1)


def recall(matches):
    """(T, K) the share of the truths of each class that detections took."""
    rows = matches.rows_of_classes
    return np.stack([matches.hits[:, of_class].sum(axis=1) for of_class in rows], axis=1) / matches.num_truths


def shares_of(counts, totals):
    """counts / totals, NaN where a total is 0."""
    totals = np.broadcast_to(totals, counts.shape)
    return np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
