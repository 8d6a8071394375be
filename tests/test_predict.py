import dataclasses
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest

from tal_jax import evaluate, inputs, predict, report, train, trained_run
from tal_jax.data import in_classes, load_dataset
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import common_frame_sec
from tal_jax.data.sets import shapes
from tal_jax.data.video import store_video
from tal_jax.detect import Stream
from tal_jax.errors import DataError
from tal_jax.evaluation import plots
from tal_jax.systems import SYSTEMS
from tests import tiny_config
from tests.conftest import RECORDINGS, signal
from tests.data.test_video import numbered, write_video
from tests.data.test_video_time import FILES, found


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """(config, workdir) of a trained toy, which knows its classes; its network is not the one of the config."""
    workdir = tmp_path_factory.mktemp("run")
    config, trained = tiny("toy"), tiny("toy", epochs=40)
    config.predict.min_score, trained.toy.channels = 0.5, 12
    assert train.train(trained, workdir)["map"]["0.3"] > 50
    return config, workdir


@pytest.fixture
def detections_of(run, tmp_path, capsys):
    """Function (input, of=config, **fields of config.data) -> {name: detections}, after looking at table and
    picture of each.
    """
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run")

    def detect(source, of=config, **data):
        changed = of.copy_and_resolve_references()
        changed.data.update(data)
        shutil.rmtree(tmp_path / "run" / "predictions", ignore_errors=True)
        said = [f"data.{field}" for field in data]
        predict.predict(changed, tmp_path / "run", str(source), said=said)
        table, found = capsys.readouterr().out, {}
        for path in sorted((tmp_path / "run" / "predictions").glob("*.json")):
            found |= json.loads(path.read_text())["results"]
            assert path.with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
            assert path.stem in table
        assert "start (s)" in table or "config.predict.min_score" in table
        for detections in found.values():
            for row in detections:
                if row["score"] >= 0.5:
                    assert f"{row['segment'][0]:.2f}" in table and row["label"] in table
        return found

    return detect


def best(detections, label):
    """[start, end] in seconds of the best detection of a class."""
    return max((row for row in detections if row["label"] == label), key=lambda row: row["score"])["segment"]


ACTIONS = [("fast", 40, 72), ("slow", 100, 140)]


def assert_found(detections):
    """The best detection of each class is inside its action: cells of the toy have 1.6 s."""
    for label, start, end in ACTIONS:
        found = best(detections, label)
        assert start / 10 - 0.8 <= found[0] and found[1] <= end / 10 + 0.8


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_a_file(detections_of, tmp_path, suffix):
    features = signal(200, ACTIONS, seed=9)
    path = tmp_path / f"new{suffix}"
    if suffix == ".csv":
        path.write_text("x,y,z\n" + "\n".join(",".join(map(str, row)) for row in features))
    else:
        {".npy": np.save, ".npz": np.savez}[suffix](path, features)
    found = detections_of(path)
    assert list(found) == ["new"]
    assert_found(found["new"])
    assert all(0 <= row["segment"][0] < row["segment"][1] <= 20 for row in found["new"])


def test_a_folder_and_its_detector_is_compiled_once(detections_of, tmp_path, monkeypatch):
    folder = tmp_path / "folder"
    folder.mkdir()
    for seed, name in enumerate(("one", "two", "three")):
        np.save(folder / f"{name}.npy", signal(200, ACTIONS, seed))
    (folder / "notes.txt").write_text("not a recording")
    made, Detector = [], trained_run.Detector
    monkeypatch.setattr(trained_run, "Detector", lambda *arguments: made.append(1) or Detector(*arguments))
    found = detections_of(folder)
    assert sorted(found) == ["one", "three", "two"] and len(made) == 1
    for detections in found.values():
        assert_found(detections)


def test_a_recording_of_the_data_set_is_drawn_with_its_ground_truth(detections_of, monkeypatch, tiny_data):
    drawn, draw_timeline = [], plots.draw_timeline
    monkeypatch.setattr(
        predict,
        "draw_timeline",
        lambda *args, **fields: drawn.append(fields) or draw_timeline(*args, **fields),
    )
    from_name = detections_of("monday")
    from_file = detections_of(tiny_data / "monday.npy")
    assert list(from_name) == ["monday"] and from_name == from_file
    for fields in drawn:
        assert fields["truths"].segments_sec.tolist() == [
            [start / 10, end / 10] for _, start, end in RECORDINGS["monday"][1]
        ]
        assert fields["duration_sec"] == 22.0
    detections_of(tiny_data / "monday.npy", annotations=str(tiny_data / "labels.json"))
    assert len(drawn) == 3


