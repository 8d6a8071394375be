"""The losses of AFSD (section 3.4 of the paper, in the published code's form) and their curriculum-weighted forms.

Every loss is a `Term`: a local sum and a local count. The training step divides the sum over all devices by the count
over all devices, so that a batch means the same however many devices share it.
"""

import functools

import jax
import jax.numpy as jnp

from tal_jax import curriculum
from tal_jax.ops.boundary_pooling import boundary_max_pool
from tal_jax.ops.segments import distance_iou
from tal_jax.systems.afsd.model import boundary_regions
from tal_jax.systems.afsd.targets import assign
from tal_jax.systems.interface import Term
from tal_jax.systems.torch_defaults import smooth_l1

FOCAL_EPS = 1e-6


def focal_loss(logits, labels, alpha, gamma):
    """AFSD Eq. 12, DW-AFSD Eq. 3, in the form of the published code: softmax focal loss, -a * (1 - q)^gamma * log q.

    q is the softmax probability of the label (plus 1e-6); a = alpha for background, 1 - alpha for every action.

    Args:
      logits: (..., K + 1); labels: (...) int, 0 = background.

    Returns:
      (...).
    """
    probability = jnp.take_along_axis(jax.nn.softmax(logits), labels[..., None], axis=-1)[..., 0] + FOCAL_EPS
    balance = jnp.where(labels == 0, alpha, 1.0 - alpha)
    error = jnp.maximum(1.0 - probability, FOCAL_EPS)  # the published code lets it fall to -1e-6, where powers are not defined
    return -balance * error**gamma * jnp.log(probability)


def offset_loss(predicted, target, smooth):
    """L1 (THUMOS) or smooth L1 with beta 1 (ActivityNet) of refined offsets, summed over both sides. (..., 2) -> (...)."""
    error = smooth_l1(predicted, target) if smooth else jnp.abs(predicted - target)
    return error.sum(-1)


def refine_distances(coarse_distances, refined_offsets):
    """AFSD Eq. 15: refined = coarse + 0.5 * (coarse width) * offset. (..., 2) frames."""
    return coarse_distances + 0.5 * coarse_distances.sum(-1, keepdims=True) * refined_offsets


def activation_term(feature, labels, mask):
    """Activation-guided learning (AFSD Eq. 6 and 8): BCE between the mean activation g = mean tanh(feature) and 0/1 labels.

    Args:
      feature: (B, T, C); labels: (B, T); mask: (B,) 1 for recordings that count.

    Returns:
      Sum of BCE over recordings and time, to be divided by their number.
    """
    activation = jnp.tanh(feature.astype(jnp.float32)).mean(-1)
    # PyTorch clamps these logarithms at -100; clamping their arguments keeps the gradient finite too.
    log_on = jnp.log(jnp.maximum(activation, jnp.finfo(jnp.float32).tiny))
    log_off = jnp.log1p(-jnp.minimum(activation, 1.0 - jnp.finfo(jnp.float32).epsneg))
    return (-(labels * log_on + (1 - labels) * log_off) * mask[:, None]).sum()


def triplet_margin(anchor, positive, negative):
    """Boundary contrastive loss (AFSD Eq. 9, unsquared as published): max(|a - p| - |a - n| + 1, 0). (B, C) -> (B,)."""

    def distance(first, second):
        return jnp.sqrt(jnp.square(first - second + 1e-6).sum(-1))

    return jnp.maximum(distance(anchor, positive) - distance(anchor, negative) + 1.0, 0.0)


def contrastive_features(outputs, proposals, grad="exact"):
    """Boundary-pooled features of the three proposals of a rearranged clip (AFSD section 3.3).

    Args:
      outputs: Outputs for the rearranged clips.
      proposals: (B, 3, 2) frames: action before the inserted background, action after it, the background itself.

    Returns:
      Three triples (anchor, positive, negative), (B, C / 2) each: from the frame-level feature and from the level-0
      localisation and classification features. anchor = end-sensitive half of the first action; positive = start-
      sensitive half of the second; negative = start-sensitive half of the background.
    """
    centre = proposals.mean(-1)
    distances = 0.5 * (proposals[..., 1:] - proposals[..., :1]) * jnp.ones(2)
    regions = boundary_regions(distances, centre, plus_one=True)
    triples = []
    for feature, stride in ((outputs.frame_feature, 1), (outputs.loc_sides, 4), (outputs.cls_sides, 4)):
        pooled = boundary_max_pool(feature, regions / stride, grad=grad).astype(jnp.float32)
        start_half, end_half = jnp.split(pooled, 2, axis=-1)
        triples.append((end_half[:, 0], start_half[:, 1], start_half[:, 2]))
    return triples


