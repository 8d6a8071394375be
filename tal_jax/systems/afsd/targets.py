"""Label assignment of AFSD: which location is responsible for which ground truth. All lengths are in frames
of the window.
"""

import flax
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.ops.segments import distance_iou
from tal_jax.systems.afsd.config import reading


@flax.struct.dataclass
class Targets:
    """The targets of each location. B recordings, N locations."""

    coarse_labels: jax.Array  # (B, N) int32, 0 = background
    distances: jax.Array  # (B, N, 2) to the boundaries of the assigned truth; 0 at background
    refined_labels: jax.Array  # (B, N) int32: coarse label where the coarse segment is good enough, else 0
    offsets: jax.Array  # (B, N, 2) refined offsets, unit: half the coarse width
    valid: jax.Array  # (B, N) bool: locations that take part (not padding)


def assign_coarse(anchors, segments, labels, length_bounds=None):
    """AFSD section 3.4, label assignment: each location is assigned the shortest truth that contains it, the
    first of equals.

    Args:
      anchors: (N,) frames.
      segments: (B, G, 2) truths; labels: (B, G), 0 marks padding.
      length_bounds: (N, 2) or None. ActivityNet: only truths with low < max(left, right) <= high of the
        location's level.

    Returns:
      labels (B, N), 0 = background; distances (B, N, 2) to the boundaries of the truth, 0 at background.
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
    labels = jnp.where(positive, jnp.take_along_axis(labels, chosen, axis=1), 0)
    return labels, jnp.where(positive[..., None], assigned, 0.0)


def assign(config, outputs, batch):
    """Coarse and refined targets (AFSD section 3.4).

    Args:
      config: the run's config (`loss.level_bounds`).
      outputs: the detector's Outputs; the coarse distances are treated as constants.
      batch: dict with `segments_frame` (B, G, 2), `labels` (B, G), `num_frames` (B,), `sample_mask` (B,).

    Returns:
      Targets.
    """
    bounds = None
    if config.loss.level_bounds:
        cells = [level.shape[1] for level in outputs.pyramid]
        bounds = np.repeat(np.float32(config.loss.level_bounds), cells, axis=0)  # (N, 2)
    valid = (outputs.anchors[None] < batch["num_frames"][:, None]) & (batch["sample_mask"] > 0)[:, None]
    labels, distances = assign_coarse(outputs.anchors, batch["segments_frame"], batch["labels"], bounds)
    labels = jnp.where(valid, labels, 0)
    positive = labels > 0

    predicted = jax.lax.stop_gradient(outputs.coarse_distances)
    iou = jnp.where(positive, distance_iou(predicted, distances), 0.0)
    threshold = reading(config, "refined_iou")
    # ActivityNet: at least the best location of each recording is refined.
    if reading(config, "relative_refined_iou"):
        threshold = jnp.minimum(threshold, iou.max(axis=1, keepdims=True))
    half_width = 0.5 * predicted.sum(-1, keepdims=True)
    return Targets(
        coarse_labels=labels,
        distances=distances,
        refined_labels=jnp.where(positive & (iou >= threshold), labels, 0),
        offsets=(distances - predicted) / half_width,
        valid=valid,
    )
