"""The blocks of ActionFormer's pyramid, one class for each `config.backbone.mixer`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from tal_jax.systems.actionformer.attention import attend
from tal_jax.systems.actionformer.layers import Branch, Conv, LayerNorm, gelu, max_pool

MLP_FACTOR = 4  # channels of the hidden layer, in those of the block


class TransformerBlock(nn.Module):
    """Attention, then a perceptron, each in a residual branch (ActionFormer section 3.2).

    Queries, keys and values are made by depthwise convolutions, which also halve the positions of a block
    with a stride; what passes the attention by is then max-pooled.

    Attributes:
      heads: of the attention; they share the channels.
      window: positions that a query sees, itself in the middle; up to 1: all.
      stride: 1 or 2.
      relative: whether logits have a learnt addend for each distance.
      dropout: rate after the attention and inside the perceptron.
      drop_path: rate of stochastic depth; 0: branches are added unscaled.
      dtype: of the computation.
    """

    heads: int
    window: int
    stride: int = 1
    relative: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, grid, train=False):
        """(B, T, C), its Grid -> (B, T / stride, C), 0 where no recording is."""
        channels, strided = x.shape[-1], grid.strided(self.stride)
        conv = functools.partial(Conv, use_bias=True, size=1, dtype=self.dtype)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        size = 3 if self.stride == 1 else self.stride + 1

        normal = grid.hide(LayerNorm(name="norm_1")(x))
        parts = {}
        for name in ("query", "key", "value"):
            part = Conv(None, size, self.stride, dtype=self.dtype, name=f"{name}_conv")(normal)
            part = LayerNorm(name=f"{name}_norm")(strided.mask(part))
            part = conv(channels, name=name)(part)
            parts[name] = part.reshape(*part.shape[:2], self.heads, -1)
        relative = None
        if self.relative:
            initial = nn.initializers.truncated_normal((2 / channels) ** 0.5)
            relative = self.param("relative", initial, (self.heads, self.window))
        seen = attend(**parts, valid=strided.valid, window=self.window, relative=relative)
        seen = conv(channels, name="output")(seen.reshape(part.shape))
        past = x if self.stride == 1 else max_pool(x, grid, self.stride)
        seen = strided.mask(drop(seen))
        x = strided.mask(past) + Branch(self.drop_path, name="attention_branch")(seen, train)

        hidden = conv(MLP_FACTOR * channels, name="mlp_in")(LayerNorm(name="norm_2")(x))
        hidden = drop(gelu(hidden))
        hidden = strided.mask(drop(conv(channels, name="mlp_out")(hidden)))
        return x + Branch(self.drop_path, name="mlp_branch")(hidden, train)


class ConvBlock(nn.Module):
    """Two convolutions in a residual branch, ActionFormer's ablation without attention.

    Attributes:
      stride: 1 or 2.
      dtype: of the computation.
    """

    stride: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, grid, train=False):
        """(B, T, C), its Grid -> (B, T / stride, C), 0 where no recording is."""
        del train
        channels, strided = x.shape[-1], grid.strided(self.stride)
        conv = functools.partial(Conv, use_bias=True, dtype=self.dtype)
        x = grid.hide(x)
        hidden = strided.mask(conv(2 * channels, stride=self.stride, name="conv_1")(x))
        hidden = strided.mask(conv(channels, name="conv_2")(jax.nn.relu(hidden)))
        if self.stride > 1:
            x = strided.mask(conv(channels, 1, name="skip")(x[:, :: self.stride]))
        return jax.nn.relu(hidden + x)


class MaxBlock(nn.Module):
    """Max pooling and nothing else (TemporalMaxer, 2023): nothing is learnt.

    Attributes:
      stride: 2, or 1, which changes nothing.
    """

    stride: int = 1

    @nn.compact
    def __call__(self, x, grid, train=False):
        """(B, T, C), its Grid -> (B, T / stride, C), 0 where no recording is."""
        del train
        return grid.strided(self.stride).mask(max_pool(x, grid, self.stride) if self.stride > 1 else x)
