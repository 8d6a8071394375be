"""HACS Segments (200 classes, 37,600 training and 6,000 validation videos): KT-MGFN, with clips of HACS Clips
to learn from; TCANet.

    python -m tal_jax.main --config=configs/hacs.py:VARIANT --config.data.annotations=FILE \\
      --config.data.features=FOLDER

    kt_mgfn                  KT-MGFN; without VARIANT too
    kt_mgfn,row=cascade      a row of the report's Table 2, here without clips
    tcanet --config.proposals=PROPOSALS --config.evaluate.recording_scores=SCORES       TCANet

FILE is HACS_segments_v1.1.1.json, which has the ActivityNet schema, its subsets "training" and "validation".
Clips are further recordings in it, of the subset "clips", each with one annotation from its start to its end;
as published it has none. Without clips train the rows up to `cascade`, or set --config.data.clips_subset= to
nothing: then the training actions are cut out, by their times. FOLDER holds one NAME.npy (T, C) a recording,
of any encoder: --mode=extract --config.data.stride_frames=16 --config.data.snippet_frames=16 writes I3D's.

Published, average mAP over tIoU 0.5:0.05:0.95 on validation: simple activation sequences 15.3, with dilations
20.7, cascade 22.6, transfer 25.2, boundary regression 28.6 (probably with several encoders). HACS was not at
hand and the report leaves many numbers open (docs/kt_mgfn.md), so nothing of this could be checked here. A
GPU is what to train on.

TCANet reads what is published for it: SlowFast-101 features (T, 2304), one every 8 frames of 15 a second, and
PROPOSALS of BMN, a folder of CSV files for the training and the validation videos. These name no class. The
three best classes of a classifier of whole videos are those of the detections, from SCORES, {"class": [name,
…], "results": {ID: [logit, …]}}; or without one, with --config.data.class_agnostic=True, all actions are of
one class and are scored so. Published: 39.9 average mAP on the test server of 2021, with features of its own.
"""

from tal_jax.config import config_of, extract_config
from tal_jax.data import features
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tal_jax.systems.tcanet.config import tcanet_config

TIOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
DAMAGED = ("S8GtH2Zayds", "saZkh1Xacp0", "uRCf7b3qk0I", "ukyFvye2yK0", "VsZiOEzQqyI", "KhkQyn-WblM")
SUBSETS = dict(train_subset="training", test_subset="validation", allow_missing=True)


def get_config(variant="kt_mgfn"):
    """The config of a variant, see the head of this file."""
    return config_of(variant, {"kt_mgfn": kt_mgfn, "tcanet": tcanet})


def kt_mgfn(system, row="boundary"):
    """KT-MGFN; row: of ABLATION in systems/kt_mgfn/config.py."""
    config = kt_mgfn_config(row)
    config.name = f"hacs_{system}_{row}"
    config.data = features.data_config(stride_frames=0, **SUBSETS)
    config.data.clips_subset = "clips" if config.model.transfer else ""
    config.extract = extract_config()
    return config


def tcanet(system):
    """TCANet on 1000 features of each video, 533 s."""
    config = tcanet_config()
    config.name = f"hacs_{system}"
    config.data = features.data_config(fps=15.0, stride_frames=8, snippet_frames=8, **SUBSETS)
    config.data.update(num_channels=2304, left_out=DAMAGED)
    config.extract = extract_config()
    config.evaluate.tious = TIOUS
    return config
