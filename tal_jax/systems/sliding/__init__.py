"""Actions of Kinetics-400 in any video, without training: I3D with its published weights over sliding
snippets, its class probabilities over time, and segments where these are high.
"""

import jax
import jax.numpy as jnp

from tal_jax.systems.sliding.model import Sliding


def build(config, num_classes):
    """The Flax module, for snippets (B, frames, H, W, 3) uint8; bfloat16 on accelerators.

    num_classes: not used; which of I3D's classes are asked for `decode` says.
    """
    del num_classes
    return Sliding(dtype=jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)
