"""A small AFSD for tests: 2 classes, 3 channels at 10 fps, windows of 12.8 s.

python -m tal_jax.main --config=tests/tiny_config.py:toy --config.data.annotations=FILE --config.data.features=FOLDER
"""

from tal_jax.data import sbhar
from tal_jax.systems import SYSTEMS
from tal_jax.systems.afsd.config import sequence_config
from tests.toy_system import TOY


def get_config(system="afsd"):
    """system: 'dw_afsd', 'afsd', or 'toy', which is put into the table of systems here."""
    if system == "toy":
        SYSTEMS["toy"] = TOY
    config = sequence_config(system)
    config.name = f"tiny_{system}"
    config.data = sbhar.data_config()
    config.data.update(name="folder", fps=10.0, samples_per_frame=1, num_channels=3)

    config.window.frames = 128
    config.window.train_stride_frames = 32
    config.window.test_stride_frames = 64
    config.model.channels = 32
    config.model.groups = 4
    config.model.backbone_width = 8
    config.train.batch_size = 2
    config.train.learning_rate = 3e-3
    config.train.warmup_steps = 10
    config.parallel.max_devices = 1
    return config
