"""AFSD, DW-AFSD and ECM on any data set: an annotation file, and feature files or videos.

    python -m tal_jax.main --config=configs/folder.py --config.data.annotations=FILE --config.data.features=FOLDER
    python -m tal_jax.main --config=configs/folder.py:dw_afsd,input=rgb --config.data.annotations=FILE --config.data.frames=FOLDER
    python -m tal_jax.main --config=configs/folder.py:ecm --config.data.annotations=FILE --config.data.features=FOLDER

FILE has the ActivityNet schema (tal_jax/data/annotations.py), with subsets "train" and "test". The first FOLDER holds one file of
shape (T, C), NAME.npy, .csv or another of docs/data.md, for each recording; the second is what `python -m tal_jax.prepare --dataset=folder` makes of the videos NAME.mp4.
`config.window.frames` should be longer than the longest action and at most about the length of a recording, in feature vectors or
frames (10 a second); it is a multiple of 128. Frames train the published network from Kinetics weights (docs/data.md), on a GPU.

ECM learns from which actions a recording holds: in the subset "train" labels need no "segment". It sees a whole recording as
`config.window.snippets` of its feature vectors; where labels have times, long recordings may be cut into windows (docs/ecm.md).
Its fields are not tuned, and nothing was measured with them.
"""

from tal_jax.config import extract_config, split_variant
from tal_jax.data import folder
from tal_jax.systems.afsd.config import variant_config
from tal_jax.systems.ecm.config import ecm_config


def get_config(variant="dw_afsd,input=features"):
    """variant: 'dw_afsd' or 'afsd', and after ',input=' 'features', 'rgb' or 'flow'; or 'ecm', after ',row=' one of its Table 4."""
    if variant.split(",")[0] == "ecm":
        _, options = split_variant(variant, ("ecm",), row="full")
        config = ecm_config(options["row"])
        config.name = f"folder_ecm_{options['row']}"
        config.data = folder.data_config("features")
        config.extract = extract_config()
        config.model.hidden = 512
        config.decode.nms_extra_sec = 0.0  # actions may be shorter than the published second
        return config
    config, system, stream = variant_config(variant, default_input="features", systems=("dw_afsd", "afsd", "ecm"))
    config.name = f"folder_{system}_{stream}"
    config.data = folder.data_config(stream)
    config.window.frames = 256
    config.window.train_stride_frames = 128
    config.augment.jitter_frames = 64
    if stream == "features":
        config.extract = extract_config()
        config.model.channels = 256
        config.model.backbone_width = 128
    return config
