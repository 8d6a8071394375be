"""ECM, Equivalent Classification Mapping: detection learned from which classes a recording holds, not from
when (Zhao et al.).
"""

import jax
import jax.numpy as jnp

from tal_jax.systems.ecm.config import require_model
from tal_jax.systems.ecm.model import ECM


def build(config, num_classes):
    """The Flax module whose fields `config.model` has, for features of snippets (B, T, D).

    Raises DataError for a bad config.
    """
    require_model(config)
    return ECM(
        num_classes=num_classes,
        background=config.loss.a2c_weight > 0,
        on_cpu=jax.default_backend() == "cpu",
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
        **config.model,
    )
