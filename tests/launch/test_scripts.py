import signal
import subprocess
import sys

import pytest

from tests.launch.conftest import ROOT, SHELLCHECK

SCRIPTS = sorted([*(ROOT / "launch").glob("*.sh"), ROOT / "launch" / "slurm.sbatch"])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_can_read_it(path):
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(SHELLCHECK is None, reason="shellcheck is not installed; requirements-test.txt has it")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
    done = subprocess.run([SHELLCHECK, path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_flags_of_the_launchers_are_flags_of_the_program():
    flags = {"coordinator", "num_processes", "process_id", "join_timeout_sec", "workdir", "config"}
    texts = [
        path.read_text() for path in (ROOT / "launch").rglob("*") if path.is_file() and path.suffix != ".pyc"
    ]
    assert flags == {flag for flag in flags for text in texts if f"--{flag}=" in text}
    program = "".join((ROOT / "tal_jax" / name).read_text() for name in ("main.py", "config.py"))
    assert not [flag for flag in flags if f'"{flag}"' not in program]


# stoppable.sh

SAVES = """
import signal, sys, time
def save(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one, while Python ends, would kill it
    time.sleep(0.3)
    print("saved", flush=True)
    sys.exit(int(sys.argv[1]))
signal.signal(signal.SIGTERM, save)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("code", [0, 1, 70, 134])
def test_a_program_that_ends_by_itself_keeps_its_code(fakes, code):
    assert fakes.run("launch/stoppable.sh", "bash", "-c", f"exit {code}")[0] == code


def test_a_program_that_a_signal_kills_ends_as_in_a_shell(fakes):
    assert fakes.run("launch/stoppable.sh", "bash", "-c", "kill -KILL $$")[0] == 137


@pytest.mark.parametrize("code, expected", [(0, 143), (1, 1), (7, 7)])
def test_a_program_that_was_stopped_is_not_finished(fakes, code, expected):
    process = fakes.start("launch/stoppable.sh", sys.executable, "-c", SAVES, str(code))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert (process.returncode, output.count("saved")) == (expected, 1)


def test_arguments_are_passed_as_they_are(fakes):
    assert fakes.run("launch/stoppable.sh", "printf", "<%s>", "a b", "", "*", "$HOME") == (
        0,
        "<a b><><*><$HOME>",
    )


def test_without_a_command_it_says_so(fakes):
    code, output = fakes.run("launch/stoppable.sh")
    assert code == 1 and output.startswith("Error: say which command to run")
