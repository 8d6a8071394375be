"""Defaults of PyTorch, which the published code of several systems uses: initial weights, smooth L1 loss."""

import jax
import jax.numpy as jnp


def uniform_by_fan_in(fan_in):
    """Initialiser: uniform in +-1 / sqrt(fan_in), PyTorch's default for convolutions and their biases."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -1.0, 1.0) / fan_in**0.5

    return init


def smooth_l1(predicted, target):
    """0.5 * d^2 where the difference d is within 1 (beta), |d| - 0.5 elsewhere. Elementwise."""
    error = jnp.abs(predicted - target)
    return jnp.where(error < 1, 0.5 * error**2, error - 0.5)
