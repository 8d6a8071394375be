"""Data parallelism: a step body written once, per device, and run on all devices through `jax.pmap` or `jax.shard_map`.

A body sees its own slice of the batch and the whole state, and meets the other devices through collectives over the axis
"data". Everything outside the body sees plain (host) arrays: state without a device axis, batches of the global size.
"""

import dataclasses
from typing import Callable

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tal_jax.errors import DataError

AXIS = "data"


@dataclasses.dataclass(frozen=True)
class Parallel:
    """How to run step bodies on several devices.

    Attributes:
      num_devices: how many share a batch; its size must be a multiple of it.
      replicate: host pytree -> the form in which compiled steps take state.
      unreplicate: back to arrays without a device axis, as checkpoints hold them.
      shard: batch pytree of (B, ...) -> the form in which compiled steps take batches.
      compile: (body(state, batch) -> (state, metrics)) -> compiled step; the given state's buffers are reused.
      compile_map: (body(params, batch) -> outputs (B, ...)) -> compiled function whose outputs are NumPy arrays (B, ...).
    """

    num_devices: int
    replicate: Callable
    unreplicate: Callable
    shard: Callable
    compile: Callable
    compile_map: Callable


def make_parallel(impl="pmap", max_devices=0):
    """Parallel over the local devices (the first `max_devices` of them, 0 = all).

    Raises:
      DataError: `impl` is neither 'pmap' nor 'shard_map'.
    """
    devices = jax.local_devices()[: max_devices or None]
    if impl == "pmap":
        return _pmap(devices)
    if impl == "shard_map":
        return _shard_map(devices)
    raise DataError(f"config.parallel.impl is '{impl}'; it must be 'pmap' or 'shard_map'.")


def _pmap(devices):
    count = len(devices)

    def replicate(tree):
        return jax.pmap(lambda _, x: x, axis_name=AXIS, in_axes=(0, None), devices=devices)(np.zeros(count), tree)

    def first(x):
        return x.addressable_shards[0].data[0]

    def shard(batch):
        return jax.tree.map(lambda x: x.reshape(count, x.shape[0] // count, *x.shape[1:]), batch)

    def compile_step(body):
        step = jax.pmap(body, axis_name=AXIS, donate_argnums=0, devices=devices)

        def run(state, batch):
            state, metrics = step(state, batch)
            return state, jax.tree.map(first, metrics)

        return run

    def compile_map(body):
        mapped = jax.pmap(body, axis_name=AXIS, devices=devices)
        return lambda params, batch: jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), mapped(params, shard(batch)))

    return Parallel(count, replicate, lambda tree: jax.tree.map(first, tree), shard, compile_step, compile_map)


def _shard_map(devices):
    mesh = jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,))
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)

    def wrap(body, out_specs):
        # check_vma=False: the body itself sums gradients over devices, as a pmap body does.
        return jax.shard_map(body, mesh=mesh, in_specs=(everywhere, split), out_specs=out_specs, check_vma=False)

    def compile_map(body):
        mapped = jax.jit(wrap(body, split))
        return lambda params, batch: jax.tree.map(np.asarray, mapped(params, shard(batch)))

    def shard(batch):
        return jax.device_put(batch, NamedSharding(mesh, split))

    return Parallel(
        num_devices=len(devices),
        replicate=lambda tree: jax.device_put(tree, NamedSharding(mesh, everywhere)),
        unreplicate=lambda tree: jax.tree.map(lambda x: x.addressable_shards[0].data, tree),
        shard=shard,
        compile=lambda body: jax.jit(wrap(body, (everywhere, everywhere)), donate_argnums=0),
        compile_map=compile_map,
    )
