"""Features at any place of a sequence: linear interpolation between the rows before and after it.

A *position* counts rows of a feature map: row i is at position i, the map ends at -0.5 and T - 0.5, and rows
outside are 0.
"""

import math

import jax
import jax.numpy as jnp

OUTSIDE = -2.0  # a position so far outside that it reads 0
MIN_COVERED_SEC = 1e-6
# The gradient on a map of up to so many rows is a product of matrices, on a longer one a scatter: the
# faster of the two on a CPU.
PRODUCT_MAX_ROWS = 512


def segment_positions(start_sec, end_sec, covered_sec, num_rows, count):
    """`count` positions in the middle of as many equal parts of a segment, first cut to what the map covers.

    Args:
      start_sec, end_sec, covered_sec: (...) float.
      num_rows: T.

    Returns:
      (..., count), from -0.5 to T - 0.5. The published `affine_grid` with align_corners=False.
    """
    covered = jnp.maximum(covered_sec, MIN_COVERED_SEC)
    low, high = (_clamp(bound, covered) / covered for bound in (start_sec, end_sec))
    share = (jnp.arange(count) + 0.5) / count
    return (low[..., None] + (high - low)[..., None] * share) * num_rows - 0.5


def _clamp(value, highest):
    """Into [0, highest]; unlike `jnp.clip`, and like PyTorch, with the whole gradient at the bounds."""
    return jnp.where(value < 0, 0.0, jnp.where(value > highest, highest, value))


def context_positions(segments_sec, covered_sec, num_rows, samples=(32, 64, 32)):
    """TCANet Eq. 11: F_a = [F_s, F_c, F_e], where the three parts of a proposal are sampled.

    Of a proposal [s, e] of width w they are [s - w/2, s], [s, e] and [e, e + w/2].

    Args:
      segments_sec: (..., 2).
      covered_sec: (...), what the map covers.
      num_rows: T of the map.
      samples: how many before, inside, after.

    Returns:
      (..., sum of samples) positions.
    """
    start, end = segments_sec[..., 0], segments_sec[..., 1]
    reach = 0.5 * (end - start)
    bounds = ((start - reach, start), (start, end), (end, end + reach))
    parts = [segment_positions(*pair, covered_sec, num_rows, count) for pair, count in zip(bounds, samples)]
    return jnp.concatenate(parts, axis=-1)


@jax.custom_vjp
def interpolate(maps, positions):
    """The values of feature maps between their rows: the published `grid_sample`.

    No map is copied for a proposal.

    Args:
      maps: (*K, *L, T, C).
      positions: (*L, S), the same for all K; outside of [0, T - 1] rows count as 0.

    Returns:
      (*K, *L, S, C) float32, differentiable in both.
    """
    flat = maps.reshape(-1, maps.shape[-1])
    return sum(_take(flat, row) * weight[..., None] for row, weight, _ in _neighbours(maps.shape, positions))


def _neighbours(shape, positions):
    """(row, weight, slope) of the two neighbours of each position, (*K, *L, S) each.

    Rows count through all maps of the shape (*K, *L, T, C).
    """
    *leading, num_rows, _ = shape
    positions = jnp.broadcast_to(positions, (*leading, positions.shape[-1]))
    first_rows = (jnp.arange(math.prod(leading)) * num_rows).reshape(*leading, 1)
    before = jnp.floor(positions)
    share = positions - before
    neighbours = []
    for row, weight, slope in ((before, 1.0 - share, -1.0), (before + 1, share, 1.0)):
        inside = (row >= 0) & (row < num_rows)
        row = jnp.clip(row, 0, num_rows - 1).astype(jnp.int32)
        neighbours.append((row + first_rows, jnp.where(inside, weight, 0.0), jnp.where(inside, slope, 0.0)))
    return neighbours


def _take(flat, rows):
    return flat.at[rows].get(mode="promise_in_bounds").astype(jnp.float32)


def _interpolate_forward(maps, positions):
    return interpolate(maps, positions), (maps, positions)


def _interpolate_backward(saved, gradient):
    maps, positions = saved
    neighbours, flat = _neighbours(maps.shape, positions), maps.reshape(-1, maps.shape[-1])
    slope = sum(_take(flat, row) * slope[..., None] for row, _, slope in neighbours)
    # A product with ones, for XLA sums short rows slowly on a CPU.
    on_positions = (gradient * slope) @ jnp.ones(maps.shape[-1])
    on_positions = on_positions.sum(axis=range(on_positions.ndim - positions.ndim))
    if maps.shape[-2] <= PRODUCT_MAX_ROWS:
        apart = jnp.abs(positions[..., None] - jnp.arange(maps.shape[-2]))
        weights = jnp.maximum(1.0 - apart, 0.0)  # (*L, S, T)
        on_maps = jnp.einsum("...st,...sc->...tc", weights, gradient)
    else:
        on_maps = jnp.zeros(flat.shape, jnp.float32)
        for row, weight, _ in neighbours:
            updates = (gradient * weight[..., None]).reshape(-1, maps.shape[-1])
            on_maps = on_maps.at[row.reshape(-1)].add(updates, mode="promise_in_bounds")
    return on_maps.reshape(maps.shape).astype(maps.dtype), on_positions


interpolate.defvjp(_interpolate_forward, _interpolate_backward)
