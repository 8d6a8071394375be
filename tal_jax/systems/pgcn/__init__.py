"""P-GCN: proposals are classified and refined together with their neighbours in time (Zeng et al., ICCV 2019)."""

import jax.numpy as jnp

from tal_jax.systems.pgcn.config import require_valid
from tal_jax.systems.pgcn.model import PGCN


def build(config, num_classes):
    """The Flax module that `config.model` describes, for trees of proposals or for all proposals of a video.

    num_classes: background not counted. Raises DataError for a bad config.
    """
    require_valid(config)
    model = config.model
    return PGCN(
        num_classes=num_classes,
        hidden=model.hidden,
        action_branch=model.action_branch,
        completeness_branch=model.completeness_branch,
        self_term=model.self_term,
        edge=model.edge,
        sampled=model.sampled,
        dropout=model.dropout,
        branch_dropout=model.branch_dropout,
        auxiliary=config.curriculum.auxiliary == "branch",
        auxiliary_features=config.curriculum.auxiliary_features,
        dtype=jnp.bfloat16 if config.train.mixed_precision else jnp.float32,
    )
