"""Compiles the programs of docs/accelerators.md again, and fails where one no longer compiles or fits, or
where its memory or its kernels have grown by more than a tenth.

    python -m benchmarks.compile_check [--rows=TEXT] [--workers=2] [--compilers=.compilers] \
      [--results=docs/accelerators.json] [--out=runs/compile_check]

It checks the programs of one window a chip that compile in less than LONGEST. What is compiled is kept in
--out for as long as no source of the project changes, so that the same command continues.
"""

import hashlib
import pathlib
import sys

from benchmarks import accelerators, chips, measure
from tal_jax.errors import DataError

LONGEST = 120  # seconds of processor time, the others wait for `benchmarks.accelerators`
GROWTH = 1.1
SOURCES = ("tal_jax/**/*.py", "configs/*.py", "benchmarks/*.py", "constraints.txt", "requirements*.txt")


def digest_of(folder):
    """A text that tells the sources below a folder from others."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in pathlib.Path(folder).glob(pattern)):
        digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def is_checked(record):
    """Whether a record of the table is compiled again."""
    one = record["windows"] == 1 and record["program"] != "largest"
    return one and record["fits"] and record["compile_cpu_sec"] < LONGEST


def complaint(before, now):
    """A sentence on how a record is worse than the one before it; "" if it is not."""
    name = f"{before['row']}, {before['program']} on {before['chip']}"
    if "error" in now:
        return f"{name} does not compile: {now['error']}"
    if not now["fits"]:
        return f"{name} does not fit: {now['memory_bytes'] / chips.GIB:.3g} GiB."
    grown = [
        f"{what} from {before[field]:,} to {now[field]:,}"
        for field, what in (("memory_bytes", "bytes of memory"), ("kernels", "kernels"))
        if now[field] > GROWTH * before[field]
    ]
    return f"{name} has grown: {', '.join(grown)}." if grown else ""


def main():
    """Compiles what is missing, compares, and says what is worse."""
    parser = measure.parser(__doc__)
    parser.add_argument("--rows", default="")
    parser.add_argument("--workers", default=2, type=int)
    parser.add_argument("--compilers", default=chips.FOLDER, type=pathlib.Path)
    parser.add_argument("--results", default="docs/accelerators.json", type=pathlib.Path)
    parser.add_argument("--out", default="runs/compile_check", type=pathlib.Path)
    options = parser.parse_args()
    table = {
        accelerators.key_of(record): record
        for record in accelerators.read(options.results)
        if options.rows in record["row"] and record["row"] in accelerators.ROWS and is_checked(record)
    }
    if not table:
        raise DataError(f"{options.results} has no record of a row with '{options.rows}' in its name.")
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / f"{digest_of('.')}.json"
    there = {accelerators.key_of(record) for record in accelerators.read(kept)}
    missing = [task for task in table if task not in there]
    accelerators.compile_all(missing, kept, options.workers, options.compilers)
    found = {accelerators.key_of(record): record for record in accelerators.read(kept)}
    worse = [text for task, before in table.items() if (text := complaint(before, found[task]))]
    if worse:
        worse.append(
            "If this is as it has to be, write the table anew: python -m benchmarks.accelerators --again "
            "--rows=TEXT."
        )
        sys.exit("\n".join(worse))
    print(f"{len(table)} programs compile as in {options.results}.")


if __name__ == "__main__":
    measure.end_with_sentence(main)
