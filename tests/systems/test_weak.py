"""The path from labels without times to detections: data, training, prediction."""

import json

import numpy as np
import pytest

from configs import folder as folder_config
from tal_jax import evaluate, predict, train
from tal_jax.data import features, load_dataset
from tal_jax.data.check import annotation_problems
from tal_jax.data.feature_files import read_features
from tal_jax.data.features import data_config
from tal_jax.errors import DataError
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tal_jax.systems.kt_mgfn.examples import training_examples, trimmed_clips
from tal_jax.systems.weak import weak_windows
from tests import tiny_config


def weak_config(system, folder, **window):
    """A small ECM or KT-MGFN on the tiny data set, 5 frames a second, each described by the 0.8 s around it."""
    config = ecm_config() if system == "ecm" else kt_mgfn_config()
    config.name = system
    config.data = tiny_config.get_config("toy").data
    config.data.update(
        annotations=str(folder / "labels.json"),
        features=str(folder),
        samples_per_frame=2,
        statistics_samples=8,
    )
    config.window.update(frames=32, snippets=32, train_stride_frames=4, test_stride_frames=16, **window)
    config.evaluate.tious = (0.3, 0.5)
    config.train.update(batch_size=8, learning_rate=3e-3)
    config.parallel.max_devices = 1
    if system == "ecm":
        config.decode.nms_extra_sec = 0.0
        config.model.hidden = 16
        config.train.epochs = 6
        return config
    config.model.update(width=16, predictor_width=16, anchors=(4.0, 8.0, 16.0))
    config.stages.update(source_epochs=3, target_epochs=6, boundary_epochs=2)
    return config


def test_windows_and_their_labels(tiny_data):
    config = weak_config("ecm", tiny_data)
    config.window.update(frames=20, train_stride_frames=20)
    dataset = load_dataset(config)
    assert dataset.annotations.classes == ("fast", "slow")
    found = {(item.name, item.offset): item.classes for item in weak_windows(config, dataset)}
    # monday: slow 1.2-4.4 s, fast 6-8.4, slow 11-15, fast 17-20.6 of 22; windows of 4 s, the last one flush
    # with the end
    assert [found.get(("monday", offset)) for offset in (0, 20, 40, 60, 80, 90)] == [
        (1,),
        (0,),
        (1,),
        (1,),
        (0,),
        (0,),
    ]
    config.window.min_label_sec = 0.3  # of slow there is 0.4 s in the second window, of fast in the third
    assert [item.classes for item in weak_windows(config, dataset)][:3] == [(1,), (0, 1), (0, 1)]
    config.window.frames = 0
    assert [(item.offset, item.classes) for item in weak_windows(config, dataset)] == [(0, (0, 1))] * 2


def test_trimmed_clips(tiny_data):
    clips = trimmed_clips(weak_config("kt_mgfn", tiny_data), load_dataset(weak_config("kt_mgfn", tiny_data)))
    assert clips[:2] == [("monday", 6, 22, 1), ("monday", 30, 42, 0)] and len(clips) == 8


def rewritten(tiny_data, folder, change):
    """A copy of the data set whose database went through `change`."""
    for path in tiny_data.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    content = json.loads((folder / "labels.json").read_text())
    change(content["database"])
    (folder / "labels.json").write_text(json.dumps(content))
    return folder


def without_times(database):
    for annotation in database["monday"]["annotations"]:
        del annotation["segment"]


def test_labels_alone_train_on_whole_recordings_only(tiny_data, tmp_path):
    config = weak_config("ecm", rewritten(tiny_data, tmp_path, without_times))
    with pytest.raises(
        DataError,
        match="'monday' has labels without times and 110 features, more than a window; set config.window.fr",
    ):
        weak_windows(config, load_dataset(config))
    config.window.frames = 0
    assert len(weak_windows(config, load_dataset(config))) == 2
    assert len(trimmed_clips(config, load_dataset(config))) == 4  # of tuesday
    afsd = tiny_config.get_config("afsd")
    afsd.data.update(annotations=config.data.annotations, features=config.data.features)
    with pytest.raises(DataError, match="'monday' has a label without times .* training afsd needs times"):
        train.train(afsd, tmp_path / "run")
    config.data.test_subset = "train"
    with pytest.raises(DataError, match="'monday' has a label without times .* scoring needs times"):
        train.train(config, tmp_path / "run")


