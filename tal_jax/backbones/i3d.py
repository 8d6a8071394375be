"""I3D: the Inception network inflated to 3-D (Carreira and Zisserman, CVPR 2017), up to Mixed_5c, in NTHWC
layout.

Input (B, T, H, W, 3) for RGB or (B, T, H, W, 2) for optical flow, in [-1, 1]. Every convolution has no bias
and is followed by BatchNorm (eps 1e-3) and ReLU; padding is SAME everywhere.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from tal_jax.ops.conv3d import conv3d, max_pool3d
from tal_jax.runtime.parallel import AXIS

BN_EPS = 1e-3
BN_MOMENTUM = 0.99  # share of the running statistics that a training step keeps
MAX_PIXEL = 255.0

# End point -> (kernel, stride, channels) of a convolution, (kernel, stride) of a max pool, or the channels of
# an Inception block: b0, b1a, b1b, b2a, b2b, b3b.
LAYERS = {
    "Conv3d_1a_7x7": ((7, 7, 7), (2, 2, 2), 64),
    "MaxPool3d_2a_3x3": ((1, 3, 3), (1, 2, 2)),
    "Conv3d_2b_1x1": ((1, 1, 1), (1, 1, 1), 64),
    "Conv3d_2c_3x3": ((3, 3, 3), (1, 1, 1), 192),
    "MaxPool3d_3a_3x3": ((1, 3, 3), (1, 2, 2)),
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "MaxPool3d_4a_3x3": ((3, 3, 3), (2, 2, 2)),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "MaxPool3d_5a_2x2": ((2, 2, 2), (2, 2, 2)),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


class I3D(nn.Module):
    """Clips -> the end points asked for.

    Attributes:
      outputs: names of LAYERS; (B, T', H', W', channels) each, at strides of 4 and 8 frames for the two by
        default. With `num_classes` also "Logits" (B, num_classes).
      channel_factor: on all numbers of channels.
      num_classes: of the classification layer, 0 for none.
      frozen_norm: BatchNorms are constants (collection "batch_stats"), as AFSD trains. False: scale and bias
        are trained; statistics are those of the batch over all devices wherever "batch_stats" is mutable,
        else the running ones.
      remat: recompute the inside of each block in the backward pass instead of keeping it.
      conv: 'native', 'folded' or 'auto', of convolutions and max pools, see `ops.conv3d` and
        docs/performance.md.
      dtype: of the computation; parameters stay float32.
    """

    outputs: tuple = ("Mixed_4f", "Mixed_5c")
    channel_factor: float = 1.0
    num_classes: int = 0
    frozen_norm: bool = True
    remat: bool = False
    conv: str = "auto"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, clips, num_frames=None, sample_mask=None):
        """The end points of clips.

        Args:
          clips: (B, T, H, W, C), numbers in [-1, 1], or pixels 0 to 255 as uint8 or float16.
          num_frames: not used: I3D sees padding like a recording, as published.
          sample_mask: (B,) 0 for clips that only fill the batch: they are in no statistics of BatchNorms.
            None: all clips count.

        Returns:
          tuple, as `outputs`.
        """
        if clips.dtype in (jnp.uint8, jnp.float16):
            clips = scale_pixels(clips)
        settings = dict(conv=self.conv, frozen_norm=self.frozen_norm, dtype=self.dtype)
        unit, inception = (nn.remat(Unit), nn.remat(Inception)) if self.remat else (Unit, Inception)
        x, end_points = clips.astype(self.dtype), {}
        for name, layer in LAYERS.items():
            if len(layer) == 2:
                x = max_pool3d(x, *layer, self.conv)
            elif len(layer) == 3:
                kernel, stride, channels = layer
                x = unit(self._scaled(channels), kernel, stride, **settings, name=name)(x, sample_mask)
            else:
                channels = tuple(map(self._scaled, layer))
                block = inception(channels, functools.partial(Unit, **settings), self.conv, name=name)
                x = block(x, sample_mask)
            end_points[name] = x
            if set(self.outputs) <= end_points.keys() and not self.num_classes:
                break
        if self.num_classes:  # averages over space and pairs of steps, one linear layer, average over time
            pooled = nn.avg_pool(x.astype(jnp.float32), (2, *x.shape[2:4]))[:, :, 0, 0]
            init = nn.initializers.glorot_uniform()
            logits = nn.Dense(self.num_classes, kernel_init=init, name="logits")(pooled)
            end_points["Logits"] = logits.mean(axis=1)
        return tuple(end_points[name] for name in self.outputs)

    def _scaled(self, channels):
        return max(1, round(self.channel_factor * channels))


class Unit(nn.Module):
    """Convolution without bias, BatchNorm, ReLU. (B, T, H, W, C), mask (B,) -> (B, T', H', W', features)."""

    features: int
    kernel: tuple = (1, 1, 1)
    stride: tuple = (1, 1, 1)
    conv: str = "auto"
    frozen_norm: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, sample_mask=None):
        def convolve(x, kernel, stride, *_, **__):
            return conv3d(x, kernel, stride, self.conv)

        settings = dict(kernel_init=nn.initializers.he_normal(), conv_general_dilated=convolve)
        settings |= dict(use_bias=False, dtype=self.dtype, name="conv")
        x = nn.Conv(self.features, self.kernel, self.stride, **settings)(x)
        if self.frozen_norm:
            return nn.relu(FrozenBatchNorm(self.dtype, name="bn")(x))
        return nn.relu(BatchNorm(self.dtype, name="bn")(x, sample_mask))


class Inception(nn.Module):
    """Four branches side by side, joined by channel: 1x1x1; 1x1x1, 3x3x3; 1x1x1, 3x3x3; max pool, 1x1x1."""

    channels: tuple  # b0, b1a, b1b, b2a, b2b, b3b
    unit: Any
    conv: str

    @nn.compact
    def __call__(self, x, sample_mask=None):
        b0, b1a, b1b, b2a, b2b, b3b = self.channels
        point, cube = (1, 1, 1), (3, 3, 3)

        def apply(x, channels, kernel, name):
            return self.unit(channels, kernel, name=name)(x, sample_mask)

        branches = [
            apply(x, b0, point, "b0"),
            apply(apply(x, b1a, point, "b1a"), b1b, cube, "b1b"),
            apply(apply(x, b2a, point, "b2a"), b2b, cube, "b2b"),
            apply(max_pool3d(x, cube, (1, 1, 1), self.conv), b3b, point, "b3b"),
        ]
        return jnp.concatenate(branches, axis=-1)


class BatchNorm(nn.Module):
    """BatchNorm whose scale and bias are trained. (B, ..., C), mask (B,) 1 = counts -> (B, ..., C).

    Where "batch_stats" is mutable, mean and variance are those of the clips of all devices that count, and
    the running ones move towards them. Elsewhere they are the running ones.

    `nn.BatchNorm` with a mask averages the masked means of the devices. That is another number where devices
    have different numbers of clips, and NaN where one has none.
    """

    dtype: Any

    @nn.compact
    def __call__(self, x, sample_mask=None):
        channels = (x.shape[-1],)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels)
        scale = self.param("scale", nn.initializers.ones, channels)
        bias = self.param("bias", nn.initializers.zeros, channels)
        mean, var = running_mean.value, running_var.value
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            mask = jnp.ones(len(x)) if sample_mask is None else sample_mask
            count = jax.lax.psum(mask.sum(), AXIS)
            share = mask / jnp.maximum(count, 1.0)  # of each clip in the statistics
            exact = x.astype(jnp.float32)
            moments = [power.mean(axis=range(1, x.ndim - 1)) for power in (exact, exact**2)]  # (B, C)
            mean, mean_square = jax.lax.psum(share @ jnp.stack(moments), AXIS)
            var = jnp.maximum(mean_square - jnp.square(mean), 0.0)
            kept = jnp.where(count > 0, BN_MOMENTUM, 1.0)  # a small batch may have no clip that counts
            running_mean.value = kept * running_mean.value + (1 - kept) * mean
            running_var.value = kept * running_var.value + (1 - kept) * var
        return ((x - mean) * (jax.lax.rsqrt(var + BN_EPS) * scale) + bias).astype(self.dtype)


class FrozenBatchNorm(nn.Module):
    """BatchNorm whose statistics, scale and bias are constants; (..., C) -> (..., C)."""

    dtype: Any

    @nn.compact
    def __call__(self, x):
        def constant(name, init):
            return self.variable("batch_stats", name, init, (x.shape[-1],)).value

        mean, var = constant("mean", jnp.zeros), constant("var", jnp.ones)
        scale, bias = constant("scale", jnp.ones), constant("bias", jnp.zeros)
        factor = scale * jax.lax.rsqrt(var + BN_EPS)
        return (x * factor + (bias - mean * factor)).astype(self.dtype)


def scale_pixels(pixels):
    """0 to 255 -> -1 to 1, float32. 127.5, which float16 holds exactly, is the 0 of padding."""
    return pixels.astype(jnp.float32) / MAX_PIXEL * 2.0 - 1.0
