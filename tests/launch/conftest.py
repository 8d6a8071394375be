"""Commands that do not exist here (srun, gcloud, …) are small scripts in a folder that comes first on PATH."""

import os
import pathlib
import shutil
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
SHELLCHECK = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")


class Fakes:
    """Scripts in place of commands, and what was called.

    Attributes:
      folder: where the scripts are, and calls.txt, to which they may append.
      environment: environment variables with the folder first on PATH, and as FAKES.
    """

    def __init__(self, folder):
        self.folder = folder
        self.environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "FAKES": str(folder)}

    def add(self, name, script):
        """A bash script, or one that begins with another #! line."""
        path = self.folder / name
        path.write_text(script if script.startswith("#!") else f"#!/usr/bin/env bash\n{script}")
        path.chmod(0o755)

    @property
    def calls(self):
        """The lines of calls.txt."""
        path = self.folder / "calls.txt"
        return path.read_text().splitlines() if path.exists() else []

    def start(self, *command, **options):
        """A process in the project's folder whose output can be read as text."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, **({"cwd": ROOT, "env": self.environment} | pipes | options))

    def run(self, *command, **options):
        """(exit code, output) of such a process."""
        process = self.start(*command, **options)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output


@pytest.fixture
def fakes(tmp_path):
    folder = tmp_path / "fakes"
    folder.mkdir()
    return Fakes(folder)


def wait_until(condition, seconds=20):
    """Waits until the function gives something true, and returns that; fails after some seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited for {seconds} s in vain")
