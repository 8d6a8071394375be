"""The graph over the proposals of a video, on the host: neighbours of proposals, trees of sampled neighbours.

The length of a segment counts both ends: end - start + 1 (the published code).
"""

import numpy as np

from tal_jax.ops.segments import tiou

ROWS_AT_ONCE = 256  # of a matrix between all proposals, so that it need not be in memory as a whole


def relevance(first, second):
    """P-GCN Eq. 2: the tIoU r of two segments, both ends counted.

    Args:
      first, second: (..., 2) frames, leading dimensions as they broadcast.

    Returns:
      (...) float64 in [0, 1].
    """
    return tiou(np.asarray(first), np.asarray(second), extra_length=1)


def distance(first, second):
    """P-GCN Eq. 3: the distance d of two centres, in lengths of what both segments span together.

    Args:
      first, second: (..., 2) frames, leading dimensions as they broadcast.

    Returns:
      (...) float64, not negative, below 1 for segments that are apart.
    """
    first, second = np.asarray(first), np.asarray(second)
    span = np.maximum(first[..., 1], second[..., 1]) - np.minimum(first[..., 0], second[..., 0]) + 1
    return np.abs(first.sum(-1) - second.sum(-1)) / 2 / span


def candidates(segments, contextual=8, surrounding=2, contextual_tiou=0.7):
    """The neighbours of every proposal, by both kinds of edges.

    As published, each proposal has the same number of a kind: too few are repeated in turn, and a proposal
    without any is its own neighbour.

    Args:
      segments: (N, 2) int frames.
      contextual: number of the first kind: of those that overlap by more than contextual_tiou, the closest
        ones.
      surrounding: of the second kind: of those that do not overlap, the nearest ones. The paper's limit
        theta_sur = 1 takes all of these, as any two that are apart are less than 1 apart.
      contextual_tiou: theta_ctx.

    Returns:
      (N, contextual + surrounding) int64, contextual ones first, best first; among equal ones the first in
      order.
    """
    segments = np.asarray(segments).reshape(-1, 2)
    blocks = [np.zeros((0, contextual + surrounding), np.int64)]
    for first in range(0, len(segments), ROWS_AT_ONCE):
        own = np.arange(first, min(first + ROWS_AT_ONCE, len(segments)))
        tious = relevance(segments[own, None], segments)  # (rows, N)
        apart = distance(segments[own, None], segments)
        apart[(tious > 0) | (apart <= 0)] = np.inf
        tious[tious <= contextual_tiou] = -np.inf
        tious[np.arange(len(own)), own] = -np.inf
        blocks.append(np.hstack([_smallest(-tious, contextual, own), _smallest(apart, surrounding, own)]))
    return np.concatenate(blocks)


def _smallest(costs, count, own):
    """Columns of the `count` smallest finite costs of each row, ascending.

    Fewer columns are repeated in turn; a row without any gets its `own`.

    Args:
      costs: (R, N) float64, changed; own: (R,) int.

    Returns:
      (R, count) int64.
    """
    rows, columns = np.arange(len(costs)), np.zeros((count, len(costs)), np.int64)
    available = np.minimum(np.isfinite(costs).sum(1), count)
    for i in range(count):
        columns[i] = costs.argmin(1)
        costs[rows, columns[i]] = np.inf
    turn = np.arange(count) % np.maximum(available, 1)[:, None]
    chosen = np.take_along_axis(columns.T, turn, axis=1)
    return np.where(available[:, None] > 0, chosen, own[:, None])


def sample_tree(centre, neighbours, sampled, rng):
    """The tree of a proposal: itself, S sampled neighbours, and S sampled neighbours of each (section 3.5).

    A draw shuffles all candidates of a node and takes the first, as the published code does.

    Args:
      centre: row of `neighbours`.
      neighbours: (N, M) int, see `candidates`.
      sampled: S <= M.
      rng: np.random.Generator, or RandomState to draw what the published code draws.

    Returns:
      (1 + S + S^2,) int64; the children of node s are the nodes 1 + S * s to S + S * s.
    """
    nodes = [centre]
    for parent in range(1 + sampled):
        shuffled = neighbours[nodes[parent]].copy()
        rng.shuffle(shuffled)
        nodes.extend(shuffled[:sampled])
    return np.array(nodes, np.int64)


def neighbour_counts(neighbours, size):
    """The graph of a video at test, as a matrix: how many times column j is a neighbour of row i.

    Args:
      neighbours: (N, M) int, see `candidates`; M below 256.
      size: of the matrix, at least N; rows and columns above N are 0.

    Returns:
      (size, size) uint8; row i sums to M for i < N.
    """
    flat = (np.arange(len(neighbours))[:, None] * size + neighbours).ravel()
    return np.bincount(flat, minlength=size * size).astype(np.uint8).reshape(size, size)
