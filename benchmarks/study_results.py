"""The results of long studies: a record of each finished run, in a file that goes from machine to machine.

The file is a JSON list with a record a line, which is added when a run ends. A run that is in it is not made
again.
"""

import json
import pathlib
import time

import numpy as np
from scipy import stats

from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json


def read(path):
    """The records of a results file, a list of dicts; none where there is no file."""
    return read_json(path, "results file") if pathlib.Path(path).exists() else []


def add(path, record):
    """Adds a record to a results file; an interrupted write leaves the old file."""
    lines = ",\n".join(json.dumps(one, sort_keys=True) for one in [*read(path), record])
    with replacing(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n")


def run_all(path, plan, make, budget_minutes=0):
    """Makes run after run until none is missing, or the time is up.

    Args:
      path: of the results file.
      plan: records -> the runs that are missing, the next one first. It is asked again after each run.
      make: run -> its record, to which the seconds it took are added.
      budget_minutes: no run begins after so many; 0: no limit.
    """
    began = time.monotonic()
    while missing := plan(read(path)):
        if budget_minutes and time.monotonic() - began >= 60 * budget_minutes:
            break
        start = time.monotonic()
        record = make(missing[0])
        add(path, record | {"seconds": round(time.monotonic() - start)})
        print(json.dumps(record), flush=True)
    print(f"{len(missing)} runs remain." if missing else "No run remains.")


def interval(differences, confidence=0.95):
    """(mean, half of the width of its interval by Student's t) of (n,) differences; infinite where n = 1."""
    count = len(differences)
    if count < 2:
        return float(np.mean(differences)), float("inf")
    quantile = stats.t.ppf(0.5 + confidence / 2, count - 1)
    return float(np.mean(differences)), float(quantile * np.std(differences, ddof=1) / np.sqrt(count))


def add_options(parser, name):
    """Adds --results, --out and --budget_minutes to an argument parser. name: of the study."""
    parser.add_argument("--results", default=f"docs/{name}.json", type=pathlib.Path)
    parser.add_argument("--out", default=f"runs/{name}", type=pathlib.Path)
    parser.add_argument("--budget_minutes", default=0, type=float, help="no run begins after; 0: no limit")
