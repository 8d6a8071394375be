"""Segments: how much they overlap, and segments by the distances of their boundaries from an anchor point.

A *segment* is [start, end]; a *distance pair* is [left, right]: how far the two boundaries lie from an anchor
point. Both may be in any unit of time, as long as the two arguments share it.
"""

import jax.numpy as jnp
import numpy as np

EPS = 1.1920929e-07  # float32 machine epsilon: the smallest union the references divide by


def distance_iou(predicted, target):
    """tIoU of two segments given by their distances to a common anchor, as the losses of AFSD have it.

    Args:
      predicted, target: (..., 2) distances [left, right] from the anchor. Where both segments contain the
        anchor (all distances >= 0) this is the tIoU, which then equals the generalised IoU; otherwise it may
        be negative.

    Returns:
      (...) at most 1.
    """
    intersection = jnp.minimum(predicted, target).sum(-1)
    union = predicted.sum(-1) + target.sum(-1) - intersection
    return intersection / jnp.maximum(union, EPS)


def anchors_to_segments(anchors, distances):
    """AFSD Eq. 1, DW-AFSD Eq. 2: segments [anchor - left, anchor + right].

    anchors (N,), distances (..., N, 2) -> (..., N, 2), all in one unit of time.
    """
    return jnp.stack([anchors - distances[..., 0], anchors + distances[..., 1]], axis=-1)


def intersections(first, second):
    """Lengths that (N, 2) segments share with (G, 2) others, in float64 on the host.

    Returns (N, G), 0 where they do not meet.
    """
    first, second = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)
    shared = np.minimum(first[..., 1], second[:, 1]) - np.maximum(first[..., 0], second[:, 0])
    return np.maximum(shared, 0)


def tiou_matrix(first, second):
    """tIoU of (N, 2) segments with (G, 2) others, in float64 on the host.

    Returns (N, G) in [0, 1], 0 where one has no length.
    """
    shared = intersections(first, second)
    union = np.diff(first) + np.diff(second)[:, 0] - shared
    return np.where(shared > 0, shared / np.where(shared > 0, union, 1), 0)
