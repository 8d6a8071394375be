import json
import re

import numpy as np
import pytest

from configs import folder, sbhar, thumos
from tal_jax import report
from tal_jax.check_data import check_dataset
from tal_jax.data.features import data_config
from tal_jax.data.learnable import longer_window
from tal_jax.errors import DataError
from tal_jax.systems.afsd.config import sequence_config
from tal_jax.train import train


@pytest.fixture
def database():
    rows = [{"label": "run", "segment": [1, 2]}]
    return {
        "first": {"subset": "train", "duration": 10, "annotations": rows[:]},
        "second": {"subset": "test", "annotations": rows[:]},
        "third": {"subset": "train", "annotations": rows[:]},
    }


@pytest.fixture
def config(tmp_path, database):
    """AFSD, windows of 128 frames; 100 features of 2 channels, 10 a second, for each recording."""
    config = sequence_config("afsd")
    config.data = data_config(
        annotations=str(tmp_path / "labels.json"), features=str(tmp_path), fps=10.0, num_channels=2
    )
    config.window.frames = 128
    for name in database:
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(100, 2)))
    return config


@pytest.fixture
def check(config, tmp_path, database):
    """Function (**fields of config.data) -> the problems of the data set as the test has changed it."""

    def run(**fields):
        config.data.update(fields)
        (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
        return check_dataset(config)[1]

    return run


def test_a_good_data_set(check):
    assert check() == []


def test_files_of_two_rates(check, database, tmp_path):
    for name, step_sec in (("first", 0.1), ("second", 0.11), ("third", 0.2)):
        (tmp_path / f"{name}.npy").unlink()
        rows = np.random.default_rng(0).normal(size=(100, 2))
        lines = [f"{i * step_sec:.2f},{x:.3f},{y:.3f}" for i, (x, y) in enumerate(rows)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["time,x,y", *lines]))
    del database["first"]["duration"]
    problems = [problem for problem in check(fps=0.0) if not problem.startswith("Note:")]
    assert problems == [
        "A frame lasts 0.1 s in recording 'first' and 0.2 s in recording 'third'; resample the files to one "
        "rate, for a "
        "network counts frames."
    ]


@pytest.mark.parametrize("unit", [1000, 30])
def test_times_in_milliseconds_or_frames(check, database, unit):
    for recording in database.values():
        recording["annotations"] = [{"label": "run", "segment": [2 * unit, 9 * unit]}]
    del database["first"]["duration"]
    *others, last = check()
    assert last.startswith(
        f"The last action of a recording ends at {0.9 * unit:g} times the recording's length"
    )
    assert all("ends after the recording" in problem for problem in others)


def test_features_fewer_than_frames(check, database):
    for recording in database.values():
        recording |= {"duration": 80, "fps": 10, "annotations": [{"label": "run", "segment": [20, 70]}]}
    problem = check()[-1]
    assert problem.startswith("The last action of a recording lies within its duration, but ends at 7 times")
    assert "set --config.data.stride_frames to the frames from one feature to the next, or to 0" in problem
    assert not any("of a recording ends at" in problem for problem in check(stride_frames=8))


@pytest.mark.parametrize(
    "name, segments, sentence",
    [
        ("first", [[2, 1]], "Recording 'first' has 'run' from 2 s to 1 s: the end is not after the start."),
        ("first", [[2, 2]], "Recording 'first' has 'run' from 2 s to 2 s: the end is not after the start."),
        ("first", [[-1, 2]], "Recording 'first' has 'run' from -1 s to 2 s: it begins before the recording."),
        (
            "first",
            [[9, 11]],
            "Recording 'first' has 'run' from 9 s to 11 s: it ends after the recording, which lasts 10.00 s.",
        ),
        (
            "second",
            [[9, 11]],
            "Recording 'second' has 'run' from 9 s to 11 s: it ends after the recording, which lasts 10.00 "
            "s.",
        ),
        ("second", [[1, 2], [1, 2]], "Recording 'second' has 'run' from 1 s to 2 s more than once."),
        ("third", [], "Note: recording 'third' has no annotation."),
    ],
)
def test_annotations(check, database, name, segments, sentence):
    database[name]["annotations"] = [{"label": "run", "segment": segment} for segment in segments]
    assert check() == [sentence]


