"""DW-AFSD and AFSD from pixels, on rendered videos of shapes whose actions differ by motion alone.

    python -m tal_jax.main --config=configs/shapes.py          DW-AFSD: mAP 84 to 96 in 10 minutes on 2 cores
    python -m tal_jax.main --config=configs/shapes.py:afsd     AFSD, the baseline

The videos are rendered into data/shapes (about a minute, 410 MB) when they are not there. A small I3D starts
from random weights, with batch statistics in its BatchNorms. Errors are mostly in the class, seldom in the
time (docs/results.md).
"""

from tal_jax.config import config_of
from tal_jax.data.sets import shapes
from tal_jax.systems.afsd.config import sequence_config


def get_config(variant="dw_afsd"):
    """The config of a variant, see the head of this file."""
    return config_of(variant, {"dw_afsd": afsd, "afsd": afsd})


def afsd(system):
    """AFSD or DW-AFSD on RGB frames."""
    config = sequence_config(system, of_frames=True)
    config.name = f"shapes_{system}"
    config.data = shapes.data_config()
    config.window.update(frames=128, train_stride_frames=64, test_stride_frames=64, background=0.0)
    config.augment.update(jitter_frames=32, crop=0.0)
    config.backbone.update(channel_factor=0.25, frozen_norm=False)
    config.model.channels = 128
    config.loss.loc_weight = 1.0  # with 10, classes are learnt late
    config.loss.level_bounds = ((0, 10), (5, 20), (10, 40), (20, 80), (40, 160), (80, 512))
    config.train.update(epochs=10, learning_rate=2e-3, batch_size=4)
    return config
