import subprocess
import sys

import numpy as np
import pytest

from benchmarks import real_clips
from tal_jax.data import film, video
from tal_jax.data.sets import juggler
from tal_jax.errors import DataError


def test_a_film_is_what_its_changes_say(tmp_path):
    frames, changes = film.render(np.random.default_rng(1), 6)
    again, _ = film.render(np.random.default_rng(1), 6)
    np.testing.assert_array_equal(frames, again)
    assert len(changes) == 5 and frames.dtype == np.uint8 and frames.shape[1:] == (144, 192, 3)
    for change in changes:
        assert 0 < change.start <= change.frame <= change.end < len(frames)
        if change.kind == "cut":
            step = np.abs(np.diff(frames[change.frame - 1 : change.frame + 1].astype(int), axis=0)).mean()
            assert step > 5
        if change.kind == "fade":
            assert frames[change.frame - 1].mean() < 3
    film.write(tmp_path / "film.mp4", frames)
    info = video.read_info(tmp_path / "film.mp4")
    assert (info.num_frames, info.fps) == (len(frames), film.FPS)


def test_what_is_written_is_the_same_every_time(tmp_path, monkeypatch):
    monkeypatch.setattr(juggler, "DURATION_SEC", 1.0)
    files = [juggler.render(tmp_path / f"{number}.mp4").read_bytes() for number in range(2)]
    assert files[0] == files[1]
    info = video.read_info(tmp_path / "0.mp4")
    assert (info.num_frames, info.fps) == (25, juggler.FPS)


def test_clips_are_joined_where_they_end(tmp_path, monkeypatch):
    monkeypatch.setattr(real_clips, "CLIPS", {"dark": ("a.mp4", "run"), "light": ("b.mp4", None)})
    with pytest.raises(DataError, match="lacks a.mp4, b.mp4; benchmarks/real_clips.py says whose they are"):
        real_clips.require(tmp_path)
    for file, length, grey in (("a.mp4", 10, 20), ("b.mp4", 6, 220)):
        film.write(tmp_path / file, np.full((length, 144, 192, 3), grey, np.uint8))
    real_clips.require(tmp_path)
    places = real_clips.join(tmp_path, ["light", "dark"], tmp_path / "joined.mp4")
    assert places == {"light": (0, 6), "dark": (6, 16)}
    frames = np.stack(list(video.read_frames(tmp_path / "joined.mp4")))
    assert frames.shape == (16, 240, 320, 3)
    assert (frames.mean(axis=(1, 2, 3)) > 128).tolist() == [True] * 6 + [False] * 10


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "tal_jax.data.film", "--shots=2"]
    done = subprocess.run([*command, f"--to={tmp_path}/a.mp4"], capture_output=True, text=True)
    assert done.returncode == 0 and "2 shots: " in done.stdout, done.stderr
    done = subprocess.run([*command, f"--to={tmp_path}/a.avi"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == f"Error: --to={tmp_path}/a.avi must end in .mp4.\n"
