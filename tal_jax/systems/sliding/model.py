"""I3D whose classification layer looks at each step in time."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from tal_jax.backbones.i3d import I3D

STEP_FRAMES = 8  # of Mixed_5c
NUM_CLASSES = 400


class Sliding(nn.Module):
    """Snippets -> logits of each step of 8 frames.

    I3D as published takes the mean of its logits over a snippet, in which the first and the last step count
    half. Its classification layer is linear, so the logits of a step are what it adds to this mean.

    Attributes:
      dtype: of the backbone's computation; parameters and logits are float32.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, snippets):
        """(B, T, H, W, 3) pixels 0 to 255 -> (B, T / 8, 400) float32."""
        (features,) = I3D(outputs=("Mixed_5c",), dtype=self.dtype, name="backbone")(snippets)
        pooled = features.astype(jnp.float32).mean(axis=(2, 3))  # (B, T / 8, 1024)
        return nn.Dense(NUM_CLASSES, name="logits")(pooled)
