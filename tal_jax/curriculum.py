"""Dynamic weights with curriculum learning (DW-AFSD, Neurocomputing 2022), for any detector with two heads.

A detector that localises and classifies gives each positive sample two scores; their mix weights the sample's
losses and is the target of an auxiliary score. Where the paper leaves a choice open, the caller's config
decides (docs/afsd.md). The equations are elementwise: arrays of one shape in, one value per sample out. Sums
and normalisers are the caller's.
"""

import jax
import jax.numpy as jnp
from optax.losses import sigmoid_binary_cross_entropy as binary_cross_entropy

from tal_jax.errors import DataError
from tal_jax.runtime.parallel import AXIS

CONSTANT_ALPHA = 0.5  # alpha without the curriculum, where the paper is silent
WEIGHT_NORMS = ("none", "mean", "floor")
FLOOR = 0.1
SMALLEST_MEAN = 1e-6
# Open points of the paper that every system with a curriculum shares.
READINGS = {
    "first_epoch": (0, 1),  # t of Eq. 9 in the first epoch
}


def classification_share(epoch, num_epochs, alpha_0):
    """DW-AFSD Eq. 9: alpha, the share of the classification score, falls from 1 at epoch 0 towards alpha_0.

    epoch: t, scalar; num_epochs: T; alpha_0 in [0, 1] -> scalar.
    """
    return (1.0 - alpha_0) * jnp.exp(-epoch / jnp.sqrt(num_epochs)) + alpha_0


def share_of_epoch(config, epoch, first_epoch):
    """alpha of an epoch, scalar: `classification_share` with the curriculum, a constant without it.

    Args:
      config: the whole config (`curriculum`, `train.epochs`).
      epoch: scalar, epochs done so far.
      first_epoch: t in the first epoch, what the system's config reads for that open point.
    """
    c = config.curriculum
    if not c.schedule:
        return CONSTANT_ALPHA
    return classification_share(epoch + first_epoch, config.train.epochs, c.alpha_0)


def sample_weight(loc_score, cls_score, alpha):
    """DW-AFSD Eq. 8: w = (1 - alpha) * s + alpha * p, in [0, 1] when both scores are.

    (...) twice -> (...).
    """
    return (1.0 - alpha) * loc_score + alpha * cls_score


def weighted_classification(losses, positive, weights):
    """DW-AFSD Eq. 6: losses of positive samples times their weights, negatives as they are.

    (...) three times -> (...).
    """
    return jnp.where(positive, weights * losses, losses)


def overlap_weight(tiou, power):
    """TriDet's static weight of the classification loss of a positive: tIoU^power, without gradient.

    TriDet's code lets gradient through, which lowers the loss by worse boundaries. (...) -> (...).
    """
    return jax.lax.stop_gradient(jnp.clip(tiou, 0, 1)) ** power


def require_one_weight(config):
    """Raises DataError for a config with dynamic weights beside the static one of `overlap_weight`."""
    if config.curriculum.weights and config.loss.overlap_power:
        found = f"config.loss.overlap_power is {config.loss.overlap_power}"
        raise DataError(
            f"{found}, beside dynamic weights; set it to 0, or config.curriculum.weights to False."
        )


def weighted_localisation(losses, weights):
    """DW-AFSD Eq. 7: localisation losses (of positives) times their weights. (...) twice -> (...)."""
    return weights * losses


def auxiliary_loss(logits, weights, positive):
    """DW-AFSD Eq. 10: |c - w| * BCE(c, w) where positive, c * BCE(c, 0) elsewhere, with c = sigmoid(logits).

    logits, weights w, positive (bool): (...) each -> (...), one loss for each sample.

    Both factors pass gradient to c (as in quality focal loss); whether w does is up to the caller.
    """
    scores = jax.nn.sigmoid(logits)
    at_positive = jnp.abs(scores - weights) * binary_cross_entropy(logits, weights)
    at_negative = scores * binary_cross_entropy(logits, jnp.zeros_like(logits))
    return jnp.where(positive, at_positive, at_negative)


def normalised(weights, positive, how):
    """Dynamic weights scaled for a detector whose scores are small at first, without gradient of the scale.

    Args:
      weights, positive (bool): (...), of this device.
      how: one of WEIGHT_NORMS. 'none': as the paper weights its losses; 'mean': divided by their mean over
        the positives of all devices; 'floor': at least FLOOR.

    Returns:
      (...), meaningful at positives.
    """
    if how == "floor":
        return jnp.maximum(weights, FLOOR)
    if how == "none":
        return weights
    total, count = jax.lax.psum((jnp.where(positive, weights, 0.0).sum(), positive.sum()), AXIS)
    mean = total / jnp.maximum(count, 1)
    return weights / jax.lax.stop_gradient(jnp.maximum(mean, SMALLEST_MEAN))
