"""Every field of AFSD and DW-AFSD beside those of `base_config`; defaults: the published code on THUMOS14
(docs/afsd.md).
"""

import ml_collections

from tal_jax import curriculum
from tal_jax.config import base_config, detector_fields
from tal_jax.errors import DataError
from tal_jax.ranges import require_fields

WEIGHTED = ("loc", "cls", "refined_loc", "refined_cls")
# Open points (tal_jax/readings.py); the default first.
READINGS = {
    **curriculum.READINGS,
}
CHOICES = {
    "model.boundary_pool_grad": ("exact", "reference"),
    "model.backbone": ("sequence", "i3d"),
    "loss.contrastive_rule": ("thumos14", "activitynet"),
    "curriculum.auxiliary": ("branch", "classification", "none"),
    "curriculum.loc_score": ("tiou", "quality"),
    "curriculum.stage_weights": ("own", "shared"),
    "curriculum.auxiliary_features": ("both", "cls", "loc", "towers"),
    "curriculum.auxiliary_positives": ("refined", "coarse"),
    "curriculum.auxiliary_normaliser": ("positives", "all"),
    "curriculum.weighted": WEIGHTED,
    "decode.fusion": ("outputs", "segments"),
    "decode.final_score": ("replace_quality", "times_quality", "aux_only"),
}


def require_valid(config):
    """Raises DataError for the first field whose value cannot be."""
    require_fields(config, CHOICES, READINGS)
    for field in ("channels", "backbone_width"):
        if config.model.get(field, 0) % config.model.groups:
            raise DataError(
                f"config.model.{field} is {config.model[field]}; it must be a multiple of "
                f"config.model.groups."
            )
    if len(config.model.distance_multipliers) != 6 or len(config.loss.level_bounds) not in (0, 6):
        raise DataError(
            "config.model.distance_multipliers and config.loss.level_bounds must have an entry for each of "
            "the 6 levels."
        )
    if config.model.masked and config.model.backbone == "i3d":
        raise DataError("config.model.masked is True; I3D sees padding as it was published, set it to False.")
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

    detector_fields(config, of_frames)
    config.window.frames = 256

    config.model = model = ml_collections.ConfigDict()
    model.channels = 512
    model.groups = 32
    model.distance_multipliers = (1.0,) * 6  # ActivityNet: 4, 8, 16, 32, 64, 128
    model.top_down = True  # ActivityNet: False
    model.normal_heads = False  # ActivityNet: True
    model.boundary_pool_grad = "exact"  # 'reference': the gradient that the published CUDA code computes
    # as published; True: the network sees nothing of the padding behind a short recording
    model.masked = False
    model.backbone = "i3d" if of_frames else "sequence"
    if of_frames:
        model.i3d_width = 1.0  # factor on the channels of I3D
        model.frozen_norm = True  # as published: the BatchNorms of I3D are constants
        model.remat = False  # recompute I3D's blocks in the backward pass: a third more time, far less memory
        # What the first frame of a window is called in its labels; the published loader says 1.
        config.window.first_frame = 0
        config.augment.flip = 0.0  # probability of a mirrored clip
        # .npz that tal_jax.convert wrote, for the backbone to start from; "": random
        config.train.backbone_weights = ""
        # The backbone learns with so many times the learning rate; ActivityNet: 0.1.
        config.train.backbone_learning_rate_factor = 1.0
    else:
        model.backbone_width = 256  # of SequenceBackbone; its maps have 2 and 4 times as many channels

    config.loss = loss = ml_collections.ConfigDict()
    loss.loc_weight = 10.0  # ActivityNet: 1
    loss.focal_alpha = 0.25  # weight of background; actions have 1 - focal_alpha (DW-AFSD Table 3)
    loss.focal_gamma = 2.0  # DW-AFSD Table 2
    loss.refined_iou = 0.5  # coarse tIoU from which a location is refined; ActivityNet: 0.6
    loss.relative_refined_iou = False  # ActivityNet: True, at most the best tIoU of the recording
    loss.level_bounds = ()  # ActivityNet: (low, high) frames of the longer side, for each level
    loss.smooth_l1 = False  # ActivityNet: True
    loss.per_recording = False  # ActivityNet: True, normalise each recording by its own counts
    # as published: gradient flows through the tIoU that the quality should predict
    loss.quality_target_gradient = True
    loss.contrastive_weight = 0.1  # boundary contrastive learning, a second forward pass; 0 = off
    loss.contrastive_rule = "thumos14"  # which actions are long enough to be split; or 'activitynet'

    config.curriculum = c = ml_collections.ConfigDict()
    on = system == "dw_afsd"
    c.weights = on  # dynamic weights (Eq. 6-8)
    c.schedule = on  # curriculum (Eq. 9); without it alpha = constant_alpha
    # Eq. 10; 'classification': on the refined class scores instead (Table 6)
    c.auxiliary = "branch" if on else "none"
    c.alpha_0 = 0.4  # Table 1
    c.constant_alpha = 0.5  # the paper is silent
    # The paper is silent on all that follows; docs/afsd.md has the reasons and what a change costs.
    # s of Eq. 8: 'tiou' of the prediction with its truth, or 'quality', the predicted one
    c.loc_score = "tiou"
    c.stage_weights = "own"  # w of a stage is of its 'own' scores; 'shared': it is the auxiliary target
    c.weighted = WEIGHTED  # which losses are weighted; 'refined_loc': Eq. 7 on the refined offsets too
    c.detach = True  # no gradient through the weights
    c.auxiliary_features = "both"  # the branch reads both refined features, 'cls', 'loc', or both 'towers'
    c.auxiliary_positives = "refined"  # positives of Eq. 10: 'refined' or 'coarse'
    c.auxiliary_normaliser = "positives"  # N of Eq. 10: number of its positives, or of 'all' locations
    c.auxiliary_weight = 1.0

    config.decode.refined = True  # False: of the coarse heads alone, to see what refinement adds
    config.decode.fusion = "outputs"  # of two streams; ActivityNet: 'segments'
    config.decode.final_score = "replace_quality"  # with the auxiliary branch: or 'times_quality', 'aux_only'
    return config


def sequence_config(system="dw_afsd", of_frames=False):
    """A config for networks that start from nothing, on features or sensor signals: what served SBHAR well.

    The published schedule fine-tunes a video network, with batches of one. The fields are those of
    `afsd_config`.
    """
    config = afsd_config(system, of_frames)
    config.model.distance_multipliers = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # the levels' strides, in frames
    config.model.masked = not of_frames  # I3D sees padding like a recording
    config.window.background = 0.1
    config.augment.crop = 0.1
    # with it, segments can shrink to nothing: an easy tIoU to predict
    config.loss.quality_target_gradient = False
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
