import json

import numpy as np
import pytest

from tal_jax.data.annotations import load_annotations
from tal_jax.errors import DataError


def write(folder, database, **fields):
    path = folder / "labels.json"
    path.write_text(json.dumps({"database": database, **fields}))
    return path


def entry(*annotations, **fields):
    rows = [{"label": label, "segment": segment} for label, *segment in annotations]
    return {"subset": "train", "annotations": rows} | fields


def test_reads_every_field(tmp_path):
    b = entry(("run", "1.5", "2"), ("jump", 0, 1), fps=25, num_samples=100, duration=4)
    path = write(tmp_path, {"b": b, "a": entry(subset="test")})
    annotations = load_annotations(path)
    assert annotations.classes == ("jump", "run")  # sorted
    assert list(annotations.recordings) == ["b", "a"]  # file order
    recording = annotations.recordings["b"]
    assert (recording.subset, recording.duration_sec, recording.fps, recording.num_frames) == (
        "train",
        4,
        25,
        100,
    )
    np.testing.assert_array_equal(recording.segments_sec, [[1.5, 2], [0, 1]])
    assert recording.segments_sec.dtype == np.float64 and recording.labels.dtype == np.int32
    np.testing.assert_array_equal(recording.labels, [1, 0])
    empty = annotations.recordings["a"]
    assert empty.segments_sec.shape == (0, 2) and empty.labels.shape == (0,) and empty.duration_sec is None


def test_class_order_and_ignored_labels(tmp_path):
    database = {"a": entry(("run", 1, 2), ("Ambiguous", 1, "2"), ("jump", 3, 4))}
    path = write(tmp_path, database, classes=["run", "jump", "swim"])
    annotations = load_annotations(path, ignored_labels=("Ambiguous",))
    assert annotations.classes == ("run", "jump", "swim")
    np.testing.assert_array_equal(annotations.recordings["a"].labels, [0, 1])
    np.testing.assert_array_equal(annotations.recordings["a"].ignored_sec, [[1, 2]])
    annotations = load_annotations(path, ignored_labels=("Ambiguous",), classes=("jump", "run"))
    np.testing.assert_array_equal(annotations.recordings["a"].labels, [1, 0])
    assert load_annotations(write(tmp_path, database), ignored_labels=("Ambiguous",)).classes == (
        "jump",
        "run",
    )


def test_subset(tmp_path):
    annotations = load_annotations(write(tmp_path, {"a": entry(("run", 1, 2)), "b": entry(subset="test")}))
    assert list(annotations.subset("test").recordings) == ["b"] and annotations.subset("test").classes == (
        "run",
    )
    with pytest.raises(DataError, match="'validation'; the annotations have 'test', 'train'"):
        annotations.subset("validation")


