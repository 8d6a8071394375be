"""The Local-Global Temporal Encoder (TCANet section 2.1): attention whose first heads see the neighbourhood, the others all."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from tal_jax.systems.torch_defaults import uniform_by_fan_in

MASKED = -1e30  # a score; finite, so that a query without any key makes no NaN


def local_scores(query, key, window_size):
    """TCANet Eq. 1: products of a query with the keys around it, (B, T, H, D) twice -> (B, T, H, w).

    Beyond the ends of the sequence they are 0; `in_window` tells which.
    """
    heads, length = query.shape[2:]
    # The sum over the channels of a head is a product of matrices, for XLA sums short rows slowly on a CPU.
    head_of_channel = jnp.repeat(jnp.eye(heads, dtype=query.dtype), length, axis=0)
    flat = query.reshape(*query.shape[:2], -1)
    scores = [(flat * near.reshape(flat.shape)) @ head_of_channel for near in _neighbours(key, window_size)]
    return jnp.stack(scores, axis=-1)


def local_sums(weights, value):
    """TCANet Eq. 3: weighted sums of the values around a step, (B, T, H, w) and (B, T, H, D) -> (B, T, H, D)."""
    near = _neighbours(value, weights.shape[-1])
    return sum(weights[..., i : i + 1] * values for i, values in enumerate(near))


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
      residual: 'input': norm(x + a); 'output': norm(a) + a, a = attention (TCANet Eq. 8).
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
        """TCANet Eq. 1-9.

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

        def dense(features, name, init=None, bias_init=nn.initializers.zeros_init()):
            init = init or uniform_by_fan_in(channels)
            return nn.Dense(features, dtype=self.dtype, kernel_init=init, bias_init=bias_init, name=name)

        # Xavier's bound sqrt(6 / (C + 3 C)) of the stacked projection, as published.
        stacked = dense(3 * channels, "query_key_value", uniform_by_fan_in(2 * channels / 3))(x)
        query, key, value = (part.reshape(*x.shape[:2], self.heads, -1) for part in jnp.split(stacked, 3, axis=-1))
        divisor = query.shape[-1] if self.attention_scale == "head" else channels
        query = query * divisor**-0.5
        local, everywhere = jnp.split(jnp.stack([query, key, value]), [self.local_heads], axis=3)
        parts = []
        if self.local_heads:
            parts.append(self._attend_locally(*local, key_mask, drop))
        if self.local_heads < self.heads:
            parts.append(self._attend_everywhere(*everywhere, key_mask, drop))
        mixed = jnp.concatenate(parts, axis=2).reshape(x.shape)
        attention = dense(channels, "output")(mixed).astype(jnp.float32)
        self.sow("intermediates", "attention", attention)
        attention, norm_1, norm_2 = drop(attention), norm(name="norm_1"), norm(name="norm_2")
        # The published code; the report has Eq. 8, config.model.residual = 'output'.
        x = norm_1(x + attention) if self.residual == "input" else norm_1(attention) + attention
        hidden = drop(nn.relu(dense(self.hidden, "expand", bias_init=uniform_by_fan_in(channels))(x)))
        init = uniform_by_fan_in(self.hidden)
        return norm_2(x + drop(dense(channels, "contract", init, init)(hidden).astype(jnp.float32)))

    def _attend_locally(self, query, key, value, key_mask, drop):
        """(B, T, H, D) three times -> (B, T, H, D), each step from its window."""
        scores = local_scores(query, key, self.window_size).astype(jnp.float32)
        allowed = in_window(key_mask, self.window_size)[:, :, None]
        weights = jax.nn.softmax(jnp.where(allowed, scores, MASKED))  # (B, T, H, w)
        self.sow("intermediates", "local_weights", weights)
        return local_sums(drop(weights).astype(self.dtype), value)

    def _attend_everywhere(self, query, key, value, key_mask, drop):
        """TCANet Eq. 4-6. (B, T, H, D) three times -> (B, T, H, D), each step from all."""
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key).astype(jnp.float32)
        weights = jax.nn.softmax(jnp.where(key_mask[:, None, None], scores, MASKED))  # (B, H, T, T)
        self.sow("intermediates", "global_weights", weights)
        return jnp.einsum("bhqk,bkhd->bqhd", drop(weights).astype(self.dtype), value)
