"""A small temporal convolution network over feature vectors or sensor frames, in place of a video network."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp


class SequenceBackbone(nn.Module):
    """(B, T, C_in) -> maps at strides 4 and 8: (B, T/4, 1, 1, 2*channels), (B, T/8, 1, 1, 4*channels).

    It has no statistics over a batch, so it does not read the sample_mask that every backbone is given.

    Attributes:
      channels: at full resolution.
      block: constructor of a convolution block, as the detector's `Block`.
    """

    channels: int
    block: Any = None

    @nn.compact
    def __call__(self, x, num_frames=None, sample_mask=None):
        """The two maps. x: (B, T, C_in); num_frames: (B,) frames that the recording fills, None: all;
        sample_mask: not used.
        """
        x = self.block(self.channels, 3, name="stem")(x.astype(jnp.float32), num_frames)
        maps = []
        for i, factor in enumerate((1, 2, 4)):
            x = self.block(factor * self.channels, 3, 2, name=f"down_{i}")(x, num_frames)
            maps.append(x[:, :, None, None, :])
        return maps[1], maps[2]