def one_with_times(database):
    for day, kept in (("monday", 1), ("tuesday", 0)):
        for annotation in database[day]["annotations"][kept:]:
            del annotation["segment"]


def test_clips_are_augmented_as_windows_are(tiny_data, tmp_path):
    config = weak_config("kt_mgfn", rewritten(tiny_data, tmp_path, one_with_times))
    config.window.frames = 0
    examples = {}
    for scale in (0.0, 0.5):
        config.augment.scale = scale
        items, make_example = training_examples(config, load_dataset(config))
        examples[scale] = make_example(items[0], np.random.default_rng(0))
    assert examples[0.0]["clip_labels"].tolist() == [0, 1]  # the one action with times
    for name in ("inputs", "clip_inputs"):
        ratio = (examples[0.5][name] / examples[0.0][name]).ravel()
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
        assert abs(ratio[0] - 1) > 0.01, name


def add_clip(database):
    database["holiday"] = {
        "subset": "clips",
        "duration": 3.0,
        "annotations": [{"label": "slow", "segment": [0, 3]}],
    }


def test_clips_that_are_not_there(tiny_data, tmp_path):
    config = weak_config("kt_mgfn", tiny_data)
    config.data.clips_subset = "clips"
    with pytest.raises(
        DataError,
        match="'clips' of config.data.clips_subset; the annotations have 'test', 'train'. Add .*row=cascade",
    ):
        training_examples(config, load_dataset(config))
    config = weak_config("kt_mgfn", rewritten(tiny_data, tmp_path, add_clip))
    config.data.update(clips_subset="clips", allow_missing=True)
    with pytest.raises(
        DataError, match="No recording of 'clips', the subset of trimmed clips, has features; add them, or"
    ):
        training_examples(config, load_dataset(config))


def test_a_recording_without_labels_is_left_out(tiny_data, tmp_path, caplog):
    config = weak_config(
        "ecm", rewritten(tiny_data, tmp_path, lambda database: database["monday"].update(annotations=[]))
    )
    config.window.frames = 0
    assert [item.name for item in weak_windows(config, load_dataset(config))] == ["tuesday"]
    assert "Recording 'monday' of the subset 'train' has no label; it is left out." in caplog.text


@pytest.mark.parametrize(
    "change, fields, sentence",
    [
        (
            lambda d: [d[day].update(annotations=[]) for day in ("monday", "tuesday")],
            {},
            "No window of the subset 'train' has a label",
        ),
        (
            lambda d: None,
            {"window.frames": 2, "window.min_label_sec": 9.0, "window.train_stride_frames": 109},
            "has a label; annotate its recordings",
        ),
        (lambda d: d["monday"]["annotations"][0].update(label=3), {}, "annotation 0: field 'label'"),
    ],
)
def test_what_cannot_be(tiny_data, tmp_path, change, fields, sentence):
    config = weak_config("ecm", rewritten(tiny_data, tmp_path, change))
    config.update_from_flattened_dict(fields)
    with pytest.raises(DataError, match=sentence):
        weak_windows(config, load_dataset(config))


def test_published_feature_files(tmp_path):
    rng = np.random.default_rng(0)
    rgb, flow = rng.normal(size=(2, 7, 3)).astype(np.float32)
    np.savez(tmp_path / "ecm.npz", feat_spa=rgb.T, feat_tem=flow.T, cls_label=np.ones(2))
    np.testing.assert_array_equal(
        read_features(tmp_path / "ecm.npz", data_config()).array, np.concatenate([rgb, flow], axis=1)
    )
    for stream, array in (("rgb", rgb), ("flow", flow)):
        (tmp_path / "train" / stream).mkdir(parents=True)
        np.save(tmp_path / "train" / stream / "v.npy", array)
    np.testing.assert_array_equal(
        read_features(tmp_path / "train" / "rgb" / "v.npy", data_config()).array,
        np.concatenate([rgb, flow], axis=1),
    )
    np.save(tmp_path / "train" / "flow" / "v.npy", flow[0])
    with pytest.raises(DataError, match=r"flow.v.npy holds an array of shape \(3,\)"):
        read_features(tmp_path / "train" / "rgb" / "v.npy", data_config())


