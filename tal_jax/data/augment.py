"""Augmentation of sequences: what may happen to a recording without changing what happens in it."""

import numpy as np

from tal_jax.errors import DataError


def augment_sequence(features, rng, *, scale=0.0, noise=0.0, rotation_deg=0.0):
    """Changes a (T, C) sequence at random, all frames alike; times stay as they are.

    Args:
      features: (T, C) float32.
      rng: np.random.Generator.
      scale: standard deviation of the log of one factor for all channels.
      noise: standard deviation of Gaussian noise, in units of the features.
      rotation_deg: largest angle of a random rotation about a random axis, for channels that are (x, y, z)
        triples of sensors in one housing: a device worn a little differently.

    Returns:
      (T, C) float32.
    """
    if scale:
        features = features * np.float32(np.exp(scale * rng.standard_normal()))
    if rotation_deg:
        if features.shape[1] % 3:
            raise DataError(
                "config.augment.rotation_deg needs (x, y, z) triples; the features have "
                f"{features.shape[1]} channels."
            )
        rotation = _rotation(rng.standard_normal(3), np.radians(rotation_deg) * rng.uniform(-1, 1))
        features = (features.reshape(-1, 3) @ rotation.astype(np.float32)).reshape(features.shape)
    if noise:
        features = features + np.float32(noise) * rng.standard_normal(features.shape, dtype=np.float32)
    return features


def _rotation(axis, angle):
    """3x3 rotation matrix about `axis` by `angle` radians (Rodrigues' formula)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
