"""The optimizer of KT-MGFN: each part of the network has its own, which acts only while the part is trained.

Freezing needs more than a gradient of 0: weight decay and Adam's moments would go on moving the parameters.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from tal_jax.optimizer import clipped, make_schedule, scale_by_adam
from tal_jax.systems.kt_mgfn.config import training_stages

# AutoLoc's code; the report is silent.
BOUNDARY_WEIGHT_DECAY = 5e-4
BOUNDARY_DECAY_FACTOR = 0.1  # of the rate, after each `stages.boundary_decay_steps`


class DuringState(NamedTuple):
    """Updates seen so far, and the state of the optimizer that acts during some of them."""

    step: jax.Array
    inner: Any


def during(optimizer, first_step, end_step):
    """The optimizer in the steps first_step <= step < end_step; in all others the update is 0 and its state
    stays as it is.
    """

    def init(params):
        return DuringState(jnp.zeros((), jnp.int32), optimizer.init(params))

    def update(gradients, state, params=None):
        def act():
            return optimizer.update(gradients, state.inner, params)

        def rest():
            return jax.tree.map(jnp.zeros_like, gradients), state.inner

        active = (state.step >= first_step) & (state.step < end_step)
        updates, inner = jax.lax.cond(active, act, rest)
        return updates, DuringState(state.step + 1, inner)

    return optax.GradientTransformation(init, update)


def per_part(optimizers):
    """An optimizer for each branch of the top of the parameter tree. optimizers: dict, the keys are those of
    the tree.
    """

    def init(params):
        return {part: optimizer.init(params[part]) for part, optimizer in optimizers.items()}

    def update(gradients, state, params=None):
        pairs = {
            part: optimizer.update(gradients[part], state[part], None if params is None else params[part])
            for part, optimizer in optimizers.items()
        }
        return {part: pair[0] for part, pair in pairs.items()}, {
            part: pair[1] for part, pair in pairs.items()
        }

    return optax.GradientTransformation(init, update)


def make_optimizer(config, total_steps):
    """Adam for the classification networks, SGD for the boundary predictor, each with L2 decay and in its own
    stage.

    Learning-rate schedules begin with the stage. The report is silent on all of this; AutoLoc trains its
    predictor by SGD.

    Args:
      config: the run's config, whose train.epochs are those of its stages.
      total_steps: updates of the whole run.

    Returns:
      An optax transformation of a tree with the parts "target" and, as the config has them, "source" and
      "boundary".
    """
    steps_per_epoch = total_steps // config.train.epochs
    optimizers, first_step = {}, 0
    for part, epochs in training_stages(config):
        steps = epochs * steps_per_epoch
        make = _boundary_optimizer if part == "boundary" else _classification_optimizer
        optimizers[part] = during(make(config, steps), first_step, first_step + steps)
        first_step += steps
    return per_part(optimizers)


def _classification_optimizer(config, steps):
    """Adam of one stage of `steps` updates."""
    train = config.train
    schedule = make_schedule(config, steps)
    return clipped(
        config,
        optax.add_decayed_weights(train.weight_decay),
        scale_by_adam(),
        optax.scale_by_learning_rate(schedule),
    )


def _boundary_optimizer(config, steps):
    """Plain SGD, the rate falling in stairs where the config says so."""
    del steps
    stages = config.stages
    rate = stages.boundary_learning_rate
    if stages.boundary_decay_steps:
        rate = optax.exponential_decay(
            rate, stages.boundary_decay_steps, BOUNDARY_DECAY_FACTOR, staircase=True
        )
    return clipped(
        config, optax.add_decayed_weights(BOUNDARY_WEIGHT_DECAY), optax.scale_by_learning_rate(rate)
    )
