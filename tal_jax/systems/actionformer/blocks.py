"""The blocks of ActionFormer's pyramid, one class for each `config.backbone.mixer`."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from tal_jax.systems.actionformer.attention import attend
from tal_jax.systems.actionformer.config import SGP_GROUPS
from tal_jax.systems.actionformer.layers import (
    Conv,
    GroupNorm,
    LayerNorm,
    StochasticDepth,
    gelu,
    max_pool,
    valid_mean,
)

MLP_FACTOR = 4  # channels of the hidden layer, in those of the block
# Of TriDet on THUMOS14: channels of the perceptron in those of the block; the larger window is 5 (w + 1) + 1
# positions. The initial deviation of the depthwise kernels is the default of TriDet's class. Its config says
# 0, from which products of two branches cannot move.
SGP_MLP_FACTOR, SGP_WIDER, SGP_DEVIATION = 1.5, 5, 1.0


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
        if self.relative and self.window > 1:
            initial = nn.initializers.truncated_normal((2 / channels) ** 0.5)
            relative = self.param("relative", initial, (self.heads, self.window))
        seen = attend(**parts, valid=strided.valid, window=self.window, relative=relative)
        seen = conv(channels, name="output")(seen.reshape(part.shape))
        past = x if self.stride == 1 else max_pool(x, grid, self.stride)
        seen = strided.mask(drop(seen))
        x = strided.mask(past) + StochasticDepth(self.drop_path, name="attention_branch")(seen, train)

        hidden = conv(MLP_FACTOR * channels, name="mlp_in")(LayerNorm(name="norm_2")(x))
        hidden = drop(gelu(hidden))
        hidden = strided.mask(drop(conv(channels, name="mlp_out")(hidden)))
        return x + StochasticDepth(self.drop_path, name="mlp_branch")(hidden, train)


class SGPBlock(nn.Module):
    """Scalable-granularity perception, the block of TriDet (Shi et al., CVPR 2023, section 3.2).

    Depthwise convolutions alone: a branch of each instant, gated by the mean over the recording, and a branch
    of two windows, gated by a convolution; then a perceptron. Means and group normalisation are over the
    recording; those of the published code are over its padding too.

    Attributes:
      window: w, positions of the smaller window, odd.
      stride: 1 or 2; 2: the input is max-pooled.
      drop_path: rate of stochastic depth; 0: branches are added unscaled.
      dtype: of the computation.
    """

    window: int = 1
    stride: int = 1
    drop_path: float = 0.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, grid, train=False):
        """(B, T, C), its Grid -> (B, T / stride, C), 0 where no recording is."""
        channels, strided = x.shape[-1], grid.strided(self.stride)
        conv = functools.partial(Conv, use_bias=True, dtype=self.dtype)
        depthwise = functools.partial(conv, None, initial=nn.initializers.normal(SGP_DEVIATION))
        wider = (self.window + 1) * SGP_WIDER + 1

        x = strided.mask(x if self.stride == 1 else max_pool(x, grid, self.stride))
        normal = strided.mask(LayerNorm(name="norm")(x))
        instant = depthwise(1, name="instant")(normal)
        of_recording = jax.nn.relu(depthwise(1, name="recording")(valid_mean(normal, strided)))
        windows = depthwise(self.window, name="narrow")(normal) + depthwise(wider, name="wide")(normal)
        gate = depthwise(self.window, name="gate")(normal)
        seen = strided.mask(instant * of_recording + windows * gate + normal)
        x += StochasticDepth(self.drop_path, name="perception_branch")(seen, train)

        hidden = conv(int(SGP_MLP_FACTOR * channels), 1, name="mlp_in")(
            GroupNorm(SGP_GROUPS, name="group_norm")(x, strided)
        )
        hidden = strided.mask(conv(channels, 1, name="mlp_out")(gelu(hidden)))
        return x + StochasticDepth(self.drop_path, name="mlp_branch")(hidden, train)


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
