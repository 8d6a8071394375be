"""Every field of ActionFormer beside those of `base_config`; defaults: the published code on THUMOS14
(docs/actionformer.md).
"""

import functools

import ml_collections

from tal_jax import curriculum, readings
from tal_jax.config import base_config, sequence_augmentation
from tal_jax.errors import DataError
from tal_jax.systems import candidates

# Open points (tal_jax/readings.py), the default first. docs/actionformer.md has the reasons.
READINGS = {
    **curriculum.READINGS,
    **candidates.READINGS,
    # s of DW-AFSD Eq. 8: the tIoU of the prediction with its truth, or 1 - the DIoU loss
    "loc_score": ("tiou", "diou"),
    # p of DW-AFSD Eq. 8 in the classification loss: of the entry's own class, or of the point's best label
    "probability": ("own", "highest"),
    # which entries of a positive point have a weight in DW-AFSD Eq. 6: its labels, or all its classes
    "weighted_entries": ("positive", "all"),
    # the score that joins the class scores: times them, the square root of that, or alone
    "decode.final_score": ("times", "sqrt", "aux_only"),
    # Where actions overlap, a point regresses to the shortest, or to the cheapest as in TemporalMaxer's code.
    "regression_target": ("shortest", "cheapest"),
    "ema": ("constant", "warmed_up"),  # warmed_up: the moving average of parameters forgets its start sooner
    "padding_mask": (False, True),  # the network sees nothing of the padding after a recording
}
reading = functools.partial(readings.reading, points=READINGS)  # (config, name)
CHOICES = {
    "backbone.mixer": ("attention", "max", "sgp", "conv"),
    "curriculum.weight_norm": curriculum.WEIGHT_NORMS,
    "curriculum.auxiliary": ("branch", "classification", "none"),
}
SGP_GROUPS = 16  # of channels, normalised by TriDet's blocks
# Cells of the longer distance at each level: published for THUMOS14 and ActivityNet.
LEVEL_BOUNDS = ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))


def require_valid(config):
    """Raises DataError for the first fields that do not go together."""
    backbone, levels, crop = config.backbone, config.backbone.branch_blocks + 1, tuple(config.window.crop)
    of_attention = backbone.mixer == "attention"
    if of_attention and backbone.channels % backbone.heads:
        found = f"config.backbone.channels is {backbone.channels}"
        raise DataError(f"{found}; it must be a multiple of config.backbone.heads ({backbone.heads}).")
    if len(backbone.windows) not in (1, levels):
        found = f"config.backbone.windows has {len(backbone.windows)} entries"
        raise DataError(f"{found}; it must have one, or one for each of the {levels} levels.")
    windows = backbone.windows if backbone.mixer in ("attention", "sgp") else ()
    if any(window > 1 and window % 2 != 1 for window in windows):
        found = f"config.backbone.windows is {tuple(backbone.windows)}"
        raise DataError(f"{found}; each window must be odd and whole, so that a position is in its middle.")
    if backbone.mixer == "sgp":
        _require_sgp(backbone)
    _require_bounds(config.loss.level_bounds, levels)
    coarsest = 2 ** (levels - 1)
    if config.window.frames < 1 or config.window.frames % coarsest:
        found = f"config.window.frames is {config.window.frames}"
        raise DataError(f"{found}; it must be a multiple of {coarsest}, the stride of the coarsest level.")
    if crop and (len(crop) != 2 or crop[0] > crop[1]):
        found = f"config.window.crop is {crop}"
        raise DataError(f"{found}; it must be two rising shares such as (0.9, 1.0), or empty.")
    if len(backbone.input_channels) != len(backbone.projected_channels):
        raise DataError(
            "config.backbone.input_channels and config.backbone.projected_channels must have as many entries."
        )
    curriculum.require_one_weight(config)
    if config.train.warmup_epochs >= config.train.epochs:
        found = f"config.train.warmup_epochs is {config.train.warmup_epochs}"
        raise DataError(f"{found}; it must be below config.train.epochs ({config.train.epochs}).")


