"""Boundary max pooling: the largest feature near each end of a segment (AFSD, CVPR 2021, boundary pooling).

Every region has two intervals of cells, one around the start of a segment and one around its end. The first
half of the channels is pooled over the first interval, the second half over the second.

Two methods give the same values and the same gradient:

* `sparse_table`: maxima of all windows of 1, 2, 4, ... cells, then two lookups a region. Few large steps: for
  GPU, TPU.
* `scan`: one pass over the cells. T small steps that leave the cells outside a region alone: for CPUs.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


@functools.partial(jax.jit, static_argnames=("cells", "method", "grad"))
def boundary_max_pool(features, regions, *, cells=None, method="auto", grad="exact"):
    """AFSD Eq. 4: the largest feature in each region's two intervals of cells, channel by channel.

    Bounds are truncated to integers and then clamped to the clip; both ends are included. An interval whose
    right end is left of its left end stands for the single cell at its left end. A region outside the clip
    reads the edge cell.

    Args:
      features: (B, T, C), floating, C even.
      regions: (B, K, 4), floating, in cells: left and right of the start interval, left and right of the end
        interval.
      cells: tuple, numbers of cells of the levels that lie side by side in `features`, T in all. Then K = T,
        and the region of each cell is in cells of its own level. None: one level.
      method: "sparse_table", "scan", or "auto": "scan" where the program is compiled for a CPU,
        "sparse_table" elsewhere.
      grad: "exact" sends each gradient to the first of the largest cells. "reference" sends it where the
        published CUDA code does, which differs unless K = T (see `_as_misread`). Regions get no gradient.

    Returns:
      (B, K, C), the dtype of `features`.

    Raises:
      ValueError: on an unknown `method` or `grad`, odd C, regions of another shape, `cells` that do not fit,
        or "reference" and K > T.
    """
    batch, _, channels = features.shape
    if channels % 2:
        raise ValueError(f"features need an even number of channels, half for each end: got C={channels}.")
    if regions.ndim != 3 or (regions.shape[0], regions.shape[2]) != (batch, 4):
        raise ValueError(f"regions must be (B, K, 4) with B={batch} as in features: got {regions.shape}.")
    if cells and (sum(cells), sum(cells)) != (features.shape[1], regions.shape[1]):
        raise ValueError(
            f"levels of {cells} cells need T=K={sum(cells)}: got T={features.shape[1]} and "
            f"K={regions.shape[1]}."
        )
    for name, value, choices in (
        ("method", method, _METHODS),
        ("grad", grad, ("exact", "reference")),
    ):
        if value not in choices:
            raise ValueError(f"{name} must be one of {tuple(choices)}: got {value!r}.")
    if grad == "reference" and cells:  # it depends on the numbers of cells and regions of a call
        split = functools.partial(jnp.split, indices_or_sections=np.cumsum(cells)[:-1], axis=1)
        of_level = functools.partial(boundary_max_pool, method=method, grad=grad)
        return jnp.concatenate([*map(of_level, split(features), split(regions))], axis=1)
    cells = cells or (features.shape[1],)
    pooled = _pool_halves(features, regions, cells, method)
    if grad == "reference":
        misread = _as_misread(features, regions.shape[1])
        misread = _pool_halves(misread, regions, misread.shape[1:2], method)
        pooled = lax.stop_gradient(pooled) + (misread - lax.stop_gradient(misread))
    return pooled


def _pool_halves(features, regions, cells, method):
    """Pools both channel halves of (B, T, C) over the (B, K, 4) regions, giving (B, K, C)."""
    batch, length, channels = features.shape
    halves = features.reshape(batch, length, 2, channels // 2)
    last, first = np.array(cells) - 1, np.cumsum(cells) - cells
    if len(cells) > 1:
        last, first = np.repeat(last, cells), np.repeat(first, cells)
    bounds = jnp.clip(lax.stop_gradient(regions).astype(jnp.float32), 0, last[:, None]).astype(jnp.int32)
    bounds += first.astype(np.int32)[:, None]
    left, right = jnp.moveaxis(bounds.reshape(batch, -1, 2, 2), -1, 0)  # (B, K, 2) each
    right = jnp.maximum(left, right)
    one_clip = jax.vmap(functools.partial(_pool, method, cells), in_axes=1, out_axes=1)
    return jax.vmap(one_clip)(halves, left, right).reshape(batch, -1, channels)


def _as_misread(features, num_regions):
    """The (B, K, C) features that the published CUDA backward sees instead of the (B, T, C) ones.

    It takes the number of regions K for the number of cells T. So it reads the first B*C*K numbers of its (B,
    C, T) buffer as though they were (B, C, K), pools these, and writes the gradient to the places they came
    from.
    """
    batch, cells, channels = features.shape
    if num_regions > cells:
        raise ValueError(
            "grad='reference' needs at most as many regions as cells, because beyond that the published "
            f"backward reads outside its buffer: got K={num_regions} and T={cells}; use grad='exact'."
        )
    buffer = features.transpose(0, 2, 1).reshape(-1)
    return buffer[: batch * channels * num_regions].reshape(batch, channels, num_regions).transpose(0, 2, 1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _pool(method, cells, features, left, right):
    """Max over cells left..right, both included.

    cells: of levels side by side; features (T, D); left, right (K,) int32, left <= right -> (K, D).
    """
    return _METHODS[method](cells, features, left, right)[0]


def _pool_forward(method, cells, features, left, right):
    maximum, first_cell = _METHODS[method](cells, features, left, right)
    return maximum, (first_cell, features)


def _pool_backward(method, cells, residuals, grad_pooled):
    """Adds each gradient to the first cell that held the maximum, in float32 or better."""
    del method, cells
    first_cell, features = residuals
    zeros = jnp.zeros(features.shape, jnp.promote_types(features.dtype, jnp.float32))
    grad_features = zeros.at[first_cell, jnp.arange(features.shape[1])].add(grad_pooled.astype(zeros.dtype))
    return grad_features.astype(features.dtype), None, None


_pool.defvjp(_pool_forward, _pool_backward)


def _by_sparse_table(cells, features, left, right):
    """The maxima (K, D) and the first cell (K, D) that holds each, from a table of maxima.

    The table has those of all windows of 2^j cells; two such windows cover any interval, of a level too.
    """
    maximum, first_cell = features, jnp.broadcast_to(jnp.arange(len(features))[:, None], features.shape)
    levels = [(maximum, first_cell)]
    for shift in [2**level for level in range(max(cells).bit_length() - 1)]:
        # Windows that would pass the end of the clip wrap around to its beginning; no interval asks for them.
        later_maximum, later_cell = jnp.roll(maximum, -shift, 0), jnp.roll(first_cell, -shift, 0)
        later = later_maximum > maximum
        maximum = jnp.where(later, later_maximum, maximum)
        first_cell = jnp.where(later, later_cell, first_cell)
        levels.append((maximum, first_cell))
    maxima, first_cells = (jnp.stack(table) for table in zip(*levels))  # (levels, T, D)

    level = 31 - lax.clz(right - left + 1)  # the largest with 2^level cells or fewer in the interval
    last = right + 1 - (1 << level)
    later = maxima[level, last] > maxima[level, left]
    return (
        jnp.where(later, maxima[level, last], maxima[level, left]),
        jnp.where(later, first_cells[level, last], first_cells[level, left]),
    )


def _by_scans(cells, features, left, right):
    """`_by_scan`, level after level: a scan looks at each cell for every region."""
    ends = np.cumsum(cells)
    if len(cells) == 1:
        return _by_scan(features, left, right)
    parts = []
    for start, end in zip(ends - cells, ends):
        level = slice(start, end)
        maximum, first_cell = _by_scan(features[level], left[level] - start, right[level] - start)
        parts.append((maximum, first_cell + start))
    return tuple(map(jnp.concatenate, zip(*parts)))


def _by_scan(features, left, right):
    """The maxima (K, D) and the first cell (K, D) that holds each, in two passes over the cells.

    The first finds the maxima, the second, backwards, the first cells.
    """
    indexed = (jnp.arange(features.shape[0]), features)
    start, end = left[:, None], right[:, None]

    def raise_maximum(maximum, indexed_cell):
        cell, value = indexed_cell
        return jnp.where((start < cell) & (cell <= end) & (value > maximum), value, maximum), None

    def move_to_earlier(first_cell, indexed_cell):
        cell, value = indexed_cell
        return jnp.where((start <= cell) & (cell <= end) & (value == maximum), cell, first_cell), None

    maximum, _ = lax.scan(raise_maximum, features[left], indexed)
    first_cell, _ = lax.scan(move_to_earlier, jnp.broadcast_to(start, maximum.shape), indexed, reverse=True)
    return maximum, first_cell


def _by_platform(cells, *given):
    scans, table = functools.partial(_by_scans, cells), functools.partial(_by_sparse_table, cells)
    return lax.platform_dependent(*given, cpu=scans, default=table)


_METHODS = {"auto": _by_platform, "sparse_table": _by_sparse_table, "scan": _by_scans}
