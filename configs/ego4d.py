"""Ego4D, moments queries (110 kinds of moments in clips of about 8 minutes from a camera on the head):
ActionFormer on one, two or three features side by side.

    python -m tal_jax.main --config=configs/ego4d.py:VARIANT

    actionformer,features=slowfast                    (T, 2304)
    actionformer,features=omnivore                    (T, 1536)
    actionformer,features=egovlp                      (T, 256); without VARIANT too
    actionformer,features=slowfast+egovlp             (T, 2560)
    actionformer,features=omnivore+egovlp             (T, 1792)
    actionformer,features=slowfast+omnivore+egovlp    (T, 4096)
    dw_actionformer,features=...                      with dynamic weights and curriculum, ours

The annotations are read as published (docs/data.md). Features are those that the ActionFormer repository
links, 16 frames apart at 30 a second; of several, CLIP_UID.npy holds the channels side by side in the order
above.

Published, mAP averaged over tIoU 0.1 to 0.5, and recall@1x at 0.5, in the order above: 14.89 18.20 20.60
21.56 21.98 22.09, and 31.33 33.57 37.12 38.96 39.88 39.87. Those networks are of epoch 10, by the README of
the code, of 15 in the recipe. Every number of the recipe is the published one; nothing was trained here, for
want of the features. A GPU is what to train on.
"""

from tal_jax.config import config_of, option_of
from tal_jax.data.sets import ego4d
from tal_jax.systems.actionformer.config import actionformer_config

CHANNELS = {"slowfast": 2304, "omnivore": 1536, "egovlp": 256}
WIDTHS = {  # of the network, and heads of its attention
    "slowfast": (512, 4),
    "omnivore": (512, 4),
    "egovlp": (384, 4),
    "slowfast+egovlp": (768, 12),
    "omnivore+egovlp": (768, 12),
    "slowfast+omnivore+egovlp": (1024, 16),
}
PROJECTED = (256, 384, 384)  # channels of the three features before they are joined
LEVEL_BOUNDS = ((0, 4), (2, 8), (4, 16), (8, 32), (16, 64), (32, 128), (64, 256), (128, 10000))


def get_config(variant="actionformer"):
    """The config of a variant, see the head of this file."""
    return config_of(variant, {"actionformer": actionformer, "dw_actionformer": actionformer})


def actionformer(system, features="egovlp"):
    """ActionFormer, also with dynamic weights. features: a name of WIDTHS."""
    config = actionformer_config(system)
    config.name = f"ego4d_{system}_{features}"
    width, heads = option_of("features", features, WIDTHS)
    channels = tuple(CHANNELS[name] for name in features.split("+"))
    config.data = ego4d.data_config(16 if features == "egovlp" else 32, sum(channels))
    config.data.duplicate_sec = 1e-3
    config.window.update(frames=1024, min_inside=0.3)
    config.backbone.update(
        channels=width, heads=heads, branch_blocks=7, windows=(9,), absolute_positions=True
    )
    config.backbone.dropout = 0.1
    config.loss.level_bounds = LEVEL_BOUNDS
    if len(channels) == 3:
        config.backbone.update(input_channels=channels, projected_channels=PROJECTED)
    if features == "slowfast":
        config.backbone.branch_blocks = 6
        config.loss.level_bounds = (*LEVEL_BOUNDS[:6], (64, 10000))
    config.train.epochs = 15  # 5 of warm-up
    config.decode.update(max_per_level=5000, max_per_recording=2000, nms_sigma=0.9)
    config.evaluate.update(tious=(0.1, 0.2, 0.3, 0.4, 0.5), recall_at=(1, 5))
    return config
