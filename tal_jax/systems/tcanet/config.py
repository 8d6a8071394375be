"""Every field of TCANet beside those of `base_config`; defaults: the published code on HACS."""

import functools

import ml_collections

from tal_jax import curriculum, readings
from tal_jax.config import base_config
from tal_jax.errors import DataError

# Open points (tal_jax/readings.py); the default first.
READINGS = {
    **curriculum.READINGS,
    # attention scores are divided by the root of the channels of a head, published code; of all, report Eq.
    # 2, 5
    "attention_scale": ("head", "channels"),
    # norm(input + attention), published code; norm(attention) + attention, report Eq. 8
    "residual": ("input", "output"),
    "padding_mask": (False, True),  # no attention to padding; False, published code
    "detach_stages": (False, True),  # no gradient from a stage to those before it; False, published code
    "normalise_by": ("padding", "duration"),  # duration: features were rescaled to cover the recording
    "detach_weights": (True, False),  # no gradient through dynamic weights
    "decode.refined": (True, False),  # False: the proposals as they were given, to compare with
    # False, published code: the last box left is lost, unless there is no other
    "decode.keep_last": (False, True),
}
reading = functools.partial(readings.reading, points=READINGS)  # (config, name)
CHOICES = {
    "decode.classes": ("recording", "proposals"),
    "window.snippets": "[1, 100000]",
}

LOW_IOU = 0.3  # below it is the low band of the confidence loss: published code
NO_CLASSES = (
    "tcanet finds no classes: set --config.evaluate.recording_scores=FILE to a classifier's scores of "
    "whole recordings, or --config.decode.classes=proposals, or --config.data.class_agnostic=True."
)


def require_model(config):
    """Raises DataError for the first field of the network whose value cannot be."""
    model = config.model
    for name in ("groups", "heads"):
        if model.channels % (4 * model[name] if name == "groups" else model[name]):
            times = "4 times " if name == "groups" else ""
            raise DataError(
                f"config.model.channels is {model.channels}; it must be a multiple of "
                f"{times}config.model.{name}, {model[name]}."
            )
    if model.local_heads > model.heads:
        raise DataError(
            f"config.model.local_heads is {model.local_heads}; it must be from 0 to config.model.heads, "
            f"{model.heads}."
        )
    if not model.window_size % 2:
        raise DataError(
            f"config.model.window_size is {model.window_size}; it must be odd, with the query in the middle."
        )
    if len(model.samples) != 3 or any(count < 4 or count % 4 for count in model.samples):
        raise DataError(f"config.model.samples is {tuple(model.samples)}; it must be three multiples of 4.")
    stages = len(config.loss.iou_thresholds)
    if not 1 <= config.decode.confidence_stage <= stages:
        raise DataError(
            f"config.decode.confidence_stage is {config.decode.confidence_stage}; it must be from 1 to "
            f"{stages}, the number of config.loss.iou_thresholds."
        )


def require_valid(config):
    """Raises DataError for the first field, of the network or of its training, whose value cannot be."""
    require_model(config)
    if config.decode.classes == "recording" and not (
        config.data.class_agnostic or config.evaluate.recording_scores
    ):
        raise DataError(NO_CLASSES)
    for threshold in config.loss.iou_thresholds:
        if not LOW_IOU < threshold < 1:
            raise DataError(
                f"config.loss.iou_thresholds has {threshold}; each must be above {LOW_IOU}, the end of the "
                "low band of the confidence loss, and below 1."
            )


def tcanet_config():
    """A config of TCANet but for its `name` and `data`: HACS, 1000 features a recording, 8/15 s apart."""
    config = base_config("tcanet")
    config.seed = 0

    # T: shorter recordings are padded with zeros, longer ones cut; of rescaled features: 100
    config.window.snippets = 1000
    config.window.train_stride_frames = 500
    config.window.test_stride_frames = 500
    config.window.proposals = 64  # of a training window, the best ones
    config.window.min_action_sec = 1.0  # in training, shorter actions and those of so much are left out
    config.proposals = ""  # file with the proposals of all recordings, see docs/data.md

    config.model = model = ml_collections.ConfigDict()
    model.channels = 512
    model.groups = 4  # of the convolutions
    model.encoders = 2
    model.heads = 8  # N of the report
    model.local_heads = 4  # A of the report
    model.window_size = 9  # w of the report
    model.hidden = 256  # of the feed-forward network in an encoder
    model.dropout = 0.1  # in the encoders
    model.samples = (32, 64, 32)  # of the context before, inside, after

    config.loss = loss = ml_collections.ConfigDict()
    loss.iou_thresholds = (0.5, 0.6, 0.7)  # of each stage: from which IoU a proposal is positive

    config.curriculum = c = ml_collections.ConfigDict()
    # dynamic weights (DW-AFSD Eq. 7-9) on the regression of positives: ours, see losses.curriculum_weights
    c.weights = False
    c.schedule = True  # curriculum (DW-AFSD Eq. 9); without it alpha is curriculum.CONSTANT_ALPHA
    c.alpha_0 = 0.4  # DW-AFSD Table 1

    # Whose confidence ranks: 2 in the published code; 3, the last, is what the report suggests.
    config.decode.confidence_stage = 2
    config.decode.proposals = 100  # of a recording, the best ones
    # 'recording': its top_classes by config.evaluate.recording_scores; 'proposals': each keeps its own. Not
    # read with data.class_agnostic.
    config.decode.classes = "recording"
    config.decode.nms_sigma = 0.4  # of the decay exp(-IoU^2.5 / 0.4)
    config.decode.keep = 100  # detections of a recording after soft-NMS
    # softmax(2 * logits) of the classifier; 0: its file holds probabilities, not logits
    config.decode.class_sharpness = 2.0
    config.decode.top_classes = 3
    config.decode.max_detections = 200  # of a recording

    config.train.epochs = 9
    config.train.batch_size = 16
    config.train.learning_rate = 4e-4
    config.train.weight_decay = 1e-5  # decoupled (AdamW)
    config.train.schedule = "steps"
    config.train.decay_epochs = (6,)
    config.train.warmup_steps = 1000  # along a cosine
    return config
