"""Online adversarial erasing (kt_mgfn report, section 3.1): the second stage sees no snippet that the first
one is sure of.

A *class activation sequence* (CAS) is (B, T, K): how strongly each snippet speaks for each class.
"""

import jax
import jax.numpy as jnp

MIN_PROBABILITY = 0.5  # of a class that erases where the labels are not known; the report is silent


def normalise_over_time(cas):
    """Min-max over time for each recording and class, as ACoL's code does; 0 where a class is constant.

    (B, T, K) -> (B, T, K) in [0, 1].
    """
    low, high = cas.min(axis=1, keepdims=True), cas.max(axis=1, keepdims=True)
    return (cas - low) / jnp.where(high > low, high - low, 1.0)


def likely_classes(probabilities):
    """Classes of at least MIN_PROBABILITY, or the best one if there is none. (B, K) -> (B, K) 0/1.

    They erase in place of the labels at test time; the report is silent.
    """
    best = probabilities.max(axis=-1, keepdims=True)
    return (probabilities >= jnp.minimum(best, MIN_PROBABILITY)).astype(probabilities.dtype)


def erasing_mask(cas, classes, threshold):
    """Which snippets are discriminative: those whose normalised activation reaches the threshold for any of
    the classes (ACoL's code: >=).

    Args:
      cas: (B, T, K), raw.
      classes: (B, K) 0/1, those that erase.
      threshold: delta, in (0, 1].

    Returns:
      (B, T) 1 = erased; no gradient flows through it.
    """
    activation = normalise_over_time(jax.lax.stop_gradient(cas))
    discriminative = (activation >= threshold) & (classes[:, None] > 0)  # (B, T, K)
    return discriminative.any(axis=-1).astype(cas.dtype)


def erase(inputs, mask):
    """Features with all channels of the erased snippets set to 0. (B, T, C), (B, T) -> (B, T, C)."""
    return inputs * (1.0 - mask)[..., None]


def fuse_stages(sequences, normalised):
    """kt_mgfn report, section 3.1: the CAS of the cascade, the maximum of its stages at each snippet.

    Args:
      sequences: list of (B, T, K), one for each stage.
      normalised: scale each to [0, 1] first, as ACoL's code does; the report has the raw maximum.

    Returns:
      (B, T, K).
    """
    if normalised:
        sequences = [normalise_over_time(cas) for cas in sequences]
    return jnp.stack(sequences).max(axis=0)
