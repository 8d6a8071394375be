"""What a training step costs on this machine: it is compiled and run a few times."""

import math
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
    """Seconds of an update, of its compilation before the first one, and the number of updates an epoch."""

    seconds: float
    compile_sec: float
    an_epoch: int


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
    return StepCost(seconds, compile_sec, math.ceil(len(items) / size))
