"""Several processes as one run: how they find each other, and what they tell each other. A single process is
never kept waiting.
"""

import contextlib
import functools
import importlib.util
import json
import logging
import os
import re
import socket
import sys
import threading
import time

import jax
import numpy as np
from flax import serialization
from jax.experimental import multihost_utils

from tal_jax.errors import DataError, ProcessLost, sentence_of
from tal_jax.runtime import devices, files

log = logging.getLogger(__name__)

HEARTBEAT_TIMEOUT_SEC = 30  # after which a process that is not heard of counts as lost
FAREWELL_SEC = 2
LATE_SEC = 5  # for which a process that comes late still hears what is wrong
LOST = 70  # exit code where another process was lost, or this one crashed: all are worth starting again
_SIGNS_OF_LOSS = "Gloo|NCCL|Connection|heartbeat|coordination service|Barrier|UNAVAILABLE|DEADLINE_EXCEEDED"
_MALFORMED = (OSError, ValueError, KeyError, TypeError)  # what a line that is no message of ours raises

count = jax.process_count  # () -> how many processes there are
index = jax.process_index  # () -> which of them this is, from 0


def join(coordinator="", num_processes=0, process_id=-1, timeout_sec=50):
    """Makes this process one of several. To be called before anything else of JAX.

    Args:
      coordinator: HOST:PORT of process 0, which listens there; "" where the surroundings say all: on a TPU
        pod, under Slurm (one task a GPU) and Open MPI. Elsewhere this process is the only one.
      num_processes: how many there are.
      process_id: which of them this is, from 0.
      timeout_sec: how long to wait for the others.

    Raises:
      ProcessLost: one of them did not come.
      DataError: their numbers do not go together, or this one has no device.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would swallow SIGTERM
    waits = dict(initialization_timeout=timeout_sec, heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SEC)
    initialize = functools.partial(jax.distributed.initialize, **waits)
    numbered = num_processes > 0 or process_id >= 0
    if numbered and not coordinator:
        raise DataError(
            "--num_processes and --process_id need --coordinator=HOST:PORT, the address of process 0."
        )
    if coordinator and not numbered:
        raise DataError("--coordinator also needs --num_processes=N and --process_id=I.")
    if coordinator and not 0 <= process_id < num_processes:
        raise DataError(
            f"--num_processes is {num_processes} and --process_id is {process_id}; a run of N processes has "
            "those from 0 to N - 1."
        )
    try:
        if coordinator:
            meet(coordinator, num_processes, process_id, timeout_sec)
            initialize(coordinator, num_processes, process_id, cluster_detection_method="deactivate")
        elif surroundings := _surroundings():
            try:
                initialize(cluster_detection_method=surroundings)
            except OSError as error:  # of the server that tells every host of a TPU pod which one it is
                log.warning("No other processes: %s", error)
            except ValueError as error:
                if "defined" not in str(error):  # what JAX says if there are no such surroundings, after all
                    raise
        wait()  # until all have found their devices
    except ProcessLost:
        raise
    except RuntimeError as error:
        if is_loss(error):
            raise ProcessLost(f"The processes did not find each other: {first_line(error)}") from error
        raise DataError(f"JAX cannot use its devices: {first_line(error)}") from error


def _surroundings():
    """JAX's name for the launcher that numbers the processes of this run; "" if there is but one process."""
    if os.environ.get("SLURM_NTASKS", "1") != "1":
        return "slurm"
    if "OMPI_MCA_orte_hnp_uri" in os.environ:
        return "ompi"
    if importlib.util.find_spec("libtpu") is None:
        return ""
    return "gketpu" if {"TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"} & os.environ.keys() else "gcetpu"


def meet(coordinator, num_processes, process_id, timeout_sec):
    """Returns when all processes have called it. JAX, which meets them next, would abort without a sentence
    if one is missing.

    Process 0 listens at the coordinator's address for the time being, the others and itself call there.

    Args:
      coordinator, num_processes, process_id, timeout_sec: as for `join`.

    Raises:
      ProcessLost, DataError: as for `join`, the same in all processes that were heard of.
    """
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise DataError(f"--coordinator is '{coordinator}'; it must be HOST:PORT, for example 10.0.0.1:1234.")
    deadline = time.monotonic() + timeout_sec
    if process_id == 0:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        try:
            server = socket.create_server(("", int(port)), family=family, dualstack_ipv6=dual)
        except OSError as error:
            raise ProcessLost(
                f"Process 0 cannot listen on port {port} of this machine ({error.strerror}); is there "
                "another with --process_id=0, or another run? If not, choose another port, in all processes."
            ) from error
        arguments = server, num_processes, deadline
        listener = threading.Thread(target=_receive_all, args=arguments, daemon=True)
        listener.start()
    sentence, lost = _call(host.strip("[]"), int(port), process_id, num_processes, deadline)
    if process_id == 0:
        listener.join()
    if sentence:
        raise (ProcessLost if lost else DataError)(sentence)


