import dataclasses
import sys

import numpy as np
import tensorflow_datasets as tfds

from tal_jax.data import tfds_builders
from tal_jax.data.sets import sbhar, thumos14


def some(annotations, names):
    return dataclasses.replace(annotations, recordings={name: annotations.recordings[name] for name in names})


def test_sbhar(tmp_path, monkeypatch):
    annotations = sbhar.bundled_annotations()
    names = ["exp01_user01", "exp03_user02", "exp05_user03"]  # train, test, train
    monkeypatch.setattr(sbhar, "bundled_annotations", lambda: some(annotations, names))
    loaded_before = "tensorflow" in sys.modules
    builder = tfds_builders.Sbhar(data_dir=tmp_path)
    builder.download_and_prepare()
    assert ("tensorflow" in sys.modules) == loaded_before
    assert builder.info.features["labels"].feature.names == list(annotations.classes)
    records = {record["name"].decode(): record for record in builder.as_data_source("train")}
    assert sorted(records) == ["exp01_user01", "exp05_user03"]
    record, recording = records["exp05_user03"], annotations.recordings["exp05_user03"]
    np.testing.assert_array_equal(record["features"], sbhar.read_signal("exp05_user03"))
    np.testing.assert_array_equal(record["segments_sec"], recording.segments_sec)
    np.testing.assert_array_equal(record["labels"], recording.labels)
    assert (record["fps"], record["stride_frames"], record["duration_sec"]) == (50, 1, recording.duration_sec)
    assert len(builder.as_data_source("test")) == 1


def test_thumos14(tmp_path, monkeypatch):
    names = ["video_validation_0000051", "video_test_0000004"]
    annotations = some(thumos14.bundled_annotations(), names)
    monkeypatch.setattr(thumos14, "bundled_annotations", lambda: annotations)
    (tmp_path / "i3d").mkdir()
    features = np.random.default_rng(0).normal(size=(5, 2048)).astype(np.float32)
    for name in names:
        np.save(tmp_path / "i3d" / f"{name}.npy", features)
    builder = tfds_builders.Thumos14(data_dir=tmp_path)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=tmp_path / "i3d"))
    (record,) = builder.as_data_source("test")
    np.testing.assert_array_equal(record["features"], features)
    assert (record["fps"], record["stride_frames"], record["snippet_frames"]) == (30, 4, 16)
    assert len(record["labels"]) == len(annotations.recordings["video_test_0000004"].labels)
