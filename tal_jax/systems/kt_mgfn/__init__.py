"""KT-MGFN: actions of long recordings from labels of whole recordings, with help from trimmed clips (HACS
Challenge 2021).
"""

import jax.numpy as jnp

from tal_jax.systems.kt_mgfn.config import reading, require_model
from tal_jax.systems.kt_mgfn.model import KTMGFN


def build(config, num_classes):
    """The Flax module whose fields `config.model` has, for sequences (B, T, C_in).

    num_classes: K, there is no background class. Raises DataError for a bad config.
    """
    require_model(config)
    model = config.model.to_dict()
    parts = {"has_source": model.pop("transfer"), "has_boundary": model.pop("boundary")}
    dtype = jnp.bfloat16 if config.train.mixed_precision else jnp.float32
    parts["normalised_fusion"] = reading(config, "normalised_fusion")
    return KTMGFN(num_classes, dtype=dtype, **parts, **model)
