"""Data parallelism: a step body written once, per device, and run on all devices through `jax.pmap` or
`jax.shard_map`.

A body sees its own slice of the batch and the whole state, and meets the other devices through collectives
over the axis "data". Everything outside the body sees plain (host) arrays: state without a device axis, and
of a batch the rows of this process: all, unless there are several processes, which have one equal part each,
in their order.
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
      num_devices: how many share a batch, those of all processes; its size must be a multiple of it.
      replicate: host pytree -> the form in which compiled steps take state.
      unreplicate: back to arrays without a device axis, as checkpoints hold them.
      shard: batch pytree of (B, ...), the rows of this process -> the form in which compiled steps take
        batches.
      compile: (body(state, batch) -> (state, metrics)) -> compiled step; the given state's buffers are
        reused.
      compile_map: (body(params, batch) -> outputs (B, ...)) -> compiled function whose outputs are NumPy
        arrays (B, ...).
    """

    num_devices: int
    replicate: Callable
    unreplicate: Callable
    shard: Callable
    compile: Callable
    compile_map: Callable


def make_parallel(impl="pmap", max_devices=0, *, alone=False):
    """Parallel over the devices of all processes (the first `max_devices` of each, 0 = all).

    Args:
      impl: 'pmap' or 'shard_map'.
      max_devices: see above.
      alone: True: over those of this process alone, which then waits for no other.

    Raises:
      DataError: `impl` is neither; the processes have different numbers of devices.
    """
    local = jax.local_devices()[: max_devices or None]
    processes = [jax.process_index()] if alone else range(jax.process_count())
    devices = [
        device for process in processes for device in jax.local_devices(process)[: max_devices or None]
    ]
    if len(devices) != len(local) * len(processes):
        raise DataError(
            f"This process has {len(local)} devices, {len(processes)} processes have {len(devices)}; give "
            f"each the same number, or "
            "set config.parallel.max_devices."
        )
    if impl == "pmap":
        return _pmap(devices, len(local))
    if impl == "shard_map":
        return _shard_map(devices)
    raise DataError(f"config.parallel.impl is '{impl}'; it must be 'pmap' or 'shard_map'.")


def _pmap(devices, num_local):
    def replicate(tree):
        # Arrays that already live on one device are refused by JAX 0.9, so they come from the host.
        return jax.pmap(lambda _, x: x, axis_name=AXIS, in_axes=(0, None), devices=devices)(
            np.zeros(num_local), jax.device_get(tree)
        )

    def first(x):
        return x.addressable_shards[0].data[0]

    def shard(batch):
        return jax.tree.map(lambda x: x.reshape(num_local, x.shape[0] // num_local, *x.shape[1:]), batch)

    def compile_step(body):
        step = jax.pmap(body, axis_name=AXIS, donate_argnums=0, devices=devices)

        def run(state, batch):
            state, metrics = step(state, batch)
            return state, jax.tree.map(first, metrics)

        return run

    def compile_map(body):
        mapped = jax.pmap(body, axis_name=AXIS, devices=devices)
        return lambda params, batch: jax.tree.map(
            lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), mapped(params, shard(batch))
        )

    return Parallel(
        len(devices), replicate, lambda tree: jax.tree.map(first, tree), shard, compile_step, compile_map
    )


def _shard_map(devices):
    mesh = jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,))
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)

    def wrap(body, out_specs):
        # check_vma=False: the body itself sums gradients over devices, as a pmap body does.
        return jax.shard_map(
            body, mesh=mesh, in_specs=(everywhere, split), out_specs=out_specs, check_vma=False
        )

    def compile_map(body):
        mapped = jax.jit(wrap(body, split))
        return lambda params, batch: jax.tree.map(np.asarray, mapped(params, shard(batch)))

    def spread(tree, spec):
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)

    def shard(batch):
        return spread(batch, split)

    return Parallel(
        num_devices=len(devices),
        replicate=lambda tree: spread(jax.device_get(tree), everywhere),
        unreplicate=lambda tree: jax.tree.map(lambda x: x.addressable_shards[0].data, tree),
        shard=shard,
        compile=lambda body: jax.jit(wrap(body, (everywhere, everywhere)), donate_argnums=0),
        compile_map=compile_map,
    )
