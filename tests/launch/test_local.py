import os
import re
import signal
import subprocess
import sys
import time

import pytest

from launch import local
from tests.launch.conftest import ROOT, wait_until

# In place of tal_jax.main: python program.py WHAT FOLDER --coordinator=… --num_processes=… --process_id=…
PROGRAM = """
import os, pathlib, signal, sys, time
what, folder = sys.argv[1], pathlib.Path(sys.argv[2])
flags = dict(flag.removeprefix("--").split("=") for flag in sys.argv[3:])
number = flags["process_id"]
tries = folder / f"tries{number}"
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")

def save(*_):
    print("saved", flush=True)
    sys.exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "deaf" else save)
print("try", len(tries.read_text()), "of", flags["num_processes"], "at", flags["coordinator"])
print("to stderr", file=sys.stderr)
if what == "bar":
    for percent in range(100):
        print(f"\\r{percent}%", end="", flush=True)
        time.sleep(0.01)
    print("\\r100%\\nwithout an end", end="")
elif what == "crash":
    os.abort() if number == "1" else time.sleep(60)
elif what == "correct":
    if number == "1":
        time.sleep(0.2)
        sys.exit("Error: correct me.")
    os.abort()
elif what in ("train", "deaf"):
    if what == "deaf" or len(tries.read_text()) == 1:
        print("ready", flush=True)
        time.sleep(60)
"""


class Launcher:
    """A launcher of fake programs, in a process of its own."""

    def __init__(self, folder, what, processes=2, restarts=10, **constants):
        (folder / "program.py").write_text(PROGRAM)
        program = [sys.executable, str(folder / "program.py"), what, str(folder)]
        lines = [
            "import sys",
            "from launch import local",
            *(f"local.{name} = {value}" for name, value in constants.items()),
        ]
        lines += [f"sys.exit(local.run({program!r}, {processes}, {restarts}))"]
        self.path = folder / "output.txt"
        with self.path.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "\n".join(lines)], cwd=ROOT, stdout=file, stderr=file
            )

    def text(self):
        return self.path.read_text()

    def wait(self):
        """(exit code, output)"""
        return self.process.wait(timeout=30), self.text()

    def ready(self):
        """The ids of the processes, once all have said that they are ready."""
        wait_until(lambda: self.text().count("] ready") == 2)
        return pids(self.text())


@pytest.fixture
def launch(tmp_path):
    """Function (what, **options) -> Launcher; none of them is left behind."""
    launchers = []

    def start(what, **options):
        launchers.append(Launcher(tmp_path, what, **({"GRACE_SEC": 0.5} | options)))
        return launchers[-1]

    yield start
    for launcher in launchers:
        launcher.process.kill()
        launcher.process.wait()


def pids(text):
    return [int(pid) for pid in re.findall(r"\] is (\d+)", text)]


