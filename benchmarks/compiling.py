"""Compiles programs for chips that are not there, each in a process of its own, and finds the largest that
fits.
"""

import json
import math
import re
import subprocess
import sys

from benchmarks import chips, compile_one
from tal_jax.errors import DataError

MOST_WINDOWS, MOST_TRIES = 1024, 6
CLOSE = 1.1  # the largest number of windows is found to this factor

_USED = re.compile(r"(?:Used |\()([\d.]+)([KMG])(?: of|\) exceeds)")
_CHECK = re.compile(r"^F\d{4}.*?\] (.+)", re.MULTILINE)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def one(job, compilers):
    """Compiles a program in a process of its own.

    Args:
      job: of `compile_one`: chip, program, windows, classes, channels, words.
      compilers: their folder.

    Returns:
      dict: the job's chip, program, windows and words; fits; memory_bytes of a chip, where the compiler says
      it; where it compiles flops, kernels, bytes, products, places and collectives of one chip
      (`compiled_text.summary`), mixed_precision and compile_cpu_sec, and by_cublas if its products of
      matrices had to be cuBLAS's; else error, a sentence.

    Raises:
      DataError: the compilers are not there, or the job cannot be done.
    """
    command = [sys.executable, "-m", "benchmarks.compile_one", json.dumps(job)]
    done = subprocess.run(command, env=chips.environment(compilers), capture_output=True, text=True)
    lines = done.stdout.splitlines()
    found = json.loads(lines[-1]) if done.returncode == 0 else {"error": _why_ended(done)}
    if "wrong" in found:
        raise DataError(found["wrong"])
    if "error" in found:
        found["error"] = found["error"].strip().splitlines()[0][:300]
        if used := _USED.search(found["error"]):
            found["memory_bytes"] = float(used.group(1)) * _UNITS[used.group(2)]
    capacity = chips.CHIPS[job["chip"]].memory_bytes
    found["fits"] = "error" not in found and found["memory_bytes"] <= capacity
    return {name: job[name] for name in ("chip", "program", "windows", "words")} | found


def _why_ended(done):
    """Why a process ended that was to compile: the compiler's failed check, or the last line it wrote."""
    if check := _CHECK.search(done.stderr):
        return f"The compiler ended: {check.group(1)}"
    lines = done.stderr.strip().splitlines() or [f"It ended with exit code {done.returncode}."]
    return f"It ended: {lines[-1]}"


def largest(memory_at, capacity, unit=1):
    """The largest number of windows that fits, to a factor of CLOSE.

    Args:
      memory_at: windows -> bytes; infinite where that is not known and it does not fit.
      capacity: bytes that fit.
      unit: the numbers of windows are multiples of it.

    Returns:
      (the number, 0 if none fits; the smallest number tried that does not fit, None if it is known from the
      line through smaller ones alone, or MOST_WINDOWS fit).
    """
    known, low, high, guess = {}, 0, None, unit
    most = MOST_WINDOWS // unit * unit
    while len(known) < MOST_TRIES:
        known[guess] = memory_at(guess)
        low, high = (guess, high) if known[guess] <= capacity else (low, guess)
        if low in (0, most) or high and high <= max(CLOSE * low, low + unit):
            break
        guess = _filling(known, capacity) // unit * unit
        if high is None:
            if len(known) > 1 and guess < CLOSE * low:
                break
            guess = min(max(guess, low + unit), most)
        elif known[low] > capacity / CLOSE:  # a tenth more windows would hardly fit
            guess = max(int(CLOSE * low) // unit * unit, low + unit)
        elif not low < guess < high:
            guess = (low + high) // 2 // unit * unit
    return low, high


def _filling(known, capacity):
    """The windows that would fill a chip, on the line through the last two points that are known."""
    points = sorted((windows, memory) for windows, memory in known.items() if math.isfinite(memory))[-2:]
    (before, at_before), (last, at_last) = points[0] if len(points) > 1 else (0, 0), points[-1]
    slope = max((at_last - at_before) / (last - before), 1.0)
    return int(last + (capacity - at_last) / slope)


def largest_of(job, compilers, known=()):
    """The largest training step of a job of `one`, whose windows are not read.

    Args:
      job, compilers: of `one`.
      known: dict windows -> record of this step, compiled before, which may lack the words.

    Returns:
      (windows, windows that are too many, see `largest`; dict windows -> record, of `one` or known).
    """
    unit, records = compile_one.config_of(job["words"]).train.accumulate_steps, dict(known)
    capacity = chips.CHIPS[job["chip"]].memory_bytes

    def memory_at(windows):
        if windows not in records:
            records[windows] = one(job | dict(program="step", windows=windows), compilers)
        # a compiler that runs out of memory says how much it needs in two digits
        least = 0 if records[windows]["fits"] else capacity + 1
        return max(records[windows].get("memory_bytes", math.inf), least)

    return *largest(memory_at, capacity, unit), records