def test_training_recordings_without_any_annotation_are_a_problem(check, database):
    for name in ("first", "third"):
        database[name]["annotations"] = []
    assert check() == [
        "No recording of the subset 'train' has an annotation to learn from; annotate them.",
        "Note: recording 'first' has no annotation.",
        "Note: recording 'third' has no annotation.",
    ]


@pytest.mark.parametrize(
    "features, sentence",
    [
        (
            np.full((100, 2), np.nan),
            "features that are NaN or beyond 1e15 in 100 of 100 rows, the first is row 0",
        ),
        (
            np.where(np.arange(200).reshape(100, 2) == 5, np.inf, np.eye(100, 2)),
            "features that are NaN or beyond 1e15 in 1 of 100 rows, the first is row 2",
        ),
        (np.ones((100, 3)), "has 3 channels, but config.data.num_channels is 2"),
        (np.ones(100), r"first.npy holds an array of shape \(100,\)"),
        (
            np.eye(50, 2),
            "is 10.00 s long as annotated, but its 50 features at 10 fps and stride 1 cover 5.00 s; correct the duration",
        ),
    ],
)
def test_features(check, tmp_path, features, sentence):
    np.save(tmp_path / "first.npy", features)
    (problem,) = check()
    assert problem.startswith("Recording 'first'") and re.search(sentence, problem)


def test_links_to_nothing_and_folders_are_missing_files(check, tmp_path):
    name = tmp_path / "third.npy"
    name.unlink()
    name.symlink_to("nowhere")
    problems = check()
    left_out = (
        f"Note: 1 left out of {tmp_path}: called like files, but links to nothing or folders; the first is "
        f"{name.name}."
    )
    assert problems[0] == left_out and f"Recording '{name.stem}' has no feature file." in problems


def test_missing_and_damaged_files(check, tmp_path):
    (tmp_path / "first.npy").unlink()
    (tmp_path / "third.npy").unlink()
    (tmp_path / "second.npy").write_bytes(b"")
    missing, *problems = check()
    no_training = (
        "No recording with features has the subset 'train' of config.data.train_subset; the annotations have"
    )
    assert missing == f"{no_training} 'test', 'train'."
    assert problems[0] == "Recording 'first' has no feature file."
    assert problems[1] == "Recording 'third' has no feature file."
    assert problems[2].startswith("Recording 'second'") and "second.npy" in problems[2] and len(problems) == 3


@pytest.mark.parametrize("field", ["test_subset", "clips_subset"])
def test_subset_that_no_recording_has(check, database, field):
    del database["second"]
    where = f"the subset 'other' of config.data.{field}; the annotations have 'train'."
    sentence = f"No recording with features has {where}"
    assert check(**{"test_subset": "train", field: "other"}) == [sentence]


def test_proposals(tmp_path, config, check):
    check()
    config.proposals = f"{tmp_path}/proposals.json"
    summary, problems = check_dataset(config)
    assert problems == [
        f"Cannot read the proposals file {tmp_path}/proposals.json: No such file or directory."
    ]
    results = {"first": [{"segment": [1, 2]}, {"segment": [2, 1]}], "nobody": [{"segment": [1, 2]}]}
    (tmp_path / "proposals.json").write_text(json.dumps({"results": results}))
    told, problems = check_dataset(config)
    assert problems == []
    assert told == (
        f"{summary}\n{tmp_path}/proposals.json: 3 proposals read, 1 kept, in 1 of 3 recordings; dropped: 1 "
        "of recordings that the "
        "annotations lack, 1 empty or reversed; cut at an end of their recording: 0. Not in the annotations: "
        "nobody."
    )
    assert config.proposals == f"{tmp_path}/proposals.json"


def test_a_data_set_that_cannot_be_read_is_an_error(check, tmp_path, database):
    database["first"]["annotations"][0]["segment"] = [1]
    with pytest.raises(DataError, match="recording 'first', annotation 0"):
        check()


def test_the_config_is_left_alone(tmp_path):
    config = thumos.get_config("afsd,input=features")
    config.data.features = str(tmp_path)
    with pytest.raises(DataError):
        check_dataset(config)
    assert config.data.allow_missing is False


