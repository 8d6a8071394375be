"""THUMOS14 (20 sports classes, 200 training and 210 test videos): AFSD and DW-AFSD from frames or features;
ECM; P-GCN and TCANet on proposals.

    python -m tal_jax.main --config=configs/thumos.py:VARIANT

    dw_afsd                              DW-AFSD, RGB frames; without VARIANT too
    afsd,input=flow                      AFSD, the baseline, optical flow
    dw_afsd,input=features               DW-AFSD, I3D features
    ecm                                  ECM, from labels of whole videos, I3D features; row=: its Table 4
    pgcn --config.proposals=FILE         P-GCN, RGB; with row=mlp_mlp, a row of its Tables 3 to 7
    pgcn_dw,input=flow --config.proposals=FILE      with dynamic weights, optical flow
    tcanet --config.proposals=FILE --config.evaluate.recording_scores=FILE      TCANet
    dw_afsd --mode=evaluate --config.evaluate.second_workdir=runs/thumos_dw_afsd_flow      both streams

Frames are what `tal_jax.prepare` makes of the videos
(docs/data.md); I3D starts from Kinetics weights, which `tal_jax.convert` writes. Features are the widely
shared ones: VIDEO.npy of shape (T, 2048), stride 4, RGB first. The annotations come with the project.

Published, from frames, both streams, mAP at tIoU 0.3 to 0.7: AFSD 67.3 62.4 55.5 43.7 31.1 (average 52.0; RGB
alone 43.5, flow alone 44.2), DW-AFSD 68.8 64.9 57.6 44.6 31.9. AFSD's are of the checkpoints after epoch 15
(RGB) and 16 (flow) of 16, chosen on the test videos. Every number of the recipe is the published one; nothing
was trained here, for want of the videos and the weights. From features nothing is published for these
systems. ECM, mAP at tIoU 0.1 to 0.9: 62.6 55.1 46.5 38.2 29.1 19.5 10.9 3.8 0.4, which is the best of 150
epochs on the test videos; its last epoch has 28.2 at 0.5, its last thirty 28.1 ± 0.6. A GPU is what to train
on.

ECM reads its published files (VIDEO.npz with feat_spa, feat_tem of 750 snippets), rgb/VIDEO.npy and
flow/VIDEO.npy of any length, or what --mode=extract writes with --config.data.stride_frames=16. Features are
spread evenly over the frames of a video.

P-GCN and TCANet start from proposals for the training and the test videos (docs/data.md); --mode=propose
makes them with any run on this data. P-GCN's features are of clips of 64 frames, 8 apart: rgb/VIDEO.npy and
flow/VIDEO.npy of shape (T, 1024), or both in one file. Its streams train apart and are scored together as
AFSD's are. Published, both streams, on the proposals of BSN, mAP at tIoU 0.1 to 0.5: 69.5 67.8 63.6 57.8
49.1; with dynamic weights 50.9 at 0.5.

TCANet reads the shared features in windows of 34 s. Its published code has no THUMOS14: the settings for it
are ours, and untried. The two best classes of a classifier of whole videos (UntrimmedNet's) are those of its
detections, from a file {"class": [name, …], "results": {VIDEO: [probability, …]}}; or with
--config.decode.classes=proposals those that the proposals came with.
"""

from tal_jax.config import config_of, extract_config
from tal_jax.data.sets import thumos14
from tal_jax.systems.afsd.config import input_config
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.tcanet.config import tcanet_config


def get_config(variant="dw_afsd,input=rgb"):
    """The config of a variant, see the head of this file."""
    table = {"dw_afsd": afsd, "afsd": afsd, "ecm": ecm, "pgcn": pgcn, "pgcn_dw": pgcn, "tcanet": tcanet}
    return config_of(variant, table)


def afsd(system, input="rgb"):
    """AFSD or DW-AFSD. input: 'rgb', 'flow' or 'features'."""
    config = input_config(system, input)
    config.name = f"thumos_{system}_{input}"
    config.data = thumos14.data_config(input)
    config.window.frames = 256  # 26 s of frames at 10 fps; 34 s of features
    if input == "features":
        config.extract = extract_config()
        config.augment.jitter_frames = 15  # half the stride of the windows
        config.train.learning_rate = 1e-4
    else:
        config.window.first_frame = 1  # as the published loader
    return config


def ecm(system, row="full"):
    """ECM; row: of its Table 4."""
    config = ecm_config(row)
    config.name = f"thumos_{system}_{row}"
    config.data = thumos14.data_config("features")
    config.data.stride_frames = 0
    config.extract = extract_config()
    config.evaluate.tious = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    return config


def pgcn(system, input="rgb", row="full"):
    """P-GCN on the features of one stream. input: the stream; row: of the ablations."""
    config = pgcn_config(system, row, input)
    config.name = f"thumos_{system}_{input}_{row}"
    config.data = thumos14.data_config("clips")
    config.data.stream = input
    config.extract = extract_config()
    config.extract.weights += ("data/i3d_flow.npz",)
    return config


def tcanet(system):
    """TCANet on windows of the shared features."""
    config = tcanet_config()
    config.name = f"thumos_{system}"
    config.data = thumos14.data_config("features")
    config.extract = extract_config()
    config.window.update(snippets=256, train_stride_frames=128, test_stride_frames=128, min_action_sec=0.0)
    config.train.warmup_steps = 150  # about an epoch
    config.decode.update(proposals=300, keep=200, class_sharpness=0.0, top_classes=2)
    config.decode.max_detections = 400
    return config
