"""The Python API finds what --mode=predict finds, without a config at hand."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tal_jax
from tal_jax import predict, propose, trained_run
from tal_jax.errors import DataError
from tests.conftest import signal
from tests.test_propose import saved_run

FEATURES = signal(200, [("fast", 40, 72), ("slow", 100, 140)], seed=9)


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    """Folder of a run of the toy with random parameters, run/, and of new.npy and new.csv."""
    folder = tmp_path_factory.mktemp("api")
    saved_run(tiny(), folder / "run")
    np.save(folder / "new.npy", FEATURES)
    rows = "\n".join(",".join(map(str, row)) for row in FEATURES)
    (folder / "new.csv").write_text(f"x,y,z\n{rows}\n")
    return folder


@pytest.fixture(scope="module")
def run(folder):
    return tal_jax.load_run(folder / "run")


@pytest.fixture
def predicted(tiny, folder):
    """Function (input) -> what --mode=predict writes of it."""

    def detections(source):
        predict.predict(tiny(), folder / "run", str(source))
        (path,) = (folder / "run" / "predictions").glob("*.json")
        (found,) = json.loads(path.read_text())["results"].values()
        shutil.rmtree(folder / "run" / "predictions")
        return found

    return detections


def test_a_run_finds_what_predict_finds(run, folder, predicted, monkeypatch):
    monkeypatch.setattr(trained_run.Detector, "__init__", None)  # the one of the run does for all
    found = {suffix: run.detect(folder / f"new.{suffix}") for suffix in ("npy", "csv")}
    array, sunday = run.detect(FEATURES), run.detect("sunday")
    monkeypatch.undo()
    for suffix in ("npy", "csv"):
        assert found[suffix] == array == predicted(folder / f"new.{suffix}")
    assert len(array) and all(0 <= row["segment"][0] < row["segment"][1] <= 20 for row in array)
    assert sunday == predicted("sunday")
    assert run.classes == ("fast", "slow") and run.config.system == "toy"
    assert run.detect(FEATURES[None].tolist()) == array


def test_a_rate_that_the_run_does_not_know(run, folder, tmp_path):
    trained = json.loads((folder / "run" / "config.json").read_text())
    trained["config"]["data"].update(fps=0.0, annotations="gone.json", features="gone")
    trained["frame_sec"] = 0.1
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(json.dumps(trained))
    unknowing, expected = tal_jax.load_run(tmp_path / "run"), run.detect(FEATURES)
    for source in (FEATURES, folder / "new.npy"):
        assert unknowing.detect(source, fps=10) == unknowing.detect(source, duration_sec=20.0) == expected
    with pytest.raises(
        DataError,
        match=r"How long the array lasts is not known; say fps=25 \(rows a second\) or duration_sec",
    ):
        unknowing.detect(FEATURES)
    with pytest.raises(DataError, match="A frame of the recording 'array' lasts 0.05 s, but 0.1 s"):
        unknowing.detect(FEATURES, fps=20)
    with pytest.raises(DataError, match="fps is -1; it must be a number above 0."):
        unknowing.detect(FEATURES, fps=-1)


def test_a_rate_is_of_rows_not_of_the_frames_of_a_video(folder, tmp_path):
    trained = json.loads((folder / "run" / "config.json").read_text())
    trained["config"]["data"].update(fps=40.0, stride_frames=4)
    shutil.copytree(folder / "run", tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(json.dumps(trained))
    with_strides = tal_jax.load_run(tmp_path / "run")
    assert with_strides.detect(FEATURES, fps=10) == with_strides.detect(FEATURES) != []


def test_what_is_masked_is_missing(run):
    with pytest.raises(DataError, match="NaN"):
        run.detect(np.ma.masked_equal(FEATURES, FEATURES[3, 1]))


@pytest.mark.parametrize(
    "source, message",
    [
        ("", "'' is a folder; name one file."),
        (
            "nothing.npy",
            "nothing.npy is neither a file, nor a folder, nor a recording of the config's data set.",
        ),
        (
            np.ones(3),
            r"The array has the shape \(3,\) and the type float64; it must hold real numbers \(T, C\)",
        ),
        (np.full((5, 3), "x"), "the type <U1; it must hold real numbers"),
        ([[1], [2, 3]], "The source is neither a path nor an array"),
        (np.full((200, 3), np.nan), "Recording 'array' has features that are NaN or beyond 1e15"),
        (np.ones((200, 4)), "Recording 'array' in memory has 4 channels, but config.data.num_channels is 3"),
    ],
)
def test_what_cannot_be_detected_in_is_one_sentence(run, source, message):
    with pytest.raises(DataError, match=f"^{message}" if isinstance(source, str) else message):
        run.detect(source)


def test_times_of_what_says_them_itself(run):
    with pytest.raises(
        DataError, match="The times of the recording 'sunday' are those of its data set; leave out fps"
    ):
        run.detect("sunday", fps=10)


def test_a_folder_without_a_run_and_a_damaged_one(folder, tmp_path):
    with pytest.raises(DataError, match=r"holds no trained run \(there is no config.json\)"):
        tal_jax.load_run(tmp_path)
    shutil.copytree(folder / "run", tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    trained = json.loads(path.read_text())
    for field, value, message in (
        ("system", "other", "holds a run of the system 'other', not one of afsd"),
        ("evaluate", None, "config.json is damaged, or of another version"),
    ):
        path.write_text(json.dumps(trained | {"config": trained["config"] | {field: value}}))
        with pytest.raises(DataError, match=message):
            tal_jax.load_run(tmp_path / "run")


def test_a_run_of_two_stages_runs_both(tiny, tmp_path, monkeypatch):
    config = tiny("pgcn")
    saved_run(config.first_stage, tmp_path / "run" / "first_stage")
    propose.propose(config.first_stage, tmp_path / "run" / "first_stage")
    config.proposals = str(propose.path_of(propose.first_stage_folder(tmp_path / "run")))
    saved_run(config, tmp_path / "run")
    run = tal_jax.load_run(tmp_path / "run")
    found = run.detect(FEATURES)
    np.save(tmp_path / "new.npy", FEATURES)
    predict.predict(config, tmp_path / "run", str(tmp_path / "new.npy"))
    written = json.loads((tmp_path / "run" / "predictions" / "new.json").read_text())["results"]["new"]
    assert len(found) and found == written
    monkeypatch.setattr(trained_run.Detector, "__init__", None)  # none of the two is compiled again
    assert run.detect(FEATURES) == found


def test_importing_tal_jax_is_cheap():
    code = "import sys, tal_jax; sys.exit(bool({'jax', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
