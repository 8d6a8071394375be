"""The Local-Global Temporal Encoder (TCANet section 2.1): heads attend to a neighbourhood, or to all."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from tal_jax.systems.torch_defaults import uniform_by_fan_in

MASKED = -1e30  # a score; finite, so that a query without any key makes no NaN


def local_scores(query, key, window_size):
    """TCANet Eq. 1: S^l, products of a query with the keys around it. (B, T, H, D) twice -> (B, T, H, w).

    Beyond the ends of the sequence they are 0; `in_window` tells which.
    """
    heads, length = query.shape[2:]
    # The sum over the channels of a head is a product of matrices, for XLA sums short rows slowly on a CPU.
    head_of_channel = jnp.repeat(jnp.eye(heads, dtype=query.dtype), length, axis=0)
    flat = query.reshape(*query.shape[:2], -1)
    scores = [(flat * near.reshape(flat.shape)) @ head_of_channel for near in _neighbours(key, window_size)]
    return jnp.stack(scores, axis=-1)


def local_sums(weights, value):
    """TCANet Eq. 3: f^l, weighted sums of the values around a step.

    weights (B, T, H, w), value (B, T, H, D) -> (B, T, H, D).
    """
    near = _neighbours(value, weights.shape[-1])
    return sum(weights[..., i : i + 1] * values for i, values in enumerate(near))


def global_scores(query, key):
    """TCANet Eq. 4: S^g, products of each query with all keys. (B, T, H, D) twice -> (B, H, T, T)."""
    return jnp.einsum("bqhd,bkhd->bhqk", query, key)


def global_sums(weights, value):
    """TCANet Eq. 6: f^g, weighted sums of all values. (B, H, T, T), (B, T, H, D) -> (B, T, H, D)."""
    return jnp.einsum("bhqk,bkhd->bqhd", weights, value)


def attention_weights(score, query, key, allowed, channels):
    """TCANet Eq. 2, TCANet Eq. 5: W = softmax(S / sqrt(C)) over the keys, the last axis.

    Args:
      score: (query, key) -> S (..., keys), linear in the query, so that this is divided: it is smaller.
      query, key: (B, T, H, D).
      allowed: bool, broadcasts to S: keys that may be attended to.
      channels: C.

    Returns:
      (..., keys) float32.
    """
    scores = score(query * channels**-0.5, key).astype(jnp.float32)
    return jax.nn.softmax(jnp.where(allowed, scores, MASKED))


def add_residual(x, attention, norm, residual):
    """TCANet Eq. 8: f^b = LayerNorm(f^a) + f^a, or as in the published code LayerNorm(x + f^a).

    x, attention f^a: (B, T, C) -> (B, T, C). norm: the LayerNorm; residual: 'output', or as published
    'input'.
    """
    return norm(x + attention) if residual == "input" else norm(attention) + attention


def _neighbours(x, window_size):
    """The w shifted copies of (B, T, H, D): entry i has at step j what x has at j - w // 2 + i, 0 outside."""
    reach, steps = window_size // 2, x.shape[1]
    padded = jnp.pad(x, ((0, 0), (reach, reach), (0, 0), (0, 0)))
    return [padded[:, i : i + steps] for i in range(window_size)]


def in_window(key_mask, window_size):
    """Which keys a local head may see: (B, T) bool -> (B, T, w)."""
    return jnp.stack(_neighbours(key_mask[..., None, None], window_size), axis=-1)[:, :, 0, 0]


class Encoder(nn.Module):
    """One LGTE layer: attention, then a feed-forward network, each with a residual and a LayerNorm after it.

    Attributes:
      heads, local_heads: all of them; how many of these, the first ones, see `window_size` keys.
      window_size: odd.
      hidden: width of the feed-forward network.
      dropout: on attention weights, on what is added to a residual and in the feed-forward network.
      attention_scale: 'head' or 'channels', what the scores are divided by the square root of.
      residual: 'input': norm(x + a); 'output': norm(a) + a, a = attention.
      dtype: of the products of matrices.
    """

    heads: int
    local_heads: int
    window_size: int
    hidden: int
    dropout: float
    attention_scale: str
    residual: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, key_mask, train=False):
        """Encodes each step by the steps that it attends to.

        Args:
          x: (B, T, C) float32.
          key_mask: (B, T) bool, steps that may be attended to.
          train: with dropout; needs an rng named "dropout".

        Returns:
          (B, T, C) float32.
        """
        channels = x.shape[-1]
        drop = nn.Dropout(self.dropout, deterministic=not train)
        norm = functools.partial(nn.LayerNorm, epsilon=1e-5, use_fast_variance=False)
        # Xavier's bound sqrt(6 / (C + 3 C)) of the stacked projection, as published.
        stacked = self._dense(3 * channels, "query_key_value", uniform_by_fan_in(2 * channels / 3))(x)
        parts = [part.reshape(*x.shape[:2], self.heads, -1) for part in jnp.split(stacked, 3, axis=-1)]
        local, everywhere = jnp.split(jnp.stack(parts), [self.local_heads], axis=3)
        divided_by, heads = channels // self.heads if self.attention_scale == "head" else channels, []
        if self.local_heads:
            query, key, value = local
            score = functools.partial(local_scores, window_size=self.window_size)
            allowed = in_window(key_mask, self.window_size)[:, :, None]
            weights = attention_weights(score, query, key, allowed, divided_by)  # (B, T, H, w)
            self.sow("intermediates", "local_weights", weights)
            heads.append(local_sums(drop(weights).astype(self.dtype), value))
        if self.local_heads < self.heads:
            query, key, value = everywhere
            allowed = key_mask[:, None, None]
            weights = attention_weights(global_scores, query, key, allowed, divided_by)  # (B, H, T, T)
            self.sow("intermediates", "global_weights", weights)
            heads.append(global_sums(drop(weights).astype(self.dtype), value))
        attention = self._join_heads(heads)
        self.sow("intermediates", "attention", attention)
        x = add_residual(x, drop(attention), norm(name="norm_1"), self.residual)
        return self._feed_forward(x, drop, norm(name="norm_2"))

    def _dense(self, features, name, init, bias_init=nn.initializers.zeros_init()):
        """A linear layer in the dtype of the computation, named so in the tree of parameters."""
        return nn.Dense(features, dtype=self.dtype, kernel_init=init, bias_init=bias_init, name=name)

    def _join_heads(self, heads):
        """TCANet Eq. 7: f^a = [f^l_1 ... f^g_N] W_o.

        List of (B, T, H, D), H heads together -> (B, T, C) float32.
        """
        joined = jnp.concatenate(heads, axis=2)
        joined, channels = joined.reshape(*joined.shape[:2], -1), joined.shape[2] * joined.shape[3]
        return self._dense(channels, "output", uniform_by_fan_in(channels))(joined).astype(jnp.float32)

    def _feed_forward(self, x, drop, norm):
        """TCANet Eq. 9: f' = LayerNorm(FFN(f^b) + f^b), FFN with one hidden layer.

        (B, T, C) -> (B, T, C) float32.
        """
        outer, inner = uniform_by_fan_in(x.shape[-1]), uniform_by_fan_in(self.hidden)
        hidden = drop(nn.relu(self._dense(self.hidden, "expand", outer, outer)(x)))
        return norm(x + drop(self._dense(x.shape[-1], "contract", inner, inner)(hidden).astype(jnp.float32)))
