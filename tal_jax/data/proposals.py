"""Proposals: segments in which something may happen, from which two-stage systems start.

They are read, checked, written and made here. Any system's candidates can be the proposals of another
(`from_candidates`), and so can the groups of an actionness sequence (`ops.grouping`). `evaluation.proposals`
scores them.
"""

import dataclasses

import numpy as np

from tal_jax.data.detections_file import write_detections
from tal_jax.data.names import match_names_of_file
from tal_jax.data.proposal_files import read_blocks
from tal_jax.errors import DataError
from tal_jax.ops.nms import hard_nms

LACKING, NO_LENGTH = "of recordings that the annotations lack", "of recordings without length or frame rate"
NOT_FINITE, EMPTY, OUTSIDE = "not finite", "empty or reversed", "outside their recording"


@dataclasses.dataclass(frozen=True)
class Proposals:
    """The proposals of one recording, best first: by falling score, of equal ones in file order.

    Attributes:
        segments_sec: (N, 2) float64, start < end, within the recording; where its duration is not annotated,
            and before `proposals_of`, they may pass its end. N may be 0.
        scores: (N,) float64, finite; 1 where the file has none.
        labels: (N,) int32, 0-based indices into `Annotations.classes`, -1 where the file names no class of
            theirs; None where it names none at all.
    """

    segments_sec: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None = None

    def take(self, rows):
        """The Proposals in `rows`: a slice, indices or a mask."""
        labels = None if self.labels is None else self.labels[rows]
        return Proposals(self.segments_sec[rows], self.scores[rows], labels)


@dataclasses.dataclass(frozen=True)
class Report:
    """The counts of what a file of proposals held; as text, a sentence or two.

    Attributes:
        rows: proposals in the file.
        kept: those that were not dropped.
        cut: ends of kept proposals that lay outside their recording.
        dropped: reason -> number, for all reasons.
        unknown: names of recordings in the file that the annotations lack.
        without_proposals: names of annotated recordings for which nothing is left.
        absent: names of annotated recordings that the file lacks; one with an empty list is not absent.
        recordings: number of annotated recordings.
    """

    rows: int
    kept: int
    cut: int
    dropped: dict
    unknown: tuple
    without_proposals: tuple
    absent: tuple
    recordings: int

    def __str__(self):
        dropped = ", ".join(f"{number} {reason}" for reason, number in self.dropped.items() if number)
        with_some = self.recordings - len(self.without_proposals)
        more = ", …" if len(self.unknown) > 3 else ""
        lacking = f" Not in the annotations: {', '.join(self.unknown[:3])}{more}." if self.unknown else ""
        return (
            f"{self.rows} proposals read, {self.kept} kept, in {with_some} of {self.recordings} recordings; "
            f"dropped: {dropped or 'none'}; cut at an end of their recording: {self.cut}.{lacking}"
        )


def read_proposals(path, annotations):
    """Reads and checks proposals; the form of the file is seen from its name and first line.

    Args:
        path: a .json file as the ActivityNet evaluator takes it, a text list as of SSN and P-GCN or of rows
            `recording start end` (either may be .xz), or a folder of NAME.csv as of BSN, BMN and TCANet.
            docs/data.md shows them.
        annotations: `Annotations`, which give the recordings, their lengths and the classes. A recording may
            be called v_NAME, NAME.mp4 or name in one and NAME in the other, see `names.match_names`.

    Returns:
        ({recording: Proposals} for every annotated recording, Report).

    Raises:
        DataError: the file is missing or of another form, two of its names mean one recording, or all of its
            recordings are unknown.
    """
    return match_blocks(path, read_blocks(path), annotations)


