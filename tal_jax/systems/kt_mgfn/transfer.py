"""Knowledge transfer (kt_mgfn report, section 3.2): how far two sets of pooled features are apart, by maximum
mean discrepancy.

MMD^2 = mean k(s, s') + mean k(t, t') - 2 mean k(s, t) over source vectors s and target vectors t; the biased
estimate, with each vector's kernel with itself. The report is silent on the kernel k. Deep adaptation
networks customarily sum five Gaussians.
"""

import jax
import jax.numpy as jnp

# Ours, as is customary: the report is silent.
NUM_GAUSSIANS = 5  # of 'gaussians': how many are summed
MULTIPLIER = 2.0  # of 'gaussians': each is so many times wider than the one before
VARIANCE = 10.0  # of 'gaussian'


def bandwidths(distances, mask):
    """Widths of NUM_GAUSSIANS Gaussians, each MULTIPLIER times the one before, the mean squared distance in
    the middle.

    Args:
      distances: (N, N) squared, of both batches joined; mask: (N,) 1 = the vector counts.

    Returns:
      (NUM_GAUSSIANS,) without gradient.
    """
    number = mask.sum()
    mean = (distances * mask[:, None] * mask).sum() / jnp.maximum(number**2 - number, 1.0)  # over pairs
    at_least = jnp.finfo(distances.dtype).tiny * MULTIPLIER**NUM_GAUSSIANS  # where all vectors are alike
    mean = jnp.maximum(jax.lax.stop_gradient(mean), at_least)
    powers = MULTIPLIER ** jnp.arange(NUM_GAUSSIANS, dtype=distances.dtype)
    return mean / MULTIPLIER ** (NUM_GAUSSIANS // 2) * powers


def mean_discrepancy(kernel, source, target, source_mask, target_mask):
    """MMD^2 of two batches of vectors.

    Args:
      kernel: 'gaussians' k = sum_i exp(-d / b_i) with the `bandwidths` b_i,
        'gaussian' k = exp(-d / (2 * VARIANCE)), or 'linear', the squared distance of the two means; d is a
        squared distance.
      source: (N, D); target: (M, D).
      source_mask: (N,), target_mask: (M,) 1 = the vector counts.

    Returns:
      Scalar, at least 0; 0 if no vector of one of them counts.
    """
    masks = source_mask, target_mask
    source_weights, target_weights = (mask / jnp.maximum(mask.sum(), 1.0) for mask in masks)
    both_count = (source_mask.sum() > 0) & (target_mask.sum() > 0)
    if kernel == "linear":
        return jnp.square(source_weights @ source - target_weights @ target).sum() * both_count
    vectors = jnp.concatenate([source, target])
    distances = jnp.square(vectors[:, None] - vectors).sum(-1)  # (N + M, N + M)
    widths = jnp.asarray([2.0 * VARIANCE], distances.dtype)
    if kernel == "gaussians":
        widths = bandwidths(distances, jnp.concatenate(masks))
    similarities = jnp.exp(-distances[..., None] / widths).sum(-1)
    signs = jnp.concatenate([source_weights, -target_weights])
    return (signs[:, None] * similarities * signs).sum() * both_count
