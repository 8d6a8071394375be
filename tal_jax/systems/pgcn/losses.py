"""The losses of P-GCN, in the form of the published code, and their curriculum-weighted forms.

Every loss is a `Term`: a sum and a count of the local batch. The training step divides the sum over all
devices by the count over all devices, so a batch means the same however many devices share it.
"""

import jax
import jax.numpy as jnp
import optax

from tal_jax import curriculum
from tal_jax.ops.segments import tiou
from tal_jax.systems.interface import Term
from tal_jax.systems.pgcn.config import reading
from tal_jax.systems.pgcn.pools import BACKGROUND, FOREGROUND

# The weights of both losses in the published code.
COMPLETENESS_WEIGHT = 0.5
REGRESSION_WEIGHT = 0.5


def activity_loss(logits, labels):
    """Cross-entropy of the class, background is class 0. (..., K + 1), (...) int -> (...)."""
    return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)


def completeness_hinges(logits, labels, num_foreground):
    """Hinges of the score z of each proposal's class.

    The first places of a video should have z >= 1, the others z <= -1.

    Args:
      logits: (..., M, K) of foreground and incomplete places; labels: (..., M) int from 1. A label 0 means
        the last class (the published code, by an index -1).
      num_foreground: how many places come first.

    Returns:
      (..., M).
    """
    of_class = jnp.take_along_axis(logits, (labels[..., None] - 1) % logits.shape[-1], axis=-1)[..., 0]
    return optax.losses.hinge_loss(
        of_class, jnp.where(jnp.arange(logits.shape[-2]) < num_foreground, 1.0, -1.0)
    )


def hardest(hinges, share):
    """Online hard example mining: the largest hinges of each video.

    (..., M) -> (..., k), k = int(M * share), at least one.
    """
    count = hinges.shape[-1]
    return jax.lax.top_k(hinges, min(max(int(count * share), 1), count))[0]


def completeness_count(videos, batch_size, places, num_foreground, share):
    """The divisor of the completeness loss: foreground places and kept incomplete ones of some videos.

    The published code keeps int(6 * share) places of a video but divides by int(6 * videos * share), rounded
    down once for the whole batch. The rounding here is that of a full batch, a share of which each device
    counts: so counts of devices add up.

    Args:
      videos: scalar array, number of videos counted here.
      batch_size: videos of an update, over all devices and accumulated batches.
      places: foreground and incomplete places of a video; num_foreground: of them.
    """
    incomplete = (places - num_foreground) * batch_size
    kept = min(max(int(incomplete * share), 1), incomplete)
    return videos * (num_foreground + kept / batch_size)


def regression_loss(regression, labels, targets):
    """Smooth L1 (beta 1) of the two numbers of a proposal's class, their sum.

    regression (..., K, 2), labels (...) from 1, targets (..., 2) -> (...).
    """
    return optax.losses.huber_loss(of_label(regression, labels), targets).sum(-1)


def of_label(values, labels):
    """The pair of each proposal's class. (..., K, 2), (...) int from 1 -> (..., 2)."""
    return jnp.take_along_axis(values, (labels[..., None, None] - 1) % values.shape[-2], axis=-2)[..., 0, :]


def offset_tiou(offsets, target_offsets):
    """tIoU of a proposal as it is regressed with where it should go.

    Both are (shift of the centre in lengths, log ratio of sizes), (..., 2) -> (...) in [0, 1].
    """

    def moved(pair):
        half = 0.5 * jnp.exp(pair[..., 1])  # the proposal goes from -0.5 to 0.5
        return jnp.stack([pair[..., 0] - half, pair[..., 0] + half], axis=-1)

    return tiou(moved(offsets), moved(target_offsets))


def curriculum_weights(config, outputs, batch, epoch):
    """Dynamic weights w of foreground proposals: class probability and tIoU after regression, mixed.

    No gradient flows through them.

    Args:
      config: `curriculum`, `train.epochs`.
      outputs: Outputs of (B, Q) centres, of a pass without dropout; batch: as for `loss`.
      epoch: scalar, epochs done so far.

    Returns:
      (B, Q) in [0, 1], meaningful for foreground.
    """
    alpha = curriculum.share_of_epoch(config, epoch, reading(config, "first_epoch"))
    probability = jnp.exp(-activity_loss(outputs.activity_logits, batch["labels"]))
    targets = batch["targets"] * batch["target_std"][:, None] + batch["target_mean"][:, None]
    overlap = offset_tiou(of_label(outputs.offsets, batch["labels"]), targets)
    return jax.lax.stop_gradient(curriculum.sample_weight(overlap, probability, alpha))


