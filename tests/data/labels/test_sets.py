"""Labels as data sets of the field are published."""

import json
import math

import pytest

from tal_jax.errors import DataError
from tests.data.labels.case import actions, counted, read
from tests.data.sets import test_ego4d as published_ego4d
from tests.data.sets import test_epic as published_epic

SCHEMA = {
    "version": "VERSION 1.3",
    "database": {
        "abc": {
            "subset": "training",
            "duration": 20.5,
            "url": "https://example.org",
            "annotations": [
                {"label": "Surfing", "segment": [1.5, 4]},
                {"label": "Ambiguous", "segment": ["5", "6"]},
            ],
        },
        "def": {"subset": "validation", "fps": 25, "subject": "P1", "annotations": [{"label": "Surfing"}]},
    },
}


def test_activitynet(tmp_path):
    kind, labels = read(tmp_path, "activity_net.json", SCHEMA)
    assert kind == "activitynet" and labels.classes == ()
    assert actions(labels)[:2] == [("abc", "Surfing", 1.5, 4.0), ("abc", "Ambiguous", 5.0, 6.0)]
    assert math.isnan(labels.rows[2].start_sec)
    assert labels.recordings == {
        "abc": dict(subjects=set(), others=[], duration=20.5, subset="train"),
        "def": dict(subjects={"P1"}, others=[], fps=25, subset="validation"),
    }
    assert read(tmp_path, "a.json", SCHEMA | {"classes": ["Surfing", "Ambiguous"]})[1].classes == (
        "Surfing",
        "Ambiguous",
    )


def test_thumos(tmp_path):
    text = "video_validation_0000001  72.80 76.4\nvideo_test_0000009 5 9.5\n\n"
    kind, labels = read(tmp_path, "BaseballPitch_val.txt", text)
    assert kind == "thumos"
    assert actions(labels) == [
        ("video_validation_0000001", "BaseballPitch", 72.8, 76.4),
        ("video_test_0000009", "BaseballPitch", 5.0, 9.5),
    ]
    assert [known["subset"] for known in labels.recordings.values()] == ["train", "test"]
    with pytest.raises(DataError, match="Dive.txt, line 2 must be 'VIDEO start end', found 'x 1'"):
        read(tmp_path, "Dive.txt", "x 1 2\nx 1\n")


@pytest.mark.parametrize(
    "column, expected", [((), ["open", "take"]), (("noun_class",), ["cupboard", "plate"])]
)
def test_epic(tmp_path, column, expected):
    for name, text in published_epic.FILES.items():
        (tmp_path / name).write_text(text)
    text = published_epic.FILES["EPIC_100_train.csv"]
    kind, labels = read(tmp_path, "EPIC_100_train.csv", text, label_column=column)
    assert kind == "epic" and labels.label_columns == {*column}
    assert [row[1:] for row in actions(labels)] == [(expected[0], 0.14, 3.37), (expected[1], 64.37, 3606.17)]
    assert labels.recordings["P01_01"] == dict(subjects={"P01"}, others=[], subset="train", duration=3652.15)
    assert len(labels.classes) == (2 if column else 4)  # those without an action too
    with pytest.raises(DataError, match="--label_column=weather must be one of verb, noun"):
        read(tmp_path, "EPIC_100_train.csv", text, label_column=("weather",))


def test_epic_without_its_classes_says_so(tmp_path):
    with pytest.raises(DataError, match="EPIC_100_verb_classes.csv"):
        read(tmp_path, "EPIC_100_train.csv", published_epic.FILES["EPIC_100_train.csv"])


def test_ego4d(tmp_path):
    kind, labels = read(tmp_path, "moments_train.json", json.loads(json.dumps(published_ego4d.TRAIN)))
    assert kind == "ego4d"
    assert actions(labels) == [
        ("a", "read_a_book", 10.0, 20.0),
        ("a", "use_phone", 12.0, 15.0),
        ("a", "use_phone", 12.5, 15.5),
        ("b", "wash_hands", 0.8, 9.8),
    ]
    assert counted(labels) == {"they last less than 0.25 s (Ego4D)": 2}
    assert labels.recordings["a"] == dict(subjects=set(), others=[], duration=480.0, subset="train")


@pytest.mark.parametrize("content", [{}, [], 3, {"videos": [1]}, [[]], [{"a": 1}], {"videos": None}])
def test_json_of_no_known_format_is_one_sentence(tmp_path, content):
    with pytest.raises(
        DataError, match="a.json is in no format that is known, .*say --format=NAME, one of elan"
    ):
        read(tmp_path, "a.json", content)


def test_a_file_of_an_unknown_kind_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="labels.xlsx is in no format that is known"):
        read(tmp_path, "labels.xlsx", b"PK\x03\x04\0")
