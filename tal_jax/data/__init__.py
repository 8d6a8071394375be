"""Data sets: annotations and features, and the windows cut from them.

`config.data` has these fields:

    name               a data set of `DATASETS`; "folder": no built-in one, the next two say all
    annotations        annotation file (schema: annotations.py); "": the data set's own
    features           folder with one NAME.npy, .npz or .csv a recording; "": the data set's own
    fps                frames (samples) a second of recordings whose annotation has no "fps"; 0: features are spread evenly
                       over the annotated duration
    stride_frames      frames from one feature to the next
    snippet_frames     frames that one feature has seen
    samples_per_frame  so many consecutive features are folded into one (1: none)
    num_channels       channels in the files, before folding; 0: not checked
    train_subset       subset to train on, as the annotation file calls it
    test_subset        subset to evaluate on
    allow_missing      True: recordings without features are left out; False: they are an error
"""

from tal_jax.data import features, sbhar, thumos14
from tal_jax.data.annotations import DataError, load_annotations

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
