"""Every field of ECM beside those of `base_config`; defaults: the published code on THUMOS14."""

import functools

import ml_collections
import numpy as np

from tal_jax import readings
from tal_jax.config import base_config, weak_fields
from tal_jax.errors import DataError

# Open points (tal_jax/readings.py), the default first.
READINGS = {
    "background_weights": ("w*(1-w)", "1-w"),  # the published code, or ECM Eq. 2
    # "score" of ECM Eq. 4: over action and background, published code; of each
    "a2c_score": ("softmax", "sigmoid"),
    "decode.activations": ("logits", "softmax"),  # of a snippet; softmax: its classes exclude each other
}
reading = functools.partial(readings.reading, points=READINGS)  # (config, name)
CHOICES = {
    "model.streams": ("both", "pre", "post"),
    "window.snippets": "[1, 100000]",
}

# ECM Table 4: row -> the fields that differ from `ecm_config`. With the published mAP at tIoU 0.5 on
# THUMOS14.
TABLE_4 = {
    "pre": {"model.streams": "pre", "loss.c2c_weight": 0.0, "loss.a2c_weight": 0.0},  # 19.6
    "post": {"model.streams": "post", "loss.c2c_weight": 0.0, "loss.a2c_weight": 0.0},  # 17.1
    "shared": {"loss.c2c_weight": 0.0, "loss.a2c_weight": 0.0},  # 22.8, both streams share the classifier
    "shared_a2c": {"loss.c2c_weight": 0.0},  # 24.2
    "full": {},  # 29.1
    "not_shared": {"model.shared_classifier": False},  # 23.4
    "class_agnostic": {"model.class_specific_weights": False},  # 27.6
}


def require_model(config):
    """Raises DataError for the first field of the network whose value cannot be."""
    model = config.model
    if not model.shared_classifier and model.streams != "both":
        raise DataError(
            f"config.model.shared_classifier is False, but config.model.streams is '{model.streams}'; a "
            "classifier of its own needs streams 'both'."
        )


def require_valid(config):
    """Raises DataError for the first field, of the network or of its training, whose value cannot be."""
    require_model(config)
    model, loss = config.model, config.loss
    if loss.c2c_weight and model.streams != "both":
        raise DataError(
            f"config.loss.c2c_weight is {loss.c2c_weight}, which compares two streams, but "
            f"config.model.streams is '{model.streams}'; set one to 0 or the other to 'both'."
        )
    if loss.a2c_weight and model.streams == "pre":
        raise DataError(
            f"config.loss.a2c_weight is {loss.a2c_weight}, but config.model.streams is 'pre', which has no "
            "background scores; set one to 0 or the other to 'both'."
        )


def ecm_config(row="full"):
    """A config of ECM but for its `name` and `data`: THUMOS14, 750 snippets each. row: of `TABLE_4`."""
    if row not in TABLE_4:
        raise DataError(f"ecm has no row '{row}'; its rows are {', '.join(TABLE_4)}.")
    config = base_config("ecm")
    weak_fields(config)
    config.seed = 16  # ActivityNet 1.2: 7; 1.3: 1

    config.window.snippets = 750  # ActivityNet: 100

    config.model = model = ml_collections.ConfigDict()
    model.hidden = 2048
    model.dropout = 0.5  # before the last layer; the paper does not mention it
    model.folds = 3
    model.top_k_ratio = 0.125  # ActivityNet 1.2: 0.25; 1.3: 0.6; the paper: 1/8 everywhere
    model.streams = "both"  # 'pre' or 'post': one stream alone
    model.shared_classifier = True  # False: the post stream has a classifier of its own
    model.class_specific_weights = True  # False: one weight a snippet for all classes
    # do the first convolution again in the backward pass: on a CPU an eighth more time, less memory; on an
    # H100 nothing is saved (docs/accelerators.md)
    model.remat = True

    config.loss = loss = ml_collections.ConfigDict()
    loss.c2c_weight = 0.05  # alpha: both streams give the same scores; 0 = off
    loss.a2c_weight = 5.0  # beta: action and background apart; ActivityNet: 1, the paper 5; 0 = off

    config.localize = localize = ml_collections.ConfigDict()
    localize.min_probability = 0.25  # tau; ActivityNet 1.2: 0.12; 1.3: 0.05
    # 0.01 to 0.185; ActivityNet: arange(0, 0.175, 0.025)
    localize.thresholds = tuple(np.arange(0.01, 0.2, 0.025).tolist())
    # lambda: how far outside of a segment to look, of its length; ActivityNet: 0.5
    localize.outer_ratio = 0.4
    localize.probability_weight = 0.15  # gamma; ActivityNet: 0.45

    config.decode.nms_tiou = 0.6  # ActivityNet: 0.7
    # added to lengths and overlaps, as published; so short neighbours suppress each other
    config.decode.nms_extra_sec = 1.0

    config.train.epochs = 150  # ActivityNet: 36
    config.train.batch_size = 16  # ActivityNet: 128
    config.train.learning_rate = 2e-4  # ActivityNet 1.3: a tenth of it after epoch 26
    config.train.weight_decay = 5e-4  # on biases too
    config.update_from_flattened_dict(TABLE_4[row])
    return config


def numbers_of_cell(config, channels, num_classes):
    """About how many numbers a training step keeps of each cell, fitted to XLA's `memory_analysis` of steps
    in float32 (tests/plan/test_batches.py compares).

    channels, num_classes: of the input and of the data set.
    """
    return 2 * channels + 66 * num_classes + 7 * config.model.hidden
