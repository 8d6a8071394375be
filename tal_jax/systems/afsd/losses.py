"""The losses of AFSD, in the published code's form, and their curriculum-weighted forms.

Every loss is a `Term`: a local sum and a local count. The training step divides the sum over all devices by
the count over all devices, so that a batch means the same however many devices share it.
"""

import functools

import jax
import jax.numpy as jnp
from optax.losses import huber_loss, sigmoid_binary_cross_entropy

from tal_jax import curriculum
from tal_jax.ops.boundary_pooling import boundary_max_pool
from tal_jax.ops.segments import distance_iou
from tal_jax.systems.afsd.config import reading
from tal_jax.systems.afsd.model import boundary_regions
from tal_jax.systems.afsd.targets import assign
from tal_jax.systems.interface import Term

FOCAL_EPS = 1e-6


def probability_of(labels, logits):
    """Softmax probability of each label. labels (...) int, logits (..., K + 1) -> (...)."""
    return jnp.take_along_axis(jax.nn.softmax(logits), labels[..., None], axis=-1)[..., 0]


def focal_loss(logits, labels, alpha, gamma):
    """AFSD Eq. 12, DW-AFSD Eq. 3: softmax focal loss, -a * (1 - q)^gamma * log q, as published.

    q is the softmax probability of the label (plus 1e-6); a is alpha for background, 1 - alpha for actions.

    Args:
      logits: (..., K + 1); labels: (...) int, 0 = background.

    Returns:
      (...).
    """
    probability = probability_of(labels, logits) + FOCAL_EPS
    balance = jnp.where(labels == 0, alpha, 1.0 - alpha)
    # The published code lets this fall to -1e-6, where powers are not defined.
    error = jnp.maximum(1.0 - probability, FOCAL_EPS)
    return -balance * error**gamma * jnp.log(probability)


def localisation_losses(outputs, targets, smooth):
    """AFSD Eq. 13, DW-AFSD Eq. 4: 1 - tIoU of the coarse segment, and L1 of the refined offsets.

    Args:
      outputs: model.Outputs; targets: targets.Targets.
      smooth: smooth L1 with beta 1 (ActivityNet) in place of L1.

    Returns:
      coarse (B, N), refined (B, N), the second summed over both sides; meaningful at positives.
    """
    error = huber_loss if smooth else lambda predicted, target: jnp.abs(predicted - target)
    coarse = 1.0 - distance_iou(outputs.coarse_distances, targets.distances)
    return coarse, error(outputs.refined_offsets, targets.offsets).sum(-1)


def quality_loss(logits, refined_iou, target_gradient):
    """AFSD Eq. 14: binary cross-entropy of eta = sigmoid(logits) with the tIoU of the refined segment.

    Args:
      logits: (B, N); refined_iou: (B, N), negative where the segment misses its anchor.
      target_gradient: whether gradient flows through the tIoU too, as published.

    Returns:
      (B, N).
    """
    target = jnp.maximum(refined_iou, 0.0)
    if not target_gradient:
        target = jax.lax.stop_gradient(target)
    return sigmoid_binary_cross_entropy(logits, target)


def refine_distances(coarse_distances, refined_offsets):
    """AFSD Eq. 15: boundaries moved by offsets in units of half the coarse width.

    coarse_distances (..., 2) frames, refined_offsets (..., 2) -> (..., 2) frames. The equation's class score
    is in `decode.of_locations`, where other scores can take the place of the quality.
    """
    return coarse_distances + 0.5 * coarse_distances.sum(-1, keepdims=True) * refined_offsets


def mean_activation(feature):
    """AFSD Eq. 6: g = mean over channels of tanh(f), of start- or end-sensitive features.

    (B, T, C) -> (B, T) float32.
    """
    return jnp.tanh(feature.astype(jnp.float32)).mean(-1)


def activation_term(feature, labels, mask):
    """AFSD Eq. 8: binary cross-entropy of the mean activation of one side with where its boundaries are.

    Args:
      feature: (B, T, C); labels: (B, T) of 0 and 1; mask: (B,) 1 for recordings that count.

    Returns:
      Sum of BCE over recordings and time, to be divided by their number.
    """
    activation = mean_activation(feature)
    # PyTorch clamps these logarithms at -100; clamping their arguments keeps the gradient finite too.
    log_on = jnp.log(jnp.maximum(activation, jnp.finfo(jnp.float32).tiny))
    log_off = jnp.log1p(-jnp.minimum(activation, 1.0 - jnp.finfo(jnp.float32).epsneg))
    return (-(labels * log_on + (1 - labels) * log_off) * mask[:, None]).sum()


def triplet_margin(anchor, positive, negative):
    """AFSD Eq. 9: max(|a - p| - |a - n| + 1, 0), distances unsquared as published.

    (B, C) three times -> (B,).
    """
    near, far = (jnp.sqrt(jnp.square(anchor - other + 1e-6).sum(-1)) for other in (positive, negative))
    return jnp.maximum(near - far + 1.0, 0.0)


