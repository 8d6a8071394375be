"""What a network that sees no padding costs: DW-AFSD on SBHAR with the reading `padding_mask`, against the
published form.

    python -m benchmarks.masked [--repeats=20]

Both networks take turns in one process: a training step of 8 windows of 512 frames, and the detection of the
19 test recordings, suppression included. Prints medians of the times and of their ratios.
"""

import functools
import time

import jax
import numpy as np

from benchmarks import measure
from configs import sbhar
from tal_jax import train
from tal_jax.data import load_dataset
from tal_jax.data.loader import pad_batch, stack
from tal_jax.detect import Detector, Stream
from tal_jax.optimizer import make_optimizer
from tal_jax.runtime.parallel import make_parallel
from tal_jax.systems import SYSTEMS


def prepared(masked):
    """(step, search): functions without arguments that train on one batch, and search all test recordings."""
    config = sbhar.get_config("dw_afsd")
    config.readings = (f"padding_mask={masked}",)
    dataset, system, parallel = load_dataset(config), SYSTEMS[config.system], make_parallel()
    items, make_example = system.examples(config, dataset)
    size, num_classes = config.train.batch_size, len(dataset.annotations.classes)
    examples = [make_example(item, np.random.default_rng(i)) for i, item in enumerate(items[:size])]
    batch = pad_batch(stack(examples), size) | {"stop": np.zeros(size, np.float32)}
    model, optimizer = system.build(config, num_classes), make_optimizer(config, 100)
    state = train.init_state(config, model, optimizer, batch["inputs"][:1])
    stream = Stream(config, jax.device_get(state.inference_variables()), dataset)
    detector = Detector([config], num_classes)
    step = parallel.compile(train.make_step(config, system, model, optimizer, 36))
    state, batch = parallel.replicate(state), parallel.shard(batch)

    def train_once():
        nonlocal state
        state, values = step(state, batch)
        jax.block_until_ready(values)

    names = list(dataset.annotations.subset("test").recordings)
    return train_once, functools.partial(detector.detect, [stream], names)


def main():
    """Prints a table for docs/performance.md."""
    parser = measure.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    functions = [prepared(masked) for masked in (False, True)]
    print("| | as published | masked | ratio (its quartiles) |\n|---|---|---|---|")
    for what, pair in zip(("training step", "detection, 19 recordings"), zip(*functions)):
        times = np.zeros((repeats + 2, 2))
        for turn in range(repeats + 2):  # the first two compile, and fill caches
            for i, run in enumerate(pair):
                start = time.perf_counter()
                run()
                times[turn, i] = time.perf_counter() - start
        unmasked, masked = np.median(times[2:], axis=0)
        low, middle, high = np.percentile(times[2:, 1] / times[2:, 0], [25, 50, 75])
        ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        print(f"| {what} | {unmasked * 1e3:.0f} ms | {masked * 1e3:.0f} ms | {ratio} |")


if __name__ == "__main__":
    main()