def _require_sgp(backbone):
    """Raises DataError unless SGPBlock has windows and groups of channels."""
    if min(backbone.windows) < 1:
        found = f"config.backbone.windows is {tuple(backbone.windows)}"
        raise DataError(f"{found}; with config.backbone.mixer=sgp each must be 1 or more, such as (1,).")
    if backbone.channels % SGP_GROUPS:
        found = f"config.backbone.channels is {backbone.channels}"
        raise DataError(f"{found}; with config.backbone.mixer=sgp it must be a multiple of {SGP_GROUPS}.")


def _require_bounds(bounds, levels):
    """Raises DataError unless there is a rising pair for each level."""
    if len(bounds) != levels:
        found = f"config.loss.level_bounds has {len(bounds)} entries"
        raise DataError(f"{found}; it must have one for each of the {levels} levels.")
    for pair in bounds:
        if pair[0] >= pair[1]:
            found = f"config.loss.level_bounds has {pair!s:.60}"
            raise DataError(f"{found}; each entry must be two rising numbers of cells, such as (4, 8).")


def require_classes(config, num_classes):
    """Raises DataError if there is no class, or `model.empty_classes` has a number that is none.

    num_classes: K.
    """
    if not num_classes:
        raise DataError("The annotations have no class, so there is nothing to detect; annotate actions.")
    for number in config.model.empty_classes:
        if not isinstance(number, int) or number >= num_classes:
            found = f"config.model.empty_classes has {number}"
            raise DataError(f"{found}; the {num_classes} classes have the numbers 0 to {num_classes - 1}.")


def actionformer_config(system="actionformer"):
    """A config of ActionFormer but for its `name` and `data`.

    system: 'actionformer', or 'dw_actionformer' with the dynamic weights of DW-AFSD.
    """
    config = base_config(system)
    config.window.frames = 2304  # of a training window; a recording is seen whole in testing
    config.window.crop = (0.9, 1.0)  # a shorter recording is cut to such a share in training; (): it is not
    config.window.min_inside = 0.5  # share of an action that a training window must hold to keep it
    config.window.draws = 1  # windows of a recording in an epoch; 0: as many as cover it
    config.window.resized = False  # ActivityNet: each recording is resized to `frames`
    config.augment = ml_collections.ConfigDict()
    sequence_augmentation(config.augment)

    config.backbone = backbone = ml_collections.ConfigDict()
    # or 'max', TemporalMaxer's pooling; 'sgp', TriDet's block; 'conv', an ablation
    backbone.mixer = "attention"
    backbone.channels = 512  # channels of all layers
    backbone.heads = 4  # of the attention
    backbone.embed_layers = 2  # convolutions before the first block
    backbone.stem_blocks = 2  # blocks before the pyramid
    backbone.branch_blocks = 5  # blocks of the pyramid, each halves the positions
    # cells that attention sees at each level, or one for all; 0: all; the smaller window of 'sgp'
    backbone.windows = (19,)
    backbone.absolute_positions = False  # sines and cosines are added to the embedding
    backbone.relative_positions = False  # logits of the attention have an addend for each distance
    backbone.input_channels = ()  # widths of several features side by side, each projected; (): one
    backbone.projected_channels = ()  # to so many channels
    backbone.dropout = 0.0
    backbone.drop_path = 0.1  # rate of stochastic depth; 0: branches are added unscaled

    config.model = model = ml_collections.ConfigDict()
    model.top_down = False  # the neck adds the coarser levels to the finer ones
    model.head_layers = 3  # convolutions of each head
    model.empty_classes = ()  # from 0: classes without a training action start rarer (EPIC nouns)

    config.loss = loss = ml_collections.ConfigDict()
    loss.level_bounds = LEVEL_BOUNDS  # (low, high) cells of the longer distance, for each level
    loss.centre_radius = 1.5  # strides from the middle of an action in which points are positive; 0: all
    loss.loc_weight = 1.0  # 0: the localisation loss gets the size of the other
    loss.smoothing = 0.0  # of labels
    loss.normaliser = 100.0  # number of positives at first, of which a running mean is kept
    loss.overlap_power = 0.0  # TriDet: weight tIoU^power of positives in the classification loss; 0 = off

    config.curriculum = c = ml_collections.ConfigDict()
    on = system == "dw_actionformer"
    c.weights = on  # dynamic weights (DW-AFSD Eq. 6-8)
    c.schedule = on  # curriculum (Eq. 9); without it alpha is curriculum.CONSTANT_ALPHA
    c.auxiliary = "branch" if on else "none"  # Eq. 10; 'classification': on the best class score
    c.alpha_0 = 0.4
    c.weight_norm = "mean"  # weights are divided by their mean; 'floor': they are at least 0.1; 'none'

    train = config.train
    train.epochs = 35  # the warm-up counts among them
    train.warmup_epochs = 5
    del train.warmup_steps
    train.schedule = "cosine"
    train.batch_size = 2
    train.learning_rate = 1e-4
    train.weight_decay = 0.05  # decoupled, of kernels alone
    train.gradient_clip = 1.0
    train.ema_decay = 0.999

    decode = config.decode
    decode.min_score = 1e-3
    decode.max_per_level = 2000  # candidates (point, class) kept of a level
    decode.min_frames = 0.05  # shorter candidates are left out
    decode.per_class = True  # suppression of each class by itself
    decode.nms_sigma = 0.5  # of soft-NMS
    decode.nms_floor = 1e-3
    # Boundaries are averaged over candidates that overlap so much, those of its class per_class; 0: never.
    decode.voting_tiou = 0.0
    decode.max_per_recording = 200  # detections
    config.evaluate.batch_size = 1
    return config


