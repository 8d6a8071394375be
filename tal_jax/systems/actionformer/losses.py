"""The losses of ActionFormer (section 3.3), and their weights by a curriculum. Distances are in strides."""

import jax
import jax.numpy as jnp
from jax import lax
from optax.losses import sigmoid_binary_cross_entropy as binary_cross_entropy

from tal_jax import curriculum
from tal_jax.ops.segments import overlap_and_union
from tal_jax.runtime.parallel import AXIS
from tal_jax.systems.actionformer.config import reading
from tal_jax.systems.actionformer.targets import assign, bounds_of_points
from tal_jax.systems.interface import Term, running_count

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0
SMALLEST_LENGTH = 1e-8  # to divide by, of union and cover
LOC_COST = 2.0  # of the DIoU loss in TemporalMaxer's cost of an action
LOWEST_LOC = 0.01  # of the localisation loss, where it gets as much weight as the other


def focal_loss(logits, targets):
    """Focal loss of sigmoids (Lin et al., 2017), elementwise; targets may be soft. (...) twice -> (...)."""
    p = jax.nn.sigmoid(logits)
    p_of_target = p * targets + (1 - p) * (1 - targets)
    alpha = FOCAL_ALPHA * targets + (1 - FOCAL_ALPHA) * (1 - targets)
    return alpha * (1 - p_of_target) ** FOCAL_GAMMA * binary_cross_entropy(logits, targets)


def smoothed(targets, smoothing):
    """Label smoothing: targets * (1 - e) + e / (K + 1). (..., K) of 0 and 1 -> (..., K)."""
    return targets * (1 - smoothing) + smoothing / (targets.shape[-1] + 1)


def tiou_of_distances(predicted, target):
    """tIoU of two segments around one point. (..., 2) distances twice -> (...) in [0, 1]."""
    shared, union = overlap_and_union(*map(_segments, (predicted, target)))
    return shared / jnp.maximum(union, SMALLEST_LENGTH)


def diou_loss(predicted, target):
    """DIoU loss of two segments around one point (Zheng et al., 2020), in one dimension.

    1 - tIoU + (distance of the middles / length of what covers both)^2. (..., 2) twice -> (...).
    """
    cover = jnp.maximum(predicted, target).sum(-1)
    apart = 0.5 * jnp.diff(predicted - target, axis=-1)[..., 0]
    return 1 - tiou_of_distances(predicted, target) + (apart / jnp.maximum(cover, SMALLEST_LENGTH)) ** 2


def _segments(distances):
    return jnp.stack([-distances[..., 0], distances[..., 1]], axis=-1)


def action_cost(outputs, segments, labels):
    """TemporalMaxer's cost of each action for each point: focal loss of its class plus 2 times DIoU loss.

    Args:
      outputs: model.Outputs.
      segments: (B, G, 2) cells; labels: (B, G) int in 1..K, 0 marks padding, whose cost means nothing.

    Returns:
      (B, N, G), without gradient.
    """
    own = labels[:, None] - 1  # (B, 1, G)
    absent, present = (focal_loss(outputs.logits, jnp.full_like(outputs.logits, y)) for y in (0.0, 1.0))
    cls = absent.sum(-1, keepdims=True) + jnp.take_along_axis(present - absent, own, axis=-1)
    place = outputs.points[:, None]
    distances = jnp.stack([place - segments[:, None, :, 0], segments[:, None, :, 1] - place], axis=-1)
    loc = diou_loss(outputs.distances[:, :, None], distances / outputs.strides[:, None, None])
    return lax.stop_gradient(cls + LOC_COST * loc)


def loc_weight(config, sums, count, normalisers):
    """Weight of the localisation loss; with a field of 0 that loss gets the size of the other, as published.

    Args:
      config: the run's config (`loss.loc_weight`).
      sums: of the losses "cls" and "loc" on this device; count: of its positive points.
      normalisers: name -> running mean of the count so far.
    """
    if config.loss.loc_weight > 0:
        return config.loss.loc_weight
    cls, loc, count = lax.psum((sums["cls"], sums["loc"], count), AXIS)
    count = running_count(normalisers["cls"], count)
    return lax.stop_gradient(cls / count / jnp.maximum(loc / count, LOWEST_LOC))


