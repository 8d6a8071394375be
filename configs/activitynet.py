"""ActivityNet 1.3 (9,600 training, 4,700 validation videos, 200 classes): all systems but KT-MGFN.

    python -m tal_jax.main --config=configs/activitynet.py:VARIANT

    dw_afsd                              DW-AFSD, RGB frames; without VARIANT too
    afsd,input=flow                      AFSD, the baseline, optical flow
    actionformer --config.evaluate.recording_scores=FILE   ActionFormer, TSP features, or features=i3d
    ecm,version=1.3                      ECM, from labels of whole videos, I3D features; or version 1.2
    pgcn --config.proposals=FILE         P-GCN, RGB; with input=flow, optical flow; with row=, an ablation
    tcanet --config.proposals=FILE --config.evaluate.recording_scores=FILE                    TCANet
    dw_afsd --mode=evaluate --config.evaluate.recording_scores=FILE --config.decode.nms_floor=1e-18 \\
      --config.decode.min_score=0 --config.evaluate.second_workdir=FOLDER                     both streams

Detectors tell action from background; classes of videos come from a file, as published (CUHK's: {"class":
[name, …], "results": {ID: [probability, …]}}). Without it, localisation is scored for what it is: one class.

Published, mAP at tIoU 0.5, 0.75, 0.95 and averaged over 0.5:0.05:0.95. Both streams: AFSD 52.4 35.3 6.5, 34.4
(RGB alone 32.9, flow alone 33.1), DW-AFSD 52.8 36.2 7.3, 35.4; AFSD's are after epochs 10 (RGB) and 6 (flow)
of 16, chosen on the validation videos. ActionFormer, on features that its repository links: TSP 54.67 37.81
8.36, 36.56, I3D 54.29 36.71 8.24, 36.03. ECM, on files as in configs/thumos.py, the best of 36 epochs: 36.7
23.6 5.9, 23.5 on 1.3, and 41.0 24.9 6.5, 25.5 on 1.2. Nothing was trained here, for want of the data.

P-GCN and TCANet read ECM's files, rescaled to 100 rows, and proposals for all videos (docs/data.md). P-GCN,
both streams: 42.9 28.1 2.5, 27.0; in the two best classes of a file as above: 48.3 33.2 3.3, 31.1. TCANet's
published code has no ActivityNet: the learning rate is mmaction2's, the rest is ours, untried. It detects the
three best classes in the file, or with --config.decode.classes=proposals those of the proposals.
"""

from tal_jax.config import config_of, extract_config, option_of
from tal_jax.data.sets import activitynet
from tal_jax.systems.actionformer.config import resized_config
from tal_jax.systems.afsd.config import input_config
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.tcanet.config import tcanet_config

FEATURES = {"tsp": (15.0, 512), "i3d": (25.0, 2048)}  # of ActionFormer: rate of the videos, channels
TIOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def get_config(variant="dw_afsd,input=rgb"):
    """The config of a variant, see the head of this file."""
    table = {"dw_afsd": afsd, "afsd": afsd, "actionformer": actionformer, "dw_actionformer": actionformer}
    return config_of(variant, table | {"ecm": ecm, "pgcn": pgcn, "tcanet": tcanet})


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


def actionformer(system, features="tsp"):
    """ActionFormer on whole videos of one length. features: a name of FEATURES."""
    config = of_features(resized_config(system), f"activitynet_{system}_{features}")
    config.data.fps, config.data.num_channels = option_of("features", features, FEATURES)
    config.data.update(stride_frames=16, snippet_frames=16, class_agnostic=True, duplicate_sec=1e-3)
    return config


def ecm(system, version="1.3", row="full"):
    """ECM on ActivityNet '1.2' or '1.3'; row: of its Table 4."""
    small = option_of("version", version, {"1.2": True, "1.3": False})
    config = of_features(ecm_config(row), f"activitynet_{version}_{system}_{row}", version)
    config.seed, config.model.top_k_ratio = (7, 0.25) if small else (1, 0.6)
    config.loss.a2c_weight = min(config.loss.a2c_weight, 1.0)  # 0 in some rows
    config.localize.update(min_probability=0.12 if small else 0.05, outer_ratio=0.5, probability_weight=0.45)
    config.decode.nms_tiou, config.localize.thresholds = 0.7, tuple(0.025 * i for i in range(7))
    config.train.update(batch_size=128, epochs=36, decay_epochs=() if small else (26,))
    config.train.schedule = "constant" if small else "steps"
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
    config.readings, config.decode.class_sharpness = ("normalise_by=duration",), 0.0
    config.train.update(learning_rate=1e-3, weight_decay=1e-4, gradient_clip=40.0, decay_epochs=(7,))
    return config


def of_features(config, name, version="1.3"):
    """The config with a name and what all systems share that read features, most of them 100 of a video."""
    config.name, config.evaluate.tious = name, TIOUS
    config.data, config.extract = activitynet.data_config("features", version), extract_config()
    if "snippets" in config.window:
        config.window.snippets = 100
    return config
