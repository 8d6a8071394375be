"""The results of long studies: a record of each finished run, in a file that goes from machine to machine.

The file is a JSON list with a record a line, which is added when a run ends. A run that is in it is not made
again. The same command may run several times at once on one machine: a run that one process makes, the others
leave alone, and they wait where the next runs depend on it.
"""

import contextlib
import fcntl
import hashlib
import json
import pathlib
import time

import numpy as np
from scipy import stats

from tal_jax.errors import DataError
from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json

MOST_PRINTED = 500  # characters of a record
WAIT_SEC = 10.0
NOT_TRAINED = (
    "name",
    "evaluate",
    "predict",
    "propose",
    "parallel",
    "extract",
    "plan",
)  # sections of a config


def read(path, keys=()):
    """The records of a results file, a list of dicts with these keys; none where there is no file.

    Raises DataError for a file of anything else.
    """
    if not pathlib.Path(path).exists():
        return []
    records = read_json(path, "results file")
    whole = isinstance(records, list) and all(isinstance(one, dict) for one in records)
    if not whole or any(key not in one for one in records for key in keys):
        raise DataError(f"{path} is no results file of this study; name another with --results.")
    return records


def digest_of(config):
    """A text that tells a config from others: equal where all fields are that training and decoding read."""
    fields = json.loads(config.to_json())
    kept = {name: value for name, value in fields.items() if name not in NOT_TRAINED}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def add(path, record):
    """Adds a record to a results file."""
    write(path, [*read(path), record])


def write(path, records):
    """Writes a results file; an interrupted write leaves the old file."""
    lines = ",\n".join(json.dumps(one, sort_keys=True) for one in records)
    with replacing(path) as temporary:
        temporary.write_text(f"[\n{lines}\n]\n")


def run_all(plan, make, options, claim=repr):
    """Makes run after run until none is missing, or the time is up.

    Args:
      plan: records -> the runs that are missing, the next one first. It is asked again after each run.
      make: run -> its record, to which the seconds it took are added.
      options: of `add_options`.
      claim: run -> text of what one process alone may use; runs of the same text are not made at once.
    """
    began, claims = time.monotonic(), options.out / "claims"
    claims.mkdir(parents=True, exist_ok=True)
    while missing := plan(read(options.results)):
        if 0 < options.budget_minutes and time.monotonic() - began >= 60 * options.budget_minutes:
            break
        with _first_free(missing, claims, claim) as run:
            if run is None:  # other processes make them
                time.sleep(WAIT_SEC)
                continue
            if run not in plan(read(options.results)):  # it has just ended elsewhere
                continue
            start = time.monotonic()
            record = make(run)
            with _locked(claims / "results"):
                add(options.results, record | {"seconds": round(time.monotonic() - start)})
        print(json.dumps(record)[:MOST_PRINTED], flush=True)
    print(f"{len(missing)} runs remain." if missing else "No run remains.")


@contextlib.contextmanager
def _first_free(runs, folder, claim):
    """The first run that no other process makes, kept for this one; None if others make them all."""
    for run in runs:
        digest = hashlib.sha256(claim(run).encode()).hexdigest()[:16]
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(_locked(folder / digest, fcntl.LOCK_NB))
            except BlockingIOError:
                continue
            yield run
            return
    yield None


@contextlib.contextmanager
def _locked(path, how=0):
    """Holds the lock of a file, which ends with the process too. Raises BlockingIOError with LOCK_NB."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | how)
        yield


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
