"""ActivityNet 1.3 (9,600 training, 4,700 validation videos, 200 classes): all systems but KT-MGFN.

    python -m tal_jax.main --config=configs/activitynet.py:VARIANT

    dw_afsd                              DW-AFSD, RGB frames; without VARIANT too
    afsd,input=flow                      AFSD, the baseline, optical flow
    ecm,version=1.3                      ECM, from labels of whole videos, I3D features; or version 1.2
    pgcn --config.proposals=FILE         P-GCN, RGB; with input=flow, optical flow; with row=, an ablation
    tcanet --config.proposals=FILE --config.evaluate.recording_scores=FILE                    TCANet
    dw_afsd --mode=evaluate --config.evaluate.recording_scores=FILE --config.decode.nms_floor=1e-18 \\
      --config.decode.min_score=0 --config.evaluate.second_workdir=FOLDER                     both streams

The detector tells action from background; the class of a whole video comes from a file, as published (CUHK's
classifier: {"class": [name, …], "results": {ID: [probability, …]}}). Without it, localisation is scored for
what it is: one class. Frames are what `tal_jax.prepare` makes of the videos (docs/data.md).

Published, both streams, mAP at tIoU 0.5, 0.75, 0.95 and averaged over 0.5:0.05:0.95: AFSD 52.4 35.3 6.5, 34.4
(RGB alone 32.9, flow alone 33.1), DW-AFSD 52.8 36.2 7.3, 35.4. AFSD's are of the checkpoints after epoch 10
(RGB) and 6 (flow) of 16, chosen on the validation videos. Every number of the recipe is the published one;
nothing was trained here, for want of the videos and the weights. ECM, the best of its 36 epochs: 36.7 23.6
5.9, 23.5 on 1.3, and 41.0 24.9 6.5, 25.5 on 1.2; it reads feature files as configs/thumos.py says.

P-GCN and TCANet read the same feature files, rescaled to 100 rows a video, and proposals for the training and
the validation videos (docs/data.md). P-GCN, both streams: 42.9 28.1 2.5, 27.0; its proposals in the two best
classes of a classifier of whole videos, from such a file as above: 48.3 33.2 3.3, 31.1. TCANet's published
code has no ActivityNet: its learning rate is that of mmaction2's version, the other settings are ours, and
nothing was tried. Its detections are of the three best classes in the file, or with
--config.decode.classes=proposals of those that the proposals came with.
"""

import numpy as np

from tal_jax.config import config_of, extract_config
from tal_jax.data.sets import activitynet
from tal_jax.errors import DataError
from tal_jax.systems.afsd.config import input_config
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.tcanet.config import tcanet_config

TIOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def get_config(variant="dw_afsd,input=rgb"):
    """The config of a variant, see the head of this file."""
    return config_of(variant, {"dw_afsd": afsd, "afsd": afsd, "ecm": ecm, "pgcn": pgcn, "tcanet": tcanet})


def afsd(system, input="rgb"):
    """AFSD or DW-AFSD on frames, 'rgb' or 'flow'."""
    config = input_config(system, input)
    config.name = f"activitynet_{system}_{input}"
    config.data = activitynet.data_config(input)
    config.window.update(frames=768, train_stride_frames=768, test_stride_frames=768)  # a whole video
    config.model.distance_multipliers = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    config.recipe = "activitynet"
    if input == "features":
        config.readings = ("padding_mask=True", "quality_target_gradient=False")
    config.loss.loc_weight = 1.0
    config.loss.level_bounds = ((0, 30), (15, 60), (30, 120), (60, 240), (96, 768), (256, 768))
    config.train.update(learning_rate=1e-4, backbone_learning_rate_factor=0.1, weight_decay=1e-4)
    config.decode.update(min_score=1e-9, nms_sigma=0.85, nms_floor=1e-9)
    config.evaluate.tious = TIOUS
    return config


def ecm(system, version="1.3", row="full"):
    """ECM on ActivityNet '1.2' or '1.3'; row: of its Table 4."""
    if version not in ("1.2", "1.3"):
        raise DataError(f"ActivityNet has no version '{version}' here; say version=1.2 or version=1.3.")
    config = of_features(ecm_config(row), f"activitynet_{version}_{system}_{row}", version)
    small = version == "1.2"
    config.seed, config.model.top_k_ratio = (7, 0.25) if small else (1, 0.6)
    config.loss.a2c_weight = min(config.loss.a2c_weight, 1.0)  # 0 in some rows
    config.localize.update(min_probability=0.12 if small else 0.05, outer_ratio=0.5, probability_weight=0.45)
    config.localize.thresholds = tuple(np.arange(0, 0.175, 0.025).tolist())
    config.decode.nms_tiou = 0.7
    config.train.update(batch_size=128, epochs=36)
    if not small:
        config.train.update(schedule="steps", decay_epochs=(26,))
    return config


def pgcn(system, input="rgb", row="full"):
    """P-GCN on the features of one stream, 100 rows a video. input: the stream; row: of the ablations."""
    config = of_features(pgcn_config(system, row, input), f"activitynet_pgcn_{input}_{row}")
    config.data.update(num_channels=2048, stream=input)
    config.pools.update(incomplete_tiou=0.6, background_tiou=0.1, repeats=5)
    config.pools.update(incomplete_overlap=0.0, background_coverage=0.0)
    config.decode.update(proposals=100, max_per_window=100, nms_tiou=0.4, fused_nms_tiou=0.4)
    return config


def tcanet(system):
    """TCANet on 100 rows of each video."""
    config = of_features(tcanet_config(), f"activitynet_{system}")
    config.readings = ("normalise_by=duration",)
    config.decode.class_sharpness = 0.0
    config.train.update(learning_rate=1e-3, weight_decay=1e-4, gradient_clip=40.0, decay_epochs=(7,))
    return config


def of_features(config, name, version="1.3"):
    """The config with a name and what all systems share that read 100 feature vectors of a video."""
    config.name = name
    config.data = activitynet.data_config("features", version)
    config.extract = extract_config()
    config.window.snippets = 100
    config.evaluate.tious = TIOUS
    return config
