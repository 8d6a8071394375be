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

from typing import NamedTuple

import numpy as np

from tal_jax.evaluation.class_ap import (
    activitynet_ap,
    activitynet_hits,
    detections_per_truth,
    recall_of_best,
    suppressed,
    thumos14_ap,
    thumos14_hits,
)
from tal_jax.evaluation.matching import best_precision, precision
from tal_jax.evaluation.recordings import require_actions, scored_recordings
from tal_jax.evaluation.tables import detection_table, truth_tables, within_recordings

PROTOCOLS = ("activitynet", "thumos14", "detad")
OTHER_RECORDINGS = ("ignored", "false positives")
DENSE = 1.5  # published detections of the devkit's time have 1.0 to 1.2, those of soft suppression 2 to 5


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
    chosen = dict(subset=subset, left_out=left_out, missing=missing)
    recordings, absent, tables = _tables(annotations, detections, chosen, protocol, other_recordings)
    truths, ignored, found, classes = tables.truths, tables.ignored, tables.found, tables.classes
    of_devkit = protocol == "thumos14"
    keys = [f"{threshold:g}" for threshold in tious]
    ap, matches, recall = {}, [], []
    for name in classes:
        found_k, truths_k = tables.of_class(name, devkit_keep)
        if of_devkit:
            matches.append(detections_per_truth(found_k, truths_k, min(tious)))
            values = thumos14_ap(found_k, truths_k, tious, ignored)
        else:
            values = activitynet_ap(found_k, truths_k, tious, tables.count)
        ap[name] = {key: 100 * value for key, value in zip(keys, values, strict=True)}
        recall.append([recall_of_best(found_k, truths_k, tious, k) for k in recall_at])
    map_percent = {key: float(np.mean([of_class[key] for of_class in ap.values()])) for key in keys}
    counts = {
        "recordings": len(recordings),
        "recordings_of_subset": len(annotations.subset(subset).recordings),
        "classes": len(classes),
        "ground_truths": len(truths),
        "ground_truths_left_out": tables.annotated - len(truths),
        "ignored_intervals": len(ignored),
        "detections": len(found),
        "detections_with_end_before_start": int(np.sum(np.diff(found["segment_sec"]) < 0)),
        "detections_with_nan_score": int(np.sum(np.isnan(found["score"]))),
        "detections_ignored": tables.not_scored,
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


class _Tables(NamedTuple):
    """The truths and the detections that a protocol scores.

    Attributes:
        truths: (G,) ROW.
        ignored: (I,) ROW, the ignored intervals.
        found: (D,) ROW, the detections in scored recordings, of classes with truths.
        classes: {name: label} of the truths.
        annotated: the number of truths before some are left out.
        not_scored: {why: number of detections}.
        protocol: one of PROTOCOLS.
        count: N of the normalised `precision`; None: the precision is the ordinary one.
    """

    truths: np.ndarray
    ignored: np.ndarray
    found: np.ndarray
    classes: dict
    annotated: int
    not_scored: dict
    protocol: str
    count: float | None

    def of_class(self, name, devkit_keep):
        """(detections, truths) of a class, as the protocol matches them. devkit_keep: of "thumos14"."""
        found, label = self.found, self.classes[name]
        if self.protocol == "detad":
            found = found[np.diff(found["segment_sec"])[:, 0] > 0]
        found = found[found["label"] == label]
        if self.protocol == "thumos14":
            found = suppressed(found, devkit_keep)
        return found, self.truths[self.truths["label"] == label]


def _tables(annotations, detections, chosen, protocol, other_recordings):
    """({name: Recording} that are scored, names of the missing ones, _Tables).

    Args: see `evaluate_detections`; chosen: the arguments of `scored_recordings`.
    """
    recordings, absent = scored_recordings(annotations, detections, **chosen)
    ranks = {name: rank for rank, name in enumerate(sorted({*recordings, *detections}))}
    truths, ignored = truth_tables(recordings, ranks)
    annotated = len(truths)
    if protocol == "detad":
        truths = within_recordings(truths, recordings, ranks)
    require_actions(truths, chosen["subset"])
    classes = {annotations.classes[label]: label for label in np.unique(truths["label"]).astype(int)}
    scored = {*recordings} if other_recordings == "ignored" else {*ranks} - {*chosen["left_out"]}
    found, not_scored = detection_table(detections, scored, ranks, classes)
    count = len(truths) / len(classes) if protocol == "detad" else None
    tables = _Tables(truths, ignored, found, classes, annotated, not_scored, protocol, count)
    return recordings, absent, tables


def precision_recall(
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
):
    """The curves whose areas are the AP of `evaluate_detections`, which has the same arguments and errors.

    Returns:
        {class: {threshold: (recall (n,), precision (n,))}}, fractions, at each of the n truths that are
        found, by falling score of their detections. The precision is the one that the protocol averages: the
        sum of it, divided by the number of truths, is the AP. Thresholds are keys like "0.5".
    """
    _require_arguments(protocol, tious, other_recordings, devkit_keep)
    chosen = dict(subset=subset, left_out=left_out, missing=missing)
    *_, tables = _tables(annotations, detections, chosen, protocol, other_recordings)
    of_devkit, curves = protocol == "thumos14", {}
    for name in tables.classes:
        found_k, truths_k = tables.of_class(name, devkit_keep)
        if of_devkit:
            hits = thumos14_hits(found_k, truths_k, tious, tables.ignored)
        else:
            hits = activitynet_hits(found_k, truths_k, tious)
        of_class = {}
        for threshold, right in zip(tious, hits, strict=True):
            function, count = (precision if of_devkit else best_precision), tables.count
            recall = np.arange(1, right.sum() + 1) / len(truths_k)
            of_class[f"{threshold:g}"] = recall, function(right, ~right, len(truths_k), count)[right]
        curves[name] = of_class
    return curves


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