@pytest.mark.parametrize(
    "text, sentence",
    [
        (None, "Cannot read the annotation file .*No such file"),
        ("", "is empty"),
        ("{", "not valid JSON at line 1"),
        ("[]", "must be an object with the fields 'database'"),
        ("{}", "field 'database'"),
        ('{"database": {"rec": {"subset": "a"}, "rec": {"subset": "b"}}}', "the key 'rec' twice"),
        ('{"database": {}}', "field 'database'"),
        ('{"database": {"rec": 1}}', "recording 'rec' must be an object"),
        ('{"database": {"rec": {}}}', "recording 'rec': field 'subset'"),
        ('{"database": {"rec": {"subset": "a", "annotations": {}}}}', "recording 'rec': field 'annotations'"),
        (
            '{"database": {"rec": {"subset": "a", "annotations": [{}]}}}',
            "recording 'rec', annotation 0: field 'label'",
        ),
        (
            '{"database": {"rec": {"subset": "a", "annotations": [{"label": "x", "segment": null}]}}}',
            "annotation 0: field 'segment'",
        ),
        (
            '{"database": {"rec": {"subset": "a", "annotations": [{"label": "x", "segment": [1]}]}}}',
            "field 'segment'",
        ),
        (
            '{"database": {"rec": {"subset": "a", "annotations": [{"label": "x", "segment": [1, "b"]}]}}}',
            "must be a finite number, found 'b'",
        ),
        (
            '{"database": {"rec": {"subset": "a", "annotations": [{"label": "x", "segment": [1, NaN]}]}}}',
            "must be a finite number, found nan",
        ),
        (
            '{"database": {"rec": {"subset": "a", "duration": -1}}}',
            "recording 'rec': field 'duration' must be positive",
        ),
        ('{"database": {"rec": {"subset": "a", "fps": "fast"}}}', "recording 'rec': field 'fps'"),
        (
            '{"database": {"rec": {"subset": "a", "duration": "1_0"}}}',
            "'duration' must be a finite number, found '1_0'",
        ),
        ('{"database": {"rec": {"subset": "a\\u001b[31m"}}}', r"'subset' holds a control character, 'a\\x1b"),
        (
            '{"database": {"rec": {"subset": "a", "annotations": [{"label": "x", "segments": [1, 2]}]}}}',
            "annotation 0 has a field 'segments', which is not read; if 'segment' is meant",
        ),
        (
            '{"database": {"rec": {"subset": "a", "annotation": []}}}',
            "'rec' has a field 'annotation', .*'annotations' is meant",
        ),
        (
            '{"database": {"rec": {"subset": "a", "Duration": 3}}}',
            "'rec' has a field 'Duration', .*'duration' is meant",
        ),
        ('{"Database": {"rec": {"subset": "a"}}}', "has a field 'Database', .*'database' is meant"),
        ('{"classes": 3, "database": {"rec": {"subset": "a"}}}', "field 'classes'"),
        ('{"classes": ["x", "x"], "database": {"rec": {"subset": "a"}}}', "names a class twice"),
        (
            '{"classes": ["y"], "database": {"rec": {"subset": "a", "annotations": [{"label": "x", "segment": [1, 2]}]}}}',
            r"'x' \(recording 'rec'\)",
        ),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "labels.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=sentence) as error:
        load_annotations(path)
    assert "labels.json" in str(error.value) and "\n" not in str(error.value)


def test_other_fields_are_named_and_not_read(tmp_path):
    database = {"a": entry(("run", 1, 2), url="x", resolution="y"), "b": entry(url="z")}
    database["a"]["annotations"][0]["id"] = 7
    annotations = load_annotations(write(tmp_path, database, version="1", segment=0))
    expected = (
        "'segment' of the file",
        "'version' of the file",
        "'resolution' of recordings",
        "'url' of recordings",
        "'id' of annotations",
    )
    assert annotations.unread == expected


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = write(tmp_path, {"a": entry(("run", 1, 2))})
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert load_annotations(path).classes == ("run",)


def test_an_ignored_label_that_no_annotation_has_is_told(tmp_path, caplog):
    path = write(tmp_path, {"a": entry(("run", 1, 2), ("unclear", 3, 4))})
    load_annotations(path, ignored_labels=("Ambiguous", "unclear"))
    assert not caplog.text
    load_annotations(path, ignored_labels=("uncler",))
    assert (
        "config.data.ignored_labels has 'uncler', which no annotation has; the labels are 'run', 'unclear'."
        in caplog.text
    )


def test_repeated_and_momentary_actions_are_left_out(tmp_path):
    actions = [("run", 1, 2), ("run", 1.001, 2.001), ("run", 1.0015, 2), ("jump", 1, 2), ("run", 1, 3)]
    path = write(tmp_path, {"a": entry(*actions, ("run", 5, 5.0005), ("run", 1, 2)), "b": entry()})
    annotations = load_annotations(path)
    assert annotations.without_duplicates(0.0) is annotations
    recording = annotations.without_duplicates(0.0011).recordings["a"]
    assert recording.segments_sec.tolist() == [[1, 2], [1.0015, 2], [1, 2], [1, 3]]
    assert recording.labels.tolist() == [1, 1, 0, 1]
    weak = write(tmp_path, {"a": {"subset": "train", "annotations": [{"label": "run"}] * 2}})
    assert load_annotations(weak).without_duplicates(1.0).recordings["a"].labels.tolist() == [0, 0]


@pytest.mark.parametrize(
    "entry, sentence",
    [
        ({"duration": 1e300}, "field 'duration' is 1e[+]300; it must be from 0.001 to 1e[+]09"),
        ({"duration": 1e-300}, "field 'duration' is 1e-300; it must be from 0.001"),
        ({"annotations": [{"label": "x", "segment": [9, 1e300]}]}, "must be in seconds, of 1e[+]09 at most"),
    ],
)
def test_times_that_no_recording_has_are_refused(tmp_path, entry, sentence):
    content = {"database": {"a": {"subset": "train", "annotations": []} | entry}}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=sentence):
        load_annotations(tmp_path / "a.json")