def match_blocks(path, blocks, annotations):
    """`read_proposals` of the Blocks of a file, read already."""
    recordings, index = annotations.recordings, {label: k for k, label in enumerate(annotations.classes)}
    known = match_names_of_file(path, [block.name for block in blocks], recordings)
    parts, labels = {name: [np.zeros((0, 3))] for name in recordings}, {}
    dropped = dict.fromkeys((LACKING, NO_LENGTH, NOT_FINITE, EMPTY, OUTSIDE), 0)
    num_rows = cut = 0
    for block in blocks:
        name, rows = known[block.name], np.array(block.rows, np.float64).reshape(-1, 3)
        num_rows += len(rows)
        extent = block.extent(recordings[name]) if name else None
        if extent is None:
            dropped[NO_LENGTH if name else LACKING] += len(rows)
            continue
        length, seconds_per_unit = extent
        start, end, _ = rows.T
        keep = np.ones(len(rows), bool)
        for reason, applies in (
            (NOT_FINITE, ~np.isfinite(rows).all(axis=1)),
            (EMPTY, ~(end > start)),
            (OUTSIDE, (start >= length) | (end <= 0)),
        ):
            dropped[reason] += int(np.sum(keep & applies))
            keep &= ~applies
        segments, scores = rows[keep, :2], rows[keep, 2]
        cut += int(np.sum((segments < 0) | (segments > length)))
        segments_sec = np.clip(segments, 0, length) * seconds_per_unit
        # The product may pass the duration by a last digit.
        segments_sec = np.minimum(segments_sec, recordings[name].duration_sec or np.inf)
        parts[name].append(np.column_stack([segments_sec, scores]))
        if block.labels:
            labels[name] = np.array([index.get(label, -1) for label in block.labels], np.int32)[keep]
    proposals, named = {}, {*known.values()}
    for name, rows in parts.items():
        rows = np.concatenate(rows)
        best_first = np.argsort(-rows[:, 2], kind="stable")
        proposals[name] = Proposals(rows[:, :2], rows[:, 2], labels.get(name)).take(best_first)
    return proposals, Report(
        rows=num_rows,
        kept=num_rows - sum(dropped.values()),
        cut=cut,
        dropped=dropped,
        unknown=tuple(block.name for block in blocks if known[block.name] is None),
        without_proposals=tuple(name for name, found in proposals.items() if not len(found.scores)),
        absent=tuple(name for name in recordings if name not in named),
        recordings=len(recordings),
    )


def require_proposals(config, dataset):
    """The dataset's proposals. Raises DataError if it has none."""
    if dataset.proposals is None:
        what_to_do = "set --config.proposals=FILE. --mode=propose makes them with any trained system"
        raise DataError(f"{config.system} starts from proposals; {what_to_do}.")
    return dataset.proposals


def proposals_of(config, dataset, name):
    """The Proposals of a recording that begin before its end, cut there.

    A duration that is not annotated follows from the features. They are read here, when the recording is
    used, not with the file of proposals. Raises DataError if the dataset has no proposals.
    """
    found, duration_sec = require_proposals(config, dataset)[name], dataset.duration_sec(name)
    kept = found.take(found.segments_sec[:, 0] < duration_sec)
    return dataclasses.replace(kept, segments_sec=np.minimum(kept.segments_sec, duration_sec))


def write_proposals(path, proposals, annotations):
    """Writes a JSON file that `read_proposals` gives back exactly; an interrupted write leaves the old one.

    Args:
        path: the file.
        proposals: {recording: Proposals}.
        annotations: `Annotations`, which name the classes of the labels.
    """
    results = {}
    for name, found in proposals.items():
        labels = [-1] * len(found.scores) if found.labels is None else found.labels
        results[name] = [
            {"segment": segment, "score": score} | ({"label": annotations.classes[k]} if k >= 0 else {})
            for segment, score, k in zip(
                found.segments_sec.tolist(), found.scores.tolist(), labels, strict=True
            )
        ]
    write_detections(path, results)


def from_candidates(candidates, duration_sec, *, most, nms_tiou=0.95):
    """Proposals of a trained system's candidates, or of groups of actionness: NMS over all classes together.

    A segment that several classes claim stays once, with the best score and its class.

    Args:
        candidates: {recording: (segments_sec (M, 2), classes (M,) or None, scores (M,))}, as
            `Detector.candidates` returns them. Those that are not finite or have no length within the
            recording are left out.
        duration_sec: recording -> its length in seconds, see `features.Dataset.duration_sec`.
        most: at most so many proposals of a recording.
        nms_tiou: a candidate whose tIoU with a better one is at least that is left out.

    Returns:
        {recording: Proposals}.
    """
    proposals = {}
    for name, (segments_sec, classes, scores) in candidates.items():
        segments_sec = np.asarray(segments_sec, np.float64).reshape(-1, 2)
        scores = np.asarray(scores, np.float64)
        finite = np.isfinite(segments_sec).all(axis=1) & np.isfinite(scores)
        segments_sec = np.clip(segments_sec, 0, duration_sec(name))
        found = Proposals(segments_sec, scores, None if classes is None else np.asarray(classes, np.int32))
        found = found.take(finite & (segments_sec[:, 1] > segments_sec[:, 0]))
        proposals[name] = found.take(hard_nms(found.segments_sec, found.scores, nms_tiou)[:most])
    return proposals
