import json

import ml_collections
import numpy as np
import pytest

from tal_jax.data import load_dataset
from tal_jax.data.annotations import Recording
from tal_jax.data.dataset import common_channels
from tal_jax.data.sets import sbhar
from tal_jax.data.timeline import Axis, Timeline, make_timeline
from tal_jax.errors import DataError


@pytest.mark.parametrize("fps, stride_frames, snippet_frames", [(30, 4, 16), (50, 10, 10), (29.97, 8, 8)])
def test_timeline_there_and_back(fps, stride_frames, snippet_frames):
    timeline = Timeline(fps, stride_frames, snippet_frames)
    cells = np.linspace(-1, 100, 7)
    np.testing.assert_allclose(timeline.to_cells(timeline.to_seconds(cells)), cells, atol=1e-9)


def test_timeline_by_hand():
    timeline = Timeline(fps=30, stride_frames=4, snippet_frames=16)
    # centres of frames 0-15, 4-19
    np.testing.assert_allclose(timeline.to_seconds([[0.5], [1.5]]), [[8 / 30], [12 / 30]])
    timeline = Timeline(fps=50, stride_frames=10, snippet_frames=10)
    np.testing.assert_allclose(timeline.to_seconds([0, 1]), [0, 0.2])  # cells touch


@pytest.fixture
def config(tmp_path):
    """Two recordings, "a" of training and "b" of test, with features of 4 frames and 3 channels at stride 2."""
    row = {"annotations": [{"label": "run", "segment": [0.2, 0.6]}]}
    database = {
        "a": {"subset": "train", "fps": 20, **row},
        "b": {"subset": "test", **row},
        "c": {"subset": "other", **row},
    }
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    np.save(tmp_path / "a.npy", np.ones((4, 3)))
    (tmp_path / "b.csv").write_text("1,2,3\n" * 4)
    config = ml_collections.ConfigDict(dict(data=sbhar.data_config()))
    config.data.update(
        name="folder", annotations=str(tmp_path / "labels.json"), features=str(tmp_path), fps=10.0
    )
    config.data.update(stride_frames=2, snippet_frames=6, samples_per_frame=1, num_channels=3)
    return config


def test_folder(config):
    dataset = load_dataset(config)
    # "c" is in neither subset: its features are not asked for
    assert list(dataset.annotations.recordings) == ["a", "b"]
    assert dataset.read("a").shape == dataset.read("b").shape == (4, 3)
    assert dataset.timeline("a") == Timeline(20, 2, 6)  # its own rate
    assert dataset.timeline("b") == Timeline(10, 2, 6)


