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
from tests.runtime.test_distributed import assert_same_state, fields
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
    """Workdir of a run that nobody disturbs."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    launch = Launch(tiny_data, workdir)
    assert launch.end() == 0, launch.lines
    assert saved_steps(workdir)[-1] == 80
    return workdir


def kill_one(data, workdir, undisturbed, victim, after_step, after_sec):
    """Kills one process so long after that step was saved, and requires that the run ends as the undisturbed
    one did, bit by bit.
    """
    launch = Launch(data, workdir)
    ids = launch.process_ids()
    while after_step and saved_steps(workdir)[-1:] < [after_step]:
        assert launch.process.poll() is None, launch.lines
        time.sleep(0.01)
    time.sleep(after_sec)
    os.kill(ids[victim], signal.SIGKILL)
    assert launch.end() == 0, launch.lines
    assert any("ended with 137" in line for line in launch.lines), "the kill came too late to test anything"
    assert any("Failure 1;" in line for line in launch.lines)
    assert saved_steps(workdir)[-1] == 80
    assert_same_state(last_state(workdir), last_state(undisturbed))
    for name in ("detections.json", "evaluation.json"):
        assert (workdir / name).read_bytes() == (undisturbed / name).read_bytes()


def test_a_killed_process_costs_nothing(undisturbed, tiny_data, tmp_path):
    kill_one(tiny_data, tmp_path, undisturbed, victim=1, after_step=20, after_sec=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_a_process_killed_at_a_random_moment_costs_nothing(undisturbed, tiny_data, tmp_path, number):
    draw = random.Random(number)
    after_step = draw.choice([0, 0, 0, *range(10, 70, 10)])  # 0: while they start, meet and compile
    after_sec = draw.uniform(0, 0.2 if after_step else 4)
    kill_one(tiny_data, tmp_path, undisturbed, draw.randrange(2), after_step, after_sec)