def test_what_is_corrected_keeps_its_subset_and_what_is_ignored(
    detections_of, tiny_data, tmp_path, monkeypatch
):
    made, write_page = {}, predict.write.write_page
    keep = lambda page, content: made.update({page.stem: content["recordings"][0]["entry"]})
    monkeypatch.setattr(predict.write, "write_page", lambda *args: keep(*args) or write_page(*args))
    content = json.loads((tiny_data / "labels.json").read_text())
    content["database"]["monday"]["annotations"].append({"label": "Ambiguous", "segment": [20, 21]})
    content["database"]["sunday"]["annotations"] = []
    (tmp_path / "labels.json").write_text(json.dumps(content))
    np.save(tmp_path / "new.npy", signal(200, ACTIONS, seed=9))
    for path in (tiny_data / "monday.npy", tiny_data / "sunday.npy", tmp_path / "new.npy"):
        detections_of(path, annotations=str(tmp_path / "labels.json"))
    assert {name: entry["subset"] for name, entry in made.items()} == {
        "monday": "train", "sunday": "test", "new": "train",
    }  # fmt: skip
    assert made["monday"]["ignored"] == [{"label": "Ambiguous", "segment": [20.0, 21.0]}]


def test_ground_truth_is_told_in_the_classes_of_the_run():
    segments_sec = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    recording = Recording("a", "test", 9.0, segments_sec, np.array([0, 1, 2], np.int32))
    known = in_classes(Annotations(("fast", "hop", "slow"), {"a": recording}), ("slow", "fast")).recordings
    np.testing.assert_array_equal(known["a"].labels, [1, 0])
    np.testing.assert_array_equal(known["a"].segments_sec, [[0, 1], [4, 5]])


def test_shorter_than_a_window(detections_of, tmp_path):
    np.save(tmp_path / "short.npy", signal(30, [("slow", 5, 25)], seed=3))
    found = detections_of(tmp_path / "short.npy")["short"]
    assert best(found, "slow")[1] <= 3.0
    assert max(row["segment"][1] for row in found) <= 3.0  # nothing is detected in the padding
    np.save(tmp_path / "one.npy", np.zeros((1, 3), np.float32))
    assert all(row["segment"][1] <= 0.1 for row in detections_of(tmp_path / "one.npy")["one"])


def test_hours_are_read_window_by_window(run, tmp_path):
    config, workdir = run
    config = evaluate.find_runs(config, workdir)[0].config
    config.window.test_stride_frames = 32
    config.decode.min_score = 0.5  # what is kept grows with the recording, so keep little
    hours = np.lib.format.open_memmap(tmp_path / "hours.npy", "w+", np.float32, (3 * 3600 * 10, 3))
    hours[-150:] = signal(150, [("slow", 50, 90)], seed=5)
    hours.flush()
    del hours
    dataset = inputs.input_datasets(config, str(tmp_path / "hours.npy"), ("fast", "slow"))["hours"]()
    detector, variables = trained_run.Detector([config], 2), SYSTEMS[config.system].variables(config, workdir)
    assert isinstance(dataset.read("hours"), np.memmap)
    streams = [Stream(config, variables, dataset)]
    first = detector.detect(streams, ["hours"])  # compiles
    tracemalloc.start()
    found = detector.detect(streams, ["hours"])["hours"]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2e6  # all windows together have 5 MB
    assert first == {"hours": found}
    start, end = best(found, "slow")
    assert 10800 - 10 - 0.8 <= start and end <= 10800 - 6 + 0.8


@pytest.mark.parametrize(
    "num_channels, features, message",
    [
        (3, np.ones((200, 4)), "has 4 channels, but config.data.num_channels is 3"),
        (0, np.ones((200, 4)), "Recording 'new' has 4 values a frame; the model was trained on 3"),
        (
            3,
            np.full((200, 3), np.nan),
            "Recording 'new' has features that are NaN or beyond 1e15, the first in row 0; correct the file",
        ),
        (
            3,
            np.full((200, 3), 1e300),
            "Recording 'new' has features that are NaN or beyond 1e15, the first in row 0; correct the file",
        ),
        (3, np.ones((200, 3, 1)), r"holds an array of shape \(200, 3, 1\); it must be \(T, C\)"),
        (3, np.zeros((0, 3)), r"holds an array of shape \(0, 3\); it must be \(T, C\), neither of them 0"),
    ],
)
def test_features_that_do_not_fit(run, tmp_path, num_channels, features, message):
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run")
    trained = json.loads((workdir / "config.json").read_text())
    trained["config"]["data"]["num_channels"] = num_channels
    (tmp_path / "run" / "config.json").write_text(json.dumps(trained))
    np.save(tmp_path / "new.npy", features)
    with pytest.raises(DataError, match=message):
        predict.predict(config, tmp_path / "run", str(tmp_path / "new.npy"))


