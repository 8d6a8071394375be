"""ECM, Equivalent Classification Mapping: detection learned from which classes a recording holds, not from
when (Zhao et al.).
"""

import jax.numpy as jnp

from tal_jax.systems.ecm.config import reading, require_model
from tal_jax.systems.ecm.model import ECM


def build(config, num_classes):
    """The Flax module whose fields `config.model` has, for features of snippets (B, T, D).

    Raises DataError for a bad config.
    """
    require_model(config)
    dtype = jnp.bfloat16 if config.train.mixed_precision else jnp.float32
    background, weights = config.loss.a2c_weight > 0, reading(config, "background_weights")
    given = dict(background=background, background_weights=weights, dtype=dtype)
    return ECM(num_classes, **given, **config.model)
