"""P-GCN: proposals are classified and regressed with their neighbours in time (Zeng et al., ICCV 2019)."""

import jax.numpy as jnp

from tal_jax.systems.pgcn.config import require_valid
from tal_jax.systems.pgcn.model import PGCN


def build(config, num_classes):
    """The network that `config.model` describes, for trees of proposals or for all proposals of a video.

    Args:
      config: the run's config (`model`, `curriculum`, `train`).
      num_classes: K, background not counted.

    Returns:
      model.PGCN.

    Raises:
      DataError: a field of the config has a value that cannot be.
    """
    require_valid(config)
    return PGCN(
        num_classes=num_classes,
        auxiliary=config.curriculum.auxiliary == "branch",
        auxiliary_features=config.curriculum.auxiliary_features,
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
        **config.model,
    )
