"""AFSD and DW-AFSD on THUMOS14 (20 sports classes, 200 training and 210 test videos), from I3D features.

    python -m tal_jax.main --config=configs/thumos.py --config.data.features=FOLDER          DW-AFSD
    python -m tal_jax.main --config=configs/thumos.py:afsd --config.data.features=FOLDER     AFSD, the baseline

`:published_dw_afsd` and `:published_afsd` keep every number of the published recipe, which was made for fine-tuning I3D on frames.

FOLDER holds the widely shared I3D features: one VIDEO.npy of shape (T, 2048) for each video, stride 4 frames, RGB first.
The annotations come with the project. Published, trained from frames with the I3D network, mAP at tIoU 0.3 to 0.7:
AFSD 67.3 62.4 55.5 43.7 31.1 (average 52.0), DW-AFSD 68.8 64.9 57.6 44.6 31.9. From features nothing is published for these
systems and nothing was measured here, for want of the features; a GPU is what to train on.
"""

from tal_jax.data import thumos14
from tal_jax.systems.afsd.config import afsd_config, sequence_config


def get_config(variant="dw_afsd"):
    """variant: 'dw_afsd', 'afsd', 'published_dw_afsd' or 'published_afsd'."""
    published, system = variant.startswith("published_"), variant.removeprefix("published_")
    config = afsd_config(system) if published else sequence_config(system)
    config.name = f"thumos_{variant}"
    config.data = thumos14.data_config()
    config.window.frames = 256  # feature vectors: 34 s at 30 fps
    if not published:
        config.augment.jitter_frames = 15  # half the stride of the windows
        config.train.learning_rate = 1e-4
    return config
