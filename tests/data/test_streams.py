"""Two streams of unequal length: in one feature file, and of two data sets."""

import json
import logging

import numpy as np
import pytest

from tal_jax.data import features, load_dataset
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.feature_files import read_features
from tal_jax.data.features import build_dataset, data_config
from tal_jax.data.streams import aligned, common_length
from tal_jax.data.timeline import Timeline
from tal_jax.errors import DataError
from tests import tiny_config


@pytest.mark.parametrize(
    "lengths, common",
    [((7, 7), 7), ((7, 5), 5), ((5, 7), 5), ((300, 299), 299), ((300, 297), 297), ((1000, 990), 990)],
)
def test_two_rows_or_one_percent_are_cut(lengths, common):
    assert common_length(lengths, "a", "here") == common


@pytest.mark.parametrize("lengths", [(7, 4), (4, 7), (299, 296), (1000, 989)])
def test_more_is_another_recording(lengths):
    found = f"recording 'a' in here have {lengths[0]} and {lengths[1]} rows"
    with pytest.raises(DataError, match=f"{found}, .*; make both of the same"):
        common_length(lengths, "a", "here")


def test_what_is_done_with_streams_is_told_once_a_data_set(tmp_path, caplog):
    recordings = {}
    for name, rows in (("a", 5), ("b", 4), ("c", 4)):
        np.savez(tmp_path / f"{name}.npz", rgb=np.ones((5, 3)), flow=np.ones((rows, 3)))
        recordings[name] = Recording(name, "train", 30.0, np.zeros((0, 2)), np.zeros(0, np.int32))
    for _ in range(2):  # a second data set of the folder tells it again
        dataset = features.folder_dataset(Annotations(("x",), recordings), tmp_path, data_config())
        for name in recordings:
            dataset.read(name)
        (message,) = caplog.messages
        assert message == (
            f"Recording 'b' in {tmp_path} has two streams that differ in length, 5 and 4 rows; both are cut "
            f"to the shorter."
        )
        caplog.clear()


def write_streams(folder, form, lengths):
    """A file of two streams, (T, 3) of ones and (T', 3) of twos; its path."""
    rgb, flow = np.ones((lengths[0], 3), np.float32), np.full((lengths[1], 3), 2, np.float32)
    if form == "npz":
        np.savez(folder / "a.npz", feat_spa=rgb.T, feat_tem=flow.T)
        return folder / "a.npz"
    for stream, array in (("rgb", rgb), ("flow", flow)):
        (folder / stream).mkdir()
        np.save(folder / stream / "a.npy", array)
    return folder / "rgb" / "a.npy"


@pytest.mark.parametrize("form", ["npz", "npy"])
@pytest.mark.parametrize("lengths", [(300, 299), (299, 300)])
def test_a_file_of_two_streams_is_cut_and_not_stretched(tmp_path, form, lengths):
    found = read_features(write_streams(tmp_path, form, lengths), data_config())
    np.testing.assert_array_equal(found.array, np.repeat([[1, 1, 1, 2, 2, 2]], 299, axis=0))
    assert found.rows == 300 and found.widths == (3, 3)
    row = {"subset": "train", "duration": 30.0, "annotations": []}
    (tmp_path / "labels.json").write_text(json.dumps({"classes": ["x"], "database": {"a": row}}))
    config = tiny_config.get_config("toy")
    config.data = data_config(annotations=str(tmp_path / "labels.json"), features=str(tmp_path))
    for fields in ({"fps": 0.0}, {"fps": 30.0, "stride_frames": 0}):  # both spread features over the duration
        config.data.update(fields)
        dataset = load_dataset(config)
        np.testing.assert_allclose(dataset.timeline("a").to_seconds([0, 100, 299]), [0, 10, 29.9])
    config.data.samples_per_frame = 2
    np.testing.assert_allclose(load_dataset(config).timeline("a").to_seconds([0, 50, 149]), [0, 10, 29.8])


@pytest.mark.parametrize("form", ["npz", "npy"])
def test_a_file_of_two_recordings_is_refused(tmp_path, form):
    with pytest.raises(DataError, match=f"of recording 'a' in {tmp_path}.* have 300 and 290 rows"):
        read_features(write_streams(tmp_path, form, (300, 290)), data_config())