def without_fps(run, workdir):
    """Copies a run to a workdir, as if the annotations alone had said its rate. Returns its config."""
    config, trained = run[0].copy_and_resolve_references(), run[1]
    shutil.copytree(trained, workdir)
    stored = json.loads((workdir / "config.json").read_text())
    stored["config"]["data"]["fps"] = config.data.fps = 0.0
    (workdir / "config.json").write_text(json.dumps(stored))
    return config


def test_a_recording_at_half_the_rate_is_refused(run, tmp_path):
    """The run has learnt from 10 frames a second; its training recordings may differ by a little."""
    config = without_fps(run, tmp_path / "run")
    frame_sec = json.loads((tmp_path / "run" / "config.json").read_text())["frame_sec"]
    assert frame_sec == pytest.approx(0.1)
    features = signal(200, ACTIONS, seed=9)
    for name, step_sec in (("near", 0.11), ("slow", 0.2)):
        lines = [f"{i * step_sec:.4f},{','.join(map(str, row))}" for i, row in enumerate(features)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["time,x,y,z", *lines]))
    predict.predict(config, tmp_path / "run", str(tmp_path / "near.csv"))
    with pytest.raises(
        DataError, match="A frame of the recording 'slow' lasts 0.2 s, but 0.1 s .* resample it to 2 times"
    ):
        predict.predict(config, tmp_path / "run", str(tmp_path / "slow.csv"))


def test_recordings_at_several_rates_have_no_common_one(tiny):
    dataset = load_dataset(tiny("toy"))
    names = list(dataset.annotations.recordings)
    assert common_frame_sec(dataset, names) == (pytest.approx(0.1), "")
    lasts = dict(zip(names, [0.1, 0.2, 0.05], strict=False))
    various = dataclasses.replace(dataset, frame_sec=lambda name: lasts.get(name, 0.1))
    seconds, problem = common_frame_sec(various, names)
    assert seconds is None
    assert problem.startswith(
        f"A frame lasts 0.05 s in recording '{names[2]}' and 0.2 s in recording '{names[1]}'"
    )
    spread = dataclasses.replace(dataset, frame_sec=lambda name: 0.0)
    assert common_frame_sec(spread, names) == (None, "")


def test_what_cannot_be_known(run, tiny_data, tmp_path):
    config, workdir = without_fps(run, tmp_path / "run"), tmp_path / "run"
    np.save(tmp_path / "new.npy", np.ones((200, 3)))
    with pytest.raises(DataError, match="Recording 'new' has neither 'fps' nor 'duration'"):
        predict.predict(config, workdir, str(tmp_path / "new.npy"))
    config.data.update(fps=10.0, features=str(tmp_path), allow_missing=True)
    shutil.copy(tiny_data / "monday.npy", tmp_path)
    with pytest.raises(DataError, match="The recording 'sunday' of the config's data set has no features"):
        predict.predict(config, workdir, "sunday", said=["data.fps", "data.features", "data.allow_missing"])


def test_activation_sequences_of_a_system_without_are_refused(run, tmp_path):
    config, workdir = run
    np.save(tmp_path / "new.npy", signal(200, ACTIONS, seed=9))
    shutil.copytree(workdir, tmp_path / "run")
    with pytest.raises(DataError, match="The system 'toy' has no class activation sequences"):
        predict.predict(config, tmp_path / "run", str(tmp_path / "new.npy"), draw="cas")
    assert not list((tmp_path / "run").glob("predictions/new*"))


def test_the_overrides_of_training_need_not_be_repeated(run, detections_of):
    config, _ = run
    as_trained = detections_of("monday")
    config = config.copy_and_resolve_references()
    config.model.channels, config.model.distance_multipliers = 64, (1.0,) * 6
    assert detections_of("monday", of=config) == as_trained


def test_a_folder_with_a_bad_file_is_gone_through_to_its_end(run, tmp_path, caplog):
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.npy").write_bytes(b"not an array")
    np.save(folder / "b.npy", signal(200, ACTIONS, seed=1))
    with pytest.raises(DataError, match="1 of 2 recordings could not be used, see above: a."):
        predict.predict(config, tmp_path / "run", str(folder))
    assert "Cannot read the feature file" in caplog.text
    assert (tmp_path / "run" / "predictions" / "b.json").exists()


