"""Detection mAP by the published protocols of the field: the ActivityNet evaluator, the THUMOS14 devkit, and
DETAD, whose precision is normalised.

All match detections and ground truths of one class one to one and average precision over recall. A score is
only worth something together with its protocol, for the first two differ in almost every detail:

|                                            | activitynet (`eval_detection.py`) | thumos14 (`TH14evalDet`) |
|--------------------------------------------|-----------------------------------|--------------------------|
| who chooses, in turn                       | detections by falling score       | truths as listed         |
| chosen is the free one of highest tIoU, if | tIoU >= threshold                 | tIoU > threshold         |
| precision at a recall                      | the best there or beyond          | the one there            |
| unmatched, but touches an ignored interval | false positive                    | left out                 |
| detection with end < start                 | overlaps nothing: false positive  | its ends are swapped     |
| detection with score NaN                   | ranks first                       | ranks last               |
| equal tIoU, the choice falls on            | the later truth                   | the higher score         |

The first line matters most. The devkit gives each truth the detection of highest overlap, whatever its score.
All others that overlap the truth are false positives, though they may have the higher scores. Where
suppression was hard, one detection of a class overlaps a truth, and the protocols agree within a few points.
Where it was soft, many do, and the devkit's score collapses. `devkit_keep` suppresses before the devkit
matches; docs/data.md has figures.

"detad" is the normalised AP of Alwassel, Caba Heilbron, Escorcia and Ghanem, "Diagnosing Error in Temporal
Action Detectors" (ECCV 2018). It matches like the ActivityNet evaluator, but its precision counts each class
as if it had N ground truths, the mean over the classes, so that rare and frequent classes compare. It leaves
out truths that last nothing or longer than their recording, and detections that do not end after they start.

An ignored interval has an ignored label (`Ambiguous`): no protocol has it among the truths.

A detection in a recording without truths is a false positive in all. AFSD's copy of the ActivityNet evaluator
drops it. The copy agrees with the original where every recording has truths, or where `left_out` names those
that have none.

Equal scores rank by the recording's name, then by position in its list: the devkit's order, which the
ActivityNet evaluator leaves to an unstable sort.
"""

import functools

import numpy as np

from tal_jax.evaluation.matching import (
    average_precision,
    by_falling_score,
    match,
    overlapping_pairs,
    take_while_free,
)
from tal_jax.evaluation.recordings import require_actions, scored_recordings
from tal_jax.evaluation.tables import detection_table, truth_tables, within_recordings
from tal_jax.ops.nms import hard_nms
from tal_jax.ops.segments import overlap_and_union