def with_mixer(config, mixer):
    """The config, changed, with a mixer of CHOICES and what its authors have with it."""
    config.backbone.mixer = mixer
    if mixer == "max":
        config.readings = (*config.readings, "regression_target=cheapest")
    if mixer == "sgp":
        config.backbone.windows = (1,)
    return config


def small_config(system="actionformer"):
    """A config of ActionFormer for features and signals of a small data set, but for its `name` and `data`.

    system: see `actionformer_config`.
    """
    config = actionformer_config(system)
    config.update(readings=("padding_mask=True", "ema=warmed_up"))
    config.window.update(frames=512, crop=(), draws=0)
    config.backbone.update(channels=128, stem_blocks=1, windows=(9,))
    config.train.update(epochs=40, batch_size=8, learning_rate=1e-3, ema_decay=0.995)
    return config


def resized_config(system="actionformer"):
    """A config of ActionFormer for recordings that are resized to one length, whose classes are known from
    elsewhere, but for its `name` and `data`: published for ActivityNet.

    system: see `actionformer_config`.
    """
    config = actionformer_config(system)
    config.window.update(frames=192, resized=True)
    config.backbone.update(channels=256, windows=(7, 7, 7, 7, 7, 0), absolute_positions=True)
    config.loss.update(loc_weight=2.0, smoothing=0.1, normaliser=200.0)
    config.train.update(epochs=15, batch_size=16, learning_rate=1e-3)
    config.decode.update(per_class=False, nms_sigma=0.75, voting_tiou=0.9, min_frames=1e-3)
    config.decode.max_per_recording = 100
    config.evaluate.update(classes_per_recording=2, recording_score_power=0.5)
    return config


def numbers_of_cell(config, channels, num_classes):
    """About how many numbers a training step keeps of each cell, fitted to XLA's `memory_analysis` of steps
    in float32 with narrow windows of attention (tests/plan/test_batches.py compares).

    channels, num_classes: of the input and of the data set.
    """
    backbone = config.backbone
    layers = 34 * (backbone.stem_blocks + 1) + 23 * config.model.head_layers + 3 * backbone.embed_layers
    return 3 * channels + 11 * num_classes + layers * backbone.channels
