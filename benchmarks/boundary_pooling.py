"""Times boundary max pooling at the size of AFSD's frame-level feature: 256 cells, 126 regions, 512 channels.

    python -m benchmarks.boundary_pooling

Prints the best of several runs in milliseconds, by method and batch size. About one minute on two CPU cores.
"""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import best_ms
from tal_jax.ops.boundary_pooling import boundary_max_pool

CELLS, REGIONS, CHANNELS = 256, 126, 512
METHODS = ("sparse_table", "scan")
BATCH_SIZES = (1, 8)


def example(batch, seed=0):
    """Random features (B, T, C), regions (B, K, 4) of 33 cells on average, and output gradients (B, K, C)."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0, CELLS, (batch, REGIONS, 2))
    widths = rng.exponential(33, (batch, REGIONS, 2))
    regions = np.stack([centers - widths / 2, centers + widths / 2], -1).reshape(batch, REGIONS, 4)
    features = rng.standard_normal((batch, CELLS, CHANNELS))
    grad_pooled = rng.standard_normal((batch, REGIONS, CHANNELS))
    return [jnp.asarray(array, jnp.float32) for array in (features, regions, grad_pooled)]


def forward_and_grad_ms(method, batch):
    """Time of the pooling alone, and of the pooling with its gradient."""

    def forward(features, regions):
        return boundary_max_pool(features, regions, method=method)

    def weighted_sum(features, regions, grad_pooled):
        return (forward(features, regions) * grad_pooled).sum()

    arrays = example(batch)
    pool, pool_with_grad = jax.jit(forward), jax.jit(jax.value_and_grad(weighted_sum))
    return (
        best_ms(lambda: jax.block_until_ready(pool(*arrays[:2])), 7),
        best_ms(lambda: jax.block_until_ready(pool_with_grad(*arrays)), 7),
    )


def main():
    """Prints the table."""
    print(f"T={CELLS}, K={REGIONS}, C={CHANNELS}, float32, {jax.default_backend()}, milliseconds\n")
    columns = [f"B{batch} forward | B{batch} forward + grad" for batch in BATCH_SIZES]
    print(f"| method | {' | '.join(columns)} |\n|---|{'---|---|' * len(BATCH_SIZES)}")
    for method in METHODS:
        times_ms = [time_ms for batch in BATCH_SIZES for time_ms in forward_and_grad_ms(method, batch)]
        print(f"| {method} | {' | '.join(f'{time_ms:.2f}' for time_ms in times_ms)} |", flush=True)


if __name__ == "__main__":
    main()
