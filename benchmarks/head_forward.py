"""Time of the AFSD detector after the backbone, in THUMOS14 shapes: batch 1, 6 levels, 126 locations, 20
classes.

python -m benchmarks.head_forward
"""

import time

import jax
import numpy as np

from benchmarks.measure import figures
from tal_jax.systems.afsd.model import AFSD

REPEATS = 20


def main():
    """Prints one markdown table: compilation, fastest and median forward pass."""
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal(shape, np.float32) for shape in ((1, 64, 6, 6, 832), (1, 32, 3, 3, 1024))]
    model = AFSD(num_classes=20, window=256)
    params = jax.jit(model.init)(jax.random.key(0), maps)["params"]
    before = time.perf_counter()
    forward = jax.jit(lambda p, m: model.apply({"params": p}, m)).lower(params, maps).compile()
    compiled = time.perf_counter() - before
    found = figures(lambda: jax.block_until_ready(forward(params, maps)), REPEATS)
    print(f"| device | compile, s | fastest of {REPEATS}, ms | median, ms |\n|---|---|---|---|")
    times = f"{1e3 * found['wall_s']:.0f} | {1e3 * found['median_s']:.0f}"
    print(f"| {jax.devices()[0].device_kind} | {compiled:.1f} | {times} |")


if __name__ == "__main__":
    main()
