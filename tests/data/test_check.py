import json
import re

import ml_collections
import numpy as np
import pytest

from tal_jax.data import sbhar, thumos14
from tal_jax.data.check import check_dataset
from tal_jax.errors import DataError


@pytest.fixture
def database():
    return {
        "first": {"subset": "train", "duration": 10, "annotations": [{"label": "run", "segment": [1, 2]}]},
        "second": {"subset": "test", "annotations": [{"label": "jump", "segment": [3, 4]}]},
    }


@pytest.fixture
def check(tmp_path, database):
    """Checks the data set as the test has changed it: 100 features of 2 channels, 10 a second, for each recording."""
    config = ml_collections.ConfigDict(dict(data=sbhar.data_config(), window=dict(frames=64)))
    config.data.update(name="folder", annotations=str(tmp_path / "labels.json"), features=str(tmp_path), fps=10.0)
    config.data.update(samples_per_frame=1, num_channels=2)
    for name in database:
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(100, 2)))

    def run(**fields):
        config.data.update(fields)
        (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
        return check_dataset(config)[1]

    return run


def test_a_good_data_set(check):
    assert check() == []


@pytest.mark.parametrize(
    "name, segments, sentence",
    [
        ("first", [[2, 1]], "Recording 'first' has 'run' from 2 s to 1 s: the end is not after the start."),
        ("first", [[2, 2]], "Recording 'first' has 'run' from 2 s to 2 s: the end is not after the start."),
        ("first", [[-1, 2]], "Recording 'first' has 'run' from -1 s to 2 s: it begins before the recording."),
        ("first", [[9, 11]], "Recording 'first' has 'run' from 9 s to 11 s: it ends after the recording, which lasts 10.00 s."),
        ("second", [[9, 11]], "Recording 'second' has 'run' from 9 s to 11 s: it ends after the recording, which lasts 10.00 s."),
        ("second", [[1, 2], [1, 2]], "Recording 'second' has 'run' from 1 s to 2 s more than once."),
        ("second", [], "Note: recording 'second' has no annotation."),
    ],
)
def test_annotations(check, database, name, segments, sentence):
    database[name]["annotations"] = [{"label": "run", "segment": segment} for segment in segments]
    assert check() == [sentence]


def test_training_recordings_without_any_annotation_are_a_problem(check, database):
    database["first"]["annotations"] = []
    assert check() == [
        "No recording of the subset 'train' has an annotation to learn from.",
        "Note: recording 'first' has no annotation.",
    ]


def test_the_same_segment_with_two_labels_is_fine(check, database):
    database["first"]["annotations"].append({"label": "jump", "segment": [1, 2]})
    assert check() == []


@pytest.mark.parametrize(
    "features, sentence",
    [
        (np.full((100, 2), np.nan), "NaN or infinite features in 100 of 100 rows, the first is row 0"),
        (
            np.where(np.arange(200).reshape(100, 2) == 5, np.inf, np.eye(100, 2)),
            "NaN or infinite features in 1 of 100 rows, the first is row 2",
        ),
        (np.ones((100, 3)), "has 3 channels, but config.data.num_channels is 2"),
        (np.ones(100), r"first.npy holds an array of shape \(100,\)"),
        (np.eye(50, 2), "is 10.00 s long as annotated, but its 50 features at 10 fps and stride 1 cover 5.00 s; one"),
    ],
)
def test_features(check, tmp_path, features, sentence):
    np.save(tmp_path / "first.npy", features)
    (problem,) = check()
    assert problem.startswith("Recording 'first'") and re.search(sentence, problem)


def test_missing_and_damaged_files(check, tmp_path):
    (tmp_path / "first.npy").unlink()
    (tmp_path / "second.npy").write_bytes(b"")
    missing, *problems = check()
    no_training = "No recording with features has the subset 'train' of config.data.train_subset; the annotations have"
    assert missing == f"{no_training} 'test', 'train'."
    assert problems[0] == "Recording 'first' has no feature file."
    assert problems[1].startswith("Recording 'second'") and "second.npy" in problems[1]


@pytest.mark.parametrize("field", ["test_subset", "clips_subset"])
def test_subset_that_no_recording_has(check, database, field):
    del database["second"]
    sentence = f"No recording with features has the subset 'other' of config.data.{field}; the annotations have 'train'."
    assert check(**{"test_subset": "train", field: "other"}) == [sentence]


def test_proposals(tmp_path, database, check):
    check()
    config = ml_collections.ConfigDict(
        dict(data=sbhar.data_config(), window=dict(frames=64), proposals=f"{tmp_path}/proposals.json")
    )
    config.data.update(name="folder", annotations=str(tmp_path / "labels.json"), features=str(tmp_path), fps=10.0)
    config.data.update(samples_per_frame=1, num_channels=2)
    summary, problems = check_dataset(config)
    assert problems == [f"Cannot read the proposals file {tmp_path}/proposals.json: No such file or directory."]
    results = {"first": [{"segment": [1, 2]}, {"segment": [2, 1]}], "nobody": [{"segment": [1, 2]}]}
    (tmp_path / "proposals.json").write_text(json.dumps({"results": results}))
    told, problems = check_dataset(config)
    assert problems == []
    assert told == (
        f"{summary}\n{tmp_path}/proposals.json: 3 proposals read, 1 kept, in 1 of 2 recordings; dropped: 1 of recordings that the "
        "annotations lack, 1 empty or reversed; cut at an end of their recording: 0. Not in the annotations: nobody."
    )
    assert config.proposals == f"{tmp_path}/proposals.json"


def test_a_data_set_that_cannot_be_read_is_an_error(check, tmp_path, database):
    database["first"]["annotations"][0]["segment"] = [1]
    with pytest.raises(DataError, match="recording 'first', annotation 0"):
        check()


def test_the_config_is_left_alone(tmp_path):
    config = ml_collections.ConfigDict(dict(data=thumos14.data_config("features")))
    config.data.features = str(tmp_path)
    with pytest.raises(DataError):
        check_dataset(config)
    assert config.data.allow_missing is False


def test_sbhar_is_in_order():
    summary, problems = check_dataset(ml_collections.ConfigDict(dict(data=sbhar.data_config(), window=dict(frames=512))))
    assert problems == []
    first, classes, actions = summary.splitlines()
    assert first == "61 recordings (42 train, 19 test), 6.24 hours; 112247 frames of 60 values"
    assert classes.startswith("12 classes: walking, ")
    assert actions == "1214 actions of 1.48 to 40.64 s; the longest takes 203 frames, a window has 512"


def test_recordings_that_cannot_be_used_do_not_end_the_check(check, tmp_path, database):
    (tmp_path / "first.npy").write_bytes(b"")
    problems = check(fps=0.0)  # then the length of the file is needed for its rate
    assert len(problems) == 2
    assert problems[0].startswith("Recording 'first': Cannot read the feature file")
    assert "Recording 'second' has neither 'fps' nor 'duration'" in problems[1]


def test_what_is_special_about_files_is_noted(check, tmp_path):
    (tmp_path / "first.npy").unlink()
    rows = "".join(f"{i},{np.sin(i)},5\n" for i in range(100))
    (tmp_path / "first.csv").write_text(",ax,ay\n" + rows)
    assert check() == [
        "Note: recording 'first' has the number of the row in column 1, which is left out.",
        "Note: 1 recordings have channels that never change; the first is 'first', channels 2.",
    ]


def test_features_that_never_change_are_a_problem(check, tmp_path):
    np.save(tmp_path / "first.npy", np.ones((100, 2)))
    assert check() == ["1 recordings have no channel that ever changes; the first is 'first'."]


def test_features_beyond_float32_are_a_problem(check, tmp_path):
    np.save(tmp_path / "first.npy", np.where(np.arange(200).reshape(100, 2) == 7, 1e300, np.eye(100, 2)))
    assert check() == ["Recording 'first' has NaN or infinite features in 1 of 100 rows, the first is row 3."]
