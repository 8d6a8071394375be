import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

from tal_jax import prepare
from tal_jax.data import video
from tal_jax.data.sets import thumos14
from tal_jax.errors import DataError
from tal_jax.runtime.files import only_run, replacing
from tests.data.test_video import numbered, read_clip, read_numbers, write_video

ROOT = pathlib.Path(prepare.__file__).parents[1]


INFO = {"sampling": "time", "notes": []}


def moving(num_frames, seed):
    """Frames (T, 48, 64, 3) of a texture that moves to the right by a pixel a frame."""
    scene = np.random.default_rng(seed).integers(0, 255, (6, 8 + num_frames // 8, 3), np.uint8)
    scene = cv2.resize(scene, (64 + num_frames, 48), interpolation=cv2.INTER_CUBIC)
    return np.stack([scene[:, num_frames - i : num_frames - i + 64] for i in range(num_frames)])


@pytest.fixture
def videos(tmp_path):
    """Folder with four good videos."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for seed, name in enumerate(("a.mp4", "b.avi", "c.webm", "d.mkv")):
        write_video(folder / name, moving(40, seed))
    return folder


def contents(folder):
    """The bytes of every file under a folder by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def command(*arguments):
    """The command line of a run."""
    return [sys.executable, "-m", "tal_jax.prepare", *map(str, arguments)]


def run(*arguments, **environment):
    """A whole run: its exit code and what it printed."""
    done = subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def test_good_damaged_and_other_files(videos, tmp_path):
    write_video(videos / "numbers.mp4", numbered(40))
    (videos / "broken.mp4").write_bytes((videos / "a.mp4").read_bytes()[:500])
    (videos / "notes.txt").write_text("not a video")
    cv2.imwrite(str(videos / "a.jpg"), np.zeros((48, 64, 3)))
    out = tmp_path / "out"
    arguments = (
        "--dataset=folder",
        f"--videos={videos}",
        f"--out={out}",
        "--workers=2",
        "--frame_pixels=24",
        "--flow",
    )
    code, text = run(*arguments)
    assert code == 1
    assert "2 file(s) are no videos and are left out: a.jpg, notes.txt." in text
    assert "0 of 6 videos are there already; 6 to do." in text
    assert "  broken.mp4: Cannot read the video" in text and "1 video(s) could not be prepared" in text
    assert "Traceback" not in text
    for name in ("a", "b", "c", "d", "numbers"):
        rgb, flow = np.load(out / "rgb" / f"{name}.npy"), np.load(out / "flow" / f"{name}.npy")
        assert (
            rgb.shape == (16, 24, 24, 3)
            and flow.shape == (16, 24, 24, 2)
            and rgb.dtype == flow.dtype == np.uint8
        )
        info = json.loads((out / "info" / f"{name}.json").read_text())
        times_sec = info.pop("times_sec")
        assert info == INFO | {"fps": 10.0, "num_frames": 16, "duration_sec": 1.6, "source_fps": 25.0}
        np.testing.assert_allclose(
            times_sec, np.array([0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25, 27, 30, 32, 35, 37]) / 25, atol=1e-3
        )
    assert read_numbers(np.load(out / "rgb" / "numbers.npy")) == [
        0,
        2,
        5,
        7,
        10,
        12,
        15,
        17,
        20,
        22,
        25,
        27,
        30,
        32,
        35,
        37,
    ]
    motion = (np.load(out / "flow" / "a.npy") / 255 * 2 - 1) * 20
    # two frames at 3/8 of the size
    np.testing.assert_allclose(np.median(motion[0], (0, 1)), [2 * 24 / 64, 0], atol=0.2)
    assert len(contents(out)) == 5 * 3 + 1

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    (videos / "broken.mp4").unlink()
    code, text = run(*arguments)
    assert (
        code == 0
        and "5 of 5 videos are there already; 0 to do." in text
        and f"All 5 videos are in {out}." in text
    )
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}


def test_killed_while_running_it_goes_on_where_it_was(videos, tmp_path):
    settings = dict(dataset="folder", videos=videos, flow=True, frame_pixels=24)
    prepare.prepare(out=tmp_path / "whole", workers=2, **settings)
    out = tmp_path / "out"
    arguments = command(
        "--dataset=folder", f"--videos={videos}", f"--out={out}", "--workers=1", "--frame_pixels=24", "--flow"
    )
    process = subprocess.Popen(
        arguments, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    # one video is whole, one is half done
    while not (list(out.glob("flow/?.npy")) and list(out.glob("flow/.*"))):
        assert process.poll() is None
        time.sleep(0.002)
    process.kill()
    process.wait()
    _wait_for_the_end_of(process.pid)
    made = {path: path.stat().st_mtime_ns for path in out.glob("*/?.*")}
    assert 0 < len(made) < 12 and list(out.glob("flow/.*"))  # the half-done file is still there

    assert prepare.prepare(out=out, workers=1, **settings) == {}
    assert contents(out) == contents(tmp_path / "whole")
    assert made == {path: path.stat().st_mtime_ns for path in made}


def _wait_for_the_end_of(group, seconds=10):
    """Until no process of the group is left; orphans that go on would write to the folder."""
    until = time.monotonic() + seconds
    while any(_group_of(entry) == group for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()):
        assert time.monotonic() < until, "the worker processes outlive their parent"
        time.sleep(0.05)


def _group_of(entry):
    try:
        state, _, group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return None
    return None if state == "Z" else int(group)


@pytest.mark.parametrize("interrupted", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_a_signal_it_ends_at_once(videos, tmp_path, interrupted):
    out = tmp_path / "out"
    write_video(videos / "long.mp4", moving(400, 0))
    arguments = command(
        "--dataset=folder", f"--videos={videos}", f"--out={out}", "--workers=2", "--frame_pixels=48", "--flow"
    )
    process = subprocess.Popen(
        arguments,
        cwd=ROOT,
        # tests in the background are deaf to it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not list(out.glob("flow/.*")):
        assert process.poll() is None
        time.sleep(0.01)
    if interrupted == signal.SIGINT:
        os.killpg(process.pid, interrupted)  # Ctrl-C reaches the whole group
    else:
        process.terminate()
    text, _ = process.communicate(timeout=20)
    assert process.returncode != 0 and "Traceback" not in text
    if interrupted == signal.SIGINT:
        assert "Stopped; the same command goes on where it was." in text
    _wait_for_the_end_of(process.pid)


def _crash_on_b(path):
    return os._exit(11) if path.stem == "b" else ""


def test_a_crash_of_the_decoder_costs_one_video():
    paths = [pathlib.Path(f"{name}.mp4") for name in "abcd"]
    reasons = prepare._run_in_processes(_crash_on_b, paths, workers=2, total=4)
    assert reasons == {"a.mp4": "", "b.mp4": "The video b.mp4 crashed the decoder.", "c.mp4": "", "d.mp4": ""}


def test_a_long_video_of_activitynet_is_768_frames(tmp_path):
    write_video(
        tmp_path / "v_long.mp4",
        np.broadcast_to(np.arange(1000, dtype=np.uint8)[:, None, None, None], (1000, 16, 16, 3)),
    )
    write_video(tmp_path / "short.mp4", numbered(20), fps=30)
    for name in ("v_long", "short"):
        video.store_video(tmp_path / f"{name}.mp4", tmp_path / "out", fps=0, frame_pixels=8, flow=False)
    info = json.loads((tmp_path / "out/info/v_long.json").read_text())
    assert (
        info["fps"] == pytest.approx(25 * 0.768) and info["duration_sec"] == 40 and info["num_frames"] == 768
    )
    assert np.load(tmp_path / "out/rgb/v_long.npy").shape == (info["num_frames"], 8, 8, 3)
    info = json.loads((tmp_path / "out/info/short.json").read_text())
    assert info.pop("times_sec") == pytest.approx(np.arange(20) / 30, abs=1e-3)
    assert info == INFO | {
        "fps": 30.0,
        "num_frames": 20,
        "duration_sec": pytest.approx(20 / 30),
        "source_fps": 30.0,
    }
    assert not (tmp_path / "out/flow").exists()


def test_flow_added_later_and_frames_made_again(videos, tmp_path):
    path, out = videos / "a.mp4", tmp_path / "out"
    video.store_video(path, out, fps=10.0, frame_pixels=16, flow=False)
    rgb = out / "rgb" / "a.npy"
    before = rgb.stat().st_mtime_ns
    video.store_video(path, out, fps=10.0, frame_pixels=16, flow=True)
    flow = np.load(out / "flow" / "a.npy")
    assert len(flow) == 16 and rgb.stat().st_mtime_ns == before
    (out / "info" / "a.json").unlink()  # as after a kill between the two
    write_video(path, moving(20, 5))
    video.store_video(path, out, fps=10.0, frame_pixels=16, flow=True)
    assert len(np.load(rgb)) == len(np.load(out / "flow" / "a.npy")) == 8


def test_rows_are_one_array(tmp_path):
    rows = np.random.default_rng(0).integers(0, 255, (123, 5, 4, 2), np.uint8)
    assert video.write_rows(tmp_path / "rows.npy", iter(rows)) == 123
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), rows)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy", mmap_mode="r")[100], rows[100])
    with pytest.raises(DataError):
        video.write_rows(tmp_path / "half.npy", _broken(rows))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.npy"]


def _broken(rows):
    yield from rows[:3]
    raise DataError("the video ends here")


def test_what_was_met_is_said_in_a_line_each(tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    write_video(
        tmp_path / "videos" / "screen.mkv",
        numbered(30),
        stamps_ms=[*range(0, 1000, 50), *range(1000, 3000, 200)],
    )
    write_video(tmp_path / "videos" / "even.mp4", numbered(30))
    prepare.prepare("folder", tmp_path / "videos", tmp_path / "out", frame_pixels=16)
    assert "\n  screen.mkv: rate varies 5 to 20 fps\nAll 2 videos are in" in capsys.readouterr().out


def test_sampling_by_count_is_as_published_and_does_not_mix(videos, tmp_path):
    out = tmp_path / "out"
    write_video(videos / "numbers.mp4", numbered(40))
    assert prepare.prepare("folder", videos, out, frame_pixels=24, sampling="count") == {}
    assert read_numbers(np.load(out / "rgb" / "numbers.npy")) == [
        2,
        4,
        7,
        9,
        12,
        14,
        17,
        19,
        22,
        24,
        27,
        29,
        32,
        34,
        37,
        39,
    ]
    np.testing.assert_array_equal(np.load(out / "rgb" / "a.npy"), read_clip(videos / "a.mp4", 10, 24, 24))
    with pytest.raises(DataError, match="holds frames of other settings"):
        prepare.prepare("folder", videos, out, frame_pixels=24)
    # as before there was another sampling
    (out / "settings.json").write_text(json.dumps(dict(frame_pixels=24, fps=10.0)))
    assert prepare.prepare("folder", videos, out, frame_pixels=24, sampling="count") == {}
    with pytest.raises(DataError, match="holds frames of other settings"):
        prepare.prepare("folder", videos, out, frame_pixels=24)


def test_frames_that_nobody_knows_the_settings_of_stay_alone(videos, tmp_path):
    (tmp_path / "rgb").mkdir()
    np.save(tmp_path / "rgb" / "a.npy", np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(
        DataError, match="holds frames such as a.npy but no settings.json, .*; choose another --out"
    ):
        prepare.prepare("folder", videos, tmp_path, frame_pixels=16)


def test_links_to_nothing_are_told(videos, tmp_path, capsys):
    (videos / "z.mp4").symlink_to("nowhere")
    assert prepare.prepare("folder", videos, tmp_path / "out", frame_pixels=16) == {}
    assert capsys.readouterr().out.startswith(f"1 left out of {videos}: called like files, ")


def test_a_name_that_is_too_long_costs_one_video(videos, tmp_path):
    for video_file in list(videos.iterdir())[1:]:
        video_file.unlink()
    (kept,) = videos.iterdir()
    for length, ending in ((250, ".mp4"), (252, ".ts"), (236, ".mp4")):
        (videos / ("n" * length + ending)).write_bytes(kept.read_bytes())
    failed = prepare.prepare("folder", videos, tmp_path / "out", frame_pixels=16, flow=True)
    assert sorted(len(pathlib.Path(path).stem) for path in failed) == [250, 252]
    assert all("rename the recording: 1 to 236 bytes" in reason for reason in failed.values())
    assert (tmp_path / "out" / "flow" / ("n" * 236 + ".npy")).exists()


def test_a_second_run_waits_its_turn_and_leaves_the_files_of_the_first_alone(videos, tmp_path):
    out = tmp_path / "out"
    with only_run(out, "tal_jax.prepare"), replacing(out / "rgb" / "a.npy") as on_its_way:
        on_its_way.write_bytes(b"half")
        with pytest.raises(
            DataError,
            match=r"out is in use by process \d+ on .* \(tal_jax.prepare\); .* choose another --out",
        ):
            prepare.prepare("folder", videos, out, frame_pixels=16)
        assert on_its_way.exists() and not (out / "settings.json").exists()


def test_what_others_left_among_the_results_stays(videos, tmp_path):
    out = tmp_path / "out"
    (out / "rgb" / ".ipynb_checkpoints").mkdir(parents=True)
    (out / "rgb" / ".DS_Store").touch()
    (out / "rgb" / ".a.npy.0123abcd").touch()  # of a run that was killed
    assert prepare.prepare("folder", videos, out, frame_pixels=16) == {}
    assert sorted(path.name for path in (out / "rgb").glob(".*")) == [".DS_Store", ".ipynb_checkpoints"]
    for damaged in ("{", "[1]", '{"fps": ' + "[" * 100_000):
        (out / "settings.json").write_text(damaged)
        with pytest.raises(
            DataError, match="settings.json is damaged, so how the files beside it were made is not known"
        ):
            prepare.prepare("folder", videos, out, frame_pixels=16)


def test_what_the_system_refuses_is_a_sentence(videos, tmp_path):
    (tmp_path / "out").write_text("a file")
    code, text = run("--dataset=folder", f"--videos={videos}", f"--out={tmp_path / 'out'}")
    assert code == 1 and text.splitlines()[-1] == f"Error: Cannot use {tmp_path / 'out'}: File exists."


def test_the_missing_are_counted(videos, tmp_path, capsys):
    (videos / "a.mp4").rename(videos / f"{next(iter(thumos14.bundled_annotations().recordings))}.mp4")
    for name in ("b.avi", "c.webm", "d.mkv"):
        (videos / name).unlink()
    prepare.prepare("thumos14", videos, tmp_path / "out", frame_pixels=16)
    assert "409 of the 410 annotated videos are missing: video_" in capsys.readouterr().out
    (tmp_path / "labels.json").write_text(
        json.dumps(
            {
                "database": {
                    name: {"subset": "training", "annotations": []} for name in ("abc", "v_def", "xyz")
                }
            }
        )
    )
    for path, name in zip([*videos.iterdir()], ["v_abc.mp4"], strict=True):
        path.rename(videos / name)
    write_video(videos / "def.mp4", numbered(5))
    prepare.prepare("activitynet", videos, tmp_path / "other", tmp_path / "labels.json", frame_pixels=16)
    assert "1 of the 3 annotated videos are missing: xyz." in capsys.readouterr().out


def test_what_cannot_be_done_is_one_sentence(videos, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="absent does not exist"):
        prepare.prepare("folder", tmp_path / "absent", out)
    with pytest.raises(DataError, match="--videos=.*a.mp4 is a file; name the folder that it lies in"):
        prepare.prepare("folder", videos / "a.mp4", out)
    with pytest.raises(DataError, match="holds no video"):
        prepare.prepare("folder", ROOT / "tests", out)
    prepare.prepare("folder", videos, out, frame_pixels=16)
    with pytest.raises(DataError, match="choose another --out"):
        prepare.prepare("folder", videos, out, frame_pixels=32)
    with pytest.raises(DataError, match="choose another --out"):
        prepare.prepare("activitynet", videos, out, frame_pixels=16)
    write_video(videos / "a.mkv", numbered(5))
    with pytest.raises(DataError, match="a.mkv and a.mp4, two videos of one name"):
        prepare.prepare("folder", videos, out, frame_pixels=16)


def test_flow_that_cannot_be_made_is_said_before_the_start(videos, tmp_path, monkeypatch):
    monkeypatch.delattr(cv2, "optflow")
    with pytest.raises(DataError, match="opencv-contrib"):
        prepare.prepare("folder", videos, tmp_path / "out", flow=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["--dataset=folder", "--videos=x"], "say --out"),
        (["--dataset=nothing"], "thumos14|activitynet|folder"),
        (["--vidoes=x"], "Unknown command line flag 'vidoes'. Did you mean: videos ?"),
        (["--dataset=folder", "--videos=absent", "--out=x"], "absent does not exist"),
        (["x"], "unknown argument 'x'"),
    ],
)
def test_bad_flags_are_one_sentence(arguments, sentence):
    code, text = run(*arguments)
    assert code == 1 and text.startswith("Error: ") and sentence in text and text.count("\n") == 1


def test_help_is_no_error():
    code, text = run("--help")
    assert code == 0 and "--videos" in text


def test_beam_that_is_not_installed_is_one_sentence(videos, tmp_path):
    (tmp_path / "apache_beam.py").write_text("raise ImportError")
    paths = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    code, text = run(
        "--dataset=folder", f"--videos={videos}", f"--out={tmp_path / 'out'}", "--beam", PYTHONPATH=paths
    )
    assert code == 1 and "Error: Apache Beam is not installed: pip install -r requirements-prep.txt." in text


def test_beam_options_that_cannot_be_are_one_sentence(videos, tmp_path):
    pytest.importorskip("apache_beam")
    arguments = ("--dataset=folder", f"--videos={videos}", f"--out={tmp_path / 'out'}")
    code, text = run(*arguments, "--beam", "--beam_options=--runner=Nobody")
    assert (
        code == 1
        and "Error: The Beam options '--runner=Nobody' cannot be: " in text
        and "Traceback" not in text
    )


@pytest.mark.parametrize("options", ["", "--direct_num_workers=2 --direct_running_mode=multi_processing"])
def test_the_beam_pipeline_gives_the_same_bytes(videos, tmp_path, options):
    pytest.importorskip("apache_beam")
    (videos / "broken.mp4").write_bytes(b"")
    arguments = ("--dataset=activitynet", f"--videos={videos}", "--frame_pixels=16", "--flow")
    expected = run(*arguments, f"--out={tmp_path / 'plain'}", "--workers=1")
    code, text = run(*arguments, f"--out={tmp_path / 'beam'}", "--beam", f"--beam_options={options}")
    assert code == expected[0] == 1
    assert "  broken.mp4: Cannot read the video" in text and "1 video(s) could not be prepared" in text
    found = contents(tmp_path / "beam")
    assert len(found) == 4 * 3 + 1 and found == contents(tmp_path / "plain")
