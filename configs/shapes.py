"""DW-AFSD and AFSD, end to end from pixels, on rendered videos of shapes whose actions differ by motion alone.

    python -m tal_jax.main --config=configs/shapes.py          DW-AFSD: mAP about 84 in 10 minutes on two CPU cores
    python -m tal_jax.main --config=configs/shapes.py:afsd     AFSD, the baseline

The videos are rendered into data/shapes (about a minute, 410 MB) when they are not there. A small I3D learns from nothing, with
batch statistics in its BatchNorms. Where a result falls short it is the class that is wrong, seldom the time (docs/results.md).
"""

from tal_jax.config import split_variant
from tal_jax.data import shapes
from tal_jax.systems.afsd.config import sequence_config


def get_config(system="dw_afsd"):
    """system: 'dw_afsd' or 'afsd'."""
    split_variant(system, ("dw_afsd", "afsd"))
    config = sequence_config(system, of_frames=True)
    config.name = f"shapes_{system}"
    config.data = shapes.data_config()

    config.window.frames = 128
    config.window.train_stride_frames = 64
    config.window.test_stride_frames = 64
    config.augment.jitter_frames = 32
    config.augment.crop = 0.0
    config.window.background = 0.0

    config.model.i3d_width = 0.25
    config.model.frozen_norm = False
    config.model.channels = 128
    config.loss.loc_weight = 1.0  # with 10, classes are learnt late
    config.loss.level_bounds = ((0, 10), (5, 20), (10, 40), (20, 80), (40, 160), (80, 512))
    config.train.epochs = 10
    config.train.learning_rate = 2e-3
    config.train.batch_size = 4
    return config
