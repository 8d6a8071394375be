"""The layers of AFSD, which run on one level of the pyramid, or on all of them side by side along time.

Side by side, levels share their weights in one product of matrices; convolutions and normalisations keep them
apart. `cells` are the numbers of cells of the levels, T in all.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.ops.conv1d import conv1d

GROUP_NORM_EPS = 1e-5


def real_cells(num_frames, cells, window):
    """Which cells of a window begin before the end of the recording.

    Args:
      num_frames: (B,) frames of the window that the recording fills.
      cells: numbers of equal cells of the levels side by side, T in all.
      window: frames in a window.

    Returns:
      (B, T) bool.
    """
    first_frames = np.concatenate([np.arange(count) * (window / count) for count in cells])
    return first_frames < num_frames[:, None]


def without_padding(x, num_frames, window, cells=None):
    """A feature (B, T, C) with 0 in all but its `real_cells`; as it is where `num_frames` is None."""
    if num_frames is None:
        return x
    return jnp.where(real_cells(num_frames, cells or x.shape[1:2], window)[..., None], x, 0)


def number_of_real_cells(num_frames, count, window):
    """How many of the `count` equal cells of a window are `real_cells`, a whole number as float32.

    num_frames: frames of the window that the recording fills; count: cells, of the same or another shape.
    """
    return jnp.ceil(num_frames * (count / window))


class Conv(nn.Module):
    """1-D convolution with bias and SAME padding, (B, T, C) -> (B, ceil(T / stride), features).

    Attributes:
      dtype: of the operands.
      precision, result: of the product of matrices, see `ops.conv1d`.
    """

    features: int
    kernel: int = 1
    stride: int = 1
    kernel_init: Any = nn.initializers.glorot_uniform()
    dtype: Any = jnp.float32
    precision: Any = None
    result: Any = None

    @nn.compact
    def __call__(self, x, cells=None):
        def convolve(x, kernel, *_, **__):
            settings = dict(precision=self.precision, result=self.result)
            return conv1d(x, kernel, stride=self.stride, cells=cells, **settings)

        settings = dict(kernel_init=self.kernel_init, dtype=self.dtype, conv_general_dilated=convolve)
        return nn.Conv(self.features, self.kernel, self.stride, **settings, name="conv")(x)


class GroupNorm(nn.Module):
    """Normalisation over the cells of a level and the channels of a group, in float32, then scale and bias.

    Attributes:
      groups: how many; they share the channels.
      dtype: of the result.
    """

    groups: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, cells, real=None):
        """(B, T, C) -> (B, T, C), each level by itself. real: (B, T) bool, cells that count; None: all."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        exact = x.astype(jnp.float32)
        inside = np.repeat(np.eye(len(cells), dtype=np.float32), cells, axis=1)  # (L, T)
        counted = inside[None] if real is None else inside * real[:, None]
        share = counted / jnp.maximum(counted.sum(2, keepdims=True), 1)  # of each cell in the mean of a level
        given = (
            exact,
            jnp.broadcast_to(share, (x.shape[0], *inside.shape)),
        )  # its length is a symbol in an export
        settings = dict(inside=inside, groups=self.groups)
        by_channels = functools.partial(_normalise_channels, **settings)
        by_groups = functools.partial(_normalise_groups, **settings)
        normal = jax.lax.platform_dependent(*given, cpu=by_channels, default=by_groups)
        return (normal * scale + bias).astype(self.dtype)


def _normalise_channels(x, share, inside, groups):
    """x normalised over each level and group by products of matrices, which is fast on a CPU.

    Args:
      x: (B, T, C).
      share: (B, L, T), of each cell in the mean of a level.
      inside: (L, T), 1 for the cells of a level.
      groups: how many share the channels.

    Returns:
      (B, T, C).
    """
    product = functools.partial(jnp.matmul, precision="highest")
    of_cells = jnp.broadcast_to(inside.T, (x.shape[0], *inside.T.shape))

    def mean(values):
        of_levels = product(share, values)  # (B, L, C)
        of_groups = of_levels.reshape(*of_levels.shape[:2], groups, -1)
        of_groups = jnp.broadcast_to(of_groups.mean(-1, keepdims=True), of_groups.shape)
        return product(of_cells, of_groups.reshape(of_levels.shape))

    return _normalise(x, mean)


def _normalise_groups(x, share, inside, groups):
    """Computes `_normalise_channels` by sums instead of products: fewer kernels on a GPU.

    Args and result: see `_normalise_channels`.
    """

    def mean(values):  # (B, T, G, C / G)
        of_levels = (share[..., None] * values.mean(-1)[:, None]).sum(2, keepdims=True)  # (B, L, 1, G)
        return jnp.where(inside[None, ..., None] > 0, of_levels, 0).sum(1)[..., None]  # (B, T, G, 1)

    return _normalise(x.reshape(*x.shape[:2], groups, -1), mean).reshape(x.shape)


def _normalise(x, mean):
    centre = mean(x)
    variance = jnp.maximum(mean(jnp.square(x)) - jnp.square(centre), 0)
    return (x - centre) * jax.lax.rsqrt(variance + GROUP_NORM_EPS)


class Block(nn.Module):
    """AFSD Eq. 2: ReLU(GroupNorm(Conv(x))), the unit that AFSD is made of.

    With 2C channels it gives the start-sensitive f^s and the end-sensitive f^e in one.
    """

    features: int
    kernel: int = 1
    stride: int = 1
    window: int | None = None  # frames in a window, needed with `num_frames`
    groups: int = 32
    kernel_init: Any = nn.initializers.glorot_uniform()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, num_frames=None, cells=None):
        """(B, T, C) -> (B, ceil(T / stride), features).

        Args:
          num_frames: (B,) frames of the window that the recording fills. GroupNorm then counts the
            `real_cells` alone, and the other cells become 0, as the padding of a convolution is. None: all
            cells count.
          cells: of the levels side by side, with a stride of 1; None: one level.
        """
        x = Conv(self.features, self.kernel, self.stride, self.kernel_init, self.dtype, name="conv")(x, cells)
        cells = cells or x.shape[1:2]
        real = None if num_frames is None else real_cells(num_frames, cells, self.window)
        x = nn.relu(GroupNorm(self.groups, self.dtype, name="norm")(x, cells, real))
        return without_padding(x, num_frames, self.window, cells)


def spatial_glorot(height, width):
    """Initialiser of a flat kernel (1, height * width * C, features): Glorot uniform of the convolution of
    height and width.
    """

    def init(key, shape, dtype=jnp.float32):
        unflattened = (height, width, shape[1] // (height * width), shape[2])
        return nn.initializers.glorot_uniform()(key, unflattened, dtype).reshape(shape)

    return init


def upsample_nearest(x, length):
    """Nearest upsampling in time by a whole factor. (B, T, C) -> (B, length, C)."""
    return jnp.repeat(x, length // x.shape[1], axis=1)
