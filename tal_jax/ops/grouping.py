"""Proposals from an actionness sequence: temporal actionness grouping (TAG, Zhao et al., ICCV 2017)."""

import numpy as np

from tal_jax.ops.nms import hard_nms

STEPS = tuple(np.arange(1, 20) / 20)  # 0.05, 0.10, ..., 0.95


def temporal_actionness_grouping(actionness, thresholds=STEPS, tolerances=STEPS, nms_tiou=0.95):
    """TAG: floods the sequence to many levels and groups the basins that stand out at each of them.

    At a level the *basins* are the runs of cells above it. Each basin in turn is a seed that absorbs its
    neighbours, one after the other, as long as at most the tolerated share of the group, from its first cell
    to its last, lies outside basins.

    The paper does not say to which side a seed grows; here, as in the published code, one group grows to
    each. The code differs in: 12 levels, 9 tolerances, NMS at 0.9, a smoothed sequence; a basin is absorbed
    if the group up to it, not with it, is tolerated; groups rank by the sum of class responses, not by mean
    actionness, which is in [0, 1] as other systems expect.

    Args:
      actionness: (T,) in [0, 1], how likely each cell is part of an action.
      thresholds: levels of actionness; the paper's 1 - gamma.
      tolerances: shares in [0, 1) of a group that may lie outside basins; the paper's 1 - tau.
      nms_tiou: of two groups whose tIoU is at least that, the one of lower score is dropped.

    Returns:
      segments (N, 2) int64, [first cell, last cell + 1]; scores (N,) float64, the mean actionness inside.
      Best first, N may be 0.

    Raises:
      ValueError: the sequence is not (T,) or holds NaN.
    """
    actionness = np.asarray(actionness, np.float64)
    if actionness.ndim != 1 or np.isnan(actionness).any():
        raise ValueError(f"actionness must be (T,) numbers without NaN, found shape {actionness.shape}.")
    tolerances = np.asarray(tolerances, np.float64)
    groups = [np.zeros((0, 2), np.int64)]
    for threshold in thresholds:
        above = actionness > threshold
        groups.append(_grown_to_the_end(above, tolerances))
        groups.append(len(above) - _grown_to_the_end(above[::-1], tolerances)[:, ::-1])
    segments = np.unique(np.concatenate(groups), axis=0)
    sums = np.concatenate([[0], np.cumsum(actionness)])
    scores = (sums[segments[:, 1]] - sums[segments[:, 0]]) / (segments[:, 1] - segments[:, 0])
    kept = hard_nms(segments, scores, nms_tiou)
    return segments[kept], scores[kept]


def _grown_to_the_end(above, tolerances):
    """Groups that absorb the basins after their seed.

    above (T,) bool, tolerances (A,) -> (A * basins, 2) int64.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], above.astype(np.int64), [0]])))
    starts, ends = edges[::2], edges[1::2]  # (R,) of the basins
    if not len(starts):
        return np.zeros((0, 2), np.int64)
    outside = np.concatenate([[0], np.cumsum(~above)])
    # A group from s to e is tolerated if outside[e] - outside[s] <= tolerance * (e - s), that is, if its room
    # does not shrink; (A, R) each.
    room_at_start, room_at_end = (tolerances[:, None] * cells - outside[cells] for cells in (starts, ends))
    # the last basin of each group, first the seed
    last = np.tile(np.arange(len(starts)), (len(tolerances), 1))
    while True:
        following = np.minimum(last + 1, len(starts) - 1)
        tolerated = np.take_along_axis(room_at_end, following, axis=1) >= room_at_start - 1e-9  # for rounding
        grows = (last < following) & tolerated
        if not grows.any():
            return np.stack([np.broadcast_to(starts, last.shape), ends[last]], axis=-1).reshape(-1, 2)
        last += grows
