"""The losses of TCANet: each stage regresses good proposals and learns a confidence in a sample of all.

Every loss is a `Term`, a sum and a count over the proposals of the local batch. Over several devices both are
summed, so that there the regression is that of the whole batch. Not so the share of a band that the
confidence loss takes: it comes from the counts of each device, and of each small batch where such are
accumulated. (The published code divides by the counts of each device and takes the mean over devices.)
"""

import jax
import jax.numpy as jnp
from optax.losses import huber_loss

from tal_jax import curriculum
from tal_jax.ops.segments import overlap_and_union
from tal_jax.systems.interface import Term
from tal_jax.systems.tcanet.config import LOW_IOU, reading

UNION_EPS = 1e-5
MIN_WIDTH_SEC = 1e-5


def tiou(first, second):
    """Overlap of segments, (..., 2) twice -> (...): intersection / (union + 1e-5), as published."""
    shared, union = overlap_and_union(first, second)
    return jnp.where(shared < 0, 0.0, shared) / (union + UNION_EPS)


def boundary_targets(segments, truths):
    """Targets of the frame level: (gs - s) / w, (ge - e) / w. (..., 2) twice -> (..., 2)."""
    return (truths - segments) / _width(segments)


def segment_targets(segments, truths):
    """Targets of the segment level: (gc - c) / w, ln(gw / w). (..., 2) twice -> (..., 2)."""
    width = _width(segments)
    shift = (truths.mean(axis=-1, keepdims=True) - segments.mean(axis=-1, keepdims=True)) / width
    return jnp.concatenate([shift, jnp.log(_width(truths) / width)], axis=-1)


def _width(segments):
    """Lengths of segments, at least 1e-5. (..., 2) -> (..., 1)."""
    return jnp.maximum(segments[..., 1:] - segments[..., :1], MIN_WIDTH_SEC)


def confidence_sample(iou, mask, uniforms, threshold):
    """Which proposals the confidence loss counts: all good ones, of the other bands about as many each.

    Bands by IoU: high above the threshold, low up to `LOW_IOU`, middle in between. Of the middle and of the
    low one each proposal is taken with probability min(1, high ones / those of its band), so none where there
    is no high one.

    Args:
      iou: (...); mask: (...) bool, False for padding.
      uniforms: (2, ...) in [0, 1), for the middle band and for the low one.

    Returns:
      (...) bool.
    """
    high, low = (iou > threshold) & mask, (iou <= LOW_IOU) & mask
    chosen = high
    for band, uniform in zip((mask & ~high & ~low, low), uniforms):
        share = jnp.minimum(1.0, high.sum() / jnp.maximum(band.sum(), 1))
        chosen |= band & (uniform > 1.0 - share)
    return chosen


def curriculum_weights(config, stage, truths, epoch):
    """Dynamic weights w of DW-AFSD for the proposals of a stage, (B, P).

    The reading is ours, as that paper has no proposals: s is the tIoU of the refined proposal with its truth,
    and p, the score of the classification, the stage's confidence, for TCANet has no classes. w multiplies
    the regression losses of positives, whose number they are still divided by; the confidence loss stays as
    it is.

    Args:
      config: the run's config (`curriculum`, `train.epochs`).
      stage: model.Stage of a pass without dropout.
      truths: (B, P, 2) seconds.
      epoch: scalar, epochs done so far.
    """
    alpha = curriculum.share_of_epoch(config, epoch, reading(config, "first_epoch"))
    weights = curriculum.sample_weight(tiou(stage.refined_sec, truths), stage.confidence, alpha)
    return jax.lax.stop_gradient(weights) if reading(config, "detach_weights") else weights


def stage_terms(stage, truths, mask, threshold, uniforms, dynamic_weights=None):
    """(regression, confidence) Terms of one stage.

    Args:
      stage: model.Stage of B recordings.
      truths: (B, P, 2) seconds, the action that belongs to each proposal, the same for all stages.
      mask: (B, P) bool, proposals that count.
      threshold: IoU of the proposals that enter the stage, from which they are positive.
      uniforms: (2, B, P), see `confidence_sample`.
      dynamic_weights: (B, P) of `curriculum_weights`; None: the regression is not weighted.
    """
    entering = stage.entering_sec
    # As published, targets and IoU pass gradients to the stages before.
    iou = tiou(entering, truths)
    positive = (iou >= threshold) & mask
    regression = huber_loss(stage.boundary_offsets, boundary_targets(entering, truths)).sum(-1)
    regression += huber_loss(stage.segment_offsets, segment_targets(entering, truths)).sum(-1)
    if dynamic_weights is not None:
        regression = curriculum.weighted_localisation(regression, dynamic_weights)
    chosen = confidence_sample(iou, mask, uniforms, threshold)
    pairs = (regression, positive), (huber_loss(stage.confidence, iou), chosen)
    return [
        Term(1.0, jnp.where(mask, losses, 0.0).sum(), mask.sum().astype(jnp.float32))
        for losses, mask in pairs
    ]


def loss(config, model, variables, batch, epoch, rng):
    """All losses of one (local) batch.

    The dynamic weights, if they are on, are of a second pass without dropout.

    Args:
      config: the run's config.
      model, variables: the Flax module and its parameters.
      batch: inputs, a dict of what the module takes (features (B, T, C), proposals_sec (B, P, 2),
        proposal_mask (B, P), ...); truths_sec (B, P, 2); sample_mask (B,), 0 for examples that only fill the
        batch.
      epoch: scalar, for the curriculum.
      rng: key of the dropout masks and of what the confidence losses count.

    Returns:
      dict regression_1, confidence_1, regression_2, ... -> Term; {}, as there are no other collections.
    """
    dropout_rng, band_rng = jax.random.split(rng)
    inputs = batch["inputs"]
    inputs = inputs | {"proposal_mask": inputs["proposal_mask"] * batch["sample_mask"][:, None]}
    outputs = model.apply(variables, **inputs, train=True, rngs={"dropout": dropout_rng})
    uniforms = jax.random.uniform(band_rng, (len(outputs.stages), 2, *outputs.mask.shape))
    truths, dynamic_weights = batch["truths_sec"], None
    if config.curriculum.weights:
        stages = outputs.stages
        if model.dropout and model.encoders:
            given = jax.lax.stop_gradient(variables) if reading(config, "detach_weights") else variables
            # train=True: with the offsets times `g_train`, as in the pass that learns.
            stages = model.clone(dropout=0.0).apply(given, **inputs, train=True).stages
        dynamic_weights = [curriculum_weights(config, stage, truths, epoch) for stage in stages]
    return all_terms(config, outputs, truths, uniforms, dynamic_weights), {}


def all_terms(config, outputs, truths, uniforms, dynamic_weights=None):
    """The losses of all stages.

    Args:
      config: the run's config (`loss`).
      outputs: model.Outputs of B recordings.
      truths: (B, P, 2) seconds.
      uniforms: (stages, 2, B, P) in [0, 1).
      dynamic_weights: of each stage (B, P), see `curriculum_weights`; None: nothing is weighted.

    Returns:
      dict regression_1, confidence_1, regression_2, ... -> Term.
    """
    terms = {}
    for i, stage in enumerate(outputs.stages):
        threshold, weights = config.loss.iou_thresholds[i], dynamic_weights and dynamic_weights[i]
        pair = stage_terms(stage, truths, outputs.mask, threshold, uniforms[i], weights)
        terms[f"regression_{i + 1}"], terms[f"confidence_{i + 1}"] = pair
    return terms
