"""P-GCN: proposals are classified and regressed with their neighbours in time (Zeng et al., ICCV 2019)."""

import jax.numpy as jnp

from tal_jax.systems.pgcn.config import reading, require_valid
from tal_jax.systems.pgcn.model import PGCN


def build(config, num_classes):
    """The network that `config.model` describes, for trees of proposals or for all proposals of a video.

    Args:
      config: the run's config (`model`, `curriculum`, `train`, `readings`).
      num_classes: K, background not counted.

    Returns:
      model.PGCN.

    Raises:
      DataError: a field of the config has a value that cannot be.
    """
    require_valid(config)
    points = ("action_branch", "completeness_branch", "self_term", "edge", "auxiliary_features")
    return PGCN(
        num_classes=num_classes,
        auxiliary=config.curriculum.auxiliary == "branch",
        **{name: reading(config, name) for name in points},
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
        **config.model,
    )
