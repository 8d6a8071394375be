"""Data parallelism: a step body written once, per device, and run on all devices through `jax.pmap` or
`jax.shard_map`.

A body sees its own slice of the batch and the whole state, and meets the other devices through collectives
over the axis "data". Everything outside the body sees plain (host) arrays: state without a device axis, and
of a batch the rows of this process: all, unless there are several processes, which have one equal part each,
in their order.
"""

import functools

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tal_jax.errors import DataError

AXIS = "data"
_EVERYWHERE, _SPLIT = PartitionSpec(), PartitionSpec(AXIS)


class Parallel:
    """Runs step bodies on several devices, through `jax.shard_map`.

    Attributes:
      num_devices: how many share a batch, those of all processes; its size must be a multiple of it.
    """

    def __init__(self, devices):
        """devices: those of all processes, in the order of the processes."""
        self.num_devices = len(devices)
        self._mesh = jax.make_mesh((len(devices),), (AXIS,), devices=devices, axis_types=(AxisType.Auto,))

    def replicate(self, tree):
        """A host pytree -> the form in which compiled steps take state."""
        return self._spread(jax.device_get(tree), _EVERYWHERE)

    def unreplicate(self, tree):
        """State of a compiled step -> arrays without a device axis, as checkpoints hold them."""
        return jax.tree.map(lambda x: x.addressable_shards[0].data, tree)

    def shard(self, batch):
        """A batch, a pytree of (B, ...) with the rows of this process -> the form in which compiled steps
        take batches.
        """
        return self._spread(batch, _SPLIT)

    def compile(self, body):
        """(body(state, batch) -> (state, metrics)) -> compiled step; the buffers of its state are reused."""
        return jax.jit(self._mapped(body, (_EVERYWHERE, _EVERYWHERE)), donate_argnums=0)

    def compile_map(self, body):
        """(body(params, batch) -> outputs (B, ...)) -> compiled function, which takes a batch that is not
        sharded and gives NumPy arrays (B, ...).
        """
        mapped = self.jit_map(body)
        return lambda params, batch: jax.tree.map(np.asarray, mapped(params, self.shard(batch)))

    def jit_map(self, body):
        """(body as in `compile_map`) -> jitted function, which takes a sharded batch and gives JAX arrays.

        Of 'shard_map' alone.
        """
        return jax.jit(self._mapped(body, _SPLIT))

    def shapes(self, tree, *, split=False):
        """A pytree of `jax.ShapeDtypeStruct`s as compiled steps take it, to compile without arrays.

        Of 'shard_map' alone.

        Args:
          tree: of state; or with `split` of a batch.
          split: whether the rows are spread over the devices.
        """
        sharding = NamedSharding(self._mesh, _SPLIT if split else _EVERYWHERE)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    def _mapped(self, body, out_specs):
        # check_vma=False: the body itself sums gradients over devices, as a pmap body does.
        specs = dict(in_specs=(_EVERYWHERE, _SPLIT), out_specs=out_specs)
        return jax.shard_map(body, mesh=self._mesh, check_vma=False, **specs)

    def _spread(self, tree, spec):
        sharding = NamedSharding(self._mesh, spec)
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), tree)


class PmapParallel(Parallel):
    """Runs step bodies on several devices, through `jax.pmap`. State has a leading device axis inside."""

    def __init__(self, devices):
        self.num_devices = len(devices)
        self._num_local = sum(device.process_index == jax.process_index() for device in devices)
        self._pmap = functools.partial(jax.pmap, axis_name=AXIS, devices=devices)

    def replicate(self, tree):
        # Arrays that already live on one device are refused by JAX 0.9, so they come from the host.
        spread = self._pmap(lambda _, x: x, in_axes=(0, None))
        return spread(np.zeros(self._num_local), jax.device_get(tree))

    def unreplicate(self, tree):
        return jax.tree.map(lambda x: x.addressable_shards[0].data[0], tree)

    def shard(self, batch):
        return jax.tree.map(
            lambda x: x.reshape(self._num_local, len(x) // self._num_local, *x.shape[1:]), batch
        )

    def compile(self, body):
        step = self._pmap(body, donate_argnums=0)

        def run(state, batch):
            state, metrics = step(state, batch)
            return state, self.unreplicate(metrics)

        return run

    def compile_map(self, body):
        mapped = self._pmap(body)
        merge = lambda x: np.asarray(x).reshape(-1, *x.shape[2:])
        return lambda params, batch: jax.tree.map(merge, mapped(params, self.shard(batch)))


_CLASSES = {"pmap": PmapParallel, "shard_map": Parallel}


def make_parallel(impl="pmap", max_devices=0, *, alone=False):
    """Parallel over the devices of all processes (the first `max_devices` of each, 0 = all).

    Args:
      impl: 'pmap' or 'shard_map'.
      max_devices: how many devices of each process take part; 0 = all.
      alone: True: over those of this process alone, which then waits for no other.

    Raises:
      DataError: `impl` is neither; the processes have different numbers of devices.
    """
    if impl not in _CLASSES:
        raise DataError(f"config.parallel.impl is '{impl}'; it must be 'pmap' or 'shard_map'.")
    processes = [jax.process_index()] if alone else range(jax.process_count())
    devices = [jax.local_devices(process)[: max_devices or None] for process in processes]
    counts = {len(of_one) for of_one in devices}
    if len(counts) > 1:
        raise DataError(
            f"The processes have {min(counts)} to {max(counts)} devices; give each the same number, or set "
            "config.parallel.max_devices."
        )
    return _CLASSES[impl]([device for of_one in devices for device in of_one])


def devices_of(config):
    """The Parallel that a config trains on. Raises DataError if its devices cannot share a batch."""
    parallel = make_parallel(config.parallel.impl, config.parallel.max_devices)
    if config.train.batch_size % parallel.num_devices:
        raise DataError(
            f"config.train.batch_size is {config.train.batch_size}; it must be a multiple of the "
            f"{parallel.num_devices} devices (--config.parallel.max_devices=1 uses one)."
        )
    return parallel
