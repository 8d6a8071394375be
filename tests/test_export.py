"""--mode=export, and what runtime_export.py makes of its file."""

import dataclasses
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from jax import export

from tal_jax import export_run, predict, runtime_export
from tal_jax.data import frames
from tal_jax.data.sets import sbhar
from tal_jax.errors import DataError
from tal_jax.run_config import remember_run
from tal_jax.runtime_export import Stream
from tal_jax.systems import SYSTEMS, actionformer
from tal_jax.systems.actionformer.config import small_config
from tal_jax.systems.afsd import model as afsd_model
from tal_jax.systems.sliding.config import sliding_config
from tal_jax.trained_run import TrainedRun
from tests import tiny_config, toy_system
from tests.test_propose import saved_run

WINDOW, STRIDE, PER_FRAME = 128, 64, 10
ALIGNED = (WINDOW + 4 * STRIDE) * PER_FRAME  # samples: the last window of the grid ends with them
ALONE = """
import json, sys
sys.modules["tal_jax"] = None  # cannot be imported
import numpy as np
import runtime_export
samples = np.load("samples.npy")
detector = runtime_export.load("run.zip")
stream = runtime_export.Stream(detector)
pushed = [found for part in np.array_split(samples, 7) for found in stream.push(part)]
print(json.dumps([detector.detect(samples), pushed + stream.finish(), list(detector.classes)]))
"""


def assert_same(found, expected):
    """Two lists of detections, in any order."""
    order = lambda detections: sorted(detections, key=lambda row: (row["label"], row["segment"]))
    found, expected = order(found), order(expected)
    assert [row["label"] for row in found] == [row["label"] for row in expected] != []
    for key in ("segment", "score"):
        values = [[row[key] for row in rows] for rows in (found, expected)]
        np.testing.assert_allclose(*values, rtol=0, atol=1e-6)


def sbhar_config(system="toy", **data):
    config = tiny_config.get_config(system)
    config.name, config.data = "run", sbhar.data_config(**data)
    return config


@pytest.fixture(scope="module")
def afsd(tmp_path_factory):
    """(config, workdir, file) of an exported DW-AFSD of two levels, which has random parameters."""
    workdir, config = tmp_path_factory.mktemp("afsd"), sbhar_config("dw_afsd")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(afsd_model, "NUM_LEVELS", 2)
        saved_run(config, workdir)
        yield config, workdir, export_run.export_run(config, workdir)


@pytest.fixture(scope="module")
def detector(afsd):
    return runtime_export.load(afsd[2])


@pytest.fixture(scope="module")
def samples():
    return sbhar.read_signal("exp19_user10")


def test_the_file_alone_detects_what_predict_does(afsd, samples, tmp_path):
    config, workdir, file = afsd
    shutil.copy(file, tmp_path)
    shutil.copy(runtime_export.__file__, tmp_path)
    np.save(tmp_path / "samples.npy", samples[:ALIGNED])
    predict.predict(config, workdir, str(tmp_path / "samples.npy"))
    expected = json.loads((workdir / "predictions" / "samples.json").read_text())["results"]["samples"]
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, streamed, classes = json.loads(done.stdout)
    assert classes == list(sbhar.bundled_annotations().classes)
    assert [row["label"] for row in found] == [row["label"] for row in expected]  # in predict's order
    assert_same(found, expected)
    assert_same(streamed, expected)


def test_programs_are_for_three_platforms_and_any_batch(afsd):
    with zipfile.ZipFile(afsd[2]) as file:
        names = ["about.json", "network_128.stablehlo", "suppress.stablehlo", "weights.npz"]
        assert file.namelist() == names
        network, suppress = (export.deserialize(bytearray(file.read(name))) for name in names[1:3])
        about = json.loads(file.read(names[0]))
    assert network.platforms == suppress.platforms == ("cpu", "cuda", "tpu")
    assert str(network.in_avals[-1].shape[0]) == "batch" and network.in_avals[-2].shape[1:] == (128, 60)
    assert about["windows"] == {"lengths": [128], "stride": 64, "batch": 8}
    assert about["input"]["what"] == "6 numbers as the files of the data set hold them; 50 samples a second"


def test_a_network_that_needs_the_number_of_windows(tmp_path, samples, monkeypatch, caplog):
    decode, config = toy_system.TOY.decode, sbhar_config()
    needy = lambda config, logits: decode(config, logits[: int(logits.shape[0])])
    monkeypatch.setitem(SYSTEMS, "toy", dataclasses.replace(toy_system.TOY, decode=needy))
    saved_run(config, tmp_path)
    caplog.set_level("INFO")
    detector = runtime_export.load(export_run.export_run(config, tmp_path))
    assert "The program takes 8 windows at a time, not any number." in caplog.text
    assert_same(detector.detect(samples[:3000]), TrainedRun.load(tmp_path).detect(samples[:3000]))


