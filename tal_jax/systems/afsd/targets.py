"""Label assignment of AFSD: which location answers for which ground truth. All lengths in frames of the
window.
"""

from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp

from tal_jax.ops.segments import distance_iou


@flax.struct.dataclass
class Targets:
    """What each location should say. B recordings, N locations."""

    coarse_labels: jax.Array  # (B, N) int32, 0 = background
    distances: jax.Array  # (B, N, 2) to the boundaries of the assigned truth; 0 at background
    refined_labels: jax.Array  # (B, N) int32: coarse label where the coarse segment is good enough, else 0
    offsets: jax.Array  # (B, N, 2) refined offsets, unit: half the coarse width
    valid: jax.Array  # (B, N) bool: locations that take part (not padding)


class Assignment(NamedTuple):
    """Coarse assignment of N locations in B recordings."""

    labels: jax.Array  # (B, N)
    distances: jax.Array  # (B, N, 2)


def assign_coarse(anchors, segments, labels, length_bounds=None):
    """AFSD section 3.4, label assignment: each location answers for the shortest truth that contains it, the
    first of equals.

    Args:
      anchors: (N,) frames.
      segments: (B, G, 2) truths; labels: (B, G), 0 marks padding.
      length_bounds: (N, 2) or None. ActivityNet: only truths with low < max(left, right) <= high of the
        location's level.

    Returns:
      An Assignment.
    """
    distances = jnp.stack(
        [anchors[:, None] - segments[:, None, :, 0], segments[:, None, :, 1] - anchors[:, None]], axis=-1
    )
    candidate = (distances >= 0).all(-1) & (labels > 0)[:, None, :]  # (B, N, G)
    if length_bounds is not None:
        longest = distances.max(-1)
        candidate &= (longest > length_bounds[:, None, 0]) & (longest <= length_bounds[:, None, 1])
    # (B, N), the first minimum
    chosen = jnp.argmin(jnp.where(candidate, distances.sum(-1), jnp.inf), axis=-1)
    positive = candidate.any(-1)
    assigned = jnp.take_along_axis(distances, chosen[:, :, None, None], axis=2)[:, :, 0]
    return Assignment(
        labels=jnp.where(positive, jnp.take_along_axis(labels, chosen, axis=1), 0),
        distances=jnp.where(positive[..., None], assigned, 0.0),
    )


def assign(config, outputs, batch):
    """Coarse and refined targets (AFSD section 3.4).

    Args:
      config: `config.loss` with `refined_iou`, `relative_refined_iou`, `level_bounds`.
      outputs: the detector's Outputs; the coarse distances are treated as constants.
      batch: dict with `segments_frame` (B, G, 2), `labels` (B, G), `num_frames` (B,), `sample_mask` (B,).

    Returns:
      Targets.
    """
    bounds = None
    if config.level_bounds:
        cells = jnp.asarray([level.shape[1] for level in outputs.pyramid])
        total = int(outputs.anchors.shape[0])
        bounds = jnp.repeat(
            jnp.asarray(config.level_bounds, jnp.float32), cells, axis=0, total_repeat_length=total
        )
    valid = (outputs.anchors[None] < batch["num_frames"][:, None]) & (batch["sample_mask"] > 0)[:, None]
    coarse = assign_coarse(outputs.anchors, batch["segments_frame"], batch["labels"], bounds)
    coarse_labels = jnp.where(valid, coarse.labels, 0)
    positive = coarse_labels > 0

    predicted = jax.lax.stop_gradient(outputs.coarse_distances)
    iou = jnp.where(positive, distance_iou(predicted, coarse.distances), 0.0)
    threshold = config.refined_iou
    if config.relative_refined_iou:  # ActivityNet: at least the best location of each recording is refined
        threshold = jnp.minimum(threshold, iou.max(axis=1, keepdims=True))
    refined = positive & (iou >= threshold)
    half_width = 0.5 * predicted.sum(-1, keepdims=True)
    return Targets(
        coarse_labels=coarse_labels,
        distances=coarse.distances,
        refined_labels=jnp.where(refined, coarse_labels, 0),
        offsets=(coarse.distances - predicted) / half_width,
        valid=valid,
    )
