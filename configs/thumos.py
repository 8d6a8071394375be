"""THUMOS14 (20 sports classes, 200 training and 210 test videos): AFSD and DW-AFSD end to end from frames or from features; ECM.

    python -m tal_jax.main --config=configs/thumos.py                              DW-AFSD, RGB frames
    python -m tal_jax.main --config=configs/thumos.py:afsd,input=flow              AFSD, the baseline, optical flow
    python -m tal_jax.main --config=configs/thumos.py:dw_afsd,input=features       DW-AFSD, I3D features
    python -m tal_jax.main --config=configs/thumos.py:ecm                          ECM, from labels of whole videos, I3D features
    python -m tal_jax.main --config=configs/thumos.py --mode=evaluate --config.evaluate.second_workdir=runs/thumos_dw_afsd_flow

The last command scores both streams together. Frames are what `tal_jax.prepare` makes of the videos (docs/data.md); I3D starts from
Kinetics weights, which `tal_jax.convert` writes. Features are the widely shared ones: VIDEO.npy of shape (T, 2048), stride 4, RGB first.
The annotations come with the project.

Published, from frames, both streams, mAP at tIoU 0.3 to 0.7: AFSD 67.3 62.4 55.5 43.7 31.1 (average 52.0; RGB alone 43.5, flow
alone 44.2), DW-AFSD 68.8 64.9 57.6 44.6 31.9. AFSD's are of the checkpoints after epoch 15 (RGB) and 16 (flow) of 16, chosen on the
test videos. Every number of the recipe is the published one; nothing was trained here, for want of the videos and the weights. From
features nothing is published for these systems. ECM, mAP at tIoU 0.1 to 0.9: 62.6 55.1 46.5 38.2 29.1 19.5 10.9 3.8 0.4, which is the
best of 150 epochs on the test videos; its last epoch has 28.2 at 0.5, its last thirty 28.1 ± 0.6. A GPU is what to train on.

ECM reads its published files (VIDEO.npz with feat_spa, feat_tem of 750 snippets), rgb/VIDEO.npy and flow/VIDEO.npy of any length, or what
--mode=extract writes with --config.data.stride_frames=16. Features are spread evenly over the frames of a video.
"""

from tal_jax.config import split_variant
from tal_jax.data import thumos14
from tal_jax.systems.afsd.config import variant_config
from tal_jax.systems.ecm.config import ecm_config


def get_config(variant="dw_afsd,input=rgb"):
    """variant: 'dw_afsd' or 'afsd', and after ',input=' 'rgb', 'flow' or 'features'; or 'ecm', and after ',row=' one of its Table 4."""
    if variant.split(",")[0] == "ecm":
        _, options = split_variant(variant, ("ecm",), row="full")
        config = ecm_config(options["row"])
        config.name = f"thumos_ecm_{options['row']}"
        config.data = thumos14.data_config("features")
        config.data.stride_frames = 0
        config.evaluate.tious = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
        return config
    config, system, stream = variant_config(variant, default_input="rgb", systems=("dw_afsd", "afsd", "ecm"))
    config.name = f"thumos_{system}_{stream}"
    config.data = thumos14.data_config(stream)
    config.window.frames = 256  # 26 s of frames at 10 fps; 34 s of features
    if stream == "features":
        config.augment.jitter_frames = 15  # half the stride of the windows
        config.train.learning_rate = 1e-4
    else:
        config.window.first_frame = 1  # as the published loader
    return config
