"""Any data set: an annotation file, and a folder of feature files or one that `tal_jax.prepare` has made of
videos.
"""

from tal_jax.data import features, frames
from tal_jax.data.annotations import load_annotations
from tal_jax.errors import DataError


def data_config(input="features"):
    """`config.data` for a data set of your own. input: 'features', 'rgb' or 'flow'."""
    return features.data_config() if input == "features" else frames.data_config(input=input)


def load(config):
    """Dataset of the annotation file `config.data.annotations` and the folder `config.data.features` or
    `config.data.frames`.
    """
    data = config.data
    if data.input != "features" and "frames" not in data:
        ways = "name a variant of frames, such as --config=folder:dw_afsd,input=rgb"
        raise DataError(f"config.data.input is '{data.input}', but the config has no frames; {ways}.")
    for field in ("annotations", "features" if data.input == "features" else "frames"):
        if not data[field]:
            raise DataError(f"config.data.{field} is empty; set it with --config.data.{field}=PATH.")
    annotations = load_annotations(data.annotations, data.ignored_labels)
    if data.input == "features":
        return features.folder_dataset(annotations, data.features, data)
    return frames.load(config, annotations)
