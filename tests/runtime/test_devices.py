import errno
import os
import platform
import subprocess
import sys
import types

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tal_jax.errors import DataError
from tal_jax.runtime import devices
from tal_jax.train import train
from tests.processes import ROOT


def test_devices_are_named():
    assert devices.describe_devices() == f"4 devices: cpu ({os.uname().machine}, {os.cpu_count()} cores)"


@pytest.mark.parametrize(
    "file, words", [("nvidia0", ("An NVIDIA GPU", "jax[cuda12]==")), ("vfio/0", ("A TPU", "jax[tpu]=="))]
)
def test_a_chip_that_is_not_used_is_told(tmp_path, monkeypatch, file, words):
    monkeypatch.delenv("JAX_PLATFORMS")
    assert devices.unused_accelerator(tmp_path) == ""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).touch()
    sentence = devices.unused_accelerator(tmp_path)
    assert all(word in sentence for word in words) and str(tmp_path / file) in sentence
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert devices.unused_accelerator(tmp_path) == ""


def test_the_memory_of_a_device(tmp_path, monkeypatch):
    """A GPU says what may be filled; CPUs share the machine's memory, or what its container may take."""
    cpu = types.SimpleNamespace(memory_stats=lambda: None)
    monkeypatch.setattr(jax, "local_devices", lambda: [cpu])
    of_machine = devices.memory_bytes(1, tmp_path)
    assert 2**28 < of_machine < 2**50 and devices.memory_bytes(4, tmp_path) == of_machine // 4
    (tmp_path / "memory.max").write_text("max\n")
    assert devices.memory_bytes(1, tmp_path) == of_machine
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1000000\n")
    assert devices.memory_bytes(2, tmp_path) == 500_000
    gpu = types.SimpleNamespace(memory_stats=lambda: {"bytes_limit": 7 * 2**30})
    monkeypatch.setattr(jax, "local_devices", lambda: [gpu] * 8)
    assert devices.memory_bytes(8, tmp_path) == 7 * 2**30


@pytest.mark.parametrize(
    "error, words",
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "run/config.json"),
            "The disk or the quota is full, writing run/config.json.",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "The disk or the quota is full."),
        (ValueError("tensorstore: Error writing: No space left on device"), "The disk or the quota is full."),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate"),
            "Lower config.train.batch_size",
        ),
        (
            MemoryError("Unable to allocate 2 TiB"),
            "The memory of this machine is full. Unable to allocate 2 TiB",
        ),
    ],
)
def test_what_is_full_is_told(error, words):
    assert words in devices.why_full(error)


def test_what_comes_next_is_said_by_who_knows_it():
    full = OSError(errno.ENOSPC, "No space left on device")
    assert devices.why_full(full) == "The disk or the quota is full. Make room, then give the same command."
    assert devices.why_full(full, ": it goes on").endswith(
        "Make room, then give the same command: it goes on."
    )


@pytest.mark.parametrize(
    "error", [OSError(errno.EFBIG, "File too large", "a.npy"), ValueError("tensorstore: File too large")]
)
def test_a_file_that_is_too_large_is_no_full_disk(error):
    sentence = devices.why_full(error)
    assert sentence.startswith(
        "A file is too large for its file system, or for a limit of this user (ulimit -f)"
    )
    assert "disk" not in sentence and ("a.npy" in sentence) == isinstance(error, OSError)


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])  # a KeyError: the uid is not in passwd
    devices.keep_compiled()
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs the C library of GNU")
def test_small_arrays_keep_their_memory_and_many_large_ones_give_it_back():
    code = """
import resource, threading
import numpy as np
from tal_jax.runtime.devices import keep_freed_memory
keep_freed_memory()
def step():
    for _ in range(10):
        four = [np.ones(2**22, np.uint8) for _ in range(4)]
        del four
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
other = threading.Thread(target=step)
other.start()
other.join()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() / 2**24)
large = [np.ones(2**26, np.uint8) for _ in range(32)]
small = np.ones(2**18, np.uint8)
del large
pages = int(open("/proc/self/statm").read().split()[1])
print(pages * resource.getpagesize() / 2**20)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True)
    times_cleared, resident_mib = map(float, done.stdout.split())
    assert times_cleared < 2  # of the 20 times that it is allocated; else about 9
    assert resident_mib < 1400  # of 2048 in large arrays


def test_other_errors_are_not_about_memory():
    assert devices.why_full(OSError(errno.EACCES, "Permission denied")) == ""
    assert devices.why_full(jax.errors.JaxRuntimeError("INTERNAL: something else")) == ""


def test_an_address_is_no_folder():
    devices.require_local("--workdir", "runs/a:b")
    with pytest.raises(
        DataError, match="--workdir=gs://bucket/run is an address, not a folder of this machine"
    ):
        devices.require_local("--workdir", "gs://bucket/run")


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as POSIX does")
def test_a_file_beyond_the_limit_is_a_sentence(tiny_data, tmp_path):
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); from tal_jax import main; "
        "main.run()"
    )
    data = [f"--config.data.annotations={tiny_data / 'labels.json'}", f"--config.data.features={tiny_data}"]
    command = ["--config=tests/tiny_config.py:toy", *data, f"--workdir={tmp_path}", "--config.train.epochs=1"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", limited, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[0] == f"4 devices: cpu ({os.uname().machine}, {os.cpu_count()} cores)"
    assert done.stderr.splitlines()[-1].startswith("Error: A file is too large for its file system")
    assert done.stderr.splitlines()[-1].endswith("it goes on from the last checkpoint, which is whole.")


def test_compiled_programs_go_into_the_users_cache(monkeypatch, tmp_path):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    devices.keep_compiled()  # the variable of these tests is set, and empty
    assert jax.config.jax_compilation_cache_dir == before
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    try:
        devices.keep_compiled()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "tal_jax")
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("impl", ["pmap", "shard_map"])
def test_a_program_from_the_cache_computes_the_same_bits(tiny, tmp_path, compiled_once, impl):
    def run(name):
        jax.clear_caches()
        config = tiny("toy", epochs=1, batch_size=4)
        config.parallel.update(impl=impl, max_devices=2)
        train(config, tmp_path / name)
        return (tmp_path / name / "detections.json").read_bytes(), (
            tmp_path / name / "metrics.jsonl"
        ).read_text().splitlines()[-1]

    folder = tmp_path / "cache"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    compilation_cache.reset_cache()
    first = run("first")
    programs = {path.name for path in folder.iterdir() if path.name.endswith("-cache")}
    assert run("second") == first
    assert {path.name for path in folder.iterdir() if path.name.endswith("-cache")} == programs != set()
