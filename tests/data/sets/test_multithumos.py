"""MultiTHUMOS as it is published: a text file a class, or one JSON file; several classes at a time."""

import json

import ml_collections
import numpy as np
import pytest

from tal_jax.data import dataset_annotations
from tal_jax.data.check import truth_problems
from tal_jax.data.sets import multithumos
from tal_jax.errors import DataError

KNOWN = "video_validation_0000051"  # of THUMOS14
TEXTS = {
    "class_list.txt": "1 Diving\n2 Jump\n3 Stand\n",
    "annotations/Diving.txt": f"{KNOWN} 10.5 14.0\nvideo_test_0000004 1.0 2.5\n",
    "annotations/Jump.txt": f"{KNOWN} 10.5 14.0\n{KNOWN} 11 12\n",
    "annotations/Stand.txt": "",
}
JSON = {
    KNOWN: {"subset": "training", "duration": 999.0, "actions": [[1, 10.5, 14.0], [2, 10.5, 14.0], [2, 11.0, 12.0]]},
    "video_test_0000004": {"subset": "testing", "duration": 33.5, "actions": [[1, 1.0, 2.5]]},
}  # fmt: skip


@pytest.fixture
def config(tmp_path):
    config = ml_collections.ConfigDict(dict(data=multithumos.data_config()))
    config.data.annotations = str(tmp_path)
    (tmp_path / "annotations").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    return config


def as_json(config, content=JSON):
    """Points the config at a file of this content."""
    folder = config.data.annotations
    config.data.annotations = f"{folder}/multithumos.json"
    with open(config.data.annotations, "w") as file:
        json.dump(content, file)


@pytest.mark.parametrize("form", ["texts", "json"])
def test_both_forms_say_the_same(config, form):
    if form == "json":
        as_json(config)
    found = dataset_annotations(config)
    assert found.classes == ("Diving", "Jump", "Stand")
    known, other = found.recordings[KNOWN], found.recordings["video_test_0000004"]
    assert (known.subset, other.subset) == ("train", "test")
    np.testing.assert_array_equal(known.labels, [0, 1, 1])
    np.testing.assert_array_equal(known.segments_sec, [[10.5, 14], [10.5, 14], [11, 12]])
    assert known.fps == pytest.approx(30, abs=6) and known.duration_sec == known.num_frames / known.fps != 999
    assert truth_problems(found) == []  # two classes at one time are no fault


def test_a_file_of_the_schema_of_activitynet_is_read_too(config):
    database = {KNOWN: {"subset": "train", "annotations": [{"label": "Sit", "segment": [1, 2]}]}}
    as_json(config, {"database": database})
    assert dataset_annotations(config).classes == ("Sit",)


@pytest.mark.parametrize("name, text, sentence", [
    ("class_list.txt", "1 Diving\n1 Jump\n", "class_list.txt, line 2: each class must have a whole number of its own"),
    ("class_list.txt", "1 Diving\ntwo\n", "class_list.txt, line 2 must be 'number name', found 'two'"),
    ("class_list.txt", "1 ../Diving\n", "line 1: the class '../Diving' has a file of another folder"),
    ("class_list.txt", "1 Diving\n2 Run\n", "Run.txt: No such file or directory. Get MultiTHUMOS from"),
    ("annotations/Jump.txt", f"{KNOWN} 5.0\n", f"Jump.txt, line 1 must be 'video start end', found '{KNOWN} 5.0'"),
    ("annotations/Jump.txt", f"{KNOWN} 5.0 x\n", "Jump.txt, line 1: a time must be a finite number, found 'x'"),
    ("annotations/Jump.txt", f"\n{KNOWN} 5.0 4.0\n", "Jump.txt, line 2: an action ends at 4 s, before it begins at 5 s"),
    ("annotations/Jump.txt", "v_1 1 2\n", "Jump.txt, line 1: the name of a video must begin with video_validation_ or"),
])  # fmt: skip
def test_a_fault_in_a_text_is_one_sentence(config, tmp_path, name, text, sentence):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=sentence):
        dataset_annotations(config)


@pytest.mark.parametrize("content, sentence", [
    ([], "the file must be a non-empty object of videos by name"),
    ({"v": {"subset": "training"}}, "video 'v': field 'actions' is missing"),
    ({"v": {"subset": "dev", "actions": []}}, "video 'v': field 'subset' must be one of training, testing, found 'dev'"),
    ({"v": {"subset": "testing", "actions": {}}}, "video 'v': field 'actions' must be a list"),
    ({"v": {"subset": "testing", "actions": [[1, 2]]}}, r"action 0 must be \[number of the class, start, end\], found"),
    ({"v": {"subset": "testing", "actions": [[4, 1, 2]]}}, "action 0: no class of class_list.txt has the number 4"),
    ({"v": {"subset": "testing", "actions": [[1, "a", 2]]}}, "action 0: a time must be a finite number, found 'a'"),
    ({"v": {"subset": "testing", "actions": [[1, 3, 2]]}}, "action 0: an action ends at 2 s, before it begins at 3 s"),
    ({"v": {"subset": "testing", "duration": -1, "actions": []}}, "field 'duration' must be positive"),
])  # fmt: skip
def test_a_fault_in_the_json_file_is_one_sentence(config, content, sentence):
    as_json(config, content)
    with pytest.raises(DataError, match=sentence):
        dataset_annotations(config)


def test_what_is_missing_is_asked_for(config, tmp_path):
    config.data.annotations = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match="class_list.txt: No such file or directory. Get MultiTHUMOS from"):
        dataset_annotations(config)
