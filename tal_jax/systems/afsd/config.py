"""Every field of AFSD and DW-AFSD beside those of `base_config`; defaults: the published code on THUMOS14
(docs/afsd.md).
"""

import ml_collections

from tal_jax import curriculum, readings
from tal_jax.config import base_config, detector_fields
from tal_jax.errors import DataError
from tal_jax.systems import candidates

WEIGHTED = ("loc", "cls", "refined_loc", "refined_cls")

# Open points (tal_jax/readings.py), the default first. docs/afsd.md has the reasons and what a change costs.
READINGS = {
    **curriculum.READINGS,
    **candidates.READINGS,
    # s of DW-AFSD Eq. 8: the tIoU of the prediction with its truth, or the predicted quality
    "loc_score": ("tiou", "quality"),
    # w of a stage: of its own scores, or the target of the auxiliary score for both stages
    "stage_weights": ("own", "shared"),
    # which losses are weighted; without refined_loc, DW-AFSD Eq. 7 is on the coarse distances alone
    "weighted": readings.subsets(WEIGHTED),
    "detach_weights": (True, False),  # no gradient through the weights
    # what the auxiliary branch reads: both refined features, one of them, or both towers
    "auxiliary_features": ("both", "cls", "loc", "towers"),
    "auxiliary_positives": ("refined", "coarse"),  # the positives of DW-AFSD Eq. 10
    "auxiliary_normaliser": ("positives", "all"),  # N of DW-AFSD Eq. 10: its positives, or all locations
    # the score that joins the class scores: the auxiliary one for the quality, times the quality, or alone
    "decode.final_score": ("replace_quality", "times_quality", "aux_only"),
    # False: detections of the coarse heads alone, to see what refinement adds
    "decode.refined": (True, False),
    "boundary_pool_grad": ("exact", "reference"),  # reference: what the published CUDA code computes
    "padding_mask": (False, True),  # the network sees nothing of the padding after a short recording
    # gradient flows through the tIoU that the quality should predict
    "quality_target_gradient": (True, False),
    "top_down": (True, False),  # the pyramid has a top-down path
    "normal_heads": (False, True),  # the heads start from N(0, 0.01^2)
    # coarse tIoU from which a location is refined: as on THUMOS14, or as on ActivityNet
    "refined_iou": (0.5, 0.6),
    # that tIoU is at most the best coarse one of the recording
    "relative_refined_iou": (False, True),
    "smooth_l1": (False, True),  # of the refined offsets
    "per_recording": (False, True),  # each recording's losses are divided by its own counts
    "contrastive_rule": ("thumos14", "activitynet"),  # which actions are long enough to be split
    "decode.fusion": ("outputs", "segments"),  # what of two streams is averaged
}
# config.recipe: the readings in which a way of training differs from the published one on THUMOS14
RECIPES = {
    "thumos14": {},
    "activitynet": {
        "top_down": False,
        "normal_heads": True,
        "refined_iou": 0.6,
        "relative_refined_iou": True,
        "smooth_l1": True,
        "per_recording": True,
        "contrastive_rule": "activitynet",
        "decode.fusion": "segments",
    },
    # With gradient through the target of the quality, segments can shrink to nothing, whose tIoU is easy to
    # predict.
    "sequence": {"padding_mask": True, "quality_target_gradient": False},
    "frames": {"quality_target_gradient": False},  # I3D sees padding like a recording
}
CHOICES = {
    "recipe": tuple(RECIPES),
    "curriculum.weight_norm": curriculum.WEIGHT_NORMS,
    "curriculum.auxiliary": ("branch", "classification", "none"),
}


def reading(config, name):
    """The value of an open point of READINGS: what `config.readings` says, else `config.recipe`, else the
    default.
    """
    first = RECIPES[config.recipe].get(name, READINGS[name][0])
    return readings.reading(config, name, {name: (first, *READINGS[name])})


def require_valid(config):
    """Raises DataError for the first field whose value cannot be."""
    for section in ("model", "backbone"):
        channels = config[section].get("channels", 0)  # a backbone of frames has none
        if channels % config.model.groups:
            raise DataError(
                f"config.{section}.channels is {channels}; it must be a multiple of config.model.groups."
            )
    if len(config.model.distance_multipliers) != 6 or len(config.loss.level_bounds) not in (0, 6):
        raise DataError(
            "config.model.distance_multipliers and config.loss.level_bounds must have an entry for each of "
            "the 6 levels."
        )
    curriculum.require_one_weight(config)
    if reading(config, "padding_mask") and config.data.input != "features":
        raise DataError(
            "config.readings has 'padding_mask=True'; I3D sees padding as it was published, leave it out."
        )
    if config.window.frames < 1 or config.window.frames % 128:
        raise DataError(
            f"config.window.frames is {config.window.frames}; it must be a multiple of 128, the stride of "
            f"the last level."
        )


