"""Convolution over time as one product of matrices, also over several levels of a pyramid side by side.

A row of the first matrix holds the cells that one place of the kernel sees. XLA has a convolution of its own,
but its compiler for TPUs crashes on the gradient of a convolution over very few cells (jax 0.10.2). And
levels side by side are one kernel on a GPU, where each level by itself is one.
"""

import jax
import jax.numpy as jnp
import numpy as np


def conv1d(x, kernel, *, stride=1, padding=None, cells=None, precision=None, result=None):
    """Cross-correlation over time, without bias; cells beyond the ends are 0.

    Args:
      x: (B, T, C).
      kernel: (k, C, O).
      stride: of the output.
      padding: (before, after), cells of 0; None: as many as make ceil(T / stride) outputs, the odd one after.
      cells: numbers of cells of the levels that lie side by side in x, T in all: no kernel sees two of them;
        for stride 1 and an odd k. None: x is one level.
      precision: of the product, see `jax.lax.dot`.
      result: type of the result, in which products are summed; None: that of x.

    Returns:
      (B, (T + padding - k) // stride + 1, O).

    Raises:
      ValueError: `cells` with a stride, an even k, or another sum than T.
    """
    taps, channels, features = kernel.shape
    if cells and (stride != 1 or not taps % 2 or sum(cells) != x.shape[1]):
        raise ValueError(
            f"levels of {cells} cells need T={sum(cells)}, a stride of 1 and an odd kernel: got "
            f"T={x.shape[1]}, stride={stride} and k={taps}."
        )
    # A kernel of its own: XLA for GPUs may find no tiles for a product that it fuses this into (jax 0.10.2).
    seen = jax.lax.optimization_barrier(_seen(x, taps, stride, padding, cells))
    # Of two axes: the gradient of a product of more axes copies its operands, slowly on CPUs.
    product = jax.lax.dot(
        seen.reshape(-1, taps * channels),
        kernel.reshape(-1, features),
        precision=precision,
        preferred_element_type=result,
    )
    return product.reshape(*seen.shape[:2], features)


def _seen(x, taps, stride, padding, cells):
    """What each place of a kernel sees, (B, T', taps * C), the first tap first; see `conv1d`."""
    length = x.shape[1]
    if padding is None:
        missing = max((-(-length // stride) - 1) * stride + taps - length, 0)
        padding = missing // 2, missing - missing // 2
    if taps == 1 and not any(padding):
        return x[:, ::stride]
    span = length + sum(padding) - taps + 1  # of all first cells
    padded = jnp.pad(x, ((0, 0), padding, (0, 0)))
    parts = [padded[:, tap : tap + span : stride] for tap in range(taps)]
    if cells and len(cells) > 1:
        place, last = place_in_level(cells), np.repeat(cells, cells) - 1
        for tap in range(taps):
            there = place + tap - padding[0]
            parts[tap] = jnp.where(((there >= 0) & (there <= last))[:, None], parts[tap], 0)
    return jnp.concatenate(parts, axis=-1)


def of_cells(values, cells):
    """A number of each level for each of its cells. values: (L,) -> (T,).

    It is a sum of products, whose gradient is one too; the gradient of indexing would be a scatter.
    """
    level = np.repeat(np.arange(len(cells)), cells)
    return (values * (level[:, None] == np.arange(len(cells)))).sum(-1)


def place_in_level(cells):
    """Index of each cell within its own level, (N,), of levels side by side with so many cells each."""
    return np.concatenate([np.arange(count) for count in cells])