def test_what_cannot_be_used_of_a_folder_is_told_and_the_rest_done(run, tmp_path, caplog):
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run")
    folder = tmp_path / "folder"
    folder.mkdir()
    np.save(folder / f"{'a' * 251}.npy", signal(200, ACTIONS, seed=1))
    np.save(folder / "b.npy", signal(200, ACTIONS, seed=1))
    (folder / "c.npy").symlink_to(tmp_path / "unmounted" / "c.npy")
    with pytest.raises(DataError, match="1 of 2 recordings could not be used, see above: a{251}."):
        predict.predict(config, tmp_path / "run", str(folder))
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == [
        f"1 left out of {folder}: called like files, but links to nothing or folders; the first is c.npy.",
        f"--input: the recording's name '{'a' * 59} is no plain file name; files are called after it, so "
        "rename the recording: 1 to 236 bytes, no '/', '\\' or control character, no dot in front.",
    ]
    assert sorted(path.name for path in (tmp_path / "run" / "predictions").iterdir()) == [
        "b.html",
        "b.json",
        "b.png",
    ]


def test_a_folder_of_two_streams(run, tmp_path):
    config, _ = run
    for stream, channels in (("rgb", 1), ("flow", 2)):
        (tmp_path / stream).mkdir()
        np.save(tmp_path / stream / "new.npy", np.ones((200, channels)))
    dataset = inputs.input_datasets(config, str(tmp_path), ("fast", "slow"))["new"]()
    assert dataset.read("new").shape == (200, 3)
    for path in (tmp_path / "rgb", tmp_path / "flow"):
        (path / "new.npy").unlink()
    with pytest.raises(
        DataError, match=r"holds no .npy, .npz, .csv, .* file, nor does .*rgb hold .npy files"
    ):
        inputs.input_datasets(config, str(tmp_path), ("fast", "slow"))


def test_what_is_wrong_with_the_annotations_is_said_and_none_are_needed(tmp_path):
    config = tiny_config.get_config("toy")
    config.data.name = "sbhar"
    config.data.left_out = ("typo",)
    with pytest.raises(
        DataError, match="config.data.left_out names 'typo', which is no recording of the annotations"
    ):
        inputs.input_datasets(config, "exp19_user10", ("fast", "slow"))
    np.save(tmp_path / "new.npy", np.ones((200, 3)))
    for name in ("folder", "shapes"):  # one has none of its own, the other none yet
        config.data.update(name=name, frames=str(tmp_path / "nowhere"))
        assert list(inputs.input_datasets(config, str(tmp_path / "new.npy"), ("fast", "slow"))) == ["new"]


@pytest.mark.parametrize("source", ["predictions", "predictions/x.cas.npz"])
def test_the_folder_of_predictions_is_no_input(tiny, tmp_path, source):
    (tmp_path / "predictions").mkdir()
    np.savez(tmp_path / "predictions" / "x.cas.npz", features=np.ones((200, 3)))
    with pytest.raises(
        DataError, match="--input=.* would be overwritten, for results go to .*predictions; choose another"
    ):
        predict.predict(tiny(), tmp_path, str(tmp_path / source))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_and_not_waited_for(run, tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(DataError, match="a.npy is a pipe or a device; name a file or a folder"):
        predict.predict(*run, str(tmp_path / "a.npy"))


def test_a_folder_with_two_files_of_a_recording(run, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((200, 3)))
    (tmp_path / "a.csv").write_text("1,2,3")
    with pytest.raises(DataError, match="holds two files for one recording; keep one of them"):
        predict.predict(*run, str(tmp_path))
    with pytest.raises(DataError, match=r"has the suffix '.json'; use one of .npy, .npz, .csv, .parquet"):
        predict.predict(*run, str(run[1] / "config.json"))


def test_no_annotation_file_is_needed(detections_of, tmp_path):
    np.save(tmp_path / "new.npy", signal(200, ACTIONS, seed=9))
    assert_found(detections_of(tmp_path / "new.npy", annotations="", features="")["new"])


@pytest.fixture(scope="module")
def run_on_frames(tmp_path_factory):
    """(config, workdir) of a toy trained on two rendered videos."""
    folder = tmp_path_factory.mktemp("frames")
    shapes.render_all(folder / "frames", subsets={"train": 1, "test": 1}, num_frames=160)
    config = tiny_config.get_config("toy")
    config.data = shapes.data_config()
    config.data.frames = str(folder / "frames")
    config.train.epochs = 1
    train.train(config, folder / "run")
    return config, folder / "run"


def test_videos(run_on_frames, tmp_path, capsys):
    config, workdir = run_on_frames
    write_video(tmp_path / "film.mp4", numbered(40), fps=20)
    write_video(tmp_path / "tiny.gif", numbered(12))
    (tmp_path / "broken.avi").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="1 of 3 recordings could not be used, see above: broken"):
        predict.predict(config, workdir, str(tmp_path), export=["eaf"])
    for name, duration_sec in (("film", 2.0), ("tiny", 0.48)):
        detections = json.loads((workdir / "predictions" / f"{name}.json").read_text())["results"][name]
        assert detections and all(0 <= d["segment"][0] < d["segment"][1] <= duration_sec for d in detections)
        assert (workdir / "predictions" / f"{name}.png").exists()
    assert (tmp_path / "film.mp4").as_uri() in (workdir / "predictions" / "film.eaf").read_text()
    printed = capsys.readouterr().out
    assert "film" in printed and "tiny" in printed


