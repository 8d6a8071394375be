"""Windows without action: AFSD is trained on so many of them, and on none that may hold an action."""

import dataclasses

import numpy as np
import pytest

from configs import folder, sbhar, shapes, thumos
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import Dataset
from tal_jax.data.features import data_config
from tal_jax.data.labelled_windows import BACKGROUND
from tal_jax.data.timeline import Timeline
from tal_jax.errors import DataError
from tal_jax.systems import require_valid
from tal_jax.systems.afsd.config import sequence_config
from tal_jax.systems.afsd.examples import training_examples


def small_config(share):
    config = sequence_config("afsd")
    config.data = data_config()
    config.window.update(frames=128, train_stride_frames=64, background=share)
    config.augment.update(crop=0.0, jitter_frames=32)
    return config


@pytest.fixture
def dataset():
    """Nine recordings with an action (12.8 s), one without (51.2 s), one with an unclear middle (38.4 s)."""
    action = np.array([[1.0, 6.0]])
    recordings = {
        f"busy{i}": Recording(f"busy{i}", "train", 12.8, action, np.zeros(1, np.int32)) for i in range(9)
    }
    none = dict(segments_sec=np.zeros((0, 2)), labels=np.zeros(0, np.int32))
    recordings["quiet"] = Recording("quiet", "train", 51.2, **none)
    unclear = np.array([[12.0, 20.0]])
    recordings["unclear"] = dataclasses.replace(
        Recording("unclear", "train", 38.4, **none), ignored_sec=unclear
    )
    features = {
        name: np.full((round(10 * r.duration_sec), 3), i, np.float32)
        for i, (name, r) in enumerate(recordings.items())
    }
    return Dataset(Annotations(("run",), recordings), features.__getitem__, lambda name: Timeline(10.0, 1, 1))


@pytest.mark.parametrize(
    "share, number", [(0.0, 0), (0.1, 1), (0.25, 3), (0.9, 8)]
)  # 7 of 'quiet', the last of 'unclear'
def test_the_share_of_windows_without_action(dataset, share, number):
    items, _ = training_examples(small_config(share), dataset)
    assert [item.name for item in items[:9]] == [f"busy{i}" for i in range(9)]
    assert items[9:] == [BACKGROUND] * number


def test_an_example_of_background_has_no_action_and_comes_from_anywhere_without(dataset):
    items, make_example = training_examples(small_config(0.5), dataset)
    rng, recordings = np.random.default_rng(0), set()
    for _ in range(40):
        example = make_example(items[-1], rng)
        assert (
            not example["labels"].any()
            and not example["segments_frame"].any()
            and not example["boundary_labels"].any()
        )
        assert example["num_frames"] == 128
        recordings.add(int(example["inputs"].mean().round()))
    assert recordings == {9, 10}


def test_nothing_changes_where_every_window_holds_an_action(dataset):
    busy = {name: r for name, r in dataset.annotations.recordings.items() if name.startswith("busy")}
    dataset = dataclasses.replace(dataset, annotations=Annotations(("run",), busy))
    assert (
        training_examples(small_config(0.1), dataset)[0] == training_examples(small_config(0.0), dataset)[0]
    )


def test_sequences_have_background_and_published_recipes_have_none():
    assert folder.get_config("dw_afsd").window.background == 0.1
    assert thumos.get_config("dw_afsd,input=features").window.background == 0.1
    for config in (thumos.get_config(), sbhar.get_config(), sbhar.get_config("demo"), shapes.get_config()):
        assert config.window.background == 0


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(DataError, match="config.window.background is"):
        require_valid(small_config(share), training=True)
