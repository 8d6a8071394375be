"""Exported runs of the systems that find their segments on the host, where activations are high."""

import json
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from configs import folder as folder_config
from tal_jax import export_run, ops, runtime_export
from tal_jax.ops import localize
from tal_jax.run_config import remember_run
from tal_jax.runtime_export import Stream
from tal_jax.trained_run import TrainedRun
from tests.systems.test_weak import weak_config
from tests.test_export import assert_same
from tests.test_propose import saved_run

# Without the packages that tal_jax needs beyond jax and numpy.
ALONE = """
import json, sys
sys.modules |= dict.fromkeys(["flax", "ml_collections", "optax", "orbax", "clu"])
if sys.argv[1] == "nothing":
    sys.modules["tal_jax"] = None  # cannot be imported
import numpy as np
import runtime_export
print(json.dumps(runtime_export.load("run.zip").detect(np.load("samples.npy"))))
"""


def small(system, tiny_data):
    """A config of a system on the tiny data set."""
    if system == "linear":
        config = folder_config.get_config("linear")
        config.data.update(annotations=str(tiny_data / "labels.json"), features=str(tiny_data), fps=10.0)
        config.window.update(frames=64, train_stride_frames=32, test_stride_frames=48)
        config.localize.thresholds = (0.45, 0.5, 0.55)
    else:
        config = weak_config(system.partition(",")[0], tiny_data)
        if "boundary" in system:
            config.model.boundary = False
        config.localize.min_probability = 0.1
    config.evaluate.batch_size, config.name = 3, "run"
    return config


SYSTEMS = ["ecm", "kt_mgfn", "kt_mgfn,boundary=False", "linear"]


def made(config, workdir):
    """(config, workdir, file) of a run with random parameters."""
    saved_run(config, workdir)
    return config, workdir, export_run.export_run(config, workdir)


@pytest.fixture(scope="module", params=SYSTEMS)
def exported(request, tiny_data, tmp_path_factory):
    return made(small(request.param, tiny_data), tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def linear(tiny_data, tmp_path_factory):
    return made(small("linear", tiny_data), tmp_path_factory.mktemp("linear"))


@pytest.fixture(scope="module")
def samples(tiny_data):
    return np.load(tiny_data / "monday.npy")


@pytest.mark.parametrize("cut", [1.0, 0.1], ids=["windows", "short"])
def test_an_exported_run_detects_what_the_run_does(exported, samples, cut):
    _, workdir, file = exported
    samples = samples[: int(cut * len(samples))]
    assert_same(runtime_export.load(file).detect(samples), TrainedRun.load(workdir).detect(samples))


@pytest.mark.parametrize("sampling", ["middle", "published", "linear"])
def test_windows_that_are_whole_recordings(tiny_data, samples, tmp_path, sampling):
    config = small("ecm", tiny_data)
    config.window.update(frames=0, sampling=sampling)
    detector = runtime_export.load(made(config, tmp_path)[2])
    for part in (samples, samples[:40]):
        assert_same(detector.detect(part), TrainedRun.load(tmp_path).detect(part))


@pytest.mark.parametrize("fps", [49.0, 29.97, 30000 / 1001])
def test_the_rate_is_that_of_the_recordings_to_the_last_digit(tiny_data, tmp_path, samples, fps):
    """So that greedy NMS has the same tIoUs: those of segments on a grid are often equal to its threshold."""
    config = small("ecm", tiny_data)
    config.data.fps, config.decode.nms_tiou = fps, 0.5
    saved_run(config, tmp_path)
    remember_run(config, ["fast", "slow"], tmp_path, config.data.samples_per_frame / fps)
    detector = runtime_export.load(export_run.export_run(config, tmp_path))
    assert detector.about["times"]["samples"]["fps"] == fps
    assert_same(detector.detect(samples), TrainedRun.load(tmp_path).detect(samples))


def test_the_file_needs_the_folder_ops_and_nothing_else(exported, samples, tmp_path):
    _, workdir, file = exported
    np.save(tmp_path / "samples.npy", samples)
    shutil.copy(file, tmp_path)
    shutil.copy(runtime_export.__file__, tmp_path)
    shutil.copytree(pathlib.Path(ops.__file__).parent, tmp_path / "tal_jax" / "ops")

    def run(beside):
        command = [sys.executable, "-c", ALONE, beside]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "A package is missing: tal_jax/ops, which finds the segments" in run("nothing").stderr
    assert_same(json.loads(run("ops").stdout), TrainedRun.load(workdir).detect(samples))


def test_a_stream_sees_no_whole_recording(exported):
    with pytest.raises(
        ValueError, match="run cannot see a stream: its segments are found in a whole recording"
    ):
        Stream(runtime_export.load(exported[2]))


def changed(file, folder, section, **fields):
    """The path of a copy of an exported file, with other values in a section of about.json."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(folder / "bad.zip", "w") as new:
        for name in old.namelist():
            part = old.read(name)
            if name == "about.json":
                about = json.loads(part)
                about[section].update(fields)
                part = json.dumps(about)
            new.writestr(name, part)
    return folder / "bad.zip"


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("localize", {"thresholds": [0.1, float("nan")]}, "its thresholds cannot be used"),
        ("localize", {"thresholds": []}, "its thresholds cannot be used"),
        ("localize", {"rule": "of_nobody"}, "its rule cannot be used"),
        ("localize", {"window_frames": 32}, "its lengths cannot be used"),
        ("localize", {"snippets": 16}, "its lengths cannot be used"),
        ("localize", {"max_classes": 0}, "its max_classes cannot be used"),
        ("localize", {"smoothing": 0}, "its smoothing cannot be used"),
        ("localize", {"min_probability": 2}, "its min_probability cannot be used"),
        ("windows", {"stride": -1}, "its windows cannot be used"),
        ("windows", {"batch": 0}, "its windows cannot be used"),
        ("suppression", {"tiou": 0}, "its tiou cannot be used"),
        ("suppression", {"extra_sec": None}, "TypeError"),
    ],
)
def test_damaged_rules(linear, tmp_path, section, fields, message):
    with pytest.raises(ValueError, match=f"bad.zip is damaged, or no file of --mode=export .*{message}"):
        runtime_export.load(changed(linear[2], tmp_path, section, **fields))


def test_a_folder_of_another_version(linear, monkeypatch):
    monkeypatch.setattr(localize, "FORMAT", "tal_jax export 0")
    what = "A package is missing: tal_jax/ops, .*localize.py is of another version"
    with pytest.raises(ValueError, match=what):
        runtime_export.load(linear[2])


def test_a_rule_that_its_programs_do_not_fit(linear, samples, tmp_path):
    path = changed(linear[2], tmp_path, "localize", rule="of_boundaries")
    with pytest.raises(
        ValueError, match="The rule of the file cannot be used with its programs; export the run"
    ):
        runtime_export.load(path).detect(samples)
