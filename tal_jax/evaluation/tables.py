"""Tables of ground truths and of detections, as the protocols of detection mAP take them."""

import numpy as np

# A detection, or a ground truth with score 1: the rank of its recording's name, class, seconds and score.
# Tables of them are ordered by recording, and then as they were given.
ROW = np.dtype([("recording", float), ("label", float), ("segment_sec", float, 2), ("score", float)])


def truth_tables(recordings, ranks):
    """(G,) ROW, the ground truths of recordings, and (I,) ROW, their ignored intervals, whose label is 0.

    ranks: {name: rank of the recording's name}.
    """
    truths, ignored = [], []
    for name in sorted(recordings):
        recording = recordings[name]
        labelled = zip(recording.labels, recording.segments_sec, strict=True)
        truths += [(ranks[name], label, *segment_sec, 1) for label, segment_sec in labelled]
        ignored += [(ranks[name], 0, *segment_sec, 1) for segment_sec in recording.ignored_sec]
    return _table(truths), _table(ignored)


def within_recordings(truths, recordings, ranks):
    """Those of (G,) ROW that last, and no longer than their recording where its length is known."""
    return truths[are_within(truths, recordings, ranks)]


def are_within(truths, recordings, ranks):
    """(G,) bool, which of ROW `within_recordings` keeps."""
    durations_sec = {ranks[name]: one.duration_sec or np.inf for name, one in recordings.items()}
    lengths_sec = np.diff(truths["segment_sec"])[:, 0]
    longest_sec = np.array([durations_sec[rank] for rank in truths["recording"]])
    return (lengths_sec > 0) & (lengths_sec <= longest_sec)


def detection_table(detections, scored, ranks, classes):
    """(D,) ROW, the detections on recordings in `scored` with a label in `classes`; counts of the others.

    classes: {name: label}. ranks: as for `truth_tables`.
    """
    rows, not_scored = [], {"on_other_recordings": 0, "with_unknown_label": 0}
    for name in sorted(detections):
        if name not in scored:
            not_scored["on_other_recordings"] += len(detections[name])
            continue
        known = [d for d in detections[name] if d["label"] in classes]
        rows += [(ranks[name], classes[d["label"]], *d["segment"], d["score"]) for d in known]
        not_scored["with_unknown_label"] += len(detections[name]) - len(known)
    return _table(rows), not_scored


def _table(rows):
    """(N,) ROW of a list of (rank, class, start_sec, end_sec, score)."""
    return np.array(rows, float).reshape(-1, 5).view(ROW)[:, 0]