def curriculum_weights(config, outputs, targets, epoch):
    """Weights w of the coarse and of the refined stage (DW-AFSD Eq. 8, 9), and the auxiliary target.

    Each stage has the w of its own tIoU and probability. The auxiliary target has the refined tIoU and the
    mean of both probabilities, what inference ranks by. With `curriculum.stage_weights='shared'` it is every w.

    Args:
      config: the whole config: `curriculum` and `train.epochs`.
      epoch: scalar, epochs done so far.

    Returns:
      (coarse, refined, auxiliary), each (B, N); meaningful at positives.
    """
    c, alpha = config.curriculum, curriculum.share_of_epoch(config, epoch)
    coarse_iou = distance_iou(outputs.coarse_distances, targets.distances)
    refined = refine_distances(outputs.coarse_distances, outputs.refined_offsets)
    refined_iou = distance_iou(refined, targets.distances)
    if c.loc_score == "quality":
        coarse_iou = refined_iou = jax.nn.sigmoid(outputs.quality_logits)

    def probability(logits):
        return jnp.take_along_axis(jax.nn.softmax(logits), targets.coarse_labels[..., None], axis=-1)[..., 0]

    coarse_p, refined_p = probability(outputs.coarse_logits), probability(outputs.refined_logits)
    stages = [
        curriculum.sample_weight(jnp.clip(iou, 0, 1), p, alpha)
        for iou, p in ((coarse_iou, coarse_p), (refined_iou, refined_p), (refined_iou, 0.5 * (coarse_p + refined_p)))
    ]
    if c.stage_weights == "shared":
        stages = [stages[-1]] * 3
    return [jax.lax.stop_gradient(w) for w in stages] if c.detach else stages


def detection_terms(config, outputs, targets, batch, epoch):
    """AFSD Eq. 11: its five terms, weighted by the curriculum if it is on, and DW-AFSD Eq. 10.

    Eq. 12 is `cls`, `refined_cls`; Eq. 13 `loc`, and `refined_loc` in L1; Eq. 14 `quality`.

    Returns:
      dict of Terms: loc, cls, refined_loc, refined_cls, quality and, with the curriculum, auxiliary.
    """
    loss, c = config.loss, config.curriculum
    focal = functools.partial(focal_loss, alpha=loss.focal_alpha, gamma=loss.focal_gamma)
    positive, refined_positive = targets.coarse_labels > 0, targets.refined_labels > 0
    coarse_weights, refined_weights, auxiliary_target = curriculum_weights(config, outputs, targets, epoch)

    losses = dict(
        loc=1.0 - distance_iou(outputs.coarse_distances, targets.distances),
        cls=focal(outputs.coarse_logits, targets.coarse_labels),
        refined_loc=offset_loss(outputs.refined_offsets, targets.offsets, loss.smooth_l1),
        refined_cls=focal(outputs.refined_logits, targets.refined_labels),
    )
    if c.weights:
        localisation, classification = curriculum.weighted_localisation, curriculum.weighted_classification
        weighted = dict(
            loc=localisation(losses["loc"], coarse_weights),
            cls=classification(losses["cls"], positive, coarse_weights),
            refined_loc=localisation(losses["refined_loc"], refined_weights),
            refined_cls=classification(losses["refined_cls"], refined_positive, refined_weights),
        )
        losses |= {name: weighted[name] for name in c.weighted}

    refined_distances = refine_distances(outputs.coarse_distances, outputs.refined_offsets)
    quality_target = jnp.maximum(distance_iou(refined_distances, targets.distances), 0.0)
    if not loss.quality_target_gradient:
        quality_target = jax.lax.stop_gradient(quality_target)
    quality = curriculum.binary_cross_entropy(outputs.quality_logits, quality_target)

    rows = dict(  # weight, per-location loss, where it counts, whose number it is divided by
        loc=(loss.loc_weight, losses["loc"], positive, positive),
        cls=(loss.cls_weight, losses["cls"], targets.valid, positive),
        refined_loc=(loss.loc_weight, losses["refined_loc"], refined_positive, refined_positive),
        refined_cls=(loss.cls_weight, losses["refined_cls"], targets.valid, refined_positive),
        quality=(loss.cls_weight, quality, positive, positive),
    )
    if c.auxiliary != "none":
        if c.auxiliary == "branch":
            logits = outputs.auxiliary_logits
        else:  # "classification": the foreground probability of the refined head stands in for the branch (Table 6)
            logits = jax.nn.logsumexp(outputs.refined_logits[..., 1:], axis=-1) - outputs.refined_logits[..., 0]
        good = refined_positive if c.auxiliary_positives == "refined" else positive
        auxiliary = curriculum.auxiliary_loss(logits, auxiliary_target, good)
        counted = good if c.auxiliary_normaliser == "positives" else targets.valid
        rows["auxiliary"] = (c.auxiliary_weight, auxiliary, targets.valid, counted)

    return {name: _term(*row, per_recording=loss.per_recording, sample_mask=batch["sample_mask"]) for name, row in rows.items()}


