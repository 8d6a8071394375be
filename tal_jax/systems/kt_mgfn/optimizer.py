"""The optimizer of KT-MGFN: each part of the network has its own, which acts only while the part is trained.

Freezing needs more than a gradient of 0: weight decay and Adam's moments would go on moving the parameters.
"""

import optax
from optax.transforms import conditionally_mask, partition

from tal_jax import optimizer as shared
from tal_jax.systems.kt_mgfn.config import training_stages

# AutoLoc's code; the report is silent.
BOUNDARY_WEIGHT_DECAY = 5e-4


def make_optimizer(config, total_steps):
    """Adam for the classification networks, SGD for the boundary predictor.

    Each has L2 decay, a learning rate that begins with its training stage, and in all other stages an update
    of 0 and a state that does not change. The report is silent on all of this; AutoLoc trains its predictor
    by SGD.

    Args:
      config: the run's config, whose train.epochs are those of its training stages.
      total_steps: updates of the whole run.

    Returns:
      An optax transformation of a tree with the parts "target" and, as the config has them, "source" and
      "boundary".
    """
    optimizers, first = {}, 0
    for part, epochs in training_stages(config):
        end = first + epochs * (total_steps // config.train.epochs)
        if part == "boundary":
            optimizer = boundary_optimizer(config)
        else:
            optimizer = shared.make_optimizer(config, end - first)
        optimizers[part] = conditionally_mask(
            optimizer, lambda step, first=first, end=end: (first <= step) & (step < end)
        )
        first = end
    return partition(optimizers, lambda params: {part: part for part in params})


def boundary_optimizer(config):
    """SGD without momentum, at a constant rate."""
    rate = config.stages.boundary_learning_rate
    decay = optax.add_decayed_weights(BOUNDARY_WEIGHT_DECAY)
    return shared.clipped(config, decay, optax.scale_by_learning_rate(rate))