def test_sbhar_is_in_order():
    summary, problems = check_dataset(sbhar.get_config())
    assert problems == []
    first, unread, actions, classes, *table = summary.splitlines()
    assert first == "61 recordings (42 train, 19 test), 6.24 hours; 112247 frames of 60 values"
    assert unread.startswith("Fields of the annotations that are not read: 'scale' of the file, ")
    assert actions == "1214 actions of 1.48 to 40.64 s; the longest takes 203 frames, a window has 512"
    assert classes == "12 classes:"
    assert table[0].split() == ["class", "train", "seconds", ">", "window", "test", "seconds", ">", "window"]
    assert table[1].startswith("walking ") and len(table) == 13 and len({len(line) for line in table}) == 1


def test_recordings_that_cannot_be_used_do_not_end_the_check(check, tmp_path, database):
    (tmp_path / "first.npy").write_bytes(b"")
    database["third"]["duration"] = 10
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
    assert check() == [
        "Recording 'first' has features that are NaN or beyond 1e15 in 1 of 100 rows, the first is row 3."
    ]


def rows(label, *segments):
    return [{"label": label, "segment": list(segment)} for segment in segments]


def test_the_table_of_classes(check, config, tmp_path, database, capsys):
    database["first"]["annotations"] = [
        *rows("run", (1, 2), (3, 5), (6, 6)),
        *rows("jump", (1, 9)),
        {"label": "jump"},
    ]
    database["third"] |= {"url": "x"}
    check()
    summary, problems = check_dataset(config)
    assert (
        summary
        == """\
3 recordings (2 train, 1 test), 0.01 hours; 300 frames of 2 values
Fields of the annotations that are not read: 'url' of recordings
1 labels without times
1 actions without length, or that end before they begin
6 actions of 0.00 to 8.00 s; the longest takes 80 frames, a window has 128
2 classes:
class  train       seconds  > window  test       seconds  > window
jump       2  8.00 to 8.00         0     0             -         0
run        4  0.00 to 2.00         0     1  1.00 to 1.00         0"""
    )
    assert report.print_check(summary, problems) == 1
    assert capsys.readouterr().out.startswith(summary)


def test_labels_that_differ_in_case_and_spaces_alone(check, database):
    database["first"]["annotations"] = [
        *rows("Jump", (1, 2)),
        *rows("jump ", (3, 4)),
        *rows("jump", (5, 6)),
        *rows("run", (7, 8)),
    ]
    assert check() == [
        "The 3 classes 'Jump', 'jump', 'jump ' differ in nothing but case, spaces, '_' and '-'; if they are "
        "one, call them alike in "
        "the annotations."
    ]
    database["first"]["annotations"] = [
        *rows("high jump", (1, 2)),
        *rows("run 1", (3, 4)),
        *rows("run 11", (5, 6)),
        *rows("-1", (7, 8)),
    ]
    database["third"]["annotations"] += [*rows("high_jump", (3, 4)), *rows("1", (5, 6))]
    (problem,) = check()
    assert problem.startswith("The 2 classes 'high jump', 'high_jump' differ in nothing")


def test_a_class_that_only_the_test_has(check, database):
    database["second"]["annotations"] += rows("jump", (3, 4), (5, 6))
    assert check() == [
        "The class 'jump' has 2 annotation(s) in the subset 'test' and none in 'train', so it is not learnt; "
        "annotate it there, or set "
        "--config.data.ignored_labels=\"('Ambiguous', 'jump')\"."
    ]
    assert check(ignored_labels=("Ambiguous", "jump")) == []
    database["second"]["annotations"][-1]["label"] = "jmup"
    database["third"]["annotations"] += rows("jump", (3, 4))
    (problem,) = check(ignored_labels=("Ambiguous",))
    assert problem.endswith("'jmup')\". 'jump' is a class too; if it is meant, correct the label.")


def test_a_resized_recording_is_one_window(check, config):
    check()
    config.window.resized = True
    summary, _ = check_dataset(config)
    assert "a window is the whole recording" in summary and "> window" not in summary


@pytest.fixture
def long(tmp_path, database, config):
    """The data set with a recording of 60 s, "first", and windows that begin every 64 frames."""
    np.save(tmp_path / "first.npy", np.random.default_rng(0).normal(size=(600, 2)))
    database["first"]["duration"] = 60
    config.window.train_stride_frames = 64


