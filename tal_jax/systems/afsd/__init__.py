"""AFSD (CVPR 2021) and DW-AFSD, the same detector trained with dynamic weights (Neurocomputing 2022)."""

import functools

import jax.numpy as jnp

from tal_jax.backbones.i3d import I3D
from tal_jax.backbones.sequence import SequenceBackbone
from tal_jax.systems.afsd.config import require_valid
from tal_jax.systems.afsd.model import AFSD, Block


def build(config, num_classes):
    """The Flax module that `config.model` describes, for sequences (B, window, C_in) or, with I3D, clips (B,
    window, H, W, C).

    num_classes: background not counted. Raises DataError for a bad config.
    """
    require_valid(config)
    model = {**config.model}
    dtype = jnp.bfloat16 if config.train.mixed_precision else jnp.float32
    if model.pop("backbone") == "i3d":
        names = {"i3d_width": "width", "frozen_norm": "frozen_norm", "remat": "remat"}
        backbone = I3D(dtype=dtype, **{name: model.pop(field) for field, name in names.items()})
    else:
        block = functools.partial(Block, window=config.window.frames, groups=model["groups"], dtype=dtype)
        backbone = SequenceBackbone(model.pop("backbone_width"), block)
    return AFSD(
        num_classes=num_classes,
        window=config.window.frames,
        auxiliary=config.curriculum.auxiliary == "branch",
        auxiliary_features=config.curriculum.auxiliary_features,
        backbone=backbone,
        dtype=dtype,
        **model,
    )
