"""Detections and truths judged one by one: which are right, and what kind of error the others are."""

import dataclasses
from typing import NamedTuple

import numpy as np

from tal_jax.evaluation import detad, operating_point
from tal_jax.evaluation.recordings import scored_recordings
from tal_jax.evaluation.tables import are_within, detection_table, truth_tables

NOT_COUNTED = -1
TIOU = 0.5  # at which a detection is right, on a page


class Judged(NamedTuple):
    """Detections and truths of the recordings that are scored, matched as by the ActivityNet evaluator.

    Attributes:
      names: of the R recordings, sorted: `matches` has their indices.
      classes: names of the K classes with truths.
      matches: detad.Matches at T thresholds.
      at: detad.Matches at `tiou` alone.
      tiou: the threshold of what follows.
      types: {recording: (n,) int}, of each detection in its order: index into detad.TYPES, or NOT_COUNTED.
      found_at: {recording: (G,) float}, the score of the detection that takes each truth, NaN for none.
      threshold: the score from which on all detections together have the best F1; None where none is right.
    """

    names: list
    classes: list
    matches: detad.Matches
    at: detad.Matches
    tiou: float
    types: dict
    found_at: dict
    threshold: float | None


def judge(annotations, results, which, tious):
    """Judges detections; None where no truth can be scored against.

    Args:
      annotations: `tal_jax.data.annotations.Annotations`.
      results: {recording: [{"label", "segment", "score"}]}.
      which: dict of `subset`, `left_out` and `missing`, see `scored_recordings`.
      tious: T thresholds of `matches`; what else is said is at TIOU.
    """
    recordings, _ = scored_recordings(annotations, results, **which)
    names = sorted(recordings)
    ranks = {name: rank for rank, name in enumerate(names)}
    annotated, _ = truth_tables(recordings, ranks)
    usable = are_within(annotated, recordings, ranks)
    truths = annotated[usable]
    if not len(truths):
        return None
    labels = np.unique(truths["label"]).astype(int)
    classes = [annotations.classes[label] for label in labels]
    index = dict(zip(classes, labels, strict=True))
    own = {name: results.get(name, []) for name in names}
    table, _ = detection_table(own, {*names}, ranks, index)
    places = [(name, i) for name in names for i, d in enumerate(own[name]) if d["label"] in index]
    lasts = np.flatnonzero(np.diff(table["segment_sec"])[:, 0] > 0)
    both = detad.match_all(table[lasts], truths, (*tious, TIOU))
    order = lasts[np.argsort(-table["score"][lasts], kind="stable")]  # as `match_all` ranks them
    matches = dataclasses.replace(both, tious=both.tious[:-1], truth=both.truth[:-1])
    at = dataclasses.replace(both, tious=both.tious[-1:], truth=both.truth[-1:])

    types = {name: np.full(len(found), NOT_COUNTED) for name, found in own.items()}
    for row, kind in zip(order, detad.error_types(at)[0], strict=True):
        name, i = places[row]
        types[name][i] = kind
    scores = np.full(len(annotated), np.nan)
    taken = at.truth[0]
    scores[np.flatnonzero(usable)[taken[taken >= 0]]] = at.found["score"][taken >= 0]
    ends = np.cumsum([len(recordings[name].labels) for name in names])[:-1]
    found_at = dict(zip(names, np.split(scores, ends), strict=True))
    best = operating_point.best_f1(at.found["score"], taken >= 0, len(truths))["score"]
    threshold = None if np.isnan(best) else float(best)
    return Judged(names, classes, matches, at, TIOU, types, found_at, threshold)


def touched(judged, threshold):
    """(G,) bool, the truths that some detection of any class with at least this score overlaps by 0.1."""
    detection, truth, overlap = judged.at.pairs
    seen = np.zeros(len(judged.at.truths), bool)
    seen[truth[(judged.at.found["score"][detection] >= threshold) & (overlap >= 0.1)]] = True
    return seen


class Error(NamedTuple):
    """An error: its type, or "missed" of a truth that no detection overlaps; where and when; and the class of
    the truth that it overlaps most, "" for none.
    """

    kind: str
    recording: str
    time_sec: float
    overlaps: str


def errors_of(judged, k, threshold):
    """The Errors of class k among detections with at least this score, and truths of it that are missed."""
    found, truths = judged.at.found, judged.at.truths
    detection, truth, overlap = judged.at.pairs
    order = np.lexsort((overlap, detection))
    most = dict(zip(detection[order].tolist(), truth[order].tolist()))  # the last one, of highest tIoU, stays
    name_of = dict(zip(judged.at.labels.tolist(), judged.classes, strict=True))
    types, label = detad.error_types(judged.at)[0], judged.at.labels[k]
    wrong = np.flatnonzero((found["label"] == label) & (found["score"] >= threshold) & (types > 0))
    missed = np.flatnonzero((truths["label"] == label) & ~touched(judged, threshold))
    place = lambda row: (judged.names[int(row["recording"])], float(row["segment_sec"][0]))
    on = lambda i: name_of[float(truths["label"][most[i]])] if i in most else ""
    errors = [Error(detad.TYPES[types[i]], *place(found[i]), on(i)) for i in wrong.tolist()]
    return errors + [Error("missed", *place(truths[i]), "") for i in missed]
