"""Diagnosis of detections: what kinds of errors they have, of which actions, and what each kind costs.

The analyses are those of DETAD (`detad.py`, by `characteristics.py`), and what `operating_point.py` tells at
one tIoU.
"""

import dataclasses
import math

import numpy as np

from tal_jax.data.annotations import require_times
from tal_jax.evaluation import detad, operating_point
from tal_jax.evaluation.characteristics import bucket_names, bucket_of, characteristics, edges_of
from tal_jax.evaluation.recordings import require_actions, scored_recordings
from tal_jax.evaluation.tables import detection_table, truth_tables, within_recordings


def diagnose(
    annotations,
    detections,
    *,
    subset,
    tious,
    left_out=(),
    missing="missed",
    edges="quantiles",
    names=None,
    groups=10,
    min_tiou=0.1,
    min_precision=0.05,
    prefer_own_class=False,
    at_tiou=0.5,
    min_score=None,
):
    """Diagnoses detections against the ground truth of one subset.

    The ground truths are those of the subset's classes that last, and no longer than their recording. A
    detection counts that ends after it starts, in a recording that is scored, of a class with ground truths.
    Equal scores rank as in `detection.py`.

    Args:
        annotations: `tal_jax.data.annotations.Annotations`.
        detections: {recording: [{"label", "segment": [start_sec, end_sec], "score"}]}.
        subset, left_out, missing: the recordings to score, see `scored_recordings`.
        tious: thresholds, above 0 and up to 1; "mean" below is over them.
        edges: of the buckets of characteristics: "thumos14", "activitynet", "quantiles" (five buckets with as
            many ground truths each as can be), or {characteristic: rising numbers}, see `characteristics.py`.
        names: {characteristic: names of its buckets}; None or absent: as `bucket_names` says.
        groups: of a class with n ground truths the false positives are those among its `groups` times n best
            detections.
        min_tiou: the smallest tIoU that is no background.
        min_precision: a true positive of this normalised precision or less has not found its ground truth,
            for the false negatives.
        prefer_own_class: of ground truths of equal tIoU that of the detection's own class tells its type of
            error; else the first one, as by the published program.
        at_tiou: the threshold of the boundary errors, the calibration and the confusion.
        min_score: the lowest score of detections in the confusion; None: for each class the one of best F1.

    Returns:
        A dict ready for JSON. Shares, AP and other rates are in percent, differences of them in points, times
        in seconds; None stands for what is not defined, such as the AP of an empty bucket, and for infinity.
        Thresholds are keys like "0.5".

        `settings`: the arguments but the data and `names`, `edges` as {characteristic: its edges}.
        `counts`: `recordings`, `recordings_missing` (without any list of detections), `classes`,
            `ground_truths`, `ground_truths_left_out`, `detections` (that count), and those that do not:
            `detections_on_other_recordings`, `detections_with_unknown_label`,
            `detections_that_do_not_last`.
        `map`: {threshold: normalised mAP}; `map_avg`: its mean, the base below; `ap`: {class: mean}.
        `false_positives`: `detections` (the best ones, that count here), `map_avg` (of them), `shares` {type:
            mean share}, `groups` (list: the best n of each class with n ground truths, the next n, ...) of
            {`detections`, `shares`}, `gain` {type of error: by how many points `map_avg` rises without it}.
            The types are `detad.TYPES`.
        `sensitivity`: {characteristic: {`buckets`: {name: {`above`, `up_to`, `ground_truths`, `map`}},
            `lowest_to_base`, `highest_to_base` (ratios of `map` to the base), `sensitivity` (highest less
            lowest), `impact` (highest less base)}}. `above` is itself in the first bucket.
        `false_negatives`: `missed` {threshold: share of the ground truths}, `missed_avg`; `buckets`
            {characteristic: {name: {`share` (of all ground truths), `missed` (mean share of the bucket's)}}};
            `pairs` {"length x coverage": {name: {name: the same}}} for each two characteristics.
        `boundary_errors`: {`all`, `classes`: {class: ...}} of {`true_positives`, `start_sec`, `end_sec`}: the
            errors, detected minus true, as {`mean`, "5%", "25%", "50%", "75%", "95%"}.
        `calibration`: `bins` (list of {`from`, `to`, `detections`, `mean_score`, `true_positives` (share)},
            where scores are probabilities), `expected_error` (points), `not_counted` (detections whose score
            is none), and `best_f1` {class: {`score` (from which on), `f1`, `precision`, `recall`}}.
        `confusion`: `classes` (names in the order of what follows), `min_scores`, `counts` (a row for each
            true class, a column for each detected one), `missed` (ground truths of each class that no
            detection takes), `background` (detections of each class that take none).
        `recordings`: {name: {`ground_truths`, `detections` (with the `min_scores` of the confusion, or more),
            `right`, `f1`}}, at `at_tiou`.

    Raises:
        DataError: the subset has no recordings or no ground truth, a label has no times, or `left_out` does
            not fit.
        ValueError: another argument cannot be.
    """
    if not len(tious) or not all(0 < threshold <= 1 for threshold in (*tious, at_tiou)):
        raise ValueError(f"tious is {tuple(tious)}, at_tiou {at_tiou}; they must be above 0 and up to 1.")
    if groups < 1:
        raise ValueError(f"groups is {groups}; it must be 1 or more.")
    tious = tuple(float(threshold) for threshold in tious)
    chosen = dict(subset=subset, left_out=left_out, missing=missing)
    recordings, absent = scored_recordings(annotations, detections, **chosen)
    require_times(recordings, "diagnosis")
    ranks = {name: rank for rank, name in enumerate(sorted({*recordings, *detections}))}
    annotated, _ = truth_tables(recordings, ranks)
    truths = within_recordings(annotated, recordings, ranks)
    require_actions(truths, subset)
    labels = np.unique(truths["label"]).astype(int)
    classes = [annotations.classes[label] for label in labels]
    found, dropped = detection_table(
        detections, {*recordings}, ranks, dict(zip(classes, labels, strict=True))
    )
    lasts = np.diff(found["segment_sec"])[:, 0] > 0

    both = detad.match_all(found[lasts], truths, (*tious, at_tiou))
    matches, taken = dataclasses.replace(both, tious=tious, truth=both.truth[:-1]), both.truth[-1]
    durations_sec = {ranks[name]: recording.duration_sec for name, recording in recordings.items()}
    values = characteristics(truths, annotated, durations_sec)
    edges = edges_of(edges, values)
    buckets = {
        kind: dict(
            zip(bucket_names(of_kind, (names or {}).get(kind)), zip(of_kind, of_kind[1:]), strict=True)
        )
        for kind, of_kind in edges.items()
    }
    bucket = {kind: bucket_of(values[kind], of_kind) for kind, of_kind in edges.items()}

    settings = chosen | dict(left_out=sorted(left_out), tious=tious, edges=edges, groups=groups)
    settings |= dict(min_tiou=min_tiou, min_precision=min_precision, prefer_own_class=prefer_own_class)
    settings |= dict(at_tiou=at_tiou, min_score=min_score)
    counts = {
        "recordings": len(recordings),
        "recordings_missing": len(absent),
        "classes": len(classes),
        "ground_truths": len(truths),
        "ground_truths_left_out": len(annotated) - len(truths),
        "detections": int(lasts.sum()),
        "detections_on_other_recordings": dropped["on_other_recordings"],
        "detections_with_unknown_label": dropped["with_unknown_label"],
        "detections_that_do_not_last": int((~lasts).sum()),
    }
    ap = detad.base_ap(matches)  # (T, K)
    profile = detad.false_positives(matches, groups, min_tiou, prefer_own_class)
    missed = detad.missed_truths(detad.without_hopeless(matches, min_precision))
    best = operating_point.best_f1_of_classes(matches, taken)
    min_scores = np.array([of_class["score"] if min_score is None else min_score for of_class in best])
    return _plain(
        {
            "settings": settings,
            "counts": counts,
            "map": _by_tiou(tious, ap.mean(axis=1)),
            "map_avg": 100 * ap.mean(),
            "ap": dict(zip(classes, 100 * ap.mean(axis=0), strict=True)),
            "false_positives": _false_positives(profile),
            "sensitivity": {
                kind: _sensitivity(matches, bucket[kind], buckets[kind], ap.mean()) for kind in buckets
            },
            "false_negatives": _false_negatives(tious, missed, bucket, buckets),
            "boundary_errors": _boundary_errors(matches, taken, classes),
            "calibration": _calibration(matches, taken) | {"best_f1": dict(zip(classes, map(_f1, best)))},
            "confusion": {
                "classes": classes,
                "min_scores": min_scores,
                **operating_point.confusion(matches, taken, at_tiou, min_scores),
            },
            "recordings": _recordings(matches, taken, min_scores, {name: ranks[name] for name in recordings}),
        }
    )