def is_running(pid):
    """Not gone, and not a zombie that nobody has waited for."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_each_line_says_its_process(launch):
    code, text = launch("finish").wait()
    assert code == 0
    port = re.search(r"coordinator 127.0.0.1:(\d+)", text)[1]
    for number in range(2):
        assert f"[{number}] try 1 of 2 at 127.0.0.1:{port}\n" in text and f"[{number}] to stderr\n" in text
    assert all(line.startswith(("[0] ", "[1] ", "[launch] ")) for line in text.splitlines())
    assert len(pids(text)) == 2


def test_of_a_progress_bar_only_some_lines_are_printed(launch):
    _, text = launch("bar", processes=1, BAR_SEC=0.3).wait()
    percents = [int(percent) for percent in re.findall(r"^\[0\] (\d+)%$", text, re.M)]
    assert 3 <= len(percents) <= 5 and percents == sorted(set(percents)) and percents[-1] == 100
    assert text.endswith("[0] without an end\n") and "\r" not in text


def test_a_killed_process_has_all_started_again(launch):
    launcher = launch("train")
    first = launcher.ready()
    os.kill(first[1], signal.SIGKILL)
    code, text = launcher.wait()
    assert code == 0
    assert f"Process 1 ({first[1]}) ended with 137" in text and "started again in 1 s" in text
    assert "[0] try 2 of 2" in text and "[1] try 2 of 2" in text
    assert len(set(pids(text))) == 4 and not any(is_running(pid) for pid in pids(text))


def test_pauses_grow_until_it_gives_up(launch):
    begin = time.monotonic()
    code, text = launch("crash", restarts=3, LONGEST_PAUSE_SEC=2, GRACE_SEC=0.1).wait()
    assert code == 134
    assert re.findall(r"again in (\d+) s \((\d) more", text) == [("1", "2"), ("2", "1"), ("2", "0")]
    assert time.monotonic() - begin > 5
    assert text.count("[1] try ") == 4 and "Given up after 4 failures in a row" in text


def test_failures_are_counted_afresh_after_a_long_try(launch):
    launcher = launch("crash", restarts=1, LONG_TRY_SEC=0, GRACE_SEC=0.1)
    wait_until(lambda: "[1] try 3" in launcher.text())
    assert "Given up" not in launcher.text() and set(re.findall(r"Failure (\d)", launcher.text())) == {"1"}


def test_what_the_user_must_mend_is_not_started_again(launch):
    # process 0 crashes first: what process 1 has to say is still waited for
    code, text = launch("correct").wait()
    assert code == 1
    assert (
        "[1] Error: correct me.\n" in text
        and "Nothing is started again." in text
        and text.count("[0] try ") == 1
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_all_processes_save_and_end(launch, number):
    launcher = launch("train")
    # a terminal's Ctrl-C reaches only the launcher
    assert all(os.getsid(pid) == pid for pid in launcher.ready())
    launcher.process.send_signal(number)
    code, text = launcher.wait()
    assert code == 0
    assert "[0] saved" in text and "[1] saved" in text and text.count("[0] try ") == 1


def test_processes_that_do_not_end_are_killed(launch):
    launcher = launch("deaf", SAVE_SEC=0.5)
    launcher.ready()
    launcher.process.send_signal(signal.SIGTERM)
    code, text = launcher.wait()
    assert code == 137 and not any(is_running(pid) for pid in pids(text))


def test_only_a_second_ctrl_c_kills(launch):
    launcher = launch("deaf")
    launcher.ready()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
        launcher.process.send_signal(number)
        time.sleep(0.3)
        assert launcher.process.poll() is None
    launcher.process.send_signal(signal.SIGINT)
    assert launcher.wait()[0] == 137


def test_a_signal_ends_the_pause(launch):
    launcher = launch("crash", GRACE_SEC=0.1)
    wait_until(lambda: "started again in 2 s" in launcher.text())
    launcher.process.send_signal(signal.SIGTERM)
    code, text = launcher.wait()
    assert code == 134 and text.count("[0] try ") == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can promise it")
def test_no_process_outlives_a_killed_launcher(launch):
    launcher = launch("deaf")
    started = launcher.ready()
    launcher.process.kill()
    assert wait_until(lambda: not any(is_running(pid) for pid in started), seconds=5)


# Devices


@pytest.mark.parametrize(
    "processes, visible, expected",
    [
        (2, None, ["0,1", "2,3"]),  # nvidia-smi lists 4
        (4, None, ["0", "1", "2", "3"]),
        (3, None, ["0", "1", "2"]),  # as many for each, so one is unused
        (2, "5,3", ["5", "3"]),
        (1, "GPU-a,GPU-b", ["GPU-a,GPU-b"]),
        (2, "", ["", ""]),
        (2, "-1", ["-1", "-1"]),
    ],
)
def test_each_process_has_its_own_gpus(fakes, processes, visible, expected):
    fakes.add("nvidia-smi", 'for i in 0 1 2 3; do echo "GPU $i: a card (UUID: GPU-$i)"; done')
    given = {"PATH": fakes.environment["PATH"]} | (
        {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    )
    assert [e["CUDA_VISIBLE_DEVICES"] for e in local.environments(processes, 0, given)] == expected


def test_fewer_gpus_than_processes(fakes):
    with pytest.raises(local.LaunchError, match=r"There are 2 GPU\(s\) for 3 processes"):
        local.environments(3, 0, {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert len(local.environments(3, 0, {"CUDA_VISIBLE_DEVICES": "0,1", "JAX_PLATFORMS": "cpu"})) == 3


@pytest.mark.parametrize("script", ["exit 9", None])
def test_without_gpus_nothing_is_set(fakes, script):
    if script:  # installed, but there is no driver
        fakes.add("nvidia-smi", script)
    for environment in local.environments(2, 0, {"PATH": str(fakes.folder)}):
        assert "CUDA_VISIBLE_DEVICES" not in environment and "XLA_FLAGS" not in environment


def test_fake_devices_of_the_cpu():
    for environment in local.environments(2, 4, {"XLA_FLAGS": "--xla_a=1", "CUDA_VISIBLE_DEVICES": "0"}):
        assert environment["XLA_FLAGS"] == "--xla_a=1 --xla_force_host_platform_device_count=4"
        assert environment["JAX_PLATFORMS"] == "cpu"


# The command line


def test_arguments_after_the_dashes_are_those_of_the_program(monkeypatch):
    calls = []
    monkeypatch.setattr(local, "run", lambda *given: calls.append(given) or 0)
    assert (
        local.main(["--processes=2", "--restarts=3", "--devices=4", "--", "--config=a b", "--", "--x"]) == 0
    )
    assert calls == [([sys.executable, "-m", "tal_jax.main", "--config=a b", "--", "--x"], 2, 3, 4)]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (
            "--processes=2 --config=c",
            "--config=c is not an option of the launcher; arguments of tal_jax.main come after a --.",
        ),
        (
            "--processes=2 -- --process_id=1",
            "--process_id=1 is what the launcher gives to each process; leave it out.",
        ),
        ("--processes=0", "--processes must be at least 1, --restarts and --devices at least 0."),
        ("--processes=x", "argument --processes: invalid int value: 'x'"),
        ("", "the following arguments are required: --processes"),
    ],
)
def test_wrong_arguments_are_a_sentence(arguments, sentence):
    command = [sys.executable, "launch/local.py", *arguments.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode in (1, 2)
    assert done.stderr.splitlines()[-1].endswith(sentence) and "Traceback" not in done.stderr
