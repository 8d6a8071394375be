"""Label assignment of ActionFormer: which points answer for which action. Positions are in cells."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SAME_LENGTH = 1e-3  # cells: actions of a point that differ by less all give it their classes


class Targets(NamedTuple):
    """The targets of B recordings at N points."""

    classes: jax.Array  # (B, N, K) of 0 and 1, several 1 where actions of one length meet
    distances: jax.Array  # (B, N, 2) to start and end, in strides of the point's level


def assign(points, strides, bounds, segments, labels, num_classes, centre_radius=1.5, cost=None):
    """ActionFormer section 3.3: each point gets the shortest action near whose middle it lies.

    Args:
      points, strides: (N,) cells.
      bounds: (N, 2) cells: the longer of a point's two distances lies within, both ends included.
      segments: (B, G, 2) cells; labels: (B, G) int in 1..K, 0 marks padding.
      num_classes: K.
      centre_radius: how many strides from the middle of an action a point may lie; 0: anywhere inside.
      cost: (B, N, G) of each action for each point; the distances are then to the cheapest action around a
        point, as in TemporalMaxer's code. None: to the shortest one.

    Returns:
      Targets; 0 where a point gets no action.
    """
    start, end = segments[:, None, :, 0], segments[:, None, :, 1]  # (B, 1, G)
    place, stride = points[:, None], strides[:, None]
    left, right = place - start, end - place  # (B, N, G)
    if centre_radius:
        middle, reach = 0.5 * (start + end), centre_radius * stride
        inside = jnp.minimum(
            place - jnp.maximum(middle - reach, start), jnp.minimum(middle + reach, end) - place
        )
    else:
        inside = jnp.minimum(left, right)
    longer = jnp.maximum(left, right)
    eligible = (inside > 0) & (longer >= bounds[:, None, 0]) & (longer <= bounds[:, None, 1])
    lengths = jnp.where(eligible & (labels > 0)[:, None, :], end - start, jnp.inf)
    shortest = lengths.min(-1, keepdims=True, initial=jnp.inf)
    chosen = (lengths <= shortest + SAME_LENGTH) & jnp.isfinite(lengths)
    one_hot = jax.nn.one_hot(labels - 1, num_classes)  # (B, G, K)
    classes = jnp.minimum(jnp.einsum("bng,bgk->bnk", chosen.astype(jnp.float32), one_hot), 1.0)
    if cost is not None:
        around = (jnp.minimum(left, right) >= 0) & (labels > 0)[:, None, :]
        lengths = jnp.where(around, cost, jnp.inf)
    first = jnp.argmin(lengths, axis=-1)[..., None]
    distances = [jnp.take_along_axis(side, first, axis=-1)[..., 0] for side in (left, right)]
    distances = jnp.stack(distances, axis=-1) / strides[:, None]
    return Targets(classes, jnp.where(jnp.isfinite(shortest), distances, 0.0))


def bounds_of_points(strides, level_bounds):
    """(N, 2) cells: the bounds of each point's level. strides: (N,) NumPy; level_bounds: (low, high) each."""
    return np.float32(level_bounds)[np.log2(strides).astype(int)]
