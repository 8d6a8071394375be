"""Segments from anchors, and how well they stand out: the outer-inner contrast (kt_mgfn report, section 3.1).

Unit: snippets; snippet t is the interval [t, t + 1). An activation is piecewise constant on snippets and 0
outside [0, T].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from tal_jax.ops.localize import MAX_CONTRAST, MAX_TIOU, MIN_ACTIVATION
from tal_jax.ops.segments import overlap_and_union
from tal_jax.systems.kt_mgfn.config import reading
from tal_jax.systems.kt_mgfn.erasing import normalise_over_time

# AutoLoc's code has these numbers, where the report is silent; but for OUTER_MIN, which is 1 there.
OUTER_RATIO = 0.25  # gamma: the outer segment is so much of the length longer on each side
OUTER_MIN = 0.0  # but at least so many snippets
MIN_LENGTH = 1e-6  # snippets that an integral is divided by at least: an empty piece has mean 0


class Selection(NamedTuple):
    """The best segment at each snippet, and which of them are kept. T snippets."""

    segments: jax.Array  # (T, 2) snippets
    contrast: jax.Array  # (T,) in [-1, 1], lower is better
    kept: jax.Array  # (T,) bool


def anchor_segments(offsets, lengths, centre=0.5):
    """kt_mgfn report, section 3.1: r_x = t_x + t_w * p_x, r_w = t_w * exp(p_w), segment r_x -/+ r_w / 2.

    Args:
      offsets: (..., T, M, 2) p_x, p_w.
      lengths: (M,) t_w.
      centre: t_x = t + centre.

    Returns:
      (..., T, M, 2) start, end; not clipped to [0, T].
    """
    positions = jnp.arange(offsets.shape[-3], dtype=offsets.dtype)[:, None] + centre
    centres = positions + lengths * offsets[..., 0]
    half_lengths = 0.5 * lengths * jnp.exp(offsets[..., 1])
    return jnp.stack([centres - half_lengths, centres + half_lengths], axis=-1)


def outer_segments(segments, ratio, minimum=0.0):
    """kt_mgfn report, section 3.1: S = s - gamma * r_w, E = e + gamma * r_w, at least `minimum` away.

    (..., 2) -> (..., 2).
    """
    margin = jnp.maximum(ratio * (segments[..., 1] - segments[..., 0]), minimum)
    return jnp.stack([segments[..., 0] - margin, segments[..., 1] + margin], axis=-1)


def integral(activation, ends):
    """Integral of the activation from 0 to each of the ends: its cumulative sum, linear in between.

    activation (T,), ends (...) in snippets -> (...).

    Differentiable in `ends`: the slope is the activation of the snippet that holds the end, 0 outside [0, T].
    """
    padded = jnp.pad(activation, 1)  # (T + 2,) snippets -1 .. T
    before = jnp.pad(jnp.cumsum(activation), (2, 0))  # (T + 2,) integral up to the start of each
    snippet = jnp.clip(jnp.floor(jax.lax.stop_gradient(ends)), -1, activation.shape[0]).astype(jnp.int32)
    return before[snippet + 1] + (ends - snippet) * padded[snippet + 1]


def outer_inner_contrast(activation, segments, ratio, minimum=0.0):
    """OIC (kt_mgfn report, section 3.1): mean activation of the outer ring minus that of the segment.

    Lower is better. Lengths are not clipped to the recording. Gradient flows to the inner and outer
    boundaries.

    Args:
      activation: (T,) of one class.
      segments: (..., 2).
      ratio, minimum: see `outer_segments`.

    Returns:
      (...) in [-1, 1] for activations in [0, 1].
    """
    outer = outer_segments(segments, ratio, minimum)
    inner_at, outer_at = integral(activation, segments), integral(activation, outer)
    length = segments[..., 1] - segments[..., 0]
    ring_length = jnp.abs(outer - segments).sum(-1)
    ring = (inner_at[..., 0] - outer_at[..., 0]) + (outer_at[..., 1] - inner_at[..., 1])
    inner_mean = (inner_at[..., 1] - inner_at[..., 0]) / jnp.maximum(length, MIN_LENGTH)
    return ring / jnp.maximum(ring_length, MIN_LENGTH) - inner_mean


def contrast_activations(config, cas):
    """The activations that OIC is computed of: the CAS, or by the reading `oic_scaled` each class in [0, 1]
    over time.

    config: the run's config; cas: (B, T, K) -> (B, T, K).
    """
    return normalise_over_time(cas) if reading(config, "oic_scaled") else cas


def best_segments(activation, segments):
    """The anchor of lowest contrast at each snippet (the report: "discard the negative segments"; AutoLoc).

    activation: (T,) of one class, a constant; segments: (T, M, 2).

    Returns:
      segments (T, 2), contrast (T,).
    """
    activation = jax.lax.stop_gradient(activation)
    contrast = outer_inner_contrast(activation, segments, OUTER_RATIO, OUTER_MIN)
    best = jnp.argmin(contrast, axis=-1, keepdims=True)  # (T, 1)
    best_contrast = jnp.take_along_axis(contrast, best, axis=1)[:, 0]
    return jnp.take_along_axis(segments, best[..., None], axis=1)[:, 0], best_contrast


def select(activation, segments):
    """Which segments of one class of one recording train the regressor: active, contrasting, not repeated.

    The rule is AutoLoc's. `ops.localize.of_boundaries` applies it on the host.

    Args:
      activation: (T,) of one class, a constant.
      segments: (T, M, 2) snippets.

    Returns:
      Selection.
    """
    best, contrast = best_segments(activation, segments)
    candidate = (activation > MIN_ACTIVATION) & (contrast < MAX_CONTRAST)
    kept = keep_best(*jax.lax.stop_gradient((best, -contrast)), candidate, MAX_TIOU)
    return Selection(best, contrast, kept)


def keep_best(segments, scores, candidate, max_tiou):
    """Greedy NMS of fixed shape: of candidates that overlap by tIoU >= max_tiou the best one stays.

    Args:
      segments: (N, 2); scores: (N,); candidate: (N,) bool.

    Returns:
      (N,) bool.
    """
    order = jnp.argsort(-jnp.where(candidate, scores, -jnp.inf))  # stable: the first of equals comes first
    shared, union = overlap_and_union(segments[order, None], segments[order])
    # (N, N): the second comes later, and overlaps the first.
    overlaps = jnp.triu((shared > 0) & (shared >= max_tiou * union), k=1)

    def drop_overlapped(i, kept):
        return kept & ~(kept[i] & overlaps[i])

    kept = jax.lax.fori_loop(0, len(scores), drop_overlapped, candidate[order])
    return jnp.zeros_like(candidate).at[order].set(kept)
