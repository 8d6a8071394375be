"""How long the plan of many recordings takes, and how much memory.

    python -m benchmarks.planning [--recordings=100,1000] [--rows=100000] [--out=runs/planning]

Writes that many recordings of six channels at 50 Hz with actions in each, .npy files that are one file on
disk, and plans a training on them, each number in a process of its own. Prints seconds and the peak of
resident memory above that of the imports.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

from benchmarks import measure

FPS, CHANNELS, ACTIONS, CLASSES = 50.0, 6, 30, 5


def write_data(folder, recordings, rows):
    """Writes FOLDER/annotations.json and FOLDER/features/r0000.npy, …"""
    features, random = folder / "features", np.random.default_rng(0)
    features.mkdir(parents=True, exist_ok=True)
    first, database = features / "r0000.npy", {}
    if not first.exists():
        np.save(first, random.standard_normal((rows, CHANNELS), np.float32))
    for i in range(recordings):
        name = f"r{i:04}"
        if not (features / f"{name}.npy").exists():
            os.link(first, features / f"{name}.npy")
        starts = np.sort(random.uniform(0, rows / FPS - 10, ACTIONS))
        ends = starts + random.uniform(1, 5, ACTIONS)
        actions = [
            {"label": f"action {k % CLASSES}", "segment": [start, end]}
            for k, (start, end) in enumerate(zip(starts.tolist(), ends.tolist()))
        ]
        subset = "test" if i % 4 == 3 else "train"
        database[name] = dict(subset=subset, duration=rows / FPS, fps=FPS, annotations=actions)
    (folder / "annotations.json").write_text(json.dumps({"database": database}))


def plan_once(folder):
    """Plans, and prints (seconds, MiB) as JSON."""
    from configs import folder as folder_config
    from tal_jax import plan

    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    config = folder_config.get_config()
    config.data.annotations, config.data.features = str(folder / "annotations.json"), str(folder / "features")
    before, started = peak(), time.perf_counter()
    plan.make_plan(config, ())
    print(json.dumps([time.perf_counter() - started, peak() - before]))


def whole_numbers(text):
    """The numbers of a text such as "100,1000"."""
    return [*map(int, text.split(","))]


def main():
    """Prints the table."""
    parser = measure.parser(__doc__)
    parser.add_argument("--recordings", default=[100, 1000], type=whole_numbers, metavar="N,N")
    parser.add_argument("--rows", default=100_000, type=int)
    parser.add_argument("--out", default="runs/planning", type=pathlib.Path)
    parser.add_argument("--only", type=pathlib.Path, help="plan this folder, in this process")
    options = parser.parse_args()
    if options.only:
        plan_once(options.only)
        return
    if min(options.recordings) < 4 or options.rows < 1000:
        parser.error("--recordings must be 4 or more, and --rows 1000 or more.")
    print("| recordings | seconds | MiB |\n|---|---|---|")
    for count in options.recordings:
        folder = options.out / f"{count}_of_{options.rows}"
        write_data(folder, count, options.rows)
        command = [sys.executable, "-m", "benchmarks.planning", f"--only={folder}"]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        seconds, mib = json.loads(printed.splitlines()[-1])
        print(f"| {count} | {seconds:.1f} | {mib:.0f} |", flush=True)


if __name__ == "__main__":
    measure.end_with_sentence(main)
