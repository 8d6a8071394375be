"""Time of a training step by number of devices, by number of processes, and what the distributed path costs
one process.

    python -m benchmarks.scale devices     1, 2, 4 devices that XLA makes of the CPU, in one process
    python -m benchmarks.scale processes   1, 2, 4 processes of one device each, which meet at --coordinator
    python -m benchmarks.scale overhead    one process with --coordinator … --num_processes=1, one without

Every run is the front door on SBHAR, the same global batch; what is taken is the median `seconds_per_step` of
its metrics.jsonl, the first line, which holds the compilation, left out. The setups take turns, in
alternating order, and each is divided by the first of its turn, so that the noise of a shared machine
cancels. Processes and devices share the cores of one machine: this shows overhead, not speed. Any
--config.field=value is passed on.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from benchmarks import measure
from launch.local import free_port

ROOT = pathlib.Path(__file__).parents[1]
SETUPS = {  # what -> label -> (devices of a process, processes, 0: without the flags of the distributed path)
    "devices": {f"{count} device(s)": (count, 0) for count in (1, 2, 4)},
    "processes": {f"{count} process(es)": (1, count) for count in (1, 2, 4)},
    "overhead": {"no flags": (1, 0), "--num_processes=1": (1, 1)},
}


def seconds_per_step(devices, processes, options, folder):
    """Runs the training and returns the median time of its steps.

    Args:
      devices: of each process.
      processes: 0 for one process without the flags of the distributed path.
      options: `config`, `epochs` and `fields`, the command line's.
      folder: an empty one, for the run.
    """
    command = [
        sys.executable, "-m", "tal_jax.main", f"--config={options.config}", f"--workdir={folder / 'run'}",
        f"--config.train.epochs={options.epochs}", "--config.train.log_every_steps=5", *options.fields,
    ]  # fmt: skip
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(folder.parent / "compiled"),
    }
    coordinator = f"--coordinator=127.0.0.1:{free_port()}"
    together = [coordinator, f"--num_processes={processes}"]
    flags = [[*together, f"--process_id={i}"] for i in range(processes)] or [[]]
    with (folder / "log").open("w") as log:
        output = dict(cwd=ROOT, env=environment, stdout=log, stderr=log)
        running = [subprocess.Popen(command + part, **output) for part in flags]
        codes = [process.wait() for process in running]
    if any(codes):
        log = (folder / "log").read_text()[-2000:]
        sys.exit(f"{' '.join(command + flags[0])} ended with {codes}:\n{log}")
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    return statistics.median([line["seconds_per_step"] for line in lines if "seconds_per_step" in line][1:])


def table(times):
    """Rows of markdown: median time, and median, least and most of the ratio to the first setup of the same
    turn.

    times: dict label -> seconds of each turn.
    """
    first = next(iter(times.values()))
    rows = ["| setup | a step, ms | ratio, median | least to most |", "|---|---|---|---|"]
    for label, seconds in times.items():
        ratios = [one / reference for one, reference in zip(seconds, first)]
        median, spread = statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"
        rows.append(f"| {label} | {1e3 * statistics.median(seconds):.0f} | {median:.2f} | {spread} |")
    return "\n".join(rows)


def main():
    """Prints the table of one comparison."""
    parser = measure.parser(__doc__)
    parser.add_argument("what", choices=SETUPS)
    parser.add_argument("--repeats", default=5, type=int)
    parser.add_argument("--config", default="configs/sbhar.py:ecm")
    parser.add_argument("--epochs", default=4, type=int)
    options, options.fields = parser.parse_known_args()
    setups = SETUPS[options.what]
    times = {label: [] for label in setups}
    with tempfile.TemporaryDirectory() as top:
        for turn in range(options.repeats):
            for label in list(setups)[:: -1 if turn % 2 else 1]:
                folder = pathlib.Path(top) / f"{turn}_{len(times[label])}_{list(setups).index(label)}"
                folder.mkdir()
                times[label].append(seconds_per_step(*setups[label], options, folder))
                print(f"turn {turn}, {label}: {1e3 * times[label][-1]:.0f} ms", file=sys.stderr, flush=True)
    print(table(times))


if __name__ == "__main__":
    main()
