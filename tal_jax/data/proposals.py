"""Proposals: segments in which something may happen, what two-stage systems start from; read, checked,
written, and made.

Any system's candidates can be the proposals of another (`from_candidates`), and so can the groups of an
actionness sequence (`ops.grouping`). `evaluation.proposals` scores them.
"""

import dataclasses
import pathlib

import numpy as np

from tal_jax.data import proposal_files
from tal_jax.data.detections_file import write_detections
from tal_jax.data.names import match_names_of_file
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
        """Those in `rows`: a slice, indices or a mask."""
        return Proposals(
            self.segments_sec[rows], self.scores[rows], None if self.labels is None else self.labels[rows]
        )

    def within(self, duration_sec):
        """Those that have a length before the end of the recording, cut there."""
        kept = self.take(self.segments_sec[:, 0] < duration_sec)
        return dataclasses.replace(kept, segments_sec=np.minimum(kept.segments_sec, duration_sec))


@dataclasses.dataclass(frozen=True)
class Report:
    """What a file of proposals held; as text, a sentence or two.

    Attributes:
        rows: proposals in the file.
        kept: those that were not dropped.
        cut: those of the kept that reached over an end of their recording.
        dropped: reason -> number, for all reasons.
        unknown: names of recordings in the file that the annotations lack.
        without_proposals: names of annotated recordings for which nothing is left.
        absent: names of annotated recordings that the file lacks; one with an empty list is there.
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
        dropped = (
            ", ".join(f"{number} {reason}" for reason, number in self.dropped.items() if number) or "none"
        )
        with_some = self.recordings - len(self.without_proposals)
        lacking = (
            f" Not in the annotations: {', '.join(self.unknown[:3])}{', …' * (len(self.unknown) > 3)}."
            if self.unknown
            else ""
        )
        return (
            f"{self.rows} proposals read, {self.kept} kept, in {with_some} of {self.recordings} recordings; "
            f"dropped: {dropped}; cut at an end of their recording: {self.cut}.{lacking}"
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
    blocks = proposal_files.read_blocks(path)
    proposals, report = match_blocks(path, blocks, annotations)
    if blocks and len(report.unknown) == len(blocks):
        raise DataError(
            f"{path}: none of its recordings is in the annotations. Its first is '{blocks[0].name}', that of "
            f"the annotations "
            f"'{next(iter(proposals), '')}'; correct the names or choose other annotations."
        )
    return proposals, report


def match_blocks(path, blocks, annotations):
    """`read_proposals` of the Blocks of a file, read already; all of its recordings may be unknown."""
    parts = {name: [] for name in annotations.recordings}
    dropped = dict.fromkeys((LACKING, NO_LENGTH, NOT_FINITE, EMPTY, OUTSIDE), 0)
    unknown, cut, named = [], 0, set()
    known = match_names_of_file(path, [block.name for block in blocks], parts)
    for block in blocks:
        name = known[block.name]
        named.add(name)
        extent = block.extent(annotations.recordings[name]) if name else None
        if extent is None:
            dropped[NO_LENGTH if name else LACKING] += len(block.scores)
            unknown += [] if name else [block.name]
            continue
        keep = _what_to_keep(block, extent[0], dropped)
        cut += int(np.sum((block.segments[keep] < 0) | (block.segments[keep] > extent[0])))
        parts[name].append(
            _in_seconds(block, keep, *extent, annotations.recordings[name].duration_sec, annotations.classes)
        )
    proposals = {name: _joined(found) for name, found in parts.items()}
    counts = {name: len(found.scores) for name, found in proposals.items()}
    without = tuple(name for name, count in counts.items() if not count)
    rows = sum(len(block.scores) for block in blocks)
    absent = tuple(name for name in counts if name not in named)
    return proposals, Report(
        rows, sum(counts.values()), cut, dropped, tuple(unknown), without, absent, len(counts)
    )


def require_proposals(config, dataset):
    """The dataset's proposals. Raises DataError if it has none."""
    if dataset.proposals is None:
        raise DataError(
            f"{config.system} starts from proposals; set --config.proposals=FILE. --mode=propose makes them "
            f"with any trained system."
        )
    return dataset.proposals


