"""`config.data.ignored_labels`: never classes, never actions, wherever a user's own annotations are read."""

import json
import logging

import numpy as np
import pytest

from configs import sbhar
from tal_jax.check_data import check_dataset
from tal_jax.data import dataset_annotations, load_dataset
from tal_jax.data.annotations import load_annotations
from tal_jax.data.check import annotation_problems
from tal_jax.data.proposals import read_proposals
from tal_jax.errors import DataError
from tal_jax.systems.weak import weak_windows


@pytest.fixture
def database():
    rows = [("slow", [1, 4]), ("Ambiguous", [5, 6]), ("fast", [7, 8]), ("Ambiguous", [2, 3])]
    annotations = [{"label": label, "segment": segment} for label, segment in rows]
    return {
        "a": {"subset": "train", "duration": 9, "annotations": [*annotations, {"label": "Ambiguous"}]},
        "b": {"subset": "test", "duration": 9, "annotations": [{"label": "Ambiguous", "segment": [0, 2]}]},
    }


@pytest.fixture
def config_of(tiny, tmp_path, database):
    """Function (**fields of config.data) -> config of the database, 90 features of 3 channels for each
    recording.
    """

    def make(**fields):
        (tmp_path / "labels.json").write_text(
            json.dumps({"database": database, "classes": ["slow", "Ambiguous", "fast"]})
        )
        for name in database:
            np.save(tmp_path / f"{name}.npy", np.arange(270, dtype=np.float32).reshape(90, 3))
        config = tiny()
        config.data.update(annotations=str(tmp_path / "labels.json"), features=str(tmp_path), **fields)
        return config

    return make


@pytest.mark.parametrize("name", ["folder", "sbhar", "thumos14", "activitynet"])
def test_ambiguous_is_no_class_of_any_data_set(config_of, name, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    config = config_of(name=name)
    for annotations in (load_dataset(config).annotations, dataset_annotations(config)):
        assert annotations.classes == ("slow", "fast")
        recording = annotations.recordings["a"]
        np.testing.assert_array_equal(recording.segments_sec, [[1, 4], [7, 8]])
        np.testing.assert_array_equal(recording.labels, [0, 1])
        np.testing.assert_array_equal(recording.ignored_sec, [[5, 6], [2, 3]])
    assert "Intervals with an ignored label (config.data.ignored_labels: Ambiguous): 3." in caplog.messages


def test_ambiguous_is_no_class_of_frames(config_of):
    assert dataset_annotations(config_of(name="shapes")).classes == ("slow", "fast")


def test_other_labels_are_ignored_if_asked_for(config_of):
    assert dataset_annotations(config_of(ignored_labels=())).classes == ("slow", "Ambiguous", "fast")
    annotations = dataset_annotations(config_of(ignored_labels=("slow", "Ambiguous")))
    assert annotations.classes == ("fast",)
    np.testing.assert_array_equal(annotations.recordings["a"].ignored_sec, [[1, 4], [5, 6], [2, 3]])


def test_ignored_intervals_are_no_actions_of_class_agnostic_data(config_of):
    recording = load_dataset(config_of(class_agnostic=True)).annotations.recordings["a"]
    assert len(recording.labels) == len(recording.segments_sec) == len(recording.ignored_sec) == 2


def test_an_ignored_label_is_no_label_to_learn_from(config_of, database, caplog):
    database["c"] = database["b"] | {"subset": "train"}
    config = config_of()
    config.window.frames = 0
    assert [(window.name, window.classes) for window in weak_windows(config, load_dataset(config))] == [
        ("a", (0, 1))
    ]
    assert "Recording 'c' of the subset 'train' has no label; it is left out." in caplog.text


def test_a_proposal_with_an_ignored_label_has_no_class(tmp_path, config_of):
    rows = [
        {"segment": [1, 2], "label": "Ambiguous", "score": 0.9},
        {"segment": [1, 2], "label": "fast", "score": 0.8},
    ]
    (tmp_path / "proposals.json").write_text(json.dumps({"results": {"a": rows}}))
    found, _ = read_proposals(tmp_path / "proposals.json", dataset_annotations(config_of()))
    np.testing.assert_array_equal(found["a"].labels, [-1, 1])


def test_the_check_tells_of_ignored_intervals(config_of, database):
    database["a"]["annotations"][1]["segment"] = [6, 5]
    database["a"]["annotations"][3]["segment"] = [2, 30]
    config = config_of()
    summary, problems = check_dataset(config)
    assert (
        "\n3 intervals with an ignored label (config.data.ignored_labels: Ambiguous)\n" in summary
        and "2 classes:" in summary
    )
    wrong = [
        "Recording 'a' has an ignored label from 6 s to 5 s: the end is not after the start.",
        "Recording 'a' has an ignored label from 2 s to 30 s: it ends after the recording, which lasts 9.00 "
        "s.",
    ]
    assert problems == [
        "No recording of the subset 'test' has an action to score against: all 1 have a label of "
        "config.data.ignored_labels; ignore "
        "fewer labels.",
        *wrong,
        "Note: recording 'b' has no annotation but of labels in config.data.ignored_labels.",
    ]
    assert annotation_problems(load_dataset(config)) == wrong
    assert "ignored" not in check_dataset(config_of(ignored_labels=()))[0]


def test_a_file_need_not_list_ambiguous_among_its_classes(tmp_path, database):
    (tmp_path / "labels.json").write_text(json.dumps({"database": database, "classes": ["slow", "fast"]}))
    assert load_annotations(tmp_path / "labels.json").classes == ("slow", "fast")


def test_a_class_of_bundled_annotations_is_not_ignored_in_silence():
    config = sbhar.get_config("dw_afsd")
    config.data.ignored_labels = ("sitting",)
    for read in (load_dataset, dataset_annotations):
        with pytest.raises(
            DataError, match="ignored_labels has 'sitting', a class of the annotations that come with 'sbhar'"
        ):
            read(config)
