"""Label Studio's JSON export and projects of VIA 3."""

import copy

import pytest

from tal_jax.data.labels.times import NO_ZONE, UTC
from tal_jax.errors import DataError
from tests.data.labels.case import actions, counted, read


def region(kind, name="label", **value):
    return {"id": "r", "type": kind, "from_name": name, "to_name": "ts", "value": value}


def series(start, end, *labels):
    return region("timeserieslabels", start=start, end=end, instant=start == end, timeserieslabels=[*labels])


def task(number, data, *results, **fields):
    done = {"id": 10 + number, "was_cancelled": False, "ground_truth": False, "result": [*results]}
    return {"id": number, "data": data, "annotations": [done]} | fields


def test_time_series(tmp_path):
    uploaded = {"csv": "/data/upload/4/1f2e3d4c-walk_1.csv"}
    tasks = [
        task(1, uploaded, series(0.5, 2, "Run", "Fast"), series(3, 3, "Jump")),
        task(2, {"csv": "/data/local-files/?d=set%20a/walk_2.csv", "who": "Ada"}),
        task(3, {"csv": "https://bucket.example/walk_3.csv?X-Amz-Date=1"}, series("1", "1:02.5", "Run")),
    ]
    kind, labels = read(tmp_path, "export.json", tasks)
    assert kind == "label_studio"
    assert actions(labels) == [
        ("walk_1", "Run", 0.5, 2.0),
        ("walk_1", "Fast", 0.5, 2.0),
        ("walk_1", "Jump", 3.0, 3.0),
        ("walk_3", "Run", 1.0, 62.5),
    ]
    assert [*labels.recordings] == ["walk_1", "walk_2", "walk_3"]  # the second was seen and holds nothing
    assert labels.rows[0].where == f"{tmp_path}/export.json: task 1, result 0"


def test_dates_of_a_time_series_count_from_1970(tmp_path):
    rows = (
        series(1592250751951.5, 1592250752951.5, "Run"),
        series("2020-06-15 19:52:31", "2020-06-15T19:52:32Z", "Sit"),
    )
    _, labels = read(tmp_path, "export.json", [task(1, {"csv": "a.csv"}, *rows)])
    assert [row.clock for row in labels.rows] == [UTC, NO_ZONE]
    assert [row[1:] for row in actions(labels)] == [
        ("Run", 1592250751.9515, 1592250752.9515),
        ("Sit", 1592250751.0, 1592250752.0),
    ]


def test_sound_and_its_length(tmp_path):
    sound = region("labels", start=1.5, end=2.25, channel=0, labels=["bark"]) | {"original_length": 60.5}
    _, labels = read(tmp_path, "export.json", [task(1, {"audio": "s3://bucket/dogs.mp3"}, sound)])
    assert actions(labels) == [("dogs", "bark", 1.5, 2.25)] and labels.recordings["dogs"]["duration"] == 60.5


def test_frames_of_a_video_are_counted_from_1_and_the_last_one_is_in(tmp_path):
    span = region("timelinelabels", ranges=[{"start": 26, "end": 50}], timelinelabels=["wave"])
    tasks = [task(1, {"video": "/data/upload/1/0a0b0c0d-clip.mp4"}, span)]
    _, labels = read(tmp_path, "export.json", tasks, fps=25)
    assert actions(labels) == [("clip", "wave", 1.0, 2.0)]
    with pytest.raises(DataError, match="task 1, result 0: labels of a video are in frames.*--fps"):
        read(tmp_path, "export.json", tasks)


def test_what_is_no_span_and_what_is_annotated_twice_is_counted(tmp_path):
    box = region("videorectangle", "box", sequence=[], labels=["dog"])
    entity = region("labels", start=0, end=4, text="Anna", labels=["person"])
    first = task(1, {"csv": "a.csv"}, series(1, 2, "Run"), box, entity)
    truth = {"ground_truth": True, "result": [series(1, 3, "Walk")]}
    cancelled = {"was_cancelled": True, "result": [series(0, 9, "Walk")]}
    several = task(2, {"csv": "b.csv"}, series(1, 2, "Run"))
    several["annotations"] += [truth, cancelled]
    nobody = task(3, {"csv": "c.csv"}) | {"annotations": []}
    _, labels = read(tmp_path, "export.json", [first, several, nobody])
    assert actions(labels) == [("a", "Run", 1.0, 2.0), ("b", "Walk", 1.0, 3.0)]
    assert counted(labels) == {
        "they are no labelled spans of time but of the kind 'videorectangle' (Label Studio)": 1,
        "they are no labelled spans of time but of the kind 'labels' (Label Studio)": 1,
        "they are further annotations of a task that is read once (Label Studio)": 1,
        "their task in Label Studio is not annotated": 1,
    }


