"""TCANet, Temporal Context Aggregation Network: moves the boundaries of given proposals and scores them (HACS Challenge 2021)."""

import jax.numpy as jnp

from tal_jax.systems.tcanet.config import require_model
from tal_jax.systems.tcanet.model import TCANet


def build(config, num_classes=0):
    """The Flax module that `config.model` describes; see `model.TCANet` for what it takes.

    num_classes: not used, the network names no class. Raises DataError for a bad config.
    """
    del num_classes
    require_model(config)
    model = config.model
    return TCANet(
        channels=model.channels,
        groups=model.groups,
        encoders=model.encoders,
        heads=model.heads,
        local_heads=model.local_heads,
        window_size=model.window_size,
        hidden=model.hidden,
        dropout=model.dropout,
        attention_scale=model.attention_scale,
        residual=model.residual,
        padding_mask=model.padding_mask,
        stages=len(config.loss.iou_thresholds),
        samples=tuple(model.samples),
        context_ratio=model.context_ratio,
        g_train=model.g_train,
        g_test=config.decode.g_test,
        centre_step=model.centre_step,
        width_step=model.width_step,
        fusion=model.fusion,
        detach=model.detach,
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
    )
