"""Every field of the linear probe beside those of `base_config`."""

import ml_collections

from tal_jax.config import base_config, probability_fields, sequence_augmentation
from tal_jax.errors import DataError

CHOICES = {"window.frames": "[1, 100000]"}


def require_valid(config):
    """Raises DataError for windows between which test recordings are not seen."""
    size, stride = config.window.frames, config.window.test_stride_frames
    if size and stride > size:
        raise DataError(
            f"config.window.test_stride_frames is {stride} and config.window.frames {size}; none would see "
            "what lies between two windows."
        )


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
    config.decode.smoothing = 3
    config.train.epochs = 60
    config.train.batch_size = 16
    config.train.learning_rate = 1e-2
    config.train.weight_decay = 1e-4
    return config
