"""Batches for training: shuffled, augmented, of fixed size, ready before they are asked for, and the same after a restart."""

import itertools

import grain
import jax
import numpy as np


class TrainingBatches:
    """Endless iterator of batches, a pure function of (seed, number of batches drawn).

    An epoch visits every item once in a new order; its last batch, where short, is padded with repeated examples whose
    `sample_mask` is 0. Examples are made in background threads while the accelerator works on earlier batches.
    """

    def __init__(self, items, make_example, *, batch_size, seed, threads=2, start=0):
        """
        Args:
          items: sequence of what `make_example` takes.
          make_example: (item, np.random.Generator) -> dict of arrays, of the same shapes for all items.
          batch_size: examples in a batch; dict entries get this leading dimension, `sample_mask` (batch_size,) float32 is added.
          seed: of order and augmentation.
          threads: that make examples; 0 makes them in the caller.
          start: batches to skip, for resuming.
        """
        batches = (
            grain.MapDataset.source(items)
            .seed(seed)
            .shuffle()
            .random_map(make_example)
            .batch(batch_size, drop_remainder=False)
            .map(lambda batch: pad_batch(batch, batch_size))
        )
        self.batches_per_epoch = len(batches)
        options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        self._iterator = iter(batches.repeat().to_iter_dataset(options))
        self._iterator.set_state({"next_index": start})

    def __iter__(self):
        return self

    def __next__(self):
        return next(self._iterator)


def chunks(items, size):
    """Tuples of up to `size` consecutive items of any iterable, drawn as needed."""
    iterator = iter(items)
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk


def stack(examples):
    """One batch of several examples: arrays, or the same trees of arrays."""
    return jax.tree.map(lambda *arrays: np.stack(arrays), *examples)


def pad_batch(batch, batch_size):
    """Repeats the first example until the batch is full; `sample_mask` tells real examples (1) from repeated ones (0)."""
    size = len(jax.tree.leaves(batch)[0])
    rows = np.where(np.arange(batch_size) < size, np.arange(batch_size), 0)
    padded = jax.tree.map(lambda values: np.asarray(values)[rows], batch)
    return padded | {"sample_mask": (np.arange(batch_size) < size).astype(np.float32)}
