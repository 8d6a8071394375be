"""KT-MGFN: actions of long recordings from labels of whole recordings, with help from trimmed clips (HACS Challenge 2021)."""

import jax.numpy as jnp

from tal_jax.systems.kt_mgfn.config import require_model
from tal_jax.systems.kt_mgfn.model import KTMGFN


def build(config, num_classes):
    """The Flax module that `config.model` describes, for sequences (B, T, C_in).

    num_classes: K, there is no background class. Raises DataError for a bad config.
    """
    require_model(config)
    model = config.model
    return KTMGFN(
        num_classes=num_classes,
        width=model.width,
        dilations=tuple(model.dilations),
        cascade=model.cascade,
        has_source=model.transfer,
        has_boundary=model.boundary,
        erase_threshold=model.erase_threshold,
        min_probability=model.min_probability,
        normalised_fusion=model.normalised_fusion,
        predictor_width=model.predictor_width,
        anchors=tuple(model.anchors),
        anchor_centre=model.anchor_centre,
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
    )