def _by_tiou(tious, values):
    return {f"{tiou:g}": 100 * value for tiou, value in zip(tious, values, strict=True)}


def _false_positives(profile):
    """`false_positives` of the diagnosis. profile: see `detad.false_positives`."""
    by_type = lambda shares: dict(zip(detad.TYPES, 100 * shares, strict=True))
    groups = zip(profile["group_sizes"], profile["group_shares"], strict=True)
    return {
        "detections": profile["selected"].sum(),
        "map_avg": 100 * profile["ap"].mean(),
        "shares": by_type(profile["shares"]),
        "groups": [{"detections": size, "shares": by_type(shares)} for size, shares in groups],
        "gain": dict(zip(detad.TYPES[1:], 100 * profile["gain"], strict=True)),
    }


def _sensitivity(matches, bucket, ranges, base):
    """`sensitivity` of the diagnosis to one characteristic.

    Args:
        matches: detad.Matches.
        bucket: (G,) int.
        ranges: {name of a bucket: (low, high)}.
        base: mAP of all, a fraction.
    """
    found = detad.sensitivity(matches, bucket, len(ranges))
    defined = found["map"][found["counts"] > 0]
    lowest, highest = (defined.min(), defined.max()) if len(defined) else (np.nan, np.nan)
    rows = zip(ranges.items(), found["counts"], found["map"], strict=True)
    return {
        "buckets": {
            name: {"above": low, "up_to": high, "ground_truths": count, "map": 100 * value}
            for (name, (low, high)), count, value in rows
        },
        "lowest_to_base": lowest / base if base else np.nan,
        "highest_to_base": highest / base if base else np.nan,
        "sensitivity": 100 * (highest - lowest),
        "impact": 100 * (highest - base),
    }


