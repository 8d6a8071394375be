"""The optimizer of all systems: Adam with L2 decay, warm-up, a schedule and clipping."""

import collections
import math

import jax
import jax.numpy as jnp
import optax

ADAM_BETAS = 0.9, 0.999  # decay of the two moments


def make_schedule(config, total_steps):
    """Learning rate by update: linear warm-up, then constant, cosine decay to 0, or falling in steps.

    Update i = 0, 1, ... of the W = `warmup_steps` has (i + 1) / W of the full rate: the first one learns, the
    last one has all of it. The cosine spans the updates after the warm-up and would be 0 at update
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
    rate, warmup_steps = train.learning_rate, train.warmup_steps
    if train.schedule == "constant":
        after = optax.constant_schedule(rate)
    elif train.schedule == "steps":
        falls = collections.defaultdict(lambda: 1.0)  # update, counted from the end of the warm-up -> factor
        for epoch in train.decay_epochs:
            falls[round(epoch * total_steps / train.epochs) - warmup_steps] *= 0.1
        after = optax.piecewise_constant_schedule(rate, falls)
    else:
        after = optax.cosine_decay_schedule(rate, max(total_steps - warmup_steps, 1))
    if not warmup_steps:
        return after
    return optax.join_schedules([lambda step: rate * (step + 1) / warmup_steps, after], [warmup_steps])


def scale_by_adam():
    """Adam (Kingma and Ba, 2015), as optax's, with bias corrections that keep float32 accuracy in the first
    steps.

    1 - b2^t is 0.001 at first: computed as written, rounding takes four of its digits.
    """

    def update(gradients, state, params=None):
        del params
        count, (b1, b2) = state.count + 1, ADAM_BETAS
        mu = jax.tree.map(lambda moment, g: b1 * moment + (1 - b1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda moment, g: b2 * moment + (1 - b2) * g**2, state.nu, gradients)
        correction_1, correction_2 = (-jnp.expm1(count * math.log(b)) for b in (b1, b2))
        steps = jax.tree.map(lambda m, n: m / correction_1 / (jnp.sqrt(n / correction_2) + 1e-8), mu, nu)
        return steps, optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam().init, update)


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
    """The chain of optax transformations `steps`, after the gradients are clipped to `gradient_clip`."""
    limit = config.train.gradient_clip
    return optax.chain(optax.clip_by_global_norm(limit) if limit else optax.identity(), *steps)


def _is_backbone(params):
    """A tree of bool: which parameters belong to the module named "backbone"."""
    backbone = jax.tree_util.DictKey("backbone")
    return jax.tree_util.tree_map_with_path(lambda path, _: path[:1] == (backbone,), params)
