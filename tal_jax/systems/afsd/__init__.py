"""AFSD (CVPR 2021) and DW-AFSD, the same detector trained with dynamic weights (Neurocomputing 2022)."""

import functools

import jax.numpy as jnp

from tal_jax.backbones.sequence import SequenceBackbone
from tal_jax.systems.afsd.config import require_valid
from tal_jax.systems.afsd.model import AFSD, Block


def build(config, num_classes):
    """The Flax module that `config.model` describes; it takes (B, window, C_in) sequences. num_classes: background not counted. DataError for a bad config."""
    require_valid(config)
    model = config.model
    dtype = jnp.bfloat16 if config.train.mixed_precision else jnp.float32
    block = functools.partial(Block, groups=model.groups, dtype=dtype)
    return AFSD(
        num_classes=num_classes,
        window=config.window.frames,
        channels=model.channels,
        groups=model.groups,
        distance_multipliers=tuple(model.distance_multipliers),
        top_down=model.top_down,
        normal_heads=model.normal_heads,
        auxiliary=config.curriculum.auxiliary == "branch",
        boundary_pool_grad=model.boundary_pool_grad,
        backbone=SequenceBackbone(model.backbone_width, model.backbone_depth, block),
        dtype=dtype,
    )