def proposals_of(config, dataset, name):
    """The proposals of a recording, within it.

    A duration that is not annotated follows from the features. They are read here, when the recording is
    used, not with the file of proposals. Raises DataError if the dataset has no proposals.
    """
    return require_proposals(config, dataset)[name].within(dataset.duration_sec(name))


def _what_to_keep(block, length, dropped):
    """(N,) bool; adds to `dropped` for which reasons the others go. length: of the recording in the unit of
    the block.
    """
    start, end = block.segments.T
    reasons = {
        NOT_FINITE: ~(np.isfinite(block.segments).all(axis=1) & np.isfinite(block.scores)),
        EMPTY: ~(end > start),
        OUTSIDE: (start >= length) | (end <= 0),
    }
    keep = np.ones(len(start), bool)
    for reason, applies in reasons.items():
        dropped[reason] += int(np.sum(keep & applies))
        keep &= ~applies
    return keep


def _in_seconds(block, keep, length, seconds_per_unit, duration_sec, classes):
    segments_sec = np.clip(block.segments[keep], 0, length) * seconds_per_unit
    # which the product may pass by a last digit
    segments_sec = np.minimum(segments_sec, duration_sec or np.inf)
    labels = None
    if any(block.labels):
        index = {label: k for k, label in enumerate(classes)}
        labels = np.array([index.get(label, -1) for label in block.labels], np.int32)[keep]
    return Proposals(segments_sec, block.scores[keep], labels)


def _joined(found):
    """One Proposals of several of one recording, best first."""
    labels = None
    if any(p.labels is not None for p in found):
        labels = np.concatenate(
            [np.full(len(p.scores), -1, np.int32) if p.labels is None else p.labels for p in found]
        )
    segments_sec = np.concatenate([np.zeros((0, 2)), *(p.segments_sec for p in found)])
    joined = Proposals(segments_sec, np.concatenate([np.zeros(0), *(p.scores for p in found)]), labels)
    return joined.take(np.argsort(-joined.scores, kind="stable"))


def write_proposals(path, proposals, annotations):
    """Writes proposals so that `read_proposals` gives them back; an interrupted write leaves what was there.

    Args:
        path: ends in .json: all of them; in .txt: the list of SSN and P-GCN, in frames, with the overlaps
            with the ground truth but without scores; without an ending: a folder of CSV files in seconds,
            which must not be there yet.
        proposals: {recording: Proposals}.
        annotations: their `Annotations`.

    Raises:
        DataError: another ending, a recording that is not annotated, or what the form cannot hold.
    """
    unknown = [name for name in proposals if name not in annotations.recordings]
    if unknown:
        raise DataError(f"Cannot write {path}: recording '{unknown[0]}' is not in the annotations.")
    suffix = pathlib.Path(path).suffix
    if suffix == ".json":
        write_detections(
            path, {name: _results(found, annotations.classes) for name, found in proposals.items()}
        )
    elif suffix == ".txt":
        proposal_files.write_list(path, proposals, annotations)
    elif not suffix:
        proposal_files.write_csv_folder(path, proposals)
    else:
        raise DataError(
            f"Cannot write {path}: it must end in .json or .txt, or be a folder, without an ending."
        )


def _results(found, classes):
    labels = [-1] * len(found.scores) if found.labels is None else found.labels
    return [
        {"segment": segment, "score": score} | ({"label": classes[label]} if label >= 0 else {})
        for segment, score, label in zip(
            found.segments_sec.tolist(), found.scores.tolist(), labels, strict=True
        )
    ]


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
    return {name: _proposed(*found, duration_sec(name), most, nms_tiou) for name, found in candidates.items()}


def _proposed(segments_sec, classes, scores, duration_sec, most, nms_tiou):
    segments_sec, scores = np.asarray(segments_sec, np.float64).reshape(-1, 2), np.asarray(scores, np.float64)
    labels = None if classes is None else np.asarray(classes, np.int32)
    finite = np.isfinite(segments_sec).all(axis=1) & np.isfinite(scores)
    segments_sec = np.clip(segments_sec, 0, duration_sec)
    found = Proposals(segments_sec, scores, labels).take(finite & (segments_sec[:, 1] > segments_sec[:, 0]))
    return found.take(hard_nms(found.segments_sec, found.scores, nms_tiou)[:most])
