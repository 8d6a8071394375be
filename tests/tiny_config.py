"""A small AFSD (`:dw_afsd`: DW-AFSD) for tests: 2 classes, 3 channels at 10 fps, windows of 6.4 s.

    python -m tal_jax.main --config=tests/tiny_config.py:dw_afsd --config.data.annotations=FILE --config.data.features=FOLDER
"""

from tal_jax.data import sbhar
from tal_jax.systems.afsd.config import afsd_config


def get_config(system="afsd"):
    """system: 'dw_afsd' or 'afsd'."""
    config = afsd_config(system)
    config.name = f"tiny_{system}"
    config.num_classes = 2
    config.data = sbhar.data_config()
    config.data.update(name="folder", fps=10.0, samples_per_frame=1, num_channels=3)

    config.window.frames = 64
    config.window.train_stride = 32
    config.window.test_stride = 32
    config.model.channels = 32
    config.model.groups = 4
    config.model.backbone_width = 8
    config.model.distance_multipliers = (4.0, 8.0, 16.0, 32.0, 32.0, 32.0)
    config.loss.loc_weight = 1.0
    config.loss.contrastive_weight = 0.0
    config.train.batch_size = 2
    config.train.learning_rate = 3e-3
    config.train.weight_decay = 0.0
    config.train.gradient_clip = 1.0
    config.parallel.max_devices = 1
    return config
