"""The losses of ECM, from which classes a recording holds and nothing else.

Every loss is a `Term`: a sum over the recordings of the local batch, and their number.
"""

import jax
import jax.numpy as jnp
import numpy as np
from optax.losses import softmax_cross_entropy

from tal_jax.systems.ecm.config import reading
from tal_jax.systems.interface import Term

LABEL_EPS = 1e-10
MIN_LOG = -100.0  # PyTorch's clamp of the logarithms of a binary cross-entropy


def label_slots(classes, num_slots):
    """The labelled classes of a recording as a list of fixed length, a row of `slots` of a batch.

    classes: their indices; num_slots: S -> (S,) int32, -1 for padding. Raises ValueError for more than S
    classes.
    """
    return np.pad(np.array(classes, np.int32), (0, num_slots - len(classes)), constant_values=-1)


def classification_loss(logits, labels):
    """L_cls of one stream: cross-entropy with the labels of a recording, all of one share.

    logits (B, K), labels (B, K) multi-hot -> (B,).
    """
    target = labels / (labels.sum(-1, keepdims=True) + LABEL_EPS)
    return softmax_cross_entropy(logits, target)


def agreement_loss(pre_logits, post_logits):
    """ECM Eq. 3: L_c2c, the mean squared difference of the logits of both streams. (B, K) twice -> (B,)."""
    return jnp.square(pre_logits - post_logits).mean(-1)


def action_background_probabilities(post_logits, background_logits, score):
    """The scores that L_a2c compares with labels.

    post_logits, background_logits: (B, K) -> (B, 2K), K of action, K of background.
    score: 'softmax' over all 2K (the published code), or 'sigmoid' of each.
    """
    logits = jnp.concatenate([post_logits, background_logits], axis=-1)
    return jax.nn.softmax(logits) if score == "softmax" else jax.nn.sigmoid(logits)


def separation_loss(probabilities, labels):
    """ECM Eq. 4: L_a2c, the mean binary cross-entropy of labelled classes with 1 as actions and 0 as
    backgrounds.

    Args:
      probabilities: (B, 2K), see `action_background_probabilities`.
      labels: (B, K) multi-hot.

    Returns:
      (B,), 0 without labels.
    """
    action, background = jnp.split(probabilities, 2, axis=-1)
    entropy = -(_clamped_log(action) + _clamped_log(1.0 - background))  # (B, K)
    return (entropy * labels).sum(-1) / (2.0 * jnp.maximum(labels.sum(-1), 1.0))


def _clamped_log(probability):
    """max(log p, -100) of each element, whose gradient at p = 0 is 0 and not infinite."""
    positive = probability > 0
    return jnp.where(positive, jnp.maximum(jnp.log(jnp.where(positive, probability, 1.0)), MIN_LOG), MIN_LOG)


def loss(config, model, variables, batch, epoch, rng):
    """ECM Eq. 5: L = L_cls,e + L_cls,o + alpha * L_c2c + beta * L_a2c, of one (local) batch.

    Args:
      config: the run's config (`loss`).
      model, variables: the Flax module and its parameters.
      batch: inputs (B, T, D), labels (B, K) float32 multi-hot, slots (B, S) int32 of the same labels
        (`label_slots`), and sample_mask (B,) float32, 0 for examples that only fill the batch.
      epoch: unused.
      rng: key of the dropout masks.

    Returns:
      dict name -> Term, of the streams that the network has; {}, for it has no other collections.
    """
    outputs = model.apply(variables, batch["inputs"], batch["slots"], rngs={"dropout": rng})
    pre, post, labels = outputs.pre_logits, outputs.post_logits, batch["labels"]
    rows = {}  # name -> weight, loss of each recording
    if pre is not None:
        rows["pre"] = 1.0, classification_loss(pre, labels)
    if post is not None:
        rows["post"] = 1.0, classification_loss(post, labels)
    if config.loss.c2c_weight:
        rows["c2c"] = config.loss.c2c_weight, agreement_loss(pre, post)
    if config.loss.a2c_weight:
        background, score = outputs.background_logits, reading(config, "a2c_score")
        probabilities = action_background_probabilities(post, background, score)
        rows["a2c"] = config.loss.a2c_weight, separation_loss(probabilities, labels)
    mask = batch["sample_mask"]
    terms = {name: Term(weight, (row * mask).sum(), mask.sum()) for name, (weight, row) in rows.items()}
    return terms, {}
