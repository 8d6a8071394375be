"""ActivityNet 1.3 (9,600 training and 4,700 validation videos, 200 classes): AFSD and DW-AFSD end to end from frames; ECM; P-GCN and
TCANet on proposals.

    python -m tal_jax.main --config=configs/activitynet.py                        DW-AFSD, RGB frames
    python -m tal_jax.main --config=configs/activitynet.py:afsd,input=flow        AFSD, the baseline, optical flow
    python -m tal_jax.main --config=configs/activitynet.py:ecm                    ECM, from labels of whole videos, I3D features
    python -m tal_jax.main --config=configs/activitynet.py:ecm,version=1.2        the same on ActivityNet 1.2, 100 classes
    python -m tal_jax.main --config=configs/activitynet.py:pgcn --config.proposals=FILE                P-GCN, RGB
    python -m tal_jax.main --config=configs/activitynet.py:pgcn,input=flow --config.proposals=FILE     the same, optical flow
    python -m tal_jax.main --config=configs/activitynet.py:tcanet --config.proposals=FILE \
      --config.evaluate.recording_scores=FILE                                                          TCANet
    python -m tal_jax.main --config=configs/activitynet.py --mode=evaluate --config.evaluate.recording_scores=FILE \
      --config.evaluate.second_workdir=runs/activitynet_dw_afsd_flow --config.decode.min_score=0 --config.decode.nms_floor=1e-18

The detector tells action from background; the class of a whole video comes from a file, as published (CUHK's classifier:
{"class": [name, …], "results": {ID: [probability, …]}}). Without it, localisation is scored for what it is: one class. The last
command scores both streams together. Frames are what `tal_jax.prepare` makes of the videos (docs/data.md).

Published, both streams, mAP at tIoU 0.5, 0.75, 0.95 and averaged over 0.5:0.05:0.95: AFSD 52.4 35.3 6.5, 34.4 (RGB alone 32.9, flow alone
33.1), DW-AFSD 52.8 36.2 7.3, 35.4. AFSD's are of the checkpoints after epoch 10 (RGB) and 6 (flow) of 16, chosen on the validation
videos. Every number of the recipe is the published one; nothing was trained here, for want of the videos and the weights. ECM,
the best of its 36 epochs: 36.7 23.6 5.9, 23.5 on 1.3, and 41.0 24.9 6.5, 25.5 on 1.2; it reads feature files as configs/thumos.py says.

P-GCN and TCANet read the same feature files, rescaled to 100 rows a video, and proposals for the training and the validation videos
(docs/data.md). P-GCN, both streams: 42.9 28.1 2.5, 27.0; its proposals in the two best classes of a classifier of whole videos, from such
a file as above: 48.3 33.2 3.3, 31.1. TCANet's published code has no ActivityNet: its learning rate is that of mmaction2's version,
the other settings are ours, and nothing was tried. Its detections are of the three best classes in the file, or with
--config.decode.classes=proposals of those that the proposals came with.
"""

import numpy as np

from tal_jax.config import extract_config, split_variant
from tal_jax.data import activitynet
from tal_jax.errors import DataError
from tal_jax.systems.afsd.config import variant_config
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.tcanet.config import tcanet_config

TIOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def get_config(variant="dw_afsd,input=rgb"):
    """A config.

    Args:
      variant: 'dw_afsd' or 'afsd', and after ',input=' 'rgb' or 'flow'; 'ecm', and after ',version=' '1.2' or '1.3', after ',row=' one
        of its Table 4; 'pgcn', after ',input=' 'rgb' or 'flow' and after ',row=' one of ROWS in systems/pgcn/config.py; or 'tcanet'.
    """
    system = variant.split(",")[0]
    if system == "ecm":
        return weak_config(**split_variant(variant, (system,), version="1.3", row="full")[1])
    if system == "pgcn":
        return pgcn_on_rescaled(**split_variant(variant, (system,), input="rgb", row="full")[1])
    if system == "tcanet":
        split_variant(variant, (system,))
        return tcanet_on_rescaled()
    systems = ("dw_afsd", "afsd", "ecm", "pgcn", "tcanet")
    config, system, stream = variant_config(variant, default_input="rgb", systems=systems)
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
    config.extract = extract_config()
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


def pgcn_on_rescaled(input, row):
    """P-GCN on the features of one stream, 100 rows of each video. input: the stream; row: of the ablations."""
    config = pgcn_config("pgcn", row, input)
    config.name = f"activitynet_pgcn_{input}_{row}"
    config.data = activitynet.data_config("features")
    config.extract = extract_config()
    config.data.num_channels = 2048
    config.data.stream = input
    config.window.snippets = 100
    config.pools.incomplete_tiou = 0.6
    config.pools.incomplete_overlap = 0.0
    config.pools.background_tiou = 0.1
    config.pools.background_coverage = 0.0
    config.pools.repeats = 5
    config.decode.proposals = 100
    config.decode.max_per_window = 100
    config.decode.nms_tiou = 0.4
    config.decode.fused_nms_tiou = 0.4
    config.evaluate.tious = TIOUS
    return config


def tcanet_on_rescaled():
    """TCANet on 100 rows of each video."""
    config = tcanet_config()
    config.name = "activitynet_tcanet"
    config.data = activitynet.data_config("features")
    config.extract = extract_config()
    config.window.snippets = 100
    config.window.normalise_by = "duration"
    config.decode.class_sharpness = 0.0
    config.train.learning_rate = 1e-3
    config.train.weight_decay = 1e-4
    config.train.gradient_clip = 40.0
    config.train.decay_epochs = (7,)
    config.evaluate.tious = TIOUS
    return config