def dataset_of(length, **fields):
    recording = Recording("a", "train", 30.0, np.zeros((0, 2)), np.zeros(0, np.int32))
    array = np.arange(length, dtype=np.float32)[:, None]
    annotations = Annotations(("x",), {"a": recording})
    return build_dataset(annotations, lambda name: array, {"a"}, data_config(**fields), "here")


@pytest.mark.parametrize("lengths", [(300, 299), (299, 300)])
@pytest.mark.parametrize("fields", [{}, {"fps": 30.0, "stride_frames": 0}, {"fps": 10.0}])
def test_two_data_sets_have_rows_of_one_time(lengths, fields):
    found = aligned([dataset_of(length, **fields) for length in lengths], "there")
    for dataset in found:
        np.testing.assert_array_equal(dataset.read("a")[:, 0], np.arange(299))
        np.testing.assert_allclose(dataset.timeline("a").to_seconds([0, 100, 299]), [0, 10, 29.9])
        assert dataset.duration_sec("a") == 30


def test_one_data_set_stays_as_it_is():
    dataset = dataset_of(300)
    assert aligned([dataset], "there") == [dataset]
    assert dataset.timeline("a") == Timeline(10.0, 1, 1)


def test_two_data_sets_of_other_lengths_are_refused(caplog):
    caplog.set_level(logging.INFO)
    rgb, flow = aligned([dataset_of(300), dataset_of(290)], "runs/rgb and runs/flow")
    with pytest.raises(DataError, match="recording 'a' in runs/rgb and runs/flow have 300 and 290 rows"):
        flow.read("a")
    with pytest.raises(DataError, match="have 300 and 290 rows"):
        rgb.timeline("a")
    assert not caplog.messages


def test_a_recording_without_annotated_duration_is_as_long_as_its_features_see(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((10, 3)))
    row = {"subset": "train"}
    (tmp_path / "labels.json").write_text(json.dumps({"classes": ["x"], "database": {"a": row}}))
    config = tiny_config.get_config("toy")
    config.data = data_config(annotations=str(tmp_path / "labels.json"), features=str(tmp_path), fps=10.0)
    config.data.update(stride_frames=4, snippet_frames=16)
    assert load_dataset(config).duration_sec("a") == (9 * 4 + 16) / 10
    config.data.samples_per_frame = 3
    assert load_dataset(config).duration_sec("a") == (9 * 4 + 16) / 10  # the tenth is in no frame, and counts
    row = {"subset": "train", "duration": 7.5}
    (tmp_path / "labels.json").write_text(json.dumps({"classes": ["x"], "database": {"a": row}}))
    dataset = load_dataset(config)
    (tmp_path / "a.npy").unlink()  # an annotated duration reads nothing
    assert dataset.duration_sec("a") == 7.5
    assert Timeline(10.0, 1, 1).seen_sec(90) == 9


def test_the_longer_stream_and_the_samples_that_folding_drops_count_in_the_duration(tmp_path):
    recording = Recording("a", "test", None, np.zeros((0, 2)), np.zeros(0, np.int32))
    annotations = Annotations(("run",), {"a": recording})
    for stream, rows in (("rgb", 220), ("flow", 218)):
        (tmp_path / stream).mkdir()
        np.save(tmp_path / stream / "a.npy", np.ones((rows, 2), np.float32))
    cut = features.folder_dataset(annotations, tmp_path, data_config(fps=10.0))
    assert len(cut.read("a")) == 218 and cut.duration_sec("a") == pytest.approx(22.0)

    folded = build_dataset(
        annotations, lambda _: np.ones((219, 2)), {"a"}, data_config(fps=10.0, samples_per_frame=10), "here"
    )
    assert len(folded.read("a")) == 21 and folded.duration_sec("a") == pytest.approx(21.9)
    one = dict(fps=10.0, stride_frames=4, snippet_frames=16)
    pair = aligned(
        [
            build_dataset(annotations, lambda _, n=n: np.ones((n, 2)), {"a"}, data_config(**one), "here")
            for n in (5, 6)
        ],
        "p",
    )
    assert [dataset.duration_sec("a") for dataset in pair] == [pytest.approx(3.6)] * 2
