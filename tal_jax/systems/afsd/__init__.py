"""AFSD (CVPR 2021) and DW-AFSD, the same detector trained with dynamic weights (Neurocomputing 2022)."""

import functools

import jax.numpy as jnp

from tal_jax.backbones.i3d import I3D
from tal_jax.backbones.sequence import SequenceBackbone
from tal_jax.systems.afsd.config import reading, require_valid
from tal_jax.systems.afsd.layers import Block
from tal_jax.systems.afsd.model import AFSD


def build(config, num_classes):
    """The Flax module that a config describes, for sequences (B, window, C_in) or, with I3D, clips (B,
    window, H, W, C).

    num_classes: background not counted. Raises DataError for a bad config.
    """
    require_valid(config)
    dtype = jnp.bfloat16 if config.train.mixed_precision else jnp.float32
    if config.data.input == "features":
        block = functools.partial(Block, window=config.window.frames, groups=config.model.groups, dtype=dtype)
        backbone = SequenceBackbone(**config.backbone, block=block)
    else:
        backbone = I3D(**config.backbone, dtype=dtype)
    points = ("top_down", "normal_heads", "auxiliary_features", "boundary_pool_grad", "padding_mask")
    return AFSD(
        **config.model,
        **{name: reading(config, name) for name in points},
        num_classes=num_classes,
        window=config.window.frames,
        auxiliary=config.curriculum.auxiliary == "branch",
        backbone=backbone,
        dtype=dtype,
    )
