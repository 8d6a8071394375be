"""AFSD and DW-AFSD on any data set: an annotation file, and feature files or videos.

    python -m tal_jax.main --config=configs/folder.py --config.data.annotations=FILE --config.data.features=FOLDER
    python -m tal_jax.main --config=configs/folder.py:dw_afsd,input=rgb --config.data.annotations=FILE --config.data.frames=FOLDER

FILE has the ActivityNet schema (tal_jax/data/annotations.py), with subsets "train" and "test". The first FOLDER holds one NAME.npy, .npz or
.csv of shape (T, C) for each recording; the second is what `python -m tal_jax.prepare --dataset=folder` makes of the videos NAME.mp4.
`config.window.frames` should be longer than the longest action and at most about the length of a recording, in feature vectors or
frames (10 a second); it is a multiple of 128. Frames train the published network from Kinetics weights (docs/data.md), on a GPU.
"""

from tal_jax.data import folder
from tal_jax.systems.afsd.config import variant_config


def get_config(variant="dw_afsd,input=features"):
    """variant: 'dw_afsd' or 'afsd', and after ',input=' 'features', 'rgb' or 'flow'."""
    config, system, stream = variant_config(variant, default_input="features")
    config.name = f"folder_{system}_{stream}"
    config.data = folder.data_config(stream)
    config.window.frames = 256
    config.window.train_stride_frames = 128
    config.augment.jitter_frames = 64
    if stream == "features":
        config.model.channels = 256
        config.model.backbone_width = 128
    return config