def contrastive_features(sides, proposals, grad="exact"):
    """Boundary-pooled features of the three proposals of a rearranged window (AFSD section 3.3).

    Args:
      sides: model.Sides of the rearranged windows, or Outputs.
      proposals: (B, 3, 2) frames: action before the inserted background, action after it, the background
        itself.

    Returns:
      Three triples (anchor, positive, negative), (B, C / 2) each: from the frame-level feature and from the
      level-0 localisation and classification features. anchor = end-sensitive half of the first action;
      positive = start-sensitive half of the second; negative = start-sensitive half of the background.
    """
    centre = proposals.mean(-1)
    distances = 0.5 * (proposals[..., 1:] - proposals[..., :1]) * jnp.ones(2)
    regions = boundary_regions(distances, centre, plus_one=True)
    triples = []
    for feature, stride in ((sides.frame_feature, 1), (sides.loc_sides, 4), (sides.cls_sides, 4)):
        pooled = boundary_max_pool(feature, regions / stride, grad=grad).astype(jnp.float32)
        start_half, end_half = jnp.split(pooled, 2, axis=-1)
        triples.append((end_half[:, 0], start_half[:, 1], start_half[:, 2]))
    return triples


def curriculum_weights(config, outputs, targets, epoch):
    """Dynamic weights w of the coarse and of the refined losses, and the auxiliary target.

    The coarse and the refined w have the tIoU and the probability of their own heads. The auxiliary target
    has the refined tIoU and the mean of both probabilities, what inference ranks by. With
    the reading stage_weights=shared it is every w.

    Args:
      config: the whole config: `curriculum` and `train.epochs`.
      outputs: model.Outputs; targets: targets.Targets.
      epoch: scalar, epochs done so far.

    Returns:
      (coarse, refined, auxiliary), each (B, N); meaningful at positives.
    """
    alpha = curriculum.share_of_epoch(config, epoch, reading(config, "first_epoch"))
    coarse_iou = distance_iou(outputs.coarse_distances, targets.distances)
    refined = refine_distances(outputs.coarse_distances, outputs.refined_offsets)
    refined_iou = distance_iou(refined, targets.distances)
    if reading(config, "loc_score") == "quality":
        coarse_iou = refined_iou = jax.nn.sigmoid(outputs.quality_logits)
    coarse_p = probability_of(targets.coarse_labels, outputs.coarse_logits)
    refined_p = probability_of(targets.coarse_labels, outputs.refined_logits)
    scores = (coarse_iou, coarse_p), (refined_iou, refined_p), (refined_iou, 0.5 * (coarse_p + refined_p))
    weights = [curriculum.sample_weight(jnp.clip(iou, 0, 1), p, alpha) for iou, p in scores]
    if reading(config, "stage_weights") == "shared":
        weights = [weights[-1]] * 3
    return jax.lax.stop_gradient(weights) if reading(config, "detach_weights") else weights


def detection_terms(config, outputs, targets, batch, epoch):
    """AFSD Eq. 11, DW-AFSD Eq. 5: all detection losses, weighted by the curriculum if it is on.

    Args:
      config: the run's config (`loss`, `curriculum`, `train.epochs`).
      outputs: model.Outputs; targets: targets.Targets; batch: as for `loss`.
      epoch: scalar, epochs done so far.

    Returns:
      dict of Terms: loc, cls, refined_loc, refined_cls, quality and, with the curriculum, auxiliary.
    """
    loss, c = config.loss, config.curriculum
    positive, refined_positive = targets.coarse_labels > 0, targets.refined_labels > 0
    coarse_w, refined_w, auxiliary_target = curriculum_weights(config, outputs, targets, epoch)

    loc, refined_loc = localisation_losses(outputs, targets, reading(config, "smooth_l1"))
    focal = functools.partial(focal_loss, alpha=loss.focal_alpha, gamma=loss.focal_gamma)
    cls = focal(outputs.coarse_logits, targets.coarse_labels)
    refined_cls = focal(outputs.refined_logits, targets.refined_labels)
    refined = refine_distances(outputs.coarse_distances, outputs.refined_offsets)
    refined_iou = distance_iou(refined, targets.distances)
    if loss.overlap_power:
        overlaps = distance_iou(outputs.coarse_distances, targets.distances), refined_iou
        static = [curriculum.overlap_weight(iou, loss.overlap_power) for iou in overlaps]
        cls = curriculum.weighted_classification(cls, positive, static[0])
        refined_cls = curriculum.weighted_classification(refined_cls, refined_positive, static[1])
    losses = dict(loc=loc, cls=cls, refined_loc=refined_loc, refined_cls=refined_cls)
    if c.weights:
        coarse_w = curriculum.normalised(coarse_w, positive, c.weight_norm)
        refined_w = curriculum.normalised(refined_w, refined_positive, c.weight_norm)
        weighted = dict(
            loc=curriculum.weighted_localisation(loc, coarse_w),
            cls=curriculum.weighted_classification(cls, positive, coarse_w),
            refined_loc=curriculum.weighted_localisation(refined_loc, refined_w),
            refined_cls=curriculum.weighted_classification(refined_cls, refined_positive, refined_w),
        )
        chosen = reading(config, "weighted").split("+")
        losses |= {name: weighted[name] for name in weighted if name in chosen}

    quality = quality_loss(outputs.quality_logits, refined_iou, reading(config, "quality_target_gradient"))

    rows = dict(  # weight, per-location loss, where it counts, whose number it is divided by
        loc=(loss.loc_weight, losses["loc"], positive, positive),
        cls=(1.0, losses["cls"], targets.valid, positive),
        refined_loc=(loss.loc_weight, losses["refined_loc"], refined_positive, refined_positive),
        refined_cls=(1.0, losses["refined_cls"], targets.valid, refined_positive),
        quality=(1.0, quality, positive, positive),
    )
    if c.auxiliary != "none":
        logits = outputs.auxiliary_logits
        if c.auxiliary == "classification":  # the foreground probability of the refined head (Table 6)
            background, actions = outputs.refined_logits[..., 0], outputs.refined_logits[..., 1:]
            logits = jax.nn.logsumexp(actions, axis=-1) - background
        good = refined_positive if reading(config, "auxiliary_positives") == "refined" else positive
        auxiliary = curriculum.auxiliary_loss(logits, auxiliary_target, good)
        counted = good if reading(config, "auxiliary_normaliser") == "positives" else targets.valid
        rows["auxiliary"] = (1.0, auxiliary, targets.valid, counted)

    terms = {}
    for name, (weight, values, where, divide_by) in rows.items():
        sums, counts = jnp.where(where, values, 0.0).sum(1), divide_by.sum(1).astype(jnp.float32)  # (B,)
        if reading(config, "per_recording"):  # ActivityNet: normalised recording by recording, then averaged
            sums = sums / jnp.maximum(counts, 1.0) * batch["sample_mask"]
            counts = batch["sample_mask"]
        terms[name] = Term(weight, sums.sum(), counts.sum())
    return terms


