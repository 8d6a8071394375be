"""The devices of a program, its cache of compiled programs, and the sentences for a full disk or memory."""

import contextlib
import ctypes
import errno
import os
import pathlib
import platform

import jax

from tal_jax.errors import DataError

_M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -2, -3, -8  # of glibc's malloc.h
_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")  # of control groups, version 2 and 1
_FULL = {errno.ENOSPC, errno.EDQUOT}
_SIGNS_OF_FULL = ("No space left", "quota exceeded")


def describe_devices():
    """The devices in words: "1 device: cpu (x86_64, 2 cores)", "8 devices: NVIDIA H100 80GB HBM3 (gpu)"."""
    devices = jax.devices()
    backend, kind = devices[0].platform, devices[0].device_kind
    if backend == "cpu":
        kind = f"cpu ({platform.machine()}, {os.cpu_count()} cores)"
    elif backend not in kind.lower():
        kind = f"{kind} ({backend})"
    return f"{len(devices)} device{'s' * (len(devices) > 1)}: {kind}"


def memory_bytes(num_devices, root="/sys/fs/cgroup"):
    """The memory of a device, in bytes.

    A GPU or a TPU says what JAX may fill. Other devices have an equal part of the machine's memory, or of
    the limit of its container. Processes that share a machine count all of it each.

    Args:
      num_devices: of this process that are used.
      root: the folder of the limits of a container.
    """
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for name in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
            found.append(int((pathlib.Path(root) / name).read_text()))
    return min(found) // num_devices


def unused_accelerator(root="/dev"):
    """A sentence if this machine has a GPU or a TPU that JAX does not use; "" if it has none, or
    JAX_PLATFORMS names the CPU.

    Args:
      root: the folder of device files.
    """
    if jax.default_backend() != "cpu" or os.environ.get("JAX_PLATFORMS"):
        return ""
    files = {"nvidia0": ("An NVIDIA GPU", "cuda12"), "accel0": ("A TPU", "tpu"), "vfio/0": ("A TPU", "tpu")}
    for name, (what, extra) in files.items():
        path = pathlib.Path(root) / name
        if path.exists():
            return (
                f"{what} is here ({path}), but JAX computes on the CPU: pip install "
                f"'jax[{extra}]=={jax.__version__}'. JAX_PLATFORMS=cpu says that this is meant to be."
            )
    return ""


def keep_compiled():
    """Keeps compiled programs in the user's cache folder, so that a second start need not compile.

    JAX_COMPILATION_CACHE_DIR names another folder; empty, it keeps nothing. So it is for a user without a
    home.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "tal_jax"
    except RuntimeError:
        return
    jax.config.update("jax_compilation_cache_dir", str(cache))


def keep_freed_memory():
    """Lets this process keep the memory of freed arrays: of those of up to 32 MiB as much as it ever used, of
    larger ones about 1 GiB. Call it before JAX starts its threads.

    Each step frees the arrays of the step before. The C library gives their pages back, and the kernel clears
    them at the next step, a third of the time of a training on signals; half of that is saved here. All
    threads share one arena, because other arenas give their pages back whatever these options say. Nothing
    happens without the C library of GNU (macOS, Windows, musl).
    """
    if platform.libc_ver()[0] == "glibc":
        for option, value in ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, 32 << 20), (_M_TOP_PAD, 1 << 30)):
            ctypes.CDLL(None).mallopt(option, value)


def why_full(error, then=""):
    """A sentence if an error says that a disk or a memory is full, of this machine or of a device, else "".

    Args:
      error: any exception.
      then: what the same command does once the disk has room, an end of a sentence: ": it begins again".
    """
    text, file = str(error), getattr(error, "filename", None)
    number = error.errno if isinstance(error, OSError) else None
    where = f", writing {file}" if file else ""
    if number in _FULL or any(sign in text for sign in _SIGNS_OF_FULL):
        return f"The disk or the quota is full{where}. Make room, then give the same command{then}."
    if number == errno.EFBIG or "File too large" in text:
        limit = "A file is too large for its file system, or for a limit of this user (ulimit -f)"
        return f"{limit}{where}. Raise the limit, then give the same command{then}."
    if isinstance(error, MemoryError):
        return f"The memory of this machine is full. {text}".strip()
    if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in text:
        return (
            "The memory of the device is full. Lower config.train.batch_size (and raise "
            "config.train.accumulate_steps as much, which makes the same updates), or, outside of training, "
            "config.evaluate.batch_size."
        )
    return ""


def require_local(flag, path):
    """Raises DataError for an address such as gs://bucket, where a path of this machine is needed."""
    if "://" in str(path):
        raise DataError(
            f"{flag}={path} is an address, not a folder of this machine; mount it, for example with gcsfuse, "
            "or copy it."
        )
