"""Several processes of the program on this machine, for tests."""

import os
import pathlib
import subprocess
import sys
from typing import NamedTuple

from launch.local import free_port

ROOT = pathlib.Path(__file__).parents[1]


class Ended(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


def start(arguments, count, devices=1):
    """Starts `count` processes of tal_jax.main, with so many devices each; alone if count is 1. arguments: of
    all of them.

    An argument that is a tuple holds what each process gets instead.
    """
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    meeting = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={count}"]
    pipes = dict(cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    processes = []
    for i in range(count):
        own = [argument[i] if isinstance(argument, tuple) else argument for argument in arguments]
        place = [*meeting, f"--process_id={i}"] if count > 1 else []
        processes.append(subprocess.Popen([sys.executable, "-m", "tal_jax.main", *place, *own], **pipes))
    return processes


def end(processes, timeout=200):
    """Waits for processes and returns how they Ended, in their order; kills them all if they take longer."""
    try:
        streams = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [Ended(process.returncode, *pair) for process, pair in zip(processes, streams)]


def run(arguments, count, devices=1):
    """`start` and `end`, where all must end well."""
    ended = end(start(arguments, count, devices))
    assert [process.code for process in ended] == [0] * count, "\n".join(process.err for process in ended)
    return ended
