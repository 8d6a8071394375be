"""The optimizer of P-GCN: SGD with momentum, biases twice as fast and without decay."""

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
    train = config.train
    return clipped(
        config,
        optax.add_decayed_weights(
            train.weight_decay, mask=lambda params: jax.tree.map(lambda bias: not bias, _is_bias(params))
        ),
        optax.trace(MOMENTUM),
        optax.scale_by_learning_rate(make_schedule(config, total_steps)),
        optax.masked(optax.scale(BIAS_FACTOR), _is_bias),
    )


def _is_bias(params):
    """A tree of bool: which parameters are biases, by their last name."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key.endswith("bias"), params)
