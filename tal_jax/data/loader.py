"""Batches for training: shuffled, augmented, of fixed size, ready before they are asked for, and the same
after a restart.
"""

import copy
import itertools

import grain
import jax
import numpy as np


def training_batches(items, make_example, *, batch_size, seed, threads=2, start=0, process=(0, 1)):
    """Endless iterator of batches, a pure function of (seed, number of batches drawn).

    An epoch visits every item once in a new order; its last batch, where short, is padded with repeated
    examples whose `sample_mask` is 0. Examples are made in background threads while the accelerator works on
    earlier batches.

    Of several processes each makes its own rows of every batch; together they are the rows that one process
    makes alone.

    Args:
      items: sequence of what `make_example` takes.
      make_example: (item, np.random.Generator) -> dict of arrays, of the same shapes for all items.
      batch_size: examples in a batch; dict entries get this leading dimension, `sample_mask` (batch_size,)
        float32 is added. With N processes, of which it must be a multiple, batch_size / N.
      seed: of order and augmentation.
      threads: that make examples; 0 makes them in the caller.
      start: batches to skip, for resuming.
      process: (i, N), which of how many processes this is.
    """
    index, count = process
    rows = range(batch_size * index // count, batch_size * (index + 1) // count)

    def make_rows(drawn):
        """This process's rows of a batch. One that has none takes the first row, which does not count."""
        own = [make_example(*pair) for pair in drawn[rows.start : rows.stop] or drawn[:1]]
        return pad_batch(stack(own), len(rows), max(0, len(drawn) - rows.start))

    batches = (
        grain.MapDataset.source(items)
        .seed(seed)
        .shuffle()
        .random_map(lambda item, rng: (item, copy.deepcopy(rng)))  # for grain uses the generator again
        .batch(batch_size, drop_remainder=False, batch_fn=list)
        .map(make_rows)
    )
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
    iterator = iter(batches.repeat().to_iter_dataset(options))
    iterator.set_state({"next_index": start})
    return iterator


def chunks(items, size):
    """Tuples of up to `size` consecutive items of any iterable, drawn as needed."""
    iterator = iter(items)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk


def stack(examples):
    """One batch of several examples: arrays, or the same trees of arrays."""
    return jax.tree.map(lambda *arrays: np.stack(arrays), *examples)


def stack_windows(inputs):
    """One batch of the inputs of several windows: arrays, or the same dicts of arrays.

    Windows of which the network is told `num_frames` may differ in length. The shorter ones are padded with
    zeros at the end.
    """
    if not isinstance(inputs[0], dict) or "num_frames" not in inputs[0]:
        return stack(inputs)

    def padded(*arrays):
        length = max(len(array) if array.ndim else 0 for array in arrays)
        return np.stack(
            [
                np.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))
                if array.ndim
                else array
                for array in arrays
            ]
        )

    return jax.tree.map(padded, *inputs)


def pad_batch(batch, batch_size, size=None):
    """Repeats the first example until the batch is full; `sample_mask` is 1 of the first `size` (None: of all
    that were given).
    """
    size = len(jax.tree.leaves(batch)[0]) if size is None else size
    rows = np.where(np.arange(batch_size) < size, np.arange(batch_size), 0)
    padded = jax.tree.map(lambda values: np.asarray(values)[rows], batch)
    return padded | {"sample_mask": (np.arange(batch_size) < size).astype(np.float32)}