def evaluate_detections(
    annotations,
    detections,
    *,
    subset,
    tious,
    protocol="activitynet",
    left_out=(),
    missing="missed",
    other_recordings="ignored",
    devkit_keep=1.0,
    recall_at=(),
):
    """Scores detections against the ground truth of one subset.

    Args:
        annotations: `tal_jax.data.annotations.Annotations`.
        detections: the "results" of a detections file (`read_detections`), in seconds:
            {recording: [{"label", "segment": [start, end], "score"}]}.
            A label that the subset's ground truth lacks is ignored (and counted).
        subset: the recordings to score, for example "test"; those without ground truth count too.
        tious: thresholds, above 0 and up to 1.
        protocol: one of PROTOCOLS, see the head of this file.
        left_out: recordings to leave out of the subset, with their ground truth and detections.
        missing: how recordings of the subset count for which `detections` has no key: "missed", none of their
            actions is found, as by the official evaluators; or "left out".
        other_recordings: how detections on recordings outside the subset count: "ignored" (with their number
            in `counts`), as by AFSD's evaluator, or "false positives", as by the official ones.
        devkit_keep: a tIoU above 0, for "thumos14". Of detections of a class that overlap by so much or more,
            the best alone is scored; 1: all are, as by the devkit.
        recall_at: numbers k of `recall_of_best`.

    Returns:
        The content of evaluation.json, numbers in percent and thresholds as keys like "0.5": `protocol` (the
        settings that repeat the score), `map` {threshold: mAP}, `map_avg` (mean over thresholds), `ap`
        {class: {threshold: AP}} for the classes of the subset's ground truth (0 where nothing was detected),
        and `counts`. By "thumos14" these have `detections_per_truth_found`: the number of detections of its
        class that overlap a truth by more than the lowest threshold, averaged over truths with one at least.
        From DENSE on, the devkit's score says little about the detector. With `recall_at` there is also
        `recall_at` {"1x": {threshold: mean of `recall_of_best` over the classes}}, for each k.

    Raises:
        DataError: the subset has no recordings or no ground truth, `left_out` names a recording that it
            lacks, or all recordings are left out.
        ValueError: an argument is none of the values above.
    """
    _require_arguments(protocol, tious, other_recordings, devkit_keep)
    of_devkit = protocol == "thumos14"
    chosen = dict(subset=subset, left_out=left_out, missing=missing)
    recordings, absent = scored_recordings(annotations, detections, **chosen)
    ranks = {name: rank for rank, name in enumerate(sorted({*recordings, *detections}))}
    truths, ignored = truth_tables(recordings, ranks)
    annotated = len(truths)
    if protocol == "detad":
        truths = within_recordings(truths, recordings, ranks)
    require_actions(truths, subset)
    classes = {annotations.classes[label]: label for label in np.unique(truths["label"]).astype(int)}
    scored = {*recordings} if other_recordings == "ignored" else {*ranks} - {*left_out}
    found, not_scored = detection_table(detections, scored, ranks, classes)

    ap_of = {
        "activitynet": activitynet_ap,
        "thumos14": functools.partial(thumos14_ap, ignored=ignored),
        "detad": functools.partial(activitynet_ap, count=len(truths) / len(classes)),
    }
    scored_rows = found if protocol != "detad" else found[np.diff(found["segment_sec"])[:, 0] > 0]
    keys = [f"{threshold:g}" for threshold in tious]
    ap, matches, recall = {}, [], []
    for name, label in classes.items():
        found_k = scored_rows[scored_rows["label"] == label]
        truths_k = truths[truths["label"] == label]
        if of_devkit:
            found_k = _suppressed(found_k, devkit_keep)
            matches.append(_detections_per_truth(found_k, truths_k, min(tious)))
        values = ap_of[protocol](found_k, truths_k, tious)
        ap[name] = {key: 100 * value for key, value in zip(keys, values, strict=True)}
        recall.append([recall_of_best(found_k, truths_k, tious, k) for k in recall_at])
    map_percent = {key: float(np.mean([of_class[key] for of_class in ap.values()])) for key in keys}
    counts = {
        "recordings": len(recordings),
        "recordings_of_subset": len(annotations.subset(subset).recordings),
        "classes": len(classes),
        "ground_truths": len(truths),
        "ground_truths_left_out": annotated - len(truths),
        "ignored_intervals": len(ignored),
        "detections": len(found),
        "detections_with_end_before_start": int(np.sum(np.diff(found["segment_sec"]) < 0)),
        "detections_with_nan_score": int(np.sum(np.isnan(found["score"]))),
        "detections_ignored": not_scored,
    }
    if of_devkit:
        per_truth = np.concatenate(matches)
        counts["detections_per_truth_found"] = float(per_truth.sum() / max((per_truth > 0).sum(), 1))
    means = 100 * np.mean(recall, axis=0)  # (k, threshold)
    recall_percent = {
        f"{k}x": dict(zip(keys, row, strict=True)) for k, row in zip(recall_at, means.tolist(), strict=True)
    }
    return {
        "protocol": {
            "name": protocol,
            "subset": subset,
            "tiou_thresholds": [float(threshold) for threshold in tious],
            "recordings_left_out": sorted(left_out),
            "recordings_missing": absent,
            "missing": missing,
            "detections_on_other_recordings": other_recordings,
            "classes_not_scored": [name for name in annotations.classes if name not in classes],
            **({"devkit_keep": float(devkit_keep)} if of_devkit else {}),
        },
        "map": map_percent,
        "map_avg": float(np.mean(list(map_percent.values()))),
        "ap": ap,
        **({"recall_at": recall_percent} if recall_at else {}),
        "counts": counts,
    }