def afsd_config(system="dw_afsd", of_frames=False):
    """A config of AFSD but for its `name` and `data`.

    Args:
      system: 'afsd', the baseline; 'dw_afsd', with dynamic weights, auxiliary branch and curriculum.
      of_frames: whether I3D reads frames; else the network reads features or signals.
    """
    config = base_config(system)
    config.recipe = "thumos14"  # the readings of a way of training, see RECIPES
    detector_fields(config, of_frames)
    config.window.frames = 256

    config.model = model = ml_collections.ConfigDict()
    model.channels = 512
    model.groups = 32
    model.distance_multipliers = (1.0,) * 6  # ActivityNet: 4, 8, 16, 32, 64, 128

    config.backbone = backbone = ml_collections.ConfigDict()
    if of_frames:
        backbone.channel_factor = 1.0  # of frames: factor on the channels of I3D
        backbone.frozen_norm = True  # as published: the BatchNorms of I3D are constants
        # recompute I3D's blocks in the backward pass: a third more operations, less memory
        # (docs/accelerators.md: up to twice the windows on a TPU, a tenth more on a GPU)
        backbone.remat = False
        # What the first frame of a window is called in its labels; the published loader says 1.
        config.window.first_frame = 0
        config.augment.flip = 0.0  # probability of a mirrored clip
        # .npz that tal_jax.convert wrote, for the backbone to start from; "": random
        config.train.backbone_weights = ""
        # The backbone learns with so many times the learning rate; ActivityNet: 0.1.
        config.train.backbone_learning_rate_factor = 1.0
    else:
        # of features: those of SequenceBackbone at full resolution; its maps have 2 and 4 times as many
        backbone.channels = 256

    config.loss = loss = ml_collections.ConfigDict()
    loss.loc_weight = 10.0  # ActivityNet: 1
    loss.focal_alpha = 0.25  # weight of background; actions have 1 - focal_alpha (DW-AFSD Table 3)
    loss.focal_gamma = 2.0  # DW-AFSD Table 2
    loss.overlap_power = 0.0  # TriDet: weight tIoU^power of positives in the classification losses; 0 = off
    loss.level_bounds = ()  # ActivityNet: (low, high) frames of the longer side, for each level
    loss.contrastive_weight = 0.1  # boundary contrastive learning, a second forward pass; 0 = off

    config.curriculum = c = ml_collections.ConfigDict()
    on = system == "dw_afsd"
    c.weights = on  # dynamic weights (Eq. 6-8)
    c.schedule = on  # curriculum (Eq. 9); without it alpha is curriculum.CONSTANT_ALPHA
    # Eq. 10; 'classification': on the refined class scores instead (Table 6)
    c.auxiliary = "branch" if on else "none"
    c.alpha_0 = 0.4  # Table 1
    # the weights of positives as they are; 'mean': divided by their mean; 'floor': at least 0.1
    c.weight_norm = "none"
    return config


def sequence_config(system="dw_afsd", of_frames=False):
    """A config for networks with random weights at the start, on features or sensor signals: chosen on SBHAR.

    The published schedule fine-tunes a video network, with batches of one. The fields are those of
    `afsd_config`.
    """
    config = afsd_config(system, of_frames)
    config.model.distance_multipliers = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # the levels' strides, in frames
    config.recipe = "frames" if of_frames else "sequence"
    config.window.background = 0.1
    config.augment.crop = 0.1
    config.loss.contrastive_weight = 0.0  # costs a second forward pass
    config.train.epochs = 48
    config.train.batch_size = 8
    config.train.learning_rate = 1e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 100
    config.train.weight_decay = 1e-5
    config.train.gradient_clip = 1.0
    config.train.ema_decay = 0.995
    return config


def input_config(system, input):
    """A config of AFSD but for its `name` and `data`.

    Args:
      system: 'afsd' or 'dw_afsd'.
      input: what the network reads: 'features', or the frames 'rgb' or 'flow', which train the published
        network from Kinetics weights.
    """
    if input == "features":
        return sequence_config(system)
    config = afsd_config(system, of_frames=True)
    config.train.backbone_weights = f"data/i3d_{input}.npz"
    config.augment.flip = 0.5
    config.evaluate.batch_size = 1
    return config
