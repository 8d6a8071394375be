"""Knowledge transfer (kt_mgfn report, section 3.2): how far two sets of pooled features are apart, by maximum
mean discrepancy.

MMD^2 = mean k(s, s') + mean k(t, t') - 2 mean k(s, t) over source vectors s and target vectors t; the biased
estimate, with each vector's kernel with itself. The report is silent on the kernel k; deep adaptation
networks customarily sum five Gaussians.
"""

import jax
import jax.numpy as jnp

# Ours, as is customary: the report is silent.
NUM_GAUSSIANS = 5  # of 'gaussians': how many are summed
MULTIPLIER = 2.0  # of 'gaussians': each is so many times wider than the one before
VARIANCE = 10.0  # of 'gaussian'


def squared_distances(vectors):
    """(N, D) -> (N, N) squared Euclidean distances."""
    return jnp.square(vectors[:, None] - vectors[None]).sum(-1)


def bandwidths(distances, mask, count, multiplier):
    """Widths of `count` Gaussians, each `multiplier` times the one before, the mean squared distance in the
    middle.

    Args:
      distances: (N, N) squared, of both batches joined; mask: (N,) 1 = the vector counts.

    Returns:
      (count,) without gradient.
    """
    number = mask.sum()
    pairs = jnp.maximum(number**2 - number, 1.0)
    mean = (distances * mask[:, None] * mask).sum() / pairs
    # all vectors alike
    mean = jnp.maximum(jax.lax.stop_gradient(mean), jnp.finfo(distances.dtype).tiny * multiplier**count)
    return mean / multiplier ** (count // 2) * multiplier ** jnp.arange(count, dtype=distances.dtype)


def mean_discrepancy(config, source, target, source_mask=None, target_mask=None):
    """MMD^2 of two batches of vectors.

    Args:
      config: `config.loss`: mmd_kernel 'gaussians' k = sum_i exp(-d / b_i) with the `bandwidths` b_i,
        'gaussian' k = exp(-d / (2 * VARIANCE)), or 'linear', the squared distance of the two means; d is a
        squared distance.
      source: (N, D); target: (M, D).
      source_mask: (N,), target_mask: (M,) 1 = the vector counts; None: all.

    Returns:
      Scalar, at least 0; 0 if no vector of one of them counts.
    """
    given = (source, source_mask), (target, target_mask)
    masks = [jnp.ones(len(vectors), vectors.dtype) if mask is None else mask for vectors, mask in given]
    source_weights, target_weights = (mask / jnp.maximum(mask.sum(), 1.0) for mask in masks)
    both_count = (masks[0].sum() > 0) & (masks[1].sum() > 0)
    if config.mmd_kernel == "linear":
        return jnp.square(source_weights @ source - target_weights @ target).sum() * both_count
    distances = squared_distances(jnp.concatenate([source, target]))
    if config.mmd_kernel == "gaussians":
        widths = bandwidths(distances, jnp.concatenate(masks), NUM_GAUSSIANS, MULTIPLIER)
    else:
        widths = jnp.asarray([2.0 * VARIANCE], distances.dtype)
    kernel = jnp.exp(-distances[..., None] / widths).sum(-1)
    signs = jnp.concatenate([source_weights, -target_weights])
    return (signs[:, None] * kernel * signs).sum() * both_count