def test_a_video_that_the_data_set_knows_keeps_its_truth_and_its_duration(
    run_on_frames, tmp_path, monkeypatch
):
    config, workdir = run_on_frames
    drawn = []
    monkeypatch.setattr(predict, "draw_timeline", lambda *args, **fields: drawn.append(fields))
    write_video(tmp_path / "test_000.mp4", numbered(150), fps=10)  # annotated: 16 s
    predict.predict(config, workdir, str(tmp_path / "test_000.mp4"))
    predict.predict(config, workdir, "test_000")
    assert drawn[0]["truths"].segments_sec.tolist() == drawn[1]["truths"].segments_sec.tolist() != []
    assert [fields["duration_sec"] for fields in drawn] == [16.0, 16.0]
    assert all(fields["key_frames"].shape == (12, 40, 40, 3) for fields in drawn)


def test_detections_in_a_video_are_at_its_times(run_on_frames, tmp_path, monkeypatch, caplog):
    def white(detector, streams, names):
        (name,) = names
        edges = found(streams[0].dataset.read(name).mean((1, 2, 3)))
        times_sec = streams[0].dataset.timeline(name).to_seconds(edges)
        return {
            name: [{"label": "x", "segment": list(segment), "score": 1.0} for segment in times_sec.tolist()]
        }

    monkeypatch.setattr(trained_run.Detector, "detect", white)
    config, workdir = run_on_frames
    names = {name.split(".")[0]: name for name in FILES}
    for name in names.values():
        FILES[name][0](tmp_path / name)
    predict.predict(config, workdir, str(tmp_path))
    for stem, name in names.items():
        (detections,) = json.loads((workdir / "predictions" / f"{stem}.json").read_text())["results"].values()
        segments = sorted(row["segment"] for row in detections)
        np.testing.assert_allclose(segments, FILES[name][1], atol=0.1 + 1e-6)
        assert not FILES[name][3] or f"{name}: {FILES[name][3]}." in caplog.text


def test_frames_that_prepare_has_made(run_on_frames, tmp_path):
    config, workdir = run_on_frames
    write_video(tmp_path / "film.mp4", numbered(40), fps=20)
    predict.predict(config, workdir, str(tmp_path / "film.mp4"))
    of_video = (workdir / "predictions" / "film.json").read_bytes()
    store_video(
        tmp_path / "film.mp4", tmp_path / "frames", config.data.fps, config.data.frame_pixels, flow=False
    )
    for source in ("frames", "frames/rgb/film.npy"):
        (workdir / "predictions" / "film.json").unlink()
        predict.predict(config, workdir, str(tmp_path / source))
        assert (workdir / "predictions" / "film.json").read_bytes() == of_video


def test_key_frames_are_the_middles_of_twelve_parts():
    frames = np.arange(120)[:, None, None, None] * np.ones((1, 2, 2, 3))
    assert predict.key_frames(frames)[:, 0, 0, 0].tolist() == list(range(5, 120, 10))
    assert predict.key_frames(frames[:1]).shape == (12, 2, 2, 3)


def test_no_detection_above_the_score_is_said(capsys):
    report.print_detections("walk", [{"label": "a", "segment": [0, 1], "score": 0.036}], min_score=0.2)
    assert capsys.readouterr().out == (
        "walk: 1 detection, the best with score 0.036; --config.predict.min_score, now 0.2, shows those with "
        "lower scores.\n"
    )
    report.print_detections("walk", [], min_score=0.2)
    assert capsys.readouterr().out == "walk: no detection.\n"
