"""Four devices on the CPU for every test, and a data set and a model small enough to train in seconds."""

import os

os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4".strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import json

import numpy as np
import pytest

from tests import tiny_config

FPS = 10.0
ACTIONS = {  # recording -> its length in frames and its actions: label, first and last frame
    "monday": (150, [("slow", 12, 44), ("fast", 60, 84), ("slow", 100, 140)]),
    "tuesday": (130, [("fast", 8, 40), ("slow", 52, 76), ("fast", 90, 118)]),
    "sunday": (50, [("slow", 10, 40)]),
}


def make_signal(num_frames, actions, seed):
    """(num_frames, 3) float32: noise, and during an action a wave of its class: slow on channel 0, fast on channel 1."""
    frames = np.arange(num_frames)
    signal = 0.1 * np.random.default_rng(seed).standard_normal((num_frames, 3))
    for label, start, end in actions:
        channel, period = {"slow": (0, 8), "fast": (1, 4)}[label]
        signal[start:end, channel] += np.sin(2 * np.pi * frames[: end - start] / period)
    return signal.astype(np.float32)


@pytest.fixture
def tiny_data(tmp_path):
    """Folder with features and labels.json of three recordings: "monday" and "tuesday" to train on, "sunday" to test on."""
    folder = tmp_path / "data"
    folder.mkdir()
    database = {}
    for seed, (name, (num_frames, actions)) in enumerate(ACTIONS.items()):
        np.save(folder / f"{name}.npy", make_signal(num_frames, actions, seed))
        database[name] = {
            "subset": "test" if name == "sunday" else "train",
            "duration": num_frames / FPS,
            "annotations": [{"label": label, "segment": [start / FPS, end / FPS]} for label, start, end in actions],
        }
    (folder / "labels.json").write_text(json.dumps({"database": database}))
    return folder


@pytest.fixture
def make_config(tiny_data):
    """Function (system, **fields) -> config of the tiny model and data; `fields` replace fields of config.train."""

    def make(system="afsd", **train):
        config = tiny_config.get_config(system)
        config.data.annotations, config.data.features = str(tiny_data / "labels.json"), str(tiny_data)
        config.train.update(train)
        return config

    return make
