"""A small temporal convolution network over feature vectors or sensor frames: where video has I3D, sequences
have this.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp


class SequenceBackbone(nn.Module):
    """(B, T, C_in) -> maps at strides 4 and 8: (B, T/4, 1, 1, 2*width), (B, T/8, 1, 1, 4*width).

    It has no statistics over a batch, so it does not read the sample_mask that every backbone is given.

    Attributes:
      width: channels at full resolution.
      block: constructor of a convolution block, as the detector's `Block`.
    """

    width: int
    block: Any = None

    @nn.compact
    def __call__(self, x, num_frames=None, sample_mask=None):
        """x: (B, T, C_in); num_frames: (B,) frames that the recording fills, see `Block`, None: all;
        sample_mask: not used.
        """
        del sample_mask
        x = self.block(self.width, 3, name="stem")(x.astype(jnp.float32), num_frames)
        maps = []
        for stage, channels in enumerate((self.width, 2 * self.width, 4 * self.width)):
            x = self.block(channels, 3, 2, name=f"down_{stage}")(x, num_frames)
            maps.append(x[:, :, None, None, :])
        return maps[1], maps[2]