def pushed(detector, samples, sizes):
    """(detections that were final before the end, those of the end, the largest number that waited)."""
    stream, final, begin, most = Stream(detector), [], 0, 0
    for size in sizes:
        final += stream.push(samples[begin : begin + size])
        begin, most = begin + size, max(most, len(stream._found.scores))
    final += stream.push(samples[begin:])
    return final, stream.finish(), most


@pytest.mark.parametrize("sizes", [[1] * 3000, [0, 700, 13, 64, 900], []], ids=["one", "some", "all"])
def test_a_stream_finds_what_the_whole_recording_shows(detector, samples, sizes):
    samples = samples[:ALIGNED]
    final, rest, _ = pushed(detector, samples, sizes)
    assert final and rest
    assert_same(final + rest, detector.detect(samples))


def test_only_the_last_window_of_a_stream_differs(detector, samples):
    samples = samples[: ALIGNED + 250]
    unchanged_sec = (
        (len(samples) / PER_FRAME - 2 * WINDOW) * PER_FRAME / 50
    )  # no chain of overlaps is so long
    before = lambda detections: [row for row in detections if row["segment"][1] < unchanged_sec]
    final, rest, _ = pushed(detector, samples, [500] * 5)
    assert_same(before(final + rest), before(detector.detect(samples)))
    assert max(row["segment"][1] for row in rest) > ALIGNED / 50 - 1
    short = samples[:300]
    assert_same(pushed(detector, short, [])[1], detector.detect(short))


