"""ActionFormer (ECCV 2022), also with the dynamic weights of DW-AFSD, and its kin without attention."""

import jax.numpy as jnp

from tal_jax.data import whole_recordings
from tal_jax.systems.actionformer.config import reading, require_valid
from tal_jax.systems.actionformer.model import ActionFormer, Backbone


def build(config, num_classes):
    """The Flax module that a config describes. num_classes: K. Raises DataError for a bad config."""
    require_valid(config)
    dtype = jnp.bfloat16 if config.train.mixed_precision else jnp.float32
    terms = ["cls", "loc"] + ["auxiliary"] * (config.curriculum.auxiliary != "none")
    return ActionFormer(
        num_classes,
        Backbone(config.window.frames, **config.backbone, dtype=dtype),
        **config.model,
        normalisers=tuple((name, config.loss.normaliser) for name in terms),
        auxiliary=config.curriculum.auxiliary == "branch",
        masked=reading(config, "masked"),
    )


def test_windows(config, dataset, name):
    """The one test window of a recording, for `System.windows`: see `whole_recordings.test_windows`."""
    return whole_recordings.test_windows(config, dataset, name, 2**config.backbone.branch_blocks)
