"""What a training step costs on this machine: it is compiled and run a few times."""

import math
import resource
import sys
import time
from typing import NamedTuple

import jax
import numpy as np

from tal_jax.data.loader import training_batches
from tal_jax.runtime.parallel import devices_of
from tal_jax.step import init_state, make_step
from tal_jax.systems import SYSTEMS

MEASURED_STEPS = 3


class StepCost(NamedTuple):
    """Time and memory of one update of a training.

    Attributes:
      seconds: of an update.
      compile_sec: of its compilation, before the first one.
      an_epoch: number of updates.
      bytes: most memory of the device; of the process, with all it has read, where the device is a CPU.
    """

    seconds: float
    compile_sec: float
    an_epoch: int
    bytes: int

    def sentence(self, epochs, folds):
        """How long so many epochs take here, and how much memory. folds: of a cross-validation, or 0."""
        steps = epochs * self.an_epoch
        minutes = (self.compile_sec + steps * self.seconds) / 60
        each = f", and each of {folds} folds as long" if folds else ""
        return (
            f"On this machine training takes about {minutes:.2g} minutes ({steps:,} steps of "
            f"{1e3 * self.seconds:.3g} ms){each}, and {self.bytes / 2**30:.2g} GiB of memory."
        )


def step_cost(config, dataset):
    """The StepCost of a config on the first windows of its data. Raises DataError as training does."""
    system = SYSTEMS[config.system]
    parallel = devices_of(config)
    items, make_example = system.examples(config, dataset)
    classes = len(dataset.annotations.classes)
    model, optimizer = system.build(config, classes), system.optimizer(config, 1000)
    size = config.train.batch_size * config.train.accumulate_steps
    batch = next(training_batches(items, make_example, batch_size=size, seed=config.seed, threads=0))
    batch["stop"] = np.zeros(size, np.float32)
    state = init_state(config, model, optimizer, jax.tree.map(lambda x: x[:1], batch["inputs"]))
    step = parallel.compile(make_step(config, system, model, optimizer, batches_per_epoch=1))
    state, batch = parallel.replicate(state), parallel.shard(batch)
    begin = time.monotonic()
    state, _ = jax.block_until_ready(step(state, batch))
    compile_sec = time.monotonic() - begin
    begin = time.monotonic()
    for _ in range(MEASURED_STEPS):
        state, _ = step(state, batch)
    jax.block_until_ready(state)
    seconds = (time.monotonic() - begin) / MEASURED_STEPS
    return StepCost(seconds, compile_sec, math.ceil(len(items) / size), _peak_bytes())


def _peak_bytes():
    """The most memory that was in use, of a device that counts its own, or else of this process."""
    if stats := jax.local_devices()[0].memory_stats():
        return stats["peak_bytes_in_use"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
