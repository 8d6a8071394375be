"""Suppression of segments in time that overlap better ones: Gaussian soft-NMS on the device, greedy NMS and
voting on the host.

Soft-NMS (Bodla et al., ICCV 2017) has the details of the published AFSD code. The definition is sequential:
pick the highest score, decay whatever overlaps it, drop what fell below the floor, again. Here one round
makes many picks. A candidate that overlaps no higher-scoring one has its final score: scores only fall, so
nothing that overlaps it can still be picked before it. All such candidates among the best few are picked
together, and the result is that of the sequence, up to the rounding of decays multiplied in another order.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tal_jax.ops.segments import overlap_and_union, tiou

_CANDIDATES_A_ROUND = 16  # more make rounds fewer but longer; on a CPU 8 to 32 are about equally fast
_ROWS_AT_ONCE = 64  # that greedy NMS compares with others in one call; more take more memory
_PAIRS_AT_ONCE = 1 << 20  # at most, that vote in one call, also for memory's sake
_ROUNDING = 1e-6  # a tIoU may round up to a threshold
_MIN_PICKED_WIDTH = 1e-5  # in the unit of the segments


@functools.partial(jax.jit, static_argnames=("top_k", "keep_last", "keep_best"))
def soft_nms(segments, scores, *, sigma=0.5, score_floor=1e-3, top_k=5000, keep_last=True, keep_best=False):
    """Decayed score of every segment at the moment when it is picked, in input order.

    Leading dimensions (classes, recordings) are independent problems solved together; pad them with score 0.

    Args:
      segments: (..., M, 2), start and end in any unit.
      scores: (..., M), positive. Candidates that are 0, NaN or below `score_floor` are taken for absent.
      sigma: a score that overlaps a pick by tIoU is multiplied by exp(-tIoU^2 / sigma); there is no tIoU
        threshold.
      score_floor: a candidate whose score falls below it is dropped for good.
      top_k: at most so many picks in each problem.
      keep_last: False imitates the published code, which never picks the last candidate left, so that a lone
        candidate yields nothing.
      keep_best: True imitates ActionFormer's code, which picks the best candidate even below `score_floor`.

    Returns:
      (..., M) float32: 0 for what was absent, dropped or never picked. Among equal scores the first in input
      order is picked first.
    """
    options = dict(sigma=sigma, score_floor=score_floor, top_k=top_k)
    one_problem = functools.partial(_pick_all, **options, keep_last=keep_last, keep_best=keep_best)
    return jnp.vectorize(one_problem, signature="(m,2),(m)->(m)")(
        segments.astype(jnp.float32), scores.astype(jnp.float32)
    )


def final_soft_nms(
    segments, scores, is_open, *, sigma=0.5, score_floor=1e-3, keep_last=True, keep_best=False
):
    """Soft-NMS as far as it is final while later candidates may still come; traced by the caller.

    Later candidates overlap none but open ones. The order is that of `soft_nms`, but an open candidate whose
    turn it is waits, for a later one may decay it, and what overlaps it is open from then on. So picks have
    the scores that they have among all candidates, early and late, as long as `keep_last` is True and
    `keep_best` False.

    Args:
      segments, scores, sigma, score_floor, keep_last, keep_best: as for `soft_nms`, of one problem or more.
      is_open: (..., M) bool, what later candidates may overlap. With all False every pick is final.

    Returns:
      (picked, waiting): (..., M) float32 each, 0 elsewhere. Scores of the picks that are final, and what the
      candidates that wait score now: to go on, give these in place of `scores`, with the later candidates.
    """

    def one_problem(segments, scores, is_open):
        options = dict(sigma=sigma, score_floor=score_floor, top_k=scores.shape[0])
        return _pick_all(segments, scores, is_open, **options, keep_last=keep_last, keep_best=keep_best)

    return jnp.vectorize(one_problem, signature="(m,2),(m),(m)->(m),(m)")(
        segments.astype(jnp.float32), scores.astype(jnp.float32), is_open
    )


def _pick_all(segments, scores, is_open=None, *, sigma, score_floor, top_k, keep_last, keep_best):
    """Soft-NMS of one problem: segments (M, 2), scores (M,) -> decayed scores (M,) of the picks, else 0.

    is_open: see `final_soft_nms`, whose two results are then returned.
    """
    size = min(_CANDIDATES_A_ROUND, scores.shape[0])
    start, end = segments[:, 0], segments[:, 1]  # a CPU reads several of each at once

    def pick_some(state):
        scores, picked_scores, _, *of_open = state
        # on a CPU, a slice of these would turn it into a far slower sort
        top_scores, top = lax.top_k(scores, size)
        best = segments[top]
        shared, _ = overlap_and_union(best[:, None], best)  # (size, size)
        free_of_better = ~jnp.tril(shared > 0, -1).any(axis=1)
        picked = free_of_better & (top_scores > 0)
        if of_open:
            is_open, waiting = of_open
            waits, picked = picked & is_open[top], picked & ~is_open[top]
        if not keep_last:
            picked &= _leaves_another(picked, top_scores > 0)

        # pick by pick: on a CPU, three times as fast as the sum of an array (P, M)
        all_segments = jnp.stack([start, end], axis=-1)
        of_each = [_squared_tiou(best[i], all_segments) for i in range(size)]
        decayed = scores * jnp.exp(-sum(jnp.where(picked[i], of_each[i], 0) for i in range(size)) / sigma)
        picked_scores = picked_scores.at[top].add(jnp.where(picked, top_scores, 0))
        scores = jnp.where((picked_scores == 0) & (decayed >= score_floor), decayed, 0)
        if not of_open:
            return scores, picked_scores, picked.any()
        is_open |= sum(jnp.where(waits[i], of_each[i], 0) for i in range(size)) > 0
        waiting = waiting.at[top].add(jnp.where(waits, top_scores, 0))
        scores = jnp.where(waiting == 0, scores, 0)
        return scores, picked_scores, (picked | waits).any(), is_open, waiting

    present = scores >= score_floor
    if keep_best:
        positive = jnp.where(scores > 0, scores, 0)  # neither absent nor NaN
        present |= (jnp.arange(scores.size) == positive.argmax()) & (positive > 0)
    present = jnp.where(present, scores, 0)
    state = (present, jnp.zeros_like(present), size > 0)
    if is_open is not None:  # no limit of picks: later ones would count
        state = (*state, is_open, jnp.zeros_like(present))
        _, picked_scores, _, _, waiting = lax.while_loop(lambda state: state[2], pick_some, state)
        return picked_scores, waiting

    def not_done(state):
        scores, picked_scores, any_left = state
        if top_k >= scores.size:
            return any_left
        # no later pick can score more than what is left
        return any_left & ((picked_scores >= scores.max()).sum() < top_k)

    picked_scores = lax.while_loop(not_done, pick_some, state)[1]
    if top_k >= scores.size:
        return picked_scores
    # picks are made in order of falling score, so the first picks are the highest ones
    highest, index = lax.top_k(picked_scores, top_k)
    return jnp.zeros_like(picked_scores).at[index].set(highest)


def _leaves_another(picked, present):
    """Which picks of a round surely leave a candidate behind, both masks (P,), highest score first.

    One that is followed by another pick does. The others wait for a round in which they come first.
    """
    another_pick_follows = jnp.flip(jnp.cumsum(jnp.flip(picked))) > 1
    first_of_several = (jnp.arange(present.size) == 0) & (present.sum() > 1)
    return another_pick_follows | first_of_several


def _squared_tiou(pick, segments):
    """Squared tIoU of a pick (2,) with segments (M, 2): (M,).

    As published, the width of a pick is at least 1e-5 and other widths are taken as they are; segments of
    zero or negative width overlap nothing.
    """
    shared, union = overlap_and_union(pick, segments)
    union += jnp.maximum(_MIN_PICKED_WIDTH - (pick[1] - pick[0]), 0)
    return jnp.where(shared > 0, shared / union, 0) ** 2


def rows_of_each(groups):
    """The rows of each distinct value of (M,) groups: list of (N,) int, by rising value, each ascending."""
    groups = np.asarray(groups)
    order = np.argsort(groups, kind="stable")
    changes = np.flatnonzero(np.diff(groups[order])) + 1
    return np.split(order, changes) if len(order) else []


def hard_nms(segments, scores, threshold, extra_length=0.0, groups=None):
    """Greedy NMS: the best segment is kept, what overlaps it too much is dropped, and so on. On the host.

    Args:
      segments: (M, 2), start and end in any unit.
      scores: (M,).
      threshold: above 0; a segment is dropped if its tIoU with one that is kept is at least that.
      extra_length: added to every length and overlap before tIoU is taken, in the unit of the segments. The
        published code of ECM adds 1 second, so that short neighbours suppress each other, even some that do
        not touch.
      groups: (M,) numbers, such as classes; segments suppress those of their own group. None: they are one.

    Returns:
      (N,) int64, rows of the segments that are kept: group by group, best first. Among equal scores the first
      in input order comes first. Segments without length overlap nothing.
    """
    segments, scores = np.asarray(segments, np.float64), np.asarray(scores)
    kept = [np.zeros(0, np.int64)]
    for rows in rows_of_each(np.zeros(len(scores)) if groups is None else groups):
        kept.append(rows[_kept_of_group(segments[rows], scores[rows], threshold, extra_length)])
    return np.concatenate(kept)


def _kept_of_group(segments, scores, threshold, extra_length):
    """`hard_nms` of one group: segments (M, 2) float64, scores (M,) -> rows (N,) int64."""
    by_start = np.argsort(segments[:, 0], kind="stable")
    segments, starts = segments[by_start], segments[by_start, 0]
    waiting = np.argsort(by_start)[np.argsort(-scores, kind="stable")]  # rows of `segments`, best first
    dropped, kept = np.zeros(len(starts), bool), []
    while len(waiting):
        # Many segments in one call, some of them in vain: NumPy takes longer to call than to compute.
        best, waiting = waiting[:_ROWS_AT_ONCE], waiting[_ROWS_AT_ONCE:]
        first, second = _near_pairs(segments[best], starts, threshold, extra_length)
        over = tiou(segments[best[first]], segments[second], extra_length) >= threshold
        ends = np.searchsorted(first[over], np.arange(1, len(best)))
        for row, overlapping in zip(best.tolist(), np.split(second[over], ends), strict=True):
            if not dropped[row]:
                kept.append(row)
                dropped[overlapping] = True
        waiting = waiting[~dropped[waiting]]
    return by_start[np.array(kept, np.int64)]


def vote(segments, candidates, scores, threshold):
    """Moves segments to the mean of the candidates around them, weighted by score times tIoU. On the host.

    Args:
      segments: (N, 2), start and end in any unit.
      candidates: (M, 2) in that unit, those that the segments were chosen of.
      scores: (M,) of the candidates, before suppression.
      threshold: above 0; the candidates of at least that tIoU with a segment count for it.

    Returns:
      (N, 2) float64; a segment that no candidate counts for stays as it is.
    """
    by_start = np.argsort(candidates[:, 0], kind="stable")
    candidates, scores = np.asarray(candidates, np.float64)[by_start], np.asarray(scores)[by_start]
    starts, moved = candidates[:, 0].copy(), np.array(segments, np.float64)
    rows = max(1, _PAIRS_AT_ONCE // max(1, len(starts)))
    for begin in range(0, len(moved), rows):
        block = moved[begin : begin + rows]
        first, second = _near_pairs(block, starts, threshold)
        overlap = tiou(block[first], candidates[second])
        counted = overlap >= threshold
        first, second = first[counted], second[counted]
        weight = scores[second] * overlap[counted]
        sums = [np.bincount(first, weight * part, len(block)) for part in (1.0, *candidates[second].T)]
        has_voters = sums[0] > 0
        block[has_voters] = np.stack(sums[1:], -1)[has_voters] / sums[0][has_voters, None]
    return moved


def _near_pairs(segments, starts, threshold, extra_length=0.0):
    """Which of M other segments may have a tIoU of the threshold with each of N segments.

    The other starts earlier by at most 1 / threshold - 1 lengths of the segment, or later by at most
    1 - threshold of them: else it leaves out too much, or has too much beside it.

    Args:
      segments: (N, 2).
      starts: (M,), of the others, ascending.
      threshold, extra_length: as for `hard_nms`.

    Returns:
      (first, second): (P,) rows of `segments`, ascending, and of the others.
    """
    own = segments[:, 0]
    lengths = np.maximum(segments[:, 1] - own + extra_length, 0)
    begin = np.searchsorted(starts, own - (1 / threshold - 1 + _ROUNDING) * lengths, "left")
    count = np.searchsorted(starts, own + (1 - threshold + _ROUNDING) * lengths, "right") - begin
    second = np.arange(count.sum()) + np.repeat(begin + count - np.cumsum(count), count)
    return np.repeat(np.arange(len(segments)), count), second
