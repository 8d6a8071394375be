"""The real program under the real launcher, killed at random moments."""

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.processes import ROOT
from tests.test_distributed import assert_same_state, fields
from tests.test_train import last_state, saved_steps


class Launch:
    """A training of two processes under launch/local.py. What it says is read as it comes."""

    def __init__(self, data, workdir):
        arguments = fields(data, workdir, "toy", **{"train.epochs": 40})
        flags = "--xla_force_host_platform_device_count=1 --xla_backend_optimization_level=0"
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        command = [sys.executable, "launch/local.py", "--processes=2", "--", *arguments]
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
        self.lines = []
        self._reader = threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True)
        self._reader.start()

    def process_ids(self):
        """Of the two processes, as the launcher's first line says them."""
        while not self.lines:
            assert self.process.poll() is None
            time.sleep(0.01)
        return [int(number) for number in re.findall(r"\[\d\] is (\d+)", self.lines[0])]

    def end(self):
        """Waits for the end and returns the exit code."""
        code = self.process.wait(timeout=200)
        self._reader.join()
        return code


@pytest.fixture(scope="module")
def undisturbed(tiny_data, tmp_path_factory):
    """(workdir, seconds) of a run that nobody disturbs."""
    workdir, begin = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    launch = Launch(tiny_data, workdir)
    assert launch.end() == 0, launch.lines
    assert saved_steps(workdir)[-1] == 80
    return workdir, time.monotonic() - begin


def kill_one(data, workdir, undisturbed, moment_sec, victim):
    """Kills one process so long after the start, and requires that the run ends as the undisturbed one did, bit by bit."""
    launch = Launch(data, workdir)
    ids = launch.process_ids()
    time.sleep(moment_sec)
    os.kill(ids[victim], signal.SIGKILL)
    assert launch.end() == 0, launch.lines
    assert any("ended with 137" in line for line in launch.lines), "the kill came too late to test anything"
    assert any("Failure 1;" in line for line in launch.lines)
    assert saved_steps(workdir)[-1] == 80
    assert_same_state(last_state(workdir), last_state(undisturbed))
    for name in ("detections.json", "evaluation.json"):
        assert (workdir / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_killed_process_costs_nothing(undisturbed, tiny_data, tmp_path):
    workdir, seconds = undisturbed
    kill_one(tiny_data, tmp_path, workdir, 0.5 * seconds, victim=1)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_a_process_killed_at_a_random_moment_costs_nothing(undisturbed, tiny_data, tmp_path, number):
    workdir, seconds = undisturbed
    draw = random.Random(number)
    kill_one(tiny_data, tmp_path, workdir, draw.uniform(0, 0.8) * seconds, victim=draw.randrange(2))
