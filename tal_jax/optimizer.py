"""The optimizer of all systems: Adam with L2 decay, warm-up, a schedule and clipping."""

import collections
import math

import jax
import jax.numpy as jnp
import optax

ADAM_BETAS = 0.9, 0.999  # decay of the two moments
SMALL_ARRAY = 8192  # numbers; smaller arrays are joined where each would be a kernel of its own


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
    after = falling_rate(train, total_steps, train.warmup_steps)
    if not train.warmup_steps:
        return after
    rising = lambda step: train.learning_rate * (step + 1) / train.warmup_steps
    return optax.join_schedules([rising, after], [train.warmup_steps])


def falling_rate(train, total_steps, warmup_steps):
    """The schedule after the warm-up, a function of the update, counted from its end, see `make_schedule`.

    train: `config.train`; total_steps: updates of the whole run; warmup_steps: how many of them are the
    warm-up.
    """
    rate = train.learning_rate
    if train.schedule == "constant":
        return optax.constant_schedule(rate)
    if train.schedule == "cosine":
        return optax.cosine_decay_schedule(rate, max(total_steps - warmup_steps, 1))
    falls = collections.defaultdict(lambda: 1.0)
    for epoch in train.decay_epochs:
        falls[round(epoch * total_steps / train.epochs) - warmup_steps] *= 0.1
    return optax.piecewise_constant_schedule(rate, falls)


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


def average_decay(config, step):
    """Decay of the running mean of parameters at update `step`, from 0: `ema_decay`, but less in a young
    mean, which would still hold the initial parameters.
    """
    return jnp.minimum(config.train.ema_decay, (step + 1) / (10.0 + step))


def global_norm(tree):
    """The Euclidean norm of all arrays of a tree together, a scalar, as `optax.tree.norm`.

    Small arrays are joined first: on a GPU the sum of each array is a kernel. A step asks for it twice, for
    its values and to clip; XLA computes it once.
    """
    leaves = [leaf.ravel() for leaf in jax.tree.leaves(tree)]
    small, large = (
        [leaf for leaf in leaves if (leaf.size < SMALL_ARRAY) == is_small] for is_small in (True, False)
    )
    joined = [jnp.concatenate(small)] if small else []
    return jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in joined + large))


def clip_by_norm(limit):
    """Scales the gradients so that their `global_norm` is at most `limit`; shorter ones stay as they are."""

    def update(gradients, state, params=None):
        del params
        norm = global_norm(gradients)
        return jax.tree.map(lambda g: jnp.where(norm < limit, g, g / norm * limit), gradients), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def clipped(config, *steps):
    """The chain of optax transformations `steps`, after the gradients are clipped to `gradient_clip`."""
    limit = config.train.gradient_clip
    return optax.chain(clip_by_norm(limit) if limit else optax.identity(), *steps)


def _is_backbone(params):
    """A tree of bool: which parameters belong to the module named "backbone"."""
    backbone = jax.tree_util.DictKey("backbone")
    return jax.tree_util.tree_map_with_path(lambda path, _: path[:1] == (backbone,), params)
