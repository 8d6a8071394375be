"""How the benchmarks measure a function, and two networks each in a process of its own."""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from tal_jax.errors import DataError, sentence_of

NETWORKS = {"torch": "PyTorch", "here": "here"}  # --only=… -> in tables
COLUMNS = "network | wall ms | CPU ms | median wall ms | peak MiB | wall ratio | CPU ratio | memory ratio"


def parser(doc):
    """An argument parser whose --help shows the docstring of a module as it is."""
    return argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)


def end_with_sentence(main):
    """Runs the main function of a long benchmark; what a user can correct ends it with a sentence."""
    try:
        main()
    except (DataError, OSError) as error:
        sys.exit(f"Error: {sentence_of(error)}")
    except subprocess.CalledProcessError:
        sys.exit("Error: the last command failed and says why above; what was made before is kept.")


def figures(run, repeats):
    """Calls `run()` once to warm up and `repeats` times more.

    Returns:
      dict: wall_s, cpu_s of the fastest call, median_s of wall time; peak_mib of resident memory.
    """
    times = []
    for _ in range(repeats + 1):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    wall_s, cpu_s = np.min(times[1:], axis=0)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return dict(wall_s=wall_s, cpu_s=cpu_s, median_s=np.median(times[1:], axis=0)[0], peak_mib=peak_mib)


def best_ms(run, repeats):
    """Wall time in milliseconds of the fastest of `repeats` calls, after one to warm up."""
    return 1e3 * figures(run, repeats)["wall_s"]


def both_networks(module, label, **options):
    """Measures PyTorch's network and the one here, and prints their rows of a table with `COLUMNS`.

    Args:
      module: of the benchmark. With --only=NETWORK it prints `figures` as the last line, as JSON.
      label: of the rows.
      options: of its command line.

    Returns:
      dict network -> what it printed.
    """
    found = {}
    for network in NETWORKS:
        command = [sys.executable, "-m", module, f"--only={network}"]
        command += [f"--{name}={value}" for name, value in options.items()]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        found[network] = json.loads(printed.splitlines()[-1])
    for network, name in NETWORKS.items():
        ratios = [found[network][key] / found["torch"][key] for key in ("wall_s", "cpu_s", "peak_mib")]
        cells = [f"{1e3 * found[network][key]:.0f}" for key in ("wall_s", "cpu_s", "median_s")]
        cells += [f"{found[network]['peak_mib']:.0f}", *(f"{ratio:.2f}" for ratio in ratios)]
        print(f"| {label} | {name} | {' | '.join(cells)} |", flush=True)
    return found