def test_controls_are_chosen_by_name_with_their_choices(tmp_path):
    choice = region("choices", "kind", start=1, end=2, choices=["loud"])
    sound = region("labels", "what", start=1, end=2, labels=["bark"])
    tasks = [task(1, {"audio": "a.wav"}, sound, choice)]
    assert actions(read(tmp_path, "export.json", tasks)[1]) == [("a", "bark", 1.0, 2.0)]
    _, labels = read(tmp_path, "e.json", tasks, label_column=("kind",))
    assert actions(labels) == [("a", "loud", 1.0, 2.0)] and "kind" in labels.label_columns


@pytest.mark.parametrize(
    "tasks, sentence",
    [
        ([{"id": 1, "annotation_id": 2, "label": []}], "task 1: this is the export JSON-MIN; export as JSON"),
        ([{"id": 1, "annotations": {}, "data": {}}], "task 1: field 'annotations' must be a list"),
        ([task(1, "x.csv")], "task 1: field 'data' must be an object"),
        ([task(1, {"csv": "a.csv"}, series("soon", 2, "Run"))], "task 1, result 0: a time must be"),
        ([task(1, {"csv": "a.csv"}, {"value": 3})], "task 1, result 0: field 'value' must be an object"),
        ([task(1, {"csv": "a.csv"}), 5], "task 1: field 'data' must be an object, found None"),
    ],
)
def test_bad_exports_are_one_sentence(tmp_path, tasks, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "export.json", tasks)


def attribute(name, anchor="FILE1_Z2_XY0", type=4, **options):
    return dict(aname=name, anchor_id=anchor, type=type, desc="", options=options, default_option_id="")


def segment(view, times, values, xy=()):
    return dict(vid=view, flg=0, z=times, xy=[*xy], av=values)


VIA = {
    "project": {"pid": "x", "data_format_version": "3.1.1", "vid_list": ["1", "2"]},
    "config": {},
    "attribute": {
        "1": attribute("activity", **{"0": "break egg", "1": "mix"}),
        "2": attribute("object", "FILE1_Z1_XY1", **{"0": "bowl"}),
        "3": attribute("phase", type=1),
    },
    "file": {
        "1": dict(fid="1", fname="kitchen.mp4", type=4, loc=1, src=""),
        "2": dict(fid="2", fname="https://example.org/media/pan%201.webm", type=4, loc=2, src=""),
    },
    "view": {"1": {"fid_list": ["1"]}, "2": {"fid_list": [2]}},
    "metadata": {
        "1_a": segment("1", [1.25, 4.0], {"1": "1", "3": "early"}),
        "1_b": segment("1", [2.0], {"2": "0"}, xy=[2, 1, 1, 5, 5]),
        "2_a": segment("2", [6.5], {"1": "0"}),
        "2_b": segment("2", [7.0, 8.0], {}),
    },
}


def test_via(tmp_path):
    kind, labels = read(tmp_path, "project.json", VIA)
    assert kind == "via" and [*labels.recordings] == ["kitchen", "pan 1"]
    assert actions(labels) == [
        ("kitchen", "mix", 1.25, 4.0),
        ("kitchen", "early", 1.25, 4.0),
        ("pan 1", "break egg", 6.5, 6.5),
        ("pan 1", "", 7.0, 8.0),
    ]
    assert counted(labels) == {"they are no spans of time but regions or properties (VIA)": 1}
    assert "'activity', 'phase' all give labels" in labels.notes[0]
    _, labels = read(tmp_path, "project.json", VIA, label_column=("activity",))
    assert actions(labels)[1] == ("pan 1", "break egg", 6.5, 6.5) and not labels.notes


def test_via_options_of_a_checkbox_are_labels_each(tmp_path):
    project = copy.deepcopy(VIA)
    project["attribute"]["1"]["type"] = 2
    project["metadata"] = {"m": segment("1", [0, 1], {"1": "0,1"})}
    assert actions(read(tmp_path, "project.json", project)[1]) == [
        ("kitchen", "break egg", 0, 1),
        ("kitchen", "mix", 0, 1),
    ]


@pytest.mark.parametrize(
    "path, value, sentence",
    [
        (("metadata", "1_a", "z"), "1", "metadata '1_a': field 'z' must be a list"),
        (("metadata", "1_a", "z"), ["x", 2], "metadata '1_a': field 'z' must be a finite number"),
        (("metadata", "1_a", "vid"), "9", "metadata '1_a': field 'vid' names no view, found '9'"),
        (("view", "1", "fid_list"), ["7"], "view '1': field 'fid_list' names no file"),
        (("attribute", "1", "aname"), None, "attribute '1': field 'aname' must be a text"),
        (("file",), [], "field 'file' must be an object"),
    ],
)
def test_bad_projects_are_one_sentence(tmp_path, path, value, sentence):
    project = copy.deepcopy(VIA)
    *parents, last = path
    entry = project
    for key in parents:
        entry = entry[key]
    entry[last] = value
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "project.json", project)
