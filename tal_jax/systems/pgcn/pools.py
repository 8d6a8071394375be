"""What P-GCN trains on: proposals labelled by the actions they meet, in three pools, and trees drawn from
these. On the host.

A proposal is foreground (type 0), incomplete (type 1) or background (type 2). Class labels are 1-based, 0 is
background.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from tal_jax.ops.segments import tiou
from tal_jax.systems.pgcn.graph import sample_tree

FOREGROUND, INCOMPLETE, BACKGROUND = range(3)
FOREGROUND_TIOU = 0.7  # foreground: best tIoU above it; published code


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
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


def label_proposals(segments, truth_segments, truth_labels):
    """What a proposal file says of each proposal.

    Args:
      segments: (N, 2) int frames, end > start.
      truth_segments: (G, 2) int frames, end > start; truth_labels: (G,) int from 1.

    Returns:
      labels (N,) int64, best_tiou (N,), overlap_self (N,): of the action with the largest tIoU, the first of
      equals; 0 where no action is met.
    """
    segments, truth_segments = np.asarray(segments).reshape(-1, 2), np.asarray(truth_segments).reshape(-1, 2)
    if not len(truth_segments):
        return np.zeros(len(segments), np.int64), np.zeros(len(segments)), np.zeros(len(segments))
    tious = tiou(segments[:, None], truth_segments)
    best = tious.argmax(1)
    best_tiou, met = tious.max(1), truth_segments[best]
    overlap = np.minimum(segments[:, 1], met[:, 1]) - np.maximum(segments[:, 0], met[:, 0])
    overlap_self = np.maximum(overlap, 0) / (segments[:, 1] - segments[:, 0])
    return np.where(best_tiou > 0, np.asarray(truth_labels)[best], 0), best_tiou, overlap_self


def labelled_video(segments, labels, best_tiou, overlap_self, truth_segments, truth_labels, num_frames):
    """A LabelledVideo by the reading rules of the published code, from rows of a proposal file.

    Rows without length, and rows that start behind the video, are left out; ends are clipped to the video,
    after the coverage was taken. So with actions too.
    """
    segments, truth_segments = np.asarray(segments).reshape(-1, 2), np.asarray(truth_segments).reshape(-1, 2)

    def usable(rows):
        return (rows[:, 1] > rows[:, 0]) & (rows[:, 0] < num_frames)

    def clipped(rows):
        return np.minimum(rows, [np.iinfo(np.int64).max, num_frames])

    kept, kept_truths = usable(segments), usable(truth_segments)
    segments = segments[kept]
    return LabelledVideo(
        segments=clipped(segments),
        labels=np.asarray(labels, np.int64)[kept],
        best_tiou=np.asarray(best_tiou)[kept],
        overlap_self=np.asarray(overlap_self)[kept],
        coverage=(segments[:, 1] - segments[:, 0]) / num_frames,
        truth_segments=clipped(truth_segments[kept_truths]),
        truth_labels=np.asarray(truth_labels, np.int64)[kept_truths],
    )


@dataclasses.dataclass(frozen=True)
class Pools:
    """The nodes of a training graph: foreground, incomplete and background proposals of a video, in this
    order. P nodes.

    Attributes:
      segments: (P, 2) int frames.
      labels: (P,) int, as the file has them; those of background may be any.
      targets: (P, 2) shift of the centre and log of the size, see `regression_targets`; 0 behind the
        foreground.
      sizes: number of nodes of each type.
      num_truths: of the foreground nodes, the last so many are the actions themselves.
    """

    segments: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    sizes: tuple[int, int, int]
    num_truths: int


def regression_targets(segments, truth_segments):
    """From a proposal to the action it meets best: (shift of the centre / length, log(action's length / its
    length)).

    Lengths count both ends, as in the published code; the tIoU that says which action that is does not.

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
    """The three pools of a video, in the order of its proposals, its actions behind the foreground ones.

    Args:
      settings: `config.pools`.
      video: LabelledVideo with at least one action.

    Returns:
      Pools.
    """
    incomplete = (video.best_tiou < settings.incomplete_tiou) & (
        video.overlap_self > settings.incomplete_overlap
    )
    background = (
        ~incomplete
        & (video.best_tiou < settings.background_tiou)
        & (video.coverage > settings.background_coverage)
    )
    foreground = video.best_tiou > FOREGROUND_TIOU
    segments = [
        video.segments[foreground],
        video.truth_segments,
        video.segments[incomplete],
        video.segments[background],
    ]
    labels = [
        video.labels[foreground],
        video.truth_labels,
        video.labels[incomplete],
        video.labels[background],
    ]
    num_foreground = foreground.sum() + len(video.truth_segments)
    targets = np.zeros((sum(map(len, segments)), 2))
    segments = np.concatenate(segments)
    targets[:num_foreground] = regression_targets(segments[:num_foreground], video.truth_segments)
    sizes = int(num_foreground), int(incomplete.sum()), int(background.sum())
    return Pools(segments, np.concatenate(labels), targets, sizes, len(video.truth_segments))


def target_statistics(all_pools):
    """(mean (2,), std (2,)) float64 of the targets of all foreground proposals of the training videos,
    without the actions.

    Where there is none, or all have the same target, nothing would be divided: then std is 1.
    """
    targets = [pools.targets[: pools.sizes[FOREGROUND] - pools.num_truths] for pools in all_pools]
    targets = np.concatenate([np.zeros((0, 2)), *targets])
    if not len(targets):
        return np.zeros(2), np.ones(2)
    std = targets.std(0)
    return targets.mean(0), np.where(std > 0, std, 1.0)


class Draw(NamedTuple):
    """The trees of a video in a batch; Q centres, n nodes of a tree."""

    nodes: np.ndarray  # (Q, n) int64, of the Pools
    types: np.ndarray  # (Q,) int32 0, 1 or 2
    labels: np.ndarray  # (Q,) int32, 0 for background
    targets: np.ndarray  # (Q, 2) float32, standardised; 0 where the type is not 0


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
      Draw.
    """
    firsts = np.cumsum([0, *pools.sizes])
    nodes, types = [], []
    for wanted, count in enumerate((settings.foreground, settings.incomplete, settings.background)):
        kind = wanted if pools.sizes[wanted] else FOREGROUND
        for _ in range(count):
            centre = firsts[kind] + rng.choice(pools.sizes[kind])
            nodes.append(sample_tree(centre, neighbours, sampled, rng))
            types.append(kind)
    nodes, types = np.stack(nodes), np.array(types, np.int32)
    labels = np.where(types == BACKGROUND, 0, pools.labels[nodes[:, 0]])
    mean, std = statistics
    targets = np.where(types[:, None] == FOREGROUND, (pools.targets[nodes[:, 0]] - mean) / std, 0.0)
    return Draw(nodes, types, labels.astype(np.int32), targets.astype(np.float32))