def activitynet_ap(found, truths, tious, count=None):
    """ActivityNet's `compute_average_precision_detection`: AP in [0, 1] of one class at each threshold.

    A pair without overlap never matches; the reference also takes those where both lengths are 0 (it computes
    0/0).

    Args:
        found: (D,) ROW, the detections of the class.
        truths: (G,) ROW, its ground truths.
        tious: the thresholds.
        count: N of DETAD's normalised `precision`; None: G, which gives the ordinary precision.
    """
    found = by_falling_score(found, nan_as=np.inf)
    hits = match(overlapping_pairs(found, truths), tious, len(found), len(truths)) >= 0
    return average_precision(hits, ~hits, len(truths), count).tolist()


def thumos14_ap(found, truths, tious, ignored):
    """The THUMOS14 devkit's `TH14eventdetpr`: AP in [0, 1] of one class at each threshold.

    Args:
        found: (D,) ROW, the detections of the class.
        truths: (G,) ROW, its ground truths.
        tious: the thresholds.
        ignored: (I,) ROW, the ignored intervals, which belong to every class.
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
    values = []
    for threshold in tious:
        chosen = order[overlap[order] > threshold]
        hits = take_while_free(detection[chosen], truth[chosen], len(found), len(truths)) >= 0
        hits = hits[hits | ~touches_ignored]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        values.append(float(precision[hits].sum() / len(truths)))
    return values


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


def _suppressed(found, keep):
    """(D,) ROW of one class: of detections that overlap by `keep` or more in a recording, the best alone."""
    if keep == 1:
        return found
    scores = np.where(np.isnan(found["score"]), -np.inf, found["score"])
    segments_sec = _with_sorted_ends(found)["segment_sec"]
    return found[np.sort(hard_nms(segments_sec, scores, keep, groups=found["recording"]))]


def _detections_per_truth(found, truths, threshold):
    """(G,) how many detections overlap each of the G truths of one class by a tIoU above the threshold."""
    found, truths = _with_sorted_ends(found), _with_sorted_ends(truths)
    _, truth, overlap = overlapping_pairs(found, truths)
    return np.bincount(truth[overlap > threshold], minlength=len(truths))


PROTOCOLS = ("activitynet", "thumos14", "detad")
OTHER_RECORDINGS = ("ignored", "false positives")
DENSE = 1.5  # published detections of the devkit's time have 1.0 to 1.2, those of soft suppression 2 to 5


def _with_sorted_ends(rows):
    """(N,) ROW whose segments end after they start: the ends of the others are swapped."""
    rows = rows.copy()
    rows["segment_sec"] = np.sort(rows["segment_sec"], axis=1)
    return rows


def _require_arguments(protocol, tious, other_recordings, devkit_keep):
    """Raises ValueError for the first argument of `evaluate_detections` that is none of its values."""
    choices = {"protocol": (protocol, PROTOCOLS), "other_recordings": (other_recordings, OTHER_RECORDINGS)}
    for name, (value, known) in choices.items():
        if value not in known:
            raise ValueError(f"{name} is '{value}'; it must be one of {', '.join(known)}.")
    if not len(tious) or not all(0 < threshold <= 1 for threshold in tious):
        raise ValueError(f"tious is {tuple(tious)}; it must be numbers above 0 and up to 1.")
    if not 0 < devkit_keep <= 1:
        raise ValueError(f"devkit_keep is {devkit_keep}; it must be above 0 and at most 1.")