def _false_negatives(tious, missed, bucket, buckets):
    """`false_negatives` of the diagnosis.

    Args:
        tious: T thresholds.
        missed: (T, G) bool.
        bucket, buckets: {characteristic: (G,) int} and {characteristic: names}.
    """

    def rows_of(of_truth, count):
        rates = detad.missed_rates(missed, of_truth, count)
        pairs = zip(100 * rates["shares"], 100 * rates["rates"], strict=True)
        return [{"share": share, "missed": rate} for share, rate in pairs]

    kinds, pairs = [*buckets], {}
    for first, second in [(a, b) for i, a in enumerate(kinds) for b in kinds[i + 1 :]]:
        columns = len(buckets[second])
        of_truth = detad.pair_bucket(bucket[first], bucket[second], columns)
        rows = iter(rows_of(of_truth, len(buckets[first]) * columns))
        pairs[f"{first} x {second}"] = {
            name: {other: next(rows) for other in buckets[second]} for name in buckets[first]
        }
    alone = {kind: dict(zip(buckets[kind], rows_of(bucket[kind], len(buckets[kind])))) for kind in kinds}
    return {
        "missed": _by_tiou(tious, missed.mean(axis=1)),
        "missed_avg": 100 * missed.mean(),
        "buckets": alone,
        "pairs": pairs,
    }


def _boundary_errors(matches, taken, classes):
    """`boundary_errors` of the diagnosis. matches, taken: see `operating_point.boundary_errors_sec`."""
    found = operating_point.boundary_errors_sec(matches, taken)

    def summary(errors_sec):
        return {
            "true_positives": len(errors_sec),
            "start_sec": _distribution(errors_sec[:, 0]),
            "end_sec": _distribution(errors_sec[:, 1]),
        }

    of_classes = [found["errors_sec"][found["label"] == label] for label in matches.labels]
    by_class = dict(zip(classes, map(summary, of_classes), strict=True))
    return {"all": summary(found["errors_sec"]), "classes": by_class}


def _distribution(values):
    """The mean and the quantiles of (n,) values; NaN if there are none."""
    quantiles = operating_point.QUANTILES
    numbers = np.quantile(values, quantiles) if len(values) else np.full(len(quantiles), np.nan)
    mean = values.mean() if len(values) else np.nan
    return {"mean": mean} | {f"{100 * q:g}%": value for q, value in zip(quantiles, numbers, strict=True)}


def _calibration(matches, taken):
    """`calibration` of the diagnosis, without the best F1. Args: see `_boundary_errors`."""
    found = operating_point.calibration(matches.found["score"], taken >= 0)
    edges = np.linspace(0, 1, len(found["counts"]) + 1)
    columns = edges[:-1], edges[1:], found["counts"], found["scores"], 100 * found["shares"]
    keys = "from", "to", "detections", "mean_score", "true_positives"
    return {
        "bins": [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)],
        "expected_error": 100 * found["error"],
        "not_counted": found["not_counted"],
    }


def _f1(best):
    """`best_f1` of a class in percent, but the score."""
    return {key: value if key == "score" else 100 * value for key, value in best.items()}


def _recordings(matches, taken, min_scores, ranks):
    """`recordings` of the diagnosis. ranks: {name: rank}; others: see `operating_point.f1_of_recordings`."""
    found = operating_point.f1_of_recordings(matches, taken, min_scores, max(ranks.values()) + 1)
    found["f1"] = 100 * found["f1"]
    return {name: {key: of_all[rank] for key, of_all in found.items()} for name, rank in ranks.items()}


def _plain(value):
    """`value` in the types of JSON: arrays as lists, None for what is not finite."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
