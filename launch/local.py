"""Runs several processes of tal_jax.main on this machine.

When one is lost, all are started again from the last checkpoint.

    python launch/local.py --processes=2 -- --config=configs/sbhar.py

Each line on the screen begins with its process, `[0] …`, or with `[launch]`. One Ctrl-C, or SIGTERM, lets
all processes save and end; a second Ctrl-C kills them. On Linux no process outlives the launcher.
docs/launch.md says more.
"""

import argparse
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

FATAL_CODE = 1  # tal_jax.main has said in a sentence what the user must change; starting again would not help
# after one process is lost, for the others to end by themselves: one may have a sentence to say
GRACE_SEC = 5
SAVE_SEC = 120  # after Ctrl-C or SIGTERM, until processes that have not ended are killed
LONG_TRY_SEC = 600  # a try that went well for so long: failures are counted afresh
LONGEST_PAUSE_SEC = 60
TICK_SEC = 0.05
BAR_SEC = 10  # a progress bar, which redraws itself all the time, becomes a line this often
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


class LaunchError(Exception):
    """A sentence for the user: nothing can be started."""


class StopSignal:
    """SIGTERM and Ctrl-C as two flags: end, and end at once (Ctrl-C when already ending)."""

    def __init__(self):
        self.received = self.impatient = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, number, _):
        self.impatient |= self.received and number == signal.SIGINT
        self.received = True


class Process:
    """A running process. What it writes is printed line by line, its progress bars now and then."""

    def __init__(self, number, command, environment):
        self.number, self._unfinished, self._bar, self._printed = number, b"", b"", time.monotonic()
        self._popen = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # else Ctrl-C would come twice: from the terminal and from the launcher
            preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,
        )
        self.pid, self.send_signal = self._popen.pid, self._popen.send_signal
        self._output = self._popen.stdout
        os.set_blocking(self._output.fileno(), False)

    def exit_code(self):
        """The exit code as shells count, 137 after SIGKILL; None while the process runs."""
        code = self._popen.poll()
        return 128 - code if code is not None and code < 0 else code

    def read(self):
        """Prints what has come since; False if that was nothing."""
        try:
            data = os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return False
        *lines, self._unfinished = (self._unfinished + data).replace(b"\r\n", b"\n").split(b"\n")
        for line in lines:
            self._print(line)
        *redrawn, self._unfinished = self._unfinished.split(b"\r")
        self._bar = next((bar for bar in reversed(redrawn) if bar.strip()), self._bar)
        if self._bar and time.monotonic() - self._printed > BAR_SEC:
            self._print(self._bar)
        return bool(data)

    def close(self):
        """Prints the rest."""
        while self.read():
            pass
        self._output.close()
        if self._unfinished or self._bar:
            self._print(self._unfinished or self._bar)

    def _print(self, line):
        text = line.rpartition(b"\r")[2] or self._bar  # of a bar only how it looks at the end
        print(f"[{self.number}] {text.decode(errors='replace')}", flush=True)
        self._bar, self._printed = b"", time.monotonic()


def _die_with(launcher):
    """Function that asks Linux to kill the process that calls it when the launcher ends, whatever ends that.

    launcher: process id.
    """
    prctl = ctypes.CDLL(None).prctl

    def ask():
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != launcher:  # it has ended already
            os._exit(FATAL_CODE)

    return ask


def run(program, processes, restarts=10, devices=0):
    """Runs the program in several processes until all have ended well, starting all again after a failure.

    Args:
      program: list of str; --coordinator, --num_processes and --process_id are appended to it.
      processes: how many.
      restarts: how many failures in a row are followed by a new try.
      devices: fake CPU devices of each process; 0 leaves the devices as they are.

    Returns:
      The exit code: 0 if all processes ended with 0, else that of a process that did not.

    Raises:
      LaunchError: a sentence; there are fewer GPUs than processes.
    """
    each = environments(processes, devices, os.environ)
    stop, failures = StopSignal(), 0
    while True:
        begin = time.monotonic()
        code = _one_try(program, each, stop)
        if code == 0 or stop.received:
            return code
        if code == FATAL_CODE:
            _say("A process ended with 1, and has said above what is wrong. Nothing is started again.")
            return code
        failures = 1 if time.monotonic() - begin > LONG_TRY_SEC else failures + 1
        if failures > restarts:
            given_up = f"Given up after {failures} failures in a row (--restarts={restarts})"
            _say(f"{given_up}. The same command goes on.")
            return code
        pause_sec = min(2 ** (failures - 1), LONGEST_PAUSE_SEC)
        left = f"{restarts - failures} more if that fails"
        _say(f"Failure {failures}; all processes are started again in {pause_sec} s ({left}).")
        end = time.monotonic() + pause_sec
        while time.monotonic() < end:
            time.sleep(TICK_SEC)
            if stop.received:
                return code