def entry_weights(config, outputs, targets, epoch):
    """The dynamic weights of DW-AFSD for a detector with K sigmoids (docs/actionformer.md).

    Args:
      config: the whole config (`curriculum`, `readings`, `train.epochs`).
      outputs: model.Outputs; targets: targets.Targets.
      epoch: scalar, epochs done so far.

    Returns:
      w of each point and class (B, N, K), and of each point (B, N), in [0, 1]; without gradient. They mean
      something at positive entries, and at positive points.
    """
    alpha = curriculum.share_of_epoch(config, epoch, reading(config, "first_epoch"))
    s = tiou_of_distances(outputs.distances, targets.distances)
    if reading(config, "loc_score") == "diou":
        s = jnp.clip(1 - diou_loss(outputs.distances, targets.distances), 0, 1)
    p = jax.nn.sigmoid(outputs.logits)
    highest = jnp.where(targets.classes > 0, p, 0.0).max(-1)
    of_entry = p
    if reading(config, "probability") == "highest":
        of_entry = jnp.broadcast_to(highest[..., None], p.shape)
    weights = curriculum.sample_weight(s[..., None], of_entry, alpha)
    return lax.stop_gradient((weights, curriculum.sample_weight(s, highest, alpha)))


def point_losses(config, outputs, targets, positive, epoch):
    """The loss of each point, weighted as in DW-AFSD where the curriculum is on.

    Args: as for `entry_weights`, and positive: (B, N) bool.

    Returns:
      dict of (B, N): cls, loc and, with an auxiliary score, auxiliary. loc means something at positives.
    """
    c, entry = config.curriculum, (targets.classes > 0) & positive[..., None]
    cls = focal_loss(outputs.logits, smoothed(targets.classes, config.loss.smoothing))
    loc = diou_loss(outputs.distances, targets.distances)
    of_entry, of_point = entry_weights(config, outputs, targets, epoch)
    if config.loss.overlap_power:
        static = curriculum.overlap_weight(
            tiou_of_distances(outputs.distances, targets.distances), config.loss.overlap_power
        )
        cls = curriculum.weighted_classification(cls, entry, static[..., None])
    if c.weights:
        normalised = curriculum.normalised(of_point, positive, c.weight_norm)
        if reading(config, "weighted_entries") == "positive":
            of_entry = curriculum.normalised(of_entry, entry, c.weight_norm)
            cls = curriculum.weighted_classification(cls, entry, of_entry)
        else:
            cls = curriculum.weighted_classification(cls, positive[..., None], normalised[..., None])
        loc = curriculum.weighted_localisation(loc, normalised)
    losses = dict(cls=cls.sum(-1), loc=loc)
    if c.auxiliary != "none":
        branch = c.auxiliary == "branch"
        logits = outputs.auxiliary_logits if branch else outputs.logits.max(-1)
        losses["auxiliary"] = curriculum.auxiliary_loss(logits, of_point, positive)
    return losses


def loss(config, model, variables, batch, epoch, rng):
    """All losses of one (local) batch.

    Args:
      config: the run's config.
      model, variables: the Flax module, and its parameters and normalisers.
      batch: arrays as the examples of `data.whole_recordings.examples`, and `sample_mask` (B,).
      epoch: scalar, for the curriculum.
      rng: for dropout and stochastic depth.

    Returns:
      dict name -> Term, whose count is that of positive points; the normalisers as they were, which
      `step.make_step` moves.
    """
    args = batch["inputs"], batch["num_frames"], True
    outputs = model.apply(variables, *args, rngs={"dropout": rng})
    terms = loss_terms(config, outputs, batch, variables["normaliser"], epoch)
    return terms, {"normaliser": variables["normaliser"]}


def loss_terms(config, outputs, batch, normalisers, epoch):
    """dict name -> Term of a batch, see `loss`. normalisers: name -> running mean of the count so far."""
    bounds = bounds_of_points(outputs.strides, config.loss.level_bounds)
    truth = batch["segments_frame"], batch["labels"], outputs.logits.shape[-1]
    cost = action_cost(outputs, *truth[:2]) if reading(config, "regression_target") == "cheapest" else None
    targets = assign(outputs.points, outputs.strides, bounds, *truth, config.loss.centre_radius, cost)
    valid = outputs.mask & (batch["sample_mask"] > 0)[:, None]
    return terms_of_targets(config, outputs, targets, valid, normalisers, epoch)


def terms_of_targets(config, outputs, targets, valid, normalisers, epoch):
    """dict name -> Term. valid: (B, N) bool, points that count; the others as for `loss_terms`."""
    positive = valid & (targets.classes.sum(-1) > 0)
    count = positive.sum().astype(jnp.float32)
    losses = point_losses(config, outputs, targets, positive, epoch)
    where = {"cls": valid, "loc": positive, "auxiliary": valid}
    sums = {name: jnp.where(where[name], values, 0.0).sum() for name, values in losses.items()}
    weights = {"loc": loc_weight(config, sums, count, normalisers)}
    return {name: Term(weights.get(name, 1.0), sums[name], count) for name in sums}
