"""The optimizer of all systems: Adam with L2 decay, warm-up, a schedule and clipping."""

import math

import jax
import jax.numpy as jnp
import optax


def make_schedule(config, total_steps):
    """Learning rate by update: linear warm-up, then constant, cosine decay to 0, or falling in steps.

    Update i = 0, 1, ... of the W = `warmup_steps` has (i + 1) / W of the full rate: the first one learns, the
    last one has all of it. The cosine spans the updates behind the warm-up and would be 0 at update
    `total_steps`, which is the first one that is not made. Each of `decay_epochs` divides the rate by ten at
    the update nearest to the end of that epoch. Decay epochs of the same update all count. One that ends
    during the warm-up waits for its end.

    Args:
      config: the run's config (`train`).
      total_steps: updates of the whole run; of a part that is trained for some epochs, those of the part.

    Returns:
      Function: update, from 0 -> rate.
    """
    train = config.train
    if train.schedule == "constant":
        after = optax.constant_schedule(train.learning_rate)
    elif train.schedule == "steps":
        falls = {}  # update, counted from the end of the warm-up -> factor
        for epoch in train.decay_epochs:
            step = round(epoch * total_steps / train.epochs) - train.warmup_steps
            falls[step] = falls.get(step, 1.0) * 0.1
        after = optax.piecewise_constant_schedule(train.learning_rate, falls)
    else:
        after = optax.cosine_decay_schedule(train.learning_rate, max(total_steps - train.warmup_steps, 1))
    if not train.warmup_steps:
        return after

    def warmup(step):
        return train.learning_rate * (step + 1) / train.warmup_steps

    return optax.join_schedules([warmup, after], [train.warmup_steps])


def scale_by_adam(b1=0.9, b2=0.999, eps=1e-8):
    """Adam (Kingma and Ba, 2015), as optax's, with bias corrections that keep float32 accuracy in the first
    steps.

    1 - b2^t is 0.001 at first: computed as written, rounding takes four of its digits.
    """

    def init(params):
        moments = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        return optax.ScaleByAdamState(jnp.zeros((), jnp.int32), *moments)

    def update(gradients, state, params=None):
        del params
        count = state.count + 1
        mu = jax.tree.map(lambda moment, g: b1 * moment + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda moment, g: b2 * moment + (1 - b2) * g**2, state.nu, gradients)
        correction_1, correction_2 = (-jnp.expm1(count * math.log(b)) for b in (b1, b2))
        steps = jax.tree.map(lambda m, n: m / correction_1 / (jnp.sqrt(n / correction_2) + eps), mu, nu)
        return steps, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


def make_optimizer(config, total_steps):
    """Adam with L2 decay added to the gradient (not AdamW), as the published systems train."""
    train = config.train
    return clipped(
        config,
        optax.add_decayed_weights(train.weight_decay),
        scale_by_adam(),
        optax.scale_by_learning_rate(make_schedule(config, total_steps)),
        optax.masked(optax.scale(train.get("backbone_learning_rate_factor", 1.0)), _is_backbone),
    )


def clipped(config, *steps):
    """These steps behind `gradient_clip`."""
    limit = config.train.gradient_clip
    return optax.chain(optax.clip_by_global_norm(limit) if limit else optax.identity(), *steps)


def _is_backbone(params):
    """A tree of bool: which parameters belong to the module named "backbone"."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.DictKey("backbone") in path[:1], params
    )