def terms_of(config, outputs, batch, dynamic_weights=None):
    """All losses of the outputs for the centres of trees.

    Args:
      config: the run's config (`loss`, `pools`, `curriculum`, `train`).
      outputs: Outputs of (B, Q) centres; batch: as for `loss`.
      dynamic_weights: (B, Q) of `curriculum_weights`; None without weights and auxiliary head.

    Returns:
      dict name -> Term.
    """
    c, first = config.curriculum, config.pools.foreground
    places, share = first + config.pools.incomplete, config.loss.hard_negative_share
    types, labels, mask = batch["types"], batch["labels"], batch["sample_mask"]
    foreground = types == FOREGROUND

    def weights(name):
        weighted = c.weights and name in reading(config, "weighted").split("+")
        return jnp.where(foreground, dynamic_weights, 1.0) if weighted else jnp.ones(types.shape)

    hinges = completeness_hinges(outputs.completeness_logits[:, :places], labels[:, :places], first)
    positive = curriculum.weighted_localisation(hinges[:, :first], weights("completeness")[:, :first])
    of_video = positive.sum(1) + hardest(hinges[:, first:], share).sum(1)
    batch_size = config.train.batch_size * config.train.accumulate_steps
    count = completeness_count(mask.sum(), batch_size, places, first, share)

    scored = (foreground | (types == BACKGROUND)) * mask[:, None]
    activity = weights("activity") * activity_loss(outputs.activity_logits, labels)
    regressed = foreground * mask[:, None]
    regression = weights("regression") * regression_loss(outputs.regression, labels, batch["targets"])
    terms = {
        "activity": Term(1.0, (activity * scored).sum(), scored.sum()),
        "completeness": Term(COMPLETENESS_WEIGHT, (of_video * mask).sum(), count),
        "regression": Term(REGRESSION_WEIGHT, (regression * regressed).sum(), regressed.sum()),
    }
    if c.auxiliary == "branch":
        values = curriculum.auxiliary_loss(outputs.auxiliary_logits, dynamic_weights, foreground)
        every = jnp.broadcast_to(mask[:, None], types.shape)
        counted = regressed if reading(config, "auxiliary_normaliser") == "positives" else every
        terms["auxiliary"] = Term(1.0, (values * every).sum(), counted.sum())
    return terms


def loss(config, model, variables, batch, epoch, rng):
    """Losses of one (local) batch: activity + 0.5 completeness + 0.5 regression, and the auxiliary one.

    The dynamic weights are of a second pass without dropout: with it, they would be mostly noise.

    Args:
      config: the run's config (`loss`, `pools`, `curriculum`, `train`).
      model, variables: the Flax module, and its parameters and other collections.
      batch: inputs (B, Q, n, 3C) features of trees, types (B, Q), labels (B, Q) and targets (B, Q, 2) of
        their centres (see `pools.draw_trees`), target_mean (B, 2) and target_std (B, 2), the same in all rows
        (see `pools.target_statistics`), and sample_mask (B,) float32, 0 for videos that only fill the batch.
      epoch: scalar, for the curriculum.
      rng: key of the dropout masks.

    Returns:
      dict name -> Term, and the collection "target_statistics" for the checkpoint.
    """
    statistics = {"target_statistics": {"mean": batch["target_mean"][0], "std": batch["target_std"][0]}}
    variables = {"params": variables["params"], **statistics}
    outputs = model.apply(variables, batch["inputs"], train=True, rngs={"dropout": rng})
    dynamic_weights = None
    if config.curriculum.weights or config.curriculum.auxiliary == "branch":
        without_dropout = outputs
        if model.dropout or model.branch_dropout:
            without_dropout = model.apply(jax.lax.stop_gradient(variables), batch["inputs"])
        dynamic_weights = curriculum_weights(config, without_dropout, batch, epoch)
    return terms_of(config, outputs, batch, dynamic_weights), statistics