def test_a_data_set_may_be_standardised(config, tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).standard_normal((4, 3)) * 5 + 2)
    config.data.standardised = True
    read = load_dataset(config).read("a")
    np.testing.assert_allclose(read.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(read.std(axis=0), 1, rtol=1e-6)


def test_folding_keeps_the_time(config):
    plain = load_dataset(config).timeline("a")
    config.data.samples_per_frame = 2
    dataset = load_dataset(config)
    assert dataset.read("a").shape == (2, 6)
    np.testing.assert_allclose(dataset.timeline("a").to_seconds([0, 0.5, 2]), plain.to_seconds([0, 1, 4]))


def test_samples_beside_their_statistics_and_values_that_are_filled(config, tmp_path):
    rows = np.random.default_rng(0).standard_normal((9, 3))
    rows[2, 1], rows[:, 2] = np.nan, np.nan
    np.save(tmp_path / "a.npy", rows)
    config.data.update(samples_per_frame=2, statistics_samples=4, samples_beside=True, fill_missing=True)
    config.data.update(channel_offsets=(5.0, 5.0, 5.0))
    dataset = load_dataset(config)
    read = dataset.read("a")
    expected = np.column_stack([rows - 5, np.full(9, 1 / 3)])
    expected[2, 1], expected[:, 2] = expected[[1, 3], 1].mean(), 0  # a lost channel is at its mean
    expected[2, 3] = 2 / 3
    np.testing.assert_allclose(read[:, -8:], expected[:8].reshape(4, 8), rtol=1e-6)
    np.testing.assert_allclose(read[1, :16:4], expected[1:5].mean(axis=0), rtol=1e-5, atol=1e-7)
    assert dataset.notes("a")["filled"].endswith("of its values, each put on the line between its neighbours")


def test_folder_errors(config):
    def error():
        with pytest.raises(DataError) as error:
            dataset = load_dataset(config)
            [(dataset.read(name), dataset.timeline(name)) for name in dataset.annotations.recordings]
        return str(error.value)

    with config.unlocked():
        original = config.data.copy_and_resolve_references()
    config.data.num_channels = 4
    assert "Recording 'a'" in error() and "3 channels" in error() and "num_channels is 4" in error()
    config.data.update(original)
    config.data.fps = 0.0
    assert "Recording 'b' has neither 'fps' nor 'duration'" in error()
    config.data.update(original)
    config.data.samples_per_frame = 5
    assert "4 samples, fewer than the 5" in error()
    config.data.update(original)
    config.data.train_subset = "other"
    assert "1 of 2 recordings" in error() and "'c'" in error() and "allow_missing" in error()
    config.data.update(train_subset="x", test_subset="y")
    asked = "config.data.train_subset ('x'), config.data.test_subset ('y')"
    assert f"No recording has a subset of {asked}; the annotations have 'other', 'test', 'train'." in error()
    config.data.features = ""
    assert "--config.data.features=" in error()
    config.data.name = "nothing"
    assert "activitynet, ego4d, epic, folder, multithumos, sbhar, shapes, thumos14" in error()


def test_without_a_rate_features_are_spread_evenly_over_the_duration():
    data = ml_collections.ConfigDict(dict(fps=0.0, stride_frames=4, snippet_frames=16, samples_per_frame=2))
    recording = Recording("a", "train", 40.0, np.zeros((0, 2)), np.zeros(0, np.int32))
    timeline = make_timeline(recording, data, lambda name: Axis(80, 0.0, {})).folded(data.samples_per_frame)
    # 40 frames of two features each
    np.testing.assert_allclose(timeline.to_seconds([0, 20, 40]), [0, 20, 40])


def test_all_recordings_have_as_many_channels_as_the_first(config, tmp_path):
    config.data.num_channels = 0
    (tmp_path / "b.csv").write_text("1,2\n" * 4)
    dataset = load_dataset(config)
    dataset.read("a")
    with pytest.raises(DataError, match="Recording 'b' in .* has 2 channels, but recording 'a' has 3"):
        dataset.read("b")


def test_columns_of_tables_are_told_apart_by_their_names(config, tmp_path):
    config.data.update(num_channels=0, fps=20.0)
    (tmp_path / "a.npy").unlink()
    (tmp_path / "a.csv").write_text("ax,ay,gz\n" + "1,2,9\n" * 4)
    (tmp_path / "b.csv").write_text("gz,ax,ay\n" + "9,1,2\n" * 4)
    dataset = load_dataset(config)
    np.testing.assert_array_equal(dataset.read("a"), [[1, 2, 9]] * 4)
    np.testing.assert_array_equal(dataset.read("b"), dataset.read("a"))
    assert dataset.channels("b") == ("ax", "ay", "gz") == common_channels(dataset, ["a", "b"])
    (tmp_path / "b.csv").write_text("gx,ax,ay\n" + "9,1,2\n" * 4)
    dataset = load_dataset(config)
    dataset.read("a")
    with pytest.raises(
        DataError, match="Recording 'b' in .* has only some columns of recording 'a': 'gz' is missing; name"
    ):
        dataset.read("b")
    for head in ("p,q,r\n", ""):  # columns of other names, or without, are told apart by their places
        (tmp_path / "b.csv").write_text(head + "9,1,2\n" * 4)
        dataset = load_dataset(config)
        assert dataset.read("a")[0, 2] == 9 and dataset.read("b")[0, 0] == 9
        assert common_channels(dataset, ["a", "b"]) == ()


def test_names_differ_in_case_alone_and_columns_that_are_said_keep_their_order(config, tmp_path, caplog):
    config.data.update(num_channels=0, fps=20.0)
    (tmp_path / "a.npy").unlink()
    (tmp_path / "a.csv").write_text("ax,ay,gz\n" + "1,2,9\n" * 4)
    (tmp_path / "b.csv").write_text("GZ,AX,AY\n" + "9,1,2\n" * 4)
    dataset = load_dataset(config)
    np.testing.assert_array_equal(dataset.read("a"), dataset.read("b"))
    (tmp_path / "b.csv").write_text("p,q,r\n" + "9,1,2\n" * 4)
    dataset = load_dataset(config)
    dataset.read("a"), dataset.read("b")
    assert "has other columns than recording 'a', 'p' for 'ax'; they are read by place" in caplog.text
    (tmp_path / "b.csv").write_text("gz,ax,ay\n" + "9,1,2\n" * 4)
    config.data.csv_columns = (1, 2)
    dataset = load_dataset(config)
    np.testing.assert_array_equal(dataset.read("a"), [[1, 2]] * 4)
    np.testing.assert_array_equal(dataset.read("b"), [[9, 1]] * 4)


def test_channels_are_in_the_order_of_training(config, tmp_path):
    config.data.update(num_channels=0, fps=20.0)
    with config.unlocked():  # as run_config.trained_run does
        config.data.channel_names = ("gz", "ax", "ay")
    (tmp_path / "a.npy").unlink()
    (tmp_path / "a.csv").write_text("ax,ay,gz\n" + "1,2,9\n" * 4)
    for head in ("gz,ax,ay\n", "p,q,r\n", ""):
        (tmp_path / "b.csv").write_text(head + "9,1,2\n" * 4)
        dataset = load_dataset(config)
        np.testing.assert_array_equal(dataset.read("b"), [[9, 1, 2]] * 4)
        np.testing.assert_array_equal(dataset.read("a"), [[9, 1, 2]] * 4)
    (tmp_path / "b.csv").write_text("gz,ax,az\n" + "9,1,2\n" * 4)
    with pytest.raises(
        DataError,
        match="Recording 'b' in .* has only some columns of the training recordings: 'ay' is missing",
    ):
        load_dataset(config).read("b")