def test_a_class_of_which_no_action_fits_into_a_window(check, config, database, long):
    database["first"]["annotations"] += rows("sleep", (10, 30), (35, 50))
    assert check() == [
        "All 2 training actions of the class 'sleep' are longer than a window of 128 frames, so it is not "
        "learnt whole; set "
        "--config.window.frames=384, or --config.data.samples_per_frame=3, which makes one frame of 3 "
        "samples."
    ]
    config.window.frames = 384
    assert check() == []
    config.window.frames = 128
    database["first"]["annotations"] += rows("sleep", (2, 4))
    (problem,) = check()
    assert problem.startswith(
        "2 of the 3 training actions of the class 'sleep' are longer than a window of 128 frames, so they"
    )
    database["first"]["annotations"] += rows(
        "sleep",
        *((i, i + 0.5) for i in range(5, 9)),
        (2, 3),
        *((50 + i / 2, 50.4 + i / 2) for i in range(15)),
    )
    assert check() == ["Note: 2 of the 23" + problem.removeprefix("2 of the 3")]


def test_a_data_set_of_which_no_action_fits_into_a_window(check, config, database, long):
    database["first"]["annotations"], database["third"]["annotations"] = rows("run", (10, 30), (35, 50)), []
    database["second"]["annotations"] = rows("run", (1, 2))
    assert check()[1:] == [
        "All 2 actions of the subset 'train' are longer than a training window of 128 frames; set "
        "--config.window.frames=384, or --config.data.samples_per_frame=3, which makes one frame of 3 "
        "samples."
    ]
    config.window.frames = 384
    assert [problem for problem in check() if not problem.startswith("Note:")] == []


def test_actions_much_shorter_than_a_frame(check, database):
    """A frame lasts 0.1 s."""
    database["first"]["annotations"] += rows("blink", (3, 3.001), (5, 5.009))
    sentence = (
        "2 of the {} actions of the class 'blink' are shorter than a tenth of a frame, the shortest takes "
        "0.01 frames; correct "
        "their times, or the rate of the recordings."
    )
    assert sentence.format(2) in check()
    database["first"]["annotations"] += rows("blink", (7, 7.2))
    problems = check()
    assert f"Note: {sentence.format(3)}" in problems and not any(line.startswith("2 of") for line in problems)


@pytest.mark.parametrize("end_sec", [1e7, 1e300, 1.7e308])
def test_no_advice_is_beyond_what_a_field_takes(config, end_sec):
    config.data.samples_per_frame = 1
    assert longer_window(config, np.array([end_sec, 3.0])) == (
        "set --config.data.samples_per_frame=78126, which makes one frame of 78126 samples"
        if end_sec == 1e7
        else "correct their times, the durations or the rate"
    )
    assert longer_window(config, np.array([np.inf])) == "correct their times, the durations or the rate"


@pytest.mark.parametrize(
    "fields, sentence",
    [
        ({"samples_per_frame": 10}, "in 1 of 10 frames, the first is row 37."),
        (
            {"samples_per_frame": 10, "statistics_samples": 20},
            "in 2 of 10 frames, the first is frame 3, made of rows 25 to 44.",
        ),
    ],
)
def test_the_place_of_a_bad_value_is_that_in_the_file(check, tmp_path, fields, sentence):
    features = np.load(tmp_path / "third.npy")
    features[37, 1] = np.nan
    np.save(tmp_path / "third.npy", features)
    assert f"Recording 'third' has features that are NaN or beyond 1e15 {sentence}" in check(**fields)


def test_a_class_whose_actions_have_no_length(check, database):
    database["first"]["annotations"] += rows("jump", (3, 3), (5, 5))
    assert check()[2:] == [
        "No training window of 128 frames holds an action of the class 'jump', so it is not learnt; correct "
        "their "
        "times, or set --config.data.ignored_labels=\"('Ambiguous', 'jump')\"."
    ]


@pytest.mark.parametrize("more, note", [((), ""), (((7, 8),), "Note: ")])
def test_actions_of_two_classes_at_the_same_time(check, database, more, note):
    database["first"]["annotations"] = [*rows("run", (1, 2), (3, 4)), *rows("jump", (1, 2), (3, 4.01), *more)]
    (problem,) = check()
    which = f"{note}2 of the {2 + len(more)} training actions of the class 'jump' take place at the same time"
    which += " as one of another class"
    assert problem.startswith(f"{which}, such as 'run', and afsd learns one class at a time")
    assert note or problem.endswith(
        "join the two classes, or set --config.data.ignored_labels=\"('Ambiguous', 'jump')\"."
    )


