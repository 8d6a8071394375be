"""Time of a training step here and in another checkout of this project, on the CPU, in turns.

    python -m benchmarks.step_time --against=FOLDER [--config=thumos:dw_afsd,input=features] \
      [--sizes=CLASSES,CHANNELS,WINDOWS] [--turns=3] [--steps=40]

Every turn runs both, each in a process of its own, on a made window (benchmarks/programs.py). Prints the wall
and CPU time of the fastest step of each, and the ratio here / there of every turn.
"""

import importlib
import importlib.util
import json
import os
import pathlib
import statistics
import subprocess
import sys

import jax
import numpy as np

ROOT = pathlib.Path(__file__).parents[1]


def here(config_name, sizes, steps):
    """`measure.figures` of a training step of the project on the path, a dict."""
    measure, programs = (_of_this_checkout(name) for name in ("measure", "programs"))
    from tal_jax.runtime.parallel import make_parallel
    from tal_jax.step import init_state

    module, variant = config_name.split(":")
    config = importlib.import_module(f"configs.{module}").get_config(variant)
    num_classes, num_channels, windows = sizes
    made = programs.of_config(config, num_classes, num_channels, batch_size=windows)
    system, rng = programs.SYSTEMS[config.system], np.random.default_rng(0)
    model, optimizer = system.build(config, num_classes), system.optimizer(config, programs.TOTAL_STEPS)
    batch = programs.made_batch(config, num_classes, num_channels, windows)
    batch["inputs"] = rng.random(batch["inputs"].shape, np.float32).astype(batch["inputs"].dtype)
    step = make_parallel("shard_map", 1).compile(made.step)
    state = [init_state(config, model, optimizer, batch["inputs"][:1])]

    def update():
        state[0], values = step(state[0], batch)
        jax.block_until_ready(values)

    return {name: float(value) for name, value in measure.figures(update, steps).items()}


def _of_this_checkout(name):
    """A module of benchmarks, from the folder of this file."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main():
    """Prints the times of every turn."""
    parser = _of_this_checkout("measure").parser(__doc__)
    parser.add_argument("--against", help="another checkout of the project")
    parser.add_argument("--config", default="thumos:dw_afsd,input=features", help="FILE:VARIANT of configs")
    parser.add_argument("--sizes", default="20,2048,1", help="classes, channels, windows of a step")
    parser.add_argument("--turns", default=3, type=int)
    parser.add_argument("--steps", default=40, type=int)
    options = parser.parse_args()
    against = options.against and pathlib.Path(options.against).resolve()
    if against and not (against / "tal_jax").is_dir():
        parser.error(f"--against={options.against} is no checkout of the project: it has no folder tal_jax.")
    sizes = [int(size) for size in options.sizes.split(",")]
    if not against:
        print(json.dumps(here(options.config, sizes, options.steps)))
        return
    command = [sys.executable, __file__, f"--config={options.config}", f"--sizes={options.sizes}"]
    command.append(f"--steps={options.steps}")
    print("| turn | here, wall and CPU ms | there, wall and CPU ms | ratio of CPU time |\n|---|---|---|---|")
    ratios = []
    for turn in range(options.turns):
        found = {}
        for name in (str(ROOT), str(against))[:: -1 if turn % 2 else 1]:
            environment = os.environ | {"PYTHONPATH": name, "JAX_PLATFORMS": "cpu"}
            run = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=name, env=environment)
            found[name] = json.loads(run.stdout.splitlines()[-1])
        ours, theirs = found[str(ROOT)], found[str(against)]
        ratios.append(ours["cpu_s"] / theirs["cpu_s"])
        cells = [f"{1e3 * one['wall_s']:.0f}, {1e3 * one['cpu_s']:.0f}" for one in (ours, theirs)]
        print(f"| {turn + 1} | {cells[0]} | {cells[1]} | {ratios[-1]:.2f} |", flush=True)
    print(f"Median ratio: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
