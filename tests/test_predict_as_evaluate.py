"""Predict finds in a recording what evaluate finds: every system, one stream and two, every input.

The recordings have no annotated duration, their files have a prefix, and flow is a row shorter than RGB.
"""

import json

import numpy as np
import pytest

from tal_jax import evaluate, predict, propose
from tal_jax.data import frames
from tal_jax.data.video import store_video
from tal_jax.errors import DataError
from tal_jax.systems.afsd import model as afsd_model
from tests import tiny_config
from tests.conftest import FPS, RECORDINGS, signal
from tests.data.test_video import numbered, write_video
from tests.systems.test_weak import weak_config
from tests.test_propose import saved_run

pytestmark = pytest.mark.usefixtures("compiled_once")

END_SEC = 9.0  # of "sunday", the test recording: of the longer of its streams
SCORED = {"class": ["jump", "rest"], "results": {name: [0.3, 0.6] for name in RECORDINGS}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """rgb/v_NAME.npy, flow/v_NAME.npy, labels.json, proposals.json, scores.json of recordings."""
    folder, database, results = tmp_path_factory.mktemp("two_streams"), {}, {}
    for seed, (name, (num_frames, actions)) in enumerate(RECORDINGS.items()):
        for stream, rows in (("rgb", num_frames), ("flow", num_frames - 1)):
            (folder / stream).mkdir(exist_ok=True)
            array = signal(num_frames, actions, seed + 10 * (stream == "flow"))
            np.save(folder / stream / f"v_{name}.npy", array[:rows])
        rows = [{"label": label, "segment": [start / FPS, end / FPS]} for label, start, end in actions]
        database[name] = {"subset": "test" if name == "sunday" else "train", "annotations": rows}
        results[name] = [{**rows[0], "score": 0.9}, {"segment": [7, 30], "score": 0.8, "label": "slow"}]
    (folder / "labels.json").write_text(json.dumps({"database": database}))
    (folder / "proposals.json").write_text(json.dumps({"results": results}))
    (folder / "scores.json").write_text(json.dumps(SCORED))
    return folder


def as_in(folder, config, stream=""):
    """The config on the features of the folder."""
    config.data.update(annotations=str(folder / "labels.json"), features=str(folder), file_prefix="v_")
    config.data.update(num_channels=6, stream=stream)
    if "proposals" in config:
        config.proposals = str(folder / "proposals.json")
    return config


def config_of(folder, system, stream=""):
    if system in ("ecm", "kt_mgfn"):
        config = weak_config(system, folder)
        config.localize.min_probability = 0.0
    else:
        config = tiny_config.get_config(system)
    return as_in(folder, config, stream)


def assert_found_as_evaluated(config, workdir, sources, name="sunday", end_sec=END_SEC):
    """Returns the detections."""
    evaluate.evaluate(config, workdir)
    expected = json.loads((workdir / "detections.json").read_text())["results"][name]
    assert expected and all(0 <= d["segment"][0] < d["segment"][1] <= end_sec for d in expected)
    for source in sources:
        (workdir / "predictions" / f"{name}.json").unlink(missing_ok=True)
        predict.predict(config, workdir, str(source))
        found = json.loads((workdir / "predictions" / f"{name}.json").read_text())["results"][name]
        assert [d["label"] for d in found] == [d["label"] for d in expected]
        for key in ("segment", "score"):
            np.testing.assert_allclose([d[key] for d in found], [d[key] for d in expected], rtol=0, atol=1e-6)
    return expected


@pytest.fixture
def two_levels(monkeypatch):
    """AFSD compiles in a third of the time of six levels."""
    monkeypatch.setattr(afsd_model, "NUM_LEVELS", 2)


@pytest.mark.parametrize("system", ["afsd", "dw_afsd", "ecm", "kt_mgfn", "pgcn", "pgcn_dw", "tcanet"])
def test_one_stream(folder, tmp_path, system, two_levels):
    config = config_of(folder, system)
    saved_run(config, tmp_path)
    assert_found_as_evaluated(config, tmp_path, ("sunday", folder / "rgb" / "v_sunday.npy"))


@pytest.mark.parametrize(
    "system, fusion", [("afsd", "outputs"), ("dw_afsd", "segments"), ("pgcn", ""), ("pgcn_dw", "")]
)
def test_two_streams(folder, tmp_path, system, fusion, two_levels):
    for stream in ("rgb", "flow"):
        config = config_of(folder, system, stream)
        saved_run(config, tmp_path / stream)
    if fusion:
        config.readings = (f"decode.fusion={fusion}",)
    alone = assert_found_as_evaluated(config, tmp_path / "flow", ())
    config.evaluate.second_workdir = str(tmp_path / "rgb")
    fused = assert_found_as_evaluated(config, tmp_path / "flow", ("sunday", folder / "rgb" / "v_sunday.npy"))
    assert fused != alone


@pytest.mark.parametrize("system", ["pgcn", "tcanet"])
def test_a_first_stage_of_two_streams(folder, tmp_path, system):
    config = config_of(folder, system)
    for stream, place in (("flow", tmp_path / "first_stage"), ("rgb", tmp_path / "second")):
        saved_run(as_in(folder, config.first_stage.copy_and_resolve_references(), stream), place)
    as_in(folder, config.first_stage)
    config.first_stage.evaluate.second_workdir = str(tmp_path / "second")
    propose.propose(config.first_stage, tmp_path / "first_stage")
    config.proposals = str(propose.path_of(tmp_path / "first_stage"))
    config.decode.proposals = 1  # the best, which another one would be of one stream
    saved_run(config, tmp_path)
    assert_found_as_evaluated(config, tmp_path, ("sunday", folder / "rgb" / "v_sunday.npy"))


@pytest.mark.parametrize("system", ["toy", "pgcn"])
def test_scores_of_recordings_name_the_one_class(folder, tmp_path, system):
    config = config_of(folder, system)
    config.data.class_agnostic = True
    saved_run(config, tmp_path)
    plain = assert_found_as_evaluated(config, tmp_path, ("sunday",))
    scores = {"class": ["fast", "slow"], "results": {"sunday": [0.4, 0.6]}}
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    config.evaluate.recording_scores = str(tmp_path / "scores.json")
    found = assert_found_as_evaluated(config, tmp_path, ("sunday", folder / "rgb" / "v_sunday.npy"))
    assert {d["label"] for d in plain} == {"action"} and {d["label"] for d in found} == {"slow"}
    np.testing.assert_allclose([d["score"] for d in found], [0.6 * d["score"] for d in plain], rtol=1e-6)
    config.evaluate.update(classes_per_recording=2, recording_score_power=0.5)
    twice = assert_found_as_evaluated(config, tmp_path, ("sunday",))
    assert {d["label"] for d in twice} == {"slow", "fast"} and len(twice) == 2 * len(plain)


def test_streams_of_other_classes_are_not_fused(folder, tmp_path):
    for stream, agnostic in (("rgb", True), ("flow", False)):
        config = config_of(folder, "toy", stream)
        config.data.class_agnostic = agnostic
        saved_run(config, tmp_path / stream)
    config.evaluate.second_workdir = str(tmp_path / "rgb")
    with pytest.raises(DataError, match="a run on the classes action, and .*flow one on fast, slow; train"):
        predict.predict(config, tmp_path / "flow", "sunday")


@pytest.mark.parametrize("fused", [False, True])
def test_frames_from_a_video(tmp_path, fused):
    """Its annotation gives no duration: that of the video is in the info file of its frames."""
    write_video(tmp_path / "v_film.mp4", numbered(47), fps=20)
    store_video(tmp_path / "v_film.mp4", tmp_path / "frames", fps=10.0, frame_pixels=24, flow=fused)
    labels = [{"label": "fast", "segment": [0.2, 0.8]}, {"label": "slow", "segment": [1.0, 1.4]}]
    database = {"film": {"subset": "test", "annotations": labels}}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    for stream in ("rgb", "flow")[: 1 + fused]:
        config = tiny_config.get_config("toy")
        config.data = frames.data_config(input=stream, frame_pixels=24, crop_pixels=16, train_subset="test")
        config.data.file_prefix = "v_"
        config.data.update(annotations=str(tmp_path / "labels.json"), frames=str(tmp_path / "frames"))
        saved_run(config, tmp_path / stream)
    if fused:
        config.evaluate.second_workdir = str(tmp_path / "rgb")
    sources = "film", tmp_path / "v_film.mp4"
    found = assert_found_as_evaluated(config, tmp_path / stream, sources, "film", 2.35)
    assert max(d["segment"][1] for d in found) == 2.35


@pytest.mark.parametrize("first, second", [("rgb", "flow"), ("flow", "rgb")])
def test_frames_of_two_lengths_are_fused_row_by_row(tmp_path, first, second):
    """Windows of 128 frames begin at 0, 64 and 71 in both: the last row of the longer plays no part."""
    rng, folder = np.random.default_rng(0), tmp_path / "frames"
    pixels = {stream: rng.integers(0, 256, (200, 8, 8, c), np.uint8) for stream, c in frames.STREAMS.items()}
    for name in ("rgb", "flow", "info"):
        (folder / name).mkdir(parents=True)
    np.save(folder / "flow" / "film.npy", pixels["flow"][:199])
    (folder / "info" / "film.json").write_text(json.dumps({"fps": 10.0}))
    labels = [{"label": "fast", "segment": [2, 8]}, {"label": "slow", "segment": [10, 14]}]
    database = {"film": {"subset": "test", "annotations": labels}}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    found = []
    for rgb in (pixels["rgb"], pixels["rgb"][:199]):
        np.save(folder / "rgb" / "film.npy", rgb)
        for stream in (second, first):
            config = tiny_config.get_config("toy")
            config.data = frames.data_config(input=stream, frame_pixels=8, crop_pixels=8, train_subset="test")
            config.data.update(annotations=str(tmp_path / "labels.json"), frames=str(folder))
            if not found:
                saved_run(config, tmp_path / stream)
        config.evaluate.second_workdir = str(tmp_path / second)
        found.append(assert_found_as_evaluated(config, tmp_path / first, ("film",), "film", 19.9))
    assert found[0] == found[1]


def test_a_file_that_nobody_has_annotated_is_as_long_as_its_features(folder, tmp_path):
    config = config_of(folder, "toy")
    config.data.update(stride_frames=4, snippet_frames=16)
    saved_run(config, tmp_path)
    np.save(tmp_path / "new.npy", np.zeros((30, 6), np.float32))
    predict.predict(config, tmp_path, str(tmp_path / "new.npy"))
    found = json.loads((tmp_path / "predictions" / "new.json").read_text())["results"]["new"]
    assert max(d["segment"][1] for d in found) == (29 * 4 + 16) / FPS
