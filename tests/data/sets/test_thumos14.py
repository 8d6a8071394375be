import ml_collections
import numpy as np
import pytest

from tal_jax.data import load_dataset
from tal_jax.data.sets import thumos14
from tal_jax.errors import DataError


@pytest.fixture
def config():
    return ml_collections.ConfigDict(dict(data=thumos14.data_config("features")))


def test_bundled_annotations():
    annotations = thumos14.bundled_annotations()
    assert len(annotations.classes) == 20 and annotations.classes[:2] == ("BaseballPitch", "BasketballDunk")
    for subset, videos, actions in (("train", 200, 3007), ("test", 210, 3311)):
        recordings = annotations.subset(subset).recordings.values()
        assert len(recordings) == videos and sum(len(r.labels) for r in recordings) == actions
    video = annotations.recordings["video_validation_0000051"]
    assert video.fps == 30 and video.num_frames == 5091 and video.duration_sec == pytest.approx(169.7)
    np.testing.assert_array_equal(video.segments_sec[0], [67.5, 75.9])


def test_training_labels_are_in_the_order_of_the_frame_table():
    recordings = thumos14.bundled_annotations().recordings
    for name, video in thumos14.frame_annotations_10fps().items():
        np.testing.assert_array_equal(recordings[name].labels, video["labels"])


def test_missing_features_are_explained(config, tmp_path):
    config.data.features = str(tmp_path / "i3d")
    with pytest.raises(DataError) as error:
        load_dataset(config)
    for part in ("410 of 410", str(tmp_path / "i3d"), "VIDEO.npy", "I3D features", "--config.data.features="):
        assert part in str(error.value)


def test_missing_frames_are_explained(tmp_path):
    config = ml_collections.ConfigDict(dict(data=thumos14.data_config("flow")))
    config.data.frames = str(tmp_path)
    with pytest.raises(DataError) as error:
        load_dataset(config)
    for part in (
        "410 of 410 recordings have no frames",
        f"{tmp_path}/flow",
        "tal_jax.prepare",
        "--config.data.frames=",
        "input=features",
    ):
        assert part in str(error.value)


def test_frames_come_with_the_published_training_annotations(tmp_path):
    config = ml_collections.ConfigDict(dict(data=thumos14.data_config()))
    config.data.update(frames=str(tmp_path), allow_missing=True, frame_pixels=2)
    name, table = "video_validation_0000051", thumos14.frame_annotations_10fps()
    for folder in ("rgb", "info"):
        (tmp_path / folder).mkdir()
    np.save(tmp_path / "rgb" / f"{name}.npy", np.zeros((1697, 2, 2, 3), np.uint8))
    (tmp_path / "info" / f"{name}.json").write_text('{"fps": 10.0}')
    dataset = load_dataset(config)
    assert dataset.read(name).shape == (1697, 2, 2, 3) and isinstance(dataset.read(name), np.memmap)
    cells = dataset.timeline(name).to_cells(dataset.annotations.recordings[name].segments_sec)
    np.testing.assert_allclose(cells, table[name]["segments_frame"])


def test_some_features(config, tmp_path):
    names = ["video_validation_0000051", "video_test_0000004"]
    for name in names:
        np.save(tmp_path / f"{name}.npy", np.zeros((9, 2048), np.float32))
    config.data.features = str(tmp_path)
    with pytest.raises(DataError, match="408 of 410 .*allow_missing=True"):
        load_dataset(config)
    config.data.allow_missing = True
    dataset = load_dataset(config)
    assert sorted(dataset.annotations.recordings) == sorted(names) and len(dataset.missing) == 408
    assert dataset.read(names[0]).shape == (9, 2048)
    # the centre of the first 16 frames
    np.testing.assert_allclose(dataset.timeline(names[0]).to_seconds(0.5), 8 / 30)
