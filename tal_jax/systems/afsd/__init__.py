"""AFSD (CVPR 2021) and DW-AFSD, the same detector trained with dynamic weights (Neurocomputing 2022)."""

import functools

import jax.numpy as jnp

from tal_jax.backbones.i3d import I3D
from tal_jax.backbones.sequence import SequenceBackbone
from tal_jax.systems.afsd.config import require_valid
from tal_jax.systems.afsd.model import AFSD, Block


def build(config, num_classes):
    """The Flax module that `config.model` describes, for sequences (B, window, C_in) or, with I3D, clips (B, window, H, W, C).

    num_classes: background not counted. Raises DataError for a bad config.
    """
    require_valid(config)
    model = config.model
    dtype = jnp.bfloat16 if config.train.mixed_precision else jnp.float32
    block = functools.partial(Block, window=config.window.frames, groups=model.groups, dtype=dtype)
    if model.backbone == "i3d":
        backbone = I3D(width=model.i3d_width, frozen_norm=model.frozen_norm, remat=model.remat, dtype=dtype)
    else:
        backbone = SequenceBackbone(model.backbone_width, model.backbone_depth, block)
    return AFSD(
        num_classes=num_classes,
        window=config.window.frames,
        channels=model.channels,
        groups=model.groups,
        distance_multipliers=tuple(model.distance_multipliers),
        top_down=model.top_down,
        normal_heads=model.normal_heads,
        auxiliary=config.curriculum.auxiliary == "branch",
        auxiliary_features=config.curriculum.auxiliary_features,
        boundary_pool_grad=model.boundary_pool_grad,
        masked=model.masked,
        backbone=backbone,
        dtype=dtype,
    )
