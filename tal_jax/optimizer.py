"""The optimizer of all systems: Adam with L2 decay, warm-up, a schedule, clipping and accumulation."""

import math

import jax
import jax.numpy as jnp
import optax

from tal_jax.errors import DataError


def make_schedule(config, total_steps):
    """Learning rate by optimizer step: linear warm-up over `warmup_steps`, then constant, cosine decay to 0, or falling in steps."""
    train = config.train
    if train.schedule == "constant":
        after = optax.constant_schedule(train.learning_rate)
    elif train.schedule == "steps":
        ends = {round(epoch * total_steps / train.epochs) - train.warmup_steps: 0.1 for epoch in train.decay_epochs}
        after = optax.piecewise_constant_schedule(train.learning_rate, ends)
    elif train.schedule == "cosine":
        after = optax.cosine_decay_schedule(train.learning_rate, max(total_steps - train.warmup_steps, 1))
    else:
        raise DataError(f"config.train.schedule is '{train.schedule}'; it must be 'constant', 'cosine' or 'steps'.")
    warmup = optax.linear_schedule(0.0, train.learning_rate, max(train.warmup_steps, 1))
    return optax.join_schedules([warmup, after], [train.warmup_steps])


def scale_by_adam(b1=0.9, b2=0.999, eps=1e-8):
    """Adam (Kingma and Ba, 2015), as optax's, with bias corrections that keep float32 accuracy in the first steps.

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
    return clipped_and_accumulated(
        config,
        optax.add_decayed_weights(train.weight_decay),
        scale_by_adam(),
        optax.scale_by_learning_rate(make_schedule(config, total_steps // train.accumulate_steps)),
        optax.masked(optax.scale(train.backbone_learning_rate_factor), _is_backbone),
    )


def clipped_and_accumulated(config, *steps):
    """These steps behind `gradient_clip`, all of it once for every `accumulate_steps` batches."""
    train = config.train
    clip = optax.clip_by_global_norm(train.gradient_clip) if train.gradient_clip else optax.identity()
    optimizer = optax.chain(clip, *steps)
    if train.accumulate_steps > 1:
        optimizer = optax.MultiSteps(optimizer, train.accumulate_steps).gradient_transformation()
    return optimizer


def _is_backbone(params):
    """A tree of bool: which parameters belong to the module named "backbone"."""
    return jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.DictKey("backbone") in path[:1], params)
