"""Detection mAP by the two published protocols of the field: the ActivityNet evaluator and the THUMOS14
devkit.

Both match detections and ground truths of one class one to one and average precision over recall. A score is
only worth something together with its protocol, for they differ in almost every detail:

|                                             | activitynet (`eval_detection.py`) | thumos14 (`TH14evalDet`)      |
|---------------------------------------------|-----------------------------------|-------------------------------|
| who chooses, in turn                        | detections by falling score       | truths as listed              |
| chosen is the free one of highest tIoU, if  | tIoU >= threshold                 | tIoU > threshold              |
| precision at a recall                       | the best there or beyond          | the one there                 |
| unmatched detection touching an ignored one | false positive                    | left out                      |
| detection with end < start                  | overlaps nothing: false positive  | its ends are swapped          |
| detection with score NaN                    | ranks first                       | ranks last                    |
| equal tIoU, the choice falls on             | the later truth                   | the higher score              |

The first line matters most. The devkit gives each truth the detection of highest overlap, whatever its score.
All others that overlap the truth are false positives, though they may have the higher scores. Where
suppression was hard, one detection of a class overlaps a truth, and the protocols agree within a few points.
Where it was soft, many do, and the devkit's score collapses. `devkit_keep` suppresses before the devkit
matches; docs/data.md has figures.

An ignored one is an interval with an ignored label (`Ambiguous`): neither protocol has it among the truths.

A detection in a recording without truths is a false positive in both. AFSD's copy of the ActivityNet
evaluator drops it. The two agree where every recording has truths, or where `left_out` names those that have
none.

Equal scores rank by the recording's name, then by position in its list: the devkit's order, which the
ActivityNet evaluator leaves to an unstable sort.
"""

import dataclasses

import numpy as np

from tal_jax.evaluation.recordings import require_actions, scored_recordings
from tal_jax.ops.nms import hard_nms
from tal_jax.ops.segments import overlap_and_union, tiou


