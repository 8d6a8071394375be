"""Four devices on the CPU for every test, and a data set small enough to train on in seconds."""

import os

# Level 0 compiles twice as fast, which is most of the time of the tests. XLA_FLAGS from outside come last and
# win:
# XLA_FLAGS=--xla_backend_optimization_level=3 tests the code as users run it.
_FLAGS = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "")  # nothing in the user's cache folder

import json

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tests import tiny_config

FPS = 10.0
RECORDINGS = {  # name -> length in frames, and the actions: label, first and last frame
    "monday": (220, [("slow", 12, 44), ("fast", 60, 84), ("slow", 110, 150), ("fast", 170, 206)]),
    "tuesday": (200, [("fast", 8, 40), ("slow", 62, 86), ("fast", 100, 128), ("slow", 150, 190)]),
    "sunday": (90, [("slow", 10, 40), ("fast", 50, 80)]),
}


def signal(num_frames, actions, seed):
    """(num_frames, 3) float32: noise, and during an action a wave: of a slow one on channel 0, of a fast one
    on channel 1.
    """
    features = 0.1 * np.random.default_rng(seed).standard_normal((num_frames, 3), np.float32)
    for label, start, end in actions:
        channel, period_frames = {"slow": (0, 8), "fast": (1, 4)}[label]
        features[start:end, channel] += np.sin(2 * np.pi * np.arange(end - start) / period_frames)
    return features


def write_data(folder):
    """Writes NAME.npy of every recording and labels.json: "monday" and "tuesday" to train on, "sunday" to
    test on.
    """
    database = {}
    for seed, (name, (num_frames, actions)) in enumerate(RECORDINGS.items()):
        np.save(folder / f"{name}.npy", signal(num_frames, actions, seed))
        database[name] = {
            "subset": "test" if name == "sunday" else "train",
            "duration": num_frames / FPS,
            "annotations": [
                {"label": label, "segment": [start / FPS, end / FPS]} for label, start, end in actions
            ],
        }
    (folder / "labels.json").write_text(json.dumps({"database": database}))


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Folder of the tiny data set, not to be changed."""
    folder = tmp_path_factory.mktemp("tiny_data")
    write_data(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_data):
    """Function (system, **fields of config.train) -> config of a tiny system on the tiny data set."""

    def make(system="toy", **train):
        config = tiny_config.get_config(system)
        config.data.update(annotations=str(tiny_data / "labels.json"), features=str(tiny_data))
        config.train.update(train)
        return config

    return make


@pytest.fixture(autouse=True, scope="module")
def compiled_forgotten():
    """Frees what a module has compiled: one process may hold 65,530 memory maps on Linux, and every compiled
    function takes some.
    """
    yield
    jax.clear_caches()


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """What one run has compiled another one of the same shapes reads, which is most of the time of tests that
    train much.
    """

    def keep(folder, min_seconds):
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", min_seconds)
        compilation_cache.reset_cache()  # so that it looks at these again

    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    keep(str(tmp_path_factory.mktemp("compiled")), 0)
    yield
    keep(*before)
