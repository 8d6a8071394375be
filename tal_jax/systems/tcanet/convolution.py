"""Convolutions over time in groups, as products of matrices.

XLA's grouped convolutions and their gradients are slow on a CPU. Inside the network the groups come first:
(G, ..., C / G), so that a convolution is one product for each tap.
"""

import flax.linen as nn
import jax.numpy as jnp

from tal_jax.systems.tcanet.sampling import OUTSIDE, interpolate
from tal_jax.systems.torch_defaults import uniform_by_fan_in


class ConvParameters(nn.Module):
    """Kernel (G, taps, channels / G, features / G) and bias (features,), initialised as PyTorch does.

    Called with the number of input channels, returns both, in the dtype of the computation.
    """

    features: int
    taps: int
    groups: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, channels):
        init = uniform_by_fan_in(self.taps * channels // self.groups)
        shape = (self.groups, self.taps, channels // self.groups, self.features // self.groups)
        kernel, bias = self.param("kernel", init, shape), self.param("bias", init, (self.features,))
        return kernel.astype(self.dtype), bias.astype(self.dtype)


def split_groups(x, groups):
    """(..., C) -> (G, ..., C / G)."""
    return jnp.moveaxis(x.reshape(*x.shape[:-1], groups, -1), -2, 0)


def join_groups(x):
    """(G, ..., C / G) -> (..., C)."""
    x = jnp.moveaxis(x, 0, -2)
    return x.reshape(*x.shape[:-2], -1)


def each_tap(x, kernel):
    """x times each tap of a kernel: (G, ..., I) and (G, taps, I, O) -> [(G, ..., O)]."""
    rows, taps = x.reshape(len(x), -1, x.shape[-1]), range(kernel.shape[1])
    return [jnp.einsum("gni,gio->gno", rows, kernel[:, i]).reshape(*x.shape[:-1], -1) for i in taps]


def add_bias(x, bias):
    """(G, ..., O) plus (G * O,)."""
    return x + bias.reshape(len(x), *(1,) * (x.ndim - 2), -1)


def convolve(x, kernel, bias):
    """Convolution over time, kernel 3, zero padding 1. (G, B, T, I) -> (G, B, T, O)."""
    before, here, after = each_tap(x, kernel)
    earlier = jnp.pad(after[:, :, 1:], ((0, 0), (0, 0), (0, 1), (0, 0)))
    return add_bias(here + _later(before) + earlier, bias)


def _later(x):
    """(G, N, T, O) moved to the next step, 0 at the first."""
    return jnp.pad(x[:, :, :-1], ((0, 0), (0, 0), (1, 0), (0, 0)))


def convolve_samples(maps, positions, kernel, bias):
    """Convolution over samples of a feature map, kernel 3, stride 2, zero padding 1.

    Sampling and convolution are both linear, so the map passes the taps before it is sampled. A map has far
    fewer rows than all proposals have samples.

    Args:
      maps: (G, B, T, I).
      positions: (B, P, S), S a multiple of 4, see `sampling`.
      kernel, bias: (G, 3, I, O), (G * O,).

    Returns:
      (even, odd) steps of the result: (G, B, P, S / 4, O) each, float32.
    """
    groups, batch = maps.shape[:2]
    even, odd = positions[..., 0::2], positions[..., 1::2]  # (B, P, S / 2)
    before = jnp.concatenate([jnp.full_like(odd[..., :1], OUTSIDE), odd[..., :-1]], axis=-1)
    taps = each_tap(maps, kernel)
    halves = []
    for parity in (0, 1):
        places = [place[..., parity::2] for place in (before, even, odd)]  # (B, P, S / 4)
        sampled = sum(interpolate(tap, place.reshape(batch, -1)) for tap, place in zip(taps, places))
        halves.append(add_bias(sampled, bias).reshape(groups, *places[0].shape, -1))
    return halves


def convolve_halves(even, odd, kernel, bias):
    """Convolution of a sequence given by its even and its odd steps, kernel 3, stride 2, zero padding 1.

    (G, N, t, I) twice -> (G, N, t, O).
    """
    (before, after), (here,) = each_tap(odd, kernel[:, 0::2]), each_tap(even, kernel[:, 1:2])
    return add_bias(here + after + _later(before), bias)


def summarise(x, kernel, bias):
    """A convolution whose kernel is as long as the sequence.

    (G, N, t, I) -> (G', N, O), G' groups of the kernel, 1 or G.
    """
    groups, taps, _, features = kernel.shape
    if groups == 1:
        kernel = kernel.reshape(taps, len(x), -1, features)
        return (jnp.einsum("gnti,tgio->no", x, kernel) + bias)[None]
    x, kernel = x.reshape(*x.shape[:2], -1), kernel.reshape(groups, -1, features)
    return add_bias(jnp.einsum("gnk,gko->gno", x, kernel), bias)
