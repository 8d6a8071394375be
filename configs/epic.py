"""EPIC-Kitchens-100 (97 verbs, 300 nouns; 495 training and 138 validation videos from a camera on the head):
ActionFormer, one network for verbs and one for nouns.

    python -m tal_jax.main --config=configs/epic.py:VARIANT

    actionformer,task=verb       without VARIANT too
    actionformer,task=noun
    dw_actionformer,task=verb    with dynamic weights and curriculum, ours

The annotations are read as published, the features are those that the ActionFormer repository links
(SlowFast, VIDEO.npz with feats (T, 2304), 32 frames at 30 a second, 16 apart): docs/data.md says where they
go.

Published, mAP at tIoU 0.1 to 0.5 and their average: verbs 26.58 25.42 24.15 22.29 19.09, 23.51; nouns 25.21
24.11 22.66 20.47 16.97, 21.88. Every number of the recipe is the published one; nothing was trained here, for
want of the features. A GPU is what to train on. A noun that no training action has begins rarer than others,
as published: --mode=check_data says which these are, as the value of --config.model.empty_classes.
"""

from tal_jax.config import config_of, option_of
from tal_jax.data.sets import epic
from tal_jax.systems.actionformer.config import actionformer_config

SMOOTHING = {"verb": 0.0, "noun": 0.1}  # of labels


def get_config(variant="actionformer"):
    """The config of a variant, see the head of this file."""
    return config_of(variant, {"actionformer": actionformer, "dw_actionformer": actionformer})


def actionformer(system, task="verb"):
    """ActionFormer, also with dynamic weights. task: what the classes are, 'verb' or 'noun'."""
    config = actionformer_config(system)
    config.name = f"epic_{system}_{task}"
    config.loss.smoothing = option_of("task", task, SMOOTHING)
    config.data = epic.data_config(task)
    config.data.duplicate_sec = 1e-3
    config.window.min_inside = 0.3
    config.backbone.windows = (9,)
    config.loss.level_bounds = ((0, 4), (2, 8), (4, 16), (8, 32), (16, 64), (32, 10000))
    config.loss.normaliser = 250.0
    config.train.epochs = 21  # 5 of warm-up
    config.decode.update(max_per_level=5000, max_per_recording=2000, nms_sigma=0.4)
    config.evaluate.tious = (0.1, 0.2, 0.3, 0.4, 0.5)
    return config
