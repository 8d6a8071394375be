"""ECM, Equivalent Classification Mapping: detection learned from which classes a recording holds, not from when (Zhao et al.)."""

import jax.numpy as jnp

from tal_jax.systems.ecm.config import require_model
from tal_jax.systems.ecm.model import ECM


def build(config, num_classes):
    """The Flax module that `config.model` describes, for features of snippets (B, T, D).

    Raises DataError for a bad config.
    """
    require_model(config)
    model = config.model
    return ECM(
        num_classes=num_classes,
        hidden=model.hidden,
        dropout=model.dropout,
        folds=model.folds,
        top_k_ratio=model.top_k_ratio,
        streams=model.streams,
        shared_classifier=model.shared_classifier,
        class_specific_weights=model.class_specific_weights,
        background=config.loss.a2c_weight > 0,
        background_weights=model.background_weights,
        remat=model.remat,
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
    )