def _term(weight, values, where, divide_by, per_recording, sample_mask):
    """Sums `values` (B, N) over `where`; divides by the number of `divide_by`, of the batch or of each recording."""
    sums, counts = jnp.where(where, values, 0.0).sum(1), divide_by.sum(1).astype(jnp.float32)
    if per_recording:  # ActivityNet: normalised recording by recording, then averaged
        return Term(weight, (sums / jnp.maximum(counts, 1.0) * sample_mask).sum(), sample_mask.sum())
    return Term(weight, sums.sum(), counts.sum())


def activation_terms(config, outputs, batch):
    """start and end: activation-guided losses of the frame-level and, times 0.1, of both level-0 features (AFSD Eq. 8)."""
    window, mask = outputs.frame_feature.shape[1], batch["sample_mask"]
    cells = outputs.loc_sides.shape[1]
    terms = {}
    for side, name in enumerate(("start", "end")):
        labels = batch["boundary_labels"][:, side]  # (B, window)
        halves = [jnp.split(f, 2, axis=-1)[side] for f in (outputs.frame_feature, outputs.loc_sides, outputs.cls_sides)]
        frame = activation_term(halves[0], labels, mask) / window
        coarse_labels = labels[:, :: window // cells]
        level = sum(activation_term(half, coarse_labels, mask) / cells for half in halves[1:])
        terms[name] = Term(config.loss.activation_weight, frame + 0.1 * level, mask.sum())
    return terms


def contrastive_term(config, outputs, batch):
    """Boundary contrastive learning (AFSD Eq. 9) on `outputs` of the rearranged clips: weights 1, 0.1, 0.1."""
    triples = contrastive_features(outputs, batch["proposals_frame"], config.model.boundary_pool_grad)
    usable = batch["rearranged"] * batch["sample_mask"]
    margins = sum(w * triplet_margin(*triple) for w, triple in zip((1.0, 0.1, 0.1), triples))
    return Term(config.loss.contrastive_weight, (margins * usable).sum(), usable.sum())


def loss(config, model, variables, batch, epoch, rng):
    """All losses of one (local) batch.

    Args:
      config: the run's config (`loss`, `curriculum`, `model`, `train.epochs`).
      model, variables: the Flax module, and its parameters and other collections.
      batch: arrays as `examples.example` lays them out, plus `sample_mask` (B,).
      epoch: scalar, for the curriculum.
      rng: not used, nothing here is random.

    Returns:
      dict name -> Term; the collections beside "params", with the statistics of this batch where BatchNorms are not frozen.
    """
    del rng
    others = [name for name in variables if name != "params"]
    known = dict(num_frames=batch["num_frames"], sample_mask=batch["sample_mask"])
    outputs, model_state = model.apply(variables, batch["inputs"], **known, mutable=others)
    targets = assign(config.loss, outputs, batch)
    terms = detection_terms(config, outputs, targets, batch, epoch)
    if config.loss.activation_weight:
        terms |= activation_terms(config, outputs, batch)
    if config.loss.contrastive_weight:
        rearranged = jax.vmap(lambda clip, frame_map: clip[frame_map])(batch["inputs"], batch["frame_map"])
        of_rearranged, _ = model.apply(variables, rearranged, **known, mutable=others)
        terms["triplet"] = contrastive_term(config, of_rearranged, batch)
    return terms, model_state