def test_a_stream_keeps_little_and_says_how_late_it_is(detector, samples, monkeypatch):
    stream, kept = Stream(detector), []
    assert stream.latency_sec == pytest.approx(WINDOW * PER_FRAME / 50)
    for begin in range(0, len(samples), 100):
        for row in stream.push(samples[begin : begin + 100]):
            assert row["segment"][1] <= (begin + 100) / 50 - (WINDOW - STRIDE) * PER_FRAME / 50 + 1e-6
        kept.append((len(stream._samples), len(stream._found.scores)))
    assert max(count for count, _ in kept) <= WINDOW * PER_FRAME + 100
    assert max(count for _, count in kept[len(kept) // 2 :]) <= 2 * max(
        count for _, count in kept[: len(kept) // 2]
    )
    monkeypatch.setattr(runtime_export, "HELD_WINDOWS", -2)  # nothing may wait
    hasty = Stream(detector)
    hasty.push(samples[:ALIGNED])
    assert not len(hasty._found.scores)


def test_a_stream_of_statistics(tmp_path, samples):
    """They are of samples before and after a frame, so of some outside a window."""
    config = sbhar_config(statistics_samples=64, samples_beside=True, channel_offsets=(0.5,) * 6)
    config.data.channel_scales = (2.0,) * 6
    saved_run(config, tmp_path)
    detector = runtime_export.load(export_run.export_run(config, tmp_path))
    expected = TrainedRun.load(tmp_path).detect(samples[:ALIGNED])
    assert_same(detector.detect(samples[:ALIGNED]), expected)
    final, rest, _ = pushed(detector, samples[:ALIGNED], [999] * 4)
    assert final
    assert_same(final + rest, expected)


def test_a_stream_of_statistics_sees_its_last_frames(detector, monkeypatch):
    """They come after the samples for which the last whole window waits."""
    monkeypatch.setitem(detector.about, "prepare", detector.about["prepare"] | {"statistics_samples": 64})
    stream, frames = Stream(detector), WINDOW + 2
    monkeypatch.setattr(detector, "candidates", lambda windows, *_: stream._found)
    assert not stream.push(np.zeros((frames * PER_FRAME, 6))) and stream._seen == 0
    assert not stream.finish() and stream._seen == frames


def test_the_rate_of_the_files_goes_before_that_of_the_config(tmp_path):
    config = sbhar_config()
    saved_run(config, tmp_path)
    remember_run(config, sbhar.bundled_annotations().classes, tmp_path, 0.1)  # files of 100 samples a second
    detector = runtime_export.load(export_run.export_run(config, tmp_path))
    frames = detector.about["times"]["frames"]
    assert frames["stride_frames"] / frames["fps"] == pytest.approx(0.1)


def test_whole_recordings(tmp_path, samples, monkeypatch):
    monkeypatch.setattr(actionformer, "DEPLOYED_WINDOWS", 2)
    config = small_config()
    config.name, config.data = "run", sbhar.statistics_config(samples_per_frame=20)
    config.window.frames = 256
    config.backbone.update(channels=16, heads=2, branch_blocks=2)
    config.model.head_layers = 1
    config.loss.level_bounds = config.loss.level_bounds[:3]
    config.parallel.max_devices = 1
    saved_run(config, tmp_path)
    detector = runtime_export.load(export_run.export_run(config, tmp_path))
    assert detector.about["windows"] == {"lengths": [256, 320, 384, 448, 512], "stride": 0, "batch": 1}
    run = TrainedRun.load(tmp_path)
    for count in (3000, 6000):
        found = detector.detect(samples[:count])
        assert found == sorted(found, key=lambda row: -row["score"]) and len(found) == 200
        assert_same(found, run.detect(samples[:count]))
    with pytest.raises(ValueError, match="lasts longer than 204.8 s, the most that this file takes"):
        detector.detect(samples)
    with pytest.raises(
        ValueError, match="The run run cannot see a stream: its network sees a recording as a"
    ):
        Stream(detector)


def test_pictures(tmp_path):
    pixels, folder = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 3), np.uint8), tmp_path / "frames"
    for name in ("rgb", "info"):
        (folder / name).mkdir(parents=True)
    np.save(folder / "rgb" / "film.npy", pixels)
    (folder / "info" / "film.json").write_text(json.dumps({"fps": 10.0}))
    labels = [{"label": "fast", "segment": [2, 8]}, {"label": "slow", "segment": [10, 14]}]
    database = {"film": {"subset": "test", "annotations": labels}}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config = tiny_config.get_config("toy")
    config.data = frames.data_config(input="rgb", frame_pixels=8, crop_pixels=4, train_subset="test")
    config.data.update(annotations=str(tmp_path / "labels.json"), frames=str(folder))
    saved_run(config, tmp_path)
    detector, run = runtime_export.load(export_run.export_run(config, tmp_path)), TrainedRun.load(tmp_path)
    assert_same(detector.detect(pixels[:, 2:6, 2:6]), run.detect("film"))
    with pytest.raises(
        ValueError, match="a row of it a sample, which is the middle .4, 4, 3. of a frame of 8 x 8"
    ):
        detector.detect(pixels)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-2000]), "is damaged, or no file of --mode=export"),
        (lambda path: path.write_bytes(b"no zip"), "is damaged, or no file of --mode=export"),
        (
            lambda path: written(path, about={"format": "theirs 3"}),
            "its format is 'theirs 3', not 'tal_jax exp",
        ),
        (lambda path: written(path, about=[1]), "is damaged, or no file of --mode=export"),
        (lambda path: written(path, program=b"\0" * 40), "is damaged, or no file of --mode=export"),
        (lambda path: written(path, weights=np.array([print])), "allow_pickle=False"),
        (lambda path: written(path, weights=np.float32([1, np.nan])), "its weights cannot be used"),
        (lambda path: written(path, program=bytes(1 << 25)), "suppress.stablehlo would take 33554432 bytes"),
    ],
    ids=["cut", "no zip", "of others", "no dict", "no program", "pickled", "NaN", "bomb"],
)
def test_bad_files(afsd, tmp_path, damage, message):
    path = pathlib.Path(shutil.copy(afsd[2], tmp_path / "bad.zip"))
    damage(path)
    with pytest.raises(ValueError, match=message) as error:
        runtime_export.load(path)
    assert "bad.zip is damaged" in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="There is no file .*gone.zip"):
        runtime_export.load(tmp_path / "gone.zip")


