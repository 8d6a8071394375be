"""Ego4D's moments queries as they are published: clips of videos, with the labels of several annotators."""

import copy
import json

import ml_collections
import numpy as np
import pytest

from tal_jax.data import dataset_annotations, load_dataset
from tal_jax.data.sets import ego4d
from tal_jax.errors import DataError


def moment(label, start, end, primary=True):
    times = dict(start_time=start, end_time=end, start_frame=round(30 * start), end_frame=round(30 * end))
    return dict(label=label, primary=primary, **{f"video_{name}": value for name, value in times.items()})


def clip(uid, start, end, *annotators):
    """A clip at 30 frames a second."""
    labels = [dict(annotator_uid=f"annotator{i}", labels=[*rows]) for i, rows in enumerate(annotators)]
    frames = dict(video_start_frame=round(30 * start), video_end_frame=round(30 * end))
    return dict(clip_uid=uid, video_start_sec=start, video_end_sec=end, **frames, annotations=labels)


def published(split, *clips):
    return dict(
        version="1", date="220429", videos=[dict(video_uid=f"of_{split}", split=split, clips=[*clips])]
    )


TRAIN = published(
    "train",
    clip("a", 0.0, 480.0, [moment("read_a_book", 10.0, 20.0), moment("use_phone", 12.0, 15.0)],
         [moment("use_phone", 12.5, 15.5), moment("sleep", 1.0, 2.0, primary=False)]),
    clip("b", 480.2, 500.0, [moment("wash_hands", 481.0, 490.0), moment("wash_hands", 482.0, 482.2),
                             moment("wash_hands", 483.0, 481.5)]),
)  # fmt: skip
VAL = published("val", clip("c", 7.0, 30.0, []))


@pytest.fixture
def config(tmp_path):
    config = ml_collections.ConfigDict(dict(data=ego4d.data_config(num_channels=4)))
    config.data.update(annotations=str(tmp_path), features=str(tmp_path))
    write(tmp_path)
    return config


def write(folder, train=TRAIN, val=VAL):
    (folder / "moments_train.json").write_text(json.dumps(train))
    (folder / "moments_val.json").write_text(json.dumps(val))


def test_clips_are_recordings_and_primary_labels_are_actions(config, caplog):
    found = dataset_annotations(config)
    assert found.classes == ("read_a_book", "use_phone", "wash_hands")
    assert [(r.name, r.subset, r.fps) for r in found.recordings.values()] == [
        ("a", "train", None), ("b", "train", None), ("c", "val", None)
    ]  # fmt: skip
    first = found.recordings["a"]
    np.testing.assert_array_equal(first.labels, [0, 1, 1])
    np.testing.assert_allclose(first.segments_sec, [[10, 20], [12, 15], [12.5, 15.5]])
    assert first.duration_sec == 480.0  # 14400 frames: a multiple of 16, as the 32 of a feature are
    # Clip b begins at frame 14406, 6 after the grid of features, and ends 14 frames short of it.
    second = found.recordings["b"]
    np.testing.assert_allclose(second.segments_sec, [[0.8 + 0.2, 9.8 + 0.2]])
    assert second.duration_sec == pytest.approx((594 + 6 + 8) / 30)
    assert not len(found.recordings["c"].labels)
    assert "moments shorter than 0.25 s: 2" in caplog.text


def test_test_clips_without_annotations_and_features(config, tmp_path):
    unannotated = clip("d", 0.0, 16.0)
    del unannotated["annotations"]
    (tmp_path / "moments_test_unannotated.json").write_text(json.dumps(published("test", unannotated)))
    assert dataset_annotations(config).recordings["d"].subset == "test"
    for name in "abc":
        np.save(tmp_path / f"{name}.npy", np.ones((5, 4), np.float32))
    dataset = load_dataset(config)
    np.testing.assert_allclose(dataset.timeline("a").to_seconds([0.5, 1.5]), [16 / 30, 32 / 30])


def test_a_clip_of_no_possible_rate_is_left_out(config, tmp_path, caplog):
    train = copy.deepcopy(TRAIN)
    train["videos"][0]["clips"][0]["video_end_frame"] = 100
    write(tmp_path, train)
    assert [*dataset_annotations(config).recordings] == ["b", "c"]
    assert "clips of no possible frame rate: 1" in caplog.text


def changed(*path, value=None):
    """The training file with another value at a path; None: without the field."""
    content = copy.deepcopy(TRAIN)
    *parents, last = path
    entry = content
    for step in parents:
        entry = entry[step]
    if value is None:
        del entry[last]
    else:
        entry[last] = value
    return content


CLIP = ("videos", 0, "clips", 0)
LABEL = (*CLIP, "annotations", 0, "labels", 0)


@pytest.mark.parametrize("content, sentence", [
    ([1], r"moments_train.json must be an object with the fields 'videos'"),
    (changed("videos", value={}), "field 'videos' must be a list"),
    (changed("videos", 0, "split", value="dev"), "video 0: field 'split' must be one of train, val, test, found 'dev'"),
    (changed("videos", 0, "clips"), "video 0: field 'clips' is missing"),
    (changed(*CLIP, "clip_uid", value=7), "video 0, clip 0: field 'clip_uid' must be a text, found 7"),
    (changed(*CLIP, "clip_uid", value="b"), "clip 'b': the clip is there twice"),
    (changed(*CLIP, "video_end_sec", value="late"), "clip 'a': field 'video_end_sec' must be a finite number"),
    (changed(*CLIP, "video_end_sec", value=-1.0), "clip 'a': its end, video_end_sec, is not after its start"),
    (changed(*CLIP, "annotations", value="none"), "clip 'a': field 'annotations' must be a list, found 'none'"),
    (changed(*LABEL, "primary"), "clip 'a', annotator 0, label 0: field 'primary' is missing"),
    (changed(*LABEL, "primary", value="yes"), "label 0: field 'primary' must be true or false, found 'yes'"),
    (changed(*LABEL, "video_start_time", value=[]), "label 0: field 'video_start_time' must be a finite number"),
    (changed(*LABEL, "label", value=3), "field 'label' must be the name of a class, found 3"),
])  # fmt: skip
def test_a_fault_is_one_sentence(config, tmp_path, content, sentence):
    write(tmp_path, content)
    with pytest.raises(DataError, match=sentence):
        dataset_annotations(config)


def test_what_is_missing_is_asked_for(config, tmp_path):
    (tmp_path / "moments_val.json").unlink()
    with pytest.raises(
        DataError, match="moments_val.json: No such file or directory. Get moments_train.json"
    ):
        dataset_annotations(config)
