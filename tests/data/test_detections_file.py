import json
import os

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.detections_file import read_detections, read_detections_of, times_problem, write_detections
from tal_jax.errors import DataError
from tal_jax.runtime.files import replacing

GOOD = {"label": "run", "segment": [1.25, 2.1], "score": 0.1 + 0.2}


def test_what_is_written_is_read_back_exactly(tmp_path):
    path = tmp_path / "new folder" / "detections.json"
    results = {"ü": [GOOD, {"label": "jump", "segment": [1 / 3, 7.0], "score": 1e-300}], "empty": []}
    write_detections(path, results)
    assert read_detections(path) == results
    content = json.loads(path.read_text())
    assert content["external_data"] == {}
    assert {"version", "results", "external_data"} == content.keys()
    assert [entry.name for entry in path.parent.iterdir()] == ["detections.json"]


def test_numbers_of_numpy_can_be_written(tmp_path):
    path = tmp_path / "detections.json"
    write_detections(
        path, {"v": [{"label": "run", "segment": np.array([0.5, 2.0]), "score": np.float32(0.25)}]}
    )
    assert read_detections(path) == {"v": [{"label": "run", "segment": [0.5, 2.0], "score": 0.25}]}


def test_numbers_may_be_texts_and_further_fields_are_left_aside(tmp_path):
    path = tmp_path / "detections.json"
    path.write_text(
        json.dumps({"results": {"v": [{"label": "run", "segment": ["1.5", " 2"], "score": "0.5", "id": 7}]}})
    )
    assert read_detections(path) == {"v": [{"label": "run", "segment": [1.5, 2.0], "score": 0.5}]}


def test_times_that_can_be_of_no_action_are_counted():
    def recording(name, duration_sec):
        return Recording(name, "test", duration_sec, np.zeros((0, 2)), np.zeros(0, np.int32))

    annotations = Annotations(("run",), {"a": recording("a", 10.0), "b": recording("b", None)})

    def problem(**found):
        return times_problem(
            {n: [GOOD | {"segment": s} for s in segments] for n, segments in found.items()}, annotations
        )

    assert problem(a=[[1, 2], [-1, 1], [9, 11]], b=[[100, 200]], c=[[5, 1]]) == ""
    assert problem(a=[[1, 2], [2, 1], [3, 3], [10, 11], [-2, 0]], b=[[100, 200]]) == (
        "4 of 5 detections lie outside their recording or end before they start; are the times in seconds?"
    )
    assert problem(a=[], b=[]) == problem() == "there is no detection in it."


@pytest.mark.parametrize(
    "text, words",
    [
        ('{"results": ', "not valid JSON at line 1"),
        ("[]", '"results"'),
        ('{"version": "1"}', '"results"'),
        ('{"results": []}', '"results"'),
        ('{"results": {"v": {}}}', "'v' must have a list"),
        ('{"results": {"v": [3]}}', "'v', detection 0 must be an object"),
        (
            json.dumps({"results": {"v": [GOOD, {"label": "run", "segment": [1, 2]}]}}),
            "'v', detection 1: .* 'score' is missing",
        ),
        (json.dumps({"results": {"v": [GOOD | {"label": 3}]}}), "'v', detection 0: field 'label'"),
        (json.dumps({"results": {"v": [GOOD | {"segment": [1]}]}}), "'v', detection 0: field 'segment'"),
        (
            json.dumps({"results": {"v": [GOOD | {"segment": [1, "x"]}]}}),
            "'v', detection 0: field 'segment' .* 'x'",
        ),
        (json.dumps({"results": {"v": [GOOD | {"score": None}]}}), "'v', detection 0: field 'score' .* None"),
        (json.dumps({"results": {"v": [GOOD | {"score": True}]}}), "'v', detection 0: field 'score' .* True"),
        (
            json.dumps({"results": {"v": [GOOD | {"score": float("nan")}]}}),
            "'v', detection 0: field 'score' .* nan",
        ),
    ],
)
def test_errors_name_file_recording_and_field(tmp_path, text, words):
    path = tmp_path / "detections.json"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as error:
        read_detections(path)
    assert str(path) in str(error.value)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere.json: No such file"):
        read_detections(tmp_path / "nowhere.json")
    path = tmp_path / "picture.json"
    path.write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match="picture.json: not a text file"):
        read_detections(path)


def test_a_number_that_is_not_finite_is_not_written(tmp_path):
    path = tmp_path / "detections.json"
    with pytest.raises(DataError, match="'v', detection 0"):
        write_detections(path, {"v": [GOOD | {"score": float("nan")}]})
    assert not os.listdir(tmp_path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "detections.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("ha")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["detections.json"]


def test_recordings_are_called_as_the_annotations_call_them(tmp_path):
    path, annotations = (
        tmp_path / "found.json",
        Annotations(("run",), dict.fromkeys(("rec1", "v_rec2", "Rec3", "rec4"))),
    )
    write_detections(path, {"v_rec1.mp4": [GOOD], "rec2": [], "REC3": [GOOD], "other": [GOOD]})
    assert read_detections_of(path, annotations) == {
        "rec1": [GOOD],
        "v_rec2": [],
        "Rec3": [GOOD],
        "other": [GOOD],
    }


@pytest.mark.parametrize(
    "names, sentence",
    [
        (
            ("rec9", "x"),
            "none of its recordings is in the annotations. Its first is 'rec9', that of the annotations "
            "'rec1'",
        ),
        (("rec1", "v_rec1"), "'rec1' and 'v_rec1' are both the recording 'rec1' of the annotations"),
    ],
)
def test_names_of_no_recording_and_of_the_same_one_are_refused(tmp_path, names, sentence):
    write_detections(tmp_path / "found.json", dict.fromkeys(names, [GOOD]))
    with pytest.raises(DataError, match=sentence):
        read_detections_of(tmp_path / "found.json", Annotations(("run",), {"rec1": None}))


def test_labels_that_are_no_classes_are_refused_together(tmp_path):
    path, annotations = tmp_path / "found.json", Annotations(("run", "walk"), {"rec1": None})
    write_detections(path, {"rec1": [GOOD | {"label": "Run"}]})
    with pytest.raises(
        DataError,
        match="none of its labels is a class of the annotations. Its first is 'Run', their classes are run, walk",
    ):
        read_detections_of(path, annotations)
    write_detections(path, {"rec1": [GOOD | {"label": "Run"}, GOOD | {"label": "run"}]})
    assert len(read_detections_of(path, annotations)["rec1"]) == 2
