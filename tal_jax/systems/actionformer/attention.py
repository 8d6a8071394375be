"""Attention of ActionFormer: over a window around each position, or over the whole recording."""

import jax
import jax.numpy as jnp

SMALLEST_BLOCK = 32  # queries that share their keys; more make matrices larger, and more pairs for nothing


def attend(query, key, value, valid, window, relative=None):
    """Scaled dot-product attention of each head over valid keys.

    Args:
      query, key, value: (B, T, H, D).
      valid: (B, T) bool: keys that count. A query without any of them gets 0.
      window: a query sees keys at most window // 2 positions away; up to 1: all.
      relative: (H, window), added to the logits by the key's distance, from -(window // 2); or None.

    Returns:
      (B, T, H, D). No array is of T x T but for a window of all.
    """
    query = query / jnp.asarray(query.shape[-1] ** 0.5, query.dtype)
    length, reach = query.shape[1], window // 2
    if window <= 1:
        logits = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
        weights = _softmax(logits, valid[:, None, None, :])
        return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)
    block = max(SMALLEST_BLOCK, reach)
    missing = -length % block
    pad = lambda x: jnp.pad(x, ((0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)))
    query, key, value, valid = map(pad, (query, key, value, valid))
    query = query.reshape(query.shape[0], -1, block, *query.shape[2:])
    key, value, valid = (_with_neighbours(x, block, reach) for x in (key, value, valid))
    logits = jnp.einsum("bnqhd,bnkhd->bnhqk", query, key, preferred_element_type=jnp.float32)
    distance = jnp.arange(block + 2 * reach) - reach - jnp.arange(block)[:, None]  # (queries, keys)
    near = jnp.abs(distance) <= reach
    if relative is not None:
        logits += relative[:, jnp.clip(distance + reach, 0, window - 1)]
    weights = _softmax(logits, valid[:, :, None, None, :] & near)
    out = jnp.einsum("bnhqk,bnkhd->bnqhd", weights.astype(value.dtype), value)
    return out.reshape(out.shape[0], -1, *out.shape[3:])[:, :length]


def _with_neighbours(x, block, reach):
    """(B, T, ...) -> (B, T / block, reach + block + reach, ...): blocks with the ends of their neighbours."""
    x = x.reshape(x.shape[0], -1, block, *x.shape[2:])
    nothing = jnp.zeros_like(x[:, :1, :reach])
    before = jnp.concatenate([nothing, x[:, :-1, block - reach :]], axis=1)
    after = jnp.concatenate([x[:, 1:, :reach], nothing], axis=1)
    return jnp.concatenate([before, x, after], axis=2)


def _softmax(logits, allowed):
    """Softmax over the last axis, of those that are allowed; 0 where none is."""
    logits = jnp.where(allowed, logits, -jnp.inf)
    highest = jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    powers = jnp.exp(logits - jnp.where(jnp.isfinite(highest), highest, 0.0))
    return powers / jnp.maximum(powers.sum(-1, keepdims=True), jnp.finfo(jnp.float32).tiny)
