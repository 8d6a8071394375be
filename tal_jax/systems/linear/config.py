"""Every field of the linear probe beside those of `base_config`."""

import ml_collections

from tal_jax.config import base_config, probability_fields, sequence_augmentation

CHOICES = {"window.frames": "[1, 100000]"}


def linear_config():
    """A config of the linear probe but for its `name` and `data`."""
    config = base_config("linear")
    config.window.frames = 64
    config.window.train_stride_frames = 32
    config.window.test_stride_frames = 64
    config.window.background = 0.3
    config.augment = ml_collections.ConfigDict()
    config.augment.jitter_frames = 0
    config.augment.crop = 0.0
    sequence_augmentation(config.augment)
    probability_fields(config)
    # By hand: weights 1, 2, 1, so that one mistaken cell alone neither begins nor breaks a segment above 0.5.
    config.decode.smoothing = 3
    config.train.epochs = 60
    config.train.batch_size = 16
    config.train.learning_rate = 1e-2
    config.train.weight_decay = 1e-4
    return config