def _receive_all(server, num_processes, deadline):
    """Process 0 answers the calls of all processes, once all have called or something is wrong.

    Args:
      server: the listening socket.
      num_processes: how many must call.
      deadline: time.monotonic() after which those that have not called are missing.
    """
    calls, wrong = {}, ""  # process -> its connection; the sentence that all get to hear
    with server, contextlib.ExitStack() as stack:
        while time.monotonic() < deadline and len(calls) < num_processes:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                call = stack.enter_context(server.accept()[0])
                call.settimeout(5)
                said = json.loads(call.makefile().readline())
                number, number_of_all = int(said["process_id"]), int(said["num_processes"])
                call.setblocking(False)
            except _MALFORMED:
                continue  # nobody, or somebody else, who only looks whether the port is open
            calls = {other: line for other, line in calls.items() if not _has_hung_up(line)}
            if number in calls:
                wrong = f"Two processes say that they are process {number}; give each its own --process_id."
            elif number_of_all != num_processes and not wrong:
                wrong = (
                    f"Process {number} says --num_processes={number_of_all}, process 0 says {num_processes}; "
                    "they must say the same."
                )
            if not wrong:
                calls[number] = call
                continue
            _tell([call, *calls.values()], wrong)
            calls, deadline = {}, min(deadline, time.monotonic() + LATE_SEC)
        missing = ", ".join(str(i) for i in range(num_processes) if i not in calls)
        if missing and not wrong:
            wrong = (
                f"Of {num_processes} processes there is no sign of process {missing}; start it too, or see "
                "why it ended."
            )
        _tell(calls.values(), wrong, lost=bool(missing))


def _has_hung_up(connection):
    """Whether the process at the other end is gone."""
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except OSError as error:
        return not isinstance(error, BlockingIOError)


def _tell(connections, sentence, lost=False):
    """Sends a sentence, and whether a process is lost, to the processes at the other ends."""
    for connection in connections:
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps([sentence, lost]).encode() + b"\n")


def _call(host, port, process_id, num_processes, deadline):
    """Tells process 0 who this is.

    Returns:
      (sentence, lost), the answer: a sentence, empty if all is well, and whether a process is lost.
    """
    message = json.dumps({"process_id": process_id, "num_processes": num_processes}).encode() + b"\n"
    reason = "no answer"
    while (seconds := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=max(seconds, 0.1)) as call:
                call.sendall(message)
                # process 0 waits as long, and then says so
                call.settimeout(max(deadline - time.monotonic(), 0) + 5)
                sentence, lost = json.loads(call.makefile().readline())
                return sentence, lost
        except _MALFORMED as error:
            reason = getattr(error, "strerror", None) or str(error) or reason
            time.sleep(0.2)
    sentence = (
        f"Process {process_id} does not reach process 0 at {host}:{port} ({reason}). Is it running, is "
        f"--coordinator its address, is the port open, and is there no other process {process_id}?"
    )
    return sentence, True


def is_first():
    """Whether this is the process that writes and prints."""
    return index() == 0


def gather(value):
    """The values of all processes, in the order of the processes; all must call it.

    Args:
      value: dicts with str keys, lists, str, numbers, NumPy arrays. Less than 2 GB.

    Returns:
      list of `count()` values.
    """
    if count() == 1:
        return [value]
    # else it sorts the keys
    data = np.frombuffer(serialization.msgpack_serialize({"value": value}, in_place=True), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(data)))
    padded = np.zeros(1 << int(sizes.max() - 1).bit_length(), np.uint8)  # few sizes, for each is compiled
    padded[: len(data)] = data
    rows = multihost_utils.process_allgather(padded)
    return [serialization.msgpack_restore(row[:size].tobytes())["value"] for row, size in zip(rows, sizes)]


def wait():
    """Returns when all processes have called it."""
    if count() > 1:
        multihost_utils.process_allgather(np.int32(0))


@contextlib.contextmanager
def only_run(folder, what, **options):
    """`files.only_run` by the first process; all must call it, and all raise its DataError."""
    with contextlib.ExitStack() as stack:
        problem = ""
        if is_first():
            try:
                stack.enter_context(files.only_run(folder, what, **options))
            except (DataError, OSError) as error:
                problem = devices.why_full(error) or sentence_of(error)
        if problem := gather(problem)[0]:
            raise DataError(problem)
        yield


def require_same(what, value):
    """Raises DataError in all processes if one has another value (see `gather`) than the first; of dicts it
    names the key.
    """
    first, *others = gather(value)
    for number, other in enumerate(others, 1):
        if other == first:
            continue
        if isinstance(first, dict):
            key = min(key for key in first.keys() | other.keys() if first.get(key) != other.get(key))
            what, first, other = f"{what}'s {key}", first.get(key), other.get(key)
        found = f"in process 0 it is {first}, in process {number} {other}"
        raise DataError(f"{what} must be the same in all processes; {found}.")


def is_loss(error):
    """Whether an error of JAX or Orbax says that another process was lost."""
    return re.search(_SIGNS_OF_LOSS, str(error)) is not None


def first_line(error):
    """The first line of an error's text, and its type."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def leave(code, sentence):
    """Ends this process with a sentence, at once.

    Python would first take JAX apart, which crashes where XLA still computes. Of several processes JAX would
    also wait for the others, which wait for this one. The first one waits a moment, as JAX aborts the others
    after it, and they may have the same sentence to say.
    """
    with contextlib.suppress(OSError, RuntimeError):  # in the middle of another print, too
        sys.stdout.flush()
        sys.stderr.flush()
    with contextlib.suppress(OSError):  # nobody may read it
        os.write(2, f"{sentence}\n".encode(errors="backslashreplace"))
    if jax.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):  # of devices that could not be used
            time.sleep(FAREWELL_SEC * is_first())
    os._exit(code)