def test_a_system_of_many_labels_learns_actions_at_the_same_time(check, config, database):
    database["first"]["annotations"] = [*rows("run", (1, 2)), *rows("jump", (1, 2))]
    weak = folder.get_config("ecm")
    weak.data = config.data
    assert check() and check_dataset(weak)[1] == []


def test_weak_labels_that_say_nothing(check, config, database):
    for name in ("first", "third"):
        database[name]["annotations"] = [{"label": "run"}, {"label": "jump"}]
    check()
    weak = folder.get_config("ecm")
    weak.data = config.data
    assert check_dataset(weak)[1] == [
        "All 2 training windows have the same labels (jump, run), so nothing can be learnt from them; add "
        "recordings without some of "
        "these, or, where labels have times, cut recordings into windows with --config.window.frames."
    ]
    database["third"]["annotations"] = [{"label": "run"}, {"label": "jump"}, {"label": "sit"}]
    check()
    assert check_dataset(weak)[1] == [
        "The classes jump, run occur in the same 2 training windows, so they are not told apart; add "
        "recordings with some of these "
        "alone, or, where labels have times, cut recordings into windows with --config.window.frames."
    ]
    database["third"]["annotations"] = [{"label": "sit"}]
    database["first"]["annotations"] = [{"label": "run"}]
    check()
    assert check_dataset(weak)[1] == []


def test_a_test_subset_without_actions_or_times(check, database):
    database["second"]["annotations"] = []
    assert check() == [
        "No recording of the subset 'test' has an action to score against; annotate them.",
        "Note: recording 'second' has no annotation.",
    ]
    database["second"]["annotations"] = [{"label": "run"}]
    assert check() == [
        "Recording 'second' has a label without times (no field 'segment'); scoring needs times: add them, or drop the label."
    ]


def test_labels_that_are_all_ignored(check):
    problems = check(ignored_labels=("run",))
    why = "all {} have a label of config.data.ignored_labels; ignore fewer labels."
    assert problems[:2] == [
        f"No recording of the subset 'train' has an annotation to learn from: {why.format(2)}",
        f"No recording of the subset 'test' has an action to score against: {why.format(1)}",
    ]
    assert not any("window.frames" in problem for problem in problems)


def test_an_ignored_label_that_no_annotation_has(check):
    assert check(ignored_labels=("Ambiguous", "unclaer")) == [
        "config.data.ignored_labels has 'unclaer', which no annotation has; the labels are 'run'."
    ]


@pytest.mark.parametrize("stride_frames, fps", [(1, 10.0), (0, 10.0), (1, 0.0)])
def test_a_number_of_frames_that_the_features_contradict(check, database, stride_frames, fps):
    for name in database:
        database[name]["duration"] = 10
    database["second"]["num_frames"] = 5
    fields = dict(stride_frames=stride_frames, fps=fps)
    assert check(**fields)[-1] == (
        "Recording 'second' has 5 frames as annotated (num_frames), but its features are of 100; correct the "
        "number, or "
        "config.data.stride_frames."
    )
    database["second"]["num_frames"] = 101
    assert check(**fields) == []


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("window.frames", 300, "config.window.frames is 300; it must be a multiple of 128"),
        ("window.frames", 0, "config.window.frames is 0; it must be a multiple of 128"),
        ("model.channels", 30, "config.model.channels is 30; it must be a multiple of config.model.groups"),
        ("train.batch_size", 3, "config.train.batch_size is 3; it must be a multiple of the 4 devices"),
        ("parallel.impl", "xmap", "config.parallel.impl is 'xmap'; it must be 'pmap' or 'shard_map'"),
        (
            "train.backbone_weights",
            "none.npz",
            "config.train.backbone_weights names none.npz, which does not exist",
        ),
        ("evaluate.recording_scores", "none.json", "Cannot read the recording scores file none.json"),
    ],
)
def test_what_a_training_would_refuse_is_a_problem(check, config, field, value, sentence):
    config.update_from_flattened_dict({field: value})
    (problem,) = check()
    assert problem.startswith(sentence)
    with pytest.raises(DataError, match=re.escape(sentence)):
        train(config, "nowhere")
