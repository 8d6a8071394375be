"""AFSD and DW-AFSD on SBHAR: 12 activities and postural transitions in real recordings of a waist-worn phone. Times: two CPU cores.

python -m tal_jax.main --config=configs/sbhar.py          DW-AFSD: mAP 95.7 to 96.7 over seeds, in 5 to 7 minutes
python -m tal_jax.main --config=configs/sbhar.py:afsd     AFSD, the baseline
python -m tal_jax.main --config=configs/sbhar.py:demo     DW-AFSD in a fifth of the steps: mAP about 94 in 2 minutes
"""

from tal_jax.data import sbhar
from tal_jax.systems.afsd.config import sequence_config


def get_config(variant="dw_afsd"):
    """variant: 'dw_afsd', 'afsd', or 'demo' (DW-AFSD in a fifth of the time)."""
    config = sequence_config("dw_afsd" if variant == "demo" else variant)
    config.name = f"sbhar_{variant}"
    config.data = sbhar.data_config()
    config.data.samples_per_frame = 10  # a frame is 0.2 s

    config.window.frames = 512
    config.window.train_stride_frames = 256
    config.window.test_stride_frames = 256
    config.augment.jitter_frames = 128
    config.augment.scale = 0.05
    config.augment.noise = 0.02
    config.augment.rotation_deg = 15.0

    config.model.channels = 128
    config.model.backbone_width = 64
    # Short actions to fine levels, long ones to coarse levels, as AFSD does on ActivityNet (frames of the longer side).
    config.loss.level_bounds = ((0, 10), (5, 20), (10, 40), (20, 80), (40, 160), (80, 512))
    if variant == "demo":
        config.train.epochs = 10
    return config
