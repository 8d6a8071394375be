"""ActivityNet 1.3 (9,600 training and 4,700 validation videos, 200 classes): AFSD and DW-AFSD end to end from frames; ECM.

    python -m tal_jax.main --config=configs/activitynet.py                        DW-AFSD, RGB frames
    python -m tal_jax.main --config=configs/activitynet.py:afsd,input=flow        AFSD, the baseline, optical flow
    python -m tal_jax.main --config=configs/activitynet.py:ecm                    ECM, from labels of whole videos, I3D features
    python -m tal_jax.main --config=configs/activitynet.py:ecm,version=1.2        the same on ActivityNet 1.2, 100 classes
    python -m tal_jax.main --config=configs/activitynet.py --mode=evaluate --config.evaluate.recording_scores=FILE \
      --config.evaluate.second_workdir=runs/activitynet_dw_afsd_flow --config.decode.min_score=0 --config.decode.nms_floor=1e-18

The detector tells action from background; the class of a whole video comes from a file, as published (CUHK's classifier:
{"class": [name, …], "results": {ID: [probability, …]}}). Without it, localisation is scored for what it is: one class. The last
command scores both streams together. Frames are what `tal_jax.prepare` makes of the videos (docs/data.md).

Published, both streams, mAP at tIoU 0.5, 0.75, 0.95 and averaged over 0.5:0.05:0.95: AFSD 52.4 35.3 6.5, 34.4 (RGB alone 32.9, flow alone
33.1), DW-AFSD 52.8 36.2 7.3, 35.4. AFSD's are of the checkpoints after epoch 10 (RGB) and 6 (flow) of 16, chosen on the validation
videos. Every number of the recipe is the published one; nothing was trained here, for want of the videos and the weights. ECM,
the best of its 36 epochs: 36.7 23.6 5.9, 23.5 on 1.3, and 41.0 24.9 6.5, 25.5 on 1.2; it reads feature files as configs/thumos.py says.
"""

import numpy as np

from tal_jax.config import split_variant
from tal_jax.data import activitynet
from tal_jax.errors import DataError
from tal_jax.systems.afsd.config import variant_config
from tal_jax.systems.ecm.config import ecm_config

TIOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def get_config(variant="dw_afsd,input=rgb"):
    """variant: 'dw_afsd' or 'afsd', and after ',input=' 'rgb' or 'flow'; or 'ecm', and after ',version=' '1.2' or '1.3', after ',row=' one of its Table 4."""
    if variant.split(",")[0] == "ecm":
        return weak_config(**split_variant(variant, ("ecm",), version="1.3", row="full")[1])
    config, system, stream = variant_config(variant, default_input="rgb", systems=("dw_afsd", "afsd", "ecm"))
    config.name = f"activitynet_{system}_{stream}"
    config.data = activitynet.data_config(stream)
    config.window.frames = 768  # a whole video
    config.window.train_stride_frames = 768
    config.window.test_stride_frames = 768

    config.model.distance_multipliers = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    config.model.top_down = False
    config.model.normal_heads = True

    config.loss.loc_weight = 1.0
    config.loss.refined_iou = 0.6
    config.loss.relative_refined_iou = True
    config.loss.level_bounds = ((0, 30), (15, 60), (30, 120), (60, 240), (96, 768), (256, 768))
    config.loss.smooth_l1 = True
    config.loss.per_recording = True
    config.loss.contrastive_rule = "activitynet"

    config.train.learning_rate = 1e-4
    config.train.backbone_learning_rate_factor = 0.1
    config.train.weight_decay = 1e-4

    config.decode.min_score = 1e-9
    config.decode.nms_sigma = 0.85
    config.decode.nms_floor = 1e-9
    config.decode.fusion = "segments"
    config.evaluate.tious = TIOUS
    return config


def weak_config(version, row):
    """ECM on ActivityNet '1.2' or '1.3'; row: of its Table 4."""
    if version not in ("1.2", "1.3"):
        raise DataError(f"ActivityNet has no version '{version}' here; say configs/activitynet.py:ecm,version=1.2 or 1.3.")
    config = ecm_config(row)
    config.name = f"activitynet_{version}_ecm_{row}"
    config.data = activitynet.data_config("features", version)
    config.window.snippets = 100
    config.seed = 7 if version == "1.2" else 1
    config.model.top_k_ratio = 0.25 if version == "1.2" else 0.6
    config.loss.a2c_weight = min(config.loss.a2c_weight, 1.0)  # 0 in some rows
    config.localize.min_probability = 0.12 if version == "1.2" else 0.05
    config.localize.thresholds = tuple(np.arange(0, 0.175, 0.025).tolist())
    config.localize.outer_ratio = 0.5
    config.localize.probability_weight = 0.45
    config.decode.nms_tiou = 0.7
    config.train.batch_size = 128
    config.train.epochs = 36
    if version == "1.3":
        config.train.schedule = "steps"
        config.train.decay_epochs = (26,)
    config.evaluate.tious = TIOUS
    return config
