"""THUMOS14 (20 sports classes, 200 training and 210 test videos): all systems but KT-MGFN.

    python -m tal_jax.main --config=configs/thumos.py:VARIANT

    dw_afsd                              DW-AFSD, RGB frames; without VARIANT too
    afsd,input=flow                      AFSD, the baseline, optical flow
    dw_afsd,input=features               DW-AFSD, I3D features
    actionformer                         ActionFormer, I3D features; mixer=max: TemporalMaxer
    dw_actionformer                      with dynamic weights and curriculum
    ecm                                  ECM, from labels of whole videos, I3D features; row=: its Table 4
    pgcn --config.proposals=FILE         P-GCN, RGB; with row=mlp_mlp, a row of its Tables 3 to 7
    pgcn_dw,input=flow --config.proposals=FILE      with dynamic weights, optical flow
    tcanet --config.proposals=FILE --config.evaluate.recording_scores=FILE      TCANet
    dw_afsd --mode=evaluate --config.evaluate.second_workdir=runs/thumos_dw_afsd_flow      both streams

Frames are what `tal_jax.prepare` makes of the videos (docs/data.md); I3D starts from Kinetics weights, which
`tal_jax.convert` writes. Features are the widely shared ones: VIDEO.npy of shape (T, 2048), stride 4, RGB
first. The annotations come with the project. Nothing was trained here, for want of the videos.

Published, mAP at tIoU 0.3 to 0.7. From frames, both streams: AFSD 67.3 62.4 55.5 43.7 31.1 (average 52.0; RGB
alone 43.5, flow alone 44.2), DW-AFSD 68.8 64.9 57.6 44.6 31.9. AFSD's are of the checkpoints after epoch 15
(RGB) and 16 (flow) of 16, chosen on the test videos. From features: ActionFormer 82.13 77.80 70.95 59.40
43.87 (average 66.83), TemporalMaxer 82.8 78.9 71.8 60.5 44.7 (67.7); of AFSD
nothing. ECM, at 0.1 to 0.9: 62.6 55.1 46.5 38.2 29.1 19.5 10.9 3.8 0.4, the best of 150 epochs
on the test videos; its last epoch has 28.2 at 0.5, its last thirty 28.1 ± 0.6. A GPU is what to train on.

ECM reads its published files (VIDEO.npz with feat_spa, feat_tem of 750 snippets), rgb/VIDEO.npy and
flow/VIDEO.npy of any length, or what --mode=extract writes with --config.data.stride_frames=16.

P-GCN and TCANet start from proposals for the training and the test videos (docs/data.md); --mode=propose
makes them with any run on this data. P-GCN's features are of clips of 64 frames, 8 apart: rgb/VIDEO.npy and
flow/VIDEO.npy of shape (T, 1024), or both in one file. Its streams train apart and are scored together as
AFSD's are. Published, both streams, on the proposals of BSN, mAP at tIoU 0.1 to 0.5: 69.5 67.8 63.6 57.8
49.1; dynamic weights: 50.9 at 0.5.

TCANet reads the shared features in windows of 34 s. Its published code has no THUMOS14: the settings are
ours, and untried. The two best classes of a classifier of whole videos (UntrimmedNet's) are those of its
detections, from {"class": [name, …], "results": {VIDEO: [probability, …]}}; or with
--config.decode.classes=proposals the proposals'.
"""

from tal_jax.config import config_of, extract_config, option_of
from tal_jax.data.sets import thumos14
from tal_jax.systems.actionformer.config import actionformer_config, with_mixer
from tal_jax.systems.afsd.config import input_config
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.tcanet.config import tcanet_config


def get_config(variant="dw_afsd,input=rgb"):
    """The config of a variant, see the head of this file."""
    table = {"dw_afsd": afsd, "afsd": afsd, "actionformer": actionformer, "dw_actionformer": actionformer}
    return config_of(variant, table | {"ecm": ecm, "pgcn": pgcn, "pgcn_dw": pgcn, "tcanet": tcanet})


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


def actionformer(system, mixer="attention"):
    """ActionFormer on whole videos. mixer: 'attention', 'max' for TemporalMaxer, or 'sgp', TriDet's block."""
    config = actionformer_config(system)
    config.name = f"thumos_{system}_{mixer}"
    config.data = thumos14.data_config("features")
    config.data.duplicate_sec, config.extract = 1e-3, extract_config()
    config.train.epochs = option_of("mixer", mixer, dict(attention=35, max=65, sgp=40))
    return with_mixer(config, mixer)


def ecm(system, row="full"):
    """ECM; row: of its Table 4."""
    config = ecm_config(row)
    config.name = f"thumos_{system}_{row}"
    config.data, config.extract = thumos14.data_config("features"), extract_config()
    config.data.stride_frames = 0
    config.evaluate.tious = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    return config


def pgcn(system, input="rgb", row="full"):
    """P-GCN on the features of one stream. input: the stream; row: of the ablations."""
    config = pgcn_config(system, row, input)
    config.name = f"thumos_{system}_{input}_{row}"
    config.data, config.extract = thumos14.data_config("clips"), extract_config()
    config.data.stream = input
    config.extract.weights += ("data/i3d_flow.npz",)
    return config


def tcanet(system):
    """TCANet on windows of the shared features."""
    config = tcanet_config()
    config.name = f"thumos_{system}"
    config.data, config.extract = thumos14.data_config("features"), extract_config()
    config.window.update(snippets=256, train_stride_frames=128, test_stride_frames=128, min_action_sec=0.0)
    config.train.warmup_steps = 150  # about an epoch
    config.decode.update(proposals=300, keep=200, class_sharpness=0.0, top_classes=2, max_detections=400)
    return config
