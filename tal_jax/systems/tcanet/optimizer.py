"""The optimizer of TCANet: AdamW, its learning rate rising along a cosine."""

import jax.numpy as jnp
import optax

from tal_jax import optimizer

RISE_EPS = 1e-6  # of the published warm-up


def make_schedule(config, total_steps):
    """Learning rate by optimizer step: over `warmup_steps` half a cosine from about 0, then the shared
    schedule.

    The published code counts the warm-up only in the first epoch; where that is shorter, the rate stays for
    good at what it had then reached. Here the warm-up is finished.
    """
    train = config.train
    after = optimizer.make_schedule(config, total_steps)

    def schedule(step):
        share = (step + 1) / max(train.warmup_steps, 1)
        # 1 - cos(x) = 2 sin^2(x / 2), which keeps its digits in float32 when x is small.
        rising = train.learning_rate * (RISE_EPS / 2 + jnp.sin(jnp.pi / 2 * share) ** 2)
        return jnp.where(step < train.warmup_steps, rising, after(step))

    return schedule


def make_optimizer(config, total_steps):
    """AdamW: the decay is not part of the gradient. total_steps: updates of the whole run."""
    return optimizer.clipped(
        config,
        optimizer.scale_by_adam(),
        optax.add_decayed_weights(config.train.weight_decay),
        optax.scale_by_learning_rate(make_schedule(config, total_steps)),
    )
