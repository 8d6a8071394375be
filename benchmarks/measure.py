"""What the benchmarks against PyTorch measure of a function, in a process of its own."""

import resource
import time

import numpy as np


def figures(run, repeats):
    """Calls `run(number)` once to warm up and `repeats` times more.

    Returns:
      dict: wall_s, cpu_s of the fastest call, median_s of wall time; peak_mib of resident memory.
    """
    times = []
    for number in range(repeats + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        run(number)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall_s, cpu_s = np.min(times[1:], axis=0)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return dict(wall_s=wall_s, cpu_s=cpu_s, median_s=np.median(times[1:], axis=0)[0], peak_mib=peak_mib)
