"""The layers of ActionFormer: masked convolutions, layer normalisation, stochastic depth, positions."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tal_jax.ops.conv1d import conv1d
from tal_jax.systems.torch_defaults import uniform_by_fan_in

LAYER_NORM_EPS = 1e-5


class Grid(NamedTuple):
    """The positions of one level of the pyramid, of B recordings that are padded to one length T.

    Published networks see the first padding after a recording: a layer normalisation turns its zeros into a
    bias, which the next convolution reads. So `exists` says how far a recording and the padding of the
    published code reach. What lies beyond is 0 for every layer, however long the array is.
    """

    valid: jax.Array  # (B, T) bool: positions of the recording
    exists: jax.Array  # (B, T) bool: these, and those of the published padding

    def strided(self, stride):
        """The Grid of every `stride`-th position, from the first."""
        return Grid(self.valid[:, ::stride], self.exists[:, ::stride])

    def hide(self, x, fill=0.0):
        """x (B, T, C) with `fill` where nothing exists."""
        return jnp.where(self.exists[..., None], x, jnp.asarray(fill, x.dtype))

    def mask(self, x):
        """x (B, T, C) with 0 where no recording is."""
        return jnp.where(self.valid[..., None], x, jnp.zeros((), x.dtype))


class Conv(nn.Module):
    """Cross-correlation over time with an odd kernel and zeros beyond the ends. It does not mask.

    Attributes:
      features: channels of the output; None: a depthwise convolution, each channel by itself.
      size: of the kernel.
      stride: of the output; it divides T.
      use_bias: whether a bias is added.
      bias: its initial value, a number, or one of each feature.
      initial: of the kernel, as Flax has them; None: uniform by the number of inputs, PyTorch's default.
      dtype: of the computation.
    """

    features: int | None = None
    size: int = 3
    stride: int = 1
    use_bias: bool = False
    bias: float | Sequence[float] = 0.0
    initial: Callable | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x, cells=None):
        """(B, T, C) -> (B, T / stride, features). cells: of levels side by side, see `ops.conv1d`."""
        depthwise, channels = self.features is None, x.shape[-1]
        shape = (self.size, channels) if depthwise else (self.size, channels, self.features)
        initial = self.initial or uniform_by_fan_in(self.size * (1 if depthwise else channels))
        kernel, x = self.param("kernel", initial, shape).astype(self.dtype), x.astype(self.dtype)
        pad = self.size // 2
        if depthwise:  # sums of shifted arrays: compilers are slow at convolutions of so many groups
            padded, last = jnp.pad(x, ((0, 0), (pad, pad), (0, 0))), x.shape[1] - self.stride
            shifted = [padded[:, i : i + last + 1 : self.stride] for i in range(self.size)]
            y = sum(part * weight for part, weight in zip(shifted, kernel))
        else:
            y = conv1d(x, kernel, stride=self.stride, padding=(pad, pad), cells=cells)
        if self.use_bias:
            initial = jnp.broadcast_to(jnp.asarray(self.bias, jnp.float32), y.shape[-1:])
            y += self.param("bias", lambda key: initial).astype(self.dtype)
        return y


class LayerNorm(nn.Module):
    """Normalisation over the channels of each position, in float32. A vector of zeros becomes the bias."""

    @nn.compact
    def __call__(self, x):
        """(..., C) -> (..., C), of the type of x."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return normalise(x, scale, bias)


@jax.checkpoint  # recomputed for gradients: it takes less memory, and no more time
def normalise(x, scale, bias):
    """(..., C) normalised over C in float32, times scale (C,), plus bias (C,); of the type of x."""
    centred = x.astype(jnp.float32)
    centred -= centred.mean(-1, keepdims=True)
    deviation = jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + LAYER_NORM_EPS)
    return (centred / deviation * scale + bias).astype(x.dtype)


class GroupNorm(nn.Module):
    """Normalisation over the positions of a recording and the channels of a group, in float32.

    Attributes:
      groups: how many; they share the channels.
    """

    groups: int

    @nn.compact
    def __call__(self, x, grid):
        """(B, T, C), its Grid -> (B, T, C), of the type of x; invalid positions do not count."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        of_groups = x.astype(jnp.float32).reshape(*x.shape[:2], self.groups, -1)
        mean = lambda part: valid_mean(part.mean(-1), grid)[..., None]
        of_groups -= mean(of_groups)
        of_groups /= jnp.sqrt(mean(jnp.square(of_groups)) + LAYER_NORM_EPS)
        return (of_groups.reshape(x.shape) * scale + bias).astype(x.dtype)


def valid_mean(x, grid):
    """(B, T, C) -> (B, 1, C), the mean over the valid positions of each recording; 0 where there are none."""
    count = jnp.maximum(grid.valid.sum(1), 1)[:, None, None]
    return grid.mask(x).sum(1, keepdims=True) / count.astype(x.dtype)


@jax.checkpoint
def gelu(x):
    """x Phi(x), with the exact error function, elementwise; recomputed for gradients like `normalise`."""
    return 0.5 * x * (1 + lax.erf(x * 0.5**0.5))


class StochasticDepth(nn.Module):
    """The way in which a residual branch is added: a scale for each channel, then stochastic depth.

    With a rate of 0 there is no scale. In training a branch is left out for a recording with probability
    `rate`, and what stays is divided by 1 - rate.
    """

    rate: float

    @nn.compact
    def __call__(self, x, train):
        """(B, T, C) -> (B, T, C). train: whether branches are left out; it needs an rng "dropout"."""
        if not self.rate:
            return x
        x *= self.param("scale", nn.initializers.constant(1e-4), x.shape[-1:]).astype(x.dtype)
        if not train:
            return x
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, (len(x), 1, 1))
        return x * kept / jnp.asarray(1 - self.rate, x.dtype)


def position_embedding(length, channels):
    """The table (length, channels) of sines and cosines, divided by sqrt(channels). NumPy float32."""
    channel = np.arange(channels)
    angle = np.arange(length)[:, None] / 10000.0 ** (2 * (channel // 2) / channels)
    return (np.where(channel % 2, np.cos(angle), np.sin(angle)) / np.sqrt(channels)).astype(np.float32)


def stretched_positions(table, lengths, size):
    """The position embedding of recordings; one as long as the table or longer stretches it to its length.

    Args:
      table: (S, C), see `position_embedding`.
      lengths: (B,) int, positions that exist of each recording.
      size: T, positions of the arrays.

    Returns:
      (B, T, C), by linear interpolation with half-pixel centres; a shorter one has the first rows.
    """
    longest = len(table)
    factor = jnp.minimum(longest / lengths.astype(jnp.float32), 1.0)[:, None]
    place = jnp.maximum((jnp.arange(size) + 0.5) * factor - 0.5, 0.0)
    low = jnp.minimum(place.astype(jnp.int32), longest - 1)
    share = (place - low)[..., None]
    table = jnp.asarray(table)
    return table[low] * (1 - share) + table[jnp.minimum(low + 1, longest - 1)] * share


def max_pool(x, grid, stride):
    """The maximum over `stride` + 1 positions around every `stride`-th one; what does not exist is left out.

    (B, T, C) -> (B, T / stride, C). Padding that exists counts as it is.
    """
    lowest, side, last = jnp.finfo(x.dtype).min, (stride + 1) // 2, x.shape[1] - stride
    padded = jnp.pad(grid.hide(x, lowest), ((0, 0), (side, side), (0, 0)), constant_values=lowest)
    shifted = [padded[:, i : i + last + 1 : stride] for i in range(stride + 1)]
    return functools.reduce(jnp.maximum, shifted)
