"""AFSD and DW-AFSD on THUMOS14 (20 sports classes, 200 training and 210 test videos), end to end from frames or from features.

    python -m tal_jax.main --config=configs/thumos.py                              DW-AFSD, RGB frames
    python -m tal_jax.main --config=configs/thumos.py:afsd,input=flow              AFSD, the baseline, optical flow
    python -m tal_jax.main --config=configs/thumos.py:dw_afsd,input=features       DW-AFSD, I3D features
    python -m tal_jax.main --config=configs/thumos.py --mode=evaluate --config.evaluate.second_workdir=runs/thumos_dw_afsd_flow

The last line scores both streams together. Frames are what `tal_jax.prepare` makes of the videos (docs/data.md); I3D starts from
Kinetics weights, which `tal_jax.convert` writes. Features are the widely shared ones: VIDEO.npy of shape (T, 2048), stride 4, RGB first.
The annotations come with the project.

Published, from frames, both streams, mAP at tIoU 0.3 to 0.7: AFSD 67.3 62.4 55.5 43.7 31.1 (average 52.0; RGB alone 43.5, flow
alone 44.2), DW-AFSD 68.8 64.9 57.6 44.6 31.9. AFSD's are of the checkpoints after epoch 15 (RGB) and 16 (flow) of 16, chosen on the
test videos. Every number of the recipe is the published one; nothing was trained here, for want of the videos and the weights. From
features nothing is published for these systems. A GPU is what to train on.
"""

from tal_jax.data import thumos14
from tal_jax.systems.afsd.config import variant_config


def get_config(variant="dw_afsd,input=rgb"):
    """variant: 'dw_afsd' or 'afsd', and after ',input=' 'rgb', 'flow' or 'features'."""
    config, system, stream = variant_config(variant, default_input="rgb")
    config.name = f"thumos_{system}_{stream}"
    config.data = thumos14.data_config(stream)
    config.window.frames = 256  # 26 s of frames at 10 fps; 34 s of features
    if stream == "features":
        config.augment.jitter_frames = 15  # half the stride of the windows
        config.train.learning_rate = 1e-4
    else:
        config.window.first_frame = 1  # as the published loader
    return config
