"""TCANet, Temporal Context Aggregation Network: moves the boundaries of given proposals and scores them (HACS
Challenge 2021).
"""

import jax.numpy as jnp

from tal_jax.systems.tcanet.config import require_model
from tal_jax.systems.tcanet.model import TCANet


def build(config, num_classes=0):
    """The Flax module whose fields `config.model` has; see `model.TCANet` for what it takes.

    num_classes: not used, the network names no class. Raises DataError for a bad config.
    """
    del num_classes
    require_model(config)
    return TCANet(
        stages=len(config.loss.iou_thresholds),
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
        **config.model,
    )