@dataclasses.dataclass(frozen=True)
class _Table:
    """Detections or ground truths of many recordings, ordered by recording and then as they were given."""

    recordings: np.ndarray  # (N,) rank of the recording's name
    labels: np.ndarray  # (N,)
    segments_sec: np.ndarray  # (N, 2)
    scores: np.ndarray  # (N,), 1 for ground truths

    @classmethod
    def from_rows(cls, rows):
        """`rows` is a list of (recording, label, start_sec, end_sec, score)."""
        columns = np.array(rows, np.float64).reshape(-1, 5)
        return cls(columns[:, 0], columns[:, 1], columns[:, 2:4], columns[:, 4])

    def __len__(self):
        return len(self.labels)

    def take(self, rows):
        return _Table(self.recordings[rows], self.labels[rows], self.segments_sec[rows], self.scores[rows])

    def by_falling_score(self, nan_as):
        return self.take(np.argsort(-np.where(np.isnan(self.scores), nan_as, self.scores), kind="stable"))

    def with_sorted_ends(self):
        return dataclasses.replace(self, segments_sec=np.sort(self.segments_sec, axis=1))


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
):
    """Scores detections against the ground truth of one subset.

    Args:
        annotations: `tal_jax.data.annotations.Annotations`.
        detections: the "results" of a detections file (`read_detections`), in seconds:
            {recording: [{"label", "segment": [start, end], "score"}]}.
            A label that the subset's ground truth lacks is ignored (and counted).
        subset: the recordings to score, for example "test"; those without ground truth count too.
        tious: thresholds, above 0 and up to 1.
        protocol: "activitynet" or "thumos14", see the head of this file.
        left_out: recordings to leave out of the subset, with their ground truth and detections.
        missing: what recordings of the subset are that `detections` has no key for: "missed", their actions
            count as not found, as by the official evaluators; or "left out".
        other_recordings: what detections on recordings outside the subset are: "ignored" (and counted), as by
            AFSD's evaluator, or "false positives", as by the two official ones.
        devkit_keep: for "thumos14": of detections of a class that overlap by this tIoU or more, above 0, the
            best alone is scored; 1: all are, as by the devkit.

    Returns:
        What evaluation.json holds, numbers in percent and thresholds as keys like "0.5": `protocol` (what one
        needs to repeat the score), `map` {threshold: mAP}, `map_avg` (mean over thresholds), `ap` {class:
        {threshold: AP}} for the classes of the subset's ground truth (0 where nothing was detected), and
        `counts`. By "thumos14" these have `detections_per_truth_found`, how many detections of its class
        overlap a truth by more than the lowest threshold, the mean over truths that one does; from DENSE on
        the devkit's score says little about the detector.

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
    truths, ignored = _truth_tables(recordings, ranks)
    require_actions(truths, subset)
    classes = {annotations.classes[label]: label for label in np.unique(truths.labels).astype(int)}
    scored = {*recordings} if other_recordings == "ignored" else {*ranks} - {*left_out}
    found, not_scored = _detection_table(detections, scored, ranks, classes)

    keys = [f"{threshold:g}" for threshold in tious]
    ap, matches = {}, []
    for name, label in classes.items():
        found_k, truths_k = found.take(found.labels == label), truths.take(truths.labels == label)
        if of_devkit:
            found_k = _suppressed(found_k, devkit_keep)
            matches.append(_detections_per_truth(found_k, truths_k, min(tious)))
        values = PROTOCOLS[protocol](found_k, truths_k, ignored, tious)
        ap[name] = {key: 100 * value for key, value in zip(keys, values, strict=True)}
    per_truth = np.concatenate(matches) if of_devkit else np.zeros(0)
    map_percent = {key: float(np.mean([of_class[key] for of_class in ap.values()])) for key in keys}
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
        "counts": {
            "recordings": len(recordings),
            "recordings_of_subset": len(annotations.subset(subset).recordings),
            "classes": len(classes),
            "ground_truths": len(truths),
            "ignored_intervals": len(ignored),
            "detections": len(found),
            "detections_with_end_before_start": int(
                np.sum(found.segments_sec[:, 1] < found.segments_sec[:, 0])
            ),
            "detections_with_nan_score": int(np.sum(np.isnan(found.scores))),
            "detections_ignored": not_scored,
            **(
                {"detections_per_truth_found": float(per_truth.sum() / max((per_truth > 0).sum(), 1))}
                if of_devkit
                else {}
            ),
        },
    }


def activitynet_ap(found, truths, ignored, tious):
    """ActivityNet's `compute_average_precision_detection`: AP in [0, 1] of one class at each threshold.

    A pair without overlap never matches; the reference also takes those where both lengths are 0 (it computes
    0/0).

    Args:
        found: `_Table` of the D detections of the class.
        truths: `_Table` of its G ground truths.
        ignored: not used, this protocol does not know ignored intervals.
        tious: the thresholds.
    """
    found = found.by_falling_score(nan_as=np.inf)
    detection, truth = _overlapping_pairs(found, truths)  # (P,)
    overlap = tiou(found.segments_sec[detection], truths.segments_sec[truth])
    order = np.lexsort((-truth, -overlap, detection))
    values = []
    for threshold in tious:
        chosen = order[overlap[order] >= threshold]
        hits = _take_while_free(detection[chosen], truth[chosen], len(found), len(truths))
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        best_precision = np.maximum.accumulate(precision[::-1])[::-1]
        values.append(float(best_precision[hits].sum() / len(truths)))
    return values


def thumos14_ap(found, truths, ignored, tious):
    """The THUMOS14 devkit's `TH14eventdetpr`: AP in [0, 1] of one class at each threshold.

    Args:
        found: `_Table` of the D detections of the class.
        truths: `_Table` of its G ground truths.
        ignored: `_Table` of the ignored intervals, which belong to every class.
        tious: the thresholds.
    """
    found, truths = found.by_falling_score(nan_as=-np.inf).with_sorted_ends(), truths.with_sorted_ends()
    touches_ignored = np.zeros(len(found), bool)
    touches_ignored[_overlapping_pairs(found, ignored.with_sorted_ends())[0]] = True
    detection, truth = _overlapping_pairs(found, truths)  # (P,)
    found_sec, truth_sec = found.segments_sec[detection], truths.segments_sec[truth]
    shared_sec, _ = overlap_and_union(found_sec, truth_sec)
    # The union as the devkit takes it, since rounding decides the pairs whose tIoU is just the threshold.
    union_sec = np.maximum(found_sec[:, 1], truth_sec[:, 1]) - np.minimum(found_sec[:, 0], truth_sec[:, 0])
    overlap = shared_sec / union_sec
    order = np.lexsort((detection, -overlap, truth))
    values = []
    for threshold in tious:
        chosen = order[overlap[order] > threshold]
        hits = _take_while_free(detection[chosen], truth[chosen], len(found), len(truths))
        hits = hits[hits | ~touches_ignored]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        values.append(float(precision[hits].sum() / len(truths)))
    return values


def _suppressed(found, keep):
    """The detections of one class that are left where of those that overlap by `keep` or more, in a
    recording, the best stays.
    """
    if keep == 1:
        return found
    scores = np.where(np.isnan(found.scores), -np.inf, found.scores)
    segments_sec = found.with_sorted_ends().segments_sec
    return found.take(np.sort(hard_nms(segments_sec, scores, keep, groups=found.recordings)))


def _detections_per_truth(found, truths, threshold):
    """(G,) how many detections overlap each of the G truths of one class by a tIoU above the threshold."""
    found, truths = found.with_sorted_ends(), truths.with_sorted_ends()
    detection, truth = _overlapping_pairs(found, truths)
    near = tiou(found.segments_sec[detection], truths.segments_sec[truth]) > threshold
    return np.bincount(truth[near], minlength=len(truths))


PROTOCOLS = {"activitynet": activitynet_ap, "thumos14": thumos14_ap}
OTHER_RECORDINGS = ("ignored", "false positives")
DENSE = 1.5  # published detections of the devkit's time have 1.0 to 1.2, those of soft suppression 2 to 5


def _overlapping_pairs(found, truths):
    """Each detection with each truth of its recording that it overlaps: rows of the two tables, (P,) each.

    `truths` is ordered by recording.
    """
    first = np.searchsorted(truths.recordings, found.recordings, "left")
    count = np.searchsorted(truths.recordings, found.recordings, "right") - first
    detection = np.repeat(np.arange(len(found)), count)
    truth = np.arange(len(detection)) - np.repeat(np.cumsum(count) - count - first, count)
    overlaps = overlap_and_union(found.segments_sec[detection], truths.segments_sec[truth])[0] > 0
    return detection[overlaps], truth[overlaps]


def _take_while_free(detection, truth, num_detections, num_truths):
    """Walks through pairs in their order and takes each whose two sides are still free.

    Returns:
        (num_detections,) bool, the detections that were taken.
    """
    detection_free, truth_free = [True] * num_detections, [True] * num_truths
    for d, t in zip(detection.tolist(), truth.tolist(), strict=True):
        if detection_free[d] and truth_free[t]:
            detection_free[d] = truth_free[t] = False
    return ~np.array(detection_free, bool)


def _require_arguments(protocol, tious, other_recordings, devkit_keep):
    """Raises ValueError for the first argument of `evaluate_detections` that is none of its values."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol is '{protocol}'; it must be one of {', '.join(PROTOCOLS)}.")
    if not len(tious) or not all(0 < threshold <= 1 for threshold in tious):
        raise ValueError(f"tious is {tuple(tious)}; it must be numbers above 0 and up to 1.")
    if other_recordings not in OTHER_RECORDINGS:
        raise ValueError(
            f"other_recordings is '{other_recordings}'; it must be one of {', '.join(OTHER_RECORDINGS)}."
        )
    if not 0 < devkit_keep <= 1:
        raise ValueError(f"devkit_keep is {devkit_keep}; it must be above 0 and at most 1.")


def _truth_tables(recordings, ranks):
    """The `_Table` of ground truths and the one of ignored intervals, whose labels are all 0."""
    truths, ignored = [], []
    for name in sorted(recordings):
        recording = recordings[name]
        for label, segment_sec in zip(recording.labels, recording.segments_sec, strict=True):
            truths.append((ranks[name], label, *segment_sec, 1))
        ignored += [(ranks[name], 0, *segment_sec, 1) for segment_sec in recording.ignored_sec]
    return _Table.from_rows(truths), _Table.from_rows(ignored)


def _detection_table(detections, scored, ranks, classes):
    """The `_Table` of detections with a recording in `scored` and a label in `classes`, and the number of the
    others.
    """
    rows, not_scored = [], {"on_other_recordings": 0, "with_unknown_label": 0}
    for name in sorted(detections):
        if name not in scored:
            not_scored["on_other_recordings"] += len(detections[name])
            continue
        for detection in detections[name]:
            if detection["label"] in classes:
                rows.append(
                    (ranks[name], classes[detection["label"]], *detection["segment"], detection["score"])
                )
            else:
                not_scored["with_unknown_label"] += 1
    return _Table.from_rows(rows), not_scored
