"""Proposals to train P-GCN on: labelled by the actions they meet, in three pools, from which trees are drawn.

A proposal is foreground (type 0), incomplete (type 1) or background (type 2). Class labels are 1-based, 0 is
background.
"""

from typing import NamedTuple

import numpy as np

from tal_jax.ops.segments import tiou
from tal_jax.systems.pgcn.graph import sample_tree

FOREGROUND, INCOMPLETE, BACKGROUND = range(3)
FOREGROUND_TIOU = 0.7  # foreground: best tIoU above it; published code


class LabelledVideo(NamedTuple):
    """The proposals of a video, as a proposal file has them, and its actions. N proposals, G actions.

    Attributes:
      segments: (N, 2) int frames.
      labels: (N,) int, class of the action that a proposal meets best, 0 for none.
      best_tiou: (N,) tIoU with that action.
      overlap_self: (N,) share of the proposal that is inside of that action.
      coverage: (N,) length as a share of the video.
      truth_segments: (G, 2) int frames.
      truth_labels: (G,) int.
    """

    segments: np.ndarray
    labels: np.ndarray
    best_tiou: np.ndarray
    overlap_self: np.ndarray
    coverage: np.ndarray
    truth_segments: np.ndarray
    truth_labels: np.ndarray


def label_video(segments, truth_segments, truth_labels, num_frames):
    """Labels the proposals of a video as a proposal file does: by the action of the largest tIoU.

    Args:
      segments: (N, 2) int frames, end > start.
      truth_segments: (G, 2) int frames, end > start; truth_labels: (G,) int from 1.
      num_frames: length of the video.

    Returns:
      LabelledVideo. Of equal actions the first counts. Without an action, label and shares are 0.
    """
    segments, truth_segments = np.asarray(segments).reshape(-1, 2), np.asarray(truth_segments).reshape(-1, 2)
    # Before the actions, one without length, label and overlap: it is best where there is no other.
    actions, labels = np.insert(truth_segments, 0, 0, axis=0), np.insert(truth_labels, 0, 0)
    tious = tiou(segments[:, None], actions)
    best, lengths = tious.argmax(1), segments[:, 1] - segments[:, 0]
    overlap = np.minimum(segments[:, 1], actions[best, 1]) - np.maximum(segments[:, 0], actions[best, 0])
    shares = np.maximum(overlap, 0) / lengths, lengths / num_frames
    return LabelledVideo(segments, labels[best], tious.max(1), *shares, truth_segments, labels[1:])


class Pools(NamedTuple):
    """The nodes of a training graph: foreground, incomplete and background proposals of a video. P nodes.

    Attributes:
      segments: (P, 2) int frames.
      labels: (P,) int, as the file has them; those of background may be any.
      targets: (P, 2) shift of the centre and log of the size, see `regression_targets`; 0 if not foreground.
      sizes: number of nodes of each type.
      num_truths: of the foreground nodes, the last so many are the actions themselves.
    """

    segments: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    sizes: tuple[int, int, int]
    num_truths: int


def regression_targets(segments, truth_segments):
    """Offsets from a proposal to the action of the largest tIoU.

    They are the shift of the centre in lengths of the proposal, and the log of the ratio of lengths. Lengths
    count both ends, as in the published code; the tIoU does not.

    Args:
      segments: (N, 2) int frames; truth_segments: (G, 2), G > 0.

    Returns:
      (N, 2) float64.
    """
    truths = truth_segments[tiou(segments[:, None], truth_segments).argmax(1)]
    length, truth_length = (rows[:, 1] - rows[:, 0] + 1 for rows in (segments, truths))
    shift = (truths.sum(1) - segments.sum(1)) / 2
    return np.stack([shift / length, np.log(truth_length / length)], axis=1)


def make_pools(settings, video):
    """The three pools of a video, in the order of its proposals, its actions after the foreground ones.

    Args:
      settings: `config.pools`.
      video: LabelledVideo with at least one action.

    Returns:
      Pools.
    """
    tiou, num_truths = video.best_tiou, len(video.truth_segments)
    incomplete = (tiou < settings.incomplete_tiou) & (video.overlap_self > settings.incomplete_overlap)
    short_of_all = (tiou < settings.background_tiou) & (video.coverage > settings.background_coverage)
    actions = np.arange(num_truths) + len(tiou)
    types = tiou > FOREGROUND_TIOU, incomplete, short_of_all & ~incomplete
    foreground, *others = map(np.flatnonzero, types)
    pools = np.append(foreground, actions), *others
    rows = np.concatenate(pools)
    segments = np.concatenate([video.segments, video.truth_segments])[rows]
    labels = np.concatenate([video.labels, video.truth_labels])[rows]
    sizes, targets = tuple(map(len, pools)), np.zeros((len(rows), 2))
    targets[: sizes[0]] = regression_targets(segments[: sizes[0]], video.truth_segments)
    return Pools(segments, labels, targets, sizes, num_truths)


def target_statistics(all_pools):
    """Mean (2,) and deviation (2,), float64, of the targets of all foreground proposals but the actions.

    The deviation is 1 where there is no such proposal, or where all have the same target.
    """
    targets = [pools.targets[: pools.sizes[FOREGROUND] - pools.num_truths] for pools in all_pools]
    targets = np.concatenate([np.zeros((0, 2)), *targets])
    if not len(targets):
        return np.zeros(2), np.ones(2)
    std = targets.std(0)
    return targets.mean(0), np.where(std > 0, std, 1.0)


def draw_trees(settings, pools, neighbours, sampled, statistics, rng):
    """Centres drawn from the pools, each with its tree: foreground ones, incomplete ones, background ones.

    Every draw is independent. Where a pool is empty a foreground proposal takes the place: its type and label
    stay those of a foreground one, but the completeness loss goes by the place and not by the type (the
    published code).

    Args:
      settings: `config.pools`, of which the number of each type is used.
      pools: Pools.
      neighbours: (P, M) of its nodes, see `graph.candidates`.
      sampled: S.
      statistics: (mean, std), see `target_statistics`.
      rng: np.random.Generator, or RandomState to draw what the published code draws.

    Returns:
      dict of Q centres with trees of n nodes: nodes (Q, n) int64, of the Pools; types (Q,) int32; labels (Q,)
      int32, 0 for background; targets (Q, 2) float32, standardised, 0 where the type is not foreground.
    """
    firsts = np.cumsum([0, *pools.sizes])
    wanted = np.repeat(np.arange(3), [settings.foreground, settings.incomplete, settings.background])
    types = np.where(np.take(pools.sizes, wanted) > 0, wanted, FOREGROUND).astype(np.int32)
    nodes = np.stack(
        [
            sample_tree(firsts[kind] + rng.choice(pools.sizes[kind]), neighbours, sampled, rng)
            for kind in types
        ]
    )
    labels = np.where(types == BACKGROUND, 0, pools.labels[nodes[:, 0]]).astype(np.int32)
    mean, std = statistics
    targets = np.where(types[:, None] == FOREGROUND, (pools.targets[nodes[:, 0]] - mean) / std, 0.0)
    return dict(nodes=nodes, types=types, labels=labels, targets=targets.astype(np.float32))
