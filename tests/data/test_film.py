import subprocess
import sys

import numpy as np

from tal_jax.data import film, video


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


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "tal_jax.data.film", "--shots=2"]
    done = subprocess.run([*command, f"--to={tmp_path}/a.mp4"], capture_output=True, text=True)
    assert done.returncode == 0 and "2 shots: " in done.stdout, done.stderr
    done = subprocess.run([*command, f"--to={tmp_path}/a.avi"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == f"Error: --to={tmp_path}/a.avi must end in .mp4.\n"
