"""Class scores of whole recordings: by the classes of the annotations, the best one, and what is wrong in a
sentence.
"""

import json

import numpy as np
import pytest

from tal_jax.data import load_dataset
from tal_jax.data.proposals import Proposals, write_proposals
from tal_jax.data.recording_scores import (
    best_classes,
    read_recording_scores,
    require_labels,
    require_recordings,
)
from tal_jax.errors import DataError

CONTENT = {"class": ["run", "jump", "fall"], "results": {"a": [0.2, 0.7, 0.1], "b": [3, 2, 1]}}


def written(folder, content):
    path = folder / "scores.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_scores_come_in_the_order_of_the_classes_asked_for(tmp_path):
    scores = read_recording_scores(written(tmp_path, CONTENT), ("fall", "run"))
    assert list(scores) == ["a", "b"]
    np.testing.assert_array_equal(scores["a"], [0.1, 0.2])
    np.testing.assert_array_equal(scores["b"], [1, 3])


def test_the_best_class_is_that_of_all_in_the_file(tmp_path):
    path = written(tmp_path, CONTENT)
    assert best_classes(path) == {"a": (("jump", 0.7),), "b": (("run", 3.0),)}
    assert best_classes(path, 2)["b"] == (("run", 3.0), ("jump", 2.0))
    assert best_classes(path, 9)["a"] == (("jump", 0.7), ("run", 0.2), ("fall", 0.1))


def test_a_file_without_classes_has_no_best_one(tmp_path):
    with pytest.raises(DataError, match="scores.json names no class"):
        best_classes(written(tmp_path, {"class": [], "results": {"a": []}}))


def test_what_the_file_lacks_is_named(tmp_path):
    path = written(tmp_path, CONTENT)
    with pytest.raises(
        DataError, match="scores.json has no scores of 2 of the 3 classes; the first is 'sit'"
    ):
        read_recording_scores(path, ("run", "sit", "lie"))
    with pytest.raises(
        DataError, match="config.evaluate.recording_scores lacks 1 of 2 recordings; the first is 'c'"
    ):
        require_recordings(read_recording_scores(path, ("run",)), ["a", "c"])
    require_recordings({"a": None}, [])


def test_recordings_are_found_by_other_names_as_those_of_detections_are(tmp_path):
    path = written(
        tmp_path, CONTENT | {"results": {"v_Rec1": [0.2, 0.7, 0.1], "twin": [1, 0, 0], "Twin": [0, 0, 1]}}
    )
    scores, best = read_recording_scores(path, ("run",)), best_classes(path)
    require_recordings(scores, ["rec1", "v_rec1", "REC1.mp4", "v_Rec1", "twin", "Twin"])
    require_labels(path, ["rec1.mp4"], ("jump",))
    assert scores["rec1"] == scores["Rec1.npy"] == [0.2] and best["REC1"] == (("jump", 0.7),)
    assert best["twin"] == (("run", 1),) and best["Twin"] == (("fall", 1),)
    for name in ("TWIN", "rec2"):  # one of two, or none
        with pytest.raises(DataError, match=f"lacks 1 of 1 recordings; the first is '{name}'"):
            require_recordings(scores, [name])
        with pytest.raises(KeyError):
            best[name]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        {"results": {"a": []}},
        {"class": ["run"], "results": [["a", [1]]]},
        CONTENT | {"results": {"a": [0.2, "x", 0.1]}},
    ],
)
def test_a_file_of_another_form_gets_one_sentence(content, tmp_path):
    with pytest.raises(DataError, match="scores.json must hold .*recording: .score"):
        read_recording_scores(written(tmp_path, content), ("run",))


@pytest.mark.parametrize(
    "text, sentence", [("", "recording scores file is empty"), ("{", "not valid JSON at line 1")]
)
def test_a_file_that_is_no_json_gets_one_sentence(text, sentence, tmp_path):
    with pytest.raises(DataError, match=f"scores.json: .*{sentence}"):
        read_recording_scores(written(tmp_path, text), ("run",))


@pytest.mark.parametrize("row", [[0.2, 0.7], [[0.2, 0.7, 0.1]], [0.2, float("nan"), 0.1], None])
def test_a_bad_row_gets_one_sentence(row, tmp_path):
    with pytest.raises(
        DataError, match="scores.json: recording 'b' must have 3 finite numbers, a score of each class"
    ):
        read_recording_scores(written(tmp_path, CONTENT | {"results": {"a": [1, 2, 3], "b": row}}), ("run",))


def test_a_missing_file_gets_one_sentence(tmp_path):
    with pytest.raises(
        DataError, match="Cannot read the recording scores .*nothing.json: No such file or directory"
    ):
        best_classes(tmp_path / "nothing.json")


def test_labels_are_positive_and_some_at_least_known(tmp_path, caplog):
    path = written(tmp_path, CONTENT)
    require_labels(path, ["a", "b"], ("run", "jump"))
    assert not caplog.text
    require_labels(path, ["a", "b"], ("run",))
    assert (
        "the best class of 1 of 2 recordings, the first is 'jump' of 'a'; detections there are of no class"
        in caplog.text
    )
    with pytest.raises(
        DataError,
        match="the best class of 2 of 2 recordings, the first is 'jump' of 'a'; they have sit. Call",
    ):
        require_labels(path, ["a", "b"], ("sit",))
    with pytest.raises(DataError, match="lacks 1 of 3 recordings; the first is 'c'"):
        require_labels(path, ["a", "b", "c"], ("run",))
    with pytest.raises(
        DataError,
        match="has a negative score, -1, of recording 'a'; scores of detections are multiplied by it",
    ):
        require_labels(written(tmp_path, {"class": ["run"], "results": {"a": [-1]}}), ["a"], ("run",))
    path = written(tmp_path, {"class": ["run", "jump"], "results": {"a": [1, -1]}})
    require_labels(path, ["a"], ("run",))
    with pytest.raises(DataError, match="has a negative score, -1, of recording 'a'"):
        require_labels(path, ["a"], ("run",), count=2)


@pytest.fixture
def proposing(tiny, tmp_path):
    """A config of the tiny data set with proposals and class scores of its one test recording."""
    config = tiny().copy_and_resolve_references()
    annotations = load_dataset(config).annotations
    proposals = {name: Proposals(np.array([[1.0, 4.0]]), np.ones(1)) for name in annotations.recordings}
    write_proposals(tmp_path / "proposals.json", proposals, annotations)
    config.proposals = str(tmp_path / "proposals.json")
    config.evaluate.recording_scores = str(
        written(tmp_path, {"class": ["slow", "fast"], "results": {"sunday": [0.1, 0.9]}})
    )
    return config


def test_a_dataset_with_proposals_has_the_scores(proposing, tmp_path):
    dataset = load_dataset(proposing)
    assert dataset.annotations.classes == ("fast", "slow")
    np.testing.assert_array_equal(dataset.recording_scores["sunday"], [0.9, 0.1])
    proposing.data.class_agnostic = True
    assert load_dataset(proposing).recording_scores is None
    proposing.data.class_agnostic = False
    written(tmp_path, {"class": ["slow", "fast"], "results": {"monday": [0.1, 0.9]}})
    with pytest.raises(DataError, match="recording_scores lacks 1 of 1 recordings; the first is 'sunday'"):
        load_dataset(proposing)
    proposing.evaluate.recording_scores = ""
    assert load_dataset(proposing).recording_scores is None
