"""Files are whole or not there, and one folder has one run."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tal_jax.errors import DataError
from tal_jax.runtime.files import list_files, only_run, replacing

ROOT = pathlib.Path(__file__).parents[2]
HOLDER = """
import sys, time
from tal_jax.runtime.files import only_run
with only_run(sys.argv[1], "--mode=train"):
    print("there", flush=True)
    time.sleep(100)
"""
INTERRUPTED = """
import gc, os, signal
from tal_jax import main
from tal_jax.runtime.files import only_run, replacing, temporary_folder
signal.signal(signal.SIGINT, main._interrupted)
gc.callbacks.append(lambda phase, info: os.kill(os.getpid(), signal.SIGINT))  # where a KeyboardInterrupt is lost
with only_run(".", "--mode=train"), replacing("whole.json") as path, temporary_folder() as folder:
    path.write_text("half")
    open("folder", "w").write(folder)
    gc.collect()
print("went on")
"""


def started(script, *arguments, **options):
    command = [sys.executable, "-c", script, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_two_runs_do_not_share_a_folder_and_a_killed_one_does_not_keep_it(tmp_path):
    workdir = tmp_path / "runs" / "one"
    other = started(HOLDER, workdir)
    assert other.stdout.readline() == "there\n"
    with pytest.raises(
        DataError,
        match=rf"runs/one is in use by process {other.pid} on .* \(--mode=train\); wait until it ends, or",
    ):
        with only_run(workdir, "--mode=evaluate"):
            raise AssertionError("both are in")
    assert other.poll() is None and (workdir / ".lock").exists()
    os.kill(other.pid, signal.SIGKILL)
    other.communicate()
    for _ in range(2):
        with (
            only_run(workdir, "--mode=evaluate"),
            pytest.raises(DataError, match=rf"in use by process {os.getpid()} on "),
        ):
            with only_run(workdir, "--mode=train"):
                raise AssertionError("both are in")
    assert workdir.is_dir() and not any(workdir.iterdir())


def test_a_run_that_writes_nothing_leaves_no_folder(tmp_path):
    with only_run(tmp_path / "runs" / "one", "--mode=train"):
        pass
    assert not any(tmp_path.iterdir())
    with only_run(tmp_path / "runs" / "one", "--mode=train"):
        (tmp_path / "runs" / "one" / "config.json").write_text("{}")
    assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == ["config.json"]


def test_unfinished_files_of_killed_runs_are_removed(tmp_path):
    (tmp_path / "first_stage").mkdir()
    kept = [
        tmp_path / name
        for name in ("evaluation.json", ".hidden", ".evaluation.json.backup", "evaluation.json.0a1b2c3d")
    ]
    gone = [tmp_path / ".evaluation.json.0a1b2c3d", tmp_path / "first_stage" / ".proposals.json.ffffffff"]
    for path in kept + gone:
        path.write_text("")
    with only_run(tmp_path, "--mode=train"):
        assert not any(path.exists() for path in gone) and all(path.exists() for path in kept)


def test_what_is_called_like_a_file_and_is_none_is_told(tmp_path):
    (tmp_path / "whole.NPY").touch()
    (tmp_path / ".hidden.npy").symlink_to("nowhere")
    (tmp_path / "other.txt").symlink_to("nowhere")
    assert list_files(tmp_path, (".npy",)) == ([tmp_path / "whole.NPY"], "")
    (tmp_path / "linked.npy").symlink_to("whole.NPY")
    (tmp_path / "gone.npy").symlink_to("nowhere")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    (tmp_path / "folder.npy").mkdir()
    files, left_out = list_files(tmp_path, (".npy",))
    assert [file.name for file in files] == ["linked.npy", "whole.NPY"]
    assert left_out == (
        f"3 left out of {tmp_path}: called like files, but links to nothing or folders; the first is "
        f"folder.npy."
    )
    assert list_files(tmp_path / "nowhere", (".npy",)) == ([], "")


def test_a_failed_write_leaves_the_old_file_alone(tmp_path):
    (tmp_path / "whole.json").write_text("old")
    with pytest.raises(OSError, match="full"), replacing(tmp_path / "whole.json") as temporary:
        temporary.write_text("ne")
        raise OSError("full")
    assert [path.name for path in tmp_path.iterdir()] == ["whole.json"] and (
        tmp_path / "whole.json"
    ).read_text() == "old"


def test_ctrl_c_ends_a_run_wherever_it_is_and_leaves_nothing_half_written(tmp_path):
    process = started(INTERRUPTED, cwd=tmp_path)
    out, err = process.communicate(timeout=200)
    assert (process.returncode, out) == (1, "")
    assert err == "Interrupted. The same command begins again, or goes on from what was saved.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert not pathlib.Path((tmp_path / "folder").read_text()).exists()