def _one_try(program, environments, stop):
    """Starts all processes and waits for them.

    Returns:
      1 if that is the exit code of one, else the first that is not 0, or 0.
    """
    port = free_port()
    flags = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={len(environments)}"]
    running, codes, deadline, told = [], [], None, False
    try:
        for number, environment in enumerate(environments):
            running.append(Process(number, [*program, *flags, f"--process_id={number}"], environment))
        pids = ", ".join(f"[{number}] is {process.pid}" for number, process in enumerate(running))
        _say(f"{len(running)} process(es), coordinator 127.0.0.1:{port}; process ids: {pids}.")
        while running:
            time.sleep(TICK_SEC)
            for process in running:
                process.read()
            for process in [process for process in running if process.exit_code() is not None]:
                running.remove(process)
                process.close()
                codes.append(process.exit_code())
                if codes[-1] and running and deadline is None:
                    deadline = time.monotonic() + GRACE_SEC
                    ended = f"Process {process.number} ({process.pid}) ended with {codes[-1]}"
                    _say(f"{ended}; the others have {GRACE_SEC} s.")
            if stop.received and not told:
                told, deadline = True, time.monotonic() + SAVE_SEC
                _say("Stopping: all processes save and end, after a step that is being compiled.")
                _say("Ctrl-C kills them.")
                for process in running:
                    process.send_signal(signal.SIGTERM)
            if stop.impatient or (deadline and time.monotonic() > deadline):
                for process in running:
                    process.send_signal(signal.SIGKILL)
    finally:
        for process in running:  # only after an error here, for the loop ends when none runs
            process.send_signal(signal.SIGKILL)
    return FATAL_CODE if FATAL_CODE in codes else next((code for code in codes if code), 0)


def free_port():
    """A port that nobody uses now: a new one at each try, for the last one may still be taken."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def environments(processes, devices, environment):
    """The environment variables of each process: its own GPUs, or its fake CPU devices."""
    columns = shutil.get_terminal_size().columns - len("[0] ")  # tables are as wide as fits after the prefix
    shared = {**environment, "PYTHONUNBUFFERED": "1", "COLUMNS": str(columns)}
    if devices:
        flag = f"--xla_force_host_platform_device_count={devices}"
        shared |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{environment.get('XLA_FLAGS', '')} {flag}".strip()}
    gpus = [] if shared.get("JAX_PLATFORMS") == "cpu" else _gpus(environment)
    if not gpus:
        return [shared] * processes
    share = len(gpus) // processes  # the same for all, as pmap needs it; a remainder stays unused
    if share == 0:
        found = f"There are {len(gpus)} GPU(s) for {processes} processes"
        raise LaunchError(f"{found}; start fewer, for each needs one, or set JAX_PLATFORMS=cpu.")
    shares = [gpus[i * share : (i + 1) * share] for i in range(processes)]
    return [shared | {"CUDA_VISIBLE_DEVICES": ",".join(own)} for own in shares]


def _gpus(environment):
    """Names of the GPUs to use: of CUDA_VISIBLE_DEVICES if it is set, else all that nvidia-smi lists."""
    if "CUDA_VISIBLE_DEVICES" in environment:
        names = [name.strip() for name in environment["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in names if name not in ("", "-1")]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], env=environment, capture_output=True, text=True).stdout
    except OSError:  # not installed
        return []
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in listed.splitlines()))]


def _say(text):
    print(f"[launch] {text}", flush=True)


def main(arguments):
    """Reads the command line and runs tal_jax.main. Returns the exit code."""
    own, passed = arguments, []
    if "--" in arguments:
        own, passed = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    usage = "python launch/local.py --processes=N [--restarts=10] [--devices=0] -- arguments of tal_jax.main"
    parser = argparse.ArgumentParser(usage=usage, allow_abbrev=False)
    parser.add_argument("--processes", type=int, required=True, help="how many processes")
    restarts_help = "failures in a row that are followed by a new try"
    parser.add_argument("--restarts", type=int, default=10, help=restarts_help)
    devices_help = "fake CPU devices of each process, to try things out"
    parser.add_argument("--devices", type=int, default=0, help=devices_help)
    options, unknown = parser.parse_known_args(own)
    names = [argument.split("=")[0].lstrip("-") for argument in passed]
    given = [a for a, name in zip(passed, names) if name in ("coordinator", "num_processes", "process_id")]
    problem = None
    if unknown:
        problem = f"{unknown[0]} is not an option of the launcher; arguments of tal_jax.main come after a --."
    elif given:
        problem = f"{given[0]} is what the launcher gives to each process; leave it out."
    elif options.processes < 1 or options.restarts < 0 or options.devices < 0:
        problem = "--processes must be at least 1, --restarts and --devices at least 0."
    try:
        if problem:
            raise LaunchError(problem)
        program = [sys.executable, "-m", "tal_jax.main", *passed]
        return run(program, options.processes, options.restarts, options.devices)
    except LaunchError as error:
        print(f"Error: {error}", file=sys.stderr)
        return FATAL_CODE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