def activation_terms(outputs, batch):
    """The terms "start" and "end" of activation-guided learning.

    Each is the loss of the frame-level feature and, times 0.1, of both level-0 features.

    Args:
      outputs: model.Outputs of the batch; batch: as for `loss`.

    Returns:
      dict of Terms.
    """
    mask, terms = batch["sample_mask"], {}
    window, cells = outputs.frame_feature.shape[1], outputs.loc_sides.shape[1]
    for side, name in enumerate(("start", "end")):
        labels = batch["boundary_labels"][:, side]  # (B, window)
        features = outputs.frame_feature, outputs.loc_sides, outputs.cls_sides
        halves = [jnp.split(feature, 2, axis=-1)[side] for feature in features]
        frame = activation_term(halves[0], labels, mask) / window
        coarse_labels = labels[:, :: window // cells]
        level = sum(activation_term(half, coarse_labels, mask) / cells for half in halves[1:])
        terms[name] = Term(1.0, frame + 0.1 * level, mask.sum())
    return terms


def consistency_terms(config, outputs, batch):
    """AFSD Eq. 10: boundary consistency, an activation-guided and a contrastive part, each with a weight.

    The contrastive part is of the triplets of the rearranged windows. Those of the frame-level feature have
    weight 1, those of both level-0 features 0.1.

    Args:
      config: the run's config (`loss`, `model`).
      outputs: model.Outputs of the batch, with those of the rearranged windows; batch: as for `loss`.

    Returns:
      dict of Terms: start, end; triplet.
    """
    terms = activation_terms(outputs, batch)
    if outputs.rearranged_sides is not None:
        proposals, pool_grad = batch["proposals_frame"], reading(config, "boundary_pool_grad")
        triples = contrastive_features(outputs.rearranged_sides, proposals, pool_grad)
        margins = sum(w * triplet_margin(*triple) for w, triple in zip((1.0, 0.1, 0.1), triples))
        usable = batch["rearranged"] * batch["sample_mask"]
        terms["triplet"] = Term(config.loss.contrastive_weight, (margins * usable).sum(), usable.sum())
    return terms


def loss(config, model, variables, batch, epoch, rng):
    """All losses of one (local) batch.

    Args:
      config: the run's config (`loss`, `curriculum`, `model`, `train.epochs`).
      model, variables: the Flax module, and its parameters and other collections.
      batch: arrays as the examples of `examples.training_examples`, and `sample_mask` (B,).
      epoch: scalar, for the curriculum.
      rng: not used, nothing here is random.

    Returns:
      dict name -> Term; the collections beside "params", with the statistics of this batch where BatchNorms
      are not frozen.
    """
    others = [name for name in variables if name != "params"]
    rearranged = None
    if config.loss.contrastive_weight:
        rearranged = jax.vmap(lambda frames, order: frames[order])(batch["inputs"], batch["frame_map"])
    seen = batch["inputs"], batch["num_frames"], batch["sample_mask"], rearranged
    outputs, model_state = model.apply(variables, *seen, mutable=others)
    terms = detection_terms(config, outputs, assign(config, outputs, batch), batch, epoch)
    return terms | consistency_terms(config, outputs, batch), model_state
