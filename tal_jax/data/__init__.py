"""Data sets: annotations and features, and the windows cut from them.

`config.data` has the fields of `features.data_config`.
"""

from tal_jax.data import features, sbhar, thumos14
from tal_jax.data.annotations import load_annotations
from tal_jax.errors import DataError

DATASETS = {"sbhar": sbhar.load, "thumos14": thumos14.load, "folder": features.load_folder}
BUNDLED_ANNOTATIONS = {"sbhar": sbhar.bundled_annotations, "thumos14": thumos14.bundled_annotations}


def load_dataset(config):
    """The `features.Dataset` that `config.data` describes. Raises DataError, whose text says what to do."""
    if config.data.name not in DATASETS:
        raise DataError(f"config.data.name is '{config.data.name}'; the data sets are {', '.join(DATASETS)}.")
    return DATASETS[config.data.name](config)


def dataset_annotations(config):
    """The `annotations.Annotations` that `config.data` describes, whether its features are there or not."""
    if config.data.annotations:
        return load_annotations(config.data.annotations)
    if config.data.name not in BUNDLED_ANNOTATIONS:
        raise DataError(f"The data set '{config.data.name}' has no annotations of its own; set --config.data.annotations=FILE.")
    return BUNDLED_ANNOTATIONS[config.data.name]()
