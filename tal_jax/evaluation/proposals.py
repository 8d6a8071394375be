"""Recall of proposals: the ActivityNet evaluator's AR@AN and its AUC, and recall at each tIoU.

An action is found if one of the proposals that count overlaps it by at least the tIoU; classes do not matter,
and two actions may be found by one proposal. Details of `eval_proposal.py` that decide the numbers:

- An average number (AN) of proposals is a share of each recording's, the same share for all: a recording with
  many proposals has more of them counted. The share is such that all recordings with actions have AN
  proposals on average.
- The share of the largest AN is taken of all the subset's proposals, also of those on recordings without
  actions; numbers are rounded down.
- Recall is that of actions, so a recording with many actions weighs more; one without proposals finds none.

Equal scores rank in file order, which the evaluator leaves to an unstable sort. It also counts proposals on
recordings outside the subset, and reversed ones, towards the share; here they are ignored, and dropped when
read.
"""

import numpy as np

from tal_jax.data.annotations import require_times
from tal_jax.evaluation.recordings import require_actions, scored_recordings
from tal_jax.ops.segments import tiou

AR_TIOUS = tuple(np.linspace(0.5, 0.95, 10))  # over which recall is averaged
RECALL_TIOUS = tuple(np.arange(1, 10) / 10)


def evaluate_proposals(annotations, proposals, *, subset, left_out=(), missing="missed", most=100):
    """Scores proposals against the ground truth of one subset.

    Args:
        annotations: `tal_jax.data.annotations.Annotations`.
        proposals: {recording: `tal_jax.data.proposals.Proposals`}.
        subset: the recordings to score, for example "test".
        left_out: recordings of the subset that are not scored.
        missing: how recordings of the subset count for which `proposals` has no key: "missed", none of their
            actions is found; or "left out".
        most: the largest average number of proposals.

    Returns:
        Numbers in percent, ready for JSON: `ar` {AN: average recall} at 100 steps up to `most`, `auc` (area
        under this curve over its width), `recall` {tIoU: recall of all proposals}, `ar_tious`, and `counts`:
        recordings with actions, those of them without a proposal, recordings of the subset that are not
        scored, actions, proposals on recordings with actions and on others of the subset.

    Raises:
        DataError: the subset has no recordings or no ground truth, a label has no times, `left_out` names a
            recording that the subset lacks, or all recordings are left out.
        ValueError: `missing` is none of its values.
    """
    recordings, _ = scored_recordings(
        annotations, proposals, subset=subset, left_out=left_out, missing=missing
    )
    require_times(recordings, "the recall of proposals")
    truths = {name: recording.segments_sec for name, recording in recordings.items() if len(recording.labels)}
    require_actions(truths, subset)
    found = {name: _best_so_far(truths[name], proposals.get(name)) for name in truths}  # (G, N) each
    scored = sum(best.shape[1] for best in found.values())
    others = sum(len(proposals[name].scores) for name in recordings.keys() & proposals.keys() - truths.keys())
    # (100,), (G of all, 100)
    average_numbers, reached = _reached([*found.values()], scored + others, most)
    average_recall = 100 * np.mean([(reached >= least).mean(axis=0) for least in AR_TIOUS], axis=0)
    area = np.trapezoid(average_recall, average_numbers)
    best_of_all = np.concatenate([best.max(axis=1, initial=0) for best in found.values()])
    return {
        "ar": {f"{n:.6g}": float(value) for n, value in zip(average_numbers, average_recall, strict=True)},
        "auc": float(area / average_numbers[-1]),
        "recall": {f"{least:g}": float(100 * np.mean(best_of_all >= least)) for least in RECALL_TIOUS},
        "ar_tious": [float(least) for least in AR_TIOUS],
        "counts": {
            "recordings": len(truths),
            "recordings_without_proposals": sum(not best.shape[1] for best in found.values()),
            "recordings_left_out": len(annotations.subset(subset).recordings) - len(recordings),
            "ground_truths": len(best_of_all),
            "proposals": scored,
            "proposals_on_recordings_without_ground_truth": others,
        },
    }


def _best_so_far(truths_sec, proposals):
    """(G, N): the largest tIoU of each of G actions with the best proposal, the best two, … the best N."""
    if proposals is None or not len(proposals.scores):
        return np.zeros((len(truths_sec), 0))
    order = np.argsort(-proposals.scores, kind="stable")
    return np.maximum.accumulate(tiou(truths_sec[:, None], proposals.segments_sec[order]), axis=1)


def _reached(found, num_proposals, most):
    """The largest tIoU of each action when the recordings have 1 %, 2 %, ... 100 % of `most` proposals on
    average.

    Args:
        found: of each recording `_best_so_far`.
        num_proposals: of the subset.
        most: the largest average number.

    Returns:
        average_numbers (100,), reached (G of all recordings, 100).
    """
    # The order of the operations is the evaluator's, since rounding down makes a last digit count.
    share = most * float(len(found)) / max(num_proposals, 1)
    kept = [min(int(best.shape[1] * share), best.shape[1]) for best in found]
    shares = np.arange(1, 101) / 100.0 * (most * float(len(found)) / max(sum(kept), 1))
    counts = [np.minimum((number * shares).astype(int), number) for number in kept]
    reached = [np.pad(best, ((0, 0), (1, 0)))[:, count] for best, count in zip(found, counts, strict=True)]
    return shares * (max(sum(kept), 1) / len(found)), np.concatenate(reached)
