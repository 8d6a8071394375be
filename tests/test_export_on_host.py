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
        config.model.update(boundary=False) if "boundary" in system else None
        config.localize.min_probability = 0.1
    config.evaluate.batch_size, config.name = 3, "run"
    return config


SYSTEMS = ["ecm", "kt_mgfn", "kt_mgfn,boundary=False", "linear"]


@pytest.fixture(scope="module", params=SYSTEMS)
def exported(request, tiny_data, tmp_path_factory):
    """(config, workdir, file) of a run with random parameters."""
    workdir, config = tmp_path_factory.mktemp("run"), small(request.param, tiny_data)
    saved_run(config, workdir)
    return config, workdir, export_run.export_run(config, workdir)


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
    saved_run(config, tmp_path)
    detector = runtime_export.load(export_run.export_run(config, tmp_path))
    for part in (samples, samples[:40]):
        assert_same(detector.detect(part), TrainedRun.load(tmp_path).detect(part))


def test_the_file_needs_the_folder_ops_and_nothing_else(exported, samples, tmp_path):
    _, workdir, file = exported
    np.save(tmp_path / "samples.npy", samples)
    shutil.copy(file, tmp_path)
    shutil.copy(runtime_export.__file__, tmp_path)
    (tmp_path / "tal_jax").mkdir()
    (tmp_path / "tal_jax" / "__init__.py").touch()  # goes before the tal_jax that is tested
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


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("localize", "fps", 0, "its fps cannot be used"),
        ("localize", "thresholds", [0.1, float("nan")], "its thresholds cannot be used"),
        ("localize", "rule", "of_nobody", "its rule cannot be used"),
        ("localize", "window_frames", -1, "its window_frames cannot be used"),
        ("suppression", "tiou", 0, "its tiou cannot be used"),
        ("suppression", "extra_sec", None, "damaged, or no file of --mode=export"),
    ],
)
def test_damaged_rules(exported, samples, tmp_path, section, field, value, message):
    with zipfile.ZipFile(exported[2]) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    about = json.loads(parts["about.json"])
    about[section][field] = value
    parts["about.json"] = json.dumps(about)
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as file:
        for name, part in parts.items():
            file.writestr(name, part)
    with pytest.raises(ValueError, match=message):
        runtime_export.load(tmp_path / "run.zip").detect(samples)
