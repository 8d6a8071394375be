"""The optimizer of ActionFormer: AdamW that decays kernels alone, a linear warm-up, a cosine."""

import jax
import optax

from tal_jax import optimizer
from tal_jax.systems.actionformer.config import reading

LOWEST_RATE = 1e-8  # at the end of the cosine


def make_schedule(config, total_steps):
    """Learning rate by update, as published: from 0 in the first one up to the full rate, then a cosine.

    Args:
      config: the run's config (`train`): of `epochs`, the first `warmup_epochs` are the warm-up. The other
        schedules are those of all systems.
      total_steps: updates of the whole run.
    """
    train = config.train
    rate, warmup = train.learning_rate, round(train.warmup_epochs * total_steps / train.epochs)
    after = optimizer.falling_rate(train, total_steps, warmup)
    if train.schedule == "cosine":
        after = optax.cosine_decay_schedule(rate, max(total_steps - warmup, 1), LOWEST_RATE / rate)
    return optax.join_schedules([lambda step: rate * step / max(warmup - 1, 1), after], [warmup])


def make_optimizer(config, total_steps):
    """AdamW (Loshchilov and Hutter, 2019) after clipping. total_steps: updates of the whole run."""
    return optimizer.clipped(
        config,
        optimizer.scale_by_adam(),
        optax.masked(optax.add_decayed_weights(config.train.weight_decay), decayed),
        optax.scale_by_learning_rate(make_schedule(config, total_steps)),
    )


def decayed(params):
    """A tree of bool: the kernels of convolutions decay; biases, scales and position tables do not."""
    kernel = jax.tree_util.DictKey("kernel")
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1] == kernel, params)


def average_decay(config, step):
    """Decay of the running mean of parameters at an update, a scalar; `System.average_decay`.

    Published: constant, so that a short run's mean still holds its initial parameters.
    """
    if reading(config, "ema") == "constant":
        return config.train.ema_decay
    return optimizer.average_decay(config, step)
