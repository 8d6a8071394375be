"""TCANet, Temporal Context Aggregation Network: moves the ends of proposals and scores them (HACS 2021)."""

import jax.numpy as jnp

from tal_jax.systems.tcanet.config import reading, require_model
from tal_jax.systems.tcanet.model import TCANet


def build(config, num_classes=0):
    """The network that `config.model` describes.

    Args:
      config: the run's config (`model`, `loss`, `train`).
      num_classes: not used, the network names no class.

    Returns:
      model.TCANet.

    Raises:
      DataError: a field of the config has a value that cannot be.
    """
    del num_classes
    require_model(config)
    points = ("attention_scale", "residual", "padding_mask", "detach_stages")
    return TCANet(
        stages=len(config.loss.iou_thresholds),
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
        **config.model,
        **{name: reading(config, name) for name in points},
    )
