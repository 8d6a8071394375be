"""AFSD and DW-AFSD on any data set: an annotation file and a folder of feature files.

    python -m tal_jax.main --config=configs/folder.py --config.data.annotations=FILE --config.data.features=FOLDER

FILE has the ActivityNet schema (tal_jax/data/annotations.py), with subsets "train" and "test"; FOLDER holds one NAME.npy, .npz or
.csv of shape (T, C) for each recording. `config.window.frames` should be longer than the longest action and at most about
the length of a recording, in feature vectors; it is a multiple of 128.
"""

from tal_jax.data.features import data_config
from tal_jax.systems.afsd.config import sequence_config


def get_config(system="dw_afsd"):
    """system: 'dw_afsd' or 'afsd'."""
    config = sequence_config(system)
    config.name = f"folder_{system}"
    config.data = data_config()
    config.window.frames = 256
    config.window.train_stride_frames = 128
    config.augment.jitter_frames = 64
    config.model.channels = 256
    config.model.backbone_width = 128
    return config