def written(path, about=None, program=None, weights=None):
    """Writes the file anew with another part."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    if about is not None:
        parts["about.json"] = json.dumps(about).encode()
    if program is not None:
        parts["suppress.stablehlo"] = program
    if weights is not None:
        np.savez(path.with_suffix(".npz"), **{"0": weights})
        parts["weights.npz"] = path.with_suffix(".npz").read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in parts.items():
            file.writestr(name, part)


@pytest.mark.parametrize(
    "section, field, value, message",
    [
        ("windows", "batch", 0, "its windows cannot be used"),
        ("times", "frames", {"fps": math.nan, "stride_frames": 1}, "its times cannot be used"),
        ("times", "frames", {"fps": 0, "stride_frames": 1}, "its fps cannot be used"),
        ("times", "samples", {"fps": 1, "stride_frames": 0}, "its stride_frames cannot be used"),
        ("times", "frames", {"fps": "0.2"}, "TypeError"),
        ("times", "samples", {"fps": 1, "stride_frames": 1}, "missing 1 required positional argument"),
        ("prepare", "channel_scales", [0.0] * 6, "its channel_scales cannot be used"),
        ("prepare", "channel_offsets", [math.nan] * 6, "its channel_offsets cannot be used"),
        ("prepare", "samples_per_frame", 0, r"frames of the shape \(6,\) do not fit its networks"),
        ("prepare", "samples_per_frame", 5, r"frames of the shape \(30,\) do not fit its networks"),
        ("prepare", "statistics_samples", "x", "TypeError"),
        ("suppression", "most", -1, "its most cannot be used"),
        ("windows", "lengths", [], "empty"),
    ],
)
def test_bad_numbers(afsd, tmp_path, section, field, value, message):
    path = pathlib.Path(shutil.copy(afsd[2], tmp_path / "bad.zip"))
    with zipfile.ZipFile(path) as file:
        about = json.loads(file.read("about.json"))
    about[section][field] = value
    written(path, about=about)
    with pytest.raises(ValueError, match=f"bad.zip is damaged, .*{message}"):
        runtime_export.load(path)


def test_programs_that_do_not_fit_are_one_sentence(afsd, samples, tmp_path):
    path = pathlib.Path(shutil.copy(afsd[2], tmp_path / "bad.zip"))
    with zipfile.ZipFile(path) as file:
        about = json.loads(file.read("about.json"))
    written(path, about=about | {"classes": about["classes"][:3]}, weights=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="The programs of the file cannot run with its weights") as error:
        runtime_export.load(path).detect(samples)
    assert "\n" not in str(error.value)


def test_bad_samples(detector, samples):
    spoilt = samples[:100].copy()
    spoilt[41, 2] = np.nan
    large = samples[:100].copy()
    large[41, 2] = 1e20
    for bad, message in (
        (large, "Sample 41, from 0 on, is NaN or beyond 1e15"),
        (np.ma.masked_equal(spoilt, spoilt[0, 0]), "is NaN or beyond 1e15"),
        ([[1, 2], [3]], "The samples are no array of numbers"),
        (
            samples[:, :5],
            r"have the shape \(15739, 5\) and the type float32; .* a sample, which is 6 numbers",
        ),
        ("walk.npy", "they must be an array"),
        (samples[0], r"have the shape \(6,\)"),
        (samples.astype(str), "the type <U"),
        (spoilt, "Sample 41, from 0 on, is NaN or beyond 1e15"),
        (samples[:9], "There are 9 samples, fewer than the 10 of one frame"),
    ):
        with pytest.raises(ValueError, match=message):
            detector.detect(bad)
    stream = Stream(detector)
    with pytest.raises(ValueError, match="Sample 41, from 0 on, is NaN or beyond 1e15"):
        stream.push(spoilt)
    assert stream.push(samples[:9]) == stream.finish() == []
    with pytest.raises(ValueError, match="The stream is finished; make a new one"):
        stream.push(samples)


def test_gaps_are_filled_in_a_recording_but_not_in_a_stream(tmp_path, samples):
    config = sbhar_config(fill_missing=True)
    saved_run(config, tmp_path)
    detector = runtime_export.load(export_run.export_run(config, tmp_path))
    spoilt = samples[:2000].copy()
    spoilt[100:120, 2] = np.nan
    assert_same(detector.detect(spoilt), TrainedRun.load(tmp_path).detect(spoilt))
    with pytest.raises(ValueError, match="Sample 100, from 0 on, is NaN"):
        Stream(detector).push(spoilt)


@pytest.mark.parametrize("field", ["standardised", "keep_last", "most"])
def test_a_stream_needs_no_whole_recording(afsd, field):
    detector = runtime_export.load(afsd[2])
    section = detector.about["prepare" if field == "standardised" else "suppression"]
    section[field] = not section[field]
    with pytest.raises(ValueError, match="The run run cannot see a stream: its .*; use Detector.detect"):
        Stream(detector)


@pytest.mark.parametrize("system", ["pgcn", "pgcn_dw", "tcanet", "sliding"])
def test_systems_that_are_not_exported(system):
    config = sliding_config() if system == "sliding" else tiny_config.get_config(system)
    config.system = system
    why = "looks for the cuts of videos" if system == "sliding" else "starts from proposals"
    with pytest.raises(DataError, match=f"system '{system}' cannot be exported, because it {why}"):
        SYSTEMS[system].deployment(config)


def test_runs_that_are_not_exported(tiny, tmp_path):
    config = tiny("toy")
    config.data.fps = 0.0
    saved_run(config, tmp_path)
    with pytest.raises(DataError, match="nothing says how many samples its recordings have in a second; set"):
        export_run.export_run(config, tmp_path)
    config.evaluate.recording_scores = "scores.json"
    with pytest.raises(DataError, match="its classes come from a file of class scores; clear"):
        export_run.export_run(config, tmp_path)
    voting = small_config()
    voting.decode.voting_tiou = 0.9
    with pytest.raises(DataError, match="A run with config.decode.voting_tiou=0.9 cannot be exported; set"):
        actionformer.deployment(voting)
