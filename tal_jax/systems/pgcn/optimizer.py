"""The optimizer of P-GCN: SGD with momentum, biases twice as fast and without decay."""

import functools

import jax
import optax

from tal_jax.optimizer import clipped, make_schedule

MOMENTUM = 0.9
BIAS_FACTOR = 2.0  # on the learning rate


def make_optimizer(config, total_steps):
    """SGD with momentum, L2 decay added to the gradient, as the published code trains (PyTorch's SGD).

    Args:
      config: the run's config (`train`).
      total_steps: updates of the whole run.

    Returns:
      An optax transformation.
    """
    return clipped(
        config,
        optax.add_decayed_weights(config.train.weight_decay, mask=functools.partial(_select, biases=False)),
        optax.trace(MOMENTUM),
        optax.scale_by_learning_rate(make_schedule(config, total_steps)),
        optax.masked(optax.scale(BIAS_FACTOR), functools.partial(_select, biases=True)),
    )


def _select(params, biases):
    """A tree of bool: which parameters are biases by their last name, or those that are not."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key.endswith("bias") == biases, params)