def test_features_spread_over_the_frames_of_a_recording(tiny_data):
    config = weak_config("ecm", tiny_data)
    config.data.update(samples_per_frame=1, statistics_samples=0, stride_frames=0, fps=30.0)
    timeline = load_dataset(config).timeline("sunday")  # 9 s, 90 features
    np.testing.assert_allclose(timeline.to_seconds([0, 45, 90]), [0, 4.5, 9])
    assert timeline.stride_frames == 3


@pytest.mark.parametrize("system, least", [("ecm", 50), ("kt_mgfn", 30)])
def test_learning_from_labels_of_windows(tiny_data, tmp_path, system, least):
    config = weak_config(system, tiny_data)
    result = train.train(config, tmp_path)
    assert result["map"]["0.3"] > least
    assert Checkpoints.exist(tmp_path)
    predict.predict(config, tmp_path, "sunday", draw="cas")
    with np.load(tmp_path / "predictions" / "sunday.cas.npz") as saved:
        assert saved["cas"].shape == (45, 2) and saved["classes"].tolist() == ["fast", "slow"]
        times_sec, cas = saved["times_sec"], saved["cas"]
    np.testing.assert_allclose(times_sec[:2], [0.1, 0.3])
    inside = (times_sec > 1.5) & (times_sec < 3.5)  # slow from 1 to 4 s
    outside = (times_sec < 0.5) | (times_sec > 8.5)
    assert cas[inside, 1].mean() > cas[outside, 1].mean()
    assert (tmp_path / "predictions" / "sunday.png").exists()
    config.evaluate.second_workdir = str(tmp_path)
    with pytest.raises(DataError, match=f"A run of {system} and one of {system} cannot be fused; clear"):
        evaluate.evaluate(config, tmp_path)


def whole_config(folder):
    """A small ECM on whole recordings, the features of each spread over its frames, 30 a second."""
    config = folder_config.get_config("ecm")
    config.data.update(
        annotations=str(folder / "labels.json"), features=str(folder), stride_frames=0, fps=30.0
    )
    config.window.snippets = 24
    config.model.hidden = 8
    config.train.update(epochs=2, batch_size=2)
    config.parallel.max_devices = 1
    return config


def test_whole_recordings_are_not_read_before_they_are_trained_on(tiny_data, monkeypatch):
    config = whole_config(tiny_data)
    dataset = load_dataset(config)
    monkeypatch.setattr(features, "read_features", None)
    assert [(item.name, item.offset, item.classes) for item in weak_windows(config, dataset)] == [
        ("monday", 0, (0, 1)),
        ("tuesday", 0, (0, 1)),
    ]
    assert annotation_problems(dataset) == []


def test_whole_recordings_of_any_length_and_a_new_one(tiny_data, tmp_path):
    config = whole_config(tiny_data)
    result = train.train(config, tmp_path)  # of 22 s and of 20 s, tested on 9 s
    assert result["counts"]["recordings"] == 1
    detections = json.loads((tmp_path / "detections.json").read_text())["results"]["sunday"]
    assert detections and all(0 <= d["segment"][0] < d["segment"][1] <= 9 for d in detections)

    rows = np.random.default_rng(0).standard_normal((130, 3))
    (tmp_path / "new.csv").write_text("x,y,z\n" + "\n".join(",".join(map(str, row)) for row in rows))
    with pytest.raises(
        DataError, match="How long .*new.csv lasts is not known; say how many frames apart its features are"
    ):
        predict.predict(config, tmp_path, str(tmp_path / "new.csv"))
    config.data.update(stride_frames=3, snippet_frames=3)
    said = ["data.stride_frames", "data.snippet_frames"]
    predict.predict(config, tmp_path, str(tmp_path / "new.csv"), draw="cas", said=said)
    with np.load(tmp_path / "predictions" / "new.cas.npz") as saved:
        assert saved["cas"].shape == (130, 2)
        np.testing.assert_allclose(saved["times_sec"][[0, -1]], [0.05, 12.95])
