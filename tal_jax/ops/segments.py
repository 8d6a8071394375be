"""Segments: how much they overlap, and segments by the distances of their boundaries from an anchor point.

A *segment* is [start, end]; a *distance pair* is [left, right]: how far the two boundaries lie from an anchor
point. Both may be in any unit of time, as long as the two arguments share it.
"""

import jax
import jax.numpy as jnp
import numpy as np

SMALLEST_UNION = 1e-30  # two segments without length have none to divide by
EPS = 1.1920929e-07  # float32 machine epsilon: the smallest union the references divide by


def overlap_and_union(first, second, extra_length=0.0):
    """Two lengths of pairs of segments: what both share, and what they cover together.

    Args:
      first, second: (..., 2), [start, end] in one unit, leading dimensions as they broadcast; both of NumPy,
        or both of JAX.
      extra_length: added to every length, in that unit: 1 for frames whose last one belongs to the segment.

    Returns:
      (shared, union), (...) each. Where segments are apart, shared is the gap, negative, and union holds it.
    """
    xp = _array_module(first)
    shared = (
        xp.minimum(first[..., 1], second[..., 1]) - xp.maximum(first[..., 0], second[..., 0]) + extra_length
    )
    lengths = (first[..., 1] - first[..., 0] + extra_length) + (
        second[..., 1] - second[..., 0] + extra_length
    )
    return shared, lengths - shared


def tiou(first, second, extra_length=0.0):
    """tIoU of pairs of segments: of (N, 1, 2) with (G, 2) the matrix (N, G).

    Args:
      first, second, extra_length: as for `overlap_and_union`.

    Returns:
      (...) in [0, 1], 0 where segments do not meet, and where one has no length.
    """
    shared, union = overlap_and_union(first, second, extra_length)
    xp = _array_module(first)
    return xp.maximum(shared, 0) / xp.maximum(union, SMALLEST_UNION)


def _array_module(array):
    return jnp if isinstance(array, jax.Array) else np


def anchors_to_segments(anchors, distances):
    """AFSD Eq. 1, DW-AFSD Eq. 2: segments [anchor - left, anchor + right].

    anchors (N,), distances (..., N, 2) -> (..., N, 2), all in one unit of time.
    """
    return jnp.stack([anchors - distances[..., 0], anchors + distances[..., 1]], axis=-1)


def distance_iou(predicted, target):
    """tIoU of two segments given by their distances to a common anchor, as the losses of AFSD have it.

    Args:
      predicted, target: (..., 2) distances [left, right] from the anchor. Where both segments contain the
        anchor (all distances >= 0) this is the tIoU, which then equals the generalised IoU; otherwise it may
        be negative.

    Returns:
      (...) at most 1.
    """
    shared, union = overlap_and_union(anchors_to_segments(0.0, predicted), anchors_to_segments(0.0, target))
    return shared / jnp.maximum(union, EPS)
