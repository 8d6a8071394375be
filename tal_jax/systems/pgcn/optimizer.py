"""The optimizer of P-GCN: SGD with momentum, biases twice as fast and without decay."""

import jax
import optax

from tal_jax.optimizer import make_schedule

MOMENTUM = 0.9
BIAS_FACTOR = 2.0  # on the learning rate


def make_optimizer(config, total_steps):
    """SGD with momentum, L2 decay added to the gradient, as the published code trains (PyTorch's SGD).

    Args:
      config: the run's config (`train`).
      total_steps: batches of the whole run.

    Returns:
      An optax transformation.
    """
    train = config.train
    steps = [
        optax.clip_by_global_norm(train.gradient_clip) if train.gradient_clip else optax.identity(),
        optax.add_decayed_weights(train.weight_decay, mask=lambda params: jax.tree.map(lambda bias: not bias, _is_bias(params))),
        optax.trace(MOMENTUM),
        optax.scale_by_learning_rate(make_schedule(config, total_steps // train.accumulate_steps)),
        optax.masked(optax.scale(BIAS_FACTOR), _is_bias),
    ]
    optimizer = optax.chain(*steps)
    if train.accumulate_steps > 1:
        optimizer = optax.MultiSteps(optimizer, train.accumulate_steps).gradient_transformation()
    return optimizer


def _is_bias(params):
    """A tree of bool: which parameters are biases, by their last name."""
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key.endswith("bias"), params)
