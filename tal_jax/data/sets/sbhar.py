"""SBHAR: 12 activities and postural transitions, from a phone at the waist; 61 recordings of 3 to 11 minutes
at 50 Hz.

The signals and the annotations are in this package (files/sbhar): nothing to download.
"""

import pathlib

import numpy as np

from tal_jax.data import features
from tal_jax.data.annotations import load_annotations
from tal_jax.data.tables import FeatureFile
from tal_jax.runtime.files import ARRAY_HEADERS

FILES = pathlib.Path(__file__).parents[1] / "files" / "sbhar"
# acceleration in g, angular rate in rad/s
CHANNELS = tuple(f"{what} {axis}" for what in ("acceleration", "rotation") for axis in "xyz")
UNITS = np.array([1 / 720] * 3 + [0.0003054326223838945] * 3, np.float32)


def data_config(**fields):
    """`config.data` for SBHAR: a frame is 0.2 s, but for these fields."""
    sensors = dict(name="sbhar", fps=50.0, samples_per_frame=10, num_channels=6)
    return features.data_config(**sensors | fields)


def statistics_config(**fields):
    """`config.data` for statistics of the signals: a frame every 0.2 s, of 1.3 s, but for these fields."""
    return data_config(**dict(statistics_samples=64, standardised=True) | fields)


def load(config):
    """Dataset of SBHAR: (T, 6*samples_per_frame) float32 a recording, x, y, z of acceleration in g, then of
    angular rate in rad/s.

    `config.data.annotations` and `.features` replace the bundled files by a JSON file and a folder.
    """
    data = config.data
    if data.features:
        return features.folder_dataset(annotations(config), data.features, data)
    with np.load(FILES / "signals.npz") as signals:
        available = set(signals.files)
    place = f"in {FILES / 'signals.npz'}"
    read = lambda name: FeatureFile(read_signal(name), channels=CHANNELS)
    return features.build_dataset(annotations(config), read, available, data, place)


def annotations(config):
    """Annotations of `config.data.annotations`, or the bundled ones."""
    if config.data.annotations:
        return load_annotations(config.data.annotations, config.data.ignored_labels)
    return bundled_annotations()


def bundled_annotations():
    """Annotations of the 61 recordings, subsets "train" (42) and "test" (19)."""
    return load_annotations(FILES / "annotations.json")


def read_signal(name):
    """One bundled recording, (T, 6) float32 in g and rad/s; takes about 10 ms.

    The file holds the differences in time of what the sensors gave, (6, T) integers.
    """
    with ARRAY_HEADERS, np.load(FILES / "signals.npz") as signals:
        return np.cumsum(signals[name], axis=1, dtype=np.int32).T.astype(np.float32) * UNITS
