"""MultiTHUMOS (65 classes of actions, several at a time, in 400 videos of THUMOS14): ActionFormer.

    python -m tal_jax.main --config=configs/multithumos.py:VARIANT

    actionformer                 without VARIANT too
    dw_actionformer              with dynamic weights and curriculum
    actionformer,mixer=max       TemporalMaxer: max pooling in place of attention, RGB features alone

The annotations are read as published (docs/data.md); features and videos are those of THUMOS14.
ActionFormer's published code has no MultiTHUMOS: the settings are its own for THUMOS14, with the numbers of
detections that TemporalMaxer keeps. TemporalMaxer's code has it, with an assignment of labels that is not
built here (docs/actionformer.md); all else of its recipe is here. Its published mAP at tIoU 0.1 to 0.9: 49.1
47.5 44.3 39.4 33.4 26.5 17.4 9.1 2.2, average 29.9. Nothing was trained here, for want of the features. A GPU
is what to train on.
"""

from tal_jax.config import config_of, option_of
from tal_jax.data.sets import multithumos
from tal_jax.systems.actionformer.config import actionformer_config, with_mixer

EPOCHS = {"attention": 35, "max": 65}  # 5 of them warm-up


def get_config(variant="actionformer"):
    """The config of a variant, see the head of this file."""
    return config_of(variant, {"actionformer": actionformer, "dw_actionformer": actionformer})


def actionformer(system, mixer="attention"):
    """ActionFormer, also with dynamic weights. mixer: 'attention' or 'max'."""
    config = actionformer_config(system)
    config.name = f"multithumos_{system}_{mixer}"
    config.data = multithumos.data_config()
    config.data.duplicate_sec = 1e-3
    config.train.epochs = option_of("mixer", mixer, EPOCHS)
    config.decode.update(max_per_level=3000, max_per_recording=300)
    if mixer == "max":
        config.backbone.embed_layers, config.data.stream = 3, "rgb"
    config.evaluate.tious = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    return with_mixer(config, mixer)
